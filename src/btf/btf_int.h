/* SPDX-License-Identifier: MIT */
/*
 * The view's inside, shared by its two files:
 *
 *      btf.c     bytes → an index of types, each whole by itself; names; queries
 *      check.c   what types say of each other: ids, cycles, sizes, members that fit
 */
#ifndef TN_BTF_INT_H
#define TN_BTF_INT_H

#include "btf/btf.h"
#include "btf/kinds.h"

enum {
    TN_BTF_NOTHING = 0,
    TN_BTF_COUNTED = 1,
    TN_BTF_KFLAG = 2,
    TN_BTF_REF = 4,
    TN_BTF_VOIDLESS = 8,
    TN_BTF_MODIFIER = 16,
    TN_BTF_SIZED = 32
};
enum tn_btf_naming {
    TN_BTF_NAME_ANY,
    TN_BTF_NAME_NONE,
    TN_BTF_NAME_TEXT,
    TN_BTF_NAME_IDENT,
    TN_BTF_NAME_OPT,
    TN_BTF_NAME_SECTION
};
struct tn_btf_row {
    const char *name; /* NULL: no such kind */
    u8 fixed, each, flags, naming;
};
#define TN_BTF_NKINDS 32u /* what five bits can say */
extern const struct tn_btf_row tn_btf_rows[TN_BTF_NKINDS];

/* Own things are numbered from 0; an id is first + number, a string offset str_first + offset. */
struct tn_btf {
    const struct tn_btf *base;
    u32 first, n;
    u32 str_first, str_len;
    u8 *types; /* then the strings: one allocation */
    const char *strings;
    u32 types_len;
    u32 *off;           /* n: where a type begins in types */
    u32 *to;            /* n: of a modifier, the id of the type it ends at; of an array, its bytes. Then: */
    u32 *next, *bucket; /* n, mask + 1: named types of one hash, lowest id first; number + 1, 0 ends */
    u32 mask;
    u32 *tag; /* ntags: numbers of declaration tags, by (target, component, number) */
    u32 ntags;
};

static inline const struct btf_type *tn_btf_own(const struct tn_btf *b, u32 k)
{
    return (const struct btf_type *)(b->types + b->off[k]);
}
static inline bool tn_btf_is_modifier(u32 kind)
{
    return tn_btf_rows[kind].flags & TN_BTF_MODIFIER;
}

bool tn_btf_identifier(const char *s);
/* "[7] STRUCT foo: Invalid member: …"; returns −EINVAL. `says` is what Linux's log says there. */
int tn_btf_fault(const struct tn_btf *b, struct tn_error *err, u32 k, const char *says, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
int tn_btf_check(struct tn_btf *b, struct tn_error *err);

#endif
