/* SPDX-License-Identifier: MIT */
/*
 * The hash table in shared memory that both hash types are made of.
 *
 *   ctl_off              bucket_off                   bits                        value_off
 *   │ ctl │ pad to 64 │  │ bucket 0 │ bucket 1 │ … │  │ free bits │ spare bits │  │ element 0 │ element 1 │ …
 *
 *   bucket:  lock │ head │ victim                     element:  state │ next │ hash │ key, to 8 │ value(s)
 *
 * Chains hold element numbers; a chain ends with END | its bucket, so that a reader without a lock notices
 * when an element it stood on was moved to another chain meanwhile, and starts anew.
 *
 * The truth about an element is its state word; the bits only help to find one:
 *
 *             take (CAS)              publish               unlink            put
 *      FREE ───────────▶ TAKEN_FREE ───────────▶ LIVE ──────────▶ TAKEN_… ──────────▶ FREE or SPARE
 *      SPARE ──────────▶ TAKEN_SPARE ──────────▶ LIVE
 *
 * There are exactly max_entries elements that are FREE, LIVE or on the way, and a few SPARE ones more, with
 * which an update replaces a live element (a reader sees the old value or the new one, never a mixture). So
 * the map is full exactly when no FREE element is left, without a counter that a crash could falsify. TAKEN
 * carries its owner; what the dead have taken goes back where it came from. All the rest is done under the
 * bucket's lock, which carries its owner as well; `victim` says which element is about to leave the chain.
 * The order of stores is such that after any prefix of them tn_table_recover can tell what was meant.
 */
#ifndef TN_RT_MAP_TABLE_H
#define TN_RT_MAP_TABLE_H

#include "rt/map/type.h"

struct tn_table_ctl {
    u64 seed;
    u32 hint[2]; /* word of the free and of the spare bits where one was last seen; only a hint */
    u32 pad[12];
};
_Static_assert(sizeof(struct tn_table_ctl) == 64, "one cache line");

struct tn_bucket {
    u64 lock;
    u32 head;
    u32 victim; /* element about to be unlinked + 1, with TN_VICTIM_SPARE: goes to the spare ones; 0 = none */
};
_Static_assert(sizeof(struct tn_bucket) == 16, "bucket_off + 16 × bucket");
#define TN_VICTIM_SPARE (1u << 31)

struct tn_elem {
    u64 state; /* owner word with the kind in its low three bits */
    u32 next;
    u32 hash;
    u8 key[];
};
_Static_assert(offsetof(struct tn_elem, key) == 16, "keys and values are aligned to eight");

enum tn_elem_kind {
    TN_ELEM_FREE = 0,
    TN_ELEM_SPARE = 1,
    TN_ELEM_LIVE = 2,
    TN_ELEM_TAKEN_FREE = 3,
    TN_ELEM_TAKEN_SPARE = 4,
};
#define TN_ELEM_KIND_MASK 7ull

#define TN_CHAIN_END (1u << 31)
/* Longest chain anybody walks. The seed is secret and the load at most one, so no honest chain comes near it;
   what would make one longer is refused. */
#define TN_CHAIN_MAX 4096u

static inline struct tn_table_ctl *tn_table_ctl(const struct tn_map *map)
{
    return (struct tn_table_ctl *)(map->base + map->geo.ctl_off);
}

static inline struct tn_bucket *tn_table_bucket(const struct tn_map *map, u32 i)
{
    return (struct tn_bucket *)(map->base + map->geo.bucket_off) + i;
}

/* Caller has checked i < nelems. */
static inline struct tn_elem *tn_table_elem(const struct tn_map *map, u32 i)
{
    return (struct tn_elem *)(map->base + map->geo.value_off + (u64)i * map->geo.elem_stride);
}

static inline u8 *tn_elem_value(const struct tn_map *map, struct tn_elem *e)
{
    return e->key + TN_ROUND_UP((u64)map->geo.key_size, 8);
}

/* Words of one of the two sets of bits. */
static inline u32 tn_table_words(const struct tn_map_geo *geo)
{
    return geo->nelems / 64 + (geo->nelems % 64 != 0);
}

/* As keys are hashed: with the map's own seed. */
u32 tn_table_hash_bytes(const struct tn_map *map, const u8 *bytes, u32 len);

/* Finds without a lock. NULL: not there. */
struct tn_elem *tn_table_find(const struct tn_map *map, const void *key);

/* The next element of a walk through all buckets; its key is rounds->arg[1]. */
struct tn_elem *tn_table_each(const struct tn_map *map, struct tn_rounds *rounds);

/* How a new or changed element gets its value; `fresh`: the memory holds another element's leftovers. */
typedef void (*tn_table_fill)(const struct tn_map *map, u8 *dst, const void *value, bool fresh, s32 cpu);

/* Inserts or replaces. in_place: change the value of an element that exists instead
   of replacing the element. */
int tn_table_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                    const struct tn_who *who, bool in_place, tn_table_fill fill);
int tn_table_delete(const struct tn_map *map, const void *key, const struct tn_who *who);
int tn_table_next_key(const struct tn_map *map, const void *key, void *ret_next);

/* Mends everything that owners with (owner ^ `owner`) & mask == 0 have left unfinished.
   They must not run any more. */
void tn_table_recover(const struct tn_map *map, u64 mask, u64 owner);

/* Hosted. value_bytes: of all values of an element. spares: elements beyond max_entries. */
int tn_table_geometry(struct tn_map_geo *geo, u64 value_bytes, u32 spares);
int tn_table_init(const struct tn_map *map);

#endif
