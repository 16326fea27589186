/* SPDX-License-Identifier: MIT */
/*
 * The broker's life: what it owns is made, the loop turns, and when nothing needs it any more it takes its
 * socket away and leaves. "Needs": a connection, an object somebody holds, a kept link, a job under way.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "broker/broker_int.h"

#define LINGER_MS 10000u

static void on_listener(struct tn_source *source, u32 events)
{
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        tn_conn_accept(TN_CONTAINER_OF(source, struct tn_broker, listener), fd);
    } else if (errno == EMFILE || errno == ENFILE) {
        /* Nobody can be let in until somebody leaves: do not spin. */
        struct timespec pause = {.tv_nsec = 10000000};

        nanosleep(&pause, NULL);
    }
}

#define INSTANCE_WAITS   20u
#define INSTANCE_WAIT_NS 50000000l

/* A user has few of them (128 as a rule), and the kernel takes one back some time after it was closed: not at once, where many come and
   go. */
int tn_inotify_new(void)
{
    for (u32 tries = 0;; tries++) {
        int other, fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        if (fd >= 0 || errno != EMFILE)
            return fd < 0 ? -errno : fd;
        other = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
        if (other >= 0)
            close(other);
        if (other < 0 || tries == INSTANCE_WAITS)
            return other < 0 ? -EMFILE : -EUSERS;
        nanosleep(&(struct timespec){.tv_nsec = INSTANCE_WAIT_NS}, NULL);
    }
}

static void on_inotify(struct tn_source *source, u32 events)
{
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(source->fd, buf, sizeof(buf));

    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
        const struct inotify_event *event = (const struct inotify_event *)(buf + at);
        struct tn_broker *broker = TN_CONTAINER_OF(source, struct tn_broker, inotify);

        if (event->mask & IN_Q_OVERFLOW) {
            /* Which ones is not known: look at all. From the end, since each may go. */
            for (u32 i = broker->table[TN_KIND_MAP].count; i-- > 0;)
                tn_map_closed(broker, ((struct tn_bmap *)broker->table[TN_KIND_MAP].slot[i])->watch);
        } else if (!(event->mask & IN_IGNORED)) {
            tn_map_closed(broker, event->wd);
        }
        at += (ssize_t)(sizeof(*event) + event->len);
    }
}

static void on_injector(struct tn_source *source, u32 events)
{
    struct tn_broker *broker = TN_CONTAINER_OF(source, struct tn_broker, injector);
    pid_t pid;

    while (!tn_inject_event(broker->inject, &pid))
        tn_target_ended(broker, pid);
}

/* ------------------------------------------------------------------------------------------------ machine */

/* Possible CPUs: what the size of a per-CPU value is counted by. */
static u32 possible_cpus(void)
{
    _fclose_ FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
    u32 last = 0, n;
    char line[256];

    if (f && fgets(line, sizeof(line), f))
        for (char *p = line; *p;) {
            char *end;

            n = (u32)strtoul(p, &end, 10);
            if (end == p)
                break;
            last = TN_MAX(last, n);
            p = *end == '-' || *end == ',' ? end + 1 : end;
        }
    else
        return (u32)sysconf(_SC_NPROCESSORS_CONF);
    return last + 1;
}

static u32 event_type(const char *pmu)
{
    char path[96];
    _fclose_ FILE *f = NULL;
    u32 type;

    snprintf(path, sizeof(path), "/sys/bus/event_source/devices/%s/type", pmu);
    f = fopen(path, "re");
    return f && fscanf(f, "%u", &type) == 1 ? type : 0;
}

static int shared_memory(const char *name, u64 size, int *ret_fd, void *ret_map)
{
    void *map;
    int r = tn_memfd(name, TN_ROUND_UP(size, (u64)TN_PAGE), ret_fd);

    if (r)
        return r;
    if (fcntl(*ret_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK))
        return -errno;
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    *(void **)ret_map = map;
    return 0;
}

/* Whoever happened to start the broker does not say how much it may have: it serves all of the user's tools. Where
   nobody may raise a limit and it is low, another one has to start it. */
static int raise_limits(struct tn_error *err)
{
    static const struct {
        int kind;
        const char *name;
        rlim_t needed; /* what it takes with a few programs and maps, and some more */
    } limits[] = {
        {RLIMIT_NOFILE, "RLIMIT_NOFILE", 0},
        {RLIMIT_AS, "RLIMIT_AS", 64 << 20},
        {RLIMIT_DATA, "RLIMIT_DATA", 32 << 20},
    };
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit limit;

    for (u32 i = 0; i < TN_ARRAY_SIZE(limits); i++) {
        if (limits[i].kind != RLIMIT_NOFILE && !setrlimit(limits[i].kind, &none)) /* root may */
            continue;
        if (getrlimit(limits[i].kind, &limit))
            continue;
        if (limit.rlim_cur < limit.rlim_max) {
            limit.rlim_cur = limit.rlim_max;
            setrlimit(limits[i].kind, &limit);
        }
        if (limit.rlim_cur < limits[i].needed)
            return tn_fail(err, -ENOMEM, "broker_limits",
                           "a broker started here may have %llu KiB (%s), and needs %llu",
                           (unsigned long long)limit.rlim_cur >> 10, limits[i].name,
                           (unsigned long long)limits[i].needed >> 10);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------- birth and death */

static void broker_free(struct tn_broker *broker)
{
    tn_wakeup_free(broker->wakeup);
    tn_trace_free(broker->trace);
    tn_btf_close(broker->kernel_btf);
    tn_later_free(&broker->later);
    tn_loads_free(broker);
    if (broker->inject)
        tn_inject_free(broker->inject);
    tn_policy_free(broker->policy);
    for (enum tn_kind kind = 0; kind < TN_KIND_MAX; kind++)
        free(broker->table[kind].slot);
    if (broker->inotify.fd >= 0)
        close(broker->inotify.fd);
    int fds[] = {broker->shared.gates, broker->shared.gates_ro, broker->shared.stats, broker->shared.claims};

    for (u32 i = 0; i < TN_ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    tn_loop_free(broker->loop);
    free(broker);
}

static int broker_new(int listen_fd, struct tn_broker **ret_broker, struct tn_error *err)
{
    struct tn_broker *broker = calloc(1, sizeof(*broker));
    struct tn_shared *shared;
    int r;

    if (!broker)
        return -ENOMEM;
    shared = &broker->shared;
    shared->gates = shared->gates_ro = shared->stats = shared->claims = -1;
    broker->uid = getuid();
    broker->ncpu = shared->ncpu = possible_cpus();
    broker->started_ns = tn_now_ns();
    broker->uprobe_type = event_type("uprobe");
    broker->kprobe_type = event_type("kprobe");
    if (!broker->uprobe_type)
        broker->uprobe_type = TN_UPROBE_TYPE;
    if (!broker->kprobe_type)
        broker->kprobe_type = TN_KPROBE_TYPE;
    broker->listener = (struct tn_source){listen_fd, on_listener};
    broker->inotify = (struct tn_source){tn_inotify_new(), on_inotify};
    r = broker->inotify.fd < 0 ? broker->inotify.fd : tn_loop_new(&broker->loop);
    if (!r)
        r = shared_memory("tenon-gates", TN_MAX_LINKS, &shared->gates, &broker->gates);
    if (!r)
        r = tn_memfd_reopen(shared->gates, O_RDONLY, &shared->gates_ro);
    if (!r)
        r = shared_memory("tenon-stats", TN_STATS_SIZE, &shared->stats, &broker->stats);
    if (!r)
        r = shared_memory("tenon-claims", broker->ncpu * sizeof(struct tn_cpu_claim), &shared->claims,
                          &broker->claims);
    if (!r)
        r = tn_wakeup_new(&broker->wakeup);
    if (!r)
        r = tn_loop_add(broker->loop, &broker->listener, EPOLLIN);
    if (!r)
        r = tn_loop_add(broker->loop, &broker->inotify, EPOLLIN);
    if (!r)
        r = tn_policy_new(broker, &broker->policy);
    if (!r) {
        broker->inject = tn_inject_new(shared);
        r = broker->inject ? 0 : -ENOMEM;
    }
    if (!r) {
        broker->injector = (struct tn_source){tn_inject_event_fd(broker->inject), on_injector};
        if (broker->injector.fd >= 0)
            r = tn_loop_add(broker->loop, &broker->injector, EPOLLIN);
    }
    if (r) {
        broker_free(broker);
        return tn_fail(
            err, r, "broker_start", "the broker cannot start: %s",
            r == -EUSERS
                ? "this user has as many instances of inotify as are allowed: end what uses them, or raise "
                  "the sysctl fs.inotify.max_user_instances"
                : strerror(-r));
    }
    *ret_broker = broker;
    return 0;
}

/* Takes the socket away unless somebody is at it this moment: the starter's lock keeps a new one from being
   made between the look and the deed. */
static bool leave(struct tn_broker *broker)
{
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);
    char lock_path[sizeof(addr.sun_path) + 8];
    _close_ int lock = -1;
    int fd;

    if (getsockname(broker->listener.fd, (struct sockaddr *)&addr, &len) ||
        len <= offsetof(struct sockaddr_un, sun_path))
        return true;
    snprintf(lock_path, sizeof(lock_path), "%.*s.lock", (int)sizeof(addr.sun_path), addr.sun_path);
    lock = open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB))
        return false;
    fd = accept4(broker->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        tn_conn_accept(broker, fd);
        return false;
    }
    unlink(addr.sun_path);
    return true;
}

static bool needed(const struct tn_broker *broker)
{
    return broker->nconns || broker->nobjects || broker->njobs;
}

static int start(int listen_fd, int told, struct tn_broker **ret_broker)
{
    struct tn_told why = {0};

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a map larger than whoever started us may make files is refused: −EFBIG */
    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
    why.err = raise_limits(&why.why);
    if (!why.err)
        why.err = broker_new(listen_fd, ret_broker, &why.why);
    if (told < 0)
        return why.err;
    if (why.err)
        (void)!write(told, &why, sizeof(why));
    close(told);
    return why.err;
}

int tn_broker_run(int listen_fd, u32 linger_ms, int told)
{
    struct tn_broker *broker = NULL;
    u64 idle_since = tn_now_ns();
    int r = start(listen_fd, told, &broker);

    if (r)
        return r;
    for (;;) {
        u64 now = tn_now_ns();
        int wait_ms = -1;

        if (needed(broker)) {
            idle_since = now;
        } else {
            u64 idle_ms = (now - idle_since) / 1000000;

            if (idle_ms >= linger_ms && leave(broker))
                break;
            wait_ms = idle_ms >= linger_ms ? 50 : (int)(linger_ms - idle_ms);
        }
        /* Asked to stop: the answer has been sent; objects are let go as their holders leave. */
        if (broker->stop && !broker->njobs) {
            if (leave(broker))
                break;
            broker->stop = false;
        }
        r = tn_loop_turn(broker->loop, wait_ms);
        if (r)
            break;
    }
    /* Links that are still there when told to stop: their gates close with us. */
    memset(broker->gates, 0, TN_MAX_LINKS);
    if (!needed(broker))
        broker_free(broker);
    return r;
}

int tn_broker_main(int argc, char **argv)
{
    const char *linger = getenv("TENON_LINGER_MS");
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);
    int accepting = 0, told = getenv("TENON_TOLD") ? TN_TOLD_FD : -1;
    socklen_t int_len = sizeof(accepting);

    if (getsockopt(TN_LISTEN_FD, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &int_len) || !accepting ||
        getsockname(TN_LISTEN_FD, (struct sockaddr *)&addr, &len) || addr.sun_family != AF_UNIX) {
        fprintf(stderr,
                "%s: the broker is started on demand by the first command that needs it; it expects its "
                "listening socket as descriptor 3\n",
                argc ? argv[0] : "tenon");
        return 2;
    }
    fcntl(TN_LISTEN_FD, F_SETFD, FD_CLOEXEC);
    if (told >= 0)
        fcntl(told, F_SETFD, FD_CLOEXEC);
    return tn_broker_run(TN_LISTEN_FD, linger ? (u32)strtoul(linger, NULL, 10) : LINGER_MS, told) ? 1 : 0;
}
