/* SPDX-License-Identifier: MIT */
/*
 * Performance events that are probes of a process: what libbpf, bcc and bpftrace open before they attach.
 *
 * An event is a place (file and offset, entry or return), a choice of processes, and a switch. It does
 * nothing until a program is attached to it, by LINK_CREATE or by PERF_EVENT_IOC_SET_BPF; the switch is then
 * the link's gate.
 *
 * Tracepoints of system calls are events of another type. What they ask for are the calls of a process, or of those
 * in the tool's scope (link.c); their ids are ours, told by the door (base/callname.h). So are kprobes on the
 * kernel's functions of system calls.
 *
 * The types of uprobes and kprobes are the kernel's own numbers where it has them, so that a tool that reads them from
 * sysfs asks for the right thing; else the door tells tools ours. Probes of the kernel are refused by name, never passed
 * on in silence.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>

#include "broker/broker_int.h"

static void perf_release(struct tn_object *object)
{
    struct tn_perf *perf = (struct tn_perf *)object;

    TN_UNREF(perf->own);
    free(perf);
}

int tn_perf_path(struct tn_caller *caller, struct tn_perf *perf, const char *name, int not_a_file,
                 u64 *ret_size)
{
    static const char self[] = "/proc/self/", thread[] = "/proc/thread-self/";
    char link[32], real[PATH_MAX];
    _close_ int fd = -1;
    struct stat st;
    ssize_t len;
    int n;

    if (!strncmp(name, self, sizeof(self) - 1))
        n = snprintf(perf->path, sizeof(perf->path), "/proc/%d/%s", caller->pid, name + sizeof(self) - 1);
    else if (!strncmp(name, thread, sizeof(thread) - 1))
        n = snprintf(perf->path, sizeof(perf->path), "/proc/%d/%s", caller->pid, name + sizeof(thread) - 1);
    else if (name[0] == '/')
        n = snprintf(perf->path, sizeof(perf->path), "%s", name);
    else
        n = snprintf(perf->path, sizeof(perf->path), "/proc/%d/cwd/%s", caller->pid, name);
    if (n < 0 || (size_t)n >= sizeof(perf->path))
        return -ENAMETOOLONG;

    fd = open(perf->path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        return tn_fail(&caller->why, -errno, "no_such_file", "%s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_fail(&caller->why, not_a_file, "not_a_file", "%s is no regular file", name);
    perf->dev = st.st_dev;
    perf->ino = st.st_ino;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, real, sizeof(real) - 1);
    if (len > 0)
        snprintf(perf->path, sizeof(perf->path), "%.*s", (int)len, real);
    *ret_size = (u64)st.st_size;
    return 0;
}

static int new_perf(struct tn_caller *caller, const struct perf_event_attr *attr,
                    const struct tn_perf_open_args *args, struct tn_perf **ret_perf)
{
    struct tn_perf *perf = calloc(1, sizeof(*perf));
    int r;

    if (!perf)
        return -ENOMEM;
    perf->object.release = perf_release;
    r = tn_object_add(caller->broker, &perf->object, TN_KIND_PERF, caller->uid);
    if (r) {
        free(perf);
        return r;
    }
    perf->enabled = !attr->disabled;
    perf->pid = args->pid ? args->pid : caller->pid;
    *ret_perf = perf;
    return 0;
}

static int open_calls(struct tn_caller *caller, const struct perf_event_attr *attr,
                      const struct tn_perf_open_args *args, struct tn_call_place place)
{
    _unref_ struct tn_perf *perf = NULL;
    int r = new_perf(caller, attr, args, &perf);

    if (r)
        return r;
    perf->call = true;
    perf->kernel = attr->type != PERF_TYPE_TRACEPOINT;
    perf->exit = place.exit;
    perf->nr = place.nr;
    return tn_caller_give(caller, &perf->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

/*
 * libbpf's ksyscall sections: a kprobe on the kernel's function of a system call. It tries __x64_sys_bpf first, whose
 * registers would be found behind a pointer; refused that, it asks for __se_sys_NAME and takes the program's own
 * context for the registers of the call, as ours are. Other functions of the kernel are its own.
 */
static int kernel_call(struct tn_caller *caller, const struct perf_event_attr *attr,
                       struct tn_call_place *ret_place)
{
    static const char prefix[] = "__se_sys_";
    char name[128] = "", place[160];
    int r = attr->config1 ? caller->ops->read_str(caller, attr->config1, name, sizeof(name)) : 0;

    if (r && r != -E2BIG)
        return r;
    snprintf(place, sizeof(place), "sys_%s_%s", attr->config & 1 ? "exit" : "enter",
             name + (sizeof(prefix) - 1));
    if (r || strncmp(name, prefix, sizeof(prefix) - 1) != 0 || attr->config2)
        return tn_fail(
            &caller->why, -EOPNOTSUPP, "kernel_probe",
            "kprobe: a probe of the kernel cannot run a program of ours; run the tool without tenon");
    if (tn_call_place(place, ret_place))
        return tn_fail(&caller->why, -ENOENT, "no_such_call", "there is no system call %s",
                       name + (sizeof(prefix) - 1));
    return 0;
}

int tn_perf_open(struct tn_caller *caller, const struct perf_event_attr *attr,
                 const struct tn_perf_open_args *args)
{
    struct tn_broker *broker = caller->broker;
    _unref_ struct tn_perf *perf = NULL;
    struct tn_call_place place = {0};
    char name[PATH_MAX];
    u64 size = 0;
    bool calls = attr->type == PERF_TYPE_TRACEPOINT && tn_tracepoint_of(attr->config, &place);
    int r;

    if (attr->type == broker->kprobe_type) {
        r = kernel_call(caller, attr, &place);
        if (r)
            return r;
        calls = true;
    }
    if (!calls && attr->type != broker->uprobe_type && attr->type != TN_UPROBE_TYPE)
        return tn_fail(&caller->why, -EOPNOTSUPP, "perf_type_missing",
                       "performance events of type %u are not served", attr->type);
    if (args->flags & ~(u64)(PERF_FLAG_FD_CLOEXEC | PERF_FLAG_FD_NO_GROUP | PERF_FLAG_FD_OUTPUT))
        return -EINVAL;
    /* As Linux: one of the two must be chosen. */
    if ((args->pid == -1 && args->cpu == -1) || args->pid < -1 || args->cpu < -1 ||
        (args->cpu >= 0 && (u32)args->cpu >= broker->ncpu))
        return -EINVAL;
    if (args->group_fd != -1)
        return tn_fail(&caller->why, -EINVAL, "perf_group",
                       "groups of performance events are not served for uprobes");
    if (calls)
        return open_calls(caller, attr, args, place);
    r = caller->ops->read_str(caller, attr->config1, name, sizeof(name));
    if (r)
        return r == -E2BIG ? -EINVAL : r;
    if (!name[0])
        return -EINVAL;

    r = new_perf(caller, attr, args, &perf);
    if (r)
        return r;
    perf->exit = attr->config & 1;
    perf->offset = attr->config2;
    perf->ref_ctr = attr->config >> 32;
    r = tn_perf_path(caller, perf, name, -EINVAL, &size);
    if (!r && perf->offset >= size)
        return tn_fail(&caller->why, -EINVAL, "offset_past_end",
                       "%s has %llu bytes; offset 0x%llx lies behind them", name, (unsigned long long)size,
                       (unsigned long long)perf->offset);
    return r ? r : tn_caller_give(caller, &perf->object, TN_VIEW_READ | TN_VIEW_WRITE);
}

static int set_bpf(struct tn_caller *caller, struct tn_perf *perf, s32 number)
{
    _unref_ struct tn_prog *prog = NULL;
    _unref_ struct tn_link *link = NULL;
    int r;

    if (perf->link)
        return -EEXIST;
    r = tn_caller_object(caller, number, TN_KIND_PROG, NULL, &prog);
    if (!r)
        r = tn_link_attach(caller, prog, perf, 0, &link);
    if (r)
        return r;
    /* The event owns this link: were the event among what the link keeps, neither would ever go. */
    TN_UNREF(link->perf);
    link->perf = NULL;
    perf->own = TN_TAKE_PTR(link);
    perf->link = perf->own;
    return 0;
}

int tn_perf_ioctl(struct tn_caller *caller, s32 number, u32 request, u64 arg)
{
    _unref_ struct tn_perf *perf = NULL;
    u64 id;
    int r = tn_caller_object(caller, number, TN_KIND_PERF, NULL, &perf);

    if (r && request == PERF_EVENT_IOC_SET_BPF) {
        memset(&caller->why, 0, sizeof(caller->why));
        return tn_fail(&caller->why, -EOPNOTSUPP, "perf_event_foreign",
                       "the event is the kernel's own: a program of ours cannot be attached to it");
    }
    if (r)
        return r == -EINVAL ? -ENOTTY : r;
    switch (request) {
    case PERF_EVENT_IOC_ENABLE:
    case PERF_EVENT_IOC_DISABLE:
        perf->enabled = request == PERF_EVENT_IOC_ENABLE;
        if (perf->link)
            tn_link_gate(perf->link, perf->enabled);
        return 0;
    case PERF_EVENT_IOC_ID:
        id = perf->object.id;
        return caller->ops->write(caller, arg, &id, sizeof(id));
    case PERF_EVENT_IOC_SET_BPF:
        return set_bpf(caller, perf, (s32)arg);
    }
    return tn_fail(&caller->why, -ENOTTY, "ioctl_missing", "ioctl 0x%x of a uprobe event is not served",
                   request);
}
