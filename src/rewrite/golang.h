/* SPDX-License-Identifier: MIT */
/*
 * Programs of Go, as far as hooking them is concerned: the table of functions that each carries for its own tracebacks
 * (.gopclntab, also in stripped files), and where Go's runtime does what no jump in the code tells of.
 *
 *   stacks     are small, move, and may be full when a function is entered that does not ask: hooks run on stacks of
 *              ours (switch.h), for which x15 is free, whose low half Go keeps zero
 *   preempted  a goroutine that was stopped by a signal comes back to the instruction where it was, and until then no
 *              thread shows where that is: wherever the runtime may stop one counts as jumped to
 *   grown      a function asks for stack before all else, and if it has been given more, begins anew: behind the question each
 *              call comes once
 *   recovered  a function that has recovered from a panic goes on at its call of deferreturn
 *   panics     a load that faults becomes a panic, which needs to know the function: such an instruction is not
 *              displaced, but where the runtime takes the caller for the culprit
 *   tails      what a function is left by a jump for cannot be marked by the place of its return address, which moves
 *
 * The file is hostile: whatever of the table is used is checked where it is used. Go 1.18 and newer; of older ones
 * nothing is known, and their functions are refused.
 */
#ifndef TN_REWRITE_GOLANG_H
#define TN_REWRITE_GOLANG_H

#include "rewrite/plan.h"
#include "x86/decode.h"

struct tn_go {
    const u8 *bytes;  /* from the table's head on, to the file's end */
    u64 len, text;    /* text: virtual address that entries count from */
    u32 nfuncs, head; /* head: bytes of a function's record before its pc tables */
    u64 names, pctab, funcs;
};

struct tn_go_func {
    u64 addr, size;
    const char *name; /* "" where there is none */
    bool assembly;
    bool top; /* stacks are made to look as if it had called: returned to at what is behind no call of its */
    u64 recovers; /* where it goes on after a recovered panic; 0: nowhere */
    u64 unsafe;   /* offset of its pc table of points where nobody is stopped; 0: there is none */
};

#define TN_GO_TEXT_AT 24u /* bytes into the head, of the address that entries count from */

/* Is this the head of such a table, and which address does it say that entries count from? (0 where the loader would
   fill it in.) */
bool tn_go_head(const u8 *bytes, u64 len, u64 *ret_text);
/* −EBADMSG: cannot be read; *ret_go keeps pointing into `bytes`. */
int tn_go_open(const u8 *bytes, u64 len, u64 text, struct tn_go *ret_go);
bool tn_go_nth(const struct tn_go *go, u32 index, struct tn_go_func *ret_func);
bool tn_go_at(const struct tn_go *go, u64 addr, struct tn_go_func *ret_func);

/* Is it code that Go's compiler or assembler has made? (A program may have parts in C, which run on other stacks.) */
bool tn_go_owns(const struct tn_code_view *code, u64 addr);
/* May a goroutine come back to `addr` that was stopped there? To be asked of ascending addresses. */
struct tn_go_points {
    u64 at, end; /* of the table; where what it says of the next address ends, or the function's start */
    s32 value;
};
struct tn_go_points tn_go_points(const struct tn_go_func *func);
bool tn_go_resumes(const struct tn_go *go, const struct tn_go_func *func, struct tn_go_points *points,
                   u64 addr);
/* May the instruction run elsewhere? `bare`: the return address is on top of the stack there. */
bool tn_go_movable(const struct tn_insn *insn, bool bare);

#endif
