/* SPDX-License-Identifier: MIT */
/* Seizing, holding and resuming threads; see tracee.h and ptrace(2). Remote calls are in remote.c. */
#include "inject/tracee.h"
#include "inject/restartable.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* Whose threads are being seized at this moment. Volatile: the compiler believes of a system call that nothing here runs meanwhile. */
static struct tn_tracee *volatile seizing;

/* Comes in the middle of one system call only (tn_seize), which the kernel makes again afterwards. */
static void on_child(int sig)
{
    int saved = errno;

    (void)sig;
    if (seizing)
        tn_tracee_wait(seizing, 0);
    errno = saved;
}

int tn_seize(struct tn_tracee *t, pid_t tid, long options)
{
    sigset_t chld;
    int r;

    tn_tracee_wait(t, 0);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    seizing = t;
    sigprocmask(SIG_UNBLOCK, &chld, NULL);
    r = ptrace(PTRACE_SEIZE, tid, 0, options) < 0 ? -errno : 0;
    sigprocmask(SIG_BLOCK, &chld, NULL);
    seizing = NULL;
    return r;
}

int tn_tracee_open(struct tn_tracee *t, pid_t pid, struct tn_error *err)
{
    struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    struct tn_status st;
    char path[64];
    sigset_t chld;
    int r;

    *t = (struct tn_tracee){.pid = pid, .mem = -1, .hup = {-1, -1}};
    r = tn_status_read(pid, pid, &st);
    if (r < 0)
        return tn_fail(err, r, "no_such_process", "process %d has ended", pid);
    t->confined = tn_proc_confined(pid);
    t->seccomp = t->confined;
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    t->mem = open(path, O_RDWR | O_CLOEXEC);
    if (t->mem < 0) {
        r = -errno;
        return tn_fail(err, r, r == -EACCES || r == -EPERM ? "not_permitted" : "no_such_process",
                       "cannot open the memory of process %d: %s", pid, strerror(-r));
    }
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    sigaction(SIGCHLD, &child, NULL);
    return 0;
}

void tn_tracee_close(struct tn_tracee *t)
{
    if (t->mem >= 0)
        close(t->mem);
    free(t->th);
    *t = (struct tn_tracee){.mem = -1, .hup = {-1, -1}};
}

void tn_tracee_stumble(const struct tn_tracee *t)
{
    if (!t->last)
        _exit(TN_STUMBLED);
}

long tn_ptrace(const struct tn_tracee *t, int request, pid_t tid, u64 addr, void *data)
{
    long r = ptrace((enum __ptrace_request)request, tid, addr, data);

    if (r < 0 && errno != ESRCH)
        tn_tracee_stumble(t);
    return r;
}

/* 0 bytes transferred: the address space is gone (exec or exit). */
int tn_tracee_read(const struct tn_tracee *t, u64 addr, void *ret_bytes, u64 len)
{
    int r = tn_pread_all(t->mem, ret_bytes, len, addr);

    return r == -ENODATA ? -ESRCH : r == -EIO ? -EFAULT : r;
}

int tn_tracee_write(const struct tn_tracee *t, u64 addr, const void *bytes, u64 len)
{
    for (u64 done = 0; done < len;) {
        ssize_t n = pwrite(t->mem, (const u8 *)bytes + done, len - done, (off_t)(addr + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? -ESRCH : errno == EIO ? -EFAULT : -errno;
        done += (u64)n;
    }
    return 0;
}

struct tn_thread *tn_tracee_find(struct tn_tracee *t, pid_t tid)
{
    for (u32 i = 0; i < t->n; i++)
        if (t->th[i].tid == tid)
            return &t->th[i];
    return NULL;
}

static struct tn_thread *add(struct tn_tracee *t, pid_t tid)
{
    if (t->n == t->cap) {
        u32 want = t->cap ? t->cap * 2 : 64;
        struct tn_thread *more = realloc(t->th, want * sizeof(*more));

        if (!more)
            return NULL;
        t->th = more;
        t->cap = want;
    }
    t->th[t->n] = (struct tn_thread){.tid = tid, .pid = t->pid};
    return &t->th[t->n++];
}

struct tn_thread *tn_tracee_adopt(struct tn_tracee *t, pid_t tid)
{
    struct tn_thread *th = tn_tracee_find(t, tid);

    if (!th)
        th = add(t, tid);
    if (th)
        *th = (struct tn_thread){.tid = tid, .pid = t->pid, .known = true};
    return th;
}

int tn_tracee_seize(struct tn_tracee *t, pid_t tid, struct tn_error *err)
{
    long options = TN_SEIZE_OPTIONS;
    struct tn_thread *th = tn_tracee_find(t, tid);

    if (th && th->state != TN_TH_GONE)
        return 0;
    if (t->seccomp)
        options |= PTRACE_O_SUSPEND_SECCOMP;
    if (!th)
        th = add(t, tid);
    if (!th)
        return -ENOMEM;
    th->state = TN_TH_FREE;
    th->known = false;
    for (u32 tries = 0;; tries++) {
        int r = tn_seize(t, tid, options);
        struct tn_status st;

        if (r == 0)
            break;
        if (r == -EPERM && t->seccomp && tn_seize(t, tid, TN_SEIZE_OPTIONS) == 0)
            return 0; /* remote calls are then refused (tn_borrow), looking and writing is not */
        th = tn_tracee_find(t, tid);
        if (r == -ESRCH || tn_status_read(t->pid, tid, &st) < 0 || st.state == 'Z' || st.state == 'X') {
            th->state = TN_TH_GONE;
            return -ESRCH;
        }
        /* One born by a thread of ours is ours already, though its stop may not have been seen yet. */
        if (r == -EPERM && st.tracer == getpid())
            return 0;
        if (r == -EPERM && tries < TN_SEIZE_TRIES && tn_hands_let_go(tid, &st))
            continue;
        th->state = TN_TH_GONE;
        if (st.tracer) {
            char comm[32];

            tn_proc_comm(st.tracer, comm);
            return tn_fail(err, -EBUSY, "already_traced",
                           "process %d is being traced by process %d (%s): end that first", t->pid, st.tracer,
                           comm);
        }
        return tn_fail(err, r, "not_permitted",
                       "tracing process %d is not permitted: %s (another user's, or "
                       "kernel.yama.ptrace_scope forbids it)",
                       t->pid, strerror(-r));
    }
    if (t->seccomp)
        t->suspended = true;
    return 0;
}

int tn_tracee_seize_all(struct tn_tracee *t, struct tn_error *err)
{
    /* A seized thread's children come by themselves; so one pass without a new thread proves
       that none is missed. */
    for (int pass = 0; pass < 1000; pass++) {
        _free_ pid_t *tids = NULL;
        u32 n = 0, fresh = 0;
        u32 before = 0, after = 0;
        int r = tn_proc_threads(t->pid, &before);

        if (r == 0)
            r = tn_proc_tids(t->pid, &tids, &n);
        if (r == 0)
            r = tn_proc_threads(t->pid, &after);

        if (r < 0)
            return tn_fail(err, r, "no_such_process", "process %d has ended", t->pid);
        tn_tracee_wait(t, 0);
        for (u32 i = 0; i < n; i++) {
            struct tn_thread *th = tn_tracee_find(t, tids[i]);

            if (th && th->state != TN_TH_GONE)
                continue;
            r = tn_tracee_seize(t, tids[i], err);
            if (r == 0)
                fresh++;
            else if (r != -ESRCH)
                return r;
        }
        if (!fresh && n >= before && n >= after)
            return 0;
    }
    return tn_fail(err, -EAGAIN, "threads_too_fast",
                   "process %d makes threads faster than they can be seized", t->pid);
}

bool tn_tracee_vforks(s64 nr)
{
    return nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3;
}

static int seize_process(struct tn_tracee *t, pid_t pid, struct tn_error *err)
{
    _free_ pid_t *tids = NULL;
    u32 n = 0;
    int r = tn_proc_tids(pid, &tids, &n);

    for (u32 i = 0; r == 0 && i < n; i++) {
        struct tn_thread *th = tn_tracee_find(t, tids[i]);

        if (th && th->state != TN_TH_GONE)
            continue;
        r = tn_tracee_seize(t, tids[i], err);
        th = tn_tracee_find(t, tids[i]);
        if (th)
            th->pid = pid;
        r = r == -ESRCH ? 0 : r;
    }
    return r == -ESRCH ? 0 : r;
}

int tn_tracee_seize_sharing(struct tn_tracee *t, struct tn_error *err)
{
    int r = 0;

    /* The process, then each other that is found, while the list grows: they may have children like them. */
    for (u32 i = 0; r == 0 && i <= t->n; i++) {
        const struct tn_thread *of = i ? &t->th[i - 1] : NULL;
        _free_ pid_t *kids = NULL;
        u32 n = 0;

        if ((of && (of->tid != of->pid || of->pid == t->pid || of->forked || of->state == TN_TH_GONE)) ||
            tn_proc_children(of ? of->pid : t->pid, &kids, &n) < 0)
            continue;
        for (u32 k = 0; r == 0 && k < n; k++)
            if (tn_proc_same_mm(t->pid, kids[k]))
                r = seize_process(t, kids[k], err);
    }
    return r;
}

static bool has_vfork_child(pid_t pid)
{
    _free_ pid_t *kids = NULL;
    u32 n = 0;

    if (tn_proc_children(pid, &kids, &n) < 0)
        return false;
    for (u32 i = 0; i < n; i++)
        if (tn_proc_same_mm(pid, kids[i]))
            return true;
    return false;
}

/* Threads are gone through twice, k of 2n: those that were awake the first time are held only when all others have been
   looked at, and may be asleep by then. */
static bool look_again(const struct tn_tracee *t, const struct tn_thread *th, u32 k)
{
    return k < t->n || th->awake;
}

#define HELD_BRIEFLY 3 /* passes */

int tn_tracee_gather(struct tn_tracee *t, bool brief, struct tn_error *err)
{
    for (int pass = 0; pass < 1000; pass++) {
        u32 before = t->n;
        bool all = true;
        int r = tn_tracee_seize_all(t, err);

        if (r < 0)
            return r;
        for (u32 k = 0; k < 2 * t->n; k++) {
            struct tn_thread *th = &t->th[k % t->n];
            struct tn_doing_what what;

            if (th->known || th->state != TN_TH_FREE || !look_again(t, th, k))
                continue;
            all = false;
            tn_thread_doing(th->pid, th->tid, &what);
            th->awake = what.doing == TN_DOING_RUNS || what.doing == TN_DOING_STOPPED;
            if (k < t->n && th->awake)
                continue;
            if (what.doing == TN_DOING_GONE)
                th->state = TN_TH_GONE;
            else if (what.doing != TN_DOING_SLEEPS)
                tn_tracee_interrupt(t, th);
            else if (what.nr != SYS_clone && what.nr != SYS_clone3 && what.nr != SYS_vfork &&
                     what.nr != SYS_fork)
                th->known = true;
            else if (has_vfork_child(th->pid))
                th->known = true; /* its child is born already, and what waits here is its parent */
        }
        r = tn_tracee_settle(t, 0, 1000000000ull);
        if (r < 0)
            return tn_fail(err, -EAGAIN, "thread_will_not_stop",
                           "a thread of process %d does not stop within a second: try again", t->pid);
        /* What they bear from now on is traced: they may go on, unless they bear so many that it comes to no end. */
        for (u32 i = 0; i < t->n; i++)
            if (t->th[i].state == TN_TH_HELD) {
                t->th[i].known = true;
                if (brief)
                    tn_tracee_mend_result(t, &t->th[i]);
            }
        if (brief && pass < HELD_BRIEFLY)
            tn_tracee_resume_all(t);
        if (!all || t->n != before)
            continue;
        r = tn_tracee_seize_sharing(t, err);
        if (r < 0 || t->n == before)
            return r;
    }
    return tn_fail(err, -EAGAIN, "threads_too_fast",
                   "process %d makes threads faster than they can be seized", t->pid);
}

void tn_tracee_interrupt(struct tn_tracee *t, struct tn_thread *th)
{
    if (th->state != TN_TH_FREE || th->interrupting)
        return;
    if (tn_ptrace(t, PTRACE_INTERRUPT, th->tid, 0, NULL) < 0) {
        if (errno == ESRCH)
            th->state = TN_TH_GONE;
        return;
    }
    th->interrupting = true;
    th->listening = false;
    th->since_ns = tn_monotonic();
}

void tn_tracee_resume(struct tn_tracee *t, struct tn_thread *th)
{
    if (th->state != TN_TH_HELD || th->tid == t->keep)
        return;
    if (th->forked && t->mend_copy)
        t->mend_copy(t, th->pid);
    if (th->listening ? ptrace(PTRACE_LISTEN, th->tid, 0, 0) < 0 /* it may have left its stop */
                      : tn_ptrace(t, PTRACE_CONT, th->tid, 0, (void *)(long)th->sig) < 0)
        th->state = errno == ESRCH ? TN_TH_GONE : TN_TH_HELD;
    else
        th->state = TN_TH_FREE;
    u64 held = tn_monotonic() - th->since_ns;

    t->hold_ns_max = TN_MAX(t->hold_ns_max, held);
    th->sig = 0;
    th->entering = false;
}

void tn_tracee_resume_all(struct tn_tracee *t)
{
    for (u32 i = 0; i < t->n; i++)
        tn_tracee_resume(t, &t->th[i]);
}

bool tn_tracee_alive(const struct tn_tracee *t)
{
    for (u32 i = 0; i < t->n; i++)
        if (t->th[i].state != TN_TH_GONE)
            return true;
    return false;
}

/* A trap of one of our breakpoints: the program counter goes back to it, and nobody has seen anything. */
static bool mend_trap(struct tn_tracee *t, struct tn_thread *th)
{
    struct user_regs_struct regs;
    siginfo_t si;

    if (tn_ptrace(t, PTRACE_GETSIGINFO, th->tid, 0, &si) < 0 || si.si_code != SI_KERNEL)
        return false;
    if (tn_ptrace(t, PTRACE_GETREGS, th->tid, 0, &regs) < 0)
        return false;
    for (u32 i = 0; i < t->nbrk; i++)
        if (regs.rip == t->brk[i] + 1) {
            regs.rip = t->brk[i];
            return tn_ptrace(t, PTRACE_SETREGS, th->tid, 0, &regs) == 0;
        }
    return false;
}

/* A newborn: thread, vfork child or fork child? */
static void whose(struct tn_tracee *t, struct tn_thread *th)
{
    struct tn_status st;

    if (tn_status_read(th->tid, th->tid, &st) < 0 || st.tgid == t->pid)
        return;
    th->pid = st.tgid;
    th->forked = !tn_proc_same_mm(t->pid, th->tid);
}

static void on_stop(struct tn_tracee *t, pid_t tid, int status)
{
    int sig = WSTOPSIG(status), event = status >> 16;
    struct tn_thread *th = tn_tracee_find(t, tid);
    u64 now = tn_monotonic();
    bool newborn = !th;

    if (!th) {
        th = add(t, tid);
        if (!th)
            return;
        th->since_ns = now;
        whose(t, th);
    }
    if (th->state == TN_TH_HELD)
        return;
    th->state = TN_TH_HELD;
    if (!th->interrupting)
        th->since_ns = now;
    th->sig = 0;

    /* Any stop clears an interrupt that was outstanding; one sent to a thread that had stopped already leads
       to a stop of its own later, which nobody asked for. */
    bool asked = th->interrupting;

    th->interrupting = false;
    if (event == PTRACE_EVENT_STOP) {
        th->listening = sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
        if (!asked && !newborn)
            tn_tracee_resume(t, th); /* a group stop stays one */
        return;
    }
    if (event) {
        /* Birth of a thread or a child: the parent goes on. The newborn's own stop comes by itself, and is
           waited for: until then nobody has looked at it. */
        unsigned long born = 0;

        if (tn_ptrace(t, PTRACE_GETEVENTMSG, tid, 0, &born) == 0 && born && !tn_tracee_find(t, (pid_t)born)) {
            struct tn_thread *child = add(t, (pid_t)born);

            if (child) {
                child->interrupting = true;
                child->since_ns = now;
                whose(t, child);
            }
            th = tn_tracee_find(t, tid);
        }
        if (asked && tn_ptrace(t, PTRACE_INTERRUPT, tid, 0, NULL) == 0)
            th->interrupting = true; /* to where registers may be changed */
        if (tn_ptrace(t, PTRACE_CONT, tid, 0, NULL) == 0)
            th->state = TN_TH_FREE;
        return;
    }
    if (sig == (SIGTRAP | 0x80)) {
        th->entering = true;
        return;
    }
    if (sig == SIGTRAP && mend_trap(t, th)) { /* held at the breakpoint */
        th->since_ns = t->brk_ns ? TN_MIN(t->brk_ns, th->since_ns) : th->since_ns;
        return;
    }
    th->sig = sig;
    /* A signal of its own: hand it on at once, unless a stop was asked for anyway, or will be. */
    if (!asked && !t->gathering)
        tn_tracee_resume(t, th);
}

int tn_tracee_wait(struct tn_tracee *t, u64 ns)
{
    /* Threads that are sent signals without a pause stop as fast as they are let go: whoever waits for somebody else
       must get his turn. */
    int events = 0, most = (int)t->n + 64, status;

    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

        if (tid > 0) {
            events++;
            if (WIFSTOPPED(status)) {
                on_stop(t, tid, status);
            } else {
                struct tn_thread *th = tn_tracee_find(t, tid);

                if (th)
                    th->state = TN_TH_GONE;
            }
            if (events == most)
                return events;
            continue;
        }
        if (events || !ns || (tid < 0 && errno == ECHILD))
            return events;

        struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull)};
        sigset_t chld;

        sigemptyset(&chld);
        sigaddset(&chld, SIGCHLD);
        sigtimedwait(&chld, NULL, &ts);
        ns = 0;
    }
}

/* Was it on its way to sleep when it was sent its interrupt, over something that no interrupt ends: a disk, or leave to
   execute a file, which may have to wait for us? Then it is as asleep as those who slept before, and what it owes us
   is taken, and let go, when it comes. A parent by vfork only once we hold its child. */
static bool sleeps_through(const struct tn_tracee *t, const struct tn_doing_what *what,
                           const struct tn_status *st)
{
    return tn_tracee_vforks(what->nr) ? has_vfork_child(t->pid) : st->state == 'D';
}

int tn_tracee_settle(struct tn_tracee *t, pid_t tid, u64 ns)
{
    u64 until = tn_monotonic() + ns;

    for (;;) {
        bool waiting = false;

        for (u32 i = 0; i < t->n; i++) {
            struct tn_thread *th = &t->th[i];

            if (tid ? th->tid == tid && th->state == TN_TH_FREE : th->interrupting && th->state == TN_TH_FREE)
                waiting = true;
        }
        if (!waiting)
            return 0;
        u64 now = tn_monotonic();

        if (now >= until)
            return -ETIMEDOUT;
        if (tn_tracee_wait(t, TN_MIN(until - now, 2000000ull)) == 0)
            /* The death of a thread that is not the first leaves no event when it is reaped by exec. */
            for (u32 i = 0; i < t->n; i++) {
                struct tn_doing_what what;

                if (t->th[i].state != TN_TH_FREE || !t->th[i].interrupting)
                    continue;
                tn_thread_doing(t->th[i].pid, t->th[i].tid, &what);
                struct tn_status st;

                if (what.doing == TN_DOING_GONE || tn_status_read(t->th[i].pid, t->th[i].tid, &st) < 0 ||
                    st.state == 'Z' || st.state == 'X')
                    t->th[i].state = TN_TH_GONE;
                else if (!tid && what.doing == TN_DOING_SLEEPS && sleeps_through(t, &what, &st))
                    t->th[i].interrupting = false;
            }
    }
}

bool tn_tracee_hung_up(const struct tn_tracee *t)
{
    struct pollfd p[2] = {{.fd = t->hup[0]}, {.fd = t->hup[1]}};

    return poll(p, 2, 0) > 0 && ((p[0].revents | p[1].revents) & (POLLHUP | POLLERR | POLLNVAL));
}

bool tn_trap_pending(const struct tn_tracee *t, pid_t tid)
{
    struct __ptrace_peeksiginfo_args args = {.nr = 8};
    siginfo_t si[8];
    long n = tn_ptrace(t, PTRACE_PEEKSIGINFO, tid, (u64)(uintptr_t)&args, si);

    for (long i = 0; i < n; i++)
        if (si[i].si_signo == SIGTRAP && si[i].si_code == SI_KERNEL)
            return true;
    return false;
}

static void mend_and_resume_all(struct tn_tracee *t)
{
    for (u32 i = 0; i < t->n; i++)
        if (t->th[i].state == TN_TH_HELD)
            tn_tracee_mend_result(t, &t->th[i]);
    tn_tracee_resume_all(t);
}

int tn_tracee_drain(struct tn_tracee *t)
{
    int r;

    tn_tracee_wait(t, 0);
    mend_and_resume_all(t);
    for (u32 k = 0; k < 2 * t->n; k++) {
        struct tn_thread *th = &t->th[k % t->n];
        struct tn_doing_what what;

        if (th->state != TN_TH_FREE || !look_again(t, th, k))
            continue;
        th->awake = false;
        if (k < t->n && t->slept && t->slept(t, k))
            continue;
        tn_thread_doing(th->pid, th->tid, &what);
        th->awake = what.doing == TN_DOING_RUNS || what.doing == TN_DOING_STOPPED;
        if (what.doing == TN_DOING_GONE)
            th->state = TN_TH_GONE;
        else if (k >= t->n && th->awake)
            tn_tracee_interrupt(t, th);
    }
    t->gathering = true;
    r = tn_tracee_settle(t, 0, 1000000000ull);
    t->gathering = false;
    for (u32 i = 0; i < t->n; i++) {
        if (t->th[i].state != TN_TH_HELD || t->th[i].sig || !tn_trap_pending(t, t->th[i].tid))
            continue;
        pid_t tid = t->th[i].tid;

        tn_tracee_mend_result(t, &t->th[i]);
        t->th[i].listening = false;
        tn_tracee_resume(t, &t->th[i]);
        tn_tracee_settle(t, tid, 1000000000ull);
    }
    mend_and_resume_all(t);
    return r;
}

void tn_tracee_mend_result(struct tn_tracee *t, struct tn_thread *th)
{
    struct user_regs_struct regs;

    if (th->state != TN_TH_HELD || th->sig || th->entering ||
        tn_ptrace(t, PTRACE_GETREGS, th->tid, 0, &regs) < 0 || (s64)regs.orig_rax < 0)
        return;
    s64 mended = tn_restart_result((s64)regs.orig_rax, (s64)regs.rax, t->seccomp);

    if (mended != (s64)regs.rax) {
        regs.rax = (u64)mended;
        tn_ptrace(t, PTRACE_SETREGS, th->tid, 0, &regs);
    }
}
