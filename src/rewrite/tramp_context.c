/* SPDX-License-Identifier: MIT */
/*
 * What a program finds in its context and its run, as far as it reads them, and what becomes of what it stores
 * there.
 *
 * A typed context (programs of type tracing) is an array of words, one an argument. It lies below the frame,
 * so that everything else keeps its place from `low` on.
 *
 * Arguments that a program reads at an exit were kept by a trampoline at the entry, which runs no program and
 * asks no question, not even the gate's (stash.h). The exit looks for them when it is known that the run is meant to
 * be; where they are not to be had, it is missed. Of a struct that was passed in memory a copy was kept, which
 * stands behind the words, and the word is its address.
 *
 * What a program stores to its context becomes the host's: words of struct tn_pt_regs are in the frame, from
 * which registers are restored anyway; typed words are put there, or to their place on the stack, behind the
 * program. A program that stores nothing pays nothing for that.
 */
#include <errno.h>

#include "rewrite/stash.h"
#include "rewrite/tramp.h"

static const struct tramp_saved callee_saved[] = {
    {TN_RBX, offsetof(struct tn_pt_regs, bx)},  {TN_RBP, offsetof(struct tn_pt_regs, bp)},
    {TN_R12, offsetof(struct tn_pt_regs, r12)}, {TN_R13, offsetof(struct tn_pt_regs, r13)},
    {TN_R14, offsetof(struct tn_pt_regs, r14)}, {TN_R15, offsetof(struct tn_pt_regs, r15)},
};

s32 tramp_above(const struct tramp *t)
{
    return FRAME + t->low + (t->prelude ? PRELUDE : 0) + (t->offset ? RED_ZONE : 0);
}

struct tn_mem tramp_host_rax(const struct tramp *t)
{
    return t->prelude ? AT(FRAME + 8) : REG(ax);
}

static void load_host_rax(struct tramp *t, u8 to)
{
    tn_x86_load(&t->a, 8, to, tramp_host_rax(t));
}

/* The number of the system call, into rax. */
static void load_number(struct tramp *t)
{
    static const u8 cdqe[] = {0x48, 0x98}; /* Linux looks at 32 bits */

    if (t->in->nr != TN_NR_UNKNOWN) {
        tn_x86_mov_ri(&t->a, TN_RAX, (u64)(s64)t->in->nr);
        return;
    }
    if (t->in->place == TN_PLACE_SYSENTER)
        load_host_rax(t, TN_RAX);
    else if (t->scratch & BIT(TN_R11))
        tn_x86_load(&t->a, 8, TN_RAX, REG(r11));
    else
        tn_x86_mov_rr(&t->a, 8, TN_RAX, TN_R11);
    tn_x86_bytes(&t->a, cdqe, sizeof(cdqe));
}

static struct tn_mem stack_word(const struct tramp *t, u8 from)
{
    u32 base = tramp_is_address(from) ? TN_FROM_ADDRESS : TN_FROM_STACK;

    return tn_mem_base(TN_RSP, tramp_above(t) + 8 + 8 * (from - (s32)base));
}

/* A typed context: a word an argument, from where the ABI has it, or had it at the entry. */
static void fill_args(struct tramp *t)
{
    struct tn_asm *a = &t->a;

    if (t->kept)
        tn_stash_load(a, t->in->stash, t->in->args, t->kept, tramp_above(t), t->lost);
    for (u32 w = 0; w < t->in->args->nwords; w++) {
        u8 from = t->in->args->from[w], src = TN_RAX;

        if (t->kept >> w & 1 && tramp_is_address(from)) {
            u32 before = t->in->args->nwords + tn_stash_copied(t->in->args, t->kept, w);

            tn_x86_lea(a, TN_RAX, tn_mem_base(TN_RSP, 8 * (s32)before));
            tn_x86_store(a, 8, tn_mem_base(TN_RSP, 8 * (s32)w), TN_RAX);
        }
        if (!tramp_reads_word(t, w) || t->kept >> w & 1)
            continue;
        if (from == TN_FROM_RESULT)
            load_host_rax(t, TN_RAX);
        else if (from == TN_FROM_NR)
            load_number(t);
        else if (from == TN_FROM_REGS)
            tn_x86_lea(a, TN_RAX, AT(0));
        else if (from == TN_FROM_NOTHING)
            tn_x86_zero(a, TN_RAX);
        else if (from == TN_FROM_R10 && !(t->scratch & BIT(TN_R10)))
            src = TN_R10;
        else if (from == TN_FROM_R10)
            tn_x86_load(a, 8, TN_RAX, REG(r10));
        else if (from == TN_FROM_RESULT_HIGH && !(t->save & BIT(TN_RDX)))
            src = TN_RDX;
        else if (from == TN_FROM_RESULT_HIGH)
            tn_x86_load(a, 8, TN_RAX, REG(dx));
        else if (tramp_is_address(from))
            tn_x86_lea(a, TN_RAX, stack_word(t, from));
        else if (tramp_on_stack(from))
            tn_x86_load(a, 8, TN_RAX, stack_word(t, from));
        else if (t->scratch & BIT(tramp_argument[from].reg)) /* has another value by now */
            tn_x86_load(a, 8, TN_RAX, AT(tramp_argument[from].off));
        else
            src = tramp_argument[from].reg;
        tn_x86_store(a, 8, tn_mem_base(TN_RSP, 8 * (s32)w), src);
    }
}

/* What the program has stored to its context is the host's, once registers are restored. rax is free. */
void tramp_change(struct tramp *t)
{
    const struct tn_typed_args *args = t->in->args;
    struct tn_asm *a = &t->a;

    if (!args && t->prelude && tramp_writes_word(t, offsetof(struct tn_pt_regs, ax) / 8)) {
        tn_x86_load(a, 8, TN_RAX, REG(ax));
        tn_x86_store(a, 8, tramp_host_rax(t), TN_RAX);
    }
    for (u32 w = 0; args && w < args->nwords; w++) {
        struct tn_mem word = tn_mem_base(TN_RSP, 8 * (s32)w);
        u8 from = args->from[w];

        if (!tramp_writes_word(t, w))
            continue;
        if (args->narrow[w] < 0)
            tn_x86_load_sx(a, (u8)-args->narrow[w], TN_RAX, word);
        else
            tn_x86_load(a, args->narrow[w] ? (u8)args->narrow[w] : 8, TN_RAX, word);
        tn_x86_store(a, 8,
                     from == TN_FROM_RESULT        ? tramp_host_rax(t)
                     : from == TN_FROM_RESULT_HIGH ? REG(dx)
                     : tramp_on_stack(from)        ? stack_word(t, from)
                                                   : AT(tramp_argument[from].off),
                     TN_RAX);
    }
}

/* As the call returns: is it to be, and with what word? rax is free, and TN_STASH_CLOBBERS. */
static void find_session(struct tramp *t)
{
    struct tn_asm *a = &t->a;

    tn_stash_load(a, t->in->stash, NULL, TN_SESSION_WORDS, tramp_above(t), t->lost);
    tn_stash_used(a);
    tn_x86_load(a, 8, TN_RAX, tn_mem_base(TN_RSP, 0));
    tn_x86_store(a, 8, RUN(value), TN_RAX);
    tn_x86_alu_mi(a, 4, TN_CMP, tn_mem_base(TN_RSP, 8), 0);
    t->over = tn_x86_jcc_fwd(a, 4, TN_CC_E);
}

/* As it is entered, behind the program: what the return will find. `ran`: eax is what the program returned. */
void tramp_keep_session(struct tramp *t, bool ran)
{
    const struct tn_tramp_in *in = t->in;

    if (!in->session || in->place == TN_PLACE_EXIT)
        return;
    if (ran)
        tn_x86_mov_rr(&t->a, 4, TN_RCX, TN_RAX);
    else
        tn_x86_mov_ri(&t->a, TN_RCX, 1);
    tn_stash_session(&t->a, in->stash, tramp_above(t),
                     t->low + RUN_OFF + (s32)offsetof(struct tn_run, value));
}

/* Behind the program, where a session's return goes on whose entry has said no. */
void tramp_end_session(struct tramp *t)
{
    if (t->in->session && t->in->place == TN_PLACE_EXIT)
        tn_x86_bind(&t->a, t->over);
}

/* The parts of the context that are not there by saving registers, where the program reads them.
   rax is free. */
void tramp_fill_context(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    s32 host = tramp_above(t);

    if (in->args)
        fill_args(t);
    if (in->session && in->place == TN_PLACE_EXIT)
        find_session(t);
    if (!t->regs)
        return;
    for (u32 i = 0; i < TN_ARRAY_SIZE(callee_saved); i++)
        if (tramp_reads(t, callee_saved[i].off))
            tn_x86_store(a, 8, AT(callee_saved[i].off), callee_saved[i].reg);
    if (in->place == TN_PLACE_SYSENTER && tramp_reads(t, offsetof(struct tn_pt_regs, ax))) {
        tn_x86_store_i(a, 8, REG(ax), -ENOSYS);
    } else if (t->prelude && tramp_reads(t, offsetof(struct tn_pt_regs, ax))) {
        load_host_rax(t, TN_RAX);
        tn_x86_store(a, 8, REG(ax), TN_RAX);
    }
    if (t->wants_flags) {
        if (in->stacks)
            tn_switch_flags(a, FRAME + t->low);
        else
            tn_x86_load(a, 8, TN_RAX, AT(FRAME));
        tn_x86_store(a, 8, REG(flags), TN_RAX);
    }
    if (tramp_reads(t, offsetof(struct tn_pt_regs, ip))) {
        if (in->place == TN_PLACE_EXIT && in->stacks)
            tn_x86_load(a, 8, TN_RAX, AT(FRAME + offsetof(struct tn_switch_head, sp)));
        tn_x86_load(a, 8, TN_RAX,
                    in->place != TN_PLACE_EXIT ? HOOK(func_ip)
                    : in->stacks               ? tn_mem_base(TN_RAX, 0)
                                               : tn_mem_base(TN_RSP, host));
        tn_x86_store(a, 8, REG(ip), TN_RAX);
    }
    if (tramp_reads(t, offsetof(struct tn_pt_regs, sp))) {
        if (in->stacks)
            tn_x86_load(a, 8, TN_RAX, AT(FRAME + offsetof(struct tn_switch_head, sp)));
        else
            tn_x86_lea(a, TN_RAX, tn_mem_base(TN_RSP, host));
        if (in->place == TN_PLACE_EXIT)
            tn_x86_lea(a, TN_RAX, tn_mem_base(TN_RAX, 8));
        tn_x86_store(a, 8, REG(sp), TN_RAX);
    }
    /* Linux's selectors of 64-bit user code and data. */
    if (tramp_reads(t, offsetof(struct tn_pt_regs, cs)))
        tn_x86_store_i(a, 8, REG(cs), 0x33);
    if (tramp_reads(t, offsetof(struct tn_pt_regs, ss)))
        tn_x86_store_i(a, 8, REG(ss), 0x2b);
    if (t->call && tramp_reads(t, offsetof(struct tn_pt_regs, orig_ax))) {
        load_number(t);
        tn_x86_store(a, 8, REG(orig_ax), TN_RAX);
    } else if (tramp_reads(t, offsetof(struct tn_pt_regs, orig_ax))) {
        tn_x86_store_i(a, 8, REG(orig_ax), -1);
    }
}

/* The run, but for its slot and CPU. rax is free. */
void tramp_fill_run(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;

    tn_x86_lea(a, TN_RAX, HOOK(prog));
    tn_x86_store(a, 8, RUN(hook), TN_RAX);
    tn_x86_load(a, 8, TN_RAX, HOOK(proc));
    tn_x86_store(a, 8, RUN(proc), TN_RAX);
    if (in->session) {
        tn_x86_lea(a, TN_RAX, AT(0));
        tn_x86_store(a, 8, RUN(ctx), TN_RAX);
        tn_x86_store_i(a, 4, RUN(session), in->place == TN_PLACE_EXIT);
        if (in->place != TN_PLACE_EXIT)
            tn_x86_store_i(a, 8, RUN(value), 0);
    } else {
        tn_x86_store(a, 8, RUN(ctx), TN_RSP);
    }
    tn_x86_store_i(a, 4, RUN(nrings), 0);
    if (in->replace)
        tn_x86_store_i(a, 4, RUN(replaced), 0);
}
