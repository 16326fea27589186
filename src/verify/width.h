/* SPDX-License-Identifier: MIT */
/*
 * Words of `bits` bits (1…64) kept in 64-bit variables: unsigned ones zero-extended, signed ones
 * sign-extended. The whole number domain is written against a width, so that tests can walk through *every*
 * pair of abstract values of three bits with the very code that judges 32 and 64.
 *
 * It is also compiled a second time, as C++, over terms of an SMT solver instead of numbers
 * (tests/verify/smt.cc, which defines TN_WIDTH_TERMS). TN_PICK is a choice between two values without side
 * effects: there it becomes one term, where an `if` would double the paths to be proved.
 */
#ifndef TN_VERIFY_WIDTH_H
#define TN_VERIFY_WIDTH_H

#include "base/base.h"

#ifndef TN_PICK
#define TN_PICK(condition, yes, no) ((condition) ? (yes) : (no))
#endif

static inline u64 tn_width_mask(unsigned bits)
{
    return bits >= 64 ? ~0ull : (1ull << bits) - 1;
}
static inline u64 tn_width_trunc(u64 x, unsigned bits)
{
    return x & tn_width_mask(bits);
}
static inline s64 tn_width_sext(u64 x, unsigned bits)
{
    return (s64)(x << (64 - bits)) >> (64 - bits);
}
static inline s64 tn_width_smin(unsigned bits)
{
    return (s64)(~0ull << (bits - 1));
}
static inline s64 tn_width_smax(unsigned bits)
{
    return (s64)(tn_width_mask(bits) >> 1);
}
/* All bits from the highest one that is set downwards. */
static inline u64 tn_width_smear(u64 x)
{
    return TN_PICK(x != 0, ~0ull >> __builtin_clzll(x | 1), 0ull);
}

#endif
