/* SPDX-License-Identifier: MIT */
/*
 * A process to be hooked and timed: obeys lines on standard input, answers with one number a line.
 *
 *   count N   nanoseconds a call of bench_count, N calls
 *   span N    the same for bench_span
 *   brief N   the same for bench_brief, in which no jump fits: a breakpoint
 *   nop N     the same for bench_nop, which begins with five bytes that do nothing
 *   called_nop N  whatever N: 1 where a call stands there by now: the kernel's optimised uprobe
 *   ratio N   bench_count ÷ a twin that nobody hooks
 *   added N   bench_span − its twin, nanoseconds
 *   call N    nanoseconds a getppid of the C library, whose system call can be hooked
 *   called N  the same − a twin: its code in memory that is no file, where nobody looks for system calls
 *   other N   the same for geteuid
 *   clock N   nanoseconds a clock_gettime(CLOCK_MONOTONIC), N calls
 *   rss       resident bytes of this process
 *
 * Calls are timed in chunks shorter than a time slice, and the answer is the median chunk: what else runs on
 * the machine is not what is measured. Twins take turns, chunk by chunk.
 *
 * `bench-target AWAKE ASLEEP` has so many threads beside the first: those awake call bench_count between
 * short naps, those asleep never wake up. It says 0 when all are there.
 *
 * Compiled with frame pointers: a function that begins with `push %rbp` is what the kernel's uprobe is best
 * at, since it imitates that instruction; most others it must single-step, at ten times the cost.
 */
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../tests/targets/crowd.h"

#define HOT __attribute__((noinline, aligned(64)))

uint64_t bench_count(uint64_t a, uint64_t b), bench_span(uint64_t a, uint64_t b);
uint64_t bench_count_twin(uint64_t a, uint64_t b), bench_span_twin(uint64_t a, uint64_t b);

HOT uint64_t bench_count_twin(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b) : : "rbx");
    return (a ^ b) * 3 + b;
}

HOT uint64_t bench_span_twin(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b) : : "rbx");
    return (a ^ b) * 5 + b;
}

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

/* Three bytes, the first of which the kernel's uprobe imitates, and another function behind them. Where shorter jumps at any of
   these instructions would lead is taken (shut_in). */
__asm__(".text\n.globl bench_brief, bench_behind\n"
        ".type bench_brief, @function\nbench_brief: push %rbx\n pop %rbx\n ret\n.size bench_brief, 3\n"
        ".type bench_behind, @function\nbench_behind: mov %rdi, %rax\n ret\n.size bench_behind, 4\n");
uint64_t bench_brief(uint64_t a, uint64_t b);

/* What Linux 6.18 turns into a call of its own, where a uprobe stands. */
__asm__(".p2align 6\n.globl bench_nop\n.type bench_nop, @function\n"
        "bench_nop: .byte 0x0f, 0x1f, 0x44, 0, 0\n mov %rdi, %rax\n xor %rsi, %rax\n lea (%rax,%rax,2), %rax\n"
        " add %rsi, %rax\n ret\n.size bench_nop, . - bench_nop\n");
uint64_t bench_nop(uint64_t a, uint64_t b);

static void shut_in(void)
{
    static const uint8_t at[][2] = {
        {0, 1}, {1, 1}, {2, 1}, {3, 3}, {6, 1}}; /* instructions: offset, length */

    for (unsigned k = 0; k < sizeof(at) / sizeof(at[0]); k++)
        crowd((const unsigned char *)bench_brief + at[k][0], at[k][1]);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

typedef uint64_t (*volatile hot_fn)(uint64_t, uint64_t);

static double chunk(hot_fn function, uint64_t n)
{
    uint64_t sum = 0;
    double start = now();

    for (uint64_t i = 0; i < n; i++)
        sum = function(sum, i);
    __asm__ volatile("" ::"r"(sum));
    return (now() - start) / (double)n;
}

static double clock_chunk(uint64_t n)
{
    double start = now();

    for (uint64_t i = 0; i < n; i++)
        now();
    return (now() - start) / (double)n;
}

static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return a < b ? -1 : a > b;
}

typedef uint64_t (*plain_fn)(uint64_t, uint64_t);
#define CALL(function) ((plain_fn)(uintptr_t)(function))

/* getppid and geteuid are two instructions and a return. */
static plain_fn copied(plain_fn function)
{
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED || memcmp((void *)(uintptr_t)function, "\xb8", 1) != 0)
        exit(3);
    memcpy(page, (void *)(uintptr_t)function, 8);
    return (plain_fn)(uintptr_t)page;
}

enum what { CALLS, RATIO, DIFFERENCE, CLOCK };

static double median(enum what what, hot_fn function, hot_fn twin, uint64_t n)
{
    enum { CHUNK = 5000, MOST = 1000 };
    static double sample[MOST];
    uint64_t chunks = n / CHUNK < 1 ? 1 : n / CHUNK > MOST ? MOST : n / CHUNK;

    for (uint64_t i = 0; i < chunks; i++) {
        uint64_t size = n * (i + 1) / chunks - n * i / chunks; /* n calls in all, exactly */
        double a = what == CLOCK ? clock_chunk(size) : chunk(function, size);
        double b = what == RATIO || what == DIFFERENCE ? chunk(twin, size) : 0;

        sample[i] = what == RATIO ? a / b : a - b;
    }
    qsort(sample, chunks, sizeof(*sample), ascending);
    return sample[chunks / 2];
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

static sem_t there;

static void *awake(void *arg)
{
    sem_post(&there);
    for (uint64_t i = 0;; i++) {
        bench_count(i, i);
        usleep(200);
    }
    return arg;
}

static void *asleep(void *arg)
{
    sem_post(&there);
    for (;;)
        pause();
    return arg;
}

static int threads(int n, void *(*life)(void *))
{
    pthread_t thread;

    for (int i = 0; i < n; i++)
        if (pthread_create(&thread, NULL, life, NULL) != 0)
            return -1;
    for (int i = 0; i < n; i++)
        sem_wait(&there);
    return 0;
}

int main(int argc, char **argv)
{
    /* Before anybody has changed them. */
    plain_fn parent = copied(CALL(getppid)), user = copied(CALL(geteuid));
    char word[16];
    uint64_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    shut_in();
    if (argc == 3) {
        if (threads(atoi(argv[1]), awake) || threads(atoi(argv[2]), asleep))
            return 1;
        puts("0");
    }
    while (scanf("%15s %" SCNu64, word, &n) == 2) {
        if (strcmp(word, "count") == 0)
            printf("%.4f\n", median(CALLS, bench_count, NULL, n));
        else if (strcmp(word, "brief") == 0)
            printf("%.4f\n", median(CALLS, bench_brief, NULL, n));
        else if (strcmp(word, "nop") == 0)
            printf("%.4f\n", median(CALLS, bench_nop, NULL, n));
        else if (strcmp(word, "called_nop") == 0)
            printf("%d\n", *(const volatile uint8_t *)(uintptr_t)bench_nop == 0xe8);
        else if (strcmp(word, "span") == 0)
            printf("%.4f\n", median(CALLS, bench_span, NULL, n));
        else if (strcmp(word, "ratio") == 0)
            printf("%.4f\n", median(RATIO, bench_count, bench_count_twin, n));
        else if (strcmp(word, "added") == 0)
            printf("%.4f\n", median(DIFFERENCE, bench_span, bench_span_twin, n));
        else if (strcmp(word, "call") == 0)
            printf("%.4f\n", median(CALLS, CALL(getppid), NULL, n));
        else if (strcmp(word, "called") == 0)
            printf("%.4f\n", median(DIFFERENCE, CALL(getppid), parent, n));
        else if (strcmp(word, "other") == 0)
            printf("%.4f\n", median(DIFFERENCE, CALL(geteuid), user, n));
        else if (strcmp(word, "clock") == 0)
            printf("%.4f\n", median(CLOCK, NULL, NULL, n));
        else if (strcmp(word, "rss") == 0)
            printf("%.0f\n", resident());
        else
            return 2;
    }
    return 0;
}
