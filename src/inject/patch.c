/* SPDX-License-Identifier: MIT */
/* The write protocol of patch.h: the only file that writes over a target's own instructions. */
#include "inject/patch.h"
#include "inject/restartable.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#define SETTLE_NS 1000000000ull
#define FRAME_LOOK                                                                                           \
    (4 * TN_PAGE) /* bytes of a stack searched for a signal frame: a handler's own frames lie below it */

struct job {
    const struct tn_change *changes;
    const struct tn_change **sorted; /* by address; they do not overlap */
    u32 n;
    bool failed;
    struct seen *seen; /* by the tracee's index */
    u32 nseen;
};

/* A thread that was found asleep, outside of all places: how often it had run by then, and where that is asked. */
struct seen {
    int fd; /* −1: it was not */
    u64 runs;
};

static int by_address(const void *x, const void *y)
{
    const struct tn_change *const *a = x, *const *b = y;

    return (*a)->addr < (*b)->addr ? -1 : (*a)->addr > (*b)->addr;
}

/* Is this where a breakpoint stands meanwhile, and where to go on at in any case? */
static bool begins(const struct tn_change *c, u64 pc)
{
    for (u32 k = 0; k < c->nmore; k++)
        if (pc == c->addr + c->more[k])
            return true;
    return pc == c->addr;
}

static const struct tn_change *inside(const struct job *j, u64 pc)
{
    u32 at;

    TN_PARTITION(at, j->n, j->sorted[at]->addr < pc);
    if (!at || pc >= j->sorted[at - 1]->addr + j->sorted[at - 1]->len || begins(j->sorted[at - 1], pc))
        return NULL;
    return j->sorted[at - 1];
}

/* A fork child has a copy of the bytes as they were at its birth: where that is half-way, finish it. */
static void mend_copy(const struct tn_tracee *t, pid_t child)
{
    const struct job *j = t->mend_arg;
    char path[64];
    _close_ int mem = -1;

    snprintf(path, sizeof(path), "/proc/%d/mem", child);
    mem = open(path, O_RDWR | O_CLOEXEC);
    for (u32 i = 0; mem >= 0 && i < j->n; i++) {
        const struct tn_change *c = &j->changes[i];
        const u8 *bytes = j->failed ? c->from : c->to;
        u8 now[TN_PATCH_MAX];
        bool half = false;

        if (pread(mem, now, c->len, (off_t)c->addr) != c->len)
            continue;
        for (u32 b = 0; b < c->len; b++)
            half |= now[b] == 0xcc && c->from[b] != 0xcc && begins(c, c->addr + b);
        if (half && pwrite(mem, bytes + 1, c->len - 1u, (off_t)c->addr + 1) == c->len - 1)
            (void)!pwrite(mem, bytes, 1, (off_t)c->addr);
    }
}

/* Is a handler under way that has interrupted code inside a place? Its return would go there. */
static bool interrupted_inside(const struct tn_tracee *t, const struct job *j, u64 sp)
{
    u64 words[FRAME_LOOK / sizeof(u64)];
    ssize_t have = pread(t->mem, words, sizeof(words), (off_t)(sp & ~7ull)); /* less where the mapping ends */

    for (ssize_t i = 0; i + 2 < have / (ssize_t)sizeof(u64); i++)
        if (inside(j, words[i]) && tn_frame_interrupted(&words[i]))
            return true;
    return false;
}

/* A held thread: out of the places, or moved out. */
static int look_at_held(struct tn_tracee *t, const struct job *j, struct tn_thread *th)
{
    struct user_regs_struct regs;
    const struct tn_change *c;

    if (tn_ptrace(t, PTRACE_GETREGS, th->tid, 0, &regs) < 0) {
        th->state = TN_TH_GONE;
        return 0;
    }
    if (interrupted_inside(t, j, regs.rsp))
        return -EAGAIN;
    c = inside(j, regs.rip);
    if (!c || (begins(c, regs.rip - 1) && tn_trap_pending(t, th->tid)))
        return 0; /* outside, or about to be set back to where the breakpoint is */
    for (u32 k = 0; k < c->ninsns; k++)
        if (c->addr + c->insn_off[k] == regs.rip) {
            regs.rip = c->insn_at[k];
            return tn_ptrace(t, PTRACE_SETREGS, th->tid, 0, &regs) < 0 ? -ESRCH : 0;
        }
    return -EAGAIN;
}

static void forget_seen(struct job *j)
{
    for (u32 i = 0; i < j->nseen; i++)
        if (j->seen[i].fd >= 0)
            close(j->seen[i].fd);
    free(j->seen);
    j->seen = NULL;
    j->nseen = 0;
}

#define MANY 16u /* threads: fewer are looked at sooner than twice */

/* Before there is a breakpoint that anybody could run into: where the sleepers are. Whoever has not run since is there still, and
   can come to a place by its beginning only. */
static void look_ahead(const struct tn_tracee *t, struct job *j)
{
    forget_seen(j);
    j->seen = t->n >= MANY ? calloc(t->n, sizeof(*j->seen)) : NULL;
    for (u32 i = 0; j->seen && i < t->n; i++) {
        const struct tn_thread *th = &t->th[i];
        struct tn_doing_what what;
        _close_ int fd = -1;
        u64 runs;

        j->nseen = i + 1;
        j->seen[i].fd = -1;
        if (th->state != TN_TH_FREE || th->forked || th->interrupting)
            continue;
        fd = tn_thread_runs_open(th->pid, th->tid);
        runs = tn_thread_runs(fd);
        if (!runs)
            continue;
        tn_thread_doing(th->pid, th->tid, &what);
        if (what.doing == TN_DOING_SLEEPS && !tn_tracee_vforks(what.nr) && !inside(j, what.pc) &&
            !interrupted_inside(t, j, what.sp))
            j->seen[i] = (struct seen){.fd = TN_TAKE_FD(fd), .runs = runs};
    }
}

static bool sleeps_on(const struct tn_tracee *t, u32 i)
{
    const struct job *j = t->mend_arg;

    return i < j->nseen && j->seen[i].fd >= 0 && tn_thread_runs(j->seen[i].fd) == j->seen[i].runs;
}

/* Step 2. 0: every thread is asleep outside, or held outside. −EAGAIN: one sleeps inside. */
static int look_at_all(struct tn_tracee *t, const struct job *j)
{
    for (u32 i = 0; i < t->n; i++)
        t->th[i].safe = false;
    for (int pass = 0; pass < 1000; pass++) {
        bool all = true, forks = false, stuck = false;

        tn_tracee_wait(t, 0);
        /* Sleepers first: whoever is awake is not held while hundreds of others are looked at. */
        for (u32 k = 0; k < 2 * t->n; k++) {
            struct tn_thread *th = &t->th[k % t->n];
            struct tn_doing_what what;

            if (th->safe || th->state != TN_TH_FREE || th->forked || th->interrupting)
                continue;
            th->safe = k < t->n && sleeps_on(t, k);
            if (th->safe)
                continue;
            tn_thread_doing(th->pid, th->tid, &what);
            if (k < t->n && (what.doing == TN_DOING_RUNS || what.doing == TN_DOING_STOPPED))
                continue;
            switch (what.doing) {
            case TN_DOING_GONE:
                th->state = TN_TH_GONE;
                break;
            case TN_DOING_SLEEPS:
                if (interrupted_inside(t, j, what.sp)) {
                    stuck = true;
                } else if (inside(j, what.pc)) {
                    stuck = true;
                    if (tn_restartable(t->pid, &what, t->seccomp)) {
                        tn_tracee_interrupt(t, th);
                        t->interrupted++;
                        all = false;
                        stuck = false;
                    }
                } else {
                    th->safe = true;
                    forks |= tn_tracee_vforks(what.nr);
                }
                break;
            case TN_DOING_RUNS:
            case TN_DOING_STOPPED: /* its stop may be one of ours that we have not seen yet */
                tn_tracee_interrupt(t, th);
                all = false;
                break;
            }
        }
        if (tn_tracee_settle(t, 0, SETTLE_NS) < 0)
            return -ETIMEDOUT;
        if (forks) {
            u32 before = t->n;

            if (tn_tracee_seize_sharing(t, NULL) < 0)
                return -ETIMEDOUT;
            all &= t->n == before;
        }
        for (u32 i = 0; i < t->n; i++) {
            struct tn_thread *th = &t->th[i];

            if (th->state != TN_TH_HELD || th->safe || th->forked)
                continue;
            tn_tracee_mend_result(t, th);
            int r = look_at_held(t, j, th);

            if (r < 0)
                return r;
            th->safe = true;
        }
        if (stuck)
            return -EAGAIN;
        if (all)
            return 0;
    }
    return -ETIMEDOUT;
}

/* A byte or more of a place. Memory that was there and cannot be written now is half one thing and half the other. */
static void write_some(struct tn_tracee *t, const struct tn_change *c, u32 off, const u8 *bytes, u32 len)
{
    u8 now;

    if (tn_tracee_write(t, c->addr + off, bytes, len) < 0 && tn_tracee_read(t, c->addr, &now, 1) == 0)
        tn_tracee_stumble(t);
}

/* All but where breakpoints stand. */
static void write_rest(struct tn_tracee *t, const struct job *j)
{
    for (u32 i = 0; i < j->n; i++) {
        const struct tn_change *c = &j->changes[i];
        u8 bytes[TN_PATCH_MAX];

        memcpy(bytes, c->to, sizeof(bytes));
        for (u32 k = 0; k < c->nmore; k++)
            bytes[c->more[k]] = 0xcc;
        if (c->len > 1)
            write_some(t, c, 1, bytes + 1, c->len - 1u);
    }
}

/* Where they do: last to first. */
static void write_first(struct tn_tracee *t, const struct job *j, bool done)
{
    for (u32 i = 0; i < j->n; i++) {
        const struct tn_change *c = &j->changes[i];
        const u8 *bytes = done ? c->to : c->from;

        for (u32 k = c->nmore; k-- > 0;)
            write_some(t, c, c->more[k], bytes + c->more[k], 1);
        write_some(t, c, 0, bytes, 1);
    }
}

const char *tn_whose_bytes(const u8 *now, const u8 *file, u32 len)
{
    static const u8 nop[] = {0x0f, 0x1f, 0x44, 0, 0}; /* in whose place Linux 6.18 puts a call */
    u32 first = 0;

    while (first < len && now[first] == file[first])
        first++;
    if (first < len && now[first] == 0xcc)
        return "a debugger's breakpoint or a kernel uprobe is there; remove it first";
    if (first + sizeof(nop) <= len && now[first] == 0xe8 && !memcmp(file + first, nop, sizeof(nop)))
        return "a kernel uprobe is there, or a call of another tool's in the place of a nop; remove it first";
    return "another tool has patched it";
}

int tn_change(struct tn_tracee *t, const struct tn_change *changes, u32 n, u32 stuck_ms, struct tn_error *err)
{
    struct job j = {.changes = changes, .n = n};
    u64 until = tn_monotonic() + stuck_ms * 1000000ull;
    _free_ u64 *brk = calloc(n ? n : 1, TN_PUN_INSNS * sizeof(u64));
    _free_ const struct tn_change **sorted = calloc(n ? n : 1, sizeof(*sorted));
    u8 trap = 0xcc;
    u32 nbrk = 0;
    int r = 0;

    if (!brk || !sorted)
        return -ENOMEM;
    j.sorted = sorted;
    for (u32 i = 0; i < n; i++)
        sorted[i] = &changes[i];
    qsort(sorted, n, sizeof(*sorted), by_address);
    for (u32 i = 0; i < n; i++) {
        u32 whole = changes[i].len + changes[i].depends;
        u8 now[TN_PATCH_MAX];

        if (whole > sizeof(now) || changes[i].nmore >= TN_PUN_INSNS)
            return -EINVAL;
        brk[nbrk++] = changes[i].addr;
        for (u32 k = 0; k < changes[i].nmore; k++)
            brk[nbrk++] = changes[i].addr + changes[i].more[k];
        r = tn_tracee_read(t, changes[i].addr, now, whole);
        if (r < 0)
            return tn_fail(err, r, "vanished", "the code at 0x%llx of process %d is not there any more",
                           (unsigned long long)changes[i].addr, t->pid);
        if (memcmp(now, changes[i].from, whole))
            return tn_fail(err, -EEXIST, "foreign_bytes",
                           "the code at 0x%llx of process %d is not what its file says and not ours: %s",
                           (unsigned long long)changes[i].addr, t->pid,
                           tn_whose_bytes(now, changes[i].from, whole));
    }

    t->gathering = true;
    r = tn_tracee_gather(t, true, err);
    if (r < 0) {
        t->gathering = false;
        tn_tracee_resume_all(t);
        return r;
    }
    t->mend_copy = mend_copy;
    t->mend_arg = &j;
    t->slept = sleeps_on;
    for (;;) {
        look_ahead(t, &j);
        t->gathering = true;
        t->brk = brk;
        t->nbrk = nbrk;
        t->brk_ns = tn_monotonic();
        for (u32 i = 0; i < nbrk && r == 0; i++)
            r = tn_tracee_write(t, brk[i], &trap, 1);
        if (r == 0)
            r = look_at_all(t, &j);
        if (r == 0) {
            write_rest(t, &j);
            write_first(t, &j, true);
        } else {
            write_first(t, &j, false);
        }
        j.failed = r < 0;
        t->gathering = false;
        tn_tracee_resume_all(t);
        tn_tracee_drain(t);
        t->brk = NULL;
        t->nbrk = 0;
        t->brk_ns = 0;
        if (r != -EAGAIN || tn_monotonic() >= until || tn_tracee_hung_up(t))
            break;
        /* Everybody runs while the one inside is waited for. */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        r = 0;
    }
    t->mend_copy = NULL;
    t->mend_arg = NULL;
    t->slept = NULL;
    forget_seen(&j);
    if (r == -EAGAIN)
        return tn_fail(err, r, "thread_in_place",
                       "a thread of process %d sleeps inside the code to be replaced, or a signal handler "
                       "will return into it: "
                       "try again",
                       t->pid);
    if (r == -ETIMEDOUT)
        return tn_fail(err, r, "thread_will_not_stop",
                       "a thread of process %d does not stop within a second: try again", t->pid);
    return r < 0 ? tn_fail(err, r, "vanished", "process %d ended in the middle", t->pid) : 0;
}
