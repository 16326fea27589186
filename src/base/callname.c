/* SPDX-License-Identifier: MIT */
/* See callname.h. The rows are made of <asm/unistd_64.h> when this is built. */
#include "base/callname.h"

#include <errno.h>

static const struct {
    const char *name;
    s32 nr;
} calls[] =
    {
#define C(name, nr) {#name, nr},
#include "base/callnames.h"
#undef C
},
  other_names[] = {
      {"newstat", 4}, {"newfstat", 5}, {"newlstat", 6}, {"newuname", 63}, {"sendfile64", 40}, {"umount", 166},
};

int tn_call_number(const char *name, s32 *ret_nr)
{
    for (size_t i = 0; i < TN_ARRAY_SIZE(calls); i++)
        if (!strcmp(calls[i].name, name)) {
            *ret_nr = calls[i].nr;
            return 0;
        }
    for (size_t i = 0; i < TN_ARRAY_SIZE(other_names); i++)
        if (!strcmp(other_names[i].name, name)) {
            *ret_nr = other_names[i].nr;
            return 0;
        }
    return -ENOENT;
}

const char *tn_call_name(s32 nr, char buf[16])
{
    for (size_t i = 0; i < TN_ARRAY_SIZE(calls); i++)
        if (calls[i].nr == nr)
            return calls[i].name;
    snprintf(buf, 16, "call_%d", nr);
    return buf;
}

int tn_call_place(const char *name, struct tn_call_place *ret_place)
{
    static const char enter[] = "sys_enter", leave[] = "sys_exit";
    struct tn_call_place place = {.nr = TN_CALL_ANY};
    const char *rest;
    int r = 0;

    if (!strncmp(name, enter, sizeof(enter) - 1)) {
        rest = name + sizeof(enter) - 1;
    } else if (!strncmp(name, leave, sizeof(leave) - 1)) {
        place.exit = true;
        rest = name + sizeof(leave) - 1;
    } else {
        return -EINVAL;
    }
    if (*rest == '_')
        r = tn_call_number(rest + 1, &place.nr);
    else if (*rest)
        return -EINVAL;
    if (r)
        return r;
    *ret_place = place;
    return 0;
}
