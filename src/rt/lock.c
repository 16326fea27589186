/* SPDX-License-Identifier: MIT */
/* Waiting for a lock; see lock.h. */
#include "rt/lock.h"

#include <errno.h>
#include <time.h>

#include "rt/clock.h"

static bool waited_enough(u64 start, u32 yields, const struct tn_proc *proc)
{
    return yields > TN_LOCK_YIELDS ||
           (start && tn_clock_ns(CLOCK_MONOTONIC_COARSE, proc) - start > TN_LOCK_WAIT_NS);
}

int tn_lock_slow(u64 *word, const struct tn_who *who)
{
    const struct tn_proc *proc = who->run ? who->run->proc : NULL;
    bool may_yield = tn_syscall_allowed(proc, TN_SYS_sched_yield);
    u64 start = 0;

    for (u32 n = 0;; n++) {
        u64 seen = tn_load(word);

        if (!seen && tn_cas64(word, 0, who->owner))
            return 0;
        if ((seen & ~TN_LOCK_SUSPECT) == who->owner)
            return tn_self_alone(who->run) ? TN_LOCK_REPAIR : -EBUSY;
        if (n < TN_LOCK_SPINS) {
            tn_pause();
            continue;
        }
        if (n == TN_LOCK_SPINS)
            start = tn_clock_ns(CLOCK_MONOTONIC_COARSE, proc);
        if ((seen & TN_LOCK_SUSPECT) || !may_yield)
            return -EBUSY;
        if (waited_enough(start, n - TN_LOCK_SPINS, proc)) {
            if (seen)
                tn_cas64(word, seen, seen | TN_LOCK_SUSPECT);
            return -EBUSY;
        }
        TN_CALL(proc, sched_yield, 0, 0, 0, 0, 0, 0);
    }
}
