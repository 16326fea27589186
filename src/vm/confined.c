/* SPDX-License-Identifier: MIT */
/*
 * The child's life, in this order, because each step takes away what the one before it needed:
 *
 *     die with the parent · signals to their defaults · map the compiled text · close every descriptor ·
 *     touch the stack · limits (time, memory, files, processes) · seccomp · run · answer · exit
 *
 * Memory cannot grow: RLIMIT_AS is below what is mapped, so mmap, brk and a growing stack fail, and seccomp
 * forbids the calls anyway. Processor time ends in SIGPROF, whose default kills; RLIMIT_CPU stands behind it
 * in whole seconds. The program cannot wait, so processor time bounds time.
 *
 * The filter lists the rows of rt/syscalls.h, which is all that helpers ever call, each narrowed to what it
 * is for; and exit_group. Between fork and exit the child calls nothing that could take a lock that another
 * thread of the parent held.
 */
#include "vm/confined.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "rt/syscalls.h"
#include "vm/vm.h"

#define STACK_TOUCHED  (256u * 1024)
#define DEFAULT_LIMIT  1000u
#define MAX_LIMIT      (60u * 1000)
#define FILTER_MAX     64u
#define ARCH_GET_FS_OP 0x1003u

/* First page of the mapping; the context follows on pages of its own. */
struct answer {
    u32 done; /* 1: the rest is valid */
    s32 error;
    u64 retval;
    u64 duration_ns;
};
_Static_assert(sizeof(struct answer) <= TN_PAGE, "the context starts on the second page");

/* --------------------------------------------------------------------------------------------- the filter */

struct filter {
    struct sock_filter insn[FILTER_MAX];
    u16 n;
};

static void put(struct filter *f, u16 code, u8 jt, u8 jf, u32 k)
{
    if (f->n < FILTER_MAX)
        f->insn[f->n++] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
}

static void load_word(struct filter *f, u32 offset)
{
    put(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

/* Allows call `nr`. With `narrowed`, only if the low word of argument `arg`, masked, has a value (its high
 * word zero). */
static void allow(struct filter *f, u32 nr, bool narrowed, u32 arg, u32 mask, u32 value)
{
    u32 at = offsetof(struct seccomp_data, args) + arg * 8;

    put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, narrowed ? 7 : 1, nr);
    if (narrowed) {
        load_word(f, at + 4);
        put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0);
        load_word(f, at);
        put(f, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
        put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
        put(f, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
        put(f, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    } else {
        put(f, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    }
}

static void allow_row(struct filter *f, u32 nr, u32 pid)
{
    switch (nr) {
    case TN_NR_prctl:
        allow(f, nr, true, 0, UINT32_MAX, PR_GET_NAME);
        break;
    case TN_NR_arch_prctl:
        allow(f, nr, true, 0, UINT32_MAX, ARCH_GET_FS_OP);
        break;
    case TN_NR_futex:
        allow(f, nr, true, 1, ~(u32)FUTEX_PRIVATE_FLAG, FUTEX_WAKE);
        break;
    case TN_NR_process_vm_readv:
        allow(f, nr, true, 0, UINT32_MAX, pid);
        break;
    case TN_NR_sched_yield:
    case TN_NR_getpid:
    case TN_NR_getuid:
    case TN_NR_getgid:
    case TN_NR_sigaltstack:
    case TN_NR_gettid:
    case TN_NR_clock_gettime:
        allow(f, nr, false, 0, 0, 0);
        break;
    default: /* what only the agent needs, in a host: no memory of one is here, and no breakpoint */
        break;
    }
}

static int lock_down(u32 pid)
{
    struct filter f = {0};
    struct sock_fprog prog;

    load_word(&f, offsetof(struct seccomp_data, arch));
    put(&f, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    put(&f, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    load_word(&f, offsetof(struct seccomp_data, nr));
#define S(nr, name, why) allow_row(&f, nr, pid);
    TN_SYSCALLS(S)
#undef S
    allow(&f, __NR_exit_group, false, 0, 0, 0);
    put(&f, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    if (f.n == FILTER_MAX)
        return -E2BIG;

    prog = (struct sock_fprog){.len = f.n, .filter = f.insn};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
        return -errno;
    return 0;
}

/* ---------------------------------------------------------------------------------------------- the child */

static int limit(int what, u64 value)
{
    return setrlimit(what, &(struct rlimit){value, value}) < 0 ? -errno : 0;
}

/* In a frame of its own: what is called afterwards has all of it, and the stack cannot grow then. */
static __attribute__((noinline)) void touch_stack(void)
{
    volatile u8 stack[STACK_TOUCHED];

    for (u32 i = sizeof(stack); i; i -= TN_PAGE) /* downwards, as it grows */
        stack[i - TN_PAGE] = 0;
}

static int give_up_everything(u32 limit_ms)
{
    struct itimerval timer = {.it_value = {.tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000}};
    int r;

    touch_stack();
    if (syscall(__NR_close_range, 0, ~0u, 0) < 0)
        return -errno;
    r = limit(RLIMIT_AS, 0);
    r = r ? r : limit(RLIMIT_FSIZE, 0);
    r = r ? r : limit(RLIMIT_CORE, 0);
    r = r ? r : limit(RLIMIT_NPROC, 0);
    r = r ? r : limit(RLIMIT_NOFILE, 0);
    r = r ? r : limit(RLIMIT_CPU, limit_ms / 1000 + 2);
    if (!r && setitimer(ITIMER_PROF, &timer, NULL) < 0)
        r = -errno;
    return r ? r : lock_down((u32)getpid());
}

static int run_all(const struct tn_confined_in *in, tn_prog_fn fn, void *ctx, struct answer *ret)
{
    u32 repeat = in->repeat ? in->repeat : 1;
    u64 r0 = 0, start = tn_monotonic();

    for (u32 i = 0; i < repeat; i++) {
        struct tn_run run = {.ctx = ctx, .cpu = in->cpu};
        int r;

        if (fn) {
            r0 = fn(ctx, &run);
        } else {
            r = tn_vm_run(in->prog, in->maps, ctx, &run, 0, &r0);
            if (r)
                return r;
        }
    }
    ret->duration_ns = (tn_monotonic() - start) / repeat;
    ret->retval = r0;
    return 0;
}

static _Noreturn void child(const struct tn_confined_in *in, pid_t parent, void *shared)
{
    struct answer *answer = shared, own = {0};
    struct tn_code_map map = {0};
    int r = 0;

    tn_child_begin(parent);
    if (in->code)
        r = tn_code_map(in->code, in->maps, &map);
    if (!r)
        r = give_up_everything(in->limit_ms ? TN_MIN(in->limit_ms, MAX_LIMIT) : DEFAULT_LIMIT);
    if (!r)
        r = run_all(in, map.fn, (u8 *)shared + TN_PAGE, &own);
    own.error = r;
    own.done = 1;
    *answer = own;
    for (;;)
        syscall(__NR_exit_group, 0);
}

/* --------------------------------------------------------------------------------------------- the caller */

int tn_confined_start(const struct tn_confined_in *in, struct tn_confined *ret_confined, struct tn_error *err)
{
    u64 ctx_len = TN_ROUND_UP((u64)in->ctx_size, TN_PAGE) + TN_PAGE;
    u64 data_len = in->data ? TN_ROUND_UP((u64)in->data_size, TN_PAGE) + TN_PAGE : 0;
    u64 len = TN_PAGE + ctx_len + data_len;
    struct tn_confined c = {
        .pidfd = -1, .ctx_size = in->ctx_size, .data_size = in->data_size, .shared_len = len};
    sigset_t all, before;
    pid_t self = getpid();
    int r;

    if (in->ctx_size > TN_CONFINED_MAX_DATA || in->data_size > TN_CONFINED_MAX_DATA)
        return tn_fail(err, -EINVAL, "test_run_too_big", "a context of %u bytes, a packet of %u; at most %u",
                       in->ctx_size, in->data_size, TN_CONFINED_MAX_DATA);
    for (u32 i = 0; i < in->naddresses; i++)
        if (in->addresses[i].at > in->ctx_size || in->ctx_size - in->addresses[i].at < sizeof(u32))
            return -EINVAL;
    c.shared = mmap(NULL, len, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | (in->data ? MAP_32BIT : 0), -1, 0);
    if (c.shared == MAP_FAILED)
        return tn_fail(err, -errno, "test_run_no_memory", "mmap of %llu bytes: %s", (unsigned long long)len,
                       strerror(errno));
    if (in->ctx_size)
        memcpy((u8 *)c.shared + TN_PAGE, in->ctx, in->ctx_size);
    if (in->data) {
        c.data = (u8 *)c.shared + len - TN_PAGE - in->data_size;
        memcpy(c.data, in->data, in->data_size);
        if (mprotect((u8 *)c.shared + len - TN_PAGE, TN_PAGE, PROT_NONE)) {
            r = -errno;
            munmap(c.shared, len);
            return tn_fail(err, r, "test_run_no_memory", "mprotect: %s", strerror(-r));
        }
    }
    for (u32 i = 0; i < in->naddresses; i++) {
        u32 address = (u32)(uintptr_t)c.data + (u32)in->addresses[i].plus;

        memcpy((u8 *)c.shared + TN_PAGE + in->addresses[i].at, &address, sizeof(address));
    }

    /* No handler of the caller's may run in the child: it is born with all signals blocked, and unblocks them
       when they have their defaults. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    c.pid = fork();
    if (c.pid == 0)
        child(in, self, c.shared);
    r = c.pid < 0 ? -errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (!r) {
        c.pidfd = (int)syscall(SYS_pidfd_open, c.pid, 0);
        if (c.pidfd < 0)
            r = -errno;
    }
    if (r) {
        tn_confined_abort(&c);
        return tn_fail(err, r, "test_run_no_process", "cannot start the helper process: %s", strerror(-r));
    }
    *ret_confined = c;
    return 0;
}

static void release(struct tn_confined *c)
{
    if (c->shared)
        munmap(c->shared, c->shared_len);
    if (c->pidfd >= 0)
        close(c->pidfd);
    *c = (struct tn_confined){.pidfd = -1};
}

void tn_confined_abort(struct tn_confined *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    release(c);
}

static int judge_signal(int sig, struct tn_error *err)
{
    switch (sig) {
    case SIGPROF:
    case SIGXCPU:
        return tn_fail(err, -ETIME, "test_run_time_limit",
                       "the program used up its processor time and was stopped");
    case SIGSYS:
        return tn_fail(err, -EACCES, "test_run_forbidden_call",
                       "the program's process made a system call that is not listed and was stopped");
    case SIGSEGV:
    case SIGBUS:
        return tn_fail(err, -EFAULT, "test_run_fault", "the program touched memory that is not there");
    default:
        return tn_fail(err, -ECHILD, "test_run_died", "the program's process was killed by signal %d", sig);
    }
}

int tn_confined_finish(struct tn_confined *c, struct tn_confined_result *ret_result, void *ret_ctx,
                       void *ret_data, struct tn_error *err)
{
    struct answer answer;
    int status = 0, r = 0;
    pid_t pid;

    do
        pid = waitpid(c->pid, &status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return -EAGAIN;
    if (pid < 0) { /* somebody else reaped it: SIGCHLD is ignored, or a wait for any child */
        release(c);
        return tn_fail(err, -ECHILD, "test_run_died",
                       "the end of the program's process was taken by another wait");
    }

    memcpy(&answer, c->shared, sizeof(answer));
    if (WIFSIGNALED(status))
        r = judge_signal(WTERMSIG(status), err);
    else if (answer.done != 1)
        r = tn_fail(err, -ECHILD, "test_run_died", "the program's process ended without an answer");
    else if (answer.error)
        r = tn_fail(err, answer.error < 0 && answer.error > -4096 ? answer.error : -EIO, "test_run_refused",
                    "the program could not be run: %s", strerror(-answer.error));
    if (!r) {
        *ret_result = (struct tn_confined_result){.retval = answer.retval, .duration_ns = answer.duration_ns};
        if (ret_ctx && c->ctx_size)
            memcpy(ret_ctx, (u8 *)c->shared + TN_PAGE, c->ctx_size);
        if (ret_data && c->data)
            memcpy(ret_data, c->data, c->data_size);
    }
    release(c);
    return r;
}
