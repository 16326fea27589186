/* SPDX-License-Identifier: MIT */
/*
 * System calls, counted as they are entered and left, by number; what the last of each was called with and answered;
 * and whether between two marks (alarm) each process entered any.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "numbers.bpf.h"

#define NR_ALARM 37
#define MAX      512

struct entered {
    __u64 common;
    __s64 nr;
    __u64 arg[6];
};
struct left {
    __u64 common;
    __s64 nr, result;
};

NUMBERS(entered_n, __u64, MAX);
NUMBERS(left_n, __u64, MAX);
NUMBERS(marked_n, __u64, MAX);
NUMBERS(args, __u64[6], MAX);
NUMBERS(results, __s64, MAX);

static int marks, marker; /* by process `marker` */

static void count(void *map, __u32 nr)
{
    __u64 *n = bpf_map_lookup_elem(map, &nr);

    if (n)
        __sync_fetch_and_add(n, 1);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int every_enter(struct entered *c)
{
    __u64 arg[] = {c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]};
    __u32 nr = (__u32)c->nr;

    count(&entered_n, nr);
    if (nr == NR_ALARM) {
        marker = (int)(bpf_get_current_pid_tgid() >> 32);
        __sync_fetch_and_add(&marks, 1);
    } else if (marks == 1 && marker == (int)(bpf_get_current_pid_tgid() >> 32)) {
        count(&marked_n, nr);
    }
    bpf_map_update_elem(&args, &nr, arg, 0);
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int every_exit(struct left *c)
{
    __u32 nr = (__u32)c->nr;
    __s64 result = c->result;

    count(&left_n, nr);
    bpf_map_update_elem(&results, &nr, &result, 0);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_umask")
int one_enter(struct entered *c)
{
    count(&entered_n, (__u32)c->nr);
    return 0;
}

SEC("tracepoint/syscalls/sys_exit_umask")
int one_exit(struct left *c)
{
    count(&left_n, (__u32)c->nr);
    return 0;
}

/* The kernel's struct pt_regs, as far as it is looked at. */
struct registers {
    __u64 unused[10], ax, cx, dx, si, di, orig_ax, ip;
};

SEC("ksyscall/umask")
int probe_enter(struct registers *c)
{
    __u64 arg[6] = {c->di, c->si, c->dx};
    __u32 nr = (__u32)c->orig_ax;

    count(&entered_n, nr);
    bpf_map_update_elem(&args, &nr, arg, 0);
    return 0;
}

SEC("kretsyscall/umask")
int probe_exit(struct registers *c)
{
    __u32 nr = (__u32)c->orig_ax;
    __s64 result = (__s64)c->ax;

    count(&left_n, nr);
    bpf_map_update_elem(&results, &nr, &result, 0);
    return 0;
}

/* The same told by types: Linux's, or where a tool has a host, those that it is shown. Declared as far as is used here. */
struct pt_regs {
    unsigned long di, dx, ax, orig_ax;
} __attribute__((preserve_access_index));

SEC("tp_btf/sys_enter")
int typed_enter(__u64 *c)
{
    const struct pt_regs *regs = (const struct pt_regs *)c[0];
    __u64 arg[] = {regs->di, regs->orig_ax, regs->ax, regs->dx, 0, 0};
    __u32 nr = (__u32)c[1];

    count(&entered_n, nr);
    bpf_map_update_elem(&args, &nr, arg, 0);
    return 0;
}

SEC("tp_btf/sys_exit")
int typed_exit(__u64 *c)
{
    const struct pt_regs *regs = (const struct pt_regs *)c[0];
    __u32 nr = (__u32)regs->orig_ax;
    __s64 result = (__s64)c[1];

    count(&left_n, nr);
    if ((__s64)regs->ax == result)
        bpf_map_update_elem(&results, &nr, &result, 0);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
