/* SPDX-License-Identifier: MIT */
/* The texts under `allowed` and `operation`: one function a form of lang.h. */
#include <errno.h>

#include "eim/lex.h"

#define REASON "spec_expression"

const char *const tn_cap_forms[TN_CAP_COUNT] = {
#define C(kind, form, ...) form,
    TN_CAPS(C)
#undef C
};

/* U(name, bytes) */
#define UNITS(U)                                                                                             \
    U("KiB", 1ull << 10)                                                                                     \
    U("MiB", 1ull << 20)                                                                                     \
    U("GiB", 1ull << 30)

static int unit(struct tn_lex *lex, u64 *value)
{
    static const struct {
        const char *name;
        u64 bytes;
    } units[] = {
#define U(name, bytes) {name, bytes},
        UNITS(U)
#undef U
    };
    struct tn_eim_at at = tn_lex_at(lex);

    if (lex->tok.kind != TN_TOK_NAME)
        return 0;
    for (size_t k = 0; k < TN_ARRAY_SIZE(units); k++) {
        if (!tn_lex_word(lex, units[k].name))
            continue;
        if (__builtin_mul_overflow(*value, units[k].bytes, value))
            return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "the number is too large");
        return tn_lex_next(lex);
    }
    return tn_lex_refuse(lex, "KiB, MiB or GiB, or nothing for bytes");
}

static int limit(struct tn_lex *lex, struct tn_cap *cap)
{
    bool below = tn_lex_is(lex, "<");
    struct tn_eim_at at;
    int err;

    if (!below && !tn_lex_is(lex, "<="))
        return tn_lex_refuse(lex, "\"<\" and a limit");
    err = tn_lex_next(lex);
    if (err)
        return err;
    if (tn_lex_word(lex, "inf")) {
        cap->limit = TN_NO_LIMIT;
        return tn_lex_next(lex);
    }
    if (lex->tok.kind != TN_TOK_NUMBER)
        return tn_lex_refuse(lex, "a number or inf");
    at = tn_lex_at(lex);
    cap->limit = lex->tok.number;
    err = tn_lex_next(lex);
    if (!err && cap->kind == TN_CAP_MEMORY)
        err = unit(lex, &cap->limit);
    if (!err && (cap->limit == TN_NO_LIMIT || (below && !cap->limit)))
        return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "nothing is less than that: expected 1 or more");
    cap->limit -= below;
    return err;
}

static int read_access(struct tn_lex *lex, struct tn_cap *cap)
{
    bool write = cap->kind == TN_CAP_WRITE;
    int err = tn_lex_expect(lex, "(", "and what it is of, as in read(r->uri.len)");

    if (!err)
        err = tn_lex_path(lex, &cap->path);
    if (!err)
        err = tn_lex_expect(lex, ")", "after the path");
    if (err)
        return err;
    if (!cap->path->n && !cap->path->deref && !strcmp(cap->path->root, "process"))
        cap->kind = write ? TN_CAP_WRITE_PROCESS : TN_CAP_READ_PROCESS;
    if (!cap->path->n && !cap->path->deref && !strcmp(cap->path->root, "arguments"))
        cap->kind = write ? TN_CAP_WRITE_ARGS : TN_CAP_READ_ARGS;
    if (cap->kind != TN_CAP_READ && cap->kind != TN_CAP_WRITE)
        cap->path = NULL;
    return 0;
}

static int group(struct tn_lex *lex, struct tn_cap *cap)
{
    int err = tn_lex_expect(lex, "(", "and a group of helpers");

    if (!err)
        err = tn_lex_name(lex, "a group of helpers", &cap->name);
    return err ? err : tn_lex_expect(lex, ")", "after the group");
}

/* Words with a meaning; what each is followed by. W(word, KIND, function or NULL) */
#define WORDS(W)                                                                                             \
    W("instructions", INSTRUCTIONS, limit)                                                                   \
    W("memory", MEMORY, limit)                                                                               \
    W("read", READ, read_access)                                                                             \
    W("write", WRITE, read_access)                                                                           \
    W("helpers", HELPERS, group)                                                                             \
    W("replace", REPLACE, NULL)                                                                              \
    W("IO", IO, NULL)

static const struct {
    const char *word;
    enum tn_cap_kind kind;
    int (*rest)(struct tn_lex *lex, struct tn_cap *cap);
} words[] = {
#define W(word, kind, rest) {word, TN_CAP_##kind, rest},
    WORDS(W)
#undef W
};

static int starts_otherwise(const struct tn_lex *lex, const char *word)
{
    struct tn_nearest near = tn_nearest_to(word);
    char hint[TN_NEAREST_TEXT];
    struct tn_eim_at at = lex->text->at;

    at = tn_node_at(lex->text, 0);
    for (size_t k = 0; k < TN_ARRAY_SIZE(words); k++)
        if (words[k].rest)
            tn_nearest_offer(&near, words[k].word);
    return tn_eim_fail(lex->err, &at, -EINVAL, REASON, "no capability begins with \"%.64s\"%s", word,
                       tn_nearest_text(&near, hint));
}

int tn_lang_capability(struct tn_bag *bag, const struct tn_node *text, struct tn_cap *ret,
                       struct tn_error *err)
{
    struct tn_cap cap = {.kind = TN_CAP_NAMED, .at = tn_node_at(text, 0), .text = text->text};
    struct tn_lex lex;
    bool known = false;
    int code = tn_lex_start(&lex, bag, text, "capability", err);

    if (!code)
        code = tn_lex_name(&lex, "a capability, as in read(r->uri.len), instructions < 1000 or a name",
                           &cap.name);
    if (code)
        return code;
    for (size_t k = 0; k < TN_ARRAY_SIZE(words) && !known; k++) {
        if (strcmp(words[k].word, cap.name) != 0)
            continue;
        known = true;
        cap.kind = words[k].kind;
        code = words[k].rest ? words[k].rest(&lex, &cap) : 0;
    }
    if (!code && !known && lex.tok.kind != TN_TOK_END)
        code = starts_otherwise(&lex, cap.name);
    if (!code)
        code = tn_lex_end(&lex);
    if (!code)
        *ret = cap;
    return code;
}

static const char *limit_text(struct tn_bag *bag, const struct tn_cap *cap)
{
    static const char *const names[] = {"", " KiB", " MiB", " GiB"};
    const char *word = cap->kind == TN_CAP_MEMORY ? "memory" : "instructions";
    u64 below = cap->limit + 1;
    u32 unit = 0;

    if (cap->limit == TN_NO_LIMIT)
        return tn_bag_printf(bag, "%s < inf", word);
    while (cap->kind == TN_CAP_MEMORY && unit < 3 && below % 1024 == 0) {
        below /= 1024;
        unit++;
    }
    return tn_bag_printf(bag, "%s < %llu%s", word, (unsigned long long)below, names[unit]);
}

const char *tn_cap_text(struct tn_bag *bag, const struct tn_cap *cap)
{
    const char *path;

    switch (cap->kind) {
    case TN_CAP_INSTRUCTIONS:
    case TN_CAP_MEMORY:
        return limit_text(bag, cap);
    case TN_CAP_READ:
    case TN_CAP_WRITE:
        path = tn_path_text(bag, cap->path);
        return path ? tn_bag_printf(bag, "%s(%s)", cap->kind == TN_CAP_READ ? "read" : "write", path) : NULL;
    case TN_CAP_HELPERS:
        return tn_bag_printf(bag, "helpers(%s)", cap->name);
    case TN_CAP_NAMED:
        return cap->name;
    default:
        return tn_cap_forms[cap->kind];
    }
}
