/* SPDX-License-Identifier: MIT */
/* The register domain: two words, 64 and 32 bits wide, kept in step; see range.h. */
#include "verify/range.h"

#include <linux/bpf.h>

static struct tn_word whole(const struct tn_range *r)
{
    return (struct tn_word){r->var, r->umin, r->umax, r->smin, r->smax};
}

static struct tn_word low(const struct tn_range *r)
{
    return (struct tn_word){tn_tnum_cast(r->var, 32), r->u32min, r->u32max, r->s32min, r->s32max};
}

static void put_whole(struct tn_range *r, const struct tn_word *w)
{
    r->var = w->t;
    r->umin = w->umin;
    r->umax = w->umax;
    r->smin = w->smin;
    r->smax = w->smax;
}

static void put_low(struct tn_range *r, const struct tn_word *w)
{
    r->u32min = (u32)w->umin;
    r->u32max = (u32)w->umax;
    r->s32min = (s32)w->smin;
    r->s32max = (s32)w->smax;
}

struct tn_range tn_range_any(void)
{
    return (struct tn_range){{0, ~0ull}, 0,          UINT64_MAX, INT64_MIN, INT64_MAX,
                             0,          UINT32_MAX, INT32_MIN,  INT32_MAX};
}

struct tn_range tn_range_const(u64 value)
{
    return (struct tn_range){{value, 0}, value,      value,      (s64)value, (s64)value,
                             (u32)value, (u32)value, (s32)value, (s32)value};
}

struct tn_range tn_range_signed(s64 min, s64 max)
{
    struct tn_range r = tn_range_any();

    r.smin = min;
    r.smax = max;
    return tn_range_sync(&r) ? r : tn_range_any();
}

struct tn_range tn_range_unsigned(u64 min, u64 max)
{
    struct tn_range r = tn_range_any();

    r.umin = min;
    r.umax = max;
    return tn_range_sync(&r) ? r : tn_range_any();
}

bool tn_range_contains(const struct tn_range *r, u64 x)
{
    struct tn_word w = whole(r), l = low(r);

    return tn_word_contains(&w, x, 64) && tn_word_contains(&l, x, 32);
}

bool tn_range_includes(const struct tn_range *a, const struct tn_range *b)
{
    return a->umin <= b->umin && a->umax >= b->umax && a->smin <= b->smin && a->smax >= b->smax &&
           a->u32min <= b->u32min && a->u32max >= b->u32max && a->s32min <= b->s32min &&
           a->s32max >= b->s32max && tn_tnum_includes(a->var, b->var);
}

struct tn_range tn_range_union(const struct tn_range *a, const struct tn_range *b)
{
    return (struct tn_range){
        tn_tnum_union(a->var, b->var), TN_MIN(a->umin, b->umin),     TN_MAX(a->umax, b->umax),
        TN_MIN(a->smin, b->smin),      TN_MAX(a->smax, b->smax),     TN_MIN(a->u32min, b->u32min),
        TN_MAX(a->u32max, b->u32max),  TN_MIN(a->s32min, b->s32min), TN_MAX(a->s32max, b->s32max),
    };
}

/* The whole's ends, moved inwards to the nearest values whose low half the low range admits. */
static bool low_to_whole(struct tn_range *r)
{
    u64 high;

    if ((u32)r->umin < r->u32min) {
        r->umin = (r->umin & ~0xffffffffull) | r->u32min;
    } else if ((u32)r->umin > r->u32max) {
        high = r->umin >> 32;
        if (high == UINT32_MAX)
            return false;
        r->umin = ((high + 1) << 32) | r->u32min;
    }
    if ((u32)r->umax > r->u32max) {
        r->umax = (r->umax & ~0xffffffffull) | r->u32max;
    } else if ((u32)r->umax < r->u32min) {
        high = r->umax >> 32;
        if (high == 0)
            return false;
        r->umax = ((high - 1) << 32) | r->u32max;
    }
    return r->umin <= r->umax;
}

static bool whole_to_low(struct tn_range *r)
{
    if (r->umin >> 32 == r->umax >> 32) {
        r->u32min = TN_MAX(r->u32min, (u32)r->umin);
        r->u32max = TN_MIN(r->u32max, (u32)r->umax);
    }
    if (r->smin >= INT32_MIN && r->smax <= INT32_MAX) {
        r->s32min = TN_MAX(r->s32min, (s32)r->smin);
        r->s32max = TN_MIN(r->s32max, (s32)r->smax);
    }
    return r->u32min <= r->u32max && r->s32min <= r->s32max;
}

bool tn_range_sync(struct tn_range *r)
{
    struct tn_word w, l;
    struct tn_range before;

    for (int round = 0; round < 4; round++) {
        before = *r;
        w = whole(r);
        if (!tn_word_sync(&w, 64))
            return false;
        put_whole(r, &w);
        if (!whole_to_low(r))
            return false;
        l = low(r);
        if (!tn_word_sync(&l, 32))
            return false;
        put_low(r, &l);
        r->var.value = (r->var.value & ~0xffffffffull) | l.t.value;
        r->var.mask = (r->var.mask & ~0xffffffffull) | l.t.mask;
        if (!low_to_whole(r))
            return false;
        if (!memcmp(&before, r, sizeof(before)))
            break;
    }
    return true;
}

struct tn_range tn_range_zext(const struct tn_range *r, unsigned bits)
{
    struct tn_range z = tn_range_any();
    struct tn_word l;

    if (bits == 32) {
        l = low(r);
        put_low(&z, &l);
        z.umin = l.umin;
        z.umax = l.umax;
    } else if (r->umax <= tn_width_mask(bits)) {
        return *r;
    }
    z.var = tn_tnum_cast(r->var, bits);
    return tn_range_sync(&z) ? z : tn_range_any();
}

struct tn_range tn_range_sext(const struct tn_range *r, unsigned bits)
{
    struct tn_range z = tn_range_any();

    if (r->smin >= tn_width_smin(bits) && r->smax <= tn_width_smax(bits))
        return *r;
    if (bits == 32) {
        struct tn_word l = low(r);

        put_low(&z, &l);
        z.smin = l.smin;
        z.smax = l.smax;
    } else {
        z.smin = tn_width_smin(bits);
        z.smax = tn_width_smax(bits);
    }
    z.var = (struct tn_tnum){(u64)tn_width_sext(r->var.value, bits), (u64)tn_width_sext(r->var.mask, bits)};
    /* An unknown sign smears through the mask; the value keeps the invariant because its sign bit is clear
     * then. */
    z.var.value &= ~z.var.mask;
    return tn_range_sync(&z) ? z : tn_range_any();
}

/* The low half of the result depends on the low halves of the operands alone. */
static bool low_closed(u8 op)
{
    return op == BPF_ADD || op == BPF_SUB || op == BPF_MUL || op == BPF_AND || op == BPF_OR || op == BPF_XOR;
}

struct tn_range tn_range_alu(u8 op, bool is64, const struct tn_range *a, const struct tn_range *b)
{
    struct tn_range r = tn_range_any(), amount;
    struct tn_word wa = whole(a), wb = whole(b), la = low(a), lb = low(b), w, l;

    if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) {
        amount = tn_range_is_const(b) ? tn_range_const(b->umin & (is64 ? 63 : 31)) : *b;
        wb = whole(&amount);
        lb = low(&amount);
    }
    if (is64) {
        w = tn_word_alu(op, &wa, &wb, 64);
        put_whole(&r, &w);
        if (low_closed(op)) {
            l = tn_word_alu(op, &la, &lb, 32);
            put_low(&r, &l);
        }
    } else {
        l = tn_word_alu(op, &la, &lb, 32);
        put_low(&r, &l);
        r.var = l.t;
        r.umin = l.umin;
        r.umax = l.umax;
    }
    return tn_range_sync(&r) ? r : tn_range_any();
}

struct tn_range tn_range_neg(bool is64, const struct tn_range *r)
{
    struct tn_range zero = tn_range_const(0);

    return tn_range_alu(BPF_SUB, is64, &zero, r);
}

bool tn_range_assume(u8 op, bool is64, bool taken, struct tn_range *dst, struct tn_range *src)
{
    struct tn_word a, b;
    bool equal = (op == BPF_JEQ && taken) || (op == BPF_JNE && !taken);

    if (is64 && equal) { /* then the low halves are equal as well */
        a = low(dst);
        b = low(src);
        if (!tn_word_assume(op, taken, &a, &b, 32))
            return false;
        put_low(dst, &a);
        put_low(src, &b);
    }
    if (is64) {
        a = whole(dst);
        b = whole(src);
        if (!tn_word_assume(op, taken, &a, &b, 64))
            return false;
        put_whole(dst, &a);
        put_whole(src, &b);
    } else {
        a = low(dst);
        b = low(src);
        if (!tn_word_assume(op, taken, &a, &b, 32))
            return false;
        put_low(dst, &a);
        put_low(src, &b);
        dst->var.value = (dst->var.value & ~0xffffffffull) | a.t.value;
        dst->var.mask = (dst->var.mask & ~0xffffffffull) | a.t.mask;
        src->var.value = (src->var.value & ~0xffffffffull) | b.t.value;
        src->var.mask = (src->var.mask & ~0xffffffffull) | b.t.mask;
    }
    return tn_range_sync(dst) && tn_range_sync(src);
}
