/* SPDX-License-Identifier: MIT */
/*
 * A server in small, made to be extended by type: what its developers offer stands beside the code
 * (<tenon/eim.h>), and a line on standard input makes it do something and say what came of it.
 *
 *      begin N          N requests begin:             the sum of what ngx_http_process_request returned
 *      content N        N answers are made:           the sum of statuses, and the last body's first byte
 *      request URI ARGS the request that is used from now on
 *      many             every shape of arguments:     what the functions returned
 *      add A B          add(A, B)
 *      work N T         T threads, N calls of add each: the sum
 *      fork N           a child that calls add N times: the sum, by way of its status
 *      leap N           N times add, called by a function that may be left by longjmp
 *      plugin FILE      FILE's function handle(r), as a native module: what it returned
 *
 * Two files as arguments stand for standard input and output. VERSION 2 has the same functions on structs
 * with other offsets.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tenon/eim.h"
#include "tests/targets/host.h"

#ifdef __clang__
#define FN __attribute__((noinline))
#else
#define FN __attribute__((noinline, noipa))
#endif
#define KEEP(x) __asm__ volatile("" : "+r"(x)::"memory")

int ngx_pid;
struct clock *ngx_cached_time; /* NULL until "clock" was asked for */
long answers;
unsigned long allocated, freed;
static jmp_buf back;
static unsigned long leaps;
static long leases;

EIM_STATE(readPid, READ, ngx_pid);
EIM_STATE(readTime, READ, ngx_cached_time->sec);
EIM_STATE(countAnswer, WRITE, answers);
EIM_FUNCTION(nginxTime, ngx_time, "rtn > 0");
EIM_ENTRY(processBegin, ngx_http_process_request, "nonnull(r)");
EIM_FUNCTION(leaseOne, lease_one, "not_reentrant");
EIM_ENTRY(updateResponseContent, ngx_http_content_phase, "nonnull(r)", "outside(lease_one)");
EIM_FUNCTION(allocate, pool_alloc, "allocates");
EIM_FUNCTION(giveBack, pool_free, "nonnull(p)", "frees(p)");
EIM_FUNCTION(checksum, checksum, "nonnull(buf)", "sized(buf, len)");
EIM_FUNCTION(readsArgs, args_length, "nonnull(r)", "reads(r->args.len)");
EIM_FUNCTION(leave, leave_by_longjmp);
EIM_ENTRY(add, add);

/* ------------------------------------------------------------------------------- what is offered */

FN time_t ngx_time(void)
{
    return time(NULL);
}

/* Holds a lock while it runs: whoever calls it from there waits for ever. */
FN long lease_one(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    leases++;
    pthread_mutex_unlock(&lock);
    return leases;
}

FN struct piece *pool_alloc(void)
{
    allocated++;
    return calloc(1, sizeof(struct piece));
}

FN void pool_free(struct piece *p)
{
    freed++;
    free(p);
}

FN unsigned long checksum(const char *buf, unsigned long len)
{
    unsigned long sum = 0;

    while (len--)
        sum = sum * 31 + (unsigned char)*buf++;
    return sum;
}

FN unsigned long args_length(Request *r)
{
    return r->args.len;
}

FN void leave_by_longjmp(long value)
{
    longjmp(back, (int)value);
}

/* ------------------------------------------------------------------------------------- a request */

FN int ngx_http_process_request(Request *r)
{
    return r->method + (int)r->uri.len;
}

FN int *ngx_http_content_phase(Request *r)
{
    KEEP(r);
    r->body[0] = 'h';
    return &r->status;
}

static Request *make_request(const char *uri, const char *args)
{
    Request *r = calloc(1, sizeof(*r));

    r->method = 2;
    r->status = 200;
    r->keep_alive = 1;
    r->version = 11;
    r->uri = (struct text){strlen(uri), strdup(uri)};
    r->args = (struct text){strlen(args), strdup(args)};
    r->nheaders = 2;
    r->header[0] = (struct header){{4, "Host"}, {9, "localhost"}};
    r->header[1] = (struct header){{6, "Cookie"}, {3, "a=b"}};
    memcpy(r->secret, "hidden", 7);
    r->parent = r;
    return r;
}

/* ---------------------------------------------------------------------------- shapes of arguments */

FN long add(long a, long b)
{
    KEEP(a);
    return a * 3 + b;
}

FN long eight(long a, int b, short c, signed char d, unsigned char e, bool f, long g, short h)
{
    KEEP(a);
    return a + b + c + d + e + f + g + h;
}

FN long by_value(struct pair p, int a, struct pair q)
{
    KEEP(a);
    return p.x + p.y + a + q.x + q.y;
}

FN bool is_odd(int a)
{
    KEEP(a);
    return a & 1;
}

FN short negated(short a)
{
    KEEP(a);
    return (short)-a;
}

FN static long hidden_sum(long a, long b)
{
    KEEP(a);
    return a + b;
}

/* The compiler passes these otherwise than they say, or nowhere. */
static __attribute__((noinline)) long by_parts(const struct pair *p, int unused)
{
    long sum = p->x * 7 + p->y;

    KEEP(sum);
    return sum;
}

static inline __attribute__((always_inline)) long in_place(long a)
{
    KEEP(a);
    return a + 1;
}

static long (*volatile add_)(long, long) = add;
static long (*volatile hidden_sum_)(long, long) = hidden_sum;
static long (*volatile eight_)(long, int, short, signed char, unsigned char, bool, long, short) = eight;
static long (*volatile by_value_)(struct pair, int, struct pair) = by_value;
static bool (*volatile is_odd_)(int) = is_odd;
static short (*volatile negated_)(short) = negated;
static int (*volatile begin_)(Request *) = ngx_http_process_request;
static int *(*volatile content_)(Request *) = ngx_http_content_phase;
/* Nothing of the host calls them; an extension may. */
void *const offered[] = {ngx_time, pool_alloc, pool_free, checksum, args_length, leave_by_longjmp};

/* --------------------------------------------------------------------------------------- commands */

static void *work(void *arg)
{
    unsigned long n = *(unsigned long *)arg;
    long sum = 0;

    for (unsigned long k = 0; k < n; k++)
        sum += add_((long)k, 1);
    return (void *)sum;
}

static long in_threads(unsigned long n, unsigned long nthreads)
{
    pthread_t thread[64];
    long sum = 0;

    for (unsigned long k = 0; k < nthreads && k < 64; k++)
        pthread_create(&thread[k], NULL, work, &n);
    for (unsigned long k = 0; k < nthreads && k < 64; k++) {
        void *part;

        pthread_join(thread[k], &part);
        sum += (long)part;
    }
    return sum;
}

static int in_child(unsigned long n)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit((long)work(&n) == (long)(3 * n * (n - 1) / 2 + n) ? 7 : 8);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static FN void leap(unsigned long n)
{
    for (volatile unsigned long k = 0; k < n; k++)
        if (setjmp(back))
            leaps++;
        else
            add_((long)k, 1);
}

static long plugin(const char *path, Request *r)
{
    void *lib = dlopen(path, RTLD_NOW);
    long (*handle)(Request *) = lib ? (long (*)(Request *))dlsym(lib, "handle") : NULL;

    return handle ? handle(r) : -1000;
}

int main(int argc, char **argv)
{
    Request *r = make_request("/index.html", "user=me");
    static char line[65536], uri[32768], args[32768];
    unsigned long n, m;
    long a, b;

    if (argc == 3 && (!freopen(argv[1], "r", stdin) || !freopen(argv[2], "w", stdout)))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    ngx_pid = getpid();
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "begin %lu", &n) == 1) {
            for (a = 0; n; n--)
                a += begin_(r);
            printf("%ld\n", a);
        } else if (sscanf(line, "content %lu", &n) == 1) {
            for (a = 0; n; n--)
                a += *content_(r);
            printf("%ld %c\n", a, r->body[0]);
        } else if (sscanf(line, "request %32767s %32767s", uri, args) == 2) {
            r = make_request(uri, args);
            printf("%zu %zu\n", r->uri.len, r->args.len);
        } else if (!strncmp(line, "many", 4)) {
            a = eight_(1, -2, -3, -4, 250, true, 1l << 40, -8);
            b = by_value_((struct pair){1, 2}, -3, (struct pair){1l << 33, 5});
            printf("%ld %ld %d %d %ld %ld %ld\n", a, b, is_odd_(7), negated_(123), hidden_sum_(40, 2),
                   by_parts(&(struct pair){a, b}, 4), in_place(a));
        } else if (sscanf(line, "add %ld %ld", &a, &b) == 2) {
            printf("%ld\n", add_(a, b));
        } else if (sscanf(line, "work %lu %lu", &n, &m) == 2) {
            printf("%ld\n", in_threads(n, m));
        } else if (sscanf(line, "fork %lu", &n) == 1) {
            printf("%d\n", in_child(n));
        } else if (sscanf(line, "leap %lu", &n) == 1) {
            leaps = 0;
            leap(n);
            printf("%lu\n", leaps);
        } else if (sscanf(line, "plugin %32767s", uri) == 1) {
            printf("%ld\n", plugin(uri, r));
        } else if (sscanf(line, "clock %ld", &a) == 1) {
            static struct clock clock;

            clock.sec = a;
            ngx_cached_time = &clock;
            printf("%ld\n", answers);
        } else if (!strncmp(line, "leases", 6)) {
            printf("%ld\n", leases);
        } else if (!strncmp(line, "pool", 4)) {
            printf("%lu %lu\n", allocated, freed);
        } else {
            printf("? %s", line);
        }
    }
    return 0;
}
