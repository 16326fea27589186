/* SPDX-License-Identifier: MIT */
/* Offsets that routines.S knows; agent.c asserts them. Numbers only: an assembler reads this. */
#ifndef TN_AGENT_ROUTINES_H
#define TN_AGENT_ROUTINES_H

#define RUN_PROC        8
#define RUN_CPU         32
#define PROC_XSAVE_SIZE 160
#define PROC_XSAVE_HOW  164
#define PROC_XSAVE_LOW  168 /* the mask of components, low half; the high one behind it */

/* struct tn_guard_block: signals.c asserts them. */
#define GUARD_GO_ON 8
#define GUARD_MADE  16

/* Calls that confine (rt/signals.h): signals.c asserts them. */
#define GUARD_PRCTL   157
#define GUARD_SECCOMP 317

/* A frame of the kernel's (rt/signals.h): signals.c asserts them. */
#define RESUME        16
#define UC_REGS       40 /* r8 … r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp */
#define UC_RSP        160
#define UC_RIP        168
#define UC_FLAGS      176
#define UC_FPSTATE    224
#define FP_COMPONENTS 472

/* tn_proc.xsave_how, a bit each. */
#define XSAVE_COMPACT 1 /* XSAVEC */

#endif
