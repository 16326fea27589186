/* SPDX-License-Identifier: MIT */
/*
 * tn_verify: the passes in their order, and the facts in the form others use. See internal.h for the map of
 * the room and docs/verifier.md for the why.
 */
#include "verify/verify.h"

#include "verify/internal.h"

#ifndef BPF_F_TEST_REG_INVARIANTS /* newer than Debian's <linux/bpf.h> */
#define BPF_F_XDP_DEV_BOUND_ONLY  (1u << 6)
#define BPF_F_TEST_REG_INVARIANTS (1u << 7)
#endif
#define KNOWN_FLAGS                                                                                          \
    (BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT | BPF_F_TEST_RND_HI32 | BPF_F_TEST_STATE_FREQ |            \
     BPF_F_SLEEPABLE | BPF_F_XDP_HAS_FRAGS | BPF_F_XDP_DEV_BOUND_ONLY | BPF_F_TEST_REG_INVARIANTS)

static int may_access(void *self, const struct tn_access *access, struct tn_error *err)
{
    return 0;
}

static int may_call(void *self, const struct tn_call *call, struct tn_call_facts *ret_facts,
                    struct tn_error *err)
{
    return 0;
}

const struct tn_authority tn_authority_all = {
    .limits = {.max_insns_processed = 1000000, .max_path_insns = 0, .max_stack = 0},
    .may_access = may_access,
    .may_call = may_call,
};

static int check_input(struct vf *v)
{
    const struct tn_verify_in *in = v->in;

    if (!in->insns || !in->ninsns || in->ninsns > TN_MAX_INSNS)
        return vf_refuse(v, 0, TN_REASON_prog_size, "%u instructions: a program has 1 to %u", in->ninsns,
                         TN_MAX_INSNS);
    if (in->nmaps && !in->maps)
        return vf_refuse(v, 0, TN_REASON_bad_input, "%u maps, but no array of them", in->nmaps);
    if (in->prog_flags & ~(u32)KNOWN_FLAGS)
        return vf_refuse(v, 0, TN_REASON_prog_flags, "program flags %#x: some bit has no meaning here",
                         in->prog_flags);
    return tn_prog_type_check(v);
}

/* One call of a function of the host. */
struct tn_kfunc_use {
    u16 root; /* made by this function, or by one that it calls */
    u32 id;
};

int tn_note_kfunc(struct vf *v, u32 btf_id)
{
    for (u32 k = 0; k < v->nkfuncs; k++)
        if (v->kfunc[k].id == btf_id && v->kfunc[k].root == v->root)
            return 0;
    if (v->nkfuncs == v->kfuncs_cap) {
        u32 cap = TN_MAX(16u, 2 * v->kfuncs_cap);
        struct tn_kfunc_use *grown = realloc(v->kfunc, cap * sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        v->kfunc = grown;
        v->kfuncs_cap = cap;
    }
    v->kfunc[v->nkfuncs++] = (struct tn_kfunc_use){(u16)v->root, btf_id};
    return 0;
}

static void join(struct tn_facts *to, const struct tn_facts *from)
{
    for (u32 w = 0; w < TN_ARRAY_SIZE(to->ctx_read); w++) {
        to->ctx_read[w] |= from->ctx_read[w];
        to->ctx_written[w] |= from->ctx_written[w];
    }
    for (u32 w = 0; w < TN_ARRAY_SIZE(to->helpers); w++)
        to->helpers[w] |= from->helpers[w];
    to->ctx_end = TN_MAX(to->ctx_end, from->ctx_end);
    to->tp_access = TN_MAX(to->tp_access, from->tp_access);
    to->rdonly_access = TN_MAX(to->rdonly_access, from->rdonly_access);
    to->rdwr_access = TN_MAX(to->rdwr_access, from->rdwr_access);
    to->ctx_escapes |= from->ctx_escapes;
    to->maps_used |= from->maps_used;
    to->features |= from->features;
    to->percpu |= from->percpu;
    to->may_fault |= from->may_fault;
    to->calls_host |= from->calls_host;
    to->sleeps |= from->sleeps;
    to->syscalls |= from->syscalls;
    to->walks |= from->walks;
}

/* Callees were verified before. */
void tn_note_global(struct vf *v, u32 callee)
{
    v->cfg.sub[v->root].calls[callee / 64] |= 1ull << (callee % 64);
    join(&v->facts, &v->root_facts[callee]);
}

/* Callers come last in the order, so that who is called is known when it is looked at. */
static int list_kfuncs(struct vf *v, struct tn_verdict *out)
{
    const struct tn_cfg *c = &v->cfg;
    u64 called[4] = {1};
    u32 k;

    for (u32 n = c->nsubs; n-- > 0;) {
        u32 f = c->order[n];

        if (called[f / 64] >> (f % 64) & 1)
            for (u32 w = 0; w < TN_ARRAY_SIZE(called); w++)
                called[w] |= c->sub[f].calls[w];
    }
    out->kfuncs = calloc(v->nkfuncs + 1, sizeof(*out->kfuncs));
    if (!out->kfuncs)
        return -ENOMEM;
    for (u32 n = 0; n < v->nkfuncs; n++) {
        const struct tn_kfunc_use *use = &v->kfunc[n];

        if (!(called[use->root / 64] >> (use->root % 64) & 1))
            continue;
        for (k = 0; k < out->nkfuncs && out->kfuncs[k] < use->id; k++)
            ;
        if (k < out->nkfuncs && out->kfuncs[k] == use->id)
            continue;
        memmove(&out->kfuncs[k + 1], &out->kfuncs[k], (out->nkfuncs - k) * sizeof(out->kfuncs[0]));
        out->kfuncs[k] = use->id;
        out->nkfuncs++;
    }
    return 0;
}

/* Global functions first, callees before callers, then the program itself. */
static int explore_all(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    struct tn_facts own = v->facts;
    int err = 0;

    v->root_facts = calloc(c->nsubs, sizeof(*v->root_facts));
    if (!v->root_facts)
        return -ENOMEM;

    for (u32 k = 0; !err && k < c->nsubs; k++)
        c->sub[k].global = k && tn_src_func_is_global(&v->src, c->sub[k].start);
    err = tn_callback_check_refs(v);
    tn_subprog_effects(v);
    for (u32 k = 0; !err && k < c->nsubs; k++) {
        u32 f = c->order[k];

        if (f && c->sub[f].global) {
            v->facts = (struct tn_facts){0};
            err = tn_explore(v, f, &c->sub[f].longest);
            v->root_facts[f] = v->facts;
        }
    }
    v->facts = own;
    if (!err)
        err = tn_explore(v, 0, &v->facts.longest_path);
    if (!err)
        err = tn_callback_run_later(v, &v->facts.longest_path);
    if (!err && v->facts.features >> TN_FEATURE_exception & 1 && c->exception) { /* it may follow */
        v->root = 0;
        tn_note_global(v, c->exception);
    }
    return err;
}

static int deliver(struct vf *v)
{
    struct tn_verdict *out = v->out;
    const struct tn_cfg *c = &v->cfg;

    out->aux = calloc(v->ninsns, sizeof(*out->aux));
    out->subprogs = calloc(c->nsubs, sizeof(*out->subprogs));
    if (!out->aux || !out->subprogs)
        return -ENOMEM;
    for (u32 pc = 0; pc < v->ninsns; pc++) {
        const struct tn_seen *s = &v->seen[pc];

        out->aux[pc] = (struct tn_insn_aux){
            .live = s->visited,
            .jump_target = c->flow[pc].jump_target,
            .const_map = s->has_map ? s->map : -1,
            .const_key = s->has_key ? s->key : -1,
            .mem_kind = s->mem_kind,
            .no_flags = s->no_flags,
            .callback = s->has_func ? s->func : -1,
        };
        if (c->flow[pc].second)
            out->aux[pc].live = v->seen[pc - 1].visited;
    }
    for (u32 k = 0; k < c->nsubs; k++) {
        out->subprogs[k] = (struct tn_subprog){c->sub[k].start, c->sub[k].end,
                                               TN_ROUND_UP(c->sub[k].depth, 8u), c->sub[k].zero};
        v->facts.reads_uninit_stack |= c->sub[k].zero != 0;
    }
    out->nsubprogs = c->nsubs;
    if (list_kfuncs(v, out))
        return -ENOMEM;
    out->facts = v->facts;
    out->accepted = true;
    return 0;
}

/* *start: the clock when the program itself is looked at. Its types, and its maps' special fields, were
   checked before that, which Linux does when they are loaded and made, not when the program is. */
static int run(struct vf *v, u64 *start)
{
    int err = check_input(v);

    if (err)
        return err;
    v->cfg.flow = calloc(v->ninsns, sizeof(*v->cfg.flow));
    v->seen = calloc(v->ninsns, sizeof(*v->seen));
    if (!v->cfg.flow || !v->seen)
        return -ENOMEM;
    err = tn_attach_check(v);
    if (!err)
        err = tn_src_open(v);
    if (!err)
        err = tn_special_open(v);
    *start = tn_monotonic();
    if (!err)
        err = tn_cfg_build(v);
    if (!err)
        tn_log_functions(v);
    if (!err)
        err = tn_src_check_records(v);
    if (!err)
        err = tn_leave_check_types(v);
    if (!err)
        tn_iter_mark_loops(v);
    if (!err)
        err = tn_live_compute(v);
    if (!err)
        err = explore_all(v);
    if (!err)
        err = tn_subprog_stack(v);
    if (!err)
        err = tn_leave_check_callers(v);
    if (!err)
        err = deliver(v);
    return err;
}

int tn_verify_probed(const struct tn_verify_in *in, const struct tn_verify_probe *probe,
                     struct tn_verdict *ret)
{
    struct tn_verdict out = {0};
    struct vf *v = calloc(1, sizeof(*v));
    u64 start = tn_monotonic();
    int err;

    if (!v)
        return -ENOMEM;
    v->in = in;
    v->auth = in->authority ? in->authority : &tn_authority_all;
    v->probe = probe;
    v->exact = probe && !probe->mark;
    v->insns = in->insns;
    v->ninsns = in->ninsns;
    tn_log_open(&v->log, in->log_level, in->log_size);
    v->out = &out;

    err = run(v, &start);
    out.time_ns = tn_monotonic() - start;
    tn_log_stats(v, out.time_ns);
    out.insns_processed = v->processed;
    out.total_states = v->nstates;
    out.peak_states = v->peak_states;
    out.max_states_per_insn = v->max_states_per_insn;
    out.log = tn_log_take(&v->log, &out.log_size);
    out.log_true_size = v->log.max;
    if (v->log.no_memory)
        err = -ENOMEM;

    tn_explore_clear(v);
    free(v->later);
    free(v->kfunc);
    free(v->root_facts);
    tn_special_close(v);
    tn_src_close(&v->src);
    free(v->cfg.flow);
    free(v->seen);
    free(v);
    if (err == -ENOMEM) {
        tn_verdict_clear(&out);
        return -ENOMEM;
    }
    *ret = out;
    return 0;
}

int tn_verify(const struct tn_verify_in *in, struct tn_verdict *ret_verdict)
{
    return tn_verify_probed(in, NULL, ret_verdict);
}

void tn_verdict_clear(struct tn_verdict *verdict)
{
    free(verdict->aux);
    free(verdict->subprogs);
    free(verdict->kfuncs);
    free(verdict->log);
    *verdict = (struct tn_verdict){0};
}
