/* SPDX-License-Identifier: MIT */
/*
 * Code that is mapped later. Links at system calls are in all code there is; when the loader has mapped more of it, and before
 * anything of that has run, the thread that loads comes here, tells the broker, and waits until links are there too. It
 * waits for two seconds at most, and until the broker answers again nobody else does: one that is stopped, or slow, stops
 * nobody for long.
 */
#include "agent/agent.h"
#include "rt/barrier.h"
#include "rt/map/map.h"
#include "rt/syscalls.h"

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define ROUNDS     20
#define ROUND_NS   100000000

static void tell(struct tn_loads *l, u32 pid)
{
    u32 i = 0;

    while (i < TN_LOADS_WHO && tn_load(&l->who[i]) != pid && !tn_cas32(&l->who[i], 0, pid))
        i++;
    if (i == TN_LOADS_WHO)
        tn_store(&l->all, 1);
}

u64 tn_agent_loaded(void *ctx, struct tn_run *run)
{
    static const s64 round[] = {0, ROUND_NS};
    const struct tn_proc *proc = run->proc;
    struct tn_loads *l = (struct tn_loads *)(proc->stats + TN_MAX_LINKS);
    u64 mine;

    if (!tn_syscall_allowed(proc, TN_SYS_futex))
        return 0;
    tell(l, proc->owner_pid);
    mine = tn_fetch_add(&l->loaded, 1) + 1;
    if (tn_cas32(&l->wake, TN_RB_ARMED, 0))
        TN_CALL(proc, futex, &l->wake, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
    for (u32 i = 0; !tn_load(&l->late); i++) {
        u64 looked = tn_load(&l->looked);

        if ((s64)(looked - mine) >= 0)
            break;
        if (i == ROUNDS) {
            tn_store(&l->late, 1);
            break;
        }
        if (TN_CALL(proc, futex, &l->looked, FUTEX_WAIT, (u32)looked, round, 0, 0) == -EPERM)
            break;
    }
    return 0;
}
