/* SPDX-License-Identifier: MIT */
/*
 * Mending a shared hash table after an owner stopped for ever between two of its stores.
 *
 *   stopped after                    found                                     mended to
 *   take                             TAKEN, on no chain                        back to its pool (reclaim)
 *   publish: head written            TAKEN, on the chain                       LIVE
 *   replace: victim written          victim on the chain, alone of its key     stays; the new one is TAKEN
 *                                                                              (reclaim)
 *   replace: new one at the head     victim on the chain, a second of its key  victim unlinked, to the spares
 *   unlink: victim written (delete)  victim on the chain                       stays: the delete did not
 *                                                                              happen
 *   unlink: link written             victim LIVE, on no chain                  to the pool that victim says
 *   unlink: state written            victim TAKEN, on no chain                 the same
 *   put: state written               FREE or SPARE without its bit             bit set (reclaim)
 *
 * While `victim` is set its element was never put, so nobody else can have it. A chain that is broken (only a
 * hostile writer can do that) is cut where it breaks.
 */
#include "rt/map/table_impl.h"

/* Marks what is on the chain as live, cuts a broken one. *ret_seen: victim is on it. *ret_link: where its
 *number stands; ret_twin: an element before it has the same key. */
static void mend_chain(const struct tn_map *map, u32 b, u32 victim, bool *ret_seen, u32 **ret_link,
                       bool *ret_twin)
{
    const struct tn_elem *v = victim < map->geo.nelems ? tn_table_elem(map, victim) : NULL;
    u32 *link = &tn_table_bucket(map, b)->head;
    bool twin = false;

    for (u32 steps = 0;; steps++) {
        u32 cur = tn_load(link);
        struct tn_elem *e;

        if (cur == (TN_CHAIN_END | b))
            return;
        if (cur >= map->geo.nelems || steps >= TN_CHAIN_MAX) {
            tn_store_release(link, TN_CHAIN_END | b);
            return;
        }
        e = tn_table_elem(map, cur);
        if (cur == victim) {
            *ret_seen = true;
            *ret_link = link;
            *ret_twin = twin;
        } else if (v && e->hash == v->hash && !memcmp(e->key, v->key, map->geo.key_size))
            twin = true;
        tn_store_release(&e->state, TN_ELEM_LIVE);
        link = &e->next;
    }
}

void tn_table_mend_bucket(const struct tn_map *map, u32 b)
{
    struct tn_bucket *bucket = tn_table_bucket(map, b);
    u32 word = tn_load(&bucket->victim);
    u32 victim = (word & ~TN_VICTIM_SPARE) - 1; /* none: beyond every element */
    enum tn_elem_kind pool = word & TN_VICTIM_SPARE ? TN_ELEM_SPARE : TN_ELEM_FREE;
    bool seen = false, twin = false;
    u32 *link = NULL;

    mend_chain(map, b, victim, &seen, &link, &twin);
    if (victim >= map->geo.nelems) {
        tn_store_release(&bucket->victim, 0);
        return;
    }
    if (seen && pool == TN_ELEM_SPARE && twin) {
        tn_store_release(link, tn_load(&tn_table_elem(map, victim)->next));
        seen = false;
    }
    if (seen) {
        tn_store_release(&bucket->victim, 0);
        return;
    }
    /* The mender may die too: what is put must not be named by victim any more,
       so it is TAKEN by the dead in between. */
    tn_store_release(&tn_table_elem(map, victim)->state,
                     (tn_load(&bucket->lock) & ~TN_ELEM_KIND_MASK) |
                         (pool == TN_ELEM_SPARE ? TN_ELEM_TAKEN_SPARE : TN_ELEM_TAKEN_FREE));
    tn_store_release(&bucket->victim, 0);
    tn_table_put(map, victim, pool);
}

static bool matches(u64 word, u64 mask, u64 owner)
{
    return !((word ^ owner) & mask);
}

void tn_table_reclaim(const struct tn_map *map, u64 mask, u64 owner)
{
    for (u32 i = 0; i < map->geo.nelems; i++) {
        struct tn_elem *e = tn_table_elem(map, i);
        u64 state = tn_load_acquire(&e->state);
        u64 kind = state & TN_ELEM_KIND_MASK, back;

        if (kind == TN_ELEM_TAKEN_FREE || kind == TN_ELEM_TAKEN_SPARE) {
            back = kind == TN_ELEM_TAKEN_SPARE ? TN_ELEM_SPARE : TN_ELEM_FREE;
            if (matches(state, mask & ~TN_ELEM_KIND_MASK, owner) && tn_cas64(&e->state, state, back))
                state = back;
        }
        /* A bit too many is harmless, one too few hides the element:
           no need to know what happens meanwhile. */
        if (state == TN_ELEM_FREE || state == TN_ELEM_SPARE) {
            u64 *word = &tn_table_bits(map, (enum tn_elem_kind)state)[i / 64];

            if (!(tn_load(word) >> i % 64 & 1))
                tn_fetch_or(word, 1ull << i % 64);
        }
    }
}

void tn_table_recover(const struct tn_map *map, u64 mask, u64 owner)
{
    struct tn_who me = tn_who(NULL);

    for (u32 b = 0; b < map->geo.nbuckets; b++) {
        struct tn_bucket *bucket = tn_table_bucket(map, b);
        u64 seen = tn_load(&bucket->lock);

        if (!seen || !matches(seen, mask, owner) || !tn_cas64(&bucket->lock, seen, me.owner))
            continue;
        tn_table_mend_bucket(map, b);
        tn_unlock(&bucket->lock);
    }
    tn_table_reclaim(map, mask, owner);
}
