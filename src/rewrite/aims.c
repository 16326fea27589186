/* SPDX-License-Identifier: MIT */
/*
 * Two passes: what there is, in the order of the code, and how much of it leads to each bucket; then each to its place. Most bytes
 * begin no jump, whatever comes behind: sixteen at a time are asked.
 */
#include "rewrite/aims.h"

#include <emmintrin.h>
#include <errno.h>

#define LOOKED_AT 16u /* bytes at a time */

/* Where a jump or call at `at` leads, if the bytes there are one. */
static bool aim(const struct tn_code_view *c, u64 at, u64 *ret_to)
{
    const u8 *b = c->bytes + at;
    u64 left = c->len - at;
    u32 head;
    s32 rel;

    if (b[0] == 0xeb || (b[0] & 0xf0) == 0x70 || (b[0] & 0xfc) == 0xe0) {
        if (left < 2)
            return false;
        *ret_to = at + 2 + (u64)(s64)(s8)b[1];
        return true;
    }
    if ((b[0] & 0xfe) == 0xe8)
        head = 1;
    else if (left >= 2 && ((b[0] == 0x0f && (b[1] & 0xf0) == 0x80) || (b[0] == 0xc7 && b[1] == 0xf8)))
        head = 2;
    else
        return false;
    if (left < head + 4)
        return false;
    memcpy(&rel, b + head, 4);
    *ret_to = at + head + 4 + (u64)(s64)rel;
    return true;
}

static __m128i is(__m128i bytes, u8 mask, u8 value)
{
    return _mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8((char)mask)), _mm_set1_epi8((char)value));
}

/* A bit for each of the bytes from `b` on that aim() could answer for; LOOKED_AT and one more are there. */
static u32 candidates(const u8 *b)
{
    __m128i first = _mm_loadu_si128((const __m128i *)b), second = _mm_loadu_si128((const __m128i *)(b + 1));
    __m128i near = _mm_or_si128(is(first, 0xfe, 0xe8),
                                _mm_or_si128(_mm_and_si128(is(first, 0xff, 0x0f), is(second, 0xf0, 0x80)),
                                             _mm_and_si128(is(first, 0xff, 0xc7), is(second, 0xff, 0xf8))));
    __m128i brief =
        _mm_or_si128(is(first, 0xff, 0xeb), _mm_or_si128(is(first, 0xf0, 0x70), is(first, 0xfc, 0xe0)));

    return (u32)_mm_movemask_epi8(_mm_or_si128(near, brief));
}

struct found {
    struct tn_aim *aim;
    u32 n, cap;
};

static int add(struct found *all, u64 at, u64 to)
{
    if (all->n == all->cap) {
        u32 cap = all->cap ? all->cap * 2 : 4096;
        struct tn_aim *more = cap > all->cap ? reallocarray(all->aim, cap, sizeof(*more)) : NULL;

        if (!more)
            return -ENOMEM;
        all->aim = more;
        all->cap = cap;
    }
    all->aim[all->n++] = (struct tn_aim){.at = (u32)at, .to = (u32)to};
    return 0;
}

static int find(const struct tn_code_view *c, u32 *count, struct found *ret_all)
{
    for (u64 from = 0; from < c->len; from += LOOKED_AT) {
        u64 left = c->len - from, to;
        u32 which = left > LOOKED_AT ? candidates(c->bytes + from) : (1u << left) - 1;

        for (; which; which &= which - 1) {
            u64 at = from + (u32)__builtin_ctz(which);

            if (!aim(c, at, &to) || to >= c->len)
                continue;
            if (add(ret_all, at, to) < 0)
                return -ENOMEM;
            count[to / TN_AIMS_BUCKET]++;
        }
    }
    return 0;
}

int tn_aims_find(const struct tn_code_view *c, struct tn_aims *ret_aims)
{
    u64 nbuckets = c->len / TN_AIMS_BUCKET + 1;
    u32 *first = calloc(nbuckets + 1, sizeof(*first)), n = 0;
    struct found all = {0};
    struct tn_aim *sorted = NULL;

    if (!first || c->len > UINT32_MAX || find(c, first, &all) < 0)
        goto fail;
    sorted = malloc((all.n ? all.n : 1) * sizeof(*sorted));
    if (!sorted)
        goto fail;
    /* Each bucket's end, which is moved down to its begin. */
    for (u64 i = 0; i < nbuckets; i++)
        first[i] = n += first[i];
    first[nbuckets] = n;
    while (n-- > 0)
        sorted[--first[all.aim[n].to / TN_AIMS_BUCKET]] = all.aim[n];
    free(all.aim);
    *ret_aims = (struct tn_aims){.first = first, .aim = sorted};
    return 0;
fail:
    free(all.aim);
    free(first);
    return -ENOMEM;
}

void tn_aims_clear(struct tn_aims *aims)
{
    free(aims->first);
    free(aims->aim);
    *aims = (struct tn_aims){0};
}
