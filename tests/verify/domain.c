/* SPDX-License-Identifier: MIT */
/*
 * The number domain against arithmetic itself. At a width of three bits every abstract word there is meets
 * every other in every operation and branch, and each concrete result is looked for in the abstract one; that
 * is the very code that runs at 32 and 64. There, random words with known members. How two widths are kept in
 * step is looked at in small.c; what holds for all numbers of 64 bits, in smt.cc.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/verify/arith.h"
#include "verify/range.h"

/* --------------------------------------------------------------------------------------------- exhaustive */

#define BITS      3u
#define VALUES    (1u << BITS)
#define MAX_WORDS 4096

static struct tn_word words[MAX_WORDS];
static u8 members[MAX_WORDS]; /* bit a value */
static size_t nwords;

static u8 members_of(const struct tn_word *w)
{
    u8 set = 0;

    for (u64 x = 0; x < VALUES; x++)
        if (tn_word_contains(w, x, BITS))
            set |= (u8)(1u << x);
    return set;
}

static void add_word(struct tn_word w)
{
    u8 before = members_of(&w);
    bool alive = tn_word_sync(&w, BITS);

    /* Refinement keeps every member; calling a word empty must be true. */
    if (alive)
        assert_int_equal(members_of(&w), before);
    else
        assert_int_equal(before, 0);
    if (!alive || !before)
        return;
    for (size_t k = 0; k < nwords; k++)
        if (!memcmp(&words[k], &w, sizeof(w)))
            return;
    assert_true(nwords < MAX_WORDS);
    members[nwords] = before;
    words[nwords++] = w;
}

static void test_sync_exhaustive(void **state)
{
    s64 low = tn_width_smin(BITS), high = tn_width_smax(BITS);

    nwords = 0;
    for (u64 mask = 0; mask < VALUES; mask++)
        for (u64 value = 0; value < VALUES; value++)
            for (u64 umin = 0; umin < VALUES && !(value & mask); umin++)
                for (u64 umax = umin; umax < VALUES; umax++)
                    for (s64 smin = low; smin <= high; smin++)
                        for (s64 smax = smin; smax <= high; smax++)
                            add_word((struct tn_word){{value, mask}, umin, umax, smin, smax});
    assert_true(nwords > 100);
}

static void test_alu_exhaustive(void **state)
{
    u64 checked = 0;

    for (size_t o = 0; o < TN_ARRAY_SIZE(arith_ops); o++)
        for (unsigned modulus = 4; modulus <= 8; modulus *= 2)
            for (size_t i = 0; i < nwords; i++)
                for (size_t j = 0; j < nwords; j++) {
                    struct arith_op op = arith_ops[o];
                    struct tn_word r = tn_word_alu(op.op, op.off, &words[i], &words[j], BITS, modulus);
                    u8 set = members_of(&r), again;

                    for (u64 x = 0; x < VALUES; x++)
                        for (u64 y = 0; y < VALUES; y++) {
                            if (!(members[i] >> x & 1) || !(members[j] >> y & 1))
                                continue;
                            checked++;
                            if (!(set >> arith_alu(op, x, y, BITS, modulus) & 1))
                                fail_msg("%s: %d, %d is missing from the result", op.name, (int)x, (int)y);
                        }
                    assert_true(tn_word_sync(&r, BITS));
                    again = members_of(&r);
                    assert_int_equal(again, set);
                }
    assert_true(checked > 1000000);
}

static void test_branch_exhaustive(void **state)
{
    u64 checked = 0;

    for (size_t o = 0; o < TN_ARRAY_SIZE(arith_jumps); o++)
        for (int taken = 0; taken < 2; taken++)
            for (size_t i = 0; i < nwords; i++)
                for (size_t j = 0; j < nwords; j++) {
                    struct tn_word a = words[i], b = words[j];
                    bool may = tn_word_assume(arith_jumps[o].op, taken, &a, &b, BITS) &&
                               tn_word_sync(&a, BITS) && tn_word_sync(&b, BITS);
                    u8 in_a = may ? members_of(&a) : 0, in_b = may ? members_of(&b) : 0;

                    for (u64 x = 0; x < VALUES; x++)
                        for (u64 y = 0; y < VALUES; y++) {
                            if (!(members[i] >> x & 1) || !(members[j] >> y & 1) ||
                                arith_jump(arith_jumps[o].op, x, y, BITS) != (bool)taken)
                                continue;
                            checked++;
                            if (!(in_a >> x & 1) || !(in_b >> y & 1))
                                fail_msg("%s taken=%d: %d, %d is missing", arith_jumps[o].name, taken, (int)x,
                                         (int)y);
                        }
                    /* Refinement never adds. */
                    assert_int_equal(in_a & ~members[i], 0);
                    assert_int_equal(in_b & ~members[j], 0);
                }
    assert_true(checked > 1000000);
}

/* The nearest members on either side of x. */
static void check_ends(struct tn_tnum t, u64 x)
{
    u64 up = 16, down = 16, got = 0;

    for (u64 k = 0; k < 16; k++) {
        if (tn_tnum_contains(t, k) && k >= x && up == 16)
            up = k;
        if (tn_tnum_contains(t, k) && k <= x)
            down = k;
    }
    assert_int_equal(tn_tnum_ceil(t, x, &got), up != 16);
    assert_true(up == 16 || got == up);
    assert_int_equal(tn_tnum_floor(t, x, 4, &got), down != 16);
    assert_true(down == 16 || got == down);
}

static void test_tnum_exhaustive(void **state)
{
    for (u64 am = 0; am < 16; am++)
        for (u64 av = 0; av < 16; av++)
            for (u64 bm = 0; bm < 16; bm++)
                for (u64 bv = 0; bv < 16; bv++) {
                    struct tn_tnum a = {av, am}, b = {bv, bm}, both = {0, 0};
                    bool meet;

                    if ((av & am) || (bv & bm))
                        continue;
                    meet = tn_tnum_intersect(a, b, &both);
                    for (u64 x = 0; x < 16; x++)
                        check_ends(a, x);
                    for (u64 x = 0; x < 16; x++) {
                        bool in = tn_tnum_contains(a, x) && tn_tnum_contains(b, x);

                        assert_int_equal(in, meet && tn_tnum_contains(both, x));
                        if (tn_tnum_contains(a, x) || tn_tnum_contains(b, x))
                            assert_true(tn_tnum_contains(tn_tnum_union(a, b), x));
                        if (tn_tnum_includes(a, b) && tn_tnum_contains(b, x))
                            assert_true(tn_tnum_contains(a, x));
                        for (u64 y = 0; y < 16; y++) {
                            if (!tn_tnum_contains(a, x) || !tn_tnum_contains(b, y))
                                continue;
                            assert_true(tn_tnum_contains(tn_tnum_add(a, b), x + y));
                            assert_true(tn_tnum_contains(tn_tnum_sub(a, b), x - y));
                            assert_true(tn_tnum_contains(tn_tnum_mul(a, b), x * y));
                            assert_true(tn_tnum_contains(tn_tnum_and(a, b), x & y));
                            assert_true(tn_tnum_contains(tn_tnum_or(a, b), x | y));
                            assert_true(tn_tnum_contains(tn_tnum_xor(a, b), x ^ y));
                        }
                    }
                }
}

/* ------------------------------------------------------------------------------------------------- random */

static u64 seed = 0x243f6a8885a308d3ull;
static u64 rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Numbers near the edges where ranges break. */
static u64 rnd_value(void)
{
    static const u64 edge[] = {0,           1,         0x7fffffff, 0x80000000, 0xffffffff,
                               0x100000000, INT64_MAX, 1ull << 63, ~0ull};
    u64 x = rnd();

    switch (rnd() % 4) {
    case 0:
        return edge[x % TN_ARRAY_SIZE(edge)] + rnd() % 5 - 2;
    case 1:
        return x >> (rnd() % 64);
    case 2:
        return (u64)((s64)x >> (rnd() % 64));
    default:
        return x;
    }
}

/* A range around a few values, all of which are members. */
static struct tn_range rnd_range(u64 ret_members[3])
{
    struct tn_range r, one;

    ret_members[0] = rnd_value();
    r = tn_range_const(ret_members[0]);
    for (int k = 1; k < 3; k++) {
        ret_members[k] = rnd() % 3 ? ret_members[0] + rnd() % 64 - 32 : rnd_value();
        if (rnd() % 4 == 0)
            ret_members[k] = ret_members[0];
        one = tn_range_const(ret_members[k]);
        r = tn_range_union(&r, &one);
    }
    if (rnd() % 4 == 0)
        r.var = tn_tnum_unknown(64);
    if (rnd() % 4 == 0)
        r.umin = 0, r.umax = UINT64_MAX;
    if (rnd() % 4 == 0)
        r.smin = INT64_MIN, r.smax = INT64_MAX;
    assert_true(tn_range_sync(&r));
    return r;
}

static void check_insn(struct bpf_insn i, const struct tn_range *a, u64 expected)
{
    struct tn_range r = tn_range_insn(&i, a, a);

    if (!tn_range_contains(&r, expected))
        fail_msg("opcode %02x, off %d, imm %d: %#llx is missing", i.code, i.off, i.imm,
                 (unsigned long long)expected);
}

static void check_unary(const struct tn_range *a, u64 x)
{
    struct tn_range r;

    assert_true(tn_range_contains(a, x));
    for (unsigned width = 8; width <= 32; width *= 2) {
        r = tn_range_zext(a, width);
        assert_true(tn_range_contains(&r, tn_width_trunc(x, width)));
        r = tn_range_sext(a, width);
        assert_true(tn_range_contains(&r, (u64)tn_width_sext(x, width)));
    }
    check_insn((struct bpf_insn){.code = BPF_ALU64 | BPF_NEG}, a, 0 - x);
    check_insn((struct bpf_insn){.code = BPF_ALU | BPF_NEG}, a, (u32)(0 - x));
    for (unsigned width = 16; width <= 64; width *= 2) {
        u64 swapped = __builtin_bswap64(x) >> (64 - width), cut = tn_width_trunc(x, width);

        check_insn((struct bpf_insn){.code = BPF_ALU64 | BPF_END, .imm = (s32)width}, a, swapped);
        check_insn((struct bpf_insn){.code = BPF_ALU | BPF_END | BPF_TO_BE, .imm = (s32)width}, a, swapped);
        check_insn((struct bpf_insn){.code = BPF_ALU | BPF_END | BPF_TO_LE, .imm = (s32)width}, a, cut);
    }
    for (s16 width = 8; width <= 32; width *= 2) {
        u64 extended = (u64)tn_width_sext(x, (unsigned)width);

        check_insn((struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_X, .off = width}, a, extended);
        if (width < 32)
            check_insn((struct bpf_insn){.code = BPF_ALU | BPF_MOV | BPF_X, .off = width}, a, (u32)extended);
    }
}

static void test_range_random(void **state)
{
    u64 x[3], y[3];

    for (int round = 0; round < 300000; round++) {
        struct tn_range a = rnd_range(x), b = rnd_range(y), r;
        struct arith_op op = arith_ops[rnd() % TN_ARRAY_SIZE(arith_ops)];
        u8 jmp = arith_jumps[rnd() % TN_ARRAY_SIZE(arith_jumps)].op;
        bool is64 = rnd() % 2;
        unsigned bits = is64 ? 64 : 32;
        struct bpf_insn insn = arith_insn(is64 ? BPF_ALU64 : BPF_ALU, op.op, op.off);

        for (int i = 0; i < 3; i++) {
            check_unary(&a, x[i]);
            for (int j = 0; j < 3; j++) {
                u64 ca = tn_width_trunc(x[i], bits), cb = tn_width_trunc(y[j], bits);
                bool taken = arith_jump(jmp, ca, cb, bits);
                struct tn_range p = a, q = b;

                r = tn_range_insn(&insn, &a, &b);
                if (!tn_range_contains(&r, arith_alu(op, ca, cb, bits, bits)))
                    fail_msg("%s/%u: %#llx, %#llx", op.name, bits, (unsigned long long)x[i],
                             (unsigned long long)y[j]);
                if (!tn_range_assume(jmp, is64, taken, &p, &q) || !tn_range_contains(&p, x[i]) ||
                    !tn_range_contains(&q, y[j]))
                    fail_msg("jump %02x/%u: %#llx, %#llx", jmp, bits, (unsigned long long)x[i],
                             (unsigned long long)y[j]);
                assert_true(tn_range_includes(&a, &p));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tnum_exhaustive), cmocka_unit_test(test_sync_exhaustive),
        cmocka_unit_test(test_alu_exhaustive),  cmocka_unit_test(test_branch_exhaustive),
        cmocka_unit_test(test_range_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
