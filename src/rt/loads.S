/* SPDX-License-Identifier: MIT */
/*
 * The loads that may fault, and the list of them (loads.h). System V calls, general registers only.
 *
 * Where one has faulted, all that was to be written is zero, as it is in Linux.
 *
 * A load of a word reaches into the next page only as far as what is wanted does: copies end with a word that lies over what is there
 * already, strings are read in words that lie in one page.
 */
#include "rt/loads_at.h"

    /* The next instruction may fault, and goes on at `to` then. */
    .macro may_fault to
    .pushsection .rodata.tn_load_list, "a", @progbits
    .long 661f - .
    .long \to - .
    .popsection
661:
    .endm

    .section .rodata.tn_load_list, "a", @progbits
    .balign 8
    .globl tn_load_list
    .hidden tn_load_list
tn_load_list:

    /* rdi: to, rsi: from, rdx: bytes */
    .section .text.tn_load_copy, "ax", @progbits
    .globl tn_load_copy
    .hidden tn_load_copy
    .type tn_load_copy, @function
    .balign 16
tn_load_copy:
    cmp $8, %rdx
    jne 1f
    may_fault no_copy
    mov (%rsi), %rax
    mov %rax, (%rdi)
    xor %eax, %eax
    ret
1:  mov %rdi, %r8
    mov %rdx, %r9
    jb 3f
    cmp $256, %rdx
    ja 2f
1:  may_fault no_part
    mov (%rsi), %rax
    mov %rax, (%rdi)
    add $8, %rsi
    add $8, %rdi
    sub $8, %rdx
    cmp $8, %rdx
    ja 1b
    may_fault no_part
    mov -8(%rsi,%rdx), %rax
    mov %rax, -8(%rdi,%rdx)
    xor %eax, %eax
    ret
2:  mov %rdx, %rcx
    may_fault no_part
    rep movsb
    xor %eax, %eax
    ret
3:  cmp $4, %edx
    jne 1f
    may_fault no_copy
    mov (%rsi), %eax
    mov %eax, (%rdi)
    xor %eax, %eax
    ret
1:  cmp $2, %edx
    jne 1f
    may_fault no_copy
    movzwl (%rsi), %eax
    mov %ax, (%rdi)
    xor %eax, %eax
    ret
1:  test %edx, %edx
    je 2f
1:  may_fault no_part
    movzbl (%rsi), %eax
    mov %al, (%rdi)
    inc %rsi
    inc %rdi
    dec %edx
    jne 1b
2:  xor %eax, %eax
    ret
    /* r8, r9: to, bytes, as they were. */
no_part:
    mov %r8, %rdi
    mov %r9, %rdx
no_copy:
    mov %rdx, %rcx
    xor %eax, %eax
    rep stosb
    mov $-14, %rax /* EFAULT */
    ret

    /* rdi: to, rsi: from, rdx: room. r8: how many there are so far. */
    .section .text.tn_load_str, "ax", @progbits
    .globl tn_load_str
    .hidden tn_load_str
    .type tn_load_str, @function
    .balign 16
tn_load_str:
    xor %r8d, %r8d
    movabs $0x0101010101010101, %r9
    movabs $0x8080808080808080, %r10
1:  mov %rdx, %rax
    sub %r8, %rax
    cmp $8, %rax
    jb 3f
    lea (%rsi,%r8), %eax
    and $4095, %eax
    cmp $4088, %eax
    ja 3f
    may_fault no_string
    mov (%rsi,%r8), %rax
    mov %rax, %rcx
    mov %rax, %r11
    sub %r9, %rcx
    not %r11
    and %r11, %rcx
    and %r10, %rcx
    jne 2f
    mov %rax, (%rdi,%r8)
    add $8, %r8
    jmp 1b
2:  /* Bit 7 of the byte that is NUL, and perhaps of later ones: keep what stands below, and eight bits of nothing. */
    lea -1(%rcx), %r11
    xor %rcx, %r11
    shr $8, %r11
    and %r11, %rax
    mov %rax, (%rdi,%r8)
    bsf %rcx, %rcx
    shr $3, %ecx
    lea 1(%r8,%rcx), %rax
    ret
3:  cmp %rdx, %r8
    jae 4f
    may_fault no_string
    movzbl (%rsi,%r8), %eax
    mov %al, (%rdi,%r8)
    inc %r8
    test %al, %al
    jne 1b
    mov %r8, %rax
    ret
4:  movb $0, -1(%rdi,%rdx)
    mov %rdx, %rax
    ret

no_string:
    mov %rdx, %rcx
    xor %eax, %eax
    rep stosb
    mov $-14, %rax /* EFAULT */
    ret

    /* r10 bytes (1, 2, 4, 8) at r11, into r11; r12: the run. Every other register stays. Carry set: not by a load (tn_loads, which
       is the same in C). */
    .section .text.tn_load_word, "ax", @progbits
    .globl tn_load_word
    .hidden tn_load_word
    .type tn_load_word, @function
    .balign 16
tn_load_word:
    push %rax
    push %rcx
    push %rdx
    mov AT_RUN_PROC(%r12), %rax
    test %rax, %rax
    je 9f
    mov AT_PROC_SIGNALS(%rax), %rcx
    test %rcx, %rcx
    je 9f
    cmpq $0, AT_SIGNALS_LOADS(%rcx)
    je 9f
    cmpl $AT_TP_SELF, AT_PROC_TP_HOW(%rax)
    jne 9f
    lea -AT_FROM(%r11), %rax
    movabs $AT_SPAN - 8, %rdx
    cmp %rdx, %rax
    ja 9f
    mov %fs:0, %rax
    mov %rsp, %rdx
    or $0xfff, %rdx
    shl $16, %rax
    add %rax, %rdx
    mov %rsp, %rax
    shr $12, %rax
    and $AT_ROOMS_MASK, %eax
    cmp %rdx, AT_SIGNALS_ROOM(%rcx,%rax,8)
    jne 9f
    pop %rdx
    pop %rcx
    pop %rax
    cmp $8, %r10d
    jne 1f
    may_fault no_word
    mov (%r11), %r11
    clc
    ret
1:  cmp $4, %r10d
    jne 1f
    may_fault no_word
    mov (%r11), %r11d
    clc
    ret
1:  cmp $2, %r10d
    jne 1f
    may_fault no_word
    movzwl (%r11), %r11d
    clc
    ret
1:  may_fault no_word
    movzbl (%r11), %r11d
    clc
    ret
no_word:
    xor %r11d, %r11d
    ret
9:  pop %rdx
    pop %rcx
    pop %rax
    stc
    ret

    .section .rodata.tn_load_list, "a", @progbits
    .long 0, 0 /* its end */

    .section .note.GNU-stack, "", @progbits
