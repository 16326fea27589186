/* SPDX-License-Identifier: MIT */
/* Waiting for a lock; see lock.h. */
#include "rt/lock.h"

#include <errno.h>

int tn_lock_slow(u64 *word, const struct tn_who *who)
{
    const struct tn_proc *proc = who->run ? who->run->proc : NULL;
    bool may_yield = tn_syscall_allowed(proc, TN_SYS_sched_yield);

    for (u32 n = 0; n < TN_LOCK_SPINS + TN_LOCK_YIELDS; n++) {
        u64 seen = tn_load(word);

        if (!seen && tn_cas64(word, 0, who->owner))
            return 0;
        if (seen == who->owner)
            return tn_self_alone(who->run) ? TN_LOCK_REPAIR : -EBUSY;
        if (n < TN_LOCK_SPINS || !may_yield)
            tn_pause();
        else
            TN_SYSCALL(sched_yield, 0, 0, 0, 0, 0, 0);
    }
    return -EBUSY;
}
