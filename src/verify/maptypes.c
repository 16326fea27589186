/* SPDX-License-Identifier: MIT */
/* Map types as data; see maptypes.h. */
#include "verify/maptypes.h"

#include "verify/protos.h"

/* The words of the rows. */
enum {
    PLAIN = TN_VM_PLAIN,
    SLEEP = TN_VM_SLEEP,
    EACH = TN_VM_EACH,
    CERTAIN = TN_VM_CERTAIN,
    DIRECT = TN_VM_DIRECT,
    PERCPU = TN_VM_PERCPU,
    READ_ONLY = TN_VM_READ_ONLY,
};

static const struct tn_vmap types[TN_MAP_NUMBERS] = {
#define M(number, word, name, found, flags) [number] = {number, name, TN_FOUND_##found, flags},
    TN_VERIFY_MAPS(M)
#undef M
};

_Static_assert(TN_MAP_NUMBERS <= 64, "one bit a type");

/* In C rows a type is a bit. */
#define BIT(word)             (1ull << TN_MAP_##word)
#define PROG_ARRAY            BIT(PROG_ARRAY)
#define PERF_EVENT_ARRAY      BIT(PERF_EVENT_ARRAY)
#define PERCPU_HASH           BIT(PERCPU_HASH)
#define PERCPU_ARRAY          BIT(PERCPU_ARRAY)
#define STACK_TRACE           BIT(STACK_TRACE)
#define CGROUP_ARRAY          BIT(CGROUP_ARRAY)
#define LRU_PERCPU_HASH       BIT(LRU_PERCPU_HASH)
#define ARRAY_OF_MAPS         BIT(ARRAY_OF_MAPS)
#define HASH_OF_MAPS          BIT(HASH_OF_MAPS)
#define DEVMAP                BIT(DEVMAP)
#define DEVMAP_HASH           BIT(DEVMAP_HASH)
#define SOCKMAP               BIT(SOCKMAP)
#define SOCKHASH              BIT(SOCKHASH)
#define CPUMAP                BIT(CPUMAP)
#define XSKMAP                BIT(XSKMAP)
#define CGROUP_STORAGE        BIT(CGROUP_STORAGE)
#define PERCPU_CGROUP_STORAGE BIT(PERCPU_CGROUP_STORAGE)
#define REUSEPORT_SOCKARRAY   BIT(REUSEPORT_SOCKARRAY)
#define QUEUE                 BIT(QUEUE)
#define STACK                 BIT(STACK)
#define SK_STORAGE            BIT(SK_STORAGE)
#define INODE_STORAGE         BIT(INODE_STORAGE)
#define TASK_STORAGE          BIT(TASK_STORAGE)
#define CGRP_STORAGE          BIT(CGRP_STORAGE)
#define RINGBUF               BIT(RINGBUF)
#define USER_RINGBUF          BIT(USER_RINGBUF)
#define BLOOM_FILTER          BIT(BLOOM_FILTER)

#define PLAIN_BIT(number, word, name, found, flags) | ((flags)&TN_VM_PLAIN ? 1ull << (number) : 0)
#define PLAIN_TYPES                                 (0 TN_VERIFY_MAPS(PLAIN_BIT))

static const struct {
    u32 helper;
    u64 types;
} calls[] = {
#define C(name, types) {TN_PROTO_##name, types},
    TN_MAP_CALLS(C)
#undef C
};

const struct tn_vmap *tn_vmap_by_type(u32 type)
{
    return type < TN_MAP_NUMBERS && types[type].name ? &types[type] : NULL;
}

bool tn_vmap_takes(u32 type, u32 helper)
{
    const struct tn_vmap *map = tn_vmap_by_type(type);

    if (!map)
        return false;
    for (size_t k = 0; k < TN_ARRAY_SIZE(calls); k++)
        if (calls[k].helper == helper)
            return calls[k].types >> type & 1;
    return map->flags & TN_VM_PLAIN;
}
