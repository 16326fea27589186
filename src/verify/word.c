/* SPDX-License-Identifier: MIT */
/* The number domain at any width; see word.h. */
#include "verify/word.h"

#include <linux/bpf.h>

/* --------------------------------------------------------------------------------------------- refinement */

bool tn_word_sync(struct tn_word *w, unsigned bits)
{
    struct tn_spans s = tn_word_spans(w, bits);

    s.pos = tn_span_clip(s.pos, w->t, bits);
    s.neg = tn_span_clip(s.neg, w->t, bits);
    if (!tn_span_any(s.pos) && !tn_span_any(s.neg))
        return false;
    tn_word_set_spans(w, s, bits);
    return tn_tnum_intersect(w->t, tn_tnum_range(w->umin, w->umax), &w->t);
}

/* --------------------------------------------------------------------------------------------- arithmetic */

/* From `lo` on, `more` + `and_more` numbers further: unless that is once round, and so says nothing. */
static void add_circle(struct tn_word *r, u64 lo, u64 more, u64 and_more, unsigned bits)
{
    u64 mask = tn_width_mask(bits);

    if (more <= mask - and_more)
        tn_word_clamp_circle(r, lo, lo + more + and_more, bits);
}

static void add_bounds(struct tn_word *r, const struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    add_circle(r, a->umin + b->umin, a->umax - a->umin, b->umax - b->umin, bits);
    add_circle(r, (u64)a->smin + (u64)b->smin, (u64)a->smax - (u64)a->smin, (u64)b->smax - (u64)b->smin,
               bits);
}

static void sub_bounds(struct tn_word *r, const struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    add_circle(r, a->umin - b->umax, a->umax - a->umin, b->umax - b->umin, bits);
    add_circle(r, (u64)a->smin - (u64)b->smax, (u64)a->smax - (u64)a->smin, (u64)b->smax - (u64)b->smin,
               bits);
}

#ifndef TN_WIDTH_TERMS /* see width.h */
typedef unsigned __int128 wide_u;
typedef __int128 wide_s;
#endif

static void mul_bounds(struct tn_word *r, const struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    wide_u umax = (wide_u)a->umax * (wide_u)b->umax;
    wide_s p = (wide_s)a->smin * (wide_s)b->smin, q = (wide_s)a->smin * (wide_s)b->smax;
    wide_s s = (wide_s)a->smax * (wide_s)b->smin, t = (wide_s)a->smax * (wide_s)b->smax;
    wide_s min = TN_PICK(p < q, p, q), max = TN_PICK(p < q, q, p);

    min = TN_PICK(s < min, s, min);
    max = TN_PICK(s > max, s, max);
    min = TN_PICK(t < min, t, min);
    max = TN_PICK(t > max, t, max);
    if (umax <= (wide_u)tn_width_mask(bits))
        tn_word_clamp_u(r, a->umin * b->umin, a->umax * b->umax);
    if (min >= (wide_s)tn_width_smin(bits) && max <= (wide_s)tn_width_smax(bits))
        tn_word_clamp_s(r, (s64)min, (s64)max);
}

/* All ones from the highest bit that differs from the sign, of either end of either operand. */
static u64 magnitude(const struct tn_word *a, const struct tn_word *b)
{
    u64 any = (u64)(a->smin ^ (a->smin >> 63)) | (u64)(a->smax ^ (a->smax >> 63)) |
              (u64)(b->smin ^ (b->smin >> 63)) | (u64)(b->smax ^ (b->smax >> 63));

    return tn_width_smear(any);
}

/* Numbers of one magnitude, [−2^k, 2^k − 1], stay among themselves. */
static void bitwise_bounds(u8 op, struct tn_word *r, const struct tn_word *a, const struct tn_word *b)
{
    u64 top = magnitude(a, b);

    tn_word_clamp_s(r, (s64)~top, (s64)top);
    if (op == BPF_AND) {
        tn_word_clamp_u(r, 0, TN_PICK(a->umax < b->umax, a->umax, b->umax));
        tn_word_clamp_s(r, (s64)~top, TN_PICK(a->smax > b->smax, a->smax, b->smax));
    } else if (op == BPF_OR) {
        tn_word_clamp_u(r, TN_PICK(a->umin > b->umin, a->umin, b->umin), r->umax);
        tn_word_clamp_s(r, TN_PICK(a->smin < b->smin, a->smin, b->smin), (s64)top);
    }
}

/* By an amount in [least, most], below `bits`. */
static void shift_bounds(u8 op, struct tn_word *r, const struct tn_word *a, u64 least, u64 most,
                         unsigned bits)
{
    u64 mask = tn_width_mask(bits), steps = a->umax - a->umin;
    s64 low, high;

    switch (op) {
    case BPF_LSH:
        if (a->umax <= mask >> most)
            tn_word_clamp_u(r, a->umin << least, a->umax << most);
        if (least == most && steps <= mask >> most)
            tn_word_clamp_circle(r, a->umin << most, (a->umin << most) + (steps << most), bits);
        steps = (u64)a->smax - (u64)a->smin;
        if (least == most && steps <= mask >> most)
            tn_word_clamp_circle(r, (u64)a->smin << most, ((u64)a->smin << most) + (steps << most), bits);
        break;
    case BPF_RSH:
        tn_word_clamp_u(r, a->umin >> most, a->umax >> least);
        break;
    default:
        low = TN_PICK(a->smin < 0, a->smin >> least, a->smin >> most);
        high = TN_PICK(a->smax < 0, a->smax >> most, a->smax >> least);
        tn_word_clamp_s(r, low, high);
        break;
    }
}

static void shift(u8 op, struct tn_word *r, const struct tn_word *a, const struct tn_word *b, unsigned bits,
                  unsigned modulus)
{
    u64 from = b->t.value & (modulus - 1), to = from | (b->t.mask & (modulus - 1));

    if (b->umax < modulus) {
        from = TN_MAX(from, b->umin);
        to = TN_MIN(to, b->umax);
    }
    if (from >= bits && op == BPF_LSH) /* nothing of this word is left in it */
        *r = tn_word_const(0, bits);
    if (to >= bits)
        return;
    shift_bounds(op, r, a, from, to, bits);
    if (from == to) {
        r->t = op == BPF_LSH   ? tn_tnum_cast(tn_tnum_lsh(a->t, to), bits)
               : op == BPF_RSH ? tn_tnum_rsh(a->t, to)
                               : tn_tnum_arsh(a->t, to, bits);
    } else if (op == BPF_LSH) {
        r->t.mask &= ~(((a->t.value | a->t.mask) & (0 - (a->t.value | a->t.mask))) - 1);
        r->t.mask &= ~0ull << from;
    }
}

/* Unsigned; division by zero yields 0, and the remainder of it is the dividend. */
static void divide(u8 op, struct tn_word *r, const struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    bool power = b->umin == b->umax && b->umin && !(b->umin & (b->umin - 1));
    u64 twos;

    if (b->umax == 0) {
        *r = op == BPF_DIV ? tn_word_const(0, bits) : *a;
    } else if (op == BPF_DIV) {
        tn_word_clamp_u(r, b->umin ? a->umin / b->umax : 0, a->umax / TN_MAX(b->umin, 1u));
        for (u64 d = b->umin; power && d > 1; d >>= 1)
            r->t = tn_tnum_rsh(d == b->umin ? a->t : r->t, 1);
    } else if (a->umax < b->umin) {
        *r = *a;
    } else {
        tn_word_clamp_u(r, 0, b->umin ? TN_MIN(a->umax, b->umax - 1) : a->umax);
        /* Below the lowest one of the divisor, the dividend's bits go through. */
        twos = b->t.value | b->t.mask;
        twos = (twos & (0 - twos)) - 1;
        r->t.value |= a->t.value & twos;
        r->t.mask &= a->t.mask | ~twos;
    }
}

/* The greatest |x| there is. */
static u64 largest(const struct tn_word *w)
{
    u64 low = w->smin < 0 ? 0 - (u64)w->smin : (u64)w->smin,
        high = w->smax < 0 ? 0 - (u64)w->smax : (u64)w->smax;

    return TN_MAX(low, high);
}

/* Signed, towards zero; a remainder has the sign of the dividend;
   the least number divided by −1 is itself. */
static void divide_signed(u8 op, struct tn_word *r, const struct tn_word *a, const struct tn_word *b,
                          unsigned bits)
{
    bool constant = b->smin == b->smax;
    s64 d = b->smin;
    u64 limit = largest(a), divisor = largest(b);

    if (constant && d == 0) {
        *r = op == BPF_DIV ? tn_word_const(0, bits) : *a;
    } else if (constant && d == -1) {
        if (op == BPF_MOD)
            *r = tn_word_const(0, bits);
        if (op == BPF_DIV && a->smin > tn_width_smin(bits))
            tn_word_clamp_s(r, -a->smax, -a->smin);
    } else if (op == BPF_DIV && constant) {
        tn_word_clamp_s(r, d > 0 ? a->smin / d : a->smax / d, d > 0 ? a->smax / d : a->smin / d);
    } else if (op == BPF_DIV) {
        if (a->smin >= 0 && b->smin >= 0)
            divide(op, r, a, b, bits);
        else if (limit <= (u64)tn_width_smax(bits))
            tn_word_clamp_s(r, -(s64)limit, (s64)limit);
    } else {
        if (b->umin) /* never zero */
            limit = TN_MIN(limit, divisor - 1);
        tn_word_clamp_s(r, limit > (u64)tn_width_smax(bits) ? tn_width_smin(bits) : -(s64)limit,
                        limit > (u64)tn_width_smax(bits) ? tn_width_smax(bits) : (s64)limit);
        tn_word_clamp_s(r, TN_MIN(a->smin, 0), TN_MAX(a->smax, 0));
    }
}

struct tn_word tn_word_alu(u8 op, bool is_signed, const struct tn_word *a, const struct tn_word *b,
                           unsigned bits, unsigned modulus)
{
    struct tn_word r = tn_word_any(bits);

    switch (op) {
    case BPF_ADD:
        add_bounds(&r, a, b, bits);
        r.t = tn_tnum_cast(tn_tnum_add(a->t, b->t), bits);
        break;
    case BPF_SUB:
        sub_bounds(&r, a, b, bits);
        r.t = tn_tnum_cast(tn_tnum_sub(a->t, b->t), bits);
        break;
    case BPF_MUL:
        mul_bounds(&r, a, b, bits);
        r.t = tn_tnum_cast(tn_tnum_mul(a->t, b->t), bits);
        break;
    case BPF_AND:
        bitwise_bounds(op, &r, a, b);
        r.t = tn_tnum_and(a->t, b->t);
        break;
    case BPF_OR:
        bitwise_bounds(op, &r, a, b);
        r.t = tn_tnum_or(a->t, b->t);
        break;
    case BPF_XOR:
        bitwise_bounds(op, &r, a, b);
        r.t = tn_tnum_xor(a->t, b->t);
        break;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        shift(op, &r, a, b, bits, modulus);
        break;
    case BPF_DIV:
    case BPF_MOD:
        if (is_signed)
            divide_signed(op, &r, a, b, bits);
        else
            divide(op, &r, a, b, bits);
        break;
    default:
        break;
    }
    return r;
}

/* ----------------------------------------------------------------------------------------------- branches */

/* The eight relations, after "not taken" has been turned round and </≤ have been swapped into >/≥. */
enum relation { EQ, NE, UGT, UGE, SGT, SGE, ANY_BIT, NO_BIT };

static void assume_ne(struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    u64 c = b->umin;
    s64 sc = tn_width_sext(c, bits);
    bool one = b->umin == b->umax;

    /* A word of one value becomes one of none: both ends pass each other. */
    a->umin = TN_PICK(one & (a->umin == c) & (c != tn_width_mask(bits)), c + 1, a->umin);
    a->umax = TN_PICK(one & (a->umax == c) & (c != 0), c - 1, a->umax);
    a->smin = TN_PICK(one & (a->smin == sc) & (sc != tn_width_smax(bits)), sc + 1, a->smin);
    a->smax = TN_PICK(one & (a->smax == sc) & (sc != tn_width_smin(bits)), sc - 1, a->smax);
}

/* a has at least one bit in common with b: of use when b is a single bit. */
static void assume_any_bit(struct tn_word *a, const struct tn_word *b)
{
    u64 bit = b->t.value;
    bool single = (b->t.mask == 0) & (bit != 0) & ((bit & (bit - 1)) == 0) & ((a->t.mask & bit) != 0);

    a->t.value = TN_PICK(single, a->t.value | bit, a->t.value);
    a->t.mask = TN_PICK(single, a->t.mask & ~bit, a->t.mask);
}

static bool assume(enum relation rel, struct tn_word *a, struct tn_word *b, unsigned bits)
{
    s64 most, least;
    struct tn_word before = *a;

    switch (rel) {
    case EQ:
        if (!tn_tnum_intersect(a->t, b->t, &a->t))
            return false;
        tn_word_clamp_u(a, b->umin, b->umax);
        tn_word_clamp_s(a, b->smin, b->smax);
        *b = *a;
        break;
    case NE:
        if ((a->umin == a->umax) & (b->umin == b->umax) & (a->umin == b->umin))
            return false;
        assume_ne(a, b, bits);
        assume_ne(b, &before, bits);
        break;
    case UGT:
        if ((b->umin == tn_width_mask(bits)) | (a->umax == 0))
            return false;
        tn_word_clamp_u(a, b->umin + 1, tn_width_mask(bits));
        tn_word_clamp_u(b, 0, a->umax - 1);
        break;
    case UGE:
        tn_word_clamp_u(a, b->umin, tn_width_mask(bits));
        tn_word_clamp_u(b, 0, a->umax);
        break;
    case SGT:
        most = tn_width_smax(bits);
        least = tn_width_smin(bits);
        if ((b->smin == most) | (a->smax == least))
            return false;
        tn_word_clamp_s(a, b->smin + 1, tn_width_smax(bits));
        tn_word_clamp_s(b, tn_width_smin(bits), a->smax - 1);
        break;
    case SGE:
        tn_word_clamp_s(a, b->smin, tn_width_smax(bits));
        tn_word_clamp_s(b, tn_width_smin(bits), a->smax);
        break;
    case ANY_BIT:
        if (((a->t.value | a->t.mask) & (b->t.value | b->t.mask)) == 0)
            return false;
        assume_any_bit(a, b);
        assume_any_bit(b, &before);
        break;
    case NO_BIT:
        if ((a->t.value & b->t.value) != 0)
            return false;
        a->t.mask &= ~b->t.value;
        b->t.mask &= ~before.t.value;
        break;
    }
    return true;
}

bool tn_word_assume(u8 op, bool taken, struct tn_word *a, struct tn_word *b, unsigned bits)
{
    switch (op) {
    case BPF_JEQ:
        return assume(taken ? EQ : NE, a, b, bits);
    case BPF_JNE:
        return assume(taken ? NE : EQ, a, b, bits);
    case BPF_JGT:
        return taken ? assume(UGT, a, b, bits) : assume(UGE, b, a, bits);
    case BPF_JGE:
        return taken ? assume(UGE, a, b, bits) : assume(UGT, b, a, bits);
    case BPF_JLT:
        return taken ? assume(UGT, b, a, bits) : assume(UGE, a, b, bits);
    case BPF_JLE:
        return taken ? assume(UGE, b, a, bits) : assume(UGT, a, b, bits);
    case BPF_JSGT:
        return taken ? assume(SGT, a, b, bits) : assume(SGE, b, a, bits);
    case BPF_JSGE:
        return taken ? assume(SGE, a, b, bits) : assume(SGT, b, a, bits);
    case BPF_JSLT:
        return taken ? assume(SGT, b, a, bits) : assume(SGE, a, b, bits);
    case BPF_JSLE:
        return taken ? assume(SGE, b, a, bits) : assume(SGT, a, b, bits);
    case BPF_JSET:
        return assume(taken ? ANY_BIT : NO_BIT, a, b, bits);
    default:
        return true;
    }
}
