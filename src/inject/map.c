/* SPDX-License-Identifier: MIT */
/*
 * Mapping memory into a target through a borrowed thread, with as few of its descriptors and as few stops as
 * possible: calls are made by the dozen (stub.c).
 *
 *   target: socketpair(a, b) ── we take a by pidfd_getfd; the target closes its a
 *                            ── we send descriptors into a ── target: recvmsg(b), mmap, close … close(b)
 *
 * All are sent in one message; where the target has room for some only (RLIMIT_NOFILE), the rest is sent
 * again, one free number being enough. Another thread of the target may close our numbers at any time, or get
 * them for files of its own: so each mapping is proved afterwards by the file it shows in /proc/PID/maps, and
 * a number is closed only while it still is our file (kcmp).
 */
#include "inject/hands.h"
#include "rt/signals.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#define USER_END 0x7ffffffff000ull

static int call(struct tn_hands *h, long nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, s64 *ret)
{
    const struct tn_remote one = {nr, {a, b, c, d, e, f}};
    u32 done;
    int r;

    if (h->b.cave) {
        h->st->lent.cave = h->b.cave;
        r = tn_remote_calls(&h->t, &h->b, h->b.cave, &one, 1, &done, ret);
    } else {
        r = tn_remote_call(&h->t, &h->b, nr, one.arg, ret);
    }
    return r < 0 ? r : *ret < 0 && *ret > -4096 ? (int)*ret : 0;
}

/* A batch of calls: 0, or the error of the first that failed; *ret_done: how many were made before it. */
static int batch(struct tn_hands *h, u64 stub, const struct tn_remote *calls, u32 n, u32 *ret_done)
{
    s64 last = 0;
    int r = tn_remote_calls(&h->t, &h->b, stub, calls, n, ret_done, &last);

    return r < 0 ? r : *ret_done < n ? (int)last : 0;
}

/* All of them, whatever becomes of each. An error is the thread's. */
static int batch_each(struct tn_hands *h, u64 stub, const struct tn_remote *calls, u32 n)
{
    while (n) {
        u32 done = 0;
        s64 last;
        int r = tn_remote_calls(&h->t, &h->b, stub, calls, n, &done, &last);

        if (r < 0 || done >= n)
            return r;
        calls += done + 1;
        n -= done + 1;
    }
    return 0;
}

/* Is `theirs` in the target still the file of `ours`? All that we pass are of inodes of their own. */
static bool same_file(const struct tn_hands *h, int theirs, int ours)
{
    long differ = syscall(SYS_kcmp, getpid(), h->t.pid, KCMP_FILE, ours, theirs);
    struct stat a, b;
    char path[64];

    if (differ >= 0 || errno == EBADF)
        return differ == 0;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", h->t.pid, theirs); /* a kernel without kcmp */
    return fstat(ours, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* What lies in the scratch page while a message is received: see recvmsg(2). */
struct scratch {
    s32 pair[2];
    struct msghdr msg;
    struct iovec iov;
    char byte[8];
    char ctl[CMSG_SPACE(sizeof(int) * TN_FDS_MAX)] __attribute__((aligned(8)));
};

/* A number in the scratch page may have become somebody else's since: is it one end of a pair of datagram
   sockets that the target has made itself? */
static bool is_nameless_pair(const struct tn_hands *h, int theirs)
{
    _close_ int fd = (int)syscall(SYS_pidfd_getfd, h->pidfd, theirs, 0);
    struct sockaddr_storage name = {};
    socklen_t nname = sizeof(name), len;
    struct ucred who = {};
    int type = 0;

    len = sizeof(type);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_DGRAM)
        return false;
    len = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == h->t.pid &&
           getsockname(fd, (struct sockaddr *)&name, &nname) == 0 && name.ss_family == AF_UNIX &&
           nname == sizeof(sa_family_t);
}

/* Passes fds[0…n); returns how many arrived (≥ 1), or −errno. `first`: a call to be made before. */
static int pass(struct tn_hands *h, u64 stub, u64 at, const struct tn_remote *first, int ours, int theirs,
                const int *fds, u32 n, int *ret_theirs)
{
    struct scratch s = {.pair = {first ? (s32)first->arg[0] : -1, theirs}};
    struct tn_remote calls[2];
    u32 ncalls = 0, done;
    ssize_t sent;
    int r;

    s.iov = (struct iovec){.iov_base = (void *)(at + offsetof(struct scratch, byte)), .iov_len = 1};
    s.msg = (struct msghdr){.msg_iov = (void *)(at + offsetof(struct scratch, iov)),
                            .msg_iovlen = 1,
                            .msg_control = (void *)(at + offsetof(struct scratch, ctl)),
                            .msg_controllen = CMSG_SPACE(sizeof(int) * n)};
    r = tn_tracee_write(&h->t, at, &s, sizeof(s));
    if (r < 0)
        return r;
    sent = tn_send(ours, "x", 1, NULL, 0, fds, n);
    if (sent < 0)
        return (int)sent;
    if (first)
        calls[ncalls++] = *first;
    calls[ncalls++] = (struct tn_remote){
        SYS_recvmsg, {(u64)theirs, at + offsetof(struct scratch, msg), MSG_DONTWAIT | MSG_CMSG_CLOEXEC}};
    r = batch(h, stub, calls, ncalls, &done);
    if (r < 0)
        return r;
    r = tn_tracee_read(&h->t, at, &s, sizeof(s));
    if (r < 0) {
        tn_tracee_stumble(&h->t); /* what arrived has numbers, but which? The next hands may read them. */
        return r;
    }

    struct cmsghdr c;
    u32 got;

    memcpy(&c, s.ctl, sizeof(c));
    if (s.msg.msg_controllen < CMSG_LEN(sizeof(int)) || c.cmsg_level != SOL_SOCKET ||
        c.cmsg_type != SCM_RIGHTS || c.cmsg_len < CMSG_LEN(sizeof(int)))
        return -EMFILE;
    got = (u32)TN_MIN((c.cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t)n);
    memcpy(ret_theirs, s.ctl + CMSG_LEN(0), got * sizeof(int));
    return (int)got;
}

void tn_hands_close_left(struct tn_hands *h, const struct tn_lent *left)
{
    struct tn_remote calls[2 + TN_FDS_MAX];
    struct scratch s;
    struct cmsghdr c;
    u32 n = 0, nfds = 0;

    if (!left->scratch || !tn_stub_is(&h->t, left->stub) ||
        tn_tracee_read(&h->t, left->scratch, &s, sizeof(s)) < 0)
        return;
    memcpy(&c, s.ctl, sizeof(c));
    if (s.msg.msg_controllen >= CMSG_LEN(sizeof(int)) && c.cmsg_level == SOL_SOCKET &&
        c.cmsg_type == SCM_RIGHTS && c.cmsg_len >= CMSG_LEN(0))
        nfds = (u32)TN_MIN((c.cmsg_len - CMSG_LEN(0)) / sizeof(int), (size_t)TN_FDS_MAX);
    for (u32 i = 0; i < nfds; i++) {
        char path[64], link[64] = "";
        int fd;

        memcpy(&fd, s.ctl + CMSG_LEN(0) + i * sizeof(fd), sizeof(fd));
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", h->t.pid, fd);
        if (readlink(path, link, sizeof(link) - 1) > 0 && !strncmp(link, "/memfd:tenon", 12))
            calls[n++] = (struct tn_remote){SYS_close, {(u64)fd}};
    }
    for (u32 i = 0; i < 2; i++)
        if (s.pair[i] >= 0 && is_nameless_pair(h, s.pair[i]))
            calls[n++] = (struct tn_remote){SYS_close, {(u64)s.pair[i]}};
    if (!n || tn_borrow_held(&h->t, left->tid, &h->b, NULL) < 0)
        return;
    h->st->lent.stub = left->stub;
    batch_each(h, left->stub, calls, n);
    tn_borrow_end(&h->t, &h->b);
}

static struct tn_remote mmap_call(const struct tn_map_req *q, int their_fd)
{
    u64 flags =
        MAP_FIXED_NOREPLACE | (q->shared ? MAP_SHARED : MAP_PRIVATE) | (q->fd < 0 ? MAP_ANONYMOUS : 0) |
        (q->kind == TN_REGION_STASH || q->kind == TN_REGION_STACKS ? MAP_NORESERVE
                                                                   : 0); /* most of it is never touched */

    return (struct tn_remote){SYS_mmap, {q->addr, q->len, q->prot, flags, (u64)(s64)their_fd, q->offset}};
}

static struct tn_remote close_call(int theirs)
{
    return (struct tn_remote){SYS_close, {(u64)theirs}};
}

/* The stub itself, by a call of its own. */
static int map_stub(struct tn_hands *h, const struct tn_map_req *q)
{
    struct tn_remote c = mmap_call(q, -1);
    s64 result;
    int r = call(h, SYS_mmap, c.arg[0], c.arg[1], c.arg[2], c.arg[3], c.arg[4], c.arg[5], &result);

    if (r < 0)
        return r;
    if ((u64)result == q->addr)
        return 0;
    /* A kernel before 4.17 takes the address for a hint. */
    call(h, SYS_munmap, (u64)result, q->len, 0, 0, 0, 0, &result);
    return -EEXIST;
}

static bool request_ok(const struct tn_map_req *q, u32 nfds)
{
    return q->kind > TN_REGION_NONE && q->kind <= TN_REGION_NEAR_TEXT && q->len && q->len < 1ull << 40 &&
           !(q->len % TN_PAGE) && !(q->addr % TN_PAGE) && q->addr >= 0x10000 && q->addr < USER_END &&
           q->len <= USER_END - q->addr && !(q->offset % TN_PAGE) && q->fd < (s32)nfds &&
           !(q->prot & ~(u32)(PROT_READ | PROT_WRITE | PROT_EXEC)) &&
           (q->prot & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC);
}

/* Memory that is there is made empty, what is not is mapped. */
static struct tn_remote memory_call(const struct tn_map_req *q, bool known)
{
    return known ? (struct tn_remote){SYS_madvise, {q->addr, q->len, MADV_DONTNEED}} : mmap_call(q, -1);
}

/* A table of kept arguments that nobody fills now. */
static bool is_stash(const struct tn_state *st, const struct tn_map_req *q)
{
    const struct tn_region *reg = tn_state_region(st, TN_REGION_STASH, q->id);

    if (q->kind != TN_REGION_STASH || !reg || reg->addr != q->addr || reg->len != q->len)
        return false;
    for (u32 k = 0; k < st->nprogs; k++)
        if (st->prog[k].stash == q->addr && tn_state_keeps(st, k))
            return false;
    return true;
}

/* The inventory, as it is to be now (order.h). */
static void tell_list(struct tn_hands *h)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    _free_ struct tn_inventory *list = proc ? calloc(1, sizeof(*list)) : NULL;

    for (u32 i = 0; list && i < h->st->nregions; i++) {
        const struct tn_region *r = &h->st->region[i];

        if (r->kind)
            list->range[list->count++] = (struct tn_mapped){.addr = r->addr,
                                                            .len = r->len,
                                                            .ino = r->ino,
                                                            .kind = r->kind,
                                                            .prot = (u16)r->prot,
                                                            .shared = (u16)r->shared};
    }
    if (list)
        tn_tracee_write(&h->t, proc->addr + TN_PROC_LIST_OFF, list,
                        offsetof(struct tn_inventory, range) + list->count * sizeof(list->range[0]));
}

/* Has nobody been proved to be out of it? */
static bool in_use(const struct tn_state *st, u32 prog, const struct tn_keep *keep)
{
    return st->prog[prog].state != TN_HOOK_FREE &&
           (st->prog[prog].state != TN_HOOK_SPARE || prog == keep->slot);
}

/* A text, a map … that no program has any more, or has ever had: a job that mapped it came to no link. */
static bool is_spare(const struct tn_state *st, const struct tn_region *reg, const struct tn_keep *keep,
                     const bool *used)
{
    switch ((enum tn_region_kind)reg->kind) {
    case TN_REGION_POOL:
    case TN_REGION_TEXT:
    case TN_REGION_STASH:
        for (u32 k = 0; k < st->nprogs; k++) /* its stash may have come with a later link than the first */
            if (in_use(st, k, keep) && st->prog[k].prog_id == reg->id)
                return false;
        return reg->id != keep->prog_id;
    case TN_REGION_MAP:
        for (u32 k = 0; k < st->nviews; k++)
            if (st->view[k].used && st->view[k].base == reg->addr && used[k])
                return false;
        for (u32 k = 0; k < keep->nmaps; k++)
            if (keep->map[k] == reg->id)
                return false;
        return true;
    default:
        return false;
    }
}

/* Unmaps what is proved to be used by nobody: programs' texts, and the maps that none of the others has. Forgotten before that: were it
   done twice, it might be the host's the second time. */
static void unmap_spare(struct tn_hands *h, u64 stub, const struct tn_keep *keep)
{
    struct tn_state *st = h->st;
    bool used[TN_STATE_VIEWS] = {};
    _free_ struct tn_remote *calls = calloc(st->nregions + 1, sizeof(*calls));
    u32 n = 0;

    for (u32 i = 0; i < st->nprogs; i++)
        for (u32 k = 0; in_use(st, i, keep) && k < st->prog[i].nviews; k++)
            used[st->prog[i].view[k]] = true;

    for (u32 i = 0; i < st->nregions && calls; i++) {
        struct tn_region *reg = &st->region[i];

        if (!is_spare(st, reg, keep, used))
            continue;
        if (reg->kind == TN_REGION_MAP)
            for (u32 k = 0; k < st->nviews; k++)
                if (st->view[k].base == reg->addr)
                    st->view[k] = (struct tn_view_slot){};
        calls[n++] = (struct tn_remote){SYS_munmap, {reg->addr, reg->len}};
        *reg = (struct tn_region){};
    }
    for (u32 i = 0; calls && i < st->nprogs; i++)
        if (st->prog[i].state == TN_HOOK_SPARE && i != keep->slot)
            st->prog[i] = (struct tn_prog_slot){};
    if (!n)
        return;
    tell_list(h);
    batch_each(h, stub, calls, n);
}

void tn_hands_unmap(struct tn_hands *h)
{
    const struct tn_region *stub = tn_state_region(h->st, TN_REGION_STUB, 0);
    const struct tn_keep nothing = {.slot = TN_SLOT_BITS};

    if (!h->borrowed || !stub)
        return;
    h->st->lent.stub = stub->addr;
    unmap_spare(h, stub->addr, &nothing);
}

/* In one go: once the thread has begun, it goes on by itself. A marker that cannot be unmapped tells of the others for ever, which then
   stay as well. */
int tn_hands_unmap_left(struct tn_hands *h, u64 stub, const struct tn_left *left)
{
    _free_ struct tn_remote *calls = calloc(left->nranges + 1, sizeof(*calls));
    u32 done = 0;
    int r;

    if (!calls)
        return -ENOMEM;
    for (u32 i = 0; i < left->nranges; i++)
        calls[i] =
            (struct tn_remote){SYS_munmap, {left->range[i].start, left->range[i].end - left->range[i].start}};
    r = left->nranges ? batch(h, stub, calls, left->nranges, &done) : 0;
    if (r == 0 || done < left->nfirst)
        return r;
    return batch_each(h, stub, calls + done + 1, left->nranges - done - 1);
}

void tn_hands_unmapped(struct tn_hands *h)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    const struct tn_vma *v;

    if (!h->st->unmapping || tn_maps_read(h->t.pid, &maps) < 0)
        return;
    v = proc ? tn_maps_at(&maps, proc->addr) : NULL;
    bool begun = !v || v->ino != proc->ino;

    for (u32 i = 0; i < h->st->nregions && begun; i++)
        if (h->st->region[i].kind != TN_REGION_STUB)
            h->st->region[i] = (struct tn_region){};
    h->st->unmapping = 0;
}

/* The stub is unmapped from the cave. Without one it would be a call at somebody's own instruction, during which we must not be killed:
   then it is left, and another broker finds it by what it holds. */
void tn_hands_unmap_all(struct tn_hands *h, const struct tn_left *left)
{
    const struct tn_region *means = tn_state_region(h->st, TN_REGION_STUB, 0);
    struct tn_region stub = means ? *means : (struct tn_region){};
    s64 result;
    int r;

    if (!h->borrowed || !means)
        return;
    h->st->lent.stub = stub.addr;
    h->st->unmapping = left->own;
    r = tn_hands_unmap_left(h, stub.addr, left);
    tn_hands_unmapped(h);
    if (r < 0 || !left->own || !h->b.cave || tn_state_region(h->st, TN_REGION_PROC, 0))
        return;
    h->st->region[means - h->st->region] = (struct tn_region){}; /* before, as above */
    call(h, SYS_munmap, stub.addr, stub.len, 0, 0, 0, 0, &result);
}

static int prove(struct tn_hands *h, const struct tn_map_req *reqs, u32 n, const int *fds)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    int r = tn_maps_read(h->t.pid, &maps);

    if (r < 0)
        return r;
    for (u32 i = 0; i < n; i++) {
        struct stat sb;
        u64 at = reqs[i].addr;

        if (reqs[i].fd < 0)
            continue;
        if (fstat(fds[reqs[i].fd], &sb) < 0)
            return -errno;
        while (at < reqs[i].addr + reqs[i].len) {
            const struct tn_vma *v = tn_maps_at(&maps, at);

            if (!v || v->ino != sb.st_ino ||
                v->offset + (at - v->start) != reqs[i].offset + (at - reqs[i].addr))
                return -ESTALE;
            at = v->end;
        }
    }
    return 0;
}

/* Closes what the target has of these: file ours[i] under the number theirs[i]. One that the target refuses to close
   is asked for again, since nobody else ever would. */
static void close_all(struct tn_hands *h, u64 stub, const int *ours, const int *theirs, u32 n)
{
    struct tn_remote calls[TN_FDS_MAX + 2];

    for (u32 tries = 0; tries < 3; tries++) {
        u32 ncalls = 0;

        for (u32 i = 0; i < n; i++)
            if (theirs[i] >= 0 && same_file(h, theirs[i], ours[i]))
                calls[ncalls++] = close_call(theirs[i]);
        if (!ncalls)
            return;
        batch_each(h, stub, calls, ncalls);
    }
    tn_tracee_stumble(&h->t);
}

/* Passes the descriptors and maps them, as many at a time as the target has room for. */
static int map_files(struct tn_hands *h, u64 stub, u64 scratch, const struct tn_map_req *reqs, u32 n,
                     const int *fds, u32 nfds, bool *mapped)
{
    struct tn_remote calls[TN_MAP_REQS_MAX];
    int theirs[2 + TN_FDS_MAX], ours[2 + TN_FDS_MAX]; /* what is open there: the pair, and what was passed */
    u32 which[TN_MAP_REQS_MAX], nopen = 2, sent = 0, done = 0;
    int r = tn_tracee_read(&h->t, scratch, theirs, 2 * sizeof(int)), pair[2];
    struct tn_remote first;

    if (r < 0) {
        tn_tracee_stumble(&h->t);
        return r;
    }
    for (u32 i = 0; i < 2; i++) {
        ours[i] = pair[i] = (int)syscall(SYS_pidfd_getfd, h->pidfd, theirs[i], 0);
        r = ours[i] < 0 ? -errno : r;
        calls[i] = close_call(theirs[i]);
    }
    if (r < 0) /* made a moment ago: what has these numbers is ours */
        batch_each(h, stub, calls, 2);
    first = calls[0];
    while (sent < nfds && r == 0) {
        bool near_end = !sent && same_file(h, theirs[0], ours[0]);
        int *got = theirs + 2, arrived;
        u32 nmap = 0;

        arrived = pass(h, stub, scratch, near_end ? &first : NULL, ours[0], theirs[1], fds + sent,
                       nfds - sent, got);

        if (arrived < 0) {
            r = arrived;
            break;
        }
        for (int k = 0; k < arrived; k++)
            for (u32 i = 0; i < n; i++)
                if (reqs[i].fd == (s32)sent + k && nmap < TN_MAP_REQS_MAX) {
                    which[nmap] = i;
                    calls[nmap++] = mmap_call(&reqs[i], got[k]);
                }
        r = nmap ? batch(h, stub, calls, nmap, &done) : 0;
        for (u32 i = 0; i < done && i < nmap; i++)
            mapped[which[i]] = true;
        memcpy(ours + 2, fds + sent, (u32)arrived * sizeof(int));
        sent += (u32)arrived;
        nopen = 2 + (u32)arrived;
        if (r == 0 && sent < nfds) { /* the rest needs the numbers */
            close_all(h, stub, ours + 2, got, (u32)arrived);
            nopen = 2;
        }
    }
    close_all(h, stub, ours, theirs, nopen);
    for (u32 i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
    return r < 0 ? r : prove(h, reqs, n, fds);
}

static int by_start(const void *x, const void *y)
{
    const struct tn_own_range *a = x, *b = y;

    return a->start < b->start ? -1 : a->start > b->start;
}

static void tell_ours(struct tn_hands *h)
{
    const u32 kinds = 1u << TN_REGION_AGENT_TEXT | 1u << TN_REGION_STUB | 1u << TN_REGION_TEXT |
                      1u << TN_REGION_STUBS | 1u << TN_REGION_NEAR_TEXT;
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    _free_ struct tn_own_code *ours = calloc(1, sizeof(*ours));
    u64 at = proc ? proc->addr + TN_PROC_OURS_OFF : 0, changes = 0;

    if (!ours || !at || tn_tracee_read(&h->t, at, &changes, sizeof(changes)) < 0)
        return;
    for (u32 i = 0; i < h->st->nregions; i++) {
        const struct tn_region *r = &h->st->region[i];

        if (kinds >> r->kind & 1)
            ours->range[ours->count++] = (struct tn_own_range){r->addr, r->addr + r->len};
    }
    qsort(ours->range, ours->count, sizeof(ours->range[0]), by_start);
    changes |= 1;
    ours->changes = changes;
    if (tn_tracee_write(&h->t, at, &changes, sizeof(changes)) == 0)
        tn_tracee_write(&h->t, at, ours,
                        offsetof(struct tn_own_code, range) + ours->count * sizeof(ours->range[0]));
    changes++;
    tn_tracee_write(&h->t, at, &changes, sizeof(changes));
}

/* A thread that has no time stamp counter: the one that is ours for the moment says so; strict mode has taken it from others. */
static bool tscless(struct tn_hands *h, u64 stub, u64 scratch)
{
    const u64 at = scratch + TN_PAGE - sizeof(u64);
    const struct tn_remote ask = {SYS_prctl, {PR_GET_TSC, at}};
    _free_ pid_t *tids = NULL;
    u32 done, n = 0;
    int how = 0;

    if (batch(h, stub, &ask, 1, &done) < 0 || tn_tracee_read(&h->t, at, &how, sizeof(how)) < 0 ||
        how != PR_TSC_ENABLE)
        return true;
    if (!h->t.seccomp || tn_proc_tids(h->t.pid, &tids, &n) < 0)
        return false;
    for (u32 i = 0; i < n; i++) {
        struct tn_status st;

        if (tn_status_read(h->t.pid, tids[i], &st) == 0 && st.seccomp == SECCOMP_MODE_STRICT)
            return true;
    }
    return false;
}

/* What the agent needs before its first call: where it is told of its process, and whether it has a time stamp counter. */
static int tell_agent(struct tn_hands *h, u64 stub, u64 scratch)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    const struct tn_region *signals = tn_state_region(h->st, TN_REGION_SIGNALS, 0);
    u64 one = 1;
    int r;

    if (!proc || !signals)
        return 0;
    r = tn_tracee_write(&h->t, signals->addr + offsetof(struct tn_signals, proc), &proc->addr, sizeof(u64));
    return r == 0 && tscless(h, stub, scratch)
               ? tn_tracee_write(&h->t, signals->addr + offsetof(struct tn_signals, no_tsc), &one,
                                 sizeof(one))
               : r;
}

int tn_hands_map(struct tn_hands *h, const struct tn_keep *keep, const struct tn_map_req *reqs, u32 n,
                 const int *fds, u32 nfds, struct tn_error *err)
{
    u32 slot[TN_MAP_REQS_MAX], which[2 * TN_MAP_REQS_MAX + 1], nslots = 0, done = 0, ncalls = 0;
    const struct tn_region *known = tn_state_region(h->st, TN_REGION_STUB, 0);
    struct tn_remote calls[2 * TN_MAP_REQS_MAX + 1];
    u64 stub = known ? known->addr : 0, scratch = 0;
    bool mapped[TN_MAP_REQS_MAX] = {}, there[TN_MAP_REQS_MAX] = {}, files = false;
    const struct scratch none = {.pair = {-1, -1}};
    s64 result;
    int r = 0;

    if (!h->borrowed || n > TN_MAP_REQS_MAX || keep->nmaps > TN_ARRAY_SIZE(keep->map))
        return tn_fail(err, -EPROTO, "bad_order", "the injector sent an order out of turn");
    known = tn_state_region(h->st, TN_REGION_SCRATCH, 0);
    scratch = known ? known->addr : 0;
    for (u32 i = 0; i < n; i++) {
        if (!request_ok(&reqs[i], nfds))
            return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible mapping");
        there[i] = is_stash(h->st, &reqs[i]);
        if (reqs[i].kind == TN_REGION_SCRATCH)
            scratch = reqs[i].addr;
        files |= reqs[i].fd >= 0;
    }
    for (u32 i = 0; i < TN_STATE_REGIONS && nslots < n; i++)
        if (!h->st->region[i].kind)
            slot[nslots++] = i;
    if (nslots < n)
        return tn_fail(err, -ENOSPC, "too_many_programs", "process %d is full: %u mappings of ours", h->t.pid,
                       TN_STATE_REGIONS);
    for (u32 i = 0; i < n && r == 0; i++)
        if (reqs[i].kind == TN_REGION_STUB && !stub) {
            r = map_stub(h, &reqs[i]);
            if (r < 0)
                break;
            mapped[i] = true;
            stub = reqs[i].addr;
        }
    if (r == 0 && (!stub || !scratch))
        return tn_fail(err, -EPROTO, "bad_order", "the injector asked for mappings without the means");
    if (r < 0)
        goto out;
    h->st->lent.stub = stub;
    unmap_spare(h, stub, keep);
    if (h->left)
        tn_hands_unmap_left(h, stub, h->left);
    free(h->left);
    h->left = NULL;
    for (u32 i = 0; i < n; i++) {
        if (reqs[i].fd >= 0 || mapped[i])
            continue;
        which[ncalls] = i;
        calls[ncalls++] = memory_call(&reqs[i], there[i]);
        if (!reqs[i].wipe)
            continue;
        which[ncalls] = i;
        calls[ncalls++] = (struct tn_remote){SYS_madvise, {reqs[i].addr, reqs[i].len, MADV_WIPEONFORK}};
    }
    if (files) {
        which[ncalls] = n;
        calls[ncalls++] =
            (struct tn_remote){SYS_socketpair, {AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, scratch}};
    }
    if (files && known) /* what an earlier job has left there speaks of other descriptors */
        r = tn_tracee_write(&h->t, scratch, &none, sizeof(none));
    if (files)
        h->st->lent.scratch = scratch;
    r = r == 0 && ncalls ? batch(h, stub, calls, ncalls, &done) : r;
    for (u32 i = 0; i < done; i++)
        if (which[i] < n)
            mapped[which[i]] = true;
    if (r == 0 && files) {
        r = map_files(h, stub, scratch, reqs, n, fds, nfds, mapped);
        h->st->lent.scratch = 0;
    }
out:
    if (r < 0) {
        /* Nobody can be in them: nothing leads there. */
        for (u32 i = 0; i < n; i++)
            if (mapped[i] && !there[i])
                call(h, SYS_munmap, reqs[i].addr, reqs[i].len, 0, 0, 0, 0, &result);
        if (r == -EMFILE || r == -ENFILE)
            return tn_fail(err, r, "no_descriptors",
                           "process %d has no free descriptor for a moment's use (RLIMIT_NOFILE)", h->t.pid);
        if (r == -EEXIST)
            return tn_fail(err, r, "address_taken", "process %d has mapped something where we wanted to",
                           h->t.pid);
        if (r == -ESRCH)
            return tn_fail(err, r, "vanished", "process %d ended in the middle", h->t.pid);
        return tn_fail(err, r, "remote_map", "process %d cannot map our memory: %s", h->t.pid, strerror(-r));
    }
    for (u32 i = 0; i < n; i++) {
        struct stat sb = {};

        if (there[i])
            continue;
        if (reqs[i].fd >= 0)
            fstat(fds[reqs[i].fd], &sb);
        h->st->nregions = TN_MAX(h->st->nregions, slot[i] + 1);
        h->st->region[slot[i]] = (struct tn_region){.kind = reqs[i].kind,
                                                    .id = reqs[i].id,
                                                    .addr = reqs[i].addr,
                                                    .len = reqs[i].len,
                                                    .dev = sb.st_dev,
                                                    .ino = sb.st_ino,
                                                    .prot = reqs[i].prot,
                                                    .shared = reqs[i].shared};
    }
    tell_ours(h);
    tell_list(h);
    r = tell_agent(h, stub, scratch);
    return r < 0 ? tn_fail(err, r, "vanished", "process %d cannot be written to: %s", h->t.pid, strerror(-r))
                 : 0;
}
