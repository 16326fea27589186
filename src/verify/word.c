/* SPDX-License-Identifier: MIT */
/* The number domain at any width; see word.h. */
#include "verify/word.h"

#include <linux/bpf.h>

struct tn_word tn_word_any(unsigned bits)
{
    return (struct tn_word){tn_tnum_unknown(bits), 0, tn_width_mask(bits), tn_width_smin(bits),
                            tn_width_smax(bits)};
}

struct tn_word tn_word_const(u64 value, unsigned bits)
{
    u64 u = tn_width_trunc(value, bits);
    s64 s = tn_width_sext(value, bits);

    return (struct tn_word){tn_tnum_const(u), u, u, s, s};
}

bool tn_word_contains(const struct tn_word *w, u64 x, unsigned bits)
{
    s64 s = tn_width_sext(x, bits);

    x = tn_width_trunc(x, bits);
    return tn_tnum_contains(w->t, x) && x >= w->umin && x <= w->umax && s >= w->smin && s <= w->smax;
}

static void clamp_u(struct tn_word *w, u64 min, u64 max)
{
    w->umin = TN_MAX(w->umin, min);
    w->umax = TN_MIN(w->umax, max);
}

static void clamp_s(struct tn_word *w, s64 min, s64 max)
{
    w->smin = TN_MAX(w->smin, min);
    w->smax = TN_MIN(w->smax, max);
}

/* One round: known bits → both ranges, unsigned ↔ signed, unsigned range → known bits. */
static bool sync_once(struct tn_word *w, unsigned bits)
{
    u64 sign = 1ull << (bits - 1);
    u64 neg_min, pos_max;

    clamp_u(w, w->t.value, w->t.value | w->t.mask);
    clamp_s(w, tn_width_sext(w->t.value | (w->t.mask & sign), bits),
            tn_width_sext(w->t.value | (w->t.mask & ~sign), bits));
    if (w->umin > w->umax || w->smin > w->smax)
        return false;

    /* An unsigned range on one side of the sign bit is a signed range, and the other way round. */
    if ((w->umin & sign) == (w->umax & sign))
        clamp_s(w, tn_width_sext(w->umin, bits), tn_width_sext(w->umax, bits));
    if ((w->smin < 0) == (w->smax < 0)) {
        clamp_u(w, tn_width_trunc((u64)w->smin, bits), tn_width_trunc((u64)w->smax, bits));
    } else {
        /* Signed values around zero are two unsigned ranges, [0, smax] and [smin as unsigned, all ones]; an
           unsigned range that misses one of them lies in the other. */
        neg_min = tn_width_trunc((u64)w->smin, bits);
        pos_max = (u64)w->smax;
        if (w->umin > pos_max)
            clamp_u(w, neg_min, tn_width_mask(bits));
        if (w->umax < neg_min)
            clamp_u(w, 0, pos_max);
    }
    if (w->umin > w->umax || w->smin > w->smax)
        return false;
    return tn_tnum_intersect(w->t, tn_tnum_range(w->umin, w->umax), &w->t);
}

bool tn_word_sync(struct tn_word *w, unsigned bits)
{
    struct tn_word before;

    /* Each round only shrinks, and a fixed point comes after very few; the bound is for the reader's peace.
     */
    for (int round = 0; round < 4; round++) {
        before = *w;
        if (!sync_once(w, bits))
            return false;
        if (!memcmp(&before, w, sizeof(before)))
            break;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ arithmetic
 */

static bool fits_s(__int128 x, unsigned bits)
{
    return x >= tn_width_smin(bits) && x <= tn_width_smax(bits);
}

/* Ranges keep their ends when no member can wrap; sums of two wrapping ends are given up. */
static void set_s(struct tn_word *r, __int128 min, __int128 max, unsigned bits)
{
    if (!fits_s(min, bits) || !fits_s(max, bits))
        return;
    r->smin = (s64)min;
    r->smax = (s64)max;
}

static void set_u(struct tn_word *r, __int128 min, __int128 max, unsigned bits)
{
    __int128 modulus = (__int128)1 << bits;

    /* Both ends wrap by the same multiple of the modulus (0, +1, −1): the order is kept. */
    if (min >= modulus && max < 2 * modulus) {
        min -= modulus;
        max -= modulus;
    } else if (max < 0) {
        min += modulus;
        max += modulus;
    }
    if (min < 0 || max >= modulus)
        return;
    r->umin = (u64)min;
    r->umax = (u64)max;
}

static void mul_bounds(struct tn_word *r, const struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    unsigned __int128 umax = (unsigned __int128)a->umax * b->umax;
    __int128 corner[4] = {
        (__int128)a->smin * b->smin,
        (__int128)a->smin * b->smax,
        (__int128)a->smax * b->smin,
        (__int128)a->smax * b->smax,
    };
    __int128 min = corner[0], max = corner[0];

    if (umax <= tn_width_mask(bits)) {
        r->umin = a->umin * b->umin;
        r->umax = (u64)umax;
    }
    for (int i = 1; i < 4; i++) {
        min = TN_MIN(min, corner[i]);
        max = TN_MAX(max, corner[i]);
    }
    set_s(r, min, max, bits);
}

static void shift_bounds(u8 op, struct tn_word *r, const struct tn_word *a, unsigned shift, unsigned bits)
{
    switch (op) {
    case BPF_LSH:
        if (a->umax <= tn_width_mask(bits) >> shift) {
            r->umin = a->umin << shift;
            r->umax = a->umax << shift;
        }
        set_s(r, (__int128)a->smin * ((__int128)1 << shift), (__int128)a->smax * ((__int128)1 << shift),
              bits);
        r->t = tn_tnum_cast(tn_tnum_lsh(a->t, shift), bits);
        break;
    case BPF_RSH:
        r->umin = a->umin >> shift;
        r->umax = a->umax >> shift;
        r->t = tn_tnum_rsh(a->t, shift);
        break;
    default:
        r->smin = a->smin >> shift;
        r->smax = a->smax >> shift;
        r->t = tn_tnum_arsh(a->t, shift, bits);
        break;
    }
}

struct tn_word tn_word_alu(u8 op, const struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    struct tn_word r = tn_word_any(bits);

    switch (op) {
    case BPF_ADD:
        set_u(&r, (__int128)a->umin + b->umin, (__int128)a->umax + b->umax, bits);
        set_s(&r, (__int128)a->smin + b->smin, (__int128)a->smax + b->smax, bits);
        r.t = tn_tnum_cast(tn_tnum_add(a->t, b->t), bits);
        break;
    case BPF_SUB:
        set_u(&r, (__int128)a->umin - b->umax, (__int128)a->umax - b->umin, bits);
        set_s(&r, (__int128)a->smin - b->smax, (__int128)a->smax - b->smin, bits);
        r.t = tn_tnum_cast(tn_tnum_sub(a->t, b->t), bits);
        break;
    case BPF_MUL:
        mul_bounds(&r, a, b, bits);
        r.t = tn_tnum_cast(tn_tnum_mul(a->t, b->t), bits);
        break;
    case BPF_AND:
        r.t = tn_tnum_and(a->t, b->t);
        r.umax = TN_MIN(a->umax, b->umax);
        break;
    case BPF_OR:
        r.t = tn_tnum_or(a->t, b->t);
        r.umin = TN_MAX(a->umin, b->umin);
        break;
    case BPF_XOR:
        r.t = tn_tnum_xor(a->t, b->t);
        break;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        if (b->umin == b->umax && b->umax < bits)
            shift_bounds(op, &r, a, (unsigned)b->umax, bits);
        break;
    default:
        break;
    }
    if (!tn_word_sync(&r, bits))
        r = tn_word_any(bits); /* only from operands that stand for nothing */
    return r;
}

/* -------------------------------------------------------------------------------------------------- branches
 */

/* The eight relations, after "not taken" has been turned round and </≤ have been swapped into >/≥. */
enum relation { EQ, NE, UGT, UGE, SGT, SGE, ANY_BIT, NO_BIT };

static bool assume_ne(struct tn_word *a, const struct tn_word *b, unsigned bits)
{
    u64 c = b->umin;
    s64 sc = tn_width_sext(c, bits);

    if (b->umin != b->umax)
        return true;
    if (a->umin == a->umax && a->umin == c)
        return false;
    a->umin += a->umin == c;
    a->umax -= a->umax == c;
    a->smin += a->smin == sc;
    a->smax -= a->smax == sc;
    return true;
}

/* a has at least one bit in common with b: of use when b is a single bit. */
static void assume_any_bit(struct tn_word *a, const struct tn_word *b)
{
    u64 bit = b->t.value;

    if (tn_tnum_is_const(b->t) && bit && !(bit & (bit - 1)) && (a->t.mask & bit)) {
        a->t.value |= bit;
        a->t.mask &= ~bit;
    }
}

static bool assume(enum relation rel, struct tn_word *a, struct tn_word *b, unsigned bits)
{
    switch (rel) {
    case EQ:
        if (!tn_tnum_intersect(a->t, b->t, &a->t))
            return false;
        clamp_u(a, b->umin, b->umax);
        clamp_s(a, b->smin, b->smax);
        if (!tn_word_sync(a, bits))
            return false;
        *b = *a;
        return true;
    case NE: {
        struct tn_word before = *a;

        if (!assume_ne(a, b, bits) || !assume_ne(b, &before, bits))
            return false;
        break;
    }
    case UGT:
        if (b->umin == tn_width_mask(bits) || a->umax == 0)
            return false;
        clamp_u(a, b->umin + 1, tn_width_mask(bits));
        clamp_u(b, 0, a->umax - 1);
        break;
    case UGE:
        clamp_u(a, b->umin, tn_width_mask(bits));
        clamp_u(b, 0, a->umax);
        break;
    case SGT:
        if (b->smin == tn_width_smax(bits) || a->smax == tn_width_smin(bits))
            return false;
        clamp_s(a, b->smin + 1, tn_width_smax(bits));
        clamp_s(b, tn_width_smin(bits), a->smax - 1);
        break;
    case SGE:
        clamp_s(a, b->smin, tn_width_smax(bits));
        clamp_s(b, tn_width_smin(bits), a->smax);
        break;
    case ANY_BIT: {
        struct tn_word before = *a;

        if (!((a->t.value | a->t.mask) & (b->t.value | b->t.mask)))
            return false;
        assume_any_bit(a, b);
        assume_any_bit(b, &before);
        break;
    }
    case NO_BIT:
        if (a->t.value & b->t.value)
            return false;
        a->t.mask &= ~b->t.value;
        b->t.mask &= ~a->t.value;
        break;
    }
    return tn_word_sync(a, bits) && tn_word_sync(b, bits);
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
