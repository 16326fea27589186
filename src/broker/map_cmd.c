/* SPDX-License-Identifier: MIT */
/*
 * Maps: made here, laid out by rt, and mostly used without us: a door serves elements from a view of its own,
 * and comes here only for what has no door to do it (TN_CALL_MAP_VIEW answers with memory and geometry).
 *
 * A map whose memory a tool may map or wait for (BPF_F_MMAPABLE, ring buffer) is a memfd in the tool; any
 * other is a socket pair. Both have the same memory behind them.
 *
 * Freezing: Linux promises that a frozen map's contents never change, and the verifier takes a frozen map
 * that is read-only to programs for constants. A process that mapped it writable before could still change
 * it, so programs get a sealed copy made at that moment, and what they were verified with is what they read.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#include <bpf/libbpf.h>

#include "broker/broker_int.h"
#include "broker/name.h"

#define ACCESS_FLAGS (BPF_F_RDONLY | BPF_F_WRONLY)
#define PROG_FLAGS   (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)

static void map_release(struct tn_object *object)
{
    struct tn_bmap *map = (struct tn_bmap *)object;

    if (map->wake >= 0) {
        tn_wakeup_del(object->broker->wakeup, &map->view);
        close(map->wake);
    }
    if (map->watch >= 0)
        inotify_rm_watch(object->broker->inotify.fd, map->watch);
    if (map->view.base)
        munmap(map->view.base, map->view.geo.size);
    if (map->constants)
        munmap(map->constants, map->view.geo.size);
    if (map->counted >= 0)
        close(map->counted);
    if (map->snapshot >= 0)
        close(map->snapshot);
    if (map->memfd >= 0)
        close(map->memfd);
    TN_UNREF(map->btf);
    TN_UNREF(map->inner);
    free(map);
}

/* Memory, seals, and the means to hear of the last close. */
static int map_memory(struct tn_broker *broker, struct tn_bmap *map)
{
    struct stat st;
    u8 *base;
    int r = tn_memfd("tenon-map", map->view.geo.size, &map->memfd);

    if (r)
        return r;
    if (fcntl(map->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
        return -errno;
    base = mmap(NULL, map->view.geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, map->memfd, 0);
    if (base == MAP_FAILED)
        return -errno;
    map->view.base = base;
    if (fstat(map->memfd, &st))
        return -errno;
    map->dev = st.st_dev;
    map->ino = st.st_ino;
    r = tn_map_init(&map->view);
    if (r || !map->view.geo.mmap_size)
        return r;

    char path[32];

    r = tn_memfd_reopen(map->memfd, O_RDWR, &map->counted);
    if (r)
        return r;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", map->memfd);
    map->watch = inotify_add_watch(broker->inotify.fd, path, IN_CLOSE);
    return map->watch < 0 ? -errno : 0;
}

/* A map of a type or with an attribute that is not served, for whoever wants a verdict only: what the
   verifier asks of a map, and no memory. Whether Linux would make it is not asked. */
static int make_shape(struct tn_caller *caller, const union bpf_attr *attr)
{
    _unref_ struct tn_bmap *map = NULL;
    int r = tn_name_check(attr->map_name);

    if (r)
        return r;
    map = calloc(1, sizeof(*map));
    if (!map)
        return -ENOMEM;
    map->memfd = map->counted = map->watch = map->snapshot = map->wake = -1;
    map->object.release = map_release;
    tn_object_unlisted(caller->broker, &map->object, TN_KIND_SHAPE);
    memcpy(map->name, attr->map_name, sizeof(map->name));
    map->flags = attr->map_flags;
    map->extra = attr->map_extra;
    map->view.geo = (struct tn_map_geo){
        .type = attr->map_type,
        .key_size = attr->key_size,
        .value_size = attr->value_size,
        .max_entries = attr->max_entries,
        .map_flags = attr->map_flags,
    };
    if (attr->inner_map_fd) {
        r = tn_caller_object(caller, (s32)attr->inner_map_fd, TN_KIND_MAP, NULL, &map->inner);
        if (r == -EINVAL)
            r = tn_caller_object(caller, (s32)attr->inner_map_fd, TN_KIND_SHAPE, NULL, &map->inner);
        if (!r && map->inner->inner)
            r = -EINVAL;
    }
    if (!r && (attr->btf_key_type_id || attr->btf_value_type_id)) {
        map->btf_key = attr->btf_key_type_id;
        map->btf_value = attr->btf_value_type_id;
        r = tn_caller_object(caller, (s32)attr->btf_fd, TN_KIND_BTF, NULL, &map->btf);
    }
    return r ? r : tn_caller_give(caller, &map->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

/* Whoever judges fills maps of maps and arrays of programs as he would otherwise: nothing is kept of it. */
static bool is_shape(struct tn_caller *caller, s32 number)
{
    _unref_ struct tn_bmap *map = NULL;
    struct tn_error why = caller->why;
    bool is = caller->options.judged[0] && !tn_caller_object(caller, number, TN_KIND_SHAPE, NULL, &map);

    caller->why = why;
    return is;
}

static int make_map(struct tn_caller *caller, const union bpf_attr *attr)
{
    struct tn_broker *broker = caller->broker;
    _unref_ struct tn_bmap *map = NULL;
    _unref_ struct tn_bbtf *btf = NULL;
    struct tn_map_geo geo;
    u32 access = TN_VIEW_READ | TN_VIEW_WRITE;
    int r;

    if (!tn_map_type_by_id(attr->map_type)) {
        const char *name = libbpf_bpf_map_type_str(attr->map_type);

        return tn_fail(&caller->why, -EINVAL, "map_type_missing", "maps of type %s (%u) are not served",
                       name ? name : "unknown", attr->map_type);
    }
    if (attr->map_ifindex || attr->map_extra || attr->btf_vmlinux_value_type_id || attr->inner_map_fd)
        return tn_fail(&caller->why, -EINVAL, "attr_field",
                       "map_ifindex, map_extra, inner_map_fd and btf_vmlinux_value_type_id are not served");
    if ((attr->map_flags & ACCESS_FLAGS) == ACCESS_FLAGS || (attr->map_flags & PROG_FLAGS) == PROG_FLAGS)
        return -EINVAL;
    if (!(attr->map_flags & BPF_F_NUMA_NODE) && attr->numa_node)
        return -EINVAL;
    if (attr->map_flags & BPF_F_RDONLY)
        access = TN_VIEW_READ;
    if (attr->map_flags & BPF_F_WRONLY)
        access = TN_VIEW_WRITE;
    r = tn_name_check(attr->map_name);
    if (r)
        return r;
    r = tn_map_geometry(attr->map_type, attr->key_size, attr->value_size, attr->max_entries, attr->map_flags,
                        broker->ncpu, &geo);
    if (r)
        return tn_fail(&caller->why, r == -EOPNOTSUPP ? -EINVAL : r, "map_attributes",
                       "%s map with key size %u, value size %u, %u entries, flags 0x%x: %s",
                       libbpf_bpf_map_type_str(attr->map_type), attr->key_size, attr->value_size,
                       attr->max_entries, attr->map_flags, strerror(-r));
    if (attr->btf_key_type_id || attr->btf_value_type_id) {
        if (!attr->btf_value_type_id && attr->map_type != BPF_MAP_TYPE_RINGBUF)
            return -EINVAL;
        r = tn_caller_object(caller, (s32)attr->btf_fd, TN_KIND_BTF, NULL, &btf);
        if (r)
            return r;
        r = tn_btf_types_fit(btf, attr->btf_key_type_id, attr->key_size, attr->btf_value_type_id,
                             attr->value_size);
        if (r)
            return tn_fail(&caller->why, r, "map_btf",
                           "the BTF types of the map do not have its key and value size");
    }

    map = calloc(1, sizeof(*map));
    if (!map)
        return -ENOMEM;
    map->memfd = map->counted = map->watch = map->snapshot = map->wake = -1;
    map->object.release = map_release;
    r = tn_object_add(broker, &map->object, TN_KIND_MAP, caller->uid);
    if (r) {
        free(TN_TAKE_PTR(map));
        return r;
    }
    memcpy(map->name, attr->map_name, sizeof(map->name));
    map->flags = attr->map_flags;
    map->view.geo = geo;
    map->view.id = map->object.id;
    map->btf = TN_TAKE_PTR(btf);
    map->btf_key = attr->btf_key_type_id;
    map->btf_value = attr->btf_value_type_id;
    r = map_memory(broker, map);
    if (r)
        return tn_fail(&caller->why, r, "map_memory", "no shared memory of %llu bytes for the map: %s",
                       (unsigned long long)geo.size, strerror(-r));
    return tn_caller_give(caller, &map->object, access);
}

int tn_cmd_map_create(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    if (caller->options.judged[0] &&
        (!tn_map_type_by_id(attr->map_type) || attr->map_extra || attr->inner_map_fd))
        return make_shape(caller, attr);
    return make_map(caller, attr);
}

/* ----------------------------------------------------------------------------------------------- elements */

struct elem {
    struct tn_bmap *map;
    void *key, *value;
    u64 value_size;
};

static void elem_clear(struct elem *elem)
{
    TN_UNREF(elem->map);
    free(elem->key);
    free(elem->value);
}

/* The map, its key read from the caller (key_addr 0 with `may_lack_key`: none), and room for a value. */
static int elem_get(struct tn_caller *caller, const union bpf_attr *attr, u32 need, bool may_lack_key,
                    struct elem *ret_elem)
{
    u32 access;
    int r = tn_caller_object(caller, (s32)attr->map_fd, TN_KIND_MAP, &access, &ret_elem->map);

    if (r)
        return r;
    if (!(access & need))
        return -EPERM;

    const struct tn_map_geo *geo = &ret_elem->map->view.geo;

    if (tn_map_type_by_id(geo->type)->flags & TN_MF_NO_ELEMS)
        return -EOPNOTSUPP;
    ret_elem->value_size = tn_map_user_value_size(geo);
    ret_elem->value = calloc(1, ret_elem->value_size);
    if (!ret_elem->value)
        return -ENOMEM;
    if (!attr->key && may_lack_key)
        return 0;
    ret_elem->key = malloc(geo->key_size);
    if (!ret_elem->key)
        return -ENOMEM;
    return caller->ops->read(caller, attr->key, ret_elem->key, geo->key_size);
}

int tn_cmd_map_lookup(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _clean_(elem_clear) struct elem elem = {0};
    int r = elem_get(caller, attr, TN_VIEW_READ, false, &elem);

    if (!r)
        r = tn_map_user_lookup(&elem.map->view, elem.key, elem.value, attr->flags);
    return r ? r : caller->ops->write(caller, attr->value, elem.value, elem.value_size);
}

int tn_cmd_map_update(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _clean_(elem_clear) struct elem elem = {0};
    int r;

    if (is_shape(caller, (s32)attr->map_fd))
        return 0;
    r = elem_get(caller, attr, TN_VIEW_WRITE, false, &elem);
    if (!r)
        r = caller->ops->read(caller, attr->value, elem.value, elem.value_size);
    if (!r && elem.map->frozen)
        r = -EPERM;
    return r ? r : tn_map_user_update(&elem.map->view, elem.key, elem.value, attr->flags);
}

int tn_cmd_map_delete(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _clean_(elem_clear) struct elem elem = {0};
    int r = elem_get(caller, attr, TN_VIEW_WRITE, false, &elem);

    if (!r && elem.map->frozen)
        r = -EPERM;
    return r ? r : tn_map_user_delete(&elem.map->view, elem.key);
}

int tn_cmd_map_next_key(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _clean_(elem_clear) struct elem elem = {0};
    _free_ void *next = NULL;
    int r = elem_get(caller, attr, TN_VIEW_READ, true, &elem);

    if (r)
        return r;
    next = malloc(elem.map->view.geo.key_size);
    if (!next)
        return -ENOMEM;
    r = tn_map_user_next_key(&elem.map->view, elem.key, next);
    return r ? r : caller->ops->write(caller, attr->next_key, next, elem.map->view.geo.key_size);
}

int tn_cmd_map_lookup_delete(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _clean_(elem_clear) struct elem elem = {0};
    int r = elem_get(caller, attr, TN_VIEW_READ | TN_VIEW_WRITE, false, &elem);

    if (r)
        return r;
    if (!tn_map_is_table(&elem.map->view))
        return -EOPNOTSUPP;
    if (elem.map->frozen)
        return -EPERM;
    r = tn_map_user_lookup(&elem.map->view, elem.key, elem.value, attr->flags);
    if (!r)
        r = tn_map_user_delete(&elem.map->view, elem.key);
    return r ? r : caller->ops->write(caller, attr->value, elem.value, elem.value_size);
}

/* ------------------------------------------------------------------------------------------------- frozen */

static int take_snapshot(struct tn_bmap *map)
{
    _close_ int fd = -1;
    u64 size = map->view.geo.size;
    void *constants;
    int r = tn_memfd("tenon-frozen", size, &fd);

    if (r)
        return r;
    for (u64 at = 0; at < size;) {
        ssize_t n = pwrite(fd, map->view.base + at, size - at, (off_t)at);

        if (n <= 0)
            return n ? -errno : -EIO;
        at += (u64)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return -errno;
    constants = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (constants == MAP_FAILED)
        return -errno;
    /* Targets map it through a descriptor that cannot write: older kernels refuse a shared mapping of a
       sealed file otherwise. */
    r = tn_memfd_reopen(fd, O_RDONLY, &map->snapshot);
    if (r) {
        munmap(constants, size);
        return r;
    }
    map->constants = constants;
    return 0;
}

int tn_cmd_map_freeze(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_bmap *map = NULL;
    u32 access;
    int r;

    if (is_shape(caller, (s32)attr->map_fd))
        return 0;
    r = tn_caller_object(caller, (s32)attr->map_fd, TN_KIND_MAP, &access, &map);
    if (r)
        return r;
    if (!(access & TN_VIEW_WRITE))
        return -EPERM;
    if (map->frozen)
        return -EBUSY;
    /* No new writable mapping, no write(2). What is mapped writable already cannot be told; see the head. */
    if (fcntl(map->memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE))
        return -errno;
    if (map->flags & BPF_F_RDONLY_PROG) {
        r = take_snapshot(map);
        if (r)
            return r;
    }
    map->frozen = true;
    return 0;
}

/* --------------------------------------------------------------------------------------------- identities */

int tn_cmd_map_next_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    return tn_next_id(caller, TN_KIND_MAP, attr, attr_addr);
}

int tn_cmd_map_fd_by_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    struct tn_object *object = tn_object_by_id(caller->broker, TN_KIND_MAP, attr->map_id);

    if ((attr->open_flags & ~ACCESS_FLAGS) || (attr->open_flags & ACCESS_FLAGS) == ACCESS_FLAGS)
        return -EINVAL;
    if (!object)
        return -ENOENT;
    return tn_caller_give(caller, object,
                          attr->open_flags & BPF_F_RDONLY   ? TN_VIEW_READ
                          : attr->open_flags & BPF_F_WRONLY ? TN_VIEW_WRITE
                                                            : TN_VIEW_READ | TN_VIEW_WRITE);
}

/* ------------------------------------------------------------------------------------------- for the door */

static void fill_view(const struct tn_bmap *map, u32 access, struct tn_map_view *ret_view)
{
    *ret_view = (struct tn_map_view){
        .geo = map->view.geo,
        .id = map->object.id,
        .access = map->frozen ? access & ~TN_VIEW_WRITE : access,
    };
}

int tn_map_view_of(struct tn_caller *caller, s32 number, struct tn_map_view *ret_view, int *ret_fd)
{
    _unref_ struct tn_bmap *map = NULL;
    u32 access;
    int r = is_shape(caller, number) ? -ENOSYS : tn_caller_object(caller, number, TN_KIND_MAP, &access, &map);
    int fd;

    if (r) /* ENOSYS: the door asks with the command itself */
        return r;
    /* One view serves all descriptors of a file; what each allows the door asks of the descriptor. */
    if (map->counted >= 0)
        access = TN_VIEW_READ | TN_VIEW_WRITE;
    fill_view(map, access, ret_view);
    /* The uncounted file: a view does not keep the map. */
    fd = fcntl(map->memfd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

int tn_map_wait_of(struct tn_caller *caller, s32 number, struct tn_map_view *ret_view, int *ret_fd)
{
    _unref_ struct tn_bmap *map = NULL;
    u32 access;
    int r = tn_caller_object(caller, number, TN_KIND_MAP, &access, &map), fd;

    if (r)
        return r;
    if (map->view.geo.type != BPF_MAP_TYPE_RINGBUF)
        return -EPERM; /* what epoll says of a file that cannot be waited for */
    if (map->wake < 0) {
        _close_ int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        if (wake < 0)
            return -errno;
        r = tn_wakeup_add(caller->broker->wakeup, &map->view, wake);
        if (r)
            return tn_fail(&caller->why, r, "too_many_ring_buffers",
                           "no more ring buffers can be waited for");
        map->wake = TN_TAKE_FD(wake);
    }
    fill_view(map, access, ret_view);
    fd = fcntl(map->wake, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}
