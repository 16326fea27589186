/* SPDX-License-Identifier: MIT */
/* Between the generator's two halves: gen.c keeps beliefs and puts programs together,
   statements.c has the grammar. */
#ifndef TESTS_DIFFERENTIAL_GEN_INT_H
#define TESTS_DIFFERENTIAL_GEN_INT_H

#include "tests/differential/gen.h"
#include "tests/verify/asm.h"

enum belief {
    B_NONE, /* not to be read */
    B_NUM,
    B_STACK, /* of its own frame: offsets from fp */
    B_CTX,
    B_VALUE,
    B_VALUE_NULL,
    B_PACKET,
    B_PACKET_END,
    B_RECORD,
    B_SHARED, /* `room` bytes of a caller's frame */
    B_TYPED,  /* a pointer to the host's struct `room` */
};

struct gen_value {
    u8 kind, map;
    bool pinned; /* kept as it is until its statement ends */
    s32 lo, hi;  /* pointers: offset from the object's start */
    u32 room;    /* B_PACKET, B_RECORD, B_SHARED: bytes that are there */
    u64 max;     /* B_NUM: not greater than this, unsigned */
};

struct gen_state {
    struct gen_value reg[11], slot[GEN_SLOTS]; /* slot k: fp − 8(k+1) */
    bool dead;                                 /* the way ended in exit */
};

struct gen_fix {
    u32 at, sub;
    bool address; /* ld_imm64 of a function rather than a call */
};

/* One function while it is written. */
struct gen_func {
    struct bpf_insn insn[512];
    u32 n;
    struct gen_state now;
    struct gen_fix fix[32];
    u32 nfixes;
    u32 args; /* bit mask is of no use to others: kinds of r1…r5 as they were at the first call */
    struct gen_value arg[6];
    bool global, callback;
    u32 level; /* 0: main */
    u32 held;  /* references, locks: no way out meanwhile */
    bool in_loop;
};

struct gen {
    const struct gen_world *world;
    u64 random;
    u32 type, attach_type;
    const struct gen_hook *hook; /* of typed programs */
    bool slips;
    u32 budget; /* statements left over all functions */
    struct gen_func *func[GEN_MAX_SUBS + 1];
    u32 nfuncs;
    struct gen_func *f; /* the one being written */
};

u64 gen_random(struct gen *g);
u32 gen_pick(struct gen *g, u32 n); /* 0 … n−1 */
bool gen_one_in(struct gen *g, u32 n);
bool gen_slip(struct gen *g); /* break a rule here? */

void gen_put(struct gen *g, struct bpf_insn insn);
u32 gen_here(const struct gen *g);
/* The jump at `at` goes to the next instruction. */
void gen_land(struct gen *g, u32 at);
void gen_join(struct gen_state *into, const struct gen_state *other);
/* A register that may be overwritten; of 0…9, none that is pinned. */
u8 gen_target(struct gen *g);
/* A register of that kind, or −1. */
int gen_find(struct gen *g, u8 kind);
void gen_number(struct gen *g, u8 reg, u64 max);
void gen_after_call(struct gen *g);
void gen_load_map(struct gen *g, u8 reg, u32 map);

/* In statements.c, used by both halves of the grammar. */
#define PUT(...) gen_put(g, (struct bpf_insn)__VA_ARGS__)
#define REG(r)   (g->f->now.reg[r])
s16 gen_slot_off(u32 slot);
s32 gen_constant(struct gen *g);
u8 gen_some_number(struct gen *g);      /* one that is there, or a new one */
u8 gen_bounded(struct gen *g, u32 max); /* one that is not greater, with what proves it */

// clang-format off
/* S(weight, statement) */
#define GEN_STATEMENTS(S) \
    S(12, number)         \
    S(22, arithmetic)     \
    S(4,  ends)           \
    S(14, load)           \
    S(12, store)          \
    S(4,  atomic)         \
    S(9,  move_pointer)   \
    S(10, spill)          \
    S(9,  fill)           \
    S(2,  stack_anywhere) \
    S(8,  context)        \
    S(8,  walk)           \
    S(9,  if)             \
    S(4,  leave)          \
    S(4,  loop)           \
    S(1,  may_goto)       \
    S(2,  iterator)       \
    S(8,  lookup)         \
    S(4,  lookup_or_leave)\
    S(2,  nested)         \
    S(4,  map_change)     \
    S(6,  helper)         \
    S(4,  any_helper)                                                                                        \
    S(4,  ringbuf)        \
    S(2,  lock)           \
    S(6,  packet)         \
    S(4,  call)           \
    S(2,  callback)       \
    S(1,  nonsense)
// clang-format on

#define S(weight, name) void say_##name(struct gen *g, u32 depth);
GEN_STATEMENTS(S)
#undef S

void gen_block(struct gen *g, u32 statements, u32 depth);
/* Writes a function with these arguments; its number. −1: no more of them. */
int gen_function(struct gen *g, const struct gen_value *args, u32 nargs, bool global, bool callback);
void gen_call_fix(struct gen *g, u32 sub, bool address);
void gen_statement(struct gen *g, u32 depth);

#endif
