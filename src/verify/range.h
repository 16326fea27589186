/* SPDX-License-Identifier: MIT */
/*
 * What is known of a 64-bit register: known bits, unsigned and signed range of the whole, unsigned and signed
 * range of its low half. Two words (word.h) that share the known bits: the whole, and the low half, which
 * 32-bit instructions and compilers' counters speak about.
 *
 *     γ(r) = { x : x ∈ var, umin ≤ x ≤ umax, smin ≤ (s64)x ≤ smax, u32min ≤ (u32)x ≤ u32max,
 *              s32min ≤ (s32)x ≤ s32max }
 *
 * Invariants of every range that a function here returns:
 *
 *   sound    what the concrete instruction yields for members is a member of the result
 *   alive    γ is not empty. Where it would be, tn_range_assume and tn_range_sync say false, and only there:
 *            that is the proof that a path is dead
 *   tight    each of the eight ends is reached by a member. So there is nothing left that one range could say
 *            to another, and refining once more changes nothing
 *
 * Tests compile this file for registers of four and six bits (TN_RANGE_BITS) and look at every range there
 * is.
 */
#ifndef TN_VERIFY_RANGE_H
#define TN_VERIFY_RANGE_H

#include <linux/bpf.h>

#include "verify/word.h"

struct tn_range {
    struct tn_tnum var;
    u64 umin, umax;
    s64 smin, smax;
    u32 u32min, u32max;
    s32 s32min, s32max;
};

struct tn_range tn_range_any(void);
struct tn_range tn_range_const(u64 value);
struct tn_range tn_range_signed(s64 min, s64 max);
struct tn_range tn_range_unsigned(u64 min, u64 max);
static inline bool tn_range_is_const(const struct tn_range *r)
{
    return r->umin == r->umax;
}
bool tn_range_contains(const struct tn_range *r, u64 x);
/* γ(b) ⊆ γ(a), by comparing part by part. */
bool tn_range_includes(const struct tn_range *a, const struct tn_range *b);
/* Smallest range over both, part by part. */
struct tn_range tn_range_union(const struct tn_range *a, const struct tn_range *b);
/* Values in both. False, and nothing returned: there is none. */
bool tn_range_intersect(const struct tn_range *a, const struct tn_range *b, struct tn_range *ret);
/* Lets all parts sharpen each other. False: empty. */
bool tn_range_sync(struct tn_range *r);

/* op: BPF_ADD…; is64: else the 32-bit form, whose result is zero-extended. Shift amounts are masked, and zero
   divides, as RFC 9669 says. */
struct tn_range tn_range_alu(u8 op, bool is64, const struct tn_range *a, const struct tn_range *b);
/* What an instruction of class ALU or ALU64 makes of two numbers, or of one; `src`: the register or the
   immediate. BPF_MOV with an offset extends the sign. */
struct tn_range tn_range_insn(const struct bpf_insn *i, const struct tn_range *dst,
                              const struct tn_range *src);
/* `dst op src` is `taken`: sharpens both. False: that branch is never gone. */
bool tn_range_assume(u8 op, bool is64, bool taken, struct tn_range *dst, struct tn_range *src);
/* The low `bits` bits (8, 16 or 32), zero-extended or sign-extended to all 64. */
struct tn_range tn_range_zext(const struct tn_range *r, unsigned bits);
struct tn_range tn_range_sext(const struct tn_range *r, unsigned bits);

#endif
