/* SPDX-License-Identifier: MIT */
/*
 * Extracting the types of a binary: time from nothing to types that can be asked (and of the processor, which
 * others at work do not lengthen), the most memory that the confined child took, and the same from the cache.
 *
 *     bench-types BINARY [ROUNDS]
 */
#include <stdlib.h>
#include <sys/resource.h>

#include "host/types.h"

#define ROUNDS_MAX 99u

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void print(const char *name, const char *unit, double *samples, u32 n)
{
    qsort(samples, n, sizeof(*samples), by_value);
    printf("{\"name\":\"%s\",\"value\":%.4f,\"unit\":\"%s\",\"low\":%.4f,\"high\":%.4f,\"rounds\":%u}\n",
           name, samples[n / 2], unit, samples[0], samples[n - 1], n);
}

static int timed(const char *path, const char *cache, double *ret_seconds)
{
    struct tn_host_opts opts = {.path = path, .fd = -1, .cache_dir = cache};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};
    u64 start = tn_monotonic();
    int r = tn_host_types_open(&opts, &types, &err);

    *ret_seconds = (double)(tn_monotonic() - start) / 1e9;
    if (r) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return r;
    }
    if (getenv("BENCH_TYPES_SAYS"))
        fprintf(stderr, "%u types, %u functions, %u variables%s, %.3f s\n",
                tn_btf_count(tn_host_types_view(types)), tn_host_types_nfuncs(types),
                tn_host_types_nvars(types), tn_host_types_cached(types) ? ", cached" : "", *ret_seconds);
    tn_host_types_close(types);
    return 0;
}

/* Of this process and its children that have ended. */
static double processor_seconds(void)
{
    struct rusage own, children;

    (void)getrusage(RUSAGE_SELF, &own);
    (void)getrusage(RUSAGE_CHILDREN, &children);
    return (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec + children.ru_utime.tv_sec +
                    children.ru_stime.tv_sec) +
           (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec + children.ru_utime.tv_usec +
                    children.ru_stime.tv_usec) /
               1e6;
}

int main(int argc, char **argv)
{
    u32 rounds = argc > 2 ? (u32)atoi(argv[2]) : 5;
    char cache[] = "/tmp/tenon-bench-types-XXXXXX", command[64];
    double took[ROUNDS_MAX], busy[ROUNDS_MAX], cached[ROUNDS_MAX], first, memory;
    struct rusage usage;
    int r = 0;

    if (argc < 2 || !rounds || rounds > ROUNDS_MAX || !mkdtemp(cache))
        return 2;
    r = timed(argv[1], cache, &first);
    for (u32 i = 0; i < rounds && !r; i++) {
        busy[i] = -processor_seconds();
        r = timed(argv[1], "", &took[i]);
        busy[i] += processor_seconds();
        if (!r)
            r = timed(argv[1], cache, &cached[i]);
    }
    snprintf(command, sizeof(command), "rm -rf %s", cache);
    (void)getrusage(RUSAGE_CHILDREN, &usage); /* before rm */
    memory = (double)usage.ru_maxrss / 1024;
    if (system(command) || r)
        return 1;
    print("extracting the types of a 100 MB binary with DWARF", "s", took, rounds);
    print("processor time for that", "s", busy, rounds);
    print("memory for that", "MiB", &memory, 1);
    print("the same types from the cache", "s", cached, rounds);
    return 0;
}
