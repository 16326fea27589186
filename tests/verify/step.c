/* SPDX-License-Identifier: MIT */
/*
 * Steps, held against numbers: registers are made of numbers that are known, an operation is done to these, and
 * what comes out is a multiple of the step that is told; of pointers that are moved, each place is among those told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "verify/internal.h"

static u64 seed = 88172645463325252ull;
static u64 rnd(u64 n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 11) % n;
}

/* A few multiples of something, and a register that has no others' sake but theirs. */
#define NUMBERS 6u
struct sample {
    u64 x[NUMBERS];
    struct tn_reg reg;
};
static void make(struct sample *s, bool small)
{
    u64 step = rnd(3) ? 1 + rnd(100) : 1, most = small ? 40 : rnd(2) ? UINT32_MAX / step : UINT64_MAX / step;
    u64 base = rnd(TN_MAX(most - 20, (u64)1));

    s->reg = (struct tn_reg){.kind = TN_REG_SCALAR};
    for (u32 k = 0; k < NUMBERS; k++) {
        struct tn_range r;

        s->x[k] = (base + rnd(20)) * step;
        r = tn_range_const(s->x[k]);
        s->reg.r = k ? tn_range_union(&s->reg.r, &r) : r;
    }
    assert_true(tn_range_sync(&s->reg.r));
    s->reg.step = !tn_range_is_const(&s->reg.r) && step & (step - 1) ? (u32)step : 0;
}

static void test_numbers(void **state)
{
    static const u8 ops[] = {BPF_ADD, BPF_MUL, BPF_LSH, BPF_SUB, BPF_AND};
    u64 told = 0, ops_told[256] = {0};

    for (u32 round = 0; round < 300000; round++) {
        struct sample a, b;
        u8 op = ops[rnd(TN_ARRAY_SIZE(ops))];
        bool is64 = rnd(2);
        struct tn_range sum;
        u32 step;

        make(&a, rnd(2));
        make(&b, rnd(3) > 0);
        if (rnd(2)) /* one number alone */
            for (u32 k = 0; k < NUMBERS; k++) {
                b.x[k] = b.x[0];
                b.reg = tn_reg_const(b.x[0]);
            }
        if (op == BPF_LSH)
            for (u32 k = 0; k < NUMBERS; k++) {
                b.x[k] = b.x[0] % 64;
                b.reg = tn_reg_const(b.x[0]);
            }
        sum = tn_range_alu(op, is64, &a.reg.r, &b.reg.r);
        step = tn_step_alu(op, is64, &a.reg, &b.reg, &sum);
        told += step != 0;
        ops_told[op] += step != 0;
        for (u32 i = 0; step && i < NUMBERS; i++)
            for (u32 j = 0; j < NUMBERS; j++) {
                u64 x = is64 ? a.x[i] : (u32)a.x[i], y = is64 ? b.x[j] : (u32)b.x[j], z;

                z = op == BPF_ADD ? x + y : op == BPF_MUL ? x * y : x << (y & (is64 ? 63 : 31));
                z = is64 ? z : (u32)z;
                if (z % step)
                    fail_msg("op %#x of %llu and %llu is %llu, no multiple of %u", op, (unsigned long long)x,
                             (unsigned long long)y, (unsigned long long)z, step);
            }
    }
    print_message("# %llu steps told\n", (unsigned long long)told);
    assert_true(ops_told[BPF_ADD] > 100 && ops_told[BPF_MUL] > 100 && ops_told[BPF_LSH] > 100);
    assert_true(!ops_told[BPF_SUB] && !ops_told[BPF_AND]);
}

static void test_pointers(void **state)
{
    u64 several = 0;

    for (u32 round = 0; round < 300000; round++) {
        struct tn_reg p = tn_reg_pointer(TN_REG_BTF, 1);
        u64 at[NUMBERS] = {0}; /* what variables added */
        s64 fixed = (s64)rnd(100);
        struct tn_places places;

        p.delta = (s32)fixed;
        p.r = tn_range_const((u64)fixed);
        for (u32 n = 1 + (u32)rnd(2); n > 0; n--) {
            struct sample s;

            make(&s, true);
            p.step = tn_step_moved(&p, &s.reg);
            p.r = tn_range_alu(BPF_ADD, true, &p.r, &s.reg.r);
            if (tn_range_is_const(&s.reg.r)) {
                p.delta += (s32)s.x[0];
                fixed += (s64)s.x[0];
                continue;
            }
            for (u32 k = 0; k < NUMBERS; k++)
                at[k] += s.x[rnd(NUMBERS)];
        }
        places = tn_step_places(&p, fixed, p.r.smin, p.r.smax);
        several += places.n > 1 && places.step > 1;
        assert_true(places.first >= p.r.smin &&
                    places.first + (s64)((places.n - 1) * places.step) <= p.r.smax);
        for (u32 k = 0; k < NUMBERS; k++) {
            s64 off = fixed + (s64)at[k] - places.first;

            if (off < 0 || (places.step ? off % places.step || (u64)off / places.step >= places.n : off != 0))
                fail_msg("%lld is not among %llu places, %u apart, from %lld on",
                         (long long)(fixed + (s64)at[k]), (unsigned long long)places.n, places.step,
                         (long long)places.first);
        }
    }
    assert_true(several > 1000);
}

static void test_covers(void **state)
{
    struct tn_reg old = tn_reg_scalar(tn_range_unsigned(0, 120)),
                  cur = tn_reg_scalar(tn_range_unsigned(0, 120));

    assert_true(tn_step_covers(&old, &cur));
    cur.step = 40;
    assert_true(tn_step_covers(&old, &cur));
    old.step = 40;
    assert_true(tn_step_covers(&old, &cur));
    cur.step = 20;
    assert_false(tn_step_covers(&old, &cur));
    cur.step = 0;
    assert_false(tn_step_covers(&old, &cur));
    cur = tn_reg_const(80);
    assert_true(tn_step_covers(&old, &cur));
    cur = tn_reg_const(81);
    assert_false(tn_step_covers(&old, &cur));
    old.step = 3 * 64; /* known bits count as well */
    cur = tn_reg_scalar(tn_range_unsigned(0, 7 * 192));
    cur.r.var = (struct tn_tnum){0, 0x7c0};
    assert_false(tn_step_covers(&old, &cur));
    cur.step = 3;
    assert_true(tn_step_covers(&old, &cur));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_covers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
