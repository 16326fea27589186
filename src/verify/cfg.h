/* SPDX-License-Identifier: MIT */
/*
 * The text of a program, before any path is followed: is every instruction one that eBPF defines, which
 * instructions form a function, where do jumps lead, is everything reached. Loops are allowed (the paths show
 * whether they end); recursion is not.
 *
 *      insns   0      4           9         ninsns
 *              │ main │ subprog 1 │ subprog 2 │       a function starts where a call leads, and ends where
 *              └──────┴───────────┴───────────┘       the next one starts; control never crosses a border
 *                                                     but by call and exit
 *
 * Checked here once, so that the rest never asks again: operation codes, register numbers, unused fields,
 * two-slot loads being whole, jump and call targets. R10 is never written.
 */
#ifndef TN_VERIFY_CFG_H
#define TN_VERIFY_CFG_H

#include <linux/bpf.h>

#include "isa/insn.h"
#include "verify/state.h"

struct vf;

#ifndef BPF_JCOND
#define BPF_JCOND 0xe0 /* a jump that the run decides; its one kind is may_goto */
#endif

#define TN_MAX_SUBPROGS 256u
#define TN_MAX_INSNS    1000000u

struct tn_flow {
    u16 subprog;
    bool second; /* second slot of a two-slot load */
    bool target; /* ways may meet here: the target of a jump, the start of a function, what follows a call */
    bool jump_target;
    bool writes_fp; /* refused where a path meets it: as in Linux, dead code may hold it */
    u8 loop;        /* enum tn_loop */
    u16 live;       /* registers read from here on, bit a register (live.c) */
};

struct tn_sub {
    u32 start, end;
    u32 depth;                   /* bytes of stack its frame was seen to use */
    u64 zero;                    /* slots of its frame that may be read before they are written, bit a slot */
    bool sleeps, changes_packet; /* what a call in it, or below, may do */
    bool calls_host;             /* … a function of a process, for which a claim of a CPU is given back */
    bool async;                  /* called back when the program is over */
    bool callback;               /* called back by somebody else's code, now or later */
    bool throws;                 /* global: something may be thrown in it, or below */
    bool global;                 /* verified on its own; calls of it assume nothing of its result */
    u64 longest;                 /* global: instructions of its longest path */
    u64 calls[4]; /* global, and the program itself: which global functions it calls, a bit each */
};

struct tn_cfg {
    struct tn_flow *flow; /* one an instruction */
    struct tn_sub sub[TN_MAX_SUBPROGS];
    u32 nsubs;
    u32 exception; /* the function called when something was thrown; 0: none, what was thrown is the result */
    /* Functions, callees before callers. */
    u16 order[TN_MAX_SUBPROGS];
};

int tn_cfg_build(struct vf *v);
/* The instruction throws: a call of bpf_throw(). */
bool tn_insn_throws(const struct vf *v, u32 pc);

/* Where an instruction may go next inside its function: 0, 1 or 2 places. */
u32 tn_cfg_next(const struct bpf_insn *insns, u32 pc, u32 ret_next[2]);

static inline bool tn_insn_is_ld_imm64(const struct bpf_insn *insn)
{
    return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}
static inline bool tn_insn_is_jump_class(const struct bpf_insn *insn)
{
    return BPF_CLASS(insn->code) == BPF_JMP || BPF_CLASS(insn->code) == BPF_JMP32;
}
static inline bool tn_insn_is_call(const struct bpf_insn *insn)
{
    return insn->code == (BPF_JMP | BPF_CALL);
}
static inline bool tn_insn_is_subprog_call(const struct bpf_insn *insn)
{
    return tn_insn_is_call(insn) && insn->src_reg == BPF_PSEUDO_CALL;
}
/* The packet loads of classic BPF: R0 = what the packet R6 holds at imm, or at imm + src. */
static inline bool tn_insn_is_packet_load(const struct bpf_insn *insn)
{
    return BPF_CLASS(insn->code) == BPF_LD &&
           (BPF_MODE(insn->code) == BPF_ABS || BPF_MODE(insn->code) == BPF_IND);
}
/* Atomic in the encoding, loads and stores in everything else. */
static inline bool tn_insn_is_load_acquire(const struct bpf_insn *insn)
{
    return BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC &&
           insn->imm == BPF_LOAD_ACQ;
}
static inline bool tn_insn_is_store_release(const struct bpf_insn *insn)
{
    return BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC &&
           insn->imm == BPF_STORE_REL;
}
/* Between the address spaces of user space and of arenas; imm says which way. */
static inline bool tn_insn_is_cast(const struct bpf_insn *insn)
{
    return insn->code == (BPF_ALU64 | BPF_MOV | BPF_X) && insn->off == 1;
}
/* A two-slot load of a function of the program, to be called back. */
static inline bool tn_insn_is_func_ref(const struct bpf_insn *insn)
{
    return tn_insn_is_ld_imm64(insn) && insn->src_reg == BPF_PSEUDO_FUNC;
}
/* Both name a function by its distance from the instruction that follows. */
static inline bool tn_insn_names_func(const struct bpf_insn *insn)
{
    return tn_insn_is_subprog_call(insn) || tn_insn_is_func_ref(insn);
}
static inline u32 tn_size_bytes(u8 code)
{
    static const u8 bytes[] = {4, 2, 1, 8}; /* BPF_W, BPF_H, BPF_B, BPF_DW */
    return bytes[BPF_SIZE(code) >> 3];
}

#endif
