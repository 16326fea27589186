/* SPDX-License-Identifier: MIT */
/*
 * From the first instruction: a process about to exec is caught at the exec and held; jobs work on it; where
 * a job's library is not mapped yet, it runs on to the loader's breakpoint.
 *
 *   exec ──▶ held (first instruction of ld.so, or of a static program)
 *              └─ run to `_dl_debug_state` ──▶ held: all libraries mapped and relocated, no constructor has
 *                                              run
 *
 * `_dl_debug_state` is what debuggers stop at (the rendezvous of struct r_debug, <link.h>): it is called
 * before the list of libraries changes (RT_ADD) and once it is consistent again (RT_CONSISTENT, 0). A
 * breakpoint at the program's entry catches loaders that never call it.
 */
#include "inject/hands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

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

int tn_hands_hold(struct tn_hands *h, int ready_fd, struct tn_error *err)
{
    struct tn_attach_result ready = {};
    int r = tn_tracee_seize(&h->t, h->t.pid, err), status;

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

    for (;;) {
        struct pollfd p[2] = {{.fd = h->g->broker}, {.fd = h->pidfd, .events = POLLIN}};
        pid_t got = waitpid(h->t.pid, &status, __WALL | WNOHANG);

        if (got == h->t.pid) {
            if (!WIFSTOPPED(status))
                return -ESRCH;
            if (status >> 16 == PTRACE_EVENT_EXEC)
                break;
            ptrace(PTRACE_CONT, h->t.pid, 0, status >> 16 ? 0 : WSTOPSIG(status));
            continue;
        }
        if (got < 0)
            return -ESRCH;
        if (poll(p, 2, 0) > 0 && ((p[0].revents & (POLLHUP | POLLERR)) || p[1].revents))
            return -ECANCELED;

        struct timespec ts = {.tv_nsec = 20000000};
        sigset_t chld;

        sigemptyset(&chld);
        sigaddset(&chld, SIGCHLD);
        sigtimedwait(&chld, NULL, &ts);
    }
    r = reopen_mem(h);
    if (r < 0)
        return r;
    /* From inside execve to its very end, where registers may be set and restored at will. */
    if (ptrace(PTRACE_INTERRUPT, h->t.pid, 0, 0) < 0 || ptrace(PTRACE_CONT, h->t.pid, 0, 0) < 0)
        return -ESRCH;
    struct tn_thread *th = tn_tracee_find(&h->t, h->t.pid);

    th->state = TN_TH_FREE;
    th->interrupting = true;
    th->since_ns = tn_monotonic();
    r = tn_tracee_settle(&h->t, h->t.pid, 2000000000ull);
    if (r < 0)
        return r;
    struct tn_status st;

    if (tn_status_read(h->t.pid, h->t.pid, &st) == 0)
        h->t.seccomp = st.seccomp != 0;
    h->held = true;
    h->t.keep = h->t.pid;
    h->st->held = 1;
    return 0;
}

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

    if (!h->held)
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
