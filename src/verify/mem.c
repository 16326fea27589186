/* SPDX-License-Identifier: MIT */
/*
 * Loads, stores, atomics, and what helpers do with memory: for each kind of pointer, is every byte that may
 * be touched a byte that may be touched.
 *
 *      kind          bounds                                    alignment            besides
 *      stack         [fp−512, fp)                              always               bytes must have been
 * written map value     [0, value_size)                           atomics (or strict)  the map's
 * read/write-only flags reservation   [0, reserved size)                        atomics (or strict)  alive,
 * which the kind implies context       the row of the program type               always               offset
 * constant; read only; authority
 *
 * The offset of a pointer is a range, so "may be touched" is [smin + off, smax + off + size).
 */
#include <inttypes.h>

#include "verify/internal.h"

#define MAX_OFFSET (1ll << 29)

struct place {
    struct tn_reg reg; /* as it was when the check was made */
    s64 min, max;      /* first byte, at least and at most, from the object's start */
    u32 size;
};

static bool fixed(const struct place *p)
{
    return p->min == p->max;
}

static int check_kind(struct vf *v, u32 regno, const struct tn_reg *reg)
{
    char label[TN_MAP_LABEL];

    if (reg->kind == TN_REG_MAP_VALUE && tn_reg_maybe_null(reg))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "R%u invalid mem access '%s': r%u is NULL when the look-up in %s finds nothing; "
                         "test it first (if (!p) "
                         "return 0;)",
                         regno, TN_REG_NAME(reg), regno, vf_map_label(v, reg->obj, label));
    if (reg->kind == TN_REG_MEM && tn_reg_maybe_null(reg))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "R%u invalid mem access '%s': r%u is NULL when the ring buffer is full; test it "
                         "first (if (!p) return 0;)",
                         regno, TN_REG_NAME(reg), regno);
    if (reg->kind == TN_REG_SCALAR)
        return vf_refuse(v, v->pc, TN_REASON_not_a_pointer,
                         "R%u invalid mem access 'scalar': r%u is a number; read foreign memory with "
                         "bpf_probe_read_user()",
                         regno, regno);
    if (reg->kind == TN_REG_MAP)
        return vf_refuse(v, v->pc, TN_REASON_opaque_access,
                         "R%u invalid mem access 'map_ptr': a map is reached through look-ups, not directly",
                         regno);
    return 0;
}

static int check_bounds(struct vf *v, u32 regno, const struct place *p, s64 size, const char *what,
                        enum tn_reason reason)
{
    if (p->min < 0)
        return vf_refuse(v, v->pc, reason,
                         "R%u min value is negative: r%u may point %" PRIu64
                         " bytes before %s; check the index as "
                         "unsigned, or against 0",
                         regno, regno, 0 - (u64)p->min, what);
    if (p->max >= MAX_OFFSET)
        return vf_refuse(v, v->pc, reason,
                         "R%u unbounded memory access: nothing keeps r%u inside %s (%" PRId64
                         " bytes); check the index before (if (i < N) …)",
                         regno, regno, what, size);
    if (p->max + p->size > size)
        return vf_refuse(
            v, v->pc, reason,
            "r%u may point up to %" PRId64 " bytes into %s, which has %" PRId64
            " bytes: an access of %u byte%s there ends %" PRId64 " too far; bound the index tighter",
            regno, p->max, what, size, p->size, p->size == 1 ? "" : "s", p->max + p->size - size);
    return 0;
}

static int check_map_value(struct vf *v, u32 regno, const struct place *p, enum tn_mem_use use)
{
    const struct tn_verify_map *map = &v->in->maps[p->reg.obj];
    char label[TN_MAP_LABEL], what[TN_MAP_LABEL + 16];

    vf_map_label(v, p->reg.obj, label);
    if (use != TN_USE_READ && map->rdonly_prog)
        return vf_refuse(v, v->pc, TN_REASON_map_write_denied,
                         "write into map forbidden: %s is read-only for programs", label);
    if (use != TN_USE_WRITE && map->wronly_prog)
        return vf_refuse(v, v->pc, TN_REASON_map_read_denied,
                         "read from map forbidden: %s is write-only for programs", label);
    snprintf(what, sizeof(what), "the value of %s", label);
    return check_bounds(v, regno, p, map->geo.value_size, what, TN_REASON_map_bounds);
}

static int check_stack(struct vf *v, u32 regno, const struct place *p)
{
    /* Not max + size ≤ 0: an offset bounded from below only reaches up to the largest number there is. */
    if (p->min >= -TN_STACK_BYTES && p->max <= -(s64)p->size)
        return 0;
    if (p->max >= MAX_OFFSET)
        return vf_refuse(
            v, v->pc, TN_REASON_stack_bounds,
            "R%u unbounded memory access: nothing keeps r%u inside the frame [fp-%d, fp); check the "
            "index before (if (i < N) …)",
            regno, regno, TN_STACK_BYTES);
    if (fixed(p))
        return vf_refuse(v, v->pc, TN_REASON_stack_bounds,
                         "invalid stack access through R%u off=%" PRId64
                         " size=%u: a frame has the bytes [fp-%d, fp)",
                         regno, p->min, p->size, TN_STACK_BYTES);
    return vf_refuse(v, v->pc, TN_REASON_stack_bounds,
                     "invalid variable-offset stack access through R%u: bytes from fp%+" PRId64
                     " to fp%+" PRId64 " may be touched, a frame has [fp-%d, fp)",
                     regno, p->min, p->max + p->size, TN_STACK_BYTES);
}

static void note_ctx_read(struct vf *v, s64 first, s64 end)
{
    for (s64 word = first / 8; word < (end + 7) / 8; word++) {
        if (word < 256)
            v->facts.ctx_read[word / 64] |= 1ull << (word % 64);
        else
            v->facts.ctx_escapes = true;
    }
}

static int ask_ctx(struct vf *v, s64 off, u32 size)
{
    struct tn_access access = {TN_ACCESS_READ, 0, "", (u32)off, size, false};
    struct tn_error err = {0};

    if (v->auth->may_access(v->auth->self, &access, &err))
        return vf_refuse_denied(v, TN_REASON_access_denied, &err);
    note_ctx_read(v, off, off + size);
    return 0;
}

static int check_ctx_bounds(struct vf *v, u32 regno, s64 off, u32 size)
{
    const struct tn_prog_type *t = v->type;

    if (off >= t->ctx_first && off + size <= t->ctx_end)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_ctx_bounds,
                     "invalid bpf_context access off=%" PRId64
                     " size=%u through R%u: the context of a %s program has "
                     "readable bytes [%u, %u)",
                     off, size, regno, t->name, t->ctx_first, t->ctx_end);
}

static int check_ctx(struct vf *v, u32 regno, const struct place *p, enum tn_mem_use use)
{
    const struct tn_prog_type *t = v->type;
    s64 off = p->min;
    int err;

    if (!tn_range_is_const(&p->reg.r) || p->reg.r.smin)
        return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                         "dereference of modified ctx ptr R%u disallowed: use the context's fields directly",
                         regno);
    if (use != TN_USE_READ)
        return vf_refuse(v, v->pc, TN_REASON_ctx_write,
                         "invalid bpf_context access off=%" PRId64
                         " size=%u: the context of a %s program is read-only",
                         off, p->size, t->name);
    err = check_ctx_bounds(v, regno, off, p->size);
    if (err)
        return err;
    if (off % p->size || (t->rule == TN_CTX_WORDS && p->size < 4))
        return vf_refuse(v, v->pc, TN_REASON_misaligned,
                         "invalid bpf_context access off=%" PRId64
                         " size=%u: the offset must be a multiple of the size",
                         off, p->size);
    return ask_ctx(v, off, p->size);
}

static void note_mem(struct vf *v, enum tn_reg_kind kind)
{
    static const u8 mem_kind[] = {
        [TN_REG_CTX] = TN_MEM_CTX,
        [TN_REG_STACK] = TN_MEM_STACK,
        [TN_REG_MAP_VALUE] = TN_MEM_MAP_VALUE,
        [TN_REG_MEM] = TN_MEM_RINGBUF,
    };
    struct tn_seen *seen = &v->seen[v->pc];

    if (seen->has_mem && seen->mem_kind != mem_kind[kind])
        seen->mem_kind = TN_MEM_PLAIN;
    else
        seen->mem_kind = mem_kind[kind];
    seen->has_mem = true;
}

/* An access by an instruction. Fills `p`. */
static int check_access(struct vf *v, u32 regno, s32 off, u32 size, enum tn_mem_use use, bool aligned,
                        struct place *p)
{
    struct tn_range at;
    struct tn_range add = tn_range_const((u64)(s64)off);
    int err = vf_need_init(v, regno);

    if (err)
        return err;
    p->reg = *vf_reg(v, regno);
    err = check_kind(v, regno, &p->reg);
    if (err)
        return err;
    at = tn_range_alu(BPF_ADD, true, &p->reg.r, &add);
    p->min = at.smin;
    p->max = at.smax;
    p->size = size;
    switch (p->reg.kind) {
    case TN_REG_STACK:
        aligned = true;
        err = check_stack(v, regno, p);
        break;
    case TN_REG_MAP_VALUE:
        err = check_map_value(v, regno, p, use);
        break;
    case TN_REG_MEM:
        err = check_bounds(v, regno, p, p->reg.obj, "the reservation", TN_REASON_mem_bounds);
        break;
    case TN_REG_CTX:
        err = check_ctx(v, regno, p, use);
        break;
    default:
        return vf_refuse(v, v->pc, TN_REASON_opaque_access, "R%u invalid mem access '%s'", regno,
                         TN_REG_NAME(&p->reg));
    }
    if (err)
        return err;
    if ((aligned || (v->in->prog_flags & BPF_F_STRICT_ALIGNMENT)) &&
        ((at.var.value | at.var.mask) & (size - 1)))
        return vf_refuse(v, v->pc, TN_REASON_misaligned,
                         "misaligned access through R%u (%s) off %" PRId64 "…%" PRId64
                         " size %u: align it to its size",
                         regno, TN_REG_NAME(&p->reg), p->min, p->max, size);
    note_mem(v, p->reg.kind);
    return 0;
}

/* Contents of a frozen map are constants. */
static bool frozen_value(const struct vf *v, const struct place *p, u64 *ret)
{
    const struct tn_verify_map *map = &v->in->maps[p->reg.obj];

    if (p->reg.kind != TN_REG_MAP_VALUE || !fixed(p) || !map->frozen || !map->rdonly_prog ||
        map->geo.max_entries != 1 || map->geo.type != BPF_MAP_TYPE_ARRAY)
        return false;
    *ret = 0;
    memcpy(ret, map->frozen + p->min, p->size);
    return true;
}

int tn_mem_load(struct vf *v, const struct bpf_insn *i)
{
    u32 size = tn_size_bytes(i->code);
    struct tn_reg value = tn_reg_scalar(tn_range_unsigned(0, tn_width_mask(size * 8)));
    struct place p;
    u64 known;
    int err = check_access(v, i->src_reg, i->off, size, TN_USE_READ, false, &p);

    if (err)
        return err;
    if (p.reg.kind == TN_REG_STACK) {
        struct tn_frame *f = v->cur.frame[p.reg.frame];

        if (fixed(&p))
            err = tn_stack_load(v, f, p.min, size, &value);
        else
            err = tn_stack_readable(v, f, p.min, p.max + size);
        if (err)
            return err;
    } else if (frozen_value(v, &p, &known)) {
        value = tn_reg_scalar(tn_range_const(known));
    }
    if (BPF_MODE(i->code) == BPF_MEMSX) /* a spilled pointer is never shorter than eight bytes */
        value = tn_reg_scalar(tn_range_sext(&value.r, size * 8));
    *vf_reg(v, i->dst_reg) = value;
    return 0;
}

int tn_mem_store(struct vf *v, const struct bpf_insn *i)
{
    u32 size = tn_size_bytes(i->code);
    struct tn_reg value = tn_reg_scalar(tn_range_const((u64)(s64)i->imm));
    struct place p;
    int err = 0;

    if (BPF_CLASS(i->code) == BPF_STX) {
        err = vf_need_init(v, i->src_reg);
        if (!err && vf_reg(v, i->src_reg)->kind == TN_REG_SCALAR && !vf_reg(v, i->src_reg)->id &&
            !tn_range_is_const(&vf_reg(v, i->src_reg)->r))
            vf_reg(v, i->src_reg)->id = ++v->next_id; /* so that the spilled copy learns with it */
        value = *vf_reg(v, i->src_reg);
    }
    if (!err)
        err = check_access(v, i->dst_reg, i->off, size, TN_USE_WRITE, false, &p);
    if (err || p.reg.kind != TN_REG_STACK)
        return err;
    if (value.kind == TN_REG_STACK && p.reg.frame + 1u != v->cur.nframes)
        return vf_refuse(
            v, v->pc, TN_REASON_pointer_arithmetic,
            "cannot spill pointers to stack into stack frame of the caller: the frame they name goes away");
    if (tn_reg_is_pointer(&value) && size != 8)
        return vf_refuse(
            v, v->pc, TN_REASON_spill_partial,
            "invalid size of register spill: r%u is a %s, which goes to the stack with its 8 bytes or "
            "not at all",
            i->src_reg, TN_REG_NAME(&value));
    if (fixed(&p))
        return tn_stack_store(v, v->cur.frame[p.reg.frame], p.min, size, &value);
    return tn_stack_clobber(v, v->cur.frame[p.reg.frame], p.min, p.max, size);
}

int tn_mem_atomic(struct vf *v, const struct bpf_insn *i)
{
    u32 size = tn_size_bytes(i->code), gets = i->imm == BPF_CMPXCHG ? 0 : i->src_reg;
    const u32 operand[2] = {i->src_reg, 0};
    struct tn_reg old;
    struct place p;
    int err = 0;

    for (u32 k = 0; k < (i->imm == BPF_CMPXCHG ? 2u : 1u); k++) {
        err = vf_need_init(v, operand[k]);
        if (err)
            return err;
        if (tn_reg_is_pointer(vf_reg(v, operand[k])))
            return vf_refuse(v, v->pc, TN_REASON_bad_atomic,
                             "R%u leaks addr into mem: atomic operations take numbers", operand[k]);
    }
    err = vf_need_init(v, i->dst_reg);
    if (err)
        return err;
    if (vf_reg(v, i->dst_reg)->kind == TN_REG_CTX)
        return vf_refuse(v, v->pc, TN_REASON_bad_atomic,
                         "BPF_ATOMIC stores into R%u ctx is not allowed: the context is read-only",
                         i->dst_reg);
    err = check_access(v, i->dst_reg, i->off, size, TN_USE_READ_WRITE, true, &p);
    if (err)
        return err;
    if (p.reg.kind == TN_REG_STACK) {
        struct tn_frame *f = v->cur.frame[p.reg.frame];

        if (fixed(&p) && size < 8) /* half of a pointer is no operand */
            err = tn_stack_load(v, f, p.min, size, &old);
        else
            err = tn_stack_readable(v, f, p.min, p.max + size);
        if (!err)
            err = tn_stack_clobber(v, f, p.min, p.max, size);
        if (err)
            return err;
    }
    if (i->imm & BPF_FETCH)
        vf_set_scalar(v, gets, tn_range_unsigned(0, tn_width_mask(size * 8)));
    return 0;
}

/* ----------------------------------------------------------------------------------------- on behalf of
 * helpers */

static int helper_stack(struct vf *v, u32 regno, const struct place *p, enum tn_mem_use use, bool exact)
{
    struct tn_frame *f = v->cur.frame[p->reg.frame];
    int err;

    if (!p->size)
        return 0;
    err = check_stack(v, regno, p);
    if (err)
        return err;
    /* Bytes the helper surely overwrites need not have been written before. */
    if (use == TN_USE_WRITE && exact && fixed(p))
        return tn_stack_fill(v, f, p->min, p->min + p->size);
    err = tn_stack_readable(v, f, p->min, p->max + p->size);
    if (!err && use != TN_USE_READ)
        err = tn_stack_clobber(v, f, p->min, p->max, p->size);
    return err;
}

static int helper_ctx(struct vf *v, u32 regno, const struct place *p, enum tn_mem_use use)
{
    int err;

    if (use != TN_USE_READ)
        return vf_refuse(v, v->pc, TN_REASON_ctx_write,
                         "R%u points to the context, which the call would write", regno);
    if (!tn_range_is_const(&p->reg.r) || p->reg.r.smin)
        return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                         "R%u is a modified ctx ptr: pass the context as it came", regno);
    if (!p->size)
        return 0;
    err = check_ctx_bounds(v, regno, v->type->ctx_first, p->size);
    return err ? err : ask_ctx(v, 0, p->size);
}

int tn_mem_helper(struct vf *v, u32 regno, u64 size, enum tn_mem_use use, bool exact)
{
    struct place p;
    int err = vf_need_init(v, regno);

    if (err)
        return err;
    p.reg = *vf_reg(v, regno);
    p.min = p.reg.r.smin;
    p.max = p.reg.r.smax;
    if (tn_reg_maybe_null(&p.reg))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "R%u type=%s expected=fp, map_value, ringbuf_mem: the call needs %" PRIu64
                         " bytes of memory; test the pointer against NULL first",
                         regno, TN_REG_NAME(&p.reg), size);
    if (size >= (u64)MAX_OFFSET)
        return vf_refuse(v, v->pc, TN_REASON_arg_size, "R%u unbounded memory access: %" PRIu64 " bytes",
                         regno, size);
    p.size = (u32)size;
    switch (p.reg.kind) {
    case TN_REG_STACK:
        return helper_stack(v, regno, &p, use, exact);
    case TN_REG_MAP_VALUE:
        return check_map_value(v, regno, &p, use);
    case TN_REG_MEM:
        return check_bounds(v, regno, &p, p.reg.obj, "the reservation", TN_REASON_mem_bounds);
    case TN_REG_CTX:
        return helper_ctx(v, regno, &p, use);
    default:
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "R%u type=%s expected=fp, map_value, ringbuf_mem: the call needs %" PRIu64
                         " bytes of memory",
                         regno, TN_REG_NAME(&p.reg), size);
    }
}
