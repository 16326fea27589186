/* SPDX-License-Identifier: MIT */
/* See loads.h. The words are hostile: whatever stands there costs a look at /proc/PID/maps of a process that a link is in. */
#include "broker/loads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "broker/broker_int.h"

#define WAIT_MS 1000u /* for a thread that can be borrowed */

static struct tn_loads *words(const struct tn_broker *broker)
{
    return (struct tn_loads *)(broker->stats + TN_MAX_LINKS);
}

u64 tn_loads_code(pid_t pid)
{
    char path[32], line[PATH_MAX + 128];
    _fclose_ FILE *f = NULL;
    u64 hash = 1;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    f = fopen(path, "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof(line), f)) {
        char perms[5];
        u64 inode;

        if (sscanf(line, "%*x-%*x %4s %*x %*s %lu", perms, &inode) != 2 || perms[2] != 'x' || !inode ||
            strstr(line, "/memfd:tenon-"))
            continue;
        for (const char *p = line; *p; p++)
            hash = (hash ^ (u8)*p) * 0x100000001b3ull; /* FNV-1a */
    }
    return hash;
}

static void look_at(struct tn_broker *broker, struct tn_link *link, pid_t pid)
{
    const u32 id = link->object.id;
    struct tn_error why = {0};
    int r;

    for (u32 i = 0; i < link->ntargets; i++)
        if (link->targets[i].pid == pid && !link->targets[i].ended &&
            link->targets[i].code != tn_loads_code(pid)) {
            r = tn_link_enter(broker, link, pid, WAIT_MS, &why);
            link = r && r != -ESRCH && r != -ECANCELED && r != -ENOTRECOVERABLE
                       ? (struct tn_link *)tn_object_by_id(broker, TN_KIND_LINK, id)
                       : NULL;
            if (link) {
                link->failed++;
                link->failure = why;
            }
            return;
        }
}

/* All links at system calls, oldest first; each may go while it is brought in. pid 0: every process. */
static void look_at_all(struct tn_broker *broker, pid_t pid)
{
    for (u32 id = 0;;) {
        struct tn_link *link = (struct tn_link *)tn_object_after(broker, TN_KIND_LINK, id);
        const struct tn_perf *perf = link ? tn_link_perf(link) : NULL;
        _free_ pid_t *pids = NULL;
        u32 n = 0;

        if (!link)
            return;
        id = link->object.id;
        if (!perf || !perf->call || link->detached || link->attaching)
            continue;
        pids = calloc(link->ntargets + 1, sizeof(*pids));
        for (u32 i = 0; pids && i < link->ntargets; i++)
            if (!pid || link->targets[i].pid == pid)
                pids[n++] = link->targets[i].pid;
        for (u32 i = 0; i < n; i++) {
            link = (struct tn_link *)tn_object_by_id(broker, TN_KIND_LINK, id);
            if (link)
                look_at(broker, link, pids[i]);
        }
    }
}

static void loads_main(void *arg)
{
    struct tn_broker *broker = arg;
    struct tn_loads *l = words(broker);
    u64 upto;

    for (;;) {
        pid_t pids[TN_LOADS_WHO];
        u64 start = tn_now_ns();
        bool all;

        upto = __atomic_load_n(&l->loaded, __ATOMIC_SEQ_CST);
        all = __atomic_exchange_n(&l->all, 0, __ATOMIC_SEQ_CST);
        for (u32 i = 0; i < TN_LOADS_WHO; i++)
            pids[i] = (pid_t)__atomic_exchange_n(&l->who[i], 0, __ATOMIC_SEQ_CST);
        for (u32 i = 0; i < (all ? 1 : TN_LOADS_WHO); i++)
            if (all || pids[i] > 0)
                look_at_all(broker, all ? 0 : pids[i]);
        __atomic_store_n(&l->late, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&l->looked, upto, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &l->looked, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        if (__atomic_load_n(&l->loaded, __ATOMIC_SEQ_CST) == upto)
            break;
        /* Whoever counts for ever has half of the time at most. */
        (void)tn_loop_wait(broker->loop, -1, 0, (int)((tn_now_ns() - start) / 1000000 + 1));
    }
    broker->loads.busy = false;
    broker->njobs--;
}

static void on_loads(struct tn_source *source, u32 events)
{
    struct tn_broker *broker =
        TN_CONTAINER_OF(TN_CONTAINER_OF(source, struct tn_loads_watch, source), struct tn_broker, loads);
    u64 n;

    (void)!read(source->fd, &n, sizeof(n));
    if (broker->loads.busy)
        return;
    broker->loads.busy = true;
    broker->njobs++;
    if (tn_loop_spawn(broker->loop, loads_main, broker)) {
        broker->loads.busy = false;
        broker->njobs--;
    }
}

int tn_loads_start(struct tn_broker *broker)
{
    struct tn_loads *l = words(broker);
    struct tn_wakeup_words w = {.wake = &l->wake, .consumer = &l->looked, .producer = &l->loaded};
    _close_ int fd = -1;
    int r;

    if (broker->loads.source.fd)
        return 0;
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    broker->loads.source = (struct tn_source){fd, on_loads};
    r = tn_loop_add(broker->loop, &broker->loads.source, EPOLLIN);
    if (!r) {
        r = tn_wakeup_add_words(broker->wakeup, &w, fd);
        if (r)
            tn_loop_del(broker->loop, &broker->loads.source);
    }
    if (r)
        broker->loads.source.fd = 0;
    else
        TN_TAKE_FD(fd);
    return r;
}

void tn_loads_look_again(struct tn_broker *broker, struct tn_link *link)
{
    _free_ pid_t *pids = calloc(link->ntargets + 1, sizeof(*pids));
    const u32 n = link->ntargets;

    for (u32 i = 0; pids && i < n; i++)
        pids[i] = link->targets[i].pid;
    for (u32 i = 0; pids && i < n; i++)
        look_at(broker, link, pids[i]);
}

void tn_loads_free(struct tn_broker *broker)
{
    if (broker->loads.source.fd)
        close(broker->loads.source.fd);
}
