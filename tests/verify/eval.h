/* SPDX-License-Identifier: MIT */
/*
 * A run of an accepted program, watched. Every object lies alone in one arena, with a gap around it:
 *
 *      ░ctx░ value 0 of map 0 ░ value 1 ░ … ░ reservations ░ … ░ frame 0 ░ frame 1 ░ …
 *
 * so that an access is right when it is wholly inside one object that is there at that moment: frames of the
 * call chain (and of them only what facts give the frame), reservations held, values. What the verdict
 * promised is checked at each step: the bytes read were written, the instruction is live, the call's map and
 * key are const_map and const_key, the memory is of mem_kind, the facts hold what happened, the path is not
 * longer than told, and at least one abstract state seen at the instruction contains the registers and slots.
 */
#ifndef TESTS_VERIFY_EVAL_H
#define TESTS_VERIFY_EVAL_H

#include "verify/internal.h"

#define EVAL_MAX_PROG 400u

/* What the verifier saw at each instruction; filled by a probe. */
struct eval_view;
struct eval_views {
    struct eval_view *at[EVAL_MAX_PROG];
    struct eval_view **by_position; /* of the verifier's walk */
    u32 n, cap;
};
void eval_remember(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need);
/* For a lazy verification: what turns out to matter. */
void eval_mark(void *arg, u64 position, u32 nframes, const struct tn_marks *mark);
void eval_forget(struct eval_views *views);

/* A few numbers are enough of a machine: the seed decides context, memory and what helpers answer. Returns
   NULL, or what went wrong, and where. */
const char *eval_run(const struct tn_verify_in *in, const struct tn_verdict *verdict,
                     const struct eval_views *views, u64 seed, u32 *ret_pc);

#endif
