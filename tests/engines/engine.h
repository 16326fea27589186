/* SPDX-License-Identifier: MIT */
/*
 * Both engines on one program, without a verifier: the facts it would have found are made here, all of them
 * the most careful ones (everything is live, no map or key is known) unless a test says otherwise.
 */
#ifndef TN_TESTS_ENGINE_H
#define TN_TESTS_ENGINE_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on

#include "isa/ops.h"
#include "jit/jit.h"
#include "vm/vm.h"

#define I(code_, dst, src, off_, imm_)                                                                       \
    ((struct bpf_insn){                                                                                      \
        .code = (u8)(code_), .dst_reg = (dst), .src_reg = (src), .off = (s16)(off_), .imm = (s32)(imm_)})
#define MOV_K(d, imm)               I(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, imm)
#define MOV_X(d, s)                 I(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define ALU_K(op, d, imm)           I(BPF_ALU64 | (op) | BPF_K, d, 0, 0, imm)
#define ALU_X(op, d, s)             I(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define LDX(size, d, s, off)        I(BPF_LDX | BPF_MEM | (size), d, s, off, 0)
#define STX(size, d, s, off)        I(BPF_STX | BPF_MEM | (size), d, s, off, 0)
#define ST(size, d, off, imm)       I(BPF_ST | BPF_MEM | (size), d, 0, off, imm)
#define ATOMIC(size, d, s, off, op) I(BPF_STX | BPF_ATOMIC | (size), d, s, off, op)
#define LD64(d, v)                  I(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (u32)(u64)(v)), I(0, 0, 0, 0, (u64)(v) >> 32)
#define LDMAP(d, map)               I(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, map), I(0, 0, 0, 0, 0)
#define LDVALUE(d, map, off)        I(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_VALUE, 0, map), I(0, 0, 0, 0, off)
#define LDFUNC(d, off)              I(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_FUNC, 0, off), I(0, 0, 0, 0, 0)
#define JMP_K(op, d, imm, off)      I(BPF_JMP | (op) | BPF_K, d, 0, off, imm)
#define JMP_X(op, d, s, off)        I(BPF_JMP | (op) | BPF_X, d, s, off, 0)
#define JA(off)                     I(BPF_JMP | BPF_JA, 0, 0, off, 0)
#define CALL(helper)                I(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define CALL_FN(off)                I(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)
#define EXIT                        I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#define MAX_MAPS 8

struct engine {
    struct bpf_insn *insns;
    struct tn_insn_aux *aux;
    struct tn_subprog subprogs[16];
    struct tn_map_geo geos[MAX_MAPS];
    struct tn_map views[MAX_MAPS], *maps[MAX_MAPS];
    struct tn_facts facts;
    struct tn_program prog;
    struct tn_code code;
    struct tn_code_map mapped;
    bool compiled;
};

/* A program of `n` instructions; its functions are found by its calls. Ends the test on failure. */
void engine_init(struct engine *e, const struct bpf_insn *insns, u32 n);
#define ENGINE_INIT(e, insns) engine_init(e, insns, TN_ARRAY_SIZE(insns))
/* Adds a real map in memory of this process; returns its index. */
u32 engine_add_map(struct engine *e, u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 ncpu);
void engine_clear(struct engine *e);

/* Run with a context on one engine; a NULL run gets an empty one with CPU 0 claimed. */
u64 engine_vm(struct engine *e, void *ctx, struct tn_run *run);
u64 engine_jit(struct engine *e, void *ctx, struct tn_run *run);
/* Compiles without running. */
void engine_compile(struct engine *e);
/* Number of x86 instructions before the padding. */
u32 engine_count_insns(struct engine *e);
/* Text of the compiled program, a line an instruction, into buf. */
void engine_text(struct engine *e, char *buf, size_t size);

/* Small reproducible random numbers (splitmix64). */
static inline u64 rnd(u64 *state)
{
    u64 z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

#endif
