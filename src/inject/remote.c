/* SPDX-License-Identifier: MIT */
/*
 * A thread of the target makes system calls for us.
 *
 *   event stop ── note (tn_lent) ── regs: rip = stub.c's code, orig_rax = −1 (nothing to restart) ──▶
 *     CONT ▶ the calls ▶ its own SIGSTOP … more calls …
 *     INTERRUPT, CONT ▶ event stop: old registers, old mask: here the kernel still looks at orig_rax and
 *                       rax, and restarts what was interrupted
 *
 * All signals stay blocked in between, so that no handler runs on borrowed registers; one that was being
 * delivered goes back into the queue with its siginfo (a blocked signal is requeued when it is handed on).
 *
 * The tracer may be killed between any two steps; the kernel then lets the thread run on with the registers
 * it has. So it is only ever sent into code that ends by giving it its own registers back. Such code needs
 * memory before the first call that maps some: the cave, zero bytes behind the last of the vDSO's image, zero
 * again afterwards. Where there is no vDSO or no room in it, the first call is made at somebody's `syscall`
 * instruction, and a tracer killed in those microseconds takes the target with it.
 *
 * The thread's stack is never used, not even below its end: what a call needs lies in a mapping made for it.
 */
#include "inject/restartable.h"
#include "inject/tracee.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define SETTLE_NS 2000000000ull /* a call that takes longer than this never comes back */

/* Zero bytes at the end of the vDSO that belong to nothing of its image; 0: none. */
static u64 find_cave(struct tn_tracee *t)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    u8 bytes[TN_CAVE_SIZE], head[TN_PAGE];
    Elf64_Ehdr eh;

    if (tn_maps_read(t->pid, &maps) < 0)
        return 0;
    for (u32 i = 0; i < maps.n; i++) {
        const struct tn_vma *v = &maps.vma[i];
        u64 at = v->end - TN_CAVE_SIZE, off = at - v->start, most = TN_MIN(off, sizeof(head));
        bool free = true;

        if (!(v->prot & PROT_EXEC) || strcmp(tn_vma_name(&maps, v), "[vdso]") ||
            tn_tracee_read(t, v->start, head, sizeof(head)) < 0)
            continue;
        memcpy(&eh, head, sizeof(eh));
        if (memcmp(eh.e_ident, ELFMAG, SELFMAG) || eh.e_shoff > off ||
            eh.e_shnum * sizeof(Elf64_Shdr) > off - eh.e_shoff || eh.e_phoff > most ||
            eh.e_phnum * sizeof(Elf64_Phdr) > most - eh.e_phoff)
            continue;
        for (u32 k = 0; k < eh.e_phnum && free; k++) {
            Elf64_Phdr ph;

            memcpy(&ph, head + eh.e_phoff + k * sizeof(ph), sizeof(ph));
            free = ph.p_offset <= off && ph.p_filesz <= off - ph.p_offset;
        }
        if (!free || tn_tracee_read(t, at, bytes, sizeof(bytes)) < 0)
            continue;
        for (u32 k = 0; k < sizeof(bytes); k++)
            free &= !bytes[k];
        if (free)
            return at;
    }
    return 0;
}

/* A `syscall` instruction in executable memory: the vDSO has one, and nobody patches it. −EAGAIN: what is mapped cannot be read,
   since the memory that was opened is not the process's any more. */
static int find_syscall_insn(struct tn_tracee *t, u64 *ret_addr)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    int r = tn_maps_read(t->pid, &maps);
    bool unread = false;

    if (r < 0)
        return r;
    for (int vdso = 1; vdso >= 0; vdso--)
        for (u32 i = 0; i < maps.n; i++) {
            const struct tn_vma *v = &maps.vma[i];
            u8 bytes[16384];

            if (!(v->prot & PROT_EXEC) || (!strcmp(tn_vma_name(&maps, v), "[vdso]")) != vdso ||
                !strcmp(tn_vma_name(&maps, v), "[vsyscall]"))
                continue;
            for (u64 at = v->start; at < v->end; at += sizeof(bytes)) {
                u64 n = TN_MIN(sizeof(bytes), v->end - at);

                r = tn_tracee_read(t, at, bytes, n);
                unread |= r == -ESRCH;
                if (r < 0)
                    break;
                for (u64 k = 0; k + 1 < n; k++)
                    if (bytes[k] == 0x0f && bytes[k + 1] == 0x05) {
                        *ret_addr = at + k;
                        return 0;
                    }
            }
        }
    return unread || !maps.n ? -EAGAIN : -ENOEXEC;
}

#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG /* Linux 6.4 */
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
struct ptrace_sud_config {
    u64 mode, selector, offset, len;
};
#endif

/* Of the thread that is about to call for us: a filter that it got while we looked is suspended now. One whose calls
   are dispatched to a handler of the program's own (Wine) would call that one. Older kernels do not say. */
static int check_thread(struct tn_tracee *t, pid_t tid, const struct tn_status *st, struct tn_error *err)
{
    struct ptrace_sud_config dispatch = {};

    if (ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, sizeof(dispatch),
               &dispatch) == 0 &&
        dispatch.mode)
        return tn_fail(err, -EPERM, "syscalls_dispatched",
                       "a thread of process %d has its system calls dispatched to the program (Syscall User "
                       "Dispatch, as Wine "
                       "does): calls of ours would be taken for its own",
                       t->pid);
    if (t->seccomp || !st->seccomp)
        return 0;
    t->seccomp = true;
    t->suspended =
        ptrace(PTRACE_SETOPTIONS, tid, 0, (long)(TN_SEIZE_OPTIONS | PTRACE_O_SUSPEND_SECCOMP)) == 0;
    return 0;
}

/* Known once a thread is seized: a filter that cannot be suspended might kill for what we would call. */
static int check_filter(const struct tn_tracee *t, struct tn_error *err)
{
    return !t->seccomp || t->suspended
               ? 0
               : tn_fail(err, -EPERM, "seccomp",
                         "process %d filters its system calls (seccomp), and suspending the filter needs "
                         "CAP_SYS_ADMIN: run the broker as root",
                         t->pid);
}

static int fail_exec(const struct tn_tracee *t, struct tn_error *err)
{
    return tn_fail(err, -EAGAIN, "exec_under_way",
                   "process %d is about to execute another program: try again", t->pid);
}

int tn_borrow_held(struct tn_tracee *t, pid_t tid, struct tn_borrowed *ret_b, struct tn_error *err)
{
    struct tn_thread *th = tn_tracee_find(t, tid);
    struct tn_borrowed b = {.tid = tid};
    struct tn_status process = {}, thread;
    u64 all = ~0ull;
    int r;

    if (!th || th->state != TN_TH_HELD || tn_status_read(t->pid, tid, &thread) < 0 ||
        (tid != t->pid && tn_status_read(t->pid, t->pid, &process) < 0))
        return -ESRCH;
    b.own_tid = thread.nspid ? thread.nspid : (u32)tid;
    b.own_pid = tid == t->pid ? b.own_tid : process.nspid ? process.nspid : (u32)t->pid;
    r = check_thread(t, tid, &thread, err);
    if (r == 0)
        r = check_filter(t, err);
    if (r < 0)
        return r;
    b.cave = find_cave(t);
    r = b.cave ? 0 : find_syscall_insn(t, &b.syscall_insn);
    if (r == -EAGAIN)
        return fail_exec(t, err);
    if (r < 0)
        return tn_fail(err, r, "no_syscall_instruction",
                       "process %d has no system call instruction to borrow", t->pid);
    if (tn_ptrace(t, PTRACE_GETREGS, tid, 0, &b.regs) < 0 ||
        tn_ptrace(t, PTRACE_GETSIGMASK, tid, sizeof(b.mask), &b.mask) < 0)
        return -ESRCH;
    if (b.regs.cs != 0x33)
        return tn_fail(err, -ENOEXEC, "not_64_bit", "process %d runs 32-bit code", t->pid);
    if ((s64)b.regs.orig_rax >= 0 && (s64)b.regs.rax < 0 && !th->sig) {
        s64 mended = tn_restart_result((s64)b.regs.orig_rax, (s64)b.regs.rax, t->seccomp);

        b.slept = mended <= -512 && mended >= -516;
        if (mended != (s64)b.regs.rax) {
            b.regs.rax = (u64)mended;
            tn_ptrace(t, PTRACE_SETREGS, tid, 0, &b.regs); /* at once: nobody else would mend it */
        }
    }
    *t->lent = (struct tn_lent){
        .stopped = th->listening, .start_time = tn_proc_start_time(tid), .mask = b.mask, .regs = b.regs};
    __atomic_store_n(&t->lent->tid, tid, __ATOMIC_RELEASE);
    if (tn_ptrace(t, PTRACE_SETSIGMASK, tid, sizeof(all), &all) < 0)
        return -ESRCH;
    if (b.slept)
        t->interrupted++;
    *ret_b = b;
    return 0;
}

/* Lets the borrowed thread run to its next system call stop. */
static int to_call_stop(struct tn_tracee *t, struct tn_thread *th)
{
    pid_t tid = th->tid;

    for (int tries = 0; tries < 64; tries++) {
        int sig = th->sig;

        th->sig = 0;
        th->entering = false;
        if (tn_ptrace(t, PTRACE_SYSCALL, tid, 0, (void *)(long)sig) < 0)
            return -ESRCH;
        th->state = TN_TH_FREE;
        /* Any stop counts here, group stops (which masks do not hold back) included. */
        th->interrupting = true;
        u64 since = th->since_ns;

        if (tn_tracee_settle(t, tid, SETTLE_NS) < 0)
            return -ETIMEDOUT;
        th = tn_tracee_find(t, tid);
        if (!th || th->state != TN_TH_HELD)
            return -ESRCH;
        th->since_ns = since;
        th->interrupting = false;
        if (th->entering)
            return 0;
        th->listening = false;
    }
    return -EAGAIN;
}

int tn_remote_call(struct tn_tracee *t, struct tn_borrowed *b, long nr, const u64 arg[6], s64 *ret_result)
{
    struct tn_thread *th = tn_tracee_find(t, b->tid);
    struct user_regs_struct regs = b->regs;
    int r;

    if (!th || th->state != TN_TH_HELD)
        return -ESRCH;
    regs.rip = b->syscall_insn;
    regs.rax = (u64)nr;
    regs.orig_rax = ~0ull;
    regs.rdi = arg[0];
    regs.rsi = arg[1];
    regs.rdx = arg[2];
    regs.r10 = arg[3];
    regs.r8 = arg[4];
    regs.r9 = arg[5];
    regs.eflags &= ~0x100ull; /* no single step */
    if (tn_ptrace(t, PTRACE_SETREGS, b->tid, 0, &regs) < 0)
        return -ESRCH;
    for (int stop = 0; stop < 2; stop++) {
        r = to_call_stop(t, th);
        if (r < 0)
            return r;
        th = tn_tracee_find(t, b->tid);
    }
    if (tn_ptrace(t, PTRACE_GETREGS, b->tid, 0, &regs) < 0)
        return -ESRCH;
    *ret_result = (s64)regs.rax;
    return 0;
}

int tn_borrow_end(struct tn_tracee *t, struct tn_borrowed *b)
{
    struct tn_thread *th = tn_tracee_find(t, b->tid);

    if (!th || th->state != TN_TH_HELD)
        return -ESRCH;
    if (th->entering) {
        u64 since = th->since_ns;

        if (tn_ptrace(t, PTRACE_INTERRUPT, b->tid, 0, NULL) < 0 ||
            tn_ptrace(t, PTRACE_CONT, b->tid, 0, NULL) < 0)
            return -ESRCH;
        th->state = TN_TH_FREE;
        th->interrupting = true;
        th->entering = false;
        if (tn_tracee_settle(t, b->tid, SETTLE_NS) < 0)
            return -ETIMEDOUT;
        th = tn_tracee_find(t, b->tid);
        if (!th || th->state != TN_TH_HELD)
            return -ESRCH;
        th->since_ns = since;
    }
    /* The mask first: it does no harm in the stub, and could not be given back on the way out of it. */
    if (tn_ptrace(t, PTRACE_SETSIGMASK, b->tid, sizeof(b->mask), &b->mask) < 0 ||
        tn_ptrace(t, PTRACE_SETREGS, b->tid, 0, &b->regs) < 0)
        return -ESRCH;
    tn_lent_clear(t);
    return 0;
}

/* --------------------------------------------------------------- after a tracer that was killed */

void tn_lent_clear(struct tn_tracee *t)
{
    static const u8 zero[TN_CAVE_SIZE];

    if (t->lent->cave)
        tn_tracee_write(t, t->lent->cave, zero, sizeof(zero));
    *t->lent = (struct tn_lent){};
}

static bool in_stub(const struct tn_lent *l, u64 pc)
{
    return (l->cave && pc >= l->cave && pc < l->cave + TN_CAVE_SIZE) ||
           (l->stub && pc >= l->stub && pc < l->stub + TN_STUB_SIZE);
}

static bool stop_pending(pid_t tid)
{
    struct __ptrace_peeksiginfo_args args = {.nr = 8};
    siginfo_t si[8];
    long n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, si);

    for (long i = 0; i < n; i++)
        if (si[i].si_signo == SIGSTOP)
            return true;
    return false;
}

int tn_lent_back(struct tn_tracee *t)
{
    struct tn_lent *l = t->lent;
    struct user_regs_struct regs;
    struct tn_thread *th;
    u64 mask;

    if (tn_proc_start_time(l->tid) != l->start_time)
        return -ESRCH;
    tn_stub_abandon(t, l->cave);
    tn_stub_abandon(t, l->stub);
    if (tn_tracee_seize(t, l->tid, NULL) < 0)
        return -ESRCH;
    th = tn_tracee_find(t, l->tid);
    tn_tracee_interrupt(t, th);
    if (tn_tracee_settle(t, l->tid, SETTLE_NS) < 0)
        return -ETIMEDOUT;
    th = tn_tracee_find(t, l->tid);
    if (!th || th->state != TN_TH_HELD || tn_ptrace(t, PTRACE_GETREGS, l->tid, 0, &regs) < 0 ||
        tn_ptrace(t, PTRACE_GETSIGMASK, l->tid, sizeof(mask), &mask) < 0)
        return -ESRCH;
    tn_tracee_mend_result(t, th); /* it may have been asleep in a call of its own again */
    if (in_stub(l, regs.rip) || (~mask & ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1))) == 0)
        tn_ptrace(t, PTRACE_SETSIGMASK, l->tid, sizeof(l->mask), &l->mask);
    if (in_stub(l, regs.rip))
        tn_ptrace(t, PTRACE_SETREGS, l->tid, 0, &l->regs);
    if (!l->stopped && (th->listening || stop_pending(l->tid))) {
        th->listening = false;
        kill(t->pid, SIGCONT); /* clears what is pending, too */
    }
    return 0;
}

/* ------------------------------------------------------------------------ whom to borrow */

static int hold_one(struct tn_tracee *t, pid_t tid, struct tn_error *err)
{
    struct tn_thread *th;
    int r = tn_tracee_seize(t, tid, err);

    if (r < 0)
        return r;
    th = tn_tracee_find(t, tid);
    tn_tracee_interrupt(t, th);
    r = tn_tracee_settle(t, tid, 50000000ull);
    th = tn_tracee_find(t, tid);
    return r < 0 ? r : th && th->state == TN_TH_HELD ? 0 : -ESRCH;
}

enum rank { AWAKE, STOPPED, RESTARTABLE, NRANKS };

/* One look at all threads: the best to take, −EAGAIN when none may be touched. */
static int take_present(struct tn_tracee *t, pid_t *ret_tid, struct tn_error *err)
{
    _free_ pid_t *tids = NULL;
    pid_t best[NRANKS] = {};
    u32 n;
    int r = tn_proc_tids(t->pid, &tids, &n);

    if (r < 0)
        return tn_fail(err, r, "no_such_process", "process %d has ended", t->pid);
    for (u32 i = 0; i < n && !best[AWAKE]; i++) {
        struct tn_doing_what what;

        tn_thread_doing(t->pid, tids[i], &what);
        if (what.doing == TN_DOING_RUNS)
            best[AWAKE] = tids[i];
        else if (what.doing == TN_DOING_STOPPED && !best[STOPPED])
            best[STOPPED] = tids[i];
        else if (!best[RESTARTABLE] && tn_restartable(t->pid, &what, t->seccomp))
            best[RESTARTABLE] = tids[i];
    }
    for (int rank = 0; rank < NRANKS; rank++) {
        if (!best[rank])
            continue;
        r = hold_one(t, best[rank], err);
        if (r == 0) {
            *ret_tid = best[rank];
            return 0;
        }
        if (r != -ESRCH && r != -ETIMEDOUT)
            return r;
    }
    return -EAGAIN;
}

#define WAKE_MAX 32 /* distinct places where sleepers return to */

/* Breakpoints where sleepers return to; whom they lead to us is the thread that is wanted. */
struct wake {
    u64 at[WAKE_MAX];
    u8 orig[WAKE_MAX];
    u32 n;
};

static const u8 trap = 0xcc;

/* A fork child is born with a copy of the breakpoints. */
static void mend_copy(const struct tn_tracee *t, pid_t child)
{
    const struct wake *w = t->mend_arg;
    char path[64];
    _close_ int mem = -1;
    u8 now;

    snprintf(path, sizeof(path), "/proc/%d/mem", child);
    mem = open(path, O_RDWR | O_CLOEXEC);
    for (u32 k = 0; mem >= 0 && k < w->n; k++)
        if (pread(mem, &now, 1, (off_t)w->at[k]) == 1 && now == trap)
            (void)!pwrite(mem, &w->orig[k], 1, (off_t)w->at[k]);
}

/* Children are of no use here, and their parent may wait for them:
   a vfork child at a breakpoint takes it out. */
static void let_child_go(struct tn_tracee *t, struct wake *w, struct tn_thread *th)
{
    struct user_regs_struct regs;

    if (!th->forked && tn_ptrace(t, PTRACE_GETREGS, th->tid, 0, &regs) == 0)
        for (u32 k = 0; k < w->n; k++)
            if (regs.rip == w->at[k])
                tn_tracee_write(t, w->at[k], &w->orig[k], 1);
    tn_tracee_resume(t, th);
}

static void set_breakpoints(struct tn_tracee *t, struct wake *w, const pid_t *tids, u32 ntids)
{
    for (u32 i = 0; i < ntids && w->n < WAKE_MAX; i++) {
        struct tn_thread *th = tn_tracee_find(t, tids[i]);
        struct tn_doing_what what;
        bool known = false;

        tn_thread_doing(t->pid, tids[i], &what);
        if (th && what.doing == TN_DOING_RUNS) { /* awake by now: no other is needed */
            tn_tracee_interrupt(t, th);
            return;
        }
        if (th && what.doing == TN_DOING_SLEEPS && tn_tracee_vforks(what.nr)) {
            tn_tracee_interrupt(t, th);
            continue;
        }
        for (u32 k = 0; k < w->n; k++)
            known |= w->at[k] == what.pc;
        if (what.doing != TN_DOING_SLEEPS || known || tn_tracee_read(t, what.pc, &w->orig[w->n], 1) < 0 ||
            w->orig[w->n] == trap)
            continue;
        w->at[w->n++] = what.pc;
    }
}

/* One that is about to execute something else throws all of this away, and may be waiting for us to see it. */
static bool exec_under_way(const struct tn_tracee *t)
{
    _free_ pid_t *tids = NULL;
    u32 n;

    if (tn_proc_tids(t->pid, &tids, &n) < 0)
        return false;
    for (u32 i = 0; i < n; i++) {
        struct tn_doing_what what;

        tn_thread_doing(t->pid, tids[i], &what);
        if (what.doing == TN_DOING_SLEEPS && (what.nr == SYS_execve || what.nr == SYS_execveat))
            return true;
    }
    return false;
}

/* Waits for a sleeper to wake. */
static int take_waking(struct tn_tracee *t, u64 wait_ns, pid_t *ret_tid, struct tn_error *err)
{
    u64 until = tn_monotonic() + wait_ns;
    struct wake w = {};
    _free_ pid_t *tids = NULL;
    u32 ntids;
    int r = tn_tracee_seize_all(t, err);

    if (r < 0)
        return r;
    r = tn_proc_tids(t->pid, &tids, &ntids);
    if (r < 0)
        return r;
    set_breakpoints(t, &w, tids, ntids);
    if (w.n)
        r = tn_tracee_seize_sharing(t, err);
    if (r < 0)
        return r;
    t->brk = w.at;
    t->nbrk = w.n;
    t->mend_copy = mend_copy;
    t->mend_arg = &w;
    for (u32 k = 0; k < w.n; k++)
        tn_tracee_write(t, w.at[k], &trap, 1);
    *ret_tid = 0;
    while (!*ret_tid) {
        u64 now = tn_monotonic();

        if (now >= until || tn_tracee_hung_up(t) || !tn_tracee_alive(t) || exec_under_way(t))
            break;
        tn_tracee_wait(t, TN_MIN(until - now, 10000000ull));
        for (u32 i = 0; i < t->n && !*ret_tid; i++) {
            if (t->th[i].state != TN_TH_HELD)
                continue;
            if (t->th[i].pid == t->pid)
                *ret_tid = t->th[i].tid;
            else
                let_child_go(t, &w, &t->th[i]);
        }
    }
    for (u32 k = 0; k < w.n; k++)
        tn_tracee_write(t, w.at[k], &w.orig[k], 1);
    /* The one taken stays held; the others are let go and looked after. */
    for (u32 i = 0; i < t->n; i++)
        if (t->th[i].tid != *ret_tid)
            tn_tracee_resume(t, &t->th[i]);
    struct tn_thread *taken = *ret_tid ? tn_tracee_find(t, *ret_tid) : NULL;

    if (taken)
        taken->state = TN_TH_GONE; /* out of the drain's sight */
    tn_tracee_drain(t);
    t->brk = NULL;
    t->nbrk = 0;
    t->mend_copy = NULL;
    t->mend_arg = NULL;
    taken = *ret_tid ? tn_tracee_find(t, *ret_tid) : NULL;
    if (taken)
        taken->state = TN_TH_HELD;
    return *ret_tid ? 0 : -EAGAIN;
}

int tn_borrow(struct tn_tracee *t, u32 wait_ms, struct tn_borrowed *ret_b, struct tn_error *err)
{
    pid_t tid;
    int r = t->seccomp ? tn_tracee_seize(t, t->pid, err) : 0;

    /* Before any thread is stopped or waited for: no choice among them would help. */
    if (r == 0)
        r = check_filter(t, err);
    if (r == 0)
        r = take_present(t, &tid, err);
    if (r == -EAGAIN && wait_ms && !exec_under_way(t))
        r = take_waking(t, wait_ms * 1000000ull, &tid, err);
    if (r == -EAGAIN && exec_under_way(t))
        return fail_exec(t, err);
    if (r == -EAGAIN)
        return tn_fail(
            err, r, "no_thread_to_borrow",
            "every thread of process %d sleeps in a system call that cannot be interrupted without "
            "the program noticing, and none woke within %u ms: try again with a longer --wait",
            t->pid, wait_ms);
    if (r < 0)
        return r;
    r = tn_borrow_held(t, tid, ret_b, err);
    if (r < 0) {
        struct tn_thread *th = tn_tracee_find(t, tid);

        if (th)
            tn_tracee_resume(t, th);
        return r == -ESRCH ? tn_fail(err, r, "no_such_process", "process %d ended in the middle", t->pid) : r;
    }
    return 0;
}
