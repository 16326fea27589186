/* SPDX-License-Identifier: MIT */
/*
 * Hosted only: where a table's parts lie, how an empty one looks, and whether one is sound. Limits are
 * Linux's (htab_map_alloc_check, htab_map_alloc), so that what it refuses is refused here, with the same
 * errno.
 */
#include "rt/map/table_impl.h"

#include <sys/random.h>

#define KMALLOC_MAX (1ull << 22)
#define ELEM_HEAD   48ull        /* Linux's sizeof(struct htab_elem) */
#define BUCKETS_MAX (1ull << 28) /* Linux: bytes of its bucket heads fit 32 bits */

int tn_table_geometry(struct tn_map_geo *geo, u64 value_bytes, u32 spares)
{
    u64 nbuckets = 1, words, elem;

    if (!geo->max_entries || !geo->key_size || !geo->value_size)
        return -EINVAL;
    if ((u64)geo->key_size + geo->value_size >= KMALLOC_MAX - ELEM_HEAD)
        return -E2BIG;
    while (nbuckets < geo->max_entries)
        nbuckets *= 2;
    if (nbuckets >= BUCKETS_MAX)
        return -E2BIG;
    elem = sizeof(struct tn_elem) + TN_ROUND_UP((u64)geo->key_size, 8) + value_bytes;
    if (elem > UINT32_MAX)
        return -ENOMEM;

    geo->nbuckets = (u32)nbuckets;
    geo->nelems = geo->max_entries + spares;
    geo->elem_stride = (u32)elem;
    words = tn_table_words(geo);
    geo->ctl_off = 0;
    geo->bucket_off = sizeof(struct tn_table_ctl);
    geo->value_off = TN_ROUND_UP(geo->bucket_off + nbuckets * sizeof(struct tn_bucket) + 2 * words * 8, 64);
    geo->size = geo->value_off + (u64)geo->nelems * elem;
    return 0;
}

int tn_table_init(const struct tn_map *map)
{
    const struct tn_map_geo *geo = &map->geo;
    u64 seed = 0;

    if (!(geo->map_flags & BPF_F_ZERO_SEED) && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return -EIO;
    tn_store(&tn_table_ctl(map)->seed, seed);
    tn_store(&tn_table_ctl(map)->hint[TN_ELEM_SPARE], geo->max_entries / 64);
    for (u32 b = 0; b < geo->nbuckets; b++)
        tn_table_bucket(map, b)->head = TN_CHAIN_END | b;
    for (u32 i = 0; i < geo->nelems; i++) {
        enum tn_elem_kind pool = i < geo->max_entries ? TN_ELEM_FREE : TN_ELEM_SPARE;

        if (pool == TN_ELEM_SPARE) /* FREE is zero: fresh memory, left untouched and so not resident */
            tn_table_elem(map, i)->state = pool;
        tn_table_bits(map, pool)[i / 64] |= 1ull << i % 64;
    }
    return 0;
}

/* Counts chain b into the census; `seen` has a bit for each element. */
static void census_chain(const struct tn_map *map, u32 b, u64 *seen, struct tn_map_census *c)
{
    u32 cur = tn_load_acquire(&tn_table_bucket(map, b)->head);

    for (u32 steps = 0; cur < map->geo.nelems && steps <= TN_CHAIN_MAX; steps++) {
        const struct tn_elem *e = tn_table_elem(map, cur);

        c->chained++;
        c->faults += (seen[cur / 64] >> cur % 64 & 1) || (e->hash & (map->geo.nbuckets - 1)) != b ||
                     e->hash != tn_table_hash(map, e->key) ||
                     (e->state & TN_ELEM_KIND_MASK) != TN_ELEM_LIVE || steps == TN_CHAIN_MAX;
        seen[cur / 64] |= 1ull << cur % 64;
        for (u32 other = tn_load(&e->next), n = 0; other < map->geo.nelems && n < TN_CHAIN_MAX; n++) {
            const struct tn_elem *o = tn_table_elem(map, other);

            c->faults += !memcmp(o->key, e->key, map->geo.key_size);
            other = tn_load(&o->next);
        }
        cur = tn_load_acquire(&e->next);
    }
    c->faults += cur != (TN_CHAIN_END | b);
}

int tn_map_census(const struct tn_map *map, struct tn_map_census *ret_census)
{
    struct tn_map_census c = {0};
    _free_ u64 *seen = NULL;

    if (!tn_map_is_table(map))
        return -EOPNOTSUPP;
    seen = calloc(tn_table_words(&map->geo), sizeof(*seen));
    if (!seen)
        return -ENOMEM;

    for (u32 b = 0; b < map->geo.nbuckets; b++) {
        const struct tn_bucket *bucket = tn_table_bucket(map, b);

        c.locked += bucket->lock != 0;
        c.faults += bucket->victim != 0;
        census_chain(map, b, seen, &c);
    }
    for (u32 i = 0; i < map->geo.nelems; i++) {
        u32 kind = tn_table_elem(map, i)->state & TN_ELEM_KIND_MASK;
        bool chained = seen[i / 64] >> i % 64 & 1;

        if (kind == TN_ELEM_LIVE) {
            c.live++;
            c.faults += !chained;
        } else if (kind == TN_ELEM_FREE || kind == TN_ELEM_SPARE) {
            bool found = tn_table_bits(map, (enum tn_elem_kind)kind)[i / 64] >> i % 64 & 1;

            c.faults += !found;
            *(kind == TN_ELEM_FREE ? &c.free : &c.spare) += found;
        } else
            c.taken++;
    }
    *ret_census = c;
    return 0;
}
