/* SPDX-License-Identifier: MIT */
/* Where the number of a system call under way is noted (rt/layout.h, TN_CALLS): what enters a call writes there and
   what leaves it reads there must be the same word. */
#ifndef TN_REWRITE_CALLWORD_H
#define TN_REWRITE_CALLWORD_H

#include "rt/layout.h"
#include "x86/encode.h"

/* The word's address into r11, by way of rcx; flags are not touched. `at`: where the code stands. */
static inline void tn_call_word(struct tn_asm *a, u64 at, u64 calls)
{
    static const u8 index[] = {
        0x89, 0xe1,       /* mov %esp,%ecx */
        0x0f, 0xc9,       /* bswap %ecx */
        0x0f, 0xb7, 0xc9, /* movzwl %cx,%ecx */
    };
    static const u8 word[] = {0x4d, 0x8d, 0x1c, 0xcb}; /* lea (%r11,%rcx,8),%r11 */
    s64 d = (s64)(calls - (at + a->len));

    if (d > -0x7fff0000ll && d < 0x7fff0000ll)
        tn_x86_lea(a, TN_R11, tn_mem_pos((s64)(calls - at)));
    else
        tn_x86_mov_ri(a, TN_R11, calls);
    tn_x86_bytes(a, index, sizeof(index));
    tn_x86_bytes(a, word, sizeof(word));
}

#endif
