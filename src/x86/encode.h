/* SPDX-License-Identifier: MIT */
/*
 * x86-64 bytes out, and nothing else: no policy, no registers of eBPF, no knowledge of what is being built.
 *
 * An assembler `struct tn_asm` is a buffer that either grows (tn_asm_grow: memory of its own) or is a
 * caller's fixed one (tn_asm_fixed). Errors stick: after the first one (no memory, no space, a displacement
 * that does not fit) nothing more is written and `err` says which, so a writer of fifty instructions checks
 * once, at the end.
 *
 * Positions are bytes from the start of the buffer, signed: the word before the text is position −8. A writer
 * that knows where its bytes will stand says `target - at`.
 *
 * Sizes are operand sizes in bytes: 1, 2, 4, 8. A four-byte operation clears the upper half of its register,
 * as always on x86-64. The shortest encoding of what was asked for is chosen; nothing here touches flags
 * unless the instruction by its nature does (tn_x86_mov_ri is a mov, tn_x86_zero is an xor).
 *
 * Encodings: Intel SDM volume 2, chapter 2 (format) and 3–5 (opcodes).
 */
#ifndef TN_X86_ENCODE_H
#define TN_X86_ENCODE_H

#include "base/base.h"

// clang-format off
enum tn_x86_reg {
    TN_RAX, TN_RCX, TN_RDX, TN_RBX, TN_RSP, TN_RBP, TN_RSI, TN_RDI,
    TN_R8, TN_R9, TN_R10, TN_R11, TN_R12, TN_R13, TN_R14, TN_R15,
    TN_NOREG = 255,
};

/* Condition codes, as in the low four bits of jcc; an odd one is the negation of the even one before it. */
enum tn_x86_cc {
    TN_CC_O, TN_CC_NO, TN_CC_B, TN_CC_AE, TN_CC_E, TN_CC_NE, TN_CC_BE, TN_CC_A,
    TN_CC_S, TN_CC_NS, TN_CC_P, TN_CC_NP, TN_CC_L, TN_CC_GE, TN_CC_LE, TN_CC_G,
};

/* The eight two-operand operations, in their encoded order. */
enum tn_x86_alu { TN_ADD, TN_OR, TN_ADC, TN_SBB, TN_AND, TN_SUB, TN_XOR, TN_CMP };
/* Shifts, by /digit. */
enum tn_x86_shift { TN_ROL = 0, TN_ROR = 1, TN_SHL = 4, TN_SHR = 5, TN_SAR = 7 };
/* Bit tests, by /digit of the immediate form. */
enum tn_x86_bit { TN_BT = 4, TN_BTS = 5, TN_BTR = 6, TN_BTC = 7 };
/* One-operand operations of group 3, by /digit. MUL … IDIV work on rdx:rax. */
enum tn_x86_unary { TN_NOT = 2, TN_NEG = 3, TN_MUL = 4, TN_IMUL = 5, TN_DIV = 6, TN_IDIV = 7 };
// clang-format on

struct tn_asm {
    u8 *buf;
    u32 len, cap;
    bool owned;
    int err; /* 0, −ENOMEM, −ENOSPC, −ERANGE, −EINVAL */
};
void tn_asm_grow(struct tn_asm *a);
void tn_asm_fixed(struct tn_asm *a, u8 *buf, u32 cap);
/* Frees an owned buffer; the struct is as after tn_asm_grow. */
void tn_asm_clear(struct tn_asm *a);

/* A place in memory. Built by the functions below only. */
struct tn_mem {
    u8 kind;        /* enum in encode.c */
    u8 base, index; /* enum tn_x86_reg or TN_NOREG */
    u8 scale;       /* 1, 2, 4, 8 */
    s64 disp;       /* displacement, or the position for rip-relative */
};
struct tn_mem tn_mem_base(enum tn_x86_reg base, s32 disp);
struct tn_mem tn_mem_index(enum tn_x86_reg base, enum tn_x86_reg index, u8 scale, s32 disp);
struct tn_mem
tn_mem_pos(s64 pos); /* rip-relative: position `pos` of this buffer, in front, inside or behind */
struct tn_mem tn_mem_fs(s32 disp); /* fs:disp, e.g. tn_mem_fs(0) holds the thread pointer */
struct tn_mem tn_mem_fs_base(enum tn_x86_reg base, s32 disp); /* fs:[base + disp] */

/* Raw bytes, for data and for what is not listed here. */
void tn_x86_bytes(struct tn_asm *a, const void *bytes, u32 len);
void tn_x86_u8(struct tn_asm *a, u8 byte);
void tn_x86_u32(struct tn_asm *a, u32 value);
void tn_x86_u64(struct tn_asm *a, u64 value);
/* int3 up to a multiple of `to`; the recommended multi-byte nops, `len` bytes in all. */
void tn_x86_pad_int3(struct tn_asm *a, u32 to);
void tn_x86_nop(struct tn_asm *a, u32 len);

/* -------------------------------------------------------------------------------- moves */
void tn_x86_mov_rr(struct tn_asm *a, u8 size, enum tn_x86_reg dst, enum tn_x86_reg src); /* size 4, 8 */
void tn_x86_mov_ri(struct tn_asm *a, enum tn_x86_reg dst,
                   u64 imm);                             /* all 64 bits, in 5, 7 or 10 bytes; flags stay */
void tn_x86_zero(struct tn_asm *a, enum tn_x86_reg dst); /* xor: flags go */
void tn_x86_load(struct tn_asm *a, u8 size, enum tn_x86_reg dst, struct tn_mem src); /* zero-extends to 64 */
void tn_x86_load_sx(struct tn_asm *a, u8 size, enum tn_x86_reg dst,
                    struct tn_mem src); /* sign-extends to 64 */
void tn_x86_store(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src);
void tn_x86_store_i(struct tn_asm *a, u8 size, struct tn_mem dst, s32 imm); /* size 8: sign-extended */
void tn_x86_lea(struct tn_asm *a, enum tn_x86_reg dst, struct tn_mem src);
void tn_x86_movzx_rr(struct tn_asm *a, u8 src_size, enum tn_x86_reg dst,
                     enum tn_x86_reg src); /* from 1, 2, 4 */
void tn_x86_movsx_rr(struct tn_asm *a, u8 size, u8 src_size, enum tn_x86_reg dst, enum tn_x86_reg src);
void tn_x86_xchg_rr(struct tn_asm *a, u8 size, enum tn_x86_reg x, enum tn_x86_reg y);
void tn_x86_cmov_rr(struct tn_asm *a, u8 size, enum tn_x86_cc cc, enum tn_x86_reg dst, enum tn_x86_reg src);
void tn_x86_setcc(struct tn_asm *a, enum tn_x86_cc cc, enum tn_x86_reg dst); /* low byte only */

/* ---------------------------------------------------------- arithmetic (size 4, 8; with memory also 1, 2) */
void tn_x86_alu_rr(struct tn_asm *a, u8 size, enum tn_x86_alu op, enum tn_x86_reg dst, enum tn_x86_reg src);
void tn_x86_alu_ri(struct tn_asm *a, u8 size, enum tn_x86_alu op, enum tn_x86_reg dst, s32 imm);
void tn_x86_alu_rm(struct tn_asm *a, u8 size, enum tn_x86_alu op, enum tn_x86_reg dst, struct tn_mem src);
void tn_x86_alu_mr(struct tn_asm *a, u8 size, enum tn_x86_alu op, struct tn_mem dst, enum tn_x86_reg src);
void tn_x86_alu_mi(struct tn_asm *a, u8 size, enum tn_x86_alu op, struct tn_mem dst, s32 imm);
void tn_x86_inc_m(struct tn_asm *a, u8 size, struct tn_mem dst);
void tn_x86_dec_m(struct tn_asm *a, u8 size, struct tn_mem dst);
void tn_x86_test_rr(struct tn_asm *a, u8 size, enum tn_x86_reg x, enum tn_x86_reg y);
void tn_x86_test_ri(struct tn_asm *a, u8 size, enum tn_x86_reg x, s32 imm);
void tn_x86_test_mi(struct tn_asm *a, u8 size, struct tn_mem x, s32 imm);
void tn_x86_unary(struct tn_asm *a, u8 size, enum tn_x86_unary op, enum tn_x86_reg reg);
void tn_x86_imul_rr(struct tn_asm *a, u8 size, enum tn_x86_reg dst, enum tn_x86_reg src);
void tn_x86_imul_rri(struct tn_asm *a, u8 size, enum tn_x86_reg dst, enum tn_x86_reg src, s32 imm);
void tn_x86_sign_rdx(struct tn_asm *a, u8 size); /* cdq, cqo */
void tn_x86_shift_i(struct tn_asm *a, u8 size, enum tn_x86_shift op, enum tn_x86_reg dst,
                    u8 count); /* size 2, 4, 8 */
void tn_x86_shift_cl(struct tn_asm *a, u8 size, enum tn_x86_shift op, enum tn_x86_reg dst);
void tn_x86_bswap(struct tn_asm *a, u8 size, enum tn_x86_reg dst); /* size 4, 8 */
void tn_x86_bit_ri(struct tn_asm *a, u8 size, enum tn_x86_bit op, enum tn_x86_reg dst, u8 bit);
void tn_x86_bit_mi(struct tn_asm *a, u8 size, enum tn_x86_bit op, struct tn_mem dst,
                   u8 bit); /* bit < 8 × size */

/* -------------------------------------------------------------------------------- atomics */
/* Emits the prefix; the next instruction must be one that takes it (alu_mr, alu_mi,
   xadd, cmpxchg, inc, bit_mi…). */
void tn_x86_lock(struct tn_asm *a);
void tn_x86_xchg_mr(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src); /* locked by itself */
void tn_x86_xadd_mr(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src);
void tn_x86_cmpxchg_mr(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src); /* expects rax */
void tn_x86_mfence(struct tn_asm *a);

/* -------------------------------------------------------------------------------- stack */
void tn_x86_push(struct tn_asm *a, enum tn_x86_reg reg);
void tn_x86_pop(struct tn_asm *a, enum tn_x86_reg reg);
void tn_x86_push_i(struct tn_asm *a, s32 imm);
void tn_x86_push_m(struct tn_asm *a, struct tn_mem src);
void tn_x86_pop_m(struct tn_asm *a, struct tn_mem dst);
void tn_x86_pushf(struct tn_asm *a);
/* Arithmetic flags into ax, and from there: cheaper than pushf and popf. */
void tn_x86_flags_to_ax(struct tn_asm *a);
void tn_x86_flags_from_ax(struct tn_asm *a);
void tn_x86_popf(struct tn_asm *a);
void tn_x86_leave(struct tn_asm *a);

/* -------------------------------------------------------------------------------- flow */
void tn_x86_ret(struct tn_asm *a);
void tn_x86_int3(struct tn_asm *a);
void tn_x86_ud2(struct tn_asm *a);
void tn_x86_syscall(struct tn_asm *a);
void tn_x86_endbr64(struct tn_asm *a);

/* To a known position: short when it fits, unless `size` says which (0 = shortest, 1, 4). */
void tn_x86_jmp(struct tn_asm *a, u8 size, s64 pos);
void tn_x86_jcc(struct tn_asm *a, u8 size, enum tn_x86_cc cc, s64 pos);
void tn_x86_call(struct tn_asm *a, s64 pos); /* rel32 */
void tn_x86_jmp_m(struct tn_asm *a, struct tn_mem target);
void tn_x86_jmp_r(struct tn_asm *a, enum tn_x86_reg target);
void tn_x86_call_m(struct tn_asm *a, struct tn_mem target);
void tn_x86_call_r(struct tn_asm *a, enum tn_x86_reg target);

/* Forward, to where tn_x86_bind is called later. `size` 1 or 4:
   a short one that turns out too far is −ERANGE. */
struct tn_fixup {
    u32 at; /* position of the displacement */
    u8 size;
};
struct tn_fixup tn_x86_jmp_fwd(struct tn_asm *a, u8 size);
struct tn_fixup tn_x86_jcc_fwd(struct tn_asm *a, u8 size, enum tn_x86_cc cc);
struct tn_fixup tn_x86_call_fwd(struct tn_asm *a);
struct tn_fixup tn_x86_lea_fwd(struct tn_asm *a, enum tn_x86_reg dst); /* lea dst, [rip + …] */
void tn_x86_bind(struct tn_asm *a, struct tn_fixup fixup);             /* to here */
void tn_x86_bind_to(struct tn_asm *a, struct tn_fixup fixup, s64 pos);

#endif
