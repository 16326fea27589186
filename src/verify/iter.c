/* SPDX-License-Identifier: MIT */
/*
 * Open-coded iterators: kernel functions bpf_iter_KIND_new, _next, _destroy on a struct that lies on the
 * stack.
 *
 *             new              next → element        next → NULL            destroy
 *      (none) ───▶ ACTIVE ──────────▶ ACTIVE ─────────────▶ DRAINED ───────────▶ (none)
 *                     └──────────────────────────────────────┴── destroy at any time; never forgotten: a
 *                                                                reference
 *
 * Kinds need no table: the struct's name, its size and whether it lives under RCU come from the type
 * information of the function called. Its slots hold the kind of byte ITER, `reg.obj` the type, `tag[0]` the
 * state; the first slot (lowest address) holds the reference and how often next() found an element on this
 * path.
 *
 * next() forks: here the iterator is drained and R0 is 0, there it is active and R0 an element. How rounds
 * come to an end is told in explore.c; that a run passes next() a bounded number of times only is the
 * iterator's promise.
 *
 * Stores into an iterator's bytes are allowed, and make it none: what holds its reference can then never be
 * destroyed, which refuses the program at its end.
 */
#include "btf/btf.h"
#include "verify/internal.h"

enum { ITER_ACTIVE = 1, ITER_DRAINED }; /* tag[0] */

/* "iter_num", as messages call it. */
static const char *short_name(const struct tn_iter_use *use)
{
    return strncmp(use->type_name, "bpf_", 4) ? use->type_name : use->type_name + 4;
}

bool tn_iter_is_next(const char *kfunc)
{
    size_t len = strlen(kfunc);

    return len > 14 && !strncmp(kfunc, "bpf_iter_", 9) && !strcmp(kfunc + len - 5, "_next");
}

void tn_iter_mark_loops(struct vf *v)
{
    for (u32 pc = 0; v->in->host_btf && pc < v->ninsns; pc++) {
        const struct bpf_insn *i = &v->insns[pc];

        if (tn_insn_is_call(i) && i->src_reg == BPF_PSEUDO_KFUNC_CALL && !i->off && i->imm > 0 &&
            tn_iter_is_next(tn_btf_name(v->in->host_btf, (u32)i->imm)))
            v->cfg.flow[pc].loop = TN_LOOP_ITER;
    }
}

/* Each byte of each slot belongs to an iterator of that type, in one piece. */
static bool is_whole(const struct tn_frame *f, u32 first, u32 nslots, u32 type)
{
    for (u32 n = 0; n < nslots; n++) {
        const struct tn_stack_slot *s;

        if (first < n || first - n >= f->nslots)
            return false;
        s = &f->slot[first - n];
        if (s->reg.obj != type || (n == 0) != (s->reg.ref != 0))
            return false;
        for (u32 b = 0; b < 8; b++)
            if (s->byte[b] != TN_BYTE_ITER)
                return false;
    }
    return true;
}

static int make(struct vf *v, u32 regno, const struct tn_iter_use *use, u32 first)
{
    struct tn_frame *f = v->cur.frame[vf_reg(v, regno)->frame];
    struct tn_reg obj = {.obj = use->type};
    u32 ref;
    int err = 0;

    for (u32 n = 0; n < use->nslots; n++) {
        for (u32 b = 0; first - n < f->nslots && b < 8; b++)
            if (f->slot[first - n].byte[b] == TN_BYTE_ITER)
                return vf_refuse(
                    v, v->pc, TN_REASON_bad_object,
                    "expected uninitialized %s as arg #%u: an iterator lies at fp-%u already; destroy it "
                    "first",
                    short_name(use), regno - 1, 8 * (first - n + 1));
    }
    for (u32 n = 0; n < use->nslots && !err; n++)
        err = tn_dynptr_overwritten(v, f, first - n);
    if (!err)
        err = tn_stack_fill(v, f, -8 * (s64)(first + 1), -8 * (s64)(first + 1 - use->nslots));
    if (!err)
        err = tn_ref_acquire(v, &ref);
    if (err)
        return err;
    if (use->rcu)
        obj.flags = tn_in_rcu(v) ? TN_PTR_RCU : TN_PTR_UNTRUSTED;
    for (u32 n = 0; n < use->nslots; n++) {
        struct tn_stack_slot *s = &f->slot[first - n];

        *s = (struct tn_stack_slot){.tag = {ITER_ACTIVE, n == 0}, .reg = obj};
        s->reg.ref = n ? 0 : ref;
        memset(s->byte, TN_BYTE_ITER, sizeof(s->byte));
    }
    return 0;
}

static void destroy(struct vf *v, struct tn_frame *f, u32 first, u32 nslots)
{
    tn_ref_release(&v->cur, f->slot[first].reg.ref);
    for (u32 n = 0; n < nslots; n++)
        f->slot[first - n] = (struct tn_stack_slot){0};
}

int tn_iter_arg(struct vf *v, u32 regno, struct tn_iter_use *use)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    struct tn_frame *f;
    u32 first;
    int err;

    if (reg->kind != TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "arg#%u expected pointer to an iterator on stack: R%u type=%s", regno - 1, regno,
                         TN_REG_NAME(reg));
    err = tn_object_slot(v, regno, "iter", use->nslots, &first);
    if (err)
        return err;
    use->frame = reg->frame;
    use->slot = first;
    if (use->op == TN_ITER_NEW)
        return make(v, regno, use, first);
    f = v->cur.frame[reg->frame];
    if (!is_whole(f, first, use->nslots, use->type))
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "expected an initialized %s as arg #%u: there is none at fp-%u", short_name(use),
                         regno - 1, 8 * (first + 1));
    if (f->slot[first].reg.flags & TN_PTR_UNTRUSTED)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_iterator,
            "expected an RCU CS when using %s: the section in which the iterator was made is over",
            use->func);
    use->ref = f->slot[first].reg.ref;
    use->in_rcu = f->slot[first].reg.flags & TN_PTR_RCU;
    if (use->op == TN_ITER_DESTROY)
        destroy(v, f, first, use->nslots);
    return 0;
}

/* Of all slots of the iterator. */
static void set_state(struct tn_state *s, const struct tn_iter_use *use, u8 state)
{
    for (u32 n = 0; n < use->nslots; n++)
        s->frame[use->frame]->slot[use->slot - n].tag[0] = state;
}

int tn_iter_next(struct vf *v, const struct tn_iter_use *use)
{
    struct tn_stack_slot *slot = &v->cur.frame[use->frame]->slot[use->slot];
    int err;

    if (slot->tag[0] == ITER_ACTIVE) {
        struct tn_state more;
        struct tn_reg *r0;

        err = tn_state_copy(&more, &v->cur);
        if (err)
            return err;
        r0 = &tn_state_top(&more)->reg[0];
        r0->flags &= (u16)~TN_PTR_MAYBE_NULL;
        r0->id = 0;
        more.frame[use->frame]->slot[use->slot].depth++;
        err = tn_explore_widen(v, &more, v->pc);
        if (err) {
            tn_state_clear(&more);
            return err;
        }
        err = tn_explore_fork(v, &more, v->pc + 1);
        if (err)
            return err;
    }
    set_state(&v->cur, use, ITER_DRAINED);
    vf_set_scalar(v, 0, tn_range_const(0));
    return 0;
}

bool tn_iter_active(const struct tn_state *s)
{
    const struct tn_reg *reg = &tn_state_top(s)->reg[1];
    const struct tn_frame *f;
    u32 k;

    if (reg->kind != TN_REG_STACK || !tn_range_is_const(&reg->r) || reg->r.smin >= 0 || reg->r.smin % 8 ||
        reg->r.smin < -TN_STACK_BYTES)
        return false;
    f = s->frame[reg->frame];
    k = (u32)(-reg->r.smin - 1) / 8;
    return k < f->nslots && f->slot[k].byte[0] == TN_BYTE_ITER && f->slot[k].tag[0] == ITER_ACTIVE;
}

void tn_iter_rcu_over(struct tn_state *s)
{
    for (u32 n = 0; n < s->nframes; n++) {
        for (u32 k = 0; k < s->frame[n]->nslots; k++) {
            struct tn_stack_slot *slot = &s->frame[n]->slot[k];

            if (slot->byte[0] != TN_BYTE_ITER || !(slot->reg.flags & TN_PTR_RCU))
                continue;
            slot->reg.flags = TN_PTR_UNTRUSTED;
        }
    }
}
