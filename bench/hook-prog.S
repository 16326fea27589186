/* SPDX-License-Identifier: MIT */
/*
 * What the JIT makes of
 *
 *     u32 key = 0;
 *     u64 *n = bpf_map_lookup_elem(&counts, &key);
 *     if (n) *n += 1;
 *     return 0;
 *
 * with an inlined array look-up: the key goes through the stack, the map's base through its view. By hand, so that the
 * figure is the trampoline's. `bench_map` is a struct tn_map.
 */
    .text
    .globl bench_count, bench_empty
    .balign 64
bench_count:
    push %rbp
    mov %rsp, %rbp
    push %r12
    sub $8, %rsp
    mov %rsi, %r12
    movl $0, -12(%rbp)
    mov -12(%rbp), %eax
    cmp $1, %rax
    jae 1f
    mov bench_map(%rip), %rdi
    mov (%rdi), %rdi
    lea (%rdi,%rax,8), %rax
    test %rax, %rax
    je 1f
    addq $1, (%rax)
1:  xor %eax, %eax
    add $8, %rsp
    pop %r12
    pop %rbp
    ret
    .balign 64
bench_empty:
    xor %eax, %eax
    ret
    .section .note.GNU-stack, "", @progbits
