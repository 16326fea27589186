/* SPDX-License-Identifier: MIT */
/*
 * Constraints of a function: pre-conditions proved from what the verifier knows of the arguments,
 * post-conditions assumed of the result.
 *
 * Proof is by intervals in three values: 1 it holds, 0 it does not, −1 nobody knows; only 1 is a proof. A
 * constraint that mentions rtn is a post-condition, every other one a pre-condition.
 */
#include <errno.h>

#include "eim/bind.h"

__extension__ typedef __int128 wide;

#define LEAST    ((wide)INT64_MIN)
#define GREATEST ((wide)UINT64_MAX)

struct span {
    wide min, max;
    bool pointer, known_null, known_there; /* pointer */
};

static const struct span anything = {LEAST, GREATEST, false, false, false};

/* Which argument is meant; the result stands behind them. −1: none. */
static s32 param_of(const struct tn_bfunc *f, const struct tn_operand *o)
{
    if (o->kind == TN_OP_RTN)
        return (s32)f->n;
    for (u32 k = 0; o->path && !o->path->n && !o->path->deref && k < f->n; k++)
        if (!strcmp(f->param[k].name, o->path->root))
            return (s32)k;
    return -1;
}

/* What the function sees of a register: an int is its low half, and only a value that fits is what it was. */
static struct span as_type(const struct tn_vtype *t, const struct tn_call_arg *a)
{
    u32 bits = t->number && t->size && t->size < 8 ? t->size * 8u : 64;
    wide lo = t->is_signed ? -((wide)1 << (bits - 1)) : 0;
    wide hi = t->is_signed ? ((wide)1 << (bits - 1)) - 1 : ((wide)1 << bits) - 1;
    struct span s = {t->is_signed ? (wide)a->min : (wide)a->umin, t->is_signed ? (wide)a->max : (wide)a->umax,
                     false, false, false};

    if (s.min < lo || s.max > hi)
        return (struct span){lo, hi, false, false, false};
    return s;
}

/* Of a parameter, or of what stands behind the arguments where an answer is judged: the result. */
static struct span value(const struct tn_bfunc *f, const struct tn_operand *o, const struct tn_call_arg *args,
                         u32 nargs)
{
    s32 k = param_of(f, o);
    const struct tn_call_arg *a = k >= 0 && (u32)k < nargs ? &args[k] : NULL;
    const struct tn_vtype *type = !a ? NULL : (u32)k < f->n ? &f->param[k].type : &f->ret;

    switch (o->kind) {
    case TN_OP_NUMBER:
        return (struct span){o->number, o->number, false, false, false};
    case TN_OP_NULL:
        return (struct span){0, 0, true, true, false};
    case TN_OP_SIZE:
        return a && !a->number && a->bytes
                   ? (struct span){(wide)a->bytes, (wide)a->bytes, false, false, false}
                   : (struct span){0, GREATEST, false, false, false};
    case TN_OP_RTN:
    case TN_OP_PATH:
        if (!a)
            return anything;
        if (type->pointers) {
            bool null = a->number && !a->umin && !a->umax;

            return (struct span){0, GREATEST, true, null, !a->number && !a->maybe_null};
        }
        return a->number ? as_type(type, a) : anything;
    default:
        return anything;
    }
}

static int compare(enum tn_rel rel, const struct span *l, const struct span *r)
{
    switch (rel) {
    case TN_LT:
        return l->max < r->min ? 1 : l->min >= r->max ? 0 : -1;
    case TN_LE:
        return l->max <= r->min ? 1 : l->min > r->max ? 0 : -1;
    case TN_GT:
        return compare(TN_LT, r, l);
    case TN_GE:
        return compare(TN_LE, r, l);
    case TN_EQ:
        if (l->pointer || r->pointer) {
            if (l->known_null && r->known_null)
                return 1;
            return (l->known_null && r->known_there) || (r->known_null && l->known_there) ? 0 : -1;
        }
        if (l->max < r->min || r->max < l->min)
            return 0;
        return l->min == l->max && r->min == r->max ? 1 : -1;
    default: {
        int same = compare(TN_EQ, l, r);

        return same < 0 ? same : !same;
    }
    }
}

static int fact_holds(const struct tn_bfunc *f, const struct tn_cons *c, const struct tn_call_arg *args,
                      u32 nargs)
{
    s32 k = param_of(f, &c->arg[0]), len = param_of(f, &c->arg[1]);
    const struct tn_call_arg *a = k >= 0 && (u32)k < nargs ? &args[k] : NULL;
    struct span n;

    switch (c->fact) {
    case TN_FACT_NONNULL:
        return !a ? -1 : a->number ? (a->umin ? -1 : a->umax ? -1 : 0) : a->maybe_null ? -1 : 1;
    case TN_FACT_TRUSTED:
        return !a ? -1 : !a->number && a->trusted ? 1 : -1;
    case TN_FACT_CONST:
        return !a ? -1 : a->number && a->umin == a->umax ? 1 : -1;
    case TN_FACT_SIZED:
        if (!a || len < 0 || (u32)len >= nargs)
            return -1;
        n = value(f, &c->arg[1], args, nargs);
        if (n.max == 0 && n.min == 0)
            return 1;
        return !a->number && n.min >= 0 && n.max <= (wide)a->bytes ? 1 : -1;
    default: /* of the function, not of its arguments */
        return 1;
    }
}

int tn_cons_holds(const struct tn_bfunc *f, const struct tn_cons *c, const struct tn_call_arg *args,
                  u32 nargs)
{
    struct span l, r;
    int a, b;

    switch (c->kind) {
    case TN_CONS_AND:
        a = tn_cons_holds(f, c->a, args, nargs);
        b = a ? tn_cons_holds(f, c->b, args, nargs) : 0;
        return !a || !b ? 0 : a == 1 && b == 1 ? 1 : -1;
    case TN_CONS_OR:
        a = tn_cons_holds(f, c->a, args, nargs);
        b = a == 1 ? 1 : tn_cons_holds(f, c->b, args, nargs);
        return a == 1 || b == 1 ? 1 : !a && !b ? 0 : -1;
    case TN_CONS_NOT:
        a = tn_cons_holds(f, c->a, args, nargs);
        return a < 0 ? a : !a;
    case TN_CONS_FACT:
        return fact_holds(f, c, args, nargs);
    default:
        l = value(f, &c->l, args, nargs);
        r = value(f, &c->r, args, nargs);
        return compare(c->rel, &l, &r);
    }
}

/* ------------------------------------------------------------------------------------------- the result */

static bool mentions_rtn(const struct tn_operand *o)
{
    return o->kind == TN_OP_RTN || (o->path && !strcmp(o->path->root, "rtn"));
}

bool tn_cons_is_post(const struct tn_cons *c)
{
    if (c->kind == TN_CONS_REL)
        return mentions_rtn(&c->l) || mentions_rtn(&c->r);
    if (c->kind == TN_CONS_FACT)
        return mentions_rtn(&c->arg[0]) || mentions_rtn(&c->arg[1]);
    return (c->a && tn_cons_is_post(c->a)) || (c->b && tn_cons_is_post(c->b));
}

static struct span meet(struct span a, struct span b)
{
    a.min = TN_MAX(a.min, b.min);
    a.max = TN_MIN(a.max, b.max);
    return a;
}

static struct span hull(struct span a, struct span b)
{
    if (a.min > a.max) /* that cannot be */
        return b;
    if (b.min > b.max)
        return a;
    a.min = TN_MIN(a.min, b.min);
    a.max = TN_MAX(a.max, b.max);
    return a;
}

static struct span from_relation(enum tn_rel rel, struct span r)
{
    struct span s = anything;

    switch (rel) {
    case TN_LT:
        s.max = r.max - 1;
        break;
    case TN_LE:
        s.max = r.max;
        break;
    case TN_GT:
        s.min = r.min + 1;
        break;
    case TN_GE:
        s.min = r.min;
        break;
    case TN_EQ:
        s = r;
        break;
    default: /* != excludes one number, and only at an end that shows */
        break;
    }
    return s;
}

static enum tn_rel turned(enum tn_rel rel)
{
    static const enum tn_rel to[] = {
        [TN_LT] = TN_GT, [TN_LE] = TN_GE, [TN_GT] = TN_LT, [TN_GE] = TN_LE, [TN_EQ] = TN_EQ, [TN_NE] = TN_NE};

    return to[rel];
}
static enum tn_rel denied(enum tn_rel rel)
{
    static const enum tn_rel to[] = {
        [TN_LT] = TN_GE, [TN_LE] = TN_GT, [TN_GT] = TN_LE, [TN_GE] = TN_LT, [TN_EQ] = TN_NE, [TN_NE] = TN_EQ};

    return to[rel];
}

/* Where rtn can lie if the constraint, or its contrary, holds. */
static struct span bound(const struct tn_bfunc *f, const struct tn_cons *c, bool contrary,
                         const struct tn_call_arg *args, u32 nargs)
{
    enum tn_rel rel = contrary ? denied(c->rel) : c->rel;

    switch (c->kind) {
    case TN_CONS_NOT:
        return bound(f, c->a, !contrary, args, nargs);
    case TN_CONS_AND:
    case TN_CONS_OR: {
        struct span a = bound(f, c->a, contrary, args, nargs), b = bound(f, c->b, contrary, args, nargs);

        return (c->kind == TN_CONS_AND) != contrary ? meet(a, b) : hull(a, b);
    }
    case TN_CONS_REL: {
        const struct tn_operand *other = c->l.kind == TN_OP_RTN ? &c->r : &c->l;
        struct span o;

        if (c->l.kind != TN_OP_RTN && c->r.kind != TN_OP_RTN)
            return anything;
        o = value(f, other, args, nargs);
        return o.pointer ? anything : from_relation(c->l.kind == TN_OP_RTN ? rel : turned(rel), o);
    }
    default:
        return anything;
    }
}

void tn_cons_result(const struct tn_bfunc *f, const struct tn_call_arg *args, u32 nargs,
                    struct tn_call_facts *facts)
{
    struct span s = {facts->ret_min, facts->ret_max, false, false, false};

    if (!f->ret.number || f->ret.pointers || f->ret.real)
        return;
    for (u32 k = 0; k < f->nconstraints; k++)
        if (tn_cons_is_post(f->constraint[k]))
            s = meet(s, bound(f, f->constraint[k], false, args, nargs));
    if (s.min > s.max) /* a contradiction is no knowledge */
        return;
    /* An unsigned result may have its top bit set, which is a negative number to the verifier. */
    if (f->ret.size == 8 && !f->ret.is_signed && s.min < 0)
        return;
    facts->ret_min = (s64)s.min;
    facts->ret_max = (s64)TN_MIN(s.max, (wide)INT64_MAX);
}

/* A number, or a pointer, that is to be the result: its type, and whether all that is promised of the result holds
   of it. */
static int answer_fits(const struct tn_bfunc *f, const struct tn_call_arg *answer, struct tn_error *err)
{
    struct tn_call_arg args[TN_ANSWER_ARGS + 1];
    const struct tn_vtype *t = &f->ret;
    u32 bits = t->size ? t->size * 8u : 64;

    if (t->pointers && answer->number && (answer->umin || answer->umax))
        return tn_fail(
            err, -EACCES, "postcondition",
            "%.64s returns a pointer, and the answer is a number: NULL, or a pointer of the host's",
            f->function);
    if (!t->pointers &&
        (!answer->number || (bits < 64 && (t->is_signed ? answer->min < -(1ll << (bits - 1)) ||
                                                              answer->max > (1ll << (bits - 1)) - 1
                                                        : answer->umax > (1ull << bits) - 1))))
        return tn_fail(
            err, -EACCES, "postcondition",
            "%.64s returns a number of %u bytes%s, which the answer is not known to fit: bound it first",
            f->function, bits / 8, t->is_signed ? ", signed" : "");
    for (u32 k = 0; k < f->n; k++) /* what they were is not known here */
        args[k] =
            (struct tn_call_arg){.number = true, .min = INT64_MIN, .max = INT64_MAX, .umax = UINT64_MAX};
    args[f->n] = *answer;
    for (u32 k = 0; k < f->nconstraints; k++) {
        const struct tn_cons *c = f->constraint[k];

        if (tn_cons_is_post(c) && tn_cons_holds(f, c, args, f->n + 1) != 1)
            return tn_fail(
                err, -EACCES, "postcondition",
                "the answer in the place of %.64s is not known to be what it promises: %.200s (%.100s:%u:%u)",
                f->function, c->text, c->at.file, c->at.line, c->at.column);
    }
    return 0;
}

/* A result of a program: 0 leaves the function alone, and every other number is its answer. Of a number of four bytes
   or fewer the caller sees the low half, which is 0 where the whole is not, if that is a number of any size. */
static int result_fits(const struct tn_bfunc *f, const struct tn_call_answer *answer, struct tn_error *err)
{
    const struct tn_call_arg *whole = &answer->value;
    bool narrow = f->ret.number && f->ret.size && f->ret.size < 8;
    bool fits = whole->umax <= UINT32_MAX || (whole->min >= INT32_MIN && whole->max <= INT32_MAX);
    struct tn_call_arg a = narrow ? answer->low : *whole, part = a;
    int code = 0;

    if (!a.number || (narrow && !fits))
        return answer_fits(f, &a, err);
    if (!f->ret.is_signed) {
        part.umin = TN_MAX(a.umin, 1ull);
        return a.umax ? answer_fits(f, &part, err) : 0;
    }
    part.max = TN_MIN(a.max, -1ll);
    if (part.min <= part.max) {
        part.umin = (u64)part.min;
        part.umax = (u64)part.max;
        code = answer_fits(f, &part, err);
    }
    part = a;
    part.min = TN_MAX(a.min, 1ll);
    if (code || part.min > part.max)
        return code;
    part.umin = (u64)part.min;
    part.umax = (u64)part.max;
    return answer_fits(f, &part, err);
}

int tn_cons_answer(const struct tn_bfunc *f, const struct tn_call_answer *answer, struct tn_error *err)
{
    if (!f->typed || (!f->ret.pointers && !f->ret.number))
        return 0;
    if (f->n > TN_ANSWER_ARGS)
        return tn_fail(err, -EACCES, "postcondition",
                       "%.64s has more than %u arguments: nothing answers in its place", f->function,
                       TN_ANSWER_ARGS);
    return answer->by_result ? result_fits(f, answer, err) : answer_fits(f, &answer->value, err);
}

/* -------------------------------------------------------------------------- what is passed instead */

static bool is_about(const struct tn_operand *o, const char *name)
{
    return o->path && *name && !strcmp(o->path->root, name);
}

static bool mentions(const struct tn_cons *c, const char *name)
{
    if (c->kind == TN_CONS_REL)
        return is_about(&c->l, name) || is_about(&c->r, name);
    if (c->kind == TN_CONS_FACT)
        return is_about(&c->arg[0], name) || is_about(&c->arg[1], name);
    return (c->a && mentions(c->a, name)) || (c->b && mentions(c->b, name));
}

bool tn_cons_of_argument(const struct tn_bfunc *f, u32 k)
{
    for (u32 n = 0; n < f->nconstraints; n++)
        if (!tn_cons_is_post(f->constraint[n]) && (!f->typed || mentions(f->constraint[n], f->param[k].name)))
            return true;
    return false;
}

/* As the function sees it: the low half of a number, where it takes no more. */
static bool number_fits(const struct tn_vtype *t, struct tn_call_arg *a, const struct tn_call_arg *low)
{
    u32 bits = t->size ? t->size * 8u : 64;
    bool fits = bits >= 64;

    for (u32 half = 0; half < 2 && !fits; half++) {
        fits = t->is_signed ? a->min >= -(1ll << (bits - 1)) && a->max <= (1ll << (bits - 1)) - 1
                            : a->umax <= (1ull << bits) - 1;
        if (!fits && !half)
            *a = *low;
    }
    return fits;
}

int tn_cons_argument(const struct tn_btf *btf, const struct tn_bfunc *f, u32 k,
                     const struct tn_call_arg *value, bool address, struct tn_error *err)
{
    const struct tn_call_arg anything = {
        .number = true, .min = INT64_MIN, .max = INT64_MAX, .umax = UINT64_MAX};
    const struct tn_call_arg half = {.number = true, .min = INT32_MIN, .max = INT32_MAX, .umax = UINT32_MAX};
    struct tn_call_arg args[TN_ANSWER_ARGS], low = value ? value[1] : half;
    const struct tn_vtype *t = k < f->n ? &f->param[k].type : NULL;
    const char *is = NULL;

    if (!f->typed || !t || f->n > TN_ANSWER_ARGS)
        return tn_fail(
            err, -EACCES, "precondition",
            "argument %u of %.64s is not known to its specification: nothing is passed in its place", k + 1,
            f->function);
    for (u32 n = 0; n < f->n; n++)
        args[n] = anything;
    args[k] = value ? value[0] : anything;
    if (t->pointers) {
        bool null = args[k].number && !args[k].umin && !args[k].umax,
             typed = t->pointers == 1 && tn_is_composite(btf, t->id);

        if (null && !(k < 8 && f->host.nullable >> k & 1))
            is = "a pointer, and NULL only where the specification says nullable()";
        else if (!null && typed &&
                 (args[k].number || !args[k].trusted || args[k].maybe_null || args[k].btf_id != t->id))
            is = "a pointer, and takes none but those of its own type that came from the host as they are";
        else if (!null && !typed && !address)
            is = "an address, which is passed by who may write(process)";
    } else if (t->number && !number_fits(t, &args[k], &low)) {
        is = "a number, which what is passed is not known to fit: bound it first";
    }
    if (is)
        return tn_fail(err, -EACCES, "precondition", "argument %u (%.64s) of %.64s is %s", k + 1,
                       f->param[k].name, f->function, is);
    for (u32 n = 0; n < f->nconstraints; n++) {
        const struct tn_cons *c = f->constraint[n];

        if (!tn_cons_is_post(c) && mentions(c, f->param[k].name) && tn_cons_holds(f, c, args, f->n) != 1)
            return tn_fail(
                err, -EACCES, "precondition",
                "what is passed as %.64s of %.64s is not known to be what holds there: %.200s (%.100s:%u:%u)",
                f->param[k].name, f->function, c->text, c->at.file, c->at.line, c->at.column);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------- reading them */

static int known(const struct tn_scope *s, const struct tn_bfunc *f, const struct tn_operand *o)
{
    struct tn_nearest near;
    char hint[TN_NEAREST_TEXT];
    struct tn_reach r;

    if (!o->path || o->kind == TN_OP_RTN)
        return 0;
    if (o->path->n || o->path->deref)
        return tn_path_resolve(s, o->path, &r);
    near = tn_nearest_to(o->path->root);
    for (u32 k = 0; k < f->n; k++) {
        if (!strcmp(f->param[k].name, o->path->root))
            return 0;
        tn_nearest_offer(&near, f->param[k].name);
    }
    return tn_eim_fail(s->err, &o->at, -EINVAL, "spec_name", "%.64s has no argument \"%.64s\"%s", f->function,
                       o->path->root, tn_nearest_text(&near, hint));
}

static int fact_path(const struct tn_scope *s, struct tn_bfunc *f, const struct tn_cons *c)
{
    struct tn_reach r;
    int err = tn_path_resolve(s, c->arg[0].path, &r);

    for (u32 k = 0; k < r.nends && !err; k++) {
        struct tn_fact_path *p = TN_BAG_PUSH(s->bag, f->fact_path, f->nfact_paths);

        if (!p)
            return -ENOMEM;
        *p = (struct tn_fact_path){c->fact == TN_FACT_WRITES, r.end[k], c->arg[0].path};
    }
    return err;
}

static int promise(const struct tn_scope *s, struct tn_bfunc *f, const struct tn_cons *c)
{
    struct tn_reach r;
    struct tn_buffer *b;
    int err = tn_path_resolve(s, c->arg[0].path, &r);

    if (err)
        return err;
    if (c->fact == TN_FACT_VALID && !r.has_buffer && r.nends == 1 && r.end[0].end - r.end[0].off == 8 &&
        !r.arg_named) {
        struct tn_grant *g = TN_BAG_PUSH(s->bag, f->pointer, f->npointers);

        if (!g)
            return -ENOMEM;
        *g = r.end[0];
        return 0;
    }
    if (!r.has_buffer && c->fact == TN_FACT_WRITABLE)
        return tn_eim_fail(s->err, &c->at, -EINVAL, "spec_type",
                           "writable() is said of a buffer, as in writable(r->uri.data[0 .. r->uri.len])");
    if (!r.has_buffer)
        return tn_eim_fail(s->err, &c->at, -EINVAL, "spec_type",
                           "valid() is said of a pointer in an object, or of a buffer, as in "
                           "valid(r->uri.data[0 .. r->uri.len]); of an argument, nonnull() says it");
    for (u32 write = 0; write <= (c->fact == TN_FACT_WRITABLE); write++) {
        b = TN_BAG_PUSH(s->bag, f->promised, f->npromised);
        if (!b)
            return -ENOMEM;
        *b = r.buffer;
        b->write = write;
    }
    return 0;
}

static int outside(const struct tn_scope *s, struct tn_bfunc *f, const struct tn_cons *c)
{
    const char **slot = TN_BAG_PUSH(s->bag, f->outside, f->noutside);

    if (!slot)
        return -ENOMEM;
    *slot = c->arg[0].path->root;
    return 0;
}

/* For the verifier, of a fact that stands under nothing but "and". */
static int note_fact(const struct tn_scope *s, struct tn_bfunc *f, const struct tn_cons *c)
{
    s32 k = c->arg[0].kind == TN_OP_RTN ? -1 : param_of(f, &c->arg[0]), len = param_of(f, &c->arg[1]);
    u8 bit = k >= 0 && k < 8 ? (u8)(1u << k) : 0;

    switch (c->fact) {
    case TN_FACT_IO:
        f->io = true;
        return 0;
    case TN_FACT_MAY_SLEEP:
        f->host.sleeps = true;
        return 0;
    case TN_FACT_NOTHROW:
        f->host.nothrow = true;
        return 0;
    case TN_FACT_NOT_REENTRANT:
        f->alone = true;
        return 0;
    case TN_FACT_ALLOCATES:
    case TN_FACT_ACQUIRE:
        f->host.acquires = true;
        if (f->ret.pointers == 1 && tn_is_composite(s->btf, f->ret.id))
            return 0;
        return tn_eim_fail(
            s->err, &c->at, -EINVAL, "spec_type",
            "%.64s returns no pointer to a struct, and only those are followed until they are given back",
            f->function);
    case TN_FACT_FREES:
    case TN_FACT_RELEASE:
        f->host.releases = true;
        return 0;
    case TN_FACT_NONNULL:
        f->valid |= k >= 0 && k < 16 ? (u16)(1u << k) : 0;
        return 0;
    case TN_FACT_NULLABLE:
        f->host.nullable |= bit;
        return 0;
    case TN_FACT_CONST:
        f->host.constant |= bit;
        return 0;
    case TN_FACT_SIZED:
        if (len != k + 1 || k < 0)
            return tn_eim_fail(s->err, &c->at, -EINVAL, "spec_type",
                               "the argument that counts has to follow the one it is about");
        f->host.sized |= (u8)(len < 8 ? 1u << len : 0);
        return 0;
    default:
        return 0;
    }
}

/* Some post-condition says that the result is not NULL, whatever else. */
static bool never_null(const struct tn_cons *c)
{
    if (c->kind == TN_CONS_AND)
        return never_null(c->a) || never_null(c->b);
    if (c->kind == TN_CONS_FACT)
        return c->fact == TN_FACT_NONNULL && c->arg[0].kind == TN_OP_RTN;
    return c->kind == TN_CONS_REL && c->rel == TN_NE &&
           ((c->l.kind == TN_OP_RTN && c->r.kind == TN_OP_NULL) ||
            (c->r.kind == TN_OP_RTN && c->l.kind == TN_OP_NULL));
}

static int read_facts(const struct tn_scope *s, struct tn_bfunc *f, const struct tn_cons *c, bool top)
{
    int err = 0;

    if (c->kind == TN_CONS_REL) {
        err = known(s, f, &c->l);
        return err ? err : known(s, f, &c->r);
    }
    if (c->kind != TN_CONS_FACT) {
        top &= c->kind == TN_CONS_AND;
        if (c->a)
            err = read_facts(s, f, c->a, top);
        return err || !c->b ? err : read_facts(s, f, c->b, top);
    }
    if (c->fact == TN_FACT_READS || c->fact == TN_FACT_WRITES)
        return fact_path(s, f, c);
    if (c->fact == TN_FACT_VALID || c->fact == TN_FACT_WRITABLE)
        return promise(s, f, c);
    if (c->fact == TN_FACT_OUTSIDE)
        return outside(s, f, c);
    err = known(s, f, &c->arg[0]);
    if (!err)
        err = known(s, f, &c->arg[1]);
    return err || !top ? err : note_fact(s, f, c);
}

int tn_bfunc_facts(const struct tn_scope *s, struct tn_bfunc *f)
{
    struct tn_scope own = *s;
    int err = 0;

    own.func = f;
    for (u32 k = 0; k < f->nconstraints && !err; k++)
        err = read_facts(&own, f, f->constraint[k], true);
    f->host.ret_null = f->ret.pointers > 0;
    for (u32 k = 0; k < f->nconstraints; k++)
        f->host.ret_null &= !never_null(f->constraint[k]);
    return err;
}
