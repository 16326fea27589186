/* SPDX-License-Identifier: MIT */
/*
 * Loops that the run bounds, by hand, where functions are called back: a round counts only while the same
 * call goes on. Linux 6.18 counts it always, and accepts loops that need not end (LINUX_ACCEPTS); it is asked
 * as well.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/btf.h>

#include "tests/verify/asm.h"
#include "verify/verify.h"

#define MOST 40u

enum mind { BOTH_ACCEPT, LINUX_ACCEPTS };

struct row {
    const char *name, *reason;
    enum mind mind;
    u32 back; /* where the function that is called back begins */
    struct bpf_insn insn[MOST];
    u32 n;
};

#define ROW(name, mind, reason, back, ...)                                                                   \
    {                                                                                                        \
#name, reason, mind, back,                                                                           \
            {__VA_ARGS__ }, sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)         \
    }
/* Calls `to`, so many instructions behind the call, `n` times with the address
   of fp−8: seven instructions. */
#define BPF_LOOP(n, to)                                                                                      \
    MOV(R1, n), INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, (to) + 5), INSN(0, 0, 0, 0, 0),      \
        MOVX(R3, R10), ADD(R3, -8), MOV(R4, 0), CALL(BPF_FUNC_loop)

#define CALLS(to) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, to)

// clang-format off
static const struct row rows[] = {
    ROW(once, BOTH_ACCEPT, NULL, 9,
        BPF_LOOP(100, 2), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    ROW(a_few_times, BOTH_ACCEPT, NULL, 12,
        MOV(R8, 0), BPF_LOOP(100, 4), ADD(R8, 1), JMP(BPF_JLT, R8, 3, -9), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    ROW(for_ever, LINUX_ACCEPTS, "infinite_loop", 11,
        MOV(R8, 0), BPF_LOOP(100, 3), JMP(BPF_JLT, R8, 2, -8), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    /* What one call wrote back is no round of the next: 3 may come each time. */
    ROW(as_long_as_it_pleases, LINUX_ACCEPTS, "infinite_loop", 16,
        CALL(BPF_FUNC_get_prandom_u32), ALU(BPF_AND, R0, 7), STX(BPF_DW, R10, -8, R0),
        BPF_LOOP(1, 6), LDX(BPF_DW, R7, R10, -8), JMP(BPF_JEQ, R7, 3, 2), MOV(R0, 0), EXIT,
        ST(BPF_DW, R10, -8, 5), JA(-13),
        MOVX(R6, R2), CALL(BPF_FUNC_get_prandom_u32), ALU(BPF_AND, R0, 7), STX(BPF_DW, R6, 0, R0), MOV(R0, 0), EXIT),
    /* Each entry into a function has its rounds anew, and the first goes round. */
    ROW(function_with_rounds, BOTH_ACCEPT, NULL, 3,
        CALLS(2), MOV(R0, 0), EXIT,
        INSN(BPF_JMP | 0xe0, 0, 0, 1, 0), JA(-2), MOV(R0, 0), EXIT),
    ROW(rounds_of_each_entry, LINUX_ACCEPTS, "infinite_loop", 4,
        CALLS(3), JMP(BPF_JEQ, R0, 0, -2), MOV(R0, 0), EXIT,
        INSN(BPF_JMP | 0xe0, 0, 0, 2, 0), MOV(R0, 0), EXIT, MOV(R0, 1), EXIT),
    ROW(rounds_of_each_entry_and_state, LINUX_ACCEPTS, "infinite_loop", 6,
        MOV(R6, 0), MOV(R7, 0), CALLS(3), JMP(BPF_JEQ, R0, 0, -2), MOV(R0, 0), EXIT,
        INSN(BPF_JMP | 0xe0, 0, 0, 3, 0), CALL(BPF_FUNC_ktime_get_ns), MOV(R0, 0), EXIT, MOV(R0, 1), EXIT),
};
// clang-format on

struct types {
    struct btf *btf;
    const void *raw;
    u32 size, func;
};

static void types_open(struct types *t)
{
    int num, proto;

    t->btf = btf__new_empty();
    assert_non_null(t->btf);
    num = btf__add_int(t->btf, "int", 4, BTF_INT_SIGNED);
    proto = btf__add_func_proto(t->btf, num);
    t->func = (u32)btf__add_func(t->btf, "function", BTF_FUNC_STATIC, proto);
    t->raw = btf__raw_data(t->btf, &t->size);
    assert_non_null(t->raw);
}

/* −1: it cannot be asked. */
static int linux_accepts(const struct types *t, const struct row *row, const struct bpf_func_info *funcs)
{
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
                           .insns = (u64)(uintptr_t)row->insn,
                           .insn_cnt = row->n,
                           .license = (u64)(uintptr_t) "GPL",
                           .func_info = (u64)(uintptr_t)funcs,
                           .func_info_cnt = 2,
                           .func_info_rec_size = sizeof(*funcs)};
    long fd;

    if (geteuid() || (btf__fd(t->btf) < 0 && btf__load_into_kernel(t->btf)))
        return -1;
    attr.prog_btf_fd = (u32)btf__fd(t->btf);
    fd = syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    if (fd < 0)
        return errno == EPERM || errno == ENOSYS ? -1 : 0;
    close((int)fd);
    return 1;
}

static void test_rows(void **state)
{
    struct types types;
    int wrong = 0;

    types_open(&types);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        const struct bpf_func_info funcs[] = {{0, types.func}, {row->back, types.func}};
        struct tn_verify_in in = {.insns = row->insn,
                                  .ninsns = row->n,
                                  .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
                                  .gpl = true,
                                  .btf = types.raw,
                                  .btf_size = types.size,
                                  .func_info = funcs,
                                  .func_info_rec_size = sizeof(funcs[0]),
                                  .func_info_cnt = 2,
                                  .authority = &tn_authority_all};
        struct tn_verdict v = {0};
        int theirs = linux_accepts(&types, row, funcs);

        assert_int_equal(tn_verify(&in, &v), 0);
        if (v.accepted != (row->mind == BOTH_ACCEPT) ||
            (!v.accepted && strcmp(v.refusal.reason, row->reason) != 0)) {
            print_message("# %s: %s %s\n", row->name, v.refusal.reason, v.refusal.message);
            wrong++;
        }
        if (theirs >= 0 && !theirs) {
            print_message("# %s: the kernel is of another mind\n", row->name);
            wrong++;
        }
        tn_verdict_clear(&v);
    }
    btf__free(types.btf);
    assert_int_equal(wrong, 0);
}

/* How long a run may be: all rounds counted, each as long as the longest, and one more for the call. */
#define ENDLESS (1ull << 40)
#define NOTHING MOV(R4, 0), MOV(R4, 0), MOV(R4, 0), MOV(R4, 0)
struct length {
    const char *name;
    u64 longest;
    u32 back[2]; /* functions that are called back; 0: none */
    struct bpf_insn insn[MOST + 20];
    u32 n;
};
#define LENGTH(name, longest, first, second, ...)                                                            \
    {                                                                                                        \
        name, longest, {first, second}, {__VA_ARGS__},                                                       \
            sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)                         \
    }
// clang-format off
static const struct length lengths[] = {
    LENGTH("ten rounds", 8 + 10 * 3, 9, 0, BPF_LOOP(10, 2), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    LENGTH("no round", 8, 9, 0, BPF_LOOP(0, 2), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    LENGTH("as many as there may be", 9 + (3ull << 23), 10, 0,
           CALL(BPF_FUNC_get_prandom_u32), MOVX(R1, R0), INSN(BPF_LD | BPF_IMM | BPF_DW, R2, BPF_PSEUDO_FUNC, 0, 7),
           INSN(0, 0, 0, 0, 0), MOVX(R3, R10), ADD(R3, -8), MOV(R4, 0), CALL(BPF_FUNC_loop), MOV(R0, 0), EXIT, MOV(R0, 0),
           EXIT),
    LENGTH("three calls", 3 + 3 * (8 + 100 * 3), 12, 0,
           MOV(R8, 0), BPF_LOOP(100, 4), ADD(R8, 1), JMP(BPF_JLT, R8, 3, -9), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    /* After the first round every other is longer, and so is what comes when all are over. */
    LENGTH("rounds that differ", 1 + 6 + 8 + 10 * 13, 16, 0,
           ST(BPF_DW, R10, -8, 0), BPF_LOOP(10, 8), LDX(BPF_DW, R1, R10, -8), JMP(BPF_JEQ, R1, 0, 4), NOTHING,
           MOV(R0, 0), EXIT,
           LDX(BPF_DW, R3, R2, 0), JMP(BPF_JNE, R3, 0, 3), ST(BPF_DW, R2, 0, 1), MOV(R0, 0), EXIT, NOTHING, NOTHING,
           MOV(R0, 0), EXIT),
    LENGTH("rounds of rounds", 8 + 10 * (1 + 8 + 20 * 3), 9, 18,
           BPF_LOOP(10, 2), MOV(R0, 0), EXIT, BPF_LOOP(20, 2), MOV(R0, 0), EXIT, MOV(R0, 0), EXIT),
    LENGTH("rounds that the run alone bounds", ENDLESS, 9, 0,
           BPF_LOOP(10, 2), MOV(R0, 0), EXIT, INSN(BPF_JMP | 0xe0, 0, 0, 1, 0), JA(-2), MOV(R0, 0), EXIT),
};
// clang-format on

static void test_lengths(void **state)
{
    struct types types;

    types_open(&types);
    for (size_t k = 0; k < TN_ARRAY_SIZE(lengths); k++) {
        const struct length *row = &lengths[k];
        const struct bpf_func_info funcs[] = {
            {0, types.func}, {row->back[0], types.func}, {row->back[1], types.func}};
        struct tn_authority auth = tn_authority_all;
        struct tn_verify_in in = {.insns = row->insn,
                                  .ninsns = row->n,
                                  .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
                                  .gpl = true,
                                  .btf = types.raw,
                                  .btf_size = types.size,
                                  .func_info = funcs,
                                  .func_info_rec_size = sizeof(funcs[0]),
                                  .func_info_cnt = row->back[1] ? 3 : 2,
                                  .authority = &auth};

        /* Without a limit, with the least that will do, and with one that is less. */
        for (u64 less = 0; less < 3; less++) {
            struct tn_verdict v = {0};

            auth.limits.max_path_insns = less ? row->longest + 1 - less : 0;
            assert_int_equal(tn_verify(&in, &v), 0);
            if (v.accepted != (less < 2) || (less == 2 && strcmp(v.refusal.reason, "path_limit") != 0) ||
                (v.accepted && v.facts.longest_path != row->longest))
                fail_msg("%s, limit %llu: %llu; %s %s", row->name,
                         (unsigned long long)auth.limits.max_path_insns,
                         (unsigned long long)v.facts.longest_path, v.refusal.reason, v.refusal.message);
            tn_verdict_clear(&v);
        }
    }
    btf__free(types.btf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_lengths)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
