/* SPDX-License-Identifier: MIT */
/*
 * Bytes behind a pointer of the host's, as many as a number beside it says:
 *
 *      tenon_copy(dst, size, object, offset of the pointer, which number)
 *
 *      object ──▶ struct │ … data ───┼──▶ bytes        the struct's type is known, and so is what lies at
 * both │ … len     │                 offsets; the length is looked at when the program runs
 *
 * What the copy may rely on is decided here, and stands at the call: the object is there (it is valid), the
 * bytes are as well (the host's developers promise it), or neither. The rest is copied carefully.
 */
#include <inttypes.h>
#include <tenon/extension.h>

#include "verify/kfunc.h"
#include "verify/types.h"

enum { ARG_SIZE = 2, ARG_OBJECT, ARG_POINTER, ARG_LENGTH };

struct member {
    u32 type, bits; /* resolved; bits: of a bitfield */
};

/* The member, at any depth, that begins at `off` and is no struct itself. In a union it is not known which.
 */
static bool member_at(const struct tn_btf *b, u32 type, u64 off, struct member *ret)
{
    for (type = tn_btf_resolve(b, type);;) {
        const struct btf_type *t = tn_btf_type(b, type);
        u32 kind = t ? tn_btf_kind(t) : BTF_KIND_UNKN, k;

        if (kind == BTF_KIND_ARRAY) {
            s64 each = tn_btf_size(b, tn_btf_array(t)->type);

            if (each <= 0 || off / (u64)each >= tn_btf_array(t)->nelems)
                return false;
            off %= (u64)each;
            type = tn_btf_resolve(b, tn_btf_array(t)->type);
            continue;
        }
        if (kind != BTF_KIND_STRUCT && (kind != BTF_KIND_UNION || tn_btf_vlen(t) != 1)) {
            ret->type = type;
            return !off && kind != BTF_KIND_UNION;
        }
        for (k = 0; k < tn_btf_vlen(t); k++) {
            const struct btf_member *m = &tn_btf_members(t)[k];
            u64 start = tn_btf_member_bit(t, m) / 8;
            s64 size = tn_btf_size(b, m->type);

            if (off < start || size <= 0 || off >= start + (u64)size)
                continue;
            ret->bits = tn_btf_member_bits(t, m);
            off -= start;
            type = tn_btf_resolve(b, m->type);
            break;
        }
        if (k == tn_btf_vlen(t) || ret->bits)
            return false;
    }
}

/* Behind a pointer to bytes, or to who knows what. */
static bool is_bytes(const struct tn_btf *b, u32 pointer)
{
    const struct btf_type *t = tn_btf_type(b, pointer);
    u32 to = t && tn_btf_kind(t) == BTF_KIND_PTR ? tn_btf_resolve(b, t->type) : UINT32_MAX;

    return !to || (to != UINT32_MAX && tn_btf_kind_of(b, to) == BTF_KIND_INT && tn_btf_size(b, to) == 1);
}

static bool is_length(const struct tn_btf *b, u32 type, u64 word)
{
    const struct btf_type *t = tn_btf_type(b, type);
    u64 size = word >> TENON_LENGTH_SIZE & 15, sign = word >> TENON_LENGTH_SIGNED & 1;

    return t && tn_btf_kind(t) == BTF_KIND_INT && (u64)tn_btf_size(b, type) == size && !(size & (size - 1)) &&
           size && size <= 8 && sign == (BTF_INT_ENCODING(tn_btf_int_data(t)) & BTF_INT_SIGNED) &&
           !(word >> (TENON_LENGTH_SIGNED + 1));
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

int tn_buffer_copied(struct vf *v, struct tn_call_facts *facts)
{
    const struct tn_reg *reg = vf_reg(v, ARG_OBJECT);
    u64 base = (u64)reg->r.smin, word = vf_reg(v, ARG_LENGTH)->r.umin;
    u64 pointer = base + vf_reg(v, ARG_POINTER)->r.umin, length = base + (u32)word;
    struct member p = {0}, n = {0};
    struct tn_access access = {
        .kind = TN_ACCESS_READ, .btf_id = reg->obj, .var = reg->uid, .path = "", .size = 8, .insn = v->pc};
    struct tn_error err;
    int r = check_object(v, reg);

    if (r)
        return r;
    if (pointer > UINT32_MAX || !member_at(v->in->host_btf, reg->obj, pointer, &p) ||
        !is_bytes(v->in->host_btf, p.type))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u: at offset %" PRIu64 " of struct %s is no pointer to bytes", ARG_POINTER,
                         pointer, tn_types_name(v, reg));
    if (length > UINT32_MAX || !member_at(v->in->host_btf, reg->obj, length, &n) ||
        !is_length(v->in->host_btf, n.type, word))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u: at offset %" PRIu64
                         " of struct %s is no number of the size and sign that it says",
                         ARG_LENGTH, length, tn_types_name(v, reg));
    access.offset = (u32)pointer;
    access.buffer = true;
    access.length_off = (u32)length;
    access.length_size = (u32)(word >> TENON_LENGTH_SIZE & 15);
    vf_error_empty(&err);
    if (v->auth->may_access(v->auth->self, &access, &err))
        return vf_refuse_denied(v, TN_REASON_access_denied, &err);
    note(v, tn_types_trusted(reg), v->auth->is_promised && v->auth->is_promised(v->auth->self, &access));
    facts->ret_min = -4095;
    facts->ret_max = (s64)vf_reg(v, ARG_SIZE)->r.umax;
    return 0;
}
