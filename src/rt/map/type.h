/* SPDX-License-Identifier: MIT */
/*
 * What each map type must bring: the rows of TN_MAP_TYPES as prototypes. A type that lacks an operation says
 * so with its errno, as in Linux. map.c dispatches, geometry.c (hosted) lays out and prepares.
 */
#ifndef TN_RT_MAP_TYPE_H
#define TN_RT_MAP_TYPE_H

#include <errno.h>
#include <linux/bpf.h>

#include "rt/lock.h"
#include "rt/map/map.h"
#include "rt/mem.h"
#include "rt/rounds.h"

#define M(type, prefix, name, flags)                                                                         \
    void *tn_##prefix##_lookup(const struct tn_map *map, const void *key, s32 cpu);                          \
    int tn_##prefix##_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,    \
                             s32 cpu, const struct tn_who *who);                                             \
    int tn_##prefix##_delete(const struct tn_map *map, const void *key, const struct tn_who *who);           \
    bool tn_##prefix##_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu);                    \
    int tn_##prefix##_user_lookup(const struct tn_map *map, const void *key, void *ret_value);               \
    int tn_##prefix##_user_update(const struct tn_map *map, const void *key, const void *value,              \
                                  u64 map_flags, const struct tn_who *who);                                  \
    int tn_##prefix##_user_next_key(const struct tn_map *map, const void *key, void *ret_next);              \
    void tn_##prefix##_recover(const struct tn_map *map, u64 mask, u64 owner);                               \
    int tn_##prefix##_geometry(struct tn_map_geo *geo);                                                      \
    int tn_##prefix##_init(const struct tn_map *map);
TN_MAP_TYPES(M)
#undef M

/* The answer to a look-up, update or delete that would be right if the flags were. */
static inline int tn_map_flags_ok(u64 flags)
{
    return flags > BPF_EXIST ? -EINVAL : 0;
}

#endif
