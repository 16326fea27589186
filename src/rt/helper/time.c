/* SPDX-License-Identifier: MIT */
/*
 * The clocks. Through the process's own vDSO where it has one (about 20 ns): plain C code of the kernel's
 * that uses general registers only and, with what it calls, less than 512 bytes of stack, which a trampoline
 * must have left. Otherwise, and where the instruction that the vDSO reads the time stamp counter by may fault
 * (coarse clocks have none), through the system call. A clock that can be had in neither way reads 0.
 */
#include <time.h>

#include "rt/barrier.h"
#include "rt/clock.h"
#include "rt/helper/helpers.h"
#include "rt/syscalls.h"

static bool tscless(const struct tn_proc *proc)
{
    const struct tn_signals *s = (const struct tn_signals *)proc->signals;

    return s && tn_load(&s->no_tsc);
}

static bool coarse(s32 clock)
{
    return clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_REALTIME_COARSE;
}

u64 tn_clock_ns(s32 clock, const struct tn_proc *proc)
{
    struct {
        s64 sec, nsec;
    } ts = {0, 0};
    s64 r = -1;

    if (proc && proc->vdso_clock_gettime && (!tscless(proc) || coarse(clock)))
        r = ((int (*)(s32, void *))proc->vdso_clock_gettime)(clock, &ts);
    else
        r = TN_CALL(proc, clock_gettime, clock, &ts, 0, 0, 0, 0);
    return r ? 0 : (u64)ts.sec * 1000000000ull + (u64)ts.nsec;
}

u64 tn_helper_ktime_get_ns(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return tn_clock_ns(CLOCK_MONOTONIC, run->proc);
}

u64 tn_helper_ktime_get_boot_ns(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return tn_clock_ns(CLOCK_BOOTTIME, run->proc);
}

u64 tn_helper_ktime_get_coarse_ns(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return tn_clock_ns(CLOCK_MONOTONIC_COARSE, run->proc);
}

u64 tn_helper_ktime_get_tai_ns(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return tn_clock_ns(CLOCK_TAI, run->proc);
}
