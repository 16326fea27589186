/* SPDX-License-Identifier: MIT */
/*
 * Following the paths.
 *
 * Depth first, with an explicit worklist (pending). At jump targets the state is compared with those kept
 * there before (points); where one that was followed to all its ends covers the present state, the path ends:
 * nothing new can happen. Else the state may become a point itself.
 *
 *      start ──●────●──┬──●── exit          ● point; each knows its parent and how many of the paths
 *                      └──●── covered         through it are not finished (branches)
 *
 * Invariants
 *   1. branches == 0: every way on from the point was followed to exit, or to a point that covered it. Only
 * such points prune.
 *   2. With depth-first order, branches > 0 means: an ancestor on the present path. When such a point covers
 * the present state and is covered by it, the program can walk this circle for ever: infinite_loop. When it
 * merely covers it, the loop makes progress, and the path goes on, paid for from the budget.
 *   3. remain of a finished point is an upper bound of the instructions from there to the end. A pruned path
 * inherits it, which makes facts.longest_path the maximum over all paths, those not walked included: what
 * pruning leaves out differs only in numbers that decide nothing (live.c), so it cannot take a way that was
 * not walked.
 *
 * A point is kept only when the path moved on a bit since the last (8 instructions and 2 jumps), and is
 * thrown away when it keeps missing: comparing must not cost more than following.
 */
#include "verify/internal.h"

#define MAX_PENDING     8192u
#define POINT_MIN_INSNS 8u
#define POINT_MIN_JUMPS 2u
/* In a loop that makes progress each round looks new: keep fewer points of it. */
#define LOOP_MIN_INSNS  100u
#define LOOP_MIN_JUMPS  20u
/* … and forget them: a loop that stands still shows it against the newest ones. */
#define LOOP_MAX_MISSES 64u

void tn_trail_add(struct tn_trail *trail, u32 insn, u32 to)
{
    trail->last[trail->n % TN_TRAIL_KEPT].insn = insn;
    trail->last[trail->n % TN_TRAIL_KEPT].to = to;
    trail->n++;
}

int tn_explore_fork(struct vf *v, struct tn_state *state, u32 insn)
{
    struct tn_pending *p;

    if (v->npending >= MAX_PENDING) {
        tn_state_clear(state);
        return vf_refuse(
            v, v->pc, TN_REASON_too_many_pending,
            "the sequence of %u jumps is too complex: more than %u branches wait; split the program",
            v->npending, MAX_PENDING);
    }
    p = calloc(1, sizeof(*p));
    if (!p) {
        tn_state_clear(state);
        return -ENOMEM;
    }
    p->state = *state;
    *state = (struct tn_state){0};
    p->insn = insn;
    p->depth = v->depth;
    p->parent = v->parent;
    p->trail = v->trail;
    tn_trail_add(&p->trail, v->pc, insn);
    p->log_mark = v->log.len;
    if (p->parent)
        p->parent->branches++;
    p->below = v->pending;
    v->pending = p;
    v->npending++;
    return 0;
}

/* The path is done, `length` instructions after the start: tell every point it passed. */
static void path_ends(struct vf *v, u64 length, u64 *longest)
{
    bool open = false;

    *longest = TN_MAX(*longest, length);
    for (struct tn_point *p = v->parent; p; p = p->parent) {
        if (open && p->remain >= length - p->depth)
            break; /* so did, then, every point above it */
        p->remain = TN_MAX(p->remain, length - p->depth);
        if (!open && --p->branches)
            open = true; /* its own parent counts it as one path, still under way */
    }
    v->parent = NULL;
    tn_state_clear(&v->cur);
}

static bool path_next(struct vf *v)
{
    struct tn_pending *p = v->pending;

    if (!p)
        return false;
    v->pending = p->below;
    v->npending--;
    v->cur = p->state;
    v->pc = p->insn;
    v->depth = p->depth;
    v->parent = p->parent;
    v->trail = p->trail;
    if (!(v->log.level & TN_LOG_ALL))
        tn_log_cut(&v->log, p->log_mark);
    free(p);
    tn_log_state(v, "from here:");
    return true;
}

/* Unlinks a point that does not earn its keep. Its memory stays until the end: its children name it as their
 * parent. */
static void point_drop(struct vf *v, struct tn_point **at)
{
    struct tn_point *p = *at;

    *at = p->next;
    tn_state_clear(&p->state);
    v->kept--;
}

static int point_add(struct vf *v)
{
    struct tn_point *p = calloc(1, sizeof(*p));
    int err;

    if (!p)
        return -ENOMEM;
    err = tn_state_copy(&p->state, &v->cur);
    if (err) {
        free(p);
        return err;
    }
    p->insn = v->pc;
    p->depth = v->depth;
    p->branches = 1;
    p->parent = v->parent;
    p->next = v->seen[v->pc].points;
    v->seen[v->pc].points = p;
    p->all = v->points;
    v->points = p;
    v->parent = p;
    v->nstates++;
    v->kept++;
    v->peak_states = TN_MAX(v->peak_states, v->kept);
    v->jumps_since = v->insns_since = 0;
    return 0;
}

/* *ret_covered: the path ends here, and *ret_remain more instructions would have followed. */
static int check_points(struct vf *v, bool *ret_covered, u64 *ret_remain)
{
    struct tn_need need[TN_MAX_FRAMES];
    struct tn_point **at = &v->seen[v->pc].points, *p;
    bool add = v->insns_since >= POINT_MIN_INSNS && v->jumps_since >= POINT_MIN_JUMPS;
    u64 count = 0;

    tn_live_need(v, &v->cur, need);
    while ((p = *at)) {
        count++;
        if (!tn_state_covers(&p->state, &v->cur, need)) {
            if (p->branches && v->insns_since < LOOP_MIN_INSNS && v->jumps_since < LOOP_MIN_JUMPS)
                add = false;
            p->misses++;
            if (p->misses > (p->branches ? LOOP_MAX_MISSES : p->hits * 3 + 3)) {
                point_drop(v, at);
                continue;
            }
            at = &p->next;
            continue;
        }
        if (!p->branches) {
            p->hits++;
            *ret_covered = true;
            *ret_remain = p->remain;
            return 0;
        }
        if (tn_state_covers(&v->cur, &p->state, need))
            return vf_refuse(
                v, v->pc, TN_REASON_infinite_loop,
                "infinite loop detected at insn %u: the loop came back with everything that decides its "
                "course unchanged; let something count",
                v->pc);
        if (v->insns_since < LOOP_MIN_INSNS && v->jumps_since < LOOP_MIN_JUMPS)
            add = false;
        at = &p->next;
    }
    v->max_states_per_insn = TN_MAX(v->max_states_per_insn, count);
    return add ? point_add(v) : 0;
}

static int charge(struct vf *v)
{
    const struct tn_limits *limits = &v->auth->limits;

    if (++v->processed > limits->max_insns_processed)
        return vf_refuse(
            v, v->pc, TN_REASON_too_complex,
            "BPF program is too large. Processed %llu insn, the limit: bound its loops tighter, or split it",
            (unsigned long long)v->processed);
    v->insns_since++;
    v->depth++;
    if (limits->max_path_insns && v->depth > limits->max_path_insns)
        return vf_refuse(v, v->pc, TN_REASON_path_limit,
                         "a run may take more than %llu instructions, the authority's limit",
                         (unsigned long long)limits->max_path_insns);
    return 0;
}

static int step(struct vf *v, u64 *longest, bool *ret_done)
{
    bool ends = false;
    u64 remain = 0;
    int err;

    if (v->cfg.flow[v->pc].target) {
        err = check_points(v, &ends, &remain);
        if (err)
            return err;
        if (ends) {
            if (v->auth->limits.max_path_insns && v->depth + remain > v->auth->limits.max_path_insns)
                return vf_refuse(v, v->pc, TN_REASON_path_limit,
                                 "a run may take %llu instructions, the authority's limit is %llu",
                                 (unsigned long long)(v->depth + remain),
                                 (unsigned long long)v->auth->limits.max_path_insns);
            tn_log_safe(v);
            path_ends(v, v->depth + remain, longest);
            *ret_done = !path_next(v);
            return 0;
        }
    }
    err = charge(v);
    if (err)
        return err;
    v->seen[v->pc].visited = true;
    if (v->probe)
        v->probe->at(v->probe->arg, v->pc, &v->cur, &v->cfg.flow[v->pc].need);
    tn_log_insn(v);
    if (tn_insn_is_jump_class(&v->insns[v->pc]))
        v->jumps_since++;
    err = tn_transfer(v, &ends);
    if (err)
        return err;
    if (ends) {
        path_ends(v, v->depth, longest);
        *ret_done = !path_next(v);
    }
    return 0;
}

static int enter(struct vf *v, u32 root)
{
    enum tn_param params[5];
    int err, n;

    v->pc = v->cfg.sub[root].start;
    v->root = root;
    v->depth = 0;
    v->trail.n = 0;
    v->parent = NULL;
    v->jumps_since = v->insns_since = 0;
    err = tn_state_push_frame(&v->cur, root, 0);
    if (err)
        return err;
    if (root == 0) {
        *vf_reg(v, 1) = tn_reg_pointer(TN_REG_CTX, 0);
        return 0;
    }
    n = tn_src_params(&v->src, v->pc, v->type->ctx_type, params);
    for (int k = 0; k < n; k++) {
        if (params[k] == TN_PARAM_OTHER)
            return vf_refuse(v, v->pc, TN_REASON_arg_type,
                             "argument %d of global function %s() is neither a number nor the context: make "
                             "the function static",
                             k + 1, tn_src_func_name(&v->src, v->pc));
        *vf_reg(v, (u32)k + 1) =
            params[k] == TN_PARAM_CTX ? tn_reg_pointer(TN_REG_CTX, 0) : tn_reg_scalar(tn_range_any());
    }
    if (n < 0)
        return vf_refuse(v, v->pc, TN_REASON_arg_type, "global function %s() has more than five arguments",
                         tn_src_func_name(&v->src, v->pc));
    return 0;
}

int tn_explore(struct vf *v, u32 root, u64 *ret_longest)
{
    u64 longest = 0, mark = v->log.len;
    bool done = false;
    int err = enter(v, root);

    if (!err)
        tn_log_state(v, "");
    while (!err && !done)
        err = step(v, &longest, &done);
    if (!err)
        tn_log_cut(&v->log, v->log.level & TN_LOG_ALL ? v->log.len : mark);
    if (!err)
        *ret_longest = longest;
    return err;
}

void tn_explore_clear(struct vf *v)
{
    struct tn_pending *pending;
    struct tn_point *point;

    tn_state_clear(&v->cur);
    while ((pending = v->pending)) {
        v->pending = pending->below;
        tn_state_clear(&pending->state);
        free(pending);
    }
    while ((point = v->points)) {
        v->points = point->all;
        tn_state_clear(&point->state);
        free(point);
    }
}
