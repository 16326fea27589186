/* SPDX-License-Identifier: MIT */
/*
 * What planning costs: every function of a module planned for a hook at its entry, with the module read already; and
 * how many had a plan. One JSON object a figure.
 *
 *   rate    functions planned in a second, all of the module's at once, as for a link of many places
 *   read    milliseconds to read the module: its symbols sorted, its unwind information followed
 */
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "rewrite/module.h"

#define ROUNDS 7

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts); /* alone on its processor or not */
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print(const char *path, const char *what, double *v, const char *unit)
{
    qsort(v, ROUNDS, sizeof(*v), by_value);
    printf("{\"name\":\"%s: %s\",\"value\":%.4f,\"unit\":\"%s\",\"low\":%.4f,\"high\":%.4f,\"rounds\":%d}\n",
           strrchr(path, '/') + 1, what, v[ROUNDS / 2], unit, v[0], v[ROUNDS - 1], ROUNDS);
    fflush(stdout);
}

static int plan_all(struct tn_module *m, enum tn_place_kind place, u32 *ret_functions, u32 *ret_planned)
{
    for (u32 k = 0; k < tn_module_ncode(m); k++) {
        const struct tn_code_view *code = tn_module_code_at(m, k);
        int r = tn_plan_many(code);

        if (r < 0)
            return r;
        for (u32 i = 0; i < code->nfuncs; i++) {
            struct tn_plan plan;

            if (code->funcs[i].part || code->funcs[i].addr - code->addr >= code->len)
                continue;
            ++*ret_functions;
            if (tn_plan(code, place, code->funcs[i].addr, &plan, NULL) < 0)
                continue;
            ++*ret_planned;
            tn_plan_clear(&plan);
        }
    }
    return 0;
}

static int measure(const char *path)
{
    static double rate[ROUNDS], read_ms[ROUNDS], exits[ROUNDS];
    u32 functions = 0, planned = 0;

    for (u32 i = 0; i < ROUNDS; i++) {
        _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct tn_module *m = NULL;
        double start = now();

        functions = planned = 0;
        if (fd < 0 || tn_module_open(fd, &m, NULL) < 0)
            return 0; /* not on this machine */
        read_ms[i] = (now() - start) * 1e3;
        start = now();
        if (plan_all(m, TN_PLACE_ENTRY, &functions, &planned) < 0)
            return 1;
        rate[i] = functions / (now() - start);
        start = now();
        functions = planned = 0;
        if (plan_all(m, TN_PLACE_EXIT, &functions, &planned) < 0)
            return 1;
        exits[i] = functions / (now() - start);
        tn_module_free(m);
    }
    print(path, "entries planned", rate, "functions/s");
    print(path, "exits planned", exits, "functions/s");
    print(path, "read", read_ms, "ms");
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
