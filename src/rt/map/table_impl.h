/* SPDX-License-Identifier: MIT */
/* What the two halves of the table, changing and mending, share. Nobody else includes this. */
#ifndef TN_RT_MAP_TABLE_IMPL_H
#define TN_RT_MAP_TABLE_IMPL_H

#include "rt/map/table.h"

u32 tn_table_hash(const struct tn_map *map, const void *key);
u64 *tn_table_bits(const struct tn_map *map, enum tn_elem_kind pool);
void tn_table_put(const struct tn_map *map, u32 i, enum tn_elem_kind pool);
/* Caller holds the lock of bucket b and knows that whoever held it before will never go on. */
void tn_table_mend_bucket(const struct tn_map *map, u32 b);
/* Puts back the elements that such owners have taken, and makes what is free findable. */
void tn_table_reclaim(const struct tn_map *map, u64 mask, u64 owner);

#endif
