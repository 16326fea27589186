/* SPDX-License-Identifier: MIT */
/* Arithmetic on tristate numbers; see tnum.h. Carries are bounded from both sides: all unknown bits zero, all
 * one. */
#include "verify/tnum.h"

#include "verify/width.h"

struct tn_tnum tn_tnum_mul(struct tn_tnum a, struct tn_tnum b)
{
    struct tn_tnum sure = tn_tnum_const(a.value * b.value), doubt = tn_tnum_const(0), joined = doubt,
                   with = a;

    if (tn_tnum_is_const(b)) { /* the fewer bits, the fewer rounds */
        a = b;
        b = with;
    }
    /* Long multiplication, twice. `doubt`: the product of the known parts is exact; each partial product adds
     * what may differ. `joined`: each partial product is added, or may have been. */
    for (; a.value | a.mask; a = tn_tnum_rsh(a, 1), b = tn_tnum_lsh(b, 1)) {
        with = tn_tnum_add(joined, b);
        if (a.value & 1) {
            doubt = tn_tnum_add(doubt, (struct tn_tnum){0, b.mask});
            joined = with;
        } else if (a.mask & 1) {
            doubt = tn_tnum_add(doubt, (struct tn_tnum){0, b.value | b.mask});
            joined = tn_tnum_union(joined, with);
        }
    }
    doubt = tn_tnum_add(sure, doubt);
    return (struct tn_tnum){doubt.value | joined.value, doubt.mask & joined.mask};
}

struct tn_tnum tn_tnum_arsh(struct tn_tnum a, unsigned shift, unsigned bits)
{
    /* An unknown sign bit smears as unknown, since it is set in the mask. */
    return tn_tnum_cast((struct tn_tnum){(u64)(tn_width_sext(a.value, bits) >> shift),
                                         (u64)(tn_width_sext(a.mask, bits) >> shift)},
                        bits);
}

static u64 swap_bytes(u64 x, unsigned bits)
{
    u64 r = 0;

    for (unsigned k = 0; k < bits; k += 8)
        r |= (x >> k & 0xff) << (bits - 8 - k);
    return r;
}

struct tn_tnum tn_tnum_bswap(struct tn_tnum a, unsigned bits)
{
    return (struct tn_tnum){swap_bytes(a.value, bits), swap_bytes(a.mask, bits)};
}
