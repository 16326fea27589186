/* SPDX-License-Identifier: MIT */
/*
 * What can be known without touching the process: may it be entered, who holds it, and where in it the file's
 * place lies. Everything read here is hostile; nothing is changed, except that what a dead holder has left is put
 * back (by the hands).
 */
#include "inject/wishes.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

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

/* Valgrind runs a translation of the program, and ends it when it comes to code that was not mapped by the program itself. */
static bool is_translated(pid_t pid)
{
    char link[64], exe[4096], *name;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/%d/exe", pid);
    n = readlink(link, exe, sizeof(exe) - 1);
    exe[n < 0 ? 0 : n] = '\0';
    name = strstr(exe, "/valgrind/");
    return name && strstr(name, "-amd64-linux");
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
                       "process %d of user %u may not be looked into: %skernel.yama.ptrace_scope, or another "
                       "rule of the "
                       "system's, forbids it",
                       c->pid, st.uid, st.uid == geteuid() ? "" : "it is somebody else's, or ");
    if (read(exe, ident, sizeof(ident)) != sizeof(ident) || ident[EI_CLASS] != ELFCLASS64)
        return tn_fail(c->err, -ENOEXEC, "not_64_bit", "process %d is not a 64-bit program", c->pid);
    if (is_translated(c->pid))
        return tn_fail(
            c->err, -EOPNOTSUPP, "translated",
            "process %d is run by Valgrind, which would end it at code that it has not seen mapped: "
            "extend the program outside Valgrind",
            c->pid);
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

static int maps_anew(struct tn_entry *c)
{
    int r;

    tn_maps_clear(&c->maps);
    r = tn_maps_read(c->pid, &c->maps);
    return r < 0 ? tn_fail(c->err, r, "no_such_process", "process %d has ended", c->pid) : 0;
}

/* For a holder on its way out. What a guardian without a broker has to give back takes it milliseconds, or as long as a thread has to
   be waited for. Of a broker nobody knows that it is about to end, and a link to all processes may meet many that another one has. */
#define BROKER_ENDS_NS   20000000ull
#define GUARDIAN_ENDS_NS 2000000000ull

/* For how long somebody else's process is looked at again. Only where it is to be entered. */
static u64 patience(const struct tn_entry *c, bool broker)
{
    return c->spec->take_only ? 0 : broker ? BROKER_ENDS_NS : GUARDIAN_ENDS_NS;
}

/* Markers of other brokers, and what dead ones have left. */
int tn_look_markers(struct tn_entry *c)
{
    const struct tn_region *mine = NULL;
    const u64 begun = tn_monotonic();
    u32 looks = 0;

    for (u32 i = 0; i < c->st->nregions; i++)
        if (c->st->region[i].kind == TN_REGION_PROC)
            mine = &c->st->region[i];
    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];
        _free_ struct tn_undo *undo = NULL;
        const struct tn_vma *opened = NULL;
        _close_ int fd = -1;
        struct tn_proc p = {};
        struct tn_mark mark;
        u32 n = 0;

        if (!tn_is_marker(&c->maps, v) || (mine && mine->addr == v->start))
            continue;
        /* The last that a broker unmaps which goes just now: all else of it is gone as well. */
        if (tn_peek(c->pid, v->start, &p, sizeof(p)) < 0 && looks++ < 3) {
            int r = maps_anew(c);

            if (r < 0)
                return r;
            i = ~0u; /* from the start */
            continue;
        }
        if (p.magic != TN_PROC_MAGIC)
            continue;
        c->gone_left |= !p.held;
        if (!p.held || tn_peek(c->pid, v->start + TN_PROC_MARK_OFF, &mark, sizeof(mark)) < 0)
            continue;
        bool same = mark.pid == (u32)c->pid && mark.start_time == tn_proc_start_time(c->pid);
        bool broker = tn_proc_lives((pid_t)p.broker_pid, p.broker_start);
        bool guardian = tn_proc_lives((pid_t)p.guardian_pid, p.guardian_start);

        if (same && (broker || guardian)) {
            int r = tn_monotonic() - begun < patience(c, broker) ? maps_anew(c) : -EBUSY;

            if (r == -EBUSY)
                return tn_fail(c->err, r, "held",
                               "process %d is held by another broker (process %u of uid %u): attach through "
                               "that one, or end it",
                               c->pid, p.broker_pid, p.broker_uid);
            if (r < 0)
                return r;
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
            i = ~0u;
            continue;
        }
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
        c->gone_left = true;
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
void tn_look_put_back(const struct tn_entry *c, u64 addr, u8 *bytes, u32 len)
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
u64 tn_look_counter(const struct tn_entry *c, u64 place, u64 offset)
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

/* The first mapping of the spec's file that holds the place. */
int tn_look_place(struct tn_entry *c)
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
        if (!(v->prot & PROT_EXEC) || offset < v->offset || offset - v->offset >= v->end - v->start)
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
    for (u32 i = 0; i < c->maps.n; i++) {
        const struct tn_vma *v = &c->maps.vma[i];

        /* Another copy of the file (dlmopen, V8's builtins) may lie anywhere: it has a region of its own. */
        if (v->ino != s->ino || !(v->prot & PROT_EXEC) || v->end + TN_REACH / 4 < c->place_addr ||
            v->start > c->place_addr + TN_REACH / 4)
            continue;
        c->mod_lo = TN_MIN(c->mod_lo, v->start);
        c->mod_hi = TN_MAX(c->mod_hi, v->end);
    }
    return 0;
}

/* Memory of ours, or of a broker that is dead: its hands have written down where. */
bool tn_look_ours(const struct tn_entry *c, u64 addr)
{
    _free_ struct tn_own_code *ours = calloc(1, sizeof(*ours));

    if (tn_stub_left(c->pid, addr))
        return true;
    for (u32 i = 0; i < c->st->nregions; i++)
        if (addr - c->st->region[i].addr < c->st->region[i].len)
            return true;
    for (u32 i = 0; i < c->maps.n && ours; i++) {
        if (!tn_is_marker(&c->maps, &c->maps.vma[i]) ||
            tn_peek(c->pid, c->maps.vma[i].start + TN_PROC_OURS_OFF, ours, sizeof(*ours)) < 0)
            continue;
        for (u32 k = 0; k < ours->count && k < TN_OWN_MAX; k++)
            if (addr - ours->range[k].start < ours->range[k].end - ours->range[k].start)
                return true;
    }
    return false;
}

s32 tn_look_site(const struct tn_entry *c, u64 addr, const struct tn_patch *p)
{
    for (u32 k = tn_state_near(c->st, addr); k; k = c->st->site[k - 1].next_near)
        if (c->st->site[k - 1].state != TN_SITE_FREE && c->st->site[k - 1].state != TN_SITE_GONE &&
            tn_site_is(&c->st->site[k - 1], addr, p))
            return (s32)k - 1;
    return -1;
}
