/* SPDX-License-Identifier: MIT */
/* Arrivals; see later.h. One fiber an arrival, a few at a time: each is three processes of ours for a moment. */
#include "broker/later.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include "broker/broker_int.h"
#include "broker/pids.h"

#define ACTIVE_MAX 6u
#define CATCH_MS   1500  /* the watcher waits two seconds for its answer */
#define CAUGHT_MS  15000 /* the hands bound their own work */
#define WAIT_MS    1000u /* for a thread that can be borrowed, where none is held */
#define AGAIN_MS   30u
#define MAPPED_MS  200u /* from the leave to the mapping, of one that could not be held */
#define EARLY_NS   1000000000ull
#define DEATHS_MAX 20u
#define FILES_MAX  32u /* of one arrival: a program and its libraries */

struct tn_arrival {
    struct tn_broker *broker;
    struct tn_watch_event event;
    struct {
        u64 dev, ino;
    } file[FILES_MAX]; /* the one it is caught with, and what it has mapped on its way */
    u32 nfiles, done;
    bool released;
    struct tn_arrival *next;
};

/* ------------------------------------------------------------------------------------------------- files */

static struct tn_later_file *find_file(struct tn_later *later, u64 dev, u64 ino)
{
    for (u32 i = 0; i < later->nfiles; i++)
        if (later->files[i].dev == dev && later->files[i].ino == ino)
            return &later->files[i];
    return NULL;
}

static void on_watch(struct tn_source *source, u32 events);

static void stop_watching(struct tn_broker *broker)
{
    struct tn_later *later = &broker->later;

    if (!later->watch)
        return;
    tn_loop_del(broker->loop, &later->source);
    tn_watch_free(later->watch);
    later->watch = NULL;
}

static int start_watching(struct tn_broker *broker, struct tn_error *why)
{
    struct tn_later *later = &broker->later;
    int r = 0;

    if (later->watch)
        return 0;
    r = tn_watch_new(&later->watch, why);
    if (r)
        return r;
    later->started_ns = tn_now_ns();
    later->source = (struct tn_source){tn_watch_fd(later->watch), on_watch};
    r = tn_loop_add(broker->loop, &later->source, EPOLLIN);
    if (r) {
        tn_watch_free(later->watch);
        later->watch = NULL;
    }
    return r;
}

static int open_file(const struct tn_perf *perf, int *ret_fd, struct tn_error *why)
{
    _close_ int fd = open(perf->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return tn_fail(why, -errno, "not_watched", "%s cannot be opened to be watched: %s", perf->path,
                       strerror(errno));
    if (st.st_dev != perf->dev || st.st_ino != perf->ino)
        return tn_fail(why, -ESTALE, "not_watched", "%s is another file by now", perf->path);
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

void tn_later_watch(struct tn_broker *broker, struct tn_link *link, struct tn_error *why)
{
    const struct tn_table *links = &broker->table[TN_KIND_LINK];
    const struct tn_perf *perf = tn_link_perf(link);
    struct tn_later *later = &broker->later;
    struct tn_later_file *file = find_file(later, perf->dev, perf->ino), *more;
    _close_ int fd = -1;

    if (!file) {
        if (open_file(perf, &fd, why) || start_watching(broker, why))
            return;
        more = reallocarray(later->files, later->nfiles + 1, sizeof(*more));
        if (!more)
            return;
        later->files = more;
        file = &more[later->nfiles];
        *file = (struct tn_later_file){.dev = perf->dev, .ino = perf->ino, .fd = fd};
        if (tn_watch_add(later->watch, fd, why)) {
            if (!later->nfiles)
                stop_watching(broker);
            return;
        }
        later->nfiles++;
        file->watched = true;
        TN_TAKE_FD(fd);
    }
    /* Those that a watcher was given up for, too. */
    for (u32 i = 0; i < links->count; i++) {
        struct tn_link *other = (struct tn_link *)links->slot[i];

        if (other->all && !other->detached && !other->watched && other->dev == file->dev &&
            other->ino == file->ino) {
            other->watched = true;
            file->links++;
        }
    }
}

void tn_later_unwatch(struct tn_broker *broker, struct tn_link *link)
{
    struct tn_later *later = &broker->later;
    struct tn_later_file *file = link->watched ? find_file(later, link->dev, link->ino) : NULL;

    link->watched = false;
    if (!file || --file->links)
        return;
    if (later->watch)
        tn_watch_remove(later->watch, file->dev, file->ino);
    close(file->fd);
    *file = later->files[--later->nfiles];
    if (!later->nfiles)
        stop_watching(broker);
}

/* ------------------------------------------------------------------------------------------------- links */

static bool wants(const struct tn_link *link, u64 dev, u64 ino)
{
    return link->all && !link->detached && link->dev == dev && link->ino == ino;
}

static bool anybody_wants(struct tn_broker *broker, u64 dev, u64 ino)
{
    const struct tn_table *links = &broker->table[TN_KIND_LINK];

    for (u32 i = 0; i < links->count; i++)
        if (wants((const struct tn_link *)links->slot[i], dev, ino))
            return true;
    return false;
}

/* All links of the file, oldest first. Each of them may go while it is entered, and others come. */
static void enter(struct tn_broker *broker, pid_t pid, u64 dev, u64 ino, bool known_too)
{
    for (u32 id = 0;;) {
        struct tn_link *link = (struct tn_link *)tn_object_after(broker, TN_KIND_LINK, id);
        struct tn_error why = {0};

        if (!link)
            return;
        id = link->object.id;
        if (!wants(link, dev, ino) || (!known_too && tn_link_is_in(link, pid)))
            continue;
        int r = tn_link_enter(broker, link, pid, WAIT_MS, &why);

        /* One that has ended, or maps the file no longer, is none of its processes. */
        link = r && r != -ESRCH && r != -ENOENT && r != -ECANCELED && r != -ENOTRECOVERABLE
                   ? (struct tn_link *)tn_object_by_id(broker, TN_KIND_LINK, id)
                   : NULL;
        if (link) {
            link->failed++;
            link->failure = why;
        }
    }
}

static void add_file(struct tn_arrival *arrival, u64 dev, u64 ino)
{
    for (u32 i = 0; i < arrival->nfiles; i++)
        if (arrival->file[i].dev == dev && arrival->file[i].ino == ino)
            return;
    if (arrival->nfiles == FILES_MAX)
        return;
    arrival->file[arrival->nfiles].dev = dev;
    arrival->file[arrival->nfiles++].ino = ino;
}

static struct tn_arrival *arrival_of(struct tn_arrival *list, pid_t pid)
{
    while (list && list->event.pid != pid)
        list = list->next;
    return list;
}

/* Is there an arrival of the process that still finds out what is mapped? Then this file, too. */
static bool expected(struct tn_broker *broker, pid_t pid, u64 dev, u64 ino)
{
    struct tn_arrival *arrival = arrival_of(broker->later.arrivals, pid);

    if (!arrival || arrival->released)
        arrival = arrival_of(broker->later.queue, pid);
    if (!arrival || !arrival->event.exec)
        return false;
    add_file(arrival, dev, ino);
    return true;
}

bool tn_later_brings(struct tn_broker *broker, const struct tn_link *link, pid_t pid)
{
    return link->all && expected(broker, pid, link->dev, link->ino);
}

struct again {
    struct tn_broker *broker;
    u64 dev, ino;
    pid_t pid; /* 0: whoever maps it */
    bool known_too;
    int after_ms;
};

static void again_main(void *arg)
{
    struct again *again = arg;
    struct tn_broker *broker = again->broker;
    _free_ pid_t *pids = NULL;
    u32 count = 0;

    (void)tn_loop_wait(broker->loop, -1, 0, again->after_ms);
    if (again->pid)
        enter(broker, again->pid, again->dev, again->ino, true);
    else if (anybody_wants(broker, again->dev, again->ino) &&
             tn_pids_of_file(again->dev, again->ino, &pids, &count) == 0)
        for (u32 i = 0; i < count; i++)
            if (!expected(broker, pids[i], again->dev, again->ino))
                enter(broker, pids[i], again->dev, again->ino, again->known_too);
    broker->njobs--;
    free(again);
}

static void look_again(struct tn_broker *broker, u64 dev, u64 ino, pid_t pid, bool known_too, int after_ms)
{
    struct again *again = calloc(1, sizeof(*again));

    if (!again)
        return;
    *again = (struct again){broker, dev, ino, pid, known_too, after_ms};
    broker->njobs++;
    if (tn_loop_spawn(broker->loop, again_main, again)) {
        broker->njobs--;
        free(again);
    }
}

void tn_later_look_again(struct tn_broker *broker, const struct tn_link *link)
{
    look_again(broker, link->dev, link->ino, 0, false, AGAIN_MS);
}

/* ---------------------------------------------------------------------------------------------- arrivals */

/* A task of the guardian's, if it was started, waited for; *fd is where its outcome will be. */
static int wait_task(struct tn_broker *broker, int started, const int *fd, int timeout_ms)
{
    _free_ struct tn_attach_result *result = started ? NULL : calloc(1, sizeof(*result));
    int r = started;

    if (r || !result)
        return r ? r : -ENOMEM;
    r = tn_loop_wait(broker->loop, *fd, EPOLLIN, timeout_ms);
    if (r) {
        tn_job_abandon(broker, *fd);
        return r;
    }
    r = tn_inject_finish(broker->inject, *fd, result);
    return r ? r : result->err;
}

static void let_go_on(struct tn_broker *broker, const struct tn_watch_event *event)
{
    if (broker->later.watch)
        tn_watch_answer(broker->later.watch, event->id);
}

static void enter_files(struct tn_arrival *arrival)
{
    /* While jobs wait, the held process runs on to its libraries, and they are seen. */
    for (; arrival->done < arrival->nfiles; arrival->done++)
        enter(arrival->broker, arrival->event.pid, arrival->file[arrival->done].dev,
              arrival->file[arrival->done].ino, true);
}

static void arrive(struct tn_arrival *arrival)
{
    struct tn_broker *broker = arrival->broker;
    struct tn_inject *inject = broker->inject;
    const struct tn_watch_event *ev = &arrival->event;
    struct tn_error why = {0};
    int fd = -1, r;

    r = tn_inject_catch(inject, ev->pid, ev->tid, ev->exec, ev->dev, ev->ino, &fd, &why);
    bool held = r == -EBUSY; /* for a command of ours, which waits for nothing but this leave */
    bool mine = r == 0;

    r = wait_task(broker, r, &fd, CATCH_MS);
    let_go_on(broker, ev);
    if (!r)
        r = wait_task(broker, tn_inject_caught(inject, ev->pid, &fd, &why), &fd, CAUGHT_MS);
    if (!r || held) {
        enter_files(arrival);
    } else if (r != -ESRCH) {
        /* It goes on without us, and is caught up with if it maps the file. */
        look_again(broker, ev->dev, ev->ino, ev->pid, true, MAPPED_MS);
    }
    arrival->released = true;
    if (mine)
        (void)wait_task(broker, tn_inject_release(inject, ev->pid, &fd, &why), &fd, CAUGHT_MS);
}

static void start_next(struct tn_broker *broker);

static void arrival_main(void *arg)
{
    struct tn_arrival *arrival = arg;
    struct tn_broker *broker = arrival->broker;

    arrive(arrival);
    for (struct tn_arrival **at = &broker->later.arrivals; *at; at = &(*at)->next)
        if (*at == arrival) {
            *at = arrival->next;
            break;
        }
    free(arrival);
    broker->later.nactive--;
    broker->njobs--;
    start_next(broker);
}

static void start(struct tn_arrival *arrival)
{
    struct tn_broker *broker = arrival->broker;
    struct tn_later *later = &broker->later;

    arrival->next = later->arrivals;
    later->arrivals = arrival;
    later->nactive++;
    broker->njobs++;
    if (tn_loop_spawn(broker->loop, arrival_main, arrival)) {
        later->arrivals = arrival->next;
        later->nactive--;
        broker->njobs--;
        let_go_on(broker, &arrival->event);
        free(arrival);
    }
}

static bool wanted(const struct tn_arrival *arrival)
{
    for (u32 i = 0; i < arrival->nfiles; i++)
        if (anybody_wants(arrival->broker, arrival->file[i].dev, arrival->file[i].ino))
            return true;
    return false;
}

/* What can be done for the oldest that waits for nothing. Each may set off others. */
static bool start_one(struct tn_broker *broker)
{
    struct tn_later *later = &broker->later;

    for (struct tn_arrival **at = &later->queue; *at; at = &(*at)->next) {
        struct tn_arrival *arrival = *at, *before = arrival_of(later->arrivals, arrival->event.pid);
        const struct tn_watch_event *ev = &arrival->event;

        if (before && !before->released) {
            /* What is held opens a library on its way to where jobs find it. */
            add_file(before, ev->dev, ev->ino);
        } else if (!wanted(arrival)) {
            ;
        } else if (before || later->nactive >= ACTIVE_MAX) {
            continue;
        } else {
            *at = arrival->next;
            start(arrival);
            return true;
        }
        *at = arrival->next;
        let_go_on(broker, ev);
        free(arrival);
        return true;
    }
    return false;
}

static void start_next(struct tn_broker *broker)
{
    while (start_one(broker))
        ;
}

static void give_up(struct tn_broker *broker)
{
    const struct tn_table *links = &broker->table[TN_KIND_LINK];

    for (u32 i = 0; i < links->count; i++) {
        struct tn_link *link = (struct tn_link *)links->slot[i];

        if (link->watched)
            (void)tn_fail(&link->why_not, -EPIPE, "not_watched",
                          "the process that watches is killed again and again");
        tn_later_unwatch(broker, link);
    }
}

/* A watcher that was killed has let everybody go on, and nobody knows whom. */
static void replace_watcher(struct tn_broker *broker)
{
    struct tn_later *later = &broker->later;
    struct tn_error why = {0};
    bool started;

    stop_watching(broker);
    later->early_deaths = tn_now_ns() - later->started_ns < EARLY_NS ? later->early_deaths + 1 : 0;
    if (later->early_deaths > DEATHS_MAX) {
        give_up(broker);
        return;
    }
    started = start_watching(broker, &why) == 0;
    for (u32 i = 0; i < later->nfiles; i++) {
        later->files[i].watched = started && tn_watch_add(later->watch, later->files[i].fd, &why) == 0;
        look_again(broker, later->files[i].dev, later->files[i].ino, 0, true, AGAIN_MS);
    }
}

static void queue_event(struct tn_broker *broker, const struct tn_watch_event *event)
{
    struct tn_arrival *arrival = calloc(1, sizeof(*arrival)), **at = &broker->later.queue;

    if (!arrival) {
        let_go_on(broker, event);
        return;
    }
    arrival->broker = broker;
    arrival->event = *event;
    add_file(arrival, event->dev, event->ino);
    while (*at)
        at = &(*at)->next;
    *at = arrival;
}

static void on_watch(struct tn_source *source, u32 events)
{
    struct tn_broker *broker =
        TN_CONTAINER_OF(TN_CONTAINER_OF(source, struct tn_later, source), struct tn_broker, later);
    struct tn_watch_event event;
    int r;

    while ((r = tn_watch_next(broker->later.watch, &event)) == 0)
        queue_event(broker, &event);
    if (r == -EPIPE)
        replace_watcher(broker);
    start_next(broker);
}

void tn_later_settle(struct tn_broker *broker, pid_t pid)
{
    while (arrival_of(broker->later.arrivals, pid))
        (void)tn_loop_wait(broker->loop, -1, 0, 2);
}

void tn_later_free(struct tn_later *later)
{
    for (u32 i = 0; i < later->nfiles; i++)
        close(later->files[i].fd);
    free(later->files);
    tn_watch_free(later->watch);
    while (later->queue) {
        struct tn_arrival *arrival = later->queue;

        later->queue = arrival->next;
        free(arrival);
    }
}
