/* SPDX-License-Identifier: MIT */
/*
 * The instruction set, RFC 9669, in rows: whoever needs an enum, a name, an operator or the meaning of an
 * instruction expands these and writes none of it a second time.
 *
 * A row of arithmetic or of a jump carries its equation as C, on
 *     d, s   destination and source (register or immediate), of the unsigned type U of the operation's width
 *     S      the signed type of that width;  BITS its width
 * and so is at once documentation and the interpreter. The JIT says the same a second time in machine code,
 * and the tests a third time as tables of expected results.
 *
 * One opcode byte may mean two things, told apart by `off` (div and sdiv, mov and movsx): such rows name the
 * offset.
 */
#ifndef TN_ISA_OPS_H
#define TN_ISA_OPS_H

#include "isa/insn.h"

// clang-format off

/* Arithmetic with two operands. A(O, NAME, op, off, sign, equation); each is four opcodes: 64/32 bits × register/immediate.
   Division by zero is 0, modulo by zero leaves d, the most negative number divided by −1 is itself; a shift uses the
   low bits of its count. A 32-bit result is zero-extended. */
#define TN_ALU(A, O)                                                                                         \
    A(O, ADD,  BPF_ADD,  0, "+=",   d + s)                                                                   \
    A(O, SUB,  BPF_SUB,  0, "-=",   d - s)                                                                   \
    A(O, MUL,  BPF_MUL,  0, "*=",   d * s)                                                                   \
    A(O, DIV,  BPF_DIV,  0, "/=",   s ? d / s : 0)                                                           \
    A(O, SDIV, BPF_DIV,  1, "s/=",  s == 0 ? 0 : s == (U)-1 ? 0 - d : (U)((S)d / (S)s))                      \
    A(O, OR,   BPF_OR,   0, "|=",   d | s)                                                                   \
    A(O, AND,  BPF_AND,  0, "&=",   d & s)                                                                   \
    A(O, LSH,  BPF_LSH,  0, "<<=",  d << (s & (BITS - 1)))                                                   \
    A(O, RSH,  BPF_RSH,  0, ">>=",  d >> (s & (BITS - 1)))                                                   \
    A(O, MOD,  BPF_MOD,  0, "%=",   s ? d % s : d)                                                           \
    A(O, SMOD, BPF_MOD,  1, "s%=",  s == 0 ? d : s == (U)-1 ? 0 : (U)((S)d % (S)s))                          \
    A(O, XOR,  BPF_XOR,  0, "^=",   d ^ s)                                                                   \
    A(O, MOV,  BPF_MOV,  0, "=",    s)                                                                       \
    A(O, ARSH, BPF_ARSH, 0, "s>>=", (U)((S)d >> (s & (BITS - 1))))

/* Conditional jumps. J(O, NAME, op, sign, condition); each is four opcodes as well. */
#define TN_JUMPS(J, O)                                                                                       \
    J(O, JEQ,  BPF_JEQ,  "==",  d == s)                                                                      \
    J(O, JGT,  BPF_JGT,  ">",   d > s)                                                                       \
    J(O, JGE,  BPF_JGE,  ">=",  d >= s)                                                                      \
    J(O, JSET, BPF_JSET, "&",   (d & s) != 0)                                                                \
    J(O, JNE,  BPF_JNE,  "!=",  d != s)                                                                      \
    J(O, JSGT, BPF_JSGT, "s>",  (S)d > (S)s)                                                                 \
    J(O, JSGE, BPF_JSGE, "s>=", (S)d >= (S)s)                                                                \
    J(O, JLT,  BPF_JLT,  "<",   d < s)                                                                       \
    J(O, JLE,  BPF_JLE,  "<=",  d <= s)                                                                      \
    J(O, JSLT, BPF_JSLT, "s<",  (S)d < (S)s)                                                                 \
    J(O, JSLE, BPF_JSLE, "s<=", (S)d <= (S)s)

/* Sizes of memory. Z(O, NAME, size code, bytes) */
#define TN_SIZES(Z, O)                                                                                       \
    Z(O, B,  BPF_B,  1)                                                                                      \
    Z(O, H,  BPF_H,  2)                                                                                      \
    Z(O, W,  BPF_W,  4)                                                                                      \
    Z(O, DW, BPF_DW, 8)

/* What an atomic does, told by the immediate of one opcode a width. T(NAME, imm, text, equation of the new value `m`),
   where `m` is the old one, `s` the source register and `r0` R0. With FETCH the source register receives the old value;
   CMPXCHG's goes to R0. */
#define TN_ATOMICS(T)                                                                                        \
    T(ADD,       BPF_ADD,             "add",     m + s)                                                      \
    T(OR,        BPF_OR,              "or",      m | s)                                                      \
    T(AND,       BPF_AND,             "and",     m & s)                                                      \
    T(XOR,       BPF_XOR,             "xor",     m ^ s)                                                      \
    T(FETCH_ADD, BPF_ADD | BPF_FETCH, "add",     m + s)                                                      \
    T(FETCH_OR,  BPF_OR | BPF_FETCH,  "or",      m | s)                                                      \
    T(FETCH_AND, BPF_AND | BPF_FETCH, "and",     m & s)                                                      \
    T(FETCH_XOR, BPF_XOR | BPF_FETCH, "xor",     m ^ s)                                                      \
    T(XCHG,      BPF_XCHG,            "xchg",    s)                                                          \
    T(CMPXCHG,   BPF_CMPXCHG,         "cmpxchg", m == r0 ? s : m)

/* Two more immediates of that opcode are no read-modify-write, and come in all sizes:
       BPF_LOAD_ACQ   d = *(s + off), and nothing that follows is seen before it
       BPF_STORE_REL  *(d + off) = s, and nothing before it is seen after it */

/* Every opcode. O(NAME, code, off, kind, bytes, sign): `off` 0 or 1 as in a row above, TN_OFF_USED where the offset is
   an operand of its own, `bytes` the width of the operation. */
#define TN_OFF_USED 2
#define TN_OPS(O)                                                                                            \
    TN_ALU(TN_ALU_OPS_, O)                                                                                   \
    O(MOVSX64_X,  BPF_ALU64 | BPF_MOV | BPF_X,  1, MOVSX,    8, "=")  /* d = (S)(low `off` bits of s) */     \
    O(MOVSX32_X,  BPF_ALU | BPF_MOV | BPF_X,    1, MOVSX,    4, "=")                                         \
    O(NEG64,      BPF_ALU64 | BPF_NEG,          0, NEG,      8, "-")  /* d = -d */                           \
    O(NEG32,      BPF_ALU | BPF_NEG,            0, NEG,      4, "-")                                         \
    O(LE,         BPF_ALU | BPF_END | BPF_K,    0, END,      4, "le") /* d = low `imm` bits, little-endian */\
    O(BE,         BPF_ALU | BPF_END | BPF_X,    0, END,      4, "be") /* d = low `imm` bits, big-endian */   \
    O(BSWAP,      BPF_ALU64 | BPF_END,          0, END,      8, "bswap") /* d = low `imm` bits, swapped */   \
    TN_JUMPS(TN_JUMP_OPS_, O)                                                                                \
    O(JA,         BPF_JMP | BPF_JA,             TN_OFF_USED, JA,  0, "goto")  /* pc += off */                \
    O(JA32,       BPF_JMP32 | BPF_JA,           0, JA,       0, "gotol")      /* pc += imm */                \
    O(MAY_GOTO,   BPF_JMP | BPF_JCOND,          TN_OFF_USED, MAY_GOTO, 0, "may_goto") /* pc += off, the TN_MAY_GOTO_MAX-th time */ \
    O(CALL,       BPF_JMP | BPF_CALL,           0, CALL,     0, "call")                                      \
    O(EXIT,       BPF_JMP | BPF_EXIT,           0, EXIT,     0, "exit")                                      \
    O(LD_IMM64,   BPF_LD | BPF_IMM | BPF_DW,    0, LD_IMM64, 8, "=")                                         \
    TN_SIZES(TN_SIZE_OPS_, O)                                                                                \
    O(LDSXB,      BPF_LDX | BPF_MEMSX | BPF_B,  TN_OFF_USED, LDSX, 1, "=")                                   \
    O(LDSXH,      BPF_LDX | BPF_MEMSX | BPF_H,  TN_OFF_USED, LDSX, 2, "=")                                   \
    O(LDSXW,      BPF_LDX | BPF_MEMSX | BPF_W,  TN_OFF_USED, LDSX, 4, "=")                                   \
    O(ATOMIC8,    BPF_STX | BPF_ATOMIC | BPF_B, TN_OFF_USED, ATOMIC, 1, "=") /* acquire and release only */  \
    O(ATOMIC16,   BPF_STX | BPF_ATOMIC | BPF_H, TN_OFF_USED, ATOMIC, 2, "=")                                 \
    O(ATOMIC32,   BPF_STX | BPF_ATOMIC | BPF_W, TN_OFF_USED, ATOMIC, 4, "=")                                 \
    O(ATOMIC64,   BPF_STX | BPF_ATOMIC | BPF_DW, TN_OFF_USED, ATOMIC, 8, "=")                                \
    /* The packet loads of classic BPF: R0 = big-endian bytes at imm (+ s) of the packet of the context in R6; \
       where there are none, the function ends with R0 = 0. */                                                \
    O(LD_ABSB,    BPF_LD | BPF_ABS | BPF_B,     0, PACKET,   1, "=")                                         \
    O(LD_ABSH,    BPF_LD | BPF_ABS | BPF_H,     0, PACKET,   2, "=")                                         \
    O(LD_ABSW,    BPF_LD | BPF_ABS | BPF_W,     0, PACKET,   4, "=")                                         \
    O(LD_INDB,    BPF_LD | BPF_IND | BPF_B,     0, PACKET,   1, "=")                                         \
    O(LD_INDH,    BPF_LD | BPF_IND | BPF_H,     0, PACKET,   2, "=")                                         \
    O(LD_INDW,    BPF_LD | BPF_IND | BPF_W,     0, PACKET,   4, "=")

#define TN_ALU_OPS_(O, NAME, op, off, sign, equation)                                                        \
    O(NAME##64_X, BPF_ALU64 | op | BPF_X, off, ALU, 8, sign)                                                 \
    O(NAME##64_K, BPF_ALU64 | op | BPF_K, off, ALU, 8, sign)                                                 \
    O(NAME##32_X, BPF_ALU | op | BPF_X,   off, ALU, 4, sign)                                                 \
    O(NAME##32_K, BPF_ALU | op | BPF_K,   off, ALU, 4, sign)
#define TN_JUMP_OPS_(O, NAME, op, sign, condition)                                                           \
    O(NAME##64_X, BPF_JMP | op | BPF_X,   TN_OFF_USED, JMP, 8, sign)                                         \
    O(NAME##64_K, BPF_JMP | op | BPF_K,   TN_OFF_USED, JMP, 8, sign)                                         \
    O(NAME##32_X, BPF_JMP32 | op | BPF_X, TN_OFF_USED, JMP, 4, sign)                                         \
    O(NAME##32_K, BPF_JMP32 | op | BPF_K, TN_OFF_USED, JMP, 4, sign)
#define TN_SIZE_OPS_(O, NAME, code, bytes)                                                                   \
    O(LDX##NAME, BPF_LDX | BPF_MEM | code, TN_OFF_USED, LDX, bytes, "=")                                     \
    O(STX##NAME, BPF_STX | BPF_MEM | code, TN_OFF_USED, STX, bytes, "=")                                     \
    O(ST##NAME,  BPF_ST | BPF_MEM | code,  TN_OFF_USED, ST,  bytes, "=")

// clang-format on

/* Families that a compiler or a verifier treats as one. */
enum tn_kind {
    TN_KIND_INVALID,
    TN_KIND_ALU,
    TN_KIND_MOVSX,
    TN_KIND_NEG,
    TN_KIND_END,
    TN_KIND_JMP,
    TN_KIND_JA,
    TN_KIND_MAY_GOTO,
    TN_KIND_CALL,
    TN_KIND_EXIT,
    TN_KIND_LD_IMM64,
    TN_KIND_LDX,
    TN_KIND_LDSX,
    TN_KIND_STX,
    TN_KIND_ST,
    TN_KIND_ATOMIC,
    TN_KIND_PACKET,
};

/* Those that have no effect but the value of their destination. */
static inline bool tn_kind_sets_dst(u8 kind)
{
    switch (kind) {
    case TN_KIND_ALU:
    case TN_KIND_MOVSX:
    case TN_KIND_NEG:
    case TN_KIND_END:
    case TN_KIND_LD_IMM64:
    case TN_KIND_LDX:
    case TN_KIND_LDSX:
        return true;
    default:
        return false;
    }
}

enum tn_op {
    TN_OP_INVALID,
#define O(name, ...) TN_OP_##name,
    TN_OPS(O)
#undef O
        TN_OP_COUNT,
};

struct tn_op_row {
    u8 code;
    u8 off;   /* 0, 1 or TN_OFF_USED */
    u8 kind;  /* enum tn_kind */
    u8 bytes; /* width of the operation; 0 = none */
    const char *name;
    const char *sign;
};
extern const struct tn_op_row tn_op_rows[TN_OP_COUNT];

/* Rows of one opcode: [0] with offset zero or used as an operand, [1] with another. */
extern const u8 tn_op_by_code[2][256];

/* Which row an instruction belongs to; TN_OP_INVALID for none. Looks at code and, for arithmetic, whether the
   offset is zero: nothing else is validated. */
static inline enum tn_op tn_op_of(const struct bpf_insn *insn)
{
    return (enum tn_op)tn_op_by_code[insn->off != 0][insn->code];
}

#endif
