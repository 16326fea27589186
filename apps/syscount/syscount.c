/* SPDX-License-Identifier: MIT */
/*
 * syscount [-c] [-d SECONDS] [-j] -p PID[,PID…] OBJECT: which system calls processes make, how often, how long.
 *
 * An ordinary program of libbpf that knows nothing of tenon: alone it runs on the kernel's tracepoints, as
 * `tenon run -p PID[,PID…] -- syscount …` inside the processes.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "syscount.h"

#include "base/callname.h"

struct process {
    unsigned int pid;
    char comm[17];
};

static struct shared shared;
static struct process processes[PROCESSES_MAX];

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    return level == LIBBPF_WARN && getenv("SYSCOUNT_VERBOSE") ? vfprintf(stderr, format, args) : 0;
}

static int fail(const char *what)
{
    fprintf(stderr, "syscount: %s: %s\n", what, strerror(errno));
    return 1;
}

/* Each process gets a row. */
static int choose(const struct bpf_object *object, const char *list)
{
    int fd = bpf_object__find_map_fd_by_name(object, "slots");
    unsigned int slot = 0;
    char *end, path[32];
    FILE *comm;

    for (;; list = end + 1, slot++) {
        struct process *p = &processes[slot];

        p->pid = (unsigned int)strtoul(list, &end, 10);
        if (end == list || (*end && *end != ',') || slot == PROCESSES_MAX) {
            errno = EINVAL;
            return -1;
        }
        if (bpf_map_update_elem(fd, &p->pid, &slot, BPF_ANY))
            return -1;
        snprintf(path, sizeof(path), "/proc/%u/comm", p->pid);
        comm = fopen(path, "re");
        if (comm && fgets(p->comm, sizeof(p->comm), comm))
            p->comm[strcspn(p->comm, "\n")] = 0;
        if (comm)
            fclose(comm);
        if (!*end)
            return 0;
    }
}

static int read_numbers(const struct bpf_object *object)
{
    unsigned int all = 0;

    return bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, ".bss"), &all, &shared);
}

static unsigned int *rows;
static int by_calls(const void *x, const void *y)
{
    const struct number *a = &shared.numbers[0][0] + *(const unsigned int *)x,
                        *b = &shared.numbers[0][0] + *(const unsigned int *)y;

    return a->calls < b->calls ? 1 : a->calls > b->calls ? -1 : 0;
}

static void print(bool json, bool timed)
{
    unsigned int n = 0;

    rows = calloc(PROCESSES_MAX * CALLS_MAX, sizeof(*rows));
    if (!rows)
        return;
    for (unsigned int i = 0; i < PROCESSES_MAX * CALLS_MAX; i++)
        if (shared.numbers[i / CALLS_MAX][i % CALLS_MAX].calls)
            rows[n++] = i;
    qsort(rows, n, sizeof(*rows), by_calls);
    if (json)
        printf("[");
    else
        printf("%7s %-16s %-20s %10s%s\n", "PID", "COMM", "SYSCALL", "COUNT",
               timed ? "    TIME (us)  EACH (us)" : "");
    for (unsigned int i = 0; i < n; i++) {
        const struct process *p = &processes[rows[i] / CALLS_MAX];
        const struct number *c = &shared.numbers[rows[i] / CALLS_MAX][rows[i] % CALLS_MAX];
        char buf[16];
        const char *name = tn_call_name((int)(rows[i] % CALLS_MAX), buf);

        if (json)
            printf("%s{\"pid\": %u, \"call\": \"%s\", \"calls\": %llu, \"ns\": %llu}", i ? ", " : "", p->pid,
                   name, c->calls, c->ns);
        else if (timed)
            printf("%7u %-16.16s %-20s %10llu %12.1f %10.2f\n", p->pid, p->comm, name, c->calls,
                   (double)c->ns / 1e3, (double)c->ns / 1e3 / (double)c->calls);
        else
            printf("%7u %-16.16s %-20s %10llu\n", p->pid, p->comm, name, c->calls);
    }
    if (json)
        printf("]\n");
    free(rows);
}

int main(int argc, char **argv)
{
    struct bpf_object *object;
    struct bpf_program *program;
    struct bpf_map *map;
    const char *pids = NULL;
    bool json = false;
    int timed = 1;
    double seconds = 0;
    sigset_t signals;
    int opt;

    while ((opt = getopt(argc, argv, "cd:jp:")) != -1)
        switch (opt) {
        case 'c':
            timed = 0;
            break;
        case 'd':
            seconds = atof(optarg);
            break;
        case 'j':
            json = true;
            break;
        case 'p':
            pids = optarg;
            break;
        default:
            return 2;
        }
    if (!pids || optind != argc - 1) {
        fprintf(stderr, "usage: syscount [-c] [-d SECONDS] [-j] -p PID[,PID...] OBJECT\n");
        return 2;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    libbpf_set_print(quiet);
    object = bpf_object__open_file(argv[optind], NULL);
    if (!object)
        return fail(argv[optind]);
    map = bpf_object__find_map_by_name(object, ".rodata");
    if (!map || bpf_map__set_initial_value(map, &timed, sizeof(timed)))
        return fail("settings");
    if (bpf_object__load(object))
        return fail("load");
    if (choose(object, pids))
        return fail(pids);
    /* Ends are watched first, so that what is seen entered is seen left. */
    for (int last = 0; last < 2; last++)
        bpf_object__for_each_program(program, object)
        {
            if (!strcmp(bpf_program__name(program), last ? "leave" : "enter") || (!last && !timed))
                continue;
            if (!bpf_program__attach(program))
                return fail(bpf_program__section_name(program));
        }
    fprintf(stderr, "syscount: attached\n");
    if (seconds > 0)
        sigtimedwait(&signals, NULL,
                     &(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)});
    else
        sigwaitinfo(&signals, NULL);
    if (read_numbers(object))
        return fail("reading");
    print(json, timed);
    if (shared.lost)
        fprintf(stderr,
                "syscount: %llu calls were not counted: two threads with the same low bits in their ids\n",
                shared.lost);
    bpf_object__close(object);
    return 0;
}
