/* SPDX-License-Identifier: MIT */
/* References, identifiers, descriptors; see object.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include "broker/broker_int.h"

struct tn_object *tn_ref(struct tn_object *object)
{
    object->refs++;
    return object;
}

void tn_unref(struct tn_object *object)
{
    if (!object || --object->refs)
        return;

    struct tn_broker *broker = object->broker;
    struct tn_table *table = &broker->table[object->kind];

    for (u32 i = 0; i < table->count; i++)
        if (table->slot[i] == object) {
            memmove(&table->slot[i], &table->slot[i + 1], (table->count - i - 1) * sizeof(*table->slot));
            table->count--;
            break;
        }
    broker->nobjects--;
    object->release(object);
}

void tn_object_unlisted(struct tn_broker *broker, struct tn_object *object, enum tn_kind kind)
{
    object->broker = broker;
    object->kind = kind;
    object->refs = 1;
    broker->nobjects++;
}

int tn_object_add(struct tn_broker *broker, struct tn_object *object, enum tn_kind kind, u32 uid)
{
    struct tn_table *table = &broker->table[kind];

    if (table->count == table->cap) {
        u32 cap = table->cap ? table->cap * 2 : 16;
        struct tn_object **slot = reallocarray(table->slot, cap, sizeof(*slot));

        if (!slot)
            return -ENOMEM;
        table->slot = slot;
        table->cap = cap;
    }
    if (table->last_id >= INT32_MAX - 1)
        return -ENOSPC;
    object->broker = broker;
    object->kind = kind;
    object->id = ++table->last_id;
    object->refs = 1;
    object->uid = uid;
    table->slot[table->count++] = object;
    broker->nobjects++;
    return 0;
}

struct tn_object *tn_object_after(struct tn_broker *broker, enum tn_kind kind, u32 id)
{
    const struct tn_table *table = &broker->table[kind];
    u32 at;

    TN_PARTITION(at, table->count, table->slot[at]->id <= id);
    return at < table->count ? table->slot[at] : NULL;
}

struct tn_object *tn_object_by_id(struct tn_broker *broker, enum tn_kind kind, u32 id)
{
    struct tn_object *object = id ? tn_object_after(broker, kind, id - 1) : NULL;

    return object && object->id == id ? object : NULL;
}

/* ------------------------------------------------------------------------------------------------- memory */

int tn_memfd(const char *name, u64 size, int *ret_fd)
{
    _close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    /* Reserved at once: a full memory must be told to who asks, not raise SIGBUS in who stores. */
    if (size) {
        int r = posix_fallocate(fd, 0, (off_t)size);

        if (r)
            return r == ENOSPC ? -ENOMEM : -r;
    }
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

int tn_memfd_reopen(int fd, int flags, int *ret_fd)
{
    char path[32];
    int copy;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    copy = open(path, flags | O_CLOEXEC);
    if (copy < 0)
        return -errno;
    *ret_fd = copy;
    return 0;
}

/* ------------------------------------------------------------------------------------------------ handles */

static struct tn_handle **bucket(struct tn_broker *broker, u64 ino)
{
    return &broker->handles[(ino * 0x9E3779B97F4A7C15ull) >> 54];
}
_Static_assert(TN_HANDLE_BUCKETS == 1u << (64 - 54), "the shift above");

static void handle_insert(struct tn_broker *broker, struct tn_handle *handle)
{
    struct tn_handle **head = bucket(broker, handle->ino);

    handle->next = *head;
    *head = handle;
    broker->nhandles++;
}

static void handle_free(struct tn_handle *handle)
{
    struct tn_broker *broker = handle->object->broker;
    struct tn_handle **at = bucket(broker, handle->ino);

    while (*at != handle)
        at = &(*at)->next;
    *at = handle->next;
    broker->nhandles--;
    if (handle->source.fd >= 0) {
        tn_loop_del(broker->loop, &handle->source);
        close(handle->source.fd);
    }
    tn_unref(handle->object);
    free(handle);
}

/* The tool's end was closed for the last time (or shut down, which is the same to us). */
static void handle_hangup(struct tn_source *source, u32 events)
{
    handle_free(TN_CONTAINER_OF(source, struct tn_handle, source));
}

static struct tn_handle *handle_at(struct tn_broker *broker, u64 dev, u64 ino)
{
    struct tn_handle *handle = *bucket(broker, ino);

    while (handle && (handle->ino != ino || handle->dev != dev))
        handle = handle->next;
    return handle;
}

struct tn_handle *tn_handle_of(struct tn_broker *broker, int fd)
{
    struct statx st;

    /* Whatever a tool passes: nobody's file server is asked for it. */
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st))
        return NULL;
    return handle_at(broker, makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino);
}

void tn_handle_closed(struct tn_broker *broker, u64 dev, u64 ino)
{
    struct tn_handle *handle = handle_at(broker, dev, ino);
    struct pollfd hangup = {.fd = handle ? handle->source.fd : -1};

    if (poll(&hangup, 1, 0) == 1 && hangup.revents & POLLHUP)
        handle_free(handle);
}

static int open_pair(struct tn_object *object, u32 access, int *ret_fd)
{
    _close_ int ours = -1, theirs = -1;
    _free_ struct tn_handle *handle = calloc(1, sizeof(*handle));
    struct stat st;
    int pair[2], r;

    if (!handle)
        return -ENOMEM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return -errno;
    ours = pair[0];
    theirs = pair[1];
    if (fstat(theirs, &st))
        return -errno;
    /* Nobody reads here; a tool that writes must not fill memory. */
    shutdown(ours, SHUT_RD);
    *handle = (struct tn_handle){
        .source = {.fd = ours, .on_ready = handle_hangup},
        .object = object,
        .dev = st.st_dev,
        .ino = st.st_ino,
        .access = access,
    };
    r = tn_loop_add(object->broker->loop, &handle->source, 0); /* EPOLLHUP comes unasked */
    if (r)
        return r;
    TN_TAKE_FD(ours);
    tn_ref(object);
    handle_insert(object->broker, TN_TAKE_PTR(handle));
    *ret_fd = TN_TAKE_FD(theirs);
    return 0;
}

static int open_memfd(struct tn_bmap *map, u32 access, int *ret_fd)
{
    struct tn_broker *broker = map->object.broker;
    _free_ struct tn_handle *handle = NULL;
    int flags = access == TN_VIEW_READ ? O_RDONLY : O_RDWR, r;

    if (!map->held) {
        handle = calloc(1, sizeof(*handle));
        if (!handle)
            return -ENOMEM;
        *handle = (struct tn_handle){
            .source = {.fd = -1},
            .object = &map->object,
            .dev = map->dev,
            .ino = map->ino,
            .access = TN_VIEW_READ | TN_VIEW_WRITE,
        };
    }
    r = tn_memfd_reopen(map->memfd, flags, ret_fd);
    if (r)
        return r;
    if (handle) {
        map->held = true;
        tn_ref(&map->object);
        handle_insert(broker, TN_TAKE_PTR(handle));
    }
    return 0;
}

int tn_object_open(struct tn_object *object, u32 access, int *ret_fd)
{
    struct tn_bmap *map = (struct tn_bmap *)object;

    if (object->kind == TN_KIND_MAP && map->counted >= 0)
        return open_memfd(map, access, ret_fd);
    return open_pair(object, access, ret_fd);
}

/* Somebody closed the memfd that `watch` watches: was he the last? */
void tn_map_closed(struct tn_broker *broker, int watch)
{
    const struct tn_table *table = &broker->table[TN_KIND_MAP];

    for (u32 i = 0; i < table->count; i++) {
        struct tn_bmap *map = (struct tn_bmap *)table->slot[i];

        if (map->watch != watch || !map->held || map->counted < 0)
            continue;
        if (fcntl(map->counted, F_SETLEASE, F_WRLCK)) /* EAGAIN: no */
            return;
        fcntl(map->counted, F_SETLEASE, F_UNLCK);

        struct tn_handle *handle = tn_handle_of(broker, map->counted);

        map->held = false;
        if (handle)
            handle_free(handle);
        return;
    }
}

/* --------------------------------------------------------------------------- between handlers and objects */

int tn_caller_object(struct tn_caller *caller, s32 number, enum tn_kind kind, u32 *ret_access,
                     void *ret_object)
{
    _close_ int fd = -1;
    struct tn_handle *handle;
    int r = caller->ops->fd(caller, number, &fd);

    if (r)
        return r;
    handle = tn_handle_of(caller->broker, fd);
    if (!handle)
        return tn_fail(
            &caller->why, -EINVAL, "not_our_descriptor",
            "descriptor %d is not an object of this broker (a kernel's object, or another broker's)", number);
    if (handle->object->kind != kind)
        return tn_fail(&caller->why, -EINVAL, "wrong_kind", "descriptor %d is an object of another kind",
                       number);
    if (ret_access) {
        int flags = handle->source.fd < 0 ? fcntl(fd, F_GETFL) & O_ACCMODE : O_RDWR;

        *ret_access = handle->access & (flags == O_RDONLY ? TN_VIEW_READ : ~0u);
    }
    *(struct tn_object **)ret_object = tn_ref(handle->object);
    return 0;
}

int tn_caller_give(struct tn_caller *caller, struct tn_object *object, u32 access)
{
    int fd, r = tn_object_open(object, access, &fd);

    if (r)
        return tn_fail(&caller->why, r, "no_descriptor", "no descriptor can be made: %s", strerror(-r));
    caller->ret_fd = fd;
    return 0;
}
