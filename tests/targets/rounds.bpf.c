/* SPDX-License-Identifier: MIT */
/*
 * What is called back in a process: at `outer` many rounds of a loop, each of which goes through a hash and changes it;
 * at `inner`, which signal handlers call, a few. Increments are atomic, and the tests compare exact numbers.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "numbers.bpf.h"

#define KEYS 16

NUMBERS(counts, __u64, 8); /* runs and rounds at outer; the same at inner; elements met */

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} shared SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, KEYS);
    __type(key, __u32);
    __type(value, __u64);
} own SEC(".maps");

volatile const __u32 loops = 100;

static void count(__u32 what)
{
    __u64 *value = bpf_map_lookup_elem(&counts, &what);

    if (value)
        __sync_fetch_and_add(value, 1);
}

static long each(void *map, __u32 *key, __u64 *value, void *ctx)
{
    __sync_fetch_and_add(value, 1);
    count(4);
    return 0;
}

/* Every key is deleted by the round that meets it, and comes back under another. */
static long moves(void *map, __u32 *key, __u64 *value, __u32 *round)
{
    __u32 next = *key + KEYS & 63;
    __u64 was = *value;

    bpf_map_delete_elem(map, key);
    bpf_map_update_elem(map, &next, &was, BPF_ANY);
    return 0;
}

static long one(__u32 i, __u32 *round)
{
    *round = i;
    count(1);
    if (i % 8 == 0)
        bpf_for_each_map_elem(&own, each, 0, 0);
    if (i % 8 == 1)
        bpf_for_each_map_elem(&shared, moves, round, 0);
    return 0;
}

SEC("uprobe/targets-rounds:outer")
int outer(void *ctx)
{
    __u32 round = 0;
    __u64 none = 0;

    for (__u32 k = 0; k < KEYS; k++) {
        __u32 key = k;

        bpf_map_update_elem(&own, &key, &none, BPF_NOEXIST);
    }
    if (bpf_loop(loops, one, &round, 0) == loops)
        count(0);
    return 0;
}

static long little(__u32 i, void *ctx)
{
    count(3);
    return i == 4;
}

SEC("uprobe/targets-rounds:inner")
int inner(void *ctx)
{
    if (bpf_loop(10, little, 0, 0) == 5)
        count(2);
    return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
