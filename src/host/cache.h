/* SPDX-License-Identifier: MIT */
/*
 * Images kept between runs, one file a build-id, written beside and renamed. A file counts only if it is ours
 * and nobody else may write it; what it says is checked like any image, and must speak of these very files.
 */
#ifndef TN_HOST_CACHE_H
#define TN_HOST_CACHE_H

#include "host/image.h"

/* `dir` as in tn_host_opts. −ENOENT: nothing of use. Bytes are the caller's to free. */
int tn_host_cache_get(const char *dir, const struct tn_host_head *want, void **ret, u64 *ret_size);
/* Best effort: what cannot be kept is read again. */
void tn_host_cache_put(const char *dir, const struct tn_host_head *head, const void *bytes, u64 size);

#endif
