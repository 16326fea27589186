/* SPDX-License-Identifier: MIT */
/* Host memory that may not be readable; see helper/memory.c. Both leave all of dst zero on failure. */
#ifndef TN_RT_PROBE_H
#define TN_RT_PROBE_H

#include "rt/layout.h"

/* 0 or −EFAULT. */
int tn_probe_read(void *dst, u64 size, u64 addr, const struct tn_run *run);
/* At most `size` bytes with the final NUL, which is always written; how many, or −EFAULT. */
s64 tn_probe_read_str(char *dst, u64 size, u64 addr, const struct tn_run *run);
/* The other way. 0, or −EFAULT where some of it is not there or may not be written: what lies in pages before
   that is written then. A run's own record, and what lies below it on the stack, is nobody's buffer. */
int tn_probe_write(u64 addr, const void *src, u64 size, const struct tn_run *run);
/* Some of it lies there, where only a pointer that is not good leads to. */
bool tn_probe_own_frames(u64 addr, u64 size, const struct tn_run *run);

#endif
