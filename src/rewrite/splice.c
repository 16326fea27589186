/* SPDX-License-Identifier: MIT */
/*
 * A small program's text in place of a call of it: a call and a return cost a quarter of a trampoline.
 *
 *     text  mov pool(%rip),%rax │ addq $1,(%rax) │ xor %eax,%eax │ ret │ int3 …
 *     copy  mov pool(%rip),%rax │ addq $1,(%rax) │ xor %eax,%eax │
 *
 * Distances to the pool are counted anew, branches inside keep theirs since every instruction keeps its
 * length, and the one return, at the end, falls away. Not spliced is what calls, what has another way out,
 * what leads elsewhere, and what is longer than TN_SPLICE_MAX: those are called.
 */
#include "rewrite/splice.h"

#include "x86/decode.h"

static bool reaches(u64 from, u64 to)
{
    s64 d = (s64)(to - from);

    return d > -0x7fff0000ll && d < 0x7fff0000ll;
}

/* Bytes before the return that ends it; 0 if it cannot be spliced. */
static u32 body(const u8 *text, u32 len, u64 from, u64 to)
{
    u64 furthest = from;
    u32 off = 0;

    while (off < len && off <= TN_SPLICE_MAX) {
        struct tn_insn i;

        if (tn_x86_decode(text + off, len - off, from + off, &i) < 0)
            return 0;
        switch ((enum tn_insn_kind)i.kind) {
        case TN_INSN_RET:
            return i.len == 1 && furthest <= from + off ? off : 0;
        case TN_INSN_JMP:
        case TN_INSN_JCC:
            if (i.target < from)
                return 0;
            furthest = TN_MAX(furthest, i.target);
            break;
        case TN_INSN_PLAIN:
        case TN_INSN_NOP:
            if (i.mem_off && !reaches(to, i.target))
                return 0;
            break;
        default:
            return 0;
        }
        off += i.len;
    }
    return 0;
}

bool tn_splice(struct tn_asm *a, u64 at, const u8 *text, u32 len, u64 from)
{
    u32 n = body(text, len, from, at + a->len);

    for (u32 off = 0; off < n;) {
        u8 moved[16];
        struct tn_insn i;

        tn_x86_decode(text + off, len - off, from + off, &i);
        memcpy(moved, text + off, i.len);
        if (i.mem_off) {
            s32 disp = (s32)(s64)(i.target - (at + a->len + i.len));

            memcpy(moved + i.mem_off, &disp, 4);
        }
        tn_x86_bytes(a, moved, i.len);
        off += i.len;
    }
    return n;
}
