/* SPDX-License-Identifier: MIT */
/*
 * A composite is what its members are, eight bytes at a time. Of each of the scalars in it is asked: is it aligned (else
 * all of it is in memory), and what does it make of its eightbyte?
 *
 * What BTF does not tell: vectors (arrays, there), and bitfields without a name. An eightbyte that has nothing else GCC
 * passes and Clang leaves out, so that it is known only where nothing but alignment can have made it.
 */
#include "btf/value.h"

#include <errno.h>
#include <stdlib.h>

#define STEPS_MAX 512u /* types looked at for one value: empty ones could go on for ever */
#define ALIGN_MAX 4096u

struct look {
    const struct tn_btf *btf;
    struct tn_value *v;
    u32 steps, scalars, x87;
};

static void merge(struct tn_value *v, u64 from, u64 end, enum tn_eightbyte what)
{
    for (u64 bit = from; bit < end && bit < 128; bit = (bit / 64 + 1) * 64)
        v->half[bit / 64] = TN_MAX(v->half[bit / 64], what);
}

static void classify(struct look *l, u32 id, u64 bit);

static void classify_members(struct look *l, const struct btf_type *t, u64 bit)
{
    /* GCC's debug information leaves out the members of a transparent union, which is passed as its first one. */
    if (!tn_btf_vlen(t) && t->size > 1)
        merge(l->v, bit, bit + 8 * (u64)t->size, TN_EIGHTBYTE_INTEGER);
    for (u32 k = 0; k < tn_btf_vlen(t) && !l->v->unsure; k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        u64 at = bit + tn_btf_member_bit(t, m);
        u32 bits = tn_btf_member_bits(t, m);

        if (bits)
            merge(l->v, at, at + bits, TN_EIGHTBYTE_INTEGER);
        else
            classify(l, m->type, at);
        l->scalars += bits != 0;
    }
}

/* What lies `bit` bits into a value of at most 16 bytes. */
static void classify(struct look *l, u32 id, u64 bit)
{
    u32 type = tn_btf_resolve(l->btf, id), kind = tn_btf_kind_of(l->btf, type);
    const struct btf_type *t = tn_btf_type(l->btf, type);
    s64 size = type ? tn_btf_size(l->btf, type) : -1;

    if (size < 0 || ++l->steps > STEPS_MAX) {
        l->v->unsure = true;
        return;
    }
    switch (kind) {
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        classify_members(l, t, bit);
        break;
    case BTF_KIND_ARRAY: {
        u32 elem = tn_btf_array(t)->type;
        s64 each = tn_btf_size(l->btf, elem);

        for (u32 k = 0; k < tn_btf_array(t)->nelems && !l->v->unsure; k++)
            classify(l, elem, bit + k * 8 * (u64)each);
        break;
    }
    default:
        l->v->memory |= size && bit % (8 * (u64)size);
        l->scalars++;
        l->x87 += kind == BTF_KIND_FLOAT && size == 16;
        merge(l->v, bit, bit + 8 * (u64)size,
              kind == BTF_KIND_FLOAT ? TN_EIGHTBYTE_FLOATING : TN_EIGHTBYTE_INTEGER);
    }
}

u32 tn_btf_aligned(const char *tag)
{
    const size_t n = sizeof(TN_BTF_ALIGNED) - 1;
    unsigned long align = strncmp(tag, TN_BTF_ALIGNED, n) ? 0 : strtoul(tag + n, NULL, 10);

    return align <= ALIGN_MAX && !(align & (align - 1)) ? (u32)align : 0;
}

static u32 told_align(const struct tn_btf *btf, u32 id)
{
    const char *tag;
    u32 all = 1;

    for (u32 k = 0; (tag = tn_btf_tag(btf, id, -1, k)); k++)
        all = TN_MAX(all, tn_btf_aligned(tag));
    return all;
}

/* A member that does not stand where its alignment would have it is a packed one's. */
static u32 align_of(struct look *l, u32 id)
{
    u32 type = tn_btf_resolve(l->btf, id), kind = tn_btf_kind_of(l->btf, type), all;
    const struct btf_type *t = tn_btf_type(l->btf, type);
    s64 size = type ? tn_btf_size(l->btf, type) : 0;

    if (!t || ++l->steps > STEPS_MAX) {
        l->v->unsure = true;
        return 1;
    }
    if (kind == BTF_KIND_ARRAY)
        return align_of(l, tn_btf_array(t)->type);
    if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION)
        return size > 0 ? (u32)TN_MIN(size, 16) : 1;
    all = told_align(l->btf, type);
    for (u32 k = 0; k < tn_btf_vlen(t) && !l->v->unsure; k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        u32 one = tn_btf_member_bits(t, m) ? 1 : align_of(l, m->type);

        if (one > all && !(tn_btf_member_bit(t, m) % (8 * one)) && !(t->size % one))
            all = one;
    }
    return all;
}

/* Two long doubles that are one complex number come back in registers of the x87, others in memory. */
static bool is_complex(const struct tn_btf *btf, u32 type)
{
    const struct btf_type *t = tn_btf_type(btf, type);
    const struct btf_member *m = tn_btf_members(t);

    return t->size == 32 && tn_btf_vlen(t) == 2 &&
           tn_btf_kind_of(btf, tn_btf_resolve(btf, m->type)) == BTF_KIND_FLOAT &&
           !strcmp(tn_btf_string(btf, m[0].name_off), "real") &&
           !strcmp(tn_btf_string(btf, m[1].name_off), "imag");
}

int tn_btf_value(const struct tn_btf *btf, u32 id, struct tn_value *ret)
{
    u32 type = tn_btf_resolve(btf, id), kind = tn_btf_kind_of(btf, type);
    s64 size = type ? tn_btf_size(btf, type) : 0;
    struct tn_value v = {.size = (u64)size, .align = 1};
    struct look l = {.btf = btf, .v = &v};

    if (size < 0 || kind == BTF_KIND_ARRAY)
        return -EINVAL;
    v.composite = kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
    if (size > 16)
        v.memory = v.composite;
    else if (type)
        classify(&l, type, 0);
    if (type)
        v.align = align_of(&l, type);
    if (v.composite && !v.memory) {
        /* In one x87 register, or with something else in memory. */
        v.unsure |= l.x87 && l.scalars > 1;
        for (u32 h = 0; h < 2; h++)
            v.unsure |= 8 * h < v.size && !v.half[h] && l.scalars && v.align < TN_BTF_ALIGNED_LEAST;
        /* An empty class of C++'s that is aligned to more than a byte looks like a transparent union. */
        v.unsure |= !l.scalars && v.align >= TN_BTF_ALIGNED_LEAST;
    }
    v.unsure |= v.composite && is_complex(btf, type);
    *ret = v;
    return 0;
}

u32 tn_btf_argument_at(const struct tn_btf *btf, const struct btf_type *proto, u32 word, u32 *ret_first)
{
    u32 n = tn_btf_vlen(proto), first = 0, k;

    for (k = 0; k <= n; k++) {
        struct tn_value v;
        u32 words = tn_btf_value(btf, k < n ? tn_btf_params(proto)[k].type : proto->type, &v)
                        ? 0
                        : tn_value_words(&v, k == n);

        if (word - first < words)
            break;
        first += k < n ? words : 0;
    }
    if (ret_first)
        *ret_first = first;
    return k;
}
