/* SPDX-License-Identifier: MIT */
/*
 * A class made ready to be asked: each capability becomes bytes of types, bits of helpers, numbers of
 * functions. Bytes are sorted and joined, so that a question is one binary search.
 */
#include <errno.h>

#include "eim/bind.h"

static int add_grants(struct tn_bag *bag, struct tn_class *c, bool write, const struct tn_grant *list, u32 n,
                      u32 cap)
{
    for (u32 k = 0; k < n; k++) {
        struct tn_grant *g = TN_BAG_PUSH(bag, c->single[write], c->nsingles[write]);

        if (!g)
            return -ENOMEM;
        *g = list[k];
        g->cap = cap;
    }
    return 0;
}

static int add_reach(struct tn_bag *bag, struct tn_class *c, bool write, const struct tn_reach *r, u32 cap)
{
    const struct tn_btf *btf = c->bound->btf;
    int err = add_grants(bag, c, false, r->hop, r->nhops, cap);

    if (!err)
        err = add_grants(bag, c, write, r->end, r->nends, cap);
    if (!err && r->var && tn_is_composite(btf, tn_btf_resolve(btf, tn_btf_type(btf, r->var)->type))) {
        u32 *v = TN_BAG_PUSH(bag, c->var, c->nvars);

        if (!v)
            return -ENOMEM;
        *v = r->var;
    }
    if (!err && r->has_buffer) {
        struct tn_buffer *b = TN_BAG_PUSH(bag, c->buffer, c->nbuffers);

        if (!b)
            return -ENOMEM;
        *b = r->buffer;
        b->cap = cap;
        b->write = write;
    }
    if (!err && r->arg >= 0 && r->arg < 64)
        c->arg_values |= 1ull << r->arg;
    return err;
}

static int add_path(const struct tn_scope *s, struct tn_class *c, const struct tn_cap *cap, u32 number)
{
    struct tn_reach r;
    int err = tn_path_resolve(s, cap->path, &r);

    if (!err && cap->kind == TN_CAP_WRITE && r.arg_named && !r.nends) {
        if (r.arg == (s32)s->func->n)
            return tn_eim_fail(
                s->err, &cap->at, -EINVAL, "spec_path",
                "a result is changed by who may \"replace\" it, and has no capability of its own");
        c->arg_writes |= r.arg < 64 ? 1ull << r.arg : 0;
        return 0;
    }
    return err ? err : add_reach(s->bag, c, cap->kind == TN_CAP_WRITE, &r, number);
}

/* A name: the host's own come before helpers. */
static int add_named(const struct tn_scope *s, const struct tn_bound *b, struct tn_class *c,
                     const struct tn_cap *cap, u32 number)
{
    const struct tn_state_cap *state = tn_host_state(b->host, cap->name);
    const struct tn_function_cap *f = state ? NULL : tn_host_function(b->host, cap->name);
    struct tn_scope global = *s;
    const char **kfunc;
    u32 helper;

    if (state) {
        struct tn_reach r;
        int err;

        global.func = NULL;
        err = tn_path_resolve(&global, state->cap.path, &r);
        return err ? err : add_reach(s->bag, c, state->cap.kind == TN_CAP_WRITE, &r, number);
    }
    if (f) {
        const struct tn_bfunc **slot = TN_BAG_PUSH(s->bag, c->call, c->ncalls);

        if (!slot)
            return -ENOMEM;
        *slot = &b->function[f - b->host->function];
        return 0;
    }
    helper = tn_helper_named(cap->name);
    if (helper) {
        c->helpers[helper / 64] |= 1ull << helper % 64;
        return 0;
    }
    kfunc = TN_BAG_PUSH(s->bag, c->kfunc, c->nkfuncs);
    if (!kfunc)
        return -ENOMEM;
    *kfunc = cap->name;
    return 0;
}

static int add_cap(const struct tn_scope *s, const struct tn_bound *b, struct tn_class *c, u32 number)
{
    const struct tn_cap *cap = &c->cap[number];

    switch (cap->kind) {
    case TN_CAP_INSTRUCTIONS:
        c->max_insns = cap->limit;
        return 0;
    case TN_CAP_MEMORY:
        c->max_memory = cap->limit;
        return 0;
    case TN_CAP_READ:
    case TN_CAP_WRITE:
        return add_path(s, c, cap, number);
    case TN_CAP_READ_PROCESS:
    case TN_CAP_WRITE_PROCESS:
        c->process[cap->kind == TN_CAP_WRITE_PROCESS] = true;
        return 0;
    case TN_CAP_READ_ARGS:
    case TN_CAP_WRITE_ARGS:
        c->args[cap->kind == TN_CAP_WRITE_ARGS] = true;
        return 0;
    case TN_CAP_HELPERS:
        tn_helper_group(cap->name, c->helpers);
        c->kfunc_groups |= 1ull << tn_helper_group_number(cap->name);
        return 0;
    case TN_CAP_REPLACE:
        c->replace = true;
        return 0;
    case TN_CAP_IO:
        c->io = true;
        return 0;
    default:
        return add_named(s, b, c, cap, number);
    }
}

/* ------------------------------------------------------------------------------------------------ bytes */

static int by_bytes(const void *x, const void *y)
{
    const struct tn_grant *a = x, *b = y;

    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->off != b->off)
        return a->off < b->off ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

static int join(struct tn_bag *bag, struct tn_class *c, u32 op)
{
    u32 n = c->nsingles[op], out = 0;
    struct tn_grant *g = n ? tn_bag_alloc(bag, n * sizeof(*g)) : NULL;

    if (!n)
        return 0;
    if (!g)
        return -ENOMEM;
    qsort(c->single[op], n, sizeof(*g), by_bytes);
    for (u32 k = 0; k < n; k++) {
        const struct tn_grant *next = &c->single[op][k];

        if (out && g[out - 1].type == next->type && g[out - 1].end >= next->off)
            g[out - 1].end = TN_MAX(g[out - 1].end, next->end);
        else
            g[out++] = *next;
    }
    c->grant[op] = g;
    c->ngrants[op] = out;
    return 0;
}

/* The one that has the byte at `off`, or NULL. */
static const struct tn_grant *grant_at(const struct tn_class *c, bool write, u32 type, u64 off)
{
    const struct tn_grant *g = c->grant[write];
    u32 at;

    TN_PARTITION(at, c->ngrants[write], g[at].type < type || (g[at].type == type && g[at].off <= off));
    return at && g[at - 1].type == type && g[at - 1].end > off ? &g[at - 1] : NULL;
}

bool tn_class_covers(const struct tn_class *c, bool write, u32 type, u64 off, u64 end)
{
    const struct tn_grant *g = grant_at(c, write, type, off);

    return g && g->end >= end;
}

/* Places that lie in one grant are gone through at once. */
bool tn_class_covers_places(const struct tn_class *c, const struct tn_access *a)
{
    u64 places = TN_MAX(a->places, 1u), off = a->offset;

    for (u64 k = 0; k < places;) {
        const struct tn_grant *g = grant_at(c, a->kind == TN_ACCESS_WRITE, a->btf_id, off);

        if (!g || g->end < off + a->size)
            return false;
        if (!a->step)
            return true;
        k += 1 + (g->end - off - a->size) / a->step;
        off = a->offset + k * a->step;
    }
    return true;
}

bool tn_class_names(const struct tn_class *c, u32 var)
{
    for (u32 k = 0; k < c->nvars; k++)
        if (c->var[k] == var)
            return true;
    return false;
}

bool tn_buffer_is(const struct tn_buffer *b, const struct tn_access *a)
{
    return b->type == a->btf_id && b->inside == a->inside && b->pointer_off == a->offset &&
           b->element == a->element && b->write == (a->kind == TN_ACCESS_WRITE) && b->first <= a->first &&
           b->length_size == a->length_size &&
           (b->length_size ? b->length_off == a->length_off : a->end <= b->end);
}

static int by_function(const void *x, const void *y)
{
    const struct tn_bfunc *a = *(const struct tn_bfunc *const *)x, *b = *(const struct tn_bfunc *const *)y;

    return a->btf_id < b->btf_id ? -1 : a->btf_id > b->btf_id;
}

int tn_class_make(const struct tn_bound *b, struct tn_bag *bag, const char *name, const char *entry,
                  const struct tn_eim_at *entry_at, enum tn_eim_generated generated,
                  const struct tn_cap *caps, u32 ncaps, struct tn_class **ret, struct tn_error *err)
{
    struct tn_class *c = tn_bag_alloc(bag, sizeof(*c));
    struct tn_scope s = {b->btf, bag, NULL, err};
    int code = 0;

    if (!c)
        return -ENOMEM;
    *c = (struct tn_class){.bound = b,
                           .name = name,
                           .entry = entry,
                           .generated = generated,
                           .cap = caps,
                           .ncaps = ncaps,
                           .max_memory = TN_EIM_MEMORY_DEFAULT};
    if (!generated) {
        const struct tn_eim_entry *e = tn_host_entry(b->host, entry);

        if (!e)
            return tn_eim_fail(err, entry_at, -EINVAL, "spec_name",
                               "host \"%.64s\" has no extension entry \"%.64s\"", b->host->name, entry);
        c->func = s.func = &b->entry[e - b->host->entry];
    }
    for (u32 k = 0; k < ncaps && !code; k++)
        code = add_cap(&s, b, c, k);
    for (u32 op = 0; op < 2 && !code; op++)
        code = join(bag, c, op);
    if (code)
        return code;
    if (c->ncalls)
        qsort(c->call, c->ncalls, sizeof(*c->call), by_function);
    *ret = c;
    return 0;
}
