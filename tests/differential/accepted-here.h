/* SPDX-License-Identifier: MIT */
/*
 * What we accept and Linux refuses: the whole list, each row with why it is safe here. Anything else of that
 * kind is a bug of ours until it is mended or proved.
 *
 *     H(words, how it is shown, what it is about, proof)
 *
 * A row counts when Linux's last sentence contains its words *and* the program, written anew (weaken.h),
 * shows that the row is all that made the difference. Rows come in the order in which they are tried: the
 * proofs that Linux itself gives, by accepting the changed program, before those that show only that we would
 * refuse as well.
 */
#ifndef TESTS_DIFFERENTIAL_ACCEPTED_HERE_H
#define TESTS_DIFFERENTIAL_ACCEPTED_HERE_H

#include "tests/differential/weaken.h"

// clang-format off
#define ACCEPTED_HERE(H)                                                                                                    \
    H("cannot use helper bpf_override_return", WEAK_OVERRIDE,                                                               \
      "a kernel built without the overriding of functions",                                                                 \
      "Linux has the helper when CONFIG_BPF_KPROBE_OVERRIDE is set. It writes what the probed function returns, which "     \
      "here is the attached function's own return register: an option of that kernel's build, not a rule. With another "    \
      "call in its place Linux accepts the program")                                                                        \
    H("cannot use helper bpf_probe_write_user", WEAK_WRITE_USER,                                                            \
      "a kernel locked down, or without the right to write its users' memory",                                              \
      "Linux has the helper where its lockdown allows writing to user space. Here the memory is the host's own, and the "   \
      "authority is asked before it is written (tn_authority.may_access). With another call in its place Linux accepts "    \
      "the program")                                                                                                        \
    H("same insn cannot be used with different pointers", WEAK_MIXED,                                                       \
      "one instruction reads the context on one path and other memory on another",                                          \
      "Linux rewrites a context access into a load at another offset, so one instruction can only serve one kind of "       \
      "pointer. Contexts here are the structures themselves: the load is the same whichever way it was reached, and each "  \
      "path was checked with the pointer it has. With those accesses out of the way (a load yields any number of its "      \
      "size) Linux accepts the program")                                                                                    \
    H("unbounded memory access, make sure to bounds check any such access", WEAK_BEHIND,                                    \
      "a pointer went on by a constant and back by a number: together it lies inside",                                      \
      "Linux keeps the two apart and refuses where the second alone, as an unsigned number, is past every object. Ours "    \
      "is one range of offsets, and that lies inside the object. With those accesses out of the way Linux accepts the "     \
      "program")                                                                                                            \
    H("", WEAK_FROZEN,                                                                                                      \
      "a constant place in a frozen array of several elements is read",                                                     \
      "Linux asks the array for the address of such a value, which only arrays of one element tell, and gives up with "     \
      "ENOTSUPP. Here the value read is any number. While the array is not frozen Linux accepts the program, knowing no "   \
      "more of the value than we do")                                                                                       \
    H("BPF program is too large. Processed", WEAK_NOTHING,                                                                  \
      "Linux uses up its budget where we need fewer steps",                                                                 \
      "The budget bounds the time of a verification and says nothing of the program. We reached the end of every path "     \
      "within the same budget, by rules of covering that are no weaker: each path that was cut short met a state that was " \
      "followed to all its ends")                                                                                           \
    H("jumps is too complex", WEAK_NOTHING,                                                                                 \
      "Linux holds no more than 8192 branches back",                                                                        \
      "As above: a bound of Linux's memory, not a property of the program")                                                 \
    H("", WEAK_NUMBERS,                                                                                                     \
      "numbers are known here more exactly: Linux accepts once it is told",                                                 \
      "Each number follows from others by an operation of the domain that tests/verify/small walks through at small "       \
      "widths and verify_smt proves for 64 bits from the same source. The program tells Linux what we know by branches "    \
      "that are never taken; it does what it did, and Linux has proved the rest itself. So it is with results of "          \
      "divisions, shifts, 32-bit operations, a register compared with itself, branches that are never gone, and keys of "   \
      "look-ups that are constants")                                                                                        \
    H("", WEAK_SEVERAL,                                                                                                     \
      "several of the rows above at once",                                                                                  \
      "Each of them is proved in its row. Told what we know, with other calls in place of the two helpers and no frozen "   \
      "array of several elements, Linux accepts the program")                                                               \
    H("infinite loop detected", WEAK_ENDS,                                                                                  \
      "a loop whose end follows from numbers that are known here more exactly",                                             \
      "Linux sees the same state come back, having forgotten what the round did. Here every round was followed, none was "  \
      "cut short for being bounded by the run, and the verdict names the longest run (facts.longest_path)")                 \
    H("", WEAK_DIVISION,                                                                                                    \
      "results of divisions are known here",                                                                                \
      "Since 6.18 Linux knows nothing of a quotient or a remainder. Ours follow from the operands' ranges by the functions "\
      "that tests/verify/domain walks through at small widths, and that are proved for 64 bits from the same source; "      \
      "with the results unknown, the program is refused here in Linux's words")                                             \
    H("", WEAK_KEY,                                                                                                         \
      "a look-up in an array finds something: its key is a constant below max_entries",                                     \
      "Linux has the same rule, but reads the key only from a store of exactly four bytes or from zeros. Whatever wrote "   \
      "the four bytes, their value is known, and an array has an element for it; with the key unknown, the program is "     \
      "refused here in Linux's words")                                                                                      \
    H("", WEAK_SHIFT,                                                                                                       \
      "results of shifts are known here more exactly",                                                                      \
      "Linux forgets the bounds where a shift might push a bit out of the register, and for 32-bit shifts by a register. "  \
      "Ours follow from the operands' ranges by the same proved functions as divisions; RFC 9669 has a 32-bit operation "   \
      "clear the upper half")                                                                                               \
    H("", WEAK_ALU32,                                                                                                       \
      "results of 32-bit operations are known here more exactly",                                                           \
      "Linux forgets a range that passes zero or the sign bit on the way. Ours are ways round a circle, and what they "     \
      "yield is an operation of the domain, proved like the others")                                                        \
    H("", WEAK_PIECE,                                                                                                       \
      "bytes beside those that a helper wrote stay the zeros they were",                                                    \
      "Linux forgets a whole slot once a helper wrote into it. Here bytes are known one by one; with what is read of a "    \
      "piece unknown, the program is refused here in Linux's words")                                                        \
    H("", WEAK_ALL,                                                                                                         \
      "several of the rows of numbers at once",                                                                             \
      "Each of them is proved in its row; without all of them the program is refused here in Linux's words")
// clang-format on

struct accepted_here {
    const char *words;
    enum weakening weakening;
    const char *what, *proof;
};
static const struct accepted_here accepted_here[] = {
#define H(words, weakening, what, proof) {words, weakening, what, proof},
    ACCEPTED_HERE(H)
#undef H
};
#define ACCEPTED_HERE_ROWS TN_ARRAY_SIZE(accepted_here)

#endif
