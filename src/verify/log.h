/* SPDX-License-Identifier: MIT */
/*
 * The verifier's log, in the lines that tools know from Linux, and the writing of refusals.
 *
 *   level 1   the path that was refused: each instruction, and what it changed. At a fork left behind the
 *             text is taken back to the fork; of a program that is accepted nothing remains
 *   level 2   all paths, with the whole state where one begins
 *   level 4   two lines before the closing one: the time, and the stack of each function
 *
 * A refusal and the closing line ("processed N insns (limit …) …") are written at every level but 0.
 *
 * Positions in the log are absolute, however long it gets; of the text only a window is kept, which is what a
 * reader's buffer of `cap` bytes would hold: its end, or with TN_LOG_FIXED its beginning.
 *
 *      0 ··········· base ─── start ══════════ len          start … len: what the reader gets
 *                    └ text[0]                              max: the furthest len ever got, NUL included
 */
#ifndef TN_VERIFY_LOG_H
#define TN_VERIFY_LOG_H

#include <linux/bpf.h>
#include <stdarg.h>

#include "verify/state.h"

#define TN_LOG_MAX (16u << 20) /* bytes kept when nobody says how many he can take */

#define TN_LOG_PATH  1u
#define TN_LOG_ALL   2u
#define TN_LOG_STATS 4u
#define TN_LOG_FIXED 8u /* not a level: the beginning is kept, not the end */

struct vf;

struct tn_log {
    u32 level; /* as it was asked for; 0: no log */
    bool fixed;
    u64 cap; /* bytes of the reader's buffer, NUL included */
    char *text;
    u64 base, start, len, max;
    u64 room; /* allocated */
    bool no_memory;

    /* what of the present path was shown already (show.c) */
    bool whole, forked;   /* next: the whole state; where it forked */
    u64 insn_end;         /* the last line is that of an instruction and ends here; 0: none is */
    u32 insn_width, regs; /* registers and slots that it names */
    u64 slots;
    u32 nframes, line;
    const char *source;
    u64 shown[TN_NREGS + TN_STACK_SLOTS]; /* a hash of each register and slot */
};

/* Text written to a fixed buffer, cut at its end. */
struct tn_text {
    char *buf;
    size_t cap, len;
};
void tn_text_add(struct tn_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- log.c. `level` is as bpf(2) has it, TN_LOG_FIXED included; size 0: as much as TN_LOG_MAX. */
void tn_log_open(struct tn_log *log, u32 level, u64 size);
void tn_log_add(struct tn_log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Back to an earlier length. */
void tn_log_cut(struct tn_log *log, u64 mark);
/* The window as a string of its own, NUL-terminated; the log is empty after it. NULL for level 0. */
char *tn_log_take(struct tn_log *log, u64 *ret_len);
void tn_log_stats(struct vf *v, u64 time_ns);

/* ---- show.c: what a register is called, and the lines of a path. */
void tn_text_reg(struct tn_text *t, const struct vf *v, const struct tn_reg *reg, u32 frame);
/* The registers of the set `which` (a bit each) of the top frame, separated by spaces. */
void tn_text_regs(struct tn_text *t, const struct vf *v, u32 which);
/* Registers that an instruction reads or writes. */
u32 tn_insn_regs(const struct bpf_insn *insn);
/* The functions found, at level 2. */
void tn_log_functions(struct vf *v);
/* About to execute v->pc. */
void tn_log_insn(struct vf *v);
/* A path begins at v->pc: at the start of a function (`what` is ""), or where one forked. */
void tn_log_state(struct vf *v, const char *what);
/* v->pc was found safe: the path ends. */
void tn_log_safe(struct vf *v);

#endif
