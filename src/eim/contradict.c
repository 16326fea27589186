/* SPDX-License-Identifier: MIT */
/*
 * Constraints of one function that cannot hold together: refused where the second of the two stands.
 *
 *      level < 8, level > 9        for each thing that is compared with numbers, what is left for it: an interval
 *      nonnull(o), nullable(o)     … with NULL: it is there, it may be NULL, or it is NULL
 *
 * What stands under "and", and what stands in a list, has to hold together; so has the contrary of what stands under
 * "not". Not looked at: what stands under "or", and relations between two things of which none is a number.
 */
#include <errno.h>

#include "eim/model.h"

#define CONFLICT TN_SPEC_CONFLICT

enum { THERE, MAYBE, NOTHING, POINTER_WORDS };

/* What is known of one thing, and where it was said. */
struct thing {
    const char *name;
    s64 min, max;
    const struct tn_cons *min_by, *max_by, *pointer[POINTER_WORDS];
};
struct things {
    struct tn_bag *bag;
    const char *whose;
    struct thing *row;
    u32 n;
    struct tn_error *err;
};

static int clash(const struct things *t, const struct thing *about, const struct tn_cons *again,
                 const struct tn_cons *first)
{
    return tn_eim_fail(
        t->err, &again->at, -EINVAL, CONFLICT,
        "\"%.64s\" contradicts itself: this about %.64s cannot hold together with what stands at "
        "%.200s:%u:%u",
        t->whose, about->name, first->at.file, first->at.line, first->at.column);
}

static int thing_of(struct things *t, const struct tn_operand *o, struct thing **ret)
{
    const char *name = o->kind == TN_OP_RTN ? "rtn" : tn_path_text(t->bag, o->path);

    if (name && o->kind == TN_OP_SIZE)
        name = tn_bag_printf(t->bag, "size(%s)", name);
    if (!name)
        return -ENOMEM;
    for (u32 k = 0; k < t->n; k++)
        if (!strcmp(t->row[k].name, name)) {
            *ret = &t->row[k];
            return 0;
        }
    *ret = TN_BAG_PUSH(t->bag, t->row, t->n);
    if (!*ret)
        return -ENOMEM;
    **ret = (struct thing){.name = name, .min = INT64_MIN, .max = INT64_MAX};
    return 0;
}

static int say_pointer(const struct things *t, struct thing *x, u32 word, const struct tn_cons *c)
{
    static const bool against[POINTER_WORDS][POINTER_WORDS] = {[THERE] = {[MAYBE] = true, [NOTHING] = true},
                                                               [MAYBE] = {[THERE] = true},
                                                               [NOTHING] = {[THERE] = true}};

    for (u32 k = 0; k < POINTER_WORDS; k++)
        if (against[word][k] && x->pointer[k])
            return clash(t, x, c, x->pointer[k]);
    x->pointer[word] = c;
    return 0;
}

static int say_number(const struct things *t, struct thing *x, enum tn_rel rel, s64 n,
                      const struct tn_cons *c)
{
    s64 min = x->min, max = x->max;

    if (rel == TN_GE || rel == TN_EQ)
        min = n;
    else if (rel == TN_GT && n < INT64_MAX)
        min = n + 1;
    if (rel == TN_LE || rel == TN_EQ)
        max = n;
    else if (rel == TN_LT && n > INT64_MIN)
        max = n - 1;
    if (min > x->max && x->max_by)
        return clash(t, x, c, x->max_by);
    if (max < x->min && x->min_by)
        return clash(t, x, c, x->min_by);
    if (min > x->min) {
        x->min = min;
        x->min_by = c;
    }
    if (max < x->max) {
        x->max = max;
        x->max_by = c;
    }
    return 0;
}

static bool is_named(const struct tn_operand *o)
{
    return o->kind == TN_OP_RTN || o->kind == TN_OP_PATH || o->kind == TN_OP_SIZE;
}

static enum tn_rel turned(enum tn_rel rel)
{
    static const enum tn_rel to[] = {
        [TN_LT] = TN_GT, [TN_LE] = TN_GE, [TN_GT] = TN_LT, [TN_GE] = TN_LE, [TN_EQ] = TN_EQ, [TN_NE] = TN_NE};

    return to[rel];
}

static enum tn_rel contrary_of(enum tn_rel rel)
{
    static const enum tn_rel to[] = {
        [TN_LT] = TN_GE, [TN_LE] = TN_GT, [TN_GT] = TN_LE, [TN_GE] = TN_LT, [TN_EQ] = TN_NE, [TN_NE] = TN_EQ};

    return to[rel];
}

/* Of the two rounds, the second looks at "!=", which needs to know that one number alone is left. */
static int say_relation(struct things *t, const struct tn_cons *c, bool contrary, bool second)
{
    const bool left = is_named(&c->l) && !is_named(&c->r);
    const struct tn_operand *named = left ? &c->l : &c->r, *value = left ? &c->r : &c->l;
    enum tn_rel rel = contrary ? contrary_of(c->rel) : c->rel;
    struct thing *x;
    int err;

    if (is_named(value) || !is_named(named))
        return 0;
    err = thing_of(t, named, &x);
    if (err)
        return err;
    if (value->kind == TN_OP_NULL)
        return second || (rel != TN_EQ && rel != TN_NE)
                   ? 0
                   : say_pointer(t, x, rel == TN_EQ ? NOTHING : THERE, c);
    if (!left)
        rel = turned(rel);
    if (second != (rel == TN_NE))
        return 0;
    if (rel != TN_NE)
        return say_number(t, x, rel, value->number, c);
    return x->min == x->max && x->min == value->number ? clash(t, x, c, x->min_by) : 0;
}

static int say(struct things *t, const struct tn_cons *c, bool contrary, bool second)
{
    struct thing *x;
    int err;

    switch (c->kind) {
    case TN_CONS_NOT:
        return say(t, c->a, !contrary, second);
    case TN_CONS_AND:
    case TN_CONS_OR:
        if ((c->kind == TN_CONS_OR) != contrary)
            return 0;
        err = say(t, c->a, contrary, second);
        return err ? err : say(t, c->b, contrary, second);
    case TN_CONS_REL:
        return say_relation(t, c, contrary, second);
    default:
        break;
    }
    if (second || (c->fact != TN_FACT_NONNULL && c->fact != TN_FACT_NULLABLE))
        return 0;
    err = thing_of(t, &c->arg[0], &x);
    return err ? err : say_pointer(t, x, c->fact == TN_FACT_NULLABLE ? MAYBE : contrary ? NOTHING : THERE, c);
}

/* Spaces are no part of what is said. */
static bool same_text(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, " ");
        b += strspn(b, " ");
        if (*a != *b)
            return false;
        if (!*a)
            return true;
    }
}

static const struct tn_cons *missing(struct tn_cons *const *from, u32 nfrom, struct tn_cons *const *in,
                                     u32 nin)
{
    for (u32 k = 0; k < nfrom; k++) {
        bool there = false;

        for (u32 j = 0; j < nin && !there; j++)
            there = same_text(from[k]->text, in[j]->text);
        if (!there)
            return from[k];
    }
    return NULL;
}

/* Of a function, all that is said of it under its names up to the k-th. */
static int together(struct tn_bag *bag, const struct tn_said *said, u32 k, struct tn_error *err)
{
    struct things t = {.bag = bag, .whose = said[k].function, .err = err};
    int code = 0;

    for (u32 round = 0; round < 2; round++)
        for (u32 j = 0; j <= k; j++)
            for (u32 c = 0; c < said[j].n && !code && !strcmp(said[j].function, said[k].function); c++)
                code = say(&t, said[j].constraint[c], false, round);
    return code;
}

int tn_eim_contradiction(struct tn_bag *bag, const struct tn_said *said, u32 n, struct tn_error *err)
{
    int code = 0;

    for (u32 k = 0; k < n && !code; k++)
        code = together(bag, said, k, err);
    return code;
}

int tn_eim_same_said(const struct tn_said *said, u32 n, struct tn_error *err)
{
    for (u32 k = 0; k < n; k++)
        for (u32 j = 0; j < k; j++) {
            const struct tn_said *a = &said[j], *b = &said[k];
            const struct tn_cons *c = NULL;

            if (!strcmp(a->function, b->function))
                c = missing(a->constraint, a->n, b->constraint, b->n);
            if (!c && !strcmp(a->function, b->function))
                c = missing(b->constraint, b->n, a->constraint, a->n);
            if (c)
                return tn_eim_fail(
                    err, &b->at, -EINVAL, CONFLICT,
                    "%.64s is function capability \"%.64s\" already, at %.200s:%u:%u, and what is said "
                    "of it there is not the same: \"%.100s\" stands at one place alone",
                    b->function, a->name, a->at.file, a->at.line, a->at.column, c->text);
        }
    return 0;
}
