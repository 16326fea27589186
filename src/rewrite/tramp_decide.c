/* SPDX-License-Identifier: MIT */
/*
 * What a trampoline does at the least, by what the program's facts, its footprint and the place allow.
 *
 * Which registers the fast way works with is chosen by what the program does: rax, which every program
 * clobbers, and for the slot one that the program leaves alone, so that it is at hand when it returns. Where only
 * a few registers are to be saved, the frame is a light one; where flags are dead, there is no prelude.
 */
#include "rewrite/stash.h"
#include "rewrite/tramp.h"

#define LIGHT_MAX 5 /* registers that a light frame pushes at most */
#define KEPT_MAX  6 /* words that the fast way looks up at most: more are too much text */

const struct tramp_saved tramp_caller_saved[] = {
    {TN_RAX, offsetof(struct tn_pt_regs, ax)},  {TN_RCX, offsetof(struct tn_pt_regs, cx)},
    {TN_RDX, offsetof(struct tn_pt_regs, dx)},  {TN_RSI, offsetof(struct tn_pt_regs, si)},
    {TN_RDI, offsetof(struct tn_pt_regs, di)},  {TN_R8, offsetof(struct tn_pt_regs, r8)},
    {TN_R9, offsetof(struct tn_pt_regs, r9)},   {TN_R10, offsetof(struct tn_pt_regs, r10)},
    {TN_R11, offsetof(struct tn_pt_regs, r11)},
};

const struct tramp_saved tramp_argument[TN_FROM_STACK] = {
    {TN_RDI, offsetof(struct tn_pt_regs, di)}, {TN_RSI, offsetof(struct tn_pt_regs, si)},
    {TN_RDX, offsetof(struct tn_pt_regs, dx)}, {TN_RCX, offsetof(struct tn_pt_regs, cx)},
    {TN_R8, offsetof(struct tn_pt_regs, r8)},  {TN_R9, offsetof(struct tn_pt_regs, r9)},
};

/* Where results are, without types. */
static const struct tramp_saved result[] = {{TN_RAX, offsetof(struct tn_pt_regs, ax)},
                                            {TN_RDX, offsetof(struct tn_pt_regs, dx)}};

bool tramp_writes_word(const struct tramp *t, u32 word)
{
    return t->in->facts->ctx_written[0] >> word & 1;
}

bool tramp_reads_word(const struct tramp *t, u32 word)
{
    return t->ctx && (t->in->facts->ctx_escapes || (t->in->facts->ctx_read[0] >> word & 1) ||
                      tramp_writes_word(t, word));
}

bool tramp_reads(const struct tramp *t, u32 off)
{
    return t->regs && (t->in->args || tramp_reads_word(t, off / 8));
}

/* A register that is not in `taken`: one of `prefer` if there is. */
static u8 choose(u32 taken, u32 prefer)
{
    for (u32 round = 0; round < 2; round++)
        for (u32 i = 0; i < TN_ARRAY_SIZE(tramp_caller_saved); i++) {
            u8 reg = tramp_caller_saved[i].reg;

            if (!(taken & BIT(reg)) && (round || (prefer & BIT(reg))))
                return reg;
        }
    return TN_NOREG;
}

bool tramp_inlined(const struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;

    if (in->tp == TN_TP_ARCH_PRCTL || __builtin_popcount(t->kept) > KEPT_MAX || t->copied)
        return false;
    return !in->facts->percpu || (in->claims && in->ncpu && in->rseq_cpu_off && in->owner_pid);
}

/* What storing to word `w` changes at that place: a register, TN_NOREG a word of the stack; −1: nothing that may be. */
static int changed(const struct tn_typed_args *args, enum tn_place_kind place, u32 w)
{
    const struct tramp_saved *may = place == TN_PLACE_ENTRY ? tramp_argument : result;
    u32 n = place == TN_PLACE_ENTRY  ? TN_ARRAY_SIZE(tramp_argument)
            : place == TN_PLACE_EXIT ? TN_ARRAY_SIZE(result)
                                     : 0;

    for (u32 k = 0; !args && k < n; k++)
        if (may[k].off == 8 * w)
            return may[k].reg;
    if (!args || w >= args->nwords || !n)
        return -1;
    if (place == TN_PLACE_EXIT)
        return args->from[w] == TN_FROM_RESULT ? TN_RAX : args->from[w] == TN_FROM_RESULT_HIGH ? TN_RDX : -1;
    return args->from[w] < TN_FROM_STACK   ? tramp_argument[args->from[w]].reg
           : tramp_on_stack(args->from[w]) ? TN_NOREG
                                           : -1;
}

u16 tn_tramp_changes(const struct tn_facts *facts, const struct tn_typed_args *args, enum tn_place_kind place)
{
    u16 regs = 0;

    for (u32 w = 0; w < 64; w++) {
        int reg = facts->ctx_written[0] >> w & 1 ? changed(args, place, w) : -1;

        regs |= reg >= 0 && reg != TN_NOREG ? (u16)(1u << reg) : 0;
    }
    return regs & (u16)~BIT(TN_RAX);
}

bool tramp_may_change(const struct tn_tramp_in *in)
{
    const u64 *written = in->facts->ctx_written;

    if (written[1] | written[2] | written[3] || (written[0] && (in->session || in->stacks)))
        return false;
    for (u32 w = 0; w < 64; w++)
        if (written[0] >> w & 1 && changed(in->args, in->place, w) < 0)
            return false;
    return true;
}

void tramp_decide(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    u32 clobbers = in->footprint ? in->footprint & CALLER_SAVED : CALLER_SAVED;

    t->ctx = !in->footprint || (in->footprint & TN_FOOT_CTX) || in->facts->ctx_written[0];
    t->run =
        !in->footprint || (in->footprint & TN_FOOT_RUN) || in->facts->percpu || in->replace || in->session;
    t->kept = t->ctx && in->stash && in->args ? tn_stash_words(in->facts, in->args) : 0;
    t->copied = tn_stash_copied(in->args, t->kept, TN_TYPED_WORDS);
    t->low = in->args ? TN_ROUND_UP((s32)(in->args->nwords + t->copied) * 8, 16) : 0;
    if (in->session && in->place == TN_PLACE_EXIT) {
        t->kept = TN_SESSION_WORDS;
        t->low = 16;
    }
    t->call = in->place == TN_PLACE_SYSENTER || in->place == TN_PLACE_SYSEXIT;
    t->offset = in->place == TN_PLACE_OFFSET || t->call;
    t->regs = !in->args;
    for (u32 w = 0; in->args && w < in->args->nwords; w++)
        t->regs |= in->args->from[w] == TN_FROM_REGS && tramp_reads_word(t, w);
    t->wants_flags = tramp_reads(t, offsetof(struct tn_pt_regs, flags));
    t->noted = in->place == TN_PLACE_SYSEXIT && in->nr == TN_NR_UNKNOWN;
    t->prelude = (t->offset && (!in->flags_dead || t->noted)) || t->wants_flags || in->stacks;
    if (in->stacks)
        t->offset = false; /* what is there stays as it is */

    clobbers |= BIT(TN_RAX) | (t->ctx ? BIT(TN_RDI) : 0) | (t->run ? BIT(TN_RSI) : 0) |
                (t->kept || in->session ? TN_STASH_CLOBBERS : 0) |
                tn_tramp_changes(in->facts, in->args, in->place);
    t->slot = choose(clobbers, CALLER_SAVED);
    t->spill = t->slot == TN_NOREG;
    if (t->spill)
        t->slot = TN_RCX;
    t->scratch = BIT(TN_RAX) | BIT(t->slot);
    if (in->facts->percpu) {
        t->cpu = choose(t->scratch, clobbers);
        t->scratch |= BIT(t->cpu);
        t->owner = choose(t->scratch, clobbers);
        t->scratch |= BIT(t->owner);
    }
    t->save = clobbers | t->scratch;
    t->light = !t->ctx && !t->run && !t->spill && __builtin_popcount(t->save) <= LIGHT_MAX;
    if (t->light)
        t->scratch = t->save;
    if (t->prelude) { /* which has rax */
        t->save &= ~BIT(TN_RAX);
        t->scratch &= ~BIT(TN_RAX);
    }
}
