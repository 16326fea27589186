/* SPDX-License-Identifier: MIT */
/*
 * Memory that is released all at once: a specification, once read, lives and dies as a whole, so nothing in
 * it is freed by itself. What a failed reading has put into a bag goes with the bag.
 */
#ifndef TN_EIM_BAG_H
#define TN_EIM_BAG_H

#include "base/base.h"

struct tn_bag_chunk;
struct tn_bag {
    struct tn_bag_chunk *chunks;
    u64 bytes;
};

/* Zeroed, aligned to 8; NULL when there is no memory. */
void *tn_bag_alloc(struct tn_bag *bag, u64 size);
char *tn_bag_dup(struct tn_bag *bag, const char *text, u64 len);
char *tn_bag_printf(struct tn_bag *bag, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tn_bag_clear(struct tn_bag *bag);

/* Room for one more element at the end of an array of `n` in the bag, whose room doubles: the new array, or
   NULL. Call with n before it is counted up. */
void *tn_bag_grow(struct tn_bag *bag, void *array, u64 n, u64 size);

/* Appends a zeroed element and yields its address, or NULL. */
#define TN_BAG_PUSH(bag, array, n)                                                                           \
    ({                                                                                                       \
        __typeof__(array) tn_grown_ = tn_bag_grow((bag), (array), (n), sizeof(*(array)));                    \
        if (tn_grown_)                                                                                       \
            (array) = tn_grown_;                                                                             \
        tn_grown_ ? &(array)[(n)++] : NULL;                                                                  \
    })

#endif
