/* SPDX-License-Identifier: MIT */
/*
 * What the bytes of a frame hold. Each byte is invalid (never written), data, zero, part of a spilled
 * register, or part of an object (dynptr, iterator, IRQ flag).
 *
 *      slot k:   fp−8(k+1) ├─0─┬─1─┬─2─┬─3─┬─4─┬─5─┬─6─┬─7─┤ fp−8k
 *
 * Spilling: a pointer only as a whole aligned slot; a number of 1, 2, 4 or 8 aligned bytes, one spill a slot.
 * Any store into a slot ends the spill it overlaps or neighbours; what is left of a spilled number is data;
 * what is left of a pointer is data too, and reloading data yields a number, never a pointer. A number that
 * does not lie at its slot's start is reloaded as one that nobody knows (but zero), as in Linux: counters of
 * loops often lie there, and known ones would make every round look new. Whoever looks for constants there
 * (tn_stack_const) finds them.
 *
 * Bytes never written may be read, as Linux has it for privileged programs, and are numbers nobody knows.
 * What earlier calls left there belongs to the host: the slots such a read may touch are noted in
 * tn_sub.zero, and whoever runs the program clears them when the frame is entered. That is the only thing
 * `zero` promises: nothing here may conclude that the byte *is* zero, since a loop may come back to it after
 * a helper has written there.
 *
 * Objects are read and written through their own calls only: an ordinary read is refused, an ordinary write
 * ends them, or is refused.
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

static u8 *byte_at(struct tn_frame *f, s64 off)
{
    return &f->slot[slot_of(off)].byte[byte_of(off)];
}

/* The frames that are open by calls (what is called back when the program is over stands on none). */
static u32 open_frames(const struct vf *v, u32 *ret_calls)
{
    u32 sum = 0, k = v->cur.nframes;

    *ret_calls = 0;
    while (k-- > 0) {
        const struct tn_frame *f = v->cur.frame[k];

        sum += tn_frame_counted(&v->cfg.sub[f->subprog]);
        ++*ret_calls;
        if (f->async || f->exception)
            break;
    }
    return sum;
}

/* A stack that grows too large is refused at once: at the end it would be (tn_subprog_stack), and until then
   every state would be dragging it along. */
static int reach(struct vf *v, struct tn_frame *f, s64 off)
{
    u32 depth = TN_ROUND_UP((u32)-off, 8u), calls, sum;

    if (depth > v->cfg.sub[f->subprog].depth) {
        v->cfg.sub[f->subprog].depth = depth;
        sum = open_frames(v, &calls);
        if (calls > 1 && sum > TN_STACK_BYTES && !v->private_stacks)
            return tn_subprog_stack_refuse(v, v->pc, calls, sum);
    }
    return tn_frame_grow(f, depth / 8);
}

static bool is_const(const struct tn_reg *reg, u64 value)
{
    return reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && reg->r.umin == value;
}

static bool is_object(u8 byte)
{
    return byte == TN_BYTE_DYNPTR || byte == TN_BYTE_ITER || byte == TN_BYTE_IRQ_FLAG;
}

/* The spilled register, if any, is one no more: what remains of it is data. */
static void end_spill(struct tn_stack_slot *s)
{
    u8 left = is_const(&s->reg, 0) ? TN_BYTE_ZERO : TN_BYTE_MISC;

    if (!s->size)
        return;
    for (u32 b = 0; b < 8; b++)
        if (s->byte[b] == TN_BYTE_SPILL)
            s->byte[b] = left;
    s->lo = s->size = 0;
    s->reg = (struct tn_reg){0};
}

/* Data is about to be stored somewhere in [min, end). A dynptr there ends, or may not be overwritten; of
   another object data remains, and nobody will be able to end it properly. */
static int overwrite(struct vf *v, struct tn_frame *f, s64 min, s64 end)
{
    int err = reach(v, f, min);

    for (u32 k = slot_of(end - 1); !err && k <= slot_of(min); k++) {
        struct tn_stack_slot *s = &f->slot[k];

        if (!is_object(s->byte[0]))
            continue;
        err = tn_dynptr_overwritten(v, f, k);
        if (!err && is_object(f->slot[k].byte[0])) {
            memset(s->byte, TN_BYTE_MISC, sizeof(s->byte));
            s->reg = (struct tn_reg){0};
        }
    }
    return err;
}

/* ------------------------------------------------------------------------------------------------- stores */

int tn_stack_store(struct vf *v, struct tn_frame *f, s64 off, u32 size, const struct tn_reg *value)
{
    struct tn_stack_slot *s;
    struct tn_reg kept = *value;
    bool aligned = off % size == 0;
    int err = overwrite(v, f, off, off + size);

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
            end_spill(&f->slot[slot_of(o)]);
            *byte_at(f, o) = is_const(&kept, 0) ? TN_BYTE_ZERO : TN_BYTE_MISC;
        }
        return 0;
    }
    s = &f->slot[slot_of(off)];
    end_spill(s);
    memset(&s->byte[byte_of(off)], TN_BYTE_SPILL, size);
    s->lo = (u8)byte_of(off);
    s->size = (u8)size;
    s->reg = kept;
    return 0;
}

int tn_stack_store_var(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size,
                       const struct tn_reg *value)
{
    bool zero = is_const(value, 0);
    int err = overwrite(v, f, min, max + size);

    /* A byte that may or may not be written: zeroes stay zeroes under a zero; what was never written may
       still not be. */
    for (s64 o = min; !err && o < max + size; o++) {
        end_spill(&f->slot[slot_of(o)]);
        if (*byte_at(f, o) != TN_BYTE_INVALID && !(zero && *byte_at(f, o) == TN_BYTE_ZERO))
            *byte_at(f, o) = TN_BYTE_MISC;
    }
    return err;
}

int tn_stack_clobber(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size)
{
    struct tn_reg unknown = tn_reg_scalar(tn_range_any());

    return tn_stack_store_var(v, f, min, max, size, &unknown);
}

int tn_stack_fill(struct vf *v, struct tn_frame *f, s64 min, s64 end)
{
    int err = min < end ? reach(v, f, min) : 0;

    tn_track_written(v, f, min, end);
    for (s64 o = min; !err && o < end; o++)
        if (*byte_at(f, o) == TN_BYTE_DYNPTR)
            return vf_refuse(v, v->pc, TN_REASON_object_bytes,
                             "potential write to dynptr at off=%lld disallowed: the call would write over it",
                             (long long)o);
    if (!err && min < end)
        err = overwrite(v, f, min, end);

    for (s64 o = min; !err && o < end; o++) {
        end_spill(&f->slot[slot_of(o)]);
        *byte_at(f, o) = TN_BYTE_MISC;
    }
    return err;
}

/* -------------------------------------------------------------------------------------------------- loads */

int tn_stack_readable(struct vf *v, struct tn_frame *f, s64 min, s64 end)
{
    int err = min < end ? reach(v, f, min) : 0;

    tn_track_read(v, f, min, end);
    for (s64 o = min; !err && o < end; o++) {
        if (*byte_at(f, o) == TN_BYTE_INVALID)
            v->cfg.sub[f->subprog].zero |= 1ull << slot_of(o);
        else if (is_object(*byte_at(f, o)))
            return vf_refuse(
                v, v->pc, TN_REASON_object_bytes,
                "invalid read from stack off %lld+%lld size %lld: the bytes at fp%lld belong to an "
                "object (dynptr, iterator, IRQ flag), which only its own functions read",
                (long long)min, (long long)(o - min), (long long)(end - min), (long long)o);
    }
    return err;
}

static bool all_zero(const struct tn_frame *f, s64 min, s64 end, bool spilled)
{
    for (s64 o = min; o < end; o++) {
        const struct tn_stack_slot *s = &f->slot[slot_of(o)];
        u8 byte = s->byte[byte_of(o)];

        if (byte != TN_BYTE_ZERO && !((spilled || s->lo) && byte == TN_BYTE_SPILL && is_const(&s->reg, 0)))
            return false;
    }
    return true;
}

static void load_data(const struct tn_frame *f, s64 min, s64 end, u32 size, bool spilled, struct tn_reg *ret)
{
    *ret = tn_reg_scalar(all_zero(f, min, end, spilled) ? tn_range_const(0)
                                                        : tn_range_unsigned(0, tn_width_mask(size * 8)));
}

int tn_stack_load(struct vf *v, struct tn_frame *f, s64 off, u32 size, struct tn_reg *ret)
{
    struct tn_stack_slot *s;
    struct tn_range low;
    int err = tn_stack_readable(v, f, off, off + size);

    if (err)
        return err;
    s = &f->slot[slot_of(off)];
    if (s->size && tn_reg_is_pointer(&s->reg) && size != 8)
        return vf_refuse(
            v, v->pc, TN_REASON_spill_partial,
            "invalid size of register fill: part of the %s kept at fp-%u is read; load the whole slot",
            TN_REG_NAME(&s->reg), 8 * (slot_of(off) + 1));
    if (!s->size || s->lo || byte_of(off) || s->size < size) {
        load_data(f, off, off + size, size, true, ret);
        return 0;
    }
    /* A copy of a number is linked to it; its low bytes, once others are cut off, are another number. */
    if (s->reg.kind == TN_REG_SCALAR && !s->reg.id && !tn_range_is_const(&s->reg.r))
        s->reg.id = ++v->next_id;
    *ret = s->reg;
    if (s->size == size)
        return 0;
    low = tn_range_zext(&s->reg.r, size * 8);
    if (memcmp(&low, &s->reg.r, sizeof(low)))
        *ret = tn_reg_scalar(low);
    return 0;
}

int tn_stack_load_var(struct vf *v, struct tn_frame *f, s64 min, s64 max, u32 size, struct tn_reg *ret)
{
    int err = tn_stack_readable(v, f, min, max + size);

    if (!err)
        load_data(f, min, max + size, size, false, ret);
    return err;
}

bool tn_stack_const(const struct tn_frame *f, s64 off, u32 size, u64 *ret_value)
{
    u64 value = 0;

    if (size > 8)
        return false;
    for (u32 k = 0; k < size; k++) {
        const struct tn_stack_slot *s;
        u32 b = byte_of(off + k);

        if (slot_of(off + k) >= f->nslots)
            return false;
        s = &f->slot[slot_of(off + k)];
        if (s->byte[b] == TN_BYTE_ZERO)
            continue;
        if (s->byte[b] != TN_BYTE_SPILL || s->reg.kind != TN_REG_SCALAR || !tn_range_is_const(&s->reg.r))
            return false;
        value |= (s->reg.r.umin >> (8 * (b - s->lo)) & 0xff) << (8 * k);
    }
    *ret_value = value;
    return true;
}
