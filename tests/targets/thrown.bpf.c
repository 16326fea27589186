/* SPDX-License-Identifier: MIT */
/* Arguments and results of functions of throws.cc, through which exceptions fly: how many go together. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "numbers.bpf.h"

NUMBERS(seen, long, 2);

static void count(__u32 at)
{
    long *slot = bpf_map_lookup_elem(&seen, &at);

    if (slot)
        __sync_fetch_and_add(slot, 1);
}

SEC("fexit/passes")
int BPF_PROG(passes_both, unsigned long a, unsigned long result)
{
    count(result == a + 1 ? 0 : 1);
    return 0;
}

SEC("fexit/catches")
int BPF_PROG(catches_both, unsigned long a, unsigned long result)
{
    count(result == (a % 2 == 0) ? 0 : 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
