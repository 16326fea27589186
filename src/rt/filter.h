/* SPDX-License-Identifier: MIT */
/* What a seccomp filter says of the calls the agent makes. Pure. */
#ifndef TN_RT_FILTER_H
#define TN_RT_FILTER_H

#include "base/base.h"

struct sock_filter;

/* A way through a filter: where it is, and what its machine holds: A, X, memory; a bit each where that is known. */
struct tn_filter_way {
    u32 at, known, value[18];
};
/* Room for those that wait: not on the stack of whoever asks, which may be a host's. */
#define TN_FILTER_WAITING 16u
struct tn_filter_room {
    struct tn_filter_way waiting[TN_FILTER_WAITING];
};

/* Does this filter allow call `nr` of x86-64, whatever its arguments? */
bool tn_filter_allows(struct tn_filter_room *room, const struct sock_filter *insns, u32 n, u32 nr);
/* Bits of tn_proc.allowed_syscalls that it allows. */
u32 tn_filter_rows(struct tn_filter_room *room, const struct sock_filter *insns, u32 n);

#endif
