/* SPDX-License-Identifier: MIT */
/* See step.h. */
#include "verify/step.h"

#include "verify/internal.h"

static u64 gcd(u64 a, u64 b)
{
    while (b) {
        u64 rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* A power of two, as the known bits have it: 0 where they know that it is 0. */
static u64 by_bits(const struct tn_tnum *t)
{
    u64 bits = t->value | t->mask;

    return bits & -bits;
}

static u32 to_keep(u64 step)
{
    return step & (step - 1) && step < TN_MAX_OFFSET ? (u32)step : 0;
}

u64 tn_step_of(const struct tn_reg *reg)
{
    bool pointer = tn_reg_is_pointer(reg);
    u64 step = reg->step ? reg->step : 1, bits;

    if (pointer)
        return tn_range_is_const(&reg->r) && reg->r.smin == reg->delta ? 0 : step;
    if (tn_range_is_const(&reg->r))
        return reg->r.umin;
    bits = by_bits(&reg->r.var);
    return bits > (step & -step) ? step / (step & -step) * TN_MIN(bits, (u64)TN_MAX_OFFSET) : step;
}

u32 tn_step_alu(u8 op, bool is64, const struct tn_reg *dst, const struct tn_reg *src,
                const struct tn_range *sum)
{
    u64 most = is64 ? UINT64_MAX : UINT32_MAX, a = dst->r.umax, b = src->r.umax, end;
    u64 left, right;

    if ((op != BPF_MUL && op != BPF_LSH && op != BPF_ADD) || tn_range_is_const(sum))
        return 0;
    left = tn_step_of(dst);
    right = tn_step_of(src);
    if (op == BPF_LSH) {
        if (!tn_range_is_const(&src->r) || b >= (is64 ? 64 : 32))
            return 0;
        b = right = 1ull << b;
    }
    if (op == BPF_ADD)
        return __builtin_add_overflow(a, b, &end) || end > most ? 0 : to_keep(gcd(left, right));
    if (__builtin_mul_overflow(a, b, &end) || end > most || __builtin_mul_overflow(left, right, &end))
        return 0;
    return to_keep(end);
}

u32 tn_step_moved(const struct tn_reg *ptr, const struct tn_reg *by)
{
    u64 step = by->r.smin < 0 ? 1 : tn_step_of(by);

    if (tn_range_is_const(&by->r))
        return ptr->step;
    step = gcd(tn_step_of(ptr), step);
    return step < TN_MAX_OFFSET ? (u32)step : 1;
}

struct tn_places tn_step_places(const struct tn_reg *ptr, s64 fixed, s64 min, s64 max)
{
    s64 step = (s64)tn_step_of(ptr), off;

    if (min == max || !step)
        return (struct tn_places){min, 0, 1};
    off = (min - fixed) % step;
    off = off > 0 ? off - step : off; /* how far min is behind a whole step */
    if (min - off > max)              /* nothing comes here */
        return (struct tn_places){min, 1, (u64)(max - min) + 1};
    return (struct tn_places){min - off, (u32)step, (u64)((max - (min - off)) / step) + 1};
}

bool tn_step_covers(const struct tn_reg *old, const struct tn_reg *cur)
{
    return !old->step || tn_step_of(cur) % old->step == 0;
}
