/* SPDX-License-Identifier: MIT */
/* Room for stubs. A stub never crosses the end of its page. */
#include "inject/stubs.h"

#include <errno.h>

/* Left above the break. Where it meets a page of ours, the C library's allocators map memory instead. */
#define HEAP_ROOM (64ull << 20)

static int push(u64 **list, u32 *n, u32 *cap, u64 value)
{
    if (*n == *cap) {
        u64 *more = reallocarray(*list, *cap ? *cap * 2 : 16, sizeof(**list));

        if (!more)
            return -ENOMEM;
        *list = more;
        *cap = *cap ? *cap * 2 : 16;
    }
    (*list)[(*n)++] = value;
    return 0;
}

int tn_stubs_open(struct tn_stubs *ret, const struct tn_maps *maps, const struct tn_range *avoid, u32 navoid,
                  u32 max_pages)
{
    struct tn_stubs s = {.max_pages = max_pages};

    s.free = calloc(maps->n + navoid + 2ull, sizeof(*s.free));
    if (!s.free)
        return -ENOMEM;
    s.nfree = tn_maps_free(maps, HEAP_ROOM, s.free);
    for (u32 k = 0; k < navoid; k++)
        for (u32 i = 0; i < s.nfree; i++) {
            struct tn_range was = s.free[i];

            if (avoid[k].start >= was.end || was.start >= avoid[k].end)
                continue;
            s.free[i].end = TN_MAX(avoid[k].start, was.start);
            if (avoid[k].end >= was.end)
                continue;
            memmove(&s.free[i + 2], &s.free[i + 1], (s.nfree++ - i - 1) * sizeof(*s.free));
            s.free[++i] = (struct tn_range){avoid[k].end, was.end};
        }
    *ret = s;
    return 0;
}

void tn_stubs_clear(struct tn_stubs *s)
{
    free(s->free);
    free(s->page);
    free(s->stub);
    *s = (struct tn_stubs){};
}

int tn_stubs_add_page(struct tn_stubs *s, u64 page)
{
    for (u32 i = 0; i < s->npages; i++)
        if (s->page[i] == page)
            return 0;
    return push(&s->page, &s->npages, &s->cap_pages, page);
}

int tn_stubs_add(struct tn_stubs *s, u64 stub)
{
    return push(&s->stub, &s->nstubs, &s->cap_stubs, stub);
}

static bool meets(u64 at, const u64 *stubs, u32 n, u64 *ret_next)
{
    for (u32 i = 0; i < n; i++)
        if (at < stubs[i] + TN_PUN_STUB && stubs[i] < at + TN_PUN_STUB) {
            *ret_next = stubs[i] + TN_PUN_STUB;
            return true;
        }
    return false;
}

/* The first place for a stub in a page, from lo to hi. */
static bool in_page(const struct tn_stubs *s, u64 page, u64 lo, u64 hi, const u64 *chosen, u32 nchosen,
                    u64 *ret_at)
{
    u64 at = TN_MAX(lo, page), last = TN_MIN(hi, page + TN_PAGE - TN_PUN_STUB);

    while (at <= last) {
        if (meets(at, s->stub, s->nstubs, &at) || meets(at, chosen, nchosen, &at))
            continue;
        *ret_at = at;
        return true;
    }
    return false;
}

static bool is_page(const struct tn_stubs *s, u64 page)
{
    for (u32 i = 0; i < s->npages; i++)
        if (s->page[i] == page)
            return true;
    return false;
}

static bool room(void *arg, u64 lo, u64 hi, const u64 *chosen, u32 nchosen, u64 *ret_at)
{
    const struct tn_stubs *s = arg;
    u32 a;

    if (hi < lo || hi >= 1ull << 47)
        return false;
    for (u32 i = 0; i < s->npages; i++)
        if (in_page(s, s->page[i], lo, hi, chosen, nchosen, ret_at))
            return true;
    if (s->npages + nchosen >= s->max_pages)
        return false;
    TN_PARTITION(a, s->nfree, s->free[a].end <= lo);
    for (; a < s->nfree && s->free[a].start <= hi; a++) {
        u64 page = TN_MAX(s->free[a].start, TN_ROUND_DOWN(lo, (u64)TN_PAGE));

        for (; page < s->free[a].end && page <= hi; page += TN_PAGE)
            if (!is_page(s, page) && in_page(s, page, lo, hi, chosen, nchosen, ret_at))
                return true;
    }
    return false;
}

int tn_stubs_pun(struct tn_stubs *s, const struct tn_patch *patch, u64 bias, struct tn_pun *ret)
{
    struct tn_pun pun = {};
    int r = tn_pun(patch, bias, room, s, &pun);

    for (u32 i = 0; i < pun.njumps && r == 0; i++) {
        r = tn_stubs_add_page(s, TN_ROUND_DOWN(pun.stub[i], (u64)TN_PAGE));
        if (r == 0)
            r = tn_stubs_add(s, pun.stub[i]);
    }
    if (r == 0)
        *ret = pun;
    return r;
}
