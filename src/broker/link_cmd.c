/* SPDX-License-Identifier: MIT */
/* Commands about links; what a link does is in link.c. */
#include <errno.h>

#include <bpf/libbpf.h>

#include "broker/broker_int.h"
#include "broker/name.h"

/* By what the program was loaded for: a function of the host's, or a raw tracepoint. */
static int attach_traced(struct tn_caller *caller, struct tn_prog *prog, u64 cookie,
                         struct tn_link **ret_link)
{
    struct tn_call_place place;
    int r;

    if (!tn_prog_is_raw_tp(prog))
        return tn_link_attach_typed(caller, prog, cookie, ret_link);
    r = tn_prog_tracepoint(prog, &place, &caller->why);
    return r ? r : tn_link_attach_calls(caller, prog, place, cookie, ret_link);
}

int tn_cmd_link_create(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_prog *prog = NULL;
    _unref_ struct tn_perf *perf = NULL;
    _unref_ struct tn_link *link = NULL;
    u32 type = attr->link_create.attach_type;
    _close_ int target = -1;
    struct tn_handle *handle;
    int r = tn_caller_object(caller, (s32)attr->link_create.prog_fd, TN_KIND_PROG, NULL, &prog);

    if (r)
        return r;
    if (prog->type == BPF_PROG_TYPE_TRACING) {
        if (type != prog->attach_type || attr->link_create.target_fd || attr->link_create.flags)
            return tn_fail(
                &caller->why, -EINVAL, "attach_type",
                "the program was loaded for another attach type, or the link names a target besides it");
        r = attach_traced(caller, prog, attr->link_create.tracing.cookie, &link);
        return r ? r : tn_caller_give(caller, &link->object, TN_VIEW_READ | TN_VIEW_WRITE);
    }
    if (type != BPF_PERF_EVENT) {
        const char *name = libbpf_bpf_attach_type_str(type);

        return tn_fail(&caller->why, -EINVAL, "attach_type_missing",
                       "links of attach type %s (%u) are not served", name ? name : "unknown", type);
    }
    if (attr->link_create.flags)
        return -EINVAL;
    r = caller->ops->fd(caller, (s32)attr->link_create.target_fd, &target);
    if (r)
        return r;
    handle = tn_handle_of(caller->broker, target);
    if (!handle || handle->object->kind != TN_KIND_PERF)
        /* What libbpf probes with (−1, 0) is told so by errno;
           a real event of the kernel's is told by name too. */
        return tn_fail(
            &caller->why, -EBADF, "perf_event_foreign",
            "descriptor %d is no uprobe event of ours: a program cannot be attached to the kernel's events",
            (s32)attr->link_create.target_fd);
    perf = (struct tn_perf *)tn_ref(handle->object);
    if (perf->link)
        return -EEXIST;
    r = tn_link_attach(caller, prog, perf, attr->link_create.perf_event.bpf_cookie, &link);
    return r ? r : tn_caller_give(caller, &link->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

/* A name: a tracepoint of system calls. No name, for a program that knows its place: what libraries before
   LINK_CREATE of tracing types ask. */
int tn_cmd_raw_tracepoint_open(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_prog *prog = NULL;
    _unref_ struct tn_link *link = NULL;
    struct tn_call_place place;
    char name[128];
    int r = tn_caller_object(caller, (s32)attr->raw_tracepoint.prog_fd, TN_KIND_PROG, NULL, &prog);

    if (r)
        return r;
    if (prog->type == BPF_PROG_TYPE_RAW_TRACEPOINT) {
        r = caller->ops->read_str(caller, attr->raw_tracepoint.name, name, sizeof(name));
        if (r)
            return r == -E2BIG ? -ENOENT : r;
        if (tn_call_place(name, &place) || place.nr != TN_CALL_ANY)
            return tn_fail(&caller->why, -ENOENT, "raw_tracepoint_missing",
                           "raw tracepoint %s is the kernel's: sys_enter and sys_exit are served", name);
        r = tn_link_attach_calls(caller, prog, place, 0, &link);
        return r ? r : tn_caller_give(caller, &link->object, TN_VIEW_READ | TN_VIEW_WRITE);
    }
    if (attr->raw_tracepoint.name || prog->type != BPF_PROG_TYPE_TRACING)
        return tn_fail(&caller->why, -EINVAL, "raw_tracepoint_missing",
                       "a program of this type belongs to no raw tracepoint");
    r = attach_traced(caller, prog, 0, &link);
    return r ? r : tn_caller_give(caller, &link->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

int tn_cmd_link_update(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    return tn_fail(&caller->why, -EINVAL, "link_update",
                   "the program of a perf-event link cannot be replaced");
}

/* As Linux: a link of a perf event cannot be forced off by its descriptor; its owner closes it. */
int tn_cmd_link_detach(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_link *link = NULL;
    int r = tn_caller_object(caller, (s32)attr->link_detach.link_fd, TN_KIND_LINK, NULL, &link);

    return r ? r
             : tn_fail(
                   &caller->why, -EOPNOTSUPP, "link_detach",
                   "a perf-event link is not detached by bpf(2): close its descriptors, or `tenon detach %u`",
                   link->object.id);
}

int tn_cmd_link_next_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    return tn_next_id(caller, TN_KIND_LINK, attr, attr_addr);
}

int tn_cmd_link_fd_by_id(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    struct tn_object *object = tn_object_by_id(caller->broker, TN_KIND_LINK, attr->link_id);

    if (object && ((struct tn_link *)object)->attaching)
        object = NULL;
    return object ? tn_caller_give(caller, object, TN_VIEW_READ | TN_VIEW_WRITE) : -ENOENT;
}
