/* SPDX-License-Identifier: MIT */
/* What the extension and the tool that reads it agree on. */
#ifndef SYSCOUNT_H
#define SYSCOUNT_H

#define CALLS_MAX     512  /* numbers of system calls */
#define PROCESSES_MAX 64   /* counted at once */
#define THREADS_MAX   4096 /* told apart by the low bits of their ids */

struct number {
    unsigned long long calls, ns;
};

#endif
