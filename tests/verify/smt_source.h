/* SPDX-License-Identifier: MIT */
/*
 * The sources of the number domain, over terms, with a seam between each function and those that call it: a
 * caller either gets the function itself, or, where the goal at hand says so, a result of which nothing is
 * known but what was promised of it (and which is a goal of its own). So a proof of a large function is one
 * about its own lines.
 *
 * A promise speaks of the numbers that must not be lost, which the goal names: watch({x, …}).
 */
#ifndef TESTS_VERIFY_SMT_SOURCE_H
#define TESTS_VERIFY_SMT_SOURCE_H

#include "tests/verify/smt_terms.h"

#include "tests/verify/arith.h"

/* --------------------------------------------------------------------------------------- the present goal */

static struct {
    std::set<std::string> at_word;                      /* functions whose promise is taken for them */
    std::set<std::string> leans;                        /* on which promises, with their width */
    std::vector<const char *> tactics;                  /* of the solver, one after the other */
    std::vector<u64> watched;                           /* numbers not to be lost */
    std::map<std::string, std::vector<u64>> watched_by; /* where a function's promise is about others */
    std::vector<std::array<u64, 4>> ops; /* x, y, x op y of the whole register, of its low half */
} goal;

static u64 fresh(const char *name, unsigned bits = 64)
{
    u64 v(smt.bv_const((name + std::to_string(now->names++)).c_str(), 64));

    if (bits < 64)
        now->add((v <= tn_width_mask(bits)).e);
    return v;
}

static truth fresh_truth(const char *name)
{
    return truth(smt.bool_const((name + std::to_string(now->names++)).c_str()));
}

static s64 fresh_signed(const char *name, unsigned bits)
{
    return tn_width_sext(fresh(name, bits), bits);
}

static void assume_that(const truth &t)
{
    now->add(t.e);
}

static truth implies(const truth &a, const truth &b)
{
    return truth(z3::implies(a.e, b.e));
}

static void lean(const std::string &name, unsigned bits)
{
    goal.leans.insert(name + ", " + std::to_string(bits) + " bits");
}

/* Proves both ways by themselves. */
static void split(const truth &t)
{
    now->decide(t.e);
}

static void by(const char *tactic)
{
    goal.tactics = {tactic};
}

static void at_word(std::set<std::string> names)
{
    goal.at_word = names;
}

static void watch(std::vector<u64> numbers)
{
    goal.watched = numbers;
}

static void watch_in(const char *name, std::vector<u64> numbers)
{
    goal.watched_by[name] = numbers;
}

static const std::vector<u64> &watched(const char *name)
{
    return goal.watched_by.count(name) ? goal.watched_by[name] : goal.watched;
}

static int promised(const char *name, unsigned bits)
{
    if (!goal.at_word.count(name))
        return 0;
    lean(name, bits);
    return 1;
}

/* -------------------------------------------------------------------------------------------- known bits */

#define tn_tnum_ceil  real_ceil
#define tn_tnum_floor real_floor
#define tn_tnum_range real_tnum_range
#define tn_tnum_add   real_add
#define tn_tnum_sub   real_sub
#define tn_tnum_mul   real_mul
#include "verify/tnum.h"

#include "verify/tnum.c"
#undef tn_tnum_ceil
#undef tn_tnum_floor
#undef tn_tnum_range
#undef tn_tnum_add
#undef tn_tnum_sub
#undef tn_tnum_mul

static struct tn_tnum fresh_tnum(unsigned bits)
{
    struct tn_tnum t = {fresh("value", bits), fresh("mask", bits)};

    assume_that((t.value & t.mask) == 0);
    return t;
}

/* The least member from x on. */
static truth tn_tnum_ceil(struct tn_tnum t, u64 x, u64 *ret)
{
    if (!promised("tn_tnum_ceil", 64))
        return real_ceil(t, x, ret);
    *ret = fresh("ceil");
    truth found = fresh_truth("found");

    assume_that(implies(found, tn_tnum_contains(t, *ret) & (*ret >= x)));
    for (const u64 &w : watched("tn_tnum_ceil"))
        assume_that(implies(tn_tnum_contains(t, w) & (w >= x), found & (*ret <= w)));
    return found;
}

static truth tn_tnum_floor(struct tn_tnum t, u64 x, unsigned bits, u64 *ret)
{
    if (!promised("tn_tnum_floor", bits))
        return real_floor(t, x, bits, ret);
    *ret = fresh("floor");
    truth found = fresh_truth("found");

    assume_that(implies(found, tn_tnum_contains(t, *ret) & (*ret <= x)));
    for (const u64 &w : watched("tn_tnum_floor"))
        assume_that(implies(tn_tnum_contains(t, w) & (w <= x), found & (*ret >= w)));
    return found;
}

static struct tn_tnum tn_tnum_range(u64 min, u64 max)
{
    if (!promised("tn_tnum_range", 64))
        return real_tnum_range(min, max);
    struct tn_tnum t = fresh_tnum(64);

    for (const u64 &w : watched("tn_tnum_range"))
        assume_that(implies((min <= w) & (w <= max), tn_tnum_contains(t, w)));
    return t;
}

#define SMT_TNUM_OP(name, op)                                                                                \
    static struct tn_tnum tn_tnum_##name(struct tn_tnum a, struct tn_tnum b)                                 \
    {                                                                                                        \
        if (!promised("tn_tnum_" #name, 64))                                                                 \
            return real_##name(a, b);                                                                        \
        struct tn_tnum t = fresh_tnum(64);                                                                   \
                                                                                                             \
        for (const auto &o : goal.ops)                                                                       \
            assume_that(implies(tn_tnum_contains(a, o[0]) & tn_tnum_contains(b, o[1]),                       \
                                tn_tnum_contains(t, o[0] op o[1])));                                         \
        return t;                                                                                            \
    }
SMT_TNUM_OP(add, +)
SMT_TNUM_OP(sub, -)
SMT_TNUM_OP(mul, *)

/* -------------------------------------------------------------------------------------------- words */

#define HALF 32u

#define tn_word_spans        real_spans
#define tn_word_set_spans    real_set_spans
#define tn_span_clip         real_clip
#define tn_span_hull         real_hull
#define tn_word_clamp_circle real_clamp_circle
#define tn_word_sync         real_word_sync
#define tn_word_alu          real_word_alu
#define tn_word_assume       real_word_assume
#include "verify/word.h"
#undef tn_word_spans
#undef tn_word_set_spans
#undef tn_span_clip
#undef tn_span_hull
#undef tn_word_clamp_circle

static truth in_span(struct tn_span s, u64 x)
{
    return (s.lo <= x) & (x <= s.hi);
}

static truth in_spans(struct tn_spans s, u64 x)
{
    return in_span(s.pos, x) | in_span(s.neg, x);
}

/* Empty, or on one side of the sign bit. */
static truth below_sign(struct tn_span s, unsigned bits)
{
    return (s.lo > s.hi) | (s.hi < 1ull << (bits - 1));
}

static truth from_sign(struct tn_span s, unsigned bits)
{
    return (s.lo > s.hi) | ((s.lo >= 1ull << (bits - 1)) & (s.hi <= tn_width_mask(bits)));
}

static truth on_their_sides(struct tn_spans s, unsigned bits)
{
    return below_sign(s.pos, bits) & from_sign(s.neg, bits);
}

static struct tn_span fresh_span(unsigned bits)
{
    return (struct tn_span){fresh("lo", bits), fresh("hi", bits)};
}

static struct tn_spans fresh_spans(unsigned bits)
{
    struct tn_spans s = {fresh_span(bits), fresh_span(bits)};

    assume_that(on_their_sides(s, bits));
    return s;
}

/* The ranges of a word, whatever they say, in its width. */
static void forget_ranges(struct tn_word *w, unsigned bits)
{
    w->umin = fresh("umin", bits);
    w->umax = fresh("umax", bits);
    w->smin = fresh_signed("smin", bits);
    w->smax = fresh_signed("smax", bits);
}

static truth in_ranges(const struct tn_word *w, u64 x, unsigned bits)
{
    s64 s = tn_width_sext(x, bits);

    return (x >= w->umin) & (x <= w->umax) & (s >= w->smin) & (s <= w->smax);
}

static struct tn_spans tn_word_spans(const struct tn_word *w, unsigned bits)
{
    if (!promised("tn_word_spans", bits))
        return real_spans(w, bits);
    struct tn_spans s = fresh_spans(bits);

    for (const u64 &x : watched("tn_word_spans"))
        assume_that(implies((x <= tn_width_mask(bits)) & in_ranges(w, x, bits), in_spans(s, x)));
    return s;
}

static void tn_word_set_spans(struct tn_word *w, struct tn_spans s, unsigned bits)
{
    if (!promised("tn_word_set_spans", bits))
        return real_set_spans(w, s, bits);
    forget_ranges(w, bits);
    for (const u64 &x : watched("tn_word_set_spans"))
        assume_that(implies(on_their_sides(s, bits) & in_spans(s, x), in_ranges(w, x, bits)));
}

static struct tn_span tn_span_clip(struct tn_span s, struct tn_tnum t, unsigned bits)
{
    if (!promised("tn_span_clip", bits))
        return real_clip(s, t, bits);
    struct tn_span r = fresh_span(bits);

    assume_that((r.lo > r.hi) | ((r.lo >= s.lo) & (r.hi <= s.hi)));
    for (const u64 &x : watched("tn_span_clip"))
        assume_that(
            implies((x <= tn_width_mask(bits)) & in_span(s, x) & tn_tnum_contains(t, x), in_span(r, x)));
    return r;
}

static struct tn_span tn_span_hull(struct tn_span a, struct tn_span b)
{
    if (!promised("tn_span_hull", HALF))
        return real_hull(a, b);
    struct tn_span r = fresh_span(HALF);

    assume_that(implies(below_sign(a, HALF) & below_sign(b, HALF), below_sign(r, HALF)));
    assume_that(implies(from_sign(a, HALF) & from_sign(b, HALF), from_sign(r, HALF)));
    for (const u64 &x : watched("tn_span_hull"))
        assume_that(implies(in_span(a, x) | in_span(b, x), in_span(r, x)));
    return r;
}

static void tn_word_clamp_circle(struct tn_word *w, u64 lo, u64 hi, unsigned bits)
{
    if (!promised("tn_word_clamp_circle", bits))
        return real_clamp_circle(w, lo, hi, bits);
    struct tn_word before = *w;

    forget_ranges(w, bits);
    for (const u64 &x : watched("tn_word_clamp_circle"))
        assume_that(implies((x <= tn_width_mask(bits)) & (hi - lo <= tn_width_mask(bits)) &
                                (tn_width_trunc(x - lo, bits) <= hi - lo) & in_ranges(&before, x, bits),
                            in_ranges(w, x, bits)));
}

#undef HALF
#include "verify/word.c"
#undef tn_word_sync
#undef tn_word_alu
#undef tn_word_assume

static truth tn_word_sync(struct tn_word *w, unsigned bits)
{
    if (!promised("tn_word_sync", bits))
        return real_word_sync(w, bits);
    struct tn_word before = *w;
    truth alive = fresh_truth("alive");

    w->t = fresh_tnum(bits);
    forget_ranges(w, bits);
    for (const u64 &x : watched("tn_word_sync"))
        assume_that(implies((x <= tn_width_mask(bits)) & tn_word_contains(&before, x, bits),
                            alive & tn_word_contains(w, x, bits)));
    return alive;
}

static struct tn_word tn_word_alu(u8 op, truth is_signed, const struct tn_word *a, const struct tn_word *b,
                                  unsigned bits, unsigned modulus)
{
    auto of_signed = is_signed.e.is_true();
    std::string name = "tn_word_alu";

    if (!goal.at_word.count(name))
        return real_word_alu(op, is_signed, a, b, bits, modulus);
    for (const struct arith_op &o : arith_ops)
        if (o.op == op && (o.off != 0) == of_signed)
            lean(name + " " + o.name, bits);
    struct tn_word r;

    r.t = fresh_tnum(bits);
    forget_ranges(&r, bits);
    for (const auto &o : goal.ops)
        assume_that(implies(tn_word_contains(a, o[0], bits) & tn_word_contains(b, o[1], bits),
                            tn_word_contains(&r, bits == 64 ? o[2] : o[3], bits)));
    return r;
}

static truth tn_word_assume(u8 op, truth taken, struct tn_word *a, struct tn_word *b, unsigned bits)
{
    if (!promised("tn_word_assume", bits))
        return real_word_assume(op, taken, a, b, bits);
    struct tn_word p = *a, q = *b;
    truth may = fresh_truth("may");

    a->t = fresh_tnum(bits);
    b->t = fresh_tnum(bits);
    forget_ranges(a, bits);
    forget_ranges(b, bits);
    for (const auto &o : goal.ops) {
        u64 x = tn_width_trunc(o[0], bits), y = tn_width_trunc(o[1], bits);

        assume_that(implies(truth(arith_jump(op, x, y, bits).e == taken.e) & tn_word_contains(&p, x, bits) &
                                tn_word_contains(&q, y, bits),
                            may & tn_word_contains(a, x, bits) & tn_word_contains(b, y, bits)));
    }
    return may;
}

/* -------------------------------------------------------------------------------------------- registers */

#define member_ceil   real_member_ceil
#define add_lows      real_add_lows
#define tn_range_sync real_range_sync
#include "verify/halves.h"
#undef member_ceil
#undef add_lows

/* x is made of such halves. */
static truth of_halves(const struct halves *h, u64 x)
{
    return tn_tnum_contains(h->high, x >> HALF) & tn_tnum_contains(h->low, x & HALF_MASK) &
           in_spans(h->span, x & HALF_MASK);
}

static truth member_ceil(const struct halves *h, u64 x, u64 *ret)
{
    if (!promised("member_ceil", BITS))
        return real_member_ceil(h, x, ret);
    *ret = fresh("member");
    truth found = fresh_truth("found");

    assume_that(implies(found, *ret >= x));
    for (const u64 &w : watched("member_ceil"))
        assume_that(implies(of_halves(h, w) & (w >= x), found & (*ret <= w)));
    return found;
}

static void add_lows(struct tn_spans *sum, const struct halves *h, u64 lo, u64 hi)
{
    if (!promised("add_lows", HALF))
        return real_add_lows(sum, h, lo, hi);
    struct tn_spans before = *sum;

    *sum = (struct tn_spans){fresh_span(HALF), fresh_span(HALF)};
    assume_that(
        implies(on_their_sides(before, HALF) & on_their_sides(h->span, HALF), on_their_sides(*sum, HALF)));
    for (const u64 &x : watched("add_lows"))
        assume_that(implies(in_spans(before, x) |
                                (tn_tnum_contains(h->low, x) & in_spans(h->span, x) & (lo <= x) & (x <= hi)),
                            in_spans(*sum, x)));
}

static truth in_range(const struct tn_range *r, u64 x)
{
    struct tn_word w = whole(r), l = low(r);

    return tn_word_contains(&w, x, BITS) & tn_word_contains(&l, x, HALF);
}

static struct tn_range fresh_range(void)
{
    struct tn_range r;

    r.var = fresh_tnum(64);
    r.umin = fresh("umin");
    r.umax = fresh("umax");
    r.smin = s64(fresh("smin"));
    r.smax = s64(fresh("smax"));
    r.u32min = u32(fresh("u32min"));
    r.u32max = u32(fresh("u32max"));
    r.s32min = s32(fresh("s32min"));
    r.s32max = s32(fresh("s32max"));
    return r;
}

#include "verify/refine.c"
#undef tn_range_sync

static truth tn_range_sync(struct tn_range *r)
{
    if (!promised("tn_range_sync", BITS))
        return real_range_sync(r);
    struct tn_range before = *r;
    truth alive = fresh_truth("alive");

    *r = fresh_range();
    for (const u64 &x : watched("tn_range_sync"))
        assume_that(implies(in_range(&before, x), alive & in_range(r, x)));
    return alive;
}

#include "verify/range.c"
#undef BITS
#undef HALF
#undef bool

#endif
