/* SPDX-License-Identifier: MIT */
/*
 * A process to be hooked and timed: obeys lines on standard input, answers with one number a line.
 *
 *   count N   nanoseconds a call of bench_count, N calls
 *   span N    the same for bench_span
 *   clock N   nanoseconds a clock_gettime(CLOCK_MONOTONIC), N calls
 *   rss       resident bytes of this process
 *
 * Compiled with frame pointers: a function that begins with `push %rbp` is what the kernel's uprobe is best
 * at, since it imitates that instruction; most others it must single-step, at ten times the cost.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define HOT __attribute__((noinline, aligned(64)))

uint64_t bench_count(uint64_t a, uint64_t b), bench_span(uint64_t a, uint64_t b);

HOT uint64_t bench_count(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b) : : "rbx");
    return (a ^ b) * 3 + b;
}

HOT uint64_t bench_span(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b) : : "rbx");
    return (a ^ b) * 5 + b;
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double calls(uint64_t (*volatile function)(uint64_t, uint64_t), uint64_t n)
{
    uint64_t sum = 0;
    double start = now();

    for (uint64_t i = 0; i < n; i++)
        sum = function(sum, i);
    __asm__ volatile("" ::"r"(sum));
    return (now() - start) / (double)n;
}

static double clocks(uint64_t n)
{
    double start = now();

    for (uint64_t i = 0; i < n; i++)
        now();
    return (now() - start) / (double)n;
}

static double resident(void)
{
    FILE *statm = fopen("/proc/self/smaps_rollup", "re");
    char line[256];
    uint64_t kib = 0;

    while (statm && fgets(line, sizeof(line), statm))
        if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
            break;
    if (statm)
        fclose(statm);
    return (double)kib * 1024;
}

int main(void)
{
    char word[16];
    uint64_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (scanf("%15s %" SCNu64, word, &n) == 2) {
        if (strcmp(word, "count") == 0)
            printf("%.4f\n", calls(bench_count, n));
        else if (strcmp(word, "span") == 0)
            printf("%.4f\n", calls(bench_span, n));
        else if (strcmp(word, "clock") == 0)
            printf("%.4f\n", clocks(n));
        else if (strcmp(word, "rss") == 0)
            printf("%.0f\n", resident());
        else
            return 2;
    }
    return 0;
}
