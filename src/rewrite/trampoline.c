/* SPDX-License-Identifier: MIT */
/*
 * One link's trampoline. The frame, from the lowered stack pointer up:
 *
 *     0    struct tn_pt_regs     the program's context, and where the host's registers are kept
 *     168  struct tn_run
 *     240  flags                 offsets only
 *     248  host's stack          (after the red zone, at offsets)
 *
 * 248 is 8 modulo 16: with the return address on top, an ABI entry's frame ends up aligned.
 *
 * The fast way needs no locked instruction and no call but the program's: armed is exactly 1 (this process,
 * no vfork in flight), the thread's own slot is where its hash says, and no run is under way on the thread
 * (slot.sp is 0). Everything else is the agent's business.
 *
 * A closed gate costs a compare and two jumps at entries and exits. At offsets, where flags are live, and
 * where the gate is out of reach, the frame comes first.
 */
#include "rewrite/trampoline.h"

#include <errno.h>

#include "agent/agent.h"
#include "rewrite/refusals.h"
#include "x86/encode.h"

#define RUN_OFF  ((s32)sizeof(struct tn_pt_regs))
#define FL_OFF   (RUN_OFF + (s32)sizeof(struct tn_run))
#define FRAME    (FL_OFF + 8)
#define RED_ZONE 128

_Static_assert(sizeof(struct tn_run) % 8 == 0 && FRAME % 16 == 8, "the frame keeps an ABI stack aligned");
_Static_assert(offsetof(struct tn_run, nrings) == offsetof(struct tn_run, cpu) + 4, "stored as one word");
_Static_assert(sizeof(struct tn_slot) == 1 << 6, "the slot's index is shifted into an offset");

#define REG(field)  tn_mem_base(TN_RSP, (s32)offsetof(struct tn_pt_regs, field))
#define RUN(field)  tn_mem_base(TN_RSP, RUN_OFF + (s32)offsetof(struct tn_run, field))
#define HOOK(field) tn_mem_pos((s64)(in->hook + offsetof(struct tn_hook, field) - in->at))

/* What every host may have live and programs may clobber. rax is saved first and restored last. */
struct saved {
    u8 reg;
    u16 off;
};
static const struct saved caller_saved[] = {
    {TN_R11, offsetof(struct tn_pt_regs, r11)}, {TN_R10, offsetof(struct tn_pt_regs, r10)},
    {TN_R9, offsetof(struct tn_pt_regs, r9)},   {TN_R8, offsetof(struct tn_pt_regs, r8)},
    {TN_RCX, offsetof(struct tn_pt_regs, cx)},  {TN_RDX, offsetof(struct tn_pt_regs, dx)},
    {TN_RSI, offsetof(struct tn_pt_regs, si)},  {TN_RDI, offsetof(struct tn_pt_regs, di)},
};
static const struct saved callee_saved[] = {
    {TN_RBX, offsetof(struct tn_pt_regs, bx)},  {TN_RBP, offsetof(struct tn_pt_regs, bp)},
    {TN_R12, offsetof(struct tn_pt_regs, r12)}, {TN_R13, offsetof(struct tn_pt_regs, r13)},
    {TN_R14, offsetof(struct tn_pt_regs, r14)}, {TN_R15, offsetof(struct tn_pt_regs, r15)},
};

static bool near(const struct tn_tramp_in *in, u64 target, u64 size)
{
    s64 d = (s64)(target - in->at);

    return d > -0x7fff0000ll && d + (s64)size < 0x7fff0000ll;
}

static bool reads(const struct tn_tramp_in *in, u32 off)
{
    return in->facts->ctx_escapes || (in->facts->ctx_read[0] >> (off / 8) & 1);
}

static void call(struct tn_asm *a, const struct tn_tramp_in *in, u64 target)
{
    if (near(in, target, 0)) {
        tn_x86_call(a, (s64)(target - in->at));
    } else {
        tn_x86_mov_ri(a, TN_RAX, target);
        tn_x86_call_r(a, TN_RAX);
    }
}

static void restore_flags(struct tn_asm *a)
{
    static const u8 sahf[] = {0x04, 0x7f, 0x9e}; /* add $0x7f,%al sets the overflow flag again; sahf */

    tn_x86_load(a, 8, TN_RAX, tn_mem_base(TN_RSP, FL_OFF));
    tn_x86_bytes(a, sahf, sizeof(sahf));
}

/* The parts of the context that nobody needs saved, where the program reads them. rax is free. */
static void fill_context(struct tn_asm *a, const struct tn_tramp_in *in, s32 frame)
{
    for (u32 i = 0; i < TN_ARRAY_SIZE(callee_saved); i++)
        if (reads(in, callee_saved[i].off))
            tn_x86_store(a, 8, tn_mem_base(TN_RSP, callee_saved[i].off), callee_saved[i].reg);
    if (reads(in, offsetof(struct tn_pt_regs, ip))) {
        tn_x86_load(a, 8, TN_RAX, in->place == TN_PLACE_EXIT ? tn_mem_base(TN_RSP, frame) : HOOK(func_ip));
        tn_x86_store(a, 8, REG(ip), TN_RAX);
    }
    if (reads(in, offsetof(struct tn_pt_regs, sp))) {
        tn_x86_lea(a, TN_RAX, tn_mem_base(TN_RSP, frame + (in->place == TN_PLACE_EXIT ? 8 : 0)));
        tn_x86_store(a, 8, REG(sp), TN_RAX);
    }
    /* Linux's selectors of 64-bit user code and data. */
    if (reads(in, offsetof(struct tn_pt_regs, cs)))
        tn_x86_store_i(a, 8, REG(cs), 0x33);
    if (reads(in, offsetof(struct tn_pt_regs, ss)))
        tn_x86_store_i(a, 8, REG(ss), 0x2b);
    if (reads(in, offsetof(struct tn_pt_regs, orig_ax)))
        tn_x86_store_i(a, 8, REG(orig_ax), -1);
}

static void call_program(struct tn_asm *a, const struct tn_tramp_in *in)
{
    tn_x86_mov_rr(a, 8, TN_RDI, TN_RSP);
    tn_x86_lea(a, TN_RSI, tn_mem_base(TN_RSP, RUN_OFF));
    tn_x86_call_m(a, HOOK(prog));
}

/* The inlined way in and out. Returns the jumps that leave it for the slow way. */
static u32 fast_way(struct tn_asm *a, const struct tn_tramp_in *in, struct tn_fixup slow[4])
{
    static const u8 rdfsbase_rax[] = {0xf3, 0x48, 0x0f, 0xae, 0xc0};
    bool reach = near(in, in->priv, sizeof(struct tn_private));
    u32 slots = offsetof(struct tn_private, slot);
    s32 sp = (s32)offsetof(struct tn_slot, sp);
    s32 bit = (s32)offsetof(struct tn_slot, running) + (s32)(in->prog_bit / 8);
    u8 mask = (u8)(1u << in->prog_bit % 8);
    u32 n = 0;

    if (reach) {
        tn_x86_alu_mi(a, 8, TN_CMP, tn_mem_pos((s64)(in->priv - in->at)), TN_ARMED);
    } else {
        tn_x86_mov_ri(a, TN_RDX, in->priv);
        tn_x86_alu_mi(a, 8, TN_CMP, tn_mem_base(TN_RDX, 0), TN_ARMED);
    }
    slow[n++] = tn_x86_jcc_fwd(a, 4, TN_CC_NE);
    if (in->tp == TN_TP_RDFSBASE)
        tn_x86_bytes(a, rdfsbase_rax, sizeof(rdfsbase_rax));
    else
        tn_x86_load(a, 8, TN_RAX, tn_mem_fs(0));
    tn_x86_mov_ri(a, TN_RCX, TN_SLOT_HASH_MUL);
    tn_x86_imul_rr(a, 8, TN_RCX, TN_RAX);
    tn_x86_shift_i(a, 8, TN_SHR, TN_RCX, 64 - 10);
    tn_x86_shift_i(a, 4, TN_SHL, TN_RCX, 6);
    if (reach)
        tn_x86_lea(a, TN_RDX, tn_mem_pos((s64)(in->priv + slots - in->at)));
    else
        tn_x86_alu_ri(a, 8, TN_ADD, TN_RDX, (s32)slots);
    tn_x86_alu_rr(a, 8, TN_ADD, TN_RDX, TN_RCX);
    tn_x86_alu_mr(a, 8, TN_CMP, tn_mem_base(TN_RDX, (s32)offsetof(struct tn_slot, owner)), TN_RAX);
    slow[n++] = tn_x86_jcc_fwd(a, 4, TN_CC_NE);
    /*
     * No run under way: whatever bits are set belong to nobody, so that the byte is stored, not changed. A
     * chain of changes of one byte would make each call wait for the one before, which costs more than all
     * the rest.
     */
    tn_x86_alu_mi(a, 8, TN_CMP, tn_mem_base(TN_RDX, sp), 0);
    slow[n++] = tn_x86_jcc_fwd(a, 4, TN_CC_NE);
    tn_x86_lea(a, TN_RSI, tn_mem_base(TN_RSP, RUN_OFF));
    tn_x86_store(a, 8, tn_mem_base(TN_RDX, sp), TN_RSI);
    tn_x86_store_i(a, 1, tn_mem_base(TN_RDX, bit), (s8)mask);
    tn_x86_store(a, 8, RUN(slot), TN_RDX);
    tn_x86_mov_rr(a, 8, TN_RDI, TN_RSP);
    tn_x86_call_m(a, HOOK(prog));
    tn_x86_load(a, 8, TN_RDX, RUN(slot));
    tn_x86_store_i(a, 1, tn_mem_base(TN_RDX, bit), 0);
    tn_x86_store_i(a, 8, tn_mem_base(TN_RDX, sp), 0);
    return n;
}

static void slow_way(struct tn_asm *a, const struct tn_tramp_in *in, s64 restore)
{
    u32 flags = TN_ENTER_SP | (in->follow ? TN_ENTER_FOLLOW : 0) | (in->facts->percpu ? TN_ENTER_PERCPU : 0);

    tn_x86_lea(a, TN_RDI, tn_mem_base(TN_RSP, RUN_OFF));
    tn_x86_mov_ri(a, TN_RSI, flags);
    call(a, in, in->enter);
    tn_x86_test_rr(a, 4, TN_RAX, TN_RAX);
    tn_x86_jcc(a, 0, TN_CC_E, restore);
    call_program(a, in);
    tn_x86_lea(a, TN_RDI, tn_mem_base(TN_RSP, RUN_OFF));
    call(a, in, in->leave);
    tn_x86_jmp(a, 0, restore);
}

int tn_trampoline(const struct tn_tramp_in *in, u8 *ret_bytes, u32 cap, struct tn_error *err)
{
    bool offset = in->place == TN_PLACE_OFFSET;
    bool wants_flags = reads(in, offsetof(struct tn_pt_regs, flags));
    bool early = offset || wants_flags || !near(in, in->gate, 1);
    bool inlined = !in->facts->percpu && in->tp != TN_TP_ARCH_PRCTL;
    s32 frame = FRAME + (offset ? RED_ZONE : 0);
    struct tn_fixup closed, to_slow[4];
    struct tn_asm a;
    s64 out, restore;
    u32 nslow = 0;

    if (!near(in, in->hook, sizeof(struct tn_hook)))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, in->hook, "hook record");
    if (in->facts->ctx_written[0])
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_CTX_WRITTEN, in->at, NULL);
    if (in->prog_bit >= TN_SLOT_BITS || in->place == TN_PLACE_SYSCALL)
        return -EINVAL;
    tn_asm_fixed(&a, ret_bytes, cap);

    if (early) {
        tn_x86_lea(&a, TN_RSP, tn_mem_base(TN_RSP, -frame));
        if (wants_flags) {
            /* A pop to rsp-based memory takes the address after the increment. */
            tn_x86_pushf(&a);
            tn_x86_pop_m(&a, REG(flags));
        }
        tn_x86_store(&a, 8, REG(ax), TN_RAX);
        if (offset) {
            static const u8 lahf_seto[] = {0x9f, 0x0f, 0x90, 0xc0};

            tn_x86_bytes(&a, lahf_seto, sizeof(lahf_seto));
            tn_x86_store(&a, 8, tn_mem_base(TN_RSP, FL_OFF), TN_RAX);
        }
        if (near(in, in->gate, 1)) {
            tn_x86_alu_mi(&a, 1, TN_CMP, tn_mem_pos((s64)(in->gate - in->at)), 0);
        } else {
            tn_x86_mov_ri(&a, TN_RAX, in->gate);
            tn_x86_alu_mi(&a, 1, TN_CMP, tn_mem_base(TN_RAX, 0), 0);
        }
        closed = tn_x86_jcc_fwd(&a, 4, TN_CC_E);
    } else {
        tn_x86_alu_mi(&a, 1, TN_CMP, tn_mem_pos((s64)(in->gate - in->at)), 0);
        closed = tn_x86_jcc_fwd(&a, 4, TN_CC_E);
        tn_x86_lea(&a, TN_RSP, tn_mem_base(TN_RSP, -frame));
        tn_x86_store(&a, 8, REG(ax), TN_RAX);
    }
    for (u32 i = 0; i < TN_ARRAY_SIZE(caller_saved); i++)
        tn_x86_store(&a, 8, tn_mem_base(TN_RSP, caller_saved[i].off), caller_saved[i].reg);
    fill_context(&a, in, frame);
    tn_x86_lea(&a, TN_RAX, HOOK(prog));
    tn_x86_store(&a, 8, RUN(hook), TN_RAX);
    tn_x86_load(&a, 8, TN_RAX, HOOK(proc));
    tn_x86_store(&a, 8, RUN(proc), TN_RAX);
    tn_x86_store(&a, 8, RUN(ctx), TN_RSP);
    tn_x86_mov_ri(&a, TN_RAX, 0xffffffffu); /* cpu −1, nrings 0 */
    tn_x86_store(&a, 8, RUN(cpu), TN_RAX);

    if (inlined)
        nslow = fast_way(&a, in, to_slow);
    else
        to_slow[nslow++] = tn_x86_jmp_fwd(&a, 4);
    restore = a.len;
    for (u32 i = 0; i < TN_ARRAY_SIZE(caller_saved); i++)
        tn_x86_load(&a, 8, caller_saved[i].reg, tn_mem_base(TN_RSP, caller_saved[i].off));
    if (early)
        tn_x86_bind(&a, closed);
    if (offset)
        restore_flags(&a);
    tn_x86_load(&a, 8, TN_RAX, REG(ax));
    tn_x86_lea(&a, TN_RSP, tn_mem_base(TN_RSP, frame));
    out = a.len;
    tn_x86_jmp_m(&a, HOOK(next));
    if (!early)
        tn_x86_bind_to(&a, closed, out);
    for (u32 i = 0; i < nslow; i++)
        tn_x86_bind(&a, to_slow[i]);
    slow_way(&a, in, restore);

    if (a.err)
        return tn_fail(err, a.err, a.err == -ENOSPC ? "no_space" : tn_refusal_name(TN_REFUSE_OUT_OF_REACH),
                       "trampoline at 0x%llx does not fit its %u bytes or cannot reach its data",
                       (unsigned long long)in->at, cap);
    return (int)a.len;
}
