/* SPDX-License-Identifier: MIT */
/*
 * Every system call that may be made in a target, one row each: a host's seccomp filter may allow some and
 * kill for others, so each row is proved at attach and its bit set in tn_proc.allowed_syscalls. A call
 * without a row does not exist: tn_syscall6 (syscall.c) holds the only `syscall` instruction of the agent
 * but the one by which its handler returns.
 *
 *   TN_CALL      of the agent's own accord: made only where it is allowed at that moment, else −EPERM
 *   TN_SYSCALL   the host's own call, made in its stead, and what the end of a signal takes
 *
 * S(number, name, why)
 */
#ifndef TN_RT_SYSCALLS_H
#define TN_RT_SYSCALLS_H

#include <asm/errno.h>

#include "rt/signals.h"

// clang-format off
#define TN_SYSCALLS(S)                                                                                       \
    S(13,  rt_sigaction,      "signals of ours: the host's own call, and the end they would have had")       \
    S(14,  rt_sigprocmask,    "signals of ours: the host's own call, without them; is a word readable")      \
    S(15,  rt_sigreturn,      "signals of ours: the end of each")                                            \
    S(24,  sched_yield,       "let the holder of a lock or of a per-CPU slot run")                           \
    S(39,  getpid,            "who runs: in fork and vfork children, and the first time")                    \
    S(59,  execve,            "signals of ours: the host's own call")                                        \
    S(102, getuid,            "bpf_get_current_uid_gid")                                                     \
    S(104, getgid,            "bpf_get_current_uid_gid")                                                     \
    S(127, rt_sigpending,     "signals of ours: the host's own call")                                        \
    S(131, sigaltstack,       "is this thread on its alternate stack, and is there room: runs, loads")        \
    S(157, prctl,             "PR_GET_NAME only: bpf_get_current_comm")                                      \
    S(158, arch_prctl,        "ARCH_GET_FS only: the thread pointer where no instruction may read it")       \
    S(186, gettid,            "thread id where its place in the thread's memory is not proved")              \
    S(202, futex,             "a ring buffer's sleeping consumer is woken; where libraries are loaded, the broker too, and waited for") \
    S(228, clock_gettime,     "the clocks, where the process has no vDSO")                                   \
    S(297, rt_tgsigqueueinfo, "signals of ours: one that is the host's, handed on")                          \
    S(310, process_vm_readv,  "of the process itself only: reads of host memory where loads must not fault")  \
    S(311, process_vm_writev, "of the process itself only: writes of a host's buffer that must not fault")   \
    S(322, execveat,          "signals of ours: the host's own call")
// clang-format on

/* Bits of tn_proc.allowed_syscalls. */
enum tn_syscall_bit {
#define S(nr, name, why) TN_SYS_##name,
    TN_SYSCALLS(S)
#undef S
        TN_SYS_COUNT
};
_Static_assert(TN_SYS_COUNT <= 32, "bits of tn_proc.allowed_syscalls");

enum tn_syscall_nr {
#define S(nr, name, why) TN_NR_##name = nr,
    TN_SYSCALLS(S)
#undef S
};

/* Result or negative errno; errno itself is never touched. */
s64 tn_syscall6(u64 nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 a6);

/* proc NULL (no target: tests, the confined process): everything is allowed. */
static inline bool tn_syscall_allowed(const struct tn_proc *proc, enum tn_syscall_bit bit)
{
    const struct tn_signals *s;

    if (!proc)
        return true;
    s = (const struct tn_signals *)proc->signals;
    return proc->allowed_syscalls >> bit & 1 &&
           !(s && __atomic_load_n(&s->denied, __ATOMIC_SEQ_CST) >> bit & 1);
}

/* A call that is about to be made: 0 if it is not allowed. Between the two nobody takes the permission away, or rather: who
   does waits for it (agent/confine.c). */
u64 tn_call_begin(const struct tn_proc *proc, enum tn_syscall_bit bit);
void tn_call_end(u64 begun);

#define TN_SYSCALL(name, a1, a2, a3, a4, a5, a6)                                                             \
    tn_syscall6(TN_NR_##name, (u64)(a1), (u64)(a2), (u64)(a3), (u64)(a4), (u64)(a5), (u64)(a6))

#define TN_CALL(proc, name, a1, a2, a3, a4, a5, a6)                                                          \
    ({                                                                                                       \
        u64 begun_ = tn_call_begin(proc, TN_SYS_##name);                                                     \
        s64 ret_ = begun_ ? TN_SYSCALL(name, a1, a2, a3, a4, a5, a6) : -EPERM;                               \
                                                                                                             \
        tn_call_end(begun_);                                                                                 \
        ret_;                                                                                                \
    })

#endif
