/* SPDX-License-Identifier: MIT */
/*
 * From a DIE to a type.
 *
 * What C++ has and BTF has not: references are pointers, base classes members without a name, classes
 * structs; a template's instance has no name that C could say, so it is a struct without one. Namespaces are
 * passed through. `_Atomic` is dropped, a complex number is a struct of two. What is aligned to more than its size tells says
 * so by a tag (btf/value.h).
 */
#include "btf/value.h"
#include "host/dwarf_int.h"

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

static void read_members(struct tn_dwarf *d, Dwarf_Die *die, bool is_union, bool *ret_bitfields,
                         u64 *ret_align, u32 depth)
{
    struct tn_attrs m;
    Dwarf_Die child;

    if (dwarf_child(die, &child))
        return;
    do {
        int tag = dwarf_tag(&child);
        u64 bit = 0, width = 0, align = 0;

        if (!tn_dwarf_tick(d))
            return;
        if (tag != DW_TAG_member && tag != DW_TAG_inheritance) {
            if (tag != DW_TAG_subprogram && tag != DW_TAG_formal_parameter)
                tn_dwarf_visit(d, &child, depth + 1); /* a type inside a class */
            continue;
        }
        if (!tn_dwarf_attrs(&child, &m) || tn_dwarf_flag(&m, TN_A_EXTERNAL) ||
            tn_dwarf_flag(&m, TN_A_DECLARATION) || !member_place(&m, is_union, &bit, &width))
            continue;
        if (width)
            *ret_bitfields = true;
        if (tn_dwarf_number(&m, TN_A_ALIGNMENT, &align))
            *ret_align = TN_MAX(*ret_align, align);
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

static void tell_align(struct tn_raw *raw, u32 node, u64 align)
{
    char tag[40];

    snprintf(tag, sizeof(tag), TN_BTF_ALIGNED "%llu", (unsigned long long)align);
    (void)tn_raw_simple(raw, BTF_KIND_DECL_TAG, tn_raw_string(raw, tag), node);
    tn_raw_word(raw, UINT32_MAX); /* on the whole of it */
}

static void make_struct(struct tn_dwarf *d, u32 node, Dwarf_Die *die, struct tn_attrs *a, bool is_union,
                        u32 depth)
{
    struct tn_raw *raw = &d->found->raw;
    u32 name = tn_raw_name(raw, tn_dwarf_string(a, TN_A_NAME)), base, n;
    bool bitfields = false;
    u64 bytes = 0, align = 0;
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
    (void)tn_dwarf_number(a, TN_A_ALIGNMENT, &align);
    read_members(d, die, is_union, &bitfields, &align, depth);
    if (d->error || raw->error || tn_raw_known(raw, node)) {
        d->nscratch = base;
        return;
    }
    n = (d->nscratch - base) / 4;
    m = n ? (struct member *)(d->scratch + base) : NULL;
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
    if (align >= TN_BTF_ALIGNED_LEAST)
        tell_align(raw, node, align);
    d->nscratch = base;
}

/* ------------------------------------------------------------------------------------------- rows */

void tn_dwarf_type(struct tn_dwarf *d, Dwarf_Die *die, int tag, u32 depth)
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
