/* SPDX-License-Identifier: MIT */
/*
 * Array: value i at i × value_stride. Nothing else: no lock, no state, so nothing to recover. An update
 * copies into place, as in Linux; elements cannot be deleted. The memory is the kernel's to the byte, so a
 * tool may map it.
 */
#include "rt/map/type.h"

static u8 *value_at(const struct tn_map *map, const void *key)
{
    u32 index = *(const u32 *)key;

    if (index >= map->geo.max_entries)
        return NULL;
    return map->base + map->geo.value_off + (u64)index * map->geo.value_stride;
}

void *tn_array_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
    return value_at(map, key);
}

int tn_array_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                    const struct tn_who *who)
{
    u8 *dst = value_at(map, key);

    if (tn_map_flags_ok(map_flags) < 0)
        return -EINVAL;
    if (!dst)
        return -E2BIG;
    if (map_flags == BPF_NOEXIST)
        return -EEXIST;
    tn_copy(dst, value, map->geo.value_size);
    return 0;
}

int tn_array_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    return -EINVAL;
}

bool tn_array_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
    if (rounds->at >= map->geo.max_entries)
        return false;
    rounds->key = (u32)rounds->at++;
    rounds->arg[1] = (u64)&rounds->key;
    rounds->arg[2] = (u64)value_at(map, &rounds->key);
    return true;
}

int tn_array_user_lookup(const struct tn_map *map, const void *key, void *ret_value)
{
    const u8 *src = value_at(map, key);

    if (!src)
        return -ENOENT;
    tn_copy(ret_value, src, map->geo.value_size);
    return 0;
}

int tn_array_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,
                         const struct tn_who *who)
{
    return tn_array_update(map, key, value, map_flags, -1, who);
}

int tn_array_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    u32 index = key ? *(const u32 *)key : ~0u;
    u32 next = index >= map->geo.max_entries ? 0 : index + 1;

    if (next == map->geo.max_entries)
        return -ENOENT;
    *(u32 *)ret_next = next;
    return 0;
}

void tn_array_recover(const struct tn_map *map, u64 mask, u64 owner) {}

int tn_array_geometry(struct tn_map_geo *geo)
{
    const u32 known = BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_INNER_MAP | BPF_F_RDONLY | BPF_F_WRONLY |
                      BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;

    if (!geo->max_entries || geo->key_size != 4 || !geo->value_size || (geo->map_flags & ~known))
        return -EINVAL;
    if (geo->value_size > INT32_MAX)
        return -E2BIG;
    geo->elem_stride = geo->value_stride;
    geo->size = (u64)geo->max_entries * geo->value_stride;
    if (geo->map_flags & BPF_F_MMAPABLE)
        geo->mmap_size = TN_ROUND_UP(geo->size, (u64)TN_PAGE);
    return 0;
}

int tn_array_init(const struct tn_map *map)
{
    return 0;
}
