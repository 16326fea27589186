/* SPDX-License-Identifier: MIT */
/*
 * What can be known without touching the process: may it be entered, who holds it, where in it the file's
 * place lies, what would have to be changed there, and whether the bytes are the file's. Everything read here
 * is hostile; nothing is changed, except that what a dead holder has left is put back (by the hands).
 */
#include "inject/brain.h"
#include "rewrite/module.h"
#include "rewrite/refusals.h"
#include "rewrite/vectors.h"
#include "rt/signals.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define EXITS_MAX 640u /* of one function, and of those that run in its place */

/* ------------------------------------------------------------------- what process is this */

/* Would the kernel have given this program more than it has, had nobody without privileges traced it? */
static bool loses_privileges(int exe, const struct tn_status *st)
{
    struct statvfs fs;
    struct stat sb;

    if (geteuid() == 0 || fstat(exe, &sb) < 0 || fstatvfs(exe, &fs) < 0 || fs.f_flag & ST_NOSUID)
        return false;
    return (sb.st_mode & S_ISUID && sb.st_uid != st->euid) ||
           (sb.st_mode & S_ISGID && sb.st_mode & S_IXGRP && sb.st_gid != getegid()) ||
           fgetxattr(exe, "security.capability", NULL, 0) > 0;
}

int tn_look_process(struct tn_entry *c)
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
    /* Its memory is its parent's, and another's to enter, until it executes something. */
    if (st.parent > 0 && tn_proc_same_mm(c->pid, st.parent))
        return tn_fail(c->err, -EAGAIN, "vfork_child",
                       "process %d runs in the memory of process %d, which has made it by vfork: try again",
                       c->pid, st.parent);
    /* Once the hands have answered, whatever traces is not the hands of an earlier job on their way out; but hands that work on its
       parent may have a newborn, and those of a broker that was killed may be putting things right. */
    if (c->st && !c->st->held && !tn_hands_let_go(c->pid, &st)) {
        char comm[32];

        tn_proc_comm(st.tracer, comm);
        return tn_fail(c->err, -EBUSY, "already_traced",
                       "process %d is being traced by process %d (%s): end that first", c->pid, st.tracer,
                       comm);
    }
    snprintf(path, sizeof(path), "/proc/%d/exe", c->pid);
    exe = open(path, O_RDONLY | O_CLOEXEC);
    if (exe < 0 && st.uid == getuid() && st.euid != st.uid)
        return tn_fail(
            c->err, -EPERM, "setuid_program",
            "process %d runs with the rights of user %u, which its file has given it (set-user-ID): only "
            "root may enter it",
            c->pid, st.euid);
    if (exe < 0)
        return tn_fail(c->err, -errno, errno == ENOENT ? "no_such_process" : "not_permitted",
                       "process %d may not be looked into: it belongs to another user (uid %u), or "
                       "kernel.yama.ptrace_scope forbids it",
                       c->pid, st.uid);
    if (read(exe, ident, sizeof(ident)) != sizeof(ident) || ident[EI_CLASS] != ELFCLASS64)
        return tn_fail(c->err, -ENOEXEC, "not_64_bit", "process %d is not a 64-bit program", c->pid);
    if (c->st && c->st->held == TN_HELD_START && loses_privileges(exe, &st))
        return tn_fail(
            c->err, -EPERM, "setuid_program",
            "the program of process %d gets rights by its file (set-user-ID, set-group-ID or capabilities), "
            "and would run without them while it is held by anybody but root",
            c->pid);
    return 0;
}

bool tn_is_marker(const struct tn_maps *maps, const struct tn_vma *vma)
{
    static const char name[] = "/memfd:" TN_PROC_NAME;

    return !strncmp(tn_vma_name(maps, vma), name, sizeof(name) - 1) && !vma->offset &&
           vma->end - vma->start == TN_PROC_SIZE;
}

/* As many at a time as are put back while the threads are held once. */
static int take(struct tn_entry *c, u64 proc, const struct tn_undo *undo, u32 n)
{
    int r = 0;

    for (u32 done = 0, some; r == 0 && (done < n || !done); done += some) {
        some = TN_MIN(n - done, 256u);
        r = tn_brain_order(c, TN_ORDER_TAKE, some, proc, done + some == n, 0, undo + done,
                           some * sizeof(*undo), NULL, 0, NULL, 0);
        some += !n; /* nothing but the marker */
    }
    return r;
}

static int by_address(const void *x, const void *y)
{
    const struct tn_undo *a = x, *b = y;

    return a->addr < b->addr ? -1 : a->addr > b->addr;
}

/* Markers of other brokers, and what dead ones have left. */
int tn_look_markers(struct tn_entry *c)
{
    const struct tn_region *mine = NULL;

    for (u32 i = 0; i < c->st->nregions; i++)
        if (c->st->region[i].kind == TN_REGION_PROC)
            mine = &c->st->region[i];
    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        _free_ struct tn_undo *undo = NULL;
        const struct tn_vma *opened = NULL;
        _close_ int fd = -1;
        struct tn_proc p;
        struct tn_mark mark;
        u32 n = 0;

        if (!tn_is_marker(&c->maps, v) || (mine && mine->addr == v->start))
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
        bool ours = !same && broker && p.broker_pid == (u32)getppid();

        if (c->spec->take_only && !ours)
            continue;
        /* A dead holder's, or inherited from a parent: put back what is there.
           Not a word of it is believed. */
        undo = calloc(TN_UNDO_COUNT, sizeof(*undo));
        if (!undo)
            return -ENOMEM;
        if (tn_peek(c->pid, v->start + TN_PROC_UNDO_OFF, undo, TN_UNDO_COUNT * sizeof(*undo)) < 0)
            memset(undo, 0, TN_UNDO_COUNT * sizeof(*undo));
        for (u32 k = 0; k < TN_UNDO_COUNT; k++) {
            struct tn_undo *u = &undo[n];
            const struct tn_vma *code;
            u8 disk[sizeof(u->orig)], now[sizeof(u->orig)];

            *u = undo[k];
            if (u->state == 2 && u->len == TN_UNDO_COUNTER && tn_maps_data(&c->maps, u->addr, sizeof(u16))) {
                n++;
                continue;
            }
            code = tn_maps_at(&c->maps, u->addr);
            if (!u->state || !u->len || u->len > sizeof(u->orig) || !code || !(code->prot & PROT_EXEC) ||
                !code->ino || u->len > code->end - u->addr)
                continue;
            if (code != opened) {
                if (fd >= 0)
                    close(fd);
                fd = tn_open_mapped(c->pid, &c->maps, code);
                opened = code;
            }
            if (fd < 0 ||
                pread(fd, disk, u->len, (off_t)(code->offset + (u->addr - code->start))) != u->len ||
                memcmp(disk, u->orig, u->len) || tn_peek(c->pid, u->addr, now, u->len) < 0 ||
                memcmp(now, u->patched, u->len))
                continue;
            n++;
        }
        /* Of a parent that we hold as well: its links count here until the last moment. */
        if (ours && !c->inherited.proc) {
            qsort(undo, n, sizeof(*undo), by_address);
            c->inherited.proc = v->start;
            c->inherited.undo = TN_TAKE_PTR(undo);
            c->inherited.n = n;
            c->inherited.parent = (pid_t)mark.pid;
            continue;
        }
        int r = take(c, v->start, undo, n);

        if (r < 0)
            return r;
    }
    return 0;
}

int tn_look_take(struct tn_entry *c)
{
    u64 proc = c->inherited.proc;

    c->inherited.proc = 0;
    return proc ? take(c, proc, c->inherited.undo, c->inherited.n) : 0;
}

/* Bytes as they will be when what was inherited is put back. */
static void as_put_back(const struct tn_entry *c, u64 addr, u8 *bytes, u32 len)
{
    u32 lo = 0, hi = c->inherited.proc ? c->inherited.n : 0;

    while (lo < hi) { /* the first that can reach as far as `addr` */
        u32 mid = lo + (hi - lo) / 2;

        if (c->inherited.undo[mid].addr + sizeof(c->inherited.undo->orig) <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (u32 k = lo; c->inherited.proc && k < c->inherited.n; k++) {
        const struct tn_undo *u = &c->inherited.undo[k];

        if (u->addr >= addr + len)
            break;
        for (u32 i = 0; u->len != TN_UNDO_COUNTER && i < u->len; i++)
            if (u->addr + i - addr < len)
                bytes[u->addr + i - addr] = u->orig[i];
    }
}

/* Where the process has the word at `offset` of the file whose code is mapped at `place`. */
static u64 counter_at(const struct tn_entry *c, u64 place, u64 offset)
{
    const struct tn_vma *code = tn_maps_at(&c->maps, place);

    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        u64 addr = v->start + (offset - v->offset);

        if (v->ino == code->ino && v->dev == code->dev && offset >= v->offset &&
            offset - v->offset < v->end - v->start && tn_maps_data(&c->maps, addr, sizeof(u16)))
            return addr;
    }
    return 0;
}

/* The mapping of the spec's file that holds the place. */
int tn_look_place(struct tn_entry *c, u32 nth)
{
    const struct tn_attach_spec *s = c->spec;
    const struct tn_vma *other = NULL;
    u64 offset = s->place.offset;

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
            other = v;
            continue;
        }
        if (!(v->prot & PROT_EXEC) || offset < v->offset || offset - v->offset >= v->end - v->start ||
            nth-- > 0)
            continue;
        c->place_addr = v->start + (offset - v->offset);
        break;
    }
    if (!c->place_addr && other)
        return tn_fail(
            c->err, -ESTALE, "file_replaced",
            "process %d runs an older copy of %s, which was replaced since it was loaded: restart it, or "
            "name its own, /proc/%d/map_files/%llx-%llx",
            c->pid, s->path, c->pid, (unsigned long long)other->start, (unsigned long long)other->end);
    if (!c->place_addr)
        return tn_fail(c->err, -ENOENT, "not_mapped", "%s (offset 0x%llx) is not mapped in process %d",
                       s->path, (unsigned long long)offset, c->pid);
    c->mod_lo = c->mod_hi = c->place_addr;
    for (u32 i = 0; i < c->maps.n; i++)
        if (c->maps.vma[i].ino == s->ino && (c->maps.vma[i].prot & PROT_EXEC)) {
            c->mod_lo = TN_MIN(c->mod_lo, c->maps.vma[i].start);
            c->mod_hi = TN_MAX(c->mod_hi, c->maps.vma[i].end);
        }
    return 0;
}

/* ----------------------------------------------------------------------------------- plan */

static bool has_puns(const struct tn_patch *patch, u32 n)
{
    for (u32 k = 0; k < n; k++)
        if (patch[k].punned)
            return true;
    return false;
}

/* What may be live at an entry of the module beyond its arguments. */
static enum tn_vectors vectors_of(const struct tn_module *m)
{
    for (u32 i = 0; i < tn_module_ncode(m); i++)
        if (tn_code_has_wide(tn_module_code_at(m, i)))
            return TN_VECTORS_WIDE;
    return TN_VECTORS_XMM;
}

static int add_patches(struct tn_planned **p, const struct tn_patch *patches, u32 n)
{
    struct tn_planned *more = realloc(*p, tn_planned_size(*p) + n * sizeof(*patches));

    if (!more)
        return -ENOMEM;
    *p = more;
    if (n)
        memcpy(more->patch + more->npatches, patches, n * sizeof(*patches));
    more->npatches += n;
    return 0;
}

static int add_syscalls(struct tn_planned **p, const struct tn_code_view *code, enum tn_place_kind kind,
                        u64 which)
{
    _free_ struct tn_patch *sites = NULL;
    u32 n = 0;
    int r = tn_find_syscalls(code, kind, which == TN_PLANNED_VFORKS ? &tn_wanted_vforks : NULL, &sites, &n);

    if (r < 0 || (*p)->npatches + n > TN_PLANNED_MAX)
        return r < 0 ? r : -E2BIG;
    return add_patches(p, sites, n);
}

/* The file whose code is planned for; read when the first plan is not known. */
struct source {
    int fd;
    struct stat sb;
    struct tn_module *m;
    bool no_puns;
};

static void close_source(struct source *s)
{
    tn_module_free(s->m);
}

static int plan_code(struct source *s, enum tn_place_kind place, u64 addr, bool many,
                     struct tn_plan *ret_plan, struct tn_error *err)
{
    const struct tn_code_view *code = tn_module_code(s->m, addr);
    int r = many ? tn_plan_many(code) : 0;

    return r < 0 ? r : tn_plan(code, place, addr, ret_plan, err);
}

/* A place of the file, or (SYSENTER, SYSEXIT) all of its system calls. `many`: other places are asked for as well. */
static int plan_new(struct tn_entry *c, struct source *s, u64 offset, u32 kind, bool vectors, bool many,
                    struct tn_planned **ret)
{
    struct tn_planned *p = *ret;
    struct tn_plan plan = {};
    u32 places = 0;
    u64 addr = 0;
    int r = s->m ? 0 : tn_module_open(s->fd, &s->m, c->err);

    if (r < 0)
        return r;
    if (kind == TN_PLACE_SYSENTER || kind == TN_PLACE_SYSEXIT) {
        p->go = tn_module_is_go(s->m);
        for (u32 i = 0; i < tn_module_ncode(s->m) && r == 0; i++)
            r = add_syscalls(ret, tn_module_code_at(s->m, i), (enum tn_place_kind)kind, offset);
        /* The file's addresses are relative to this one's place in the file. */
        p = *ret;
        if (r == 0 && p->npatches) {
            p->addr = p->patch[0].addr;
            r = tn_module_offset_of_addr(s->m, p->addr, &p->symbol_offset);
        }
        return r;
    }
    r = tn_module_addr_of_offset(s->m, offset, &addr);
    if (r < 0)
        return tn_fail(c->err, r, "not_code", "offset 0x%llx of %s is not in an executable segment",
                       (unsigned long long)offset, c->spec->path);
    const struct tn_func *f = tn_module_func(s->m, addr);
    enum tn_place_kind place = kind == TN_PLACE_EXIT || kind == TN_PLACE_TAIL ? (enum tn_place_kind)kind
                               : f && f->addr == addr && !f->part             ? TN_PLACE_ENTRY
                                                                              : TN_PLACE_OFFSET;

    p->addr = addr;
    r = plan_code(s, place, addr, many, &plan, c->err);
    if (r == 0 && s->no_puns && has_puns(plan.patches, plan.npatches)) {
        tn_plan_clear(&plan);
        r = tn_refuse(c->err, -ENOTSUP, TN_REFUSE_TOO_SHORT, addr, NULL);
    }
    if (r < 0 && tn_break_serves(place, c->err->reason)) {
        struct tn_error jump = *c->err;

        *c->err = (struct tn_error){};
        r = tn_plan_break(tn_module_code(s->m, addr), place, addr, &plan, c->err);
        if (r < 0 && r != -ENOMEM)
            *c->err = jump;
    }
    for (u32 i = 0; i < plan.npatches; i++)
        places += !plan.patches[i].instead;
    if (r == 0 && places > EXITS_MAX)
        r = tn_fail(c->err, -E2BIG, "too_many_exits", "the function has %u ways out; %u can be patched",
                    places, EXITS_MAX);
    p->entry = place == TN_PLACE_ENTRY;
    if (r == 0)
        r = add_patches(ret, plan.patches, plan.npatches);
    p = *ret;
    snprintf(p->tactic, sizeof(p->tactic), "%s", plan.tactic ? plan.tactic : "");
    if (f && f->name)
        snprintf(p->symbol, sizeof(p->symbol), "%s", f->name);
    p->symbol_offset = f ? addr - f->addr : 0;
    if (vectors)
        p->vectors = vectors_of(s->m);
    tn_plan_clear(&plan);
    return r;
}

static int plan_file(struct tn_entry *c, struct source *s, u64 offset, u32 kind, bool many,
                     const struct tn_planned **ret)
{
    bool vectors = c->spec->typed && c->spec->prog.facts->calls_host && kind == TN_PLACE_ENTRY;
    struct tn_planned key, *p;
    int r;

    if (!s->sb.st_ino && fstat(s->fd, &s->sb) < 0)
        return -errno;
    key = tn_plans_key(&s->sb, offset, kind);
    key.vectors = vectors;
    key.no_puns = s->no_puns;
    *ret = tn_plans_find(c->b->cache, &key);
    if (!*ret)
        *ret = tn_plans_find(&c->b->fresh, &key);
    key.refused = !*ret && many && c->spec->some;
    if (key.refused)
        *ret = tn_plans_find(c->b->cache, &key);
    if (key.refused && !*ret)
        *ret = tn_plans_find(&c->b->fresh, &key);
    if (*ret)
        return 0;
    p = malloc(sizeof(*p));
    if (!p)
        return -ENOMEM;
    key.vectors = TN_VECTORS_UNKNOWN;
    *p = key;
    p->refused = 0;
    r = plan_new(c, s, offset, kind, vectors, many, &p);
    if (r < 0 && r != -ENOMEM && key.refused && c->err->reason[0] && p->addr) {
        p->refused = 1;
        snprintf(p->tactic, sizeof(p->tactic), "%.31s", c->err->reason);
        *c->err = (struct tn_error){};
        r = 0;
    }
    if (r < 0) {
        free(p);
        return r;
    }
    *ret = p;
    return tn_plans_add(&c->b->fresh, p);
}

/* Would it be written over, or write over, what is patched in another way? */
static bool overlaps(const struct tn_entry *c, const struct tn_patch *p, u64 addr)
{
    return tn_state_overlap(c->st, addr, p->len, 0, tn_look_site(c, addr, p)) >= 0;
}

/* Bytes of a place before we do anything: the file's, or ours. */
static int look_bytes(const struct tn_entry *c, const struct tn_patch *p, u64 bias, const char *path,
                      struct tn_error *err)
{
    u64 addr = p->addr + bias;
    s32 site = tn_look_site(c, addr, p);
    u32 span = tn_patch_span(p);
    u8 now[TN_PATCH_MAX];

    if (p->len > sizeof(((struct tn_undo *)0)->orig))
        return tn_fail(err, -ENOTSUP, "window_too_long", "the place needs %u bytes", p->len);
    if (tn_peek(c->pid, addr, now, span) < 0)
        return tn_fail(err, -ENOENT, "not_mapped", "the code at 0x%llx of process %d cannot be read",
                       (unsigned long long)addr, c->pid);
    if (overlaps(c, p, addr))
        return tn_fail(err, -EBUSY, "overlaps_patch",
                       "another hook changes the same instructions at 0x%llx in another way",
                       (unsigned long long)addr);
    if (site >= 0 && c->st->site[site].state == TN_SITE_PATCHED &&
        !memcmp(now, c->st->site[site].patched, p->len) &&
        !memcmp(now + p->len, p->expected + p->len, span - p->len))
        return 0;
    as_put_back(c, addr, now, span);
    if (memcmp(now, p->expected, span))
        return tn_fail(err, -EEXIST, "foreign_bytes",
                       "the code at 0x%llx of process %d is not what %s says, and not ours: %s",
                       (unsigned long long)addr, c->pid, path,
                       now[0] == 0xcc ? "a debugger's breakpoint or a kernel uprobe is there; remove it first"
                                      : "another tool has patched it");
    return 0;
}

static bool same_place(const struct tn_patch *a, u64 a_bias, const struct tn_patch *b, u64 b_bias)
{
    return a->addr + a_bias == b->addr + b_bias && a->len == b->len && a->hook_before == b->hook_before &&
           a->punned == b->punned && a->ninsns == b->ninsns && a->rounds == b->rounds;
}

static int wish(struct tn_entry *c, const struct tn_patch *p, u64 bias, bool hook)
{
    struct tn_wish *more;

    /* A call that is hooked and counts. */
    for (u32 i = 0; !hook && i < c->nwishes; i++)
        if (same_place(c->wish[i].patch, c->wish[i].bias, p, bias)) {
            c->wish[i].common = true;
            return 0;
        }

    /* Grown by doubling. */
    if (c->nwishes & (c->nwishes - 1))
        more = c->wish;
    else
        more = reallocarray(c->wish, c->nwishes ? c->nwishes * 2 : 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    c->wish = more;
    c->wish[c->nwishes++] = (struct tn_wish){.patch = p, .bias = bias, .hook = hook, .common = !hook};
    return 0;
}

/*
 * One place, and the ways there are to patch it: patch[0], and those behind that may be had instead. A way in which it is
 * patched already is the only one. Bytes that are the file's or ours; and why not, if there is no way.
 */
static int wish_one(struct tn_entry *c, const struct tn_patch *patch, u32 n, u64 bias, const char *path)
{
    struct tn_error why = {}, other;
    u32 ways = 0, first = 0;
    int r = 0;

    for (u32 k = 0; k < n; k++) {
        const struct tn_patch *p = &patch[k];
        s32 site = tn_look_site(c, p->addr + bias, p);

        other = (struct tn_error){};
        if (look_bytes(c, p, bias, path, k ? &other : &why) < 0)
            continue;
        if (site >= 0 && c->st->site[site].state >= TN_SITE_PATCHED) {
            first = k;
            ways = 1;
            break;
        }
        first = ways ? first : k;
        ways |= 1u << (k - first);
    }
    if (!ways)
        return tn_fail(c->err, -EBUSY, why.reason, "%s", why.message);
    r = wish(c, &patch[first], bias, !patch->rounds || patch->rounds == patch->addr);
    if (r < 0)
        return r;
    c->wish[c->nwishes - 1].needed = true;
    c->wish[c->nwishes - 1].ways = ways;
    return 0;
}

/* All of a plan, for a place of the spec: that place's own, or what runs in its stead. `keeps`: they keep arguments for the
   exits. What functions that run in one another's stead have in common is patched once. */
static int wish_all(struct tn_entry *c, u32 place, const struct tn_planned *plan, u64 bias, const char *path,
                    bool keeps)
{
    int r = 0;

    for (u32 k = 0, n; r == 0 && k < plan->npatches; k += n) {
        const struct tn_patch *p = &plan->patch[k];
        bool there = false;

        for (n = 1; k + n < plan->npatches && plan->patch[k + n].instead; n++)
            ;
        for (u32 i = c->nwishes; p->tail && i-- > 0 && c->wish[i].place == place;)
            there |= same_place(c->wish[i].patch, c->wish[i].bias, p, bias) && !c->wish[i].keeps;
        if (!there)
            r = wish_one(c, p, n, bias, path);
        if (r == 0 && !there) {
            struct tn_wish *w = &c->wish[c->nwishes - 1];

            w->keeps = keeps;
            w->place = place;
            w->func = c->plans[place]->addr + c->bias;
        }
    }
    return r;
}

/* Where a jump leads through a word of the process, and all that is to be patched there. */
static int wish_beyond(struct tn_entry *c, u32 index)
{
    const struct tn_wish *w = &c->wish[index];
    u64 at = w->patch->addr + w->bias, leads = 0;
    _clean_(close_source) struct source s = {};
    const struct tn_planned *p = NULL;
    struct tn_error why = {0}, *err = c->err;
    const struct tn_vma *v;
    _close_ int fd = -1;
    char detail[256];
    int r;

    if (tn_peek(c->pid, w->patch->slot + w->bias, &leads, sizeof(leads)) < 0)
        leads = 0;
    v = leads ? tn_maps_at(&c->maps, leads) : NULL;
    if (!v || !v->ino || !(v->prot & PROT_EXEC))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_OUTSIDE, at, "to no code of a file");
    s.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
    if (fd < 0)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_OUTSIDE, at, "to a file that cannot be opened");
    c->wish[index].leads = leads;
    s.no_puns = c->no_puns[w->place];
    c->err = &why;
    r = plan_file(c, &s, v->offset + (leads - v->start), TN_PLACE_TAIL, false, &p);
    if (r == 0)
        r = wish_all(c, w->place, p, leads - p->addr, tn_vma_name(&c->maps, v), false);
    c->err = err;
    if (r == 0 || r == -ENOMEM)
        return r;
    snprintf(detail, sizeof(detail), "to 0x%llx of %.120s: %.48s", (unsigned long long)leads,
             tn_vma_name(&c->maps, v), why.reason);
    return tn_refuse(err, r, TN_REFUSE_EXIT_TAIL_OUTSIDE, at, detail);
}

void tn_plan_clear_wishes(struct tn_entry *c)
{
    free(c->wish);
    c->wish = NULL;
    c->nwishes = 0;
}

/* Both ends of a function, for a program that reads at one what was kept at the other. */
static int plan_before(struct tn_entry *c, struct source *s, u32 place, bool many)
{
    const struct tn_planned *out = c->plans[place];
    int r = plan_file(c, s, tn_spec_place(c->spec, place)->offset, TN_PLACE_ENTRY, many, &c->before[place]);

    if (r < 0 || out->refused || c->before[place]->refused)
        return r;
    const struct tn_plan entry = {.patches = (struct tn_patch *)c->before[place]->patch,
                                  .npatches = c->before[place]->npatches},
                         exit = {.patches = (struct tn_patch *)out->patch, .npatches = out->npatches};

    return tn_plan_overlap(&entry, &exit)
               ? tn_refuse(c->err, -ENOTSUP, TN_REFUSE_ENTRY_MEETS_EXIT, out->addr, NULL)
               : 0;
}

/* Of many places: which one was refused. */
static void tell_place(struct tn_entry *c, const struct source *s, u32 place)
{
    u64 offset = tn_spec_place(c->spec, place)->offset, addr;
    const struct tn_func *f =
        s->m && tn_module_addr_of_offset(s->m, offset, &addr) == 0 ? tn_module_func(s->m, addr) : NULL;
    char said[sizeof(c->err->message)];

    snprintf(said, sizeof(said), "%s", c->err->message);
    snprintf(c->err->message, sizeof(c->err->message), "place %u of %u (%.100s, offset 0x%llx): %.800s",
             place + 1, c->spec->nothers + 1, f && f->name ? f->name : "no name", (unsigned long long)offset,
             said);
}

/* Is the link there already, at this place? */
static bool linked_at(const struct tn_entry *c, const struct tn_wish *w)
{
    s32 site = tn_look_site(c, w->patch->addr + w->bias, w->patch);

    for (u32 k = site >= 0 ? c->st->site[site].hooks : 0; k; k = c->st->hook[k - 1].next_of_site)
        if (c->st->hook[k - 1].link_index == c->spec->link_index)
            return true;
    return false;
}

static void leave(struct tn_entry *c, struct tn_tally *t, const char *reason)
{
    c->res->left++;
    for (u32 i = 0; i < TN_ARRAY_SIZE(t->row); i++) {
        if (i == t->nrows) {
            snprintf(t->row[i].reason, sizeof(t->row[i].reason), "%s", reason);
            t->nrows++;
        } else if (strcmp(t->row[i].reason, reason)) {
            continue;
        }
        t->row[i].n++;
        return;
    }
}

static void tell_left(struct tn_entry *c, const char *name, const struct tn_tally *t)
{
    const char *base = strrchr(name, '/');
    size_t len = strlen(c->res->left_why), cap = sizeof(c->res->left_why);

    for (u32 i = 0; i < t->nrows; i++) {
        snprintf(c->res->left_why + len, cap - len, "%s%.40s%s%u %s",
                 i     ? ", "
                 : len ? "; "
                       : "",
                 i      ? ""
                 : base ? base + 1
                        : name,
                 i ? "" : ": ", t->row[i].n, t->row[i].reason);
        len = strlen(c->res->left_why);
    }
}

/* One place, where its file is mapped now. */
static int wish_place(struct tn_entry *c, u32 i)
{
    const struct tn_attach_place *place = tn_spec_place(c->spec, i);
    u64 at = c->plans[i]->addr + c->bias;
    const struct tn_vma *v = tn_maps_at(&c->maps, at);
    u32 first = c->nwishes;
    int r = 0;

    if (!v || v->ino != c->spec->ino || place->offset - v->offset != at - v->start)
        return tn_fail(c->err, -ENOENT, "not_mapped", "%s (offset 0x%llx) is not mapped in process %d",
                       c->spec->path, (unsigned long long)place->offset, c->pid);
    if (c->kept[i])
        return tn_refuse(c->err, -ENOTSUP, TN_REFUSE_REGISTER_KEPT, c->plans[i]->addr, NULL);
    if (c->plans[i]->refused || (c->before && c->before[i]->refused))
        return tn_fail(c->err, -ENOTSUP, (c->plans[i]->refused ? c->plans[i] : c->before[i])->tactic,
                       "the function cannot be hooked");
    if (c->before)
        r = wish_all(c, i, c->before[i], c->bias, c->spec->path, !c->spec->session);
    if (r == 0)
        r = wish_all(c, i, c->plans[i], c->bias, c->spec->path, false);
    for (u32 k = first; k < c->nwishes && r == 0; k++) {
        if (c->wish[k].patch->slot)
            r = wish_beyond(c, k);
        if (r == 0 && c->nwishes - first > EXITS_MAX)
            r = tn_refuse(c->err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_MANY, c->plans[i]->addr, NULL);
    }
    if (r < 0 || !place->ref_ctr)
        return r;
    c->wish[first].counter = counter_at(c, at, place->ref_ctr);
    if (!c->wish[first].counter)
        return tn_fail(
            c->err, -EINVAL, "no_counter",
            "the reference counter (USDT semaphore) at offset 0x%llx of %s lies in no memory of process "
            "%d that it could write",
            (unsigned long long)place->ref_ctr, c->spec->path, c->pid);
    return 0;
}

int tn_plan_again(struct tn_entry *c)
{
    int r = 0;

    tn_plan_clear_wishes(c);
    c->bias = c->place_addr - c->plan->addr;
    if (c->spec->some) {
        c->res->left = 0;
        c->res->left_why[0] = 0;
        c->left = (struct tn_tally){};
    }
    for (u32 i = 0; i <= c->spec->nothers && r == 0; i++) {
        u32 before = c->nwishes;

        r = wish_place(c, i);
        if (r == 0 || r == -ENOMEM || !c->spec->some || !c->err->reason[0])
            continue;
        c->nwishes = before;
        tn_plan_leave_place(c, c->err->reason);
        *c->err = (struct tn_error){};
        r = 0;
    }
    if (r == 0 && !c->nwishes)
        return tn_fail(c->err, -ENOTSUP, "none_can_be_hooked",
                       "none of the %u functions can be hooked in process %d: %s", c->spec->nothers + 1,
                       c->pid, c->res->left_why);
    return r;
}

void tn_plan_leave_place(struct tn_entry *c, const char *reason)
{
    leave(c, &c->left, reason);
    c->res->left_why[0] = 0;
    tell_left(c, c->spec->path, &c->left);
}

/* May the program change what it stores to in its context? A register has to be one that callers take for lost. */
static int check_changes(struct tn_entry *c, struct source *s, u32 place)
{
    static const char *const names[] = {"rax", "rcx", "rdx", "", "", "", "rsi", "rdi", "r8", "r9"};
    const struct tn_attach_spec *spec = c->spec;
    const struct tn_planned *plan = c->plans[place];
    u16 regs = tn_tramp_changes(spec->prog.facts, spec->typed ? &spec->args : NULL,
                                spec->exit ? TN_PLACE_EXIT : TN_PLACE_ENTRY);
    u16 clobbers = 0;
    int r = 0;

    if (!spec->prog.facts->ctx_written[0] || plan->refused)
        return 0;
    if (!spec->exit && !plan->entry)
        return tn_refuse(c->err, -ENOTSUP, TN_REFUSE_CTX_WRITTEN, plan->addr, NULL);
    if (regs && !s->m)
        r = tn_module_open(s->fd, &s->m, c->err);
    if (regs && r == 0)
        r = tn_func_clobbers(tn_module_code(s->m, plan->addr), plan->addr, regs, &clobbers);
    for (u32 k = 0; k < TN_ARRAY_SIZE(names) && r == 0; k++)
        if (regs & ~clobbers & 1u << k)
            r = tn_refuse(c->err, -ENOTSUP, TN_REFUSE_REGISTER_KEPT, plan->addr, names[k]);
    c->kept[place] = r == -ENOTSUP && spec->some && spec->nothers;
    if (c->kept[place]) { /* it alone is left out */
        *c->err = (struct tn_error){};
        r = 0;
    }
    return r;
}

static int plan_all(struct tn_entry *c, struct source *s)
{
    const struct tn_attach_spec *spec = c->spec;
    bool keeps = tn_brain_stash_size(spec), many = spec->nothers > 0;
    enum tn_place_kind kind = spec->exit || spec->session ? TN_PLACE_EXIT : TN_PLACE_ENTRY;
    int r = 0;

    free(c->plans);
    free(c->before);
    if (!c->no_puns)
        c->no_puns = calloc(spec->nothers + 1, sizeof(*c->no_puns));
    if (!c->kept)
        c->kept = calloc(spec->nothers + 1, sizeof(*c->kept));
    c->plans = calloc(spec->nothers + 1, sizeof(*c->plans));
    c->before = keeps ? calloc(spec->nothers + 1, sizeof(*c->before)) : NULL;
    if (!c->no_puns || !c->kept || !c->plans || (keeps && !c->before))
        return -ENOMEM;
    for (u32 i = 0; i <= spec->nothers && r == 0; i++) {
        s->no_puns = c->no_puns[i];
        r = plan_file(c, s, tn_spec_place(spec, i)->offset, kind, many, &c->plans[i]);
        if (r == 0 && keeps)
            r = plan_before(c, s, i, many);
        if (r == 0)
            r = check_changes(c, s, i);
        if (r == 0)
            c->plan = c->plans[0];
        else if (many && c->err->reason[0])
            tell_place(c, s, i);
    }
    return r;
}

int tn_plan_place(struct tn_entry *c)
{
    const struct tn_vma *v = tn_maps_at(&c->maps, c->place_addr);
    _clean_(close_source) struct source s = {};
    _close_ int fd = -1;
    int r;

    if (!v)
        return -ENOENT;
    s.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
    if (fd < 0)
        return tn_fail(c->err, fd, "file_replaced", "the file behind %s in process %d cannot be opened: %s",
                       tn_vma_name(&c->maps, v), c->pid, strerror(-fd));
    r = plan_all(c, &s);
    return r < 0 ? r : tn_plan_again(c);
}

/* --------------------------------------------------------------------------- system calls */

/* Where in the process the first address of a file's plan is; 0: in another mapping of it. */
static bool bias_of(const struct tn_planned *p, const struct tn_vma *v, u64 *ret_bias)
{
    u64 offset = p->symbol_offset;

    if (offset < v->offset || offset - v->offset >= v->end - v->start)
        return false;
    *ret_bias = v->start + (offset - v->offset) - p->addr;
    return true;
}

/* Before the call that `left` leaves; NULL where nothing can be patched there. */
static const struct tn_patch *entered(const struct tn_planned *entries, const struct tn_patch *left)
{
    for (u32 i = 0; i < entries->npatches; i++)
        if (!entries->patch[i].refused && entries->patch[i].resume + 2 == left->addr)
            return &entries->patch[i];
    return NULL;
}

/* A row a call: is it meant, can it be patched? `entries`: where the calls are entered, for the end of those whose
   number only a run tells: it is noted there. */
static int wish_call(struct tn_entry *c, const struct tn_patch *p, const struct tn_planned *entries, u64 bias,
                     struct tn_tally *t)
{
    const struct tn_patch *noted = NULL;
    bool note = c->spec->exit && p->nr == TN_NR_UNKNOWN && !p->refused;
    const struct tn_attach_spec *s = c->spec;
    struct tn_error why = {0};
    int r = 0;

    if (s->nr != TN_NR_UNKNOWN && p->nr != TN_NR_UNKNOWN && p->nr != s->nr)
        return 0;
    if (note)
        noted = entered(entries, p);
    if (p->refused) {
        leave(c, t, tn_refusal_name(p->refused));
    } else if (note && !noted) {
        leave(c, t, "number_unknown");
    } else if (look_bytes(c, p, bias, "its file", &why) < 0 ||
               (note && look_bytes(c, noted, bias, "its file", &why) < 0)) {
        leave(c, t, why.reason);
    } else {
        r = wish(c, p, bias, true);
        if (r == 0 && note)
            r = wish(c, noted, bias, false);
    }
    return r;
}

/* Memory of ours, or of a broker that is dead: its hands have written down where. */
static bool of_brokers(const struct tn_entry *c, u64 addr)
{
    struct tn_range list[TN_PROC_OURS_MAX];

    if (tn_stub_left(c->pid, addr))
        return true;
    for (u32 i = 0; i < c->st->nregions; i++)
        if (addr - c->st->region[i].addr < c->st->region[i].len)
            return true;
    for (u32 i = 0; i < c->maps.n; i++) {
        if (!tn_is_marker(&c->maps, &c->maps.vma[i]) ||
            tn_peek(c->pid, c->maps.vma[i].start + TN_PROC_OURS_OFF, list, sizeof(list)) < 0)
            continue;
        for (u32 k = 0; k < TN_PROC_OURS_MAX; k++)
            if (addr - list[k].start < list[k].end - list[k].start)
                return true;
    }
    return false;
}

#define NAMELESS_MAX (64ull << 20) /* bytes of one mapping that are looked through */

/* Code that is in no file: calls can be seen in it, and often which; where functions are, and who jumps there, nobody says. The
   kernel's own page has a few, for clocks that it cannot read without a call. */
static void leave_nameless(struct tn_entry *c, const struct tn_vma *v, const char *name, const char *reason)
{
    u64 end = TN_MIN(v->end, v->start + NAMELESS_MAX);
    _free_ u8 *bytes = malloc(16 * TN_PAGE);
    struct tn_tally t = {0};

    for (u64 at = v->start; bytes && at < end; at += 16 * TN_PAGE - 6) {
        u64 n = TN_MIN(16ull * TN_PAGE, end - at);

        if (tn_peek(c->pid, at, bytes, n) < 0)
            break;
        for (u64 i = at == v->start ? 0 : 5; i + 1 < n; i++) {
            u32 nr = 0;

            if (bytes[i] != 0x0f || bytes[i + 1] != 0x05 || of_brokers(c, at + i))
                continue;
            if (i >= 5 && bytes[i - 5] == 0xb8)
                memcpy(&nr, bytes + i - 4, sizeof(nr));
            if (i < 5 || bytes[i - 5] != 0xb8 || c->spec->nr == TN_NR_UNKNOWN || nr == (u32)c->spec->nr)
                leave(c, &t, reason);
        }
        if (n < 16ull * TN_PAGE)
            break;
    }
    tell_left(c, name, &t);
}

/* The loader's own place for debuggers, which is come to when libraries have been mapped and nothing of them has run. Where it
   cannot be hooked, those that come later are not seen, which is told. */
static int wish_loads(struct tn_entry *c)
{
    u64 base = tn_proc_auxv(c->pid, AT_BASE), stop, at;
    const struct tn_vma *v = base ? tn_maps_at(&c->maps, base) : NULL;
    struct tn_error why = {0}, *err = c->err;
    const struct tn_planned *p = NULL;
    const u32 before = c->nwishes;
    _clean_(close_source) struct source src = {};
    struct tn_tally t = {0};
    _close_ int fd = -1;
    int r;

    if (!v || !v->ino)
        return 0; /* static */
    c->err = &why;
    src.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
    r = fd < 0 ? fd : tn_dynsym(c->b, fd, "_dl_debug_state", &stop);
    at = r < 0 ? 0 : base + stop;
    v = at ? tn_maps_at(&c->maps, at) : NULL;
    if (r == 0)
        r = v ? plan_file(c, &src, v->offset + (at - v->start), TN_PLACE_ENTRY, false, &p) : -ENOENT;
    if (r == 0)
        r = p->npatches == 1 && p->patch[0].len >= 5 && !p->patch[0].punned
                ? wish_one(c, p->patch, 1, at - p->addr, tn_vma_name(&c->maps, v))
                : -ENOTSUP;
    c->err = err;
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        leave(c, &t, "loader_unhooked");
        tell_left(c, "later libraries", &t);
        return 0;
    }
    for (u32 i = before; i < c->nwishes; i++)
        c->wish[i].loads = true;
    return 0;
}

int tn_plan_syscalls(struct tn_entry *c)
{
    int r = 0;

    for (u32 i = 0; i < c->maps.n && r == 0; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        const char *name = tn_vma_name(&c->maps, v);
        const struct tn_planned *p = NULL, *entries = NULL;
        struct tn_error why = {0}, *err = c->err;
        _clean_(close_source) struct source src = {};
        _close_ int fd = -1;
        struct tn_tally t = {0};
        u64 bias;

        if (!(v->prot & PROT_EXEC) || !strncmp(name, "/memfd:tenon-", 13) || !strcmp(name, "[vsyscall]"))
            continue;
        if (!v->ino)
            leave_nameless(c, v, *name ? name : "[anonymous]",
                           strcmp(name, "[vdso]") ? "no_file" : "kernel_page");
        if (!v->ino)
            continue;
        src.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
        c->err = &why;
        r = fd < 0 ? fd : plan_file(c, &src, TN_PLANNED_ALL, TN_PLACE_SYSENTER, false, &entries);
        p = entries;
        if (r == 0 && c->spec->exit && entries->npatches)
            r = plan_file(c, &src, TN_PLANNED_ALL, TN_PLACE_SYSEXIT, false, &p);
        c->err = err;
        if (r == -ENOMEM)
            break;
        if (r < 0) { /* not a program that can be read: what is in it is not known */
            r = 0;
            leave(c, &t, "file_unreadable");
        } else if (entries->npatches && bias_of(entries, v, &bias)) {
            for (u32 k = 0; k < p->npatches && r == 0; k++)
                r = wish_call(c, &p->patch[k], entries, bias, &t);
        }
        tell_left(c, name, &t);
    }
    if (r == 0 && !c->nwishes)
        return tn_fail(c->err, -ENOENT, "no_such_call",
                       "no system call of this number stands in the code of process %d where it can be "
                       "hooked%s%s",
                       c->pid, c->res->left_why[0] ? "; left as they are: " : "", c->res->left_why);
    return r < 0 ? r : wish_loads(c);
}

bool tn_plan_rest(struct tn_entry *c)
{
    u32 n = 0, hooks = 0;

    for (u32 i = 0; i < c->nwishes; i++) {
        const struct tn_wish w = c->wish[i];

        if (w.hook && linked_at(c, &w)) {
            c->res->places += !w.loads;
            continue;
        }
        hooks += w.hook;
        c->wish[n++] = w;
    }
    c->nwishes = n;
    return hooks;
}

/* Would it change what one that is hooked changes, in any of the ways there are for that one? */
static bool meets_wish(const struct tn_entry *c, const struct tn_patch *p, u64 bias)
{
    for (u32 i = 0; i < c->nwishes; i++)
        for (u32 k = 0; k == 0 || c->wish[i].ways >> k; k++)
            if (!same_place(c->wish[i].patch + k, c->wish[i].bias, p, bias) &&
                tn_patch_meets(c->wish[i].patch + k, c->wish[i].bias, p, bias))
                return true;
    return false;
}

/* Where vfork is called: libc, or the program itself if it has none. Not finding it is no failure. */
int tn_plan_vfork(struct tn_entry *c)
{
    const struct tn_vma *best = NULL;
    const struct tn_planned *p = NULL;
    struct tn_error why = {0}, *err = c->err;
    _clean_(close_source) struct source src = {};
    _close_ int fd = -1;
    u64 bias;
    int r;

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
        return 0;
    src.fd = fd = tn_open_mapped(c->pid, &c->maps, best);
    c->err = &why;
    r = fd < 0 ? fd : plan_file(c, &src, TN_PLANNED_VFORKS, TN_PLACE_SYSENTER, false, &p);
    c->err = err;
    if (r < 0 || !p->npatches || !bias_of(p, best, &bias))
        return r == -ENOMEM ? r : 0;
    /* Somebody else's libc: its vfork children are not told apart. */
    for (u32 i = 0; i < p->npatches; i++)
        if (!p->patch[i].refused && look_bytes(c, &p->patch[i], bias, "its file", &why) < 0)
            return 0;
    for (u32 i = 0; i < p->npatches && r == 0; i++)
        if (!p->patch[i].refused && !meets_wish(c, &p->patch[i], bias))
            r = wish(c, &p->patch[i], bias, false);
    return r;
}

/* ----------------------------------------------------------------------------- breakpoints */

bool tn_plan_breaks(const struct tn_entry *c)
{
    for (u32 i = 0; i < c->nwishes; i++)
        if (c->wish[i].hook && c->wish[i].patch->len == TN_BREAK_LEN && !c->wish[i].patch->punned)
            return true;
    return false;
}

static int no_breaks(struct tn_entry *c, const char *name, u64 addr, const char *why)
{
    return tn_fail(c->err, -ENOTSUP, "signals_not_ours",
                   "no five-byte jump fits, and no breakpoint can stand in process %d: its signals cannot be "
                   "kept for it, since "
                   "code at 0x%llx of %s may set a mask or a handler, and cannot be hooked: %s",
                   c->pid, (unsigned long long)addr, name, why);
}

/* `mov $15,%rax; syscall`, to which handlers return and nobody jumps. */
static const struct tn_patch *restorer(struct tn_entry *c, const struct tn_vma *v, u64 bias, u64 addr)
{
    static const u8 code[] = TN_RESTORER;
    const u8 len = TN_RESTORER_CALL;
    s32 site;
    u8 now[sizeof(code)];
    struct tn_patch *p;

    if (c->nrestorers == TN_RESTORERS_MAX)
        return NULL;
    p = &c->restorer[c->nrestorers];
    *p = (struct tn_patch){.addr = addr - len,
                           .len = len,
                           .ninsns = 1,
                           .insn_len = {len},
                           .place = TN_PLACE_SYSENTER,
                           .hook_before = 1,
                           .nr = TN_GUARD_rt_sigreturn,
                           .resume = addr};
    memcpy(p->expected, code, len);
    site = tn_look_site(c, p->addr + bias, p);
    if (p->addr + bias < v->start || addr + bias + 2 > v->end ||
        tn_peek(c->pid, p->addr + bias, now, sizeof(now)) < 0 || memcmp(now + len, code + len, 2) ||
        (memcmp(now, code, len) && (site < 0 || memcmp(now, c->st->site[site].patched, len))))
        return NULL;
    c->nrestorers++;
    return p;
}

/* One file's. */
static int guard_file(struct tn_entry *c, const struct tn_vma *v, const struct tn_planned *p, u64 bias)
{
    const char *name = tn_vma_name(&c->maps, v);
    int r = 0;

    for (u32 k = 0; k < p->npatches && r == 0; k++) {
        const struct tn_patch *patch = &p->patch[k];
        bool needed = patch->nr == TN_NR_UNKNOWN || tn_guard_needed(patch->nr);
        struct tn_error why = {};

        if (patch->nr != TN_NR_UNKNOWN && !tn_guarded(patch->nr))
            continue;
        if (p->go && !tn_plan_breaks(c)) /* not worth it for loads */
            return no_breaks(c, name, patch->addr, "a guard may have no room on a stack of Go's");
        if (patch->refused && patch->nr == TN_GUARD_rt_sigreturn) {
            const struct tn_patch *back = restorer(c, v, bias, patch->addr);

            r = back ? wish(c, back, bias, false)
                     : no_breaks(c, name, patch->addr, "it returns from handlers in its own way");
        } else if (patch->refused) {
            r = needed ? no_breaks(c, name, patch->addr, tn_refusal_name(patch->refused)) : 0;
        } else if (look_bytes(c, patch, bias, name, &why) < 0) {
            r = needed ? no_breaks(c, name, patch->addr, why.reason) : 0;
        } else {
            r = wish(c, patch, bias, false);
        }
    }
    return r;
}

/* A call whose number is loaded right before it, and which is not one of those that count. */
static bool harmless_call(const u8 *bytes, u64 at)
{
    u32 nr;

    if (at < 5 || bytes[at - 5] != 0xb8)
        return false;
    memcpy(&nr, bytes + at - 4, sizeof(nr));
    return !tn_guard_needed((s32)nr);
}

/* Code that is in no file, or in one that is no program: whether it makes system calls can be seen, but not always which. */
static int guard_nameless(struct tn_entry *c, const struct tn_vma *v)
{
    u8 bytes[16 * TN_PAGE];

    for (u64 at = v->start; at < v->end; at += sizeof(bytes) - 6) {
        u64 n = TN_MIN(sizeof(bytes), v->end - at);

        if (tn_peek(c->pid, at, bytes, n) < 0)
            return no_breaks(c, "no program's file", at, "it cannot be read");
        for (u64 i = 0; i + 1 < n; i++)
            if (bytes[i] == 0x0f && bytes[i + 1] == 0x05 && !harmless_call(bytes, i) &&
                (i >= 5 || at == v->start) && !of_brokers(c, at + i))
                return no_breaks(c, "no program's file", at + i, "which call it makes is not known");
        if (n < sizeof(bytes))
            break;
    }
    return 0;
}

int tn_plan_guards(struct tn_entry *c)
{
    int r = 0;

    c->nrestorers = 0;
    for (u32 i = 0; i < c->maps.n && r == 0; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        const char *name = tn_vma_name(&c->maps, v);
        const struct tn_planned *p = NULL;
        struct tn_error why = {}, *err = c->err;
        _clean_(close_source) struct source src = {};
        _close_ int fd = -1;
        u64 bias;

        if (!(v->prot & PROT_EXEC) || !strncmp(name, "/memfd:tenon-", 13) || !strcmp(name, "[vsyscall]") ||
            !strcmp(name, "[vdso]"))
            continue;
        if (!v->ino) {
            r = guard_nameless(c, v);
            continue;
        }
        src.fd = fd = tn_open_mapped(c->pid, &c->maps, v);
        c->err = &why;
        r = fd < 0 ? fd : plan_file(c, &src, TN_PLANNED_ALL, TN_PLACE_SYSENTER, false, &p);
        c->err = err;
        if (r < 0 && r != -ENOMEM)
            r = guard_nameless(c, v);
        else if (r == 0 && p->npatches && bias_of(p, v, &bias))
            r = guard_file(c, v, p, bias);
    }
    return r;
}

s32 tn_look_site(const struct tn_entry *c, u64 addr, const struct tn_patch *p)
{
    for (u32 k = tn_state_near(c->st, addr); k; k = c->st->site[k - 1].next_near)
        if (c->st->site[k - 1].state != TN_SITE_FREE && c->st->site[k - 1].state != TN_SITE_GONE &&
            tn_site_is(&c->st->site[k - 1], addr, p))
            return (s32)k - 1;
    return -1;
}

bool tn_look_linked(const struct tn_entry *c)
{
    for (u32 i = 0; i < c->nwishes; i++)
        if (c->wish[i].hook && linked_at(c, &c->wish[i]))
            return true;
    return false;
}
