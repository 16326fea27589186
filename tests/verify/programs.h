/* SPDX-License-Identifier: MIT */
/*
 * Programs by hand: accepted, or refused for one reason at one instruction.
 *
 * OK(name, insns…)             accepted, by Linux as well
 * NO(name, reason, at, insns…) refused at instruction `at`, by Linux as well
 * US(name, reason, at, insns…) refused here, accepted by Linux: each is a difference told in docs/verifier.md
 */
// clang-format off
/* ---- the least */
OK(exit_zero, MOV(R0, 0), EXIT)
OK(exit_ctx_word, LDX(DW, R0, R1, 112), EXIT)
NO(exit_without_r0, uninit_register, 0, EXIT)
NO(read_unwritten_register, uninit_register, 0, MOVX(R0, R2), EXIT)
NO(read_unwritten_in_branch, uninit_register, 0, JMP(BPF_JEQ, R3, 0, 0), MOV(R0, 0), EXIT)
NO(args_gone_after_call, uninit_register, 1, CALL(7), MOVX(R0, R1), EXIT)
OK(saved_survive_call, MOVX(R6, R1), CALL(7), LDX(DW, R0, R6, 0), EXIT)
/* ---- text */
NO(unknown_opcode, bad_opcode, 0, INSN(0xff, 0, 0, 0, 0), EXIT)
NO(legacy_packet_load, bad_opcode, 1, MOVX(R6, R1), INSN(BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 0), EXIT)
NO(register_eleven, bad_register, 0, INSN(BPF_ALU64 | BPF_MOV | BPF_K, 11, 0, 0, 0), EXIT)
NO(mov_with_offset, reserved_field, 0, INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 3, 0), EXIT)
NO(exit_with_imm, reserved_field, 1, MOV(R0, 0), INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 1))
NO(write_frame_pointer, frame_pointer_write, 0, MOV(R10, 0), MOV(R0, 0), EXIT)
NO(jump_out, jump_out_of_range, 0, JA(5), EXIT)
NO(jump_before, jump_out_of_range, 1, MOV(R0, 0), JA(-3), EXIT)
NO(jump_middle_ld64, jump_into_ld_imm64, 1, MOV(R0, 0), JMP(BPF_JEQ, R0, 0, 1), LD64(R0, 5), EXIT)
NO(ld64_cut, bad_ld_imm64, 1, MOV(R0, 0), INSN(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 0))
NO(falls_off, falls_off_end, 0, MOV(R0, 0))
NO(unreachable, unreachable_insn, 2, MOV(R0, 0), EXIT, MOV(R0, 0), EXIT)
/* ---- stack */
OK(stack_round_trip, ST(DW, R10, -8, 7), LDX(DW, R0, R10, -8), EXIT)
US(stack_uninit, uninit_stack, 0, LDX(DW, R0, R10, -8), EXIT)
NO(stack_above, stack_bounds, 0, ST(DW, R10, 0, 1), MOV(R0, 0), EXIT)
NO(stack_below, stack_bounds, 0, ST(DW, R10, -520, 1), MOV(R0, 0), EXIT)
OK(stack_deepest, ST(DW, R10, -512, 1), MOV(R0, 0), EXIT)
NO(stack_misaligned, misaligned, 0, ST(DW, R10, -12, 1), MOV(R0, 0), EXIT)
OK(spill_ctx, STX(DW, R10, -8, R1), LDX(DW, R2, R10, -8), LDX(DW, R0, R2, 0), EXIT)
NO(spill_ctx_overwritten, not_a_pointer, 3, STX(DW, R10, -8, R1), ST(B, R10, -8, 0), LDX(DW, R2, R10, -8), LDX(DW, R0, R2, 0), EXIT)
/* ---- context */
OK(ctx_byte, LDX(B, R0, R1, 113), EXIT)
NO(ctx_past_end, ctx_bounds, 0, LDX(DW, R0, R1, 168), EXIT)
NO(ctx_negative, ctx_bounds, 0, LDX(DW, R0, R1, -8), EXIT)
NO(ctx_misaligned, misaligned, 0, LDX(DW, R0, R1, 4), EXIT)
NO(ctx_moved, ctx_modified, 1, ADD(R1, 8), LDX(DW, R0, R1, 0), EXIT)
NO(ctx_moved_by_number, ctx_modified, 2, LDX(B, R2, R1, 0), ADDX(R1, R2), LDX(B, R0, R1, 0), EXIT)
NO(ctx_atomic, bad_atomic, 1, MOV(R0, 0), ATOMIC(DW, R1, 0, R0, BPF_ADD), EXIT)
/* ---- maps */
OK(map_value_write, LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 1), ST(DW, R0, 56, 1), MOV(R0, 0), EXIT)
US(map_value_no_check, maybe_null, 6, LOOKUP(M_ARRAY), ST(DW, R0, 0, 1), MOV(R0, 0), EXIT)
NO(hash_value_no_check, maybe_null, 6, ST(DW, R10, -8, 0), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_HASH), CALL(1), ST(DW, R0, 0, 1), MOV(R0, 0), EXIT)
NO(map_value_past_end, map_bounds, 7, LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 1), ST(DW, R0, 57, 1), MOV(R0, 0), EXIT)
NO(map_value_before, map_bounds, 7, LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 1), ST(DW, R0, -1, 1), MOV(R0, 0), EXIT)
NO(map_ptr_deref, opaque_access, 2, LDMAP(R1, M_ARRAY), ST(DW, R1, 0, 1), MOV(R0, 0), EXIT)
OK(map_index_bounded, MOVX(R6, R1), LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 4), LDX(DW, R1, R6, 0), JMP(BPF_JGT, R1, 56, 2), ADDX(R0, R1), ST(DW, R0, 0, 1), MOV(R0, 0), EXIT)
NO(map_index_off_by_one, map_bounds, 11, MOVX(R6, R1), LOOKUP(M_ARRAY), JMP(BPF_JEQ, R0, 0, 4), LDX(DW, R1, R6, 0), JMP(BPF_JGT, R1, 57, 2), ADDX(R0, R1), ST(DW, R0, 0, 1), MOV(R0, 0), EXIT)
OK(loop_bounded, MOV(R0, 0), ADD(R0, 1), JMP(BPF_JLT, R0, 100, -2), EXIT)
NO(loop_forever, infinite_loop, 1, MOV(R0, 0), JA(-1))
// clang-format on
