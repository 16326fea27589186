/* SPDX-License-Identifier: MIT */
/*
 * The register domain, compiled for registers of TN_RANGE_BITS bits with halves of half that width: small
 * enough to look at every member of a range.
 *
 *      2 bits   every range there is; every pair of them in every operation and branch
 *      4 bits   the same, but in `make check` one of 11 ranges, and pairs at random
 *      6 bits   ranges at random, pairs at random
 *
 * Of each: refinement keeps every member, says empty exactly when it is, ends at members, and is done after
 * once. TN_SMALL_ROUNDS: how many pairs at random, and everything of 4 bits (some minutes).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/verify/arith.h"
#include "verify/range.c"
#include "verify/refine.c"
#include "verify/tnum.c"
#include "verify/word.c"

#define VALUES (1u << BITS)

static u64 seed = 0x243f6a8885a308d3ull;
static u64 rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static u32 pick(u64 n)
{
    return (u32)((rnd() >> 20) % n);
}

static u64 members_of(const struct tn_range *r)
{
    u64 set = 0;

    for (u64 x = 0; x < VALUES; x++)
        if (tn_range_contains(r, x))
            set |= 1ull << x;
    return set;
}

static void show(const char *what, const struct tn_range *r)
{
    print_message("# %s: bits %llx/%llx u %llu…%llu s %lld…%lld low u %u…%u s %d…%d\n", what,
                  (unsigned long long)r->var.value, (unsigned long long)r->var.mask,
                  (unsigned long long)r->umin, (unsigned long long)r->umax, (long long)r->smin,
                  (long long)r->smax, r->u32min, r->u32max, r->s32min, r->s32max);
}

/* Each end is reached. */
static bool tight(const struct tn_range *r, u64 set)
{
    u32 ends = 0;

    for (u64 x = 0; x < VALUES; x++) {
        s64 s = tn_width_sext(x, BITS), sl = tn_width_sext(x, HALF);
        u64 l = x & HALF_MASK;

        if (!(set >> x & 1))
            continue;
        ends |= (u32)((x == r->umin) | (x == r->umax) << 1 | (s == r->smin) << 2 | (s == r->smax) << 3 |
                      (l == r->u32min) << 4 | (l == r->u32max) << 5 | (sl == r->s32min) << 6 |
                      (sl == r->s32max) << 7);
    }
    return ends == 0xff;
}

/* --------------------------------------------------------------------------------------------- refinement */

#define MAX_RANGES 500000u
static struct tn_range *ranges;
static u64 *members;
static u32 nranges, table[1u << 20];

static void keep(const struct tn_range *r, u64 set)
{
    u64 hash = set * 0x9e3779b97f4a7c15ull ^ (r->var.mask << 7 ^ r->var.value) * 0xd1342543de82ef95ull;
    u32 at = (u32)(hash >> 40) & (TN_ARRAY_SIZE(table) - 1);

    for (; table[at]; at = (at + 1) & (TN_ARRAY_SIZE(table) - 1))
        if (!memcmp(&ranges[table[at] - 1], r, sizeof(*r)))
            return;
    if (nranges == MAX_RANGES)
        return;
    ranges[nranges] = *r;
    members[nranges++] = set;
    table[at] = nranges;
}

static void check_sync(struct tn_range raw)
{
    struct tn_range r = raw, again;
    u64 before = members_of(&raw), after;
    bool alive = tn_range_sync(&r);

    if (alive != (before != 0)) {
        show("raw", &raw);
        fail_msg("called %s", alive ? "alive" : "empty");
    }
    if (!alive)
        return;
    after = members_of(&r);
    again = r;
    if (after != before || !tight(&r, after) || !tn_range_sync(&again) || memcmp(&again, &r, sizeof(r))) {
        show("raw", &raw);
        show("refined", &r);
        fail_msg("members %llx → %llx", (unsigned long long)before, (unsigned long long)after);
    }
    keep(&r, after);
}

static struct tn_tnum tnum_at(u32 k)
{
    struct tn_tnum t = {0, 0};

    for (unsigned b = 0; b < BITS; b++, k /= 3) {
        t.value |= (u64)(k % 3 == 1) << b;
        t.mask |= (u64)(k % 3 == 2) << b;
    }
    return t;
}

static u32 power3(unsigned n)
{
    return n ? 3 * power3(n - 1) : 1;
}

static bool whole_run(void)
{
    return getenv("TN_SMALL_ROUNDS") || BITS == 2;
}

static u64 pairs(void)
{
    const char *text = getenv("TN_SMALL_ROUNDS");

    return text ? strtoull(text, NULL, 0) : 30000;
}

static void every_low(struct tn_range r)
{
    s32 smin = (s32)tn_width_smin(HALF), smax = (s32)tn_width_smax(HALF);

    for (r.u32min = 0; r.u32min <= HALF_MASK; r.u32min++)
        for (r.u32max = r.u32min; r.u32max <= HALF_MASK; r.u32max++)
            for (r.s32min = smin; r.s32min <= smax; r.s32min++)
                for (r.s32max = r.s32min; r.s32max <= smax; r.s32max++)
                    check_sync(r);
}

static void test_every_range(void **state)
{
    s64 smin = tn_width_smin(BITS), smax = tn_width_smax(BITS);
    struct tn_range r;
    u64 turn = 0;

    if (BITS > 4) /* too many */
        return;
    for (u32 k = 0; k < power3(BITS); k++)
        for (u64 umin = 0; umin < VALUES; umin++)
            for (u64 umax = umin; umax < VALUES; umax++)
                for (s64 s = smin; s <= smax; s++)
                    for (s64 t = s; t <= smax; t++) {
                        if (turn++ % 11 && !whole_run())
                            continue;
                        r = (struct tn_range){tnum_at(k), umin, umax, s, t, 0, 0, 0, 0};
                        every_low(r);
                    }
    print_message("# %u different ranges of %u bits\n", nranges, BITS);
    assert_true(nranges > 10);
}

static void test_random_ranges(void **state)
{
    u64 rounds = 10 * pairs();

    for (u64 k = 0; k < rounds; k++) {
        struct tn_range r = tn_range_any();

        if (pick(3))
            r.var = tnum_at(pick(power3(BITS)));
        if (pick(3)) {
            r.umin = pick(VALUES);
            r.umax = r.umin + pick(VALUES - r.umin);
        }
        if (pick(3)) {
            r.smin = tn_width_smin(BITS) + pick(VALUES);
            r.smax = r.smin + pick((u64)(tn_width_smax(BITS) - r.smin) + 1);
        }
        if (pick(2)) {
            r.u32min = pick(HALF_MASK + 1);
            r.u32max = r.u32min + pick(HALF_MASK + 1 - r.u32min);
        }
        if (pick(2)) {
            r.s32min = (s32)tn_width_smin(HALF) + (s32)pick(HALF_MASK + 1);
            r.s32max = r.s32min + (s32)pick((u64)(tn_width_smax(HALF) - r.s32min) + 1);
        }
        check_sync(r);
    }
}

/* --------------------------------------------------------------------------------------------- operations */

static bool is_tight(const struct tn_range *r)
{
    return tight(r, members_of(r));
}

static void check_unary(u32 i)
{
    const struct tn_range *a = &ranges[i];
    struct bpf_insn neg64 = {.code = BPF_ALU64 | BPF_NEG}, neg32 = {.code = BPF_ALU | BPF_NEG};
    struct tn_range z[BITS + 1], s[BITS + 1], n64 = tn_range_insn(&neg64, a, a),
                                              n32 = tn_range_insn(&neg32, a, a);

    for (unsigned b = 1; b <= HALF; b++) {
        z[b] = tn_range_zext(a, b);
        s[b] = tn_range_sext(a, b);
        assert_true(is_tight(&z[b]) && is_tight(&s[b]));
    }
    assert_true(is_tight(&n64) && is_tight(&n32));
    for (u64 x = 0; x < VALUES; x++) {
        if (!(members[i] >> x & 1))
            continue;
        for (unsigned b = 1; b <= HALF; b++) {
            if (!tn_range_contains(&z[b], tn_width_trunc(x, b)) ||
                !tn_range_contains(&s[b], tn_width_trunc((u64)tn_width_sext(x, b), BITS))) {
                show("of", a);
                fail_msg("extension of %llu from %u bits", (unsigned long long)x, b);
            }
        }
        assert_true(tn_range_contains(&n64, tn_width_trunc(0 - x, BITS)));
        assert_true(tn_range_contains(&n32, tn_width_trunc(0 - x, HALF)));
    }
}

static void check_alu(u32 i, u32 j, struct arith_op o, bool is64)
{
    const struct tn_range *a = &ranges[i], *b = &ranges[j];
    struct bpf_insn insn = arith_insn(is64 ? BPF_ALU64 : BPF_ALU, o.op, o.off);
    struct tn_range r = tn_range_insn(&insn, a, b);
    unsigned bits = is64 ? BITS : HALF;
    u64 set = members_of(&r);

    for (u64 x = 0; x < VALUES; x++)
        for (u64 y = 0; y < VALUES && members[i] >> x & 1; y++) {
            u64 c = arith_alu(o, tn_width_trunc(x, bits), tn_width_trunc(y, bits), bits, bits);

            if (!(members[j] >> y & 1) || set >> c & 1)
                continue;
            show("a", a);
            show("b", b);
            show("result", &r);
            fail_msg("%s of %u bits: %llu, %llu → %llu is missing", o.name, bits, (unsigned long long)x,
                     (unsigned long long)y, (unsigned long long)c);
        }
    if (!tight(&r, set)) {
        show("result", &r);
        fail_msg("%s: the result is not tight", o.name);
    }
}

static void check_jump(u32 i, u32 j, u8 op, bool is64, bool taken)
{
    struct tn_range a = ranges[i], b = ranges[j];
    bool may = tn_range_assume(op, is64, taken, &a, &b);
    unsigned bits = is64 ? BITS : HALF;
    u64 in_a = may ? members_of(&a) : 0, in_b = may ? members_of(&b) : 0;

    for (u64 x = 0; x < VALUES; x++)
        for (u64 y = 0; y < VALUES && members[i] >> x & 1; y++) {
            if (!(members[j] >> y & 1) ||
                arith_jump(op, tn_width_trunc(x, bits), tn_width_trunc(y, bits), bits) != taken)
                continue;
            if (in_a >> x & 1 && in_b >> y & 1)
                continue;
            show("a", &ranges[i]);
            show("b", &ranges[j]);
            fail_msg("jump %02x of %u bits, taken=%d: %llu, %llu is missing", op, bits, taken,
                     (unsigned long long)x, (unsigned long long)y);
        }
    /* Refinement never adds, and what is left is alive and tight. */
    assert_false(in_a & ~members[i] || in_b & ~members[j]);
    assert_true(!may || (tight(&a, in_a) && tight(&b, in_b)));
}

static bool is_shift(u8 op)
{
    return op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH;
}

static void check_pair(u32 i, u32 j)
{
    struct tn_range both, either = tn_range_union(&ranges[i], &ranges[j]);
    bool meet = tn_range_intersect(&ranges[i], &ranges[j], &both);

    assert_int_equal(meet, (members[i] & members[j]) != 0);
    assert_true(!meet || members_of(&both) == (members[i] & members[j]));
    assert_false((members[i] | members[j]) & ~members_of(&either));
    assert_true(!tn_range_includes(&ranges[i], &ranges[j]) || !(members[j] & ~members[i]));
    for (int is64 = 0; is64 < 2; is64++) {
        for (size_t o = 0; o < TN_ARRAY_SIZE(arith_ops); o++)
            if ((BITS & (BITS - 1)) == 0 || !is_shift(arith_ops[o].op)) /* amounts are cut to whole bits */
                check_alu(i, j, arith_ops[o], is64);
        for (size_t o = 0; o < TN_ARRAY_SIZE(arith_jumps); o++)
            for (int taken = 0; taken < 2; taken++)
                check_jump(i, j, arith_jumps[o].op, is64, taken);
    }
}

static void test_operations(void **state)
{
    u64 all = (u64)nranges * nranges;

    for (u32 k = 0; k < nranges; k++)
        check_unary(k);
    if (BITS <= 4 && whole_run())
        for (u64 k = 0; k < all; k++)
            check_pair((u32)(k / nranges), (u32)(k % nranges));
    else
        for (u64 k = 0; k < pairs(); k++)
            check_pair(pick(nranges), pick(nranges));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_range),
        cmocka_unit_test(test_random_ranges),
        cmocka_unit_test(test_operations),
    };
    int failed;

    ranges = calloc(MAX_RANGES, sizeof(*ranges));
    members = calloc(MAX_RANGES, sizeof(*members));
    if (!ranges || !members)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(ranges);
    free(members);
    return failed;
}
