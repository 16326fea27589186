/* SPDX-License-Identifier: MIT */
/*
 * Watches the requests of nginx: how many, and how long each took.
 *
 *   ngx_http_create_request returns r    start[r] = now                                  (exit hook)
 *        … parse, handle, send, log …
 *   ngx_http_free_request(r)             requests++, latency[log2(now − start[r])]++     (entry hook)
 *
 * nginx writes a request's access-log line on its way through ngx_http_free_request, or has done so before it
 * comes there: `requests` counts exactly the lines of the access log. Both functions are in the dynamic
 * symbol table of the stripped binary, since modules link to them. ngx_http_create_request leaves by one
 * `ret` only, so its exit hook misses no way out; ngx_http_process_request, the more obvious choice, leaves
 * by tail jumps.
 *
 * Two workers have requests at the same addresses: the process id is part of the key.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SLOTS 40 /* 2^39 ns: nine minutes */

struct request {
    __u64 address;
    __u32 pid;
    __u32 pad;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, struct request);
    __type(value, __u64);
} start SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} requests SEC(".maps");

/* Fifteen characters are what a map's name may have; the end of it says the unit. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, SLOTS);
    __type(key, __u32);
    __type(value, __u64);
} latency_hist_ns SEC(".maps");

static __always_inline __u32 log2_of(__u64 value)
{
    __u32 slot = 0, shift;

    shift = (value > 0xffffffff) << 5;
    value >>= shift;
    slot |= shift;
    shift = (value > 0xffff) << 4;
    value >>= shift;
    slot |= shift;
    shift = (value > 0xff) << 3;
    value >>= shift;
    slot |= shift;
    shift = (value > 0xf) << 2;
    value >>= shift;
    slot |= shift;
    shift = (value > 0x3) << 1;
    value >>= shift;
    slot |= shift;
    return slot | (__u32)(value >> 1);
}

SEC("uretprobe//usr/sbin/nginx:ngx_http_create_request")
int request_begins(struct pt_regs *ctx)
{
    struct request key = {.address = PT_REGS_RC(ctx), .pid = bpf_get_current_pid_tgid() >> 32};
    __u64 now = bpf_ktime_get_ns();

    if (key.address)
        bpf_map_update_elem(&start, &key, &now, BPF_ANY);
    return 0;
}

SEC("uprobe//usr/sbin/nginx:ngx_http_free_request")
int request_ends(struct pt_regs *ctx)
{
    struct request key = {.address = PT_REGS_PARM1(ctx), .pid = bpf_get_current_pid_tgid() >> 32};
    __u32 zero = 0, slot;
    __u64 *begun, *count;

    count = bpf_map_lookup_elem(&requests, &zero);
    if (count)
        *count += 1;
    begun = bpf_map_lookup_elem(&start, &key);
    if (!begun)
        return 0; /* was on its way already when we came */
    slot = log2_of(bpf_ktime_get_ns() - *begun);
    bpf_map_delete_elem(&start, &key);
    if (slot >= SLOTS)
        slot = SLOTS - 1;
    count = bpf_map_lookup_elem(&latency_hist_ns, &slot);
    if (count)
        *count += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
