/* SPDX-License-Identifier: MIT */
/*
 * What these tests enter: a process that keeps its own books, in memory it shares with the test, and behaves
 * as badly as it is told to.
 *
 *   hostile-victim BOOKS MODE [THREADS]
 *
 * It calls `hot` exactly as often as the books say, and notes each wrong result and each wait that ended
 * early. So a test can tell "nothing was lost" from "it still runs".
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../targets/crowd.h"

/* Words of eight bytes; the test knows them by index. */
struct books {
    uint64_t ready, todo, done, wrong, eintr, signals, quit, napping, naps, execs, go;
};
static volatile struct books *books;
static const char *books_path;

int brief(void);
uint64_t hot(uint64_t a, uint64_t b), tiny(void), leaves_by_tail(uint64_t a), crowded(uint64_t n);

__attribute__((noinline, used)) uint64_t hot(uint64_t a, uint64_t b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return a * 3 + (b ^ 0x55);
}

/* Sleeps until told to wake; `through` reaches it by the very instruction that a hook displaces. */
__attribute__((used)) void nap(void)
{
    __atomic_add_fetch(&books->napping, 1, __ATOMIC_SEQ_CST);
    while (!books->quit && !books->go)
        usleep(2000);
    __atomic_sub_fetch(&books->napping, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&books->naps, 1, __ATOMIC_SEQ_CST);
}
void through(void);
/* `through`: its first instruction is a call of five bytes. `tiny`: one byte and then somebody else's code.
   `brief`: three bytes, and in mode "brief" no room for any jump. `leaves_by_tail`: its only way out is a jump. `by_table`: goes where a register says. */
__asm__(".text\n"
        ".globl through, tiny, next_door, brief, next_brief, leaves_by_tail, by_table\n"
        ".type brief, @function\n.type next_brief, @function\n"
        ".type through, @function\n.type tiny, @function\n.type next_door, @function\n"
        ".type leaves_by_tail, @function\n.type by_table, @function\n"
        ".balign 16\nthrough:\n call nap\n sub $8, %rsp\n add $8, %rsp\n ret\n .size through, . - through\n"
        ".balign 16\ntiny:\n ret\n.size tiny, . - tiny\nnext_door:\n ret\n.size next_door, . - next_door\n"
        ".balign 16\nbrief:\n xor %eax, %eax\n ret\n.size brief, . - brief\n"
        "next_brief:\n endbr64\n mov $1, %eax\n ret\n.size next_brief, . - next_brief\n"
        ".balign 16\nleaves_by_tail:\n add $1, %rdi\n mov %rdi, %rsi\n jmp hot\n"
        ".size leaves_by_tail, . - leaves_by_tail\n"
        ".balign 16\nby_table:\n lea (%rdi,%rdi), %rax\n lea by_table(%rip), %rdx\n jmp *%rsi\n"
        ".size by_table, . - by_table\n");

static void call(uint64_t i)
{
    if (hot(i, 7) != i * 3 + (7 ^ 0x55) || brief())
        __atomic_add_fetch(&books->wrong, 1, __ATOMIC_SEQ_CST);
}

static void work(void)
{
    while (books->done < books->todo) {
        call(books->done);
        books->done++;
    }
}

static void *sleeper(void *arg)
{
    static int never;

    for (;;)
        if (syscall(SYS_futex, &never, 0, 0, NULL, NULL, 0) < 0 && errno == EINTR)
            __atomic_add_fetch(&books->eintr, 1, __ATOMIC_SEQ_CST);
    return arg;
}

static void *napper(void *arg)
{
    through();
    return arg;
}

/* Sleeps for ever with a mask of its own, once it is told to. */
static void *masker(void *arg)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGTRAP);
    while (!books->go)
        usleep(1000);
    ppoll(NULL, 0, NULL, &mask);
    __atomic_add_fetch(&books->wrong, 1, __ATOMIC_SEQ_CST);
    return arg;
}

static void on_signal(int sig)
{
    books->signals++;
}

/* Few calls, and death for any other. */
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

/* Writes over everything that an extension has brought: what is shared and writable as it is, what is private
   after making it so. `which`: "shared" or "marker". */
static void scribble(const char *which)
{
    static unsigned seed = 1;
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];

    while (maps && fgets(line, sizeof(line), maps)) {
        unsigned long from, to;
        char prot[8];
        int marker = strstr(line, "memfd:tenon-proc") != NULL;

        if (sscanf(line, "%lx-%lx %7s", &from, &to, prot) != 3)
            continue;
        if (strcmp(which, "marker") == 0 ? !marker : !strstr(line, "memfd:") || prot[1] != 'w')
            continue;
        if (marker && mprotect((void *)from, to - from, PROT_READ | PROT_WRITE))
            continue;
        /* The marker's identity stays, so that somebody believes in it; the rest is noise. */
        for (unsigned long at = from + (marker ? 4096 : 0); at + 4 <= to; at += 4) {
            seed = seed * 1103515245 + 12345;
            *(volatile unsigned *)at = seed % 4 ? seed : seed % 8 ? 0 : ~0u;
        }
    }
    if (maps)
        fclose(maps);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[2] : "plain";
    int fd, threads = argc > 3 ? atoi(argv[3]) : 0;
    pthread_t th;

    if (!strcmp(mode, "brief") ||
        !strcmp(mode, "masked")) { /* what stands behind is not to be evicted either */
        crowd((const unsigned char *)brief, 2);
        crowd((const unsigned char *)brief + 2, 1);
    }
    books_path = argc > 1 ? argv[1] : "";
    fd = open(books_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return 2;
    books = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (books == MAP_FAILED)
        return 2;
    alarm(120); /* whatever becomes of the test */
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < threads; i++)
        pthread_create(&th, NULL,
                       !strcmp(mode, "nap")      ? napper
                       : !strcmp(mode, "masked") ? masker
                                                 : sleeper,
                       NULL);
    if (!strcmp(mode, "seccomp"))
        strict();
    if (!strcmp(mode, "mlock"))
        mlockall(MCL_CURRENT | MCL_FUTURE);
    if (!strcmp(mode, "nofile") || !strcmp(mode, "full")) {
        struct rlimit lim = {20, 20};
        int last = -1, n;

        setrlimit(RLIMIT_NOFILE, &lim);
        while ((n = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
            last = n;
        if (!strcmp(mode, "nofile"))
            for (int i = 0; i < 4; i++)
                close(last - i);
    }
    if (!strcmp(mode, "as")) {
        struct rlimit lim = {1 << 20, 1 << 20}; /* it has more already: no mapping succeeds */

        setrlimit(RLIMIT_AS, &lim);
    }
    if (!strcmp(mode, "timer")) {
        struct itimerval it = {{0, 100}, {0, 100}};

        signal(SIGALRM, on_signal);
        setitimer(ITIMER_REAL, &it, NULL);
    }
    if (!strcmp(mode, "exec")) {
        books->execs++;
        books->ready = 1;
        if (!books->quit) {
            usleep(1000);
            execl("/proc/self/exe", argv[0], books_path, mode, NULL);
            return 3;
        }
    }
    int epoll = strcmp(mode, "paced") ? -1 : epoll_create1(EPOLL_CLOEXEC);

    books->ready = 1;
    while (!books->quit) {
        work();
        if (!strcmp(mode, "closeall")) {
            close_range(3, ~0u, 0);
        } else if (!strcmp(mode, "shared") || !strcmp(mode, "marker")) {
            if (books->go)
                scribble(mode);
            usleep(1000);
        } else if (!strcmp(mode, "vfork")) {
            pid_t pid = vfork();

            if (pid == 0) {
                hot(1, 2); /* a child's call, in our memory: not ours to count */
                while (!books->go && !books->quit) {
                    books->ready = 2; /* it stays until it is told to go */
                    usleep(2000);
                }
                _exit(0);
            }
            waitpid(pid, NULL, 0);
            usleep(2000);
        } else if (!strcmp(mode, "family") && books->go == 1) { /* a child that goes on by itself */
            pid_t pid = fork();

            if (pid == 0)
                prctl(PR_SET_PDEATHSIG, SIGKILL);
            while (pid == 0 && !books->quit) {
                call(1);
                usleep(1000);
            }
            if (pid == 0)
                _exit(0);
            books->go = (uint64_t)pid;
        } else if (!strcmp(mode, "confines") && books->go == 1) {
            strict();
            books->go = 2;
        } else if (!strcmp(mode, "paced")) { /* a wait that nobody may cut short */
            struct epoll_event ev;

            if (epoll_wait(epoll, &ev, 1, 400) < 0 && errno == EINTR)
                __atomic_add_fetch(&books->eintr, 1, __ATOMIC_SEQ_CST);
        } else if (strcmp(mode, "spin")) {
            struct timespec ts = {.tv_nsec = 500000};

            if (nanosleep(&ts, NULL) && errno == EINTR && strcmp(mode, "timer"))
                __atomic_add_fetch(&books->eintr, 1, __ATOMIC_SEQ_CST);
        }
    }
    return 0;
}
