/* SPDX-License-Identifier: MIT */
/* A clock of the process in nanoseconds, 0 where it cannot be read; see helper/time.c. */
#ifndef TN_RT_CLOCK_H
#define TN_RT_CLOCK_H

#include "rt/layout.h"

u64 tn_clock_ns(s32 clock, const struct tn_proc *proc);

#endif
