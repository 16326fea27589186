/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic. x86 wants a divisor's partner in rdx:rax and a shift's count in cl; both are R registers, so their
 * values step aside into a scratch register unless nobody needs them any more.
 */
#include "jit/lower.h"

static bool is_live(const struct jit *j, u32 at, u8 bpf_reg)
{
    return j->plan[at].live_out & (1u << bpf_reg);
}

/* dst = dst (op) divisor. The divisor is in a register, not zero; signed ones are not −1. */
static void divide(struct jit *j, u32 at, u8 bytes, bool is_signed, bool mod, u8 d, u8 s)
{
    struct tn_asm *a = &j->a;
    bool keep_rdx = is_live(j, at, BPF_REG_3), keep_rax = is_live(j, at, BPF_REG_0);

    /* The divisor must not be where the dividend goes. */
    if (s == TN_RAX || s == TN_RDX || s == d) {
        tn_x86_mov_rr(a, 8, JIT_TMP, s);
        s = JIT_TMP;
    }
    if (d == TN_RDX) {
        if (keep_rax)
            tn_x86_mov_rr(a, 8, JIT_TM2, TN_RAX);
        tn_x86_mov_rr(a, bytes, TN_RAX, TN_RDX);
    } else {
        if (keep_rdx)
            tn_x86_mov_rr(a, 8, JIT_TM2, TN_RDX);
        if (d != TN_RAX)
            tn_x86_xchg_rr(a, 8, TN_RAX, d); /* d keeps R0 meanwhile */
    }
    if (is_signed)
        tn_x86_sign_rdx(a, bytes);
    else
        tn_x86_zero(a, TN_RDX);
    tn_x86_unary(a, bytes, is_signed ? TN_IDIV : TN_DIV, s);

    if (d == TN_RDX) {
        if (!mod)
            tn_x86_mov_rr(a, bytes, TN_RDX, TN_RAX);
        if (keep_rax)
            tn_x86_mov_rr(a, 8, TN_RAX, JIT_TM2);
    } else {
        if (mod)
            tn_x86_mov_rr(a, bytes, TN_RAX, TN_RDX);
        if (d != TN_RAX)
            tn_x86_xchg_rr(a, 8, TN_RAX, d);
        if (keep_rdx)
            tn_x86_mov_rr(a, 8, TN_RDX, JIT_TM2);
    }
}

/* Division by zero: 0. Modulo zero: dst stays (a 32-bit one is zero-extended). */
static void divide_by_zero(struct jit *j, u8 bytes, bool mod, u8 d)
{
    if (!mod)
        tn_x86_zero(&j->a, d);
    else if (bytes == 4)
        tn_x86_mov_rr(&j->a, 4, d, d);
}

/* By −1, which traps on x86 for the most negative number. */
static void divide_by_minus_one(struct jit *j, u8 bytes, bool mod, u8 d)
{
    if (mod)
        tn_x86_zero(&j->a, d);
    else
        tn_x86_unary(&j->a, bytes, TN_NEG, d);
}

static void lower_div(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    bool mod = BPF_OP(in->code) == BPF_MOD, is_signed = in->off == 1;
    u8 d = jit_reg[in->dst_reg], s;
    struct tn_fixup zero, minus_one = {0}, done_minus = {0}, done;

    if (BPF_SRC(in->code) == BPF_K) {
        if (in->imm == 0) {
            divide_by_zero(j, bytes, mod, d);
        } else if (is_signed && in->imm == -1) {
            divide_by_minus_one(j, bytes, mod, d);
        } else if (!is_signed && in->imm > 0 && jit_is_power_of_two((u32)in->imm)) {
            if (mod) {
                tn_x86_alu_ri(a, 4, TN_AND, d, in->imm - 1);
            } else if (in->imm > 1) {
                tn_x86_shift_i(a, bytes, TN_SHR, d, (u8)__builtin_ctz((u32)in->imm));
            } else if (bytes == 4) {
                tn_x86_mov_rr(a, 4, d, d);
            }
        } else {
            tn_x86_mov_ri(a, JIT_TMP, bytes == 8 ? (u64)(s64)in->imm : (u32)in->imm);
            divide(j, at, bytes, is_signed, mod, d, JIT_TMP);
        }
        return;
    }

    s = jit_reg[in->src_reg];
    tn_x86_test_rr(a, bytes, s, s);
    zero = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    if (is_signed) {
        tn_x86_alu_ri(a, bytes, TN_CMP, s, -1);
        minus_one = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    }
    divide(j, at, bytes, is_signed, mod, d, s);
    done = tn_x86_jmp_fwd(a, 1);
    if (is_signed) {
        tn_x86_bind(a, minus_one);
        divide_by_minus_one(j, bytes, mod, d);
        done_minus = tn_x86_jmp_fwd(a, 1);
    }
    tn_x86_bind(a, zero);
    divide_by_zero(j, bytes, mod, d);
    tn_x86_bind(a, done);
    if (is_signed)
        tn_x86_bind(a, done_minus);
}

static void lower_shift(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];
    enum tn_x86_shift op = BPF_OP(in->code) == BPF_LSH   ? TN_SHL
                           : BPF_OP(in->code) == BPF_RSH ? TN_SHR
                                                         : TN_SAR;

    if (BPF_SRC(in->code) == BPF_K) {
        u8 count = (u8)in->imm & (bytes * 8 - 1);

        if (count)
            tn_x86_shift_i(a, bytes, op, d, count);
        else if (bytes == 4)
            tn_x86_mov_rr(a, 4, d, d);
        return;
    }
    if (s == TN_RCX && d != TN_RCX) {
        tn_x86_shift_cl(a, bytes, op, d);
    } else if (d == TN_RCX) {
        tn_x86_mov_rr(a, 8, JIT_TMP, TN_RCX);
        if (s != TN_RCX)
            tn_x86_mov_rr(a, 4, TN_RCX, s);
        tn_x86_shift_cl(a, bytes, op, JIT_TMP);
        tn_x86_mov_rr(a, bytes, TN_RCX, JIT_TMP);
        return;
    } else {
        bool keep = is_live(j, at, BPF_REG_4);

        if (keep)
            tn_x86_mov_rr(a, 8, JIT_TMP, TN_RCX);
        tn_x86_mov_rr(a, 4, TN_RCX, s);
        tn_x86_shift_cl(a, bytes, op, d);
        if (keep)
            tn_x86_mov_rr(a, 8, TN_RCX, JIT_TMP);
    }
    if (bytes == 4) /* a count of zero need not clear the upper half */
        tn_x86_mov_rr(a, 4, d, d);
}

static void lower_mul(struct jit *j, const struct bpf_insn *in, u8 bytes)
{
    u8 d = jit_reg[in->dst_reg];

    if (BPF_SRC(in->code) == BPF_X)
        tn_x86_imul_rr(&j->a, bytes, d, jit_reg[in->src_reg]);
    else if (in->imm > 1 && jit_is_power_of_two((u32)in->imm))
        tn_x86_shift_i(&j->a, bytes, TN_SHL, d, (u8)__builtin_ctz((u32)in->imm));
    else
        tn_x86_imul_rri(&j->a, bytes, d, d, in->imm);
}

static void lower_mov(struct jit *j, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];

    if (BPF_SRC(in->code) == BPF_X) {
        if (bytes == 4 || d != s)
            tn_x86_mov_rr(a, bytes, d, s);
    } else if (in->imm == 0) {
        tn_x86_zero(a, d);
    } else {
        tn_x86_mov_ri(a, d, bytes == 8 ? (u64)(s64)in->imm : (u32)in->imm);
    }
}

enum tn_x86_alu jit_alu_of(u8 code)
{
    switch (BPF_OP(code)) {
    case BPF_ADD:
        return TN_ADD;
    case BPF_SUB:
        return TN_SUB;
    case BPF_OR:
        return TN_OR;
    case BPF_AND:
        return TN_AND;
    default:
        return TN_XOR;
    }
}

void jit_lower_alu(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg];

    switch (BPF_OP(in->code)) {
    case BPF_DIV:
    case BPF_MOD:
        lower_div(j, at, in, bytes);
        return;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        lower_shift(j, at, in, bytes);
        return;
    case BPF_MUL:
        lower_mul(j, in, bytes);
        return;
    case BPF_MOV:
        lower_mov(j, in, bytes);
        return;
    default:
        break;
    }
    if (BPF_SRC(in->code) == BPF_X)
        tn_x86_alu_rr(a, bytes, jit_alu_of(in->code), d, jit_reg[in->src_reg]);
    else if (BPF_OP(in->code) == BPF_AND && in->imm >= 0)
        tn_x86_alu_ri(a, 4, TN_AND, d, in->imm); /* the upper half becomes zero either way */
    else
        tn_x86_alu_ri(a, bytes, jit_alu_of(in->code), d, in->imm);
}

void jit_lower_end(struct jit *j, const struct bpf_insn *in, enum tn_op op)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg];

    if (op != TN_OP_LE) {
        if (in->imm == 16)
            tn_x86_shift_i(a, 2, TN_ROL, d, 8);
        else
            tn_x86_bswap(a, in->imm == 64 ? 8 : 4, d);
    }
    if (in->imm == 16)
        tn_x86_movzx_rr(a, 2, d, d);
    else if (in->imm == 32 && op == TN_OP_LE)
        tn_x86_mov_rr(a, 4, d, d);
}
