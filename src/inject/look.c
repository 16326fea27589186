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

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ------------------------------------------------------------------- what process is this */

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
int tn_look_markers(struct tn_entry *c)
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
        /* A dead holder's, or inherited from a parent: put back what is there.
           Not a word of it is believed. */
        undo = calloc(TN_UNDO_COUNT, sizeof(*undo));
        if (!undo)
            return -ENOMEM;
        for (u32 k = 0; k < TN_UNDO_COUNT; k++) {
            struct tn_undo *u = &undo[n];
            const struct tn_vma *code;
            _close_ int fd = -1;
            u8 disk[sizeof(u->orig)], now[sizeof(u->orig)];

            if (tn_peek(c->pid, v->start + TN_PROC_UNDO_OFF + k * sizeof(*u), u, sizeof(*u)) < 0)
                break;
            if (u->state == 2 && u->len == TN_UNDO_COUNTER && tn_maps_data(&c->maps, u->addr, sizeof(u16))) {
                n++;
                continue;
            }
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
        int r =
            tn_brain_order(c, TN_ORDER_TAKE, n, v->start, 0, 0, undo, n * sizeof(*undo), NULL, 0, NULL, 0);

        if (r < 0)
            return r;
    }
    return 0;
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
int tn_look_place(struct tn_entry *c)
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
    if (s->ref_ctr) {
        c->counter = counter_at(c, c->place_addr, s->ref_ctr);
        if (!c->counter)
            return tn_fail(
                c->err, -EINVAL, "no_counter",
                "the reference counter (USDT semaphore) at offset 0x%llx of %s lies in no memory of process "
                "%d that it could write",
                (unsigned long long)s->ref_ctr, s->path, c->pid);
    }
    c->mod_lo = c->mod_hi = c->place_addr;
    for (u32 i = 0; i < c->maps.n; i++)
        if (c->maps.vma[i].ino == s->ino && (c->maps.vma[i].prot & PROT_EXEC)) {
            c->mod_lo = TN_MIN(c->mod_lo, c->maps.vma[i].start);
            c->mod_hi = TN_MAX(c->mod_hi, c->maps.vma[i].end);
        }
    return 0;
}

/* ----------------------------------------------------------------------------------- plan */

static const struct tn_planned *cached(const struct tn_brain *b, const struct stat *sb, u64 offset, u32 place,
                                       bool vectors)
{
    u64 mtime = (u64)sb->st_mtim.tv_sec * 1000000000ull + (u64)sb->st_mtim.tv_nsec;

    for (u32 i = 0; i < b->ncache; i++) {
        const struct tn_planned *p = b->cache[i];

        if (p->dev == sb->st_dev && p->ino == sb->st_ino && p->mtime_ns == mtime &&
            p->size == (u64)sb->st_size && p->file_offset == offset && p->place == place &&
            (!vectors || p->vectors != TN_VECTORS_UNKNOWN))
            return p;
    }
    return NULL;
}

/* What may be live at an entry of the module beyond its arguments. */
static enum tn_vectors vectors_of(const struct tn_module *m)
{
    for (u32 i = 0; i < tn_module_ncode(m); i++)
        if (tn_code_has_wide(tn_module_code_at(m, i)))
            return TN_VECTORS_WIDE;
    return TN_VECTORS_XMM;
}

static int plan_file(struct tn_entry *c, int fd, u64 offset, u32 kind, const struct tn_planned **ret)
{
    struct tn_planned *p = NULL;
    struct tn_module *m = NULL;
    struct tn_plan plan = {};
    struct stat sb;
    bool vectors = c->spec->typed && c->spec->prog.facts->calls_host && kind == TN_PLACE_ENTRY;
    u64 addr = 0;
    int r;

    if (fstat(fd, &sb) < 0)
        return -errno;
    *ret = cached(c->b, &sb, offset, kind, vectors);
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
    p->entry = place == TN_PLACE_ENTRY;
    p->npatches = plan.npatches;
    memcpy(p->patch, plan.patches, plan.npatches * sizeof(*plan.patches));
    snprintf(p->tactic, sizeof(p->tactic), "%s", plan.tactic ? plan.tactic : "");
    if (f && f->name)
        snprintf(p->symbol, sizeof(p->symbol), "%s", f->name);
    p->symbol_offset = f ? addr - f->addr : 0;
    if (vectors)
        p->vectors = vectors_of(m);
out:
    tn_plan_clear(&plan);
    tn_module_free(m);
    if (r < 0) {
        free(p);
        return r;
    }
    c->b->fresh[c->b->nfresh++] = p; /* TN_FRESH_PLANS at most */
    *ret = p;
    return 0;
}

/* Both ends of a function, for a program that reads at one what was kept at the other. */
static int plan_before(struct tn_entry *c, int fd)
{
    int r = plan_file(c, fd, c->spec->file_offset, TN_PLACE_ENTRY, &c->before);

    if (r < 0)
        return r;
    const struct tn_plan entry = {.patches = (struct tn_patch *)c->before->patch,
                                  .npatches = c->before->npatches},
                         exit = {.patches = (struct tn_patch *)c->plan->patch, .npatches = c->plan->npatches};

    return tn_plan_overlap(&entry, &exit)
               ? tn_refuse(c->err, -ENOTSUP, TN_REFUSE_ENTRY_MEETS_EXIT, c->plan->addr, NULL)
               : 0;
}

int tn_plan_place(struct tn_entry *c)
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
        return r == 0 && tn_brain_stash_size(c->spec) ? plan_before(c, fd) : r;
    }
    return -ENOENT;
}

/* Where vfork is called: libc, or the program itself if it has none. Not finding it is no failure. */
void tn_plan_vfork(struct tn_entry *c)
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

s32 tn_look_site(const struct tn_entry *c, u64 addr)
{
    for (u32 i = 0; i < c->st->nsites; i++)
        if (c->st->site[i].state != TN_SITE_FREE && c->st->site[i].addr == addr)
            return (s32)i;
    return -1;
}

/* Bytes of a place before we do anything: the file's, or ours. */
int tn_look_bytes(struct tn_entry *c, const struct tn_planned *plan, u64 bias)
{
    for (u32 i = 0; i < plan->npatches; i++) {
        const struct tn_patch *p = &plan->patch[i];
        u64 addr = p->addr + bias;
        s32 site = tn_look_site(c, addr);
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
