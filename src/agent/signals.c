/* SPDX-License-Identifier: MIT */
/*
 * Signals that are ours, and a host that notices nothing of them (rt/signals.h).
 *
 *   int3 ──▶ kernel ──▶ tn_agent_trap ── a breakpoint of ours: the frame's program counter becomes the place's trampoline ──▶
 *   load ──▶                 │           sigreturn, or by tn_agent_resume
 *                            ├────────── a load of ours that has faulted: the same, to its fix-up (rt/loads.h)
 *                            ├────────── the host's: what the kernel would have done with its handler is done
 *                            │
 *                            └────────── a signal that is not ours, whose handler is to run with some of ours blocked: it
 *                                        is, for the host
 *
 *   host's call ──▶ tn_agent_guard ──▶ … the host's own syscall instruction, its arguments perhaps replaced
 *                            └───────▶ behind it, the call made here: only those in which nobody sleeps
 *
 * What is ours is blocked in the kernel by nobody. That a thread believes it blocked is kept here; one that somebody sends
 * meanwhile waits here, and is sent once more, with the same siginfo, when it may come. A handler of the host's gets the
 * very frame that the kernel has made for ours, and returns by it: nothing of ours is on its stack.
 *
 * Not kept: what a sleep's own mask would hold back from a handler that interrupts the sleep. One that somebody sends to
 * a thread in such a handler comes at once, not when the sleep has ended.
 *
 * Nothing here is waited for but the injector's few microseconds of change; no lock is held anywhere, since a handler may
 * leave by siglongjmp at every call that is made.
 */
#include "agent/agent.h"

#include <asm/errno.h>
#include <stddef.h>

#include "agent/routines.h"
#include "rt/loads.h"
#include "rt/mem.h"
#include "rt/probe.h"
#include "rt/self.h"
#include "rt/signals.h"

_Static_assert(offsetof(struct tn_signals, on) == 0 && offsetof(struct tn_guard_block, signals) == 0 &&
                   offsetof(struct tn_guard_block, go_on) == GUARD_GO_ON &&
                   offsetof(struct tn_guard_block, made) == GUARD_MADE &&
                   (int)TN_GUARD_prctl == GUARD_PRCTL && (int)TN_GUARD_seccomp == GUARD_SECCOMP,
               "routines.S");
_Static_assert(TN_SIGNALS_RESUME == RESUME && TN_UC_RSP == UC_RSP && TN_UC_RSP == UC_REGS + 120 &&
                   TN_UC_RIP == UC_RIP && TN_UC_FLAGS == UC_FLAGS && TN_UC_FPSTATE == UC_FPSTATE &&
                   TN_FP_COMPONENTS == FP_COMPONENTS,
               "routines.S");

#define HANDLER_DEFAULT 0u
#define HANDLER_IGNORE  1u
#define SIG_BLOCK       0u
#define SIG_UNBLOCK     1u
#define SIG_SETMASK     2u
#define FLAG_RESETHAND  0x80000000ull
/* What the kernel keeps of sa_flags on x86-64: NOCLDSTOP, NOCLDWAIT, SIGINFO, EXPOSE_TAGBITS, and those above. */
#define FLAGS_KNOWN                                                                                          \
    (0x807ull | TN_SA_RESTORER | TN_SA_ONSTACK | TN_SA_RESTART | TN_SA_NODEFER | FLAG_RESETHAND)
#define NEVER_MASKED (1ull << (9 - 1) | 1ull << (19 - 1)) /* SIGKILL, SIGSTOP */

#define CODE_KERNEL      0x80
#define CODE_POISONED    5 /* BUS_MCEERR_AO: memory that nobody has touched yet */
#define IORING_EXT_ARG   8u
#define CLEAR_SIGHAND    0x100000000ull
#define CHANGING_ROUNDS  1000000u
#define FLAGS_NOT_POPPED 0x74100u /* TF, NT, RF, VM, AC: popf would act on them, or on what comes before it */
#define FRAME_MOST       65536u
#define AUTODISARM       0x80000000u /* an alternate stack that a delivery takes away and a sigreturn gives back */
#define SPARE_OURS       0x74656e6f6e000000ull /* in TN_UC_SPARE: the frame of a handler that was chained to */
#define SET_SIZE         8u

/* What the routine has saved, in its order. Behind it the host's red zone and stack. */
struct tn_guard_regs {
    u64 ax, di, si, dx, r10, r8, r9;
    const struct tn_guard_block *block;
    u64 flags;
    u8 red_zone[128];
};

/* On whose behalf. */
struct self {
    struct tn_signals *s;
    struct tn_sig_child *child; /* a vfork child that has something of its own; NULL: the process */
    bool vforked;               /* it is one */
    u64 tp;
};

/* ------------------------------------------------------------------------------------- the thread's bit */

static struct tn_sig_thread *find_thread(struct tn_signals *s, u64 tp, bool make)
{
    u32 first = TN_SLOT_HASH(tp);

    if (!tp)
        return NULL;
    for (u32 i = 0; i < TN_SIG_PROBES; i++) {
        struct tn_sig_thread *t = &s->thread[(first + i) % TN_SIG_THREADS];

        if (tn_load(&t->tp) == tp)
            return t;
    }
    for (u32 i = 0; make && i < TN_SIG_PROBES; i++) {
        struct tn_sig_thread *t = &s->thread[(first + i) % TN_SIG_THREADS];

        if (!tn_load(&t->tp) && tn_cas64(&t->tp, 0, tp))
            return t;
    }
    return NULL;
}

static void free_thread(struct tn_sig_thread *t)
{
    t->blocked = t->pending = 0;
    t->wait_ip = t->wait_sp = t->wait_for = 0;
    tn_store_release(&t->tp, 0);
}

/* While no vfork is in flight, what its children had is void. Otherwise: are we such a child? Its parent has changed its
   mask before (all that make one do), so that the process's own number is known. */
static struct self who(struct tn_signals *s)
{
    struct self self = {.s = s, .tp = tn_thread_pointer(s->proc)};
    enum tn_self_kind kind = tn_self_kind(s->proc);
    u32 pid, own;

    if (kind == TN_SELF_FORKED)
        (void)tn_self_pid(s->proc); /* remembered */
    if (kind != TN_SELF_VFORK) {
        if (TN_UNLIKELY(tn_load(&s->children))) {
            for (u32 i = 0; i < TN_SIG_CHILDREN; i++)
                tn_store(&s->child[i].pid, 0);
            tn_store(&s->children, 0);
        }
        return self;
    }
    own = tn_load(&s->proc->priv->pid);
    pid = tn_self_pid(s->proc);
    self.vforked = own && pid && pid != own;
    for (u32 i = 0; self.vforked && i < TN_SIG_CHILDREN; i++)
        if (tn_load(&s->child[i].pid) == pid)
            self.child = &s->child[i];
    return self;
}

/* Which of ours the thread believes blocked. */
static u64 blocked_of(const struct self *self)
{
    const struct tn_sig_thread *t;

    if (self->child)
        return self->child->blocked;
    t = find_thread(self->s, self->tp, false);
    return t ? t->blocked : 0;
}

/* A child begins to differ from its parent. NULL: no room, and it goes on as its parent does. */
static struct tn_sig_child *own_child(struct self *self)
{
    struct tn_signals *s = self->s;
    u64 pid;

    if (self->child || !self->vforked)
        return self->child;
    pid = tn_self_pid(s->proc);
    for (u32 i = 0; i < TN_SIG_CHILDREN; i++) {
        struct tn_sig_child *c = &s->child[i];

        if (tn_load(&c->pid) || !tn_cas64(&c->pid, 0, pid))
            continue;
        tn_fetch_add(&s->children, 1);
        c->blocked = blocked_of(self);
        for (u32 row = 0; row < TN_OURS_COUNT; row++)
            c->action[row] = s->action[row];
        self->child = c;
        return c;
    }
    return NULL;
}

static struct tn_sigaction *action_of(struct self *self, enum tn_ours row)
{
    return self->child ? &self->child->action[row] : &self->s->action[row];
}

static void send_to_itself(u32 sig, const u8 *info)
{
    TN_SYSCALL(rt_tgsigqueueinfo, TN_SYSCALL(getpid, 0, 0, 0, 0, 0, 0), TN_SYSCALL(gettid, 0, 0, 0, 0, 0, 0),
               sig, info, 0, 0);
}

static u8 *info_of(struct tn_signals *s, const struct tn_sig_thread *t, enum tn_ours row)
{
    return s->info[t - s->thread][row];
}

/* Those of `set` that wait here are sent to this thread once more. */
static void __attribute__((noinline)) send_again(struct tn_signals *s, struct tn_sig_thread *t, u64 set)
{
    for (u32 row = 0; row < TN_OURS_COUNT; row++) {
        u8 info[TN_SIG_INFO];
        u32 sig = tn_ours_nr((enum tn_ours)row);

        if (!(t->pending & set & TN_SIG_BIT(sig)))
            continue;
        memcpy(info, info_of(s, t, (enum tn_ours)row), sizeof(info));
        t->pending &= ~TN_SIG_BIT(sig);
        send_to_itself(sig, info);
    }
}

static void set_blocked(struct self *self, u64 blocked)
{
    struct tn_sig_thread *t;

    if (self->vforked) {
        struct tn_sig_child *c = own_child(self);

        if (c)
            c->blocked = blocked;
        return;
    }
    t = find_thread(self->s, self->tp, blocked != 0);
    if (!t)
        return;
    t->blocked = blocked;
    t->wait_ip = 0;
    if (t->pending & ~blocked)
        send_again(self->s, t, ~blocked);
    if (t->tp == self->tp && !t->blocked && !t->pending)
        free_thread(t);
}

/* -------------------------------------------------------------------------------------- host's arguments */

bool tn_agent_look(void *dst, u64 size, u64 addr, const struct tn_signals *s)
{
    const struct tn_run run = {.proc = s->proc};

    if (tn_probe_read(dst, size, addr, &run) == 0)
        return true;
    if (tn_syscall_allowed(s->proc, TN_SYS_process_vm_readv))
        return false;
    /* Nobody may be asked any more: as the host itself would, and where all is as it should be. */
    if (tn_load(&s->loads))
        return tn_load_copy(dst, addr, size) == 0;
    memcpy(dst, (const void *)addr, size);
    return true;
}

/* A set of signals, as the kernel would read it. An impossible `how` changes nothing, and tells whether it is there. */
static bool look_at_set(u64 *ret, u64 addr)
{
    if (TN_SYSCALL(rt_sigprocmask, ~0ull, addr, 0, SET_SIZE, 0, 0) != -EINVAL)
        return false;
    memcpy(ret, (const void *)addr, SET_SIZE);
    return true;
}

static void mask_real(u64 how, u64 set)
{
    TN_SYSCALL(rt_sigprocmask, how, &set, 0, SET_SIZE, 0, 0);
}

/* What stands for a mask by which something of ours would be blocked; NULL: there is no room, and the host's own stays. */
static struct tn_sig_mask *stand_in(struct tn_signals *s, u64 mask, const u64 arg[3], u32 self_arg)
{
    for (u32 i = 0; i < TN_SIG_MASKS; i++) {
        struct tn_sig_mask *m = &s->mask[i];
        bool same = tn_load_acquire(&m->state) == 2 && m->mask == mask;

        for (u32 k = 0; same && k < 3; k++)
            same = m->arg[k] == (k == self_arg ? (u64)&m->mask : arg[k]);
        if (same)
            return m;
        if (tn_load(&m->state) || !tn_cas64(&m->state, 0, 1))
            continue;
        m->mask = mask;
        for (u32 k = 0; k < 3; k++)
            m->arg[k] = k == self_arg ? (u64)&m->mask : arg[k];
        tn_store_release(&m->state, 2);
        return m;
    }
    return NULL;
}

/* --------------------------------------------------------------------------------------------- the calls */

static s64 made(struct tn_guard_regs *r, s64 ret)
{
    r->ax = (u64)ret;
    return 1;
}

/* Of a signal that is not ours: what its handler is to run with blocked is known here only. */
static s64 guard_other_action(struct self *self, struct tn_guard_regs *r, const struct tn_sigaction *act)
{
    struct tn_signals *s = self->s;
    u64 sig = r->di && r->di <= 64 ? r->di : 0, masked = tn_load(&s->masked[sig]),
        was = tn_load(&s->host[sig]);
    struct tn_sigaction real = *act;
    s64 ret;

    if (r->si && sig && act->mask & s->taken && act->handler > HANDLER_IGNORE) {
        tn_store(&s->host[sig], act->handler);
        real.handler = s->entry;
    }
    real.mask &= ~s->taken;
    ret = TN_SYSCALL(rt_sigaction, r->di, r->si ? (u64)&real : 0, r->dx, r->r10, 0, 0);
    if (ret == 0 && r->dx) {
        struct tn_sigaction *to = (struct tn_sigaction *)r->dx;

        to->mask |= masked;
        to->handler = to->handler == s->entry ? was : to->handler;
    }
    if ((ret == 0 || (ret == -EFAULT && r->dx)) && r->si && !self->vforked && sig)
        tn_store(&s->masked[sig], act->mask & s->taken);
    return ret;
}

static s64 __attribute__((noinline)) guard_action(struct self *self, struct tn_guard_regs *r)
{
    struct tn_signals *s = self->s;
    struct tn_sigaction act = {0}, old, real;
    enum tn_ours row = tn_ours_row(r->di);
    s64 ret;

    if (r->si && !tn_agent_look(&act, sizeof(act), r->si, s))
        return -EFAULT;
    if (row == TN_OURS_COUNT || !(s->taken & TN_SIG_BIT(r->di)))
        return guard_other_action(self, r, &act);
    old = *action_of(self, row);
    if (r->si) {
        struct tn_sigaction *to;

        own_child(self);
        to = action_of(self, row);
        act.mask &= ~NEVER_MASKED;
        act.flags &= FLAGS_KNOWN;
        real = tn_signals_action(s, (u32)r->di, &act);
        *to = act;
    }
    ret = TN_SYSCALL(rt_sigaction, r->di, r->si ? (u64)&real : 0, r->dx, r->r10, 0, 0);
    if (r->dx && ret == 0)
        *(struct tn_sigaction *)r->dx = old;
    return ret;
}

static s64 guard_mask(struct self *self, struct tn_guard_regs *r)
{
    u64 before = blocked_of(self), after = before, set = 0, has, real;
    s64 ret;

    if (r->si && !look_at_set(&set, r->si))
        return -EFAULT;
    has = set & self->s->taken;
    real = set & ~has;
    ret = TN_SYSCALL(rt_sigprocmask, r->di, r->si ? (u64)&real : 0, r->dx, SET_SIZE, 0, 0);
    if (ret == 0 && r->dx)
        *(u64 *)r->dx |= before;
    /* The old mask that cannot be stored is told after the new one is set. */
    if (ret < 0 && !(ret == -EFAULT && r->dx))
        return ret;
    switch (r->si ? r->di : ~0ull) {
    case SIG_BLOCK:
        after = before | has;
        break;
    case SIG_UNBLOCK:
        after = before & ~has;
        break;
    case SIG_SETMASK:
        after = has;
        break;
    default:
        break;
    }
    if (after != before)
        set_blocked(self, after);
    return ret;
}

/* The frame lies where the stack pointer is. Our bits of its mask are ours to keep; what the host has written there counts. */
static void guard_return(struct self *self, u64 uc)
{
    u64 *mask = (u64 *)(uc + TN_UC_SIGMASK), *spare = (u64 *)(uc + TN_UC_SPARE);
    u64 has = *mask & self->s->taken, before = blocked_of(self), after;
    bool chained = *spare == SPARE_OURS;

    if (chained)
        *spare = 0;
    *mask &= ~has;
    after = chained ? has : before | has;
    if (after != before)
        set_blocked(self, after);
}

/* A new program has the mask of the thread that starts it, and ignores what was ignored. Comes back when it fails. */
static s64 __attribute__((noinline)) guard_exec(struct self *self, struct tn_guard_regs *r)
{
    struct tn_signals *s = self->s;
    u64 blocked = blocked_of(self), ignored = 0;
    s64 ret;

    for (u32 row = 0; row < TN_OURS_COUNT; row++) {
        u32 sig = tn_ours_nr((enum tn_ours)row);
        const struct tn_sigaction *act = action_of(self, (enum tn_ours)row);

        if (!(s->taken & TN_SIG_BIT(sig)) || act->handler != HANDLER_IGNORE)
            continue;
        ignored |= TN_SIG_BIT(sig);
        TN_SYSCALL(rt_sigaction, sig, act, 0, SET_SIZE, 0, 0);
    }
    if (!blocked && !ignored)
        return 0;
    if (blocked)
        mask_real(SIG_BLOCK, blocked);
    ret = tn_syscall6((u32)r->ax, r->di, r->si, r->dx, r->r10, r->r8, r->r9);
    for (u32 row = 0; row < TN_OURS_COUNT; row++) {
        u32 sig = tn_ours_nr((enum tn_ours)row);
        struct tn_sigaction real = tn_signals_action(s, sig, action_of(self, (enum tn_ours)row));

        if (ignored & TN_SIG_BIT(sig))
            TN_SYSCALL(rt_sigaction, sig, &real, 0, SET_SIZE, 0, 0);
    }
    if (blocked)
        mask_real(SIG_UNBLOCK, blocked);
    return made(r, ret);
}

static s64 guard_pending(struct self *self, struct tn_guard_regs *r)
{
    const struct tn_sig_thread *t = self->vforked ? NULL : find_thread(self->s, self->tp, false);
    s64 ret = TN_SYSCALL(rt_sigpending, r->di, r->si, 0, 0, 0, 0);

    for (u32 i = 0; ret == 0 && t && i < 8 && i < r->si; i++)
        ((u8 *)r->di)[i] |= (u8)(t->pending >> 8 * i);
    return ret;
}

/* Takes one that waits here, if it is among those that are waited for. As in the kernel the lowest comes first. */
static s64 guard_take(struct self *self, struct tn_guard_regs *r)
{
    struct tn_sig_thread *t = self->vforked ? NULL : find_thread(self->s, self->tp, false);
    const struct tn_run run = {.proc = self->s->proc};
    u64 set;
    u32 sig;

    if (!t || !t->pending || r->r10 != SET_SIZE || !tn_agent_look(&set, sizeof(set), r->di, self->s) ||
        !(set & t->pending))
        return 0;
    sig = (u32)__builtin_ctzll(set & t->pending) + 1;
    r->ax = sig;
    if (r->si && tn_probe_write(r->si, info_of(self->s, t, tn_ours_row(sig)), TN_SIG_INFO, &run) < 0)
        r->ax = (u64)-EFAULT;
    t->pending &= ~TN_SIG_BIT(sig);
    return 1;
}

/*
 * A mask for the time of a sleep. `set`: where it is. One that would block something of ours is replaced; one that lets
 * something through to a thread that believes it blocked is noted, with the place where the thread will be found sleeping.
 */
static s64 guard_wait(struct self *self, struct tn_guard_regs *r, u64 set, const u64 arg[3], u32 self_arg,
                      u64 *ret_arg)
{
    u64 mask, taken = self->s->taken, lets;
    struct tn_sig_thread *t;
    struct tn_sig_mask *m;

    if (!set || !tn_agent_look(&mask, sizeof(mask), set, self->s))
        return 0;
    if (mask & taken) {
        m = stand_in(self->s, mask & ~taken, arg, self_arg);
        if (m)
            *ret_arg = self_arg < 3 ? (u64)m->arg : (u64)&m->mask;
    }
    t = self->vforked ? NULL : find_thread(self->s, self->tp, false);
    lets = t ? t->blocked & ~mask : 0;
    if (!lets)
        return 0;
    t->wait_for = lets;
    t->wait_ip = r->block->made;
    t->wait_sp = (u64)(r + 1);
    if (!(t->pending & lets))
        return 0;
    t->wait_ip = ~0ull; /* now, wherever it is */
    send_again(self->s, t, lets);
    t->wait_ip = 0;
    return made(r, -EINTR);
}

static s64 guard_wait_plain(struct self *self, struct tn_guard_regs *r, u64 size, u64 *set)
{
    static const u64 none[3];

    return size == SET_SIZE ? guard_wait(self, r, *set, none, 3, set) : 0;
}

/* The sixth argument leads to a pointer and a size (pselect6, io_pgetevents). */
static s64 guard_wait_pair(struct self *self, struct tn_guard_regs *r)
{
    u64 pair[3] = {0};

    if (!r->r9 || !tn_agent_look(pair, 16, r->r9, self->s) || pair[1] != SET_SIZE)
        return 0;
    return guard_wait(self, r, pair[0], pair, 0, &r->r9);
}

static s64 guard_uring(struct self *self, struct tn_guard_regs *r)
{
    u64 arg[3] = {0};

    if (!(r->r10 & IORING_EXT_ARG))
        return guard_wait_plain(self, r, r->r9, &r->r8);
    if (r->r9 != sizeof(arg) || !tn_agent_look(arg, sizeof(arg), r->r8, self->s) || (u32)arg[1] != SET_SIZE)
        return 0;
    return guard_wait(self, r, arg[0], arg, 0, &r->r8);
}

static s64 guard_clone3(struct self *self, struct tn_guard_regs *r)
{
    u64 flags;

    if (r->si < sizeof(flags) || !tn_agent_look(&flags, sizeof(flags), r->di, self->s) ||
        !(flags & CLEAR_SIGHAND))
        return 0;
    r->ax = (u64)-EINVAL; /* as kernels before 5.5 do */
    return 1;
}

/* 0: the host makes its call, with the arguments that are in *r now; 1: it was made, with the result in r->ax. */
u64 tn_agent_guard_c(struct tn_guard_regs *r, struct tn_signals *s)
{
    struct self self;

    if (tn_guard_confines((s32)(u32)r->ax))
        tn_agent_confine(s, (u32)r->ax, r->di, r->si, r->dx);
    else if (tn_guarded((s32)(u32)r->ax))
        for (u32 i = 0; tn_load_acquire(&s->on) == TN_SIGNALS_CHANGING && i < CHANGING_ROUNDS; i++)
            if (TN_CALL(s->proc, sched_yield, 0, 0, 0, 0, 0, 0) < 0)
                tn_pause();
    if (!tn_guarded((s32)(u32)r->ax) || tn_load(&s->on) != TN_SIGNALS_ON)
        return 0;
    self = who(s);
    switch ((enum tn_guarded_nr)(u32)r->ax) {
    case TN_GUARD_prctl:
    case TN_GUARD_seccomp:
        break;
    case TN_GUARD_rt_sigaction:
        return r->r10 == SET_SIZE ? (u64)made(r, guard_action(&self, r)) : 0;
    case TN_GUARD_rt_sigprocmask:
        return r->r10 == SET_SIZE ? (u64)made(r, guard_mask(&self, r)) : 0;
    case TN_GUARD_rt_sigreturn:
        guard_return(&self, (u64)(r + 1));
        return 0;
    case TN_GUARD_execve:
    case TN_GUARD_execveat:
        return (u64)guard_exec(&self, r);
    case TN_GUARD_rt_sigpending:
        return (u64)made(r, guard_pending(&self, r));
    case TN_GUARD_rt_sigtimedwait:
        return (u64)guard_take(&self, r);
    case TN_GUARD_rt_sigsuspend:
        return (u64)guard_wait_plain(&self, r, r->si, &r->di);
    case TN_GUARD_ppoll:
        return (u64)guard_wait_plain(&self, r, r->r8, &r->r10);
    case TN_GUARD_epoll_pwait:
    case TN_GUARD_epoll_pwait2:
        return (u64)guard_wait_plain(&self, r, r->r9, &r->r8);
    case TN_GUARD_pselect6:
    case TN_GUARD_io_pgetevents:
        return (u64)guard_wait_pair(&self, r);
    case TN_GUARD_io_uring_enter:
        return (u64)guard_uring(&self, r);
    case TN_GUARD_clone3:
        return (u64)guard_clone3(&self, r);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- the trap */

static u64 find_break(const struct tn_signals *s, u64 addr)
{
    u32 at = TN_SIG_BREAK(addr);

    for (u32 i = 0; i < TN_SIG_BREAKS; i++) {
        const struct tn_sig_break *b = &s->brk[(at + i) % TN_SIG_BREAKS];
        u64 there = tn_load_acquire(&b->addr);

        if (there == addr)
            return tn_load(&b->enter);
        if (!there)
            return 0;
    }
    return 0;
}

/* The end that the kernel would have made: by the signal itself, when this handler returns to where it came from. */
static void die(struct tn_signals *s, u32 sig, const u8 *info)
{
    const struct tn_sigaction none = {.flags = TN_SA_RESTORER, .restorer = s->restorer};

    TN_SYSCALL(rt_sigaction, sig, &none, 0, SET_SIZE, 0, 0);
    send_to_itself(sig, info);
}

/* Of a thread that sleeps with a mask that lets it through, or starts that call again. */
static bool let_through(const struct tn_sig_thread *t, u32 sig, u64 ip, u64 sp)
{
    return t && t->wait_ip && t->wait_for & TN_SIG_BIT(sig) &&
           (t->wait_ip == ~0ull || (t->wait_sp == sp && t->wait_ip - ip <= 2));
}

/* One that is ours, but meant for the host. Where the handler that is to run begins; 0: none is. */
static u64 chain(struct tn_signals *s, u32 sig, enum tn_ours row, s32 code, const u8 *info, u8 *uc)
{
    struct self self = who(s);
    struct tn_sig_thread *t = self.vforked ? NULL : find_thread(s, self.tp, false);
    u64 before = blocked_of(&self), after, bit = TN_SIG_BIT(sig);
    u64 ip = *(u64 *)(uc + TN_UC_RIP), sp = *(u64 *)(uc + TN_UC_RSP), *mask = (u64 *)(uc + TN_UC_SIGMASK);
    bool sent = code <= 0 || (sig == TN_SIGBUS && code == CODE_POISONED);
    struct tn_sigaction *kept, act, real;

    if (sent && before & bit && !let_through(t, sig, ip, sp)) {
        if (t && !(t->pending & bit)) {
            memcpy(info_of(s, t, row), info, TN_SIG_INFO);
            t->pending |= bit;
        }
        return 0;
    }
    own_child(&self);
    kept = action_of(&self, row);
    act = *kept;
    if (sent && act.handler == HANDLER_IGNORE)
        return 0;
    if (act.handler <= HANDLER_IGNORE || (!sent && before & bit)) {
        die(s, sig, info);
        return 0;
    }
    if (act.flags & FLAG_RESETHAND) {
        kept->handler = HANDLER_DEFAULT;
        real = tn_signals_action(s, sig, kept);
        TN_SYSCALL(rt_sigaction, sig, &real, 0, SET_SIZE, 0, 0);
    }
    /* From here on the frame is that of the host's handler. */
    *(u64 *)(uc - 8) = act.restorer;
    *(u64 *)(uc + TN_UC_SPARE) = SPARE_OURS;
    *mask = (*mask & ~s->taken) | before;
    after = before | (act.mask & s->taken) | (act.flags & TN_SA_NODEFER ? 0 : bit);
    if (after != before)
        set_blocked(&self, after);
    mask_real(SIG_SETMASK, (*mask | act.mask) & ~s->taken);
    return act.handler;
}

/* The host's handler of a signal that is not ours, which is to run with some of ours blocked. */
static u64 chain_masked(struct tn_signals *s, u32 sig, u8 *uc)
{
    struct self self = who(s);
    u64 before = blocked_of(&self), after;

    sig = sig <= 64 ? sig : 0;
    after = before | tn_load(&s->masked[sig]);
    *(u64 *)(uc + TN_UC_SPARE) = SPARE_OURS;
    *(u64 *)(uc + TN_UC_SIGMASK) |= before;
    if (after != before)
        set_blocked(&self, after);
    return tn_load(&s->host[sig]);
}

/*
 * An open delivery has changed no mask, and stands on the stack that it has interrupted. So, of what a sigreturn puts
 * back, registers are left. Not all of them may be put back by a program, and not in every state.
 */
static bool may_resume(const u8 *uc)
{
    const struct tn_altstack *alt = (const struct tn_altstack *)(uc + TN_UC_STACK);
    u64 flags = *(const u64 *)(uc + TN_UC_FLAGS), fp = *(const u64 *)(uc + TN_UC_FPSTATE), shadow = 0;

    __asm__ volatile("rdsspq %0" : "+r"(shadow)); /* nothing where there is no shadow stack */
    return !alt->size && fp && *(const u32 *)(fp + TN_FP_MAGIC) == TN_FP_MAGIC_XSAVE &&
           !(flags & FLAGS_NOT_POPPED) && *(const u64 *)(uc + TN_UC_SELECTORS) == TN_SELECTORS && !shadow &&
           *(const u64 *)(uc + TN_UC_RSP) - (u64)uc < FRAME_MOST;
}

/*
 * From here on an open delivery is as any other. A handler of the host's that came before this may have changed what the
 * frame holds of mask and alternate stack: it tells what is so now. The other deliveries of a process that has alternate stacks are
 * no longer open, but for those that the host has been given back: with everything blocked nobody can take them from us
 * between the question and the call.
 */
static void shut(struct tn_signals *s, u8 *uc)
{
    struct tn_altstack *alt = (struct tn_altstack *)(uc + TN_UC_STACK);
    const u64 all = ~0ull;
    struct tn_sigaction host, real;
    struct self self;

    *(u64 *)(uc - 8) = s->restorer;
    if (!tn_syscall_allowed(s->proc, TN_SYS_rt_sigprocmask))
        return;
    TN_SYSCALL(rt_sigprocmask, SIG_SETMASK, &all, uc + TN_UC_SIGMASK, SET_SIZE, 0, 0);
    if (!((u32)alt->flags & AUTODISARM))
        TN_CALL(s->proc, sigaltstack, 0, alt, 0, 0, 0, 0);
    if (!alt->size || tn_load(&s->on) == TN_SIGNALS_OFF)
        return;
    tn_store(&s->shut, 1);
    self = who(s);
    do {
        host = *action_of(&self, TN_OURS_SIGTRAP);
        real = tn_signals_action(s, TN_SIGTRAP, &host);
        TN_CALL(s->proc, rt_sigaction, TN_SIGTRAP, &real, 0, SET_SIZE, 0, 0);
    } while (host.handler != tn_load(&action_of(&self, TN_OURS_SIGTRAP)->handler));
}

u64 tn_agent_trap_c(u32 sig, const u8 *info, u8 *uc, struct tn_signals *s)
{
    u64 *ip = (u64 *)(uc + TN_UC_RIP), enter = 0;
    enum tn_ours row = tn_ours_row(sig);
    bool open = *(u64 *)(uc - 8) == s->restorer + TN_SIGNALS_RESUME;
    const s32 code = *(const s32 *)(info + 8);

    if (TN_UNLIKELY(!open && (row == TN_OURS_COUNT || !(s->taken & TN_SIG_BIT(sig)))))
        return chain_masked(s, sig, uc);
    if (row == TN_OURS_SIGTRAP && code == CODE_KERNEL)
        enter = find_break(s, *ip - 1);
    else if (row != TN_OURS_SIGTRAP && code > 0)
        enter = tn_load_fixup(*ip);
    if (open && !(enter && may_resume(uc)))
        shut(s, uc);
    if (TN_LIKELY(enter)) {
        *ip = enter;
        return 0;
    }
    return chain(s, sig, row, code, info, uc);
}
