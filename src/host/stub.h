/* SPDX-License-Identifier: MIT */
/*
 * Types from C text, for a host that has no debug information and cannot be rebuilt: its headers, or a stub
 * that includes them, are compiled for this machine, with the flags that the host was compiled with, and the
 * debug information of that is read. Nothing is run but the compiler, as the user who asks.
 *
 * All types come along, and with GCC the prototype of each function and the type of each variable that is
 * declared. Clang drops what is not defined: functions then have a row without a type.
 *
 * Compiled natively, and not for the BPF target: that is another machine, whose headers of libc take other
 * branches and where long double has other bytes. (BTF of such an object can be given all the same, see
 * tn_host_opts; what is known to differ is refused there by name.)
 */
#ifndef TN_HOST_STUB_H
#define TN_HOST_STUB_H

#include "base/base.h"

/* In what is compiled, a function NAMED_f has the parameters of f as f was declared, with their names. */
#define TN_STUB_NAMED "tenon_named_"

struct tn_host_stub {
    const char *cc;           /* NULL: the environment's CC, else cc */
    const char *source;       /* a C file; everything that it includes counts, used or not */
    const char *const *flags; /* -I, -D …; NULL: none */
    u32 nflags;
    u32 limit_ms;       /* of the compiler; 0: 60 000 */
    const int *said_fd; /* all that it complains of goes there; NULL: its first words into `err` */
};

/* `*ret_fd`: a shared object in memory, for tn_host_opts.types_fd. `*ret_declared` (may be NULL): it has what
   is only declared. −EINVAL "stub_compile", −ENOENT "stub_no_compiler", −ETIME "stub_time". Waits. */
int tn_host_stub_compile(const struct tn_host_stub *stub, int *ret_fd, bool *ret_declared,
                         struct tn_error *err);

#endif
