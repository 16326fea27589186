/* SPDX-License-Identifier: MIT */
/*
 * Where the System V ABI has a function's arguments when it is entered (psABI for x86-64, 3.2.3), told by its
 * prototype. Pure.
 */
#ifndef TN_REWRITE_ABI_H
#define TN_REWRITE_ABI_H

#include "btf/btf.h"
#include "rewrite/trampoline.h"

/*
 * The words of the typed context of function `func` (a BTF_KIND_FUNC of `btf`): one an argument, two for one
 * of 9 to 16 bytes, and with `result` one more for what it returns. −ENOTSUP with the argument named where a
 * word is in no general register and not on the stack (floating point, vectors), or where the prototype does
 * not tell (variable arguments, a result in memory); −E2BIG for more words than TN_TYPED_WORDS.
 */
int tn_abi_words(const struct tn_btf *btf, u32 func, bool result, struct tn_typed_args *ret_args,
                 struct tn_error *err);

#endif
