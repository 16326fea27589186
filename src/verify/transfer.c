/* SPDX-License-Identifier: MIT */
/* One instruction: who does it, numbers, and what a branch teaches on either side. */
#include "verify/internal.h"

int vf_need_init(struct vf *v, u32 regno)
{
    if (vf_reg(v, regno)->kind != TN_REG_NONE)
        return 0;
    return vf_refuse(
        v, v->pc, TN_REASON_uninit_register,
        "R%u !read_ok: r%u is read, but nothing was written to it on this path; give it a value first", regno,
        regno);
}

void vf_set_scalar(struct vf *v, u32 regno, struct tn_range r)
{
    *vf_reg(v, regno) = tn_reg_scalar(r);
}

/* --------------------------------------------------------------------------------------------- arithmetic */

static void do_mov(struct vf *v, const struct bpf_insn *i, struct tn_reg *dst)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64;
    struct tn_reg *src = vf_reg(v, i->src_reg);
    unsigned bits = i->off ? (unsigned)i->off : is64 ? 64 : 32;
    struct tn_range r;

    if (src->kind != TN_REG_SCALAR) {
        /* A pointer's low bits are a number nobody knows; only the whole register is still the pointer. */
        if (bits == 64) {
            *dst = *src;
            return;
        }
        r = tn_range_any();
        *dst = tn_reg_scalar(tn_range_insn(i, &r, &r));
        return;
    }
    r = tn_range_insn(i, &dst->r, &src->r);
    /* A cut or extended number whose range stays the same was not changed. An exact copy is linked to its
       source: what is learnt of one holds for the other. */
    if (memcmp(&r, &src->r, sizeof(r)) || tn_range_is_const(&r)) {
        *dst = tn_reg_scalar(r);
        return;
    }
    if (!src->id) {
        src->id = ++v->next_id;
        src->delta = 0;
    }
    *dst = *src;
}

/* So that differences between distances fit as well. */
#define MAX_DISTANCE (1 << 30)

/* A linked number plus a constant is still linked, at a distance: all arithmetic here is modulo 2^64. */
static struct tn_reg moved_by_const(const struct bpf_insn *i, const struct tn_reg *dst,
                                    const struct tn_reg *src, struct tn_range sum)
{
    struct tn_reg reg = tn_reg_scalar(sum);
    s64 delta;

    if (!dst->id || BPF_CLASS(i->code) != BPF_ALU64 || !tn_range_is_const(&src->r) ||
        src->r.smin < -INT32_MAX || src->r.smin > INT32_MAX || tn_range_is_const(&sum))
        return reg;
    delta = dst->delta + (BPF_OP(i->code) == BPF_ADD ? src->r.smin : -src->r.smin);
    if (delta <= -MAX_DISTANCE || delta >= MAX_DISTANCE)
        return reg;
    reg.id = dst->id;
    reg.delta = (s32)delta;
    return reg;
}

static void do_numbers(const struct bpf_insn *i, struct tn_reg *dst, const struct tn_reg *src)
{
    struct tn_range r = tn_range_insn(i, &dst->r, &src->r);
    u8 op = BPF_OP(i->code);
    u32 step =
        op == BPF_NEG || op == BPF_END ? 0 : tn_step_alu(op, BPF_CLASS(i->code) == BPF_ALU64, dst, src, &r);

    *dst = op == BPF_ADD || op == BPF_SUB ? moved_by_const(i, dst, src, r) : tn_reg_scalar(r);
    dst->step = step;
}

static int do_alu(struct vf *v, const struct bpf_insn *i)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64, x = BPF_SRC(i->code) == BPF_X;
    u8 op = BPF_OP(i->code);
    struct tn_reg *dst = vf_reg(v, i->dst_reg), *src, imm;
    bool unary = op == BPF_NEG || op == BPF_END;
    int err;

    if (x && !unary) {
        err = vf_need_init(v, i->src_reg);
        if (err)
            return err;
        src = vf_reg(v, i->src_reg);
    } else if (op != BPF_MOV) {
        imm = tn_reg_const((u64)(s64)i->imm);
        src = &imm;
    }
    if (op == BPF_MOV) {
        if (tn_insn_is_cast(i))
            tn_arena_cast(v, i);
        else if (x)
            do_mov(v, i, dst);
        else
            *dst = tn_reg_const(is64 ? (u64)(s64)i->imm : (u32)i->imm);
        return 0;
    }
    err = vf_need_init(v, i->dst_reg);
    if (err)
        return err;
    if (!x && (op == BPF_DIV || op == BPF_MOD) && i->imm == 0)
        return vf_refuse(
            v, v->pc, TN_REASON_division_by_zero,
            "div by zero: the divisor is the constant 0; one in a register may be 0, and yields 0");
    if (!x && (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) &&
        (i->imm < 0 || i->imm >= (is64 ? 64 : 32)))
        return vf_refuse(v, v->pc, TN_REASON_bad_shift,
                         "invalid shift %d: the operand has %d bits; shift by less", i->imm, is64 ? 64 : 32);
    if (dst->kind == TN_REG_ARENA) /* stays one, whatever is done to it */
        return 0;
    if (dst->kind != TN_REG_SCALAR || (!unary && src->kind != TN_REG_SCALAR))
        return tn_pointer_alu(v, i, src);
    do_numbers(i, dst, src);
    return 0;
}

/* ----------------------------------------------------------------------------------------------- branches */

struct link {
    u32 id;
    s32 delta;
    const struct tn_range *r, *before; /* that number, and what it was */
    bool empty;
};

/* reg = the number that was refined + the distance between the two;
   and reg was known to be something itself. */
static void refine_linked(struct tn_reg *reg, struct link *link)
{
    struct tn_range at = *link->r, distance;

    if (reg->id != link->id || reg->kind != TN_REG_SCALAR)
        return;
    if (reg->delta == link->delta &&
        !memcmp(&reg->r, link->before, sizeof(reg->r))) { /* known alike until now */
        reg->r = at;
        return;
    }
    if (reg->delta != link->delta) {
        distance = tn_range_const((u64)((s64)reg->delta - link->delta));
        at = tn_range_alu(BPF_ADD, true, &at, &distance);
    }
    link->empty |= !tn_range_intersect(&reg->r, &at, &reg->r);
}

static void refine_all_linked(struct tn_state *s, struct link *link)
{
    for (u32 k = 0; k < s->nframes; k++) {
        struct tn_frame *f = s->frame[k];

        for (u32 r = 0; r < 10; r++)
            if (f->reg[r].id == link->id)
                refine_linked(&f->reg[r], link);
        for (u32 n = 0; n < f->nslots; n++)
            if (f->slot[n].reg.id == link->id && f->slot[n].size)
                refine_linked(&f->slot[n].reg, link);
    }
}

/* False: what is learnt contradicts what is known of a linked number. */
static bool put_refined(struct tn_state *s, u32 regno, const struct tn_range *r)
{
    struct tn_reg *reg = &tn_state_top(s)->reg[regno];
    struct tn_range before = reg->r;
    struct link link = {reg->id, reg->delta, r, &before, false};

    if (!reg->id)
        reg->r = *r;
    else if (memcmp(&reg->r, r, sizeof(*r)))
        refine_all_linked(s, &link);
    return !link.empty;
}

static bool is_zero(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_SCALAR && reg->r.umin == 0 && reg->r.umax == 0;
}

/* Pointers that Linux, too, knows not to be NULL without asking. */
static bool never_null(const struct tn_reg *reg)
{
    if (reg->flags & (TN_PTR_MAYBE_NULL | TN_PTR_UNTRUSTED))
        return false;
    switch (reg->kind) {
    case TN_REG_MAP:
    case TN_REG_MAP_VALUE:
    case TN_REG_MAP_KEY:
    case TN_REG_MEM:
    case TN_REG_SOCKET:
    case TN_REG_SOCK_COMMON:
    case TN_REG_TCP_SOCK:
        return true;
    case TN_REG_BTF:
        return reg->ref || reg->flags & (TN_PTR_TRUSTED | TN_PTR_ALLOC | TN_PTR_NON_OWNING);
    default:
        return false;
    }
}

/* A branch seen from one side. */
struct side {
    bool may;                 /* be gone, as far as the two operands tell */
    struct tn_range dst, src; /* two numbers: what is known of them then */
};

static struct side look(const struct bpf_insn *i, const struct tn_reg *dst, const struct tn_reg *src,
                        bool taken)
{
    bool x = BPF_SRC(i->code) == BPF_X, is64 = BPF_CLASS(i->code) == BPF_JMP;
    u8 op = BPF_OP(i->code);
    bool holds = op == BPF_JEQ || op == BPF_JGE || op == BPF_JLE || op == BPF_JSGE || op == BPF_JSLE;
    struct side side = {true, dst->r, src->r};

    if (dst->kind == TN_REG_SCALAR && src->kind == TN_REG_SCALAR) {
        if (x && i->dst_reg == i->src_reg) /* one number against itself; JSET asks whether it is zero */
            side.may = op == BPF_JSET || holds == taken;
        else
            side.may = tn_range_assume(op, is64, taken, &side.dst, &side.src);
    } else if (is64 && (op == BPF_JEQ || op == BPF_JNE)) {
        if ((never_null(dst) && is_zero(src)) || (never_null(src) && is_zero(dst)))
            side.may = (op == BPF_JNE) == taken;
    }
    return side;
}

/* What the branch being `taken` (or not) teaches `s`. False: it cannot be. */
static bool learn(struct vf *v, struct tn_state *s, const struct bpf_insn *i, bool taken,
                  const struct side *side)
{
    bool x = BPF_SRC(i->code) == BPF_X, is64 = BPF_CLASS(i->code) == BPF_JMP;
    bool equal = (BPF_OP(i->code) == BPF_JEQ && taken) || (BPF_OP(i->code) == BPF_JNE && !taken);
    bool differ = (BPF_OP(i->code) == BPF_JNE && taken) || (BPF_OP(i->code) == BPF_JEQ && !taken);
    static const struct tn_reg nothing;
    const struct tn_reg *dst = &tn_state_top(s)->reg[i->dst_reg];
    const struct tn_reg *src = x ? &tn_state_top(s)->reg[i->src_reg] : &nothing;

    if (dst->kind == TN_REG_SCALAR && (!x || src->kind == TN_REG_SCALAR)) {
        if (x && i->dst_reg == i->src_reg)
            return true;
        return put_refined(s, i->dst_reg, &side->dst) && (!x || put_refined(s, i->src_reg, &side->src));
    }
    if (tn_reg_is_pointer(dst) && tn_reg_is_pointer(src) && !tn_packet_compare(v, s, i, taken))
        return false;
    if (!is64 || !(equal || differ) || !tn_reg_is_pointer(dst))
        return true;
    if (!x) {
        if (i->imm == 0 && tn_reg_maybe_null(dst))
            tn_null_resolved(v, s, dst->id, equal);
        return true;
    }
    /* One that may be NULL equals one that is not. (Typed pointers may be NULL without saying so.) */
    if (equal && tn_reg_is_pointer(src) && tn_reg_maybe_null(dst) != tn_reg_maybe_null(src) &&
        dst->kind != TN_REG_BTF && src->kind != TN_REG_BTF && !((dst->flags | src->flags) & TN_PTR_UNTRUSTED))
        tn_null_resolved(v, s, tn_reg_maybe_null(dst) ? dst->id : src->id, false);
    return true;
}

static int do_branch(struct vf *v, const struct bpf_insn *i, u32 *ret_next, bool *ret_end)
{
    u32 to = (u32)((s64)v->pc + 1 + i->off);
    struct tn_reg imm = tn_reg_const((u64)(s64)i->imm);
    const struct tn_reg *src = BPF_SRC(i->code) == BPF_X ? vf_reg(v, i->src_reg) : &imm;
    struct tn_state taken;
    struct side go, pass;
    int err = vf_need_init(v, i->dst_reg);

    if (!err && BPF_SRC(i->code) == BPF_X)
        err = vf_need_init(v, i->src_reg);
    if (err)
        return err;
    go = look(i, vf_reg(v, i->dst_reg), src, true);
    pass = look(i, vf_reg(v, i->dst_reg), src, false);
    if (go.may && pass.may) {
        err = tn_state_copy(&taken, &v->cur);
        if (err)
            return err;
        go.may = learn(v, &taken, i, true, &go);
        pass.may = learn(v, &v->cur, i, false, &pass);
        if (go.may && !pass.may) {
            tn_state_clear(&v->cur);
            tn_state_move(&v->cur, &taken);
        } else if (!go.may) {
            tn_state_clear(&taken);
        }
    } else if (go.may) {
        go.may = learn(v, &v->cur, i, true, &go);
    } else if (pass.may) {
        pass.may = learn(v, &v->cur, i, false, &pass);
    }
    if (!go.may && !pass.may) { /* nothing comes here: linked numbers contradict each other */
        *ret_end = true;
        return 0;
    }
    if (go.may && pass.may) {
        err = tn_explore_fork(v, &taken, to);
        if (err)
            return err;
    }
    *ret_next = pass.may ? v->pc + 1 : to;
    if (go.may)
        tn_trail_add(&v->trail, v->pc, *ret_next);
    return 0;
}

/* ----------------------------------------------------------------------------------------------- dispatch */

static void do_ld_imm64(struct vf *v, const struct bpf_insn *i)
{
    struct tn_reg *dst = vf_reg(v, i->dst_reg);
    u32 high = (u32)i[1].imm;

    switch (i->src_reg) {
    case BPF_PSEUDO_MAP_FD:
        *dst = tn_reg_pointer(TN_REG_MAP, (u32)i->imm);
        break;
    case BPF_PSEUDO_MAP_VALUE:
        *dst = tn_reg_pointer(TN_REG_MAP_VALUE, (u32)i->imm);
        dst->r = tn_range_const(high);
        dst->delta = (s32)high;
        if (tn_map_is_arena(&v->in->maps[i->imm])) /* as user space has it: to be cast before it is used */
            *dst = tn_reg_scalar(tn_range_any());
        break;
    case BPF_PSEUDO_FUNC:
        *dst = tn_reg_pointer(TN_REG_FUNC, v->cfg.flow[v->pc + 1 + (u32)i->imm].subprog);
        return;
    default:
        *dst = tn_reg_scalar(tn_range_const((u64)high << 32 | (u32)i->imm));
        return;
    }
    if (i->imm < 64)
        v->facts.maps_used |= 1ull << i->imm;
}

static int do_jump(struct vf *v, const struct bpf_insn *i, u32 *ret_next, bool *ret_end)
{
    switch (BPF_OP(i->code)) {
    case BPF_JA:
        *ret_next = (u32)((s64)v->pc + 1 + (BPF_CLASS(i->code) == BPF_JMP32 ? i->imm : i->off));
        return 0;
    case BPF_JCOND:
        return tn_explore_may_goto(v, i, ret_next);
    case BPF_CALL: {
        u32 before = v->cur.nframes;
        int err;

        err = i->src_reg == BPF_PSEUDO_CALL         ? tn_call_subprog(v, i)
              : i->src_reg == BPF_PSEUDO_KFUNC_CALL ? tn_kfunc_call(v, i, ret_end)
                                                    : tn_call_helper(v, i);
        *ret_next = v->cur.nframes > before ? v->pc + 1 + (u32)i->imm : v->pc + 1;
        return err;
    }
    case BPF_EXIT: {
        return tn_call_exit(v, ret_next, ret_end);
    }
    default:
        return do_branch(v, i, ret_next, ret_end);
    }
}

int tn_transfer(struct vf *v, bool *ret_end)
{
    const struct bpf_insn *i = &v->insns[v->pc];
    u32 next = v->pc + (tn_insn_is_ld_imm64(i) ? 2 : 1);
    int err = 0;

    if (v->cfg.flow[v->pc].writes_fp)
        return vf_refuse(v, v->pc, TN_REASON_frame_pointer_write,
                         "frame pointer is read only: copy R10, change the copy");
    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        if (tn_insn_is_ld_imm64(i) && i->src_reg == BPF_PSEUDO_BTF_ID)
            err = tn_types_ksym(v, i);
        else if (tn_insn_is_ld_imm64(i))
            do_ld_imm64(v, i);
        else
            err = tn_packet_load(v, i);
        break;
    case BPF_LDX:
        err = tn_mem_load(v, i);
        break;
    case BPF_ST:
        err = tn_mem_store(v, i);
        break;
    case BPF_STX:
        err = BPF_MODE(i->code) == BPF_ATOMIC ? tn_mem_atomic(v, i) : tn_mem_store(v, i);
        break;
    case BPF_ALU:
    case BPF_ALU64:
        err = do_alu(v, i);
        break;
    default:
        err = do_jump(v, i, &next, ret_end);
        break;
    }
    if (!err)
        v->pc = next;
    return err;
}
