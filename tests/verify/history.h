/* SPDX-License-Identifier: MIT */
/*
 * Ways in which verifiers have been wrong before: one row a published class. Each is a program that does harm if
 * the mistake is made again, and its sibling that differs in the one thing that makes it harmless, so that the
 * refusal is for the right cause. Linux judges both as well.
 *
 *      CLASS(name, where it was published, reason of the refusal, UNSAFE(insns…), SAFE(insns…))
 *
 * Registers at the start of most: r6 the context, r9 a value of 64 bytes in an array, r7 an unknown 64-bit number
 * of the context's. POKE(r) writes the byte r[number] of the value: with 64 or more it is somebody else's.
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
// clang-format on
