/* SPDX-License-Identifier: MIT */
/*
 * A place planned in several ways, all of which lead to the same: by itself; as one of many (tn_plan_many, memory kept), where most
 * entries need not be followed; by one of several threads. Behind cmocka.h.
 */
#ifndef TESTS_REWRITE_WAYS_H
#define TESTS_REWRITE_WAYS_H

#include "rewrite/plan.h"

static void same_patch(const struct tn_patch *p, const struct tn_patch *q)
{
    assert_memory_equal(p->expected, q->expected, sizeof(p->expected));
    assert_memory_equal(p->insn_off, q->insn_off, sizeof(p->insn_off));
    assert_memory_equal(p->insn_len, q->insn_len, sizeof(p->insn_len));
    assert_true(p->addr == q->addr && p->len == q->len && p->ninsns == q->ninsns && p->place == q->place &&
                p->hook_before == q->hook_before && p->returns == q->returns && p->punned == q->punned &&
                p->instead == q->instead && p->rounds == q->rounds && p->behind == q->behind &&
                p->own_stack == q->own_stack && p->resume == q->resume);
    assert_true(p->flags_dead == q->flags_dead && p->slot == q->slot && p->tail == q->tail &&
                p->unless == q->unless && p->nr == q->nr && p->refused == q->refused);
}

/* Planned with a result and, if that is a refusal, why. */
static void same_plan(int r, const struct tn_plan *p, const struct tn_error *why, int r2,
                      const struct tn_plan *q, const struct tn_error *why2)
{
    assert_int_equal(r, r2);
    if (r < 0) {
        assert_string_equal(why->reason, why2->reason);
        assert_string_equal(why->message, why2->message);
        return;
    }
    assert_true(p->func_addr == q->func_addr && p->func_size == q->func_size);
    assert_string_equal(p->tactic, q->tactic);
    assert_int_equal(p->npatches, q->npatches);
    for (u32 k = 0; k < p->npatches; k++)
        same_patch(&p->patches[k], &q->patches[k]);
}

/* Planned with many others, most entries take a shorter way. It leads to where the longer one does. `asked`: what threads have
   found; NULL: there were none. */
static void all_ways(const struct tn_code_view *many, enum tn_place_kind place, u64 addr,
                     const struct tn_asked *asked)
{
    struct tn_code_view longer = *many; /* with nothing kept, functions are followed */
    struct tn_error err = {0}, why = {0};
    struct tn_plan plan = {0}, want = {0};
    int r, wanted;

    longer.known = NULL;
    longer.spare = NULL;
    r = tn_plan(many, place, addr, &plan, &err);
    wanted = tn_plan(&longer, place, addr, &want, &why);
    same_plan(r, &plan, &err, wanted, &want, &why);
    if (asked)
        same_plan(wanted, &want, &why, asked->result, &asked->plan, asked->why);
    tn_plan_clear(&want);
    tn_plan_clear(&plan);
}

#endif
