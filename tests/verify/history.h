/* SPDX-License-Identifier: MIT */
/*
 * Ways in which verifiers have been wrong before: one row a published class. Each is a program that does harm if
 * the mistake is made again, and its sibling that differs in the one thing that makes it harmless, so that the
 * refusal is for the right cause. Linux judges both as well.
 *
 *      CLASS(name, where it was published, reason of the refusal, UNSAFE(insns…), SAFE(insns…))
 *      CLASS_IN(type, …)     the same for a program of another type than KPROBE
 *
 * Registers at the start of most: r6 the context, r9 a value of 64 bytes in an array, r7 an unknown 64-bit number
 * of the context's. POKE(r) writes the byte r[number] of the value: with 64 or more it is somebody else's.
 *
 * Not here, since no verdict can show them: what processors do ahead of a check (CVE-2019-7308 and those that
 * followed it) matters where programs are loaded without privileges, which is nowhere; instructions that the
 * verifier rewrote wrongly (CVE-2016-2383), since ours rewrites none; wrong code of compilers and wrong
 * behaviour of helpers and maps, which tests/engines and tests/rt look for; rules of hooks that no process has
 * (CVE-2024-47703, CVE-2024-50063).
 */
// clang-format off
#define VALUE   MOVX(R6, R1), LOOKUP(M_ARRAY), JMP(BPF_JNE, R0, 0, 2), MOV(R0, 0), EXIT, MOVX(R9, R0)
#define IN      VALUE, LDX(DW, R7, R6, 0)
#define POKE(r) ADDX(R9, r), ST(B, R9, 0, 1)
#define END     MOV(R0, 0), EXIT
#define HASH(to) ST(DW, R10, -16, 0), MOVX(R2, R10), ADD(R2, -16), LDMAP(R1, M_HASH), CALL(1), MOVX(to, R0)
#define RESERVE LDMAP(R1, M_RINGBUF), MOV(R2, 16), MOV(R3, 0), CALL(131), JMP(BPF_JNE, R0, 0, 2), MOV(R0, 0), EXIT
#define SUBMIT(r) MOVX(R1, r), MOV(R2, 0), CALL(132)
#define NEG64(r) INSN(BPF_ALU64 | BPF_NEG, r, 0, 0, 0)
#define SWAP(r, bits) INSN(BPF_ALU64 | BPF_END | BPF_K, r, 0, 0, bits)
/* Enough text between two places that a state is kept at the second. */
#define FILL    JA(0), MOVX(R1, R7), MOVX(R2, R1), MOVX(R3, R2), JA(0), MOVX(R1, R7), MOVX(R2, R1), MOVX(R3, R2), JA(0)

/* ---- 32 bits and 64 */
CLASS(move32_sign_extended, "CVE-2017-16995: a 32-bit immediate was taken for sign-extended", map_bounds,
      UNSAFE(IN, MOV32(R8, -1), JMP(BPF_JEQ, R8, -1, 1), ST(B, R9, 64, 1), END),
      SAFE(IN, MOV(R8, -1), JMP(BPF_JEQ, R8, -1, 1), ST(B, R9, 64, 1), END))
CLASS(truncation_keeps_bounds, "CVE-2017-16996: bounds survived the cut to 32 bits", map_bounds,
      UNSAFE(IN, LD64(R8, 0x100000001), ALUX(BPF_AND, R7, R8), ALU32(BPF_ADD, R7, 63), POKE(R7), END),
      SAFE(IN, LD64(R8, 0x100000001), ALUX(BPF_AND, R7, R8), ALU32(BPF_ADD, R7, 62), POKE(R7), END))
CLASS(logical_shift_of_negative, "CVE-2017-17853: signed bounds kept over a logical right shift", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 7), ADD(R7, -8), ALU(BPF_RSH, R7, 57), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 7), ADD(R7, -8), ALU(BPF_RSH, R7, 58), POKE(R7), END))
CLASS(shift32_in_64_bits, "CVE-2018-18445: a 32-bit right shift computed on 64 bits", map_bounds,
      UNSAFE(IN, LD64(R8, 0x180000000), ALUX(BPF_AND, R7, R8), ALU32(BPF_RSH, R7, 31), ALU(BPF_MUL, R7, 64), POKE(R7), END),
      SAFE(IN, LD64(R8, 0x180000000), ALUX(BPF_AND, R7, R8), ALU32(BPF_RSH, R7, 31), ALU(BPF_MUL, R7, 63), POKE(R7), END))
CLASS(branch32_bounds_64, "CVE-2020-8835: a 32-bit comparison bounded the whole register", pointer_unbounded,
      UNSAFE(IN, JMP32(BPF_JGT, R7, 63, 2), POKE(R7), END),
      SAFE(IN, MOVX32(R7, R7), JMP32(BPF_JGT, R7, 63, 2), POKE(R7), END))
CLASS(or32_from_64, "CVE-2020-27194: 32-bit bounds of OR taken from the 64-bit ones", map_bounds,
      UNSAFE(IN, LD64(R8, 0x600000002), JMPX(BPF_JGE, R7, R8, 5), JMP(BPF_JEQ, R7, 0, 4), ALU(BPF_OR, R7, 0), MOVX32(R7, R7), POKE(R7), END),
      SAFE(IN, MOV(R8, 64), JMPX(BPF_JGE, R7, R8, 5), JMP(BPF_JEQ, R7, 0, 4), ALU(BPF_OR, R7, 0), MOVX32(R7, R7), POKE(R7), END))
CLASS(and32_of_unknown_upper, "CVE-2021-3490: 32-bit bounds of AND, OR, XOR not updated", map_bounds,
      UNSAFE(IN, ALU(BPF_RSH, R7, 32), ALU(BPF_LSH, R7, 32), ADD(R7, 1), LD64(R8, 0x100000002), ALUX(BPF_AND, R7, R8), ALU(BPF_RSH, R7, 32), ALU(BPF_MUL, R7, 64), POKE(R7), END),
      SAFE(IN, ALU(BPF_RSH, R7, 32), ALU(BPF_LSH, R7, 32), ADD(R7, 1), LD64(R8, 0x100000002), ALUX(BPF_AND, R7, R8), ALU(BPF_RSH, R7, 32), ALU(BPF_MUL, R7, 63), POKE(R7), END))
CLASS(low_half_from_64_bit_minimum, "CVE-2021-31440: a 64-bit minimum became the low half's", map_bounds,
      UNSAFE(IN, JMP(BPF_JLT, R7, 1, 6), MOVX32(R8, R7), ADD(R8, -1), ALU(BPF_RSH, R8, 63), ALU(BPF_MUL, R8, 64), POKE(R8), END),
      SAFE(IN, MOVX32(R7, R7), JMP(BPF_JLT, R7, 1, 6), MOVX32(R8, R7), ADD(R8, -1), ALU(BPF_RSH, R8, 63), ALU(BPF_MUL, R8, 64), POKE(R8), END))
CLASS(modulo32_by_zero, "CVE-2021-3444: 32-bit modulus by zero leaves the whole dividend", pointer_unbounded,
      UNSAFE(IN, ADDX(R9, R7), MOV32(R8, 0), ALUX32(BPF_MOD, R7, R8), END),
      SAFE(IN, MOV32(R8, 0), ALUX32(BPF_MOD, R7, R8), ALU(BPF_AND, R7, 63), POKE(R7), END))
CLASS(divide32_truncated_divisor, "CVE-2021-3600: the divisor's upper half took part in a 32-bit division", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 127), LD64(R8, 0x100000001), ALUX32(BPF_DIV, R7, R8), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 127), LD64(R8, 0x100000001), ALUX32(BPF_DIV, R7, R8), ALU(BPF_AND, R7, 63), POKE(R7), END))
CLASS(move32_signed_bounds, "CVE-2021-45402: signed bounds of a 32-bit move", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 1), ADD(R7, -1), MOVX32(R8, R7), ALU(BPF_RSH, R8, 31), ALU(BPF_MUL, R8, 64), POKE(R8), END),
      SAFE(IN, ALU(BPF_AND, R7, 1), ADD(R7, -1), MOVX32(R8, R7), ALU(BPF_RSH, R8, 31), ALU(BPF_MUL, R8, 63), POKE(R8), END))
CLASS(arithmetic_shift_32, "a 32-bit arithmetic shift sign-extended into 64 bits", map_bounds,
      UNSAFE(IN, ALU32(BPF_ARSH, R7, 26), POKE(R7), END),
      SAFE(IN, ALU32(BPF_ARSH, R7, 26), ALU(BPF_AND, R7, 63), POKE(R7), END))
/* ---- signs */
CLASS(signed_check_only, "mixed signed and unsigned bounds (found in 2017): a signed maximum lets negatives in", pointer_unbounded,
      UNSAFE(IN, JMP(BPF_JSGT, R7, 63, 2), POKE(R7), END),
      SAFE(IN, JMP(BPF_JSGT, R7, 63, 3), JMP(BPF_JSLT, R7, 0, 2), POKE(R7), END))
CLASS(subtraction_below_zero, "a difference that may be negative kept its unsigned bounds", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 63), ADD(R7, -32), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 63), ADD(R7, -32), JMP(BPF_JSLT, R7, 0, 2), POKE(R7), END))
CLASS(negation, "negation keeping bounds", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 63), NEG64(R7), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 63), NEG64(R7), ALU(BPF_AND, R7, 63), POKE(R7), END))
CLASS(sign_extending_load, "a sign-extending load taken for a zero-extending one", map_bounds,
      UNSAFE(VALUE, LDSX(B, R7, R9, 0), JMP(BPF_JSGT, R7, 63, 2), POKE(R7), END),
      SAFE(VALUE, LDX(B, R7, R9, 0), JMP(BPF_JSGT, R7, 63, 2), POKE(R7), END))
CLASS(sign_extending_move, "bounds of sign-extending moves", map_bounds,
      UNSAFE(IN, MOVSX(R8, R7, 8), JMP(BPF_JSGT, R8, 63, 2), POKE(R8), END),
      SAFE(IN, MOVSX(R8, R7, 8), JMP(BPF_JSGT, R8, 63, 3), JMP(BPF_JSLT, R8, 0, 2), POKE(R8), END))
/* ---- other arithmetic */
CLASS(product_wraps, "bounds of a product that wraps round", pointer_unbounded,
      UNSAFE(IN, ALU(BPF_RSH, R7, 1), ALU(BPF_MUL, R7, 4), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 15), ALU(BPF_MUL, R7, 4), POKE(R7), END))
CLASS(shift_by_unknown, "CVE-2017-17852: a shift by a number not known", pointer_unbounded,
      UNSAFE(IN, MOV(R8, 1), ALUX(BPF_LSH, R8, R7), POKE(R8), END),
      SAFE(IN, MOV(R8, 1), ALUX(BPF_LSH, R8, R7), ALU(BPF_AND, R8, 63), POKE(R8), END))
CLASS(byte_swap_keeps_bounds, "byte swaps keeping bounds", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 63), SWAP(R7, 16), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 63), SWAP(R7, 16), ALU(BPF_RSH, R7, 10), POKE(R7), END))
CLASS(bit_test_branches_swapped, "what a bit test teaches, on the wrong side", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 127), JMP(BPF_JSET, R7, 64, 1), JA(2), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 127), JMP(BPF_JSET, R7, 64, 2), POKE(R7), END))
CLASS(constant_compared, "CVE-2024-41003: what one branch teaches of the constant spoiled the other branch", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 127), JMP32(BPF_JGE, R7, 63, 1), ADD(R7, 64), ADD(R7, -64), POKE(R7), END),
      SAFE(IN, ALU(BPF_AND, R7, 127), JMP32(BPF_JGE, R7, 64, 1), ADD(R7, 64), ADD(R7, -64), POKE(R7), END))
CLASS(compare_exchange_result, "the result of compare-and-exchange taken for the register's old value", pointer_unbounded,
      UNSAFE(IN, MOV(R0, 0), MOV(R1, 1), ATOMIC(DW, R9, 0, R1, BPF_CMPXCHG), POKE(R0), END),
      SAFE(IN, MOV(R0, 0), MOV(R1, 1), ATOMIC(DW, R9, 0, R1, BPF_CMPXCHG), ALU(BPF_AND, R0, 63), POKE(R0), END))
CLASS(fetch_result, "the result of an atomic fetch taken for the operand", pointer_unbounded,
      UNSAFE(IN, MOV(R1, 1), ATOMIC(DW, R9, 0, R1, BPF_ADD | BPF_FETCH), POKE(R1), END),
      SAFE(IN, MOV(R1, 1), ATOMIC(DW, R9, 0, R1, BPF_ADD), POKE(R1), END))
/* ---- pointers */
CLASS(offset_overflows, "CVE-2017-17854: sums of offsets that overflow", pointer_unbounded,
      UNSAFE(IN, ADD(R9, 0x1ffffff0), ADD(R9, 0x1ffffff0), ADD(R9, 0x1ffffff0), END),
      SAFE(IN, ADD(R9, 16), ADD(R9, 16), ST(B, R9, 31, 1), END))
CLASS(pointer_difference_as_index, "CVE-2017-17855: what is left of a pointer used as a known number", pointer_unbounded,
      UNSAFE(IN, MOVX(R8, R9), ALUX(BPF_SUB, R8, R10), POKE(R8), END),
      SAFE(IN, MOVX(R8, R9), ALUX(BPF_SUB, R8, R10), ALU(BPF_AND, R8, 63), POKE(R8), END))
CLASS(nullable_moved, "CVE-2022-23222: arithmetic on a pointer that may be NULL", maybe_null,
      UNSAFE(HASH(R8), ADD(R8, 8), JMP(BPF_JEQ, R8, 0, 1), ST(B, R8, 0, 1), END),
      SAFE(HASH(R8), JMP(BPF_JEQ, R8, 0, 2), ADD(R8, 8), ST(B, R8, 0, 1), END))
CLASS(null_check_of_another, "two look-ups, one check: the ids were mixed up", maybe_null,
      UNSAFE(HASH(R7), HASH(R8), JMP(BPF_JEQ, R7, 0, 1), ST(B, R8, 0, 1), END),
      SAFE(HASH(R7), HASH(R8), JMP(BPF_JEQ, R8, 0, 1), ST(B, R8, 0, 1), END))
CLASS(null_check_inverted, "the branch on which a pointer is NULL", not_a_pointer,
      UNSAFE(HASH(R8), JMP(BPF_JNE, R8, 0, 1), ST(B, R8, 0, 1), END),
      SAFE(HASH(R8), JMP(BPF_JEQ, R8, 0, 1), ST(B, R8, 0, 1), END))
CLASS(context_moved, "a context that was moved by a number not known", ctx_modified,
      UNSAFE(LDX(DW, R2, R1, 0), ALU(BPF_AND, R2, 8), ADDX(R1, R2), LDX(DW, R0, R1, 0), END),
      SAFE(LDX(DW, R2, R1, 0), ALU(BPF_AND, R2, 8), LDX(DW, R0, R1, 8), END))
CLASS(wrong_end_of_value, "an access that begins inside and ends outside", map_bounds,
      UNSAFE(IN, ALU(BPF_AND, R7, 63), ADDX(R9, R7), ST(H_, R9, 0, 1), END),
      SAFE(IN, ALU(BPF_AND, R7, 62), ADDX(R9, R7), ST(H_, R9, 0, 1), END))
/* ---- stack */
CLASS(stack_misaligned, "CVE-2017-17856: stack slots written across their border", misaligned,
      UNSAFE(ST(DW, R10, -12, 1), END), SAFE(ST(DW, R10, -16, 1), END))
CLASS(stack_variable_offset, "CVE-2017-17857: a variable offset that leaves the frame", stack_bounds,
      UNSAFE(LDX(DW, R7, R1, 0), ALU(BPF_AND, R7, 15), MOVX(R3, R10), ADD(R3, -8), ADDX(R3, R7), ST(B, R3, 0, 1), END),
      SAFE(LDX(DW, R7, R1, 0), ALU(BPF_AND, R7, 7), MOVX(R3, R10), ADD(R3, -8), ADDX(R3, R7), ST(B, R3, 0, 1), END))
CLASS(stack_one_sided_bound, "a stack index bounded from one side", stack_bounds,
      UNSAFE(LDX(DW, R7, R1, 0), JMP(BPF_JSLT, R7, -512, 3), MOVX(R3, R10), ADDX(R3, R7), ST(B, R3, 0, 1), END),
      SAFE(LDX(DW, R7, R1, 0), JMP(BPF_JSLT, R7, -512, 4), JMP(BPF_JSGT, R7, -1, 3), MOVX(R3, R10), ADDX(R3, R7), ST(B, R3, 0, 1), END))
CLASS(spill_overwritten_in_part, "a spilled number believed after a byte of it was overwritten", pointer_unbounded,
      UNSAFE(IN, MOV(R8, 1), STX(DW, R10, -16, R8), STX(B, R10, -16, R7), LDX(DW, R8, R10, -16), POKE(R8), END),
      SAFE(IN, MOV(R8, 1), STX(DW, R10, -16, R8), STX(B, R10, -24, R7), LDX(DW, R8, R10, -16), POKE(R8), END))
CLASS(spill_narrow_fill_wide, "a 32-bit spill filled with 64 bits", pointer_unbounded,
      UNSAFE(IN, STX(DW, R10, -16, R7), MOV(R8, 1), STX(W, R10, -16, R8), LDX(DW, R8, R10, -16), POKE(R8), END),
      SAFE(IN, STX(DW, R10, -16, R7), MOV(R8, 1), STX(W, R10, -16, R8), LDX(W, R8, R10, -16), POKE(R8), END))
CLASS(spilled_pointer_corrupted, "a spilled pointer used after part of it was overwritten", not_a_pointer,
      UNSAFE(IN, STX(DW, R10, -16, R9), ST(B, R10, -16, 0), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END),
      SAFE(IN, STX(DW, R10, -16, R9), ST(B, R10, -24, 0), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END))
CLASS(variable_write_over_spill, "a write at a variable offset that may hit a spilled pointer", not_a_pointer,
      UNSAFE(IN, ST(DW, R10, -24, 0), STX(DW, R10, -16, R9), ALU(BPF_AND, R7, 8), MOVX(R3, R10), ADD(R3, -24), ADDX(R3, R7), ST(B, R3, 0, 1), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END),
      SAFE(IN, ST(DW, R10, -24, 0), STX(DW, R10, -16, R9), ALU(BPF_AND, R7, 7), MOVX(R3, R10), ADD(R3, -24), ADDX(R3, R7), ST(B, R3, 0, 1), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END))
CLASS(exchange_with_spilled_pointer, "an atomic operation on a spilled pointer that left it a pointer", not_a_pointer,
      UNSAFE(IN, STX(DW, R10, -16, R9), MOV(R2, 8), ATOMIC(DW, R10, -16, R2, BPF_ADD), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END),
      SAFE(IN, STX(DW, R10, -16, R9), ST(DW, R10, -24, 0), MOV(R2, 8), ATOMIC(DW, R10, -24, R2, BPF_ADD), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END))
/* ---- functions */
CLASS(callee_overwrites_spill, "a callee's write through a pointer not seen in the caller's frame", pointer_unbounded,
      UNSAFE(IN, ST(DW, R10, -16, 1), MOVX(R1, R10), ADD(R1, -16), MOVX(R2, R7), CALLP(5), LDX(DW, R8, R10, -16), POKE(R8), END, STX(DW, R1, 0, R2), END),
      SAFE(IN, ST(DW, R10, -16, 1), MOVX(R1, R10), ADD(R1, -24), MOVX(R2, R7), CALLP(5), LDX(DW, R8, R10, -16), POKE(R8), END, STX(DW, R1, 0, R2), END))
CLASS(stack_pointer_returned, "the address of a frame that is gone", return_value,
      UNSAFE(CALLP(2), MOV(R0, 0), EXIT, MOVX(R0, R10), EXIT), SAFE(CALLP(2), MOV(R0, 0), EXIT, MOV(R0, 1), EXIT))
CLASS(arguments_survive_call, "argument registers believed after a call", uninit_register,
      UNSAFE(MOV(R1, 1), CALL(7), MOVX(R0, R1), EXIT), SAFE(MOV(R6, 1), CALL(7), MOVX(R0, R6), EXIT))
CLASS(recursion, "recursion through two functions", recursion,
      UNSAFE(CALLP(1), EXIT, CALLP(1), EXIT, CALLP(-3), EXIT), SAFE(CALLP(1), EXIT, CALLP(1), EXIT, END))
/* ---- what is not followed */
CLASS(pruned_before_it_mattered, "CVE-2023-2163: a path pruned against one whose number decided later", map_bounds,
      UNSAFE(IN, MOV(R8, 0), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 100), FILL, POKE(R8), END),
      SAFE(IN, MOV(R8, 0), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 50), FILL, POKE(R8), END))
CLASS(pruned_through_the_stack, "CVE-2023-2163: the same, while the number lies on the stack", map_bounds,
      UNSAFE(IN, ST(DW, R10, -16, 0), JMP(BPF_JEQ, R7, 0, 1), ST(DW, R10, -16, 100), FILL, LDX(DW, R8, R10, -16), POKE(R8), END),
      SAFE(IN, ST(DW, R10, -16, 0), JMP(BPF_JEQ, R7, 0, 1), ST(DW, R10, -16, 50), FILL, LDX(DW, R8, R10, -16), POKE(R8), END))
CLASS(pruned_through_a_function, "precision lost at the border of a function", map_bounds,
      UNSAFE(IN, MOV(R8, 0), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 100), FILL, MOVX(R1, R8), CALLP(4), POKE(R0), END, MOVX(R0, R1), EXIT),
      SAFE(IN, MOV(R8, 0), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 50), FILL, MOVX(R1, R8), CALLP(4), POKE(R0), END, MOVX(R0, R1), EXIT))
CLASS(pruned_through_a_copy, "precision of linked registers: one is bounded, the other used", map_bounds,
      UNSAFE(IN, MOV(R8, 63), JMP(BPF_JSET, R7, 1, 1), MOV(R8, 64), FILL, ALU(BPF_AND, R7, 127), MOVX(R5, R7), JMPX(BPF_JGT, R5, R8, 2), POKE(R7), END),
      SAFE(IN, MOV(R8, 63), JMP(BPF_JSET, R7, 1, 1), MOV(R8, 62), FILL, ALU(BPF_AND, R7, 127), MOVX(R5, R7), JMPX(BPF_JGT, R5, R8, 2), POKE(R7), END))
CLASS(dead_code_taken_for_gone, "CVE-2017-17862: code that no path reaches", unreachable_insn,
      UNSAFE(MOV(R0, 0), EXIT, ST(B, R0, 0, 0), EXIT), SAFE(MOV(R0, 0), EXIT))
CLASS(jump_into_a_constant, "a jump into the second half of a two-slot load", jump_into_ld_imm64,
      UNSAFE(MOV(R0, 0), JMP(BPF_JEQ, R0, 0, 1), LD64(R0, 5), EXIT), SAFE(MOV(R0, 0), JMP(BPF_JEQ, R0, 0, 2), LD64(R0, 5), EXIT))
CLASS(loop_without_end, "a loop that no state tells from itself", infinite_loop,
      UNSAFE(MOVX(R6, R1), LDX(DW, R2, R6, 0), JMP(BPF_JNE, R2, 0, -2), END),
      SAFE(MOV(R6, 8), ADD(R6, -1), JMP(BPF_JNE, R6, 0, -2), END))
/* ---- helpers and what they give */
CLASS(size_signed_bound, "a size that may be negative", arg_size,
      UNSAFE(ST(DW, R10, -8, 0), ST(DW, R10, -16, 0), LDX(DW, R2, R1, 0), JMP(BPF_JSGT, R2, 16, 3), MOVX(R1, R10), ADD(R1, -16), CALL(16), END),
      SAFE(ST(DW, R10, -8, 0), ST(DW, R10, -16, 0), LDX(DW, R2, R1, 0), JMP(BPF_JGT, R2, 16, 4), JMP(BPF_JEQ, R2, 0, 3), MOVX(R1, R10), ADD(R1, -16), CALL(16), END))
CLASS(size_and_offset, "a size within bounds at an offset within bounds, together outside", stack_bounds,
      UNSAFE(ST(DW, R10, -8, 0), ST(DW, R10, -16, 0), ST(DW, R10, -24, 0), MOVX(R6, R1), LDX(DW, R7, R6, 0), ALU(BPF_AND, R7, 7), MOVX(R1, R10), ADD(R1, -16), ADDX(R1, R7), MOV(R2, 16), CALL(16), END),
      SAFE(ST(DW, R10, -8, 0), ST(DW, R10, -16, 0), ST(DW, R10, -24, 0), MOVX(R6, R1), LDX(DW, R7, R6, 0), ALU(BPF_AND, R7, 7), MOVX(R1, R10), ADD(R1, -24), ADDX(R1, R7), MOV(R2, 16), CALL(16), END))
CLASS(key_shorter_than_the_map_s, "a key or value buffer shorter than the map's", stack_bounds,
      UNSAFE(ST(W, R10, -4, 0), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, M_HASH), CALL(1), END),
      SAFE(ST(DW, R10, -8, 0), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_HASH), CALL(1), END))
CLASS(map_of_another_kind, "CVE-2021-34866: a map of a kind the helper is not for", map_helper_mismatch,
      UNSAFE(LDMAP(R1, M_ARRAY), MOV(R2, 16), MOV(R3, 0), CALL(131), END),
      SAFE(RESERVE, SUBMIT(R0), END))
CLASS(reservation_moved, "CVE-2021-4204, CVE-2022-0500: memory given back through a pointer that was moved", bad_reference,
      UNSAFE(RESERVE, ADD(R0, 8), SUBMIT(R0), END), SAFE(RESERVE, SUBMIT(R0), END))
CLASS(reservation_bounds, "CVE-2021-3489: the bounds of reserved memory", mem_bounds,
      UNSAFE(RESERVE, ST(DW, R0, 9, 1), SUBMIT(R0), END), SAFE(RESERVE, ST(DW, R0, 8, 1), SUBMIT(R0), END))
CLASS(reference_leaked_on_one_path, "a reference leaked on one of two paths", leaked_reference,
      UNSAFE(MOVX(R6, R1), RESERVE, LDX(DW, R7, R6, 0), JMP(BPF_JEQ, R7, 0, 3), SUBMIT(R0), END),
      SAFE(MOVX(R6, R1), RESERVE, LDX(DW, R7, R6, 0), JMP(BPF_JEQ, R7, 0, 5), SUBMIT(R0), END, SUBMIT(R0), END))
CLASS(use_after_release, "a copy used after the reference ended", not_a_pointer,
      UNSAFE(RESERVE, MOVX(R8, R0), SUBMIT(R0), ST(B, R8, 0, 1), END), SAFE(RESERVE, MOVX(R8, R0), ST(B, R8, 0, 1), SUBMIT(R0), END))
CLASS(release_twice, "a reference that ended twice", arg_type,
      UNSAFE(RESERVE, MOVX(R8, R0), SUBMIT(R0), SUBMIT(R8), END), SAFE(RESERVE, MOVX(R8, R0), SUBMIT(R8), END))
CLASS(read_only_map_written, "CVE-2024-49861: a helper's write into a map that programs may only read", map_write_denied,
      UNSAFE(LDVAL(R1, M_RODATA, 0), MOV(R2, 8), MOV(R3, 0), CALL(112), END),
      SAFE(LDVAL(R1, M_GLOBAL, 0), MOV(R2, 8), MOV(R3, 0), CALL(112), END))
CLASS(filled_map_is_read_only, "CVE-2024-50164: memory that a helper fills was not asked to be writable", map_write_denied,
      UNSAFE(LDVAL(R1, M_RODATA, 0), MOV(R2, 16), CALL(16), END),
      SAFE(LDVAL(R1, M_GLOBAL, 0), MOV(R2, 16), CALL(16), END))
CLASS(contents_not_frozen, "CVE-2021-4001: what a map holds taken for constant while it can be written", map_bounds,
      UNSAFE(IN, LDVAL(R1, M_GLOBAL, 0), LDX(W, R7, R1, 0), POKE(R7), END),
      SAFE(IN, LDVAL(R1, M_RODATA, 0), LDX(W, R7, R1, 0), POKE(R7), END))
CLASS(end_overflows_32_bits, "CVE-2023-52676: the end of an access to the stack computed on 32 bits", arg_size,
      UNSAFE(MOVX(R1, R10), ADD(R1, -16), MOV(R2, 0x7fffffff), MOV(R3, 0), CALL(112), END),
      SAFE(MOVX(R1, R10), ADD(R1, -16), MOV(R2, 16), MOV(R3, 0), CALL(112), END))
CLASS(size_of_32_bits, "CVE-2024-35905: a size of 2 GiB or more taken for a negative one", arg_size,
      UNSAFE(LDX(DW, R2, R1, 0), MOVX32(R2, R2), MOVX(R1, R10), ADD(R1, -16), MOV(R3, 0), CALL(112), END),
      SAFE(LDX(DW, R2, R1, 0), MOVX32(R2, R2), JMP(BPF_JGT, R2, 16, 4), MOVX(R1, R10), ADD(R1, -16), MOV(R3, 0), CALL(112), END))
CLASS_IN(SCHED_CLS, depth_of_variable_access, "CVE-2023-52452: an access at a variable offset not counted as depth of the stack", stack_limit,
      UNSAFE(LDX(W, R7, R1, 0), ALU(BPF_AND, R7, 7), MOVX(R3, R10), ADD(R3, -512), ADDX(R3, R7), ST(B, R3, 0, 1), CALLP(2), END, ST(DW, R10, -64, 0), END),
      SAFE(LDX(W, R7, R1, 0), ALU(BPF_AND, R7, 7), MOVX(R3, R10), ADD(R3, -256), ADDX(R3, R7), ST(B, R3, 0, 1), CALLP(2), END, ST(DW, R10, -64, 0), END))
CLASS(tail_call_below_deep_frames, "tail calls from functions whose callers' frames are deep (Linux 5.10)", stack_limit,
      UNSAFE(ST(DW, R10, -264, 0), CALLP(2), END, LDMAP(R2, M_PROGS), MOV(R3, 0), CALL(12), END),
      SAFE(ST(DW, R10, -64, 0), CALLP(2), END, LDMAP(R2, M_PROGS), MOV(R3, 0), CALL(12), END))
CLASS(spilled_copy_after_release, "a copy on the stack used after the reference ended", not_a_pointer,
      UNSAFE(RESERVE, STX(DW, R10, -16, R0), SUBMIT(R0), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), END),
      SAFE(RESERVE, STX(DW, R10, -16, R0), LDX(DW, R8, R10, -16), ST(B, R8, 0, 1), SUBMIT(R8), END))
/* ---- dynptrs */
#define DYNPTR(off)  LDMAP(R1, M_RINGBUF), MOV(R2, 8), MOV(R3, 0), MOVX(R4, R10), ADD(R4, off), CALL(198)
#define DISCARD(off) MOVX(R1, R10), ADD(R1, off), MOV(R2, 0), CALL(200)
#define SLICE(off)   MOVX(R1, R10), ADD(R1, off), MOV(R2, 0), MOV(R3, 8), CALL(203)
CLASS(dynptr_overwritten, "CVE-2023-39191: a dynptr believed after the program wrote over it", bad_object,
      UNSAFE(DYNPTR(-16), ST(DW, R10, -8, 0), DISCARD(-16), END),
      SAFE(DYNPTR(-16), ST(DW, R10, -24, 0), DISCARD(-16), END))
CLASS(slice_outlives_dynptr, "a slice used after its dynptr was given back", not_a_pointer,
      UNSAFE(DYNPTR(-16), SLICE(-16), MOVX(R6, R0), DISCARD(-16), JMP(BPF_JEQ, R6, 0, 1), ST(B, R6, 0, 1), END),
      SAFE(DYNPTR(-16), SLICE(-16), MOVX(R6, R0), JMP(BPF_JEQ, R6, 0, 1), ST(B, R6, 0, 1), DISCARD(-16), END))
/* ---- functions that are called back */
#define LDFUNC(d, rel) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_FUNC, 0, rel), INSN(0, 0, 0, 0, 0)
#define LOOP(n, rel)   MOV(R1, n), LDFUNC(R2, rel), MOVX(R3, R10), ADD(R3, -8), MOV(R4, 0), CALL(181)
#define DRAIN(rel)     LDMAP(R1, M_USER_RINGBUF), LDFUNC(R2, rel), MOV(R3, 0), MOV(R4, 0), CALL(209)
#define READ_INTO      MOVX(R1, R10), ADD(R1, -8), MOV(R2, 8), MOV(R4, 0), MOV(R5, 0), CALL(201)
CLASS(dynptr_argument_moved, "CVE-2024-43910: a dynptr that was lent, passed on with an offset", arg_type,
      UNSAFE(DRAIN(6), MOV(R0, 0), EXIT, MOVX(R3, R1), ADD(R3, 8), READ_INTO, END),
      SAFE(DRAIN(6), MOV(R0, 0), EXIT, MOVX(R3, R1), READ_INTO, END))
CLASS(callback_once, "functions called back followed once, whatever the number of rounds (Linux 6.7)", map_bounds,
      UNSAFE(IN, ST(DW, R10, -8, 0), LOOP(100, 10), LDX(DW, R8, R10, -8), POKE(R8), END, LDX(DW, R3, R2, 0), ADD(R3, 1), STX(DW, R2, 0, R3), END),
      SAFE(IN, ST(DW, R10, -8, 0), LOOP(100, 11), LDX(DW, R8, R10, -8), ALU(BPF_AND, R8, 63), POKE(R8), END, LDX(DW, R3, R2, 0), ADD(R3, 1), STX(DW, R2, 0, R3), END))
CLASS(callback_leaves_reference, "a reference taken in each round and never given back (Linux 6.1)", leaked_reference,
      UNSAFE(ST(DW, R10, -8, 0), LOOP(5, 7), END, RESERVE, ST(B, R0, 0, 1), END),
      SAFE(ST(DW, R10, -8, 0), LOOP(5, 7), END, RESERVE, ST(B, R0, 0, 1), SUBMIT(R0), END))
CLASS(callback_ends_reference, "the caller's reference ended in a round, and again in the next (Linux 6.1)", arg_type,
      UNSAFE(RESERVE, STX(DW, R10, -8, R0), LOOP(5, 10), LDX(DW, R1, R10, -8), MOV(R2, 0), CALL(132), END, LDX(DW, R1, R2, 0), MOV(R2, 0), CALL(132), END),
      SAFE(RESERVE, STX(DW, R10, -8, R0), LOOP(5, 10), LDX(DW, R1, R10, -8), MOV(R2, 0), CALL(132), END, LDX(DW, R1, R2, 0), END))
/* ---- what is not followed, again */
CLASS(pointer_pruned_against_number, "CVE-2017-17864: a path with a pointer pruned against one with a number", pointer_arithmetic,
      UNSAFE(IN, MOV(R8, 5), JMP(BPF_JEQ, R7, 0, 1), MOVX(R8, R9), FILL, POKE(R8), END),
      SAFE(IN, MOV(R8, 5), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 6), FILL, POKE(R8), END))
CLASS(pruned_through_another_pointer, "CVE-2023-52920: precision lost where a number is spilled through a copy of the frame's pointer", map_bounds,
      UNSAFE(IN, MOVX(R5, R10), ADD(R5, -16), MOV(R8, 0), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 100), STX(DW, R5, 0, R8), FILL, LDX(DW, R8, R5, 0), POKE(R8), END),
      SAFE(IN, MOVX(R5, R10), ADD(R5, -16), MOV(R8, 0), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 50), STX(DW, R5, 0, R8), FILL, LDX(DW, R8, R5, 0), POKE(R8), END))
CLASS(pruned_size_of_allocation, "the size of a reservation not taken for precise (Linux 6.0)", mem_bounds,
      UNSAFE(IN, MOV(R8, 16), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 8), FILL, LDMAP(R1, M_RINGBUF), MOVX(R2, R8), MOV(R3, 0), CALL(131), JMP(BPF_JEQ, R0, 0, 4), ST(DW, R0, 8, 1), SUBMIT(R0), END),
      SAFE(IN, MOV(R8, 16), JMP(BPF_JEQ, R7, 0, 1), MOV(R8, 8), FILL, LDMAP(R1, M_RINGBUF), MOVX(R2, R8), MOV(R3, 0), CALL(131), JMP(BPF_JEQ, R0, 0, 4), ST(DW, R0, 0, 1), SUBMIT(R0), END))
CLASS(linked_through_narrow_spill, "the bounds of a 32-bit spill taken for those of the register it came from (Linux 6.4)", pointer_unbounded,
      UNSAFE(IN, STX(W, R10, -8, R7), LDX(W, R8, R10, -8), JMP(BPF_JGT, R8, 63, 2), POKE(R7), END),
      SAFE(IN, MOVX32(R7, R7), STX(W, R10, -8, R7), LDX(W, R8, R10, -8), JMP(BPF_JGT, R8, 63, 2), POKE(R8), END))
CLASS(index_grows_in_may_goto, "a loop by may_goto taken for done while its index still grows", stack_bounds,
      UNSAFE(MOV(R6, 0), MAY_GOTO(5), MOVX(R3, R10), ADDX(R3, R6), ST(B, R3, -8, 1), ADD(R6, 1), JA(-6), END),
      SAFE(MOV(R6, 0), MAY_GOTO(6), MOVX(R3, R10), ADDX(R3, R6), ST(B, R3, -8, 1), ADD(R6, 1), ALU(BPF_AND, R6, 7), JA(-7), END))
CLASS(frames_of_different_depth, "CVE-2024-45020: in a loop, a frame compared with a deeper one beyond its own end", pointer_unbounded,
      UNSAFE(IN, JMP(BPF_JEQ, R7, 0, 1), ST(DW, R10, -64, 5), MAY_GOTO(2), MOVX(R1, R7), JA(-3), LDX(DW, R8, R10, -64), POKE(R8), END),
      SAFE(IN, JMP(BPF_JEQ, R7, 0, 1), ST(DW, R10, -64, 5), MAY_GOTO(2), MOVX(R1, R7), JA(-3), LDX(DW, R8, R10, -64), ALU(BPF_AND, R8, 63), POKE(R8), END))
/* ---- packets */
#define PACKET LDX(W, R7, R1, 76), LDX(W, R8, R1, 80), MOVX(R6, R1), MOVX(R2, R7), ADD(R2, 8)
CLASS_IN(SCHED_CLS, packet_on_the_wrong_side, "what a comparison with the packet's end teaches, on the other branch", packet_bounds,
      UNSAFE(PACKET, JMPX(BPF_JGT, R2, R8, 1), JA(1), LDX(DW, R0, R7, 0), END),
      SAFE(PACKET, JMPX(BPF_JGT, R2, R8, 1), LDX(DW, R0, R7, 0), END))
CLASS_IN(SCHED_CLS, packet_moved_by_function, "CVE-2024-58098: a function that moves the packet left its caller's pointers good", not_a_pointer,
      UNSAFE(PACKET, JMPX(BPF_JGT, R2, R8, 3), MOVX(R1, R6), CALLP(3), LDX(DW, R0, R7, 0), END, MOV(R2, 0), CALL(39), END),
      SAFE(PACKET, JMPX(BPF_JGT, R2, R8, 3), MOVX(R1, R6), CALLP(3), LDX(DW, R0, R7, 0), END, MOV(R2, 0), END))
// clang-format on
