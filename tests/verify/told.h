/* SPDX-License-Identifier: MIT */
/*
 * What we know, told to Linux. Where we accept what Linux refuses, numbers may be the only reason: we know
 * one better, by an operation of the domain that is proved (docs/verifier.md). To tell that reason from a
 * bug, the program is written anew so that Linux knows what we know, and does the same:
 *
 *     if r3 <= 62 goto +1          before an instruction that looks at r3, of which we know that it is at
 *     r3 = 62                      most 62 there, whichever way was taken: nothing changes when it runs
 *     goto …                       in place of a branch whose other side we never went; that side is gone
 *     *(u32 *)(r2 +0) = 3          before a look-up whose key we know to be 3
 *
 * When Linux accepts that, it has proved the rest of the program itself, and what was told is all that made
 * the difference.
 */
#ifndef TESTS_VERIFY_TOLD_H
#define TESTS_VERIFY_TOLD_H

#include "verify/verify.h"

enum told {
    TOLD_DEAD,
    TOLD_ENDS,
    TOLD_BITS,
    TOLD_WAYS
}; /* dead ways alone; ends of ranges; known bits too */

/* Writes the program into `ret_insns` (the caller frees), `funcs` (*nfuncs, may be NULL) moved along.
   `insns`: those of `in`, maps perhaps named otherwise. 0; −ENOENT when the program is not accepted here;
   −E2BIG when it grows too much; −ENOMEM. */
int tell(const struct tn_verify_in *in, const struct bpf_insn *insns, enum told how,
         struct bpf_insn **ret_insns, u32 *ret_n, struct bpf_func_info *funcs, u32 *nfuncs);

#endif
