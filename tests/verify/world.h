/* SPDX-License-Identifier: MIT */
/*
 * What programs of the evaluator find: maps of every kind that a model (models.h) knows, the host's types
 * with the functions that are played, and the program's own type information. In C, of the host:
 *
 *      struct inner { int a, b; };
 *      struct outer { int pid, flags; struct inner nested; struct inner *p; struct inner __rcu *q;
 *                     struct inner __user *u; char comm[16]; char *text; u64 last[2]; };
 *      int hook(struct outer *o, int n, void *raw);        tracing programs are attached to it
 */
#ifndef TESTS_VERIFY_WORLD_H
#define TESTS_VERIFY_WORLD_H

#include "tests/verify/maps.h"
#include "tests/verify/models.h"

struct btf;
struct tn_btf;

/* After the maps of maps.h. */
enum {
    M_OUTER = M_COUNT,
    M_TAIL_CALLS,
    M_EVENTS,
    M_STACKS,
    M_CGROUPS,
    M_QUEUE,
    M_BLOOM,
    M_TRIE,
    M_DEVICES,
    M_USER_RING,
    M_SK_STORAGE,
    M_STRINGS,
    M_SINGLE,
    M_RESILIENT, /* these two for programs for packets only */
    M_LOCKS,
    WORLD_MAPS
};

enum world_kfunc {
#define F(name) W_##name,
    MODEL_KFUNCS(F)
#undef F
        WORLD_KFUNCS
};

/* Types of programs that run in it. */
static const u32 world_types[] = {
    BPF_PROG_TYPE_KPROBE,        BPF_PROG_TYPE_SCHED_CLS,  BPF_PROG_TYPE_XDP,           BPF_PROG_TYPE_TRACING,
    BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_PERF_EVENT, BPF_PROG_TYPE_RAW_TRACEPOINT};

struct world {
    struct tn_verify_map maps[WORLD_MAPS], inner;
    struct btf *host_built, *prog_built;
    struct tn_btf *host, *prog;
    u32 hook, kfunc[WORLD_KFUNCS]; /* ids in host */
    u32 func;                      /* in prog: the type of every function */
};

void world_open(struct world *w);
void world_close(struct world *w);
/* A program in this world, but for its instructions. Functions start at `func`; `room` is filled, and kept as
   long as *ret. */
void world_in(const struct world *w, u32 type, const u32 *func, u32 nfuncs, struct bpf_func_info *room,
              struct tn_verify_in *ret);

#endif
