/* SPDX-License-Identifier: MIT */
/*
 * Tristate numbers: what is known of a word bit by bit.
 *
 *     bit of mask   bit of value   the concrete bit is
 *          0             0/1        that value
 *          1              0         not known
 *          1              1         (never: value & mask == 0 is the invariant)
 *
 * A tnum stands for the set { x : (x & ~mask) == value }. Every operation returns a tnum that contains all
 * results of the concrete operation on members of its operands (soundness); it need not be the smallest such
 * tnum. Known loss: multiplication (a bit of a partial product that cancels is not seen), and any relation
 * between two bits.
 *
 * Words are 64 bits wide; narrower ones are obtained by truncation (tn_tnum_cast), which commutes with every
 * operation here but the right shifts, which therefore are told the width.
 *
 * Algorithms: Vishwanathan, Shachnai, Narayana, Nagarakatte, "Sound, Precise, and Fast Abstract
 * Interpretation with Tristate Numbers", CGO 2022.
 */
#ifndef TN_VERIFY_TNUM_H
#define TN_VERIFY_TNUM_H

#include "base/base.h"

struct tn_tnum {
    u64 value, mask;
};

static inline struct tn_tnum tn_tnum_const(u64 v)
{
    return (struct tn_tnum){v, 0};
}
static inline bool tn_tnum_is_const(struct tn_tnum t)
{
    return t.mask == 0;
}
static inline bool tn_tnum_contains(struct tn_tnum t, u64 x)
{
    return (x & ~t.mask) == t.value;
}
/* The low `bits` bits; the others are zero. */
static inline struct tn_tnum tn_tnum_cast(struct tn_tnum t, unsigned bits)
{
    u64 m = bits >= 64 ? ~0ull : (1ull << bits) - 1;
    return (struct tn_tnum){t.value & m, t.mask & m};
}

struct tn_tnum tn_tnum_unknown(unsigned bits);
/* Smallest tnum that contains all of [min, max], unsigned. */
struct tn_tnum tn_tnum_range(u64 min, u64 max);
struct tn_tnum tn_tnum_add(struct tn_tnum a, struct tn_tnum b);
struct tn_tnum tn_tnum_sub(struct tn_tnum a, struct tn_tnum b);
struct tn_tnum tn_tnum_and(struct tn_tnum a, struct tn_tnum b);
struct tn_tnum tn_tnum_or(struct tn_tnum a, struct tn_tnum b);
struct tn_tnum tn_tnum_xor(struct tn_tnum a, struct tn_tnum b);
struct tn_tnum tn_tnum_mul(struct tn_tnum a, struct tn_tnum b);
struct tn_tnum tn_tnum_lsh(struct tn_tnum a, unsigned shift);
struct tn_tnum tn_tnum_rsh(struct tn_tnum a, unsigned shift);
struct tn_tnum tn_tnum_arsh(struct tn_tnum a, unsigned shift, unsigned bits);
/* Values in both. False, and nothing returned, when there is none. */
bool tn_tnum_intersect(struct tn_tnum a, struct tn_tnum b, struct tn_tnum *ret);
/* Values in either (and possibly more). */
struct tn_tnum tn_tnum_union(struct tn_tnum a, struct tn_tnum b);
/* Every member of `b` is a member of `a`. */
bool tn_tnum_includes(struct tn_tnum a, struct tn_tnum b);

#endif
