/* SPDX-License-Identifier: MIT */
/* What a process's seccomp filters say of the calls the agent makes. */
#ifndef TN_INJECT_FILTER_H
#define TN_INJECT_FILTER_H

#include "base/base.h"

#include <sys/types.h>

/* Bits of tn_proc.allowed_syscalls for a thread that is held and has filters: those that every one of them
   allows. 0 where the filters may not be read (that needs CAP_SYS_ADMIN), or other threads have others. */
u32 tn_filter_of_thread(pid_t pid, pid_t tid);

#endif
