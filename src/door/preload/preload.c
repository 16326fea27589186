/* SPDX-License-Identifier: MIT */
/*
 * The functions of libc that stand between a tool and what the broker serves. Each first decides whether the
 * call is ours, as cheaply as it can, and otherwise is libc's own in every respect, errno included:
 *
 *   syscall     bpf(2): all of it. perf_event_open(2): probes of processes and tracepoints of system
 *               calls (served), probes of the kernel (refused by name). Everything else is the raw system call.
 *   ioctl       libc's first: a descriptor of ours is a socket, which knows no ioctl of performance events.
 *   close       libc's first; then the broker is told if it was one of ours.
 *   epoll_ctl   libc's first: a ring buffer of ours is a memfd, which epoll refuses with EPERM. What is added
 *               then is an eventfd with the tool's own data, edge-triggered, so that whatever waits is the
 *               kernel.
 *   poll …      libc's first: a memfd is always ready, so what comes back ready at once and is a ring buffer
 *               of ours is asked for its records, and its eventfd waited for in its place.
 *   open …      libc's first: the few files of sysfs that say "there are uprobes" and kprobes, where the kernel has none.
 *               Before it: the ids of system calls' tracepoints, and what a tool with a host sees as vmlinux.
 *
 * So a tool that has nothing of ours pays one call more, and nothing of it is remembered by descriptor
 * number.
 *
 * A program of ours that has this linked in (TN_DOOR_LIBRARY unset) is an ordinary program until
 * tn_door_open.
 */
#include "door/preload/door.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/callname.h"
#include "broker/ctl.h"
#include "door/preload/conn.h"
#include "door/preload/copy.h"
#include "door/preload/view.h"

#define EXPORT __attribute__((visibility("default")))

#ifdef TN_DOOR_LIBRARY
static bool is_open = true;
#else
static bool is_open;
#endif

/* libc's own, found at the first use. */
#define NEXT(name)                                                                                           \
    ({                                                                                                       \
        static __typeof__(&name) next_;                                                                      \
        if (!next_)                                                                                          \
            next_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                              \
        next_;                                                                                               \
    })

static long give(long r)
{
    if (r >= 0)
        return r;
    errno = (int)-r;
    return -1;
}

/* ----------------------------------------------------------------------------------- for our own programs */

EXPORT int tn_door_open(struct tn_error *err)
{
    int r = tn_door_connect(err);

    if (!r)
        is_open = true;
    return r;
}

void tn_door_shut(void)
{
    is_open = false;
}

EXPORT bool tn_door_is_open(void)
{
    return is_open;
}

EXPORT int tn_door_ctl(u32 ctl, const void *req, size_t req_len, void *ret_reply, size_t *reply_len)
{
    struct tn_answer answer = {ret_reply, reply_len, -1};

    return (int)tn_door_call(TN_CALL_CTL, ctl, req, req_len, NULL, 0, &answer);
}

/* What a link of system calls was made without. */
static void explain_left(u32 id)
{
    _free_ struct tn_ctl_link *link = calloc(1, sizeof(*link));
    size_t len = sizeof(*link);
    char text[1024];

    if (!link || tn_door_ctl(TN_CTL_LINK_NEXT, &(u32){id - 1}, sizeof(u32), link, &len) ||
        len != sizeof(*link) || link->id != id || !link->is_call || !link->left)
        return;
    tn_ctl_left(link, text, sizeof(text));
    for (char *c = text; *c; c++) /* it has names of files */
        *c = (u8)*c < ' ' || *c == 0x7f ? '?' : *c;
    dprintf(2, "tenon: calls_left: link %u: %s\n", id, text);
}

/* With $TENON_EXPLAIN, a refusal that has a name is told on standard error, since stock tools show only errno; and so is what a link
   has left, `linked`: the call may have made one. */
static void explain(long r, bool linked)
{
    static int wanted = -1;
    _free_ struct tn_ctl_error *why = NULL;
    size_t len = sizeof(*why);

    if (wanted < 0)
        wanted = getenv("TENON_EXPLAIN") != NULL;
    if (!wanted || (r >= 0 && !linked))
        return;
    why = calloc(1, sizeof(*why));
    if (!why || tn_door_ctl(TN_CTL_LAST_ERROR, NULL, 0, why, &len) || len != sizeof(*why))
        return;
    if (r >= 0 && why->link)
        explain_left(why->link);
    if (r < 0 && why->why.reason[0])
        dprintf(2, "tenon: %.*s: %.*s\n", (int)sizeof(why->why.reason), why->why.reason,
                (int)sizeof(why->why.message), why->why.message);
}

/* ------------------------------------------------------------------------------------------------ syscall */

static long raw(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

static int copy_self(void *to, u64 from, size_t len)
{
    return tn_copy_in(to, from, len, NULL);
}

static long door_bpf(u32 command, u64 attr_addr, u32 size)
{
    struct tn_bpf_call call = {.addr = attr_addr, .size = size};
    u8 bytes[TN_ATTR_MAX];
    union bpf_attr attr = {0};
    struct tn_good good = {0};
    long r;

    if (size > sizeof(bytes))
        return -E2BIG;
    if (tn_copy_in(bytes, attr_addr, size, &good))
        return -EFAULT;
    memcpy(&attr, bytes, TN_MIN(size, sizeof(attr)));
    switch (command) {
    case BPF_MAP_LOOKUP_ELEM:
    case BPF_MAP_UPDATE_ELEM:
    case BPF_MAP_DELETE_ELEM:
    case BPF_MAP_GET_NEXT_KEY:
        r = tn_view_elem(command, &attr, &good);
        if (r != -ENOSYS)
            return r;
    }
    r = tn_door_call(TN_CALL_BPF, command, &call, sizeof(call), bytes, size, NULL);
    if (r == 0 && command == BPF_MAP_FREEZE)
        tn_view_frozen((int)attr.map_fd);
    explain(r, command == BPF_LINK_CREATE || command == BPF_RAW_TRACEPOINT_OPEN);
    return r;
}

/* Performance-event type of a sysfs folder; 0 when there is none. Read past the functions below. */
static u32 event_type(const char *path)
{
    char text[16] = {0};
    long fd = raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0), n;

    if (fd < 0)
        return 0;
    n = raw(SYS_read, fd, (long)text, sizeof(text) - 1, 0, 0, 0);
    raw(SYS_close, fd, 0, 0, 0, 0, 0);
    return n > 0 ? (u32)strtoul(text, NULL, 10) : 0;
}

#define UPROBE_PMU "/sys/bus/event_source/devices/uprobe/"
#define KPROBE_PMU "/sys/bus/event_source/devices/kprobe/"

static bool probe_type(u32 type)
{
    static u32 uprobe = UINT32_MAX, kprobe = UINT32_MAX;

    if (uprobe == UINT32_MAX) {
        kprobe = event_type(KPROBE_PMU "type");
        uprobe = event_type(UPROBE_PMU "type");
    }
    return type == TN_UPROBE_TYPE || type == TN_KPROBE_TYPE || (uprobe && type == uprobe) ||
           (kprobe && type == kprobe);
}

/* One of those whose ids are ours. */
static bool is_tracepoint(u32 type, u64 attr_addr)
{
    struct tn_call_place place;
    u64 config;

    return type == PERF_TYPE_TRACEPOINT &&
           !copy_self(&config, attr_addr + offsetof(struct perf_event_attr, config), sizeof(config)) &&
           tn_tracepoint_of(config, &place);
}

/* −ENOSYS: the kernel's. */
static long door_perf_open(u64 attr_addr, s32 pid, s32 cpu, s32 group_fd, u64 flags)
{
    struct tn_perf_open_args args = {.pid = pid, .cpu = cpu, .group_fd = group_fd, .flags = flags};
    struct perf_event_attr attr = {0};
    u32 head[2], size;
    long r;

    if (copy_self(head, attr_addr, sizeof(head)) ||
        !(probe_type(head[0]) || is_tracepoint(head[0], attr_addr)))
        return -ENOSYS;
    size = head[1] ? head[1] : PERF_ATTR_SIZE_VER0;
    if (size < PERF_ATTR_SIZE_VER0 || size > TN_PAGE)
        return -E2BIG;
    if (copy_self(&attr, attr_addr, TN_MIN(size, sizeof(attr))))
        return -EFAULT;
    r = tn_door_call(TN_CALL_PERF_OPEN, 0, &args, sizeof(args), &attr, sizeof(attr), NULL);
    explain(r, false);
    return r == -ENOSYS ? -ENODEV : r;
}

EXPORT long syscall(long nr, ...)
{
    long a, b, c, d, e, f, r;
    va_list ap;

    va_start(ap, nr);
    a = va_arg(ap, long);
    b = va_arg(ap, long);
    c = va_arg(ap, long);
    d = va_arg(ap, long);
    e = va_arg(ap, long);
    f = va_arg(ap, long);
    va_end(ap);

    if (is_open && nr == SYS_bpf)
        return give(door_bpf((u32)a, (u64)b, (u32)c));
    if (is_open && nr == SYS_perf_event_open) {
        r = door_perf_open((u64)a, (s32)b, (s32)c, (s32)d, (u64)e);
        if (r != -ENOSYS)
            return give(r);
    }
    r = raw(nr, a, b, c, d, e, f);
    return r < 0 && r >= -4095 ? give(r) : r;
}

/* -------------------------------------------------------------------------------------------------- ioctl */

static bool is_socket(int fd)
{
    struct stat st;

    return !fstat(fd, &st) && S_ISSOCK(st.st_mode);
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
    struct tn_ioctl_args args = {.fd = fd};
    int saved = errno, r, failed;
    va_list ap;
    long door;

    va_start(ap, request);
    args.arg = va_arg(ap, u64);
    va_end(ap);
    r = NEXT(ioctl)(fd, request, args.arg);
    if (!is_open || r >= 0 || _IOC_TYPE(request) != '$')
        return r;
    failed = errno;
    /* The event is ours, or the program that is to be put on the kernel's event. */
    if (!is_socket(fd) && !(request == PERF_EVENT_IOC_SET_BPF && is_socket((int)args.arg))) {
        errno = failed;
        return r;
    }
    door = tn_door_call(TN_CALL_IOCTL, (u32)request, &args, sizeof(args), NULL, 0, NULL);
    explain(door, request == PERF_EVENT_IOC_SET_BPF);
    if (door == -ENOTTY || door == -EBADF || door == -ENOSYS) {
        errno = failed;
        return r;
    }
    errno = saved;
    return (int)give(door);
}

/* -------------------------------------------------------------------------------------------------- close */

extern int __close(int fd);

/* Whoever closes a link's last descriptor has seen its last run, as in Linux: the gate is closed when this returns. */
EXPORT int close(int fd)
{
    int saved = errno, r;
    struct tn_ctl_closed closed;
    bool object = is_open && tn_door_object(fd, &closed);

    errno = saved;
    r = __close(fd);
    if (!object)
        return r;
    saved = errno;
    (void)tn_door_call(TN_CALL_CTL, TN_CTL_CLOSED, &closed, sizeof(closed), NULL, 0, NULL);
    errno = saved;
    return r;
}

/* -------------------------------------------------------------------------------------------------- epoll */

EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    int saved = errno, r = NEXT(epoll_ctl)(epfd, op, fd, event), wait_fd;
    struct epoll_event ours;
    bool ready = false;

    if (!is_open || r == 0 || errno != EPERM)
        return r;
    wait_fd = tn_view_wait_fd(fd, &ready);
    if (wait_fd < 0) {
        errno = EPERM;
        return r;
    }
    errno = saved;
    if (op == EPOLL_CTL_DEL)
        return NEXT(epoll_ctl)(epfd, op, wait_fd, event);
    if (copy_self(&ours, (u64)event, sizeof(ours)))
        return (int)give(-EFAULT);
    ours.events |= EPOLLET;
    r = NEXT(epoll_ctl)(epfd, op, wait_fd, &ours);
    /* What is there already is news to this epoll. */
    if (!r && ready)
        eventfd_write(wait_fd, 1);
    return r;
}

/* --------------------------------------------------------------------------------------------------- poll */

/* The eventfd to wait for instead of a descriptor that is ready only because it is a memfd; −1: not ours. */
static int stand_in(int fd, bool *ret_ready)
{
    struct stat st;
    int saved = errno, wait_fd;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        errno = saved;
        return -1;
    }
    wait_fd = tn_view_wait_fd(fd, ret_ready);
    errno = saved;
    return wait_fd;
}

static int wait_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    return NEXT(ppoll)(fds, count, timeout, mask);
}

/* `first`: what libc's own poll has just said. timeout NULL: for ever. */
static int poll_rings(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask,
                      int first)
{
    u64 until = timeout ? tn_monotonic() + (u64)timeout->tv_sec * 1000000000ull + (u64)timeout->tv_nsec : 0;
    _free_ struct pollfd *mine = NULL;
    bool any = false;
    int r = first;

    for (nfds_t i = 0; i < count && !any; i++)
        any = fds[i].revents && stand_in(fds[i].fd, NULL) >= 0;
    if (!any)
        return first;
    mine = calloc(count, sizeof(*mine));
    if (!mine)
        return (int)give(-ENOMEM);
    for (;;) {
        struct timespec left = {0};
        bool data = false;
        u64 now, dummy;

        for (nfds_t i = 0; i < count; i++) {
            bool ready = false;
            int wait_fd = stand_in(fds[i].fd, &ready);

            mine[i] = fds[i];
            mine[i].revents = 0;
            if (wait_fd < 0)
                continue;
            /* Emptied before the records are looked at: what comes after the look fills it again. */
            (void)!raw(SYS_read, wait_fd, (long)&dummy, sizeof(dummy), 0, 0, 0);
            stand_in(fds[i].fd, &ready);
            mine[i].fd = wait_fd;
            mine[i].events = POLLIN;
            data |= ready && (fds[i].events & (POLLIN | POLLRDNORM));
            mine[i].revents = ready;
            fds[i].revents = ready ? fds[i].events & (POLLIN | POLLRDNORM) : 0;
        }
        now = tn_monotonic();
        if (until > now)
            left =
                (struct timespec){(time_t)((until - now) / 1000000000), (long)((until - now) % 1000000000)};
        r = wait_ppoll(mine, count, data ? &(struct timespec){0} : timeout ? &left : NULL, mask);
        if (r < 0)
            return r;
        r = 0;
        for (nfds_t i = 0; i < count; i++) {
            if (mine[i].fd == fds[i].fd)
                fds[i].revents = mine[i].revents;
            r += fds[i].revents != 0;
        }
        if (r || data || (timeout && tn_monotonic() >= until))
            return r;
    }
}

EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct timespec ts = {timeout / 1000, timeout % 1000 * 1000000l};
    int r = NEXT(poll)(fds, count, timeout);

    return !is_open || r <= 0 ? r : poll_rings(fds, count, timeout < 0 ? NULL : &ts, NULL, r);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    int r = NEXT(ppoll)(fds, count, timeout, mask);

    return !is_open || r <= 0 ? r : poll_rings(fds, count, timeout, mask, r);
}

/* select by way of poll, only when a ring buffer of ours is among what is said to be readable. */
EXPORT int select(int count, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *timeout)
{
    fd_set before;
    struct timespec ts;
    _free_ struct pollfd *fds = NULL;
    nfds_t n = 0;
    bool any = false;
    int r;

    if (!is_open || !reads || count <= 0 || count > FD_SETSIZE)
        return NEXT(select)(count, reads, writes, others, timeout);
    before = *reads;
    if (timeout)
        ts = (struct timespec){timeout->tv_sec, timeout->tv_usec * 1000l};
    r = NEXT(select)(count, reads, writes, others, timeout);
    if (r <= 0)
        return r;
    for (int fd = 0; fd < count && !any; fd++)
        any = FD_ISSET(fd, reads) && stand_in(fd, NULL) >= 0;
    /* With sets of other kinds, or something else that is ready, the answer stands; the ring buffer may be
       empty, as after any wake-up. */
    if (!any || writes || others)
        return r;
    fds = calloc((size_t)count, sizeof(*fds));
    if (!fds)
        return (int)give(-ENOMEM);
    for (int fd = 0; fd < count; fd++)
        if (FD_ISSET(fd, &before))
            fds[n++] =
                (struct pollfd){.fd = fd, .events = POLLIN, .revents = FD_ISSET(fd, reads) ? POLLIN : 0};
    r = poll_rings(fds, n, timeout ? &ts : NULL, NULL, r);
    FD_ZERO(reads);
    if (r > 0)
        for (nfds_t i = 0; i < n; i++)
            if (fds[i].revents)
                FD_SET(fds[i].fd, reads);
    return r;
}

/* ------------------------------------------------------------------------ files of sysfs that are missing */

/* What a kernel with uprobes and kprobes would have there, or NULL. Only asked when the file is missing. */
static const char *missing_file(const char *path)
{
    static __thread char type[16];
    bool kernel = path && !strncmp(path, KPROBE_PMU, sizeof(KPROBE_PMU) - 1);

    _Static_assert(sizeof(KPROBE_PMU) == sizeof(UPROBE_PMU), "the same prefix but for a letter");
    if (!path || (!kernel && strncmp(path, UPROBE_PMU, sizeof(UPROBE_PMU) - 1)))
        return NULL;
    path += sizeof(UPROBE_PMU) - 1;
    if (!strcmp(path, "type")) {
        snprintf(type, sizeof(type), "%u\n", kernel ? TN_KPROBE_TYPE : TN_UPROBE_TYPE);
        return type;
    }
    return strcmp(path, "format/retprobe") ? NULL : "config:0\n";
}

/*
 * The id of a system call's tracepoint, in whatever tracefs: ours, where there is such a call at all. It is told
 * whether the kernel would tell its own or not: with that, the event would be the kernel's.
 */
static const char *tracepoint_file(const char *path)
{
    static const char *const roots[] = {"/sys/kernel/tracing/events/", "/sys/kernel/debug/tracing/events/"};
    static __thread char text[16];
    struct tn_call_place place;
    const char *group, *name, *end;
    char word[64];
    bool raw;

    for (size_t i = 0; path && i < TN_ARRAY_SIZE(roots); i++) {
        if (strncmp(path, roots[i], strlen(roots[i])))
            continue;
        group = path + strlen(roots[i]);
        raw = !strncmp(group, "raw_syscalls/", 13);
        if (!raw && strncmp(group, "syscalls/", 9))
            return NULL;
        name = strchr(group, '/') + 1;
        end = strchr(name, '/');
        if (!end || strcmp(end, "/id") || (size_t)(end - name) >= sizeof(word))
            return NULL;
        snprintf(word, sizeof(word), "%.*s", (int)(end - name), name);
        if (tn_call_place(word, &place) || raw != (place.nr == TN_CALL_ANY))
            return NULL;
        snprintf(text, sizeof(text), "%u\n", tn_tracepoint_id(place));
        return text;
    }
    return NULL;
}

#define VMLINUX "/sys/kernel/btf/vmlinux"

/* The kernel's types, as a tool that has a host sees them; −1: the real ones. */
static int open_vmlinux(const char *path)
{
    struct tn_answer answer = {.fd = -1};

    if (!is_open || !path || strcmp(path, VMLINUX) || !tn_door_has_host())
        return -1;
    return tn_door_call(TN_CALL_VMLINUX, 0, NULL, 0, NULL, 0, &answer) < 0 ? -1 : answer.fd;
}

static FILE *fopen_vmlinux(const char *path, const char *mode)
{
    int fd = mode[0] == 'r' ? open_vmlinux(path) : -1;
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

    if (fd >= 0 && !f)
        close(fd);
    return f;
}

static FILE *fopen_tracepoint(const char *path, const char *mode)
{
    const char *text = is_open && mode[0] == 'r' ? tracepoint_file(path) : NULL;

    return text ? fmemopen((void *)text, strlen(text), "r") : NULL;
}

static FILE *fopen_missing(const char *path, const char *mode)
{
    const char *text = is_open && errno == ENOENT && mode[0] == 'r' ? missing_file(path) : NULL;

    return text ? fmemopen((void *)text, strlen(text), "r") : NULL;
}

/* `next`: who opens the files that are the kernel's. */
static FILE *fopen_ours(__typeof__(&fopen) next, const char *path, const char *mode)
{
    FILE *f = fopen_vmlinux(path, mode);

    if (!f)
        f = fopen_tracepoint(path, mode);
    if (!f)
        f = next(path, mode);
    return f ? f : fopen_missing(path, mode);
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
    return fopen_ours(NEXT(fopen), path, mode);
}

EXPORT FILE *fopen64(const char *path, const char *mode)
{
    return fopen_ours(NEXT(fopen64), path, mode);
}

static int open_text(const char *text, int flags)
{
    int fd;

    if (!text)
        return -1;
    fd = memfd_create("sysfs", flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
    if (fd >= 0 && pwrite(fd, text, strlen(text), 0) < 0) {
        close(fd);
        errno = ENOENT;
        return -1;
    }
    return fd;
}

static bool reads(int flags)
{
    return is_open && (flags & O_ACCMODE) == O_RDONLY;
}

#define OPEN(name)                                                                                           \
    EXPORT int name(const char *path, int flags, ...)                                                        \
    {                                                                                                        \
        va_list ap;                                                                                          \
        mode_t mode;                                                                                         \
        int fd;                                                                                              \
                                                                                                             \
        va_start(ap, flags);                                                                                 \
        mode = va_arg(ap, mode_t);                                                                           \
        va_end(ap);                                                                                          \
        fd = (flags & O_ACCMODE) == O_RDONLY ? open_vmlinux(path) : -1;                                      \
        if (fd < 0)                                                                                          \
            fd = open_text(reads(flags) ? tracepoint_file(path) : NULL, flags);                              \
        if (fd < 0)                                                                                          \
            fd = NEXT(name)(path, flags, mode);                                                              \
        return fd < 0 && errno == ENOENT ? open_text(reads(flags) ? missing_file(path) : NULL, flags) : fd;  \
    }
OPEN(open)
OPEN(open64)
