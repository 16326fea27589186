/* SPDX-License-Identifier: MIT */
/*
 * Comes later: a program that is started over and over, and calls `hooked` so many times each time.
 *
 *   call N               N calls
 *   again K N            N calls, then an exec of itself, K times
 *   thread N             a second thread execs `call N`
 *   fork K N             N calls, K children one inside the other that make as many
 *   into N PROGRAM…      N calls, then an exec of something else
 *   fail N               an exec that fails (of a program for another machine, argv[3]), then N calls
 *   storm KIND J K N     K children, J at a time, each started by fork, vfork or spawn, that do `call N`; or
 *                        that execs itself from a second thread (KIND thread)
 *   serve LIBRARY        obeys lines on standard input:
 *       dlopen K C       K times: the library loaded, C calls of its `lib_hooked` (its constructor makes one of its
 *                        own), closed
 *       busy 1 | busy 0  a second thread calls `hooked` all the time, and answers how often, when it is stopped
 *       open | close     the library; and
 *       call N           N calls of `hooked`
 *       lib N            N calls of `lib_hooked`
 *       fork             a child that waits for its word; its process id
 *       child N          N calls of `hooked` by it
 *       exec N           an exec of itself, to serve again, after N calls of `hooked`
 *
 * Ends with 0 if all went as it should, and `storm` and lines answer how many calls they have made.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
uint64_t hooked(uint64_t a, uint64_t b);

__attribute__((noinline)) uint64_t hooked(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return a * 3 + (b ^ 0x55);
}

static uint64_t (*volatile function)(uint64_t, uint64_t) = hooked;
static char self[4096];

static void call(long n)
{
    for (long i = 0; i < n; i++)
        if (function((uint64_t)i, 7) != (uint64_t)i * 3 + (7 ^ 0x55))
            abort();
}

static void exec_self(const char *word, const char *a, const char *b)
{
    char *words[] = {self, (char *)word, (char *)a, (char *)b, NULL};

    execv(self, words);
}

static void *exec_call(void *n)
{
    exec_self("call", n, NULL);
    _exit(9);
}

static void exec_in_thread(char *n)
{
    pthread_t thread;

    pthread_create(&thread, NULL, exec_call, n);
    for (;;)
        pause();
}

static pid_t start(const char *kind, char *n)
{
    char *words[] = {self, "call", n, NULL};
    pid_t pid = -1;

    if (!strcmp(kind, "spawn")) {
        errno = posix_spawn(&pid, self, NULL, NULL, words, environ);
        return errno ? -1 : pid;
    }
    pid = !strcmp(kind, "vfork") ? vfork() : fork();
    if (pid)
        return pid;
    if (!strcmp(kind, "thread"))
        exec_in_thread(n);
    execv(self, words);
    _exit(9);
}

static int storm(const char *kind, long jobs, long total, char *n)
{
    long started = 0, ended = 0;

    while (ended < total) {
        int status;

        if (started < total && started - ended < jobs) {
            if (start(kind, n) < 0) {
                printf("%s: child %ld: %s\n", kind, started, strerror(errno));
                return 1;
            }
            started++;
            continue;
        }
        if (wait(&status) < 0 || status) {
            printf("%s: child %ld ended with 0x%x\n", kind, ended, status);
            return 1;
        }
        ended++;
    }
    printf("%ld\n", total * atol(n));
    return 0;
}

static int forks(long depth, long n)
{
    int status = 0;
    pid_t pid;

    call(n);
    pid = depth ? fork() : 0;
    if (depth && !pid)
        _exit(forks(depth - 1, n));
    return depth && (waitpid(pid, &status, 0) != pid || status);
}

/* ------------------------------------------------------------------------------------------------- serve */

#ifdef SERVES /* a static program cannot */
static volatile int busy_on;
static volatile long busy_calls;

static void *busy(void *unused)
{
    while (busy_on) {
        call(1);
        busy_calls = busy_calls + 1;
        if (busy_calls % 64 == 0)
            usleep(100);
    }
    return unused;
}

typedef uint64_t (*lib_fn)(uint64_t);
static void *library;

static void *load(const char *path)
{
    void *lib = dlopen(path, RTLD_NOW);

    if (!lib) {
        printf("%s\n", dlerror());
        exit(3);
    }
    return lib;
}

static void call_library(void *lib, long n)
{
    lib_fn fn = (lib_fn)dlsym(lib, "lib_hooked");

    for (long i = 0; i < n; i++)
        if (fn((uint64_t)i) != (uint64_t)i * 5 + 1)
            abort();
}

static int to_child[2], from_child[2];

static long bear(void)
{
    pid_t pid;
    long n;

    if (pipe(to_child) || pipe(from_child))
        exit(4);
    pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(to_child[0], &n, sizeof(n)) == sizeof(n)) {
        call(n);
        if (write(from_child[1], &n, sizeof(n)) != sizeof(n))
            break;
    }
    _exit(0);
}

static long tell_child(long n)
{
    if (write(to_child[1], &n, sizeof(n)) != sizeof(n) || read(from_child[0], &n, sizeof(n)) != sizeof(n))
        exit(5);
    return n;
}

static int serve(const char *path)
{
    pthread_t thread;
    char line[128];
    long a, b;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        long answer = 0;

        if (sscanf(line, "dlopen %ld %ld", &a, &b) == 2) {
            for (long i = 0; i < a; i++) {
                void *lib = load(path);

                call_library(lib, b);
                dlclose(lib);
            }
            answer = a * (b + 1);
        } else if (sscanf(line, "busy %ld", &a) == 1 && a) {
            busy_on = 1;
            busy_calls = 0;
            pthread_create(&thread, NULL, busy, NULL);
            while (!busy_calls)
                usleep(100);
        } else if (sscanf(line, "busy %ld", &a) == 1) {
            busy_on = 0;
            pthread_join(thread, NULL);
            answer = busy_calls;
        } else if (!strncmp(line, "fork", 4)) {
            answer = bear();
        } else if (sscanf(line, "child %ld", &a) == 1) {
            answer = tell_child(a);
        } else if (!strncmp(line, "open", 4)) {
            library = load(path);
        } else if (!strncmp(line, "close", 5)) {
            dlclose(library);
        } else if (sscanf(line, "lib %ld", &answer) == 1) {
            call_library(library, answer);
        } else if (sscanf(line, "call %ld", &answer) == 1) {
            call(answer);
        } else if (sscanf(line, "exec %ld", &answer) == 1) {
            call(answer);
            printf("%ld\n", answer);
            exec_self("serve", path, NULL);
            return 9;
        } else {
            return 2;
        }
        printf("%ld\n", answer);
    }
    return 0;
}

#endif

int main(int argc, char **argv)
{
    const char *word = argc > 2 ? argv[1] : "";
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char less[24];

    self[len > 0 ? len : 0] = '\0';
    if (!strcmp(word, "call"))
        return call(atol(argv[2])), 0;
    if (!strcmp(word, "again") && argc > 3) {
        call(atol(argv[3]));
        snprintf(less, sizeof(less), "%ld", atol(argv[2]) - 1);
        if (atol(argv[2]))
            exec_self("again", less, argv[3]);
        return atol(argv[2]) ? 9 : 0;
    }
    if (!strcmp(word, "thread"))
        exec_in_thread(argv[2]);
    if (!strcmp(word, "fork") && argc > 3)
        return forks(atol(argv[2]), atol(argv[3]));
    if (!strcmp(word, "into") && argc > 3)
        return call(atol(argv[2])), execvp(argv[3], argv + 3), 9;
    if (!strcmp(word, "fail") && argc > 3) {
        execv(argv[3], argv + 3);
        return call(atol(argv[2])), 0;
    }
    if (!strcmp(word, "storm") && argc > 5)
        return storm(argv[2], atol(argv[3]), atol(argv[4]), argv[5]);
#ifdef SERVES
    if (!strcmp(word, "serve"))
        return serve(argv[2]);
#endif
    return 2;
}
