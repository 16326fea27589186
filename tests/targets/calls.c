/* SPDX-License-Identifier: MIT */
/*
 * A program that makes system calls in every way there is, one a line of its standard input, and answers with what
 * came of them. The calls that are counted are none that reading lines and answering needs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#ifndef NO_BACKTRACE
#include <execinfo.h>
#else
#define backtrace(frames, n) 0
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int ends[2];
static pthread_t thread;
static volatile int cleaned, interrupted, seen_on_stack;
static volatile pid_t sleeper;

/* ------------------------------------------------------------------------------------------- plain calls */

/* What each call answers, folded into one number: it must not depend on who looks. */
static unsigned long wrappers(int n)
{
    unsigned long sum = 0;

    for (int i = 0; i < n; i++) {
        sum = sum * 31 + (unsigned long)umask(022);
        errno = 0;
        sum = sum * 31 + (unsigned long)getpriority(PRIO_PROCESS, 0);
        sum = sum * 31 + (unsigned long)dup2(-1, 5) + (unsigned long)errno;
    }
    return sum;
}

static unsigned long by_number(int n)
{
    unsigned long sum = 0;

    for (int i = 0; i < n; i++) {
        sum = sum * 31 + (unsigned long)syscall(SYS_umask, 022);
        sum = sum * 31 + (unsigned long)syscall(SYS_dup2, -1, 5) + (unsigned long)errno;
    }
    return sum;
}

/* rcx and r11 are the kernel's to destroy; everything else, red zone and flags included, must be left. */
static unsigned long in_assembly(int n)
{
    unsigned long bad = 0;

    for (int i = 0; i < n; i++) {
        unsigned long r, zone, carry, di = 022, si = 0x5151, dx = 0x5252, r8 = 0x5858, r9 = 0x5959,
                                      r10 = 0x5a5a;
        register unsigned long r8r __asm__("r8") = r8, r9r __asm__("r9") = r9, r10r __asm__("r10") = r10;

        __asm__ volatile("movq $0x1234567, -8(%%rsp)\n\t"
                         "movq $0x7654321, -128(%%rsp)\n\t"
                         "stc\n\t"
                         "mov %[nr], %%eax\n\t"
                         "syscall\n\t"
                         "mov $0, %%ecx\n\t"
                         "nop\n\t"
                         "setc %%cl\n\t"
                         "mov %%rcx, %[carry]\n\t"
                         "mov -8(%%rsp), %[zone]\n\t"
                         "xor -128(%%rsp), %[zone]\n\t"
                         : "=&a"(r), [zone] "=&r"(zone), [carry] "=&r"(carry), "+D"(di), "+S"(si), "+d"(dx),
                           "+r"(r8r), "+r"(r9r), "+r"(r10r)
                         : [nr] "i"(SYS_umask)
                         : "rcx", "r11", "memory", "cc");
        bad += r != 022 || zone != (0x1234567 ^ 0x7654321) || carry != 1 || di != 022 || si != 0x5151 ||
               dx != 0x5252 || r8r != r8 || r9r != r9 || r10r != r10;
    }
    return bad;
}

/* ------------------------------------------------------------------------------------ calls that take long */

static void clean(void *arg)
{
    cleaned++;
}

static void clean_scope(int *arg)
{
    cleaned += 100;
}

static __attribute__((noinline)) ssize_t sleeps_here(char *byte)
{
    int scope __attribute__((cleanup(clean_scope), unused)) = 0;
    ssize_t n;

    pthread_cleanup_push(clean, NULL);
    n = recv(ends[0], byte, 1, 0);
    pthread_cleanup_pop(0);
    return n;
}

static void *sleeps(void *arg)
{
    char byte = 0;
    ssize_t n;

    sleeper = (pid_t)syscall(SYS_gettid);
    n = sleeps_here(&byte);
    return (void *)(n == 1 ? (intptr_t)byte : -(intptr_t)errno);
}

/* Is the thread asleep in recv? */
static void wait_asleep(void)
{
    char path[64], line[64];

    for (int i = 0; i < 5000; i++) {
        FILE *f;

        snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", sleeper);
        f = sleeper ? fopen(path, "re") : NULL;
        if (f && fgets(line, sizeof(line), f) && atoi(line) == SYS_recvfrom) {
            fclose(f);
            return;
        }
        if (f)
            fclose(f);
        usleep(1000);
    }
}

static void on_signal(int signal)
{
    void *frame[32];
    int n = backtrace(frame, 32);

    interrupted++;
    for (int i = 0; i < n; i++)
        seen_on_stack +=
            (char *)frame[i] >= (char *)sleeps_here && (char *)frame[i] < (char *)sleeps_here + 512;
}

static void handle(int flags)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = flags};

    sigaction(SIGUSR1, &act, NULL);
}

/* n signals while a thread sleeps; then a byte if they only interrupt. */
static void interrupt(int n, int flags)
{
    handle(flags);
    interrupted = seen_on_stack = 0;
    for (int i = 0; i < n; i++) {
        int before = interrupted;

        wait_asleep();
        pthread_kill(thread, SIGUSR1);
        while (interrupted == before)
            usleep(200);
    }
}

/* -------------------------------------------------------------------------------------------- processes */

static void *nothing(void *arg)
{
    return arg;
}

static char *true_argv[] = {"true", NULL};

static __attribute__((noinline)) pid_t in_vfork(void)
{
    pid_t pid = vfork();

    if (pid == 0) {
        execv("/bin/true", true_argv);
        _exit(127);
    }
    return pid;
}

static int children(int n, int threads)
{
    int good = 0, status;
    pthread_t t;
    pid_t pid;

    for (int i = 0; i < n; i++) {
        pid = fork();
        if (pid == 0) {
            umask(022);
            _exit(umask(022) == 022 ? 3 : 4);
        }
        good += waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3;
        pid = in_vfork();
        good += waitpid(pid, &status, 0) == pid && status == 0;
        good += posix_spawn(&pid, "/bin/true", NULL, NULL, true_argv, environ) == 0 &&
                waitpid(pid, &status, 0) == pid && status == 0;
        if (threads)
            good += pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0;
    }
    return good;
}

/* A library loaded, asked for n calls of its own, and closed. */
static int by_library(int n)
{
    void *lib = dlopen(getenv("CALLS_LIB"), RTLD_NOW | RTLD_LOCAL);
    int (*lib_calls)(int) = lib ? (int (*)(int))dlsym(lib, "lib_calls") : NULL;
    int good = lib_calls ? lib_calls(n) : -1;

    return lib && dlclose(lib) == 0 ? good : -1;
}

static void *opens(void *arg)
{
    long good = 0;

    for (int i = 0; i < *(int *)arg; i++)
        good += by_library(10) == 10;
    return (void *)good;
}

/* … by four threads at once, n times each. */
static long by_libraries(int n)
{
    pthread_t t[4];
    long good = 0;

    for (int i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, opens, &n) != 0)
            return -1;
    for (int i = 0; i < 4; i++) {
        void *result = NULL;

        pthread_join(t[i], &result);
        good += (long)result;
    }
    return good;
}

/* The same in memory that no file is behind, as compilers at run time have it. */
static int by_memory(int n)
{
    static const unsigned char code[] = {0xbf, 022, 0, 0, 0, 0xb8, SYS_umask, 0, 0, 0, 0x0f, 0x05, 0xc3};
    static void *page;
    int good = 0;

    if (!page) {
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(page, code, sizeof(code));
        mprotect(page, 4096, PROT_READ | PROT_EXEC);
    }
    for (int i = 0; i < n; i++)
        good += ((long (*)(void))page)() == 022;
    return good;
}

static int ended_with(pid_t pid, int code)
{
    int status;

    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == code;
}

/* Children of the calls themselves, by number: what a library's wrapper does for its own threads is not done. */
static int bare_children(int n)
{
    unsigned long by_three[8] = {[4] = SIGCHLD}; /* struct clone_args: its exit_signal */
    int good = 0;
    pid_t pid;

    for (int i = 0; i < n; i++) {
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            syscall(SYS_exit_group, umask(022) == 022 ? 5 : 6);
        good += ended_with(pid, 5);
        pid = (pid_t)syscall(SYS_clone3, by_three, sizeof(by_three));
        if (pid == 0)
            syscall(SYS_exit_group, umask(022) == 022 ? 7 : 8);
        good += ended_with(pid, 7);
        errno = 0;
        good += syscall(SYS_clone3, by_three, 1) == -1 && errno == EINVAL;
    }
    return good;
}

/* Files that are not there, then one that is, with all arguments: what it says is our answer. */
static void execs(int n)
{
    char *argv[] = {"sh", "-c", "echo executed $0 $1 $word", "one", "two", NULL},
         *envp[] = {"word=three", NULL};
    int good = 0;
    pid_t pid;

    for (int i = 0; i < n; i++)
        good += execve("/none/such", argv, envp) == -1 && errno == ENOENT;
    printf("%d ", good);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        execve("/bin/sh", argv, envp);
        _exit(1);
    }
    if (!ended_with(pid, 0))
        printf("not executed\n");
}

/* --------------------------------------------------------------------------------------------- handlers */

static volatile int handled;

static void on_return(int signal)
{
    handled++;
    umask(022);
    __asm__ volatile("pxor %%xmm7, %%xmm7" ::: "xmm7");
}

/* Handlers return into code that has its registers, its vector registers, its red zone and its mask as before. */
static unsigned long returns(int n)
{
    struct sigaction act = {.sa_handler = on_return};
    unsigned long bad = 0;
    sigset_t mask, before = {0}, after = {0}; /* Linux fills eight bytes */

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&act.sa_mask, SIGWINCH);
    sigaction(SIGUSR1, &act, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    handled = 0;
    for (int i = 0; i < n; i++) {
        unsigned long rax = SYS_tgkill, zone, vector = 0x1122334455667788, bx = 0x5151, r12 = 0x5252;

        __asm__ volatile("mov %%rsp, %%r13\n\t"
                         "movq %[vector], %%xmm7\n\t"
                         "movq $0x1234567, -16(%%rsp)\n\t"
                         "syscall\n\t"
                         "nopl 0(%%rax)\n\t"
                         "mov -16(%%rsp), %[zone]\n\t"
                         "movq %%xmm7, %[vector]\n\t"
                         "sub %%rsp, %%r13\n\t"
                         "or %%r13, %%rax\n\t"
                         : "+a"(rax), [zone] "=&r"(zone), [vector] "+r"(vector), "+b"(bx), "+r"(r12)
                         : "D"((unsigned long)getpid()), "S"((unsigned long)gettid()),
                           "d"((unsigned long)SIGUSR1)
                         : "rcx", "r11", "r13", "xmm7", "memory", "cc");
        bad += rax != 0 || zone != 0x1234567 || vector != 0x1122334455667788 || bx != 0x5151 || r12 != 0x5252;
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    bad += memcmp(&before, &after, sizeof(after)) != 0;
    sigemptyset(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return bad;
}

/* Calls that give a mask for as long as they sleep, and have their own again behind them. */
static int masked_sleeps(int n)
{
    struct timespec soon = {.tv_nsec = 1000000};
    sigset_t usr1, none, now;
    int good = 0;

    handle(0);
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &usr1, NULL);
    for (int i = 0; i < n; i++) {
        interrupted = 0;
        pthread_kill(pthread_self(), SIGUSR1);
        good += interrupted == 0 && ppoll(NULL, 0, NULL, &none) == -1 && errno == EINTR && interrupted == 1;
        good += ppoll(NULL, 0, &soon, &none) == 0;
        pthread_kill(pthread_self(), SIGUSR1);
        good += sigsuspend(&none) == -1 && errno == EINTR && interrupted == 2;
        pthread_sigmask(SIG_SETMASK, NULL, &now);
        good += sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGUSR2) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    return good;
}

/* ------------------------------------------------------------------------------------------------ clocks */

static long ms_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

/* n ms in each of two calls that the kernel goes on with by another call when they were stopped. */
static void naps(int n)
{
    struct timespec start, nap = {.tv_nsec = n * 1000000l};
    int slept, polled;

    clock_gettime(CLOCK_MONOTONIC, &start);
    slept = nanosleep(&nap, NULL);
    polled = poll(NULL, 0, n);
    printf("%d %d %d\n", slept, polled, ms_since(&start) >= 2 * n);
}

/* What the kernel's own page answers. */
static int clocks(int n)
{
    struct timespec last = {0}, now;
    struct timeval day;
    int good = 0;

    for (int i = 0; i < n; i++) {
        time_t seconds = time(NULL);

        good += clock_gettime(CLOCK_MONOTONIC, &now) == 0 && gettimeofday(&day, NULL) == 0;
        good += now.tv_sec > last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec >= last.tv_nsec);
        good += day.tv_sec - seconds <= 1 && sched_getcpu() >= 0;
        last = now;
    }
    return good;
}

/* ----------------------------------------------------------------------------------------- cancelling at once */

static void *works(void *arg)
{
    int scope __attribute__((cleanup(clean_scope), unused)) = 0;

    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    sleeper = 1;
    for (;;) /* in a call most of the time, and no point of cancelling among them */
        syscall(SYS_umask, 022);
    return arg;
}

static int cancelled_at_once(int n)
{
    int good = 0;

    for (int i = 0; i < n; i++) {
        void *result = NULL;
        pthread_t t;

        sleeper = 0;
        good += pthread_create(&t, NULL, works, NULL) == 0;
        while (!sleeper)
            usleep(100);
        usleep(200);
        good += pthread_cancel(t) == 0 && pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED;
    }
    return good;
}

static void obey(const char *word, int n)
{
    void *result = NULL;

    if (!strcmp(word, "wrappers")) {
        printf("%lx\n", wrappers(n));
    } else if (!strcmp(word, "number")) {
        printf("%lx\n", by_number(n));
    } else if (!strcmp(word, "assembly")) {
        printf("%lu\n", in_assembly(n));
    } else if (!strcmp(word, "sleep")) {
        sleeper = 0;
        cleaned = 0;
        printf("%d\n", pthread_create(&thread, NULL, sleeps, NULL));
        wait_asleep();
    } else if (!strcmp(word, "restart")) { /* n signals, after which the call goes on by itself */
        interrupt(n, SA_RESTART);
        printf("%d %d\n", interrupted, seen_on_stack);
    } else if (!strcmp(word, "interrupt")) { /* one, which ends it */
        interrupt(1, 0);
        pthread_join(thread, &result);
        printf("%ld\n", (long)(intptr_t)result);
    } else if (!strcmp(word, "wake")) {
        (void)!send(ends[1], "*", 1, 0);
        pthread_join(thread, &result);
        printf("%ld\n", (long)(intptr_t)result);
    } else if (!strcmp(word, "cancel")) {
        pthread_cancel(thread);
        pthread_join(thread, &result);
        printf("%d %d\n", result == PTHREAD_CANCELED, cleaned);
    } else if (!strcmp(word, "children")) {
        printf("%d\n", children(n, 1));
    } else if (!strcmp(word, "library")) {
        printf("%d\n", by_library(n));
    } else if (!strcmp(word, "libraries")) {
        printf("%ld\n", by_libraries(n));
    } else if (!strcmp(word, "memory")) {
        printf("%d\n", by_memory(n));
    } else if (!strcmp(word, "bare")) {
        printf("%d\n", bare_children(n));
    } else if (!strcmp(word, "execs")) {
        execs(n);
    } else if (!strcmp(word, "returns")) {
        printf("%lu", returns(n));
        printf(" %d\n", handled);
    } else if (!strcmp(word, "masked")) {
        printf("%d\n", masked_sleeps(n));
    } else if (!strcmp(word, "naps")) {
        naps(n);
    } else if (!strcmp(word, "clocks")) {
        printf("%d\n", clocks(n));
    } else if (!strcmp(word, "at_once")) {
        printf("%d\n", cancelled_at_once(n));
    } else if (!strcmp(word, "marked")) { /* between two marks, for those who list calls */
        alarm(0);
        wrappers(n);
        by_number(n);
        in_assembly(n);
        children(n, 0);
        alarm(0);
        printf("marked\n");
    }
}

int main(int argc, char **argv)
{
    char line[128], word[32];
    int n;

    setvbuf(stdout, NULL, _IOLBF, 0);
    umask(022);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return 1;
    (void)!backtrace((void *[1]){NULL}, 1); /* loads what it needs */
    if (argc == 3) {                        /* one, and then it waits to be ended */
        obey(argv[1], atoi(argv[2]));
        for (;;)
            pause();
    }
    while (fgets(line, sizeof(line), stdin)) {
        n = 0;
        if (sscanf(line, "%31s %d", word, &n) >= 1)
            obey(word, n);
    }
    return 0;
}
