/* SPDX-License-Identifier: MIT */
/*
 * Reclamation: what links have left behind in a target is given out again once nobody can be in it.
 *
 *   hook   LIVE ── unlinked ──▶ RETIRED ── every thread looked at: no program counter and no return address
 *                                          in it ──▶ SPARE ── used again
 *
 * Out of the chain, nobody new can enter; and who was seen outside once stays outside. So the threads may be
 * looked at one by one, at leisure: sleepers through /proc, the awake ones held for a moment.
 *
 * Where a place's bytes still lead to it, people do enter, but are sent on before they come to the program: that may go,
 * while the hook stays until the bytes are the file's again.
 */
#include "inject/hands.h"
#include "rewrite/switch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define STACK_LOOK (256u * 1024u) /* a deeper stack than this proves nothing */

/* What is retired, and which of it was seen on some thread. A word of a stack may be left over from long ago:
   then only what it points at stays retired. */
struct retirement {
    struct tn_look look;
    const struct tn_state *st;
    bool hook[TN_STATE_HOOKS], prog[TN_SLOT_BITS];
    /* The retired trampolines, by address. */
    struct retired {
        u64 tramp;
        u32 cap, hook;
    } retired[TN_STATE_HOOKS];
    u32 nretired;
};

static int by_address(const void *x, const void *y)
{
    const struct retired *a = x, *b = y;

    return a->tramp < b->tramp ? -1 : a->tramp > b->tramp;
}

void tn_look_widen(struct tn_look *l, u64 addr, u64 len)
{
    l->lo = l->hi ? TN_MIN(l->lo, addr) : addr;
    l->hi = TN_MAX(l->hi, addr + len);
}

static void see_retired(struct tn_look *l, u64 value)
{
    struct retirement *r = (struct retirement *)l; /* first in there */
    const struct tn_state *st = r->st;
    u32 at;

    TN_PARTITION(at, r->nretired, r->retired[at].tramp <= value);
    if (at && value - r->retired[at - 1].tramp < r->retired[at - 1].cap)
        r->hook[r->retired[at - 1].hook] = true;
    for (u32 i = 0; i < st->nprogs; i++)
        r->prog[i] |= value - st->prog[i].text < st->prog[i].text_len;
}

static void look_at_word(struct tn_look *l, u64 value)
{
    if (value >= l->lo && value < l->hi)
        l->see(l, value);
}

#define STACKS_MAX 4u /* of one thread: a handler on an alternate stack, interrupted by another… */

/* Where the stack of ours ends that `sp` is on; 0: it is on none. */
static u64 end_of_own(const struct tn_state *st, u64 sp)
{
    const struct tn_region *r = tn_state_region(st, TN_REGION_STACKS, 0);

    return r && sp - r->addr < r->len ? r->addr + TN_ROUND_DOWN(sp - r->addr, TN_SWITCH_SIZE) + TN_SWITCH_SIZE
                                      : 0;
}

/* Where Go keeps goroutines' stacks, and those of its handlers: in one mapping with much else, at addresses that its
   runtime asks for and nobody else is given. (Where it has got others, nothing is given out again.) */
static bool is_go_heap(const struct tn_vma *v)
{
    return v->start >= 0xc0ull << 32 && v->end <= 0x100ull << 32 && !v->ino;
}

/* Notes what of ours is on this thread: on its stack, and on one that a handler has interrupted, where what
 * ran is still under way. False when it cannot be told. */
static bool look_at_stack(struct tn_hands *h, const struct tn_maps *maps, struct tn_look *l, u64 sp, u64 pc,
                          u64 deepest, u32 depth)
{
    const struct tn_vma *v = tn_maps_at(maps, sp);
    u64 len, own = end_of_own(h->st, sp);
    _free_ u64 *words = NULL;

    if (!v)
        return false;
    look_at_word(l, pc);
    look_at_word(l, sp);
    sp &= ~7ull;
    len = own ? own - sp : v->end - sp;
    if (len > STACK_LOOK && is_go_heap(v)) /* nothing of ours is on a goroutine's, and a handler's is small */
        len = STACK_LOOK;
    if (len > deepest)
        return false;
    words = malloc(len + 8);
    if (!words || tn_tracee_read(&h->t, sp, words, len) < 0)
        return false;
    for (u64 i = 0; i < len / 8; i++) {
        look_at_word(l, words[i]);
        if (i && i + 2 < len / 8 && tn_frame_interrupted(&words[i]) &&
            words[i - 1] - v->start >= v->end - v->start &&
            (depth == STACKS_MAX || !look_at_stack(h, maps, l, words[i - 1], words[i], deepest, depth + 1)))
            return false;
    }
    return true;
}

/* Looks at one thread; asleep throughout, or held. 1: seen, 0: cannot be told, −EAGAIN: it woke meanwhile. */
static int look_at_thread_once(struct tn_hands *h, const struct tn_maps *maps, struct tn_look *l, pid_t tid)
{
    struct tn_thread *th = tn_tracee_find(&h->t, tid);
    struct tn_doing_what what;
    bool out;

    if (!th || th->state == TN_TH_GONE)
        return true;
    _close_ int fd = th->state == TN_TH_FREE ? tn_thread_runs_open(th->pid, tid) : -1;
    u64 runs = tn_thread_runs(fd);

    if (runs) {
        tn_thread_doing(th->pid, tid, &what);
        if (what.doing == TN_DOING_GONE)
            return true;
        if (what.doing == TN_DOING_SLEEPS) {
            if (what.nr == SYS_vfork || what.nr == SYS_clone || what.nr == SYS_clone3)
                return false; /* a child may run in this memory */
            for (u32 i = 0; l->registers && i < TN_ARRAY_SIZE(what.arg); i++)
                look_at_word(l, what.arg[i]);
            out = look_at_stack(h, maps, l, what.sp, what.pc, TN_MAX(l->deepest, STACK_LOOK), 1);
            return tn_thread_runs(fd) == runs ? out : -EAGAIN;
        }
    }
    bool was_free = th->state == TN_TH_FREE;
    struct user_regs_struct regs;

    if (was_free) {
        tn_tracee_interrupt(&h->t, th);
        tn_tracee_settle(&h->t, tid, 50000000ull);
        th = tn_tracee_find(&h->t, tid);
    }
    if (!th || th->state != TN_TH_HELD || tn_ptrace(&h->t, PTRACE_GETREGS, tid, 0, &regs) < 0)
        return !th || th->state == TN_TH_GONE;
    for (u32 i = 0; l->registers && i < offsetof(struct user_regs_struct, orig_rax) / sizeof(u64); i++)
        look_at_word(l, ((const u64 *)&regs)[i]);
    out = look_at_stack(h, maps, l, regs.rsp, regs.rip, TN_MAX(l->deepest / 8, STACK_LOOK), 1);
    if (was_free) {
        tn_tracee_mend_result(&h->t, th);
        tn_tracee_resume(&h->t, th);
    }
    return out;
}

static bool look_at_thread(struct tn_hands *h, const struct tn_maps *maps, struct tn_look *l, pid_t tid)
{
    int r = -EAGAIN;

    for (int tries = 0; tries < 20 && r == -EAGAIN; tries++)
        r = look_at_thread_once(h, maps, l, tid);
    return r > 0;
}

bool tn_hands_look(struct tn_hands *h, struct tn_look *l)
{
    struct tn_maps maps _clean_(tn_maps_clear) = {};

    if (tn_tracee_seize_all(&h->t, NULL) < 0 || tn_tracee_seize_sharing(&h->t, NULL) < 0 ||
        tn_maps_read(h->t.pid, &maps) < 0)
        return false;
    /* Other processes that run in this memory are looked at as its threads are. */
    for (u32 i = 0; i < h->t.n; i++)
        if (!h->t.th[i].forked && !look_at_thread(h, &maps, l, h->t.th[i].tid))
            return false;
    return true;
}

/* The bytes of its site lead there (struct tn_fuse). */
static bool is_entered(const struct tn_state *st, const struct tn_hook_slot *slot)
{
    return tn_site_leads(&st->site[slot->site], slot->tramp, slot->tramp_cap);
}

void tn_hands_reclaim(struct tn_hands *h)
{
    struct tn_state *st = h->st;
    bool some = st->nlive + st->nspare < st->nhooks, any = some;

    for (u32 i = 0; i < st->nprogs; i++)
        any |= st->prog[i].state == TN_HOOK_RETIRED;

    _free_ struct retirement *r = any ? calloc(1, sizeof(*r)) : NULL;

    if (!r)
        return;
    r->look.see = see_retired;
    r->st = st;
    for (u32 i = 0; some && i < st->nhooks; i++) {
        const struct tn_hook_slot *slot = &st->hook[i];

        if (slot->state != TN_HOOK_RETIRED)
            continue;
        tn_look_widen(&r->look, slot->tramp, slot->tramp_cap);
        r->retired[r->nretired++] = (struct retired){slot->tramp, slot->tramp_cap, i};
    }
    qsort(r->retired, r->nretired, sizeof(*r->retired), by_address);
    for (u32 i = 0; i < st->nprogs; i++)
        if (st->prog[i].state == TN_HOOK_RETIRED)
            tn_look_widen(&r->look, st->prog[i].text, st->prog[i].text_len);
    if (!r->look.hi || !tn_hands_look(h, &r->look))
        return;
    for (u32 i = 0; i < st->nhooks; i++)
        if (st->hook[i].state == TN_HOOK_RETIRED && !r->hook[i] && !is_entered(st, &st->hook[i])) {
            st->hook[i].state = TN_HOOK_SPARE;
            st->nspare++;
        }
    /* Whoever is in a trampoline may be about to enter the program, or to read what is kept for it. */
    for (u32 i = 0; i < st->nhooks; i++)
        if (st->hook[i].state == TN_HOOK_RETIRED && r->hook[i])
            r->prog[st->hook[i].prog] = true;
    for (u32 i = 0; i < st->nprogs; i++)
        if (st->prog[i].state == TN_HOOK_RETIRED && !r->prog[i])
            st->prog[i].state = TN_HOOK_SPARE;
}
