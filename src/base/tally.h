/* SPDX-License-Identifier: MIT */
/*
 * How many of each: a few names and their numbers, in the order in which they came. Of fixed size, so that it can be part of
 * what processes tell one another; whoever reads it from another process ends it first.
 */
#ifndef TN_BASE_TALLY_H
#define TN_BASE_TALLY_H

#include "base/base.h"

struct tn_tally {
    struct {
        char name[48];
        u32 n;
    } row[16];
    u32 nrows;
};

static inline void tn_tally_add(struct tn_tally *t, const char *name)
{
    for (u32 i = 0; i < TN_ARRAY_SIZE(t->row); i++) {
        if (i == t->nrows) {
            snprintf(t->row[i].name, sizeof(t->row[i].name), "%s", name);
            t->nrows++;
        } else if (strcmp(t->row[i].name, name)) {
            continue;
        }
        t->row[i].n++;
        return;
    }
}

static inline void tn_tally_end(struct tn_tally *t)
{
    t->nrows = TN_MIN(t->nrows, (u32)TN_ARRAY_SIZE(t->row));
    for (u32 i = 0; i < t->nrows; i++)
        t->row[i].name[sizeof(t->row[i].name) - 1] = '\0';
}

#endif
