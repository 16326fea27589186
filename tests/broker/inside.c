/* SPDX-License-Identifier: MIT */
/* See inside.h. */
#include "tests/broker/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>

/* An area's number stands in the upper half of its addresses, so that none lies right behind another. */
#define AREA_BASE(k) ((u64)((k) + 1) << 32)

static struct inside *inside_of(struct tn_caller *caller)
{
    return TN_CONTAINER_OF(caller, struct inside, caller);
}

static u8 *find(const struct inside *in, u64 addr, u64 len)
{
    u64 k = (addr >> 32) - 1, at = addr & UINT32_MAX;

    if (k >= in->nareas || at > in->area[k].size || len > in->area[k].size - at)
        return NULL;
    return in->area[k].data + at;
}

static int mem_read(struct tn_caller *caller, u64 addr, void *ret_bytes, u64 len)
{
    const u8 *from = find(inside_of(caller), addr, len);

    if (!len)
        return 0;
    if (!from)
        return -EFAULT;
    memcpy(ret_bytes, from, len);
    return 0;
}

static int mem_read_str(struct tn_caller *caller, u64 addr, char *ret_str, u32 cap)
{
    const struct inside *in = inside_of(caller);

    for (u32 k = 0; k < cap; k++) {
        const u8 *at = find(in, addr + k, 1);

        if (!at)
            return -EFAULT;
        if (!*at) {
            memcpy(ret_str, find(in, addr, k + 1), k + 1);
            return 0;
        }
    }
    return -E2BIG;
}

static int mem_write(struct tn_caller *caller, u64 addr, const void *bytes, u64 len)
{
    u8 *to = find(inside_of(caller), addr, len);

    if (!len)
        return 0;
    if (!to)
        return -EFAULT;
    memcpy(to, bytes, len);
    return 0;
}

static int pass_fd(struct tn_caller *caller, s32 number, int *ret_fd)
{
    const struct inside *in = inside_of(caller);
    int fd;

    if (number < 0 || (u32)number >= INSIDE_FDS || in->fd[number] < 0)
        return -EBADF;
    fd = fcntl(in->fd[number], F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

static const struct tn_caller_ops ops = {mem_read, mem_read_str, mem_write, pass_fd};

int inside_open(struct inside *in)
{
    int r;

    *in = (struct inside){.broker.uid = getuid(), .broker.ncpu = 4};
    memset(in->fd, -1, sizeof(in->fd));
    in->caller = (struct tn_caller){
        .ops = &ops, .broker = &in->broker, .pid = getpid(), .uid = getuid(), .ret_fd = -1};
    r = tn_loop_new(&in->broker.loop);
    if (r)
        return r;
    in->broker.inotify.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (in->broker.inotify.fd < 0) {
        r = -errno;
        tn_loop_free(in->broker.loop);
    }
    return r;
}

void inside_close(struct inside *in)
{
    (void)inside_drop(in);
    for (u32 kind = 0; kind < TN_KIND_MAX; kind++)
        free(in->broker.table[kind].slot);
    close(in->broker.inotify.fd);
    tn_loop_free(in->broker.loop);
}

u64 inside_lend(struct inside *in, const void *data, u64 size)
{
    struct inside_area *area = &in->area[in->nareas];

    if (in->nareas == INSIDE_AREAS)
        return 0;
    area->data = calloc(1, size ? size : 1);
    if (!area->data)
        return 0;
    if (data && size)
        memcpy(area->data, data, size);
    area->size = size;
    area->addr = AREA_BASE(in->nareas);
    in->nareas++;
    return area->addr;
}

const u8 *inside_look(const struct inside *in, u64 addr)
{
    return find(in, addr, 0);
}

int inside_command(struct inside *in, u32 command, void *attr, u32 attr_size, s32 number)
{
    u32 len = TN_MIN(attr_size, (u32)TN_ATTR_MAX);
    u64 addr = inside_lend(in, attr, len);
    int r;

    if (!addr)
        return -ENOMEM;
    memset(&in->caller.why, 0, sizeof(in->caller.why));
    memset(&in->caller.last, 0, sizeof(in->caller.last));
    r = tn_command_run(&in->caller, command, attr, len, addr, attr_size);
    TN_UNREF(in->caller.judged); /* kept for questions of the same connection, and there is none */
    in->caller.judged = NULL;
    memcpy(attr, inside_look(in, addr), len);
    free(in->area[--in->nareas].data);
    if (in->caller.ret_fd >= 0) {
        int fd = TN_TAKE_FD(in->caller.ret_fd);

        if (r < 0 || number < 0 || (u32)number >= INSIDE_FDS || in->fd[number] >= 0)
            close(fd);
        else
            in->fd[number] = fd;
    }
    return r;
}

const char *inside_drop(struct inside *in)
{
    struct tn_broker *broker = &in->broker;
    const struct tn_table *maps = &broker->table[TN_KIND_MAP];
    char events[4096];

    for (u32 k = 0; k < INSIDE_FDS; k++)
        if (in->fd[k] >= 0)
            close(TN_TAKE_FD(in->fd[k]));
    while (in->nareas)
        free(in->area[--in->nareas].data);
    /* A turn for each socket pair that hung up; then the memfds, each of which may let others go. */
    for (u32 turns = broker->nhandles; turns; turns--)
        if (tn_loop_turn(broker->loop, 0))
            return "the loop does not turn";
    while (read(broker->inotify.fd, events, sizeof(events)) > 0)
        ;
    for (u32 k = maps->count; k-- > 0;)
        if (k < maps->count)
            tn_map_closed(broker, ((struct tn_bmap *)maps->slot[k])->watch);
    return broker->nhandles   ? "a handle without a descriptor"
           : broker->nobjects ? "an object that nobody holds"
                              : NULL;
}
