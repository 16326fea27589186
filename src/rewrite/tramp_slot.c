/* SPDX-License-Identifier: MIT */
/*
 * May a run start, and whose slot is it: what the agent would find out, where it is plain. Armed is exactly 1
 * (this process, no vfork in flight; for links that follow, a fork child that is known to be one will do), the
 * thread's own slot is where its hash says, and no run is under way on the thread (slot.sp is 0). That takes no
 * locked instruction and no call. A program that needs a CPU to itself claims it with one locked instruction.
 * Everything else is the agent's business.
 *
 * slot.sp gets the frame's lowest address. An outermost run is told from an abandoned one by comparing that
 * with the place where a new frame would start (agent.c), whatever the size of either.
 */
#include "rewrite/tramp.h"

_Static_assert(sizeof(struct tn_slot) == 1 << 6 && TN_SLOT_COUNT == 1 << 10,
               "the slot's offset is masked out of the hash");
_Static_assert(sizeof(struct tn_cpu_claim) == 1 << 6, "the CPU's number is shifted into an offset");
_Static_assert(offsetof(struct tn_cpu_claim, owner) == 0 && offsetof(struct tn_slot, owner) == 0,
               "reached without displacement");

static void slow_if(struct tramp *t, enum tn_x86_cc cc)
{
    t->slow[t->nslow++] = tn_x86_jcc_fwd(&t->a, 4, cc);
}

/* The instruction just emitted ends with a displacement that is to lead to a word of this value. */
static void literal(struct tramp *t, u64 value)
{
    t->literal[t->nliterals].at = (struct tn_fixup){.at = t->a.len - 4, .size = 4};
    t->literal[t->nliterals++].value = value;
}

void tramp_literals(struct tramp *t)
{
    while (t->a.len % 8)
        tn_x86_int3(&t->a);
    for (u32 i = 0; i < t->nliterals; i++) {
        tn_x86_bind(&t->a, t->literal[i].at);
        tn_x86_u64(&t->a, t->literal[i].value);
    }
}

/* The thread's slot, if it is this thread's and nothing runs: taken for this run. */
void tramp_take_slot(struct tramp *t)
{
    static const u8 rdfsbase_rax[] = {0xf3, 0x48, 0x0f, 0xae, 0xc0};
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    u8 s = t->slot;

    struct tn_mem armed = tn_mem_pos((s64)(in->priv - in->at));

    if (!tramp_near(in, in->priv, sizeof(struct tn_private))) {
        tn_x86_mov_ri(a, s, in->priv);
        armed = tn_mem_base(s, 0);
    }
    if (in->follow && !in->facts->percpu) { /* a CPU is claimed in the name of the process that is baked in */
        tn_x86_load(a, 8, TN_RAX, armed);
        tn_x86_alu_ri(a, 8, TN_SUB, TN_RAX, TN_ARMED);
        tn_x86_alu_ri(a, 8, TN_CMP, TN_RAX, TN_ARMED_FORKED - TN_ARMED);
        slow_if(t, TN_CC_A);
    } else {
        tn_x86_alu_mi(a, 8, TN_CMP, armed, TN_ARMED);
        slow_if(t, TN_CC_NE);
    }
    if (in->tp == TN_TP_RDFSBASE) {
        tn_x86_bytes(a, rdfsbase_rax, sizeof(rdfsbase_rax));
        /* A thread without a thread area: its pointer would match a slot that is free. */
        tn_x86_test_rr(a, 8, TN_RAX, TN_RAX);
        slow_if(t, TN_CC_E);
    } else {
        tn_x86_load(a, 8, TN_RAX, tn_mem_fs(0));
    }
    /* The top bits of the hash, left where they are a slot's offset. */
    tn_x86_imul_rri(a, 4, s, TN_RAX, (s32)TN_SLOT_HASH_MUL);
    tn_x86_shift_i(a, 4, TN_SHR, s, TN_SLOT_HASH_SHIFT - 6);
    tn_x86_alu_ri(a, 4, TN_AND, s, (TN_SLOT_COUNT - 1) << 6);
    tn_x86_alu_rm(a, 8, TN_ADD, s, tn_mem_pos(0));
    literal(t, in->priv + offsetof(struct tn_private, slot));
    tn_x86_alu_mr(a, 8, TN_CMP, tn_mem_base(s, 0), TN_RAX);
    slow_if(t, TN_CC_NE);
    /*
     * No run under way: whatever bits are set belong to nobody, so that the byte is stored, not changed. A
     * chain of changes of one byte would make each call wait for the one before, which costs more than all
     * the rest.
     */
    tn_x86_alu_mi(a, 8, TN_CMP, tn_mem_base(s, (s32)offsetof(struct tn_slot, sp)), 0);
    slow_if(t, TN_CC_NE);
    tn_x86_store(a, 8, tn_mem_base(s, (s32)offsetof(struct tn_slot, sp)), TN_RSP);
    tn_x86_store_i(a, 1, tn_mem_base(s, (s32)offsetof(struct tn_slot, running) + (s32)(in->prog_bit / 8)),
                   (s8)(1u << in->prog_bit % 8));
}

void tramp_leave_slot(struct tramp *t)
{
    u8 s = t->slot;

    tn_x86_store_i(&t->a, 1,
                   tn_mem_base(s, (s32)offsetof(struct tn_slot, running) + (s32)(t->in->prog_bit / 8)), 0);
    tn_x86_store_i(&t->a, 8, tn_mem_base(s, (s32)offsetof(struct tn_slot, sp)), 0);
}

/*
 * The present CPU's claim, tried once. After the slot is taken, and given back before: a signal handler that
 * comes between finds a run under way and does not take the claim for one that was left behind. rax is the
 * thread pointer, as take_slot left it. A thread without rseq has a CPU number above any.
 */
void tramp_claim_cpu(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    struct tn_fixup none, mine;

    tn_x86_load(a, 4, t->cpu, tn_mem_fs(in->rseq_cpu_off));
    tn_x86_alu_ri(a, 4, TN_CMP, t->cpu, (s32)in->ncpu);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_AE);
    tn_x86_store(a, 4, RUN(cpu), t->cpu);
    tn_x86_shift_i(a, 4, TN_SHL, t->cpu, 6);
    tn_x86_alu_rm(a, 8, TN_ADD, t->cpu, tn_mem_pos(0));
    literal(t, in->claims);
    tn_x86_alu_ri(a, 4, TN_AND, TN_RAX, ~7);
    tn_x86_load(a, 8, t->owner, tn_mem_pos(0));
    literal(t, (u64)in->owner_pid << 32);
    tn_x86_alu_rr(a, 8, TN_OR, t->owner, TN_RAX);
    tn_x86_zero(a, TN_RAX);
    tn_x86_lock(a);
    tn_x86_cmpxchg_mr(a, 8, tn_mem_base(t->cpu, 0), t->owner);
    mine = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_bind(a, none);
    tramp_leave_slot(t);
    t->slow[t->nslow++] = tn_x86_jmp_fwd(a, 4);
    tn_x86_bind(a, mine);
    tn_x86_store(a, 8, AT(CLAIM), t->cpu);
}

/* Where the host was called meanwhile, the claim was given back for that, and the run says which it has got instead,
   or that there is none. */
void tramp_give_back_cpu(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    struct tn_fixup none;

    if (!in->facts->calls_host) {
        tn_x86_load(a, 8, TN_RAX, AT(CLAIM));
        tn_x86_store_i(a, 8, tn_mem_base(TN_RAX, 0), 0);
        return;
    }
    tn_x86_load(a, 4, TN_RAX, RUN(cpu));
    tn_x86_alu_ri(a, 4, TN_CMP, TN_RAX, (s32)in->ncpu);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_AE);
    tn_x86_shift_i(a, 4, TN_SHL, TN_RAX, 6);
    tn_x86_alu_rm(a, 8, TN_ADD, TN_RAX, tn_mem_pos(0));
    literal(t, in->claims);
    tn_x86_store_i(a, 8, tn_mem_base(TN_RAX, 0), 0);
    tn_x86_bind(a, none);
}
