/* SPDX-License-Identifier: MIT */
/* Prints at each call, and counts: what is printed goes by one piece of memory, whichever object the program is of. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "numbers.bpf.h"

NUMBERS(calls, __u64, 1);

SEC("uprobe/targets-forker:hooked")
int prints(void *ctx)
{
    __u32 zero = 0;
    __u64 *count = bpf_map_lookup_elem(&calls, &zero);

    bpf_printk("called");
    if (count)
        __sync_fetch_and_add(count, 1);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
