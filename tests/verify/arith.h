/* SPDX-License-Identifier: MIT */
/* What instructions do to words of any width: the arithmetic that the number domain is held against. */
#ifndef TESTS_VERIFY_ARITH_H
#define TESTS_VERIFY_ARITH_H

#include <linux/bpf.h>

#include "verify/width.h"

/* One a binary operation. */
struct arith_op {
    u8 op;
    bool is_signed; /* BPF_DIV, BPF_MOD */
};
static const struct arith_op arith_ops[] = {
    {BPF_ADD, false}, {BPF_SUB, false}, {BPF_MUL, false}, {BPF_AND, false},  {BPF_OR, false},
    {BPF_XOR, false}, {BPF_LSH, false}, {BPF_RSH, false}, {BPF_ARSH, false}, {BPF_DIV, false},
    {BPF_MOD, false}, {BPF_DIV, true},  {BPF_MOD, true},
};
static const u8 arith_jumps[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                                 BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};

/* a and b are of `bits` bits; shift amounts are taken modulo `modulus`. */
static inline u64 arith_alu(struct arith_op o, u64 a, u64 b, unsigned bits, unsigned modulus)
{
    s64 x = tn_width_sext(a, bits), y = tn_width_sext(b, bits);
    unsigned amount = (unsigned)b & (modulus - 1);
    u64 r;

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
        r = (u64)(x >> amount);
        break;
    case BPF_DIV:
        if (!b)
            r = 0;
        else if (o.is_signed)
            r = y == -1 ? 0 - a : (u64)(x / y);
        else
            r = a / b;
        break;
    default:
        if (!b)
            r = a;
        else if (o.is_signed)
            r = y == -1 ? 0 : (u64)(x % y);
        else
            r = a % b;
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
        return a & b;
    }
}

#endif
