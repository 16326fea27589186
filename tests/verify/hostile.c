/* SPDX-License-Identifier: MIT */
/*
 * Input that nobody would send by accident: type information cut at every byte and with every bit turned,
 * records of functions and lines full of anything, programs cut at every instruction, counts that cannot be;
 * and memory that runs out at the first allocation, the second, the third … Each time a verdict, or −ENOMEM
 * with nothing left behind (tests/shortage.h).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <linux/btf.h>

#include "tests/shortage.h"
#include "tests/verify/gen.h"
#include "verify/verify.h"

/* ------------------------------------------------------------------------------ a program with everything */

static const char strings[] = "\0int\0main\0score\0prog.bpf.c\0return score(1);\0pt_regs\0x";
enum { S_INT = 1, S_MAIN = 5, S_SCORE = 10, S_FILE = 16, S_LINE = 27, S_REGS = 44, S_X = 52 };

#define INFO(kind, vlen) ((u32)(kind) << 24 | (vlen))
static const u32 types[] = {
    /* 1 int */ S_INT,
    INFO(BTF_KIND_INT, 0),
    4,
    0x01000020,
    /* 2 struct pt_regs */ S_REGS,
    INFO(BTF_KIND_STRUCT, 1),
    8,
    S_X,
    1,
    0,
    /* 3 pointer to it */ 0,
    INFO(BTF_KIND_PTR, 0),
    2,
    /* 4 int (struct pt_regs *) */ 0,
    INFO(BTF_KIND_FUNC_PROTO, 1),
    1,
    S_X,
    3,
    /* 5 main */ S_MAIN,
    INFO(BTF_KIND_FUNC, BTF_FUNC_GLOBAL),
    4,
    /* 6 int (int) */ 0,
    INFO(BTF_KIND_FUNC_PROTO, 1),
    1,
    S_X,
    1,
    /* 7 score */ S_SCORE,
    INFO(BTF_KIND_FUNC, BTF_FUNC_GLOBAL),
    6,
};

struct whole_btf {
    struct btf_header h;
    u32 types[TN_ARRAY_SIZE(types)];
    char strings[sizeof(strings)];
};

static const struct bpf_insn program[] = {
    MOVX(R6, R1),
    LOOKUP(M_ARRAY),
    JMP(BPF_JEQ, R0, 0, 2),
    MOV(R1, 1),
    STX(DW, R0, 8, R1),
    MOV(R1, 1),
    CALLP(1),
    EXIT,
    MOV(R0, 0),
    ADD(R0, 1),
    JMP(BPF_JLT, R0, 20, -2),
    EXIT,
};
enum { CALLEE = 13 };

struct fixture {
    struct whole_btf btf;
    struct bpf_func_info func[2];
    struct bpf_line_info line[3];
    struct tn_authority authority;
    struct tn_verify_in in;
};

static void prepare(struct fixture *f)
{
    *f = (struct fixture){
        .authority = tn_authority_all,
        .btf.h = {.magic = BTF_MAGIC,
                  .version = 1,
                  .hdr_len = sizeof(struct btf_header),
                  .type_len = sizeof(types),
                  .str_off = sizeof(types),
                  .str_len = sizeof(strings)},
        .func = {{0, 5}, {CALLEE, 7}},
        .line = {{0, S_FILE, S_LINE, 7 << 10 | 3},
                 {8, S_FILE, S_LINE, 9 << 10 | 5},
                 {CALLEE, S_FILE, S_LINE, 12 << 10 | 1}},
        .in = {.insns = program,
               .ninsns = TN_ARRAY_SIZE(program),
               .prog_type = BPF_PROG_TYPE_KPROBE,
               .gpl = true,
               .maps = test_maps,
               .nmaps = M_COUNT,
               .log_level = 7},
    };
    memcpy(f->btf.types, types, sizeof(types));
    memcpy(f->btf.strings, strings, sizeof(strings));
    f->authority.limits.max_insns_processed = 20000; /* many of the loops to come have no end */
    f->in.authority = &f->authority;
    f->in.btf = &f->btf;
    f->in.btf_size = sizeof(f->btf.h) + sizeof(types) + sizeof(strings);
    f->in.func_info = f->func;
    f->in.func_info_cnt = 2;
    f->in.func_info_rec_size = sizeof(f->func[0]);
    f->in.line_info = f->line;
    f->in.line_info_cnt = 3;
    f->in.line_info_rec_size = sizeof(f->line[0]);
}

/* A verdict whatever comes; true: accepted. A refusal has a reason, a message and NUL where they end. */
static bool verdict_of(const struct tn_verify_in *in)
{
    struct tn_verdict v;
    bool accepted;

    assert_int_equal(tn_verify(in, &v), 0);
    accepted = v.accepted;
    if (!accepted) {
        assert_true(v.refusal.reason[0] && v.refusal.message[0]);
        assert_true(strlen(v.refusal.text) < sizeof(v.refusal.text));
    }
    assert_true(!v.log || strlen(v.log) <= v.log_size);
    tn_verdict_clear(&v);
    return accepted;
}

/* ------------------------------------------------------------------------------------------------ tests */

static void test_whole_is_accepted(void **state)
{
    struct fixture f;
    struct tn_verdict v;

    prepare(&f);
    assert_int_equal(tn_verify(&f.in, &v), 0);
    if (!v.accepted)
        fail_msg("%s: %s", v.refusal.reason, v.refusal.message);
    assert_int_equal(v.nsubprogs, 2);
    tn_verdict_clear(&v);
}

static void test_btf_cut_everywhere(void **state)
{
    struct fixture f;
    u32 whole, refused = 0;

    prepare(&f);
    whole = f.in.btf_size;
    for (u32 size = 0; size < whole; size++) {
        _free_ u8 *copy = malloc(size ? size : 1); /* so that a read past the end is one past an allocation */

        memcpy(copy, &f.btf, size);
        f.in.btf = copy;
        f.in.btf_size = size;
        refused += !verdict_of(&f.in);
    }
    assert_int_equal(refused, whole);
}

static void test_btf_every_bit_turned(void **state)
{
    struct fixture f;
    u32 size, refused = 0;

    prepare(&f);
    size = f.in.btf_size;
    for (u32 bit = 0; bit < size * 8; bit++) {
        _free_ u8 *copy = malloc(size);

        memcpy(copy, &f.btf, size);
        copy[bit / 8] ^= (u8)(1u << bit % 8);
        f.in.btf = copy;
        refused += !verdict_of(&f.in);
    }
    assert_true(refused > size); /* header, kinds, counts, names, types of the functions */
}

static void test_records_every_bit_turned(void **state)
{
    struct fixture f;
    u32 refused = 0;

    for (u32 bit = 0; bit < 8 * (sizeof(f.func) + sizeof(f.line)); bit++) {
        u8 *at;

        prepare(&f);
        at = bit < 8 * sizeof(f.func) ? (u8 *)f.func + bit / 8 : (u8 *)f.line + (bit / 8 - sizeof(f.func));
        *at ^= (u8)(1u << bit % 8);
        refused += !verdict_of(&f.in);
    }
    assert_true(refused > 8 * sizeof(f.func) / 2);
}

static void test_absurd_counts(void **state)
{
    static const u32 absurd[] = {1, 4, 7, 9, 17, 255, 256, 1u << 31, UINT32_MAX};
    struct fixture f;

    for (size_t k = 0; k < TN_ARRAY_SIZE(absurd); k++) {
        prepare(&f);
        f.in.func_info_cnt = absurd[k];
        assert_false(verdict_of(&f.in));
        prepare(&f);
        f.in.func_info_rec_size = absurd[k];
        assert_false(verdict_of(&f.in));
        prepare(&f);
        f.in.line_info_rec_size = absurd[k];
        assert_false(verdict_of(&f.in));
    }
    prepare(&f);
    f.in.line_info_cnt = 1; /* the other function has none */
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.func_info = NULL;
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.line_info = NULL;
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.maps = NULL;
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.insns = NULL;
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.ninsns = 1000001;
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.prog_flags = 1u << 30;
    assert_false(verdict_of(&f.in));
    prepare(&f);
    f.in.prog_type = UINT32_MAX;
    assert_false(verdict_of(&f.in));
}

static void test_program_cut_everywhere(void **state)
{
    for (u32 n = 0; n < TN_ARRAY_SIZE(program); n++) {
        struct fixture f;
        _free_ struct bpf_insn *copy = malloc((n + 1) * sizeof(*copy) - sizeof(*copy) + 1);

        prepare(&f);
        memcpy(copy, program, n * sizeof(*copy));
        f.in = (struct tn_verify_in){.insns = copy,
                                     .ninsns = n,
                                     .prog_type = BPF_PROG_TYPE_KPROBE,
                                     .gpl = true,
                                     .maps = test_maps,
                                     .nmaps = M_COUNT};
        assert_false(verdict_of(&f.in));
    }
}

static void test_program_every_bit_turned(void **state)
{
    u32 refused = 0;

    for (u32 bit = 0; bit < 8 * sizeof(program); bit++) {
        struct bpf_insn copy[TN_ARRAY_SIZE(program)];
        struct fixture f;

        prepare(&f);
        memcpy(copy, program, sizeof(copy));
        ((u8 *)copy)[bit / 8] ^= (u8)(1u << bit % 8);
        f.in.insns = copy;
        refused += !verdict_of(&f.in);
    }
    assert_true(refused > sizeof(program) * 8 / 2);
}

/* Every allocation fails once; what was taken is given back each time. */
static void runs_out(const struct tn_verify_in *in)
{
    s64 before = shortage_in_use(), n;

    for (n = 0; n < 20000; n++) {
        struct tn_verdict v = {0};
        int err;

        shortage_at(n, false);
        err = tn_verify(in, &v);
        shortage_end();
        if (!err) {
            tn_verdict_clear(&v);
            assert_int_equal(shortage_in_use(), before);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_true(!v.accepted && !v.aux && !v.subprogs && !v.log);
        assert_int_equal(shortage_in_use(), before);
    }
    assert_true(n > 5 && n < 20000);
}

static void test_memory_runs_out(void **state)
{
    struct fixture f;

    prepare(&f);
    runs_out(&f.in);
    f.in.insns = (const struct bpf_insn[]){MOV(R0, 0), EXIT, MOV(R0, 0), EXIT}; /* refused early */
    f.in.ninsns = 4;
    runs_out(&f.in);
    for (u64 seed = 1; seed <= 4; seed++) {
        struct gen g;
        struct tn_verify_in in = f.in;

        gen_program(&g, seed * 0x9e3779b97f4a7c15ull, false);
        in.btf = NULL;
        in.func_info_cnt = in.line_info_cnt = 0;
        in.insns = g.insn;
        in.ninsns = g.n;
        runs_out(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_is_accepted),
        cmocka_unit_test(test_btf_cut_everywhere),
        cmocka_unit_test(test_btf_every_bit_turned),
        cmocka_unit_test(test_records_every_bit_turned),
        cmocka_unit_test(test_absurd_counts),
        cmocka_unit_test(test_program_cut_everywhere),
        cmocka_unit_test(test_program_every_bit_turned),
        cmocka_unit_test(test_memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
