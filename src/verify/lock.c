/* SPDX-License-Identifier: MIT */
/*
 * Locks, and sections in which a program must not sleep.
 *
 *      held               taken by               allowed meanwhile         ends with
 *      spin lock          bpf_spin_lock          no call but a few         the unlock of the same object
 *      RCU section        bpf_rcu_read_lock      nothing that sleeps       the unlock; not nested
 *      no preemption      bpf_preempt_disable    nothing that sleeps       as many enables
 *
 *      interrupts off     bpf_local_irq_save     nothing that sleeps       restore of the flag saved last
 *
 * All end before the program does: nobody else would end them. What may be used because of a section (a
 * pointer good under RCU) is not trusted any more after it.
 *
 * A lock is known by the object it lies in: a map's value by map and id (each look-up gives a new id, the
 * value of global data has 0), an allocated object by its id. So two look-ups of one key are two locks here:
 * careful, not exact. One spin lock is held at a time. Resilient locks (bpf_res_spin_lock) may be nested, are
 * released in turn, and taking one may fail. What was borrowed from a list or tree is not usable once its
 * lock is released.
 *
 * A saved flag lies on the stack, one slot: IRQ_FLAG, tag[0] = who saved it (tag 1: a lock's own function),
 * reg.ref.
 */
#include "verify/internal.h"

/* `of`: what kind of object, in the upper half (the lower one would be compared as an id).
   Ids tell them apart. */
#define OF_MAP(reg) (((u64)(reg)->obj << 2 | ((reg)->uid ? 2u : 0u) | 1u) << 32)
#define OF_OBJECT   0u

#define MAX_ERRNO 4095

/* What is held, and what Linux says where it may not be. */
struct held {
    const char *region, *missing; /* at the end of the program: in its general words, in its old ones */
    const char *sleeps;
};
static const struct held held_lock = {"bpf_spin_lock-ed", "bpf_spin_unlock is missing", NULL};
static const struct held held_irq = {"bpf_local_irq_save-ed", "bpf_local_irq_restore is missing",
                                     "IRQ-disabled"};
static const struct held held_section[] = {
    [TN_SECTION_RCU] = {"bpf_rcu_read_lock-ed", "bpf_rcu_read_unlock is missing", "rcu_read_lock"},
    [TN_SECTION_PREEMPT] = {"bpf_preempt_disable-ed", "bpf_preempt_enable is missing", "non-preemptible"},
};

static u32 *depth_of(struct tn_state *s, enum tn_section section)
{
    return section == TN_SECTION_RCU ? &s->rcu : &s->preempt;
}

/* ----------------------------------------------------------------------------------------------- sections */

int tn_section_enter(struct vf *v, enum tn_section section, const char *func)
{
    u32 *depth = depth_of(&v->cur, section);

    if (*depth && section == TN_SECTION_RCU)
        return vf_refuse(v, v->pc, TN_REASON_bad_section,
                         "nested rcu read lock (kernel function %s): the section is entered already", func);
    ++*depth;
    return 0;
}

/* The section's pointers: not null-checked any more, nor safe to load from without help. */
static void distrust(struct tn_reg *reg, void *arg)
{
    if (reg->kind == TN_REG_SCALAR || !(reg->flags & TN_PTR_RCU))
        return;
    reg->flags &= (u16) ~(TN_PTR_RCU | TN_PTR_MAYBE_NULL);
    reg->flags |= TN_PTR_UNTRUSTED;
    reg->id = 0;
}

int tn_section_leave(struct vf *v, enum tn_section section, const char *func)
{
    u32 *depth = depth_of(&v->cur, section);

    if (!*depth)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_section, "unmatched %s (kernel function %s): nothing entered it",
            section == TN_SECTION_RCU ? "rcu read unlock" : "attempt to enable preemption", func);
    --*depth;
    if (section == TN_SECTION_RCU) {
        tn_state_each_reg(&v->cur, distrust, NULL);
        tn_iter_rcu_over(&v->cur);
    }
    return 0;
}

bool tn_in_rcu(const struct vf *v)
{
    return v->cur.rcu || v->cur.nlocks || !v->cur.sleepable;
}

/* --------------------------------------------------------------------------------------------- spin locks */

static bool is_resilient(u8 kind)
{
    return kind == TN_REF_RES_LOCK || kind == TN_REF_RES_LOCK_IRQ;
}

/* The lock taken last. */
static const struct tn_ref *newest_lock(const struct tn_state *s)
{
    for (u32 k = s->nrefs; k-- > 0;)
        if (s->ref[k].kind == TN_REF_LOCK || is_resilient(s->ref[k].kind))
            return &s->ref[k];
    return NULL;
}

static bool holds(const struct tn_state *s, bool resilient, u32 id, u64 of)
{
    for (u32 k = 0; k < s->nrefs; k++) {
        const struct tn_ref *ref = &s->ref[k];

        if (!resilient && ref->kind == TN_REF_LOCK)
            return true;
        if (resilient && is_resilient(ref->kind) && ref->id == id && ref->of == of)
            return true;
    }
    return false;
}

static int lock_arg(struct vf *v, u32 regno, enum tn_ref_kind kind, u64 *ret_of)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    bool resilient = is_resilient(kind);
    int err;

    if (reg->kind != TN_REG_MAP_VALUE && (reg->kind != TN_REG_BTF || !(reg->flags & TN_PTR_ALLOC)))
        return vf_refuse(
            v, v->pc, TN_REASON_arg_type,
            "arg#%u doesn't point to map value or allocated object: R%u type=%s expected=map_value, "
            "ptr_alloc_",
            regno - 1, regno, TN_REG_NAME(reg));
    if (tn_reg_maybe_null(reg))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "R%u type=%s expected=map_value: test it against NULL first", regno,
                         TN_REG_NAME(reg));
    err = tn_field_arg(v, regno, resilient ? TN_FIELD_RES_SPIN_LOCK : TN_FIELD_SPIN_LOCK,
                       resilient ? "bpf_res_spin_lock" : "bpf_spin_lock");
    *ret_of = reg->kind == TN_REG_MAP_VALUE ? OF_MAP(reg) : OF_OBJECT;
    return err;
}

int tn_lock_take(struct vf *v, u32 regno, enum tn_ref_kind kind)
{
    struct tn_ref ref = {.kind = (u8)kind, .id = vf_reg(v, regno)->id};
    int err = lock_arg(v, regno, kind, &ref.of);

    if (err)
        return err;
    if (holds(&v->cur, is_resilient(kind), ref.id, ref.of))
        return vf_refuse(v, v->pc, TN_REASON_bad_lock, "%s: unlock what is held first",
                         is_resilient(kind) ? "Acquiring the same lock again, AA deadlock detected"
                                            : "Locking two bpf_spin_locks are not allowed");
    return tn_ref_push(v, ref);
}

int tn_lock_may_fail(struct vf *v)
{
    struct tn_state failed;
    int err = tn_state_copy(&failed, &v->cur);

    if (err)
        return err;
    for (u32 r = 0; r <= 5; r++)
        tn_state_top(&failed)->reg[r] = (struct tn_reg){0};
    tn_state_top(&failed)->reg[0] = tn_reg_scalar(tn_range_signed(-MAX_ERRNO, -1));
    return tn_explore_fork(v, &failed, v->pc + 1);
}

static void forget_borrowed(struct tn_reg *reg, void *arg)
{
    if (tn_reg_is_pointer(reg) && (reg->flags & TN_PTR_NON_OWNING))
        *reg = tn_reg_scalar(tn_range_any());
}

int tn_lock_release(struct vf *v, u32 regno, enum tn_ref_kind kind)
{
    const char *func = is_resilient(kind) ? "bpf_res_spin_unlock" : "bpf_spin_unlock";
    const struct tn_ref *newest = newest_lock(&v->cur), *ref = NULL;
    u32 id = vf_reg(v, regno)->id;
    u64 of;
    int err = lock_arg(v, regno, kind, &of);

    if (err)
        return err;
    if (!newest)
        return vf_refuse(v, v->pc, TN_REASON_bad_lock, "%s without taking a lock", func);
    for (u32 k = 0; !ref && k < v->cur.nrefs; k++)
        if (v->cur.ref[k].kind == kind && v->cur.ref[k].id == id && v->cur.ref[k].of == of)
            ref = &v->cur.ref[k];
    if (!ref)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_lock,
            "%s of different lock: the one held was taken by instruction %u, through another pointer or "
            "by another function",
            func, newest->insn);
    if (newest->id != id || newest->of != of)
        return vf_refuse(v, v->pc, TN_REASON_bad_lock,
                         "%s cannot be out of order: the one that instruction %u took comes first", func,
                         newest->insn);
    tn_ref_drop_at(&v->cur, (u32)(ref - v->cur.ref));
    tn_state_each_reg(&v->cur, forget_borrowed, NULL);
    return 0;
}

bool tn_lock_is_held(const struct vf *v, const struct tn_reg *reg)
{
    u64 of = reg->kind == TN_REG_MAP_VALUE ? OF_MAP(reg) : OF_OBJECT;

    for (u32 k = 0; k < v->cur.nrefs; k++) {
        const struct tn_ref *ref = &v->cur.ref[k];

        if ((ref->kind == TN_REF_LOCK || is_resilient(ref->kind)) && ref->id == reg->id && ref->of == of)
            return true;
    }
    return false;
}

/* -------------------------------------------------------------------------------------------- saved flags */

static int flag_slot(struct vf *v, u32 regno, u32 *ret_slot)
{
    if (vf_reg(v, regno)->kind != TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_arg_type,
                         "arg#%u doesn't point to an irq flag on stack: R%u type=%s", regno - 1, regno,
                         TN_REG_NAME(vf_reg(v, regno)));
    return tn_object_slot(v, regno, "irq_flag", 1, ret_slot);
}

static bool has_flag(const struct tn_frame *f, u32 k, u32 *ret_bytes)
{
    *ret_bytes = 0;
    for (u32 b = 0; k < f->nslots && b < 8; b++)
        *ret_bytes += f->slot[k].byte[b] == TN_BYTE_IRQ_FLAG;
    return *ret_bytes == 8;
}

int tn_irq_save(struct vf *v, u32 regno, bool by_lock)
{
    struct tn_ref ref = {.kind = TN_REF_IRQ, .id = v->next_id + 1};
    struct tn_frame *f;
    u32 k, bytes;
    int err = flag_slot(v, regno, &k);

    if (err)
        return err;
    f = v->cur.frame[vf_reg(v, regno)->frame];
    has_flag(f, k, &bytes);
    if (bytes)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "expected uninitialized irq flag as arg#%u: one is saved at fp-%u already",
                         regno - 1, 8 * (k + 1));
    err = tn_dynptr_overwritten(v, f, k);
    if (!err)
        err = tn_stack_fill(v, f, -8 * (s64)(k + 1), -8 * (s64)k);
    if (!err)
        err = tn_ref_push(v, ref);
    if (err)
        return err;
    v->cur.irq_id = ++v->next_id;
    f->slot[k] = (struct tn_stack_slot){.tag = {by_lock}, .reg = {.ref = ref.id}};
    memset(f->slot[k].byte, TN_BYTE_IRQ_FLAG, sizeof(f->slot[k].byte));
    return 0;
}

int tn_irq_restore(struct vf *v, u32 regno, bool by_lock)
{
    static const char *const who[] = {"native", "lock"};
    const struct tn_ref *next;
    struct tn_frame *f;
    u32 k, bytes, ref;
    int err = flag_slot(v, regno, &k);

    if (err)
        return err;
    f = v->cur.frame[vf_reg(v, regno)->frame];
    if (!has_flag(f, k, &bytes) || !f->slot[k].reg.ref)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "expected an initialized irq flag as arg#%u: none is saved at fp-%u", regno - 1,
                         8 * (k + 1));
    if (f->slot[k].tag[0] != by_lock)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "irq flag acquired by %s kfuncs cannot be restored with %s kfuncs",
                         who[f->slot[k].tag[0] != 0], who[by_lock]);
    ref = f->slot[k].reg.ref;
    next = tn_ref_find(&v->cur, TN_REF_IRQ, v->cur.irq_id);
    if (ref != v->cur.irq_id)
        return vf_refuse(v, v->pc, TN_REASON_bad_object,
                         "cannot restore irq state out of order, expected id=%u acquired at insn_idx=%u",
                         v->cur.irq_id, next ? next->insn : 0);
    tn_ref_drop(&v->cur, TN_REF_IRQ, ref);
    v->cur.irq_id = 0;
    for (u32 n = 0; n < v->cur.nrefs; n++)
        if (v->cur.ref[n].kind == TN_REF_IRQ)
            v->cur.irq_id = v->cur.ref[n].id;
    f->slot[k] = (struct tn_stack_slot){0};
    return 0;
}

/* ------------------------------------------------------------------------------------- what may be called */

static int refuse_sleep(struct vf *v, const struct held *h, const char *func)
{
    return vf_refuse(v, v->pc, TN_REASON_sleeps, "%s is sleepable within %s region: call it before or after",
                     func, h->sleeps);
}

int tn_may_sleep(struct vf *v, const char *func)
{
    if (!v->cur.sleepable)
        return vf_refuse(v, v->pc, TN_REASON_sleeps,
                         "%s might sleep in a non-sleepable prog: program must be sleepable to call it",
                         func);
    for (u32 k = 0; k < TN_ARRAY_SIZE(held_section); k++)
        if (*depth_of(&v->cur, (enum tn_section)k))
            return refuse_sleep(v, &held_section[k], func);
    return v->cur.irq_id ? refuse_sleep(v, &held_irq, func) : 0;
}

int tn_call_in_lock(struct vf *v, bool allowed)
{
    if (!v->cur.nlocks || allowed)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_call_in_lock,
                     "function calls are not allowed while holding a lock: unlock before this call");
}

/* ------------------------------------------------------------------------------------------------ the end */

static int refuse_held(struct vf *v, const struct held *h, const char *what)
{
    return vf_refuse(v, v->pc, TN_REASON_held_at_end, "%s: %s cannot be used inside %s region", h->missing,
                     what, h->region);
}

int tn_held_none(struct vf *v, const char *what)
{
    int err;

    if (v->cur.nlocks)
        return refuse_held(v, &held_lock, what);
    err = tn_refs_none(v, what);
    if (err)
        return err;
    if (v->cur.irq_id)
        return refuse_held(v, &held_irq, what);
    for (u32 k = 0; k < TN_ARRAY_SIZE(held_section); k++)
        if (*depth_of(&v->cur, (enum tn_section)k))
            return refuse_held(v, &held_section[k], what);
    return 0;
}
