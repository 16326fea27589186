/* SPDX-License-Identifier: MIT */
/* How long each call of bench_span takes, as a histogram: a timestamp at the entry, another at the exit. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} bench_begun SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} span_hist_ns SEC(".maps");

SEC("uprobe/bench-target:bench_span")
int begins(void *ctx)
{
    __u32 zero = 0;
    __u64 *begun = bpf_map_lookup_elem(&bench_begun, &zero);

    if (begun)
        *begun = bpf_ktime_get_ns();
    return 0;
}

SEC("uretprobe/bench-target:bench_span")
int ends(void *ctx)
{
    __u32 zero = 0, slot = 0;
    __u64 *begun = bpf_map_lookup_elem(&bench_begun, &zero), *count, ns;

    if (!begun)
        return 0;
    ns = bpf_ktime_get_ns() - *begun;
    if (ns > 0xff) {
        slot = 8;
        ns >>= 8;
    }
    if (ns > 0xf) {
        slot += 4;
        ns >>= 4;
    }
    if (ns > 0x3) {
        slot += 2;
        ns >>= 2;
    }
    slot += (ns >> 1) & 1;
    count = bpf_map_lookup_elem(&span_hist_ns, &slot);
    if (count)
        *count += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
