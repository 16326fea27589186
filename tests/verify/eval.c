/* SPDX-License-Identifier: MIT */
/* The watched run; see eval.h. */
#include "tests/verify/eval.h"

#include <stdlib.h>

#include "isa/insn.h"
#include "tests/verify/arith.h"

#define MAX_MAPS    8u
#define MAX_ENTRIES 4u
#define MAX_RECORDS 8u
#define GAP         4096u
#define MAX_STEPS   2000000u
#define MAP_TOKEN   0x4d41500000000000ull

/* ------------------------------------------------------------------------------------------------ views */

#define VIEW_SLOTS 8u
struct eval_view {
    struct eval_view *next;
    struct tn_need need;
    u32 nframes, nslots;
    struct tn_reg reg[10];
    struct tn_stack_slot slot[VIEW_SLOTS];
};

void eval_remember(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need)
{
    struct eval_views *views = arg;
    const struct tn_frame *f = tn_state_top(state);
    struct eval_view *view;

    if (insn >= EVAL_MAX_PROG)
        abort();
    view = calloc(1, sizeof(*view));
    if (!view)
        abort();
    view->need = *need;
    view->nframes = state->nframes;
    view->nslots = TN_MIN(f->nslots, VIEW_SLOTS);
    memcpy(view->reg, f->reg, sizeof(view->reg));
    if (view->nslots)
        memcpy(view->slot, f->slot, view->nslots * sizeof(view->slot[0]));
    view->next = views->at[insn];
    views->at[insn] = view;
    if (views->n == views->cap) {
        views->cap = TN_MAX(1024u, 2 * views->cap);
        views->by_position = realloc(views->by_position, views->cap * sizeof(struct eval_view *));
        if (!views->by_position)
            abort();
    }
    views->by_position[views->n++] = view;
}

void eval_mark(void *arg, u64 position, u32 nframes, const struct tn_marks *mark)
{
    struct eval_views *views = arg;
    struct eval_view *view;

    if (!position || position > views->n)
        abort();
    view = views->by_position[position - 1];
    if (nframes != view->nframes)
        abort();
    view->need.demand |= mark[nframes - 1].regs;
    view->need.slots |= mark[nframes - 1].slots;
}

void eval_forget(struct eval_views *views)
{
    struct eval_view *view;

    for (u32 k = 0; k < EVAL_MAX_PROG; k++) {
        while ((view = views->at[k])) {
            views->at[k] = view->next;
            free(view);
        }
    }
    free(views->by_position);
    views->by_position = NULL;
    views->n = views->cap = 0;
}

/* ------------------------------------------------------------------------------------------------ machine */

struct object {
    u64 start, size;
    u8 kind; /* enum tn_reg_kind */
    u32 index;
    bool there, read, write;
};

struct frame {
    u64 reg[11];
    u16 written; /* registers */
    u32 back, sub;
    bool init[TN_STACK_BYTES];
};

struct machine {
    const struct tn_verify_in *in;
    const struct tn_verdict *verdict;
    u64 seed, steps;
    u32 pc, nframes, nobjects, ctx, records, frames; /* indices of the first object of a kind */
    struct object object[1 + MAX_MAPS * MAX_ENTRIES + MAX_RECORDS + TN_MAX_FRAMES];
    struct frame frame[TN_MAX_FRAMES];
    u8 arena[64 * (GAP + 512)];
    u64 used;
    bool done;
};

static u64 rnd(struct machine *m)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return m->seed;
}

static u64 some_number(struct machine *m)
{
    switch (rnd(m) >> 20 & 3) {
    case 0:
        return rnd(m) >> 30 & 0x7f;
    case 1:
        return (u64)(s64)((s32)(rnd(m) >> 24 & 0xff) - 128);
    case 2:
        return rnd(m) >> (rnd(m) & 63);
    default:
        return rnd(m);
    }
}

static u32 add_object(struct machine *m, enum tn_reg_kind kind, u32 index, u64 size, bool there, bool write)
{
    m->used += GAP;
    m->object[m->nobjects] =
        (struct object){(u64)m->arena + m->used, size, (u8)kind, index, there, true, write};
    m->used += TN_ROUND_UP(size, 8u);
    return m->nobjects++;
}

static void machine_init(struct machine *m)
{
    const struct tn_verify_in *in = m->in;

    m->used = (8 - (u64)m->arena % 8) % 8;
    m->ctx = add_object(m, TN_REG_CTX, 0, 512, true, false);
    for (u32 k = 0; k < in->nmaps && k < MAX_MAPS; k++) {
        for (u32 e = 0; e < TN_MIN(in->maps[k].geo.max_entries, MAX_ENTRIES); e++) {
            u32 o = add_object(m, TN_REG_MAP_VALUE, k, TN_MIN(in->maps[k].geo.value_size, 512u), true,
                               !in->maps[k].rdonly_prog);
            m->object[o].read = !in->maps[k].wronly_prog;
        }
    }
    m->records = m->nobjects;
    for (u32 k = 0; k < MAX_RECORDS; k++)
        add_object(m, TN_REG_MEM, k, 512, false, true);
    m->frames = m->nobjects;
    for (u32 k = 0; k < TN_MAX_FRAMES; k++)
        add_object(m, TN_REG_STACK, k, TN_STACK_BYTES, false, true);
    for (u64 k = 0; k + 8 <= sizeof(m->arena); k += 8) {
        u64 x = some_number(m);

        memcpy(m->arena + k, &x, 8);
    }
    for (u32 o = 0; o < m->nobjects; o++) {
        const struct object *b = &m->object[o];

        if (b->kind == TN_REG_MAP_VALUE && in->maps[b->index].frozen)
            memcpy((void *)b->start, in->maps[b->index].frozen, b->size);
    }
}

static u64 value_of(const struct machine *m, u32 map, u32 entry)
{
    for (u32 o = 0; o < m->nobjects; o++)
        if (m->object[o].kind == TN_REG_MAP_VALUE && m->object[o].index == map && !entry--)
            return m->object[o].start;
    return 0;
}

static void push_frame(struct machine *m, u32 sub, u32 back)
{
    struct frame *f = &m->frame[m->nframes];
    struct object *stack = &m->object[m->frames + m->nframes];

    *f = (struct frame){.sub = sub, .back = back};
    stack->there = true;
    f->reg[10] = stack->start + stack->size;
    for (u64 left = m->verdict->subprogs[sub].zero; left; left &= left - 1) {
        u32 slot = (u32)__builtin_ctzll(left);

        memset((u8 *)f->reg[10] - 8 * (slot + 1), 0, 8);
        memset(&f->init[TN_STACK_BYTES - 8 * (slot + 1)], true, 8);
    }
    f->written = 1u << 10;
    m->nframes++;
}

static struct frame *top(struct machine *m)
{
    return &m->frame[m->nframes - 1];
}

/* NULL: the bytes are inside one object and may be used so. */
static const char *touch(struct machine *m, u64 addr, u64 size, bool read, bool write, bool by_insn)
{
    static const u8 mem_kind[] = {[TN_REG_CTX] = TN_MEM_CTX,
                                  [TN_REG_STACK] = TN_MEM_STACK,
                                  [TN_REG_MAP_VALUE] = TN_MEM_MAP_VALUE,
                                  [TN_REG_MEM] = TN_MEM_RINGBUF};
    const struct tn_facts *facts = &m->verdict->facts;
    const struct object *o = NULL;
    u64 off;

    for (u32 k = 0; k < m->nobjects && !o; k++)
        if (m->object[k].there && addr >= m->object[k].start &&
            addr - m->object[k].start <= m->object[k].size &&
            size <= m->object[k].size - (addr - m->object[k].start))
            o = &m->object[k];
    if (!o)
        return "access outside";
    if ((read && !o->read) || (write && !o->write))
        return "access of the wrong kind";
    if (by_insn && m->verdict->aux[m->pc].mem_kind != TN_MEM_PLAIN &&
        m->verdict->aux[m->pc].mem_kind != mem_kind[o->kind])
        return "mem_kind is wrong";
    off = addr - o->start;
    if (o->kind == TN_REG_CTX)
        for (u64 w = off / 8; w < (off + size + 7) / 8; w++)
            if (w < 256 && !facts->ctx_escapes && !(facts->ctx_read[w / 64] >> (w % 64) & 1))
                return "ctx_read lacks a word";
    if (o->kind == TN_REG_MAP_VALUE && o->index < 64 && !(facts->maps_used >> o->index & 1))
        return "maps_used lacks a map";
    if (o->kind == TN_REG_STACK) {
        struct frame *f = &m->frame[o->index];

        if (size && TN_STACK_BYTES - off > m->verdict->subprogs[f->sub].stack)
            return "below what the frame was given";
        for (u64 b = off; b < off + size; b++) {
            if (read && !f->init[b])
                return "stack byte never written is read";
            f->init[b] |= write;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ abstract ∋
 * concrete */

static bool inside(const struct machine *m, const struct tn_reg *a, u64 x)
{
    switch (a->kind) {
    case TN_REG_SCALAR:
        return tn_range_contains(&a->r, x);
    case TN_REG_CTX:
        return tn_range_contains(&a->r, x - m->object[m->ctx].start);
    case TN_REG_STACK:
        return tn_range_contains(&a->r, x - m->frame[a->frame].reg[10]);
    case TN_REG_MAP:
        return x == MAP_TOKEN + a->obj;
    case TN_REG_NONE:
        return true;
    default:
        if (tn_reg_maybe_null(a) && !x)
            return true;
        break;
    }
    for (u32 k = 0; k < m->nobjects; k++) {
        const struct object *o = &m->object[k];
        bool ring = o->kind == TN_REG_MEM;

        if (!o->there || a->kind != o->kind || (ring ? a->obj != o->size : a->obj != o->index))
            continue;
        if (tn_range_contains(&a->r, x - o->start))
            return true;
    }
    return false;
}

static bool slot_inside(const struct machine *m, const struct tn_stack_slot *s, u32 index,
                        const struct tn_need *need)
{
    const u8 *at = (const u8 *)m->frame[m->nframes - 1].reg[10] - 8 * (index + 1);
    u64 x = 0;

    if (!s->size || !((s->reg.kind == TN_REG_SCALAR ? need->slots : need->read) >> index & 1))
        return true;
    memcpy(&x, at + s->lo, s->size);
    return inside(m, &s->reg, x);
}

static bool seen(const struct machine *m, const struct eval_views *views)
{
    const struct frame *f = &m->frame[m->nframes - 1];

    for (const struct eval_view *v = views->at[m->pc]; v; v = v->next) {
        bool all = v->nframes == m->nframes;

        for (u32 r = 0; r < 10 && all; r++) {
            const struct tn_reg *reg = &v->reg[r];
            bool matters = v->need.live >> r & 1 && (v->need.demand >> r & 1 || tn_reg_is_pointer(reg));

            all = !matters || inside(m, reg, f->reg[r]);
        }
        for (u32 k = 0; k < TN_MIN(v->nslots, VIEW_SLOTS) && all; k++)
            all = slot_inside(m, &v->slot[k], k, &v->need);
        if (all)
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * instructions */

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

/* Jumps without a condition, may_goto among them, are always taken. */
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
    struct frame *f = top(m);
    u64 addr = f->reg[i->dst_reg] + (u64)(s64)i->off, size = tn_size_bytes(i->code), old = 0, new,
        operand = f->reg[i->src_reg];
    const char *wrong = touch(m, addr, size, true, true, true);

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
    if (i->imm == BPF_CMPXCHG)
        f->reg[0] = old;
    else if (i->imm & BPF_FETCH)
        f->reg[i->src_reg] = old;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ helpers */

static const char *reserve(struct machine *m, u64 size, u64 *ret)
{
    *ret = 0;
    if (size > 512 || !(rnd(m) >> 33 & 3))
        return NULL;
    for (u32 k = m->records; k < m->frames; k++) {
        if (m->object[k].there)
            continue;
        m->object[k].there = true;
        m->object[k].size = size;
        *ret = m->object[k].start;
        break;
    }
    return NULL;
}

static const char *release(struct machine *m, u64 addr)
{
    for (u32 k = m->records; k < m->frames; k++) {
        if (m->object[k].there && m->object[k].start == addr) {
            m->object[k].there = false;
            return NULL;
        }
    }
    return "release of what is not held";
}

static const char *look_up(struct machine *m, u32 map, u64 key_addr, u64 *ret)
{
    const struct tn_map_geo *geo = &m->in->maps[map].geo;
    const struct tn_insn_aux *aux = &m->verdict->aux[m->pc];
    u64 key = 0;

    memcpy(&key, (void *)key_addr, TN_MIN(geo->key_size, 8u));
    if (aux->const_key >= 0 && (geo->key_size != 4 || (u64)(u32)aux->const_key != key))
        return "const_key is wrong";
    if (geo->type == BPF_MAP_TYPE_HASH)
        key = rnd(m) >> 30 & 7;
    *ret = key < TN_MIN(geo->max_entries, MAX_ENTRIES) ? value_of(m, map, (u32)key) : 0;
    return NULL;
}

static u32 built_flags(u32 id)
{
    static const struct {
        u32 id, flags;
    } built[] = {
#define H(id, name, ret, a1, a2, a3, a4, a5, flags) {id, (u32)(flags)},
        TN_HELPERS(H)
#undef H
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(built); k++)
        if (built[k].id == id)
            return built[k].flags;
    return 0;
}

/* What a call does with one argument, by what the row says of it. */
static const char *argument(struct machine *m, const struct tn_arg_form *form, u64 x, u64 size,
                            const struct tn_map_geo *geo)
{
    bool write = form->flags & TN_AF_WRITE, read = !(form->flags & TN_AF_UNINIT);
    const char *wrong = NULL;

    switch ((enum tn_arg_kind)form->kind) {
    case TN_AK_CTX:
        return x == m->object[m->ctx].start ? NULL : "argument is not the context";
    case TN_AK_KEY:
        size = geo ? geo->key_size : 0;
        break;
    case TN_AK_VALUE:
        size = geo ? geo->value_size : 0;
        break;
    case TN_AK_FIXED:
        size = form->n;
        break;
    case TN_AK_MEM:
        break;
    case TN_AK_RECORD:
        return release(m, x);
    default:
        return NULL;
    }
    if (!x && form->flags & TN_AF_NULL)
        return NULL;
    wrong = size ? touch(m, x, size, read, write, false) : NULL;
    for (u64 b = 0; b < size && write && !wrong; b++)
        *(u8 *)(x + b) = (u8)some_number(m);
    return wrong;
}

static const char *helper(struct machine *m, const struct bpf_insn *i)
{
    const struct tn_proto *proto = tn_proto_for((u32)i->imm, m->in->prog_type, m->in->expected_attach_type);
    const struct tn_facts *facts = &m->verdict->facts;
    const struct tn_insn_aux *aux = &m->verdict->aux[m->pc];
    struct frame *f = top(m);
    const struct tn_map_geo *geo = NULL;
    const char *wrong = NULL;
    u64 result = some_number(m), longest = 0;
    u32 map = 0, flags;

    if (!proto || !(facts->helpers[proto->id / 64] >> (proto->id % 64) & 1))
        return "facts.helpers lacks a helper";
    flags = built_flags(proto->id);
    if (((flags & TN_HF_SYSCALL) && !facts->syscalls) || ((flags & TN_HF_PERCPU) && !facts->percpu) ||
        ((flags & TN_HF_READS_PROCESS) && !facts->may_fault))
        return "facts lack what a helper needs";
    for (u32 a = 1; a <= tn_proto_nargs(proto) && !wrong; a++) {
        const struct tn_arg_form *form = tn_proto_arg(proto, a);

        if (!(f->written >> a & 1))
            return "argument never written";
        if (form->kind == TN_AK_SIZE)
            longest = f->reg[a];
        if (form->kind == TN_AK_MAP) {
            map = (u32)(f->reg[a] - MAP_TOKEN);
            if (map >= m->in->nmaps)
                return "argument is not a map";
            geo = &m->in->maps[map].geo;
            if (aux->const_map >= 0 && (u32)aux->const_map != map)
                return "const_map is wrong";
            if ((geo->type == BPF_MAP_TYPE_PERCPU_ARRAY || geo->type == BPF_MAP_TYPE_PERCPU_HASH) &&
                !facts->percpu)
                return "facts.percpu is wrong";
            continue;
        }
        wrong = argument(m, form, f->reg[a], a < 5 ? f->reg[a + 1] : 0, geo);
    }
    if (proto->flags & TN_PF_RET_LENGTH)
        result = longest && rnd(m) >> 40 & 1 ? rnd(m) % (longest + 1) : (u64)-14;
    if (!wrong && proto->id == TN_PROTO_map_lookup_elem)
        wrong = look_up(m, map, f->reg[2], &result);
    if (!wrong && proto->id == TN_PROTO_ringbuf_reserve)
        wrong = reserve(m, f->reg[2], &result);
    for (u32 a = 1; a <= 5; a++)
        f->reg[a] = some_number(m);
    f->reg[0] = result;
    f->written = (u16)((f->written & ~0x3fu) | (tn_proto_ret(proto)->kind != TN_RK_VOID));
    return wrong;
}

/* ------------------------------------------------------------------------------------------------ run */

static const char *call(struct machine *m, const struct bpf_insn *i)
{
    struct frame *caller = top(m);
    u32 to = m->pc + 1 + (u32)i->imm, sub = 0, stack = 0;
    const char *wrong;

    if (i->src_reg != BPF_PSEUDO_CALL) {
        wrong = helper(m, i);
        m->pc++;
        return wrong;
    }
    while (sub < m->verdict->nsubprogs && m->verdict->subprogs[sub].start != to)
        sub++;
    if (sub == m->verdict->nsubprogs || m->nframes == TN_MAX_FRAMES)
        return "call of no function, or too deep";
    push_frame(m, sub, m->pc + 1);
    memcpy(&top(m)->reg[1], &caller->reg[1], 5 * sizeof(caller->reg[0]));
    top(m)->written |= caller->written & 0x3e;
    for (u32 k = 0; k < m->nframes; k++)
        stack += m->verdict->subprogs[m->frame[k].sub].stack;
    if (stack > m->verdict->facts.max_stack)
        return "more stack than max_stack";
    m->pc = to;
    return NULL;
}

static const char *leave(struct machine *m)
{
    struct frame *from = top(m), *to;

    if (!(from->written & 1))
        return "R0 never written at exit";
    if (m->nframes == 1) {
        m->done = true;
        for (u32 k = m->records; k < m->frames; k++)
            if (m->object[k].there)
                return "a reservation leaks";
        return NULL;
    }
    m->object[m->frames + --m->nframes].there = false;
    to = top(m);
    to->reg[0] = from->reg[0];
    to->written = (u16)((to->written & ~0x3fu) | 1);
    m->pc = from->back;
    return NULL;
}

static const char *load_imm(struct machine *m, const struct bpf_insn *i)
{
    u64 x = (u32)i->imm | (u64)(u32)i[1].imm << 32;

    if (i->src_reg == BPF_PSEUDO_MAP_FD)
        x = MAP_TOKEN + (u32)i->imm;
    else if (i->src_reg == BPF_PSEUDO_MAP_VALUE)
        x = value_of(m, (u32)i->imm, 0) + (u32)i[1].imm;
    if (i->src_reg && i->imm < 64 && !(m->verdict->facts.maps_used >> i->imm & 1))
        return "maps_used lacks a map";
    top(m)->reg[i->dst_reg] = x;
    top(m)->written |= (u16)(1u << i->dst_reg);
    m->pc += 2;
    return NULL;
}

static const char *memory(struct machine *m, const struct bpf_insn *i)
{
    struct frame *f = top(m);
    bool load = BPF_CLASS(i->code) == BPF_LDX;
    u64 size = tn_size_bytes(i->code), x;
    u64 addr = f->reg[load ? i->src_reg : i->dst_reg] + (u64)(s64)i->off;
    const char *wrong;

    if (BPF_CLASS(i->code) == BPF_STX && BPF_MODE(i->code) == BPF_ATOMIC) {
        wrong = atomic(m, i);
        m->pc++;
        return wrong;
    }
    wrong = touch(m, addr, size, load, !load, true);
    if (wrong)
        return wrong;
    m->pc++;
    if (!load) {
        x = BPF_CLASS(i->code) == BPF_STX ? f->reg[i->src_reg] : (u64)(s64)i->imm;
        memcpy((void *)addr, &x, size);
        return NULL;
    }
    x = 0;
    memcpy(&x, (void *)addr, size);
    f->reg[i->dst_reg] = BPF_MODE(i->code) == BPF_MEMSX ? (u64)tn_width_sext(x, (unsigned)size * 8) : x;
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
        return op == BPF_CALL || op == BPF_EXIT || op == BPF_JA ? 0 : (u16)(dst | (x ? src : 0));
    }
}

static const char *step(struct machine *m)
{
    const struct bpf_insn *i = &m->in->insns[m->pc];
    struct frame *f = top(m);
    bool x = BPF_SRC(i->code) == BPF_X;
    u64 operand = x ? f->reg[i->src_reg] : (u64)(s64)i->imm;

    if (reads(i) & ~f->written)
        return "register never written is read";
    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
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
    default:
        m->pc += 1 + (jumps(i, f->reg[i->dst_reg], operand) ? (u32)(s32)i->off : 0);
        return NULL;
    }
}

const char *eval_run(const struct tn_verify_in *in, const struct tn_verdict *verdict,
                     const struct eval_views *views, u64 seed, u32 *ret_pc)
{
    _free_ struct machine *m = calloc(1, sizeof(*m));
    const char *wrong = NULL;

    if (!m)
        abort();
    m->in = in;
    m->verdict = verdict;
    m->seed = seed | 1;
    machine_init(m);
    push_frame(m, 0, 0);
    for (u32 r = 0; r < 10; r++)
        top(m)->reg[r] = some_number(m);
    top(m)->reg[1] = m->object[m->ctx].start;
    top(m)->written |= 2;
    if (verdict->subprogs[0].stack > verdict->facts.max_stack)
        wrong = "more stack than max_stack";
    while (!wrong && !m->done && m->steps < MAX_STEPS) {
        *ret_pc = m->pc;
        if (++m->steps > verdict->facts.longest_path)
            return "longer than the longest path";
        if (!verdict->aux[m->pc].live)
            return "an instruction that is not live is reached";
        if (views && !seen(m, views))
            return "no abstract state contains the registers";
        wrong = step(m);
    }
    return wrong;
}
