/* SPDX-License-Identifier: MIT */
/*
 * Who runs: thread pointer, process, thread, processor, and the word that names an owner in shared memory.
 *
 *   owner = pid << 32 | low half of the thread pointer, or of what takes its place
 *
 * The pid is the one the broker knows (it clears what the dead have left); in fork children, which the broker
 * may not know, it is their own. A vfork child runs in its parent's memory, on its parent's thread pointer:
 * while one is in flight (high half of tn_private.armed) nothing is taken from memory and nothing remembered,
 * the kernel is asked.
 *
 * `run` may be NULL, as may run->proc: then the kernel is asked too.
 */
#ifndef TN_RT_SELF_H
#define TN_RT_SELF_H

#include "rt/barrier.h"
#include "rt/layout.h"
#include "rt/syscalls.h"

enum tn_self_kind {
    TN_SELF_PROCESS, /* the process that was attached to, and no vfork in flight */
    TN_SELF_FORKED,  /* its fork child: the private page is wiped */
    TN_SELF_VFORK,   /* perhaps a vfork child, perhaps its parent's other threads */
    TN_SELF_UNKNOWN, /* no tn_private: tests, the confined process */
};

static inline enum tn_self_kind tn_self_kind(const struct tn_proc *proc)
{
    u64 armed;

    if (!proc || !proc->priv)
        return TN_SELF_UNKNOWN;
    armed = tn_load(&proc->priv->armed);
    if (TN_LIKELY(armed == TN_ARMED))
        return TN_SELF_PROCESS;
    return armed >> 32 ? TN_SELF_VFORK : TN_SELF_FORKED;
}

static inline u64 tn_thread_pointer(const struct tn_proc *proc)
{
    u32 how = proc ? proc->tp_how : TN_TP_SELF;
    u64 tp = 0;

    if (TN_LIKELY(how == TN_TP_SELF))
        __asm__("movq %%fs:0, %0" : "=r"(tp));
    else if (how == TN_TP_RDFSBASE)
        __asm__("rdfsbase %0" : "=r"(tp));
    else
        TN_CALL(proc, arch_prctl, 0x1003 /* ARCH_GET_FS */, &tp, 0, 0, 0, 0);
    return tp;
}

/* What tells a thread from the others of its process: its thread pointer. Threads without one (in programs without a
   libc) have none of their own: their ids are put where no pointer lies. 0: not to be known. */
#define TN_THREAD_BY_ID (1ull << 63)
u64 tn_self_thread_by_id(const struct tn_proc *proc);
static inline u64 tn_self_thread(const struct tn_proc *proc)
{
    u64 tp = tn_thread_pointer(proc);

    return TN_LIKELY(tp) ? tp : tn_self_thread_by_id(proc);
}

u32 tn_self_pid(const struct tn_proc *proc);
u32 tn_self_tid(const struct tn_proc *proc);
/* A possible CPU, < proc->ncpu: where the thread is, or was a moment ago. */
u32 tn_self_cpu(const struct tn_proc *proc);

static inline u64 tn_self_owner(const struct tn_proc *proc)
{
    u32 low = (u32)tn_self_thread(proc) & ~7u;

    if (TN_LIKELY(tn_self_kind(proc) == TN_SELF_PROCESS && proc->owner_pid))
        return (u64)proc->owner_pid << 32 | low;
    return (u64)tn_self_pid(proc) << 32 | low;
}

/* The part of an owner word that names the process. */
#define TN_OWNER_PID(owner) ((u32)((owner) >> 32))

/* Is this the only run of its thread? Then a lock that the thread seems
   to hold was left by an abandoned one. */
bool tn_self_alone(const struct tn_run *run);

#endif
