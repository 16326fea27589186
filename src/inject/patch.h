/* SPDX-License-Identifier: MIT */
/*
 * Changing instructions under running threads.
 *
 *   bytes      00 01 02 03 04        old instructions
 *   1          CC 01 02 03 04        whoever comes now stops before us (all threads are seized)
 *   2          look at every thread: asleep, or held with its program counter outside; inside: moved to the
 *              copy
 *   3          CC n1 n2 n3 n4        nobody can be here: the way in is shut
 *   4          n0 n1 n2 n3 n4
 *   5          who stopped at CC goes back to it and on; who has run into CC but not stopped yet is found
 *              (drain)
 *
 * Where more than one instruction may be jumped to (a punned patch), each is shut in this way, and opened last to first.
 *
 * A tracer killed between 1 and 4 leaves the CC to nobody: a thread that runs into it before the guardian has
 * put the bytes back (about a millisecond) dies of SIGTRAP. The same holds for the breakpoints at which a
 * waking thread is waited for (remote.c).
 *
 * Sleepers are looked at through /proc and never interrupted: a thread seen asleep *after* step 1 can come to
 * the place only through the CC. Where there are many, they are looked at before step 1, and after it only asked whether they have
 * run since, which takes a tenth of the time. Awake ones are held from the end of step 2, when all sleepers have been looked at,
 * to 4; whoever runs into a CC meanwhile, from then on. Fork children born in between are born stopped, and get their copy of the
 * bytes completed.
 */
#ifndef TN_INJECT_PATCH_H
#define TN_INJECT_PATCH_H

#include "inject/tracee.h"
#include "rewrite/plan.h"

struct tn_change {
    u64 addr;
    u8 len;
    u8 depends; /* bytes behind, also in `from`, that must be as they are and stay so */
    /* Further instructions of the place that are jumped to on their own: a breakpoint stands there too meanwhile. */
    u8 nmore, more[TN_PUN_INSNS - 1];
    u8 from[TN_PATCH_MAX], to[TN_PATCH_MAX];
    /* Where a program counter inside [addr + 1, addr + len) goes; ninsns 0: it cannot be there. */
    u8 ninsns, insn_off[16];
    u64 insn_at[16];
};

/* All changes, or none: on failure the bytes are as before. Threads must have been seized
   (tn_tracee_seize_all). −EEXIST "foreign_bytes" when memory differs from `from`. `stuck_ms`: how long to
   wait for a thread that sleeps inside a place before it is refused ("thread_in_place"). */
int tn_change(struct tn_tracee *t, const struct tn_change *changes, u32 n, u32 stuck_ms,
              struct tn_error *err);

/* Whose bytes `now` may be, which are not the file's, in words for a refusal. */
const char *tn_whose_bytes(const u8 *now, const u8 *file, u32 len);

#endif
