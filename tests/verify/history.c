/* SPDX-License-Identifier: MIT */
/* Every row of history.h: the program that does harm is refused for its reason, its harmless sibling is
 * accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "tests/verify/maps.h"
#include "verify/reasons.h"

struct text {
    const struct bpf_insn *insns;
    u32 n;
};
struct row {
    const char *name, *published;
    enum tn_reason reason;
    struct text unsafe, safe;
};

#define TEXT(...)                                                                                            \
    {                                                                                                        \
        (const struct bpf_insn[]){__VA_ARGS__},                                                              \
            sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)                         \
    }
#define UNSAFE(...) TEXT(__VA_ARGS__)
#define SAFE(...)   TEXT(__VA_ARGS__)
#define CLASS(name, published, reason, unsafe, ...)                                                          \
    {#name, published, TN_REASON_##reason, unsafe, __VA_ARGS__},
static const struct row rows[] = {
#include "tests/verify/history.h"
};

static void judge(const struct text *text, struct tn_verdict *ret)
{
    struct tn_verify_in in = {
        .insns = text->insns,
        .ninsns = text->n,
        .prog_type = BPF_PROG_TYPE_KPROBE,
        .gpl = true,
        .maps = test_maps,
        .nmaps = M_COUNT,
        .log_level = 1,
    };

    assert_int_equal(tn_verify(&in, ret), 0);
}

static void test_not_again(void **state)
{
    int wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        const char *reason = tn_reason_name(row->reason);
        struct tn_verdict v;

        judge(&row->unsafe, &v);
        if (v.accepted || strcmp(v.refusal.reason, reason)) {
            print_message("# %s (%s): %s instead of %s: %s\n", row->name, row->published,
                          v.accepted ? "ACCEPTED" : v.refusal.reason, reason, v.refusal.message);
            wrong++;
        }
        tn_verdict_clear(&v);
    }
    assert_int_equal(wrong, 0);
}

static void test_siblings_pass(void **state)
{
    int wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_verdict v;

        judge(&rows[k].safe, &v);
        if (!v.accepted) {
            print_message("# %s: the harmless one is refused: %s: %s\n%s\n", rows[k].name, v.refusal.reason,
                          v.refusal.message, v.log ? v.log : "");
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
        for (int safe = 0; safe < 2; safe++) {
            const struct text *text = safe ? &rows[k].safe : &rows[k].unsafe;
            char log[16384] = "";

            if (kernel_accepts(&kernel, BPF_PROG_TYPE_KPROBE, text->insns, text->n, log, sizeof(log)) !=
                safe) {
                print_message("# %s: the kernel %s the %s one\n%s\n", rows[k].name,
                              safe ? "refuses" : "accepts", safe ? "harmless" : "harmful", log);
                wrong++;
            }
        }
    }
    kernel_close(&kernel);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_again),
        cmocka_unit_test(test_siblings_pass),
        cmocka_unit_test(test_kernel_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
