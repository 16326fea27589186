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
 *
 * What becomes of g is the same whoever leads there, so it is found once (struct tn_stead) and put together for each f. What
 * depends on all of them (may two patches be beside one another, does a jump among them count) is asked each time, the latter only if
 * one of them is jumped into at all.
 */
#include <errno.h>

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/others.h"
#include "rewrite/refusals.h"
#include "rewrite/unwind.h"
#include "rt/barrier.h"

#define FUNCS_MAX   64u
#define PATCHES_MAX 512u
#define KEPT_MAX    (32u << 20) /* bytes, for all functions of the code */

/*
 * What becomes of one function that runs in the place of others, whoever they are: the patches, and where it leads on to. How far
 * it goes, and why not further, is told in the order in which it is asked.
 */
struct tn_stead {
    struct tn_plan entry, ways;
    struct target {
        u64 from;
        const struct tn_func *func;
    } * target; /* owned */
    u32 ntargets;
    bool left;            /* by ways that are all known, and its own */
    int result;           /* 0, or what comes behind the others above … */
    struct tn_error *why; /* … and why; owned */
    /* None that is known jumps behind its first instruction, or into a patch of its own; and nobody can by name. Never without the
       jumps being known (aims.h). */
    bool clean;
};

struct tails {
    const struct tn_code_view *code;
    const struct tn_func *root, *func[FUNCS_MAX];
    u32 n;
    bool clean; /* all of them */
    u8 *what; /* a byte per byte of code: where an instruction of one of `func` begins, behind its first; where a window
                 of theirs goes on */
    u32 lent; /* of which memory that is: tn_marks_take */
};
enum { BODY = TN_FLOW_START, WINDOW = 2 };
_Static_assert(!(BODY & WINDOW), "a bit each");

void tn_stead_free(struct tn_stead *s)
{
    if (!s)
        return;
    tn_plan_clear(&s->entry);
    tn_plan_clear(&s->ways);
    free(s->target);
    free(s->why);
    free(s);
}

static void stead_clear(struct tn_stead **s)
{
    tn_stead_free(*s);
}

static bool among(const struct tails *t, const struct tn_func *f)
{
    for (u32 i = 0; i < t->n; i++)
        if (t->func[i] == f)
            return true;
    return f == t->root;
}

/* Where the jumps of a function lead. */
static int find_targets(const struct tn_flow *f, struct tn_stead *s, struct tn_error *err)
{
    const struct tn_code_view *c = f->code;

    s->target = f->tails.n ? calloc(f->tails.n / 2, sizeof(*s->target)) : NULL;
    if (f->tails.n && !s->target)
        return -ENOMEM;
    for (u32 k = 0; k + 1 < f->tails.n; k += 2) {
        u64 from = f->tails.at[k], to = f->tails.at[k + 1], slot = tn_flow_slot(c, from, to);
        const struct tn_func *in = tn_func_at(c, from), *g = tn_func_starting(c, to);
        struct tn_insn i;

        if (tn_code_decode(c, from, &i) < 0)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_UNDECODABLE, from, NULL);
        if (!slot && (!g || (i.kind != TN_INSN_JMP && i.kind != TN_INSN_JCC)))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_UNKNOWN, from, NULL);
        if (!in || !tn_unwind_bare(&c->frames, in->frame, from))
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_STACK, from, g ? g->name : NULL);
        if (!slot) /* else a process tells where that leads */
            s->target[s->ntargets++] = (struct target){from, g};
    }
    return 0;
}

/* They are to be followed, too; and why not all of them could be found. */
static int add_targets(struct tails *t, const struct tn_stead *s, struct tn_error *err)
{
    for (u32 k = 0; k < s->ntargets; k++) {
        const struct tn_func *g = s->target[k].func;

        if (among(t, g))
            continue;
        if (t->n == FUNCS_MAX)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_MANY, s->target[k].from, g->name);
        t->func[t->n++] = g;
    }
    if (s->result < 0 && err && s->why)
        *err = *s->why;
    return s->result;
}

/* Every way out must be the function's own. */
static int check_rets(const struct tn_flow *f, struct tn_error *err)
{
    for (u32 k = 0; k < f->rets.n; k++) {
        const struct tn_func *in = tn_func_at(f->code, f->rets.at[k]);

        if (in && in != f->func && !in->part)
            return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_SHARED, f->rets.at[k], in->name);
    }
    return 0;
}

/* Both in one patch, so that the one is displaced with the other. */
static bool displaced_both(const struct tn_plan *plan, u64 from, u64 to)
{
    for (u32 k = 0; k < plan->npatches; k++)
        if (tn_patch_holds(&plan->patches[k], from, to))
            return true;
    return false;
}

/* Does a jump lead into a window from anywhere? */
static bool windows_clean(const struct tn_code_view *c, const struct tn_plan *plan, u32 n)
{
    for (u32 k = 0; k < n; k++) {
        u64 lo = plan->patches[k].addr + 1 - c->addr, hi = lo + plan->patches[k].len - 1;

        u32 n;
        const struct tn_aim *aim = tn_aims_at(c->aims, lo, hi, &n);

        for (u32 i = 0; i < n; i++)
            if (aim[i].to - lo < hi - lo && !displaced_both(plan, c->addr + aim[i].at, c->addr + aim[i].to) &&
                tn_others_begin(c, NULL, c->addr + aim[i].at))
                return false;
    }
    return true;
}

/* Is the function entered at its first instruction only, by whoever can be seen, itself apart? */
static bool body_clean(const struct tn_flow *f)
{
    const struct tn_code_view *c = f->code;
    const struct tn_func *g = f->func;
    u64 lo = g->addr + 1 - c->addr, hi = f->end - c->addr;
    const struct tn_aim *aim;
    u32 n;

    for (const struct tn_func *x = g + 1; x < c->funcs + c->nfuncs && x->addr < g->addr + g->size; x++)
        if (!x->part && tn_flow_mark(f, x->addr) & BODY)
            return false;
    aim = tn_aims_at(c->aims, lo, hi, &n);
    for (u32 i = 0; i < n; i++) {
        u64 at = c->addr + aim[i].at;
        const struct tn_func *x;

        if (aim[i].to - lo >= hi - lo || !(f->mark[aim[i].to] & BODY))
            continue;
        x = tn_func_before(c, at);
        if (x && x != g && !x->part && tn_others_begin(c, NULL, at))
            return false;
    }
    return true;
}

/* In the order in which it matters what is refused first. */
static int find_out(const struct tn_code_view *code, const struct tn_func *g, struct tn_stead *s,
                    struct tn_error *err)
{
    _clean_(tn_flow_clear) struct tn_flow flow = {0};
    _clean_(tn_plan_clear) struct tn_plan entry = {0};
    int r = g->size ? tn_flow_scan(code, g, &flow)
                    : tn_refuse(err, -ENOTSUP, TN_REFUSE_FUNCTION_UNKNOWN, g->addr, NULL);

    if (r == 0)
        r = tn_plan_followed(&flow, TN_PLACE_ENTRY, g->addr, &entry, err);
    /* One patch that is a plain jump, and no more. */
    if (r == 0 && entry.patches[0].rounds)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_IS_LOOP_HEAD, g->addr, NULL);
    if (r == 0 && entry.patches[0].punned)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_TOO_SHORT, g->addr, NULL);
    if (r < 0)
        return r;
    entry.patches[0].tail = TN_TAIL_ENTER;
    entry.patches[0].flags_dead = entry.patches[0].place == TN_PLACE_ENTRY;
    s->entry = entry;
    entry = (struct tn_plan){0};
    r = tn_plan_ways_out(&flow, false, &s->ways, err);
    if (r == 0)
        r = check_rets(&flow, err);
    s->left = r == 0;
    if (r == 0)
        r = find_targets(&flow, s, err);
    s->clean = r == 0 && code->aims && code->aims->first && body_clean(&flow) &&
               windows_clean(code, &s->entry, 1) && windows_clean(code, &s->ways, s->ways.npatches);
    return r;
}

/* −ENOMEM. A refusal is in what is returned. */
static int make_stead(const struct tn_code_view *code, const struct tn_func *g, struct tn_stead **ret)
{
    _clean_(stead_clear) struct tn_stead *s = calloc(1, sizeof(*s));
    struct tn_error why = {0};

    if (!s)
        return -ENOMEM;
    s->result = find_out(code, g, s, &why);
    if (s->result < 0 && s->result != -ENOMEM) {
        s->why = malloc(sizeof(why));
        if (s->why)
            *s->why = why;
    }
    if (s->result < 0 && !s->why)
        return -ENOMEM;
    *ret = TN_TAKE_PTR(s);
    return 0;
}

static u64 stead_size(const struct tn_stead *s)
{
    return sizeof(*s) + 2 * (s->ways.npatches + 1ull) * sizeof(struct tn_patch) +
           s->ntargets * sizeof(*s->target) + (s->why ? sizeof(*s->why) : 0);
}

/* What is kept of a function, if anything is; or what is made now: *ret_own, if there is no room for it. */
static int stead_of(const struct tn_code_view *code, const struct tn_func *g, const struct tn_stead **ret,
                    struct tn_stead **ret_own)
{
    bool kept = code->known && code->known->stead && code->aims;
    struct tn_stead **slot = kept ? &code->known->stead[g - code->funcs] : NULL, *s;
    int r;

    *ret = slot ? tn_load_acquire(slot) : NULL;
    if (*ret)
        return 0;
    r = make_stead(code, g, &s);
    if (r < 0)
        return r;
    if (slot && tn_fetch_add(&code->known->stead_bytes, stead_size(s)) < KEPT_MAX &&
        tn_cas64((u64 *)slot, 0, (u64)(uintptr_t)s))
        *ret = s;
    else /* no room, or another thread was faster */
        *ret = *ret_own = s;
    return 0;
}

static int follow(struct tails *t, const struct tn_func *g, struct tn_plan *plan, struct tn_error *err)
{
    _clean_(stead_clear) struct tn_stead *own = NULL;
    const struct tn_stead *s;
    int r = stead_of(t->code, g, &s, &own);

    if (r < 0)
        return r;
    t->clean &= s->clean;
    if (s->entry.npatches && tn_plan_overlap(&s->entry, plan))
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_ENTRY_MEETS_EXIT, g->addr, NULL);
    if (s->entry.npatches)
        r = tn_plan_add(plan, &s->entry.patches[0]);
    for (u32 k = 0; k < s->ways.npatches && r == 0; k++)
        r = tn_plan_add_way(plan, &s->ways.patches[k], err);
    if (r < 0)
        return r;
    if (s->left && plan->npatches > PATCHES_MAX)
        return tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_TAIL_MANY, g->addr, g->name);
    return add_targets(t, s, err);
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
    if (!tn_others_begin(c, NULL, at))
        return 0;
    return tn_refuse(err, -ENOTSUP, window ? TN_REFUSE_JUMP_INTO_WINDOW : TN_REFUSE_EXIT_SHARED, at, NULL);
}

/* The first of those that lead to [lo, hi) and may not. */
static int check_range(const struct tails *t, const struct tn_plan *plan, const struct tn_aims *aims, u64 lo,
                       u64 hi, struct tn_error *err)
{
    const struct tn_code_view *c = t->code;
    const struct tn_aim *aim;
    u32 n;

    hi = TN_MIN(hi, c->len);
    aim = tn_aims_at(aims, lo, hi, &n);
    for (u32 i = 0; i < n; i++) {
        int r =
            aim[i].to - lo < hi - lo ? check_jump(t, plan, c->addr + aim[i].at, c->addr + aim[i].to, err) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* Marks where the instructions of all functions begin, and what all windows go on over; and asks every jump. */
static int check_all(struct tails *t, const struct tn_plan *plan, struct tn_error *err)
{
    struct tn_aims own _clean_(tn_aims_clear) = {0}, *aims = t->code->aims ? t->code->aims : &own;
    const struct tn_code_view *c = t->code;
    int r = aims->first ? 0 : tn_aims_find(c, 1, aims);
    u64 at;

    if (r == 0)
        r = tn_marks_take(c, &t->what, &t->lent);
    for (u32 i = 0; i < t->n && r == 0; i++) {
        _clean_(tn_flow_clear) struct tn_flow f = {0};
        u64 off = t->func[i]->addr - c->addr;

        r = tn_flow_scan(c, t->func[i], &f);
        for (u64 b = 1; r == 0 && b < f.end - f.func->addr; b++)
            t->what[off + b] |= f.mark[off + b] & TN_FLOW_START;
    }
    for (u32 k = 0; k < plan->npatches && r == 0; k++)
        for (u32 b = 1; b < plan->patches[k].len; b++)
            t->what[plan->patches[k].addr + b - c->addr] |= WINDOW;
    at = r == 0 ? entered_by_name(t) : 0;
    if (at)
        r = tn_refuse(err, -ENOTSUP, TN_REFUSE_EXIT_SHARED, at, NULL);
    for (u32 i = 0; i < t->n && r == 0; i++)
        r = check_range(t, plan, aims, t->func[i]->addr - c->addr,
                        t->func[i]->addr - c->addr + t->func[i]->size, err);
    for (u32 k = 0; k < plan->npatches && r == 0; k++)
        r = check_range(t, plan, aims, plan->patches[k].addr - c->addr,
                        plan->patches[k].addr - c->addr + plan->patches[k].len, err);
    return r;
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

/* What goes wrong in another function is told as that. */
static int tell(const struct tn_error *why, int code, u64 addr, struct tn_error *err)
{
    if (code == -ENOTSUP && strncmp(why->reason, "exit_tail_", 10))
        return tn_refuse(err, code, TN_REFUSE_EXIT_BY_TAIL_CALL, addr, why->reason);
    if (err)
        *err = *why;
    return code;
}

/* Where each function is clean, only the windows are left that were there before: those of the function whose exits are meant. */
static int gather(struct tails *t, struct tn_plan *plan, struct tn_error *err)
{
    struct tn_aims *aims = t->code->aims;
    const u32 first = plan->npatches;
    struct tn_error why = {0};
    int r = aims && !aims->first ? tn_aims_find(t->code, 1, aims) : 0;

    if (r < 0)
        return r;
    t->clean = aims;
    for (u32 i = 0; i < t->n; i++) {
        r = follow(t, t->func[i], plan, &why);
        if (r < 0)
            return tell(&why, r, t->func[i]->addr, err);
    }
    if (t->clean && windows_clean(t->code, plan, first))
        return 0;
    r = check_all(t, plan, &why);
    close_tails(t, plan);
    return r < 0 ? tell(&why, r, plan->func_addr, err) : 0;
}

int tn_tails_follow(const struct tn_flow *root, struct tn_plan *plan, struct tn_error *err)
{
    struct tails t = {.code = root->code, .root = root->func};
    _clean_(stead_clear) struct tn_stead *s = calloc(1, sizeof(*s));
    struct tn_error why = {0};
    int r = s ? find_targets(root, s, &why) : -ENOMEM;

    if (r == -ENOMEM)
        return r;
    s->result = r;
    r = add_targets(&t, s, &why);
    return r < 0 ? tell(&why, r, root->func->addr, err) : gather(&t, plan, err);
}

int tn_tails_plan(const struct tn_code_view *code, const struct tn_func *func, struct tn_plan *plan,
                  struct tn_error *err)
{
    struct tails t = {.code = code, .func = {func}, .n = 1};

    plan->func_addr = func->addr;
    plan->func_size = func->size;
    plan->tactic = "tail_followed";
    return gather(&t, plan, err);
}
