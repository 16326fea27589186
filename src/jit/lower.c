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
 * x86 wants a divisor's partner in rdx:rax and a shift's count in cl; both are R registers, so their values
 * step aside into a scratch register unless nobody needs them any more.
 */
#include "jit/plan.h"

#include <errno.h>
#include <linux/filter.h>

#include "rt/rounds.h"

const u8 jit_reg[11] = {TN_RAX, TN_RDI, TN_RSI, TN_RDX, TN_RCX, TN_R8,
                        TN_RBX, TN_R13, TN_R14, TN_R15, TN_RBP};

/* Compiled code and C must agree on these; all are reached with one-byte displacements. */
_Static_assert(offsetof(struct tn_run, hook) == 0 && offsetof(struct tn_run, cpu) < 128, "struct tn_run");
_Static_assert(sizeof(((struct tn_run *)0)->cpu) == 4, "struct tn_run.cpu is loaded as 32 bits");
_Static_assert(offsetof(struct tn_hook, cookie) < 128 && offsetof(struct tn_hook, func_ip) < 128,
               "struct tn_hook");
_Static_assert(offsetof(struct tn_map, base) == 0, "struct tn_map");

static bool is_live(const struct jit *j, u32 at, u8 bpf_reg)
{
    return j->plan[at].live_out & (1u << bpf_reg);
}

static bool is_power_of_two(u64 v)
{
    return v && !(v & (v - 1));
}

static struct tn_mem mem_of(const struct bpf_insn *in, u8 bpf_reg)
{
    return tn_mem_base(jit_reg[bpf_reg], in->off);
}

/* --------------------------------------------------------------------------------------------- arithmetic */

/* dst = dst (op) divisor. The divisor is in a register, not zero; signed ones are not −1. */
static void divide(struct jit *j, u32 at, u8 bytes, bool is_signed, bool mod, u8 d, u8 s)
{
    struct tn_asm *a = &j->a;
    bool keep_rdx = is_live(j, at, BPF_REG_3), keep_rax = is_live(j, at, BPF_REG_0);

    /* The divisor must not be where the dividend goes. */
    if (s == TN_RAX || s == TN_RDX || s == d) {
        tn_x86_mov_rr(a, 8, JIT_TMP, s);
        s = JIT_TMP;
    }
    if (d == TN_RDX) {
        if (keep_rax)
            tn_x86_mov_rr(a, 8, JIT_TM2, TN_RAX);
        tn_x86_mov_rr(a, bytes, TN_RAX, TN_RDX);
    } else {
        if (keep_rdx)
            tn_x86_mov_rr(a, 8, JIT_TM2, TN_RDX);
        if (d != TN_RAX)
            tn_x86_xchg_rr(a, 8, TN_RAX, d); /* d keeps R0 meanwhile */
    }
    if (is_signed)
        tn_x86_sign_rdx(a, bytes);
    else
        tn_x86_zero(a, TN_RDX);
    tn_x86_unary(a, bytes, is_signed ? TN_IDIV : TN_DIV, s);

    if (d == TN_RDX) {
        if (!mod)
            tn_x86_mov_rr(a, bytes, TN_RDX, TN_RAX);
        if (keep_rax)
            tn_x86_mov_rr(a, 8, TN_RAX, JIT_TM2);
    } else {
        if (mod)
            tn_x86_mov_rr(a, bytes, TN_RAX, TN_RDX);
        if (d != TN_RAX)
            tn_x86_xchg_rr(a, 8, TN_RAX, d);
        if (keep_rdx)
            tn_x86_mov_rr(a, 8, TN_RDX, JIT_TM2);
    }
}

/* Division by zero: 0. Modulo zero: dst stays (a 32-bit one is zero-extended). */
static void divide_by_zero(struct jit *j, u8 bytes, bool mod, u8 d)
{
    if (!mod)
        tn_x86_zero(&j->a, d);
    else if (bytes == 4)
        tn_x86_mov_rr(&j->a, 4, d, d);
}

/* By −1, which traps on x86 for the most negative number. */
static void divide_by_minus_one(struct jit *j, u8 bytes, bool mod, u8 d)
{
    if (mod)
        tn_x86_zero(&j->a, d);
    else
        tn_x86_unary(&j->a, bytes, TN_NEG, d);
}

static void lower_div(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    bool mod = BPF_OP(in->code) == BPF_MOD, is_signed = in->off == 1;
    u8 d = jit_reg[in->dst_reg], s;
    struct tn_fixup zero, minus_one = {0}, done_minus = {0}, done;

    if (BPF_SRC(in->code) == BPF_K) {
        if (in->imm == 0) {
            divide_by_zero(j, bytes, mod, d);
        } else if (is_signed && in->imm == -1) {
            divide_by_minus_one(j, bytes, mod, d);
        } else if (!is_signed && in->imm > 0 && is_power_of_two((u32)in->imm)) {
            if (mod) {
                tn_x86_alu_ri(a, 4, TN_AND, d, in->imm - 1);
            } else if (in->imm > 1) {
                tn_x86_shift_i(a, bytes, TN_SHR, d, (u8)__builtin_ctz((u32)in->imm));
            } else if (bytes == 4) {
                tn_x86_mov_rr(a, 4, d, d);
            }
        } else {
            tn_x86_mov_ri(a, JIT_TMP, bytes == 8 ? (u64)(s64)in->imm : (u32)in->imm);
            divide(j, at, bytes, is_signed, mod, d, JIT_TMP);
        }
        return;
    }

    s = jit_reg[in->src_reg];
    tn_x86_test_rr(a, bytes, s, s);
    zero = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    if (is_signed) {
        tn_x86_alu_ri(a, bytes, TN_CMP, s, -1);
        minus_one = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    }
    divide(j, at, bytes, is_signed, mod, d, s);
    done = tn_x86_jmp_fwd(a, 1);
    if (is_signed) {
        tn_x86_bind(a, minus_one);
        divide_by_minus_one(j, bytes, mod, d);
        done_minus = tn_x86_jmp_fwd(a, 1);
    }
    tn_x86_bind(a, zero);
    divide_by_zero(j, bytes, mod, d);
    tn_x86_bind(a, done);
    if (is_signed)
        tn_x86_bind(a, done_minus);
}

static void lower_shift(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];
    enum tn_x86_shift op = BPF_OP(in->code) == BPF_LSH   ? TN_SHL
                           : BPF_OP(in->code) == BPF_RSH ? TN_SHR
                                                         : TN_SAR;

    if (BPF_SRC(in->code) == BPF_K) {
        u8 count = (u8)in->imm & (bytes * 8 - 1);

        if (count)
            tn_x86_shift_i(a, bytes, op, d, count);
        else if (bytes == 4)
            tn_x86_mov_rr(a, 4, d, d);
        return;
    }
    if (s == TN_RCX && d != TN_RCX) {
        tn_x86_shift_cl(a, bytes, op, d);
    } else if (d == TN_RCX) {
        tn_x86_mov_rr(a, 8, JIT_TMP, TN_RCX);
        if (s != TN_RCX)
            tn_x86_mov_rr(a, 4, TN_RCX, s);
        tn_x86_shift_cl(a, bytes, op, JIT_TMP);
        tn_x86_mov_rr(a, bytes, TN_RCX, JIT_TMP);
        return;
    } else {
        bool keep = is_live(j, at, BPF_REG_4);

        if (keep)
            tn_x86_mov_rr(a, 8, JIT_TMP, TN_RCX);
        tn_x86_mov_rr(a, 4, TN_RCX, s);
        tn_x86_shift_cl(a, bytes, op, d);
        if (keep)
            tn_x86_mov_rr(a, 8, TN_RCX, JIT_TMP);
    }
    if (bytes == 4) /* a count of zero need not clear the upper half */
        tn_x86_mov_rr(a, 4, d, d);
}

static void lower_mul(struct jit *j, const struct bpf_insn *in, u8 bytes)
{
    u8 d = jit_reg[in->dst_reg];

    if (BPF_SRC(in->code) == BPF_X)
        tn_x86_imul_rr(&j->a, bytes, d, jit_reg[in->src_reg]);
    else if (in->imm > 1 && is_power_of_two((u32)in->imm))
        tn_x86_shift_i(&j->a, bytes, TN_SHL, d, (u8)__builtin_ctz((u32)in->imm));
    else
        tn_x86_imul_rri(&j->a, bytes, d, d, in->imm);
}

static void lower_mov(struct jit *j, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];

    if (BPF_SRC(in->code) == BPF_X) {
        if (bytes == 4 || d != s)
            tn_x86_mov_rr(a, bytes, d, s);
    } else if (in->imm == 0) {
        tn_x86_zero(a, d);
    } else {
        tn_x86_mov_ri(a, d, bytes == 8 ? (u64)(s64)in->imm : (u32)in->imm);
    }
}

static enum tn_x86_alu alu_of(u8 code)
{
    switch (BPF_OP(code)) {
    case BPF_ADD:
        return TN_ADD;
    case BPF_SUB:
        return TN_SUB;
    case BPF_OR:
        return TN_OR;
    case BPF_AND:
        return TN_AND;
    default:
        return TN_XOR;
    }
}

static void lower_alu(struct jit *j, u32 at, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg];

    switch (BPF_OP(in->code)) {
    case BPF_DIV:
    case BPF_MOD:
        lower_div(j, at, in, bytes);
        return;
    case BPF_LSH:
    case BPF_RSH:
    case BPF_ARSH:
        lower_shift(j, at, in, bytes);
        return;
    case BPF_MUL:
        lower_mul(j, in, bytes);
        return;
    case BPF_MOV:
        lower_mov(j, in, bytes);
        return;
    default:
        break;
    }
    if (BPF_SRC(in->code) == BPF_X)
        tn_x86_alu_rr(a, bytes, alu_of(in->code), d, jit_reg[in->src_reg]);
    else if (BPF_OP(in->code) == BPF_AND && in->imm >= 0)
        tn_x86_alu_ri(a, 4, TN_AND, d, in->imm); /* the upper half becomes zero either way */
    else
        tn_x86_alu_ri(a, bytes, alu_of(in->code), d, in->imm);
}

static void lower_end(struct jit *j, const struct bpf_insn *in, enum tn_op op)
{
    struct tn_asm *a = &j->a;
    u8 d = jit_reg[in->dst_reg];

    if (op != TN_OP_LE) {
        if (in->imm == 16)
            tn_x86_shift_i(a, 2, TN_ROL, d, 8);
        else
            tn_x86_bswap(a, in->imm == 64 ? 8 : 4, d);
    }
    if (in->imm == 16)
        tn_x86_movzx_rr(a, 2, d, d);
    else if (in->imm == 32 && op == TN_OP_LE)
        tn_x86_mov_rr(a, 4, d, d);
}

/* ------------------------------------------------------------------------------------------------ memory */

/* The plain forms are one locked instruction. Fetching ones that x86 lacks are a loop of compare-and-swap,
   which needs rax; its value, and a base or source that lives there, step aside into r10. */
static void lower_fetch_loop(struct jit *j, const struct bpf_insn *in, u8 bytes)
{
    struct tn_asm *a = &j->a;
    u8 base = jit_reg[in->dst_reg], s = jit_reg[in->src_reg], src = s;
    enum tn_x86_alu op = alu_of((u8)in->imm & BPF_OP(0xff));
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
    struct tn_mem m = mem_of(in, in->dst_reg);
    u8 s = jit_reg[in->src_reg];

    switch (in->imm) {
    case BPF_LOAD_ACQ: /* every load of x86 acquires, every store releases */
        tn_x86_load(a, bytes, jit_reg[in->dst_reg], mem_of(in, in->src_reg));
        return 0;
    case BPF_STORE_REL:
        tn_x86_store(a, bytes, m, s);
        return 0;
    case BPF_ADD:
    case BPF_OR:
    case BPF_AND:
    case BPF_XOR:
        tn_x86_lock(a);
        tn_x86_alu_mr(a, bytes, alu_of((u8)in->imm), m, s);
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
static s64 entry_of(const struct jit *j, u32 sub)
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
        tn_x86_lea(&j->a, d, tn_mem_pos(entry_of(j, j->plan[tn_jump_target(in, at)].sub)));
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
        tn_x86_call(a, entry_of(j, j->plan[tn_jump_target(in, at)].sub));
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

static u32 frame_bytes(const struct jit_sub *sub)
{
    return sub->stack + (sub->loops ? 8 : 0) + sub->rounds;
}

/* Bytes taken below the saved registers: nothing where the red zone does. */
static u32 allocated(const struct jit_sub *sub)
{
    u32 stack = sub->frame ? frame_bytes(sub) : 0;

    if (!sub->calls)
        return stack > 128 || sub->saved ? stack : 0;
    return (8 + 8 * pushes(sub) + stack) % 16 ? stack + 8 : stack;
}

u32 jit_frame_size(const struct jit_sub *sub)
{
    u32 below = allocated(sub);

    if (!below && sub->frame)
        below = frame_bytes(sub);
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

/* ------------------------------------------------------------------------------ helpers that call back */

/* What bpf_loop keeps from round to round; any other helper, all of struct tn_rounds and then the function. */
struct loop {
    u64 i, n, ctx, func;
};
#define ROUNDS_FUNC ((s32)sizeof(struct tn_rounds))

u32 jit_rounds_size(u8 how)
{
    return how == JIT_LOOP ? sizeof(struct loop) : sizeof(struct tn_rounds) + 8;
}

static struct tn_mem rounds_at(const struct jit_sub *sub, s32 offset)
{
    return tn_mem_base(TN_RBP, offset - (s32)frame_bytes(sub));
}

/* Which function it is was proved; where several come here, R2 says which, and is kept at `func`. */
static void keep_function(struct jit *j, u32 at, struct tn_mem func)
{
    if (j->prog->aux[at].callback < 0)
        tn_x86_store(&j->a, 8, func, jit_reg[BPF_REG_2]);
}

static void call_function(struct jit *j, u32 at, struct tn_mem func)
{
    s16 callback = j->prog->aux[at].callback;

    if (callback < 0)
        tn_x86_call_m(&j->a, func);
    else
        tn_x86_call(&j->a, entry_of(j, (u32)callback));
}

static void lower_loop(struct jit *j, u32 at)
{
    const struct tn_insn_aux *aux = &j->prog->aux[at];
    const struct jit_sub *sub = &j->subs[j->plan[at].sub];
    const struct tn_mem i = rounds_at(sub, offsetof(struct loop, i)),
                        n = rounds_at(sub, offsetof(struct loop, n)),
                        ctx = rounds_at(sub, offsetof(struct loop, ctx)),
                        func = rounds_at(sub, offsetof(struct loop, func));
    struct tn_asm *a = &j->a;
    struct tn_fixup wrong_flags = {0}, too_many, none, stopped, done[2];
    u32 top;

    if (!aux->no_flags) {
        tn_x86_test_rr(a, 8, TN_RCX, TN_RCX);
        wrong_flags = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    }
    if (!aux->no_flags || aux->callback < 0) /* then Linux calls its helper, which takes 32 bits */
        tn_x86_mov_rr(a, 4, TN_RDI, TN_RDI);
    tn_x86_alu_ri(a, 8, TN_CMP, TN_RDI, (s32)TN_LOOP_MAX);
    too_many = tn_x86_jcc_fwd(a, 1, TN_CC_A);
    tn_x86_zero(a, TN_RAX);
    tn_x86_test_rr(a, 4, TN_RDI, TN_RDI);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_store(a, 8, n, TN_RDI);
    tn_x86_store(a, 8, ctx, TN_RDX);
    keep_function(j, at, func);
    tn_x86_zero(a, TN_RDI);
    tn_x86_store(a, 8, i, TN_RDI);
    top = a->len;
    tn_x86_load(a, 8, TN_RSI, ctx);
    call_function(j, at, func);
    tn_x86_load(a, 8, TN_RDI, i);
    tn_x86_alu_ri(a, 8, TN_ADD, TN_RDI, 1);
    tn_x86_store(a, 8, i, TN_RDI);
    tn_x86_test_rr(a, 8, TN_RAX, TN_RAX);
    stopped = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    tn_x86_alu_rm(a, 8, TN_CMP, TN_RDI, n);
    tn_x86_jcc(a, 4, TN_CC_B, top); /* displacements may be long, if the frame is large */
    tn_x86_bind(a, stopped);
    tn_x86_mov_rr(a, 8, TN_RAX, TN_RDI);
    done[0] = tn_x86_jmp_fwd(a, 1);
    tn_x86_bind(a, too_many);
    tn_x86_mov_ri(a, TN_RAX, (u64)-E2BIG);
    if (!aux->no_flags) {
        done[1] = tn_x86_jmp_fwd(a, 1);
        tn_x86_bind(a, wrong_flags);
        tn_x86_mov_ri(a, TN_RAX, (u64)-EINVAL);
        tn_x86_bind(a, done[1]);
    }
    tn_x86_bind(a, done[0]);
    tn_x86_bind(a, none);
}

static void lower_rounds(struct jit *j, u32 at, const struct bpf_insn *in)
{
    const struct jit_sub *sub = &j->subs[j->plan[at].sub];
    const struct tn_mem func = rounds_at(sub, ROUNDS_FUNC);
    struct tn_asm *a = &j->a;
    struct tn_fixup over;
    u32 top;

#define ROUNDS(field) rounds_at(sub, offsetof(struct tn_rounds, field))
    tn_x86_store(a, 8, ROUNDS(call[0]), jit_reg[BPF_REG_1]);
    keep_function(j, at, func);
    tn_x86_store(a, 8, ROUNDS(call[2]), jit_reg[BPF_REG_3]);
    tn_x86_store(a, 8, ROUNDS(call[3]), jit_reg[BPF_REG_4]);
    tn_x86_zero(a, TN_RAX);
    tn_x86_store(a, 8, ROUNDS(result), TN_RAX);
    tn_x86_store(a, 8, ROUNDS(at), TN_RAX);
    tn_x86_store(a, 8, ROUNDS(next), TN_RAX);
    top = a->len;
    tn_x86_lea(a, jit_reg[BPF_REG_1], rounds_at(sub, 0));
    tn_x86_mov_rr(a, 8, TN_R9, JIT_RUN);
    tn_x86_call_m(a, jit_pool(j, TN_POOL_HELPER, (u32)in->imm, 0));
    tn_x86_test_rr(a, 8, TN_RAX, TN_RAX);
    over = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    for (u32 k = 0; k < TN_ARRAY_SIZE(((struct tn_rounds *)0)->arg); k++)
        tn_x86_load(a, 8, jit_reg[1 + k], ROUNDS(arg[k]));
    call_function(j, at, func);
    tn_x86_test_rr(a, 8, TN_RAX, TN_RAX);
    tn_x86_jcc(a, 4, TN_CC_E, top);
    tn_x86_bind(a, over);
    tn_x86_load(a, 8, TN_RAX, ROUNDS(result));
#undef ROUNDS
}

/* ---------------------------------------------------------------------------------------- inlined helpers */

/* rax = rax-free address of element r11 (an index in range): base word of the pool plus index × stride. */
static void element_address(struct jit *j, const struct tn_map_geo *geo, struct tn_mem pool)
{
    struct tn_asm *a = &j->a;
    u32 stride = geo->value_stride;

    tn_x86_load(a, 8, TN_RAX, pool);
    if (stride == 8) {
        tn_x86_lea(a, TN_RAX, tn_mem_index(TN_RAX, JIT_TMP, 8, 0));
        return;
    }
    if (is_power_of_two(stride))
        tn_x86_shift_i(a, 8, TN_SHL, JIT_TMP, (u8)__builtin_ctz(stride));
    else
        tn_x86_imul_rri(a, 8, JIT_TMP, JIT_TMP, (s32)stride);
    tn_x86_alu_rr(a, 8, TN_ADD, TN_RAX, JIT_TMP);
}

static void lower_lookup(struct jit *j, u32 at, u8 how)
{
    struct tn_asm *a = &j->a;
    const struct tn_insn_aux *aux = &j->prog->aux[at];
    const struct tn_map_geo *geo = &j->prog->maps[aux->const_map];
    bool percpu = how == JIT_PERCPU || how == JIT_PERCPU_CONST;
    bool known = how == JIT_ARRAY_CONST || how == JIT_PERCPU_CONST;
    u64 off = geo->value_off + (known ? (u64)aux->const_key * geo->value_stride : 0);
    struct tn_mem pool = jit_pool(j, TN_POOL_MAP_DATA, (u32)aux->const_map, off);
    struct tn_fixup no_cpu = {0}, no_elem = {0};

    if (how == JIT_ARRAY_CONST) {
        tn_x86_load(a, 8, TN_RAX, pool);
        return;
    }
    if (!known)
        tn_x86_load(a, 4, JIT_TMP, tn_mem_base(TN_RSI, 0));
    tn_x86_zero(a, TN_RAX);
    if (!known) {
        tn_x86_alu_ri(a, 4, TN_CMP, JIT_TMP, (s32)geo->max_entries);
        no_elem = tn_x86_jcc_fwd(a, 1, TN_CC_AE);
    }
    if (percpu) { /* a run without a claim has −1, which is above any count */
        tn_x86_load(a, 4, JIT_TM2, tn_mem_base(JIT_RUN, offsetof(struct tn_run, cpu)));
        tn_x86_alu_ri(a, 4, TN_CMP, JIT_TM2, (s32)geo->ncpu);
        no_cpu = tn_x86_jcc_fwd(a, 1, TN_CC_AE);
        tn_x86_imul_rri(a, 8, JIT_TM2, JIT_TM2, (s32)geo->elem_stride);
    }
    if (known)
        tn_x86_load(a, 8, TN_RAX, pool);
    else
        element_address(j, geo, pool);
    if (percpu)
        tn_x86_alu_rr(a, 8, TN_ADD, TN_RAX, JIT_TM2);
    if (!known)
        tn_x86_bind(a, no_elem);
    if (percpu)
        tn_x86_bind(a, no_cpu);
}

/* A word of the hook; 0 for a run that has none. */
static void lower_hook_word(struct jit *j, u32 offset)
{
    struct tn_asm *a = &j->a;
    struct tn_fixup none;

    tn_x86_load(a, 8, TN_RAX, tn_mem_base(JIT_RUN, offsetof(struct tn_run, hook)));
    tn_x86_test_rr(a, 8, TN_RAX, TN_RAX);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_load(a, 8, TN_RAX, tn_mem_base(TN_RAX, (s32)offset));
    tn_x86_bind(a, none);
}

/* ----------------------------------------------------------------------------------------------- the host */

/* The convention of eBPF calls is the host's own for up to five integer arguments; which function it is goes
   along in r11. A result of less than eight bytes has anything above them. */
static void lower_host_call(struct jit *j, const struct bpf_insn *in)
{
    struct tn_asm *a = &j->a;
    u32 k = 0;
    const struct tn_host_ref *ref = jit_ref(j, in, &k);

    tn_x86_load(a, 8, JIT_TMP, jit_pool(j, TN_POOL_HOST, k, ref->addr));
    tn_x86_call_m(a, jit_pool(j, TN_POOL_AGENT, TN_ROUTINE_CALL, 0));
    if (ref->result && ref->result < 8 && ref->result_signed)
        tn_x86_movsx_rr(a, 8, ref->result, TN_RAX, TN_RAX);
    else if (ref->result == 4)
        tn_x86_mov_rr(a, 4, TN_RAX, TN_RAX);
    else if (ref->result == 1 || ref->result == 2)
        tn_x86_movzx_rr(a, ref->result, TN_RAX, TN_RAX);
}

static void lower_copy(struct jit *j, u32 at)
{
    u8 kind = j->prog->aux[at].mem_kind;
    u32 routine = kind == TN_MEM_PROBE      ? TN_ROUTINE_COPY_CAREFUL
                  : kind == TN_MEM_PROMISED ? TN_ROUTINE_COPY_PROMISED
                                            : TN_ROUTINE_COPY;

    tn_x86_mov_rr(&j->a, 8, TN_R9, JIT_RUN);
    tn_x86_call_m(&j->a, jit_pool(j, TN_POOL_AGENT, routine, 0));
}

static void lower_careful(struct jit *j, u32 at, const struct bpf_insn *in)
{
    struct tn_asm *a = &j->a;
    u8 bytes = tn_op_rows[tn_op_of(in)].bytes, d = jit_reg[in->dst_reg];

    tn_x86_lea(a, JIT_TMP, mem_of(in, in->src_reg));
    tn_x86_mov_ri(a, JIT_TM2, bytes);
    tn_x86_call_m(a, jit_pool(j, TN_POOL_AGENT, TN_ROUTINE_READ, 0));
    if (tn_op_rows[tn_op_of(in)].kind == TN_KIND_LDSX)
        tn_x86_movsx_rr(a, 8, bytes, d, JIT_TMP);
    else
        tn_x86_mov_rr(a, 8, d, JIT_TMP);
}

/* The answer in the function's place; 0 for the program. */
static void lower_answer(struct jit *j)
{
    tn_x86_store(&j->a, 8, tn_mem_base(JIT_RUN, offsetof(struct tn_run, value)), jit_reg[BPF_REG_2]);
    tn_x86_store_i(&j->a, 4, tn_mem_base(JIT_RUN, offsetof(struct tn_run, replaced)), 1);
    tn_x86_zero(&j->a, TN_RAX);
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
    struct tn_mem m = mem_of(ld, ld->src_reg);

    if (how == JIT_RMW_REG)
        tn_x86_alu_mr(&j->a, bytes, alu_of(op->code), m, jit_reg[op->src_reg]);
    else
        tn_x86_alu_mi(&j->a, bytes, alu_of(op->code), m, op->imm);
}

/* ---------------------------------------------------------------------------------------- one instruction */

static int lower_plain(struct jit *j, u32 at, const struct bpf_insn *in)
{
    struct tn_asm *a = &j->a;
    enum tn_op op = tn_op_of(in);
    u8 bytes = tn_op_rows[op].bytes, d = jit_reg[in->dst_reg], s = jit_reg[in->src_reg];

    switch ((enum tn_kind)tn_op_rows[op].kind) {
    case TN_KIND_ALU:
        lower_alu(j, at, in, bytes);
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
        lower_end(j, in, op);
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
        tn_x86_load(a, bytes, d, mem_of(in, in->src_reg));
        return 0;
    case TN_KIND_LDSX:
        tn_x86_load_sx(a, bytes, d, mem_of(in, in->src_reg));
        return 0;
    case TN_KIND_STX:
        tn_x86_store(a, bytes, mem_of(in, in->dst_reg), s);
        return 0;
    case TN_KIND_ST:
        tn_x86_store_i(a, bytes, mem_of(in, in->dst_reg), in->imm);
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
    case JIT_STORE_IMM:
        next = jit_member(j, at, 1);
        tn_x86_store_i(&j->a, tn_op_rows[tn_op_of(next)].bytes, mem_of(next, next->dst_reg), in->imm);
        return 0;
    case JIT_RMW_IMM:
    case JIT_RMW_REG:
        lower_rmw(j, at, j->plan[at].how, bytes);
        return 0;
    case JIT_ARRAY:
    case JIT_ARRAY_CONST:
    case JIT_PERCPU:
    case JIT_PERCPU_CONST:
        lower_lookup(j, at, j->plan[at].how);
        return 0;
    case JIT_COOKIE:
        lower_hook_word(j, offsetof(struct tn_hook, cookie));
        return 0;
    case JIT_FUNC_IP:
        lower_hook_word(j, offsetof(struct tn_hook, func_ip));
        return 0;
    case JIT_SESSION_RETURN:
        tn_x86_load(&j->a, 4, TN_RAX, tn_mem_base(JIT_RUN, offsetof(struct tn_run, session)));
        return 0;
    case JIT_SESSION_COOKIE:
        tn_x86_lea(&j->a, TN_RAX, tn_mem_base(JIT_RUN, offsetof(struct tn_run, value)));
        return 0;
    case JIT_ANSWER:
        lower_answer(j);
        return 0;
    case JIT_HOST_CALL:
        lower_host_call(j, in);
        return 0;
    case JIT_COPY:
        lower_copy(j, at);
        return 0;
    case JIT_LOOP:
        lower_loop(j, at);
        return 0;
    case JIT_ROUNDS:
        lower_rounds(j, at, in);
        return 0;
    case JIT_CAREFUL:
        lower_careful(j, at, in);
        return 0;
    }
    return -EINVAL;
}
