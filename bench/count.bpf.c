/* SPDX-License-Identifier: MIT */
/* Counts calls at SECTION in an array map: the cheapest useful program. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} bench_calls SEC(".maps");

SEC(SECTION)
int count(void *ctx)
{
    __u32 zero = 0;
    __u64 *calls = bpf_map_lookup_elem(&bench_calls, &zero);

    if (calls)
        *calls += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
