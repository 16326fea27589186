/* SPDX-License-Identifier: MIT */
/* Pre- and post-conditions of functions: "rtn > 0", "len == size(name) and nonnull(r)", "may_sleep". */
#include <errno.h>

#include "eim/lex.h"

#define REASON "spec_expression"

static const struct {
    const char *name;
    u8 nargs;
} facts[TN_FACT_COUNT] = {
#define F(kind, name, nargs, ...) {name, nargs},
    TN_FACTS(F)
#undef F
};
const char *const tn_fact_names[TN_FACT_COUNT] = {
#define F(kind, name, ...) name,
    TN_FACTS(F)
#undef F
};

static int either(struct tn_lex *lex, struct tn_cons **ret);

static struct tn_cons *make(struct tn_lex *lex, enum tn_cons_kind kind)
{
    struct tn_cons *c = tn_bag_alloc(lex->bag, sizeof(*c));

    if (c) {
        c->kind = kind;
        c->at = tn_lex_at(lex);
    }
    return c;
}

static int read_number(struct tn_lex *lex, bool minus, struct tn_operand *ret)
{
    struct tn_eim_at at = tn_lex_at(lex);
    u64 limit = minus ? 1ull << 63 : (u64)INT64_MAX;

    if (lex->tok.kind != TN_TOK_NUMBER)
        return tn_lex_refuse(lex, "a number after \"-\"");
    if (lex->tok.number > limit)
        return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "the number is too large");
    ret->kind = TN_OP_NUMBER;
    ret->number = minus ? (s64)(0 - lex->tok.number) : (s64)lex->tok.number;
    return tn_lex_next(lex);
}

static int operand(struct tn_lex *lex, struct tn_operand *ret)
{
    int err = 0;

    ret->at = tn_lex_at(lex);
    if (tn_lex_is(lex, "-")) {
        err = tn_lex_next(lex);
        return err ? err : read_number(lex, true, ret);
    }
    if (lex->tok.kind == TN_TOK_NUMBER)
        return read_number(lex, false, ret);
    if (tn_lex_word(lex, "NULL")) {
        ret->kind = TN_OP_NULL;
        return tn_lex_next(lex);
    }
    if (lex->tok.kind != TN_TOK_NAME)
        return tn_lex_refuse(lex, "rtn, an argument, a number or a fact");
    err = tn_lex_path(lex, &ret->path);
    if (err)
        return err;
    ret->kind = TN_OP_PATH;
    if (!strcmp(ret->path->root, "size") && !ret->path->n && tn_lex_is(lex, "(")) {
        ret->kind = TN_OP_SIZE;
        err = tn_lex_next(lex);
        if (!err)
            err = tn_lex_path(lex, &ret->path);
        if (!err && ret->path->n)
            return tn_eim_fail(lex->err, &ret->path->at, -EINVAL, REASON,
                               "size() takes the name of an argument");
        return err ? err : tn_lex_expect(lex, ")", "after the argument of size");
    }
    if (!strcmp(ret->path->root, "rtn") && !ret->path->n)
        ret->kind = TN_OP_RTN;
    return 0;
}

static bool is_fact(const char *name, enum tn_fact_kind *ret)
{
    for (u32 k = 0; k < TN_FACT_COUNT; k++) {
        if (!strcmp(facts[k].name, name)) {
            *ret = (enum tn_fact_kind)k;
            return true;
        }
    }
    return false;
}

static int read_fact(struct tn_lex *lex, struct tn_cons *c)
{
    u32 n = facts[c->fact].nargs;
    int err = 0;

    if (!n)
        return tn_lex_is(lex, "(") ? tn_lex_refuse(lex, "no argument: this fact is about the function") : 0;
    err = tn_lex_expect(lex, "(",
                        c->fact == TN_FACT_OUTSIDE ? "and the name of a function"
                        : n == 1                   ? "and the argument that it is about"
                                                   : "and two arguments");
    for (u32 k = 0; k < n && !err; k++) {
        if (k)
            err = tn_lex_expect(lex, ",", "and a second argument");
        if (!err)
            err = operand(lex, &c->arg[k]);
        if (!err && c->fact == TN_FACT_OUTSIDE &&
            (c->arg[k].kind != TN_OP_PATH || c->arg[k].path->n || c->arg[k].path->deref))
            return tn_eim_fail(lex->err, &c->arg[k].at, -EINVAL, REASON, "expected the name of a function");
        if (!err && c->arg[k].kind != TN_OP_PATH && c->arg[k].kind != TN_OP_RTN)
            return tn_eim_fail(lex->err, &c->arg[k].at, -EINVAL, REASON, "expected the name of an argument%s",
                               c->fact == TN_FACT_NONNULL || c->fact == TN_FACT_NULLABLE ? ", or rtn" : "");
    }
    return err ? err : tn_lex_expect(lex, ")", n == 1 ? "after the argument" : "after the second argument");
}

static int no_such_fact(struct tn_lex *lex, const struct tn_operand *o)
{
    struct tn_nearest near = tn_nearest_to(o->path->root);
    char hint[TN_NEAREST_TEXT];

    for (u32 k = 0; k < TN_FACT_COUNT; k++)
        tn_nearest_offer(&near, facts[k].name);
    return tn_eim_fail(lex->err, &o->at, -EINVAL, REASON,
                       "\"%.64s\" is neither a fact nor followed by a relation (< <= > >= == !=)%s",
                       o->path->root, tn_nearest_text(&near, hint));
}

static int relation(struct tn_lex *lex, struct tn_cons *c)
{
    static const char *const rels[] = {"<", "<=", ">", ">=", "==", "!="};
    int err = operand(lex, &c->l);

    if (err)
        return err;
    if (c->l.kind == TN_OP_PATH && !c->l.path->n && !c->l.path->deref && is_fact(c->l.path->root, &c->fact)) {
        c->kind = TN_CONS_FACT;
        return read_fact(lex, c);
    }
    for (u32 k = 0; k < TN_ARRAY_SIZE(rels); k++) {
        if (!tn_lex_is(lex, rels[k]))
            continue;
        c->rel = (enum tn_rel)k;
        err = tn_lex_next(lex);
        return err ? err : operand(lex, &c->r);
    }
    if (c->l.kind == TN_OP_PATH && !c->l.path->n)
        return no_such_fact(lex, &c->l);
    return tn_lex_refuse(lex, "a relation (< <= > >= == !=)");
}

static int primary(struct tn_lex *lex, struct tn_cons **ret)
{
    struct tn_cons *c;
    int err;

    if (++lex->depth > TN_LEX_DEPTH_MAX)
        return tn_lex_refuse(lex, "fewer parentheses");
    if (tn_lex_is(lex, "(")) {
        err = tn_lex_next(lex);
        if (!err)
            err = either(lex, ret);
        if (!err)
            err = tn_lex_expect(lex, ")", "");
    } else if (tn_lex_word(lex, "not") || tn_lex_is(lex, "!")) {
        c = make(lex, TN_CONS_NOT);
        if (!c)
            return -ENOMEM;
        err = tn_lex_next(lex);
        if (!err)
            err = primary(lex, &c->a);
        if (!err)
            *ret = c;
    } else {
        c = make(lex, TN_CONS_REL);
        if (!c)
            return -ENOMEM;
        err = relation(lex, c);
        if (!err)
            *ret = c;
    }
    lex->depth--;
    return err;
}

/* a and b and c; `or` binds less. */
static int chain(struct tn_lex *lex, enum tn_cons_kind kind, struct tn_cons **ret)
{
    const char *word = kind == TN_CONS_AND ? "and" : "or", *mark = kind == TN_CONS_AND ? "&&" : "||";
    struct tn_cons *left = NULL;
    int err = kind == TN_CONS_AND ? primary(lex, &left) : chain(lex, TN_CONS_AND, &left);

    while (!err && (tn_lex_word(lex, word) || tn_lex_is(lex, mark))) {
        struct tn_cons *c = make(lex, kind);

        if (!c)
            return -ENOMEM;
        c->a = left;
        err = tn_lex_next(lex);
        if (!err)
            err = kind == TN_CONS_AND ? primary(lex, &c->b) : chain(lex, TN_CONS_AND, &c->b);
        left = c;
    }
    if (!err)
        *ret = left;
    return err;
}

static int either(struct tn_lex *lex, struct tn_cons **ret)
{
    return chain(lex, TN_CONS_OR, ret);
}

/* Facts hold or are said of the function as a whole: "IO or rtn > 0" would leave open which. */
static int facts_on_top(struct tn_lex *lex, const struct tn_cons *c, bool top)
{
    int err = 0;

    if (c->kind == TN_CONS_FACT && !top && c->fact != TN_FACT_NONNULL)
        return tn_eim_fail(lex->err, &c->at, -EINVAL, REASON,
                           "\"%s\" is a fact: it stands alone or under \"and\", not under \"or\" or \"not\"",
                           facts[c->fact].name);
    top = top && c->kind == TN_CONS_AND;
    if (c->a)
        err = facts_on_top(lex, c->a, top);
    if (!err && c->b)
        err = facts_on_top(lex, c->b, top);
    return err;
}

int tn_lang_constraint(struct tn_bag *bag, const struct tn_node *text, struct tn_cons **ret,
                       struct tn_error *err)
{
    struct tn_cons *c = NULL;
    struct tn_lex lex;
    int code = tn_lex_start(&lex, bag, text, "constraint", err);

    if (!code)
        code = either(&lex, &c);
    if (!code)
        code = tn_lex_end(&lex);
    if (!code)
        code = facts_on_top(&lex, c, true);
    if (code)
        return code;
    c->text = text->text;
    *ret = c;
    return 0;
}
