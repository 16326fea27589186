/* SPDX-License-Identifier: MIT */
/* The ring-buffer family; the work is done in map/ringbuf.c. */
#include "rt/helper/helpers.h"
#include "rt/map/map.h"

u64 tn_helper_ringbuf_output(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return (u64)(s64)tn_ringbuf_output((const struct tn_map *)r1, (const void *)r2, r3, r4, run);
}

u64 tn_helper_ringbuf_reserve(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return r3 ? 0 : (u64)tn_ringbuf_reserve((const struct tn_map *)r1, r2, run);
}

u64 tn_helper_ringbuf_submit(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    tn_ringbuf_commit((void *)r1, r2, false, run);
    return 0;
}

u64 tn_helper_ringbuf_discard(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    tn_ringbuf_commit((void *)r1, r2, true, run);
    return 0;
}

u64 tn_helper_ringbuf_query(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return tn_ringbuf_query((const struct tn_map *)r1, r2);
}
