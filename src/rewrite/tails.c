/* SPDX-License-Identifier: MIT */
/*
 * Functions that are left by a jump to another one, which then returns in their place.
 *
 *     f: …  jmp g        TAIL_LEAVE   "the call whose return slot is here leaves by g"
 *     g: …               TAIL_ENTER   entered by that jump, or by a call of its own?
 *        … jmp h         TAIL_PASS    and on by h
 *        … ret           TAIL_RET     if it is f's return: f's exit
 *     h: …               …
 *
 * What runs at these places is in mark.h. Here the functions are gathered: all that f can get to by jumps out of
 * functions, g, h and so on. f itself may be among them, and counts as returned once, when it returns to its caller.
 *
 * It holds if each of them is entered at its first instruction only (a call that came in elsewhere would not be told
 * from a jump), leaves by places that are known, and has the return address on top of the stack where it jumps: then
 * the slot is one for all of them. Where a jump leads through a word at a fixed place (to another file, mostly), a process
 * tells what is there: that function is planned for by itself, and the jump compares when it runs. The first is asked of all direct jumps of the module and of its symbols, the second
 * of flow.h, the third of unwind rules. Where one cannot be proved, the exit is refused, and says why.
 */
#include <errno.h>

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/refusals.h"
#include "rewrite/unwind.h"

#define FUNCS_MAX   64u
#define PATCHES_MAX 512u

struct tails {
    const struct tn_code_view *code;
    const struct tn_func *root, *func[FUNCS_MAX];
    u32 n;
    u8 *what; /* a byte per byte of code: where an instruction of one of `func` begins, behind its first; where a window
                 of theirs goes on */
    u32 lent; /* of which memory that is: tn_marks_take */
};
enum { BODY = TN_FLOW_START, WINDOW = 2 };
_Static_assert(!(BODY & WINDOW), "a bit each");

static bool among(const struct tails *t, const struct tn_func *f)
{
    for (u32 i = 0; i < t->n; i++)
        if (t->func[i] == f)
            return true;
    return f == t->root;
}

/* Where the jumps of a function lead. */
static int add_targets(struct tails *t, const struct tn_flow *f, struct tn_error *err)
{
    for (u32 k = 0; k + 1 < f->tails.n; k += 2) {
        u64 from = f->tails.at[k], to = f->tails.at[k + 1];
        const struct tn_func *in = tn_func_at(t->code, from), *g = tn_func_starting(t->code, to);
        struct tn_insn i;

        if (tn_code_decode(t->code, from, &i) < 0)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, from, NULL);
        if (!tn_flow_slot(t->code, from, to) && (!g || (i.kind != TN_INSN_JMP && i.kind != TN_INSN_JCC)))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_UNKNOWN, from, NULL);
        if (!in || !tn_unwind_bare(&t->code->frames, in->frame, from))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_STACK, from, g ? g->name : NULL);
        if (tn_flow_slot(t->code, from, to)) /* where that leads, a process tells */
            continue;
        if (among(t, g))
            continue;
        if (t->n == FUNCS_MAX)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_MANY, from, g->name);
        t->func[t->n++] = g;
    }
    return 0;
}

/* Notes what belongs to a function; every way out must be its own. */
static int take_in(struct tails *t, const struct tn_flow *f, struct tn_error *err)
{
    u64 off = f->func->addr - t->code->addr;

    for (u64 b = 1; b < f->end - f->func->addr; b++)
        t->what[off + b] |= f->mark[off + b] & TN_FLOW_START;
    for (u32 k = 0; k < f->rets.n; k++) {
        const struct tn_func *in = tn_func_at(t->code, f->rets.at[k]);

        if (in && in != f->func && !in->part)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_SHARED, f->rets.at[k], in->name);
    }
    return 0;
}

static int follow(struct tails *t, const struct tn_func *g, struct tn_plan *plan, struct tn_error *err)
{
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    _clean_(tn_plan_clear) struct tn_plan entry = {0};
    int r = g->size ? tn_flow_scan(t->code, g, &flow)
                    : tn_refuse(err, -ENOTSUP, TN_REFUSE_FUNCTION_UNKNOWN, g->addr, NULL);

    if (r == 0)
        r = tn_plan_followed(&flow, TN_PLACE_ENTRY, g->addr, &entry, err);
    /* One patch that is a plain jump, and no more. */
    if (r == 0 && entry.patches[0].rounds)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, g->addr, NULL);
    if (r == 0 && entry.patches[0].punned)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, g->addr, NULL);
    if (r == 0 && tn_plan_overlap(&entry, plan))
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_MEETS_EXIT, g->addr, NULL);
    if (r == 0) {
        entry.patches[0].tail = TN_TAIL_ENTER;
        entry.patches[0].flags_dead = entry.patches[0].place == TN_PLACE_ENTRY;
        r = tn_plan_add(plan, &entry.patches[0]);
    }
    if (r == 0)
        r = tn_plan_ways_out(&flow, false, plan, err);
    if (r == 0)
        r = take_in(t, &flow, err);
    if (r < 0)
        return r;
    if (plan->npatches > PATCHES_MAX)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_MANY, g->addr, g->name);
    return add_targets(t, &flow, err);
}

/* An instruction that others may enter: a function of its own begins there. */
static u64 entered_by_name(const struct tails *t)
{
    const struct tn_code_view *c = t->code;

    for (u32 i = 0; i < t->n; i++) {
        const struct tn_func *g = t->func[i];

        for (const struct tn_func *x = g + 1; x < c->funcs + c->nfuncs && x->addr < g->addr + g->size; x++)
            if (x->addr - c->addr < c->len && t->what[x->addr - c->addr] & BODY && !x->part)
                return x->addr;
    }
    return 0;
}

/* Both in one patch, so that the one is displaced with the other. */
static bool displaced_both(const struct tn_plan *plan, u64 from, u64 to)
{
    for (u32 k = 0; k < plan->npatches; k++) {
        const struct tn_patch *p = &plan->patches[k];
        u32 seen = 0;

        for (u32 i = 0; i < p->ninsns; i++)
            seen |= (from == p->addr + p->insn_off[i]) | (u32)(to == p->addr + p->insn_off[i]) << 1;
        if (seen == 3)
            return true;
    }
    return false;
}

/* A direct jump or call at `at` that leads where none may: into a window, from anywhere, or behind the first instruction
   of one of the functions, from none of them. A piece is taken for one of the function that it jumps back to. */
static int check_jump(const struct tails *t, const struct tn_plan *plan, u64 at, u64 to, struct tn_error *err)
{
    const struct tn_code_view *c = t->code;
    u8 what = to - c->addr < c->len ? t->what[to - c->addr] : 0;
    const struct tn_func *x;
    bool window;

    if (!what)
        return 0;
    window = what & WINDOW && !displaced_both(plan, at, to);
    x = tn_func_before(c, at);
    if (!window && (!(what & BODY) || !x || x->part || among(t, x)))
        return 0;
    if (x && !tn_code_comes_to(c, x->addr, at, true))
        return 0;
    return tn_refuse(err, -ENOTSUP, window ? TN_REFUSE_JUMP_INTO_WINDOW : TN_REFUSE_EXIT_SHARED, at, NULL);
}

/* The first of those that lead to [lo, hi) and may not. */
static int check_range(const struct tails *t, const struct tn_plan *plan, const struct tn_aims *aims, u64 lo,
                       u64 hi, struct tn_error *err)
{
    const struct tn_code_view *c = t->code;

    hi = TN_MIN(hi, c->len);
    for (u64 b = lo / TN_AIMS_BUCKET; b * TN_AIMS_BUCKET < hi; b++)
        for (u32 i = aims->first[b]; i < aims->first[b + 1]; i++) {
            const struct tn_aim *aim = &aims->aim[i];
            int r =
                aim->to - lo < hi - lo ? check_jump(t, plan, c->addr + aim->at, c->addr + aim->to, err) : 0;

            if (r < 0)
                return r;
        }
    return 0;
}

static int check_all(const struct tails *t, const struct tn_plan *plan, struct tn_error *err)
{
    struct tn_aims own _clean_(tn_aims_clear) = {0}, *aims = t->code->aims ? t->code->aims : &own;
    const struct tn_code_view *c = t->code;
    int r = aims->first ? 0 : tn_aims_find(c, 1, aims);

    for (u32 i = 0; i < t->n && r == 0; i++)
        r = check_range(t, plan, aims, t->func[i]->addr - c->addr,
                        t->func[i]->addr - c->addr + t->func[i]->size, err);
    for (u32 k = 0; k < plan->npatches && r == 0; k++)
        r = check_range(t, plan, aims, plan->patches[k].addr - c->addr,
                        plan->patches[k].addr - c->addr + plan->patches[k].len, err);
    return r;
}

/* What goes wrong in another function is told as that. */
static int tell(const struct tn_error *why, int code, u64 addr, struct tn_error *err)
{
    if (code == -ENOTSUP && strncmp(why->reason, "exit_tail_", 10))
        return tn_refuse(err, code, TN_REFUSE_EXIT_BY_TAIL_CALL, addr, why->reason);
    if (err)
        *err = *why;
    return code;
}

static int gather(struct tails *t, struct tn_plan *plan, struct tn_error *err)
{
    struct tn_error why = {0};
    u64 at;
    int r;

    for (u32 i = 0; i < t->n; i++) {
        r = follow(t, t->func[i], plan, &why);
        if (r < 0)
            return tell(&why, r, t->func[i]->addr, err);
    }
    for (u32 k = 0; k < plan->npatches; k++)
        for (u32 b = 1; b < plan->patches[k].len; b++)
            t->what[plan->patches[k].addr + b - t->code->addr] |= WINDOW;
    at = entered_by_name(t);
    r = at ? tn_refuse(&why, -ENOTSUP, TN_REFUSE_EXIT_SHARED, at, NULL) : check_all(t, plan, &why);
    return r < 0 ? tell(&why, r, plan->func_addr, err) : 0;
}

static void close_tails(struct tails *t, const struct tn_plan *plan)
{
    u64 end = t->code->addr + t->code->len;

    for (u32 i = 0; t->lent && i < t->n; i++)
        memset(t->what + (t->func[i]->addr - t->code->addr), 0,
               TN_MIN(t->func[i]->size, end - t->func[i]->addr));
    for (u32 k = 0; t->lent && k < plan->npatches; k++)
        memset(t->what + (plan->patches[k].addr - t->code->addr), 0, plan->patches[k].len);
    if (t->what)
        tn_marks_give(t->code, t->what, t->lent);
}

int tn_tails_follow(const struct tn_flow *root, struct tn_plan *plan, struct tn_error *err)
{
    struct tails t = {.code = root->code, .root = root->func};
    struct tn_error why = {0};
    int r = tn_marks_take(t.code, &t.what, &t.lent);

    r = r < 0 ? r : add_targets(&t, root, &why);
    r = r < 0 ? tell(&why, r, root->func->addr, err) : gather(&t, plan, err);
    close_tails(&t, plan);
    return r;
}

int tn_tails_plan(const struct tn_code_view *code, const struct tn_func *func, struct tn_plan *plan,
                  struct tn_error *err)
{
    struct tails t = {.code = code, .func = {func}, .n = 1};
    int r = tn_marks_take(code, &t.what, &t.lent);

    plan->func_addr = func->addr;
    plan->func_size = func->size;
    plan->tactic = "tail_followed";
    r = r < 0 ? r : gather(&t, plan, err);
    close_tails(&t, plan);
    return r;
}
