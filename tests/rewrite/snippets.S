/* SPDX-License-Identifier: MIT */
/*
 * Functions to be copied, patched and compared with themselves. Position-independent, arguments in rdi and rsi. All
 * in one blob; `functions` in equiv.c names them. A label `…_at` marks an offset to hook.
 */
    .text
    .globl blob, blob_end
    .balign 4096
blob:

    .macro fn name
    .balign 16, 0xcc
    .globl \name
\name:
    .endm

    fn s_simple
    lea (%rdi,%rsi), %rax
    add $1, %rax
    imul $3, %rax, %rax
    ret

    fn s_branch                     /* short branches in the window */
    test %edi, %edi
    jle 1f
    mov $5, %eax
    add %rsi, %rax
    ret
1:  mov $7, %eax
    sub %rsi, %rax
    ret

    fn s_jmp_first                  /* the window is a short jump and what nobody reaches */
    jmp 1f
    nopl 0(%rax)
    nop
1:  lea 2(%rdi), %rax
    ret

    fn s_rip
    mov s_data(%rip), %rax
    add %rdi, %rax
    lea s_data(%rip), %rdx
    xor (%rdx), %rax
    addl $0x11223344, s_scratch(%rip)
    ret

    fn s_loop
    mov %edi, %ecx
    jrcxz 2f
    xor %eax, %eax
1:  add %rsi, %rax
    loop 1b
    ret
2:  mov $99, %eax
    ret

    fn s_call_first                 /* pushes its own return address when displaced */
    call s_who_called
    add $1, %rax
    ret

    fn s_call_rip
    call *s_vector(%rip)
    sub $1, %rax
    ret

    fn s_call_reg_mid               /* the call is inside the window */
    lea s_leaf(%rip), %r10
    .globl s_call_reg_mid_at
s_call_reg_mid_at:
    call *%r10
    inc %rax
    ret

    fn s_call_reg_top               /* … with nothing before it, and it returns into the window */
    call *%r10
    inc %rax
    ret

    fn s_who_called
    mov (%rsp), %rax
    ret

    fn s_leaf
    lea 1(%rdi,%rsi,2), %rax
    ret

    fn s_flags                      /* flags live across the place */
    cmp %rsi, %rdi
    .globl s_flags_at
s_flags_at:
    lea 1(%rdi), %r8
    lea 2(%rsi), %r9
    pushfq
    pop %rax
    ret

    fn s_overflow
    mov %rdi, %rax
    add %rsi, %rax
    .globl s_overflow_at
s_overflow_at:
    mov %rax, %rdx
    mov %rdi, %rcx
    seto %al
    setc %ah
    movzwl %ax, %eax
    ret

    fn s_redzone
    mov %rdi, -8(%rsp)
    mov %rsi, -128(%rsp)
    .globl s_redzone_at
s_redzone_at:
    mov -8(%rsp), %rax
    sub -128(%rsp), %rax
    ret

    fn s_probe                      /* a static probe, stepped over while nobody looks; flags and red zone live */
    mov %rdi, -8(%rsp)
    test %rdi, %rdi
    je 1f
    .globl s_probe_at
s_probe_at:
    nop
1:  setne %al
    mov -8(%rsp), %rcx
    movzbl %al, %eax
    add %rcx, %rax
    ret

    fn s_inner                      /* a loop inside of the window, back to the place */
    mov $3, %ecx
    xor %eax, %eax
    add %rdi, %rax
    .globl s_inner_at
s_inner_at:
    nop
    dec %ecx
    jne s_inner_at
    lea (%rax,%rsi), %rax
    ret

    fn s_pops                       /* no room behind the rets: displaced pops */
    push %rbx
    push %r12
    mov %rdi, %rbx
    mov %rsi, %r12
    cmp $10, %rdi
    ja 1f
    lea (%rbx,%r12,4), %rax
    pop %r12
    pop %rbx
    add $0, %rsi
    ret
1:  lea (%r12,%rbx,8), %rax
    pop %r12
    pop %rbx
    add $0, %rsi
    rep ret

    fn s_switch                     /* a jump table as compilers write it */
    cmp $3, %edi
    ja 9f
    lea s_table(%rip), %rdx
    mov %edi, %edi
    movslq (%rdx,%rdi,4), %rax
    add %rdx, %rax
    notrack jmp *%rax
s_case0:
    lea 10(%rsi), %rax
    ret
    nopl 0(%rax)
s_case1:
    lea 20(%rsi), %rax
    ret
    nopl 0(%rax)
s_case2:
    lea 30(%rsi), %rax
    ret
    nopl 0(%rax)
s_case3:
    lea 40(%rsi), %rax
    ret
    nopl 0(%rax)
9:  mov $-1, %eax
    ret

    fn s_endbr
    endbr64
    lea 3(%rdi), %rax
    add %rsi, %rax
    ret

    fn s_fib                        /* calls itself */
    cmp $2, %rdi
    jae 1f
    mov %rdi, %rax
    ret
    nopl 0(%rax)
1:  push %rbx
    push %rdi
    dec %rdi
    call s_fib
    mov %rax, %rbx
    pop %rdi
    sub $2, %rdi
    call s_fib
    add %rbx, %rax
    pop %rbx
    ret

    fn s_short                      /* three bytes and padding */
    xor %eax, %eax
    ret

    fn s_tail
    lea 1(%rdi), %rdi
    jmp s_leaf

    fn s_head                       /* loops to its own entry */
    dec %rdi
    test %rdi, %rdi
    jg s_head
    mov %rsi, %rax
    ret

    fn s_into                       /* a jump between the displaced instructions */
    xor %eax, %eax
1:  inc %eax
    add $2, %eax
    cmp %edi, %eax
    jl 1b
    ret

    fn s_vfork
    mov $58, %eax
    syscall
    ret

    /* Calls of the kernel, whose answers do not change: getpid, a read of nothing, one that there is none of. Flags are
       looked at behind each, and so r11 has them as they were. */

    fn s_call_far                   /* the number is loaded far away, and something else on the way */
    mov $39, %r9d
    mov %rdi, -8(%rsp)
    cmp %rsi, %rdi
    lea 1(%rsi), %rdx
    mov $-1, %eax
    jz 1f
    mov %rdx, %r10
1:  mov %r9d, %eax
    nopl 0(%rax)
    .globl s_call_far_at
s_call_far_at:
    syscall
    nopl 0(%rax)
    setc %dl
    sub -8(%rsp), %rax
    ret

    fn s_call_zero                  /* read(−1, …), its number made by xor: flags are set by it, and seen behind */
    mov $-1, %edi
    mov %rsi, -128(%rsp)
    nopl 0(%rax)
    xor %eax, %eax
    .globl s_call_zero_at
s_call_zero_at:
    syscall
    lea (%rax,%rax), %rdx
    sete %dl
    xor -128(%rsp), %rdx
    ret

    fn s_call_into                  /* others jump to the instruction itself: it is entered where nothing can stand */
    mov $39, %eax
    test %edi, %edi
    je s_call_into_at
    nopl 0(%rax)
    mov $186, %eax
    .globl s_call_into_at
s_call_into_at:
    syscall
    lea 1(%rax), %rdx
    setc %dl
    lea 2(%rax,%rdx), %r8
    ret

    fn s_call_short                 /* what follows is a short block that somebody jumps to */
    mov %rsi, %r8
    mov $39, %eax
    .globl s_call_short_at
s_call_short_at:
    syscall
1:  dec %r8
    cmp $3, %r8
    jz 1b
    ret

    fn s_call_rep                   /* a prefix that means nothing */
    lea 5(%rsi), %r8
    mov $39, %eax
    .globl s_call_rep_at
s_call_rep_at:
    .byte 0xf3
    syscall
    mov %rcx, %rdx
    mov %r11, %r8
    ret

    fn s_call_bad                   /* a number that there is none of */
    mov %rdi, %rax
    or $0x10000, %rax
    .globl s_call_bad_at
s_call_bad_at:
    syscall
    mov %rcx, %rdx
    setc %dl
    lea 1(%r11), %r8
    ret

    .macro at_page_end name, left   /* so many bytes before a page's end */
    .balign 4096, 0xcc
    .skip 4096 - \left, 0xcc
    .globl \name
\name:
    .endm

    at_page_end s_call_page, 9      /* the instruction is the page's last */
    mov %esi, %edx
    mov $39, %eax
    .globl s_call_page_at
s_call_page_at:
    syscall
    lea 1(%rcx), %rdx
    setc %dl
    lea 2(%r11), %r8
    ret

    at_page_end s_call_split, 8     /* … or half in either */
    mov %esi, %edx
    mov $39, %eax
    .globl s_call_split_at
s_call_split_at:
    syscall
    lea 1(%rcx), %rdx
    setc %dl
    lea 2(%r11), %r8
    ret

    fn s_end
    int3
    .balign 8, 0xcc
    .globl s_data
s_data:
    .quad 0x123456789abcdef0
    .globl s_scratch
s_scratch:
    .quad 0
    .globl s_vector
s_vector:
    .quad 0                         /* filled with the address of s_who_called */
s_table:
    .long s_case0 - s_table, s_case1 - s_table, s_case2 - s_table, s_case3 - s_table
blob_end:
    .section .note.GNU-stack, "", @progbits
