/* SPDX-License-Identifier: MIT */
/* Places in front of messages; the nearest name by edit distance. */
#include "eim/text.h"

#include <stdarg.h>

int tn_eim_fail(struct tn_error *err, const struct tn_eim_at *at, int code, const char *reason,
                const char *fmt, ...)
{
    char text[sizeof(err->message)], place[300] = "";
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (at && at->file && at->line)
        snprintf(place, sizeof(place), "%.200s:%u:%u: ", at->file, at->line, at->column);
    else if (at && at->file)
        snprintf(place, sizeof(place), "%.200s: ", at->file);
    return tn_fail(err, code, reason, "%s%s", place, text);
}

struct tn_nearest tn_nearest_to(const char *want)
{
    size_t len = strlen(want);

    /* A slip changes a third of a word at most; of two letters anything is near. */
    return (struct tn_nearest){want, NULL, len < 3 ? 1 : (u32)TN_MIN(len / 3 + 2, (size_t)6)};
}

void tn_nearest_offer(struct tn_nearest *near, const char *name)
{
    u32 d;

    if (!near->score || !*name || !*near->want)
        return;
    /* A word left out or put in front counts as one slip. */
    d = strlen(near->want) >= 4 &&
                (strstr(name, near->want) || (strlen(name) >= 4 && strstr(near->want, name)))
            ? 1
            : tn_distance(near->want, name, near->score, true);
    /* Of equals the first in the alphabet, so that the order of offers does not show. */
    if (d < near->score || (near->best && d == near->score && strcmp(name, near->best) < 0)) {
        near->best = name;
        near->score = d;
    }
}

const char *tn_nearest_text(const struct tn_nearest *near, char buf[TN_NEAREST_TEXT])
{
    buf[0] = 0;
    if (near->best)
        snprintf(buf, TN_NEAREST_TEXT, "; did you mean \"%.120s\"?", near->best);
    return buf;
}
