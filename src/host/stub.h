/* SPDX-License-Identifier: MIT */
/*
 * Types from a C header, for a host that has no debug information and cannot be rebuilt: a stub that includes
 * the headers is compiled for this machine, with the flags that the host was compiled with, and its own debug
 * information read. Nothing is run but the compiler, as the user who asks.
 *
 * All types of the headers come along. A function or variable of the host has its prototype or type where the
 * stub uses its declaration, and the compiler is GCC; others are dropped by compilers, and have a row without
 * a type:
 *
 *     #include <ngx_http.h>
 *     void *used[] = {(void *)ngx_http_finalize_request, (void *)&ngx_pid};
 *
 * Compiled natively, and not for the BPF target: that is another machine, whose headers of libc take other
 * branches and where long double has other bytes. (BTF of such an object can be given all the same, see
 * tn_host_opts; what is known to differ is refused there by name.)
 */
#ifndef TN_HOST_STUB_H
#define TN_HOST_STUB_H

#include "base/base.h"

struct tn_host_stub {
    const char *cc;           /* NULL: the environment's CC, else cc */
    const char *source;       /* a C file; everything that it includes counts, used or not */
    const char *const *flags; /* -I, -D …; NULL: none */
    u32 nflags;
    u32 limit_ms; /* of the compiler; 0: 60 000 */
};

/* `*ret_fd`: a shared object in memory, for tn_host_opts.types_fd. −EINVAL "stub_compile" with the compiler's
   first words, −ENOENT "stub_no_compiler", −ETIME "stub_time". Waits. */
int tn_host_stub_compile(const struct tn_host_stub *stub, int *ret_fd, struct tn_error *err);

#endif
