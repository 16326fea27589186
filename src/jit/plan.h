/* SPDX-License-Identifier: MIT */
/*
 * Between the parts of the compiler:
 *
 *     analyse.c   decides, instruction by instruction, what need not be compiled and what may be compiled
 *                 better
 *     lower.c     one instruction (or a fused group) to machine code, following the decision (lower.h: with whom)
 *     jit.c       calls them: layout passes until jumps no longer shrink, prologues, the pool
 *
 * Decisions are data (struct jit_insn), made once; lowering runs in every pass and must come to the same code
 * each time but for the length of jumps, which only ever shrink. That is why the passes end.
 */
#ifndef TN_JIT_PLAN_H
#define TN_JIT_PLAN_H

#include "isa/ops.h"
#include "jit/jit.h"
#include "x86/encode.h"

/* How an instruction is compiled. */
enum jit_how {
    JIT_PLAIN,          /* by its row */
    JIT_DEAD,           /* never reached: a trap */
    JIT_SKIP,           /* no effect that anyone sees, or part of a group compiled with an earlier one */
    JIT_NEVER_TAKEN,    /* conditional jump that falls through always */
    JIT_ALWAYS_TAKEN,   /* conditional jump that is a jump */
    JIT_LEA,            /* mov d, s; add d, imm → lea (2 instructions) */
    JIT_EXTEND,         /* mov d, s; lsh d, 32; rsh or arsh d, 32 → mov or movsxd (3; 2 without the mov) */
    JIT_STORE_IMM,      /* mov r, imm; store r → store imm (2), r not needed after */
    JIT_RMW_IMM,        /* load r; op r, imm; store r → op [mem], imm (3), r not needed after */
    JIT_RMW_REG,        /* load r; op r, s; store r → op [mem], s (3), r not needed after */
    JIT_ARRAY,          /* map_lookup_elem of an array, index in memory at R2 */
    JIT_ARRAY_CONST,    /* the same, index known and in range: an address */
    JIT_PERCPU,         /* map_lookup_elem of a per-CPU array */
    JIT_PERCPU_CONST,   /* the same, index known and in range */
    JIT_COOKIE,         /* get_attach_cookie: run->hook->cookie */
    JIT_FUNC_IP,        /* get_func_ip: run->hook->func_ip */
    JIT_PID_TGID,       /* get_current_pid_tgid: from memory, where that holds both; else a call */
    JIT_SESSION_RETURN, /* bpf_session_is_return: run->session */
    JIT_SESSION_COOKIE, /* bpf_session_cookie: address of run->value */
    JIT_ANSWER,         /* bpf_override_return, tenon_replace: run->value, run->replaced */
    JIT_HOST_CALL,      /* a function of the host, through the agent */
    JIT_COPY,           /* tenon_copy: bytes of a buffer of the host's, by the agent */
    JIT_LOOP,           /* bpf_loop: a loop around calls of its function */
    JIT_ROUNDS,         /* another helper that calls back: the same, asking it for each round */
    JIT_CAREFUL,        /* load of memory that may not be there, by the agent */
};

struct jit_insn {
    u8 how;       /* enum jit_how */
    u8 slots;     /* instruction slots consumed by `how`, 1 … 4 */
    u8 jump_size; /* decided by jit.c: 4, 1 or 0 (falls through); shrinks only */
    u8 sub;       /* index of its subprogram */
    bool target;  /* a jump leads here */
    u16 live_out; /* registers R0 … R10 whose value is needed after it, a bit each */
};

struct jit_sub {
    u16 saved;  /* callee-saved registers of x86 in use, a bit per enum tn_x86_reg */
    bool frame; /* R10 is used: rbp, and `stack` bytes below it */
    bool loops; /* has a may_goto: eight bytes below its stack count */
    bool calls; /* leaves the function, so the stack is aligned and really allocated */
    u32 rounds; /* bytes below all that: what a call that calls back remembers */
    u32 stack;  /* bytes below rbp */
    u64 zero;   /* of these, eight-byte slots to be cleared first: tn_subprog.zero */
    u32 entry;  /* offset of the prologue */
};

struct jit {
    const struct tn_program *prog;
    struct tn_error *err;
    struct jit_insn *plan; /* ninsns */
    struct jit_sub *subs;  /* nsubprogs */
    bool needs_run;        /* some instruction needs r12 */
    u32 footprint;         /* tn_code.footprint */
    struct tn_asm a;
    u32 *off, *end;           /* code of each instruction: first byte, and the byte after its last */
    u32 *prev_off, *prev_end; /* the same in the pass before */
    u32 pass;
    bool shrinking; /* jumps may still get shorter */
    struct tn_pool_entry *pool;
    u32 npool;
};

/* Fills plan[] and subs[]. −ENOTSUP for what cannot be translated,
   −EINVAL for what no verifier lets through. */
int jit_analyse(struct jit *j);

/* Code of insns[at], or of the group that starts there. */
int jit_lower(struct jit *j, u32 at);
/* The n-th instruction of the group at `at`, skipped ones not counted; 0 is insns[at]. */
const struct bpf_insn *jit_member(const struct jit *j, u32 at, u32 n);
void jit_prologue(struct jit *j, const struct jit_sub *sub, bool main);
/* Bytes that a call that calls back (JIT_LOOP, JIT_ROUNDS) keeps in the frame. */
u32 jit_rounds_size(u8 how);
/* Bytes of native stack of one function, return address included. */
u32 jit_frame_size(const struct jit_sub *sub);

/* Rip-relative place of a pool slot, allocated on first use. */
struct tn_mem jit_pool(struct jit *j, u32 kind, u32 index, u64 offset);

/* The reference that a call by type or a two-slot load names; NULL: none. */
const struct tn_host_ref *jit_ref(const struct jit *j, const struct bpf_insn *in, u32 *ret_index);

/* Registers as jit.h promises them. */
extern const u8 jit_reg[11];
#define JIT_RUN TN_R12
#define JIT_TMP TN_R11
#define JIT_TM2 TN_R10

#endif
