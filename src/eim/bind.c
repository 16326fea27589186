/* SPDX-License-Identifier: MIT */
/*
 * A host's specification joined to its types: functions and their prototypes, classes and their bytes. What
 * the specification says of a function and what the host's types say have to be the same.
 */
#include <errno.h>

#include "eim/bind.h"

#define TYPE "spec_type"

/* What every host has without being asked: written in the language itself. */
// clang-format off
#define HOUSE_CLASSES(B)                                                                                     \
    B(observability,   "instructions <= 1000000", "memory < inf", "read(arguments)", "read(process)",        \
                       "helpers(local)", "helpers(shared)")                                                  \
    B(customizability, "instructions <= 1000000", "memory < inf", "read(arguments)", "read(process)",        \
                       "helpers(local)", "helpers(shared)", "helpers(kernel)", "helpers(result)",            \
                       "write(arguments)", "write(process)", "replace", "IO")
// clang-format on

/* ------------------------------------------------------------------------------------------- functions */

static int from_types(const struct tn_scope *s, struct tn_bfunc *f)
{
    const struct btf_type *t = tn_btf_type(s->btf, f->btf_id), *proto = tn_btf_type(s->btf, t->type);

    f->n = tn_btf_vlen(proto);
    f->param = tn_bag_alloc(s->bag, sizeof(*f->param) * (f->n + 1));
    if (!f->param)
        return -ENOMEM;
    f->ret = tn_vtype_of(s->btf, proto->type);
    for (u32 k = 0; k < f->n; k++) {
        const struct btf_param *p = &tn_btf_params(proto)[k];

        f->param[k] = (struct tn_bparam){tn_btf_string(s->btf, p->name_off), tn_vtype_of(s->btf, p->type)};
    }
    f->typed = true;
    return 0;
}

static int from_signature(const struct tn_scope *s, const struct tn_signature *sig, struct tn_bfunc *f)
{
    int err = tn_vtype_resolve(s, &sig->ret, &f->ret);

    f->n = sig->n;
    f->param = tn_bag_alloc(s->bag, sizeof(*f->param) * (f->n + 1));
    if (!f->param)
        return -ENOMEM;
    for (u32 k = 0; k < sig->n && !err; k++) {
        f->param[k].name = sig->param[k].name ? sig->param[k].name : "";
        err = tn_vtype_resolve(s, &sig->param[k].type, &f->param[k].type);
    }
    f->typed = !err;
    return err;
}

static int disagree(const struct tn_scope *s, const struct tn_eim_at *at, const char *what,
                    const struct tn_vtype *here, const struct tn_vtype *there, const char *function)
{
    char a[96], b[96];

    return tn_eim_fail(s->err, at, -EINVAL, TYPE,
                       "%s is a %s here, and a %s in the host's own types of %.64s", what,
                       tn_vtype_text(s->btf, here, a), tn_vtype_text(s->btf, there, b), function);
}

static int compare(const struct tn_scope *s, const struct tn_signature *sig, const struct tn_bfunc *here,
                   const struct tn_bfunc *there)
{
    char what[100];

    if (!tn_vtype_same(&here->ret, &there->ret))
        return disagree(s, &sig->ret.at, "the result", &here->ret, &there->ret, here->function);
    for (u32 k = 0; k < TN_MIN(here->n, there->n); k++) {
        if (tn_vtype_same(&here->param[k].type, &there->param[k].type))
            continue;
        snprintf(what, sizeof(what), "argument %u", k + 1);
        return disagree(s, &sig->param[k].type.at, what, &here->param[k].type, &there->param[k].type,
                        here->function);
    }
    if (here->n != there->n)
        return tn_eim_fail(s->err, here->n > there->n ? &sig->param[there->n].type.at : &sig->end, -EINVAL,
                           TYPE, "%.64s takes %u argument%s, and %u stand%s here", here->function, there->n,
                           there->n == 1 ? "" : "s", here->n, here->n == 1 ? "s" : "");
    return 0;
}

static int no_function(const struct tn_scope *s, const struct tn_eim_at *at, const char *function,
                       const struct tn_signature *sig)
{
    struct tn_nearest near = tn_nearest_to(function);
    char hint[TN_NEAREST_TEXT];

    tn_offer_names(s->btf, BTF_KIND_FUNC, &near);
    return tn_eim_fail(
        s->err, at, -EINVAL, TYPE,
        sig ? "the host has no function \"%.100s\": no symbol of it, and no address stands here%s"
            : "the host's types have no function \"%.100s\", and no prototype stands here%s",
        function, tn_nearest_text(&near, hint));
}

static int bind_function(const struct tn_scope *s, const char *name, const char *function,
                         const struct tn_eim_at *at, const struct tn_signature *sig, struct tn_bfunc *f)
{
    struct tn_bfunc types = {.function = function};
    int err = 0;

    f->name = name;
    f->function = function;
    f->btf_id = types.btf_id = tn_btf_find(s->btf, BTF_KIND_FUNC, function);
    if (sig)
        err = from_signature(s, sig, f);
    if (!err && !f->btf_id)
        return no_function(s, at, function, sig);
    if (!err)
        err = from_types(s, &types);
    if (!err && sig) {
        err = compare(s, sig, f, &types);
    } else if (!err) {
        f->param = types.param;
        f->n = types.n;
        f->ret = types.ret;
        f->typed = true;
    }
    return err ? err : tn_bfunc_facts(s, f);
}

static int bind_functions(const struct tn_scope *s, struct tn_bound *b)
{
    const struct tn_host *h = b->host;
    int err = 0;

    b->function = tn_bag_alloc(s->bag, sizeof(*b->function) * (h->nfunctions + 1));
    b->entry = tn_bag_alloc(s->bag, sizeof(*b->entry) * (h->nentries + 1));
    if (!b->function || !b->entry)
        return -ENOMEM;
    for (u32 k = 0; k < h->nfunctions && !err; k++) {
        const struct tn_function_cap *f = &h->function[k];

        b->function[k].constraint = f->constraint;
        b->function[k].nconstraints = f->nconstraints;
        err = bind_function(s, f->name, f->function, &f->function_at, f->signature, &b->function[k]);
    }
    for (u32 k = 0; k < h->nentries && !err; k++) {
        const struct tn_eim_entry *e = &h->entry[k];

        b->entry[k].constraint = e->constraint;
        b->entry[k].nconstraints = e->nconstraints;
        err = bind_function(s, e->name, e->function, &e->function_at, e->signature, &b->entry[k]);
    }
    return err;
}

/* --------------------------------------------------------------------------------------------- classes */

/* A state capability that no class uses is held against the types as well. */
static int check_states(const struct tn_scope *s, const struct tn_host *h)
{
    int err = 0;

    for (u32 k = 0; k < h->nstates && !err; k++) {
        struct tn_reach r;

        err = tn_path_resolve(s, h->state[k].cap.path, &r);
    }
    return err;
}

static int make_house_class(struct tn_bound *b, const char *name, const char *const *texts, u32 n,
                            struct tn_class **ret, struct tn_error *err)
{
    struct tn_cap *caps = tn_bag_alloc(&b->bag, sizeof(*caps) * n);
    int code = caps ? 0 : -ENOMEM;

    for (u32 k = 0; k < n && !code; k++)
        code = tn_eim_one_cap(&b->bag, name, texts[k], &caps[k], err);
    return code ? code : tn_class_make(b, &b->bag, name, "*", NULL, TN_GEN_UPROBE, caps, n, ret, err);
}

static int make_classes(struct tn_bound *b, struct tn_error *err)
{
    const struct tn_host *h = b->host;
    int code = 0;

#define B(name, ...)                                                                                         \
    if (!code) {                                                                                             \
        static const char *const texts[] = {__VA_ARGS__};                                                    \
                                                                                                             \
        code = make_house_class(b, #name, texts, TN_ARRAY_SIZE(texts), &b->rule[TN_RULE_##name], err);       \
    }
    HOUSE_CLASSES(B)
#undef B
    b->klass = tn_bag_alloc(&b->bag, sizeof(struct tn_class *) * (h->nclasses + 1));
    if (!b->klass)
        return -ENOMEM;
    for (u32 k = 0; k < h->nclasses && !code; k++) {
        const struct tn_class_spec *c = &h->klass[k];

        code = tn_class_make(b, &b->bag, c->name, c->entry, &c->entry_at, c->generated, c->cap, c->ncaps,
                             &b->klass[k], err);
        if (!code) {
            b->klass[k]->who = c->who;
            b->klass[k]->nwho = c->nwho;
        }
    }
    return code;
}

static const struct tn_host nobody = {.name = ""};

int tn_eim_bind(const struct tn_eim *eim, const char *host, const struct tn_btf *btf, struct tn_bound **ret,
                struct tn_error *err)
{
    struct tn_bound *b = calloc(1, sizeof(*b));
    struct tn_scope s = {btf, NULL, NULL, err};
    int code;

    if (!b)
        return -ENOMEM;
    s.bag = &b->bag;
    b->eim = eim;
    b->btf = btf;
    b->host = &nobody;
    for (u32 k = 0; k < eim->nhosts; k++)
        if (!strcmp(eim->host[k].name, host))
            b->host = &eim->host[k];
    code = bind_functions(&s, b);
    if (!code)
        code = check_states(&s, b->host);
    if (!code)
        code = make_classes(b, err);
    if (code) {
        tn_eim_unbind(b);
        return code;
    }
    *ret = b;
    return 0;
}

void tn_eim_unbind(struct tn_bound *b)
{
    if (!b)
        return;
    tn_bag_clear(&b->bag);
    free(b);
}

const struct tn_class *tn_eim_class(const struct tn_bound *b, const char *name, struct tn_error *err)
{
    struct tn_nearest near = tn_nearest_to(name);
    char hint[TN_NEAREST_TEXT];

    for (u32 k = 0; k < b->host->nclasses; k++) {
        if (!strcmp(b->klass[k]->name, name))
            return b->klass[k];
        tn_nearest_offer(&near, b->klass[k]->name);
    }
    for (u32 k = 0; k < TN_RULE_COUNT; k++) {
        if (b->rule[k] && !strcmp(tn_rule_names[k], name))
            return b->rule[k];
        tn_nearest_offer(&near, tn_rule_names[k]);
    }
    tn_fail(err, -ENOENT, "no_class", "host \"%.64s\" has no extension class \"%.64s\"%s", b->host->name,
            name, tn_nearest_text(&near, hint));
    return NULL;
}

const struct tn_class *tn_eim_default(const struct tn_bound *b, enum tn_eim_place place, struct tn_error *err)
{
    const struct tn_rule_at *r = &b->host->rule[tn_eim_place_rule(place)];

    if (r->set && b->rule[r->rule])
        return b->rule[r->rule];
    tn_fail(err, -EACCES, "class_denies",
            "the policy of host \"%.64s\" names no class here, and by default %s denied: name one that "
            "stands for "
            "this entry",
            b->host->name,
            place == TN_AT_FUNCTION ? "the entries of functions are" : "this kind of place is");
    return NULL;
}

bool tn_eim_class_admits_user(const struct tn_class *c, u32 uid, const u32 *gids, u32 ngids)
{
    for (u32 k = 0; k < c->nwho; k++) {
        const struct tn_admitted *w = &c->who[k];

        if (w->known && !w->group && w->id == uid)
            return true;
        for (u32 g = 0; w->known && w->group && g < ngids; g++)
            if (gids[g] == w->id)
                return true;
    }
    return !c->nwho;
}

const char *tn_eim_class_name(const struct tn_class *c)
{
    return c->name;
}
