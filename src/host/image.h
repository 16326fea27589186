/* SPDX-License-Identifier: MIT */
/*
 * What the confined child answers, and what a cache file holds: one format, one reader, which trusts neither.
 *
 *      head │ functions (nfuncs) │ variables (nvars) │ strings │ BTF
 *
 * Numbers are of this machine: an image never leaves it.
 */
#ifndef TN_HOST_IMAGE_H
#define TN_HOST_IMAGE_H

#include "host/types.h"

#define TN_HOST_MAGIC     "TNHOST\0\5" /* its last byte is the version of format and reader */
#define TN_HOST_ROWS_MAX  (4u << 20)
#define TN_HOST_IMAGE_MAX (512ull << 20)

/* Which bytes an image speaks of: a file is recognised by what an ordinary user cannot forge, so that nobody
   can leave another's types behind under a build-id that both claim. */
struct tn_host_identity {
    u64 dev, ino, size, ctime_s, ctime_ns;
};

struct tn_host_head {
    char magic[8];
    u32 source, build_id_len;
    u8 build_id[TN_HOST_BUILD_ID_MAX];
    struct tn_host_identity file, debug; /* zeros: there is no debug file */
    u32 nfuncs, nvars, strings_size, pad;
    u64 btf_size;
};

struct tn_host_func_row {
    u64 addr, size, offset;
    u32 name, type, flags, reason, param, pad;
};

struct tn_host_var_row {
    u64 addr, size;
    u32 name, type, flags, pad;
};

/* The parts of an image, inside of bytes that are there; everything in them is in bounds and in order. */
struct tn_host_image {
    struct tn_host_head head;
    const struct tn_host_func_row *func;
    const struct tn_host_var_row *var;
    const char *strings;
    const void *btf;
    struct tn_btf *view; /* checked; the caller's to close */
};

/* `bytes` (8-aligned) stay where they are. −EBADMSG "types_damaged", −E2BIG "types_too_many", −ENOMEM. */
int tn_host_image_open(const void *bytes, u64 size, struct tn_host_image *ret, struct tn_error *err);

#endif
