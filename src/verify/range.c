/* SPDX-License-Identifier: MIT */
/* The register domain: two words, the whole and its low half, kept in step; see range.h. */
#include "verify/range.h"

#include "verify/halves.h"

struct tn_range tn_range_any(void)
{
    struct tn_word w = tn_word_any(BITS), l = tn_word_any(HALF);
    struct tn_range r;

    put_whole(&r, &w);
    put_low(&r, &l);
    return r;
}

struct tn_range tn_range_const(u64 value)
{
    struct tn_word w = tn_word_const(value, BITS), l = tn_word_const(value, HALF);
    struct tn_range r;

    put_whole(&r, &w);
    put_low(&r, &l);
    return r;
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

    return tn_word_contains(&w, x, BITS) && tn_word_contains(&l, x, HALF);
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

bool tn_range_intersect(const struct tn_range *a, const struct tn_range *b, struct tn_range *ret)
{
    struct tn_range r = {
        a->var,
        TN_MAX(a->umin, b->umin),
        TN_MIN(a->umax, b->umax),
        TN_MAX(a->smin, b->smin),
        TN_MIN(a->smax, b->smax),
        TN_MAX(a->u32min, b->u32min),
        TN_MIN(a->u32max, b->u32max),
        TN_MAX(a->s32min, b->s32min),
        TN_MIN(a->s32max, b->s32max),
    };

    if (!tn_tnum_intersect(a->var, b->var, &r.var) || !tn_range_sync(&r))
        return false;
    *ret = r;
    return true;
}

/* --------------------------------------------------------------------------------------------- arithmetic */

/* The numbers from lo to hi, going upwards, cut to fewer bits: when they are not more than those bits can
   tell apart, they are still the numbers from one end to the other on the smaller circle. */
static void narrow(struct tn_word *w, u64 lo, u64 hi, unsigned bits)
{
    if (hi - lo <= tn_width_mask(bits))
        tn_word_clamp_circle(w, lo, hi, bits);
}

static struct tn_word cut(const struct tn_range *r, unsigned bits)
{
    struct tn_word w = tn_word_any(bits);

    w.t = tn_tnum_cast(r->var, bits);
    narrow(&w, r->umin, r->umax, bits);
    narrow(&w, (u64)r->smin, (u64)r->smax, bits);
    if (bits <= HALF) {
        narrow(&w, (u64)r->u32min, (u64)r->u32max, bits);
        narrow(&w, (u64)(s64)r->s32min, (u64)(s64)r->s32max, bits);
    }
    return w;
}

/* A word, zero-extended. */
static struct tn_range extend(const struct tn_word *w, unsigned bits)
{
    struct tn_range z = tn_range_any();

    z.var = w->t;
    z.umin = w->umin;
    z.umax = w->umax;
    if (bits == HALF)
        put_low(&z, w);
    return tn_range_sync(&z) ? z : tn_range_any();
}

struct tn_range tn_range_zext(const struct tn_range *r, unsigned bits)
{
    struct tn_word w;

    if (r->umax <= tn_width_mask(bits))
        return *r;
    w = cut(r, bits);
    return tn_word_sync(&w, bits) ? extend(&w, bits) : tn_range_any();
}

struct tn_range tn_range_sext(const struct tn_range *r, unsigned bits)
{
    struct tn_range z = tn_range_any();
    struct tn_word w;

    if (r->smin >= tn_width_smin(bits) && r->smax <= tn_width_smax(bits))
        return *r;
    w = cut(r, bits);
    if (!tn_word_sync(&w, bits))
        return z;
    /* An unknown sign smears through the mask. */
    z.var.mask = tn_width_trunc((u64)tn_width_sext(w.t.mask, bits), BITS);
    z.var.value = tn_width_trunc((u64)tn_width_sext(w.t.value, bits), BITS) & ~z.var.mask;
    z.smin = w.smin;
    z.smax = w.smax;
    if (bits == HALF)
        put_low(&z, &w);
    return tn_range_sync(&z) ? z : tn_range_any();
}

/* The low `bits` bits (16, 32, 64) with their bytes in reverse order, zero-extended. */
static struct tn_range swap(const struct tn_range *r, unsigned bits)
{
    struct tn_range z = tn_range_any();

    z.var = tn_tnum_bswap(r->var, bits);
    return tn_range_sync(&z) ? z : tn_range_any();
}

/* The low half of the result depends on the low halves of the operands alone. */
static bool low_closed(u8 op)
{
    return op == BPF_ADD || op == BPF_SUB || op == BPF_MUL || op == BPF_AND || op == BPF_OR ||
           op == BPF_XOR || op == BPF_LSH;
}

/* What compilers leave to be computed: addresses and counters. */
static bool const_alu(u8 op, bool is64, u64 a, u64 b, u64 *ret)
{
    u64 r;

    switch (op) {
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
    case BPF_MUL:
        r = a * b;
        break;
    default:
        return false;
    }
    *ret = tn_width_trunc(r, is64 ? BITS : HALF);
    return true;
}

static struct tn_range alu(u8 op, bool is64, bool is_signed, const struct tn_range *a,
                           const struct tn_range *b)
{
    struct tn_range r = tn_range_any();
    u64 known;
    struct tn_word wa, wb, la = low(a), lb = low(b), w, l;

    if (tn_range_is_const(a) && tn_range_is_const(b) && const_alu(op, is64, a->umin, b->umin, &known))
        return tn_range_const(known);
    if (!is64) {
        l = tn_word_alu(op, is_signed, &la, &lb, HALF, HALF);
        return tn_word_sync(&l, HALF) ? extend(&l, HALF) : tn_range_any();
    }
    wa = whole(a);
    wb = whole(b);
    w = tn_word_alu(op, is_signed, &wa, &wb, BITS, BITS);
    put_whole(&r, &w);
    /* (Small operands' low halves say what the wholes say, and so do the results'.) */
    if (low_closed(op) && (a->umax > HALF_MASK >> 1 || b->umax > HALF_MASK >> 1)) {
        l = tn_word_alu(op, is_signed, &la, &lb, HALF, BITS);
        put_low(&r, &l);
        if (!tn_tnum_intersect(tn_tnum_cast(r.var, HALF), l.t, &l.t))
            return tn_range_any();
        put_low_bits(&r, l.t);
    }
    return tn_range_sync(&r) ? r : tn_range_any();
}

struct tn_range tn_range_alu(u8 op, bool is64, const struct tn_range *a, const struct tn_range *b)
{
    return alu(op, is64, false, a, b);
}

/* The opcodes' equations: isa/ops.h. */
struct tn_range tn_range_insn(const struct bpf_insn *i, const struct tn_range *dst,
                              const struct tn_range *src)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64;
    unsigned bits = is64 ? BITS : HALF;
    u8 op = BPF_OP(i->code);
    struct tn_range r;

    switch (op) {
    case BPF_MOV:
        if (!i->off)
            return is64 ? *src : tn_range_zext(src, HALF);
        r = tn_range_sext(src, (unsigned)i->off);
        return is64 ? r : tn_range_zext(&r, bits);
    case BPF_NEG:
        r = tn_range_const(0);
        return alu(BPF_SUB, is64, false, &r, dst);
    case BPF_END:
        bits = (unsigned)i->imm;
        if (is64 || BPF_SRC(i->code) == BPF_TO_BE)
            return swap(dst, bits);
        return bits == BITS ? *dst : tn_range_zext(dst, bits);
    default:
        return alu(op, is64, (op == BPF_DIV || op == BPF_MOD) && i->off == 1, dst, src);
    }
}

bool tn_range_assume(u8 op, bool is64, bool taken, struct tn_range *dst, struct tn_range *src)
{
    bool equal = (op == BPF_JEQ && taken) || (op == BPF_JNE && !taken);
    struct tn_word a, b;

    if (is64 && equal) {
        struct tn_range both;

        if (!tn_range_intersect(dst, src, &both))
            return false;
        *dst = *src = both;
        return true;
    }
    a = is64 ? whole(dst) : low(dst);
    b = is64 ? whole(src) : low(src);
    if (!tn_word_assume(op, taken, &a, &b, is64 ? BITS : HALF))
        return false;
    if (is64) {
        put_whole(dst, &a);
        put_whole(src, &b);
    } else {
        put_low(dst, &a);
        put_low(src, &b);
        put_low_bits(dst, a.t);
        put_low_bits(src, b.t);
    }
    return tn_range_sync(dst) && tn_range_sync(src);
}
