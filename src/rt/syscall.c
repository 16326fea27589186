/* SPDX-License-Identifier: MIT */
/* The agent's `syscall` instruction (rt/syscalls.h). The kernel's convention: number in rax, arguments in rdi, rsi,
   rdx, r10, r8, r9; rcx and r11 are lost; the result, or a negative errno, in rax (System V psABI, A.2). */
#include "rt/syscalls.h"

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
