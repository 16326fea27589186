/* SPDX-License-Identifier: MIT */
/*
 * Dynptrs: a pointer, its bounds and its rights, kept on the stack where the program can name but not touch
 * them.
 *
 *      fp−16   slot k    DYNPTR, first   kind, id, ref        one id a dynptr; clones have ids of their own
 *      fp−8    slot k−1  DYNPTR          kind, id, ref        ref: of what has to be given back (ring
 *                                                             buffer), or 0
 *
 *      r0 = bpf_dynptr_data(fp−16, …)    MEM, a slice: r0.ref = id, r0.uid = ref
 *
 * A slice dies with its dynptr: when it is given back, when its stack bytes are overwritten, and, where it
 * lies in a packet, when the packet changes. A dynptr that must be given back is not overwritten at all;
 * giving it back ends every clone of it, in whatever frame it lies.
 */
#include "verify/internal.h"

static const struct {
    const char *name;
    bool refcounted, packet;
} kinds[] = {
#define D(kind, name, refcounted, packet) [TN_DYNPTR_##kind] = {name, refcounted, packet},
    TN_DYNPTR_KINDS(D)
#undef D
};

#define SLOTS 2u

/* ----------------------------------------------------------------------------------------- where they lie */

static bool slot_is_dynptr(const struct tn_frame *f, u32 k)
{
    if (k >= f->nslots)
        return false;
    for (u32 b = 0; b < 8; b++)
        if (f->slot[k].byte[b] != TN_BYTE_DYNPTR)
            return false;
    return true;
}

/* The dynptr whose first slot is k, whole. */
static bool is_whole(const struct tn_frame *f, u32 k)
{
    return k && slot_is_dynptr(f, k) && slot_is_dynptr(f, k - 1) && f->slot[k].tag[1] &&
           !f->slot[k - 1].tag[1] && f->slot[k].reg.id == f->slot[k - 1].reg.id;
}

int tn_object_slot(struct vf *v, u32 regno, const char *what, u32 nslots, u32 *ret_slot)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    s64 off = reg->r.smin;

    if (!tn_range_is_const(&reg->r))
        return vf_refuse(v, v->pc, TN_REASON_bad_object, "%s has to be at a constant offset: R%u varies",
                         what, regno);
    if (off % 8 || off > -8 * (s64)nslots)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "cannot pass in %s at an offset=%lld: it takes %u whole stack slots, aligned to 8",
                         what, (long long)off, nslots);
    if (off < -TN_STACK_BYTES)
        return vf_refuse(v, v->pc, TN_REASON_stack_bounds,
                         "invalid write to stack R%u off=%lld size=%u: a frame has the bytes [fp-%d, fp)",
                         regno, (long long)off, nslots * 8, TN_STACK_BYTES);
    *ret_slot = (u32)(-off - 1) / 8;
    return 0;
}

static void clear_slots(struct tn_frame *f, u32 first)
{
    for (u32 k = first; k + SLOTS > first; k--) {
        f->slot[k] = (struct tn_stack_slot){0};
        if (!k)
            break;
    }
}

int tn_dynptr_overwritten(struct vf *v, struct tn_frame *f, u32 k)
{
    const struct tn_stack_slot *s;
    u32 id, first;

    if (!slot_is_dynptr(f, k))
        return 0;
    s = &f->slot[k];
    first = s->tag[1] ? k : k + 1;
    if (kinds[s->tag[0]].refcounted)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "cannot overwrite referenced dynptr at fp-%u: submit or discard it first",
                         8 * (first + 1));
    id = s->reg.id;
    clear_slots(f, first);
    tn_ref_forget(&v->cur, id);
    return 0;
}

/* ---------------------------------------------------------------------------------------------- arguments */

/* What register `regno` names, if it is a whole dynptr. */
static int find(struct vf *v, u32 regno, struct tn_dynptr *ret)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    const struct tn_stack_slot *s;
    const struct tn_frame *f;
    u32 k;
    int err;

    if (reg->kind == TN_REG_DYNPTR && (!tn_range_is_const(&reg->r) || reg->r.smin))
        return vf_refuse(
            v, v->pc, TN_REASON_bad_object,
            "%sdereference of modified dynptr_ptr ptr R%u off=%lld disallowed: pass it as it came",
            reg->r.smin < 0 ? "negative offset dynptr_ptr ptr: " : "", regno, (long long)reg->r.smin);
    if (reg->kind == TN_REG_DYNPTR) {
        *ret = (struct tn_dynptr){.kind = reg->dynptr, .id = reg->id};
        return 0;
    }
    if (reg->kind != TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "arg#%u expected pointer to stack or const struct bpf_dynptr: R%u type=%s",
                         regno - 1, regno, TN_REG_NAME(reg));
    err = tn_object_slot(v, regno, "dynptr", SLOTS, &k);
    if (err)
        return err;
    f = v->cur.frame[reg->frame];
    if (!is_whole(f, k))
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "Expected an initialized dynptr as arg #%u: there is none at fp-%u", regno - 1,
                         8 * (k + 1));
    s = &f->slot[k];
    *ret = (struct tn_dynptr){.kind = s->tag[0], .id = s->reg.id, .ref = s->reg.ref};
    return 0;
}

int tn_dynptr_arg(struct vf *v, u32 regno, enum tn_dynptr_kind kind, bool mutates, struct tn_dynptr *ret)
{
    struct tn_dynptr d;
    int err;

    if (mutates && vf_reg(v, regno)->kind == TN_REG_DYNPTR)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_object,
            "cannot pass pointer to const bpf_dynptr, the helper mutates it: R%u is the caller's", regno);
    err = find(v, regno, &d);
    if (err)
        return err;
    if (kind != TN_DYNPTR_NONE && d.kind != kind)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "Expected a dynptr of type %s as arg #%u: it is one of type %s", kinds[kind].name,
                         regno - 1, kinds[d.kind].name);
    *ret = d;
    return 0;
}

int tn_dynptr_new(struct vf *v, u32 regno, enum tn_dynptr_kind kind, const struct tn_dynptr *cloned)
{
    struct tn_reg obj = {.kind = TN_REG_DYNPTR, .dynptr = (u8)kind};
    const struct tn_reg *reg = vf_reg(v, regno);
    struct tn_frame *f;
    u32 k;
    int err;

    if (reg->kind == TN_REG_DYNPTR)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "Dynptr has to be an uninitialized dynptr: R%u is the caller's", regno);
    if (reg->kind != TN_REG_STACK)
        return vf_refuse(
            v, v->pc, TN_REASON_arg_type,
            "arg#%u expected pointer to stack or const struct bpf_dynptr: R%u type=%s expected=fp", regno - 1,
            regno, TN_REG_NAME(reg));
    err = tn_object_slot(v, regno, "dynptr", SLOTS, &k);
    if (err)
        return err;
    f = v->cur.frame[reg->frame];
    for (u32 n = 0; n < SLOTS && !err; n++)
        err = tn_dynptr_overwritten(v, f, k - n);
    if (!err)
        err = tn_stack_fill(v, f, -8 * (s64)(k + 1), -8 * (s64)(k - 1));
    obj.id = ++v->next_id;
    if (!err && cloned)
        obj.ref = cloned->ref;
    else if (!err && kinds[kind].refcounted)
        err = tn_ref_acquire(v, &obj.ref);
    if (err)
        return err;
    for (u32 n = 0; n < SLOTS; n++) {
        struct tn_stack_slot *s = &f->slot[k - n];

        *s = (struct tn_stack_slot){.tag = {(u8)kind, n == 0}, .reg = obj};
        memset(s->byte, TN_BYTE_DYNPTR, sizeof(s->byte));
    }
    return 0;
}

int tn_dynptr_release_arg(struct vf *v, u32 regno, enum tn_dynptr_kind kind)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    struct tn_dynptr d;
    int err;

    if (reg->kind == TN_REG_DYNPTR)
        return vf_refuse(v, v->pc, TN_REASON_bad_reference, "cannot release unowned const bpf_dynptr in R%u",
                         regno);
    if (reg->kind == TN_REG_STACK) {
        const struct tn_frame *f = v->cur.frame[reg->frame];
        u32 k;

        err = tn_object_slot(v, regno, "dynptr", SLOTS, &k);
        if (err)
            return err;
        if (k >= f->nslots || !f->slot[k].reg.ref)
            return vf_refuse(
                v, v->pc, TN_REASON_bad_reference,
                "arg %u is an unacquired reference: no dynptr that could be given back lies at fp-%u", regno,
                8 * (k + 1));
    }
    err = tn_dynptr_arg(v, regno, kind, true, &d);
    if (err)
        return err;
    if (!tn_ref_release(&v->cur, d.ref))
        return vf_refuse(v, v->pc, TN_REASON_bad_reference, "arg %u is an unacquired reference", regno);
    for (u32 n = 0; n < v->cur.nframes; n++) {
        struct tn_frame *f = v->cur.frame[n];

        for (u32 k = 1; k < f->nslots; k++) {
            if (!is_whole(f, k) || f->slot[k].reg.ref != d.ref)
                continue;
            tn_ref_forget(&v->cur, f->slot[k].reg.id);
            clear_slots(f, k);
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------- slices */

void tn_dynptr_slice(const struct tn_dynptr *d, struct tn_reg *mem)
{
    mem->flags |= TN_PTR_DYNPTR_MEM;
    mem->ref = d->id;
    mem->uid = d->ref;
    mem->dynptr = d->kind;
}

/* Types of programs that may write to a packet. */
static bool writes_packet(u32 prog_type)
{
    switch (prog_type) {
    case BPF_PROG_TYPE_LWT_XMIT:
    case BPF_PROG_TYPE_SCHED_CLS:
    case BPF_PROG_TYPE_SCHED_ACT:
    case BPF_PROG_TYPE_XDP:
    case BPF_PROG_TYPE_SK_SKB:
    case BPF_PROG_TYPE_SK_MSG:
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
        return true;
    default:
        return false;
    }
}

int tn_dynptr_slice_result(struct vf *v, const struct tn_dynptr *d, u32 size, bool writable)
{
    struct tn_reg mem = tn_reg_pointer(TN_REG_MEM, size);

    if (writable && !writes_packet(v->in->prog_type))
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "the prog does not allow writes to packet data: take bpf_dynptr_slice() instead");
    mem.flags = (u16)(TN_PTR_MAYBE_NULL | (writable ? 0 : TN_PTR_RDONLY));
    mem.id = ++v->next_id;
    tn_dynptr_slice(d, &mem);
    *vf_reg(v, 0) = mem;
    return 0;
}

static void forget_packet(struct tn_reg *reg, void *arg)
{
    if (reg->kind == TN_REG_MEM && (reg->flags & TN_PTR_DYNPTR_MEM) && kinds[reg->dynptr].packet)
        *reg = tn_reg_scalar(tn_range_any());
}

void tn_dynptr_packet_changed(struct tn_state *s)
{
    tn_state_each_reg(s, forget_packet, NULL);
}

bool tn_dynptr_is_packet(const struct tn_dynptr *d)
{
    return kinds[d->kind].packet;
}

struct tn_reg tn_dynptr_const(struct vf *v, enum tn_dynptr_kind kind)
{
    struct tn_reg reg = tn_reg_pointer(TN_REG_DYNPTR, 0);

    reg.dynptr = (u8)kind;
    reg.id = ++v->next_id;
    return reg;
}
