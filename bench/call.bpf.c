/* SPDX-License-Identifier: MIT */
/* Counts calls of getppid in an array map as they are entered. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} bench_calls SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getppid")
int call(void *ctx)
{
    __u32 zero = 0;
    __u64 *calls = bpf_map_lookup_elem(&bench_calls, &zero);

    if (calls)
        *calls += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
