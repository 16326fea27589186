/* SPDX-License-Identifier: MIT */
/*
 * What we accept and Linux refuses: the whole list, each row with why it is safe here. Anything else of that
 * kind is a bug of ours until it is mended or proved.
 *
 *     H(words, weakening, what it is about, proof)
 *
 * A row without a weakening counts when Linux's last sentence contains its words. One with a weakening
 * (weaken.h) counts when its words are there *and* the program, weakened, is refused here too: then that
 * knowledge, and nothing else, made the difference.
 */
#ifndef TESTS_DIFFERENTIAL_ACCEPTED_HERE_H
#define TESTS_DIFFERENTIAL_ACCEPTED_HERE_H

#include "tests/differential/weaken.h"

// clang-format off
#define ACCEPTED_HERE(H)                                                                                                    \
    H("same insn cannot be used with different pointers", WEAK_NONE,                                                       \
      "one instruction reads the context on one path and other memory on another",                                          \
      "Linux rewrites a context access into a load at another offset, so one instruction can only serve one kind of "       \
      "pointer. Contexts here are the structures themselves: the load is the same whichever way it was reached, and each "  \
      "path was checked with the pointer it has")                                                                           \
    H("cannot use helper bpf_override_return", WEAK_NONE,                                                                   \
      "a kernel built without the overriding of functions",                                                                 \
      "Linux has the helper when CONFIG_BPF_KPROBE_OVERRIDE is set. It writes what the probed function returns, which "     \
      "here is the attached function's own return register: an option of that kernel's build, not a rule")                  \
    H("cannot use helper bpf_probe_write_user", WEAK_NONE,                                                                  \
      "a kernel locked down, or without the right to write its users' memory",                                              \
      "Linux has the helper where its lockdown allows writing to user space. Here the memory is the host's own, and the "   \
      "authority is asked before it is written (tn_authority.may_access)")                                                  \
    H("BPF program is too large. Processed", WEAK_NONE,                                                                    \
      "Linux uses up its budget where we need fewer steps",                                                                 \
      "The budget bounds the time of a verification and says nothing of the program. We reached the end of every path "     \
      "within the same budget, by rules of covering that are no weaker: each path that was cut short met a state that was " \
      "followed to all its ends")                                                                                           \
    H("jumps is too complex", WEAK_NONE,                                                                                   \
      "Linux holds no more than 8192 branches back",                                                                        \
      "As above: a bound of Linux's memory, not a property of the program")                                                 \
    H("", WEAK_DIVISION,                                                                                                    \
      "results of divisions are known here",                                                                                \
      "Since 6.18 Linux knows nothing of a quotient or a remainder. Ours follow from the operands' ranges by the functions "\
      "that tests/verify/domain walks through at small widths, and that are proved for 64 bits from the same source; "      \
      "with the results unknown, the program is refused here as well")                                                      \
    H("", WEAK_SELF,                                                                                                        \
      "a register equals itself",                                                                                           \
      "The comparison of a number with itself has one outcome, and the other branch cannot be taken")                       \
    H("", WEAK_KEY,                                                                                                         \
      "a look-up in an array finds something: its key is a constant below max_entries",                                     \
      "Linux has the same rule, but reads the key only from a store of exactly four bytes or from zeros. Whatever wrote "   \
      "the four bytes, their value is known, and an array has an element for it; with the key unknown, the program is "     \
      "refused here as well")                                                                                               \
    H("", WEAK_SHIFT,                                                                                                       \
      "results of shifts are known here more exactly",                                                                      \
      "Linux forgets the bounds where a shift might push a bit out of the register, and for 32-bit shifts by a register. "  \
      "Ours follow from the operands' ranges by the same proved functions as divisions; RFC 9669 has a 32-bit operation "   \
      "clear the upper half") \
    H("", WEAK_ALL,                                                                                                         \
      "several of the rows with a weakening at once",                                                                       \
      "Each of them is proved in its row; without all of them the program is refused here as well")
// clang-format on

struct accepted_here {
    const char *words;
    enum weakening weakening; /* WEAK_NONE: none */
    const char *what, *proof;
};
static const struct accepted_here accepted_here[] = {
#define H(words, weakening, what, proof) {words, weakening, what, proof},
    ACCEPTED_HERE(H)
#undef H
};
#define ACCEPTED_HERE_ROWS TN_ARRAY_SIZE(accepted_here)

#endif
