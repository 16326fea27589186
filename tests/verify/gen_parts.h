/* SPDX-License-Identifier: MIT */
/* What the files of the generator share; see gen.h. */
#ifndef TESTS_VERIFY_GEN_PARTS_H
#define TESTS_VERIFY_GEN_PARTS_H

#include "tests/verify/gen.h"

#define VALUE_SIZE 64
#define PUT(...)   gen_put(g, (struct bpf_insn)__VA_ARGS__)
#define ALL(...)                                                                                             \
    gen_put_all(g, (const struct bpf_insn[]){__VA_ARGS__},                                                   \
                sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn))

static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

/* What is called, and so settled when functions are placed at the end. */
enum {
    CALLS_NUMBER,
    CALLS_MOVED,
    CALLS_LOOKUP,
    CALLS_OTHER,
    CALLS_LOOP,
    CALLS_EACH,
    CALLS_DRAIN,
    CALLS_KINDS
};

u64 gen_rnd(struct gen *g);
u32 gen_pick(struct gen *g, u32 n);
void gen_put(struct gen *g, struct bpf_insn i);
void gen_put_all(struct gen *g, const struct bpf_insn *insns, size_t n);
u8 gen_scalar(struct gen *g);
s32 gen_number(struct gen *g);
/* After a call: numbers again in what it took. */
void gen_renew(struct gen *g);
void gen_context(struct gen *g, u8 reg);

/* A few instructions each. */
void gen_alu(struct gen *g);
void gen_jump(struct gen *g);
void gen_bound(struct gen *g, u8 reg, s32 limit, s16 over);
void gen_map(struct gen *g);
void gen_spill(struct gen *g);
void gen_body(struct gen *g);
void gen_object(struct gen *g);

#endif
