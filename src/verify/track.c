/* SPDX-License-Identifier: MIT */
/* The path that was walked, and the way back along it; the idea is told in track.h. */
#include "verify/track.h"

#include "verify/internal.h"

#define REGS         0x3ffu /* R0…R9: R10 is no number */
#define ARGS         0x3eu
#define CLOBBERED    0x3fu
#define ALL_SLOTS    (~0ull)
/* A stretch without a fork ends here, too: so that walks meet marks, and steps are moved about no more. */
#define LONG_STRETCH 4096u

_Static_assert(sizeof(struct tn_step) == 8, "a million of them fit");
_Static_assert(TN_MAX_INSNS <= 1u << 20 && TN_MAX_FRAMES <= 15, "fit a step");
_Static_assert(TN_STACK_SLOTS == 64, "one bit a slot");
_Static_assert(TN_STEP_INSN == 0 && TN_STEP_RETURN < TN_STEP_STORE && TN_STEP_LOAD < TN_STEP_STORE &&
                   TN_STEP_STORE < TN_STEP_LINK,
               "instructions come first");

/* ------------------------------------------------------------------------------------------------ slots */

/* Slots of [min, end), min < end ≤ 0, cut to the frame. */
static u64 slots_of(s64 min, s64 end)
{
    u32 low, high; /* slot 0 is the one next to the frame's top */

    min = TN_MAX(min, -(s64)TN_STACK_BYTES);
    end = TN_MIN(end, (s64)0);
    if (min >= end)
        return 0;
    low = (u32)(-end) / 8;
    high = (u32)(-min - 1) / 8;
    return (ALL_SLOTS >> (63 - high)) & (ALL_SLOTS << low);
}

/* Slots that lie in it as a whole. */
static u64 slots_within(s64 min, s64 end)
{
    return slots_of(min + (s64)((u64)-min % 8 ? (u64)-min % 8 : 0),
                    end - (s64)((u64)-end % 8 ? 8 - (u64)-end % 8 : 0));
}

#define ARG_WHOLE (1u << 16)

static u32 slot_arg(u32 frame, s64 min, s64 end)
{
    u32 low = (u32)(-end) / 8, high = (u32)(-min - 1) / 8;

    return frame | low << 4 | high << 10 | (min % 8 == 0 && end - min == 8 ? ARG_WHOLE : 0);
}

static u64 arg_slots(u32 arg)
{
    return (ALL_SLOTS >> (63 - (arg >> 10 & 63))) & (ALL_SLOTS << (arg >> 4 & 63));
}

/* ------------------------------------------------------------------------------------------- stretches */

static struct tn_step *steps_of(const struct tn_stretch *s)
{
    return (struct tn_step *)(void *)((char *)(uintptr_t)s + sizeof(*s) + s->nframes * sizeof(s->mark[0]));
}

struct tn_stretch *tn_stretch_get(struct tn_stretch *s)
{
    if (s)
        s->refs++;
    return s;
}

void tn_stretch_put(struct tn_stretch *s)
{
    while (s && !--s->refs) {
        struct tn_stretch *up = s->up;

        free(s);
        s = up;
    }
}

struct tn_stretch *tn_track_freeze(struct vf *v, u32 nframes)
{
    struct tn_track *t = &v->track;
    u32 mine = v->cur.nframes;
    struct tn_stretch *s;

    nframes = TN_MAX(nframes, mine);
    s = malloc(sizeof(*s) + nframes * sizeof(s->mark[0]) + t->nsteps * sizeof(t->step[0]));
    if (!s)
        return NULL;
    *s = (struct tn_stretch){.up = t->last, .refs = 1, .nsteps = t->nsteps, .nframes = nframes};
    for (u32 f = 0; f < nframes; f++) {
        s->mark[f] = (struct tn_marks){.written = f < mine ? t->written[f] : ALL_SLOTS};
        t->written[f] = 0;
    }
    if (t->nsteps)
        memcpy(steps_of(s), t->step, t->nsteps * sizeof(t->step[0]));
    if (!t->at)
        t->at = s;
    t->nsteps = 0;
    t->last = s;
    return s;
}

void tn_track_resume(struct vf *v, struct tn_stretch *s, u32 nframes)
{
    struct tn_track *t = &v->track;

    t->last = s;
    t->nsteps = 0;
    t->at = NULL;
    for (u32 f = 0; f < TN_MAX_FRAMES; f++)
        t->written[f] = s && f < s->nframes ? 0 : ALL_SLOTS;
}

void tn_track_clear(struct vf *v)
{
    tn_stretch_put(v->track.last);
    free(v->track.step);
    v->track = (struct tn_track){0};
}

static bool room(struct tn_track *t, u32 more)
{
    struct tn_step *grown;
    u32 cap;

    if (t->nsteps + more <= t->cap)
        return true;
    cap = TN_MAX(256u, 2 * (t->nsteps + more));
    grown = realloc(t->step, cap * sizeof(*grown));
    if (!grown)
        return false;
    t->step = grown;
    t->cap = cap;
    return true;
}

/* ------------------------------------------------------------------------------------------- the way back */

struct walk {
    u16 regs[TN_MAX_FRAMES], link_regs[TN_MAX_FRAMES];
    u64 slots[TN_MAX_FRAMES], link_slots[TN_MAX_FRAMES];
    u32 top;     /* frames above hold nothing */
    u32 after;   /* frames after the step */
    bool linked; /* link_… hold something */
};

static bool walk_done(const struct walk *w)
{
    if (w->top == 1)
        return !w->regs[0] && !w->slots[0];
    for (u32 f = 0; f < w->top; f++)
        if (w->regs[f] || w->slots[f])
            return false;
    return true;
}

static void back_alu(const struct bpf_insn *i, u16 *regs)
{
    u16 dst = (u16)(1u << i->dst_reg), src = BPF_SRC(i->code) == BPF_X ? (u16)(1u << i->src_reg) : 0;
    u8 op = BPF_OP(i->code);

    if (!(*regs & dst) || op == BPF_NEG || op == BPF_END)
        return;
    if (op == BPF_MOV)
        *regs &= (u16)~dst;
    *regs |= src & REGS;
}

static void back_load(const struct bpf_insn *i, const struct tn_step *s, struct walk *w, u16 *regs)
{
    u16 dst = (u16)(1u << i->dst_reg);

    if (!(*regs & dst))
        return;
    *regs &= (u16)~dst;
    if (s->kind == TN_STEP_LOAD)
        w->slots[s->arg & 15] |= arg_slots(s->arg);
}

static void back_store(const struct bpf_insn *i, const struct tn_step *s, struct walk *w, u16 *regs)
{
    u64 slots = arg_slots(s->arg), *wanted = &w->slots[s->arg & 15];

    if (s->kind != TN_STEP_STORE || !(*wanted & slots))
        return;
    if (s->arg & ARG_WHOLE)
        *wanted &= ~slots;
    if (BPF_CLASS(i->code) == BPF_STX)
        *regs |= (u16)(1u << i->src_reg) & REGS;
}

static void back_atomic(const struct bpf_insn *i, const struct tn_step *s, struct walk *w, u16 *regs)
{
    if (i->imm == BPF_LOAD_ACQ)
        back_load(i, s, w, regs);
    else if (i->imm == BPF_STORE_REL)
        back_store(i, s, w, regs);
    else if (i->imm == BPF_CMPXCHG)
        *regs &= (u16)~1u;
    else if (i->imm & BPF_FETCH)
        *regs &= (u16) ~(1u << i->src_reg);
}

/* The frames above `frames` did not exist before the step. */
static void back_push(struct walk *w, u32 frames, u16 taken)
{
    for (u32 f = frames; f < w->after; f++) {
        if (w->regs[f] & ARGS)
            w->regs[frames - 1] |= taken ? taken : w->regs[f] & ARGS;
        w->regs[f] = 0;
        w->slots[f] = 0;
    }
}

static void back_call(const struct bpf_insn *i, const struct tn_step *s, struct walk *w, u16 *regs)
{
    bool callback = i->src_reg != BPF_PSEUDO_CALL && w->after > s->frames;

    /* Into a callback the caller's arguments stay what they are,
       and any may be behind those of the callback. */
    if (!callback)
        *regs &= (u16)~CLOBBERED;
    back_push(w, s->frames, callback ? ARGS : 0);
}

static void back_exit(const struct tn_step *s, struct walk *w)
{
    u32 to = w->after;

    if (!to || to >= s->frames)
        return;
    if (s->kind != TN_STEP_RETURN) {
        if (w->regs[to - 1] & 1)
            w->regs[s->frames - 1] |= 1;
        w->regs[to - 1] &= (u16)~CLOBBERED;
    }
    w->top = TN_MAX(w->top, s->frames);
}

/* Whoever learns from a branch needs both operands, and all that is linked to them. */
static void back_branch(const struct bpf_insn *i, struct walk *w, u16 *regs, u32 frame)
{
    u16 operands = (u16)((1u << i->dst_reg) | (BPF_SRC(i->code) == BPF_X ? 1u << i->src_reg : 0)) & REGS;
    bool wanted = *regs & operands;

    if (BPF_OP(i->code) == BPF_JA || BPF_OP(i->code) == BPF_JCOND)
        return;
    if (!w->linked) {
        *regs |= wanted ? operands : 0;
        return;
    }
    w->link_regs[frame] |= operands;
    for (u32 f = 0; f < TN_MAX_FRAMES; f++)
        wanted |= (w->regs[f] & w->link_regs[f]) || (w->slots[f] & w->link_slots[f]);
    for (u32 f = 0; wanted && f < TN_MAX_FRAMES; f++) {
        w->regs[f] |= w->link_regs[f];
        w->slots[f] |= w->link_slots[f];
        if (w->regs[f] || w->slots[f])
            w->top = TN_MAX(w->top, f + 1);
    }
}

static void tell_probe(struct vf *v, const struct tn_step *s, const struct walk *w)
{
    struct tn_marks mark[TN_MAX_FRAMES];

    for (u32 f = 0; f < TN_MAX_FRAMES; f++)
        mark[f] = (struct tn_marks){.regs = w->regs[f], .slots = w->slots[f]};
    v->probe->mark(v->probe->arg, s->arg, w->after, mark);
}

static void back(struct vf *v, const struct tn_step *s, struct walk *w)
{
    const struct bpf_insn *i = &v->insns[s->insn];
    u16 *regs = &w->regs[s->frames ? s->frames - 1 : 0];

    switch ((enum tn_step_kind)s->kind) {
    case TN_STEP_LINK:
        w->link_regs[s->frames] |= (u16)s->arg;
        w->linked = true;
        return;
    case TN_STEP_LINK_LOW:
        w->link_slots[s->frames] |= s->arg;
        w->linked = true;
        return;
    case TN_STEP_LINK_HIGH:
        w->link_slots[s->frames] |= (u64)s->arg << 32;
        w->linked = true;
        return;
    case TN_STEP_SERIAL:
        tell_probe(v, s, w);
        return;
    default:
        break;
    }
    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        *regs &= (u16) ~(BPF_MODE(i->code) == BPF_IMM ? 1u << i->dst_reg : 1u);
        break;
    case BPF_LDX:
        back_load(i, s, w, regs);
        break;
    case BPF_ST:
        back_store(i, s, w, regs);
        break;
    case BPF_STX:
        if (BPF_MODE(i->code) == BPF_ATOMIC)
            back_atomic(i, s, w, regs);
        else
            back_store(i, s, w, regs);
        break;
    case BPF_ALU:
    case BPF_ALU64:
        back_alu(i, regs);
        break;
    default:
        if (tn_insn_is_call(i))
            back_call(i, s, w, regs);
        else if (BPF_OP(i->code) == BPF_EXIT)
            back_exit(s, w);
        else
            back_branch(i, w, regs, s->frames - 1);
        break;
    }
    if (w->after > s->frames)
        back_push(w, s->frames, 0);
    w->after = s->frames;
    if (s->kind == TN_STEP_INSN)
        *regs &= (u16)~s->arg;
    if (w->linked) {
        memset(w->link_regs, 0, sizeof(w->link_regs));
        memset(w->link_slots, 0, sizeof(w->link_slots));
        w->linked = false;
    }
}

/* Leaves marks at the end of `s`, and in the walk those that are new. */
static bool mark_end(struct tn_stretch *s, struct walk *w)
{
    bool some = false;

    for (u32 f = 0; f < w->top; f++) {
        if (f >= s->nframes) {
            w->regs[f] = 0;
            w->slots[f] = 0;
            continue;
        }
        w->regs[f] &= (u16)~s->mark[f].regs;
        w->slots[f] &= ~s->mark[f].slots;
        s->mark[f].regs |= w->regs[f];
        s->mark[f].slots |= w->slots[f];
        some |= w->regs[f] || w->slots[f];
    }
    return some;
}

/* Most steps touch nothing that is wanted, and that is told without following them. */
static bool passes_by(const struct vf *v, const struct walk *w, const struct tn_step *s)
{
    const struct bpf_insn *i = &v->insns[s->insn];
    u16 regs;

    if (s->kind > TN_STEP_STORE || s->kind == TN_STEP_RETURN || w->linked || w->after != s->frames)
        return false;
    regs = w->regs[s->frames - 1];
    if (s->kind == TN_STEP_INSN && regs & s->arg)
        return false;
    switch (BPF_CLASS(i->code)) {
    case BPF_LDX:
    case BPF_ALU:
    case BPF_ALU64:
        return !(regs >> i->dst_reg & 1);
    case BPF_STX:
        if (BPF_MODE(i->code) == BPF_ATOMIC)
            return false;
        __attribute__((fallthrough));
    case BPF_ST:
        return s->kind != TN_STEP_STORE || !(w->slots[s->arg & 15] & arg_slots(s->arg));
    case BPF_JMP:
    case BPF_JMP32:
        return BPF_OP(i->code) != BPF_CALL && BPF_OP(i->code) != BPF_EXIT && !(regs >> i->dst_reg & 1) &&
               !(BPF_SRC(i->code) == BPF_X && regs >> i->src_reg & 1);
    default:
        return false;
    }
}

static bool walk_steps(struct vf *v, struct walk *w, const struct tn_step *steps, u32 n)
{
    while (n-- > 0) {
        if (passes_by(v, w, &steps[n]))
            continue;
        back(v, &steps[n], w);
        if (walk_done(w))
            return false;
    }
    return true;
}

/* From the end of `s` to the start. */
static bool walk_up(struct vf *v, struct walk *w, struct tn_stretch *s)
{
    bool some = false;

    for (; s && mark_end(s, w); s = s->up) {
        some = true;
        if (!walk_steps(v, w, steps_of(s), s->nsteps))
            break;
    }
    return some;
}

/* From before the instruction under way. */
static void walk_here(struct vf *v, struct walk *w)
{
    const struct tn_track *t = &v->track;

    w->after = w->top = t->nframes;
    if (t->at) {
        if (walk_steps(v, w, steps_of(t->at), t->at_step))
            walk_up(v, w, t->at->up);
    } else if (walk_steps(v, w, t->step, t->at_step)) {
        walk_up(v, w, t->last);
    }
}

static void track_regs(struct vf *v, u16 regs)
{
    struct tn_track *t = &v->track;
    struct walk w = {0};

    w.regs[t->nframes - 1] = regs & REGS;
    if (!(regs & REGS))
        return;
    walk_here(v, &w);
    if (!t->at && t->step[t->insn_step].kind == TN_STEP_INSN)
        t->step[t->insn_step].arg |= regs & REGS; /* later walks may end here */
}

void tn_track_precise(struct vf *v, u32 regno)
{
    track_regs(v, (u16)(1u << regno));
}

void tn_track_precise_stack(struct vf *v, u32 frame, s64 min, s64 end)
{
    struct walk w = {0};

    w.slots[frame] = slots_of(min, end);
    walk_here(v, &w);
}

void tn_track_ignore(struct vf *v, u32 regno)
{
    v->track.ignored |= (u16)(1u << regno);
}

/* ------------------------------------------------------------------------------------------- slots read */

static bool read_up(struct tn_stretch *s, u32 frame, u64 slots)
{
    bool some = false;

    while (s && slots && frame < s->nframes) {
        struct tn_marks *m = &s->mark[frame];

        slots &= ~m->read;
        some |= slots != 0;
        m->read |= slots;
        slots &= ~m->written;
        s = s->up;
    }
    return some;
}

static void read_slots(struct vf *v, u32 frame, u64 slots)
{
    read_up(v->track.last, frame, slots & ~v->track.written[frame]);
}

static u32 frame_index(const struct vf *v, const struct tn_frame *f)
{
    u32 k = 0;

    while (k + 1 < v->cur.nframes && v->cur.frame[k] != f)
        k++;
    return k;
}

void tn_track_read(struct vf *v, const struct tn_frame *f, s64 min, s64 end)
{
    read_slots(v, frame_index(v, f), slots_of(min, end));
}

void tn_track_written(struct vf *v, const struct tn_frame *f, s64 min, s64 end)
{
    v->track.will_write[frame_index(v, f)] |= slots_within(min, end);
}

/* ------------------------------------------------------------------------------------------- inheriting */

static bool load_marks(struct walk *w, const struct tn_marks *mark, u32 nframes)
{
    w->top = w->after = nframes;
    for (u32 f = 0; f < nframes; f++) {
        w->regs[f] = mark[f].regs;
        w->slots[f] = mark[f].slots;
    }
    return !walk_done(w);
}

void tn_track_inherit(struct vf *v, const struct tn_marks *mark, u32 nframes)
{
    struct tn_track *t = &v->track;
    struct walk w = {0};

    for (u32 f = 0; f < nframes; f++)
        read_slots(v, f, mark[f].read);
    if (load_marks(&w, mark, nframes) && walk_steps(v, &w, t->step, t->nsteps))
        walk_up(v, &w, t->last);
}

bool tn_track_inherit_at(struct vf *v, struct tn_stretch *s, const struct tn_marks *mark, u32 nframes)
{
    struct walk w = {0};
    bool some = false;

    for (u32 f = 0; f < nframes; f++)
        some |= read_up(s, f, mark[f].read);
    if (load_marks(&w, mark, nframes))
        some |= walk_up(v, &w, s);
    return some;
}

/* ------------------------------------------------------------------------------------- the way forward */

struct group {
    u32 id1, id2;
};

static bool in_group(const struct group *g, const struct tn_reg *reg)
{
    return reg->id && reg->kind == TN_REG_SCALAR && (reg->id == g->id1 || reg->id == g->id2);
}

static void add_link(struct tn_track *t, enum tn_step_kind kind, u32 frame, u32 which)
{
    if (which)
        t->step[t->nsteps++] = (struct tn_step){.frames = frame & 15, .kind = (u8)kind, .arg = which};
}

/* A branch on numbers that others are linked to teaches these as well. */
static int add_links(struct vf *v, const struct bpf_insn *i)
{
    const struct tn_reg *dst = vf_reg(v, i->dst_reg), *src = vf_reg(v, i->src_reg);
    bool x = BPF_SRC(i->code) == BPF_X;
    struct group g = {dst->kind == TN_REG_SCALAR ? dst->id : 0,
                      x && src->kind == TN_REG_SCALAR ? src->id : 0};

    if (!g.id1 && !g.id2)
        return 0;
    if (!room(&v->track, 3 * v->cur.nframes))
        return -ENOMEM;
    for (u32 k = 0; k < v->cur.nframes; k++) {
        const struct tn_frame *f = v->cur.frame[k];
        u64 slots = 0;
        u32 regs = 0;

        for (u32 r = 0; r < 10; r++)
            regs |= (u32)in_group(&g, &f->reg[r]) << r;
        for (u32 s = 0; s < f->nslots; s++)
            slots |= (u64)(f->slot[s].size && in_group(&g, &f->slot[s].reg)) << s;
        add_link(&v->track, TN_STEP_LINK, k, regs);
        add_link(&v->track, TN_STEP_LINK_LOW, k, (u32)slots);
        add_link(&v->track, TN_STEP_LINK_HIGH, k, (u32)(slots >> 32));
    }
    return 0;
}

/* A load of bytes that hold something known; others yield what nobody knows. */
static bool holds_known(const struct tn_frame *f, s64 min, s64 end)
{
    for (s64 o = min; o < end; o++) {
        u32 k = (u32)(-o - 1) / 8;
        const struct tn_stack_slot *s;
        u8 byte;

        if (k >= f->nslots)
            continue;
        s = &f->slot[k];
        byte = s->byte[(u64)o % 8];
        /* What does not start its slot is known only when it is zero (stack.c). */
        if (byte == TN_BYTE_ZERO || (byte == TN_BYTE_SPILL && s->reg.kind == TN_REG_SCALAR &&
                                     (!s->lo || (tn_range_is_const(&s->reg.r) && !s->reg.r.umin))))
            return true;
    }
    return false;
}

static void note_stack(struct vf *v, const struct bpf_insn *i, struct tn_step *s)
{
    bool atomic = BPF_CLASS(i->code) == BPF_STX && BPF_MODE(i->code) == BPF_ATOMIC;
    bool load = BPF_CLASS(i->code) == BPF_LDX || (atomic && i->imm == BPF_LOAD_ACQ);
    bool store = !load && (!atomic || i->imm == BPF_STORE_REL);
    const struct tn_reg *base = vf_reg(v, load ? i->src_reg : i->dst_reg);
    struct tn_track *t = &v->track;
    u32 size = tn_size_bytes(i->code);
    s64 min, max;

    if (base->kind != TN_REG_STACK || base->frame >= v->cur.nframes)
        return;
    if (base->r.smin < -(1 << 29) || base->r.smax > 1 << 29)
        return; /* refused */
    min = base->r.smin + i->off;
    max = base->r.smax + i->off;
    if (min < -TN_STACK_BYTES || max + size > 0)
        return; /* refused */
    if (!store)
        read_slots(v, base->frame, slots_of(min, max + size));
    if (min != max)
        return;
    if (store)
        t->will_write[base->frame] |= slots_within(min, min + size);
    if (load && holds_known(v->cur.frame[base->frame], min, min + size))
        *s = (struct tn_step){s->insn, s->frames, TN_STEP_LOAD, slot_arg(base->frame, min, min + size)};
    else if (store)
        *s = (struct tn_step){s->insn, s->frames, TN_STEP_STORE, slot_arg(base->frame, min, min + size)};
}

static u16 numbers_of(struct vf *v, u16 regs)
{
    u16 numbers = 0;

    for (u32 r = 0; r < 10; r++)
        if (regs >> r & 1 && vf_reg(v, r)->kind == TN_REG_SCALAR)
            numbers |= (u16)(1u << r);
    return numbers;
}

/* Arguments whose values a call looks at. */
static u16 args_looked_at(const struct bpf_insn *i)
{
    const struct tn_proto *proto;
    u16 regs = ARGS;

    if (i->src_reg)
        return ARGS;
    proto = tn_proto_by_id((u32)i->imm); /* the rows of one helper look at the same numbers */
    for (u32 a = 1; proto && a <= 5; a++)
        if (tn_proto_arg(proto, a)->kind == TN_AK_ANY || tn_proto_arg(proto, a)->kind == TN_AK_NONE)
            regs &= (u16) ~(1u << a);
    return regs;
}

static bool adds_to_pointer(struct vf *v, const struct bpf_insn *i)
{
    return i->code == (BPF_ALU64 | BPF_ADD | BPF_X) || i->code == (BPF_ALU64 | BPF_SUB | BPF_X)
               ? (vf_reg(v, i->dst_reg)->kind == TN_REG_SCALAR) !=
                     (vf_reg(v, i->src_reg)->kind == TN_REG_SCALAR)
               : false;
}

int tn_track_step(struct vf *v)
{
    const struct bpf_insn *i = &v->insns[v->pc];
    struct tn_track *t = &v->track;
    struct tn_step *s;
    u8 op = BPF_OP(i->code);

    if (t->nsteps >= LONG_STRETCH && !tn_track_freeze(v, 0))
        return -ENOMEM;
    if (!room(t, 2))
        return -ENOMEM;
    t->nframes = v->cur.nframes;
    t->at = NULL;
    t->at_step = t->nsteps;
    t->numbers = t->ignored = 0;
    if (v->probe && v->probe->mark)
        t->step[t->nsteps++] = (struct tn_step){.kind = TN_STEP_SERIAL, .arg = (u32)v->processed};
    t->insn_step = t->nsteps;
    s = &t->step[t->nsteps++];
    *s = (struct tn_step){.insn = v->pc & 0xfffff, .frames = t->nframes & 15, .kind = TN_STEP_INSN};
    switch (BPF_CLASS(i->code)) {
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
        note_stack(v, i, s);
        return 0;
    case BPF_ALU64:
        if (adds_to_pointer(v, i))
            track_regs(v, numbers_of(v, (u16)(1u << i->dst_reg | 1u << i->src_reg)));
        return 0;
    case BPF_JMP:
    case BPF_JMP32:
        break;
    default:
        return 0;
    }
    if (op == BPF_CALL) {
        t->numbers = numbers_of(v, args_looked_at(i));
    } else if (op == BPF_EXIT) {
        const struct tn_frame *f = tn_state_top(&v->cur);
        bool checked = t->nframes == 1 ? !v->root && v->ret_checked : false;

        if (f->callback)
            s->kind = TN_STEP_RETURN;
        if (checked || f->callback || f->async || f->exception)
            t->numbers = numbers_of(v, 1);
    } else if (op != BPF_JA && op != BPF_JCOND) {
        t->numbers =
            numbers_of(v, (u16)(1u << i->dst_reg | (BPF_SRC(i->code) == BPF_X ? 1u << i->src_reg : 0)));
        return add_links(v, i);
    }
    return 0;
}

/* A branch goes one way only because of what is known of its operands, or of a number linked to one of them:
   the whole group matters. Links are steps behind the branch. */
static void track_branch(struct vf *v, u16 numbers)
{
    struct tn_track *t = &v->track;
    struct walk w = {.top = t->nframes, .after = t->nframes};

    if (t->insn_step + 1 < t->nsteps) {
        w.regs[t->nframes - 1] = numbers & REGS;
        if (walk_steps(v, &w, t->step, t->nsteps))
            walk_up(v, &w, t->last);
    } else {
        track_regs(v, numbers);
    }
}

/* A function of the program that is followed looks at nothing by being called. */
static bool followed(const struct vf *v, const struct bpf_insn *i)
{
    return tn_insn_is_subprog_call(i) && v->cur.nframes > v->track.nframes;
}

static bool branches(const struct bpf_insn *i)
{
    return tn_insn_is_jump_class(i) && !tn_insn_is_call(i) && BPF_OP(i->code) != BPF_EXIT;
}

void tn_track_stepped(struct vf *v, u32 insn, bool forked)
{
    const struct bpf_insn *i = &v->insns[insn];
    struct tn_track *t = &v->track;
    u16 numbers = (u16)(t->numbers & ~t->ignored);

    if (numbers && branches(i)) {
        if (!forked)
            track_branch(v, numbers);
    } else if (numbers && !followed(v, i)) {
        track_regs(v, numbers);
    }
    for (u32 f = 0; f < t->nframes; f++) {
        t->written[f] |= t->will_write[f];
        t->will_write[f] = 0;
    }
    for (u32 f = t->nframes; f < v->cur.nframes; f++)
        t->written[f] = ALL_SLOTS;
}
