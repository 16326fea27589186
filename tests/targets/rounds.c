/* SPDX-License-Identifier: MIT */
/*
 * Calls `outer`, whose hook runs long, while a timer's signal handler calls. Obeys lines on standard input:
 *
 *   call N          N calls of outer; the handler calls inner
 *   nested N        the handler calls outer as well, which may be in the middle of itself
 *   jump N          the handler leaves by siglongjmp now and then, and outer is called again
 *   fork N          a child makes N calls of outer, and as many of inner
 *   ever            calls outer until the end
 *
 * The answer: calls of outer, calls of inner.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t outer(uint64_t a);
uint64_t inner(uint64_t a);

__attribute__((noinline)) uint64_t outer(uint64_t a)
{
    __asm__ volatile("" : "+r"(a));
    return a * 3 + 1;
}

__attribute__((noinline)) uint64_t inner(uint64_t a)
{
    __asm__ volatile("" : "+r"(a));
    return a * 5 + 2;
}

static uint64_t (*volatile call_outer)(uint64_t) = outer;
static uint64_t (*volatile call_inner)(uint64_t) = inner;

static uint64_t outers, inners; /* handlers count in the middle of others' counting */
#define COUNT(word) __atomic_fetch_add(&(word), 1, __ATOMIC_RELAXED)
static volatile sig_atomic_t nested, jumping;
static sigjmp_buf back;

static void on_timer(int sig)
{
    if (call_inner(7) != 37)
        abort();
    COUNT(inners);
    if (nested) {
        if (call_outer(2) != 7)
            abort();
        COUNT(outers);
    }
    if (jumping && inners % 4 == 0)
        siglongjmp(back, 1);
}

static void timer(long us)
{
    struct itimerval every = {{0, us}, {0, us}};

    setitimer(ITIMER_REAL, &every, NULL);
}

static void calls(volatile uint64_t n)
{
    sigsetjmp(back, 1);
    while (n) {
        n--;
        COUNT(outers);
        if (call_outer(n) != n * 3 + 1)
            abort();
    }
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    char line[64], word[16];
    unsigned long n;

    sigaction(SIGALRM, &action, NULL);
    while (fgets(line, sizeof(line), stdin)) {
        n = 0;
        if (sscanf(line, "%15s %lu", word, &n) < 1)
            return 1;
        outers = inners = 0;
        nested = !strcmp(word, "nested");
        jumping = !strcmp(word, "jump");
        if (!strcmp(word, "fork")) {
            if (!fork()) {
                calls(n);
                for (; n; n--)
                    call_inner(n);
                _exit(0);
            }
            wait(NULL);
        } else {
            timer(500);
            calls(!strcmp(word, "ever") ? UINT64_MAX : n);
            timer(0);
        }
        printf("%lu %lu\n", (unsigned long)outers, (unsigned long)inners);
        fflush(stdout);
    }
    return 0;
}
