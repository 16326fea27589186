// SPDX-License-Identifier: MIT
/* What tools are made of: counters, a histogram, a ring buffer, global data, loops, functions. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct event {
    __u64 pid, ts;
    char comm[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u64);
    __type(value, __u64);
} start SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 32);
    __type(key, __u32);
    __type(value, __u64);
} hist SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

const volatile __u64 limit = 7;
__u64 total;

char LICENSE[] SEC("license") = "GPL";

SEC("uprobe")
int count_entry(void *ctx)
{
    __u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();

    bpf_map_update_elem(&start, &id, &now, BPF_ANY);
    __sync_fetch_and_add(&total, 1);
    return 0;
}

static __always_inline __u32 log2l(__u64 v)
{
    __u32 r = 0;

    for (int i = 0; i < 6; i++) {
        __u32 shift = 32u >> i;

        if (v >> shift) {
            v >>= shift;
            r += shift;
        }
    }
    return r;
}

SEC("uretprobe")
int histogram_exit(void *ctx)
{
    __u64 id = bpf_get_current_pid_tgid(), *then, *slot;
    __u32 key;

    then = bpf_map_lookup_elem(&start, &id);
    if (!then)
        return 0;
    key = log2l(bpf_ktime_get_ns() - *then);
    if (key > 31)
        key = 31;
    slot = bpf_map_lookup_elem(&hist, &key);
    if (slot)
        *slot += 1;
    bpf_map_delete_elem(&start, &id);
    return 0;
}

static __noinline int fill(struct event *e, __u64 pid)
{
    e->pid = pid;
    e->ts = bpf_ktime_get_ns();
    return bpf_get_current_comm(e->comm, sizeof(e->comm));
}

SEC("uprobe")
int ring_event(void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

    if (!e)
        return 0;
    if (fill(e, bpf_get_current_pid_tgid() >> 32)) {
        bpf_ringbuf_discard(e, 0);
        return 0;
    }
    bpf_ringbuf_submit(e, 0);
    return 0;
}

__noinline int score(int x)
{
    int sum = 0;

    for (int i = 0; i < 50; i++)
        if ((x >> (i & 7)) & 1)
            sum += i;
    return sum;
}

SEC("uprobe")
int loop_string(void *ctx)
{
    char buf[64] = {};
    __u64 n = 0;

    bpf_probe_read_user_str(buf, sizeof(buf), ctx);
    for (int i = 0; i < 64; i++) {
        if (!buf[i])
            break;
        n += buf[i] == '/';
    }
    bpf_printk("%d slashes %d", n, score(limit));
    return 0;
}
