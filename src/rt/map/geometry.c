/* SPDX-License-Identifier: MIT */
/*
 * Hosted only: which attributes are refused and with what errno is decided by each type
 * (tn_<prefix>_geometry), as Linux's map_alloc_check and map_alloc do; what holds for all is here. Only the
 * broker lays out and prepares; targets are told.
 */
#include "rt/map/type.h"

/* Larger than any machine of today could back; keeps every sum of offsets far from overflow. */
#define SIZE_MAX_BYTES (1ull << 40)

static const struct tn_map_type types[] = {
#define M(type, prefix, name, flags) {BPF_MAP_TYPE_##type, name, flags},
    TN_MAP_TYPES(M)
#undef M
};

const struct tn_map_type *tn_map_type_by_id(u32 type)
{
    for (u32 i = 0; i < TN_ARRAY_SIZE(types); i++)
        if (types[i].type == type)
            return &types[i];
    return NULL;
}

static int type_geometry(struct tn_map_geo *geo)
{
    switch (geo->type) {
#define M(type, prefix, name, flags)                                                                         \
    case BPF_MAP_TYPE_##type:                                                                                \
        return tn_##prefix##_geometry(geo);
        TN_MAP_TYPES(M)
#undef M
    default:
        return -EOPNOTSUPP;
    }
}

int tn_map_geometry(u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 map_flags, u32 ncpu,
                    struct tn_map_geo *ret_geo)
{
    const u32 both_ways = BPF_F_RDONLY | BPF_F_WRONLY;
    struct tn_map_geo geo = {
        .type = type,
        .key_size = key_size,
        .value_size = value_size,
        .max_entries = max_entries,
        .map_flags = map_flags,
        .ncpu = ncpu,
        .value_stride = (u32)TN_ROUND_UP((u64)value_size, 8),
    };
    const u32 both_progs = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
    int r;

    if (!ncpu)
        return -EINVAL;
    if ((map_flags & both_ways) == both_ways || (map_flags & both_progs) == both_progs)
        return tn_map_type_by_id(type) ? -EINVAL : -EOPNOTSUPP;

    r = type_geometry(&geo);
    if (r < 0)
        return r;
    if (geo.size > SIZE_MAX_BYTES)
        return -ENOMEM;
    geo.size = TN_ROUND_UP(geo.size, (u64)TN_PAGE);
    *ret_geo = geo;
    return 0;
}

int tn_map_init(const struct tn_map *map)
{
    switch (map->geo.type) {
#define M(type, prefix, name, flags)                                                                         \
    case BPF_MAP_TYPE_##type:                                                                                \
        return tn_##prefix##_init(map);
        TN_MAP_TYPES(M)
#undef M
    default:
        return -EOPNOTSUPP;
    }
}

u64 tn_map_user_value_size(const struct tn_map_geo *geo)
{
    const struct tn_map_type *type = tn_map_type_by_id(geo->type);

    if (type && (type->flags & TN_MF_PERCPU))
        return (u64)geo->ncpu * geo->value_stride;
    return geo->value_size;
}
