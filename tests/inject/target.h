/* SPDX-License-Identifier: MIT */
/* Memory shared between target.c and the test that started it. */
#ifndef TESTS_INJECT_TARGET_H
#define TESTS_INJECT_TARGET_H

struct target_shared {
    volatile int ready, quit, free_running;
    volatile int inside, go; /* mode stay */
    volatile unsigned long turn, returned;
    volatile unsigned long todo;      /* calls each worker is to have made in all */
    volatile unsigned long done[256]; /* and has */
    unsigned long calls, wrong, eintr, signals;
};

#endif
