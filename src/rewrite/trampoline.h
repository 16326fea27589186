/* SPDX-License-Identifier: MIT */
/*
 * Trampolines: what the jump leads to. Pure: data in, bytes for a given address out.
 *
 *   host ──jmp──▶ [gate closed? ──────────────────────────────┐
 *                  not this process, or a vfork in flight? ───┤ (slow way decides)
 *                  save what the facts allow                  │
 *                  program running on this thread? ───────────┤ (missed++)
 *                  claim a per-CPU slot (only if needed)      │
 *                  (D12: rights opened here)                  │
 *                  call program                               │
 *                  (D12: rights restored and checked here)    │
 *                  release, restore]  ◀───────────────────────┘
 *                  jmp *hook.next ──▶ next link's trampoline … ──▶ displaced instructions ──▶ host
 */
#ifndef TN_REWRITE_TRAMPOLINE_H
#define TN_REWRITE_TRAMPOLINE_H

#include "rewrite/plan.h"
#include "rt/layout.h"
#include "verify/verify.h"

/* Addresses in the target. */
struct tn_tramp_in {
    const struct tn_facts *facts;
    enum tn_place_kind place;
    bool follow;        /* fork children count as well: no process gate */
    u64 at;             /* where the trampoline will stand */
    u64 hook;           /* struct tn_hook, within ±2 GiB of `at` */
    u64 gate;           /* the link's gate byte */
    u64 priv;           /* struct tn_private */
    u64 proc;           /* struct tn_proc */
    u64 run_slow;       /* agent: see agent.h */
    u32 prog_bit;
    u32 stack;          /* native stack the program needs, bytes */
};

/* `cap` bytes at ret_bytes. −ENOSPC; otherwise the length. */
int tn_trampoline(const struct tn_tramp_in *in, u8 *ret_bytes, u32 cap, struct tn_error *err);

/* The displaced instructions of a patch as they run at `at`, ending with the jump back (or the ret). `load_bias`:
   difference between target addresses and the file's virtual addresses. hook_entry: address to go to at the hook point
   (0: none yet, e.g. the plain copy used to move a program counter); hook_return gets the address where the last hook's
   `next` must lead. insn_at[i] gets the address of displaced instruction i, to move a program counter. */
struct tn_displaced_out {
    u32 len;
    u64 enter;          /* where the patched jump must lead */
    u64 hook_return;    /* where the chain of hooks ends */
    u64 insn_at[16];
};
int tn_displaced(const struct tn_patch *patch, u64 load_bias, u64 at, u64 hook_entry_ptr, u8 *ret_bytes, u32 cap,
                 struct tn_displaced_out *ret_out, struct tn_error *err);

#endif
