/* SPDX-License-Identifier: MIT */
/*
 * Ways out of a function other than its exit.
 *
 *      by                          where it goes on                       the caller finds
 *      a load of classic BPF       behind the call of the function        0
 *      a tail call                 the same, after that other program     any number
 *      bpf_throw                   nowhere: every function that is open   the program's result is what was
 *                                  is left at once                        thrown, or what the exception
 *                                                                         callback makes of it
 *
 * Nothing may be held then: nobody would give it back. And none of the functions that are left may have been
 * called by somebody else's code, which waits for it to return.
 */
#include "verify/internal.h"
#include "verify/kfuncs.h"

bool tn_insn_is_tail_call(const struct vf *v, u32 pc)
{
    return !v->cfg.flow[pc].second && tn_insn_is_call(&v->insns[pc]) && !v->insns[pc].src_reg &&
           v->insns[pc].imm == TN_PROTO_tail_call;
}

int tn_leave_returns(struct vf *v, struct tn_range result)
{
    const struct tn_frame *f = tn_state_top(&v->cur);
    struct tn_state s;
    u32 next = f->callsite + 1;
    int err;

    /* To nobody; or in a callback, where it is refused in the end (tn_leave_check_callers). */
    if (v->cur.nframes == 1 || f->callback)
        return 0;
    err = tn_state_copy(&s, &v->cur);
    if (err)
        return err;
    tn_state_pop_frame(&s);
    tn_state_top(&s)->reg[0] = tn_reg_scalar(result);
    return tn_explore_fork(v, &s, next);
}

static int refuse_leaving(struct vf *v, u32 pc)
{
    return vf_refuse(
        v, pc, TN_REASON_held_at_end,
        tn_insn_throws(v, pc)
            ? "bpf_throw kfunc (insn %u) cannot be called from callback subprog %u: whoever "
              "called the function back would not come to an end; return a number from it"
            : "cannot use BPF_LD_[ABS|IND] within callback: instruction %u of function %u leaves "
              "it behind the packet's end",
        pc, v->cfg.flow[pc].subprog);
}

/* All functions that are open are left at once, and what was thrown is the program's result, or goes to the
   function that makes the result of it. So no frame may hold anything, nor be one of somebody else's. */
int tn_throw(struct vf *v)
{
    u64 limit = v->auth->limits.max_path_insns;
    int err = tn_held_none(v, "bpf_throw");

    if (!err && !v->cfg.exception)
        err = tn_prog_result(v, 1);
    if (err)
        return err;
    for (u32 f = 0; f < v->cur.nframes; f++)
        if (v->cur.frame[f]->callback || v->cur.frame[f]->async || v->cur.frame[f]->exception)
            return refuse_leaving(v, v->pc);
    v->facts.features |= 1ull << TN_FEATURE_exception;
    v->cfg.sub[v->root].throws = true;
    if (v->cfg.exception)
        v->depth += v->cfg.sub[v->cfg.exception].longest;
    if (limit && v->depth > limit)
        return vf_refuse(
            v, v->pc, TN_REASON_path_limit,
            "with what is called after this throw a run may take %llu instructions or more, and the "
            "limit of %s is %llu",
            (unsigned long long)v->depth, vf_whose(v), (unsigned long long)limit);
    return 0;
}

int tn_leave_check_types(struct vf *v)
{
    const struct tn_cfg *c = &v->cfg;

    for (u32 k = 1; k < c->nsubs; k++) {
        const struct btf_type *proto = tn_src_func_proto(&v->src, c->sub[k].start);
        u32 ret = proto ? tn_btf_resolve(v->src.btf, proto->type) : 0;
        u32 kind = ret ? tn_btf_kind_of(v->src.btf, ret) : BTF_KIND_UNKN;

        if (kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)
            continue;
        for (u32 pc = c->sub[k].start; pc < c->sub[k].end; pc++) {
            bool load = !c->flow[pc].second && tn_insn_is_packet_load(&v->insns[pc]);

            if (load || tn_insn_is_tail_call(v, pc))
                return vf_refuse(v, pc, TN_REASON_bad_func_info,
                                 proto
                                     ? "%s is only allowed in functions that return 'int': it may end the "
                                       "function, and its caller then finds a number"
                                     : "%s is not allowed in subprogs without BTF: it may end the function, "
                                       "and what that returns is not known; compile with -g",
                                 load ? "LD_ABS" : "tail_call");
        }
    }
    return 0;
}

/* By the text, dead code included, as Linux does it: below a function that is called back, and in it, nothing
   leaves other than by an exit. */
int tn_leave_check_callers(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    bool inside[TN_MAX_SUBPROGS] = {0};
    u32 g;

    for (u32 k = c->nsubs; k-- > 0;) { /* callers come first */
        u32 f = c->order[k];

        inside[f] |= c->sub[f].callback;
        for (u32 pc = c->sub[f].start; pc < c->sub[f].end; pc++) {
            if (inside[f] && !c->flow[pc].second &&
                (tn_insn_throws(v, pc) || tn_insn_is_packet_load(&v->insns[pc])))
                return refuse_leaving(v, pc);
            if (!tn_subprog_opens(v, pc, &g))
                continue;
            if (g && g == c->exception)
                return vf_refuse(v, pc, TN_REASON_bad_call_target,
                                 "insn %u cannot call exception cb directly: it is called when something was "
                                 "thrown; call another function with the same code",
                                 pc);
            inside[g] |= inside[f];
        }
    }
    return 0;
}
