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
 * tnum. Known loss: a relation between two bits; multiplication, where a bit of a partial product may cancel.
 *
 * Words are 64 bits wide; narrower ones are obtained by truncation (tn_tnum_cast), which commutes with every
 * operation here but the right shifts, which therefore are told the width.
 *
 * Algorithms: Vishwanathan, Shachnai, Narayana, Nagarakatte, "Sound, Precise, and Fast Abstract
 * Interpretation with Tristate Numbers", CGO 2022; multiplication meets theirs with that of Edamana (a
 * partial product that may or may not be there is joined, not added), since neither contains the other.
 */
#ifndef TN_VERIFY_TNUM_H
#define TN_VERIFY_TNUM_H

#include "verify/width.h"

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
    return (struct tn_tnum){t.value & tn_width_mask(bits), t.mask & tn_width_mask(bits)};
}

static inline struct tn_tnum tn_tnum_unknown(unsigned bits)
{
    return (struct tn_tnum){0, tn_width_mask(bits)};
}
/* Smallest tnum that contains all of [min, max], unsigned. */
static inline struct tn_tnum tn_tnum_range(u64 min, u64 max)
{
    /* Above the highest differing bit both ends agree; below it every pattern may occur. */
    u64 below = tn_width_smear(min ^ max);

    return (struct tn_tnum){min & ~below, below};
}
static inline struct tn_tnum tn_tnum_add(struct tn_tnum a, struct tn_tnum b)
{
    u64 low = a.value + b.value, high = low + a.mask + b.mask;
    u64 unknown = (low ^ high) | a.mask | b.mask;

    return (struct tn_tnum){low & ~unknown, unknown};
}
static inline struct tn_tnum tn_tnum_sub(struct tn_tnum a, struct tn_tnum b)
{
    u64 mid = a.value - b.value;
    u64 unknown = ((mid + a.mask) ^ (mid - b.mask)) | a.mask | b.mask;

    return (struct tn_tnum){mid & ~unknown, unknown};
}
static inline struct tn_tnum tn_tnum_and(struct tn_tnum a, struct tn_tnum b)
{
    u64 may = (a.value | a.mask) & (b.value | b.mask), must = a.value & b.value;

    return (struct tn_tnum){must, may & ~must};
}
static inline struct tn_tnum tn_tnum_or(struct tn_tnum a, struct tn_tnum b)
{
    u64 must = a.value | b.value;

    return (struct tn_tnum){must, (a.mask | b.mask) & ~must};
}
static inline struct tn_tnum tn_tnum_xor(struct tn_tnum a, struct tn_tnum b)
{
    u64 unknown = a.mask | b.mask;

    return (struct tn_tnum){(a.value ^ b.value) & ~unknown, unknown};
}
struct tn_tnum tn_tnum_mul(struct tn_tnum a, struct tn_tnum b);
static inline struct tn_tnum tn_tnum_lsh(struct tn_tnum a, u64 shift)
{
    return (struct tn_tnum){a.value << shift, a.mask << shift};
}
static inline struct tn_tnum tn_tnum_rsh(struct tn_tnum a, u64 shift)
{
    return (struct tn_tnum){a.value >> shift, a.mask >> shift};
}
struct tn_tnum tn_tnum_arsh(struct tn_tnum a, u64 shift, unsigned bits);
/* The low `bits` bits (16, 32, 64) with their bytes in reverse order; the others are zero. */
struct tn_tnum tn_tnum_bswap(struct tn_tnum a, unsigned bits);
/* The least member that is ≥ x; the greatest that is ≤ x. False: there is none. */
static inline bool tn_tnum_ceil(struct tn_tnum t, u64 x, u64 *ret)
{
    /* Down from the highest known bit that x has wrong, nothing of x stays. When that bit has to become one,
     * this makes the number larger by itself; otherwise the lowest unknown zero of x above it has to. Below,
     * the least there is. */
    u64 wrong = (x & ~t.mask) ^ t.value, below = tn_width_smear(wrong);
    u64 room = ((t.mask & ~below) | (t.value & (below ^ (below >> 1)))) & ~x, bit = room & (0 - room);

    if ((wrong != 0) & (room == 0))
        return false;
    *ret = TN_PICK(wrong == 0, x, ((x | bit) & (0 - bit)) | (t.value & (bit - 1)));
    return true;
}
static inline bool tn_tnum_floor(struct tn_tnum t, u64 x, unsigned bits, u64 *ret)
{
    /* The same, seen in the mirror. */
    struct tn_tnum mirror = {~(t.value | t.mask) & tn_width_mask(bits), t.mask};
    u64 least;

    if (!tn_tnum_ceil(mirror, ~x & tn_width_mask(bits), &least))
        return false;
    *ret = ~least & tn_width_mask(bits);
    return true;
}
/* Values in both. False, and nothing returned, when there is none. */
static inline bool tn_tnum_intersect(struct tn_tnum a, struct tn_tnum b, struct tn_tnum *ret)
{
    u64 both_known = ~(a.mask | b.mask);

    if ((a.value ^ b.value) & both_known)
        return false;
    *ret = (struct tn_tnum){a.value | b.value, a.mask & b.mask};
    return true;
}
/* Values in either (and possibly more). */
static inline struct tn_tnum tn_tnum_union(struct tn_tnum a, struct tn_tnum b)
{
    u64 unknown = a.mask | b.mask | (a.value ^ b.value);

    return (struct tn_tnum){a.value & ~unknown, unknown};
}
/* Every member of `b` is a member of `a`. */
static inline bool tn_tnum_includes(struct tn_tnum a, struct tn_tnum b)
{
    return !(b.mask & ~a.mask) && (b.value & ~a.mask) == a.value;
}

#endif
