/* SPDX-License-Identifier: MIT */
/* What a skeleton-based tool usually has: a ring buffer, a hash, constants,
   initialised and zeroed global data. */
#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct event {
    __u32 pid;
    int a, b;
    __u64 serial;
};

const volatile int only_below = 1000; /* .rodata */
int factor = 3;                       /* .data */
__u64 calls;                          /* .bss */
__u64 returned;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} by_arg SEC(".maps");

SEC("uprobe")
int BPF_KPROBE(on_add, int a, int b)
{
    __u32 key = a;
    __u64 one = 1, *count;
    struct event *e;

    if (a >= only_below)
        return 0;
    __sync_fetch_and_add(&calls, factor);
    count = bpf_map_lookup_elem(&by_arg, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&by_arg, &key, &one, BPF_ANY);
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->a = a;
    e->b = b;
    e->serial = calls;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("uretprobe")
int BPF_KRETPROBE(on_add_return, int ret)
{
    __sync_fetch_and_add(&returned, ret);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
