/* SPDX-License-Identifier: MIT */
/*
 * The compiler as one function that calls its passes in order:
 *
 *     analyse      decisions (analyse.c)
 *     layout       lower everything with long jumps, then again with what is known to be near, until nothing
 *                  shrinks. A jump's distance is measured in the layout of the pass before; as sizes never
 *                  grow, a jump that was found near stays near, and the last two passes have the same layout,
 *                  in which all distances are true.
 *     pool         its size is known only now, but slots are reached by distances from the end of the pool
 *     stack        deepest chain of calls
 *
 * The pool grows downwards from the text: slot 0 of `pool` is at text − pool_size, so where a slot lies
 * depends on how many there are. They are counted in the first pass, which is never the last.
 */
#include "jit/jit.h"

#include <errno.h>

#include "jit/plan.h"

#define MAX_SHRINKING_PASSES 12u
#define MAX_CALL_DEPTH       16u
#define MAX_FRAMES           8u
#define MAX_POOL             4096u

/* ------------------------------------------------------------------------------------------------ pool */

static u32 pool_bytes(const struct jit *j)
{
    return TN_ROUND_UP(TN_MAX(j->npool, 1u) * 8,
                       TN_PAGE); /* never empty: whoever maps it needs no special case */
}

struct tn_mem jit_pool(struct jit *j, u32 kind, u32 index, u64 offset)
{
    u32 slot = 0;

    while (slot < j->npool &&
           (j->pool[slot].kind != kind || j->pool[slot].index != index || j->pool[slot].offset != offset))
        slot++;
    if (slot == j->npool) {
        if (slot == MAX_POOL) {
            j->a.err = j->a.err ? j->a.err : -E2BIG;
            slot = 0;
        } else {
            j->pool[j->npool++] = (struct tn_pool_entry){.kind = kind, .index = index, .offset = offset};
        }
    }
    return tn_mem_pos((s64)slot * 8 - pool_bytes(j));
}

/* ------------------------------------------------------------------------------------------------ layout */

static int one_pass(struct jit *j)
{
    const struct tn_program *p = j->prog;
    bool trap = false;
    u32 sub = 0;
    int r;

    j->a.len = 0;
    for (u32 i = 0; i < p->ninsns; i += j->plan[i].slots) {
        bool dead = j->plan[i].how == JIT_DEAD;

        if (sub < p->nsubprogs && p->subprogs[sub].start == i) {
            j->subs[sub].entry = j->a.len;
            if (!dead)
                jit_prologue(j, &j->subs[sub], sub == 0);
            sub++;
        }
        j->off[i] = j->a.len;
        if (!dead || !trap) { /* one trap a run of dead instructions */
            r = jit_lower(j, i);
            if (r)
                return r;
        }
        trap = dead;
        j->end[i] = j->a.len;
        for (u32 k = 1; k < j->plan[i].slots; k++)
            j->off[i + k] = j->end[i + k] = j->a.len;
        if (j->a.err)
            return tn_fail(j->err, j->a.err, "encoding_failed", "instruction %u: %s", i, strerror(-j->a.err));
    }
    return 0;
}

static int layout(struct jit *j)
{
    size_t bytes = (size_t)j->prog->ninsns * sizeof(*j->off);
    u32 before;
    int r;

    do {
        before = j->a.len;
        memcpy(j->prev_off, j->off, bytes);
        memcpy(j->prev_end, j->end, bytes);
        j->shrinking = j->pass && j->pass <= MAX_SHRINKING_PASSES;
        r = one_pass(j);
        if (r)
            return r;
        j->pass++;
    } while (j->pass < 3 || j->a.len != before);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ stack */

/* Bytes below a call of which it is not said which function it calls back: that function and those below it, as many as
   the verifier lets be open at once. */
static u32 any_chain(const struct jit *j)
{
    u32 most = 0;

    for (u32 s = 0; s < j->prog->nsubprogs; s++)
        most = TN_MAX(most, jit_frame_size(&j->subs[s]));
    return (MAX_FRAMES - 1) * most;
}

/* memo: bytes a subprogram and all it calls need, 0 = not known yet. */
static int deepest(const struct jit *j, u32 sub, u32 depth, u32 *memo)
{
    const struct tn_program *p = j->prog;
    u32 most = 0;

    if (depth == MAX_CALL_DEPTH)
        return tn_fail(j->err, -ENOTSUP, "calls_too_deep", "more than %u functions call each other",
                       MAX_CALL_DEPTH);
    for (u32 i = p->subprogs[sub].start; i < p->subprogs[sub].end; i += j->plan[i].slots) {
        bool back = j->plan[i].how == JIT_LOOP || j->plan[i].how == JIT_ROUNDS;
        u32 callee;
        int r;

        if (!back && (j->plan[i].how != JIT_PLAIN || tn_op_of(&p->insns[i]) != TN_OP_CALL))
            continue;
        if (!back && p->insns[i].src_reg != BPF_PSEUDO_CALL) {
            most = TN_MAX(most, 8u); /* a helper's return address; its own stack is the caller's to know */
            continue;
        }
        if (back && p->aux[i].callback < 0) {
            most = TN_MAX(most, any_chain(j));
            continue;
        }
        callee = back ? (u32)p->aux[i].callback : j->plan[tn_jump_target(&p->insns[i], i)].sub;
        if (!memo[callee]) {
            r = deepest(j, callee, depth + 1, memo);
            if (r)
                return r;
        }
        most = TN_MAX(most, memo[callee]);
    }
    memo[sub] = jit_frame_size(&j->subs[sub]) + most;
    return 0;
}

/* ---------------------------------------------------------------------------------------------- all of it */

static void jit_clear(struct jit *j)
{
    free(j->plan);
    free(j->subs);
    free(j->off);
    free(j->end);
    free(j->prev_off);
    free(j->prev_end);
    free(j->pool);
    tn_asm_clear(&j->a);
}

static int jit_alloc(struct jit *j)
{
    u32 n = j->prog->ninsns;

    tn_asm_grow(&j->a);
    j->plan = calloc(n, sizeof(*j->plan));
    j->subs = calloc(j->prog->nsubprogs, sizeof(*j->subs));
    j->off = calloc(n, sizeof(*j->off));
    j->end = calloc(n, sizeof(*j->end));
    j->prev_off = calloc(n, sizeof(*j->prev_off));
    j->prev_end = calloc(n, sizeof(*j->prev_end));
    j->pool = calloc(MAX_POOL, sizeof(*j->pool));
    if (!j->plan || !j->subs || !j->off || !j->end || !j->prev_off || !j->prev_end || !j->pool)
        return -ENOMEM;
    return 0;
}

int tn_jit(const struct tn_program *prog, struct tn_code *ret_code, struct tn_error *err)
{
    _clean_(jit_clear) struct jit j = {.prog = prog, .err = err};
    _free_ u32 *memo = NULL;
    int r;

    if (!prog->ninsns || !prog->nsubprogs)
        return tn_fail(err, -EINVAL, "empty_program",
                       "a program has at least one instruction and one function");
    r = jit_alloc(&j);
    if (r)
        return r;
    memo = calloc(prog->nsubprogs, sizeof(*memo));
    if (!memo)
        return -ENOMEM;

    r = jit_analyse(&j);
    if (!r)
        r = layout(&j);
    if (!r)
        r = deepest(&j, 0, 0, memo);
    if (r)
        return r;
    tn_x86_int3(&j.a); /* at least one trap after the last instruction */
    tn_x86_pad_int3(&j.a, TN_PAGE);
    if (j.a.err)
        return tn_fail(err, j.a.err, "encoding_failed", "%s", strerror(-j.a.err));

    *ret_code = (struct tn_code){.text = j.a.buf,
                                 .text_len = j.a.len,
                                 .entry = j.subs[0].entry,
                                 .pool = TN_TAKE_PTR(j.pool),
                                 .npool = j.npool,
                                 .pool_size = pool_bytes(&j),
                                 .insn_off = TN_TAKE_PTR(j.off),
                                 .footprint = j.footprint,
                                 .stack = memo[0]};
    tn_asm_fixed(&j.a, NULL, 0); /* the buffer went with it */
    return 0;
}

void tn_code_clear(struct tn_code *code)
{
    free(code->text);
    free(code->pool);
    free(code->insn_off);
    *code = (struct tn_code){0};
}
