/* SPDX-License-Identifier: MIT */
/*
 * Random programs, judged three ways.
 *
 *   soundness   what is accepted is run by a small evaluator, with random contexts: every access must stay
 * inside its object, every run must end within facts.longest_path, and at every instruction some abstract
 * state that was seen there must contain the concrete registers (in all that may still matter) kernel      as
 * root: what is accepted here the kernel accepts, but for the differences told in docs/verifier.md
 *
 * Programs are made of pieces that look like compilers' output gone wrong: arithmetic, masks, checks with a
 * bound that may be too large, map and stack accesses at variable offsets, spills of all widths, loops.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "tests/verify/maps.h"
#include "verify/internal.h"

#define MAX_PROG   160
#define CTX_SIZE   168
#define VALUE_SIZE 64

static u64 seed;
/* Leave out what this verifier knows and Linux 6.18 does not: see "Differences" in docs/verifier.md. */
static bool like_linux;
static u64 rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
static u32 pick(u32 n)
{
    return (u32)(rnd() >> 20) % n;
}

/* --------------------------------------------------------------------------------------------------
 * generator */

struct prog {
    struct bpf_insn insn[MAX_PROG];
    u32 n;
    int loops;
};

static void put(struct prog *p, struct bpf_insn i)
{
    p->insn[p->n++] = i;
}
#define PUT(...) put(p, (struct bpf_insn)__VA_ARGS__)

static u8 scalar(void)
{
    static const u8 regs[] = {R0, R2, R3, R4, R5, R9};

    return regs[pick(sizeof(regs))];
}

static s32 number(void)
{
    static const s32 some[] = {0, 1, -1, 7, 8, 15, 31, 56, 57, 63, 64, 255, 4095, INT32_MAX, INT32_MIN};

    return pick(4) ? some[pick(TN_ARRAY_SIZE(some))] : (s32)rnd();
}

static void piece_alu(struct prog *p)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB,  BPF_MUL, BPF_AND, BPF_OR,  BPF_XOR, BPF_LSH,
                             BPF_RSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_MOV, BPF_AND, BPF_MOV};
    u8 op = ops[pick(sizeof(ops))], class = pick(2) ? BPF_ALU64 : BPF_ALU;
    s32 imm = number();

    if (like_linux && (op == BPF_DIV || op == BPF_MOD))
        class = BPF_ALU64;
    if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH)
        imm = (s32)pick(class == BPF_ALU64 ? 64 : 32);
    if ((op == BPF_DIV || op == BPF_MOD) && !imm)
        imm = 3;
    if (pick(2) && !(like_linux && (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH)))
        PUT(INSN(class | op | BPF_X, scalar(), scalar(), 0, 0));
    else
        PUT(INSN(class | op | BPF_K, scalar(), 0, 0, imm));
}

static void piece_jump(struct prog *p, s16 over)
{
    static const u8 ops[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                             BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
    u8 op = ops[pick(sizeof(ops))], class = pick(2) ? BPF_JMP : BPF_JMP32;

    u8 a = scalar(), b = scalar();

    if (pick(3) == 0 && (a != b || !like_linux))
        PUT(INSN(class | op | BPF_X, a, b, over, 0));
    else
        PUT(INSN(class | op | BPF_K, scalar(), 0, over, number()));
}

/* Sometimes a mask or a check, sometimes none, sometimes one that is a bit too wide. */
static void piece_bound(struct prog *p, u8 reg, s32 limit, s16 over)
{
    switch (pick(5)) {
    case 0:
        PUT(ALU(BPF_AND, reg, limit - 1));
        break;
    case 1:
        PUT(JMP(BPF_JGT, reg, limit - 8 + (s32)pick(10), (s16)(over + 0)));
        break;
    case 2:
        PUT(JMP32(BPF_JGE, reg, limit - 8 + (s32)pick(10), (s16)(over + 0)));
        break;
    case 3:
        PUT(JMP(BPF_JSGT, reg, limit - 8, (s16)(over + 0)));
        break;
    default:
        PUT(ALU32(BPF_AND, reg, limit - 8));
        break;
    }
}

static void piece_map(struct prog *p)
{
    static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    u8 reg = scalar(), size = sizes[pick(4)];

    piece_bound(p, reg, VALUE_SIZE, 3);
    PUT(MOVX(R1, R8));
    PUT(ADDX(R1, reg));
    if (pick(2))
        PUT(LDX(size, scalar(), R1, (s16)((s32)pick(10) - 1)));
    else
        PUT(STX(size, R1, (s16)((s32)pick(10) - 1), scalar()));
}

static void piece_spill(struct prog *p)
{
    static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    u32 k = pick(4);
    s16 off = (s16)(-8 - (s32)(pick(4 << (3 - k)) << k));

    if (pick(3) == 0)
        PUT(ST(sizes[k], R10, off, number()));
    else if (pick(2))
        PUT(STX(sizes[k], R10, off, scalar()));
    else
        PUT(LDX(sizes[k], scalar(), R10, off));
}

static void piece_stack_var(struct prog *p)
{
    u8 reg = scalar();

    PUT(ALU(BPF_AND, reg, pick(2) ? 24 : 31));
    PUT(MOVX(R1, R10));
    PUT(ADD(R1, -32 - (s32)pick(2) * 8));
    PUT(ADDX(R1, reg));
    if (pick(2))
        PUT(STX(BPF_B, R1, 0, scalar()));
    else
        PUT(LDX(pick(2) ? BPF_B : BPF_DW, scalar(), R1, 0));
}

static void piece_atomic(struct prog *p)
{
    static const s32 ops[] = {BPF_ADD, BPF_ADD | BPF_FETCH, BPF_XCHG, BPF_OR, BPF_XOR | BPF_FETCH};

    PUT(ATOMIC(pick(2) ? BPF_DW : BPF_W, pick(2) ? R8 : R10, 0, scalar(), ops[pick(TN_ARRAY_SIZE(ops))]));
    if (p->insn[p->n - 1].dst_reg == R10)
        p->insn[p->n - 1].off = (s16)(-8 * (1 + (s32)pick(4)));
}

static void piece_body(struct prog *p)
{
    switch (pick(9)) {
    case 0:
    case 1:
    case 2:
        piece_alu(p);
        break;
    case 3:
        PUT(LDX(BPF_DW, scalar(), R6, (s16)(8 * pick(21))));
        break;
    case 4:
        piece_spill(p);
        break;
    case 5:
    case 6:
        piece_map(p);
        break;
    case 7:
        piece_stack_var(p);
        break;
    default:
        piece_atomic(p);
        break;
    }
}

static void piece(struct prog *p)
{
    u32 at = p->n;

    switch (pick(8)) {
    case 0:
        if (p->loops++ < 2) { /* r7 counts */
            PUT(MOV(R7, 0));
            at = p->n;
            for (u32 k = pick(3); k > 0; k--)
                piece_body(p);
            PUT(ADD(R7, 1));
            PUT(JMP(BPF_JLT, R7, (s32)pick(12), 0));
            p->insn[p->n - 1].off = (s16)((s32)at - (s32)p->n);
        }
        break;
    case 1:
    case 2:
        piece_jump(p, 0);
        for (u32 k = 1 + pick(3); k > 0; k--)
            piece_body(p);
        p->insn[at].off = (s16)(p->n - at - 1);
        break;
    default:
        piece_body(p);
        break;
    }
}

static void generate(struct prog *p)
{
    static const u8 start[] = {R0, R2, R3, R4, R5, R9};
    const struct bpf_insn lookup[] = {LOOKUP(M_ARRAY)};

    *p = (struct prog){0};
    PUT(MOVX(R6, R1));
    for (s16 k = 1; k <= 5; k++)
        PUT(ST(BPF_DW, R10, (s16)(-8 * k), (s32)pick(9)));
    for (u32 k = 0; k < TN_ARRAY_SIZE(lookup); k++)
        put(p, lookup[k]);
    PUT(JMP(BPF_JNE, R0, 0, 1));
    PUT(EXIT);
    PUT(MOVX(R8, R0));
    PUT(MOV(R7, 0));
    for (u32 k = 0; k < sizeof(start); k++) {
        if (pick(3))
            PUT(LDX(pick(2) ? BPF_DW : BPF_B, start[k], R6, (s16)(8 * pick(21))));
        else
            PUT(MOV(start[k], number()));
    }
    for (u32 k = 2 + pick(9); k > 0 && p->n < MAX_PROG - 40; k--)
        piece(p);
    PUT(MOVX(R0, scalar()));
    PUT(EXIT);
}

/* ------------------------------------------------------------------------------------- what the verifier saw
 */

struct view {
    struct tn_reg reg[10];
    u16 demand;
    struct view *next;
};
struct views {
    struct view *at[MAX_PROG];
    u32 n;
};

static void remember(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need)
{
    struct views *views = arg;
    struct view *view = malloc(sizeof(*view));

    assert_non_null(view);
    memcpy(view->reg, tn_state_top(state)->reg, sizeof(view->reg));
    view->demand = need->demand;
    view->next = views->at[insn];
    views->at[insn] = view;
    views->n++;
}

static void forget(struct views *views)
{
    struct view *view;

    for (u32 k = 0; k < MAX_PROG; k++) {
        while ((view = views->at[k])) {
            views->at[k] = view->next;
            free(view);
        }
    }
}

/* --------------------------------------------------------------------------------------------------
 * evaluator */

struct run {
    u64 reg[11];
    u8 ctx[CTX_SIZE], stack[512], value[4][VALUE_SIZE];
    u64 steps;
};

static bool reg_inside(const struct run *run, const struct tn_reg *a, u64 x)
{
    switch (a->kind) {
    case TN_REG_SCALAR:
        return tn_range_contains(&a->r, x);
    case TN_REG_CTX:
        return tn_range_contains(&a->r, x - (u64)run->ctx);
    case TN_REG_STACK:
        return tn_range_contains(&a->r, x - (u64)(run->stack + sizeof(run->stack)));
    case TN_REG_MAP_VALUE:
        return tn_range_contains(&a->r, x - (u64)run->value[0]);
    case TN_REG_MAP_VALUE_OR_NULL:
        return !x || tn_range_contains(&a->r, x - (u64)run->value[0]);
    default:
        return true;
    }
}

static bool view_contains(const struct run *run, const struct view *view)
{
    for (u32 r = 0; r < 10; r++)
        if ((view->demand & (1u << r)) && !reg_inside(run, &view->reg[r], run->reg[r]))
            return false;
    return true;
}

static u8 *memory(struct run *run, u64 addr, u32 size)
{
    const struct {
        u8 *start;
        u64 size;
    } object[] = {{run->ctx, CTX_SIZE}, {run->stack, sizeof(run->stack)}, {run->value[0], VALUE_SIZE}};

    for (u32 k = 0; k < TN_ARRAY_SIZE(object); k++)
        if (addr >= (u64)object[k].start && addr + size <= (u64)object[k].start + object[k].size)
            return (u8 *)addr;
    return NULL;
}

static u64 alu(u8 op, bool is64, u64 a, u64 b)
{
    u32 x = (u32)a, y = (u32)b;

    switch (op) {
    case BPF_ADD:
        return is64 ? a + b : x + y;
    case BPF_SUB:
        return is64 ? a - b : x - y;
    case BPF_MUL:
        return is64 ? a * b : x * y;
    case BPF_AND:
        return is64 ? a & b : x & y;
    case BPF_OR:
        return is64 ? a | b : x | y;
    case BPF_XOR:
        return is64 ? a ^ b : x ^ y;
    case BPF_LSH:
        return is64 ? a << (b & 63) : x << (y & 31);
    case BPF_RSH:
        return is64 ? a >> (b & 63) : x >> (y & 31);
    case BPF_ARSH:
        return is64 ? (u64)((s64)a >> (b & 63)) : (u32)((s32)x >> (y & 31));
    case BPF_DIV:
        return is64 ? (b ? a / b : 0) : (y ? x / y : 0);
    case BPF_MOD:
        return is64 ? (b ? a % b : a) : (y ? x % y : x);
    default:
        return is64 ? b : y;
    }
}

static bool jump(u8 op, bool is64, u64 a, u64 b)
{
    s64 x = is64 ? (s64)a : (s32)a, y = is64 ? (s64)b : (s32)b;

    a = is64 ? a : (u32)a;
    b = is64 ? b : (u32)b;
    switch (op) {
    case BPF_JEQ:
        return a == b;
    case BPF_JNE:
        return a != b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    case BPF_JLT:
        return a < b;
    case BPF_JLE:
        return a <= b;
    case BPF_JSGT:
        return x > y;
    case BPF_JSGE:
        return x >= y;
    case BPF_JSLT:
        return x < y;
    case BPF_JSLE:
        return x <= y;
    case BPF_JSET:
        return a & b;
    default:
        return true;
    }
}

static bool atomic(struct run *run, const struct bpf_insn *i)
{
    u32 size = tn_size_bytes(i->code);
    u8 *at = memory(run, run->reg[i->dst_reg] + (u64)(s64)i->off, size);
    u64 old = 0, new;

    if (!at)
        return false;
    memcpy(&old, at, size);
    new =
        i->imm == BPF_XCHG ? run->reg[i->src_reg] : alu((u8)(i->imm & 0xf0), true, old, run->reg[i->src_reg]);
    memcpy(at, &new, size);
    if (i->imm & BPF_FETCH)
        run->reg[i->src_reg] = old;
    return true;
}

/* One instruction; NULL, or what went wrong. */
static const char *step(struct run *run, const struct bpf_insn *i, u32 *pc)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64 || BPF_CLASS(i->code) == BPF_JMP,
         x = BPF_SRC(i->code) == BPF_X;
    u64 operand = x ? run->reg[i->src_reg] : (u64)(s64)i->imm;
    u32 size = tn_size_bytes(i->code);
    u8 *at;

    (*pc)++;
    switch (BPF_CLASS(i->code)) {
    case BPF_ALU:
    case BPF_ALU64:
        run->reg[i->dst_reg] = alu(BPF_OP(i->code), is64, run->reg[i->dst_reg], operand);
        return NULL;
    case BPF_LD:
        run->reg[i->dst_reg] = 0; /* the map: only look-ups use it */
        (*pc)++;
        return NULL;
    case BPF_LDX:
        at = memory(run, run->reg[i->src_reg] + (u64)(s64)i->off, size);
        if (!at)
            return "load outside";
        run->reg[i->dst_reg] = 0;
        memcpy(&run->reg[i->dst_reg], at, size);
        return NULL;
    case BPF_STX:
        if (BPF_MODE(i->code) == BPF_ATOMIC)
            return atomic(run, i) ? NULL : "atomic outside";
        /* fallthrough */
    case BPF_ST:
        at = memory(run, run->reg[i->dst_reg] + (u64)(s64)i->off, size);
        operand = BPF_CLASS(i->code) == BPF_STX ? run->reg[i->src_reg] : (u64)(s64)i->imm;
        if (!at)
            return "store outside";
        memcpy(at, &operand, size);
        return NULL;
    default:
        if (BPF_OP(i->code) == BPF_CALL)
            run->reg[0] = (u64)run->value[0];
        else if (jump(BPF_OP(i->code), is64, run->reg[i->dst_reg], operand))
            *pc += (u32)(s32)i->off;
        return NULL;
    }
}

static const char *execute(const struct prog *p, const struct views *views, u64 longest, u32 *ret_pc)
{
    struct run run;
    const char *wrong;
    u32 pc = 0;

    for (u32 k = 0; k < sizeof(run); k++)
        ((u8 *)&run)[k] = (u8)(pick(3) ? rnd() >> 30 : 0);
    run.reg[1] = (u64)run.ctx;
    run.reg[10] = (u64)(run.stack + sizeof(run.stack));
    run.steps = 0;
    for (;;) {
        const struct view *view = views->at[pc];

        *ret_pc = pc;
        while (view && !view_contains(&run, view))
            view = view->next;
        if (!view)
            return "no abstract state contains the registers";
        if (++run.steps > longest)
            return "longer than the longest path";
        if (p->insn[pc].code == (BPF_JMP | BPF_EXIT))
            return NULL;
        wrong = step(&run, &p->insn[pc], &pc);
        if (wrong)
            return wrong;
    }
}

/* --------------------------------------------------------------------------------------------------------
 * tests */

static void dump(const struct prog *p)
{
    for (u32 k = 0; k < p->n; k++)
        print_message("#   %u: {0x%02x, r%u, r%u, %d, %d}\n", k, p->insn[k].code, p->insn[k].dst_reg,
                      p->insn[k].src_reg, p->insn[k].off, p->insn[k].imm);
}

static void judge(const struct prog *p, struct views *views, struct tn_verdict *ret)
{
    struct tn_verify_probe probe = {remember, views};
    struct tn_authority authority = tn_authority_all;
    struct tn_verify_in in = {
        .insns = p->insn,
        .ninsns = p->n,
        .prog_type = BPF_PROG_TYPE_KPROBE,
        .gpl = true,
        .maps = test_maps,
        .nmaps = M_COUNT,
        .authority = &authority,
    };

    authority.limits.max_insns_processed = 20000;
    *views = (struct views){0};
    assert_int_equal(tn_verify_probed(&in, &probe, ret), 0);
}

static void test_accepted_runs_stay_inside(void **state)
{
    int accepted = 0, rounds = 6000;

    for (int k = 1; k <= rounds; k++) {
        struct tn_verdict v;
        struct views views;
        struct prog p;
        const char *wrong = NULL;
        u32 pc = 0;

        seed = 0x9e3779b97f4a7c15ull * (u64)k;
        generate(&p);
        judge(&p, &views, &v);
        for (int run = 0; v.accepted && !wrong && run < 20; run++)
            wrong = execute(&p, &views, v.facts.longest_path, &pc);
        accepted += v.accepted;
        forget(&views);
        tn_verdict_clear(&v);
        if (wrong) {
            dump(&p);
            fail_msg("program %d, insn %u: %s", k, pc, wrong);
        }
    }
    print_message("# %d of %d random programs accepted\n", accepted, rounds);
    assert_true(accepted > rounds / 10);
}

static void test_kernel_accepts_what_we_accept(void **state)
{
    struct kernel kernel;
    const char *why = kernel_open(&kernel, test_maps, M_COUNT);
    int ours = 0, theirs = 0, unsound = 0, rounds = 3000;

    if (why) {
        print_message("# skipped: %s\n", why);
        skip();
    }
    for (int k = 1; k <= rounds; k++) {
        struct tn_verdict v;
        struct views views;
        struct prog p;
        char log[65536] = "";
        bool accepts;

        seed = 0xd1342543de82ef95ull * (u64)k;
        like_linux = true;
        generate(&p);
        like_linux = false;
        judge(&p, &views, &v);
        forget(&views);
        accepts = kernel_accepts(&kernel, BPF_PROG_TYPE_KPROBE, p.insn, p.n, log, sizeof(log));
        ours += v.accepted;
        theirs += accepts;
        if (v.accepted && !accepts && unsound++ < 3) {
            size_t len = strlen(log);

            print_message("# program %d is refused by the kernel:\n%s\n", k,
                          len > 4000 ? log + len - 4000 : log);
            dump(&p);
        }
        tn_verdict_clear(&v);
    }
    kernel_close(&kernel);
    print_message("# %d programs: %d accepted here, %d by the kernel, %d here alone\n", rounds, ours, theirs,
                  unsound);
    assert_int_equal(unsound, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_runs_stay_inside),
        cmocka_unit_test(test_kernel_accepts_what_we_accept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
