/* SPDX-License-Identifier: MIT */
/* Hosted only: recovery for owners of whom nobody told the broker (fork children, tools). Whoever stands in a
   lock word, in an element's state or in a busy record is asked about once. */
#include "rt/map/table.h"

struct owners {
    u32 *pid;
    u32 n, cap;
};

static void note(struct owners *o, u64 word)
{
    u32 pid = TN_OWNER_PID(word);

    if (!pid)
        return;
    for (u32 i = 0; i < o->n; i++)
        if (o->pid[i] == pid)
            return;
    if (o->n == o->cap)
        return; /* the rest at the next time */
    o->pid[o->n++] = pid;
}

static void note_table(const struct tn_map *map, struct owners *o)
{
    for (u32 b = 0; b < map->geo.nbuckets; b++)
        note(o, tn_load(&tn_table_bucket(map, b)->lock));
    for (u32 i = 0; i < map->geo.nelems; i++)
        note(o, tn_load(&tn_table_elem(map, i)->state));
}

static void note_ring(const struct tn_map *map, struct owners *o)
{
    u64 mask = map->geo.max_entries - 1;
    u64 pos = tn_load_acquire((u64 *)(map->base + TN_RB_CONSUMER)) & ~7ull;
    u64 prod = tn_load_acquire((u64 *)(map->base + TN_RB_PRODUCER)) & ~7ull;

    note(o, tn_load(&((struct tn_rb_ctl *)(map->base + map->geo.ctl_off))->lock));
    for (u64 walked = 0; pos != prod && walked <= mask;) {
        u64 word = tn_load_acquire((u64 *)(map->base + TN_RB_DATA + (pos & mask)));
        u64 len = TN_ROUND_UP((word & (UINT32_MAX >> 2)) + BPF_RINGBUF_HDR_SZ, 8);

        if (word & BPF_RINGBUF_BUSY_BIT)
            note(o, word);
        pos += len;
        walked += len;
    }
}

void tn_map_reap(const struct tn_map *map, bool (*dead)(u32 pid, void *arg), void *arg)
{
    u32 pids[256];
    struct owners o = {pids, 0, TN_ARRAY_SIZE(pids)};

    if (tn_map_is_table(map))
        note_table(map, &o);
    else if (map->geo.type == BPF_MAP_TYPE_RINGBUF)
        note_ring(map, &o);
    for (u32 i = 0; i < o.n; i++)
        if (dead(o.pid[i], arg))
            tn_map_recover(map, o.pid[i]);
}
