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
 * The full frame is 8 modulo 16: with the return address on top, an ABI entry's frame ends up aligned.
 *
 * The fast way takes no locked instruction and no call but the program's, and not that one where the
 * program is small enough to be part of the trampoline (splice.c): armed is exactly 1 (this process,
 * no vfork in flight; for links that follow, a fork child that is known to be one will do), the thread's own slot is where its hash says, and no run is under way on the thread
 * (slot.sp is 0). A program that needs a CPU to itself claims it with one locked instruction. Everything else
 * is the agent's business.
 *
 * Which registers the fast way works with is chosen by what the program does: rax, which every program
 * clobbers, and for the slot one that the program leaves alone, so that it is at hand when it returns.
 *
 * slot.sp gets the frame's lowest address. An outermost run is told from an abandoned one by comparing that
 * with the place where a new frame would start (agent.c), whatever the size of either.
 *
 * A typed context (programs of type tracing) is an array of words, one an argument. It lies below the frame,
 * so that everything else keeps its place from `low` on. A run that answers in the host's place (`replace`)
 * says so in its record; the host's own code is then left out, and so are the hooks that would come after it at
 * the entry. Those at the exits see the answer as they see a result.
 *
 * Arguments that a program reads at an exit were kept by a trampoline at the entry, which runs no program and
 * asks no question, not even the gate's (stash.h). The exit looks for them when it is known that the run is meant to
 * be; where they are not to be had, it is missed.
 *
 * Where the host's stack is not to be touched (Go), all of this runs on one of ours, whose head stands where the prelude
 * would (switch.h).
 *
 * What a program stores to its context becomes the host's: words of struct tn_pt_regs are in the frame, from which registers
 * are restored anyway; typed words are put there, or to their place on the stack, behind the program (`change`). A program
 * that stores nothing pays nothing for that.
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
#include "rewrite/switch.h"
#include "x86/encode.h"

#define RUN_OFF  ((s32)sizeof(struct tn_pt_regs))
#define CLAIM    (RUN_OFF + (s32)sizeof(struct tn_run)) /* address of the claimed CPU's word */
#define FRAME    (CLAIM + 8)
#define RED_ZONE 128
#define PRELUDE  16 /* flags, rax */

_Static_assert(sizeof(struct tn_run) % 8 == 0 && FRAME % 16 == 8, "the frame keeps an ABI stack aligned");
_Static_assert(sizeof(struct tn_slot) == 1 << 6 && TN_SLOT_COUNT == 1 << 10,
               "the slot's offset is masked out of the hash");
_Static_assert(sizeof(struct tn_cpu_claim) == 1 << 6, "the CPU's number is shifted into an offset");
_Static_assert(offsetof(struct tn_cpu_claim, owner) == 0 && offsetof(struct tn_slot, owner) == 0,
               "reached without displacement");

/* The frame from `low` on, which the words of a typed context take the place below of. */
#define AT(off)     tn_mem_base(TN_RSP, t->low + (s32)(off))
#define REG(field)  AT(offsetof(struct tn_pt_regs, field))
#define RUN(field)  AT(RUN_OFF + offsetof(struct tn_run, field))
#define HOOK(field) tn_mem_pos((s64)(in->hook + offsetof(struct tn_hook, field) - in->at))
#define BIT(reg)    (1u << (reg))

/* Where registers are kept in a full frame. */
struct saved {
    u8 reg;
    u16 off;
};
/* What every host may have live and programs may clobber, in the order in which scratch registers are chosen:
   short encodings first. */
static const struct saved caller_saved[] = {
    {TN_RAX, offsetof(struct tn_pt_regs, ax)},  {TN_RCX, offsetof(struct tn_pt_regs, cx)},
    {TN_RDX, offsetof(struct tn_pt_regs, dx)},  {TN_RSI, offsetof(struct tn_pt_regs, si)},
    {TN_RDI, offsetof(struct tn_pt_regs, di)},  {TN_R8, offsetof(struct tn_pt_regs, r8)},
    {TN_R9, offsetof(struct tn_pt_regs, r9)},   {TN_R10, offsetof(struct tn_pt_regs, r10)},
    {TN_R11, offsetof(struct tn_pt_regs, r11)},
};
static const struct saved callee_saved[] = {
    {TN_RBX, offsetof(struct tn_pt_regs, bx)},  {TN_RBP, offsetof(struct tn_pt_regs, bp)},
    {TN_R12, offsetof(struct tn_pt_regs, r12)}, {TN_R13, offsetof(struct tn_pt_regs, r13)},
    {TN_R14, offsetof(struct tn_pt_regs, r14)}, {TN_R15, offsetof(struct tn_pt_regs, r15)},
};
#define CALLER_SAVED                                                                                         \
    (BIT(TN_RAX) | BIT(TN_RCX) | BIT(TN_RDX) | BIT(TN_RSI) | BIT(TN_RDI) | BIT(TN_R8) | BIT(TN_R9) |         \
     BIT(TN_R10) | BIT(TN_R11))
#define LIGHT_MAX 5 /* registers that a light frame pushes at most */
#define KEPT_MAX  6 /* words that the fast way looks up at most: more are too much text */

/* A trampoline in the making: what was decided, and what is emitted. */
struct tramp {
    const struct tn_tramp_in *in;
    struct tn_asm a;
    bool ctx, run; /* the program takes them */
    bool offset;   /* flags and red zone are live */
    bool call;     /* so they are: a system call */
    bool noted;    /* … that is left, and whose number was noted: what it takes for that it gives back */
    bool regs;     /* struct tn_pt_regs is wanted */
    bool prelude;
    bool wants_flags; /* the program reads them */
    bool light;
    bool spill;  /* no register is left for the slot: it is kept in the run */
    u32 kept;    /* words of the context that were kept since the entry */
    s32 low;     /* bytes of a typed context, at the frame's lower end; a multiple of 16 */
    u32 save;    /* caller-saved registers that the fast way saves, a bit each */
    u32 scratch; /* of these: those it needs before the program */
    u8 slot, cpu, owner;
    struct tn_fixup slow[6];
    u32 nslow;
    struct tn_switch own;    /* in->stacks */
    struct tn_fixup lost[2]; /* where kept words are not to be had */
    const struct tn_fuse *fuse;
    struct tn_fixup elsewhere, further; /* … where the chain's words lead away */
    u32 first;
    struct tn_fixup over; /* a session whose entry has said no: for the way that is being emitted */
    struct {
        struct tn_fixup at;
        u64 value;
    } literal[4];
    u32 nliterals;
};

/* ---------------------------------------------------------------------------------------------- decisions */

static bool near(const struct tn_tramp_in *in, u64 target, u64 size)
{
    s64 d = (s64)(target - in->at);

    return d > -0x7fff0000ll && d + (s64)size < 0x7fff0000ll;
}

/* A word of the context, whatever its layout. */
static bool writes_word(const struct tramp *t, u32 word)
{
    return t->in->facts->ctx_written[0] >> word & 1;
}

/* One that is stored to has to be there as well, since it is on some ways only. */
static bool reads_word(const struct tramp *t, u32 word)
{
    return t->ctx &&
           (t->in->facts->ctx_escapes || (t->in->facts->ctx_read[0] >> word & 1) || writes_word(t, word));
}

/* A field of struct tn_pt_regs: those that are read of the context; all of them where it only leads there. */
static bool reads(const struct tramp *t, u32 off)
{
    return t->regs && (t->in->args || reads_word(t, off / 8));
}

/* A register that is not in `taken`: one of `prefer` if there is. */
static u8 choose(u32 taken, u32 prefer)
{
    for (u32 round = 0; round < 2; round++)
        for (u32 i = 0; i < TN_ARRAY_SIZE(caller_saved); i++) {
            u8 reg = caller_saved[i].reg;

            if (!(taken & BIT(reg)) && (round || (prefer & BIT(reg))))
                return reg;
        }
    return TN_NOREG;
}

static bool inlined(const struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;

    if (in->tp == TN_TP_ARCH_PRCTL || __builtin_popcount(t->kept) > KEPT_MAX)
        return false;
    return !in->facts->percpu || (in->claims && in->ncpu && in->rseq_cpu_off && in->owner_pid);
}

/* Where arguments are passed: their registers, and what a full frame keeps them in. */
static const struct saved argument[TN_FROM_STACK] = {
    {TN_RDI, offsetof(struct tn_pt_regs, di)}, {TN_RSI, offsetof(struct tn_pt_regs, si)},
    {TN_RDX, offsetof(struct tn_pt_regs, dx)}, {TN_RCX, offsetof(struct tn_pt_regs, cx)},
    {TN_R8, offsetof(struct tn_pt_regs, r8)},  {TN_R9, offsetof(struct tn_pt_regs, r9)},
};
/* … and results, without types. */
static const struct saved result[] = {{TN_RAX, offsetof(struct tn_pt_regs, ax)},
                                      {TN_RDX, offsetof(struct tn_pt_regs, dx)}};

/* A stack word, above the return address. */
static bool on_stack(u8 from)
{
    return from >= TN_FROM_STACK && from < TN_FROM_ADDRESS;
}
/* … or its address. */
static bool is_address(u8 from)
{
    return from >= TN_FROM_ADDRESS && from < TN_FROM_ADDRESS + TN_FROM_STACK_WORDS;
}

/* What storing to word `w` changes at that place: a register, TN_NOREG a word of the stack; −1: nothing that may be. */
static int changed(const struct tn_typed_args *args, enum tn_place_kind place, u32 w)
{
    const struct saved *may = place == TN_PLACE_ENTRY ? argument : result;
    u32 n = place == TN_PLACE_ENTRY  ? TN_ARRAY_SIZE(argument)
            : place == TN_PLACE_EXIT ? TN_ARRAY_SIZE(result)
                                     : 0;

    for (u32 k = 0; !args && k < n; k++)
        if (may[k].off == 8 * w)
            return may[k].reg;
    if (!args || w >= args->nwords || !n)
        return -1;
    if (place == TN_PLACE_EXIT)
        return args->from[w] == TN_FROM_RESULT ? TN_RAX : args->from[w] == TN_FROM_RESULT_HIGH ? TN_RDX : -1;
    return args->from[w] < TN_FROM_STACK ? argument[args->from[w]].reg
           : on_stack(args->from[w])     ? TN_NOREG
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

/* All that the program stores to is the host's at that place. */
static bool may_change(const struct tn_tramp_in *in)
{
    const u64 *written = in->facts->ctx_written;

    if (written[1] | written[2] | written[3] || (written[0] && (in->session || in->stacks)))
        return false;
    for (u32 w = 0; w < 64; w++)
        if (written[0] >> w & 1 && changed(in->args, in->place, w) < 0)
            return false;
    return true;
}

static void decide(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    u32 clobbers = in->footprint ? in->footprint & CALLER_SAVED : CALLER_SAVED;

    t->ctx = !in->footprint || (in->footprint & TN_FOOT_CTX) || in->facts->ctx_written[0];
    t->run =
        !in->footprint || (in->footprint & TN_FOOT_RUN) || in->facts->percpu || in->replace || in->session;
    t->kept = t->ctx && in->stash && in->args ? tn_stash_words(in->facts, in->args) : 0;
    t->low = in->args ? TN_ROUND_UP((s32)in->args->nwords * 8, 16) : 0;
    if (in->session && in->place == TN_PLACE_EXIT) {
        t->kept = TN_SESSION_WORDS;
        t->low = 16;
    }
    t->call = in->place == TN_PLACE_SYSENTER || in->place == TN_PLACE_SYSEXIT;
    t->offset = in->place == TN_PLACE_OFFSET || t->call;
    t->regs = !in->args;
    for (u32 w = 0; in->args && w < in->args->nwords; w++)
        t->regs |= in->args->from[w] == TN_FROM_REGS && reads_word(t, w);
    t->wants_flags = reads(t, offsetof(struct tn_pt_regs, flags));
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

/* ------------------------------------------------------------------------------------------------ pieces */

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

static void emit_literals(struct tramp *t)
{
    while (t->a.len % 8)
        tn_x86_int3(&t->a);
    for (u32 i = 0; i < t->nliterals; i++) {
        tn_x86_bind(&t->a, t->literal[i].at);
        tn_x86_u64(&t->a, t->literal[i].value);
    }
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
    if (!near(t->in, t->fuse->head, 8))
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
    if (near(in, in->gate, 1)) {
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
    for (u32 i = 0; i < TN_ARRAY_SIZE(caller_saved); i++)
        if (mask & BIT(caller_saved[i].reg))
            tn_x86_store(&t->a, 8, AT(caller_saved[i].off), caller_saved[i].reg);
}

static void load_regs(struct tramp *t, u32 mask)
{
    for (u32 i = TN_ARRAY_SIZE(caller_saved); i-- > 0;)
        if (mask & BIT(caller_saved[i].reg))
            tn_x86_load(&t->a, 8, caller_saved[i].reg, AT(caller_saved[i].off));
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
    for (u32 i = 0; i < TN_ARRAY_SIZE(caller_saved); i++)
        if (t->save & BIT(caller_saved[i].reg))
            tn_x86_push(&t->a, caller_saved[i].reg);
}

static void end_frame(struct tramp *t, u32 mask)
{
    if (!t->light) {
        load_regs(t, mask);
        frame(t, FRAME + t->low);
        return;
    }
    for (u32 i = TN_ARRAY_SIZE(caller_saved); i-- > 0;)
        if (t->save & BIT(caller_saved[i].reg))
            tn_x86_pop(&t->a, caller_saved[i].reg);
}

/* Bytes from the stack pointer to what the host had there. */
static s32 above(const struct tramp *t)
{
    return FRAME + t->low + (t->prelude ? PRELUDE : 0) + (t->offset ? RED_ZONE : 0);
}

/* Where rax is kept as the host has it: the prelude has pushed it, or the frame has it. */
static struct tn_mem host_rax(const struct tramp *t)
{
    return t->prelude ? AT(FRAME + 8) : REG(ax);
}

static void load_host_rax(struct tramp *t, u8 to)
{
    tn_x86_load(&t->a, 8, to, host_rax(t));
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

/* A typed context: a word an argument, from where the ABI has it, or had it at the entry. rax is free, and
   TN_STASH_CLOBBERS where words were kept. */
static struct tn_mem stack_word(const struct tramp *t, u8 from)
{
    u32 base = is_address(from) ? TN_FROM_ADDRESS : TN_FROM_STACK;

    return tn_mem_base(TN_RSP, above(t) + 8 + 8 * (from - (s32)base));
}

static void fill_args(struct tramp *t)
{
    struct tn_asm *a = &t->a;

    if (t->kept)
        tn_stash_load(a, t->in->stash, t->kept, above(t), t->lost);
    for (u32 w = 0; w < t->in->args->nwords; w++) {
        u8 from = t->in->args->from[w], src = TN_RAX;

        if (!reads_word(t, w) || t->kept >> w & 1)
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
        else if (is_address(from))
            tn_x86_lea(a, TN_RAX, stack_word(t, from));
        else if (on_stack(from))
            tn_x86_load(a, 8, TN_RAX, stack_word(t, from));
        else if (t->scratch & BIT(argument[from].reg)) /* has another value by now */
            tn_x86_load(a, 8, TN_RAX, AT(argument[from].off));
        else
            src = argument[from].reg;
        tn_x86_store(a, 8, tn_mem_base(TN_RSP, 8 * (s32)w), src);
    }
}

/* What the program has stored to its context is the host's, once registers are restored. rax is free. */
static void change(struct tramp *t)
{
    const struct tn_typed_args *args = t->in->args;
    struct tn_asm *a = &t->a;

    if (!args && t->prelude && writes_word(t, offsetof(struct tn_pt_regs, ax) / 8)) {
        tn_x86_load(a, 8, TN_RAX, REG(ax));
        tn_x86_store(a, 8, host_rax(t), TN_RAX);
    }
    for (u32 w = 0; args && w < args->nwords; w++) {
        struct tn_mem word = tn_mem_base(TN_RSP, 8 * (s32)w);
        u8 from = args->from[w];

        if (!writes_word(t, w))
            continue;
        if (args->narrow[w] < 0)
            tn_x86_load_sx(a, (u8)-args->narrow[w], TN_RAX, word);
        else
            tn_x86_load(a, args->narrow[w] ? (u8)args->narrow[w] : 8, TN_RAX, word);
        tn_x86_store(a, 8,
                     from == TN_FROM_RESULT        ? host_rax(t)
                     : from == TN_FROM_RESULT_HIGH ? REG(dx)
                     : on_stack(from)              ? stack_word(t, from)
                                                   : AT(argument[from].off),
                     TN_RAX);
    }
}

/* As the call returns: is it to be, and with what word? rax is free, and TN_STASH_CLOBBERS. */
static void find_session(struct tramp *t)
{
    struct tn_asm *a = &t->a;

    tn_stash_load(a, t->in->stash, TN_SESSION_WORDS, above(t), t->lost);
    tn_stash_used(a);
    tn_x86_load(a, 8, TN_RAX, tn_mem_base(TN_RSP, 0));
    tn_x86_store(a, 8, RUN(value), TN_RAX);
    tn_x86_alu_mi(a, 4, TN_CMP, tn_mem_base(TN_RSP, 8), 0);
    t->over = tn_x86_jcc_fwd(a, 4, TN_CC_E);
}

/* As it is entered, behind the program: what the return will find. `ran`: eax is what the program returned. */
static void keep_session(struct tramp *t, bool ran)
{
    const struct tn_tramp_in *in = t->in;

    if (!in->session || in->place == TN_PLACE_EXIT)
        return;
    if (ran)
        tn_x86_mov_rr(&t->a, 4, TN_RCX, TN_RAX);
    else
        tn_x86_mov_ri(&t->a, TN_RCX, 1);
    tn_stash_session(&t->a, in->stash, above(t), t->low + RUN_OFF + (s32)offsetof(struct tn_run, value));
}

/* Behind the program, where a session's return goes on whose entry has said no. */
static void end_session(struct tramp *t)
{
    if (t->in->session && t->in->place == TN_PLACE_EXIT)
        tn_x86_bind(&t->a, t->over);
}

/* The parts of the context that are not there by saving registers, where the program reads them.
   rax is free. */
static void fill_context(struct tramp *t)
{
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    s32 host = above(t);

    if (in->args)
        fill_args(t);
    if (in->session && in->place == TN_PLACE_EXIT)
        find_session(t);
    if (!t->regs)
        return;
    for (u32 i = 0; i < TN_ARRAY_SIZE(callee_saved); i++)
        if (reads(t, callee_saved[i].off))
            tn_x86_store(a, 8, AT(callee_saved[i].off), callee_saved[i].reg);
    if (in->place == TN_PLACE_SYSENTER && reads(t, offsetof(struct tn_pt_regs, ax))) {
        tn_x86_store_i(a, 8, REG(ax), -ENOSYS);
    } else if (t->prelude && reads(t, offsetof(struct tn_pt_regs, ax))) {
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
    if (reads(t, offsetof(struct tn_pt_regs, ip))) {
        if (in->place == TN_PLACE_EXIT && in->stacks)
            tn_x86_load(a, 8, TN_RAX, AT(FRAME + offsetof(struct tn_switch_head, sp)));
        tn_x86_load(a, 8, TN_RAX,
                    in->place != TN_PLACE_EXIT ? HOOK(func_ip)
                    : in->stacks               ? tn_mem_base(TN_RAX, 0)
                                               : tn_mem_base(TN_RSP, host));
        tn_x86_store(a, 8, REG(ip), TN_RAX);
    }
    if (reads(t, offsetof(struct tn_pt_regs, sp))) {
        if (in->stacks)
            tn_x86_load(a, 8, TN_RAX, AT(FRAME + offsetof(struct tn_switch_head, sp)));
        else
            tn_x86_lea(a, TN_RAX, tn_mem_base(TN_RSP, host));
        if (in->place == TN_PLACE_EXIT)
            tn_x86_lea(a, TN_RAX, tn_mem_base(TN_RAX, 8));
        tn_x86_store(a, 8, REG(sp), TN_RAX);
    }
    /* Linux's selectors of 64-bit user code and data. */
    if (reads(t, offsetof(struct tn_pt_regs, cs)))
        tn_x86_store_i(a, 8, REG(cs), 0x33);
    if (reads(t, offsetof(struct tn_pt_regs, ss)))
        tn_x86_store_i(a, 8, REG(ss), 0x2b);
    if (t->call && reads(t, offsetof(struct tn_pt_regs, orig_ax))) {
        load_number(t);
        tn_x86_store(a, 8, REG(orig_ax), TN_RAX);
    } else if (reads(t, offsetof(struct tn_pt_regs, orig_ax))) {
        tn_x86_store_i(a, 8, REG(orig_ax), -1);
    }
}

/* The run, but for its slot and CPU. rax is free. */
static void fill_run(struct tramp *t)
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
        tn_x86_store(&t->a, 8, host_rax(t), TN_RAX);
        tn_x86_bind(&t->a, none);
        return;
    }
    load_regs(t, mask & ~BIT(TN_RAX));
    tn_x86_load(&t->a, 8, TN_RAX, RUN(value));
    frame(t, above(t));
    tn_x86_alu_mi(&t->a, 8, TN_CMP, HOOK(answer), 0);
    back = tn_x86_jcc_fwd(&t->a, 1, TN_CC_E);
    tn_x86_jmp_m(&t->a, HOOK(answer));
    tn_x86_bind(&t->a, back);
    tn_x86_ret(&t->a);
    tn_x86_bind(&t->a, none);
}

/* ------------------------------------------------------------------------------------------- the two ways */

/* The thread's slot, if it is this thread's and nothing runs: taken for this run. */
static void take_slot(struct tramp *t)
{
    static const u8 rdfsbase_rax[] = {0xf3, 0x48, 0x0f, 0xae, 0xc0};
    const struct tn_tramp_in *in = t->in;
    struct tn_asm *a = &t->a;
    u8 s = t->slot;

    struct tn_mem armed = tn_mem_pos((s64)(in->priv - in->at));

    if (!near(in, in->priv, sizeof(struct tn_private))) {
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

static void leave_slot(struct tramp *t)
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
static void claim_cpu(struct tramp *t)
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
    leave_slot(t);
    t->slow[t->nslow++] = tn_x86_jmp_fwd(a, 4);
    tn_x86_bind(a, mine);
    tn_x86_store(a, 8, AT(CLAIM), t->cpu);
}

/* Where the host was called meanwhile, the claim was given back for that, and the run says which it has got instead,
   or that there is none. */
static void give_back_cpu(struct tramp *t)
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

/* Returns where a run goes on that is not to be. */
static s64 fast_way(struct tramp *t)
{
    struct tn_asm *a = &t->a;
    u32 shown = 0;
    s64 end;

    begin_frame(t);
    take_slot(t);
    if (t->in->facts->percpu)
        claim_cpu(t);
    for (u32 i = 0; i < TN_ARRAY_SIZE(caller_saved); i++)
        if (reads(t, caller_saved[i].off) && !(t->prelude && caller_saved[i].reg == TN_RAX))
            shown |= BIT(caller_saved[i].reg);
    if (!t->light)
        store_regs(t, (t->save | shown) & ~t->scratch);
    if (t->run || t->spill)
        tn_x86_store(a, 8, RUN(slot), t->slot);
    if (t->kept && t->in->replace) /* of a run that is lost before there is one, too */
        tn_x86_store_i(a, 4, RUN(replaced), 0);
    fill_context(t);
    if (t->run) {
        fill_run(t);
        if (!t->in->facts->percpu)
            tn_x86_store_i(a, 4, RUN(cpu), -1);
    }
    run_program(t, true);
    change(t);
    keep_session(t, true);
    end_session(t);
    end = a->len;
    if (t->spill)
        tn_x86_load(a, 8, t->slot, RUN(slot));
    if (t->in->facts->percpu)
        give_back_cpu(t);
    leave_slot(t);
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
        fill_context(t);
    fill_run(t);
    tn_x86_store_i(a, 4, RUN(cpu), -1);
    tn_x86_lea(a, TN_RDI, AT(RUN_OFF));
    tn_x86_mov_ri(a, TN_RSI, flags);
    call(a, in, in->enter);
    tn_x86_test_rr(a, 4, TN_RAX, TN_RAX);
    skipped = tn_x86_jcc_fwd(a, 4, TN_CC_E);
    if (t->kept) /* what is missed is to be counted, once it is known that the run was meant to be */
        fill_context(t);
    run_program(t, false);
    change(t);
    keep_session(t, true);
    end_session(t);
    end = a->len;
    tn_x86_lea(a, TN_RDI, AT(RUN_OFF));
    call(a, in, in->leave);
    kept = in->session ? tn_x86_jmp_fwd(a, 4) : skipped;
    if (in->session) {
        tn_x86_bind(a, skipped);
        keep_session(t, false);
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
    if (!may_change(in))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_CTX_WRITTEN, in->at, NULL);
    pass_others(t);
    prelude(t);
    closed = test_gate(t);
    end = inlined(t) ? fast_way(t) : slow_way(t);
    out = a->len;
    end_prelude(t);
    r = finish(t, err);
    count_lost(t, end);
    if (inlined(t)) {
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
    emit_literals(t);
    return r;
}

int tn_trampoline_fused(const struct tn_tramp_in *in, const struct tn_fuse *fuse, u8 *ret_bytes, u32 cap,
                        u32 *ret_first, struct tn_error *err)
{
    struct tramp t = {.in = in, .fuse = fuse};
    int r;

    if (!near(in, in->hook, sizeof(struct tn_hook)))
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
    decide(&t);
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
