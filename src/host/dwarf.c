/* SPDX-License-Identifier: MIT */
/*
 * From DIEs to types. Each unit's DIEs are walked once, in order; a reference to a type that was not met yet
 * is a node. Nothing is recursive but the nesting of DIEs, and that is bounded; a sibling that leads
 * backwards is ended by a budget: no more DIEs are looked at than the file has bytes.
 *
 * What C++ has and BTF has not: references are pointers, base classes members without a name, classes
 * structs; a template's instance has no name that C could say, so it is a struct without one. Namespaces are
 * passed through. `_Atomic` is dropped, a complex number is a struct of two.
 */
#include "host/found.h"

#include <errno.h>
#include <sys/stat.h>

#include "host/dwarf_int.h"

#define DEPTH_MAX 200u

/* -------------------------------------------------------------------------------------------- maps */

static bool map_grow(struct tn_die_map *map)
{
    u32 cap = map->cap ? map->cap * 2 : 1u << 14;
    u64 *key = calloc(cap, sizeof(*key));
    u32 *value = calloc(cap, sizeof(*value));

    if (!key || !value) {
        free(key);
        free(value);
        return false;
    }
    for (u32 i = 0; i < map->cap; i++) {
        u32 at;

        if (!map->key[i])
            continue;
        at = (u32)(map->key[i] * 0x9e3779b97f4a7c15u >> 32) & (cap - 1);
        while (key[at])
            at = (at + 1) & (cap - 1);
        key[at] = map->key[i];
        value[at] = map->value[i];
    }
    free(map->key);
    free(map->value);
    map->key = key;
    map->value = value;
    map->cap = cap;
    return true;
}

u32 *tn_die_map_at(struct tn_die_map *map, const void *addr)
{
    u64 key = (u64)(uintptr_t)addr;
    u32 at;

    if (map->n >= map->cap / 3 * 2 && !map_grow(map))
        return NULL;
    at = (u32)(key * 0x9e3779b97f4a7c15u >> 32) & (map->cap - 1);
    while (map->key[at] && map->key[at] != key)
        at = (at + 1) & (map->cap - 1);
    if (!map->key[at]) {
        map->key[at] = key;
        map->n++;
    }
    return &map->value[at];
}

void tn_die_map_clear(struct tn_die_map *map)
{
    free(map->key);
    free(map->value);
    *map = (struct tn_die_map){0};
}

/* -------------------------------------------------------------------------------------- attributes */

static int take(Dwarf_Attribute *attr, void *arg)
{
    struct tn_attrs *a = arg;
    u32 which;

    switch (dwarf_whatattr(attr)) {
#define A(name, at)                                                                                          \
    case DW_AT_##at:                                                                                         \
        which = TN_A_##name;                                                                                 \
        break;
        TN_DWARF_ATTRS(A)
#undef A
    default:
        return DWARF_CB_OK;
    }
    a->a[which] = *attr;
    a->have |= 1ull << which;
    return DWARF_CB_OK;
}

bool tn_dwarf_attrs(Dwarf_Die *die, struct tn_attrs *ret)
{
    ret->have = 0;
    return dwarf_getattrs(die, take, ret, 0) == 1;
}

const char *tn_dwarf_string(struct tn_attrs *a, enum tn_dwarf_attr which)
{
    const char *s = tn_has(a, which) ? dwarf_formstring(&a->a[which]) : NULL;

    return s ? s : "";
}

/* A constant; of a signed form its two's complement. Expressions and references are none. */
bool tn_dwarf_number(struct tn_attrs *a, enum tn_dwarf_attr which, u64 *ret)
{
    Dwarf_Word word;
    Dwarf_Sword sword;

    if (!tn_has(a, which))
        return false;
    switch (dwarf_whatform(&a->a[which])) {
    case DW_FORM_sdata:
    case DW_FORM_implicit_const:
        if (dwarf_formsdata(&a->a[which], &sword))
            return false;
        *ret = (u64)sword;
        return true;
    case DW_FORM_data1:
    case DW_FORM_data2:
    case DW_FORM_data4:
    case DW_FORM_data8:
    case DW_FORM_udata:
        if (dwarf_formudata(&a->a[which], &word))
            return false;
        *ret = word;
        return true;
    default:
        return false;
    }
}

bool tn_dwarf_flag(struct tn_attrs *a, enum tn_dwarf_attr which)
{
    bool flag = false;

    return tn_has(a, which) && !dwarf_formflag(&a->a[which], &flag) && flag;
}

int tn_dwarf_fail(struct tn_dwarf *d, int code)
{
    if (!d->error)
        d->error = code;
    return code;
}

bool tn_dwarf_tick(struct tn_dwarf *d)
{
    if (d->error || d->found->raw.error)
        return false;
    if (d->visited++ < d->budget)
        return true;
    tn_fail(d->err, -EBADMSG, "types_damaged", "its debug information leads back into itself");
    tn_dwarf_fail(d, -EBADMSG);
    return false;
}

u32 tn_dwarf_node_of(struct tn_dwarf *d, const Dwarf_Die *die)
{
    u32 *node = tn_die_map_at(&d->nodes, die->addr);

    if (!node) {
        tn_dwarf_fail(d, -ENOMEM);
        return 0;
    }
    if (!*node)
        *node = tn_raw_node(&d->found->raw);
    return *node;
}

u32 tn_dwarf_type_of(struct tn_dwarf *d, struct tn_attrs *a)
{
    Dwarf_Die die;

    if (!tn_has(a, TN_A_TYPE) || !dwarf_formref_die(&a->a[TN_A_TYPE], &die))
        return 0;
    return tn_dwarf_node_of(d, &die);
}

void tn_dwarf_push(struct tn_dwarf *d, u32 word)
{
    if (d->nscratch == d->cap_scratch) {
        u32 cap = d->cap_scratch ? d->cap_scratch * 2 : 4096;
        u32 *p = cap <= 1u << 26 ? reallocarray(d->scratch, cap, sizeof(*p)) : NULL;

        if (!p) {
            tn_dwarf_fail(d, -ENOMEM);
            return;
        }
        d->scratch = p;
        d->cap_scratch = cap;
    }
    d->scratch[d->nscratch++] = word;
}

/* --------------------------------------------------------------------------------- numbers and such */

static void make_base(struct tn_dwarf *d, u32 node, struct tn_attrs *a)
{
    struct tn_raw *raw = &d->found->raw;
    u64 bytes = 0, encoding = 0;
    u32 name = tn_raw_string(raw, tn_dwarf_string(a, TN_A_NAME)), as = 0;

    (void)tn_dwarf_number(a, TN_A_BYTE_SIZE, &bytes);
    (void)tn_dwarf_number(a, TN_A_ENCODING, &encoding);
    switch (encoding) {
    case DW_ATE_float:
        if (bytes == 2 || bytes == 4 || bytes == 8 || bytes == 12 || bytes == 16)
            tn_raw_begin(raw, node, name, tn_raw_info(BTF_KIND_FLOAT, 0, false), (u32)bytes);
        return;
    case DW_ATE_complex_float: {
        u32 part;

        if (bytes != 8 && bytes != 16 && bytes != 32)
            return;
        part = tn_raw_simple(raw, BTF_KIND_FLOAT,
                             tn_raw_string(raw, bytes == 8    ? "float"
                                                : bytes == 16 ? "double"
                                                              : "long double"),
                             (u32)bytes / 2);
        tn_raw_begin(raw, node, 0, tn_raw_info(BTF_KIND_STRUCT, 2, false), (u32)bytes);
        for (u32 i = 0; i < 2; i++) {
            tn_raw_word(raw, tn_raw_string(raw, i ? "imag" : "real"));
            tn_raw_word(raw, part);
            tn_raw_word(raw, i * (u32)bytes * 4);
        }
        return;
    }
    case DW_ATE_boolean:
        as = BTF_INT_BOOL;
        break;
    case DW_ATE_signed:
        as = BTF_INT_SIGNED;
        break;
    case DW_ATE_signed_char: /* plain char and signed char: both numbers with a sign, as Clang's BTF has it */
        as = BTF_INT_SIGNED;
        break;
    default:
        break;
    }
    if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8 && bytes != 16)
        return;
    tn_raw_begin(raw, node, name, tn_raw_info(BTF_KIND_INT, 0, false), (u32)bytes);
    tn_raw_word(raw, as << 24 | (u32)bytes * 8);
}

static void make_link(struct tn_dwarf *d, u32 node, u32 kind, u32 name, u32 to)
{
    tn_raw_begin(&d->found->raw, node, name, tn_raw_info(kind, 0, false), to);
}

static void make_typedef(struct tn_dwarf *d, u32 node, struct tn_attrs *a)
{
    u32 name = tn_raw_name(&d->found->raw, tn_dwarf_string(a, TN_A_NAME)), to = tn_dwarf_type_of(d, a);

    if (name)
        make_link(d, node, BTF_KIND_TYPEDEF, name, to);
    else
        tn_raw_alias(&d->found->raw, node, to);
}

/* One array type a dimension, the last one innermost. */
static void make_array(struct tn_dwarf *d, u32 node, Dwarf_Die *die, struct tn_attrs *a)
{
    struct tn_raw *raw = &d->found->raw;
    u32 elem = tn_dwarf_type_of(d, a), base = d->nscratch;
    struct tn_attrs dim;
    Dwarf_Die child;

    if (!dwarf_child(die, &child)) {
        do {
            u64 n = 0;

            if (!tn_dwarf_tick(d))
                return;
            if (dwarf_tag(&child) != DW_TAG_subrange_type || !tn_dwarf_attrs(&child, &dim))
                continue;
            if (tn_dwarf_number(&dim, TN_A_UPPER_BOUND, &n))
                n++; /* of the constant −1, which is how some say "none", this makes 0 */
            else
                (void)tn_dwarf_number(&dim, TN_A_COUNT, &n);
            tn_dwarf_push(d, n > UINT32_MAX ? 0 : (u32)n);
        } while (!dwarf_siblingof(&child, &child));
    }
    if (d->nscratch == base)
        tn_dwarf_push(d, 0);
    while (d->nscratch > base && !d->error) {
        u32 n = d->scratch[--d->nscratch], this = d->nscratch == base ? node : tn_raw_node(raw);

        if (raw->error)
            return;
        tn_raw_begin(raw, this, 0, tn_raw_info(BTF_KIND_ARRAY, 0, false), 0);
        tn_raw_word(raw, elem);
        tn_raw_word(raw, d->index_node);
        tn_raw_word(raw, n);
        elem = this;
    }
    d->nscratch = base;
}

/* ---------------------------------------------------------------------------------------- enumerations */

/* Whether the type under an enumeration has a sign; −1: it does not say. */
static int underlying_sign(struct tn_attrs *a)
{
    struct tn_attrs base;
    u64 encoding = 0;
    Dwarf_Die die;

    if (tn_dwarf_number(a, TN_A_ENCODING, &encoding))
        return encoding == DW_ATE_signed || encoding == DW_ATE_signed_char;
    if (!tn_has(a, TN_A_TYPE) || !dwarf_formref_die(&a->a[TN_A_TYPE], &die) || !tn_dwarf_attrs(&die, &base) ||
        !tn_dwarf_number(&base, TN_A_ENCODING, &encoding))
        return -1;
    return encoding == DW_ATE_signed || encoding == DW_ATE_signed_char;
}

static u64 extend(u64 value, u32 form, bool sign)
{
    if (!sign)
        return value;
    switch (form) {
    case DW_FORM_data1:
        return (u64)(s64)(s8)value;
    case DW_FORM_data2:
        return (u64)(s64)(s16)value;
    case DW_FORM_data4:
        return (u64)(s64)(s32)value;
    default:
        return value;
    }
}

static void make_enum(struct tn_dwarf *d, u32 node, Dwarf_Die *die, struct tn_attrs *a)
{
    struct tn_raw *raw = &d->found->raw;
    u32 name = tn_raw_name(raw, tn_dwarf_string(a, TN_A_NAME)), base = d->nscratch, n, kind;
    int sign = underlying_sign(a);
    struct tn_attrs e;
    u64 bytes = 0, value = 0;
    Dwarf_Die child;

    (void)tn_dwarf_number(a, TN_A_BYTE_SIZE, &bytes);
    if (bytes != 1 && bytes != 2 && bytes != 8)
        bytes = 4;
    if (!dwarf_child(die, &child)) {
        do {
            u32 label;

            if (!tn_dwarf_tick(d))
                return;
            if (dwarf_tag(&child) != DW_TAG_enumerator || !tn_dwarf_attrs(&child, &e) ||
                !tn_dwarf_number(&e, TN_A_CONST_VALUE, &value))
                continue;
            label = tn_raw_name(raw, tn_dwarf_string(&e, TN_A_NAME));
            if (!label)
                continue;
            value = extend(value, dwarf_whatform(&e.a[TN_A_CONST_VALUE]), sign > 0);
            if (sign < 0 && (s64)value < 0 && dwarf_whatform(&e.a[TN_A_CONST_VALUE]) != DW_FORM_data8)
                sign = 1;
            tn_dwarf_push(d, label);
            tn_dwarf_push(d, (u32)value);
            tn_dwarf_push(d, (u32)(value >> 32));
        } while (!dwarf_siblingof(&child, &child));
    }
    n = TN_MIN((d->nscratch - base) / 3, TN_RAW_VLEN);
    kind = bytes == 8 ? BTF_KIND_ENUM64 : BTF_KIND_ENUM;
    if (d->error)
        return;
    tn_raw_begin(raw, node, name, tn_raw_info(kind, n, sign > 0), (u32)bytes);
    for (u32 i = 0; i < n; i++) {
        tn_raw_word(raw, d->scratch[base + 3 * i]);
        tn_raw_word(raw, d->scratch[base + 3 * i + 1]);
        if (bytes == 8)
            tn_raw_word(raw, d->scratch[base + 3 * i + 2]);
    }
    d->nscratch = base;
}

/* ---------------------------------------------------------------------------------------- prototypes */

u32 tn_dwarf_params(struct tn_dwarf *d, Dwarf_Die *die, bool named, const void **addrs)
{
    u32 n = 0, base = d->nscratch;
    struct tn_attrs a;
    Dwarf_Die child;

    if (dwarf_child(die, &child))
        return 0;
    do {
        int tag = dwarf_tag(&child);
        char other[16];
        u32 name;

        if (!tn_dwarf_tick(d))
            break;
        if (tag != DW_TAG_formal_parameter && tag != DW_TAG_unspecified_parameters)
            continue;
        if (n >= TN_RAW_NPARAM || !tn_dwarf_attrs(&child, &a)) {
            n = TN_RAW_NPARAM + 1;
            break;
        }
        if (tag == DW_TAG_unspecified_parameters) {
            tn_dwarf_push(d, 0);
            tn_dwarf_push(d, TN_RAW_DOTS);
            n++;
            break; /* nothing comes behind them */
        }
        name = tn_raw_name(&d->found->raw, tn_dwarf_string(&a, TN_A_NAME));
        if (!name && named) {
            snprintf(other, sizeof(other), "arg%u", n + 1);
            name = tn_raw_string(&d->found->raw, other);
        }
        if (addrs)
            addrs[n] = child.addr;
        tn_dwarf_push(d, name);
        tn_dwarf_push(d, tn_dwarf_type_of(d, &a));
        n++;
    } while (!dwarf_siblingof(&child, &child));
    if (n > TN_RAW_NPARAM)
        d->nscratch = base;
    return n;
}

void tn_dwarf_proto(struct tn_dwarf *d, u32 node, u32 result, u32 n)
{
    struct tn_raw *raw = &d->found->raw;

    if (d->error || raw->error)
        return;
    tn_raw_begin(raw, node, 0, tn_raw_info(BTF_KIND_FUNC_PROTO, n, false), result);
    for (u32 i = d->nscratch - 2 * n; i < d->nscratch; i++)
        tn_raw_word(raw, d->scratch[i]);
    d->nscratch -= 2 * n;
}

static void make_proto(struct tn_dwarf *d, u32 node, Dwarf_Die *die, struct tn_attrs *a)
{
    u32 result = tn_dwarf_type_of(d, a), n = tn_dwarf_params(d, die, false, NULL);

    if (n <= TN_RAW_NPARAM)
        tn_dwarf_proto(d, node, result, n);
}

/* ------------------------------------------------------------------------------------------- structs */

static void visit(struct tn_dwarf *d, Dwarf_Die *die, u32 depth);

/* Bits from the start of the struct, in all the ways that DWARF has had. False: not a constant. */
static bool member_place(struct tn_attrs *m, bool is_union, u64 *ret_bit, u64 *ret_width)
{
    u64 bytes = 0, bit = 0, width = 0, old, storage;

    if (tn_has(m, TN_A_MEMBER_LOCATION) && !tn_dwarf_number(m, TN_A_MEMBER_LOCATION, &bytes)) {
        Dwarf_Block block;

        /* DWARF 2 had an expression: DW_OP_plus_uconst n. */
        if (dwarf_formblock(&m->a[TN_A_MEMBER_LOCATION], &block) || block.length < 2 || block.length > 6 ||
            block.data[0] != DW_OP_plus_uconst)
            return false;
        for (u32 i = 1; i < block.length; i++)
            bytes |= (u64)(block.data[i] & 127) << 7 * (i - 1);
    }
    if (bytes > UINT32_MAX / 8)
        return false;
    bit = bytes * 8;
    if (tn_dwarf_number(m, TN_A_BIT_SIZE, &width)) {
        if (!width || width > 128)
            return false;
        if (tn_dwarf_number(m, TN_A_DATA_BIT_OFFSET, &old))
            bit = old;
        else if (tn_dwarf_number(m, TN_A_BIT_OFFSET, &old) && tn_dwarf_number(m, TN_A_BYTE_SIZE, &storage) &&
                 storage <= 16)
            bit += storage * 8 - old - width; /* counted from the most significant bit of the storage */
    }
    *ret_bit = is_union ? 0 : bit;
    *ret_width = width;
    return bit <= UINT32_MAX;
}

static void read_members(struct tn_dwarf *d, Dwarf_Die *die, bool is_union, bool *ret_bitfields, u32 depth)
{
    struct tn_attrs m;
    Dwarf_Die child;

    if (dwarf_child(die, &child))
        return;
    do {
        int tag = dwarf_tag(&child);
        u64 bit = 0, width = 0;

        if (!tn_dwarf_tick(d))
            return;
        if (tag != DW_TAG_member && tag != DW_TAG_inheritance) {
            if (tag != DW_TAG_subprogram && tag != DW_TAG_formal_parameter)
                visit(d, &child, depth + 1); /* a type inside a class */
            continue;
        }
        if (!tn_dwarf_attrs(&child, &m) || tn_dwarf_flag(&m, TN_A_EXTERNAL) ||
            tn_dwarf_flag(&m, TN_A_DECLARATION) || !member_place(&m, is_union, &bit, &width))
            continue;
        if (width)
            *ret_bitfields = true;
        tn_dwarf_push(d,
                      tag == DW_TAG_member ? tn_raw_name(&d->found->raw, tn_dwarf_string(&m, TN_A_NAME)) : 0);
        tn_dwarf_push(d, tn_dwarf_type_of(d, &m));
        tn_dwarf_push(d, (u32)bit);
        tn_dwarf_push(d, (u32)width);
    } while (!dwarf_siblingof(&child, &child));
}

struct member {
    u32 name, type, bit, width;
};

/* Members stand in the order of their offsets; C++ may put a base class behind a member. Few are moved. */
static void sort_members(struct member *m, u32 n)
{
    for (u32 i = 1; i < n; i++) {
        struct member one = m[i];
        u32 k = i;

        if (one.bit >= m[i - 1].bit)
            continue;
        while (k && m[k - 1].bit > one.bit)
            k--;
        memmove(m + k + 1, m + k, (i - k) * sizeof(*m));
        m[k] = one;
    }
}

static void make_struct(struct tn_dwarf *d, u32 node, Dwarf_Die *die, struct tn_attrs *a, bool is_union,
                        u32 depth)
{
    struct tn_raw *raw = &d->found->raw;
    u32 name = tn_raw_name(raw, tn_dwarf_string(a, TN_A_NAME)), base, n;
    bool bitfields = false;
    u64 bytes = 0;
    struct member *m;

    if (tn_has(a, TN_A_SIGNATURE)) {
        Dwarf_Die other;

        if (dwarf_formref_die(&a->a[TN_A_SIGNATURE], &other) && other.addr != die->addr)
            tn_raw_alias(raw, node, tn_dwarf_node_of(d, &other));
        return;
    }
    if (tn_dwarf_flag(a, TN_A_DECLARATION) || !tn_dwarf_number(a, TN_A_BYTE_SIZE, &bytes) ||
        bytes > UINT32_MAX) {
        if (name)
            tn_raw_begin(raw, node, name, tn_raw_info(BTF_KIND_FWD, 0, is_union), 0);
        return;
    }
    base = d->nscratch;
    read_members(d, die, is_union, &bitfields, depth);
    if (d->error || raw->error || tn_raw_known(raw, node)) {
        d->nscratch = base;
        return;
    }
    m = (struct member *)(d->scratch + base);
    n = (d->nscratch - base) / 4;
    sort_members(m, n);
    if (n > TN_RAW_VLEN)
        n = 0; /* more than the format counts: known by size alone */
    for (u32 i = 0; i < n; i++)
        if (bitfields && m[i].bit > 0xffffff)
            n = i; /* 2 MiB into a struct of bitfields the format ends */
    tn_raw_begin(raw, node, name, tn_raw_info(is_union ? BTF_KIND_UNION : BTF_KIND_STRUCT, n, bitfields),
                 (u32)bytes);
    for (u32 i = 0; i < n; i++) {
        tn_raw_word(raw, m[i].name);
        tn_raw_word(raw, m[i].type);
        tn_raw_word(raw, bitfields ? m[i].width << 24 | m[i].bit : m[i].bit);
    }
    d->nscratch = base;
}

/* ---------------------------------------------------------------------------------------------- walk */

static void make_type(struct tn_dwarf *d, Dwarf_Die *die, int tag, u32 depth)
{
    struct tn_attrs a;
    u32 node = tn_dwarf_node_of(d, die);

    if (!node || tn_raw_known(&d->found->raw, node) || !tn_dwarf_attrs(die, &a))
        return;
    switch (tag) {
    case DW_TAG_base_type:
        make_base(d, node, &a);
        break;
    case DW_TAG_pointer_type:
    case DW_TAG_reference_type:
    case DW_TAG_rvalue_reference_type:
        make_link(d, node, BTF_KIND_PTR, 0, tn_dwarf_type_of(d, &a));
        break;
    case DW_TAG_unspecified_type: /* of nullptr */
        make_link(d, node, BTF_KIND_PTR, 0, 0);
        break;
    case DW_TAG_const_type:
        make_link(d, node, BTF_KIND_CONST, 0, tn_dwarf_type_of(d, &a));
        break;
    case DW_TAG_volatile_type:
        make_link(d, node, BTF_KIND_VOLATILE, 0, tn_dwarf_type_of(d, &a));
        break;
    case DW_TAG_restrict_type:
        make_link(d, node, BTF_KIND_RESTRICT, 0, tn_dwarf_type_of(d, &a));
        break;
    case DW_TAG_atomic_type:
    case DW_TAG_immutable_type:
        tn_raw_alias(&d->found->raw, node, tn_dwarf_type_of(d, &a));
        break;
    case DW_TAG_typedef:
    case DW_TAG_template_alias:
        make_typedef(d, node, &a);
        break;
    case DW_TAG_array_type:
        make_array(d, node, die, &a);
        break;
    case DW_TAG_enumeration_type:
        make_enum(d, node, die, &a);
        break;
    case DW_TAG_subroutine_type:
        make_proto(d, node, die, &a);
        break;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
        make_struct(d, node, die, &a, false, depth);
        break;
    case DW_TAG_union_type:
        make_struct(d, node, die, &a, true, depth);
        break;
    default:
        break;
    }
}

static void walk(struct tn_dwarf *d, Dwarf_Die *die, u32 depth)
{
    do {
        if (!tn_dwarf_tick(d))
            return;
        visit(d, die, depth);
    } while (!dwarf_siblingof(die, die));
}

static void visit(struct tn_dwarf *d, Dwarf_Die *die, u32 depth)
{
    struct tn_attrs a;
    Dwarf_Die child;
    int tag = dwarf_tag(die);

    if (depth > DEPTH_MAX)
        return;
    switch (tag) {
    case DW_TAG_subprogram:
        if (!tn_dwarf_attrs(die, &a) || tn_dwarf_flag(&a, TN_A_DECLARATION))
            return;
        tn_dwarf_function(d, die, &a);
        break;
    case DW_TAG_variable:
        if (tn_dwarf_attrs(die, &a))
            tn_dwarf_variable(d, die, &a);
        return;
    case DW_TAG_lexical_block:
    case DW_TAG_namespace:
    case DW_TAG_module:
        break;
    default:
        make_type(d, die, tag, depth);
        return;
    }
    if (!dwarf_child(die, &child))
        walk(d, &child, depth + 1);
}

/* --------------------------------------------------------------------------------------------- units */

static bool c_like(u64 language)
{
    switch (language) {
    case DW_LANG_C89:
    case DW_LANG_C:
    case DW_LANG_C99:
    case DW_LANG_C11:
    case DW_LANG_Mips_Assembler:
        return true;
    default:
        return false;
    }
}

static void read_unit(struct tn_dwarf *d, Dwarf_Die *unit)
{
    struct tn_attrs a;
    u64 language = DW_LANG_C;
    const char *producer;
    Dwarf_Die child;

    if (!tn_dwarf_attrs(unit, &a))
        return;
    (void)tn_dwarf_number(&a, TN_A_LANGUAGE, &language);
    producer = tn_dwarf_string(&a, TN_A_PRODUCER);
    d->c_names = c_like(language);
    d->gnu = !strncmp(producer, "GNU ", 4);
    d->clang = strstr(producer, "clang") != NULL;
    d->found->nunits++;
    if (tn_has(&a, TN_A_DWO_NAME) || tn_has(&a, TN_A_GNU_DWO_NAME))
        d->found->nskeletons++;
    if (!dwarf_child(unit, &child))
        walk(d, &child, 0);
}

static void read_units(struct tn_dwarf *d, Dwarf *dwarf)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Die die, sub;
    Dwarf_Half version;
    u8 type;

    while (tn_dwarf_tick(d) && dwarf_get_units(dwarf, cu, &cu, &version, &type, &die, &sub) == 0)
        if (dwarf_tag(&die) != DW_TAG_invalid)
            read_unit(d, &die);
}

static _Noreturn void no_memory(void)
{
    _exit(TN_DWARF_NO_MEMORY);
}

static int read_files(struct tn_dwarf *d, Dwarf *dwarf, Dwarf *alt)
{
    struct tn_raw *raw = &d->found->raw;

    dwarf_new_oom_handler(dwarf, no_memory);
    if (alt) {
        dwarf_new_oom_handler(alt, no_memory);
        dwarf_setalt(dwarf, alt);
    }
    d->index_node = tn_raw_int(raw, "__ARRAY_SIZE_TYPE__", 4, 0);
    read_units(d, dwarf);
    if (alt && !d->error)
        read_units(d, alt);
    tn_dwarf_inlined_rows(d);
    return d->error ? d->error : raw->error;
}

static u64 file_size(int fd)
{
    struct stat st;

    return fd >= 0 && !fstat(fd, &st) ? (u64)st.st_size : 0;
}

int tn_dwarf_read(int fd, int alt_fd, struct tn_found *found, struct tn_error *err)
{
    struct tn_dwarf d = {.found = found, .err = err};
    Dwarf *dwarf, *alt = NULL;
    int r;

    dwarf = dwarf_begin(fd, DWARF_C_READ);
    if (!dwarf)
        return tn_fail(err, -EBADMSG, "types_damaged", "its debug information cannot be read: %s",
                       dwarf_errmsg(-1));
    if (alt_fd >= 0)
        alt = dwarf_begin(alt_fd, DWARF_C_READ);
    d.budget = (file_size(fd) + file_size(alt_fd)) * 8 + 4096; /* debug sections may be compressed */
    r = read_files(&d, dwarf, alt);
    dwarf_end(dwarf);
    if (alt)
        dwarf_end(alt);
    tn_die_map_clear(&d.nodes);
    tn_die_map_clear(&d.abstract);
    free(d.inlined);
    free(d.scratch);
    return r;
}
