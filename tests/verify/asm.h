/* SPDX-License-Identifier: MIT */
/* Instructions as C initialisers, for programs written by hand. */
#ifndef TESTS_VERIFY_ASM_H
#define TESTS_VERIFY_ASM_H

#include <linux/bpf.h>

enum { R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 };

#define INSN(c, d, s, o, i)                                                                                  \
    {                                                                                                        \
        .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)                                  \
    }
#define MOV(d, i)               INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define MOV32(d, i)             INSN(BPF_ALU | BPF_MOV | BPF_K, d, 0, 0, i)
#define MOVX(d, s)              INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOVX32(d, s)            INSN(BPF_ALU | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOVSX(d, s, bits)       INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, bits, 0)
#define ALU(op, d, i)           INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ALUX(op, d, s)          INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define ALU32(op, d, i)         INSN(BPF_ALU | (op) | BPF_K, d, 0, 0, i)
#define ALUX32(op, d, s)        INSN(BPF_ALU | (op) | BPF_X, d, s, 0, 0)
#define ADD(d, i)               ALU(BPF_ADD, d, i)
#define ADDX(d, s)              ALUX(BPF_ADD, d, s)
#define LDX(sz, d, s, o)        INSN(BPF_LDX | BPF_MEM | (sz), d, s, o, 0)
#define LDSX(sz, d, s, o)       INSN(BPF_LDX | 0x80 | (sz), d, s, o, 0)
#define STX(sz, d, o, s)        INSN(BPF_STX | BPF_MEM | (sz), d, s, o, 0)
#define ST(sz, d, o, i)         INSN(BPF_ST | BPF_MEM | (sz), d, 0, o, i)
#define ATOMIC(sz, d, o, s, op) INSN(BPF_STX | BPF_ATOMIC | (sz), d, s, o, op)
#define JMP(op, d, i, o)        INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define JMPX(op, d, s, o)       INSN(BPF_JMP | (op) | BPF_X, d, s, o, 0)
#define JMP32(op, d, i, o)      INSN(BPF_JMP32 | (op) | BPF_K, d, 0, o, i)
#define JMPX32(op, d, s, o)     INSN(BPF_JMP32 | (op) | BPF_X, d, s, o, 0)
#define JA(o)                   INSN(BPF_JMP | BPF_JA, 0, 0, o, 0)
#define MAY_GOTO(o)             INSN(BPF_JMP | 0xe0, 0, 0, o, 0)
#define CALL(id)                INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define CALLP(rel)              INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, rel)
#define EXIT                    INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define LD64(d, v)                                                                                           \
    INSN(BPF_LD | BPF_IMM | BPF_DW, d, 0, 0, (s32)(u32)(v)), INSN(0, 0, 0, 0, (s32)((u64)(v) >> 32))
#define LDMAP(d, m)    INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, m), INSN(0, 0, 0, 0, 0)
#define LDVAL(d, m, o) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_VALUE, 0, m), INSN(0, 0, 0, 0, o)

#define B  BPF_B
#define H_ BPF_H
#define W  BPF_W
#define DW BPF_DW

/* r0 = look-up of key 0 in map m; the key is at fp-4. */
#define LOOKUP(m) ST(W, R10, -4, 0), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, m), CALL(1)

#endif
