/* SPDX-License-Identifier: MIT */
/*
 * A map's memory is mapped here at the first use of a descriptor, so that reading a counter costs no broker.
 *
 * Views are found by the descriptor's inode, asked anew at every use: a number that now means another map, a
 * duplicate, one that came over a socket all lead to the right view. A view does not keep its map alive and
 * outlives it harmlessly; at most VIEWS_MAX stay, the least recently used one goes first, never one that is
 * in use.
 *
 * The caller's pointers may be bad: keys and values pass through memory of ours (copy.h).
 */
#include "door/preload/view.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "door/preload/conn.h"
#include "rt/map/map.h"

#define VIEWS_MAX 64u
/* Most keys and values fit here; larger ones are allocated. */
#define SMALL     512u

struct view {
    u64 dev, ino;
    struct tn_map map;
    u32 access;
    bool is_file; /* a memfd: the descriptor's own mode counts */
    int wait_fd;  /* eventfd, −1 = not asked for */
    u64 wait_ino; /* to notice that the tool has closed it */
    u32 users;
    u64 used; /* clock of the last use */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct view views[VIEWS_MAX];
static u64 clock_now;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

/* Threads that were in the middle of something are not here. */
static void in_child(void)
{
    for (u32 i = 0; i < VIEWS_MAX; i++)
        views[i].users = 0;
    after_fork();
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

static void view_drop(struct view *view)
{
    struct stat st;

    if (view->map.base)
        munmap(view->map.base, view->map.geo.size);
    if (view->wait_fd >= 0 && !fstat(view->wait_fd, &st) && st.st_ino == view->wait_ino)
        close(view->wait_fd);
    view->map.base = NULL;
    __atomic_store_n(&view->ino, 0, __ATOMIC_RELAXED);
    view->wait_fd = -1;
}

/*
 * A view in use has users > 0; one that is being made or dropped has TAKEN, which only the lock's holder
 * sets, from 0. So finding one takes no lock, and a signal handler may look at a map while its thread does.
 */
#define TAKEN (1u << 31)

static bool hold(struct view *view)
{
    u32 users = __atomic_load_n(&view->users, __ATOMIC_RELAXED);

    while (!(users & TAKEN))
        if (__atomic_compare_exchange_n(&view->users, &users, users + 1, true, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

static void view_put(struct view *view)
{
    __atomic_sub_fetch(&view->users, 1, __ATOMIC_RELEASE);
}

static bool is_of(const struct view *view, const struct stat *st)
{
    return __atomic_load_n(&view->ino, __ATOMIC_RELAXED) == st->st_ino &&
           __atomic_load_n(&view->dev, __ATOMIC_RELAXED) == st->st_dev;
}

/* Held. */
static struct view *find(const struct stat *st)
{
    static __thread u32 hint __attribute__((tls_model("initial-exec")));

    for (u32 n = 0, i = hint; n < VIEWS_MAX; n++, i = (i + 1) % VIEWS_MAX) {
        struct view *view = &views[i];

        if (!is_of(view, st) || !hold(view))
            continue;
        if (is_of(view, st) && view->map.base) {
            hint = i;
            return view;
        }
        view_put(view);
    }
    return NULL;
}

/* Under the lock: an empty place, TAKEN. */
static struct view *make_room(void)
{
    for (;;) {
        struct view *oldest = NULL;
        u32 none = 0;

        for (u32 i = 0; i < VIEWS_MAX; i++) {
            struct view *view = &views[i];

            if (__atomic_load_n(&view->users, __ATOMIC_RELAXED))
                continue;
            if (!oldest || !view->map.base ||
                __atomic_load_n(&view->used, __ATOMIC_RELAXED) <
                    __atomic_load_n(&oldest->used, __ATOMIC_RELAXED))
                oldest = view;
            if (!oldest->map.base)
                break;
        }
        if (!oldest)
            return NULL;
        if (!__atomic_compare_exchange_n(&oldest->users, &none, TAKEN, false, __ATOMIC_ACQUIRE,
                                         __ATOMIC_RELAXED))
            continue; /* somebody has just found it */
        if (oldest->map.base)
            view_drop(oldest);
        return oldest;
    }
}

/* Asks the broker for the map behind `fd`. */
static int fetch(int fd, struct view *ret_view)
{
    struct tn_map_view answer;
    size_t len = sizeof(answer);
    struct tn_answer take = {&answer, &len, -1};
    s32 number = fd;
    struct stat st;
    long r = tn_door_call(TN_CALL_MAP_VIEW, 0, &number, sizeof(number), NULL, 0, &take);
    _close_ int memfd = take.fd;
    void *base;

    if (r < 0)
        return (int)r;
    /* The broker is trusted with the geometry, not with being right about the size:
       a short file would be SIGBUS. */
    if (len != sizeof(answer) || memfd < 0 || fstat(memfd, &st) || (u64)st.st_size < answer.geo.size)
        return -EIO;
    base = mmap(NULL, answer.geo.size, answer.access & TN_VIEW_WRITE ? PROT_READ | PROT_WRITE : PROT_READ,
                MAP_SHARED, memfd, 0);
    if (base == MAP_FAILED)
        return -errno;
    ret_view->map = (struct tn_map){.base = base, .geo = answer.geo, .id = answer.id};
    ret_view->access = answer.access;
    return 0;
}

/* Signals wait while the lock is held: a handler that needs it too would wait for its own thread. */
static void lock_views(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
    pthread_mutex_lock(&lock);
}

static void unlock_views(const sigset_t *before)
{
    pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* The view behind the descriptor, held until view_put. */
static int view_get(int fd, struct view **ret_view)
{
    struct view fresh = {.wait_fd = -1}, *view;
    struct stat st, again;
    sigset_t before;
    int r;

    if (fstat(fd, &st))
        return -EBADF;
    view = find(&st);
    if (view) {
        __atomic_store_n(&view->used, __atomic_add_fetch(&clock_now, 1, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
        *ret_view = view;
        return 0;
    }

    pthread_once(&fork_once, watch_forks);
    r = fetch(fd, &fresh);
    if (r)
        return r;
    /* The number may mean another map by now; then it was perhaps that one's memory that came. */
    if (fstat(fd, &again) || again.st_ino != st.st_ino || again.st_dev != st.st_dev) {
        munmap(fresh.map.base, fresh.map.geo.size);
        return -EBADF;
    }
    lock_views(&before);
    view = find(&st);
    if (view) { /* another thread was faster */
        munmap(fresh.map.base, fresh.map.geo.size);
    } else {
        view = make_room();
        if (view) {
            view->map = fresh.map;
            view->is_file = S_ISREG(st.st_mode);
            view->wait_fd = -1;
            __atomic_store_n(&view->access, fresh.access, __ATOMIC_RELAXED);
            __atomic_store_n(&view->used, __atomic_add_fetch(&clock_now, 1, __ATOMIC_RELAXED),
                             __ATOMIC_RELAXED);
            __atomic_store_n(&view->dev, st.st_dev, __ATOMIC_RELAXED);
            __atomic_store_n(&view->ino, st.st_ino, __ATOMIC_RELAXED);
            __atomic_store_n(&view->users, 1, __ATOMIC_RELEASE);
        } else {
            munmap(fresh.map.base, fresh.map.geo.size);
        }
    }
    unlock_views(&before);
    if (!view)
        return -ENOSYS;
    *ret_view = view;
    return 0;
}

void tn_view_frozen(int fd)
{
    struct stat st;
    struct view *view;

    if (fstat(fd, &st))
        return;
    view = find(&st);
    if (view) {
        __atomic_and_fetch(&view->access, ~TN_VIEW_WRITE, __ATOMIC_RELAXED);
        view_put(view);
    }
}

/* ----------------------------------------------------------------------------------------------- elements */

static long elem(u32 command, const union bpf_attr *attr, const struct view *view, u32 access,
                 struct tn_good *good)
{
    const struct tn_map *map = &view->map;
    u64 value_size = tn_map_user_value_size(&map->geo), size = TN_MAX(value_size, (u64)map->geo.key_size);
    u8 small_key[SMALL], small_value[SMALL] __attribute__((aligned(8)));
    _free_ u8 *big_key = map->geo.key_size > SMALL ? malloc(map->geo.key_size) : NULL;
    _free_ u8 *big_value = size > SMALL ? malloc(size) : NULL;
    u8 *key = map->geo.key_size > SMALL ? big_key : small_key,
       *value = size > SMALL ? big_value : small_value;
    bool writes = command == BPF_MAP_UPDATE_ELEM || command == BPF_MAP_DELETE_ELEM;
    long r;

    if (!key || !value)
        return -ENOMEM;
    if (!(access & (writes ? TN_VIEW_WRITE : TN_VIEW_READ)))
        return -EPERM;
    if (command == BPF_MAP_GET_NEXT_KEY && !attr->key)
        key = NULL;
    else if (tn_copy_in(key, attr->key, map->geo.key_size, good))
        return -EFAULT;
    switch (command) {
    case BPF_MAP_LOOKUP_ELEM:
        r = tn_map_user_lookup(map, key, value, attr->flags);
        return r ? r : tn_copy_out(attr->value, value, value_size, good);
    case BPF_MAP_UPDATE_ELEM:
        r = tn_copy_in(value, attr->value, value_size, good);
        return r ? r : tn_map_user_update(map, key, value, attr->flags);
    case BPF_MAP_DELETE_ELEM:
        return tn_map_user_delete(map, key);
    default:
        r = tn_map_user_next_key(map, key, value);
        return r ? r : tn_copy_out(attr->next_key, value, map->geo.key_size, good);
    }
}

long tn_view_elem(u32 command, const union bpf_attr *attr, struct tn_good *good)
{
    int saved = errno, flags;
    struct view *view;
    u32 access;
    long r = view_get((int)attr->map_fd, &view);

    if (r)
        return r;
    access = __atomic_load_n(&view->access, __ATOMIC_RELAXED);
    /* Descriptors of one file may differ in what they allow. */
    if (view->is_file && (flags = fcntl((int)attr->map_fd, F_GETFL)) >= 0)
        access &= (flags & O_ACCMODE) == O_RDONLY   ? TN_VIEW_READ
                  : (flags & O_ACCMODE) == O_WRONLY ? TN_VIEW_WRITE
                                                    : ~0u;
    if (view->map.geo.type == BPF_MAP_TYPE_RINGBUF)
        r = -EOPNOTSUPP;
    else
        r = elem(command, attr, view, access, good);
    view_put(view);
    errno = saved;
    return r;
}

/* ------------------------------------------------------------------------------------------------ waiting */

int tn_view_wait_fd(int fd, bool *ret_ready)
{
    struct view *view;
    struct stat st;
    sigset_t before;
    int wait_fd = -1;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || view_get(fd, &view))
        return -1;
    if (view->map.geo.type != BPF_MAP_TYPE_RINGBUF)
        goto out;
    lock_views(&before);
    if (view->wait_fd >= 0 && (fstat(view->wait_fd, &st) || st.st_ino != view->wait_ino))
        view->wait_fd = -1; /* the tool closed it under us */
    wait_fd = view->wait_fd;
    unlock_views(&before);
    if (wait_fd < 0) {
        struct tn_map_view answer;
        size_t len = sizeof(answer);
        struct tn_answer take = {&answer, &len, -1};
        s32 number = fd;
        int high;

        if (tn_door_call(TN_CALL_WAIT_FD, 0, &number, sizeof(number), NULL, 0, &take) < 0 || take.fd < 0)
            goto out;
        high = fcntl(take.fd, F_DUPFD_CLOEXEC, 400);
        if (high >= 0) {
            close(take.fd);
            take.fd = high;
        }
        lock_views(&before);
        if (view->wait_fd >= 0) {
            close(take.fd);
        } else if (!fstat(take.fd, &st)) {
            view->wait_fd = take.fd;
            view->wait_ino = st.st_ino;
        }
        wait_fd = view->wait_fd;
        unlock_views(&before);
    }
    if (ret_ready) {
        u64 consumer = __atomic_load_n((u64 *)(view->map.base + TN_RB_CONSUMER), __ATOMIC_ACQUIRE);
        u64 producer = __atomic_load_n((u64 *)(view->map.base + TN_RB_PRODUCER), __ATOMIC_ACQUIRE);

        *ret_ready = consumer != producer;
    }
out:
    view_put(view);
    return wait_fd;
}
