/* SPDX-License-Identifier: MIT */
/*
 * What is written into memory of ours before anything leads there, and the order that makes a patched byte
 * lead to it:
 *
 *   process   struct tn_proc, the head of struct tn_private
 *   program   views of its maps, its pool of words
 *   link      at each place: displaced instructions (once for ever), hook record, trampoline
 */
#include "agent/agent.h"
#include "agent/image.h"
#include "inject/brain.h"
#include "rewrite/mark.h"
#include "rewrite/module.h"
#include "rewrite/trampoline.h"
#include "rt/signals.h"
#include "rt/syscalls.h"

#include <errno.h>

#define STUCK_MS   200u
#define SIGNALS_MS 1000u /* at least, for threads that block SIGTRAP for a moment */
#define HEAD       256u  /* bytes of a program's text that may become part of a trampoline */

int tn_compose_proc(struct tn_entry *c, struct tn_proc *p)
{
    const struct tn_region *reg = tn_state_region(c->st, TN_REGION_PROC, 0);
    const struct tn_region *priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0);
    struct tn_private head = {.armed = TN_ARMED, .pid = p->pid};
    int r;

    p->priv = (struct tn_private *)priv->addr;
    p->claims = (struct tn_cpu_claim *)tn_state_region(c->st, TN_REGION_CLAIMS, 0)->addr;
    p->gates = (const u8 *)tn_state_region(c->st, TN_REGION_GATES, 0)->addr;
    p->stats = (struct tn_link_stats *)tn_state_region(c->st, TN_REGION_STATS, 0)->addr;
    p->signals = tn_state_region(c->st, TN_REGION_SIGNALS, 0)->addr;
    r = tn_brain_write(c, priv->addr, priv, &head, offsetof(struct tn_private, slot));
    return r < 0 ? r : tn_brain_write(c, reg->addr, reg, p, sizeof(*p));
}

static u64 view_addr(const struct tn_entry *c, u32 index)
{
    return tn_state_region(c->st, TN_REGION_PROC, 0)->addr + TN_PROC_VIEWS_OFF + index * TN_VIEW_STRIDE;
}

/* Views are found by the map's region: the region's index is the view's. */
static int write_views(struct tn_entry *c, struct tn_prog_slot *prog)
{
    const struct tn_region *proc = tn_state_region(c->st, TN_REGION_PROC, 0);

    prog->nviews = c->spec->prog.nmaps;
    for (u32 i = 0; i < c->spec->prog.nmaps; i++) {
        const struct tn_install_map *m = &c->spec->prog.maps[i];
        const struct tn_region *reg = tn_state_region(c->st, TN_REGION_MAP, m->id);
        struct tn_map view = {.geo = m->geo, .id = m->id};
        u32 index = TN_STATE_VIEWS;
        int r;

        if (!reg)
            return -EPROTO;
        for (u32 k = 0; k < c->st->nviews && index == TN_STATE_VIEWS; k++)
            if (c->st->view[k].used && c->st->view[k].base == reg->addr)
                index = k;
        for (u32 k = 0; k < TN_STATE_VIEWS && index == TN_STATE_VIEWS; k++) {
            bool taken = c->st->view[k].used;

            for (u32 e = 0; e < i; e++)
                taken |= prog->view[e] == k;
            if (!taken)
                index = k;
        }
        if (index == TN_STATE_VIEWS)
            return tn_fail(c->err, -ENOSPC, "too_many_maps", "process %d has %u maps already", c->pid,
                           TN_STATE_VIEWS);
        prog->view[i] = (u16)index;
        prog->base[i] = reg->addr;
        view.base = (u8 *)reg->addr;
        r = tn_brain_write(c, view_addr(c, index), proc, &view, sizeof(view));
        if (r >= 0 && m->id == TN_TRACE_MAP_ID) {
            u64 ring = view_addr(c, index);

            r = tn_brain_write(c, proc->addr + offsetof(struct tn_proc, trace_ring), proc, &ring,
                               sizeof(ring));
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int tn_compose_program(struct tn_entry *c, struct tn_prog_slot *prog)
{
    const struct tn_install *in = &c->spec->prog;
    const struct tn_region *pool = tn_state_region(c->st, TN_REGION_POOL, in->prog_id);
    const struct tn_region *text = tn_state_region(c->st, TN_REGION_TEXT, in->prog_id);
    const struct tn_region *stash = tn_state_region(c->st, TN_REGION_STASH, in->prog_id);
    u64 agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr;
    _free_ u64 *words = NULL;
    int r;

    *prog = (struct tn_prog_slot){.prog_id = in->prog_id,
                                  .bit = c->prog_bit,
                                  .pool = pool ? pool->addr : 0,
                                  .pool_size = in->pool_size,
                                  .text = text->addr,
                                  .text_len = text->len,
                                  .stash = stash ? stash->addr : 0,
                                  .dev = text->dev,
                                  .ino = text->ino};
    r = write_views(c, prog);
    if (r < 0 || !in->npool)
        return r;
    if (!pool || in->npool > in->pool_size / 8)
        return -EPROTO;
    words = calloc(in->npool, sizeof(*words));
    if (!words)
        return -ENOMEM;
    for (u32 i = 0; i < in->npool; i++) {
        const struct tn_pool_entry *e = &in->pool[i];
        u64 off;

        if (e->kind == TN_POOL_HELPER) {
            r = tn_agent_helper(e->index, &off);
            if (r < 0)
                return tn_fail(c->err, r, "no_helper", "the agent has no helper %u", e->index);
            words[i] = agent + off;
        } else if (e->kind == TN_POOL_AGENT) {
            /* A program that is typed has one place only; any other may come to be at several. */
            r = tn_agent_routine(e->index, c->plan && c->plan->vectors == TN_VECTORS_XMM, &off);
            if (r < 0)
                return tn_fail(c->err, r, "bad_agent", "the agent's image lacks a routine");
            words[i] = agent + off;
        } else if (e->kind == TN_POOL_HOST) {
            words[i] = c->bias + e->offset;
        } else if (e->index >= in->nmaps) {
            return -EPROTO;
        } else if (e->kind == TN_POOL_MAP) {
            words[i] = view_addr(c, prog->view[e->index]);
        } else {
            words[i] = prog->base[e->index] + e->offset;
        }
    }
    return tn_brain_write(c, pool->addr, pool, words, in->npool * sizeof(*words));
}

/* Near memory being handed out by this job. */
struct near {
    const struct tn_region *text, *rec;
    u64 text_used, rec_used;
    bool touched;
};

static u64 take(u64 *used, u64 base, u64 len, u64 align)
{
    u64 at = TN_ROUND_UP(*used, align);

    *used = at + len;
    return base + at;
}

#define NEARS        4u   /* regions that a job hands out of, at most */
#define RECORDS_LEFT 256u /* bytes of records that a place has room in */

static struct near *near_for(struct tn_entry *c, struct near *list, u32 *n, u64 addr)
{
    u32 full[NEARS];

    for (u32 i = 0; i < *n; i++) {
        u64 from = TN_MIN(addr, list[i].rec->addr), to = TN_MAX(addr, list[i].text->addr + list[i].text->len);

        if (to - from < TN_REACH && list[i].text->len - list[i].text_used >= c->place_need &&
            list[i].rec->len - list[i].rec_used >= RECORDS_LEFT)
            return &list[i];
        full[i] = list[i].text->id;
    }
    /* Of those that it has begun, only the job knows what room is left. */
    s32 id = *n < NEARS ? tn_choose_near(c, addr, addr + 64, c->place_need, RECORDS_LEFT, full, *n) : -1;

    if (id < 0)
        return NULL;
    list[*n] = (struct near){.text = tn_state_region(c->st, TN_REGION_NEAR_TEXT, (u32)id),
                             .rec = tn_state_region(c->st, TN_REGION_NEAR_RECORDS, (u32)id)};
    list[*n].text_used = list[*n].text->used;
    list[*n].rec_used = list[*n].rec->used;
    return &list[(*n)++];
}

/* Of a patch, what the hands are told of any. */
static void wire(struct tn_place_req *q, const struct tn_patch *p, u64 bias)
{
    q->change.addr = p->addr + bias;
    q->change.len = p->len;
    q->change.place = p->place;
    q->change.hook_before = p->hook_before;
    while (q->change.ninsns < TN_MIN(p->ninsns, (u8)16) && p->insn_off[q->change.ninsns] < p->len)
        q->change.ninsns++;
    q->change.rounds = p->rounds != 0;
    q->change.njumps = p->punned ? q->change.ninsns : 0;
    memcpy(q->change.insn_off, p->insn_off, sizeof(q->change.insn_off));
    memcpy(q->change.from, p->expected, sizeof(q->change.from));
}

/* A site whose code is gone, near enough; none is looked at twice in a job. −1: none. */
static s32 gone_site(struct tn_entry *c, const struct near *n)
{
    while (c->st->ngone && c->next_gone < c->st->nsites) {
        const struct tn_site *s = &c->st->site[c->next_gone++];

        if (s->state == TN_SITE_GONE && s->displaced >= n->text->addr &&
            s->displaced - n->text->addr < n->text->len)
            return (s32)(c->next_gone - 1);
    }
    return -1;
}

static int displace(const struct tn_entry *c, const struct tn_patch *p, u64 bias,
                    const struct tn_place_req *q, u64 past, u8 *code, u64 cap, struct tn_displaced_out *out,
                    struct tn_error *err)
{
    const struct tn_region *priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0);
    const struct tn_region *calls = tn_state_region(c->st, TN_REGION_CALLS, 0);
    const struct tn_region *signals = tn_state_region(c->st, TN_REGION_SIGNALS, 0);
    u64 agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr, guard = 0;
    int r = tn_agent_export("tn_agent_guard", &guard);

    if (r < 0 || !signals)
        return tn_fail(err, r < 0 ? r : -EPROTO, "bad_agent", "the agent's image lacks its guard");
    return tn_displaced(p,
                        &(struct tn_copy_to){.at = q->displaced,
                                             .load_bias = bias,
                                             .hook_entry_ptr = q->head,
                                             .past = past,
                                             .priv = priv->addr,
                                             .calls = calls ? calls->addr : 0,
                                             .signals = signals->addr,
                                             .guard = agent + guard},
                        code, (u32)cap, out, err);
}

static int write_stubs(struct tn_entry *c, const struct tn_pun *pun, const struct tn_displaced_out *out)
{
    int r = 0;

    for (u32 k = 0; k < pun->njumps && r == 0; k++) {
        const struct tn_region *reg = NULL;
        u8 bytes[TN_PUN_STUB];
        u32 len = tn_pun_stub(pun->stub[k], k ? out->jump_at[k] : out->enter, bytes);

        for (u32 i = 0; i < c->st->nregions && !reg; i++)
            if (c->st->region[i].kind == TN_REGION_STUBS &&
                c->st->region[i].addr == TN_ROUND_DOWN(pun->stub[k], (u64)TN_PAGE))
                reg = &c->st->region[i];
        r = reg ? tn_brain_write(c, pun->stub[k], reg, bytes, len) : -EPROTO;
    }
    return r;
}

/* Where the last hook of what is patched at `addr` goes on; 0: nothing is. */
static u64 site_past(const struct tn_entry *c, u64 addr)
{
    for (u32 k = tn_state_near(c->st, addr); k; k = c->st->site[k - 1].next_near)
        if (c->st->site[k - 1].state >= TN_SITE_PATCHED && c->st->site[k - 1].addr == addr)
            return c->st->site[k - 1].hook_return;
    return 0;
}

/* The copy that a site has. */
static void take_copy(const struct tn_site *s, struct tn_place_req *q)
{
    q->head = s->head;
    q->hook_return = s->hook_return;
    q->hook_at = s->hook_at;
    q->displaced = s->displaced;
    q->displaced_len = s->displaced_len;
    memcpy(q->change.insn_at, s->insn_at, sizeof(q->change.insn_at));
}

/* A new copy, in the memory of a site whose code is gone if there is one. */
static int make_copy(struct tn_entry *c, struct near *n, const struct tn_wish *w, u64 past,
                     struct tn_place_req *q, u8 code[TN_DISPLACED_MAX], struct tn_displaced_out *out)
{
    const struct tn_patch *p = w->patch;
    const u64 bias = w->bias;
    int r = -ENOENT;

    for (s32 i; r < 0 && (i = gone_site(c, n)) >= 0;) {
        const struct tn_site *s = &c->st->site[i];

        q->head = s->head;
        q->displaced = s->displaced;
        r = displace(c, p, bias, q, past, code, TN_MIN(s->displaced_len, (u64)TN_DISPLACED_MAX), out, NULL);
        if (r == 0)
            q->site = i;
    }
    if (r < 0) {
        q->head = take(&n->rec_used, n->rec->addr, 8, 8);
        q->displaced = n->text->addr + TN_ROUND_UP(n->text_used, 16ull);
        r = displace(c, p, bias, q, past, code, TN_DISPLACED_MAX, out, c->err);
        if (r < 0)
            return r;
        n->text_used = q->displaced + out->len - n->text->addr;
        n->touched = true;
    }
    q->displaced_len = out->len;
    q->hook_return = out->hook_return;
    q->hook_at = out->hook_at;
    memcpy(q->change.insn_at, out->insn_at, sizeof(q->change.insn_at));
    return 0;
}

/* The bytes that lead to a place's copy. Of a site that is `known` they stay, but for a plain jump that is not
   there now: what it led to when it was last written may be gone. */
static int lead_there(const struct tn_entry *c, const struct tn_wish *w, const struct tn_site *known,
                      struct tn_place_req *q)
{
    const struct tn_patch *p = w->patch;

    if (p->punned)
        memcpy(q->stub, known ? known->stub : w->pun.stub, sizeof(q->stub));
    q->change.depends = known ? known->depends : p->punned ? w->pun.depends : p->behind;
    if (!p->punned && (!known || known->state == TN_SITE_BARE))
        return tn_patch_bytes(p, w->bias, q->displaced, q->change.to, c->err);
    memcpy(q->change.to, known ? known->patched : w->pun.bytes, sizeof(q->change.to));
    return 0;
}

/* What is displaced of a place, and the bytes that lead there: those of its site if it was ever patched, else
   new ones. */
static int make_site(struct tn_entry *c, struct near *n, const struct tn_wish *w, struct tn_place_req *q)
{
    const struct tn_patch *p = w->patch;
    const struct tn_site *known;
    struct tn_displaced_out out;
    u8 code[TN_DISPLACED_MAX];
    u64 past = 0;
    int r = 0;

    if (p->rounds && p->rounds != p->addr) {
        past = site_past(c, p->rounds + w->bias);
        if (!past)
            return -EPROTO;
    }
    q->common = w->common;
    q->keeps = w->keeps;
    q->counter = w->counter;
    q->mark = w->mark;
    q->site = tn_look_site(c, p->addr + w->bias, p);
    q->slot = -1;
    q->func = !p->tail && (p->place == TN_PLACE_ENTRY || p->place == TN_PLACE_EXIT) ? w->func : 0;
    q->region = (u32)(n->text - c->st->region);
    wire(q, p, w->bias);
    known = q->site >= 0 ? &c->st->site[q->site] : NULL;
    if (known)
        take_copy(known, q);
    else
        r = make_copy(c, n, w, past, q, code, &out);
    if (r == 0)
        r = lead_there(c, w, known, q);
    if (r == 0 && !known && p->punned)
        r = write_stubs(c, &w->pun, &out);
    if (r < 0 || known)
        return r;
    return q->site < 0
               ? tn_brain_write(c, q->displaced, n->text, code, out.len)
               : tn_brain_write_again(c, q->displaced, n->text, TN_WRITE_SITE, (u32)q->site, code, out.len);
}

/* What only unwind information knows is planned for as if it were inside of a function: it may be a piece of
   one. The host's types know better. */
static enum tn_place_kind place_of(const struct tn_entry *c, const struct tn_patch *p)
{
    bool known = c->spec->typed && c->plan && c->plan->entry;

    return known && p->place == TN_PLACE_OFFSET ? TN_PLACE_ENTRY : (enum tn_place_kind)p->place;
}

/* Marks that are some hook's: whoever is still in a trampoline that is retired writes them, too. */
struct marks {
    u64 used[(TN_MARK_ID + 1) / 64];
};
static bool mark_used(const struct marks *m, u32 id)
{
    return m->used[id / 64] >> (id % 64) & 1;
}

/* Each place whose calls may be left by a jump has a mark of its own, in each copy. */
static int give_marks(struct tn_entry *c, struct marks *ours)
{
    _free_ u16 *of_place = calloc((c->spec->nothers + 1ull) * TN_COPIES_MAX, sizeof(*of_place));
    struct marks all = {.used = {1}};
    u32 next = (u32)c->st->next_order, left = TN_MARK_ID;

    if (!of_place)
        return -ENOMEM;
    for (u32 i = 0; i < c->st->nhooks; i++)
        if (c->st->hook[i].state >= TN_HOOK_LIVE)
            all.used[(c->st->hook[i].mark & TN_MARK_ID) / 64] |= 1ull << (c->st->hook[i].mark % 64);
    for (u32 i = 0; i < c->nwishes; i++) {
        struct tn_wish *w = &c->wish[i];
        u16 *mark = &of_place[w->place * TN_COPIES_MAX + w->copy];

        if (!w->patch->tail)
            continue;
        for (; !*mark && left; left--, next++)
            if (!mark_used(&all, next & TN_MARK_ID)) {
                *mark = next & TN_MARK_ID;
                all.used[*mark / 64] |= 1ull << (*mark % 64);
                ours->used[*mark / 64] |= 1ull << (*mark % 64);
            }
        if (!*mark)
            return tn_fail(c->err, -ENOSPC, "too_many_marks",
                           "process %d has %u functions that are left by a jump and hooked there already",
                           c->pid, (u32)TN_MARK_ID);
        w->mark = *mark;
    }
    return 0;
}

/* What calls have left behind that were marked so for an earlier link. */
static int wipe_marks(struct tn_entry *c, const struct marks *ours)
{
    const struct tn_region *marks = tn_state_region(c->st, TN_REGION_MARKS, 0);
    const u64 none = 0;
    u64 word[1024];
    int r = 0;

    for (u64 at = 0; marks && at < marks->len && r == 0; at += sizeof(word)) {
        r = tn_peek(c->pid, marks->addr + at, word, TN_MIN(sizeof(word), marks->len - at));
        for (u32 i = 0; i < TN_ARRAY_SIZE(word) && r == 0; i++)
            if (word[i] && mark_used(ours, word[i] & TN_MARK_ID))
                r = tn_brain_write(c, marks->addr + at + 8 * i, marks, &none, sizeof(none));
    }
    return r;
}

/* What all trampolines of a link have in common. `head`: room for the beginning of the program's text. */
static int common_in(const struct tn_entry *c, const struct tn_prog_slot *prog, const struct tn_proc *facts,
                     u8 head[HEAD], struct tn_tramp_in *ret)
{
    const struct tn_region *calls = tn_state_region(c->st, TN_REGION_CALLS, 0);
    const struct tn_region *marks = tn_state_region(c->st, TN_REGION_MARKS, 0);
    u64 agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr, enter, leave;
    const struct tn_attach_spec *s = c->spec;
    ssize_t have = pread(s->prog.text, head, HEAD, s->prog.entry);
    int r = tn_agent_export("tn_agent_enter", &enter);

    if (r == 0)
        r = tn_agent_export("tn_agent_leave", &leave);
    if (r < 0)
        return tn_fail(c->err, r, "bad_agent", "the agent's image lacks its entry points");
    *ret = (struct tn_tramp_in){.facts = s->prog.facts,
                                .args = s->typed ? &s->args : NULL,
                                .replace = s->replace,
                                .stash = prog->stash,
                                .session = s->session,
                                .follow = s->follow,
                                .tp = (enum tn_tp_how)facts->tp_how,
                                .gate = tn_state_region(c->st, TN_REGION_GATES, 0)->addr + s->link_index,
                                .priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0)->addr,
                                .proc = tn_state_region(c->st, TN_REGION_PROC, 0)->addr,
                                .enter = agent + enter,
                                .leave = agent + leave,
                                .prog_bit = c->prog_bit,
                                .marks = marks ? marks->addr : 0,
                                .only = s->nr,
                                .calls = calls ? calls->addr : 0,
                                .footprint = s->prog.footprint,
                                .text = have > 0 ? head : NULL,
                                .text_len = have > 0 ? (u32)have : 0,
                                .text_at = prog->text + s->prog.entry,
                                .claims = tn_state_region(c->st, TN_REGION_CLAIMS, 0)->addr,
                                .ncpu = facts->ncpu,
                                .owner_pid = facts->owner_pid,
                                .rseq_cpu_off = facts->rseq_cpu_off};
    return 0;
}

/* For a chain whose addresses have to be told apart by their lower halves (struct tn_fuse). */
static bool is_far(const struct tn_state *st, const struct tn_place_req *q, u64 addr)
{
    const u64 reach = 1ull << 31;

    return q->displaced - addr >= reach && addr - q->displaced >= reach && q->site >= 0 &&
           st->site[q->site].hooks;
}

/* Fused, where it may be and the place's jump reaches it. */
static int make_trampoline(const struct tn_tramp_in *in, const struct tn_fuse *fuse, u8 *code,
                           struct tn_place_req *q, struct tn_error *err)
{
    u8 jump[TN_PATCH_MAX];
    int len = -ENOTSUP;

    if (fuse && tn_patch_bytes(fuse->patch, fuse->load_bias, in->at, jump, NULL) == 0)
        len = tn_trampoline_fused(in, fuse, code, TN_TRAMPOLINE_MAX, &q->first, NULL);
    if (len > 0)
        return len;
    q->first = 0;
    return tn_trampoline(in, code, TN_TRAMPOLINE_MAX, err);
}

/* A spare slot that is large enough, wherever it is: what leads there are words. The length depends on the address
   only by a few bytes. */
static int use_spare(struct tn_entry *c, struct tn_tramp_in *in, const struct tn_fuse *fuse, u8 *code,
                     struct tn_place_req *q)
{
    for (; c->st->nspare && c->next_spare < c->st->nhooks; c->next_spare++) {
        const struct tn_hook_slot *sp = &c->st->hook[c->next_spare];
        int len;

        if (sp->state != TN_HOOK_SPARE || sp->region >= c->st->nregions)
            continue;
        if (is_far(c->st, q, sp->tramp))
            return 0;
        in->at = sp->tramp;
        in->hook = sp->hook;
        len = make_trampoline(in, fuse, code, q, NULL);
        if (len <= 0 || (u32)len > sp->tramp_cap)
            continue;
        q->slot = (s32)c->next_spare++;
        q->tramp = sp->tramp;
        q->hook = sp->hook;
        q->tramp_cap = sp->tramp_cap;
        q->region = sp->region;
        return len;
    }
    return 0;
}

/* The agent runs there, in the program's place. */
static int loads_in(const struct tn_entry *c, struct tn_tramp_in *in, u64 *ret_prog)
{
    static const struct tn_facts none;
    u64 loaded;
    int r = tn_agent_export("tn_agent_loaded", &loaded);

    if (r < 0)
        return tn_fail(c->err, r, "bad_agent", "the agent's image lacks its entry points");
    in->facts = &none;
    in->args = NULL;
    in->footprint = 0;
    in->text = NULL;
    *ret_prog = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr + loaded;
    return 0;
}

/* The place's bytes are yet to be written, to lead to this hook. */
static bool is_first(const struct tn_entry *c, const struct tn_wish *w, const struct tn_place_req *q)
{
    return !w->round && !w->patch->tail && (q->site < 0 || c->st->site[q->site].state < TN_SITE_PATCHED);
}

/* Where the instruction is that the hook runs before, from the window's start on. */
static u32 hooked_off(const struct tn_place_req *q)
{
    return q->change.hook_before < q->change.ninsns ? q->change.insn_off[q->change.hook_before] : 0;
}

/* What programs are told of where they are. */
static u64 func_ip(const struct tn_wish *w, const struct tn_place_req *q)
{
    const struct tn_patch *p = w->patch;

    if (p->place == TN_PLACE_EXIT || (p->place == TN_PLACE_ENTRY && p->own_stack))
        return w->func;
    if (p->place == TN_PLACE_SYSENTER) /* as Linux has it: behind the instruction */
        return p->resume + w->bias + 2;
    return p->addr + w->bias + (p->place == TN_PLACE_OFFSET ? hooked_off(q) : 0);
}

/* For programs that walk the stack: at an entry the return address is on top of it, and where the caller's frame
   pointer is about to be pushed, behind `endbr64`: Linux takes every such instruction for one. */
static bool is_bare(const struct tn_patch *p, const struct tn_place_req *q)
{
    return p->place == TN_PLACE_ENTRY ||
           (p->place == TN_PLACE_OFFSET && q->change.from[hooked_off(q)] == 0x55);
}

static int make_hook(struct tn_entry *c, struct near *n, const struct tn_wish *w,
                     const struct tn_tramp_in *common, const struct tn_proc *facts, struct tn_place_req *q)
{
    const struct tn_region *rec = n->rec, *text = n->text,
                           *stacks = tn_state_region(c->st, TN_REGION_STACKS, 0);
    const struct tn_patch *p = w->patch;
    enum tn_write_where where = TN_WRITE_FRESH;
    const u64 bias = w->bias;
    const struct tn_attach_spec *s = c->spec;
    struct tn_tramp_in in = *common;
    const struct tn_fuse fuse = {.patch = p, .load_bias = bias, .head = q->head, .past = q->hook_return};
    const struct tn_fuse *first = is_first(c, w, q) ? &fuse : NULL;
    u8 code[TN_TRAMPOLINE_MAX];
    struct tn_hook hook;
    u64 prog = common->text_at;
    int len, r = 0;

    in.place = place_of(c, p);
    in.nr = p->nr;
    in.flags_dead = p->flags_dead;
    in.tail = p->tail;
    in.unless = p->unless;
    in.slot = p->slot ? p->slot + bias : 0;
    in.leads = w->leads;
    in.stacks = stacks && p->own_stack ? stacks->addr : 0;
    if (p->own_stack && !stacks)
        return -EPROTO;
    in.mark_id = w->mark;
    if (w->loads)
        r = loads_in(c, &in, &prog);
    if (r < 0)
        return r;
    len = use_spare(c, &in, first, code, q);
    if (len) {
        where = TN_WRITE_HOOK;
        text = &c->st->region[q->region];
        rec = tn_state_region(c->st, TN_REGION_NEAR_RECORDS, text->id);
        if (!rec)
            return -EPROTO;
    } else {
        q->hook = take(&n->rec_used, rec->addr, sizeof(hook), 64);
        q->tramp = text->addr + TN_ROUND_UP(n->text_used, 64ull);
        in.at = q->tramp;
        in.hook = q->hook;
        len = make_trampoline(&in, first, code, q, c->err);
        if (len < 0)
            return len;
        q->tramp_cap = (u32)TN_ROUND_UP((u32)len, 64u);
        n->text_used = q->tramp + q->tramp_cap - text->addr;
        if (n->text_used > text->len || n->rec_used > rec->len)
            return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
        n->touched = true;
    }
    if (q->first)
        r = tn_patch_bytes(p, bias, q->tramp, q->change.to, c->err);
    if (r < 0)
        return r;
    hook = (struct tn_hook){.prog = prog,
                            .func_ip = func_ip(w, q),
                            .cookie = tn_spec_place(s, w->place)->cookie,
                            .stats = (u64) & ((struct tn_link_stats *)facts->stats)[s->link_index],
                            .proc = in.proc,
                            .next = q->hook_return,
                            .link_index = s->link_index,
                            .prog_bit = (u16)c->prog_bit,
                            .bare = is_bare(p, q)};
    r = tn_brain_write_again(c, q->hook, rec, where, (u32)q->slot, &hook, sizeof(hook));
    return r < 0 ? r : tn_brain_write_again(c, q->tramp, text, where, (u32)q->slot, code, (u64)len);
}

/* As many places as one order has room for. */
#define BATCH                                                                                                \
    ((TN_ORDER_MAX - sizeof(struct tn_order) - sizeof(struct tn_install_req)) / sizeof(struct tn_place_req))

static int install(struct tn_entry *c, const struct tn_install_req *req, const struct tn_place_req *places,
                   struct tn_install_facts *ret)
{
    size_t size = sizeof(*req) + req->nplaces * sizeof(*places);
    _free_ u8 *body = malloc(size);

    if (!body)
        return -ENOMEM;
    memcpy(body, req, sizeof(*req));
    memcpy(body + sizeof(*req), places, size - sizeof(*req));
    return tn_brain_order(c, TN_ORDER_INSTALL, req->nplaces, 0, 0, 0, body, size, NULL, 0, ret, sizeof(*ret));
}

/* What the places of one group have taken of the near regions. */
static void tell_used(const struct tn_entry *c, const struct near *near, u32 nnear,
                      struct tn_install_req *req)
{
    req->nused = 0;
    for (u32 i = 0; i < nnear; i++) {
        req->used[req->nused].region = (u32)(near[i].text - c->st->region);
        req->used[req->nused++].used = near[i].text_used;
        req->used[req->nused].region = (u32)(near[i].rec - c->st->region);
        req->used[req->nused++].used = near[i].rec_used;
    }
}

/* At least one order, which tells what has been taken. `more`: other groups follow. */
static int install_all(struct tn_entry *c, struct tn_install_req *req, const struct tn_place_req *place,
                       u32 n, bool more, struct tn_install_facts *ret)
{
    u32 done = 0;
    int r;

    do {
        struct tn_install_facts facts_of_it = {};

        req->nplaces = TN_MIN(n - done, (u32)BATCH);
        req->more = more || done + req->nplaces < n;
        r = install(c, req, place + done, &facts_of_it);
        ret->hold_ns_max = TN_MAX(ret->hold_ns_max, facts_of_it.hold_ns_max);
        ret->threads = facts_of_it.threads;
        ret->interrupted = facts_of_it.interrupted;
        done += req->nplaces;
    } while (done < n && r == 0);
    return r;
}

/* The handler that the kernel is to have, which knows where the process's signals are kept. */
static int make_handler(struct tn_entry *c, struct near *near, u32 nnear, const struct tn_proc *facts,
                        u64 *ret)
{
    static const u8 form[] = {0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0,              /* mov $signals,%rcx */
                              0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}; /* jmp tn_agent_trap */
    const u32 needs = 1u << TN_SYS_rt_sigaction | 1u << TN_SYS_rt_sigprocmask | 1u << TN_SYS_rt_sigreturn |
                      1u << TN_SYS_rt_tgsigqueueinfo | 1u << TN_SYS_process_vm_readv | 1u << TN_SYS_getpid |
                      1u << TN_SYS_gettid | 1u << TN_SYS_sched_yield;
    const struct tn_region *signals = tn_state_region(c->st, TN_REGION_SIGNALS, 0);
    u64 trap, agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr;
    u8 code[sizeof(form)];
    struct near *n = NULL;
    int r = tn_agent_export("tn_agent_trap", &trap);

    if ((facts->allowed_syscalls & needs) != needs)
        return tn_fail(c->err, -EPERM, "seccomp",
                       "no five-byte jump fits, and no breakpoint can stand in process %d: it filters the "
                       "system calls that its "
                       "signals would be kept with",
                       c->pid);
    if (facts->tp_how == TN_TP_ARCH_PRCTL)
        return tn_fail(c->err, -ENOTSUP, "signals_not_ours",
                       "no five-byte jump fits, and no breakpoint can stand in process %d: its threads "
                       "cannot be told apart",
                       c->pid);
    for (u32 i = 0; i < nnear && !n; i++)
        if (near[i].text->len - TN_ROUND_UP(near[i].text_used, 16ull) >= sizeof(code))
            n = &near[i];
    if (r < 0 || !n)
        return r < 0 ? r : tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
    memcpy(code, form, sizeof(code));
    memcpy(code + 2, &signals->addr, 8);
    trap += agent;
    memcpy(code + 16, &trap, 8);
    *ret = n->text->addr + TN_ROUND_UP(n->text_used, 16ull);
    n->text_used = *ret + sizeof(code) - n->text->addr;
    return tn_brain_write(c, *ret, n->text, code, sizeof(code));
}

/* Once every call that touches a mask or a handler is hooked. `handler`: 0, as long as it is not made. */
static int take_signals(struct tn_entry *c, u64 handler, bool breaks)
{
    u64 back, agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr;
    int r = tn_agent_export("tn_agent_sigreturn", &back);

    tn_brain_step("signals");
    if (r == 0 && breaks)
        r = tn_brain_order(c, TN_ORDER_SIGNALS, (u32)TN_SIGNALS_BREAKS, handler, agent + back,
                           TN_MAX(c->spec->wait_ms, SIGNALS_MS), NULL, 0, NULL, 0, NULL, 0);
    return r < 0 ? r : tn_loads_take(c, handler, agent + back);
}

/* Where there is one already, it stays. */
static int want_handler(struct tn_entry *c, struct near *near, u32 nnear, const struct tn_proc *facts,
                        bool breaks, bool lost, u64 *ret)
{
    struct tn_error why = {}, *err = c->err;
    int r = 0;

    *ret = c->st->signals == TN_SIGNALS_ON ? c->st->signals_entry : 0;
    if (lost)
        tn_loads_refuse(c, TN_READS_UNHOOKED);
    if (!tn_loads_allowed(facts))
        tn_loads_refuse(c, TN_READS_FILTERED);
    if (breaks && lost)
        return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
    if (*ret || (!breaks && c->reads != TN_READS_LOADS))
        return 0;
    c->err = breaks ? err : &why;
    r = make_handler(c, near, nnear, facts, ret);
    c->err = err;
    if (r == 0 || breaks)
        return r;
    tn_loads_refuse(c, r == -EPERM     ? TN_READS_FILTERED
                       : r == -ENOTSUP ? TN_READS_THREADS
                                       : TN_READS_UNHOOKED);
    return 0;
}

/*
 * What is installed together, one after the other: first what serves all links, and then needs SIGTRAP for itself; jumps out
 * of a function last, since what they mark is to be seen where they lead, and with them those that are led past a hook, which
 * must be there. In each of these a link's second hook at the same place comes after its first.
 */
enum phase { COMMON, PLACES, LATE, PHASES };
static enum phase phase_of(const struct tn_wish *w)
{
    if (w->patch->tail == TN_TAIL_LEAVE || (w->patch->rounds && w->patch->rounds != w->patch->addr))
        return LATE;
    return w->hook ? PLACES : COMMON;
}

struct group {
    enum phase phase;
    u32 round;
    struct tn_place_req *place;
    u32 n;
    bool lost; /* what counts vfork children, or touches masks and handlers, could not be had */
};

static int compose_one(struct tn_entry *c, const struct tn_wish *w, struct near *near, u32 *nnear,
                       const struct tn_tramp_in *common, const struct tn_proc *facts, struct group *g)
{
    struct near *k = near_for(c, near, nnear, w->patch->addr + w->bias);
    struct tn_place_req *q = &g->place[g->n];
    int r;

    *q = (struct tn_place_req){};
    r = k ? make_site(c, k, w, q) : 0;
    if (!w->hook && !w->needed && (!k || r < 0)) { /* one that cannot be counted is left as it is */
        *c->err = (struct tn_error){};
        g->lost |= tn_guard_needed(w->patch->nr) || w->patch->nr == TN_NR_UNKNOWN;
        return 0;
    }
    if (!k)
        return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
    if (r == 0 && w->hook)
        r = make_hook(c, k, w, common, facts, q);
    g->n += r == 0;
    return r;
}

int tn_compose_links(struct tn_entry *c, const struct tn_prog_slot *prog, const struct tn_proc *facts,
                     struct tn_install_facts *ret)
{
    _free_ struct tn_place_req *place = calloc(c->nwishes, sizeof(*place));
    struct tn_install_req req = {.link_index = c->spec->link_index, .prog = *prog, .stuck_ms = STUCK_MS};
    u32 nnear = 0, rounds = 0, left = c->nwishes;
    struct marks marks = {};
    bool begun = false;
    bool breaks = tn_plan_breaks(c) && !(c->st->signals_set & TN_SIGNALS_BREAKS);
    struct tn_tramp_in common;
    struct near near[NEARS];
    u8 head[HEAD];
    int r;

    if (!place)
        return -ENOMEM;
    r = common_in(c, prog, facts, head, &common);
    if (r == 0)
        r = give_marks(c, &marks);
    if (r == 0)
        r = wipe_marks(c, &marks);
    for (u32 i = 0; i < c->nwishes; i++)
        rounds = TN_MAX(rounds, c->wish[i].round + 1);
    for (u32 step = 0; step < PHASES * rounds && left && r == 0; step++) {
        struct group g = {.phase = (enum phase)(step / rounds), .round = step % rounds, .place = place};
        u32 before = left;
        u64 handler = 0;
        bool take;

        for (u32 i = 0; i < c->nwishes && r == 0; i++) {
            const struct tn_wish *w = &c->wish[i];

            if (w->round != g.round || phase_of(w) != g.phase)
                continue;
            u32 n = g.n;

            r = compose_one(c, w, near, &nnear, &common, facts, &g);
            req.vfork_done |= g.n > n && w->common && tn_wants(&tn_wanted_vforks, w->patch->nr);
            left--;
        }
        if (r == 0 && step == 0)
            r = want_handler(c, near, nnear, facts, breaks, g.lost, &handler);
        take = step == 0 && (breaks || c->reads != TN_READS_NONE);
        if (r < 0 || (left == before && !take))
            continue;
        r = tn_brain_flush(c);
        if (r == 0)
            r = tn_look_take(c);
        if (r < 0)
            continue;
        tell_used(c, near, nnear, &req);
        tn_brain_step("install");
        begun = true;
        r = install_all(c, &req, place, g.n, left > 0, ret);
        if (r == 0 && take)
            r = take_signals(c, handler, breaks);
    }
    /* A link stands whole or not at all. */
    if (r < 0 && begun)
        tn_brain_order(c, TN_ORDER_UNLINK, 0, req.link_index, 0, 0, NULL, 0, NULL, 0, NULL, 0);
    return r;
}
