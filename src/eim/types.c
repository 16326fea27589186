/* SPDX-License-Identifier: MIT */
/* Types of C, as prototypes write them, found in the host's BTF. */
#include <errno.h>

#include "btf/value.h"
#include "eim/bind.h"

#define NAME "spec_type"

bool tn_is_composite(const struct tn_btf *btf, u32 id)
{
    u32 kind = tn_btf_kind_of(btf, id);

    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
}

struct tn_vtype tn_vtype_of(const struct tn_btf *btf, u32 id)
{
    struct tn_vtype v = {.id = tn_btf_resolve(btf, id)};
    const struct btf_type *t = tn_btf_type(btf, v.id);

    while (t && tn_btf_kind(t) == BTF_KIND_PTR && v.pointers < UINT8_MAX) {
        v.pointers++;
        v.id = tn_btf_resolve(btf, t->type);
        t = tn_btf_type(btf, v.id);
    }
    if (!t)
        return v;
    switch (tn_btf_kind(t)) {
    case BTF_KIND_INT:
        v.is_signed = BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_SIGNED;
        break;
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        v.is_signed = BTF_INFO_KFLAG(t->info);
        break;
    case BTF_KIND_FLOAT:
        v.real = v.is_signed = true;
        break;
    default:
        return v;
    }
    v.number = true;
    v.size = (u8)TN_MIN(t->size, 16u);
    return v;
}

u32 tn_param_at(const struct tn_btf *btf, u32 func, u32 word)
{
    const struct btf_type *f = tn_btf_type(btf, func), *proto = f ? tn_btf_type(btf, f->type) : NULL;

    return proto ? TN_MIN(tn_btf_argument_at(btf, proto, word, NULL), tn_btf_vlen(proto)) : 0;
}

bool tn_vtype_by_address(const struct tn_btf *btf, const struct tn_vtype *t, bool result)
{
    struct tn_value v;

    return !t->pointers && tn_is_composite(btf, t->id) && !tn_btf_value(btf, t->id, &v) &&
           tn_value_by_address(&v, result);
}

bool tn_vtype_is_handle(const struct tn_btf *btf, const struct tn_vtype *t, bool result)
{
    return (t->pointers == 1 && tn_is_composite(btf, t->id)) || tn_vtype_by_address(btf, t, result);
}

/* Numbers that every C host has and whose typedefs its own types may lack. N(name, bytes, signed) */
// clang-format off
#define NUMBERS(N)                                                                                           \
    N(size_t, 8, 0) N(ssize_t, 8, 1) N(ptrdiff_t, 8, 1) N(intptr_t, 8, 1) N(uintptr_t, 8, 0)                 \
    N(int8_t, 1, 1) N(int16_t, 2, 1) N(int32_t, 4, 1) N(int64_t, 8, 1)                                       \
    N(uint8_t, 1, 0) N(uint16_t, 2, 0) N(uint32_t, 4, 0) N(uint64_t, 8, 0)                                   \
    N(time_t, 8, 1) N(off_t, 8, 1) N(pid_t, 4, 1) N(uid_t, 4, 0) N(gid_t, 4, 0) N(mode_t, 4, 0)
// clang-format on

static bool standard_number(const char *name, struct tn_vtype *ret)
{
    static const struct {
        const char *name;
        u8 size;
        bool is_signed;
    } rows[] = {
#define N(name, size, is_signed) {#name, size, is_signed},
        NUMBERS(N)
#undef N
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        if (strcmp(rows[k].name, name) != 0)
            continue;
        *ret = (struct tn_vtype){.size = rows[k].size, .is_signed = rows[k].is_signed, .number = true};
        return true;
    }
    return false;
}

void tn_offer_names(const struct tn_btf *btf, u32 kind, struct tn_nearest *near)
{
    for (u32 id = 1; id < tn_btf_count(btf); id++) {
        u32 k = tn_btf_kind_of(btf, id);
        bool type = k == BTF_KIND_TYPEDEF || k == BTF_KIND_STRUCT || k == BTF_KIND_UNION;

        if (kind ? k == kind : type)
            tn_nearest_offer(near, tn_btf_name(btf, id));
    }
}

static int no_type(const struct tn_scope *s, const struct tn_ctype *t, u32 kind, const char *word)
{
    struct tn_nearest near = tn_nearest_to(t->name);
    char hint[TN_NEAREST_TEXT];

    if (kind == BTF_KIND_TYPEDEF) {
        static const struct {
            u32 kind;
            const char *word;
        } tagged[] = {{BTF_KIND_STRUCT, "struct"}, {BTF_KIND_UNION, "union"}, {BTF_KIND_ENUM, "enum"}};

        for (size_t k = 0; k < TN_ARRAY_SIZE(tagged); k++)
            if (tn_btf_find(s->btf, tagged[k].kind, t->name))
                return tn_eim_fail(s->err, &t->at, -EINVAL, NAME,
                                   "the host has no type \"%.64s\"; did you mean \"%s %.64s\"?", t->name,
                                   tagged[k].word, t->name);
    }
    tn_offer_names(s->btf, kind, &near);
    return tn_eim_fail(s->err, &t->at, -EINVAL, NAME, "the host has no type \"%s%.64s\"%s", word, t->name,
                       tn_nearest_text(&near, hint));
}

int tn_ctype_find(const struct tn_scope *s, const struct tn_ctype *t, u32 *ret_id, struct tn_vtype *ret)
{
    static const struct {
        u32 kind;
        const char *word;
    } tags[] = {[TN_CT_STRUCT] = {BTF_KIND_STRUCT, "struct "},
                [TN_CT_UNION] = {BTF_KIND_UNION, "union "},
                [TN_CT_ENUM] = {BTF_KIND_ENUM, "enum "},
                [TN_CT_TYPEDEF] = {BTF_KIND_TYPEDEF, ""}};
    struct tn_vtype v = {0};
    u32 id = 0;

    switch (t->kind) {
    case TN_CT_VOID:
    case TN_CT_FUNCTION:
        break;
    case TN_CT_NUMBER:
        v = (struct tn_vtype){.size = t->size, .is_signed = t->is_signed, .real = t->real, .number = true};
        break;
    default:
        id = tn_btf_find(s->btf, tags[t->kind].kind, t->name);
        if (!id && t->kind == TN_CT_ENUM)
            id = tn_btf_find(s->btf, BTF_KIND_ENUM64, t->name);
        if (!id && t->kind == TN_CT_STRUCT) /* declared and never defined: pointers to it may be passed on */
            id = tn_btf_find(s->btf, BTF_KIND_FWD, t->name);
        if (id)
            v = tn_vtype_of(s->btf, id);
        else if (t->kind != TN_CT_TYPEDEF || !standard_number(t->name, &v))
            return no_type(s, t, tags[t->kind].kind, tags[t->kind].word);
        break;
    }
    *ret_id = id;
    *ret = v;
    return 0;
}

bool tn_can_be_passed(const struct tn_btf *btf, u32 id)
{
    const u32 type = tn_btf_resolve(btf, id), kind = tn_btf_kind_of(btf, type);

    return !type || (kind != BTF_KIND_ARRAY && kind != BTF_KIND_FUNC_PROTO && tn_btf_size(btf, type) >= 0);
}

int tn_vtype_resolve(const struct tn_scope *s, const struct tn_ctype *t, struct tn_vtype *ret)
{
    struct tn_vtype v;
    u32 id = 0;
    int err = tn_ctype_find(s, t, &id, &v);

    if (err)
        return err;
    if (id && !t->pointers && !tn_can_be_passed(s->btf, id))
        return tn_eim_fail(s->err, &t->at, -EINVAL, NAME,
                           "\"%.64s\" has no size here, or is an array: what is passed is a pointer",
                           t->name);
    v.pointers = (u8)(v.pointers + t->pointers);
    *ret = v;
    return 0;
}

bool tn_vtype_same(const struct tn_vtype *a, const struct tn_vtype *b)
{
    if (a->pointers != b->pointers)
        return false;
    if (a->pointers && ((!a->id && !a->number) || (!b->id && !b->number))) /* void *: anything */
        return true;
    if (a->number != b->number)
        return false;
    if (a->number)
        return a->size == b->size && a->real == b->real;
    return a->id == b->id;
}

/* Its own name, or that of a typedef of it; "": it has none. */
static const char *name_of(const struct tn_btf *btf, u32 id)
{
    if (*tn_btf_name(btf, id) || !tn_is_composite(btf, id))
        return tn_btf_name(btf, id);
    for (u32 k = 1; k < tn_btf_count(btf); k++)
        if (tn_btf_kind_of(btf, k) == BTF_KIND_TYPEDEF && tn_btf_resolve(btf, k) == id)
            return tn_btf_name(btf, k);
    return "";
}

const char *tn_vtype_text(const struct tn_btf *btf, const struct tn_vtype *t, char buf[96])
{
    u32 kind = tn_btf_kind_of(btf, t->id);
    const char *word = kind == BTF_KIND_STRUCT  ? "struct "
                       : kind == BTF_KIND_UNION ? "union "
                       : kind == BTF_KIND_ENUM  ? "enum "
                                                : "";
    const char *name = name_of(btf, t->id);
    char number[32];

    snprintf(number, sizeof(number), "%s of %u bytes", t->real ? "floating number" : "number", t->size);
    if (!*name) {
        word = "";
        name = t->number                 ? number
               : kind == BTF_KIND_UNKN   ? "void"
               : kind == BTF_KIND_STRUCT ? "struct without a name"
               : kind == BTF_KIND_UNION  ? "union without a name"
               : kind == BTF_KIND_ARRAY  ? "array"
                                         : "type without a name";
    } else if (!*tn_btf_name(btf, t->id)) {
        word = ""; /* a typedef's */
    }
    snprintf(buf, 96, "%s%.60s%s%.*s", word, name, t->pointers ? " " : "",
             t->pointers > 4 ? 4 : (int)t->pointers, "****");
    return buf;
}
