/* SPDX-License-Identifier: MIT */
/*
 * What planning has found, kept by the broker for all jobs and found by file and place: a list in the order in which
 * plans came, the oldest of which go when there are too many bytes, and a table with open addressing that leads into it.
 */
#include "inject/order.h"

#include <errno.h>

struct tn_planned tn_plans_key(const struct stat *file, u64 file_offset, u32 place)
{
    return (struct tn_planned){.dev = file->st_dev,
                               .ino = file->st_ino,
                               .mtime_ns =
                                   (u64)file->st_mtim.tv_sec * 1000000000ull + (u64)file->st_mtim.tv_nsec,
                               .size = (u64)file->st_size,
                               .file_offset = file_offset,
                               .place = place};
}

static bool same(const struct tn_planned *a, const struct tn_planned *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->mtime_ns == b->mtime_ns && a->size == b->size &&
           a->file_offset == b->file_offset && a->place == b->place && a->no_puns == b->no_puns &&
           a->refused == b->refused && (a->place != TN_PLANNED_SYMBOL || !strcmp(a->symbol, b->symbol));
}

static u32 hash(const struct tn_planned *p)
{
    u64 h = p->ino * 31 + p->dev;

    h = (h * 31 + p->file_offset) * 31 + p->place;
    for (const char *s = p->symbol; p->place == TN_PLANNED_SYMBOL && *s; s++)
        h = h * 31 + (u8)*s;
    return (u32)((h * 0x9E3779B97F4A7C15ull) >> 32);
}

/* The slot of what is the same, or the empty one where it would be. */
static u32 slot_of(const struct tn_plans *plans, const struct tn_planned *key)
{
    u32 i = hash(key) & (plans->nslots - 1);

    while (plans->slot[i] && !same(plans->plan[plans->slot[i] - 1], key))
        i = (i + 1) & (plans->nslots - 1);
    return i;
}

static int make_table(struct tn_plans *plans, u32 nslots)
{
    u32 *slot = calloc(nslots, sizeof(*slot));

    if (!slot)
        return -ENOMEM;
    free(plans->slot);
    plans->slot = slot;
    plans->nslots = nslots;
    for (u32 i = 0; i < plans->n; i++)
        slot[slot_of(plans, plans->plan[i])] = i + 1;
    return 0;
}

const struct tn_planned *tn_plans_find(const struct tn_plans *plans, const struct tn_planned *key)
{
    const struct tn_planned *p;
    u32 at = plans->nslots ? plans->slot[slot_of(plans, key)] : 0;

    if (!at)
        return NULL;
    p = plans->plan[at - 1];
    return key->vectors && p->vectors == TN_VECTORS_UNKNOWN ? NULL : p;
}

int tn_plans_add(struct tn_plans *plans, struct tn_planned *p)
{
    int r = 0;

    if (plans->n == plans->cap) {
        u32 cap = plans->cap ? plans->cap * 2 : 64;
        struct tn_planned **more = reallocarray(plans->plan, cap, sizeof(*more));

        r = more ? 0 : -ENOMEM;
        if (more) {
            plans->plan = more;
            plans->cap = cap;
        }
    }
    if (r == 0 && 2 * (plans->n + 1) > plans->nslots)
        r = make_table(plans, plans->nslots ? plans->nslots * 2 : 128);
    if (r < 0) {
        free(p);
        return r;
    }
    plans->plan[plans->n] = p;
    plans->bytes += tn_planned_size(p);
    plans->slot[slot_of(plans, p)] = ++plans->n;
    return 0;
}

void tn_plans_trim(struct tn_plans *plans, u64 bytes)
{
    u32 gone = 0;

    if (plans->bytes <= bytes)
        return;
    while (gone < plans->n && plans->bytes > bytes) {
        plans->bytes -= tn_planned_size(plans->plan[gone]);
        free(plans->plan[gone++]);
    }
    plans->n -= gone;
    memmove(plans->plan, plans->plan + gone, plans->n * sizeof(*plans->plan));
    memset(plans->slot, 0, plans->nslots * sizeof(*plans->slot));
    for (u32 i = 0; i < plans->n; i++)
        plans->slot[slot_of(plans, plans->plan[i])] = i + 1;
}

void tn_plans_clear(struct tn_plans *plans)
{
    for (u32 i = 0; i < plans->n; i++)
        free(plans->plan[i]);
    free(plans->plan);
    free(plans->slot);
    *plans = (struct tn_plans){};
}
