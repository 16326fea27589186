/* SPDX-License-Identifier: MIT */
/*
 * The tool's pointers may be bad, and a bad one is EFAULT, not a crash. The kernel is asked first, with the
 * cheapest calls that look at an address and do nothing else:
 *
 *   may it be read?     rt_sigprocmask with an impossible `how`: EFAULT, or EINVAL once it has read eight
 *                       bytes
 *   may it be written?  getcpu, which writes four bytes where our own come to stand anyway
 *
 * one a page, and not again for the page that was asked last in the same call. Then it is a plain copy.
 * Between the question and the copy another thread could take the page away: a tool that unmaps memory which
 * it has passed to a system call under way crashes here where Linux would tell it.
 */
#ifndef TN_DOOR_COPY_H
#define TN_DOOR_COPY_H

#include "base/base.h"

/* Pages found good in this call. Zero at its beginning. */
struct tn_good {
    u64 readable, writable; /* page number + 1 */
};

/* 0 or −EFAULT. good may be NULL. */
int tn_copy_in(void *to, u64 from, u64 len, struct tn_good *good);
int tn_copy_out(u64 to, const void *from, u64 len, struct tn_good *good);

#endif
