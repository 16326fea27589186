/* SPDX-License-Identifier: MIT */
/*
 * The instructions that compilers emit nearly always, decoded by tables: what takes the disassembler library a hundred
 * nanoseconds takes a few here, and a planner that follows every function of a module decodes millions.
 *
 *     [64 65] [66 F2 F3] [REX] opcode | 0F opcode   ModRM SIB displacement immediate
 *
 * Only what every form of is valid, or is known to be: anything else (other prefixes, VEX, EVEX, forms with holes,
 * bytes that run out) is not answered, and the library asked. Where there is an answer it is the library's, to the last
 * field (tests/rewrite/decode.c compares all code of a few large modules, and mutations of it).
 */
#include "x86/common.h"

#include <string.h>

enum {
    NO = 0,     /* not here */
    OK = 1,     /* no operands that take bytes */
    M = 2,      /* ModRM */
    I8 = 4,     /* immediates: a byte, signed … */
    U8 = 8,     /* … or not; */
    IZ = 16,    /* four bytes, two with 66, signed; */
    IV = 64,    /* … eight with REX.W; */
    REL = 128,  /* a branch's offset, as long as the immediate that goes with it */
    SPEC = 256, /* looked at more closely */
    MEM = 512,  /* memory only */
    FS = 1024,  /* also with a segment, on memory */
    SSE = 2048, /* also with F2 or F3 */
    REP = 4096, /* also with F3 */
};

#define ALU(op) [(op)...(op) + 3] = M | FS, [(op) + 4] = I8, [(op) + 5] = IZ

static const u16 one[256] = {
    ALU(0x00),
    ALU(0x08),
    ALU(0x10),
    ALU(0x18),
    ALU(0x20),
    ALU(0x28),
    ALU(0x30),
    ALU(0x38),
    [0x50 ... 0x5f] = OK,
    [0x63] = M,
    [0x68] = IZ,
    [0x69] = M | IZ,
    [0x6a] = I8,
    [0x6b] = M | I8,
    [0x70 ... 0x7f] = I8 | REL,
    [0x80] = M | I8 | FS,
    [0x81] = M | IZ | FS,
    [0x83] = M | I8 | FS,
    [0x84 ... 0x85] = M,
    [0x86 ... 0x87] = M,
    [0x88 ... 0x8b] = M | FS,
    [0x8d] = M | MEM,
    [0x90] = OK | SPEC,
    [0x98 ... 0x99] = OK,
    [0xa8] = I8,
    [0xa9] = IZ,
    [0xb0 ... 0xb7] = I8,
    [0xb8 ... 0xbf] = IZ | IV,
    [0xc0 ... 0xc1] = M | U8 | SPEC,
    [0xc3] = OK | SPEC,
    [0xc6] = M | I8 | SPEC | FS,
    [0xc7] = M | IZ | SPEC | FS,
    [0xc9] = OK,
    [0xcc] = OK | SPEC,
    [0xd0 ... 0xd3] = M | SPEC,
    [0xe8 ... 0xe9] = IZ | REL,
    [0xeb] = I8 | REL,
    [0xf6 ... 0xf7] = M | SPEC,
    [0xfe ... 0xff] = M | SPEC,
};

static const u16 two[256] = {
    [0x05] = OK | SPEC,
    [0x0b] = OK | SPEC,
    [0x10 ... 0x11] = M | SSE,
    [0x14] = M,
    [0x1f] = M | SPEC,
    [0x28 ... 0x29] = M,
    [0x2e ... 0x2f] = M,
    [0x40 ... 0x4f] = M,
    [0x51] = M | SSE,
    [0x54 ... 0x57] = M,
    [0x58 ... 0x5a] = M | SSE,
    [0x5c ... 0x5f] = M | SSE,
    [0x60 ... 0x6b] = M,
    [0x6e] = M,
    [0x6f] = M | REP,
    [0x70] = M | U8 | SSE,
    [0x71 ... 0x73] = M | U8 | SPEC,
    [0x74 ... 0x76] = M,
    [0x7e ... 0x7f] = M | REP,
    [0x80 ... 0x8f] = IZ | REL,
    [0x90 ... 0x9f] = M,
    [0xa3] = M,
    [0xa4] = M | U8,
    [0xa5] = M,
    [0xab] = M,
    [0xac] = M | U8,
    [0xad] = M,
    [0xaf] = M,
    [0xb3] = M,
    [0xb6 ... 0xb7] = M,
    [0xbb] = M,
    [0xbc ... 0xbd] = M,
    [0xbe ... 0xbf] = M,
    [0xc8 ... 0xcf] = OK,
    [0xd1 ... 0xd5] = M,
    [0xd8 ... 0xe5] = M,
    [0xe8 ... 0xef] = M,
    [0xf1 ... 0xf6] = M,
    [0xf8 ... 0xfe] = M,
};

/* Opcodes whose ModRM tells more. `what`: 0 where this form is not answered. */
static u16 more_closely(const struct tn_insn *i, u16 what, u8 reg, u8 *ret_kind)
{
    bool wide_op = i->op & 1; /* not the byte form */

    if (i->map == 1 && i->op >= 0x71 && i->op <= 0x73) /* shifts of all of a vector's words */
        return i->mod == 3 && (reg == 2 || reg == 6 || (reg == 4 && i->op != 0x73)) ? what : 0;
    if (i->map == 1) {
        *ret_kind = i->op == 0x05 ? TN_INSN_SYSCALL : i->op == 0x0b ? TN_INSN_STOP : TN_INSN_NOP;
        return i->op == 0x1f && reg ? 0 : what;
    }
    switch (i->op) {
    case 0x90:
        *ret_kind = TN_INSN_NOP;
        return what;
    case 0xc3:
        *ret_kind = TN_INSN_RET;
        return what;
    case 0xcc:
        *ret_kind = TN_INSN_INT3;
        return what;
    case 0xc6:
    case 0xc7:
        return reg ? 0 : what;
    case 0xf6:
    case 0xf7:
        return reg == 1 ? 0 : reg == 0 ? what | (wide_op ? IZ : I8) : what;
    case 0xfe:
        return reg < 2 ? what : 0;
    case 0xff:
        *ret_kind = reg == 2 ? TN_INSN_CALL_IND : reg == 4 ? TN_INSN_JMP_IND : TN_INSN_PLAIN;
        return reg == 3 || reg == 5 || reg == 7 ? 0 : what;
    default: /* shifts: one of the eight is an alias */
        return reg == 6 ? 0 : what;
    }
}

static s64 number(const u8 *p, u32 size, bool is_signed)
{
    s64 n;
    s32 n4;
    s16 n2;

    switch (size) {
    case 0:
        return 0;
    case 1:
        return is_signed ? (s8)*p : *p;
    case 2:
        memcpy(&n2, p, sizeof(n2));
        return n2;
    case 4:
        memcpy(&n4, p, sizeof(n4));
        return n4;
    default:
        memcpy(&n, p, sizeof(n));
        return n;
    }
}

/* ModRM, SIB and displacement at bytes[*at]; false where they run out. */
static inline bool operand(const u8 *bytes, u32 len, u8 rex, u32 *at, struct tn_insn *r)
{
    u32 disp = 0;
    u8 m, low;

    if (*at >= len)
        return false;
    m = bytes[*at];
    low = m & 7;
    r->has_modrm = true;
    r->modrm_off = (u8)(*at)++;
    r->mod = m >> 6;
    r->reg = (u8)((m >> 3 & 7) | (rex & 4 ? 8 : 0));
    r->rm = (u8)(low | (rex & 1 ? 8 : 0));
    disp = r->mod == 1 ? 1 : r->mod == 2 || (r->mod == 0 && low == 5) ? 4 : 0;
    if (r->mod != 3 && low == 4) {
        u8 sib;

        if (*at >= len)
            return false;
        sib = bytes[(*at)++];
        r->has_sib = true;
        r->scale = (u8)(1u << (sib >> 6));
        r->index = (u8)((sib >> 3 & 7) | (rex & 2 ? 8 : 0));
        r->base = (u8)((sib & 7) | (rex & 1 ? 8 : 0));
        if (r->mod == 0 && (sib & 7) == 5)
            disp = 4;
    }
    if (disp > len - *at)
        return false;
    if (r->mod == 0 && low == 5)
        r->mem_off = (u8)*at;
    r->disp = number(bytes + *at, disp, true);
    *at += disp;
    return true;
}

bool tn_decode_common(const u8 *bytes, u32 len, u64 addr, struct tn_insn *ret_insn)
{
    static const u8 endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    struct tn_insn r = {.legacy = true};
    u8 rex = 0, prefix = 0, segment = 0;
    u32 at = 0, imm = 0;
    u16 what;

    if (at < len && (bytes[at] == 0x64 || bytes[at] == 0x65))
        segment = bytes[at++];
    if (at < len && (bytes[at] == 0x66 || bytes[at] == 0xf2 || bytes[at] == 0xf3))
        prefix = bytes[at++];
    if (at < len && (bytes[at] & 0xf0) == 0x40)
        rex = bytes[at++];
    if (at >= len)
        return false;
    if (bytes[at] == 0x0f) {
        r.map = 1;
        if (++at >= len)
            return false;
    }
    r.op = bytes[at++];
    what = (r.map ? two : one)[r.op];
    if (!what && prefix == 0xf3 && r.map && r.op == 0x1e && !rex && !segment && len >= 4 &&
        !memcmp(bytes, endbr64, sizeof(endbr64))) {
        r = (struct tn_insn){.legacy = true,
                             .len = 4,
                             .kind = TN_INSN_ENDBR,
                             .map = 1,
                             .op = 0x1e,
                             .has_modrm = true,
                             .modrm_off = 3,
                             .mod = 3,
                             .reg = 7,
                             .rm = 2};
        *ret_insn = r;
        return true;
    }
    if (!what || (segment && !(what & FS)) || (prefix == 0xf2 && !(what & SSE)) ||
        (prefix == 0xf3 && !(what & (SSE | REP))))
        return false;
    r.wide = rex & 8;
    if ((what & M) && !operand(bytes, len, rex, &at, &r))
        return false;
    if ((segment || what & MEM) && r.mod == 3)
        return false;
    if (what & SPEC) {
        /* A prefix makes another instruction of some of them. */
        if (!(what & M) && (rex || (prefix && (prefix != 0x66 || r.map || r.op != 0x90))))
            return false;
        what = more_closely(&r, what, r.reg & 7, &r.kind);
        if (!what)
            return false;
    }
    if ((what & REL || r.kind == TN_INSN_CALL_IND || r.kind == TN_INSN_JMP_IND) && prefix)
        return false;
    if (what & (I8 | U8))
        imm = 1;
    else if (what & IV && r.wide)
        imm = 8;
    else if (what & IZ)
        imm = prefix == 0x66 && !r.wide ? 2 : 4;
    if (imm > len - at)
        return false;
    r.imm = number(bytes + at, imm, what & (I8 | IZ));
    if (what & REL) {
        r.rel_off = (u8)at;
        r.rel_size = (u8)imm;
        r.kind = r.map || r.op < 0x80 ? TN_INSN_JCC : r.op == 0xe8 ? TN_INSN_CALL : TN_INSN_JMP;
        r.cond = r.kind == TN_INSN_JCC ? r.op & 15 : 0;
    }
    at += imm;
    if (at > 15)
        return false;
    r.len = (u8)at;
    if (what & REL)
        r.target = addr + r.len + (u64)r.imm;
    else if (r.mem_off)
        r.target = addr + r.len + (u64)r.disp;
    *ret_insn = r;
    return true;
}

/* Bytes of a ModRM with a mod that is not 0, and what follows it because of it. */
#define MODRM(first, without, with)                                                                          \
    [(first)...(first) + 3] = without, [(first) + 4] = with, [(first) + 5 ...(first) + 7] = without
#define MODRMS(mod, without, with)                                                                           \
    MODRM(mod, without, with), MODRM((mod) + 8, without, with), MODRM((mod) + 16, without, with),            \
        MODRM((mod) + 24, without, with), MODRM((mod) + 32, without, with),                                  \
        MODRM((mod) + 40, without, with), MODRM((mod) + 48, without, with), MODRM((mod) + 56, without, with)
static const u8 modrms[256] = {MODRMS(0x40, 2, 3), MODRMS(0x80, 5, 6), MODRMS(0xc0, 1, 1)};

/* tn_step_of the commonest of them, of which there are no forms to be told apart; 15 bytes are there. 0: another one. */
static inline u8 brief(const u8 *bytes)
{
    const u8 *p = bytes;
    u32 what, imm, rip = 0;
    bool wide = false, half = *p == 0x66, lea;
    enum tn_step step;

    p += half;
    if ((*p & 0xf0) == 0x40)
        wide = *p++ & 8;
    lea = *p == 0x8d;
    what = *p == 0x0f ? two[*++p] : one[*p];
    if (!what || what & SPEC)
        return 0;
    imm = what & (I8 | U8) ? 1 : what & IV && wide ? 8 : !(what & IZ) ? 0 : half && !wide ? 2 : 4;
    if (what & REL) {
        step = *p == 0xe8                 ? TN_STEP_CALL4
               : *p == 0xe9 || *p == 0xeb ? (imm == 1 ? TN_STEP_JMP1 : TN_STEP_JMP4)
               : imm == 1                 ? TN_STEP_JCC1
                                          : TN_STEP_JCC4;
        return half ? 0 : (u8)(step << 4 | (u32)(p + 1 + imm - bytes));
    }
    p++;
    if (what & M) {
        u8 m = *p;

        if (m < 0x40) {
            rip = (m & 7) == 5;
            imm += (m & 7) == 4 ? 2 + 4 * ((p[1] & 7) == 5) : 1 + 4 * rip;
            if (rip && !lea && imm != 5)
                return 0;
        } else if (what & MEM && m >= 0xc0) {
            return 0;
        } else {
            imm += modrms[m];
        }
    }
    p += imm;
    step = !rip ? TN_STEP_PLAIN : lea ? TN_STEP_LEA : TN_STEP_REF;
    return p - bytes > 15 ? 0 : (u8)(step << 4 | (u32)(p - bytes));
}

static __attribute__((noinline)) u8 look(const u8 *bytes, u64 len)
{
    struct tn_insn i;

    return tn_x86_decode(bytes, len, 0, &i) == 0 ? tn_step_of(&i) : 0;
}

u8 tn_x86_step(const u8 *bytes, u64 len)
{
    u8 step = len < 15 ? 0 : brief(bytes);

    return step ? step : look(bytes, len);
}
