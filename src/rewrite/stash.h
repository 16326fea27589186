/* SPDX-License-Identifier: MIT */
/*
 * Arguments kept from a function's entry to its exit, for programs at exits that read them.
 *
 *     entry  S ──▶ line of S:  │ tag(S) │ low half │ tag(S) │ high half │ …      two words an argument
 *     exit   S ──▶ line of S:  are all tags S's? then these are the arguments; else the run is missed
 *
 * S is the address of the return slot: where the stack pointer stands when the function is entered, and again
 * when it returns. No two calls under way in a process have the same one, whatever thread, coroutine or
 * handler they belong to, and a call's own entry is the last one that was at its S. So there is one table a
 * link, and no question of threads: calls that are abandoned (longjmp, exceptions, threads that end) leave
 * words behind that the next entry at that S writes over.
 *
 * Two calls may share a line, and write it at once. Each word says by its tag whose it is, and line and tag
 * together tell S (stash.c), so that a line that is torn, stolen or was never written is seen as that. There
 * is nothing to lock, nothing to clear, and nothing a killed thread could leave half done.
 *
 * It holds as long as each entry comes by while exits are looked at. So the memory is fresh when a link of the
 * program is made where none was; entries are kept whatever the gate says, from the patch to the last byte that
 * is put back; and they are kept before anybody can answer in the function's place.
 */
#ifndef TN_REWRITE_STASH_H
#define TN_REWRITE_STASH_H

#include "rewrite/trampoline.h"
#include "x86/encode.h"

/* The argument words of its context that a program at exits may read, a bit each. 0: it needs no table. */
u32 tn_stash_words(const struct tn_facts *facts, const struct tn_typed_args *args);
/* Where such a word is an address, what lies there is kept. Its copy's place among those of the others, in words; of `w` behind
   all of them: how many there are. `args` NULL: none. */
u32 tn_stash_copied(const struct tn_typed_args *args, u32 words, u32 w);
/* Bytes of a table for them: of anonymous memory, of which only what is used is there. */
u64 tn_stash_size(const struct tn_typed_args *args, u32 words);

/* Code for the function's first instruction: rsp is S. Leaves all registers as they are, but not the
   flags. */
void tn_stash_store(struct tn_asm *a, u64 table, const struct tn_typed_args *args, u32 words);

/* A session's line, at the entry: the word at rsp + `value`, and whether ecx is 0. Clobbers TN_STASH_CLOBBERS and flags. */
#define TN_SESSION_WORDS 3u /* the word, and whether the exit is to run */
void tn_stash_session(struct tn_asm *a, u64 table, s32 above, s32 value);
/* After tn_stash_load of TN_SESSION_WORDS: what was found is not found again. */
void tn_stash_used(struct tn_asm *a);

/* Code that fills the words of a context at rsp, behind which the copies go; S is at rsp + `above`. Where they are not to be had, to
   *ret_lost. Clobbers these registers, and where there are copies rsi, rdi and r8: */
#define TN_STASH_CLOBBERS (1u << TN_RAX | 1u << TN_RCX | 1u << TN_RDX | 1u << TN_R10 | 1u << TN_R11)
void tn_stash_load(struct tn_asm *a, u64 table, const struct tn_typed_args *args, u32 words, s32 above,
                   struct tn_fixup ret_lost[2]);

#endif
