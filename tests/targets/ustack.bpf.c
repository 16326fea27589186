/* SPDX-License-Identifier: MIT */
/*
 * What bpf_get_stack and bpf_get_stackid answer, in every way of asking: a row each, of the last call at the place.
 * ustack_tool.c prints them; ustack.py compares what Linux puts there with what Tenon does.
 */
#include <linux/types.h>

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

#include "numbers.bpf.h"

#define DEPTH 127
#define ROWS  24
#define USER  BPF_F_USER_STACK

struct row {
    __s64 answer;
    __u64 ip[DEPTH];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, ROWS);
    __type(key, __u32);
    __type(value, struct row);
} rows SEC(".maps");

NUMBERS(calls, __u64, 1);

#define STACKS(name, depth, entries)                                                                         \
    struct {                                                                                                 \
        __uint(type, BPF_MAP_TYPE_STACK_TRACE);                                                              \
        __uint(max_entries, entries);                                                                        \
        __uint(key_size, 4);                                                                                 \
        __uint(value_size, depth * 8);                                                                       \
    } name SEC(".maps")
STACKS(stacks, DEPTH, 1000);
STACKS(shallow, 3, 1000);
STACKS(one, DEPTH, 1); /* there all stacks have the same number */

static struct row *row(__u32 k)
{
    return bpf_map_lookup_elem(&rows, &k);
}

/* What was there before must be gone. */
#define STACK(k, size, flags)                                                                                \
    do {                                                                                                     \
        struct row *r = row(k);                                                                              \
                                                                                                             \
        if (r) {                                                                                             \
            __builtin_memset(r->ip, 0xee, sizeof(r->ip));                                                    \
            r->answer = bpf_get_stack(ctx, r->ip, size, flags);                                              \
        }                                                                                                    \
    } while (0)
#define ID(k, map, flags)                                                                                    \
    do {                                                                                                     \
        struct row *r = row(k);                                                                              \
                                                                                                             \
        if (r)                                                                                               \
            r->answer = bpf_get_stackid(ctx, map, flags);                                                    \
    } while (0)

static __always_inline int look(void *ctx)
{
    __u32 zero = 0;
    __u64 *count = bpf_map_lookup_elem(&calls, &zero);

    STACK(0, DEPTH * 8, USER);
    STACK(1, DEPTH * 8, USER | 1);
    STACK(2, 2 * 8, USER | 2);
    STACK(3, DEPTH * 8, 0); /* the kernel's */
    STACK(4, DEPTH * 8, USER | 1 << 20);
    STACK(5, DEPTH * 8, USER | 255);
    STACK(6, 8, USER | 1 << 9); /* BPF_F_FAST_STACK_CMP means nothing here */
    STACK(7, 12, USER);
    STACK(8, 0, USER);
    STACK(9, DEPTH * 8, BPF_F_USER_BUILD_ID);
    ID(10, &stacks, USER);
    ID(11, &stacks, USER);
    ID(12, &stacks, USER | BPF_F_FAST_STACK_CMP);
    ID(13, &stacks, 0);
    ID(14, &stacks, 1);
    ID(15, &stacks, USER | 1 << 12);
    ID(16, &stacks, USER | 1);
    ID(17, &stacks, USER | 255);
    ID(18, &shallow, USER);
    ID(19, &shallow, USER | 2);
    ID(20, &one, USER);
    ID(21, &one, USER | 1);
    ID(22, &one, USER);
    ID(23, &one, USER | BPF_F_FAST_STACK_CMP | 1);
    if (count)
        __sync_fetch_and_add(count, 1);
    return 0;
}

SEC("uprobe")
int at_place(void *ctx)
{
    return look(ctx);
}

SEC("usdt")
int at_probe(void *ctx)
{
    return look(ctx);
}

SEC("tracepoint")
int at_call(void *ctx)
{
    return look(ctx);
}

SEC("raw_tracepoint")
int at_any_call(void *ctx)
{
    return look(ctx);
}

SEC("fentry/hooked")
int at_enter(void *ctx)
{
    return look(ctx);
}

SEC("fexit/hooked")
int at_leave(void *ctx)
{
    return look(ctx);
}

char LICENSE[] SEC("license") = "GPL";
