/* SPDX-License-Identifier: MIT */
/*
 * Every instruction leaves through `insn`: one description, one place that lays out
 *
 *     [lock/fs/66] [REX] [0F] opcode [ModRM [SIB] [disp8|disp32]] [imm8|imm16|imm32]
 *
 * Special cases of the format live there and nowhere else: rsp and r12 as a base need a SIB byte, rbp and r13
 * need a displacement, byte operations on spl…dil need an empty REX, and a rip-relative displacement counts
 * from the end of the instruction, immediate included. An instruction is put together in a local buffer and
 * appended whole, so that a full buffer never holds half of one.
 */
#include "x86/encode.h"

#include <errno.h>

enum mem_kind { MEM_BASE, MEM_INDEX, MEM_POS, MEM_FS, MEM_FS_BASE };

/* --------------------------------------------------------------------------------------------- the buffer */

void tn_asm_grow(struct tn_asm *a)
{
    *a = (struct tn_asm){.owned = true};
}

void tn_asm_fixed(struct tn_asm *a, u8 *buf, u32 cap)
{
    *a = (struct tn_asm){.buf = buf, .cap = cap};
}

void tn_asm_clear(struct tn_asm *a)
{
    if (a->owned)
        free(a->buf);
    tn_asm_grow(a);
}

static void fail(struct tn_asm *a, int err)
{
    if (!a->err)
        a->err = err;
}

/* Room for `len` more bytes, or a sticking error. */
static bool reserve(struct tn_asm *a, u32 len)
{
    u8 *buf;
    u32 cap;

    if (a->err)
        return false;
    if (len <= a->cap - a->len)
        return true;
    if (!a->owned) {
        fail(a, -ENOSPC);
        return false;
    }
    if (len > (1u << 30) - a->len) {
        fail(a, -ENOMEM);
        return false;
    }
    cap = TN_MAX(a->cap ? a->cap * 2 : 512, a->len + len);
    buf = realloc(a->buf, cap);
    if (!buf) {
        fail(a, -ENOMEM);
        return false;
    }
    a->buf = buf;
    a->cap = cap;
    return true;
}

void tn_x86_bytes(struct tn_asm *a, const void *bytes, u32 len)
{
    if (!len || !reserve(a, len))
        return;
    memcpy(a->buf + a->len, bytes, len);
    a->len += len;
}

void tn_x86_u8(struct tn_asm *a, u8 byte)
{
    tn_x86_bytes(a, &byte, 1);
}

void tn_x86_u32(struct tn_asm *a, u32 value)
{
    tn_x86_bytes(a, &value, 4);
}

void tn_x86_u64(struct tn_asm *a, u64 value)
{
    tn_x86_bytes(a, &value, 8);
}

void tn_x86_pad_int3(struct tn_asm *a, u32 to)
{
    u32 pad = TN_ROUND_UP(a->len, to) - a->len;

    if (!pad || !reserve(a, pad))
        return;
    memset(a->buf + a->len, 0xcc, pad);
    a->len += pad;
}

void tn_x86_nop(struct tn_asm *a, u32 len)
{
    /* SDM volume 2, NOP: recommended multi-byte sequences. */
    static const u8 nops[9][9] = {
        {0x90},
        {0x66, 0x90},
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
        {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    };

    while (len) {
        u32 n = TN_MIN(len, 9u);

        tn_x86_bytes(a, nops[n - 1], n);
        len -= n;
    }
}

/* ----------------------------------------------------------------------------------------------- operands */

struct tn_mem tn_mem_base(enum tn_x86_reg base, s32 disp)
{
    return (struct tn_mem){.kind = MEM_BASE, .base = base, .index = TN_NOREG, .scale = 1, .disp = disp};
}

struct tn_mem tn_mem_index(enum tn_x86_reg base, enum tn_x86_reg index, u8 scale, s32 disp)
{
    return (struct tn_mem){.kind = MEM_INDEX, .base = base, .index = index, .scale = scale, .disp = disp};
}

struct tn_mem tn_mem_pos(s64 pos)
{
    return (struct tn_mem){.kind = MEM_POS, .base = TN_NOREG, .index = TN_NOREG, .scale = 1, .disp = pos};
}

struct tn_mem tn_mem_fs(s32 disp)
{
    return (struct tn_mem){.kind = MEM_FS, .base = TN_NOREG, .index = TN_NOREG, .scale = 1, .disp = disp};
}

struct tn_mem tn_mem_fs_base(enum tn_x86_reg base, s32 disp)
{
    return (struct tn_mem){.kind = MEM_FS_BASE, .base = base, .index = TN_NOREG, .scale = 1, .disp = disp};
}

static bool fits8(s64 v)
{
    return v == (s8)v;
}

static bool fits32(s64 v)
{
    return v == (s32)v;
}

/* ---------------------------------------------------------------------------------------- one instruction */

struct insn {
    u8 size;       /* 2: operand-size prefix; 8: REX.W; 1, 4, 0: neither */
    bool byte_reg; /* `reg` names a byte register */
    bool byte_rm;  /* so does `rm` */
    u8 escape;     /* 0x0f or 0 */
    u8 opcode;
    u8 reg; /* ModRM.reg: register or /digit */
    u8 rm;  /* register operand, when there is no `mem` */
    const struct tn_mem *mem;
    u8 imm_len;
    s64 imm;
};

/* spl, bpl, sil, dil exist only with a REX prefix: without it the same numbers mean ah … bh. */
static bool needs_empty_rex(bool byte, u8 reg)
{
    return byte && reg >= TN_RSP && reg <= TN_RDI;
}

/* SIB byte for a base (and index); scale is a power of two. */
static u8 sib(u8 base, u8 index, u8 scale)
{
    u8 log = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;

    return (u8)(log << 6 | (index & 7) << 3 | (base & 7));
}

static void emit(struct tn_asm *a, const struct insn *in)
{
    const struct tn_mem *m = in->mem;
    u8 out[24], rex = 0;
    u32 n = 0;

    if (m && (m->kind == MEM_FS || m->kind == MEM_FS_BASE))
        out[n++] = 0x64;
    if (in->size == 2)
        out[n++] = 0x66;

    if (in->size == 8)
        rex |= 0x48;
    if (in->reg & 8)
        rex |= 0x44;
    if (!m && (in->rm & 8))
        rex |= 0x41;
    if (m && m->base != TN_NOREG && (m->base & 8))
        rex |= 0x41;
    if (m && m->index != TN_NOREG && (m->index & 8))
        rex |= 0x42;
    if (needs_empty_rex(in->byte_reg, in->reg) || (!m && needs_empty_rex(in->byte_rm, in->rm)))
        rex |= 0x40;
    if (rex)
        out[n++] = rex;
    if (in->escape)
        out[n++] = in->escape;
    out[n++] = in->opcode;

    if (!m) {
        out[n++] = (u8)(0xc0 | (in->reg & 7) << 3 | (in->rm & 7));
    } else if (m->kind == MEM_POS || m->kind == MEM_FS) {
        s64 disp = m->disp;

        if (m->kind == MEM_POS) {
            out[n++] = (u8)((in->reg & 7) << 3 | 5);
            disp -= (s64)a->len + n + 4 + in->imm_len;
        } else { /* absolute: no base, no index */
            out[n++] = (u8)((in->reg & 7) << 3 | 4);
            out[n++] = 0x25;
        }
        if (!fits32(disp))
            return fail(a, -ERANGE);
        memcpy(out + n, &(s32){(s32)disp}, 4);
        n += 4;
    } else {
        bool index = m->kind == MEM_INDEX;
        u8 mod;

        if (m->base > TN_R15 || (index && (m->index > TN_R15 || m->index == TN_RSP)) ||
            (m->scale != 1 && m->scale != 2 && m->scale != 4 && m->scale != 8))
            return fail(a, -EINVAL);
        if (m->disp == 0 && (m->base & 7) != TN_RBP)
            mod = 0;
        else
            mod = fits8(m->disp) ? 1 : 2;
        if (index || (m->base & 7) == TN_RSP) {
            out[n++] = (u8)(mod << 6 | (in->reg & 7) << 3 | 4);
            out[n++] = index ? sib(m->base, m->index, m->scale) : sib(m->base, TN_RSP, 1);
        } else {
            out[n++] = (u8)(mod << 6 | (in->reg & 7) << 3 | (m->base & 7));
        }
        if (mod == 1) {
            out[n++] = (u8)m->disp;
        } else if (mod == 2) {
            memcpy(out + n, &(s32){(s32)m->disp}, 4);
            n += 4;
        }
    }

    memcpy(out + n, &in->imm, in->imm_len);
    n += in->imm_len;
    tn_x86_bytes(a, out, n);
}

/* Shapes that most instructions share. */
static void rr(struct tn_asm *a, u8 size, u8 escape, u8 opcode, u8 reg, u8 rm)
{
    emit(a, &(struct insn){.size = size, .escape = escape, .opcode = opcode, .reg = reg, .rm = rm});
}

/* `opcode` is the form of 2, 4 and 8 bytes; the byte form is the one before it. */
static void rm_sized(struct tn_asm *a, u8 size, u8 escape, u8 opcode, u8 reg, struct tn_mem mem)
{
    emit(a, &(struct insn){.size = size,
                           .byte_reg = size == 1,
                           .escape = escape,
                           .opcode = size == 1 ? opcode - 1 : opcode,
                           .reg = reg,
                           .mem = &mem});
}

/* The immediate of an operation of `size` bytes, where no sign-extended byte form exists. */
static u8 imm_len(u8 size)
{
    return size == 8 ? 4 : size;
}

/* ------------------------------------------------------------------------------------------------ moves */

void tn_x86_mov_rr(struct tn_asm *a, u8 size, enum tn_x86_reg dst, enum tn_x86_reg src)
{
    rr(a, size, 0, 0x89, src, dst);
}

void tn_x86_mov_ri(struct tn_asm *a, enum tn_x86_reg dst, u64 imm)
{
    u8 rex = (u8)(0x40 | (dst >> 3));

    if (imm <= UINT32_MAX) {
        if (dst & 8)
            tn_x86_u8(a, rex);
        tn_x86_u8(a, (u8)(0xb8 | (dst & 7)));
        tn_x86_u32(a, (u32)imm);
    } else if (fits32((s64)imm)) {
        emit(a, &(struct insn){.size = 8, .opcode = 0xc7, .rm = dst, .imm_len = 4, .imm = (s64)imm});
    } else {
        tn_x86_u8(a, rex | 8);
        tn_x86_u8(a, (u8)(0xb8 | (dst & 7)));
        tn_x86_u64(a, imm);
    }
}

void tn_x86_zero(struct tn_asm *a, enum tn_x86_reg dst)
{
    tn_x86_alu_rr(a, 4, TN_XOR, dst, dst);
}

void tn_x86_load(struct tn_asm *a, u8 size, enum tn_x86_reg dst, struct tn_mem src)
{
    if (size == 1 || size == 2)
        emit(a, &(struct insn){.escape = 0x0f, .opcode = size == 1 ? 0xb6 : 0xb7, .reg = dst, .mem = &src});
    else
        emit(a, &(struct insn){.size = size, .opcode = 0x8b, .reg = dst, .mem = &src});
}

void tn_x86_load_sx(struct tn_asm *a, u8 size, enum tn_x86_reg dst, struct tn_mem src)
{
    if (size == 1 || size == 2)
        emit(a, &(struct insn){
                    .size = 8, .escape = 0x0f, .opcode = size == 1 ? 0xbe : 0xbf, .reg = dst, .mem = &src});
    else
        emit(a, &(struct insn){.size = 8, .opcode = size == 4 ? 0x63 : 0x8b, .reg = dst, .mem = &src});
}

void tn_x86_store(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src)
{
    rm_sized(a, size, 0, 0x89, src, dst);
}

void tn_x86_store_i(struct tn_asm *a, u8 size, struct tn_mem dst, s32 imm)
{
    emit(a, &(struct insn){.size = size,
                           .opcode = size == 1 ? 0xc6 : 0xc7,
                           .mem = &dst,
                           .imm_len = imm_len(size),
                           .imm = imm});
}

void tn_x86_lea(struct tn_asm *a, enum tn_x86_reg dst, struct tn_mem src)
{
    emit(a, &(struct insn){.size = 8, .opcode = 0x8d, .reg = dst, .mem = &src});
}

void tn_x86_movzx_rr(struct tn_asm *a, u8 src_size, enum tn_x86_reg dst, enum tn_x86_reg src)
{
    if (src_size == 4)
        tn_x86_mov_rr(a, 4, dst, src);
    else
        emit(a, &(struct insn){.byte_rm = src_size == 1,
                               .escape = 0x0f,
                               .opcode = src_size == 1 ? 0xb6 : 0xb7,
                               .reg = dst,
                               .rm = src});
}

void tn_x86_movsx_rr(struct tn_asm *a, u8 size, u8 src_size, enum tn_x86_reg dst, enum tn_x86_reg src)
{
    if (src_size == 4)
        rr(a, size, 0, 0x63, dst, src);
    else
        emit(a, &(struct insn){.size = size,
                               .byte_rm = src_size == 1,
                               .escape = 0x0f,
                               .opcode = src_size == 1 ? 0xbe : 0xbf,
                               .reg = dst,
                               .rm = src});
}

void tn_x86_xchg_rr(struct tn_asm *a, u8 size, enum tn_x86_reg x, enum tn_x86_reg y)
{
    rr(a, size, 0, 0x87, y, x);
}

void tn_x86_cmov_rr(struct tn_asm *a, u8 size, enum tn_x86_cc cc, enum tn_x86_reg dst, enum tn_x86_reg src)
{
    rr(a, size, 0x0f, (u8)(0x40 | cc), dst, src);
}

void tn_x86_setcc(struct tn_asm *a, enum tn_x86_cc cc, enum tn_x86_reg dst)
{
    emit(a, &(struct insn){.byte_rm = true, .escape = 0x0f, .opcode = (u8)(0x90 | cc), .rm = dst});
}

/* --------------------------------------------------------------------------------------------- arithmetic */

void tn_x86_alu_rr(struct tn_asm *a, u8 size, enum tn_x86_alu op, enum tn_x86_reg dst, enum tn_x86_reg src)
{
    rr(a, size, 0, (u8)(op << 3 | 1), src, dst);
}

void tn_x86_alu_ri(struct tn_asm *a, u8 size, enum tn_x86_alu op, enum tn_x86_reg dst, s32 imm)
{
    if (!fits8(imm) && dst == TN_RAX) { /* the accumulator has a form without ModRM */
        if (size == 8)
            tn_x86_u8(a, 0x48);
        tn_x86_u8(a, (u8)(op << 3 | 5));
        tn_x86_u32(a, (u32)imm);
        return;
    }
    emit(a, &(struct insn){.size = size,
                           .opcode = fits8(imm) ? 0x83 : 0x81,
                           .reg = op,
                           .rm = dst,
                           .imm_len = fits8(imm) ? 1 : 4,
                           .imm = imm});
}

void tn_x86_alu_rm(struct tn_asm *a, u8 size, enum tn_x86_alu op, enum tn_x86_reg dst, struct tn_mem src)
{
    rm_sized(a, size, 0, (u8)(op << 3 | 3), dst, src);
}

void tn_x86_alu_mr(struct tn_asm *a, u8 size, enum tn_x86_alu op, struct tn_mem dst, enum tn_x86_reg src)
{
    rm_sized(a, size, 0, (u8)(op << 3 | 1), src, dst);
}

void tn_x86_alu_mi(struct tn_asm *a, u8 size, enum tn_x86_alu op, struct tn_mem dst, s32 imm)
{
    bool byte = size == 1 || fits8(imm);

    emit(a, &(struct insn){.size = size,
                           .opcode = size == 1 ? 0x80
                                     : byte    ? 0x83
                                               : 0x81,
                           .reg = op,
                           .mem = &dst,
                           .imm_len = byte ? 1 : imm_len(size),
                           .imm = imm});
}

void tn_x86_inc_m(struct tn_asm *a, u8 size, struct tn_mem dst)
{
    emit(a, &(struct insn){.size = size, .opcode = size == 1 ? 0xfe : 0xff, .reg = 0, .mem = &dst});
}

void tn_x86_dec_m(struct tn_asm *a, u8 size, struct tn_mem dst)
{
    emit(a, &(struct insn){.size = size, .opcode = size == 1 ? 0xfe : 0xff, .reg = 1, .mem = &dst});
}

void tn_x86_test_rr(struct tn_asm *a, u8 size, enum tn_x86_reg x, enum tn_x86_reg y)
{
    rr(a, size, 0, 0x85, y, x);
}

void tn_x86_test_ri(struct tn_asm *a, u8 size, enum tn_x86_reg x, s32 imm)
{
    if (imm > 0 && imm <= 0x7f) { /* the byte form tests the same bits, sign flag included: all above are 0 */
        if (x == TN_RAX) {
            tn_x86_u8(a, 0xa8);
            tn_x86_u8(a, (u8)imm);
            return;
        }
        emit(a, &(struct insn){.byte_rm = true, .opcode = 0xf6, .rm = x, .imm_len = 1, .imm = imm});
        return;
    }
    if (imm >= 0 && size == 8)
        size = 4;
    if (x == TN_RAX) {
        if (size == 8)
            tn_x86_u8(a, 0x48);
        tn_x86_u8(a, 0xa9);
        tn_x86_u32(a, (u32)imm);
        return;
    }
    emit(a, &(struct insn){.size = size, .opcode = 0xf7, .rm = x, .imm_len = 4, .imm = imm});
}

void tn_x86_test_mi(struct tn_asm *a, u8 size, struct tn_mem x, s32 imm)
{
    emit(a, &(struct insn){.size = size,
                           .opcode = size == 1 ? 0xf6 : 0xf7,
                           .mem = &x,
                           .imm_len = imm_len(size),
                           .imm = imm});
}

void tn_x86_unary(struct tn_asm *a, u8 size, enum tn_x86_unary op, enum tn_x86_reg reg)
{
    rr(a, size, 0, 0xf7, op, reg);
}

void tn_x86_imul_rr(struct tn_asm *a, u8 size, enum tn_x86_reg dst, enum tn_x86_reg src)
{
    rr(a, size, 0x0f, 0xaf, dst, src);
}

void tn_x86_imul_rri(struct tn_asm *a, u8 size, enum tn_x86_reg dst, enum tn_x86_reg src, s32 imm)
{
    emit(a, &(struct insn){.size = size,
                           .opcode = fits8(imm) ? 0x6b : 0x69,
                           .reg = dst,
                           .rm = src,
                           .imm_len = fits8(imm) ? 1 : 4,
                           .imm = imm});
}

void tn_x86_sign_rdx(struct tn_asm *a, u8 size)
{
    if (size == 8)
        tn_x86_u8(a, 0x48);
    tn_x86_u8(a, 0x99);
}

void tn_x86_shift_i(struct tn_asm *a, u8 size, enum tn_x86_shift op, enum tn_x86_reg dst, u8 count)
{
    if (count == 1)
        rr(a, size, 0, 0xd1, op, dst);
    else
        emit(a,
             &(struct insn){.size = size, .opcode = 0xc1, .reg = op, .rm = dst, .imm_len = 1, .imm = count});
}

void tn_x86_shift_cl(struct tn_asm *a, u8 size, enum tn_x86_shift op, enum tn_x86_reg dst)
{
    rr(a, size, 0, 0xd3, op, dst);
}

void tn_x86_bswap(struct tn_asm *a, u8 size, enum tn_x86_reg dst)
{
    u8 rex = (u8)((size == 8 ? 0x48 : 0) | (dst & 8 ? 0x41 : 0));

    if (rex)
        tn_x86_u8(a, rex);
    tn_x86_u8(a, 0x0f);
    tn_x86_u8(a, (u8)(0xc8 | (dst & 7)));
}

void tn_x86_bit_ri(struct tn_asm *a, u8 size, enum tn_x86_bit op, enum tn_x86_reg dst, u8 bit)
{
    emit(a,
         &(struct insn){
             .size = size, .escape = 0x0f, .opcode = 0xba, .reg = op, .rm = dst, .imm_len = 1, .imm = bit});
}

void tn_x86_bit_mi(struct tn_asm *a, u8 size, enum tn_x86_bit op, struct tn_mem dst, u8 bit)
{
    emit(a,
         &(struct insn){
             .size = size, .escape = 0x0f, .opcode = 0xba, .reg = op, .mem = &dst, .imm_len = 1, .imm = bit});
}

/* ------------------------------------------------------------------------------------------------ atomics */

void tn_x86_lock(struct tn_asm *a)
{
    tn_x86_u8(a, 0xf0);
}

void tn_x86_xchg_mr(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src)
{
    rm_sized(a, size, 0, 0x87, src, dst);
}

void tn_x86_xadd_mr(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src)
{
    rm_sized(a, size, 0x0f, 0xc1, src, dst);
}

void tn_x86_cmpxchg_mr(struct tn_asm *a, u8 size, struct tn_mem dst, enum tn_x86_reg src)
{
    rm_sized(a, size, 0x0f, 0xb1, src, dst);
}

void tn_x86_mfence(struct tn_asm *a)
{
    tn_x86_bytes(a, "\x0f\xae\xf0", 3);
}

/* ------------------------------------------------------------------------------------------------ stack */

void tn_x86_push(struct tn_asm *a, enum tn_x86_reg reg)
{
    if (reg & 8)
        tn_x86_u8(a, 0x41);
    tn_x86_u8(a, (u8)(0x50 | (reg & 7)));
}

void tn_x86_pop(struct tn_asm *a, enum tn_x86_reg reg)
{
    if (reg & 8)
        tn_x86_u8(a, 0x41);
    tn_x86_u8(a, (u8)(0x58 | (reg & 7)));
}

void tn_x86_push_i(struct tn_asm *a, s32 imm)
{
    if (fits8(imm)) {
        tn_x86_u8(a, 0x6a);
        tn_x86_u8(a, (u8)imm);
    } else {
        tn_x86_u8(a, 0x68);
        tn_x86_u32(a, (u32)imm);
    }
}

void tn_x86_push_m(struct tn_asm *a, struct tn_mem src)
{
    emit(a, &(struct insn){.opcode = 0xff, .reg = 6, .mem = &src});
}

void tn_x86_pop_m(struct tn_asm *a, struct tn_mem dst)
{
    emit(a, &(struct insn){.opcode = 0x8f, .reg = 0, .mem = &dst});
}

void tn_x86_flags_to_ax(struct tn_asm *a)
{
    static const u8 lahf_seto[] = {0x9f, 0x0f, 0x90, 0xc0};

    tn_x86_bytes(a, lahf_seto, sizeof(lahf_seto));
}

void tn_x86_flags_from_ax(struct tn_asm *a)
{
    static const u8 sahf[] = {0x04, 0x7f, 0x9e}; /* add $0x7f,%al sets the overflow flag again; sahf */

    tn_x86_bytes(a, sahf, sizeof(sahf));
}

void tn_x86_pushf(struct tn_asm *a)
{
    tn_x86_u8(a, 0x9c);
}

void tn_x86_popf(struct tn_asm *a)
{
    tn_x86_u8(a, 0x9d);
}

void tn_x86_leave(struct tn_asm *a)
{
    tn_x86_u8(a, 0xc9);
}

/* ------------------------------------------------------------------------------------------------ flow */

void tn_x86_ret(struct tn_asm *a)
{
    tn_x86_u8(a, 0xc3);
}

void tn_x86_int3(struct tn_asm *a)
{
    tn_x86_u8(a, 0xcc);
}

void tn_x86_ud2(struct tn_asm *a)
{
    tn_x86_bytes(a, "\x0f\x0b", 2);
}

void tn_x86_syscall(struct tn_asm *a)
{
    tn_x86_bytes(a, "\x0f\x05", 2);
}

void tn_x86_endbr64(struct tn_asm *a)
{
    tn_x86_bytes(a, "\xf3\x0f\x1e\xfa", 4);
}

/* One relative branch: `shorter` is the opcode of its byte form; the long one may be escaped. */
static void branch(struct tn_asm *a, u8 size, u8 shorter, u8 escape, u8 longer, s64 pos)
{
    u8 out[6], n = 0;
    s64 rel = pos - ((s64)a->len + 2);

    if (size == 0)
        size = shorter && fits8(rel) ? 1 : 4;
    if (size == 1) {
        if (!fits8(rel))
            return fail(a, -ERANGE);
        out[n++] = shorter;
        out[n++] = (u8)rel;
    } else {
        if (escape)
            out[n++] = escape;
        out[n++] = longer;
        rel = pos - ((s64)a->len + n + 4);
        if (!fits32(rel))
            return fail(a, -ERANGE);
        memcpy(out + n, &(s32){(s32)rel}, 4);
        n += 4;
    }
    tn_x86_bytes(a, out, n);
}

void tn_x86_jmp(struct tn_asm *a, u8 size, s64 pos)
{
    branch(a, size, 0xeb, 0, 0xe9, pos);
}

void tn_x86_jcc(struct tn_asm *a, u8 size, enum tn_x86_cc cc, s64 pos)
{
    branch(a, size, (u8)(0x70 | cc), 0x0f, (u8)(0x80 | cc), pos);
}

void tn_x86_call(struct tn_asm *a, s64 pos)
{
    branch(a, 4, 0, 0, 0xe8, pos);
}

void tn_x86_jmp_m(struct tn_asm *a, struct tn_mem target)
{
    emit(a, &(struct insn){.opcode = 0xff, .reg = 4, .mem = &target});
}

void tn_x86_jmp_r(struct tn_asm *a, enum tn_x86_reg target)
{
    rr(a, 0, 0, 0xff, 4, target);
}

void tn_x86_call_m(struct tn_asm *a, struct tn_mem target)
{
    emit(a, &(struct insn){.opcode = 0xff, .reg = 2, .mem = &target});
}

void tn_x86_call_r(struct tn_asm *a, enum tn_x86_reg target)
{
    rr(a, 0, 0, 0xff, 2, target);
}

/* A branch to itself for now; the displacement is its last bytes. */
static struct tn_fixup fixup(struct tn_asm *a, u8 size)
{
    return (struct tn_fixup){.at = a->len - size, .size = size};
}

struct tn_fixup tn_x86_jmp_fwd(struct tn_asm *a, u8 size)
{
    tn_x86_jmp(a, size, a->len);
    return fixup(a, size);
}

struct tn_fixup tn_x86_jcc_fwd(struct tn_asm *a, u8 size, enum tn_x86_cc cc)
{
    tn_x86_jcc(a, size, cc, a->len);
    return fixup(a, size);
}

struct tn_fixup tn_x86_call_fwd(struct tn_asm *a)
{
    tn_x86_call(a, a->len);
    return fixup(a, 4);
}

struct tn_fixup tn_x86_lea_fwd(struct tn_asm *a, enum tn_x86_reg dst)
{
    tn_x86_lea(a, dst, tn_mem_pos(a->len));
    return fixup(a, 4);
}

void tn_x86_bind_to(struct tn_asm *a, struct tn_fixup f, s64 pos)
{
    s64 rel = pos - ((s64)f.at + f.size);

    if (a->err)
        return;
    if ((f.size != 1 && f.size != 4) || f.at > a->len || a->len - f.at < f.size)
        return fail(a, -EINVAL);
    if (f.size == 1 ? !fits8(rel) : !fits32(rel))
        return fail(a, -ERANGE);
    memcpy(a->buf + f.at, &rel, f.size); /* little-endian: the low bytes come first */
}

void tn_x86_bind(struct tn_asm *a, struct tn_fixup f)
{
    tn_x86_bind_to(a, f, a->len);
}
