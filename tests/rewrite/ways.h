/* SPDX-License-Identifier: MIT */
/* An entry planned as one of many (tn_plan_many, memory kept), and by following its function. Behind cmocka.h. */
#ifndef TESTS_REWRITE_WAYS_H
#define TESTS_REWRITE_WAYS_H

#include "rewrite/plan.h"

/* Planned with many others, most entries take a shorter way. It leads to where the longer one does. */
static void both_ways(const struct tn_code_view *many, u64 addr)
{
    struct tn_code_view longer = *many; /* with nothing kept, functions are followed */
    struct tn_error err = {0}, why = {0};
    struct tn_plan plan = {0}, want = {0};

    longer.known = NULL;
    longer.spare = NULL;
    tn_plan(many, TN_PLACE_ENTRY, addr, &plan, &err);
    tn_plan(&longer, TN_PLACE_ENTRY, addr, &want, &why);
    assert_string_equal(err.message, why.message);
    assert_int_equal(plan.npatches, want.npatches);
    if (plan.npatches)
        assert_string_equal(plan.tactic, want.tactic);
    for (u32 k = 0; k < plan.npatches; k++) {
        const struct tn_patch *p = &plan.patches[k], *q = &want.patches[k];

        assert_memory_equal(p->expected, q->expected, sizeof(p->expected));
        assert_memory_equal(p->insn_off, q->insn_off, sizeof(p->insn_off));
        assert_memory_equal(p->insn_len, q->insn_len, sizeof(p->insn_len));
        assert_true(p->addr == q->addr && p->len == q->len && p->ninsns == q->ninsns &&
                    p->place == q->place && p->hook_before == q->hook_before && p->returns == q->returns &&
                    p->punned == q->punned && p->instead == q->instead && p->rounds == q->rounds &&
                    p->behind == q->behind && p->own_stack == q->own_stack && p->resume == q->resume);
    }
    tn_plan_clear(&want);
    tn_plan_clear(&plan);
}

#endif
