/* SPDX-License-Identifier: MIT */
/*
 * A process of an awkward kind: targets-whom KIND, which answers each line `N` on standard input by N after that many
 * calls of `hooked`, with nothing but read and write. What makes it awkward is in KINDS; `later-KIND` becomes it at the line
 * `0`. `crowd` has threads, which at the line `0` begin to call; one more puts a filter that kills upon all of them, they go on for
 * a while, and the answer is how many calls they made.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 4

uint64_t hooked(uint64_t a, uint64_t b);

__attribute__((noinline)) uint64_t hooked(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return a * 3 + (b ^ 0x55);
}

static uint64_t (*volatile function)(uint64_t, uint64_t) = hooked;

static void call(long n)
{
    for (long i = 0; i < n; i++)
        if (function((uint64_t)i, 7) != (uint64_t)i * 3 + (7 ^ 0x55))
            abort();
}

/* ---------------------------------------------------------------------------------------------------- kinds */

static void or_die(int result)
{
    if (result) {
        perror("targets-whom");
        _exit(9);
    }
}

/* Reads, writes and ends; anything else has this answer. */
static struct sock_fprog *filter_of(unsigned answer)
{
    static struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    static struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

    f[4].k = answer;
    or_die(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return &prog;
}

static void filter(unsigned answer)
{
    or_die(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_of(answer)));
}

/* Two filters, which allow all but what nobody here does. */
static void mild(void)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

    or_die(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    or_die((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
    or_die(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

/* By seccomp(2), which libc has no function for. */
static void filter_by_number(unsigned flags)
{
    or_die((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, filter_of(SECCOMP_RET_KILL_PROCESS)));
}

static void strict(void)
{
    or_die(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
}

static void kills(void)
{
    filter(SECCOMP_RET_KILL_PROCESS);
}

static void seccomp_kills(void)
{
    filter_by_number(0);
}

static void traps(void)
{
    filter(SECCOMP_RET_TRAP);
}

static volatile int ready;

static void *confined(void *unused)
{
    filter(SECCOMP_RET_KILL_PROCESS);
    ready = 1;
    for (;;)
        call(1);
    return unused;
}

/* One thread, not the first, has a filter that kills, and calls all the time. */
static void one_confined(void)
{
    pthread_t thread;

    or_die(pthread_create(&thread, NULL, confined, NULL));
    while (!ready)
        usleep(1000);
}

static void undumpable(void)
{
    or_die(prctl(PR_SET_DUMPABLE, 0));
}

static void small(void)
{
    struct rlimit limit = {128u << 20, 128u << 20};

    or_die(setrlimit(RLIMIT_AS, &limit));
}

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
/* No memory may become executable that was writable. */
static void mdwe(void)
{
    or_die(prctl(PR_SET_MDWE, 1, 0, 0, 0));
}

/* The time stamp counter faults. */
static void tscless(void)
{
    or_die(prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
}

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON           1
#endif
static volatile char selector;

static void on_sys(int sig)
{
    _exit(sig);
}

/* Calls from outside libc's code raise SIGSYS, as Wine has them; here that is never to be. */
static void dispatched(void)
{
    struct sigaction act = {.sa_handler = on_sys};
    unsigned long start = 0, end = 0, offset;
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], perms[8];

    while (maps && fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx %7s %lx", &start, &end, perms, &offset) == 4 && (uintptr_t)read >= start &&
            (uintptr_t)read < end)
            break;
    or_die(!maps || (uintptr_t)read >= end || sigaction(SIGSYS, &act, NULL));
    selector = 1;
    or_die(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, start, end - start, &selector));
}

static volatile int crowd_goes, crowd_ends;
static volatile long crowd_calls[THREADS][8];

static void *one_of_crowd(void *calls)
{
    volatile long *mine = calls;
    char never;
    ssize_t ignored;
    int pair[2];

    or_die(pipe(pair));
    mine[1] = 1;
    while (!crowd_goes)
        usleep(1000);
    while (!crowd_ends) {
        call(1);
        mine[0]++;
    }
    mine[1] = 2;
    ignored = read(pair[0], &never, 1); /* all that it may do */
    return (void *)ignored;
}

static int all_of_crowd(long state)
{
    for (int i = 0; i < THREADS; i++)
        if (crowd_calls[i][1] != state)
            return 0;
    return 1;
}

static void crowd(void)
{
    pthread_t thread;

    for (int i = 0; i < THREADS; i++)
        or_die(pthread_create(&thread, NULL, one_of_crowd, (void *)crowd_calls[i]));
    while (!all_of_crowd(1))
        usleep(1000);
}

static void *confines_all(void *unused)
{
    filter_by_number(SECCOMP_FILTER_FLAG_TSYNC);
    ready = 1;
    for (;;)
        if (read(-1, NULL, 0) >= 0)
            return unused;
}

static long crowd_confined(void)
{
    pthread_t thread;
    long before, sum = 0;

    crowd_goes = 1;
    for (int i = 0; i < THREADS; i++)
        while (crowd_calls[i][0] < 1000)
            usleep(100);
    or_die(pthread_create(&thread, NULL, confines_all, NULL));
    while (!ready)
        ;
    before = crowd_calls[0][0];
    while (crowd_calls[0][0] < before + 20000)
        ;
    crowd_ends = 1;
    while (!all_of_crowd(2))
        ;
    for (int i = 0; i < THREADS; i++)
        sum += crowd_calls[i][0];
    return sum;
}

static char stacks[THREADS][65536] __attribute__((aligned(64)));
static volatile long todo, done[THREADS];

static int bare(void *number)
{
    long me = (long)number;

    for (;;) {
        while (done[me] < todo) {
            for (long i = 0; i < 100; i++)
                if (function((uint64_t)i, 7) != (uint64_t)i * 3 + (7 ^ 0x55))
                    __builtin_trap();
            done[me] += 100;
        }
        sched_yield();
    }
}

/* Threads that libc knows nothing of: they have the first one's thread area. */
static void foreign(void)
{
    for (long i = 0; i < THREADS; i++)
        if (clone(bare, stacks[i] + sizeof(stacks[i]),
                  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
                  (void *)i) < 0)
            or_die(-1);
}

static const struct {
    const char *name;
    void (*become)(void);
} KINDS[] = {
    {"strict", strict},         {"kills", kills},     {"traps", traps}, {"one-confined", one_confined},
    {"undumpable", undumpable}, {"small", small},     {"mdwe", mdwe},   {"tscless", tscless},
    {"dispatched", dispatched}, {"foreign", foreign}, {"plain", NULL},  {"seccomp", seccomp_kills},
    {"crowd", crowd},           {"mild", mild}};
#define LATER "later-"

static void (*become_of(const char *name))(void)
{
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (!strcmp(name, KINDS[i].name))
            return KINDS[i].become;
    return NULL;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "plain";
    void (*at_once)(void) = become_of(kind);
    void (*later)(void) = strncmp(kind, LATER, strlen(LATER)) ? NULL : become_of(kind + strlen(LATER));
    char line[32], answer[32];
    ssize_t len;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (at_once)
        at_once();
    while ((len = read(0, line, sizeof(line) - 1)) > 0) {
        long n;

        line[len] = '\0';
        n = atol(line);
        if (!strcmp(kind, "foreign")) {
            todo += n;
            for (int i = 0; i < THREADS; i++)
                while (done[i] < todo)
                    usleep(100);
        } else {
            call(n);
            if (!n && !strcmp(kind, "crowd"))
                n = crowd_confined();
            else if (!n && later)
                later();
        }
        len = snprintf(answer, sizeof(answer), "%ld\n", n);
        if (write(1, answer, (size_t)len) != len)
            return 1;
    }
    syscall(SYS_exit, 0); /* all that a strict filter allows */
}
