/* SPDX-License-Identifier: MIT */
/*
 * Who else jumps into a patch: flow (flow.h) knows the jumps of the function, but other functions, landing pads and pieces that
 * nobody followed have theirs.
 */
#ifndef TN_REWRITE_OTHERS_H
#define TN_REWRITE_OTHERS_H

#include "rewrite/flow.h"

/* May nobody jump there? Behind the first byte, but for instructions with a jump of their own. */
static inline bool tn_patch_forbids(const struct tn_patch *p, u64 to)
{
    if (to <= p->addr || to >= p->addr + tn_patch_span(p))
        return false;
    for (u32 k = 0; p->punned && k < p->ninsns; k++)
        if (to == p->addr + p->insn_off[k])
            return false;
    return true;
}

/* Is the instruction at `from` displaced together with the one at `to`? */
static inline bool tn_patch_holds(const struct tn_patch *p, u64 from, u64 to)
{
    u32 seen = 0;

    for (u32 i = 0; i < p->ninsns; i++)
        seen |= (from == p->addr + p->insn_off[i]) | (u32)(to == p->addr + p->insn_off[i]) << 1;
    return seen == 3;
}

/* Does an instruction begin at `at`, counted from the start of the function that holds it, or of the last one before? What
   cannot be told may be one. `flow`: which was followed; NULL: none was. */
bool tn_others_begin(const struct tn_code_view *code, const struct tn_flow *flow, u64 at);
/* Does a jump that was not followed lead into one of the plan's patches, *ret_which? Only then it is set. */
int tn_others_check(const struct tn_flow *flow, const struct tn_plan *plan, u32 *ret_which,
                    struct tn_error *err);
/* Does one do so in the pieces that may be the function's own (tn_flow.maybe)? */
int tn_others_maybe(const struct tn_flow *flow, const struct tn_patch *patch, struct tn_error *err);

#endif
