/* SPDX-License-Identifier: MIT */
/* Chunks in a list, the newest first; small requests share one, large ones have their own. */
#include "eim/bag.h"

#include <stdarg.h>

/* The test of allocations has each request be one of its own. */
#ifndef TN_BAG_CHUNK
#define TN_BAG_CHUNK 8192u
#endif

struct tn_bag_chunk {
    struct tn_bag_chunk *next;
    u64 used, size;
    u8 bytes[] __attribute__((aligned(8)));
};

void *tn_bag_alloc(struct tn_bag *bag, u64 size)
{
    struct tn_bag_chunk *c = bag->chunks;
    u64 need;

    if (size > UINT32_MAX)
        return NULL;
    need = TN_ROUND_UP(TN_MAX(size, (u64)1), 8u);
    if (!c || c->size - c->used < need) {
        u64 room = TN_MAX(need, (u64)TN_BAG_CHUNK);
        struct tn_bag_chunk *fresh = calloc(1, sizeof(*fresh) + room);

        if (!fresh)
            return NULL;
        fresh->size = room;
        fresh->next = c;
        bag->chunks = c = fresh;
    }
    c->used += need;
    bag->bytes += need;
    return c->bytes + c->used - need;
}

char *tn_bag_dup(struct tn_bag *bag, const char *text, u64 len)
{
    char *copy = tn_bag_alloc(bag, len + 1);

    if (copy && len)
        memcpy(copy, text, len);
    return copy;
}

char *tn_bag_printf(struct tn_bag *bag, const char *fmt, ...)
{
    va_list ap, again;
    char *text;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    text = n < 0 ? NULL : tn_bag_alloc(bag, (u64)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

void *tn_bag_grow(struct tn_bag *bag, void *array, u64 n, u64 size)
{
    void *grown;

    if (n && (n < 4 || (n & (n - 1)))) /* room for 4 first, then for each power of two */
        return array;
    grown = tn_bag_alloc(bag, TN_MAX(n * 2, (u64)4) * size);
    if (grown && n)
        memcpy(grown, array, n * size);
    return grown;
}

void tn_bag_clear(struct tn_bag *bag)
{
    while (bag->chunks) {
        struct tn_bag_chunk *c = bag->chunks;

        bag->chunks = c->next;
        free(c);
    }
    *bag = (struct tn_bag){0};
}
