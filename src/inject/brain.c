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
#include "agent/agent.h"
#include "agent/image.h"
#include "inject/order.h"
#include "inject/tracee.h"
#include "rewrite/module.h"
#include "rewrite/trampoline.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

void (*tn_inject_step)(const char *step);

#define REACH        ((1ull << 31) - (1u << 20)) /* of a 32-bit displacement, with a margin */
#define ANYWHERE     (1ull << 46)
#define RECORDS_SIZE (4u * TN_PAGE)
#define NEAR_SIZE    (32u * TN_PAGE)
#define WRITES_MAX   32768u
#define STUCK_MS     200u

struct ctx {
    struct tn_brain *b;
    const struct tn_attach_spec *spec;
    const struct tn_state *st;
    struct tn_maps maps;
    struct tn_error *err;
    pid_t pid;
    u64 place_addr, bias; /* in the target */
    u64 mod_lo, mod_hi;
    const struct tn_planned *plan, *vfork;
    u64 vfork_bias;
    /* requests of the MAP order */
    struct tn_map_req req[TN_MAP_REQS_MAX];
    u32 nreq;
    int fds[TN_FDS_MAX];
    u32 nfds;
    struct tn_range avoid[TN_MAP_REQS_MAX];
    u32 navoid;
    struct tn_borrow_facts borrowed;
    u32 prog_bit;
    bool prog_known;
    /* body of the next WRITE order */
    u32 nwrites;
    u64 writes_len;
    u8 writes[WRITES_MAX];
};

static void step(const char *name)
{
    if (tn_inject_step)
        tn_inject_step(name);
}

/* -------------------------------------------------------------------------------- orders */

static int order(struct ctx *c, u32 op, u32 n, u64 a, u64 b, u64 third, const void *body, size_t len,
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
    if (got < (ssize_t)sizeof(in.reply))
        return tn_fail(c->err, -ESRCH, "vanished", "process %d ended in the middle of it", c->pid);
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

static int hello(struct ctx *c)
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
    c->st = mmap(NULL, sizeof(*c->st), PROT_READ, MAP_SHARED, fds[0], 0);
    close(fds[0]);
    return c->st == MAP_FAILED ? -errno : 0;
}

/* Writes are gathered, and made when there is no room for more or something depends on them. */
static int flush_writes(struct ctx *c)
{
    int r = c->nwrites
                ? order(c, TN_ORDER_WRITE, c->nwrites, 0, 0, 0, c->writes, c->writes_len, NULL, 0, NULL, 0)
                : 0;

    c->nwrites = 0;
    c->writes_len = 0;
    return r;
}

static int write_order(struct ctx *c, u64 addr, const struct tn_region *reg, const void *bytes, u64 len)
{
    for (u64 at = 0; at < len;) {
        struct tn_write w = {.addr = addr + at, .region = (u32)(reg - c->st->region)};
        u64 room = WRITES_MAX - c->writes_len;

        if (room < sizeof(w) + 8) {
            int r = flush_writes(c);

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

/* ------------------------------------------------------------------- what process is this */

static int check_process(struct ctx *c)
{
    struct tn_status st;
    unsigned char ident[EI_NIDENT] = {};
    char path[64];
    _close_ int exe = -1;
    int r = tn_status_read(c->pid, c->pid, &st);

    if (r < 0)
        return tn_fail(c->err, r, "no_such_process", "there is no process %d", c->pid);
    if (st.tgid != c->pid)
        return tn_fail(c->err, -ESRCH, "no_such_process", "%d is a thread of process %d: name the process",
                       c->pid, st.tgid);
    if (st.state == 'Z' || st.state == 'X')
        return tn_fail(c->err, -ESRCH, "zombie", "process %d has ended already and waits for its parent",
                       c->pid);
    if (st.kthread)
        return tn_fail(c->err, -EINVAL, "kernel_thread", "%d is a thread of the kernel", c->pid);
    /* Once the hands have answered, whatever traces is not the hands of an earlier job on their way out. */
    if (st.tracer && c->st && !c->st->held) {
        char comm[32];

        tn_proc_comm(st.tracer, comm);
        return tn_fail(c->err, -EBUSY, "already_traced",
                       "process %d is being traced by process %d (%s): end that first", c->pid, st.tracer,
                       comm);
    }
    snprintf(path, sizeof(path), "/proc/%d/exe", c->pid);
    exe = open(path, O_RDONLY | O_CLOEXEC);
    if (exe < 0)
        return tn_fail(c->err, -errno, errno == ENOENT ? "no_such_process" : "not_permitted",
                       "process %d may not be looked into: it belongs to another user (uid %u), or "
                       "kernel.yama.ptrace_scope forbids it",
                       c->pid, st.uid);
    if (read(exe, ident, sizeof(ident)) != sizeof(ident) || ident[EI_CLASS] != ELFCLASS64)
        return tn_fail(c->err, -ENOEXEC, "not_64_bit", "process %d is not a 64-bit program", c->pid);
    return 0;
}

/* Markers of other brokers, and what dead ones have left. */
static int check_markers(struct ctx *c)
{
    const struct tn_region *mine = NULL;

    for (u32 i = 0; i < c->st->nregions; i++)
        if (c->st->region[i].kind == TN_REGION_PROC)
            mine = &c->st->region[i];
    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        _free_ struct tn_undo *undo = NULL;
        struct tn_proc p;
        struct tn_mark mark;
        u32 n = 0;

        if (strncmp(tn_vma_name(&c->maps, v), "/memfd:" TN_PROC_NAME, 7 + sizeof(TN_PROC_NAME) - 1) ||
            v->offset || v->end - v->start != TN_PROC_SIZE || (mine && mine->addr == v->start))
            continue;
        if (tn_peek(c->pid, v->start, &p, sizeof(p)) < 0 || p.magic != TN_PROC_MAGIC || !p.held ||
            tn_peek(c->pid, v->start + TN_PROC_MARK_OFF, &mark, sizeof(mark)) < 0)
            continue;
        bool same = mark.pid == (u32)c->pid && mark.start_time == tn_proc_start_time(c->pid);
        bool broker = tn_proc_lives((pid_t)p.broker_pid, p.broker_start);
        bool guardian = tn_proc_lives((pid_t)p.guardian_pid, p.guardian_start);

        if (same && (broker || guardian))
            return tn_fail(
                c->err, -EBUSY, "held",
                "process %d is held by another broker (process %u of uid %u): attach through that one, or "
                "end it",
                c->pid, p.broker_pid, p.broker_uid);
        /* A dead holder's, or inherited from a parent: put back what is there. Not a word of it is believed.
         */
        undo = calloc(TN_STATE_SITES, sizeof(*undo));
        if (!undo)
            return -ENOMEM;
        for (u32 k = 0; k < TN_STATE_SITES; k++) {
            struct tn_undo *u = &undo[n];
            const struct tn_vma *code;
            _close_ int fd = -1;
            u8 disk[sizeof(u->orig)], now[sizeof(u->orig)];

            if (tn_peek(c->pid, v->start + TN_PROC_UNDO_OFF + k * sizeof(*u), u, sizeof(*u)) < 0)
                break;
            code = tn_maps_at(&c->maps, u->addr);
            if (!u->state || u->len < 5 || u->len > sizeof(u->orig) || !code || !(code->prot & PROT_EXEC) ||
                !code->ino || u->len > code->end - u->addr)
                continue;
            fd = tn_open_mapped(c->pid, &c->maps, code);
            if (fd < 0 ||
                pread(fd, disk, u->len, (off_t)(code->offset + (u->addr - code->start))) != u->len ||
                memcmp(disk, u->orig, u->len) || tn_peek(c->pid, u->addr, now, u->len) < 0 ||
                memcmp(now, u->patched, u->len))
                continue;
            n++;
        }
        int r = order(c, TN_ORDER_TAKE, n, v->start, 0, 0, undo, n * sizeof(*undo), NULL, 0, NULL, 0);

        if (r < 0)
            return r;
    }
    return 0;
}

/* The mapping of the spec's file that holds the place. */
static int find_place(struct ctx *c)
{
    const struct tn_attach_spec *s = c->spec;
    bool other = false;

    c->place_addr = 0;
    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        const char *name = tn_vma_name(&c->maps, v);
        size_t len = strlen(s->path);
        bool by_name = !strncmp(name, s->path, len) && (!name[len] || !strcmp(name + len, " (deleted)"));
        bool is = v->ino == s->ino && (v->dev == s->dev || by_name);

        if (!v->ino || (!is && !by_name))
            continue;
        if (!is) {
            other = true;
            continue;
        }
        if (!(v->prot & PROT_EXEC) || s->file_offset < v->offset ||
            s->file_offset - v->offset >= v->end - v->start)
            continue;
        c->place_addr = v->start + (s->file_offset - v->offset);
        break;
    }
    if (!c->place_addr && other)
        return tn_fail(
            c->err, -ESTALE, "file_replaced",
            "process %d runs an older copy of %s, which was replaced since it started: restart it, or "
            "name /proc/%d/exe",
            c->pid, s->path, c->pid);
    if (!c->place_addr)
        return tn_fail(c->err, -ENOENT, "not_mapped", "%s (offset 0x%llx) is not mapped in process %d",
                       s->path, (unsigned long long)s->file_offset, c->pid);
    c->mod_lo = c->mod_hi = c->place_addr;
    for (u32 i = 0; i < c->maps.n; i++)
        if (c->maps.vma[i].ino == s->ino && (c->maps.vma[i].prot & PROT_EXEC)) {
            c->mod_lo = TN_MIN(c->mod_lo, c->maps.vma[i].start);
            c->mod_hi = TN_MAX(c->mod_hi, c->maps.vma[i].end);
        }
    return 0;
}

/* ----------------------------------------------------------------------------------- plan */

static const struct tn_planned *cached(const struct tn_brain *b, const struct stat *sb, u64 offset, u32 place)
{
    u64 mtime = (u64)sb->st_mtim.tv_sec * 1000000000ull + (u64)sb->st_mtim.tv_nsec;

    for (u32 i = 0; i < b->ncache; i++) {
        const struct tn_planned *p = b->cache[i];

        if (p->dev == sb->st_dev && p->ino == sb->st_ino && p->mtime_ns == mtime &&
            p->size == (u64)sb->st_size && p->file_offset == offset && p->place == place)
            return p;
    }
    return NULL;
}

static int plan_file(struct ctx *c, int fd, u64 offset, u32 kind, const struct tn_planned **ret)
{
    struct tn_planned *p = NULL;
    struct tn_module *m = NULL;
    struct tn_plan plan = {};
    struct stat sb;
    u64 addr = 0;
    int r;

    if (fstat(fd, &sb) < 0)
        return -errno;
    *ret = cached(c->b, &sb, offset, kind);
    if (*ret)
        return 0;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    r = tn_module_open(fd, &m, c->err);
    if (r < 0)
        goto out;
    *p = (struct tn_planned){.dev = sb.st_dev,
                             .ino = sb.st_ino,
                             .mtime_ns = (u64)sb.st_mtim.tv_sec * 1000000000ull + (u64)sb.st_mtim.tv_nsec,
                             .size = (u64)sb.st_size,
                             .file_offset = offset,
                             .place = kind};
    if (kind == TN_PLACE_SYSCALL) {
        for (u32 i = 0; i < tn_module_ncode(m); i++) {
            struct tn_patch *sites = NULL;
            u32 n = 0, skipped = 0;

            r = tn_find_vfork_sites(tn_module_code_at(m, i), &sites, &n, &skipped, NULL);
            for (u32 k = 0; r == 0 && k < n && p->npatches < TN_PLANNED_MAX; k++)
                p->patch[p->npatches++] = sites[k];
            free(sites);
        }
        /* The file's addresses are relative to this one's place in the file. */
        if (p->npatches) {
            p->addr = p->patch[0].addr;
            r = tn_module_offset_of_addr(m, p->addr, &p->symbol_offset);
        } else {
            r = 0;
        }
        goto out;
    }
    r = tn_module_addr_of_offset(m, offset, &addr);
    if (r < 0) {
        r = tn_fail(c->err, r, "not_code", "offset 0x%llx of %s is not in an executable segment",
                    (unsigned long long)offset, c->spec->path);
        goto out;
    }
    const struct tn_func *f = tn_module_func(m, addr);
    enum tn_place_kind place = kind == TN_PLACE_EXIT              ? TN_PLACE_EXIT
                               : f && f->addr == addr && !f->part ? TN_PLACE_ENTRY
                                                                  : TN_PLACE_OFFSET;

    r = tn_plan(tn_module_code(m, addr), place, addr, &plan, c->err);
    if (r < 0)
        goto out;
    if (plan.npatches > TN_PLANNED_MAX) {
        r = tn_fail(c->err, -E2BIG, "too_many_exits", "the function has %u ways out; %u can be patched",
                    plan.npatches, TN_PLANNED_MAX);
        goto out;
    }
    p->addr = addr;
    p->npatches = plan.npatches;
    memcpy(p->patch, plan.patches, plan.npatches * sizeof(*plan.patches));
    snprintf(p->tactic, sizeof(p->tactic), "%s", plan.tactic ? plan.tactic : "");
    if (f && f->name)
        snprintf(p->symbol, sizeof(p->symbol), "%s", f->name);
    p->symbol_offset = f ? addr - f->addr : 0;
out:
    tn_plan_clear(&plan);
    tn_module_free(m);
    if (r < 0) {
        free(p);
        return r;
    }
    c->b->fresh[c->b->nfresh++] = p; /* two at most: symbols leave room */
    *ret = p;
    return 0;
}

static int plan_place(struct ctx *c)
{
    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        _close_ int fd = -1;
        int r;

        if (c->place_addr < v->start || c->place_addr >= v->end)
            continue;
        fd = tn_open_mapped(c->pid, &c->maps, v);
        if (fd < 0)
            return tn_fail(c->err, fd, "file_replaced",
                           "the file behind %s in process %d cannot be opened: %s", tn_vma_name(&c->maps, v),
                           c->pid, strerror(-fd));
        r = plan_file(c, fd, c->spec->file_offset, c->spec->exit ? TN_PLACE_EXIT : TN_PLACE_ENTRY, &c->plan);
        if (r == 0)
            c->bias = c->place_addr - c->plan->addr;
        return r;
    }
    return -ENOENT;
}

/* Where vfork is called: libc, or the program itself if it has none. Not finding it is no failure. */
static void plan_vfork(struct ctx *c)
{
    const struct tn_vma *best = NULL;
    _close_ int fd = -1;

    for (u32 pass = 0; pass < 2 && !best; pass++)
        for (u32 i = 0; i < c->maps.n && !best; i++) {
            const struct tn_vma *v = &c->maps.vma[i];
            const char *base = strrchr(tn_vma_name(&c->maps, v), '/');

            if (!v->ino || !(v->prot & PROT_EXEC) || !base)
                continue;
            if (pass == 0 ? !strncmp(base, "/libc.so", 8) || !strncmp(base, "/libc-", 6) ||
                                !strncmp(base, "/ld-musl", 8)
                          : tn_proc_auxv(c->pid, AT_BASE) == 0)
                best = v;
        }
    if (!best)
        return;
    fd = tn_open_mapped(c->pid, &c->maps, best);
    if (fd < 0 || plan_file(c, fd, 0, TN_PLACE_SYSCALL, &c->vfork) < 0 || !c->vfork || !c->vfork->npatches) {
        c->vfork = NULL;
        return;
    }
    u64 offset = c->vfork->symbol_offset;

    if (offset < best->offset || offset - best->offset >= best->end - best->start)
        c->vfork = NULL;
    else
        c->vfork_bias = best->start + (offset - best->offset) - c->vfork->addr;
}

/* ------------------------------------------------------------------------- what to map */

static int want(struct ctx *c, u32 kind, u32 id, u64 addr, u64 len, u32 prot, bool shared, int fd, u64 offset)
{
    struct tn_map_req *q = &c->req[c->nreq];

    if (c->nreq == TN_MAP_REQS_MAX || (fd >= 0 && c->nfds == TN_FDS_MAX))
        return tn_fail(c->err, -E2BIG, "too_many_maps",
                       "the program uses more maps than can be passed at once");
    *q = (struct tn_map_req){.kind = kind,
                             .id = id,
                             .addr = addr,
                             .len = len,
                             .prot = prot,
                             .shared = shared,
                             .fd = -1,
                             .offset = offset,
                             .wipe = kind == TN_REGION_PRIVATE};
    if (fd >= 0) {
        u32 k = 0;

        while (k < c->nfds && c->fds[k] != fd)
            k++;
        if (k == c->nfds)
            c->fds[c->nfds++] = fd;
        q->fd = (s32)k;
    }
    c->nreq++;
    return 0;
}

static u64 room(struct ctx *c, u64 len, u64 reach)
{
    u64 at = tn_maps_gap(&c->maps, c->mod_lo, c->mod_hi, reach, len, c->avoid, c->navoid);

    if (at && c->navoid < TN_MAP_REQS_MAX)
        c->avoid[c->navoid++] = (struct tn_range){at, at + len};
    return at;
}

/* Near if it can be (shorter trampolines), else anywhere. */
static int place_far(struct ctx *c, u64 len, u64 *ret)
{
    u64 at = room(c, len, REACH);

    if (!at)
        at = room(c, len, ANYWHERE);
    if (!at)
        return tn_fail(c->err, -ENOMEM, "no_room", "process %d has no free range of %llu bytes", c->pid,
                       (unsigned long long)len);
    *ret = at;
    return 0;
}

static int want_far(struct ctx *c, u32 kind, u32 id, u64 len, u32 prot, bool shared, int fd)
{
    u64 at;
    int r;

    if (tn_state_region(c->st, kind, id))
        return 0;
    len = TN_ROUND_UP(len, (u64)TN_PAGE);
    r = place_far(c, len, &at);
    return r < 0 ? r : want(c, kind, id, at, len, prot, shared, fd, 0);
}

static int want_agent(struct ctx *c)
{
    struct tn_agent_layout lay;
    u64 at;
    int r;

    if (tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0))
        return 0;
    r = tn_agent_layout(&lay, c->err);
    if (r == 0)
        r = place_far(c, lay.size, &at);
    for (u32 i = 0; r == 0 && i < lay.nsegments; i++) {
        const struct tn_agent_segment *s = &lay.segment[i];

        r = want(c, s->vaddr == 0 ? TN_REGION_AGENT_TEXT : TN_REGION_AGENT_DATA, s->vaddr == 0 ? 0 : i,
                 at + s->vaddr, TN_ROUND_UP(s->size, (u64)TN_PAGE), s->prot, false, c->b->agent, s->vaddr);
    }
    return r;
}

static int want_program(struct ctx *c)
{
    const struct tn_install *in = &c->spec->prog;
    struct stat sb;
    u32 free_bit = TN_SLOT_BITS;
    u64 at, text_len = TN_ROUND_UP(in->text_len, (u64)TN_PAGE);
    int r;

    if (in->nmaps > 64 || fstat(in->text, &sb) < 0)
        return tn_fail(c->err, -E2BIG, "too_many_maps", "the program uses more than 64 maps");
    for (u32 i = 0; i < c->st->nprogs; i++) {
        const struct tn_prog_slot *p = &c->st->prog[i];

        if (p->state != TN_HOOK_FREE && p->prog_id == in->prog_id && p->ino == sb.st_ino) {
            c->prog_bit = i;
            c->prog_known = true;
            break;
        }
        if (p->state == TN_HOOK_FREE && free_bit == TN_SLOT_BITS)
            free_bit = i;
    }
    free_bit = TN_MIN(free_bit, c->st->nprogs);
    if (!c->prog_known) {
        if (free_bit == TN_SLOT_BITS)
            return tn_fail(c->err, -ENOSPC, "too_many_programs", "process %d hosts %u programs already",
                           c->pid, TN_SLOT_BITS);
        c->prog_bit = free_bit;
    }
    /* Mapped, but never linked: an earlier job failed or was killed. */
    const struct tn_region *pool = tn_state_region(c->st, TN_REGION_POOL, in->prog_id);
    const struct tn_region *text = tn_state_region(c->st, TN_REGION_TEXT, in->prog_id);

    if (!text || text->ino != sb.st_ino || (in->pool_size && !pool)) {
        r = place_far(c, in->pool_size + text_len, &at);
        if (r == 0 && in->pool_size)
            r = want(c, TN_REGION_POOL, in->prog_id, at, in->pool_size, PROT_READ, false, -1, 0);
        if (r == 0)
            r = want(c, TN_REGION_TEXT, in->prog_id, at + in->pool_size, text_len, PROT_READ | PROT_EXEC,
                     false, in->text, 0);
        if (r < 0)
            return r;
    }
    for (u32 i = 0; i < in->nmaps; i++) {
        /* What programs may only read is a sealed file once it is frozen: it cannot be mapped for writing. */
        u32 prot = in->maps[i].geo.map_flags & BPF_F_RDONLY_PROG ? PROT_READ : PROT_READ | PROT_WRITE;

        r = want_far(c, TN_REGION_MAP, in->maps[i].id, in->maps[i].geo.size, prot, true, in->maps[i].fd);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A near region with room, by the id both its halves carry; −1: none. */
static s32 near_with_room(const struct ctx *c, u64 lo, u64 hi, u64 text, u64 records)
{
    for (u32 i = 0; i < c->st->nregions; i++) {
        const struct tn_region *t = &c->st->region[i], *rec;

        if (t->kind != TN_REGION_NEAR_TEXT)
            continue;
        rec = tn_state_region(c->st, TN_REGION_NEAR_RECORDS, t->id);
        if (!rec || t->len - t->used < text || rec->len - rec->used < records)
            continue;
        u64 from = TN_MIN(lo, rec->addr), to = TN_MAX(hi, t->addr + t->len);

        if (to - from < REACH)
            return (s32)t->id;
    }
    return -1;
}

static int want_near(struct ctx *c, u64 lo, u64 hi, u64 text, u64 records)
{
    u64 at, len = TN_MAX((u64)NEAR_SIZE, TN_ROUND_UP(text, (u64)TN_PAGE)), keep_lo = c->mod_lo,
            keep_hi = c->mod_hi;
    u64 rec = TN_MAX((u64)RECORDS_SIZE, TN_ROUND_UP(records, (u64)TN_PAGE));
    u32 id = 1;
    int r;

    if (near_with_room(c, lo, hi, text, records) >= 0)
        return 0;
    for (u32 i = 0; i < c->st->nregions; i++)
        if (c->st->region[i].kind == TN_REGION_NEAR_TEXT)
            id = TN_MAX(id, c->st->region[i].id + 1);
    for (u32 i = 0; i < c->nreq; i++)
        if (c->req[i].kind == TN_REGION_NEAR_TEXT) {
            u64 from = TN_MIN(lo, c->req[i].addr), to = TN_MAX(hi, c->req[i].addr + c->req[i].len);

            if (to - from < REACH)
                return 0; /* the one asked for already will do for both */
            id = TN_MAX(id, c->req[i].id + 1);
        }
    c->mod_lo = lo;
    c->mod_hi = hi;
    at = room(c, rec + len, REACH);
    c->mod_lo = keep_lo;
    c->mod_hi = keep_hi;
    if (!at)
        return tn_fail(c->err, -ENOMEM, "no_room_near",
                       "process %d has no free range of %llu bytes within 2 GiB of the code", c->pid,
                       (unsigned long long)(rec + len));
    r = want(c, TN_REGION_NEAR_RECORDS, id, at, rec, PROT_READ, false, -1, 0);
    return r < 0 ? r : want(c, TN_REGION_NEAR_TEXT, id, at + rec, len, PROT_READ | PROT_EXEC, false, -1, 0);
}

static u64 text_need(const struct tn_planned *p, bool hooks)
{
    return p ? p->npatches * (u64)(TN_DISPLACED_MAX + (hooks ? TN_TRAMPOLINE_MAX : 0) + 32) : 0;
}

static int choose(struct ctx *c)
{
    const struct tn_shared *sh = c->b->shared;
    u64 records = c->plan->npatches * 128ull + 64;
    int r;

    c->nreq = c->nfds = c->navoid = 0;
    c->prog_known = false;
    r = want_near(c, c->mod_lo, c->mod_hi, text_need(c->plan, true) + text_need(c->vfork, false), records);
    if (r == 0 && c->vfork) {
        u64 lo = c->vfork_bias + c->vfork->addr;

        r = want_near(c, TN_ROUND_DOWN(lo, 1u << 21), lo + (1u << 21), text_need(c->vfork, false), 64);
    }
    if (r == 0)
        r = want_agent(c);
    if (r == 0)
        r = want_far(c, TN_REGION_PRIVATE, 0, sizeof(struct tn_private), PROT_READ | PROT_WRITE, false, -1);
    if (r == 0)
        r = want_far(c, TN_REGION_GATES, 0, TN_MAX_LINKS, PROT_READ, true, sh->gates_ro);
    if (r == 0)
        r = want_far(c, TN_REGION_STATS, 0, TN_MAX_LINKS * sizeof(struct tn_link_stats),
                     PROT_READ | PROT_WRITE, true, sh->stats);
    if (r == 0)
        r = want_far(c, TN_REGION_CLAIMS, 0, sh->ncpu * sizeof(struct tn_cpu_claim), PROT_READ | PROT_WRITE,
                     true, sh->claims);
    return r < 0 ? r : want_program(c);
}

/* Maps what is missing: the only part for which a thread is borrowed. */
static int map_all(struct ctx *c, bool *ret_fresh_proc, struct tn_proc *ret_proc)
{
    bool fresh_proc = !tn_state_region(c->st, TN_REGION_PROC, 0);
    _close_ int proc_fd = -1;
    int r = 0;

    if (fresh_proc) {
        proc_fd = memfd_create(TN_PROC_NAME, MFD_CLOEXEC);
        if (proc_fd < 0 || ftruncate(proc_fd, TN_PROC_SIZE) < 0)
            return tn_fail(c->err, -errno, "no_memfd", "cannot make memory to share: %s", strerror(errno));
        r = want_far(c, TN_REGION_PROC, 0, TN_PROC_SIZE, PROT_READ, false, proc_fd);
    }
    *ret_fresh_proc = fresh_proc;
    if (r == 0 && c->nreq)
        r = want_far(c, TN_REGION_STUB, 0, TN_STUB_SIZE, PROT_READ | PROT_EXEC, false, -1);
    if (r == 0 && c->nreq)
        r = want_far(c, TN_REGION_SCRATCH, 0, TN_PAGE, PROT_READ | PROT_WRITE, false, -1);
    if (r < 0 || !c->nreq)
        return r;
    step("borrow");
    r = order(c, TN_ORDER_BORROW, 0, c->spec->wait_ms, 0, 0, NULL, 0, NULL, 0, &c->borrowed,
              sizeof(c->borrowed));
    if (r < 0)
        return r;
    if (fresh_proc) {
        step("facts");
        r = tn_facts_fill(c->b, c->pid, c->borrowed.fs_base, c->borrowed.tid, ret_proc);
    }
    step("map");
    if (r == 0)
        r = order(c, TN_ORDER_MAP, c->nreq, c->prog_known ? c->prog_bit : ~0u, 0, 0, c->req,
                  c->nreq * sizeof(*c->req), c->fds, c->nfds, NULL, 0);
    step("return");
    int r2 = order(c, TN_ORDER_RETURN, 0, 0, 0, 0, NULL, 0, NULL, 0, NULL, 0);

    return r < 0 ? r : r2;
}

/* ---------------------------------------------------------------------------- what to write */

static int write_proc(struct ctx *c, struct tn_proc *p)
{
    const struct tn_region *reg = tn_state_region(c->st, TN_REGION_PROC, 0);
    const struct tn_region *priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0);
    struct tn_private head = {.armed = TN_ARMED, .pid = p->pid};
    int r;

    p->priv = (struct tn_private *)priv->addr;
    p->claims = (struct tn_cpu_claim *)tn_state_region(c->st, TN_REGION_CLAIMS, 0)->addr;
    p->gates = (const u8 *)tn_state_region(c->st, TN_REGION_GATES, 0)->addr;
    p->stats = (struct tn_link_stats *)tn_state_region(c->st, TN_REGION_STATS, 0)->addr;
    r = write_order(c, priv->addr, priv, &head, offsetof(struct tn_private, slot));
    return r < 0 ? r : write_order(c, reg->addr, reg, p, sizeof(*p));
}

static u64 view_addr(const struct ctx *c, u32 index)
{
    return tn_state_region(c->st, TN_REGION_PROC, 0)->addr + TN_PROC_VIEWS_OFF + index * TN_VIEW_STRIDE;
}

/* Views are found by the map's region: the region's index is the view's. */
static int write_views(struct ctx *c, struct tn_prog_slot *prog)
{
    const struct tn_region *proc = tn_state_region(c->st, TN_REGION_PROC, 0);

    prog->nviews = c->spec->prog.nmaps;
    for (u32 i = 0; i < c->spec->prog.nmaps; i++) {
        const struct tn_install_map *m = &c->spec->prog.maps[i];
        const struct tn_region *reg = tn_state_region(c->st, TN_REGION_MAP, m->id);
        struct tn_map view = {.geo = m->geo, .id = m->id};
        u32 index = TN_STATE_VIEWS;
        int r;

        if (!reg)
            return -EPROTO;
        for (u32 k = 0; k < c->st->nviews && index == TN_STATE_VIEWS; k++)
            if (c->st->view[k].used && c->st->view[k].base == reg->addr)
                index = k;
        for (u32 k = 0; k < TN_STATE_VIEWS && index == TN_STATE_VIEWS; k++) {
            bool taken = c->st->view[k].used;

            for (u32 e = 0; e < i; e++)
                taken |= prog->view[e] == k;
            if (!taken)
                index = k;
        }
        if (index == TN_STATE_VIEWS)
            return tn_fail(c->err, -ENOSPC, "too_many_maps", "process %d has %u maps already", c->pid,
                           TN_STATE_VIEWS);
        prog->view[i] = (u16)index;
        prog->base[i] = reg->addr;
        view.base = (u8 *)reg->addr;
        r = write_order(c, view_addr(c, index), proc, &view, sizeof(view));
        if (r >= 0 && m->id == TN_TRACE_MAP_ID) {
            u64 ring = view_addr(c, index);

            r = write_order(c, proc->addr + offsetof(struct tn_proc, trace_ring), proc, &ring, sizeof(ring));
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int write_program(struct ctx *c, struct tn_prog_slot *prog)
{
    const struct tn_install *in = &c->spec->prog;
    const struct tn_region *pool = tn_state_region(c->st, TN_REGION_POOL, in->prog_id);
    const struct tn_region *text = tn_state_region(c->st, TN_REGION_TEXT, in->prog_id);
    u64 agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr;
    _free_ u64 *words = NULL;
    int r;

    *prog = (struct tn_prog_slot){.prog_id = in->prog_id,
                                  .bit = c->prog_bit,
                                  .pool = pool ? pool->addr : 0,
                                  .pool_size = in->pool_size,
                                  .text = text->addr,
                                  .text_len = text->len,
                                  .dev = text->dev,
                                  .ino = text->ino};
    r = write_views(c, prog);
    if (r < 0 || !in->npool)
        return r;
    if (!pool || in->npool > in->pool_size / 8)
        return -EPROTO;
    words = calloc(in->npool, sizeof(*words));
    if (!words)
        return -ENOMEM;
    for (u32 i = 0; i < in->npool; i++) {
        const struct tn_pool_entry *e = &in->pool[i];
        u64 off;

        if (e->kind == TN_POOL_HELPER) {
            r = tn_agent_helper(e->index, &off);
            if (r < 0)
                return tn_fail(c->err, r, "no_helper", "the agent has no helper %u", e->index);
            words[i] = agent + off;
        } else if (e->index >= in->nmaps) {
            return -EPROTO;
        } else if (e->kind == TN_POOL_MAP) {
            words[i] = view_addr(c, prog->view[e->index]);
        } else {
            words[i] = prog->base[e->index] + e->offset;
        }
    }
    return write_order(c, pool->addr, pool, words, in->npool * sizeof(*words));
}

/* Near memory being handed out by this job. */
struct near {
    const struct tn_region *text, *rec;
    u64 text_used, rec_used;
    bool touched;
};

static u64 take(u64 *used, u64 base, u64 len, u64 align)
{
    u64 at = TN_ROUND_UP(*used, align);

    *used = at + len;
    return base + at;
}

static struct near *near_for(struct ctx *c, struct near *list, u32 *n, u64 addr)
{
    for (u32 i = 0; i < *n; i++) {
        u64 from = TN_MIN(addr, list[i].rec->addr), to = TN_MAX(addr, list[i].text->addr + list[i].text->len);

        if (to - from < REACH &&
            list[i].text->len - list[i].text_used >= TN_DISPLACED_MAX + TN_TRAMPOLINE_MAX + 64)
            return &list[i];
    }
    s32 id = near_with_room(c, addr, addr + 64, TN_DISPLACED_MAX + TN_TRAMPOLINE_MAX + 64, 256);

    if (id < 0 || *n == 4)
        return NULL;
    list[*n] = (struct near){.text = tn_state_region(c->st, TN_REGION_NEAR_TEXT, (u32)id),
                             .rec = tn_state_region(c->st, TN_REGION_NEAR_RECORDS, (u32)id)};
    list[*n].text_used = list[*n].text->used;
    list[*n].rec_used = list[*n].rec->used;
    return &list[(*n)++];
}

static s32 known_site(const struct ctx *c, u64 addr)
{
    for (u32 i = 0; i < c->st->nsites; i++)
        if (c->st->site[i].state != TN_SITE_FREE && c->st->site[i].addr == addr)
            return (s32)i;
    return -1;
}

/* Bytes of a place before we do anything: the file's, or ours. */
static int check_bytes(struct ctx *c, const struct tn_planned *plan, u64 bias)
{
    for (u32 i = 0; i < plan->npatches; i++) {
        const struct tn_patch *p = &plan->patch[i];
        u64 addr = p->addr + bias;
        s32 site = known_site(c, addr);
        u8 now[TN_PATCH_MAX];

        if (p->len > sizeof(((struct tn_undo *)0)->orig))
            return tn_fail(c->err, -ENOTSUP, "window_too_long", "the place needs %u bytes", p->len);
        if (tn_peek(c->pid, addr, now, p->len) < 0)
            return tn_fail(c->err, -ENOENT, "not_mapped", "the code at 0x%llx of process %d cannot be read",
                           (unsigned long long)addr, c->pid);
        if (site >= 0 && c->st->site[site].state == TN_SITE_PATCHED) {
            if (c->st->site[site].len != p->len || c->st->site[site].hook_before != p->hook_before)
                return tn_fail(c->err, -EBUSY, "overlaps_patch",
                               "another hook changes the same instructions at 0x%llx in another way",
                               (unsigned long long)addr);
            if (!memcmp(now, c->st->site[site].patched, p->len))
                continue;
        }
        if (memcmp(now, p->expected, p->len))
            return tn_fail(c->err, -EEXIST, "foreign_bytes",
                           "the code at 0x%llx of process %d is not what %s says, and not ours: %s",
                           (unsigned long long)addr, c->pid, c->spec->path,
                           now[0] == 0xcc
                               ? "a debugger's breakpoint or a kernel uprobe is there; remove it first"
                               : "another tool has patched it");
    }
    return 0;
}

static void wire(struct tn_place_req *q, const struct tn_patch *p, u64 bias, const u8 *bytes,
                 const struct tn_displaced_out *out)
{
    q->change.addr = p->addr + bias;
    q->change.len = p->len;
    q->change.place = p->place;
    q->change.hook_before = p->hook_before;
    q->change.ninsns = TN_MIN(p->ninsns, (u8)16);
    memcpy(q->change.insn_off, p->insn_off, sizeof(q->change.insn_off));
    memcpy(q->change.from, p->expected, sizeof(q->change.from));
    memcpy(q->change.to, bytes, sizeof(q->change.to));
    memcpy(q->change.insn_at, out->insn_at, sizeof(q->change.insn_at));
}

/* Displaced instructions of a place: those of its site if it was ever patched, else new ones. */
static int make_site(struct ctx *c, struct near *n, const struct tn_patch *p, u64 bias, bool stub,
                     struct tn_place_req *q)
{
    const struct tn_region *priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0);
    u8 code[TN_DISPLACED_MAX], bytes[TN_PATCH_MAX] = {};
    struct tn_displaced_out out = {};
    int r;

    q->site = known_site(c, p->addr + bias);
    q->slot = -1;
    q->region = (u32)(n->text - c->st->region);
    if (q->site >= 0) {
        const struct tn_site *s = &c->st->site[q->site];

        memcpy(out.insn_at, s->insn_at, sizeof(out.insn_at));
        wire(q, p, bias, s->patched, &out);
        q->head = s->head;
        q->hook_return = s->hook_return;
        q->displaced = s->displaced;
        q->displaced_len = s->displaced_len;
        return 0;
    }
    q->head = stub ? 0 : take(&n->rec_used, n->rec->addr, 8, 8);
    q->displaced = n->text->addr + TN_ROUND_UP(n->text_used, 16ull);
    if (stub)
        r = tn_vfork_stub(p, bias, q->displaced, priv->addr, code, sizeof(code), &out, c->err);
    else
        r = tn_displaced(p, bias, q->displaced, q->head, code, sizeof(code), &out, c->err);
    if (r < 0)
        return r;
    q->displaced_len = out.len;
    q->hook_return = out.hook_return;
    n->text_used = q->displaced + out.len - n->text->addr;
    n->touched = true;
    r = tn_patch_bytes(p, bias, out.enter, bytes, c->err);
    if (r < 0)
        return r;
    wire(q, p, bias, bytes, &out);
    return write_order(c, q->displaced, n->text, code, out.len);
}

static int make_hook(struct ctx *c, struct near *n, const struct tn_patch *p, const struct tn_prog_slot *prog,
                     const struct tn_proc *facts, struct tn_place_req *q)
{
    const struct tn_attach_spec *s = c->spec;
    u64 agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr, enter, leave;
    u64 proc = tn_state_region(c->st, TN_REGION_PROC, 0)->addr;
    const struct tn_region *rec = n->rec, *text = n->text;
    u8 code[TN_TRAMPOLINE_MAX], text_head[256];
    ssize_t head = pread(s->prog.text, text_head, sizeof(text_head), s->prog.entry);
    struct tn_tramp_in in;
    struct tn_hook hook;
    int r = tn_agent_export("tn_agent_enter", &enter), len = 0;

    if (r == 0)
        r = tn_agent_export("tn_agent_leave", &leave);
    if (r < 0)
        return tn_fail(c->err, r, "bad_agent", "the agent's image lacks its entry points");
    in = (struct tn_tramp_in){.facts = s->prog.facts,
                              .place = p->place,
                              .follow = s->follow,
                              .tp = (enum tn_tp_how)facts->tp_how,
                              .gate = tn_state_region(c->st, TN_REGION_GATES, 0)->addr + s->link_index,
                              .priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0)->addr,
                              .proc = proc,
                              .enter = agent + enter,
                              .leave = agent + leave,
                              .prog_bit = c->prog_bit,
                              .footprint = s->prog.footprint,
                              .text = head > 0 ? text_head : NULL,
                              .text_len = head > 0 ? (u32)head : 0,
                              .text_at = prog->text + s->prog.entry,
                              .claims = tn_state_region(c->st, TN_REGION_CLAIMS, 0)->addr,
                              .ncpu = facts->ncpu,
                              .owner_pid = facts->owner_pid,
                              .rseq_cpu_off = facts->rseq_cpu_off};
    /* A spare slot in reach, else new memory. The length depends on the address only by a few bytes. */
    for (u32 i = 0; i < c->st->nhooks && q->slot < 0; i++) {
        const struct tn_hook_slot *sp = &c->st->hook[i];
        bool mine = false;

        if (sp->state != TN_HOOK_SPARE || sp->region >= c->st->nregions ||
            &c->st->region[sp->region] != n->text)
            continue;
        for (const struct tn_place_req *o = q - (size_t)q->index; o < q; o++)
            mine |= o->slot == (s32)i;
        if (mine)
            continue;
        in.at = sp->tramp;
        in.hook = sp->hook;
        len = tn_trampoline(&in, code, sizeof(code), NULL);
        if (len > 0 && (u32)len <= sp->tramp_cap) {
            q->slot = (s32)i;
            q->tramp = sp->tramp;
            q->hook = sp->hook;
            q->tramp_cap = sp->tramp_cap;
        }
    }
    if (q->slot < 0) {
        q->hook = take(&n->rec_used, rec->addr, sizeof(hook), 64);
        q->tramp = text->addr + TN_ROUND_UP(n->text_used, 64ull);
        in.at = q->tramp;
        in.hook = q->hook;
        len = tn_trampoline(&in, code, sizeof(code), c->err);
        if (len < 0)
            return len;
        q->tramp_cap = (u32)TN_ROUND_UP((u32)len, 64u);
        n->text_used = q->tramp + q->tramp_cap - text->addr;
        if (n->text_used > text->len || n->rec_used > rec->len)
            return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
        n->touched = true;
    }
    hook = (struct tn_hook){.prog = prog->text + s->prog.entry,
                            .func_ip = p->place == TN_PLACE_EXIT ? c->place_addr : p->addr + c->bias,
                            .cookie = s->cookie,
                            .stats = (u64) & ((struct tn_link_stats *)facts->stats)[s->link_index],
                            .proc = proc,
                            .next = q->hook_return,
                            .link_index = s->link_index,
                            .prog_bit = c->prog_bit};
    r = write_order(c, q->hook, rec, &hook, sizeof(hook));
    return r < 0 ? r : write_order(c, q->tramp, text, code, (u64)len);
}

static int install(struct ctx *c, const struct tn_prog_slot *prog, const struct tn_proc *facts,
                   struct tn_install_facts *ret)
{
    u32 stubs = c->vfork ? c->vfork->npatches : 0, n = 0, nnear = 0;
    struct {
        struct tn_install_req req;
        struct tn_place_req place[];
    } * msg;
    _free_ void *mem = calloc(1, sizeof(*msg) + (c->plan->npatches + stubs) * sizeof(struct tn_place_req));
    struct near near[4];
    int r = 0;

    msg = mem;
    if (!msg)
        return -ENOMEM;
    for (u32 i = 0; i < c->plan->npatches && r == 0; i++, n++) {
        const struct tn_patch *p = &c->plan->patch[i];
        struct near *k = near_for(c, near, &nnear, p->addr + c->bias);

        msg->place[n].index = n;
        if (!k)
            return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
        r = make_site(c, k, p, c->bias, false, &msg->place[n]);
        if (r == 0)
            r = make_hook(c, k, p, prog, facts, &msg->place[n]);
    }
    for (u32 i = 0; i < stubs && r == 0; i++) {
        const struct tn_patch *p = &c->vfork->patch[i];
        struct near *k = near_for(c, near, &nnear, p->addr + c->vfork_bias);

        /* One that cannot be counted is left as it is. */
        s32 known = known_site(c, p->addr + c->vfork_bias);

        if (!k || (known >= 0 && c->st->site[known].state == TN_SITE_PATCHED) ||
            make_site(c, k, p, c->vfork_bias, true, &msg->place[n]) < 0)
            continue;
        n++;
    }
    if (r < 0)
        return r;
    msg->req.link_index = c->spec->link_index;
    msg->req.nplaces = n;
    msg->req.vfork_done = c->vfork != NULL;
    msg->req.prog = *prog;
    msg->req.stuck_ms = STUCK_MS;
    for (u32 i = 0; i < nnear; i++) {
        msg->req.used[msg->req.nused].region = (u32)(near[i].text - c->st->region);
        msg->req.used[msg->req.nused++].used = near[i].text_used;
        msg->req.used[msg->req.nused].region = (u32)(near[i].rec - c->st->region);
        msg->req.used[msg->req.nused++].used = near[i].rec_used;
    }
    r = flush_writes(c);
    if (r < 0)
        return r;
    step("install");
    return order(c, TN_ORDER_INSTALL, n, 0, 0, 0, msg, sizeof(*msg) + n * sizeof(struct tn_place_req), NULL,
                 0, ret, sizeof(*ret));
}

/* ------------------------------------------------------------------------------ start-up */

/* A held process that has a loader runs until its libraries are there: no constructor has run by then. */
static int run_loader(struct ctx *c)
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
    step("run_loader");
    r = order(c, TN_ORDER_RUN_TO, 0, base + stop, base + debug + 24, entry, NULL, 0, NULL, 0, NULL, 0);
    if (r < 0)
        return r;
    tn_maps_clear(&c->maps);
    return tn_maps_read(c->pid, &c->maps);
}

int tn_brain_attach(struct tn_brain *b, struct tn_attach_result *res)
{
    struct ctx c = {.b = b, .spec = b->spec, .pid = b->spec->pid, .err = &res->why};
    struct tn_install_facts facts = {};
    struct tn_prog_slot prog;
    struct tn_proc proc = {};
    bool fresh = false;
    int r;

    step("start");
    r = check_process(&c);
    if (r == 0) {
        r = hello(&c);
        if (r < 0) /* the hands could not even open it: look again why */
            r = check_process(&c) < 0
                    ? -EPERM
                    : tn_fail(c.err, -EPERM, "not_permitted",
                              "process %d may not be entered (another user's, or ended)", c.pid);
    }
    if (r == 0) {
        r = tn_maps_read(c.pid, &c.maps);
        if (r < 0)
            tn_fail(c.err, r, r == -EACCES || r == -EPERM ? "not_permitted" : "no_such_process",
                    "process %d may not be looked into: %s", c.pid, strerror(-r));
    }
    if (r == 0 && c.st->held)
        r = run_loader(&c);
    if (r == 0)
        r = check_markers(&c);
    if (r == 0)
        r = find_place(&c);
    step("plan");
    if (r == 0)
        r = plan_place(&c);
    if (r == 0)
        r = check_bytes(&c, c.plan, c.bias);
    if (r == 0 && !b->spec->follow && !c.st->vfork_done) {
        plan_vfork(&c);
        if (c.vfork && check_bytes(&c, c.vfork, c.vfork_bias) < 0) {
            *c.err = (struct tn_error){}; /* somebody else's libc: its vfork children are not told apart */
            c.vfork = NULL;
        }
    }
    /* An address may be taken between choosing and mapping: choose again. */
    for (int tries = 0; r == 0; tries++) {
        step("choose");
        r = choose(&c);
        if (r == 0)
            r = map_all(&c, &fresh, &proc);
        if (r != -EEXIST || tries == 3)
            break;
        *c.err = (struct tn_error){};
        tn_maps_clear(&c.maps);
        r = tn_maps_read(c.pid, &c.maps);
    }
    step("write");
    if (r == 0 && fresh)
        r = write_proc(&c, &proc);
    if (r == 0 && !fresh)
        r = tn_peek(c.pid, tn_state_region(c.st, TN_REGION_PROC, 0)->addr, &proc, sizeof(proc));
    if (r == 0 && !fresh && proc.magic != TN_PROC_MAGIC) /* mapped by a job that died before it wrote */
        r = tn_facts_fill(b, c.pid, 0, c.pid, &proc) < 0 ? -ESRCH : write_proc(&c, &proc);
    if (r == 0)
        r = write_program(&c, &prog);
    if (r == 0)
        r = install(&c, &prog, &proc, &facts);
    step("done");

    res->err = r;
    if (r < 0)
        tn_fail(c.err, r, "inject", "entering process %d failed: %s", c.pid, strerror(-r));
    else
        *c.err = (struct tn_error){};
    if (c.plan) {
        snprintf(res->tactic, sizeof(res->tactic), "%s", c.plan->tactic);
        snprintf(res->symbol, sizeof(res->symbol), "%s", c.plan->symbol);
        res->symbol_offset = c.plan->symbol_offset;
    }
    res->address = c.place_addr;
    res->hold_ns_max = facts.hold_ns_max;
    res->threads = facts.threads;
    res->interrupted = facts.interrupted;
    tn_maps_clear(&c.maps);
    return r;
}
