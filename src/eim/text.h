/* SPDX-License-Identifier: MIT */
/*
 * Where something stands in a specification, and how that is said: "file:line:column: …". Names that are not
 * there are answered with the nearest that is.
 */
#ifndef TN_EIM_TEXT_H
#define TN_EIM_TEXT_H

#include "base/base.h"

/* Lines and columns count from 1; columns are characters, so that an editor finds them. line 0: a file as a
   whole, or a string that stands in none. */
struct tn_eim_at {
    const char *file;
    u32 line, column;
};

/* As tn_fail, with the place in front. */
int tn_eim_fail(struct tn_error *err, const struct tn_eim_at *at, int code, const char *reason,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The best of what was offered, if it is near enough to be a slip. */
struct tn_nearest {
    const char *want;
    const char *best; /* the offered string itself */
    u32 score;
};
struct tn_nearest tn_nearest_to(const char *want);
void tn_nearest_offer(struct tn_nearest *near, const char *name);
/* `; did you mean "x"?`, or "". */
#define TN_NEAREST_TEXT 160
const char *tn_nearest_text(const struct tn_nearest *near, char buf[TN_NEAREST_TEXT]);

#endif
