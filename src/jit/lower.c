/* SPDX-License-Identifier: MIT */
/*
 * One instruction to machine code. R0 … R5 are where the System V convention has its result and arguments
 * (but R5 in r8, R4 in rcx: they are moved nowhere for a call), so a helper is called with what is already in
 * place plus the run in r9.
 *
 *     R0 rax   R1 rdi   R2 rsi   R3 rdx   R4 rcx   R5 r8     lost by calls
 *     R6 rbx   R7 r13   R8 r14   R9 r15                      saved by the function that uses them
 *     R10 rbp  run r12   scratch r10, r11
 *
 *     frame:   return address │ rbp │ ← rbp   stack of the program │ rounds │ saved registers │ ← rsp
 *
 * A function that calls nothing and needs at most 128 bytes keeps its stack in the red zone below rsp, so
 * nothing here may push in the middle of a function.
 *
 * Arithmetic is lower_alu.c; calls that are compiled otherwise than as a call are lower_call.c.
 */
#include "jit/lower.h"

#include <errno.h>
#include <linux/filter.h>

#include "rt/rounds.h"

const u8 jit_reg[11] = {TN_RAX, TN_RDI, TN_RSI, TN_RDX, TN_RCX, TN_R8,
                        TN_RBX, TN_R13, TN_R14, TN_R15, TN_RBP};

/* ------------------------------------------------------------------------------------------------ memory */

/* The plain forms are one locked instruction. Fetching ones that x86 lacks are a loop of compare-and-swap,
   which needs rax; its value, and a base or source that lives there, step aside into r10. */
static void lower_fetch_loop(struct jit *j, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 base = jit_reg[in->dst_reg], s = jit_reg[in->src_reg], src = s;
    enum tn_x86_alu op = jit_alu_of((u8)in->imm & BPF_OP(0xff));
    u32 loop;

    tn_x86_mov_rr(a, 8, JIT_TM2, TN_RAX);
    if (base == TN_RAX)
        base = JIT_TM2;
    if (s == TN_RAX)
        src = JIT_TM2;
    tn_x86_load(a, bytes, TN_RAX, tn_mem_base(base, in->off));
    loop = a->len;
    tn_x86_mov_rr(a, 8, JIT_TMP, TN_RAX);
    tn_x86_alu_rr(a, bytes, op, JIT_TMP, src);
    tn_x86_lock(a);
    tn_x86_cmpxchg_mr(a, bytes, tn_mem_base(base, in->off), JIT_TMP);
    tn_x86_jcc(a, 1, TN_CC_NE, loop);
    tn_x86_mov_rr(a, bytes, s, TN_RAX);
    if (s != TN_RAX)
        tn_x86_mov_rr(a, 8, TN_RAX, JIT_TM2);
}

static int lower_atomic(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    struct tn_mem m = jit_mem_of(in, in->dst_reg);
    u8 s = jit_reg[in->src_reg];

    switch (in->imm) {
    case BPF_LOAD_ACQ: /* every load of x86 acquires, every store releases */
        tn_x86_load(a, bytes, jit_reg[in->dst_reg], jit_mem_of(in, in->src_reg));
        return 0;
    case BPF_STORE_REL:
        tn_x86_store(a, bytes, m, s);
        return 0;
    case BPF_ADD:
    case BPF_OR:
    case BPF_AND:
    case BPF_XOR:
        tn_x86_lock(a);
        tn_x86_alu_mr(a, bytes, jit_alu_of((u8)in->imm), m, s);
        return 0;
    case BPF_ADD | BPF_FETCH:
        tn_x86_lock(a);
        tn_x86_xadd_mr(a, bytes, m, s);
        return 0;
    case BPF_OR | BPF_FETCH:
    case BPF_AND | BPF_FETCH:
    case BPF_XOR | BPF_FETCH:
        lower_fetch_loop(j, in, bytes);
        return 0;
    case BPF_XCHG:
        tn_x86_xchg_mr(a, bytes, m, s);
        return 0;
    case BPF_CMPXCHG:
        tn_x86_lock(a);
        tn_x86_cmpxchg_mr(a, bytes, m, s);
        if (bytes == 4) /* on success rax was not written: its upper half may be anything */
            tn_x86_mov_rr(a, 4, TN_RAX, TN_RAX);
        return 0;
    default:
        return tn_fail(j->err, -ENOTSUP, "unknown_atomic", "instruction %u: no atomic operation 0x%x", at,
                       (u32)in->imm);
    }
}

/* Where a function's code begins, by the layout of the pass before. */
s64 jit_entry_of(const struct jit *j, u32 sub)
{
    return j->pass ? (s64)j->subs[sub].entry : (s64)j->a.len;
}

static int lower_ld_imm64(struct jit *j, u32 at, const struct bpf_insn *in)
{
    u64 imm = (u32)in[0].imm | (u64)(u32)in[1].imm << 32;
    u8 d = jit_reg[in->dst_reg];

    switch (in->src_reg) {
    case 0:
        if (imm)
            tn_x86_mov_ri(&j->a, d, imm);
        else
            tn_x86_zero(&j->a, d);
        return 0;
    case BPF_PSEUDO_MAP_FD:
    case BPF_PSEUDO_MAP_VALUE:
        if ((u32)in->imm >= j->prog->nmaps)
            return tn_fail(j->err, -EINVAL, "no_such_map", "instruction %u: the program has %u maps", at,
                           j->prog->nmaps);
        if (in->src_reg == BPF_PSEUDO_MAP_FD)
            tn_x86_load(&j->a, 8, d, jit_pool(j, TN_POOL_MAP, (u32)in->imm, 0));
        else
            tn_x86_load(&j->a, 8, d,
                        jit_pool(j, TN_POOL_MAP_DATA, (u32)in->imm,
                                 j->prog->maps[in->imm].value_off + (u32)in[1].imm));
        return 0;
    case BPF_PSEUDO_BTF_ID: {
        u32 k;
        const struct tn_host_ref *ref = jit_ref(j, in, &k);

        if (!ref || ref->kind != TN_NAMED_VAR)
            return tn_fail(j->err, -ENOTSUP, "unknown_ksym",
                           "instruction %u: no variable of the host has the type id %d", at, in->imm);
        tn_x86_load(&j->a, 8, d, jit_pool(j, TN_POOL_HOST, k, ref->addr));
        return 0;
    }
    case BPF_PSEUDO_FUNC:
        tn_x86_lea(&j->a, d, tn_mem_pos(jit_entry_of(j, j->plan[tn_jump_target(in, at)].sub)));
        return 0;
    default:
        return tn_fail(j->err, -ENOTSUP, "pseudo_load_not_supported",
                       "instruction %u: 64-bit load of pseudo kind %u ", at, in->src_reg);
    }
}

/* ------------------------------------------------------------------------------------------------ flow */

/* Displacement by the layout of the pass before, in which jumps were at least as long. */
static void jump(struct jit *j, u32 at, s64 target, s32 cc)
{
    struct jit_insn *plan = &j->plan[at];
    s64 disp = (s64)j->prev_off[target] - j->prev_end[at];

    if (j->shrinking) {
        if (disp == 0 && target > at)
            plan->jump_size = 0;
        else if (plan->jump_size == 4 && disp == (s8)disp)
            plan->jump_size = 1;
    }
    if (!plan->jump_size)
        return;
    if (!j->pass)
        disp = 0;
    if (cc < 0)
        tn_x86_jmp(&j->a, plan->jump_size, (s64)j->a.len + (plan->jump_size == 1 ? 2 : 5) + disp);
    else
        tn_x86_jcc(&j->a, plan->jump_size, (enum tn_x86_cc)cc,
                   (s64)j->a.len + (plan->jump_size == 1 ? 2 : 6) + disp);
}

static s32 condition(u8 code)
{
    switch (BPF_OP(code)) {
    case BPF_JEQ:
        return TN_CC_E;
    case BPF_JNE:
    case BPF_JSET:
        return TN_CC_NE;
    case BPF_JGT:
        return TN_CC_A;
    case BPF_JGE:
        return TN_CC_AE;
    case BPF_JLT:
        return TN_CC_B;
    case BPF_JLE:
        return TN_CC_BE;
    case BPF_JSGT:
        return TN_CC_G;
    case BPF_JSGE:
        return TN_CC_GE;
    case BPF_JSLT:
        return TN_CC_L;
    default:
        return TN_CC_LE;
    }
}

static void lower_jmp(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];
    bool set = BPF_OP(in->code) == BPF_JSET;

    if (BPF_SRC(in->code) == BPF_X) {
        if (set)
            tn_x86_test_rr(a, bytes, d, s);
        else
            tn_x86_alu_rr(a, bytes, TN_CMP, d, s);
    } else if (set) {
        tn_x86_test_ri(a, bytes, d, in->imm);
    } else if (in->imm == 0) {
        tn_x86_test_rr(a, bytes, d, d); /* clears carry and overflow, as a comparison with zero does */
    } else {
        tn_x86_alu_ri(a, bytes, TN_CMP, d, in->imm);
    }
    jump(j, at, tn_jump_target(in, at), condition(in->code));
}

/* The counter of a function's rounds lies below its stack. */
static struct tn_mem rounds_of(const struct jit_sub *sub)
{
    return tn_mem_base(TN_RBP, -(s32)sub->stack - 8);
}

/* Leads out once the counter stands at zero, where it stays. */
static void lower_may_goto(struct jit *j, u32 at, const struct bpf_insn *in)
{
    struct tn_mem rounds = rounds_of(&j->subs[j->plan[at].sub]);

    tn_x86_alu_mi(&j->a, 4, TN_SUB, rounds, 1);
    tn_x86_alu_mi(&j->a, 4, TN_ADC, rounds, 0); /* 0 − 1 borrows: back to zero, with a carry out */
    jump(j, at, tn_jump_target(in, at), TN_CC_B);
}

static int lower_call(struct jit *j, u32 at, const struct bpf_insn *in)
{
    struct tn_asm *a = &j->a;
    const struct tn_helper *helper;

    if (in->src_reg == BPF_PSEUDO_CALL) {
        tn_x86_call(a, jit_entry_of(j, j->plan[tn_jump_target(in, at)].sub));
        return 0;
    }
    helper = in->src_reg ? NULL : tn_helper_by_id((u32)in->imm);
    if (!helper)
        return tn_fail(j->err, -ENOTSUP, "unknown_helper", "instruction %u: there is no %s %d", at,
                       in->src_reg ? "kfunc" : "helper", in->imm);
    if (helper->flags & TN_HF_RUN)
        tn_x86_mov_rr(a, 8, TN_R9, JIT_RUN);
    tn_x86_call_m(a, jit_pool(j, TN_POOL_HELPER, helper->id, 0));
    return 0;
}

/* Saved registers, in the order they are pushed. A function with a frame begins with it, so that whoever follows frame
   pointers (perf) finds its caller: rbp, then what the program has on its stack, and below that they are kept. */
static const u8 saved_order[] = {TN_RBX, TN_R12, TN_R13, TN_R14, TN_R15};

static u32 pushes(const struct jit_sub *sub)
{
    return (u32)__builtin_popcount(sub->saved) + sub->frame;
}

u32 jit_frame_bytes(const struct jit_sub *sub)
{
    return sub->stack + (sub->loops ? 8 : 0) + sub->rounds;
}

/* Bytes taken below the saved registers: nothing where the red zone does. */
static u32 allocated(const struct jit_sub *sub)
{
    u32 stack = sub->frame ? jit_frame_bytes(sub) : 0;

    if (!sub->calls)
        return stack > 128 || sub->saved ? stack : 0;
    return (8 + 8 * pushes(sub) + stack) % 16 ? stack + 8 : stack;
}

u32 jit_frame_size(const struct jit_sub *sub)
{
    u32 below = allocated(sub);

    if (!below && sub->frame)
        below = jit_frame_bytes(sub);
    return 8 + 8 * pushes(sub) + below;
}

void jit_prologue(struct jit *j, const struct jit_sub *sub, bool main)
{
    struct tn_asm *a = &j->a;

    if (sub->frame) {
        tn_x86_push(a, TN_RBP);
        tn_x86_mov_rr(a, 8, TN_RBP, TN_RSP);
    }
    if (allocated(sub))
        tn_x86_alu_ri(a, 8, TN_SUB, TN_RSP, (s32)allocated(sub));
    for (u32 i = 0; i < TN_ARRAY_SIZE(saved_order); i++)
        if (sub->saved & (1u << saved_order[i]))
            tn_x86_push(a, saved_order[i]);
    for (u64 left = sub->frame ? sub->zero : 0; left; left &= left - 1)
        tn_x86_store_i(a, 8, tn_mem_base(TN_RBP, -8 * (1 + __builtin_ctzll(left))), 0);
    if (sub->loops)
        tn_x86_store_i(a, 8, rounds_of(sub), (s32)TN_MAY_GOTO_MAX);
    if (main && j->needs_run)
        tn_x86_mov_rr(a, 8, JIT_RUN, TN_RSI);
}

static void lower_exit(struct jit *j, const struct jit_sub *sub)
{
    struct tn_asm *a = &j->a;

    for (u32 i = TN_ARRAY_SIZE(saved_order); i-- > 0;)
        if (sub->saved & (1u << saved_order[i]))
            tn_x86_pop(a, saved_order[i]);
    if (sub->frame) {
        if (allocated(sub))
            tn_x86_leave(a);
        else
            tn_x86_pop(a, TN_RBP);
    } else if (allocated(sub)) {
        tn_x86_alu_ri(a, 8, TN_ADD, TN_RSP, (s32)allocated(sub));
    }
    tn_x86_ret(a);
}

/*
 * A load of classic BPF. Everything is an address below 4 GiB, so sums do not wrap in 64 bits; rax is free,
 * it is about to get the result.
 *
 *     r11 = offset; r10 = where it counts from          neither: leave
 *     r10 + r11 + bytes > data_end                      leave
 *     rax = bytes there, swapped
 */
static void lower_packet(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    struct tn_fixup negative, link, none, ready[2], past, fits;
    const u8 ctx = jit_reg[BPF_REG_6];

    if (BPF_MODE(in->code) == BPF_IND) {
        tn_x86_mov_rr(a, 4, JIT_TMP, jit_reg[in->src_reg]);
        if (in->imm)
            tn_x86_alu_ri(a, 4, TN_ADD, JIT_TMP, in->imm);
    } else {
        tn_x86_mov_ri(a, JIT_TMP, (u32)in->imm);
    }
    tn_x86_test_rr(a, 4, JIT_TMP, JIT_TMP);
    negative = tn_x86_jcc_fwd(a, 1, TN_CC_L);
    tn_x86_load(a, 4, JIT_TM2, tn_mem_base(ctx, TN_SKB_DATA));
    ready[0] = tn_x86_jmp_fwd(a, 1);
    tn_x86_bind(a, negative);
    tn_x86_alu_ri(a, 4, TN_CMP, JIT_TMP, SKF_NET_OFF);
    link = tn_x86_jcc_fwd(a, 1, TN_CC_L);
    tn_x86_alu_ri(a, 4, TN_SUB, JIT_TMP, SKF_NET_OFF);
    tn_x86_load(a, 4, JIT_TM2, tn_mem_base(ctx, TN_SKB_NET));
    ready[1] = tn_x86_jmp_fwd(a, 1);
    tn_x86_bind(a, link);
    tn_x86_alu_ri(a, 4, TN_CMP, JIT_TMP, SKF_LL_OFF);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_L);
    tn_x86_alu_ri(a, 4, TN_SUB, JIT_TMP, SKF_LL_OFF);
    tn_x86_load(a, 4, JIT_TM2, tn_mem_base(ctx, TN_SKB_MAC));
    tn_x86_bind(a, ready[0]);
    tn_x86_bind(a, ready[1]);
    tn_x86_alu_rr(a, 8, TN_ADD, JIT_TM2, JIT_TMP);
    tn_x86_lea(a, JIT_TMP, tn_mem_base(JIT_TM2, bytes));
    tn_x86_load(a, 4, TN_RAX, tn_mem_base(ctx, TN_SKB_DATA_END));
    tn_x86_alu_rr(a, 8, TN_CMP, JIT_TMP, TN_RAX);
    fits = tn_x86_jcc_fwd(a, 1, TN_CC_BE);
    past = tn_x86_jmp_fwd(a, 1); /* one place for both ways to leave */
    tn_x86_bind(a, none);
    tn_x86_bind(a, past);
    tn_x86_zero(a, TN_RAX);
    lower_exit(j, &j->subs[j->plan[at].sub]);
    tn_x86_bind(a, fits);
    tn_x86_load(a, bytes, TN_RAX, tn_mem_base(JIT_TM2, 0));
    if (bytes == 4) {
        tn_x86_bswap(a, 4, TN_RAX);
    } else if (bytes == 2) {
        tn_x86_shift_i(a, 2, TN_ROL, TN_RAX, 8);
        tn_x86_movzx_rr(a, 2, TN_RAX, TN_RAX);
    }
}

/* ------------------------------------------------------------------------------------------------ groups */

const struct bpf_insn *jit_member(const struct jit *j, u32 at, u32 n)
{
    u32 i = at;

    while (n--) {
        i++; /* members are one slot long; what is skipped between them need not be */
        while (j->plan[i].how == JIT_SKIP)
            i += j->plan[i].slots;
    }
    return &j->prog->insns[i];
}

static void lower_rmw(struct jit *j, u32 at, u8 how, u8 bytes)
{
    const struct bpf_insn *ld = &j->prog->insns[at], *op = jit_member(j, at, 1);
    struct tn_mem m = jit_mem_of(ld, ld->src_reg);

    if (how == JIT_RMW_REG)
        tn_x86_alu_mr(&j->a, bytes, jit_alu_of(op->code), m, jit_reg[op->src_reg]);
    else
        tn_x86_alu_mi(&j->a, bytes, jit_alu_of(op->code), m, op->imm);
}

static void lower_extend(struct jit *j, u32 at, const struct bpf_insn *in)
{
    bool moved = tn_op_of(in) == TN_OP_MOV64_X;
    enum tn_x86_reg d = jit_reg[in->dst_reg], s = jit_reg[moved ? in->src_reg : in->dst_reg];

    if (tn_op_of(jit_member(j, at, moved ? 2 : 1)) == TN_OP_ARSH64_K)
        tn_x86_movsx_rr(&j->a, 8, 4, d, s);
    else
        tn_x86_mov_rr(&j->a, 4, d, s);
}

/* ---------------------------------------------------------------------------------------- one instruction */

static int lower_plain(struct jit *j, u32 at, const struct bpf_insn *in)
{
    struct tn_asm *a = &j->a;
    enum tn_op op = tn_op_of(in);
    u8 bytes = tn_op_rows[op].bytes, d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];

    switch ((enum tn_kind)tn_op_rows[op].kind) {
    case TN_KIND_ALU:
        jit_lower_alu(j, at, in, bytes);
        return 0;
    case TN_KIND_MOVSX:
        if (in->off != 8 && in->off != 16 && in->off != 32)
            return tn_fail(j->err, -ENOTSUP, "address_space_not_supported",
                           "instruction %u: casts between address spaces (arenas) are not executed", at);
        tn_x86_movsx_rr(a, bytes, (u8)(in->off / 8), d, s);
        return 0;
    case TN_KIND_NEG:
        tn_x86_unary(a, bytes, TN_NEG, d);
        return 0;
    case TN_KIND_END:
        jit_lower_end(j, in, op);
        return 0;
    case TN_KIND_JMP:
        lower_jmp(j, at, in, bytes);
        return 0;
    case TN_KIND_JA:
        jump(j, at, tn_jump_target(in, at), -1);
        return 0;
    case TN_KIND_MAY_GOTO:
        lower_may_goto(j, at, in);
        return 0;
    case TN_KIND_PACKET:
        lower_packet(j, at, in, bytes);
        return 0;
    case TN_KIND_CALL:
        return lower_call(j, at, in);
    case TN_KIND_EXIT:
        lower_exit(j, &j->subs[j->plan[at].sub]);
        return 0;
    case TN_KIND_LD_IMM64:
        return lower_ld_imm64(j, at, in);
    case TN_KIND_LDX:
        tn_x86_load(a, bytes, d, jit_mem_of(in, in->src_reg));
        return 0;
    case TN_KIND_LDSX:
        tn_x86_load_sx(a, bytes, d, jit_mem_of(in, in->src_reg));
        return 0;
    case TN_KIND_STX:
        tn_x86_store(a, bytes, jit_mem_of(in, in->dst_reg), s);
        return 0;
    case TN_KIND_ST:
        tn_x86_store_i(a, bytes, jit_mem_of(in, in->dst_reg), in->imm);
        return 0;
    case TN_KIND_ATOMIC:
        return lower_atomic(j, at, in, bytes);
    default:
        return tn_fail(j->err, -ENOTSUP, "unknown_opcode", "instruction %u: opcode 0x%02x", at, in->code);
    }
}

int jit_lower(struct jit *j, u32 at)
{
    const struct bpf_insn *in = &j->prog->insns[at], *next;
    u8 bytes = tn_op_rows[tn_op_of(in)].bytes;

    switch ((enum jit_how)j->plan[at].how) {
    case JIT_PLAIN:
        return lower_plain(j, at, in);
    case JIT_DEAD:
        tn_x86_int3(&j->a);
        return 0;
    case JIT_SKIP:
    case JIT_NEVER_TAKEN:
        return 0;
    case JIT_ALWAYS_TAKEN:
        jump(j, at, tn_jump_target(in, at), -1);
        return 0;
    case JIT_LEA:
        next = jit_member(j, at, 1);
        if (next->imm == 0 && in->dst_reg == in->src_reg)
            return 0;
        tn_x86_lea(&j->a, jit_reg[in->dst_reg], tn_mem_base(jit_reg[in->src_reg], next->imm));
        return 0;
    case JIT_EXTEND:
        lower_extend(j, at, in);
        return 0;
    case JIT_STORE_IMM:
        next = jit_member(j, at, 1);
        tn_x86_store_i(&j->a, tn_op_rows[tn_op_of(next)].bytes, jit_mem_of(next, next->dst_reg), in->imm);
        return 0;
    case JIT_RMW_IMM:
    case JIT_RMW_REG:
        lower_rmw(j, at, j->plan[at].how, bytes);
        return 0;
    case JIT_ARRAY:
    case JIT_ARRAY_CONST:
    case JIT_PERCPU:
    case JIT_PERCPU_CONST:
        jit_lower_lookup(j, at, j->plan[at].how);
        return 0;
    case JIT_COOKIE:
        jit_lower_hook_word(j, offsetof(struct tn_hook, cookie));
        return 0;
    case JIT_FUNC_IP:
        jit_lower_hook_word(j, offsetof(struct tn_hook, func_ip));
        return 0;
    case JIT_PID_TGID:
        jit_lower_pid_tgid(j);
        return 0;
    case JIT_SESSION_RETURN:
        tn_x86_load(&j->a, 4, TN_RAX, tn_mem_base(JIT_RUN, offsetof(struct tn_run, session)));
        return 0;
    case JIT_SESSION_COOKIE:
        tn_x86_lea(&j->a, TN_RAX, tn_mem_base(JIT_RUN, offsetof(struct tn_run, value)));
        return 0;
    case JIT_ANSWER:
        jit_lower_answer(j);
        return 0;
    case JIT_HOST_CALL:
        jit_lower_host_call(j, in);
        return 0;
    case JIT_COPY:
        jit_lower_copy(j, at);
        return 0;
    case JIT_LOOP:
        jit_lower_loop(j, at);
        return 0;
    case JIT_ROUNDS:
        jit_lower_rounds(j, at, in);
        return 0;
    case JIT_CAREFUL:
        jit_lower_careful(j, at, in);
        return 0;
    }
    return -EINVAL;
}
