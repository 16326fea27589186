/* SPDX-License-Identifier: MIT */
/* Is it permitted that we accept what Linux refuses? Puts the rows of accepted-here.h to one program. */
#ifndef TESTS_DIFFERENTIAL_EXPLAIN_H
#define TESTS_DIFFERENTIAL_EXPLAIN_H

#include "tests/differential/accepted-here.h"
#include "tests/differential/ask.h"

/* The number of the row that explains it; −1: none. `words`: Linux's last sentence.
   `insns` NULL: as recorded. */
int explain(const struct ask *ask, const struct rec *rec, const struct bpf_insn *insns, u32 n,
            const char *words);

#endif
