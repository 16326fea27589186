/* SPDX-License-Identifier: MIT */
/*
 * A call that calls a function of the program back is a loop of the engine's. The helper itself calls nothing: it is asked
 * what the next round is given.
 *
 *      the call ──▶ step ── 1 ──▶ function(arg[0] … arg[3]) ── 0 ──▶ step …
 *                    │ 0                    │ 1
 *                    └──────────────────────┴──────▶ R0 = result
 *
 * So nothing is held while the function runs, no address of the program's text is ever handed out, and a run that is
 * killed or left in the middle leaves nothing behind. The record lies in the frame of the function that made the call.
 */
#ifndef TN_RT_ROUNDS_H
#define TN_RT_ROUNDS_H

#include "rt/layout.h"

struct tn_rounds {
    u64 call[4]; /* R1 … R4 of the call; the function, R2, is the engine's affair */
    u64 arg[4];  /* R1 … R4 of the next round */
    u64 result;  /* of the call, if it is over now: rounds begun, or a negative errno. 0 at first */

    /* Of the step alone, which finds 0 at first. */
    u64 at;         /* index of an array's next value; a table's bucket */
    u32 next, left; /* of a table: where the chain goes on; elements it may still look at, and 1 */
    u32 key, pad;   /* an array's key of this round */
};
_Static_assert(sizeof(struct tn_rounds) % 8 == 0, "in a frame, below its stack");

/* Linux's BPF_MAX_LOOPS. */
#define TN_LOOP_MAX (1u << 23)

/* The next element of a map: arg[1] its key, arg[2] its value (of per-CPU maps that of slot `cpu`). False: there is none.
   What the function does to the map meanwhile is as in Linux: it may delete the element it is given; of what it adds some
   is met and some is not; no more elements are met than the map has room for. */
struct tn_map;
bool tn_map_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu);

#endif
