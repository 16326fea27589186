/* SPDX-License-Identifier: MIT */
/*
 * Why a child: libdw and libbpf were written for what compilers make. A file that ends them ends only the
 * child, and what a file could make them do is bounded by what the child may: read the few descriptors it was
 * born with, take memory, write its answer.
 *
 *     die with the parent · signals to their defaults · close all other descriptors · limits · seccomp ·
 *     read · answer · exit
 *
 * The filter lists what malloc, libelf and libdw need. What would open a file fails with EPERM, since libdw
 * looks for further files by itself and goes on without them; everything else kills.
 */
#include "host/child.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "host/finish.h"

#define DEFAULT_MS 60000u
#define DEFAULT_MB 2048u

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED 1 /* its shadow alone is larger than any limit */
#else
#define SANITIZED 0
#endif

struct answer {
    u32 done; /* 1: the rest is valid */
    s32 error;
    struct tn_error why;
};

/* ----------------------------------------------------------------------------------------- the filter */

/* C(call, what it does there): ALLOW, or FAIL with EPERM */
// clang-format off
#define CALLS(C)                                                                                              \
    C(read, ALLOW) C(pread64, ALLOW) C(write, ALLOW) C(lseek, ALLOW) C(fstat, ALLOW) C(close, ALLOW)           \
    C(fcntl, ALLOW) C(munmap, ALLOW) C(mremap, ALLOW) C(brk, ALLOW) C(madvise, ALLOW) C(futex, ALLOW)          \
    C(exit_group, ALLOW) C(exit, ALLOW) C(rt_sigreturn, ALLOW) C(getrandom, ALLOW) C(clock_gettime, ALLOW)     \
    C(sched_yield, ALLOW) C(getpid, ALLOW) C(gettid, ALLOW) C(rt_sigprocmask, ALLOW) C(prlimit64, FAIL)        \
    C(open, FAIL) C(openat, FAIL) C(readlink, FAIL) C(readlinkat, FAIL) C(access, FAIL)    \
    C(faccessat, FAIL) C(stat, FAIL) C(lstat, FAIL) C(getcwd, FAIL) C(sysinfo, FAIL) C(sched_getaffinity, FAIL)
// clang-format on

#define ALLOW SECCOMP_RET_ALLOW
#define FAIL  (SECCOMP_RET_ERRNO | EPERM)

static int lock_down(void)
{
    struct sock_filter insn[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#define C(call, verdict)                                                                                     \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, verdict),
        CALLS(C)
#undef C
        /* of a descriptor, as glibc asks it: with no path */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_newfstatat, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AT_EMPTY_PATH, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, FAIL),
        /* memory, but none to execute */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mmap, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_mprotect, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog prog = {.len = TN_ARRAY_SIZE(insn), .filter = insn};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
        return -errno;
    return 0;
}

/* ------------------------------------------------------------------------------------------ the child */

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* All descriptors but those five. */
static void close_others(int a, int b, int c, int d, int e)
{
    int keep[] = {a, b, c, d, e};
    unsigned from = SANITIZED ? 3 : 0; /* where a sanitizer reports */

    qsort(keep, TN_ARRAY_SIZE(keep), sizeof(int), by_number);
    for (u32 i = 0; i < TN_ARRAY_SIZE(keep); i++) {
        if (keep[i] < 0)
            continue;
        if ((unsigned)keep[i] > from)
            syscall(__NR_close_range, from, (unsigned)keep[i] - 1, 0);
        from = TN_MAX(from, (unsigned)keep[i] + 1);
    }
    syscall(__NR_close_range, from, ~0u, 0);
}

static int limit(int what, u64 value)
{
    return setrlimit(what, &(struct rlimit){value, value}) < 0 ? -errno : 0;
}

static int confine(const struct tn_host_child_in *in)
{
    u32 ms = in->limit_ms ? in->limit_ms : DEFAULT_MS;
    struct itimerval timer = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}};
    int r = 0;

    if (!SANITIZED)
        r = limit(RLIMIT_AS, (u64)(in->limit_mb ? in->limit_mb : DEFAULT_MB) << 20);
    r = r ? r : limit(RLIMIT_FSIZE, TN_HOST_IMAGE_MAX);
    r = r ? r : limit(RLIMIT_CORE, 0);
    r = r ? r : limit(RLIMIT_NPROC, 0);
    r = r ? r : limit(RLIMIT_CPU, ms / 1000 + 2);
    if (!r && setitimer(ITIMER_REAL, &timer, NULL) < 0)
        r = -errno;
    return r ? r : SANITIZED ? 0 : lock_down();
}

static int work(const struct tn_host_child_in *in, int out, struct tn_error *err)
{
    struct tn_found found = {0};
    struct tn_finish_in finish = {.head = in->head,
                                  .elf = in->elf,
                                  .fd = in->fd,
                                  .debug_fd = in->debug_fd,
                                  .found = in->btf ? NULL : &found,
                                  .btf = in->btf,
                                  .btf_size = in->btf_size,
                                  .declared = in->declared,
                                  .out_fd = out};
    int from = in->types_fd >= 0 ? in->types_fd : in->debug_fd >= 0 ? in->debug_fd : in->fd, r;

    libbpf_set_print(NULL);
    if (in->btf)
        return tn_finish(&finish, err);
    r = tn_raw_init(&found.raw, true);
    if (!r)
        r = tn_dwarf_read(from, in->alt_fd, in->types_fd >= 0, &found, err);
    if (!r && found.nskeletons && !found.nfuncs)
        r = tn_fail(err, -ENODATA, "split_dwarf",
                    "its types are in .dwo files, which are not read: build without -gsplit-dwarf");
    if (r == -ENOMEM)
        r = tn_fail(err, r, "types_memory", "its debug information needs more memory than is allowed");
    if (r == -E2BIG)
        r = tn_fail(err, r, "types_too_many", "more debug information than is read");
    return r ? r : tn_finish(&finish, err);
}

static _Noreturn void child(const struct tn_host_child_in *in, pid_t parent, int out, struct answer *answer)
{
    struct answer own = {0};

    tn_child_begin(parent);
    close_others(in->fd, in->debug_fd, in->alt_fd, in->types_fd, out);
    own.error = confine(in);
    if (own.error)
        (void)tn_fail(&own.why, own.error, "types_confine", "the reader of types cannot be confined: %s",
                      strerror(-own.error));
    else
        own.error = work(in, out, &own.why);
    own.done = 1;
    *answer = own;
    for (;;)
        _exit(0);
}

/* ----------------------------------------------------------------------------------------- the parent */

static void release(struct tn_host_child *c)
{
    if (c->shared)
        munmap(c->shared, sizeof(struct answer));
    if (c->pidfd >= 0)
        close(c->pidfd);
    if (c->out >= 0)
        close(c->out);
    *c = (struct tn_host_child){.pidfd = -1, .out = -1};
}

int tn_host_child_start(const struct tn_host_child_in *in, struct tn_host_child *ret, struct tn_error *err)
{
    struct tn_host_child c = {.pidfd = -1, .out = -1};
    pid_t self = getpid();
    sigset_t all, before;
    int r = 0;

    c.out = memfd_create("tenon-types", MFD_CLOEXEC);
    c.shared = mmap(NULL, sizeof(struct answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (c.out < 0 || c.shared == MAP_FAILED) {
        r = -errno;
        c.shared = c.shared == MAP_FAILED ? NULL : c.shared;
        release(&c);
        return tn_fail(err, r, "types_process", "cannot start the reader of types: %s", strerror(-r));
    }
    sigfillset(&all); /* no handler of the caller's may run in the child */
    sigprocmask(SIG_SETMASK, &all, &before);
    c.pid = fork();
    if (c.pid == 0)
        child(in, self, c.out, c.shared);
    r = c.pid < 0 ? -errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (!r) {
        c.pidfd = (int)syscall(SYS_pidfd_open, c.pid, 0);
        r = c.pidfd < 0 ? -errno : 0;
    }
    if (r) {
        tn_host_child_abort(&c);
        return tn_fail(err, r, "types_process", "cannot start the reader of types: %s", strerror(-r));
    }
    *ret = c;
    return 0;
}

void tn_host_child_abort(struct tn_host_child *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    release(c);
}

static int judge(int status, const struct answer *a, struct tn_error *err)
{
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

    if (sig == SIGALRM || sig == SIGXCPU)
        return tn_fail(err, -ETIME, "types_time", "reading its debug information took too long");
    if (sig)
        return tn_fail(err, -EBADMSG, "types_crash",
                       "reading its debug information ended the reader with signal %d (%s)", sig,
                       strsignal(sig));
    if (a->done != 1 && WEXITSTATUS(status) == TN_DWARF_NO_MEMORY)
        return tn_fail(err, -ENOMEM, "types_memory",
                       "its debug information needs more memory than is allowed");
    if (a->done != 1)
        return tn_fail(err, -EBADMSG, "types_crash", "reading its debug information ended the reader");
    if (!a->error)
        return 0;
    if (a->why.reason[0] && memchr(a->why.reason, 0, sizeof(a->why.reason)) &&
        memchr(a->why.message, 0, sizeof(a->why.message)))
        return tn_fail(err, a->error < 0 && a->error > -4096 ? a->error : -EBADMSG, a->why.reason, "%s",
                       a->why.message);
    return tn_fail(err, -EBADMSG, "types_damaged", "its debug information cannot be read: %s",
                   strerror(a->error < 0 && a->error > -4096 ? -a->error : EBADMSG));
}

static int read_answer(int fd, void **ret, u64 *ret_size, struct tn_error *err)
{
    _free_ u8 *bytes = NULL;
    struct stat st;
    int r;

    if (fstat(fd, &st) < 0)
        return -errno;
    if ((u64)st.st_size > TN_HOST_IMAGE_MAX)
        return tn_fail(err, -E2BIG, "types_too_many", "%lld bytes of types", (long long)st.st_size);
    bytes = malloc((u64)st.st_size + 1);
    if (!bytes)
        return -ENOMEM;
    r = tn_pread_all(fd, bytes, (u64)st.st_size, 0);
    if (r)
        return r == -ENODATA ? -EIO : r;
    *ret = TN_TAKE_PTR(bytes);
    *ret_size = (u64)st.st_size;
    return 0;
}

int tn_host_child_finish(struct tn_host_child *c, void **ret, u64 *ret_size, struct tn_error *err)
{
    struct answer answer;
    int status = 0, r;
    pid_t pid;

    do
        pid = waitpid(c->pid, &status, 0);
    while (pid < 0 && errno == EINTR);
    memcpy(&answer, c->shared, sizeof(answer));
    if (pid < 0)
        r = tn_fail(err, -ECHILD, "types_process",
                    "the end of the reader of types was taken by another wait");
    else
        r = judge(status, &answer, err);
    if (!r)
        r = read_answer(c->out, ret, ret_size, err);
    release(c);
    return r;
}
