/* SPDX-License-Identifier: MIT */
/*
 * Counts at SECTION: all calls, those of each process, and (EACH) of each function. Increments are atomic: many threads and processes
 * come here at once, and the tests compare exact numbers.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "numbers.bpf.h"

NUMBERS(calls, __u64, 1);

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, __u32); /* process id */
    __type(value, __u64);
} by_pid SEC(".maps");

#ifdef EACH
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, __u64); /* its address */
    __type(value, __u64);
} each SEC(".maps");

static void count_function(void *ctx)
{
    __u64 none = 0, at = bpf_get_func_ip(ctx), *count = bpf_map_lookup_elem(&each, &at);

    if (!count) {
        bpf_map_update_elem(&each, &at, &none, BPF_NOEXIST);
        count = bpf_map_lookup_elem(&each, &at);
    }
    if (count)
        __sync_fetch_and_add(count, 1);
}
#endif

SEC(SECTION)
int counter(void *ctx)
{
    __u32 zero = 0, pid = (__u32)(bpf_get_current_pid_tgid() >> 32);
    __u64 none = 0, *count = bpf_map_lookup_elem(&calls, &zero);

#ifdef ASKS /* what takes a system call */
    char comm[16];

    if (bpf_get_current_comm(comm, sizeof(comm)) == 0 && !comm[0])
        return 0;
#ifdef NEEDS /* counts only where it is answered */
    if (bpf_get_current_comm(comm, sizeof(comm)) || (__s64)bpf_get_current_uid_gid() < 0)
        return 0;
#endif
    if (bpf_get_current_uid_gid() == 1)
        return 0;
#endif
#ifdef CLOCKS /* what takes the time stamp counter, or a system call */
    if (!bpf_ktime_get_ns() || !bpf_ktime_get_boot_ns() || bpf_get_prandom_u32() == bpf_get_prandom_u32())
        return 0;
#endif
#ifdef EACH
    count_function(ctx);
#endif
    if (count)
        __sync_fetch_and_add(count, 1);
    count = bpf_map_lookup_elem(&by_pid, &pid);
    if (!count) {
        bpf_map_update_elem(&by_pid, &pid, &none, BPF_NOEXIST);
        count = bpf_map_lookup_elem(&by_pid, &pid);
    }
    if (count)
        __sync_fetch_and_add(count, 1);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
