/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU hash: an element holds one value a possible CPU, value_stride apart. A program's update changes the
 * value of its own slot in place; in an element that is new, all other CPUs start at zero. User space reads
 * and writes all.
 */
#include "rt/map/table.h"

#define UNIT_SIZE_MAX 32768u /* Linux: PCPU_MIN_UNIT_SIZE, the largest per-CPU value */

static void fill_own(const struct tn_map *map, u8 *dst, const void *value, bool fresh, s32 cpu)
{
    if (fresh)
        memset(dst, 0, (u64)map->geo.ncpu * map->geo.value_stride);
    tn_copy(dst + (u64)(u32)cpu * map->geo.value_stride, value, map->geo.value_size);
}

static void fill_all(const struct tn_map *map, u8 *dst, const void *value, bool fresh, s32 cpu)
{
    tn_copy(dst, value, (u64)map->geo.ncpu * map->geo.value_stride);
}

void *tn_phash_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
    struct tn_elem *e = (u32)cpu < map->geo.ncpu ? tn_table_find(map, key) : NULL;

    return e ? tn_elem_value(map, e) + (u64)(u32)cpu * map->geo.value_stride : NULL;
}

int tn_phash_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                    const struct tn_who *who)
{
    if ((u32)cpu >= map->geo.ncpu)
        return -EBUSY;
    return tn_table_update(map, key, value, map_flags, cpu, who, true, fill_own);
}

int tn_phash_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    return tn_table_delete(map, key, who);
}

bool tn_phash_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
    struct tn_elem *e = (u32)cpu < map->geo.ncpu ? tn_table_each(map, rounds) : NULL;

    if (!e)
        return false;
    rounds->arg[2] = (u64)(tn_elem_value(map, e) + (u64)(u32)cpu * map->geo.value_stride);
    return true;
}

int tn_phash_user_lookup(const struct tn_map *map, const void *key, void *ret_value)
{
    struct tn_elem *e = tn_table_find(map, key);

    if (!e)
        return -ENOENT;
    tn_copy(ret_value, tn_elem_value(map, e), (u64)map->geo.ncpu * map->geo.value_stride);
    return 0;
}

int tn_phash_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,
                         const struct tn_who *who)
{
    return tn_table_update(map, key, value, map_flags, -1, who, true, fill_all);
}

int tn_phash_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    return tn_table_next_key(map, key, ret_next);
}

void tn_phash_recover(const struct tn_map *map, u64 mask, u64 owner)
{
    tn_table_recover(map, mask, owner);
}

#ifndef TN_FREESTANDING
int tn_phash_geometry(struct tn_map_geo *geo)
{
    if (geo->map_flags & ~(BPF_F_NO_PREALLOC | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG |
                           BPF_F_WRONLY_PROG | BPF_F_ZERO_SEED))
        return -EINVAL;
    if (geo->value_stride > UNIT_SIZE_MAX) {
        struct tn_map_geo probe = *geo;
        int r = tn_table_geometry(&probe, 8, 0);

        return r < 0 ? r : -E2BIG;
    }
    return tn_table_geometry(geo, (u64)geo->ncpu * geo->value_stride, 0);
}

int tn_phash_init(const struct tn_map *map)
{
    return tn_table_init(map);
}
#endif
