/* SPDX-License-Identifier: MIT */
/*
 * Steps: what a number is a multiple of, beyond the powers of two that its known bits tell.
 *
 *      i in [0, 3]      i * 40   is one of 0, 40, 80, 120           known bits say "a multiple of 8, up to 120"
 *                                                                   step 40 says the rest
 *      p + i * 40       leads to one of four elements of an array of structs, and never between two fields
 *
 * Where `step` of a register is not 0, the number, as an unsigned one that did not wrap, is a multiple of it;
 * of a pointer, what variables added to its offset is one. 0: nothing is known. Constants have none: they say it
 * themselves. A step is below TN_MAX_OFFSET, and says more than the known bits, or it is not kept.
 */
#ifndef TN_VERIFY_STEP_H
#define TN_VERIFY_STEP_H

#include "verify/state.h"

/* `n` offsets from the first on, each `step` behind the last. */
struct tn_places {
    s64 first;
    u32 step;
    u64 n;
};

/* What the number, or the part of an offset that is no constant, is a multiple of. 0: it is 0. */
u64 tn_step_of(const struct tn_reg *reg);
/* What dst op src is a multiple of, as a step to keep. `sum`: the range of the result. */
u32 tn_step_alu(u8 op, bool is64, const struct tn_reg *dst, const struct tn_reg *src,
                const struct tn_range *sum);
/* … of a pointer that a number is added to, or subtracted from. */
u32 tn_step_moved(const struct tn_reg *ptr, const struct tn_reg *by);
/* The offsets that a pointer may have: between min and max, and as far as constants moved it, whole steps. */
struct tn_places tn_step_places(const struct tn_reg *ptr, s64 fixed, s64 min, s64 max);
/* Every number that cur says is one that old says, as far as steps tell. */
bool tn_step_covers(const struct tn_reg *old, const struct tn_reg *cur);

#endif
