/* SPDX-License-Identifier: MIT */
/*
 * Numbers that are terms of an SMT solver, in place of base.h: the C sources of the number domain, compiled
 * as C++ over these, compute a formula instead of a value.
 *
 *      a + b, a < b, (u64)a …      a new term
 *      TN_PICK, TN_MIN, TN_MAX     if-then-else inside a term
 *      if (…), &&, ?:, for (…)     the run goes one way; prove() runs the body again for each other way that
 *                                  is possible
 *
 * A run is a conjunction of what was decided; a proof is one query a run: nothing satisfies what was assumed,
 * what was decided, and the negation of what was to be proved.
 */
#ifndef TESTS_VERIFY_SMT_TERMS_H
#define TESTS_VERIFY_SMT_TERMS_H

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <vector>
#include <z3++.h>

static z3::context smt;

/* The present run. */
struct run {
    struct choice {
        bool went, other;
    };
    std::vector<choice> trail;
    size_t at = 0;
    unsigned names = 0;
    z3::solver solver{smt};

    run()
    {
        z3::params p(smt);

        p.set("timeout", 3000u);
        solver.set(p);
    }
    void add(const z3::expr &e) { solver.add(e); }
    bool possible(const z3::expr &e)
    {
        z3::expr_vector with(smt);

        with.push_back(e);
        return solver.check(with) != z3::unsat; /* not known counts as possible */
    }
    bool decide(const z3::expr &raw)
    {
        z3::expr e = raw.simplify();

        if (e.is_true() || e.is_false())
            return e.is_true();
        if (at == trail.size()) {
            bool yes = possible(e), no = !yes || possible(!e);

            trail.push_back({yes, yes && no});
        }
        bool went = trail[at++].went;

        add(went ? e : !e);
        return went;
    }
    /* A number below n: a way for each. */
    unsigned each(unsigned n)
    {
        unsigned k = 0;

        for (; k + 1 < n; k++) {
            if (at == trail.size())
                trail.push_back({true, true});
            if (trail[at++].went)
                break;
        }
        return k;
    }
    /* On to the next way; false: all were gone. */
    bool next()
    {
        while (!trail.empty() && !trail.back().other)
            trail.pop_back();
        if (trail.empty())
            return false;
        trail.back() = {false, false};
        return true;
    }
    void restart()
    {
        at = 0;
        names = 0;
        solver.reset();
    }
};
static run *now;

/*
 * Shifts, products and quotients that are only known by what is promised of them (smt.cc proves the
 * promises): each is a number of its own, and of any two of them the promises are written down that bind
 * them.
 */
struct abstract {
    struct result {
        z3::expr x, y, is; /* operands of 64 bits; a product has 128 */
    };
    bool on = false;
    unsigned bits = 64; /* of the words that are shifted */
    std::vector<result> shifted, products[2], quotients,
        remainders; /* products: of unsigned, of signed numbers */

    static z3::expr to(const z3::expr &e, unsigned bits, bool is_signed)
    {
        unsigned from = e.get_sort().bv_size();

        return (from >= bits ? e.extract(bits - 1, 0)
                : is_signed  ? z3::sext(e, bits - from)
                             : z3::zext(e, bits - from))
            .simplify();
    }
    static z3::expr known(std::vector<result> &all, const z3::expr &x, const z3::expr &y, unsigned bits)
    {
        for (const result &r : all)
            if (z3::eq(r.x, x) && z3::eq(r.y, y))
                return r.is;
        all.push_back({x, y, smt.bv_const(("result" + std::to_string(now->names++)).c_str(), bits)});
        return all.back().is;
    }
    z3::expr product(const z3::expr &x, const z3::expr &y, bool is_signed)
    {
        unsigned bits = x.get_sort().bv_size();

        is_signed = is_signed && bits > 64;
        return known(products[is_signed], to(x, 64, is_signed), to(y, 64, is_signed), 128)
            .extract(bits - 1, 0);
    }
    z3::expr divide(const z3::expr &x, const z3::expr &y, bool is_signed, bool quotient)
    {
        unsigned bits = x.get_sort().bv_size();
        z3::expr zero = smt.bv_val(0, 64), a = to(x, 64, is_signed), b = to(y, 64, is_signed);
        z3::expr flip = is_signed ? quotient ? (a < zero) != (b < zero) : a < zero : smt.bool_val(false);

        if (is_signed) {
            a = z3::ite(a < zero, -a, a).simplify();
            b = z3::ite(b < zero, -b, b).simplify();
        }
        z3::expr r = known(quotient ? quotients : remainders, a, b, 64);
        return z3::ite(flip, -r, r).extract(bits - 1, 0);
    }
    z3::expr shift_left(const z3::expr &x, const z3::expr &amount)
    {
        return known(shifted, x.simplify(), amount.simplify(), 64);
    }
    void restart()
    {
        shifted.clear();
        products[0].clear();
        products[1].clear();
        quotients.clear();
        remainders.clear();
        on = false;
    }
};
static struct abstract abstract;

struct truth {
    z3::expr e;

    truth() : e(smt.bool_val(false)) {}
    truth(bool b) : e(smt.bool_val(b)) {}
    truth(const z3::expr &e) : e(e) {}
    explicit operator bool() const { return now->decide(e); }
    truth operator&(const truth &o) const { return truth(e && o.e); }
    truth operator|(const truth &o) const { return truth(e || o.e); }
    truth operator!() const { return truth(!e); }
};

template <unsigned W, bool S> struct num {
    z3::expr e;

    num() : e(smt.bv_val(0u, W)) {}
    num(const z3::expr &e) : e(e) {}
    template <typename T, typename = std::enable_if_t<std::is_integral_v<T> || std::is_enum_v<T>>>
    num(T v)
        : e(W <= 64 ? smt.bv_val((uint64_t)v, W)
                    : z3::sext(smt.bv_val((uint64_t)v, 64), W <= 64 ? 0 : W - 64))
    {
    }
    template <unsigned V, bool T> num(const num<V, T> &o) : e(resize(o.e, V, T)) {}
    static z3::expr resize(const z3::expr &e, unsigned from, bool is_signed)
    {
        return from > W    ? e.extract(W - 1, 0)
               : from == W ? e
               : is_signed ? z3::sext(e, W - from)
                           : z3::zext(e, W - from);
    }
    explicit operator bool() const { return now->decide(e != smt.bv_val(0u, W)); }
    num operator~() const { return num(~e); }
    num operator-() const { return num(-e); }
#define SMT_ASSIGN(op)                                                                                       \
    template <typename T> num &operator op##=(const T &o)                                                    \
    {                                                                                                        \
        return *this = num(*this op o);                                                                      \
    }
    SMT_ASSIGN(+) SMT_ASSIGN(-) SMT_ASSIGN(&) SMT_ASSIGN(|) SMT_ASSIGN(>>) SMT_ASSIGN(<<)
};

/* C's rules for the type of a result. */
template <typename T> struct as {
    using type = num<(sizeof(T) > 4 ? 64 : 32), std::is_signed_v<T> || (sizeof(T) < 4)>;
};
template <unsigned W, bool S> struct as<num<W, S>> {
    using type = num<W, S>;
};
template <typename A, typename B> struct joined;
template <unsigned V, bool S, unsigned W, bool T> struct joined<num<V, S>, num<W, T>> {
    using type = num<(V > W ? V : W), (V == W ? S && T : V > W ? S : T)>;
};
template <typename A, typename B>
using join = typename joined<typename as<A>::type, typename as<B>::type>::type;
template <typename T> struct is_num : std::false_type {
};
template <unsigned W, bool S> struct is_num<num<W, S>> : std::true_type {
};
template <typename A, typename B> using of_terms = std::enable_if_t<is_num<A>::value || is_num<B>::value>;
template <typename T> struct signed_num;
template <unsigned W, bool S> struct signed_num<num<W, S>> : std::integral_constant<bool, S> {
};

#define SMT_ARITH(op, s, u)                                                                                  \
    template <typename A, typename B, typename = of_terms<A, B>>                                             \
    join<A, B> operator op(const A &a, const B &b)                                                           \
    {                                                                                                        \
        z3::expr x = join<A, B>(a).e, y = join<A, B>(b).e;                                                   \
        return join<A, B>(signed_num<join<A, B>>::value ? (s) : (u));                                        \
    }
SMT_ARITH(+, x + y, x + y)
SMT_ARITH(-, x - y, x - y)
SMT_ARITH(&, x &y, x &y)
SMT_ARITH(|, x | y, x | y)
SMT_ARITH(^, x ^ y, x ^ y)
SMT_ARITH(*, abstract.on ? abstract.product(x, y, true) : x *y,
          abstract.on ? abstract.product(x, y, false) : x *y)
SMT_ARITH(/, abstract.on ? abstract.divide(x, y, true, true) : x / y,
          abstract.on ? abstract.divide(x, y, false, true) : z3::udiv(x, y))
SMT_ARITH(%, abstract.on ? abstract.divide(x, y, true, false) : z3::srem(x, y),
          abstract.on ? abstract.divide(x, y, false, false) : z3::urem(x, y))

#define SMT_COMPARE(op, s, u)                                                                                \
    template <typename A, typename B, typename = of_terms<A, B>> truth operator op(const A &a, const B &b)   \
    {                                                                                                        \
        z3::expr x = join<A, B>(a).e, y = join<A, B>(b).e;                                                   \
        return truth(signed_num<join<A, B>>::value ? (s) : (u));                                             \
    }
SMT_COMPARE(==, x == y, x == y)
SMT_COMPARE(!=, x != y, x != y)
SMT_COMPARE(<, x < y, z3::ult(x, y))
SMT_COMPARE(<=, x <= y, z3::ule(x, y))
SMT_COMPARE(>, x > y, z3::ugt(x, y))
SMT_COMPARE(>=, x >= y, z3::uge(x, y))

/* The type is the left operand's; amounts are below the width. */
template <typename A, typename B, typename = of_terms<A, B>>
typename as<A>::type operator<<(const A &a, const B &b)
{
    using T = typename as<A>::type;
    z3::expr x = T(a).e, amount = T(b).e;

    if (abstract.on && x.get_sort().bv_size() == 64 && !amount.simplify().is_numeral())
        return T(abstract.shift_left(x, amount));
    return T(z3::shl(x, amount));
}
template <typename A, typename B, typename = of_terms<A, B>>
typename as<A>::type operator>>(const A &a, const B &b)
{
    using T = typename as<A>::type;
    return T(signed_num<T>::value ? z3::ashr(T(a).e, T(b).e) : z3::lshr(T(a).e, T(b).e));
}

template <typename A, typename B> join<A, B> pick(const truth &c, const A &a, const B &b)
{
    return join<A, B>(z3::ite(c.e, join<A, B>(a).e, join<A, B>(b).e));
}
#define TN_PICK(c, a, b) pick((c), (a), (b))
#define TN_MIN(a, b)     pick(truth((a) < (b)), (a), (b))
#define TN_MAX(a, b)     pick(truth((a) > (b)), (a), (b))

typedef uint8_t u8;
typedef uint16_t u16;
typedef int8_t s8;
typedef int16_t s16;
typedef num<32, false> u32;
typedef num<64, false> u64;
typedef num<32, true> s32;
typedef num<64, true> s64;
typedef num<128, false> wide_u;
typedef num<128, true> wide_s;

/* Zeros above the highest one of x ≠ 0. */
static u64 leading_zeros(const u64 &x)
{
    u64 v = x, n = 0;

    for (unsigned step = 32; step; step /= 2) {
        truth high = (v >> (64 - step)) == 0;

        n = pick(high, n + step, n);
        v = pick(high, v << step, v);
    }
    return n;
}
#define __builtin_clzll leading_zeros

#define TN_BASE_H
#define TN_WIDTH_TERMS
#define TN_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define bool truth

#endif
