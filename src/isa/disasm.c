/* SPDX-License-Identifier: MIT */
/*
 * Instructions as the kernel's log writes them, which is also how llvm-objdump does but for jumps ("pc+3").
 * 64-bit registers are r0 … r10, their lower halves w0 … w10. Whatever is not an instruction is shown as its
 * raw fields.
 */
#include "isa/ops.h"

/* Names of helpers are those of the interface, whether or not we have them. */
static const char *helper_name(s32 id)
{
    static const char *const names[] = {
#define FN(name) "bpf_" #name
        __BPF_FUNC_MAPPER(FN)
#undef FN
    };

    return id > 0 && (u32)id < TN_ARRAY_SIZE(names) ? names[id] : "unknown";
}

static const char *atomic_name(s32 imm)
{
    switch (imm) {
#define T(name, value, text, ...)                                                                            \
    case (value):                                                                                            \
        return text;
        TN_ATOMICS(T)
#undef T
    default:
        return NULL;
    }
}

static const char *plain_atomic_sign(s32 imm)
{
    switch (imm) {
    case BPF_ADD:
        return "+=";
    case BPF_OR:
        return "|=";
    case BPF_AND:
        return "&=";
    case BPF_XOR:
        return "^=";
    default:
        return NULL;
    }
}

static void atomic(const struct bpf_insn *in, const struct tn_op_row *row, char *buf, size_t size)
{
    const char *name = atomic_name(in->imm), *sign = plain_atomic_sign(in->imm);
    const char *bits = row->bytes == 8 ? "64" : "";
    u32 width = row->bytes * 8;

    if (sign)
        snprintf(buf, size, "lock *(u%u *)(r%u %+d) %s r%u", width, in->dst_reg, in->off, sign, in->src_reg);
    else if (in->imm == BPF_CMPXCHG)
        snprintf(buf, size, "r0 = atomic%s_cmpxchg((u%u *)(r%u %+d), r0, r%u)", bits, width, in->dst_reg,
                 in->off, in->src_reg);
    else if (in->imm == BPF_XCHG)
        snprintf(buf, size, "r%u = atomic%s_xchg((u%u *)(r%u %+d), r%u)", in->src_reg, bits, width,
                 in->dst_reg, in->off, in->src_reg);
    else if (in->imm == BPF_LOAD_ACQ)
        snprintf(buf, size, "r%u = load_acquire((u%u *)(r%u %+d))", in->dst_reg, width, in->src_reg, in->off);
    else if (in->imm == BPF_STORE_REL)
        snprintf(buf, size, "store_release((u%u *)(r%u %+d), r%u)", width, in->dst_reg, in->off, in->src_reg);
    else if (name)
        snprintf(buf, size, "r%u = atomic%s_fetch_%s((u%u *)(r%u %+d), r%u)", in->src_reg, bits, name, width,
                 in->dst_reg, in->off, in->src_reg);
    else
        snprintf(buf, size, "BUG_%02x atomic 0x%x", in->code, (u32)in->imm);
}

static void ld_imm64(const struct bpf_insn *in, char *buf, size_t size)
{
    u64 imm = (u32)in[0].imm | (u64)(u32)in[1].imm << 32;

    switch (in->src_reg) {
    case 0:
        snprintf(buf, size, "r%u = 0x%llx", in->dst_reg, (unsigned long long)imm);
        break;
    case BPF_PSEUDO_MAP_FD:
    case BPF_PSEUDO_MAP_IDX:
        snprintf(buf, size, "r%u = map[%d]", in->dst_reg, in[0].imm);
        break;
    case BPF_PSEUDO_MAP_VALUE:
    case BPF_PSEUDO_MAP_IDX_VALUE:
        snprintf(buf, size, "r%u = map[%d][0]+%u", in->dst_reg, in[0].imm, (u32)in[1].imm);
        break;
    case BPF_PSEUDO_FUNC:
        snprintf(buf, size, "r%u = subprog[%+d]", in->dst_reg, in[0].imm);
        break;
    case BPF_PSEUDO_BTF_ID:
        snprintf(buf, size, "r%u = btf_id[%d]", in->dst_reg, in[0].imm);
        break;
    default:
        snprintf(buf, size, "r%u = pseudo%u[0x%llx]", in->dst_reg, in->src_reg, (unsigned long long)imm);
    }
}

static void call(const struct bpf_insn *in, char *buf, size_t size)
{
    if (in->src_reg == BPF_PSEUDO_CALL)
        snprintf(buf, size, "call pc%+d", in->imm);
    else if (in->src_reg == BPF_PSEUDO_KFUNC_CALL)
        snprintf(buf, size, "call kernel-function#%d", in->imm);
    else
        snprintf(buf, size, "call %s#%d", helper_name(in->imm), in->imm);
}

void tn_disasm(const struct bpf_insn *in, char *buf, size_t size)
{
    const struct tn_op_row *row = &tn_op_rows[tn_op_of(in)];
    char reg = row->bytes == 8 ? 'r' : 'w';
    bool x = BPF_SRC(in->code) == BPF_X;

    if (in->code == (BPF_JMP | BPF_CALL)) {
        call(in, buf, size);
        return;
    }
    switch ((enum tn_kind)row->kind) {
    case TN_KIND_ALU:
        if (x)
            snprintf(buf, size, "%c%u %s %c%u", reg, in->dst_reg, row->sign, reg, in->src_reg);
        else
            snprintf(buf, size, "%c%u %s %d", reg, in->dst_reg, row->sign, in->imm);
        break;
    case TN_KIND_MOVSX:
        snprintf(buf, size, "%c%u = (s%d)%c%u", reg, in->dst_reg, in->off, reg, in->src_reg);
        break;
    case TN_KIND_NEG:
        snprintf(buf, size, "%c%u = -%c%u", reg, in->dst_reg, reg, in->dst_reg);
        break;
    case TN_KIND_END:
        snprintf(buf, size, "r%u = %s%d r%u", in->dst_reg, row->sign, in->imm, in->dst_reg);
        break;
    case TN_KIND_JMP:
        if (x)
            snprintf(buf, size, "if %c%u %s %c%u goto pc%+d", reg, in->dst_reg, row->sign, reg, in->src_reg,
                     in->off);
        else
            snprintf(buf, size, "if %c%u %s 0x%x goto pc%+d", reg, in->dst_reg, row->sign, (u32)in->imm,
                     in->off);
        break;
    case TN_KIND_JA:
        snprintf(buf, size, "%s pc%+d", row->sign, in->code == (BPF_JMP | BPF_JA) ? in->off : in->imm);
        break;
    case TN_KIND_MAY_GOTO:
        snprintf(buf, size, "may_goto pc%+d", in->off);
        break;
    case TN_KIND_EXIT:
        snprintf(buf, size, "exit");
        break;
    case TN_KIND_LD_IMM64:
        ld_imm64(in, buf, size);
        break;
    case TN_KIND_LDX:
    case TN_KIND_LDSX:
        snprintf(buf, size, "r%u = *(%c%u *)(r%u %+d)", in->dst_reg, row->kind == TN_KIND_LDX ? 'u' : 's',
                 row->bytes * 8u, in->src_reg, in->off);
        break;
    case TN_KIND_STX:
        snprintf(buf, size, "*(u%u *)(r%u %+d) = r%u", row->bytes * 8u, in->dst_reg, in->off, in->src_reg);
        break;
    case TN_KIND_ST:
        snprintf(buf, size, "*(u%u *)(r%u %+d) = %d", row->bytes * 8u, in->dst_reg, in->off, in->imm);
        break;
    case TN_KIND_ATOMIC:
        atomic(in, row, buf, size);
        break;
    case TN_KIND_PACKET:
        if (BPF_MODE(in->code) == BPF_IND)
            snprintf(buf, size, "r0 = *(u%u *)skb[r%u %+d]", row->bytes * 8u, in->src_reg, in->imm);
        else
            snprintf(buf, size, "r0 = *(u%u *)skb[%d]", row->bytes * 8u, in->imm);
        break;
    case TN_KIND_CALL:
    case TN_KIND_INVALID:
        snprintf(buf, size, "BUG_%02x dst %u src %u off %d imm %d", in->code, in->dst_reg, in->src_reg,
                 in->off, in->imm);
    }
}
