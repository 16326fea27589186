/* SPDX-License-Identifier: MIT */
/* What an argument (WHICH) of the function at SECTION leads to is read, by eight bytes and as a string. */
#include <linux/types.h>

#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "numbers.bpf.h"

NUMBERS(calls, __u64, 4); /* how often; looks that read, looks that did not, what was neither */

static void count(__u32 k)
{
    __u64 *n = bpf_map_lookup_elem(&calls, &k);

    if (n)
        __sync_fetch_and_add(n, 1);
}

SEC(SECTION)
int faults(struct pt_regs *ctx)
{
    const void *at = (const void *)WHICH(ctx);
    __u64 value = 1;
    char text[16];
    long r = bpf_probe_read_user(&value, sizeof(value), at), len;

    text[0] = 1;
    len = bpf_probe_read_user_str(text, sizeof(text), at);
    count(0);
    if (r == 0 && value == 0x6e6f6e6574 && len == 6 && text[0] == 't')
        count(1);
    else if (r == -14 && value == 0 && len == -14 && text[0] == 0)
        count(2);
    else
        count(3);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
