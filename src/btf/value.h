/* SPDX-License-Identifier: MIT */
/*
 * How the System V ABI passes a value of a type (psABI for x86-64, 3.2.3), and what that makes of it in a typed
 * context: its words, or one word that says where it lies.
 *
 *      bytes of a struct                 as an argument                       as a result
 *      1 … 8                             a register or stack word: 1          rax: 1
 *      9 … 16                            two of them: 2                       rax, rdx: 2
 *      1 … 16, a member not aligned      the stack: 1 or 2                    in memory: 1, its address
 *      more                              the stack: 1, its address            in memory: 1, its address
 *
 * Where Linux takes a function, its words are Linux's.
 */
#ifndef TN_BTF_VALUE_H
#define TN_BTF_VALUE_H

#include "btf/btf.h"

/* Bytes of structs in memory that are kept from a function's entry to its exit, for one program. */
#define TN_VALUE_KEPT 256u

/* On a struct: its alignment, where that is more than its members'. BTF has no word for it, and what we make of DWARF says it by a
   declaration tag: "tenon:aligned=32". */
#define TN_BTF_ALIGNED       "tenon:aligned="
#define TN_BTF_ALIGNED_LEAST 16u /* below it nothing depends on it */

/* What is in eight bytes of a value, in the order in which one outdoes the other. */
enum tn_eightbyte {
    TN_EIGHTBYTE_NONE,     /* nothing, which is not passed */
    TN_EIGHTBYTE_FLOATING, /* a vector register's, or the x87's */
    TN_EIGHTBYTE_INTEGER
};
struct tn_value {
    u64 size;                  /* bytes; 0 of void */
    u32 align;                 /* bytes */
    bool composite;            /* a struct or union */
    bool memory;               /* a composite that is in no registers */
    bool unsure;               /* the type does not tell how it is passed */
    enum tn_eightbyte half[2]; /* where it is in registers */
};

/* Bytes that the tag says; 0: it says something else. */
u32 tn_btf_aligned(const char *tag);

/* −EINVAL of a type that has no value (a function, an array, what is only declared). */
int tn_btf_value(const struct tn_btf *btf, u32 type, struct tn_value *ret);

/* The context has its address. */
static inline bool tn_value_by_address(const struct tn_value *v, bool result)
{
    return v->composite && (v->size > 16 || (result && v->memory));
}
static inline u32 tn_value_words(const struct tn_value *v, bool result)
{
    return tn_value_by_address(v, result) ? 1 : (u32)((v->size + 7) / 8);
}
/* Bytes that are kept of an argument for exits, where the context has its address; 0 where it has not, or where it is too large. */
static inline u32 tn_value_kept(const struct tn_value *v)
{
    return tn_value_by_address(v, false) && v->size <= TN_VALUE_KEPT ? (u32)TN_ROUND_UP(v->size, 8) : 0;
}
/* The argument of a prototype that has the word of its typed context; as many as there are: its result, whose first word is
   *ret_first; one more: nothing. */
u32 tn_btf_argument_at(const struct tn_btf *btf, const struct btf_type *proto, u32 word, u32 *ret_first);

#endif
