/* SPDX-License-Identifier: MIT */
/*
 * Calls of a function that are left by a tail jump (tails.c), until they return.
 *
 *     f: jmp g        TAIL_LEAVE   mark of (S, f) ← armed
 *     g: entered      TAIL_ENTER   armed → under way; under way → none, since that one was abandoned
 *        jmp h        TAIL_PASS    under way → armed
 *        ret          TAIL_RET     under way → none, and f's exit runs; else nothing does
 *
 * S is the address of the return slot, which all of them share, and no two calls under way in a process have the same
 * one, whatever thread, coroutine or handler they belong to (stash.h). A mark is a word of one table a process:
 *
 *     │ S, 47 bits │ armed │ id of f in its link, 16 bits │ at the word that a hash of the rest says
 *
 * A call that is abandoned (longjmp, an exception, a thread that ends) leaves its mark behind, under way. Before a
 * later call whose slot is the same one can return from g, it has either entered g, where a mark that is not armed
 * goes, or left f by the jump, which makes it anew. Armed is a mark for the few instructions between the two places: only
 * a handler that interrupts just these, and never returns, leaves one behind. That is why every function on the way is
 * hooked at its entry.
 *
 * A jump that leads elsewhere than it did when it was hooked, through a word that has changed, is a run that is missed.
 *
 * Two marks may want the same word. The later one takes it, by one exchange, and if another's was there, counts a run
 * as missed: as many marks are lost by races as exchanges have seen others (which may have been abandoned, too).
 * The rest needs no lock: a word is changed only by whoever has just seen his own mark in it, and if another's came
 * between, that one was counted.
 *
 * Marks are kept whatever the gate says. Those of an earlier function with the same id are wiped before a new one has it.
 */
#ifndef TN_REWRITE_MARK_H
#define TN_REWRITE_MARK_H

#include "rewrite/plan.h"
#include "x86/encode.h"

#define TN_MARKS_LOG2 17u
#define TN_MARKS      (1u << TN_MARKS_LOG2) /* words of a table */
#define TN_MARK_ID    0xffffull             /* of a word: whose it is; 0 is nobody's */
#define TN_MARK_ARMED (1ull << 16)

struct tn_marks {
    u64 table; /* anywhere; 0: none */
    u32 id;
    bool live;       /* flags and red zone are live */
    u64 slot, leads; /* a jump that leads through a word: its address, and what must be there; 0: none */
};

/* Code for a place, which stands where S is the stack pointer; all registers stay, and flags where they are live.
   `stats`: where the address of the link's struct tn_link_stats is. */
void tn_mark_leave(struct tn_asm *a, const struct tn_marks *m, struct tn_mem stats);
void tn_mark_enter(struct tn_asm *a, const struct tn_marks *m);
void tn_mark_pass(struct tn_asm *a, const struct tn_marks *m, struct tn_mem stats);
/* Flags are not live, and tell: equal, where it is the function's return. */
void tn_mark_return(struct tn_asm *a, const struct tn_marks *m);

#endif
