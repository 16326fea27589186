/* SPDX-License-Identifier: MIT */
/*
 * Doctor's probes. They try on children of their own, which wait for a signal and die with us, and leave
 * nothing behind. A probe never says yes on hearsay where it could try.
 */
#include "cli/probes.h"

#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/bpf.h>
#include <linux/futex.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "broker/broker.h"
#include "cli/hosts.h"
#include "inject/inject.h"
#include "rewrite/module.h"
#include "rewrite/refusals.h"
#include "rt/signals.h"

static void found(struct tn_probe *probe, enum tn_probe_answer answer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void found(struct tn_probe *probe, enum tn_probe_answer answer, const char *fmt, ...)
{
    va_list args;

    probe->answer = answer;
    va_start(args, fmt);
    vsnprintf(probe->seen, sizeof(probe->seen), fmt, args);
    va_end(args);
}

/* A word of memory that children share with us by inheritance, read-only:
   something to read and to write over. */
static const char page_of_text[64] = "tenon doctor looks here";

/* A child that waits until it is killed. */
static pid_t child_start(void)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            alarm(10);
        for (;;)
            pause();
    }
    return pid;
}

static void child_end(pid_t pid)
{
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
}

/* Seizes and stops a child. 0 or −errno. */
static int seize(pid_t pid)
{
    int status;

    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
        return -errno;
    if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
        return -errno;
    while (waitpid(pid, &status, __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFSTOPPED(status) ? 0 : -ESRCH;
}

u64 tn_effective_capabilities(void)
{
    _fclose_ FILE *status = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long mask = 0;

    while (status && fgets(line, sizeof(line), status))
        if (sscanf(line, "CapEff: %llx", &mask) == 1)
            break;
    return mask;
}

void tn_probe_machine(struct tn_probe *ret_found)
{
    struct utsname name;

    if (uname(&name) < 0)
        found(ret_found, TN_PROBE_NO, "uname: %s", strerror(errno));
    else
        found(ret_found, strcmp(name.machine, "x86_64") == 0 ? TN_PROBE_YES : TN_PROBE_NO, "%s, Linux %s",
              name.machine, name.release);
}

void tn_probe_user(struct tn_probe *ret_found)
{
    /* Numbers of linux/capability.h; that header is not everywhere. */
    static const struct {
        unsigned bit;
        const char *name;
    } known[] = {{19, "sys_ptrace"}, {21, "sys_admin"}, {38, "perfmon"}, {39, "bpf"}};
    u64 mask = tn_effective_capabilities();
    char list[128] = "";

    for (size_t i = 0; i < TN_ARRAY_SIZE(known); i++)
        if (mask >> known[i].bit & 1) {
            strncat(list, list[0] ? ", " : "", sizeof(list) - strlen(list) - 1);
            strncat(list, known[i].name, sizeof(list) - strlen(list) - 1);
        }
    found(ret_found, mask >> 19 & 1 ? TN_PROBE_YES : TN_PROBE_LIMITED, "uid %u, %s%s", (unsigned)geteuid(),
          list[0] ? "with " : "no capability that matters here", list);
}

void tn_probe_ptrace_child(struct tn_probe *ret_found)
{
    pid_t pid = child_start();
    int r = pid > 0 ? seize(pid) : -EAGAIN;

    child_end(pid);
    if (r)
        found(ret_found, TN_PROBE_NO, "seizing a child: %s", strerror(-r));
    else
        found(ret_found, TN_PROBE_YES, "a child was seized and stopped");
}

/* Two children: one tries to seize the other, which is not its descendant. */
void tn_probe_ptrace_other(struct tn_probe *ret_found)
{
    _fclose_ FILE *yama = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    int scope = -1, status = 0;
    pid_t target = child_start(), tracer;
    char where[64] = "no Yama";

    if (yama && fscanf(yama, "%d", &scope) == 1)
        snprintf(where, sizeof(where), "kernel.yama.ptrace_scope is %d", scope);
    tracer = target > 0 ? fork() : -1;
    if (tracer == 0) {
        alarm(5);
        _exit(-seize(target) & 0xff);
    }
    if (tracer > 0)
        while (waitpid(tracer, &status, 0) < 0 && errno == EINTR)
            ;
    child_end(target);
    if (tracer < 0 || !WIFEXITED(status))
        found(ret_found, TN_PROBE_NO, "could not be tried; %s", where);
    else if (WEXITSTATUS(status))
        found(ret_found, TN_PROBE_NO, "seizing a process that is no child: %s; %s",
              strerror(WEXITSTATUS(status)), where);
    else
        found(ret_found, TN_PROBE_YES, "a process that is no child was seized; %s", where);
}

void tn_probe_proc_mem(struct tn_probe *ret_found)
{
    pid_t pid = child_start();
    int r = pid > 0 ? seize(pid) : -EAGAIN;
    char path[64];
    _close_ int fd = -1;

    if (!r) {
        snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || pwrite(fd, "TENON", 5, (off_t)(uintptr_t)page_of_text) != 5)
            r = -errno;
    }
    child_end(pid);
    if (r)
        found(ret_found, TN_PROBE_NO, "writing a read-only page of a traced child: %s", strerror(-r));
    else
        found(ret_found, TN_PROBE_YES, "a read-only page of a traced child was written");
}

void tn_probe_memfd(struct tn_probe *ret_found)
{
    _close_ int fd = memfd_create("tenon-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, TN_PAGE) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        found(ret_found, TN_PROBE_NO, "memfd_create with seals: %s", strerror(errno));
    else if (write(fd, "x", 1) == 1)
        found(ret_found, TN_PROBE_NO, "a sealed memfd was still written");
    else
        found(ret_found, TN_PROBE_YES, "made, sealed, and a write was refused");
}

void tn_probe_memfd_exec(struct tn_probe *ret_found)
{
    _close_ int fd = memfd_create("tenon-doctor", MFD_CLOEXEC);
    static const u8 code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
    void *text;

    if (fd < 0 || write(fd, code, sizeof(code)) != sizeof(code)) {
        found(ret_found, TN_PROBE_NO, "memfd_create: %s", strerror(errno));
        return;
    }
    text = mmap(NULL, TN_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED) {
        found(ret_found, TN_PROBE_NO, "mapping a memfd for execution: %s", strerror(errno));
        return;
    }
    found(ret_found, ((int (*)(void))text)() == 42 ? TN_PROBE_YES : TN_PROBE_NO, "mapped and run");
    munmap(text, TN_PAGE);
}

void tn_probe_pidfd_getfd(struct tn_probe *ret_found)
{
    pid_t pid = child_start();
    _close_ int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    _close_ int fd = pidfd >= 0 ? (int)syscall(SYS_pidfd_getfd, pidfd, 2, 0) : -1;
    int r = fd < 0 ? errno : 0;

    child_end(pid);
    if (r == EBADF) /* started without a standard error: asked and permitted all the same */
        r = 0;
    if (r)
        found(ret_found, TN_PROBE_NO, "from a child: %s", strerror(r));
    else
        found(ret_found, TN_PROBE_YES, "taken from a child");
}

void tn_probe_wipeonfork(struct tn_probe *ret_found)
{
    u8 *page = mmap(NULL, TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status = -1;
    pid_t pid;

    if (page == MAP_FAILED || madvise(page, TN_PAGE, MADV_WIPEONFORK) < 0) {
        found(ret_found, TN_PROBE_NO, "madvise: %s", strerror(errno));
        return;
    }
    page[0] = 1;
    pid = fork();
    if (pid == 0)
        _exit(page[0]);
    if (pid > 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    munmap(page, TN_PAGE);
    if (status == 0)
        found(ret_found, TN_PROBE_YES, "a fork child saw zeros");
    else
        found(ret_found, TN_PROBE_NO, "a fork child saw its parent's bytes");
}

void tn_probe_rseq(struct tn_probe *ret_found)
{
    if (__rseq_size > 0)
        found(ret_found, TN_PROBE_YES, "registered by libc, %td bytes from the thread pointer",
              __rseq_offset);
    else if (syscall(SYS_rseq, NULL, 0, 0, 0) < 0 && errno == ENOSYS)
        found(ret_found, TN_PROBE_NO, "the kernel has none");
    else
        found(ret_found, TN_PROBE_LIMITED, "the kernel has them, libc did not register");
}

void tn_probe_fsgsbase(struct tn_probe *ret_found)
{
    u64 base;

    if (!(getauxval(AT_HWCAP2) & 2)) { /* HWCAP2_FSGSBASE, asm/hwcap2.h */
        found(ret_found, TN_PROBE_NO, "rdfsbase is not enabled by the kernel");
        return;
    }
    __asm__ volatile(".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0" : "=a"(base)); /* rdfsbase %rax */
    if (base == (u64)(uintptr_t)__builtin_thread_pointer())
        found(ret_found, TN_PROBE_YES, "rdfsbase gave the thread pointer");
    else
        found(ret_found, TN_PROBE_NO, "rdfsbase gave something else than the thread pointer");
}

void tn_probe_futex_waitv(struct tn_probe *ret_found)
{
    if (syscall(449 /* futex_waitv */, NULL, 0, 0, NULL, 0) < 0 && errno == EINVAL)
        found(ret_found, TN_PROBE_YES, "the call answers");
    else
        found(ret_found, TN_PROBE_NO, "the call: %s", strerror(errno));
}

static void limit(struct tn_probe *ret_found, int which, u64 enough, const char *unit)
{
    struct rlimit now;

    if (getrlimit(which, &now) < 0)
        found(ret_found, TN_PROBE_NO, "getrlimit: %s", strerror(errno));
    else if (now.rlim_cur == RLIM_INFINITY)
        found(ret_found, TN_PROBE_YES, "no limit");
    else
        found(ret_found, now.rlim_cur >= enough ? TN_PROBE_YES : TN_PROBE_LIMITED, "%llu%s",
              (unsigned long long)now.rlim_cur, unit);
}

void tn_probe_memlock(struct tn_probe *ret_found)
{
    limit(ret_found, RLIMIT_MEMLOCK, 64ull << 20, " bytes");
}

void tn_probe_nofile(struct tn_probe *ret_found)
{
    limit(ret_found, RLIMIT_NOFILE, 1024, " descriptors");
}

void tn_probe_pku(struct tn_probe *ret_found)
{
    unsigned a, b, c, d;
    int key;

    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(c & (1u << 3))) { /* PKU: leaf 7, ECX bit 3 */
        found(ret_found, TN_PROBE_NO, "the processor has none");
        return;
    }
    key = pkey_alloc(0, 0);
    if (key < 0)
        found(ret_found, TN_PROBE_NO, "the processor has them, pkey_alloc: %s", strerror(errno));
    else
        found(ret_found, TN_PROBE_YES, "a key was allocated");
    if (key >= 0)
        pkey_free(key);
}

void tn_probe_seccomp(struct tn_probe *ret_found)
{
    struct seccomp_notif_sizes sizes;

    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
        found(ret_found, TN_PROBE_NO, "notification sizes: %s", strerror(errno));
    else
        found(ret_found, TN_PROBE_YES, "the kernel notifies (%u bytes a call)", sizes.seccomp_notif);
}

void tn_probe_fanotify(struct tn_probe *ret_found)
{
    _close_ int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        found(ret_found, TN_PROBE_NO, "fanotify_init: %s", strerror(errno));
    else if (fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_EXEC_PERM, AT_FDCWD, "/proc/self/exe") < 0)
        found(ret_found, TN_PROBE_NO, "marking an executable: %s", strerror(errno));
    else
        found(ret_found, TN_PROBE_YES, "an executable can be watched");
}

/* One system call of a file's code that may have to be hooked: NULL if that can be, else why not. */
static const char *guard_refused(const struct tn_code_view *code, const struct tn_patch *p)
{
    static const u8 restorer[] = TN_RESTORER;
    u64 at = p->addr - TN_RESTORER_CALL;

    if (!p->refused)
        return NULL;
    if (p->nr == TN_GUARD_rt_sigreturn && at >= code->addr && at - code->addr <= code->len &&
        code->len - (at - code->addr) >= sizeof(restorer) &&
        !memcmp(code->bytes + (at - code->addr), restorer, sizeof(restorer)))
        return NULL;
    return tn_refusal_name((enum tn_refusal_id)p->refused);
}

static int c_library(struct dl_phdr_info *info, size_t size, void *ret_path)
{
    const char *name = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;

    if (!name || strncmp(name, "/libc.so", 8))
        return 0;
    snprintf(ret_path, PATH_MAX, "%s", info->dlpi_name);
    return 1;
}

/* Plans what an attach would: the hooks of all calls that set a mask or a handler, in the C library that we have ourselves. */
void tn_probe_signals(struct tn_probe *ret_found)
{
    u32 guarded = 0, bad = 0;
    struct tn_module *m = NULL;
    struct tn_error err = {0};
    char path[PATH_MAX] = "";
    const char *why = "";
    _close_ int fd = dl_iterate_phdr(c_library, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int r = fd < 0 ? -ENOENT : tn_module_open(fd, &m, &err);

    for (u32 i = 0; r == 0 && i < tn_module_ncode(m); i++) {
        const struct tn_code_view *code = tn_module_code_at(m, i);
        _free_ struct tn_patch *list = NULL;
        u32 n = 0;

        r = tn_find_syscalls(code, TN_PLACE_SYSENTER, NULL, &list, &n);
        for (u32 k = 0; r == 0 && k < n; k++) {
            const char *refused = guard_refused(code, &list[k]);

            if (list[k].nr != TN_NR_UNKNOWN && (!tn_guarded(list[k].nr) || tn_guard_confines(list[k].nr)))
                continue;
            guarded++;
            if (refused && (list[k].nr == TN_NR_UNKNOWN || tn_guard_needed(list[k].nr))) {
                bad++;
                why = refused;
            }
        }
    }
    if (r < 0)
        found(ret_found, TN_PROBE_LIMITED, "%s cannot be looked at: %s", path[0] ? path : "a C library",
              strerror(-r));
    else if (bad)
        found(ret_found, TN_PROBE_NO, "%u of %u calls in %s cannot be hooked (%s)", bad, guarded, path, why);
    else
        found(ret_found, guarded ? TN_PROBE_YES : TN_PROBE_LIMITED,
              "all %u calls in %s that may set a mask or a handler can be hooked", guarded, path);
    tn_module_free(m);
}

/* Of every process that can be looked at and has been entered. */
void tn_probe_reads(struct tn_probe *ret_found)
{
    static const char *const how[] = {
#define W(name, words) [TN_READS_##name] = words,
        TN_READS(W)
#undef W
    };
    u32 fast = 0, slow = 0;
    char list[200] = "";
    size_t used = 0;
    DIR *proc = opendir("/proc");

    for (struct dirent *e; proc && (e = readdir(proc));) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        int r = pid > 0 ? tn_inject_reads(pid) : -ENOENT;

        if (r < 0 || r == TN_READS_NONE)
            continue;
        fast += r == TN_READS_LOADS;
        if (r == TN_READS_LOADS)
            continue;
        slow++;
        if (used < sizeof(list))
            used += (size_t)snprintf(list + used, sizeof(list) - used, "; process %d: %s", pid, how[r]);
    }
    if (proc)
        closedir(proc);
    if (fast + slow == 0)
        found(ret_found, TN_PROBE_YES, "by loads or, where faults cannot be ours, by system calls; %s",
              how[TN_READS_NONE]);
    else
        found(ret_found, slow ? TN_PROBE_LIMITED : TN_PROBE_YES, "%u process%s %s%s", fast,
              fast == 1 ? "" : "es", how[TN_READS_LOADS], list);
}

void tn_probe_kernel_bpf(struct tn_probe *ret_found)
{
    const struct bpf_insn insns[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr attr;
    _close_ int fd = -1;

    memset(&attr, 0, sizeof(attr));
    attr.prog_type = BPF_PROG_TYPE_KPROBE;
    attr.insns = (u64)(uintptr_t)insns;
    attr.insn_cnt = TN_ARRAY_SIZE(insns);
    attr.license = (u64)(uintptr_t) "GPL";
    fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    if (fd < 0)
        found(ret_found, TN_PROBE_NO, "loading a trivial program: %s", strerror(errno));
    else
        found(ret_found, TN_PROBE_YES, "a trivial program was loaded");
}

/* On a function of our own, which nobody calls meanwhile. */
void tn_probe_kernel_uprobe(struct tn_probe *ret_found)
{
    _fclose_ FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
    struct perf_event_attr attr = {.size = sizeof(attr)};
    _clean_(tn_module_clear) struct tn_module *m = NULL;
    _close_ int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = -1;
    u64 addr, offset = 0;

    if (!type || fscanf(type, "%u", &attr.type) != 1) {
        found(ret_found, TN_PROBE_NO, "the kernel offers none");
        return;
    }
    if (exe < 0 || tn_module_open(exe, &m, NULL) || tn_module_find(m, "tn_bench_function", &addr, NULL) ||
        tn_module_offset_of_addr(m, addr, &offset)) {
        found(ret_found, TN_PROBE_LIMITED, "not tried: no function of our own was found");
        return;
    }
    attr.uprobe_path = (u64)(uintptr_t) "/proc/self/exe";
    attr.probe_offset = offset;
    fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        found(ret_found, TN_PROBE_NO, "one on a function of our own: %s", strerror(errno));
    else
        found(ret_found, TN_PROBE_YES, "one stood on a function of our own");
}

/* Looks, but starts none. */
void tn_probe_policy(struct tn_probe *ret_found)
{
    struct tn_cli_policy policy;
    struct tn_error err = {0};
    char hosts[160] = "";
    const char *name;

    if (tn_cli_policy_open(NULL, 0, NULL, &policy, &err)) {
        found(ret_found, TN_PROBE_NO, "nothing is admitted to governed hosts until this is mended: %.180s",
              err.message);
        return;
    }
    for (u32 k = 0; (name = tn_eim_host_name(policy.eim, k)); k++) {
        size_t used = strlen(hosts);

        snprintf(hosts + used, sizeof(hosts) - used, "%s%s", k ? ", " : "", name);
    }
    if (!policy.files.n)
        found(ret_found, TN_PROBE_LIMITED,
              "no policy: a user may do to his own processes what ptrace would let him");
    else
        found(ret_found, TN_PROBE_YES, "%u file%s for host%s %s", policy.files.n,
              policy.files.n == 1 ? "" : "s", strchr(hosts, ',') ? "s" : "", hosts);
    tn_cli_policy_close(&policy);
}

void tn_probe_broker(struct tn_probe *ret_found)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct tn_error err = {0};
    _close_ int fd = -1;
    int r = tn_broker_socket_path(address.sun_path, sizeof(address.sun_path), &err);

    if (r) {
        found(ret_found, TN_PROBE_NO, "%.200s", err.message[0] ? err.message : strerror(-r));
        return;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        found(ret_found, TN_PROBE_YES, "answers at %s", address.sun_path);
    else
        found(ret_found, TN_PROBE_LIMITED, "nobody at %s", address.sun_path);
}
