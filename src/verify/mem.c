/* SPDX-License-Identifier: MIT */
/*
 * Loads, stores, atomics, and what helpers do with memory: for each kind of pointer, is every byte that may
 * be touched a byte that may be touched.
 *
 *      pointer ─┬─ offset range ─── access: [smin + off, smax + off + size)
 *               └─ kind ─── memories[]: one row a kind
 *                             stack          [fp−512, fp), what its bytes hold: stack.c
 *                             map value      [0, value_size), the map's flags, its special fields
 *                             memory         [0, size): reservations, slices, arguments
 *                             context        ctx.c: rows of fields
 *                             sockets        the same rows; read only
 *                             packet         packet.c: what was compared with data_end
 *                             buffers        whatever they turn out to hold when they are attached
 *
 * What a kind has no row for is not reached by loads and stores. A row says besides whether atomic operations
 * work there. Alignment is asked of the stack and of atomics always, elsewhere with BPF_F_STRICT_ALIGNMENT.
 */
#include <inttypes.h>

#include "verify/ctx.h"
#include "verify/internal.h"
#include "verify/maptypes.h"

static bool fixed(const struct tn_place *p)
{
    return p->min == p->max;
}

/* What variables added to the offset, as Linux writes it. */
#define VAR_TEXT_LEN 48
static const char *var_text(const struct tn_place *p, char buf[VAR_TEXT_LEN])
{
    struct tn_tnum var = tn_tnum_sub(p->reg.r.var, tn_tnum_const((u64)(s64)p->reg.delta));

    if (tn_tnum_is_const(var))
        snprintf(buf, VAR_TEXT_LEN, "%" PRId64, (s64)var.value);
    else
        snprintf(buf, VAR_TEXT_LEN, "(0x%" PRIx64 "; 0x%" PRIx64 ")", var.value, var.mask);
    return buf;
}
#define TN_VAR_TEXT(p) var_text((p), (char[VAR_TEXT_LEN]){0})

/* ------------------------------------------------------------------------------------------------ regions */

/* "the value of map counts": what the bytes are to whoever wrote the program. */
#define WHAT_LEN (TN_MAP_LABEL + 16)
static const char *what(const struct vf *v, const struct tn_reg *reg, char buf[WHAT_LEN])
{
    char label[TN_MAP_LABEL];

    if (reg->kind == TN_REG_MAP_VALUE || reg->kind == TN_REG_MAP_KEY)
        snprintf(buf, WHAT_LEN, "the %s of %s", reg->kind == TN_REG_MAP_KEY ? "key" : "value",
                 vf_map_label(v, reg->obj, label));
    else
        snprintf(buf, WHAT_LEN, reg->flags & TN_PTR_RINGBUF ? "the reservation" : "the memory");
    return buf;
}
#define WHAT(v, reg) what((v), (reg), (char[WHAT_LEN]){0})

static int outside(struct vf *v, const struct tn_place *p, bool below, u32 size, const char *kind,
                   const char *size_name, enum tn_reason reason)
{
    s64 off = below ? p->min : p->max;

    if (off < 0)
        return vf_refuse(
            v, v->pc, reason,
            "invalid access to %s, %s=%u off=%" PRId64 " size=%u; R%u min value is outside of the allowed "
            "memory range: r%u may point %" PRIu64 " bytes before %s",
            kind, size_name, size, off, p->size, p->regno, p->regno, 0 - (u64)off, WHAT(v, &p->reg));
    return vf_refuse(
        v, v->pc, reason,
        "invalid access to %s, %s=%u off=%" PRId64 " size=%u; R%u %s value is outside of the allowed "
        "memory range: r%u may point up to %" PRId64 " bytes into %s, which has %u bytes: an access of %u "
        "byte%s there ends %" PRId64 " too far; bound the index tighter",
        kind, size_name, size, off, p->size, p->regno, below ? "min" : "max", p->regno, off, WHAT(v, &p->reg),
        size, p->size, p->size == 1 ? "" : "s", off + p->size - size);
}

int tn_region_check(struct vf *v, const struct tn_place *p, u32 size, const char *kind, const char *size_name,
                    enum tn_reason reason)
{
    if (p->min < 0 && p->reg.r.smin < p->reg.delta)
        return vf_refuse(
            v, v->pc, reason,
            "R%u min value is negative, either use unsigned index or do a if (index >=0) check.: r%u may "
            "point %" PRIu64 " bytes before %s",
            p->regno, p->regno, 0 - (u64)p->min, WHAT(v, &p->reg));
    if (p->min < 0 || p->min + p->size > size)
        return outside(v, p, true, size, kind, size_name, reason);
    if (p->max >= TN_MAX_OFFSET)
        return vf_refuse(
            v, v->pc, reason,
            "R%u unbounded memory access, make sure to bounds check any such access: nothing keeps r%u "
            "inside %s (%u bytes); if (i < N) … before does",
            p->regno, p->regno, WHAT(v, &p->reg), size);
    return p->max + p->size > size ? outside(v, p, false, size, kind, size_name, reason) : 0;
}

const struct tn_verify_map *vf_map_of(const struct vf *v, const struct tn_reg *reg)
{
    const struct tn_verify_map *map = &v->in->maps[reg->obj];

    return reg->uid && map->inner ? map->inner : map;
}

bool tn_reg_is_percpu(const struct vf *v, const struct tn_reg *reg)
{
    const struct tn_vmap *type =
        reg->kind == TN_REG_MAP_VALUE ? tn_vmap_by_type(vf_map_of(v, reg)->geo.type) : NULL;

    return type && type->flags & TN_VM_PERCPU;
}

static void make_stale(struct tn_reg *reg, void *arg)
{
    if (tn_reg_is_percpu(arg, reg))
        reg->flags |= TN_PTR_STALE;
}

void tn_percpu_invalidate(struct vf *v)
{
    if (v->in->process)
        tn_state_each_reg(&v->cur, make_stale, v);
}

static int check_map_value(struct vf *v, struct tn_place *p)
{
    const struct tn_verify_map *map = vf_map_of(v, &p->reg);
    char label[TN_MAP_LABEL];
    int err;

    if (p->use != TN_USE_READ && map->rdonly_prog)
        return vf_refuse(v, v->pc, TN_REASON_map_write_denied,
                         "write into map forbidden, value_size=%u off=%" PRId64
                         " size=%u: %s is read-only for programs",
                         map->geo.value_size, p->min, p->size, vf_map_label(v, p->reg.obj, label));
    if (p->use != TN_USE_WRITE && map->wronly_prog)
        return vf_refuse(v, v->pc, TN_REASON_map_read_denied,
                         "read from map forbidden, value_size=%u off=%" PRId64
                         " size=%u: %s is write-only for programs",
                         map->geo.value_size, p->min, p->size, vf_map_label(v, p->reg.obj, label));
    err = tn_region_check(v, p, map->geo.value_size, "map value", "value_size", TN_REASON_map_bounds);
    return err ? err : tn_special_access(v, &p->reg, p->min, p->max, p->size, !p->helper, &p->kptr);
}

static int check_map_key(struct vf *v, struct tn_place *p)
{
    if (p->use != TN_USE_READ)
        return vf_refuse(v, v->pc, TN_REASON_read_only,
                         p->helper ? "R%u cannot write into map_key: the key belongs to the map"
                                   : "write to change key R%u not allowed: the key belongs to the map",
                         p->regno);
    return tn_region_check(v, p, vf_map_of(v, &p->reg)->geo.key_size, "map key", "key_size",
                           TN_REASON_map_bounds);
}

static int check_rdonly(struct vf *v, const struct tn_place *p)
{
    if (p->use == TN_USE_READ || !(p->reg.flags & TN_PTR_RDONLY))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_read_only,
                     "R%u cannot write into %s: this memory is lent for reading only", p->regno,
                     TN_REG_NAME(&p->reg));
}

static int check_mem(struct vf *v, struct tn_place *p)
{
    int err = check_rdonly(v, p);

    if (!err && p->reg.flags & TN_PTR_UNTRUSTED) { /* anywhere: a load that faults yields 0 */
        struct tn_access access = {
            .kind = TN_ACCESS_READ, .path = "", .size = p->size, .process = true, .insn = v->pc};
        struct tn_error denied = {0};

        if (v->auth->may_access(v->auth->self, &access, &denied))
            return vf_refuse_denied(v, TN_REASON_access_denied, &denied);
        tn_types_probe(v, p);
        return 0;
    }
    if (!(p->reg.flags & TN_PTR_RINGBUF)) /* a slice, an argument, an iterator's element: anywhere */
        p->mem_kind = TN_MEM_PLAIN;
    if (!err)
        err = tn_region_check(v, p, p->reg.obj, "memory", "mem_size", TN_REASON_mem_bounds);
    return err || !p->reg.host ? err : tn_types_variable(v, p);
}

/* How large they are is known when the program is attached: here only that nothing moves about in them. */
static int check_buffer(struct vf *v, struct tn_place *p)
{
    bool tp = p->reg.kind == TN_REG_TP_BUFFER;
    u32 *most = tp                             ? &v->facts.tp_access
                : p->reg.flags & TN_PTR_RDONLY ? &v->facts.rdonly_access
                                               : &v->facts.rdwr_access;
    const char *name = tp ? "tracepoint" : p->reg.flags & TN_PTR_RDONLY ? "rdonly" : "rdwr";
    int err = check_rdonly(v, p);

    if (err)
        return err;
    if (!fixed(p))
        return vf_refuse(v, v->pc, TN_REASON_mem_bounds,
                         "R%u invalid variable buffer offset: off=%" PRId64
                         ", var_off=%s: use constant offsets",
                         p->regno, p->fixed, TN_VAR_TEXT(p));
    if (p->min < 0 || p->min > TN_MAX_OFFSET)
        return vf_refuse(v, v->pc, TN_REASON_mem_bounds,
                         "R%u invalid %s buffer access: off=%" PRId64 ", size=%u: it starts at 0", p->regno,
                         name, p->min, p->size);
    *most = TN_MAX(*most, (u32)p->min + p->size);
    return 0;
}

static int check_flow_keys(struct vf *v, struct tn_place *p)
{
    if (fixed(p) && p->min >= 0 && p->min + p->size <= (s64)sizeof(struct bpf_flow_keys))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_mem_bounds,
                     "invalid access to flow keys off=%" PRId64 " size=%u: there are %zu bytes", p->min,
                     p->size, sizeof(struct bpf_flow_keys));
}

static int check_socket(struct vf *v, struct tn_place *p)
{
    static const u8 layout[] = {[TN_REG_SOCKET] = TN_CTX_SOCK,
                                [TN_REG_SOCK_COMMON] = TN_CTX_SOCK_COMMON,
                                [TN_REG_TCP_SOCK] = TN_CTX_TCP_SOCK,
                                [TN_REG_XDP_SOCK] = TN_CTX_XDP_SOCK};

    if (p->use != TN_USE_READ)
        return vf_refuse(v, v->pc, TN_REASON_read_only, "R%u cannot write into %s: sockets are read only",
                         p->regno, TN_REG_NAME(&p->reg));
    if (fixed(p) && !p->helper && tn_ctx_field(layout[p->reg.kind], p->min, p->size, false, p->sext))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_mem_bounds,
                     "R%u invalid %s access off=%" PRId64 " size=%u: no field of it can be read so", p->regno,
                     TN_REG_NAME(&p->reg), p->min, p->size);
}

/* -------------------------------------------------------------------------------------------------- stack */

static const char *access_name(const struct tn_place *p)
{
    return p->use == TN_USE_READ ? "read from" : "write to";
}

static int check_stack(struct vf *v, struct tn_place *p)
{
    /* Not max + size ≤ 0: an offset bounded from below only reaches up to the largest number there is.
       No bytes at the frame's very end are outside, as in Linux. */
    if (p->min >= -TN_STACK_BYTES && p->max <= -(s64)TN_MAX(p->size, 1u))
        return 0;
    if (fixed(p))
        return vf_refuse(v, v->pc, TN_REASON_stack_bounds,
                         "invalid %s stack R%u off=%" PRId64 " size=%u: a frame has the bytes [fp-%d, fp); "
                         "keep what is larger in a map",
                         access_name(p), p->regno, p->min, p->size, TN_STACK_BYTES);
    if (p->max >= TN_MAX_OFFSET || p->min <= -TN_MAX_OFFSET)
        return vf_refuse(
            v, v->pc, TN_REASON_stack_bounds,
            "invalid unbounded variable-offset %s stack R%u: nothing keeps r%u inside the frame [fp-%d, "
            "fp); check the index before (if (i < N) …)",
            access_name(p), p->regno, p->regno, TN_STACK_BYTES);
    return vf_refuse(v, v->pc, TN_REASON_stack_bounds,
                     "invalid variable-offset %s stack R%u var_off=%s off=%" PRId64
                     " size=%u: bytes from fp%+" PRId64 " to fp%+" PRId64
                     " may be touched, a frame has [fp-%d, fp); bound the index tighter",
                     access_name(p), p->regno, TN_VAR_TEXT(p), p->fixed, p->size, p->min, p->max + p->size,
                     TN_STACK_BYTES);
}

/* ----------------------------------------------------------------------------------------------- dispatch */

static const struct memory {
    int (*check)(struct vf *v, struct tn_place *p);
    u8 mem_kind; /* enum tn_mem_kind */
    bool atomic;
} memories[] = {
    [TN_REG_STACK] = {check_stack, TN_MEM_STACK, true},
    [TN_REG_MAP_VALUE] = {check_map_value, TN_MEM_MAP_VALUE, true},
    [TN_REG_MAP_KEY] = {check_map_key, TN_MEM_PLAIN, true},
    [TN_REG_MEM] = {check_mem, TN_MEM_RINGBUF, true},
    [TN_REG_ARENA] = {tn_arena_access, TN_MEM_ARENA, true},
    [TN_REG_BTF] = {tn_types_access, TN_MEM_PLAIN, true},
    [TN_REG_MAP] = {tn_types_map_access, TN_MEM_PLAIN, false},
    [TN_REG_BUF] = {check_buffer, TN_MEM_PLAIN, true},
    [TN_REG_TP_BUFFER] = {check_buffer, TN_MEM_PLAIN, true},
    [TN_REG_CTX] = {tn_ctx_access, TN_MEM_CTX, false},
    [TN_REG_PACKET] = {tn_packet_access, TN_MEM_PLAIN, false},
    [TN_REG_PACKET_META] = {tn_packet_access, TN_MEM_PLAIN, false},
    [TN_REG_FLOW_KEYS] = {check_flow_keys, TN_MEM_PLAIN, false},
    [TN_REG_SOCKET] = {check_socket, TN_MEM_PLAIN, false},
    [TN_REG_SOCK_COMMON] = {check_socket, TN_MEM_PLAIN, false},
    [TN_REG_TCP_SOCK] = {check_socket, TN_MEM_PLAIN, false},
    [TN_REG_XDP_SOCK] = {check_socket, TN_MEM_PLAIN, false},
};

static const struct memory *memory_of(const struct tn_reg *reg)
{
    return reg->kind < TN_ARRAY_SIZE(memories) && memories[reg->kind].check ? &memories[reg->kind] : NULL;
}

static int refuse_kind(struct vf *v, u32 regno, const struct tn_reg *reg)
{
    const char *name = TN_REG_NAME(reg);
    char label[TN_MAP_LABEL];

    if (reg->flags & TN_PTR_STALE)
        return vf_refuse(
            v, v->pc, TN_REASON_stale_value,
            "R%u invalid mem access '%s': a function of the host was called since r%u was found in "
            "%s, and this CPU's values may be another run's: look it up again",
            regno, name, regno, vf_map_label(v, reg->obj, label));
    if (tn_reg_maybe_null(reg) && reg->kind == TN_REG_MAP_VALUE)
        return vf_refuse(
            v, v->pc, TN_REASON_maybe_null,
            "R%u invalid mem access '%s': r%u is NULL when the look-up in %s finds nothing; test it "
            "first (if (!p) return 0;)",
            regno, name, regno, vf_map_label(v, reg->obj, label));
    if (tn_reg_maybe_null(reg))
        return vf_refuse(
            v, v->pc, TN_REASON_maybe_null,
            "R%u invalid mem access '%s': r%u is NULL when %s; test it first (if (!p) return 0;)", regno,
            name, regno,
            reg->flags & TN_PTR_RINGBUF ? "the ring buffer is full" : "there is nothing to point at");
    if (reg->kind == TN_REG_SCALAR)
        return vf_refuse(v, v->pc, TN_REASON_not_a_pointer,
                         "R%u invalid mem access 'scalar': r%u is a number; read foreign memory with "
                         "bpf_probe_read_user()",
                         regno, regno);
    if (reg->kind == TN_REG_MAP)
        return vf_refuse(v, v->pc, TN_REASON_opaque_access,
                         "R%u invalid mem access 'map_ptr': a map is reached through look-ups, not directly",
                         regno);
    return vf_refuse(v, v->pc, TN_REASON_opaque_access, "R%u invalid mem access '%s'", regno, name);
}

static void note_mem(struct vf *v, u8 mem_kind)
{
    struct tn_seen *seen = &v->seen[v->pc];

    if (seen->has_mem && (seen->mem_kind == TN_MEM_PROBE || mem_kind == TN_MEM_PROBE))
        seen->mem_kind = TN_MEM_PROBE; /* good for memory that is there as well */
    else if (seen->has_mem && seen->mem_kind != mem_kind)
        seen->mem_kind = TN_MEM_PLAIN;
    else
        seen->mem_kind = mem_kind;
    seen->has_mem = true;
}

static int check_aligned(struct vf *v, const struct tn_place *p, const struct tn_range *at)
{
    bool strict = v->in->prog_flags & BPF_F_STRICT_ALIGNMENT;
    bool packet = p->reg.kind == TN_REG_PACKET || p->reg.kind == TN_REG_PACKET_META;
    /* A frame from the wire begins two bytes before a multiple of four. */
    u64 start = packet ? 2 : 0, low = (at->var.value + start) | at->var.mask;

    if (p->reg.kind == TN_REG_ARENA || !(p->atomic || strict || p->reg.kind == TN_REG_STACK) ||
        !(low & (p->size - 1)))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_misaligned,
                     "misaligned %saccess off %s%s+%d+%d size %u through R%u: align it to its size",
                     packet                            ? "packet "
                     : p->reg.kind == TN_REG_STACK     ? "stack "
                     : p->reg.kind == TN_REG_MAP_VALUE ? "value "
                     : p->reg.kind == TN_REG_CTX       ? "context "
                                                       : "",
                     packet ? "2+" : "", TN_VAR_TEXT(p), p->reg.delta, (int)(p->fixed - p->reg.delta),
                     p->size, p->regno);
}

static struct tn_range moved(const struct tn_range *r, s32 off)
{
    struct tn_range add = tn_reg_const((u64)(s64)off).r;

    if (tn_range_is_const(r)) /* most by far */
        return tn_reg_const(r->umin + add.umin).r;
    return tn_range_alu(BPF_ADD, true, r, &add);
}

/* An access by an instruction; `p` has regno, size, use, atomic, sext. */
static int check_access(struct vf *v, s32 off, struct tn_place *p)
{
    struct tn_range at;
    const struct memory *m;
    int err = vf_need_init(v, p->regno);

    if (err)
        return err;
    p->reg = *vf_reg(v, p->regno);
    m = memory_of(&p->reg);
    if (!m || tn_reg_maybe_null(&p->reg) || p->reg.flags & TN_PTR_STALE)
        return refuse_kind(v, p->regno, &p->reg);
    if (p->atomic && !m->atomic)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_atomic,
            "BPF_ATOMIC %s R%u %s is not allowed: atomics work on maps, the stack and reservations",
            p->use == TN_USE_READ ? "loads from" : "stores into", p->regno, TN_REG_NAME(&p->reg));
    at = moved(&p->reg.r, off);
    p->min = at.smin;
    p->max = at.smax;
    p->fixed = (s64)p->reg.delta + off;
    p->mem_kind = m->mem_kind;
    if (v->seen[v->pc].has_mem && (v->seen[v->pc].mem_kind == TN_MEM_ARENA) != (p->reg.kind == TN_REG_ARENA))
        return vf_refuse(
            v, v->pc, TN_REASON_opaque_access,
            "same insn cannot be used with different pointers: R%u is a %s here, and was%s one into an "
            "arena on another way",
            p->regno, TN_REG_NAME(&p->reg), p->reg.kind == TN_REG_ARENA ? " not" : "");
    err = check_aligned(v, p, &at);
    if (!err)
        err = m->check(v, p);
    if (!err)
        note_mem(v, p->mem_kind);
    return err;
}

/* Contents of a frozen map are constants. */
static bool frozen_value(const struct vf *v, const struct tn_place *p, u64 *ret)
{
    const struct tn_verify_map *map;

    if (p->reg.kind != TN_REG_MAP_VALUE || !fixed(p) || p->reg.uid)
        return false;
    map = &v->in->maps[p->reg.obj];
    if (!map->frozen || !map->rdonly_prog || map->geo.max_entries != 1 || map->geo.type != BPF_MAP_TYPE_ARRAY)
        return false;
    *ret = 0;
    memcpy(ret, map->frozen + p->min, p->size);
    return true;
}

/* A number of so many bytes, of which nothing is known; as tn_range_unsigned says it, which takes longer. */
static struct tn_range any_of_size(u32 size)
{
    u64 most = tn_width_mask(size * 8);

    if (size == 8)
        return tn_range_any();
    return (struct tn_range){
        .var = {0, most},
        .umax = most,
        .smax = (s64)most,
        .u32max = (u32)most,
        .s32min = size == 4 ? INT32_MIN : 0,
        .s32max = size == 4 ? INT32_MAX : (s32)most,
    };
}

/* What the bytes at `p` (checked) hold. */
static int read_value(struct vf *v, const struct tn_place *p, struct tn_reg *ret)
{
    u64 known;
    int err;

    if (p->reg.kind == TN_REG_STACK) {
        struct tn_frame *f = v->cur.frame[p->reg.frame];

        if (fixed(p))
            return tn_stack_load(v, f, p->min, p->size, ret);
        err = tn_stack_load_var(v, f, p->min, p->max, p->size, ret);
        /* No way back leads from a zero read so to the stores it comes from. */
        if (!err && tn_range_is_const(&ret->r))
            tn_track_precise_stack(v, p->reg.frame, p->min, p->max + p->size);
        return err;
    }
    if (p->yields.kind != TN_REG_NONE)
        *ret = p->yields;
    else if (frozen_value(v, p, &known))
        *ret = tn_reg_const(known);
    else
        *ret = tn_reg_scalar(any_of_size(p->size));
    return 0;
}

static int write_value(struct vf *v, const struct tn_place *p, const struct tn_reg *value, bool imm)
{
    struct tn_frame *f;

    if (p->reg.host && tn_reg_is_pointer(value))
        return vf_refuse(v, v->pc, TN_REASON_read_only,
                         "an address is no number: R%u points into the host's memory, and a %s is stored",
                         p->regno, TN_REG_NAME(value));
    if (p->reg.kind != TN_REG_STACK)
        return 0;
    f = v->cur.frame[p->reg.frame];
    if (value->kind == TN_REG_STACK && p->reg.frame + 1u != v->cur.nframes && fixed(p))
        return vf_refuse(
            v, v->pc, TN_REASON_pointer_arithmetic,
            "cannot spill pointers to stack into stack frame of the caller: the frame they name goes away");
    if (tn_reg_is_pointer(value) && p->size != 8 && fixed(p))
        return vf_refuse(
            v, v->pc, TN_REASON_spill_partial,
            "invalid size of register spill: a %s goes to the stack with its 8 bytes or not at all",
            TN_REG_NAME(value));
    if (!fixed(p) && !imm && value->kind == TN_REG_SCALAR && tn_range_is_const(&value->r))
        tn_track_precise(v, v->insns[v->pc].src_reg); /* zeroes under a zero stay zeroes */
    return fixed(p) ? tn_stack_store(v, f, p->min, p->size, value)
                    : tn_stack_store_var(v, f, p->min, p->max, p->size, value);
}

/* ------------------------------------------------------------------------------------------- instructions */

static int load(struct vf *v, const struct bpf_insn *i, bool sext, bool atomic)
{
    struct tn_place p = {.regno = i->src_reg,
                         .size = tn_size_bytes(i->code),
                         .use = TN_USE_READ,
                         .sext = sext,
                         .atomic = atomic};
    struct tn_reg value;
    int err = check_access(v, i->off, &p);

    if (!err && p.kptr)
        return tn_kptr_load(v, i, p.kptr);

    if (!err)
        err = read_value(v, &p, &value);
    if (err)
        return err;
    if (sext && value.kind == TN_REG_SCALAR)
        value = tn_reg_scalar(tn_range_sext(&value.r, p.size * 8));
    *vf_reg(v, i->dst_reg) = value;
    return 0;
}

static int store(struct vf *v, const struct bpf_insn *i, bool atomic)
{
    struct tn_place p = {
        .regno = i->dst_reg, .size = tn_size_bytes(i->code), .use = TN_USE_WRITE, .atomic = atomic};
    struct tn_reg value;
    bool imm = BPF_CLASS(i->code) == BPF_ST;
    int err = 0;

    if (!imm) {
        struct tn_reg *src = vf_reg(v, i->src_reg);

        err = vf_need_init(v, i->src_reg);
        if (!err && src->kind == TN_REG_SCALAR && !src->id && !tn_range_is_const(&src->r))
            src->id = ++v->next_id; /* so that the spilled copy learns with it */
        value = *src;
    } else {
        value = tn_reg_const((u64)(s64)i->imm);
    }
    p.value = &value;
    p.value_reg = imm ? -1 : i->src_reg;
    if (!err)
        err = check_access(v, i->off, &p);
    if (!err && p.kptr)
        return tn_kptr_store(v, i, p.kptr);
    return err ? err : write_value(v, &p, &value, imm);
}

int tn_mem_load(struct vf *v, const struct bpf_insn *i)
{
    return load(v, i, BPF_MODE(i->code) == BPF_MEMSX, false);
}

int tn_mem_store(struct vf *v, const struct bpf_insn *i)
{
    return store(v, i, false);
}

int tn_mem_atomic(struct vf *v, const struct bpf_insn *i)
{
    struct tn_place p = {
        .regno = i->dst_reg, .size = tn_size_bytes(i->code), .use = TN_USE_READ_WRITE, .atomic = true};
    u32 gets = i->imm == BPF_CMPXCHG ? 0 : i->src_reg;
    struct tn_reg old, unknown = tn_reg_scalar(tn_range_any());
    int err;

    if (i->imm == BPF_LOAD_ACQ)
        return load(v, i, false, true);
    if (i->imm == BPF_STORE_REL)
        return store(v, i, true);
    err = vf_need_init(v, i->src_reg);
    if (!err && i->imm == BPF_CMPXCHG)
        err = vf_need_init(v, 0);
    if (!err)
        err = check_access(v, i->off, &p);
    if (!err && p.kptr)
        return tn_kptr_load(v, i, p.kptr); /* which says that this is not the way */
    if (!err)
        err = read_value(v, &p, &old);
    if (!err)
        err = write_value(v, &p, &unknown, false);
    if (!err && (i->imm & BPF_FETCH) && tn_reg_is_pointer(&old))
        *vf_reg(v, gets) = old; /* a pointer that was spilled there */
    else if (!err &&
             (i->imm & BPF_FETCH)) /* of the stack too: nothing here follows a number through an atomic */
        vf_set_scalar(v, gets, tn_range_unsigned(0, tn_width_mask(p.size * 8)));
    return err;
}

/* ----------------------------------------------------------------------------------- on behalf of helpers */

static int helper_stack(struct vf *v, const struct tn_place *p, bool exact)
{
    struct tn_frame *f = v->cur.frame[p->reg.frame];
    int err;

    if (!p->size)
        return 0;
    /* Bytes the helper surely overwrites need not have been written before. */
    if (p->use == TN_USE_WRITE && exact && fixed(p))
        return tn_stack_fill(v, f, p->min, p->min + p->size);
    err = tn_stack_readable(v, f, p->min, p->max + p->size);
    if (!err && p->use != TN_USE_READ)
        err = tn_stack_clobber(v, f, p->min, p->max, p->size);
    return err;
}

int tn_mem_helper(struct vf *v, u32 regno, u64 size, enum tn_mem_use use, bool exact)
{
    struct tn_place p = {.regno = regno, .use = use, .helper = true};
    const struct memory *m;
    int err = vf_need_init(v, regno);

    if (err)
        return err;
    p.reg = *vf_reg(v, regno);
    p.min = p.reg.r.smin;
    p.max = p.reg.r.smax;
    p.fixed = p.reg.delta;
    m = memory_of(&p.reg);
    if (p.reg.flags & TN_PTR_STALE)
        return refuse_kind(v, regno, &p.reg);
    if (!m || tn_reg_maybe_null(&p.reg) ||
        (p.reg.kind == TN_REG_CTX && !(v->call_takes_ctx && (v->type->flags & TN_PT_CTX_PLAIN))) ||
        m->check == check_socket || m->check == check_flow_keys || p.reg.kind == TN_REG_TP_BUFFER)
        return vf_refuse(v, v->pc, tn_reg_maybe_null(&p.reg) ? TN_REASON_maybe_null : TN_REASON_arg_type,
                         "R%u type=%s expected=fp: the call needs %" PRIu64
                         " bytes of memory (stack, map value, reservation)%s",
                         regno, TN_REG_NAME(&p.reg), size,
                         tn_reg_maybe_null(&p.reg) ? "; test the pointer against NULL first" : "");
    if (size >= (u64)TN_MAX_OFFSET)
        return vf_refuse(v, v->pc, TN_REASON_arg_size, "R%u unbounded memory access: %" PRIu64 " bytes",
                         regno, size);
    p.size = (u32)size;
    err = m->check(v, &p);
    if (!err && p.reg.kind == TN_REG_STACK)
        err = helper_stack(v, &p, exact);
    return err;
}
