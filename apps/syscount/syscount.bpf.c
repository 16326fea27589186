/* SPDX-License-Identifier: MIT */
/*
 * System calls by number and process, counted as they are entered; or, where `timed` says so, as they are left, with
 * the time between.
 *
 *     enter   the thread's own place: which call, since when
 *     leave   the same call still: one more of that number in the row of its process
 *
 * The usual way, a hash by thread for what is under way and one by process and number for the sums, is four look-ups
 * a call, which costs more than all the rest. Here both are arrays: a thread's place is found by the low bits of its
 * id (while another thread's call is under way there, this one's is not counted, which `lost` tells), and knows the
 * row of its process.
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

struct thread {
    unsigned int tid;
    int nr; /* of the call under way; −1: none */
    unsigned long long since;
    unsigned int slot, pad; /* NOBODY: of a process that is not counted */
};
#define NOBODY 0xffffffffu

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, THREADS_MAX);
    __type(key, unsigned int);
    __type(value, struct thread);
} threads SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, PROCESSES_MAX *CALLS_MAX);
    __type(key, unsigned int);
    __type(value, struct number);
} numbers SEC(".maps");

/* The rows of processes, filled by the tool. Others are not counted: a tracepoint of the kernel's is everybody's. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, PROCESSES_MAX);
    __type(key, unsigned int);
    __type(value, unsigned int);
} slots SEC(".maps");

const volatile int timed = 1;
unsigned long long lost;

static struct thread *place_of(unsigned int tid)
{
    unsigned int key = tid % THREADS_MAX;

    return bpf_map_lookup_elem(&threads, &key);
}

static void count(unsigned int slot, unsigned int nr, unsigned long long ns)
{
    unsigned int key = slot * CALLS_MAX + nr;
    struct number *n = nr < CALLS_MAX ? bpf_map_lookup_elem(&numbers, &key) : 0;

    if (!n)
        return;
    __sync_fetch_and_add(&n->calls, 1);
    if (timed)
        __sync_fetch_and_add(&n->ns, ns);
}

SEC("tracepoint/raw_syscalls/sys_enter")
int enter(struct entered *c)
{
    unsigned long long id = bpf_get_current_pid_tgid();
    unsigned int tid = (unsigned int)id, pid = id >> 32, *slot;
    struct thread *t = place_of(tid);

    if (!t)
        return 0;
    if (t->tid != tid) {
        slot = bpf_map_lookup_elem(&slots, &pid);
        if (t->tid && t->slot != NOBODY && t->nr >= 0) {
            if (slot)
                __sync_fetch_and_add(&lost, 1);
            return 0;
        }
        t->tid = tid;
        t->slot = slot ? *slot : NOBODY;
        t->nr = -1;
    }
    if (t->slot == NOBODY)
        return 0;
    if (!timed) {
        count(t->slot, (unsigned int)c->nr, 0);
        return 0;
    }
    t->nr = (int)c->nr;
    t->since = bpf_ktime_get_ns();
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int leave(struct left *c)
{
    unsigned int tid = (unsigned int)bpf_get_current_pid_tgid(), nr;
    struct thread *t = place_of(tid);

    if (!t || t->tid != tid || t->nr < 0)
        return 0;
    nr = (unsigned int)t->nr;
    t->nr = -1;
    if (nr == (unsigned int)c->nr)
        count(t->slot, nr, bpf_ktime_get_ns() - t->since);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
