/* SPDX-License-Identifier: MIT */
/*
 * Functions for the kernel's uprobes and for us, in one process. It obeys lines:
 *
 *   where    where `inner`, `outer` and `idle` begin
 *   call N   N calls of `outer`, which calls `inner`, and of `idle`; answers N, or ends if a result is wrong
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

/* inner: 3 n, in instructions that begin at 0, 1, 4, 8 and 9; nothing behind the first eight bytes is any jump's.
   idle: 2 n, behind five bytes that do nothing, where the kernel may put a call. */
__asm__(".text\n"
        ".p2align 4\n.globl inner\n.type inner, @function\n"
        "inner: .cfi_startproc\n push %rbx\n .cfi_adjust_cfa_offset 8\n mov %rdi, %rbx\n lea (%rbx,%rbx,2), "
        "%rax\n"
        " pop %rbx\n .cfi_adjust_cfa_offset -8\n ret\n .cfi_endproc\n.size inner, . - inner\n"
        ".p2align 4\n.globl idle\n.type idle, @function\n"
        "idle: .cfi_startproc\n .byte 0x0f, 0x1f, 0x44, 0, 0\n lea (%rdi,%rdi), %rax\n ret\n "
        ".cfi_endproc\n.size idle, . - idle\n");
uint64_t inner(uint64_t n), outer(uint64_t n), idle(uint64_t n);

__attribute__((noinline)) uint64_t outer(uint64_t n)
{
    uint64_t sum = inner(n);

    __asm__ volatile("" : "+r"(sum));
    return sum + n;
}

int main(void)
{
    static uint64_t (*volatile function)(uint64_t) = outer;
    char line[64];
    uint64_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (strncmp(line, "where", 5) == 0) {
            printf("%lx %lx %lx\n", (unsigned long)inner, (unsigned long)outer, (unsigned long)idle);
        } else if (sscanf(line, "call %lu", &n) == 1) {
            for (uint64_t i = 0; i < n; i++)
                if (function(i) != 4 * i || idle(i) != 2 * i)
                    abort();
            printf("%lu\n", n);
        } else {
            return 2;
        }
    }
    return 0;
}
