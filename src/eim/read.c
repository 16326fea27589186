/* SPDX-License-Identifier: MIT */
/*
 * Files and notes to the model. In steps, each of which refuses:
 *
 *      sort the sources ▸ each file: tree, keys (schema.h), expressions ▸ rows of its host ▸ compose.c
 *
 * Sources are taken in the order of their names, so the first error is the same whatever order they came in.
 */
#include <errno.h>

#include "base/callname.h"
#include "eim/model.h"
#include "eim/tree.h"

#define KEY      "spec_key"
#define NAME     TN_SPEC_NAME
#define CONFLICT TN_SPEC_CONFLICT

const char *const tn_rule_names[TN_RULE_COUNT] = {
#define R(word) #word,
    TN_EIM_RULES(R)
#undef R
};
const char *const tn_generated_names[TN_GEN_COUNT] = {"",
#define G(kind, prefix, ...) prefix,
                                                      TN_EIM_GENERATED(G)
#undef G
};

enum form {
    FORM_VERSION,
    FORM_NAME,
    FORM_TEXT,
    FORM_PATH,
    FORM_HOST_OR_NAME,
    FORM_RULE,
    FORM_EXPR,
    FORM_EXPRS,
    FORM_TEXTS,
    FORM_LIST_STATE,
    FORM_LIST_FUNCTION,
    FORM_LIST_ENTRY,
    FORM_LIST_CLASS,
    FORM_MAP_DEFAULTS
};
static const struct {
    enum tn_eim_mapping mapping;
    const char *name;
    enum form form;
    bool required;
} keys[TN_KEY_COUNT] = {
#define K(mapping, key, form, required) {TN_MAP_##mapping, #key, FORM_##form, required},
    TN_EIM_KEYS(K)
#undef K
};
static const char *const mapping_names[TN_MAP_COUNT] = {
#define M(mapping, name) name,
    TN_EIM_MAPPINGS(M)
#undef M
};

struct load {
    struct tn_eim *eim;
    const struct tn_eim_options *options;
    struct tn_error *err;
};

/* ------------------------------------------------------------------------------------------------- forms */

static bool is_name(const char *s)
{
    if (!*s || !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", *s))
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789.:@+-") == strlen(s) &&
           strlen(s) < 256;
}

static bool is_identifier(const char *s)
{
    return is_name(s) && !strpbrk(s, ".:@+-");
}

static int wrong(struct load *l, const struct tn_node *n, const char *key, const char *expected)
{
    if (n->kind == TN_NODE_TEXT && !*n->text)
        return tn_eim_fail(l->err, &n->at, -EINVAL, KEY, "\"%s\": expected %s; nothing stands here", key,
                           expected);
    if (n->kind == TN_NODE_TEXT)
        return tn_eim_fail(l->err, &n->at, -EINVAL, KEY, "\"%s\": expected %s, not \"%.64s\"", key, expected,
                           n->text);
    return tn_eim_fail(l->err, &n->at, -EINVAL, KEY, "\"%s\": expected %s, not %s", key, expected,
                       tn_node_name(n->kind));
}

static int check_list(struct load *l, const struct tn_node *n, const char *key, enum tn_node_kind of,
                      const char *expected)
{
    if (n->kind != TN_NODE_LIST)
        return wrong(l, n, key, expected);
    for (u32 k = 0; k < n->n; k++)
        if (n->item[k]->kind != of || (of == TN_NODE_TEXT && !*n->item[k]->text))
            return wrong(l, n->item[k], key,
                         of == TN_NODE_TEXT ? "a text in the list" : "a mapping in the list");
    return 0;
}

static int check_form(struct load *l, const struct tn_node *n, u32 key)
{
    const char *name = keys[key].name;
    bool text = n->kind == TN_NODE_TEXT && *n->text;

    switch (keys[key].form) {
    case FORM_VERSION:
        return text && !strcmp(n->text, "1") ? 0 : wrong(l, n, name, "1, the version of the language");
    case FORM_NAME:
        return text && is_name(n->text) ? 0 : wrong(l, n, name, "a name (letters, digits, _ . : @ + -)");
    case FORM_TEXT:
    case FORM_EXPR:
        return text ? 0 : wrong(l, n, name, "a text");
    case FORM_PATH:
        return text && *n->text == '/' ? 0 : wrong(l, n, name, "a path from the root, as in /usr/sbin/nginx");
    case FORM_HOST_OR_NAME:
        if (n->kind == TN_NODE_MAP || (text && is_name(n->text)))
            return 0;
        return wrong(l, n, name, "a name, or a mapping with name, binary, build_id, types");
    case FORM_RULE:
        return text ? 0 : wrong(l, n, name, "denied, observability or customizability");
    case FORM_EXPRS:
        return check_list(l, n, name, TN_NODE_TEXT, "a list of expressions, as in [ \"read(r->uri.len)\" ]");
    case FORM_TEXTS:
        return check_list(l, n, name, TN_NODE_TEXT, "a list, as in [ \"uid:www-ops\" ]");
    case FORM_MAP_DEFAULTS:
        return n->kind == TN_NODE_MAP ? 0 : wrong(l, n, name, "a mapping, as in { uprobe: observability }");
    default:
        return check_list(l, n, name, TN_NODE_MAP, "a list of mappings");
    }
}

static int unknown_key(struct load *l, const struct tn_node *key, enum tn_eim_mapping mapping)
{
    struct tn_nearest near = tn_nearest_to(key->text);
    char hint[TN_NEAREST_TEXT], list[300] = "";

    for (u32 k = 0; k < TN_KEY_COUNT; k++) {
        if (keys[k].mapping != mapping)
            continue;
        tn_nearest_offer(&near, keys[k].name);
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", *list ? ", " : "", keys[k].name);
    }
    return tn_eim_fail(l->err, &key->at, -EINVAL, KEY, "%s has no key \"%.64s\": expected one of %s%s",
                       mapping_names[mapping], key->text, list, tn_nearest_text(&near, hint));
}

/* The values of a mapping by key; what is not there is NULL. */
static int take(struct load *l, const struct tn_node *n, enum tn_eim_mapping mapping,
                const struct tn_node *at[TN_KEY_COUNT])
{
    memset(at, 0, TN_KEY_COUNT * sizeof(*at));
    if (n->kind != TN_NODE_MAP)
        return tn_eim_fail(l->err, &n->at, -EINVAL, KEY, "expected %s, a mapping, not %s",
                           mapping_names[mapping], tn_node_name(n->kind));
    for (u32 i = 0; i < n->n; i++) {
        const struct tn_node *key = n->item[2 * i], *value = n->item[2 * i + 1];
        u32 k = 0;
        int err;

        while (k < TN_KEY_COUNT && (keys[k].mapping != mapping || strcmp(keys[k].name, key->text) != 0))
            k++;
        if (k == TN_KEY_COUNT)
            return unknown_key(l, key, mapping);
        err = check_form(l, value, k);
        if (err)
            return err;
        at[k] = value;
    }
    for (u32 k = 0; k < TN_KEY_COUNT; k++)
        if (keys[k].mapping == mapping && keys[k].required && !at[k])
            return tn_eim_fail(l->err, &n->at, -EINVAL, KEY, "%s needs the key \"%s\"",
                               mapping_names[mapping], keys[k].name);
    return 0;
}

/* -------------------------------------------------------------------------------------------------- rows */

static int capability_name(struct load *l, const struct tn_eim_at *at, const char *name)
{
    static const char *const taken[] = {"instructions", "memory", "read",    "write", "helpers",
                                        "replace",      "IO",     "process", "inf",   "arguments"};
    bool reserved = false;

    if (!is_identifier(name))
        return tn_eim_fail(l->err, at, -EINVAL, NAME,
                           "\"%.64s\": the name of a capability is a word of letters, digits and _", name);
    for (size_t k = 0; k < TN_ARRAY_SIZE(taken); k++)
        reserved |= !strcmp(taken[k], name);
    reserved |= !strncmp(name, "bpf_", 4) && (tn_helper_named(name) || tn_kfunc_named(name));
    if (reserved)
        return tn_eim_fail(l->err, at, -EINVAL, NAME,
                           "\"%.64s\" has a meaning already: expected another name", name);
    return 0;
}

static struct tn_host *host_named(struct load *l, const char *name)
{
    struct tn_host *h;

    for (u32 k = 0; k < l->eim->nhosts; k++)
        if (!strcmp(l->eim->host[k].name, name))
            return &l->eim->host[k];
    h = TN_BAG_PUSH(&l->eim->bag, l->eim->host, l->eim->nhosts);
    if (h)
        h->name = tn_bag_dup(&l->eim->bag, name, strlen(name));
    return h && h->name ? h : NULL;
}

static int host_fact(struct load *l, const struct tn_node *n, const char *what, struct tn_text_at *ret)
{
    if (!n)
        return 0;
    if (ret->text && strcmp(ret->text, n->text) != 0)
        return tn_eim_fail(l->err, &n->at, -EINVAL, CONFLICT,
                           "%s is \"%.100s\" here and \"%.100s\" at %.100s:%u:%u", what, n->text, ret->text,
                           ret->at.file, ret->at.line, ret->at.column);
    if (!ret->text)
        *ret = (struct tn_text_at){n->at, n->text};
    return 0;
}

static int read_host(struct load *l, const struct tn_node *n, struct tn_host **ret)
{
    const struct tn_node *at[TN_KEY_COUNT];
    struct tn_host *h;
    int err;

    if (n->kind == TN_NODE_TEXT) {
        *ret = host_named(l, n->text);
        return *ret ? 0 : -ENOMEM;
    }
    err = take(l, n, TN_MAP_HOST, at);
    if (err)
        return err;
    h = host_named(l, at[TN_KEY_HOST_name]->text);
    if (!h)
        return -ENOMEM;
    err = host_fact(l, at[TN_KEY_HOST_binary], "binary", &h->binary);
    if (!err)
        err = host_fact(l, at[TN_KEY_HOST_build_id], "build_id", &h->build_id);
    if (!err)
        err = host_fact(l, at[TN_KEY_HOST_types], "types", &h->types);
    if (!err)
        *ret = h;
    return err;
}

static int add_state(struct load *l, struct tn_host *h, const struct tn_eim_at *at, const char *name,
                     const struct tn_node *operation)
{
    struct tn_state_cap *s = TN_BAG_PUSH(&l->eim->bag, h->state, h->nstates);
    int err;

    if (!s)
        return -ENOMEM;
    s->at = *at;
    s->name = name;
    err = capability_name(l, at, name);
    if (!err)
        err = tn_lang_capability(&l->eim->bag, operation, &s->cap, l->err);
    if (!err)
        s->cap.text = tn_cap_text(&l->eim->bag, &s->cap);
    if (!err && !s->cap.text)
        return -ENOMEM;
    if (!err && s->cap.kind != TN_CAP_READ && s->cap.kind != TN_CAP_WRITE)
        return tn_eim_fail(l->err, &s->cap.at, -EINVAL, KEY,
                           "\"operation\": expected read(VARIABLE) or write(VARIABLE), not \"%.64s\"",
                           s->cap.text);
    return err;
}

static int read_signature(struct load *l, const struct tn_node *n, struct tn_signature **ret)
{
    struct tn_signature *s;
    int err;

    if (!n)
        return 0;
    s = tn_bag_alloc(&l->eim->bag, sizeof(*s));
    if (!s)
        return -ENOMEM;
    err = tn_lang_signature(&l->eim->bag, n, s, l->err);
    if (!err)
        *ret = s;
    return err;
}

static int read_address(struct load *l, const struct tn_node *n, struct tn_eim_at *ret_at, u64 *ret)
{
    char *end;

    if (!n)
        return 0;
    errno = 0;
    *ret_at = n->at;
    *ret = strtoull(n->text, &end, 16);
    return !strncmp(n->text, "0x", 2) && !*end && !errno && *ret
               ? 0
               : wrong(l, n, "address", "an address of the binary, as in \"0x1189\"");
}

/* A name that a constraint begins with has to be an argument's, where the prototype is known. */
static int known_operand(struct load *l, const struct tn_operand *o, const struct tn_signature *s)
{
    struct tn_nearest near;
    char hint[TN_NEAREST_TEXT];

    if (!s || !o->path)
        return 0;
    near = tn_nearest_to(o->path->root);
    for (u32 k = 0; k < s->n; k++) {
        if (!s->param[k].name)
            continue;
        if (!strcmp(s->param[k].name, o->path->root))
            return 0;
        tn_nearest_offer(&near, s->param[k].name);
    }
    if (o->kind == TN_OP_RTN || !strcmp(o->path->root, "rtn"))
        return 0;
    return tn_eim_fail(l->err, &o->at, -EINVAL, NAME, "the prototype has no argument \"%.64s\"%s",
                       o->path->root, tn_nearest_text(&near, hint));
}

static int known_operands(struct load *l, const struct tn_cons *c, const struct tn_signature *s)
{
    int err = 0;

    if (c->kind == TN_CONS_REL) {
        err = known_operand(l, &c->l, s);
        return err ? err : known_operand(l, &c->r, s);
    }
    if (c->kind == TN_CONS_FACT &&
        (c->fact == TN_FACT_VALID || c->fact == TN_FACT_WRITABLE || c->fact == TN_FACT_OUTSIDE))
        return 0; /* variables and functions, which are known later */
    if (c->kind == TN_CONS_FACT) {
        err = known_operand(l, &c->arg[0], s);
        return err ? err : known_operand(l, &c->arg[1], s);
    }
    if (c->a)
        err = known_operands(l, c->a, s);
    if (!err && c->b)
        err = known_operands(l, c->b, s);
    return err;
}

static int add_constraint(struct load *l, const struct tn_node *n, const struct tn_signature *s,
                          struct tn_cons ***list, u32 *count)
{
    struct tn_cons *c = NULL, **slot;
    int err = tn_lang_constraint(&l->eim->bag, n, &c, l->err);

    if (!err)
        err = known_operands(l, c, s);
    if (err)
        return err;
    slot = TN_BAG_PUSH(&l->eim->bag, *list, *count);
    if (!slot)
        return -ENOMEM;
    *slot = c;
    return 0;
}

static int read_constraints(struct load *l, const struct tn_node *n, const struct tn_signature *s,
                            struct tn_cons ***list, u32 *count)
{
    int err = 0;

    for (u32 k = 0; n && k < n->n && !err; k++)
        err = add_constraint(l, n->item[k], s, list, count);
    return err;
}

static int read_state(struct load *l, struct tn_host *h, const struct tn_node *n)
{
    const struct tn_node *at[TN_KEY_COUNT];
    int err = take(l, n, TN_MAP_STATE, at);

    return err ? err
               : add_state(l, h, &at[TN_KEY_STATE_name]->at, at[TN_KEY_STATE_name]->text,
                           at[TN_KEY_STATE_operation]);
}

static int read_function(struct load *l, struct tn_host *h, const struct tn_node *n)
{
    const struct tn_node *at[TN_KEY_COUNT];
    int err = take(l, n, TN_MAP_FUNCTION, at);
    struct tn_function_cap *f;

    if (err)
        return err;
    f = TN_BAG_PUSH(&l->eim->bag, h->function, h->nfunctions);
    if (!f)
        return -ENOMEM;
    f->at = at[TN_KEY_FUNCTION_name]->at;
    f->name = at[TN_KEY_FUNCTION_name]->text;
    f->function_at = at[TN_KEY_FUNCTION_function]->at;
    f->function = at[TN_KEY_FUNCTION_function]->text;
    err = capability_name(l, &f->at, f->name);
    if (!err)
        err = read_signature(l, at[TN_KEY_FUNCTION_prototype], &f->signature);
    if (!err)
        err = read_address(l, at[TN_KEY_FUNCTION_address], &f->address_at, &f->address);
    return err ? err
               : read_constraints(l, at[TN_KEY_FUNCTION_constraints], f->signature, &f->constraint,
                                  &f->nconstraints);
}

static int read_entry(struct load *l, struct tn_host *h, const struct tn_node *n)
{
    const struct tn_node *at[TN_KEY_COUNT];
    int err = take(l, n, TN_MAP_ENTRY, at);
    struct tn_eim_entry *e;

    if (err)
        return err;
    e = TN_BAG_PUSH(&l->eim->bag, h->entry, h->nentries);
    if (!e)
        return -ENOMEM;
    e->at = at[TN_KEY_ENTRY_name]->at;
    e->name = at[TN_KEY_ENTRY_name]->text;
    e->function_at = at[TN_KEY_ENTRY_extension_entry]->at;
    e->function = at[TN_KEY_ENTRY_extension_entry]->text;
    if (strchr(e->name, ':'))
        return tn_eim_fail(l->err, &e->at, -EINVAL, NAME,
                           "\"%.64s\": the name of an entry has no \":\", which generated entries have",
                           e->name);
    err = read_signature(l, at[TN_KEY_ENTRY_prototype], &e->signature);
    if (!err)
        err = read_address(l, at[TN_KEY_ENTRY_address], &e->address_at, &e->address);
    return err ? err
               : read_constraints(l, at[TN_KEY_ENTRY_constraints], e->signature, &e->constraint,
                                  &e->nconstraints);
}

static int read_who(struct load *l, struct tn_class_spec *c, const struct tn_node *n)
{
    struct tn_admitted *w = TN_BAG_PUSH(&l->eim->bag, c->who, c->nwho);
    const char *s = n->text + 4;
    char *end;
    unsigned long id;

    if (!w)
        return -ENOMEM;
    w->at = n->at;
    w->group = !strncmp(n->text, "gid:", 4);
    if ((!w->group && strncmp(n->text, "uid:", 4) != 0) || !*s)
        return tn_eim_fail(l->err, &n->at, -EINVAL, KEY,
                           "\"who\": expected \"uid:\" or \"gid:\" with a name or a number, not \"%.64s\"",
                           n->text);
    if (*s >= '0' && *s <= '9') {
        errno = 0;
        id = strtoul(s, &end, 10);
        if (*end || errno || id >= UINT32_MAX)
            return tn_eim_fail(l->err, &n->at, -EINVAL, KEY, "\"who\": \"%.64s\" is no number of a %s", s,
                               w->group ? "group" : "user");
        w->id = (u32)id;
        w->known = true;
        return 0;
    }
    w->name = s;
    if (!l->options || !l->options->look_up)
        return 0;
    if (l->options->look_up(l->options->self, w->group, s, &w->id))
        return tn_eim_fail(l->err, &n->at, -EINVAL, NAME, "there is no %s \"%.64s\" on this machine",
                           w->group ? "group" : "user", s);
    w->known = true;
    return 0;
}

#define CALLS_MAX 1024

static int known_call(struct load *l, const struct tn_node *n, const char *name)
{
    struct tn_nearest near = tn_nearest_to(name);
    char hint[TN_NEAREST_TEXT], unnamed[16];
    s32 nr;

    if (!tn_call_number(name, &nr))
        return 0;
    for (nr = 0; nr < CALLS_MAX; nr++)
        if (tn_call_name(nr, unnamed) != unnamed)
            tn_nearest_offer(&near, tn_call_name(nr, unnamed));
    return tn_eim_fail(l->err, &n->at, -EINVAL, NAME, "there is no system call \"%.64s\"%s", name,
                       tn_nearest_text(&near, hint));
}

static int class_entry(struct load *l, struct tn_class_spec *c, const struct tn_node *n)
{
    const char *colon = strchr(n->text, ':');
    struct tn_nearest near;
    char prefix[32], hint[TN_NEAREST_TEXT];

    c->entry_at = n->at;
    c->entry = n->text;
    if (!colon)
        return 0;
    snprintf(prefix, sizeof(prefix), "%.*s", (int)TN_MIN(colon - n->text, (ptrdiff_t)31), n->text);
    near = tn_nearest_to(prefix);
    for (u32 k = 1; k < TN_GEN_COUNT; k++) {
        if (!strcmp(tn_generated_names[k], prefix))
            c->generated = (enum tn_eim_generated)k;
        tn_nearest_offer(&near, tn_generated_names[k]);
    }
    if (!c->generated)
        return tn_eim_fail(l->err, &n->at, -EINVAL, NAME,
                           "no generated entry begins with \"%s:\": expected uprobe, uretprobe, sysenter or "
                           "sysexit%s",
                           prefix, tn_nearest_text(&near, hint));
    c->entry = colon + 1;
    if (!*c->entry)
        return tn_eim_fail(l->err, &n->at, -EINVAL, NAME, "\"%s\": expected a function behind the colon",
                           n->text);
    if (c->generated == TN_GEN_SYSENTER || c->generated == TN_GEN_SYSEXIT)
        return known_call(l, n, c->entry);
    return 0;
}

static int read_class(struct load *l, struct tn_host *h, const struct tn_node *n)
{
    const struct tn_node *at[TN_KEY_COUNT];
    int err = take(l, n, TN_MAP_CLASS, at);
    struct tn_class_spec *c;

    if (err)
        return err;
    c = TN_BAG_PUSH(&l->eim->bag, h->klass, h->nclasses);
    if (!c)
        return -ENOMEM;
    c->at = at[TN_KEY_CLASS_name]->at;
    c->name = at[TN_KEY_CLASS_name]->text;
    for (u32 k = 0; k < TN_RULE_COUNT; k++)
        if (!strcmp(c->name, tn_rule_names[k]))
            return tn_eim_fail(l->err, &c->at, -EINVAL, NAME,
                               "\"%s\" is a class that every host has: expected another name", c->name);
    err = class_entry(l, c, at[TN_KEY_CLASS_extension_entry]);
    for (u32 k = 0; k < at[TN_KEY_CLASS_allowed]->n && !err; k++) {
        struct tn_cap *cap = TN_BAG_PUSH(&l->eim->bag, c->cap, c->ncaps);

        if (!cap)
            return -ENOMEM;
        err = tn_lang_capability(&l->eim->bag, at[TN_KEY_CLASS_allowed]->item[k], cap, l->err);
        if (!err)
            cap->text = tn_cap_text(&l->eim->bag, cap);
        if (!err && !cap->text)
            return -ENOMEM;
    }
    for (u32 k = 0; at[TN_KEY_CLASS_who] && k < at[TN_KEY_CLASS_who]->n && !err; k++)
        err = read_who(l, c, at[TN_KEY_CLASS_who]->item[k]);
    if (!err && at[TN_KEY_CLASS_who] && !c->nwho)
        return tn_eim_fail(l->err, &at[TN_KEY_CLASS_who]->at, -EINVAL, CONFLICT,
                           "\"who\" admits nobody: leave it out to admit everybody, or name somebody");
    return err;
}

static int read_rule(struct load *l, struct tn_host *h, const struct tn_node *n, enum tn_eim_generated kind)
{
    struct tn_rule_at *r = &h->rule[kind];
    struct tn_nearest near = tn_nearest_to(n->text);
    char hint[TN_NEAREST_TEXT];
    u32 rule = TN_RULE_COUNT;

    for (u32 k = 0; k < TN_RULE_COUNT; k++) {
        tn_nearest_offer(&near, tn_rule_names[k]);
        if (!strcmp(tn_rule_names[k], n->text))
            rule = k;
    }
    if (rule == TN_RULE_COUNT)
        return tn_eim_fail(l->err, &n->at, -EINVAL, NAME,
                           "expected denied, observability or customizability, not \"%.64s\"%s", n->text,
                           tn_nearest_text(&near, hint));
    if (r->set && r->rule != (enum tn_eim_rule)rule)
        return tn_eim_fail(l->err, &n->at, -EINVAL, CONFLICT, "the default is %s here and %s at %.100s:%u:%u",
                           n->text, tn_rule_names[r->rule], r->at.file, r->at.line, r->at.column);
    if (!r->set)
        *r = (struct tn_rule_at){n->at, true, (enum tn_eim_rule)rule};
    return 0;
}

static int read_defaults(struct load *l, struct tn_host *h, const struct tn_node *n)
{
    const struct tn_node *at[TN_KEY_COUNT];
    int err = take(l, n, TN_MAP_DEFAULTS, at);

#define G(kind, prefix, key)                                                                                 \
    if (!err && at[TN_KEY_DEFAULTS_##key])                                                                   \
        err = read_rule(l, h, at[TN_KEY_DEFAULTS_##key], TN_GEN_##kind);
    TN_EIM_GENERATED(G)
#undef G
    return err;
}

/* ------------------------------------------------------------------------------------------------ sources */

static int each(struct load *l, struct tn_host *h, const struct tn_node *list,
                int (*read)(struct load *l, struct tn_host *h, const struct tn_node *n))
{
    int err = 0;

    for (u32 k = 0; list && k < list->n && !err; k++)
        err = read(l, h, list->item[k]);
    return err;
}

static int read_file(struct load *l, const struct tn_eim_source *s)
{
    const struct tn_node *at[TN_KEY_COUNT];
    struct tn_node *top = NULL;
    struct tn_host *h = NULL;
    int err = tn_yaml_read(&l->eim->bag, s->name, s->text, s->len, &top, l->err);

    if (!err)
        err = take(l, top, TN_MAP_DOCUMENT, at);
    if (!err)
        err = read_host(l, at[TN_KEY_DOCUMENT_host], &h);
    if (!err)
        err = each(l, h, at[TN_KEY_DOCUMENT_state_capabilities], read_state);
    if (!err)
        err = each(l, h, at[TN_KEY_DOCUMENT_function_capabilities], read_function);
    if (!err)
        err = each(l, h, at[TN_KEY_DOCUMENT_extension_entries], read_entry);
    if (!err)
        err = each(l, h, at[TN_KEY_DOCUMENT_extension_classes], read_class);
    if (!err && at[TN_KEY_DOCUMENT_defaults])
        err = read_defaults(l, h, at[TN_KEY_DOCUMENT_defaults]);
    if (!err)
        h->named = true;
    return err;
}

/* "host.c:12", as an annotation has it. */
static struct tn_eim_at place_of(struct load *l, const char *where)
{
    const char *colon = strrchr(where, ':');
    struct tn_eim_at at = {where, 0, 1};

    if (colon) {
        at.file = tn_bag_dup(&l->eim->bag, where, (u64)(colon - where));
        at.line = (u32)strtoul(colon + 1, NULL, 10);
    } else {
        at.file = tn_bag_dup(&l->eim->bag, where, strlen(where));
    }
    return at;
}

static int note_text(struct load *l, const struct tn_eim_at *at, const char *text, struct tn_node *ret)
{
    *ret = (struct tn_node){.at = *at, .text = tn_bag_dup(&l->eim->bag, text, strlen(text))};
    return ret->text ? 0 : -ENOMEM;
}

static int note_constraints(struct load *l, const struct tn_eim_at *at, const struct tn_note *n,
                            struct tn_cons ***list, u32 *count)
{
    struct tn_node expr;
    int err = 0;

    for (u32 k = 0; k < n->nconstraints && !err; k++) {
        err = note_text(l, at, n->constraints[k], &expr);
        if (!err)
            err = add_constraint(l, &expr, NULL, list, count);
    }
    return err;
}

static int read_note(struct load *l, struct tn_host *h, const struct tn_note *n)
{
    struct tn_eim_at at = place_of(l, n->where);
    struct tn_node name = {0}, what = {0};
    int err = note_text(l, &at, n->name, &name);

    if (!err)
        err = note_text(l, &at, n->what, &what);
    if (err || !at.file)
        return -ENOMEM;
    if (n->kind == TN_NOTE_STATE) {
        what.text = tn_bag_printf(&l->eim->bag, "%s(%s)", n->write ? "write" : "read", n->what);
        return what.text ? add_state(l, h, &at, name.text, &what) : -ENOMEM;
    }
    if (!is_name(what.text))
        return tn_eim_fail(l->err, &at, -EINVAL, NAME, "expected the name of a function, not \"%.64s\"",
                           n->what);
    if (n->kind == TN_NOTE_ENTRY) {
        struct tn_eim_entry *e = TN_BAG_PUSH(&l->eim->bag, h->entry, h->nentries);

        if (!e)
            return -ENOMEM;
        *e = (struct tn_eim_entry){.at = at, .function_at = at, .name = name.text, .function = what.text};
        err = is_name(name.text) && !strchr(name.text, ':') ? 0 : capability_name(l, &at, name.text);
        return err ? err : note_constraints(l, &at, n, &e->constraint, &e->nconstraints);
    }
    struct tn_function_cap *f = TN_BAG_PUSH(&l->eim->bag, h->function, h->nfunctions);
    if (!f)
        return -ENOMEM;
    *f = (struct tn_function_cap){.at = at, .function_at = at, .name = name.text, .function = what.text};
    err = capability_name(l, &at, name.text);
    return err ? err : note_constraints(l, &at, n, &f->constraint, &f->nconstraints);
}

static int read_source(struct load *l, const struct tn_eim_source *s)
{
    struct tn_host *h;
    int err = 0;

    if (!s->notes)
        return read_file(l, s);
    h = host_named(l, s->host);
    if (!h)
        return -ENOMEM;
    for (u32 k = 0; k < s->notes->n && !err; k++)
        err = read_note(l, h, &s->notes->rows[k]);
    return err;
}

/* ----------------------------------------------------------------------------------------- as a whole */

static int sources_by_name(const void *x, const void *y)
{
    const struct tn_eim_source *a = *(const struct tn_eim_source *const *)x,
                               *b = *(const struct tn_eim_source *const *)y;
    int d = strcmp(a->name, b->name);

    if (d || !a->text || !b->text)
        return d ? d : (a->text != NULL) - (b->text != NULL);
    d = memcmp(a->text, b->text, TN_MIN(a->len, b->len));
    return d ? d : a->len < b->len ? -1 : a->len > b->len;
}

int tn_eim_read(const struct tn_eim_source *sources, u32 n, const struct tn_eim_options *options,
                struct tn_eim **ret, struct tn_error *err)
{
    struct load l = {.options = options, .err = err};
    _free_ const struct tn_eim_source **order = calloc(n ? n : 1, sizeof(*order));
    int code = 0;

    if (n > TN_EIM_SOURCES_MAX)
        return tn_fail(err, -E2BIG, KEY, "%u files, and %u are taken at most", n, TN_EIM_SOURCES_MAX);
    l.eim = calloc(1, sizeof(*l.eim));
    if (!l.eim || !order) {
        free(l.eim);
        return -ENOMEM;
    }
    for (u32 k = 0; k < n; k++)
        order[k] = &sources[k];
    qsort(order, n, sizeof(*order), sources_by_name);
    for (u32 k = 0; k < n && !code; k++)
        code = read_source(&l, order[k]);
    if (!code)
        code = tn_eim_compose(l.eim, options, err);
    if (code) {
        tn_eim_free(l.eim);
        return code;
    }
    *ret = l.eim;
    return 0;
}

void tn_eim_free(struct tn_eim *eim)
{
    if (!eim)
        return;
    tn_bag_clear(&eim->bag);
    free(eim);
}

bool tn_eim_governs(const struct tn_eim *eim, const char *host)
{
    for (u32 k = 0; k < eim->nhosts; k++)
        if (!strcmp(eim->host[k].name, host))
            return eim->host[k].named;
    return false;
}

int tn_eim_one_cap(struct tn_bag *bag, const char *file, const char *text, struct tn_cap *ret,
                   struct tn_error *err)
{
    struct tn_node n = {.at = {file, 1, 1}, .exact = true, .text = tn_bag_dup(bag, text, strlen(text))};
    int code = n.text ? tn_lang_capability(bag, &n, ret, err) : -ENOMEM;

    if (!code)
        ret->text = tn_cap_text(bag, ret);
    return code ? code : ret->text ? 0 : -ENOMEM;
}
