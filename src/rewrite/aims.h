/* SPDX-License-Identifier: MIT */
/*
 * What in a piece of code looks like a direct jump or call, by where it leads. Found once, at any byte, whether or not an
 * instruction begins there; who asks decides that. Kept by bucket of target: a question costs what it asks about,
 * not the whole code.
 */
#ifndef TN_REWRITE_AIMS_H
#define TN_REWRITE_AIMS_H

#include "rewrite/plan.h"

#define TN_AIMS_BUCKET 64u /* bytes of code that targets of one bucket are in */

struct tn_aim {
    u32 at, to; /* offsets in the code */
};
struct tn_aims {
    u32 *first; /* of each bucket, and one more */
    struct tn_aim *aim;
};

/* Those that may lead to [lo, hi), offsets in the code: by bucket, so that some lead nearby. */
static inline const struct tn_aim *tn_aims_at(const struct tn_aims *aims, u64 lo, u64 hi, u32 *ret_n)
{
    u32 first = aims->first[lo / TN_AIMS_BUCKET];

    *ret_n = lo < hi ? aims->first[(hi - 1) / TN_AIMS_BUCKET + 1] - first : 0;
    return aims->aim + first;
}

/* By up to so many threads (share.h). `code` is shorter than 4 GiB. −ENOMEM. */
int tn_aims_find(const struct tn_code_view *code, u32 threads, struct tn_aims *ret_aims);
void tn_aims_clear(struct tn_aims *aims);

#endif
