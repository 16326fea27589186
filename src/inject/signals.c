/* SPDX-License-Identifier: MIT */
/*
 * SIGTRAP becomes ours while breakpoints stand in a process, and the host's again afterwards (rt/signals.h, agent/signals.c).
 *
 *   on    every call that touches a handler or a mask is guarded already (look.c) ── from here on those who come wait
 *         ── awake threads held, none of them in front of such a call ── one lends itself: all handlers read, ours
 *         installed, SIGTRAP taken out of the masks of the others, and out of those of threads ── go on
 *   off   bytes of breakpoints are back and nobody's trap is under way ── the same, the other way round: handlers and masks
 *         as the host believes them ── guards go
 *
 * A breakpoint that is met while SIGTRAP is blocked kills. A thread that is held and blocks it goes on without, and believes
 * it still; so does one that sleeps and may be interrupted. Another sleeper cannot be helped, nor one of whom it is not known (a
 * sleep with a mask of its own has another one for afterwards): it is waited for, and then refused by name. What frames of handlers
 * hold is seen when they return. Where no thread can
 * be borrowed for `off`, handler and guards stay, which is a process that runs as before.
 *
 * What the process believes is written down in its own memory (tn_signals) before the first handler is changed: hands
 * that are killed half-way are followed by others that go `off`.
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

static bool sleep_blocks(const struct tn_hands *h, s64 nr, const u64 arg[6])
{
    u64 at = mask_of_sleep(h, nr, arg), mask = 0;

    return at && (tn_tracee_read(&h->t, at, &mask, sizeof(mask)) < 0 || mask & TN_SIGTRAP_BIT);
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

static enum verdict look_at_held(struct tn_hands *h, const struct tn_thread *th, bool masks)
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

    return masks && (s64)regs.orig_rax >= 0 && sleep_blocks(h, (s64)regs.orig_rax, arg) ? BLOCKS : FINE;
}

/* Asleep, and left so if all can be seen from outside. */
static enum verdict look_at_sleeper(struct tn_hands *h, struct tn_thread *th,
                                    const struct tn_doing_what *what, bool masks, bool *ret_held)
{
    struct tn_status st;

    *ret_held = false;
    if (tn_tracee_vforks(what->nr) && masks)
        return LATER; /* whoever runs in its memory */
    if (!masks)
        return FINE;
    if (tn_status_read(th->pid, th->tid, &st) < 0)
        return FINE;
    if (!mask_of_sleep(h, what->nr, what->arg) && !(st.sigblk & TN_SIGTRAP_BIT))
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
 * `masks`: SIGTRAP must be blocked by nobody.
 */
static int hold_all(struct tn_hands *h, bool masks)
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
                worst = look_at_sleeper(h, th, &what, masks, &held);
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
            v = look_at_held(h, th, masks);
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

static int change_on(struct tn_hands *h, u64 scratch, u64 entry, u64 restorer, struct tn_error *err)
{
    u64 at = region(h)->addr, proc = tn_state_region(h->st, TN_REGION_PROC, 0)->addr, which = TN_SIGTRAP_BIT;
    struct tn_sigaction act[65], to[65];
    u64 host[65] = {0}, masked = 0;
    int r = read_actions(h, scratch, act);

    if (r < 0)
        return r;
    memcpy(to, act, sizeof(to));
    for (u32 sig = 1; sig <= 64; sig++) {
        if (!returns_guarded(h, &act[sig]))
            return tn_fail(
                err, -ENOTSUP, "signals_not_ours",
                "no five-byte jump fits, and no breakpoint can stand in process %d: its handler of signal %u "
                "returns by code at 0x%llx that is not known",
                h->t.pid, sig, (unsigned long long)act[sig].restorer);
        if (sig == TN_SIGTRAP || !(act[sig].mask & TN_SIGTRAP_BIT))
            continue;
        masked |= 1ull << (sig - 1);
        which |= 1ull << (sig - 1);
        to[sig].mask &= ~TN_SIGTRAP_BIT;
        if (act[sig].handler > 1) {
            host[sig] = act[sig].handler;
            to[sig].handler = entry;
        }
    }
    to[TN_SIGTRAP] = tn_signals_action(entry, restorer, &act[TN_SIGTRAP]);
    r = put(h, at, offsetof(struct tn_signals, proc), &proc, sizeof(proc));
    r = r < 0 ? r : put(h, at, offsetof(struct tn_signals, entry), &entry, sizeof(entry));
    r = r < 0 ? r : put(h, at, offsetof(struct tn_signals, restorer), &restorer, sizeof(restorer));
    r = r < 0 ? r : put(h, at, offsetof(struct tn_signals, action), &act[TN_SIGTRAP], sizeof(*act));
    r = r < 0 ? r : put(h, at, offsetof(struct tn_signals, host), host, sizeof(host));
    r = r < 0 ? r : put(h, at, offsetof(struct tn_signals, masked), &masked, sizeof(masked));
    return r < 0 ? r : write_actions(h, scratch, to, which);
}

/* Who blocks it goes on without, and believes it still. What is known from an earlier time is void. */
static int take_masks(struct tn_hands *h)
{
    u64 at = region(h)->addr, zero = 0;
    _free_ struct tn_sig_thread *known = calloc(TN_SIG_THREADS, sizeof(*known));
    int r = known ? 0 : -ENOMEM;

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
            if (!(mask & TN_SIGTRAP_BIT))
                continue;
            if (pass) {
                mask &= ~TN_SIGTRAP_BIT;
                if (lent)
                    h->b.mask = mask;
                else
                    tn_ptrace(&h->t, PTRACE_SETSIGMASK, th->tid, sizeof(mask), &mask);
                continue;
            }
            for (k = TN_SLOT_HASH(tp); n < TN_SIG_PROBES && known[k % TN_SIG_THREADS].tp; n++)
                k++;
            if (n == TN_SIG_PROBES)
                return -EAGAIN;
            known[k % TN_SIG_THREADS] = (struct tn_sig_thread){.tp = tp, .blocked = 1};
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

/* Masks as their threads believe them: of those that are held, and of sleepers that may be interrupted. */
static void give_masks(struct tn_hands *h, u64 signals)
{
    _free_ struct tn_sig_thread *known = calloc(TN_SIG_THREADS, sizeof(*known));

    if (!known || tn_tracee_read(&h->t, signals + offsetof(struct tn_signals, thread), known,
                                 TN_SIG_THREADS * sizeof(*known)) < 0)
        return;
    for (u32 i = 0; i < TN_SIG_THREADS; i++)
        if (known[i].tp && known[i].blocked)
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
            if (known[k].tp != (lent ? h->b.regs.fs_base : regs.fs_base) || !known[k].tp || !known[k].blocked)
                continue;
            mask |= TN_SIGTRAP_BIT;
            if (lent)
                h->b.mask |= TN_SIGTRAP_BIT;
            else
                tn_ptrace(&h->t, PTRACE_SETSIGMASK, th->tid, sizeof(mask), &mask);
            if (known[k].pending)
                syscall(SYS_tgkill, h->t.pid, th->tid, SIGTRAP);
        }
    }
}

static int change_off(struct tn_hands *h, u64 scratch, u64 at)
{
    _free_ struct tn_signals *s = malloc(sizeof(*s));
    struct tn_sigaction act[65];
    u64 which = 0;
    int r = s ? tn_tracee_read(&h->t, at, s, offsetof(struct tn_signals, child)) : -ENOMEM;

    r = r < 0 ? r : read_actions(h, scratch, act);
    for (u32 sig = 1; r == 0 && sig <= 64; sig++) {
        u64 bit = 1ull << (sig - 1);

        if (sig == TN_SIGTRAP && act[sig].handler == s->entry) {
            act[sig] = s->action;
            which |= bit;
        } else if (s->masked & bit) {
            act[sig].mask |= TN_SIGTRAP_BIT;
            if (act[sig].handler == s->entry)
                act[sig].handler = s->host[sig];
            which |= bit;
        }
    }
    return r < 0 ? r : write_actions(h, scratch, act, which);
}

/* ------------------------------------------------------------------------------------------- from one to the other */

/* One thread makes calls for us, all others are held, and who comes to a guarded call waits. */
static int begin(struct tn_hands *h, u64 signals, bool masks, u32 wait_ms, struct tn_error *err)
{
    int r = borrow(h, wait_ms, err);

    if (r == 0)
        r = set_on(h, signals, TN_SIGNALS_CHANGING);
    if (r == 0)
        r = hold_all(h, masks);
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

int tn_hands_signals_on(struct tn_hands *h, u64 entry, u64 restorer, u32 wait_ms, struct tn_error *err)
{
    const struct tn_region *scratch = tn_state_region(h->st, TN_REGION_SCRATCH, 0), *s = region(h);
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    u64 until = tn_monotonic() + wait_ms * 1000000ull;
    bool nobody;
    int r;

    if (h->st->signals == TN_SIGNALS_ON)
        return 0;
    if (h->borrowed || !scratch || !s || !proc)
        return tn_fail(err, -EPROTO, "bad_order", "the injector sent an order out of turn");
    h->st->signals = TN_SIGNALS_CHANGING;
    h->st->signals_entry = entry;
    do {
        r = begin(h, s->addr, true, wait_ms, err);
        nobody = !h->borrowed;
        if (r == 0) {
            r = change_on(h, scratch->addr, entry, restorer, err);
            r = r < 0 ? r : take_masks(h);
            r = r < 0 ? r : put(h, proc->addr, offsetof(struct tn_proc, signals), &s->addr, sizeof(s->addr));
            if (r < 0 && change_off(h, scratch->addr, s->addr) == 0)
                give_masks(h, s->addr);
        }
        end(h, s->addr, r == 0 ? TN_SIGNALS_ON : TN_SIGNALS_OFF);
        if (again(r))
            nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    } while (again(r) && tn_monotonic() < until && !tn_tracee_hung_up(&h->t));
    h->st->signals = r == 0 ? TN_SIGNALS_ON : TN_SIGNALS_OFF;
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

static int go_off(struct tn_hands *h, u64 at, u32 wait_ms)
{
    const struct tn_region *scratch = tn_state_region(h->st, TN_REGION_SCRATCH, 0);
    int r;

    if (!scratch || h->borrowed)
        return -EPROTO;
    r = begin(h, at, false, wait_ms, NULL);
    if (r == 0)
        r = change_off(h, scratch->addr, at);
    if (r == 0)
        give_masks(h, at);
    end(h, at, r == 0 ? TN_SIGNALS_OFF : TN_SIGNALS_ON);
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
            go_off(h, p.signals, 0);
    }
}

int tn_hands_signals_off(struct tn_hands *h, u32 wait_ms)
{
    const struct tn_region *s = region(h);
    u64 until = tn_monotonic() + 2 * wait_ms * 1000000ull;
    int r;

    if (h->st->signals == TN_SIGNALS_OFF || !s)
        return 0;
    do { /* whoever is borrowed may be in the middle of a call of ours */
        r = go_off(h, s->addr, wait_ms);
        if (again(r))
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    } while (again(r) && tn_monotonic() < until);
    if (r == 0 || r == -ESRCH)
        h->st->signals = TN_SIGNALS_OFF;
    else if (h->st->signals == TN_SIGNALS_CHANGING)
        h->st->signals = TN_SIGNALS_ON;
    return r;
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
