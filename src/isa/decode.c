/* SPDX-License-Identifier: MIT */
/*
 * Opcode byte to row by a table made from the rows, then the checks of one instruction. A check refuses in
 * exactly one place, by a name out of TN_DECODE_REASONS.
 */
#include "isa/ops.h"

#include <errno.h>

const struct tn_op_row tn_op_rows[TN_OP_COUNT] = {[TN_OP_INVALID] = {.name = "invalid", .sign = ""},
#define O(id, code_, off_, kind_, bytes_, sign_)                                                             \
    [TN_OP_##id] = {.code = (code_),                                                                         \
                    .off = (off_),                                                                           \
                    .kind = TN_KIND_##kind_,                                                                 \
                    .bytes = (bytes_),                                                                       \
                    .name = #id,                                                                             \
                    .sign = (sign_)},
                                                  TN_OPS(O)
#undef O
};
_Static_assert(TN_OP_COUNT <= 256, "tn_op_by_code holds bytes");

/* Two rows for one cell would be a duplicate initialiser, which the compiler refuses: rows cannot contradict
   each other. */
const u8 tn_op_by_code[2][256] = {
#define ROW_WITH_0(code, id)     [0][code] = TN_OP_##id,
#define ROW_WITH_1(code, id)     [1][code] = TN_OP_##id,
#define ROW_WITH_2(code, id)     [0][code] = TN_OP_##id, [1][code] = TN_OP_##id,
#define ROW_WITH(off, code, id)  ROW_WITH_(off, code, id)
#define ROW_WITH_(off, code, id) ROW_WITH_##off(code, id)
#define O(id, code, off, ...)    ROW_WITH(off, code, id)
    TN_OPS(O)
#undef O
};

s64 tn_jump_target(const struct bpf_insn *insn, u32 at)
{
    bool func = insn->code == (BPF_LD | BPF_IMM | BPF_DW) && insn->src_reg == BPF_PSEUDO_FUNC;
    bool wide = insn->code == (BPF_JMP32 | BPF_JA) || insn->code == (BPF_JMP | BPF_CALL) || func;

    return (s64)at + 1 + (wide ? insn->imm : insn->off);
}

/* ------------------------------------------------------------------------------------------------ checks */

#define REASON_TEXT(reason, text) static const char reason##_text[] = text;
TN_DECODE_REASONS(REASON_TEXT)
#undef REASON_TEXT

#define REFUSE(err, reason) tn_fail(err, -EINVAL, #reason, "%s", reason##_text)

static int check_end(const struct tn_insn *in, struct tn_error *err)
{
    if (in->imm != 16 && in->imm != 32 && in->imm != 64)
        return REFUSE(err, bad_width);
    return 0;
}

static int check_alu(const struct tn_insn *in, u8 op, struct tn_error *err)
{
    u32 bits = in->bytes * 8;

    if (in->x ? in->imm != 0 : in->src != 0)
        return REFUSE(err, reserved_field);
    if (in->x)
        return 0;
    if ((op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) && (in->imm < 0 || (u32)in->imm >= bits))
        return REFUSE(err, shift_out_of_range);
    if ((op == BPF_DIV || op == BPF_MOD) && in->imm == 0)
        return REFUSE(err, constant_zero_divisor);
    return 0;
}

static int check_movsx(const struct tn_insn *in, struct tn_error *err)
{
    if (in->bytes == 8 && in->off == BPF_ADDR_SPACE_CAST)
        return REFUSE(err, address_space_not_supported);
    if (in->imm)
        return REFUSE(err, reserved_field);
    if (in->off != 8 && in->off != 16 && !(in->off == 32 && in->bytes == 8))
        return REFUSE(err, bad_width);
    return 0;
}

static int check_atomic(const struct tn_insn *in, struct tn_error *err)
{
    if (in->bytes < 4 && in->imm != BPF_LOAD_ACQ && in->imm != BPF_STORE_REL)
        return REFUSE(err, unknown_atomic);
    switch (in->imm) {
#define T(name, imm, ...) case (imm):
        TN_ATOMICS(T)
#undef T
        break;
    case BPF_LOAD_ACQ:
        return in->dst == BPF_REG_10 ? REFUSE(err, frame_pointer_read_only) : 0;
    case BPF_STORE_REL:
        return 0;
    default:
        return REFUSE(err, unknown_atomic);
    }
    /* The old value goes to the source register, but for compare-and-exchange, where it goes to r0. */
    if ((in->imm & BPF_FETCH) && in->imm != BPF_CMPXCHG && in->src == BPF_REG_10)
        return REFUSE(err, frame_pointer_read_only);
    return 0;
}

static int check_ld_imm64(const struct bpf_insn *insn, u32 left, struct tn_insn *in, struct tn_error *err)
{
    if (in->off)
        return REFUSE(err, reserved_field);
    if (left < 2 || insn[1].code || insn[1].dst_reg || insn[1].src_reg || insn[1].off)
        return REFUSE(err, incomplete_two_slot_load);
    if (in->src > BPF_PSEUDO_MAP_IDX_VALUE)
        return REFUSE(err, unknown_pseudo);
    /* Only plain values, a value's offset and the descriptor of a type's module use the second immediate. */
    if (insn[1].imm &&
        (in->src == BPF_PSEUDO_MAP_FD || in->src == BPF_PSEUDO_MAP_IDX || in->src == BPF_PSEUDO_FUNC))
        return REFUSE(err, reserved_field);
    in->slots = 2;
    in->imm64 = (u32)insn[0].imm | (u64)(u32)insn[1].imm << 32;
    return 0;
}

static int check_call(const struct tn_insn *in, struct tn_error *err)
{
    if (in->src > BPF_PSEUDO_KFUNC_CALL)
        return REFUSE(err, unknown_pseudo);
    /* A kfunc's offset names the module that has it. */
    if (in->dst || (in->off && in->src != BPF_PSEUDO_KFUNC_CALL))
        return REFUSE(err, reserved_field);
    return 0;
}

int tn_decode(const struct bpf_insn *insns, u32 n, u32 at, struct tn_insn *ret_insn, struct tn_error *err)
{
    const struct bpf_insn *insn = &insns[at];
    enum tn_op op = tn_op_of(insn);
    const struct tn_op_row *row = &tn_op_rows[op];
    struct tn_insn in = {.op = op,
                         .kind = row->kind,
                         .bytes = row->bytes,
                         .slots = 1,
                         .dst = insn->dst_reg,
                         .src = insn->src_reg,
                         .x = BPF_SRC(insn->code) == BPF_X,
                         .off = insn->off,
                         .imm = insn->imm};
    int r = 0;

    /* An arithmetic opcode that exists, with an offset that means nothing there.
       A call's offset is judged below. */
    if (op == TN_OP_INVALID && tn_op_by_code[0][insn->code]) {
        if (insn->code != (BPF_JMP | BPF_CALL))
            return REFUSE(err, reserved_field);
        in.op = TN_OP_CALL;
        in.kind = TN_KIND_CALL;
    } else if (op == TN_OP_INVALID) {
        return REFUSE(err, unknown_opcode);
    }
    if (row->off == 1 && row->kind == TN_KIND_ALU && in.off != 1)
        return REFUSE(err, reserved_field);
    if (in.dst > BPF_REG_10 || in.src > BPF_REG_10)
        return REFUSE(err, bad_register);
    if (tn_kind_sets_dst(in.kind) && in.dst == BPF_REG_10)
        return REFUSE(err, frame_pointer_read_only);

    switch ((enum tn_kind)in.kind) {
    case TN_KIND_ALU:
        r = check_alu(&in, BPF_OP(insn->code), err);
        break;
    case TN_KIND_MOVSX:
        r = check_movsx(&in, err);
        break;
    case TN_KIND_NEG:
        if (in.src || in.imm || in.x)
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_END:
        r = in.src ? REFUSE(err, reserved_field) : check_end(&in, err);
        break;
    case TN_KIND_JMP:
        if (in.x ? in.imm != 0 : in.src != 0)
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_JA:
        if (in.dst || in.src || (in.op == TN_OP_JA ? in.imm != 0 : in.off != 0))
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_MAY_GOTO:
        if (in.dst || in.src || in.imm)
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_CALL:
        r = check_call(&in, err);
        break;
    case TN_KIND_EXIT:
        if (in.dst || in.src || in.off || in.imm)
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_LD_IMM64:
        r = check_ld_imm64(insn, n - at, &in, err);
        break;
    case TN_KIND_LDX:
    case TN_KIND_LDSX:
    case TN_KIND_STX:
        if (in.imm)
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_ST:
        if (in.src)
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_ATOMIC:
        r = check_atomic(&in, err);
        break;
    case TN_KIND_PACKET:
        if (in.dst || in.off || (BPF_MODE(insn->code) == BPF_ABS && in.src))
            r = REFUSE(err, reserved_field);
        break;
    case TN_KIND_INVALID:
        break;
    }
    if (r < 0)
        return r;

    *ret_insn = in;
    return 0;
}
