/* SPDX-License-Identifier: MIT */
/*
 * The confined process: it answers, on both engines, with maps and context; and what goes wrong in it stays
 * in it. The forbidden things are done by machine code that no compiler of ours would write, since the point
 * is what happens when one did.
 */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "vm/confined.h"

/* Waits at most ten seconds for the end, then reads the result. */
static int finish(struct tn_confined *c, struct tn_confined_result *ret, void *ctx, struct tn_error *err)
{
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 10000), 1);
    return tn_confined_finish(c, ret, ctx, NULL, err);
}

static int run(struct engine *e, bool compiled, void *ctx, u32 ctx_size, u32 repeat, u32 limit_ms,
               struct tn_confined_result *ret, struct tn_error *err)
{
    struct tn_confined_in in = {.prog = &e->prog,
                                .maps = e->maps,
                                .ctx = ctx,
                                .ctx_size = ctx_size,
                                .repeat = repeat,
                                .limit_ms = limit_ms,
                                .cpu = 0};
    struct tn_confined c = {.pidfd = -1};

    if (compiled) {
        engine_compile(e);
        in.code = &e->code;
    }
    assert_int_equal(tn_confined_start(&in, &c, err), 0);
    return finish(&c, ret, ctx, err);
}

static void both_engines_answer(void **state)
{
    for (u32 compiled = 0; compiled < 2; compiled++) {
        struct bpf_insn insns[] = {
            MOV_X(6, 1),
            LDX(BPF_DW, 0, 6, 0),
            ALU_K(BPF_ADD, 0, 1),
            STX(BPF_DW, 6, 0, 0),
            ST(BPF_W, 10, -4, 2),
            LDMAP(1, 0),
            MOV_X(2, 10),
            ALU_K(BPF_ADD, 2, -4),
            CALL(1),
            JMP_K(BPF_JEQ, 0, 0, 2),
            MOV_K(1, 1),
            ATOMIC(BPF_DW, 0, 1, 0, BPF_ADD),
            LDX(BPF_DW, 0, 6, 0),
            EXIT,
        };
        struct tn_confined_result result = {0};
        struct tn_error err = {0};
        u64 ctx[2] = {41, 7};
        struct engine e;

        ENGINE_INIT(&e, insns);
        engine_add_map(&e, BPF_MAP_TYPE_ARRAY, 4, 8, 4, 1);
        assert_int_equal(run(&e, compiled, ctx, sizeof(ctx), 1000, 0, &result, &err), 0);
        assert_int_equal(result.retval, 1041);
        assert_int_equal(ctx[0], 1041);
        assert_int_equal(ctx[1], 7);
        assert_true(result.duration_ns < 1000000);
        assert_int_equal(*(u64 *)tn_map_lookup(e.maps[0], &(u32){2}, -1), 1000);
        engine_clear(&e);
    }
}

/* All helpers that ask the kernel for something must be able to. */
static void helpers_may_make_their_calls(void **state)
{
    for (u32 compiled = 0; compiled < 2; compiled++) {
        struct bpf_insn insns[] = {
            CALL(BPF_FUNC_ktime_get_ns),
            MOV_X(6, 0),
            CALL(BPF_FUNC_get_current_uid_gid),
            CALL(BPF_FUNC_ktime_get_tai_ns),
            CALL(BPF_FUNC_get_prandom_u32),
            CALL(BPF_FUNC_get_smp_processor_id),
            MOV_X(1, 10),
            ALU_K(BPF_ADD, 1, -16),
            MOV_K(2, 16),
            CALL(BPF_FUNC_get_current_comm),
            JMP_K(BPF_JNE, 0, 0, 7),
            MOV_X(1, 10),
            ALU_K(BPF_ADD, 1, -32),
            MOV_K(2, 8),
            MOV_X(3, 10),
            ALU_K(BPF_ADD, 3, -16),
            CALL(BPF_FUNC_probe_read_user),
            JMP_K(BPF_JEQ, 0, 0, 2),
            MOV_K(0, 0),
            EXIT,
            CALL(BPF_FUNC_get_current_pid_tgid),
            I(BPF_ALU64 | BPF_RSH | BPF_K, 0, 0, 0, 32),
            EXIT,
        };
        struct tn_confined_result result = {0};
        struct tn_error err = {0};
        struct engine e;

        ENGINE_INIT(&e, insns);
        assert_int_equal(run(&e, compiled, NULL, 0, 1, 0, &result, &err), 0);
        assert_true(result.retval != 0 && result.retval != (u64)getpid());
        engine_clear(&e);
    }
}

static void a_program_that_does_not_end_is_stopped(void **state)
{
    for (u32 compiled = 0; compiled < 2; compiled++) {
        struct bpf_insn insns[] = {MOV_K(0, 0), ALU_K(BPF_ADD, 0, 1), JMP_K(BPF_JNE, 0, -1, -2), EXIT};
        struct tn_confined_result result = {.retval = 5};
        struct tn_error err = {0};
        struct engine e;

        ENGINE_INIT(&e, insns);
        assert_int_equal(run(&e, compiled, NULL, 0, 1, 50, &result, &err), -ETIME);
        assert_string_equal(err.reason, "test_run_time_limit");
        assert_int_equal(result.retval, 5); /* untouched */
        engine_clear(&e);
    }
}

static void starting_does_not_block_and_abort_kills(void **state)
{
    struct bpf_insn insns[] = {MOV_K(0, 0), JA(-1), EXIT};
    struct tn_confined c = {.pidfd = -1};
    struct tn_confined_result result;
    struct tn_error err = {0};
    struct engine e;
    pid_t pid;

    ENGINE_INIT(&e, insns);
    assert_int_equal(
        tn_confined_start(&(struct tn_confined_in){.prog = &e.prog, .maps = e.maps, .limit_ms = 20000}, &c,
                          &err),
        0);
    assert_int_equal(tn_confined_finish(&c, &result, NULL, NULL, &err), -EAGAIN);
    pid = c.pid;
    tn_confined_abort(&c);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(c.pidfd, -1);
    engine_clear(&e);
}

/* Machine code as a code object: no pool, one page of text. */
static int run_text(const u8 *bytes, u32 len, struct tn_confined_result *ret, struct tn_error *err)
{
    static u8 text[TN_PAGE];
    struct bpf_insn insns[] = {MOV_K(0, 0), EXIT};
    struct tn_code code = {.text = text, .text_len = TN_PAGE, .pool_size = TN_PAGE};
    struct tn_confined c = {.pidfd = -1};
    struct engine e;
    int r;

    memset(text, 0xcc, sizeof(text));
    memcpy(text, bytes, len);
    ENGINE_INIT(&e, insns);
    assert_int_equal(
        tn_confined_start(&(struct tn_confined_in){.prog = &e.prog, .code = &code, .maps = e.maps}, &c, err),
        0);
    r = finish(&c, ret, NULL, err);
    engine_clear(&e);
    return r;
}

/* mov eax, nr; mov edi, arg0; mov esi, arg1; syscall; ret */
static int run_syscall(u32 nr, u32 arg0, u32 arg1, struct tn_confined_result *ret, struct tn_error *err)
{
    u8 bytes[18] = {0xb8, 0, 0, 0, 0, 0xbf, 0, 0, 0, 0, 0xbe, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};

    memcpy(bytes + 1, &nr, 4);
    memcpy(bytes + 6, &arg0, 4);
    memcpy(bytes + 11, &arg1, 4);
    return run_text(bytes, sizeof(bytes), ret, err);
}

static void calls_that_are_not_listed_kill_it(void **state)
{
    static const struct {
        u32 nr, arg0, arg1;
        const char *what;
    } calls[] = {
        {0, 0, 0, "read"},
        {1, 1, 0, "write"},
        {2, 0, 0, "open"},
        {257, 0, 0, "openat"},
        {9, 0, 4096, "mmap"},
        {10, 0, 4096, "mprotect"},
        {12, 0, 0, "brk"},
        {41, 1, 1, "socket"},
        {56, 0, 0, "clone"},
        {57, 0, 0, "fork"},
        {59, 0, 0, "execve"},
        {62, 1, 0, "kill"},
        {101, 0, 0, "ptrace"},
        {87, 0, 0, "unlink"},
        {157, 4, 1, "prctl(PR_SET_DUMPABLE)"},
        {158, 0x1002, 0, "arch_prctl(ARCH_SET_FS)"},
        {202, 0, 0, "futex(FUTEX_WAIT)"},
        {310, 1, 0, "process_vm_readv of another"},
        {311, 1, 0, "process_vm_writev"},
        {425, 1, 0, "io_uring_setup"},
        {0x40000027, 0, 0, "getpid by the x32 numbers"},
    };
    struct tn_confined_result result = {0};

    for (u32 i = 0; i < TN_ARRAY_SIZE(calls); i++) {
        struct tn_error err = {0};
        int r = run_syscall(calls[i].nr, calls[i].arg0, calls[i].arg1, &result, &err);

        if (r != -EACCES || strcmp(err.reason, "test_run_forbidden_call"))
            fail_msg("%s: %d %s", calls[i].what, r, err.reason);
    }
    /* The same machinery with a call that is listed, so that the rows above mean something. */
    {
        struct tn_error err = {0};

        assert_int_equal(run_syscall(39, 0, 0, &result, &err), 0);
        assert_true(result.retval > 1 && result.retval != (u64)getpid());
    }
}

static void faults_stay_inside(void **state)
{
    static const u8 wild[] = {0x31, 0xc0, 0x48, 0x8b, 0x00, 0xc3}; /* xor eax, eax; mov rax, [rax]; ret */
    static const u8 trap[] = {0xcc};
    /* push rax; jmp to it: the stack must not grow for ever */
    static const u8 flood[] = {0x50, 0xeb, 0xfd};
    struct tn_confined_result result;
    struct tn_error err = {0}, err2 = {0}, err3 = {0};

    assert_int_equal(run_text(wild, sizeof(wild), &result, &err), -EFAULT);
    assert_string_equal(err.reason, "test_run_fault");
    assert_int_equal(run_text(flood, sizeof(flood), &result, &err2), -EFAULT);
    assert_int_equal(run_text(trap, sizeof(trap), &result, &err3), -ECHILD);
    assert_string_equal(err3.reason, "test_run_died");
}

static void too_big_a_context_is_refused(void **state)
{
    struct bpf_insn insns[] = {MOV_K(0, 0), EXIT};
    struct tn_confined c = {.pidfd = -1};
    struct tn_error err = {0};
    struct engine e;

    ENGINE_INIT(&e, insns);
    assert_int_equal(tn_confined_start(&(struct tn_confined_in){.prog = &e.prog,
                                                                .maps = e.maps,
                                                                .ctx = insns,
                                                                .ctx_size = TN_CONFINED_MAX_DATA + 1},
                                       &c, &err),
                     -EINVAL);
    assert_string_equal(err.reason, "test_run_too_big");
    engine_clear(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_engines_answer),
        cmocka_unit_test(helpers_may_make_their_calls),
        cmocka_unit_test(a_program_that_does_not_end_is_stopped),
        cmocka_unit_test(starting_does_not_block_and_abort_kills),
        cmocka_unit_test(calls_that_are_not_listed_kill_it),
        cmocka_unit_test(faults_stay_inside),
        cmocka_unit_test(too_big_a_context_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
