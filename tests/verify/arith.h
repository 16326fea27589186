/* SPDX-License-Identifier: MIT */
/*
 * What instructions do to words of any width: the arithmetic that the number domain is held against. Which
 * there are is told by the rows of isa/ops.h; that these functions say the same as the rows' equations, which
 * know 64 and 32 bits only, is proved in smt.cc, where this is compiled over a solver's terms.
 */
#ifndef TESTS_VERIFY_ARITH_H
#define TESTS_VERIFY_ARITH_H

#include <linux/bpf.h>

#include "isa/ops.h"
#include "verify/width.h"

/* One a binary operation: the opcode's operation and offset. (Moving is one, too.) */
struct arith_op {
    u8 op, off;
    const char *name;
};
#define ARITH_OP(o, name, op, off, ...) {op, off, #name},
static const struct arith_op arith_ops[] = {TN_ALU(ARITH_OP, )};
#undef ARITH_OP

struct arith_jump {
    u8 op;
    const char *name;
};
#define ARITH_JUMP(o, name, op, ...) {op, #name},
static const struct arith_jump arith_jumps[] = {TN_JUMPS(ARITH_JUMP, )};
#undef ARITH_JUMP

/* The instruction on two registers. */
static inline struct bpf_insn arith_insn(u8 class_, u8 op, s16 off)
{
    return (struct bpf_insn){(u8)(class_ | op | BPF_X), 0, 0, off, 0};
}

static inline u64 arith_divide(struct arith_op o, u64 a, u64 b, unsigned bits)
{
    s64 x = tn_width_sext(a, bits), y = tn_width_sext(b, bits);

    if (o.op == BPF_DIV)
        return o.off ? TN_PICK(b == 0, 0ull, TN_PICK(y == -1, 0 - a, (u64)(x / y)))
                     : TN_PICK(b == 0, 0ull, a / b);
    return o.off ? TN_PICK(b == 0, a, TN_PICK(y == -1, 0ull, (u64)(x % y))) : TN_PICK(b == 0, a, a % b);
}

/* a and b are of `bits` bits; shift amounts are taken modulo `modulus`. */
static inline u64 arith_alu(struct arith_op o, u64 a, u64 b, unsigned bits, unsigned modulus)
{
    u64 amount = b & (modulus - 1), r;

    switch (o.op) {
    case BPF_ADD:
        r = a + b;
        break;
    case BPF_SUB:
        r = a - b;
        break;
    case BPF_MUL:
        r = a * b;
        break;
    case BPF_AND:
        r = a & b;
        break;
    case BPF_OR:
        r = a | b;
        break;
    case BPF_XOR:
        r = a ^ b;
        break;
    case BPF_LSH:
        r = a << amount;
        break;
    case BPF_RSH:
        r = a >> amount;
        break;
    case BPF_ARSH:
        r = (u64)(tn_width_sext(a, bits) >> amount);
        break;
    case BPF_MOV:
        r = b;
        break;
    default:
        r = arith_divide(o, a, b, bits);
        break;
    }
    return tn_width_trunc(r, bits);
}

static inline bool arith_jump(u8 op, u64 a, u64 b, unsigned bits)
{
    s64 x = tn_width_sext(a, bits), y = tn_width_sext(b, bits);

    switch (op) {
    case BPF_JEQ:
        return a == b;
    case BPF_JNE:
        return a != b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    case BPF_JLT:
        return a < b;
    case BPF_JLE:
        return a <= b;
    case BPF_JSGT:
        return x > y;
    case BPF_JSGE:
        return x >= y;
    case BPF_JSLT:
        return x < y;
    case BPF_JSLE:
        return x <= y;
    default:
        return (a & b) != 0;
    }
}

#endif
