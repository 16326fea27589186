/* SPDX-License-Identifier: MIT */
/*
 * How much memory the control groups of a process leave it.
 *
 * Pages of ours in a process are charged to its group, and a group at its limit whose pages cannot be reclaimed has a process killed: the
 * one that we enter, or another. So it is asked before anything is mapped. The answer is a look, not a promise.
 */
#ifndef TN_INJECT_MEMCG_H
#define TN_INJECT_MEMCG_H

#include "base/base.h"

#include <sys/types.h>

/* Bytes that may be had before a limit is met; ~0: there is none, or none that can be seen from here. Counted as to be had: what files
   have in memory, and free swap as far as it is allowed. */
u64 tn_memcg_left(pid_t pid);

/* The same of one group and those above it: `group` ("/a/b", or empty) in the hierarchy that is mounted at `root`. `unified`: version 2.
   `swap`: bytes of the machine's that are free. */
u64 tn_memcg_left_in(const char *root, const char *group, bool unified, u64 swap);

#endif
