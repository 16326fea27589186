/* SPDX-License-Identifier: MIT */
/* What an authority is told of the arguments of a call: the abstract value, in words that need no knowledge
   of it. */
#include "verify/internal.h"
#include "verify/types.h"

/* From the farthest place the pointer may point to, to the end of what it points into. */
static u64 rest(u64 size, const struct tn_range *r)
{
    return r->smin < 0 || r->smax < 0 || (u64)r->smax > size ? 0 : size - (u64)r->smax;
}

static u64 bytes_behind(const struct vf *v, const struct tn_reg *reg)
{
    s64 size;

    switch (reg->kind) {
    case TN_REG_MAP_VALUE:
        return rest(vf_map_of(v, reg)->geo.value_size, &reg->r);
    case TN_REG_MAP_KEY:
        return rest(vf_map_of(v, reg)->geo.key_size, &reg->r);
    case TN_REG_MEM:
        return reg->flags & TN_PTR_UNTRUSTED ? 0 : rest(reg->obj, &reg->r);
    case TN_REG_STACK: /* up to the frame's upper end; offsets are below it */
        return reg->r.smin >= 0 || reg->r.smax > 0 ? 0 : (u64)-reg->r.smax;
    case TN_REG_BTF:
        size = reg->flags & TN_PTR_UNTRUSTED ? -1 : tn_btf_size(tn_types_book(v, reg), reg->obj);
        return size < 0 ? 0 : rest((u64)size, &reg->r);
    default:
        return 0;
    }
}

struct tn_call_arg vf_arg_facts(const struct vf *v, const struct tn_reg *reg)
{
    struct tn_call_arg a = {.number = reg->kind == TN_REG_SCALAR};

    if (a.number) {
        a.min = reg->r.smin;
        a.max = reg->r.smax;
        a.umin = reg->r.umin;
        a.umax = reg->r.umax;
        return a;
    }
    a.maybe_null = tn_reg_maybe_null(reg);
    a.trusted = tn_types_trusted(reg);
    a.bytes = a.maybe_null ? 0 : bytes_behind(v, reg);
    a.btf_id = reg->kind == TN_REG_BTF && reg->host ? reg->obj : 0;
    return a;
}
