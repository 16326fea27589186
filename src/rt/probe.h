/* SPDX-License-Identifier: MIT */
/* Host memory that may not be readable; see helper/memory.c. Both leave dst undefined on failure. */
#ifndef TN_RT_PROBE_H
#define TN_RT_PROBE_H

#include "rt/layout.h"

/* 0 or −EFAULT. */
int tn_probe_read(void *dst, u64 size, u64 addr, const struct tn_run *run);
/* At most `size` bytes with the final NUL, which is always written; how many, or −EFAULT. */
s64 tn_probe_read_str(char *dst, u64 size, u64 addr, const struct tn_run *run);

#endif
