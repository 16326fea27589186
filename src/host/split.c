/* SPDX-License-Identifier: MIT */
/*
 * The same BTF as a second layer: every id and every name's offset goes on where the base ends; void and the
 * empty name stay 0. The rows of btf/kinds.h say where in a type they are.
 */
#include <errno.h>

#include "btf/btf_int.h"
#include "host/types.h"

struct shift {
    u32 ids, names;
};

static void name(u32 *w, const struct shift *s)
{
    *w += *w ? s->names : 0;
}

static void id(u32 *w, const struct shift *s)
{
    *w += *w ? s->ids : 0;
}

static void tail(u32 kind, u32 *w, u32 vlen, u32 each, const struct shift *s)
{
    for (u32 i = 0; i < vlen && each; i++, w += each) {
        if (kind == BTF_KIND_DATASEC) {
            id(&w[0], s);
            continue;
        }
        name(&w[0], s);
        if (kind != BTF_KIND_ENUM && kind != BTF_KIND_ENUM64)
            id(&w[1], s);
    }
}

int tn_host_types_split(const struct tn_host_types *types, const struct tn_btf *base, void **ret,
                        u64 *ret_size)
{
    struct shift s = {tn_btf_count(base) - 1, base->str_first + base->str_len};
    u64 size;
    const void *from = tn_host_types_raw(types, &size);
    struct btf_header h;
    u32 *w = malloc(size), at, end;

    if (!w)
        return -ENOMEM;
    memcpy(w, from, size);
    memcpy(&h, w, sizeof(h));
    at = (h.hdr_len + h.type_off) / 4;
    end = at + h.type_len / 4;
    while (at < end) {
        u32 kind = BTF_INFO_KIND(w[at + 1]), vlen = BTF_INFO_VLEN(w[at + 1]);
        const struct tn_btf_row *row = &tn_btf_rows[kind];

        name(&w[at], &s);
        if (row->flags & TN_BTF_REF)
            id(&w[at + 2], &s);
        tail(kind, w + at + 3 + row->fixed / 4, row->each ? vlen : 0, row->each / 4, &s);
        if (kind == BTF_KIND_ARRAY) {
            id(&w[at + 3], &s);
            id(&w[at + 4], &s);
        }
        at += 3 + row->fixed / 4 + row->each / 4 * vlen;
    }
    *ret = w;
    *ret_size = size;
    return 0;
}
