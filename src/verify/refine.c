/* SPDX-License-Identifier: MIT */
/* Refinement: what is known of a register in five ways, each sharpened by the others; see halves.h. */
#include "verify/halves.h"

/* One number from lo to hi, below the sign bit of the low half, whatever else is said of it: all five agree
 * on it. */
static bool sync_small(struct tn_range *r, u64 lo, u64 hi)
{
    if (r->smax < 0 || r->s32max < 0)
        return false;
    lo = TN_MAX(lo, r->smin < 0 ? 0 : (u64)r->smin);
    hi = TN_MIN(hi, (u64)r->smax);
    lo = TN_MAX(lo, r->u32min);
    hi = TN_MIN(hi, r->u32max);
    lo = TN_MAX(lo, r->s32min < 0 ? 0 : (u64)r->s32min);
    hi = TN_MIN(hi, (u64)r->s32max);
    if (lo > hi || !tn_tnum_ceil(r->var, lo, &lo) || lo > hi || !tn_tnum_floor(r->var, hi, BITS, &hi) ||
        !tn_tnum_intersect(r->var, tn_tnum_range(lo, hi), &r->var))
        return false;
    *r = (struct tn_range){r->var, lo, hi, (s64)lo, (s64)hi, (u32)lo, (u32)hi, (s32)lo, (s32)hi};
    return true;
}

static struct tn_span tighten(struct tn_span s, const struct halves *h, const struct halves *mirrored)
{
    u64 mask = tn_width_mask(BITS), lo, hi;

    if (!tn_span_any(s) || !member_ceil(h, s.lo, &lo) || lo > s.hi ||
        !member_ceil(mirrored, s.hi ^ mask, &hi))
        return TN_SPAN_NONE;
    return (struct tn_span){lo, hi ^ mask};
}

/* Adds the low halves of the members between two members. */
static void add_lows_of(struct tn_spans *sum, const struct halves *h, struct tn_span s)
{
    u64 first = s.lo >> HALF, last = s.hi >> HALF, next;

    if (!tn_span_any(s))
        return;
    if (first == last) {
        add_lows(sum, h, s.lo & HALF_MASK, s.hi & HALF_MASK);
    } else if (tn_tnum_ceil(h->high, first + 1, &next) && next == last) {
        add_lows(sum, h, s.lo & HALF_MASK, HALF_MASK);
        add_lows(sum, h, 0, s.hi & HALF_MASK);
    } else { /* all that there are, between the two */
        sum->pos = tn_span_hull(sum->pos, h->span.pos);
        sum->neg = tn_span_hull(sum->neg, h->span.neg);
    }
}

static bool says_nothing(const struct tn_range *r)
{
    return r->var.mask == tn_width_mask(BITS) && r->umin == 0 && r->umax == tn_width_mask(BITS) &&
           r->smin == tn_width_smin(BITS) && r->smax == tn_width_smax(BITS) && r->u32min == 0 &&
           r->u32max == HALF_MASK && r->s32min == (s32)tn_width_smin(HALF) &&
           r->s32max == (s32)tn_width_smax(HALF);
}

static bool sync_any(struct tn_range *r)
{
    struct tn_word w = whole(r), l = low(r);
    struct halves h = {tn_tnum_rsh(r->var, HALF), l.t, tn_word_spans(&l, HALF)}, mirrored;
    struct tn_spans s = tn_word_spans(&w, BITS), lows = {TN_SPAN_NONE, TN_SPAN_NONE};

    h.span.pos = tn_span_clip(h.span.pos, h.low, HALF);
    h.span.neg = tn_span_clip(h.span.neg, h.low, HALF);
    if (!tn_span_any(h.span.pos) && !tn_span_any(h.span.neg))
        return false;
    mirrored = mirror(&h);
    s.pos = tighten(s.pos, &h, &mirrored);
    s.neg = tighten(s.neg, &h, &mirrored);
    if (!tn_span_any(s.pos) && !tn_span_any(s.neg))
        return false;
    add_lows_of(&lows, &h, s.pos);
    add_lows_of(&lows, &h, s.neg);
    tn_word_set_spans(&w, s, BITS);
    tn_word_set_spans(&l, lows, HALF);
    /* All members are between these ends, so that bits in which both ends agree are known; the members stay
       the same, and with them the ends. */
    if (!tn_tnum_intersect(w.t, tn_tnum_range(w.umin, w.umax), &w.t) ||
        !tn_tnum_intersect(tn_tnum_cast(w.t, HALF), tn_tnum_range(l.umin, l.umax), &l.t))
        return false;
    put_whole(r, &w);
    put_low(r, &l);
    put_low_bits(r, l.t);
    return true;
}

/* Most registers hold small numbers, or anything: these need no halves. */
bool tn_range_sync(struct tn_range *r)
{
    u64 most = TN_MIN(r->umax, r->var.value | r->var.mask);

    if (r->smin >= 0)
        most = TN_MIN(most, (u64)r->smax);
    if (most <= HALF_MASK >> 1)
        return sync_small(r, r->umin, most);
    return says_nothing(r) || sync_any(r);
}
