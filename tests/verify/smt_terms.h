/* SPDX-License-Identifier: MIT */
/*
 * Numbers that are terms of an SMT solver, in place of base.h: the C sources of the number domain, compiled
 * as C++ over these, compute a formula instead of a value.
 *
 *      a + b, a < b, (u64)a …      a new term
 *      TN_PICK, TN_MIN, TN_MAX     if-then-else inside a term
 *      if (…), &&, ?:, for (…)     the run goes one way; prove() runs the body again for each other way that
 * is possible (unsigned)a                 one run for each value that is possible (shift amounts)
 *
 * A run is a conjunction of what was decided; a proof is one query a run: nothing satisfies what was assumed,
 * what was decided, and the negation of what was to be proved.
 */
#ifndef TESTS_VERIFY_SMT_TERMS_H
#define TESTS_VERIFY_SMT_TERMS_H

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
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
    explicit operator unsigned() const
    {
        z3::expr known = e.simplify();
        uint64_t v;

        while (!known.is_numeral_u64(v)) {
            if (now->solver.check() != z3::sat)
                std::abort();
            v = now->solver.get_model().eval(e, true).get_numeral_uint64();
            if (now->decide(e == smt.bv_val(v, W)))
                break;
        }
        return (unsigned)v;
    }
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
SMT_ARITH(*, x *y, x *y)
SMT_ARITH(&, x &y, x &y)
SMT_ARITH(|, x | y, x | y)
SMT_ARITH(^, x ^ y, x ^ y)
SMT_ARITH(/, x / y, z3::udiv(x, y))
SMT_ARITH(%, z3::srem(x, y), z3::urem(x, y))

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
    return T(z3::shl(T(a).e, T(b).e));
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
