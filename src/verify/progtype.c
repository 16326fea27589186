/* SPDX-License-Identifier: MIT */
/* Program types; see progtype.h. */
#include "verify/progtype.h"

#include <linux/bpf.h>

static const struct tn_prog_type types[] = {
#define P(type, name, ctx, first, end, rule, checked, min, max)                                              \
    {BPF_PROG_TYPE_##type, name, ctx, first, end, TN_CTX_##rule, checked, min, max},
    TN_PROG_TYPES(P)
#undef P
};

const struct tn_prog_type *tn_prog_type_by_id(u32 type)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(types); k++)
        if (types[k].type == type)
            return &types[k];
    return NULL;
}
