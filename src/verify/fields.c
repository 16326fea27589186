/* SPDX-License-Identifier: MIT */
/*
 * Finding the special fields of a type; see fields.h.
 *
 *      struct value { int n; struct bpf_spin_lock lock; struct task_struct __kptr *owner[2]; }
 *           ─▶ {SPIN_LOCK at 4}, {KPTR_REF at 8}, {KPTR_REF at 16}
 *
 * Structs inside are looked into; fields in arrays count once an element, where their kind may occur more
 * than once. The type may come from anybody and be made to be expensive (two members of a type that has two
 * members of a type …): a budget of members ends the search.
 */
#include "verify/fields.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "btf/btf.h"

#define MAP_TYPE_CGRP_STORAGE 32 /* younger than the headers */

#define MAX_DEPTH   32u
#define MAX_MEMBERS 100000u

struct kind {
    const char *name;
    u32 size, align;
    bool alone;
    u8 home;
};
static const struct kind kinds[TN_FIELD_KINDS_COUNT] = {
#define F(kind, name, size, align, alone, home, no)                                                          \
    [TN_FIELD_##kind] = {name, size, align, alone, TN_HOME_##home},
    TN_FIELD_KINDS(F)
#undef F
};

/* Types of the host that a map may keep a reference to: it can give it back by itself. */
static const char *const keepable[] = {"task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx",
                                       "prog_test_ref_kfunc"};

const char *tn_field_name(enum tn_field_kind kind)
{
    return kinds[kind].name;
}

u32 tn_field_size(enum tn_field_kind kind)
{
    return kinds[kind].size;
}

/* ---------------------------------------------------------------------------------------------- searching */

struct search {
    const struct tn_btf *btf, *host;
    u32 mask, seen, members;
    struct tn_fields found;
};

static bool is_struct(u32 kind)
{
    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
}

static int add(struct search *s, struct tn_field field)
{
    if (s->found.n == TN_FIELDS_MAX)
        return -E2BIG;
    s->found.field[s->found.n++] = field;
    return 0;
}

static int keep_pointer(const struct search *s, struct tn_field *field)
{
    const struct btf_type *t = tn_btf_type(s->btf, field->type);
    const char *name = tn_btf_string(s->btf, t->name_off);
    u32 host = s->host ? tn_btf_find(s->host, tn_btf_kind(t), name) : 0;

    if (field->kind == TN_FIELD_UPTR) {
        s64 size = tn_btf_size(s->btf, field->type);

        field->size = size > 0 && size <= UINT32_MAX ? (u32)size : 0;
        return host ? -EINVAL : 0;
    }
    if (!host)
        return 0;
    field->type = host;
    field->host = true;
    if (field->kind != TN_FIELD_KPTR_REF)
        return 0;
    for (size_t k = 0; k < TN_ARRAY_SIZE(keepable); k++)
        if (!strcmp(name, keepable[k]))
            return 0;
    return -ENOENT;
}

/* *ret_is: a pointer with a tag that means something. */
static int find_pointer(const struct tn_btf *btf, u32 type, u32 offset, struct tn_field *ret, bool *ret_is)
{
    static const struct {
        const char *tag;
        u8 kind;
    } tags[] = {
        {"kptr_untrusted", TN_FIELD_KPTR_UNREF},
        {"kptr", TN_FIELD_KPTR_REF},
        {"percpu_kptr", TN_FIELD_KPTR_PERCPU},
        {"uptr", TN_FIELD_UPTR},
    };
    const struct btf_type *t = tn_btf_type(btf, type);
    const char *tag;

    *ret_is = false;
    if (t && tn_btf_kind(t) == BTF_KIND_VOLATILE)
        t = tn_btf_type(btf, t->type);
    if (!t || tn_btf_kind(t) != BTF_KIND_PTR)
        return 0;
    t = tn_btf_type(btf, t->type);
    if (!t || tn_btf_kind(t) != BTF_KIND_TYPE_TAG || BTF_INFO_KFLAG(t->info))
        return 0;
    if (tn_btf_kind_of(btf, t->type) == BTF_KIND_TYPE_TAG)
        return -EINVAL;
    tag = tn_btf_string(btf, t->name_off);
    for (size_t k = 0; k < TN_ARRAY_SIZE(tags); k++) {
        if (strcmp(tag, tags[k].tag))
            continue;
        *ret =
            (struct tn_field){.kind = tags[k].kind, .offset = offset, .type = tn_btf_resolve(btf, t->type)};
        if (!is_struct(tn_btf_kind_of(btf, ret->type)))
            return -EINVAL;
        *ret_is = true;
        return 0;
    }
    return -EINVAL;
}

/* "contains:TYPE:MEMBER", a tag on the root: what hangs there, and by which node. */
static int find_root(const struct search *s, u32 owner, s32 component, struct tn_field *field)
{
    const char *node_type =
        kinds[field->kind == TN_FIELD_LIST_HEAD ? TN_FIELD_LIST_NODE : TN_FIELD_RB_NODE].name;
    const char *value = NULL, *text, *colon;
    const struct btf_member *m;
    const struct btf_type *t;
    bool found = false;
    char name[256];

    for (u32 k = 0; (text = tn_btf_tag(s->btf, owner, component, k)); k++) {
        if (strncmp(text, "contains:", 9))
            continue;
        if (value)
            return -EINVAL;
        value = text + 9;
    }
    colon = value ? strchr(value, ':') : NULL;
    if (!colon || !colon[1] || (size_t)(colon - value) >= sizeof(name))
        return -EINVAL;
    memcpy(name, value, (size_t)(colon - value));
    name[colon - value] = 0;
    field->type = tn_btf_find(s->btf, BTF_KIND_STRUCT, name);
    if (!field->type)
        return -ENOENT;
    t = tn_btf_type(s->btf, field->type);
    m = tn_btf_members(t);
    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        u32 bit = tn_btf_member_bit(t, &m[k]);

        if (strcmp(tn_btf_string(s->btf, m[k].name_off), colon + 1))
            continue;
        if (found || !is_struct(tn_btf_kind_of(s->btf, m[k].type)) ||
            strcmp(tn_btf_name(s->btf, m[k].type), node_type) || bit % 64)
            return -EINVAL;
        field->node_offset = bit / 8;
        found = true;
    }
    return found ? 0 : -ENOENT;
}

/* The kind that a type's name says, COUNT: none. A pointer that is not a struct may be a kptr. */
static int kind_of(struct search *s, u32 type, u32 *ret)
{
    const char *name = tn_btf_name(s->btf, type);
    u32 pointers = TN_FIELD_KPTRS | TN_FIELD_BIT(UPTR);

    *ret = TN_FIELD_KINDS_COUNT;
    for (u32 k = 0; k < TN_FIELD_KINDS_COUNT; k++) {
        if (!(s->mask >> k & 1) || (pointers >> k & 1) || strcmp(name, kinds[k].name))
            continue;
        if (kinds[k].alone && (s->seen >> k & 1))
            return -E2BIG;
        s->seen |= 1u << k;
        *ret = k;
        return 0;
    }
    if ((s->mask & pointers) && !is_struct(tn_btf_kind_of(s->btf, type)))
        *ret = TN_FIELD_KPTR_REF;
    return 0;
}

static int repeat(struct search *s, u32 first, u32 times, u32 step)
{
    u32 n = s->found.n - first;

    for (u32 k = first; k < first + n; k++)
        if (kinds[s->found.field[k].kind].alone || (1u << s->found.field[k].kind & TN_FIELD_NODES))
            return -EINVAL;
    for (u32 i = 1; i < times; i++) {
        for (u32 k = 0; k < n; k++) {
            struct tn_field field = s->found.field[first + k];
            int err;

            field.offset += i * step;
            err = add(s, field);
            if (err)
                return err;
        }
    }
    return 0;
}

static int search_struct(struct search *s, u32 type, u32 base, u32 depth);

/* One member, or one variable of a section (`size`: of the variable, else 0). `owner`, `component`: where its
   tags are. */
static int search_one(struct search *s, u32 type, u32 owner, s32 component, u32 offset, u32 size, u32 depth)
{
    struct tn_field field = {.offset = offset};
    u32 kind, bytes, first = s->found.n, level;
    bool is = true;
    u64 times = 1;
    int err;

    for (level = 0; level < MAX_DEPTH && tn_btf_kind_of(s->btf, type) == BTF_KIND_ARRAY; level++) {
        const struct btf_array *a = tn_btf_array(tn_btf_type(s->btf, type));

        times = (u32)(times * a->nelems);
        type = a->type;
    }
    if (level == MAX_DEPTH)
        return -E2BIG;
    if (!times)
        return 0;
    err = kind_of(s, type, &kind);
    if (err)
        return err;
    if (kind == TN_FIELD_KINDS_COUNT) {
        if (!is_struct(tn_btf_kind_of(s->btf, type)))
            return 0;
        bytes = tn_btf_type(s->btf, type)->size;
        if (size && size != bytes * times)
            return 0;
        err = search_struct(s, type, offset, depth + 1);
        if (!err && times > 1 && s->found.n > first)
            err = repeat(s, first, (u32)TN_MIN(times, TN_FIELDS_MAX + 1ull), bytes);
        return err;
    }
    bytes = kinds[kind].size;
    if ((size && size != bytes * times) || offset % kinds[kind].align)
        return 0;
    field.kind = (u8)kind;
    if (TN_FIELD_BIT(KPTR_REF) == 1u << kind) {
        err = find_pointer(s->btf, type, offset, &field, &is);
    } else {
        const struct btf_type *t = tn_btf_type(s->btf, type);

        is = t && is_struct(tn_btf_kind(t)) && t->size == bytes;
        if (is && (1u << kind & TN_FIELD_ROOTS))
            err = find_root(s, owner, component, &field);
    }
    if (err || !is)
        return err;
    if (1u << field.kind & (TN_FIELD_KPTRS | TN_FIELD_BIT(UPTR)))
        err = s->mask >> field.kind & 1 ? keep_pointer(s, &field) : -EINVAL;
    if (!err)
        err = add(s, field);
    if (!err && times > 1)
        err = repeat(s, first, (u32)TN_MIN(times, TN_FIELDS_MAX + 1ull), bytes);
    return err;
}

static int search_struct(struct search *s, u32 type, u32 base, u32 depth)
{
    const struct btf_type *t = tn_btf_type(s->btf, type);
    const struct btf_member *m = tn_btf_members(t);

    if (depth >= MAX_DEPTH)
        return -E2BIG;
    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        u32 bit = tn_btf_member_bit(t, &m[k]);
        int err;

        if (s->members++ == MAX_MEMBERS)
            return -E2BIG;
        if (bit % 8) { /* a bitfield inside a byte is none of them */
            if (tn_btf_member_bits(t, &m[k]))
                continue;
            return -EINVAL;
        }
        err = search_one(s, m[k].type, type, (s32)k, base + bit / 8, 0, depth);
        if (err)
            return err;
    }
    return 0;
}

static int search_section(struct search *s, u32 type)
{
    const struct btf_type *t = tn_btf_type(s->btf, type);
    const struct btf_var_secinfo *vars = tn_btf_vars(t);

    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        const struct btf_type *var = tn_btf_type(s->btf, vars[k].type);
        int err;

        if (!var || tn_btf_kind(var) != BTF_KIND_VAR)
            continue;
        err = search_one(s, var->type, vars[k].type, -1, vars[k].offset, vars[k].size, 0);
        if (err)
            return err;
    }
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    u32 x = ((const struct tn_field *)a)->offset, y = ((const struct tn_field *)b)->offset;

    return x < y ? -1 : x > y;
}

int tn_fields_parse(const struct tn_btf *btf, u32 type, u32 mask, u32 size, const struct tn_btf *host,
                    struct tn_fields *ret)
{
    struct search s = {.btf = btf, .host = host, .mask = mask};
    struct tn_fields *f = &s.found;
    u64 end = 0;
    int err = 0;

    if (is_struct(tn_btf_kind_of(btf, type)))
        err = search_struct(&s, type, 0, 0);
    else if (tn_btf_kind_of(btf, type) == BTF_KIND_DATASEC)
        err = search_section(&s, type);
    if (err)
        return err;
    qsort(f->field, f->n, sizeof(f->field[0]), by_offset);
    for (u32 k = 0; k < f->n; k++) {
        u32 bytes = kinds[f->field[k].kind].size;

        if (f->field[k].offset < end)
            return -EEXIST;
        end = (u64)f->field[k].offset + bytes;
        if (end > size)
            return -EINVAL;
        f->mask |= 1u << f->field[k].kind;
    }
    if ((f->mask & TN_FIELD_ROOTS) && !(f->mask & (TN_FIELD_BIT(SPIN_LOCK) | TN_FIELD_BIT(RES_SPIN_LOCK))))
        return -EINVAL; /* nothing would guard it */
    if ((f->mask & TN_FIELD_BIT(SPIN_LOCK)) && (f->mask & TN_FIELD_BIT(RES_SPIN_LOCK)))
        return -EINVAL;
    if ((f->mask & TN_FIELD_NODES) == TN_FIELD_NODES && !(f->mask & TN_FIELD_BIT(REFCOUNT)))
        return -EINVAL; /* in a list and in a tree at once: it needs to count */
    *ret = *f;
    return 0;
}

/* The member's type is one of those that make a struct special by being in it. */
static bool makes_special(const struct tn_btf *btf, u32 type)
{
    const struct btf_type *t = tn_btf_type(btf, type);
    u32 kind = t ? tn_btf_kind(t) : BTF_KIND_UNKN;
    struct tn_field field;
    const char *name;
    bool is;

    if (kind == BTF_KIND_STRUCT) {
        name = tn_btf_string(btf, t->name_off);
        if (strncmp(name, "bpf_", 4)) /* as all of them begin */
            return false;
        for (u32 k = 0; k < TN_FIELD_KINDS_COUNT; k++)
            if (((TN_FIELDS_IN_OBJECT & ~TN_FIELD_KPTRS) >> k & 1) && !strcmp(name, kinds[k].name))
                return true;
        return false;
    }
    return (kind == BTF_KIND_PTR || kind == BTF_KIND_VOLATILE) && !find_pointer(btf, type, 0, &field, &is) &&
           is;
}

int tn_fields_of_object(const struct tn_btf *btf, u32 type, const struct tn_btf *host, struct tn_fields *ret)
{
    const struct btf_type *t = tn_btf_type(btf, type);
    const struct btf_member *m = tn_btf_members(t);
    bool special = false;
    int err;

    for (u32 k = 0; !special && k < tn_btf_vlen(t); k++)
        special = makes_special(btf, m[k].type);
    if (!special) {
        *ret = (struct tn_fields){0};
        return 0;
    }
    err = tn_fields_parse(btf, type, TN_FIELDS_IN_OBJECT, t->size, host, ret);
    return err ? err : ret->n ? 0 : -EFAULT;
}

/* ------------------------------------------------------------------------------------------------- asking */

static bool lives_in(enum tn_field_home home, u32 map_type)
{
    switch (map_type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_ARRAY:
        return home == TN_HOME_LOCK || home == TN_HOME_ASYNC || home == TN_HOME_KPTR || home == TN_HOME_GRAPH;
    case BPF_MAP_TYPE_LRU_HASH:
        return home == TN_HOME_ASYNC || home == TN_HOME_KPTR || home == TN_HOME_GRAPH;
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
        return home == TN_HOME_KPTR;
    case BPF_MAP_TYPE_CGROUP_STORAGE:
        return home == TN_HOME_LOCK;
    case BPF_MAP_TYPE_TASK_STORAGE:
        return home == TN_HOME_LOCK || home == TN_HOME_KPTR || home == TN_HOME_UPTR;
    case BPF_MAP_TYPE_SK_STORAGE:
    case BPF_MAP_TYPE_INODE_STORAGE:
    case MAP_TYPE_CGRP_STORAGE:
        return home == TN_HOME_LOCK || home == TN_HOME_KPTR;
    default:
        return false;
    }
}

int tn_fields_fit_map(const struct tn_fields *f, u32 map_type, bool restricted, enum tn_field_kind *ret_kind)
{
    for (u32 k = 0; k < f->n; k++) {
        enum tn_field_kind kind = f->field[k].kind;

        *ret_kind = kind;
        if (restricted)
            return -EACCES;
        if (!lives_in(kinds[kind].home, map_type))
            return -EOPNOTSUPP;
    }
    return 0;
}

const struct tn_field *tn_fields_at(const struct tn_fields *f, u32 offset, u32 mask)
{
    for (u32 k = 0; k < f->n; k++)
        if (f->field[k].offset == offset && (mask >> f->field[k].kind & 1))
            return &f->field[k];
    return NULL;
}

const struct tn_field *tn_fields_overlap(const struct tn_fields *f, s64 min, s64 end)
{
    for (u32 k = 0; k < f->n; k++)
        if (min < (s64)f->field[k].offset + kinds[f->field[k].kind].size && (s64)f->field[k].offset < end)
            return &f->field[k];
    return NULL;
}

const struct tn_field *tn_fields_only(const struct tn_fields *f, enum tn_field_kind kind)
{
    for (u32 k = 0; k < f->n; k++)
        if (f->field[k].kind == kind)
            return &f->field[k];
    return NULL;
}
