/* SPDX-License-Identifier: MIT */
/* The watched run; see eval.h, and machine.h for what is under it. */
#include "tests/verify/eval.h"

#include <stdlib.h>

#include "isa/insn.h"
#include "tests/verify/arith.h"
#include "tests/verify/machine.h"

#define MAY_GOTO_OP 0xe0

/* ------------------------------------------------------------------------------------------------ views */

#define VIEW_SLOTS 12u
struct eval_view {
    struct eval_view *next;
    struct tn_need need;
    u32 nframes, nslots;
    u32 nobjects, nlocks, nres, nirq, rcu, preempt; /* held */
    u16 pointers, numbers, linked; /* registers; numbers: those of which something is known */
    u16 told;                      /* slots of which something is known */
    bool strict;                   /* all slots are compared when paths are */
    struct tn_reg reg[10];
    struct tn_stack_slot slot[VIEW_SLOTS];
};
#define CHUNK 256u

static struct eval_view *view_new(struct eval_views *views)
{
    if (views->n == views->cap) {
        u32 chunks = views->cap / CHUNK;

        views->chunk = realloc(views->chunk, (chunks + 1) * sizeof(views->chunk[0]));
        if (!views->chunk)
            abort();
        views->chunk[chunks] = malloc(CHUNK * sizeof(struct eval_view));
        if (!views->chunk[chunks])
            abort();
        views->cap += CHUNK;
    }
    views->n++;
    return &views->chunk[(views->n - 1) / CHUNK][(views->n - 1) % CHUNK];
}

static bool says_something(const struct tn_reg *reg)
{
    const struct tn_range *r = &reg->r;

    return r->umin || r->umax != UINT64_MAX || r->smin != INT64_MIN || r->smax != INT64_MAX || r->u32min ||
           r->u32max != UINT32_MAX || r->s32min != INT32_MIN || r->s32max != INT32_MAX ||
           r->var.mask != UINT64_MAX;
}

static void note_what_is_told(struct eval_view *view)
{
    view->pointers = view->numbers = view->linked = view->told = 0;
    for (u32 r = 0; r < 10; r++) {
        const struct tn_reg *reg = &view->reg[r];

        view->pointers |= (u16)(tn_reg_is_pointer(reg) << r);
        view->numbers |= (u16)((reg->kind == TN_REG_SCALAR && says_something(reg)) << r);
        view->linked |= (u16)((reg->kind == TN_REG_SCALAR && reg->id) << r);
    }
    for (u32 k = 0; k < view->nslots; k++) {
        const struct tn_stack_slot *s = &view->slot[k];
        bool told = s->size && (s->reg.kind != TN_REG_SCALAR || says_something(&s->reg));

        for (u32 b = 0; b < 8; b++)
            told |= s->byte[b] == TN_BYTE_ZERO || s->byte[b] >= TN_BYTE_DYNPTR;
        view->told |= (u16)(told << k);
    }
}

void eval_remember(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need)
{
    struct eval_views *views = arg;
    const struct tn_frame *f = tn_state_top(state);
    struct eval_view *view = view_new(views);

    if (insn >= EVAL_MAX_PROG)
        abort();
    view->need = *need;
    view->strict = need->slots == ~0ull;
    view->nframes = state->nframes;
    view->nslots = TN_MIN(f->nslots, VIEW_SLOTS);
    view->nobjects = view->nlocks = view->nres = view->nirq = 0;
    for (u32 k = 0; k < state->nrefs; k++) {
        view->nobjects += state->ref[k].kind == TN_REF_OBJECT;
        view->nlocks += state->ref[k].kind == TN_REF_LOCK;
        view->nres += state->ref[k].kind == TN_REF_RES_LOCK || state->ref[k].kind == TN_REF_RES_LOCK_IRQ;
        view->nirq += state->ref[k].kind == TN_REF_IRQ;
    }
    view->rcu = state->rcu;
    view->preempt = state->preempt;
    memcpy(view->reg, f->reg, sizeof(view->reg));
    if (view->nslots)
        memcpy(view->slot, f->slot, view->nslots * sizeof(view->slot[0]));
    note_what_is_told(view);
    view->next = views->at[insn];
    views->at[insn] = view;
}

void eval_mark(void *arg, u64 position, u32 nframes, const struct tn_marks *mark)
{
    struct eval_views *views = arg;
    struct eval_view *view;

    if (!position || position > views->n)
        abort();
    view = &views->chunk[(position - 1) / CHUNK][(position - 1) % CHUNK];
    if (nframes != view->nframes)
        abort();
    view->need.demand |= mark[nframes - 1].regs;
    view->need.slots |= mark[nframes - 1].slots;
}

void eval_forget(struct eval_views *views)
{
    memset(views->at, 0, sizeof(views->at));
    views->n = 0;
}

void eval_free(struct eval_views *views)
{
    for (u32 k = 0; k < views->cap / CHUNK; k++)
        free(views->chunk[k]);
    free(views->chunk);
    *views = (struct eval_views){0};
}

/* ---------------------------------------------------------------------------------- abstract ∋ concrete */

static bool in_range(const struct tn_range *r, u64 x)
{
    return x >= r->umin && x <= r->umax && (s64)x >= r->smin && (s64)x <= r->smax && (u32)x >= r->u32min &&
           (u32)x <= r->u32max && (s32)x >= r->s32min && (s32)x <= r->s32max &&
           !((x ^ r->var.value) & ~r->var.mask);
}

/* A number, or the offset of a pointer. */
static bool number_inside(const struct tn_reg *a, u64 x)
{
    s64 moved = (s64)(x - (u64)(s64)(tn_reg_is_pointer(a) ? a->delta : 0));

    if (a->step && (tn_reg_is_pointer(a) ? moved % a->step : (s64)((u64)moved % a->step)))
        return false;
    return in_range(&a->r, x);
}

/* What the verifier believes to be proved of a packet is there. */
static bool packet_inside(const struct machine *m, const struct tn_reg *a, u64 x)
{
    bool meta = a->kind == TN_REG_PACKET_META;
    u64 data = machine_packet_data(m), end = meta ? data : machine_packet_end(m);
    u64 start = meta ? m->object[m->now].start : data;

    if (!number_inside(a, x - start))
        return false;
    if (a->obj == TN_PKT_PAST_END)
        return (s64)(x - end) > 0;
    if (a->obj == TN_PKT_AT_END)
        return (s64)(x - end) >= 0;
    return !a->obj || (s64)(end - (x - (u64)(s64)a->delta)) >= (s64)a->obj;
}

static bool mem_inside(const struct machine *m, const struct tn_reg *a, u64 x)
{
    if (a->flags & TN_PTR_UNTRUSTED)
        return true;
    for (u32 k = 0; k < m->nparts && a->flags & TN_PTR_DYNPTR_MEM; k++)
        if (m->part[k].there && m->part[k].size == a->obj && number_inside(a, x - m->part[k].start))
            return true;
    for (u32 k = m->records; k < m->sockets && !(a->flags & TN_PTR_DYNPTR_MEM); k++)
        if (m->object[k].there && m->object[k].kind == TN_REG_MEM && m->object[k].index == a->obj &&
            number_inside(a, x - m->object[k].start))
            return true;
    return false;
}

static bool map_inside(const struct machine *m, const struct tn_reg *a, u64 x)
{
    const struct tn_verify_map *map = machine_map(m, x);

    return map && MAP_OF(x) == a->obj && (INNER_OF(x) != 0) == (a->uid != 0);
}

static bool object_inside(const struct machine *m, const struct tn_reg *a, u64 x)
{
    u8 kind = a->kind == TN_REG_SOCK_COMMON || a->kind == TN_REG_TCP_SOCK ? TN_REG_SOCKET : a->kind;

    for (u32 k = 0; k < m->nobjects; k++) {
        const struct object *o = &m->object[k];

        if (o->there && o->kind == kind && (kind == TN_REG_SOCKET || o->index == a->obj) &&
            (kind != TN_REG_MAP_VALUE || (o->inner != 0) == (a->uid != 0)) && number_inside(a, x - o->start))
            return true;
    }
    return false;
}

/* What a look-up in a map of maps found is still called a value while it may be NULL. */
static bool is_map_maybe(const struct machine *m, const struct tn_reg *a)
{
    return a->kind == TN_REG_MAP_VALUE && !a->uid && m->in->maps[a->obj].inner;
}

static bool inside(const struct machine *m, const struct tn_reg *a, u64 x)
{
    if (a->kind > TN_REG_SCALAR && tn_reg_maybe_null(a) && !x)
        return true;
    switch ((enum tn_reg_kind)a->kind) {
    case TN_REG_NONE:
        return true;
    case TN_REG_SCALAR:
        return number_inside(a, x);
    case TN_REG_CTX:
        return number_inside(a, x - m->object[m->ctx].start);
    case TN_REG_STACK:
        return number_inside(a, x - m->frame[a->frame].reg[10]);
    case TN_REG_MAP:
        return map_inside(m, a, x);
    case TN_REG_PACKET:
    case TN_REG_PACKET_META:
        return packet_inside(m, a, x);
    case TN_REG_PACKET_END:
        return x == machine_packet_end(m);
    case TN_REG_MEM:
        return mem_inside(m, a, x);
    case TN_REG_BTF:
        return !(a->flags & (TN_PTR_TRUSTED | TN_PTR_RCU)) || a->flags & TN_PTR_UNTRUSTED ||
               object_inside(m, a, x);
    case TN_REG_FUNC:
        return x == FUNC_TOKEN + a->obj;
    case TN_REG_DYNPTR:
        return x - DYN_TOKEN < m->nnamed && m->named[x - DYN_TOKEN].live;
    case TN_REG_MAP_VALUE:
        if (is_map_maybe(m, a))
            return machine_map(m, x) && MAP_OF(x) == a->obj && INNER_OF(x);
        return object_inside(m, a, x);
    default:
        return object_inside(m, a, x);
    }
}

static bool bytes_inside(const struct tn_stack_slot *s, const u8 *at, const u8 *state, bool decides)
{
    for (u32 b = 0; b < 8; b++) {
        switch ((enum tn_byte_kind)s->byte[b]) {
        case TN_BYTE_ZERO:
            if (decides && at[b])
                return false;
            break;
        case TN_BYTE_DYNPTR:
        case TN_BYTE_ITER:
        case TN_BYTE_IRQ_FLAG:
            if (state[b] != OBJECT)
                return false;
            break;
        default:
            break;
        }
    }
    return true;
}

static bool slot_inside(const struct machine *m, const struct tn_stack_slot *s, u32 index, bool decides)
{
    const struct frame *f = &m->frame[m->nframes - 1];
    const u8 *at = (const u8 *)f->reg[10] - 8 * (index + 1);
    u64 x = 0;

    if (!bytes_inside(s, at, &f->state[TN_STACK_BYTES - 8 * (index + 1)], decides))
        return false;
    if (!s->size || (s->reg.kind == TN_REG_SCALAR && !decides))
        return true;
    memcpy(&x, at + s->lo, s->size);
    return inside(m, &s->reg, x);
}

/* Numbers that are said to be one, but for a distance. */
static bool links_hold(const struct eval_view *v, const struct frame *f, u32 linked)
{
    for (; linked & (linked - 1); linked &= linked - 1) {
        u32 a = (u32)__builtin_ctz(linked);

        for (u32 rest = linked & (linked - 1); rest; rest &= rest - 1) {
            u32 b = (u32)__builtin_ctz(rest);

            if (v->reg[a].id == v->reg[b].id &&
                f->reg[a] - (u64)(s64)v->reg[a].delta != f->reg[b] - (u64)(s64)v->reg[b].delta)
                return false;
        }
    }
    return true;
}

static bool held_as_told(const struct machine *m, const struct eval_view *v)
{
    /* What was asked for and not had (NULL) is held until the program has looked. */
    return m->nheld <= v->nobjects && (m->lock != 0) == v->nlocks && m->nres == v->nres &&
           m->nirq == v->nirq && m->rcu == v->rcu && m->preempt == v->preempt;
}

/* NULL: nothing; otherwise what is outside. A lazy verifier does not compare stack slots that are overwritten
   before they are read, so of these it is told which are outside: reading one is wrong. */
static const char *outside_of(const struct machine *m, const struct eval_view *v, u16 *ret_slots)
{
    static const char *const reg[] = {"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"};
    const struct frame *f = &m->frame[m->nframes - 1];
    u32 decide = v->need.live & v->need.demand;

    *ret_slots = 0;
    if (v->nframes != m->nframes)
        return "so many frames";
    if (!held_as_told(m, v))
        return "what is held";
    for (u32 left = decide & v->numbers; left; left &= left - 1) {
        u32 r = (u32)__builtin_ctz(left);

        if (!number_inside(&v->reg[r], f->reg[r]))
            return reg[r];
    }
    for (u32 left = v->need.live & v->pointers; left; left &= left - 1) {
        u32 r = (u32)__builtin_ctz(left);

        if (!inside(m, &v->reg[r], f->reg[r]))
            return reg[r];
    }
    for (u32 left = v->told; left; left &= left - 1) {
        u32 k = (u32)__builtin_ctz(left);

        if (slot_inside(m, &v->slot[k], k, v->need.slots >> k & 1))
            continue;
        if (v->strict)
            return "the stack";
        *ret_slots |= (u16)(1u << k);
    }
    return links_hold(v, f, decide & v->linked) ? NULL : "numbers that should be one";
}

/* One that fits goes to the front: the next run is likely to need it. NULL: there is one; otherwise what is
   wrong with the last. Which of several that fit covers this run is not known: slots are suspect that are
   outside of all. */
static const char *unseen(struct machine *m, struct eval_views *views)
{
    struct eval_view **at = &views->at[m->pc], **fits = NULL, *v;
    const char *what = "an instruction that was not seen", *wrong;
    u16 slots, suspect = UINT16_MAX;

    for (; suspect && (v = *at); at = &v->next) {
        wrong = outside_of(m, v, &slots);
        if (wrong) {
            what = wrong;
            continue;
        }
        suspect &= slots;
        fits = at;
    }
    if (!fits)
        return what;
    v = *fits;
    *fits = v->next;
    v->next = views->at[m->pc];
    views->at[m->pc] = v;
    machine_top(m)->suspect = suspect;
    return NULL;
}

/* ------------------------------------------------------------------------------------------- instructions */

static u64 alu(const struct bpf_insn *i, u64 a, u64 b)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64, is_signed = i->off == 1;
    u32 x = (u32)a, y = (u32)b;
    s64 sa = is64 ? (s64)a : (s32)x, sb = is64 ? (s64)b : (s32)y, q;

    switch (BPF_OP(i->code)) {
    case BPF_ADD:
        return is64 ? a + b : x + y;
    case BPF_SUB:
        return is64 ? a - b : x - y;
    case BPF_MUL:
        return is64 ? a * b : x * y;
    case BPF_AND:
        return is64 ? a & b : x & y;
    case BPF_OR:
        return is64 ? a | b : x | y;
    case BPF_XOR:
        return is64 ? a ^ b : x ^ y;
    case BPF_LSH:
        return is64 ? a << (b & 63) : x << (y & 31);
    case BPF_RSH:
        return is64 ? a >> (b & 63) : x >> (y & 31);
    case BPF_ARSH:
        return is64 ? (u64)((s64)a >> (b & 63)) : (u32)((s32)x >> (y & 31));
    case BPF_NEG:
        return is64 ? -a : -x;
    case BPF_DIV:
    case BPF_MOD:
        if (is64 ? !b : !y)
            return BPF_OP(i->code) == BPF_DIV ? 0 : is64 ? a : x;
        if (is_signed) {
            if (sb == -1) /* the least number has no opposite */
                q = BPF_OP(i->code) == BPF_DIV ? (s64) - (u64)sa : 0;
            else
                q = BPF_OP(i->code) == BPF_DIV ? sa / sb : sa % sb;
            return is64 ? (u64)q : (u32)q;
        }
        if (BPF_OP(i->code) == BPF_DIV)
            return is64 ? a / b : x / y;
        return is64 ? a % b : x % y;
    case BPF_MOV:
        if (i->off)
            b = (u64)tn_width_sext(b, (unsigned)i->off);
        return is64 ? b : (u32)b;
    default: /* BPF_END */
        if (!is64 && BPF_SRC(i->code) == BPF_TO_LE)
            return i->imm == 16 ? (u16)a : i->imm == 32 ? x : a;
        return i->imm == 16   ? __builtin_bswap16((u16)a)
               : i->imm == 32 ? __builtin_bswap32(x)
                              : __builtin_bswap64(a);
    }
}

/* Jumps without a condition are always taken. */
static bool jumps(const struct bpf_insn *i, u64 a, u64 b)
{
    unsigned bits = BPF_CLASS(i->code) == BPF_JMP ? 64 : 32;
    u8 op = BPF_OP(i->code);

    for (u32 k = 0; k < TN_ARRAY_SIZE(arith_jumps); k++)
        if (arith_jumps[k].op == op)
            return arith_jump(op, tn_width_trunc(a, bits), tn_width_trunc(b, bits), bits);
    return true;
}

static const char *atomic(struct machine *m, const struct bpf_insn *i)
{
    struct frame *f = machine_top(m);
    u64 addr = f->reg[i->dst_reg] + (u64)(s64)i->off, size = tn_size_bytes(i->code), old = 0, new,
        operand = f->reg[i->src_reg];
    const char *wrong = machine_touch(m, addr, size, TOUCH_READ | TOUCH_WRITE | TOUCH_INSN);

    if (wrong)
        return wrong;
    memcpy(&old, (void *)addr, size);
    switch (i->imm & 0xf0) {
    case BPF_ADD:
        new = old + operand;
        break;
    case BPF_AND:
        new = old &operand;
        break;
    case BPF_OR:
        new = old | operand;
        break;
    case BPF_XOR:
        new = old ^ operand;
        break;
    case BPF_XCHG & 0xf0:
        new = operand;
        break;
    default:
        new = old == (size == 8 ? f->reg[0] : (u32)f->reg[0]) ? operand : old;
        break;
    }
    memcpy((void *)addr, &new, size);
    machine_learn(m, old);
    if (i->imm == BPF_CMPXCHG)
        f->reg[0] = old;
    else if (i->imm & BPF_FETCH)
        f->reg[i->src_reg] = old;
    return NULL;
}

static const char *call(struct machine *m, const struct bpf_insn *i)
{
    struct frame *caller = machine_top(m);
    u32 to = m->pc + 1 + (u32)i->imm, sub = 0, stack = 0;

    if (i->src_reg == 0)
        return model_helper(m, i);
    if (i->src_reg == BPF_PSEUDO_KFUNC_CALL)
        return model_kfunc(m, i);
    while (sub < m->verdict->nsubprogs && m->verdict->subprogs[sub].start != to)
        sub++;
    if (sub == m->verdict->nsubprogs || m->nframes == TN_MAX_FRAMES)
        return "call of no function, or too deep";
    machine_push_frame(m, sub, m->pc + 1);
    memcpy(&machine_top(m)->reg[1], &caller->reg[1], 5 * sizeof(caller->reg[0]));
    machine_top(m)->written |= caller->written & 0x3e;
    for (u32 k = 0; k < m->nframes; k++)
        stack += m->verdict->subprogs[m->frame[k].sub].stack;
    if (stack > m->verdict->facts.max_stack)
        return "more stack than max_stack";
    m->pc = to;
    return NULL;
}

static const char *balanced(const struct machine *m)
{
    if (m->nheld)
        return "a reference leaks";
    if (m->lock || m->nres)
        return "a lock is held at the end";
    return m->rcu || m->preempt || m->nirq ? "a section is open at the end" : NULL;
}

static const char *leave(struct machine *m)
{
    struct frame *from = machine_top(m), *to;

    /* A function that returns nothing is none to read a result of: the caller's R0 is not written either. */
    if (!(from->written & 1) && (m->nframes == 1 || from->callback))
        return "R0 never written at exit";
    if (m->nframes == 1) {
        m->done = true;
        return NULL;
    }
    m->object[m->frames + --m->nframes].there = false;
    to = machine_top(m);
    m->pc = from->back;
    if (from->callback) {
        to->rounds.answer = from->reg[0];
        return from->reg[0] > 1 ? "a callback returns what it must not" : NULL;
    }
    to->reg[0] = from->reg[0];
    to->written = (u16)((to->written & ~0x3fu) | (from->written & 1));
    return NULL;
}

static const char *load_imm(struct machine *m, const struct bpf_insn *i)
{
    u64 x = (u32)i->imm | (u64)(u32)i[1].imm << 32;
    bool map = i->src_reg == BPF_PSEUDO_MAP_FD || i->src_reg == BPF_PSEUDO_MAP_VALUE;

    if (i->src_reg == BPF_PSEUDO_MAP_FD) {
        x = TOKEN((u32)i->imm, 0);
    } else if (i->src_reg == BPF_PSEUDO_MAP_VALUE) {
        x = machine_value(m, TOKEN((u32)i->imm, 0), 0) + (u32)i[1].imm;
    } else if (i->src_reg == BPF_PSEUDO_FUNC) {
        for (u32 s = 0; s < m->verdict->nsubprogs; s++)
            if (m->verdict->subprogs[s].start == m->pc + 1 + (u32)i->imm)
                x = FUNC_TOKEN + s;
    }
    if (map && i->imm < 64 && !(m->verdict->facts.maps_used >> i->imm & 1))
        return "maps_used lacks a map";
    machine_top(m)->reg[i->dst_reg] = x;
    machine_top(m)->written |= (u16)(1u << i->dst_reg);
    m->pc += 2;
    return NULL;
}

/* Fields of contexts that are addresses, though the program names four bytes. */
static u64 context_pointer(const struct machine *m, u64 off, u64 otherwise)
{
    bool tc = m->in->prog_type == BPF_PROG_TYPE_SCHED_CLS, xdp = m->in->prog_type == BPF_PROG_TYPE_XDP;

    if ((tc && off == 76) || (xdp && off == 0))
        return machine_packet_data(m);
    if ((tc && off == 80) || (xdp && off == 4))
        return machine_packet_end(m);
    if ((tc && off == 140) || (xdp && off == 8))
        return m->object[m->now].start;
    return otherwise;
}

static const char *memory(struct machine *m, const struct bpf_insn *i)
{
    struct frame *f = machine_top(m);
    bool load = BPF_CLASS(i->code) == BPF_LDX, probe = m->verdict->aux[m->pc].mem_kind == TN_MEM_PROBE;
    u64 size = tn_size_bytes(i->code), x;
    u64 addr = f->reg[load ? i->src_reg : i->dst_reg] + (u64)(s64)i->off;
    const struct object *o = machine_object(m, addr, size);
    const char *wrong;

    if (BPF_CLASS(i->code) == BPF_STX && BPF_MODE(i->code) == BPF_ATOMIC) {
        wrong = atomic(m, i);
        m->pc++;
        return wrong;
    }
    if (probe && (!load || !m->verdict->facts.may_fault))
        return "a store, or a program that may not fault, reads with care";
    x = 0;
    if (!probe || o) {
        wrong = machine_touch(m, addr, size, (load ? TOUCH_READ : TOUCH_WRITE) | TOUCH_INSN);
        if (wrong && probe && o->kind != TN_REG_BTF)
            wrong = NULL; /* an address that went astray and met something of ours */
        if (wrong)
            return wrong;
        if (load)
            memcpy(&x, (void *)addr, size);
    }
    m->pc++;
    if (!load) {
        x = BPF_CLASS(i->code) == BPF_STX ? f->reg[i->src_reg] : (u64)(s64)i->imm;
        memcpy((void *)addr, &x, size);
        return NULL;
    }
    if (BPF_MODE(i->code) == BPF_MEMSX)
        x = (u64)tn_width_sext(x, (unsigned)size * 8);
    if (o && o->kind == TN_REG_CTX)
        x = context_pointer(m, addr - o->start, x);
    machine_learn(m, x);
    f->reg[i->dst_reg] = x;
    f->written |= (u16)(1u << i->dst_reg);
    return NULL;
}

/* Registers an instruction reads. */
static u16 reads(const struct bpf_insn *i)
{
    u8 class = BPF_CLASS(i->code), op = BPF_OP(i->code);
    u16 dst = (u16)(1u << i->dst_reg), src = (u16)(1u << i->src_reg);
    bool x = BPF_SRC(i->code) == BPF_X;

    switch (class) {
    case BPF_LD:
        return 0;
    case BPF_LDX:
        return src;
    case BPF_ST:
        return dst;
    case BPF_STX:
        return (u16)(dst | src | (BPF_MODE(i->code) == BPF_ATOMIC && i->imm == BPF_CMPXCHG));
    case BPF_ALU:
    case BPF_ALU64:
        return (u16)((op == BPF_MOV ? 0 : dst) | (x && op != BPF_END ? src : 0));
    default:
        return op == BPF_CALL || op == BPF_EXIT || op == BPF_JA || op == MAY_GOTO_OP
                   ? 0
                   : (u16)(dst | (x ? src : 0));
    }
}

static const char *step(struct machine *m)
{
    const struct bpf_insn *i = &m->in->insns[m->pc];
    struct frame *f = machine_top(m);
    bool x = BPF_SRC(i->code) == BPF_X;
    u64 operand = x ? f->reg[i->src_reg] : (u64)(s64)i->imm;

    if (reads(i) & ~f->written)
        return "register never written is read";
    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        if (BPF_MODE(i->code) != BPF_IMM)
            return "";
        return load_imm(m, i);
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
        return memory(m, i);
    case BPF_ALU:
    case BPF_ALU64:
        f->reg[i->dst_reg] = alu(i, f->reg[i->dst_reg], operand);
        f->written |= (u16)(1u << i->dst_reg);
        m->pc++;
        return NULL;
    default:
        break;
    }
    switch (BPF_OP(i->code)) {
    case BPF_CALL:
        return call(m, i);
    case BPF_EXIT:
        return leave(m);
    case BPF_JA:
        m->pc += 1 + (u32)(BPF_CLASS(i->code) == BPF_JMP32 ? i->imm : i->off);
        return NULL;
    case MAY_GOTO_OP: /* at some time the run has had enough */
        operand = !(machine_rnd(m) & 7);
        machine_learn(m, operand);
        m->pc += 1 + (operand ? (u32)(s32)i->off : 0);
        return NULL;
    default:
        m->pc += 1 + (jumps(i, f->reg[i->dst_reg], operand) ? (u32)(s32)i->off : 0);
        return NULL;
    }
}

const char *eval_run(const struct tn_verify_in *in, const struct tn_verdict *verdict,
                     struct eval_views *views, u64 seed, struct eval_end *ret)
{
    static struct machine machine;
    struct machine *m = &machine;
    const char *wrong = NULL;

    machine_start(m, in, verdict, seed);
    machine_push_frame(m, 0, 0);
    for (u32 r = 0; r < 10; r++)
        machine_top(m)->reg[r] = machine_number(m);
    machine_top(m)->reg[1] = m->object[m->ctx].start;
    machine_top(m)->written |= 2;
    if (verdict->subprogs[0].stack > verdict->facts.max_stack)
        wrong = "more stack than max_stack";
    while (!wrong && !m->done && m->steps < MAX_STEPS) {
        ret->pc = m->pc;
        if (++m->steps > verdict->facts.longest_path)
            return "longer than the longest path";
        if (m->pc >= in->ninsns || !verdict->aux[m->pc].live)
            return "an instruction that is not live is reached";
        ret->outside = unseen(m, views);
        if (ret->outside)
            return "no abstract state contains the concrete one";
        wrong = step(m);
    }
    if (!wrong && m->done)
        wrong = balanced(m);
    ret->steps = m->steps;
    ret->course = m->course;
    ret->whole = m->done;
    memcpy(ret->helpers, m->helpers, sizeof(ret->helpers));
    return wrong && *wrong ? wrong : NULL;
}
