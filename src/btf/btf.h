/* SPDX-License-Identifier: MIT */
/*
 * Type information (BTF), read by somebody who trusts nobody.
 *
 *      raw bytes ──tn_btf_open──▶ checked view: every type, member, parameter and name in bounds, every id
 * there, no cycle that a size or a resolution could run round in base (vmlinux, the host) ◀── split: ids and
 * strings go on where the base ends
 *
 * After opening, queries do no checks of their own and allocate nothing. A view is immutable: many may read
 * it. Format: Linux Documentation/bpf/btf.rst.
 */
#ifndef TN_BTF_H
#define TN_BTF_H

#include <linux/btf.h>

#include "base/base.h"

struct tn_btf;

/* Copies `data`. `base` (NULL: none) is borrowed and must live longer. Errors: −EINVAL with `err` filled
   (type id and what is wrong in it, in the words of Linux's log where tests match those), −E2BIG, −ENOMEM. */
int tn_btf_open(const void *data, u64 size, const struct tn_btf *base, struct tn_btf **ret,
                struct tn_error *err);
void tn_btf_close(struct tn_btf *btf);

/* Ids are 1 … count−1; base's included. */
u32 tn_btf_count(const struct tn_btf *btf);
/* NULL for an id that is not there; id 0 is void. What follows the type in memory (members, params …) is
 * there. */
const struct btf_type *tn_btf_type(const struct tn_btf *btf, u32 id);
/* "" for offset 0 and for what is not there. */
const char *tn_btf_string(const struct tn_btf *btf, u32 off);
const char *tn_btf_name(const struct tn_btf *btf, u32 id);
/* The id of the type of that kind (BTF_KIND_…) and name; 0: none. Logarithmic. */
u32 tn_btf_find(const struct tn_btf *btf, u32 kind, const char *name);

static inline u32 tn_btf_kind(const struct btf_type *t)
{
    return BTF_INFO_KIND(t->info);
}
static inline u32 tn_btf_vlen(const struct btf_type *t)
{
    return BTF_INFO_VLEN(t->info);
}

/* Past typedefs, const, volatile, restrict, type tags. 0 for void. */
u32 tn_btf_resolve(const struct tn_btf *btf, u32 id);
/* Bytes; −1 for what has no size (void, functions, forward declarations). */
s64 tn_btf_size(const struct tn_btf *btf, u32 id);
/* The k-th declaration tag on a type (component −1) or on its member or parameter: its text, or NULL past the
 * last. */
const char *tn_btf_tag(const struct tn_btf *btf, u32 id, s32 component, u32 k);

#endif
