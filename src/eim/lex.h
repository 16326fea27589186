/* SPDX-License-Identifier: MIT */
/* Words of a text, one at a time, with the place of each. */
#ifndef TN_EIM_LEX_H
#define TN_EIM_LEX_H

#include "eim/lang.h"
#include "eim/tree.h"

enum tn_tok_kind { TN_TOK_END, TN_TOK_NAME, TN_TOK_NUMBER, TN_TOK_MARK };
struct tn_tok {
    enum tn_tok_kind kind;
    char mark[4];     /* MARK: "->", "[", "<=" … */
    const char *name; /* NAME */
    u64 number;       /* NUMBER */
    u32 pos;          /* byte of the text */
};
struct tn_lex {
    struct tn_bag *bag;
    const struct tn_node *text;
    struct tn_error *err;
    const char *what; /* "capability", "constraint", "prototype": for messages */
    u32 next;         /* byte after `tok` */
    u32 depth;
    struct tn_tok tok; /* the word that is looked at */
};
#define TN_LEX_DEPTH_MAX  32u
#define TN_LEX_LENGTH_MAX 1024u

int tn_lex_start(struct tn_lex *lex, struct tn_bag *bag, const struct tn_node *text, const char *what,
                 struct tn_error *err);
int tn_lex_next(struct tn_lex *lex);
struct tn_eim_at tn_lex_at(const struct tn_lex *lex);
bool tn_lex_is(const struct tn_lex *lex, const char *mark);
bool tn_lex_word(const struct tn_lex *lex, const char *name);
/* Goes on past the mark, or refuses what stands there instead. */
int tn_lex_expect(struct tn_lex *lex, const char *mark, const char *why);
int tn_lex_name(struct tn_lex *lex, const char *why, const char **ret);
/* "expected …, not …" at the word that is looked at. */
int tn_lex_refuse(const struct tn_lex *lex, const char *expected);
int tn_lex_end(const struct tn_lex *lex);
int tn_lex_path(struct tn_lex *lex, struct tn_path **ret);

#endif
