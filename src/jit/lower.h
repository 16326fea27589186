/* SPDX-License-Identifier: MIT */
/*
 * Between the files that lower: lower.c, by the kind of an instruction; lower_alu.c, arithmetic; lower_call.c, calls
 * that are compiled otherwise. Each function emits the code of one instruction, in every pass alike.
 */
#ifndef TN_JIT_LOWER_H
#define TN_JIT_LOWER_H

#include "jit/plan.h"

/* lower.c. Where a function's code begins, by the layout of the pass before. */
s64 jit_entry_of(const struct jit *j, u32 sub);
/* Bytes of a function's frame below rbp: its stack, and what it counts and remembers. */
u32 jit_frame_bytes(const struct jit_sub *sub);

/* lower_alu.c */
enum tn_x86_alu jit_alu_of(u8 code);
void jit_lower_alu(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes);
void jit_lower_end(struct jit *j, const struct bpf_insn *in, enum tn_op op);

/* lower_call.c, a function a decision (enum jit_how) */
void jit_lower_loop(struct jit *j, u32 at);
void jit_lower_rounds(struct jit *j, u32 at, const struct bpf_insn *in);
void jit_lower_lookup(struct jit *j, u32 at, u8 how);
void jit_lower_hook_word(struct jit *j, u32 offset);
void jit_lower_pid_tgid(struct jit *j);
void jit_lower_host_call(struct jit *j, const struct bpf_insn *in);
void jit_lower_copy(struct jit *j, u32 at);
void jit_lower_careful(struct jit *j, u32 at, const struct bpf_insn *in);
void jit_lower_answer(struct jit *j);

static inline bool jit_is_power_of_two(u64 v)
{
    return v && !(v & (v - 1));
}

static inline struct tn_mem jit_mem_of(const struct bpf_insn *in, u8 bpf_reg)
{
    return tn_mem_base(jit_reg[bpf_reg], in->off);
}

#endif
