/* SPDX-License-Identifier: MIT */
/*
 * A program with places where no jump fits, which uses signals in every way. It obeys lines, and answers each with how often it
 * has been at the place by its own count, and then whatever the line asks for.
 *
 *   call N       N calls
 *   masks N      N calls with all signals blocked, and as many without; the mask is read back each time
 *   handlers N   N handlers with a full mask, on an alternate stack: two calls each
 *   traps N      N SIGTRAPs sent to itself and N of its own breakpoints, with a handler that calls and is left by a jump each
 *                other time; how many it has seen
 *   threads T N  T threads: N calls each, between changes of their masks and signals to each other
 *   forks N      N children that call once each: by fork, vfork and posix_spawn in turn; how many ended well
 *   waits N      N sleeps in ppoll, pselect and sigsuspend with masks of their own, handlers that call among them
 *   begin, end   four threads that call for as long as the lines between them last; `end` says how often
 *   state        handler, flags and mask of SIGTRAP; what this thread blocks
 *   watch        a handler for SIGTRAP, for `state`
 *   exec         becomes itself again
 *   die          its own breakpoint, which nobody handles
 */
#include "crowd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Three bytes, and the next function behind them. `far`: a computed jump leads behind it, to a nop that somebody may look at. */
__asm__(".text\n.globl tiny, tiny_next, far\n"
        ".type tiny, @function\ntiny: xor %eax, %eax\n ret\n.size tiny, .-tiny\n"
        ".type tiny_next, @function\ntiny_next: endbr64\n mov $1, %eax\n ret\n.size tiny_next, .-tiny_next\n"
        ".type far, @function\nfar: lea 1f(%rip), %rax\n add %rdi, %rax\n jmp *%rax\n"
        "1: far_nop: nop\n endbr64\n lea (%rsi,%rsi), %rax\n ret\n.size far, .-far\n");
extern const unsigned char far_nop[];
int tiny(void), tiny_next(void);
long far(long zero, long value);

static unsigned long calls;
static volatile unsigned long seen;
static sigjmp_buf out;

static void call(void)
{
    __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
    if (tiny() != 0 || tiny_next() != 1)
        abort();
}

static void on_usr1(int sig)
{
    int kept = errno;

    (void)sig;
    call();
    errno = kept;
}

static void on_usr2(int sig)
{
    sigset_t now;

    (void)sig;
    call();
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    if (!sigismember(&now, SIGTRAP))
        abort();
    call();
}

static void on_trap(int sig, siginfo_t *si, void *context)
{
    sigset_t now;

    (void)sig, (void)context;
    call();
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    if (!sigismember(&now, SIGTRAP) || (si->si_code != SI_TKILL && si->si_code != SI_KERNEL))
        abort();
    if (++seen % 2)
        siglongjmp(out, 1);
}

static void handle(int sig, void (*how)(int), int flags, int all)
{
    struct sigaction act = {.sa_handler = how, .sa_flags = flags}, back;

    if (all)
        sigfillset(&act.sa_mask);
    if (sigaction(sig, &act, NULL) || sigaction(sig, NULL, &back) || back.sa_handler != how ||
        sigismember(&back.sa_mask, SIGTRAP) != all)
        abort();
}

static void masks(unsigned long n)
{
    sigset_t all, old, now;

    sigfillset(&all);
    for (unsigned long i = 0; i < n; i++) {
        pthread_sigmask(SIG_BLOCK, &all, &old);
        call();
        pthread_sigmask(SIG_SETMASK, NULL, &now);
        if (!sigismember(&now, SIGTRAP) || sigismember(&old, SIGTRAP))
            abort();
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        call();
        pthread_sigmask(SIG_SETMASK, NULL, &now);
        if (sigismember(&now, SIGTRAP))
            abort();
    }
}

static void handlers(unsigned long n)
{
    static char stack[65536];
    stack_t st = {.ss_sp = stack, .ss_size = sizeof(stack)};

    sigaltstack(&st, NULL);
    handle(SIGUSR2, on_usr2, SA_ONSTACK, 1);
    for (unsigned long i = 0; i < n; i++)
        raise(SIGUSR2);
    st.ss_flags = SS_DISABLE;
    sigaltstack(&st, NULL);
}

static void traps(unsigned long n)
{
    struct sigaction act = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, old;
    volatile unsigned long i;

    seen = 0;
    sigaction(SIGTRAP, &act, &old);
    for (i = 0; i < n; i++) {
        if (!sigsetjmp(out, 1))
            raise(SIGTRAP);
        if (!sigsetjmp(out, 1))
            __asm__ volatile("int3" ::: "memory");
    }
    sigaction(SIGTRAP, &old, NULL);
}

static struct {
    unsigned long each;
    volatile int stop;
} team;

static void *member(void *arg)
{
    pthread_t *first = arg;
    sigset_t all, old;

    sigfillset(&all);
    for (unsigned long i = 0; (team.each ? i < team.each : !team.stop); i++) {
        if (i % 16 == 0)
            pthread_sigmask(SIG_BLOCK, &all, &old);
        call();
        if (i % 16 == 7)
            pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (i % 64 == 63 && first)
            pthread_kill(*first, SIGUSR1);
    }
    return NULL;
}

static pthread_t workers[64];

static void start(unsigned n, unsigned long each)
{
    team.each = each;
    team.stop = 0;
    handle(SIGUSR1, on_usr1, SA_RESTART, 1);
    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&workers[i], NULL, member, i ? &workers[0] : NULL))
            abort();
}

static void join(unsigned n)
{
    team.stop = 1;
    for (unsigned i = n; i-- > 0;)
        pthread_join(workers[i], NULL);
}

static unsigned long forks(unsigned long n)
{
    char *words[] = {"true", NULL}, *none[] = {NULL};
    volatile unsigned long good = 0;
    int status;

    for (volatile unsigned long i = 0; i < n; i++) {
        pid_t pid = -1;

        switch (i % 3) {
        case 0:
            pid = fork();
            if (!pid) {
                sigset_t all;

                sigfillset(&all);
                sigprocmask(SIG_BLOCK, &all, NULL);
                _exit(tiny());
            }
            break;
        case 1:
            pid = vfork();
            if (!pid) {
                tiny();
                execve("/bin/true", words, none);
                _exit(1);
            }
            break;
        default:
            if (posix_spawn(&pid, "/bin/true", NULL, NULL, words, none))
                pid = -1;
        }
        good += pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
    }
    return good;
}

static void waits(unsigned long n)
{
    struct timespec soon;
    sigset_t all, none;
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec in = {.it_value.tv_nsec = 2000000};

    sigfillset(&all);
    sigdelset(&all, SIGUSR1);
    sigemptyset(&none);
    handle(SIGUSR1, on_usr1, 0, 1);
    timer_create(CLOCK_MONOTONIC, &ev, &timer);
    for (unsigned long i = 0; i < n; i++) {
        soon = (struct timespec){.tv_sec = 5};
        timer_settime(timer, 0, &in, NULL);
        if (i % 3 == 0   ? ppoll(NULL, 0, &soon, &all) != -1
            : i % 3 == 1 ? pselect(0, NULL, NULL, NULL, &soon, &all) != -1
                         : sigsuspend(&all) != -1)
            abort();
        call();
    }
    timer_delete(timer);
}

static void state(void)
{
    struct sigaction act;
    sigset_t now;

    sigaction(SIGTRAP, NULL, &act);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    printf("%lu %s %x %d %d\n", calls,
           act.sa_handler == SIG_DFL             ? "default"
           : act.sa_handler == SIG_IGN           ? "ignored"
           : act.sa_sigaction == (void *)on_trap ? "handled"
                                                 : "strange",
           (unsigned)act.sa_flags & ~0x04000000u /* the C library's own */,
           sigismember(&act.sa_mask, SIGTRAP), sigismember(&now, SIGTRAP));
}

int main(int argc, char **argv)
{
    char line[128], word[32];
    unsigned long a, b;

    (void)argc;
    /* No shorter jump has room either, and what stands behind is not to be evicted. */
    crowd((const unsigned char *)tiny, 2);
    crowd((const unsigned char *)tiny + 2, 1);
    crowd(far_nop, 1);
    setvbuf(stdin, NULL, _IONBF, 0); /* nothing is read ahead of an exec */
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        a = b = 0;
        sscanf(line, "%31s %lu %lu", word, &a, &b);
        if (!strcmp(word, "call"))
            for (unsigned long i = 0; i < a; i++)
                call();
        else if (!strcmp(word, "far"))
            for (unsigned long i = 0; i < a; i++)
                calls += far(0, 21) == 42;
        else if (!strcmp(word, "masks"))
            masks(a);
        else if (!strcmp(word, "handlers"))
            handlers(a);
        else if (!strcmp(word, "traps"))
            traps(a);
        else if (!strcmp(word, "waits"))
            waits(a);
        else if (!strcmp(word, "begin"))
            start(4, 0);
        else if (!strcmp(word, "end"))
            join(4);
        else if (!strcmp(word, "watch"))
            sigaction(SIGTRAP,
                      &(struct sigaction){.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_RESTART},
                      NULL);
        else if (!strcmp(word, "exec"))
            execv("/proc/self/exe", argv);
        else if (!strcmp(word, "die"))
            __asm__ volatile("int3");
        if (!strcmp(word, "threads")) {
            start((unsigned)a, b);
            join((unsigned)a);
        }
        if (!strcmp(word, "forks"))
            printf("%lu %lu\n", calls, forks(a));
        else if (!strcmp(word, "state"))
            state();
        else if (!strcmp(word, "traps"))
            printf("%lu %lu\n", calls, seen);
        else
            printf("%lu\n", calls);
    }
    return 0;
}
