/* SPDX-License-Identifier: MIT */
/*
 * The instructions that compilers emit nearly always, decoded by tables: what takes the disassembler library a hundred
 * nanoseconds takes a few here, and a planner that follows every function of a module decodes millions.
 *
 *     [64 65] [66 F2 F3] [REX] opcode | 0F opcode   ModRM SIB displacement immediate
 *
 * Only what every form of is valid, or is known to be: anything else (other prefixes, EVEX, forms with holes, bytes that
 * run out; VEX where more than a step is asked for) is not answered, and the library asked. Where there is an answer it is the library's, to the last
 * field (tests/rewrite/decode.c compares all code of a few large modules, and mutations of it).
 */
#include "x86/common.h"

#include <string.h>

enum {
    NO = 0,     /* not here */
    I8 = 1,     /* immediates: a byte, signed … */
    M = 2,      /* ModRM */
    IZ = 4,     /* … four bytes, two with 66, signed; … */
    UN = 8,     /* … not signed; … */
    IV = 16,    /* … eight with REX.W */
    OK = 32,    /* no operands that take bytes */
    REL = 64,   /* a branch's offset, as long as the immediate that goes with it */
    SPEC = 128, /* looked at more closely */
    MEM = 256,  /* memory only: lea */
    FS = 512,   /* also with a segment, on memory */
    SSE = 1024, /* also with F2 or F3 */
    REP = 2048, /* also with F3 */
    V3 = 4096,  /* also with VEX and 66: a third operand, any width; … */
    V2 = 8192,  /* … or with 66 or F3: no third one */
    VEX = V3 | V2,
    U8 = I8 | UN,
    IMM = I8 | IZ, /* its bytes, in general */
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
    [0x60 ... 0x6b] = M | V3,
    [0x6c ... 0x6d] = V3,
    [0x6e] = M,
    [0x6f] = M | REP | V2,
    [0x70] = M | U8 | SSE,
    [0x71 ... 0x73] = M | U8 | SPEC | V3,
    [0x74 ... 0x76] = M | V3,
    [0x7e] = M | REP,
    [0x7f] = M | REP | V2,
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
    [0xd1 ... 0xd5] = M | V3,
    [0xd8 ... 0xe5] = M | V3,
    [0xe8 ... 0xef] = M | V3,
    [0xf1 ... 0xf6] = M | V3,
    [0xf8 ... 0xfe] = M | V3,
};

/* Opcodes whose ModRM tells more. `what`: 0 where this form is not answered. */
static inline u16 more_closely(u8 map, u8 op, u8 modrm, u16 what, u8 *ret_kind)
{
    bool wide_op = op & 1; /* not the byte form */
    u8 reg = modrm >> 3 & 7;

    if (map == 1 && op >= 0x71 && op <= 0x73) /* shifts of all of a vector's words */
        return modrm >= 0xc0 && (reg == 2 || reg == 6 || (reg == 4 && op != 0x73)) ? what : 0;
    if (map == 1) {
        *ret_kind = op == 0x05 ? TN_INSN_SYSCALL : op == 0x0b ? TN_INSN_STOP : TN_INSN_NOP;
        return op == 0x1f && reg ? 0 : what;
    }
    switch (op) {
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

/* Bytes of it. */
static inline u32 immediate(u32 what, bool half, bool wide)
{
    return what & IV && wide ? 8 : what & IZ && half && !wide ? 2 : what & IMM;
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
    if (!(what & ~VEX) || (segment && !(what & FS)) || (prefix == 0xf2 && !(what & SSE)) ||
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
        what = more_closely(r.map, r.op, what & M ? bytes[r.modrm_off] : 0, what, &r.kind);
        if (!what)
            return false;
    }
    if ((what & REL || r.kind == TN_INSN_CALL_IND || r.kind == TN_INSN_JMP_IND) && prefix)
        return false;
    imm = immediate(what, prefix == 0x66, r.wide);
    if (imm > len - at)
        return false;
    r.imm = number(bytes + at, imm, !(what & UN));
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

/* Bytes of a ModRM and what follows it because of it. */
enum {
    BARE = 16, /* its SIB byte may have no base, and then four more bytes */
    RIP = 32,  /* its displacement is from the instruction pointer */
};
#define MODRM(first, others, sib, five)                                                                      \
    [(first)...(first) + 3] = others, [(first) + 4] = sib, [(first) + 5] = five,                             \
                         [(first) + 6 ...(first) + 7] = others
#define MODRMS(mod, ...)                                                                                     \
    MODRM(mod, __VA_ARGS__), MODRM((mod) + 8, __VA_ARGS__), MODRM((mod) + 16, __VA_ARGS__),                  \
        MODRM((mod) + 24, __VA_ARGS__), MODRM((mod) + 32, __VA_ARGS__), MODRM((mod) + 40, __VA_ARGS__),      \
        MODRM((mod) + 48, __VA_ARGS__), MODRM((mod) + 56, __VA_ARGS__)
static const u8 modrms[256] = {MODRMS(0, 1, 2 + BARE, 5 + RIP), MODRMS(0x40, 2, 3, 2), MODRMS(0x80, 5, 6, 5),
                               MODRMS(0xc0, 1, 1, 1)};

/* The step of one that has a ModRM at `p`, and `imm` bytes behind all that belongs to it. */
static inline u8 with_modrm(const u8 *bytes, const u8 *p, u32 imm, enum tn_step step, bool lea)
{
    u32 more = modrms[*p], len = (u32)(p - bytes) + (more & 15) + imm;

    if (more & BARE && (p[1] & 7) == 5)
        len += 4;
    if (more & RIP)
        step = imm || step != TN_STEP_PLAIN ? TN_STEP_LOOK : lea ? TN_STEP_LEA : TN_STEP_REF;
    return len > TN_INSN_MAX ? 0 : (u8)(step << 4 | len);
}

/* With a VEX prefix of two bytes or three; 0: another one. */
static u8 vex(const u8 *bytes)
{
    const u8 *p = bytes + (*bytes == 0xc4 ? 3 : 2);
    u8 map = *bytes == 0xc4 ? bytes[1] & 31 : 1, fields = p[-1], kind;
    u32 what = map == 1 ? two[*p] : 0;

    if (!(what & V3 && (fields & 3) == 1) &&
        !(what & V2 && (fields & 0x78) == 0x78 && (fields % 4 == 1 || fields % 4 == 2)))
        return 0;
    if (what & SPEC && !more_closely(map, *p, p[1], (u16)what, &kind))
        return 0;
    return with_modrm(bytes, p + 1, what & IMM, TN_STEP_PLAIN, false);
}

/*
 * tn_step_of the commonest of them; TN_INSN_MAX bytes are there. 0: another one. `rare`: with prefixes, and forms that are
 * to be told apart, which the very commonest do without.
 */
static inline __attribute__((always_inline)) u8 brief(const u8 *bytes, bool rare)
{
    bool segment = rare && (*bytes & 0xfe) == 0x64, half, map = false;
    u8 rex = 0, kind = TN_INSN_PLAIN, op;
    enum tn_step step = TN_STEP_PLAIN;
    const u8 *p = bytes + segment;
    u32 what, imm;

    half = rare && *p == 0x66;
    p += half;
    op = *p++;
    if ((op & 0xf0) == 0x40) {
        rex = op;
        op = *p++;
    }
    what = one[op];
    if (op == 0x0f) {
        op = *p++;
        what = two[op];
        map = true;
    }
    if (what & SPEC) {
        if (!rare || (!(what & M) && (rex || (half && (map || op != 0x90)))))
            return 0;
        what = more_closely(map, op, *p, (u16)what, &kind);
        step = kind == TN_INSN_PLAIN                         ? TN_STEP_PLAIN
               : kind == TN_INSN_NOP || kind == TN_INSN_INT3 ? TN_STEP_PAD
               : kind == TN_INSN_RET                         ? TN_STEP_RET
               : kind == TN_INSN_CALL_IND                    ? TN_STEP_CALL_IND
                                                             : TN_STEP_LOOK;
        if (half && (kind == TN_INSN_CALL_IND || kind == TN_INSN_JMP_IND))
            return 0;
    }
    if (!(what & ~(u32)VEX) || (segment && (!(what & FS) || *p >= 0xc0)))
        return 0;
    imm = immediate(what, half, rex & 8);
    if (what & REL) {
        if (map || op < 0x80)
            step = imm == 1 ? TN_STEP_JCC1 : TN_STEP_JCC4;
        else
            step = op == 0xe8 ? TN_STEP_CALL4 : imm == 1 ? TN_STEP_JMP1 : TN_STEP_JMP4;
        return half ? 0 : (u8)(step << 4 | (u32)(p + imm - bytes));
    }
    if (what & M)
        return what & MEM && *p >= 0xc0 ? 0 : with_modrm(bytes, p, imm, step, what & MEM);
    return (u8)((u32)step << 4 | (u32)(p + imm - bytes));
}

static __attribute__((noinline)) u8 rarer(const u8 *bytes, u64 len)
{
    u8 step = len < TN_INSN_MAX ? 0 : (*bytes & 0xfe) == 0xc4 ? vex(bytes) : brief(bytes, true);
    struct tn_insn i;

    return step ? step : tn_x86_decode(bytes, len, 0, &i) == 0 ? tn_step_of(&i) : 0;
}

u8 tn_x86_step(const u8 *bytes, u64 len)
{
    u8 step = len < TN_INSN_MAX ? 0 : brief(bytes, false);

    return step ? step : rarer(bytes, len);
}
