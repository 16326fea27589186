/* SPDX-License-Identifier: MIT */
/*
 * The broker's side: which targets there are, and which jobs are under way. Nothing here waits for a target;
 * a job is a process (or a task of a guardian) and a pipe in which its outcome will be.
 *
 * Guardians are children of the broker, and so are injectors. A guardian that ends although its target lives
 * was killed: the state of the target is in memory the broker has too, so another one takes its place.
 *
 * An injector is a copy of the broker, made for one job: it knows all that the job needs, and what it does in its memory
 * concerns nobody else. Where many processes are entered in the same way (a crew), making and unmaking that copy costs more than
 * the job, so an injector that is done waits for the next of them.
 */
#include "inject/inject.h"
#include "agent/agent.h"
#include "agent/image.h"
#include "inject/order.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct target {
    pid_t pid, guardian;
    u64 start;
    bool held; /* from hold or catch until release */
    int sock, state_fd;
    struct target *next;
};

struct job {
    int fd;         /* read end of the outcome */
    pid_t injector; /* 0: a task of the guardian */
    int next_job;   /* where an injector of a crew is told of the next one; −1: of none */
    u32 crew;
    pid_t pid;
    u32 link_index;
    u64 start_ns;
    struct job *next;
};

/* An injector of a crew that waits for a job. */
struct idle {
    pid_t pid;
    int sock;
    u32 crew;
    struct idle *next;
};

/* What it is told then; with the sockets of job and outcome. */
struct next_job {
    s32 pid;
    u32 wait_ms;
};

struct tn_inject {
    struct tn_shared shared;
    int agent, epoll;
    u64 start; /* of this broker */
    struct target *targets;
    struct job *jobs;
    struct idle *idle;
    struct tn_plans cache;
    u32 nleaving; /* injectors that have told their outcome and end by themselves */
};

#define CACHE_MAX (32u << 20) /* bytes */
#define PLANS_MAX (16u << 20) /* bytes of new plans that one injector has to tell */

/* The agent's image, once for all targets. */
static int make_agent(int *ret_fd)
{
    struct tn_agent_layout lay;
    _close_ int fd = -1;
    int r = tn_agent_layout(&lay, NULL);

    if (r < 0)
        return r;
    fd = memfd_create("tenon-agent", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)lay.size) < 0)
        return -errno;
    for (u32 i = 0; i < lay.nsegments; i++)
        if (pwrite(fd, lay.segment[i].bytes, lay.segment[i].file_size, (off_t)lay.segment[i].vaddr) !=
            (ssize_t)lay.segment[i].file_size)
            return -EIO;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = TN_TAKE_FD(fd);
    return 0;
}

struct tn_inject *tn_inject_new(const struct tn_shared *shared)
{
    struct tn_inject *inj = calloc(1, sizeof(*inj));

    if (!inj)
        return NULL;
    inj->shared = *shared;
    inj->agent = -1;
    inj->start = tn_proc_start_time(getpid());
    inj->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (inj->epoll < 0 || make_agent(&inj->agent) < 0) {
        tn_inject_free(inj);
        return NULL;
    }
    return inj;
}

/* Closing alone is not enough: a process forked a moment ago may still have the same socket, and for so long
   epoll would go on to report it, with a pointer to what has been freed. */
static void hang_up(struct tn_inject *inj, struct target *t)
{
    if (t->sock < 0)
        return;
    epoll_ctl(inj->epoll, EPOLL_CTL_DEL, t->sock, NULL);
    close(t->sock);
    t->sock = -1;
}

static void drop_target(struct tn_inject *inj, struct target *t)
{
    for (struct target **at = &inj->targets; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    hang_up(inj, t);
    if (t->state_fd >= 0)
        close(t->state_fd);
    free(t);
}

static void drop_job(struct tn_inject *inj, struct job *j)
{
    for (struct job **at = &inj->jobs; *at; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            break;
        }
    close(j->fd);
    if (j->next_job >= 0)
        close(j->next_job);
    free(j);
}

/* An injector that has told its outcome is not waited for: its end is an event like any other. Told apart
   from a target by the lowest bit. */
static void reap_later(struct tn_inject *inj, pid_t pid)
{
    _close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (u64)(u32)pidfd << 32 | (u64)pid << 1 | 1};

    if (pidfd < 0 || epoll_ctl(inj->epoll, EPOLL_CTL_ADD, pidfd, &ev) < 0) {
        waitpid(pid, NULL, 0);
        return;
    }
    inj->nleaving++;
    TN_TAKE_FD(pidfd);
}

static bool reap(struct tn_inject *inj, const struct epoll_event *ev)
{
    if (!(ev->data.u64 & 1))
        return false;
    waitpid((pid_t)((u32)ev->data.u64 >> 1), NULL, 0);
    epoll_ctl(inj->epoll, EPOLL_CTL_DEL, (int)(ev->data.u64 >> 32), NULL); /* as in hang_up */
    close((int)(ev->data.u64 >> 32));
    inj->nleaving--;
    return true;
}

static void send_home(struct tn_inject *inj, struct idle **at)
{
    struct idle *gone = *at;

    *at = gone->next;
    close(gone->sock);
    kill(gone->pid, SIGKILL); /* its socket may have been copied */
    reap_later(inj, gone->pid);
    free(gone);
}

void tn_inject_disband(struct tn_inject *inj, u32 crew)
{
    for (struct idle **at = &inj->idle; *at;)
        if ((*at)->crew == crew)
            send_home(inj, at);
        else
            at = &(*at)->next;
    for (struct job *j = inj->jobs; j; j = j->next)
        if (j->crew == crew)
            j->crew = 0; /* whoever is still at work has nothing to wait for */
}

void tn_inject_free(struct tn_inject *inj)
{
    struct epoll_event ev;

    if (!inj)
        return;
    while (inj->jobs) {
        if (inj->jobs->injector) {
            kill(inj->jobs->injector, SIGKILL);
            waitpid(inj->jobs->injector, NULL, 0);
        }
        drop_job(inj, inj->jobs);
    }
    while (inj->idle)
        send_home(inj, &inj->idle);
    while (inj->nleaving && epoll_wait(inj->epoll, &ev, 1, 1000) == 1)
        if (!reap(inj, &ev))
            epoll_ctl(inj->epoll, EPOLL_CTL_DEL, ((struct target *)ev.data.ptr)->sock, NULL);
    /* Hanging up makes each guardian give its target back; it is waited for, so that it leaves no zombie. */
    for (struct target *t = inj->targets; t; t = t->next)
        hang_up(inj, t);
    while (inj->targets) {
        waitpid(inj->targets->guardian, NULL, 0);
        drop_target(inj, inj->targets);
    }
    tn_plans_clear(&inj->cache);
    if (inj->agent >= 0)
        close(inj->agent);
    if (inj->epoll >= 0)
        close(inj->epoll);
    free(inj);
}

/* ----------------------------------------------------------------------------- guardians */

static int spawn_guardian(struct tn_inject *inj, struct target *t)
{
    struct epoll_event ev = {.events = EPOLLRDHUP, .data.ptr = t};
    _close_ int pidfd = -1;
    int sv[2];
    pid_t pid;

    pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
    if (pidfd < 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
        return -errno;
    struct tn_guardian g = {.pid = t->pid,
                            .broker = sv[1],
                            .gates = inj->shared.gates,
                            .state_fd = t->state_fd,
                            .pidfd = pidfd,
                            .broker_pid = getpid(),
                            .broker_start = inj->start,
                            .ncpu = inj->shared.ncpu};

    pid = fork();
    if (pid == 0)
        tn_guardian_run(&g);
    close(sv[1]);
    if (pid < 0) {
        int r = -errno;

        close(sv[0]);
        return r;
    }
    t->guardian = pid;
    t->sock = sv[0];
    if (epoll_ctl(inj->epoll, EPOLL_CTL_ADD, t->sock, &ev) < 0)
        return -errno;
    return 0;
}

static struct target *find_target(const struct tn_inject *inj, pid_t pid)
{
    for (struct target *t = inj->targets; t; t = t->next)
        if (t->pid == pid)
            return t;
    return NULL;
}

bool tn_inject_knows(const struct tn_inject *inj, pid_t pid)
{
    const struct target *t = find_target(inj, pid);

    return t && t->start == tn_proc_start_time(pid);
}

bool tn_inject_marked(pid_t pid)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};

    if (tn_maps_read(pid, &maps) < 0)
        return false;
    for (u32 i = 0; i < maps.n; i++)
        if (tn_is_marker(&maps, &maps.vma[i]))
            return true;
    return false;
}

void tn_inject_leave(struct tn_inject *inj, pid_t pid)
{
    struct target *t = find_target(inj, pid);

    if (!t)
        return;
    hang_up(inj, t); /* it gives back what there is, and ends */
    reap_later(inj, t->guardian);
    drop_target(inj, t);
}

static int target_for(struct tn_inject *inj, pid_t pid, struct target **ret, struct tn_error *err)
{
    u64 start = pid > 0 ? tn_proc_start_time(pid) : 0;
    struct target *t = find_target(inj, pid);
    struct tn_state *st;
    struct tn_status status;
    int r;

    if (!start || tn_status_read(pid, pid, &status) < 0)
        return tn_fail(err, -ESRCH, "no_such_process", "there is no process %d", pid);
    if (status.tgid != pid)
        return tn_fail(err, -ESRCH, "no_such_process", "%d is a thread of process %d: name the process", pid,
                       status.tgid);
    if (t && t->start == start) {
        *ret = t;
        return 0;
    }
    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    *t = (struct target){.pid = pid, .start = start, .sock = -1, .state_fd = -1};
    t->next = inj->targets;
    inj->targets = t;
    t->state_fd = memfd_create("tenon-state", MFD_CLOEXEC);
    if (t->state_fd < 0 || ftruncate(t->state_fd, sizeof(struct tn_state)) < 0) {
        r = tn_fail(err, -errno, "no_memfd", "cannot make memory to share: %s", strerror(errno));
        goto fail;
    }
    st = mmap(NULL, sizeof(*st), PROT_READ | PROT_WRITE, MAP_SHARED, t->state_fd, 0);
    if (st == MAP_FAILED) {
        r = -errno;
        goto fail;
    }
    st->pid = pid;
    st->start_time = start;
    munmap(st, sizeof(*st));
    r = spawn_guardian(inj, t);
    if (r < 0) {
        r = tn_fail(err, r, r == -ESRCH || r == -EINVAL ? "no_such_process" : "no_guardian",
                    "cannot start a guardian for process %d: %s", pid, strerror(-r));
        goto fail;
    }
    *ret = t;
    return 0;
fail:
    drop_target(inj, t);
    return r;
}

static int tell(struct tn_inject *inj, struct target *t, const struct tn_task *task, int fd,
                struct tn_error *err)
{
    ssize_t n = tn_send(t->sock, task, sizeof(*task), NULL, 0, &fd, fd >= 0);

    if (n == -EPIPE || n == -ECONNRESET) {
        /* The guardian has ended, and nobody has looked at the event yet: with its target, which is then told, or
           killed, and another one takes its place. */
        struct target old = *t;

        n = tn_proc_lives(t->pid, t->start) ? spawn_guardian(inj, t) : -ESRCH;
        if (n == 0) {
            waitpid(old.guardian, NULL, 0);
            hang_up(inj, &old);
            n = tn_send(t->sock, task, sizeof(*task), NULL, 0, &fd, fd >= 0);
        }
    }
    return n < 0 ? tn_fail(err, (int)n, "no_such_process", "process %d cannot be reached: %s", t->pid,
                           strerror((int)-n))
                 : 0;
}

int tn_inject_event_fd(const struct tn_inject *inj)
{
    return inj->epoll;
}

int tn_inject_event(struct tn_inject *inj, pid_t *ret_pid)
{
    struct epoll_event ev;

    while (epoll_wait(inj->epoll, &ev, 1, 0) == 1) {
        struct target *t = ev.data.ptr;

        if (reap(inj, &ev))
            continue;
        pid_t pid = t->pid;

        waitpid(t->guardian, NULL, 0);
        hang_up(inj, t);
        if (tn_proc_lives(pid, t->start) && spawn_guardian(inj, t) == 0)
            continue; /* killed: the target has a guardian again */
        drop_target(inj, t);
        *ret_pid = pid;
        return 0;
    }
    return -EAGAIN;
}

/* ---------------------------------------------------------------------------------- jobs */

static int new_job(struct tn_inject *inj, pid_t pid, u32 link_index, int *ret_write, struct job **ret)
{
    struct job *j = calloc(1, sizeof(*j));
    int p[2];

    if (!j)
        return -ENOMEM;
    if (pipe2(p, O_CLOEXEC) < 0) {
        free(j);
        return -errno;
    }
    *j = (struct job){.fd = p[0],
                      .next_job = -1,
                      .pid = pid,
                      .link_index = link_index,
                      .start_ns = tn_monotonic(),
                      .next = inj->jobs};
    inj->jobs = j;
    *ret_write = p[1];
    *ret = j;
    return 0;
}

/* The outcome, and what was planned for it, which is known here from then on as it is in the broker. */
static void tell_outcome(struct tn_inject *inj, struct tn_brain *b, const struct tn_attach_result *res,
                         int out)
{
    FILE *f = fdopen(out, "w");
    u64 more = 0;

    if (!f)
        _exit(1);
    tn_plans_trim(&b->fresh, PLANS_MAX);
    for (u32 i = 0; i < b->fresh.n; i++)
        more += tn_planned_size(b->fresh.plan[i]);
    fwrite(res, sizeof(*res), 1, f);
    fwrite(&more, sizeof(more), 1, f);
    for (u32 i = 0; i < b->fresh.n; i++)
        fwrite(b->fresh.plan[i], tn_planned_size(b->fresh.plan[i]), 1, f);
    fclose(f);
    while (b->fresh.n)
        (void)tn_plans_add(&inj->cache, b->fresh.plan[--b->fresh.n]);
    tn_plans_clear(&b->fresh);
}

static void run_injector(struct tn_inject *inj, const struct tn_attach_spec *spec, int job_sock, int out,
                         int next_sock) __attribute__((noreturn));
static void run_injector(struct tn_inject *inj, const struct tn_attach_spec *given, int job_sock, int out,
                         int next_sock)
{
    struct tn_attach_spec *spec = malloc(sizeof(*spec));
    struct tn_attach_result *res = malloc(sizeof(*res));
    struct tn_brain b = {
        .shared = &inj->shared, .spec = spec, .agent = inj->agent, .job = job_sock, .cache = &inj->cache};
    struct next_job next;
    sigset_t none;

    prctl(PR_SET_NAME, "tenon-inject");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (struct target *t = inj->targets; t; t = t->next)
        close(t->sock); /* else no guardian would see the broker go */
    if (!res || !spec)
        _exit(1);
    *spec = *given;
    for (;;) {
        int fds[TN_FDS_MAX];
        u32 nfds = 0;

        memset(res, 0, sizeof(*res));
        tn_brain_attach(&b, res);
        close(b.job);
        tell_outcome(inj, &b, res, out);
        if (next_sock < 0 || tn_recv(next_sock, &next, sizeof(next), fds, &nfds) != sizeof(next) || nfds != 2)
            _exit(0);
        spec->pid = next.pid;
        spec->wait_ms = next.wait_ms;
        b.job = fds[0];
        out = fds[1];
        if (inj->cache.bytes > CACHE_MAX)
            tn_plans_trim(&inj->cache, CACHE_MAX / 4 * 3);
    }
}

/* One that waits for just such a job, or a new one. */
static int give_to_injector(struct tn_inject *inj, struct job *j, const struct tn_attach_spec *spec,
                            const int sv[2], int out, struct tn_error *err)
{
    struct next_job next = {.pid = spec->pid, .wait_ms = spec->wait_ms};
    const int fds[2] = {sv[0], out};
    int ways[2] = {-1, -1};

    for (struct idle **at = &inj->idle; spec->crew && *at;) {
        struct idle *idle = *at;

        if (idle->crew != spec->crew) {
            at = &idle->next;
            continue;
        }
        if (tn_send(idle->sock, &next, sizeof(next), NULL, 0, fds, 2) < 0) {
            send_home(inj, at); /* it was killed */
            continue;
        }
        *at = idle->next;
        j->injector = idle->pid;
        j->next_job = idle->sock;
        j->crew = spec->crew;
        free(idle);
        return 0;
    }
    if (spec->crew && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ways) < 0)
        ways[0] = ways[1] = -1; /* it does this one, then */
    j->injector = fork();
    if (j->injector == 0) {
        close(sv[1]); /* else it would never see the guardian hang up */
        if (ways[0] >= 0)
            close(ways[0]);
        run_injector(inj, spec, sv[0], out, ways[1]);
    }
    if (ways[1] >= 0)
        close(ways[1]);
    j->next_job = ways[0];
    j->crew = ways[0] >= 0 ? spec->crew : 0;
    return j->injector < 0
               ? tn_fail(err, -errno, "no_process", "cannot start an injector: %s", strerror(errno))
               : 0;
}

int tn_inject_attach(struct tn_inject *inj, const struct tn_attach_spec *spec, int *ret_fd,
                     struct tn_error *err)
{
    struct target *t;
    struct job *j = NULL;
    int sv[2], out = -1, r = target_for(inj, spec->pid, &t, err);

    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
        return tn_fail(err, -errno, "no_descriptors", "the broker has no descriptor left: %s",
                       strerror(errno));
    r = new_job(inj, spec->pid, spec->link_index, &out, &j);
    if (r < 0)
        goto no_job;
    r = tell(inj, t, &(struct tn_task){.op = TN_TASK_JOB}, sv[1], err);
    if (r == 0)
        r = give_to_injector(inj, j, spec, sv, out, err);
    close(out);
    if (r < 0) {
        j->injector = 0;
        drop_job(inj, j);
        goto no_job;
    }
    *ret_fd = j->fd;
no_job:
    close(sv[0]);
    close(sv[1]);
    return r;
}

/* The job is done, or its injector was killed. */
static void part_from_injector(struct tn_inject *inj, struct job *j, bool done)
{
    struct idle *idle = j->crew && done ? malloc(sizeof(*idle)) : NULL;

    if (idle) {
        *idle = (struct idle){.pid = j->injector, .sock = j->next_job, .crew = j->crew, .next = inj->idle};
        inj->idle = idle;
        j->next_job = -1;
        return;
    }
    if (j->next_job >= 0)
        kill(j->injector, SIGKILL);
    reap_later(inj, j->injector);
}

static void keep_plan(struct tn_inject *inj, const u8 *bytes, size_t len)
{
    struct tn_planned head, *p;

    if (len < sizeof(head))
        return;
    memcpy(&head, bytes, sizeof(head));
    if (head.npatches > TN_PLANNED_MAX || len < tn_planned_size(&head))
        return;
    p = malloc(tn_planned_size(&head));
    if (!p)
        return;
    memcpy(p, bytes, tn_planned_size(&head));
    p->symbol[sizeof(p->symbol) - 1] = p->tactic[sizeof(p->tactic) - 1] = '\0';
    if (inj->cache.bytes > CACHE_MAX)
        tn_plans_trim(&inj->cache, CACHE_MAX / 4 * 3);
    (void)tn_plans_add(&inj->cache, p);
}

int tn_inject_finish(struct tn_inject *inj, int fd, struct tn_attach_result *ret)
{
    struct job *j = inj->jobs;
    _free_ u8 *bytes = NULL;
    size_t len = 0, cap = sizeof(*ret) + sizeof(u64), want;
    u64 more;
    ssize_t n;

    while (j && j->fd != fd)
        j = j->next;
    if (!j)
        return -EINVAL;
    /* A guardian tells the outcome alone; an injector goes on with the bytes of its new plans, then these. */
    want = sizeof(*ret) + (j->injector ? sizeof(u64) : 0);
    bytes = malloc(cap);
    while (bytes && len < want && (n = read(fd, bytes + len, cap - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        len += (size_t)n;
        if (j->injector && len >= sizeof(*ret) + sizeof(u64)) {
            memcpy(&more, bytes + sizeof(*ret), sizeof(more));
            want = sizeof(*ret) + sizeof(u64) + TN_MIN(more, (u64)PLANS_MAX);
        }
        if (want > cap) {
            u8 *larger = realloc(bytes, want);

            if (!larger)
                break;
            bytes = larger;
            cap = want;
        }
    }
    memset(ret, 0, sizeof(*ret));
    if (len >= sizeof(*ret)) {
        memcpy(ret, bytes, sizeof(*ret));
        for (size_t at = sizeof(*ret) + sizeof(u64); j->injector && at + sizeof(struct tn_planned) <= len;) {
            struct tn_planned head;

            memcpy(&head, bytes + at, sizeof(head));
            keep_plan(inj, bytes + at, len - at);
            at += tn_planned_size(&head);
        }
    } else if (j->injector) {
        struct target *t = find_target(inj, j->pid);

        ret->err =
            tn_fail(&ret->why, -EINTR, "injector_died",
                    "the process that entered process %d was killed; what it had done is undone", j->pid);
        /* It may have been killed after the last step: then the link is there and nobody knows it. */
        if (t)
            tell(inj, t, &(struct tn_task){.op = TN_TASK_FORGET, .a = j->link_index}, -1, NULL);
    } else if (tn_proc_start_time(j->pid)) {
        ret->err =
            tn_fail(&ret->why, -EINTR, "hands_ended",
                    "what was at work in process %d was killed; what it had to do is done by others", j->pid);
    } else {
        ret->err = tn_fail(&ret->why, -ESRCH, "no_such_process", "process %d has ended", j->pid);
    }
    if (!ret->total_ns)
        ret->total_ns = tn_monotonic() - j->start_ns;
    if (j->injector)
        part_from_injector(inj, j, len >= sizeof(*ret));
    drop_job(inj, j);
    return 0;
}

static int give_task(struct tn_inject *inj, pid_t pid, u32 link_index, const struct tn_task *task,
                     int *ret_fd, struct tn_error *err)
{
    bool holds = task->op == TN_TASK_HOLD || task->op == TN_TASK_CATCH;
    struct target *t = find_target(inj, pid);
    struct job *j = NULL;
    int out = -1, r;

    if (holds) {
        r = target_for(inj, pid, &t, err);
        if (r < 0)
            return r;
        if (t->held)
            return tn_fail(err, -EBUSY, "held_already", "process %d is held already", pid);
    }
    if (!t)
        return tn_fail(err, -ESRCH, "no_such_process", "process %d has ended or was never entered", pid);
    r = new_job(inj, pid, link_index, &out, &j);
    if (r < 0)
        return r;
    r = tell(inj, t, task, out, err);
    close(out);
    if (r < 0) {
        drop_job(inj, j);
        return r;
    }
    t->held = holds || (t->held && task->op != TN_TASK_RELEASE);
    *ret_fd = j->fd;
    return 0;
}

int tn_inject_detach(struct tn_inject *inj, pid_t pid, u32 link_index, u32 wait_ms, int *ret_fd,
                     struct tn_error *err)
{
    struct tn_task task = {.op = TN_TASK_DETACH, .a = link_index, .b = wait_ms};

    return give_task(inj, pid, link_index, &task, ret_fd, err);
}

int tn_inject_hold(struct tn_inject *inj, pid_t pid, int *ret_fd, struct tn_error *err)
{
    return give_task(inj, pid, 0, &(struct tn_task){.op = TN_TASK_HOLD}, ret_fd, err);
}

int tn_inject_release(struct tn_inject *inj, pid_t pid, int *ret_fd, struct tn_error *err)
{
    return give_task(inj, pid, 0, &(struct tn_task){.op = TN_TASK_RELEASE}, ret_fd, err);
}

int tn_inject_catch(struct tn_inject *inj, pid_t pid, pid_t tid, bool exec, u64 dev, u64 ino, int *ret_fd,
                    struct tn_error *err)
{
    struct tn_task task = {.op = TN_TASK_CATCH, .a = (u64)tid, .b = exec, .c = dev, .d = ino};

    return give_task(inj, pid, 0, &task, ret_fd, err);
}

int tn_inject_caught(struct tn_inject *inj, pid_t pid, int *ret_fd, struct tn_error *err)
{
    return give_task(inj, pid, 0, &(struct tn_task){.op = TN_TASK_CAUGHT}, ret_fd, err);
}
