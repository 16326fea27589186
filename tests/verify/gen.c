/* SPDX-License-Identifier: MIT */
/* The generator; see gen.h. */
#include "tests/verify/gen.h"

#define VALUE_SIZE 64
#define PUT(...)   put(g, (struct bpf_insn)__VA_ARGS__)

static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

static u64 rnd(struct gen *g)
{
    g->seed ^= g->seed << 13;
    g->seed ^= g->seed >> 7;
    g->seed ^= g->seed << 17;
    return g->seed;
}

static u32 pick(struct gen *g, u32 n)
{
    return (u32)(rnd(g) >> 20) % n;
}

static void put(struct gen *g, struct bpf_insn i)
{
    if (g->n < GEN_MAX_PROG)
        g->insn[g->n++] = i;
}

static void put_all(struct gen *g, const struct bpf_insn *insns, size_t n)
{
    for (size_t k = 0; k < n; k++)
        put(g, insns[k]);
}
#define ALL(...)                                                                                             \
    put_all(g, (const struct bpf_insn[]){__VA_ARGS__},                                                       \
            sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn))

static u8 scalar(struct gen *g)
{
    static const u8 regs[] = {R0, R2, R3, R4, R5, R9};

    return regs[pick(g, sizeof(regs))];
}

static s32 number(struct gen *g)
{
    static const s32 some[] = {0,  1,  -1,  7,    8,         15,        31,   56, 57,
                               63, 64, 255, 4095, INT32_MAX, INT32_MIN, -512, -8, -40};

    return pick(g, 4) ? some[pick(g, TN_ARRAY_SIZE(some))] : (s32)rnd(g);
}

/* After a call: numbers again in what it took. */
static void renew(struct gen *g)
{
    for (u8 r = R2; r <= R5; r++) {
        if (pick(g, 3))
            PUT(MOV(r, number(g)));
        else
            PUT(LDX(BPF_DW, r, R6, (s16)(8 * pick(g, 5))));
    }
}

static void piece_unary(struct gen *g)
{
    static const s32 swap[] = {16, 32, 64};
    static const s16 ext[] = {8, 16, 32};
    u8 d = scalar(g), s = scalar(g);

    switch (pick(g, 5)) {
    case 0:
        PUT(MOVSX(d, s, ext[pick(g, 3)]));
        break;
    case 1:
        PUT(INSN(BPF_ALU | BPF_MOV | BPF_X, d, s, ext[pick(g, 2)], 0));
        break;
    case 2:
        PUT(INSN((pick(g, 2) ? BPF_ALU64 : BPF_ALU) | BPF_NEG, d, 0, 0, 0));
        break;
    case 3:
        PUT(INSN(BPF_ALU | BPF_END | (pick(g, 2) ? BPF_TO_BE : BPF_TO_LE), d, 0, 0, swap[pick(g, 3)]));
        break;
    default:
        PUT(INSN(BPF_ALU64 | BPF_END, d, 0, 0, swap[pick(g, 3)]));
        break;
    }
}

static void piece_alu(struct gen *g)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB,  BPF_MUL, BPF_AND, BPF_OR,  BPF_XOR, BPF_LSH,
                             BPF_RSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_MOV, BPF_AND, BPF_MOV};
    u8 op = ops[pick(g, sizeof(ops))], class = pick(g, 2) ? BPF_ALU64 : BPF_ALU;
    bool shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH, divide = op == BPF_DIV || op == BPF_MOD;
    s32 imm = number(g);
    s16 off = divide && !pick(g, 3) ? 1 : 0;
    u8 d = scalar(g);

    if (!pick(g, 8)) {
        piece_unary(g);
        return;
    }
    if (shift)
        imm = (s32)pick(g, class == BPF_ALU64 ? 64 : 32);
    if (divide && !imm)
        imm = 3;
    if (pick(g, 2))
        PUT(INSN(class | op | BPF_X, d, scalar(g), off, 0));
    else
        PUT(INSN(class | op | BPF_K, d, 0, off, imm));
}

static void piece_jump(struct gen *g)
{
    static const u8 ops[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                             BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
    u8 op = ops[pick(g, sizeof(ops))], class = pick(g, 2) ? BPF_JMP : BPF_JMP32;
    u8 a = scalar(g), b = scalar(g);

    if (pick(g, 3) == 0)
        PUT(INSN(class | op | BPF_X, a, b, 0, 0));
    else
        PUT(INSN(class | op | BPF_K, a, 0, 0, number(g)));
}

/* Sometimes a mask or a check, sometimes one that is a bit too wide, or on one side alone. */
static void piece_bound(struct gen *g, u8 reg, s32 limit, s16 over)
{
    switch (pick(g, 6)) {
    case 0:
        PUT(ALU(BPF_AND, reg, limit - 1));
        break;
    case 1:
        PUT(JMP(BPF_JGT, reg, limit - 8 + (s32)pick(g, 10), over));
        break;
    case 2:
        PUT(JMP32(BPF_JGE, reg, limit - 8 + (s32)pick(g, 10), over));
        break;
    case 3:
        PUT(JMP(BPF_JSGT, reg, limit - 8, over));
        break;
    case 4:
        PUT(JMP(BPF_JSLT, reg, pick(g, 2) ? 0 : -(s32)pick(g, 600), over));
        break;
    default:
        PUT(ALU32(BPF_AND, reg, limit - 8));
        break;
    }
}

static void piece_map(struct gen *g)
{
    u8 reg = scalar(g), size = sizes[pick(g, 4)];

    piece_bound(g, reg, VALUE_SIZE, 3);
    PUT(MOVX(R1, R8));
    PUT(ADDX(R1, reg));
    if (pick(g, 2))
        PUT(LDX(size, scalar(g), R1, (s16)((s32)pick(g, 10) - 1)));
    else
        PUT(STX(size, R1, (s16)((s32)pick(g, 10) - 1), scalar(g)));
}

static void piece_spill(struct gen *g)
{
    u32 k = pick(g, 4);
    s16 off = (s16)(-8 - (s32)(pick(g, 4u << (3 - k)) << k));

    switch (pick(g, 12)) {
    case 0:
        PUT(STX(BPF_DW, R10, (s16)(-8 * (1 + (s32)pick(g, 5))), pick(g, 2) ? R8 : R6));
        break;
    case 1: { /* a pointer goes to the stack, and comes back after something */
        s16 at = (s16)(-8 * (1 + (s32)pick(g, 5)));

        PUT(STX(BPF_DW, R10, at, R8));
        piece_alu(g);
        PUT(LDX(BPF_DW, R8, R10, at));
        break;
    }
    case 2:
    case 3:
    case 4:
        PUT(ST(sizes[k], R10, off, number(g)));
        break;
    case 5:
        if (k < 3) {
            PUT(LDSX(sizes[k], scalar(g), R10, off));
            break;
        }
        /* fallthrough */
    case 6:
    case 7:
        PUT(LDX(sizes[k], scalar(g), R10, off));
        break;
    default:
        PUT(STX(sizes[k], R10, off, scalar(g)));
        break;
    }
}

static void piece_stack_var(struct gen *g)
{
    u8 reg = scalar(g);

    u32 how = pick(g, 8);

    if (how == 0) { /* below zero, by checks of either side, of both, or of the wrong one */
        PUT(JMP(pick(g, 4) ? BPF_JSLT : BPF_JLT, reg, -(s32)pick(g, 49), 4));
        PUT(JMP(pick(g, 4) ? BPF_JSGT : BPF_JGT, reg, -(s32)pick(g, 9), 3));
        if (pick(g, 2))
            g->n -= 1;
        PUT(MOVX(R1, R10));
    } else {
        if (how == 1)
            piece_bound(g, reg, 24, 4);
        else
            PUT(ALU(BPF_AND, reg, pick(g, 2) ? 24 : 31));
        PUT(MOVX(R1, R10));
        PUT(ADD(R1, -32 - (s32)pick(g, 2) * 8));
    }
    PUT(ADDX(R1, reg));
    if (pick(g, 2))
        PUT(STX(BPF_B, R1, 0, scalar(g)));
    else
        PUT(LDX(pick(g, 2) ? BPF_B : BPF_DW, scalar(g), R1, 0));
}

static void piece_atomic(struct gen *g)
{
    static const s32 ops[] = {BPF_ADD, BPF_ADD | BPF_FETCH, BPF_XCHG,
                              BPF_OR,  BPF_XOR | BPF_FETCH, BPF_CMPXCHG};
    bool stack = pick(g, 2);
    s32 op = ops[pick(g, TN_ARRAY_SIZE(ops))];

    PUT(ATOMIC(pick(g, 2) ? BPF_DW : BPF_W, stack ? R10 : R8, stack ? (s16)(-8 * (1 + (s32)pick(g, 4))) : 0,
               scalar(g), op));
}

/* What lies behind r6: the context, or the caller's stack. */
static void piece_below(struct gen *g)
{
    u32 k = pick(g, 4);

    if (!g->in_callee)
        PUT(LDX(BPF_DW, scalar(g), R6, (s16)(8 * pick(g, 21))));
    else if (pick(g, 2))
        PUT(LDX(sizes[k], scalar(g), R6, (s16)(pick(g, 5u << (3 - k)) << k)));
    else
        PUT(STX(sizes[k], R6, (s16)(pick(g, 5u << (3 - k)) << k), scalar(g)));
}

/* A look-up: the key is a constant, a number, what a branch left, or what happens to lie there. */
static void piece_lookup(struct gen *g)
{
    u32 map = pick(g, 3) ? M_ARRAY : M_PERCPU, at;
    s16 key = (s16)(-4 * (1 + (s32)pick(g, 10)));
    bool callers = g->in_callee && !pick(g, 3);

    switch (pick(g, 4)) {
    case 0:
        PUT(ST(BPF_W, R10, key, (s32)pick(g, 5)));
        break;
    case 1:
        PUT(STX(BPF_W, R10, key, scalar(g)));
        break;
    case 2:
        PUT(ST(BPF_W, R10, key, (s32)pick(g, 3)));
        PUT(JMP(BPF_JGT, scalar(g), number(g), 1));
        PUT(ST(BPF_W, R10, key, (s32)pick(g, 3)));
        break;
    default:
        break;
    }
    if (callers) {
        PUT(MOVX(R2, R6));
        PUT(ADD(R2, (s32)(4 * pick(g, 10))));
    } else {
        PUT(MOVX(R2, R10));
        PUT(ADD(R2, key));
    }
    ALL(LDMAP(R1, (s32)map), CALL(1));
    at = g->n;
    if (map == M_ARRAY && pick(g, 2)) {
        PUT(JMP(BPF_JEQ, R0, 0, 1));
        PUT(MOVX(R8, R0));
    } else if (pick(g, 8)) {
        PUT(JMP(BPF_JEQ, R0, 0, 0));
        PUT(LDX(BPF_DW, R5, R0, 0));
        PUT(ADD(R5, 1));
        PUT(STX(BPF_DW, R0, (s16)(pick(g, 8) ? 0 : 8), R5));
        g->insn[at].off = 3;
    }
    PUT(MOV(R0, number(g)));
    renew(g);
}

/* A helper that writes or reads a piece of the stack, or of the value. */
static void piece_buffer(struct gen *g)
{
    u8 reg = scalar(g);
    bool varies = !pick(g, 3);

    if (varies)
        PUT(ALU(BPF_AND, reg, pick(g, 2) ? 7 : 15));
    if (varies)
        PUT(MOVX(R2, reg));
    else
        PUT(MOV(R2, 1 + (s32)pick(g, 17)));
    PUT(MOVX(R1, pick(g, 3) ? R10 : R8));
    if (g->insn[g->n - 1].src_reg == R10)
        PUT(ADD(R1, -16 - (s32)pick(g, 25)));
    else
        PUT(ADD(R1, (s32)pick(g, 49)));
    if (g->in_callee && !pick(g, 4)) {
        PUT(MOVX(R1, R6));
        PUT(ADD(R1, (s32)pick(g, 24)));
    }
    switch (pick(g, 3)) {
    case 0:
        PUT(ADD(R2, varies));
        PUT(CALL(16));
        break;
    case 1:
        PUT(MOV(R3, 0));
        PUT(CALL(112));
        break;
    default:
        PUT(MOVX(R3, R2));
        PUT(MOVX(R2, R1));
        PUT(MOV(R4, 0));
        ALL(LDMAP(R1, M_RINGBUF), CALL(130));
        break;
    }
    renew(g);
}

static void piece_random_number(struct gen *g)
{
    PUT(CALL(7));
    renew(g);
}

static void piece_body(struct gen *g)
{
    switch (pick(g, g->plain ? 9 : 13)) {
    case 0:
    case 1:
    case 2:
        piece_alu(g);
        break;
    case 3:
        piece_below(g);
        break;
    case 4:
        piece_spill(g);
        break;
    case 5:
    case 6:
        piece_map(g);
        break;
    case 7:
        piece_stack_var(g);
        break;
    case 8:
        piece_atomic(g);
        break;
    case 9:
    case 10:
        piece_lookup(g);
        break;
    case 11:
        piece_buffer(g);
        break;
    default:
        piece_random_number(g);
        break;
    }
}

/* A reservation: held in r9 or on the stack over some pieces, a branch or a call, then given back, mostly. */
static void piece_ring(struct gen *g)
{
    bool spilled = pick(g, 2), early = pick(g, 2);
    u32 null;

    ALL(LDMAP(R1, M_RINGBUF), MOV(R2, 8 * (1 + (s32)pick(g, 4))), MOV(R3, 0), CALL(131));
    if (early)
        PUT(MOVX(R9, R0));
    if (spilled)
        PUT(STX(BPF_DW, R10, -48, early ? R9 : R0));
    null = g->n;
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    if (!early)
        PUT(MOVX(R9, R0));
    PUT(ST(sizes[pick(g, 4)], R9, (s16)pick(g, 20), 1));
    PUT(MOV(R0, number(g)));
    renew(g);
    for (u32 k = pick(g, 3); k > 0; k--)
        if (pick(g, 2))
            piece_spill(g);
        else
            piece_map(g);
    if (spilled && pick(g, 2))
        PUT(LDX(BPF_DW, R1, R10, -48));
    else
        PUT(MOVX(R1, R9));
    PUT(MOV(R2, 0));
    if (pick(g, 10))
        PUT(CALL(132 + (s32)pick(g, 2)));
    if (!pick(g, 8))
        PUT(LDX(BPF_B, R2, R9, 0));
    g->insn[null].off = (s16)(g->n - null - 1);
    PUT(MOV(R0, number(g)));
    PUT(MOV(R9, number(g)));
    PUT(ST(BPF_DW, R10, -48, number(g)));
    renew(g);
}

/* Which function is called is settled when they are placed, at the end. */
static void piece_call(struct gen *g)
{
    u32 what = pick(g, 4);

    if (g->in_callee || g->ncalls == TN_ARRAY_SIZE(g->call))
        return;
    PUT(MOVX(R1, R10));
    PUT(ADD(R1, -40));
    PUT(MOVX(R2, scalar(g)));
    PUT(MOVX(R3, R8));
    g->call[g->ncalls] = g->n;
    g->callee[g->ncalls++] = what;
    PUT(CALLP(0));
    if (what == 1) { /* gives a pointer back: the value moved, or a look-up's result */
        if (pick(g, 4)) {
            PUT(LDX(sizes[pick(g, 4)], R9, R0, (s16)pick(g, 60)));
        }
        PUT(MOV(R0, number(g)));
    } else if (what == 2) {
        if (pick(g, 8)) {
            PUT(JMP(BPF_JEQ, R0, 0, 1));
            PUT(MOVX(R8, R0));
        }
        PUT(MOV(R0, number(g)));
    }
    renew(g);
}

static void piece(struct gen *g)
{
    u32 at = g->n;

    switch (pick(g, g->plain ? 8 : 11)) {
    case 0:
        if (g->loops++ < 2) {
            PUT(MOV(R7, 0));
            at = g->n;
            for (u32 k = pick(g, 3); k > 0; k--)
                piece_body(g);
            PUT(ADD(R7, 1));
            PUT(JMP(BPF_JLT, R7, (s32)pick(g, 12), 0));
            g->insn[g->n - 1].off = (s16)((s32)at - (s32)g->n);
        }
        break;
    case 1:
    case 2:
        piece_jump(g);
        for (u32 k = 1 + pick(g, 3); k > 0; k--)
            piece_body(g);
        g->insn[at].off = (s16)(g->n - at - 1);
        break;
    case 8:
        piece_ring(g);
        break;
    case 9:
        piece_call(g);
        break;
    default:
        piece_body(g);
        break;
    }
}

static void frame_start(struct gen *g)
{
    static const u8 start[] = {R0, R2, R3, R4, R5, R9};

    for (s16 k = 1; k <= 6; k++)
        PUT(ST(BPF_DW, R10, (s16)(-8 * k), (s32)pick(g, 9)));
    for (u32 k = 0; k < sizeof(start); k++) {
        if (g->in_callee && start[k] == R9)
            PUT(MOVX(R9, R2));
        else if (pick(g, 3))
            PUT(LDX(pick(g, 2) ? BPF_DW : BPF_B, start[k], R6, (s16)(8 * pick(g, g->in_callee ? 5 : 21))));
        else
            PUT(MOV(start[k], number(g)));
    }
}

static void function(struct gen *g, u32 what)
{
    g->in_callee = true;
    g->loops = 1;
    PUT(MOVX(R6, R1));
    PUT(MOVX(R8, R3));
    PUT(MOV(R7, 0));
    PUT(MOVX(R9, R2));
    for (s16 k = 1; k <= 6; k++)
        PUT(ST(BPF_DW, R10, (s16)(-8 * k), (s32)pick(g, 9)));
    PUT(MOV(R0, number(g)));
    renew(g);
    for (u32 k = 1 + pick(g, 3); k > 0 && g->n < GEN_MAX_PROG - 60; k--)
        piece(g);
    if (what == 1) {
        PUT(MOVX(R0, R8));
        PUT(ALU(BPF_AND, R9, 7));
        PUT(ADDX(R0, R9));
    } else if (what == 2) {
        ALL(LOOKUP(M_ARRAY));
        PUT(JMP(BPF_JNE, R7, 0, 0));
    } else {
        PUT(MOVX(R0, scalar(g)));
    }
    PUT(EXIT);
}

void gen_program(struct gen *g, u64 seed, bool plain)
{
    const struct bpf_insn lookup[] = {LOOKUP(M_ARRAY)};
    u32 at[4] = {0}, main_end;

    *g = (struct gen){.seed = seed ? seed : 1, .plain = plain};
    PUT(MOVX(R6, R1));
    put_all(g, lookup, TN_ARRAY_SIZE(lookup));
    PUT(JMP(BPF_JNE, R0, 0, 1));
    PUT(EXIT);
    PUT(MOVX(R8, R0));
    PUT(MOV(R7, 0));
    frame_start(g);
    for (u32 k = 2 + pick(g, 9); k > 0 && g->n < 180; k--)
        piece(g);
    PUT(MOVX(R0, scalar(g)));
    PUT(EXIT);
    main_end = g->ncalls;
    for (u32 k = 0; k < main_end; k++) {
        u32 what = g->callee[k];

        if (!at[what]) {
            at[what] = g->n;
            function(g, what);
        }
        g->insn[g->call[k]].imm = (s32)(at[what] - g->call[k] - 1);
    }
}
