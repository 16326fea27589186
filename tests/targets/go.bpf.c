/* SPDX-License-Identifier: MIT */
/*
 * Counts at many places of a program of Go, a word a place, in the order of go.py's names. ABI0: how symbols call what is
 * written in assembly; Go's own names do not. The ones at `bottom` use all
 * the stack a program may have, and helpers that use more.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "numbers.bpf.h"

NUMBERS(seen, __u64, 96);

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} each_cpu SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, char[192]);
    __type(value, char[192]);
} large SEC(".maps");

static void count(__u32 at)
{
    __u64 *n = bpf_map_lookup_elem(&seen, &at);

    if (n)
        __sync_fetch_and_add(n, 1);
}

#define COUNT(n, kind, function)                                                                             \
    SEC(kind "/targets-go:" function) int place_##n(void *ctx)                                               \
    {                                                                                                        \
        count(n);                                                                                            \
        return 0;                                                                                            \
    }
#define BOTH(n, function) COUNT(n, "uprobe", function) COUNT(n##1, "uretprobe", function)

BOTH(1, "main.leaf")
BOTH(2, "main.deep")
BOTH(3, "main.frugal")
BOTH(4, "main.recovers")

SEC("uprobe/targets-go:main.(*things).get") int place_5(void *ctx)
{
    count(5);
    return 0;
}

/* The C names of two results of `many`: rax, and the text that rbx points to. */
SEC("uretprobe/targets-go:main.many") int place_61(struct pt_regs *ctx)
{
    char text[4] = {};

    bpf_probe_read_user(text, sizeof(text), (void *)ctx->rbx);
    count(text[0] == 't' && text[3] == 't' && ctx->rcx == 4 && (int)ctx->rax >= 204 ? 61 : 60);
    return 0;
}

SEC("uprobe/targets-go:main.many") int place_6(struct pt_regs *ctx)
{
    count(ctx->rax == 1 && ctx->rbx == 2 && ctx->rcx == 3 && ctx->rdi == 4 && ctx->r10 == 8 ? 6 : 60);
    return 0;
}

BOTH(8, "main.spins")

static int deepest(struct pt_regs *ctx, __u32 at)
{
    char key[192] = {1}, value[192] = {2};
    __u32 zero = 0;
    __u64 *n;

    bpf_probe_read_user(value, 128, (void *)ctx->rsp);
    bpf_map_update_elem(&large, key, value, BPF_ANY);
    n = bpf_map_lookup_elem(&each_cpu, &zero);
    if (n)
        ++*n;
    bpf_printk("%d %s %llx", at, key, ctx->rsp);
    count(at);
    return 0;
}

SEC("uprobe/targets-go:main.bottom" ABI0) int place_9(struct pt_regs *ctx)
{
    return deepest(ctx, 9);
}
SEC("uprobe/targets-go:main.bottom" ABI0 "+7") int place_10(struct pt_regs *ctx)
{
    return deepest(ctx, 10);
}

COUNT(20, "uprobe", "main.flagged" ABI0)
SEC("uprobe/targets-go:main.flagged" ABI0 "+9") int place_22(struct pt_regs *ctx)
{
    count(ctx->eflags & 1 ? ctx->eflags & 64 ? 25 : 24 : ctx->eflags & 64 ? 23 : 22);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
