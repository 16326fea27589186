/* SPDX-License-Identifier: MIT */
/*
 * Twelve thousand functions for target.c, each of which returns its first argument and its own number added, in six
 * forms that compilers make. MANY_SIZE bytes apart, so that a test finds each.
 */
#define MANY      12000
#define MANY_SIZE 32

        .altmacro

        .macro shape0 num              /* a frame */
        push    %rbx
        mov     %rdi, %rbx
        lea     \num(%rbx), %rax
        pop     %rbx
        ret
        .endm

        .macro shape1 num              /* a leaf, with endbr64 */
        endbr64
        lea     \num(%rdi), %rax
        ret
        .endm

        .macro shape2 num              /* a load that depends on its place */
        mov     1f(%rip), %eax
        add     %rdi, %rax
        ret
        .pushsection .rodata
1:      .long   \num
        .popsection
        .endm

        .macro shape3 num              /* shorter than a jump up to its branch, which goes over the rest */
        test    %edi, %edi
        jne     1f
        mov     $\num, %eax
        ret
1:      lea     \num(%rdi), %rax
        ret
        .endm

        .macro shape4 num              /* two instructions of a single window, the second with a branch's target behind */
        xor     %eax, %eax
        mov     $\num, %esi
        jmp     1f
        nop
1:      lea     (%rdi, %rsi), %rax
        ret
        .endm

        .macro shape5 num              /* a call, its result kept on the stack */
        sub     $8, %rsp
        call    many_same
        add     $\num, %rax
        add     $8, %rsp
        ret
        .endm

        .macro one num, kind
        .p2align 5, 0xcc
        .type   many_\num, @function
        .globl  many_\num
many_\num:
        shape\kind \num
        .size   many_\num, . - many_\num
        .endm

        .text
        .p2align 5
        .type   many_same, @function
many_same:
        mov     %rdi, %rax
        ret
        .size   many_same, . - many_same

        .set    i, 0
        .rept   MANY
        one     %i, %(i % 6)
        .set    i, i + 1
        .endr

        .section .rodata
        .globl  many_count, many_size
        .p2align 3
many_count: .quad MANY
many_size: .quad MANY_SIZE
        .section .note.GNU-stack, "", @progbits
