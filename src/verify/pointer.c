/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on pointers. A pointer plus a number with sane bounds is a pointer into the same object; whether
 * it points inside is asked when it is used. The difference of two pointers, a pointer negated or with its
 * bytes swapped is a number nobody knows (as Linux has it for privileged programs); everything else is
 * refused.
 *
 *      r      range of the whole offset             delta    what constants added of it
 *                                                   step     the rest of it is a multiple of that
 *
 * Sane: within 2^29 of the start, for what constants add and for what numbers add, as in Linux, so that no
 * sum of offsets comes near to wrapping.
 */
#include <inttypes.h>

#include "verify/internal.h"

/* What numbers may be added to a pointer of a kind. */
enum { NOTHING, ZERO, CONSTANTS, NUMBERS };
static const u8 movable[] = {
    [TN_REG_CTX] = NUMBERS,       [TN_REG_STACK] = NUMBERS,       [TN_REG_MAP_VALUE] = NUMBERS,
    [TN_REG_MAP_KEY] = NUMBERS,   [TN_REG_MEM] = NUMBERS,         [TN_REG_BUF] = NUMBERS,
    [TN_REG_BTF] = NUMBERS,       [TN_REG_PACKET] = NUMBERS,      [TN_REG_PACKET_META] = NUMBERS,
    [TN_REG_TP_BUFFER] = NUMBERS, [TN_REG_FUNC] = NUMBERS,        [TN_REG_DYNPTR] = NUMBERS,
    [TN_REG_ARENA] = NUMBERS,     [TN_REG_FLOW_KEYS] = CONSTANTS, [TN_REG_MAP] = ZERO,
};

static const char *const symbol[16] = {
    [BPF_ADD >> 4] = "+=", [BPF_SUB >> 4] = "-=", [BPF_MUL >> 4] = "*=",    [BPF_DIV >> 4] = "/=",
    [BPF_OR >> 4] = "|=",  [BPF_AND >> 4] = "&=", [BPF_LSH >> 4] = "<<=",   [BPF_RSH >> 4] = ">>=",
    [BPF_MOD >> 4] = "%=", [BPF_XOR >> 4] = "^=", [BPF_ARSH >> 4] = "s>>=",
};

static bool may_move(const struct tn_reg *ptr, const struct tn_range *by, u8 op)
{
    u8 how = ptr->kind < TN_ARRAY_SIZE(movable) ? movable[ptr->kind] : NOTHING;

    return how == NUMBERS || (how == CONSTANTS && tn_range_is_const(by)) ||
           (how == ZERO && tn_range_is_const(by) && !by->umin && op == BPF_ADD);
}

static int refuse_insane(struct vf *v, const struct tn_reg *ptr, const struct tn_range *r, u32 regno)
{
    if (tn_range_is_const(r))
        return vf_refuse(v, v->pc, TN_REASON_pointer_unbounded,
                         "math between %s pointer and %" PRId64
                         " is not allowed: offsets stay within 2^29 of the start",
                         TN_REG_NAME(ptr), r->smin);
    if (r->smin == INT64_MIN)
        return vf_refuse(
            v, v->pc, TN_REASON_pointer_unbounded,
            "math between %s pointer and register with unbounded min value is not allowed: r%u is in "
            "[%" PRId64 ", %" PRId64 "]; check it first (if (i < N) …), as unsigned",
            TN_REG_NAME(ptr), regno, r->smin, r->smax);
    return vf_refuse(v, v->pc, TN_REASON_pointer_unbounded,
                     "value %" PRId64
                     " makes %s pointer be out of bounds: offsets stay within 2^29 of the start; check "
                     "r%u first",
                     r->smin, TN_REG_NAME(ptr), regno);
}

static bool sane(const struct tn_range *r)
{
    return r->smin > -TN_MAX_OFFSET && r->smin < TN_MAX_OFFSET &&
           (!tn_range_is_const(r) || r->smax < TN_MAX_OFFSET);
}

/* The pointer has moved; what a packet pointer and its copies have in common changes with it. */
static void move_packet(struct vf *v, struct tn_reg *ptr, const struct tn_range *by, u8 op)
{
    bool constant = tn_range_is_const(by);

    if (ptr->obj >= TN_PKT_AT_END) /* where it was, compared with the end */
        ptr->obj = 0;
    if (constant)
        return;
    ptr->id = ++v->next_id;
    /* Moved back, it has at least the bytes before the end that it had. */
    if (op == BPF_ADD || by->smin < 0)
        ptr->obj = 0;
}

static int move(struct vf *v, const struct bpf_insn *i, const struct tn_reg *ptr, u32 ptr_no,
                const struct tn_reg *number, u32 by_no, struct tn_reg *ret)
{
    const struct tn_range *by = &number->r;
    u8 op = BPF_OP(i->code);
    s64 delta = ptr->delta, var;

    if (tn_reg_maybe_null(ptr))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "R%u pointer arithmetic on %s prohibited, null-check it first: compare r%u with 0",
                         i->dst_reg, TN_REG_NAME(ptr), ptr_no);
    if (!may_move(ptr, by, op))
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic, "R%u pointer arithmetic on %s prohibited",
                         i->dst_reg, TN_REG_NAME(ptr));
    if (!sane(by))
        return refuse_insane(v, ptr, by, by_no);
    if (op != BPF_ADD && op != BPF_SUB)
        return vf_refuse(
            v, v->pc, TN_REASON_pointer_arithmetic,
            op == BPF_AND || op == BPF_OR || op == BPF_XOR
                ? "R%u bitwise operator %s on pointer prohibited: only numbers can be added or subtracted"
                : "R%u pointer arithmetic with %s operator prohibited: only numbers can be added or "
                  "subtracted",
            i->dst_reg, symbol[op >> 4]);
    if (op == BPF_SUB && ptr_no != i->dst_reg)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic, "R%u tried to subtract pointer from scalar",
                         i->dst_reg);
    if (op == BPF_SUB && ptr->kind == TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic,
                         "R%u subtraction from stack pointer prohibited: add a negative number", i->dst_reg);
    *ret = *ptr;
    ret->r = tn_range_alu(op, true, &ptr->r, by);
    ret->step = tn_step_moved(ptr, number);
    if (tn_range_is_const(by)) {
        delta += op == BPF_ADD ? by->smin : -by->smin;
        if (delta >= TN_MAX_OFFSET || delta <= -TN_MAX_OFFSET)
            return vf_refuse(v, v->pc, TN_REASON_pointer_unbounded,
                             "%s pointer offset %" PRId64
                             " is not allowed: offsets stay within 2^29 of the start",
                             TN_REG_NAME(ptr), delta);
        ret->delta = (s32)delta;
    }
    if (ret->r.smin == INT64_MIN)
        return refuse_insane(v, ptr, &ret->r, by_no);
    var = ret->r.smin - ret->delta;
    if (var <= -TN_MAX_OFFSET || var >= TN_MAX_OFFSET)
        return vf_refuse(v, v->pc, TN_REASON_pointer_unbounded,
                         "value %" PRId64
                         " makes %s pointer be out of bounds: offsets stay within 2^29 of the start; "
                         "check r%u first",
                         var, TN_REG_NAME(ptr), by_no);
    if (ptr->kind == TN_REG_PACKET || ptr->kind == TN_REG_PACKET_META)
        move_packet(v, ret, by, op);
    return 0;
}

int tn_pointer_alu(struct vf *v, const struct bpf_insn *i, struct tn_reg *src)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64;
    u8 op = BPF_OP(i->code);
    struct tn_reg *dst = vf_reg(v, i->dst_reg), result;
    bool both = tn_reg_is_pointer(dst) && tn_reg_is_pointer(src);
    bool forward = tn_reg_is_pointer(dst);
    int err;

    if (op == BPF_NEG || op == BPF_END || (op == BPF_SUB && (both || !is64))) {
        vf_set_scalar(v, i->dst_reg,
                      is64 || op == BPF_END ? tn_range_any() : tn_range_unsigned(0, UINT32_MAX));
        return 0;
    }
    if (both)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic,
                         "R%u pointer %s pointer prohibited: only their difference is a number", i->dst_reg,
                         symbol[op >> 4]);
    if (!is64)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic,
                         "R%u 32-bit pointer arithmetic prohibited: use the 64-bit form", i->dst_reg);
    err = forward
              ? move(v, i, dst, i->dst_reg, src, BPF_SRC(i->code) == BPF_X ? i->src_reg : i->dst_reg, &result)
              : move(v, i, src, i->src_reg, dst, i->dst_reg, &result);
    if (!err)
        *dst = result.kind == TN_REG_ARENA ? tn_reg_pointer(TN_REG_ARENA, 0) : result;
    return err;
}
