/* SPDX-License-Identifier: MIT */
/* See arena.h. The agent is played by two functions that know its rules, for a process with one thread. */
#include "arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "agent/agent.h"
#include "inject/stubs.h"
#include "rewrite/switch.h"

#define GENERAL_ONLY __attribute__((target("general-regs-only"), used))

struct arena *arena;
struct tn_private *far_priv;
u8 *stacks;
static u8 *far_gate;
const u32 *clobber_mask;
extern u64 clobber_prog(void *ctx, struct tn_run *run);
void prog_body(struct tn_pt_regs *ctx, struct tn_run *run);

static void *map_at(u64 at, u64 size, int prot, int flags)
{
    void *p = mmap((void *)at, size, prot, flags | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    assert_int_equal((u64)p, at);
    return p;
}

void arena_map(int flags)
{
    arena = map_at(0x10000000, sizeof(*arena), PROT_READ | PROT_WRITE | PROT_EXEC, flags);
    far_priv = map_at(0x7e0000000000, sizeof(*far_priv), PROT_READ | PROT_WRITE, flags);
    far_gate = (u8 *)far_priv + sizeof(*far_priv) - 1;
    stacks = mmap(NULL, TN_SWITCH_BYTES, PROT_READ | PROT_WRITE,
                  (flags & (MAP_PRIVATE | MAP_SHARED)) | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(stacks, MAP_FAILED);
    clobber_mask = &arena->clobber;
}

void state_fill(struct state *s, u64 a, u64 b, u32 seed)
{
    for (u32 i = 0; i < 16; i++) {
        s->gpr[i] = 0x0101010101010101ull * (i + seed);
        memset(s->xmm[i], (int)(i * 7 + seed), 16);
    }
    s->gpr[RDI] = a;
    s->gpr[RSI] = b;
    s->flags = seed & 1 ? 0x202 | FLAGS_LIVE : 0x202;
}

/* Not by the library, which may use vector registers. */
static GENERAL_ONLY void keep(struct tn_pt_regs *to, const struct tn_pt_regs *from)
{
    for (u32 i = 0; i < sizeof(*to) / sizeof(u64); i++)
        ((volatile u64 *)to)[i] = ((const volatile u64 *)from)[i];
}

GENERAL_ONLY void prog_body(struct tn_pt_regs *ctx, struct tn_run *run)
{
    arena->runs++;
    if (run) {
        arena->seen_run = run;
        arena->ran[run->hook - arena->hook]++;
    }
    if (ctx)
        keep(&arena->seen, ctx);
    if (ctx && run)
        keep(&arena->saw[run->hook - arena->hook], ctx);
    if (arena->reenter) {
        u64 (*fn)(u64, u64) = arena->reenter;

        arena->reenter = NULL;
        fn(3, 4);
    }
}

/* Stands in for the agent: the same rules, told in layout.h, for a process with one thread. */
static GENERAL_ONLY u64 enter(struct tn_run *run, u64 flags)
{
    struct tn_private *priv = run->proc->priv;
    u64 tp = (u64)__builtin_thread_pointer(), bit = run->hook->prog_bit;
    struct tn_slot *slot = &priv->slot[TN_SLOT_HASH(tp)];

    arena->enters++;
    arena->last_flags = flags;
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

    arena->leaves++;
    run->slot->running[bit / 64] &= ~(1ull << bit % 64);
    if (run->slot->sp == (u64)run)
        run->slot->sp = 0;
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

struct option variant(u32 n)
{
    u32 kinds = TN_ARRAY_SIZE(footprints) + 1, half = PLAIN_VARIANTS / 2;
    struct option o = options[(n < half ? n : n - half) / kinds];
    u32 f = n % kinds;

    o.fused = n >= half && n < PLAIN_VARIANTS;
    o.footprint = f ? footprints[f - 1] : 0;
    return o;
}
_Static_assert(VARIANTS - PLAIN_VARIANTS / 2 == TN_ARRAY_SIZE(options) * (TN_ARRAY_SIZE(footprints) + 1),
               "each with each");

static const struct tn_typed_args enter_words = {
    .nwords = 8, .from = {TN_FROM_NOTHING, TN_FROM_NR, 0, 1, 2, TN_FROM_R10, 4, 5}};
static const struct tn_typed_args leave_words = {.nwords = 3,
                                                 .from = {TN_FROM_NOTHING, TN_FROM_NR, TN_FROM_RESULT}};

u32 fused;

/* The address that a chain leads to. *fuse: NULL, or set to NULL where it cannot be. */
static u64 plant_in(u32 k, const struct tn_patch *p, u64 ip, u64 next, const struct option *o,
                    const struct tn_fuse **fuse)
{
    struct tn_facts facts = {.percpu = o->percpu};
    struct tn_private *priv = o->far ? far_priv : &arena->priv;
    u8 *gate = o->far ? far_gate : arena->gate;
    struct tn_tramp_in in = {
        .facts = &facts,
        .place = (enum tn_place_kind)p->place,
        .args = !o->typed                      ? NULL
                : p->place == TN_PLACE_SYSEXIT ? &leave_words
                                               : &enter_words,
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
        .nr = p->nr,
        .only = o->only,
        .calls = (u64)arena->calls,
        .flags_dead = p->flags_dead,
    };

    arena->clobber = o->footprint ? o->footprint : ~0u;
    if (o->all_context)
        facts.ctx_read[0] = (1ull << 21) - 1;
    arena->proc.priv = priv;
    memset(priv, 0, sizeof(*priv));
    priv->armed = o->armed ? TN_ARMED : 0;
    *gate = o->gate;
    arena->hook[k] = (struct tn_hook){.prog = (u64)clobber_prog,
                                      .func_ip = ip,
                                      .stats = (u64)&arena->stats[k],
                                      .proc = (u64)&arena->proc,
                                      .next = next,
                                      .prog_bit = o->prog_bit + k};
    u32 first = 0;

    if (*fuse && tn_trampoline_fused(&in, *fuse, arena->tramp[k], TN_TRAMPOLINE_MAX, &first, NULL) > 0) {
        fused++;
        return in.at + first;
    }
    *fuse = NULL;
    assert_true(tn_trampoline(&in, arena->tramp[k], TN_TRAMPOLINE_MAX, NULL) > 0);
    return in.at;
}

void plant(u32 k, const struct tn_patch *p, u64 ip, u64 next, const struct option *o)
{
    const struct tn_fuse *none = NULL;

    plant_in(k, p, ip, next, o, &none);
}

/* Pages for stubs, where this very process has room. Once made they stay. */
static u64 pages[4096];
static u32 npages;

u32 stub_pages(void)
{
    return npages;
}

int place_pun(const struct tn_patch *p, struct tn_pun *ret)
{
    _clean_(tn_stubs_clear) struct tn_stubs s = {0};
    struct tn_maps maps;
    int r;

    assert_int_equal(tn_maps_read(getpid(), &maps), 0);
    assert_int_equal(tn_stubs_open(&s, &maps, NULL, 0, ~0u), 0);
    tn_maps_clear(&maps);
    for (u32 i = 0; i < npages; i++)
        assert_int_equal(tn_stubs_add_page(&s, pages[i]), 0);
    r = tn_stubs_pun(&s, p, 0, true, ret);
    for (u32 i = 0; r == 0 && i < s.nfresh; i++) {
        assert_true(npages < TN_ARRAY_SIZE(pages));
        pages[npages++] = s.fresh[i];
        assert_int_equal((u64)mmap((void *)s.fresh[i], TN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                         s.fresh[i]);
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

void apply(const struct tn_plan *plan, u64 ip, const struct option *o, u64 *heads)
{
    bool had = true;
    u64 past = 0;

    assert_in_range(plan->npatches, 1, ARENA_PATCHES);
    for (u32 i = 0; i < plan->npatches; i++) {
        const struct tn_patch *p = &plan->patches[i];
        struct tn_displaced_out out;
        u8 bytes[TN_PATCH_MAX];
        struct tn_fuse around;
        const struct tn_fuse *fuse = NULL;
        struct tn_pun pun;

        assert_true(had || p->instead);
        if (had && p->instead)
            continue;
        had = !p->punned || place_pun(p, &pun) == 0;
        if (!had)
            continue;
        heads[i] = (u64)arena->tramp[i];
        assert_int_equal(tn_displaced(p,
                                      &(struct tn_copy_to){
                                          .at = (u64)arena->displaced[i],
                                          .hook_entry_ptr = (u64)&heads[i],
                                          .past = past,
                                          .priv = o->counted ? (u64)(o->far ? far_priv : &arena->priv) : 0,
                                          .calls = (u64)arena->calls},
                                      arena->displaced[i], TN_DISPLACED_MAX, &out, NULL),
                         0);
        if (p->rounds && p->rounds != p->addr) { /* nothing is hooked there */
            heads[i] = out.hook_return;
        } else {
            past = out.hook_return;
            around = (struct tn_fuse){.patch = p, .head = (u64)&heads[i], .past = past};
            fuse = o->fused ? &around : NULL;
            heads[i] = plant_in(i, p, ip ? ip : p->addr, past, o, &fuse);
        }
        if (p->punned) {
            write_pun(p, &pun, &out);
            continue;
        }
        assert_int_equal(tn_patch_bytes(p, 0, fuse ? (u64)arena->tramp[i] : out.enter, bytes, NULL), 0);
        memcpy((void *)p->addr, bytes, p->len);
    }
    assert_true(had);
}

void undo(const struct tn_plan *plan)
{
    for (u32 i = 0; i < plan->npatches; i++)
        memcpy((void *)plan->patches[i].addr, plan->patches[i].expected, plan->patches[i].len);
}
