/* SPDX-License-Identifier: MIT */
/* Readers of /proc; see proc.h. Numbers are parsed strictly:
   a line that does not fit is −EPROTO, never a guess. */
#include "inject/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

int tn_read_text(const char *path, size_t hint, char **ret_text, size_t *ret_len)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _free_ char *text = NULL;
    size_t cap = hint, len = 0;

    if (fd < 0)
        return -errno;
    text = malloc(cap + 1);
    if (!text)
        return -ENOMEM;
    for (;;) {
        if (len == cap) {
            if (cap > 1u << 28)
                return -EFBIG;
            char *more = realloc(text, cap * 2 + 1);

            if (!more)
                return -ENOMEM;
            text = more;
            cap *= 2;
        }
        ssize_t n = read(fd, text + len, cap - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    text[len] = 0;
    *ret_text = TN_TAKE_PTR(text);
    if (ret_len)
        *ret_len = len;
    return 0;
}

ssize_t tn_read_small(const char *path, char *buf, size_t cap)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, buf, cap - 1);
    if (n < 0)
        return -errno;
    buf[n] = 0;
    return n;
}

/* ------------------------------------------------------------------------------- maps */

/* A hexadecimal number and what must follow it. */
static bool take_hex(char **at, char stop, u64 *ret)
{
    const char *p = *at;
    u64 value = 0;

    for (;; p++) {
        u32 digit = (u8)*p - '0';

        if (digit > 9)
            digit = (u8)*p >= 'a' && *p <= 'f' ? (u32)(*p - 'a') + 10 : 16;
        if (digit > 15)
            break;
        if (value >> 60)
            return false;
        value = value << 4 | digit;
    }
    if (p == *at || *p != stop)
        return false;
    *ret = value;
    *at += p - *at + 1;
    return true;
}

int tn_maps_read(pid_t pid, struct tn_maps *ret_maps)
{
    char path[64];
    struct tn_maps maps = {};
    u32 cap = 0;
    int r;

    snprintf(path, sizeof(path), "/proc/%d/maps", pid);
    r = tn_read_text(path, 32768, &maps.text, NULL);
    if (r < 0)
        return r == -ENOENT ? -ESRCH : r;

    for (char *line = maps.text, *next; *line; line = next) {
        char *nl = strchr(line, '\n'), *at = line;
        struct tn_vma v = {};
        u64 major, minor;

        next = nl ? nl + 1 : line + strlen(line);
        if (nl)
            *nl = 0;
        if (!take_hex(&at, '-', &v.start) || !take_hex(&at, ' ', &v.end) || strlen(at) < 5)
            goto bad;
        v.prot =
            (at[0] == 'r' ? PROT_READ : 0) | (at[1] == 'w' ? PROT_WRITE : 0) | (at[2] == 'x' ? PROT_EXEC : 0);
        v.shared = at[3] == 's';
        at += 5;
        if (!take_hex(&at, ' ', &v.offset) || !take_hex(&at, ':', &major) || !take_hex(&at, ' ', &minor))
            goto bad;
        v.dev = makedev(major, minor);
        v.ino = strtoull(at, &at, 10);
        at += strspn(at, " ");
        v.name = (u32)(at - maps.text);
        if (maps.n == cap) {
            u32 want = cap ? cap * 2 : 64;
            struct tn_vma *more = realloc(maps.vma, want * sizeof(*more));

            if (!more) {
                tn_maps_clear(&maps);
                return -ENOMEM;
            }
            maps.vma = more;
            cap = want;
        }
        maps.vma[maps.n++] = v;
    }
    *ret_maps = maps;
    return 0;
bad:
    tn_maps_clear(&maps);
    return -EPROTO;
}

void tn_maps_clear(struct tn_maps *maps)
{
    free(maps->vma);
    free(maps->text);
    *maps = (struct tn_maps){};
}

const struct tn_vma *tn_maps_at(const struct tn_maps *maps, u64 addr)
{
    u32 at;

    TN_PARTITION(at, maps->n, maps->vma[at].end <= addr);
    return at < maps->n && maps->vma[at].start <= addr ? &maps->vma[at] : NULL;
}

bool tn_vma_is_kernels(const struct tn_maps *maps, const struct tn_vma *vma)
{
    static const char *const names[] = {"[vdso]", "[vsyscall]", "[uprobes]", "[uprobes-trampoline]"};

    for (u32 i = 0; i < TN_ARRAY_SIZE(names); i++)
        if (!strcmp(tn_vma_name(maps, vma), names[i]))
            return true;
    return false;
}

const struct tn_vma *tn_maps_data(const struct tn_maps *maps, u64 addr, u64 len)
{
    const struct tn_vma *v = tn_maps_at(maps, addr);

    return v && v->ino && !v->shared && (v->prot & PROT_WRITE) && len <= v->end - addr ? v : NULL;
}

#define LOWEST     0x10000ull        /* vm.mmap_min_addr's usual value */
#define HIGHEST    0x7fffffff0000ull /* end of user addresses, four-level paging */
#define HEAP_ROOM  (1ull << 30)      /* left above [heap], which grows up */
#define STACK_ROOM (1ull << 27)      /* left below a stack, which grows down */

static bool taken(u64 start, u64 len, const struct tn_range *avoid, u32 navoid, u64 *ret_below)
{
    for (u32 i = 0; i < navoid; i++)
        if (start < avoid[i].end && avoid[i].start < start + len) {
            *ret_below = avoid[i].start;
            return true;
        }
    return false;
}

/* The highest place in [from, to) that fits, or 0. */
static u64 fit_down(u64 from, u64 to, u64 len, const struct tn_range *avoid, u32 navoid)
{
    u64 below;

    from = TN_ROUND_UP(from, (u64)TN_PAGE);
    to = TN_ROUND_DOWN(to, (u64)TN_PAGE);
    while (to > from && to - from >= len) {
        if (!taken(to - len, len, avoid, navoid, &below))
            return to - len;
        if (below >= to || below < from)
            return 0;
        to = TN_ROUND_DOWN(below, (u64)TN_PAGE);
    }
    return 0;
}

/* What is free between mapping i − 1 and i; false: nothing. */
static bool between(const struct tn_maps *maps, u32 i, u64 heap_room, struct tn_range *ret)
{
    const struct tn_vma *before = i > 0 ? &maps->vma[i - 1] : NULL;
    const struct tn_vma *after = i < maps->n ? &maps->vma[i] : NULL;
    u64 from = before ? before->end : LOWEST, to = after ? after->start : HIGHEST;

    if (before && !strcmp(tn_vma_name(maps, before), "[heap]"))
        from += heap_room;
    if (after && (!strcmp(tn_vma_name(maps, after), "[stack]") || to == HIGHEST))
        to = to > STACK_ROOM ? to - STACK_ROOM : 0;
    *ret = (struct tn_range){TN_MAX(from, LOWEST), TN_MIN(to, HIGHEST)};
    return ret->start < ret->end;
}

u32 tn_maps_free(const struct tn_maps *maps, u64 heap_room, struct tn_range *ret_ranges)
{
    u32 n = 0;

    for (u32 i = 0; i <= maps->n; i++)
        n += between(maps, i, heap_room, &ret_ranges[n]);
    return n;
}

u64 tn_maps_gap(const struct tn_maps *maps, u64 lo, u64 hi, u64 reach, u64 len, const struct tn_range *avoid,
                u32 navoid)
{
    u64 low = hi > reach + LOWEST ? hi - reach : LOWEST;
    u64 high = lo + reach < HIGHEST ? lo + reach : HIGHEST;
    u64 above = 0;

    if (low >= high)
        return 0;
    for (s64 i = (s64)maps->n; i >= 0; i--) {
        struct tn_range r;
        u64 at;

        if (!between(maps, (u32)i, HEAP_ROOM, &r))
            continue;
        /* One that reaches into what is asked for is good for its part below: `lo` need not be where a mapping begins. */
        r.start = TN_MAX(r.start, low);
        r.end = TN_MIN(r.end, r.start < lo ? lo : high);
        at = r.start < r.end ? fit_down(r.start, r.end, len, avoid, navoid) : 0;
        if (!at)
            continue;
        if (at + len <= lo)
            return at; /* the nearest below */
        /* Above is second choice, and there the highest: the break of a program grows up right behind it. */
        if (!above && at >= hi)
            above = at;
    }
    return above;
}

/* ----------------------------------------------------------------------------- status */

/* R(line of /proc/PID/status, where its first number goes, its base) */
#define STATUS_ROWS(R)                                                                                       \
    R(Tgid, tgid, 10)                                                                                        \
    R(PPid, parent, 10)                                                                                      \
    R(TracerPid, tracer, 10)                                                                                 \
    R(Uid, uid, 10)                                                                                          \
    R(Threads, threads, 10)                                                                                  \
    R(Kthread, kthread, 10)                                                                                  \
    R(SigBlk, sigblk, 16)                                                                                    \
    R(SigCgt, sigcgt, 16)                                                                                    \
    R(Seccomp, seccomp, 10)                                                                                  \
    R(Seccomp_filters, filters, 10)

static bool is_line(const char *line, size_t len, const char *name, size_t nname)
{
    return len == nname && !memcmp(line, name, nname);
}

/* Of the line's name `line`, `len` bytes, what comes behind the colon: one of those that are wanted. */
static void take_status(struct tn_status *st, const char *line, size_t len, const char *end)
{
    const char *at = line + len + 1;
    char *next;

#define R(name, field, base)                                                                                 \
    if (is_line(line, len, #name, sizeof(#name) - 1))                                                        \
        st->field = (__typeof__(st->field))strtoull(at, NULL, base);
    STATUS_ROWS(R)
#undef R
    if (is_line(line, len, "State", 5)) {
        st->state = at[strspn(at, "\t")];
    } else if (is_line(line, len, "Uid", 3)) {
        st->euid = st->uid;
        (void)strtoul(at, &next, 10);
        if (next < end)
            st->euid = (u32)strtoul(next, NULL, 10);
    } else if (is_line(line, len, "NSpid", 5)) { /* the innermost is the last */
        const char *p = end;

        while (p > at && !isspace((unsigned char)p[-1]))
            p--;
        st->nspid = (u32)strtoul(p, NULL, 10);
    }
}

int tn_status_read(pid_t pid, pid_t tid, struct tn_status *ret_status)
{
    char path[96], text[8192];
    struct tn_status st = {.state = '?'};
    bool kthread = false;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
    n = tn_read_small(path, text, sizeof(text));
    if (n < 0)
        return n == -ENOENT ? -ESRCH : (int)n;
    for (const char *line = text, *colon, *end; *line; line = *end ? end + 1 : end) {
        end = strchrnul(line, '\n');
        colon = memchr(line, ':', (size_t)(end - line));
        if (!colon)
            continue;
        take_status(&st, line, (size_t)(colon - line), end);
        kthread |= is_line(line, (size_t)(colon - line), "Kthread", 7);
    }
    if (!kthread) {
        /* Before Linux 6.8: PF_KTHREAD among the flags of stat. */
        const char *close_paren;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        n = tn_read_small(path, text, sizeof(text));
        close_paren = n > 0 ? strrchr(text, ')') : NULL;
        unsigned flags = 0;

        if (close_paren && sscanf(close_paren + 2, "%*c %*d %*d %*d %*d %*d %u", &flags) == 1)
            st.kthread = flags & 0x00200000;
    }
    *ret_status = st;
    return 0;
}

u64 tn_proc_start_time(pid_t pid)
{
    char path[64], text[2048], *at;
    u64 start = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (tn_read_small(path, text, sizeof(text)) < 0)
        return 0;
    at = strrchr(text, ')');
    if (!at)
        return 0;
    /* After the name: field 3 first; 22 is the twentieth. */
    for (int i = 0; i < 20 && at; i++)
        at = strchr(at + 1, ' ');
    if (at)
        start = strtoull(at, NULL, 10);
    return start;
}

bool tn_proc_lives(pid_t pid, u64 start)
{
    struct tn_status st;

    return pid > 0 && start && tn_proc_start_time(pid) == start && tn_status_read(pid, pid, &st) == 0 &&
           st.state != 'Z' && st.state != 'X';
}

void tn_proc_comm(pid_t pid, char ret_comm[32])
{
    char path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    n = tn_read_small(path, ret_comm, 32);
    if (n <= 0)
        snprintf(ret_comm, 32, "?");
    else if (ret_comm[n - 1] == '\n')
        ret_comm[n - 1] = 0;
}

#define HANDS_NS 1000000000ull

bool tn_hands_let_go(pid_t tid, struct tn_status *st)
{
    const u64 until = tn_monotonic() + HANDS_NS;
    char comm[32];

    while (st->tracer) {
        tn_proc_comm(st->tracer, comm);
        if (st->tracer == getpid() || strcmp(comm, TN_HANDS_NAME) || tn_monotonic() > until)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (tn_status_read(tid, tid, st) < 0)
            break; /* it has ended, as whoever goes on will see */
    }
    return true;
}

/* ---------------------------------------------------------------------------- threads */

void tn_thread_doing(pid_t pid, pid_t tid, struct tn_doing_what *ret_what)
{
    char path[96], text[512], *at = text;
    struct tn_doing_what w = {.doing = TN_DOING_GONE, .nr = -1};

    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
    if (tn_read_small(path, text, sizeof(text)) > 0) {
        if (!strncmp(text, "running", 7)) {
            w.doing = TN_DOING_RUNS;
        } else {
            w.nr = strtoll(at, &at, 10);
            if (w.nr >= 0)
                for (int i = 0; i < 6; i++)
                    w.arg[i] = strtoull(at, &at, 16);
            w.sp = strtoull(at, &at, 16);
            w.pc = strtoull(at, &at, 16);
            w.doing = w.nr >= 0 ? TN_DOING_SLEEPS : TN_DOING_STOPPED;
        }
    }
    *ret_what = w;
}

int tn_thread_runs_open(pid_t pid, pid_t tid)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The third number; a kernel that does not count says 0, and no thread that has ever run has that. */
u64 tn_thread_runs(int fd)
{
    char text[96], *at = text;
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = 0;
    for (int i = 0; i < 2 && at; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static int push(pid_t **list, u32 *n, u32 *cap, pid_t pid)
{
    if (*n == *cap) {
        u32 want = *cap ? *cap * 2 : 64;
        pid_t *more = realloc(*list, want * sizeof(pid_t));

        if (!more)
            return -ENOMEM;
        *list = more;
        *cap = want;
    }
    (*list)[(*n)++] = pid;
    return 0;
}

int tn_proc_threads(pid_t pid, u32 *ret_n)
{
    struct stat st;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    if (stat(path, &st) < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    if (st.st_nlink < 2)
        return -ESRCH;
    *ret_n = (u32)st.st_nlink - 2;
    return 0;
}

static int list_tids(pid_t pid, pid_t **list, u32 *n)
{
    char path[64];
    u32 cap = 0;
    int r = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? -ESRCH : -errno;
    for (struct dirent *e; r == 0 && (e = readdir(dir));)
        if (isdigit((unsigned char)e->d_name[0]))
            r = push(list, n, &cap, atoi(e->d_name));
    closedir(dir);
    return r;
}

int tn_proc_tids(pid_t pid, pid_t **ret_tids, u32 *ret_n)
{
    _free_ pid_t *list = NULL;
    u32 there, n = 0, cap = 0;
    int r = tn_proc_threads(pid, &there);

    if (r == 0) /* the first is there as long as any is */
        r = there == 1 ? push(&list, &n, &cap, pid) : list_tids(pid, &list, &n);
    if (r < 0)
        return r;
    *ret_tids = TN_TAKE_PTR(list);
    *ret_n = n;
    return 0;
}

int tn_proc_children(pid_t pid, pid_t **ret_pids, u32 *ret_n)
{
    _free_ pid_t *tids = NULL, *list = NULL;
    u32 ntids = 0, n = 0, cap = 0;
    int r = tn_proc_tids(pid, &tids, &ntids);

    if (r < 0)
        return r;
    for (u32 i = 0; i < ntids; i++) {
        _free_ char *text = NULL;
        char path[96], *at, *end;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, tids[i]);
        if (tn_read_text(path, 512, &text, NULL) < 0)
            continue;
        for (at = text;; at = end) {
            pid_t child = (pid_t)strtol(at, &end, 10);

            if (end == at)
                break;
            r = push(&list, &n, &cap, child);
            if (r < 0)
                return r;
        }
    }
    *ret_pids = TN_TAKE_PTR(list);
    *ret_n = n;
    return 0;
}

u32 tn_proc_confined(pid_t pid)
{
    _free_ pid_t *tids = NULL;
    struct tn_status st;
    u32 n, most = 0;

    if (tn_proc_tids(pid, &tids, &n) < 0)
        return 0;
    for (u32 i = 0; i < n; i++)
        if (tn_status_read(pid, tids[i], &st) == 0)
            most = TN_MAX(most, st.seccomp << 16 | TN_MIN(st.filters, 0xffffu));
    return most;
}

bool tn_proc_same_mm(pid_t a, pid_t b)
{
    return syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0;
}

u64 tn_proc_auxv(pid_t pid, u64 type)
{
    char path[64];
    _close_ int fd = -1;
    u64 pair[128]; /* some forty at most */
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, pair, sizeof(pair));
    for (ssize_t i = 0; (i + 2) * (ssize_t)sizeof(*pair) <= n && pair[i]; i += 2)
        if (pair[i] == type)
            return pair[i + 1];
    return 0;
}
