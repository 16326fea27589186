/* SPDX-License-Identifier: MIT */
/*
 * x86-64 instructions, as far as moving them is concerned: how long, where they lead, and which of their
 * bytes depend on where they stand. The only door to the disassembler library; nothing of it shows here.
 *
 * An instruction that depends on its place does so in one of two ways: a displacement from the instruction
 * pointer
 * (`mem_off`), or a branch offset (`rel_off`). Both count from the instruction's end.
 */
#ifndef TN_X86_DECODE_H
#define TN_X86_DECODE_H

#include "base/base.h"

enum tn_insn_kind {
    TN_INSN_PLAIN,
    TN_INSN_NOP, /* every form, and endbr64's cousins are not among them */
    TN_INSN_ENDBR,
    TN_INSN_INT3,
    TN_INSN_JMP, /* direct, short or near */
    TN_INSN_JCC,
    TN_INSN_LOOP,   /* loop, loope, loopne, jrcxz, jecxz: short only */
    TN_INSN_XBEGIN, /* a transaction: its abort address is relative */
    TN_INSN_CALL,   /* direct */
    TN_INSN_JMP_IND,
    TN_INSN_CALL_IND,
    TN_INSN_RET,
    TN_INSN_SYSCALL,
    TN_INSN_STOP, /* ud2, hlt: nothing follows */
    TN_INSN_FAR,  /* far branches, iret, sysret: never moved, never followed */
};

#define TN_INSN_MAX 15u /* bytes of one */

struct tn_insn {
    u8 len;
    u8 kind;
    u8 mem_off;  /* offset of a rip-relative disp32; 0 = none */
    u8 rel_off;  /* offset of a branch's offset; 0 = none */
    u8 rel_size; /* bytes of it */
    u8 cond;     /* JCC: condition code, 0–15 */
    bool addr32; /* an address-size prefix makes its memory operand or counter 32 bits wide */
    /* Raw fields, for matching compilers' idioms. Registers with the REX bits in. */
    u8 map, op;  /* opcode map (0: one byte, 1: 0f) and opcode */
    bool legacy; /* legacy encoding: map and op mean what the manual's one-byte tables say */
    bool wide;   /* REX.W */
    bool has_modrm, has_sib;
    u8 modrm_off, mod, reg, rm; /* modrm_off: offset of the ModRM byte */
    u8 scale, index, base;      /* of a SIB byte */
    s64 disp, imm;
    u64 target; /* branches: where to; rip-relative operands: the address meant */
};

/* Decodes the instruction at `bytes`, which stands at `addr`.
   −EILSEQ: none that can be decoded in `len` bytes. */
int tn_x86_decode(const u8 *bytes, u64 len, u64 addr, struct tn_insn *ret_insn);

/*
 * What who only follows control asks of an instruction, in a byte that can be kept for each byte of code: its length, and
 * what it does besides going on. What is not said by one of these (LOOK) is to be decoded. Never 0.
 */
enum tn_step {
    TN_STEP_PLAIN,
    TN_STEP_PAD, /* NOP, INT3 */
    /* PLAIN, and its last four bytes are a displacement from the instruction pointer; with lea */
    TN_STEP_REF,
    TN_STEP_LEA,
    TN_STEP_LOOK,
    /* Direct; its last byte or four are the offset. */
    TN_STEP_CALL4,
    TN_STEP_JMP1,
    TN_STEP_JMP4,
    TN_STEP_JCC1,
    TN_STEP_JCC4,
    TN_STEP_RET,
    TN_STEP_CALL_IND, /* without such a displacement */
};
static inline u32 tn_step_len(u8 step)
{
    return step & 15;
}
static inline enum tn_step tn_step_what(u8 step)
{
    return (enum tn_step)(step >> 4);
}
/* May it lead elsewhere by an offset of its own? */
static inline bool tn_step_leads(u8 step)
{
    enum tn_step what = tn_step_what(step);

    return what >= TN_STEP_LOOK && what <= TN_STEP_JCC4;
}

/* What it comes to. */
static inline u8 tn_step_of(const struct tn_insn *i)
{
    bool plain = i->kind == TN_INSN_PLAIN, lea = i->legacy && i->map == 0 && i->op == 0x8d;
    bool std = i->legacy && i->map == 0 && i->op == 0xfd, last = i->rel_off + i->rel_size == i->len;
    enum tn_step what = TN_STEP_LOOK;

    if (i->mem_off)
        what = !plain || i->mem_off + 4 != i->len ? TN_STEP_LOOK : lea ? TN_STEP_LEA : TN_STEP_REF;
    else if (i->rel_off && last && i->rel_size == 1)
        what = i->kind == TN_INSN_JMP ? TN_STEP_JMP1 : i->kind == TN_INSN_JCC ? TN_STEP_JCC1 : TN_STEP_LOOK;
    else if (i->rel_off && last && i->rel_size == 4)
        what = i->kind == TN_INSN_JMP    ? TN_STEP_JMP4
               : i->kind == TN_INSN_JCC  ? TN_STEP_JCC4
               : i->kind == TN_INSN_CALL ? TN_STEP_CALL4
                                         : TN_STEP_LOOK;
    else if (i->rel_off)
        what = TN_STEP_LOOK;
    else if (i->kind == TN_INSN_NOP || i->kind == TN_INSN_INT3)
        what = TN_STEP_PAD;
    else if (i->kind == TN_INSN_RET)
        what = TN_STEP_RET;
    else if (i->kind == TN_INSN_CALL_IND)
        what = TN_STEP_CALL_IND;
    else if (plain && !std)
        what = TN_STEP_PLAIN;
    return (u8)(what << 4 | i->len);
}
/* tn_step_of what tn_x86_decode says; 0: −EILSEQ. */
u8 tn_x86_step(const u8 *bytes, u64 len);

/* tn_x86_decode without the short way for usual instructions: for tests. */
int tn_x86_decode_slow(const u8 *bytes, u64 len, u64 addr, struct tn_insn *ret_insn);

/* General registers that the instruction may write, bit per number (0 rax … 15 r15);
   all of them when unknown. */
u16 tn_decode_writes(const u8 *bytes, u64 len);
/* May it leave anything but zero in xmm15? */
bool tn_decode_fills_x15(const u8 *bytes, u64 len);

#endif
