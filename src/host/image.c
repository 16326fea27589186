/* SPDX-License-Identifier: MIT */
/*
 * Every number is checked once, here: counts against the size, names against the strings, types against the
 * checked BTF, order of addresses. What opens needs no more checks.
 */
#include "host/image.h"

#include <errno.h>

static int damaged(struct tn_error *err, const char *what, u64 which)
{
    return tn_fail(err, -EBADMSG, "types_damaged", "the extracted types are damaged: %s (%llu)", what,
                   (unsigned long long)which);
}

static int check_head(const struct tn_host_head *h, u64 size, struct tn_error *err)
{
    u64 need = sizeof(*h);

    if (memcmp(h->magic, TN_HOST_MAGIC, sizeof(h->magic)))
        return damaged(err, "another format or version", (u8)h->magic[7]);
    if (h->source >= TN_HOST_NSOURCES || h->build_id_len > TN_HOST_BUILD_ID_MAX)
        return damaged(err, "head", h->source);
    if (h->nfuncs > TN_HOST_ROWS_MAX || h->nvars > TN_HOST_ROWS_MAX || h->btf_size > size)
        return damaged(err, "counts", h->nfuncs);
    need += (u64)h->nfuncs * sizeof(struct tn_host_func_row) + (u64)h->nvars * sizeof(struct tn_host_var_row);
    need += (u64)h->strings_size + h->btf_size;
    if (need != size || !h->strings_size)
        return damaged(err, "size", size);
    return 0;
}

static int check_funcs(const struct tn_host_image *image, struct tn_error *err)
{
    u32 type = 0;
    u64 addr = 0;

    for (u32 i = 0; i < image->head.nfuncs; i++) {
        const struct tn_host_func_row *f = &image->func[i];

        if (f->name >= image->head.strings_size || f->flags & ~(u32)TN_HOST_FLAGS ||
            f->reason >= TN_HOST_NREASONS)
            return damaged(err, "function", i);
        if (f->addr < addr)
            return damaged(err, "functions out of order", i);
        if (f->type && (f->type <= type || tn_btf_kind_of(image->view, f->type) != BTF_KIND_FUNC))
            return damaged(err, "a function's type", i);
        if (!f->type != (f->reason == TN_HOST_NOT_TYPED || f->reason == TN_HOST_NO_PROTOTYPE ||
                         f->reason == TN_HOST_INLINED))
            return damaged(err, "a function's type and reason", i);
        type = f->type ? f->type : type;
        addr = f->addr;
    }
    return 0;
}

static int check_vars(const struct tn_host_image *image, struct tn_error *err)
{
    u64 addr = 0;

    for (u32 i = 0; i < image->head.nvars; i++) {
        const struct tn_host_var_row *v = &image->var[i];

        if (v->name >= image->head.strings_size || v->flags & ~(u32)TN_HOST_FLAGS)
            return damaged(err, "variable", i);
        if (v->addr < addr)
            return damaged(err, "variables out of order", i);
        if (v->type && tn_btf_kind_of(image->view, v->type) != BTF_KIND_VAR)
            return damaged(err, "a variable's type", i);
        addr = v->addr;
    }
    return 0;
}

int tn_host_image_open(const void *bytes, u64 size, struct tn_host_image *ret, struct tn_error *err)
{
    struct tn_host_image image = {0};
    const u8 *at = bytes;
    int r;

    if (size < sizeof(image.head))
        return damaged(err, "it ends inside its head", size);
    memcpy(&image.head, at, sizeof(image.head));
    r = check_head(&image.head, size, err);
    if (r)
        return r;
    at += sizeof(image.head);
    image.func = (const void *)at;
    at += image.head.nfuncs * sizeof(*image.func);
    image.var = (const void *)at;
    at += image.head.nvars * sizeof(*image.var);
    image.strings = (const char *)at;
    at += image.head.strings_size;
    image.btf = at;
    if (image.strings[0] || image.strings[image.head.strings_size - 1])
        return damaged(err, "names", image.head.strings_size);
    r = tn_btf_open(image.btf, image.head.btf_size, NULL, &image.view, err);
    if (r)
        return r;
    r = check_funcs(&image, err);
    if (!r)
        r = check_vars(&image, err);
    if (r) {
        tn_btf_close(image.view);
        return r;
    }
    *ret = image;
    return 0;
}
