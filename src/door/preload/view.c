/* SPDX-License-Identifier: MIT */
/*
 * A map's memory is mapped here at the first use of a descriptor, so that reading a counter costs no broker.
 *
 * Views are found by the descriptor's inode, asked anew at every use: a number that now means another map, a
 * duplicate, one that came over a socket all lead to the right view. A view does not keep its map alive and
 * outlives it harmlessly; at most VIEWS_MAX stay, the least recently used one goes first, never one that is
 * in use.
 *
 * The caller's pointers may be bad. Keys and values pass through memory of ours, copied by the kernel: EFAULT
 * instead of a crash in the tool.
 */
#include "door/preload/view.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "door/preload/conn.h"
#include "rt/map/map.h"

#define VIEWS_MAX 64u
/* Most keys and values fit here; larger ones are allocated. */
#define SMALL     512u

struct view {
    u64 dev, ino;
    struct tn_map map;
    u32 access;
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

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static void view_drop(struct view *view)
{
    struct stat st;

    if (view->map.base)
        munmap(view->map.base, view->map.geo.size);
    if (view->wait_fd >= 0 && !fstat(view->wait_fd, &st) && st.st_ino == view->wait_ino)
        close(view->wait_fd);
    memset(view, 0, sizeof(*view));
    view->wait_fd = -1;
}

/* Under the lock. */
static struct view *find(const struct stat *st)
{
    for (u32 i = 0; i < VIEWS_MAX; i++)
        if (views[i].ino == st->st_ino && views[i].dev == st->st_dev && views[i].map.base)
            return &views[i];
    return NULL;
}

static struct view *make_room(void)
{
    struct view *oldest = NULL;

    for (u32 i = 0; i < VIEWS_MAX; i++)
        if (!views[i].users && (!oldest || !views[i].map.base || views[i].used < oldest->used)) {
            oldest = &views[i];
            if (!oldest->map.base)
                break;
        }
    if (oldest) {
        if (oldest->map.base)
            view_drop(oldest);
        oldest->wait_fd = -1;
    }
    return oldest;
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
    /* The broker is trusted with the geometry, not with being right about the size: a short file would be
     * SIGBUS. */
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

/* The view behind the descriptor, held until view_put. */
static int view_get(int fd, struct view **ret_view)
{
    struct view fresh = {.wait_fd = -1}, *view;
    struct stat st;
    int r;

    pthread_once(&fork_once, watch_forks);
    if (fstat(fd, &st))
        return -EBADF;
    pthread_mutex_lock(&lock);
    view = find(&st);
    if (view) {
        view->users++;
        view->used = ++clock_now;
    }
    pthread_mutex_unlock(&lock);
    if (view) {
        *ret_view = view;
        return 0;
    }

    r = fetch(fd, &fresh);
    if (r)
        return r;
    fresh.dev = st.st_dev;
    fresh.ino = st.st_ino;
    pthread_mutex_lock(&lock);
    view = find(&st);
    if (view) { /* another thread was faster */
        munmap(fresh.map.base, fresh.map.geo.size);
    } else {
        view = make_room();
        if (view)
            *view = fresh;
    }
    if (view) {
        view->users++;
        view->used = ++clock_now;
    } else {
        munmap(fresh.map.base, fresh.map.geo.size);
    }
    pthread_mutex_unlock(&lock);
    if (!view)
        return -ENOSYS;
    *ret_view = view;
    return 0;
}

static void view_put(struct view *view)
{
    pthread_mutex_lock(&lock);
    view->users--;
    pthread_mutex_unlock(&lock);
}

void tn_view_frozen(int fd)
{
    struct stat st;
    struct view *view;

    if (fstat(fd, &st))
        return;
    pthread_mutex_lock(&lock);
    view = find(&st);
    if (view)
        view->access &= ~TN_VIEW_WRITE;
    pthread_mutex_unlock(&lock);
}

/* -------------------------------------------------------------------------------------------------------
 * elements */

static int copy_in(void *to, u64 from, u64 len)
{
    struct iovec local = {to, len}, remote = {(void *)from, len};

    return !len || process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static int copy_out(u64 to, const void *from, u64 len)
{
    struct iovec local = {(void *)from, len}, remote = {(void *)to, len};

    return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

static long elem(u32 command, const union bpf_attr *attr, const struct view *view)
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
    if (!(view->access & (writes ? TN_VIEW_WRITE : TN_VIEW_READ)))
        return -EPERM;
    if (command == BPF_MAP_GET_NEXT_KEY && !attr->key)
        key = NULL;
    else if (copy_in(key, attr->key, map->geo.key_size))
        return -EFAULT;
    switch (command) {
    case BPF_MAP_LOOKUP_ELEM:
        r = tn_map_user_lookup(map, key, value, attr->flags);
        return r ? r : copy_out(attr->value, value, value_size);
    case BPF_MAP_UPDATE_ELEM:
        r = copy_in(value, attr->value, value_size);
        return r ? r : tn_map_user_update(map, key, value, attr->flags);
    case BPF_MAP_DELETE_ELEM:
        return tn_map_user_delete(map, key);
    default:
        r = tn_map_user_next_key(map, key, value);
        return r ? r : copy_out(attr->next_key, value, map->geo.key_size);
    }
}

long tn_view_elem(u32 command, const union bpf_attr *attr)
{
    struct view *view;
    long r = view_get((int)attr->map_fd, &view);

    if (r)
        return r;
    if (view->map.geo.type == BPF_MAP_TYPE_RINGBUF)
        r = -EOPNOTSUPP;
    else
        r = elem(command, attr, view);
    view_put(view);
    return r;
}

/* --------------------------------------------------------------------------------------------------------
 * waiting */

int tn_view_wait_fd(int fd, bool *ret_ready)
{
    struct view *view;
    struct stat st;
    int wait_fd = -1;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || view_get(fd, &view))
        return -1;
    if (view->map.geo.type != BPF_MAP_TYPE_RINGBUF)
        goto out;
    pthread_mutex_lock(&lock);
    if (view->wait_fd >= 0 && (fstat(view->wait_fd, &st) || st.st_ino != view->wait_ino))
        view->wait_fd = -1; /* the tool closed it under us */
    wait_fd = view->wait_fd;
    pthread_mutex_unlock(&lock);
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
        pthread_mutex_lock(&lock);
        if (view->wait_fd >= 0) {
            close(take.fd);
        } else if (!fstat(take.fd, &st)) {
            view->wait_fd = take.fd;
            view->wait_ino = st.st_ino;
        }
        wait_fd = view->wait_fd;
        pthread_mutex_unlock(&lock);
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
