/* SPDX-License-Identifier: MIT */
/*
 * Why do we accept what Linux refuses? A program is written anew so that the answer shows in a verdict.
 *
 * Told: Linux is told what we know of its numbers (tests/verify/told.h), and accepts: it has proved the rest.
 *
 * Relaxed: what Linux does not have, or takes at its word, is replaced by something it takes, and it accepts.
 *
 * Weakened: we are made to know as little as Linux at one kind of instruction. It is replaced by what both
 * know nothing about (a load of a number from a map), and we refuse in Linux's words.
 */
#ifndef TESTS_DIFFERENTIAL_WEAKEN_H
#define TESTS_DIFFERENTIAL_WEAKEN_H

#include "tests/differential/recording.h"

// clang-format off
#define WEAKENINGS(W)                                                                                                      \
    /*  name         how       what is replaced */                                                                         \
    W(DIVISION,    WEAKENED, "result of a division or modulus")                                                            \
    W(SHIFT,       WEAKENED, "result of a shift")                                                                          \
    W(ALU32,       WEAKENED, "result of a 32-bit operation")                                                               \
    W(KEY,         WEAKENED, "key of a look-up")                                                                           \
    W(PIECE,       WEAKENED, "a piece of a slot of the stack that is read")                                                 \
    W(ALL,         WEAKENED, "all of the above")                                                                           \
    W(OVERRIDE,    RELAXED,  "bpf_override_return: what it answers is any number")                                         \
    W(WRITE_USER,  RELAXED,  "bpf_probe_write_user: likewise")                                                             \
    W(MIXED,       RELAXED,  "loads and stores that reach the context on one way and other memory on another")             \
    W(BEHIND,      RELAXED,  "accesses through pointers that went back from where a constant had brought them")               \
    W(FROZEN,      RELAXED,  "maps that are frozen: they are not")                                                         \
    W(NUMBERS,     TOLD,     "nothing: it is told what we know")                                                           \
    W(ENDS,        ENDING,   "nothing: each round was followed to the end, and the longest run is known")                   \
    W(SEVERAL,     TOLD,     "calls of the two helpers, frozen maps; and it is told what we know")                           \
    W(NOTHING,     WORDS,    "nothing: the words say it")
// clang-format on

enum weakening {
#define W(name, how, what) WEAK_##name,
    WEAKENINGS(W)
#undef W
        WEAK_COUNT
};
enum weakening_how { WEAK_WEAKENED, WEAK_RELAXED, WEAK_TOLD, WEAK_ENDING, WEAK_WORDS };
extern const u8 weakening_how[WEAK_COUNT];

#define WEAK_GROWTH 8u /* instructions for one, of one kind */

/* Writes the changed program into `to`, which has room for WEAK_GROWTH × n, and moves its functions' places
   along. `scratch`: the map of numbers nobody knows, an array of one element. `chosen`, of WEAK_KEY, WEAK_MIXED
   and WEAK_BEHIND: which instructions; NULL: all of the kind. Its length; 0 when the program has no such
   instruction. */
u32 weaken(enum weakening which, const bool *chosen, const struct bpf_insn *insns, u32 n, u32 scratch,
           struct bpf_insn *to, struct bpf_func_info *funcs, u32 nfuncs);

#endif
