/* SPDX-License-Identifier: MIT */
/* Who runs; see self.h. */
#include "rt/self.h"

/* 0: not to be known. */
static u32 asked(s64 id)
{
    return id < 0 ? 0 : (u32)id;
}

u32 tn_self_pid(const struct tn_proc *proc)
{
    enum tn_self_kind kind = tn_self_kind(proc);
    struct tn_private *priv;
    u32 pid;

    if (kind == TN_SELF_UNKNOWN || kind == TN_SELF_VFORK)
        return asked(TN_CALL(proc, getpid, 0, 0, 0, 0, 0, 0));

    priv = proc->priv;
    pid = tn_load(&priv->pid);
    if (TN_LIKELY(pid))
        return pid;
    pid = asked(TN_CALL(proc, getpid, 0, 0, 0, 0, 0, 0));
    tn_store(&priv->pid, pid);
    return pid;
}

u64 tn_self_thread_by_id(const struct tn_proc *proc)
{
    u32 tid = asked(TN_CALL(proc, gettid, 0, 0, 0, 0, 0, 0));

    return tid ? TN_THREAD_BY_ID | (u64)tid << 3 : 0; /* the low bits of an owner are flags */
}

u32 tn_self_tid(const struct tn_proc *proc)
{
    /* In a child the word is only as right as whoever forked kept it: ask. */
    if (proc && proc->tid_off && tn_self_kind(proc) == TN_SELF_PROCESS) {
        u32 tid;

        __asm__ volatile("movl %%fs:(%1), %0" : "=r"(tid) : "r"((s64)proc->tid_off));
        return tid;
    }
    return asked(TN_CALL(proc, gettid, 0, 0, 0, 0, 0, 0));
}

u32 tn_self_cpu(const struct tn_proc *proc)
{
    u32 ncpu = proc && proc->ncpu ? proc->ncpu : 1;
    u32 cpu;

    if (proc && proc->rseq_cpu_off) {
        __asm__ volatile("movl %%fs:(%1), %0" : "=r"(cpu) : "r"((s64)proc->rseq_cpu_off));
        if (TN_LIKELY(cpu < ncpu))
            return cpu;
    }
    /* The kernel keeps node << 12 | cpu as the limit of a segment of its own (selector 0x7b),
       for the vDSO's getcpu. */
    __asm__ volatile("lsl %1, %0" : "=r"(cpu) : "r"(0x7bu) : "cc");
    cpu &= 0xfff;
    return cpu < ncpu ? cpu : cpu % ncpu;
}

bool tn_self_alone(const struct tn_run *run)
{
    u64 others = 0;

    if (!run || !run->slot || !run->hook || run->hook->prog_bit >= TN_SLOT_BITS)
        return false;
    for (u32 i = 0; i < TN_SLOT_BITS / 64; i++) {
        u64 own = run->hook->prog_bit / 64 == i ? 1ull << run->hook->prog_bit % 64 : 0;

        others |= run->slot->running[i] & ~own;
    }
    return !others;
}
