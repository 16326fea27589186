/* SPDX-License-Identifier: MIT */
/*
 * What a hook costs the function it stands at: functions of this very program are hooked with what the
 * verifier, the compiler and the agent's image make of real programs (tests/rewrite/inproc.h), and timed
 * against their unhooked twin, in rounds that take turns. One JSON object a line.
 *
 * The functions are called as by somebody who needs the result: each call's argument is the result of the one
 * before.
 */
#include <errno.h>
#include <pthread.h>

#include <bpf/btf.h>

#include "bench/figure.h"
#include "inproc.h"

// clang-format off
#define FUNCTIONS(X) \
    X(plain) X(closed) X(empty) X(args) X(count) X(atomic) X(percpu) X(both) X(span) X(result) X(kept) X(landing)
// clang-format on

#define X(name)                                                                                              \
    __attribute__((noinline, aligned(64))) u64 hot_##name(u64 a, u64 b);                                     \
    u64 hot_##name(u64 a, u64 b)                                                                             \
    {                                                                                                        \
        __asm__ volatile("" : "+r"(a), "+r"(b));                                                             \
        return (a ^ b) * 3 + b;                                                                              \
    }
FUNCTIONS(X)
#undef X

/* Leaves by a jump. */
__attribute__((noinline, aligned(64))) u64 hot_tail(u64 a, u64 b);
u64 hot_tail(u64 a, u64 b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return hot_landing(a, b);
}

/* *(u32 *)(r10 + off) = r1;  r0 = map_lookup_elem(map, r10 + off) */
#define LOOK_UP(map, off)                                                                                    \
    I(BPF_STX | BPF_MEM | BPF_W, 10, 1, off, 0), I(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),                \
        I(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, off), LDMAP(1, map), CALL(BPF_FUNC_map_lookup_elem)
#define INC_R0                                                                                               \
    I(BPF_LDX | BPF_MEM | BPF_DW, 1, 0, 0, 0), I(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1),                   \
        I(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0)
#define SET(d, imm)           I(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, imm)
#define IF_ZERO(d, off)       I(BPF_JMP | BPF_JEQ | BPF_K, d, 0, off, 0)
#define IF_BELOW(d, imm, off) I(BPF_JMP | BPF_JLE | BPF_K, d, 0, off, imm)
#define ADD(d, imm)           I(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, imm)
#define SHR(d, imm)           I(BPF_ALU64 | BPF_RSH | BPF_K, d, 0, 0, imm)

static const struct bpf_insn empty[] = {SET(0, 0), EXIT};
static const struct bpf_insn args[] = {/* count += (u32)first argument & 1 */
                                       I(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0),
                                       SET(1, 0),
                                       LOOK_UP(0, -4),
                                       IF_ZERO(0, 5),
                                       I(BPF_LDX | BPF_MEM | BPF_DW, 1, 6, offsetof(struct tn_pt_regs, di),
                                         0),
                                       I(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, 1),
                                       I(BPF_LDX | BPF_MEM | BPF_DW, 2, 0, 0, 0),
                                       I(BPF_ALU64 | BPF_ADD | BPF_X, 2, 1, 0, 0),
                                       I(BPF_STX | BPF_MEM | BPF_DW, 0, 2, 0, 0),
                                       SET(0, 0),
                                       EXIT};
static const struct bpf_insn count[] = {SET(1, 0), LOOK_UP(0, -4), IF_ZERO(0, 3), INC_R0, SET(0, 0), EXIT};
static const struct bpf_insn atomic[] = {SET(1, 0),
                                         LOOK_UP(0, -4),
                                         IF_ZERO(0, 2),
                                         SET(1, 1),
                                         I(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
                                         SET(0, 0),
                                         EXIT};
static const struct bpf_insn begins[] = {SET(1, 0),
                                         LOOK_UP(0, -4),
                                         I(BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0),
                                         IF_ZERO(6, 2),
                                         CALL(BPF_FUNC_ktime_get_ns),
                                         I(BPF_STX | BPF_MEM | BPF_DW, 6, 0, 0, 0),
                                         SET(0, 0),
                                         EXIT};
/* log2 of the time since, counted in an array of 64 */
static const struct bpf_insn ends[] = {SET(1, 0),
                                       LOOK_UP(0, -4),
                                       I(BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0),
                                       IF_ZERO(6, 26),
                                       CALL(BPF_FUNC_ktime_get_ns),
                                       I(BPF_LDX | BPF_MEM | BPF_DW, 1, 6, 0, 0),
                                       I(BPF_ALU64 | BPF_SUB | BPF_X, 0, 1, 0, 0),
                                       SET(1, 0),
                                       IF_BELOW(0, 0xff, 2),
                                       SET(1, 8),
                                       SHR(0, 8),
                                       IF_BELOW(0, 0xf, 2),
                                       ADD(1, 4),
                                       SHR(0, 4),
                                       IF_BELOW(0, 3, 2),
                                       ADD(1, 2),
                                       SHR(0, 2),
                                       SHR(0, 1),
                                       I(BPF_ALU64 | BPF_AND | BPF_K, 0, 0, 0, 1),
                                       I(BPF_ALU64 | BPF_ADD | BPF_X, 1, 0, 0, 0),
                                       LOOK_UP(1, -8),
                                       IF_ZERO(0, 3),
                                       INC_R0,
                                       SET(0, 0),
                                       EXIT};

#define WORD(d, n) I(BPF_LDX | BPF_MEM | BPF_DW, d, 1, 8 * (n), 0)
static const struct bpf_insn result[] = {WORD(2, 2), SET(0, 0), EXIT};
static const struct bpf_insn kept[] = {WORD(2, 0), WORD(3, 1), WORD(4, 2), SET(0, 0), EXIT};

static double timed(u64 (*volatile fn)(u64, u64))
{
    double begun = now();
    u64 sum = 0;

    for (u64 i = 0; i < CALLS; i++)
        sum = fn(sum, i);
    __asm__ volatile("" ::"r"(sum));
    return (now() - begun) / CALLS;
}

/* Two threads at once that begin together: nanoseconds a call of the slower one. */
static u64 (*volatile both_call)(u64, u64);
static pthread_barrier_t both_begin;

static void *one_of_two(void *ret)
{
    pthread_barrier_wait(&both_begin);
    *(double *)ret = timed(both_call);
    return NULL;
}

static double timed_by_two(u64 (*fn)(u64, u64))
{
    double ns[2] = {0, 0};
    pthread_t other;

    both_call = fn;
    pthread_barrier_init(&both_begin, NULL, 2);
    if (pthread_create(&other, NULL, one_of_two, &ns[1]))
        return 0;
    one_of_two(&ns[0]);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&both_begin);
    return TN_MAX(ns[0], ns[1]);
}

static double clock_read(void)
{
    double begun = now();

    for (u32 i = 0; i < CALLS; i++)
        now();
    return (now() - begun) / CALLS;
}

static struct inproc in;
static struct inproc_prog progs[10];
static u32 nprogs;

struct map {
    u32 type, value_size, entries;
};

static struct inproc_prog *load(const struct bpf_insn *insns, u32 n, const struct map *maps, u32 nmaps,
                                struct tn_error *err)
{
    struct inproc_prog *prog = &progs[nprogs++];
    int r = 0;

    for (u32 i = 0; !r && i < nmaps; i++)
        r = inproc_map(&in, prog, maps[i].type, 4, maps[i].value_size, maps[i].entries, err);
    if (!r)
        r = inproc_load(&in, prog, insns, n, err);
    return r ? NULL : prog;
}
#define LOAD(insns, ...)                                                                                     \
    load(insns, TN_ARRAY_SIZE(insns), (struct map[]){__VA_ARGS__},                                           \
         sizeof((struct map[]){__VA_ARGS__}) / sizeof(struct map), err)

/* A program of type tracing at the exit of a function as ours are. */
static struct inproc_prog *load_typed(const struct bpf_insn *insns, u32 n, struct tn_error *err)
{
    struct inproc_prog *prog = &progs[nprogs++];
    struct btf *types = btf__new_empty();
    const void *data;
    u32 size;
    int id = btf__add_int(types, "long", 8, 0), proto = btf__add_func_proto(types, id);

    btf__add_func_param(types, "a", id);
    btf__add_func_param(types, "b", id);
    prog->func = (u32)btf__add_func(types, "hot", BTF_FUNC_GLOBAL, proto);
    prog->attach_type = BPF_TRACE_FEXIT;
    data = btf__raw_data(types, &size);
    if (!data || tn_btf_open(data, size, NULL, (struct tn_btf **)&prog->host, err) ||
        inproc_load(&in, prog, insns, n, err))
        return NULL;
    btf__free(types);
    return prog;
}
#define LOAD_TYPED(insns) load_typed(insns, TN_ARRAY_SIZE(insns), err)

static int hook_all(struct inproc_prog **ret_count, struct inproc_prog **ret_end, struct tn_error *err)
{
    const struct map counter = {BPF_MAP_TYPE_ARRAY, 8, 1};
    struct inproc_prog *nothing = LOAD(empty, counter), *with_args = LOAD(args, counter),
                       *array = LOAD(count, counter), *locked = LOAD(atomic, counter),
                       *own = LOAD(count, {BPF_MAP_TYPE_PERCPU_ARRAY, 8, 1}), *begin = LOAD(begins, counter),
                       *end = LOAD(ends, counter, {BPF_MAP_TYPE_ARRAY, 8, 64}),
                       *of_result = LOAD_TYPED(result), *of_kept = LOAD_TYPED(kept);
    const struct {
        const char *name;
        void *fn;
        const struct inproc_prog *prog;
        enum tn_place_kind place;
        struct inproc_how how;
    } hooks[] = {
        {"hot_closed", hot_closed, array, TN_PLACE_ENTRY, {.closed = true}},
        {"hot_empty", hot_empty, nothing, TN_PLACE_ENTRY, {0}},
        {"hot_args", hot_args, with_args, TN_PLACE_ENTRY, {0}},
        {"hot_count", hot_count, array, TN_PLACE_ENTRY, {0}},
        {"hot_atomic", hot_atomic, locked, TN_PLACE_ENTRY, {0}},
        {"hot_percpu", hot_percpu, own, TN_PLACE_ENTRY, {0}},
        {"hot_both", hot_both, nothing, TN_PLACE_ENTRY, {0}},
        {"hot_both", hot_both, nothing, TN_PLACE_EXIT, {0}},
        {"hot_span", hot_span, begin, TN_PLACE_ENTRY, {0}},
        {"hot_span", hot_span, end, TN_PLACE_EXIT, {0}},
        {"hot_result", hot_result, of_result, TN_PLACE_EXIT, {0}},
        {"hot_kept", hot_kept, of_kept, TN_PLACE_EXIT, {0}},
        {"hot_tail", hot_tail, nothing, TN_PLACE_EXIT, {0}},
    };

    if (!nothing || !with_args || !array || !locked || !own || !begin || !end || !of_result || !of_kept)
        return -EINVAL;
    end->map[0] = begin->map[0];
    if (inproc_load(&in, end, ends, TN_ARRAY_SIZE(ends), err))
        return -EINVAL;
    for (u32 i = 0; i < TN_ARRAY_SIZE(hooks); i++)
        if (inproc_hook(&in, hooks[i].name, hooks[i].fn, hooks[i].place, hooks[i].prog, &hooks[i].how, NULL,
                        err))
            return -EINVAL;
    *ret_count = array;
    *ret_end = end;
    return 0;
}

static u64 sum_of(const struct inproc_prog *prog, u32 map, u32 n)
{
    u64 sum = 0;

    for (u32 i = 0; i < n; i++)
        sum += *(u64 *)tn_map_lookup(&prog->map[map], &i, -1);
    return sum;
}

int main(void)
{
    static const struct {
        const char *name, *ratio;
        u64 (*fn)(u64, u64);
        const char *goal;
    } rows[] = {
        {"plain call", NULL, hot_plain, ""},
        {"hooked, gate closed", "hooked / plain, gate closed", hot_closed, ""},
        {"hooked, empty program", "hooked / plain, empty program", hot_empty, ""},
        {"hooked, program that reads an argument", "hooked / plain, argument read", hot_args, ""},
        {"hooked, array counter", "hooked / plain, array counter", hot_count, "≤ 4"},
        {"hooked, array counter, atomic", "hooked / plain, array counter, atomic", hot_atomic, ""},
        {"hooked, per-CPU counter", "hooked / plain, per-CPU counter", hot_percpu, ""},
        {"hooked entry and exit, empty programs", "hooked / plain, entry and exit, empty programs", hot_both,
         ""},
        {"hooked exit, program that reads the result", "hooked / plain, exit, result read", hot_result, ""},
        {"hooked exit, program that reads both arguments and the result",
         "hooked / plain, exit, arguments and result read", hot_kept, ""},
        {"hooked exit by a tail jump, empty program", "hooked / plain, exit by a tail jump, empty program",
         hot_tail, ""},
        {"function that a tail jump leads to, called by itself",
         "hooked / plain, tail jump's target by itself", hot_landing, ""},
        {"hooked entry and exit, timestamp and histogram", NULL, hot_span, ""},
    };
    enum { ROWS = TN_ARRAY_SIZE(rows) };
    static double ns[ROWS][ROUNDS], ratio[ROUNDS], clock[ROUNDS], added[ROUNDS];
    const u64 calls = (u64)(ROUNDS + 1) * CALLS;
    struct inproc_prog *counted, *spans;
    struct tn_error err = {0};
    int r = inproc_init(&in, &err);

    if (!r)
        r = hook_all(&counted, &spans, &err);
    if (r) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 1;
    }
    for (u32 i = 0; i < ROWS; i++)
        timed(rows[i].fn);
    for (u32 k = 0; k < ROUNDS; k++) {
        for (u32 i = 0; i < ROWS; i++)
            ns[i][k] = timed(rows[i].fn);
        clock[k] = clock_read();
        added[k] = ns[ROWS - 1][k] - ns[0][k] - 2 * clock[k];
    }
    if (sum_of(counted, 0, 1) != calls || sum_of(spans, 1, 64) != calls) {
        fprintf(stderr, "of %llu calls %llu were counted and %llu timed\n", (unsigned long long)calls,
                (unsigned long long)sum_of(counted, 0, 1), (unsigned long long)sum_of(spans, 1, 64));
        return 1;
    }
    for (u32 i = 0; i < ROWS; i++) {
        for (u32 k = 0; k < ROUNDS; k++)
            ratio[k] = ns[i][k] / ns[0][k];
        if (rows[i].ratio)
            figure(rows[i].ratio, ratio, "ratio", rows[i].goal);
    }
    /* Beside the plain function: two processors may share what they calculate with. */
    for (u32 i = 0; i <= 2; i += 2) {
        for (u32 k = 0; k < ROUNDS; k++) {
            double one = timed(rows[i].fn);

            ratio[k] = timed_by_two(rows[i].fn) / one;
        }
        figure(i ? "two threads / one, per call, hooked, empty program"
                 : "two threads / one, per call, plain",
               ratio, "ratio", i ? "≤ 1.05" : "");
    }
    figure("entry + exit with timestamp and histogram, added, less two clock reads", added, "ns", "≤ 15 ns");
    for (u32 i = 0; i < ROWS; i++)
        figure(rows[i].name, ns[i], "ns", "");
    figure("clock read", clock, "ns", "");
    return 0;
}
