/* SPDX-License-Identifier: MIT */
/*
 * How a link's program reads the host's memory: by loads whose faults are ours, or by system calls (rt/loads.h).
 *
 *   does it read so?  ── no ──▶ nothing is done, and nothing costs
 *      │ its pool names helpers and routines that do
 *      ▼
 *   every call that touches a mask or a handler can be hooked, none is filtered, no thread is in the way ── yes ──▶ SIGSEGV and
 *      │ no                                                                                       SIGBUS become ours (signals.c)
 *      ▼
 *   system calls, as exactly; why is written where `tenon doctor` looks (tn_proc.reads)
 *
 * A link never fails for it.
 */
#include "inject/brain.h"

#include <errno.h>

#include "jit/jit.h"
#include "rt/helper/helpers.h"
#include "rt/signals.h"
#include "rt/syscalls.h"

#define WAIT_MS 20u /* for threads that block them for a moment */

static bool reads_so(const struct tn_pool_entry *e)
{
    const struct tn_helper *helper = e->kind == TN_POOL_HELPER ? tn_helper_by_id(e->index) : NULL;

    if (e->kind == TN_POOL_AGENT)
        return e->index == TN_ROUTINE_READ || e->index == TN_ROUTINE_COPY ||
               e->index == TN_ROUTINE_COPY_CAREFUL;
    return helper && helper->flags & (TN_HF_READS_PROCESS | TN_HF_READS_STACK);
}

bool tn_loads_wanted(const struct tn_entry *c)
{
    if (!(~c->st->signals_set & TN_SIGNALS_LOADS))
        return false; /* they are ours already */
    for (u32 i = 0; i < c->spec->prog.npool; i++)
        if (reads_so(&c->spec->prog.pool[i]))
            return true;
    return false;
}

int tn_plan_loads(struct tn_entry *c)
{
    struct tn_error why = {}, *err = c->err;
    u32 n = c->nwishes;
    int r;

    c->reads = TN_READS_NONE;
    if (!tn_loads_wanted(c))
        return 0;
    c->reads = TN_READS_LOADS;
    if (tn_plan_breaks(c))
        return 0; /* the same calls are hooked for them */
    c->err = &why;
    r = tn_plan_guards(c);
    c->err = err;
    if (r == 0 || r == -ENOMEM)
        return r;
    c->nwishes = n;
    c->reads = TN_READS_UNHOOKED;
    return 0;
}

void tn_loads_refuse(struct tn_entry *c, u32 why)
{
    if (c->reads == TN_READS_LOADS)
        c->reads = why;
}

bool tn_loads_allowed(const struct tn_proc *facts)
{
    const u32 needs = 1u << TN_SYS_sigaltstack | 1u << TN_SYS_rt_sigprocmask;

    return (facts->allowed_syscalls & needs) == needs;
}

int tn_loads_take(struct tn_entry *c, u64 handler, u64 restorer)
{
    const struct tn_region *proc = tn_state_region(c->st, TN_REGION_PROC, 0);
    struct tn_error why = {}, *err = c->err;
    u32 reads;
    int r = 0;

    if (c->reads == TN_READS_NONE)
        return 0;
    if (c->reads == TN_READS_LOADS) {
        c->err = &why;
        r = tn_brain_order(c, TN_ORDER_SIGNALS, (u32)TN_SIGNALS_LOADS, handler, restorer, WAIT_MS, NULL, 0,
                           NULL, 0, NULL, 0);
        c->err = err;
        if (r == -ESRCH || !strcmp(why.reason, "hands_ended")) {
            *err = why;
            return r;
        }
        if (r < 0)
            c->reads = strcmp(why.reason, "signals_not_ours") ? TN_READS_BLOCKED : TN_READS_UNHOOKED;
    }
    reads = c->reads;
    r = proc ? tn_brain_write(c, proc->addr + offsetof(struct tn_proc, reads), proc, &reads, sizeof(reads))
             : 0;
    return r < 0 ? r : tn_brain_flush(c);
}

/* One marker's. Hostile. */
static int reads_of(pid_t pid, u64 at)
{
    struct tn_mark mark;
    struct tn_proc p;
    u64 loads = 0;

    if (tn_peek(pid, at, &p, sizeof(p)) < 0 || p.magic != TN_PROC_MAGIC || !p.held ||
        tn_peek(pid, at + TN_PROC_MARK_OFF, &mark, sizeof(mark)) < 0 || mark.pid != (u32)pid)
        return -ENOENT;
    if (p.signals &&
        tn_peek(pid, p.signals + offsetof(struct tn_signals, loads), &loads, sizeof(loads)) == 0 &&
        loads == 1)
        return TN_READS_LOADS;
    return p.reads < TN_READS_COUNT && p.reads != TN_READS_LOADS ? (int)p.reads : TN_READS_NONE;
}

int tn_inject_reads(pid_t pid)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    int r = tn_maps_read(pid, &maps) < 0 ? -ESRCH : -ENOENT;

    for (u32 i = 0; r < 0 && i < maps.n; i++)
        if (tn_is_marker(&maps, &maps.vma[i]))
            r = reads_of(pid, maps.vma[i].start);
    return r;
}
