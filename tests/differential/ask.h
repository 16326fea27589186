/* SPDX-License-Identifier: MIT */
/*
 * A recording, put to our verifier: maps, types and attributes as the kernel got them. Each question is asked
 * in a child process with bounded time and memory, so that a crash or a hang is one answer more and not the
 * end of the run.
 */
#ifndef TESTS_DIFFERENTIAL_ASK_H
#define TESTS_DIFFERENTIAL_ASK_H

#include "tests/differential/recording.h"
#include "verify/verify.h"

// clang-format off
#define ASK_ANSWERS(A)                                                                                       \
    A(agree_accepted, "both accept")                                                                         \
    A(agree_refused,  "both refuse")                                                                         \
    A(refused_here,   "Linux accepts, we refuse")                                                            \
    A(accepted_here,  "we accept, Linux refuses")                                                            \
    A(explained,      "we accept, Linux refuses, and a row of accepted-here.h proves that it is safe")         \
    A(costly,        "not judged: one of the two did not come to an end within the run's bounds")             \
    A(kernel_died,   "the kernel ended the process that asked it: a fault of its verifier (see its log)")        \
    A(elsewhere,      "no program for a process: refused by name")                                           \
    A(unnamed,        "no program for a process, and our refusal does not say so")                           \
    A(unjudged,       "Linux refused before its verifier looked: no verdict to compare")                     \
    A(crashed,        "our verifier died")                                                                   \
    A(hung,           "our verifier did not come back in time")                                              \
    A(unreadable,     "no recording, or one of another kernel's types")
// clang-format on

enum ask_answer {
#define A(name, what) ASK_##name,
    ASK_ANSWERS(A)
#undef A
        ASK_ANSWER_COUNT
};
extern const char *const ask_answer_name[ASK_ANSWER_COUNT];
extern const char *const ask_answer_what[ASK_ANSWER_COUNT];

/* Shared between parent and child; filled completely or `done` stays false. */
struct ask_result {
    bool done, accepted;
    bool words_missing; /* both refuse, the kernel says what its selftest expects, and we do not */
    bool words_linux;   /* the running kernel says what its selftest expects (true without expectations) */
    char missing[256];  /* the first expected message that is not in our log */
    char reason[48], message[512];
    s32 row; /* of accepted-here.h; −1: none */
    u32 insn;
    u64 insns_processed, peak_states, time_ns;
};

/* What is the same for all recordings: the kernel's types. */
struct ask {
    const struct tn_btf *host_btf; /* NULL: none */
    u32 host_btf_size, host_btf_hash;
    u32 best_of;   /* verifications of which the fastest counts; 0: one */
    u64 budget;    /* instructions to be processed; 0: Linux's million */
    u32 seconds;   /* bound for one verification */
    u32 log_level; /* in place of the recorded one, and the log goes to standard output; 0: as recorded */
};

/* Opens /sys/kernel/btf/vmlinux; without it, programs that name kernel types cannot be compared. */
int ask_open(struct ask *ask);
void ask_close(struct ask *ask);

/* In this process: fills `in` from `rec`, with `n` instructions in place of its own when
   `insns` is not NULL. Maps that no instruction names are left out: Linux does not see them
   either. What `in` points to lives in `ret_store`. */
int ask_input(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
              struct tn_verify_in *in, void **ret_store);
void ask_input_free(void *store);
/* In this process: is it accepted? `keep` (may be NULL) gets the verdict, to be cleared. */
bool ask_accepts(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
                 struct tn_verdict *keep);
/* In a child. `shared` is a MAP_SHARED struct ask_result. */
enum ask_answer ask_one(const struct ask *ask, const struct rec *rec, struct ask_result *shared);

/* Did Linux's verifier speak at all? PROG_LOAD may fail before,
   by a kernel's policy or for its attributes. */
bool ask_judged(const struct rec *rec);
/* Is the type of this program one that a process can host? */
bool ask_in_process(const struct rec *rec);
bool ask_gpl(const char *licence);
/* Does `text` contain the expectation, with {{…}} as extended regular expressions? */
bool ask_says(const char *text, const char *pattern);

/* The last sentence of a log of the kernel's, before its statistics. */
void ask_last_words(const char *log, char *to, size_t size);

#endif
