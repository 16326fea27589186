/* SPDX-License-Identifier: MIT */
/*
 * Which registers can still matter, computed backwards over the text, once: a register is live where some way
 * onwards reads it before it is overwritten.
 *
 *      live in = (live out − written) ∪ read
 *
 *   function call   what the function reads of R1…R5, as its own start has it
 *   helper, kfunc   the arguments the row names, all five where there is no row
 *   exit            R0: whoever returns it, somebody may ask
 *   ld_abs, ld_ind  R6 (the context), and R0…R5 are gone
 *
 * The least fixed point: by sweeps from the end to the start, of which text without loops needs one and text
 * with ordinary loops a few; whatever is not settled then by a worklist, where an instruction is looked at
 * again when one that follows it has learnt something; each can learn eleven times.
 */
#include "verify/internal.h"

#define SWEEPS 4u

#define REG(n) ((u16)(1u << (n)))
#define ARGS   (REG(1) | REG(2) | REG(3) | REG(4) | REG(5))
#define SAVED  (REG(6) | REG(7) | REG(8) | REG(9))

static u16 before_atomic(const struct bpf_insn *i, u16 live)
{
    u16 dst = REG(i->dst_reg), src = REG(i->src_reg);

    switch (i->imm) {
    case BPF_LOAD_ACQ:
        return (u16)((live & ~dst) | src);
    case BPF_CMPXCHG:
        return (u16)(live | dst | src | REG(0));
    default:
        return (u16)(live | dst | src);
    }
}

static u16 before_alu(const struct bpf_insn *i, u16 live)
{
    u8 op = BPF_OP(i->code);
    u16 dst = REG(i->dst_reg), src = BPF_SRC(i->code) == BPF_X && op != BPF_END ? REG(i->src_reg) : 0;

    if (op == BPF_MOV)
        live &= (u16)~dst;
    else
        live |= dst;
    return live | src;
}

static u16 before_call(const struct vf *v, u32 pc, u16 live)
{
    const struct bpf_insn *i = &v->insns[pc];
    const struct tn_proto *proto =
        i->src_reg ? NULL : tn_proto_by_id((u32)i->imm); /* its rows agree enough */
    u32 nargs = proto ? tn_proto_nargs(proto) : 5;

    live &= SAVED;
    if (tn_insn_is_subprog_call(i))
        return live | (v->cfg.flow[pc + 1 + (u32)i->imm].live & ARGS);
    return (u16)(live | (ARGS & ((2u << nargs) - 1)));
}

static u16 before(const struct vf *v, u32 pc, u16 live)
{
    const struct bpf_insn *i = &v->insns[pc];
    u16 dst = REG(i->dst_reg), src = REG(i->src_reg);

    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        if (BPF_MODE(i->code) == BPF_IMM)
            return (u16)(live & ~dst);
        return (u16)((live & SAVED) | REG(6) | (BPF_MODE(i->code) == BPF_IND ? src : 0));
    case BPF_LDX:
        return (u16)((live & ~dst) | src);
    case BPF_STX:
        return BPF_MODE(i->code) == BPF_ATOMIC ? before_atomic(i, live) : (u16)(live | dst | src);
    case BPF_ST:
        return live | dst;
    case BPF_ALU:
    case BPF_ALU64:
        return before_alu(i, live);
    default:
        break;
    }
    switch (BPF_OP(i->code)) {
    case BPF_JA:
    case BPF_JCOND:
        return live;
    case BPF_EXIT:
        return REG(0);
    case BPF_CALL:
        return before_call(v, pc, live);
    default:
        return live | dst | (BPF_SRC(i->code) == BPF_X ? src : 0);
    }
}

/* Who comes before an instruction: entry[first[pc] … first[pc + 1]).
   Calls come before the function's start. */
struct before_list {
    u32 *first, *entry;
};

static u32 ways_on(const struct vf *v, u32 pc, u32 next[3])
{
    u32 n = tn_cfg_next(v->insns, pc, next);

    if (tn_insn_is_subprog_call(&v->insns[pc]))
        next[n++] = pc + 1 + (u32)v->insns[pc].imm;
    return n;
}

static int list_before(const struct vf *v, struct before_list *list)
{
    u32 next[3], sum = 0;

    list->first = calloc(v->ninsns + 1, sizeof(*list->first));
    if (!list->first)
        return -ENOMEM;
    for (u32 pc = 0; pc < v->ninsns; pc++)
        if (!v->cfg.flow[pc].second)
            for (u32 n = ways_on(v, pc, next); n-- > 0;)
                list->first[next[n]]++;
    for (u32 pc = 0; pc < v->ninsns; pc++) {
        sum += list->first[pc];
        list->first[pc] = sum; /* one past; filled downwards */
    }
    list->first[v->ninsns] = sum;
    list->entry = malloc(TN_MAX(sum, 1u) * sizeof(*list->entry));
    if (!list->entry)
        return -ENOMEM;
    for (u32 pc = 0; pc < v->ninsns; pc++)
        if (!v->cfg.flow[pc].second)
            for (u32 n = ways_on(v, pc, next); n-- > 0;)
                list->entry[--list->first[next[n]]] = pc;
    return 0;
}

/* *ret_backwards is set where what follows lies before it. */
static u16 live_before(const struct vf *v, u32 pc, bool *ret_backwards)
{
    u32 next[2];
    u16 live = 0;

    for (u32 k = tn_cfg_next(v->insns, pc, next); k-- > 0;) {
        live |= v->cfg.flow[next[k]].live;
        *ret_backwards |= next[k] <= pc;
    }
    *ret_backwards |= tn_insn_is_subprog_call(&v->insns[pc]) && v->insns[pc].imm < 0;
    return before(v, pc, live);
}

/* `todo` has every instruction, those worth looking at first on top. */
static void fixed_point(struct vf *v, const struct before_list *list, u32 *todo, bool *waits)
{
    u32 n = 0;

    for (u32 pc = 0; pc < v->ninsns; pc++) {
        if (!v->cfg.flow[pc].second) {
            todo[n++] = pc;
            waits[pc] = true;
        }
    }
    while (n) {
        u32 pc = todo[--n];
        bool backwards = false;
        u16 live = live_before(v, pc, &backwards);

        waits[pc] = false;
        if (live == v->cfg.flow[pc].live)
            continue;
        v->cfg.flow[pc].live = live;
        for (u32 k = list->first[pc]; k < list->first[pc + 1]; k++) {
            if (!waits[list->entry[k]]) {
                waits[list->entry[k]] = true;
                todo[n++] = list->entry[k];
            }
        }
    }
}

/* From the end to the start, once: all there is to do where nothing leads backwards, and most of it
   elsewhere. True: it is done. */
static bool sweep(struct vf *v)
{
    bool backwards = false, changed = false;

    for (u32 pc = v->ninsns; pc-- > 0;) {
        u16 live;

        if (v->cfg.flow[pc].second)
            continue;
        live = live_before(v, pc, &backwards);
        changed |= live != v->cfg.flow[pc].live;
        v->cfg.flow[pc].live = live;
    }
    return !backwards || !changed;
}

static int compute_in_any_order(struct vf *v)
{
    struct before_list list = {0};
    u32 *todo = malloc(v->ninsns * sizeof(*todo));
    bool *waits = calloc(v->ninsns, sizeof(*waits));
    int err = todo && waits ? list_before(v, &list) : -ENOMEM;

    if (!err)
        fixed_point(v, &list, todo, waits);
    free(list.first);
    free(list.entry);
    free(todo);
    free(waits);
    return err;
}

int tn_live_compute(struct vf *v)
{
    for (u32 n = 0; n < SWEEPS; n++)
        if (sweep(v))
            return 0;
    return compute_in_any_order(v);
}

void tn_live_at(const struct vf *v, const struct tn_state *s, u32 insn, u16 ret_live[TN_MAX_FRAMES])
{
    for (u32 k = 0; k + 1 < s->nframes; k++) {
        const struct tn_frame *above = s->frame[k + 1];

        /* A caller has its saved registers after the call; where a helper called back, the call is looked at
           once more, with its arguments. */
        ret_live[k] = v->cfg.flow[above->callsite + 1].live & SAVED;
        if (above->callback)
            ret_live[k] |= v->cfg.flow[above->callsite].live;
    }
    ret_live[s->nframes - 1] = v->cfg.flow[insn].live;
}
