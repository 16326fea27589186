/* SPDX-License-Identifier: MIT */
/*
 * Loads of the host's memory that may fault.
 *
 *   tn_load_copy, tn_load_str ── a load at a listed address (loads.S) ──▶ what is there
 *                                      │ SIGSEGV or SIGBUS, which are ours (rt/signals.h)
 *                                      ▼
 *                                the fix-up beside it ──▶ −EFAULT
 *
 * Only where tn_signals.loads says that both signals are ours, and where the kernel has room for a signal's frame: it is pushed on
 * the thread's own stack, or on its alternate one. Whether there is room is asked once a page of a thread's stack, and kept
 * (tn_signals.room). All else is read in the slower way, as exactly.
 *
 * Nothing can be read so that process_vm_readv would not read: a load is made on the process's own rights, and of its own half of
 * the address space only.
 */
#ifndef TN_RT_LOADS_H
#define TN_RT_LOADS_H

#include "rt/barrier.h"
#include "rt/self.h"
#include "rt/signals.h"

/* Below lies what is hardly ever mapped, and a fault costs more than a question; above, what is not the process's. */
#define TN_LOADS_FROM (16ull * TN_PAGE)
#define TN_LOADS_TO   ((1ull << 47) - TN_PAGE)

/* 0, or −EFAULT where not all of it is there: `dst` is zero then. Of 1, 2, 4 or 8 bytes: by one load. */
s64 tn_load_copy(void *dst, u64 from, u64 size);
/* A string: the bytes up to its end, and the NUL; `size` (not 0) of them at most, the last one being NUL in any case. How many, or
   −EFAULT where none ends in what is there: `dst` is zero then. */
s64 tn_load_str(void *dst, u64 from, u64 size);

/* By compiled programs, with a convention of its own (loads.S): tn_agent_read tries it first. */
void tn_load_word(void);

/* Where an instruction that has faulted goes on; 0: it is none of those. */
u64 tn_load_fixup(u64 ip);

/* May this thread run into a fault here? Asks and remembers. */
bool tn_loads_ask(struct tn_signals *s, const struct tn_proc *proc, u64 sp, u64 key);

/* May this be read by loads, as far as is known? `ask`: what is not known is asked; otherwise there is no call in it, and whoever
   calls has a slower way that does ask. */
static inline __attribute__((always_inline)) bool tn_loads(const struct tn_run *run, u64 from, u64 size,
                                                           bool ask)
{
    const struct tn_proc *proc = run->proc;
    struct tn_signals *s = proc ? (struct tn_signals *)proc->signals : NULL;
    u64 sp, key;

    if (!s || !tn_load(&s->loads) || from - TN_LOADS_FROM >= TN_LOADS_TO - TN_LOADS_FROM ||
        size > TN_LOADS_TO - from || (!ask && proc->tp_how != TN_TP_SELF))
        return false;
    __asm__("mov %%rsp, %0" : "=r"(sp));
    key = TN_SIG_ROOM(sp, tn_thread_pointer(proc));
    return TN_LIKELY(tn_load(&s->room[sp / TN_PAGE % TN_SIG_ROOMS]) == key) ||
           (ask && tn_loads_ask(s, proc, sp, key));
}

#endif
