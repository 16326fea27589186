/* SPDX-License-Identifier: MIT */
/*
 * A run of an accepted program, watched, on a machine (machine.h) on which every object lies alone. What
 * helpers do is told by models, one row each (models.h). Held against what happens, at each instruction:
 *
 *   state     one abstract state at least, of those that the verifier saw there, contains the registers
 *             and stack slots of the frame: numbers in their ranges, equal where they are said to be;
 *             pointers in an object of that kind, at such an offset, NULL only where they may be; packets
 *             as long as proved; objects on the stack where they are said to be; and as many references,
 *             locks and sections are held
 *   access    lies wholly inside one object that is there at that moment: of frames, only what facts give
 *             the frame, bytes that were written, and that are no object's; of values, not the lock
 *   call      takes what it needs: what is given back is held, the lock that is released is the one
 *             taken, no other call happens under a lock, strings end, functions are functions
 *   end       nothing is held, no lock, no section
 *   verdict   the instruction is live, the call's map and key are const_map and const_key, the memory is
 *             of mem_kind, the facts hold what happened, the path is not longer than told
 */
#ifndef TESTS_VERIFY_EVAL_H
#define TESTS_VERIFY_EVAL_H

#include "verify/internal.h"

#define EVAL_MAX_PROG 400u

/* What the verifier saw at each instruction; filled by a probe. */
struct eval_view;
struct eval_views {
    struct eval_view *at[EVAL_MAX_PROG];
    struct eval_view **chunk; /* by position of the verifier's walk */
    u32 n, cap;
};
void eval_remember(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need);
/* For a lazy verification: what turns out to matter. */
void eval_mark(void *arg, u64 position, u32 nframes, const struct tn_marks *mark);
/* Ready for the next program; memory stays. */
void eval_forget(struct eval_views *views);
void eval_free(struct eval_views *views);

struct eval_end {
    u32 pc;              /* where it was last */
    const char *outside; /* … of the abstract states there */
    u64 steps;           /* instructions */
    u64 course;          /* the same for two runs that got the same from outside */
    bool whole;          /* it came to its end, and was not cut for its length */
    u64 helpers[4];      /* bitmap: called */
};
/* The seed decides context, packet, memory and what helpers answer. Returns NULL, or what went wrong. */
const char *eval_run(const struct tn_verify_in *in, const struct tn_verdict *verdict,
                     struct eval_views *views, u64 seed, struct eval_end *ret);

#endif
