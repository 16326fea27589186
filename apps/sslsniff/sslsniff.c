/* SPDX-License-Identifier: MIT */
/*
 * sslsniff [-d SECONDS] [-j] [-s BYTES] [-b KIB] [-l LIBRARY] -p PID[,PID…] OBJECT: what processes read and write through
 * OpenSSL 3, as text.
 *
 * An ordinary program of libbpf that knows nothing of tenon: alone it runs on the kernel's uprobes, as
 * `tenon run -- sslsniff …` inside the processes. Of each call -s bytes are shown (8192, as bcc's tool does); what is left out
 * or lost is said.
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

#include "sslsniff.h"

#define PIDS_MAX 64
#define POLL_MS  10
#define OUT_SIZE (1u << 20) /* what is written at once */

#define BLOCK 64u /* a line of the cache */
#define AHEAD 2048u

static const struct {
    const char *function, *what;
} calls[] = {
#define CALL(id, function, what) [CALL_##id] = {#function, what},
    CALLS(CALL)
#undef CALL
};

static struct process {
    int pid;
    char comm[17];
} processes[PIDS_MAX];
static unsigned int nprocesses;
static bool json;
static unsigned int shown = 8192;
static unsigned long long first, seen, seen_bytes, cut;
static struct bpf_link *links[2 * CALL_COUNT * PIDS_MAX];
static unsigned int nlinks;
static volatile sig_atomic_t done;

static void end(int signal)
{
    (void)signal;
    done = 1;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    return level == LIBBPF_WARN && getenv("SSLSNIFF_VERBOSE") ? vfprintf(stderr, format, args) : 0;
}

static int fail(const char *what)
{
    fprintf(stderr, "sslsniff: %s: %s\n", what, strerror(errno));
    return 1;
}

static int choose(const char *list)
{
    char *end, path[32];

    for (;; list = end + 1) {
        struct process *p = &processes[nprocesses];
        FILE *comm;

        if (nprocesses == PIDS_MAX) {
            errno = E2BIG;
            return -1;
        }
        p->pid = (int)strtol(list, &end, 10);
        if (end == list || p->pid <= 0 || (*end && *end != ',')) {
            errno = EINVAL;
            return -1;
        }
        snprintf(path, sizeof(path), "/proc/%d/comm", p->pid);
        comm = fopen(path, "re");
        if (comm && fgets(p->comm, sizeof(p->comm), comm))
            p->comm[strcspn(p->comm, "\n")] = 0;
        if (comm)
            fclose(comm);
        nprocesses++;
        if (!*end)
            return 0;
    }
}

static const char *comm_of(unsigned int pid)
{
    for (unsigned int i = 0; i < nprocesses; i++)
        if (processes[i].pid == (int)pid)
            return processes[i].comm;
    return "?";
}

/* The libssl that a process has mapped. */
static bool find_library(int pid, char path[static 512])
{
    char name[32], line[1024];
    bool found = false;
    FILE *maps;

    snprintf(name, sizeof(name), "/proc/%d/maps", pid);
    maps = fopen(name, "re");
    while (maps && !found && fgets(line, sizeof(line), maps)) {
        char *at = strchr(line, '/'), *base = at ? strrchr(at, '/') : NULL;

        if (!base || strncmp(base, "/libssl.so", 10))
            continue;
        line[strcspn(line, "\n")] = 0;
        found = strlen(at) < 512;
        if (found)
            strcpy(path, at); /* its length was looked at */
    }
    if (maps)
        fclose(maps);
    return found;
}

/* A field and the space behind it, filled up to its width. As printf has it, whose way of printing a fraction is most of what the
   tool would do for a short message. */
static char *put_field(char *to, const char *text, size_t len, size_t width)
{
    memcpy(to, text, len);
    memset(to + len, ' ', (len < width ? width - len : 0) + 1);
    return to + (len < width ? width : len) + 1;
}

static char *put_words(char *to, const char *words, size_t width)
{
    return put_field(to, words, strlen(words), width);
}

/* `value`, of which the last `decimals` digits are behind the point. */
static char *put_number(char *to, long long value, unsigned int decimals, size_t width)
{
    unsigned long long left = value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
    char digits[32];
    unsigned int n = sizeof(digits);

    for (unsigned int i = 0; left || i <= decimals; i++, left /= 10) {
        if (decimals && i == decimals)
            digits[--n] = '.';
        digits[--n] = (char)('0' + left % 10);
    }
    if (value < 0)
        digits[--n] = '-';
    return put_field(to, digits + n, sizeof(digits) - n, width);
}

static long long to_us(long long ns)
{
    return (ns + (ns < 0 ? -500 : 500)) / 1000;
}

#define TITLES_MAX 128

static void put_title(const struct event *e)
{
    char line[TITLES_MAX], *end = line;

    end = put_words(end, calls[e->call].what, 6);
    end = put_number(end, to_us((long long)(e->since - first)), 6, 14);
    end = put_words(end, comm_of(e->pid), 16);
    end = put_number(end, e->pid, 0, 8);
    end = put_number(end, e->total, 0, 8);
    end = put_number(end, to_us((long long)e->ns), 3, 0);
    end[-1] = '\n';
    fwrite(line, 1, (size_t)(end - line), stdout);
}

/* Bytes as a person can read them: what is no text becomes a dot. Without a table: so many at once as a vector holds. The other
   processor has written them, and a fetch from there takes longer than all that is done here: so it begins early. */
static void put_text(const unsigned char *bytes, unsigned int len)
{
    static unsigned char line[PART + 1];

    for (unsigned int at = 0; at < len; at += BLOCK) {
        unsigned int n = len - at < BLOCK ? len - at : BLOCK;

        __builtin_prefetch(bytes + at + AHEAD);
        for (unsigned int i = at; i < at + n; i++) {
            unsigned char c = bytes[i];

            line[i] = (unsigned char)(c - ' ') <= '~' - ' ' || c == '\n' || c == '\t' ? c : '.';
        }
    }
    line[len] = '\n';
    fwrite(line, 1, len + 1, stdout);
}

static void put_hex(const unsigned char *bytes, unsigned int len)
{
    for (unsigned int i = 0; i < len; i++)
        printf("%02x", bytes[i]);
}

static int show(void *ctx, void *data, size_t size)
{
    const struct event *e = data;
    unsigned int len;

    (void)ctx;
    if (size < sizeof(*e) || e->call >= CALL_COUNT)
        return 0;
    len = e->len > size - sizeof(*e) || e->len > PART ? 0 : e->len;
    if (!first)
        first = e->since;
    if (!e->at) {
        seen++;
        cut += e->total > shown ? e->total - shown : 0;
    }
    seen_bytes += len;
    if (json) {
        printf("{\"call\": \"%s\", \"pid\": %u, \"tid\": %u, \"ssl\": %llu, \"since\": %llu, \"ns\": %llu, "
               "\"total\": %u, \"at\": %u, \"bytes\": \"",
               calls[e->call].function, e->pid, e->tid, e->ssl, e->since, e->ns, e->total, e->at);
        put_hex(e->bytes, len);
        printf("\"}\n");
        return 0;
    }
    if (!e->at)
        put_title(e);
    put_text(e->bytes, len);
    return 0;
}

static int tell_lost(const struct bpf_object *object)
{
    struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
    struct lost lost;
    unsigned int zero = 0;

    if (!map || bpf_map__value_size(map) != sizeof(lost) ||
        bpf_map_lookup_elem(bpf_map__fd(map), &zero, &lost))
        return fail("reading");
    if (json)
        printf(
            "{\"calls\": %llu, \"bytes\": %llu, \"cut\": %llu, \"lost_events\": %llu, \"lost_bytes\": %llu, "
            "\"lost_calls\": %llu, \"unreadable\": %llu}\n",
            seen, seen_bytes, cut, lost.events, lost.bytes, lost.calls, lost.unreadable);
    else
        fprintf(
            stderr,
            "sslsniff: %llu calls, %llu bytes shown, %llu left out (-s); lost: %llu events of %llu bytes, "
            "%llu calls; %llu bytes unreadable\n",
            seen, seen_bytes, cut, lost.events, lost.bytes, lost.calls, lost.unreadable);
    return 0;
}

static int attach_all(const struct bpf_object *object, const char *library)
{
    /* Ends are watched first, so that what is seen entered is seen left. */
    for (int last = 0; last < 2; last++)
        for (unsigned int p = 0; p < nprocesses; p++)
            for (unsigned int i = 0; i < CALL_COUNT; i++) {
                LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = calls[i].function, .retprobe = !last);
                struct bpf_program *program;
                char name[32], path[512];

                snprintf(name, sizeof(name), "%s%s", calls[i].function, last ? "" : "_left");
                program = bpf_object__find_program_by_name(object, name);
                if (library)
                    snprintf(path, sizeof(path), "%s", library);
                else if (!find_library(processes[p].pid, path))
                    errno = ENOENT, program = NULL;
                if (!program)
                    return fail("no libssl is mapped, or the object is another one");
                links[nlinks] = bpf_program__attach_uprobe_opts(program, processes[p].pid, path, 0, &opts);
                if (!links[nlinks++])
                    return fail(name);
            }
    return 0;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = end};
    unsigned int kib = 32768;
    const char *pids = NULL, *library = NULL;
    struct bpf_object *object;
    struct ring_buffer *ring;
    struct bpf_map *map;
    double until = 0;
    int opt;

    while ((opt = getopt(argc, argv, "b:d:jl:p:s:")) != -1)
        switch (opt) {
        case 'b':
            kib = (unsigned int)atoi(optarg);
            break;
        case 'd':
            until = now() + atof(optarg);
            break;
        case 'j':
            json = true;
            break;
        case 'l':
            library = optarg;
            break;
        case 'p':
            pids = optarg;
            break;
        case 's':
            shown = (unsigned int)atoi(optarg);
            break;
        default:
            return 2;
        }
    if (!pids || optind != argc - 1 || !kib || kib & (kib - 1) || kib < 4 || kib > 1u << 20) {
        fprintf(stderr, "usage: sslsniff [-d SECONDS] [-j] [-s BYTES] [-b KIB, a power of two] [-l LIBRARY] "
                        "-p PID[,PID...] "
                        "OBJECT\n");
        return 2;
    }
    if (choose(pids))
        return fail(pids);
    setvbuf(stdout, NULL, _IOFBF, OUT_SIZE);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    libbpf_set_print(quiet);
    object = bpf_object__open_file(argv[optind], NULL);
    if (!object)
        return fail(argv[optind]);
    map = bpf_object__find_map_by_name(object, ".rodata");
    if (!map || bpf_map__set_initial_value(map, &shown, sizeof(shown)))
        return fail("settings");
    map = bpf_object__find_map_by_name(object, "events");
    if (!map || bpf_map__set_max_entries(map, kib << 10))
        return fail("settings");
    if (bpf_object__load(object))
        return fail("load");
    ring = ring_buffer__new(bpf_map__fd(map), show, NULL, NULL);
    if (!ring)
        return fail("ring");
    if (attach_all(object, library))
        return 1;
    fprintf(stderr, "sslsniff: attached\n");
    if (!json)
        printf("%-6s %-14s %-16s %-8s %-8s %s\n", "FUNC", "TIME(s)", "COMM", "PID", "LEN", "LAT(ms)");
    /* In batches: to be woken for each message would cost more than all the rest. */
    while (!done && (until == 0 || now() < until)) {
        if (ring_buffer__consume(ring) < 0)
            return fail("ring");
        fflush(stdout);
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    /* Whatever was seen is shown. */
    while (nlinks)
        bpf_link__destroy(links[--nlinks]);
    ring_buffer__consume(ring);
    if (tell_lost(object))
        return 1;
    fflush(stdout);
    bpf_object__close(object);
    return 0;
}
