/* SPDX-License-Identifier: MIT */
/*
 * A lock word in shared memory: 0, or its owner (self.h). It waits a bounded time, never for its own thread,
 * and can be taken over from the dead. A hostile process may hold every lock for ever: the price is -EBUSY.
 *
 *   free ──CAS──▶ ours                      0
 *   ours already, an outer run under way    -EBUSY at once (we are a signal handler: we would wait for ever)
 *   ours already, no outer run              TN_LOCK_REPAIR: left by a run that siglongjmp abandoned; held
 *                                           now, mend first
 *   another's ──pause, then sched_yield──▶  0, or -EBUSY after TN_LOCK_WAIT_NS
 *
 * A holder may have been preempted for some time slices, so the wait is long. Who has waited in vain marks
 * the word as suspect, and those who come after him only try for a moment: a dead holder whom nobody has
 * recovered yet costs the host one long wait a lock, not one a call. Unlocking clears the mark with the word.
 */
#ifndef TN_RT_LOCK_H
#define TN_RT_LOCK_H

#include "rt/self.h"

#define TN_LOCK_SPINS   400u
#define TN_LOCK_YIELDS  100000u           /* where there is no clock */
#define TN_LOCK_WAIT_NS (50ull * 1000000) /* some time slices */
#define TN_LOCK_SUSPECT 1ull              /* owners have their low three bits clear */
#define TN_LOCK_REPAIR  1

/* Who locks. `run` may be NULL (user space). */
struct tn_who {
    u64 owner;
    const struct tn_run *run;
};

static inline struct tn_who tn_who(const struct tn_run *run)
{
    return (struct tn_who){tn_self_owner(run ? run->proc : NULL), run};
}

int tn_lock_slow(u64 *word, const struct tn_who *who);

static inline int tn_lock(u64 *word, const struct tn_who *who)
{
    if (TN_LIKELY(tn_cas64(word, 0, who->owner)))
        return 0;
    return tn_lock_slow(word, who);
}

static inline void tn_unlock(u64 *word)
{
    tn_store_release(word, 0);
}

#endif
