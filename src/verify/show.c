/* SPDX-License-Identifier: MIT */
/*
 * What is known, in the words of Linux's log: registers and stack slots as its log names them, and the lines
 * of a path. Tools and people read these, so the shape is Linux 6.18's:
 *
 *     0: R1=ctx() R10=fp0                            whole state where a path begins
 *     ; int *p = bpf_map_lookup_elem(…) @ a.c:12     the source, when it changes
 *     6: (85) call bpf_map_lookup_elem#1    ; R0=…   an instruction, and what it named or changed
 *     from 14 to 16: R0=… R3=… fp-8=0000????         (level 2) the state at a fork
 *     23: safe                                       nothing new can happen from here on
 *
 * What an instruction changed is found by comparing hashes before and after: no rule of any instruction is
 * repeated here. All of this happens only where a log was asked for.
 */
#include <inttypes.h>
#include <stdio.h>

#include "btf/btf.h"
#include "isa/insn.h"
#include "verify/internal.h"

/* Numbers that a person reads at a glance are decimal. */
static void text_unsigned(struct tn_text *t, u64 v)
{
    tn_text_add(t, v <= UINT16_MAX ? "%" PRIu64 : "0x%" PRIx64, v);
}

static void text_signed(struct tn_text *t, s64 v)
{
    if (v >= INT16_MIN && v <= INT16_MAX)
        tn_text_add(t, "%" PRId64, v);
    else
        tn_text_add(t, "0x%" PRIx64, (u64)v);
}

/* A 32-bit bound is shown in the sign-extended form when it is small, else as 32 bits of hexadecimal. */
static u64 bound32(s32 v)
{
    return v >= INT16_MIN && v <= INT16_MAX ? (u64)(s64)v : (u32)v;
}

/* "smin=umin=3,smax=…": equal bounds share one number. */
static void text_bounds(struct tn_text *t, const struct tn_range *r, const char **sep)
{
    struct {
        const char *name;
        u64 value;
        bool is_signed, omit;
    } bound[] = {
        {"smin", (u64)r->smin, true, r->smin == INT64_MIN},
        {"smax", (u64)r->smax, true, r->smax == INT64_MAX},
        {"umin", r->umin, false, r->umin == 0},
        {"umax", r->umax, false, r->umax == UINT64_MAX},
        {"smin32", bound32(r->s32min), true, r->s32min == INT32_MIN},
        {"smax32", bound32(r->s32max), true, r->s32max == INT32_MAX},
        {"umin32", r->u32min, false, r->u32min == 0},
        {"umax32", r->u32max, false, r->u32max == UINT32_MAX},
    };

    for (u32 a = 0; a < TN_ARRAY_SIZE(bound); a++) {
        bool negative = bound[a].is_signed && (s64)bound[a].value < 0;

        if (bound[a].omit)
            continue;
        tn_text_add(t, "%s%s=", *sep, bound[a].name);
        *sep = ",";
        for (u32 b = a + 2; b < TN_ARRAY_SIZE(bound); b += 2) {
            if (bound[b].omit || bound[b].value != bound[a].value ||
                (bound[b].is_signed && (s64)bound[b].value < 0) != negative)
                continue;
            bound[b].omit = true;
            tn_text_add(t, "%s=", bound[b].name);
        }
        if (bound[a].is_signed)
            text_signed(t, (s64)bound[a].value);
        else
            text_unsigned(t, bound[a].value);
    }
}

static void text_map(struct tn_text *t, const struct vf *v, const struct tn_reg *reg, const char **sep)
{
    const struct tn_verify_map *map;

    if (reg->obj >= v->in->nmaps)
        return;
    map = vf_map_of(v, reg);
    if (map->name && *map->name) {
        tn_text_add(t, "%smap=%.32s", *sep, map->name);
        *sep = ",";
    }
    tn_text_add(t, "%sks=%u,vs=%u", *sep, map->geo.key_size, map->geo.value_size);
    *sep = ",";
}

void tn_text_reg(struct tn_text *t, const struct vf *v, const struct tn_reg *reg, u32 frame)
{
    bool fixed = tn_range_is_const(&reg->r);
    const char *sep = "";

    if (reg->kind == TN_REG_SCALAR && fixed) {
        text_signed(t, (s64)reg->r.umin);
        return;
    }
    tn_text_add(t, "%s", TN_REG_NAME(reg));
    if (reg->kind == TN_REG_BTF)
        tn_text_add(t, "%s", tn_types_name(v, reg));
    if (reg->kind == TN_REG_NONE || reg->kind == TN_REG_ARENA)
        return;
    if (reg->kind == TN_REG_STACK) {
        if (reg->frame != frame)
            tn_text_add(t, "[%u]", reg->frame);
        if (fixed) {
            text_signed(t, reg->r.smin);
            return;
        }
    }
    tn_text_add(t, "(");
#define ITEM(...) (tn_text_add(t, "%s", sep), sep = ",", tn_text_add(t, __VA_ARGS__))
    if (reg->id) {
        ITEM("id=%u", reg->id);
        if (reg->kind == TN_REG_SCALAR && reg->delta)
            tn_text_add(t, "%+d", reg->delta);
    }
    if (reg->ref)
        ITEM("ref_obj_id=%u", reg->ref);
    if (reg->flags & TN_PTR_NON_OWNING)
        ITEM("non_own_ref");
    if (reg->kind == TN_REG_MAP || reg->kind == TN_REG_MAP_KEY || reg->kind == TN_REG_MAP_VALUE)
        text_map(t, v, reg, &sep);
    if (reg->kind != TN_REG_SCALAR && fixed && reg->r.smin) {
        ITEM("off=");
        text_signed(t, reg->r.smin);
    }
    if (reg->kind == TN_REG_PACKET || reg->kind == TN_REG_PACKET_META)
        ITEM("r=%u", reg->obj);
    if (reg->kind == TN_REG_MEM)
        ITEM("sz=%u", reg->obj);
#undef ITEM
    if (!fixed) {
        text_bounds(t, &reg->r, &sep);
        if (reg->r.var.mask != ~0ull)
            tn_text_add(t, "%svar_off=(0x%" PRIx64 "; 0x%" PRIx64 ")", sep, reg->r.var.value,
                        reg->r.var.mask);
    }
    tn_text_add(t, ")");
}

void tn_text_regs(struct tn_text *t, const struct vf *v, u32 which)
{
    const struct tn_frame *f = tn_state_top(&v->cur);

    for (u32 r = 0; r < TN_NREGS; r++) {
        if (!(which & (1u << r)) || f->reg[r].kind == TN_REG_NONE)
            continue;
        tn_text_add(t, "%sR%u=", t->len ? " " : "", r);
        tn_text_reg(t, v, &f->reg[r], v->cur.nframes - 1);
    }
}

u32 tn_insn_regs(const struct bpf_insn *i)
{
    if (tn_insn_is_call(i))
        return 0x3f; /* R0 … R5 */
    if (i->code == (BPF_JMP | BPF_EXIT))
        return 1;
    if (i->code == (BPF_JMP | BPF_JA) || i->code == (BPF_JMP32 | BPF_JA))
        return 0;
    if (BPF_CLASS(i->code) == BPF_LD && BPF_MODE(i->code) != BPF_IMM)
        return 1u << BPF_REG_0 | 1u << BPF_REG_6;
    if (BPF_CLASS(i->code) == BPF_LD || BPF_CLASS(i->code) == BPF_ST)
        return 1u << i->dst_reg;
    if (BPF_CLASS(i->code) == BPF_LDX || BPF_CLASS(i->code) == BPF_STX)
        return (1u << i->dst_reg) | (1u << i->src_reg);
    return (1u << i->dst_reg) | (BPF_SRC(i->code) == BPF_X ? 1u << i->src_reg : 0);
}

/* ------------------------------------------------------------------------------------------------- states */

static u64 hash_of(const void *bytes, size_t n)
{
    const u8 *p = bytes;
    u64 h = 14695981039346656037ull;

    while (n--)
        h = (h ^ *p++) * 1099511628211ull;
    return h;
}

/* The characters of a slot, highest address first. */
static void slot_bytes(const struct tn_stack_slot *slot, char ret[9])
{
    static const char kind[] = {
        [TN_BYTE_INVALID] = '?', [TN_BYTE_MISC] = 'm', [TN_BYTE_ZERO] = '0',     [TN_BYTE_SPILL] = 'r',
        [TN_BYTE_DYNPTR] = 'd',  [TN_BYTE_ITER] = 'i', [TN_BYTE_IRQ_FLAG] = 'f',
    };

    bool zero = tn_range_is_const(&slot->reg.r) && !slot->reg.r.umin;

    for (u32 b = 0; b < 8; b++) {
        ret[7 - b] = kind[slot->byte[b]];
        if (slot->byte[b] == TN_BYTE_SPILL &&
            slot->lo) /* Linux keeps no number there, only whether it is zero */
            ret[7 - b] = zero ? '0' : 'm';
    }
    ret[8] = 0;
}

/* Objects of more than one slot are shown at their lowest. True: nothing more to say of the slot. */
static bool show_object(struct vf *v, const struct tn_stack_slot *slot, u32 k)
{
    static const char *const dynptrs[] = {
#define D(kind, name, ...) [TN_DYNPTR_##kind] = name,
        TN_DYNPTR_KINDS(D)
#undef D
    };
    char buf[128] = "";
    struct tn_text t = {buf, sizeof(buf), 0};
    const char *sep = "", *name;

    if (slot->byte[0] == TN_BYTE_DYNPTR) {
        if (!slot->tag[1] || slot->tag[0] >= TN_ARRAY_SIZE(dynptrs))
            return true;
        if (slot->reg.id) {
            tn_text_add(&t, "id=%u", slot->reg.id);
            sep = ",";
        }
        if (slot->reg.ref)
            tn_text_add(&t, "%sref_id=%u", sep, slot->reg.ref);
        tn_log_add(&v->log, " fp-%u=dynptr_%s(%s)", 8 * (k + 1), dynptrs[slot->tag[0]], buf);
        return true;
    }
    if (slot->byte[0] == TN_BYTE_ITER) {
        name = v->in->host_btf ? tn_btf_name(v->in->host_btf, slot->reg.obj) : "";
        if (slot->reg.ref)
            tn_log_add(&v->log, " fp-%u=%s(ref_id=%u,state=%s,depth=%u)", 8 * (k + 1),
                       strncmp(name, "bpf_", 4) ? name : name + 4, slot->reg.ref,
                       slot->tag[0] == 1 ? "active" : "drained", slot->depth);
        return true;
    }
    return false;
}

static void show_slot(struct vf *v, const struct tn_frame *f, u32 frame, u32 k)
{
    const struct tn_stack_slot *slot = &f->slot[k];
    char bytes[9], buf[512] = "";
    struct tn_text t = {buf, sizeof(buf), 0};

    slot_bytes(slot, bytes);
    if (!strcmp(bytes, "????????") || show_object(v, slot, k))
        return;
    if (slot->size && slot->lo == 0 && slot->byte[0] == TN_BYTE_SPILL) {
        bytes[8 - slot->size] = 0; /* what lies above a narrower spill */
        tn_text_add(&t, "%s", bytes);
        tn_text_reg(&t, v, &slot->reg, frame);
    } else {
        tn_text_add(&t, "%s", bytes);
    }
    tn_log_add(&v->log, " fp-%u=%s", 8 * (k + 1), buf);
}

/* Registers of the set, and slots; without a line's end. */
static void show_frame(struct vf *v, u32 frame, u32 regs, u64 slots)
{
    const struct tn_state *s = &v->cur;
    const struct tn_frame *f = s->frame[frame];

    if (frame)
        tn_log_add(&v->log, " frame%u:", frame);
    for (u32 r = 0; r < TN_NREGS; r++) {
        char buf[512] = "";
        struct tn_text t = {buf, sizeof(buf), 0};

        if (!(regs & 1u << r) || f->reg[r].kind == TN_REG_NONE)
            continue;
        tn_text_reg(&t, v, &f->reg[r], frame);
        tn_log_add(&v->log, " R%u=%s", r, buf);
    }
    for (u32 k = 0; k < TN_MIN(f->nslots, TN_STACK_SLOTS); k++)
        if (slots & 1ull << k)
            show_slot(v, f, frame, k);
    for (u32 k = 0; k < s->nrefs; k++)
        tn_log_add(&v->log, "%s%u", k ? "," : " refs=", s->ref[k].id);
    if (f->callback)
        tn_log_add(&v->log, f->async ? " async_cb" : " cb");
}

/* The slots of its own frame that an instruction is about to access, where that is one place. */
static u64 named_slots(const struct vf *v, const struct bpf_insn *i)
{
    const struct tn_frame *f = tn_state_top(&v->cur);
    u8 class = BPF_CLASS(i->code);
    const struct tn_reg *base = &f->reg[class == BPF_LDX ? i->src_reg : i->dst_reg];
    s64 off = (s64)((u64)base->r.smin + (u64)(s64)i->off); /* (base may be any number) */

    if ((class != BPF_LDX && class != BPF_ST && class != BPF_STX) || base->kind != TN_REG_STACK ||
        base->frame != v->cur.nframes - 1 || !tn_range_is_const(&base->r) || off >= 0 ||
        off < -TN_STACK_BYTES)
        return 0;
    return 1ull << (-off - 1) / 8;
}

/* What differs from what was shown last; remembers the present. */
static void compare(struct vf *v, u32 *ret_regs, u64 *ret_slots)
{
    struct tn_log *log = &v->log;
    const struct tn_frame *f = tn_state_top(&v->cur);

    *ret_regs = 0;
    *ret_slots = 0;
    for (u32 r = 0; r < TN_NREGS; r++) {
        u64 h = hash_of(&f->reg[r], sizeof(f->reg[r]));

        if (log->shown[r] != h)
            *ret_regs |= 1u << r;
        log->shown[r] = h;
    }
    for (u32 k = 0; k < TN_STACK_SLOTS; k++) {
        u64 h = k < f->nslots ? hash_of(&f->slot[k], sizeof(f->slot[k])) : 0;

        if (log->shown[TN_NREGS + k] != h)
            *ret_slots |= 1ull << k;
        log->shown[TN_NREGS + k] = h;
    }
}

/* -------------------------------------------------------------------------------------------------- lines */

#define COLUMN     40u /* where comments begin, or at the next multiple of 8 */
#define COLUMN_GAP 8u

static bool wanted(const struct vf *v)
{
    return v->log.level & (TN_LOG_PATH | TN_LOG_ALL);
}

/* Behind the instruction when its line is the last one, else on a line of its own. */
static void show_change(struct vf *v, u32 regs, u64 slots)
{
    struct tn_log *log = &v->log;

    if (log->insn_end && log->insn_end == log->len) {
        u32 wide = log->insn_width + 1,
            column = TN_ROUND_UP(TN_MAX(wide + COLUMN_GAP / 2, COLUMN), COLUMN_GAP);

        tn_log_cut(log, log->len - 1);
        tn_log_add(log, "%*c;", (int)(column - wide - 1), ' ');
    } else {
        tn_log_add(log, "%u:", v->pc);
    }
    show_frame(v, v->cur.nframes - 1, regs, slots);
    tn_log_add(log, "\n");
}

static void show_frames_change(struct vf *v)
{
    struct tn_log *log = &v->log;
    u32 top = v->cur.nframes - 1;

    if (v->cur.nframes > log->nframes) {
        tn_log_add(log, "caller:\n");
        show_frame(v, top - 1, 0x7ff, ~0ull);
        tn_log_add(log, "\ncallee:\n");
        show_frame(v, top, 0x7ff, ~0ull);
        tn_log_add(log, "\n");
    } else {
        tn_log_add(log, "returning from callee:\n");
        show_frame(v, top, 1u << BPF_REG_0, 0); /* what is left of it */
        tn_log_add(log, "\nto caller at %u:\n", v->pc);
        show_frame(v, top, 0x7ff, ~0ull);
        tn_log_add(log, "\n");
    }
    log->whole = true;
}

static void show_source(struct vf *v)
{
    struct tn_src_line line;

    /* Records of one line differ in their columns; line 0 is what a compiler added by itself. */
    if (!tn_src_line(&v->src, v->pc, &line) || !line.line ||
        (line.line == v->log.line && line.text == v->log.source))
        return;
    v->log.line = line.line;
    v->log.source = line.text;
    tn_log_add(&v->log, "; %s @ %s:%u\n", line.text, line.file, line.line);
}

void tn_log_functions(struct vf *v)
{
    for (u32 k = 0; k < v->cfg.nsubs && v->log.level & TN_LOG_ALL; k++)
        tn_log_add(&v->log, "func#%u @%u\n", k, v->cfg.sub[k].start);
}

void tn_log_insn(struct vf *v)
{
    struct tn_log *log = &v->log;
    const struct bpf_insn *i = &v->insns[v->pc];
    char text[128];
    u64 slots, before;
    u32 regs;

    if (!wanted(v))
        return;
    if (!log->whole && log->nframes != v->cur.nframes)
        show_frames_change(v);
    if (log->forked && (log->level & TN_LOG_ALL) && v->trail.n) {
        tn_log_add(log, "\nfrom %u to %u:", v->trail.last[(v->trail.n - 1) % TN_TRAIL_KEPT].insn, v->pc);
        show_frame(v, v->cur.nframes - 1, 0x7ff, ~0ull);
        tn_log_add(log, "\n");
    }
    compare(v, &regs, &slots);
    regs |= log->regs;
    slots |= log->slots;
    if (log->whole) {
        regs = 0x7ff;
        slots = ~0ull;
    }
    if (regs || slots)
        show_change(v, regs, slots);
    show_source(v);
    before = log->len;
    tn_disasm(i, text, sizeof(text));
    tn_log_add(log, "%u: (%02x) %s\n", v->pc, i->code, text);
    log->insn_width = (u32)(log->len - before) - 1;
    log->insn_end = log->len;
    log->regs = tn_insn_regs(i);
    log->slots = named_slots(v, i);
    log->nframes = v->cur.nframes;
    log->whole = log->forked = false;
}

void tn_log_state(struct vf *v, const char *what)
{
    v->log.whole = true;
    v->log.forked = *what;
    v->log.nframes = v->cur.nframes;
    v->log.regs = 0;
    v->log.slots = 0;
    v->log.line = 0;
    v->log.source = NULL;
    v->log.insn_end = 0;
}

void tn_log_safe(struct vf *v)
{
    struct tn_log *log = &v->log;

    if (!wanted(v))
        return;
    if (log->forked && v->trail.n)
        tn_log_add(log, "\nfrom %u to %u: safe\n", v->trail.last[(v->trail.n - 1) % TN_TRAIL_KEPT].insn,
                   v->pc);
    else
        tn_log_add(log, "%u: safe\n", v->pc);
}
