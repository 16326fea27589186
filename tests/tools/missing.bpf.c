/* SPDX-License-Identifier: MIT */
/* One program or map for each thing that is not served: its tool loads one at a time
   and says what it was told. */
#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u64);
} lru SEC(".maps");

SEC("kprobe/do_nanosleep")
int kernel_probe(void *ctx)
{
    return 0;
}

SEC("sk_skb/stream_verdict")
int packet(void *ctx)
{
    return 1;
}

SEC("uprobe")
int missing_helper(void *ctx)
{
    return bpf_get_current_task() != 0; /* an address of the kernel's: there is none here */
}

SEC("uprobe")
int missing_map(void *ctx)
{
    __u32 key = 0;

    return bpf_map_lookup_elem(&lru, &key) != 0;
}

char LICENSE[] SEC("license") = "GPL";
