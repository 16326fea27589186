/* SPDX-License-Identifier: MIT */
/*
 * How a link comes into a process and out of it again: a job of the injector's each, waited for in a fiber.
 *
 *   enter    one process after the other, or several at a time. Whoever enters while the link is detached finds
 *            out afterwards, and takes it out of this one process
 *   detach   the gate is closed first; what is left to do then is a farewell, which outlives the link
 *
 * A job that gives no answer in time is abandoned, and its link is doubtful from then on. Where a hook might still
 * be, the index stays out of use.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "broker/broker_int.h"
#include "broker/pids.h"
#include "inject/proc.h"

/* Identifiers of objects are below this. */
#define SNAPSHOT_ID 0x80000000u
/* The injector bounds its own work; this is for one that does not. */
#define JOB_MS      60000
#define GANG_MAX    4u /* processes entered at once */
#define AGAIN_MS    2  /* after an exec: the loader is on its way */

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

/* --------------------------------------------------------------------------------------------------- enter */

static bool prints(const struct tn_prog *prog)
{
    const u32 id = TN_HELPER_trace_printk;

    return prog->verdict.facts.helpers[id / 64] >> (id % 64) & 1;
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
        .by = result->by,
        .code = code,
    };
    tn_tally_end(&target->by);
    memcpy(target->left_why, result->left_why, sizeof(target->left_why));
    target->left_why[sizeof(target->left_why) - 1] = '\0';
    memcpy(target->tactic, result->tactic, sizeof(target->tactic));
    memcpy(target->symbol, result->symbol, sizeof(target->symbol));
    target->tactic[sizeof(target->tactic) - 1] = target->symbol[sizeof(target->symbol) - 1] = '\0';
    return 0;
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

/* Once. *ret_refused: the job has ended, and with a failure. */
static int enter(struct tn_broker *broker, struct tn_link *link, pid_t pid, u32 wait_ms, bool *ret_refused,
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
        *ret_refused = true;
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

/* A process as it is before it is entered. */
struct before {
    int mem; /* its memory, which an exec takes away: what is read there then is nothing, where it was an error */
    u64 started;
    struct stat exe;
};

static void look_before(pid_t pid, struct before *ret)
{
    char path[64];

    *ret = (struct before){.mem = -1, .started = tn_proc_start_time(pid)};
    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    ret->mem = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (stat(path, &ret->exe) < 0)
        ret->exe = (struct stat){};
}

/* Has it executed something since? *ret_other: another program. */
static bool has_executed(pid_t pid, const struct before *before, bool *ret_other)
{
    struct stat exe = {};
    char byte, path[64];

    if (before->mem < 0 || pread(before->mem, &byte, 1, 0) != 0 || !tn_proc_lives(pid, before->started))
        return false;
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    if (stat(path, &exe) < 0)
        exe = (struct stat){};
    *ret_other = !exe.st_ino || exe.st_ino != before->exe.st_ino || exe.st_dev != before->exe.st_dev;
    return true;
}

/*
 * A process that executes a program while it is entered loses what the job was at, and the job fails in as many ways as it has
 * steps. Where it is the same program again, for which all was asked, it is entered anew, for as long as a thread would be
 * waited for; another program is for who asks again.
 */
int tn_link_enter(struct tn_broker *broker, struct tn_link *link, pid_t pid, u32 wait_ms,
                  struct tn_error *why)
{
    const u64 until = tn_now_ns() + wait_ms * 1000000ull;
    const u32 id = link->object.id;

    for (;;) {
        bool refused = false, other = false, executed;
        struct before before;
        int r;

        look_before(pid, &before);
        r = enter(broker, link, pid, wait_ms, &refused, why);
        executed = refused && has_executed(pid, &before, &other);
        if (before.mem >= 0)
            close(before.mem);
        if (!executed)
            return r;
        if (other || tn_now_ns() >= until) {
            *why = (struct tn_error){};
            return tn_fail(why, -EAGAIN, "exec_under_way",
                           other ? "process %d executed another program while it was entered: try again"
                                 : "process %d executes its program again and again, faster than it can be "
                                   "entered: try again",
                           pid);
        }
        *why = (struct tn_error){};
        (void)tn_loop_wait(broker->loop, -1, 0, AGAIN_MS);
        link = (struct tn_link *)tn_object_by_id(broker, TN_KIND_LINK, id);
        if (!link || link->detached)
            return -ECANCELED;
    }
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

/* -------------------------------------------------------------------------------------------------- detach */

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

    if (any_follows(broker) || tn_pids_where(left_alone, broker->inject, &pids, &count))
        return;
    for (u32 i = 0; i < count && !any_follows(broker); i++)
        take_back(broker, pids[i]);
}

/* What is left to do for a link that is gone: this outlives it. */
struct farewell {
    struct tn_broker *broker;
    bool doubtful, follow;
    u32 index, wait_ms, count;
    pid_t pids[];
};

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
        tn_link_index_put(farewell->broker, farewell->index);
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
        tn_link_index_put(caller->broker, link->index);
    if (link->follow)
        take_back_children(caller->broker);
    return r;
}
