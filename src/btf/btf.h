/* SPDX-License-Identifier: MIT */
/*
 * Type information (BTF), read by somebody who trusts nobody.
 *
 *      raw bytes ──tn_btf_open──▶ checked view: every type, member, parameter and name in bounds, every id
 *                                 there, no cycle that a size or a resolution could run round in
 *      base (vmlinux, the host) ◀── split: ids and strings go on where the base ends
 *
 * After opening, queries do no checks of their own and allocate nothing. A view is immutable: many may read
 * it. Format: Linux Documentation/bpf/btf.rst.
 */
#ifndef TN_BTF_H
#define TN_BTF_H

#include <linux/btf.h>

#include "base/base.h"

struct tn_btf;

#define TN_BTF_SIZE_MAX (16u << 20)

/* Copies `data`. `base` (NULL: none) is borrowed and must live longer. Errors: −EINVAL with `err` filled
   (type id and what is wrong in it, in the words of Linux's log where tests match those), −E2BIG, −ENOMEM. */
int tn_btf_open(const void *data, u64 size, const struct tn_btf *base, struct tn_btf **ret,
                struct tn_error *err);
void tn_btf_close(struct tn_btf *btf);

/* The same bytes over the same base: an id of one is that of the other. */
bool tn_btf_same(const struct tn_btf *a, const struct tn_btf *b);

/* Ids are 1 … count−1; base's included. */
u32 tn_btf_count(const struct tn_btf *btf);
/* NULL for an id that is not there; id 0 is void. What follows the type
   in memory (members, params …) is there. */
const struct btf_type *tn_btf_type(const struct tn_btf *btf, u32 id);
/* "" for offset 0 and for what is not there. */
const char *tn_btf_string(const struct tn_btf *btf, u32 off);
/* The offset is one of a string. */
bool tn_btf_string_ok(const struct tn_btf *btf, u32 off);
const char *tn_btf_name(const struct tn_btf *btf, u32 id);
/* The lowest id of a type of that kind (BTF_KIND_…) and name; 0: none. By hash. */
u32 tn_btf_find(const struct tn_btf *btf, u32 kind, const char *name);

static inline u32 tn_btf_kind(const struct btf_type *t)
{
    return BTF_INFO_KIND(t->info);
}
static inline u32 tn_btf_vlen(const struct btf_type *t)
{
    return BTF_INFO_VLEN(t->info);
}
/* BTF_KIND_… of an id; BTF_KIND_UNKN for void and for what is not there. */
static inline u32 tn_btf_kind_of(const struct tn_btf *btf, u32 id)
{
    const struct btf_type *t = tn_btf_type(btf, id);

    return t ? tn_btf_kind(t) : BTF_KIND_UNKN;
}
const char *tn_btf_kind_name(u32 kind);

/* What follows a type: vlen of them. */
static inline const struct btf_member *tn_btf_members(const struct btf_type *t)
{
    return (const struct btf_member *)(t + 1);
}
static inline const struct btf_param *tn_btf_params(const struct btf_type *t)
{
    return (const struct btf_param *)(t + 1);
}
static inline const struct btf_var_secinfo *tn_btf_vars(const struct btf_type *t)
{
    return (const struct btf_var_secinfo *)(t + 1);
}
static inline const struct btf_array *tn_btf_array(const struct btf_type *t)
{
    return (const struct btf_array *)(t + 1);
}
static inline u32 tn_btf_int_data(const struct btf_type *t)
{
    return *(const u32 *)(t + 1);
}
static inline s32 tn_btf_tag_component(const struct btf_type *t)
{
    return ((const struct btf_decl_tag *)(t + 1))->component_idx;
}
/* In bits from the start of the struct; and the width of a bitfield, 0 where the member is none. */
static inline u32 tn_btf_member_bit(const struct btf_type *t, const struct btf_member *m)
{
    return BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BIT_OFFSET(m->offset) : m->offset;
}
static inline u32 tn_btf_member_bits(const struct btf_type *t, const struct btf_member *m)
{
    return BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BITFIELD_SIZE(m->offset) : 0;
}

/* Past typedefs, const, volatile, restrict, type tags. 0 for void. */
u32 tn_btf_resolve(const struct tn_btf *btf, u32 id);
/* Bytes; −1 for what has no size (void, functions, forward declarations). */
s64 tn_btf_size(const struct tn_btf *btf, u32 id);
/* The k-th declaration tag on a type (component −1) or on its member or parameter: its text, or NULL past the
   last. Attributes of other kinds, which share the encoding, are not counted. */
const char *tn_btf_tag(const struct tn_btf *btf, u32 id, s32 component, u32 k);

/* member.c: the first member, at any depth, that lies at `off` of the type and is of the sort; members of a
   union are tried one after the other. `size`: of a number, or of one element behind a pointer or in an array. */
enum tn_btf_sort { TN_BTF_POINTER, TN_BTF_ARRAY, TN_BTF_UNSIGNED, TN_BTF_SIGNED };
struct tn_btf_member_at {
    u32 type;       /* resolved */
    u32 nelems;     /* of an array; 0: it does not say */
    bool in_union;  /* … with others, somewhere on the way */
    char path[256]; /* ".uri.data", ".header[2].value.len"; "": the type itself */
};
bool tn_btf_member_of(const struct tn_btf *btf, u32 type, u64 off, enum tn_btf_sort sort, u64 size,
                      struct tn_btf_member_at *ret);

#endif
