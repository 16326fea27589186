/* SPDX-License-Identifier: MIT */
/*
 * An extension with a bug that would crash nginx, and that is found before it runs: the element of a hash map
 * may not be there, and the program uses it without looking.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u64);
    __type(value, __u64);
} seen SEC(".maps");

SEC("uprobe//usr/sbin/nginx:ngx_http_free_request")
int forgets_to_look(struct pt_regs *ctx)
{
    __u64 request = PT_REGS_PARM1(ctx);
    __u64 *count = bpf_map_lookup_elem(&seen, &request);

    *count += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
