/* SPDX-License-Identifier: MIT */
/*
 * A breakpoint is met and left, and nothing of the thread is another than without it: registers, flags, vector state, what is below
 * and above the stack pointer, mask, alternate stack. In both ways in which the kernel may deliver it (rt/signals.h), on a thread's stack and
 * on its alternate one, while other signals come at any instruction of the handler's: they return, change the mask that is to hold
 * afterwards, meet breakpoints of their own, jump away, or take all signals back from us.
 */
#include <cpuid.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "ours.h"

struct around {
    u64 gpr[15], flags, sp;
};
extern struct around around_in, around_out;
extern u64 around_mask, broken_hits;
extern u8 around_xin[4096], around_xout[4096], around_trap_at[], around_trap_on[], broken_enter[];
void around_trap(void), around_plain(void);
int broken(void);

#define STACK   (64u << 10)
#define LOOK    256u /* bytes above the stack pointer; the red zone below */
#define RED     128u
#define ROUNDS  2000
#define STATES  0x2e7u /* x87, SSE, AVX, AVX-512, PKRU */
#define PKRU    9
#define FLAGS   0x200cd5u /* ID, OF, DF, SF, ZF, AF, PF, CF */
#define FLAG_AC 0x40000u

static struct tn_private *priv;
static struct tn_signals *sigs;
static struct tn_proc proc;
static u8 *stack, *alternate;

static u64 any(void)
{
    static u64 seed = 0x9E3779B97F4A7C15ull;

    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void fill(void *to, u64 len)
{
    for (u64 i = 0; i < len; i++)
        ((u8 *)to)[i] = (u8)(any() >> 13);
}

/* Any state that a program may be in. What would raise an exception by itself is left masked. */
static void choose(u64 flags)
{
    u32 a, b, c, d, low, high, pkru, mxcsr = 0x1f80 | (any() & 0xe07f);
    u16 control = 0x37f | (any() & 0xc00);

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    around_mask = low & STATES;
    fill(around_xin, sizeof(around_xin));
    memset(around_xin + 512, 0, 64);
    memcpy(around_xin + 512, &around_mask, 8);
    memcpy(around_xin, &control, 2);
    memcpy(around_xin + 24, &mxcsr, 4);
    if (around_mask >> PKRU & 1) {
        __cpuid_count(0xd, PKRU, a, b, c, d);
        pkru = (u32)any() & ~3u;
        memcpy(around_xin + b, &pkru, 4);
    }
    fill(&around_in, sizeof(around_in));
    around_in.flags = (any() & FLAGS) | flags | 0x202;
    around_in.sp = (u64)stack + STACK - 8 * LOOK - (any() & 0xff);
}

/* The state behind the one instruction; the vector state without what only says how it is kept. */
static void run(void (*around)(void), struct around *ret, u8 vectors[4096], u8 near[LOOK + RED])
{
    memset(around_xout, 0, sizeof(around_xout));
    around();
    __asm__ volatile("fninit\n ldmxcsr %0" : : "m"((u32){0x1f80}));
    *ret = around_out;
    memcpy(vectors, around_xout, sizeof(around_xout));
    memset(vectors + 512, 0, 64);
    memcpy(near, (u8 *)around_in.sp - RED, LOOK + RED);
}

static void kept(u64 flags)
{
    static u8 vectors[2][4096], near[2][LOOK + RED];
    struct around plain, trapped;
    stack_t before, after;
    u64 mask, now;

    choose(flags);
    fill(near[0], sizeof(near[0]));
    memcpy((u8 *)around_in.sp - RED, near[0], sizeof(near[0]));
    syscall(SYS_rt_sigprocmask, 0, NULL, &mask, 8);
    sigaltstack(NULL, &before);
    run(around_plain, &plain, vectors[0], near[0]);
    run(around_trap, &trapped, vectors[1], near[1]);
    syscall(SYS_rt_sigprocmask, 0, NULL, &now, 8);
    sigaltstack(NULL, &after);
    assert_memory_equal(&plain, &around_in, sizeof(plain));
    assert_memory_equal(&trapped, &plain, sizeof(plain));
    assert_memory_equal(vectors[1], vectors[0], sizeof(vectors[0]));
    assert_memory_equal(near[1], near[0], sizeof(near[0]));
    assert_int_equal(now, mask);
    assert_ptr_equal(after.ss_sp, before.ss_sp);
    assert_int_equal(after.ss_size, before.ss_size);
    assert_int_equal(after.ss_flags, before.ss_flags);
}

static void alternate_stack(void *at, int flags)
{
    stack_t st = {.ss_sp = at, .ss_size = STACK, .ss_flags = at ? flags : SS_DISABLE};

    assert_int_equal(sigaltstack(&st, NULL), 0);
}

static struct tn_sigaction in_kernel(void)
{
    struct tn_sigaction act = {};

    assert_int_equal(syscall(SYS_rt_sigaction, SIGTRAP, NULL, &act, 8), 0);
    return act;
}

static bool is_open(const struct tn_sigaction *act)
{
    return act->mask == 0 && act->flags & TN_SA_NODEFER && !(act->flags & TN_SA_ONSTACK);
}

/* As the host's handler asks for: where there is none it is open, else it is not. */
static void deliver(bool open)
{
    const struct tn_sigaction host = {.handler = open ? 0 : 0x1000, .flags = open ? 0 : TN_SA_ONSTACK};
    struct tn_sigaction act;

    sigs->shut = 0;
    act = tn_signals_action(sigs, SIGTRAP, &host);
    assert_int_equal(syscall(SYS_rt_sigaction, SIGTRAP, &act, NULL, 8), 0);
    assert_int_equal(is_open(&act), open);
}

static void nothing_changes(void **state)
{
    u64 usr = TN_SIG_BIT(SIGUSR1), none = 0;

    (void)state;
    for (u32 way = 0; way < 2; way++) {
        deliver(!way);
        for (u32 i = 0; i < ROUNDS; i++) {
            if (i % 250 == 0) {
                syscall(SYS_rt_sigprocmask, SIG_SETMASK, i / 250 % 2 ? &usr : &none, NULL, 8);
                switch (i / 250) {
                case 0:
                case 1:
                    alternate_stack(NULL, 0);
                    break;
                case 2:
                case 3:
                    alternate_stack(alternate, 0);
                    break;
                case 4:
                case 5:
                    alternate_stack(alternate, (int)(1u << 31)); /* SS_AUTODISARM */
                    break;
                default:
                    alternate_stack(stack, 0); /* the very one that the thread is on */
                }
            }
            if (!way)
                deliver(true); /* each is the first one that an alternate stack is seen at */
            kept(0);
            if (i % 16 == 0)
                kept(FLAG_AC); /* a program may not put it back: by the kernel */
        }
        alternate_stack(NULL, 0);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
    }
    deliver(true);
}

/* The first thread with an alternate stack is left exactly, and the last that is delivered so. Nobody else's is: the host has been
   given it back meanwhile, or has a handler. */
static void shut_for_all(void **state)
{
    struct tn_sigaction none = {}, act;

    (void)state;
    deliver(true);
    kept(0);
    act = in_kernel();
    assert_true(is_open(&act) && !sigs->shut);
    alternate_stack(alternate, 0);
    kept(0);
    act = in_kernel();
    assert_true(!is_open(&act) && act.flags & TN_SA_ONSTACK && act.mask & TN_SIG_BIT(SIGUSR1) && sigs->shut);
    assert_int_equal(act.handler, sigs->entry);
    act = tn_signals_action(sigs, SIGTRAP, &none);
    assert_false(is_open(&act));
    kept(0);
    alternate_stack(NULL, 0);
    deliver(true);
}

/* In a child: what it ends with. */
static int in_child(void (*what)(void))
{
    int status = -1;
    pid_t pid = fork();

    if (!pid) {
        alarm(60);
        what();
        _exit(0);
    }
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

static void without_sigreturn(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = TN_ARRAY_SIZE(filter), .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
        _exit(1);
    for (u32 i = 0; i < 100; i++)
        around_trap();
}

static void without_sigreturn_shut(void)
{
    deliver(false);
    without_sigreturn();
}

/* Whoever may not return by the kernel returns; where it has to be the kernel, it is. */
static void no_call(void **state)
{
    int status;

    (void)state;
    choose(0);
    assert_int_equal(in_child(without_sigreturn), 0);
    status = in_child(without_sigreturn_shut);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

/* ------------------------------------------------------------------------------------ others that come meanwhile */

static volatile u64 storm_over, came, inside, hits, wanted; /* `wanted`: the mask that is to hold now */
static volatile bool changes, jumps, ends, quiet;
static sigjmp_buf away;

/* In the handler's own code, before the frame has been left. */
static bool in_handler(u64 pc)
{
    return pc - sigs->entry < 24 || pc - (u64)tn_agent_trap < 40 || pc - (u64)tn_agent_trap_c < 64 ||
           pc - ((u64)tn_agent_sigreturn + TN_SIGNALS_RESUME) < 160;
}

static void other(int sig, siginfo_t *si, void *context)
{
    ucontext_t *uc = context;
    bool in = in_handler((u64)uc->uc_mcontext.gregs[REG_RIP]);

    (void)sig;
    (void)si;
    came++;
    inside += in;
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n fldpi\n fstp %%st(0)" : : : "xmm0");
    if (!quiet && broken() == 42)
        hits++;
    if (changes) {
        wanted = came & 1 ? TN_SIG_BIT(SIGUSR2) : 0;
        memcpy(&uc->uc_sigmask, (u64 *)&wanted, 8);
    }
    if (ends && in) { /* as hands do, when the last link goes */
        const struct tn_sigaction none = {};

        syscall(SYS_rt_sigaction, SIGTRAP, &none, NULL, 8);
        sigs->on = TN_SIGNALS_OFF;
        sigs->taken = 0;
        ends = false;
        storm_over = 1;
    }
    if (jumps && in)
        siglongjmp(away, 1);
}

static void *storm(void *arg)
{
    const pid_t to = *(pid_t *)arg;

    while (!storm_over)
        syscall(SYS_tgkill, getpid(), to, SIGUSR1);
    return NULL;
}

/* Until enough of them came in the middle, or it is plain that none does: 30 s. */
#define ENOUGH 100u
static bool enough(u32 round)
{
    static struct timespec began;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!round)
        began = now;
    return inside >= ENOUGH || storm_over || now.tv_sec - began.tv_sec >= 30;
}

static void begin_storm(pthread_t *ret, pid_t *self)
{
    struct sigaction act = {.sa_sigaction = other, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    *self = (pid_t)syscall(SYS_gettid);
    storm_over = came = inside = hits = wanted = 0;
    broken_hits = 0;
    sigaction(SIGUSR1, &act, NULL);
    deliver(true);
    assert_int_equal(pthread_create(ret, NULL, storm, self), 0);
}

static void end_storm(pthread_t t)
{
    u64 none = 0;

    storm_over = 1;
    pthread_join(t, NULL);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
}

static void among_others(void **state)
{
    pthread_t t;
    pid_t self;

    (void)state;
    begin_storm(&t, &self);
    for (u32 round = 0; !enough(round); round++) {
        kept(0);
        if (round % 64 == 0)
            kept(FLAG_AC);
        if (round % 64 ==
            32) { /* the others' handler has a stack of its own, and this one is the first to be shut */
            alternate_stack(alternate, 0);
            kept(0);
            alternate_stack(NULL, 0);
            deliver(true);
        }
    }
    end_storm(t);
    assert_true(inside >= ENOUGH);
    assert_int_equal(hits, came);
    assert_int_equal(broken_hits, came);
}

/* What such a handler has set holds: nothing that was so when the breakpoint was met comes back. */
static void masks_hold(void **state)
{
    u64 now, want;
    pthread_t t;
    pid_t self;

    (void)state;
    changes = true;
    choose(0);
    begin_storm(&t, &self);
    for (u32 round = 0; !enough(round); round++) {
        if (round % 8 == 0)
            choose(round % 16 ? 0 : FLAG_AC);
        around_trap();
        do {
            want = wanted;
            syscall(SYS_rt_sigprocmask, 0, NULL, &now, 8);
        } while (want != wanted);
        assert_int_equal(now, want);
    }
    end_storm(t);
    changes = false;
    assert_true(inside >= ENOUGH);
}

/* A handler that has come in the middle jumps away: the next breakpoint is as any other. */
static void left_by_a_jump(void **state)
{
    volatile u32 round = 0, left = 0;
    pthread_t t;
    pid_t self;

    (void)state;
    begin_storm(&t, &self);
    jumps = true;
    left += sigsetjmp(away, 1) != 0;
    for (; !enough(round); round++)
        kept(0);
    jumps = false;
    end_storm(t);
    assert_true(left >= ENOUGH / 2);
}

/* All is taken back while somebody is in the handler, below one of the host's: he comes out where he was to go. */
static void taken_back(void)
{
    pthread_t t;
    pid_t self;

    choose(0);
    quiet = ends = true;
    begin_storm(&t, &self);
    for (u32 round = 0; ends && !enough(round); round++) {
        if (round % 2)
            alternate_stack(alternate, 0);
        around_trap();
        if (round % 2)
            alternate_stack(NULL, 0);
        if (round % 2 && ends)
            deliver(true);
    }
    _exit(inside && !ends && !memcmp(&around_out, &around_in, sizeof(around_in)) && !in_kernel().handler ? 0
                                                                                                         : 1);
}

static void detached_in_the_middle(void **state)
{
    (void)state;
    for (u32 i = 0; i < 20; i++)
        assert_int_equal(in_child(taken_back), 0);
}

static int set_up(void **state)
{
    const int rw = PROT_READ | PROT_WRITE, how = MAP_PRIVATE | MAP_ANONYMOUS;

    (void)state;
    stack = mmap(NULL, STACK, rw, how, -1, 0);
    alternate = mmap(NULL, STACK, rw, how, -1, 0);
    take_signals(&sigs, &proc, &priv, TN_SIGNALS_BREAKS, true);
    sigs->brk[TN_SIG_BREAK(broken)] = (struct tn_sig_break){(u64)broken, (u64)broken_enter};
    sigs->brk[TN_SIG_BREAK(around_trap_at)] = (struct tn_sig_break){(u64)around_trap_at, (u64)around_trap_on};
    return stack == MAP_FAILED || alternate == MAP_FAILED;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes),
        cmocka_unit_test(shut_for_all),
        cmocka_unit_test(no_call),
        cmocka_unit_test(among_others),
        cmocka_unit_test(masks_hold),
        cmocka_unit_test(left_by_a_jump),
        cmocka_unit_test(detached_in_the_middle),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
