/* SPDX-License-Identifier: MIT */
/*
 * What brokers leave in a process, and when it may go.
 *
 *   the broker goes ── bytes and signals are the host's ── nobody is in it? ── a thread can be borrowed? ──▶ unmapped, all of it
 *                                                                 └── no ───────────── no ───▶ it stays, and its inventory with it
 *   another comes ──── markers of brokers that are gone ── nobody is in it? ── its thread is borrowed ────▶ unmapped
 *
 * So at most as much stays as one broker has brought, or what a thread sleeps in. What is looked for on all threads, as in reclaim.c,
 * are addresses of code; of the stacks that are ours; and of what the host was made to pass to the kernel (masks for a sleep, in
 * tn_signals), for which registers are looked at as well. Who is outside of these stays outside: bytes lead there no more,
 * no handler does, nor does a child that shares the memory.
 *
 * Nothing that another broker has left is believed. It is the process's own memory, and could lie; but whatever it says, only
 * mappings of this process are unmapped, which it could unmap by itself, and of them those only that are in /proc/PID/maps as an
 * inventory says: files of ours by name and number; what is in no file by place, size and rights. An inventory is never ahead of what is
 * there (order.h), so that one that nobody has forged names nothing of the host's, in a fork child neither. Nothing is touched
 * while another broker lives that holds the process, or while one has a thread of it, since all threads are ours then.
 */
#include "inject/hands.h"
#include "rt/signals.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PIECES_MAX 4096u
#define SETS_MAX   32u
#define TRIES      4u /* to find everybody outside */
#define PAUSE_NS   3000000ull
#define DEEPEST    (8ull << 20)

struct finding {
    struct tn_look look;
    /* By broker: what it has left, and whether somebody was seen in it. */
    bool seen[SETS_MAX];
    /* By address. Nobody may be in `closed` ones. */
    struct piece {
        struct tn_range at;
        u32 set;
        bool closed;
        enum when { FIRST, THEN, NOT_YET } when;
    } piece[PIECES_MAX];
    u32 nsets, npieces;
};

static int by_start(const void *x, const void *y)
{
    const struct piece *a = x, *b = y;

    return a->at.start < b->at.start ? -1 : a->at.start > b->at.start;
}

static void see(struct tn_look *l, u64 value)
{
    struct finding *f = (struct finding *)l; /* first in there */
    u32 at;

    TN_PARTITION(at, f->npieces, f->piece[at].at.start <= value);
    if (at && value < f->piece[at - 1].at.end && f->piece[at - 1].closed)
        f->seen[f->piece[at - 1].set] = true;
}

/* False: there is no room for another. */
static bool begin_set(struct finding *f)
{
    f->nsets += f->nsets < SETS_MAX;
    return f->nsets < SETS_MAX;
}

/* The marker goes first: what tells of the others is never ahead of what is there. Our stub unmaps them. */
static bool add(struct finding *f, u64 addr, u64 len, u32 kind, u32 prot)
{
    if (f->npieces == PIECES_MAX)
        return false;
    f->piece[f->npieces++] =
        (struct piece){.at = {addr, addr + len},
                       .set = f->nsets - 1,
                       .closed = prot & PROT_EXEC || kind == TN_REGION_SIGNALS || kind == TN_REGION_STACKS,
                       .when = kind == TN_REGION_PROC ? FIRST : THEN};
    return true;
}

/* Is there such a mapping, all of it? `named`: one of a file must bear a name of ours. */
static bool is_there(const struct tn_maps *maps, const struct tn_mapped *m, bool named)
{
    static const char ours[] = "/memfd:tenon-";
    u64 at = m->addr, end;

    if (!m->len || m->addr % TN_PAGE || m->len % TN_PAGE || __builtin_add_overflow(m->addr, m->len, &end))
        return false;
    while (at < end) {
        const struct tn_vma *v = tn_maps_at(maps, at);
        const char *name = v ? tn_vma_name(maps, v) : "";

        if (!v || v->prot != m->prot || v->shared != (m->shared != 0) || v->ino != m->ino ||
            (v->ino ? named && strncmp(name, ours, sizeof(ours) - 1) : *name != 0))
            return false;
        at = v->end;
    }
    return true;
}

static bool is_own(const struct tn_state *st, u64 start, u64 end)
{
    for (u32 i = 0; i < st->nregions; i++)
        if (st->region[i].kind && st->region[i].addr < end && start < st->region[i].addr + st->region[i].len)
            return true;
    return false;
}

/* Where the region of ours ends that `at` is in; 0: it is in none, and the next one begins at *ret_next. */
static u64 end_of_own(const struct tn_state *st, u64 at, u64 *ret_next)
{
    *ret_next = ~0ull;
    for (u32 i = 0; i < st->nregions; i++) {
        const struct tn_region *r = &st->region[i];

        if (r->kind && at - r->addr < r->len)
            return r->addr + r->len;
        if (r->kind && r->addr > at)
            *ret_next = TN_MIN(*ret_next, r->addr);
    }
    return 0;
}

/* Is all that the record tells of the host's own again? What somebody else has written over is not: he may put back what he has
   found there. */
static bool is_undone(struct tn_hands *h, const struct tn_maps *maps, u64 proc)
{
    enum { SOME = 512 };
    _free_ struct tn_undo *undo = malloc(SOME * sizeof(*undo));
    u8 now[sizeof(undo->orig)];

    for (u32 at = 0; undo && at < TN_UNDO_COUNT; at += SOME) {
        u32 n = TN_MIN(TN_UNDO_COUNT - at, SOME);

        if (tn_tracee_read(&h->t, proc + TN_PROC_UNDO_OFF + at * sizeof(*undo), undo, n * sizeof(*undo)) < 0)
            return false;
        for (u32 i = 0; i < n; i++) {
            const struct tn_undo *u = &undo[i];

            if (u->state && u->len != TN_UNDO_COUNTER && tn_maps_at(maps, u->addr) &&
                (u->len > sizeof(now) || tn_tracee_read(&h->t, u->addr, now, u->len) < 0 ||
                 memcmp(now, u->orig, u->len)))
                return false;
        }
    }
    return undo;
}

/* What another broker has left behind its marker, if that is all that is left of it. False: hands off, of everything. */
static bool add_marker(struct tn_hands *h, struct finding *f, const struct tn_maps *maps,
                       const struct tn_vma *v)
{
    _free_ struct tn_inventory *list = malloc(sizeof(*list));
    struct tn_mark mark;
    struct tn_proc p;
    u64 on = TN_SIGNALS_OFF;
    u32 before = f->npieces;

    if (!list || tn_tracee_read(&h->t, v->start, &p, sizeof(p)) < 0 ||
        tn_tracee_read(&h->t, v->start + TN_PROC_MARK_OFF, &mark, sizeof(mark)) < 0 ||
        tn_tracee_read(&h->t, v->start + TN_PROC_LIST_OFF, list, sizeof(*list)) < 0 ||
        p.magic != TN_PROC_MAGIC) /* somebody is about to write it */
        return false;
    if (p.held)
        return mark.pid != (u32)h->t.pid || mark.start_time != h->st->start_time ||
               (!tn_proc_lives((pid_t)p.broker_pid, p.broker_start) &&
                !tn_proc_lives((pid_t)p.guardian_pid, p.guardian_start));
    if ((p.signals && (tn_tracee_read(&h->t, p.signals, &on, sizeof(on)) < 0 || on != TN_SIGNALS_OFF)) ||
        !is_undone(h, maps, v->start) || !begin_set(f))
        return true;
    bool ok = add(f, v->start, v->end - v->start, TN_REGION_PROC, PROT_READ);

    for (u32 i = 0; i < TN_MIN(list->count, (u64)TN_STATE_REGIONS) && ok; i++) {
        const struct tn_mapped *m = &list->range[i];

        if (m->addr != v->start && is_there(maps, m, true) && !is_own(h->st, m->addr, m->addr + m->len))
            ok = add(f, m->addr, m->len, m->kind, m->prot);
    }
    if (!ok) { /* too much at once */
        f->npieces = before;
        f->nsets--;
    }
    return true;
}

#define STUBS_MOST 8u /* that meet */

/* Code by which hands make calls, left where the last of them could not unmap it (tn_hands_unmap_all): alone, beside others, or beside
   what is ours and bears the same rights. */
static void add_stubs(struct tn_hands *h, struct finding *f, const struct tn_maps *maps,
                      const struct tn_vma *v)
{
    const u32 prot = PROT_READ | PROT_EXEC;

    if (v->prot != prot || v->ino || v->shared || *tn_vma_name(maps, v))
        return;
    for (u64 at = v->start, end; at < v->end; at = end) {
        u64 own = end_of_own(h->st, at, &end);

        end = own ? own : TN_MIN(end, v->end);
        if (own || (end - at) % TN_STUB_SIZE || end - at > STUBS_MOST * TN_STUB_SIZE)
            continue;
        for (u64 stub = at; stub < end; stub += TN_STUB_SIZE)
            if (tn_stub_left(h->t.pid, stub) && begin_set(f) &&
                !add(f, stub, TN_STUB_SIZE, TN_REGION_STUB, prot))
                f->nsets--;
    }
}

/* Nothing of the host's leads to what is ours. */
static bool is_given_back(const struct tn_state *st)
{
    if (st->nlive || st->signals != TN_SIGNALS_OFF || st->signals_adding || st->lent.tid ||
        !tn_state_region(st, TN_REGION_STUB, 0))
        return false;
    for (u32 i = 0; i < st->nsites; i++)
        if (st->site[i].state >= TN_SITE_PATCHED)
            return false;
    return true;
}

static bool add_own(struct finding *f, const struct tn_state *st, const struct tn_maps *maps)
{
    bool ok = begin_set(f);

    for (u32 i = 0; i < st->nregions && ok; i++) {
        const struct tn_region *r = &st->region[i];
        const struct tn_mapped m = {r->addr, r->len, r->ino, r->kind, (u16)r->prot, (u16)r->shared};

        if (!r->kind || !is_there(maps, &m, false))
            continue;
        ok = add(f, r->addr, r->len, r->kind, r->prot);
        if (ok && r->kind == TN_REGION_STUB)
            f->piece[f->npieces - 1].when = NOT_YET;
    }
    return ok;
}

static bool gather(struct tn_hands *h, struct finding *f, bool own)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    bool ok = tn_maps_read(h->t.pid, &maps) == 0 && (!own || add_own(f, h->st, &maps));

    for (u32 i = 0; i < maps.n && ok; i++) {
        const struct tn_vma *v = &maps.vma[i];

        if (!tn_is_marker(&maps, v))
            add_stubs(h, f, &maps, v);
        else if (!is_own(h->st, v->start, v->end))
            ok = add_marker(h, f, &maps, v);
    }
    return ok && f->npieces;
}

/* A process that runs in the same memory has handlers of its own, and may have ours among them. */
static bool is_shared(const struct tn_tracee *t)
{
    for (u32 i = 0; i < t->n; i++)
        if (t->th[i].pid != t->pid && t->th[i].state != TN_TH_GONE && !t->th[i].forked)
            return true;
    return false;
}

/* Is anybody in it? Who is, may be on his way out. */
static bool prove(struct tn_hands *h, struct finding *f)
{
    bool ok = false, seen = true;

    f->look = (struct tn_look){.deepest = DEEPEST, .registers = true, .see = see};
    for (u32 i = 0; i < f->npieces; i++)
        tn_look_widen(&f->look, f->piece[i].at.start, f->piece[i].at.end - f->piece[i].at.start);
    for (u32 tries = 0; tries < TRIES && (!ok || seen); tries++) {
        if (tries)
            tn_hands_look_after(h, PAUSE_NS);
        for (u32 i = 0; i < f->nsets; i++)
            f->seen[i] = false;
        ok = tn_hands_look(h, &f->look) && !is_shared(&h->t);
        seen = false;
        for (u32 i = 0; i < f->nsets; i++)
            seen |= f->seen[i];
    }
    return ok;
}

/* Those that meet are unmapped by one call. */
static void put(struct tn_left *left, struct tn_range at)
{
    struct tn_range *last = left->nranges > left->nfirst ? &left->range[left->nranges - 1] : NULL;

    if (last && last->start <= at.start && at.start <= last->end)
        last->end = TN_MAX(last->end, at.end);
    else
        left->range[left->nranges++] = at;
}

struct tn_left *tn_hands_find_left(struct tn_hands *h, bool own)
{
    _free_ struct finding *f = calloc(1, sizeof(*f));
    _free_ struct tn_left *left = calloc(1, sizeof(*left) + PIECES_MAX * sizeof(left->range[0]));

    own = own && is_given_back(h->st);
    if (!f || !left || tn_tracee_seize_all(&h->t, NULL) < 0 || !gather(h, f, own))
        return NULL;
    qsort(f->piece, f->npieces, sizeof(*f->piece), by_start);
    if (!prove(h, f))
        return NULL;
    left->own = own && !f->seen[0];
    for (enum when when = FIRST; when <= THEN; when++) {
        for (u32 i = 0; i < f->npieces; i++)
            if (!f->seen[f->piece[i].set] && f->piece[i].when == when)
                put(left, f->piece[i].at);
        left->nfirst = when == FIRST ? left->nranges : left->nfirst;
    }
    return left->nranges || left->own ? TN_TAKE_PTR(left) : NULL;
}
