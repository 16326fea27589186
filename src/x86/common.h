/* SPDX-License-Identifier: MIT */
/* The usual instructions, at once; see its head. For decode.c. */
#ifndef TN_X86_COMMON_H
#define TN_X86_COMMON_H

#include "x86/decode.h"

/* False: ask the library. */
bool tn_decode_common(const u8 *bytes, u32 len, u64 addr, struct tn_insn *ret_insn);

#endif
