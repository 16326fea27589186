/* SPDX-License-Identifier: MIT */
/*
 * The watcher's two sides; see watch.h. In its own process it does three things only: it takes events, asks
 * /proc who it is, and answers. Nothing it waits for can depend on those who wait for it, but for reading
 * /proc, where the kernel makes it wait for the end of an exec at most.
 */
#include "inject/watch.h"
#include "inject/order.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ANSWER_NS   2000000000ull
#define ORDER_MS    2000
#define ASLEEP_NS   100000000ull /* for a thread to sleep over what it has asked */
#define ASLEEP_US   100
#define PENDING_MAX 1024u
#define BATCH       32u /* events taken at once: each comes with a descriptor */
#define LOADER_MAX  (2u << 20)

/* --------------------------------------------------------------------------- the watcher's process */

struct mark {
    u64 dev, ino, mask;
    int fd;
};
struct pending {
    u64 id, until;
    int fd;
};
struct watcher {
    int fan, events, orders;
    pid_t broker;
    struct mark *mark;
    u32 nmarks;
    struct pending pending[PENDING_MAX];
    u32 npending, room;
    u64 next_id;
    bool
        stuck; /* the broker has let one pass without an answer: until it speaks again, nobody waits for it */
};

static void allow(const struct watcher *w, int fd)
{
    struct fanotify_response yes = {.fd = fd, .response = FAN_ALLOW};

    if (write(w->fan, &yes, sizeof(yes)) != sizeof(yes))
        _exit(1); /* closing it answers all */
    close(fd);
}

static void answer(struct watcher *w, u32 index)
{
    allow(w, w->pending[index].fd);
    w->pending[index] = w->pending[--w->npending];
}

/* The broker, its guardians with their hands, injectors, readers of types. */
static bool is_ours(const struct watcher *w, const struct tn_status *st)
{
    struct tn_status up = *st;

    for (u32 depth = 0; depth < 4 && up.tgid > 1; depth++) {
        pid_t parent = up.parent;

        if (up.tgid == w->broker || parent == w->broker)
            return true;
        if (tn_status_read(parent, parent, &up) < 0)
            return false;
    }
    return false;
}

/* Is it a loader that opens the file? The call then comes from what the kernel has mapped as the interpreter;
   a static program may bear one in itself. Others (cp, ldconfig, a debugger) read it and map no code. */
static bool loads(pid_t pid, pid_t tid)
{
    u64 base = tn_proc_auxv(pid, AT_BASE);
    const u64 until = tn_monotonic() + ASLEEP_NS;
    struct tn_doing_what what;

    if (!base)
        return true;
    /* Its event may be here before the thread has gone to sleep over it: its processor was taken away, say. */
    for (;; usleep(ASLEEP_US)) {
        tn_thread_doing(pid, tid, &what);
        if (what.doing != TN_DOING_RUNS)
            return what.doing == TN_DOING_SLEEPS && what.pc - base < LOADER_MAX;
        if (tn_monotonic() >= until)
            return true;
    }
}

static void on_open(struct watcher *w, const struct fanotify_event_metadata *m)
{
    struct tn_watch_event ev = {.id = w->next_id++, .tid = m->pid, .exec = !!(m->mask & FAN_OPEN_EXEC_PERM)};
    struct tn_status st;
    struct stat sb;

    if (w->stuck || m->pid <= 0 || fstat(m->fd, &sb) < 0 || tn_status_read(m->pid, m->pid, &st) < 0 ||
        is_ours(w, &st) || (!ev.exec && !loads(st.tgid, m->pid)) || w->npending == w->room) {
        allow(w, m->fd);
        return;
    }
    ev.pid = st.tgid;
    ev.dev = sb.st_dev;
    ev.ino = sb.st_ino;
    w->pending[w->npending++] =
        (struct pending){.id = ev.id, .fd = m->fd, .until = tn_monotonic() + ANSWER_NS};
    if (send(w->events, &ev, sizeof(ev), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(ev))
        answer(w, w->npending - 1);
}

static void on_events(struct watcher *w)
{
    char buf[BATCH * FAN_EVENT_METADATA_LEN] __attribute__((aligned(8)));
    const struct fanotify_event_metadata *m = (const struct fanotify_event_metadata *)buf;
    ssize_t n = read(w->fan, buf, sizeof(buf));

    for (; n > 0 && FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n)) {
        if (m->vers != FANOTIFY_METADATA_VERSION)
            _exit(1);
        if (m->fd >= 0)
            on_open(w, m);
    }
}

static void on_answers(struct watcher *w)
{
    u64 id;
    ssize_t n;

    while ((n = recv(w->events, &id, sizeof(id), MSG_DONTWAIT)) == sizeof(id)) {
        w->stuck = false;
        for (u32 i = 0; i < w->npending; i++)
            if (w->pending[i].id == id) {
                answer(w, i);
                break;
            }
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        _exit(0); /* the broker is gone */
}

/* Events of the file that are asked for: executed at any rate; opened, unless the file says that it is a program
   and no library. (libc has an interpreter too: that says nothing.) */
static u64 mask_of(int fd)
{
    const u64 lib = FAN_OPEN_EXEC_PERM | FAN_OPEN_PERM;
    Elf64_Ehdr eh;

    if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG) ||
        eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_type != ET_DYN)
        return FAN_OPEN_EXEC_PERM;
    for (u32 i = 0; i < TN_MIN(eh.e_phnum, 128u); i++) {
        Elf64_Phdr ph;

        if (pread(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))) != sizeof(ph))
            return lib;
        for (u64 at = 0; ph.p_type == PT_DYNAMIC && at + sizeof(Elf64_Dyn) <= TN_MIN(ph.p_filesz, 65536ull);
             at += sizeof(Elf64_Dyn)) {
            Elf64_Dyn dyn;

            if (pread(fd, &dyn, sizeof(dyn), (off_t)(ph.p_offset + at)) != sizeof(dyn) ||
                dyn.d_tag == DT_NULL)
                break;
            if (dyn.d_tag == DT_FLAGS_1 && dyn.d_un.d_val & DF_1_PIE)
                return FAN_OPEN_EXEC_PERM;
        }
    }
    return lib;
}

static int add_mark(struct watcher *w, int fd)
{
    struct mark *more;
    struct stat sb;
    u64 mask = mask_of(fd);

    if (fstat(fd, &sb) < 0)
        return -errno;
    for (u32 i = 0; i < w->nmarks; i++)
        if (w->mark[i].dev == sb.st_dev && w->mark[i].ino == sb.st_ino)
            return -EEXIST;
    more = realloc(w->mark, (w->nmarks + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    w->mark = more;
    if (fanotify_mark(w->fan, FAN_MARK_ADD, mask, fd, NULL) < 0)
        return -errno;
    w->mark[w->nmarks++] = (struct mark){.dev = sb.st_dev, .ino = sb.st_ino, .mask = mask, .fd = fd};
    return 0;
}

static void remove_mark(struct watcher *w, u64 dev, u64 ino)
{
    for (u32 i = 0; i < w->nmarks; i++)
        if (w->mark[i].dev == dev && w->mark[i].ino == ino) {
            fanotify_mark(w->fan, FAN_MARK_REMOVE, w->mark[i].mask, w->mark[i].fd, NULL);
            close(w->mark[i].fd);
            w->mark[i] = w->mark[--w->nmarks];
            return;
        }
}

/* With a descriptor: add, and answered; without: remove. */
struct order {
    u64 dev, ino;
};

static void on_order(struct watcher *w)
{
    struct order o;
    int fds[TN_FDS_MAX];
    u32 nfds = 0;
    ssize_t n = tn_recv(w->orders, &o, sizeof(o), fds, &nfds);
    s32 r;

    if (n != sizeof(o))
        _exit(0);
    if (!nfds) {
        remove_mark(w, o.dev, o.ino);
        return;
    }
    for (u32 i = 1; i < nfds; i++)
        close(fds[i]);
    r = add_mark(w, fds[0]);
    if (r < 0)
        close(fds[0]);
    if (tn_send(w->orders, &r, sizeof(r), NULL, 0, NULL, 0) < 0)
        _exit(0);
}

static void watch(struct watcher *w) __attribute__((noreturn));
static void watch(struct watcher *w)
{
    for (;;) {
        struct pollfd p[3] = {
            {.fd = w->events, .events = POLLIN},
            {.fd = w->orders, .events = POLLIN},
            {.fd = w->npending + BATCH <= w->room || w->stuck ? w->fan : -1, .events = POLLIN}};
        u64 until = ~0ull, now = tn_monotonic();

        for (u32 i = 0; i < w->npending; i++)
            until = TN_MIN(until, w->pending[i].until);
        if (poll(p, 3,
                 until == ~0ull ? -1
                 : until <= now ? 0
                                : (int)((until - now) / 1000000) + 1) < 0 &&
            errno != EINTR)
            _exit(1);
        if (p[0].revents)
            on_answers(w);
        if (p[1].revents)
            on_order(w);
        if (p[2].revents)
            on_events(w);
        now = tn_monotonic();
        for (u32 i = w->npending; i-- > 0;)
            w->stuck |= w->pending[i].until <= now;
        while (w->stuck && w->npending)
            answer(w, 0);
    }
}

static void watcher_main(int fan, int events, int orders, pid_t broker) __attribute__((noreturn));
static void watcher_main(int fan, int events, int orders, pid_t broker)
{
    struct watcher *w = calloc(1, sizeof(*w));
    int keep[3] = {fan, events, orders};
    struct rlimit files;

    tn_step_aside("tenon-watcher");
    if (!w || tn_keep_only(keep, 3) < 0)
        _exit(1);
    *w = (struct watcher){.fan = keep[0], .events = keep[1], .orders = keep[2], .broker = broker};
    /* A descriptor that cannot be had for an event is taken by the kernel for a "no". */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = TN_MIN(files.rlim_max, (rlim_t)(4 * PENDING_MAX));
        setrlimit(RLIMIT_NOFILE, &files);
        w->room = files.rlim_cur > 2 * PENDING_MAX ? PENDING_MAX : (u32)files.rlim_cur / 4;
    }
    watch(w);
}

/* ----------------------------------------------------------------------------------- the broker's side */

struct tn_watch {
    pid_t pid;
    int events, orders;
};

static int refuse(struct tn_error *err, int r)
{
    return tn_fail(err, r, "not_watched",
                   r == -EPERM ? "watching a file for being executed or loaded needs CAP_SYS_ADMIN"
                   : r == -EINVAL
                       ? "this kernel or file system cannot watch a file for being executed or loaded "
                         "(fanotify permission events, Linux 5.0)"
                       : "the file cannot be watched for being executed or loaded: %s",
                   strerror(-r));
}

int tn_watch_new(struct tn_watch **ret_watch, struct tn_error *err)
{
    struct tn_watch *watch = NULL;
    int events[2] = {-1, -1}, orders[2] = {-1, -1}, r = 0;
    pid_t broker = getpid();
    _close_ int fan = fanotify_init(FAN_CLASS_CONTENT | FAN_REPORT_TID | FAN_CLOEXEC | FAN_NONBLOCK,
                                    O_RDONLY | O_CLOEXEC | O_LARGEFILE);

    if (fan < 0)
        return refuse(err, -errno);
    watch = malloc(sizeof(*watch));
    if (!watch || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, events) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0) {
        r = -errno;
    } else {
        watch->pid = fork();
        if (watch->pid == 0)
            watcher_main(fan, events[1], orders[1], broker);
        r = watch->pid < 0 ? -errno : 0;
    }
    if (events[1] >= 0)
        close(events[1]);
    if (orders[1] >= 0)
        close(orders[1]);
    if (r < 0) {
        if (events[0] >= 0)
            close(events[0]);
        if (orders[0] >= 0)
            close(orders[0]);
        free(watch);
        return refuse(err, r);
    }
    watch->events = events[0];
    watch->orders = orders[0];
    *ret_watch = watch;
    return 0;
}

void tn_watch_free(struct tn_watch *watch)
{
    if (!watch)
        return;
    close(watch->events);
    close(watch->orders);
    kill(watch->pid, SIGKILL);
    waitpid(watch->pid, NULL, 0);
    free(watch);
}

int tn_watch_add(struct tn_watch *watch, int fd, struct tn_error *err)
{
    struct pollfd p = {.fd = watch->orders, .events = POLLIN};
    struct order o = {};
    s32 told = -EPIPE;
    ssize_t n = tn_send(watch->orders, &o, sizeof(o), NULL, 0, &fd, 1);

    /* Nothing that it does takes long: one that does not answer is not well. */
    if (n < 0 || poll(&p, 1, ORDER_MS) != 1 ||
        tn_recv(watch->orders, &told, sizeof(told), NULL, NULL) != sizeof(told)) {
        kill(watch->pid, SIGKILL);
        told = -EPIPE;
    }
    return told < 0 ? refuse(err, told) : 0;
}

void tn_watch_remove(struct tn_watch *watch, u64 dev, u64 ino)
{
    struct order o = {.dev = dev, .ino = ino};

    (void)tn_send(watch->orders, &o, sizeof(o), NULL, 0, NULL, 0);
}

int tn_watch_fd(const struct tn_watch *watch)
{
    return watch->events;
}

int tn_watch_next(struct tn_watch *watch, struct tn_watch_event *ret_event)
{
    ssize_t n = recv(watch->events, ret_event, sizeof(*ret_event), MSG_DONTWAIT);

    if (n == sizeof(*ret_event))
        return 0;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EPIPE;
}

void tn_watch_answer(struct tn_watch *watch, u64 id)
{
    (void)send(watch->events, &id, sizeof(id), MSG_DONTWAIT | MSG_NOSIGNAL);
}
