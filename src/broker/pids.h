/* SPDX-License-Identifier: MIT */
/* Which processes are meant. */
#ifndef TN_BROKER_PIDS_H
#define TN_BROKER_PIDS_H

#include <sys/types.h>

#include "base/base.h"

bool tn_pids_add(pid_t **pids, u32 *count, pid_t pid);
/* All processes of which this user may read the maps, that are not ours, and of which `is` says so; *ret_pids is the
   caller's. −E2BIG: too many. */
int tn_pids_where(bool (*is)(pid_t pid, const void *arg), const void *arg, pid_t **ret_pids, u32 *ret_count);
/* All that run code of the file now. */
int tn_pids_of_file(u64 dev, u64 ino, pid_t **ret_pids, u32 *ret_count);

#endif
