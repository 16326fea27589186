/* SPDX-License-Identifier: MIT */
/*
 * What can still matter, computed backwards over the text, once:
 *
 *   live     the register is read on some way onwards before it is overwritten
 *   demand   its *number* can decide something: it flows into an address, a size, a comparison, a look-up key
 * or a checked result. A counter that is only added up and stored decides nothing, and states that differ in
 * it alone can be merged. This is a static over-approximation of what Linux finds by tracking precision
 *            backwards along each path; merging by it is sound for the same reason, and needs no history.
 *   slots    stack slots of the frame whose numbers can decide something
 *
 *      demand in = demand out, rewritten through the instruction:
 *        dst = src                dst demanded → src demanded
 *        dst op= src              dst demanded → both
 *        dst = *(src + off)       src; and when dst is demanded: the slot read (base R10), or all slots
 * (other base)
 *        *(dst + off) = src       dst; and when the slot (base R10), or any slot (other base), is demanded:
 * src if dst op src            both helper call              all arguments but those that may be any number;
 * look-ups: all slots (the key) call of a function       what the callee demands at its start; all slots,
 * since it may read them
 *
 * Pointers are compared whatever this says, so that only the flow of numbers has to be right. In a callee,
 * slots of callers can be written through pointers: there a store through any base but R10 demands its
 * source.
 *
 * A number added to a pointer is demanded too, whether the pointer is used or not: its bounds are checked
 * there. The text does not say what is a pointer; the first path through the instruction does
 * (moves_pointer), and that is in time: a point prunes once all ways on from it were followed, and pointers
 * are equal in what it covers.
 */
#include "verify/internal.h"

#define REG(n)    ((u16)(1u << (n)))
#define ARGS      (REG(1) | REG(2) | REG(3) | REG(4) | REG(5))
#define SAVED     (REG(6) | REG(7) | REG(8) | REG(9))
#define ALL_SLOTS (~0ull)

_Static_assert(TN_STACK_SLOTS == 64, "one bit a slot");

/* Slots touched by fp + off, size bytes. Accesses out of the frame are refused elsewhere. */
static u64 slots_at(s32 off, u32 size)
{
    u64 mask = 0;

    for (s32 b = off; b < off + (s32)size; b++)
        if (b < 0 && b >= -TN_STACK_BYTES)
            mask |= 1ull << ((u32)(-b - 1) / 8);
    return mask;
}

static struct tn_need before_load(const struct bpf_insn *i, struct tn_need n)
{
    bool wanted = n.demand & REG(i->dst_reg);

    n.live = (n.live & ~REG(i->dst_reg)) | REG(i->src_reg);
    n.demand = (n.demand & ~REG(i->dst_reg)) | REG(i->src_reg);
    if (wanted)
        n.slots |= i->src_reg == 10 ? slots_at(i->off, tn_size_bytes(i->code)) : ALL_SLOTS;
    return n;
}

static struct tn_need before_store(const struct bpf_insn *i, struct tn_need n, bool in_callee)
{
    u64 slots = slots_at(i->off, tn_size_bytes(i->code));
    bool wanted = i->dst_reg == 10 ? (n.slots & slots) != 0 : n.slots || in_callee;
    bool reg = BPF_CLASS(i->code) == BPF_STX;

    if (i->dst_reg == 10 && tn_size_bytes(i->code) == 8 && i->off % 8 == 0)
        n.slots &= ~slots;
    n.live |= REG(i->dst_reg) | (reg ? REG(i->src_reg) : 0);
    n.demand |= REG(i->dst_reg) | (reg && wanted ? REG(i->src_reg) : 0);
    return n;
}

static struct tn_need before_atomic(const struct bpf_insn *i, struct tn_need n)
{
    u16 gets = i->imm == BPF_CMPXCHG ? REG(0) : i->imm & BPF_FETCH ? REG(i->src_reg) : 0;

    n.live = (n.live & ~gets) | REG(i->dst_reg) | REG(i->src_reg) | (i->imm == BPF_CMPXCHG ? REG(0) : 0);
    n.demand = (n.demand & ~gets) | REG(i->dst_reg);
    return n;
}

static struct tn_need before_alu(const struct bpf_insn *i, struct tn_need n, bool moves_pointer)
{
    u8 op = BPF_OP(i->code);
    u16 dst = REG(i->dst_reg), src = BPF_SRC(i->code) == BPF_X && op != BPF_END ? REG(i->src_reg) : 0;
    bool wanted = n.demand & dst || moves_pointer;

    if (op == BPF_MOV) {
        n.live &= ~dst;
        n.demand &= ~dst;
        dst = 0;
    }
    n.live |= dst | src;
    if (wanted)
        n.demand |= dst | src;
    return n;
}

static struct tn_need before_helper(const struct bpf_insn *i, struct tn_need n)
{
    const struct tn_signature *sig = tn_signature_by_id((u32)i->imm);
    u32 nargs = sig ? tn_signature_nargs(sig) : 5;

    n.live &= SAVED;
    n.demand &= SAVED;
    for (u32 a = 0; a < nargs; a++) {
        n.live |= REG(a + 1);
        if (!sig || (sig->arg[a] != TN_ARG_ANY && sig->arg[a] != TN_ARG_SCALAR))
            n.demand |= REG(a + 1);
    }
    if (!sig || sig->id == TN_HELPER_map_lookup_elem)
        n.slots = ALL_SLOTS;
    return n;
}

static struct tn_need before_subprog(const struct tn_need *callee, struct tn_need n)
{
    n.live = (n.live & SAVED) | (callee->live & ARGS);
    n.demand = (n.demand & SAVED) | (callee->demand & ARGS);
    n.slots = ALL_SLOTS;
    return n;
}

static struct tn_need before(const struct vf *v, u32 pc, struct tn_need n)
{
    const struct bpf_insn *i = &v->insns[pc];
    bool in_callee = v->cfg.flow[pc].subprog != 0;

    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        n.live &= ~REG(i->dst_reg);
        n.demand &= ~REG(i->dst_reg);
        return n;
    case BPF_LDX:
        return before_load(i, n);
    case BPF_STX:
        if (BPF_MODE(i->code) == BPF_ATOMIC)
            return before_atomic(i, n);
        return before_store(i, n, in_callee);
    case BPF_ST:
        return before_store(i, n, in_callee);
    case BPF_ALU:
    case BPF_ALU64:
        return before_alu(i, n, v->cfg.flow[pc].moves_pointer);
    default:
        break;
    }
    switch (BPF_OP(i->code)) {
    case BPF_JA:
        return n;
    case BPF_EXIT:
        return (struct tn_need){REG(0), in_callee || v->type->ret_checked ? REG(0) : 0,
                                in_callee ? ALL_SLOTS : 0};
    case BPF_CALL:
        if (i->src_reg == BPF_PSEUDO_CALL)
            return before_subprog(&v->cfg.flow[pc + 1 + (u32)i->imm].need, n);
        return before_helper(i, n);
    default:
        n.live |= REG(i->dst_reg) | (BPF_SRC(i->code) == BPF_X ? REG(i->src_reg) : 0);
        n.demand |= REG(i->dst_reg) | (BPF_SRC(i->code) == BPF_X ? REG(i->src_reg) : 0);
        return n;
    }
}

/* Grows from nothing to the least fixed point; each round can only add bits. */
int tn_live_compute(struct vf *v)
{
    bool changed = true;

    while (changed) {
        changed = false;
        for (u32 pc = v->ninsns; pc-- > 0;) {
            struct tn_flow *flow = &v->cfg.flow[pc];
            struct tn_need out = {0}, in;
            u32 next[2], count;

            if (flow->second)
                continue;
            count = tn_cfg_next(v->insns, pc, next);
            for (u32 k = 0; k < count; k++) {
                const struct tn_need *n = &v->cfg.flow[next[k]].need;

                out.live |= n->live;
                out.demand |= n->demand;
                out.slots |= n->slots;
            }
            in = before(v, pc, out);
            if (in.live != flow->need.live || in.demand != flow->need.demand ||
                in.slots != flow->need.slots) {
                flow->need = in;
                changed = true;
            }
        }
    }
    return 0;
}

void tn_live_need(struct vf *v, const struct tn_state *s, struct tn_need need[TN_MAX_FRAMES])
{
    if (v->need_stale)
        (void)tn_live_compute(v);
    v->need_stale = false;
    for (u32 k = 0; k < s->nframes; k++) {
        if (k + 1 == s->nframes) {
            need[k] = v->cfg.flow[v->pc].need;
        } else {
            /* A waiting caller: what it keeps over the call. The callee may read its slots through a pointer.
             */
            need[k] = v->cfg.flow[s->frame[k + 1]->callsite + 1].need;
            need[k].live &= SAVED;
            need[k].demand &= SAVED;
            need[k].slots = ALL_SLOTS;
        }
    }
}
