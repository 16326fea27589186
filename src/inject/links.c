/* SPDX-License-Identifier: MIT */
/*
 * Links in a target: places, chains of hooks at a place, and what becomes of both.
 *
 *   place: bytes ──jmp──▶ displaced … jmp *head
 *                                          head ──▶ trampoline 1 ─ next ─▶ trampoline 2 ─ next ─▶ hook_return
 *
 * The first link of a place may have the displaced instructions in its trampoline as well, to which the bytes then
 * lead straight (tn_trampoline_fused): it looks at the chain's words and does what they say.
 *
 * Oldest first; but hooks that keep arguments for a function's exits come before those that might answer in its
 * place, since an answer goes on to the exits (tn_hook.answer).
 *
 * A link gained or lost where others are is one aligned eight-byte store into a word that only our code
 * reads. Only the first link of a place writes instructions, and only the last one restores them.
 *
 * What a link leaves behind is given out again by reclaim.c.
 */
#include "inject/hands.h"
#include "rewrite/switch.h"
#include "rt/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#define SIGNALS_WAIT_MS 1000u /* for a thread that gives signals back */

const struct tn_region *tn_state_region(const struct tn_state *st, u32 kind, u32 id)
{
    for (u32 i = 0; i < st->nregions; i++)
        if (st->region[i].kind == kind && st->region[i].id == id)
            return &st->region[i];
    return NULL;
}

bool tn_state_keeps(const struct tn_state *st, u32 prog)
{
    for (u32 i = 0; i < st->nhooks; i++)
        if (st->hook[i].state == TN_HOOK_LIVE && st->hook[i].prog == prog &&
            st->site[st->hook[i].site].place == TN_PLACE_ENTRY)
            return true;
    return false;
}

static bool in_region(const struct tn_state *st, u32 kind, u64 addr, u64 len)
{
    for (u32 i = 0; i < st->nregions; i++) {
        const struct tn_region *r = &st->region[i];

        if (r->kind == kind && addr >= r->addr && addr - r->addr <= r->len &&
            len <= r->len - (addr - r->addr))
            return true;
    }
    return false;
}

bool tn_site_meets(const struct tn_site *s, u64 addr, u32 len, u32 depends)
{
    return (addr < s->addr + s->len + s->depends && s->addr < addr + len) ||
           (addr < s->addr + s->len && s->addr < addr + len + depends);
}

bool tn_site_leads(const struct tn_site *s, u64 addr, u64 len)
{
    s32 rel;

    if (s->state < TN_SITE_PATCHED || s->njumps || s->len < 5)
        return false;
    memcpy(&rel, s->patched + 1, sizeof(rel));
    return s->addr + 5 + (u64)(s64)rel - addr < len;
}

bool tn_state_stub(const struct tn_state *st, u64 addr, u64 len, s32 but)
{
    for (u32 i = 0; i < st->nsites; i++) {
        const struct tn_site *s = &st->site[i];

        for (u32 k = 0; k < s->njumps && s->state != TN_SITE_FREE && s->state != TN_SITE_GONE; k++)
            if ((s32)i != but && addr < s->stub[k] + TN_PUN_STUB && s->stub[k] < addr + len)
                return true;
    }
    return false;
}

static int store(struct tn_hands *h, u64 addr, u64 value)
{
    return addr % 8 ? -EINVAL : tn_tracee_write(&h->t, addr, &value, 8);
}

/* Mirrors a site's undo entry in the target, where a new broker finds it if guardian and broker are gone. */
static void mirror(struct tn_hands *h, u32 site, u8 state)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    const struct tn_site *s = &h->st->site[site];
    struct tn_undo u = {.addr = s->addr, .len = (u8)TN_MIN(s->len, sizeof(u.orig)), .state = state};

    if (!proc)
        return;
    memcpy(u.orig, s->orig, u.len);
    memcpy(u.patched, s->patched, u.len);
    for (u32 k = 1; k < s->njumps; k++)
        u.more[k - 1] = s->insn_off[k];
    tn_tracee_write(&h->t, proc->addr + TN_PROC_UNDO_OFF + site * sizeof(u), &u, sizeof(u));
}

/* ------------------------------------------------------------------------------ install */

/* A jump and nops into our text, or punned jumps to their stubs. */
static bool leads_to_ours(const struct tn_state *st, const struct tn_place_req *p)
{
    const struct tn_change_wire *c = &p->change;
    s32 rel;

    if (!c->njumps && c->len == TN_BREAK_LEN)
        return c->to[0] == 0xcc && !c->depends;
    if (!c->njumps) {
        memcpy(&rel, c->to + 1, 4);
        return c->len >= 5 && c->to[0] == 0xe9 && c->len + c->depends <= sizeof(c->to) &&
               !memcmp(c->from + c->len, c->to + c->len, c->depends) &&
               in_region(st, TN_REGION_NEAR_TEXT, c->addr + 5 + (u64)(s64)rel, 1);
    }
    if (!c->len || c->njumps > TN_PUN_INSNS || c->njumps != c->ninsns || c->insn_off[0] ||
        c->len + c->depends > sizeof(c->to) || memcmp(c->from + c->len, c->to + c->len, c->depends))
        return false;
    for (u32 k = 0; k < c->njumps; k++) {
        u32 off = c->insn_off[k];

        if (off >= c->len || (k && off <= c->insn_off[k - 1]) || c->from[off] == 0xcc ||
            tn_pun_target(c->to + off, c->len + c->depends - off, c->addr + off) != p->stub[k] ||
            !in_region(st, TN_REGION_STUBS, p->stub[k], TN_PUN_STUB) ||
            tn_state_stub(st, p->stub[k], TN_PUN_STUB, p->site))
            return false;
    }
    return true;
}

static int check_place(struct tn_hands *h, const struct tn_maps *maps, const struct tn_place_req *p,
                       struct tn_error *err)
{
    const struct tn_state *st = h->st;
    const struct tn_change_wire *c = &p->change;
    const struct tn_vma *v = tn_maps_at(maps, c->addr);
    bool hookless = !p->tramp, trap = c->len == TN_BREAK_LEN && !c->njumps;

    if (!v)
        return tn_fail(err, -ENOENT, "not_mapped", "the code at 0x%llx of process %d is not there any more",
                       (unsigned long long)c->addr, st->pid);
    if ((trap && (hookless || !(st->signals_set & TN_SIGNALS_BREAKS))) ||
        c->len > sizeof(((struct tn_undo *)0)->orig) || c->ninsns > 16 || !v->ino || !(v->prot & PROT_EXEC) ||
        c->len + (u64)c->depends > v->end - c->addr || c->from[0] == 0xcc || !leads_to_ours(st, p) ||
        p->site >= (s32)TN_STATE_SITES || p->slot >= (s32)TN_STATE_HOOKS || p->region >= TN_STATE_REGIONS ||
        !in_region(st, TN_REGION_NEAR_TEXT, p->displaced, p->displaced_len) ||
        !in_region(st, TN_REGION_NEAR_RECORDS, p->head, 8) || p->head % 8 ||
        !in_region(st, TN_REGION_NEAR_TEXT, p->hook_return, 1) ||
        !in_region(st, TN_REGION_NEAR_TEXT, p->hook_at, 1) || (hookless && !p->common) ||
        (!hookless &&
         (!in_region(st, TN_REGION_NEAR_TEXT, p->tramp, p->tramp_cap) || p->first >= p->tramp_cap ||
          !in_region(st, TN_REGION_NEAR_RECORDS, p->hook, sizeof(struct tn_hook)) || p->hook % 8)))
        return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible patch");
    for (u32 k = 0; k < c->ninsns; k++)
        if (c->insn_off[k] >= c->len || !in_region(st, TN_REGION_NEAR_TEXT, c->insn_at[k], 1))
            return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible patch");
    s32 other = tn_state_overlap(st, c->addr, c->len, c->depends, p->site);

    if (other >= 0)
        return tn_fail(
            err, -EBUSY, "overlaps_patch",
            "the code at 0x%llx is too close to another hook at 0x%llx: detach that first, or ask for both "
            "places in one link",
            (unsigned long long)c->addr, (unsigned long long)st->site[other].addr);
    if (p->site >= 0) {
        const struct tn_site *s = &st->site[p->site];

        if (s->state == TN_SITE_FREE || (s->state != TN_SITE_GONE && s->addr != c->addr) ||
            s->head != p->head || s->displaced != p->displaced || s->displaced_len < p->displaced_len)
            return tn_fail(err, -EPROTO, "bad_order", "the injector spoke of another place");
    }
    if (p->slot >= 0 && st->hook[p->slot].state != TN_HOOK_SPARE)
        return tn_fail(err, -EPROTO, "bad_order", "the injector chose a slot that is not free");
    return 0;
}

static int by_place(const void *x, const void *y)
{
    const struct tn_change_wire *const *a = x, *const *b = y;

    return (*a)->addr < (*b)->addr ? -1 : (*a)->addr > (*b)->addr;
}

/* No two places of an order write the same bytes, or what the other depends on. */
static int check_apart(const struct tn_place_req *places, u32 n, struct tn_error *err)
{
    _free_ const struct tn_change_wire **sorted = calloc(n + 1, sizeof(*sorted));
    u64 end = 0;

    if (!sorted)
        return -ENOMEM;
    for (u32 i = 0; i < n; i++)
        sorted[i] = &places[i].change;
    qsort(sorted, n, sizeof(*sorted), by_place);
    for (u32 i = 0; i < n; i++) {
        if (sorted[i]->addr < end)
            return tn_fail(err, -EBUSY, "overlaps_patch",
                           "the code at 0x%llx is too close to another place of the same link",
                           (unsigned long long)sorted[i]->addr);
        end = sorted[i]->addr + sorted[i]->len + sorted[i]->depends;
    }
    return 0;
}

/* A jump without a link could not be taken back once (restore); the file's bytes may be there again. */
static void look_again(struct tn_hands *h, u32 site)
{
    struct tn_site *s = &h->st->site[site];
    u8 now[TN_PATCH_MAX];

    if (s->state == TN_SITE_PATCHED && !s->nhooks && !s->common &&
        tn_tracee_read(&h->t, s->addr, now, s->len) == 0 && !memcmp(now, s->orig, s->len))
        s->state = TN_SITE_BARE;
}

/* The next free entry from *at on, which begins behind all that were ever used; where that is the end, once from the
   start. */
static u32 free_site(const struct tn_state *st, u32 *at)
{
    if (*at == TN_STATE_SITES && st->nsites == TN_STATE_SITES)
        *at = 0;
    while (*at < TN_STATE_SITES && st->site[*at].state != TN_SITE_FREE)
        ++*at;
    return *at < TN_STATE_SITES ? (*at)++ : TN_STATE_SITES;
}

/* What is before and behind a place in a site's chain: the word that leads there, and where to go on. */
struct between {
    u64 word, next;
};
static struct between chain_at(const struct tn_state *st, u32 site, u64 order)
{
    struct between at = {.word = st->site[site].head, .next = st->site[site].hook_return};
    u64 before = 0, after = ~0ull;

    for (u32 k = st->site[site].hooks; k; k = st->hook[k - 1].next_of_site) {
        const struct tn_hook_slot *o = &st->hook[k - 1];

        if (o->order < order && o->order >= before) {
            before = o->order;
            at.word = o->hook + offsetof(struct tn_hook, next);
        }
        if (o->order > order && o->order < after) {
            after = o->order;
            at.next = o->tramp + o->first;
        }
    }
    return at;
}

#define LATER (1ull << 62) /* added to the order of all that run programs */

/* Answers in a function's place go where its exits are looked at, from now on. */
static void connect_answers(struct tn_hands *h, u64 func)
{
    const struct tn_state *st = h->st;
    u64 exit = 0;

    for (u32 k = func ? tn_state_func(st, func) : 0; k; k = st->site[k - 1].next_of_func) {
        const struct tn_site *s = &st->site[k - 1];

        if (s->state != TN_SITE_FREE && s->func == func && s->place == TN_PLACE_EXIT)
            exit = s->hook_at;
    }
    for (u32 k = exit ? tn_state_func(st, func) : 0; k; k = st->site[k - 1].next_of_func) {
        const struct tn_site *s = &st->site[k - 1];

        if (s->func == func && s->place == TN_PLACE_ENTRY)
            for (u32 i = s->hooks; i; i = st->hook[i - 1].next_of_site)
                store(h, st->hook[i - 1].hook + offsetof(struct tn_hook, answer), exit);
    }
}

static void to_change(struct tn_change *c, const struct tn_change_wire *w)
{
    *c = (struct tn_change){.addr = w->addr, .len = w->len, .ninsns = w->ninsns, .depends = w->depends};
    c->nmore = w->njumps ? w->njumps - 1 : 0;
    memcpy(c->more, w->insn_off + 1, c->nmore);
    memcpy(c->from, w->from, sizeof(c->from));
    memcpy(c->to, w->to, sizeof(c->to));
    memcpy(c->insn_off, w->insn_off, sizeof(c->insn_off));
    memcpy(c->insn_at, w->insn_at, sizeof(c->insn_at));
}

/* A place that nobody comes to by itself is still where answers go. */
static void empty_chain(struct tn_hands *h, const struct tn_site *s)
{
    if (s->head)
        store(h, s->head, s->hook_return);
}

int tn_hands_install(struct tn_hands *h, const struct tn_install_req *req, const struct tn_place_req *places,
                     struct tn_error *err)
{
    struct tn_state *st = h->st;
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    _free_ struct tn_change *changes = calloc(req->nplaces ? req->nplaces : 1, sizeof(*changes));
    _free_ u32 *site = calloc(req->nplaces ? req->nplaces : 1, sizeof(*site));
    _free_ u32 *counter = calloc(req->nplaces ? req->nplaces : 1, sizeof(*counter)); /* 1 + index */
    u64 used[TN_ARRAY_SIZE(req->used)];
    u32 n = 0, fresh = st->nsites, hooks = 0, next_hook = st->nhooks;
    int r;

    if (!changes || !site || !counter)
        return -ENOMEM;
    if (req->link_index >= TN_MAX_LINKS || req->prog.bit >= TN_SLOT_BITS ||
        req->prog.nviews > TN_PROG_MAPS_MAX || req->nused > 8)
        return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible link");
    for (u32 k = 0; k < req->prog.nviews; k++)
        if (req->prog.view[k] >= TN_STATE_VIEWS)
            return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible link");
    for (u32 i = 0; i < req->nused; i++) {
        const struct tn_region *reg =
            req->used[i].region < TN_STATE_REGIONS ? &st->region[req->used[i].region] : NULL;

        if (!reg || req->used[i].used < reg->used || req->used[i].used > reg->len)
            return tn_fail(err, -EPROTO, "bad_order", "the injector gave memory back that was in use");
    }
    r = tn_maps_read(h->t.pid, &maps);
    if (r < 0)
        return tn_fail(err, r, "vanished", "process %d ended in the middle", h->t.pid);
    tn_hands_signals_inherited(h, &maps);
    for (u32 i = 0; i < req->nplaces; i++) {
        r = check_place(h, &maps, &places[i], err);
        if (r < 0)
            return r;
        hooks += places[i].tramp != 0 && places[i].slot < 0;
        site[i] = places[i].site >= 0 ? (u32)places[i].site : free_site(st, &fresh);
        if (site[i] >= TN_STATE_SITES)
            goto full;
        if (places[i].site >= 0)
            look_again(h, site[i]);
        if (places[i].site >= 0 && st->site[site[i]].state == TN_SITE_PATCHED)
            continue;
        to_change(&changes[n++], &places[i].change);
    }
    r = check_apart(places, req->nplaces, err);
    if (r < 0)
        return r;
    if (hooks > TN_STATE_HOOKS - st->nhooks) /* those below are LIVE, RETIRED or SPARE */
        goto full;
    for (u32 i = 0; i < req->nplaces; i++) {
        if (!places[i].counter)
            continue;
        if (!places[i].tramp)
            return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible counter");
        r = tn_counter_find(h, &maps, places[i].counter, tn_maps_at(&maps, places[i].change.addr),
                            &counter[i], err);
        if (r < 0)
            return r;
        counter[i]++;
    }

    /* What a patched byte will lead to is complete, and undo is written down,
       before the first byte changes. */
    st->changing = 2 + req->link_index;
    st->unsure = 1;
    /* Handed out for ever from here on: should we be killed, threads may be in it though the bytes are back,
       and sites whose displaced instructions lie there are remembered. */
    for (u32 i = 0; i < req->nused; i++) {
        used[i] = st->region[req->used[i].region].used;
        st->region[req->used[i].region].used = req->used[i].used;
    }
    for (u32 i = 0; i < req->nplaces; i++) {
        const struct tn_place_req *p = &places[i];
        struct tn_site *s = &st->site[site[i]];

        if (s->state == TN_SITE_PATCHED)
            continue;
        const struct tn_vma *v = tn_maps_at(&maps, p->change.addr); /* check_place has found it */
        u64 room = places[i].site >= 0 ? s->displaced_len : p->displaced_len;

        st->nsites = TN_MAX(st->nsites, site[i] + 1);
        if (s->state != TN_SITE_FREE)
            tn_state_unlist_site(st, site[i]);
        st->ngone -= s->state == TN_SITE_GONE;
        *s = (struct tn_site){.addr = p->change.addr,
                              .dev = v->dev,
                              .ino = v->ino,
                              .offset = v->offset + (p->change.addr - v->start),
                              .len = p->change.len,
                              .place = p->change.place,
                              .hook_before = p->change.hook_before,
                              .ninsns = p->change.ninsns,
                              .njumps = p->change.njumps,
                              .depends = p->change.depends,
                              .rounds = p->change.rounds,
                              .state = TN_SITE_PLANNED,
                              .head = p->head,
                              .hook_return = p->hook_return,
                              .hook_at = p->hook_at,
                              .func = p->func,
                              .displaced = p->displaced,
                              .displaced_len = room};
        memcpy(s->stub, p->stub, sizeof(s->stub));
        memcpy(s->insn_off, p->change.insn_off, sizeof(s->insn_off));
        memcpy(s->insn_at, p->change.insn_at, sizeof(s->insn_at));
        memcpy(s->orig, p->change.from, sizeof(s->orig));
        memcpy(s->patched, p->change.to, sizeof(s->patched));
        tn_state_list_site(st, site[i]);
        mirror(h, site[i], 1);
        r = store(h, p->head, p->tramp ? p->tramp + p->first : p->hook_return);
        if (r == 0 && s->len == TN_BREAK_LEN && !s->njumps)
            r = tn_hands_break_add(h, s->addr, s->displaced);
        if (r < 0)
            break;
    }
    if (r == 0 && n)
        r = tn_change(&h->t, changes, n, req->stuck_ms, err);
    if (r < 0) {
        for (u32 i = 0; i < req->nplaces; i++)
            if (st->site[site[i]].state != TN_SITE_PATCHED) {
                mirror(h, site[i], 0);
                empty_chain(h, &st->site[site[i]]);
                st->site[site[i]].state = TN_SITE_BARE;
                if (places[i].site < 0) {
                    tn_state_unlist_site(st, site[i]);
                    st->site[site[i]] = (struct tn_site){};
                }
            }
        st->unsure = 0;
        for (u32 i = req->nused; i-- > 0;)
            st->region[req->used[i].region].used = used[i];
        st->changing = 0;
        return tn_fail(err, r, "vanished", "process %d cannot be written to: %s", h->t.pid, strerror(-r));
    }

    for (u32 i = 0; i < req->nplaces; i++) {
        const struct tn_place_req *p = &places[i];
        struct tn_site *s = &st->site[site[i]];
        struct tn_hook_slot *slot;
        u64 order = 0;

        if (p->tramp)
            order = (p->keeps ? 0 : LATER) + st->next_order++;
        if (s->state == TN_SITE_PATCHED && p->tramp) {
            struct between at = chain_at(st, site[i], order);

            store(h, p->hook + offsetof(struct tn_hook, next), at.next);
            store(h, at.word, p->tramp + p->first);
        }
        if (s->state != TN_SITE_PATCHED) {
            s->state = TN_SITE_PATCHED;
            mirror(h, site[i], 2);
        }
        s->common |= p->common;
        if (p->func)
            s->func = p->func;
        if (!p->tramp)
            continue;
        u32 k = p->slot >= 0 ? (u32)p->slot : next_hook++;

        st->nspare -= p->slot >= 0;
        st->nhooks = TN_MAX(st->nhooks, k + 1);
        st->nprogs = TN_MAX(st->nprogs, req->prog.bit + 1);
        slot = &st->hook[k];
        *slot = (struct tn_hook_slot){.state = TN_HOOK_LIVE,
                                      .link_index = req->link_index,
                                      .site = site[i],
                                      .prog = req->prog.bit,
                                      .hook = p->hook,
                                      .tramp = p->tramp,
                                      .tramp_cap = p->tramp_cap,
                                      .first = p->first,
                                      .region = p->region,
                                      .order = order,
                                      .mark = p->mark};
        /* Behind the last byte: a probe is never told of a reader who is not there. It fails only when the process is
           gone. */
        if (counter[i] && tn_counter_raise(h, counter[i] - 1) == 0)
            slot->counter = counter[i];
        tn_state_list_hook(st, k);
        if (st->prog[req->prog.bit].state != TN_HOOK_LIVE) {
            st->prog[req->prog.bit] = req->prog;
            st->prog[req->prog.bit].state = TN_HOOK_LIVE;
            st->prog[req->prog.bit].nhooks = 0;
            for (u32 v = 0; v < req->prog.nviews; v++) {
                st->nviews = TN_MAX(st->nviews, req->prog.view[v] + 1u);
                st->view[req->prog.view[v]] = (struct tn_view_slot){.used = 1, .base = req->prog.base[v]};
            }
        }
        st->prog[req->prog.bit].nhooks++;
    }
    for (u32 i = 0; i < req->nplaces; i++)
        connect_answers(h, places[i].func);
    st->vfork_done |= req->vfork_done;
    st->unsure = 0;
    st->changing = req->more ? 2 + req->link_index : 0;
    return 0;
full:
    return tn_fail(err, -ENOSPC, "too_many_programs", "process %d is full: %u places and %u hooks", h->t.pid,
                   TN_STATE_SITES, TN_STATE_HOOKS);
}

/* ------------------------------------------------------------------------------- detach */

/* Hands that were killed in tn_change left some of the old bytes and some of the new, or its breakpoint. */
static bool half_changed(const struct tn_site *s, const u8 *now)
{
    for (u32 i = 0; i < s->len; i++) {
        bool shut = i == 0;

        for (u32 k = 1; k < s->njumps; k++)
            shut |= s->insn_off[k] == i;
        if (now[i] != s->orig[i] && now[i] != s->patched[i] && (!shut || now[i] != 0xcc))
            return false;
    }
    return true;
}

/* Is what the site was made in still mapped there? Whether it may be run at present makes no difference: who takes that away for a
   while, to change code of his own on the page, finds our bytes there when he gives it back. */
static bool still_mapped(const struct tn_maps *maps, const struct tn_site *s)
{
    const struct tn_vma *v = tn_maps_at(maps, s->addr);

    return v && v->dev == s->dev && v->ino == s->ino && v->offset + (s->addr - v->start) == s->offset &&
           v->end - s->addr >= s->len;
}

#define AT_ONCE 256u /* places that are changed while the threads are held once */

/* `half`: hands were killed while they changed bytes. */
static int restore_some(struct tn_hands *h, const struct tn_maps *maps, const u32 *sites, u32 n, bool half,
                        struct tn_error *err)
{
    struct tn_state *st = h->st;
    struct tn_change changes[AT_ONCE];
    bool foreign[AT_ONCE] = {};
    u32 nc = 0;
    int r;

    for (u32 i = 0; i < n; i++) {
        const struct tn_site *s = &st->site[sites[i]];
        struct tn_change *c = &changes[nc];
        u8 now[TN_PATCH_MAX];

        *c = (struct tn_change){.addr = s->addr, .len = s->len, .nmore = s->njumps ? s->njumps - 1 : 0};
        memcpy(c->more, s->insn_off + 1, c->nmore);
        memcpy(c->from, s->patched, sizeof(c->from));
        memcpy(c->to, s->orig, sizeof(c->to));
        if (!still_mapped(maps, s))
            continue; /* the module is gone */
        if (tn_tracee_read(&h->t, s->addr, now, s->len) < 0) {
            tn_tracee_stumble(&h->t);
            continue;
        }
        if (!memcmp(now, s->orig, s->len))
            continue;
        if (half && half_changed(s, now))
            memcpy(c->from, now, s->len);
        if (!memcmp(now, c->from, s->len))
            nc++;
        else
            foreign[i] = true; /* somebody else wrote there since: not ours to touch */
    }
    r = nc ? tn_change(&h->t, changes, nc, 0, err) : 0;
    for (u32 i = 0; i < n && r == 0; i++) {
        struct tn_site *s = &st->site[sites[i]];

        /* A debugger puts back what it found: our jump, which then leads to an empty chain. */
        if (foreign[i])
            continue;
        if (!s->nhooks)
            empty_chain(h, s);
        s->state = TN_SITE_BARE;
        mirror(h, sites[i], 0);
    }
    return r;
}

/* What cannot be restored stays, whatever becomes of the others; the first failure is told. */
static int restore(struct tn_hands *h, const u32 *sites, u32 n, bool half, struct tn_error *err)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    u32 was = h->st->changing;
    int r = tn_maps_read(h->t.pid, &maps);

    if (r < 0)
        return r;
    h->st->changing = was ? was : 1;
    for (u32 done = 0; done < n; done += AT_ONCE) {
        int one = restore_some(h, &maps, sites + done, TN_MIN(n - done, AT_ONCE), half, r ? NULL : err);

        r = r ? r : one;
    }
    h->st->changing = was;
    return r;
}

static void unlink_hook(struct tn_hands *h, u32 index);

/* Pages that were found to hold what we have written: nobody maps less than a page afresh, so that one site speaks for
   all on its page. A page that falls out of here is looked at again. */
struct pages {
    u64 ours[1024]; /* by their lowest bits: the page's number */
};

/* The file's own bytes where a hook is: it was mapped afresh at the same address. */
static bool is_afresh(struct tn_hands *h, const struct tn_site *s, struct pages *seen)
{
    u64 first = s->addr / TN_PAGE, last = (s->addr + s->len - 1) / TN_PAGE;
    u64 *page = &seen->ours[first % TN_ARRAY_SIZE(seen->ours)];
    u8 now[TN_PATCH_MAX];

    if (s->state != TN_SITE_PATCHED || (first == last && *page == first) ||
        tn_tracee_read(&h->t, s->addr, now, s->len) < 0)
        return false;
    if (first == last && !memcmp(now, s->patched, s->len))
        *page = first;
    return !memcmp(now, s->orig, s->len);
}

void tn_hands_forget_gone(struct tn_hands *h)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    struct tn_state *st = h->st;
    struct pages seen = {};

    if (st->unsure)
        tn_state_list_all(st);
    if (!st->nsites || st->changing || tn_maps_read(h->t.pid, &maps) < 0)
        return;
    for (u32 i = 0; i < st->nsites; i++) {
        struct tn_site *s = &st->site[i];
        bool gone;

        if (s->state == TN_SITE_FREE || s->state == TN_SITE_GONE)
            continue;
        gone = !still_mapped(&maps, s);
        if (!gone && !is_afresh(h, s, &seen))
            continue;
        st->unsure = 1;
        while (s->hooks) {
            struct tn_hook_slot *slot = &st->hook[s->hooks - 1];

            if (slot->counter)
                tn_counter_forget(h, slot->counter - 1);
            slot->counter = 0;
            unlink_hook(h, s->hooks - 1);
        }
        if (s->common)
            st->vfork_done = 0;
        if (gone && s->len == TN_BREAK_LEN && !s->njumps)
            tn_hands_break_forget(h, s->addr);
        s->state = gone ? TN_SITE_GONE : TN_SITE_BARE;
        st->ngone += gone;
        mirror(h, i, 0);
    }
    st->unsure = 0;
}

/* Takes one hook out of its chain. */
static void unlink_hook(struct tn_hands *h, u32 index)
{
    struct tn_state *st = h->st;
    struct tn_hook_slot *slot = &st->hook[index];
    struct between at = chain_at(st, slot->site, slot->order);

    if (slot->counter)
        tn_counter_lower(h, slot->counter - 1);
    store(h, at.word, at.next);
    slot->state = TN_HOOK_RETIRED;
    tn_state_unlist_hook(st, index);
    if (--st->prog[slot->prog].nhooks == 0)
        st->prog[slot->prog].state = TN_HOOK_RETIRED;
}

/* The last link of a process takes the patches with it that served all links: vfork's call sites, and calls that touch
   masks and handlers, once all signals are the host's again. Where that cannot be now, they stay. */
static u32 common_sites(struct tn_hands *h, u32 *ret_sites)
{
    struct tn_state *st = h->st;
    u32 n = 0;

    if (st->nlive || tn_hands_signals_off(h, SIGNALS_WAIT_MS) < 0)
        return 0;
    for (u32 i = 0; i < st->nsites; i++)
        if (st->site[i].state == TN_SITE_PATCHED && st->site[i].common) {
            st->site[i].common = false;
            ret_sites[n++] = i;
        }
    st->vfork_done = 0;
    return n;
}

int tn_hands_unlink(struct tn_hands *h, u32 link_index, u32 *ret_prog, struct tn_error *err)
{
    struct tn_state *st = h->st;
    _free_ u32 *bare = calloc(st->nsites + 1, sizeof(*bare));
    bool found = link_index < TN_MAX_LINKS && st->link[link_index];
    u32 n = 0;
    int r;

    *ret_prog = TN_SLOT_BITS;
    if (!bare)
        return -ENOMEM;
    /* Killed on the way, the rest of it is taken out by the next hands. */
    st->changing = found ? 2 + link_index : 1;
    st->unsure = 1;
    while (found && st->link[link_index]) {
        const struct tn_hook_slot *slot = &st->hook[st->link[link_index] - 1];

        *ret_prog = slot->prog;
        unlink_hook(h, st->link[link_index] - 1);
        if (!st->site[slot->site].nhooks && !st->site[slot->site].common)
            bare[n++] = slot->site;
    }
    st->unsure = 0;
    /* When bytes cannot be restored now, the jump stays with an empty chain behind it: harmless. */
    r = n ? restore(h, bare, n, false, err) : 0;
    n = r == 0 ? common_sites(h, bare) : 0;
    if (n)
        r = restore(h, bare, n, false, err);
    st->changing = 0;
    st->behind |= r < 0;
    return found ? r : tn_fail(err, -ENOENT, "no_link", "link %u is not in process %d", link_index, st->pid);
}

int tn_hands_wait_runs(struct tn_hands *h, u32 bit, u32 wait_ms, struct tn_error *err)
{
    const struct tn_region *priv = tn_state_region(h->st, TN_REGION_PRIVATE, 0);
    u64 until = tn_monotonic() + wait_ms * 1000000ull, pause = 100000;
    _free_ struct tn_private *p = malloc(sizeof(*p));

    if (!p)
        return -ENOMEM;
    if (!priv || bit >= TN_SLOT_BITS || h->st->prog[bit].state == TN_HOOK_LIVE)
        return 0; /* other links of the program are here: its runs are theirs as well */
    for (;;) {
        u32 running = 0;

        if (tn_tracee_read(&h->t, priv->addr, p, sizeof(*p)) < 0)
            return 0;
        for (u32 i = 0; i < TN_SLOT_COUNT; i++)
            running += p->slot[i].sp && (p->slot[i].running[bit / 64] >> (bit % 64) & 1);
        for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
            running += p->overflow[i].sp && (p->overflow[i].running[bit / 64] >> (bit % 64) & 1);
        if (!running)
            return 0;
        if (tn_monotonic() >= until || tn_tracee_hung_up(&h->t))
            return tn_fail(err, -ETIMEDOUT, "runs_under_way",
                           "detached, but %u run%s of the program in process %d had not ended after %u ms",
                           running, running == 1 ? "" : "s", h->t.pid, wait_ms);
        if (h->t.n) /* one that a signal has stopped may be the one that runs */
            tn_hands_look_after(h, pause);
        else
            nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
        pause = TN_MIN(pause * 2, 5000000ull);
    }
}

int tn_hands_restore_all(struct tn_hands *h)
{
    _free_ u32 *sites = calloc(h->st->nsites + 1, sizeof(*sites));
    u32 n = 0;
    int r = 0;

    tn_counter_repair(h);
    tn_counter_lower_all(h);
    if (!sites)
        return -ENOMEM;
    for (u32 pass = 0; pass < 2 && r == 0; pass++) {
        n = 0;
        if (pass && tn_hands_signals_off(h, SIGNALS_WAIT_MS) < 0)
            break; /* handler and guards stay, and the process is as before */
        for (u32 i = 0; i < h->st->nsites; i++)
            if ((h->st->site[i].state == TN_SITE_PATCHED || h->st->site[i].state == TN_SITE_PLANNED) &&
                (pass || !h->st->site[i].common))
                sites[n++] = i;
        r = n ? restore(h, sites, n, h->st->changing != 0, NULL) : 0;
    }
    for (u32 i = 0; i < TN_MAX_LINKS && r == 0; i++)
        while (h->st->link[i])
            unlink_hook(h, h->st->link[i] - 1);
    return r;
}

int tn_hands_repair(struct tn_hands *h)
{
    struct tn_state *st = h->st;
    _free_ u32 *sites = calloc(st->nsites + 1, sizeof(*sites));
    u32 n = 0;
    int r;

    st->behind = 0;
    if (!sites)
        return -ENOMEM;
    tn_counter_repair(h);
    /* The link that was being made is not told to anybody: what there is of it goes. */
    st->unsure = 1;
    if (st->changing >= 2 && st->changing - 2 < TN_MAX_LINKS)
        while (st->link[st->changing - 2])
            unlink_hook(h, st->link[st->changing - 2] - 1);
    st->unsure = 0;
    for (u32 i = 0; i < st->nsites; i++)
        if (st->site[i].state == TN_SITE_PLANNED ||
            (st->site[i].state == TN_SITE_PATCHED && !st->site[i].common && !st->site[i].nhooks))
            sites[n++] = i;
    r = n ? restore(h, sites, n, true, NULL) : 0;
    if (r == 0)
        tn_hands_signals_repair(h, SIGNALS_WAIT_MS);
    n = r == 0 ? common_sites(h, sites) : 0;
    r = n ? restore(h, sites, n, true, NULL) : r;
    if (r == 0)
        st->changing = 0;
    return r;
}
