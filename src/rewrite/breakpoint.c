/* SPDX-License-Identifier: MIT */
/*
 * The last resort: one byte, where no jump fits.
 *
 *     jump         | insn | insn | insn |      five bytes that nobody may jump into
 *     breakpoint   | CC nsn |                  one, the first of the one instruction that is displaced
 *
 * Nobody can come to be between the bytes that change, so that of all a jump needs to be proved this is left: that an
 * instruction begins there, and that it can run elsewhere. Where flow was not followed to the place (an indirect jump leads to
 * it), the function's instructions counted from its first must come to it.
 *
 * Each pass costs an exception, a signal frame and a way out of it: about a microsecond, where a jump costs one nanosecond. So
 * of a function's returns only those get one that need it. What the process must put up with is in inject/signals.c.
 */
#include <errno.h>

#include "rewrite/flow.h"
#include "rewrite/golang.h"
#include "rewrite/refusals.h"

bool tn_break_serves(enum tn_place_kind place, const char *reason)
{
    static const enum tn_refusal_id row[] = {TN_REFUSE_TOO_SHORT,         TN_REFUSE_CALL_IN_WINDOW,
                                             TN_REFUSE_WINDOW_CROSSES,    TN_REFUSE_JUMP_INTO_WINDOW,
                                             TN_REFUSE_JUMP_UNPROVABLE,   TN_REFUSE_UNDECODABLE,
                                             TN_REFUSE_NOT_AN_INSTRUCTION};
    u32 n = place == TN_PLACE_EXIT ? 4 : TN_ARRAY_SIZE(row);

    for (u32 i = 0; place <= TN_PLACE_EXIT && i < n; i++)
        if (!strcmp(reason, tn_refusal_name(row[i])))
            return true;
    return false;
}

/* Does the function, run from its first instruction to its last, change the direction flag? */
static u64 sets_direction(const struct tn_flow *f)
{
    struct tn_insn i;

    for (u64 at = f->func->addr; at < f->end; at += i.len) {
        if (tn_code_decode(f->code, at, &i) < 0)
            return 0;
        if (i.legacy && i.map == 0 && i.op == 0xfd)
            return at;
    }
    return 0;
}

static int one(const struct tn_flow *f, enum tn_place_kind place, u64 addr, struct tn_patch *ret,
               struct tn_error *err)
{
    bool followed = tn_flow_mark(f, addr) & TN_FLOW_START;
    struct tn_patch p = {.addr = addr, .len = TN_BREAK_LEN, .ninsns = 1, .place = (u8)place};
    struct tn_insn i;

    if (tn_flow_inside(f, addr) || (!followed && !tn_func_swept(f->code, f->func, addr)))
        return tn_refuse(err, -EINVAL, TN_REFUSE_NOT_AN_INSTRUCTION, addr, NULL);
    if (tn_code_decode(f->code, addr, &i) < 0)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, addr, NULL);
    if (i.kind == TN_INSN_INT3)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_OWN_BREAKPOINT, addr, NULL);
    if (!tn_insn_movable(&i))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_NOT_RELOCATABLE, addr, NULL);
    p.insn_len[0] = i.len;
    p.returns = tn_insn_ends(&i);
    p.resume = addr + i.len;
    memcpy(p.expected, f->code->bytes + (addr - f->code->addr), i.len);
    *ret = p;
    return 0;
}

static int place_of(const struct tn_flow *f, enum tn_place_kind place, u64 *addr, struct tn_error *err)
{
    u64 std = f->std ? f->std : sets_direction(f);
    struct tn_insn i;

    if (place != TN_PLACE_ENTRY)
        return std ? tn_refuse(err, -ENOTSUP, TN_REFUSE_DIRECTION_FLAG, std, NULL) : 0;
    for (u32 skipped = 0; skipped < 2; skipped++) {
        if (tn_flow_mark(f, *addr) & TN_FLOW_TARGET)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, *addr, NULL);
        if (skipped || tn_code_decode(f->code, *addr, &i) < 0 || i.kind != TN_INSN_ENDBR)
            break;
        *addr += i.len;
    }
    return 0;
}

static int plan_exits(const struct tn_flow *f, struct tn_plan *plan, struct tn_error *err)
{
    int r = 0;

    if (f->tails.n) /* what those lead to is the planner's to follow */
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_BY_TAIL_CALL, f->tails.at[0], NULL);
    plan->patches = calloc(f->rets.n ? f->rets.n : 1, sizeof(*plan->patches));
    if (!plan->patches)
        return -ENOMEM;
    for (u32 k = 0; k < f->rets.n && r == 0; k++) {
        struct tn_patch *p = &plan->patches[k];
        bool jump = tn_plan_ret(f, f->rets.at[k], p) == 0;

        for (u32 j = 0; jump && j < k; j++)
            jump = !tn_patch_meets(p, 0, &plan->patches[j], 0);
        if (!jump)
            r = one(f, TN_PLACE_EXIT, f->rets.at[k], p, err);
    }
    /* One pass over all code tells whether one of them is jumped into; which, only then. */
    if (r == 0 && tn_plan_jumped_into(f, plan->patches, f->rets.n))
        for (u32 k = 0; k < f->rets.n && r == 0; k++)
            if (plan->patches[k].len != TN_BREAK_LEN && tn_plan_jumped_into(f, &plan->patches[k], 1))
                r = one(f, TN_PLACE_EXIT, f->rets.at[k], &plan->patches[k], err);
    plan->npatches = f->rets.n;
    plan->tactic = "ret_breakpoint";
    return r;
}

int tn_plan_break(const struct tn_code_view *code, enum tn_place_kind place, u64 addr,
                  struct tn_plan *ret_plan, struct tn_error *err)
{
    _clean_(tn_plan_clear) struct tn_plan plan = {0};
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    const struct tn_func *func = tn_func_starting(code, addr);
    int r;

    if (!func)
        func = tn_func_at(code, addr);
    if (!func)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_FUNCTION_UNKNOWN, addr, NULL);
    if (code->is_go && (!code->go || tn_go_owns(code, addr)))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_GO_BREAKPOINT, addr, NULL);
    r = tn_flow_scan(code, func, &flow);
    if (r < 0)
        return r;
    plan.func_addr = func->addr;
    plan.func_size = flow.end - func->addr;
    if (place == TN_PLACE_EXIT) {
        r = plan_exits(&flow, &plan, err);
    } else {
        plan.patches = calloc(1, sizeof(*plan.patches));
        plan.npatches = 1;
        plan.tactic = "breakpoint";
        r = plan.patches ? place_of(&flow, place, &addr, err) : -ENOMEM;
        if (r == 0)
            r = one(&flow, place == TN_PLACE_ENTRY && !func->name ? TN_PLACE_OFFSET : place, addr,
                    plan.patches, err);
    }
    if (r < 0)
        return r;
    *ret_plan = plan;
    plan = (struct tn_plan){0};
    return 0;
}
