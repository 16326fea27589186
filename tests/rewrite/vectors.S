/* SPDX-License-Identifier: MIT */
/*
 * Vector state around a call, as a compiler that knows its callee may keep it.
 *
 *   call_with_vectors(fn, in, out, wide)   loads xmm0 … xmm15 (wide 0), ymm0 … 15 (1) or zmm0 … 31 and k1 … k7 (2) from `in`,
 *                                          64 bytes a register and 8 a mask behind them, calls fn(1, 2), stores them to `out`; returns what
 *                                          fn returned
 *   spoil_vectors(wide)                    what a function may do: other values in all of them, the upper halves clear afterwards
 */
    .text
    .globl call_with_vectors, spoil_vectors
    .type call_with_vectors, @function
    .type spoil_vectors, @function

    .macro each16 op
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \op \n
    .endr
    .endm
    .macro each32 op
    each16 \op
    .irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \op \n
    .endr
    .endm
    .macro eachk op
    .irp n, 1,2,3,4,5,6,7
    \op \n
    .endr
    .endm

    .macro lx n
    movups 64*\n(%rbx), %xmm\n
    .endm
    .macro sx n
    movups %xmm\n, 64*\n(%r12)
    .endm
    .macro ly n
    vmovups 64*\n(%rbx), %ymm\n
    .endm
    .macro sy n
    vmovups %ymm\n, 64*\n(%r12)
    .endm
    .macro lz n
    vmovups 64*\n(%rbx), %zmm\n
    .endm
    .macro sz n
    vmovups %zmm\n, 64*\n(%r12)
    .endm
    .macro lk n
    kmovq 64*32+8*\n(%rbx), %k\n
    .endm
    .macro sk n
    kmovq %k\n, 64*32+8*\n(%r12)
    .endm

call_with_vectors:
    push %rbp
    mov %rsp, %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    mov %rdi, %r14
    mov %rsi, %rbx
    mov %rdx, %r12
    mov %ecx, %r13d
    cmp $1, %r13d
    jb 1f
    ja 2f
    each16 ly
    jmp 3f
1:  each16 lx
    jmp 3f
2:  each32 lz
    eachk lk
3:  mov $1, %edi
    mov $2, %esi
    call *%r14
    cmp $1, %r13d
    jb 1f
    ja 2f
    each16 sy
    jmp 3f
1:  each16 sx
    jmp 4f
2:  each32 sz
    eachk sk
3:  vzeroupper
4:  pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

    .macro px n
    pcmpeqd %xmm\n, %xmm\n
    .endm
    .macro py n
    vpcmpeqd %ymm\n, %ymm\n, %ymm\n
    .endm
    .macro pz n
    vpternlogd $0xff, %zmm\n, %zmm\n, %zmm\n
    .endm
    .macro pk n
    kxnorq %k\n, %k\n, %k\n
    .endm

spoil_vectors:
    cmp $1, %edi
    jb 1f
    ja 2f
    each16 py
    vzeroupper
    ret
1:  each16 px
    ret
2:  each32 pz
    eachk pk
    vzeroupper
    ret

    .section .note.GNU-stack, "", @progbits
