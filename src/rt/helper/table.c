/* SPDX-License-Identifier: MIT */
/* Hosted only: the rows of TN_HELPERS as data, found by number. */
#include "rt/helper/helpers.h"

static const struct tn_helper helpers[] = {
#define H(id, name, ret, a1, a2, a3, a4, a5, flags)                                                          \
    {                                                                                                        \
        id,           #name,                                                                                 \
        TN_RET_##ret, {TN_ARG_##a1, TN_ARG_##a2, TN_ARG_##a3, TN_ARG_##a4, TN_ARG_##a5},                     \
        flags,        tn_helper_##name},
    TN_HELPERS(H)
#undef H
};

const struct tn_helper *tn_helper_by_id(u32 id)
{
    for (u32 i = 0; i < TN_ARRAY_SIZE(helpers); i++)
        if (helpers[i].id == id)
            return &helpers[i];
    return NULL;
}
