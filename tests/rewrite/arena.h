/* SPDX-License-Identifier: MIT */
/*
 * Where patched code is compared with itself: memory that may be executed, with what an injector would put near a
 * target's code, and a program that is as bad to its host as it may be. Whoever uses it puts code there, or near it,
 * applies plans to it and takes them back. It may be shared with a child that runs the code.
 */
#ifndef TN_TESTS_ARENA_H
#define TN_TESTS_ARENA_H

#include "rewrite/pun.h"
#include "rewrite/trampoline.h"

#define FLAGS_LIVE 0x8d5ull /* CF PF AF ZF SF OF */

struct state {
    u64 gpr[16], flags, pad;
    u8 xmm[16][16];
};
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
void call_with_state(void *fn, struct state *in, struct state *ret_out);
/* Known values everywhere; a and b are the arguments. */
void state_fill(struct state *s, u64 a, u64 b, u32 seed);

#define ARENA_PATCHES 6u
extern struct arena {
    u8 code[5 * TN_PAGE];
    u8 tramp[ARENA_PATCHES][TN_TRAMPOLINE_MAX];
    u8 displaced[ARENA_PATCHES + 2][TN_DISPLACED_MAX];
    struct tn_hook hook[ARENA_PATCHES];
    u64 head;
    u8 gate[8];
    struct tn_private priv;
    struct tn_proc proc;
    struct tn_link_stats stats[ARENA_PATCHES];
    u64 calls[TN_CALLS];
    u32 clobber; /* what the program does: a footprint */
    /* What was seen of it. */
    u64 runs, ran[ARENA_PATCHES], enters, leaves, last_flags;
    struct tn_pt_regs seen, saw[ARENA_PATCHES]; /* or words, of a typed context */
    const struct tn_run *seen_run;
    u64 (*reenter)(u64, u64); /* called by the next run */
} * arena;
extern struct tn_private *far_priv;
extern u8 *stacks; /* of our own (rewrite/switch.h) */

/* At a fixed place in the lower 2 GiB; MAP_PRIVATE or MAP_SHARED. */
void arena_map(int flags);

struct option {
    enum tn_tp_how tp;
    bool all_context, far, percpu, gate, armed, follow;
    bool own;   /* on a stack of our own */
    bool fused; /* with the displaced instructions around it, where these let it */
    u32 prog_bit;
    u32 footprint; /* 0: everything, and said so by saying nothing */
    bool typed;    /* of system calls: a context as the kernel's tracepoints have it */
    s32 only;      /* … the number that is meant */
    bool counted;  /* what may be a vfork is */
};
#define PLAIN_VARIANTS 320u /* without a stack of our own; the second half of them fused */
#define VARIANTS       400u
/* Each way in which a link can be, with each kind of program. */
struct option variant(u32 n);

/* How many hooks have been applied with their instructions around them. */
extern u32 fused;

/* Plants the trampoline `k` for a place and tells where it goes on. */
void plant(u32 k, const struct tn_patch *p, u64 ip, u64 next, const struct option *o);
int place_pun(const struct tn_patch *p, struct tn_pun *ret);
u32 stub_pages(void);
/* Each exit of a plan needs a way on of its own: one trampoline a patch. Of a punned place the first way that there is. */
void apply(const struct tn_plan *plan, u64 ip, const struct option *o, u64 *heads);
void undo(const struct tn_plan *plan);

#endif
