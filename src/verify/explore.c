/* SPDX-License-Identifier: MIT */
/*
 * Following the paths.
 *
 * Depth first, with an explicit worklist (pending). Where ways may meet (jump targets, returns, rounds of a
 * loop) the state is compared with those kept there before (points); where one that was followed to all its
 * ends covers the present state, the path ends: nothing new can happen. Else the state may become a point
 * itself.
 *
 *      start ──●────●──┬──● exit            ● point; each knows its parent and how many of the paths
 *              ↑    │  └──● covered           through it are not finished (branches)
 *              └────┘ one more round
 *
 * What is compared of a point is what mattered on the ways on from it (track.h), and that is known once all
 * of them were followed. With rounds that end at a point which is itself not finished the ways on form a
 * circle, and no point on it knows all its marks before the circle is closed. So points are the nodes of a
 * graph whose circles are found as Tarjan does: `index` numbers them, `low` is the least index that can be
 * reached; a point whose low is its index is the root of a circle (or of none), and when it finishes, marks
 * are sent round all edges of the circle that were met (rounds) until nothing is new; then its points are
 * complete.
 *
 * Invariants
 *   1. branches == 0: every way on from the point was followed to exit, or to a point that covered it.
 *   2. complete: besides, its marks are final. Such points prune by what is marked.
 *   3. A point that is finished but not complete prunes only what it covers in everything that is live; that
 *      is an edge of the circle.
 *   4. With depth-first order, branches > 0 means: an ancestor on the present path. When such a point equals
 *      the present state, the program can walk this circle for ever: infinite_loop. When it merely covers it,
 *      the loop makes progress, and the path goes on, paid for from the budget; but for loops whose rounds
 *      the run bounds whatever the program computes (enum tn_loop): there it prunes as in 3.
 *   5. remain of a complete point is an upper bound of the instructions from there to the end, ENDLESS where
 *      a loop of 4 lies on the way. A pruned path inherits it, which makes facts.longest_path the maximum
 *      over all paths, those not walked included: what pruning leaves out differs only in numbers that
 *      decided nothing, so it cannot take a way that was not walked.
 *
 * A point is kept only when the path moved on a bit since the last (8 instructions and 2 jumps), and is
 * thrown away when it keeps missing: comparing must not cost more than following.
 */
#include "verify/internal.h"

#define MAX_PENDING     8192u
#define FRESH           64u
#define POINT_MIN_INSNS 8u
#define POINT_MIN_JUMPS 2u
#define POINT_MAX_INSNS 256u
/* In a loop that makes progress each round looks new: keep fewer points of it. */
#define LOOP_MIN_INSNS  100u
#define LOOP_MIN_JUMPS  20u
/* A point is forgotten after so many misses, and as many more for each hit. */
#define MISSES          3u
#define CROWD           32u
#define MISSES_LOOP     64u

void tn_trail_add(struct tn_trail *trail, u32 insn, u32 to)
{
    trail->last[trail->n % TN_TRAIL_KEPT].insn = insn;
    trail->last[trail->n % TN_TRAIL_KEPT].to = to;
    trail->n++;
}

/* ------------------------------------------------------------------------------------------- what waits */

static int refuse_pending(struct vf *v)
{
    return vf_refuse(v, v->pc, TN_REASON_too_many_pending,
                     "The sequence of %u jumps is too complex: more than %u branches wait; split the program",
                     v->npending + 1, MAX_PENDING);
}

static void pending_free(struct tn_pending *p)
{
    if (p->fresh)
        tn_state_clear(p->fresh);
    free(p->fresh);
    free(p->state);
    tn_stretch_put(p->stretch);
    free(p);
}

/* The oldest of the fresh ones is packed, since many came after it. */
static int pack_oldest(struct vf *v)
{
    static const u16 all[TN_MAX_FRAMES] = {0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff};
    struct tn_pending *p = v->oldest_fresh;

    p->state = tn_state_keep(p->fresh, all); /* logs show registers that are not live, too */
    if (!p->state)
        return -ENOMEM;
    tn_state_clear(p->fresh);
    free(p->fresh);
    p->fresh = NULL;
    v->oldest_fresh = p->above;
    v->nfresh--;
    return 0;
}

static void pending_push(struct vf *v, struct tn_pending *p)
{
    if (p->parent)
        p->parent->branches++;
    p->below = v->pending;
    if (p->below)
        p->below->above = p;
    if (!v->nfresh++)
        v->oldest_fresh = p;
    v->pending = p;
    v->npending++;
}

static struct tn_pending *pending_pop(struct vf *v)
{
    struct tn_pending *p = v->pending;

    v->pending = p->below;
    v->npending--;
    if (p->below)
        p->below->above = NULL;
    if (p->fresh && !--v->nfresh)
        v->oldest_fresh = NULL;
    return p;
}

int tn_explore_fork(struct vf *v, struct tn_state *state, u32 insn)
{
    struct tn_pending *p = v->npending < MAX_PENDING ? calloc(1, sizeof(*p)) : NULL;

    if (p) {
        p->fresh = malloc(sizeof(*p->fresh));
        p->stretch = tn_stretch_get(tn_track_freeze(v, state->nframes));
    }
    if (!p || !p->fresh || !p->stretch) {
        tn_state_clear(state);
        free(p ? p->fresh : NULL);
        tn_stretch_put(p ? p->stretch : NULL);
        free(p);
        return v->npending < MAX_PENDING ? -ENOMEM : refuse_pending(v);
    }
    tn_state_move(p->fresh, state);
    p->nframes = p->fresh->nframes;
    p->depth = v->depth;
    p->parent = v->parent;
    p->trail = v->trail;
    tn_trail_add(&p->trail, v->pc, insn);
    p->log_mark = v->log.len;
    p->insn = insn;
    p->crossed = v->crossed;
    pending_push(v, p);
    return v->nfresh > FRESH ? pack_oldest(v) : 0;
}

/* *ret_done: nothing waits. */
static int path_next(struct vf *v, bool *ret_done)
{
    struct tn_pending *p;
    int err = 0;

    *ret_done = !v->pending;
    if (!v->pending)
        return 0;
    p = pending_pop(v);
    if (p->fresh)
        tn_state_move(&v->cur, p->fresh);
    else
        err = tn_kept_revive(p->state, &v->pool, &v->cur);
    if (err) {
        pending_free(p);
        return err;
    }
    v->pc = p->insn;
    v->depth = p->depth;
    v->parent = p->parent;
    v->trail = p->trail;
    v->crossed = p->crossed;
    tn_track_resume(v, TN_TAKE_PTR(p->stretch), p->nframes);
    if (!(v->log.level & TN_LOG_ALL))
        tn_log_cut(&v->log, p->log_mark);
    pending_free(p);
    tn_log_state(v, "from here:");
    return 0;
}

/* ------------------------------------------------------------------------------------------- points */

static u64 far(u64 a, u64 b)
{
    return TN_MIN(a + b, TN_ENDLESS);
}

static void point_free(struct tn_point *p)
{
    free(p->state);
    tn_stretch_put(p->stretch);
    free(p);
}

/* Unlinks a point that does not earn its keep. While paths go on from it,
   its children name it as their parent. */
static void point_drop(struct vf *v, struct tn_point **at)
{
    struct tn_point *p = *at;

    *at = p->next;
    v->kept--;
    if (p->complete) {
        point_free(p);
        return;
    }
    p->dropped = true;
    free(p->state);
    p->state = NULL;
}

/* Its marks are final, and its way back is not needed any more. */
static void point_complete(struct tn_point *p)
{
    memcpy(p->mark, p->stretch->mark, p->nframes * sizeof(p->mark[0]));
    tn_stretch_put(p->stretch);
    p->stretch = NULL;
    p->parent = p->below = NULL;
    p->complete = true;
    if (p->dropped)
        point_free(p);
}

/* The circle with root `root` is closed. */
static void circle_closed(struct vf *v, struct tn_point *root)
{
    struct tn_point *p;
    bool more = v->nrounds > root->rounds_before;

    while (more) {
        more = false;
        for (u32 k = root->rounds_before; k < v->nrounds; k++) {
            struct tn_round *round = &v->round[k];

            more |= tn_track_inherit_at(v, round->from, round->to->stretch->mark, round->to->nframes);
        }
    }
    while (v->nrounds > root->rounds_before)
        tn_stretch_put(v->round[--v->nrounds].from);
    do {
        p = v->open;
        v->open = p->below;
        point_complete(p);
    } while (p != root);
}

static void point_finished(struct vf *v, struct tn_point *p)
{
    struct tn_point *up = p->parent;

    if (up) {
        up->remain = TN_MAX(up->remain, far(p->remain, p->depth - up->depth));
        up->low = TN_MIN(up->low, p->low);
    }
    if (p->low == p->index)
        circle_closed(v, p);
}

/* The path is done, `length` instructions after the start. */
static void path_ends(struct vf *v, u64 length, u64 *longest)
{
    struct tn_point *p = v->parent, *up;

    *longest = TN_MAX(*longest, length);
    if (p)
        p->remain = TN_MAX(p->remain, TN_MIN(length - p->depth, TN_ENDLESS));
    for (; p && !--p->branches; p = up) {
        up = p->parent;
        point_finished(v, p);
    }
    v->parent = NULL;
    tn_stretch_put(v->track.last);
    v->track.last = NULL;
    tn_state_clear(&v->cur);
}

static int point_add(struct vf *v, const u16 live[TN_MAX_FRAMES])
{
    struct tn_point *p = calloc(1, sizeof(*p) + v->cur.nframes * sizeof(p->mark[0]));

    if (!p || tn_longest_point(v, p)) {
        free(p);
        return -ENOMEM;
    }
    p->state = tn_state_keep(&v->cur, live);
    p->stretch = tn_stretch_get(tn_track_freeze(v, 0));
    if (!p->state || !p->stretch) {
        point_free(p);
        return -ENOMEM;
    }
    p->nframes = v->cur.nframes;
    p->insn = v->pc;
    p->depth = v->depth;
    p->branches = 1;
    p->parent = v->parent;
    p->index = p->low = ++v->next_index;
    p->rounds_before = v->nrounds;
    p->below = v->open;
    v->open = p;
    p->next = v->seen[v->pc].points;
    v->seen[v->pc].points = p;
    v->parent = p;
    v->nstates++;
    v->kept++;
    v->peak_states = TN_MAX(v->peak_states, v->kept);
    v->jumps_since = v->insns_since = 0;
    return 0;
}

/* ------------------------------------------------------------------------------------------- comparing */

static bool covers_all(const struct tn_point *p, const struct tn_state *s, const u16 *live)
{
    struct tn_need need[TN_MAX_FRAMES];

    for (u32 f = 0; f < s->nframes; f++)
        need[f] = tn_need_all(live[f]);
    return tn_kept_covers(p->state, s, need);
}

static bool covers_marked(const struct vf *v, const struct tn_point *p, const u16 *live)
{
    struct tn_need need[TN_MAX_FRAMES];

    if (p->nframes != v->cur.nframes)
        return false;
    for (u32 f = 0; f < p->nframes; f++) {
        const struct tn_marks *m = &p->mark[f];

        need[f] = v->exact ? tn_need_all(live[f]) : (struct tn_need){live[f], m->regs, m->slots, m->read};
    }
    return tn_kept_covers(p->state, &v->cur, need);
}

/* Was a round gone between the two, later on the same path, that the run bounds? It has to be one of the same
   iterator, the same call that calls back, the same entry into a function with may_goto: one that was made
   anew, in a loop around it, counts from the beginning. */
static bool round_gone(const struct tn_state *before, const struct tn_state *now)
{
    bool gone = false;

    for (u32 f = 0; f < before->nframes && f < now->nframes && !gone; f++) {
        const struct tn_frame *a = before->frame[f], *b = now->frame[f];

        gone = (a->callback_depth != b->callback_depth && a->calling == b->calling) ||
               (a->may_goto_depth != b->may_goto_depth && a->entered == b->entered);
        for (u32 k = 0; k < a->nslots && k < b->nslots && !gone; k++)
            gone = a->slot[k].depth != b->slot[k].depth && a->slot[k].reg.ref == b->slot[k].reg.ref;
    }
    return gone;
}

/* `p`, an ancestor, covers the present state; and the other way round, with no such round between? */
static int stands_still(struct vf *v, const struct tn_point *p, const u16 *live, bool *ret)
{
    struct tn_need need[TN_MAX_FRAMES];
    struct tn_kept *now;
    struct tn_state before;
    int err = tn_kept_revive(p->state, &v->pool, &before);

    if (err)
        return err;
    now = tn_state_keep(&v->cur, live);
    for (u32 f = 0; f < before.nframes; f++)
        need[f] = tn_need_all(live[f]);
    if (now)
        *ret = tn_kept_covers(now, &before, need) && !round_gone(&before, &v->cur);
    tn_state_clear(&before);
    free(now);
    return now ? 0 : -ENOMEM;
}

/* A loop that the run bounds has come back to `p`, an ancestor that covers the present state. */
static int round_closes(struct vf *v, const struct tn_point *p, bool *ret)
{
    struct tn_state before;
    int err;

    *ret = false;
    switch ((enum tn_loop)v->cfg.flow[v->pc].loop) {
    case TN_LOOP_NONE:
        return 0;
    case TN_LOOP_ITER:
        if (!tn_iter_active(&v->cur))
            return 0;
        break;
    case TN_LOOP_MAY_GOTO:
    case TN_LOOP_CALLBACK:
        break;
    }
    err = tn_kept_revive(p->state, &v->pool, &before);
    if (err)
        return err;
    *ret = round_gone(&before, &v->cur);
    tn_state_clear(&before);
    return 0;
}

/* The path ends at `to`, whose marks are not final. */
static int round_add(struct vf *v, struct tn_point *to)
{
    struct tn_stretch *from;

    if (v->nrounds == v->rounds_cap) {
        u32 cap = TN_MAX(64u, 2 * v->rounds_cap);
        struct tn_round *grown = realloc(v->round, cap * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        v->round = grown;
        v->rounds_cap = cap;
    }
    from = tn_stretch_get(tn_track_freeze(v, 0));
    if (!from)
        return -ENOMEM;
    v->round[v->nrounds++] = (struct tn_round){from, to};
    if (v->parent)
        v->parent->low = TN_MIN(v->parent->low, to->index);
    return 0;
}

/* An ancestor, or a point of a circle that is not closed. */
static int check_open(struct vf *v, struct tn_point *p, const u16 *live, bool *ret_covered)
{
    bool still = false, closes = false;
    int err;

    if (!covers_all(p, &v->cur, live))
        return 0;
    err = p->branches ? round_closes(v, p, &closes) : 0;
    if (err)
        return err;
    if (!p->branches || closes) {
        *ret_covered = true;
        return round_add(v, p);
    }
    err = stands_still(v, p, live, &still);
    if (err || !still)
        return err;
    return vf_refuse(v, v->pc, TN_REASON_infinite_loop,
                     "infinite loop detected at insn %u: the loop came back with everything unchanged; let "
                     "something count",
                     v->pc);
}

/* *ret_covered: the path ends here, and *ret_remain more instructions would have followed. */
static int check_points(struct vf *v, bool *ret_covered, u64 *ret_remain)
{
    struct tn_point **at = &v->seen[v->pc].points, *p;
    bool forced = v->cfg.flow[v->pc].loop || (v->in->prog_flags & BPF_F_TEST_STATE_FREQ);
    bool add = forced || v->insns_since >= POINT_MAX_INSNS ||
               (v->insns_since >= POINT_MIN_INSNS && v->jumps_since >= POINT_MIN_JUMPS);
    bool soon = v->insns_since < LOOP_MIN_INSNS && v->jumps_since < LOOP_MIN_JUMPS;
    u16 live[TN_MAX_FRAMES];
    u32 keep, count = 0;
    int err;

    if (p = *at, !p && !add)
        return 0;
    tn_live_at(v, &v->cur, v->pc, live);
    for (; (p = *at); count++) {
        if (p->complete) {
            *ret_covered = covers_marked(v, p, live);
            *ret_remain = p->remain;
            if (*ret_covered)
                tn_track_inherit(v, p->mark, p->nframes);
        } else {
            err = check_open(v, p, live, ret_covered);
            *ret_remain = TN_ENDLESS;
            if (err)
                return err;
        }
        if (*ret_covered) {
            p->hits++;
            return tn_longest_meets(v, p);
        }
        if (p->branches && !forced && soon)
            add = false;
        keep = p->branches && forced ? MISSES_LOOP : MISSES;
        /* Rounds of a loop that keep no point of theirs do not drive out those that were kept, unless there
           are many of them: hits pay for comparisons. */
        p->misses += add || count >= CROWD;
        if (p->misses > p->hits * keep + keep)
            point_drop(v, at);
        else
            at = &p->next;
    }
    v->max_states_per_insn = TN_MAX(v->max_states_per_insn, (u64)count);
    return add ? point_add(v, live) : 0;
}

/* ------------------------------------------------------------------------------------------- loops */

static bool same_calls(const struct tn_state *a, const struct tn_state *b)
{
    if (a->nframes != b->nframes)
        return false;
    for (u32 f = 1; f < a->nframes; f++)
        if (a->frame[f]->callsite != b->frame[f]->callsite)
            return false;
    return true;
}

static bool reg_equal(const struct tn_reg *a, const struct tn_reg *b)
{
    return tn_range_includes(&a->r, &b->r) && tn_range_includes(&b->r, &a->r);
}

static void widen_reg(const struct tn_reg *old, struct tn_reg *reg)
{
    if (old->kind == TN_REG_SCALAR && reg->kind == TN_REG_SCALAR && !reg_equal(old, reg))
        *reg = tn_reg_scalar(tn_range_any());
}

/* A number beside the start of its slot: Linux keeps nothing of it, and so nothing of it lives from round to
   round. What decides something there would else keep rounds apart for ever. */
static void widen_part(const struct tn_stack_slot *old, struct tn_stack_slot *slot)
{
    if (slot->size && slot->lo && slot->size == old->size && slot->lo == old->lo &&
        slot->reg.kind == TN_REG_SCALAR && old->reg.kind == TN_REG_SCALAR &&
        !reg_equal(&old->reg, &slot->reg))
        slot->reg = tn_reg_scalar(tn_range_unsigned(0, tn_width_mask(slot->size * 8)));
}

static void widen(const struct tn_state *old, const struct tn_marks *mark, struct tn_state *next)
{
    for (u32 k = 0; k < next->nframes; k++) {
        const struct tn_frame *a = old->frame[k];
        struct tn_frame *b = next->frame[k];

        for (u32 r = 0; r < 10; r++)
            if (!(mark[k].regs >> r & 1))
                widen_reg(&a->reg[r], &b->reg[r]);
        for (u32 s = 0; s < a->nslots && s < b->nslots; s++)
            if (!(mark[k].slots >> s & 1) && a->slot[s].size == 8 && b->slot[s].size == 8 &&
                a->slot[s].byte[0] == TN_BYTE_SPILL && b->slot[s].byte[0] == TN_BYTE_SPILL)
                widen_reg(&a->slot[s].reg, &b->slot[s].reg);
        for (u32 s = 0; s < a->nslots && s < b->nslots; s++)
            widen_part(&a->slot[s], &b->slot[s]);
    }
}

int tn_explore_widen(struct vf *v, struct tn_state *next, u32 insn)
{
    struct tn_state old;
    bool same;
    int err;

    /* The nearest ancestor there (invariant 4): the way up may be long, those at one instruction are few. */
    for (const struct tn_point *p = v->seen[insn].points; p; p = p->next) {
        /* The point of the present round is not the last one's. */
        if (!p->branches || (insn == v->pc && p->depth + 1 == v->depth))
            continue;
        err = tn_kept_revive(p->state, &v->pool, &old);
        if (err)
            return err;
        same = same_calls(&old, next);
        if (same)
            widen(&old, p->stretch->mark, next);
        tn_state_clear(&old);
        if (same)
            return 0;
    }
    return 0;
}

int tn_explore_may_goto(struct vf *v, const struct bpf_insn *i, u32 *ret_next)
{
    struct tn_state round;
    int err = tn_state_copy(&round, &v->cur);

    if (err)
        return err;
    tn_state_top(&round)->may_goto_depth++;
    err = tn_explore_widen(v, &round, v->pc);
    if (err) {
        tn_state_clear(&round);
        return err;
    }
    *ret_next = (u32)((s64)v->pc + 1 + i->off);
    return tn_explore_fork(v, &round, v->pc + 1);
}

/* ------------------------------------------------------------------------------------------- the walk */

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
                         "a run may take more than %llu instructions, the limit of %s",
                         (unsigned long long)limits->max_path_insns, vf_whose(v));
    return 0;
}

static int path_covered(struct vf *v, u64 remain, u64 *longest)
{
    u64 limit = v->auth->limits.max_path_insns;

    if (!v->ways && limit && v->depth + remain > limit)
        return remain >= TN_ENDLESS
                   ? vf_refuse(v, v->pc, TN_REASON_path_limit,
                               "only the run bounds this loop: it may take more than %llu instructions, the "
                               "limit of %s",
                               (unsigned long long)limit, vf_whose(v))
                   : vf_refuse(v, v->pc, TN_REASON_path_limit,
                               "a run may take %llu instructions or more, and the limit of %s is %llu",
                               (unsigned long long)(v->depth + remain), vf_whose(v),
                               (unsigned long long)limit);
    tn_log_safe(v);
    path_ends(v, v->depth + remain, longest);
    return 0;
}

static void tell_probe(struct vf *v)
{
    u16 live[TN_MAX_FRAMES];
    struct tn_need need;

    tn_live_at(v, &v->cur, v->pc, live);
    need =
        v->exact ? tn_need_all(live[v->cur.nframes - 1]) : (struct tn_need){.live = live[v->cur.nframes - 1]};
    v->probe->at(v->probe->arg, v->pc, &v->cur, &need);
}

static int execute(struct vf *v, bool *ret_ends)
{
    u32 insn = v->pc, waiting = v->npending;
    int err = charge(v);

    if (err)
        return err;
    v->seen[v->pc].visited = true;
    if (v->probe)
        tell_probe(v);
    tn_log_insn(v);
    if (tn_insn_is_jump_class(&v->insns[v->pc]))
        v->jumps_since++;
    err = tn_track_step(v);
    if (!err)
        err = tn_transfer(v, ret_ends);
    if (!err)
        tn_track_stepped(v, insn, v->npending > waiting);
    return err;
}

static int step(struct vf *v, u64 *longest, bool *ret_done)
{
    bool ends = false, covered = false;
    u64 remain = 0;
    int err = 0;

    if (v->cfg.flow[v->pc].target)
        err = check_points(v, &covered, &remain);
    if (!err && covered)
        err = path_covered(v, remain, longest);
    else if (!err)
        err = execute(v, &ends);
    if (err)
        return err;
    if (ends) {
        err = tn_longest_meets(v, NULL);
        path_ends(v, v->depth, longest);
    }
    if (err)
        return err;
    return ends || covered ? path_next(v, ret_done) : 0;
}

static int begin(struct vf *v, u32 root, u32 insn)
{
    v->pc = insn;
    v->root = root;
    v->depth = 0;
    v->trail.n = 0;
    v->parent = NULL;
    v->jumps_since = v->insns_since = 0;
    tn_track_resume(v, NULL, 1);
    return tn_longest_begin(v);
}

static int enter(struct vf *v, u32 root)
{
    int err = begin(v, root, v->cfg.sub[root].start);

    v->cur = (struct tn_state){.pool = &v->pool};
    if (!err)
        err = tn_state_push_frame(&v->cur, root, 0);
    if (err)
        return err;
    v->cur.sleepable = v->sleepable;
    if (root == 0) {
        *vf_reg(v, 1) = tn_reg_pointer(TN_REG_CTX, 0);
        return 0;
    }
    return tn_subprog_enter(v, root);
}

/* From v->cur at v->pc, and from all that comes to wait meanwhile. */
static int walk(struct vf *v, u64 *ret_longest)
{
    u64 longest = 0, mark = v->log.len;
    bool done = false;
    int err = 0;

    tn_log_state(v, "");
    while (!err && !done)
        err = step(v, &longest, &done);
    if (!err)
        tn_log_cut(&v->log, v->log.level & TN_LOG_ALL ? v->log.len : mark);
    if (err)
        return err;
    *ret_longest = TN_MIN(longest, TN_ENDLESS);
    return tn_longest(v, ret_longest);
}

int tn_explore(struct vf *v, u32 root, u64 *ret_longest)
{
    int err = enter(v, root);

    return err ? err : walk(v, ret_longest);
}

int tn_explore_state(struct vf *v, struct tn_state *state, u32 insn, u64 *ret_longest)
{
    int err = begin(v, 0, insn);

    tn_state_move(&v->cur, state);
    return err ? err : walk(v, ret_longest);
}

void tn_explore_clear(struct vf *v)
{
    struct tn_pending *pending;
    struct tn_point *point, *next;

    tn_state_clear(&v->cur);
    while ((pending = v->pending)) {
        v->pending = pending->below;
        pending_free(pending);
    }
    while (v->nrounds)
        tn_stretch_put(v->round[--v->nrounds].from);
    free(v->round);
    for (u32 pc = 0; v->seen && pc < v->ninsns; pc++) {
        for (point = v->seen[pc].points; point; point = next) {
            next = point->next;
            if (point->complete)
                point_free(point);
        }
    }
    while ((point = v->open)) { /* those not complete, dropped or not */
        v->open = point->below;
        point_free(point);
    }
    tn_track_clear(v);
    tn_longest_clear(v);
    tn_pool_clear(&v->pool);
}
