/* SPDX-License-Identifier: MIT */
/*
 * Between the files of a trampoline:
 *
 *     tramp_decide.c    what the facts allow: what is saved, in which frame, which registers are worked with
 *     tramp_slot.c      the thread's slot, and a CPU's claim, taken without the agent
 *     tramp_context.c   what the program finds, and what becomes of what it stores
 *     trampoline.c      the two ways, and what is around them
 *
 * Decisions are made once, and kept in struct tramp; the pieces emit what was decided.
 */
#ifndef TN_REWRITE_TRAMP_H
#define TN_REWRITE_TRAMP_H

#include "rewrite/switch.h"
#include "rewrite/trampoline.h"
#include "x86/encode.h"

/* A full frame, from the stack pointer up: a typed context, struct tn_pt_regs, struct tn_run, and a word for the
   claim. It is 8 modulo 16: with the return address on top, an ABI entry's frame ends up aligned. */
#define RUN_OFF  ((s32)sizeof(struct tn_pt_regs))
#define CLAIM    (RUN_OFF + (s32)sizeof(struct tn_run)) /* address of the claimed CPU's word */
#define FRAME    (CLAIM + 8)
#define RED_ZONE 128
#define PRELUDE  16 /* flags, rax */

_Static_assert(sizeof(struct tn_run) % 8 == 0 && FRAME % 16 == 8, "the frame keeps an ABI stack aligned");

/* The frame from `low` on, which the words of a typed context take the place below of. */
#define AT(off)     tn_mem_base(TN_RSP, t->low + (s32)(off))
#define REG(field)  AT(offsetof(struct tn_pt_regs, field))
#define RUN(field)  AT(RUN_OFF + offsetof(struct tn_run, field))
#define HOOK(field) tn_mem_pos((s64)(in->hook + offsetof(struct tn_hook, field) - in->at))
#define BIT(reg)    (1u << (reg))

/* Where registers are kept in a full frame. */
struct tramp_saved {
    u8 reg;
    u16 off;
};
/* What every host may have live and programs may clobber, in the order in which scratch registers are chosen:
   short encodings first. */
extern const struct tramp_saved tramp_caller_saved[9];
/* Where arguments are passed: their registers, and what a full frame keeps them in. */
extern const struct tramp_saved tramp_argument[TN_FROM_STACK];
#define CALLER_SAVED                                                                                         \
    (BIT(TN_RAX) | BIT(TN_RCX) | BIT(TN_RDX) | BIT(TN_RSI) | BIT(TN_RDI) | BIT(TN_R8) | BIT(TN_R9) |         \
     BIT(TN_R10) | BIT(TN_R11))

/* A trampoline in the making: what was decided, and what is emitted. */
struct tramp {
    const struct tn_tramp_in *in;
    struct tn_asm a;
    bool ctx, run; /* the program takes them */
    bool offset;   /* flags and red zone are live */
    bool call;     /* so they are: a system call */
    bool noted;    /* … that is left, and whose number was noted: what it takes for that it gives back */
    bool regs;     /* struct tn_pt_regs is wanted */
    bool prelude;
    bool wants_flags; /* the program reads them */
    bool light;
    bool spill;  /* no register is left for the slot: it is kept in the run */
    u32 kept;    /* words of the context that were kept since the entry */
    u32 copied;  /* … and words of the structs whose addresses are among them, which stand behind it */
    s32 low;     /* bytes of a typed context and of these, at the frame's lower end; a multiple of 16 */
    u32 save;    /* caller-saved registers that the fast way saves, a bit each */
    u32 scratch; /* of these: those it needs before the program */
    u8 slot, cpu, owner;
    struct tn_fixup slow[6];
    u32 nslow;
    struct tn_switch own;    /* in->stacks */
    struct tn_fixup lost[2]; /* where kept words are not to be had */
    const struct tn_fuse *fuse;
    struct tn_fixup elsewhere, further; /* … where the chain's words lead away */
    u32 first;
    struct tn_fixup over; /* a session whose entry has said no: for the way that is being emitted */
    struct {
        struct tn_fixup at;
        u64 value;
    } literal[4];
    u32 nliterals;
};

/* Can the trampoline's text reach it? */
static inline bool tramp_near(const struct tn_tramp_in *in, u64 target, u64 size)
{
    s64 d = (s64)(target - in->at);

    return d > -0x7fff0000ll && d + (s64)size < 0x7fff0000ll;
}

/* A stack word, above the return address. */
static inline bool tramp_on_stack(u8 from)
{
    return from >= TN_FROM_STACK && from < TN_FROM_ADDRESS;
}
/* … or its address. */
static inline bool tramp_is_address(u8 from)
{
    return from >= TN_FROM_ADDRESS && from < TN_FROM_ADDRESS + TN_FROM_STACK_WORDS;
}

/* tramp_decide.c. Is all that the program stores to the host's at that place? */
bool tramp_may_change(const struct tn_tramp_in *in);
void tramp_decide(struct tramp *t);
/* Is there a fast way? */
bool tramp_inlined(const struct tramp *t);
/* A word of the context, whatever its layout. One that is stored to has to be there as well, since it is on some
   ways only. */
bool tramp_writes_word(const struct tramp *t, u32 word);
bool tramp_reads_word(const struct tramp *t, u32 word);
/* A field of struct tn_pt_regs: those that are read of the context; all of them where it only leads there. */
bool tramp_reads(const struct tramp *t, u32 off);

/* tramp_slot.c. What fails goes the slow way (t->slow); its words stand where tramp_literals puts them. */
void tramp_take_slot(struct tramp *t);
void tramp_leave_slot(struct tramp *t);
/* rax is the thread pointer, as tramp_take_slot left it. */
void tramp_claim_cpu(struct tramp *t);
void tramp_give_back_cpu(struct tramp *t);
void tramp_literals(struct tramp *t);

/* tramp_context.c. rax is free in all of them, and TN_STASH_CLOBBERS where words are kept. */
void tramp_fill_context(struct tramp *t);
void tramp_fill_run(struct tramp *t);
void tramp_change(struct tramp *t);
void tramp_keep_session(struct tramp *t, bool ran);
void tramp_end_session(struct tramp *t);
/* Bytes from the stack pointer to what the host had there. */
s32 tramp_above(const struct tramp *t);
/* Where rax is kept as the host has it: the prelude has pushed it, or the frame has it. */
struct tn_mem tramp_host_rax(const struct tramp *t);

#endif
