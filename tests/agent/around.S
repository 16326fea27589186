/* SPDX-License-Identifier: MIT */
/*
 * void around_trap(void), around_plain(void): every register from around_in, the vector state from around_xin, the stack pointer last;
 * then a breakpoint, or nothing; then all of it to around_out and around_xout. A signal may come at any instruction: there is
 * a stack all the time.
 */
    .text

    .macro each what
    \what %rcx, 8
    \what %rdx, 16
    \what %rbx, 24
    \what %rbp, 32
    \what %rsi, 40
    \what %rdi, 48
    \what %r8, 56
    \what %r9, 64
    \what %r10, 72
    \what %r11, 80
    \what %r12, 88
    \what %r13, 96
    \what %r14, 104
    \what %r15, 112
    .endm
    .macro get reg, off
    mov around_in+\off(%rip), \reg
    .endm
    .macro put reg, off
    mov \reg, around_out+\off(%rip)
    .endm

    .macro around name, insn
    .globl around_\name, around_\name\()_at, around_\name\()_on
    .type around_\name, @function
around_\name:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, kept(%rip)
    mov around_mask(%rip), %eax
    mov around_mask+4(%rip), %edx
    xrstor64 around_xin(%rip)
    each get
    get %rax, 0
    pushq around_in+120(%rip)
    popfq
    get %rsp, 128
around_\name\()_at:
    \insn
around_\name\()_on:
    put %rsp, 128
    mov kept(%rip), %rsp
    pushfq
    put %rax, 0
    each put
    popq around_out+120(%rip)
    pushq $0x202
    popfq
    mov around_mask(%rip), %eax
    mov around_mask+4(%rip), %edx
    xsave64 around_xout(%rip)
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .endm

    around trap, "int3; ud2"
    around plain, nop

    .section .bss
    .globl around_in, around_out, around_mask, around_xin, around_xout
    .balign 64
around_xin:
    .zero 4096
around_xout:
    .zero 4096
around_in:
    .zero 136
around_out:
    .zero 136
around_mask:
    .zero 8
kept:
    .zero 8

    .section .note.GNU-stack, "", @progbits
