/* SPDX-License-Identifier: MIT */
/*
 * Functions to be copied, patched and compared with themselves. Position-independent, arguments in rdi and rsi. All
 * in one blob; `functions` in equiv.c names them. A label `…_at` marks an offset to hook.
 */
    .text
    .globl blob, blob_end, call_with_state, clobber_prog
    .balign 64
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

/*
 * void call_with_state(void *fn, struct state *in, struct state *ret_out): every register but rsp from `in`, call, all
 * of them to `out`. struct state: gpr[16] in encoding order, flags, pad, xmm[16].
 */
    .balign 16
call_with_state:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdx
    push %rdi
    mov %rsi, %rax
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movdqu 144+16*\n(%rax), %xmm\n
    .endr
    push 128(%rax)
    popfq
    mov 8(%rax), %rcx
    mov 16(%rax), %rdx
    mov 24(%rax), %rbx
    mov 40(%rax), %rbp
    mov 48(%rax), %rsi
    mov 56(%rax), %rdi
    mov 64(%rax), %r8
    mov 72(%rax), %r9
    mov 80(%rax), %r10
    mov 88(%rax), %r11
    mov 96(%rax), %r12
    mov 104(%rax), %r13
    mov 112(%rax), %r14
    mov 120(%rax), %r15
    mov 0(%rax), %rax
    call *(%rsp)
    pushfq
    push %rax
    mov 24(%rsp), %rax              /* out */
    mov %rcx, 8(%rax)
    mov %rdx, 16(%rax)
    mov %rbx, 24(%rax)
    mov %rbp, 40(%rax)
    mov %rsi, 48(%rax)
    mov %rdi, 56(%rax)
    mov %r8, 64(%rax)
    mov %r9, 72(%rax)
    mov %r10, 80(%rax)
    mov %r11, 88(%rax)
    mov %r12, 96(%rax)
    mov %r13, 104(%rax)
    mov %r14, 112(%rax)
    mov %r15, 120(%rax)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movdqu %xmm\n, 144+16*\n(%rax)
    .endr
    pop %rcx
    mov %rcx, 0(%rax)
    pop %rcx
    mov %rcx, 128(%rax)
    mov %rsp, 32(%rax)
    cld
    add $16, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

/* The worst program: calls prog_body(ctx, run), then leaves garbage in everything it may. */
clobber_prog:
    sub $8, %rsp
    call prog_body
    add $8, %rsp
    mov $0x5a5a5a5a5a5a5a5a, %rax
    mov %rax, %rcx
    mov %rax, %rdx
    mov %rax, %rsi
    mov %rax, %rdi
    mov %rax, %r8
    mov %rax, %r9
    mov %rax, %r10
    mov %rax, %r11
    /* and the red zone below it */
    mov %rax, -8(%rsp)
    mov %rax, -64(%rsp)
    mov %rax, -128(%rsp)
    add %rax, %rax                  /* and the flags */
    ret
    .section .note.GNU-stack, "", @progbits
