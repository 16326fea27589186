/* SPDX-License-Identifier: MIT */
/*
 * What compiled programs reach by an address and C cannot say: routines with conventions of their own.
 *
 * tn_agent_call_entry, tn_agent_call_full: a function of the host is called. Its arguments are in place already, its address
 * is in r11, the run in r12, and the stack is aligned as a caller's. The result is in rax; all else is as after any call.
 *
 *   The function is the host's own code: it may use vector and x87 registers, run for long, and come to places that
 *   have hooks. So before it is called
 *
 *     the CPU's claim is given back, and taken again afterwards (a run that gets none finds no per-CPU values)
 *     vector state that the host may have live at the hook is saved:
 *
 *       entry   at a function's first instruction only arguments are live by the ABI, but a compiler that sees a function and its
 *               callers may keep more (-fipa-ra). So all sixteen xmm registers are kept. Nothing wider can be live where
 *               neither the prototype nor any code of the module has it (rewrite/vectors.h). The x87 stack is empty.
 *       full    elsewhere: everything, by XSAVEC or XSAVE
 *
 *     MXCSR and the x87 status are put back if the function has raised a flag in them: the host's fetestexcept must not
 *     see that.
 *
 *   The host's function runs on the thread's own stack, below the hook's frame, as if the hooked function had called it. What
 *   it does with a non-local exit (exception, longjmp) is told in docs/decisions.md.
 *
 * tn_agent_guard: a call of the host's that may touch a mask or a handler. rcx: the block (rt/signals.h); number and arguments are
 * where the call has them; flags and red zone are live, rcx and r11 are not. Goes on in front of the call or behind it. While no signal is
 * ours, nothing is asked but for the two numbers that confine; flags stay as they are, since jrcxz tells numbers apart.
 *
 * tn_agent_trap: the kernel's handler of signals that are ours. rcx: struct tn_signals. Returns to the frame, or goes on to the host's handler with
 * everything as the kernel has it. tn_agent_sigreturn: where it returns to. tn_agent_resume: the same, where nothing but registers has
 * to be put back (signals.c proves it: may_resume). By then rsp is at the frame's ucontext, and the frame lies below the red zone of the very
 * stack to which it returns:
 *
 *     │ ucontext … │ XSAVE area … ┆ rax │ rsi │ flags │ rip │ red zone: 128 bytes │ the host's
 *     rsp ─▶       restored first └────────── popped, popped, popfq, ret $128 ──▶ rsp
 *
 * The four words are written where the frame's end was read already, so it needs no byte of stack that the frame had not. A
 * signal may come at any instruction: all that is still needed is above rsp.
 *
 * tn_agent_read: r10 bytes at r11, into r11, zero-extended; 0 if they are not there. Every other register stays.
 */
#include "agent/routines.h"

    .text

/* A frame that holds what is put back after the call, addressed by rbp. */
#define SAVED_MXCSR -8
#define SAVED_RCX   -16
#define SAVED_RDX   -24
#define SAVED_RAX   -32
#define SAVED_X87   -4
#define FRAME       32
#define XMM         (16 * 16)

    .macro begin
    push %rbp
    mov %rsp, %rbp
    sub $FRAME, %rsp
    cmpl $0, RUN_CPU(%r12)
    jl 1f
    call give_back
1:  stmxcsr SAVED_MXCSR(%rbp)
    .endm

    .macro finish
    mov %rax, SAVED_RAX(%rbp)
    stmxcsr SAVED_RCX(%rbp)
    mov SAVED_RCX(%rbp), %ecx
    cmp SAVED_MXCSR(%rbp), %ecx
    je 1f
    ldmxcsr SAVED_MXCSR(%rbp)
1:  cmpl $-2, RUN_CPU(%r12)
    jne 2f
    mov %r12, %rdi
    call tn_agent_claim
2:  mov SAVED_RAX(%rbp), %rax
    leave
    ret
    .endm

    .macro xmm op, from=1
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    .if \from
    movups %xmm\n, \n*16(%rsp)
    .else
    movups \n*16(%rsp), %xmm\n
    .endif
    .endr
    .endm

/* The claim goes, every register stays. −2 in run->cpu: one is to be taken afterwards. */
give_back:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r11
    mov %r12, %rdi
    call tn_agent_unclaim
    pop %r11
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    ret

    .section .text.tn_agent_call_entry, "ax", @progbits
    .globl tn_agent_call_entry
    .hidden tn_agent_call_entry
    .type tn_agent_call_entry, @function
tn_agent_call_entry:
    begin
    sub $XMM, %rsp
    xmm save, 1
    fnstsw SAVED_X87(%rbp)
    xor %eax, %eax
    call *%r11
    xmm load, 0
    fnstsw SAVED_RCX(%rbp)
    mov SAVED_RCX(%rbp), %cx
    cmp SAVED_X87(%rbp), %cx
    je 3f
    /* The environment (28 bytes, in what held the registers), with the status word that was. */
    fnstenv (%rsp)
    mov SAVED_X87(%rbp), %cx
    mov %cx, 4(%rsp)
    fldenv (%rsp)
3:  finish

    .globl tn_agent_call_full
    .hidden tn_agent_call_full
    .type tn_agent_call_full, @function
tn_agent_call_full:
    begin
    mov RUN_PROC(%r12), %r10
    mov PROC_XSAVE_SIZE(%r10), %eax
    sub %rax, %rsp
    and $-64, %rsp
    mov %rdx, SAVED_RDX(%rbp)
    /* The header, behind the 512 bytes of FXSAVE; what is not written here must be zero for XRSTOR. */
    xor %eax, %eax
    .irp off, 0,8,16,24,32,40,48,56
    mov %rax, 512+\off(%rsp)
    .endr
    mov PROC_XSAVE_LOW(%r10), %eax
    mov PROC_XSAVE_LOW+4(%r10), %edx
    testl $XSAVE_COMPACT, PROC_XSAVE_HOW(%r10)
    je 1f
    xsavec64 (%rsp)
    jmp 2f
1:  xsave64 (%rsp)
2:  mov SAVED_RDX(%rbp), %rdx
    xor %eax, %eax
    call *%r11
    mov %rax, %r11
    mov RUN_PROC(%r12), %r10
    mov PROC_XSAVE_LOW(%r10), %eax
    mov PROC_XSAVE_LOW+4(%r10), %edx
    xrstor64 (%rsp)
    mov %r11, %rax
    finish

    .section .text.tn_agent_read, "ax", @progbits
    .globl tn_agent_read
    .hidden tn_agent_read
    .type tn_agent_read, @function
tn_agent_read:
    call tn_load_word
    jc 1f
    ret
1:  push %rbp
    mov %rsp, %rbp
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r9
    mov %r11, %rdi
    mov %r10, %rsi
    mov %r12, %rdx
    call tn_agent_read_c
    mov %rax, %r11
    pop %r9
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    pop %rbp
    ret

    .section .text.tn_agent_guard, "ax", @progbits
    .globl tn_agent_guard
    .hidden tn_agent_guard
    .type tn_agent_guard, @function
tn_agent_guard:
    mov (%rcx), %r11
    mov (%r11), %r11
    xchg %rcx, %r11
    jrcxz 3f
2:  lea -128(%rsp), %rsp
    pushfq
    push %r11
    push %r9
    push %r8
    push %r10
    push %rdx
    push %rsi
    push %rdi
    push %rax
    cld
    mov %rsp, %rdi
    mov (%r11), %rsi
    call tn_agent_guard_c
    mov %rax, %rcx
    pop %rax
    pop %rdi
    pop %rsi
    pop %rdx
    pop %r10
    pop %r8
    pop %r9
    pop %r11
    popfq
    lea 128(%rsp), %rsp
    jrcxz 1f
    jmp *GUARD_MADE(%r11)
1:  jmp *GUARD_GO_ON(%r11)
3:  lea -GUARD_PRCTL(%rax), %ecx
    jrcxz 2b
    lea -GUARD_SECCOMP(%rax), %ecx
    jrcxz 2b
    jmp *GUARD_GO_ON(%r11)

    .section .text.tn_agent_trap, "ax", @progbits
    .globl tn_agent_trap
    .hidden tn_agent_trap
    .type tn_agent_trap, @function
tn_agent_trap:
    push %rdi
    push %rsi
    push %rdx
    call tn_agent_trap_c
    pop %rdx
    pop %rsi
    pop %rdi
    test %rax, %rax
    jne 1f
    ret
1:  mov %rax, %rcx
    xor %eax, %eax
    jmp *%rcx

    .section .text.tn_agent_sigreturn, "ax", @progbits
    .globl tn_agent_sigreturn
    .hidden tn_agent_sigreturn
    .type tn_agent_sigreturn, @function
tn_agent_sigreturn:
    mov $15, %eax
    syscall

    .org tn_agent_sigreturn + RESUME, 0x90
    .globl tn_agent_resume
    .hidden tn_agent_resume
    .type tn_agent_resume, @function
tn_agent_resume:
    mov UC_FPSTATE(%rsp), %rsi
    mov FP_COMPONENTS(%rsi), %eax
    mov FP_COMPONENTS+4(%rsi), %edx
    xrstor64 (%rsi)
    mov UC_RSP(%rsp), %rsi
    mov UC_RIP(%rsp), %rax
    mov %rax, -128-8(%rsi)
    mov UC_FLAGS(%rsp), %rax
    mov %rax, -128-16(%rsi)
    mov UC_REGS+72(%rsp), %rax
    mov %rax, -128-24(%rsi)
    mov UC_REGS+104(%rsp), %rax
    mov %rax, -128-32(%rsi)
    mov UC_REGS(%rsp), %r8
    mov UC_REGS+8(%rsp), %r9
    mov UC_REGS+16(%rsp), %r10
    mov UC_REGS+24(%rsp), %r11
    mov UC_REGS+32(%rsp), %r12
    mov UC_REGS+40(%rsp), %r13
    mov UC_REGS+48(%rsp), %r14
    mov UC_REGS+56(%rsp), %r15
    mov UC_REGS+64(%rsp), %rdi
    mov UC_REGS+80(%rsp), %rbp
    mov UC_REGS+88(%rsp), %rbx
    mov UC_REGS+96(%rsp), %rdx
    mov UC_REGS+112(%rsp), %rcx
    lea -128-32(%rsi), %rsp
    pop %rax
    pop %rsi
    popfq
    ret $128

    .section .note.GNU-stack, "", @progbits
