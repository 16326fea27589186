/* SPDX-License-Identifier: MIT */
/*
 * Line and tag of a return slot S, an address of 47 bits:
 *
 *     tag    bits 3 … 34
 *     line   (bits 4 … + hash(bits 15 … 46)) mod 2¹⁶
 *
 * Of two S with the same tag, only bits 35 … 46 may differ. These are the upper twelve of the 32 that are
 * hashed, and multiplying by an odd number maps the upper twelve bits of a word one to one (what the lower
 * ones carry is the same for both): the lines differ. So line and tag together tell S, but for its lowest
 * three bits, and no two return slots share eight bytes.
 *
 * Calls near one another on a stack have lines near one another, so that a thread touches few pages; stacks
 * are spread by the hash, whatever their distance.
 *
 * A word that was never written has tag 0, which is no call's: such an S is not looked up.
 */
#include "rewrite/stash.h"

#define LINES_LOG2 16u
#define LINE       TN_RAX
#define TAG        TN_R11
#define TMP        TN_R10
#define HIGH       TN_RCX
#define WRONG      TN_RDX

static u32 line_log2(u32 words)
{
    u32 log2 = 4;

    while (1u << log2 < 16u * (u32)__builtin_popcount(words))
        log2++;
    return log2;
}

u32 tn_stash_words(const struct tn_facts *facts, const struct tn_typed_args *args)
{
    u32 words = 0;

    for (u32 w = 0; w < args->nwords; w++)
        if (tn_from_is_lost(args->from[w]) && (facts->ctx_escapes || facts->ctx_read[0] >> w & 1))
            words |= 1u << w;
    return words;
}

u64 tn_stash_size(u32 words)
{
    return words ? 1ull << (LINES_LOG2 + line_log2(words)) : 0;
}

/* S is at rsp + `above`. Its line's address to LINE, its tag, in the upper half, to TAG. */
static void find_line(struct tn_asm *a, u64 table, u32 words, s32 above)
{
    tn_x86_lea(a, TAG, tn_mem_base(TN_RSP, above));
    tn_x86_mov_rr(a, 8, LINE, TAG);
    tn_x86_shift_i(a, 8, TN_SHR, LINE, 15);
    tn_x86_imul_rri(a, 4, LINE, LINE, (s32)TN_SLOT_HASH_MUL);
    tn_x86_shift_i(a, 4, TN_SHR, LINE, 32 - LINES_LOG2);
    tn_x86_mov_rr(a, 8, TMP, TAG);
    tn_x86_shift_i(a, 8, TN_SHR, TMP, 4);
    tn_x86_alu_rr(a, 4, TN_ADD, LINE, TMP);
    tn_x86_alu_ri(a, 4, TN_AND, LINE, (1 << LINES_LOG2) - 1);
    tn_x86_shift_i(a, 4, TN_SHL, LINE, (u8)line_log2(words));
    tn_x86_mov_ri(a, TMP, table);
    tn_x86_alu_rr(a, 8, TN_ADD, LINE, TMP);
    tn_x86_shift_i(a, 8, TN_SHR, TAG, 3);
    tn_x86_shift_i(a, 8, TN_SHL, TAG, 32);
}

static void store_half(struct tn_asm *a, s32 at)
{
    tn_x86_alu_rr(a, 8, TN_OR, TMP, TAG);
    tn_x86_store(a, 8, tn_mem_base(LINE, at), TMP);
}

void tn_stash_store(struct tn_asm *a, u64 table, const struct tn_typed_args *args, u32 words)
{
    static const u8 reg[] = {TN_RDI, TN_RSI, TN_RDX, TN_RCX, TN_R8, TN_R9};
    static const u8 scratch[] = {LINE, TAG, TMP};
    const s32 above = 8 * (s32)sizeof(scratch);
    s32 at = 0;

    for (u32 k = 0; k < sizeof(scratch); k++)
        tn_x86_push(a, scratch[k]);
    find_line(a, table, words, above);
    for (u32 w = 0; w < args->nwords; w++) {
        u8 from = args->from[w];
        s32 stack = above + 8 + 8 * ((s32)from - (s32)TN_FROM_STACK);

        if (!(words >> w & 1))
            continue;
        if (from >= TN_FROM_STACK)
            tn_x86_load(a, 4, TMP, tn_mem_base(TN_RSP, stack));
        else
            tn_x86_mov_rr(a, 4, TMP, reg[from]);
        store_half(a, at);
        if (from >= TN_FROM_STACK) {
            tn_x86_load(a, 4, TMP, tn_mem_base(TN_RSP, stack + 4));
        } else {
            tn_x86_mov_rr(a, 8, TMP, reg[from]);
            tn_x86_shift_i(a, 8, TN_SHR, TMP, 32);
        }
        store_half(a, at + 8);
        at += 16;
    }
    for (u32 k = sizeof(scratch); k-- > 0;)
        tn_x86_pop(a, scratch[k]);
}

void tn_stash_session(struct tn_asm *a, u64 table, s32 above, s32 value)
{
    struct tn_fixup no;

    find_line(a, table, TN_SESSION_WORDS, above);
    tn_x86_load(a, 4, TMP, tn_mem_base(TN_RSP, value));
    store_half(a, 0);
    tn_x86_load(a, 4, TMP, tn_mem_base(TN_RSP, value + 4));
    store_half(a, 8);
    tn_x86_zero(a, TMP);
    tn_x86_test_rr(a, 4, TN_RCX, TN_RCX);
    no = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    tn_x86_alu_ri(a, 4, TN_ADD, TMP, 1);
    tn_x86_bind(a, no);
    store_half(a, 16);
    tn_x86_store(a, 8, tn_mem_base(LINE, 24), TAG);
}

void tn_stash_used(struct tn_asm *a)
{
    tn_x86_store(a, 8, tn_mem_base(LINE, 16), TAG);
}

void tn_stash_load(struct tn_asm *a, u64 table, u32 words, s32 above, struct tn_fixup ret_lost[2])
{
    s32 at = 0;

    find_line(a, table, words, above);
    ret_lost[0] = tn_x86_jcc_fwd(a, 4, TN_CC_E); /* by the last shift: no tag at all */
    tn_x86_zero(a, WRONG);
    for (u32 w = 0; w < TN_TYPED_WORDS; w++) {
        if (!(words >> w & 1))
            continue;
        /* With the right tags, what is left of both words are the halves. */
        tn_x86_load(a, 8, TMP, tn_mem_base(LINE, at));
        tn_x86_load(a, 8, HIGH, tn_mem_base(LINE, at + 8));
        tn_x86_alu_rr(a, 8, TN_XOR, TMP, TAG);
        tn_x86_alu_rr(a, 8, TN_XOR, HIGH, TAG);
        tn_x86_alu_rr(a, 8, TN_OR, WRONG, TMP);
        tn_x86_alu_rr(a, 8, TN_OR, WRONG, HIGH);
        tn_x86_shift_i(a, 8, TN_SHL, HIGH, 32);
        tn_x86_alu_rr(a, 8, TN_OR, TMP, HIGH);
        tn_x86_store(a, 8, tn_mem_base(TN_RSP, 8 * (s32)w), TMP);
        at += 16;
    }
    tn_x86_shift_i(a, 8, TN_SHR, WRONG, 32);
    ret_lost[1] = tn_x86_jcc_fwd(a, 4, TN_CC_NE);
}
