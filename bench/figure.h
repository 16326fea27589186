/* SPDX-License-Identifier: MIT */
/* How the benchmarks that hook themselves measure, and how they tell it: a JSON object a line. */
#ifndef BENCH_FIGURE_H
#define BENCH_FIGURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 301u
#define CALLS  10000u /* shorter than a time slice */

/* In ns. */
static inline double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static inline int cmp(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return a < b ? -1 : a > b;
}

/* Of ROUNDS samples the median, with the tenth and ninetieth percentile as spread. */
static inline void figure(const char *name, const double *samples, const char *unit, const char *goal)
{
    double v[ROUNDS];

    memcpy(v, samples, sizeof(v));
    qsort(v, ROUNDS, sizeof(*v), cmp);
    printf("{\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"goal\":\"%s\",\"low\":%.3f,\"high\":%.3f,"
           "\"rounds\":%u}\n",
           name, v[ROUNDS / 2], unit, goal, v[ROUNDS / 10], v[ROUNDS - 1 - ROUNDS / 10], ROUNDS);
}

#endif
