/* SPDX-License-Identifier: MIT */
/*
 * Memory that is released all at once: a specification, once read, lives and dies as a whole, so nothing in
 * it is freed by itself. A failed allocation is sticky: readers go on with NULL checks where they must, and
 * whoever started asks `failed` at the end.
 */
#ifndef TN_EIM_POOL_H
#define TN_EIM_POOL_H

#include "base/base.h"

struct tn_pool_chunk;
struct tn_pool {
    struct tn_pool_chunk *chunks;
    u64 bytes;
};

/* Zeroed, aligned to 8; NULL when there is no memory. */
void *tn_pool_alloc(struct tn_pool *pool, u64 size);
char *tn_pool_dup(struct tn_pool *pool, const char *text, u64 len);
char *tn_pool_printf(struct tn_pool *pool, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tn_pool_clear(struct tn_pool *pool);

/* Room for one more element at the end of an array of `n` in the pool, whose room doubles: the new array, or
   NULL. Call with n before it is counted up. */
void *tn_pool_grow(struct tn_pool *pool, void *array, u64 n, u64 size);

/* Appends a zeroed element and yields its address, or NULL. */
#define TN_POOL_PUSH(pool, array, n)                                                                         \
    ({                                                                                                       \
        __typeof__(array) tn_grown_ = tn_pool_grow((pool), (array), (n), sizeof(*(array)));                  \
        if (tn_grown_)                                                                                       \
            (array) = tn_grown_;                                                                             \
        tn_grown_ ? &(array)[(n)++] : NULL;                                                                  \
    })

#endif
