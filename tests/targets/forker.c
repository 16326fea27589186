/* SPDX-License-Identifier: MIT */
/*
 * Makes children in every way there is, and calls `hooked` on both sides of each. Obeys lines on standard
 * input:
 *
 *   fork|vfork|clone|spawn|system N P C
 *                        N rounds: P calls by the parent, a child that makes C calls and ends, P calls again
 *   busy 1 | busy 0      a second thread calls all the time, and answers how often it has, when it is stopped
 *
 * The answer is how many calls the parent's process has made by itself and by its children, by its own count.
 * Children that share memory with their parent count in the same words; a fork child's calls are known by
 * number. `spawn` and `system` children call nothing of ours: libc's own execve is what tests look at there.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
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

/* Called through here, so that no compiler makes a version of it for a known argument. */
static uint64_t (*volatile function)(uint64_t, uint64_t) = hooked;

static volatile int busy_on;
static volatile uint64_t busy_calls;

static void call(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (function(i, 7) != i * 3 + (7 ^ 0x55))
            abort();
}

static int child_of_clone(void *calls)
{
    call((uint64_t)(uintptr_t)calls);
    return 3;
}

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

/* One child of the kind, until it has ended. Returns 0 if it was born and ended as it should. */
static int child(const char *kind, uint64_t calls)
{
    static __attribute__((aligned(16))) char stack[65536];
    char *words[] = {(char *)"true", NULL};
    const int wanted = strcmp(kind, "spawn") == 0 ? 0 : 3;
    int status = 0;
    pid_t pid = -1;

    if (strcmp(kind, "vfork") == 0) {
        pid = vfork();
        if (pid == 0) {
            call(calls);
            _exit(3);
        }
    } else if (strcmp(kind, "fork") == 0) {
        pid = fork();
        if (pid == 0) {
            call(calls);
            _exit(3);
        }
    } else if (strcmp(kind, "clone") == 0) {
        pid = clone(child_of_clone, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD,
                    (void *)(uintptr_t)calls);
    } else if (strcmp(kind, "spawn") == 0) {
        if (posix_spawn(&pid, "/bin/true", NULL, NULL, words, environ))
            return -1;
    } else if (strcmp(kind, "system") == 0) {
        return system("exit 3") == 3 << 8 ? 0 : -1;
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == wanted ? 0 : -1;
}

int main(void)
{
    uint64_t rounds, calls, own;
    char line[128], kind[16];
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "busy %d", (int *)&busy_on) == 1) {
            if (busy_on) {
                busy_calls = 0;
                pthread_create(&thread, NULL, busy, NULL);
                while (!busy_calls)
                    usleep(100);
            } else {
                pthread_join(thread, NULL);
            }
            printf("%" PRIu64 "\n", busy_calls);
            continue;
        }
        if (sscanf(line, "%15s %" SCNu64 " %" SCNu64 " %" SCNu64, kind, &rounds, &own, &calls) != 4)
            return 2;
        for (uint64_t i = 0; i < rounds; i++) {
            call(own);
            if (child(kind, calls)) {
                printf("a child of %s went wrong in round %" PRIu64 "\n", kind, i);
                return 1;
            }
            call(own);
        }
        printf("%" PRIu64 " %" PRIu64 "\n", 2 * rounds * own, rounds * calls);
    }
    return 0;
}
