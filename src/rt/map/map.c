/* SPDX-License-Identifier: MIT */
/*
 * From an operation on a map to the same operation of its type: one switch an operation, written by the rows.
 * A type number that has no row cannot get here but by a bug of ours; it is answered, not trusted.
 */
#include "rt/map/type.h"

#define CASE(type, call)                                                                                     \
    case BPF_MAP_TYPE_##type:                                                                                \
        return call;
#define DISPATCH(M, otherwise)                                                                               \
    switch (map->geo.type) {                                                                                 \
        TN_MAP_TYPES(M)                                                                                      \
    default:                                                                                                 \
        return otherwise;                                                                                    \
    }

void *tn_map_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_lookup(map, key, cpu))
    DISPATCH(M, NULL)
#undef M
}

int tn_map_update_as(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                     const struct tn_who *who)
{
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_update(map, key, value, map_flags, cpu, who))
    DISPATCH(M, -EOPNOTSUPP)
#undef M
}

int tn_map_delete_as(const struct tn_map *map, const void *key, const struct tn_who *who)
{
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_delete(map, key, who))
    DISPATCH(M, -EOPNOTSUPP)
#undef M
}

bool tn_map_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_each(map, rounds, cpu))
    DISPATCH(M, false)
#undef M
}

int tn_map_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu)
{
    struct tn_who who = tn_who(NULL);

    return tn_map_update_as(map, key, value, map_flags, cpu, &who);
}

int tn_map_delete(const struct tn_map *map, const void *key)
{
    struct tn_who who = tn_who(NULL);

    return tn_map_delete_as(map, key, &who);
}

/*
 * From user space a map that was made read-only or write-only is refused before anything else is looked at,
 * then a key for a type that has none, as Linux does when it copies the key.
 */
static int user_check(const struct tn_map *map, const void *key, u32 forbidden)
{
    if (map->geo.map_flags & forbidden)
        return -EPERM;
    return key && !map->geo.key_size ? -EINVAL : 0;
}

int tn_map_user_lookup(const struct tn_map *map, const void *key, void *ret_value, u64 map_flags)
{
    int r = user_check(map, key, BPF_F_WRONLY);

    if (r < 0)
        return r;
    if (map_flags)
        return -EINVAL;
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_user_lookup(map, key, ret_value))
    DISPATCH(M, -EOPNOTSUPP)
#undef M
}

int tn_map_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags)
{
    struct tn_who who = tn_who(NULL);
    int r = user_check(map, key, BPF_F_RDONLY);

    if (r < 0)
        return r;
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_user_update(map, key, value, map_flags, &who))
    DISPATCH(M, -EOPNOTSUPP)
#undef M
}

int tn_map_user_delete(const struct tn_map *map, const void *key)
{
    int r = user_check(map, key, BPF_F_RDONLY);

    return r < 0 ? r : tn_map_delete(map, key);
}

int tn_map_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    int r = user_check(map, key, BPF_F_WRONLY);

    if (r < 0)
        return r;
#define M(type, prefix, name, flags) CASE(type, tn_##prefix##_user_next_key(map, key, ret_next))
    DISPATCH(M, -EOPNOTSUPP)
#undef M
}

static void recover(const struct tn_map *map, u64 mask, u64 owner)
{
    switch (map->geo.type) {
#define M(type, prefix, name, flags)                                                                         \
    case BPF_MAP_TYPE_##type:                                                                                \
        tn_##prefix##_recover(map, mask, owner);                                                             \
        break;
        TN_MAP_TYPES(M)
#undef M
    }
}

void tn_map_recover(const struct tn_map *map, u32 dead_pid)
{
    if (dead_pid)
        recover(map, ~0ull << 32, (u64)dead_pid << 32);
}
