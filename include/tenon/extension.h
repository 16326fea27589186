/* SPDX-License-Identifier: MIT */
/*
 * For extensions: functions of the house that programs attached by type may call, beside what Linux has.
 *
 *      #include <tenon/extension.h>
 *
 *      char path[128];
 *      long n = tenon_read_buffer(path, sizeof(path), r, uri.data, uri.len);
 *
 * copies what r->uri.data points to, r->uri.len bytes of it and no more than there is room for, and says how
 * many; −EFAULT where they are not there, −EOVERFLOW for a negative length. `r` is a typed pointer to an
 * object of the host; both fields are in it. Under a class it needs read(r->uri.data[0 .. r->uri.len]).
 *
 * Offsets are those of the host that the program is loaded for (CO-RE), where the types have the attribute
 * preserve_access_index.
 */
#ifndef TENON_EXTENSION_H
#define TENON_EXTENSION_H

/* The fifth argument: where the length lies in the object, how many bytes it has, and has it a sign. */
#define TENON_LENGTH_SIZE   32
#define TENON_LENGTH_SIGNED 36

#ifdef __bpf__
extern long tenon_copy(void *dst, unsigned int dst__sz, const void *object, unsigned int pointer__k,
                       unsigned long length__k) __attribute__((section(".ksyms")));

/* Answers with `value` in the place of the function that the program is attached to. */
extern void tenon_replace(void *ctx, unsigned long value) __attribute__((section(".ksyms")));

#define tenon_read_buffer(dst, size, object, pointer, length)                                                \
    tenon_copy(dst, size, object, __builtin_preserve_field_info((object)->pointer, 0),                       \
               (unsigned long)__builtin_preserve_field_info((object)->length, 0) |                           \
                   (unsigned long)__builtin_preserve_field_info((object)->length, 1) << TENON_LENGTH_SIZE |  \
                   (unsigned long)__builtin_preserve_field_info((object)->length, 3) << TENON_LENGTH_SIGNED)
#endif

#endif
