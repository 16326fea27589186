/* SPDX-License-Identifier: MIT */
/* One instruction: who does it, numbers, and what a branch teaches on either side. */
#include "verify/internal.h"

int vf_need_init(struct vf *v, u32 regno)
{
    if (vf_reg(v, regno)->kind != TN_REG_NONE)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_uninit_register,
                     "R%u !read_ok: r%u is read, but nothing was written to it on this path", regno, regno);
}

void vf_set_scalar(struct vf *v, u32 regno, struct tn_range r)
{
    *vf_reg(v, regno) = tn_reg_scalar(r);
}

/* -------------------------------------------------------------------------------------------------
 * arithmetic */

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
        r = i->off ? tn_range_sext(&r, bits) : tn_range_zext(&r, 32);
        if (i->off && !is64)
            r = tn_range_zext(&r, 32);
        *dst = tn_reg_scalar(r);
        return;
    }
    if (!i->off)
        r = is64 ? src->r : tn_range_zext(&src->r, 32);
    else
        r = tn_range_sext(&src->r, bits);
    if (i->off && !is64)
        r = tn_range_zext(&r, 32);
    /* An exact copy is linked to its source: what is learnt of one holds for the other. */
    if (!memcmp(&r, &src->r, sizeof(r)) && (is64 ? !i->off : src->r.umax <= UINT32_MAX && !i->off) &&
        !tn_range_is_const(&r)) {
        if (!src->id)
            src->id = ++v->next_id;
        *dst = *src;
        return;
    }
    *dst = tn_reg_scalar(r);
}

static struct tn_range byte_swap(const struct bpf_insn *i, const struct tn_range *r)
{
    bool swap = BPF_CLASS(i->code) == BPF_ALU64 || BPF_SRC(i->code) == BPF_TO_BE;

    if (swap)
        return tn_range_bswap(r, (unsigned)i->imm);
    return i->imm == 64 ? *r : tn_range_zext(r, (unsigned)i->imm);
}

static int do_alu(struct vf *v, const struct bpf_insn *i)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64, x = BPF_SRC(i->code) == BPF_X;
    u8 op = BPF_OP(i->code);
    struct tn_reg *dst = vf_reg(v, i->dst_reg), imm = tn_reg_scalar(tn_range_const((u64)(s64)i->imm)),
                  *src = &imm;
    bool unary = op == BPF_NEG || op == BPF_END;
    int err;

    if (x && !unary) {
        err = vf_need_init(v, i->src_reg);
        if (err)
            return err;
        src = vf_reg(v, i->src_reg);
    }
    if (op == BPF_MOV) {
        if (x)
            do_mov(v, i, dst);
        else
            *dst = tn_reg_scalar(tn_range_const(is64 ? (u64)(s64)i->imm : (u32)i->imm));
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
    if (dst->kind != TN_REG_SCALAR || (!unary && src->kind != TN_REG_SCALAR))
        return tn_pointer_alu(v, i, src);
    if (op == BPF_NEG)
        *dst = tn_reg_scalar(tn_range_neg(is64, &dst->r));
    else if (op == BPF_END)
        *dst = tn_reg_scalar(byte_swap(i, &dst->r));
    else if ((op == BPF_DIV || op == BPF_MOD) && i->off == 1)
        *dst = tn_reg_scalar(tn_range_sdiv(op, is64, &dst->r, &src->r));
    else
        *dst = tn_reg_scalar(tn_range_alu(op, is64, &dst->r, &src->r));
    return 0;
}

/* ---------------------------------------------------------------------------------------------------
 * branches */

struct link {
    u32 id;
    const struct tn_range *r;
};

static void refine_linked(struct tn_reg *reg, void *arg)
{
    const struct link *link = arg;

    if (reg->kind == TN_REG_SCALAR && reg->id == link->id)
        reg->r = *link->r;
}

static void put_refined(struct tn_state *s, u32 regno, const struct tn_range *r)
{
    struct tn_reg *reg = &tn_state_top(s)->reg[regno];
    struct link link = {reg->id, r};

    reg->r = *r;
    if (reg->id)
        tn_state_each_reg(s, refine_linked, &link);
}

static bool is_zero(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_SCALAR && reg->r.umin == 0 && reg->r.umax == 0;
}

/* What the branch being `taken` (or not) teaches `s`. False: it cannot be. */
static bool learn(struct vf *v, struct tn_state *s, const struct bpf_insn *i, bool taken)
{
    bool x = BPF_SRC(i->code) == BPF_X, is64 = BPF_CLASS(i->code) == BPF_JMP;
    u8 op = BPF_OP(i->code);
    struct tn_reg imm = tn_reg_scalar(tn_range_const((u64)(s64)i->imm));
    struct tn_reg dst = tn_state_top(s)->reg[i->dst_reg], src = x ? tn_state_top(s)->reg[i->src_reg] : imm;
    bool equality = op == BPF_JEQ || op == BPF_JNE;

    if (tn_reg_is_pointer(&dst) && tn_reg_is_pointer(&src))
        return tn_packet_compare(v, s, i, taken);
    if (dst.kind == TN_REG_SCALAR && src.kind == TN_REG_SCALAR) {
        if (x && i->dst_reg == i->src_reg) { /* one number against itself */
            bool holds = op == BPF_JEQ || op == BPF_JGE || op == BPF_JLE || op == BPF_JSGE || op == BPF_JSLE;

            if (op == BPF_JSET)
                return true;
            return holds == taken;
        }
        if (!tn_range_assume(op, is64, taken, &dst.r, &src.r))
            return false;
        put_refined(s, i->dst_reg, &dst.r);
        if (x)
            put_refined(s, i->src_reg, &src.r);
        return true;
    }
    if (!is64 || !equality)
        return true;
    if (tn_reg_is_pointer(&dst) && is_zero(&src)) {
        bool null = (op == BPF_JEQ) == taken;

        if (tn_reg_maybe_null(&dst)) {
            tn_null_resolved(v, s, dst.id, null);
            return true;
        }
        return !null; /* other pointers are never NULL */
    }
    return true;
}

static int do_branch(struct vf *v, const struct bpf_insn *i, u32 *ret_next)
{
    u32 to = (u32)((s64)v->pc + 1 + i->off);
    struct tn_state taken;
    bool may_take, may_pass;
    int err = vf_need_init(v, i->dst_reg);

    if (!err && BPF_SRC(i->code) == BPF_X)
        err = vf_need_init(v, i->src_reg);
    if (err)
        return err;
    err = tn_state_copy(&taken, &v->cur);
    if (err)
        return err;
    may_take = learn(v, &taken, i, true);
    if (!may_take) {
        tn_state_clear(&taken);
        (void)learn(v, &v->cur, i, false);
        *ret_next = v->pc + 1;
        return 0;
    }
    may_pass = learn(v, &v->cur, i, false);
    if (!may_pass) {
        tn_state_clear(&v->cur);
        v->cur = taken;
        tn_trail_add(&v->trail, v->pc, to);
        *ret_next = to;
        return 0;
    }
    err = tn_explore_fork(v, &taken, to);
    if (err)
        return err;
    tn_trail_add(&v->trail, v->pc, v->pc + 1);
    *ret_next = v->pc + 1;
    return 0;
}

/* ---------------------------------------------------------------------------------------------------
 * dispatch */

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
        break;
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

        if (i->src_reg == BPF_PSEUDO_KFUNC_CALL)
            return vf_refuse(
                v, v->pc, TN_REASON_kfunc,
                "calling kernel function #%d is not available: this host offers no functions by type",
                i->imm);
        err = i->src_reg == BPF_PSEUDO_CALL ? tn_call_subprog(v, i) : tn_call_helper(v, i);
        *ret_next = v->cur.nframes > before ? v->pc + 1 + (u32)i->imm : v->pc + 1;
        return err;
    }
    case BPF_EXIT: {
        u32 back = v->cur.nframes > 1 ? tn_state_top(&v->cur)->callsite + 1 : 0;
        int err = tn_call_exit(v, ret_end);

        *ret_next = back;
        return err;
    }
    default:
        return do_branch(v, i, ret_next);
    }
}

int tn_transfer(struct vf *v, bool *ret_end)
{
    const struct bpf_insn *i = &v->insns[v->pc];
    u32 next = v->pc + (tn_insn_is_ld_imm64(i) ? 2 : 1);
    int err = 0;

    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        if (tn_insn_is_ld_imm64(i))
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
