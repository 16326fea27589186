/* SPDX-License-Identifier: MIT */
/*
 * Elements behind a pointer of the host's, as many as a number beside it says:
 *
 *      tenon_copy(dst, size, object, offset of the pointer, which number)
 *
 *      object ──▶ struct │ … data ───┼──▶ elements     the struct's type is known, and so is what
 *                        │ … len     │                 lies at both offsets; the length is looked at when
 *                                                      the program runs
 *
 * include/tenon/extension.h has what the constants say: a first element, its size, elements in the struct.
 * What the copy may rely on is decided here, and stands at the call: the object is there (it is valid), the
 * bytes are as well (the host's developers promise it), or neither. The rest is copied carefully.
 */
#include <inttypes.h>
#include <tenon/extension.h>

#include "verify/kfunc.h"
#include "verify/types.h"

enum { ARG_SIZE = 2, ARG_OBJECT, ARG_POINTER, ARG_LENGTH };

/* What the two constants say. */
struct copied {
    u64 pointer, length, first; /* offsets in the struct; a number of an element */
    u32 element, length_size;
    bool inside, length_signed, writes;
};

static struct copied read_words(u64 base, u64 pointer, u64 word)
{
    u32 element = (u32)(word >> TENON_ELEMENT);

    return (struct copied){.pointer = base + (u32)pointer,
                           .length = base + (u32)word,
                           .first = pointer >> TENON_FIRST,
                           .element = element ? element : 1,
                           .length_size = word >> TENON_LENGTH_SIZE & 15,
                           .length_signed = word >> TENON_LENGTH_SIGNED & 1,
                           .inside = word >> TENON_INSIDE & 1,
                           .writes = word >> TENON_WRITES & 1};
}

bool tn_buffer_is_written(struct vf *v)
{
    const struct tn_reg *reg = vf_reg(v, ARG_LENGTH);

    return tn_range_is_const(&reg->r) && reg->r.umin >> TENON_WRITES & 1;
}

static int check_object(struct vf *v, const struct tn_reg *reg)
{
    if (reg->kind != TN_REG_BTF || !reg->host)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u is a %s: tenon_copy takes a typed pointer to an object of the host", ARG_OBJECT,
                         TN_REG_NAME(reg));
    if (reg->flags & (TN_PTR_USER | TN_PTR_PERCPU))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "R%u is a %s: that is in another address space",
                         ARG_OBJECT, TN_REG_NAME(reg));
    if (tn_reg_maybe_null(reg))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null, "R%u may be NULL: compare it with NULL first",
                         ARG_OBJECT);
    return 0;
}

static int refuse_union(struct vf *v, u32 regno, const struct tn_btf_member_at *at)
{
    return vf_refuse(
        v, v->pc, TN_REASON_read_only,
        "R%u: %s of struct %s lies in a union, which may be something else: nothing is written by it", regno,
        at->path, tn_types_name(v, vf_reg(v, ARG_OBJECT)));
}

/* As for single stores: numbers only, in objects that are surely there, and not where a union may hold
   something else. */
static int check_written(struct vf *v, const struct tn_btf_member_at *at)
{
    const struct tn_reg *reg = vf_reg(v, ARG_OBJECT);
    const struct btf_type *t = tn_btf_type(v->in->host_btf, at->type);
    u32 of =
        tn_btf_resolve(v->in->host_btf, tn_btf_kind(t) == BTF_KIND_ARRAY ? tn_btf_array(t)->type : t->type);

    v->facts.features |= 1ull << TN_FEATURE_store;
    if (!v->auth->host_stores || !tn_types_trusted(reg))
        return vf_refuse(v, v->pc, TN_REASON_read_only,
                         "R%u is a %s that is not known to be there: only buffers of objects that are surely "
                         "there are written",
                         ARG_OBJECT, TN_REG_NAME(reg));
    if (at->in_union)
        return refuse_union(v, ARG_POINTER, at);
    if (of && !tn_is_plain(v->in->host_btf, of))
        return vf_refuse(
            v, v->pc, TN_REASON_read_only,
            "R%u: elements of %s of struct %s are not made of numbers alone, and only numbers of the "
            "host are written",
            ARG_POINTER, at->path, tn_types_name(v, reg));
    return 0;
}

/* The least that is good on every way here. */
static void note(struct vf *v, bool valid, bool promised)
{
    static const u8 worse[] = {
        [TN_MEM_PROMISED] = 0,
        [TN_MEM_PLAIN] = 1,
        [TN_MEM_PROBE] = 2,
    };
    struct tn_seen *seen = &v->seen[v->pc];
    u8 kind = !valid ? TN_MEM_PROBE : promised ? TN_MEM_PROMISED : TN_MEM_PLAIN;

    if (!seen->has_mem || worse[kind] > worse[seen->mem_kind])
        seen->mem_kind = kind;
    seen->has_mem = true;
    if (kind == TN_MEM_PROMISED)
        return;
    v->facts.may_fault = true;
    v->facts.syscalls = true;
    v->facts.features |= 1ull << TN_FEATURE_probe;
}

static int check_pointer(struct vf *v, const struct copied *c, u64 room, bool *ret_there)
{
    const struct tn_reg *reg = vf_reg(v, ARG_OBJECT);
    struct tn_btf_member_at at;

    if (c->pointer > UINT32_MAX ||
        !tn_btf_member_of(v->in->host_btf, reg->obj, c->pointer, c->inside ? TN_BTF_ARRAY : TN_BTF_POINTER,
                          c->element, &at))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u: at offset %" PRIu64 " of struct %s is no %s of elements of %u bytes",
                         ARG_POINTER, c->pointer, tn_types_name(v, reg),
                         c->inside ? "array" : "pointer to a buffer", c->element);
    *ret_there = c->inside && at.nelems;
    if (*ret_there && c->first * c->element + room > (u64)at.nelems * c->element)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u: %s of struct %s has %u elements of %u bytes, and from number %" PRIu64
                         " on there are not %" PRIu64 " bytes: copy less",
                         ARG_SIZE, at.path, tn_types_name(v, reg), at.nelems, c->element, c->first, room);
    return c->writes ? check_written(v, &at) : 0;
}

static int check_length(struct vf *v, const struct copied *c)
{
    const struct tn_reg *reg = vf_reg(v, ARG_OBJECT);
    struct tn_btf_member_at at;

    if (!c->length_size && !c->inside && !c->length_signed)
        return 0;
    if (c->length_size > 8 || c->length > UINT32_MAX ||
        !tn_btf_member_of(v->in->host_btf, reg->obj, c->length,
                          c->length_signed ? TN_BTF_SIGNED : TN_BTF_UNSIGNED, c->length_size, &at))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u: at offset %" PRIu64
                         " of struct %s is no number of the size and sign that it says",
                         ARG_LENGTH, c->length, tn_types_name(v, reg));
    return c->writes && at.in_union ? refuse_union(v, ARG_LENGTH, &at) : 0;
}

int tn_buffer_copied(struct vf *v, struct tn_call_facts *facts)
{
    const struct tn_reg *reg = vf_reg(v, ARG_OBJECT);
    struct copied c =
        read_words((u64)reg->r.smin, vf_reg(v, ARG_POINTER)->r.umin, vf_reg(v, ARG_LENGTH)->r.umin);
    u64 room = vf_reg(v, ARG_SIZE)->r.umax;
    struct tn_access access = {.kind = c.writes ? TN_ACCESS_WRITE : TN_ACCESS_READ,
                               .btf_id = reg->obj,
                               .var = reg->uid,
                               .path = "",
                               .offset = (u32)c.pointer,
                               .size = 8,
                               .insn = v->pc,
                               .buffer = true,
                               .inside = c.inside,
                               .element = c.element,
                               .first = c.first,
                               .end = c.length_size ? 0 : c.first + TN_MAX(room / c.element, (u64)1),
                               .length_off = c.length_size ? (u32)c.length : 0,
                               .length_size = c.length_size,
                               .length_signed = c.length_signed};
    bool there = false;
    struct tn_error err;
    int r = check_object(v, reg);

    if (!r)
        r = check_pointer(v, &c, room, &there);
    if (!r)
        r = check_length(v, &c);
    if (r)
        return r;
    vf_error_empty(&err);
    if (v->auth->may_access(v->auth->self, &access, &err))
        return vf_refuse_denied(v, TN_REASON_access_denied, &err);
    there |= tn_attach_promised(v, &access);
    note(v, tn_types_trusted(reg), there);
    facts->ret_min = -4095;
    facts->ret_max = (s64)room;
    return 0;
}
