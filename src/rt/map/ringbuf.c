/* SPDX-License-Identifier: MIT */
/*
 * Ring buffer, in the kernel's record format, so that stock consumers read it:
 *
 *   consumer page │ producer page │ data │ data again (not an alias: a record runs linearly from one into the
 *                                          other)
 *
 *   record: u32 length | BUSY | DISCARD,  u32 the producer's pid (Linux: page offset; no consumer reads it),
 *           sample
 *
 * A record starts below `data size` and ends below twice that, whatever another process writes into the
 * positions: they are masked where they are used. Reserving is done under a lock that carries its owner. A
 * record is BUSY until it is committed; its pid says whose it is, so the records of the dead can be discarded
 * and nobody waits for them.
 *
 * Order in reserve: header, then the producer position: a header beyond it is nothing yet. Waking (Linux's
 * adaptive rule): when the consumer's position is this very record, it has seen everything before and may be
 * asleep. Who submits without waking neither looks at that position nor waits until what it wrote is to be seen.
 */
#include "rt/map/type.h"

#define RECORD_MAX (UINT32_MAX / 4)
#define LINE       64u
#define AHEAD      (16 * LINE)

static u64 *consumer_pos(const struct tn_map *map)
{
    return (u64 *)(map->base + TN_RB_CONSUMER);
}

static u64 *producer_pos(const struct tn_map *map)
{
    return (u64 *)(map->base + TN_RB_PRODUCER);
}

static struct tn_rb_ctl *ctl(const struct tn_map *map)
{
    return (struct tn_rb_ctl *)(map->base + map->geo.ctl_off);
}

/* Every position comes from shared memory. */
static u64 offset_of(const struct tn_map *map, u64 pos)
{
    return pos & (map->geo.max_entries - 1) & ~7ull;
}

static u64 *header_at(const struct tn_map *map, u64 pos)
{
    return (u64 *)(map->base + TN_RB_DATA + offset_of(map, pos));
}

static u64 record_len(u32 len)
{
    return TN_ROUND_UP((u64)(len & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)) + BPF_RINGBUF_HDR_SZ,
                       8);
}

static void wake(const struct tn_map *map, const struct tn_proc *proc)
{
    u32 *word = &ctl(map)->wake;

    if (tn_load(word) == TN_RB_ARMED && tn_cas32(word, TN_RB_ARMED, 0))
        TN_CALL(proc, futex, word, 1 /* FUTEX_WAKE, shared */, INT32_MAX, 0, 0, 0);
}

/* The run remembers its rings, since what a record says of itself cannot be trusted. */
static bool remember(const struct tn_map *map, struct tn_run *run)
{
    u32 n = TN_MIN(run->nrings, TN_RUN_RINGS);

    for (u32 i = 0; i < n; i++)
        if (run->ring[i] == map)
            return true;
    if (n == TN_RUN_RINGS)
        return false;
    run->ring[n] = map;
    run->nrings = n + 1;
    return true;
}

static const struct tn_map *ring_of(const void *sample, const struct tn_run *run)
{
    for (u32 i = 0; i < TN_MIN(run->nrings, TN_RUN_RINGS); i++) {
        const struct tn_map *map = run->ring[i];
        u64 off = (u64)sample - (u64)map->base - TN_RB_DATA;

        if (off - BPF_RINGBUF_HDR_SZ < map->geo.max_entries)
            return map;
    }
    return NULL;
}

/* May the ring be written up to `end`? Under the lock. The consumer's own word, which it writes for each record, is looked at
   only where what was seen of it last is not enough. */
static bool has_room(const struct tn_map *map, u64 end)
{
    u64 *seen = &ctl(map)->seen;

    if (TN_LIKELY(end - tn_load(seen) < map->geo.max_entries))
        return true;
    tn_store(seen, tn_load_acquire(consumer_pos(map)));
    return end - tn_load(seen) < map->geo.max_entries;
}

void *tn_ringbuf_reserve(const struct tn_map *map, u64 size, struct tn_run *run)
{
    struct tn_who who = tn_who(run);
    u64 len, prod, *header;

    if (size > RECORD_MAX)
        return NULL;
    len = record_len((u32)size);
    if (len > map->geo.max_entries || !remember(map, run) || tn_lock(&ctl(map)->lock, &who) < 0)
        return NULL;

    prod = tn_load(producer_pos(map));
    if (!has_room(map, prod + len)) {
        tn_unlock(&ctl(map)->lock);
        return NULL;
    }
    header = header_at(map, prod);
    tn_store_release(header, (u64)TN_OWNER_PID(who.owner) << 32 | (u32)size | BPF_RINGBUF_BUSY_BIT);
    tn_store_release(producer_pos(map), prod + len);
    tn_unlock(&ctl(map)->lock);
    return header + 1;
}

/* The next record's memory is far away, as a ring is longer than caches are large: by the time it is written it shall be near. */
static void fetch_ahead(const u8 *at)
{
    for (u32 i = 0; i < AHEAD; i += LINE)
        __asm__ volatile("prefetchw %0" ::"m"(at[i]));
}

void tn_ringbuf_commit(void *sample, u64 wake_flags, bool discard, struct tn_run *run)
{
    const struct tn_map *map = ring_of(sample, run);
    u32 *len = (u32 *)((u8 *)sample - BPF_RINGBUF_HDR_SZ), new_len;
    u64 rec, cons;

    if (!map)
        return;
    new_len = tn_load(len) & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    new_len |= discard ? BPF_RINGBUF_DISCARD_BIT : 0;
    fetch_ahead((u8 *)len + record_len(new_len));
    if (wake_flags & BPF_RB_NO_WAKEUP && !(wake_flags & BPF_RB_FORCE_WAKEUP)) {
        tn_store_release(len, new_len);
        return;
    }
    tn_xchg(len, new_len);

    rec = (u64)len - (u64)map->base - TN_RB_DATA;
    cons = tn_load_acquire(consumer_pos(map)) & (map->geo.max_entries - 1);
    if (wake_flags & BPF_RB_FORCE_WAKEUP || cons == rec)
        wake(map, run->proc);
}

int tn_ringbuf_output(const struct tn_map *map, const void *data, u64 size, u64 wake_flags,
                      struct tn_run *run)
{
    void *sample;

    if (wake_flags & ~(u64)(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP))
        return -EINVAL;
    sample = tn_ringbuf_reserve(map, size, run);
    if (!sample)
        return -EAGAIN;
    memcpy(sample, data, size);
    tn_ringbuf_commit(sample, wake_flags, false, run);
    return 0;
}

u64 tn_ringbuf_query(const struct tn_map *map, u64 what)
{
    switch (what) {
    case BPF_RB_AVAIL_DATA: {
        u64 cons = tn_load_acquire(consumer_pos(map));

        return tn_load_acquire(producer_pos(map)) - cons;
    }
    case BPF_RB_RING_SIZE:
        return map->geo.max_entries;
    case BPF_RB_CONS_POS:
        return tn_load_acquire(consumer_pos(map));
    case BPF_RB_PROD_POS:
        return tn_load_acquire(producer_pos(map));
    default:
        return 0;
    }
}

/* ---------------------------------------------------------- what a ring buffer does not have, as in Linux */

void *tn_ringbuf_lookup(const struct tn_map *map, const void *key, s32 cpu)
{
    return NULL;
}

int tn_ringbuf_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags, s32 cpu,
                      const struct tn_who *who)
{
    return -TN_ENOTSUPP;
}

int tn_ringbuf_delete(const struct tn_map *map, const void *key, const struct tn_who *who)
{
    return -TN_ENOTSUPP;
}

bool tn_ringbuf_each(const struct tn_map *map, struct tn_rounds *rounds, s32 cpu)
{
    return false;
}

int tn_ringbuf_user_lookup(const struct tn_map *map, const void *key, void *ret_value)
{
    return -TN_ENOTSUPP;
}

int tn_ringbuf_user_update(const struct tn_map *map, const void *key, const void *value, u64 map_flags,
                           const struct tn_who *who)
{
    return -TN_ENOTSUPP;
}

int tn_ringbuf_user_next_key(const struct tn_map *map, const void *key, void *ret_next)
{
    return -TN_ENOTSUPP;
}

/* -------------------------------------------------------------------------------------------- hosted only */

#ifndef TN_FREESTANDING
/* The lock's dead holder had either not yet moved the producer position (then there is nothing) or had (then
   its record is BUSY like any other of its). At most one walk over what the consumer has not read. */
void tn_ringbuf_recover(const struct tn_map *map, u64 mask, u64 owner)
{
    struct tn_who me = tn_who(NULL);
    u64 seen = tn_load(&ctl(map)->lock);
    u64 pos, prod, walked = 0;
    bool ours = false, freed = false;

    if (seen && !((seen ^ owner) & mask))
        ours = tn_cas64(&ctl(map)->lock, seen, me.owner);
    pos = tn_load_acquire(consumer_pos(map)) & ~7ull;
    prod = tn_load_acquire(producer_pos(map)) & ~7ull;
    while (pos != prod && walked < map->geo.max_entries) {
        u64 *header = header_at(map, pos);
        u64 word = tn_load_acquire(header), len = record_len((u32)word);

        if (((u32)word & BPF_RINGBUF_BUSY_BIT) && !((word ^ owner) & mask >> 32 << 32))
            freed |= tn_cas64(header, word, (word & ~(u64)BPF_RINGBUF_BUSY_BIT) | BPF_RINGBUF_DISCARD_BIT);
        pos += len;
        walked += len;
    }
    if (ours)
        tn_unlock(&ctl(map)->lock);
    if (freed)
        wake(map, NULL);
}

int tn_ringbuf_geometry(struct tn_map_geo *geo)
{
    u64 size = geo->max_entries;

    if ((geo->map_flags & ~BPF_F_NUMA_NODE) || geo->key_size || geo->value_size || !size ||
        (size & (size - 1)) || size % TN_PAGE)
        return -EINVAL;
    geo->value_off = TN_RB_DATA;
    geo->mmap_size = TN_RB_DATA + 2 * size;
    geo->ctl_off = geo->mmap_size;
    geo->size = geo->mmap_size + TN_PAGE;
    return 0;
}

int tn_ringbuf_init(const struct tn_map *map)
{
    return 0;
}
#endif
