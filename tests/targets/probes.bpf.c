/* SPDX-License-Identifier: MIT */
/* Counts at the static probe SECTION, and adds up what its arguments are. */
#include <linux/types.h>

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

#include "numbers.bpf.h"

NUMBERS(calls, __u64, 5); /* how often; then a sum an argument */

SEC(SECTION)
int probe(struct pt_regs *ctx)
{
    __u64 *sum;
    long value;
    __u32 k = 0;

    sum = bpf_map_lookup_elem(&calls, &k);
    if (sum)
        __sync_fetch_and_add(sum, 1);
    for (int i = 0; i < 4; i++) {
        k = i + 1;
        sum = bpf_map_lookup_elem(&calls, &k);
        if (sum && bpf_usdt_arg(ctx, i, &value) == 0)
            __sync_fetch_and_add(sum, value);
    }
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
