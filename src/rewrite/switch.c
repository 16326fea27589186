/* SPDX-License-Identifier: MIT */
/*
 * Two registers are kept in xmm15 until there is memory: rcx in its lower half, rax in its upper one. The flags are
 * never lost, since places in the middle of functions need them: they are in ax until they are in the head.
 */
#include "rewrite/switch.h"

#define HEAD(reg, field) tn_mem_base(reg, (s32)offsetof(struct tn_switch_head, field))
#define SIZE_SHIFT       14u
#define TRIED            16u /* from this bit of eax on: heads that were not free */

_Static_assert(TN_SWITCH_SIZE == 1u << SIZE_SHIFT, "a stack's offset is masked out of the hash");
_Static_assert(TN_SWITCH_STACKS == TN_SLOT_COUNT + TN_SWITCH_PROBES, "none beyond the last");

#define EMIT(a, ...)                                                                                         \
    do {                                                                                                     \
        const u8 bytes[] = {__VA_ARGS__};                                                                    \
                                                                                                             \
        tn_x86_bytes(a, bytes, sizeof(bytes));                                                               \
    } while (0)

static void keep_rcx(struct tn_asm *a)
{
    EMIT(a, 0x66, 0x4c, 0x0f, 0x6e, 0xf9); /* movq %rcx,%xmm15 */
}

static void give_rcx(struct tn_asm *a)
{
    EMIT(a, 0x66, 0x4c, 0x0f, 0x7e, 0xf9); /* movq %xmm15,%rcx */
}

static void keep_rax(struct tn_asm *a)
{
    EMIT(a, 0x66, 0x4c, 0x0f, 0x3a, 0x22, 0xf8, 1); /* pinsrq $1,%rax,%xmm15 */
}

static void give_rax(struct tn_asm *a)
{
    EMIT(a, 0x66, 0x4c, 0x0f, 0x3a, 0x16, 0xf8, 1); /* pextrq $1,%xmm15,%rax */
}

static void zero_x15(struct tn_asm *a)
{
    EMIT(a, 0x45, 0x0f, 0x57, 0xff); /* xorps %xmm15,%xmm15 */
}

static void load_gate(struct tn_asm *a, const struct tn_switch *s)
{
    s64 d = (s64)(s->gate - s->at);

    if (d > -0x7fff0000ll && d < 0x7fff0000ll) {
        tn_x86_load(a, 1, TN_RCX, tn_mem_pos(d));
    } else {
        tn_x86_mov_ri(a, TN_RCX, s->gate);
        tn_x86_load(a, 1, TN_RCX, tn_mem_base(TN_RCX, 0));
    }
}

static void load_thread(struct tn_asm *a, enum tn_tp_how tp)
{
    if (tp == TN_TP_RDFSBASE)
        EMIT(a, 0xf3, 0x48, 0x0f, 0xae, 0xc1); /* rdfsbase %rcx */
    else if (tp == TN_TP_SELF)
        tn_x86_load(a, 8, TN_RCX, tn_mem_fs(0));
    else
        tn_x86_zero(a, TN_RCX);
}

void tn_switch_to(struct tn_asm *a, struct tn_switch *s)
{
    struct tn_fixup open, take;
    u32 table;
    s64 next;

    keep_rcx(a);
    load_gate(a, s);
    EMIT(a, 0x67, 0xe3, 2); /* jecxz: over the jump, to … */
    open = tn_x86_jmp_fwd(a, 1);
    give_rcx(a);
    zero_x15(a);
    s->closed = tn_x86_jmp_fwd(a, 4);
    next = a->len; /* … this one was not free */
    tn_x86_lea(a, TN_RCX, tn_mem_base(TN_RCX, TN_SWITCH_SIZE));
    tn_x86_alu_ri(a, 4, TN_ADD, TN_RAX, 1 << TRIED);
    tn_x86_test_ri(a, 4, TN_RAX, (s32)(TN_SWITCH_PROBES << TRIED));
    take = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    s->none = tn_x86_jmp_fwd(a, 4);
    table = a->len;
    tn_x86_u64(a, s->stacks + TN_SWITCH_TOP);

    tn_x86_bind(a, open);
    keep_rax(a);
    tn_x86_flags_to_ax(a);
    tn_x86_movzx_rr(a, 2, TN_RAX, TN_RAX);
    load_thread(a, s->tp);
    tn_x86_imul_rri(a, 4, TN_RCX, TN_RCX, (s32)TN_SLOT_HASH_MUL);
    tn_x86_shift_i(a, 4, TN_SHR, TN_RCX, TN_SLOT_HASH_SHIFT - SIZE_SHIFT);
    tn_x86_alu_ri(a, 4, TN_AND, TN_RCX, (TN_SLOT_COUNT - 1) << SIZE_SHIFT);
    tn_x86_alu_rm(a, 8, TN_ADD, TN_RCX, tn_mem_pos(table));
    tn_x86_bind(a, take);
    tn_x86_lock(a);
    tn_x86_bit_mi(a, 4, TN_BTS, HEAD(TN_RCX, busy), 0);
    tn_x86_jcc(a, 0, TN_CC_B, next);
    tn_x86_store(a, 8, HEAD(TN_RCX, sp), TN_RSP);
    tn_x86_store(a, 8, HEAD(TN_RCX, flags), TN_RAX);
    tn_x86_mov_rr(a, 8, TN_RSP, TN_RCX);
    give_rax(a);
    tn_x86_store(a, 8, HEAD(TN_RSP, ax), TN_RAX);
    give_rcx(a);
    zero_x15(a);
}

void tn_switch_undo(struct tn_asm *a)
{
    tn_x86_flags_from_ax(a);
    give_rax(a);
    give_rcx(a);
    zero_x15(a);
}

void tn_switch_back(struct tn_asm *a)
{
    tn_x86_load(a, 8, TN_RAX, HEAD(TN_RSP, flags));
    tn_x86_flags_from_ax(a);
    EMIT(a, 0xf3, 0x44, 0x0f, 0x7e, 0x7c, 0x24,
         offsetof(struct tn_switch_head, ax)); /* movq ax(%rsp),%xmm15 */
    tn_x86_mov_rr(a, 8, TN_RAX, TN_RSP);
    tn_x86_load(a, 8, TN_RSP, HEAD(TN_RSP, sp));
    tn_x86_store_i(a, 4, HEAD(TN_RAX, busy), 0);
    EMIT(a, 0x66, 0x4c, 0x0f, 0x7e, 0xf8); /* movq %xmm15,%rax */
    zero_x15(a);
}

void tn_switch_flags(struct tn_asm *a, s32 head)
{
    struct tn_mem m = tn_mem_base(TN_RSP, head + (s32)offsetof(struct tn_switch_head, flags));

    tn_x86_load(a, 1, TN_RAX, m);
    tn_x86_shift_i(a, 4, TN_SHL, TN_RAX, 11);
    m.disp++;
    tn_x86_alu_rm(a, 1, TN_OR, TN_RAX, m);
    tn_x86_alu_ri(a, 4, TN_OR, TN_RAX, 0x202); /* … and those that are always set */
}
