/* SPDX-License-Identifier: MIT */
/* Tasks from the broker and orders from an injector, checked and carried out; see hands.h and order.h. */
#include "inject/hands.h"
#include "inject/filter.h"
#include "rt/signals.h"
#include "rt/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

/* -------------------------------------------------------------------------------- marker */

/* The marker belongs to the hands: an injector cannot name another holder. */
static void fill_marker(struct tn_hands *h, struct tn_proc *p)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);

    p->magic = TN_PROC_MAGIC;
    p->broker_pid = (u32)h->g->broker_pid;
    p->broker_start = h->g->broker_start;
    p->guardian_pid = (u32)getppid();
    p->guardian_start = tn_proc_start_time(getppid());
    p->broker_uid = getuid();
    p->held = 1;
    p->undo = proc->addr + TN_PROC_UNDO_OFF;
    p->ours = proc->addr + TN_PROC_OURS_OFF;
    p->undo_count = TN_UNDO_COUNT;
}

/* In what was handed out already, only a spare slot, proved empty, or what served code that is gone may be written
   again. */
static bool may_write_again(const struct tn_state *st, const struct tn_write *w)
{
    if (w->where == TN_WRITE_SITE && w->index < st->nsites) {
        const struct tn_site *s = &st->site[w->index];

        return s->state == TN_SITE_GONE && w->addr >= s->displaced &&
               w->addr + w->len <= s->displaced + s->displaced_len;
    }
    if (w->where == TN_WRITE_HOOK && w->index < st->nhooks) {
        const struct tn_hook_slot *s = &st->hook[w->index];

        return s->state == TN_HOOK_SPARE &&
               ((w->addr >= s->tramp && w->addr + w->len <= s->tramp + s->tramp_cap) ||
                (w->addr >= s->hook && w->addr + w->len <= s->hook + sizeof(struct tn_hook)));
    }
    return false;
}

static int order_write(struct tn_hands *h, const struct tn_write *w, u8 *bytes, struct tn_error *err)
{
    u32 index = w->region;
    u64 addr = w->addr, len = w->len;
    const struct tn_region *reg = index < TN_STATE_REGIONS ? &h->st->region[index] : NULL;
    bool near = reg && (reg->kind == TN_REGION_NEAR_TEXT || reg->kind == TN_REGION_NEAR_RECORDS);
    const u64 none = 0; /* all that calls find of ours where they leave marks */
    bool ok = reg && addr >= reg->addr && addr - reg->addr <= reg->len &&
              len <= reg->len - (addr - reg->addr) &&
              (near || (reg->kind == TN_REGION_STUBS && !tn_state_stub(h->st, addr, len, -1)) ||
               reg->kind == TN_REGION_PROC || reg->kind == TN_REGION_PRIVATE || reg->kind == TN_REGION_POOL ||
               reg->kind == TN_REGION_AGENT_DATA ||
               (reg->kind == TN_REGION_MARKS && len == sizeof(none) && !memcmp(bytes, &none, len)));
    int r;

    if (ok && near && addr - reg->addr < reg->used)
        ok = may_write_again(h->st, w);
    if (!ok)
        return tn_fail(err, -EPROTO, "bad_order", "the injector wanted to write where it may not");
    if (reg->kind == TN_REGION_PROC && addr == reg->addr && len == sizeof(struct tn_proc))
        fill_marker(h, (struct tn_proc *)bytes);
    r = tn_tracee_write(&h->t, addr, bytes, len);
    if (r == 0 && reg->kind == TN_REGION_PROC && addr == reg->addr) {
        struct tn_mark mark = {.pid = (u32)h->t.pid, .start_time = h->st->start_time};

        r = tn_tracee_write(&h->t, reg->addr + TN_PROC_MARK_OFF, &mark, sizeof(mark));
    }
    return r < 0 ? tn_fail(err, r, "vanished", "process %d cannot be written to: %s", h->t.pid, strerror(-r))
                 : 0;
}

static int order_writes(struct tn_hands *h, u32 n, u8 *body, u64 len, struct tn_error *err)
{
    int r = 0;

    for (u32 i = 0; i < n && r == 0; i++) {
        struct tn_write w;

        if (len < sizeof(w))
            return -EPROTO;
        memcpy(&w, body, sizeof(w));
        body += sizeof(w);
        len -= sizeof(w);
        if (w.len > len || TN_ROUND_UP((u64)w.len, 8ull) > len)
            return -EPROTO;
        r = order_write(h, &w, body, err);
        body += TN_ROUND_UP((u64)w.len, 8ull);
        len -= TN_ROUND_UP((u64)w.len, 8ull);
    }
    return r;
}

/* What a dead holder has left: its bytes are put back by the same protocol. The injector has compared `orig`
   with the file; that memory holds `patched` is proved here, as for every change. */
static int order_take(struct tn_hands *h, u64 proc, const struct tn_undo *undo, u32 n, bool last,
                      struct tn_error *err)
{
    _free_ struct tn_change *changes = calloc(n ? n : 1, sizeof(*changes));
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    struct tn_proc p;
    u32 held = 0, nchanges = 0;
    int r;

    if (!changes)
        return -ENOMEM;
    if (tn_tracee_read(&h->t, proc, &p, sizeof(p)) < 0 || p.magic != TN_PROC_MAGIC)
        return tn_fail(err, -EPROTO, "bad_order", "there is no marker at the address that was named");
    r = tn_maps_read(h->t.pid, &maps);
    if (r < 0)
        return r;
    for (u32 i = 0; i < n; i++) {
        struct tn_change *c = &changes[nchanges];

        if (undo[i].len == TN_UNDO_COUNTER)
            continue;
        if (!undo[i].len || undo[i].len > sizeof(undo[i].orig))
            return -EPROTO;
        *c = (struct tn_change){.addr = undo[i].addr, .len = undo[i].len};
        while (c->nmore < TN_ARRAY_SIZE(undo[i].more) && undo[i].more[c->nmore] &&
               undo[i].more[c->nmore] < undo[i].len) {
            c->more[c->nmore] = undo[i].more[c->nmore];
            c->nmore++;
        }
        memcpy(c->from, undo[i].patched, undo[i].len);
        memcpy(c->to, undo[i].orig, undo[i].len);
        nchanges++;
    }
    r = nchanges ? tn_change(&h->t, changes, nchanges, 0, err) : 0;
    for (u32 i = 0; i < n && r >= 0; i++)
        if (undo[i].len == TN_UNDO_COUNTER && tn_maps_data(&maps, undo[i].addr, sizeof(u16)))
            tn_counter_move(&h->t, undo[i].addr, -(s32)undo[i].raised);
    return r < 0 || !last
               ? r
               : tn_tracee_write(&h->t, proc + offsetof(struct tn_proc, held), &held, sizeof(held));
}

/* ---------------------------------------------------------------------------------- job */

static void give_thread_back(struct tn_hands *h)
{
    struct tn_thread *th;

    free(h->left);
    h->left = NULL;
    if (!h->borrowed)
        return;
    h->borrowed = false;
    tn_borrow_end(&h->t, &h->b);
    th = tn_tracee_find(&h->t, h->b.tid);
    if (th && !h->held)
        tn_tracee_resume(&h->t, th);
}

/* `left`: brokers that are gone may have left something, which the thread is to unmap as well. */
static int order_borrow(struct tn_hands *h, u32 wait_ms, bool left, struct tn_borrow_facts *ret,
                        struct tn_error *err)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    int r;

    if (h->borrowed)
        return tn_fail(err, -EPROTO, "bad_order", "a thread is borrowed already");
    if (h->st->lent.tid)
        return tn_fail(err, -EAGAIN, "thread_will_not_stop",
                       "a thread of process %d that made calls for a process of ours which was killed does "
                       "not stop: try again",
                       h->t.pid);
    if (left && !proc && !h->left)
        h->left = tn_hands_find_left(h, false);
    r = h->held ? tn_borrow_held(&h->t, h->t.keep, &h->b, err) : tn_borrow(&h->t, wait_ms, &h->b, err);
    if (r < 0)
        return r;
    h->borrowed = true;
    ret->tid = h->b.tid;
    ret->fs_base = h->b.regs.fs_base;
    ret->interrupted = h->t.interrupted;
    ret->suspended_seccomp = h->t.suspended;
    ret->allowed_syscalls =
        h->t.seccomp ? tn_filter_of_thread(h->t.pid, h->b.tid) : (u32)((1ull << TN_SYS_COUNT) - 1);
    ret->threads = 0;
    return proc ? tn_tracee_write(&h->t, proc->addr + offsetof(struct tn_proc, allowed_syscalls),
                                  &ret->allowed_syscalls, sizeof(ret->allowed_syscalls))
                : 0;
}

static int order_signals(struct tn_hands *h, u64 entry, u64 restorer, u64 set, u32 wait_ms,
                         struct tn_error *err)
{
    const struct tn_region *text = NULL, *agent = tn_state_region(h->st, TN_REGION_AGENT_TEXT, 0);

    for (u32 i = 0; i < h->st->nregions; i++)
        if (h->st->region[i].kind == TN_REGION_NEAR_TEXT &&
            entry - h->st->region[i].addr < h->st->region[i].len)
            text = &h->st->region[i];
    if (!text || !agent || (set & ~(TN_SIGNALS_BREAKS | TN_SIGNALS_LOADS)) ||
        restorer - agent->addr >= agent->len || h->borrowed)
        return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible handler");
    return tn_hands_signals_on(h, entry, restorer, set, wait_ms, err);
}

static int serve_order(struct tn_hands *h, struct tn_order *o, u8 *body, u64 len, int *fds, u32 nfds, int job)
{
    struct tn_reply reply = {};
    struct {
        struct tn_borrow_facts borrow;
        struct tn_install_facts install;
    } facts = {};
    const void *extra = NULL;
    size_t nextra = 0;
    int pass = -1;
    u32 prog;

    switch ((enum tn_order_op)o->op) {
    case TN_ORDER_HELLO:
        pass = h->state_fd;
        break;
    case TN_ORDER_BORROW:
        reply.err = order_borrow(h, (u32)TN_MIN(o->a, 600000ull), o->b, &facts.borrow, &reply.why);
        extra = &facts.borrow;
        nextra = sizeof(facts.borrow);
        break;
    case TN_ORDER_MAP:
        reply.err = len == sizeof(struct tn_keep) + o->n * sizeof(struct tn_map_req)
                        ? tn_hands_map(h, (const struct tn_keep *)body,
                                       (const struct tn_map_req *)(body + sizeof(struct tn_keep)), o->n, fds,
                                       nfds, &reply.why)
                        : -EPROTO;
        break;
    case TN_ORDER_RETURN:
        give_thread_back(h);
        break;
    case TN_ORDER_WRITE:
        reply.err = order_writes(h, o->n, body, len, &reply.why);
        break;
    case TN_ORDER_INSTALL:
        if (h->borrowed || len != sizeof(struct tn_install_req) + o->n * sizeof(struct tn_place_req) ||
            ((const struct tn_install_req *)body)->nplaces != o->n) {
            reply.err = -EPROTO;
            break;
        }
        reply.err =
            tn_hands_install(h, (const struct tn_install_req *)body,
                             (const struct tn_place_req *)(body + sizeof(struct tn_install_req)), &reply.why);
        facts.install = (struct tn_install_facts){.hold_ns_max = h->held ? 0 : h->t.hold_ns_max,
                                                  .interrupted = h->t.interrupted};
        for (u32 i = 0; i < h->t.n; i++)
            facts.install.threads += h->t.th[i].state != TN_TH_GONE && h->t.th[i].pid == h->t.pid;
        extra = &facts.install;
        nextra = sizeof(facts.install);
        break;
    case TN_ORDER_SIGNALS:
        reply.err = order_signals(h, o->a, o->b, o->n, (u32)TN_MIN(o->c, 600000ull), &reply.why);
        break;
    case TN_ORDER_UNLINK:
        reply.err = h->borrowed ? -EPROTO : tn_hands_unlink(h, (u32)o->a, &prog, &reply.why);
        break;
    case TN_ORDER_TAKE:
        reply.err = len == o->n * sizeof(struct tn_undo)
                        ? order_take(h, o->a, (const struct tn_undo *)body, o->n, o->b, &reply.why)
                        : -EPROTO;
        break;
    case TN_ORDER_RUN_TO:
        reply.err = h->borrowed ? -EPROTO : tn_hands_run_to(h, o->a, o->b, o->c, &reply.why);
        break;
    default:
        reply.err = -EPROTO;
    }
    if (reply.err < 0)
        tn_fail(&reply.why, reply.err, "guardian", "the guardian could not do what was asked: %s",
                strerror(-reply.err));
    return (int)tn_send(job, &reply, sizeof(reply), extra, reply.err < 0 ? 0 : nextra, &pass, pass >= 0);
}

int tn_hands_look_after(struct tn_hands *h, u64 ns)
{
    int events = tn_tracee_wait(&h->t, ns);

    for (u32 i = 0; i < h->t.n; i++)
        if (!h->borrowed || h->t.th[i].tid != h->b.tid)
            tn_tracee_resume(&h->t, &h->t.th[i]);
    return events;
}

/* Until one of the descriptors is ready. Threads that are traced meanwhile are looked after: what stops them, a signal or their
   birth, is theirs, and they go on. */
static int await(struct tn_hands *h, struct pollfd *p, u32 n)
{
    struct pollfd all[3];
    sigset_t chld;
    int r, more = 1;

    if (!h->t.n) {
        r = poll(p, n, -1);
        return r < 0 && errno != EINTR ? -errno : 0;
    }
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    if (h->chld < 0)
        h->chld = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);
    memcpy(all, p, n * sizeof(*p));
    all[n] = (struct pollfd){.fd = h->chld, .events = POLLIN};
    for (;;) {
        struct signalfd_siginfo si;

        r = poll(all, n + 1, more ? 0 : -1);
        if (r < 0 && errno != EINTR)
            return -errno;
        while (r > 0 && all[n].revents && read(h->chld, &si, sizeof(si)) == sizeof(si))
            ;
        more = tn_hands_look_after(h, 0);
        memcpy(p, all, n * sizeof(*p));
        for (u32 i = 0; i < n; i++)
            if (r > 0 && p[i].revents)
                return 0;
    }
}

/* What the agent may call was proved when the process was entered. If it has confined itself further since, and not by calls that are
   guarded (agent/confine.c), that proves nothing any more, and the agent makes no calls until it is proved anew. */
static void notice_filter(struct tn_hands *h)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    const struct tn_region *signals = tn_state_region(h->st, TN_REGION_SIGNALS, 0);
    u32 now = h->t.confined, was = h->st->confined, none = 0;
    u64 filters = h->st->filters, known;

    if (signals)
        tn_tracee_read(&h->t, signals->addr + offsetof(struct tn_signals, filters), &filters,
                       sizeof(filters));
    known = filters - h->st->filters;
    h->st->filters = filters;
    if (now >> 16 == SECCOMP_MODE_FILTER && (now & 0xffff) <= (was & 0xffff) + known)
        now = was;
    if (proc && now != was)
        tn_tracee_write(&h->t, proc->addr + offsetof(struct tn_proc, allowed_syscalls), &none, sizeof(none));
    h->st->confined = h->t.confined;
}

static void serve_job(struct tn_hands *h, int job)
{
    _free_ u8 *buf = malloc(TN_ORDER_MAX);
    bool orders = false;

    h->t.hup[1] = job;
    /* Before the injector looks for room, where much of it is taken by what was unlinked since. */
    if (!h->held && h->st->nhooks - h->st->nlive - h->st->nspare > TN_STATE_HOOKS / 4)
        tn_hands_reclaim(h);
    h->t.hold_ns_max = 0;
    h->t.interrupted = 0;
    while (buf) {
        struct pollfd p[2] = {{.fd = job, .events = POLLIN}, {.fd = h->g->broker}};
        int fds[TN_FDS_MAX];
        u32 nfds = 0;
        ssize_t n;

        if (await(h, p, 2) < 0)
            break;
        if (p[1].revents) /* the broker is gone: whatever the injector still wants is void */
            break;
        if (!p[0].revents)
            continue;
        n = tn_recv(job, buf, TN_ORDER_MAX, fds, &nfds);
        if (n < (ssize_t)sizeof(struct tn_order))
            break;
        orders = true;
        n = serve_order(h, (struct tn_order *)buf, buf + sizeof(struct tn_order),
                        (u64)n - sizeof(struct tn_order), fds, nfds, job);
        for (u32 i = 0; i < nfds; i++)
            close(fds[i]);
        if (n < 0)
            break;
    }
    /* Finished or hung up half-way: the same end. What stands, stands whole (order.h). */
    give_thread_back(h);
    if (orders) { /* before calls were guarded it may have confined itself unseen */
        h->t.confined = tn_proc_confined(h->t.pid);
        notice_filter(h);
    }
    h->t.hup[1] = -1;
    close(job);
    if (orders && !h->held)
        tn_hands_reclaim(h);
}

/* --------------------------------------------------------------------------------- tasks */

static void answer(int fd, struct tn_attach_result *res)
{
    if (fd >= 0)
        (void)!write(fd, res, sizeof(*res));
}

static void detach(struct tn_hands *h, u32 link, u32 wait_ms, int fd)
{
    _free_ struct tn_attach_result *res = calloc(1, sizeof(*res));
    u64 start = tn_monotonic();
    u32 prog;

    if (!res)
        return;
    res->err = tn_hands_unlink(h, link, &prog, &res->why);
    h->st->leaving = 0;
    if (res->err == 0)
        res->err = tn_hands_wait_runs(h, prog, wait_ms, &res->why);
    res->hold_ns_max = h->t.hold_ns_max;
    res->interrupted = h->t.interrupted;
    res->total_ns = tn_monotonic() - start;
    answer(fd, res);
}

void tn_hands_notice_exec(struct tn_hands *h)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    const struct tn_vma *vma;
    struct tn_mark mark = {};
    int r;

    if (!proc || h->st->unmapping) /* … by dead hands */
        return;
    r = tn_tracee_read(&h->t, proc->addr + TN_PROC_MARK_OFF, &mark, sizeof(mark));
    if (r == 0 && mark.pid == (u32)h->t.pid && mark.start_time == h->st->start_time)
        return;
    /* Another program has no such mapping. One that is there and cannot be read is no reason to forget; nor, while a thread is lent,
       one that says nothing yet: hands were killed before they could write it, and the thread is put back first. */
    vma = (r < 0 || (!mark.pid && h->st->lent.tid)) && tn_maps_read(h->t.pid, &maps) == 0
              ? tn_maps_at(&maps, proc->addr)
              : NULL;
    if (vma && tn_is_marker(&maps, vma)) {
        if (r == 0)
            return;
        tn_tracee_stumble(&h->t);
    }
    u64 start = h->st->start_time;

    /* Most of it was never touched, and is not to be: an empty file reads as zeros. */
    if (fallocate(h->state_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, sizeof(*h->st)) < 0)
        memset(h->st, 0, sizeof(*h->st));
    h->st->pid = h->t.pid;
    h->st->start_time = start;
}

static int open_target(struct tn_hands *h, struct tn_error *err)
{
    int r = tn_tracee_open(&h->t, h->g->pid, err);

    if (r < 0)
        return r;
    h->t.hup[0] = h->g->broker;
    h->t.last = h->last;
    h->t.lent = &h->st->lent;
    if (tn_proc_start_time(h->g->pid) != h->st->start_time)
        return tn_fail(err, -ESRCH, "no_such_process", "process %d has ended", h->g->pid);
    tn_hands_notice_exec(h);
    tn_hands_forget_gone(h);
    notice_filter(h);
    return 0;
}

void tn_hands_serve(struct tn_hands *h)
{
    bool open = false;

    do {
        struct tn_task task = {};
        int fds[TN_FDS_MAX], fd;
        u32 nfds = 0, prog;
        _free_ struct tn_attach_result *res = calloc(1, sizeof(*res));
        struct pollfd p = {.fd = h->g->broker, .events = POLLIN};
        ssize_t n = await(h, &p, 1);

        n = n < 0 ? n : tn_recv(h->g->broker, &task, sizeof(task), fds, &nfds);
        if (n <= 0 || !res)
            break;
        fd = nfds ? fds[0] : -1;
        for (u32 i = 1; i < nfds; i++)
            close(fds[i]);
        if (n != sizeof(task))
            continue;
        if (task.op == TN_TASK_DETACH || task.op == TN_TASK_FORGET)
            h->st->leaving = 1 + (u32)task.a;
        if (!open) {
            res->err = open_target(h, &res->why);
            if (res->err < 0) {
                if (task.op != TN_TASK_JOB)
                    answer(fd, res);
                break; /* a job's socket hangs up, and the injector finds the reason itself */
            }
            open = true;
        }
        switch ((enum tn_task_op)task.op) {
        case TN_TASK_JOB:
            if (fd >= 0)
                serve_job(h, fd);
            fd = -1;
            break;
        case TN_TASK_DETACH:
            detach(h, (u32)task.a, (u32)TN_MIN(task.b, 600000ull), fd);
            break;
        case TN_TASK_FORGET:
            tn_hands_unlink(h, (u32)task.a, &prog, NULL);
            h->st->leaving = 0;
            break;
        case TN_TASK_HOLD:
            res->err = tn_hands_hold(h, fd, &res->why);
            if (res->err < 0)
                answer(fd, res);
            break;
        case TN_TASK_CATCH:
            res->err = tn_hands_catch(h, &task, fd, &res->why);
            if (res->err < 0)
                answer(fd, res);
            break;
        case TN_TASK_CAUGHT:
            if (!h->held)
                res->err = -ENOENT;
            answer(fd, res);
            break;
        case TN_TASK_RELEASE:
            if (h->st->held == TN_HELD_LOADER)
                tn_hands_reclaim(h);
            h->held = false;
            answer(fd, res);
            break;
        }
        if (fd >= 0)
            close(fd);
    } while (h->held);
    h->st->held = TN_HELD_NOT;
    if (h->t.keep) /* explicitly: a stop at our breakpoint must not end in its signal */
        ptrace(PTRACE_DETACH, h->t.keep, 0, 0);
}

/* The hands before these were killed while a thread was lent to them. */
static void take_lent_back(struct tn_hands *h)
{
    struct tn_lent left = h->st->lent;

    if (!left.tid)
        return;
    struct tn_thread *th;
    int r = tn_lent_back(&h->t);

    if (r == -ETIMEDOUT)
        return; /* it may be in there still: asked again when the next hands are done */
    tn_lent_clear(&h->t);
    th = r == 0 ? tn_tracee_find(&h->t, left.tid) : NULL;
    if (!th)
        return;
    tn_hands_close_left(h, &left);
    th = tn_tracee_find(&h->t, left.tid);
    if (th)
        tn_tracee_resume(&h->t, th);
}

#define UNMAP_WAIT_MS 100 /* for a thread to borrow */

/* All of it, and what other brokers have left; or where that cannot be, what programs had for themselves, their maps above all, which
   may be large: nobody will come to use it again, since another broker brings its own. Where no thread is there to unmap it, it
   stays. */
static void unmap(struct tn_hands *h)
{
    bool means = tn_state_region(h->st, TN_REGION_STUB, 0);
    _free_ struct tn_left *left = means ? tn_hands_find_left(h, true) : NULL;
    bool any = left;

    if (!means)
        return;
    if (!left || !left->own) {
        tn_hands_reclaim(h);
        for (u32 i = 0; i < h->st->nprogs; i++)
            any |= h->st->prog[i].state == TN_HOOK_SPARE;
    }
    if (!any || h->st->lent.tid || tn_borrow(&h->t, UNMAP_WAIT_MS, &h->b, NULL) < 0)
        return;
    h->borrowed = true;
    if (!left || !left->own)
        tn_hands_unmap(h);
    if (left)
        tn_hands_unmap_all(h, left);
    give_thread_back(h);
}

void tn_hands_give_back(struct tn_hands *h, bool half)
{
    const struct tn_region *proc;
    u32 held = 0, prog;

    if (open_target(h, NULL) < 0)
        return;
    take_lent_back(h);
    tn_hands_unmapped(h);
    if (half) {
        tn_hands_repair(h);
        if (h->st->leaving)
            tn_hands_unlink(h, h->st->leaving - 1, &prog, NULL);
        h->st->leaving = 0;
        return;
    }
    if (tn_hands_restore_all(h) == 0)
        unmap(h);
    proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    if (proc)
        tn_tracee_write(&h->t, proc->addr + offsetof(struct tn_proc, held), &held, sizeof(held));
}
