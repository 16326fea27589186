/* SPDX-License-Identifier: MIT */
/* Room for stubs. A stub never crosses the end of its page. */
#include "inject/stubs.h"

#include <errno.h>

/* Left above the break. Where it meets a page of ours, the C library's allocators map memory instead. */
#define HEAP_ROOM (64ull << 20)

/* Where the first of a sorted list is that is not below `value`. */
static u32 first_from(const u64 *list, u32 n, u64 value)
{
    u32 at;

    TN_PARTITION(at, n, list[at] < value);
    return at;
}

/* Into its place, once. */
static int insert(u64 **list, u32 *n, u32 *cap, u64 value)
{
    u32 at = first_from(*list, *n, value);

    if (at < *n && (*list)[at] == value)
        return 0;
    if (*n == *cap) {
        u64 *more = reallocarray(*list, *cap ? *cap * 2 : 16, sizeof(**list));

        if (!more)
            return -ENOMEM;
        *list = more;
        *cap = *cap ? *cap * 2 : 16;
    }
    memmove(*list + at + 1, *list + at, (*n - at) * sizeof(**list));
    (*list)[at] = value;
    (*n)++;
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
    free(s->fresh);
    *s = (struct tn_stubs){};
}

int tn_stubs_add_page(struct tn_stubs *s, u64 page)
{
    return insert(&s->page, &s->npages, &s->cap_pages, page);
}

int tn_stubs_add(struct tn_stubs *s, u64 stub)
{
    return insert(&s->stub, &s->nstubs, &s->cap_stubs, stub);
}

static bool is_page(const struct tn_stubs *s, u64 page)
{
    u32 at = first_from(s->page, s->npages, page);

    return at < s->npages && s->page[at] == page;
}

/* The first place for a stub in a page, from lo to hi. */
static bool in_page(const struct tn_stubs *s, u64 page, u64 lo, u64 hi, const u64 *chosen, u32 nchosen,
                    u64 *ret_at)
{
    u64 at = TN_MAX(lo, page), last = TN_MIN(hi, page + TN_PAGE - TN_PUN_STUB);
    u32 i = first_from(s->stub, s->nstubs, at < TN_PUN_STUB ? 0 : at - TN_PUN_STUB + 1);

    while (at <= last) {
        bool taken = i < s->nstubs && s->stub[i] < at + TN_PUN_STUB;

        if (taken)
            at = s->stub[i++] + TN_PUN_STUB;
        for (u32 k = 0; k < nchosen && !taken; k++)
            if (at < chosen[k] + TN_PUN_STUB && chosen[k] < at + TN_PUN_STUB) {
                at = chosen[k] + TN_PUN_STUB;
                taken = true;
            }
        if (taken)
            continue;
        *ret_at = at;
        return true;
    }
    return false;
}

struct question {
    const struct tn_stubs *s;
    bool fresh; /* pages that are not there yet will do */
};

static u64 next_page(void *arg, u64 from)
{
    const struct tn_stubs *s = ((struct question *)arg)->s;
    u32 at = first_from(s->page, s->npages, from);

    return at < s->npages ? s->page[at] : UINT64_MAX;
}

/*
 * The highest page that will do: who comes next stands behind, and what it can reach then lies behind what this one can, too. So
 * they meet in the same pages.
 */
static bool room(void *arg, u64 lo, u64 hi, const u64 *chosen, u32 nchosen, u64 *ret_at)
{
    const struct question *q = arg;
    const struct tn_stubs *s = q->s;
    u32 a;

    if (hi < lo || hi >= 1ull << 47)
        return false;
    for (u32 i = first_from(s->page, s->npages, hi + 1); i-- > 0 && s->page[i] + TN_PAGE > lo;)
        if (in_page(s, s->page[i], lo, hi, chosen, nchosen, ret_at))
            return true;
    if (!q->fresh || s->npages + nchosen >= s->max_pages)
        return false;
    TN_PARTITION(a, s->nfree, s->free[a].start <= hi);
    while (a-- > 0 && s->free[a].end > lo) {
        u64 first = TN_MAX(s->free[a].start, TN_ROUND_DOWN(lo, (u64)TN_PAGE)),
            page = TN_MIN(TN_ROUND_DOWN(hi, (u64)TN_PAGE), s->free[a].end - TN_PAGE);

        for (; page >= first && page <= hi; page -= TN_PAGE)
            if (!is_page(s, page) && in_page(s, page, lo, hi, chosen, nchosen, ret_at))
                return true;
    }
    return false;
}

int tn_stubs_pun(struct tn_stubs *s, const struct tn_patch *patch, u64 bias, bool fresh, struct tn_pun *ret)
{
    struct question q = {s, fresh};
    struct tn_pun pun = {};
    int r = tn_pun(patch, bias, room, next_page, &q, &pun);

    for (u32 i = 0; i < pun.njumps && r == 0; i++) {
        u64 page = TN_ROUND_DOWN(pun.stub[i], (u64)TN_PAGE);

        if (!is_page(s, page))
            r = insert(&s->fresh, &s->nfresh, &s->cap_fresh, page);
        if (r == 0)
            r = tn_stubs_add_page(s, page);
        if (r == 0)
            r = tn_stubs_add(s, pun.stub[i]);
    }
    if (r == 0)
        *ret = pun;
    return r;
}
