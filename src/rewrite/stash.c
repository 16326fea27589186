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

/* Of the copies, in loops. */
#define FROM  TN_RSI
#define TO    TN_RDI
#define COUNT TN_R8

/* The word of the stack that a word of the context is, or whose address it is. */
static u32 stack_word(u8 from)
{
    return from - (from < TN_FROM_ADDRESS ? TN_FROM_STACK : TN_FROM_ADDRESS);
}

static bool is_copied(const struct tn_typed_args *args, u32 words, u32 w)
{
    return args && w < args->nwords && words >> w & 1 && args->from[w] >= TN_FROM_ADDRESS;
}

u32 tn_stash_copied(const struct tn_typed_args *args, u32 words, u32 w)
{
    u32 n = 0;

    for (u32 k = 0; k < w; k++)
        n += is_copied(args, words, k) ? args->copied[k] : 0;
    return n;
}

static u32 line_log2(const struct tn_typed_args *args, u32 words)
{
    u32 n = (u32)__builtin_popcount(words) + tn_stash_copied(args, words, TN_TYPED_WORDS), log2 = 4;

    for (u32 w = 0; w < TN_TYPED_WORDS; w++)
        n -= is_copied(args, words, w);
    while (1u << log2 < 16u * n)
        log2++;
    return log2;
}

u32 tn_stash_words(const struct tn_facts *facts, const struct tn_typed_args *args)
{
    u32 words = 0;

    for (u32 w = 0; w < args->nwords; w++) {
        bool read = facts->ctx_read[0] >> w & 1;

        if (args->from[w] < TN_FROM_ADDRESS ? read || facts->ctx_escapes : read && args->copied[w])
            words |= 1u << w;
    }
    return words;
}

u64 tn_stash_size(const struct tn_typed_args *args, u32 words)
{
    return words ? 1ull << (LINES_LOG2 + line_log2(args, words)) : 0;
}

/* S is at rsp + `above`. Its line's address to LINE, its tag, in the upper half, to TAG. */
static void find_line(struct tn_asm *a, u64 table, const struct tn_typed_args *args, u32 words, s32 above)
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
    tn_x86_shift_i(a, 4, TN_SHL, LINE, (u8)line_log2(args, words));
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

/* Once for each of the `n` words of a copy; FROM and TO lead to them. */
static s64 begin_words(struct tn_asm *a, u32 n)
{
    tn_x86_mov_ri(a, COUNT, n);
    return a->len;
}

static void end_words(struct tn_asm *a, s64 again, u8 from, u8 to)
{
    tn_x86_alu_ri(a, 8, TN_ADD, FROM, from);
    tn_x86_alu_ri(a, 8, TN_ADD, TO, to);
    tn_x86_alu_ri(a, 4, TN_SUB, COUNT, 1);
    tn_x86_jcc(a, 1, TN_CC_NE, again);
}

/* A word from memory, as two tagged ones. */
static void store_word(struct tn_asm *a, struct tn_mem from, struct tn_mem high, u8 to, s32 at)
{
    for (s32 half = 0; half < 2; half++) {
        tn_x86_load(a, 4, TMP, half ? high : from);
        tn_x86_alu_rr(a, 8, TN_OR, TMP, TAG);
        tn_x86_store(a, 8, tn_mem_base(to, at + 8 * half), TMP);
    }
}

void tn_stash_store(struct tn_asm *a, u64 table, const struct tn_typed_args *args, u32 words)
{
    static const u8 reg[] = {TN_RDI, TN_RSI, TN_RDX, TN_RCX, TN_R8, TN_R9};
    static const u8 scratch[] = {LINE, TAG, TMP, FROM, TO, COUNT};
    const u32 copied = tn_stash_copied(args, words, TN_TYPED_WORDS), nscratch = copied ? 6 : 3;
    const s32 above = 8 * (s32)nscratch;
    s32 at = 0;

    for (u32 k = 0; k < nscratch; k++)
        tn_x86_push(a, scratch[k]);
    find_line(a, table, args, words, above);
    for (u32 w = 0; w < args->nwords; w++) {
        u8 from = args->from[w];
        s32 stack = above + 8 + 8 * (s32)stack_word(from);

        if (!(words >> w & 1) || is_copied(args, words, w))
            continue;
        if (from >= TN_FROM_STACK) {
            store_word(a, tn_mem_base(TN_RSP, stack), tn_mem_base(TN_RSP, stack + 4), LINE, at);
        } else {
            tn_x86_mov_rr(a, 4, TMP, reg[from]);
            store_half(a, at);
            tn_x86_mov_rr(a, 8, TMP, reg[from]);
            tn_x86_shift_i(a, 8, TN_SHR, TMP, 32);
            store_half(a, at + 8);
        }
        at += 16;
    }
    if (copied)
        tn_x86_lea(a, TO, tn_mem_base(LINE, at));
    for (u32 w = 0; w < args->nwords; w++) {
        s64 again;

        if (!is_copied(args, words, w))
            continue;
        tn_x86_lea(a, FROM, tn_mem_base(TN_RSP, above + 8 + 8 * (s32)stack_word(args->from[w])));
        again = begin_words(a, args->copied[w]);
        store_word(a, tn_mem_base(FROM, 0), tn_mem_base(FROM, 4), TO, 0);
        end_words(a, again, 8, 16);
    }
    for (u32 k = nscratch; k-- > 0;)
        tn_x86_pop(a, scratch[k]);
}

void tn_stash_session(struct tn_asm *a, u64 table, s32 above, s32 value)
{
    struct tn_fixup no;

    find_line(a, table, NULL, TN_SESSION_WORDS, above);
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

/* With the right tags, what is left of both words are the halves. */
static void load_word(struct tn_asm *a, u8 from, s32 at, struct tn_mem to)
{
    tn_x86_load(a, 8, TMP, tn_mem_base(from, at));
    tn_x86_load(a, 8, HIGH, tn_mem_base(from, at + 8));
    tn_x86_alu_rr(a, 8, TN_XOR, TMP, TAG);
    tn_x86_alu_rr(a, 8, TN_XOR, HIGH, TAG);
    tn_x86_alu_rr(a, 8, TN_OR, WRONG, TMP);
    tn_x86_alu_rr(a, 8, TN_OR, WRONG, HIGH);
    tn_x86_shift_i(a, 8, TN_SHL, HIGH, 32);
    tn_x86_alu_rr(a, 8, TN_OR, TMP, HIGH);
    tn_x86_store(a, 8, to, TMP);
}

void tn_stash_load(struct tn_asm *a, u64 table, const struct tn_typed_args *args, u32 words, s32 above,
                   struct tn_fixup ret_lost[2])
{
    const u32 copied = tn_stash_copied(args, words, TN_TYPED_WORDS);
    s32 at = 0;

    find_line(a, table, args, words, above);
    ret_lost[0] = tn_x86_jcc_fwd(a, 4, TN_CC_E); /* by the last shift: no tag at all */
    tn_x86_zero(a, WRONG);
    for (u32 w = 0; w < TN_TYPED_WORDS; w++) {
        if (!(words >> w & 1) || is_copied(args, words, w))
            continue;
        load_word(a, LINE, at, tn_mem_base(TN_RSP, 8 * (s32)w));
        at += 16;
    }
    if (copied) { /* they follow one another in the line as they do behind the context */
        s64 again;

        tn_x86_lea(a, FROM, tn_mem_base(LINE, at));
        tn_x86_lea(a, TO, tn_mem_base(TN_RSP, 8 * (s32)args->nwords));
        again = begin_words(a, copied);
        load_word(a, FROM, 0, tn_mem_base(TO, 0));
        end_words(a, again, 16, 8);
    }
    tn_x86_shift_i(a, 8, TN_SHR, WRONG, 32);
    ret_lost[1] = tn_x86_jcc_fwd(a, 4, TN_CC_NE);
}
