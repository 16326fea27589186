/* SPDX-License-Identifier: MIT */
/*
 * Functions of the program that a helper calls back. A row says what each argument of theirs is, and what
 * they may return.
 *
 *      call of bpf_loop ──┬── the call is over                       the loop went round often enough
 *            ↑            └── frame of the callback ── exit ──┐      once more
 *            └────────────────────────────────────────────────┘
 *
 * From its exit the path comes back *to the call*, with the caller's registers as they were before it, so
 * that the call happens once more: either way is followed. The call is a place where rounds come to look
 * alike (enum tn_loop), and what differs from round to round without deciding anything is forgotten, so that
 * all numbers of rounds are covered by a few.
 *
 * A callback that runs when the program is long over (a timer, queued work) is a path of its own, from
 * nothing but its arguments; its registers and its stack are nobody's. What it is given is told by the kind
 * of call and the map, so each function is followed once for each pair, after the program itself: it may put
 * itself off again.
 */
#include "rt/rounds.h"
#include "verify/internal.h"

#define SAMPLES_MAX (128u * 1024)

/* What an argument of a callback is. */
enum given {
    GIVEN_NOTHING,
    GIVEN_ARG1, /* the call's own first, third or fourth argument */
    GIVEN_ARG3,
    GIVEN_ARG4,
    GIVEN_MAP, /* the map that the call is about; a key of it; a value of it */
    GIVEN_KEY,
    GIVEN_VALUE,
    GIVEN_NUMBER,
    GIVEN_DYNPTR,
    GIVEN_VMA,
};

struct callback {
    u32 caller; /* TN_PROTO_… of a helper, TN_KFUNC_… of what is special in a kfunc */
    bool async, sleepable;
    u8 given[5]; /* enum given */
    s64 ret_min, ret_max;
};
static const struct callback callbacks[] = {
    {TN_PROTO_for_each_map_elem, false, false, {GIVEN_MAP, GIVEN_KEY, GIVEN_VALUE, GIVEN_ARG3}, 0, 1},
    {TN_PROTO_loop, false, false, {GIVEN_NUMBER, GIVEN_ARG3}, 0, 1},
    {TN_PROTO_find_vma, false, false, {GIVEN_ARG1, GIVEN_VMA, GIVEN_ARG4}, 0, 1},
    {TN_PROTO_user_ringbuf_drain, false, false, {GIVEN_DYNPTR, GIVEN_ARG3}, 0, 1},
    {TN_PROTO_timer_set_callback, true, false, {GIVEN_MAP, GIVEN_KEY, GIVEN_VALUE}, 0, 0},
};
/* Of kfuncs: work that is done later, where it may sleep. */
static const struct callback later[] = {
    {TN_KFUNC_ASYNC, true, true, {GIVEN_MAP, GIVEN_KEY, GIVEN_VALUE}, 0, 0},
    {TN_KFUNC_TASK_WORK, true, true, {GIVEN_MAP, GIVEN_KEY, GIVEN_VALUE}, INT32_MIN, INT32_MAX},
};

static int of_map(struct vf *v, const struct tn_helper_call *c, enum tn_reg_kind kind, struct tn_reg *ret)
{
    *ret = tn_reg_pointer(kind, c->map_index);
    ret->uid = c->map_uid;
    if (kind == TN_REG_MAP_VALUE && tn_reg_has_lock(v, ret))
        ret->id = ++v->next_id;
    return 0;
}

static int give(struct vf *v, const struct tn_helper_call *c, enum given what, struct tn_reg *ret)
{
    u32 vma;

    switch (what) {
    case GIVEN_NOTHING:
        return 0;
    case GIVEN_ARG1:
        *ret = *vf_reg(v, 1);
        return 0;
    case GIVEN_ARG3:
        *ret = *vf_reg(v, 3);
        return 0;
    case GIVEN_ARG4:
        *ret = *vf_reg(v, 4);
        return 0;
    case GIVEN_MAP:
        return of_map(v, c, TN_REG_MAP, ret);
    case GIVEN_KEY:
        return of_map(v, c, TN_REG_MAP_KEY, ret);
    case GIVEN_VALUE:
        return of_map(v, c, TN_REG_MAP_VALUE, ret);
    case GIVEN_NUMBER:
        *ret = tn_reg_scalar(tn_range_any());
        return 0;
    case GIVEN_DYNPTR:
        *ret = tn_dynptr_const(v, TN_DYNPTR_LOCAL);
        return 0;
    case GIVEN_VMA:
        vma = v->in->host_btf ? tn_btf_find(v->in->host_btf, BTF_KIND_STRUCT, "vm_area_struct") : 0;
        if (!vma)
            return vf_refuse(
                v, v->pc, TN_REASON_unknown_helper,
                "%s() hands over a struct vm_area_struct, which the host's type information does "
                "not have",
                c->proto->name);
        *ret = tn_reg_pointer(TN_REG_BTF, vma);
        ret->host = true;
        return 0;
    }
    return 0;
}

/* To be followed once the program was. */
struct tn_later {
    const struct callback *row;
    u32 func, insn; /* that put it off */
    u32 map;
    bool inner; /* … or one that such a map holds */
    struct tn_reg arg[5];
};

static const struct callback *callback_of(const struct callback *rows, size_t n, u32 caller)
{
    for (size_t k = 0; k < n; k++)
        if (rows[k].caller == caller)
            return &rows[k];
    return NULL;
}

static int too_deep(struct vf *v)
{
    return vf_refuse(v, v->pc, TN_REASON_call_depth, "the call stack of %u frames is too deep",
                     TN_MAX_FRAMES + 1);
}

/* `s` gets a frame for the callback on top. */
static int enter(struct vf *v, struct tn_state *s, const struct callback *row, u32 func,
                 const struct tn_reg arg[5])
{
    struct tn_frame *f;
    int err = s->nframes == TN_MAX_FRAMES ? too_deep(v) : tn_state_push_frame(s, func, v->pc);

    if (err)
        return err;
    f = tn_state_top(s);
    f->calling = f->entered = ++v->next_call;
    f->callback = !row->async;
    f->async = row->async;
    f->ret_min = row->ret_min;
    f->ret_max = row->ret_max;
    memcpy(&f->reg[1], arg, 5 * sizeof(arg[0]));
    return 0;
}

/* The loop of bpf_loop is known to be over once it went round as often as it may. */
static bool one_more(struct vf *v, const struct tn_helper_call *c)
{
    return c->proto->id != TN_PROTO_loop || tn_state_top(&v->cur)->callback_depth < vf_reg(v, 1)->r.umax;
}

static void call_over(struct vf *v)
{
    struct tn_frame *f = tn_state_top(&v->cur);

    f->callback_depth = 0;
    f->calling = ++v->next_call;
}

static int put_off(struct vf *v, const struct callback *row, const struct tn_helper_call *c, u32 func,
                   const struct tn_reg arg[5])
{
    struct tn_later *grown, *l;
    bool inner = c->map_uid != 0;

    v->cfg.sub[func].async = true;
    for (u32 k = 0; k < v->nlater; k++)
        if (v->later[k].row == row && v->later[k].func == func && v->later[k].map == c->map_index &&
            v->later[k].inner == inner)
            return 0;
    if (v->nlater == v->later_cap) {
        u32 cap = TN_MAX(8u, 2 * v->later_cap);

        grown = realloc(v->later, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        v->later = grown;
        v->later_cap = cap;
    }
    l = &v->later[v->nlater++];
    *l = (struct tn_later){row, func, v->pc, c->map_index, inner, {{0}}};
    memcpy(l->arg, arg, sizeof(l->arg));
    return 0;
}

int tn_callback_run_later(struct vf *v, u64 *longest)
{
    int err = 0;

    for (u32 k = 0; k < v->nlater && !err; k++) { /* it may grow meanwhile */
        const struct tn_later l = v->later[k];
        struct tn_state s = {.pool = &v->pool, .sleepable = l.row->sleepable};
        u64 own = 0;

        v->pc = l.insn;
        err = enter(v, &s, l.row, l.func, l.arg);
        if (err)
            tn_state_clear(&s);
        else
            err = tn_explore_state(v, &s, v->cfg.sub[l.func].start, &own);
        *longest = TN_MAX(*longest, own);
    }
    return err;
}

/* The rounds of one call. Linux bounds those that a ring buffer's samples make. */
static u64 most_rounds(struct vf *v, const struct tn_helper_call *c)
{
    switch (c->proto->id) {
    case TN_PROTO_loop:
        return TN_MIN(vf_reg(v, 1)->r.umax, (u64)TN_LOOP_MAX);
    case TN_PROTO_for_each_map_elem:
        return c->map_uid && c->map->geo.map_flags & BPF_F_INNER_MAP
                   ? TN_ENDLESS
                   : TN_MAX(c->map->geo.max_entries, c->map->geo.nelems);
    case TN_PROTO_user_ringbuf_drain:
        return SAMPLES_MAX;
    case TN_PROTO_find_vma:
        return 1;
    default:
        return TN_ENDLESS;
    }
}

/* The function, and that no flag is set, hold on every visit, or vary: then the engines look. */
static void note_rounds(struct vf *v, const struct tn_helper_call *c)
{
    struct tn_seen *seen = &v->seen[v->pc];
    const struct tn_reg *flags = vf_reg(v, 4);
    bool none = flags->kind == TN_REG_SCALAR && tn_range_is_const(&flags->r) && !flags->r.umax;

    if (!seen->has_func) {
        seen->func = (s16)c->func;
        seen->no_flags = none;
    } else {
        seen->func = seen->func == (s16)c->func ? seen->func : -1;
        seen->no_flags &= none;
    }
    seen->has_func = true;
    if (seen->no_flags)
        tn_track_precise(v, 4);
}

/* Either way waits: `v->cur` is the one where the call is over. */
static int follow(struct vf *v, const struct callback *row, const struct tn_helper_call *c, u32 func,
                  const struct tn_reg arg[5])
{
    struct tn_state s = {.pool = &v->pool};
    int err;

    if (row->async || !c) /* of helpers that are built, the engines know how */
        v->facts.features |= 1ull << TN_FEATURE_callback;
    v->cfg.sub[func].callback = true;
    if (row->async)
        return put_off(v, row, c, func, arg);
    err = tn_state_copy(&s, &v->cur);
    if (err)
        return err;
    tn_state_top(&s)->callback_depth++;
    call_over(v);
    err = enter(v, &s, row, func, arg);
    if (err) {
        tn_state_clear(&s);
        return err;
    }
    tn_longest_rounds(v, c ? most_rounds(v, c) : TN_ENDLESS);
    tn_longest_enter(v, true);
    err = tn_explore_fork(v, &s, v->cfg.sub[func].start);
    tn_longest_enter(v, false);
    return err;
}

int tn_callback_call(struct vf *v, const struct tn_helper_call *c)
{
    const struct callback *row = callback_of(callbacks, TN_ARRAY_SIZE(callbacks), c->proto->id);
    struct tn_reg arg[5] = {0};
    int err = 0;

    if (!row)
        return 0;
    note_rounds(v, c);
    if (!one_more(v, c)) {
        call_over(v);
        return 0;
    }
    for (u32 a = 0; a < 5 && !err; a++)
        err = give(v, c, (enum given)row->given[a], &arg[a]);
    return err ? err : follow(v, row, c, c->func, arg);
}

int tn_callback_follow(struct vf *v, u32 func, const struct tn_reg arg[5])
{
    static const struct callback row = {.ret_min = 0, .ret_max = 1};

    return follow(v, &row, NULL, func, arg);
}

int tn_callback_later(struct vf *v, u32 special, u32 func, const struct tn_reg *in)
{
    const struct callback *row = callback_of(later, TN_ARRAY_SIZE(later), special);
    const struct tn_helper_call c = {.map_index = in->obj, .map_uid = in->uid};
    struct tn_reg arg[5] = {0};
    int err = 0;

    for (u32 a = 0; a < 5 && !err; a++)
        err = give(v, &c, (enum given)row->given[a], &arg[a]);
    return err ? err : follow(v, row, &c, func, arg);
}

static int check_callback_result(struct vf *v, const struct tn_frame *f)
{
    int err = vf_need_init(v, 0);

    if (!err && vf_reg(v, 0)->kind != TN_REG_SCALAR)
        return vf_refuse(
            v, v->pc, TN_REASON_return_value,
            "R0 not a scalar value: at callback return the register R0 has to be a number, not a %s",
            TN_REG_NAME(vf_reg(v, 0)));
    if (!err)
        err = tn_check_result(v, 0, f->async ? "At async callback return" : "At callback return", f->ret_min,
                              f->ret_max);
    return err;
}

/* Exit from a callback's frame, which is the top one. */
int tn_callback_exit(struct vf *v, u32 *ret_next, bool *ret_end)
{
    const struct tn_frame *f = tn_state_top(&v->cur);
    u32 callsite = f->callsite;
    int err = check_callback_result(v, f);

    if (err)
        return err;
    if (f->async) {
        *ret_end = true;
        return tn_held_none(v, "BPF_EXIT instruction in async callback");
    }
    tn_state_pop_frame(&v->cur);
    tn_longest_leave(v);
    *ret_next = callsite;
    return tn_explore_widen(v, &v->cur, callsite);
}

/* Functions that are called back are static, and known by BTF. */
int tn_callback_check_refs(struct vf *v)
{
    for (u32 pc = 0; pc < v->ninsns; pc++) {
        if (v->cfg.flow[pc].second || !tn_insn_is_func_ref(&v->insns[pc]))
            continue;
        if (!v->in->func_info_cnt)
            return vf_refuse(v, pc, TN_REASON_bad_func_info,
                             "missing btf func_info: a program with callbacks says what its functions are");
        if (v->cfg.sub[v->cfg.flow[pc + 1 + (u32)v->insns[pc].imm].subprog].global)
            return vf_refuse(v, pc, TN_REASON_bad_call_target,
                             "callback function not static: %s() is global; make it static",
                             tn_src_func_name(&v->src, pc + 1 + (u32)v->insns[pc].imm));
    }
    return 0;
}
