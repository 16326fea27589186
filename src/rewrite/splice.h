/* SPDX-License-Identifier: MIT */
/* Small programs as a part of the trampoline. */
#ifndef TN_REWRITE_SPLICE_H
#define TN_REWRITE_SPLICE_H

#include "x86/encode.h"

#define TN_SPLICE_MAX 128u /* bytes of a program that is spliced at most */

/* Emits what the `len` bytes of text that stand at `from` do until they return. `at`: where the assembler's
   first byte will stand. False, and nothing emitted, where that cannot be had. */
bool tn_splice(struct tn_asm *a, u64 at, const u8 *text, u32 len, u64 from);

#endif
