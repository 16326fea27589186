/* SPDX-License-Identifier: MIT */
/*
 * Many system calls of a borrowed thread for the price of two stops: a page of ours in the target makes them
 * from a table.
 *
 *   code     call entry 0, 1, 2 … until one fails or all are made; then tgkill(itself, SIGSTOP)
 *   restore  the thread's own registers and signal mask
 *   table    number and six arguments a call
 *
 * The page is of ours, or, for the call that maps it, a cave (remote.c). SIGSTOP is the one signal that no
 * mask holds back and no disposition has to be changed for; the tracer sees it first and keeps it to itself.
 * Should the tracer have been killed meanwhile, the process stops there, the guardian continues it
 * (tn_state.lent), and the thread goes on by itself: it sets its mask, loads its own registers and jumps to
 * where it was. The page is never writable; what it holds comes through /proc/PID/mem.
 */
#include "inject/order.h"
#include "inject/tracee.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define SETTLE_NS   2000000000ull
#define RESTORE_OFF 240u
#define TABLE_OFF   392u
#define CALLS_MAX   ((TN_STUB_SIZE - TABLE_OFF) / sizeof(struct tn_remote))

/* clang-format off */
/* In: rbx = 0, r12 = table, r13 = calls, rbp = process, r15 = thread. Out: rbx = calls made, r14 = the last
   result. Displacements of the second half are relative to the instruction pointer, into `struct restore`. */
#define REL(off, end) (u8)((RESTORE_OFF + (off) - (end)) & 0xff), (u8)((RESTORE_OFF + (off) - (end)) >> 8), 0, 0
static const u8 stub[] = {
    /*  0 */ 0x4c, 0x39, 0xeb,                         /* loop: cmp %r13,%rbx */
    /*  3 */ 0x73, 0x36,                               /*       jae done */
    /*  5 */ 0x49, 0x8b, 0x04, 0x24,                   /*       mov (%r12),%rax */
    /*  9 */ 0x49, 0x8b, 0x7c, 0x24, 0x08,             /*       mov 8(%r12),%rdi */
    /* 14 */ 0x49, 0x8b, 0x74, 0x24, 0x10,             /*       mov 16(%r12),%rsi */
    /* 19 */ 0x49, 0x8b, 0x54, 0x24, 0x18,             /*       mov 24(%r12),%rdx */
    /* 24 */ 0x4d, 0x8b, 0x54, 0x24, 0x20,             /*       mov 32(%r12),%r10 */
    /* 29 */ 0x4d, 0x8b, 0x44, 0x24, 0x28,             /*       mov 40(%r12),%r8 */
    /* 34 */ 0x4d, 0x8b, 0x4c, 0x24, 0x30,             /*       mov 48(%r12),%r9 */
    /* 39 */ 0x0f, 0x05,                               /*       syscall */
    /* 41 */ 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff,       /*       cmp $-4095,%rax */
    /* 47 */ 0x73, 0x0a,                               /*       jae done */
    /* 49 */ 0x49, 0x83, 0xc4, 0x38,                   /*       add $56,%r12 */
    /* 53 */ 0x48, 0xff, 0xc3,                         /*       inc %rbx */
    /* 56 */ 0xeb, 0xc6,                               /*       jmp loop */
    /* 58 */ 0x90,
    /* 59 */ 0x49, 0x89, 0xc6,                         /* done: mov %rax,%r14 */
    /* 62 */ 0xb8, 0xea, 0x00, 0x00, 0x00,             /*       mov $tgkill,%eax */
    /* 67 */ 0x48, 0x89, 0xef,                         /*       mov %rbp,%rdi */
    /* 70 */ 0x4c, 0x89, 0xfe,                         /*       mov %r15,%rsi */
    /* 73 */ 0xba, 0x13, 0x00, 0x00, 0x00,             /*       mov $SIGSTOP,%edx */
    /* 78 */ 0x0f, 0x05,                               /*       syscall */
    /* 80 */ 0xb8, 0x0e, 0x00, 0x00, 0x00,             /* end:  mov $rt_sigprocmask,%eax */
    /* 85 */ 0xbf, 0x02, 0x00, 0x00, 0x00,             /*       mov $SIG_SETMASK,%edi */
    /* 90 */ 0x48, 0x8d, 0x35, REL(0, 97),             /*       lea mask(%rip),%rsi */
    /* 97 */ 0x31, 0xd2,                               /*       xor %edx,%edx */
    /* 99 */ 0x41, 0xba, 0x08, 0x00, 0x00, 0x00,       /*       mov $8,%r10d */
    /*105 */ 0x0f, 0x05,                               /*       syscall */
    /*107 */ 0x48, 0x8d, 0x25, REL(8, 114),            /*       lea flags(%rip),%rsp */
    /*114 */ 0x9d,                                     /*       popf */
    /*115 */ 0x48, 0x8b, 0x05, REL(16, 122),           /*       mov rax(%rip),%rax … */
    /*122 */ 0x48, 0x8b, 0x1d, REL(24, 129),
    /*129 */ 0x48, 0x8b, 0x0d, REL(32, 136),
    /*136 */ 0x48, 0x8b, 0x15, REL(40, 143),
    /*143 */ 0x48, 0x8b, 0x35, REL(48, 150),
    /*150 */ 0x48, 0x8b, 0x3d, REL(56, 157),
    /*157 */ 0x48, 0x8b, 0x2d, REL(64, 164),
    /*164 */ 0x4c, 0x8b, 0x05, REL(72, 171),
    /*171 */ 0x4c, 0x8b, 0x0d, REL(80, 178),
    /*178 */ 0x4c, 0x8b, 0x15, REL(88, 185),
    /*185 */ 0x4c, 0x8b, 0x1d, REL(96, 192),
    /*192 */ 0x4c, 0x8b, 0x25, REL(104, 199),
    /*199 */ 0x4c, 0x8b, 0x2d, REL(112, 206),
    /*206 */ 0x4c, 0x8b, 0x35, REL(120, 213),
    /*213 */ 0x4c, 0x8b, 0x3d, REL(128, 220),
    /*220 */ 0x48, 0x8b, 0x25, REL(136, 227),          /*       mov rsp(%rip),%rsp */
    /*227 */ 0xff, 0x25, REL(144, 233),                /*       jmp *rip(%rip) */
};
/* clang-format on */
#define STUB_END 80u
_Static_assert(sizeof(stub) == 233 && sizeof(stub) <= RESTORE_OFF, "offsets above");

struct restore {
    u64 mask, flags, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rsp, rip;
};
_Static_assert(offsetof(struct restore, rip) == 144 && RESTORE_OFF + sizeof(struct restore) == TABLE_OFF &&
                   TABLE_OFF + sizeof(struct tn_remote) <= TN_CAVE_SIZE,
               "offsets above");

/* As the kernel would let it go on: an interrupted call is made again. */
static struct restore restore_of(const struct tn_borrowed *b)
{
    const struct user_regs_struct *g = &b->regs;
    struct restore r = {b->mask, g->eflags, g->rax, g->rbx, g->rcx, g->rdx, g->rsi, g->rdi, g->rbp, g->r8,
                        g->r9,   g->r10,    g->r11, g->r12, g->r13, g->r14, g->r15, g->rsp, g->rip};

    if ((s64)g->orig_rax >= 0 && (s64)g->rax <= -512 && (s64)g->rax >= -514) {
        r.rax = g->orig_rax;
        r.rip -= 2;
    } else if ((s64)g->orig_rax >= 0 && (s64)g->rax == -516) {
        r.rax = SYS_restart_syscall; /* the kernel still knows what is left to wait for */
        r.rip -= 2;
    }
    return r;
}

/* Runs the borrowed thread to its own SIGSTOP at `end`. */
static int run_to_end(struct tn_tracee *t, pid_t tid, u64 end, struct user_regs_struct *ret_regs)
{
    for (int tries = 0; tries < 64; tries++) {
        struct tn_thread *th = tn_tracee_find(t, tid);
        int sig = th->sig;
        u64 since = th->since_ns;

        th->sig = 0;
        th->entering = th->listening = false;
        if (tn_ptrace(t, PTRACE_CONT, tid, 0, (void *)(long)sig) < 0)
            return -ESRCH;
        th->state = TN_TH_FREE;
        th->interrupting = true; /* any stop counts */
        if (tn_tracee_settle(t, tid, SETTLE_NS) < 0)
            return -ETIMEDOUT;
        th = tn_tracee_find(t, tid);
        if (!th || th->state != TN_TH_HELD || tn_ptrace(t, PTRACE_GETREGS, tid, 0, ret_regs) < 0)
            return -ESRCH;
        th->since_ns = since;
        th->interrupting = false;
        if (ret_regs->rip == end && th->sig == SIGSTOP) {
            th->sig = 0;
            th->entering = true; /* from here, too, tn_borrow_end goes to an event stop first */
            return 0;
        }
    }
    return -EAGAIN;
}

int tn_remote_calls(struct tn_tracee *t, const struct tn_borrowed *b, u64 at, const struct tn_remote *calls,
                    u32 n, u32 *ret_done, s64 *ret_last)
{
    struct tn_thread *th = tn_tracee_find(t, b->tid);
    u8 page[TN_STUB_SIZE];
    u32 done = 0;
    s64 last = 0;
    int r;

    if (!th || th->state != TN_TH_HELD)
        return -ESRCH;
    while (done < n && last >= 0) {
        u32 some = TN_MIN(n - done, (u32)CALLS_MAX);
        struct user_regs_struct regs = b->regs;
        struct restore restore = restore_of(b);

        memset(page, 0xcc, TABLE_OFF);
        memcpy(page, stub, sizeof(stub));
        memcpy(page + RESTORE_OFF, &restore, sizeof(restore));
        memcpy(page + TABLE_OFF, calls + done, some * sizeof(*calls));
        r = tn_tracee_write(t, at, page, TABLE_OFF + some * sizeof(*calls));
        if (r < 0)
            return r;
        regs.rip = at;
        regs.orig_rax = ~0ull;
        regs.rbx = 0;
        regs.r12 = at + TABLE_OFF;
        regs.r13 = some;
        regs.rbp = b->own_pid;
        regs.r15 = b->own_tid;
        regs.eflags &= ~0x100ull; /* no single step */
        if (tn_ptrace(t, PTRACE_SETREGS, b->tid, 0, &regs) < 0)
            return -ESRCH;
        r = run_to_end(t, b->tid, at + STUB_END, &regs);
        if (r < 0)
            return r;
        if (regs.rbx > some)
            return -EPROTO;
        done += (u32)regs.rbx;
        last = (s64)regs.r14;
        if (regs.rbx < some && last >= 0)
            return -EPROTO;
    }
    *ret_done = done;
    *ret_last = last;
    return 0;
}

/* All but what tn_stub_abandon changes. */
#define SAME 62u

bool tn_stub_is(const struct tn_tracee *t, u64 at)
{
    u8 code[SAME];

    return at && tn_tracee_read(t, at, code, sizeof(code)) == 0 && !memcmp(code, stub, sizeof(code));
}

bool tn_stub_left(pid_t pid, u64 at)
{
    u8 code[SAME];

    return tn_peek(pid, TN_ROUND_DOWN(at, (u64)TN_PAGE), code, sizeof(code)) == 0 &&
           !memcmp(code, stub, sizeof(code));
}

void tn_stub_abandon(const struct tn_tracee *t, u64 at)
{
    static const u8 past_tgkill[] = {0xeb, STUB_END - 64}; /* at 62: jmp end */

    if (tn_stub_is(t, at))
        tn_tracee_write(t, at + 62, past_tgkill, sizeof(past_tgkill));
}
