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
 *      spin T, stop     T threads call add until the second command: how many results were wrong
 *      fork N           a child that calls add N times: the sum, by way of its status
 *      store WHAT       use_store, after something happened to its buffers: what it returned
 *      stores N         N calls of use_store, while another thread changes lengths and takes buffers away
 *      leap N           N times add, called by a function that may be left by longjmp
 *      nest N D         N times nest, D calls deep: the sum
 *      over N           N times nest, half of them left by longjmp from within: how many were
 *      alarms N         nest while handlers, on another stack, interrupt it with calls of their own, until
 *                       there were N of these: how many calls there were in all
 *      routines N       N coroutines on two threads, that all change stacks inside nest, and return on another
 *                       thread: the same
 *      brief N          N threads, one after the other, the second half of which end inside nest: the same
 *      enter D, leave   a thread goes D calls deep into nest, and returns at the second command
 *      end N            N requests are made, and freed by request_end: the sum of what it returned
 *      tiny A           tiny(A)
 *      plugin FILE      FILE's function handle(r), as a native module: what it returned
 *
 * Two files as arguments stand for standard input and output. VERSION 2 has the same functions on structs
 * with other offsets.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
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
EIM_ENTRY(useStore, use_store, "nonnull(s)");

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

/* The request is gone when it returns. */
FN int request_end(Request *r)
{
    int method = r->method;

    free(r);
    return method;
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

/* ------------------------------------------------------------------------------------- a store */

FN long use_store(Store *s)
{
    KEEP(s);
    return s->ncodes;
}

#define OUT 8192u /* two pages */
static char *out;

static Store *make_store(void)
{
    static const char tail[] = "the tail";
    Store *s = calloc(1, sizeof(*s) + sizeof(tail));
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    out = mmap(NULL, OUT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (!s || code == MAP_FAILED || out == MAP_FAILED)
        abort();
    s->code = code;
    s->ncodes = 5;
    for (int k = 0; k < s->ncodes; k++)
        s->code[k] = (unsigned short)(100 + k);
    s->nitems = 3;
    s->item = calloc(s->nitems, sizeof(*s->item));
    for (unsigned k = 0; k < s->nitems; k++)
        s->item[k].id = 7000 + k;
    s->either.text = strdup("either");
    s->neither = 6;
    s->out = out;
    s->room = 16;
    for (int k = 0; k < 4; k++)
        s->crate[k] = (struct crate){.weight = 500 + k, .code = 40 + k, .side = {(short)k}};
    s->ntail = sizeof(tail) - 1;
    memcpy(s->tail, tail, sizeof(tail));
    return s;
}

static void happen(Store *s, const char *what)
{
    if (!strcmp(what, "gone"))
        munmap(s->code, 4096);
    else if (!strcmp(what, "negative"))
        s->ncodes = -1;
    else if (!strcmp(what, "short"))
        s->ncodes = 2;
    else if (!strcmp(what, "huge"))
        s->nitems = ~0ul;
    else if (!strcmp(what, "null"))
        s->item = NULL;
    else if (!strcmp(what, "number"))
        s->either.number = -5;
    else if (!strcmp(what, "const"))
        mprotect(out, OUT, PROT_READ);
    else if (!strcmp(what, "half")) {
        mprotect(out, OUT / 2, PROT_READ | PROT_WRITE);
        s->out = out + OUT / 2 - 8;
    } else if (!strcmp(what, "lost"))
        munmap(out, OUT);
}

static volatile bool changing;

static void *change(void *arg)
{
    Store *s = arg;
    int n = s->ncodes;

    for (unsigned k = 0; changing; k++) {
        __atomic_store_n(&s->ncodes, k % 3 ? n : k % 2 ? 2 : -1, __ATOMIC_RELAXED);
        mprotect(s->code, 4096, k % 4 ? PROT_READ : PROT_NONE);
        mprotect(out, OUT, k % 3 ? PROT_READ | PROT_WRITE : PROT_READ);
    }
    s->ncodes = n;
    return NULL;
}

/* ---------------------------------------------------------------------------- shapes of arguments */

FN long add(long a, long b)
{
    KEEP(a);
    return a * 3 + b;
}

static long (*volatile nest_)(long, long);
static _Thread_local void (*within)(void);

FN long nest(long depth, long b)
{
    if (depth > 0)
        nest_(depth - 1, b + 1);
    else if (within)
        within();
    KEEP(depth);
    return depth * 3 + b;
}
static long (*volatile nest_)(long, long) = nest;

/* Too short for two patches. */
FN long tiny(long a)
{
    return a + 1;
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
static long (*volatile tiny_)(long) = tiny;
static int (*volatile end_)(Request *) = request_end;
static int (*volatile begin_)(Request *) = ngx_http_process_request;
static long (*volatile store_)(Store *) = use_store;
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

static pthread_t spinning[64];
static unsigned long nspinning, wrong;
static bool stop;

static void *spin(void *arg)
{
    for (long k = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); k++)
        if (add_(k, 7) != 3 * k + 7)
            __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    return NULL;
}

static unsigned long stop_spinning(void)
{
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    while (nspinning)
        pthread_join(spinning[--nspinning], NULL);
    return wrong;
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

static void leave_nest(void)
{
    longjmp(back, 1);
}

static FN unsigned long over(unsigned long n)
{
    volatile unsigned long left = 0;

    for (volatile unsigned long k = 0; k < n; k++) {
        within = k & 1 ? leave_nest : NULL;
        if (setjmp(back))
            left++;
        else
            nest_((long)(k % 7), (long)k);
    }
    within = NULL;
    return left;
}

static volatile unsigned long handled;

static void on_alarm(int sig)
{
    nest_(2, (long)++handled);
}

static unsigned long alarms(unsigned long n)
{
    static char stack[1 << 16];
    struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART};
    struct itimerval often = {{0, 100}, {0, 100}}, never = {0};
    unsigned long calls = 0;

    handled = 0;
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, NULL);
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (; handled < n; calls += 4)
        nest_(3, (long)calls);
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
    return calls + 3 * handled;
}

/* Routine k is entered by one thread, and goes on where another resumes it. */
#define ROUTINES 64u
static struct routine {
    ucontext_t here, *back;
    char stack[16384];
} routines[ROUTINES];
static _Thread_local struct routine *now;

static void change_stack(void)
{
    struct routine *r = now;

    swapcontext(&r->here, r->back);
}

static void routine(int k)
{
    nest_(k % 5, k);
    setcontext(routines[k].back);
}

static FN void resume_all(unsigned long n, ucontext_t *back_to)
{
    for (unsigned long k = 0; k < n; k++) {
        now = &routines[k];
        now->back = back_to;
        within = change_stack;
        swapcontext(back_to, &now->here);
        within = NULL;
        nest_(4, -(long)k);
    }
}

static void *resume_in_thread(void *arg)
{
    ucontext_t own;

    resume_all(*(unsigned long *)arg, &own);
    return NULL;
}

static unsigned long in_routines(unsigned long n)
{
    unsigned long calls = 0;
    pthread_t thread;
    ucontext_t own;

    n = n < ROUTINES ? n : ROUTINES;
    for (unsigned long k = 0; k < n; k++) {
        getcontext(&routines[k].here);
        routines[k].here.uc_stack =
            (stack_t){.ss_sp = routines[k].stack, .ss_size = sizeof(routines[k].stack)};
        makecontext(&routines[k].here, (void (*)(void))routine, 1, (int)k);
        calls += k % 5 + 1 + 2 * 5;
    }
    resume_all(n, &own);
    pthread_create(&thread, NULL, resume_in_thread, &n);
    pthread_join(thread, NULL);
    return calls;
}

static void end_thread(void)
{
    pthread_exit(NULL);
}

static void *come_and_go(void *arg)
{
    unsigned long k = (unsigned long)arg;

    nest_(3, (long)k);
    within = k & 1 ? end_thread : NULL;
    nest_(2, (long)k);
    return NULL;
}

static unsigned long brief(unsigned long n)
{
    unsigned long calls = 0;

    for (unsigned long k = 0; k < n; k++) {
        pthread_t thread;

        pthread_create(&thread, NULL, come_and_go, (void *)k);
        pthread_join(thread, NULL);
        calls += 4 + (k & 1 ? 0 : 3);
    }
    return calls;
}

static sem_t inside, go_on;
static pthread_t deep;

static void wait_inside(void)
{
    sem_post(&inside);
    while (sem_wait(&go_on))
        ;
}

static void *go_deep(void *arg)
{
    within = wait_inside;
    return (void *)nest_((long)arg, 1);
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
    Store *s = make_store();
    static char line[65536], uri[32768], args[32768];
    unsigned long n, m;
    long a, b;

    if (argc == 3 && (!freopen(argv[1], "r", stdin) || !freopen(argv[2], "w", stdout)))
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sem_init(&inside, 0, 0);
    sem_init(&go_on, 0, 0);
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
        } else if (sscanf(line, "spin %lu", &n) == 1) {
            while (nspinning < n && nspinning < 64)
                pthread_create(&spinning[nspinning++], NULL, spin, NULL);
            printf("spinning\n");
        } else if (!strncmp(line, "stop", 4)) {
            printf("%lu\n", stop_spinning());
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
        } else if (sscanf(line, "stores %lu", &n) == 1) {
            pthread_t thread;

            changing = true;
            pthread_create(&thread, NULL, change, s);
            for (m = 0; m < n; m++) {
                store_(s);
                if (m % 64 == 0)
                    sched_yield();
            }
            changing = false;
            pthread_join(thread, NULL);
            printf("%lu\n", m);
        } else if (sscanf(line, "store %32767s", uri) == 1) {
            happen(s, uri);
            a = store_(s);
            printf("%ld %.16s\n", a, strcmp(uri, "lost") != 0 ? s->out : "");
        } else if (!strncmp(line, "leases", 6)) {
            printf("%ld\n", leases);
        } else if (sscanf(line, "nest %lu %lu", &n, &m) == 2) {
            for (a = 0; n; n--)
                a += nest_((long)m, (long)n);
            printf("%ld\n", a);
        } else if (sscanf(line, "over %lu", &n) == 1) {
            printf("%lu\n", over(n));
        } else if (sscanf(line, "alarms %lu", &n) == 1) {
            printf("%lu\n", alarms(n));
        } else if (sscanf(line, "routines %lu", &n) == 1) {
            printf("%lu\n", in_routines(n));
        } else if (sscanf(line, "brief %lu", &n) == 1) {
            printf("%lu\n", brief(n));
        } else if (sscanf(line, "enter %ld", &a) == 1) {
            pthread_create(&deep, NULL, go_deep, (void *)a);
            sem_wait(&inside);
            printf("inside\n");
        } else if (!strncmp(line, "leave", 5)) {
            void *result;

            sem_post(&go_on);
            pthread_join(deep, &result);
            printf("%ld\n", (long)result);
        } else if (sscanf(line, "end %lu", &n) == 1) {
            for (a = 0; n; n--)
                a += end_(make_request("/", "x"));
            printf("%ld\n", a);
        } else if (sscanf(line, "tiny %ld", &a) == 1) {
            printf("%ld\n", tiny_(a));
        } else if (!strncmp(line, "pool", 4)) {
            printf("%lu %lu\n", allocated, freed);
        } else {
            printf("? %s", line);
        }
    }
    return 0;
}
