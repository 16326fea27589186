/* SPDX-License-Identifier: MIT */
/*
 * The number domain proved for all numbers: tnum.h, word.c and range.c themselves, compiled over an SMT
 * solver's terms (smt_terms.h). Of each operation:
 *
 *      for all a, b, and all x in a, y in b:   x op y   is in   op(a, b)
 *
 * and of each branch, both ways: numbers for which it goes that way are in what is left of their ranges.
 * Refinement loses no number. That ranges become tight, and are called empty only when they are (the other
 * direction), is counted in small.c.
 *
 * Refinement is proved in two steps: tn_tnum_ceil, tn_tnum_floor and tn_tnum_range do what they say, and
 * tn_range_sync is right with *any* three that do (fresh numbers a call, of which only the promise is known,
 * as far as it speaks of the number that must not be lost and its halves).
 *
 *      smt           what takes less than a minute
 *      smt --all     all of it
 *      smt NAME      goals whose name contains NAME
 */
#include "tests/verify/smt_terms.h"

#include <linux/bpf.h>

/* Calls from word.h and range.c come to the promise, when one is made. */
#define tn_tnum_ceil  real_ceil
#define tn_tnum_floor real_floor
#define tn_tnum_range real_range
#include "verify/tnum.h"
#undef tn_tnum_ceil
#undef tn_tnum_floor
#undef tn_tnum_range

static std::vector<u64> witnesses; /* numbers not to be lost; none: the real one is called */

static u64 fresh(const char *name, unsigned bits = 64)
{
    u64 v(smt.bv_const((name + std::to_string(now->names++)).c_str(), 64));

    if (bits < 64)
        now->add((v <= tn_width_mask(bits)).e);
    return v;
}

static truth tn_tnum_ceil(struct tn_tnum t, u64 x, u64 *ret)
{
    if (witnesses.empty())
        return real_ceil(t, x, ret);
    *ret = fresh("ceil");
    truth found(smt.bool_const(("found" + std::to_string(now->names++)).c_str()));

    now->add(z3::implies(found.e, (tn_tnum_contains(t, *ret) & (*ret >= x)).e));
    for (const u64 &w : witnesses)
        now->add(z3::implies((tn_tnum_contains(t, w) & (w >= x)).e, (found & (*ret <= w)).e));
    return found;
}

static truth tn_tnum_floor(struct tn_tnum t, u64 x, unsigned bits, u64 *ret)
{
    if (witnesses.empty())
        return real_floor(t, x, bits, ret);
    *ret = fresh("floor");
    truth found(smt.bool_const(("found" + std::to_string(now->names++)).c_str()));

    now->add(z3::implies(found.e, (tn_tnum_contains(t, *ret) & (*ret <= x)).e));
    for (const u64 &w : witnesses)
        now->add(z3::implies((tn_tnum_contains(t, w) & (w <= x)).e, (found & (*ret >= w)).e));
    return found;
}

static struct tn_tnum tn_tnum_range(u64 min, u64 max)
{
    if (witnesses.empty())
        return real_range(min, max);
    struct tn_tnum t = {fresh("value"), fresh("mask")};

    now->add(((t.value & t.mask) == 0).e);
    for (const u64 &w : witnesses)
        now->add(z3::implies(((min <= w) & (w <= max)).e, tn_tnum_contains(t, w).e));
    return t;
}

#include "verify/range.c"
#include "verify/tnum.c"
#include "verify/word.c"
#undef bool

/* ------------------------------------------------------------------------------------------------ proving */

static bool everything;
static const char *only;
static unsigned count, failed;

/* What has to hold, part by part: many small questions are answered sooner than a large one. */
static std::vector<z3::expr> parts_of(const z3::expr &e)
{
    std::vector<z3::expr> parts;

    if (!e.is_and())
        return {e};
    for (unsigned k = 0; k < e.num_args(); k++)
        for (const z3::expr &part : parts_of(e.arg(k)))
            parts.push_back(part);
    return parts;
}

/* Runs `body` on each of its ways; it returns what has to hold at the end. */
static void prove(const std::string &name, bool quick, const std::function<truth()> &body)
{
    auto start = std::chrono::steady_clock::now();
    struct run r;
    unsigned ways = 0;
    const char *verdict = "proved";
    std::string model;

    if (only ? name.find(only) == std::string::npos : !quick && !everything)
        return;
    now = &r;
    do {
        r.restart();
        truth goal = body();
        for (const z3::expr &part : parts_of(goal.e)) {
            z3::solver query = z3::tactic(smt, "qfbv").mk_solver();
            z3::params p(smt);

            p.set("timeout", quick ? 120000u : 900000u);
            query.set(p);
            for (const z3::expr &e : r.solver.assertions())
                query.add(e);
            query.add(!part);
            switch (query.check()) {
            case z3::unsat:
                break;
            case z3::sat:
                verdict = "WRONG";
                model = query.get_model().to_string();
                break;
            default:
                verdict = "not decided in time";
                break;
            }
            if (strcmp(verdict, "proved"))
                break;
        }
        ways++;
    } while (!strcmp(verdict, "proved") && r.next());
    count++;
    failed += strcmp(verdict, "proved") != 0;
    double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    printf("%s %u - %s # %s, %u way%s, %.1f s\n", strcmp(verdict, "proved") ? "not ok" : "ok", count,
           name.c_str(), verdict, ways, ways == 1 ? "" : "s", s);
    for (size_t at = 0; at < model.size();) {
        size_t end = model.find('\n', at);

        printf("#   %s\n", model.substr(at, end - at).c_str());
        at = end == std::string::npos ? model.size() : end + 1;
    }
    fflush(stdout);
}

static void assume(const truth &t)
{
    now->add(t.e);
}

/* Any tnum, and a member. */
static struct tn_tnum any_tnum(unsigned bits, u64 *member)
{
    struct tn_tnum t = {fresh("value", bits), fresh("mask", bits)};

    assume((t.value & t.mask) == 0);
    *member = fresh("x", bits);
    assume(tn_tnum_contains(t, *member));
    return t;
}

static u64 any_number(unsigned bits)
{
    return fresh("n", bits);
}

/* Any word with a member, whatever else it says. */
static struct tn_word any_word(unsigned bits, u64 *member)
{
    struct tn_word w;
    u64 x;

    w.t = any_tnum(bits, &x);
    w.umin = fresh("umin", bits);
    w.umax = fresh("umax", bits);
    w.smin = tn_width_sext(fresh("smin", bits), bits);
    w.smax = tn_width_sext(fresh("smax", bits), bits);
    assume(tn_word_contains(&w, x, bits));
    *member = x;
    return w;
}

static struct tn_range any_range(u64 *member)
{
    struct tn_word w = any_word(64, member);
    struct tn_range r;

    put_whole(&r, &w);
    r.u32min = u32(fresh("u32min"));
    r.u32max = u32(fresh("u32max"));
    r.s32min = s32(fresh("s32min"));
    r.s32max = s32(fresh("s32max"));
    struct tn_word l = low(&r);
    assume(tn_word_contains(&l, *member, 32));
    return r;
}

static truth in_range(const struct tn_range *r, u64 x)
{
    struct tn_word w = whole(r), l = low(r);

    return tn_word_contains(&w, x, 64) & tn_word_contains(&l, x, 32);
}

/* ------------------------------------------------------------------------------------------------ what is
 * true */

struct op {
    const char *name;
    u8 code;
    bool is_signed;
    unsigned widths[2]; /* at which it is proved quickly, and with --all */
};
static const struct op ops[] = {
    {"add", BPF_ADD, false, {4, 8}},  {"sub", BPF_SUB, false, {4, 8}},    {"and", BPF_AND, false, {64, 32}},
    {"or", BPF_OR, false, {64, 32}},  {"xor", BPF_XOR, false, {64, 32}},  {"lsh", BPF_LSH, false, {4, 16}},
    {"rsh", BPF_RSH, false, {8, 64}}, {"arsh", BPF_ARSH, false, {8, 64}}, {"mul", BPF_MUL, false, {3, 5}},
    {"div", BPF_DIV, false, {3, 6}},  {"mod", BPF_MOD, false, {3, 6}},    {"sdiv", BPF_DIV, true, {3, 6}},
    {"smod", BPF_MOD, true, {3, 6}},
};

static u64 concrete(const struct op *o, u64 a, u64 b, unsigned bits)
{
    s64 x = tn_width_sext(a, bits), y = tn_width_sext(b, bits);
    u64 amount = b & (bits - 1), r, whole_part;

    switch (o->code) {
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
    case BPF_XOR:
        r = a ^ b;
        break;
    case BPF_MUL:
        r = a * b;
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
        r = o->is_signed ? u64(x / y) : a / b;
        r = TN_PICK(b == 0, 0, r);
        break;
    default:
        r = o->is_signed ? u64(x % y) : a % b;
        r = TN_PICK(b == 0, a, r);
        break;
    }
    return tn_width_trunc(r, bits);
}

static const struct {
    const char *name;
    u8 code;
} jumps[] = {
    {"jeq", BPF_JEQ},   {"jne", BPF_JNE},   {"jgt", BPF_JGT},   {"jge", BPF_JGE},
    {"jlt", BPF_JLT},   {"jle", BPF_JLE},   {"jsgt", BPF_JSGT}, {"jsge", BPF_JSGE},
    {"jslt", BPF_JSLT}, {"jsle", BPF_JSLE}, {"jset", BPF_JSET},
};

static truth holds(u8 code, u64 a, u64 b, unsigned bits)
{
    s64 x = tn_width_sext(a, bits), y = tn_width_sext(b, bits);

    switch (code) {
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

/* ------------------------------------------------------------------------------------------------ goals */

static void tnums(void)
{
    using binary = struct tn_tnum (*)(struct tn_tnum, struct tn_tnum);
    static const struct {
        const char *name;
        binary fn;
        struct op op;
    } rows[] = {
        {"add", tn_tnum_add, ops[0]}, {"sub", tn_tnum_sub, ops[1]}, {"and", tn_tnum_and, ops[2]},
        {"or", tn_tnum_or, ops[3]},   {"xor", tn_tnum_xor, ops[4]},
    };

    for (const auto &row : rows)
        prove(std::string("tnum ") + row.name + ", 64 bits", true, [&] {
            u64 x, y;
            struct tn_tnum a = any_tnum(64, &x), b = any_tnum(64, &y);

            return tn_tnum_contains(row.fn(a, b), concrete(&row.op, x, y, 64));
        });
    for (unsigned bits : {3u, 4u, 6u})
        prove("tnum mul, " + std::to_string(bits) + " bits", false, [&] {
            u64 x, y;
            struct tn_tnum a = any_tnum(bits, &x), b = any_tnum(bits, &y);

            return tn_tnum_contains(tn_tnum_mul(a, b), x * y);
        });
    prove("tnum of a range, 64 bits", true, [] {
        u64 a = any_number(64), b = any_number(64), x = any_number(64);

        assume((a <= x) & (x <= b));
        struct tn_tnum t = real_range(a, b);
        return tn_tnum_contains(t, x) & ((t.value & t.mask) == 0);
    });
    prove("tnum intersection, union, inclusion, 64 bits", true, [] {
        u64 x, y;
        struct tn_tnum a = any_tnum(64, &x), b = any_tnum(64, &y), both = {0, 0};
        truth meet = tn_tnum_intersect(a, b, &both),
              either = tn_tnum_contains(tn_tnum_union(a, b), x) & tn_tnum_contains(tn_tnum_union(a, b), y);

        return either & ((!tn_tnum_contains(b, x)) | (meet & tn_tnum_contains(both, x))) &
               ((!tn_tnum_includes(a, b)) | tn_tnum_contains(a, y));
    });
    for (unsigned bits : {16u, 32u, 64u})
        prove("tnum byte swap, " + std::to_string(bits) + " bits", true, [&] {
            u64 x;
            struct tn_tnum a = any_tnum(64, &x);

            return tn_tnum_contains(tn_tnum_bswap(a, bits), swap_bytes(x, bits));
        });
    prove("what is found is a member, 64 bits", true, [] {
        u64 x = any_number(64), y = any_number(64), up = 0, down = 0;
        struct tn_tnum t = {any_number(64), any_number(64)};

        assume((t.value & t.mask) == 0);
        truth above = real_ceil(t, x, &up), below = real_floor(t, y, 64, &down);
        return ((!above) | (tn_tnum_contains(t, up) & (up >= x))) &
               ((!below) | (tn_tnum_contains(t, down) & (down <= y)));
    });
    prove("nearest member above, 64 bits", true, [] {
        u64 m, x = any_number(64), got = 0;
        struct tn_tnum t = any_tnum(64, &m);

        assume(m >= x);
        truth found = real_ceil(t, x, &got);
        return found & tn_tnum_contains(t, got) & (got >= x) & (got <= m);
    });
    for (unsigned bits : {32u, 64u})
        prove("nearest member below, " + std::to_string(bits) + " bits", true, [&] {
            u64 m, x = any_number(bits), got = 0;
            struct tn_tnum t = any_tnum(bits, &m);

            assume(m <= x);
            truth found = real_floor(t, x, bits, &got);
            return found & tn_tnum_contains(t, got) & (got <= x) & (got >= m);
        });
}

static void operations(void)
{
    for (const struct op &o : ops)
        for (unsigned k = 0; k < 2; k++) {
            unsigned bits = o.widths[k];

            prove(std::string(o.name) + ", " + std::to_string(bits) + " bits",
                  o.code == BPF_AND || o.code == BPF_OR || o.code == BPF_XOR, [&] {
                      u64 x, y;
                      struct tn_word a = any_word(bits, &x), b = any_word(bits, &y);
                      struct tn_word r = tn_word_alu(o.code, truth(o.is_signed), &a, &b, bits, bits);

                      return tn_word_contains(&r, concrete(&o, x, y, bits), bits);
                  });
        }
    for (unsigned bits : {8u, 16u, 32u})
        prove("cut to " + std::to_string(bits) + " bits", false, [&] {
            u64 x;
            struct tn_range r = any_range(&x);
            struct tn_word w = cut(&r, bits);

            return tn_word_contains(&w, x, bits);
        });
}

static void branches(void)
{
    for (unsigned bits : {64u, 32u})
        for (const auto &j : jumps)
            for (bool taken : {true, false})
                prove(std::string(j.name) + (taken ? " taken, " : " not taken, ") + std::to_string(bits) +
                          " bits",
                      true, [&] {
                          u64 x, y;
                          struct tn_word a = any_word(bits, &x), b = any_word(bits, &y);

                          assume(truth(holds(j.code, x, y, bits).e == smt.bool_val(taken)));
                          if (!tn_word_assume(j.code, truth(taken), &a, &b, bits))
                              return truth(false);
                          return tn_word_contains(&a, x, bits) & tn_word_contains(&b, y, bits);
                      });
}

/* The steps of tn_word_sync and tn_range_sync, each for a number x that must not be lost. */

static truth in_span(struct tn_span s, u64 x)
{
    return (s.lo <= x) & (x <= s.hi);
}

static truth in_spans(struct tn_spans s, u64 x)
{
    return in_span(s.pos, x) | in_span(s.neg, x);
}

static struct tn_span any_span(unsigned bits)
{
    return (struct tn_span){fresh("lo", bits), fresh("hi", bits)};
}

/* Either of the two may be empty; what is in them is on its side of the sign bit. */
static struct tn_spans any_spans(unsigned bits)
{
    struct tn_spans s = {any_span(bits), any_span(bits)};
    u64 sign = 1ull << (bits - 1);

    assume(((s.pos.lo > s.pos.hi) | (s.pos.hi < sign)) & ((s.neg.lo > s.neg.hi) | (s.neg.lo >= sign)));
    return s;
}

/* Halves that x is made of. */
static struct halves any_halves(u64 x)
{
    struct halves h;

    h.high = (struct tn_tnum){fresh("value", 32), fresh("mask", 32)};
    h.low = (struct tn_tnum){fresh("value", 32), fresh("mask", 32)};
    assume(((h.high.value & h.high.mask) == 0) & ((h.low.value & h.low.mask) == 0));
    h.span = any_spans(32);
    assume(tn_tnum_contains(h.high, x >> 32) & tn_tnum_contains(h.low, x & HALF_MASK));
    assume(in_spans(h.span, x & HALF_MASK));
    return h;
}

static void watch(u64 x)
{
    witnesses = {x, x >> 32, x & HALF_MASK, (x >> 32) ^ HALF_MASK, (x & HALF_MASK) ^ HALF_MASK};
}

static truth unwatch(truth t)
{
    witnesses.clear();
    return t;
}

static void refinement(void)
{
    for (unsigned bits : {32u, 64u}) {
        std::string width = ", " + std::to_string(bits) + " bits";

        prove("refinement: ranges become spans" + width, false, [&] {
            u64 x, sign = 1ull << (bits - 1);
            struct tn_word w = any_word(bits, &x);
            struct tn_spans s = tn_word_spans(&w, bits);

            return ((x >= sign) | in_span(s.pos, x)) & ((x < sign) | in_span(s.neg, x)) &
                   ((s.pos.lo > s.pos.hi) | (s.pos.hi < sign)) & ((s.neg.lo > s.neg.hi) | (s.neg.lo >= sign));
        });
        prove("refinement: spans are cut to known bits" + width, true, [&] {
            u64 x;
            struct tn_tnum t = any_tnum(bits, &x);
            struct tn_span s = any_span(bits);

            assume(in_span(s, x));
            watch(x);
            s = tn_span_clip(s, t, bits);
            return unwatch(in_span(s, x));
        });
        prove("refinement: spans become ranges" + width, bits == 32, [&] {
            u64 x = any_number(bits);
            struct tn_spans s = any_spans(bits);
            struct tn_word w = tn_word_any(bits);

            assume(in_spans(s, x));
            tn_word_set_spans(&w, s, bits);
            return tn_word_contains(&w, x, bits);
        });
    }
    prove("refinement: the mirror of halves, 64 bits", true, [] {
        u64 x = any_number(64), y = ~x;
        struct halves h = any_halves(x), m = mirror(&h);

        return tn_tnum_contains(m.high, y >> 32) & tn_tnum_contains(m.low, y & HALF_MASK) &
               in_spans(m.span, y & HALF_MASK);
    });
    prove("refinement: the nearest number of possible halves, 64 bits", false, [] {
        u64 x = any_number(64), from = any_number(64), got = 0;
        struct halves h = any_halves(x);

        assume(from <= x);
        watch(x);
        truth found = member_ceil(&h, from, &got);
        return unwatch(found & (got <= x));
    });
    prove("refinement: low halves of a span, 64 bits", false, [] {
        u64 x = any_number(64);
        struct halves h = any_halves(x);
        struct tn_span s = any_span(64);
        struct tn_spans sum = {TN_SPAN_NONE, TN_SPAN_NONE};

        assume(in_span(s, x));
        watch(x);
        add_lows_of(&sum, &h, s);
        return unwatch(in_spans(sum, x & HALF_MASK));
    });
    prove("refinement: low halves stay when others are added, 32 bits", true, [] {
        u64 x = any_number(32);
        struct tn_span a = any_span(32), b = any_span(32);

        assume(in_span(a, x));
        return in_span(hull(a, b), x) & in_span(hull(b, a), x);
    });
    prove("refinement of small numbers, 64 bits", false, [] {
        u64 x, most;
        struct tn_range r = any_range(&x);

        most = TN_MIN(r.umax, r.var.value | r.var.mask);
        if (r.smin >= 0)
            most = TN_MIN(most, (u64)r.smax);
        assume(most <= (HALF_MASK >> 1));
        watch(x);
        truth alive = sync_small(&r, r.umin, most);
        return unwatch(alive & in_range(&r, x));
    });
    prove("union of ranges, 64 and 32 bits", true, [] {
        u64 x, y;
        struct tn_range a = any_range(&x), b = any_range(&y), r = tn_range_union(&a, &b);

        return in_range(&r, x) & in_range(&r, y);
    });
}

/* Sums: x lies `d` behind lo, y likewise; what add_bounds and sub_bounds hand to add_circle. */
static void circles(void)
{
    for (unsigned bits : {32u, 64u}) {
        std::string width = ", " + std::to_string(bits) + " bits";

        prove("circle: numbers between two on the way up" + width, bits == 32, [&] {
            u64 x, lo = any_number(bits), d = any_number(bits), n = any_number(bits);
            struct tn_word w = any_word(bits, &x);

            assume((d <= n) & (x == tn_width_trunc(lo + d, bits)));
            tn_word_clamp_circle(&w, lo, lo + n, bits);
            return tn_word_contains(&w, x, bits);
        });
        prove("circle: the sum of two ways" + width, bits == 32, [&] {
            u64 d = any_number(bits), e = any_number(bits), m = any_number(bits), n = any_number(bits);

            assume((d <= m) & (e <= n) & (m <= tn_width_mask(bits) - n));
            return (d + e <= m + n) & (m + n <= tn_width_mask(bits));
        });
        prove("circle: of unsigned and signed ranges" + width, bits == 32, [&] {
            u64 x, y, mask = tn_width_mask(bits);
            struct tn_word a = any_word(bits, &x), b = any_word(bits, &y);
            s64 sx = tn_width_sext(x, bits), sy = tn_width_sext(y, bits);

            /* where on its way x and y are; the sum of these is where their sum is */
            return (x - a.umin <= a.umax - a.umin) & ((u64)sx - (u64)a.smin <= (u64)a.smax - (u64)a.smin) &
                   ((u64)a.smax - (u64)a.smin <= mask) & (b.umax - y <= b.umax - b.umin) &
                   ((u64)b.smax - (u64)sy <= (u64)b.smax - (u64)b.smin);
        });
    }
}

int main(int argc, char **argv)
{
    everything = argc > 1 && !strcmp(argv[1], "--all");
    only = argc > 1 && !everything ? argv[1] : NULL;
    tnums();
    refinement();
    circles();
    branches();
    operations();
    printf("1..%u\n", count);
    return failed != 0;
}
