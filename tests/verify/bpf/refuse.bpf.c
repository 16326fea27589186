// SPDX-License-Identifier: MIT
/* One mistake a program. The line that must be named carries the comment REFUSED(program, reason). */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64[8]);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

SEC("uprobe")
int no_null_check(void *ctx)
{
    __u32 key = bpf_get_prandom_u32();
    __u64 *value = bpf_map_lookup_elem(&counts, &key);

    *value = 1; /* REFUSED(no_null_check, maybe_null) */
    return 0;
}

SEC("uprobe")
int index_too_far(void *ctx)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&counts, &key), i = bpf_get_prandom_u32();

    if (!value || i > 8)
        return 0;
    value[i] = 1; /* REFUSED(index_too_far, map_bounds) */
    return 0;
}

SEC("uprobe")
int leak(void *ctx)
{
    __u64 *e = bpf_ringbuf_reserve(&events, 8, 0);

    if (!e)
        return 0;
    if (bpf_get_prandom_u32() & 1)
        return 0;
    bpf_ringbuf_submit(e, 0);
    return 0; /* leak: told at the way out */
}

SEC("uprobe")
int helper_not_here(void *ctx)
{
    return bpf_redirect_map(&counts, 0, 0); /* REFUSED(helper_not_here, unknown_helper) */
}
