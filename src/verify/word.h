/* SPDX-License-Identifier: MIT */
/*
 * An abstract word: what is known of a value of `bits` bits, three ways at once.
 *
 *      known bits  ∩  [umin, umax] unsigned  ∩  [smin, smax] signed
 *
 * No one of the three says what the others say (x & ~7, x < 10, −3 ≤ x ≤ 3), so each operation computes all
 * three and tn_word_sync then lets each sharpen the others. A word stands for the intersection of the three
 * sets; it is empty when sync finds a contradiction, which is how a branch that cannot be taken is
 * recognised.
 *
 * The width is a parameter: 64 and 32 in the verifier, 3 in the exhaustive test.
 *
 * Division, modulus and shifts by an amount that is not known give up (any word): that is where Linux gives
 * up too.
 */
#ifndef TN_VERIFY_WORD_H
#define TN_VERIFY_WORD_H

#include "verify/tnum.h"
#include "verify/width.h"

struct tn_word {
    struct tn_tnum t;
    u64 umin, umax;
    s64 smin, smax;
};

struct tn_word tn_word_any(unsigned bits);
struct tn_word tn_word_const(u64 value, unsigned bits);
bool tn_word_contains(const struct tn_word *w, u64 x, unsigned bits);
/* Mutual refinement. False: nothing satisfies all three. */
bool tn_word_sync(struct tn_word *w, unsigned bits);
/* op: BPF_ADD … BPF_ARSH of an ALU instruction. Operands must be synced and non-empty. */
struct tn_word tn_word_alu(u8 op, const struct tn_word *a, const struct tn_word *b, unsigned bits);
/* Assumes `a op b` (op: BPF_JEQ …) to be `taken`, and sharpens both. False: that cannot be. */
bool tn_word_assume(u8 op, bool taken, struct tn_word *a, struct tn_word *b, unsigned bits);

#endif
