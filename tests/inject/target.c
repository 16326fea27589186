/* SPDX-License-Identifier: MIT */
/*
 * What the tests enter: threads that call `hot` when told to, and sleepers. It keeps its own count in memory
 * shared with the test, so that what a hook counts can be compared with what has happened.
 *
 *   target FILE THREADS SLEEPERS MODE
 *
 * MODE: "run" calls for ever; "idle" waits in short sleeps; "pause" every thread sleeps for good; "churn"
 * makes and joins threads; "epoll" waits with timeouts that cannot be restarted; "nofile" has room for two
 * descriptors; "closeall" closes all descriptors again and again; "seccomp" allows a few system calls and
 * kills for others; "picky" kills for a few; "vfork" waits in vfork for a child that sleeps; "share" has a child
 * that shares its memory for good, is no thread and calls as well; "stay" calls
 * `stay` with each number that `turn` becomes, which returns when `go` lets it; "hide" takes the right to run away from its own
 * code then, until `go`; "short" calls functions in which no five-byte
 * jump fits, too, and "crowded" has taken the memory where shorter ones would lead; "many" and
 * "many-run" call all functions of many.S where others call `hot`.
 */
#include "target.h"
#include "../targets/crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct target_shared *sh;

/* Hooked by the tests. */
__attribute__((noinline, used)) unsigned long hot(unsigned long a, unsigned long b)
{
    __asm__ volatile("" ::: "memory");
    return a * 3 + (b ^ 0x55);
}

/* The same; no jump fits. */
__asm__(
    ".text\n.globl brief, brief_next\n.type brief, @function\nbrief: xor %eax, %eax\n ret\n.size brief, 3\n"
    ".type brief_next, @function\nbrief_next: endbr64\n xor %eax, %eax\n ret\n.size brief_next, 7\n");
unsigned long brief(void);

__attribute__((noinline, used)) unsigned long stay(unsigned long a)
{
    sh->inside = 1;
    while (!sh->go)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    sh->inside = 0;
    return a + 1;
}

/* many.S, where it is linked in. */
extern const unsigned long many_count __attribute__((weak)), many_size __attribute__((weak));
extern unsigned long many_0(unsigned long a) __attribute__((weak));
static int many;

static void all_of_them(unsigned long a)
{
    unsigned long wrong = 0;

    for (unsigned long n = 0; n < many_count; n++)
        wrong += ((unsigned long (*)(unsigned long))((char *)many_0 + n * many_size))(a) != a + n;
    if (wrong)
        __atomic_add_fetch(&sh->wrong, wrong, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&sh->calls, 1, __ATOMIC_SEQ_CST);
}

/*
 * Functions whose first instruction has one to four bytes and whose loops begin with the second, so that no five-byte
 * window fits; one whose only `ret` is jumped to from afar; and one whose loop begins where it is entered. Nothing stands between them.
 */
#define SHORT(name, ...)                                                                                     \
    __asm__(".text\n.type " name ", @function\n.globl " name "\n" name ":\n" __VA_ARGS__ ".size " name       \
            ", . - " name "\n")
SHORT("short1", "push %rbx\n1: add %rsi, %rdi\ndec %rsi\njg 1b\nmov %rdi, %rax\npop %rbx\nret\n");
SHORT("short2", "push %r12\n1: add %rsi, %rdi\ndec %rsi\njg 1b\nmov %rdi, %rax\npop %r12\nret\n");
SHORT("short3", "mov %rdi, %rax\n1: add %rsi, %rax\ndec %rsi\njg 1b\nret\n");
SHORT("short4", "lea 16(%rdi), %rax\n1: add %rsi, %rax\ndec %rsi\njg 1b\nsub $16, %rax\nret\n");
SHORT("short5",
      "lea 28(%rdi), %rax\ntest $1, %dil\nje 3f\nlea 1(%rax), %rax\nlea 2(%rax), %rax\nlea -3(%rax), %rax\n"
      "test $2, %dil\nje 3f\nlea 1(%rax), %rax\nlea 2(%rax), %rax\nlea -3(%rax), %rax\n3: ret\n");
SHORT("short6", "mov %rdi, %rax\nadd $28, %rax\nret\n");
SHORT("short7", "1: add %rsi, %rdi\ndec %rsi\njg 1b\nmov %rdi, %rax\nret\n");
typedef unsigned long short_fn(unsigned long, unsigned long);
extern short_fn short1, short2, short3, short4, short5, short6, short7;
static short_fn *const shorts[] = {short1, short2, short3, short4, short5, short6, short7};
static bool call_shorts;

static void one(unsigned long i)
{
    if (many) {
        all_of_them(i);
        return;
    }
    for (unsigned k = 0; call_shorts && k < sizeof(shorts) / sizeof(shorts[0]); k++)
        if (shorts[k](i, 7) != i + 28)
            __atomic_add_fetch(&sh->wrong, 1, __ATOMIC_SEQ_CST);
    if (hot(i, 7) != i * 3 + (7 ^ 0x55) || brief())
        __atomic_add_fetch(&sh->wrong, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&sh->calls, 1, __ATOMIC_SEQ_CST);
}

/* Calls as many times as the test has asked for. */
static void *worker(void *arg)
{
    unsigned long i = 0;
    unsigned long index = (unsigned long)arg;

    while (!sh->quit) {
        if (sh->free_running) {
            one(i++);
        } else if (sh->done[index] < sh->todo) {
            one(i++);
            sh->done[index]++;
        } else {
            struct timespec ts = {.tv_nsec = 200000};

            nanosleep(&ts, NULL);
        }
    }
    return NULL;
}

static void *sleeper(void *arg)
{
    static int never;
    int r;

    /* Straight into the kernel: an interrupted wait shows as EINTR. */
    for (;;) {
        r = (int)syscall(SYS_futex, &never, 0, 0, NULL, NULL, 0);
        if (r < 0 && errno == EINTR)
            __atomic_add_fetch(&sh->eintr, 1, __ATOMIC_SEQ_CST);
    }
    return arg;
}

static pid_t sharing;

/* What clone(CLONE_VM) has made: with a thread of its own, and gone with its parent. */
static int shares(void *arg)
{
    static char stack[16384] __attribute__((aligned(16)));

    if (arg) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        clone(shares, stack + sizeof(stack), CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, NULL);
    }
    while (!sh->quit)
        sh->wrong += hot(1, 2) != 3 + (2 ^ 0x55);
    return 0;
}

static void *short_lived(void *arg)
{
    one((unsigned long)arg);
    return NULL;
}

static void strict(void)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_nanosleep, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_nanosleep, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Kills for gettid, allows prctl with one argument only, and all the rest. */
static void picky(void)
{
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettid, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_NAME, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static void on_signal(int sig)
{
    __atomic_add_fetch(&sh->signals, 1, __ATOMIC_SEQ_CST);
}

__attribute__((always_inline)) static inline long raw(long nr, long a, long b, long c)
{
    long r;

    asm volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}

/* Takes the right to run away from all our code but this page, until it is told to give it back. */
__attribute__((noinline, section(".hide"), aligned(4096))) static void hide(void)
{
    long page = (long)hot & -4096;
    struct timespec ts = {.tv_nsec = 1000000};

    raw(SYS_mprotect, page, 4096, PROT_READ);
    sh->inside = 1;
    while (!sh->go)
        raw(SYS_nanosleep, (long)&ts, 0, 0);
    raw(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
    sh->inside = sh->go = 0;
}

int main(int argc, char **argv)
{
    pthread_t th;
    const char *mode = argc > 4 ? argv[4] : "idle";
    int fd, threads = argc > 2 ? atoi(argv[2]) : 1, sleepers = argc > 3 ? atoi(argv[3]) : 0;

    fd = argc > 1 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return 2;
    sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (sh == MAP_FAILED)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGUSR1, on_signal);
    if (!strcmp(mode, "picky"))
        picky(); /* before there are threads: all have it */
    many = !strncmp(mode, "many", 4);
    for (int i = 0; i < threads; i++)
        pthread_create(&th, NULL, worker, (void *)(unsigned long)i);
    for (int i = 0; i < sleepers; i++)
        pthread_create(&th, NULL, sleeper, NULL);
    sh->free_running = !strcmp(mode, "run") || !strcmp(mode, "many-run");
    call_shorts = !strcmp(mode, "short") || !strcmp(mode, "crowded");
    crowd((const unsigned char *)brief, 2); /* no shorter jump has room either */
    crowd((const unsigned char *)brief + 2, 1);
    for (unsigned k = 0; k < 4 && !strcmp(mode, "crowded"); k++)
        crowd((const unsigned char *)shorts[k], k + 1);
    if (!strcmp(mode, "nofile")) {
        struct rlimit lim = {20, 20};
        int last = -1, n;

        setrlimit(RLIMIT_NOFILE, &lim);
        while ((n = open("/dev/null", O_RDONLY)) >= 0)
            last = n;
        if (last >= 0 && argc > 5)
            for (int i = 0; i < atoi(argv[5]); i++)
                close(last - i);
    }
    if (!strcmp(mode, "seccomp"))
        strict();
    if (!strcmp(mode, "share")) {
        static char stack[16384] __attribute__((aligned(16)));

        sharing = clone(shares, stack + sizeof(stack), CLONE_VM | SIGCHLD, "with a thread");
    }
    sh->ready = 1;
    while (!sh->quit) {
        if (sharing && waitpid(sharing, NULL, WNOHANG)) {
            sh->wrong++;
            break;
        }
        if (!strcmp(mode, "churn")) {
            pthread_t t[4];

            for (unsigned long i = 0; i < 4; i++)
                pthread_create(&t[i], NULL, short_lived, (void *)i);
            for (int i = 0; i < 4; i++)
                pthread_join(t[i], NULL);
        } else if (!strcmp(mode, "fork")) {
            pid_t pid = fork();

            if (pid == 0) {
                one(1);
                _exit(0);
            }
            waitpid(pid, NULL, 0);
        } else if (!strcmp(mode, "closeall")) {
            close_range(3, ~0u, 0);
        } else if (!strcmp(mode, "epoll")) {
            static int ep = -1;
            struct epoll_event ev;

            if (ep < 0)
                ep = epoll_create1(EPOLL_CLOEXEC);
            if (epoll_wait(ep, &ev, 1, 100) < 0 && errno == EINTR)
                __atomic_add_fetch(&sh->eintr, 1, __ATOMIC_SEQ_CST);
        } else if (!strcmp(mode, "epoll-long")) {
            struct epoll_event ev;

            if (epoll_wait(epoll_create1(EPOLL_CLOEXEC), &ev, 1, 100000) < 0)
                __atomic_add_fetch(&sh->eintr, 1, __ATOMIC_SEQ_CST);
        } else if (!strcmp(mode, "pause")) {
            sleeper(NULL);
        } else if (!strcmp(mode, "stay") && sh->turn != sh->returned) {
            unsigned long turn = sh->turn;

            sh->wrong += stay(turn) != turn + 1;
            sh->returned = turn;
        } else if (!strcmp(mode, "hide") && sh->turn != sh->returned) {
            hide();
            sh->wrong += hot(1, 2) != 3 + (2 ^ 0x55);
            sh->returned = sh->turn;
        } else if (!strcmp(mode, "vfork")) {
            pid_t pid = vfork();

            if (pid == 0) {
                /* The child calls too, in our memory: not to be counted for the process that was named. */
                hot(1, 2);
                struct timespec ts = {.tv_nsec = 300000000};

                nanosleep(&ts, NULL);
                _exit(0);
            }
            waitpid(pid, NULL, 0);
        } else {
            struct timespec ts = {.tv_nsec = 1000000};

            nanosleep(&ts, NULL);
        }
    }
    return 0;
}
