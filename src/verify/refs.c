/* SPDX-License-Identifier: MIT */
/*
 * References: what a path was lent and must give back.
 *
 *      r0 = acquire()          state.ref[] += {OBJECT, id 7, insn}      r0: id 7, ref 7, maybe NULL
 *      r6 = r0                 a copy: r6 has id 7, ref 7 as well
 *      if (r0 == NULL)         nothing was lent: the entry goes, r0 and r6 are 0
 *      else                    r0, r6: id 0, ref 7
 *      r8 = part_of(r6)        r8: ref 7, an id of its own while it may be NULL
 *      release(r6)             the entry goes; every register and slot with ref 7 is a number, of which
 *                              nothing is known
 *      exit                    nothing may be left
 *
 * A pointer that was just acquired has id == ref; only then does being NULL say that nothing is held. What is
 * derived from it has the same ref and dies with it, but its NULL says nothing of the reference.
 *
 * Entries belong to the path, not to a frame: a function may release what its caller acquired and the other
 * way round. A callback is followed as something that happens any number of times, so that one which takes or
 * gives a reference never comes back to a state it began in.
 *
 * Locks, IRQ flags and sections are held in the same way, and asked for at the same places (lock.c).
 */
#include "verify/internal.h"

/* ------------------------------------------------------------------------------------------- the entries */

static bool is_lock(u8 kind)
{
    return kind == TN_REF_LOCK || kind == TN_REF_RES_LOCK || kind == TN_REF_RES_LOCK_IRQ;
}

int tn_ref_push(struct vf *v, struct tn_ref ref)
{
    if (v->cur.nrefs == TN_MAX_REFS)
        return vf_refuse(
            v, v->pc, TN_REASON_too_many_references,
            "more than %u references, locks and saved flags are held at once: give some back first",
            TN_MAX_REFS);
    ref.insn = v->pc;
    v->cur.ref[v->cur.nrefs++] = ref;
    v->cur.nlocks += is_lock(ref.kind);
    return 0;
}

int tn_ref_acquire(struct vf *v, u32 *ret_id)
{
    struct tn_ref ref = {.kind = TN_REF_OBJECT, .id = v->next_id + 1};
    int err = tn_ref_push(v, ref);

    if (!err)
        *ret_id = ++v->next_id;
    return err;
}

const struct tn_ref *tn_ref_find(const struct tn_state *s, enum tn_ref_kind kind, u32 id)
{
    for (u32 k = 0; k < s->nrefs; k++)
        if (s->ref[k].kind == kind && s->ref[k].id == id)
            return &s->ref[k];
    return NULL;
}

void tn_ref_drop_at(struct tn_state *s, u32 k)
{
    s->nlocks -= is_lock(s->ref[k].kind);
    memmove(&s->ref[k], &s->ref[k + 1], (s->nrefs - k - 1) * sizeof(s->ref[0]));
    s->ref[--s->nrefs] = (struct tn_ref){0};
}

bool tn_ref_drop(struct tn_state *s, enum tn_ref_kind kind, u32 id)
{
    const struct tn_ref *ref = tn_ref_find(s, kind, id);

    if (ref)
        tn_ref_drop_at(s, (u32)(ref - s->ref));
    return ref;
}

int tn_ref_lend(struct vf *v, struct tn_reg *reg)
{
    int err = tn_ref_acquire(v, &reg->ref);

    reg->id = err || !tn_reg_maybe_null(reg) ? 0 : reg->ref;
    return err;
}

/* ----------------------------------------------------------------------------------------- the end of one */

static void forget_reg(struct tn_reg *reg, void *arg)
{
    const u32 *ref = arg;

    if (reg->ref == *ref && tn_reg_is_pointer(reg))
        *reg = tn_reg_scalar(tn_range_any());
}

void tn_ref_forget(struct tn_state *s, u32 ref)
{
    tn_state_each_reg(s, forget_reg, &ref);
}

bool tn_ref_release(struct tn_state *s, u32 ref)
{
    if (!tn_ref_drop(s, TN_REF_OBJECT, ref))
        return false;
    tn_ref_forget(s, ref);
    return true;
}

struct resolution {
    const struct vf *v;
    u32 id, lent;
    bool null;
};

static void resolve_reg(struct tn_reg *reg, void *arg)
{
    struct resolution *res = arg;

    if (!tn_reg_maybe_null(reg) || reg->id != res->id)
        return;
    if (reg->ref == res->id)
        res->lent = reg->ref;
    if (res->null) {
        *reg = tn_reg_scalar(tn_range_const(0));
    } else {
        reg->flags &= (u16)~TN_PTR_MAYBE_NULL;
        tn_call_found(res->v, reg, reg->id);
        if (!tn_reg_has_lock(res->v, reg)) /* by it an unlock will know the lock's owner */
            reg->id = 0;
    }
}

void tn_null_resolved(struct vf *v, struct tn_state *s, u32 id, bool is_null)
{
    struct resolution res = {v, id, 0, is_null};

    tn_state_each_reg(s, resolve_reg, &res);
    if (is_null && res.lent)
        tn_ref_drop(s, TN_REF_OBJECT, res.lent);
}

/* ------------------------------------------------------------------------------------- arguments of calls */

static bool is_null(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && !reg->r.umin;
}

int tn_ref_arg(struct vf *v, u32 regno, bool releases, struct tn_ref_use *use)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    u32 ref = !tn_reg_is_pointer(reg) ? 0 : reg->flags & TN_PTR_DYNPTR_MEM ? reg->uid : reg->ref;

    if (releases) {
        if (tn_reg_maybe_null(reg))
            return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                             "Possibly NULL pointer passed to helper arg%u: test R%u (%s) against NULL first",
                             regno, regno, TN_REG_NAME(reg));
        if (tn_reg_is_pointer(reg) && (!tn_range_is_const(&reg->r) || reg->r.smin))
            return vf_refuse(
                v, v->pc, TN_REASON_bad_reference,
                "R%u must have zero offset when passed to release func or trusted arg to kfunc: pass "
                "what the acquiring call returned",
                regno);
        if (!ref && !is_null(reg))
            return vf_refuse(
                v, v->pc, TN_REASON_bad_reference,
                "R%u must be referenced when passed to release function: this %s was not acquired", regno,
                TN_REG_NAME(reg));
        use->release = (u8)regno;
    }
    if (!ref)
        return 0;
    if (use->ref)
        return vf_refuse(v, v->pc, TN_REASON_bad_reference,
                         "more than one arg with ref_obj_id R%u %u %u: a call takes one acquired object",
                         regno, reg->ref, use->ref);
    use->ref = reg->ref;
    return 0;
}

int tn_ref_arg_done(struct vf *v, const struct tn_ref_use *use, const char *func)
{
    if (!use->release || is_null(vf_reg(v, use->release)))
        return 0;
    if (!use->ref || !tn_ref_release(&v->cur, use->ref))
        return vf_refuse(
            v, v->pc, TN_REASON_bad_reference,
            "func %s reference has not been acquired before: R%u was released already, or is only "
            "borrowed from what was acquired",
            func, use->release);
    return 0;
}

/* -------------------------------------------------------------------------------------- the end of a path */

int tn_refs_none(struct vf *v, const char *what)
{
    for (u32 k = 0; k < v->cur.nrefs; k++) {
        const struct tn_ref *ref = &v->cur.ref[k];

        if (ref->kind == TN_REF_OBJECT)
            return vf_refuse(
                v, v->pc, TN_REASON_leaked_reference,
                "Unreleased reference id=%u alloc_insn=%u: %s would lead to reference leak; give back "
                "what instruction %u acquired on every path",
                ref->id, ref->insn, what, ref->insn);
    }
    return 0;
}
