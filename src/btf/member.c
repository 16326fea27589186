/* SPDX-License-Identifier: MIT */
/*
 * What lies at an offset of a type: struct by struct, array by array, and in a union in any of its members.
 * What is looked for says its sort and size, so that of two members at one place the right one is found. The
 * way there is put down as C would write it.
 */
#include <stdarg.h>

#include "btf/btf.h"

#define DEPTH 16u
#define STEPS 4096u /* members; unions in unions are tried each way: up to here */

struct seek {
    const struct tn_btf *b;
    enum tn_btf_sort sort;
    u64 size;
    u32 steps;
    struct tn_btf_member_at *to;
};

/* Of one element; void counts as bytes. 0: it has none. */
static u64 element_size(const struct tn_btf *b, u32 type)
{
    u32 id = tn_btf_resolve(b, type);
    s64 size = id ? tn_btf_size(b, id) : 1;

    return size > 0 ? (u64)size : 0;
}

static bool is_sought(const struct seek *s, u32 type)
{
    const struct btf_type *t = tn_btf_type(s->b, type);
    u32 kind = t ? tn_btf_kind(t) : BTF_KIND_UNKN;

    switch (s->sort) {
    case TN_BTF_POINTER:
        return kind == BTF_KIND_PTR && element_size(s->b, t->type) == s->size;
    case TN_BTF_ARRAY:
        return kind == BTF_KIND_ARRAY && element_size(s->b, tn_btf_array(t)->type) == s->size;
    default:
        return kind == BTF_KIND_INT && (u64)tn_btf_size(s->b, type) == s->size &&
               !(BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_SIGNED) == (s->sort == TN_BTF_UNSIGNED);
    }
}

static bool seek(struct seek *s, u32 type, u64 off, u32 depth, size_t used);

/* Appends to the path; false: it is too long. */
__attribute__((format(printf, 3, 4))) static bool say(struct seek *s, size_t *used, const char *format, ...)
{
    size_t room = sizeof(s->to->path) - *used;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(s->to->path + *used, room, format, ap);
    va_end(ap);
    *used += (size_t)n;
    return (size_t)n < room;
}

static bool seek_in_array(struct seek *s, const struct btf_array *a, u64 off, u32 depth, size_t used)
{
    u64 each = element_size(s->b, a->type);

    return each && off / each < a->nelems && say(s, &used, "[%llu]", (unsigned long long)(off / each)) &&
           seek(s, a->type, off % each, depth, used);
}

/* An array without a length begins where it is, and nobody knows its end. */
static bool seek_in_members(struct seek *s, const struct btf_type *t, u64 off, u32 depth, size_t used)
{
    for (u32 k = 0; k < tn_btf_vlen(t) && s->steps < STEPS; k++, s->steps++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        const char *name = tn_btf_string(s->b, m->name_off);
        u64 start = tn_btf_member_bit(t, m) / 8;
        s64 size = tn_btf_size(s->b, m->type);
        size_t after = used;

        if (tn_btf_member_bits(t, m) || size < 0 || off < start || off - start >= TN_MAX((u64)size, (u64)1))
            continue;
        if ((!*name || say(s, &after, ".%s", name)) && seek(s, m->type, off - start, depth, after))
            return true;
    }
    return false;
}

static bool seek(struct seek *s, u32 type, u64 off, u32 depth, size_t used)
{
    u32 id = tn_btf_resolve(s->b, type), kind = tn_btf_kind_of(s->b, id);
    const struct btf_type *t = tn_btf_type(s->b, id);
    bool found;

    if (!off && is_sought(s, id)) {
        s->to->path[used] = 0;
        s->to->type = id;
        s->to->nelems = kind == BTF_KIND_ARRAY ? tn_btf_array(t)->nelems : 0;
        return true;
    }
    if (depth == DEPTH)
        return false;
    if (kind == BTF_KIND_ARRAY)
        return seek_in_array(s, tn_btf_array(t), off, depth + 1, used);
    if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION)
        return false;
    found = seek_in_members(s, t, off, depth + 1, used);
    s->to->in_union |= found && kind == BTF_KIND_UNION && tn_btf_vlen(t) > 1;
    return found;
}

bool tn_btf_member_of(const struct tn_btf *btf, u32 type, u64 off, enum tn_btf_sort sort, u64 size,
                      struct tn_btf_member_at *ret)
{
    struct tn_btf_member_at at = {0};
    struct seek s = {btf, sort, size, 0, &at};

    if (!size || !seek(&s, type, off, 0, 0))
        return false;
    *ret = at;
    return true;
}
