/* SPDX-License-Identifier: MIT */
/*
 * Calls that are more, or less, than a call: helpers that call back are loops, those that only look something up
 * are a few instructions in place, and what touches the host goes by way of the agent's routines.
 */
#include <errno.h>

#include "jit/lower.h"
#include "rt/rounds.h"

/* Compiled code and C must agree on these; all are reached with one-byte displacements. */
_Static_assert(offsetof(struct tn_run, hook) == 0 && offsetof(struct tn_run, cpu) < 128, "struct tn_run");
_Static_assert(sizeof(((struct tn_run *)0)->cpu) == 4, "struct tn_run.cpu is loaded as 32 bits");
_Static_assert(offsetof(struct tn_hook, cookie) < 128 && offsetof(struct tn_hook, func_ip) < 128,
               "struct tn_hook");
_Static_assert(offsetof(struct tn_map, base) == 0, "struct tn_map");
/* ---------------------------------------------------------------------------------- helpers that call back */

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
    return tn_mem_base(TN_RBP, offset - (s32)jit_frame_bytes(sub));
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
        tn_x86_call(&j->a, jit_entry_of(j, (u32)callback));
}

void jit_lower_loop(struct jit *j, u32 at)
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

void jit_lower_rounds(struct jit *j, u32 at, const struct bpf_insn *in)
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

/* ----------------------------------------------------------------------------------------- inlined helpers */

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
    if (jit_is_power_of_two(stride))
        tn_x86_shift_i(a, 8, TN_SHL, JIT_TMP, (u8)__builtin_ctz(stride));
    else
        tn_x86_imul_rri(a, 8, JIT_TMP, JIT_TMP, (s32)stride);
    tn_x86_alu_rr(a, 8, TN_ADD, TN_RAX, JIT_TMP);
}

void jit_lower_lookup(struct jit *j, u32 at, u8 how)
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
void jit_lower_hook_word(struct jit *j, u32 offset)
{
    struct tn_asm *a = &j->a;
    struct tn_fixup none;

    tn_x86_load(a, 8, TN_RAX, tn_mem_base(JIT_RUN, offsetof(struct tn_run, hook)));
    tn_x86_test_rr(a, 8, TN_RAX, TN_RAX);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_load(a, 8, TN_RAX, tn_mem_base(TN_RAX, (s32)offset));
    tn_x86_bind(a, none);
}

/*
 * Who runs, as tn_helper_get_current_pid_tgid has it: the process's id as its private page knows it and the thread's as its libc
 * keeps it, where both are known and the process is the one that was attached to, with no vfork child in its memory. All else is
 * for the helper. Most programs that trace begin with it, and all that they do hangs on the answer.
 */
void jit_lower_pid_tgid(struct jit *j)
{
    struct tn_asm *a = &j->a;
    struct tn_fixup ask[5], known;

    tn_x86_load(a, 8, JIT_TM2, tn_mem_base(JIT_RUN, offsetof(struct tn_run, proc)));
    tn_x86_test_rr(a, 8, JIT_TM2, JIT_TM2);
    ask[0] = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_load_sx(a, 4, JIT_TMP, tn_mem_base(JIT_TM2, offsetof(struct tn_proc, tid_off)));
    tn_x86_load(a, 8, JIT_TM2, tn_mem_base(JIT_TM2, offsetof(struct tn_proc, priv)));
    tn_x86_test_rr(a, 8, JIT_TM2, JIT_TM2);
    ask[1] = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_test_rr(a, 8, JIT_TMP, JIT_TMP);
    ask[2] = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_alu_mi(a, 8, TN_CMP, tn_mem_base(JIT_TM2, offsetof(struct tn_private, armed)), TN_ARMED);
    ask[3] = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    tn_x86_load(a, 4, TN_RAX, tn_mem_base(JIT_TM2, offsetof(struct tn_private, pid)));
    tn_x86_shift_i(a, 8, TN_SHL, TN_RAX, 32);
    ask[4] = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_load(a, 4, JIT_TMP, tn_mem_fs_base(JIT_TMP, 0));
    tn_x86_alu_rr(a, 8, TN_OR, TN_RAX, JIT_TMP);
    known = tn_x86_jmp_fwd(a, 1);
    for (u32 i = 0; i < TN_ARRAY_SIZE(ask); i++)
        tn_x86_bind(a, ask[i]);
    tn_x86_mov_rr(a, 8, TN_R9, JIT_RUN);
    tn_x86_call_m(a, jit_pool(j, TN_POOL_HELPER, BPF_FUNC_get_current_pid_tgid, 0));
    tn_x86_bind(a, known);
}

/* ------------------------------------------------------------------------------------------------ the host */

/* The convention of eBPF calls is the host's own for up to five integer arguments; which function it is goes
   along in r11. A result of less than eight bytes has anything above them. */
void jit_lower_host_call(struct jit *j, const struct bpf_insn *in)
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

void jit_lower_copy(struct jit *j, u32 at)
{
    u8 kind = j->prog->aux[at].mem_kind;
    u32 routine = kind == TN_MEM_PROBE      ? TN_ROUTINE_COPY_CAREFUL
                  : kind == TN_MEM_PROMISED ? TN_ROUTINE_COPY_PROMISED
                                            : TN_ROUTINE_COPY;

    tn_x86_mov_rr(&j->a, 8, TN_R9, JIT_RUN);
    tn_x86_call_m(&j->a, jit_pool(j, TN_POOL_AGENT, routine, 0));
}

void jit_lower_careful(struct jit *j, u32 at, const struct bpf_insn *in)
{
    struct tn_asm *a = &j->a;
    u8 bytes = tn_op_rows[tn_op_of(in)].bytes, d = jit_reg[in->dst_reg];

    tn_x86_lea(a, JIT_TMP, jit_mem_of(in, in->src_reg));
    tn_x86_mov_ri(a, JIT_TM2, bytes);
    tn_x86_call_m(a, jit_pool(j, TN_POOL_AGENT, TN_ROUTINE_READ, 0));
    if (tn_op_rows[tn_op_of(in)].kind == TN_KIND_LDSX)
        tn_x86_movsx_rr(a, 8, bytes, d, JIT_TMP);
    else
        tn_x86_mov_rr(a, 8, d, JIT_TMP);
}

/* The answer in the function's place; 0 for the program. */
void jit_lower_answer(struct jit *j)
{
    tn_x86_store(&j->a, 8, tn_mem_base(JIT_RUN, offsetof(struct tn_run, value)), jit_reg[BPF_REG_2]);
    tn_x86_store_i(&j->a, 4, tn_mem_base(JIT_RUN, offsetof(struct tn_run, replaced)), 1);
    tn_x86_zero(&j->a, TN_RAX);
}
