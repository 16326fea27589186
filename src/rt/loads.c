/* SPDX-License-Identifier: MIT */
/* Is there room for a signal's frame, and where does a load that has faulted go on; see loads.h. */
#include "rt/loads.h"

#include <asm/errno.h>
#include <stddef.h>

#include "rt/loads_at.h"
#include "rt/syscalls.h"

_Static_assert(offsetof(struct tn_run, proc) == AT_RUN_PROC &&
                   offsetof(struct tn_proc, tp_how) == AT_PROC_TP_HOW &&
                   offsetof(struct tn_proc, signals) == AT_PROC_SIGNALS &&
                   offsetof(struct tn_signals, loads) == AT_SIGNALS_LOADS &&
                   offsetof(struct tn_signals, room) == AT_SIGNALS_ROOM &&
                   TN_SIG_ROOMS == AT_ROOMS_MASK + 1 && (int)TN_TP_SELF == AT_TP_SELF &&
                   TN_LOADS_FROM == AT_FROM && TN_LOADS_TO - TN_LOADS_FROM == AT_SPAN,
               "loads.S");

/* The frame: 128 bytes that are not to be touched, struct siginfo and ucontext, the state of XSAVE; and what our handler needs. */
#define FRAME_MORE  (6u << 10)
#define STATE_LEAST 4096u /* where its size is not known */

struct tn_load_fixups {
    s32 insn, fix; /* each from its own place on; insn 0: the end */
};
extern const struct tn_load_fixups tn_load_list[] __attribute__((visibility("hidden")));

u64 tn_load_fixup(u64 ip)
{
    for (const struct tn_load_fixups *f = tn_load_list; f->insn; f++)
        if ((u64)&f->insn + (u64)(s64)f->insn == ip)
            return (u64)&f->fix + (u64)(s64)f->fix;
    return 0;
}

#define ON_STACK 1
#define DISABLED 2

/* An impossible `how` changes nothing, and tells whether the set is there. */
static bool is_there(const struct tn_proc *proc, u64 addr)
{
    return TN_CALL(proc, rt_sigprocmask, ~0ull, addr, 0, 8, 0, 0) == -EINVAL;
}

static void keep(struct tn_signals *s, u64 sp, u64 key)
{
    tn_store(&s->room[sp / TN_PAGE % TN_SIG_ROOMS], key);
}

bool tn_loads_ask(struct tn_signals *s, const struct tn_proc *proc, u64 sp, u64 key)
{
    struct tn_altstack alt = {0};
    u64 need = FRAME_MORE + TN_MAX(proc->xsave_size, STATE_LEAST), page = sp / TN_PAGE * TN_PAGE;

    if (TN_CALL(proc, sigaltstack, 0, &alt, 0, 0, 0, 0) < 0)
        return false;
    if (alt.flags &
        ON_STACK) { /* the frame is pushed there as well, and there may be no room on all of this page */
        if (page < alt.sp + need)
            return false;
    } else if (!(alt.flags & DISABLED) && alt.size < need) {
        return false;
    }
    for (u64 at = page; at + need + TN_PAGE > page; at -= TN_PAGE)
        if (!is_there(proc, at))
            return false;
    keep(s, sp, key);
    /* Whoever asks stands a little below whoever had only looked, and on this page there is even more room. */
    if (is_there(proc, page + TN_PAGE))
        keep(s, sp + TN_PAGE, key + TN_PAGE);
    return true;
}
