/* SPDX-License-Identifier: MIT */
/*
 * Reference counters: a word of the host, sixteen bits in a writable segment of its own file, that says how many look
 * at a static probe (SystemTap's "semaphore"). The host skips what prepares a probe's arguments while it is 0.
 *
 *   link made     the probe's bytes are patched, then the counter is raised by one
 *   link gone     lowered by one
 *
 * The kernel's uprobes and other tracers keep the same word, so it is never set, only moved by what we added, and never
 * below 0. How much that is stands in the state, for the next hands, and beside the undo record in the target, for
 * another broker. The word is read and written from outside: whoever moves it in the same microsecond from
 * outside as well can lose one of the two, as all tracers can that do so.
 */
#include "inject/hands.h"

#include <errno.h>

/* By at most what is there. */
int tn_counter_move(const struct tn_tracee *t, u64 addr, s32 by)
{
    u16 now;
    int r = tn_tracee_read(t, addr, &now, sizeof(now));

    if (r < 0)
        return r;
    if (by > 0 && now > UINT16_MAX - by)
        return -ERANGE;
    now = (u16)(by < 0 && now < -by ? 0 : now + by);
    return tn_tracee_write(t, addr, &now, sizeof(now));
}

/* What a new broker would find. */
static void mirror(struct tn_hands *h, u32 k)
{
    const struct tn_region *proc = tn_state_region(h->st, TN_REGION_PROC, 0);
    const struct tn_counter *c = &h->st->counter[k];
    struct tn_undo u = {
        .addr = c->addr, .len = TN_UNDO_COUNTER, .state = c->raised ? 2 : 0, .raised = (u16)c->raised};

    if (proc)
        tn_tracee_write(&h->t, proc->addr + TN_PROC_UNDO_OFF + (TN_STATE_SITES + k) * sizeof(u), &u,
                        sizeof(u));
}

int tn_counter_find(struct tn_hands *h, const struct tn_maps *maps, u64 addr, const struct tn_vma *code,
                    u32 *ret_index, struct tn_error *err)
{
    const struct tn_vma *v = tn_maps_data(maps, addr, sizeof(u16));
    u32 spare = TN_STATE_COUNTERS;

    if (!v || v->ino != code->ino || v->dev != code->dev)
        return tn_fail(err, -EPROTO, "bad_order", "the injector asked for an impossible counter");
    for (u32 k = 0; k < TN_STATE_COUNTERS; k++) {
        const struct tn_counter *c = &h->st->counter[k];

        if (c->raised && c->addr == addr && c->ino == v->ino && c->dev == v->dev) {
            *ret_index = k;
            return c->raised < UINT16_MAX ? 0 : -ERANGE;
        }
        if (!c->raised && spare == TN_STATE_COUNTERS)
            spare = k;
    }
    if (spare == TN_STATE_COUNTERS)
        return tn_fail(err, -ENOSPC, "too_many_counters",
                       "process %d has %u reference counters raised already", h->st->pid, TN_STATE_COUNTERS);
    h->st->counter[spare] = (struct tn_counter){.addr = addr, .dev = v->dev, .ino = v->ino};
    *ret_index = spare;
    return 0;
}

/* Killed in between, the next hands see by the word whether it was raised. */
int tn_counter_raise(struct tn_hands *h, u32 k)
{
    struct tn_counter *c = &h->st->counter[k];
    int r = tn_tracee_read(&h->t, c->addr, &h->st->counter_before, sizeof(u16));

    if (r < 0)
        return r;
    h->st->counter_raising = k + 1;
    r = tn_counter_move(&h->t, c->addr, 1);
    c->raised += r == 0;
    h->st->counter_raising = 0;
    mirror(h, k);
    return r;
}

static void lower(struct tn_hands *h, u32 k, u32 by)
{
    struct tn_counter *c = &h->st->counter[k];
    struct tn_maps maps _clean_(tn_maps_clear) = {};
    const struct tn_vma *v;

    c->raised -= by;
    /* The library may be gone, and something else be there. */
    if (tn_maps_read(h->t.pid, &maps) == 0 && (v = tn_maps_data(&maps, c->addr, sizeof(u16))) &&
        v->ino == c->ino && v->dev == c->dev)
        tn_counter_move(&h->t, c->addr, -(s32)by);
    mirror(h, k);
}

void tn_counter_lower(struct tn_hands *h, u32 k)
{
    if (k < TN_STATE_COUNTERS && h->st->counter[k].raised)
        lower(h, k, 1);
}

void tn_counter_forget(struct tn_hands *h, u32 k)
{
    if (k >= TN_STATE_COUNTERS || !h->st->counter[k].raised)
        return;
    h->st->counter[k].raised--;
    mirror(h, k);
}

void tn_counter_lower_all(struct tn_hands *h)
{
    for (u32 k = 0; k < TN_STATE_COUNTERS; k++)
        if (h->st->counter[k].raised)
            lower(h, k, h->st->counter[k].raised);
}

void tn_counter_repair(struct tn_hands *h)
{
    u32 k = h->st->counter_raising - 1;
    u16 now;

    if (!h->st->counter_raising)
        return;
    h->st->counter_raising = 0;
    if (k < TN_STATE_COUNTERS && tn_tracee_read(&h->t, h->st->counter[k].addr, &now, sizeof(now)) == 0 &&
        now > h->st->counter_before) {
        h->st->counter[k].raised++;
        lower(h, k, 1);
    }
}
