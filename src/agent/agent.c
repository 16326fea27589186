/* SPDX-License-Identifier: MIT */
/*
 * May a run start? The questions a trampoline's inlined fast way leaves open, in their order:
 *
 *   whose process is this?   a fork child has a wiped private page (armed is 0; once a link that follows has been
 *                            here, 2: from then on its trampolines do not ask); while a vfork child may be
 *                            in flight, pids are compared. The link's own process, or any if the link
 *                            follows: go on. Otherwise the run was never meant to happen: skipped and not
 *                            counted.
 *   which slot?              the thread's, found or claimed by its thread pointer, or its id where it has none; else
 *                            one of the overflow ones
 *   running already?         counted as recursion, unless the run that set the bit was abandoned (layout.h,
 *                            tn_slot.sp)
 *   which CPU?               the present one's claim, or any that is free; waiting is bounded; a claim of
 *                            this thread's own (we are in a signal handler) is never waited for
 *
 * It never waits for ever, never exits, never touches errno, and leaves nothing behind when it says no.
 */
#include "agent/agent.h"

#include <asm/errno.h>
#include <stddef.h>
#include <tenon/extension.h>

#include "agent/routines.h"
#include "rt/mem.h"
#include "rt/probe.h"
#include "rt/self.h"
#include "rt/signals.h"

_Static_assert(offsetof(struct tn_run, proc) == RUN_PROC && offsetof(struct tn_run, cpu) == RUN_CPU,
               "routines.S");
_Static_assert(offsetof(struct tn_proc, xsave_size) == PROC_XSAVE_SIZE &&
                   offsetof(struct tn_proc, xsave_how) == PROC_XSAVE_HOW &&
                   offsetof(struct tn_proc, xsave_mask) == PROC_XSAVE_LOW,
               "routines.S");

#define CPU_ROUNDS 64u /* looks at all CPUs; the thread gives way after each, from the second quarter on */

static void count(u64 *counter)
{
    tn_fetch_add(counter, 1);
}

static u64 skip(const struct tn_run *run, bool recursion)
{
    struct tn_link_stats *stats = (struct tn_link_stats *)run->hook->stats;

    if (stats) {
        count(&stats->missed);
        if (recursion)
            count(&stats->recursion);
    }
    return 0;
}

static bool meant_here(const struct tn_proc *proc, u64 flags)
{
    u32 pid;

    if (flags & TN_ENTER_FOLLOW) {
        if (!tn_load(&proc->priv->armed))
            tn_cas64(&proc->priv->armed, 0, TN_ARMED_FORKED);
        return true;
    }
    switch (tn_self_kind(proc)) {
    case TN_SELF_PROCESS:
        return true;
    case TN_SELF_VFORK: /* the parent's other threads go on meanwhile, and so does the parent after an exec */
        pid = tn_self_pid(proc);
        return !pid || pid == proc->pid; /* 0: the kernel may not be asked; nearly all are the process's */
    default:
        return false;
    }
}

/* Claims `slot` for this thread unless it is another's. */
static bool own_slot(struct tn_slot *slot, u64 tp)
{
    u64 owner = tn_load(&slot->owner);

    return owner == tp || (!owner && tn_cas64(&slot->owner, 0, tp));
}

static struct tn_slot *find_slot(struct tn_private *priv, u64 tp)
{
    u32 first = TN_SLOT_HASH(tp);

    if (!tp) /* a thread that nothing we may ask tells from another, and for which any free slot would be its own */
        return NULL;
    for (u32 i = 0; i < TN_SLOT_PROBES; i++) {
        struct tn_slot *slot = &priv->slot[(first + i) % TN_SLOT_COUNT];

        if (own_slot(slot, tp))
            return slot;
    }
    /* A nested run must find the outer one's slot before it takes a free one. */
    for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
        if (tn_load(&priv->overflow[i].owner) == tp)
            return &priv->overflow[i];
    for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
        if (own_slot(&priv->overflow[i], tp))
            return &priv->overflow[i];
    return NULL;
}

static bool is_overflow(const struct tn_private *priv, const struct tn_slot *slot)
{
    return slot >= priv->overflow && slot < priv->overflow + TN_SLOT_OVERFLOW;
}

/*
 * What this slot says is running: does it belong to nobody? Without an outermost run, nothing runs and what
 * is set is a leftover. An outermost run whose frame lies below the end of ours on the same stack was left by
 * a jump. Stacks are told apart by asking for the alternate one; where a handler has changed stacks by other
 * means the comparison can err towards "abandoned", and one run is nested in another. Asked at most once a
 * nested run, which only signal handlers have.
 */
static bool abandoned(const struct tn_run *run)
{
    struct tn_altstack alt = {0};
    u64 outer = tn_load(&run->slot->sp), here = (u64)(run + 1);
    bool here_alt, outer_alt;

    if (!outer)
        return true;
    if (TN_CALL(run->proc, sigaltstack, 0, &alt, 0, 0, 0, 0) < 0)
        return false;
    here_alt = here - alt.sp < alt.size;
    outer_alt = outer - alt.sp < alt.size;
    if (here_alt != outer_alt)
        return outer_alt; /* a handler on the alternate stack was interrupted by nobody
                             who runs on the main one */
    return outer <= here;
}

static void clear_slot(struct tn_slot *slot)
{
    for (u32 i = 0; i < TN_SLOT_BITS / 64; i++)
        tn_store(&slot->running[i], 0);
    tn_store(&slot->sp, 0);
}

enum claim { CLAIM_OK, CLAIM_OWN, CLAIM_BUSY };

static enum claim claim_cpu(struct tn_run *run)
{
    const struct tn_proc *proc = run->proc;
    bool may_yield = tn_syscall_allowed(proc, TN_SYS_sched_yield);
    u64 owner = tn_self_owner(proc);

    for (u32 round = 0; round < CPU_ROUNDS; round++) {
        u32 cpu = tn_self_cpu(proc);

        for (u32 i = 0; i < proc->ncpu; i++, cpu = cpu + 1 >= proc->ncpu ? 0 : cpu + 1) {
            u64 *word = &proc->claims[cpu].owner, seen = tn_load(word);

            if (seen == owner) {
                if (!tn_self_alone(run))
                    return CLAIM_OWN;
                run->cpu = (s32)cpu; /* left by an abandoned run: ours already */
                return CLAIM_OK;
            }
            if (!seen && tn_cas64(word, 0, owner)) {
                run->cpu = (s32)cpu;
                return CLAIM_OK;
            }
        }
        if (round < CPU_ROUNDS / 4 || !may_yield)
            tn_pause();
        else
            TN_CALL(proc, sched_yield, 0, 0, 0, 0, 0, 0);
    }
    return CLAIM_BUSY;
}

static void release_slot(struct tn_run *run)
{
    struct tn_private *priv = run->proc->priv;
    struct tn_slot *slot = run->slot;
    u32 bit = run->hook->prog_bit;
    u64 left = 0;

    tn_this_thread_clear_bit(&slot->running[bit / 64], bit % 64);
    if (tn_load(&slot->sp) == (u64)run)
        tn_store(&slot->sp, 0);
    if (!is_overflow(priv, slot))
        return;
    for (u32 i = 0; i < TN_SLOT_BITS / 64; i++)
        left |= tn_load(&slot->running[i]);
    if (!left)
        tn_store_release(&slot->owner, 0);
}

u64 tn_agent_enter(struct tn_run *run, u64 flags)
{
    const struct tn_proc *proc = run->proc;
    u32 bit = run->hook->prog_bit;
    struct tn_slot *slot;

    run->cpu = -1;
    run->nrings = 0;
    if (!meant_here(proc, flags))
        return 0;
    if (bit >= TN_SLOT_BITS)
        return skip(run, false);

    run->slot = slot = find_slot(proc->priv, tn_self_thread(proc));
    if (!slot)
        return skip(run, false);
    if ((flags & TN_ENTER_SP) && (flags & TN_ENTER_OWN ? !tn_load(&slot->sp) : abandoned(run)))
        clear_slot(slot);
    if (tn_this_thread_set_bit(&slot->running[bit / 64], bit % 64))
        return skip(run, true);
    if (!tn_load(&slot->sp))
        tn_store(&slot->sp, (u64)run);

    if (flags & TN_ENTER_PERCPU) {
        enum claim claim = claim_cpu(run);

        if (claim != CLAIM_OK) {
            release_slot(run);
            return skip(run, claim == CLAIM_OWN);
        }
    }
    return 1;
}

void tn_agent_leave(struct tn_run *run)
{
    const struct tn_proc *proc = run->proc;

    if (run->cpu >= 0 && (u32)run->cpu < proc->ncpu)
        tn_store_release(&proc->claims[run->cpu].owner, 0);
    run->cpu = -1;
    release_slot(run);
}

/* ------------------------------------------------------------------------------------- for routines.S */

void tn_agent_unclaim(struct tn_run *run)
{
    const struct tn_proc *proc = run->proc;

    if ((u32)run->cpu < proc->ncpu)
        tn_store_release(&proc->claims[run->cpu].owner, 0);
    run->cpu = -2;
}

void tn_agent_claim(struct tn_run *run)
{
    run->cpu = -1;
    (void)claim_cpu(run);
}

/* Misaligned ones too. A range that cannot vanish needs no question. */
u64 tn_agent_read_c(u64 addr, u64 size, const struct tn_run *run)
{
    const struct tn_proc *proc = run->proc;
    u64 value = 0;

    if (addr >= proc->image_start && addr < proc->image_end && size <= proc->image_end - addr) {
        __builtin_memcpy(&value, (const void *)addr, size);
        return value;
    }
    return tn_probe_read(&value, size, addr, run) < 0 ? 0 : value;
}

/* ------------------------------------------------------------------------------------- tenon_copy */

static inline __attribute__((always_inline)) bool take(void *dst, u64 size, u64 from, bool there,
                                                       const struct tn_run *run)
{
    if (!there)
        return tn_probe_read(dst, size, from, run) >= 0;
    memcpy(dst, (const void *)from, size);
    return true;
}

static inline __attribute__((always_inline)) bool give(u64 to, const void *src, u64 size, bool there,
                                                       const struct tn_run *run)
{
    if (!there || tn_probe_own_frames(to, size, run))
        return tn_probe_write(to, src, size, run) >= 0;
    memcpy((void *)to, src, size);
    return true;
}

/* In one load: half of an old number and half of a new one would be one that the host never wrote. */
static inline __attribute__((always_inline)) bool look(u64 *ret, u64 size, u64 at, bool there,
                                                       const struct tn_run *run)
{
    if (!there) {
        *ret = 0;
        return tn_probe_read(ret, size, at, run) >= 0;
    }
    switch (size) {
    case 1:
        *ret = *(const volatile u8 *)at;
        break;
    case 2:
        *ret = *(const volatile u16 *)at;
        break;
    case 4:
        *ret = *(const volatile u32 *)at;
        break;
    default:
        *ret = *(const volatile u64 *)at;
    }
    return true;
}

/* Where pointer and length lie was proved; what they say is the host's, and each is read once. */
static inline __attribute__((always_inline)) u64 copy(u64 own, u64 size, u64 object, u64 pointer, u64 word,
                                                      bool there, bool bytes_there, const struct tn_run *run)
{
    u64 bytes = word >> TENON_LENGTH_SIZE & 15, first = pointer >> TENON_FIRST;
    u64 element = word >> TENON_ELEMENT, at = object + (u32)pointer, n = UINT64_MAX;

    size = (u32)size;
    element += !element;
    if (!(word >> TENON_INSIDE & 1) && !look(&at, sizeof(at), at, there, run))
        return (u64)-EFAULT;
    if (bytes && !look(&n, bytes, object + (u32)word, there, run))
        return (u64)-EFAULT;
    if (bytes && word >> TENON_LENGTH_SIGNED & 1 && n >> (bytes * 8 - 1))
        return (u64)-EOVERFLOW;
    n = n < first ? 0 : TN_MIN(n - first, size / element) * element; /* no more than `size` */
    if (__builtin_add_overflow(at, first * element, &at))
        return (u64)-EFAULT;
    if (word >> TENON_WRITES & 1)
        return give(at, (const void *)own, n, bytes_there, run) ? n : (u64)-EFAULT;
    if (take((void *)own, n, at, bytes_there, run))
        return n;
    memset((void *)own, 0, size);
    return (u64)-EFAULT;
}

u64 tn_agent_copy(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run)
{
    return copy(own, size, object, pointer, length, true, false, run);
}

u64 tn_agent_copy_careful(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run)
{
    return copy(own, size, object, pointer, length, false, false, run);
}

static u64 __attribute__((noinline))
copy_promised(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run)
{
    return copy(own, size, object, pointer, length, true, true, run);
}

u64 tn_agent_copy_promised(u64 own, u64 size, u64 object, u64 pointer, u64 length, const struct tn_run *run)
{
    u64 n;

    /* Most are bytes from the first on, as many as a word without a sign says. */
    if (length >> TENON_LENGTH_SIZE != sizeof(u64) || pointer >> TENON_FIRST)
        return copy_promised(own, size, object, pointer, length, run);
    n = *(const volatile u64 *)(object + (u32)length);
    n = TN_MIN(n, (u32)size);
    memcpy((void *)own, *(const void *const volatile *)(object + pointer), n);
    return n;
}
