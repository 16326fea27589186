/* SPDX-License-Identifier: MIT */
/*
 * Real programs, slightly wrong: one to three changes of the kinds that programmers and compilers make (a
 * bound, an offset, a register, a missing check, two statements in the other order).
 */
#ifndef TESTS_DIFFERENTIAL_MUTATE_H
#define TESTS_DIFFERENTIAL_MUTATE_H

#include <linux/bpf.h>

#include "base/base.h"

/* Changes `insns` in place; two-slot loads stay whole, calls of functions
   and what they name stay as they are. */
void mutate(struct bpf_insn *insns, u32 n, u64 seed);

#endif
