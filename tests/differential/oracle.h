/* SPDX-License-Identifier: MIT */
/*
 * The running kernel, asked about a recording again: its maps and types are made anew, once, then any number
 * of variants of its instructions are put to it. Needs root.
 */
#ifndef TESTS_DIFFERENTIAL_ORACLE_H
#define TESTS_DIFFERENTIAL_ORACLE_H

#include "tests/differential/detour.h"
#include "tests/differential/recording.h"

struct oracle {
    const struct rec *rec;
    int map[REC_MAX_MAPS], btf[REC_MAX_BTFS];
    struct detour detour; /* of programs that this kernel does not take as they are */
    u32 bound_ms;         /* of time for one question, which is −EAGAIN then; 0: none */
};

/* NULL, or why this kernel is not asked at all. */
const char *oracle_missing(void);
/* Makes the maps and types of `rec`, which is borrowed. −errno of what failed. */
int oracle_open(struct oracle *o, const struct rec *rec);
void oracle_close(struct oracle *o);
/* Puts `n` instructions in place of the recorded ones; functions are described as recorded unless `bare`,
   lines are not. 0: accepted, else −errno; −ENOTTY: cannot be asked. `log` (may be NULL) gets the kernel's
   words at `level`. */
int oracle_ask(struct oracle *o, const struct bpf_insn *insns, u32 n, bool bare, u32 level, char *log,
               u32 log_size);
/* The same, and the program stays: its descriptor. */
int oracle_load(struct oracle *o, const struct bpf_insn *insns, u32 n, bool bare, u32 level, char *log,
                u32 log_size);
/* Runs it once (PROG_TEST_RUN) on so many zeros. */
int oracle_run(int fd, u32 data_size, u32 *ret_retval);

#endif
