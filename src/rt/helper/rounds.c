/* SPDX-License-Identifier: MIT */
/* Helpers that call back: a step each (rt/rounds.h has the idea). */
#include "rt/rounds.h"

#include <asm/errno.h>

#include "rt/helper/helpers.h"

/* Both take flags in R4, of which none is defined, and the function's own argument in R3. */
static bool wrong_flags(struct tn_rounds *rounds)
{
    if (!rounds->call[3])
        return false;
    rounds->result = (u64)-EINVAL;
    return true;
}

u64 tn_helper_loop(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    struct tn_rounds *rounds = (struct tn_rounds *)r1;
    u32 n = (u32)rounds->call[0];

    if (wrong_flags(rounds))
        return 0;
    if (n > TN_LOOP_MAX) {
        rounds->result = (u64)-E2BIG;
        return 0;
    }
    if (rounds->result == n)
        return 0;
    rounds->arg[0] = rounds->result++;
    rounds->arg[1] = rounds->call[2];
    return 1;
}

u64 tn_helper_for_each_map_elem(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    struct tn_rounds *rounds = (struct tn_rounds *)r1;

    if (wrong_flags(rounds) || !tn_map_each((const struct tn_map *)rounds->call[0], rounds, run->cpu))
        return 0;
    rounds->arg[0] = rounds->call[0];
    rounds->arg[3] = rounds->call[2];
    rounds->result++;
    return 1;
}
