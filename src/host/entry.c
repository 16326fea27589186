/* SPDX-License-Identifier: MIT */
/*
 * Where a parameter is at the first instruction: by the ABI, and by debug information. The two differ where a
 * compiler changed a function whose callers it knows all of; then the prototype is a lie, and a program that
 * read arguments by it would read others.
 *
 * System V ABI, AMD64, 3.2.3: a value is one or two eightbytes of class INTEGER or SSE, each in the next
 * register of its class, or, if it is too large, odd or there are no registers left, on the stack.
 */
#include "host/finish.h"

#define ARGS_IN_REGS 6u
#define ARGS_IN_XMM  8u

enum class { CLASS_NONE, CLASS_SSE, CLASS_INTEGER, CLASS_MEMORY };

/* In the order of the ABI, by DWARF's numbers. */
static const u8 integer_regs[ARGS_IN_REGS] = {5, 4, 1, 2, 8, 9};
#define XMM0 17u

static enum class merge(enum class a, enum class b) { return TN_MAX(a, b); }

/* Sixteen bytes are a long double, of class X87, or one of the quadruple types,
   which take one SSE register. */
static bool is_x87(const struct btf *btf, const struct btf_type *t)
{
    const char *name = btf__name_by_offset(btf, t->name_off);

    return t->size > 8 && !(name && strstr(name, "128"));
}

/* The scalar or composite `id` at byte `off` of a value of at most 16 bytes. */
static bool classify(struct tn_sizes *sizes, u32 id, u64 off, enum class *half, u32 depth)
{
    const struct btf_type *t = btf__type_by_id(sizes->btf, tn_bare(sizes->btf, id));
    s64 size = tn_size_of(sizes, id, 0);

    if (!t || size < 0 || depth > 8 || off + (u64)size > 16)
        return false;
    switch (btf_kind(t)) {
    case BTF_KIND_INT:
    case BTF_KIND_PTR:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        if (size && off % (u64)size)
            return false;
        for (u64 at = off; at < off + (u64)size; at += 8)
            half[at / 8] = merge(half[at / 8], CLASS_INTEGER);
        return true;
    case BTF_KIND_FLOAT:
        if (off % (u64)size || is_x87(sizes->btf, t))
            return false;
        half[off / 8] = merge(half[off / 8], CLASS_SSE);
        return true;
    case BTF_KIND_ARRAY: {
        const struct btf_array *a = btf_array(t);
        s64 each = tn_size_of(sizes, a->type, 0);

        for (u32 i = 0; i < a->nelems && each > 0 && i < 16; i++)
            if (!classify(sizes, a->type, off + i * (u64)each, half, depth + 1))
                return false;
        return true;
    }
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        /* GCC leaves out the members of a transparent union, which is passed as its first one. */
        if (!btf_vlen(t) && size > 1)
            half[off / 8] = merge(half[off / 8], CLASS_INTEGER);
        for (u32 i = 0; i < btf_vlen(t); i++) {
            u32 bit = btf_member_bit_offset(t, i), width = btf_member_bitfield_size(t, i);

            if (width) {
                for (u32 b = bit; b < bit + width; b++)
                    if (off + b / 8 < 16)
                        half[(off + b / 8) / 8] = merge(half[(off + b / 8) / 8], CLASS_INTEGER);
            } else if (!classify(sizes, btf_members(t)[i].type, off + bit / 8, half, depth + 1)) {
                return false;
            }
        }
        return true;
    default:
        return false;
    }
}

struct where {
    u8 n, reg[2]; /* registers; 0: on the stack, or nothing */
    bool stack;
    u32 off;
};

struct state {
    u32 integer, sse, stack;
};

static struct where next_place(struct tn_sizes *sizes, u32 type, struct state *s)
{
    enum class half[2] = {CLASS_NONE, CLASS_NONE};
    s64 size = tn_size_of(sizes, type, 0);
    struct where w = {0};
    u32 ints = 0, sses = 0;
    bool fits = size <= 16 && classify(sizes, type, 0, half, 0);

    for (u32 i = 0; i < 2; i++) {
        ints += half[i] == CLASS_INTEGER;
        sses += half[i] == CLASS_SSE;
    }
    if (fits && !ints && !sses)
        return w; /* an empty struct is not passed */
    if (fits && s->integer + ints <= ARGS_IN_REGS && s->sse + sses <= ARGS_IN_XMM) {
        for (u32 i = 0; i < 2; i++) {
            if (half[i] == CLASS_INTEGER)
                w.reg[w.n++] = integer_regs[s->integer++];
            else if (half[i] == CLASS_SSE)
                w.reg[w.n++] = (u8)(XMM0 + s->sse++);
        }
        return w;
    }
    s->stack = TN_ROUND_UP(s->stack, TN_MAX(tn_align_of(sizes, type, 0), 8u));
    w.stack = true;
    w.off = s->stack;
    s->stack += size > 0 ? (u32)TN_MIN(TN_ROUND_UP((u64)size, 8), (u64)1 << 20) : 8;
    return w;
}

static bool returns_in_memory(struct tn_sizes *sizes, u32 type)
{
    const struct btf_type *t = btf__type_by_id(sizes->btf, tn_bare(sizes->btf, type));
    enum class half[2] = {CLASS_NONE, CLASS_NONE};
    s64 size = tn_size_of(sizes, type, 0);

    if (!t || !btf_is_composite(t))
        return false;
    if (size > 16)
        return true;
    if (classify(sizes, type, 0, half, 0))
        return false;
    return !(btf_vlen(t) == 1 && size == 16); /* a long double in a struct comes back in st(0) */
}

static enum tn_host_reason hold(const struct where *abi, const struct tn_param_at *at, bool fixed)
{
    switch (at->place) {
    case TN_AT_NOWHERE:
        return fixed || (!abi->n && !abi->stack) ? TN_HOST_NONE : TN_HOST_PARAM_MISSING;
    case TN_AT_LATER:
    case TN_AT_OTHER:
        return fixed ? TN_HOST_NONE : TN_HOST_PARAM_UNKNOWN;
    case TN_AT_CONSTANT:
        return fixed ? TN_HOST_NONE : TN_HOST_PARAM_CONST;
    case TN_AT_REGS:
        for (u32 i = 0; i < at->n; i++)
            if (i >= abi->n || at->reg[i] != abi->reg[i])
                return TN_HOST_PARAM_MOVED;
        return TN_HOST_NONE;
    case TN_AT_STACK: /* GCC gives one to what is not passed */
        return (!abi->n && !abi->stack) || (abi->stack && abi->off == (u32)at->off) ? TN_HOST_NONE
                                                                                    : TN_HOST_PARAM_MOVED;
    default:
        return TN_HOST_NONE;
    }
}

void tn_judge_entry(struct tn_sizes *sizes, const struct btf_type *proto, const struct tn_param_at *at,
                    bool abi_fixed, struct tn_found_func *f)
{
    const struct btf_param *p = btf_params(proto);
    struct state s = {.integer = returns_in_memory(sizes, proto->type)};

    for (u32 i = 0; i < f->nparams && i < btf_vlen(proto) && f->reason == TN_HOST_NONE; i++) {
        struct where abi = next_place(sizes, p[i].type, &s);

        f->reason = hold(&abi, &at[i], abi_fixed);
        f->param = f->reason == TN_HOST_NONE ? 0 : i;
    }
}
