/* SPDX-License-Identifier: MIT */
/*
 * Signals become ours while breakpoints stand in a process, or loads of its memory may fault, and the host's again afterwards
 * (rt/signals.h, agent/signals.c).
 *
 *   on    every call that touches a handler or a mask is guarded already (guards.c) ── from here on those who come wait
 *         ── awake threads held, none of them in front of such a call ── one lends itself: all handlers read, ours
 *         installed, what is ours taken out of the masks of the others, and out of those of threads ── go on
 *   off   bytes of breakpoints are back and nobody's trap is under way; no program runs that loads so ── the same, the other
 *         way round: handlers and masks as the host believes them ── guards go
 *
 * What is needed later is added to what is ours already in the same way, while the rest goes on being ours.
 *
 * A breakpoint that is met while SIGTRAP is blocked kills, and so does a load that faults while SIGSEGV is. A thread that is
 * held and blocks it goes on without, and believes
 * it still; so does one that sleeps and may be interrupted. Another sleeper cannot be helped, nor one of whom it is not known (a
 * sleep with a mask of its own has another one for afterwards): it is waited for, and then refused by name. What frames of handlers
 * hold is seen when they return. Where no thread can
 * be borrowed for `off`, handler and guards stay, which is a process that runs as before.
 *
 * What the process believes is written down in its own memory (tn_signals) before the first handler is changed: hands
 * that are killed half-way are followed by others that go `off`, for all that was being changed.
 */
#include "rt/signals.h"
#include "inject/hands.h"
#include "inject/restartable.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#define SETTLE_NS 1000000000ull
#define ACTIONS   1024u /* in the scratch page: struct tn_sigaction[64] */
#define TRIES     400u

static const struct tn_region *region(const struct tn_hands *h)
{
    return tn_state_region(h->st, TN_REGION_SIGNALS, 0);
}

static int put(struct tn_hands *h, u64 signals, u64 off, const void *bytes, u64 len)
{
    return tn_tracee_write(&h->t, signals + off, bytes, len);
}

static int set_on(struct tn_hands *h, u64 signals, u64 on)
{
    return put(h, signals, offsetof(struct tn_signals, on), &on, sizeof(on));
}

/* --------------------------------------------------------------------------------------- everybody held */

/* The mask that a sleep in this call is given; 0: it is given none. */
static u64 mask_of_sleep(const struct tn_hands *h, s64 nr, const u64 arg[6])
{
    u64 pair[2];

    switch (nr) {
    case SYS_rt_sigsuspend:
        return arg[0];
    case SYS_ppoll:
        return arg[3];
    case SYS_epoll_pwait:
    case TN_GUARD_epoll_pwait2:
        return arg[4];
    case TN_GUARD_io_uring_enter:
        return arg[3] & 8 ? 0 : arg[4];
    case SYS_pselect6:
    case TN_GUARD_io_pgetevents:
        return arg[5] && tn_tracee_read(&h->t, arg[5], pair, sizeof(pair)) == 0 ? pair[0] : 0;
    default:
        return 0;
    }
}

static bool sleep_blocks(const struct tn_hands *h, s64 nr, const u64 arg[6], u64 set)
{
    u64 at = mask_of_sleep(h, nr, arg), mask = 0;

    return at && (tn_tracee_read(&h->t, at, &mask, sizeof(mask)) < 0 || mask & set);
}

/* May it be about to make a call that a guard has let pass? */
static bool before_call(const struct tn_hands *h, u64 pc)
{
    u8 two[2];

    for (u32 i = 0; i < h->st->nregions; i++) {
        const struct tn_region *r = &h->st->region[i];

        if ((r->kind == TN_REGION_NEAR_TEXT || r->kind == TN_REGION_AGENT_TEXT) && pc - r->addr < r->len)
            return true;
    }
    return tn_tracee_read(&h->t, pc, two, 2) == 0 && two[0] == 0x0f && two[1] == 0x05;
}

enum verdict { FINE, LATER, BLOCKS };

static enum verdict look_at_held(struct tn_hands *h, const struct tn_thread *th, u64 set)
{
    struct user_regs_struct regs;

    if (tn_ptrace(&h->t, PTRACE_GETREGS, th->tid, 0, &regs) < 0)
        return FINE; /* gone */
    if (th->tid == h->b.tid)
        regs = h->b.regs;
    if ((s64)regs.orig_rax != SYS_sched_yield &&
        before_call(h, regs.rip)) /* who gives way there waits for us */
        return LATER;
    const u64 arg[6] = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};

    return set && (s64)regs.orig_rax >= 0 && sleep_blocks(h, (s64)regs.orig_rax, arg, set) ? BLOCKS : FINE;
}

/* Asleep, and left so if all can be seen from outside. */
static enum verdict look_at_sleeper(struct tn_hands *h, struct tn_thread *th,
                                    const struct tn_doing_what *what, u64 set, bool *ret_held)
{
    struct tn_status st;

    *ret_held = false;
    if (tn_tracee_vforks(what->nr) && set)
        return LATER; /* whoever runs in its memory */
    if (!set)
        return FINE;
    if (tn_status_read(th->pid, th->tid, &st) < 0)
        return FINE;
    if (!mask_of_sleep(h, what->nr, what->arg) && !(st.sigblk & set))
        return FINE;
    if (!tn_restartable(h->t.pid, what, h->t.seccomp))
        return BLOCKS;
    tn_tracee_interrupt(&h->t, th);
    h->t.interrupted++;
    *ret_held = true;
    return FINE;
}

/*
 * Every awake thread held in front of no guarded call; the sleepers asleep in calls of which all is known. −EAGAIN: not now.
 * `set`: what nobody must be left to block; 0: masks do not matter.
 */
static int hold_all(struct tn_hands *h, u64 set)
{
    int r = tn_tracee_gather(&h->t, false, NULL);

    for (u32 pass = 0; r == 0 && pass < TRIES; pass++) {
        enum verdict worst = FINE;
        bool all = true;

        tn_tracee_wait(&h->t, 0);
        for (u32 i = 0; i < h->t.n && worst == FINE; i++) {
            struct tn_thread *th = &h->t.th[i];
            struct tn_doing_what what;
            bool held;

            if (th->state != TN_TH_FREE || th->forked)
                continue;
            if (th->pid != h->t.pid)
                worst = LATER;
            tn_thread_doing(th->pid, th->tid, &what);
            switch (what.doing) {
            case TN_DOING_GONE:
                th->state = TN_TH_GONE;
                break;
            case TN_DOING_SLEEPS:
                worst = look_at_sleeper(h, th, &what, set, &held);
                all &= !held;
                break;
            case TN_DOING_RUNS:
            case TN_DOING_STOPPED:
                tn_tracee_interrupt(&h->t, th);
                all = false;
                break;
            }
        }
        if (tn_tracee_settle(&h->t, 0, SETTLE_NS) < 0)
            r = -ETIMEDOUT;
        for (u32 i = 0; r == 0 && i < h->t.n; i++) {
            struct tn_thread *th = &h->t.th[i];
            enum verdict v;

            if (th->state != TN_TH_HELD || th->forked)
                continue;
            if (th->tid != h->b.tid)
                tn_tracee_mend_result(&h->t, th);
            v = look_at_held(h, th, set);
            if (v == LATER && th->tid != h->t.keep && th->tid != h->b.tid) {
                tn_tracee_resume(&h->t, th);
                all = false;
            } else {
                worst = TN_MAX(worst, v);
            }
        }
        if (r == 0 && worst != FINE)
            r = -EAGAIN;
        if (all)
            break;
        if (pass == TRIES - 1)
            r = -EAGAIN;
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    return r;
}

/* ------------------------------------------------------------------------------------------ one that calls */

static int borrow(struct tn_hands *h, u32 wait_ms, struct tn_error *err)
{
    int r = h->st->lent.tid ? -EAGAIN
            : h->held       ? tn_borrow_held(&h->t, h->t.keep, &h->b, err)
                            : tn_borrow(&h->t, wait_ms, &h->b, err);

    h->borrowed = r == 0;
    return r;
}

static int calls(struct tn_hands *h, const struct tn_remote *list, u32 n)
{
    const struct tn_region *stub = tn_state_region(h->st, TN_REGION_STUB, 0);
    u32 done = 0;
    s64 last = 0;
    int r;

    if (!stub || !n)
        return stub ? 0 : -EPROTO;
    h->st->lent.stub = stub->addr;
    r = tn_remote_calls(&h->t, &h->b, stub->addr, list, n, &done, &last);
    return r < 0 ? r : done < n ? (int)last : 0;
}

/* act[1 … 64] */
static int read_actions(struct tn_hands *h, u64 scratch, struct tn_sigaction act[65])
{
    struct tn_remote list[64];
    int r;

    for (u32 sig = 1; sig <= 64; sig++)
        list[sig - 1] =
            (struct tn_remote){SYS_rt_sigaction, {sig, 0, scratch + ACTIONS + (sig - 1) * sizeof(*act), 8}};
    r = calls(h, list, 64);
    return r < 0 ? r : tn_tracee_read(&h->t, scratch + ACTIONS, &act[1], 64 * sizeof(*act));
}

static int write_actions(struct tn_hands *h, u64 scratch, const struct tn_sigaction act[65], u64 which)
{
    struct tn_remote list[64];
    u32 n = 0;
    int r = tn_tracee_write(&h->t, scratch + ACTIONS, &act[1], 64 * sizeof(*act));

    for (u32 sig = 1; sig <= 64; sig++)
        if (which >> (sig - 1) & 1)
            list[n++] = (struct tn_remote){SYS_rt_sigaction,
                                           {sig, scratch + ACTIONS + (sig - 1) * sizeof(*act), 0, 8}};
    return r < 0 ? r : calls(h, list, n);
}

/* ----------------------------------------------------------------------------------------------------- on */

/* A handler returns by a guarded call, as far as it says where. */
static bool returns_guarded(const struct tn_hands *h, const struct tn_sigaction *act)
{
    if (act->handler <= 1)
        return true;
    for (u32 i = 0; i < h->st->nsites; i++)
        if (h->st->site[i].state == TN_SITE_PATCHED && h->st->site[i].common &&
            h->st->site[i].addr == act->restorer)
            return true;
    return false;
}

/* What is kept of handlers, as far as it is written down before they are changed. */
#define KEPT (offsetof(struct tn_signals, child) - offsetof(struct tn_signals, taken))

static int read_kept(struct tn_hands *h, u64 at, struct tn_signals *s)
{
    return tn_tracee_read(&h->t, at + offsetof(struct tn_signals, taken), &s->taken, KEPT);
}

static int write_kept(struct tn_hands *h, u64 at, const struct tn_signals *s)
{
    return put(h, at, offsetof(struct tn_signals, taken), &s->taken, KEPT);
}

/* The action of a signal as the host believes it, given the kernel's. */
static struct tn_sigaction as_believed(const struct tn_signals *s, u32 sig, struct tn_sigaction act)
{
    enum tn_ours row = tn_ours_row(sig);

    if (row < TN_OURS_COUNT && s->taken & TN_SIG_BIT(sig) && act.handler == s->entry)
        return s->action[row];
    if (act.handler == s->entry)
        act.handler = s->host[sig];
    act.mask |= s->masked[sig];
    return act;
}

/* What the kernel is to have of it. */
static struct tn_sigaction as_taken(struct tn_signals *s, u32 sig, struct tn_sigaction believed)
{
    enum tn_ours row = tn_ours_row(sig);

    s->masked[sig] = s->host[sig] = 0;
    if (row < TN_OURS_COUNT && s->taken & TN_SIG_BIT(sig)) {
        s->action[row] = believed;
        return tn_signals_action(s, sig, &believed);
    }
    s->masked[sig] = believed.mask & s->taken;
    if (s->masked[sig] && believed.handler > 1) {
        s->host[sig] = believed.handler;
        believed.handler = s->entry;
    }
    believed.mask &= ~s->taken;
    return believed;
}

/*
 * `taken`: what is to be ours from now on. What is kept is written down before what becomes ours is changed, and after what
 * becomes the host's again has been: at any time it tells, with the kernel's actions, what the host believes. When nothing is
 * ours any more it is left, and void. `ret_begun`: some of it may have been done.
 */
static int change_actions(struct tn_hands *h, u64 scratch, u64 at, u64 taken, struct tn_signals *s,
                          bool *ret_begun, struct tn_error *err)
{
    struct tn_sigaction act[65], to[65];
    u64 which = 0, all = s->taken | taken;
    bool more = taken & ~s->taken;
    int r = read_actions(h, scratch, act);

    *ret_begun = false;
    for (u32 sig = 1; r == 0 && sig <= 64; sig++) {
        if (taken && !returns_guarded(h, &act[sig]) && act[sig].handler != s->entry)
            return tn_fail(
                err, -ENOTSUP, "signals_not_ours",
                "no five-byte jump fits, and no breakpoint can stand in process %d: its handler of signal %u "
                "returns by code at 0x%llx that is not known",
                h->t.pid, sig, (unsigned long long)act[sig].restorer);
        to[sig] = as_believed(s, sig, act[sig]);
    }
    s->taken = taken;
    for (u32 sig = 1; r == 0 && sig <= 64; sig++) {
        /* One whose handler the host has never believed anything else of, and that is none of ours, is left alone. */
        bool was = all & TN_SIG_BIT(sig) || s->masked[sig] || to[sig].mask & taken;

        if (was) {
            to[sig] = as_taken(s, sig, to[sig]);
            which |= TN_SIG_BIT(sig);
        }
    }
    if (r == 0 && more)
        r = write_kept(h, at, s);
    *ret_begun = r == 0;
    if (r == 0)
        r = write_actions(h, scratch, to, which);
    return r == 0 && !more && taken ? write_kept(h, at, s) : r;
}

static int change_on(struct tn_hands *h, u64 scratch, u64 entry, u64 restorer, u64 add, bool *ret_begun,
                     struct tn_error *err)
{
    u64 at = region(h)->addr;
    _free_ struct tn_signals *s = calloc(1, sizeof(*s));
    int r = s ? 0 : -ENOMEM;

    if (r == 0 && h->st->signals_set)
        r = read_kept(h, at, s);
    if (r < 0)
        return r;
    s->taken = h->st->signals_set;
    s->proc = (const struct tn_proc *)tn_state_region(h->st, TN_REGION_PROC, 0)->addr;
    s->entry = entry;
    s->restorer = restorer;
    return change_actions(h, scratch, at, s->taken | add, s, ret_begun, err);
}

/* Who blocks what is added goes on without, and believes it still. What is known from an earlier time, when nothing was
   ours, is void. */
static int take_masks(struct tn_hands *h, u64 add)
{
    u64 at = region(h)->addr, zero = 0;
    _free_ struct tn_sig_thread *known = calloc(TN_SIG_THREADS, sizeof(*known));
    int r = known ? 0 : -ENOMEM;

    if (r == 0 && h->st->signals_set)
        r = tn_tracee_read(&h->t, at + offsetof(struct tn_signals, thread), known,
                           TN_SIG_THREADS * sizeof(*known));
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 i = 0; i < h->t.n && r == 0; i++) {
            struct tn_thread *th = &h->t.th[i];
            bool lent = th->tid == h->b.tid;
            struct user_regs_struct regs;
            u64 mask, tp;
            u32 k, n = 0;

            if (th->state != TN_TH_HELD || th->pid != h->t.pid ||
                tn_ptrace(&h->t, PTRACE_GETREGS, th->tid, 0, &regs) < 0 ||
                tn_ptrace(&h->t, PTRACE_GETSIGMASK, th->tid, sizeof(mask), &mask) < 0)
                continue;
            mask = lent ? h->b.mask : mask;
            tp = lent ? h->b.regs.fs_base : regs.fs_base;
            if (!(mask & add))
                continue;
            if (pass) {
                mask &= ~add;
                if (lent)
                    h->b.mask = mask;
                else
                    tn_ptrace(&h->t, PTRACE_SETSIGMASK, th->tid, sizeof(mask), &mask);
                continue;
            }
            for (k = TN_SLOT_HASH(tp);
                 n < TN_SIG_PROBES && known[k % TN_SIG_THREADS].tp && known[k % TN_SIG_THREADS].tp != tp; n++)
                k++;
            if (n == TN_SIG_PROBES)
                return -EAGAIN;
            known[k % TN_SIG_THREADS].tp = tp;
            known[k % TN_SIG_THREADS].blocked |= mask & add;
        }
        if (!pass && r == 0)
            r = put(h, at, offsetof(struct tn_signals, thread), known, TN_SIG_THREADS * sizeof(*known));
        for (u32 i = 0; !pass && i < TN_SIG_CHILDREN && r == 0; i++)
            r = put(h, at, offsetof(struct tn_signals, child) + i * sizeof(struct tn_sig_child), &zero,
                    sizeof(zero));
    }
    return r;
}

/* ---------------------------------------------------------------------------------------------------- off */

/* Masks as their threads believe them: of those that are held, and of sleepers that may be interrupted. `set`: what is given
   back. */
static void give_masks(struct tn_hands *h, u64 signals, u64 set)
{
    _free_ struct tn_sig_thread *known = calloc(TN_SIG_THREADS, sizeof(*known));

    if (!known || tn_tracee_read(&h->t, signals + offsetof(struct tn_signals, thread), known,
                                 TN_SIG_THREADS * sizeof(*known)) < 0)
        return;
    for (u32 i = 0; i < TN_SIG_THREADS; i++)
        if (known[i].tp && known[i].blocked & set)
            goto some;
    return;
some:
    for (u32 i = 0; i < h->t.n; i++) {
        struct tn_doing_what what;

        if (h->t.th[i].state != TN_TH_FREE || h->t.th[i].pid != h->t.pid)
            continue;
        tn_thread_doing(h->t.pid, h->t.th[i].tid, &what);
        if (what.doing == TN_DOING_SLEEPS && tn_restartable(h->t.pid, &what, h->t.seccomp))
            tn_tracee_interrupt(&h->t, &h->t.th[i]);
    }
    tn_tracee_settle(&h->t, 0, SETTLE_NS);
    for (u32 i = 0; i < h->t.n; i++) {
        struct tn_thread *th = &h->t.th[i];
        bool lent = th->tid == h->b.tid;
        struct user_regs_struct regs;
        u64 mask;

        if (th->state != TN_TH_HELD || th->pid != h->t.pid ||
            tn_ptrace(&h->t, PTRACE_GETREGS, th->tid, 0, &regs) < 0 ||
            tn_ptrace(&h->t, PTRACE_GETSIGMASK, th->tid, sizeof(mask), &mask) < 0)
            continue;
        if (!lent)
            tn_tracee_mend_result(&h->t, th);
        for (u32 k = 0; k < TN_SIG_THREADS; k++) {
            u64 blocked = known[k].blocked & set;

            if (known[k].tp != (lent ? h->b.regs.fs_base : regs.fs_base) || !known[k].tp || !blocked)
                continue;
            mask |= blocked;
            if (lent)
                h->b.mask |= blocked;
            else
                tn_ptrace(&h->t, PTRACE_SETSIGMASK, th->tid, sizeof(mask), &mask);
            for (u32 row = 0; row < TN_OURS_COUNT; row++) {
                u32 sig = tn_ours_nr((enum tn_ours)row);

                if (known[k].pending & blocked & TN_SIG_BIT(sig))
                    syscall(SYS_tgkill, h->t.pid, th->tid, sig);
            }
            known[k].blocked &= ~set;
            known[k].pending &= ~set;
        }
    }
    put(h, signals, offsetof(struct tn_signals, thread), known, TN_SIG_THREADS * sizeof(*known));
}

/* No load may fault from here on: reads take the slower way. −EAGAIN: a run is under way that may have begun one. A run that
   was abandoned counts too, until its thread has another. */
static int end_loads(struct tn_hands *h, u64 at)
{
    _free_ struct tn_private *p = malloc(sizeof(*p));
    struct tn_proc proc;
    u64 loads, addr, zero = 0;
    int r =
        p ? tn_tracee_read(&h->t, at + offsetof(struct tn_signals, loads), &loads, sizeof(loads)) : -ENOMEM;

    if (r < 0 || !loads)
        return r;
    r = put(h, at, offsetof(struct tn_signals, loads), &zero, sizeof(zero));
    r = r < 0 ? r : tn_tracee_read(&h->t, at + offsetof(struct tn_signals, proc), &addr, sizeof(addr));
    r = r < 0 ? r : tn_tracee_read(&h->t, addr, &proc, sizeof(proc));
    r = r < 0 ? r : tn_tracee_read(&h->t, (u64)proc.priv, p, sizeof(*p));
    if (r < 0)
        return r;
    for (u32 i = 0; i < TN_SLOT_COUNT; i++)
        if (p->slot[i].sp)
            return -EAGAIN;
    for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
        if (p->overflow[i].sp)
            return -EAGAIN;
    return 0;
}

/* `set` is the host's again. */
static int change_off(struct tn_hands *h, u64 scratch, u64 at, u64 set)
{
    _free_ struct tn_signals *s = malloc(sizeof(*s));
    int r = s ? read_kept(h, at, s) : -ENOMEM;
    bool begun;

    return r < 0 ? r : change_actions(h, scratch, at, s->taken & ~set, s, &begun, NULL);
}

/* ------------------------------------------------------------------------------------------- from one to the other */

/* One thread makes calls for us, all others are held, and who comes to a guarded call waits. */
static int begin(struct tn_hands *h, u64 signals, u64 set, u32 wait_ms, struct tn_error *err)
{
    int r = borrow(h, wait_ms, err);

    if (r == 0)
        r = set_on(h, signals, TN_SIGNALS_CHANGING);
    if (r == 0)
        r = hold_all(h, set);
    return r;
}

static void end(struct tn_hands *h, u64 signals, u64 on)
{
    u64 now;

    if (set_on(h, signals, on) < 0 && tn_tracee_read(&h->t, signals, &now, sizeof(now)) == 0)
        tn_tracee_stumble(&h->t); /* whoever waits there would wait for ever */
    if (h->borrowed)
        tn_borrow_end(&h->t, &h->b);
    h->borrowed = false;
    tn_tracee_resume_all(&h->t);
}

static bool again(int r)
{
    return r == -EAGAIN || r == -ETIMEDOUT;
}

/* `ret_half`: what was begun could not be undone. */
static int take(struct tn_hands *h, u64 scratch, u64 entry, u64 restorer, u64 add, bool *ret_half,
                struct tn_error *err)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    u64 at = region(h)->addr, one = 1;
    bool begun = false;
    int r = put(h, proc->addr, offsetof(struct tn_proc, signals), &at, sizeof(at));

    r = r < 0 ? r : change_on(h, scratch, entry, restorer, add, &begun, err);
    r = r < 0 ? r : take_masks(h, add);
    *ret_half = r < 0 && begun && change_off(h, scratch, at, add) < 0;
    if (r < 0 && begun && !*ret_half)
        give_masks(h, at, add);
    if (r == 0 && add & TN_SIGNALS_LOADS)
        put(h, at, offsetof(struct tn_signals, loads), &one, sizeof(one));
    return r;
}

int tn_hands_signals_on(struct tn_hands *h, u64 entry, u64 restorer, u64 set, u32 wait_ms,
                        struct tn_error *err)
{
    const struct tn_region *scratch = tn_state_region(h->st, TN_REGION_SCRATCH, 0), *s = region(h);

    tn_hands_signals_repair(h, wait_ms); /* an order before this one may have ended half-way */

    u64 until = tn_monotonic() + wait_ms * 1000000ull, add = set & ~h->st->signals_set;
    u32 was = h->st->signals == TN_SIGNALS_ON ? TN_SIGNALS_ON : TN_SIGNALS_OFF;
    bool nobody, half = false;
    int r;

    if (was == TN_SIGNALS_ON && !add)
        return 0;
    if (h->borrowed || !scratch || !s || !tn_state_region(h->st, TN_REGION_PROC, 0) ||
        (was == TN_SIGNALS_ON && entry != h->st->signals_entry))
        return tn_fail(err, -EPROTO, "bad_order", "the injector sent an order out of turn");
    if (was == TN_SIGNALS_OFF) {
        h->st->signals = TN_SIGNALS_CHANGING;
        h->st->signals_entry = entry;
    }
    h->st->signals_adding = add;
    do {
        r = begin(h, s->addr, add, wait_ms, err);
        nobody = !h->borrowed;
        if (r == 0)
            r = take(h, scratch->addr, entry, restorer, add, &half, err);
        end(h, s->addr, r == 0 || half ? TN_SIGNALS_ON : was);
        if (again(r))
            nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    } while (again(r) && !half && tn_monotonic() < until && !tn_tracee_hung_up(&h->t));
    if (!half) { /* otherwise it stays written down so, and the hands after these give it back */
        h->st->signals = r == 0 ? TN_SIGNALS_ON : was;
        h->st->signals_set |= r == 0 ? add : 0;
        h->st->signals_adding = 0;
    }
    if (again(r) && nobody)
        return r;
    if (again(r))
        return tn_fail(
            err, r, "sigtrap_blocked",
            "no five-byte jump fits, and no breakpoint can stand in process %d: one of its threads blocks "
            "SIGTRAP, or sleeps with a signal mask of its own, all the time",
            h->t.pid);
    return r < 0 ? tn_fail(err, r, "vanished", "the signals of process %d cannot be taken over: %s", h->t.pid,
                           strerror(-r))
                 : 0;
}

static int go_off(struct tn_hands *h, u64 at, u64 set, u32 wait_ms)
{
    const struct tn_region *scratch = tn_state_region(h->st, TN_REGION_SCRATCH, 0);
    bool all = set == ~0ull;
    int r;

    if (!scratch || h->borrowed)
        return -EPROTO;
    r = begin(h, at, 0, wait_ms, NULL);
    if (r == 0 && set & TN_SIGNALS_LOADS)
        r = end_loads(h, at);
    if (r == 0)
        r = change_off(h, scratch->addr, at, set);
    if (r == 0)
        give_masks(h, at, set);
    end(h, at, r == 0 && all ? TN_SIGNALS_OFF : TN_SIGNALS_ON);
    return r;
}

void tn_hands_signals_inherited(struct tn_hands *h, const struct tn_maps *maps)
{
    const struct tn_region *own = tn_state_region(h->st, TN_REGION_PROC, 0);

    for (u32 i = 0; i < maps->n; i++) {
        const struct tn_vma *v = &maps->vma[i];
        struct tn_proc p;
        u64 on;

        if (tn_is_marker(maps, v) && (!own || own->addr != v->start) &&
            tn_tracee_read(&h->t, v->start, &p, sizeof(p)) == 0 && p.magic == TN_PROC_MAGIC && !p.held &&
            p.signals && tn_tracee_read(&h->t, p.signals, &on, sizeof(on)) == 0 && on == TN_SIGNALS_ON)
            go_off(h, p.signals, ~0ull, 0);
    }
}

static int try_off(struct tn_hands *h, u64 set, u32 wait_ms)
{
    u64 until = tn_monotonic() + 2 * wait_ms * 1000000ull;
    int r;

    do { /* whoever is borrowed may be in the middle of a call of ours */
        r = go_off(h, region(h)->addr, set, wait_ms);
        if (again(r))
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    } while (again(r) && tn_monotonic() < until);
    return r == -ESRCH ? 0 : r;
}

int tn_hands_signals_off(struct tn_hands *h, u32 wait_ms)
{
    struct tn_state *st = h->st;
    int r;

    if (st->signals == TN_SIGNALS_OFF || !region(h))
        return 0;
    r = try_off(h, ~0ull, wait_ms);
    if (r == 0) {
        st->signals = TN_SIGNALS_OFF;
        st->signals_set = st->signals_adding = 0;
    } else if (st->signals == TN_SIGNALS_CHANGING) {
        st->signals = TN_SIGNALS_ON;
    }
    return r;
}

void tn_hands_signals_repair(struct tn_hands *h, u32 wait_ms)
{
    struct tn_state *st = h->st;

    if (st->signals == TN_SIGNALS_CHANGING)
        tn_hands_signals_off(h, wait_ms);
    /* Where they cannot be given back they stay: nothing is lost by that. */
    if (st->signals == TN_SIGNALS_ON && st->signals_adding && try_off(h, st->signals_adding, wait_ms) < 0)
        st->signals_set |= st->signals_adding;
    st->signals_adding = 0;
}

/* ------------------------------------------------------------------------------------------- breakpoints */

static int slot_of(const struct tn_hands *h, u64 addr, u64 *ret_at)
{
    u64 table = region(h) ? region(h)->addr + offsetof(struct tn_signals, brk) : 0, unused = 0;

    if (!table)
        return -EPROTO;
    for (u32 i = 0; i < TN_SIG_BREAKS; i++) {
        u64 at = table + (TN_SIG_BREAK(addr) + i) % TN_SIG_BREAKS * sizeof(struct tn_sig_break), there;
        int r = tn_tracee_read(&h->t, at, &there, sizeof(there));

        if (r < 0)
            return r;
        if (there == addr) {
            *ret_at = at;
            return 0;
        }
        if (there == 1 && !unused)
            unused = at;
        if (!there) {
            *ret_at = unused ? unused : at;
            return -ENOENT;
        }
    }
    *ret_at = unused;
    return unused ? -ENOENT : -ENOSPC;
}

int tn_hands_break_add(struct tn_hands *h, u64 addr, u64 enter)
{
    u64 at = 0;
    int r = slot_of(h, addr, &at);

    if (r < 0 && r != -ENOENT)
        return r;
    r = tn_tracee_write(&h->t, at + offsetof(struct tn_sig_break, enter), &enter, sizeof(enter));
    return r < 0 ? r : tn_tracee_write(&h->t, at, &addr, sizeof(addr));
}

void tn_hands_break_forget(struct tn_hands *h, u64 addr)
{
    const u64 gone = 1;
    u64 at;

    if (slot_of(h, addr, &at) == 0)
        tn_tracee_write(&h->t, at, &gone, sizeof(gone));
}
