/* SPDX-License-Identifier: MIT */
/* Arithmetic on tristate numbers; see tnum.h. Carries are bounded from both sides:
   all unknown bits zero, all one. */
#include "verify/tnum.h"

#include "verify/width.h"

/* Long multiplication, twice. `doubt`: the product of the known parts is exact; each partial product adds
   what may differ. `joined`: each partial product is added, or may have been.

   Of members x of a and y of b, with u and v the known parts of a and b, this stays the same from step to
   step, modulo 2^64: a member of `joined` + x·y; a member of `doubt` + x·y − u·v. */
struct product {
    struct tn_tnum a, b, doubt, joined;
};

static void product_step(struct product *p)
{
    struct tn_tnum with = tn_tnum_add(p->joined, p->b);

    if (p->a.value & 1) {
        p->doubt = tn_tnum_add(p->doubt, (struct tn_tnum){0, p->b.mask});
        p->joined = with;
    } else if (p->a.mask & 1) {
        p->doubt = tn_tnum_add(p->doubt, (struct tn_tnum){0, p->b.value | p->b.mask});
        p->joined = tn_tnum_union(p->joined, with);
    }
    p->a = tn_tnum_rsh(p->a, 1);
    p->b = tn_tnum_lsh(p->b, 1);
}

/* `sure`: the product of the known parts. A product is a member of both sums. */
static struct tn_tnum product_end(const struct product *p, u64 sure)
{
    struct tn_tnum doubt = tn_tnum_add(tn_tnum_const(sure), p->doubt);

    return (struct tn_tnum){doubt.value | p->joined.value, doubt.mask & p->joined.mask};
}

struct tn_tnum tn_tnum_mul(struct tn_tnum a, struct tn_tnum b)
{
    bool swap = tn_tnum_is_const(b); /* the fewer bits, the fewer rounds */
    struct product p = {swap ? b : a, swap ? a : b, tn_tnum_const(0), tn_tnum_const(0)};

    while (p.a.value | p.a.mask)
        product_step(&p);
    return product_end(&p, a.value * b.value);
}

struct tn_tnum tn_tnum_arsh(struct tn_tnum a, u64 shift, unsigned bits)
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
