/* SPDX-License-Identifier: MIT */
/*
 * Why do we accept what Linux refuses? Our numbers know more than Linux's in a few places, each of which is a
 * row of accepted-here.h. To tell whether a program is accepted *because* of one, its text is weakened: each
 * instruction of the row is replaced by something that both verifiers know nothing about (a load of a number
 * from a map; a branch that may go either way), and we are asked again. A program that is refused then was
 * accepted for what the row names.
 */
#ifndef TESTS_DIFFERENTIAL_WEAKEN_H
#define TESTS_DIFFERENTIAL_WEAKEN_H

#include "tests/differential/recording.h"

// clang-format off
#define WEAKENINGS(W)                                                                                                      \
    W(DIVISION,    "result of a division or modulus")                                                                      \
    W(SELF,        "a register compared with itself")                                                                      \
    W(SHIFT,       "result of a shift")                                                                                   \
    W(KEY,         "key of a look-up")
// clang-format on

enum weakening {
#define W(name, what) WEAK_##name,
    WEAKENINGS(W)
#undef W
        WEAK_ALL, /* all of them at once */
    WEAK_NONE
};

#define WEAK_GROWTH 6u /* an instruction is of one kind only */

/* Writes the weakened program into `to`, which has room for 3 × n, and its functions' places into `starts`
   (may be NULL, `nstarts` of them). `scratch`: the map of numbers nobody knows, an array of one element. Its
   length; 0 when the program has no such instruction. */
u32 weaken(enum weakening which, const struct bpf_insn *insns, u32 n, u32 scratch, struct bpf_insn *to,
           struct bpf_func_info *funcs, u32 nfuncs);

#endif
