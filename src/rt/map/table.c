/* SPDX-License-Identifier: MIT */
/* The shared hash table: finding, changing; see table.h. What is left
   by the dead is mended in table_recover.c. */
#include "rt/map/table_impl.h"

static inline u64 mix(u64 h)
{
    h *= 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    h ^= h >> 29;
    return h;
}

static inline u32 finish(u64 h)
{
    return (u32)(mix(h) >> 32);
}

u32 __attribute__((noinline)) tn_table_hash_bytes(const struct tn_map *map, const u8 *key, u32 left)
{
    u64 h = tn_load(&tn_table_ctl(map)->seed), word;
    u32 half = 0;

    for (; left >= 8; left -= 8, key += 8) {
        __builtin_memcpy(&word, key, 8);
        h = mix(h ^ word);
    }
    if (left) {
        if (left >= 4) {
            __builtin_memcpy(&half, key, 4);
            key += 4;
            left -= 4;
        }
        for (word = half; left; left--)
            word = word << 8 | *key++;
        h = mix(h ^ word);
    }
    return finish(h);
}

/* Most keys are one word, or half of one: no loop for these. */
static inline u32 hash_of(const struct tn_map *map, const void *key)
{
    u64 seed = tn_load(&tn_table_ctl(map)->seed), word;
    u32 half;

    if (map->geo.key_size == 4) {
        __builtin_memcpy(&half, key, 4);
        word = half;
    } else if (map->geo.key_size == 8) {
        __builtin_memcpy(&word, key, 8);
    } else {
        return tn_table_hash_bytes(map, key, map->geo.key_size);
    }
    return finish(mix(seed ^ word));
}

u32 tn_table_hash(const struct tn_map *map, const void *key)
{
    return hash_of(map, key);
}

/* Elements are aligned, the caller's key may not be. */
static inline bool same_short_key(const struct tn_map *map, const struct tn_elem *e, const void *key)
{
    if (map->geo.key_size == 8)
        return !__builtin_memcmp(e->key, key, 8);
    return map->geo.key_size == 4 && !__builtin_memcmp(e->key, key, 4);
}

static inline bool same_key(const struct tn_map *map, const struct tn_elem *e, const void *key)
{
    u32 size = map->geo.key_size;

    return size == 4 || size == 8 ? same_short_key(map, e, key) : !memcmp(e->key, key, size);
}

/* ------------------------------------------------------------------------------ readers, without a lock */

#define RESTARTS 8u

/* 1: found, 0: not there, −EAGAIN: the chain changed under us (or is broken). */
static int walk(const struct tn_map *map, u32 b, u32 hash, const void *key, struct tn_elem **ret_elem)
{
    u32 cur = tn_load_acquire(&tn_table_bucket(map, b)->head);

    for (u32 steps = 0; steps < TN_CHAIN_MAX; steps++) {
        struct tn_elem *e;

        if (cur & TN_CHAIN_END)
            return cur == (TN_CHAIN_END | b) ? 0 : -EAGAIN;
        if (cur >= map->geo.nelems)
            return -EAGAIN;
        e = tn_table_elem(map, cur);
        if (e->hash == hash && same_key(map, e, key)) {
            *ret_elem = e;
            return 1;
        }
        cur = tn_load_acquire(&e->next);
    }
    return -EAGAIN;
}

static struct tn_elem *__attribute__((noinline)) find(const struct tn_map *map, u32 hash, const void *key)
{
    u32 b = hash & (map->geo.nbuckets - 1);
    struct tn_elem *e = NULL;

    for (u32 n = 0; n < RESTARTS; n++) {
        int r = walk(map, b, hash, key, &e);

        if (r >= 0)
            return r ? e : NULL;
    }
    return NULL;
}

/* Most of the time it is the first of its chain. */
struct tn_elem *tn_table_find(const struct tn_map *map, const void *key)
{
    u32 hash = hash_of(map, key);
    u32 first = tn_load_acquire(&tn_table_bucket(map, hash & (map->geo.nbuckets - 1))->head);

    if (first < map->geo.nelems) {
        struct tn_elem *e = tn_table_elem(map, first);

        if (e->hash == hash && same_short_key(map, e, key))
            return e;
    }
    return find(map, hash, key);
}

/* The first key of bucket b or of those after it. */
static int first_from(const struct tn_map *map, u64 b, void *ret_next)
{
    for (; b < map->geo.nbuckets; b++) {
        u32 head = tn_load_acquire(&tn_table_bucket(map, (u32)b)->head);

        if (head >= map->geo.nelems)
            continue; /* empty (or broken) */
        tn_copy(ret_next, tn_table_elem(map, head)->key, map->geo.key_size);
        return 0;
    }
    return -ENOENT;
}

int tn_table_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    struct tn_elem *e = key ? tn_table_find(map, key) : NULL;
    u32 next;

    if (!e)
        return first_from(map, 0, ret_next);
    next = tn_load_acquire(&e->next);
    if (next >= map->geo.nelems)
        return first_from(map, (u64)(e->hash & (map->geo.nbuckets - 1)) + 1, ret_next);
    tn_copy(ret_next, tn_table_elem(map, next)->key, map->geo.key_size);
    return 0;
}

/*
 * Where the chain goes on is read before the element is handed out, so that it may be deleted meanwhile. An element that
 * was next and was deleted or replaced still names its successor, and is met as it was, as in Linux; one that has come to
 * another chain since does not belong to this one any more, and the walk goes on with the next bucket.
 */
struct tn_elem *tn_table_each(const struct tn_map *map, struct tn_rounds *rounds)
{
    const struct tn_map_geo *geo = &map->geo;

    if (!rounds->left) {
        rounds->left = geo->nelems + 1;
        rounds->next = tn_load_acquire(&tn_table_bucket(map, 0)->head);
    }
    for (;;) {
        struct tn_elem *e;

        while (rounds->next >= geo->nelems) {
            if (rounds->at + 1 >= geo->nbuckets)
                return NULL;
            rounds->next = tn_load_acquire(&tn_table_bucket(map, (u32)++rounds->at)->head);
        }
        if (rounds->left == 1)
            return NULL;
        rounds->left--;
        e = tn_table_elem(map, rounds->next);
        rounds->next = tn_load_acquire(&e->next);
        if ((tn_load(&e->hash) & (geo->nbuckets - 1)) == rounds->at) {
            rounds->arg[1] = (u64)e->key;
            return e;
        }
        rounds->next = TN_CHAIN_END;
    }
}

/* ------------------------------------------------------------------------------------ pools of elements */

u64 *tn_table_bits(const struct tn_map *map, enum tn_elem_kind pool)
{
    u64 *bits = (u64 *)(map->base + map->geo.bucket_off + (u64)map->geo.nbuckets * sizeof(struct tn_bucket));

    return pool == TN_ELEM_SPARE ? bits + tn_table_words(&map->geo) : bits;
}

/* State first, then the bit: in between the element can merely not be found, and recovery finds it. */
void tn_table_put(const struct tn_map *map, u32 i, enum tn_elem_kind pool)
{
    tn_store_release(&tn_table_elem(map, i)->state, pool);
    tn_fetch_or(&tn_table_bits(map, pool)[i / 64], 1ull << i % 64);
    tn_store(&tn_table_ctl(map)->hint[pool], i / 64);
}

/* An element out of a pool, marked with its owner, or −1. A bit whose element is not
   in the pool is a leftover. */
static s64 take(const struct tn_map *map, enum tn_elem_kind pool, u64 owner)
{
    u64 *bits = tn_table_bits(map, pool);
    u64 taken =
        (owner & ~TN_ELEM_KIND_MASK) | (pool == TN_ELEM_FREE ? TN_ELEM_TAKEN_FREE : TN_ELEM_TAKEN_SPARE);
    u32 words = tn_table_words(&map->geo);
    u32 w = tn_load(&tn_table_ctl(map)->hint[pool]) % words;

    for (u32 n = 0; n < words; n++, w = w + 1 == words ? 0 : w + 1) {
        for (u64 left = tn_load(&bits[w]); left; left &= left - 1) {
            u32 bit = (u32)__builtin_ctzll(left);
            u64 i = (u64)w * 64 + bit;

            if (i >= map->geo.nelems || !tn_cas64(&tn_table_elem(map, (u32)i)->state, pool, taken))
                continue;
            tn_fetch_and(&bits[w], ~(1ull << bit));
            tn_store(&tn_table_ctl(map)->hint[pool], w);
            return (s64)i;
        }
    }
    return -1;
}

/* ----------------------------------------------------------------------- writers, under the bucket's lock */

static int lock_bucket(const struct tn_map *map, u32 b, const struct tn_who *who)
{
    int r = tn_lock(&tn_table_bucket(map, b)->lock, who);

    if (r == TN_LOCK_REPAIR) {
        tn_table_mend_bucket(map, b);
        tn_table_reclaim(map, ~TN_ELEM_KIND_MASK, who->owner);
        return 0;
    }
    return r;
}

/* *ret_link: where the number of the element found stands. 1 found, 0 not, −EBUSY: too long or broken. */
static int find_locked(const struct tn_map *map, u32 b, u32 hash, const void *key, u32 **ret_link,
                       u32 *ret_index)
{
    u32 *link = &tn_table_bucket(map, b)->head;

    for (u32 steps = 0; steps < TN_CHAIN_MAX; steps++) {
        u32 cur = tn_load(link);
        struct tn_elem *e;

        if (cur >= map->geo.nelems)
            return cur & TN_CHAIN_END ? 0 : -EBUSY;
        e = tn_table_elem(map, cur);
        if (e->hash == hash && same_key(map, e, key)) {
            *ret_link = link;
            *ret_index = cur;
            return 1;
        }
        link = &e->next;
    }
    return -EBUSY;
}

/* Takes element i, which `link` names, out of its chain and back to a pool. Each store tells recovery one
 * thing more. */
static void unlink_elem(const struct tn_map *map, struct tn_bucket *bucket, u32 *link, u32 i,
                        enum tn_elem_kind pool, u64 owner)
{
    struct tn_elem *e = tn_table_elem(map, i);
    bool spare = pool == TN_ELEM_SPARE;
    u64 taken = spare ? TN_ELEM_TAKEN_SPARE : TN_ELEM_TAKEN_FREE;

    tn_store_release(&bucket->victim, (i + 1) | (spare ? TN_VICTIM_SPARE : 0));
    tn_store_release(link, tn_load(&e->next));
    tn_store_release(&e->state, (owner & ~TN_ELEM_KIND_MASK) | taken);
    tn_store_release(&bucket->victim, 0);
    tn_table_put(map, i, pool);
}

/* Writes element i, which is ours alone, and puts it at the head of the chain. */
static void publish(const struct tn_map *map, u32 b, u32 i, u32 hash, const void *key, const void *value,
                    s32 cpu, tn_table_fill fill)
{
    struct tn_bucket *bucket = tn_table_bucket(map, b);
    struct tn_elem *e = tn_table_elem(map, i);
    u32 head = tn_load(&bucket->head);

    tn_store_release(&e->hash, hash);
    tn_copy(e->key, key, map->geo.key_size);
    fill(map, tn_elem_value(map, e), value, true, cpu);
    tn_store_release(&e->next, head);
    tn_store_release(&bucket->head, i);
}

static int insert(const struct tn_map *map, u32 b, u32 hash, const void *key, const void *value, s32 cpu,
                  const struct tn_who *who, tn_table_fill fill)
{
    s64 i = take(map, TN_ELEM_FREE, who->owner);

    if (i < 0)
        return -E2BIG;
    publish(map, b, (u32)i, hash, key, value, cpu, fill);
    tn_store_release(&tn_table_elem(map, (u32)i)->state, TN_ELEM_LIVE);
    return 0;
}

/*
 * The new element goes to the head first, so that a reader finds one of the two at any moment, then the old
 * one goes. `victim` is written before both: recovery that finds two of a key knows which to drop.
 */
static int replace(const struct tn_map *map, u32 b, u32 *link, u32 old, u32 hash, const void *key,
                   const void *value, s32 cpu, const struct tn_who *who, tn_table_fill fill)
{
    struct tn_bucket *bucket = tn_table_bucket(map, b);
    s64 i = take(map, TN_ELEM_SPARE, who->owner);

    if (i < 0) { /* all spares are in use, or the dead have them */
        fill(map, tn_elem_value(map, tn_table_elem(map, old)), value, false, cpu);
        return 0;
    }
    tn_store_release(&bucket->victim, (old + 1) | TN_VICTIM_SPARE);
    publish(map, b, (u32)i, hash, key, value, cpu, fill);
    if (link == &bucket->head)
        link = &tn_table_elem(map, (u32)i)->next;
    unlink_elem(map, bucket, link, old, TN_ELEM_SPARE, who->owner);
    tn_store_release(&tn_table_elem(map, (u32)i)->state, TN_ELEM_LIVE);
    return 0;
}

int tn_table_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                    const struct tn_who *who, bool in_place, tn_table_fill fill)
{
    u32 hash = tn_table_hash(map, key), b = hash & (map->geo.nbuckets - 1), old = 0;
    u32 *link = NULL;
    int r;

    if (tn_map_flags_ok(map_flags) < 0)
        return -EINVAL;
    r = lock_bucket(map, b, who);
    if (r < 0)
        return r;

    r = find_locked(map, b, hash, key, &link, &old);
    if (r < 0)
        ;
    else if (r && map_flags == BPF_NOEXIST)
        r = -EEXIST;
    else if (!r && map_flags == BPF_EXIST)
        r = -ENOENT;
    else if (!r)
        r = insert(map, b, hash, key, value, cpu, who, fill);
    else if (!in_place)
        r = replace(map, b, link, old, hash, key, value, cpu, who, fill);
    else {
        fill(map, tn_elem_value(map, tn_table_elem(map, old)), value, false, cpu);
        r = 0;
    }
    tn_unlock(&tn_table_bucket(map, b)->lock);
    return r;
}

int tn_table_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    u32 hash = tn_table_hash(map, key), b = hash & (map->geo.nbuckets - 1), i = 0;
    struct tn_bucket *bucket = tn_table_bucket(map, b);
    u32 *link = NULL;
    int r = lock_bucket(map, b, who);

    if (r < 0)
        return r;
    r = find_locked(map, b, hash, key, &link, &i);
    if (r > 0) {
        unlink_elem(map, bucket, link, i, TN_ELEM_FREE, who->owner);
        r = 0;
    } else if (!r)
        r = -ENOENT;
    tn_unlock(&bucket->lock);
    return r;
}
