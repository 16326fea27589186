/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a broker, and so into its injectors, guardians and hands: counts the calls by which they
 * talk and act, by the name of the process, and at the one that the test has chosen kills whom the test has
 * chosen, or lets that call fail. A step is thus any place between two system calls that matter, not only those
 * somebody thought of.
 *
 * `remote` are the calls that a borrowed thread of the target is to make: they are known by the code in front of
 * their table (src/inject/stub.c), and fail because the entry asks for more memory than there is.
 *
 * The plan and the books are a file named by $SABOTEUR, shared with the test.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BROKER, INJECT, HANDS, GUARDIAN, TOOL, TARGET, ROLES };

/* The calls, and how they fail. */
#define KINDS(X)                                                                                             \
    X(ptrace, EPERM)                                                                                         \
    X(sendmsg, ENOBUFS)                                                                                      \
    X(recvmsg, ENOMEM)                                                                                       \
    X(pwrite, EIO)                                                                                           \
    X(pread, EIO)                                                                                            \
    X(mmap, ENOMEM)                                                                                          \
    X(memfd_create, ENOMEM)                                                                                  \
    X(fork, EAGAIN)                                                                                          \
    X(remote, ENOMEM)
enum kind {
#define X(name, error) KIND_##name,
    KINDS(X)
#undef X
};
static const int error_of[] = {
#define X(name, error) error,
    KINDS(X)
#undef X
};

enum { DIES, FAILS, FAILS_FROM_HERE };

/* Words of eight bytes; the test knows them by index. */
struct books {
    uint64_t pid[ROLES], count[ROLES];
    uint64_t armed, role, nth, kill; /* kill: a bit a role */
    uint64_t kinds;                  /* what is a step: a bit a kind */
    uint64_t how;                    /* one of the three */
    uint64_t fired_ns, fired_pid;
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

/* A step. Whether the call is to fail, with errno set: for good only in the process where it began. */
static bool point(enum kind kind)
{
    int me = books && books->armed && books->kinds >> kind & 1 ? role() : -1;
    struct timespec ts;
    uint64_t n;

    if (me < 0)
        return false;
    books->pid[me] = (uint64_t)getpid();
    if (me == HANDS)
        books->pid[GUARDIAN] = (uint64_t)getppid();
    if (me == INJECT)
        books->pid[BROKER] = (uint64_t)getppid();
    n = __atomic_fetch_add(&books->count[me], 1, __ATOMIC_SEQ_CST);
    if ((uint64_t)me != books->role)
        return false;
    if (n == books->nth) {
        clock_gettime(CLOCK_MONOTONIC, &ts);
        books->fired_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
        books->fired_pid = (uint64_t)getpid();
    }
    errno = error_of[kind];
    if (books->how == FAILS_FROM_HERE)
        return n >= books->nth && books->fired_pid == (uint64_t)getpid();
    if (n != books->nth || books->how == FAILS)
        return n == books->nth;
    for (int i = 0; i < ROLES; i++)
        if (i != me && books->kill >> i & 1 && books->pid[i])
            kill((pid_t)books->pid[i], SIGKILL);
    if (books->kill >> me & 1)
        kill(getpid(), SIGKILL);
    return false;
}

/* The table of calls behind the stub's code, one of which may become one that cannot be made. */
#define TABLE_OFF 392u
struct remote {
    uint64_t nr, arg[6];
};

static ssize_t write_stub(int fd, const void *bytes, size_t len, off_t at)
{
    static const struct remote too_much = {SYS_mmap,
                                           {0, 1ull << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0}};
    ssize_t (*real)(int, const void *, size_t, off_t) = (__typeof__(real))dlsym(RTLD_NEXT, "pwrite");
    unsigned char page[4096];

    memcpy(page, bytes, len);
    for (size_t off = TABLE_OFF; off + sizeof(struct remote) <= len; off += sizeof(struct remote))
        if (point(KIND_remote))
            memcpy(page + off, &too_much, sizeof(too_much));
    return real(fd, page, len, at);
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
    return point(KIND_ptrace) ? -1 : real(request, pid, addr, data);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return point(KIND_sendmsg) ? -1 : REAL(sendmsg)(fd, msg, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    return point(KIND_recvmsg) ? -1 : REAL(recvmsg)(fd, msg, flags);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    static const unsigned char stub[] = {0x4c, 0x39, 0xeb, 0x73, 0x36, 0x49, 0x8b, 0x04, 0x24};

    if (point(KIND_pwrite))
        return -1;
    if (len > TABLE_OFF && len <= 4096 && !memcmp(bytes, stub, sizeof(stub)))
        return write_stub(fd, bytes, len, at);
    return REAL(pwrite)(fd, bytes, len, at);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t at)
{
    return point(KIND_pread) ? -1 : REAL(pread)(fd, bytes, len, at);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    return point(KIND_mmap) ? MAP_FAILED : REAL(mmap)(addr, len, prot, flags, fd, off);
}

int memfd_create(const char *name, unsigned flags)
{
    return point(KIND_memfd_create) ? -1 : REAL(memfd_create)(name, flags);
}

pid_t fork(void)
{
    return point(KIND_fork) ? -1 : REAL(fork)();
}
