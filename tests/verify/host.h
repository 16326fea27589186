/* SPDX-License-Identifier: MIT */
/*
 * A host's types, made by hand. In C:
 *
 *      struct inner { int a, b; };
 *      struct outer { int pid; int flags : 3; struct inner nested; struct inner *p; struct inner __rcu *q;
 *                     struct inner __user *u; char comm[16]; char *text; u64 last[2]; struct inner tail[]; };
 *      int hook(struct outer *o, int n, void *raw);
 *      tracepoint tp(struct outer *o, struct inner *i__nullable);
 *      struct inner a_struct; int an_int; struct inner __percpu one_a_cpu;
 */
#ifndef TESTS_VERIFY_HOST_H
#define TESTS_VERIFY_HOST_H

#include <assert.h>

#include "btf/btf.h"

/* X(name in C, word in the program) */
// clang-format off
#define HOST_NAMES(X)                                                                                        \
    X(inner) X(a) X(b) X(outer) X(pid) X(flags) X(nested) X(p) X(q) X(u) X(comm) X(text) X(last) X(tail)     \
    X(hook) X(o) X(n) X(raw) X(rcu) X(user) X(i__nullable) X(btf_trace_tp) X(__traceiter_tp) X(data)         \
    X(other) X(variadic) X(bpf_iter_bpf_map_elem) X(meta) X(map) X(key) X(value) X(a_struct) X(an_int)       \
    X(one_a_cpu) X(integer) X(character) X(word)
// clang-format on
static const struct {
    char zero[1];
#define X(name) char name[sizeof(#name)];
    HOST_NAMES(X)
#undef X
    char percpu[sizeof(".data..percpu")];
} host_names = {
#define X(name) .name = #name,
    HOST_NAMES(X)
#undef X
        .percpu = ".data..percpu",
};
#define N(name) offsetof(__typeof__(host_names), name)

enum {
    H_VOID,
    H_INT,
    H_CHAR,
    H_WORD,
    H_INNER,
    H_INNER_PTR,
    H_RCU,
    H_RCU_PTR,
    H_USER,
    H_USER_PTR,
    H_COMM,
    H_TEXT,
    H_LAST,
    H_TAIL,
    H_OUTER,
    H_OUTER_PTR,
    H_VOID_PTR,
    H_HOOK_PROTO,
    H_HOOK,
    H_TP_PROTO,
    H_TP_PTR,
    H_TP,
    H_TPI_PROTO,
    H_TPI,
    H_TYPEDEF,
    H_VARIADIC_PROTO,
    H_VARIADIC,
    H_ITER_PROTO,
    H_ITER,
    H_VAR_STRUCT,
    H_VAR_INT,
    H_VAR_PERCPU,
    H_PERCPU
};

#define HT(name, kind, vlen, kflag, size) (name), (u32)(kflag) << 31 | BTF_KIND_##kind << 24 | (vlen), (size)

static inline struct tn_btf *host_open(struct tn_error *err)
{
    // clang-format off
    static const u32 types[] = {
        /* int, char, u64 */
        HT(N(integer), INT, 0, 0, 4), 1 << 24 | 32,
        HT(N(character), INT, 0, 0, 1), 8,
        HT(N(word), INT, 0, 0, 8), 64,
        HT(N(inner), STRUCT, 2, 0, 8), N(a), H_INT, 0, N(b), H_INT, 32,
        HT(0, PTR, 0, 0, H_INNER),
        HT(N(rcu), TYPE_TAG, 0, 0, H_INNER),
        HT(0, PTR, 0, 0, H_RCU),
        HT(N(user), TYPE_TAG, 0, 0, H_INNER),
        HT(0, PTR, 0, 0, H_USER),
        HT(0, ARRAY, 0, 0, 0), H_CHAR, H_INT, 16,
        HT(0, PTR, 0, 0, H_CHAR),
        HT(0, ARRAY, 0, 0, 0), H_WORD, H_INT, 2,
        HT(0, ARRAY, 0, 0, 0), H_INNER, H_INT, 0,
        HT(N(outer), STRUCT, 10, 1, 80),
            N(pid), H_INT, 0, N(flags), H_INT, 3 << 24 | 32, N(nested), H_INNER, 64, N(p), H_INNER_PTR, 128,
            N(q), H_RCU_PTR, 192, N(u), H_USER_PTR, 256, N(comm), H_COMM, 320, N(text), H_TEXT, 448,
            N(last), H_LAST, 512, N(tail), H_TAIL, 640,
        HT(0, PTR, 0, 0, H_OUTER),
        HT(0, PTR, 0, 0, H_VOID),
        HT(0, FUNC_PROTO, 3, 0, H_INT), N(o), H_OUTER_PTR, N(n), H_INT, N(raw), H_VOID_PTR,
        HT(N(hook), FUNC, 1, 0, H_HOOK_PROTO),
        HT(0, FUNC_PROTO, 3, 0, H_VOID), 0, H_VOID_PTR, 0, H_OUTER_PTR, 0, H_INNER_PTR,
        HT(0, PTR, 0, 0, H_TP_PROTO),
        HT(N(btf_trace_tp), TYPEDEF, 0, 0, H_TP_PTR),
        HT(0, FUNC_PROTO, 3, 0, H_INT), N(data), H_VOID_PTR, N(o), H_OUTER_PTR, N(i__nullable), H_INNER_PTR,
        HT(N(__traceiter_tp), FUNC, 0, 0, H_TPI_PROTO),
        HT(N(other), TYPEDEF, 0, 0, H_TP_PTR),
        HT(0, FUNC_PROTO, 2, 0, H_INT), N(n), H_INT, 0, 0,
        HT(N(variadic), FUNC, 1, 0, H_VARIADIC_PROTO),
        HT(0, FUNC_PROTO, 4, 0, H_INT), N(meta), H_INNER_PTR, N(map), H_OUTER_PTR, N(key), H_VOID_PTR, N(value), H_VOID_PTR,
        HT(N(bpf_iter_bpf_map_elem), FUNC, 1, 0, H_ITER_PROTO),
        HT(N(a_struct), VAR, 0, 0, H_INNER), 1,
        HT(N(an_int), VAR, 0, 0, H_INT), 1,
        HT(N(one_a_cpu), VAR, 0, 0, H_INNER), 1,
        HT(N(percpu), DATASEC, 1, 0, 8), H_VAR_PERCPU, 0, 8,
    };
    // clang-format on
    u8 data[sizeof(struct btf_header) + sizeof(types) + sizeof(host_names)];
    struct btf_header h = {.magic = BTF_MAGIC,
                           .version = BTF_VERSION,
                           .hdr_len = sizeof(h),
                           .type_len = sizeof(types),
                           .str_off = sizeof(types),
                           .str_len = sizeof(host_names)};
    struct tn_btf *btf = NULL;

    memcpy(data, &h, sizeof(h));
    memcpy(data + sizeof(h), types, sizeof(types));
    memcpy(data + sizeof(h) + sizeof(types), &host_names, sizeof(host_names));
    if (tn_btf_open(data, sizeof(data), NULL, &btf, err))
        return NULL;
    assert(tn_btf_count(btf) == H_PERCPU + 1);
    return btf;
}

#define LDSYM(d, id) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_BTF_ID, 0, id), INSN(0, 0, 0, 0, 0)

#endif
