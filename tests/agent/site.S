/* SPDX-License-Identifier: MIT */
/*
 * Places of a host as they are once they are patched. guarded_call: a system call, entered as the displaced copy of its
 * window does; site_block is what it leads to. guarded_restorer: the return of a handler, the same. broken: a function whose
 * first byte is a breakpoint; its instruction stands at broken_enter, behind a count.
 */
    .text

/* s64 guarded_call(nr, a1, a2, a3, a4, a5, a6) */
    .globl guarded_call
    .type guarded_call, @function
guarded_call:
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rdx, %rsi
    mov %rcx, %rdx
    mov %r8, %r10
    mov %r9, %r8
    mov 8(%rsp), %r9
    lea site_block(%rip), %rcx
    jmp *site_block+24(%rip)
    .globl guarded_call_on, guarded_call_made
guarded_call_on:
    syscall
guarded_call_made:
    ret

    .globl guarded_restorer
    .type guarded_restorer, @function
guarded_restorer:
    mov $15, %rax
    lea return_block(%rip), %rcx
    jmp *return_block+24(%rip)
    .globl guarded_restorer_on, guarded_restorer_made
guarded_restorer_on:
    syscall
guarded_restorer_made:
    ud2

    .globl plain_restorer
    .type plain_restorer, @function
plain_restorer:
    mov $15, %rax
    syscall

    .globl own_trap
    .type own_trap, @function
own_trap:
    int3
    ret

    .globl own_fault, own_bus
    .type own_fault, @function
own_fault:
    mov $8, %eax
    mov (%rax), %al
    ret
    .type own_bus, @function
own_bus:
    mov bus_page(%rip), %rax
    mov (%rax), %al
    ret

    .globl broken, broken_enter
    .type broken, @function
broken:
    int3
    ret
broken_enter:
    lock incq broken_hits(%rip)
    mov $42, %eax
    ret

    .section .data
    .globl site_block, return_block, broken_hits, bus_page
bus_page:
    .quad 0
site_block:
    .quad 0, 0, 0, 0
return_block:
    .quad 0, 0, 0, 0
broken_hits:
    .quad 0

    .section .note.GNU-stack, "", @progbits
