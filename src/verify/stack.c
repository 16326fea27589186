/* SPDX-License-Identifier: MIT */
/*
 * What the bytes of a frame hold. Each byte is invalid (never written), data, zero, or part of a spilled
 * register.
 *
 *      slot k:   fp−8(k+1) ├─0─┬─1─┬─2─┬─3─┬─4─┬─5─┬─6─┬─7─┤ fp−8k
 *
 * Spilling: a pointer only as a whole aligned slot; a number of 1, 2, 4 or 8 aligned bytes, one spill a slot.
 * Any store into a slot ends the spill it overlaps or neighbours; what is left of a spilled number is data; a
 * pointer is never overwritten in part (its bytes would be a forged pointer, were they reloaded as one: they
 * become data, and reloading data yields a number).
 *
 * Reads of bytes never written are refused, for every program: what is left there from earlier calls belongs
 * to the host. (Linux refuses this to unprivileged programs only.)
 */
#include "verify/internal.h"

static u32 slot_of(s64 off)
{
    return (u32)(-off - 1) / 8;
}

static u32 byte_of(s64 off)
{
    return (u32)((u64)off % 8); /* frames end at a multiple of eight */
}

static int reach(struct vf *v, struct tn_frame *f, s64 off)
{
    u32 depth = TN_ROUND_UP((u32)-off, 8u);

    v->cfg.sub[f->subprog].depth = TN_MAX(v->cfg.sub[f->subprog].depth, depth);
    return tn_frame_grow(f, depth / 8);
}

/* The spilled register, if any, is one no more: what remains of it is data. */
static void end_spill(struct tn_stack_slot *s)
{
    for (u32 b = 0; b < 8; b++)
        if (s->byte[b] == TN_BYTE_SPILL)
            s->byte[b] = TN_BYTE_MISC;
    s->lo = s->size = 0;
    s->reg = (struct tn_reg){0};
}

/* What lies in bytes [min, end) and is more than data ends, or may not be overwritten. */
static int end_objects(struct vf *v, struct tn_frame *f, s64 min, s64 end)
{
    int err = 0;

    for (u32 k = slot_of(end - 1); !err && k <= slot_of(min); k++)
        if (k < f->nslots && f->slot[k].byte[0] == TN_BYTE_DYNPTR)
            err = tn_dynptr_overwritten(v, f, k);
    return err;
}

static bool is_const(const struct tn_reg *reg, u64 value)
{
    return reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && reg->r.umin == value;
}

int tn_stack_store(struct vf *v, struct tn_frame *f, s64 off, u32 size, const struct tn_reg *value)
{
    struct tn_stack_slot *s;
    struct tn_reg kept = *value;
    bool aligned = off % size == 0;
    int err = reach(v, f, off);

    if (!err)
        err = end_objects(v, f, off, off + size);
    if (err)
        return err;
    if (tn_reg_is_pointer(value) && (size != 8 || !aligned))
        kept = tn_reg_scalar(tn_range_any());
    if (kept.kind == TN_REG_SCALAR && size < 8) {
        struct tn_range low = tn_range_zext(&kept.r, size * 8);

        if (memcmp(&low, &kept.r, sizeof(low)))
            kept = tn_reg_scalar(low);
    }
    if (!aligned) { /* may straddle two slots */
        for (s64 o = off; o < off + size; o++) {
            s = &f->slot[slot_of(o)];
            if (s->size)
                end_spill(s);
            s->byte[byte_of(o)] = is_const(&kept, 0) ? TN_BYTE_ZERO : TN_BYTE_MISC;
        }
        return 0;
    }
    s = &f->slot[slot_of(off)];
    if (s->size)
        end_spill(s);
    memset(&s->byte[byte_of(off)], TN_BYTE_SPILL, size);
    s->lo = (u8)byte_of(off);
    s->size = (u8)size;
    s->reg = kept;
    return 0;
}

int tn_stack_load(struct vf *v, struct tn_frame *f, s64 off, u32 size, struct tn_reg *ret)
{
    struct tn_stack_slot *s;
    bool zero = true;
    int err = tn_stack_readable(v, f, off, off + size);

    if (err)
        return err;
    s = &f->slot[slot_of(off)];
    if (s->size == size && s->lo == byte_of(off) && slot_of(off) == slot_of(off + size - 1)) {
        /* A copy of a number is linked to it. */
        if (s->reg.kind == TN_REG_SCALAR && !s->reg.id && !tn_range_is_const(&s->reg.r))
            s->reg.id = ++v->next_id;
        *ret = s->reg;
        return 0;
    }
    for (s64 o = off; o < off + size; o++) {
        s = &f->slot[slot_of(o)];
        zero &= s->byte[byte_of(o)] == TN_BYTE_ZERO ||
                (s->byte[byte_of(o)] == TN_BYTE_SPILL && is_const(&s->reg, 0));
        if (s->byte[byte_of(o)] == TN_BYTE_SPILL && tn_reg_is_pointer(&s->reg))
            return vf_refuse(v, v->pc, TN_REASON_spill_partial,
                             "part of the %s kept at fp-%u is read: load the whole slot",
                             TN_REG_NAME(&s->reg), 8 * (slot_of(o) + 1));
    }
    *ret = tn_reg_scalar(zero ? tn_range_const(0) : tn_range_unsigned(0, tn_width_mask(size * 8)));
    return 0;
}

bool tn_stack_const(const struct tn_frame *f, s64 off, u32 size, u64 *ret_value)
{
    u64 value = 0;

    if (size > 8)
        return false;
    for (u32 k = 0; k < size; k++) {
        const struct tn_stack_slot *s = &f->slot[slot_of(off + k)];
        u32 b = byte_of(off + k);

        if (slot_of(off + k) >= f->nslots)
            return false;
        if (s->byte[b] == TN_BYTE_ZERO)
            continue;
        if (s->byte[b] != TN_BYTE_SPILL || s->reg.kind != TN_REG_SCALAR || !tn_range_is_const(&s->reg.r))
            return false;
        value |= (s->reg.r.umin >> (8 * (b - s->lo)) & 0xff) << (8 * k);
    }
    *ret_value = value;
    return true;
}

int tn_stack_readable(struct vf *v, struct tn_frame *f, s64 min, s64 end)
{
    tn_track_read(v, f, min, end);
    for (s64 o = min; o < end; o++) {
        u8 byte = slot_of(o) < f->nslots ? f->slot[slot_of(o)].byte[byte_of(o)] : TN_BYTE_INVALID;

        if (byte >= TN_BYTE_DYNPTR)
            return vf_refuse(
                v, v->pc, TN_REASON_object_bytes,
                "invalid read from stack off %lld+%lld size %lld: a dynptr, iterator or saved flag lies "
                "at fp%lld, which only its functions read",
                (long long)min, (long long)(o - min), (long long)(end - min), (long long)o);
        if (byte != TN_BYTE_INVALID)
            continue;
        return vf_refuse(
            v, v->pc, TN_REASON_uninit_stack,
            "invalid read from stack off %lld+%lld size %lld: the byte at fp%lld was never written; "
            "initialise the variable, padding included",
            (long long)min, (long long)(o - min), (long long)(end - min), (long long)o);
    }
    return 0;
}

int tn_stack_fill(struct vf *v, struct tn_frame *f, s64 min, s64 end)
{
    int err = min < end ? reach(v, f, min) : 0;

    tn_track_written(v, f, min, end);
    for (s64 o = min; !err && o < end; o++) {
        struct tn_stack_slot *s = &f->slot[slot_of(o)];

        if (s->byte[byte_of(o)] == TN_BYTE_DYNPTR)
            return vf_refuse(v, v->pc, TN_REASON_object_bytes,
                             "potential write to dynptr at off=%lld disallowed: the call would write over it",
                             (long long)o);
        if (s->size)
            end_spill(s);
        s->byte[byte_of(o)] = TN_BYTE_MISC;
    }
    return err;
}

int tn_stack_clobber(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size)
{
    int err = reach(v, f, min);

    if (!err)
        err = end_objects(v, f, min, max + size);
    /* A byte that may or may not be written: what it held may be gone; what was never written may still not
     * be. */
    for (s64 o = min; !err && o < max + size; o++) {
        struct tn_stack_slot *s = &f->slot[slot_of(o)];

        if (s->size)
            end_spill(s);
        if (s->byte[byte_of(o)] != TN_BYTE_INVALID)
            s->byte[byte_of(o)] = TN_BYTE_MISC;
    }
    return err;
}
