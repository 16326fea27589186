/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a broker, and so into its injectors, guardians and hands: counts the calls by which they
 * talk and act, by the name of the process, and at the one that the test has chosen kills whom the test has
 * chosen. A step is thus any place between two system calls that matter, not only those somebody thought of.
 *
 * The plan and the books are a file named by $SABOTEUR, shared with the test.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BROKER, INJECT, HANDS, GUARDIAN, TOOL, TARGET, ROLES };

/* Words of eight bytes; the test knows them by index. */
struct books {
    uint64_t pid[ROLES], count[ROLES];
    uint64_t armed, role, nth, kill; /* kill: a bit a role */
    uint64_t fired_ns;
};
static volatile struct books *books;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("SABOTEUR");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    books = map == MAP_FAILED ? NULL : map;
}

static int role(void)
{
    char name[16] = "";

    prctl(PR_GET_NAME, name);
    return !strcmp(name, "tenon-inject")  ? INJECT
           : !strcmp(name, "tenon-hands") ? HANDS
           : !strcmp(name, "tenon")       ? BROKER
                                          : -1;
}

static void point(void)
{
    int me = books && books->armed ? role() : -1;
    struct timespec ts;

    if (me < 0)
        return;
    books->pid[me] = (uint64_t)getpid();
    if (me == HANDS)
        books->pid[GUARDIAN] = (uint64_t)getppid();
    if (me == INJECT)
        books->pid[BROKER] = (uint64_t)getppid();
    if (__atomic_fetch_add(&books->count[me], 1, __ATOMIC_SEQ_CST) != books->nth ||
        (uint64_t)me != books->role)
        return;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    books->fired_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    for (int i = 0; i < ROLES; i++)
        if (i != me && books->kill >> i & 1 && books->pid[i])
            kill((pid_t)books->pid[i], SIGKILL);
    if (books->kill >> me & 1)
        kill(getpid(), SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

long ptrace(enum __ptrace_request request, ...)
{
    static long (*real)(enum __ptrace_request, ...);
    va_list ap;
    pid_t pid;
    void *addr, *data;

    va_start(ap, request);
    pid = va_arg(ap, pid_t);
    addr = va_arg(ap, void *);
    data = va_arg(ap, void *);
    va_end(ap);
    if (!real)
        real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
    point();
    return real(request, pid, addr, data);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    point();
    return REAL(sendmsg)(fd, msg, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    point();
    return REAL(recvmsg)(fd, msg, flags);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    point();
    return REAL(pwrite)(fd, bytes, len, at);
}
