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

struct time {
    s64 sec, nsec;
};

static u64 __attribute__((noinline)) ask_kernel(s32 clock, const struct tn_proc *proc)
{
    struct time t = {0, 0};

    return TN_CALL(proc, clock_gettime, clock, &t, 0, 0, 0, 0) ? 0 : (u64)t.sec * 1000000000ull + (u64)t.nsec;
}

/* In its callers, each of which knows its clock. */
static inline __attribute__((always_inline)) u64 read_clock(s32 clock, const struct tn_proc *proc)
{
    int (*vdso)(s32, struct time *) = proc ? (int (*)(s32, struct time *))proc->vdso_clock_gettime : NULL;
    struct time t;

    if (!TN_LIKELY(vdso && (coarse(clock) || !tscless(proc))))
        return ask_kernel(clock, proc);
    return TN_LIKELY(!vdso(clock, &t)) ? (u64)t.sec * 1000000000ull + (u64)t.nsec : 0;
}

u64 tn_clock_ns(s32 clock, const struct tn_proc *proc)
{
    return read_clock(clock, proc);
}

#define CLOCK(name, clock)                                                                                   \
    u64 tn_helper_ktime_get_##name(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)               \
    {                                                                                                        \
        return read_clock(clock, run->proc);                                                                 \
    }
CLOCK(ns, CLOCK_MONOTONIC)
CLOCK(boot_ns, CLOCK_BOOTTIME)
CLOCK(coarse_ns, CLOCK_MONOTONIC_COARSE)
CLOCK(tai_ns, CLOCK_TAI)
#undef CLOCK
