/* SPDX-License-Identifier: MIT */
/*
 * Who runs, as the process itself sees it: pid, uid and so on are those of its own namespaces.
 */
#include <asm/errno.h>

#include <time.h>

#include "rt/clock.h"
#include "rt/helper/helpers.h"
#include "rt/mem.h"
#include "rt/self.h"

#define COMM_LEN    16u
#define PR_GET_NAME 16u

u64 tn_helper_get_current_pid_tgid(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return (u64)tn_self_pid(run->proc) << 32 | tn_self_tid(run->proc);
}

u64 tn_helper_get_current_uid_gid(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    s64 uid = TN_CALL(run->proc, getuid, 0, 0, 0, 0, 0, 0);
    s64 gid = TN_CALL(run->proc, getgid, 0, 0, 0, 0, 0, 0);

    return uid < 0 || gid < 0 ? (u64)-EPERM : (u64)gid << 32 | (u32)uid;
}

u64 tn_helper_get_current_comm(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    char comm[COMM_LEN] = {0}, *dst = (char *)r1;
    u64 n = 0;

    memset(dst, 0, r2);
    if (TN_CALL(run->proc, prctl, PR_GET_NAME, comm, 0, 0, 0, 0) < 0)
        return (u64)-EINVAL;
    for (; n + 1 < r2 && n < COMM_LEN - 1 && comm[n]; n++)
        dst[n] = comm[n];
    return 0;
}

u64 tn_helper_get_smp_processor_id(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    /* A run with a slot of a CPU stays "on" it, wherever the thread goes:
       what indexes an array must not change. */
    return run->cpu >= 0 ? (u32)run->cpu : tn_self_cpu(run->proc);
}

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016), a
   state a thread; not for secrets, as Linux's is not. */
u64 tn_helper_get_prandom_u32(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    u64 x = run->slot ? run->slot->rnd : 0;

    if (!x) {
        x = tn_clock_ns(CLOCK_MONOTONIC, run->proc) * 0x9e3779b97f4a7c15ull ^ (u64)run;
        x ^= x >> 31;
        x |= !x;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    if (run->slot)
        run->slot->rnd = x;
    return x * 0x2545f4914f6cdd1dull >> 32;
}
