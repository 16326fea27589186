/* SPDX-License-Identifier: MIT */
/*
 * Packets: bytes between data and data_end, whose distance only a comparison tells.
 *
 *      data                       p                     data_end
 *      ├────── var (unknown) ─────┼── delta (constant) ──┤          p = base + delta, base = data + var
 *                                 base                               id names the base, 0: data itself
 *
 *      if (p <= data_end)  proves `delta` bytes from the base on, for every pointer with this base
 *
 * A PACKET register has: id, the base; delta, what constants added since; obj, the bytes proved from the base
 * on; r, the range of var + delta. Adding a variable makes a new base (pointer.c), of which nothing is
 * proved. var lies in [0, 65535] where something was proved, so that no sum of the two wraps.
 *
 * PACKET_META is the same for the bytes between data_meta and data. What is behind the end says
 * TN_PKT_PAST_END (p > data_end) or TN_PKT_AT_END (p >= data_end) in obj: a second comparison then knows its
 * answer.
 */
#include <inttypes.h>

#include "verify/internal.h"

#define MAX_PACKET 0xffff

static bool is_packet(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_PACKET || reg->kind == TN_REG_PACKET_META;
}

static s64 var_min(const struct tn_reg *reg)
{
    return reg->r.smin - reg->delta;
}

static s64 var_max(const struct tn_reg *reg)
{
    s64 max;

    return __builtin_sub_overflow(reg->r.smax, reg->delta, &max) ? INT64_MAX : max;
}

int tn_packet_access(struct vf *v, struct tn_place *p)
{
    bool past = p->reg.obj >= TN_PKT_AT_END;

    if (p->use != TN_USE_READ && !(v->type->flags & TN_PT_PKT_WRITE))
        return vf_refuse(v, v->pc, TN_REASON_read_only,
                         "cannot write into packet: a %s program may only read it", v->type->name);
    if (p->helper && !v->call_takes_packet)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "helper access to the packet is not allowed: R%u; copy the bytes to the stack first",
                         p->regno);
    if (var_min(&p->reg) < 0)
        return vf_refuse(v, v->pc, TN_REASON_packet_bounds,
                         "R%u min value is negative, either use unsigned index or do a if (index >=0) check.",
                         p->regno);
    if (!past && p->fixed >= 0 && p->fixed + p->size <= p->reg.obj)
        return 0;
    return vf_refuse(
        v, v->pc, TN_REASON_packet_bounds,
        "invalid access to packet, off=%" PRId64 " size=%u, R%u(id=%u,off=%d,r=%u); R%u offset is outside "
        "of the packet: compare it with data_end first (if (p + %u > data_end) return …)",
        p->fixed, p->size, p->regno, p->reg.id, p->reg.delta, past ? 0 : p->reg.obj, p->regno, p->size);
}

/* -------------------------------------------------------------------------------------------- comparisons */

static const u8 mirrored[16] = {
    [BPF_JGT >> 4] = BPF_JLT, [BPF_JLT >> 4] = BPF_JGT, [BPF_JGE >> 4] = BPF_JLE, [BPF_JLE >> 4] = BPF_JGE};
static const u8 negated[16] = {
    [BPF_JGT >> 4] = BPF_JLE, [BPF_JLE >> 4] = BPF_JGT, [BPF_JGE >> 4] = BPF_JLT, [BPF_JLT >> 4] = BPF_JGE};

/* Is `end` where the bytes that `p` points into end? */
static bool ends(const struct tn_reg *p, const struct tn_reg *end)
{
    if (p->kind == TN_REG_PACKET)
        return end->kind == TN_REG_PACKET_END;
    return p->kind == TN_REG_PACKET_META && end->kind == TN_REG_PACKET && !end->id && !end->delta &&
           tn_range_is_const(&end->r) && !end->r.smin;
}

struct proof {
    u8 kind;
    u32 id, bytes;
};

static void prove(struct tn_reg *reg, void *arg)
{
    const struct proof *proof = arg;

    if (reg->kind == proof->kind && reg->id == proof->id &&
        (reg->obj < proof->bytes || reg->obj >= TN_PKT_AT_END))
        reg->obj = proof->bytes;
}

bool tn_packet_compare(struct vf *v, struct tn_state *s, const struct bpf_insn *i, bool taken)
{
    struct tn_reg *dst = &tn_state_top(s)->reg[i->dst_reg], *src = &tn_state_top(s)->reg[i->src_reg],
                  *p = dst;
    u8 op = BPF_OP(i->code);
    struct proof proof;

    if (BPF_SRC(i->code) != BPF_X || BPF_CLASS(i->code) != BPF_JMP || !negated[op >> 4])
        return true;
    if (!ends(dst, src)) {
        if (!ends(src, dst))
            return true;
        p = src;
        op = mirrored[op >> 4];
    }
    if (!taken)
        op = negated[op >> 4];
    /* Here `p op end` holds. */
    if (op == BPF_JGT || op == BPF_JGE) {
        if (p->kind == TN_REG_PACKET)
            p->obj = op == BPF_JGT || p->obj == TN_PKT_PAST_END ? TN_PKT_PAST_END : TN_PKT_AT_END;
        return true;
    }
    if (p->obj == TN_PKT_PAST_END || (p->obj == TN_PKT_AT_END && op == BPF_JLT))
        return false;
    if (p->delta < 0 || (p->delta == 0 && op == BPF_JLT))
        return true;
    if (var_min(p) < 0 || var_max(p) > MAX_PACKET || var_max(p) + p->delta > MAX_PACKET)
        return true;
    proof = (struct proof){p->kind, p->id, (u32)p->delta + (op == BPF_JLT)};
    tn_state_each_reg(s, prove, &proof);
    return true;
}

static void invalidate(struct tn_reg *reg, void *arg)
{
    if (is_packet(reg) || reg->kind == TN_REG_PACKET_END)
        *reg = tn_reg_scalar(tn_range_any());
}

void tn_packet_invalidate(struct vf *v)
{
    tn_state_each_reg(&v->cur, invalidate, NULL);
    tn_dynptr_packet_changed(&v->cur);
}

/* ------------------------------------------------------------------------------- loads of classic BPF */

/* R0 = what the packet holds at imm (+ src); behind its end the function is over, with 0: its caller goes on
   with that, or the program is over. So nothing may be held. */
int tn_packet_load(struct vf *v, const struct bpf_insn *i)
{
    struct tn_place p = {.regno = 6, .size = 1, .use = TN_USE_READ};
    bool indirect = BPF_MODE(i->code) == BPF_IND;
    int err;

    if (!(v->type->flags & TN_PT_LD_ABS))
        return vf_refuse(
            v, v->pc, TN_REASON_bad_opcode,
            "BPF_LD_[ABS|IND] instructions not allowed for this program type: a %s program has no packet",
            v->type->name);
    if (i->dst_reg || i->off || (!indirect && i->src_reg))
        return vf_refuse(v, v->pc, TN_REASON_reserved_field, "BPF_LD_[ABS|IND] uses reserved fields");
    err = vf_need_init(v, 6);
    if (!err)
        err = tn_held_none(v, "BPF_LD_[ABS|IND]");
    if (err)
        return err;
    p.reg = *vf_reg(v, 6);
    if (p.reg.kind != TN_REG_CTX)
        return vf_refuse(v, v->pc, TN_REASON_not_a_pointer,
                         "at the time of BPF_LD_ABS|IND R6 != pointer to skb: keep the context in R6");
    err = indirect ? vf_need_init(v, i->src_reg) : 0;
    if (!err)
        err = tn_ctx_access(v, &p);
    if (err)
        return err;
    v->facts.ctx_escapes = true;
    for (u32 r = 1; r <= 5; r++)
        *vf_reg(v, r) = (struct tn_reg){0};
    err = tn_leave_returns(v, tn_range_const(0));
    vf_set_scalar(v, 0, tn_range_unsigned(0, tn_width_mask(tn_size_bytes(i->code) * 8)));
    return err;
}
