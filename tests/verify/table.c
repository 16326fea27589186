/* SPDX-License-Identifier: MIT */
/*
 * Every row of programs.h: the verdict, the reason, the instruction. As root the kernel judges the same
 * programs: nothing is accepted here that it refuses, and rows say where it is more liberal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "isa/insn.h"
#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "tests/verify/maps.h"
#include "verify/reasons.h"

struct row {
    const char *name;
    int reason; /* enum tn_reason; −1: accepted */
    u32 at;
    bool linux_accepts;
    const struct bpf_insn *insns;
    u32 ninsns;
};

#define P(...)                                                                                               \
    (const struct bpf_insn[]){__VA_ARGS__},                                                                  \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)
#define OK(name, ...)             {#name, -1, 0, true, P(__VA_ARGS__)},
#define NO(name, reason, at, ...) {#name, TN_REASON_##reason, at, false, P(__VA_ARGS__)},
#define US(name, reason, at, ...) {#name, TN_REASON_##reason, at, true, P(__VA_ARGS__)},
static const struct row rows[] = {
#include "tests/verify/programs.h"
};

static void verify_row(const struct row *row, u32 log_level, struct tn_verdict *ret)
{
    struct tn_verify_in in = {
        .insns = row->insns,
        .ninsns = row->ninsns,
        .prog_type = BPF_PROG_TYPE_KPROBE,
        .gpl = true,
        .maps = test_maps,
        .nmaps = M_COUNT,
        .log_level = log_level,
    };

    assert_int_equal(tn_verify(&in, ret), 0);
}

static void test_verdicts(void **state)
{
    int wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        const char *reason = row->reason < 0 ? "" : tn_reason_name((enum tn_reason)row->reason);
        struct tn_verdict v;

        verify_row(row, 4, &v);
        if (strcmp(v.refusal.reason, reason) || (!v.accepted && v.refusal.insn != row->at)) {
            print_message("# %s: expected %s at %u, got %s at %u: %s%s\n", row->name,
                          row->reason < 0 ? "accepted" : reason, row->at,
                          v.accepted ? "accepted" : v.refusal.reason, v.refusal.insn, v.refusal.message,
                          v.log);
            wrong++;
        }
        tn_verdict_clear(&v);
    }
    assert_int_equal(wrong, 0);
}

static void test_kernel_agrees(void **state)
{
    struct kernel kernel;
    const char *why = kernel_open(&kernel, test_maps, M_COUNT);
    int wrong = 0;

    if (why) {
        print_message("# skipped: %s\n", why);
        skip();
    }
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        char log[8192] = "";
        bool accepts =
            kernel_accepts(&kernel, BPF_PROG_TYPE_KPROBE, row->insns, row->ninsns, log, sizeof(log));

        if (accepts != row->linux_accepts) {
            print_message("# %s: the kernel %s it\n%s\n", row->name, accepts ? "accepts" : "refuses", log);
            wrong++;
        }
    }
    kernel_close(&kernel);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_kernel_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
