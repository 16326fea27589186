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
 * ended: a stale hook must never wake up behind another link's gate.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sysmacros.h>

#include "broker/broker_int.h"
#include "broker/multi.h"

#define TARGETS_MAX 1024u
/* Identifiers of objects are below this. */
#define SNAPSHOT_ID 0x80000000u
/* The injector bounds its own work; this is for one that does not. */
#define JOB_MS      60000
#define GANG_MAX    4u /* processes entered at once */

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

static void index_put(struct tn_broker *broker, u32 index)
{
    broker->links_used[index / 64] &= ~(1ull << (index % 64));
}

void tn_link_gate(struct tn_link *link, bool open)
{
    __atomic_store_n(&link->object.broker->gates[link->index], open && !link->detached, __ATOMIC_SEQ_CST);
}

/* ---------------------------------------------------------------------------------------- which processes */

static bool pids_add(pid_t **pids, u32 *count, pid_t pid)
{
    pid_t *more = reallocarray(*pids, *count + 1, sizeof(**pids));

    if (!more)
        return false;
    *pids = more;
    more[(*count)++] = pid;
    return true;
}

static pid_t parent_of(pid_t pid)
{
    char path[32], line[512];
    _fclose_ FILE *f = NULL;
    const char *p;
    int ppid;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    f = fopen(path, "re");
    if (!f || !fgets(line, sizeof(line), f))
        return 0;
    p = strrchr(line, ')');
    return p && sscanf(p + 1, " %*c %d", &ppid) == 1 ? ppid : 0;
}

/* The broker itself, its guardians and injectors. */
static bool is_ours(pid_t pid)
{
    for (u32 depth = 0; pid > 1 && depth < 4; depth++) {
        if (pid == getpid())
            return true;
        pid = parent_of(pid);
    }
    return false;
}

/* All processes of which this user may read the maps, that are not ours, and of which `is` says so. */
static int pids_where(bool (*is)(pid_t pid, const void *arg), const void *arg, pid_t **ret_pids,
                      u32 *ret_count)
{
    _free_ pid_t *pids = NULL;
    u32 count = 0;
    DIR *dir = opendir("/proc");
    const struct dirent *entry;

    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;

        if (pid > 0 && is(pid, arg) && !is_ours(pid) &&
            (count == TARGETS_MAX || !pids_add(&pids, &count, pid))) {
            closedir(dir);
            return count == TARGETS_MAX ? -E2BIG : -ENOMEM;
        }
    }
    closedir(dir);
    *ret_pids = TN_TAKE_PTR(pids);
    *ret_count = count;
    return 0;
}

struct file_id {
    u64 dev, ino;
};

static bool maps_file(pid_t pid, const void *arg)
{
    const struct file_id *file = arg;
    char path[32], line[PATH_MAX + 128];
    _fclose_ FILE *f = NULL;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    f = fopen(path, "re");
    if (!f)
        return false;
    while (fgets(line, sizeof(line), f)) {
        unsigned int major, minor;
        unsigned long inode;
        char perms[5];

        if (sscanf(line, "%*x-%*x %4s %*x %x:%x %lu", perms, &major, &minor, &inode) == 4 &&
            inode == file->ino && perms[2] == 'x' && makedev(major, minor) == file->dev)
            return true;
    }
    return false;
}

int tn_pids_of_file(u64 dev, u64 ino, pid_t **ret_pids, u32 *ret_count)
{
    struct file_id file = {dev, ino};

    return pids_where(maps_file, &file, ret_pids, ret_count);
}

/* ------------------------------------------------------------------------------------------------- attach */

static bool prints(const struct tn_prog *prog)
{
    const u32 id = TN_HELPER_trace_printk;

    return prog->verdict.facts.helpers[id / 64] >> (id % 64) & 1;
}

/* A fork child has a copy of its parent's hooks, and is entered: that took them back. Links that follow come again. */
static void bring_inherited(struct tn_broker *broker, pid_t pid, pid_t parent)
{
    for (u32 id = 0;;) {
        struct tn_link *link = (struct tn_link *)tn_object_after(broker, TN_KIND_LINK, id);
        struct tn_error why = {0};

        if (!link)
            return;
        id = link->object.id;
        if (link->follow && !link->detached && !tn_link_is_in(link, pid) &&
            (link->all || tn_link_is_in(link, parent)))
            (void)tn_link_enter(broker, link, pid, TN_CTL_DETACH_MS, &why);
    }
}

static int start_job(struct tn_link *link, pid_t pid, u32 wait_ms, int *ret_fd, struct tn_error *why)
{
    struct tn_broker *broker = link->object.broker;
    const struct tn_prog *prog = link->prog;
    const struct tn_perf *perf = tn_link_perf(link);
    struct tn_facts facts = prog->verdict.facts;
    _free_ struct tn_install_map *maps = calloc(prog->nused + 1, sizeof(*maps));
    u32 nmaps = prog->nused;
    _free_ struct tn_attach_spec *spec = calloc(1, sizeof(*spec));

    if (!maps || !spec)
        return -ENOMEM;
    if (!perf)
        return -ENOENT;
    for (u32 i = 0; i < prog->nused; i++) {
        const struct tn_bmap *map = prog->maps[i];

        maps[i] = (struct tn_install_map){
            /* The sealed copy is another map to a process that has the writable one already: the verifier
               believed what is in the copy. */
            .id = map->object.id | (map->snapshot >= 0 ? SNAPSHOT_ID : 0),
            .fd = map->snapshot >= 0 ? map->snapshot : map->memfd,
            .geo = map->view.geo,
        };
    }
    if (prints(prog)) {
        int r = broker->trace ? 0 : tn_trace_new(broker->ncpu, &broker->trace);

        if (r)
            return tn_fail(why, r, "trace_memory", "no shared memory for what programs print: %s",
                           strerror(-r));
        maps[nmaps++] = (struct tn_install_map){
            .id = TN_TRACE_MAP_ID, .fd = broker->trace->memfd, .geo = broker->trace->map.geo};
    }
    spec->pid = pid;
    spec->link_index = link->index;
    spec->exit = perf->exit;
    spec->session = perf->session;
    spec->others = perf->others;
    spec->nothers = perf->nothers;
    spec->syscall = perf->call;
    spec->nr = perf->nr;
    spec->follow = link->follow;
    spec->some = link->some && perf->nothers;
    spec->place = (struct tn_attach_place){perf->offset, perf->ref_ctr, link->cookie};
    snprintf(spec->path, sizeof(spec->path), "%s", perf->path);
    spec->dev = perf->dev;
    spec->ino = perf->ino;
    spec->wait_ms = wait_ms;
    spec->crew = link->crew;
    spec->typed = link->words;
    spec->args = link->args;
    spec->replace = tn_prog_replaces(prog);
    if (spec->typed && facts.walks) {
        facts.ctx_read[0] |= 1ull << spec->args.nwords;
        spec->args.from[spec->args.nwords++] = TN_FROM_REGS;
    }
    spec->prog = (struct tn_install){
        .prog_id = prog->object.id,
        .text = prog->text,
        .text_len = prog->code.text_len,
        .entry = prog->code.entry,
        .pool_size = prog->code.pool_size,
        .stack = prog->code.stack,
        .footprint = prog->code.footprint,
        .pool = prog->code.pool,
        .npool = prog->code.npool,
        .maps = maps,
        .nmaps = nmaps,
        .facts = &facts,
    };
    return tn_inject_attach(broker->inject, spec, ret_fd, why);
}

/* A job that gave no answer in time: its descriptor is waited for without anybody,
   so that nothing is left. */
struct straggler {
    struct tn_broker *broker;
    int fd;
};

static void straggler_main(void *arg)
{
    struct straggler *straggler = arg;
    struct tn_attach_result *result = calloc(1, sizeof(*result));

    if (result && !tn_loop_wait(straggler->broker->loop, straggler->fd, EPOLLIN, -1))
        (void)tn_inject_finish(straggler->broker->inject, straggler->fd, result);
    free(result);
    free(straggler);
}

void tn_job_abandon(struct tn_broker *broker, int fd)
{
    struct straggler *straggler = calloc(1, sizeof(*straggler));

    if (!straggler)
        return;
    *straggler = (struct straggler){broker, fd};
    if (tn_loop_spawn(broker->loop, straggler_main, straggler))
        free(straggler);
}

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

/* The process's row, new unless it was there before (an exec has made it another). */
static int note_target(struct tn_link *link, pid_t pid, u64 code, const struct tn_attach_result *result)
{
    struct tn_target *target = NULL;

    for (u32 i = 0; i < link->ntargets && !target; i++)
        if (link->targets[i].pid == pid || (link->all && link->targets[i].ended))
            target = &link->targets[i];
    if (!target) {
        target = reallocarray(link->targets, link->ntargets + 1, sizeof(*target));
        if (!target)
            return -ENOMEM;
        link->targets = target;
        target = &link->targets[link->ntargets++];
    }
    *target = (struct tn_target){
        .pid = pid,
        .address = result->address,
        .hold_ns_max = result->hold_ns_max,
        .total_ns = result->total_ns,
        .symbol_offset = result->symbol_offset,
        .places = result->places,
        .left = result->left,
        .code = code,
    };
    memcpy(target->left_why, result->left_why, sizeof(target->left_why));
    target->left_why[sizeof(target->left_why) - 1] = '\0';
    memcpy(target->tactic, result->tactic, sizeof(target->tactic));
    memcpy(target->symbol, result->symbol, sizeof(target->symbol));
    target->tactic[sizeof(target->tactic) - 1] = target->symbol[sizeof(target->symbol) - 1] = '\0';
    return 0;
}

static int detach_one(struct tn_broker *broker, pid_t pid, u32 index, u32 wait_ms, struct tn_error *why);

int tn_link_enter(struct tn_broker *broker, struct tn_link *link, pid_t pid, u32 wait_ms,
                  struct tn_error *why)
{
    _free_ struct tn_attach_result *result = calloc(1, sizeof(*result));
    const struct tn_perf *perf = tn_link_perf(link);
    const u64 code = perf && perf->call ? tn_loads_code(pid) : 0;
    u32 id = link->object.id, index = link->index;
    int fd, r = result ? start_job(link, pid, wait_ms, &fd, why) : -ENOMEM;

    if (r)
        return r;
    broker->entering[index]++;
    broker->njobs++;
    r = tn_loop_wait(broker->loop, fd, EPOLLIN, JOB_MS);
    link = (struct tn_link *)tn_object_by_id(broker, TN_KIND_LINK, id);
    if (r) {
        if (link)
            link->doubtful = true;
        tn_job_abandon(broker, fd);
        (void)tn_fail(why, r, "injector_stuck", "the injector for process %d gave no answer", pid);
    } else {
        r = tn_inject_finish(broker->inject, fd, result);
    }
    if (!r && result->err) {
        *why = result->why;
        r = result->err;
    }
    if (!r && (!link || link->detached)) {
        /* Nobody has it any more: it is out of this one process after the others. */
        r = detach_one(broker, pid, index, TN_CTL_DETACH_MS, why) ? -ENOTRECOVERABLE : -ECANCELED;
    } else if (!r) {
        r = note_target(link, pid, code, result);
    }
    if (result->inherited > 0)
        bring_inherited(broker, pid, result->inherited);
    /* Where it might still be, its index stays out of use. */
    broker->entering[index] -= r != -ENOTRECOVERABLE;
    broker->njobs--;
    return r;
}

/* Several processes at a time. */
struct gang {
    struct tn_broker *broker;
    struct tn_link *link;
    const pid_t *pids;
    u32 next, count, wait_ms, working, entered;
    int done; /* eventfd */
    int failed;
    struct tn_error *why; /* of the first failure */
};

static void gang_main(void *arg)
{
    struct gang *gang = arg;

    while (gang->next < gang->count) {
        struct tn_error why = {0};
        pid_t pid = gang->pids[gang->next++];
        int r;

        if (tn_later_brings(gang->broker, gang->link, pid))
            continue;
        r = tn_link_enter(gang->broker, gang->link, pid, gang->wait_ms, &why);

        gang->entered += !r;
        if (r && !gang->failed) {
            gang->failed = r;
            *gang->why = why;
        }
    }
    if (--gang->working == 0)
        (void)!write(gang->done, &(u64){1}, sizeof(u64));
}

u32 tn_link_enter_all(struct tn_broker *broker, struct tn_link *link, const pid_t *pids, u32 count,
                      u32 wait_ms, int *ret_failed, struct tn_error *why)
{
    struct gang gang = {
        .broker = broker, .link = link, .pids = pids, .count = count, .wait_ms = wait_ms, .why = why};
    _close_ int done = count > 1 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    u32 crew = 0;

    gang.done = done;
    gang.working = 1; /* this fiber */
    if (count > GANG_MAX && !link->crew)
        link->crew = crew = ++broker->ncrews;
    for (u32 i = 1; done >= 0 && i < TN_MIN(count, GANG_MAX); i++) {
        gang.working++;
        if (tn_loop_spawn(broker->loop, gang_main, &gang))
            gang.working--;
    }
    gang_main(&gang);
    while (gang.working)
        (void)tn_loop_wait(broker->loop, done, EPOLLIN, -1);
    if (crew) {
        tn_inject_disband(broker->inject, crew);
        link->crew = 0;
    }
    *ret_failed = gang.failed;
    return gang.entered;
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

/* ------------------------------------------------------------------------------------------------- detach */

/* What is left to do for a link that is gone: this outlives it. */
struct farewell {
    struct tn_broker *broker;
    bool doubtful, follow;
    u32 index, wait_ms, count;
    pid_t pids[];
};

static int detach_once(struct tn_broker *broker, pid_t pid, u32 index, u32 wait_ms, struct tn_error *why)
{
    _free_ struct tn_attach_result *result = calloc(1, sizeof(*result));
    int fd, r;

    if (!result)
        return -ENOMEM;
    r = tn_inject_detach(broker->inject, pid, index, wait_ms, &fd, why);
    if (r)
        return r == -ESRCH ? 0 : r;
    r = tn_loop_wait(broker->loop, fd, EPOLLIN, JOB_MS);
    if (r)
        tn_job_abandon(broker, fd);
    else
        r = tn_inject_finish(broker->inject, fd, result);
    if (!r && result->err) {
        *why = result->why;
        r = result->err;
    }
    /* It has ended, or an exec or dlclose has thrown the link away. */
    return r == -ESRCH || r == -ENOENT ? 0 : r;
}

static int detach_one(struct tn_broker *broker, pid_t pid, u32 index, u32 wait_ms, struct tn_error *why)
{
    int r = detach_once(broker, pid, index, wait_ms, why);

    /* Who was at it has been killed: others put that right, and are asked whether it is gone. */
    return r == -EINTR ? detach_once(broker, pid, index, wait_ms, why) : r;
}

/* Who is about to enter a process finds out afterwards, and undoes it. */
static bool wait_for_entering(struct tn_broker *broker, u32 index)
{
    for (u32 ms = 0; broker->entering[index]; ms += 5) {
        if (ms >= 2 * JOB_MS)
            return false;
        (void)tn_loop_wait(broker->loop, -1, 0, 5);
    }
    return true;
}

/* -------------------------------------------------------------------------------------- what children have */

static bool any_follows(const struct tn_broker *broker)
{
    const struct tn_table *links = &broker->table[TN_KIND_LINK];

    for (u32 i = 0; i < links->count; i++) {
        const struct tn_link *link = (const struct tn_link *)links->slot[i];

        if (link->follow && !link->detached)
            return true;
    }
    return false;
}

static void take_back(struct tn_broker *broker, pid_t pid)
{
    _free_ struct tn_attach_spec *spec = calloc(1, sizeof(*spec));
    _free_ struct tn_attach_result *result = calloc(1, sizeof(*result));
    struct tn_error why = {0};
    int fd;

    if (!spec || !result)
        return;
    spec->pid = pid;
    spec->take_only = true;
    if (tn_inject_attach(broker->inject, spec, &fd, &why))
        return;
    if (tn_loop_wait(broker->loop, fd, EPOLLIN, JOB_MS))
        tn_job_abandon(broker, fd);
    else
        (void)tn_inject_finish(broker->inject, fd, result);
    tn_inject_leave(broker->inject, pid);
}

static bool left_alone(pid_t pid, const void *inject)
{
    return tn_inject_marked(pid) && !tn_inject_knows(inject, pid);
}

/* Fork children that were never entered have their parents' bytes, behind gates that are closed: once no link follows
   any more, nothing there is of use to anybody. */
static void take_back_children(struct tn_broker *broker)
{
    _free_ pid_t *pids = NULL;
    u32 count = 0;

    if (any_follows(broker) || pids_where(left_alone, broker->inject, &pids, &count))
        return;
    for (u32 i = 0; i < count && !any_follows(broker); i++)
        take_back(broker, pids[i]);
}

static void farewell_main(void *arg)
{
    struct farewell *farewell = arg;
    bool out = !farewell->doubtful;

    for (u32 i = 0; i < farewell->count; i++) {
        struct tn_error why = {0};

        if (detach_one(farewell->broker, farewell->pids[i], farewell->index, farewell->wait_ms, &why))
            out = false;
    }
    /* A process that would not let go keeps the index out of use; its gate stays closed. */
    if (wait_for_entering(farewell->broker, farewell->index) && out)
        index_put(farewell->broker, farewell->index);
    if (farewell->follow)
        take_back_children(farewell->broker);
    farewell->broker->njobs--;
    free(farewell);
}

void tn_link_detach(struct tn_link *link, u32 wait_ms)
{
    struct tn_broker *broker = link->object.broker;
    struct farewell *farewell;

    if (link->detached)
        return;
    tn_link_gate(link, false);
    tn_later_unwatch(broker, link);
    link->detached = true;
    farewell = calloc(1, sizeof(*farewell) + link->ntargets * sizeof(pid_t));
    if (!farewell)
        return; /* the gate is closed; the index stays taken */
    farewell->broker = broker;
    farewell->index = link->index;
    farewell->doubtful = link->doubtful;
    farewell->follow = link->follow;
    farewell->wait_ms = wait_ms;
    for (u32 i = 0; i < link->ntargets; i++)
        if (!link->targets[i].ended)
            farewell->pids[farewell->count++] = link->targets[i].pid;
    broker->njobs++;
    if (tn_loop_spawn(broker->loop, farewell_main, farewell)) {
        broker->njobs--;
        free(farewell);
    }
}

int tn_link_detach_wait(struct tn_caller *caller, struct tn_link *link, u32 wait_ms)
{
    int r = 0;

    if (link->detached)
        return -ENOENT;
    tn_link_gate(link, false);
    tn_later_unwatch(caller->broker, link);
    link->detached = true;
    for (u32 i = 0; i < link->ntargets; i++) {
        struct tn_error why = {0};
        int one = link->targets[i].ended
                      ? 0
                      : detach_one(caller->broker, link->targets[i].pid, link->index, wait_ms, &why);

        if (one && !r) {
            r = one;
            caller->why = why;
        }
    }
    if (wait_for_entering(caller->broker, link->index) && !r && !link->doubtful)
        index_put(caller->broker, link->index);
    if (link->follow)
        take_back_children(caller->broker);
    return r;
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
        index_put(broker, index);
        free(TN_TAKE_PTR(link));
        return -ENOMEM;
    }
    link->object.release = link_gone;
    r = tn_object_add(broker, &link->object, TN_KIND_LINK, caller->uid);
    if (r) {
        index_put(broker, index);
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
        if (!pids_add(ret_pids, ret_count, pid[i]))
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
