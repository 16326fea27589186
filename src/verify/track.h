/* SPDX-License-Identifier: MIT */
/*
 * Which numbers decide something, found backwards along the path that was walked.
 *
 * A number matters where its value decides: a branch that goes one way only, a size, an offset added to a
 * pointer, a constant argument, a result that is checked. From there the walk goes back, instruction by
 * instruction, to what the number was computed from, and leaves a mark wherever a state is kept on the way:
 *
 *      r1 = *(u32 *)(r6 + 0)                          explained: nothing before matters
 *      r2 = 4              ●  marked: r1, r2          ● a kept state
 *      r1 &= 15               r1
 *      r1 += r2               r1, r2
 *      r0 += r1               r1 decides              r0 is a pointer
 *
 * A later path that meets the kept state is compared with it in the marked numbers only; when it is covered,
 * what is marked there matters to this path too, and is walked back along it. A number that is not marked
 * decided nothing on any way on from there.
 *
 * What was walked is a tree, since paths fork:
 *
 *      stretch ──┬── stretch ──┬── …       a stretch: the steps between two forks or kept states, never
 *                │             └── …       changed once frozen; it lives while something hangs below it
 *                └── …
 *
 * The marks stand at the *end* of a stretch: what matters on any way on from there. The present path ends in
 * steps that are not frozen yet.
 *
 * Besides, the same tree knows which stack slots are read before they are overwritten: a slot that nothing
 * reads on any way on is not compared either. That needs no walk by instruction: each stretch has the slots
 * it surely overwrites.
 *
 * Invariants
 *   1. A mark at the end of a stretch was walked from there to where it is explained; so a walk that meets
 *      its own marks stops.
 *   2. Each rule of the walk maps a set of registers and slots to the union of what its members map to: marks
 *      can be walked one by one, or together.
 *   3. Too many marks are harmless, one too few is not.
 */
#ifndef TN_VERIFY_TRACK_H
#define TN_VERIFY_TRACK_H

#include "verify/state.h"

struct vf;

/* One instruction that was walked, and what the way back needs to know of it. */
enum tn_step_kind {
    TN_STEP_INSN,      /* `arg`: registers (bits) that were walked back from before it already */
    TN_STEP_RETURN,    /* exit of a callback: what it returns goes to nobody */
    TN_STEP_LOAD,      /* of stack slots that hold something known: `arg` */
    TN_STEP_STORE,     /* to stack slots: `arg` */
    TN_STEP_LINK,      /* before a branch: registers that learn from it, bits in `arg`, of frame `frames` */
    TN_STEP_LINK_LOW,  /* … and stack slots 0…31 */
    TN_STEP_LINK_HIGH, /* … and 32…63 */
    TN_STEP_SERIAL,    /* probing: the number of the instruction that follows */
};
struct tn_step {
    u32 insn : 20;  /* the instruction */
    u32 frames : 4; /* how many there were before it; of links and known registers: which */
    u32 kind : 8;   /* enum tn_step_kind */
    u32 arg;
};

/* What matters of one frame. */
struct tn_marks {
    u16 regs;
    u64 slots;   /* whose numbers decide */
    u64 read;    /* that are read */
    u64 written; /* that the stretch surely overwrites: says of its steps, not of its end */
};

struct tn_stretch {
    struct tn_stretch *up;
    u32 refs, nsteps, nframes;
    struct tn_marks mark[]; /* nframes; then the steps */
};

/* The end of the present path. */
struct tn_track {
    struct tn_stretch *last; /* the newest frozen stretch of the path, or NULL */
    struct tn_step *step;    /* walked since */
    u32 nsteps, cap;
    u64 written[TN_MAX_FRAMES];    /* slots overwritten since */
    u64 will_write[TN_MAX_FRAMES]; /* … by the instruction under way */
    u32 nframes;                   /* at the end */
    u16 numbers, ignored; /* the instruction under way: operands that were numbers; of these, not looked at */
    const struct tn_stretch *at; /* the instruction under way starts at: step `at_step` of `at` (NULL: of */
    u32 at_step;                 /* those not frozen) */
    u32 insn_step;               /* its own step, while not frozen */
};

/* The instruction at v->pc is about to be executed. */
int tn_track_step(struct vf *v);
/* That instruction was executed; `forked`: a second path waits. */
void tn_track_stepped(struct vf *v, u32 insn, bool forked);
/* Freezes what was walked; `nframes`: of the path with more frames that goes on from here. The path holds the
   new stretch; others take a reference. NULL: no memory. */
struct tn_stretch *tn_track_freeze(struct vf *v, u32 nframes);
struct tn_stretch *tn_stretch_get(struct tn_stretch *s);
void tn_stretch_put(struct tn_stretch *s);
/* The present path becomes one that goes on from the end of `s` (taken over) with `nframes` frames. */
void tn_track_resume(struct vf *v, struct tn_stretch *s, u32 nframes);
/* All that `mark` (one a frame) says matters at the end of the present path, or of stretch `s`. True:
   something was not known before. */
void tn_track_inherit(struct vf *v, const struct tn_marks *mark, u32 nframes);
bool tn_track_inherit_at(struct vf *v, struct tn_stretch *s, const struct tn_marks *mark, u32 nframes);
void tn_track_clear(struct vf *v);

#endif
