/* SPDX-License-Identifier: MIT */
/*
 * What types say of each other. Five passes, each linear, each leaving an invariant for the next:
 *
 *      references   every id and every string a type names is there; members do not run backwards
 *      containment  nothing lies inside itself; each modifier knows where it ends (tn_btf.to), each array its
 *                   bytes. Depth first over modifiers, arrays and structs, with a bounded stack
 *      pointers     no chain of pointers and modifiers comes back to itself (a struct in between ends it)
 *      rules        members fit their struct, parameters and results have a size, variables lie where they
 *                   can
 *      tags         type tags come directly behind the pointer, before other modifiers
 *
 * The limits and the first words of each refusal are Linux's, whose own tests match them.
 */
#include <errno.h>

#include "btf/btf_int.h"

#define MAX_DEPTH 32u

struct check {
    struct tn_btf *b;
    struct tn_error *err;
    u8 *kind;  /* n: BTF_KIND_… of own types, where a look-up is cheap */
    u8 *mark;  /* n */
    u8 *named; /* a bit each byte of the own strings: an identifier begins here, as was seen before */
};
enum { UNSEEN, OPEN, DONE, CHAIN_OPEN, CHAIN_DONE };

static u32 kind_of(const struct check *c, u32 id)
{
    if (id < c->b->first)
        return id ? tn_btf_kind_of(c->b->base, id) : BTF_KIND_UNKN;
    return c->kind[id - c->b->first];
}

/* As tn_btf_resolve, of types that are known to be there. */
static u32 resolve(const struct check *c, u32 id)
{
    if (id < c->b->first)
        return tn_btf_resolve(c->b, id);
    return tn_btf_is_modifier(c->kind[id - c->b->first]) ? c->b->to[id - c->b->first] : id;
}

static bool is_own(const struct check *c, u32 id)
{
    return id >= c->b->first;
}

/* Types that name a place, and are not one of the types that values have. */
static bool is_place(u32 kind)
{
    return kind == BTF_KIND_VAR || kind == BTF_KIND_DATASEC || kind == BTF_KIND_DECL_TAG;
}

static bool has_size(const struct check *c, u32 id)
{
    u32 kind = kind_of(c, resolve(c, id));

    return kind == BTF_KIND_PTR || kind == BTF_KIND_ARRAY || tn_btf_rows[kind].flags & TN_BTF_SIZED;
}

static u32 round_up_bytes(u32 bits)
{
    return bits / 8 + !!(bits % 8);
}

/* -------------------------------------------------------------------------------------- references */

static bool id_ok(const struct check *c, u32 id)
{
    return id < c->b->first + c->b->n;
}

static bool optional_name_ok(const struct check *c, u32 off)
{
    u32 k = off - c->b->str_first;
    bool ok;

    if (!off)
        return true;
    if (off < c->b->str_first || k >= c->b->str_len)
        return tn_btf_string_ok(c->b, off) && tn_btf_identifier(tn_btf_string(c->b, off));
    if (c->named[k / 8] & 1 << k % 8)
        return true;
    ok = tn_btf_identifier(c->b->strings + k);
    c->named[k / 8] |= (u8)(ok << k % 8);
    return ok;
}

static int member_fault(const struct check *c, u32 k, u32 i, const char *says, const char *why)
{
    const struct btf_member *m = &tn_btf_members(tn_btf_own(c->b, k))[i];
    const char *name = tn_btf_string(c->b, m->name_off);

    return tn_btf_fault(c->b, c->err, k, says, "member %u (%.64s): %s", i, *name ? name : "(anon)", why);
}

static int check_members(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    const struct btf_member *m = tn_btf_members(t);
    u32 before = 0;

    for (u32 i = 0; i < tn_btf_vlen(t); i++) {
        u32 bit = tn_btf_member_bit(t, &m[i]);

        if (!tn_btf_string_ok(c->b, m[i].name_off))
            return tn_btf_fault(c->b, c->err, k, "Invalid member name_offset", "%u is past the last string",
                                m[i].name_off);
        if (!optional_name_ok(c, m[i].name_off))
            return member_fault(c, k, i, "Invalid name", "not a name that C could have given");
        if (!m[i].type || !id_ok(c, m[i].type))
            return member_fault(c, k, i, "Invalid type_id", "there is no such type");
        if (tn_btf_kind(t) == BTF_KIND_UNION && bit)
            return member_fault(c, k, i, "Invalid member bits_offset", "members of a union begin at 0");
        if (bit < before)
            return member_fault(c, k, i, "Invalid member bits_offset", "members run backwards");
        if (round_up_bytes(bit) > t->size)
            return member_fault(c, k, i, "Member bits_offset exceeds its struct size",
                                "it begins behind the struct's end");
        before = bit;
    }
    return 0;
}

static int check_enumerators(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    u32 step = tn_btf_rows[tn_btf_kind(t)].each;

    if (t->size > 8 || !t->size || t->size & (t->size - 1))
        return tn_btf_fault(c->b, c->err, k, "Unexpected size", "%u bytes: an enumeration has 1, 2, 4 or 8",
                            t->size);
    for (u32 i = 0; i < tn_btf_vlen(t); i++) {
        u32 name;

        memcpy(&name, (const u8 *)(t + 1) + i * step, sizeof(name));
        if (!tn_btf_string_ok(c->b, name))
            return tn_btf_fault(c->b, c->err, k, "Invalid name_offset", "%u is past the last string", name);
        if (!name || !optional_name_ok(c, name))
            return tn_btf_fault(c->b, c->err, k, "Invalid name", "enumerator %u", i);
    }
    return 0;
}

static int check_int(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    u32 data = tn_btf_int_data(t), bits = BTF_INT_BITS(data) + BTF_INT_OFFSET(data);
    u32 encoding = BTF_INT_ENCODING(data);

    if (data & ~0x0fffffffu)
        return tn_btf_fault(c->b, c->err, k, "Invalid int_data", "%#x has bits without a meaning", data);
    if (bits > 128)
        return tn_btf_fault(c->b, c->err, k, "nr_bits exceeds 128", "%u", bits);
    if (round_up_bytes(bits) > t->size)
        return tn_btf_fault(c->b, c->err, k, "nr_bits exceeds type_size", "%u bits in %u bytes", bits,
                            t->size);
    if (encoding & (encoding - 1))
        return tn_btf_fault(c->b, c->err, k, "Unsupported encoding", "more than one of signed, char, bool");
    return 0;
}

static int check_section(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    const struct btf_var_secinfo *s = tn_btf_vars(t);
    u64 end = 0;

    if (!t->size)
        return tn_btf_fault(c->b, c->err, k, "size == 0", "a section without bytes has no variables");
    for (u32 i = 0; i < tn_btf_vlen(t); i++) {
        if (!s[i].type || !id_ok(c, s[i].type))
            return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "variable %u: there is no type %u", i,
                                s[i].type);
        if (s[i].offset < end || s[i].offset >= t->size)
            return tn_btf_fault(c->b, c->err, k, "Invalid offset", "variable %u: it overlaps, or is outside",
                                i);
        if (!s[i].size || s[i].size > t->size)
            return tn_btf_fault(c->b, c->err, k, "Invalid size", "variable %u: %u bytes in a section of %u",
                                i, s[i].size, t->size);
        end = (u64)s[i].offset + s[i].size;
        if (end > t->size)
            return tn_btf_fault(c->b, c->err, k, "Invalid offset+size",
                                "variable %u reaches past the section's end", i);
    }
    return 0;
}

static int check_references(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    const struct tn_btf_row *row = &tn_btf_rows[c->kind[k]];

    if (row->flags & TN_BTF_REF && !id_ok(c, t->type))
        return tn_btf_fault(c->b, c->err, k,
                            c->kind[k] == BTF_KIND_FUNC_PROTO ? "Invalid return type" : "Invalid type_id",
                            "there is no type %u", t->type);
    if (row->flags & TN_BTF_VOIDLESS && !t->type)
        return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "it cannot be void");
    switch (c->kind[k]) {
    case BTF_KIND_INT:
        return check_int(c, k);
    case BTF_KIND_ARRAY:
        if (!tn_btf_array(t)->type || !id_ok(c, tn_btf_array(t)->type))
            return tn_btf_fault(c->b, c->err, k, "Invalid elem", "there is no type %u",
                                tn_btf_array(t)->type);
        if (!tn_btf_array(t)->index_type || !id_ok(c, tn_btf_array(t)->index_type))
            return tn_btf_fault(c->b, c->err, k, "Invalid index", "there is no type %u",
                                tn_btf_array(t)->index_type);
        return 0;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return check_members(c, k);
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        return check_enumerators(c, k);
    case BTF_KIND_FUNC:
        if (tn_btf_vlen(t) > BTF_FUNC_GLOBAL) /* extern is for objects, not for what is loaded */
            return tn_btf_fault(c->b, c->err, k, "Invalid func linkage", "%u", tn_btf_vlen(t));
        return 0;
    case BTF_KIND_VAR:
        if (((const struct btf_var *)(t + 1))->linkage > BTF_VAR_GLOBAL_ALLOCATED)
            return tn_btf_fault(c->b, c->err, k, "Linkage not supported", "%u: static or global",
                                ((const struct btf_var *)(t + 1))->linkage);
        return 0;
    case BTF_KIND_DATASEC:
        return check_section(c, k);
    case BTF_KIND_FLOAT:
        if (t->size != 2 && t->size != 4 && t->size != 8 && t->size != 12 && t->size != 16)
            return tn_btf_fault(c->b, c->err, k, "Invalid type_size", "%u bytes", t->size);
        return 0;
    case BTF_KIND_DECL_TAG:
        if (tn_btf_tag_component(t) < -1)
            return tn_btf_fault(c->b, c->err, k, "Invalid component_idx", "%d", tn_btf_tag_component(t));
        return 0;
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------------- containment */

static bool contains(u32 kind)
{
    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ARRAY ||
           tn_btf_is_modifier(kind);
}

static u32 nparts(const struct check *c, u32 k)
{
    switch (c->kind[k]) {
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return tn_btf_vlen(tn_btf_own(c->b, k));
    case BTF_KIND_ARRAY:
        return 2;
    default:
        return 1;
    }
}

static u32 part(const struct check *c, u32 k, u32 i)
{
    const struct btf_type *t = tn_btf_own(c->b, k);

    switch (c->kind[k]) {
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return tn_btf_members(t)[i].type;
    case BTF_KIND_ARRAY:
        return i ? tn_btf_array(t)->type : tn_btf_array(t)->index_type;
    default:
        return t->type;
    }
}

/* Whole bytes, at their beginning: what may be an index, an element, the type under a bitfield. */
static bool is_regular_int(const struct btf_type *t)
{
    u32 data = tn_btf_int_data(t), bits = BTF_INT_BITS(data);

    return !BTF_INT_OFFSET(data) && (bits == 8 || bits == 16 || bits == 32 || bits == 64 || bits == 128);
}

static int finish_array(struct check *c, u32 k)
{
    const struct btf_array *a = tn_btf_array(tn_btf_own(c->b, k));
    u32 index = tn_btf_resolve(c->b, a->index_type), elem = tn_btf_resolve(c->b, a->type);
    u64 bytes;

    if (kind_of(c, index) != BTF_KIND_INT || !is_regular_int(tn_btf_type(c->b, index)))
        return tn_btf_fault(c->b, c->err, k, "Invalid index", "type %u is not an integer", a->index_type);
    if (!has_size(c, elem))
        return tn_btf_fault(c->b, c->err, k, "Invalid elem", "type %u has no size", a->type);
    if (kind_of(c, elem) == BTF_KIND_INT && !is_regular_int(tn_btf_type(c->b, elem)))
        return tn_btf_fault(c->b, c->err, k, "Invalid array of int", "type %u is part of an integer",
                            a->type);
    bytes = (u64)tn_btf_size(c->b, elem) * a->nelems;
    if (bytes > UINT32_MAX)
        return tn_btf_fault(c->b, c->err, k, "Array size overflows U32_MAX", "%u elements of %lld bytes",
                            a->nelems, (long long)tn_btf_size(c->b, elem));
    c->b->to[k] = (u32)bytes;
    return 0;
}

static int finish(struct check *c, u32 k)
{
    u32 to, kind;

    if (c->kind[k] == BTF_KIND_ARRAY)
        return finish_array(c, k);
    if (!tn_btf_is_modifier(c->kind[k]))
        return 0;
    to = tn_btf_resolve(c->b, tn_btf_own(c->b, k)->type);
    kind = kind_of(c, to);
    if (is_place(kind))
        return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "%s %u is not a type of values",
                            tn_btf_kind_name(kind), to);
    c->b->to[k] = to;
    return 0;
}

static int check_containment(struct check *c, u32 root)
{
    struct {
        u32 k, next;
    } stack[MAX_DEPTH];
    u32 depth = 1;
    int r = 0;

    stack[0].k = root;
    stack[0].next = 0;
    c->mark[root] = OPEN;
    while (depth && !r) {
        u32 k = stack[depth - 1].k, id, child;

        if (stack[depth - 1].next == nparts(c, k)) {
            r = finish(c, k);
            c->mark[k] = DONE;
            depth--;
            continue;
        }
        id = part(c, k, stack[depth - 1].next++);
        if (!is_own(c, id) || !contains(kind_of(c, id)))
            continue;
        child = id - c->b->first;
        if (c->mark[child] == DONE)
            continue;
        if (c->mark[child] == OPEN)
            return tn_btf_fault(c->b, c->err, root, "Loop detected", "type %u lies inside itself", id);
        if (depth == MAX_DEPTH)
            return tn_btf_fault(c->b, c->err, root, "Exceeded max resolving depth", "more than %u types deep",
                                MAX_DEPTH);
        c->mark[child] = OPEN;
        stack[depth].k = child;
        stack[depth].next = 0;
        depth++;
    }
    return r;
}

/* ---------------------------------------------------------------------------------------- pointers */

static bool is_link(const struct check *c, u32 id)
{
    return is_own(c, id) && (kind_of(c, id) == BTF_KIND_PTR || tn_btf_is_modifier(kind_of(c, id)));
}

static int check_pointer(struct check *c, u32 k)
{
    u32 id = c->b->first + k, depth = 0, target = tn_btf_own(c->b, k)->type;

    if (is_place(kind_of(c, target)))
        return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "%s %u is not a type of values",
                            tn_btf_kind_name(kind_of(c, target)), target);
    while (is_link(c, id) && c->mark[id - c->b->first] != CHAIN_DONE) {
        if (c->mark[id - c->b->first] == CHAIN_OPEN)
            return tn_btf_fault(c->b, c->err, k, "Loop detected", "type %u points at itself", id);
        if (++depth > MAX_DEPTH)
            return tn_btf_fault(c->b, c->err, k, "Exceeded max resolving depth",
                                "more than %u pointers and modifiers in a row", MAX_DEPTH);
        c->mark[id - c->b->first] = CHAIN_OPEN;
        id = tn_btf_own(c->b, id - c->b->first)->type;
    }
    for (id = c->b->first + k; is_link(c, id) && c->mark[id - c->b->first] == CHAIN_OPEN;
         id = tn_btf_own(c->b, id - c->b->first)->type)
        c->mark[id - c->b->first] = CHAIN_DONE;
    return 0;
}

/* ------------------------------------------------------------------------------------------- rules */

static int fit_int(struct check *c, u32 k, u32 i, const struct btf_type *type)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    const struct btf_member *m = &tn_btf_members(t)[i];
    u32 data = tn_btf_int_data(type), nbits = BTF_INT_BITS(data), width = tn_btf_member_bits(t, m);
    u64 bit = tn_btf_member_bit(t, m);

    if (BTF_INFO_KFLAG(t->info)) {
        if (!is_regular_int(type))
            return member_fault(c, k, i, "Invalid member base type", "a bitfield lies in a whole integer");
        if (!width && bit % 8)
            return member_fault(c, k, i, "Invalid member offset", "not a bitfield, and not on a byte");
        if (width > nbits)
            return member_fault(c, k, i, "Invalid member bitfield_size", "wider than its integer");
        if (width)
            nbits = width;
    } else {
        bit += BTF_INT_OFFSET(data);
        if (bit > UINT32_MAX)
            return member_fault(c, k, i, "bits_offset exceeds U32_MAX", "it begins too far");
    }
    if (nbits + bit % 8 > 128)
        return member_fault(c, k, i, "nr_copy_bits exceeds 128", "it spans more than 16 bytes");
    if (bit / 8 + round_up_bytes(nbits + (u32)(bit % 8)) > t->size)
        return member_fault(c, k, i, "Member exceeds struct_size", "it reaches past the struct's end");
    return 0;
}

static int fit_member(struct check *c, u32 k, u32 i)
{
    const struct btf_type *t = tn_btf_own(c->b, k), *type;
    const struct btf_member *m = &tn_btf_members(t)[i];
    u32 id = resolve(c, m->type), kind = kind_of(c, id), bit = tn_btf_member_bit(t, m);
    u32 width = tn_btf_member_bits(t, m);
    u64 bits;

    if (!has_size(c, id))
        return member_fault(c, k, i, "Invalid member", "its type has no size");
    type = tn_btf_type(c->b, id);
    if (kind == BTF_KIND_INT)
        return fit_int(c, k, i, type);
    bits = (u64)tn_btf_size(c->b, id) * 8;
    if (kind == BTF_KIND_FLOAT && bit % TN_MIN(64u, bits))
        return member_fault(c, k, i, "Member is not properly aligned", "it is a floating-point number");
    if (width && (kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)) {
        if (width > 32)
            return member_fault(c, k, i, "Invalid member bitfield_size", "wider than an enumeration");
        bits = width;
    } else if (width) {
        return member_fault(c, k, i, "Invalid member bitfield_size", "only integers have bitfields");
    } else if (bit % 8) {
        return member_fault(c, k, i, "Member is not byte aligned", "and no bitfield");
    }
    if (((u64)bit + bits + 7) / 8 > t->size)
        return member_fault(c, k, i, "Member exceeds struct_size", "it reaches past the struct's end");
    return 0;
}

/* Linux counts arguments from 1. */
static int arg_fault(struct check *c, u32 k, u32 i, const char *why)
{
    char says[24];

    snprintf(says, sizeof(says), "Invalid arg#%u", i + 1);
    return tn_btf_fault(c->b, c->err, k, says, "%s", why);
}

static int check_proto(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    const struct btf_param *p = tn_btf_params(t);
    u32 n = tn_btf_vlen(t);

    if (t->type && !has_size(c, t->type))
        return tn_btf_fault(c->b, c->err, k, "Invalid return type", "type %u has no size", t->type);
    if (n && !p[n - 1].type) { /* … */
        if (p[n - 1].name_off)
            return arg_fault(c, k, n - 1, "void with a name");
        n--;
    }
    for (u32 i = 0; i < n; i++) {
        if (!id_ok(c, p[i].type) || !has_size(c, p[i].type))
            return arg_fault(c, k, i, "its type is not there, or has no size");
        if (!optional_name_ok(c, p[i].name_off))
            return arg_fault(c, k, i, "not a name that C could have given");
    }
    return 0;
}

static int check_func(struct check *c, u32 k)
{
    u32 proto = tn_btf_own(c->b, k)->type;
    const struct btf_type *t = tn_btf_type(c->b, proto);

    if (kind_of(c, proto) != BTF_KIND_FUNC_PROTO)
        return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "type %u is not a prototype", proto);
    for (u32 i = 0; i < tn_btf_vlen(t); i++)
        if (!tn_btf_params(t)[i].name_off && tn_btf_params(t)[i].type)
            return arg_fault(c, k, i, "a function's parameters have names");
    return 0;
}

static int check_variables(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    const struct btf_var_secinfo *s = tn_btf_vars(t);

    for (u32 i = 0; i < tn_btf_vlen(t); i++) {
        if (kind_of(c, s[i].type) != BTF_KIND_VAR)
            return tn_btf_fault(c->b, c->err, k, "Not a VAR kind member", "type %u", s[i].type);
        if (!has_size(c, tn_btf_type(c->b, s[i].type)->type))
            return tn_btf_fault(c->b, c->err, k, "Invalid type", "variable %u has no size", s[i].type);
        if (s[i].size < tn_btf_size(c->b, s[i].type))
            return tn_btf_fault(c->b, c->err, k, "Invalid size", "variable %u has more than %u bytes",
                                s[i].type, s[i].size);
    }
    return 0;
}

static int check_tag(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k), *on;
    u32 kind = kind_of(c, t->type), n;

    if (kind != BTF_KIND_FUNC && kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION && kind != BTF_KIND_VAR &&
        kind != BTF_KIND_TYPEDEF)
        return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "nothing of kind %s is declared",
                            tn_btf_kind_name(kind));
    if (tn_btf_tag_component(t) == -1)
        return 0;
    if (kind == BTF_KIND_VAR || kind == BTF_KIND_TYPEDEF)
        return tn_btf_fault(c->b, c->err, k, "Invalid component_idx", "a %s has no parts",
                            tn_btf_kind_name(kind));
    on = tn_btf_type(c->b, t->type);
    if (kind == BTF_KIND_FUNC) {
        if (kind_of(c, on->type) != BTF_KIND_FUNC_PROTO)
            return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "type %u is not a prototype", on->type);
        on = tn_btf_type(c->b, on->type);
    }
    n = tn_btf_vlen(on);
    if ((u32)tn_btf_tag_component(t) >= n)
        return tn_btf_fault(c->b, c->err, k, "Invalid component_idx", "%d of %u", tn_btf_tag_component(t), n);
    return 0;
}

static int check_rules(struct check *c, u32 k)
{
    const struct btf_type *t = tn_btf_own(c->b, k);
    int r = 0;

    switch (c->kind[k]) {
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        for (u32 i = 0; !r && i < tn_btf_vlen(t); i++)
            r = fit_member(c, k, i);
        return r;
    case BTF_KIND_FUNC_PROTO:
        return check_proto(c, k);
    case BTF_KIND_FUNC:
        return check_func(c, k);
    case BTF_KIND_VAR:
        if (!has_size(c, t->type))
            return tn_btf_fault(c->b, c->err, k, "Invalid type_id", "type %u has no size", t->type);
        return 0;
    case BTF_KIND_DATASEC:
        return check_variables(c, k);
    case BTF_KIND_DECL_TAG:
        return check_tag(c, k);
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_CONST:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_RESTRICT:
        if (kind_of(c, t->type) == BTF_KIND_TYPE_TAG)
            return tn_btf_fault(c->b, c->err, k, "Type tags don't precede modifiers",
                                "type tag %u comes behind another modifier", t->type);
        return 0;
    default:
        return 0;
    }
}

int tn_btf_check(struct tn_btf *b, struct tn_error *err)
{
    struct check c = {.b = b, .err = err};
    u32 n = b->n;
    _free_ u8 *bytes = calloc(1, 2 * (u64)n + b->str_len / 8 + 1);
    int r = 0;

    if (!bytes)
        return -ENOMEM;
    c.kind = bytes;
    c.mark = bytes + n;
    c.named = c.mark + n;
    for (u32 k = 0; k < n; k++)
        c.kind[k] = (u8)tn_btf_kind(tn_btf_own(b, k));
    for (u32 k = 0; !r && k < n; k++)
        r = check_references(&c, k);
    for (u32 k = 0; !r && k < n; k++)
        if (contains(c.kind[k]) && c.mark[k] == UNSEEN)
            r = check_containment(&c, k);
    for (u32 k = 0; !r && k < n; k++)
        if (c.kind[k] == BTF_KIND_PTR && c.mark[k] != CHAIN_DONE)
            r = check_pointer(&c, k);
    for (u32 k = 0; !r && k < n; k++)
        r = check_rules(&c, k);
    return r;
}
