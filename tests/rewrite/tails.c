/* SPDX-License-Identifier: MIT */
/*
 * Functions that are left by tail jumps, hooked in this very program (inproc.h): each return to a caller runs the
 * program once, no other return does, and nothing that can happen to a call in between (recursion, jumps out of it,
 * handlers, coroutines, threads, fork) is taken for a return or loses one without saying so.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "inproc.h"
#include "rewrite/mark.h"

struct state {
    u64 gpr[16], flags, pad;
    u8 xmm[16][16];
};
extern void call_with_state(void *fn, struct state *in, struct state *ret_out);

typedef u64 (*volatile fn_t)(u64);

/*
 * first(a)   even: a + 1, by ret; a % 4 == 1: by middle; else, by a conditional jump, to last
 * middle(a)  a % 8 == 1: a * 2; else on to last
 * last(a)    calls `within` if there is one, a * 3
 * turns(a)   jumps to turns_back, which jumps back to it, until a is below 2
 */
extern u64 first(u64 a), middle(u64 a), last(u64 a), turns(u64 a), turns_back(u64 a), only_jumps(u64 a),
    loops(u64 a);
void (*within)(u64 a);

#define BEGIN(name) ".globl " name "\n.type " name ", @function\n.balign 64\n" name ":\n.cfi_startproc\n"
#define END(name)   ".cfi_endproc\n.size " name ", .-" name "\n"
__asm__(
    ".text\n"
    // clang-format off
        BEGIN("first")
        "       push %rbx\n"
        "       .cfi_def_cfa_offset 16\n"
        "       mov %rdi, %rbx\n"
        "       test $1, %bl\n"
        "       jne 1f\n"
        "       lea 1(%rbx), %rax\n"
        "       pop %rbx\n"
        "       .cfi_remember_state\n"
        "       .cfi_def_cfa_offset 8\n"
        "       ret\n"
        "1:     .cfi_restore_state\n"
        "       pop %rbx\n"
        "       .cfi_def_cfa_offset 8\n"
        "       test $2, %dil\n"
        "       {disp32} jne last\n"
        "       {disp32} jmp middle\n"
        END("first")
        BEGIN("middle")
        "       mov %rdi, %rax\n"
        "       and $7, %eax\n"
        "       cmp $1, %eax\n"
        "       jne 1f\n"
        "       lea (%rdi,%rdi), %rax\n"
        "       ret\n"
        "       nopl 0(%rax)\n"
        "1:     {disp32} jmp last\n"
        END("middle")
        BEGIN("last")
        "       push %rbx\n"
        "       .cfi_def_cfa_offset 16\n"
        "       mov %rdi, %rbx\n"
        "       mov within(%rip), %rax\n"
        "       test %rax, %rax\n"
        "       je 1f\n"
        "       call *%rax\n"
        "1:     lea (%rbx,%rbx,2), %rax\n"
        "       pop %rbx\n"
        "       .cfi_def_cfa_offset 8\n"
        "       ret\n"
        "       nopl 0(%rax)\n"
        END("last")
        BEGIN("turns")
        "       lea -1(%rdi), %rdi\n"
        "       cmp $1, %rdi\n"
        "       jg 1f\n"
        "       lea 7(%rdi), %rax\n"
        "       ret\n"
        "       nopl 0(%rax)\n"
        "1:     {disp32} jmp turns_back\n"
        END("turns")
        BEGIN("turns_back")
        "       lea -1(%rdi), %rdi\n"
        "       cmp $1, %rdi\n"
        "       jg 1f\n"
        "       lea 9(%rdi), %rax\n"
        "       ret\n"
        "       nopl 0(%rax)\n"
        "1:     {disp32} jmp turns\n"
        END("turns_back")
        BEGIN("only_jumps")
        "       lea 2(%rdi), %rdi\n"
        "       {disp32} jmp last\n"
        END("only_jumps")
        BEGIN("loops")
        "       lea -1(%rdi), %rdi\n"
        "       test %rdi, %rdi\n"
        "       jg loops\n"
        "       {disp32} jmp last\n"
        END("loops")
    // clang-format on
);

static fn_t call_first = first, call_middle = middle, call_last = last, call_turns = turns,
            call_only = only_jumps, call_loops = loops;
static struct inproc in;
static struct inproc_prog prog;

#define COPY(d, s) I(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
static const struct bpf_insn count[] = {I(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0),
                                        COPY(2, 10),
                                        I(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
                                        LDMAP(1, 0),
                                        CALL(BPF_FUNC_map_lookup_elem),
                                        I(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0),
                                        I(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1),
                                        I(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
                                        I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
                                        EXIT};

/* The ways in which a program is run at a return. */
static const struct inproc_how ways[] = {{0}, {.agent_only = true}, {.called = true}, {.apart = true}};

static void hook(const char *name, fn_t fn, enum tn_place_kind place, const struct inproc_how *how)
{
    struct tn_error err = {0};
    u32 k;

    if (inproc_hook(&in, name, (void *)fn, place, &prog, how, &k, &err))
        fail_msg("%s: %s", err.reason, err.message);
}

static void load(void)
{
    struct tn_error err = {0};

    prog = (struct inproc_prog){0};
    if (inproc_map(&in, &prog, BPF_MAP_TYPE_ARRAY, 4, 8, 1, &err) ||
        inproc_load(&in, &prog, count, TN_ARRAY_SIZE(count), &err))
        fail_msg("%s: %s", err.reason, err.message);
}

static u64 counted(void)
{
    return *(u64 *)(prog.map[0].base + prog.map[0].geo.value_off);
}

static u64 missed(void)
{
    u64 sum = 0;

    for (u32 i = 0; i < INPROC_HOOKS; i++)
        sum += in.stats[i].missed;
    return sum;
}

static int fresh(void **state)
{
    (void)state;
    within = NULL;
    memset(in.priv->slot, 0, sizeof(in.priv->slot) + sizeof(in.priv->overflow));
    memset(in.stats, 0, INPROC_HOOKS * sizeof(*in.stats));
    return 0;
}

static int rewind_all(void **state)
{
    (void)state;
    inproc_rewind(&in);
    return 0;
}

/* A way for the program to run, from scratch. */
static void begin(u32 way)
{
    rewind_all(NULL);
    fresh(NULL);
    load();
    hook("first", call_first, TN_PLACE_EXIT, &ways[way]);
}

/* -------------------------------------------------------------------------------------------------------- */

static void test_each_return_counts_once(void **state)
{
    u64 plain = 0, hooked = 0;

    (void)state;
    for (u64 i = 0; i < 4000; i++)
        plain = plain * 31 + call_first(i);
    for (u32 way = 0; way < TN_ARRAY_SIZE(ways); way++) {
        begin(way);
        hooked = 0;
        for (u64 i = 0; i < 4000; i++)
            hooked = hooked * 31 + call_first(i);
        assert_int_equal(hooked, plain);
        assert_int_equal(counted(), 4000);
        /* Those that it jumps to return for themselves otherwise. */
        for (u64 i = 0; i < 1000; i++) {
            call_middle(i);
            call_last(i);
        }
        assert_int_equal(counted(), 4000);
        assert_int_equal(missed(), 0);
    }
}

static void test_a_function_that_only_jumps(void **state)
{
    (void)state;
    load();
    hook("only_jumps", call_only, TN_PLACE_EXIT, NULL);
    for (u64 i = 0; i < 1000; i++) {
        assert_int_equal(call_only(i), 3 * (i + 2));
        call_last(i);
    }
    assert_int_equal(counted(), 1000);
}

static void test_turns_count_as_one_call(void **state)
{
    (void)state;
    load();
    hook("turns", call_turns, TN_PLACE_EXIT, NULL);
    for (u64 i = 0; i < 50; i++)
        assert_in_range(call_turns(i), 6, 10);
    assert_int_equal(counted(), 50);
    for (u64 i = 2; i < 50; i++) /* half of them end in turns, for turns_back: which is a return of both */
        ((fn_t)turns_back)(i);
    assert_in_range(counted(), 50, 98);
    assert_int_equal(missed(), 0);
}

static void test_a_loop_to_the_entry(void **state)
{
    (void)state;
    load();
    hook("loops", call_loops, TN_PLACE_EXIT, NULL);
    for (u64 i = 1; i < 50; i++)
        call_loops(i);
    assert_int_equal(counted(), 49);
}

static void all_states(const char *name, fn_t fn, u64 arg)
{
    struct state at = {.flags = 0x202}, plain, hooked;

    for (u32 i = 0; i < 16; i++) {
        at.gpr[i] = 0x1111111111111111ull * i + 5;
        memset(at.xmm[i], (int)(i + 17), 16);
    }
    at.gpr[7] = arg;
    rewind_all(NULL);
    call_with_state((void *)fn, &at, &plain);
    begin(0);
    /* Every path: two functions' exits cannot be hooked at one place here. */
    call_with_state((void *)fn, &at, &hooked);
    for (u32 r = 0; r < 16; r++)
        if (plain.gpr[r] != hooked.gpr[r])
            fail_msg("%s(%llu): register %u is 0x%llx, hooked 0x%llx", name, (unsigned long long)arg, r,
                     (unsigned long long)plain.gpr[r], (unsigned long long)hooked.gpr[r]);
    assert_memory_equal(plain.xmm, hooked.xmm, sizeof(plain.xmm));
}

static void test_all_registers_stay(void **state)
{
    (void)state;
    for (u64 arg = 0; arg < 8; arg++) {
        all_states("first", call_first, arg);
        all_states("middle", call_middle, arg);
        all_states("last", call_last, arg);
    }
}

static void call_again(u64 a)
{
    if (a > 4)
        call_first(a - 4);
}

static void test_recursion(void **state)
{
    u64 calls = 0;

    (void)state;
    begin(0);
    within = call_again;
    for (u64 i = 0; i < 300; i++) {
        call_first(i);
        calls++;
        /* What `last` calls, and calls again. */
        for (u64 a = i;;) {
            if (!(a & 1) || a % 8 == 1 || a <= 4)
                break;
            a -= 4;
            calls++;
        }
    }
    within = NULL;
    assert_int_equal(counted(), calls);
    assert_int_equal(missed(), 0);
}

static jmp_buf out;
static void jump_out(u64 a)
{
    longjmp(out, (int)a);
}

/* The same call instruction, the same slot: first is abandoned, then last is called. */
static __attribute__((noinline)) void one_place(fn_t fn, u64 a, void (*inside)(u64))
{
    within = inside;
    if (!setjmp(out))
        fn(a);
    within = NULL;
}

static void test_an_abandoned_call_is_not_counted(void **state)
{
    (void)state;
    for (u32 way = 0; way < TN_ARRAY_SIZE(ways); way++) {
        begin(way);
        for (u32 i = 0; i < 100; i++) {
            one_place(call_first, 5, jump_out); /* by middle to last, which does not return */
            one_place(call_first, 3, jump_out); /* to last */
            one_place(call_last, 3, NULL);
            one_place(call_middle, 5, NULL);
            one_place(call_first, 3, jump_out);
            one_place(call_middle, 1, NULL);
            one_place(call_last, 3, NULL);
        }
        assert_int_equal(counted(), 0);
        one_place(call_first, 3, jump_out);
        one_place(call_first, 1, NULL);
        one_place(call_first, 2, NULL);
        one_place(call_first, 7, NULL);
        assert_int_equal(counted(), 3);
        assert_int_equal(missed(), 0);
    }
}

static void test_a_mark_that_is_lost_is_told(void **state)
{
    u64 lost = 0;

    (void)state;
    begin(0);
    for (u64 i = 0; i < 200; i++) {
        /* As if another call wanted each word. */
        for (u32 k = 0; i % 2 && k < TN_MARKS; k++)
            in.marks[k] = 0x123456789abull << 20 | 7;
        lost += i % 2;
        call_first(3);
        for (u32 k = 0; k < TN_MARKS; k++)
            in.marks[k] = 0;
    }
    assert_int_equal(counted(), 200); /* they were taken from the other */
    assert_int_equal(missed(), lost);
}

static void spoil(u64 a)
{
    for (u32 k = 0; k < TN_MARKS; k++)
        in.marks[k] = (a + 1) * 0x9E3779B97F4A7C15ull * (k + 1);
}

static void test_a_spoilt_table_harms_nobody(void **state)
{
    (void)state;
    begin(0);
    for (u64 i = 0; i < 50; i++) {
        within = spoil;
        assert_int_equal(call_first(3), 9);
        within = NULL;
        assert_int_equal(call_first(4), 5);
    }
    assert_int_equal(counted(), 50);
}

/* ----------------------------------------------------------------------------------- others on other stacks */

static volatile u64 handled;
static volatile bool leaves;
static sigjmp_buf back;
static volatile sig_atomic_t may_leave;

static void on_alarm(int sig)
{
    (void)sig;
    for (u64 i = 1; i < 9; i++)
        call_first(i);
    handled++;
    if (leaves && may_leave)
        siglongjmp(back, 1);
}

static void every(u32 usec)
{
    const struct itimerval timer = {{0, usec}, {0, usec}};

    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void test_handlers_interrupt_anything(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm}, old;
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};

    (void)state;
    assert_non_null(alt.ss_sp);
    sigaltstack(&alt, NULL);
    for (u32 alternate = 0; alternate < 2; alternate++) {
        u64 calls = 0;

        begin(0);
        leaves = false;
        handled = 0;
        action.sa_flags = alternate ? SA_ONSTACK : 0;
        sigaction(SIGALRM, &action, &old);
        every(97);
        while (handled < 3000) {
            call_first(calls);
            call_last(calls);
            calls++;
        }
        every(0);
        sigaction(SIGALRM, &old, NULL);
        assert_int_equal(counted() + missed(), calls + 8 * handled);
        assert_true(missed() < calls / 10);
    }
    alt.ss_flags = SS_DISABLE;
    sigaltstack(&alt, NULL);
    free(alt.ss_sp);
}

/* A handler that never returns, whatever it has interrupted: calls that it takes away are not counted, calls of `last`
   that come in their place are not, either. */
static void test_handlers_jump_out_of_anything(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_NODEFER}, old;
    volatile u64 begun = 0, ended = 0;

    (void)state;
    begin(0);
    leaves = true;
    handled = 0;
    sigaction(SIGALRM, &action, &old);
    sigsetjmp(back, 1);
    every(151);
    while (handled < 3000) {
        may_leave = 1;
        begun = begun + 1;
        call_first(begun | 1);
        ended = ended + 1;
        call_last(begun);
        may_leave = 0;
    }
    every(0);
    sigaction(SIGALRM, &old, NULL);
    leaves = false;
    /* Between its return and being counted here, or the reverse, a call may be taken away. */
    assert_in_range(counted() + missed(), ended, begun + 8 * handled + missed());
}

#define THREADS 6u
static void *in_thread(void *arg)
{
    for (u64 i = 0; i < 20000; i++) {
        call_first((u64)(uintptr_t)arg + i);
        call_last(i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t thread[THREADS];

    (void)state;
    begin(0);
    for (u64 i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, in_thread, (void *)i), 0);
    for (u32 i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_in_range(counted(), THREADS * 20000 - missed(), THREADS * 20000);
    assert_true(missed() < 100);
}

/* A call that is entered on one thread and returns on another. */
static ucontext_t of_main, of_thread, of_routine;
static ucontext_t *volatile back_to;
static void yield_within(u64 a)
{
    (void)a;
    swapcontext(&of_routine, back_to);
}

static void routine(void)
{
    call_first(3);
    swapcontext(&of_routine, back_to);
}

static void *resume(void *arg)
{
    (void)arg;
    back_to = &of_thread;
    swapcontext(&of_thread, &of_routine);
    return NULL;
}

static void test_coroutines_take_theirs_along(void **state)
{
    void *stack = malloc(65536);
    pthread_t thread;

    (void)state;
    begin(0);
    for (u32 i = 0; i < 50; i++) {
        getcontext(&of_routine);
        of_routine.uc_stack.ss_sp = stack;
        of_routine.uc_stack.ss_size = 65536;
        makecontext(&of_routine, routine, 0);
        within = yield_within;
        back_to = &of_main;
        swapcontext(&of_main, &of_routine);
        within = NULL;
        call_last(1);
        assert_int_equal(counted(), i);
        assert_int_equal(pthread_create(&thread, NULL, resume, NULL), 0);
        pthread_join(thread, NULL);
        assert_int_equal(counted(), i + 1);
    }
    free(stack);
}

static volatile pid_t child;
static void fork_within(u64 a)
{
    (void)a;
    child = fork();
}

static void test_fork_inside_a_call(void **state)
{
    int status;

    (void)state;
    load();
    hook("first", call_first, TN_PLACE_EXIT, &(struct inproc_how){.follow = true});
    within = fork_within;
    call_first(3);
    within = NULL;
    if (!child)
        _exit(call_first(7) == 21 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(counted(), 3); /* returned twice, and once more in the child */
}

static int setup(void **state)
{
    struct tn_error err = {0};

    (void)state;
    if (inproc_init(&in, &err))
        fail_msg("%s: %s", err.reason, err.message);
    return 0;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(test_##fn, fresh, rewind_all)
    const struct CMUnitTest tests[] = {
        TEST(each_return_counts_once),
        TEST(a_function_that_only_jumps),
        TEST(turns_count_as_one_call),
        TEST(a_loop_to_the_entry),
        TEST(all_registers_stay),
        TEST(recursion),
        TEST(an_abandoned_call_is_not_counted),
        TEST(a_mark_that_is_lost_is_told),
        TEST(a_spoilt_table_harms_nobody),
        TEST(handlers_interrupt_anything),
        TEST(handlers_jump_out_of_anything),
        TEST(threads),
        TEST(coroutines_take_theirs_along),
        TEST(fork_inside_a_call),
    };

    return cmocka_run_group_tests_name("tails", tests, setup, NULL);
}
