/* SPDX-License-Identifier: MIT */
/*
 * Counts in an array where every program that ends comes by: what start-up attach is measured with.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} bench_exits SEC(".maps");

SEC("uprobe/libc.so.6:exit")
int exits(void *ctx)
{
    __u32 zero = 0;
    __u64 *calls = bpf_map_lookup_elem(&bench_exits, &zero);

    if (calls)
        *calls += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
