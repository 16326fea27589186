/* SPDX-License-Identifier: MIT */
/*
 * A grammar of programs, wider than any compiler's habits. A program is a block; a block is a run of
 * statements; a statement is a row of GEN_STATEMENTS, chosen by weight among those that can be said now:
 *
 *     block ─▶ statement*        statement ─▶ arithmetic │ memory │ call │ if block else block │ loop block
 *                                             │ look-up, NULL check, block │ reserve, block, submit │ …
 *
 * While it writes, the generator keeps what it believes of registers and stack slots (kind of value, rough
 * bounds), so that most statements are sensible: programs that are refused at their first load teach nothing.
 * Where two ways meet, only what both believe stays. A `slip` is a rule broken on purpose (a check left out,
 * a bound too wide, a wrong register): one program in three makes some.
 *
 * What comes out is a `struct rec` without a verdict: replay's machinery and the kernel's take it as any
 * recording. The same seed gives the same program.
 */
#ifndef TESTS_DIFFERENTIAL_GEN_H
#define TESTS_DIFFERENTIAL_GEN_H

#include "tests/differential/recording.h"

#define GEN_MAX_INSNS 2048u
#define GEN_MAX_SUBS  8u
#define GEN_SLOTS     16u /* of 8 bytes: what programs use of their frame */

enum gen_map {
    GEN_ARRAY,
    GEN_HASH,
    GEN_PERCPU,
    GEN_LRU,
    GEN_RINGBUF,
    GEN_RODATA,
    GEN_TABLE,
    GEN_PROGS,
    GEN_EVENTS,
    GEN_QUEUE,
    GEN_NESTED,
    GEN_LOCKED,
    GEN_STACKS,
    GEN_INNER, /* not the program's: what GEN_NESTED holds */
    GEN_MAPS
};

/* Kernel functions by name, from the host's types; 0: not there. */
struct gen_kfuncs {
    u32 iter_new, iter_next, iter_destroy, rcu_lock, rcu_unlock;
};

/* What typed programs are attached to: a function of the kernel's or a tracepoint, with its arguments. */
#define GEN_MAX_ARGS 6u
struct gen_hook {
    u32 attach, btf_id, nargs;
    u32 arg[GEN_MAX_ARGS + 1]; /* the struct it points to; 0: a number. Behind the last: what is returned */
};

/* What never changes between programs: maps, types. */
struct gen_world {
    struct rec_map map[GEN_MAPS];
    u8 rodata[64];
    void *btf; /* raw, owned */
    u32 btf_size;
    u32 func_static, func_global, func_main; /* their ids in it */
    struct gen_kfuncs kfuncs;
    struct btf *host; /* owned; NULL: none */
    struct gen_hook hook[64];
    u32 nhooks;
};
/* `host`: with kernel functions of the running kernel; without, programs are the same on every machine. */
int gen_world_open(struct gen_world *w, bool host);
void gen_world_close(struct gen_world *w);
/* Some member of a struct of the host's: where it lies, how large it is, and the struct it points to (0: a
   number). False: none that can be read. */
bool gen_member(const struct gen_world *w, u32 type, u64 random, u32 *ret_off, u32 *ret_size, u32 *ret_to);

struct gen_program {
    struct rec rec; /* borrows all below and the world */
    struct rec_program program;
    struct rec_verdict verdict;
    struct bpf_insn insns[GEN_MAX_INSNS];
    struct bpf_func_info funcs[GEN_MAX_SUBS + 1];
    bool slips; /* rules were broken on purpose */
};
void gen_program(const struct gen_world *w, u64 seed, struct gen_program *ret);

#endif
