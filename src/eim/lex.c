/* SPDX-License-Identifier: MIT */
/* Words, and the one thing all languages here have in common: paths. */
#include "eim/lex.h"

#include <ctype.h>
#include <errno.h>

#define REASON "spec_expression"

/* Longest first. */
static const char *const marks[] = {"...", "->", "..", "<=", ">=", "==", "!=", "<", ">",  "(", ")",
                                    "[",   "]",  ".",  ",",  "*",  "-",  ":",  "!", "&&", "||"};

struct tn_eim_at tn_lex_at(const struct tn_lex *lex)
{
    return tn_node_at(lex->text, lex->tok.pos);
}

static bool is_start(char c)
{
    return isalpha((unsigned char)c) || c == '_';
}

static int number(struct tn_lex *lex, const char *s)
{
    struct tn_eim_at at = tn_lex_at(lex);
    u32 k = 0, base = s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? 16 : 10;
    u64 value = 0;

    if (base == 16)
        k = 2;
    if (!isxdigit((unsigned char)s[k]))
        return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "\"0x\" without digits");
    for (; isalnum((unsigned char)s[k]) || s[k] == '_'; k++) {
        u32 digit =
            isdigit((unsigned char)s[k]) ? (u32)(s[k] - '0') : (u32)(tolower((unsigned char)s[k]) - 'a' + 10);

        if (s[k] == '_' || digit >= base)
            return tn_eim_fail(lex->err, &at, -EINVAL, REASON,
                               "\"%.*s\" is no number; a unit stands after a space", (int)k + 1, s);
        if (__builtin_mul_overflow(value, (u64)base, &value) ||
            __builtin_add_overflow(value, (u64)digit, &value))
            return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "the number is too large");
    }
    lex->tok.kind = TN_TOK_NUMBER;
    lex->tok.number = value;
    lex->next += k;
    return 0;
}

int tn_lex_next(struct tn_lex *lex)
{
    const char *s = lex->text->text;
    struct tn_eim_at at;
    u32 len = 0;

    while (s[lex->next] == ' ' || s[lex->next] == '\n')
        lex->next++;
    lex->tok = (struct tn_tok){.pos = lex->next};
    s += lex->next;
    if (!*s)
        return 0;
    if (isdigit((unsigned char)*s))
        return number(lex, s);
    if (is_start(*s)) {
        while (is_start(s[len]) || isdigit((unsigned char)s[len]))
            len++;
        lex->tok.kind = TN_TOK_NAME;
        lex->tok.name = tn_bag_dup(lex->bag, s, len);
        lex->next += len;
        return lex->tok.name ? 0 : -ENOMEM;
    }
    for (size_t k = 0; k < TN_ARRAY_SIZE(marks); k++) {
        len = (u32)strlen(marks[k]);
        if (strncmp(s, marks[k], len) != 0)
            continue;
        lex->tok.kind = TN_TOK_MARK;
        memcpy(lex->tok.mark, marks[k], len);
        lex->next += len;
        return 0;
    }
    at = tn_lex_at(lex);
    for (len = 1; ((unsigned char)s[len] & 0xc0) == 0x80;)
        len++;
    return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "\"%.*s\" has no meaning in a %s", (int)len, s,
                       lex->what);
}

int tn_lex_start(struct tn_lex *lex, struct tn_bag *bag, const struct tn_node *text, const char *what,
                 struct tn_error *err)
{
    *lex = (struct tn_lex){.bag = bag, .text = text, .err = err, .what = what};
    if (strlen(text->text) > TN_LEX_LENGTH_MAX)
        return tn_eim_fail(err, &text->at, -EINVAL, REASON, "a %s has %u characters at most", what,
                           TN_LEX_LENGTH_MAX);
    return tn_lex_next(lex);
}

bool tn_lex_is(const struct tn_lex *lex, const char *mark)
{
    return lex->tok.kind == TN_TOK_MARK && !strcmp(lex->tok.mark, mark);
}

bool tn_lex_word(const struct tn_lex *lex, const char *name)
{
    return lex->tok.kind == TN_TOK_NAME && !strcmp(lex->tok.name, name);
}

int tn_lex_refuse(const struct tn_lex *lex, const char *expected)
{
    struct tn_eim_at at = tn_lex_at(lex);

    if (lex->tok.kind == TN_TOK_END)
        return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "expected %s; the %s ends here", expected,
                           lex->what);
    return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "expected %s, not \"%.*s\"", expected,
                       (int)TN_MIN(lex->next - lex->tok.pos, 40u), lex->text->text + lex->tok.pos);
}

int tn_lex_expect(struct tn_lex *lex, const char *mark, const char *why)
{
    char expected[160];

    if (tn_lex_is(lex, mark))
        return tn_lex_next(lex);
    snprintf(expected, sizeof(expected), "\"%s\"%s%s", mark, *why ? " " : "", why);
    return tn_lex_refuse(lex, expected);
}

int tn_lex_name(struct tn_lex *lex, const char *why, const char **ret)
{
    const char *name = lex->tok.name;
    int err;

    if (lex->tok.kind != TN_TOK_NAME)
        return tn_lex_refuse(lex, why);
    err = tn_lex_next(lex);
    if (!err)
        *ret = name;
    return err;
}

int tn_lex_end(const struct tn_lex *lex)
{
    char expected[64];

    if (lex->tok.kind == TN_TOK_END)
        return 0;
    snprintf(expected, sizeof(expected), "the end of the %s", lex->what);
    return tn_lex_refuse(lex, expected);
}

/* ------------------------------------------------------------------------------------------------ paths */

static int range_end(struct tn_lex *lex, struct tn_hop *s)
{
    if (lex->tok.kind == TN_TOK_NUMBER) {
        struct tn_eim_at at = tn_lex_at(lex);

        s->end = lex->tok.number;
        if (s->end <= s->first)
            return tn_eim_fail(lex->err, &at, -EINVAL, REASON,
                               "[%llu .. %llu] names nothing: the end is not part of a range",
                               (unsigned long long)s->first, (unsigned long long)s->end);
        return tn_lex_next(lex);
    }
    if (lex->tok.kind == TN_TOK_NAME)
        return tn_lex_path(lex, &s->length);
    return tn_lex_refuse(lex, "a number, or the field that has the length");
}

static int read_index(struct tn_lex *lex, struct tn_hop *s)
{
    int err = tn_lex_next(lex);

    if (err)
        return err;
    if (tn_lex_is(lex, "..")) {
        s->kind = TN_HOP_ALL;
        err = tn_lex_next(lex);
    } else if (lex->tok.kind == TN_TOK_NUMBER) {
        s->kind = TN_HOP_INDEX;
        s->first = lex->tok.number;
        err = tn_lex_next(lex);
        if (!err && tn_lex_is(lex, "..")) {
            s->kind = TN_HOP_RANGE;
            err = tn_lex_next(lex);
            if (!err)
                err = range_end(lex, s);
        }
    } else {
        return tn_lex_refuse(lex, "a number, \"..\" for all, or a range as in [0 .. n]");
    }
    return err ? err : tn_lex_expect(lex, "]", "after an index");
}

int tn_lex_path(struct tn_lex *lex, struct tn_path **ret)
{
    struct tn_path *p = tn_bag_alloc(lex->bag, sizeof(*p));
    int err = 0;

    if (!p)
        return -ENOMEM;
    if (++lex->depth > TN_LEX_DEPTH_MAX)
        return tn_lex_refuse(lex, "fewer brackets");
    p->at = tn_lex_at(lex);
    if (tn_lex_is(lex, "*")) {
        p->deref = true;
        err = tn_lex_next(lex);
    }
    if (!err)
        err = tn_lex_name(lex, "the name of an argument, a variable or a type", &p->root);
    while (!err && (tn_lex_is(lex, ".") || tn_lex_is(lex, "->") || tn_lex_is(lex, "["))) {
        struct tn_hop *s = TN_BAG_PUSH(lex->bag, p->step, p->n);

        if (!s)
            return -ENOMEM;
        s->at = tn_lex_at(lex);
        if (tn_lex_is(lex, "[")) {
            err = read_index(lex, s);
            continue;
        }
        s->kind = tn_lex_is(lex, ".") ? TN_HOP_FIELD : TN_HOP_ARROW;
        err = tn_lex_next(lex);
        s->at = tn_lex_at(lex);
        if (!err)
            err = tn_lex_name(lex, "the name of a field", &s->name);
    }
    lex->depth--;
    if (!err)
        *ret = p;
    return err;
}

static const char *step_text(struct tn_bag *bag, const struct tn_hop *s)
{
    switch (s->kind) {
    case TN_HOP_FIELD:
        return tn_bag_printf(bag, ".%s", s->name);
    case TN_HOP_ARROW:
        return tn_bag_printf(bag, "->%s", s->name);
    case TN_HOP_INDEX:
        return tn_bag_printf(bag, "[%llu]", (unsigned long long)s->first);
    case TN_HOP_ALL:
        return "[..]";
    default:
        break;
    }
    if (s->length) {
        const char *length = tn_path_text(bag, s->length);

        return length ? tn_bag_printf(bag, "[%llu .. %s]", (unsigned long long)s->first, length) : NULL;
    }
    return tn_bag_printf(bag, "[%llu .. %llu]", (unsigned long long)s->first, (unsigned long long)s->end);
}

const char *tn_path_text(struct tn_bag *bag, const struct tn_path *p)
{
    const char *text = tn_bag_printf(bag, "%s%s", p->deref ? "*" : "", p->root);

    for (u32 k = 0; text && k < p->n; k++) {
        const char *step = step_text(bag, &p->step[k]);

        text = step ? tn_bag_printf(bag, "%s%s", text, step) : NULL;
    }
    return text;
}

int tn_lang_path(struct tn_bag *bag, const struct tn_node *text, struct tn_path **ret, struct tn_error *err)
{
    struct tn_path *p = NULL;
    struct tn_lex lex;
    int code = tn_lex_start(&lex, bag, text, "path", err);

    if (!code)
        code = tn_lex_path(&lex, &p);
    if (!code)
        code = tn_lex_end(&lex);
    if (!code)
        *ret = p;
    return code;
}
