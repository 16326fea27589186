/* SPDX-License-Identifier: MIT */
/* What our own command line asks beyond bpf(2); see ctl.h. One function a question. */
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>

#include "broker/broker_int.h"

#ifndef TENON_VERSION
#define TENON_VERSION "unknown"
#endif

typedef int (*ctl_fn)(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len);

static int ctl_status(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    const struct tn_broker *broker = caller->broker;
    const struct tn_table *links = &broker->table[TN_KIND_LINK];
    struct tn_ctl_status *status = ret_reply;

    *status = (struct tn_ctl_status){
        .pid = (u32)getpid(),
        .uid = broker->uid,
        .progs = broker->table[TN_KIND_PROG].count,
        .maps = broker->table[TN_KIND_MAP].count,
        .links = links->count,
        .btfs = broker->table[TN_KIND_BTF].count,
        .connections = broker->nconns,
        .started_ns = broker->started_ns,
    };
    for (u32 i = 0; i < links->count; i++) {
        const struct tn_link *link = (const struct tn_link *)links->slot[i];

        for (u32 t = 0; t < link->ntargets; t++)
            status->targets += !link->targets[t].ended;
    }
    snprintf(status->version, sizeof(status->version), "%s", TENON_VERSION);
    *ret_len = sizeof(*status);
    return 0;
}

static int ctl_options(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    const struct tn_ctl_options *options = req;

    if (options->follow > 1 || options->interpret > 1 || options->recorded > 1 || options->some > 1 ||
        options->wait_ms > 3600000)
        return -EINVAL;
    if (!memchr(options->judged, 0, sizeof(options->judged)) ||
        !memchr(options->klass, 0, sizeof(options->klass)))
        return -EINVAL;
    caller->options = *options;
    TN_UNREF(caller->judged);
    caller->judged = NULL;
    caller->verdict = (struct tn_ctl_verdict){0};
    return 0;
}

static int ctl_class(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    const struct tn_ctl_class *chosen = req;

    if (!memchr(chosen->name, 0, sizeof(chosen->name)))
        return -EINVAL;
    memcpy(caller->options.klass, chosen->name, sizeof(caller->options.klass));
    return 0;
}

static int ctl_last_error(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    memcpy(ret_reply, &caller->last, sizeof(caller->last));
    *ret_len = sizeof(caller->last);
    return 0;
}

static int ctl_link_next(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_broker *broker = caller->broker;
    struct tn_ctl_link *reply = ret_reply;
    const struct tn_target *told = NULL; /* in which most were left */
    const struct tn_link *link;
    const struct tn_perf *perf;
    u32 after;

    memcpy(&after, req, sizeof(after));
    do {
        link = (const struct tn_link *)tn_object_after(broker, TN_KIND_LINK, after);
        if (!link)
            return -ENOENT;
        after = link->object.id;
    } while (link->detached || link->attaching);
    perf = tn_link_perf(link);
    memset(reply, 0, sizeof(*reply));
    reply->id = link->object.id;
    reply->prog_id = link->prog->object.id;
    reply->kept = link->kept;
    reply->follow = link->follow;
    reply->cookie = link->cookie;
    reply->attach_ns = link->attach_ns;
    reply->missed = __atomic_load_n(&broker->stats[link->index].missed, __ATOMIC_RELAXED);
    reply->recursion = __atomic_load_n(&broker->stats[link->index].recursion, __ATOMIC_RELAXED);
    snprintf(reply->prog, sizeof(reply->prog), "%s", link->prog->full_name);
    reply->pid = -1;
    reply->ended = link->ntargets > 0 && !link->watched;
    reply->all = link->all;
    reply->watched = link->watched;
    reply->failed = link->failed;
    snprintf(reply->failure, sizeof(reply->failure), "%.191s", link->failure.message);
    snprintf(reply->failure_reason, sizeof(reply->failure_reason), "%s", link->failure.reason);
    snprintf(reply->why_not, sizeof(reply->why_not), "%.191s", link->why_not.message);
    if (perf) {
        reply->pid = perf->pid;
        reply->is_exit = perf->exit;
        reply->file_offset = reply->offset = perf->offset;
        reply->many = perf->multi ? perf->nothers + 1 : 0;
        snprintf(reply->target, sizeof(reply->target), "%s", perf->path);
    }
    if (perf && perf->call) {
        char name[16];

        reply->is_call = 1;
        reply->pid = link->ntargets == 1 ? link->targets[0].pid : -1;
        reply->offset = 0;
        snprintf(reply->symbol, sizeof(reply->symbol), "%s",
                 perf->nr == TN_CALL_ANY ? "" : tn_call_name(perf->nr, name));
    }
    snprintf(reply->kind, sizeof(reply->kind), "%s",
             reply->is_call ? (reply->is_exit ? "sysexit" : "sysenter")
             : link->typed && link->attach_type == BPF_MODIFY_RETURN ? "fmod_ret"
             : link->typed                                           ? (reply->is_exit ? "fexit" : "fentry")
             : perf && perf->session                                 ? "session"
             : reply->is_exit                                        ? "uretprobe"
                                                                     : "uprobe");
    for (u32 t = 0; t < link->ntargets; t++) {
        const struct tn_target *target = &link->targets[t];

        reply->hold_ns_max = TN_MAX(reply->hold_ns_max, target->hold_ns_max);
        if (target->ended)
            continue;
        reply->ended = 0;
        reply->targets++;
        reply->left_in += target->left > 0;
        if (target->left > (told ? told->left : 0))
            told = target;
    }
    if (link->ntargets) {
        const struct tn_target *target = told ? told : &link->targets[0];

        reply->address = target->address;
        reply->places = target->places;
        reply->left = target->left;
        reply->by = target->by;
        memcpy(reply->left_why, target->left_why, sizeof(reply->left_why));
        memcpy(reply->tactic, target->tactic, sizeof(reply->tactic));
        if (target->symbol[0]) {
            memcpy(reply->symbol, target->symbol, sizeof(reply->symbol));
            reply->offset = target->symbol_offset;
        }
    }
    *ret_len = sizeof(*reply);
    return 0;
}

static int ctl_link_keep(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_link *link;
    u32 id;

    memcpy(&id, req, sizeof(id));
    link = (struct tn_link *)tn_object_by_id(caller->broker, TN_KIND_LINK, id);
    if (!link || link->detached || link->attaching)
        return tn_fail(&caller->why, -ENOENT, "no_link", "there is no link %u", id);
    if (!link->kept) {
        link->kept = true;
        caller->broker->nkept++;
        TN_REF(link);
    }
    return 0;
}

static int ctl_link_detach(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    const struct tn_ctl_detach *detach = req;
    _unref_ struct tn_link *link = NULL;
    int r;

    link = (struct tn_link *)tn_object_by_id(caller->broker, TN_KIND_LINK, detach->id);
    if (!link || link->detached || link->attaching) {
        link = NULL;
        return tn_fail(&caller->why, -ENOENT, "no_link", "there is no link %u", detach->id);
    }
    TN_REF(link);
    r = tn_link_detach_wait(caller, link, TN_MIN(detach->wait_ms, 60000u));
    tn_link_unkeep(link);
    return r;
}

static int ctl_host(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_ctl_hosted *reply = ret_reply;
    struct tn_ctl_host request;
    const struct tn_bhost *host;
    int r;

    memcpy(&request, req, sizeof(request));
    r = tn_host_choose(caller, &request);
    if (r)
        return r;
    host = caller->host;
    *reply = (struct tn_ctl_hosted){.functions = tn_host_types_nfuncs(host->types),
                                    .variables = tn_host_types_nvars(host->types),
                                    .types = tn_btf_count(host->btf.view) - tn_btf_count(host->base),
                                    .cached = tn_host_types_cached(host->types)};
    snprintf(reply->name, sizeof(reply->name), "%s", host->btf.name);
    snprintf(reply->source, sizeof(reply->source), "%s",
             tn_host_source_name(tn_host_types_source(host->types)));
    *ret_len = sizeof(*reply);
    return 0;
}

static int ctl_scope(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_ctl_scope scope;

    memcpy(&scope, req, sizeof(scope));
    if (scope.npids > TN_CTL_SCOPE_PIDS)
        return -EINVAL;
    for (u32 i = 0; i < scope.npids; i++)
        if (scope.pid[i] <= 0)
            return -EINVAL;
    caller->scope = scope;
    return 0;
}

/* Hold and release are jobs of the injector's, as attaching is. */
static int startup_job(struct tn_caller *caller, const void *req,
                       int (*start)(struct tn_inject *, pid_t, int *, struct tn_error *))
{
    struct tn_broker *broker = caller->broker;
    _free_ struct tn_attach_result *result = calloc(1, sizeof(*result));
    s32 pid;
    int fd, r;

    if (!result)
        return -ENOMEM;
    memcpy(&pid, req, sizeof(pid));
    if (pid <= 1)
        return -EINVAL;
    r = start(broker->inject, pid, &fd, &caller->why);
    if (r)
        return r;
    r = tn_loop_wait(broker->loop, fd, EPOLLIN, 60000);
    if (r)
        tn_job_abandon(broker, fd);
    else
        r = tn_inject_finish(broker->inject, fd, result);
    if (!r && result->err) {
        caller->why = result->why;
        r = result->err;
    }
    return r;
}

static int ctl_hold(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    return startup_job(caller, req, tn_inject_hold);
}

static int ctl_release(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    s32 pid;

    /* Links of others that want what it has mapped by now, too. */
    memcpy(&pid, req, sizeof(pid));
    tn_later_settle(caller->broker, pid);
    return startup_job(caller, req, tn_inject_release);
}

static int ctl_prog_facts(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_ctl_facts *facts = ret_reply;
    const struct tn_prog *prog;
    u32 id;

    memcpy(&id, req, sizeof(id));
    prog = (const struct tn_prog *)tn_object_by_id(caller->broker, TN_KIND_PROG, id);
    if (!prog)
        return tn_fail(&caller->why, -ENOENT, "no_prog", "there is no program %u", id);
    *facts = (struct tn_ctl_facts){
        .facts = prog->verdict.facts,
        .insns_processed = prog->verdict.insns_processed,
        .total_states = prog->verdict.total_states,
        .peak_states = prog->verdict.peak_states,
        .verify_ns = prog->verdict.time_ns,
        .jit_ns = prog->jit_ns,
        .text_len = prog->code.text_len,
        .entry = prog->code.entry,
    };
    *ret_len = sizeof(*facts);
    return 0;
}

static int ctl_trace_read(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_trace *trace = caller->broker->trace;

    *ret_len = trace ? tn_trace_read(trace, ret_reply, TN_MSG_MAX - sizeof(struct tn_msg)) : 0;
    return 0;
}

static int ctl_verdict(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    memcpy(ret_reply, &caller->verdict, sizeof(caller->verdict));
    *ret_len = sizeof(caller->verdict);
    return 0;
}

static int ctl_uses(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_ctl_uses *reply = ret_reply;
    struct tn_ctl_uses_of of;
    const struct tn_prog *prog;

    _Static_assert(sizeof(*reply) <= TN_MSG_MAX - sizeof(struct tn_msg), "fits a message");
    memcpy(&of, req, sizeof(of));
    prog = of.prog_id ? (const struct tn_prog *)tn_object_by_id(caller->broker, TN_KIND_PROG, of.prog_id)
                      : caller->judged;
    if (!prog || !prog->granted)
        return tn_fail(&caller->why, -ENOENT, "no_prog", "there is no program %u", of.prog_id);
    tn_policy_uses(prog, of.from, reply);
    *ret_len = sizeof(*reply);
    return 0;
}

static int ctl_link_held(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    _free_ struct tn_perf *place = calloc(1, sizeof(*place));
    struct tn_ctl_held *reply = ret_reply;
    struct tn_ctl_held_of of;
    const struct tn_link *link;

    _Static_assert(sizeof(*reply) <= TN_MSG_MAX - sizeof(struct tn_msg), "fits a message");
    if (!place)
        return -ENOMEM;
    memcpy(&of, req, sizeof(of));
    link = (const struct tn_link *)tn_object_by_id(caller->broker, TN_KIND_LINK, of.id);
    if (!link || link->detached || link->attaching)
        return tn_fail(&caller->why, -ENOENT, "no_link", "there is no link %u", of.id);
    memset(reply, 0, sizeof(*reply));
    reply->uid = link->object.uid;
    reply->ngroups = link->groups ? link->groups->n : 0;
    for (u32 k = of.group; k < reply->ngroups && reply->n < TN_CTL_HELD_GROUPS; k++)
        reply->group[reply->n++] = link->groups->id[k];
    reply->next = of.host;
    if (!tn_link_host(link, &reply->next, place))
        memcpy(reply->host, place->path, sizeof(reply->host));
    *ret_len = sizeof(*reply);
    return 0;
}

static int ctl_kernel(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_ctl_kernel of;
    char path[PATH_MAX];
    int r;

    memcpy(&of, req, sizeof(of));
    if (of.done > 1 || !memchr(of.prog, 0, sizeof(of.prog)))
        return -EINVAL;
    r = caller->ops->read_str(caller, of.path, path, sizeof(path));
    return r ? r : tn_policy_kernel(caller, of.prog, path, of.done);
}

static int ctl_closed(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    struct tn_ctl_closed closed;

    memcpy(&closed, req, sizeof(closed));
    tn_handle_closed(caller->broker, closed.dev, closed.ino);
    return 0;
}

static int ctl_shutdown(struct tn_caller *caller, const void *req, void *ret_reply, size_t *ret_len)
{
    if (caller->broker->nkept)
        return tn_fail(&caller->why, -EBUSY, "links_kept", "%u links are kept; detach them first",
                       caller->broker->nkept);
    caller->broker->stop = true;
    return 0;
}

static const struct {
    ctl_fn fn;
    size_t req;
} ctls[TN_CTL_MAX] = {
    [TN_CTL_STATUS] = {ctl_status, 0},
    [TN_CTL_OPTIONS] = {ctl_options, sizeof(struct tn_ctl_options)},
    [TN_CTL_LAST_ERROR] = {ctl_last_error, 0},
    [TN_CTL_LINK_NEXT] = {ctl_link_next, sizeof(u32)},
    [TN_CTL_LINK_KEEP] = {ctl_link_keep, sizeof(u32)},
    [TN_CTL_LINK_DETACH] = {ctl_link_detach, sizeof(struct tn_ctl_detach)},
    [TN_CTL_HOLD] = {ctl_hold, sizeof(s32)},
    [TN_CTL_RELEASE] = {ctl_release, sizeof(s32)},
    [TN_CTL_PROG_FACTS] = {ctl_prog_facts, sizeof(u32)},
    [TN_CTL_TRACE_READ] = {ctl_trace_read, 0},
    [TN_CTL_VERDICT] = {ctl_verdict, 0},
    [TN_CTL_HOST] = {ctl_host, sizeof(struct tn_ctl_host)},
    [TN_CTL_SCOPE] = {ctl_scope, sizeof(struct tn_ctl_scope)},
    [TN_CTL_CLASS] = {ctl_class, sizeof(struct tn_ctl_class)},
    [TN_CTL_USES] = {ctl_uses, sizeof(struct tn_ctl_uses_of)},
    [TN_CTL_LINK_HELD] = {ctl_link_held, sizeof(struct tn_ctl_held_of)},
    [TN_CTL_KERNEL] = {ctl_kernel, sizeof(struct tn_ctl_kernel)},
    [TN_CTL_CLOSED] = {ctl_closed, sizeof(struct tn_ctl_closed)},
    [TN_CTL_SHUTDOWN] = {ctl_shutdown, 0},
};

int tn_ctl_run(struct tn_caller *caller, u32 ctl, const void *req, size_t len, void *ret_reply,
               size_t *ret_len)
{
    if (ctl >= TN_CTL_MAX || !ctls[ctl].fn || len != ctls[ctl].req)
        return -EINVAL;
    return ctls[ctl].fn(caller, req, ret_reply, ret_len);
}
