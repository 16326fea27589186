/* SPDX-License-Identifier: MIT */
/*
 * Locks, and sections in which a program must not sleep.
 *
 *      held               taken by               allowed meanwhile         ends with
 *      spin lock          bpf_spin_lock          no call but a few         the unlock of the same object
 *      RCU section        bpf_rcu_read_lock      nothing that sleeps       as many unlocks
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

/* `of`: what kind of object, in the upper half (the lower one would be compared as an id). Ids tell them
 * apart. */
#define OF_MAP(reg) (((u64)(reg)->obj << 2 | ((reg)->uid ? 2u : 0u) | 1u) << 32)
#define OF_OBJECT   0u

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

/* ------------------------------------------------------------------------------------------------- sections
 */

int tn_section_enter(struct vf *v, enum tn_section section, const char *func)
{
    u32 *depth = depth_of(&v->cur, section);

    if (*depth == UINT32_MAX)
        return vf_refuse(v, v->pc, TN_REASON_bad_section, "kernel function %s is nested too deep", func);
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
    if (!--*depth && section == TN_SECTION_RCU) {
        tn_state_each_reg(&v->cur, distrust, NULL);
        tn_iter_rcu_over(&v->cur);
    }
    return 0;
}

bool tn_in_rcu(const struct vf *v)
{
    return v->cur.rcu || v->cur.nlocks || !v->cur.sleepable;
}

/* -------------------------------------------------------------------------------------------- what may be
 * called */

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

/* ------------------------------------------------------------------------------------------------------- the
 * end */

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
