/* SPDX-License-Identifier: MIT */
/*
 * The worst program that a footprint (*clobber_mask, as of tn_code) allows: calls prog_body(ctx, run), NULL for what it
 * does not take, then leaves garbage in every register it may, below the stack pointer and in the flags. rax holds
 * garbage always.
 */
    .text
    .globl clobber_prog
clobber_prog:
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    mov clobber_mask(%rip), %rax
    mov (%rax), %eax
    test $0x10000, %eax
    jnz 1f
    xor %edi, %edi
1:  test $0x20000, %eax
    jnz 1f
    xor %esi, %esi
1:  sub $8, %rsp
    call prog_body
    add $8, %rsp
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    mov clobber_mask(%rip), %rax
    .macro spoil reg, bit
    testl $1 << \bit, (%rax)
    jz 1f
    mov $0x5a5a5a5a5a5a5a5a, \reg
1:
    .endm
    spoil %rcx, 1
    spoil %rdx, 2
    spoil %rsi, 6
    spoil %rdi, 7
    spoil %r8, 8
    spoil %r9, 9
    spoil %r10, 10
    spoil %r11, 11
    mov $0x5a5a5a5a5a5a5a5a, %rax
    mov %rax, -8(%rsp)
    mov %rax, -64(%rsp)
    mov %rax, -128(%rsp)
    add %rax, %rax
    ret
    .section .note.GNU-stack, "", @progbits
