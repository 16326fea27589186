/* SPDX-License-Identifier: MIT */
/* Counts the marked calls of targets-torture, by what they are. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "numbers.bpf.h"

enum { CALLS, HANDLED, RETURNS, LEAPS, KINDS };
enum { MARKED = 1, IN_HANDLER = 2 };

NUMBERS(marked, __u64, KINDS);

static __always_inline int count(__u32 kind)
{
    __u64 *sum = bpf_map_lookup_elem(&marked, &kind);

    if (sum)
        __sync_fetch_and_add(sum, 1);
    return 0;
}

SEC("uprobe/targets-torture:hot")
int entered(struct pt_regs *ctx)
{
    __u64 mark = PT_REGS_PARM1(ctx);

    return mark == MARKED ? count(CALLS) : mark == IN_HANDLER ? count(HANDLED) : 0;
}

SEC("uretprobe/targets-torture:hot")
int returned(struct pt_regs *ctx)
{
    return (__u64)PT_REGS_RC(ctx) >> 32 == MARKED ? count(RETURNS) : 0;
}

SEC("uprobe/targets-torture:leaves")
int left(struct pt_regs *ctx)
{
    return PT_REGS_PARM1(ctx) == MARKED ? count(LEAPS) : 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
