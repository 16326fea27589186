/* SPDX-License-Identifier: MIT */
/* Two passes: how many lead to each bucket, then which. */
#include "rewrite/aims.h"

#include <errno.h>

/* Where a jump or call at `at` leads, if the bytes there are one; its length, 0: they are none. */
static u32 aim(const struct tn_code_view *c, u64 at, u64 *ret_to)
{
    const u8 *b = c->bytes + at;
    u64 left = c->len - at;
    u32 head;
    s32 rel;

    if (b[0] == 0xeb || (b[0] & 0xf0) == 0x70 || (b[0] & 0xfc) == 0xe0) {
        if (left < 2)
            return 0;
        *ret_to = at + 2 + (u64)(s64)(s8)b[1];
        return 2;
    }
    if ((b[0] & 0xfe) == 0xe8)
        head = 1;
    else if (left >= 2 && ((b[0] == 0x0f && (b[1] & 0xf0) == 0x80) || (b[0] == 0xc7 && b[1] == 0xf8)))
        head = 2;
    else
        return 0;
    if (left < head + 4)
        return 0;
    memcpy(&rel, b + head, 4);
    *ret_to = at + head + 4 + (u64)(s64)rel;
    return head + 4;
}

int tn_aims_find(const struct tn_code_view *c, struct tn_aims *ret_aims)
{
    u64 nbuckets = c->len / TN_AIMS_BUCKET + 1, to;
    u32 *first = calloc(nbuckets + 1, sizeof(*first)), n = 0;
    struct tn_aim *all;

    if (!first || c->len > UINT32_MAX)
        goto fail;
    for (u64 at = 0; at < c->len; at++)
        if (aim(c, at, &to) && to < c->len)
            first[to / TN_AIMS_BUCKET]++;
    /* Each bucket's end, which the second pass moves down to its begin. */
    for (u64 i = 0; i < nbuckets; i++)
        first[i] = n += first[i];
    first[nbuckets] = n;
    all = malloc((n ? n : 1) * sizeof(*all));
    if (!all)
        goto fail;
    for (u64 at = c->len; at-- > 0;)
        if (aim(c, at, &to) && to < c->len)
            all[--first[to / TN_AIMS_BUCKET]] = (struct tn_aim){.at = (u32)at, .to = (u32)to};
    *ret_aims = (struct tn_aims){.first = first, .aim = all};
    return 0;
fail:
    free(first);
    return -ENOMEM;
}

void tn_aims_clear(struct tn_aims *aims)
{
    free(aims->first);
    free(aims->aim);
    *aims = (struct tn_aims){0};
}
