/* SPDX-License-Identifier: MIT */
/*
 * Before the host confines itself (agent/confine.c): what each call would take away is denied, and nothing else; whoever has begun
 * a call of the agent's comes out of it first, and nobody begins another; a count that stays up is not waited for for ever.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "ours.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

#define BIT(name) (1ull << TN_SYS_##name)
#define ROWS      ((1ull << TN_SYS_COUNT) - 1)

static struct tn_signals *sigs;
static struct tn_private *priv;
static struct tn_proc proc;

/* Loads are on where they can be: no signal is really ours here. */
static void fresh(void)
{
    take_signals(&sigs, &proc, &priv, TN_SIGNALS_BREAKS, false);
    proc.allowed_syscalls = ~0u;
    sigs->loads = 0;
}

static struct sock_filter some[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TN_NR_prctl, 2, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TN_NR_sched_yield, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
static const struct sock_fprog some_prog = {TN_ARRAY_SIZE(some), some}, all_prog = {1, all},
                               no_prog = {0, all}, bad_prog = {5, (struct sock_filter *)4096};

static void decides(void **state)
{
    const struct {
        u32 nr;
        u64 a1, a2, a3, denied, no_tsc;
    } row[] = {
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, ROWS & ~BIT(rt_sigreturn), 1},
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (u64)&some_prog,
         ROWS & ~BIT(prctl) & ~BIT(sched_yield), 0},
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (u64)&all_prog, 0, 0},
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (u64)&no_prog, ROWS, 0},
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (u64)&bad_prog, ROWS, 0},
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 4096, ROWS, 0},
        {TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0, 0, 0},
        {TN_GUARD_prctl, PR_SET_SECCOMP, 7, (u64)&some_prog, 0, 0},
        {TN_GUARD_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 1},
        {TN_GUARD_prctl, PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0},
        {TN_GUARD_prctl, PR_SET_SYSCALL_USER_DISPATCH, 1, 0, ROWS, 0},
        {TN_GUARD_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0},
        {TN_GUARD_prctl, PR_SET_NAME, 1, (u64)&some_prog, 0, 0},
        {TN_GUARD_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0, ROWS & ~BIT(rt_sigreturn), 1},
        {TN_GUARD_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, (u64)&some_prog,
         ROWS & ~BIT(prctl) & ~BIT(sched_yield), 0},
        {TN_GUARD_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0, 0, 0},
        {TN_GUARD_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, (u64)&some_prog, 0, 0},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(row); i++) {
        fresh();
        tn_agent_confine(sigs, row[i].nr, row[i].a1, row[i].a2, row[i].a3);
        if ((sigs->denied & ROWS) != row[i].denied || sigs->no_tsc != row[i].no_tsc)
            fail_msg("row %u: denied %llx, no_tsc %llu", i, (unsigned long long)sigs->denied,
                     (unsigned long long)sigs->no_tsc);
        for (u32 bit = 0; bit < TN_SYS_COUNT; bit++) {
            u64 begun = tn_call_begin(&proc, (enum tn_syscall_bit)bit);

            assert_int_equal(begun != 0, !(row[i].denied >> bit & 1));
            tn_call_end(begun);
        }
        for (u32 k = 0; k < TN_WAYS; k++)
            assert_int_equal(priv->way[k].under, 0);
    }
}

/* What one filter allows, the next one may still take, and nothing comes back. Loads end with rt_sigreturn, and only with it. */
static void adds_up(void **state)
{
    fresh();
    sigs->loads = 1;
    tn_agent_confine(sigs, TN_GUARD_seccomp, SECCOMP_SET_MODE_FILTER, 0, (u64)&all_prog);
    assert_int_equal(sigs->loads, 1);
    sigs->loads = 0;
    tn_agent_confine(sigs, TN_GUARD_seccomp, SECCOMP_SET_MODE_FILTER, 0, (u64)&some_prog);
    tn_agent_confine(sigs, TN_GUARD_seccomp, SECCOMP_SET_MODE_FILTER, 0, (u64)&all_prog);
    assert_int_equal(sigs->denied & ROWS, ROWS & ~BIT(prctl) & ~BIT(sched_yield));
    assert_int_equal(sigs->filters, 3);
    fresh();
    sigs->loads = 1;
    tn_agent_confine(sigs, TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0);
    assert_int_equal(sigs->loads, 1);
    sigs->loads = 0;
}

static void *confines(void *done)
{
    tn_agent_confine(sigs, TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0);
    __atomic_store_n((int *)done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void waits(void **state)
{
    pthread_t thread;
    int done = 0;
    u64 begun;

    fresh();
    begun = tn_call_begin(&proc, TN_SYS_getuid);
    assert_true(begun > 1);
    assert_int_equal(pthread_create(&thread, NULL, confines, &done), 0);
    while (tn_syscall_allowed(&proc, TN_SYS_getuid))
        ;
    assert_int_equal(TN_CALL(&proc, getuid, 0, 0, 0, 0, 0, 0), -EPERM);
    usleep(10000);
    assert_int_equal(__atomic_load_n(&done, __ATOMIC_SEQ_CST), 0);
    tn_call_end(begun);
    pthread_join(thread, NULL);
    assert_int_equal(done, 1);
}

/* As a handler leaves it that has interrupted a call and jumps away. */
static void does_not_wait_for_ever(void **state)
{
    fresh();
    assert_true(tn_call_begin(&proc, TN_SYS_getuid) > 1);
    tn_agent_confine(sigs, TN_GUARD_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0);
    assert_false(tn_syscall_allowed(&proc, TN_SYS_getuid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides),
        cmocka_unit_test(adds_up),
        cmocka_unit_test(waits),
        cmocka_unit_test(does_not_wait_for_ever),
    };

    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
