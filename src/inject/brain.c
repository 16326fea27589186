/* SPDX-License-Identifier: MIT */
/*
 * The injector: everything that takes thought and may fail, in a process that may be killed at any time.
 *
 *   look at the process ── find the file in it ── plan ── choose addresses ──  all without touching it
 *   borrow a thread, map, give it back                                         one thread held: ~1 ms
 *   write pools, records, trampolines                                          nobody held
 *   install                                                                    awake threads held: µs
 *
 * Every refusal that can be known beforehand is made before the first touch. What an earlier job has mapped
 * is found in the state and used again; when nothing needs to be mapped, no thread is borrowed at all.
 */
#include "inject/brain.h"
#include "inject/memcg.h"
#include "rewrite/refusals.h"
#include "rewrite/stash.h"
#include "rt/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/uio.h>

void (*tn_inject_step)(const char *step);

void tn_brain_step(const char *name)
{
    if (tn_inject_step)
        tn_inject_step(name);
}

u64 tn_brain_stash_size(const struct tn_attach_spec *spec)
{
    return spec->session ? tn_stash_size(NULL, TN_SESSION_WORDS)
           : spec->typed && spec->exit && !spec->syscall
               ? tn_stash_size(&spec->args, tn_stash_words(spec->prog.facts, &spec->args))
               : 0;
}

/* -------------------------------------------------------------------------------- orders */

int tn_brain_order(struct tn_entry *c, u32 op, u32 n, u64 a, u64 b, u64 third, const void *body, size_t len,
                   const int *fds, u32 nfds, void *ret, size_t nret)
{
    struct tn_order o = {.op = op, .n = n, .a = a, .b = b, .c = third};
    struct {
        struct tn_reply reply;
        u8 extra[256];
    } in;
    ssize_t got;

    got = tn_send(c->b->job, &o, sizeof(o), body, len, fds, nfds);
    if (got >= 0)
        got = tn_recv(c->b->job, &in, sizeof(in), NULL, NULL);
    if (got < (ssize_t)sizeof(in.reply)) {
        struct tn_status st;

        if (tn_status_read(c->pid, c->pid, &st) == 0 && st.state != 'Z' && st.state != 'X')
            return tn_fail(
                c->err, -EAGAIN, "hands_ended",
                "the process of ours that was at work in process %d ended in the middle of it; what it "
                "had begun is undone: try again",
                c->pid);
        return tn_fail(c->err, -ESRCH, "vanished", "process %d ended in the middle of it", c->pid);
    }
    if (in.reply.err < 0) {
        if (c->err && !c->err->reason[0])
            *c->err = in.reply.why;
        return in.reply.err;
    }
    if (nret && (size_t)got < sizeof(in.reply) + nret)
        return -EPROTO;
    memcpy(ret, in.extra, nret);
    return 0;
}

static int hello(struct tn_entry *c)
{
    struct tn_order o = {.op = TN_ORDER_HELLO};
    struct tn_reply reply;
    int fds[TN_FDS_MAX] = {-1};
    u32 nfds = 0;
    ssize_t n = tn_send(c->b->job, &o, sizeof(o), NULL, 0, NULL, 0);

    if (n >= 0)
        n = tn_recv(c->b->job, &reply, sizeof(reply), fds, &nfds);
    if (n != sizeof(reply) || nfds != 1)
        return -ESRCH;
    void *st = mmap(NULL, sizeof(*c->st), PROT_READ, MAP_SHARED, fds[0], 0);

    close(fds[0]);
    if (st == MAP_FAILED)
        return -errno;
    c->st = st;
    return 0;
}

/* Writes are gathered, and made when there is no room for more or something depends on them. */
int tn_brain_flush(struct tn_entry *c)
{
    int r = c->nwrites ? tn_brain_order(c, TN_ORDER_WRITE, c->nwrites, 0, 0, 0, c->writes, c->writes_len,
                                        NULL, 0, NULL, 0)
                       : 0;

    c->nwrites = 0;
    c->writes_len = 0;
    return r;
}

int tn_brain_write(struct tn_entry *c, u64 addr, const struct tn_region *reg, const void *bytes, u64 len)
{
    return tn_brain_write_again(c, addr, reg, TN_WRITE_FRESH, 0, bytes, len);
}

int tn_brain_write_again(struct tn_entry *c, u64 addr, const struct tn_region *reg, enum tn_write_where where,
                         u32 index, const void *bytes, u64 len)
{
    for (u64 at = 0; at < len;) {
        struct tn_write w = {
            .addr = addr + at, .region = (u32)(reg - c->st->region), .where = where, .index = index};
        u64 room = TN_WRITES_MAX - c->writes_len;

        if (room < sizeof(w) + 8) {
            int r = tn_brain_flush(c);

            if (r < 0)
                return r;
            continue;
        }
        w.len = (u32)TN_MIN(len - at, TN_ROUND_DOWN(room - sizeof(w), 8ull));
        memcpy(c->writes + c->writes_len, &w, sizeof(w));
        memcpy(c->writes + c->writes_len + sizeof(w), (const u8 *)bytes + at, w.len);
        c->writes_len += sizeof(w) + TN_ROUND_UP(w.len, 8u);
        c->nwrites++;
        at += w.len;
    }
    return 0;
}

/* Is it a ring buffer that this job maps? Then where. */
static bool ring_is_fresh(const struct tn_entry *c, const struct tn_install_map *m, u64 *ret_at)
{
    for (u32 k = 0; k < c->nreq && m->geo.type == BPF_MAP_TYPE_RINGBUF; k++)
        if (c->req[k].kind == TN_REGION_MAP && c->req[k].id == m->id) {
            if (ret_at)
                *ret_at = c->req[k].addr;
            return true;
        }
    return false;
}

static u64 ring_bytes(const struct tn_install_map *m)
{
    return m->geo.value_off + TN_MIN((u64)m->geo.max_entries, (u64)64 << 20);
}

/* A ring buffer is written from one end to the other, so each of its pages will be the host's soon: to read them here makes them
   its now, with none of its threads held, and spares it a fault for each. A long one has its rest when it gets there. */
static void make_present(const struct tn_entry *c)
{
    enum { ATONCE = 512 };
    struct iovec there[ATONCE];
    u8 bytes[ATONCE];
    struct iovec here = {bytes, sizeof(bytes)};

    for (u32 i = 0; i < c->spec->prog.nmaps; i++) {
        const struct tn_install_map *m = &c->spec->prog.maps[i];
        u64 at = 0;
        bool fresh = ring_is_fresh(c, m, &at);

        for (u64 end = at + ring_bytes(m); fresh && at < end;) {
            u32 n = 0;

            for (; n < ATONCE && at < end; at += TN_PAGE)
                there[n++] = (struct iovec){(void *)at, 1};
            if (process_vm_readv(c->pid, &here, 1, there, n, 0) < 0)
                break; /* it faults, then */
        }
    }
}

static int order_map(struct tn_entry *c)
{
    const struct tn_install *in = &c->spec->prog;
    const size_t nreqs = c->nreq * sizeof(*c->req);
    struct tn_keep keep = {
        .slot = c->prog_known ? c->prog_bit : TN_SLOT_BITS, .prog_id = in->prog_id, .nmaps = in->nmaps};
    _free_ u8 *body = malloc(sizeof(keep) + nreqs);

    if (!body)
        return -ENOMEM;
    for (u32 i = 0; i < in->nmaps; i++)
        keep.map[i] = in->maps[i].id;
    memcpy(body, &keep, sizeof(keep));
    memcpy(body + sizeof(keep), c->req, nreqs);
    return tn_brain_order(c, TN_ORDER_MAP, c->nreq, 0, 0, 0, body, sizeof(keep) + nreqs, c->fds, c->nfds,
                          NULL, 0);
}

/* Bytes that will be the process's own: what is written to, and the pages of code that are not the file's any more; at first the tables and
   the agent too (measured: 250 KB), and page tables. The kernel charges 128 KiB at a time. */
static u64 memory_need(const struct tn_entry *c, bool fresh_proc)
{
    u64 need = fresh_proc ? 640u << 10 : 192u << 10;

    for (u32 i = 0; i < c->nwishes; i++) {
        u64 page = (c->wish[i].patch->addr + c->wish[i].bias) / TN_PAGE;

        need += 1024;
        if (!i || page != (c->wish[i - 1].patch->addr + c->wish[i - 1].bias) / TN_PAGE)
            need += TN_PAGE;
    }
    for (u32 i = 0; i < c->spec->prog.nmaps; i++)
        if (ring_is_fresh(c, &c->spec->prog.maps[i], NULL))
            need += ring_bytes(&c->spec->prog.maps[i]);
    return need;
}

/* A process whose control group has no memory left would be killed for ours. */
static int check_memory(struct tn_entry *c, bool fresh_proc)
{
    u64 left = tn_memcg_left(c->pid), need = memory_need(c, fresh_proc);

    return left >= need ? 0
                        : tn_fail(c->err, -ENOMEM, "memory_limit",
                                  "the control group of process %d leaves it %llu KiB of memory, and up to %llu are "
                                  "needed: raise its limit for the moment",
                                  c->pid, (unsigned long long)(left >> 10), (unsigned long long)(need >> 10));
}

/* Maps what is missing: the only part for which a thread is borrowed. */
static int map_all(struct tn_entry *c, bool *ret_fresh_proc, struct tn_proc *ret_proc)
{
    bool fresh_proc = !tn_state_region(c->st, TN_REGION_PROC, 0);
    _close_ int proc_fd = -1;
    int r = 0;

    if (fresh_proc) {
        proc_fd = memfd_create(TN_PROC_NAME, MFD_CLOEXEC);
        if (proc_fd < 0 || ftruncate(proc_fd, TN_PROC_SIZE) < 0)
            return tn_fail(c->err, -errno, "no_memfd", "cannot make memory to share: %s", strerror(errno));
        r = tn_choose_proc(c, proc_fd);
    }
    *ret_fresh_proc = fresh_proc;
    if (r == 0 && c->nreq)
        r = check_memory(c, fresh_proc);
    if (r == 0 && c->nreq)
        r = tn_choose_means(c);
    if (r < 0 || !(c->nreq || c->ask_tsc))
        return r;
    tn_brain_step("borrow");
    r = tn_brain_order(c, TN_ORDER_BORROW, 0, c->spec->wait_ms, c->gone_left, 0, NULL, 0, NULL, 0, &c->borrowed,
                       sizeof(c->borrowed));
    if (r < 0)
        return r;
    if (fresh_proc) {
        tn_brain_step("facts");
        r = tn_facts_fill(c->b, c->pid, c->borrowed.fs_base, c->borrowed.tid, c->borrowed.allowed_syscalls,
                          &c->maps, ret_proc);
    }
    tn_brain_step("map");
    if (r == 0)
        r = order_map(c);
    tn_brain_step("return");
    int r2 = tn_brain_order(c, TN_ORDER_RETURN, 0, 0, 0, 0, NULL, 0, NULL, 0, NULL, 0);

    r = r < 0 ? r : r2;
    if (r == 0)
        make_present(c);
    return r;
}

/* ------------------------------------------------------------------------------ start-up */

/* A held process that has a loader runs until its libraries are there: no constructor has run by then. */
static int run_loader(struct tn_entry *c)
{
    u64 base = tn_proc_auxv(c->pid, AT_BASE), entry = tn_proc_auxv(c->pid, AT_ENTRY), stop, debug;
    const struct tn_vma *v = tn_maps_at(&c->maps, base);
    _close_ int fd = -1;
    int r;

    if (!base || !v || !v->ino)
        return 0; /* static */
    /* Only once: an earlier job on the held process has run it already. */
    if (tn_state_region(c->st, TN_REGION_PROC, 0))
        return 0;
    fd = tn_open_mapped(c->pid, &c->maps, v);
    if (fd < 0 || tn_dynsym(c->b, fd, "_dl_debug_state", &stop) < 0 ||
        tn_dynsym(c->b, fd, "_r_debug", &debug) < 0)
        return 0;
    tn_brain_step("run_loader");
    r = tn_brain_order(c, TN_ORDER_RUN_TO, 0, base + stop, base + debug + 24, entry, NULL, 0, NULL, 0, NULL,
                       0);
    if (r < 0)
        return r;
    tn_maps_clear(&c->maps);
    return tn_maps_read(c->pid, &c->maps);
}

/* The places and what to do there. A link that asks for a process twice (the process was found, and the loader
   seen) is there once; where the file is mapped twice, in both copies. */
static int find_place(struct tn_entry *c)
{
    int r = tn_look_place(c);

    tn_brain_step("plan");
    return r < 0 ? r : tn_plan_place(c);
}

static int plan_all(struct tn_entry *c, bool *ret_there)
{
    const struct tn_attach_spec *s = c->spec;
    int r;

    if (s->syscall)
        tn_brain_step("plan");
    r = s->syscall ? tn_plan_syscalls(c) : find_place(c);
    if (r == 0)
        *ret_there = !tn_plan_rest(c);
    if (r == 0 && !*ret_there && (!s->follow || tn_plan_breaks(c) || tn_loads_wanted(c)) &&
        !c->st->vfork_done)
        r = tn_plan_vfork(c);
    if (r == 0 && !*ret_there && tn_plan_breaks(c))
        r = tn_plan_guards(c);
    if (r == 0 && !*ret_there)
        r = tn_plan_loads(c);
    if (r == 0 && !*ret_there)
        r = tn_plan_confines(c);
    return r;
}

static int write_all(struct tn_entry *c, bool fresh, struct tn_proc *proc, struct tn_install_facts *ret_facts)
{
    const struct tn_region *signals = tn_state_region(c->st, TN_REGION_SIGNALS, 0);
    struct tn_prog_slot prog;
    u64 denied = 0;
    int r = 0;

    tn_brain_step("write");
    if (!fresh)
        r = tn_peek(c->pid, tn_state_region(c->st, TN_REGION_PROC, 0)->addr, proc, sizeof(*proc));
    if (r == 0 && !fresh &&
        tn_peek(c->pid, signals->addr + offsetof(struct tn_signals, denied), &denied, 8) == 0)
        proc->allowed_syscalls &= (u32)~denied;
    if (r == 0 && !fresh && proc->magic != TN_PROC_MAGIC) { /* mapped by a job that died before it wrote */
        r = tn_facts_fill(c->b, c->pid, 0, c->pid, 0, &c->maps, proc) < 0 ? -ESRCH : 0;
        fresh = true;
    }
    if (r == 0 && fresh)
        r = tn_compose_proc(c, proc);
    if (r == 0)
        r = tn_compose_program(c, &prog);
    return r < 0 ? r : tn_compose_links(c, &prog, proc, ret_facts);
}

static const char *pun_tactic(const struct tn_entry *c, const struct tn_wish *w)
{
    s32 site = tn_look_site(c, w->patch->addr + w->bias, w->patch);

    return site < 0 ? tn_pun_tactic(&w->pun)
                    : tn_pun_tactic(&(struct tn_pun){.njumps = c->st->site[site].njumps,
                                                     .prefixes = c->st->site[site].patched[0] != 0xe9});
}

/* The plan's, and of punned places what they came to. */
static const char *tactic(const struct tn_entry *c)
{
    const char *tactic = c->plan->tactic;

    for (u32 i = 0; i < c->nwishes && strcmp(tactic, "evicted"); i++)
        if (c->wish[i].hook && c->wish[i].patch->punned)
            tactic = pun_tactic(c, &c->wish[i]);
    return tactic;
}

/* The plan that a patch is of: of a session, one of two. NULL: system calls have none. */
static const struct tn_planned *plan_of(const struct tn_entry *c, const struct tn_wish *w)
{
    const struct tn_planned *entry = c->before ? c->before[w->place] : NULL;

    if (!c->plans)
        return NULL;
    return entry && w->patch >= entry->patch && w->patch < entry->patch + entry->npatches
               ? entry
               : c->plans[w->place];
}

void tn_brain_count(struct tn_entry *c, const struct tn_wish *w)
{
    const struct tn_planned *plan = plan_of(c, w);
    const bool breaks = w->patch->len == TN_BREAK_LEN && !w->patch->punned;
    const char *name = plan ? plan->tactic : "jump5";

    if (w->loads)
        return;
    if (w->patch->punned)
        name = pun_tactic(c, w);
    else if (breaks || strstr(name, "breakpoint") ||
             strstr(name, "punned")) /* ways out that are planned together need not be alike */
        name = breaks ? "breakpoint" : "jump5";
    c->res->places++;
    tn_tally_add(&c->res->by, name);
}

int tn_brain_attach(struct tn_brain *b, struct tn_attach_result *res)
{
    struct tn_entry c = {.b = b, .spec = b->spec, .pid = b->spec->pid, .err = &res->why, .res = res};
    struct tn_install_facts facts = {};
    struct tn_proc proc = {};
    bool fresh = false, there = false;
    int r;

    tn_brain_step("start");
    r = tn_look_process(&c);
    if (r == 0) {
        r = hello(&c);
        if (r < 0) /* the hands could not even open it: look again why */
            r = tn_look_process(&c) < 0
                    ? -EPERM
                    : tn_fail(c.err, -EPERM, "not_permitted",
                              "process %d may not be entered (another user's, or ended)", c.pid);
    }
    if (r == 0 && c.st->held == TN_HELD_START) /* what it executes is known by now */
        r = tn_look_process(&c);
    if (r == 0) {
        r = tn_maps_read(c.pid, &c.maps);
        if (r < 0)
            tn_fail(c.err, r, r == -EACCES || r == -EPERM ? "not_permitted" : "no_such_process",
                    "process %d may not be looked into: %s", c.pid, strerror(-r));
    }
    if (r == 0 && c.st->held == TN_HELD_START)
        r = run_loader(&c);
    if (r == 0)
        r = tn_look_markers(&c);
    if (r == 0 && b->spec->take_only)
        r = tn_look_take(&c);
    if (b->spec->take_only) {
        res->inherited = c.inherited.parent;
        goto done;
    }
    if (r == 0)
        r = plan_all(&c, &there);
    /* An address may be taken between choosing and mapping: choose again. */
    for (int tries = 0; r == 0 && !there; tries++) {
        tn_brain_step("choose");
        r = tn_choose(&c);
        if (r < 0 && c.again) {
            c.again = false;
            *c.err = (struct tn_error){};
            r = plan_all(&c, &there);
            continue;
        }
        if (r == 0)
            r = map_all(&c, &fresh, &proc);
        if (r != -EEXIST || tries == 3)
            break;
        *c.err = (struct tn_error){};
        tn_maps_clear(&c.maps);
        r = tn_maps_read(c.pid, &c.maps);
    }
    if (r == 0 && !there)
        r = write_all(&c, fresh, &proc, &facts);
    if (!c.inherited.proc)
        res->inherited = c.inherited.parent;
done:
    tn_brain_step("done");

    res->err = r;
    if (r < 0)
        tn_fail(c.err, r, "inject", "entering process %d failed: %s", c.pid, strerror(-r));
    else
        *c.err = (struct tn_error){};
    if (c.plan) {
        snprintf(res->tactic, sizeof(res->tactic), "%s", tactic(&c));
        snprintf(res->symbol, sizeof(res->symbol), "%s", c.plan->symbol);
        res->symbol_offset = c.plan->symbol_offset;
    } else {
        snprintf(res->tactic, sizeof(res->tactic), "jump5");
    }
    res->address = c.place_addr;
    res->hold_ns_max = facts.hold_ns_max;
    res->threads = facts.threads;
    res->interrupted = facts.interrupted;
    for (u32 i = 0; r == 0 && i < c.nwishes; i++)
        if (c.wish[i].hook)
            tn_brain_count(&c, &c.wish[i]);
    free(c.inherited.undo);
    free(c.plans);
    free(c.before);
    free(c.at);
    tn_plan_clear_wishes(&c);
    tn_maps_clear(&c.maps);
    if (c.st)
        munmap((void *)(uintptr_t)c.st, sizeof(*c.st));
    return r;
}
