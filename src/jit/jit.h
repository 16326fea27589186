/* SPDX-License-Identifier: MIT */
/*
 * eBPF to x86-64. Output is position-independent text that reaches everything outside itself through a pool
 * of eight-byte words that stands right *before* it:
 *
 *        text − pool_size                      text (page aligned)
 *        │ slot 0 │ slot 1 │ … │ unused │      │ code … int3 │
 *
 * so that the text can be one sealed memfd, mapped by all targets, while each target has a pool of its own.
 *
 * Registers: R0 rax, R1 rdi, R2 rsi, R3 rdx, R4 rcx, R5 r8, R6 rbx, R7 r13, R8 r14, R9 r15, R10 rbp; r12 is
 * the run (struct tn_run *), passed to helpers in r9; r10 and r11 are scratch. rbx, rbp and r12 … r15 are
 * saved by a function only if it uses them, rsp is aligned to 16 at every call, and a function that calls
 * nothing may use the red zone. Vector registers are never touched; flags are lost.
 */
#ifndef TN_JIT_H
#define TN_JIT_H

#include <stddef.h>

#include "verify/verify.h"

enum tn_pool_kind {
    TN_POOL_HELPER,   /* address of helper `index` (its number) */
    TN_POOL_MAP,      /* address of this process's struct tn_map of maps[index] */
    TN_POOL_MAP_DATA, /* address of byte `offset` of the memory of maps[index] */
    TN_POOL_HOST, /* address of what refs[index] names, as this process has it; `offset` is where it stands in
                     its module's file */
    TN_POOL_AGENT, /* address of the agent's routine `index`: enum tn_agent_routine */
};

/* What compiled code reaches in the agent besides helpers (agent/routines.S). */
enum tn_agent_routine {
    TN_ROUTINE_CALL,         /* a function of the host is called through it: which one depends on the place */
    TN_ROUTINE_COPY,         /* tenon_copy, called as a helper: of an object that is there … */
    TN_ROUTINE_COPY_CAREFUL, /* … that may not be … */
    TN_ROUTINE_COPY_PROMISED, /* … whose bytes are there as well */
    TN_ROUTINE_READ, /* r10 bytes (1, 2, 4 or 8) at r11 into r11, zero-extended; 0 where they are not there */
};
struct tn_pool_entry {
    u32 kind, index;
    u64 offset;
};

/*
 * Where the engines find the packet of a __sk_buff: user space's struct, whose data and data_end are
 * addresses below 4 GiB, and behind it where the link and the network header begin, which the loads of
 * classic BPF count from.
 */
struct tn_skb {
    struct __sk_buff user;
    u32 mac, net;
};
#define TN_SKB_DATA     offsetof(struct tn_skb, user.data)
#define TN_SKB_DATA_END offsetof(struct tn_skb, user.data_end)
#define TN_SKB_MAC      offsetof(struct tn_skb, mac)
#define TN_SKB_NET      offsetof(struct tn_skb, net)

/* What a program names of its host by a type's id: functions it calls, variables whose address it takes. */
enum tn_named_kind {
    TN_NAMED_FUNC,
    TN_NAMED_VAR,
    TN_NAMED_COPY,           /* tenon_copy: the agent's */
    TN_NAMED_SESSION_RETURN, /* bpf_session_is_return: the run's own, as the next */
    TN_NAMED_SESSION_COOKIE,
    TN_NAMED_REPLACE, /* tenon_replace(ctx, value): answers in the function's place; no function of the host
                       */
};
struct tn_host_ref {
    u32 btf_id; /* as in the instruction's imm */
    u8 kind;    /* enum tn_named_kind */
    u8 result;  /* of a function: bytes of its result, 0 for none */
    bool result_signed;
    u64 addr; /* virtual address in the module's file */
};

/* A verified program, as the engines take it. Nothing is owned. */
struct tn_program {
    const struct bpf_insn *insns; /* as verified: map indices in two-slot loads */
    u32 ninsns;
    const struct tn_map_geo *maps;
    u32 nmaps;
    const struct tn_insn_aux *aux;
    const struct tn_subprog *subprogs;
    u32 nsubprogs;
    const struct tn_facts *facts;
    const struct tn_host_ref *refs; /* one a function or variable of the host that the program names */
    u32 nrefs;
};

/* tn_code.footprint. The low half: caller-saved general registers that the program, with all it calls, may
   leave changed, a bit per enum tn_x86_reg; rax is always among them, so that 0 can stand for "not known". */
#define TN_FOOT_REGS 0xffffu
#define TN_FOOT_CTX  0x10000u /* takes its first argument */
#define TN_FOOT_RUN  0x20000u /* takes its second */

struct tn_code {
    u8 *text;
    u32 text_len; /* bytes, padded with int3 to a multiple of the page size */
    u32 entry;    /* offset of the program's first instruction */
    struct tn_pool_entry *pool;
    u32 npool;
    u32 pool_size; /* bytes before the text, a multiple of the page size, never 0 */
    u32 *insn_off; /* ninsns: offset of each instruction's code, for people */
    u32 footprint; /* what a run touches, so that whoever calls it saves and prepares no more: TN_FOOT_* */
    u32 stack; /* bytes of native stack a run needs, return addresses and callee-saved registers included; not
                   what a helper uses itself */
};

/* −ENOTSUP with `err` for an instruction it cannot translate (none that the verifier accepts). */
int tn_jit(const struct tn_program *prog, struct tn_code *ret_code, struct tn_error *err);
void tn_code_clear(struct tn_code *code);

/*
 * The same code object in this very process (tests, bench, the confined helper process): maps pool and text
 * W^X and resolves the pool with `maps` (this process's views) and the hosted helpers. Released by
 * tn_code_unmap.
 */
struct tn_code_map {
    void *mem;
    u64 len;
    tn_prog_fn fn;
};
int tn_code_map(const struct tn_code *code, struct tn_map *const *maps, struct tn_code_map *ret_map);
void tn_code_unmap(struct tn_code_map *map);

#endif
