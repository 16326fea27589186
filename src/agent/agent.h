/* SPDX-License-Identifier: MIT */
/*
 * What the agent exports. The agent is src/rt and a little glue, compiled freestanding with general registers
 * only, linked into one image of two parts (text and read-only data; data) without relocations. It has no
 * constructor, no TLS, no libc, and makes no system call outside rt/syscalls.h. The injector maps it and
 * never calls it; programs and trampolines do. Exports are found by name in the image's symbol table: every
 * tn_helper_*, and the functions below.
 */
#ifndef TN_AGENT_H
#define TN_AGENT_H

#include "rt/layout.h"

/*
 * What a trampoline calls when its inlined fast way does not do. All general registers the host may have live
 * are saved by then.
 *
 * tn_agent_enter: decides whether a run may start: fork child, vfork child, no slot yet, already running,
 * per-CPU claim. Fills run->slot and run->cpu, sets the running bit. Returns 1 to run, 0 to skip (and has
 * counted it). flags: TN_ENTER_*.
 */
#define TN_ENTER_FOLLOW 1u /* children of the process count too */
#define TN_ENTER_PERCPU 2u /* claim a per-CPU slot */
/* Whoever sets running bits inline keeps tn_slot.sp too: abandoned runs are told from running ones. */
#define TN_ENTER_SP     4u
/* On a stack of ours: no jump of the host's leaves a run behind, and its place tells nothing. */
#define TN_ENTER_OWN    8u
u64 tn_agent_enter(struct tn_run *run, u64 flags);
/* Releases what tn_agent_enter took. */
void tn_agent_leave(struct tn_run *run);

/*
 * Routines that compiled programs reach (routines.S has their conventions): tn_agent_call_entry at entries,
 * tn_agent_call_full elsewhere, tn_agent_read. And what these call: the run's claim of a CPU given back
 * (run->cpu becomes −2) and taken again (−1: none was to be had); `size` bytes at `addr`, 0 if they are not
 * there.
 */
void tn_agent_call_entry(void);
void tn_agent_call_full(void);
void tn_agent_read(void);
/* tenon_copy, called as a helper (include/tenon/extension.h); which one: enum tn_agent_routine. */
u64 tn_agent_copy(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run);
u64 tn_agent_copy_careful(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run);
u64 tn_agent_copy_promised(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run);
void tn_agent_unclaim(struct tn_run *run);
void tn_agent_claim(struct tn_run *run);
u64 tn_agent_read_c(u64 addr, u64 size, const struct tn_run *run);

/* Signals that are ours (signals.c, rt/signals.h): what guarded calls of the host lead to, the kernel's handler of them, and
   where that one returns to. And what the first two call. */
struct tn_signals;
struct tn_guard_regs;
void tn_agent_guard(void);
void tn_agent_trap(void);
void tn_agent_sigreturn(void);
/* Memory that the host has named to the kernel. */
bool tn_agent_look(void *dst, u64 size, u64 addr, const struct tn_signals *s);
void tn_agent_confine(struct tn_signals *s, u32 nr, u64 a1, u64 a2, u64 a3);
u64 tn_agent_guard_c(struct tn_guard_regs *r, struct tn_signals *s);
u64 tn_agent_trap_c(u32 sig, const u8 *info, u8 *uc, struct tn_signals *s);

/* In a program's place, where a loader tells debuggers that its list of libraries has changed: the process waits until the
   broker has looked at what is new (loaded.c). */
u64 tn_agent_loaded(void *ctx, struct tn_run *run);

/* The agent image, embedded in the hosted programs (ELF64, symbols kept). */
extern const u8 tn_agent_image[];
extern const u64 tn_agent_image_size;

#endif
