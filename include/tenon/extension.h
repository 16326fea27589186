/* SPDX-License-Identifier: MIT */
/*
 * For extensions: functions of the house that programs attached by type may call, beside what Linux has.
 *
 *      #include <tenon/extension.h>
 *
 *      char path[128];
 *      struct header head[4];
 *      long n = tenon_read_buffer(path, sizeof(path), r, uri.data, uri.len);
 *      long m = tenon_read_elements(head, sizeof(head), r, header, nheader, 2);
 *
 * copy what r->uri.data and r->header point to (or, of an array at the end of *r, what lies there):
 * r->uri.len bytes, and the elements from number 2 to r->nheader; of either no more than there is room for, and
 * whole elements only. The result is the number of bytes: 0 where the length is no more than the first element's
 * number; −EFAULT where they are not there, −EOVERFLOW for a negative length. `r` is a typed pointer to an
 * object of the host; both fields are in it. Under a class they need read(r->uri.data[0 .. r->uri.len]) and
 * read(r->header[2 .. r->nheader]), or from an earlier element on.
 *
 *      n = tenon_read_range(code, sizeof(code), r, code, 0);
 *
 * copies as many elements as there is room for: of a buffer whose length is not in the object, but in the
 * class, read(r->code[0 .. 8]).
 *
 *      n = tenon_write_buffer(text, sizeof(text), r, uri.data, uri.len);
 *
 * and tenon_write_elements, tenon_write_range copy the other way, in the same measure: write(…) in the class.
 * What is not there, or the host itself may not write, is −EFAULT; what lies in pages before that is written.
 *
 * Offsets and sizes are those of the host that the program is loaded for (CO-RE), where the types have the
 * attribute preserve_access_index: an element is laid out as the host's is, and may be larger than the
 * program's.
 */
#ifndef TENON_EXTENSION_H
#define TENON_EXTENSION_H

/* The fourth argument: where the pointer lies in the object, and the number of the first element. */
#define TENON_FIRST         32
/* The fifth: where the length lies in the object, how many bytes it has (0: there is none), has it a sign; do
   the elements lie in the object itself; is it they that are written; how many bytes has one (0: 1). */
#define TENON_LENGTH_SIZE   32
#define TENON_LENGTH_SIGNED 36
#define TENON_INSIDE        37
#define TENON_WRITES        38
#define TENON_ELEMENT       39

#ifdef __bpf__
extern long tenon_copy(void *own, unsigned int own__sz, const void *object, unsigned long pointer__k,
                       unsigned long length__k) __attribute__((section(".ksyms")));

/* Answers with `value` in the place of the function that the program is attached to. */
extern void tenon_replace(void *ctx, unsigned long value) __attribute__((section(".ksyms")));

#define TENON_FIELD(object, field, what) ((unsigned long)__builtin_preserve_field_info((object)->field, what))
#define TENON_LENGTH(object, length)                                                                         \
    (TENON_FIELD(object, length, 0) | TENON_FIELD(object, length, 1) << TENON_LENGTH_SIZE |                  \
     TENON_FIELD(object, length, 3) << TENON_LENGTH_SIGNED)

/* A struct's or union's size is asked of the host; a number's is what it is. */
struct tenon_no_record {
    char no;
};
#define TENON_IS_RECORD(x)   (__builtin_classify_type(x) == 12 || __builtin_classify_type(x) == 13)
#define TENON_RECORD(p)      __builtin_choose_expr(TENON_IS_RECORD(*(p)), p, (struct tenon_no_record *)0)
#define TENON_RECORD_SIZE(p) __builtin_preserve_type_info(*(__typeof__(*TENON_RECORD(p)) *)0, 1)
#define TENON_SIZE(p)        __builtin_choose_expr(TENON_IS_RECORD(*(p)), TENON_RECORD_SIZE(p), sizeof(*(p)))
#define TENON_IS_ARRAY(p)    (!__builtin_types_compatible_p(__typeof__(p), __typeof__(&(p)[0])))
#define TENON_ELEMENTS(object, pointer)                                                                      \
    ((unsigned long)TENON_SIZE(&(object)->pointer[0]) << TENON_ELEMENT |                                     \
     (unsigned long)TENON_IS_ARRAY((object)->pointer) << TENON_INSIDE)
#define TENON_FROM(object, pointer, first)                                                                   \
    (TENON_FIELD(object, pointer, 0) | (unsigned long)(first) << TENON_FIRST)

#define tenon_read_elements(dst, size, object, pointer, length, first)                                       \
    tenon_copy(dst, size, object, TENON_FROM(object, pointer, first),                                        \
               TENON_LENGTH(object, length) | TENON_ELEMENTS(object, pointer))
#define tenon_read_range(dst, size, object, pointer, first)                                                  \
    tenon_copy(dst, size, object, TENON_FROM(object, pointer, first), TENON_ELEMENTS(object, pointer))
#define tenon_read_buffer(dst, size, object, pointer, length)                                                \
    tenon_copy(dst, size, object, TENON_FIELD(object, pointer, 0), TENON_LENGTH(object, length))

#define tenon_write_elements(src, size, object, pointer, length, first)                                      \
    tenon_copy((void *)(src), size, object, TENON_FROM(object, pointer, first),                              \
               TENON_LENGTH(object, length) | TENON_ELEMENTS(object, pointer) | 1ul << TENON_WRITES)
#define tenon_write_range(src, size, object, pointer, first)                                                 \
    tenon_copy((void *)(src), size, object, TENON_FROM(object, pointer, first),                              \
               TENON_ELEMENTS(object, pointer) | 1ul << TENON_WRITES)
#define tenon_write_buffer(src, size, object, pointer, length)                                               \
    tenon_copy((void *)(src), size, object, TENON_FIELD(object, pointer, 0),                                 \
               TENON_LENGTH(object, length) | 1ul << TENON_WRITES)
#endif

#endif
