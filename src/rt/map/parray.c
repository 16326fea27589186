/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU array: one array a possible CPU, each in cache lines of its own.
 *
 *     value_off + cpu × elem_stride + index × value_stride
 *
 * A program works on the slot of its run, which nobody else has while it runs; user space reads and writes
 * all.
 */
#include "rt/map/type.h"

#define CACHE_LINE    64u
#define UNIT_SIZE_MAX 32768u /* Linux: PCPU_MIN_UNIT_SIZE, the largest per-CPU value */

static u8 *value_at(const struct tn_map *map, const void *key, u32 cpu)
{
    u32 index = *(const u32 *)key;

    if (index >= map->geo.max_entries || cpu >= map->geo.ncpu)
        return NULL;
    return map->base + map->geo.value_off + (u64)cpu * map->geo.elem_stride +
           (u64)index * map->geo.value_stride;
}

void *tn_parray_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
    return value_at(map, key, (u32)cpu);
}

static int check_update(const struct tn_map *map, const void *key, u64 map_flags)
{
    if (tn_map_flags_ok(map_flags) < 0)
        return -EINVAL;
    if (*(const u32 *)key >= map->geo.max_entries)
        return -E2BIG;
    return map_flags == BPF_NOEXIST ? -EEXIST : 0;
}

int tn_parray_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                     const struct tn_who *who)
{
    int r = check_update(map, key, map_flags);

    if (r < 0)
        return r;
    if ((u32)cpu >= map->geo.ncpu)
        return -EBUSY;
    tn_copy(value_at(map, key, (u32)cpu), value, map->geo.value_size);
    return 0;
}

int tn_parray_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    return -EINVAL;
}

bool tn_parray_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
    u32 key = (u32)rounds->at;
    u8 *value = rounds->at < map->geo.max_entries ? value_at(map, &key, (u32)cpu) : NULL;

    if (!value) /* past the end, or a run that lost its claim */
        return false;
    rounds->at++;
    rounds->key = key;
    rounds->arg[1] = (u64)&rounds->key;
    rounds->arg[2] = (u64)value;
    return true;
}

int tn_parray_user_lookup(const struct tn_map *map, const void *key, void *ret_value)
{
    if (*(const u32 *)key >= map->geo.max_entries)
        return -ENOENT;
    for (u32 cpu = 0; cpu < map->geo.ncpu; cpu++)
        tn_copy((u8 *)ret_value + (u64)cpu * map->geo.value_stride, value_at(map, key, cpu),
                map->geo.value_stride);
    return 0;
}

int tn_parray_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,
                          const struct tn_who *who)
{
    int r = check_update(map, key, map_flags);

    if (r < 0)
        return r;
    for (u32 cpu = 0; cpu < map->geo.ncpu; cpu++)
        tn_copy(value_at(map, key, cpu), (const u8 *)value + (u64)cpu * map->geo.value_stride,
                map->geo.value_stride);
    return 0;
}

int tn_parray_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    return tn_array_user_next_key(map, key, ret_next);
}

void tn_parray_recover(const struct tn_map *map, u64 mask, u64 owner) {}

int tn_parray_geometry(struct tn_map_geo *geo)
{
    const u32 known = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
    u64 area;

    if (!geo->max_entries || geo->key_size != 4 || !geo->value_size || (geo->map_flags & ~known))
        return -EINVAL;
    if (geo->value_size > INT32_MAX || geo->value_stride > UNIT_SIZE_MAX)
        return -E2BIG;
    area = TN_ROUND_UP((u64)geo->max_entries * geo->value_stride, (u64)CACHE_LINE);
    if (area > UINT32_MAX)
        return -ENOMEM;
    geo->elem_stride = (u32)area;
    geo->size = area * geo->ncpu;
    return 0;
}

int tn_parray_init(const struct tn_map *map)
{
    return 0;
}
