/* SPDX-License-Identifier: MIT */
/*
 * Watches the requests of nginx: how many, and how long nginx was busy with each.
 *
 *   ngx_http_core_run_phases(r)     entry: begun = now                             (the outermost call)
 *        … rewrite, access, content, send, log; for a folder once more inside …
 *   its return                      exit: busy_hist_ns[log2(now − begun)]++        (the outermost return)
 *   ngx_http_free_request(r)        entry: requests++
 *
 * nginx writes a request's access-log line on its way through ngx_http_free_request, or has done so before it
 * comes there: `requests` counts exactly the lines of the access log. Both functions are in the dynamic
 * symbol table of the stripped binary, since modules link to them. ngx_http_core_run_phases leaves by a `ret`
 * only, so its exit hook touches no other function; ngx_http_process_request, the more obvious choice, leaves by
 * tail jumps.
 *
 * A worker has one thread: its process id tells whose call this is.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SLOTS 40 /* 2^39 ns: nine minutes */

struct worker {
    __u64 begun; /* ns */
    __u32 depth; /* calls of ngx_http_core_run_phases under way */
    __u32 pad;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __type(key, __u32);
    __type(value, struct worker);
} workers SEC(".maps");

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
} busy_hist_ns SEC(".maps");

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

/* Attached first: no call is seen to begin whose end could be missed. */
SEC("uretprobe//usr/sbin/nginx:ngx_http_core_run_phases")
int phases_end(struct pt_regs *ctx)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32, slot;
    struct worker *worker = bpf_map_lookup_elem(&workers, &pid);
    __u64 *count;

    if (!worker || worker->depth == 0)
        return 0; /* was on its way already when we came */
    worker->depth -= 1;
    if (worker->depth > 0)
        return 0;
    slot = log2_of(bpf_ktime_get_ns() - worker->begun);
    if (slot >= SLOTS)
        slot = SLOTS - 1;
    count = bpf_map_lookup_elem(&busy_hist_ns, &slot);
    if (count)
        *count += 1;
    return 0;
}

SEC("uprobe//usr/sbin/nginx:ngx_http_core_run_phases")
int phases_begin(struct pt_regs *ctx)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct worker *worker = bpf_map_lookup_elem(&workers, &pid), fresh = {.depth = 1};

    if (!worker) {
        fresh.begun = bpf_ktime_get_ns();
        bpf_map_update_elem(&workers, &pid, &fresh, BPF_ANY);
        return 0;
    }
    if (worker->depth == 0)
        worker->begun = bpf_ktime_get_ns();
    worker->depth += 1;
    return 0;
}

SEC("uprobe//usr/sbin/nginx:ngx_http_free_request")
int request_ends(struct pt_regs *ctx)
{
    __u32 zero = 0;
    __u64 *count = bpf_map_lookup_elem(&requests, &zero);

    if (count)
        *count += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
