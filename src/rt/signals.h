/* SPDX-License-Identifier: MIT */
/*
 * Signals of a process that are ours, and what the host believes of them.
 *
 *   in the kernel                              for the host
 *   handler    ours, never another             tn_signals.action: what it has installed, what it reads back
 *   masks      they are in none of them:       a bit a thread (tn_sig_thread, absent: not blocked); a set a signal
 *              a breakpoint that is met, or a  for masks of other handlers (tn_signals.masked)
 *              load that faults, while its
 *              signal is blocked kills
 *
 * Which may be ours: TN_OURS has a row for each; which are, at present: tn_signals.taken. Every call that touches a handler
 * or a mask goes through the agent first: TN_GUARDED has a row for each. Where the
 * call is made by us and where the host makes it itself with another argument is said there; calls in which a thread
 * may sleep are never made by us.
 *
 * Two calls more are guarded for what the host may take from itself, and so from us: see `denied` and agent/confine.c.
 *
 * A private mapping of the target, which fork children inherit as they do the kernel's table of handlers. Untrusted
 * where another process reads it.
 */
#ifndef TN_RT_SIGNALS_H
#define TN_RT_SIGNALS_H

#include "rt/filter.h"
#include "rt/layout.h"

/*
 * V(number, name, why)
 *
 * All are signals that an instruction raises at once. A new row is one more that may be taken, and what is done
 * with it stands in tn_agent_trap_c.
 */
#define TN_OURS(V)                                                                                           \
    V(5, SIGTRAP, "breakpoints")                                                                             \
    V(7, SIGBUS, "loads of the host's memory: behind a file's end")                                          \
    V(11, SIGSEGV, "loads of the host's memory: what is not there, or may not be read")

enum tn_ours_nr {
#define V(nr, name, why) TN_##name = nr,
    TN_OURS(V)
#undef V
};
enum tn_ours {
#define V(nr, name, why) TN_OURS_##name,
    TN_OURS(V)
#undef V
        TN_OURS_COUNT
};

#define TN_SIG_BIT(sig)   (1ull << ((sig)-1))
/* What is taken at once. */
#define TN_SIGNALS_BREAKS TN_SIG_BIT(TN_SIGTRAP)
#define TN_SIGNALS_LOADS  (TN_SIG_BIT(TN_SIGSEGV) | TN_SIG_BIT(TN_SIGBUS))

/* Its row; TN_OURS_COUNT: it is never ours. */
static inline enum tn_ours tn_ours_row(u64 sig)
{
    switch (sig) {
#define V(nr, name, why)                                                                                     \
    case nr:                                                                                                 \
        return TN_OURS_##name;
        TN_OURS(V)
#undef V
    default:
        return TN_OURS_COUNT;
    }
}
static inline u32 tn_ours_nr(enum tn_ours row)
{
    static const u8 nr[TN_OURS_COUNT] = {
#define V(nr, name, why) nr,
        TN_OURS(V)
#undef V
    };

    return nr[row];
}

/*
 * G(number, name, needed, why)   `needed`: where one of them cannot be hooked, there are no breakpoints in the process
 *                                (else something may show, but nothing can die of it)
 */
// clang-format off
#define TN_GUARDED(G)                                                                                                  \
    G(13,  rt_sigaction,    1, "the handler; ours in the masks of other handlers")                                  \
    G(14,  rt_sigprocmask,  1, "the thread's mask")                                                                    \
    G(15,  rt_sigreturn,    1, "the mask that a frame holds")                                                          \
    G(59,  execve,          0, "what a new program inherits: a mask, and whether it is ignored")                       \
    G(127, rt_sigpending,   0, "one that was sent while the host believes it blocked")                                 \
    G(128, rt_sigtimedwait, 0, "the same, taken")                                                                      \
    G(130, rt_sigsuspend,   1, "a mask while it sleeps, which handlers run with")                                      \
    G(157, prctl,           0, "a filter, strict mode or a dispatcher of system calls; the time stamp counter")        \
    G(270, pselect6,        1, "the same")                                                                             \
    G(271, ppoll,           1, "the same")                                                                             \
    G(281, epoll_pwait,     1, "the same")                                                                             \
    G(317, seccomp,         0, "a filter or strict mode")                                                              \
    G(322, execveat,        0, "as execve")                                                                            \
    G(333, io_pgetevents,   1, "a mask while it sleeps")                                                               \
    G(426, io_uring_enter,  1, "the same")                                                                             \
    G(435, clone3,          1, "CLONE_CLEAR_SIGHAND would take the handler away from a child with breakpoints")        \
    G(441, epoll_pwait2,    1, "a mask while it sleeps")
// clang-format on

enum tn_guarded_nr {
#define G(nr, name, needed, why) TN_GUARD_##name = nr,
    TN_GUARDED(G)
#undef G
};

static inline bool tn_guarded(s32 nr)
{
#define G(n, name, needed, why) || nr == n
    return false TN_GUARDED(G);
#undef G
}
/* Asked before the host confines itself, whether signals are ours or not. */
static inline bool tn_guard_confines(s32 nr)
{
    return nr == TN_GUARD_prctl || nr == TN_GUARD_seccomp;
}
static inline bool tn_guard_needed(s32 nr)
{
#define G(n, name, needed, why) || (nr == n && needed)
    return false TN_GUARDED(G);
#undef G
}

/* `mov $15,%rax; syscall`, to which handlers return and nobody jumps: the call behind the first TN_RESTORER_CALL bytes can
   be hooked there, whatever stands around it. */
#define TN_RESTORER                                                                                          \
    {                                                                                                        \
        0x48, 0xc7, 0xc0, TN_GUARD_rt_sigreturn, 0, 0, 0, 0x0f, 0x05                                         \
    }
#define TN_RESTORER_CALL 7u

/* stack_t, as the kernel has it. */
struct tn_altstack {
    u64 sp;
    s32 flags;
    u32 pad;
    u64 size;
};

/* The kernel's struct sigaction. */
struct tn_sigaction {
    u64 handler, flags, restorer, mask;
};

/* One thread that is not as threads are at first. Sets hold bits of signals that are ours. */
struct tn_sig_thread {
    u64 tp; /* thread pointer; 0: free */
    u64 blocked;
    u64 pending; /* those that were sent to it and wait: tn_signals.info */
    /* Where it would be found if it slept in a call with a mask that lets `wait_for` through though the thread's own blocks
       them. 0: nowhere. */
    u64 wait_ip, wait_sp, wait_for;
};
#define TN_SIG_THREADS 1024u
#define TN_SIG_PROBES  16u
#define TN_SIG_INFO    128u /* struct siginfo */

/* A vfork child has the kernel's tables for itself, and this memory for a while. */
struct tn_sig_child {
    u64 pid; /* 0: free */
    u64 blocked;
    struct tn_sigaction action[TN_OURS_COUNT];
};
#define TN_SIG_CHILDREN 16u

/* A mask without what is ours that stands for a host's, and what points at it; never changed once it is there, since a call
   that starts again reads it again. */
struct tn_sig_mask {
    u64 state; /* 0 free, 1 being filled, 2 there */
    u64 mask, arg[3];
};
#define TN_SIG_MASKS 256u

/* A breakpoint, and where its instruction goes on. */
struct tn_sig_break {
    u64 addr; /* 0: never used; 1: not used any more */
    u64 enter;
};
#define TN_SIG_BREAKS      8192u /* twice the sites there may be; a power of two */
#define TN_SIG_BREAK(addr) ((u32)(((u64)(addr)*0x9E3779B97F4A7C15ull) >> 51))
_Static_assert(TN_SIG_BREAKS == 1u << 13, "TN_SIG_BREAK");

#define TN_SIG_RESTORERS 8u

/* A page of a thread's stack below which there is room for a signal's frame (rt/loads.h). */
#define TN_SIG_ROOMS        1024u
#define TN_SIG_ROOM(sp, tp) (((sp) | 0xfff) + ((tp) << 16))

/* W(NAME, how): how programs read the host's memory in this process. Where it is not by loads: the exact slower way, a system
   call, and why. */
#define TN_READS(W)                                                                                          \
    W(NONE, "no program here reads so")                                                                      \
    W(LOADS, "by loads; a fault is ours")                                                                    \
    W(FILTERED, "by system calls: the process filters those that its signals would be kept with")            \
    W(THREADS, "by system calls: its threads cannot be told apart")                                          \
    W(UNHOOKED, "by system calls: a call that may set a signal mask or a handler cannot be hooked")          \
    W(BLOCKED, "by system calls: a thread blocks SIGSEGV or SIGBUS, or sleeps with a signal mask of its "    \
               "own")

enum tn_reads {
#define W(name, how) TN_READS_##name,
    TN_READS(W)
#undef W
        TN_READS_COUNT
};

enum tn_signals_on {
    TN_SIGNALS_OFF,
    TN_SIGNALS_ON,
    TN_SIGNALS_CHANGING, /* whoever comes waits */
};

struct tn_signals {
    u64 on;    /* enum tn_signals_on; first: routines.S */
    u64 loads; /* 1: loads of the host's memory may fault */
    u64 taken; /* the set of those that are ours; changes while everybody is held */
    const struct tn_proc *proc;
    u64 entry;    /* the handler that the kernel has */
    u64 restorer; /* where it returns to */
    u64 shut;     /* 1: a thread with an alternate stack has met a breakpoint (tn_signals_action) */
    struct tn_sigaction action[TN_OURS_COUNT];
    /* Other signals, by number: which of ours the host's handler is to run with blocked, and where that is: ours stands in
       the kernel for them as well. */
    u64 masked[65], host[65];
    u64 children; /* of child[], how many were used since no vfork was in flight */
    struct tn_sig_child child[TN_SIG_CHILDREN];
    struct tn_sig_mask mask[TN_SIG_MASKS];
    struct tn_sig_thread thread[TN_SIG_THREADS];
    struct tn_sig_break brk[TN_SIG_BREAKS];
    u64 room[TN_SIG_ROOMS];
    /* What the process has confined itself to since it was entered: bits of tn_proc.allowed_syscalls that hold no longer; 1:
       an instruction that reads the time stamp counter may fault. Only ever set. */
    u64 denied, no_tsc;
    u64 filters; /* how many filters that takes account of */
    u64 asking;  /* 1: somebody uses `room_to_ask` */
    struct tn_filter_room room_to_ask;
    u8 info[TN_SIG_THREADS][TN_OURS_COUNT][TN_SIG_INFO]; /* last: pages that are rarely touched */
};

#define TN_SA_NODEFER  0x40000000ull
#define TN_SA_RESTART  0x10000000ull
#define TN_SA_ONSTACK  0x08000000ull
#define TN_SA_RESTORER 0x04000000ull
#define TN_SA_SIGINFO  0x4ull

/*
 * The kernel's action for a signal that is ours. It interrupts calls, and chooses the stack, as the host's
 * would.
 *
 * A breakpoint's, where the host has no handler of its own, is open: delivery changes neither mask nor stack, so that there is
 * nothing which only the kernel could put back, and it is left without a call (agent/routines.S, tn_agent_resume). Where it
 * returns to tells the one from the other. Not in a process whose threads have alternate stacks: they may have one since there
 * is no room for a frame on the other. The first such thread that meets a breakpoint shuts it for all.
 */
#define TN_SIGNALS_RESUME 16u /* tn_agent_resume, behind `restorer` */

static inline struct tn_sigaction tn_signals_action(const struct tn_signals *s, u32 sig,
                                                    const struct tn_sigaction *host)
{
    struct tn_sigaction act = {
        .handler = s->entry, .flags = TN_SA_SIGINFO | TN_SA_RESTORER, .restorer = s->restorer, .mask = ~0ull};

    if (sig == TN_SIGTRAP && host->handler == 0 && !s->shut) {
        act.flags |= TN_SA_RESTART | TN_SA_NODEFER;
        act.restorer += TN_SIGNALS_RESUME;
        act.mask = 0;
    } else {
        act.flags |= (host->handler > 1 ? host->flags : ~0ull) & (TN_SA_ONSTACK | TN_SA_RESTART);
    }
    return act;
}

/* What a guarded place of the host leads to, and where it goes on: in front of its call, or behind it if the agent has
   made it. The words stand behind the code that leads there. */
struct tn_guard_block {
    u64 signals, go_on, made, routine;
};

/* The frame that Linux pushes for a handler, from its struct ucontext on (offsets in bytes). */
#define TN_UC_STACK     16u /* the alternate one: struct tn_altstack */
#define TN_UC_RSP       160u
#define TN_UC_RIP       168u
#define TN_UC_FLAGS     176u
#define TN_UC_SELECTORS 184u
#define TN_UC_FPSTATE   224u
#define TN_UC_SPARE     288u /* the last of sigcontext's reserved words */
#define TN_UC_SIGMASK   296u

/* … and what it says of the rest of the registers, in the last bytes of the 512 of FXSAVE. */
#define TN_FP_MAGIC       464u /* u32: TN_FP_MAGIC_XSAVE, where an XSAVE area is there */
#define TN_FP_COMPONENTS  472u /* u64: those that it holds */
#define TN_FP_MAGIC_XSAVE 0x46505853u

/* The selectors of all 64-bit programs: cs, gs, fs, ss. */
#define TN_SELECTORS 0x002b000000000033ull

#endif
