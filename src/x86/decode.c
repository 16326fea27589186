/* SPDX-License-Identifier: MIT */
/*
 * The disassembler behind decode.h. It is asked for the cheap half of its knowledge (length, mnemonic, raw
 * fields) but where written registers are wanted, and not at all about the usual instructions (common.h).
 */
#include "x86/common.h"

#include <Zydis/Zydis.h>
#include <errno.h>

static enum tn_insn_kind kind_of(const ZydisDecodedInstruction *i)
{
    bool direct = i->raw.imm[0].is_relative;

    switch (i->mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
        return TN_INSN_NOP;
    case ZYDIS_MNEMONIC_ENDBR64:
        return TN_INSN_ENDBR;
    case ZYDIS_MNEMONIC_INT3:
        return TN_INSN_INT3;
    case ZYDIS_MNEMONIC_JMP:
        if (i->opcode == 0xea || (i->opcode == 0xff && i->raw.modrm.reg == 5))
            return TN_INSN_FAR;
        return direct ? TN_INSN_JMP : TN_INSN_JMP_IND;
    case ZYDIS_MNEMONIC_CALL:
        if (i->opcode == 0x9a || (i->opcode == 0xff && i->raw.modrm.reg == 3))
            return TN_INSN_FAR;
        return direct ? TN_INSN_CALL : TN_INSN_CALL_IND;
    case ZYDIS_MNEMONIC_RET:
        return i->opcode == 0xc3 || i->opcode == 0xc2 ? TN_INSN_RET : TN_INSN_FAR;
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
        return TN_INSN_LOOP;
    case ZYDIS_MNEMONIC_XBEGIN:
        return TN_INSN_XBEGIN;
    case ZYDIS_MNEMONIC_SYSCALL:
        return TN_INSN_SYSCALL;
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
        return TN_INSN_STOP;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
        return TN_INSN_FAR;
    default:
        /* Any conditional branch that is not one of the above. */
        return direct ? TN_INSN_JCC : TN_INSN_PLAIN;
    }
}

static bool init(ZydisDecoder *d, bool minimal)
{
    if (ZYAN_FAILED(ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
        return false;
    return !minimal || ZYAN_SUCCESS(ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE));
}

int tn_x86_decode_slow(const u8 *bytes, u64 len, u64 addr, struct tn_insn *ret_insn)
{
    ZydisDecoder decoder;
    ZydisDecoderContext ctx;
    ZydisDecodedInstruction z;
    struct tn_insn r = {0};
    u8 rex = 0;

    if (!init(&decoder, true) ||
        ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, &ctx, bytes, TN_MIN(len, 15u), &z)))
        return -EILSEQ;
    r.len = z.length;
    r.kind = kind_of(&z);
    r.legacy = z.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    r.addr32 = z.address_width == 32;
    r.op = z.opcode;
    r.map = z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? 0 : z.opcode_map == ZYDIS_OPCODE_MAP_0F ? 1 : 2;
    for (u32 i = 0; i < z.raw.prefix_count; i++)
        if ((z.raw.prefixes[i].value & 0xf0) == 0x40 && r.legacy)
            rex = z.raw.prefixes[i].value;
    r.wide = rex & 8;
    r.imm = z.raw.imm[0].value.s;
    r.disp = z.raw.disp.value;
    if (z.raw.modrm.offset) {
        r.has_modrm = true;
        r.modrm_off = z.raw.modrm.offset;
        r.mod = z.raw.modrm.mod;
        r.reg = (u8)(z.raw.modrm.reg | (rex & 4 ? 8 : 0));
        r.rm = (u8)(z.raw.modrm.rm | (rex & 1 ? 8 : 0));
        if (z.raw.sib.offset) {
            r.has_sib = true;
            r.scale = (u8)(1u << (z.raw.sib.scale & 3));
            r.index = (u8)(z.raw.sib.index | (rex & 2 ? 8 : 0));
            r.base = (u8)(z.raw.sib.base | (rex & 1 ? 8 : 0));
        }
        if (r.mod == 0 && z.raw.modrm.rm == 5 && z.raw.disp.size == 32) {
            r.mem_off = z.raw.disp.offset;
            r.target = addr + r.len + (u64)r.disp;
        }
    }
    for (u32 i = 0; i < 2; i++) {
        if (!z.raw.imm[i].is_relative)
            continue;
        r.rel_off = z.raw.imm[i].offset;
        r.rel_size = z.raw.imm[i].size / 8;
        r.target = addr + r.len + (u64)z.raw.imm[i].value.s;
    }
    if (r.kind == TN_INSN_JCC) {
        /* What is no Jcc but branches (none is known) must not be taken for one. */
        if (!r.legacy || !((r.map == 0 && (r.op & 0xf0) == 0x70) || (r.map == 1 && (r.op & 0xf0) == 0x80)))
            return -EILSEQ;
        r.cond = r.op & 15;
    }
    *ret_insn = r;
    return 0;
}

int tn_x86_decode(const u8 *bytes, u64 len, u64 addr, struct tn_insn *ret_insn)
{
    return tn_decode_common(bytes, (u32)TN_MIN(len, 15u), addr, ret_insn)
               ? 0
               : tn_x86_decode_slow(bytes, len, addr, ret_insn);
}

u16 tn_decode_writes(const u8 *bytes, u64 len)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    u16 mask = 0;

    if (!init(&decoder, false) ||
        ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, TN_MIN(len, 15u), &z, ops)))
        return 0xffff;
    for (u32 i = 0; i < z.operand_count; i++) {
        ZydisRegister reg;
        ZyanI8 id;

        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER || !(ops[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
            continue;
        reg = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, ops[i].reg.value);
        if (ZydisRegisterGetClass(reg) != ZYDIS_REGCLASS_GPR64)
            continue;
        id = ZydisRegisterGetId(reg);
        mask |= id >= 0 && id < 16 ? (u16)(1u << id) : 0xffff;
    }
    return mask;
}

static bool is_x15(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op->reg.value) ==
               ZYDIS_REGISTER_ZMM15;
}

bool tn_decode_fills_x15(const u8 *bytes, u64 len)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    bool writes = false, zeroes;

    if (!init(&decoder, false) ||
        ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes, TN_MIN(len, 15u), &z, ops)))
        return true;
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
        return true;
    case ZYDIS_MNEMONIC_XORPS:
    case ZYDIS_MNEMONIC_PXOR:
        zeroes = is_x15(&ops[0]) && is_x15(&ops[1]);
        break;
    default:
        zeroes = false;
    }
    for (u32 i = 0; i < z.operand_count; i++)
        writes |= is_x15(&ops[i]) && ops[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    return writes && !zeroes;
}
