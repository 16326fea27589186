/* SPDX-License-Identifier: MIT */
/*
 * From the first instruction: a process about to exec is caught at the exec and held; jobs work on it; where
 * a job's library is not mapped yet, it runs on to the loader's breakpoint. Whose exec it is: a command's that
 * we start, which waits for our word; or anybody's, whom the watcher (watch.h) has found waiting for leave to
 * open the file.
 *
 *   exec ──▶ held (first instruction of ld.so, or of a static program)
 *              └─ run to `_dl_debug_state` ──▶ held: all libraries mapped and relocated, no constructor has
 *                                              run
 *
 * `_dl_debug_state` is what debuggers stop at (the rendezvous of struct r_debug, <link.h>): it is called
 * before the list of libraries changes (RT_ADD) and once it is consistent again (RT_CONSISTENT, 0). A
 * breakpoint at the program's entry catches loaders that never call it.
 *
 * A library that comes later: the thread that opens it waits for the same leave, and is then followed from
 * call to call, it alone, until the code is mapped. Nothing of the library has run by then, not even its
 * relocation.
 *
 *   open ──▶ read, fstat, mmap … ──▶ mmap(PROT_EXEC) of this very file, mmap … ──▶ close ──▶ held
 *                                └─ anything a loader does not do, or too much of it: let go
 */
#include "inject/hands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define EXEC_NS   5000000000ull /* from the leave to the end of the exec */
#define FOLLOW_NS 1000000000ull
#define CALLS_MAX 64u   /* system calls of a loader between open and the last mmap: eight at most were seen */
#define HEAD_MAX  4096u /* a loader reads the file's head, who copies it reads more */

bool tn_inject_exec_locks;

static int reopen_mem(struct tn_hands *h)
{
    char path[64];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", h->t.pid);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(h->t.mem);
    h->t.mem = fd;
    return 0;
}

/* The next stop of a thread that we trace, within `ns`. −ESRCH: there is none any more; −ECANCELED: the broker
   has gone, or the process; −ETIMEDOUT. */
static int next_stop(struct tn_hands *h, u64 ns, pid_t *ret_tid, int *ret_status)
{
    u64 until = tn_monotonic() + ns;

    for (;;) {
        struct pollfd p[2] = {{.fd = h->g->broker}, {.fd = h->pidfd, .events = POLLIN}};
        struct timespec ts = {.tv_nsec = 20000000};
        sigset_t chld;
        int status;
        pid_t got = waitpid(-1, &status, __WALL | WNOHANG);

        if (got > 0 && WIFSTOPPED(status)) {
            *ret_tid = got;
            *ret_status = status;
            return 0;
        }
        if (got > 0)
            continue;
        if (got < 0)
            return -ESRCH;
        if (poll(p, 2, 0) > 0 && ((p[0].revents & (POLLHUP | POLLERR)) || p[1].revents))
            return -ECANCELED;
        if (tn_monotonic() >= until)
            return -ETIMEDOUT;
        sigemptyset(&chld);
        sigaddset(&chld, SIGCHLD);
        sigtimedwait(&chld, NULL, &ts);
    }
}

/* At the event of an exec: from inside execve to its very end, where registers may be set and restored at will,
   and all that is known of the process anew. */
static int hold_new(struct tn_hands *h)
{
    struct tn_status st;
    struct tn_thread *th;
    int r = reopen_mem(h);

    if (r < 0)
        return r;
    tn_hands_notice_exec(h);
    h->t.n = 0; /* who has called execve is the only thread by now, under the process's own number */
    th = tn_tracee_adopt(&h->t, h->t.pid);
    if (!th)
        return -ENOMEM;
    if (ptrace(PTRACE_INTERRUPT, h->t.pid, 0, 0) < 0 || ptrace(PTRACE_CONT, h->t.pid, 0, 0) < 0)
        return -ESRCH;
    th->interrupting = true;
    th->since_ns = tn_monotonic();
    r = tn_tracee_settle(&h->t, h->t.pid, 2000000000ull);
    if (r < 0)
        return r;
    th = tn_tracee_find(&h->t, h->t.pid);
    if (!th || th->state != TN_TH_HELD)
        return -ESRCH;
    if (tn_status_read(h->t.pid, h->t.pid, &st) == 0)
        h->t.seccomp = st.seccomp != 0;
    h->held = true;
    h->t.keep = h->t.pid;
    h->st->held = TN_HELD_START;
    return 0;
}

int tn_hands_hold(struct tn_hands *h, int ready_fd, struct tn_error *err)
{
    struct tn_attach_result ready = {};
    int r = tn_tracee_seize(&h->t, h->t.pid, err), status;
    pid_t tid;

    if (r < 0)
        return tn_fail(err, r, "no_such_process", "process %d has ended", h->t.pid);
    if (ptrace(PTRACE_INTERRUPT, h->t.pid, 0, 0) < 0)
        return -ESRCH;
    while (waitpid(h->t.pid, &status, __WALL) == h->t.pid && WIFSTOPPED(status) &&
           status >> 16 != PTRACE_EVENT_STOP)
        ptrace(PTRACE_CONT, h->t.pid, 0, WSTOPSIG(status));
    if (!WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, h->t.pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC) < 0 ||
        ptrace(PTRACE_CONT, h->t.pid, 0, 0) < 0)
        return tn_fail(err, -ESRCH, "no_such_process", "process %d has ended", h->t.pid);
    if (write(ready_fd, &ready, sizeof(ready)) != sizeof(ready))
        return -EPIPE;

    while ((r = next_stop(h, ~0ull / 2, &tid, &status)) == 0) {
        if (status >> 16 == PTRACE_EVENT_EXEC)
            return hold_new(h);
        ptrace(PTRACE_CONT, tid, 0, status >> 16 ? 0 : WSTOPSIG(status));
    }
    return r;
}

/* ------------------------------------------------------------------- who waits for the watcher */

static int seize_waiting(struct tn_hands *h, pid_t tid, long options, struct tn_error *err)
{
    struct tn_status st;

    for (u32 tries = 0;; tries++) {
        long more = h->t.seccomp ? PTRACE_O_SUSPEND_SECCOMP : 0;
        int r = tn_seize(&h->t, tid, options | more);

        if (r == -EPERM && more && tn_seize(&h->t, tid, options) == 0)
            r = more = 0;
        if (r == 0) {
            h->t.suspended = more;
            return 0;
        }
        if (r == -ESRCH || tn_status_read(tid, tid, &st) < 0)
            return tn_fail(err, -ESRCH, "no_such_process", "process %d has ended", h->t.pid);
        if (r != -EPERM || tries == TN_SEIZE_TRIES || !tn_hands_let_go(tid, &st))
            return tn_fail(err, r, st.tracer ? "already_traced" : "not_permitted",
                           "process %d, which is about to map a file that is extended, may not be traced: %s",
                           h->t.pid, st.tracer ? "it is being traced" : strerror(-r));
    }
}

/* Stopped at the end of open: on, a call at a time. 0: the code is mapped, and the rest of the file (its
   variables, which come last), if the loader closes it when that is done, as all known ones do. */
static int follow(struct tn_hands *h, pid_t tid, u64 dev, u64 ino)
{
    u64 until = tn_monotonic() + FOLLOW_NS;
    struct user_regs_struct regs;
    bool inside = false, maps = false, mapped = false, closes = false;
    char path[64];
    struct stat sb;
    int status, fd, sig = 0;

    if (ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0)
        return -ESRCH;
    fd = (int)regs.rax;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
    if (fd < 0 || stat(path, &sb) < 0 || sb.st_dev != dev || sb.st_ino != ino)
        return -ENOENT;
    for (u32 calls = 0; calls < CALLS_MAX && tn_monotonic() < until;) {
        pid_t got;
        int r =
            ptrace(PTRACE_SYSCALL, tid, 0, (long)sig) < 0 ? -ESRCH : next_stop(h, FOLLOW_NS, &got, &status);

        sig = 0;
        if (r < 0)
            return r;
        if (got != tid) { /* a child of its: not ours to stop */
            ptrace(PTRACE_CONT, got, 0, 0);
            continue;
        }
        if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            sig = status >> 16 ? 0 : WSTOPSIG(status);
            continue;
        }
        inside = !inside;
        if (ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0)
            return -ESRCH;
        mapped |= !inside && maps && regs.rax < -4095ull;
        if (!inside && closes)
            return 0;
        if (!inside)
            continue;
        calls++;
        maps = false;
        switch (regs.orig_rax) {
        case SYS_mmap:
            maps = (int)regs.r8 == fd && regs.rdx & PROT_EXEC && !(regs.r10 & MAP_ANONYMOUS);
            break;
        case SYS_read:
        case SYS_pread64:
            if (regs.rdx > HEAD_MAX)
                return -ENOENT;
            break;
        case SYS_close:
            closes = mapped && (int)regs.rdi == fd;
            if (!mapped && (int)regs.rdi == fd)
                return -ENOENT;
            break;
        case SYS_fstat:
        case SYS_newfstatat:
        case SYS_lseek:
        case SYS_mprotect:
        case SYS_munmap:
        case SYS_brk:
            break;
        default:
            return mapped ? 0 : -ENOENT;
        }
    }
    return mapped ? 0 : -ENOENT;
}

/* One thread of several: from where it is stopped to where registers may be set and restored at will. */
static int hold_one(struct tn_hands *h, pid_t tid)
{
    struct tn_thread *th = tn_tracee_adopt(&h->t, tid);
    int r;

    if (!th)
        return -ENOMEM;
    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0 || ptrace(PTRACE_CONT, tid, 0, 0) < 0)
        return -ESRCH;
    th->interrupting = true;
    th->since_ns = tn_monotonic();
    r = tn_tracee_settle(&h->t, tid, 1000000000ull);
    th = tn_tracee_find(&h->t, tid);
    if (r < 0 || !th || th->state != TN_TH_HELD)
        return r < 0 ? r : -ESRCH;
    h->held = true;
    h->t.keep = tid;
    h->st->held = TN_HELD_LOADER;
    return 0;
}

/* Before Linux 6.8, exec holds the lock that tracing takes, also while it waits for leave: the thread can be seized only
   when that is over, and has run a little by then, now and then. */
static bool exec_locks(void)
{
    struct utsname name;
    u32 major = 0, minor = 0;

    if (tn_inject_exec_locks)
        return true;
    return uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2 || major < 6 ||
           (major == 6 && minor < 8);
}

/* It was too late for its exec: held where it is if that has mapped the file. */
static int hold_late(struct tn_hands *h, u64 dev, u64 ino)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    int r = reopen_mem(h);

    if (r == 0)
        r = tn_maps_read(h->t.pid, &maps);
    if (r < 0)
        return r;
    tn_hands_notice_exec(h);
    for (u32 i = 0; i < maps.n; i++)
        if (maps.vma[i].dev == dev && maps.vma[i].ino == ino && maps.vma[i].prot & PROT_EXEC)
            return hold_one(h, h->t.pid);
    return -ENOENT;
}

int tn_hands_catch(struct tn_hands *h, const struct tn_task *task, int ready_fd, struct tn_error *err)
{
    const long options = PTRACE_O_TRACESYSGOOD | (task->b ? PTRACE_O_TRACEEXEC : TN_SEIZE_OPTIONS);
    struct tn_attach_result ready = {};
    bool exec = task->b, late = exec && exec_locks();
    pid_t tid = (pid_t)task->a, got;
    int r = 0, status;

    if (late && write(ready_fd, &ready, sizeof(ready)) != sizeof(ready))
        return -EPIPE;
    if (tn_inject_exec_locks) /* as long as the lock would be held */
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    r = seize_waiting(h, tid, options, err);
    if (r < 0)
        return r;
    /* Its wait cannot be interrupted: whatever becomes of the call, this stop comes at its end. */
    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0)
        return tn_fail(err, -ESRCH, "no_such_process", "process %d has ended", h->t.pid);
    if (!late && write(ready_fd, &ready, sizeof(ready)) != sizeof(ready))
        return -EPIPE;
    while ((r = next_stop(h, EXEC_NS, &got, &status)) == 0) {
        if (status >> 16 == PTRACE_EVENT_EXEC)
            return hold_new(h);
        if (status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) == SIGTRAP && got == tid)
            break;
        ptrace(PTRACE_CONT, got, 0, status >> 16 ? 0 : WSTOPSIG(status));
    }
    if (r < 0)
        return r;
    if (exec) /* or it has failed */
        return late && tid == h->t.pid ? hold_late(h, task->c, task->d) : -ENOENT;
    r = follow(h, tid, task->c, task->d);
    return r < 0 ? r : hold_one(h, tid);
}

/* ------------------------------------------------------------------------- on to the libraries */

/* Runs the held thread to whichever of the breakpoints comes first; *ret_at is where it is. */
static int run_to_brk(struct tn_hands *h, const u64 *brk, u32 n, u64 *ret_at)
{
    struct tn_thread *th = tn_tracee_find(&h->t, h->t.pid);
    struct user_regs_struct regs;
    u8 orig[2], trap = 0xcc;
    int r = 0;

    for (u32 i = 0; i < n && r == 0; i++)
        r = tn_tracee_read(&h->t, brk[i], &orig[i], 1);
    for (u32 i = 0; i < n && r == 0; i++)
        r = tn_tracee_write(&h->t, brk[i], &trap, 1);
    if (r < 0)
        return r;
    h->t.brk = brk;
    h->t.nbrk = n;
    h->t.keep = 0;
    tn_tracee_resume(&h->t, th);
    for (;;) {
        tn_tracee_wait(&h->t, 20000000ull);
        th = tn_tracee_find(&h->t, h->t.pid);
        if (!th || th->state == TN_TH_GONE) {
            r = -ESRCH;
            break;
        }
        if (th->state == TN_TH_HELD)
            break;
        if (tn_tracee_hung_up(&h->t)) {
            tn_tracee_interrupt(&h->t, th);
            tn_tracee_settle(&h->t, h->t.pid, 1000000000ull);
            r = -ECANCELED;
            break;
        }
    }
    for (u32 i = 0; i < n; i++)
        tn_tracee_write(&h->t, brk[i], &orig[i], 1);
    h->t.keep = h->t.pid;
    h->t.brk = NULL;
    h->t.nbrk = 0;
    if (r == 0 && ptrace(PTRACE_GETREGS, h->t.pid, 0, &regs) < 0)
        r = -ESRCH;
    if (r == 0)
        *ret_at = regs.rip;
    return r;
}

/* Past a breakpoint whose byte is the program's own again. */
static int step(struct tn_hands *h)
{
    int status;

    if (ptrace(PTRACE_SINGLESTEP, h->t.pid, 0, 0) < 0 || waitpid(h->t.pid, &status, __WALL) != h->t.pid)
        return -ESRCH;
    return WIFSTOPPED(status) ? 0 : -ESRCH;
}

int tn_hands_run_to(struct tn_hands *h, u64 brk, u64 state_word, u64 entry, struct tn_error *err)
{
    const u64 at[2] = {brk, entry};
    u64 rip = 0;

    if (h->st->held != TN_HELD_START)
        return tn_fail(err, -EPROTO, "bad_order", "the process is not held");
    for (int hits = 0; hits < 64; hits++) {
        u32 state = 0;
        int r = run_to_brk(h, at, 2, &rip);

        if (r < 0)
            return tn_fail(err, r, "vanished", "process %d ended before its libraries were loaded", h->t.pid);
        if (rip == entry)
            return 0;
        if (rip == brk && tn_tracee_read(&h->t, state_word, &state, sizeof(state)) == 0 && state == 0)
            return 0;
        if (step(h) < 0)
            return tn_fail(err, -ESRCH, "vanished", "process %d ended before its libraries were loaded",
                           h->t.pid);
    }
    return tn_fail(err, -ELOOP, "not_mapped", "the loader of process %d does not come to an end", h->t.pid);
}
