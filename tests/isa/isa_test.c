/* SPDX-License-Identifier: MIT */
/*
 * The rows against themselves, one refusal for every reason, and what instructions look like in a log.
 */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include <errno.h>

#include "isa/ops.h"

#define I(code_, dst, src, off_, imm_)                                                                       \
    {                                                                                                        \
        .code = (u8)(code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_)                \
    }

static void every_row_is_found_by_its_opcode(void **state)
{
    for (u32 op = 1; op < TN_OP_COUNT; op++) {
        struct bpf_insn insn = {.code = tn_op_rows[op].code, .off = tn_op_rows[op].off == 1};

        assert_int_equal(tn_op_of(&insn), op);
        if (tn_op_rows[op].off == TN_OFF_USED) {
            insn.off = -7;
            assert_int_equal(tn_op_of(&insn), op);
        }
        assert_int_not_equal(tn_op_rows[op].kind, TN_KIND_INVALID);
    }
    /* 14 × 4 arithmetic + 2 + 2 + 3, 11 × 4 jumps + 5, one 64-bit load, 3 × 4 + 3 of memory,
       4 atomic, 6 of packets */
    assert_int_equal(TN_OP_COUNT - 1, 56 + 7 + 44 + 5 + 1 + 15 + 4 + 6);
}

static void every_row_has_a_form_that_decodes(void **state)
{
    for (u32 op = 1; op < TN_OP_COUNT; op++) {
        const struct tn_op_row *row = &tn_op_rows[op];
        struct bpf_insn insn[2] = {{.code = row->code, .off = row->off == 1}};
        struct tn_insn out;
        struct tn_error err = {0};
        int r;

        if (row->kind == TN_KIND_END)
            insn->imm = 16;
        else if (row->kind == TN_KIND_MOVSX)
            insn->off = 8;
        else if (row->kind == TN_KIND_ALU && BPF_SRC(row->code) == BPF_K)
            insn->imm = 1;
        else if (row->kind == TN_KIND_ATOMIC && row->bytes < 4)
            insn->imm = BPF_LOAD_ACQ; /* or BPF_STORE_REL: no others are this narrow */
        r = tn_decode(insn, 2, 0, &out, &err);
        if (r)
            fail_msg("%s: %s", row->name, err.reason);
        assert_int_equal(out.op, op);
        assert_int_equal(out.kind, row->kind);
        assert_int_equal(out.slots, row->kind == TN_KIND_LD_IMM64 ? 2 : 1);
    }
}

static void refusals_have_names(void **state)
{
    static const struct {
        struct bpf_insn insn[2];
        u32 n;
        const char *reason;
    } cases[] = {
        {{I(0xff, 0, 0, 0, 0)}, 1, "unknown_opcode"},
        {{I(0x00, 0, 0, 0, 0)}, 1, "unknown_opcode"},
        {{I(BPF_JMP32 | BPF_CALL, 0, 0, 0, 0)}, 1, "unknown_opcode"},
        {{I(BPF_JMP32 | BPF_EXIT, 0, 0, 0, 0)}, 1, "unknown_opcode"},
        {{I(BPF_ALU64 | BPF_NEG | BPF_X, 1, 0, 0, 0)}, 1, "unknown_opcode"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_B, 1, 0, 0, 0)}, 1, "unknown_atomic"},
        {{I(BPF_JMP | BPF_JCOND, 0, 1, 1, 0)}, 1, "reserved_field"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 2, 0, BPF_LOAD_ACQ)}, 1, "frame_pointer_read_only"},
        {{I(BPF_LDX | BPF_MEMSX | BPF_DW, 1, 2, 0, 0)}, 1, "unknown_opcode"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 11, 0, 0, 0)}, 1, "bad_register"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 0, 15, 0, 0)}, 1, "bad_register"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 1, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_ALU64 | BPF_ADD | BPF_X, 0, 1, 1, 0)}, 1, "reserved_field"},
        {{I(BPF_ALU64 | BPF_DIV | BPF_X, 0, 1, 2, 0)}, 1, "reserved_field"},
        {{I(BPF_ALU64 | BPF_NEG, 0, 1, 0, 0)}, 1, "reserved_field"},
        {{I(BPF_ALU64 | BPF_NEG, 0, 0, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_ALU | BPF_END | BPF_X, 0, 1, 0, 16)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_JA, 1, 0, 0, 0)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_JA, 0, 0, 0, 3)}, 1, "reserved_field"},
        {{I(BPF_JMP32 | BPF_JA, 0, 0, 1, 3)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0, 0)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_JEQ | BPF_X, 0, 1, 0, 2)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_EXIT, 0, 0, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_CALL, 0, 0, 1, 1)}, 1, "reserved_field"},
        {{I(BPF_JMP | BPF_CALL, 1, 0, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_LDX | BPF_MEM | BPF_W, 0, 1, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_ST | BPF_MEM | BPF_W, 1, 1, 0, 1)}, 1, "reserved_field"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 3, 1), I(0, 0, 0, 0, 0)}, 2, "reserved_field"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, 1), I(0, 0, 0, 0, 1)}, 2, "reserved_field"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_K, 10, 0, 0, 1)}, 1, "frame_pointer_read_only"},
        {{I(BPF_LDX | BPF_MEM | BPF_DW, 10, 1, 0, 0)}, 1, "frame_pointer_read_only"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 10, 0, BPF_ADD | BPF_FETCH)}, 1, "frame_pointer_read_only"},
        {{I(BPF_ALU64 | BPF_DIV | BPF_K, 0, 0, 0, 0)}, 1, "constant_zero_divisor"},
        {{I(BPF_ALU | BPF_MOD | BPF_K, 0, 0, 1, 0)}, 1, "constant_zero_divisor"},
        {{I(BPF_ALU64 | BPF_LSH | BPF_K, 0, 0, 0, 64)}, 1, "shift_out_of_range"},
        {{I(BPF_ALU | BPF_ARSH | BPF_K, 0, 0, 0, 32)}, 1, "shift_out_of_range"},
        {{I(BPF_ALU | BPF_RSH | BPF_K, 0, 0, 0, -1)}, 1, "shift_out_of_range"},
        {{I(BPF_ALU | BPF_END, 0, 0, 0, 8)}, 1, "bad_width"},
        {{I(BPF_ALU64 | BPF_END, 0, 0, 0, 0)}, 1, "bad_width"},
        {{I(BPF_ALU | BPF_MOV | BPF_X, 0, 1, 32, 0)}, 1, "bad_width"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 7, 0)}, 1, "bad_width"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 0, 1, 1, 1)}, 1, "address_space_not_supported"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_W, 1, 2, 0, 0x20)}, 1, "unknown_atomic"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_W, 1, 2, 0, 0xe0)}, 1, "unknown_atomic"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_H, 1, 2, 0, BPF_ADD)}, 1, "unknown_atomic"},
        {{I(BPF_LD | BPF_ABS | BPF_W, 0, 1, 0, 0)}, 1, "reserved_field"},
        {{I(BPF_LD | BPF_IND | BPF_W, 1, 1, 0, 0)}, 1, "reserved_field"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 1)}, 1, "incomplete_two_slot_load"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 1), I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)},
         2,
         "incomplete_two_slot_load"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 1), I(0, 0, 0, 1, 0)}, 2, "incomplete_two_slot_load"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, 7, 0, 1), I(0, 0, 0, 0, 0)}, 2, "unknown_pseudo"},
        {{I(BPF_JMP | BPF_CALL, 0, 3, 0, 1)}, 1, "unknown_pseudo"},
    };
    static const char *const reasons[] = {
#define R(reason, text) #reason,
        TN_DECODE_REASONS(R)
#undef R
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++) {
        struct tn_insn out = {.op = 0x55};
        struct tn_error err = {0};

        assert_int_equal(tn_decode(cases[i].insn, cases[i].n, 0, &out, &err), -EINVAL);
        if (strcmp(err.reason, cases[i].reason))
            fail_msg("case %u: %s instead of %s", i, err.reason, cases[i].reason);
        assert_int_equal(out.op, 0x55); /* untouched */
    }
    /* No reason without a case. */
    for (u32 i = 0; i < TN_ARRAY_SIZE(reasons); i++) {
        bool seen = false;

        for (u32 c = 0; c < TN_ARRAY_SIZE(cases); c++)
            seen |= !strcmp(cases[c].reason, reasons[i]);
        if (!seen)
            fail_msg("no case for %s", reasons[i]);
    }
}

/* Every opcode byte with hostile fields: an answer, and nothing accepted
   that names registers which do not exist. */
static void any_bytes_get_an_answer(void **state)
{
    u64 seed = 0x9e3779b97f4a7c15;
    u32 accepted = 0;

    for (u32 i = 0; i < 400000; i++) {
        struct bpf_insn insn[2];
        struct tn_insn out;
        char text[96];

        for (u32 k = 0; k < 2; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            insn[k] = (struct bpf_insn){.code = (u8)(seed >> 33),
                                        .dst_reg = seed >> 41 & 15,
                                        .src_reg = seed >> 45 & 15,
                                        .off = (s16)(seed >> 50 & 1 ? seed >> 20 : 0),
                                        .imm = (s32)(seed >> 51 & 1 ? seed >> 13 : 0)};
        }
        tn_disasm(insn, text, sizeof(text));
        assert_true(strlen(text) > 0 && strlen(text) < sizeof(text) - 1);
        if (tn_decode(insn, 2, 0, &out, NULL) < 0)
            continue;
        accepted++;
        assert_true(out.dst <= 10 && out.src <= 10);
        assert_int_equal(strncmp(text, "BUG", 3) == 0, 0);
    }
    assert_true(accepted > 1000);
}

static void text_is_the_kernels(void **state)
{
    static const struct {
        struct bpf_insn insn[2];
        const char *text;
    } cases[] = {
        {{I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0)}, "r0 = 0"},
        {{I(BPF_ALU | BPF_MOV | BPF_K, 3, 0, 0, -1)}, "w3 = -1"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0)}, "r2 = r10"},
        {{I(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4)}, "r2 += -4"},
        {{I(BPF_ALU | BPF_ARSH | BPF_X, 2, 3, 0, 0)}, "w2 s>>= w3"},
        {{I(BPF_ALU64 | BPF_DIV | BPF_X, 2, 3, 1, 0)}, "r2 s/= r3"},
        {{I(BPF_ALU64 | BPF_MOD | BPF_K, 2, 0, 0, 7)}, "r2 %= 7"},
        {{I(BPF_ALU64 | BPF_MOV | BPF_X, 2, 3, 16, 0)}, "r2 = (s16)r3"},
        {{I(BPF_ALU | BPF_MOV | BPF_X, 2, 3, 8, 0)}, "w2 = (s8)w3"},
        {{I(BPF_ALU64 | BPF_NEG, 4, 0, 0, 0)}, "r4 = -r4"},
        {{I(BPF_ALU | BPF_END | BPF_X, 4, 0, 0, 32)}, "r4 = be32 r4"},
        {{I(BPF_ALU | BPF_END, 4, 0, 0, 16)}, "r4 = le16 r4"},
        {{I(BPF_ALU64 | BPF_END, 4, 0, 0, 64)}, "r4 = bswap64 r4"},
        {{I(BPF_JMP | BPF_JNE | BPF_K, 1, 0, 3, 0)}, "if r1 != 0x0 goto pc+3"},
        {{I(BPF_JMP32 | BPF_JSGT | BPF_X, 1, 2, -5, 0)}, "if w1 s> w2 goto pc-5"},
        {{I(BPF_JMP | BPF_JSET | BPF_K, 1, 0, 1, 255)}, "if r1 & 0xff goto pc+1"},
        {{I(BPF_JMP | BPF_JA, 0, 0, 7, 0)}, "goto pc+7"},
        {{I(BPF_JMP32 | BPF_JA, 0, 0, 0, 70000)}, "gotol pc+70000"},
        {{I(BPF_JMP | BPF_CALL, 0, 0, 0, 1)}, "call bpf_map_lookup_elem#1"},
        {{I(BPF_JMP | BPF_CALL, 0, 0, 0, 174)}, "call bpf_get_attach_cookie#174"},
        {{I(BPF_JMP | BPF_CALL, 0, 0, 0, 12345)}, "call unknown#12345"},
        {{I(BPF_JMP | BPF_CALL, 0, 1, 0, 9)}, "call pc+9"},
        {{I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)}, "exit"},
        {{I(BPF_LDX | BPF_MEM | BPF_DW, 2, 1, 8, 0)}, "r2 = *(u64 *)(r1 +8)"},
        {{I(BPF_LDX | BPF_MEMSX | BPF_B, 2, 1, -1, 0)}, "r2 = *(s8 *)(r1 -1)"},
        {{I(BPF_STX | BPF_MEM | BPF_W, 10, 1, -4, 0)}, "*(u32 *)(r10 -4) = r1"},
        {{I(BPF_ST | BPF_MEM | BPF_H, 10, 0, -2, 5)}, "*(u16 *)(r10 -2) = 5"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_ADD)}, "lock *(u64 *)(r1 +0) += r2"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_W, 1, 2, 4, BPF_OR | BPF_FETCH)},
         "r2 = atomic_fetch_or((u32 *)(r1 +4), r2)"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, 0, BPF_XCHG)}, "r2 = atomic64_xchg((u64 *)(r1 +0), r2)"},
        {{I(BPF_STX | BPF_ATOMIC | BPF_DW, 1, 2, -8, BPF_CMPXCHG)},
         "r0 = atomic64_cmpxchg((u64 *)(r1 -8), r0, r2)"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 1), I(0, 0, 0, 0, 2)}, "r1 = 0x200000001"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, 3), I(0, 0, 0, 0, 0)}, "r1 = map[3]"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE, 0, 3), I(0, 0, 0, 0, 16)},
         "r1 = map[3][0]+16"},
        {{I(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_FUNC, 0, 5), I(0, 0, 0, 0, 0)}, "r1 = subprog[+5]"},
        {{I(0xff, 1, 2, 3, 4)}, "BUG_ff dst 1 src 2 off 3 imm 4"},
    };
    char text[96], tiny[6];

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++) {
        tn_disasm(cases[i].insn, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
    tn_disasm(cases[0].insn, tiny, sizeof(tiny));
    assert_string_equal(tiny, "r0 = ");
}

static void targets_count_from_the_next_instruction(void **state)
{
    assert_int_equal(tn_jump_target(&(struct bpf_insn)I(BPF_JMP | BPF_JA, 0, 0, 7, 0), 10), 18);
    assert_int_equal(tn_jump_target(&(struct bpf_insn)I(BPF_JMP | BPF_JEQ, 0, 0, -11, 99), 10), 0);
    assert_int_equal(tn_jump_target(&(struct bpf_insn)I(BPF_JMP32 | BPF_JA, 0, 0, 0, 100000), 10), 100011);
    assert_int_equal(tn_jump_target(&(struct bpf_insn)I(BPF_JMP | BPF_CALL, 0, 1, 0, INT32_MIN), 0),
                     (s64)INT32_MIN + 1);
    assert_int_equal(tn_jump_target(&(struct bpf_insn)I(BPF_JMP32 | BPF_JEQ, 0, 0, 3, 9), 0), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_opcode),
        cmocka_unit_test(every_row_has_a_form_that_decodes),
        cmocka_unit_test(refusals_have_names),
        cmocka_unit_test(any_bytes_get_an_answer),
        cmocka_unit_test(text_is_the_kernels),
        cmocka_unit_test(targets_count_from_the_next_instruction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
