/* SPDX-License-Identifier: MIT */
/*
 * What a host sees of signals that are ours. Each scenario runs twice for each of them, in a child of its own: as any program
 * runs, and with its calls guarded and the kernel's handlers ours. What it has noted, and how it ended, must be the same; the
 * second time breakpoints are met and loads fault at every step, and all breakpoints must have been counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "ours.h"
#include "rt/probe.h"

s64 guarded_call(u64 nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 a6);
extern u8 guarded_call_on[], guarded_call_made[], guarded_restorer[], guarded_restorer_on[],
    guarded_restorer_made[], plain_restorer[], broken_enter[];
extern struct tn_guard_block site_block, return_block;
extern u64 broken_hits;
int broken(void);
void own_trap(void), own_fault(void), own_bus(void);
extern u64 bus_page;

/* What a scenario notes: shared with those it forks. */
struct notes {
    u32 len;
    char text[8192];
    u64 met; /* breakpoints that were run into on purpose */
};
static struct notes *notes;
static bool ours; /* the second time */
static int empty; /* a file: what is mapped of it is not there */
static struct tn_private *priv;
static struct tn_signals *sigs;
static struct tn_proc proc;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    notes->len += (u32)vsnprintf(notes->text + notes->len, sizeof(notes->text) - notes->len, format, args);
    va_end(args);
}

#define BUS_PAGE 0x10000000000ull

/* Reads what is there, what is behind a file's end, and what is nowhere. By loads: process_vm_readv is not allowed. */
static void look_around(void)
{
    static const u64 there = 0x6874656e6f6e65;
    const struct tn_run run = {.proc = &proc};
    u64 seen = 0;

    if (tn_probe_read(&seen, 8, (u64)&there, &run) || seen != there ||
        tn_probe_read(&seen, 8, BUS_PAGE, &run) != -EFAULT ||
        tn_probe_read(&seen, 4, BUS_PAGE + TN_PAGE, &run) != -EFAULT)
        abort();
}

/* Runs into a breakpoint, and reads, wherever it is called. */
static void meet(void)
{
    if (!ours)
        return;
    look_around();
    __atomic_fetch_add(&notes->met, 1, __ATOMIC_SEQ_CST);
    if (broken() != 42)
        abort();
}

static s64 call(u64 nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 a6)
{
    s64 ret;

    meet();
    ret = guarded_call(nr, a1, a2, a3, a4, a5, a6);
    meet();
    return ret;
}
#define CALL(nr, a1, a2, a3, a4, a5, a6)                                                                     \
    call(SYS_##nr, (u64)(a1), (u64)(a2), (u64)(a3), (u64)(a4), (u64)(a5), (u64)(a6))

static int the = SIGTRAP; /* the signal that a scenario is about */
static u64 trap = TN_SIG_BIT(SIGTRAP);
static const u64 usr1 = 1ull << (SIGUSR1 - 1), all = ~0ull;

static s64 set_mask(u32 how, u64 set, u64 *ret_old)
{
    return CALL(rt_sigprocmask, how, &set, ret_old, 8, 0, 0);
}

static u64 mask(void)
{
    u64 now = 0;

    CALL(rt_sigprocmask, 0, 0, &now, 8, 0, 0);
    return now & (trap | usr1);
}

static s64 set_action(u32 sig, u64 handler, u64 flags, u64 with, struct tn_sigaction *ret_old)
{
    struct tn_sigaction act = {.handler = handler,
                               .flags = flags | 0x04000000,
                               .restorer = (u64)(ours ? guarded_restorer : plain_restorer),
                               .mask = with};

    return CALL(rt_sigaction, sig, &act, ret_old, 8, 0, 0);
}

static void note_action(u32 sig)
{
    struct tn_sigaction old = {};
    s64 r = CALL(rt_sigaction, sig, 0, &old, 8, 0, 0);

    if (old.restorer)
        old.restorer = 1;
    note("action %u: %ld %lx %lx %lx %lx\n", sig, r, old.handler, old.flags, old.restorer, old.mask);
}

/* The host's own: an instruction that raises it, and where that stands. */
static void own(void)
{
    switch (the) {
    case SIGTRAP:
        own_trap();
        break;
    case SIGSEGV:
        own_fault();
        break;
    default:
        own_bus();
    }
}

static u64 own_at(void)
{
    return (u64)(the == SIGTRAP ? own_trap : the == SIGSEGV ? own_fault : own_bus);
}

static void send_trap(s32 value)
{
    siginfo_t si = {.si_signo = the, .si_code = SI_QUEUE};

    si.si_pid = 1234;
    si.si_value.sival_int = value;
    note("sent: %ld\n", CALL(rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), the, &si, 0, 0));
}

static void handler(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    u64 in_frame;

    meet();
    memcpy(&in_frame, &uc->uc_sigmask, 8);
    note("handler: %d code %d value %d, mask %lx, before %lx, flags %lx\n", sig, si->si_code,
         si->si_code < 0 ? si->si_value.sival_int : 0, mask(), in_frame & (trap | usr1), uc->uc_flags);
    if (si->si_code > 0 && the != SIGTRAP)
        uc->uc_mcontext.gregs[REG_RIP] += 2; /* past the load */
    if (si->si_code > 0)
        note("addr %lx\n", the == SIGTRAP ? 0 : (u64)si->si_addr);
    if (si->si_code > 0)
        note("at +%ld\n", (s64)uc->uc_mcontext.gregs[REG_RIP] - (s64)own_at());
    meet();
}

/* ----------------------------------------------------------------------------------------------- scenarios */

static void read_back(void)
{
    struct tn_sigaction old = {};

    note_action(the);
    note("%ld\n", set_action(the, (u64)handler, SA_SIGINFO | SA_RESTART | SA_ONSTACK, usr1 | 1 << 8, &old));
    note("%lx %lx %lx\n", old.handler, old.flags, old.mask);
    note_action(the);
    note("%ld\n", set_action(the, 1, 0x00000400, all, &old));
    note("%lx %lx %lx\n", old.handler, old.flags, old.mask);
    note_action(the);
    note("%ld\n", set_action(SIGUSR1, (u64)handler, SA_SIGINFO, trap, &old));
    note_action(SIGUSR1);
    note("%ld\n", set_action(SIGUSR1, (u64)handler, SA_SIGINFO, usr1, &old));
    note("%lx %lx %lx\n", old.handler, old.flags, old.mask);
    note_action(SIGUSR1);
    note("%ld\n", set_action(SIGUSR1, 0, 0, trap, &old));
    note_action(SIGUSR1);
}

static void raised(void)
{
    set_action(the, (u64)handler, SA_SIGINFO, 0, NULL);
    send_trap(7);
    note("mask %lx\n", mask());
    own();
    note("mask %lx\n", mask());
    set_action(the, (u64)handler, SA_SIGINFO | SA_NODEFER, usr1, NULL);
    send_trap(8);
    own();
    note("mask %lx\n", mask());
    set_action(the, (u64)handler, SA_SIGINFO | SA_RESETHAND, 0, NULL);
    send_trap(9);
    note_action(the);
    send_trap(10);
    note("not reached\n");
}

static void blocked_until(void)
{
    u64 old = 0, pending = 0;

    set_action(the, (u64)handler, SA_SIGINFO, 0, NULL);
    note("%ld", set_mask(SIG_BLOCK, trap, &old));
    note(" %lx\n", old & trap);
    send_trap(1);
    note("mask %lx pending %ld", mask(), CALL(rt_sigpending, &pending, 8, 0, 0, 0, 0));
    note(" %lx\n", pending);
    note("%ld", set_mask(SIG_SETMASK, usr1, &old));
    note(" %lx mask %lx\n", old & (trap | usr1), mask());
    note("%ld", CALL(rt_sigpending, &pending, 8, 0, 0, 0, 0));
    note(" %lx\n", pending);
    set_mask(SIG_SETMASK, all, NULL);
    note("mask %lx\n", mask());
    set_mask(SIG_UNBLOCK, trap, &old);
    note("mask %lx was %lx\n", mask(), old);
}

static void ignored(void)
{
    set_action(the, 1, 0, 0, NULL);
    send_trap(1);
    note("alive\n");
    own();
    note("not reached\n");
}

static void blocked_trap(void)
{
    set_action(the, (u64)handler, SA_SIGINFO, 0, NULL);
    set_mask(SIG_BLOCK, trap, NULL);
    own();
    note("not reached\n");
}

static void by_default(void)
{
    meet();
    own();
    note("not reached\n");
}

static void sent_by_default(void)
{
    note("%ld\n", CALL(tgkill, getpid(), syscall(SYS_gettid), the, 0, 0, 0));
    note("not reached\n");
}

static void masked_handler(void)
{
    set_action(SIGUSR1, (u64)handler, SA_SIGINFO, trap, NULL);
    CALL(tgkill, getpid(), syscall(SYS_gettid), SIGUSR1, 0, 0, 0);
    note("mask %lx\n", mask());
    set_mask(SIG_BLOCK, trap, NULL);
    CALL(tgkill, getpid(), syscall(SYS_gettid), SIGUSR1, 0, 0, 0);
    note("mask %lx\n", mask());
}

static void set_in_frame(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;

    (void)si;
    sigaddset(&uc->uc_sigmask, sig == SIGUSR2 ? the : SIGUSR1);
    meet();
}

/* A handler may write the mask that is to hold when it has returned. */
static void frame_edited(void)
{
    set_action(SIGUSR2, (u64)set_in_frame, SA_SIGINFO, 0, NULL);
    CALL(tgkill, getpid(), syscall(SYS_gettid), SIGUSR2, 0, 0, 0);
    note("mask %lx\n", mask());
    set_action(the, (u64)set_in_frame, SA_SIGINFO, 0, NULL);
    set_mask(SIG_SETMASK, 0, NULL);
    send_trap(1);
    note("mask %lx\n", mask());
}

static void waits(void)
{
    struct timespec soon = {.tv_nsec = 1000000};
    u64 set = trap, none = 0, wide = all & ~(1ull << (SIGALRM - 1)), pair[2] = {(u64)&set, 8};
    siginfo_t si = {};

    set_action(the, (u64)handler, SA_SIGINFO, 0, NULL);
    note("ppoll %ld\n", CALL(ppoll, 0, 0, &soon, &set, 8, 0));
    soon.tv_nsec = 1000000;
    note("pselect %ld\n", CALL(pselect6, 0, 0, 0, 0, &soon, pair));
    soon.tv_nsec = 1000000;
    note("ppoll %ld set %lx\n", CALL(ppoll, 0, 0, &soon, &wide, 8, 0), wide);
    note("mask %lx\n", mask());
    set_mask(SIG_BLOCK, trap, NULL);
    send_trap(3);
    note("suspend %ld\n", CALL(rt_sigsuspend, &none, 8, 0, 0, 0, 0));
    note("mask %lx\n", mask());
    send_trap(4);
    note("wait %ld", CALL(rt_sigtimedwait, &set, &si, &soon, 8, 0, 0));
    note(" %d %d %d\n", si.si_signo, si.si_code, si.si_value.sival_int);
    soon.tv_nsec = 1000000;
    note("wait %ld\n", CALL(rt_sigtimedwait, &set, &si, &soon, 8, 0, 0));
}

static void alarmed(int sig)
{
    meet();
    note("alarm %d\n", sig);
}

/* One that comes while a thread sleeps which lets it through for that time only; and a handler that runs meanwhile. */
static void slept(void)
{
    u64 none = 0;
    u64 full = all & ~(1ull << (SIGALRM - 1));
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = the};
    struct itimerspec soon = {.it_value.tv_nsec = 30000000};

    timer_create(CLOCK_MONOTONIC, &ev, &timer);
    set_action(the, (u64)handler, SA_SIGINFO, 0, NULL);
    set_mask(SIG_BLOCK, trap, NULL);
    timer_settime(timer, 0, &soon, NULL);
    note("suspend %ld\n", CALL(rt_sigsuspend, &none, 8, 0, 0, 0, 0));
    note("mask %lx\n", mask());
    ev.sigev_signo = SIGALRM;
    timer_create(CLOCK_MONOTONIC, &ev, &timer);
    set_action(SIGALRM, (u64)alarmed, 0, 0, NULL);
    set_mask(SIG_UNBLOCK, trap, NULL);
    timer_settime(timer, 0, &soon, NULL);
    note("suspend %ld\n", CALL(rt_sigsuspend, &full, 8, 0, 0, 0, 0));
}

static void impossible(void)
{
    u64 set = trap;
    struct tn_sigaction act = {.handler = (u64)handler};

    note("%ld %ld %ld %ld %ld\n", CALL(rt_sigprocmask, 0, 8, 0, 8, 0, 0),
         CALL(rt_sigprocmask, 99, &set, 0, 8, 0, 0), CALL(rt_sigprocmask, 99, 0, 0, 8, 0, 0),
         CALL(rt_sigprocmask, 0, &set, 8, 8, 0, 0), CALL(rt_sigprocmask, 0, &set, 0, 4, 0, 0));
    note("mask %lx\n", mask());
    note("%ld %ld %ld %ld %ld %ld\n", CALL(rt_sigaction, the, 8, 0, 8, 0, 0),
         CALL(rt_sigaction, the, &act, 8, 8, 0, 0), CALL(rt_sigaction, the, &act, 0, 16, 0, 0),
         CALL(rt_sigaction, 65, &act, 0, 8, 0, 0), CALL(rt_sigaction, SIGKILL, &act, 0, 8, 0, 0),
         CALL(rt_sigaction, 0, 0, &act, 8, 0, 0));
    note_action(the);
    note("%ld %ld\n", CALL(rt_sigpending, 8, 8, 0, 0, 0, 0), CALL(rt_sigpending, &set, 99, 0, 0, 0, 0));
    note("%ld %ld %ld\n", CALL(rt_sigsuspend, 8, 8, 0, 0, 0, 0), CALL(rt_sigsuspend, &set, 4, 0, 0, 0, 0),
         CALL(ppoll, 0, 0, 0, 8, 8, 0));
    note("%ld\n", CALL(rt_sigtimedwait, 8, 0, 0, 8, 0, 0));
}

static sigjmp_buf out;
static void jump(int sig)
{
    (void)sig;
    meet();
    siglongjmp(out, 1);
}

static void jumped_out(void)
{
    set_action(the, (u64)jump, 0, 0, NULL);
    if (!sigsetjmp(out, 0))
        own();
    note("out, mask %lx\n", mask());
    set_mask(SIG_SETMASK, 0, NULL);
    if (!sigsetjmp(out, 0))
        send_trap(1);
    note("out, mask %lx\n", mask());
}

static int other_memory(void *arg)
{
    (void)arg;
    set_mask(SIG_SETMASK, 0, NULL);
    set_action(the, 0, 0, 0, NULL);
    note("child mask %lx\n", mask());
    note_action(the);
    set_mask(SIG_BLOCK, trap | usr1, NULL);
    note("child mask %lx\n", mask());
    syscall(SYS_exit, 0);
    return 0;
}

/* A child in the same memory changes what is its own; a child with a copy has its parent's. */
static void children(void)
{
    static u8 stack[65536];
    int status = 0;
    pid_t pid;

    set_action(the, (u64)handler, SA_SIGINFO, 0, NULL);
    set_mask(SIG_SETMASK, trap, NULL);
    __atomic_fetch_add(&priv->armed, TN_VFORK_UNIT, __ATOMIC_SEQ_CST);
    pid = clone(other_memory, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    __atomic_fetch_sub(&priv->armed, TN_VFORK_UNIT, __ATOMIC_SEQ_CST);
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    note("child %x, mask %lx\n", status, mask());
    note_action(the);
    pid = fork();
    if (!pid) {
        note("forked mask %lx\n", mask());
        note_action(the);
        send_trap(1);
        set_mask(SIG_SETMASK, 0, NULL);
        set_action(the, 1, 0, 0, NULL);
        __atomic_fetch_add(&notes->met, 0, __ATOMIC_SEQ_CST);
        _exit(broken_hits ? 3 : 2);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    note("mask %lx\n", mask());
    note_action(the);
}

static void execs(void)
{
    char *argv[] = {"/bin/sh", "-c", "exec >&7; grep -E 'Sig(Blk|Ign|Cgt|Pnd)' /proc/self/status", NULL},
         *envp[] = {NULL};
    char *nowhere[] = {"/nowhere", NULL};

    set_action(the, 1, 0, 0, NULL);
    set_mask(SIG_SETMASK, trap, NULL);
    note("%ld\n", CALL(execve, nowhere[0], nowhere, envp, 0, 0, 0));
    note("mask %lx\n", mask());
    note_action(the);
    CALL(execve, argv[0], argv, envp, 0, 0, 0);
}

static void *in_thread(void *arg)
{
    stack_t st = {.ss_sp = arg, .ss_size = 65536};

    sigaltstack(&st, NULL);
    for (u32 i = 0; i < 1000; i++) {
        set_mask(SIG_SETMASK, i % 2 ? all : 0, NULL);
        if (mask() != (i % 2 ? trap | usr1 : 0))
            note("thread: mask is wrong\n");
    }
    set_mask(SIG_SETMASK, 0, NULL);
    send_trap(2);
    st.ss_flags = SS_DISABLE;
    sigaltstack(&st, NULL);
    return NULL;
}

/* Each thread has a mask of its own, and perhaps a stack for handlers. */
static void threads(void)
{
    static u8 stacks[4][65536];
    pthread_t t[4];

    set_action(the, 1, 0, 0, NULL);
    for (u32 i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, in_thread, stacks[i]), 0);
    for (u32 i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    notes->len = 0; /* in whatever order they came */
    set_action(the, (u64)handler, SA_SIGINFO | SA_ONSTACK, 0, NULL);
    in_thread(stacks[0]);
}

/* ---------------------------------------------------------------------------------------------- both times */

static void take_over(void)
{
    take_signals(&sigs, &proc, &priv, TN_SIGNALS_BREAKS | TN_SIGNALS_LOADS, ours);
    sigs->brk[TN_SIG_BREAK(broken)] = (struct tn_sig_break){(u64)broken, (u64)broken_enter};
    site_block =
        (struct tn_guard_block){(u64)sigs, (u64)guarded_call_on, (u64)guarded_call_made, (u64)tn_agent_guard};
    return_block = (struct tn_guard_block){(u64)sigs, (u64)guarded_restorer_on, (u64)guarded_restorer_made,
                                           (u64)tn_agent_guard};
    bus_page = (u64)mmap((void *)BUS_PAGE, TN_PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, empty, 0);
}

static int run(void (*scenario)(void), bool second, struct notes *ret, char *ret_out, size_t cap)
{
    int status, fds[2];
    ssize_t n;
    pid_t pid;

    *notes = (struct notes){};
    broken_hits = 0;
    if (pipe(fds) < 0)
        return -1;
    pid = fork();
    if (!pid) {
        u64 none = 0;

        dup2(fds[1], 7);
        close(fds[0]);
        ours = second;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
        for (u32 row = 0; row < TN_OURS_COUNT; row++) /* cmocka has taken some */
            syscall(SYS_rt_sigaction, tn_ours_nr((enum tn_ours)row), &(struct tn_sigaction){}, NULL, 8);
        take_over();
        scenario();
        meet();
        if (ours && broken_hits != notes->met && scenario != children)
            note("met %lu, counted %lu\n", notes->met, broken_hits);
        _exit(ours && !broken_hits ? 99 : 0);
    }
    close(fds[1]);
    n = read(fds[0], ret_out, cap - 1);
    ret_out[n > 0 ? n : 0] = 0;
    close(fds[0]);
    if (waitpid(pid, &status, 0) != pid)
        return -1;
    *ret = *notes;
    return status;
}

static void both(void **state)
{
    static struct notes plain, guarded;
    char out_plain[2048], out_guarded[2048];
    void (*scenario)(void) = (void (*)(void)) * state;

    for (u32 row = 0; row < TN_OURS_COUNT; row++) {
        int first, second;

        the = (int)tn_ours_nr((enum tn_ours)row);
        trap = TN_SIG_BIT(the);
        first = run(scenario, false, &plain, out_plain, sizeof(out_plain));
        second = run(scenario, true, &guarded, out_guarded, sizeof(out_guarded));
        assert_string_equal(guarded.text, plain.text);
        assert_string_equal(out_guarded, out_plain);
        assert_int_equal(second, first);
        assert_true(plain.len > 0 || first);
        assert_true(guarded.met > 0);
    }
}

#define SCENARIO(name)                                                                                       \
    {                                                                                                        \
#name, both, NULL, NULL, (void *)(name)                                                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENARIO(read_back),    SCENARIO(raised),     SCENARIO(blocked_until),   SCENARIO(ignored),
        SCENARIO(blocked_trap), SCENARIO(by_default), SCENARIO(sent_by_default), SCENARIO(masked_handler),
        SCENARIO(frame_edited), SCENARIO(waits),      SCENARIO(slept),           SCENARIO(impossible),
        SCENARIO(jumped_out),   SCENARIO(children),   SCENARIO(execs),           SCENARIO(threads),
    };

    empty = memfd_create("empty", MFD_CLOEXEC);
    notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return notes == MAP_FAILED ? 99 : cmocka_run_group_tests(tests, NULL, NULL);
}
