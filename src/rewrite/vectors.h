/* SPDX-License-Identifier: MIT */
/*
 * May registers wider than xmm be live across a call inside a module? A compiler that sees a function and its
 * callers (GCC's -fipa-ra) keeps values where it knows that the function leaves them alone, against the ABI,
 * but only in registers that the module's own code uses. Pure.
 */
#ifndef TN_REWRITE_VECTORS_H
#define TN_REWRITE_VECTORS_H

#include "rewrite/plan.h"

/* Some instruction of the segment has a VEX or EVEX encoding, or might have: data between functions is read
   as instructions, too. Takes about as long as decoding everything once: 10 ms a MiB. */
bool tn_code_has_wide(const struct tn_code_view *code);

#endif
