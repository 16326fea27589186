/* SPDX-License-Identifier: MIT */
/*
 * Hash: an update replaces the element, as Linux's does, so that neither a reader nor a SIGKILL sees half a
 * value. A program's pointer to a value stays readable for ever, and after a delete or an update shows
 * whatever the element is used for next: Linux's meaning too.
 */
#include "rt/map/table.h"

#define COPIES 8u /* a value that changes while it is copied is copied again, so often */

static void fill(const struct tn_map *map, u8 *dst, const void *value, bool fresh, s32 cpu)
{
    tn_copy(dst, value, map->geo.value_size);
}

void *tn_hash_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
    struct tn_elem *e = tn_table_find(map, key);

    return e ? tn_elem_value(map, e) : NULL;
}

int tn_hash_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                   const struct tn_who *who)
{
    return tn_table_update(map, key, value, map_flags, cpu, who, false, fill);
}

int tn_hash_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    return tn_table_delete(map, key, who);
}

bool tn_hash_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
    struct tn_elem *e = tn_table_each(map, rounds);

    if (!e)
        return false;
    rounds->arg[2] = (u64)tn_elem_value(map, e);
    return true;
}

int tn_hash_user_lookup(const struct tn_map *map, const void *key, void *ret_value)
{
    struct tn_elem *e = tn_table_find(map, key), *again;

    for (u32 n = 0; e && n < COPIES; n++, e = again) {
        tn_copy(ret_value, tn_elem_value(map, e), map->geo.value_size);
        again = tn_table_find(map, key);
        if (again == e)
            return 0;
    }
    return e ? 0 : -ENOENT;
}

int tn_hash_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,
                        const struct tn_who *who)
{
    return tn_hash_update(map, key, value, map_flags, -1, who);
}

int tn_hash_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    return tn_table_next_key(map, key, ret_next);
}

void tn_hash_recover(const struct tn_map *map, u64 mask, u64 owner)
{
    tn_table_recover(map, mask, owner);
}

#ifndef TN_FREESTANDING
int tn_hash_geometry(struct tn_map_geo *geo)
{
    if (geo->map_flags & ~(BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY |
                           BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG | BPF_F_ZERO_SEED))
        return -EINVAL;
    /* One more for each CPU that may be replacing at once, and some for those that were interrupted. */
    return tn_table_geometry(geo, geo->value_stride, 2 * geo->ncpu + 6);
}

int tn_hash_init(const struct tn_map *map)
{
    return tn_table_init(map);
}
#endif
