/* SPDX-License-Identifier: MIT */
/* Every row of history.h: the program that does harm is refused for its reason,
   its harmless sibling is accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <linux/btf.h>

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
    u32 type;
    enum tn_reason reason;
    struct text unsafe, safe;
};

#define TEXT(...)                                                                                            \
    {                                                                                                        \
        (const struct bpf_insn[]){__VA_ARGS__},                                                              \
            sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)                         \
    }
#define UNSAFE(...)      TEXT(__VA_ARGS__)
#define SAFE(...)        TEXT(__VA_ARGS__)
#define CLASS(name, ...) CLASS_IN(KPROBE, name, __VA_ARGS__)
#define CLASS_IN(type, name, published, reason, unsafe, ...)                                                 \
    {#name, published, BPF_PROG_TYPE_##type, TN_REASON_##reason, unsafe, __VA_ARGS__},
static const struct row rows[] = {
#include "tests/verify/history.h"
};

/* ---------------------------------------------------------------------------------------------- functions */

/* A program of several functions says what they are: each `int f(void)`, static. */
static const struct {
    struct btf_header h;
    u32 types[10];
    char strings[8];
} types = {
    .h = {.magic = BTF_MAGIC,
          .version = BTF_VERSION,
          .hdr_len = sizeof(struct btf_header),
          .type_len = sizeof(types.types),
          .str_off = sizeof(types.types),
          .str_len = sizeof(types.strings)},
    .types = {/* 1 */ 1, BTF_KIND_INT << 24, 4, BTF_INT_SIGNED << 24 | 32, /* 2 */ 0,
              BTF_KIND_FUNC_PROTO << 24, 1, /* 3 */ 5, BTF_KIND_FUNC << 24, 2},
    .strings = "\0int\0f\0",
};
#define FUNCS 4u

static u32 functions(const struct text *text, struct bpf_func_info func[FUNCS])
{
    u32 n = 0;

    func[n++] = (struct bpf_func_info){0, 3};
    for (u32 k = 0; k < text->n; k++) {
        const struct bpf_insn *i = &text->insns[k];
        bool wide = i->code == (BPF_LD | BPF_IMM | BPF_DW);
        u32 at = k + 1 + (u32)i->imm, to = n;

        if (!(wide && i->src_reg == BPF_PSEUDO_FUNC) &&
            !(i->code == (BPF_JMP | BPF_CALL) && i->src_reg == BPF_PSEUDO_CALL)) {
            k += wide;
            continue;
        }
        while (to && func[to - 1].insn_off > at)
            to--;
        if (!to || func[to - 1].insn_off == at)
            continue;
        assert_true(n < FUNCS);
        memmove(&func[to + 1], &func[to], (n++ - to) * sizeof(*func));
        func[to] = (struct bpf_func_info){at, 3};
    }
    return n > 1 ? n : 0;
}

static void judge(const struct row *row, const struct text *text, struct tn_verdict *ret)
{
    struct tn_verify_map maps[M_ALL];
    struct bpf_func_info func[FUNCS];
    struct tn_verify_in in = {
        .insns = text->insns,
        .ninsns = text->n,
        .prog_type = row->type,
        .gpl = true,
        .maps = maps,
        .nmaps = M_ALL,
        .log_level = 1,
    };

    all_maps(maps);
    in.func_info_cnt = functions(text, func);
    if (in.func_info_cnt) {
        in.btf = &types;
        in.btf_size = sizeof(types);
        in.func_info = func;
        in.func_info_rec_size = sizeof(func[0]);
    }
    assert_int_equal(tn_verify(&in, ret), 0);
}

static void test_not_again(void **state)
{
    int wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        const char *reason = tn_reason_name(row->reason);
        struct tn_verdict v;

        judge(row, &row->unsafe, &v);
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

        judge(&rows[k], &rows[k].safe, &v);
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
    struct tn_verify_map maps[M_ALL];
    struct kernel kernel;
    const char *why;
    int wrong = 0;

    all_maps(maps);
    why = kernel_open(&kernel, maps, M_ALL);

    if (why) {
        print_message("# skipped: %s\n", why);
        skip();
    }
    kernel.btf = bpf_btf_load(&types, sizeof(types), NULL);
    assert_true(kernel.btf >= 0);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        for (int safe = 0; safe < 2; safe++) {
            const struct text *text = safe ? &rows[k].safe : &rows[k].unsafe;
            struct bpf_func_info func[FUNCS];
            char log[16384] = "";

            kernel.func_info = func;
            kernel.func_info_cnt = functions(text, func);
            if (kernel_accepts(&kernel, rows[k].type, text->insns, text->n, log, sizeof(log)) != safe) {
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
