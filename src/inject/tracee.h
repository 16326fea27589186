/* SPDX-License-Identifier: MIT */
/*
 * The threads of a target as a tracer holds them: seize, hold, look, resume, call.
 *
 *             seize                 interrupt / breakpoint / birth
 *   (unknown) ─────▶ TN_TH_FREE ──────────────────────────────────▶ TN_TH_HELD
 *                        ▲                                              │
 *                        └──────────────── tn_tracee_resume ◀───────────┘
 *
 * Seizing stops nobody. A seized thread that sleeps goes on sleeping; one that wakes and runs into a
 * breakpoint of ours stops before us instead of dying. Nothing here detaches: the process that traces ends
 * when its work is done, which lets all go at once, stopped or not (a DETACH needs a stop, and a stop would
 * disturb a sleeper).
 *
 * All of it belongs to one process, single-threaded, with SIGCHLD blocked.
 */
#ifndef TN_INJECT_TRACEE_H
#define TN_INJECT_TRACEE_H

#include "inject/proc.h"
#include "rt/signals.h"

#include <sys/user.h>

#define TN_SEIZE_OPTIONS                                                                                     \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK)

enum tn_th_state { TN_TH_FREE, TN_TH_HELD, TN_TH_GONE };

struct tn_thread {
    pid_t tid, pid; /* pid: its process (a vfork or fork child's differs from the target's) */
    enum tn_th_state state;
    bool interrupting; /* an interrupt was sent, its stop not seen yet */
    bool listening;    /* in group stop (SIGSTOP): left there */
    bool awake;        /* when it was last looked at by gather or drain */
    bool known;        /* seen outside clone since it was seized: what it gives birth to is traced */
    bool safe;         /* of the present change of bytes; see patch.c */
    bool forked;       /* of a fork child: has a copy of memory of its own */
    bool entering;     /* stopped inside a system call (entry or exit stop) */
    int sig;           /* signal to hand on when it is resumed */
    u64 since_ns;      /* held since (counted from the interrupt) */
};

/* A thread that is lent to us, for whoever comes after a tracer that was killed: lies in memory that outlives
   it. Written before anything of the thread is changed, void again (tid 0) when nothing is any more. */
struct tn_lent {
    s32 tid;
    u32 stopped;    /* it was in a group stop, which stays */
    u64 start_time; /* of the thread */
    u64 mask;
    u64 cave; /* zero bytes at the end of the vDSO that hold code of ours; 0: none */
    u64 stub, scratch;
    struct user_regs_struct regs; /* as they are to be when it goes on */
};

struct tn_tracee {
    pid_t pid;
    struct tn_lent *lent;
    pid_t keep;     /* this thread stays held, whatever is let go (start-up); 0: none */
    int mem;        /* /proc/PID/mem */
    u32 confined;   /* tn_proc_confined when it was opened */
    bool seccomp;   /* a thread of the target has a seccomp mode */
    bool suspended; /* and it is suspended while we trace */
    struct tn_thread *th;
    u32 n, cap;
    /* Breakpoints of ours that threads may run into at present: addresses, checked at each trap. */
    const u64 *brk;
    u32 nbrk;
    u64 brk_ns; /* whoever is found held at one is so since then at most; 0: since a moment ago */
    /* Called before a fork child is let go that was born meanwhile:
       it has a copy of memory as it was half-way. */
    void (*mend_copy)(const struct tn_tracee *t, pid_t child);
    void *mend_arg;
    /* Has the thread of this index slept all the while that breakpoints have stood? NULL, or false: not known. */
    bool (*slept)(const struct tn_tracee *t, u32 index);
    u64 hold_ns_max;
    u32 interrupted; /* sleepers whose call was interrupted */
    int hup[2];      /* sockets whose hang-up ends long waits; −1: none */
    bool last;       /* no other hands will come: what cannot be done is left */
    bool gathering;  /* all are to stop: who stops for a signal stays, and takes it when it goes on */
};

/*
 * What cannot fail has failed, half-way: these hands end on the spot. The kernel lets every thread go, and the next
 * hands put right what the record says was under way. Returns where there are none to come.
 */
#define TN_STUMBLED 3 /* exit status */
void tn_tracee_stumble(const struct tn_tracee *t);
/* ptrace(2) on a thread that is ours: it fails when the thread is gone (ESRCH), and for no other reason that it
   would be safe to go on after. */
long tn_ptrace(const struct tn_tracee *t, int request, pid_t tid, u64 addr, void *data);

/* Opens the target's memory, blocks SIGCHLD, and makes its handler ours. No thread is touched. */
int tn_tracee_open(struct tn_tracee *t, pid_t pid, struct tn_error *err);
void tn_tracee_close(struct tn_tracee *t);

/* Is this word of a stack the program counter in a signal frame? There, general registers
   end with …, rsp, rip, flags, and the selectors (cs, gs, fs, ss) that Linux gives all
   64-bit programs alike. rip[0…2] are read. */
static inline bool tn_frame_interrupted(const u64 *rip)
{
    return rip[2] == TN_SELECTORS && (rip[1] & 2) && rip[1] < 1u << 22;
}

int tn_tracee_read(const struct tn_tracee *t, u64 addr, void *ret_bytes, u64 len);
int tn_tracee_write(const struct tn_tracee *t, u64 addr, const void *bytes, u64 len);

/*
 * PTRACE_SEIZE. Whoever is in the middle of an execve holds the lock that this takes until all other threads of his are gone
 * for good, and those that are ours are so only when we have taken note of their death: it is taken note of here, while we
 * wait for him, as by tn_tracee_wait. 0, or the error.
 */
int tn_seize(struct tn_tracee *t, pid_t tid, long options);
/* Seizes one thread, or all there are (looping until no new one appears;
   those born later come by themselves). */
int tn_tracee_seize(struct tn_tracee *t, pid_t tid, struct tn_error *err);
int tn_tracee_seize_all(struct tn_tracee *t, struct tn_error *err);
/* The same, and other processes in its memory, so that none can come into being untraced any more: one that was in the middle of clone when
   it was seized still bears an untraced thread. So the awake ones are held once, for a moment if `brief` (else, and where new
   ones come all the time, they stay held); then the list is read again. `brief`: nobody else is held by now. */
int tn_tracee_gather(struct tn_tracee *t, bool brief, struct tn_error *err);
/* Whether a thread that sleeps in this call may be waiting for a vfork child. Such a sleep only death can cut
   short: an interrupt stays pending until the child has left the memory, and is seen then. */
bool tn_tracee_vforks(s64 nr);
/* A vfork child, or one of clone(CLONE_VM), runs in the same memory but is no thread of the process, and a breakpoint that we have
   not seized it for would end it: those there are now, and theirs, too. */
int tn_tracee_seize_sharing(struct tn_tracee *t, struct tn_error *err);
struct tn_thread *tn_tracee_find(struct tn_tracee *t, pid_t tid);
/* A thread that is traced already, and runs. NULL: no memory. */
struct tn_thread *tn_tracee_adopt(struct tn_tracee *t, pid_t tid);

/* Asks a thread to stop; its stop is seen by a later wait. */
void tn_tracee_interrupt(struct tn_tracee *t, struct tn_thread *th);
/* Takes what has happened to the threads, or some of it; sleeps until something does, `ns` at most (0: do not
   sleep). Returns the number of events: there may be more as long as it is not 0. Pointers into t->th are void
   afterwards. */
int tn_tracee_wait(struct tn_tracee *t, u64 ns);
/* Waits until `tid` is held or gone, or no interrupt is outstanding (tid 0). −ETIMEDOUT. */
int tn_tracee_settle(struct tn_tracee *t, pid_t tid, u64 ns);
void tn_tracee_resume(struct tn_tracee *t, struct tn_thread *th);
void tn_tracee_resume_all(struct tn_tracee *t);
/* Any thread left that is not gone? */
bool tn_tracee_alive(const struct tn_tracee *t);
/* After the breakpoints of t->brk are out of memory again: finds who ran into one and has not stopped yet,
   sets it back, and lets everybody go. Sleepers are not touched: who sleeps has no trap pending. */
int tn_tracee_drain(struct tn_tracee *t);
/* A held thread whose call our interrupt has ended with −EINTR: makes it start again (restartable.h). */
void tn_tracee_mend_result(struct tn_tracee *t, struct tn_thread *th);
/* Has a held thread run into a breakpoint whose trap it has not taken yet? */
bool tn_trap_pending(const struct tn_tracee *t, pid_t tid);
/* Has one of t->hup hung up? */
bool tn_tracee_hung_up(const struct tn_tracee *t);

/* ------------------------------------------------------------------------- remote calls */

/* One held thread that makes system calls for us. */
struct tn_borrowed {
    pid_t tid;
    u32 own_pid, own_tid;         /* as itself knows process and thread, in its namespace */
    struct user_regs_struct regs; /* as they are to be when it goes on */
    u64 mask;
    u64 cave;         /* where the stub may lie until it has a page; 0: nowhere */
    u64 syscall_insn; /* address of a `syscall` instruction, where there is no cave */
    bool slept;       /* it was interrupted in a call, which starts again */
};

/*
 * Borrows a thread for remote calls: an awake one; else a sleeper whose call restarts exactly; else waits up
 * to wait_ms for one to wake (a breakpoint where it returns to). −EAGAIN "no_thread_to_borrow", −EPERM
 * "seccomp", …
 */
int tn_borrow(struct tn_tracee *t, u32 wait_ms, struct tn_borrowed *ret_b, struct tn_error *err);
/* The same for a thread that is held already. */
int tn_borrow_held(struct tn_tracee *t, pid_t tid, struct tn_borrowed *ret_b, struct tn_error *err);
/* A remote system call without a stub, where there is no cave: the one way on which a tracer must not be
   killed. *ret_result is what the kernel answered (−errno included). −ESRCH: the thread is gone. */
int tn_remote_call(struct tn_tracee *t, struct tn_borrowed *b, long nr, const u64 arg[6], s64 *ret_result);
/* Many of them in one go, from a page of ours (stub.c) at `stub` that is mapped r-x there, TN_STUB_SIZE
   bytes: until one fails. *ret_done: how many succeeded; *ret_last: the last one's result. */
#define TN_STUB_SIZE 8192u
#define TN_CAVE_SIZE 448u /* of a stub with a single call */
struct tn_remote {
    u64 nr, arg[6];
};
int tn_remote_calls(struct tn_tracee *t, const struct tn_borrowed *b, u64 stub, const struct tn_remote *calls,
                    u32 n, u32 *ret_done, s64 *ret_last);
/* The tracer before this one died while a thread was in the stub: that one finds its own way out, and does
   not stop for a tracer any more. */
void tn_stub_abandon(const struct tn_tracee *t, u64 at);
/* Does the stub's code lie at this address? */
bool tn_stub_is(const struct tn_tracee *t, u64 at);
/* … at the head of the page that holds `at`, whoever has left it there: hands may be killed before they write down that it is
   theirs. */
bool tn_stub_left(pid_t pid, u64 at);
/* t->lent is what a dead tracer has left: that thread gets its registers and mask back if it has not found
   its own way, and stays held for more calls; what was stopped for the tracer goes on. −ESRCH: it is gone. */
int tn_lent_back(struct tn_tracee *t);
/* The cave is zero again and nothing is lent; nobody is in it. */
void tn_lent_clear(struct tn_tracee *t);
/* Registers and mask as before, at a stop where the kernel still restarts what
   was interrupted; stays held. */
int tn_borrow_end(struct tn_tracee *t, struct tn_borrowed *b);

#endif
