/* SPDX-License-Identifier: MIT */
/* The agent's `syscall` instruction (rt/syscalls.h). The kernel's convention: number in rax, arguments in rdi, rsi,
   rdx, r10, r8, r9; rcx and r11 are lost; the result, or a negative errno, in rax (System V psABI, A.2). */
#include "rt/syscalls.h"

#include "rt/barrier.h"

#define UNCOUNTED 1u

/* Counted first, asked then; who denies does so first, and looks at the counts then. One of the two sees the other. */
u64 tn_call_begin(const struct tn_proc *proc, enum tn_syscall_bit bit)
{
    struct tn_private *priv = proc ? proc->priv : NULL;
    u64 *under;

    if (!tn_syscall_allowed(proc, bit))
        return 0;
    if (!priv)
        return UNCOUNTED;
    under = &priv->way[(u64)__builtin_frame_address(0) / 65536 % TN_WAYS].under;
    tn_fetch_add(under, 1);
    if (tn_syscall_allowed(proc, bit))
        return (u64)under;
    tn_fetch_add(under, -1ull);
    return 0;
}

void tn_call_end(u64 begun)
{
    if (begun > UNCOUNTED)
        tn_fetch_add((u64 *)begun, -1ull);
}

s64 tn_syscall6(u64 nr, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5, u64 a6)
{
    register u64 r10 __asm__("r10") = a4;
    register u64 r8 __asm__("r8") = a5;
    register u64 r9 __asm__("r9") = a6;
    s64 ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a1), "S"(a2), "d"(a3), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
