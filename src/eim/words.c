/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a type as capabilities that can be pasted: a root that leads to an object of the type, and the
 * fields from there. The shortest root is taken, and none that would grant more than was asked: a pointer is
 * followed only where it is readable already.
 */
#include <errno.h>

#include "eim/ask.h"

#define ROOMS 64u /* types that a search looks into */
#define HOPS  3u

struct root {
    const char *text; /* "r", "r->connection", "cycle", "request_t" */
    bool object;      /* a variable: its fields follow a "." */
    bool through;     /* the whole of it is "*r->connection" */
};

struct search {
    const struct tn_bound *b;
    struct tn_bag *bag;
    u32 want;
    bool (*reads)(const void *self, u32 type, u64 off);
    const void *self;
    struct {
        u32 type, hops;
        bool object; /* as of struct root */
        const char *text;
    } room[ROOMS];
    u32 n;
    const char *found;
};

/* Pointers in a struct, and in the structs in it, that are readable and lead somewhere. */
static void look_into(struct search *s, u32 room, u32 type, u64 base, const char *prefix, u32 depth)
{
    const struct btf_type *t = tn_btf_type(s->b->btf, type);

    for (u32 k = 0; k < tn_btf_vlen(t) && !s->found; k++) {
        const struct btf_member *m = &tn_btf_members(t)[k];
        const char *name = tn_btf_string(s->b->btf, m->name_off), *path;
        struct tn_vtype v = tn_vtype_of(s->b->btf, m->type);
        u64 off = base + tn_btf_member_bit(t, m) / 8;
        bool composite = tn_is_composite(s->b->btf, v.id), seen = false;

        if (!composite || v.pointers > 1 || (v.pointers && !s->reads(s->self, s->room[room].type, off)))
            continue;
        path = *name ? tn_bag_printf(s->bag, "%s%s%s", prefix,
                                     prefix == s->room[room].text && !s->room[room].object ? "->" : ".", name)
                     : prefix;
        if (!path)
            return;
        if (!v.pointers) {
            if (depth < 6)
                look_into(s, room, v.id, off, path, depth + 1);
            continue;
        }
        if (v.id == s->want)
            s->found = path;
        for (u32 r = 0; r < s->n; r++)
            seen |= s->room[r].type == v.id;
        if (!seen && s->n < ROOMS && s->room[room].hops < HOPS) {
            s->room[s->n].type = v.id;
            s->room[s->n].hops = s->room[room].hops + 1;
            s->room[s->n++].text = path;
        }
    }
}

static bool from_arguments(struct search *s, const struct tn_bfunc *f, struct root *ret)
{
    for (u32 k = 0; f && k < f->n; k++) {
        const struct tn_bparam *p = &f->param[k];

        if (!*p->name || !tn_vtype_is_handle(s->b->btf, &p->type, false))
            continue;
        if (p->type.id == s->want) {
            *ret = (struct root){p->name, !p->type.pointers, false};
            return true;
        }
        if (s->n < ROOMS) {
            s->room[s->n].type = p->type.id;
            s->room[s->n].object = !p->type.pointers;
            s->room[s->n++].text = p->name;
        }
    }
    *ret = (struct root){"rtn", true, false};
    return f && f->typed && tn_vtype_by_address(s->b->btf, &f->ret, true) && f->ret.id == s->want;
}

static bool from_variables(struct search *s, struct root *ret)
{
    for (u32 k = 0; k < s->b->host->nstates; k++) {
        const struct tn_path *p = s->b->host->state[k].cap.path;
        u32 var = tn_btf_find(s->b->btf, BTF_KIND_VAR, p->root);
        struct tn_vtype v =
            var ? tn_vtype_of(s->b->btf, tn_btf_type(s->b->btf, var)->type) : (struct tn_vtype){0};

        if (var && !v.pointers && v.id == s->want) {
            *ret = (struct root){p->root, true, false};
            return true;
        }
    }
    return false;
}

/* Variables that are pointers, and readable: to an object, or on the way to one. */
static bool from_pointers(struct search *s, struct root *ret)
{
    const struct tn_btf *b = s->b->btf;

    for (u32 id = 1; s->reads && id < tn_btf_count(b); id++) {
        struct tn_vtype v;

        if (tn_btf_kind_of(b, id) != BTF_KIND_VAR)
            continue;
        v = tn_vtype_of(b, tn_btf_type(b, id)->type);
        if (v.pointers != 1 || !tn_is_composite(b, v.id) || !s->reads(s->self, id, 0))
            continue;
        if (v.id == s->want) {
            *ret = (struct root){tn_btf_name(b, id), false, true};
            return true;
        }
        if (s->n < ROOMS) {
            s->room[s->n].type = v.id;
            s->room[s->n++].text = tn_btf_name(b, id);
        }
    }
    return false;
}

/* The type's own name: a typedef's first, since C code has it so. */
static bool from_types(struct search *s, struct root *ret)
{
    const struct tn_btf *b = s->b->btf;

    for (u32 id = 1; id < tn_btf_count(b); id++) {
        if (tn_btf_kind_of(b, id) != BTF_KIND_TYPEDEF || tn_btf_resolve(b, id) != s->want)
            continue;
        if (tn_btf_find(b, BTF_KIND_TYPEDEF, tn_btf_name(b, id)) != id ||
            tn_btf_find(b, BTF_KIND_VAR, tn_btf_name(b, id)))
            continue;
        *ret = (struct root){tn_btf_name(b, id), false, false};
        return true;
    }
    if (!*tn_btf_name(b, s->want) ||
        tn_btf_find(b, tn_btf_kind_of(b, s->want), tn_btf_name(b, s->want)) != s->want)
        return false;
    *ret = (struct root){tn_btf_name(b, s->want), false, false};
    return true;
}

static bool find_root(struct search *s, const struct tn_bfunc *f, struct root *ret)
{
    if (from_arguments(s, f, ret) || from_variables(s, ret) || from_pointers(s, ret))
        return true;
    for (u32 k = 0; s->reads && k < s->n && !s->found; k++)
        look_into(s, k, s->room[k].type, 0, s->room[k].text, 0);
    if (s->found) {
        *ret = (struct root){s->found, false, true};
        return true;
    }
    return from_types(s, ret);
}

struct say {
    const struct tn_bound *b;
    struct tn_bag *bag;
    const struct root *root;
    bool write;
    struct tn_words *words;
};

/* The name that the host's developers gave a capability on its variable. */
static const char *state_of(const struct say *s, const char *text)
{
    for (u32 k = 0; s->root->object && k < s->b->host->nstates; k++) {
        const char *own = tn_cap_text(s->bag, &s->b->host->state[k].cap);

        if (own && !strcmp(own, text))
            return s->b->host->state[k].name;
    }
    return text;
}

static int say(void *self, const char *fields)
{
    struct say *s = self;
    const char **slot = TN_BAG_PUSH(s->bag, s->words->text, s->words->n);
    const char *op = s->write ? "write" : "read";

    if (!slot)
        return -ENOMEM;
    if (!*fields)
        *slot = tn_bag_printf(s->bag, "%s(%s%s)", op, s->root->through ? "*" : "", s->root->text);
    else if (s->root->object) /* ".field" of a struct, "[3]" of an array */
        *slot = tn_bag_printf(s->bag, "%s(%s%s)", op, s->root->text, fields);
    else
        *slot = tn_bag_printf(s->bag, "%s(%s->%s)", op, s->root->text, fields + 1);
    *slot = *slot ? state_of(s, *slot) : NULL;
    return *slot ? 0 : -ENOMEM;
}

/* Arguments of `func` (may be NULL) come first, then variables that have a state capability, then pointers that
   `reads` says are readable, then the type's name. */
static int words_of_object(const struct tn_bound *b, const struct tn_bfunc *func, struct tn_bag *bag,
                           const struct tn_access *a, bool (*reads)(const void *self, u32 type, u64 off),
                           const void *self, struct tn_words *ret)
{
    struct search s = {.b = b, .bag = bag, .want = a->btf_id, .reads = reads, .self = self};
    struct root root;
    struct say how = {b, bag, &root, a->kind == TN_ACCESS_WRITE, ret};

    if (!tn_is_composite(b->btf, a->btf_id) || !find_root(&s, func, &root))
        return -ENOENT;
    return tn_path_spell(b->btf, a->btf_id, a, bag, say, &how);
}

bool tn_access_is_name(const struct tn_bound *b, const struct tn_access *a)
{
    return !a->size && tn_btf_kind_of(b->btf, a->btf_id) == BTF_KIND_VAR;
}

/* The variable's own name stands before its fields, whatever else leads to an object of the type. */
int tn_words_of_access(const struct tn_bound *b, const struct tn_bfunc *func, struct tn_bag *bag,
                       const struct tn_access *a, bool (*reads)(const void *self, u32 type, u64 off),
                       const void *self, struct tn_words *ret)
{
    u32 var = tn_btf_kind_of(b->btf, a->btf_id) == BTF_KIND_VAR ? a->btf_id : a->var;
    struct root root = {tn_btf_name(b->btf, var), true, false};
    struct say how = {b, bag, &root, a->kind == TN_ACCESS_WRITE, ret};

    if (!var)
        return words_of_object(b, func, bag, a, reads, self, ret);
    return tn_path_spell(b->btf, tn_btf_type(b->btf, var)->type, a, bag, say, &how);
}

static const char *field_of(const struct tn_bound *b, struct tn_bag *bag, const struct root *root, u32 type,
                            u64 off, enum tn_btf_sort sort, u64 size)
{
    struct tn_btf_member_at at;

    if (!tn_btf_member_of(b->btf, type, off, sort, size, &at))
        return NULL;
    return root->object ? tn_bag_printf(bag, "%s%s", root->text, at.path)
                        : tn_bag_printf(bag, "%s->%s", root->text, at.path + 1);
}

const char *tn_words_of_buffer(const struct tn_bound *b, const struct tn_bfunc *func, struct tn_bag *bag,
                               const struct tn_access *a, bool (*reads)(const void *self, u32 type, u64 off),
                               const void *self)
{
    struct search s = {.b = b, .bag = bag, .want = a->btf_id, .reads = reads, .self = self};
    struct root root = {tn_btf_name(b->btf, a->var), true, false};
    const char *op = a->kind == TN_ACCESS_WRITE ? "write" : "read", *p, *n;

    if (!tn_is_composite(b->btf, a->btf_id) || (!a->var && !find_root(&s, func, &root)))
        return NULL;
    p = field_of(b, bag, &root, a->btf_id, a->offset, a->inside ? TN_BTF_ARRAY : TN_BTF_POINTER, a->element);
    n = !a->length_size ? tn_bag_printf(bag, "%llu", (unsigned long long)a->end)
                        : field_of(b, bag, &root, a->btf_id, a->length_off,
                                   a->length_signed ? TN_BTF_SIGNED : TN_BTF_UNSIGNED, a->length_size);
    if (!p || !n)
        return NULL;
    return tn_bag_printf(bag, "%s(%s[%llu .. %s])", op, p, (unsigned long long)a->first, n);
}
