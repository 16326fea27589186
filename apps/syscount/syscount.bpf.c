/* SPDX-License-Identifier: MIT */
/*
 * System calls by number and process, counted as they are entered; or, where `timed` says so, as they are left, with
 * the time between.
 *
 *     enter   the thread's own place: which call, since when
 *     leave   the same call still: one more of that number in the row of its process
 *
 * The usual way, a hash by thread for what is under way and one by process and number for the sums, is four look-ups
 * a call, which costs more than all the rest. Here both are arrays, and global variables of the program, so that a place in them
 * is an addition: a thread's place is found by the low bits of its id (while another thread's call is under way there,
 * this one's is not counted, which `lost` tells), and knows the row of its process.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "syscount.h"

struct entered {
    unsigned long long common;
    long nr;
    unsigned long args[6];
};
struct left {
    unsigned long long common;
    long nr, result;
};

struct shared shared;

/* The rows of processes, filled by the tool. Others are not counted: a tracepoint of the kernel's is everybody's. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, PROCESSES_MAX);
    __type(key, unsigned int);
    __type(value, unsigned int);
} slots SEC(".maps");

const volatile int timed = 1;

static void count(unsigned int slot, unsigned long nr, unsigned long long ns)
{
    struct number *n;

    if (slot >= PROCESSES_MAX || nr >= CALLS_MAX)
        return;
    n = &shared.numbers[slot][nr];
    __sync_fetch_and_add(&n->calls, 1);
    if (timed)
        __sync_fetch_and_add(&n->ns, ns);
}

/* A thread that is not the one seen last at its place takes it, unless a call is under way there. Not inlined into what every
   call goes through: it happens once a thread. */
static __noinline int meet(unsigned int tid, unsigned int pid)
{
    struct thread *t = &shared.threads[tid % THREADS_MAX];
    unsigned int *slot = bpf_map_lookup_elem(&slots, &pid);

    if (t->tid && t->slot != NOBODY && t->nr >= 0) {
        if (slot)
            __sync_fetch_and_add(&shared.lost, 1);
        return 0;
    }
    t->tid = tid;
    t->slot = slot ? *slot : NOBODY;
    t->nr = -1;
    return 1;
}

SEC("tracepoint/raw_syscalls/sys_enter")
int enter(struct entered *c)
{
    unsigned long long id = bpf_get_current_pid_tgid();
    unsigned int tid = (unsigned int)id;
    struct thread *t = &shared.threads[tid % THREADS_MAX];

    if (t->tid != tid && !meet(tid, id >> 32))
        return 0;
    if (!timed) {
        count(t->slot, (unsigned long)c->nr, 0);
    } else if (t->slot != NOBODY) {
        t->nr = (int)c->nr;
        t->since = bpf_ktime_get_ns();
    }
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int leave(struct left *c)
{
    unsigned int tid = (unsigned int)bpf_get_current_pid_tgid();
    struct thread *t = &shared.threads[tid % THREADS_MAX];
    int nr = t->nr;

    if (t->tid != tid || nr < 0)
        return 0;
    t->nr = -1;
    if (nr == (int)c->nr)
        count(t->slot, (unsigned int)nr, bpf_ktime_get_ns() - t->since);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
