/* SPDX-License-Identifier: MIT */
/*
 * The number domain proved for all numbers: tnum, word, refine and range themselves, compiled over an SMT
 * solver's terms (smt_terms.h). Of each instruction, of each row of isa/ops.h:
 *
 *      for all a, b, and all x in a, y in b:   x op y   is in   op(a, b)
 *
 * and of each branch, both ways: numbers for which it goes that way are in what is left of their ranges. That
 * ranges become tight, and are called empty only when they are (the other direction), is counted in small.c.
 *
 * The proof goes up step by step; each step takes the ones below at their word (smt_source.h), and the report
 * says where one of these was not proved (smt_prove.h):
 *
 *      known bits, nearest members → spans → refinement of words and registers
 *      circles, shifts, products, quotients → operations of words → operations of registers → instructions
 *
 * What is not put to the solver: that a loop whose each round keeps a sum keeps it to the end (tn_tnum_mul).
 *
 *      smt           what takes half a minute
 *      smt --all     all of it
 *      smt NAME      goals whose name contains NAME
 */
#include "tests/verify/smt_prove.h"

/* Any tnum, and a member. */
static struct tn_tnum any_tnum(unsigned bits, u64 *member)
{
    struct tn_tnum t = fresh_tnum(bits);

    *member = fresh("x", bits);
    assume_that(tn_tnum_contains(t, *member));
    return t;
}

/* Any word with a member, whatever else it says. */
static struct tn_word any_word(unsigned bits, u64 *member)
{
    struct tn_word w;

    w.t = any_tnum(bits, member);
    forget_ranges(&w, bits);
    assume_that(tn_word_contains(&w, *member, bits));
    return w;
}

static struct tn_range any_range(u64 *member)
{
    struct tn_range r = fresh_range();

    *member = fresh("x");
    assume_that(in_range(&r, *member));
    return r;
}

/* --------------------------------------------------------------------------------------------- known bits */

static void bitwise_tnums(void)
{
    using binary = struct tn_tnum (*)(struct tn_tnum, struct tn_tnum);
    static const struct {
        const char *name;
        binary fn;
        u8 op;
    } rows[] = {
        {"tn_tnum_add", tn_tnum_add, BPF_ADD}, {"tn_tnum_sub", tn_tnum_sub, BPF_SUB},
        {"tn_tnum_and", tn_tnum_and, BPF_AND}, {"tn_tnum_or", tn_tnum_or, BPF_OR},
        {"tn_tnum_xor", tn_tnum_xor, BPF_XOR},
    };

    for (const auto &row : rows)
        prove(row.name, 64, QUICK, [&] {
            u64 x, y;
            struct tn_tnum a = any_tnum(64, &x), b = any_tnum(64, &y), r = row.fn(a, b);

            return tn_tnum_contains(r, arith_alu({row.op, 0, ""}, x, y, 64, 64)) & ((r.value & r.mask) == 0);
        });
    prove("tn_tnum_intersect, union, includes", 64, QUICK, [] {
        u64 x, y;
        struct tn_tnum a = any_tnum(64, &x), b = any_tnum(64, &y), both = {0, 0};
        truth meet = tn_tnum_intersect(a, b, &both),
              either = tn_tnum_contains(tn_tnum_union(a, b), x) & tn_tnum_contains(tn_tnum_union(a, b), y);

        return either & ((!tn_tnum_contains(b, x)) | (meet & tn_tnum_contains(both, x))) &
               ((!tn_tnum_includes(a, b)) | tn_tnum_contains(a, y));
    });
    for (unsigned bits : {16u, 32u, 64u})
        prove("tn_tnum_bswap", bits, QUICK, [&] {
            u64 x;
            struct tn_tnum a = any_tnum(64, &x);

            return tn_tnum_contains(tn_tnum_bswap(a, bits), swap_bytes(x, bits));
        });
    for (unsigned bits : {32u, 64u})
        prove("tn_tnum_lsh, rsh, arsh", bits, QUICK, [&] {
            u64 x, amount = fresh("amount");
            struct tn_tnum a = any_tnum(bits, &x);

            assume_that(amount < bits);
            return tn_tnum_contains(tn_tnum_cast(tn_tnum_lsh(a, amount), bits),
                                    tn_width_trunc(x << amount, bits)) &
                   tn_tnum_contains(tn_tnum_rsh(a, amount), x >> amount) &
                   tn_tnum_contains(tn_tnum_arsh(a, amount, bits),
                                    tn_width_trunc((u64)(tn_width_sext(x, bits) >> amount), bits));
        });
}

static void nearest_members(void)
{
    prove("tn_tnum_range", 64, QUICK, [] {
        u64 a = fresh("n"), b = fresh("n"), x = fresh("n");

        assume_that((a <= x) & (x <= b));
        struct tn_tnum t = real_tnum_range(a, b);
        return tn_tnum_contains(t, x) & ((t.value & t.mask) == 0);
    });
    prove("tn_tnum_ceil: what is found is a member", 64, QUICK, [] {
        u64 x = fresh("n"), got = 0;
        struct tn_tnum t = fresh_tnum(64);

        truth found = real_ceil(t, x, &got);
        return implies(found, tn_tnum_contains(t, got) & (got >= x));
    });
    prove("tn_tnum_ceil: no member is missed", 64, QUICK, [] {
        u64 m, x = fresh("n"), got = 0;
        struct tn_tnum t = any_tnum(64, &m);

        assume_that(m >= x);
        truth found = real_ceil(t, x, &got);
        return found & (got <= m);
    });
    for (unsigned bits : {32u, 64u}) {
        prove("tn_tnum_floor: what is found is a member", bits, QUICK, [&] {
            u64 x = fresh("n", bits), got = 0;
            struct tn_tnum t = fresh_tnum(bits);

            truth found = real_floor(t, x, bits, &got);
            return implies(found, tn_tnum_contains(t, got) & (got <= x));
        });
        prove("tn_tnum_floor: no member is missed", bits, QUICK, [&] {
            u64 m, x = fresh("n", bits), got = 0;
            struct tn_tnum t = any_tnum(bits, &m);

            assume_that(m <= x);
            truth found = real_floor(t, x, bits, &got);
            return found & (got >= m);
        });
    }
}

/* --------------------------------------------------------------------------------------------- refinement */

static struct halves any_halves(u64 x)
{
    struct halves h = {fresh_tnum(32), fresh_tnum(32), fresh_spans(32)};

    assume_that(of_halves(&h, x));
    return h;
}

/* What is said of a number is said of its halves, and of its mirror. */
static void watch_halves(u64 x)
{
    u64 high = x >> 32, rest = x & 0xffffffffull;

    watch({x});
    watch_in("tn_tnum_ceil", {x, high, rest});
    watch_in("tn_tnum_range", {x, rest});
    watch_in("tn_word_spans", {x, rest});
    watch_in("tn_word_set_spans", {x, rest});
    watch_in("tn_span_clip", {rest});
    watch_in("tn_span_hull", {rest});
    watch_in("add_lows", {rest});
    watch_in("member_ceil", {x, ~x});
}

static void spans(unsigned bits)
{
    prove("tn_word_spans", bits, QUICK, [&] {
        u64 x;
        struct tn_word w = any_word(bits, &x);

        split(w.smin < 0);
        split(w.smax < 0);
        struct tn_spans s = real_spans(&w, bits);

        return in_spans(s, x) & on_their_sides(s, bits);
    });
    prove("tn_word_set_spans", bits, QUICK, [&] {
        u64 x = fresh("x", bits);
        struct tn_spans s = fresh_spans(bits);
        struct tn_word w = tn_word_any(bits);

        assume_that(in_spans(s, x));
        real_set_spans(&w, s, bits);
        return in_ranges(&w, x, bits);
    });
    prove("tn_span_clip", bits, QUICK, [&] {
        at_word({"tn_tnum_ceil", "tn_tnum_floor"});
        u64 x;
        struct tn_tnum t = any_tnum(bits, &x);
        struct tn_span s = fresh_span(bits);

        watch({x});
        struct tn_span r = real_clip(s, t, bits);
        return implies(in_span(s, x), in_span(r, x)) & ((r.lo > r.hi) | ((r.lo >= s.lo) & (r.hi <= s.hi)));
    });
    prove("tn_word_sync", bits, QUICK, [&] {
        at_word({"tn_word_spans", "tn_word_set_spans", "tn_span_clip", "tn_tnum_range"});
        u64 x;
        struct tn_word w = any_word(bits, &x);

        watch({x});
        truth alive = real_word_sync(&w, bits);
        return alive & tn_word_contains(&w, x, bits);
    });
}

static void refinement(void)
{
    for (unsigned bits : {32u, 64u})
        spans(bits);
    prove("member_ceil", 64, QUICK, [] {
        at_word({"tn_tnum_ceil"});
        u64 x = fresh("x"), from = fresh("n"), got = 0;
        struct halves h = any_halves(x);

        watch_halves(x);
        truth found = real_member_ceil(&h, from, &got);
        return implies(from <= x, found & (got <= x)) & implies(found, got >= from);
    });
    prove("tn_span_hull", 32, QUICK, [] {
        u64 x = fresh("x", 32);
        struct tn_span a = fresh_span(32), b = fresh_span(32), r = real_hull(a, b);

        return implies(in_span(a, x) | in_span(b, x), in_span(r, x)) &
               implies(below_sign(a, 32) & below_sign(b, 32), below_sign(r, 32)) &
               implies(from_sign(a, 32) & from_sign(b, 32), from_sign(r, 32));
    });
    prove("add_lows", 32, LONG, [] {
        at_word({"tn_span_clip", "tn_span_hull"});
        u64 x = fresh("x", 32), y = fresh("y", 32), lo = fresh("lo", 32), hi = fresh("hi", 32);
        struct halves h = {fresh_tnum(32), fresh_tnum(32), fresh_spans(32)};
        struct tn_spans sum = fresh_spans(32), before = sum;

        watch({x, y});
        assume_that(tn_tnum_contains(h.low, x) & in_spans(h.span, x));
        real_add_lows(&sum, &h, lo, hi);
        return implies(in_spans(before, y), in_spans(sum, y)) &
               implies(in_span({lo, hi}, x), in_spans(sum, x)) & on_their_sides(sum, 32);
    });
    prove("tn_range_sync", 64, LONG, [] {
        at_word({"tn_tnum_ceil", "tn_tnum_floor", "tn_tnum_range", "tn_word_spans", "tn_word_set_spans",
                 "tn_span_clip", "tn_span_hull", "member_ceil", "add_lows"});
        u64 x;
        struct tn_range r = any_range(&x);

        watch_halves(x);
        split(s64(x) < 0);
        truth alive = real_range_sync(&r);
        return alive & in_range(&r, x);
    });
}

/* ------------------------------------------------------------------------------------------------ circles */

/* x lies at most m behind p, y at most n behind q. Every x of that kind is p + d. */
static void circles(unsigned bits)
{
    u64 mask = tn_width_mask(bits);

    prove("circles: sums", bits, bits == 32 ? QUICK : LONG, [&] {
        u64 p = fresh("p"), q = fresh("q"), d = fresh("d", bits), e = fresh("e", bits), m = fresh("m", bits),
            n = fresh("n", bits);

        assume_that((d <= m) & (e <= n) & (m <= mask - n));
        return (tn_width_trunc((p + d) + (q + e) - (p + q), bits) <= m + n) &
               (tn_width_trunc((p + d) - (q - e) - (p - q), bits) <= m + n) & (m + n <= mask);
    });
    prove("circles: a range is one", bits, QUICK, [&] {
        u64 x;
        struct tn_word a = any_word(bits, &x);
        s64 s = tn_width_sext(x, bits);

        return (x - a.umin <= a.umax - a.umin) &
               (tn_width_trunc(x - (u64)a.smin, bits) <= (u64)a.smax - (u64)a.smin) &
               ((u64)s - (u64)a.smin <= mask);
    });
    prove("shifts: they grow with number and amount", bits, LONG, [&] {
        u64 x = fresh("x", bits), y = fresh("y", bits);
        unsigned least = now->each(bits), most = least + now->each(bits - least);

        assume_that((x <= y) & (y <= mask >> most));
        return (x << least <= y << most) & (y << most <= mask);
    });
    prove("shifts: a circle stays one", bits, QUICK, [&] {
        u64 p = fresh("p"), d = fresh("d", bits), n = fresh("n", bits), x = fresh("x");
        unsigned amount = now->each(bits);
        u64 times = 1ull << amount;

        assume_that((d <= n) & (n <= mask >> amount));
        return (x << amount == x * times) & (tn_width_trunc((p + d) * times - p * times, bits) <= n * times) &
               (n * times <= mask);
    });
}

/* ------------------------------------------------------------------------------------------------ products
 *
 * Multiplying and dividing is beyond the solver at 64 bits. What is used of them is that they grow with their
 * operands, and what they do to the lowest bits. The first is a matter of whole numbers, proved of these (and
 * products of 64 bits fit into 128); the second one of shifting. Goals that lean on them know nothing else of
 * a product or quotient (struct abstract).
 */

static z3::expr whole_number(const char *name)
{
    return smt.int_const((name + std::to_string(now->names++)).c_str());
}

static void products(void)
{
    prove("products: they grow with their factors", 64, QUICK, [] {
        z3::expr a = whole_number("a"), b = whole_number("b"), c = whole_number("c"), d = whole_number("d");

        by("qfnia");
        return truth(z3::implies(a >= 0 && b >= 0 && a <= c && b <= d, a * b <= c * b && c * b <= c * d)) &
               truth(z3::implies(a <= c && b >= 0, a * b <= c * b)) &
               truth(z3::implies(a <= c && b <= 0, a * b >= c * b));
    });
    for (unsigned bits : {32u, 64u})
        prove("products: low bits come from low bits", bits, QUICK, [&] {
            z3::expr a = smt.bv_const("a", 128), b = smt.bv_const("b", 128);

            return truth((a * b).extract(bits - 1, 0) == a.extract(bits - 1, 0) * b.extract(bits - 1, 0));
        });
    /* x = q·y + r, 0 ≤ r < y; what is known of products is said of those that occur. */
    prove("quotients: they grow with the dividend, and shrink with the divisor", 64, QUICK, [] {
        z3::expr x = whole_number("x"), y = whole_number("y"), q = whole_number("q"), r = whole_number("r");
        z3::expr v = whole_number("v"), w = whole_number("w"), p = whole_number("p"), s = whole_number("s");
        z3::expr qy = whole_number("qy"), pw = whole_number("pw"), more = whole_number("more");

        by("smt"); /* more: (p + 1)·y; qy ≥ more when q ≥ p + 1, more ≥ pw + w since y ≥ w */
        return truth(z3::implies(x == qy + r && r >= 0 && r < y && v == pw + s && s >= 0 && s < w && x <= v &&
                                     y >= w && w > 0 && q >= 0 && p >= 0 &&
                                     z3::implies(q >= p + 1, qy >= more) &&
                                     z3::implies(y >= w, more >= pw + w),
                                 q <= p)) &
               truth(z3::implies(x == qy + r && r >= 0 && y >= 1 && q >= 0 && z3::implies(y >= 1, qy >= q),
                                 q <= x));
    });
    prove("quotients: half at most, but by one", 64, QUICK, [] {
        z3::expr x = whole_number("x"), y = whole_number("y"), q = whole_number("q"), r = whole_number("r"),
                 qy = whole_number("qy");

        by("smt");
        return truth(z3::implies(
            x == qy + r && r >= 0 && y >= 2 && q >= 0 && z3::implies(y >= 2, qy >= 2 * q), 2 * q <= x));
    });
    prove("quotients: of powers of two", 64, QUICK, [] {
        unsigned k = now->each(64);
        u64 x = fresh("x"), power = 1ull << k;

        return x / power == x >> k;
    });
    prove("remainders: they are less", 64, QUICK, [] {
        z3::expr x = whole_number("x"), y = whole_number("y"), q = whole_number("q"), r = whole_number("r"),
                 qy = whole_number("qy");

        by("smt");
        z3::expr one = z3::implies(q >= 1, qy >= y) && z3::implies(q == 0, qy == 0);
        return truth(z3::implies(x == qy + r && r >= 0 && r < y && q >= 0 && one,
                                 r <= x && z3::implies(x < y, r == x)));
    });
    prove("remainders: bits below the lowest of the divisor", 64, QUICK, [] {
        unsigned k = now->each(64);
        z3::expr q = smt.bv_const("q", 64), r = smt.bv_const("r", 64), y = smt.bv_val(1, 1);
        u64 divisor, rest(r), below, power = 1ull << k;

        if (k < 63)
            y = z3::concat(smt.bv_const("y", 63 - k), y);
        if (k)
            y = z3::concat(y, smt.bv_val(0, k));
        divisor = u64(y);
        below = (divisor & (0 - divisor)) - 1;
        truth low = below == power - 1;
        if (!k)
            return low;
        return low & truth((q * y + r).extract(k - 1, 0) == r.extract(k - 1, 0));
    });
}

/* Multiplication of known bits: what stays the same from step to step (tnum.c). At the end nothing is left of
   x, and the member of `joined` is the product; so is that of `doubt`, with u·v added. */
static void long_multiplication(void)
{
    prove("tn_tnum_mul: a step", 64, QUICK, [] {
        u64 x, y, done, off, zero = 0;
        struct product p;

        p.a = any_tnum(64, &x);
        p.b = any_tnum(64, &y);
        p.joined = any_tnum(64, &done);
        p.doubt = any_tnum(64, &off);
        u64 u = p.a.value, v = p.b.value, add = TN_PICK((x & 1) != 0, y, zero),
            sure = TN_PICK((u & 1) != 0, v, zero);
        product_step(&p);
        return tn_tnum_contains(p.joined, done + add) & tn_tnum_contains(p.doubt, off + add - sure) &
               tn_tnum_contains(p.a, x >> 1) & tn_tnum_contains(p.b, y << 1) & (p.a.value == u >> 1) &
               (p.b.value == v << 1);
    });
    prove("tn_tnum_mul: what a step takes from the rest", 64, QUICK, [] {
        u64 half = fresh("half"), y = fresh("y"), bit = now->each(2), x = half * 2 + bit;

        assume_that(half < 1ull << 63);
        return (x >> 1 == half) & ((x & 1) == bit) & (half * (y * 2) + bit * y == (half * 2 + bit) * y) &
               (y << 1 == y * 2);
    });
    prove("tn_tnum_mul: the end", 64, QUICK, [] {
        u64 z, off, sure = fresh("sure");
        struct product p;

        p.joined = any_tnum(64, &z);
        p.doubt = any_tnum(64, &off);
        assume_that(z == sure + off);
        struct tn_tnum r = product_end(&p, sure);
        return tn_tnum_contains(r, z) & ((r.value & r.mask) == 0);
    });
    for (unsigned bits : {3u, 4u})
        prove("tn_tnum_mul, the whole of it", bits, LONG, [&] {
            u64 x, y;
            struct tn_tnum a = any_tnum(bits, &x), b = any_tnum(bits, &y);

            return tn_tnum_contains(real_mul(a, b), x * y);
        });
}

/* ------------------------------------------------------------------------------------------------ words */

static bool shifts(u8 op)
{
    return op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
}

/* What `circles` proves, said of these. */
static void on_circles(u8 op, const struct tn_word *a, u64 x, const struct tn_word *b, u64 y, unsigned bits)
{
    u64 mask = tn_width_mask(bits), z = op == BPF_ADD ? x + y : x - y;
    u64 m = a->umax - a->umin, n = b->umax - b->umin, sm = (u64)a->smax - (u64)a->smin,
        sn = (u64)b->smax - (u64)b->smin;
    u64 from = op == BPF_ADD ? a->umin + b->umin : a->umin - b->umax,
        sfrom = op == BPF_ADD ? (u64)a->smin + (u64)b->smin : (u64)a->smin - (u64)b->smax;

    lean("circles", bits);
    assume_that(implies(m <= mask - n, (tn_width_trunc(z - from, bits) <= m + n) & (m + n <= mask)));
    assume_that(implies(sm <= mask - sn, (tn_width_trunc(z - sfrom, bits) <= sm + sn) & (sm + sn <= mask)));
}

static bool multiplies(u8 op)
{
    return op == BPF_MUL || op == BPF_DIV || op == BPF_MOD;
}

static void word_op(const struct arith_op &o, unsigned bits, unsigned modulus, enum speed speed)
{
    prove(std::string("tn_word_alu ") + o.name + (modulus > bits ? ": by amounts of the whole" : ""), bits,
          speed, [&] {
              at_word({"tn_word_clamp_circle", "tn_tnum_add", "tn_tnum_sub", "tn_tnum_mul"});
              u64 x, y, z, amount;
              struct tn_word a = any_word(bits, &x), b = any_word(bits, &y);

              abstract.on = multiplies(o.op);
              abstract.bits = bits;
              bool bounds = o.op == BPF_LSH && now->each(2);
              if (bounds) {
                  abstract.on = true;
                  z = tn_width_trunc(x << (y & (modulus - 1)), bits);
              } else if (shifts(o.op)) {
                  amount = now->each(modulus);
                  assume_that((y & (modulus - 1)) == amount);
                  z = arith_alu(o, x, amount, bits, modulus);
              } else {
                  z = arith_alu(o, x, y, bits, modulus);
              }
              if (o.op == BPF_MUL) { /* on the way from the corners to the product */
                  s64 sx = tn_width_sext(x, bits), sy = tn_width_sext(y, bits);

                  (void)(wide_s(sx) * wide_s(sy));
                  (void)(wide_s(a.smin) * wide_s(sy));
                  (void)(wide_s(a.smax) * wide_s(sy));
              }
              if (o.off) { /* by signs */
                  split(a.smin < 0);
                  split(a.smax < 0);
                  split(tn_width_sext(x, bits) < 0);
                  split(tn_width_sext(y, bits) < 0);
              }
              if (o.op == BPF_ADD || o.op == BPF_SUB)
                  on_circles(o.op, &a, x, &b, y, bits);
              watch({z});
              goal.ops.push_back({x, y, z, z});
              struct tn_word r = real_word_alu(o.op, truth(o.off != 0), &a, &b, bits, modulus);
              return o.op != BPF_LSH ? tn_word_contains(&r, z, bits)
                     : bounds        ? in_ranges(&r, z, bits)
                                     : tn_tnum_contains(r.t, z);
          });
}

static void branches(unsigned bits, enum speed speed)
{
    for (const struct arith_jump &j : arith_jumps)
        for (bool taken : {true, false})
            prove(std::string("tn_word_assume: ") + j.name + (taken ? " taken" : " not taken"), bits, speed,
                  [&] {
                      u64 x, y;
                      struct tn_word a = any_word(bits, &x), b = any_word(bits, &y);

                      assume_that(truth(arith_jump(j.op, x, y, bits).e == smt.bool_val(taken)));
                      truth may = real_word_assume(j.op, truth(taken), &a, &b, bits);
                      return may & tn_word_contains(&a, x, bits) & tn_word_contains(&b, y, bits);
                  });
}

static void words(void)
{
    for (unsigned bits : {32u, 64u})
        prove("tn_word_clamp_circle", bits, bits == 32 ? QUICK : LONG, [&] {
            u64 x, lo = fresh("lo"), hi = fresh("hi");
            struct tn_word w = any_word(bits, &x);

            assume_that((hi - lo <= tn_width_mask(bits)) & (tn_width_trunc(x - lo, bits) <= hi - lo));
            real_clamp_circle(&w, lo, hi, bits);
            return in_ranges(&w, x, bits);
        });
    branches(64, QUICK);
    branches(32, LONG);
    circles(32);
    circles(64);
    for (unsigned bits : {32u, 64u})
        for (const struct arith_op &o : arith_ops)
            if (o.op != BPF_MOV)
                word_op(o, bits, bits, LONG);
    for (const struct arith_op &o : arith_ops)
        if (o.op == BPF_LSH)
            word_op(o, 32, 64, LONG);
}

/* ---------------------------------------------------------------------------------------------- registers */

static void ranges(void)
{
    prove("tn_range_const, signed, unsigned", 64, QUICK, [] {
        at_word({"tn_range_sync"});
        u64 x = fresh("x"), lo = fresh("lo"), hi = fresh("hi");

        watch({x});
        struct tn_range c = tn_range_const(x), u = tn_range_unsigned(lo, hi),
                        s = tn_range_signed(s64(lo), s64(hi));
        return in_range(&c, x) & implies((lo <= x) & (x <= hi), in_range(&u, x)) &
               implies((s64(lo) <= s64(x)) & (s64(x) <= s64(hi)), in_range(&s, x));
    });
    prove("tn_range_union", 64, QUICK, [] {
        u64 x, y;
        struct tn_range a = any_range(&x), b = any_range(&y), r = tn_range_union(&a, &b);

        return in_range(&r, x) & in_range(&r, y);
    });
    prove("tn_range_intersect", 64, LONG, [] {
        at_word({"tn_range_sync"});
        u64 x;
        struct tn_range a = any_range(&x), b = fresh_range(), r = tn_range_any();

        assume_that(in_range(&b, x));
        watch({x});
        truth alive = tn_range_intersect(&a, &b, &r);
        return alive & in_range(&r, x);
    });
    prove("tn_range_includes", 64, QUICK, [] {
        u64 x;
        struct tn_range a = fresh_range(), b = any_range(&x);

        return implies(tn_range_includes(&a, &b), in_range(&a, x));
    });
    for (unsigned bits : {8u, 16u, 32u})
        for (bool is_signed : {false, true})
            prove(is_signed ? "tn_range_sext" : "tn_range_zext", bits, LONG, [&] {
                at_word({"tn_word_clamp_circle", "tn_word_sync", "tn_range_sync"});
                u64 x;
                struct tn_range r = any_range(&x);
                u64 cut = tn_width_trunc(x, bits), to = is_signed ? (u64)tn_width_sext(x, bits) : cut;

                watch({to});
                watch_in("tn_word_clamp_circle", {cut});
                watch_in("tn_word_sync", {cut});
                r = is_signed ? tn_range_sext(&r, bits) : tn_range_zext(&r, bits);
                return in_range(&r, to);
            });
}

/* ---------------------------------------------------------------------------------------------- instructions
 *
 * A goal for each row of isa/ops.h that makes a number or asks for one, with the row's own equation.
 */

#define EQUATION(name, U_, S_, bits, type, result)                                                           \
    static type name(U_ d, U_ s)                                                                             \
    {                                                                                                        \
        using U = U_;                                                                                        \
        using S = S_;                                                                                        \
        enum { BITS = bits };                                                                                \
        (void)sizeof(U);                                                                                     \
        (void)sizeof(S);                                                                                     \
        (void)BITS;                                                                                          \
        (void)d;                                                                                             \
        return result;                                                                                       \
    }
#define ALU_EQUATIONS(o, name, op, off, sign, equation)                                                      \
    EQUATION(equation64_##name, u64, s64, 64, u64, equation)                                                 \
    EQUATION(equation32_##name, u32, s32, 32, u32, equation)
#define JUMP_EQUATIONS(o, name, op, sign, condition)                                                         \
    EQUATION(condition64_##name, u64, s64, 64, truth, condition)                                             \
    EQUATION(condition32_##name, u32, s32, 32, truth, condition)
TN_ALU(ALU_EQUATIONS, )
TN_JUMPS(JUMP_EQUATIONS, )

static void equations(void)
{
    u8 at = 0;

#define ALU_ROW(o, name, op, off, ...)                                                                       \
    same_alu(arith_ops[at], equation64_##name, equation32_##name);                                           \
    at++;
#define JUMP_ROW(o, name, op, ...) same_jump(op, #name, condition64_##name, condition32_##name);
    auto same_alu = [](const struct arith_op &o, u64 (*whole_)(u64, u64), u32 (*half)(u32, u32)) {
        prove(std::string("equation of ") + o.name, 64, QUICK, [&] {
            u64 d = fresh("d"), s = fresh("s");

            abstract.on = multiplies(o.op);
            return whole_(d, s) == arith_alu(o, d, s, 64, 64);
        });
        prove(std::string("equation of ") + o.name, 32, QUICK, [&] {
            u64 d = fresh("d", 32), s = fresh("s", 32);

            abstract.on = multiplies(o.op);
            return u64(half(u32(d), u32(s))) == arith_alu(o, d, s, 32, 32);
        });
    };
    auto same_jump = [](u8 op, std::string name, truth (*whole_)(u64, u64), truth (*half)(u32, u32)) {
        prove("equation of " + name, 64, QUICK, [&] {
            u64 d = fresh("d"), s = fresh("s");

            return truth(whole_(d, s).e == arith_jump(op, d, s, 64).e);
        });
        prove("equation of " + name, 32, QUICK, [&] {
            u64 d = fresh("d", 32), s = fresh("s", 32);

            return truth(half(u32(d), u32(s)).e == arith_jump(op, d, s, 32).e);
        });
    };
    TN_ALU(ALU_ROW, )
    TN_JUMPS(JUMP_ROW, )
}

/* The low half of a result is that of the low halves, as range.c has it (low_closed). */
static void low_halves(void)
{
    for (const struct arith_op &o : arith_ops) {
        auto closed = low_closed(o.op).e.is_true();

        if (closed && o.op != BPF_MOV)
            prove(std::string("low halves of ") + o.name, 64, QUICK, [&] {
                u64 x = fresh("x"), y = fresh("y");

                return tn_width_trunc(arith_alu(o, x, y, 64, 64), 32) ==
                       arith_alu(o, tn_width_trunc(x, 32), tn_width_trunc(y, 32), 32, 64);
            });
    }
}

struct row {
    const char *name;
    u8 code, off;
    enum tn_kind kind;
    unsigned bytes;
};
#define O(name, code, off, kind, bytes, ...) {#name, (u8)(code), off, TN_KIND_##kind, bytes},
static const struct row rows[] = {TN_OPS(O)};
#undef O

/* A source: any range and a member, or, when the instruction has one, the range of its immediate. */
static struct tn_range operand(u8 code, u64 *member)
{
    if (BPF_SRC(code) == BPF_X)
        return any_range(member);
    *member = (u64)tn_width_sext(fresh("imm", 32), 32);
    return tn_range_const(*member);
}

static void alu_row(const struct row &row)
{
    unsigned bits = row.bytes * 8;
    struct arith_op o = {};

    for (const struct arith_op &one : arith_ops)
        if (one.op == BPF_OP(row.code) && one.off == row.off)
            o = one;
    prove(std::string("instruction ") + row.name, bits, LONG, [&] {
        at_word({"tn_word_alu", "tn_word_sync", "tn_range_sync", "tn_word_clamp_circle"});
        u64 x, y;
        struct tn_range a = any_range(&x), b = operand(row.code, &y);
        struct bpf_insn i = arith_insn(BPF_CLASS(row.code), o.op, row.off);

        abstract.on = multiplies(o.op);
        u64 z = arith_alu(o, tn_width_trunc(x, bits), tn_width_trunc(y, bits), bits, bits);
        if (bits == 64 && low_closed(o.op).e.is_true())
            lean(std::string("low halves of ") + o.name, 64);
        watch({z});
        goal.ops.push_back({x, y, z, tn_width_trunc(z, 32)});
        struct tn_range r = tn_range_insn(&i, &a, &b);
        return in_range(&r, z);
    });
}

static void unary_row(const struct row &row, unsigned width)
{
    unsigned bits = row.bytes * 8;
    std::string of = width ? " of " + std::to_string(width) + " bits" : "";

    prove(std::string("instruction ") + row.name + of, bits, LONG, [&] {
        at_word({"tn_word_alu", "tn_word_sync", "tn_range_sync", "tn_word_clamp_circle"});
        u64 x, z, cut, zero = 0;
        struct tn_range r = any_range(&x);
        struct bpf_insn i = {row.code, 0, 0, (s16)(row.kind == TN_KIND_MOVSX ? width : 0), (__s32)width};
        truth swaps = truth(row.kind == TN_KIND_END && strcmp(row.name, "LE"));

        cut = tn_width_trunc(x, width ? width : bits);
        if (row.kind == TN_KIND_MOVSX)
            z = tn_width_trunc((u64)tn_width_sext(x, width), bits);
        else if (row.kind == TN_KIND_NEG)
            z = tn_width_trunc(0 - x, bits);
        else
            z = swaps ? swap_bytes(x, width) : cut;
        watch({z});
        watch_in("tn_range_sync", {z, (u64)tn_width_sext(cut, width ? width : 64)});
        watch_in("tn_word_clamp_circle", {cut, tn_width_trunc(z, 32)});
        watch_in("tn_word_sync", {cut, tn_width_trunc(z, 32)});
        goal.ops.push_back({zero, x, z, tn_width_trunc(z, 32)});
        if (row.kind == TN_KIND_NEG && bits == 64)
            lean("low halves of SUB", 64);
        r = tn_range_insn(&i, &r, &r);
        return in_range(&r, z);
    });
}

static void jump_row(const struct row &row)
{
    unsigned bits = row.bytes * 8;
    u8 op = BPF_OP(row.code);

    for (bool taken : {true, false})
        prove(std::string("instruction ") + row.name + (taken ? " taken" : " not taken"), bits, LONG, [&] {
            at_word({"tn_range_sync", "tn_word_assume"});
            u64 x, y;
            struct tn_range a = any_range(&x), b = operand(row.code, &y);

            watch({x, y});
            goal.ops.push_back({x, y, x, y});
            assume_that(truth(arith_jump(op, tn_width_trunc(x, bits), tn_width_trunc(y, bits), bits).e ==
                              smt.bool_val(taken)));
            truth may = tn_range_assume(op, truth(bits == 64), truth(taken), &a, &b);
            return may & in_range(&a, x) & in_range(&b, y);
        });
}

/* What memory holds is a number of its size, whatever else; and its sign may be extended. */
static void load_row(const struct row &row, bool extends)
{
    unsigned bits = row.bytes * 8;

    prove(std::string("instruction ") + row.name, bits, extends ? LONG : QUICK, [&] {
        at_word({"tn_word_clamp_circle", "tn_word_sync", "tn_range_sync"});
        u64 x = fresh("x", bits), z = extends ? (u64)tn_width_sext(x, bits) : x;

        watch({x, z});
        struct tn_range r = tn_range_unsigned(0, tn_width_mask(bits));
        if (extends)
            r = tn_range_sext(&r, bits);
        return in_range(&r, z);
    });
}

static void instructions(void)
{
    for (const struct row &row : rows)
        switch (row.kind) {
        case TN_KIND_ALU:
            alu_row(row);
            break;
        case TN_KIND_MOVSX:
            for (unsigned width = 8; width < row.bytes * 8; width *= 2)
                unary_row(row, width);
            break;
        case TN_KIND_END:
            for (unsigned width : {16u, 32u, 64u})
                unary_row({row.name, row.code, row.off, row.kind, 8}, width);
            break;
        case TN_KIND_NEG:
            unary_row(row, 0);
            break;
        case TN_KIND_JMP:
            jump_row(row);
            break;
        case TN_KIND_LDX:
        case TN_KIND_ATOMIC:
        case TN_KIND_PACKET:
        case TN_KIND_LDSX:
            load_row(row, row.kind == TN_KIND_LDSX);
            break;
        case TN_KIND_LD_IMM64: /* tn_range_const */
        case TN_KIND_INVALID:
        case TN_KIND_JA:
        case TN_KIND_MAY_GOTO:
        case TN_KIND_CALL:
        case TN_KIND_EXIT:
        case TN_KIND_STX:
        case TN_KIND_ST: /* make no number */
            break;
        }
}

int main(int argc, char **argv)
{
    everything = argc > 1 && !strcmp(argv[1], "--all");
    only = argc > 1 && !everything ? argv[1] : NULL;
    bitwise_tnums();
    nearest_members();
    refinement();
    products();
    long_multiplication();
    words();
    ranges();
    equations();
    low_halves();
    instructions();
    printf("1..%u\n", count);
    return failed || undecided;
}
