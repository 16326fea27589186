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
#include "rewrite/module.h"
#include "rewrite/trampoline.h"

#include <errno.h>

#define STUCK_MS 200u

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
            r = tn_agent_routine(e->index, c->plan->vectors == TN_VECTORS_XMM, &off);
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

static struct near *near_for(struct tn_entry *c, struct near *list, u32 *n, u64 addr)
{
    for (u32 i = 0; i < *n; i++) {
        u64 from = TN_MIN(addr, list[i].rec->addr), to = TN_MAX(addr, list[i].text->addr + list[i].text->len);

        if (to - from < TN_REACH &&
            list[i].text->len - list[i].text_used >= TN_DISPLACED_MAX + TN_TRAMPOLINE_MAX + 64)
            return &list[i];
    }
    s32 id = tn_choose_near(c, addr, addr + 64, TN_DISPLACED_MAX + TN_TRAMPOLINE_MAX + 64, 256);

    if (id < 0 || *n == 4)
        return NULL;
    list[*n] = (struct near){.text = tn_state_region(c->st, TN_REGION_NEAR_TEXT, (u32)id),
                             .rec = tn_state_region(c->st, TN_REGION_NEAR_RECORDS, (u32)id)};
    list[*n].text_used = list[*n].text->used;
    list[*n].rec_used = list[*n].rec->used;
    return &list[(*n)++];
}

static void wire(struct tn_place_req *q, const struct tn_patch *p, u64 bias, const u8 *bytes,
                 const struct tn_displaced_out *out)
{
    q->change.addr = p->addr + bias;
    q->change.len = p->len;
    q->change.place = p->place;
    q->change.hook_before = p->hook_before;
    q->change.ninsns = TN_MIN(p->ninsns, (u8)16);
    memcpy(q->change.insn_off, p->insn_off, sizeof(q->change.insn_off));
    memcpy(q->change.from, p->expected, sizeof(q->change.from));
    memcpy(q->change.to, bytes, sizeof(q->change.to));
    memcpy(q->change.insn_at, out->insn_at, sizeof(q->change.insn_at));
}

/* Displaced instructions of a place: those of its site if it was ever patched, else new ones. */
static int make_site(struct tn_entry *c, struct near *n, const struct tn_patch *p, u64 bias, bool stub,
                     struct tn_place_req *q)
{
    const struct tn_region *priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0);
    u8 code[TN_DISPLACED_MAX], bytes[TN_PATCH_MAX] = {};
    struct tn_displaced_out out = {};
    int r;

    q->site = tn_look_site(c, p->addr + bias);
    q->slot = -1;
    q->func = p->place == TN_PLACE_ENTRY || p->place == TN_PLACE_EXIT ? c->place_addr : 0;
    q->region = (u32)(n->text - c->st->region);
    if (q->site >= 0) {
        const struct tn_site *s = &c->st->site[q->site];

        memcpy(out.insn_at, s->insn_at, sizeof(out.insn_at));
        wire(q, p, bias, s->patched, &out);
        q->head = s->head;
        q->hook_return = s->hook_return;
        q->hook_at = s->hook_at;
        q->displaced = s->displaced;
        q->displaced_len = s->displaced_len;
        return 0;
    }
    q->head = stub ? 0 : take(&n->rec_used, n->rec->addr, 8, 8);
    q->displaced = n->text->addr + TN_ROUND_UP(n->text_used, 16ull);
    if (stub)
        r = tn_vfork_stub(p, bias, q->displaced, priv->addr, code, sizeof(code), &out, c->err);
    else
        r = tn_displaced(p, bias, q->displaced, q->head, code, sizeof(code), &out, c->err);
    if (r < 0)
        return r;
    q->displaced_len = out.len;
    q->hook_return = out.hook_return;
    q->hook_at = out.hook_at;
    n->text_used = q->displaced + out.len - n->text->addr;
    n->touched = true;
    r = tn_patch_bytes(p, bias, out.enter, bytes, c->err);
    if (r < 0)
        return r;
    wire(q, p, bias, bytes, &out);
    return tn_brain_write(c, q->displaced, n->text, code, out.len);
}

/* What only unwind information knows is planned for as if it were inside of a function: it may be a piece of
   one. The host's types know better. */
static enum tn_place_kind place_of(const struct tn_entry *c, const struct tn_patch *p)
{
    bool known = c->spec->typed && c->plan->entry;

    return known && p->place == TN_PLACE_OFFSET ? TN_PLACE_ENTRY : (enum tn_place_kind)p->place;
}

static int make_hook(struct tn_entry *c, struct near *n, const struct tn_patch *p,
                     const struct tn_prog_slot *prog, const struct tn_proc *facts, struct tn_place_req *q)
{
    const struct tn_attach_spec *s = c->spec;
    u64 agent = tn_state_region(c->st, TN_REGION_AGENT_TEXT, 0)->addr, enter, leave;
    u64 proc = tn_state_region(c->st, TN_REGION_PROC, 0)->addr;
    const struct tn_region *rec = n->rec, *text = n->text;
    u8 code[TN_TRAMPOLINE_MAX], text_head[256];
    ssize_t head = pread(s->prog.text, text_head, sizeof(text_head), s->prog.entry);
    struct tn_tramp_in in;
    struct tn_hook hook;
    int r = tn_agent_export("tn_agent_enter", &enter), len = 0;

    if (r == 0)
        r = tn_agent_export("tn_agent_leave", &leave);
    if (r < 0)
        return tn_fail(c->err, r, "bad_agent", "the agent's image lacks its entry points");
    in = (struct tn_tramp_in){.facts = s->prog.facts,
                              .place = place_of(c, p),
                              .args = s->typed ? &s->args : NULL,
                              .replace = s->replace,
                              .stash = prog->stash,
                              .follow = s->follow,
                              .tp = (enum tn_tp_how)facts->tp_how,
                              .gate = tn_state_region(c->st, TN_REGION_GATES, 0)->addr + s->link_index,
                              .priv = tn_state_region(c->st, TN_REGION_PRIVATE, 0)->addr,
                              .proc = proc,
                              .enter = agent + enter,
                              .leave = agent + leave,
                              .prog_bit = c->prog_bit,
                              .footprint = s->prog.footprint,
                              .text = head > 0 ? text_head : NULL,
                              .text_len = head > 0 ? (u32)head : 0,
                              .text_at = prog->text + s->prog.entry,
                              .claims = tn_state_region(c->st, TN_REGION_CLAIMS, 0)->addr,
                              .ncpu = facts->ncpu,
                              .owner_pid = facts->owner_pid,
                              .rseq_cpu_off = facts->rseq_cpu_off};
    /* A spare slot in reach, else new memory. The length depends on the address only by a few bytes. */
    for (u32 i = 0; i < c->st->nhooks && q->slot < 0; i++) {
        const struct tn_hook_slot *sp = &c->st->hook[i];
        bool mine = false;

        if (sp->state != TN_HOOK_SPARE || sp->region >= c->st->nregions ||
            &c->st->region[sp->region] != n->text)
            continue;
        for (const struct tn_place_req *o = q - (size_t)q->index; o < q; o++)
            mine |= o->slot == (s32)i;
        if (mine)
            continue;
        in.at = sp->tramp;
        in.hook = sp->hook;
        len = tn_trampoline(&in, code, sizeof(code), NULL);
        if (len > 0 && (u32)len <= sp->tramp_cap) {
            q->slot = (s32)i;
            q->tramp = sp->tramp;
            q->hook = sp->hook;
            q->tramp_cap = sp->tramp_cap;
        }
    }
    if (q->slot < 0) {
        q->hook = take(&n->rec_used, rec->addr, sizeof(hook), 64);
        q->tramp = text->addr + TN_ROUND_UP(n->text_used, 64ull);
        in.at = q->tramp;
        in.hook = q->hook;
        len = tn_trampoline(&in, code, sizeof(code), c->err);
        if (len < 0)
            return len;
        q->tramp_cap = (u32)TN_ROUND_UP((u32)len, 64u);
        n->text_used = q->tramp + q->tramp_cap - text->addr;
        if (n->text_used > text->len || n->rec_used > rec->len)
            return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
        n->touched = true;
    }
    hook = (struct tn_hook){.prog = prog->text + s->prog.entry,
                            .func_ip = p->place == TN_PLACE_EXIT ? c->place_addr : p->addr + c->bias,
                            .cookie = s->cookie,
                            .stats = (u64) & ((struct tn_link_stats *)facts->stats)[s->link_index],
                            .proc = proc,
                            .next = q->hook_return,
                            .link_index = s->link_index,
                            .prog_bit = c->prog_bit};
    r = tn_brain_write(c, q->hook, rec, &hook, sizeof(hook));
    return r < 0 ? r : tn_brain_write(c, q->tramp, text, code, (u64)len);
}

int tn_compose_links(struct tn_entry *c, const struct tn_prog_slot *prog, const struct tn_proc *facts,
                     struct tn_install_facts *ret)
{
    u32 before = c->before ? c->before->npatches : 0, hooks = before + c->plan->npatches;
    u32 stubs = c->vfork ? c->vfork->npatches : 0, n = 0, nnear = 0;
    struct {
        struct tn_install_req req;
        struct tn_place_req place[];
    } * msg;
    _free_ void *mem = calloc(1, sizeof(*msg) + (hooks + stubs) * sizeof(struct tn_place_req));
    struct near near[4];
    int r = 0;

    msg = mem;
    if (!msg)
        return -ENOMEM;
    for (u32 i = 0; i < hooks && r == 0; i++, n++) {
        const struct tn_patch *p = i < before ? &c->before->patch[i] : &c->plan->patch[i - before];
        struct near *k = near_for(c, near, &nnear, p->addr + c->bias);

        msg->place[n].index = n;
        msg->place[n].keeps = i < before;
        if (!k)
            return tn_fail(c->err, -ENOSPC, "no_room_near", "the memory near the code is full");
        r = make_site(c, k, p, c->bias, false, &msg->place[n]);
        if (r == 0)
            r = make_hook(c, k, p, prog, facts, &msg->place[n]);
    }
    for (u32 i = 0; i < stubs && r == 0; i++) {
        const struct tn_patch *p = &c->vfork->patch[i];
        struct near *k = near_for(c, near, &nnear, p->addr + c->vfork_bias);

        /* One that cannot be counted is left as it is. */
        s32 known = tn_look_site(c, p->addr + c->vfork_bias);

        if (!k || (known >= 0 && c->st->site[known].state == TN_SITE_PATCHED) ||
            make_site(c, k, p, c->vfork_bias, true, &msg->place[n]) < 0)
            continue;
        n++;
    }
    if (r < 0)
        return r;
    msg->req.link_index = c->spec->link_index;
    msg->req.nplaces = n;
    msg->req.vfork_done = c->vfork != NULL;
    msg->req.prog = *prog;
    msg->req.stuck_ms = STUCK_MS;
    msg->req.counter = c->counter;
    for (u32 i = 0; i < nnear; i++) {
        msg->req.used[msg->req.nused].region = (u32)(near[i].text - c->st->region);
        msg->req.used[msg->req.nused++].used = near[i].text_used;
        msg->req.used[msg->req.nused].region = (u32)(near[i].rec - c->st->region);
        msg->req.used[msg->req.nused++].used = near[i].rec_used;
    }
    r = tn_brain_flush(c);
    if (r < 0)
        return r;
    tn_brain_step("install");
    return tn_brain_order(c, TN_ORDER_INSTALL, n, 0, 0, 0, msg,
                          sizeof(*msg) + n * sizeof(struct tn_place_req), NULL, 0, ret, sizeof(*ret));
}
