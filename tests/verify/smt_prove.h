/* SPDX-License-Identifier: MIT */
/*
 * Goals, and what became of them. A goal is a body, run once for each of its ways (smt_terms.h), that returns
 * what has to hold at the end. One that leaned on promises counts when everything of the promise's name and
 * width was proved as well; nothing leans on what comes after it.
 */
#ifndef TESTS_VERIFY_SMT_PROVE_H
#define TESTS_VERIFY_SMT_PROVE_H

#include "tests/verify/smt_source.h"

static bool everything;
static const char *only;
static unsigned count, failed, undecided;
static std::map<std::string, bool> kept; /* promises: whether every goal of theirs was proved */

enum speed {
    QUICK, /* part of the short run */
    LONG,
};

/* What has to hold, part by part. */
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

/* Of any two results, what smt.cc proves under these names. */
static z3::expr_vector promises_of_results(void)
{
    z3::expr_vector all(smt);
    auto low = [](const z3::expr &e, unsigned bits) { return e.extract(bits - 1, 0); };
    auto zero = smt.bv_val(0, 64), one = smt.bv_val(1, 64);

    auto mask = smt.bv_val((uint64_t)(~0ull >> (64 - abstract.bits)), 64);

    for (const auto &p : abstract.shifted) {
        auto fits = [&](const z3::expr &x, const z3::expr &amount) {
            return z3::ult(amount, smt.bv_val(abstract.bits, 64)) && z3::ule(x, z3::lshr(mask, amount));
        };
        for (const auto &q : abstract.shifted) {
            all.push_back(z3::implies(fits(q.x, q.y) && z3::ule(p.x, q.x) && z3::ule(p.y, q.y),
                                      z3::ule(p.is, q.is) && z3::ule(q.is, mask)));
            for (const auto &n : abstract.shifted) /* x is p's, at most n behind q's */
                if (&p != &q && &n != &p && &n != &q)
                    all.push_back(z3::implies(p.y == q.y && q.y == n.y && fits(n.x, n.y) &&
                                                  z3::ule((p.x - q.x) & mask, n.x),
                                              z3::ule((p.is - q.is) & mask, n.is) && z3::ule(n.is, mask)));
        }
    }
    if (!abstract.shifted.empty())
        lean("shifts", abstract.bits);
    for (const auto &p : abstract.products[0])
        for (const auto &q : abstract.products[0])
            all.push_back(z3::implies(z3::ule(p.x, q.x) && z3::ule(p.y, q.y), z3::ule(p.is, q.is)));
    for (const auto &p : abstract.products[1])
        for (const auto &q : abstract.products[1]) {
            all.push_back(z3::implies(p.y == q.y && p.x <= q.x && p.y >= zero, p.is <= q.is));
            all.push_back(z3::implies(p.y == q.y && p.x <= q.x && p.y <= zero, p.is >= q.is));
            all.push_back(z3::implies(p.x == q.x && p.y <= q.y && p.x >= zero, p.is <= q.is));
            all.push_back(z3::implies(p.x == q.x && p.y <= q.y && p.x <= zero, p.is >= q.is));
        }
    for (unsigned bits : {32u, 64u})
        for (int s : {0, 1})
            for (int t : {0, 1})
                for (const auto &p : abstract.products[s])
                    for (const auto &q : abstract.products[t])
                        if (&p != &q)
                            all.push_back(z3::implies(low(p.x, bits) == low(q.x, bits) &&
                                                          low(p.y, bits) == low(q.y, bits),
                                                      low(p.is, bits) == low(q.is, bits)));
    for (const auto &p : abstract.quotients) {
        all.push_back(z3::implies(p.y != zero, z3::ule(p.is, p.x)));
        all.push_back(z3::implies(z3::ugt(p.y, one), z3::ule(p.is, z3::lshr(p.x, one))));
        for (unsigned k = 0; k < 64; k++)
            all.push_back(z3::implies(p.y == smt.bv_val((uint64_t)1 << k, 64),
                                      p.is == z3::lshr(p.x, smt.bv_val(k, 64))));
        for (const auto &q : abstract.quotients)
            all.push_back(
                z3::implies(z3::ule(p.x, q.x) && z3::uge(p.y, q.y) && q.y != zero, z3::ule(p.is, q.is)));
    }
    for (const auto &p : abstract.remainders) {
        z3::expr below = (p.y & -p.y) - one;

        all.push_back(z3::implies(p.y != zero, z3::ult(p.is, p.y) && z3::ule(p.is, p.x)));
        all.push_back(z3::implies(z3::ult(p.x, p.y), p.is == p.x));
        all.push_back(z3::implies(p.y != zero, (p.is & below) == (p.x & below)));
        for (const auto &q : abstract.remainders)
            all.push_back(z3::implies(p.x == q.x && p.y == q.y, p.is == q.is));
    }
    if (!abstract.products[0].empty() || !abstract.products[1].empty())
        lean("products", 64);
    if (!abstract.quotients.empty())
        lean("quotients", 64);
    if (!abstract.remainders.empty())
        lean("remainders", 64);
    return all;
}

static double seconds(void)
{
    return (double)std::clock() / CLOCKS_PER_SEC;
}

static const char UNDECIDED[] = "not decided in time", WRONG[] = "WRONG",
                  VACUOUS[] = "WRONG: no number is as assumed";

/* One question. NULL: the part follows from the rest. */
static const char *ask(const z3::expr_vector &rest, const z3::expr &part, unsigned ms, std::string *ret_model)
{
    for (const char *tactic : goal.tactics) {
        z3::solver query = z3::tactic(smt, tactic).mk_solver();
        z3::params p(smt);

        p.set("timeout", ms);
        query.set(p);
        for (const z3::expr &e : rest)
            query.add(e);
        query.add(!part);
        switch (query.check()) {
        case z3::unsat:
            return NULL;
        case z3::sat:
            *ret_model = query.get_model().to_string();
            return WRONG;
        default:
            break;
        }
    }
    return UNDECIDED;
}

/* Goals named "PROMISE: …" and "PROMISE, …" are those that keep the promise. */
static std::string promise_of(const std::string &name, unsigned bits)
{
    return name.substr(0, name.find(':')) + ", " + std::to_string(bits) + " bits";
}

static void prove(const std::string &name, unsigned bits, enum speed speed,
                  const std::function<truth()> &body)
{
    std::string title = name + ", " + std::to_string(bits) + " bits", model, missing;
    const char *verdict = NULL;
    double start = seconds();
    struct run r;
    bool alive = false; /* some numbers are as was assumed: else anything would follow */
    unsigned ways = 0, ms = 300000;

    if (only ? title.find(only) == std::string::npos : speed != QUICK && !everything)
        return;
    now = &r;
    goal.leans.clear();
    do {
        r.restart();
        abstract.restart();
        goal.at_word.clear();
        goal.tactics = {"qfbv"};
        goal.watched.clear();
        goal.watched_by.clear();
        goal.ops.clear();
        truth holds = body();
        z3::expr_vector rest = promises_of_results();
        abstract.on = false;
        for (const z3::expr &e : r.solver.assertions())
            rest.push_back(e);
        std::vector<z3::expr> parts = parts_of(holds.e);
        verdict = ask(rest, holds.e, parts.size() > 1 ? 3000 : ms, &model);
        if (verdict == UNDECIDED && parts.size() > 1) { /* many small questions are answered sooner */
            verdict = NULL;
            for (const z3::expr &part : parts)
                if (!verdict)
                    verdict = ask(rest, part, ms, &model);
        }
        alive = alive || r.solver.check() != z3::unsat;
        ways++;
    } while (!verdict && r.next());
    if (!verdict && !alive)
        verdict = VACUOUS;
    for (const std::string &promise : goal.leans)
        if (!kept.count(promise) || !kept[promise])
            missing += (missing.empty() ? "; leans on what is not proved here: " : ", ") + promise;
    bool whole = !verdict && (missing.empty() || !everything);
    std::string own = promise_of(name, bits);
    kept[own] = whole && (!kept.count(own) || kept[own]);
    count++;
    failed += verdict == WRONG || verdict == VACUOUS;
    undecided += !whole;
    printf("%s %u - %s # %s, %u way%s, %.1f s%s\n", whole ? "ok" : "not ok", count, title.c_str(),
           verdict ? verdict : "proved", ways, ways == 1 ? "" : "s", seconds() - start, missing.c_str());
    for (size_t at = 0; at < model.size();) {
        size_t end = model.find('\n', at);

        printf("#   %s\n", model.substr(at, end - at).c_str());
        at = end == std::string::npos ? model.size() : end + 1;
    }
    fflush(stdout);
}

#endif
