/* SPDX-License-Identifier: MIT */
/*
 * The verifier's log, in the lines that tools know from Linux, and the writing of refusals.
 *
 *   level 1   the path followed: each instruction with the registers it read; at a fork left behind, the text
 * is taken back to the fork, so that what remains is the path that matters level 2   all paths, and the whole
 * state at every checkpoint level 4   the closing line: "processed N insns (limit …) max_states_per_insn …"
 *
 * A refusal is written to the log at every level but 0. The log never grows beyond TN_LOG_MAX; past that,
 * path lines are dropped, the refusal and the closing line are not.
 */
#ifndef TN_VERIFY_LOG_H
#define TN_VERIFY_LOG_H

#include <stdarg.h>

#include "verify/state.h"

#define TN_LOG_MAX     (16u << 20)
#define TN_LOG_RESERVE 4096u

#define TN_LOG_PATH  1u
#define TN_LOG_ALL   2u
#define TN_LOG_STATS 4u

struct vf;

struct tn_log {
    u32 level;
    char *text; /* NUL-terminated once there is any */
    u64 len, cap;
    bool no_memory;
};

/* Text written to a fixed buffer, cut at its end. */
struct tn_text {
    char *buf;
    size_t cap, len;
};
void tn_text_add(struct tn_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tn_text_reg(struct tn_text *t, const struct tn_reg *reg);

void tn_log_add(struct tn_log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Never dropped for length. */
void tn_log_final(struct tn_log *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Back to an earlier length. */
void tn_log_cut(struct tn_log *log, u64 mark);
void tn_log_insn(struct vf *v);
void tn_log_state(struct vf *v, const char *what);
void tn_log_stats(struct vf *v);

#endif
