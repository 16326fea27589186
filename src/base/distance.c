/* SPDX-License-Identifier: MIT */
/* How far one name is from another: Wagner and Fischer, 1974; see base.h. */
#include "base/base.h"

#include <ctype.h>
#include <string.h>

#define LONGEST 127u

static bool same(char a, char b, bool fold)
{
    return a == b || (fold && tolower((unsigned char)a) == tolower((unsigned char)b));
}

u32 tn_distance(const char *a, const char *b, u32 limit, bool fold)
{
    u32 row[LONGEST + 1], la = (u32)strnlen(a, LONGEST), lb = (u32)strnlen(b, LONGEST);

    if ((la > lb ? la - lb : lb - la) > limit)
        return limit + 1;
    for (u32 j = 0; j <= lb; j++)
        row[j] = j;
    for (u32 i = 1; i <= la; i++) {
        u32 diagonal = row[0], best = row[0] = i;

        for (u32 j = 1; j <= lb; j++) {
            u32 up = row[j], changed = diagonal + !same(a[i - 1], b[j - 1], fold);

            row[j] = TN_MIN(changed, TN_MIN(up, row[j - 1]) + 1);
            diagonal = up;
            best = TN_MIN(best, row[j]);
        }
        if (best > limit)
            return limit + 1;
    }
    return row[lb];
}
