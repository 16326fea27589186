/* SPDX-License-Identifier: MIT */
/*
 * How long a run may be where functions are called back. A path goes through such a function once or twice and then ends at
 * a state it has seen, so its own length says nothing: the rounds that were left out are to be counted. So the walk is
 * written down as a graph, whose nodes are the points of explore.c (and a start each), and looked at when it is over.
 *
 *      level 0   start ──▶ ● ──▶ C ──────────────▶ ● ──▶ end          C: the call that calls back
 *                                │ ▲  over
 *                          enter │ │ leave                            a stretch that does both is a round
 *                                ▼ │
 *      level 1                   ● ● ──▶ C' ──▶ …                     the function; what it calls back is a level deeper
 *
 * In its level the longest way from a node is that of the node behind its longest edge. From a call that calls back it is
 *
 *      rounds × the longest round  +  the longest way on once it is over
 *
 * over all nodes where the call may be after a round, as far as rounds lead from here; a round's length is that of a way
 * through the deeper level. Edges that lead to a call at first and after a round differ in kind, so a circle inside a level
 * is a loop that only the run bounds: TN_ENDLESS.
 */
#include "verify/internal.h"

#define WORK_MAX (1u << 22) /* edges looked at for all calls together; beyond, nothing is known */

enum kind { SAME, ENTER, LEAVE, ROUND }; /* ROUND = ENTER | LEAVE */
enum colour { NEW, OPEN, DONE };

struct edge {
    u64 len; /* instructions */
    u32 to;  /* 0: the end */
    u32 next;
    u32 kind; /* enum kind */
};

struct node {
    u32 first;  /* edge from here; 0: none */
    u32 level;  /* of functions called back that are open */
    u32 seen;   /* by the search with this number */
    u32 colour; /* enum colour */
    u64 rounds; /* it calls back at most so often; 0: no call that calls back */
    u64 longest;
};

struct tn_ways {
    struct node *node;
    struct edge *edge; /* number 0 of both is no one */
    u32 nnodes, nodes_cap, nedges, edges_cap;
    u32 start; /* node where the present walk began */
    u32 *todo, *members;
    u32 ntodo, todo_cap, nmembers, members_cap;
    u32 search, work;
    bool lost; /* more than can be counted */
};

static void *room(void *array, u32 n, u32 *cap, size_t size)
{
    u32 more = TN_MAX(64u, 2 * *cap);
    void *grown;

    if (n < *cap)
        return array;
    grown = realloc(array, more * size);
    if (grown)
        *cap = more;
    return grown;
}
#define ROOM(w, array, n, cap)                                                                               \
    ({                                                                                                       \
        void *grown_ = room((w)->array, (w)->n, &(w)->cap, sizeof(*(w)->array));                             \
        if (grown_)                                                                                          \
            (w)->array = grown_;                                                                             \
        grown_ != NULL;                                                                                      \
    })

/* --------------------------------------------------------------------------------------- writing it down */

static int node_add(struct tn_ways *w, u32 level, u32 *ret)
{
    if (!w->nnodes)
        w->nnodes = 1;
    if (!ROOM(w, node, nnodes, nodes_cap))
        return -ENOMEM;
    w->node[w->nnodes] = (struct node){.level = level};
    *ret = w->nnodes++;
    return 0;
}

static int edge_add(struct vf *v, u32 to)
{
    struct tn_ways *w = v->ways;
    u32 from = v->parent ? v->parent->node : w->start;

    if (!w->nedges)
        w->nedges = 1;
    if (!ROOM(w, edge, nedges, edges_cap))
        return -ENOMEM;
    w->edge[w->nedges] =
        (struct edge){v->depth - (v->parent ? v->parent->depth : 0), to, w->node[from].first, v->crossed};
    w->node[from].first = w->nedges++;
    return 0;
}

static u32 level_of(const struct tn_state *s)
{
    u32 level = 0;

    for (u32 f = 0; f < s->nframes; f++)
        level += s->frame[f]->callback;
    return level;
}

static bool calls_back(const struct vf *v)
{
    for (u32 pc = 0; pc < v->ninsns; pc++)
        if (v->cfg.flow[pc].loop == TN_LOOP_CALLBACK)
            return true;
    return false;
}

int tn_longest_begin(struct vf *v)
{
    v->crossed = SAME;
    if (!v->ways && !calls_back(v))
        return 0;
    if (!v->ways)
        v->ways = calloc(1, sizeof(*v->ways));
    return v->ways ? node_add(v->ways, 0, &v->ways->start) : -ENOMEM;
}

int tn_longest_point(struct vf *v, struct tn_point *p)
{
    int err = v->ways ? node_add(v->ways, level_of(&v->cur), &p->node) : 0;

    if (!err && v->ways)
        err = edge_add(v, p->node);
    v->crossed = SAME;
    return err;
}

int tn_longest_meets(struct vf *v, const struct tn_point *p)
{
    return v->ways ? edge_add(v, p ? p->node : 0) : 0;
}

void tn_longest_rounds(struct vf *v, u64 most)
{
    /* Each round begins at a point of its own (enum tn_loop). */
    if (v->ways && v->parent && v->parent->insn == v->pc)
        v->ways->node[v->parent->node].rounds = TN_MAX(most, 1ull);
    else if (v->ways)
        v->ways->lost = true;
}

void tn_longest_enter(struct vf *v, bool enter)
{
    v->crossed = enter ? v->crossed | ENTER : v->crossed & (u8)~ENTER;
}

void tn_longest_leave(struct vf *v)
{
    v->crossed |= LEAVE;
}

/* ------------------------------------------------------------------------------------------- looking at it */

static int todo(struct tn_ways *w, u32 node)
{
    if (!ROOM(w, todo, ntodo, todo_cap))
        return -ENOMEM;
    w->todo[w->ntodo++] = node;
    return 0;
}

static int member(struct tn_ways *w, u32 node)
{
    if (!ROOM(w, members, nmembers, members_cap))
        return -ENOMEM;
    w->members[w->nmembers++] = node;
    return 0;
}

/* All nodes where the call of node `from` may be, itself included: what deeper levels lead back to. */
static int find_members(struct tn_ways *w, u32 from)
{
    u32 bottom = w->ntodo, level = w->node[from].level;
    int err;

    w->search++;
    w->nmembers = 0;
    w->node[from].seen = w->search;
    err = member(w, from);
    if (!err)
        err = todo(w, from);
    while (!err && w->ntodo > bottom) {
        u32 at = w->todo[--w->ntodo];

        for (u32 e = w->node[at].first; e && !err; e = w->edge[e].next) {
            struct node *to = &w->node[w->edge[e].to];

            w->lost |= ++w->work > WORK_MAX;
            if (w->lost)
                return 0;
            if (!w->edge[e].to || to->seen == w->search ||
                (w->node[at].level == level && w->edge[e].kind == SAME)) /* over */
                continue;
            to->seen = w->search;
            if (to->level == level)
                err = member(w, w->edge[e].to);
            if (!err)
                err = todo(w, w->edge[e].to);
        }
    }
    return err;
}

static u64 sum(u64 a, u64 b)
{
    return TN_MIN(TN_MIN(a, TN_ENDLESS) + TN_MIN(b, TN_ENDLESS), TN_ENDLESS);
}

static u64 product(u64 a, u64 b)
{
    return b && a > TN_ENDLESS / b ? TN_ENDLESS : a * b;
}

/* What is behind an edge, in its level; a node that is open is on the way here: a circle. */
static u64 behind(const struct tn_ways *w, const struct edge *e)
{
    const struct node *to = &w->node[e->to];

    if (!e->to || e->kind & LEAVE) /* of LEAVE and ROUND the way ends where the level does */
        return e->len;
    return sum(e->len, to->colour == DONE ? to->longest : TN_ENDLESS);
}

static bool looks_behind(const struct edge *e)
{
    return e->to && !(e->kind & LEAVE);
}

static void conclude(struct tn_ways *w, struct node *n)
{
    u64 over = 0, round = 0, most = n->rounds;

    for (u32 k = 0; k < w->nmembers; k++) {
        const struct node *m = &w->node[w->members[k]];

        most = TN_MAX(most, m->rounds);
        for (u32 e = m->first; e; e = w->edge[e].next) {
            u64 *longest = w->edge[e].kind & ENTER ? &round : &over;

            *longest = TN_MAX(*longest, behind(w, &w->edge[e]));
        }
    }
    n->longest = sum(over, product(most, round));
    n->colour = DONE;
}

/* The members of the node: of one that calls nothing back, itself. */
static int members_of(struct tn_ways *w, u32 node)
{
    if (w->node[node].rounds)
        return find_members(w, node);
    w->nmembers = 0;
    return member(w, node);
}

static int look(struct tn_ways *w, u32 start)
{
    int err = todo(w, start);

    while (!err && w->ntodo && !w->lost) {
        u32 at = w->todo[w->ntodo - 1];
        struct node *n = &w->node[at];

        if (n->colour == DONE) {
            w->ntodo--;
            continue;
        }
        err = members_of(w, at);
        if (err || w->lost)
            break;
        if (n->colour == OPEN) {
            w->ntodo--;
            conclude(w, n);
            continue;
        }
        n->colour = OPEN;
        for (u32 k = 0; k < w->nmembers && !err; k++)
            for (u32 e = w->node[w->members[k]].first; e && !err; e = w->edge[e].next)
                if (looks_behind(&w->edge[e]) && w->node[w->edge[e].to].colour == NEW)
                    err = todo(w, w->edge[e].to);
    }
    w->ntodo = 0;
    return err;
}

int tn_longest(struct vf *v, u64 *ret)
{
    struct tn_ways *w = v->ways;
    u64 limit = v->auth->limits.max_path_insns;
    int err;

    if (!w)
        return 0;
    err = look(w, w->start);
    if (err)
        return err;
    *ret = w->lost ? TN_ENDLESS : w->node[w->start].longest;
    if (!limit || *ret <= limit)
        return 0;
    if (*ret >= TN_ENDLESS)
        return vf_refuse(
            v, v->cfg.sub[v->root].start, TN_REASON_path_limit,
            "a loop or the rounds of a call may take more than %llu instructions, the authority's limit: "
            "bound them by a number",
            (unsigned long long)limit);
    return vf_refuse(
        v, v->cfg.sub[v->root].start, TN_REASON_path_limit,
        "with all rounds of what it calls back a run may take %llu instructions, the authority's limit is "
        "%llu",
        (unsigned long long)*ret, (unsigned long long)limit);
}

void tn_longest_clear(struct vf *v)
{
    if (!v->ways)
        return;
    free(v->ways->node);
    free(v->ways->edge);
    free(v->ways->todo);
    free(v->ways->members);
    free(v->ways);
    v->ways = NULL;
}
