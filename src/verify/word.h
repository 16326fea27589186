/* SPDX-License-Identifier: MIT */
/*
 * An abstract word: what is known of a value of `bits` bits, three ways at once.
 *
 *      known bits  ∩  [umin, umax] unsigned  ∩  [smin, smax] signed
 *
 * No one of the three says what the others say (x & ~7, x < 10, −3 ≤ x ≤ 3); a word stands for the
 * intersection of the three sets. Operations compute each of the three as well as they can and leave it to
 * the caller to let them sharpen each other (tn_range_sync, which knows both widths of a register;
 * tn_word_sync where there is one).
 *
 * Both ranges together are at most two spans of unsigned numbers, one on each side of the sign bit. In that
 * form the intersection is exact: a span's ends are moved inwards to the nearest members of the known bits,
 * and when none is left the word stands for nothing, which is how a branch that cannot be taken is
 * recognised.
 *
 *      0 ────────[ pos ]──────── sign bit ────[ neg ]──────── all ones
 *
 * The width is a parameter: 64 and 32 in the verifier, 3 and others in tests.
 */
#ifndef TN_VERIFY_WORD_H
#define TN_VERIFY_WORD_H

#include "verify/tnum.h"
#include "verify/width.h"

struct tn_word {
    struct tn_tnum t;
    u64 umin, umax;
    s64 smin, smax;
};

/* Unsigned numbers [lo, hi]; none when lo > hi. */
struct tn_span {
    u64 lo, hi;
};
struct tn_spans {
    struct tn_span pos, neg;
};
#define TN_SPAN_NONE ((struct tn_span){1, 0})
static inline bool tn_span_any(struct tn_span s)
{
    return s.lo <= s.hi;
}
/* The span over both. */
static inline struct tn_span tn_span_hull(struct tn_span a, struct tn_span b)
{
    if (!tn_span_any(a) || !tn_span_any(b))
        return tn_span_any(a) ? a : b;
    return (struct tn_span){TN_MIN(a.lo, b.lo), TN_MAX(a.hi, b.hi)};
}
/* The ranges of a word, without its known bits; and back: the ends that hold all of both spans, which are not
   both empty. */
static inline struct tn_spans tn_word_spans(const struct tn_word *w, unsigned bits)
{
    u64 sign = 1ull << (bits - 1), from, to;
    struct tn_spans s;

    from = TN_PICK(w->smin < 0, 0ull, (u64)w->smin);
    to = TN_PICK(w->smax < 0, 0ull, (u64)w->smax);
    s.pos.lo = TN_PICK(w->smax < 0, 1ull, TN_PICK(w->umin > from, w->umin, from));
    s.pos.hi = TN_PICK(w->smax < 0, 0ull, TN_PICK(w->umax < to, w->umax, to));
    from = TN_PICK(w->smin < 0, tn_width_trunc((u64)w->smin, bits), sign);
    to = TN_PICK(w->smax < 0, tn_width_trunc((u64)w->smax, bits), tn_width_mask(bits));
    s.neg.lo = TN_PICK(w->smin >= 0, 1ull, TN_PICK(w->umin > from, w->umin, from));
    s.neg.hi = TN_PICK(w->smin >= 0, 0ull, TN_PICK(w->umax < to, w->umax, to));
    return s;
}
static inline void tn_word_set_spans(struct tn_word *w, struct tn_spans s, unsigned bits)
{
    bool pos = tn_span_any(s.pos), neg = tn_span_any(s.neg);

    w->umin = TN_PICK(pos, s.pos.lo, s.neg.lo);
    w->umax = TN_PICK(neg, s.neg.hi, s.pos.hi);
    w->smin = tn_width_sext(TN_PICK(neg, s.neg.lo, s.pos.lo), bits);
    w->smax = tn_width_sext(TN_PICK(pos, s.pos.hi, s.neg.hi), bits);
}
/* The same members of `t`, between ends that are members. */
static inline struct tn_span tn_span_clip(struct tn_span s, struct tn_tnum t, unsigned bits)
{
    u64 lo = 0, hi = 0;

    if (!tn_span_any(s) || !tn_tnum_ceil(t, s.lo, &lo) || lo > s.hi || !tn_tnum_floor(t, s.hi, bits, &hi))
        return TN_SPAN_NONE;
    return (struct tn_span){lo, hi};
}

static inline struct tn_word tn_word_any(unsigned bits)
{
    return (struct tn_word){tn_tnum_unknown(bits), 0, tn_width_mask(bits), tn_width_smin(bits),
                            tn_width_smax(bits)};
}
static inline struct tn_word tn_word_const(u64 value, unsigned bits)
{
    u64 u = tn_width_trunc(value, bits);
    s64 s = tn_width_sext(value, bits);

    return (struct tn_word){tn_tnum_const(u), u, u, s, s};
}
static inline bool tn_word_contains(const struct tn_word *w, u64 x, unsigned bits)
{
    s64 s = tn_width_sext(x, bits);

    x = tn_width_trunc(x, bits);
    return tn_tnum_contains(w->t, x) & (x >= w->umin) & (x <= w->umax) & (s >= w->smin) & (s <= w->smax);
}
/* Exact: afterwards each of the four ends is a member, and doing it again changes nothing. False: nothing
   satisfies all three. */
bool tn_word_sync(struct tn_word *w, unsigned bits);

/* x is known to lie in [min, max] as well. */
static inline void tn_word_clamp_u(struct tn_word *w, u64 min, u64 max)
{
    w->umin = TN_PICK(w->umin < min, min, w->umin);
    w->umax = TN_PICK(w->umax > max, max, w->umax);
}
static inline void tn_word_clamp_s(struct tn_word *w, s64 min, s64 max)
{
    w->smin = TN_PICK(w->smin < min, min, w->smin);
    w->smax = TN_PICK(w->smax > max, max, w->smax);
}
/* x is known to lie on the circle of numbers between lo and hi, going upwards from lo. These numbers form a
   range, unsigned or signed, where the way does not pass the end of the numbers in that order: either may be
   lost, both may hold. */
static inline void tn_word_clamp_circle(struct tn_word *w, u64 lo, u64 hi, unsigned bits)
{
    s64 slo = tn_width_sext(lo, bits), shi = tn_width_sext(hi, bits);

    lo = tn_width_trunc(lo, bits);
    hi = tn_width_trunc(hi, bits);
    tn_word_clamp_u(w, TN_PICK(lo <= hi, lo, 0ull), TN_PICK(lo <= hi, hi, tn_width_mask(bits)));
    tn_word_clamp_s(w, TN_PICK(slo <= shi, slo, tn_width_smin(bits)),
                    TN_PICK(slo <= shi, shi, tn_width_smax(bits)));
}

/* op: BPF_ADD … BPF_ARSH, BPF_DIV and BPF_MOD of an ALU instruction; `is_signed`: of the last two. Operands
   are synced and not empty. A shift's amount is taken modulo `modulus` (a power of two ≥ bits, as the
   instruction's own width may be larger than the word's). The result is not synced. */
struct tn_word tn_word_alu(u8 op, bool is_signed, const struct tn_word *a, const struct tn_word *b,
                           unsigned bits, unsigned modulus);
/* Assumes `a op b` (op: BPF_JEQ …) to be `taken`, and sharpens both, which are not synced then. False: that
 * cannot be. */
bool tn_word_assume(u8 op, bool taken, struct tn_word *a, struct tn_word *b, unsigned bits);

#endif
