/* SPDX-License-Identifier: MIT */
/*
 * A link: one program at one place, in one process or several.
 *
 *   attach   an index of its own (gate, statistics) · one job of the injector a process · gate opened when
 *            all are done
 *   detach   gate closed first: from that store on nothing of it runs anywhere · then one job a process takes
 *            the bytes back, in the background
 *
 * An index is used again only when every process that ever knew it has confirmed that it is out, or has
 * ended: a stale hook must never wake up behind another link's gate. How it comes into a process and out of it is
 * link_jobs.c.
 */
#include <errno.h>
#include <sys/stat.h>

#include "broker/broker_int.h"
#include "broker/multi.h"
#include "broker/pids.h"

/* ------------------------------------------------------------------------------------------------ indices */

static int index_get(struct tn_broker *broker, u32 *ret_index)
{
    for (u32 k = 0; k < TN_MAX_LINKS / 64; k++) {
        u64 none = ~broker->links_used[k];
        u32 i;

        if (!none)
            continue;
        i = k * 64 + (u32)__builtin_ctzll(none);
        broker->links_used[k] |= none & -none;
        broker->gates[i] = 0;
        memset(&broker->stats[i], 0, sizeof(broker->stats[i]));
        *ret_index = i;
        return 0;
    }
    return -ENOSPC;
}

void tn_link_index_put(struct tn_broker *broker, u32 index)
{
    broker->links_used[index / 64] &= ~(1ull << (index % 64));
}

void tn_link_gate(struct tn_link *link, bool open)
{
    __atomic_store_n(&link->object.broker->gates[link->index], open && !link->detached, __ATOMIC_SEQ_CST);
}

/* ------------------------------------------------------------------------------------------------ a link */

const struct tn_perf *tn_link_perf(const struct tn_link *link)
{
    const struct tn_table *events = &link->object.broker->table[TN_KIND_PERF];

    if (link->perf)
        return link->perf;
    for (u32 i = 0; i < events->count; i++) /* attached by the event's own ioctl: the event owns the link */
        if (((const struct tn_perf *)events->slot[i])->own == link)
            return (const struct tn_perf *)events->slot[i];
    return NULL;
}

bool tn_link_is_in(const struct tn_link *link, pid_t pid)
{
    for (u32 i = 0; i < link->ntargets; i++)
        if (link->targets[i].pid == pid && !link->targets[i].ended)
            return true;
    return false;
}

static void link_release(struct tn_object *object)
{
    struct tn_link *link = (struct tn_link *)object;

    /* Detached already: tn_unref came here by way of link_gone. */
    TN_UNREF(link->prog);
    if (link->perf) {
        link->perf->link = NULL;
        TN_UNREF(link->perf);
    }
    free(link->targets);
    free(link->groups);
    free(link);
}

void tn_link_unkeep(struct tn_link *link)
{
    if (!link->kept)
        return;
    link->kept = false;
    link->object.broker->nkept--;
    TN_UNREF(link);
}

/* The last reference is gone. Nothing of the link may be needed afterwards but its index. */
static void link_gone(struct tn_object *object)
{
    struct tn_link *link = (struct tn_link *)object;

    tn_link_detach(link, TN_CTL_DETACH_MS);
    link_release(object);
}

/* Of system calls the host is what a process runs. */
static int program_of(pid_t pid, struct tn_perf *perf)
{
    static const char gone[] = " (deleted)"; /* says the kernel behind the name */
    char link[32];
    struct stat st;
    ssize_t len;

    snprintf(link, sizeof(link), "/proc/%d/exe", pid);
    len = readlink(link, perf->path, sizeof(perf->path) - 1);
    if (len < 0 || stat(link, &st))
        return -errno;
    perf->path[len] = '\0';
    if (!st.st_nlink && (size_t)len > sizeof(gone) && !strcmp(perf->path + len - (sizeof(gone) - 1), gone))
        perf->path[len - (ssize_t)(sizeof(gone) - 1)] = '\0';
    perf->dev = st.st_dev;
    perf->ino = st.st_ino;
    return 0;
}

static int name_program(struct tn_caller *caller, struct tn_perf *perf, pid_t pid)
{
    int r = program_of(pid, perf);

    return r ? tn_fail(&caller->why, r == -ENOENT ? -ESRCH : r,
                       r == -ENOENT ? "no_such_process" : "not_permitted",
                       "process %d has ended, or may not be looked into", pid)
             : 0;
}

int tn_link_host(const struct tn_link *link, u32 *at, struct tn_perf *ret)
{
    const struct tn_perf *perf = tn_link_perf(link);
    const u64 dev = ret->dev, ino = ret->ino;
    const bool first = !*at;

    if (!perf || (!perf->call && !first))
        return -ENOENT;
    if (!perf->call) {
        *ret = *perf;
        ++*at;
        return 0;
    }
    while (*at < link->ntargets) {
        const struct tn_target *target = &link->targets[(*at)++];

        *ret = *perf;
        if (!target->ended && !program_of(target->pid, ret) && (first || ret->dev != dev || ret->ino != ino))
            return 0;
    }
    return -ENOENT;
}

/* Does the policy of each host allow the place? */
static int check_place(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *perf,
                       const pid_t *pids, u32 count)
{
    int r = 0;

    for (u32 i = 0; i < (perf->call ? count : 1) && !r; i++) {
        r = perf->call ? name_program(caller, perf, pids[i]) : 0;
        if (!r)
            r = tn_policy_place(caller, prog, perf);
    }
    return r;
}

static bool keep_groups(struct tn_link *link, const struct tn_groups *groups)
{
    const size_t size = groups ? sizeof(*groups) + groups->n * sizeof(u32) : 0;

    link->groups = size ? malloc(size) : NULL;
    if (link->groups)
        memcpy(link->groups, groups, size);
    return !size || link->groups;
}

/* A link of `prog` at the event's place, in `count` processes; without any (pids NULL), in every one of the file, and
   those that come later. `args` (NULL: none): the words of its context. */
static int make_link(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *perf, const pid_t *pids,
                     u32 count, const struct tn_typed_args *args, u64 cookie, struct tn_link **ret_link)
{
    struct tn_broker *broker = caller->broker;
    _unref_ struct tn_link *link = NULL;
    _free_ pid_t *all = NULL;
    struct tn_error first = {0};
    u64 start = tn_now_ns();
    int r, failed = 0;
    u32 index;

    r = check_place(caller, prog, perf, pids, count);
    if (r)
        return r;
    r = index_get(broker, &index);
    if (r)
        return tn_fail(&caller->why, r, "too_many_links", "this broker has %u links already", TN_MAX_LINKS);
    link = calloc(1, sizeof(*link));
    if (!link || !keep_groups(link, caller->groups)) {
        tn_link_index_put(broker, index);
        free(TN_TAKE_PTR(link));
        return -ENOMEM;
    }
    link->object.release = link_gone;
    r = tn_object_add(broker, &link->object, TN_KIND_LINK, caller->uid);
    if (r) {
        tn_link_index_put(broker, index);
        free(link->groups);
        free(TN_TAKE_PTR(link));
        return r;
    }
    link->index = index;
    link->typed = prog->type == BPF_PROG_TYPE_TRACING && !tn_prog_is_raw_tp(prog);
    link->attach_type = link->typed || perf->multi ? prog->attach_type : BPF_PERF_EVENT;
    link->words = args != NULL;
    if (args)
        link->args = *args;
    link->cookie = cookie;
    link->attaching = true;
    link->all = !pids && !perf->call;
    link->dev = perf->dev;
    link->ino = perf->ino;
    link->follow = caller->options.follow || link->all;
    link->some = caller->options.some;
    link->prog = TN_REF(prog);
    link->perf = TN_REF(perf);
    perf->link = link;

    if (link->all) {
        /* The mark first: whoever comes now is seen by one of the two. */
        tn_later_watch(broker, link, &link->why_not);
        r = tn_pids_of_file(perf->dev, perf->ino, &all, &count);
        if (r)
            return r;
    }
    (void)tn_link_enter_all(broker, link, pids ? pids : all, count, caller->options.wait_ms, &failed, &first);
    link->attaching = false;
    /* "Every process" fails when not one could be entered; one that ended meanwhile does not matter. */
    if (failed && !link->ntargets) {
        caller->why = first;
        return failed;
    }
    link->attach_ns = tn_now_ns() - start;
    tn_link_gate(link, perf->enabled);
    if (link->watched)
        tn_later_look_again(broker, link);
    if (perf->call)
        tn_loads_look_again(broker, link);
    caller->last.link = link->object.id;
    *ret_link = TN_TAKE_PTR(link);
    return 0;
}

/* The same, and the journal has what came of it. */
static int attach(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *perf, const pid_t *pids,
                  u32 count, const struct tn_typed_args *args, u64 cookie, struct tn_link **ret_link)
{
    int r = make_link(caller, prog, perf, pids, count, args, cookie, ret_link);

    if (r && !caller->why.reason[0])
        (void)tn_fail(&caller->why, r, "attach", "%s", strerror(-r));
    tn_policy_journal(caller->broker, caller->uid, caller->pid, "attach", prog->full_name,
                      prog->granted->klass, perf->path, r ? &caller->why : NULL);
    return r;
}

/* -------------------------------------------------------------------------------------------- system calls */

/* The contexts of Linux, word by word. A tracepoint's first eight bytes are the kernel's own. */
static const struct tn_typed_args call_record[] = {
    {.nwords = 8,
     .from = {TN_FROM_NOTHING, TN_FROM_NR, 0, 1, 2, TN_FROM_R10, 4,
              5}}, /* number; rdi, rsi, rdx, r10, r8, r9 */
    {.nwords = 3, .from = {TN_FROM_NOTHING, TN_FROM_NR, TN_FROM_RESULT}},
};

static const struct tn_typed_args raw_record[] = {
    {.nwords = 2, .from = {TN_FROM_REGS, TN_FROM_NR}},
    {.nwords = 2, .from = {TN_FROM_REGS, TN_FROM_RESULT}},
};

/* Which processes are meant: the event's own; those the tool was told; its host's. */
static int pids_of_scope(struct tn_caller *caller, const struct tn_perf *perf, pid_t **ret_pids,
                         u32 *ret_count)
{
    const s32 *pid = &perf->pid;
    u32 n = perf->pid >= 0;

    if (!n) {
        pid = caller->scope.npids ? caller->scope.pid : caller->host_pid;
        n = caller->scope.npids ? caller->scope.npids : caller->nhost_pids;
    }
    if (!n && caller->host)
        return tn_pids_of_file(caller->host->dev, caller->host->ino, ret_pids, ret_count);
    if (!n)
        return tn_fail(
            &caller->why, -EINVAL, "scope_missing",
            "whose system calls? A tracepoint has no file that tells, and all processes are too many: "
            "name them (tenon run -p PID -- TOOL, tenon attach -p PID), or a program (--host)");
    for (u32 i = 0; i < n; i++)
        if (!tn_pids_add(ret_pids, ret_count, pid[i]))
            return -ENOMEM;
    return 0;
}

static bool reads_behind(const struct tn_facts *facts, u32 nwords)
{
    for (u32 w = nwords; w < 64 * TN_ARRAY_SIZE(facts->ctx_read); w++)
        if (facts->ctx_read[w / 64] >> (w % 64) & 1)
            return true;
    return false;
}

static int attach_calls(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *perf, u64 cookie,
                        struct tn_link **ret_link)
{
    const struct tn_typed_args *args = NULL; /* of a kprobe: the registers themselves */
    _free_ pid_t *pids = NULL;
    u32 count = 0;
    int r;

    if (prog->type == BPF_PROG_TYPE_KPROBE && perf->kernel && !tn_is_multi(prog->attach_type))
        args = NULL;
    else if (prog->type == BPF_PROG_TYPE_TRACEPOINT && !perf->kernel)
        args = &call_record[perf->exit];
    else if ((prog->type == BPF_PROG_TYPE_RAW_TRACEPOINT || tn_prog_is_raw_tp(prog)) && !perf->kernel)
        args = &raw_record[perf->exit];
    else
        return tn_fail(&caller->why, -EINVAL, "prog_type",
                       "a program of type %u cannot be attached to this event of system calls", prog->type);
    if (args && reads_behind(&prog->verdict.facts, args->nwords))
        return tn_fail(&caller->why, -EACCES, "ctx_bounds",
                       "the program reads its context beyond the %u bytes that this tracepoint has",
                       args->nwords * 8);
    if (perf->link)
        return -EEXIST;
    r = pids_of_scope(caller, perf, &pids, &count);
    if (!r)
        r = tn_loads_start(caller->broker);
    return r ? r : attach(caller, prog, perf, pids, count, args, cookie, ret_link);
}

int tn_link_attach(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *perf, u64 cookie,
                   struct tn_link **ret_link)
{
    if (perf->call)
        return attach_calls(caller, prog, perf, cookie, ret_link);
    if (prog->type != BPF_PROG_TYPE_KPROBE || tn_is_multi(prog->attach_type))
        return tn_fail(&caller->why, -EINVAL, "prog_type",
                       "a program of type %u%s cannot be attached to a uprobe", prog->type,
                       prog->type == BPF_PROG_TYPE_KPROBE ? " for links of many places" : "");
    /* The addresses it knows are those of one file. */
    if (prog->host && (prog->host->dev != perf->dev || prog->host->ino != perf->ino))
        return tn_fail(&caller->why, -EINVAL, "other_host",
                       "the program names functions or variables of %s, and cannot be attached to %s",
                       prog->host->path, perf->path);
    if (perf->link) /* two callers may have looked at once */
        return -EEXIST;
    return attach(caller, prog, perf, perf->pid >= 0 ? &perf->pid : NULL, perf->pid >= 0, NULL, cookie,
                  ret_link);
}

static void place_release(struct tn_object *object)
{
    free(((struct tn_perf *)object)->others);
    free(object);
}

struct tn_perf *tn_own_place(struct tn_caller *caller)
{
    struct tn_perf *perf = calloc(1, sizeof(*perf));

    if (!perf)
        return NULL;
    perf->object.release = place_release;
    tn_object_unlisted(caller->broker, &perf->object, TN_KIND_PERF);
    perf->enabled = true;
    perf->pid = -1;
    return perf;
}

int tn_link_attach_multi(struct tn_caller *caller, struct tn_prog *prog, struct tn_perf *place, u64 cookie,
                         struct tn_link **ret_link)
{
    const pid_t pid = place->multi_pid;

    if (prog->host && (prog->host->dev != place->dev || prog->host->ino != place->ino))
        return tn_fail(&caller->why, -EINVAL, "other_host",
                       "the program names functions or variables of %s, and cannot be attached to %s",
                       prog->host->path, place->path);
    place->pid = pid ? pid : -1;
    return attach(caller, prog, place, pid ? &pid : NULL, pid != 0, NULL, cookie, ret_link);
}

int tn_link_attach_calls(struct tn_caller *caller, struct tn_prog *prog, struct tn_call_place place,
                         u64 cookie, struct tn_link **ret_link)
{
    _unref_ struct tn_perf *perf = tn_own_place(caller);

    if (!perf)
        return -ENOMEM;
    perf->call = true;
    perf->exit = place.exit;
    perf->nr = place.nr;
    return attach_calls(caller, prog, perf, cookie, ret_link);
}

int tn_link_attach_typed(struct tn_caller *caller, struct tn_prog *prog, u64 cookie,
                         struct tn_link **ret_link)
{
    const struct tn_bhost *host = prog->host;
    u32 count = caller->host == host ? caller->nhost_pids : 0;
    _unref_ struct tn_perf *perf = NULL;
    struct tn_host_place place;
    int r = tn_host_place(prog, &place, &caller->why);

    if (r)
        return r;
    perf = tn_own_place(caller);
    if (!perf)
        return -ENOMEM;
    perf->exit = place.exit;
    perf->pid = count == 1 ? caller->host_pid[0] : -1;
    snprintf(perf->path, sizeof(perf->path), "%s", host->path);
    perf->dev = host->dev;
    perf->ino = host->ino;
    perf->offset = place.offset;
    return attach(caller, prog, perf, count ? caller->host_pid : NULL, count, &place.args, cookie, ret_link);
}

/* A target has ended: what it held is nobody's. */
void tn_target_ended(struct tn_broker *broker, pid_t pid)
{
    const struct tn_table *table = &broker->table[TN_KIND_LINK];

    for (u32 i = 0; i < table->count; i++) {
        struct tn_link *link = (struct tn_link *)table->slot[i];

        for (u32 t = 0; t < link->ntargets; t++)
            if (link->targets[t].pid == pid)
                link->targets[t].ended = true;
        /* Of many that come and go, one that has ended says where the place was. */
        for (u32 t = 1; link->all && t < link->ntargets; t++)
            if (link->targets[t].ended)
                link->targets[t--] = link->targets[--link->ntargets];
    }
    tn_process_ended(broker, pid);
}

void tn_process_ended(struct tn_broker *broker, pid_t pid)
{
    for (u32 i = 0; i < broker->table[TN_KIND_MAP].count; i++)
        tn_map_recover(&((const struct tn_bmap *)broker->table[TN_KIND_MAP].slot[i])->view, (u32)pid);
    if (broker->trace)
        tn_map_recover(&broker->trace->map, (u32)pid);
    for (u32 cpu = 0; cpu < broker->ncpu; cpu++) {
        u64 owner = __atomic_load_n(&broker->claims[cpu].owner, __ATOMIC_RELAXED);

        if (owner >> 32 == (u64)pid)
            __atomic_compare_exchange_n(&broker->claims[cpu].owner, &owner, 0, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED);
    }
}
