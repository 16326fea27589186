/* SPDX-License-Identifier: MIT */
/* Commands about links; what a link does is in link.c and link_jobs.c. */
#include <errno.h>
#include <limits.h>
#include <signal.h>

#include <bpf/libbpf.h>

#include "broker/broker_int.h"
#include "broker/multi.h"
#include "broker/name.h"

/* ------------------------------------------------------------------------------------------- many places */

/* `n` words of the tool's; 0 each where it names none. */
static int read_words(struct tn_caller *caller, u64 addr, u32 n, u64 **ret_words)
{
    u64 *words = calloc(n, sizeof(*words));
    int r = !words ? -ENOMEM : addr ? caller->ops->read(caller, addr, words, (u64)n * sizeof(*words)) : 0;

    if (r)
        free(words);
    else
        *ret_words = words;
    return r;
}

static int read_places(struct tn_caller *caller, const struct tn_multi_attr *multi, u64 size,
                       struct tn_perf *place, u64 *ret_cookie)
{
    _free_ u64 *offset = NULL, *ref_ctr = NULL, *cookie = NULL;
    int r = read_words(caller, multi->offsets, multi->cnt, &offset);

    if (!r)
        r = read_words(caller, multi->ref_ctr_offsets, multi->cnt, &ref_ctr);
    if (!r)
        r = read_words(caller, multi->cookies, multi->cnt, &cookie);
    for (u32 i = 0; !r && i < multi->cnt; i++)
        if ((s64)offset[i] < 0 || offset[i] >= size || (s64)ref_ctr[i] < 0)
            return tn_fail(&caller->why, -EINVAL, "offset_past_end",
                           "place %u of %u: the file has %llu bytes; offset 0x%llx lies behind them", i + 1,
                           multi->cnt, (unsigned long long)size, (unsigned long long)offset[i]);
    if (r)
        return r;
    place->others = calloc(multi->cnt, sizeof(*place->others));
    if (!place->others)
        return -ENOMEM;
    place->offset = offset[0];
    place->ref_ctr = ref_ctr[0];
    *ret_cookie = cookie[0];
    for (u32 i = 1; i < multi->cnt; i++)
        place->others[i - 1] = (struct tn_attach_place){offset[i], ref_ctr[i], cookie[i]};
    place->nothers = multi->cnt - 1;
    return 0;
}

/* In the order in which Linux looks at them. */
static int create_multi(struct tn_caller *caller, struct tn_prog *prog, const union bpf_attr *attr)
{
    _unref_ struct tn_perf *place = tn_own_place(caller);
    _unref_ struct tn_link *link = NULL;
    struct tn_multi_attr multi;
    u64 size = 0, cookie = 0;
    char name[PATH_MAX];
    int r;

    if (!place)
        return -ENOMEM;
    memcpy(&multi, (const u8 *)attr + TN_MULTI_ATTR_OFF, TN_MULTI_ATTR_END - TN_MULTI_ATTR_OFF);
    if (attr->link_create.flags || multi.flags & ~TN_UPROBE_MULTI_RETURN || !multi.path || !multi.offsets ||
        !multi.cnt || (s32)multi.pid < 0)
        return tn_fail(
            &caller->why, -EINVAL, "multi_attributes",
            "a link of many places has a path and at least one offset, no negative process id, and no "
            "other flag than 1");
    if (multi.cnt > TN_UPROBE_MULTI_MAX)
        return tn_fail(&caller->why, -E2BIG, "too_many_places", "a link has at most %u places, not %u",
                       TN_UPROBE_MULTI_MAX, multi.cnt);
    r = caller->ops->read_str(caller, multi.path, name, sizeof(name));
    if (r)
        return r == -E2BIG ? -EINVAL : r;
    if (!name[0]) /* the folder where the tool is */
        return tn_fail(&caller->why, -EBADF, "not_a_file", "the path is empty");
    place->multi = true;
    place->session = prog->attach_type == TN_TRACE_UPROBE_SESSION;
    place->exit = !place->session && multi.flags & TN_UPROBE_MULTI_RETURN;
    place->multi_pid = (s32)multi.pid;
    r = tn_perf_path(caller, place, name, -EBADF, &size);
    if (r)
        return r;
    if (multi.pid && kill(place->multi_pid, 0) < 0 && errno != EPERM)
        return tn_fail(&caller->why, -ESRCH, "no_such_process", "there is no process %u", multi.pid);
    r = read_places(caller, &multi, size, place, &cookie);
    if (!r && multi.cnt > TN_LINK_PLACES_MAX)
        r = tn_fail(&caller->why, -ENOSPC, "too_many_places", "a process has room for %u places, not %u",
                    TN_LINK_PLACES_MAX, multi.cnt);
    if (!r)
        r = tn_link_attach_multi(caller, prog, place, cookie, &link);
    return r ? r : tn_caller_give(caller, &link->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

/* A program for many places makes no other links, and no other makes these. */
static bool fits(const struct tn_prog *prog, u32 type)
{
    bool many = prog->type == BPF_PROG_TYPE_KPROBE && tn_is_multi(prog->attach_type);

    return many || tn_is_multi(type) ? many && type == prog->attach_type : true;
}

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
    if (!fits(prog, type))
        return tn_fail(&caller->why, -EINVAL, "attach_type",
                       "the program was loaded for attach type %u, the link is of type %u", prog->attach_type,
                       type);
    if (tn_is_multi(type))
        return create_multi(caller, prog, attr);
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
                   "a link of probes is not detached by bpf(2): close its descriptors, or `tenon detach %u`",
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
