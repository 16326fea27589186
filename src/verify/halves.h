/* SPDX-License-Identifier: MIT */
/*
 * A register as two words, the whole and its low half (range.h): taking it apart, putting it together, and
 * the steps of its refinement (refine.c).
 *
 * The members of a range are (high, low) with high ∈ known bits, low ∈ known bits ∩ ranges of the low half,
 * and the whole inside one of two spans. The ends of a span move inwards to members: the least member that is
 * ≥ x either has x's high half and a low half ≥ x's, or the next possible high half and the least low half
 * there is.
 *
 * They are functions of a header so that each can be proved by itself, and then be taken at its word
 * (tests/verify/smt.cc).
 */
#ifndef TN_VERIFY_HALVES_H
#define TN_VERIFY_HALVES_H

#include "verify/range.h"

#ifndef TN_RANGE_BITS
#define TN_RANGE_BITS 64u
#endif
#define BITS      TN_RANGE_BITS
#define HALF      (TN_RANGE_BITS / 2)
#define HALF_MASK ((1ull << HALF) - 1)

static inline struct tn_word whole(const struct tn_range *r)
{
    return (struct tn_word){r->var, r->umin, r->umax, r->smin, r->smax};
}

static inline struct tn_word low(const struct tn_range *r)
{
    return (struct tn_word){tn_tnum_cast(r->var, HALF), (u64)r->u32min, (u64)r->u32max, (s64)r->s32min,
                            (s64)r->s32max};
}

static inline void put_whole(struct tn_range *r, const struct tn_word *w)
{
    r->var = w->t;
    r->umin = w->umin;
    r->umax = w->umax;
    r->smin = w->smin;
    r->smax = w->smax;
}

/* Ranges alone; known bits are put where the caller knows what the upper half is. */
static inline void put_low(struct tn_range *r, const struct tn_word *w)
{
    r->u32min = (u32)w->umin;
    r->u32max = (u32)w->umax;
    r->s32min = (s32)w->smin;
    r->s32max = (s32)w->smax;
}

static inline void put_low_bits(struct tn_range *r, struct tn_tnum t)
{
    r->var.value = (r->var.value & ~HALF_MASK) | t.value;
    r->var.mask = (r->var.mask & ~HALF_MASK) | t.mask;
}

struct halves {
    struct tn_tnum high, low;
    struct tn_spans span; /* of the low half, ends being members */
};

/* Largest and smallest change places. */
static inline struct halves mirror(const struct halves *h)
{
    return (struct halves){
        {~(h->high.value | h->high.mask) & HALF_MASK, h->high.mask},
        {~(h->low.value | h->low.mask) & HALF_MASK, h->low.mask},
        {{h->span.neg.hi ^ HALF_MASK, h->span.neg.lo ^ HALF_MASK},
         {h->span.pos.hi ^ HALF_MASK, h->span.pos.lo ^ HALF_MASK}},
    };
}

/* The least possible low half that is ≥ x. */
static inline bool low_ceil(const struct halves *h, u64 x, u64 *ret)
{
    const struct tn_span *s = &h->span.pos;

    if (!tn_span_any(*s) || x > s->hi)
        s = &h->span.neg;
    if (!tn_span_any(*s) || x > s->hi)
        return false;
    return tn_tnum_ceil(h->low, TN_PICK(x > s->lo, x, s->lo), ret);
}

static inline bool member_ceil(const struct halves *h, u64 x, u64 *ret)
{
    u64 top = x >> HALF, high, rest;

    if (!tn_tnum_ceil(h->high, top, &high))
        return false;
    if (high == top) {
        if (low_ceil(h, x & HALF_MASK, &rest)) {
            *ret = high << HALF | rest;
            return true;
        }
        if (top == HALF_MASK || !tn_tnum_ceil(h->high, top + 1, &high))
            return false;
    }
    *ret = high << HALF | TN_PICK(tn_span_any(h->span.pos), h->span.pos.lo, h->span.neg.lo);
    return true;
}

/* Adds to `sum` the possible low halves in [lo, hi]. */
static inline void add_lows(struct tn_spans *sum, const struct halves *h, u64 lo, u64 hi)
{
    struct tn_span pos = {TN_MAX(lo, h->span.pos.lo), TN_MIN(hi, h->span.pos.hi)};
    struct tn_span neg = {TN_MAX(lo, h->span.neg.lo), TN_MIN(hi, h->span.neg.hi)};

    if (tn_span_any(h->span.pos))
        sum->pos = tn_span_hull(sum->pos, tn_span_clip(pos, h->low, HALF));
    if (tn_span_any(h->span.neg))
        sum->neg = tn_span_hull(sum->neg, tn_span_clip(neg, h->low, HALF));
}

#endif
