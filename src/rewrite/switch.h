/* SPDX-License-Identifier: MIT */
/*
 * A stack of our own for a hook in code whose stack may be full (Go: golang.h). Taken without a byte of the host's stack
 * and with every register as it was, but for xmm15, which becomes zero:
 *
 *     the table      TN_SWITCH_STACKS areas of TN_SWITCH_SIZE bytes, a head at each one's upper end
 *     which          the first that is free, from where the thread's own pointer hashes to: so a thread finds the same one
 *                    each time, and a handler that interrupts a run (or a thread that is no thread yet) the next
 *     how            a bit in the head, set by one locked instruction and cleared by a store
 *
 * Between the two places the stack pointer is at the head, 8 modulo 16 as at a function's entry; registers are the
 * host's, but for rax and the flags, which are free: the head has them.
 */
#ifndef TN_REWRITE_SWITCH_H
#define TN_REWRITE_SWITCH_H

#include "rt/layout.h"
#include "x86/encode.h"

#define TN_SWITCH_STACKS 1088u /* those that hashes lead to, and TN_SWITCH_PROBES behind the last */
#define TN_SWITCH_PROBES 64u
#define TN_SWITCH_SIZE   16384u
#define TN_SWITCH_BYTES  ((u64)TN_SWITCH_STACKS * TN_SWITCH_SIZE)

struct tn_switch_head {
    u64 flags; /* the host's: lahf in the second byte, overflow in the first */
    u64 ax, sp;
    u64 busy; /* bit 0 */
    u64 unused[3];
};
#define TN_SWITCH_TOP ((u32)(TN_SWITCH_SIZE - sizeof(struct tn_switch_head)))
_Static_assert(TN_SWITCH_TOP % 16 == 8, "as at a function's entry");

struct tn_switch {
    u64 at;     /* of the code */
    u64 stacks; /* the table */
    u64 gate;   /* its byte: where it is 0, nothing is switched */
    enum tn_tp_how tp;
    /* filled: jumps that are taken with everything as the host has it: the gate is closed, … */
    struct tn_fixup closed;
    /* … and with nothing put back (tn_switch_undo does): no stack is free. */
    struct tn_fixup none;
};
void tn_switch_to(struct tn_asm *a, struct tn_switch *s);
/* Where `none` leads: rcx is free until tn_switch_undo. */
void tn_switch_undo(struct tn_asm *a);
/* From the head as tn_switch_to has left it. */
void tn_switch_back(struct tn_asm *a);
/* The host's flags as pushf has them, into rax; `head`: from the stack pointer. */
void tn_switch_flags(struct tn_asm *a, s32 head);

#endif
