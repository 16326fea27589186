/* SPDX-License-Identifier: MIT */
/*
 * Patched code must behave as it did. Functions written in assembly are copied into executable memory, run
 * with every register set to something known, patched, and run again: registers, flags where they are live,
 * vector registers and memory must be the same, whatever the program does to what it may clobber.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "agent/agent.h"
#include "inject/stubs.h"
#include "rewrite/refusals.h"
#include "rewrite/switch.h"
#include "rewrite/trampoline.h"
#include "x86/decode.h"

#define GENERAL_ONLY __attribute__((target("general-regs-only"), used))
#define FLAGS_LIVE   0x8d5ull /* CF PF AF ZF SF OF */

struct state {
    u64 gpr[16], flags, pad;
    u8 xmm[16][16];
};
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

extern u8 blob[], blob_end[];
extern void call_with_state(void *fn, struct state *in, struct state *ret_out);
extern u64 clobber_prog(void *ctx, struct tn_run *run);
void prog_body(struct tn_pt_regs *ctx, struct tn_run *run);

// clang-format off
#define FUNCTIONS(X) \
    X(s_simple) X(s_branch) X(s_jmp_first) X(s_rip) X(s_loop) X(s_call_first) X(s_call_rip) X(s_call_reg_mid) X(s_call_reg_top) \
    X(s_who_called) X(s_leaf) X(s_flags) X(s_overflow) X(s_redzone) X(s_probe) X(s_inner) X(s_pops) X(s_switch) X(s_endbr) X(s_fib) \
    X(s_short) X(s_tail) X(s_head) X(s_into) X(s_vfork) X(s_end)
// clang-format on
#define X(name) extern u8 name[];
FUNCTIONS(X)
#undef X
extern u8 s_flags_at[], s_overflow_at[], s_redzone_at[], s_probe_at[], s_inner_at[], s_call_reg_mid_at[],
    s_vector[], s_scratch[];

/* The target: code, then what the injector would put near it. */
static struct arena {
    u8 code[8192];
    u8 tramp[6][TN_TRAMPOLINE_MAX];
    u8 displaced[8][TN_DISPLACED_MAX];
    struct tn_hook hook[6];
    u64 head;
    u8 gate[8];
    struct tn_private priv;
    struct tn_proc proc;
} * arena;
static struct tn_private *far_priv;
static u8 *far_gate;
static u8 *stacks; /* of our own */
static struct tn_link_stats stats;
static struct tn_func funcs[32];
static struct tn_bytes rodata;
static struct tn_code_view view;

static u64 runs, enters, leaves, last_flags;
static struct tn_pt_regs seen;
static const struct tn_run *seen_run;
static u64 (*reenter)(u64, u64);
u32 clobber_mask; /* what clobber_prog does: a footprint */

GENERAL_ONLY void prog_body(struct tn_pt_regs *ctx, struct tn_run *run)
{
    runs++;
    if (run)
        seen_run = run;
    if (ctx)
        seen = *ctx;
    if (reenter) {
        u64 (*fn)(u64, u64) = reenter;

        reenter = NULL;
        fn(3, 4);
    }
}

/* Stands in for the agent: the same rules, told in layout.h, for a process with one thread. */
static GENERAL_ONLY u64 enter(struct tn_run *run, u64 flags)
{
    struct tn_private *priv = run->proc->priv;
    u64 tp = (u64)__builtin_thread_pointer(), bit = run->hook->prog_bit;
    struct tn_slot *slot = &priv->slot[TN_SLOT_HASH(tp)];

    enters++;
    last_flags = flags;
    if (priv->armed != TN_ARMED)
        return 0;
    if (!slot->owner)
        slot->owner = tp;
    if (slot->sp && (slot->running[bit / 64] >> bit % 64 & 1))
        return 0;
    run->slot = slot;
    if (!slot->sp)
        slot->sp = (u64)run;
    slot->running[bit / 64] |= 1ull << bit % 64;
    return 1;
}

static GENERAL_ONLY void leave(struct tn_run *run)
{
    u64 bit = run->hook->prog_bit;

    leaves++;
    run->slot->running[bit / 64] &= ~(1ull << bit % 64);
    if (run->slot->sp == (u64)run)
        run->slot->sp = 0;
}

static u64 moved(const u8 *label)
{
    return (u64)arena->code + (u64)(label - blob);
}

static const char *name_of(u64 addr)
{
    for (u32 i = 0; i < view.nfuncs; i++)
        if (funcs[i].addr == addr)
            return funcs[i].name;
    return "?";
}

static int setup(void **state)
{
    u32 n = 0;
    u64 target;

    (void)state;
    arena = mmap((void *)0x10000000, sizeof(*arena), PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    far_priv = mmap((void *)0x7e0000000000, sizeof(*far_priv), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(arena, MAP_FAILED);
    assert_ptr_not_equal(far_priv, MAP_FAILED);
    far_gate = (u8 *)far_priv + sizeof(*far_priv) - 1;
    stacks = mmap(NULL, TN_SWITCH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                  -1, 0);
    assert_ptr_not_equal(stacks, MAP_FAILED);
    assert_true((size_t)(blob_end - blob) <= sizeof(arena->code));
    memcpy(arena->code, blob, (size_t)(blob_end - blob));
    target = moved(s_who_called);
    memcpy((void *)moved(s_vector), &target, 8);
#define X(fn) funcs[n++] = (struct tn_func){.addr = moved(fn), .name = #fn};
    FUNCTIONS(X)
#undef X
    for (u32 i = 0; i + 1 < n; i++) {
        funcs[i].size = funcs[i + 1].addr - funcs[i].addr;
        /* without the padding, as compilers say it */
        while (((u8 *)funcs[i].addr)[funcs[i].size - 1] == 0xcc)
            funcs[i].size--;
    }
    rodata = (struct tn_bytes){arena->code, (u64)arena->code, sizeof(arena->code)};
    view = (struct tn_code_view){.bytes = arena->code,
                                 .addr = (u64)arena->code,
                                 .len = moved(s_end) - (u64)arena->code + 1,
                                 .funcs = funcs,
                                 .nfuncs = n,
                                 .rodata = &rodata,
                                 .nrodata = 1};
    return 0;
}

struct option {
    enum tn_tp_how tp;
    bool all_context, far, percpu, gate, armed, follow;
    bool own; /* on a stack of our own */
    u32 prog_bit;
    u32 footprint; /* 0: everything, and said so by saying nothing */
};

/* Plants the trampoline `k` and tells where it goes on. */
static void plant(u32 k, enum tn_place_kind place, u64 ip, u64 next, const struct option *o)
{
    struct tn_facts facts = {.percpu = o->percpu};
    struct tn_private *priv = o->far ? far_priv : &arena->priv;
    u8 *gate = o->far ? far_gate : arena->gate;
    struct tn_tramp_in in = {
        .facts = &facts,
        .place = place,
        .tp = o->tp,
        .at = (u64)arena->tramp[k],
        .hook = (u64)&arena->hook[k],
        .gate = (u64)gate,
        .priv = (u64)priv,
        .proc = (u64)&arena->proc,
        .enter = (u64)enter,
        .leave = (u64)leave,
        .prog_bit = o->prog_bit + k,
        .footprint = o->footprint,
        .follow = o->follow,
        .stacks = o->own ? (u64)stacks : 0,
    };

    clobber_mask = o->footprint ? o->footprint : ~0u;
    if (o->all_context)
        facts.ctx_read[0] = (1ull << 21) - 1;
    arena->proc.priv = priv;
    memset(priv, 0, sizeof(*priv));
    priv->armed = o->armed ? TN_ARMED : 0;
    *gate = o->gate;
    arena->hook[k] = (struct tn_hook){.prog = (u64)clobber_prog,
                                      .func_ip = ip,
                                      .proc = (u64)&arena->proc,
                                      .stats = (u64)&stats,
                                      .next = next,
                                      .prog_bit = o->prog_bit + k};
    assert_true(tn_trampoline(&in, arena->tramp[k], TN_TRAMPOLINE_MAX, NULL) > 0);
}

/* Pages for stubs, where this very process has room. Once made they stay. */
static u64 pages[4096];
static u32 npages;

static int place_pun(const struct tn_patch *p, struct tn_pun *ret)
{
    _clean_(tn_stubs_clear) struct tn_stubs s = {0};
    struct tn_maps maps;
    int r;

    assert_int_equal(tn_maps_read(getpid(), &maps), 0);
    assert_int_equal(tn_stubs_open(&s, &maps, NULL, 0, ~0u), 0);
    tn_maps_clear(&maps);
    for (u32 i = 0; i < npages; i++)
        assert_int_equal(tn_stubs_add_page(&s, pages[i]), 0);
    r = tn_stubs_pun(&s, p, 0, ret);
    for (u32 i = npages; r == 0 && i < s.npages; i++) {
        assert_true(npages < TN_ARRAY_SIZE(pages));
        pages[npages++] = s.page[i];
        assert_int_equal((u64)mmap((void *)s.page[i], TN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                         s.page[i]);
    }
    return r;
}

static void write_pun(const struct tn_patch *p, const struct tn_pun *pun, const struct tn_displaced_out *out)
{
    for (u32 k = 0; k < pun->njumps; k++)
        tn_pun_stub(pun->stub[k], k ? out->jump_at[k] : out->enter, (u8 *)pun->stub[k]);
    assert_memory_equal((u8 *)p->addr + p->len, pun->bytes + p->len, pun->depends);
    memcpy((void *)p->addr, pun->bytes, p->len);
}

/* Each exit of a plan needs a way on of its own: one trampoline a patch. Of a punned place the first way that there is. */
static void apply(const struct tn_plan *plan, u64 ip, const struct option *o, u64 *heads)
{
    bool had = true;
    u64 past = 0;

    assert_in_range(plan->npatches, 1, 6);
    for (u32 i = 0; i < plan->npatches; i++) {
        const struct tn_patch *p = &plan->patches[i];
        struct tn_displaced_out out;
        u8 bytes[TN_PATCH_MAX];
        struct tn_pun pun;

        assert_true(had || p->instead);
        if (had && p->instead)
            continue;
        had = !p->punned || place_pun(p, &pun) == 0;
        if (!had)
            continue;
        heads[i] = (u64)arena->tramp[i];
        assert_int_equal(tn_displaced(p,
                                      &(struct tn_copy_to){.at = (u64)arena->displaced[i],
                                                           .hook_entry_ptr = (u64)&heads[i],
                                                           .past = past},
                                      arena->displaced[i], TN_DISPLACED_MAX, &out, NULL),
                         0);
        if (p->rounds && p->rounds != p->addr) /* nothing is hooked there */
            heads[i] = out.hook_return;
        else
            plant(i, p->place, ip, past = out.hook_return, o);
        if (p->punned) {
            write_pun(p, &pun, &out);
            continue;
        }
        assert_int_equal(tn_patch_bytes(p, 0, out.enter, bytes, NULL), 0);
        memcpy((void *)p->addr, bytes, p->len);
    }
    assert_true(had);
}

static void undo(const struct tn_plan *plan)
{
    for (u32 i = 0; i < plan->npatches; i++)
        memcpy((void *)plan->patches[i].addr, plan->patches[i].expected, plan->patches[i].len);
}

static void fill(struct state *s, u64 a, u64 b, u32 seed)
{
    for (u32 i = 0; i < 16; i++) {
        s->gpr[i] = 0x0101010101010101ull * (i + seed);
        memset(s->xmm[i], (int)(i * 7 + seed), 16);
    }
    s->gpr[RDI] = a;
    s->gpr[RSI] = b;
    s->flags = seed & 1 ? 0x202 | FLAGS_LIVE : 0x202;
}

static const u64 args[][2] = {{0, 0},    {1, 2}, {3, 9}, {2, ~0ull}, {11, 1}, {1ull << 63, 1ull << 63},
                              {~0ull, 1}};

/* The function's behaviour with and without the patch. Loops and recursion get small numbers only. `ret_runs`: how often
   the program ran, for each of the arguments; NULL: as often as is known of the function. */
static void compare_plan(const char *what, enum tn_place_kind place, u64 fn, u64 at, const struct option *o,
                         bool flags, const struct tn_plan *plan, u64 *ret_runs)
{
    u64 *heads = (u64 *)arena->displaced[7]; /* near the code */

    for (u32 i = 0; i < TN_ARRAY_SIZE(args); i++) {
        struct state in = {0}, plain = {0}, hooked = {0};
        u64 scratch;
        bool expect = o->gate && o->armed;

        if ((fn == moved(s_loop) || fn == moved(s_fib) || fn == moved(s_head)) && args[i][0] > 12)
            continue;
        fill(&in, args[i][0], args[i][1], i + 1);
        if (o->own) /* as Go has it */
            memset(in.xmm[15], 0, 16);
        memset((void *)moved(s_scratch), 0, 8);
        call_with_state((void *)fn, &in, &plain);
        memcpy(&scratch, (void *)moved(s_scratch), 8);
        memset((void *)moved(s_scratch), 0, 8);
        apply(plan, at, o, heads);
        for (u32 twice = 0; twice < 2; twice++) { /* slow way first, then the fast one */
            memset((void *)moved(s_scratch), 0, 8);
            runs = 0;
            call_with_state((void *)fn, &in, &hooked);
            if (!flags && !o->own)
                hooked.flags = plain.flags;
            plain.flags &= FLAGS_LIVE;
            hooked.flags &= FLAGS_LIVE;
            if (memcmp(&plain, &hooked, sizeof(plain)) != 0) {
                for (u32 r = 0; r < 16; r++)
                    if (plain.gpr[r] != hooked.gpr[r])
                        print_message("# %s: register %u: %#llx, hooked %#llx\n", what, r,
                                      (unsigned long long)plain.gpr[r], (unsigned long long)hooked.gpr[r]);
                fail_msg("%s differs for arguments %u, round %u", what, i, twice);
            }
            assert_memory_equal(&scratch, (void *)moved(s_scratch), 8);
            if (ret_runs)
                ret_runs[i] = runs;
            else if (fn == moved(s_probe) && place == TN_PLACE_OFFSET)
                assert_int_equal(runs, expect && args[i][0]);
            else if (fn == moved(s_inner) && place == TN_PLACE_OFFSET)
                assert_int_equal(runs, expect ? 3 : 0);
            else if (fn != moved(s_fib))
                assert_int_equal(runs, expect);
            else if (!expect)
                assert_int_equal(runs, 0);
        }
        undo(plan);
    }
}

static void compare(const char *what, enum tn_place_kind place, u64 fn, u64 at, const struct option *o,
                    bool flags)
{
    struct tn_error err = {0};
    struct tn_plan plan;

    if (tn_plan(&view, place, at, &plan, &err) < 0)
        fail_msg("%s: %s", what, err.message);
    compare_plan(what, place, fn, at, o, flags, &plan, NULL);
    tn_plan_clear(&plan);
}

static const struct option options[] = {
    {.tp = TN_TP_SELF, .gate = true, .armed = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .all_context = true, .prog_bit = 300},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .far = true},
    {.tp = TN_TP_ARCH_PRCTL, .gate = true, .armed = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .percpu = true, .all_context = true},
    {.tp = TN_TP_SELF, .gate = false, .armed = true},
    {.tp = TN_TP_SELF, .gate = false, .armed = true, .far = true, .all_context = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = false},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .follow = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .follow = true, .far = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .own = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = true, .own = true, .all_context = true},
    {.tp = TN_TP_ARCH_PRCTL, .gate = true, .armed = true, .own = true, .percpu = true},
    {.tp = TN_TP_SELF, .gate = false, .armed = true, .own = true, .far = true},
    {.tp = TN_TP_SELF, .gate = true, .armed = false, .own = true, .far = true, .follow = true},
};

#define R(n) (1u << (n))
/* Programs of every kind: some do little, some take one argument, some both. */
static const u32 footprints[] = {
    R(0),
    R(0) | R(1),
    R(0) | R(1) | R(2),
    R(0) | R(6) | R(7),
    R(0) | R(10) | R(11),
    R(0) | R(1) | R(2) | R(6) | R(7),
    R(0) | R(8) | R(9) | R(10) | R(11),
    R(0) | R(1) | R(2) | R(6) | R(7) | R(8) | R(9) | R(10),
    R(0) | R(1) | R(2) | R(6) | R(7) | R(8) | R(9) | R(10) | R(11),
    R(0) | TN_FOOT_CTX,
    R(0) | R(7) | TN_FOOT_CTX,
    R(0) | TN_FOOT_RUN,
    R(0) | R(1) | R(6) | TN_FOOT_RUN,
    R(0) | R(10) | R(11) | TN_FOOT_CTX | TN_FOOT_RUN,
    R(0) | R(1) | R(2) | R(6) | R(7) | R(8) | R(9) | R(10) | R(11) | TN_FOOT_CTX | TN_FOOT_RUN,
};

/* Each option with each footprint, and without one. */
static struct option variant(u32 n)
{
    struct option o = options[n / (TN_ARRAY_SIZE(footprints) + 1)];
    u32 f = n % (TN_ARRAY_SIZE(footprints) + 1);

    o.footprint = f ? footprints[f - 1] : 0;
    return o;
}
#define VARIANTS (TN_ARRAY_SIZE(options) * (TN_ARRAY_SIZE(footprints) + 1))

static void entries(void **state)
{
    static u8 *const fns[] = {s_simple,   s_branch,       s_jmp_first, s_rip,    s_loop,     s_call_first,
                              s_call_rip, s_call_reg_mid, s_leaf,      s_flags,  s_overflow, s_redzone,
                              s_probe,    s_inner,        s_pops,      s_switch, s_endbr,    s_fib,
                              s_short,    s_tail,         s_into,      s_head};

    (void)state;
    for (u32 n = 0; n < VARIANTS; n++) {
        struct option o = variant(n);

        for (u32 i = 0; i < TN_ARRAY_SIZE(fns); i++)
            compare(name_of(moved(fns[i])), TN_PLACE_ENTRY, moved(fns[i]), moved(fns[i]), &o, false);
    }
}

static void exits(void **state)
{
    static u8 *const fns[] = {s_simple,   s_branch,     s_jmp_first, s_rip,   s_loop,    s_call_first,
                              s_call_rip, s_who_called, s_leaf,      s_flags, s_redzone, s_probe,
                              s_inner,    s_pops,       s_switch,    s_endbr, s_fib,     s_short};

    (void)state;
    for (u32 n = 0; n < VARIANTS; n++) {
        struct option o = variant(n);

        for (u32 i = 0; i < TN_ARRAY_SIZE(fns); i++)
            compare(name_of(moved(fns[i])), TN_PLACE_EXIT, moved(fns[i]), moved(fns[i]), &o, false);
    }
}

/* Where flags and red zone are live. */
static void offsets(void **state)
{
    static const struct {
        u8 *fn, *at;
    } places[] = {{s_flags, s_flags_at}, {s_overflow, s_overflow_at}, {s_redzone, s_redzone_at},
                  {s_probe, s_probe_at}, {s_inner, s_inner_at},       {s_call_reg_mid, s_call_reg_mid_at}};

    (void)state;
    for (u32 n = 0; n < VARIANTS; n++) {
        struct option o = variant(n);

        for (u32 i = 0; i < TN_ARRAY_SIZE(places); i++)
            compare(name_of(moved(places[i].fn)), TN_PLACE_OFFSET, moved(places[i].fn), moved(places[i].at),
                    &o, true);
    }
}

/* The n instructions at `at`, each with a jump of its own, whatever jumps there. */
static bool by_hand(u64 at, u64 end, u32 n, struct tn_patch *ret)
{
    struct tn_patch p = {.addr = at, .punned = true, .place = TN_PLACE_OFFSET, .behind = 4};

    while (p.ninsns < n) {
        struct tn_insn i;

        if (at + p.len >= end || tn_x86_decode((u8 *)at + p.len, 15, at + p.len, &i) < 0)
            return false;
        p.insn_off[p.ninsns] = p.len;
        p.insn_len[p.ninsns++] = i.len;
        p.len += i.len;
        p.returns = i.kind == TN_INSN_RET || i.kind == TN_INSN_JMP || i.kind == TN_INSN_JMP_IND;
    }
    if (p.len > 16)
        return false;
    p.resume = at + p.len;
    memcpy(p.expected, (u8 *)at, p.len + 4u);
    *ret = p;
    return true;
}

/*
 * Punned jumps over every instruction of functions that jump to and fro, over it alone and with one and two evicted: the
 * same state, and the program as often as with each other.
 */
static void punned(void **state)
{
    static u8 *const fns[] = {s_simple,       s_branch,     s_jmp_first, s_rip,     s_loop,
                              s_call_reg_mid, s_who_called, s_flags,     s_redzone, s_probe,
                              s_inner,        s_pops,       s_switch,    s_into,    s_head};
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true};
    u32 had[TN_PUN_INSNS + 1] = {0}, prefixed = 0;

    (void)state;
    for (u32 f = 0; f < TN_ARRAY_SIZE(fns); f++) {
        u64 fn = moved(fns[f]), at = fn;
        const struct tn_func *func = NULL;
        struct tn_insn i;

        for (u32 k = 0; k < view.nfuncs; k++)
            if (funcs[k].addr == fn)
                func = &funcs[k];
        assert_non_null(func);
        for (; at < fn + func->size; at += i.len) {
            u64 ran[TN_ARRAY_SIZE(args)] = {0};
            bool known = false;

            if (tn_x86_decode((u8 *)at, 15, at, &i) < 0)
                break; /* what follows is no code */
            for (u32 n = 1; n <= TN_PUN_INSNS; n++) {
                u64 again[TN_ARRAY_SIZE(args)] = {0};
                struct tn_patch p;
                struct tn_pun pun;

                if (!by_hand(at, fn + func->size, n, &p) || place_pun(&p, &pun) < 0)
                    continue;
                had[n]++;
                prefixed += pun.prefixes > 0;
                compare_plan(name_of(fn), TN_PLACE_OFFSET, fn, at, &o, true,
                             &(struct tn_plan){.patches = &p, .npatches = 1}, known ? again : ran);
                if (known)
                    assert_memory_equal(ran, again, sizeof(ran));
                known = true;
            }
        }
    }
    print_message("# %u alone, %u and %u with instructions evicted; %u with prefixes; %u pages\n", had[1],
                  had[2], had[3], prefixed, npages);
    assert_true(had[1] > 40 && had[2] > 20 && had[3] > 10 && prefixed > 5);
}

/* What the program finds in its context. */
static void context_of(bool own)
{
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true, .all_context = true, .own = own};
    u64 *heads = (u64 *)arena->displaced[7];
    struct state in, out;
    struct tn_plan plan;

    fill(&in, 5, 6, 1);
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    for (u32 i = 0; i < 2; i++) {
        seen = (struct tn_pt_regs){0};
        call_with_state((void *)moved(s_simple), &in, &out);
        assert_int_equal(seen.ip, moved(s_simple));
        assert_int_equal(seen.sp, out.gpr[RSP] - 8 + 16 - 16);
        assert_int_equal(seen.di, 5);
        assert_int_equal(seen.si, 6);
        assert_int_equal(seen.ax, in.gpr[RAX]);
        assert_int_equal(seen.cx, in.gpr[RCX]);
        assert_int_equal(seen.dx, in.gpr[RDX]);
        assert_int_equal(seen.bx, in.gpr[RBX]);
        assert_int_equal(seen.bp, in.gpr[RBP]);
        for (u32 r = 8; r < 16; r++) {
            u64 got[] = {seen.r8, seen.r9, seen.r10, seen.r11, seen.r12, seen.r13, seen.r14, seen.r15};

            assert_int_equal(got[r - 8], in.gpr[r]);
        }
        assert_int_equal(seen.cs, 0x33);
        assert_int_equal(seen.ss, 0x2b);
        assert_int_equal(seen.orig_ax, ~0ull);
        assert_int_equal(seen.flags & FLAGS_LIVE, in.flags & FLAGS_LIVE);
    }
    undo(&plan);
    tn_plan_clear(&plan);

    assert_int_equal(tn_plan(&view, TN_PLACE_EXIT, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    call_with_state((void *)moved(s_simple), &in, &out);
    assert_int_equal(seen.ax, (5 + 6 + 1) * 3);
    assert_int_equal(seen.sp, out.gpr[RSP]);
    /* The return address: behind the only call in call_with_state. */
    assert_in_range(seen.ip, (u64)call_with_state, (u64)call_with_state + 512);
    assert_memory_equal((u8 *)seen.ip - 3, "\xff\x14\x24", 3);
    undo(&plan);
    tn_plan_clear(&plan);
}

static void context(void **state)
{
    (void)state;
    context_of(false);
    context_of(true);
}

static struct tn_switch_head *stack(u32 k)
{
    return (struct tn_switch_head *)(stacks + (u64)k * TN_SWITCH_SIZE + TN_SWITCH_TOP);
}

/* A program that comes upon its own hook is skipped there, and runs again afterwards. */
static void recursion_of(bool own)
{
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true, .own = own};
    u64 *heads = (u64 *)arena->displaced[7];
    u64 (*fn)(u64, u64) = (void *)moved(s_simple);
    struct tn_slot *slot = &arena->priv.slot[TN_SLOT_HASH(__builtin_thread_pointer())];
    struct tn_plan plan;

    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    fn(1, 2);
    enters = leaves = runs = 0;
    fn(1, 2);
    assert_int_equal(enters, 0);
    assert_int_equal(runs, 1);
    assert_int_equal(slot->sp, 0);
    assert_int_equal(slot->running[0], 0);
    reenter = fn;
    assert_int_equal(fn(1, 2), 12);
    assert_int_equal(enters, 1);
    assert_int_equal(last_flags & (TN_ENTER_SP | TN_ENTER_OWN),
                     own ? TN_ENTER_SP | TN_ENTER_OWN : TN_ENTER_SP);
    assert_int_equal(runs, 2);
    assert_int_equal(slot->sp, 0);
    assert_int_equal(slot->running[0], 0);
    fn(1, 2);
    assert_int_equal(runs, 3);
    assert_int_equal(enters, 1);
    /* An abandoned run leaves sp behind: the agent is asked. */
    slot->sp = 16;
    fn(1, 2);
    assert_int_equal(enters, 2);
    slot->sp = 0;
    /* A vfork in flight: the agent decides. */
    arena->priv.armed += TN_VFORK_UNIT;
    fn(1, 2);
    assert_int_equal(enters, 3);
    undo(&plan);
    tn_plan_clear(&plan);
}

static void recursion(void **state)
{
    (void)state;
    recursion_of(false);
    recursion_of(true);
}

/* A stack of our own: the thread's, the next one where that is taken, none where all in reach are; and back with each. */
static void own_stacks(void **state)
{
    struct option o = {
        .tp = TN_TP_SELF, .gate = true, .armed = true, .own = true, .footprint = 1 | TN_FOOT_RUN};
    u32 first = TN_SLOT_HASH(__builtin_thread_pointer());
    u64 (*fn)(u64, u64) = (void *)moved(s_simple);
    u64 *heads = (u64 *)arena->displaced[7];
    struct tn_plan plan;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    apply(&plan, moved(s_simple), &o, heads);
    stats = (struct tn_link_stats){};
    runs = 0;
    for (u32 taken = 0; taken <= TN_SWITCH_PROBES; taken++) {
        struct state in = {0}, out = {0};

        fill(&in, 3, 4, 1);
        memset(in.xmm[15], 0, 16);
        seen_run = NULL;
        call_with_state((void *)moved(s_simple), &in, &out);
        assert_int_equal(out.gpr[RAX], (3 + 4 + 1) * 3);
        assert_memory_equal(out.xmm[15], in.xmm[15], 16);
        assert_int_equal(runs, TN_MIN(taken + 1, TN_SWITCH_PROBES));
        assert_int_equal(stats.missed, taken == TN_SWITCH_PROBES);
        if (taken < TN_SWITCH_PROBES) {
            assert_in_range((u64)seen_run, (u64)stack(first + taken) - 1024, (u64)stack(first + taken) - 1);
            assert_int_equal(stack(first + taken)->busy, 0);
            stack(first + taken)->busy = 1;
        }
    }
    for (u32 k = 0; k < TN_SWITCH_STACKS; k++) {
        assert_int_equal(stack(k)->busy, k - first < TN_SWITCH_PROBES);
        stack(k)->busy = 0;
    }
    assert_int_equal(fn(1, 2), 12);
    assert_int_equal(stats.missed, 1);
    undo(&plan);
    tn_plan_clear(&plan);
}

/* Which values of `armed` need no question: this process; for links that follow, a fork child known to be one. */
static void whose_process(void **state)
{
    static const struct {
        u64 armed;
        bool follow, percpu, asks;
    } rows[] = {
        {TN_ARMED, false, false, false},
        {TN_ARMED, true, false, false},
        {TN_ARMED_FORKED, true, false, false},
        {TN_ARMED_FORKED, true, true, true},
        {TN_ARMED_FORKED, false, false, true},
        {0, true, false, true},
        {TN_ARMED + TN_VFORK_UNIT, true, false, true},
        {TN_ARMED_FORKED + TN_VFORK_UNIT, true, false, true},
        {3, true, false, true},
    };
    u64 *heads = (u64 *)arena->displaced[7];
    u64 (*fn)(u64, u64) = (void *)moved(s_simple);
    struct tn_plan plan;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_simple), &plan, NULL), 0);
    for (u32 i = 0; i < 2 * TN_ARRAY_SIZE(rows); i++) {
        struct option o = {.tp = TN_TP_SELF,
                           .gate = true,
                           .armed = true,
                           .follow = rows[i / 2].follow,
                           .percpu = rows[i / 2].percpu,
                           .far = i % 2};

        apply(&plan, moved(s_simple), &o, heads);
        fn(1, 2); /* the slot is the thread's from now on */
        arena->proc.priv->armed = rows[i / 2].armed;
        enters = 0;
        assert_int_equal(fn(1, 2), 12);
        assert_int_equal(enters, rows[i / 2].asks);
        undo(&plan);
    }
    tn_plan_clear(&plan);
}

/* Two links at one place run one after the other; the first can be taken out by one store. */
static void chain(void **state)
{
    struct option o = {.tp = TN_TP_SELF, .gate = true, .armed = true};
    u64 *heads = (u64 *)arena->displaced[7];
    u64 (*fn)(u64, u64) = (void *)moved(s_pops);
    struct tn_plan plan;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_pops), &plan, NULL), 0);
    apply(&plan, moved(s_pops), &o, heads);
    plant(1, TN_PLACE_ENTRY, moved(s_pops), arena->hook[0].next, &o);
    arena->hook[0].next = (u64)arena->tramp[1];
    runs = 0;
    assert_int_equal(fn(1, 2), 9);
    assert_int_equal(runs, 2);
    heads[0] = (u64)arena->tramp[1];
    assert_int_equal(fn(1, 2), 9);
    assert_int_equal(runs, 3);
    assert_ptr_equal(seen_run->hook, &arena->hook[1]);
    undo(&plan);
    tn_plan_clear(&plan);
}

static void refused(void **state)
{
    static const struct {
        u8 *fn;
        enum tn_place_kind place;
        const char *reason;
    } rows[] = {
        {s_tail, TN_PLACE_EXIT, "exit_tail_stack"},
        {s_simple + 1, TN_PLACE_OFFSET, "not_an_instruction_start"},
        {s_simple + 4, TN_PLACE_EXIT, "exit_not_at_entry"},
        {s_simple + 4, TN_PLACE_ENTRY, "function_bounds_unknown"},
        {s_simple, TN_PLACE_SYSENTER, "not_a_syscall"},
        {blob + 100000, TN_PLACE_ENTRY, "not_code"},
    };

    (void)state;
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        struct tn_plan plan = {.npatches = 77};
        struct tn_error err = {0};

        assert_true(tn_plan(&view, rows[i].place, moved(rows[i].fn), &plan, &err) < 0);
        assert_string_equal(err.reason, rows[i].reason);
        assert_int_equal(plan.npatches, 77);
    }
    view.is_go = true;
    for (u32 p = TN_PLACE_ENTRY; p <= TN_PLACE_EXIT; p++) {
        struct tn_error err = {0};
        struct tn_plan plan;

        assert_true(tn_plan(&view, p, moved(s_simple), &plan, &err) < 0);
        assert_string_equal(err.reason, "go_table");
    }
    view.is_go = false;
}

/* Entry and exit of a function of three bytes want the same five: known before anything is written. */
static void overlap(void **state)
{
    struct tn_plan a, b, c;

    (void)state;
    assert_int_equal(tn_plan(&view, TN_PLACE_ENTRY, moved(s_short), &a, NULL), 0);
    assert_int_equal(tn_plan(&view, TN_PLACE_EXIT, moved(s_short), &b, NULL), 0);
    assert_int_equal(tn_plan(&view, TN_PLACE_EXIT, moved(s_pops), &c, NULL), 0);
    assert_int_equal(c.npatches, 2);
    assert_string_equal(a.tactic, "jump5_padding");
    assert_true(tn_plan_overlap(&a, &b));
    assert_false(tn_plan_overlap(&a, &a));
    assert_false(tn_plan_overlap(&a, &c));
    tn_plan_clear(&a);
    tn_plan_clear(&b);
    tn_plan_clear(&c);
}

/*
 * Runs the patched vfork. Its child leaves what it sees in shared memory and exits by a bare system call,
 * without a return: the stack is its parent's.
 */
static int vfork_child(struct tn_private *priv)
{
    volatile u64 in_child = 0;
    s64 pid = 0;
    int status;

    __asm__ volatile("lea -128(%%rsp), %%rsp\n"
                     "call *%[site]\n"
                     "lea 128(%%rsp), %%rsp\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "mov (%[armed]), %%rcx\n"
                     "mov %%rcx, (%[seen])\n"
                     "mov $60, %%eax\n"
                     "mov $7, %%edi\n"
                     "syscall\n"
                     "1:"
                     : "=&a"(pid)
                     : [site] "r"(moved(s_vfork)), [armed] "r"(&priv->armed), [seen] "r"(&in_child)
                     : "rcx", "rdi", "r11", "memory", "cc");
    if (pid <= 0)
        return 1;
    if (in_child != TN_ARMED + TN_VFORK_UNIT)
        return 2;
    if (priv->armed != TN_ARMED)
        return 3;
    if (waitpid((pid_t)pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
        return 4;
    return 0;
}

/* The child of a patched vfork sees the count, the parent takes it back;
   the child's stack is the parent's. */
static void vfork_site(void **state)
{
    struct tn_patch *sites = NULL;
    struct tn_displaced_out out;
    u32 n = 0;
    u8 bytes[TN_PATCH_MAX];
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(tn_find_syscalls(&view, TN_PLACE_SYSENTER, &tn_wanted_vforks, &sites, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(sites[0].refused, 0);
    assert_int_equal(sites[0].nr, SYS_vfork);
    assert_int_equal(sites[0].addr, moved(s_vfork));
    for (u32 far = 0; far < 2; far++) {
        struct tn_private *priv = far ? far_priv : &arena->priv;

        assert_int_equal(tn_displaced(&sites[0],
                                      &(struct tn_copy_to){.at = (u64)arena->displaced[0], .priv = (u64)priv},
                                      arena->displaced[0], TN_DISPLACED_MAX, &out, NULL),
                         0);
        assert_int_equal(tn_patch_bytes(&sites[0], 0, out.enter, bytes, NULL), 0);
        assert_int_equal(sites[0].len, 5); /* a restarted call finds its instruction */
        memcpy((void *)sites[0].addr, bytes, sites[0].len);
        priv->armed = TN_ARMED;
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(vfork_child(priv));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        memcpy((void *)sites[0].addr, sites[0].expected, sites[0].len);
    }
    free(sites);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries),    cmocka_unit_test(exits),     cmocka_unit_test(offsets),
        cmocka_unit_test(context),    cmocka_unit_test(recursion), cmocka_unit_test(whose_process),
        cmocka_unit_test(chain),      cmocka_unit_test(refused),   cmocka_unit_test(overlap),
        cmocka_unit_test(vfork_site), cmocka_unit_test(punned),    cmocka_unit_test(own_stacks),
    };

    return cmocka_run_group_tests_name("equiv", tests, setup, NULL);
}
