/* SPDX-License-Identifier: MIT */
/*
 * Everything of an attach but the other process: programs are verified, compiled and laid out with their
 * pool, the embedded agent image is mapped, and functions of this very program are planned from its own file
 * and patched. What runs then is, byte for byte, what runs in a target.
 *
 *     near   trampolines, displaced instructions, hooks, gates, agent image, program text   (within 2 GiB of
 *                                                                                            main)
 *
 * Nobody may be inside a function while it is patched.
 */
#ifndef TN_TESTS_INPROC_H
#define TN_TESTS_INPROC_H

#include <linux/bpf.h>

#include "jit/jit.h"
#include "rewrite/abi.h"
#include "rewrite/module.h"
#include "rewrite/trampoline.h"
#include "rt/signals.h"

#define I(code_, dst, src, off_, imm_)                                                                       \
    ((struct bpf_insn){                                                                                      \
        .code = (u8)(code_), .dst_reg = (dst), .src_reg = (src), .off = (s16)(off_), .imm = (s32)(imm_)})
#define LDMAP(d, map) I(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, map), I(0, 0, 0, 0, 0)
#define CALL(helper)  I(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define EXIT          I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#define INPROC_HOOKS 24u

/* A program with up to four maps, ready to be hooked. */
struct inproc_prog {
    struct tn_facts facts;
    u32 footprint;
    u64 entry; /* in this process */
    struct tn_map map[4];
    u32 nmaps;
    /* For programs of type tracing, filled before they are loaded: the host's types, the function, what else
       of the host the program names. */
    const struct tn_btf *host;
    u32 func, attach_type;
    struct tn_host_ref ref[8];
    u32 nrefs;
    bool full_calls; /* as if at an exit */
    bool careful;    /* unverified: all loads are of memory that may not be there */
    enum tn_replace replace;
    struct tn_typed_args args;
};

struct inproc {
    struct inproc_near {
        u8 text[2 * INPROC_HOOKS][TN_TRAMPOLINE_MAX];
        struct tn_hook hook[INPROC_HOOKS];
        u64 head[INPROC_HOOKS];
        u8 gate[INPROC_HOOKS];
        struct tn_proc proc;
        u8 code[1 << 20]; /* agent image and programs */
    } * near;
    struct tn_private *priv; /* wiped in children, as in a target */
    struct tn_cpu_claim *claims;
    struct tn_link_stats *stats; /* shared with children; one a hook */
    struct tn_module *self;
    u64 agent, enter, leave; /* addresses in the mapped image */
    u64 bias;                /* of this program */
    u64 *marks;              /* of calls that are left by tail jumps; each plan has an id of its own */
    u32 ncpu, nhooks, ntexts, nplans, code_used;
    u32 kept; /* of code_used: the agent */
    struct {
        u64 addr;
        u8 bytes[TN_PATCH_MAX], len;
        u8 place;
        u64 hook_at;
    } undo[INPROC_HOOKS]; /* one a hook */
    struct {
        void *at;
        u64 size;
    } table[INPROC_HOOKS]; /* of kept arguments */
    u32 ntables;
};

/* All return 0 or a negative errno with `err` filled. What was mapped stays for the life of the process. */
int inproc_init(struct inproc *p, struct tn_error *err);
/* Adds a map; its index is the one that LDMAP names. */
int inproc_map(struct inproc *p, struct inproc_prog *prog, u32 type, u32 key_size, u32 value_size,
               u32 max_entries, struct tn_error *err);
int inproc_load(struct inproc *p, struct inproc_prog *prog, const struct bpf_insn *insns, u32 ninsns,
                struct tn_error *err);

/* What no verifier has seen: every instruction is reached, prog->facts is believed, without maps. For what a
   program has to be trusted for by more than a rule of the verifier's. */
#define INPROC_UNVERIFIED 64u
int inproc_load_unverified(struct inproc *p, struct inproc_prog *prog, const struct bpf_insn *insns,
                           u32 ninsns, struct tn_error *err);

/* How a hook may differ from what an injector makes of the facts. */
struct inproc_how {
    bool closed;      /* its gate */
    bool follow;      /* children of the process too */
    bool agent_only;  /* no inlined way: the thread pointer may not be read */
    bool rdfsbase;    /* the thread pointer is read by the instruction for it */
    bool agent_claim; /* no inlined claim of a CPU */
    bool called;      /* never part of the trampoline */
    bool apart;       /* displaced instructions are never part of it */
    u32 footprint;    /* instead of the program's own, if not 0 */
};
/* The first hook's index (one for each patch) goes to *ret_hook; hook k is program k of the process. Where
   arguments are to be kept until an exit, the hook before that one is the entry's. */
int inproc_hook(struct inproc *p, const char *symbol, void *fn, enum tn_place_kind place,
                const struct inproc_prog *prog, const struct inproc_how *how, u32 *ret_hook,
                struct tn_error *err);

/* SIGSEGV and SIGBUS become ours, as the injector makes them: reads are loads while ret_signals->loads is not 0. */
int inproc_take_faults(struct inproc *p, struct tn_signals **ret_signals);

/* Unpatches all functions and forgets all programs; maps stay. */
void inproc_rewind(struct inproc *p);

#endif
