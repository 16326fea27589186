/* SPDX-License-Identifier: MIT */
/*
 * What there is, in the order of the code, a part of it by each thread; then each to its place. Most bytes begin no jump, whatever
 * comes behind: sixteen at a time are asked.
 */
#include "rewrite/aims.h"

#include <emmintrin.h>
#include <errno.h>

#include "rewrite/share.h"

#define LOOKED_AT 16u         /* bytes at a time */
#define PART      (1u << 18u) /* bytes of code that one thread takes */

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

/* What was found in one part of the code. */
struct found {
    struct tn_aim *aim;
    u32 n, cap;
    bool full;
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

static int find(const struct tn_code_view *c, u64 from, u64 end, struct found *ret)
{
    for (; from < end; from += LOOKED_AT) {
        u64 left = c->len - from, to;
        u32 which = left > LOOKED_AT ? candidates(c->bytes + from) : (1u << left) - 1;

        for (; which; which &= which - 1) {
            u64 at = from + (u32)__builtin_ctz(which);

            if (aim(c, at, &to) && to < c->len && add(ret, at, to) < 0)
                return -ENOMEM;
        }
    }
    return 0;
}

struct search {
    const struct tn_code_view *code;
    struct found *found; /* one a part */
};

static void find_part(void *arg, u32 who, u32 part)
{
    const struct search *s = arg;
    u64 from = (u64)part * PART;

    (void)who;
    s->found[part].full = find(s->code, from, TN_MIN(from + PART, s->code->len), &s->found[part]) < 0;
}

/* By bucket, and of one bucket in the order of the code. */
static int sort(const struct found *found, u32 nparts, u64 nbuckets, struct tn_aims *ret_aims)
{
    u32 *first = calloc(nbuckets + 1, sizeof(*first)), n = 0;
    struct tn_aim *sorted;

    for (u32 p = 0; first && p < nparts; p++)
        for (u32 i = 0; i < found[p].n; i++)
            first[found[p].aim[i].to / TN_AIMS_BUCKET]++;
    /* Each bucket's end, which is moved down to its begin. */
    for (u64 i = 0; first && i < nbuckets; i++)
        first[i] = n += first[i];
    sorted = first ? malloc((n ? n : 1) * sizeof(*sorted)) : NULL;
    if (!sorted) {
        free(first);
        return -ENOMEM;
    }
    first[nbuckets] = n;
    for (u32 p = nparts; p-- > 0;)
        for (u32 i = found[p].n; i-- > 0;)
            sorted[--first[found[p].aim[i].to / TN_AIMS_BUCKET]] = found[p].aim[i];
    *ret_aims = (struct tn_aims){.first = first, .aim = sorted};
    return 0;
}

int tn_aims_find(const struct tn_code_view *c, u32 threads, struct tn_aims *ret_aims)
{
    u32 nparts = c->len > UINT32_MAX ? 0 : (u32)(c->len / PART) + 1;
    struct search s = {.code = c, .found = nparts ? calloc(nparts, sizeof(*s.found)) : NULL};
    int r = s.found ? 0 : -ENOMEM;

    if (!r)
        tn_share(threads, nparts, find_part, &s);
    for (u32 p = 0; !r && p < nparts; p++)
        r = s.found[p].full ? -ENOMEM : 0;
    if (!r)
        r = sort(s.found, nparts, c->len / TN_AIMS_BUCKET + 1, ret_aims);
    for (u32 p = 0; s.found && p < nparts; p++)
        free(s.found[p].aim);
    free(s.found);
    return r;
}

void tn_aims_clear(struct tn_aims *aims)
{
    free(aims->first);
    free(aims->aim);
    *aims = (struct tn_aims){0};
}
