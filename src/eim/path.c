/* SPDX-License-Identifier: MIT */
/*
 * Paths to bytes of types, and back.
 *
 * A place on the way is a value: an argument's or a variable's own, or memory at some bit of an object of a
 * known type. "->" leaves the object: reading the pointer is a hop, and the bits count anew. "[..]" and
 * ranges of constants fan out; they are unfolded when the path, or the object, ends.
 */
#include <errno.h>

#include "eim/bind.h"

#define NAME   "spec_path"
#define FANS   4u
#define SPREAD 65536u /* elements that one path may name */

struct place {
    bool memory;       /* else a value of an argument's or a variable's own */
    u32 base;          /* memory: the object's type */
    u64 bit, width;    /* width: of a bitfield, else 0 */
    struct tn_vtype v; /* array: its id, no pointers */
    struct {
        u64 stride, count;
    } fan[FANS]; /* stride in bits */
    u32 nfans;
    const char *root;
};

static struct tn_vtype value_of(const struct tn_btf *b, u32 type)
{
    struct tn_vtype v = tn_vtype_of(b, type);

    return v;
}

static u64 bits_of(const struct tn_btf *b, const struct place *p)
{
    s64 size;

    if (p->width)
        return p->width;
    if (p->v.pointers)
        return 64;
    size = p->v.id ? tn_btf_size(b, p->v.id) : p->v.size;
    return size < 0 ? 0 : (u64)size * 8;
}

/* ------------------------------------------------------------------------------------------------ fields */

struct member {
    u64 bit;
    u32 width, type;
};

/* Through members without a name, as C does. */
static bool find_member(const struct tn_btf *b, u32 id, const char *name, u64 bit, u32 depth,
                        struct member *ret)
{
    const struct btf_type *t = tn_btf_type(b, id);

    if (depth > 8)
        return false;
    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        const char *own = tn_btf_string(b, m->name_off);
        u64 at = bit + tn_btf_member_bit(t, m);
        u32 type = tn_btf_resolve(b, m->type);

        if (*own) {
            if (strcmp(own, name) != 0)
                continue;
            *ret = (struct member){at, tn_btf_member_bits(t, m), m->type};
            return true;
        }
        if (tn_is_composite(b, type) && find_member(b, type, name, at, depth + 1, ret))
            return true;
    }
    return false;
}

static void offer_members(const struct tn_btf *b, u32 id, u32 depth, struct tn_nearest *near)
{
    const struct btf_type *t = tn_btf_type(b, id);

    for (u32 k = 0; k < tn_btf_vlen(t) && depth < 8; k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];

        tn_nearest_offer(near, tn_btf_string(b, m->name_off));
        if (!*tn_btf_string(b, m->name_off) && tn_is_composite(b, tn_btf_resolve(b, m->type)))
            offer_members(b, tn_btf_resolve(b, m->type), depth + 1, near);
    }
}

static int into_member(const struct tn_scope *s, struct place *p, const struct tn_hop *h)
{
    struct member m;
    char what[96];

    if (!find_member(s->btf, p->v.id, h->name, 0, 0, &m)) {
        struct tn_nearest near = tn_nearest_to(h->name);
        char hint[TN_NEAREST_TEXT];

        offer_members(s->btf, p->v.id, 0, &near);
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "%s has no field \"%.64s\"%s",
                           tn_vtype_text(s->btf, &p->v, what), h->name, tn_nearest_text(&near, hint));
    }
    p->bit += m.bit;
    p->width = m.width;
    p->v = value_of(s->btf, m.type);
    return 0;
}

/* ------------------------------------------------------------------------------------------------- hops */

/* One grant for each element of the fans. */
static int unfold(const struct tn_scope *s, const struct place *p, u64 bits, struct tn_grant **list, u32 *n)
{
    u64 count = 1;

    for (u32 k = 0; k < p->nfans; k++)
        count *= p->fan[k].count;
    for (u64 i = 0; i < count; i++) {
        u64 bit = p->bit, rest = i;
        struct tn_grant *g = TN_BAG_PUSH(s->bag, *list, *n);

        if (!g)
            return -ENOMEM;
        for (u32 k = 0; k < p->nfans; k++) {
            bit += rest % p->fan[k].count * p->fan[k].stride;
            rest /= p->fan[k].count;
        }
        *g = (struct tn_grant){p->base, bit / 8, (bit + bits + 7) / 8, 0};
    }
    return 0;
}

/* Through a pointer to a struct: reading it, and then the object behind. */
static int hop(const struct tn_scope *s, struct place *p, const struct tn_eim_at *at, struct tn_reach *r)
{
    char what[96];
    int err = 0;

    if (p->v.pointers != 1 || !tn_is_composite(s->btf, p->v.id))
        return tn_eim_fail(s->err, at, -EINVAL, NAME, "there is nothing behind this: it is a %s",
                           tn_vtype_text(s->btf, &p->v, what));
    if (p->memory)
        err = unfold(s, p, 64, &r->hop, &r->nhops);
    *p = (struct place){.memory = true, .base = p->v.id, .v = {.id = p->v.id}, .root = p->root};
    return err;
}

static int fan_out(const struct tn_scope *s, struct place *p, const struct tn_hop *h, u64 first, u64 count)
{
    u64 total = count;
    const struct btf_array *a = tn_btf_array(tn_btf_type(s->btf, p->v.id));
    s64 size = tn_btf_size(s->btf, a->type);

    for (u32 k = 0; k < p->nfans; k++)
        total *= TN_MIN(p->fan[k].count, (u64)SPREAD);
    if (count > SPREAD || total > SPREAD || (count > 1 && p->nfans == FANS))
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME,
                           "this names more than %u elements: name the array as a whole", SPREAD);
    p->bit += first * (u64)(size < 0 ? 0 : size) * 8;
    if (count > 1) {
        p->fan[p->nfans].stride = (u64)(size < 0 ? 0 : size) * 8;
        p->fan[p->nfans++].count = count;
    }
    p->v = value_of(s->btf, a->type);
    return 0;
}

/* The field that has the length: a path from the same root, or a sibling by its name alone. */
static int find_length(const struct tn_scope *s, const struct tn_path *length, u32 base,
                       const struct place *p, struct tn_buffer *buffer)
{
    struct tn_reach r = {.arg = -1};
    struct tn_grant g = {0};
    struct member m;
    struct tn_vtype v;
    int err;

    if (!length->n && !length->deref && find_member(s->btf, base, length->root, 0, 0, &m)) {
        g = (struct tn_grant){base, m.bit / 8, (m.bit + (m.width ? m.width : 64)) / 8, 0};
        v = value_of(s->btf, m.type);
        g.end = g.off + v.size;
        if (m.width || v.pointers || !v.number || v.real)
            goto no_number;
        buffer->length_signed = v.is_signed;
    } else {
        err = tn_path_resolve(s, length, &r);
        if (err)
            return err;
        if (r.nends != 1 || r.has_buffer)
            goto no_number;
        g = r.end[0];
        buffer->length_signed = false;
    }
    if (g.type != base)
        return tn_eim_fail(s->err, &length->at, -EINVAL, NAME,
                           "the length has to lie in the same object as the pointer, a \"%.64s\"",
                           tn_btf_name(s->btf, base));
    if (g.end - g.off != 1 && g.end - g.off != 2 && g.end - g.off != 4 && g.end - g.off != 8)
        goto no_number;
    buffer->length_off = (u32)g.off;
    buffer->length_size = (u32)(g.end - g.off);
    return 0;
no_number:
    return tn_eim_fail(s->err, &length->at, -EINVAL, NAME, "a length has to be one whole number");
}

static int buffer(const struct tn_scope *s, struct place *p, const struct tn_hop *h, struct tn_reach *r)
{
    bool inside = !p->v.pointers;
    struct tn_vtype element = p->v;
    struct tn_buffer *b = &r->buffer;
    s64 size;
    int err;

    if (!p->memory || p->nfans || tn_btf_kind_of(s->btf, p->base) == BTF_KIND_VAR)
        return tn_eim_fail(
            s->err, &h->at, -EINVAL, NAME,
            "a buffer is named by a field that points to it, as in r->uri.data[0 .. r->uri.len]");
    if (h->kind == TN_HOP_ALL)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME,
                           "how many are behind this pointer is not known: expected a range, as in [0 .. n]");
    if (inside)
        element = value_of(s->btf, tn_btf_array(tn_btf_type(s->btf, p->v.id))->type);
    else
        element.pointers--;
    size = element.pointers ? 8
           : element.id     ? tn_btf_size(s->btf, element.id)
           : element.size   ? element.size
                            : 1;
    if (size <= 0)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "what this points to has no size");
    *b = (struct tn_buffer){.type = p->base,
                            .pointer_off = (u32)(p->bit / 8),
                            .inside = inside,
                            .element = (u32)size,
                            .first = h->first,
                            .end = h->end};
    if (h->length) {
        err = find_length(s, h->length, p->base, p, b);
        if (err)
            return err;
        struct tn_grant *g = TN_BAG_PUSH(s->bag, r->hop, r->nhops);
        if (!g)
            return -ENOMEM;
        *g = (struct tn_grant){b->type, b->length_off, b->length_off + b->length_size, 0};
    }
    r->has_buffer = true;
    return inside ? 0 : unfold(s, p, 64, &r->hop, &r->nhops);
}

static int index_of(const struct tn_scope *s, struct place *p, const struct tn_hop *h, struct tn_reach *r)
{
    const struct btf_type *t = tn_btf_type(s->btf, p->v.id);
    bool array = !p->v.pointers && t && tn_btf_kind(t) == BTF_KIND_ARRAY;
    u64 n = array ? tn_btf_array(t)->nelems : 0;
    char what[96];

    if (!array && p->v.pointers == 1 && h->kind == TN_HOP_INDEX && !h->first &&
        tn_is_composite(s->btf, p->v.id))
        return hop(s, p, &h->at, r);
    if (!array && p->v.pointers && h->kind != TN_HOP_INDEX)
        return buffer(s, p, h, r);
    if (!array)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "this is no array but a %s%s",
                           tn_vtype_text(s->btf, &p->v, what),
                           p->v.pointers ? "; bytes behind a pointer are a range, as in [0 .. n]" : "");
    if (h->kind == TN_HOP_RANGE && h->length)
        return buffer(s, p, h, r);
    if (h->kind == TN_HOP_ALL && n)
        return fan_out(s, p, h, 0, n);
    if (h->kind == TN_HOP_ALL)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME,
                           "how many elements this array has is not known: expected a range, as in [0 .. n]");
    if ((h->kind == TN_HOP_INDEX ? h->first >= n : h->end > n) && n)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "the array has %llu elements, numbered from 0",
                           (unsigned long long)n);
    if (h->first > UINT32_MAX)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "no object is that large");
    return fan_out(s, p, h, h->first, h->kind == TN_HOP_INDEX ? 1 : h->end - h->first);
}

static int take_step(const struct tn_scope *s, struct place *p, const struct tn_hop *h, struct tn_reach *r)
{
    bool composite = tn_is_composite(s->btf, p->v.id);
    char what[96];
    int err;

    if (r->has_buffer)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME,
                           "a buffer is named as a whole: nothing follows its range");
    if (h->kind != TN_HOP_FIELD && h->kind != TN_HOP_ARROW)
        return index_of(s, p, h, r);
    if (h->kind == TN_HOP_FIELD && p->v.pointers == 1 && composite)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "this is a pointer: expected ->%.64s", h->name);
    if (h->kind == TN_HOP_ARROW && !p->v.pointers && composite)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "this is no pointer: expected .%.64s", h->name);
    if (!composite || p->v.pointers > 1)
        return tn_eim_fail(s->err, &h->at, -EINVAL, NAME, "a %s has no fields: \"%.64s\" is nothing",
                           tn_vtype_text(s->btf, &p->v, what), h->name);
    if (h->kind == TN_HOP_ARROW) {
        err = hop(s, p, &h->at, r);
        if (err)
            return err;
    }
    return into_member(s, p, h);
}

/* ----------------------------------------------------------------------------------------------- root */

static int no_root(const struct tn_scope *s, const struct tn_path *path)
{
    struct tn_nearest near = tn_nearest_to(path->root);
    char hint[TN_NEAREST_TEXT];

    for (u32 k = 0; s->func && k < s->func->n; k++)
        tn_nearest_offer(&near, s->func->param[k].name);
    if (!near.best) {
        tn_offer_names(s->btf, BTF_KIND_VAR, &near);
        tn_offer_names(s->btf, 0, &near);
    }
    return tn_eim_fail(s->err, &path->at, -EINVAL, NAME,
                       "\"%.64s\" is neither an argument%s%.64s nor a variable or type of the host%s",
                       path->root, s->func ? " of " : "", s->func ? s->func->function : "",
                       tn_nearest_text(&near, hint));
}

/* An argument, or the result: a value, or an object that lies in memory. */
static void begin(const struct tn_scope *s, struct place *p, const struct tn_vtype *v, bool result)
{
    p->v = *v;
    p->memory = tn_vtype_by_address(s->btf, v, result);
    p->base = p->memory ? v->id : 0;
}

static int find_root(const struct tn_scope *s, const struct tn_path *path, struct place *p,
                     struct tn_reach *r)
{
    static const u32 kinds[] = {BTF_KIND_TYPEDEF, BTF_KIND_STRUCT, BTF_KIND_UNION};
    u32 id;

    p->root = path->root;
    for (u32 k = 0; s->func && k < s->func->n; k++) {
        if (strcmp(s->func->param[k].name, path->root) != 0)
            continue;
        begin(s, p, &s->func->param[k].type, false);
        r->arg = (s32)k;
        return 0;
    }
    if (s->func && s->func->typed && !strcmp(path->root, "rtn")) {
        begin(s, p, &s->func->ret, true);
        r->arg = (s32)s->func->n;
        return 0;
    }
    id = tn_btf_find(s->btf, BTF_KIND_VAR, path->root);
    if (id) {
        p->v = value_of(s->btf, tn_btf_type(s->btf, id)->type);
        r->var = id;
        p->memory = true; /* a struct: an object as any other of its type */
        p->base = !p->v.pointers && tn_is_composite(s->btf, p->v.id) ? p->v.id : id;
        return 0;
    }
    for (size_t k = 0; k < TN_ARRAY_SIZE(kinds); k++) {
        id = tn_btf_find(s->btf, kinds[k], path->root);
        if (!id)
            continue;
        p->v = value_of(s->btf, id); /* "request_t->uri": of whatever request */
        if (p->v.pointers || !tn_is_composite(s->btf, p->v.id))
            continue;
        p->v.pointers = 1;
        return 0;
    }
    return no_root(s, path);
}

static int finish(const struct tn_scope *s, const struct tn_path *path, struct place *p, struct tn_reach *r)
{
    const struct tn_eim_at *at = path->n ? &path->step[path->n - 1].at : &path->at;
    bool behind = path->deref || (!p->memory && p->v.pointers == 1);
    u64 bits;
    int err;

    if (r->has_buffer)
        return 0;
    if (behind && p->v.pointers == 1 && tn_is_composite(s->btf, p->v.id)) {
        err = hop(s, p, at, r);
        if (err)
            return err;
    } else if (path->deref) {
        return hop(s, p, at, r); /* says what is wrong */
    }
    if (!p->memory) {
        r->arg_named = r->arg >= 0;
        return 0;
    }
    bits = bits_of(s->btf, p);
    if (!bits)
        return tn_eim_fail(s->err, at, -EINVAL, NAME,
                           "this has no size of its own: expected a range, as in [0 .. n]");
    return unfold(s, p, bits, &r->end, &r->nends);
}

int tn_path_resolve(const struct tn_scope *s, const struct tn_path *path, struct tn_reach *ret)
{
    struct tn_reach r = {.arg = -1};
    struct place p = {0};
    int err = find_root(s, path, &p, &r);

    for (u32 k = 0; k < path->n && !err; k++)
        err = take_step(s, &p, &path->step[k], &r);
    if (!err)
        err = finish(s, path, &p, &r);
    if (!err)
        *ret = r;
    return err;
}
