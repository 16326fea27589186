/* SPDX-License-Identifier: MIT */
/*
 * What all files of a host say together: rows are sorted, each name is there once, each name that a class
 * uses is known, and no class contradicts itself. From here on the order of files does not show.
 */
#include <errno.h>

#include "eim/model.h"

#define NAME     TN_SPEC_NAME
#define CONFLICT TN_SPEC_CONFLICT

struct check {
    struct tn_error *err;
};

static int by_place(const struct tn_eim_at *a, const struct tn_eim_at *b)
{
    int d = strcmp(a->file, b->file);

    if (d)
        return d;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->column < b->column ? -1 : a->column > b->column;
}

#define BEGINS_WITH_A_NAME(type)                                                                             \
    _Static_assert(offsetof(struct type, at) == offsetof(struct tn_named, at) &&                             \
                       offsetof(struct type, name) == offsetof(struct tn_named, name),                       \
                   "rows are sorted and found as names")
BEGINS_WITH_A_NAME(tn_state_cap);
BEGINS_WITH_A_NAME(tn_function_cap);
BEGINS_WITH_A_NAME(tn_eim_entry);
BEGINS_WITH_A_NAME(tn_class_spec);

static int by_name(const void *x, const void *y)
{
    const struct tn_named *a = x, *b = y;
    int d = strcmp(a->name, b->name);

    return d ? d : by_place(&a->at, &b->at);
}

static int caps(const void *x, const void *y)
{
    const struct tn_cap *a = x, *b = y;
    int d = strcmp(a->text, b->text);

    return d ? d : by_place(&a->at, &b->at);
}
static int twice(struct check *l, const char *what, const char *name, const struct tn_eim_at *again,
                 const struct tn_eim_at *first)
{
    return tn_eim_fail(l->err, again, -EINVAL, CONFLICT, "%s \"%.64s\" is there already, at %.200s:%u:%u",
                       what, name, first->file, first->line, first->column);
}

static void sort(void *rows, u32 n, size_t size, int (*how)(const void *, const void *))
{
    if (n > 1)
        qsort(rows, n, size, how);
}

static const struct tn_named *row_at(const void *rows, u32 k, size_t size)
{
    return (const struct tn_named *)((const char *)rows + k * size);
}

static int each_once(struct check *l, void *rows, u32 n, size_t size, const char *what)
{
    sort(rows, n, size, by_name);
    for (u32 k = 1; k < n; k++) {
        const struct tn_named *a = row_at(rows, k - 1, size), *b = row_at(rows, k, size);

        if (!strcmp(a->name, b->name))
            return twice(l, what, b->name, &b->at, &a->at);
    }
    return 0;
}

static int check_names(struct check *l, struct tn_host *h)
{
    int err = each_once(l, h->state, h->nstates, sizeof(*h->state), "state capability");

    if (!err)
        err = each_once(l, h->function, h->nfunctions, sizeof(*h->function), "function capability");
    if (!err)
        err = each_once(l, h->entry, h->nentries, sizeof(*h->entry), "extension entry");
    if (!err)
        err = each_once(l, h->klass, h->nclasses, sizeof(*h->klass), "extension class");
    for (u32 k = 0; k < h->nfunctions && !err; k++) {
        const struct tn_state_cap *s = tn_host_state(h, h->function[k].name);

        if (s)
            err = twice(l, "a capability", s->name, &h->function[k].at, &s->at);
    }
    return err;
}

/* An address means nothing without the build that has it there. */
static int check_addresses(struct check *l, const struct tn_host *h)
{
    const struct tn_eim_at *at = NULL;

    for (u32 k = 0; k < h->nfunctions && !at; k++)
        at = h->function[k].address ? &h->function[k].address_at : NULL;
    for (u32 k = 0; k < h->nentries && !at; k++)
        at = h->entry[k].address ? &h->entry[k].address_at : NULL;
    if (!at || h->build_id.text)
        return 0;
    return tn_eim_fail(
        l->err, at, -EINVAL, CONFLICT,
        "an address is one of a build, and no file says which: expected build_id under \"host\"");
}

static const void *find(const void *rows, u32 n, size_t size, const char *name)
{
    u32 at;

    TN_PARTITION(at, n, strcmp(row_at(rows, at, size)->name, name) < 0);
    return at < n && !strcmp(row_at(rows, at, size)->name, name) ? row_at(rows, at, size) : NULL;
}

const struct tn_state_cap *tn_host_state(const struct tn_host *h, const char *name)
{
    return find(h->state, h->nstates, sizeof(*h->state), name);
}
const struct tn_function_cap *tn_host_function(const struct tn_host *h, const char *name)
{
    return find(h->function, h->nfunctions, sizeof(*h->function), name);
}
const struct tn_eim_entry *tn_host_entry(const struct tn_host *h, const char *name)
{
    return find(h->entry, h->nentries, sizeof(*h->entry), name);
}

static int unknown_capability(struct check *l, const struct tn_host *h, const struct tn_cap *cap)
{
    struct tn_nearest near = tn_nearest_to(cap->name);
    char hint[TN_NEAREST_TEXT];

    for (u32 k = 0; k < h->nstates; k++)
        tn_nearest_offer(&near, h->state[k].name);
    for (u32 k = 0; k < h->nfunctions; k++)
        tn_nearest_offer(&near, h->function[k].name);
    tn_nearest_offer(&near, "replace");
    tn_nearest_offer(&near, "IO");
    tn_helper_offer(&near);
    return tn_eim_fail(
        l->err, &cap->at, -EINVAL, NAME,
        "host \"%.64s\" has no state or function capability \"%.64s\", and no helper has that name%s",
        h->name, cap->name, tn_nearest_text(&near, hint));
}

static int unknown_group(struct check *l, const struct tn_cap *cap)
{
    struct tn_nearest near = tn_nearest_to(cap->name);
    char hint[TN_NEAREST_TEXT], list[100] = "";

    for (u32 k = 0; tn_helper_group_name(k); k++) {
        tn_nearest_offer(&near, tn_helper_group_name(k));
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", k ? ", " : "",
                 tn_helper_group_name(k));
    }
    return tn_eim_fail(l->err, &cap->at, -EINVAL, NAME,
                       "no group of helpers is called \"%.64s\": expected %s%s", cap->name, list,
                       tn_nearest_text(&near, hint));
}

static int check_cap(struct check *l, const struct tn_host *h, const struct tn_cap *cap)
{
    u64 bits[TN_HELPER_WORDS] = {0};

    if (cap->kind == TN_CAP_HELPERS && !tn_helper_group(cap->name, bits))
        return unknown_group(l, cap);
    if (cap->kind == TN_CAP_NAMED && !tn_host_state(h, cap->name) && !tn_host_function(h, cap->name) &&
        !tn_helper_named(cap->name) && !tn_kfunc_named(cap->name))
        return unknown_capability(l, h, cap);
    return 0;
}

static int check_class(struct check *l, const struct tn_host *h, struct tn_class_spec *c, bool named)
{
    const struct tn_cap *limit[2] = {NULL, NULL};

    if (named && !c->generated && !tn_host_entry(h, c->entry)) {
        struct tn_nearest near = tn_nearest_to(c->entry);
        char hint[TN_NEAREST_TEXT];

        for (u32 k = 0; k < h->nentries; k++)
            tn_nearest_offer(&near, h->entry[k].name);
        return tn_eim_fail(l->err, &c->entry_at, -EINVAL, NAME,
                           "host \"%.64s\" has no extension entry \"%.64s\"%s", h->name, c->entry,
                           tn_nearest_text(&near, hint));
    }
    sort(c->cap, c->ncaps, sizeof(*c->cap), caps);
    for (u32 k = 0; k < c->ncaps; k++) {
        const struct tn_cap *cap = &c->cap[k];
        int err = named || cap->kind != TN_CAP_NAMED ? check_cap(l, h, cap) : 0;

        if (err)
            return err;
        if (cap->kind == TN_CAP_INSTRUCTIONS || cap->kind == TN_CAP_MEMORY) {
            const struct tn_cap **one = &limit[cap->kind == TN_CAP_MEMORY];

            if (*one)
                return tn_eim_fail(l->err, &cap->at, -EINVAL, CONFLICT,
                                   "class \"%.64s\" has two limits of one kind: \"%s\" here and \"%s\" at "
                                   "%.100s:%u:%u",
                                   c->name, cap->text, (*one)->text, (*one)->at.file, (*one)->at.line,
                                   (*one)->at.column);
            *one = cap;
        } else if (k && !strcmp(c->cap[k - 1].text, cap->text)) {
            return twice(l, "capability", cap->text, &cap->at, &c->cap[k - 1].at);
        }
    }
    if (!limit[0])
        return tn_eim_fail(l->err, &c->at, -EINVAL, CONFLICT,
                           "class \"%.64s\" allows no instruction: expected \"instructions < N\" or "
                           "\"instructions < inf\" under \"allowed\"",
                           c->name);
    return 0;
}

static bool is_alone(const struct tn_cons *c)
{
    if (c->kind == TN_CONS_FACT)
        return c->fact == TN_FACT_NOT_REENTRANT;
    return c->kind == TN_CONS_AND && (is_alone(c->a) || is_alone(c->b));
}

/* What outside() names is a function that may be called, and that the promise means something of. */
static int known_function(struct check *l, const struct tn_host *h, const struct tn_eim_entry *e,
                          const struct tn_cons *c)
{
    const char *name = c->arg[0].path->root;
    struct tn_nearest near = tn_nearest_to(name);
    char hint[TN_NEAREST_TEXT];
    bool there = false;

    if (!e)
        return tn_eim_fail(l->err, &c->at, -EINVAL, CONFLICT,
                           "outside() is said of an extension entry, not of a function that is called");
    if (!strcmp(e->function, name))
        return tn_eim_fail(l->err, &c->arg[0].at, -EINVAL, CONFLICT,
                           "entry \"%.64s\" is %.64s itself, and reached whenever that runs", e->name, name);
    for (u32 k = 0; k < h->nfunctions; k++) {
        const struct tn_function_cap *f = &h->function[k];

        for (u32 n = 0; n < f->nconstraints && !strcmp(f->function, name); n++)
            if (is_alone(f->constraint[n]))
                return 0;
        there |= !strcmp(f->function, name);
        tn_nearest_offer(&near, f->function);
    }
    if (there)
        return tn_eim_fail(l->err, &c->arg[0].at, -EINVAL, CONFLICT,
                           "%.64s may be called while it runs: it is not not_reentrant, and outside() says "
                           "nothing",
                           name);
    return tn_eim_fail(l->err, &c->arg[0].at, -EINVAL, NAME,
                       "host \"%.64s\" has no function capability for a function \"%.64s\"%s", h->name, name,
                       tn_nearest_text(&near, hint));
}

static int check_outside(struct check *l, const struct tn_host *h, const struct tn_eim_entry *e,
                         const struct tn_cons *c)
{
    int err = 0;

    if (c->kind == TN_CONS_FACT)
        return c->fact == TN_FACT_OUTSIDE ? known_function(l, h, e, c) : 0;
    if (c->a)
        err = check_outside(l, h, e, c->a);
    return err || !c->b ? err : check_outside(l, h, e, c->b);
}

static int check_constraints(struct check *l, const struct tn_host *h)
{
    int err = 0;

    for (u32 k = 0; k < h->nentries && !err; k++)
        for (u32 n = 0; n < h->entry[k].nconstraints && !err; n++)
            err = check_outside(l, h, &h->entry[k], h->entry[k].constraint[n]);
    for (u32 k = 0; k < h->nfunctions && !err; k++)
        for (u32 n = 0; n < h->function[k].nconstraints && !err; n++)
            err = check_outside(l, h, NULL, h->function[k].constraint[n]);
    return err;
}

static int check_said(struct check *l, struct tn_bag *bag, const struct tn_host *h)
{
    struct tn_said *said = tn_bag_alloc(bag, sizeof(*said) * (TN_MAX(h->nfunctions, h->nentries) + 1));
    int err;

    if (!said)
        return -ENOMEM;
    for (u32 k = 0; k < h->nfunctions; k++) {
        const struct tn_function_cap *f = &h->function[k];

        said[k] = (struct tn_said){f->at, f->name, f->function, f->constraint, f->nconstraints};
    }
    err = tn_eim_contradiction(bag, said, h->nfunctions, l->err);
    if (!err)
        err = tn_eim_same_said(said, h->nfunctions, l->err);
    for (u32 k = 0; k < h->nentries; k++) {
        const struct tn_eim_entry *e = &h->entry[k];

        said[k] = (struct tn_said){e->at, e->name, e->function, e->constraint, e->nconstraints};
    }
    return err ? err : tn_eim_contradiction(bag, said, h->nentries, l->err);
}

static int hosts(const void *x, const void *y)
{
    return strcmp(((const struct tn_host *)x)->name, ((const struct tn_host *)y)->name);
}

/* What its classes name must be there, unless the host's own notes, which were not read, may have it. */
static bool is_whole(const struct tn_host *h, const struct tn_eim_options *options)
{
    return !options || !options->notes_elsewhere || h->nentries + h->nfunctions + h->nstates > 0 ||
           (options->host && !strcmp(h->name, options->host));
}

/* Whose rules a binary is under is said once. */
static int each_binary_once(struct check *l, const struct tn_eim *eim)
{
    for (u32 k = 0; k < eim->nhosts; k++)
        for (u32 j = 0; j < k; j++) {
            const struct tn_text_at *a = &eim->host[j].binary, *b = &eim->host[k].binary;

            if (a->text && b->text && !strcmp(a->text, b->text))
                return tn_eim_fail(
                    l->err, &b->at, -EINVAL, CONFLICT,
                    "this is the binary of host \"%.64s\" already, at %.200s:%u:%u: \"%.64s\" cannot "
                    "have it as well",
                    eim->host[j].name, a->at.file, a->at.line, a->at.column, eim->host[k].name);
        }
    return 0;
}

int tn_eim_compose(struct tn_eim *eim, const struct tn_eim_options *options, struct tn_error *err)
{
    struct check l = {.err = err};
    int code = 0;

    sort(eim->host, eim->nhosts, sizeof(*eim->host), hosts);
    code = each_binary_once(&l, eim);
    for (u32 k = 0; k < eim->nhosts && !code; k++) {
        struct tn_host *h = &eim->host[k];

        code = check_names(&l, h);
        if (!code)
            code = check_constraints(&l, h);
        if (!code)
            code = check_addresses(&l, h);
        if (!code)
            code = check_said(&l, &eim->bag, h);
        for (u32 c = 0; c < h->nclasses && !code; c++)
            code = check_class(&l, h, &h->klass[c], is_whole(h, options));
    }
    return code;
}
