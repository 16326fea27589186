/* SPDX-License-Identifier: MIT */
/*
 * One link's trampoline: a fast way with as little as the facts allow, and a slow way that starts again from
 * the state at the jump and lets the agent decide.
 *
 *     prelude     only where flags are live or read, below the host's red zone at offsets: rax, flags
 *     fast way    light frame   what the program clobbers, pushed (programs that read neither context nor
 *                               run)
 *                 full frame    struct tn_pt_regs │ struct tn_run │ claim, from the stack pointer up
 *     slow way    full frame, everything saved
 *
 * The fast way takes no locked instruction and no call but the program's, and not that one where the program is
 * small enough to be part of the trampoline (splice.c). How little it saves is decided in tramp_decide.c, whether
 * a run may start in tramp_slot.c; what the program finds is filled in by tramp_context.c.
 *
 * A run that answers in the host's place (`replace`) says so in its record; the host's own code is then left out,
 * and so are the hooks that would come after it at the entry. Those at the exits see the answer as they see a
 * result.
 *
 * Where the host's stack is not to be touched (Go), all of this runs on one of ours, whose head stands where the prelude
 * would (switch.h).
 *
 * A closed gate costs three compares and three jumps where the trampoline is fused, one of them around the program;
 * a compare and five jumps, two of them through words, where it stands apart and has no prelude.
 */
#include "rewrite/trampoline.h"

#include <errno.h>

#include "agent/agent.h"
#include "rewrite/callword.h"
#include "rewrite/mark.h"
#include "rewrite/refusals.h"
#include "rewrite/splice.h"
#include "rewrite/stash.h"
#include "rewrite/tramp.h"

/* ------------------------------------------------------------------------------------------------ pieces */

static void call(struct tn_asm *a, const struct tn_tramp_in *in, u64 target)
{
    if (tramp_near(in, target, 0)) {
        tn_x86_call(a, (s64)(target - in->at));
    } else {
        tn_x86_mov_ri(a, TN_RAX, target);
        tn_x86_call_r(a, TN_RAX);
    }
}

static void run_program(struct tramp *t, bool splice)
{
    const struct tn_tramp_in *in = t->in;

    if (t->ctx && in->session)
        tn_x86_lea(&t->a, TN_RDI, AT(0));
    else if (t->ctx)
        tn_x86_mov_rr(&t->a, 8, TN_RDI, TN_RSP);
    if (t->run)
        tn_x86_lea(&t->a, TN_RSI, AT(RUN_OFF));
    if (!splice || !in->text || in->facts->may_fault || /* whose faults are told by address */
        !tn_splice(&t->a, in->at, in->text, in->text_len, in->text_at))
        tn_x86_call_m(&t->a, HOOK(prog));
    if (in->replace == TN_REPLACE_BY_RESULT) {
        struct tn_fixup none;

        tn_x86_test_rr(&t->a, 8, TN_RAX, TN_RAX);
        none = tn_x86_jcc_fwd(&t->a, 1, TN_CC_E);
        tn_x86_store(&t->a, 8, RUN(value), TN_RAX);
        tn_x86_store_i(&t->a, 4, RUN(replaced), 1);
        tn_x86_bind(&t->a, none);
    }
}

static void prelude(struct tramp *t)
{
    if (t->in->stacks) {
        t->own = (struct tn_switch){
            .at = t->in->at, .stacks = t->in->stacks, .gate = t->in->gate, .tp = t->in->tp};
        tn_switch_to(&t->a, &t->own);
        return;
    }
    if (t->offset)
        tn_x86_lea(&t->a, TN_RSP, tn_mem_base(TN_RSP, -RED_ZONE));
    if (!t->prelude)
        return;
    tn_x86_push(&t->a, TN_RAX);
    if (t->wants_flags) {
        tn_x86_pushf(&t->a);
    } else {
        tn_x86_flags_to_ax(&t->a);
        tn_x86_push(&t->a, TN_RAX);
    }
}

static void end_prelude(struct tramp *t)
{
    if (t->in->stacks) {
        tn_switch_back(&t->a);
        return;
    }
    if (t->prelude && t->wants_flags) {
        tn_x86_popf(&t->a);
    } else if (t->prelude) {
        tn_x86_pop(&t->a, TN_RAX);
        tn_x86_flags_from_ax(&t->a);
    }
    if (t->prelude)
        tn_x86_pop(&t->a, TN_RAX);
    if (t->offset)
        tn_x86_lea(&t->a, TN_RSP, tn_mem_base(TN_RSP, RED_ZONE));
}

/* The instruction behind is skipped where ecx is 0. Flags are not touched. */
static struct tn_fixup jecxz(struct tramp *t)
{
    static const u8 jecxz[] = {0x67, 0xe3, 0};

    tn_x86_bytes(&t->a, jecxz, sizeof(jecxz));
    return (struct tn_fixup){.at = t->a.len - 1, .size = 1};
}

/* lea −only(%reg),%ecx: 0 where it is the number that is meant. */
static void compare_number(struct tramp *t, u8 reg)
{
    const u8 lea[] = {reg >= 8 ? 0x41 : 0x40, 0x8d, (u8)(0x88 | (reg & 7))};
    s32 less = -t->in->only;

    tn_x86_bytes(&t->a, lea, sizeof(lea));
    tn_x86_bytes(&t->a, (const u8 *)&less, sizeof(less));
}

/* Compares the lower half of a word of ours, in reach, with that of `value`. Always ten bytes. */
static void compare_word(struct tramp *t, u64 word, u64 value)
{
    static const u8 cmp[] = {0x81, 0x3d};

    tn_x86_bytes(&t->a, cmp, sizeof(cmp));
    tn_x86_u32(&t->a, (u32)(word - (t->in->at + t->a.len + 8)));
    tn_x86_u32(&t->a, (u32)value);
}

#define COMPARE_WORD 16u /* with the jump behind it */

/* What is displaced before the hook, and on to the chain's first link if that is another one. */
static int fuse_before(struct tramp *t, struct tn_error *err)
{
    int r;

    if (!t->fuse)
        return 0;
    if (t->prelude || t->in->stacks || t->call || !tn_displaced_anywhere(t->fuse->patch))
        return -ENOTSUP;
    if (!tramp_near(t->in, t->fuse->head, 8))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, t->fuse->head, "hook pointer");
    r = tn_displaced_part(t->fuse->patch, t->fuse->load_bias, false, &t->a, t->in->at, err);
    if (r < 0)
        return r;
    t->first = t->a.len + COMPARE_WORD;
    compare_word(t, t->fuse->head, t->in->at + t->first);
    t->elsewhere = tn_x86_jcc_fwd(&t->a, 4, TN_CC_NE);
    return t->a.err || t->a.len == t->first ? 0 : -EINVAL;
}

static int fuse_behind(struct tramp *t, struct tn_error *err)
{
    compare_word(t, t->in->hook + offsetof(struct tn_hook, next), t->fuse->past);
    t->further = tn_x86_jcc_fwd(&t->a, 4, TN_CC_NE);
    return tn_displaced_part(t->fuse->patch, t->fuse->load_bias, true, &t->a, t->in->at, err);
}

/* On to the next link. What the kernel leaves in rcx and r11 is the host's: where it goes on, and its flags. */
static void go_on(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;

    if (t->noted && !in->stacks) { /* Go's code takes rcx and r11 for lost */
        tn_x86_lea(a, TN_RSP, tn_mem_base(TN_RSP, -RED_ZONE));
        tn_x86_pushf(a);
        tn_x86_pop(a, TN_R11);
        tn_x86_lea(a, TN_RSP, tn_mem_base(TN_RSP, RED_ZONE));
        tn_x86_load(a, 8, TN_RCX, HOOK(func_ip));
    }
    tn_x86_jmp_m(a, HOOK(next));
}

/*
 * A call whose number only the run tells: another number goes on to the next link. rcx and r11 are free, as a call
 * is entered, and are given back when it is left (go_on); flags are not touched. When it is left, r11 gets the number, if the word that
 * noted it is still this call's; else the run is missed. (Counted without a lock: it would take the flags.)
 */
static void pass_others(struct tramp *t)
{
    static const u8 not_ecx[] = {0xf7, 0xd1};
    static const u8 lea_rsp_rcx[] = {0x8d, 0x4c, 0x0c, 0x01}; /* lea 1(%rsp,%rcx),%ecx */
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    struct tn_fixup hit;

    if (!t->call || in->nr != TN_NR_UNKNOWN)
        return;
    if (t->noted) {
        tn_call_word(a, in->at, in->calls);
        tn_x86_load(a, 4, TN_RCX, tn_mem_base(TN_R11, 0));
        tn_x86_bytes(a, not_ecx, sizeof(not_ecx));
        tn_x86_bytes(a, lea_rsp_rcx, sizeof(lea_rsp_rcx));
        hit = jecxz(t);
        tn_x86_load(a, 8, TN_RCX, HOOK(stats));
        tn_x86_load(a, 8, TN_R11, tn_mem_base(TN_RCX, offsetof(struct tn_link_stats, missed)));
        tn_x86_lea(a, TN_R11, tn_mem_base(TN_R11, 1));
        tn_x86_store(a, 8, tn_mem_base(TN_RCX, offsetof(struct tn_link_stats, missed)), TN_R11);
        go_on(t);
        tn_x86_bind(a, hit);
        tn_x86_load(a, 4, TN_R11, tn_mem_base(TN_R11, 4));
    }
    if (in->only == TN_NR_UNKNOWN)
        return;
    compare_number(t, in->place == TN_PLACE_SYSENTER ? TN_RAX : TN_R11);
    hit = jecxz(t);
    go_on(t);
    tn_x86_bind(a, hit);
}

/* The jump taken when the gate is closed; nothing but the prelude is changed there. */
static struct tn_fixup test_gate(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;

    if (in->stacks)
        return t->own.closed;
    if (tramp_near(in, in->gate, 1)) {
        tn_x86_alu_mi(a, 1, TN_CMP, tn_mem_pos((s64)(in->gate - in->at)), 0);
    } else {
        if (!t->prelude)
            tn_x86_push(a, TN_RAX);
        tn_x86_mov_ri(a, TN_RAX, in->gate);
        tn_x86_alu_mi(a, 1, TN_CMP, tn_mem_base(TN_RAX, 0), 0);
        if (!t->prelude)
            tn_x86_pop(a, TN_RAX);
    }
    return tn_x86_jcc_fwd(a, 4, TN_CC_E);
}

/* Registers of `mask` into a full frame, or back. */
static void store_regs(struct tramp *t, u32 mask)
{
    for (u32 i = 0; i < TN_ARRAY_SIZE(tramp_caller_saved); i++)
        if (mask & BIT(tramp_caller_saved[i].reg))
            tn_x86_store(&t->a, 8, AT(tramp_caller_saved[i].off), tramp_caller_saved[i].reg);
}

static void load_regs(struct tramp *t, u32 mask)
{
    for (u32 i = TN_ARRAY_SIZE(tramp_caller_saved); i-- > 0;)
        if (mask & BIT(tramp_caller_saved[i].reg))
            tn_x86_load(&t->a, 8, tramp_caller_saved[i].reg, AT(tramp_caller_saved[i].off));
}

static void frame(struct tramp *t, s32 bytes)
{
    tn_x86_lea(&t->a, TN_RSP, tn_mem_base(TN_RSP, bytes));
}

/* Begins the fast way's frame, with the scratch registers saved; and takes it down with `mask` of them still
   to be restored. */
static void begin_frame(struct tramp *t)
{
    if (!t->light) {
        frame(t, -FRAME - t->low);
        store_regs(t, t->scratch);
        return;
    }
    for (u32 i = 0; i < TN_ARRAY_SIZE(tramp_caller_saved); i++)
        if (t->save & BIT(tramp_caller_saved[i].reg))
            tn_x86_push(&t->a, tramp_caller_saved[i].reg);
}

static void end_frame(struct tramp *t, u32 mask)
{
    if (!t->light) {
        load_regs(t, mask);
        frame(t, FRAME + t->low);
        return;
    }
    for (u32 i = TN_ARRAY_SIZE(tramp_caller_saved); i-- > 0;)
        if (t->save & BIT(tramp_caller_saved[i].reg))
            tn_x86_pop(&t->a, tramp_caller_saved[i].reg);
}

/* Where the kept words are not to be had: the run is counted, and goes on at `end`. */
static void count_lost(struct tramp *t, s64 end)
{
    const struct tn_tramp_in *in = t->in;

    if (!t->kept)
        return;
    for (u32 i = 0; i < TN_ARRAY_SIZE(t->lost); i++)
        tn_x86_bind(&t->a, t->lost[i]);
    tn_x86_load(&t->a, 8, TN_RAX, HOOK(stats));
    tn_x86_lock(&t->a);
    tn_x86_inc_m(&t->a, 8, tn_mem_base(TN_RAX, (s32)offsetof(struct tn_link_stats, missed)));
    tn_x86_jmp(&t->a, 0, end);
}

/* Where the run has answered in the host's place: at an exit, the result is another one, for whoever comes next; at an
   entry, on to the function's exits, if somebody looks at these, and back to the caller. `mask`: what was saved. A caller that
   was compiled with its callee in sight counts on what the callee leaves alone (-fipa-ra), so all but the
   result is as it was. */
static void test_replaced(struct tramp *t, u32 mask)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_fixup none, back;

    if (!in->replace)
        return;
    tn_x86_alu_mi(&t->a, 4, TN_CMP, RUN(replaced), 0);
    none = tn_x86_jcc_fwd(&t->a, 1, TN_CC_E);
    if (in->place == TN_PLACE_EXIT) {
        tn_x86_load(&t->a, 8, TN_RAX, RUN(value));
        tn_x86_store(&t->a, 8, tramp_host_rax(t), TN_RAX);
        tn_x86_bind(&t->a, none);
        return;
    }
    load_regs(t, mask & ~BIT(TN_RAX));
    tn_x86_load(&t->a, 8, TN_RAX, RUN(value));
    frame(t, tramp_above(t));
    tn_x86_alu_mi(&t->a, 8, TN_CMP, HOOK(answer), 0);
    back = tn_x86_jcc_fwd(&t->a, 1, TN_CC_E);
    tn_x86_jmp_m(&t->a, HOOK(answer));
    tn_x86_bind(&t->a, back);
    tn_x86_ret(&t->a);
    tn_x86_bind(&t->a, none);
}

/* ------------------------------------------------------------------------------------------- the two ways */

/* Returns where a run goes on that is not to be. */
static s64 fast_way(struct tramp *t)
{
    struct tn_asm *a = &t->a;
    u32 shown = 0;
    s64 end;

    begin_frame(t);
    tramp_take_slot(t);
    if (t->in->facts->percpu)
        tramp_claim_cpu(t);
    for (u32 i = 0; i < TN_ARRAY_SIZE(tramp_caller_saved); i++)
        if (tramp_reads(t, tramp_caller_saved[i].off) && !(t->prelude && tramp_caller_saved[i].reg == TN_RAX))
            shown |= BIT(tramp_caller_saved[i].reg);
    if (!t->light)
        store_regs(t, (t->save | shown) & ~t->scratch);
    if (t->run || t->spill)
        tn_x86_store(a, 8, RUN(slot), t->slot);
    if (t->kept && t->in->replace) /* of a run that is lost before there is one, too */
        tn_x86_store_i(a, 4, RUN(replaced), 0);
    tramp_fill_context(t);
    if (t->run) {
        tramp_fill_run(t);
        if (!t->in->facts->percpu)
            tn_x86_store_i(a, 4, RUN(cpu), -1);
    }
    run_program(t, true);
    tramp_change(t);
    tramp_keep_session(t, true);
    tramp_end_session(t);
    end = a->len;
    if (t->spill)
        tn_x86_load(a, 8, t->slot, RUN(slot));
    if (t->in->facts->percpu)
        tramp_give_back_cpu(t);
    tramp_leave_slot(t);
    test_replaced(t, t->save);
    end_frame(t, t->save);
    return end;
}

static s64 slow_way(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    u32 flags = TN_ENTER_SP | (in->stacks ? TN_ENTER_OWN : 0) | (in->follow ? TN_ENTER_FOLLOW : 0) |
                (in->facts->percpu ? TN_ENTER_PERCPU : 0);
    u32 all = CALLER_SAVED & ~(t->prelude ? BIT(TN_RAX) : 0);
    struct tn_asm *a = &t->a;
    struct tn_fixup skipped, kept;
    s64 end;

    frame(t, -FRAME - t->low);
    store_regs(t, all);
    if (!t->kept)
        tramp_fill_context(t);
    tramp_fill_run(t);
    tn_x86_store_i(a, 4, RUN(cpu), -1);
    tn_x86_lea(a, TN_RDI, AT(RUN_OFF));
    tn_x86_mov_ri(a, TN_RSI, flags);
    call(a, in, in->enter);
    tn_x86_test_rr(a, 4, TN_RAX, TN_RAX);
    skipped = tn_x86_jcc_fwd(a, 4, TN_CC_E);
    if (t->kept) /* what is missed is to be counted, once it is known that the run was meant to be */
        tramp_fill_context(t);
    run_program(t, false);
    tramp_change(t);
    tramp_keep_session(t, true);
    tramp_end_session(t);
    end = a->len;
    tn_x86_lea(a, TN_RDI, AT(RUN_OFF));
    call(a, in, in->leave);
    kept = in->session ? tn_x86_jmp_fwd(a, 4) : skipped;
    if (in->session) {
        tn_x86_bind(a, skipped);
        tramp_keep_session(t, false);
    }
    tn_x86_bind(a, kept);
    test_replaced(t, all);
    load_regs(t, all);
    frame(t, FRAME + t->low);
    return end;
}

/* A place of a function that is left by tail jumps, or of one that runs in its place. False: no program runs there. */
static bool mark(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    const struct tn_marks m = {.table = in->marks,
                               .id = in->mark_id,
                               .slot = in->slot,
                               .leads = in->leads,
                               .live = in->tail != TN_TAIL_RET && !in->flags_dead};
    struct tn_fixup pass = {0};

    if (in->unless && in->tail != TN_TAIL_RET) /* the jump is not taken */
        pass = tn_x86_jcc_fwd(a, 4, (enum tn_x86_cc)(in->unless - 1));
    switch ((enum tn_tail)in->tail) {
    case TN_TAIL_LEAVE:
        tn_mark_leave(a, &m, HOOK(stats));
        break;
    case TN_TAIL_ENTER:
        tn_mark_enter(a, &m);
        break;
    case TN_TAIL_PASS:
        tn_mark_pass(a, &m, HOOK(stats));
        break;
    case TN_TAIL_RET:
        tn_mark_return(a, &m);
        pass = tn_x86_jcc_fwd(a, 1, TN_CC_E);
        tn_x86_jmp_m(a, HOOK(next));
        tn_x86_bind(a, pass);
        return true;
    case TN_TAIL_NOT:
        return true;
    }
    if (in->unless)
        tn_x86_bind(a, pass);
    tn_x86_jmp_m(a, HOOK(next));
    return false;
}

/* Nobody has switched stacks: the gate is closed, or none was free, which is counted. */
static void pass_unswitched(struct tramp *t, struct tn_fixup closed)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;

    tn_x86_bind(a, t->own.none);
    tn_x86_load(a, 8, TN_RCX, HOOK(stats));
    tn_x86_lock(a);
    tn_x86_inc_m(a, 8, tn_mem_base(TN_RCX, (s32)offsetof(struct tn_link_stats, missed)));
    tn_switch_undo(a);
    tn_x86_bind(a, closed);
    tn_x86_jmp_m(a, HOOK(next));
}

static int done(const struct tramp *t, struct tn_error *err)
{
    const struct tn_asm *a = &t->a;

    if (a->err)
        return tn_fail(err, a->err, a->err == -ENOSPC ? "no_space" : tn_refusal_name(TN_REFUSE_OUT_OF_REACH),
                       "trampoline at 0x%llx does not fit its %u bytes or cannot reach its data",
                       (unsigned long long)t->in->at, a->cap);
    return (int)a->len;
}

/* Behind the trampoline: the displaced instructions, if they stand here and the chain ends, or whatever comes next. */
static int finish(struct tramp *t, struct tn_error *err)
{
    if (t->fuse)
        return fuse_behind(t, err);
    go_on(t);
    return 0;
}

static void bind_fused(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;

    if (!t->fuse)
        return;
    tn_x86_bind(&t->a, t->further);
    tn_x86_jmp_m(&t->a, HOOK(next));
    tn_x86_bind(&t->a, t->elsewhere);
    tn_x86_jmp_m(&t->a, tn_mem_pos((s64)(t->fuse->head - in->at)));
}

static int emit(struct tramp *t, struct tn_error *err)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    struct tn_fixup closed;
    s64 out, end;
    int r = fuse_before(t, err);

    if (r < 0)
        return r;
    if (in->stash && in->args && in->place == TN_PLACE_ENTRY) { /* no program runs */
        tn_stash_store(a, in->stash, in->args, tn_stash_words(in->facts, in->args));
        r = finish(t, err);
        bind_fused(t);
        return r;
    }
    if (!tramp_may_change(in))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_CTX_WRITTEN, in->at, NULL);
    pass_others(t);
    prelude(t);
    closed = test_gate(t);
    end = tramp_inlined(t) ? fast_way(t) : slow_way(t);
    out = a->len;
    end_prelude(t);
    r = finish(t, err);
    count_lost(t, end);
    if (tramp_inlined(t)) {
        for (u32 i = 0; i < t->nslow; i++)
            tn_x86_bind(a, t->slow[i]);
        end_frame(t, t->scratch);
        end = slow_way(t);
        tn_x86_jmp(a, 0, out);
        count_lost(t, end);
    }
    bind_fused(t);
    if (in->stacks)
        pass_unswitched(t, closed);
    else
        tn_x86_bind_to(a, closed, out);
    tramp_literals(t);
    return r;
}

int tn_trampoline_fused(const struct tn_tramp_in *in, const struct tn_fuse *fuse, u8 *ret_bytes, u32 cap,
                        u32 *ret_first, struct tn_error *err)
{
    struct tramp t = {.in = in, .fuse = fuse};
    int r;

    if (!tramp_near(in, in->hook, sizeof(struct tn_hook)))
        return tn_refuse(err, -ERANGE, TN_REFUSE_OUT_OF_REACH, in->hook, "hook record");
    if (in->prog_bit >= TN_SLOT_BITS || (in->args && in->args->nwords > TN_TYPED_WORDS) ||
        (in->stash && !in->args && !in->session) ||
        (in->session && (in->args || !in->stash || in->replace)) ||
        (in->place == TN_PLACE_SYSEXIT && in->nr == TN_NR_UNKNOWN && !in->calls) || (fuse && in->tail))
        return -EINVAL;
    tn_asm_fixed(&t.a, ret_bytes, cap);
    if (in->tail && (!in->marks || !in->mark_id || in->mark_id > TN_MARK_ID))
        return -EINVAL;
    if (!mark(&t))
        return done(&t, err);
    if ((in->args || in->session) && in->place == TN_PLACE_OFFSET)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_TYPED_PLACE, in->at, NULL);
    if (in->replace && in->place != TN_PLACE_ENTRY && in->place != TN_PLACE_EXIT)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_REPLACE_PLACE, in->at, NULL);
    if (in->stacks && (in->facts->calls_host || (in->place <= TN_PLACE_EXIT && (in->args || in->replace))))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_TYPED, in->at, NULL);
    tramp_decide(&t);
    r = emit(&t, err);
    if (r < 0)
        return r;
    if (ret_first)
        *ret_first = t.first;
    return done(&t, err);
}

int tn_trampoline(const struct tn_tramp_in *in, u8 *ret_bytes, u32 cap, struct tn_error *err)
{
    return tn_trampoline_fused(in, NULL, ret_bytes, cap, NULL, err);
}
