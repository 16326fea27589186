/* SPDX-License-Identifier: MIT */
/* The hash multiplies by 2⁶⁴ ÷ golden ratio (Knuth): its upper bits depend on all of S and id. */
#include "rewrite/mark.h"

#include "rt/layout.h"

#define HASH_MUL 0x9E3779B97F4A7C15ull
#define KEY      TN_RAX /* the mark, under way */
#define AT       TN_RCX /* the word's index */
#define TABLE    TN_RDX
#define RED_ZONE 128
#define SLOT     3 /* registers that are pushed; with flags one more */

/* Key and word's index are made; S is what the stack pointer was. */
static void begin(struct tn_asm *a, const struct tn_marks *m)
{
    s32 above = 8 * SLOT;

    if (m->live) {
        tn_x86_lea(a, TN_RSP, tn_mem_base(TN_RSP, -RED_ZONE));
        above += RED_ZONE + 8;
    }
    tn_x86_push(a, KEY);
    tn_x86_push(a, AT);
    tn_x86_push(a, TABLE);
    if (m->live) {
        tn_x86_flags_to_ax(a);
        tn_x86_push(a, TN_RAX);
    }
    tn_x86_lea(a, KEY, tn_mem_base(TN_RSP, above));
    tn_x86_shift_i(a, 8, TN_SHL, KEY, 17);
    tn_x86_alu_ri(a, 8, TN_OR, KEY, (s32)m->id);
    tn_x86_mov_ri(a, AT, HASH_MUL);
    tn_x86_imul_rr(a, 8, AT, KEY);
    tn_x86_shift_i(a, 8, TN_SHR, AT, 64 - TN_MARKS_LOG2);
    tn_x86_mov_ri(a, TABLE, m->table);
}

static void end(struct tn_asm *a, const struct tn_marks *m)
{
    if (m->live) {
        tn_x86_pop(a, TN_RAX);
        tn_x86_flags_from_ax(a);
    }
    tn_x86_pop(a, TABLE);
    tn_x86_pop(a, AT);
    tn_x86_pop(a, KEY);
    if (m->live)
        tn_x86_lea(a, TN_RSP, tn_mem_base(TN_RSP, RED_ZONE));
}

static struct tn_mem word(void)
{
    return tn_mem_index(TABLE, AT, 8, 0);
}

static void count_missed(struct tn_asm *a, struct tn_mem stats)
{
    tn_x86_load(a, 8, AT, stats);
    tn_x86_lock(a);
    tn_x86_inc_m(a, 8, tn_mem_base(AT, (s32)offsetof(struct tn_link_stats, missed)));
}

/* The jump taken where the host's jump leads elsewhere. The mark's address is in TABLE by now. */
static struct tn_fixup compare_slot(struct tn_asm *a, const struct tn_marks *m)
{
    tn_x86_mov_ri(a, AT, m->slot);
    tn_x86_push(a, TABLE);
    tn_x86_mov_ri(a, TABLE, m->leads);
    tn_x86_alu_rm(a, 8, TN_CMP, TABLE, tn_mem_base(AT, 0));
    tn_x86_pop(a, TABLE);
    return tn_x86_jcc_fwd(a, 1, TN_CC_NE);
}

void tn_mark_leave(struct tn_asm *a, const struct tn_marks *m, struct tn_mem stats)
{
    struct tn_fixup none, mine, elsewhere = {0};

    begin(a, m);
    tn_x86_lea(a, TABLE, word());
    if (m->slot)
        elsewhere = compare_slot(a, m);
    tn_x86_mov_rr(a, 8, AT, KEY);
    tn_x86_alu_ri(a, 8, TN_OR, AT, (s32)TN_MARK_ARMED);
    tn_x86_xchg_mr(a, 8, tn_mem_base(TABLE, 0), AT);
    tn_x86_test_rr(a, 8, AT, AT);
    none = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_alu_rr(a, 8, TN_XOR, AT, KEY);
    tn_x86_alu_ri(a, 8, TN_AND, AT, ~(s32)TN_MARK_ARMED);
    mine = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    if (m->slot)
        tn_x86_bind(a, elsewhere);
    count_missed(a, stats);
    tn_x86_bind(a, none);
    tn_x86_bind(a, mine);
    end(a, m);
}

void tn_mark_enter(struct tn_asm *a, const struct tn_marks *m)
{
    struct tn_fixup other, abandoned;

    begin(a, m);
    tn_x86_lea(a, TABLE, word());
    tn_x86_mov_rr(a, 8, AT, KEY);
    tn_x86_alu_rm(a, 8, TN_XOR, AT, tn_mem_base(TABLE, 0));
    abandoned = tn_x86_jcc_fwd(a, 1, TN_CC_E);
    tn_x86_alu_ri(a, 8, TN_CMP, AT, (s32)TN_MARK_ARMED);
    other = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    tn_x86_mov_rr(a, 8, AT, KEY);
    tn_x86_bind(a, abandoned); /* 0 */
    tn_x86_store(a, 8, tn_mem_base(TABLE, 0), AT);
    tn_x86_bind(a, other);
    end(a, m);
}

void tn_mark_pass(struct tn_asm *a, const struct tn_marks *m, struct tn_mem stats)
{
    struct tn_fixup other, done = {0}, elsewhere = {0};

    begin(a, m);
    tn_x86_lea(a, TABLE, word());
    tn_x86_alu_mr(a, 8, TN_CMP, tn_mem_base(TABLE, 0), KEY);
    other = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    if (m->slot)
        elsewhere = compare_slot(a, m);
    tn_x86_alu_ri(a, 8, TN_OR, KEY, (s32)TN_MARK_ARMED);
    tn_x86_store(a, 8, tn_mem_base(TABLE, 0), KEY);
    if (m->slot) {
        done = tn_x86_jmp_fwd(a, 1);
        tn_x86_bind(a, elsewhere);
        tn_x86_store_i(a, 8, tn_mem_base(TABLE, 0), 0);
        count_missed(a, stats);
        tn_x86_bind(a, done);
    }
    tn_x86_bind(a, other);
    end(a, m);
}

void tn_mark_return(struct tn_asm *a, const struct tn_marks *m)
{
    struct tn_fixup other;

    begin(a, m);
    tn_x86_alu_rm(a, 8, TN_XOR, KEY, word());
    other = tn_x86_jcc_fwd(a, 1, TN_CC_NE);
    tn_x86_store(a, 8, word(), KEY); /* 0 */
    tn_x86_bind(a, other);
    end(a, m); /* pops leave flags alone */
}
