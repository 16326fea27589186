/* SPDX-License-Identifier: MIT */
/* The register domain: two words, the whole and its low half, kept in step; see range.h. */
#include "verify/range.h"

#include <linux/bpf.h>

#ifndef TN_RANGE_BITS
#define TN_RANGE_BITS 64u
#endif
#define BITS      TN_RANGE_BITS
#define HALF      (TN_RANGE_BITS / 2)
#define HALF_MASK ((1ull << HALF) - 1)

static struct tn_word whole(const struct tn_range *r)
{
    return (struct tn_word){r->var, r->umin, r->umax, r->smin, r->smax};
}

static struct tn_word low(const struct tn_range *r)
{
    return (struct tn_word){tn_tnum_cast(r->var, HALF), (u64)r->u32min, (u64)r->u32max, (s64)r->s32min,
                            (s64)r->s32max};
}

static void put_whole(struct tn_range *r, const struct tn_word *w)
{
    r->var = w->t;
    r->umin = w->umin;
    r->umax = w->umax;
    r->smin = w->smin;
    r->smax = w->smax;
}

/* Ranges alone; known bits are put where the caller knows what the upper half is. */
static void put_low(struct tn_range *r, const struct tn_word *w)
{
    r->u32min = (u32)w->umin;
    r->u32max = (u32)w->umax;
    r->s32min = (s32)w->smin;
    r->s32max = (s32)w->smax;
}

static void put_low_bits(struct tn_range *r, struct tn_tnum t)
{
    r->var.value = (r->var.value & ~HALF_MASK) | t.value;
    r->var.mask = (r->var.mask & ~HALF_MASK) | t.mask;
}

struct tn_range tn_range_any(void)
{
    struct tn_word w = tn_word_any(BITS), l = tn_word_any(HALF);
    struct tn_range r;

    put_whole(&r, &w);
    put_low(&r, &l);
    return r;
}

struct tn_range tn_range_const(u64 value)
{
    struct tn_word w = tn_word_const(value, BITS), l = tn_word_const(value, HALF);
    struct tn_range r;

    put_whole(&r, &w);
    put_low(&r, &l);
    return r;
}

struct tn_range tn_range_signed(s64 min, s64 max)
{
    struct tn_range r = tn_range_any();

    r.smin = min;
    r.smax = max;
    return tn_range_sync(&r) ? r : tn_range_any();
}

struct tn_range tn_range_unsigned(u64 min, u64 max)
{
    struct tn_range r = tn_range_any();

    r.umin = min;
    r.umax = max;
    return tn_range_sync(&r) ? r : tn_range_any();
}

bool tn_range_contains(const struct tn_range *r, u64 x)
{
    struct tn_word w = whole(r), l = low(r);

    return tn_word_contains(&w, x, BITS) && tn_word_contains(&l, x, HALF);
}

bool tn_range_includes(const struct tn_range *a, const struct tn_range *b)
{
    return a->umin <= b->umin && a->umax >= b->umax && a->smin <= b->smin && a->smax >= b->smax &&
           a->u32min <= b->u32min && a->u32max >= b->u32max && a->s32min <= b->s32min &&
           a->s32max >= b->s32max && tn_tnum_includes(a->var, b->var);
}

struct tn_range tn_range_union(const struct tn_range *a, const struct tn_range *b)
{
    return (struct tn_range){
        tn_tnum_union(a->var, b->var), TN_MIN(a->umin, b->umin),     TN_MAX(a->umax, b->umax),
        TN_MIN(a->smin, b->smin),      TN_MAX(a->smax, b->smax),     TN_MIN(a->u32min, b->u32min),
        TN_MAX(a->u32max, b->u32max),  TN_MIN(a->s32min, b->s32min), TN_MAX(a->s32max, b->s32max),
    };
}

bool tn_range_intersect(const struct tn_range *a, const struct tn_range *b, struct tn_range *ret)
{
    struct tn_range r = {
        a->var,
        TN_MAX(a->umin, b->umin),
        TN_MIN(a->umax, b->umax),
        TN_MAX(a->smin, b->smin),
        TN_MIN(a->smax, b->smax),
        TN_MAX(a->u32min, b->u32min),
        TN_MIN(a->u32max, b->u32max),
        TN_MAX(a->s32min, b->s32min),
        TN_MIN(a->s32max, b->s32max),
    };

    if (!tn_tnum_intersect(a->var, b->var, &r.var) || !tn_range_sync(&r))
        return false;
    *ret = r;
    return true;
}

/* ------------------------------------------------------------------------------------------------ refinement
 *
 * The members of a range are (high, low) with high ∈ known bits, low ∈ known bits ∩ ranges of the low half,
 * and the whole inside one of two spans. The ends of a span move inwards to members: the least member that is
 * ≥ x either has x's high half and a low half ≥ x's, or the next possible high half and the least low half
 * there is.
 */

struct halves {
    struct tn_tnum high, low;
    struct tn_spans span; /* of the low half, ends being members */
};

/* Largest and smallest change places. */
static struct halves mirror(const struct halves *h)
{
    return (struct halves){
        {~(h->high.value | h->high.mask) & HALF_MASK, h->high.mask},
        {~(h->low.value | h->low.mask) & HALF_MASK, h->low.mask},
        {{h->span.neg.hi ^ HALF_MASK, h->span.neg.lo ^ HALF_MASK},
         {h->span.pos.hi ^ HALF_MASK, h->span.pos.lo ^ HALF_MASK}},
    };
}

/* The least possible low half that is ≥ x. */
static bool low_ceil(const struct halves *h, u64 x, u64 *ret)
{
    const struct tn_span *s = &h->span.pos;

    if (!tn_span_any(*s) || x > s->hi)
        s = &h->span.neg;
    if (!tn_span_any(*s) || x > s->hi)
        return false;
    return tn_tnum_ceil(h->low, TN_PICK(x > s->lo, x, s->lo), ret);
}

static bool member_ceil(const struct halves *h, u64 x, u64 *ret)
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

static struct tn_span tighten(struct tn_span s, const struct halves *h, const struct halves *mirrored)
{
    u64 mask = tn_width_mask(BITS), lo, hi;

    if (!tn_span_any(s) || !member_ceil(h, s.lo, &lo) || lo > s.hi ||
        !member_ceil(mirrored, s.hi ^ mask, &hi))
        return TN_SPAN_NONE;
    return (struct tn_span){lo, hi ^ mask};
}

static struct tn_span hull(struct tn_span a, struct tn_span b)
{
    if (!tn_span_any(a) || !tn_span_any(b))
        return tn_span_any(a) ? a : b;
    return (struct tn_span){TN_MIN(a.lo, b.lo), TN_MAX(a.hi, b.hi)};
}

/* Adds to `sum` the possible low halves in [lo, hi]. */
static void add_lows(struct tn_spans *sum, const struct halves *h, u64 lo, u64 hi)
{
    struct tn_span pos = {TN_MAX(lo, h->span.pos.lo), TN_MIN(hi, h->span.pos.hi)};
    struct tn_span neg = {TN_MAX(lo, h->span.neg.lo), TN_MIN(hi, h->span.neg.hi)};

    if (tn_span_any(h->span.pos))
        sum->pos = hull(sum->pos, tn_span_clip(pos, h->low, HALF));
    if (tn_span_any(h->span.neg))
        sum->neg = hull(sum->neg, tn_span_clip(neg, h->low, HALF));
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
        sum->pos = hull(sum->pos, h->span.pos);
        sum->neg = hull(sum->neg, h->span.neg);
    }
}

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

/* --------------------------------------------------------------------------------------------- arithmetic */

/* The numbers from lo to hi, going upwards, cut to fewer bits: when they are not more than those bits can
   tell apart, they are still the numbers from one end to the other on the smaller circle. */
static void narrow(struct tn_word *w, u64 lo, u64 hi, unsigned bits)
{
    if (hi - lo <= tn_width_mask(bits))
        tn_word_clamp_circle(w, lo, hi, bits);
}

static struct tn_word cut(const struct tn_range *r, unsigned bits)
{
    struct tn_word w = tn_word_any(bits);

    w.t = tn_tnum_cast(r->var, bits);
    narrow(&w, r->umin, r->umax, bits);
    narrow(&w, (u64)r->smin, (u64)r->smax, bits);
    if (bits <= HALF) {
        narrow(&w, (u64)r->u32min, (u64)r->u32max, bits);
        narrow(&w, (u64)(s64)r->s32min, (u64)(s64)r->s32max, bits);
    }
    return w;
}

/* A word, zero-extended. */
static struct tn_range extend(const struct tn_word *w, unsigned bits)
{
    struct tn_range z = tn_range_any();

    z.var = w->t;
    z.umin = w->umin;
    z.umax = w->umax;
    if (bits == HALF)
        put_low(&z, w);
    return tn_range_sync(&z) ? z : tn_range_any();
}

struct tn_range tn_range_zext(const struct tn_range *r, unsigned bits)
{
    struct tn_word w;

    if (r->umax <= tn_width_mask(bits))
        return *r;
    w = cut(r, bits);
    return tn_word_sync(&w, bits) ? extend(&w, bits) : tn_range_any();
}

struct tn_range tn_range_sext(const struct tn_range *r, unsigned bits)
{
    struct tn_range z = tn_range_any();
    struct tn_word w;

    if (r->smin >= tn_width_smin(bits) && r->smax <= tn_width_smax(bits))
        return *r;
    w = cut(r, bits);
    if (!tn_word_sync(&w, bits))
        return z;
    /* An unknown sign smears through the mask. */
    z.var.mask = tn_width_trunc((u64)tn_width_sext(w.t.mask, bits), BITS);
    z.var.value = tn_width_trunc((u64)tn_width_sext(w.t.value, bits), BITS) & ~z.var.mask;
    z.smin = w.smin;
    z.smax = w.smax;
    if (bits == HALF)
        put_low(&z, &w);
    return tn_range_sync(&z) ? z : tn_range_any();
}

struct tn_range tn_range_bswap(const struct tn_range *r, unsigned bits)
{
    struct tn_range z = tn_range_any();

    z.var = tn_tnum_bswap(r->var, bits);
    return tn_range_sync(&z) ? z : tn_range_any();
}

/* The low half of the result depends on the low halves of the operands alone. */
static bool low_closed(u8 op)
{
    return op == BPF_ADD || op == BPF_SUB || op == BPF_MUL || op == BPF_AND || op == BPF_OR ||
           op == BPF_XOR || op == BPF_LSH;
}

/* What compilers leave to be computed: addresses and counters. */
static bool const_alu(u8 op, bool is64, u64 a, u64 b, u64 *ret)
{
    u64 r;

    switch (op) {
    case BPF_ADD:
        r = a + b;
        break;
    case BPF_SUB:
        r = a - b;
        break;
    case BPF_AND:
        r = a & b;
        break;
    case BPF_OR:
        r = a | b;
        break;
    case BPF_MUL:
        r = a * b;
        break;
    default:
        return false;
    }
    *ret = tn_width_trunc(r, is64 ? BITS : HALF);
    return true;
}

static struct tn_range alu(u8 op, bool is64, bool is_signed, const struct tn_range *a,
                           const struct tn_range *b)
{
    struct tn_range r = tn_range_any();
    u64 known;
    struct tn_word wa, wb, la = low(a), lb = low(b), w, l;

    if (tn_range_is_const(a) && tn_range_is_const(b) && const_alu(op, is64, a->umin, b->umin, &known))
        return tn_range_const(known);
    if (!is64) {
        l = tn_word_alu(op, is_signed, &la, &lb, HALF, HALF);
        return tn_word_sync(&l, HALF) ? extend(&l, HALF) : tn_range_any();
    }
    wa = whole(a);
    wb = whole(b);
    w = tn_word_alu(op, is_signed, &wa, &wb, BITS, BITS);
    put_whole(&r, &w);
    /* (Small operands' low halves say what the wholes say, and so do the results'.) */
    if (low_closed(op) && (a->umax > HALF_MASK >> 1 || b->umax > HALF_MASK >> 1)) {
        l = tn_word_alu(op, is_signed, &la, &lb, HALF, BITS);
        put_low(&r, &l);
        if (!tn_tnum_intersect(tn_tnum_cast(r.var, HALF), l.t, &l.t))
            return tn_range_any();
        put_low_bits(&r, l.t);
    }
    return tn_range_sync(&r) ? r : tn_range_any();
}

struct tn_range tn_range_alu(u8 op, bool is64, const struct tn_range *a, const struct tn_range *b)
{
    return alu(op, is64, false, a, b);
}

struct tn_range tn_range_sdiv(u8 op, bool is64, const struct tn_range *a, const struct tn_range *b)
{
    return alu(op, is64, true, a, b);
}

struct tn_range tn_range_neg(bool is64, const struct tn_range *r)
{
    struct tn_range zero = tn_range_const(0);

    return alu(BPF_SUB, is64, false, &zero, r);
}

bool tn_range_assume(u8 op, bool is64, bool taken, struct tn_range *dst, struct tn_range *src)
{
    bool equal = (op == BPF_JEQ && taken) || (op == BPF_JNE && !taken);
    struct tn_word a, b;

    if (is64 && equal) {
        struct tn_range both;

        if (!tn_range_intersect(dst, src, &both))
            return false;
        *dst = *src = both;
        return true;
    }
    a = is64 ? whole(dst) : low(dst);
    b = is64 ? whole(src) : low(src);
    if (!tn_word_assume(op, taken, &a, &b, is64 ? BITS : HALF))
        return false;
    if (is64) {
        put_whole(dst, &a);
        put_whole(src, &b);
    } else {
        put_low(dst, &a);
        put_low(src, &b);
        put_low_bits(dst, a.t);
        put_low_bits(src, b.t);
    }
    return tn_range_sync(dst) && tn_range_sync(src);
}
