/* SPDX-License-Identifier: MIT */
/*
 * Stacks, each kept once: a table whose key is the stack's number, which is a part of the hash of its addresses, so that
 * whoever comes by the same way finds it without a lock. Two that share a number: the first one stays, unless
 * BPF_F_REUSE_STACKID says otherwise.
 *
 * Numbers are below the next power of two of max_entries, as in Linux, and no more than max_entries are in use. Programs
 * reach none of it but by bpf_get_stackid; user space looks up, deletes and goes through in ascending order.
 */
#include <stddef.h>

#include "rt/map/table.h"

#define HEAD   offsetof(struct tn_stack, ip)
#define COPIES 8u /* a stack that changes while it is copied is copied again, so often */

static void fill(const struct tn_map *map, u8 *dst, const void *value, bool fresh, s32 cpu)
{
    const struct tn_stack *stack = value;

    tn_copy(dst, stack, HEAD + (u64)stack->count * sizeof(u64));
}

/* What stands there is whatever the last writer left. */
static u32 count_of(const struct tn_map *map, const struct tn_stack *stack)
{
    return TN_MIN(tn_load(&stack->count), map->geo.value_size / (u32)sizeof(u64));
}

static const struct tn_stack *find(const struct tn_map *map, u32 id)
{
    struct tn_elem *e = tn_table_find(map, &id);

    return e ? (const struct tn_stack *)tn_elem_value(map, e) : NULL;
}

static bool same(const struct tn_map *map, const struct tn_stack *there, const struct tn_stack *stack,
                 u64 flags)
{
    if (tn_load(&there->hash) != stack->hash)
        return false;
    return flags & BPF_F_FAST_STACK_CMP || (count_of(map, there) == stack->count &&
                                            !memcmp(there->ip, stack->ip, stack->count * sizeof(u64)));
}

s64 tn_stack_keep(const struct tn_map *map, struct tn_stack *stack, u64 flags, const struct tn_who *who)
{
    bool reuse = flags & BPF_F_REUSE_STACKID;
    const struct tn_stack *there;
    u32 id;
    int r;

    stack->count = TN_MIN(stack->count, map->geo.value_size / (u32)sizeof(u64));
    stack->hash = tn_table_hash_bytes(map, (const u8 *)stack->ip, stack->count * (u32)sizeof(u64));
    id = stack->hash & (map->geo.nbuckets - 1);
    for (u32 n = 0; n < 2; n++) {
        there = find(map, id);
        if (there && same(map, there, stack, flags))
            return id;
        if (there && !reuse)
            return -EEXIST;
        r = tn_table_update(map, &id, stack, reuse ? BPF_ANY : BPF_NOEXIST, -1, who, false, fill);
        if (!r)
            return id;
        if (r != -EEXIST) /* by whoever came between: perhaps the same way */
            return r == -E2BIG ? -ENOMEM : r;
    }
    return -EEXIST;
}

void *tn_stack_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
    return NULL;
}

int tn_stack_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                    const struct tn_who *who)
{
    return -EINVAL;
}

int tn_stack_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    return *(const u32 *)key >= map->geo.nbuckets ? -E2BIG : tn_table_delete(map, key, who);
}

bool tn_stack_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
    return false;
}

int tn_stack_user_lookup(const struct tn_map *map, const void *key, void *ret_value)
{
    u32 id = *(const u32 *)key;
    const struct tn_stack *there = find(map, id), *again;

    for (u32 n = 0; there && n < COPIES; n++, there = again) {
        u64 len = count_of(map, there) * sizeof(u64);

        tn_copy(ret_value, there->ip, len);
        memset((u8 *)ret_value + len, 0, map->geo.value_size - len);
        again = find(map, id);
        if (again == there)
            return 0;
    }
    return there ? 0 : -ENOENT;
}

int tn_stack_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,
                         const struct tn_who *who)
{
    return -EINVAL;
}

int tn_stack_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    u32 id = key ? *(const u32 *)key : 0;

    if (key)
        id = find(map, id) ? id + 1 : 0;
    while (id < map->geo.nbuckets && !find(map, id))
        id++;
    if (id >= map->geo.nbuckets)
        return -ENOENT;
    *(u32 *)ret_next = id;
    return 0;
}

void tn_stack_recover(const struct tn_map *map, u64 mask, u64 owner)
{
    tn_table_recover(map, mask, owner);
}

#ifndef TN_FREESTANDING
int tn_stack_geometry(struct tn_map_geo *geo)
{
    const u32 known = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY; /* BPF_F_STACK_BUILD_ID is not built */
    int r;

    if (!geo->max_entries || geo->key_size != 4 || !geo->value_size || geo->value_size % sizeof(u64) ||
        geo->value_size / sizeof(u64) > TN_STACK_MAX || (geo->map_flags & ~known))
        return -EINVAL;
    if (geo->max_entries > 1u << 31)
        return -E2BIG;
    r = tn_table_geometry(geo, HEAD + geo->value_size, 2 * geo->ncpu + 6);
    return r == -E2BIG ? -ENOMEM : r;
}

int tn_stack_init(const struct tn_map *map)
{
    return tn_table_init(map);
}
#endif
