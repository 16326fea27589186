/* SPDX-License-Identifier: MIT */
/* The filters of a thread that is held, as the kernel has them, and whether other threads have as many. */
#include "inject/filter.h"
#include "inject/proc.h"
#include "rt/filter.h"
#include "rt/syscalls.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ptrace.h>

#ifndef PTRACE_SECCOMP_GET_FILTER
#define PTRACE_SECCOMP_GET_FILTER 0x420c
#endif
#define FILTERS_MAX 64u

u32 tn_filter_of_thread(pid_t pid, pid_t tid)
{
    struct sock_filter insns[BPF_MAXINSNS];
    struct tn_filter_room room;
    u32 allowed = (u32)((1ull << TN_SYS_COUNT) - 1), ntids = 0, nfilters = 0;
    _free_ pid_t *tids = NULL;
    struct tn_status own, other;

    if (tn_status_read(pid, tid, &own) < 0 || own.seccomp != SECCOMP_MODE_FILTER)
        return 0;
    for (; nfilters < FILTERS_MAX; nfilters++) {
        long n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (long)nfilters, insns);

        if (n < 0 && errno == ENOENT && nfilters)
            break;
        if (n <= 0 || n > BPF_MAXINSNS)
            return 0;
        allowed &= tn_filter_rows(&room, insns, (u32)n);
    }
    if (nfilters == FILTERS_MAX || tn_proc_tids(pid, &tids, &ntids) < 0)
        return 0;
    /* A thread's filters cannot be read unless it stops; their number can. */
    for (u32 i = 0; i < ntids; i++)
        if (tn_status_read(pid, tids[i], &other) == 0 &&
            (other.seccomp != own.seccomp || other.filters != own.filters))
            return 0;
    return allowed;
}
