/* SPDX-License-Identifier: MIT */
/*
 * The host is about to take something from itself that the agent uses: system calls, by a filter, strict mode or a dispatcher;
 * the time stamp counter. What the agent believes of it was proved when the process was entered (rt/syscalls.h); it must not
 * believe it a moment longer than it is true, since a filter kills. So both calls by which that is done come here first:
 *
 *   denied (rt/signals.h) ── nobody begins a call of ours any more ── those who have begun one come out of it ── the host's call
 *
 * A filter may be put upon all threads at once, wherever they are: hence the wait, for a count that a call of ours raises before it
 * asks (syscall.c). First for all but `sched_yield`, which is what the wait itself uses; then, spinning, for that one.
 *
 * What is denied is what the filter may not allow, whatever a call's arguments are (rt/filter.h), or everything, where that is not to be
 * known. A filter without rt_sigreturn would kill for a load that faults: loads end with it, as far as they have not begun.
 *
 * The wait has an end: a count may stay up for ever, where a handler that has interrupted a call of ours has left by siglongjmp, or
 * whose thread sleeps in the kernel over a page. Not waited for is the thread itself: a handler that interrupts it between the
 * question and the call, and there confines its own thread.
 */
#include "agent/agent.h"

#include <linux/filter.h>

#include "rt/barrier.h"
#include "rt/filter.h"
#include "rt/signals.h"
#include "rt/syscalls.h"

#define OPTION_SECCOMP   22u /* PR_SET_SECCOMP */
#define OPTION_TSC       26u /* PR_SET_TSC */
#define OPTION_DISPATCH  59u /* PR_SET_SYSCALL_USER_DISPATCH */
#define TSC_FAULTS       2u  /* PR_TSC_SIGSEGV */
#define MODE_STRICT      1u  /* SECCOMP_MODE_STRICT: the kernel takes the time stamp counter with it */
#define MODE_FILTER      2u
#define OPERATION_STRICT 0u /* SECCOMP_SET_MODE_STRICT */
#define OPERATION_FILTER 1u
#define ROUNDS           1000000u

enum loses { NOTHING, FILTERED, STRICT, DISPATCHED, TSC };

/* A filter that is NULL is a question whether there are filters. */
static enum loses what(u32 nr, u64 a1, u64 a2, u64 a3)
{
    if (nr == TN_GUARD_seccomp)
        return (u32)a1 == OPERATION_STRICT ? STRICT : (u32)a1 == OPERATION_FILTER && a3 ? FILTERED : NOTHING;
    switch ((u32)a1) {
    case OPTION_SECCOMP:
        return a2 == MODE_STRICT ? STRICT : a2 == MODE_FILTER && a3 ? FILTERED : NOTHING;
    case OPTION_DISPATCH:
        return a2 ? DISPATCHED : NOTHING;
    case OPTION_TSC:
        return (u32)a2 == TSC_FAULTS ? TSC : NOTHING;
    default:
        return NOTHING;
    }
}

/* Rows that a filter allows, given where its struct sock_fprog lies. 0: it cannot be read, or is none; or another thread is at it. */
static u32 allowed_by(u64 at, struct tn_signals *s)
{
    struct {
        u16 n, pad[3];
        u64 insns;
    } prog;
    u64 word, end;
    u32 rows;

    if (!tn_agent_look(&prog, sizeof(prog), at, s) || !prog.n || prog.n > BPF_MAXINSNS)
        return 0;
    end = prog.insns + prog.n * sizeof(struct sock_filter);
    for (u64 page = prog.insns; page < end; page = page / TN_PAGE * TN_PAGE + TN_PAGE)
        if (!tn_agent_look(&word, sizeof(word), TN_MIN(page, end - sizeof(word)), s))
            return 0;
    if (!tn_cas64(&s->asking, 0, 1)) /* two at once */
        return 0;
    rows = tn_filter_rows(&s->room_to_ask, (const struct sock_filter *)prog.insns, prog.n);
    tn_store_release(&s->asking, 0);
    return rows;
}

static bool under_way(const struct tn_private *priv)
{
    u64 n = 0;

    for (u32 i = 0; i < TN_WAYS; i++)
        n |= __atomic_load_n(&priv->way[i].under, __ATOMIC_SEQ_CST);
    return n;
}

static void let_out(const struct tn_proc *proc)
{
    for (u32 i = 0; proc && proc->priv && i < ROUNDS && under_way(proc->priv); i++)
        if (TN_CALL(proc, sched_yield, 0, 0, 0, 0, 0, 0) < 0)
            tn_pause();
}

void tn_agent_confine(struct tn_signals *s, u32 nr, u64 a1, u64 a2, u64 a3)
{
    const u64 yield = 1ull << TN_SYS_sched_yield, back = 1ull << TN_SYS_rt_sigreturn;
    enum loses loses = what(nr, a1, a2, a3);
    u64 denied = ~0ull;

    if (loses == NOTHING)
        return;
    if (loses == TSC || loses == STRICT)
        tn_xchg(&s->no_tsc, 1);
    if (loses == TSC)
        return;
    if (loses == FILTERED)
        denied = ~(u64)allowed_by(a3, s);
    if (loses == STRICT)
        denied &= ~back;
    if (denied & back)
        tn_store(&s->loads, 0);
    tn_fetch_or(&s->denied, denied & ~yield);
    let_out(s->proc);
    if (denied & yield) {
        tn_fetch_or(&s->denied, yield);
        let_out(s->proc);
    }
    tn_fetch_add(&s->filters, loses == FILTERED);
}
