/* SPDX-License-Identifier: MIT */
/*
 * Prototypes in C: "ngx_int_t (ngx_http_request_t *r, const u_char *name)". Declarators as far as functions
 * of a host have them: pointers, arrays as pointers, pointers to functions. Which type a name means is asked
 * later.
 */
#include <errno.h>

#include "eim/lex.h"

#define REASON "spec_expression"

/* Words that numbers are made of: W(word, unsigned, signed, longs, size or 0, floating) */
#define NUMBER_WORDS(W)                                                                                      \
    W("unsigned", 1, 0, 0, 0, 0)                                                                             \
    W("signed", 0, 1, 0, 0, 0)                                                                               \
    W("char", 0, 0, 0, 1, 0)                                                                                 \
    W("short", 0, 0, 0, 2, 0)                                                                                \
    W("int", 0, 0, 0, 4, 0)                                                                                  \
    W("long", 0, 0, 1, 0, 0)                                                                                 \
    W("_Bool", 1, 0, 0, 1, 0)                                                                                \
    W("bool", 1, 0, 0, 1, 0)                                                                                 \
    W("float", 0, 1, 0, 4, 1)                                                                                \
    W("double", 0, 1, 0, 8, 1)

static const struct number_word {
    const char *word;
    u8 is_unsigned, is_signed, longs, size, real;
} number_words[] = {
#define W(word, u, s, l, size, real) {word, u, s, l, size, real},
    NUMBER_WORDS(W)
#undef W
};

static const struct number_word *number_word(const struct tn_lex *lex)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(number_words); k++)
        if (tn_lex_word(lex, number_words[k].word))
            return &number_words[k];
    return NULL;
}

static int number(struct tn_lex *lex, struct tn_ctype *t)
{
    const struct number_word *w;
    u32 u = 0, s = 0, l = 0, size = 0, real = 0, n = 0;
    int err;

    while ((w = number_word(lex))) {
        u += w->is_unsigned;
        s += w->is_signed;
        l += w->longs;
        real += w->real;
        if (w->size && size && !(size == 2 && w->size == 4) && !(size == 4 && w->size == 2))
            return tn_lex_refuse(lex, "one type");
        if (w->size && (!size || w->size == 2))
            size = w->size;
        if (++n > 4 || u + s > 1 || l > 2 || (l && size && size != 4 && !(real && l == 1)) || (real && l > 1))
            return tn_lex_refuse(lex, "one type");
        err = tn_lex_next(lex);
        if (err)
            return err;
    }
    t->kind = TN_CT_NUMBER;
    t->size = (u8)(real && l ? 16 : l ? 8 : size ? size : 4);
    t->is_signed = !u;
    t->real = real;
    t->name = tn_bag_printf(lex->bag, "%s",
                            real           ? (l           ? "long double"
                                              : size == 4 ? "float"
                                                          : "double")
                            : t->size == 1 ? (u ? "unsigned char" : "char")
                            : t->size == 2 ? (u ? "unsigned short" : "short")
                            : t->size == 4 ? (u ? "unsigned int" : "int")
                                           : (u ? "unsigned long" : "long"));
    return t->name ? 0 : -ENOMEM;
}

static int qualifiers(struct tn_lex *lex)
{
    int err = 0;

    while (!err &&
           (tn_lex_word(lex, "const") || tn_lex_word(lex, "volatile") || tn_lex_word(lex, "restrict")))
        err = tn_lex_next(lex);
    return err;
}

static int base(struct tn_lex *lex, struct tn_ctype *t)
{
    static const struct {
        const char *word;
        enum tn_ctype_kind kind;
    } tagged[] = {{"struct", TN_CT_STRUCT}, {"union", TN_CT_UNION}, {"enum", TN_CT_ENUM}};
    int err = qualifiers(lex);

    if (err)
        return err;
    t->at = tn_lex_at(lex);
    if (tn_lex_word(lex, "void")) {
        t->kind = TN_CT_VOID;
        err = tn_lex_next(lex);
        return err ? err : qualifiers(lex);
    }
    for (size_t k = 0; k < TN_ARRAY_SIZE(tagged); k++) {
        if (!tn_lex_word(lex, tagged[k].word))
            continue;
        t->kind = tagged[k].kind;
        err = tn_lex_next(lex);
        t->at = tn_lex_at(lex);
        if (!err)
            err = tn_lex_name(lex, "the name of the type", &t->name);
        return err ? err : qualifiers(lex);
    }
    if (number_word(lex)) {
        err = number(lex, t);
        return err ? err : qualifiers(lex);
    }
    t->kind = TN_CT_TYPEDEF;
    err = tn_lex_name(lex, "a type", &t->name);
    return err ? err : qualifiers(lex);
}

static int pointers(struct tn_lex *lex, struct tn_ctype *t)
{
    int err = 0;

    while (!err && tn_lex_is(lex, "*")) {
        if (++t->pointers > 4)
            return tn_lex_refuse(lex, "four \"*\" at most");
        err = tn_lex_next(lex);
        if (!err)
            err = qualifiers(lex);
    }
    return err;
}

/* What a pointer to a function takes is passed over, parentheses in pairs. */
static int skip_parameters(struct tn_lex *lex)
{
    u32 depth = 0;
    int err = 0;

    do {
        if (tn_lex_is(lex, "("))
            depth++;
        else if (tn_lex_is(lex, ")"))
            depth--;
        else if (lex->tok.kind == TN_TOK_END)
            return tn_lex_refuse(lex, "\")\"");
        err = tn_lex_next(lex);
    } while (!err && depth);
    return err;
}

/* Behind the type: "(*name)(…)", "name", "name[]", or nothing. */
static int declarator(struct tn_lex *lex, struct tn_param *p)
{
    int err;

    if (tn_lex_is(lex, "(")) {
        err = tn_lex_next(lex);
        if (!err)
            err = tn_lex_expect(lex, "*", "of a pointer to a function");
        if (!err)
            err = qualifiers(lex);
        if (!err && lex->tok.kind == TN_TOK_NAME)
            err = tn_lex_name(lex, "a name", &p->name);
        if (!err)
            err = tn_lex_expect(lex, ")", "");
        if (!err && !tn_lex_is(lex, "("))
            return tn_lex_refuse(lex, "what the function takes");
        p->type = (struct tn_ctype){.kind = TN_CT_FUNCTION, .at = p->type.at, .pointers = 1};
        return err ? err : skip_parameters(lex);
    }
    err = lex->tok.kind == TN_TOK_NAME ? tn_lex_name(lex, "a name", &p->name) : 0;
    while (!err && tn_lex_is(lex, "[")) { /* of an array the address is passed */
        err = tn_lex_next(lex);
        if (!err && lex->tok.kind == TN_TOK_NUMBER)
            err = tn_lex_next(lex);
        if (!err)
            err = tn_lex_expect(lex, "]", "");
        if (++p->type.pointers > 4)
            return tn_lex_refuse(lex, "four levels at most");
    }
    return err;
}

static int parameter(struct tn_lex *lex, struct tn_signature *s)
{
    struct tn_param *p = &s->param[s->n];
    int err;

    if (s->n == TN_PARAMS_MAX)
        return tn_lex_refuse(lex, "sixteen arguments at most");
    if (tn_lex_is(lex, "..."))
        return tn_lex_refuse(lex,
                             "a type: functions with a variable number of arguments cannot be called safely");
    err = base(lex, &p->type);
    if (!err)
        err = pointers(lex, &p->type);
    if (!err)
        err = declarator(lex, p);
    if (err)
        return err;
    if (p->type.kind == TN_CT_VOID && !p->type.pointers)
        return tn_eim_fail(lex->err, &p->type.at, -EINVAL, REASON, "an argument cannot be void");
    if (p->name && (!strcmp(p->name, "process") || !strcmp(p->name, "arguments") || !strcmp(p->name, "rtn")))
        return tn_eim_fail(lex->err, &p->type.at, -EINVAL, REASON,
                           "\"%s\" has a meaning in capabilities: give the argument another name", p->name);
    for (u32 k = 0; k < s->n; k++)
        if (p->name && s->param[k].name && !strcmp(p->name, s->param[k].name))
            return tn_eim_fail(lex->err, &p->type.at, -EINVAL, REASON,
                               "two arguments have the name \"%.64s\"", p->name);
    s->n++;
    return 0;
}

int tn_lang_signature(struct tn_bag *bag, const struct tn_node *text, struct tn_signature *ret,
                      struct tn_error *err)
{
    struct tn_signature s = {0};
    struct tn_lex lex;
    bool none;
    int code = tn_lex_start(&lex, bag, text, "prototype", err);

    s.at = tn_node_at(text, 0);
    s.text = text->text;
    if (!code)
        code = base(&lex, &s.ret);
    if (!code)
        code = pointers(&lex, &s.ret);
    if (!code && lex.tok.kind == TN_TOK_NAME)
        code = tn_lex_name(&lex, "a name", &s.name);
    if (!code)
        code = tn_lex_expect(&lex, "(", "and the arguments, as in \"int (struct request *r)\"");
    /* "(void)" takes nothing, "(void *p)" does not. */
    none = !code &&
           (tn_lex_is(&lex, ")") ||
            (tn_lex_word(&lex, "void") && text->text[strspn(text->text + lex.next, " ") + lex.next] == ')'));
    if (!code && none && tn_lex_word(&lex, "void"))
        code = tn_lex_next(&lex);
    while (!code && !none) {
        code = parameter(&lex, &s);
        if (code || !tn_lex_is(&lex, ","))
            break;
        code = tn_lex_next(&lex);
    }
    s.end = tn_lex_at(&lex);
    if (!code)
        code = tn_lex_expect(&lex, ")", "after the arguments");
    if (!code)
        code = tn_lex_end(&lex);
    if (!code)
        *ret = s;
    return code;
}
