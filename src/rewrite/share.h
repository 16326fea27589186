/* SPDX-License-Identifier: MIT */
/*
 * Work in parts that do not depend on one another, done by several threads.
 */
#ifndef TN_REWRITE_SHARE_H
#define TN_REWRITE_SHARE_H

#include "base/base.h"

#define TN_SHARE_MAX 16u /* threads */

/* As many as this process may run at a time, up to TN_SHARE_MAX. */
u32 tn_share_processors(void);

/* One part, by thread `who` < threads. */
typedef void tn_share_work(void *arg, u32 who, u32 part);

/* Every part once, in any order. The calling thread is one of the `threads`, and all of them where no other can be had. All
   is done when it returns: by how many. */
u32 tn_share(u32 threads, u32 parts, tn_share_work *work, void *arg);

#endif
