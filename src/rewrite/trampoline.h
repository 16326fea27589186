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

#include "jit/jit.h"
#include "rewrite/plan.h"
#include "rt/layout.h"
#include "verify/verify.h"
#include "x86/encode.h"

/* A typed context, word by word: where the System V ABI has what belongs there when the function is entered
   (psABI 3.2.3), or its result when it returns. */
#define TN_SHOWN_WORDS 13u /* twelve arguments and a result, as in Linux */
#define TN_TYPED_WORDS 14u /* and one that the program does not see: TN_FROM_REGS, where it walks the stack */
#define TN_FROM_STACK                                                                                        \
    6u /* below it the registers of integer arguments, in order; from it on: words above                     \
          the return address */
#define TN_FROM_ADDRESS     128u /* from it on: the addresses of these words */
#define TN_FROM_STACK_WORDS 120u /* of either */
/* … or something else: */
enum {
    TN_FROM_RESULT_HIGH = 0xfa, /* rdx at exits */
    TN_FROM_R10,                /* a system call's fourth argument */
    TN_FROM_NOTHING,            /* 0 */
    TN_FROM_NR,                 /* the number of a system call */
    TN_FROM_REGS, /* the address of a struct tn_pt_regs, filled as Linux has it when a system call is traced */
    TN_FROM_RESULT, /* rax at exits */
};
struct tn_typed_args {
    u8 nwords;
    u8 from[TN_TYPED_WORDS];
    /* Bytes that a word has, where that is one or two, negative if it is signed; else 0. Callers extend those, and
       functions count on it: so does whoever changes one. */
    s8 narrow[TN_TYPED_WORDS];
    /* Of what lies at an address: its words, which an exit is shown as the entry found them; 0: it is not. */
    u8 copied[TN_TYPED_WORDS];
};

/* How a program may answer in the place of the function it is attached to: at entries; at exits, where its answer takes
   the place of the result. */
enum tn_replace {
    TN_REPLACE_NOT,
    TN_REPLACE_BY_CALL,   /* when it said so through its run (tn_run.replaced) */
    TN_REPLACE_BY_RESULT, /* the same, or when it returns anything but 0 */
};

/* The registers that a program changes by storing to its context, a bit each; rax, whose change is an answer, is not
   among them. `args` as of struct tn_tramp_in. */
u16 tn_tramp_changes(const struct tn_facts *facts, const struct tn_typed_args *args,
                     enum tn_place_kind place);

/*
 * Addresses in the target. `hook` must be within ±2 GiB of `at`; all others may be anywhere, and cost an
 * instruction or two when they are out of reach.
 */
struct tn_tramp_in {
    const struct tn_facts *facts;
    enum tn_place_kind place;
    const struct tn_typed_args *args; /* NULL: the context is struct tn_pt_regs */
    enum tn_replace replace;
    /* Table of kept arguments (stash.h), for a typed program at exits that reads some: its trampolines at the
       exits look there, and the one at the entry fills it and runs no program. 0: none. */
    u64 stash;
    /* A session: the program runs as the function is entered, and as the call returns if it has returned 0 then. What it
       left in its word (tn_run.value) it finds there again; `stash` is where both are kept, for this link alone. */
    bool session;
    bool follow;       /* fork children count as well: told to the agent */
    enum tn_tp_how tp; /* how the thread pointer may be read inline; TN_TP_ARCH_PRCTL: the agent does all */
    u64 at;            /* where the trampoline will stand */
    u64 hook;          /* struct tn_hook; its func_ip is the address of the place itself */
    u64 gate;          /* the link's gate byte: 0 closed, else open */
    u64 priv;          /* struct tn_private */
    u64 proc;          /* struct tn_proc */
    u64 enter, leave;  /* tn_agent_enter, tn_agent_leave: see agent.h */
    u32 prog_bit;
    /* System calls. `nr`: the number, TN_NR_UNKNOWN where it is in eax as the call is entered, and in `calls` when it
       is left. `only`: other numbers pass by; TN_NR_UNKNOWN: none does. */
    s32 nr, only;
    u64 calls;
    bool flags_dead; /* the host needs its flags no more; nor its red zone, at a jump */
    /* Functions that are left by tail jumps (mark.h). `tail`: enum tn_tail; only at a TN_TAIL_RET does a program run. */
    u8 tail, unless;        /* as of struct tn_patch */
    u64 marks, slot, leads; /* of struct tn_marks */
    u32 mark_id;
    u64 stacks; /* the hook runs on one of these (switch.h), with nothing on the host's; 0: on the host's */
    u32 footprint; /* what the program touches: tn_code.footprint; 0: not known, all of it */
    /* The program's text from its entry on, and where the target has it: a small one becomes part of the
       trampoline. NULL: it is called through the hook record, as it is where the slow way runs. */
    const u8 *text;
    u32 text_len;
    u64 text_at;
    /* For programs with facts->percpu, to claim a CPU without the agent; one of them 0: the agent does it. */
    u64 claims; /* struct tn_cpu_claim[ncpu] */
    u32 ncpu, owner_pid;
    s32 rseq_cpu_off; /* tn_proc.rseq_cpu_off */
};
#define TN_TRAMPOLINE_MAX 1536u /* bytes no trampoline exceeds */

/*
 * `cap` bytes at ret_bytes. −ENOSPC; otherwise the length.
 *
 * What a program finds in its context is what a kernel uprobe would give: at entries and offsets ip is
 * hook.func_ip and sp the host's stack pointer there; at exits ip is the return address and sp stands above
 * it (a `ret imm16`'s arguments, which the System V ABI does not have, are not counted). orig_ax is −1. Or it
 * finds the words of `args`. What it stores there is what the host goes on with: at entries arguments, in registers and on the
 * stack, at exits the result; anything else is refused (ctx_written). Of a system call ip is behind the instruction, as hook.func_ip says, orig_ax the number, and
 * ax −ENOSYS until there is a result.
 *
 * Never touched: vector and x87 state, the direction flag (clear by the ABI at entries and exits; the planner
 * refuses offsets in functions that set it). Programs and agent are general-register code, so the stack is
 * aligned as the ABI has it at entries and exits, and not at all at offsets. lahf in 64-bit mode is needed at
 * offsets.
 */
int tn_trampoline(const struct tn_tramp_in *in, u8 *ret_bytes, u32 cap, struct tn_error *err);

/*
 * The same with its site's displaced instructions around it, for the first link of a site: the patched jump leads to `at`.
 *
 *   at:     [displaced 0 … hook_before−1]  *head is not `first`? ──▶ jmp *head
 *   first:  trampoline                     hook.next is not `past`? ──▶ jmp *hook.next
 *           [displaced hook_before …]  jmp resume
 *
 * A chain's words are looked at before each of the two jumps that they would make, so that chains are as without
 * it; where they lead to what stands here anyway, which they do as long as the link is alone, three of five
 * jumps are left out. All that a chain's words may hold must differ in the lower half. Flags have to be dead
 * (entries and exits): −ENOTSUP where they are not, or where the instructions cannot be at two places
 * (tn_displaced_anywhere). *ret_first: bytes from `at` on.
 */
struct tn_fuse {
    const struct tn_patch *patch;
    u64 load_bias;
    u64 head; /* address of the word, within ±2 GiB */
    u64 past; /* the site's hook_return */
};
#define TN_FUSE_MAX 160u /* bytes it adds at most */
int tn_trampoline_fused(const struct tn_tramp_in *in, const struct tn_fuse *fuse, u8 *ret_bytes, u32 cap,
                        u32 *ret_first, struct tn_error *err);

/*
 * The displaced instructions of a patch as they run at `at`, ending with the jump back (or the ret).
 * `load_bias`: difference between target addresses and the file's virtual addresses. `hook_entry_ptr`:
 * address (within ±2 GiB) of an eight-byte word that holds the address of the first link's trampoline, read
 * at each run, so that a chain can gain or lose its first link by one aligned store; 0: no hook, a plain
 * copy. The last hook's `next` must hold hook_return.
 *
 *   enter:  [displaced 0 … hook_before−1]  hook_at: jmp *hook_entry_ptr
 *   hook_return:  [displaced hook_before …]  jmp resume
 *
 * With hook_before 0 the patched jump may also lead straight to the first trampoline, which saves that one
 * jump. insn_at[i] gets the address of displaced instruction i, to move a program counter; for i ==
 * hook_before that is behind the hook, since whoever is there has passed the place.
 *
 * A displaced call pushes its original return address and jumps, so that nobody ever returns to, or unwinds
 * through, our text. It is the window's last instruction: the planner refuses any other.
 *
 * A system call is never displaced, but for those that may be a vfork (tn_wanted_vforks): they are made in the
 * copy, between two counts.
 */
#define TN_DISPLACED_MAX 512u /* bytes no copy exceeds */
struct tn_displaced_out {
    u32 len;
    u64 enter;       /* where the patched jump must lead */
    u64 hook_at;     /* the jump to the first hook; 0: none */
    u64 hook_return; /* where the chain of hooks ends */
    u64 insn_at[16];
    u64 jump_at[16]; /* where a jump to displaced instruction i is led: before its hook, if it has one */
};
struct tn_copy_to {
    u64 at, load_bias;
    u64 hook_entry_ptr;
    u64 priv; /* struct tn_private, anywhere, which counts calls that may be a vfork; 0: they are not counted */
    u64 past; /* of a patch for rounds that stands elsewhere: where its jumps to the first instruction are led */
    u64 calls; /* TN_CALLS words, anywhere, which note the number of a call that only a run knows, for whoever hooks
                  its end; 0: not noted */
    u64 signals,
        guard; /* struct tn_signals and tn_agent_guard, anywhere: calls that touch a handler or a mask, or may do so,
                           ask there first; 0: they do not */
};
int tn_displaced(const struct tn_patch *patch, const struct tn_copy_to *to, u8 *ret_bytes, u32 cap,
                 struct tn_displaced_out *ret_out, struct tn_error *err);

/* May the displaced instructions stand in a second place at once? Not those that jump among themselves. */
bool tn_displaced_anywhere(const struct tn_patch *patch);
/* Of such a patch, at the end of `a`, whose bytes begin at `at`: what comes before its hook, or what comes behind,
   with the jump back (or the ret). */
int tn_displaced_part(const struct tn_patch *patch, u64 load_bias, bool behind, struct tn_asm *a, u64 at,
                      struct tn_error *err);

/* The bytes to write at the patch: jmp to `enter`, then nops up to its length; or int3, whose handler finds `enter` in
   tn_signals.brk. −ERANGE when out of reach. Not of a punned one (pun.h). */
int tn_patch_bytes(const struct tn_patch *patch, u64 load_bias, u64 enter, u8 ret_bytes[TN_PATCH_MAX],
                   struct tn_error *err);

#endif
