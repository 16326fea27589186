/* SPDX-License-Identifier: MIT */
/* Programs for the places of hostile-victim; each counts its runs in a map. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} runs SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} table SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} ring SEC(".maps");

static int counted(__u32 slot)
{
    __u64 *n = bpf_map_lookup_elem(&runs, &slot);

    if (n)
        __sync_fetch_and_add(n, 1);
    return 0;
}

SEC("uprobe/hostile-victim:hot") int on_hot(void *ctx)
{
    return counted(0);
}
/* Reads what is there and what is not: by loads, for which signals are taken over. */
SEC("uprobe/hostile-victim:hot") int on_hot_reading(void *ctx)
{
    __u64 none;

    if (bpf_probe_read_user(&none, sizeof(none), (void *)0x7fffff000000) == -14 && none == 0)
        return counted(0);
    return counted(3);
}
SEC("uretprobe/hostile-victim:hot") int on_hot_exit(void *ctx)
{
    return counted(1);
}
SEC("uprobe/hostile-victim:through") int on_through(void *ctx)
{
    return counted(2);
}
SEC("uprobe/hostile-victim:tiny") int on_tiny(void *ctx)
{
    return counted(3);
}
SEC("uprobe/hostile-victim:brief") int on_brief(void *ctx)
{
    return counted(0);
}
SEC("tracepoint/raw_syscalls/sys_enter") int on_calls(void *ctx)
{
    return counted(2);
}
SEC("uretprobe/hostile-victim:leaves_by_tail") int on_tail_exit(void *ctx)
{
    return counted(3);
}
SEC("uretprobe/hostile-victim:by_table") int on_table_exit(void *ctx)
{
    return counted(3);
}

/* Everything that lives in shared memory and has pointers to mislead: hash, per-CPU values, ring buffer. */
SEC("uprobe/hostile-victim:hot") int on_hot_busy(void *ctx)
{
    __u64 one = 1, *record;
    __u32 key = bpf_get_prandom_u32() % 96;

    counted(0);
    bpf_map_update_elem(&table, &key, &one, BPF_ANY);
    key = (key + 1) % 96;
    bpf_map_delete_elem(&table, &key);
    record = bpf_ringbuf_reserve(&ring, 24, 0);
    if (record) {
        *record = one;
        bpf_ringbuf_submit(record, 0);
    }
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
