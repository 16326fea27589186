/* SPDX-License-Identifier: MIT */
/*
 * One instruction: what Debian's <linux/bpf.h> (Linux 6.1) lacks of RFC 9669, the decoder and the
 * disassembler.
 *
 * The decoder answers "is this an instruction at all": known opcode, registers that exist, every field that
 * the RFC reserves zero, operands a static look can judge (shift counts, widths, constant zero divisors, R10
 * as a destination). What needs the program around it (jump targets, types, reachability) is the verifier's.
 */
#ifndef TN_ISA_INSN_H
#define TN_ISA_INSN_H

#include <linux/bpf.h>

#include "base/base.h"

#ifndef BPF_MEMSX
#define BPF_MEMSX 0x80 /* load with sign extension */
#endif
#ifndef BPF_LOAD_ACQ
#define BPF_LOAD_ACQ  0x100 /* immediates of BPF_ATOMIC */
#define BPF_STORE_REL 0x110
#endif
#ifndef BPF_JCOND
#define BPF_JCOND 0xe0 /* a jump that is taken when a loop went round too often */
#endif
static inline bool tn_insn_is_acq_rel(const struct bpf_insn *insn)
{
    return BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC &&
           (insn->imm == BPF_LOAD_ACQ || insn->imm == BPF_STORE_REL);
}
/* How often a function's loops may go round between them before its may_goto leads out, as in Linux. */
#define TN_MAY_GOTO_MAX (8u << 20)
#ifndef BPF_ADDR_SPACE_CAST
#define BPF_ADDR_SPACE_CAST 1 /* offset of a 64-bit mov: arenas */
#endif

/* Every reason for which an instruction is not one. R(reason, "what, for people") */
// clang-format off
#define TN_DECODE_REASONS(R)                                                                                 \
    R(unknown_opcode,            "opcode is not of RFC 9669")                                                \
    R(bad_register,              "there are registers r0 to r10 only")                                       \
    R(reserved_field,            "a field that this instruction does not use is not zero")                   \
    R(frame_pointer_read_only,   "r10 cannot be written")                                                    \
    R(constant_zero_divisor,     "division by the constant zero")                                            \
    R(shift_out_of_range,        "shift by a constant that is not less than the width")                      \
    R(bad_width,                 "byte swaps and sign extensions have 8, 16, 32 or 64 bits, less than the operation") \
    R(unknown_atomic,            "the immediate names no atomic operation")                                  \
    R(address_space_not_supported,   "address-space casts (arenas) are not executed")                        \
    R(incomplete_two_slot_load,  "a 64-bit immediate needs a second slot that is otherwise zero")            \
    R(unknown_pseudo,            "the source register names no kind of 64-bit immediate or call")
// clang-format on

/* Fields as they were written, with the row they belong to. */
struct tn_insn {
    u16 op;      /* enum tn_op */
    u8 kind;     /* enum tn_kind */
    u8 bytes;    /* width of the operation */
    u8 slots;    /* 1, or 2 for LD_IMM64 */
    u8 dst, src; /* 0 … 10; for calls and LD_IMM64 `src` is the pseudo kind */
    bool x;      /* second operand is the register, else imm */
    s16 off;
    s32 imm;
    u64 imm64; /* LD_IMM64: both halves */
};

/* Decodes insns[at] of n. −EINVAL with `err` (reason: a row above). */
int tn_decode(const struct bpf_insn *insns, u32 n, u32 at, struct tn_insn *ret_insn, struct tn_error *err);

/* Where a jump or a bpf-to-bpf call (JA, JA32, conditional, CALL with BPF_PSEUDO_CALL) at `at` leads, or which function
   a two-slot load with BPF_PSEUDO_FUNC names; may lie outside. */
s64 tn_jump_target(const struct bpf_insn *insn, u32 at);

/*
 * One instruction in the style of the kernel's log, without its address: "r0 = 0", "if r1 != 0x0 goto pc+3",
 * "r2 = *(u64 *)(r1 +8)", "call bpf_map_lookup_elem#1". A two-slot load reads insn[1], so it must be there.
 * Always NUL-terminated for size > 0, cut when too long; 96 bytes always suffice.
 */
void tn_disasm(const struct bpf_insn *insn, char *buf, size_t size);

#endif
