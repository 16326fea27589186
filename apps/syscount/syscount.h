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

struct thread { /* of 32 bytes, so that its place is found by a shift */
    unsigned int tid;
    unsigned int slot; /* NOBODY: of a process that is not counted */
    int nr;            /* of the call under way; −1: none */
    unsigned int pad;
    unsigned long long since, more;
};
#define NOBODY 0xffffffffu

/* The extension's variables. */
struct shared {
    struct number numbers[PROCESSES_MAX][CALLS_MAX];
    struct thread threads[THREADS_MAX];
    unsigned long long
        lost; /* calls that were not seen, since another thread's was under way at the same place */
};

#endif
