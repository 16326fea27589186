/* SPDX-License-Identifier: MIT */
/*
 * What planning costs: every function of a module planned for hooks at its entry, or at its exits, with the module read
 * already and nothing known of it. One JSON object a figure.
 *
 *   planned                functions in a second of processor time, all of the module's at once, by one thread
 *   planned, all threads   functions in a second that goes by, with as many threads as a link of many places would have
 *   read                   milliseconds to read the module: its symbols sorted, its unwind information followed
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "rewrite/module.h"

#define ROUNDS 7

/* `clock`: of this process, alone on its processor or not; where several threads work, what the clock on the wall shows. */
static double now(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* `threads`: which made it. */
static void print(const char *path, const char *what, double *v, const char *unit, u32 threads)
{
    qsort(v, ROUNDS, sizeof(*v), by_value);
    printf("{\"name\":\"%s: %s\",\"value\":%.4f,\"unit\":\"%s\",\"low\":%.4f,\"high\":%.4f,\"rounds\":%d,"
           "\"threads\":%u}\n",
           strrchr(path, '/') + 1, what, v[ROUNDS / 2], unit, v[0], v[ROUNDS - 1], ROUNDS, threads);
    fflush(stdout);
}

/* Every function of one piece of code. */
static int plan_all(const struct tn_code_view *code, enum tn_place_kind place, u32 threads,
                    u32 *ret_functions, u32 *ret_threads)
{
    struct tn_asked *asked = calloc(code->nfuncs + 1u, sizeof(*asked));
    u32 n = 0, used = 0;
    int r = asked ? 0 : -ENOMEM;

    for (u32 i = 0; r == 0 && i < code->nfuncs; i++)
        if (!code->funcs[i].part && code->funcs[i].addr - code->addr < code->len)
            asked[n++] = (struct tn_asked){.addr = code->funcs[i].addr, .place = place};
    if (r == 0)
        r = tn_plan_asked(code, asked, n, threads, &used);
    if (r == 0)
        tn_asked_clear(asked, n);
    free(asked);
    *ret_functions += n;
    *ret_threads = TN_MAX(*ret_threads, used);
    return r;
}

/* Functions a second of a module that is read anew; 0: it is not on this machine. */
static double rate(const char *path, enum tn_place_kind place, u32 threads, u32 *ret_threads,
                   double *ret_read_ms)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    clockid_t clock = threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    struct tn_module *m = NULL;
    double start = now(CLOCK_PROCESS_CPUTIME_ID);
    u32 functions = 0;
    int r = 0;

    if (fd < 0 || tn_module_open(fd, &m, NULL) < 0)
        return 0;
    *ret_read_ms = (now(CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3;
    *ret_threads = 0;
    start = now(clock);
    for (u32 k = 0; k < tn_module_ncode(m) && r == 0; k++)
        r = plan_all(tn_module_code_at(m, k), place, threads, &functions, ret_threads);
    start = now(clock) - start;
    tn_module_free(m);
    return r < 0 ? -1 : functions / start;
}

static int measure(const char *path)
{
    static const struct {
        const char *name;
        enum tn_place_kind place;
        u32 threads;
    } kinds[] = {{"entries planned", TN_PLACE_ENTRY, 1},
                 {"exits planned", TN_PLACE_EXIT, 1},
                 {"entries planned, all threads", TN_PLACE_ENTRY, 0},
                 {"exits planned, all threads", TN_PLACE_EXIT, 0}};
    static double v[TN_ARRAY_SIZE(kinds)][ROUNDS], read_ms[ROUNDS];
    u32 used[TN_ARRAY_SIZE(kinds)] = {0};

    for (u32 i = 0; i < ROUNDS; i++)
        for (u32 k = 0; k < TN_ARRAY_SIZE(kinds); k++) {
            v[k][i] = rate(path, kinds[k].place, kinds[k].threads, &used[k], &read_ms[i]);
            if (v[k][i] <= 0)
                return v[k][i] < 0;
        }
    for (u32 k = 0; k < TN_ARRAY_SIZE(kinds); k++)
        print(path, kinds[k].name, v[k], "functions/s", used[k]);
    print(path, "read", read_ms, "ms", 1);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
                                        "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/python3.11"};
    int bad = 0;

    for (int i = 1; i < argc; i++)
        bad |= measure(argv[i]);
    for (u32 i = 0; argc == 1 && i < TN_ARRAY_SIZE(usual); i++)
        bad |= measure(usual[i]);
    return bad;
}
