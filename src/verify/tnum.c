/* SPDX-License-Identifier: MIT */
/* Arithmetic on tristate numbers; see tnum.h. Carries are bounded from both sides: all unknown bits zero, all
 * one. */
#include "verify/tnum.h"

#include "verify/width.h"

struct tn_tnum tn_tnum_unknown(unsigned bits)
{
    return (struct tn_tnum){0, tn_width_mask(bits)};
}

struct tn_tnum tn_tnum_range(u64 min, u64 max)
{
    u64 differ = min ^ max, below;

    if (!differ)
        return tn_tnum_const(min);
    /* Above the highest differing bit both ends agree; below it every pattern may occur. */
    below = tn_width_mask(64 - (unsigned)__builtin_clzll(differ));
    return (struct tn_tnum){min & ~below, below};
}

struct tn_tnum tn_tnum_add(struct tn_tnum a, struct tn_tnum b)
{
    u64 low = a.value + b.value, high = low + a.mask + b.mask;
    u64 unknown = (low ^ high) | a.mask | b.mask;

    return (struct tn_tnum){low & ~unknown, unknown};
}

struct tn_tnum tn_tnum_sub(struct tn_tnum a, struct tn_tnum b)
{
    u64 mid = a.value - b.value;
    u64 unknown = ((mid + a.mask) ^ (mid - b.mask)) | a.mask | b.mask;

    return (struct tn_tnum){mid & ~unknown, unknown};
}

struct tn_tnum tn_tnum_and(struct tn_tnum a, struct tn_tnum b)
{
    u64 may = (a.value | a.mask) & (b.value | b.mask), must = a.value & b.value;

    return (struct tn_tnum){must, may & ~must};
}

struct tn_tnum tn_tnum_or(struct tn_tnum a, struct tn_tnum b)
{
    u64 must = a.value | b.value;

    return (struct tn_tnum){must, (a.mask | b.mask) & ~must};
}

struct tn_tnum tn_tnum_xor(struct tn_tnum a, struct tn_tnum b)
{
    u64 unknown = a.mask | b.mask;

    return (struct tn_tnum){(a.value ^ b.value) & ~unknown, unknown};
}

struct tn_tnum tn_tnum_mul(struct tn_tnum a, struct tn_tnum b)
{
    struct tn_tnum sure = tn_tnum_const(a.value * b.value), doubt = tn_tnum_const(0);

    /* Long multiplication: the product of the known parts is exact; each partial product adds what may
     * differ. */
    for (; a.value | a.mask; a = tn_tnum_rsh(a, 1), b = tn_tnum_lsh(b, 1)) {
        if (a.value & 1)
            doubt = tn_tnum_add(doubt, (struct tn_tnum){0, b.mask});
        else if (a.mask & 1)
            doubt = tn_tnum_add(doubt, (struct tn_tnum){0, b.value | b.mask});
    }
    return tn_tnum_add(sure, doubt);
}

struct tn_tnum tn_tnum_lsh(struct tn_tnum a, unsigned shift)
{
    return (struct tn_tnum){a.value << shift, a.mask << shift};
}

struct tn_tnum tn_tnum_rsh(struct tn_tnum a, unsigned shift)
{
    return (struct tn_tnum){a.value >> shift, a.mask >> shift};
}

struct tn_tnum tn_tnum_arsh(struct tn_tnum a, unsigned shift, unsigned bits)
{
    /* An unknown sign bit smears as unknown, since it is set in the mask. */
    return tn_tnum_cast((struct tn_tnum){(u64)(tn_width_sext(a.value, bits) >> shift),
                                         (u64)(tn_width_sext(a.mask, bits) >> shift)},
                        bits);
}

bool tn_tnum_intersect(struct tn_tnum a, struct tn_tnum b, struct tn_tnum *ret)
{
    u64 both_known = ~(a.mask | b.mask);

    if ((a.value ^ b.value) & both_known)
        return false;
    *ret = (struct tn_tnum){a.value | b.value, a.mask & b.mask};
    return true;
}

struct tn_tnum tn_tnum_union(struct tn_tnum a, struct tn_tnum b)
{
    u64 unknown = a.mask | b.mask | (a.value ^ b.value);

    return (struct tn_tnum){a.value & ~unknown, unknown};
}

bool tn_tnum_includes(struct tn_tnum a, struct tn_tnum b)
{
    return !(b.mask & ~a.mask) && (b.value & ~a.mask) == a.value;
}
