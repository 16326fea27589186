/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on pointers. A pointer plus a number with sane bounds is a pointer into the same object; whether
 * it points inside is asked when it is used. Everything else is refused, but the difference of two pointers,
 * which is a number (as Linux has it for privileged programs).
 *
 * Sane: between −2^29 and 2^29, as in Linux, so that no sum of offsets comes near to wrapping.
 */
#include <inttypes.h>

#include "verify/internal.h"

#define MAX_OFFSET (1ll << 29)

static bool sane(const struct tn_range *r)
{
    return r->smin > -MAX_OFFSET && r->smin < MAX_OFFSET && (!tn_range_is_const(r) || r->smax < MAX_OFFSET);
}

static int refuse_kind(struct vf *v, u32 regno, const struct tn_reg *reg)
{
    if (tn_reg_maybe_null(reg))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "R%u pointer arithmetic on %s prohibited, null-check it first: compare r%u with 0",
                         regno, TN_REG_NAME(reg), regno);
    return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic, "R%u pointer arithmetic on %s prohibited", regno,
                     TN_REG_NAME(reg));
}

int tn_pointer_alu(struct vf *v, const struct bpf_insn *i, struct tn_reg *src)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64;
    u8 op = BPF_OP(i->code);
    struct tn_reg *dst = vf_reg(v, i->dst_reg), result;
    bool both = tn_reg_is_pointer(dst) && tn_reg_is_pointer(src);
    const struct tn_reg *ptr = tn_reg_is_pointer(dst) ? dst : src, *num = ptr == dst ? src : dst;
    u32 ptr_no = ptr == dst ? i->dst_reg : i->src_reg, num_no = ptr == dst ? i->src_reg : i->dst_reg;

    if (op == BPF_SUB && (both || !is64)) {
        vf_set_scalar(v, i->dst_reg, tn_range_any());
        if (!is64)
            vf_set_scalar(v, i->dst_reg, tn_range_unsigned(0, UINT32_MAX));
        return 0;
    }
    if (!is64)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic,
                         "R%u 32-bit pointer arithmetic prohibited: use the 64-bit form", ptr_no);
    if (both || (op != BPF_ADD && op != BPF_SUB))
        return vf_refuse(
            v, v->pc, TN_REASON_pointer_arithmetic,
            "R%u (%s): this operation does not yield a pointer; only numbers can be added or subtracted",
            ptr_no, TN_REG_NAME(ptr));
    if (op == BPF_SUB && ptr != dst)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic, "R%u tried to subtract pointer from scalar",
                         i->dst_reg);
    if (op == BPF_SUB && ptr->kind == TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_pointer_arithmetic,
                         "R%u subtraction from stack pointer prohibited: add a negative number", i->dst_reg);
    if (tn_reg_maybe_null(ptr) || ptr->kind == TN_REG_MAP)
        return refuse_kind(v, ptr_no, ptr);
    if (!sane(&num->r))
        return vf_refuse(
            v, v->pc, TN_REASON_pointer_unbounded,
            "math between %s pointer and register with unbounded min value is not allowed: r%u is in "
            "[%" PRId64 ", %" PRId64 "]; check it first (if (i < N) …), as unsigned",
            TN_REG_NAME(ptr), BPF_SRC(i->code) == BPF_X ? num_no : i->dst_reg, num->r.smin, num->r.smax);
    result = *ptr;
    result.r = tn_range_alu(op, true, &ptr->r, &num->r);
    if (!sane(&result.r))
        return vf_refuse(v, v->pc, TN_REASON_pointer_unbounded,
                         "value %" PRId64
                         " makes %s pointer be out of bounds: offsets stay within 2^29 of the start",
                         result.r.smin, TN_REG_NAME(ptr));
    *dst = result;
    return 0;
}
