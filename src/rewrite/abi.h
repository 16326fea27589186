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
 * The words of the typed context of function `func` (a BTF_KIND_FUNC of `btf`), as of btf/value.h, and with `result` those of
 * what it returns. `aligned`: types that are aligned to more than their members say so (TN_BTF_ALIGNED).
 *
 * −ENOTSUP with the argument named where a word is in no general register and not on the stack (floating point), or where the
 * prototype does not tell (variable arguments, how something is aligned or passed); −E2BIG for more words than TN_SHOWN_WORDS.
 */
int tn_abi_words(const struct tn_btf *btf, u32 func, bool result, bool aligned,
                 struct tn_typed_args *ret_args, struct tn_error *err);

#endif
