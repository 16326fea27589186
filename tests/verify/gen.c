/* SPDX-License-Identifier: MIT */
/* The generator; see gen.h. */
#include "tests/verify/gen_parts.h"

u64 gen_rnd(struct gen *g)
{
    g->seed ^= g->seed << 13;
    g->seed ^= g->seed >> 7;
    g->seed ^= g->seed << 17;
    return g->seed;
}

u32 gen_pick(struct gen *g, u32 n)
{
    return (u32)(gen_rnd(g) >> 20) % n;
}

void gen_put(struct gen *g, struct bpf_insn i)
{
    if (g->n < GEN_MAX_PROG)
        g->insn[g->n++] = i;
}

void gen_put_all(struct gen *g, const struct bpf_insn *insns, size_t n)
{
    for (size_t k = 0; k < n; k++)
        gen_put(g, insns[k]);
}
u8 gen_scalar(struct gen *g)
{
    static const u8 regs[] = {R0, R2, R3, R4, R5, R9};

    return regs[gen_pick(g, sizeof(regs))];
}

s32 gen_number(struct gen *g)
{
    static const s32 some[] = {0,  1,  -1,  7,    8,         15,        31,   56, 57,
                               63, 64, 255, 4095, INT32_MAX, INT32_MIN, -512, -8, -40};

    return gen_pick(g, 4) ? some[gen_pick(g, TN_ARRAY_SIZE(some))] : (s32)gen_rnd(g);
}

/* A number from what lies behind r6: the context, or the caller's stack. */
void gen_context(struct gen *g, u8 reg)
{
    static const s16 tc[] = {0, 4, 8, 16, 20, 32, 36, 48, 52, 64, 68};

    if (g->in_callee)
        PUT(LDX(BPF_DW, reg, R6, (s16)(8 * gen_pick(g, 5))));
    else if (g->type == BPF_PROG_TYPE_SCHED_CLS || g->type == BPF_PROG_TYPE_SOCKET_FILTER)
        PUT(LDX(BPF_W, reg, R6, tc[gen_pick(g, TN_ARRAY_SIZE(tc))]));
    else if (g->type == BPF_PROG_TYPE_RAW_TRACEPOINT || g->type == BPF_PROG_TYPE_PERF_EVENT)
        PUT(LDX(BPF_DW, reg, R6, (s16)(8 * gen_pick(g, 12))));
    else if (g->type == BPF_PROG_TYPE_XDP)
        PUT(LDX(BPF_W, reg, R6, gen_pick(g, 2) ? 12 : 16));
    else if (g->type == BPF_PROG_TYPE_TRACING)
        PUT(LDX(BPF_DW, reg, R6, gen_pick(g, 2) ? 8 : 16));
    else
        PUT(LDX(gen_pick(g, 4) ? BPF_DW : BPF_B, reg, R6, (s16)(8 * gen_pick(g, 21))));
}

/* After a call: numbers again in what it took. */
void gen_renew(struct gen *g)
{
    for (u8 r = R2; r <= R5; r++) {
        if (gen_pick(g, 3))
            PUT(MOV(r, gen_number(g)));
        else
            gen_context(g, r);
    }
}

static void piece_unary(struct gen *g)
{
    static const s32 swap[] = {16, 32, 64};
    static const s16 ext[] = {8, 16, 32};
    u8 d = gen_scalar(g), s = gen_scalar(g);

    switch (gen_pick(g, 5)) {
    case 0:
        PUT(MOVSX(d, s, ext[gen_pick(g, 3)]));
        break;
    case 1:
        PUT(INSN(BPF_ALU | BPF_MOV | BPF_X, d, s, ext[gen_pick(g, 2)], 0));
        break;
    case 2:
        PUT(INSN((gen_pick(g, 2) ? BPF_ALU64 : BPF_ALU) | BPF_NEG, d, 0, 0, 0));
        break;
    case 3:
        PUT(INSN(BPF_ALU | BPF_END | (gen_pick(g, 2) ? BPF_TO_BE : BPF_TO_LE), d, 0, 0,
                 swap[gen_pick(g, 3)]));
        break;
    default:
        PUT(INSN(BPF_ALU64 | BPF_END, d, 0, 0, swap[gen_pick(g, 3)]));
        break;
    }
}

void gen_alu(struct gen *g)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB,  BPF_MUL, BPF_AND, BPF_OR,  BPF_XOR, BPF_LSH,
                             BPF_RSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_MOV, BPF_AND, BPF_MOV};
    u8 op = ops[gen_pick(g, sizeof(ops))], class = gen_pick(g, 2) ? BPF_ALU64 : BPF_ALU;
    bool shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH, divide = op == BPF_DIV || op == BPF_MOD;
    s32 imm = gen_number(g);
    s16 off = divide && !gen_pick(g, 3) ? 1 : 0;
    u8 d = gen_scalar(g);

    if (!gen_pick(g, 8)) {
        piece_unary(g);
        return;
    }
    if (shift)
        imm = (s32)gen_pick(g, class == BPF_ALU64 ? 64 : 32);
    if (divide && !imm)
        imm = 3;
    if (gen_pick(g, 2))
        PUT(INSN(class | op | BPF_X, d, gen_scalar(g), off, 0));
    else
        PUT(INSN(class | op | BPF_K, d, 0, off, imm));
}

void gen_jump(struct gen *g)
{
    static const u8 ops[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                             BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};
    u8 op = ops[gen_pick(g, sizeof(ops))], class = gen_pick(g, 2) ? BPF_JMP : BPF_JMP32;
    u8 a = gen_scalar(g), b = gen_scalar(g);

    if (gen_pick(g, 3) == 0)
        PUT(INSN(class | op | BPF_X, a, b, 0, 0));
    else
        PUT(INSN(class | op | BPF_K, a, 0, 0, gen_number(g)));
}

/* Sometimes a mask or a check, sometimes one that is a bit too wide, or on one side alone. */
void gen_bound(struct gen *g, u8 reg, s32 limit, s16 over)
{
    switch (gen_pick(g, 6)) {
    case 0:
        PUT(ALU(BPF_AND, reg, limit - 1));
        break;
    case 1:
        PUT(JMP(BPF_JGT, reg, limit - 8 + (s32)gen_pick(g, 10), over));
        break;
    case 2:
        PUT(JMP32(BPF_JGE, reg, limit - 8 + (s32)gen_pick(g, 10), over));
        break;
    case 3:
        PUT(JMP(BPF_JSGT, reg, limit - 8, over));
        break;
    case 4:
        PUT(JMP(BPF_JSLT, reg, gen_pick(g, 2) ? 0 : -(s32)gen_pick(g, 600), over));
        break;
    default:
        PUT(ALU32(BPF_AND, reg, limit - 8));
        break;
    }
}

void gen_map(struct gen *g)
{
    u8 reg = gen_scalar(g), size = sizes[gen_pick(g, 4)];

    gen_bound(g, reg, VALUE_SIZE, 3);
    PUT(MOVX(R1, R8));
    PUT(ADDX(R1, reg));
    if (gen_pick(g, 2))
        PUT(LDX(size, gen_scalar(g), R1, (s16)((s32)gen_pick(g, 10) - 1)));
    else
        PUT(STX(size, R1, (s16)((s32)gen_pick(g, 10) - 1), gen_scalar(g)));
}

void gen_spill(struct gen *g)
{
    u32 k = gen_pick(g, 4);
    s16 off = (s16)(-8 - (s32)(gen_pick(g, 4u << (3 - k)) << k));

    switch (gen_pick(g, 12)) {
    case 0:
        PUT(STX(BPF_DW, R10, (s16)(-8 * (1 + (s32)gen_pick(g, 5))), gen_pick(g, 2) ? R8 : R6));
        break;
    case 1: { /* a pointer goes to the stack, and comes back after something */
        s16 at = (s16)(-8 * (1 + (s32)gen_pick(g, 5)));

        PUT(STX(BPF_DW, R10, at, R8));
        gen_alu(g);
        PUT(LDX(BPF_DW, R8, R10, at));
        break;
    }
    case 2:
    case 3:
    case 4:
        PUT(ST(sizes[k], R10, off, gen_number(g)));
        break;
    case 5:
        if (k < 3) {
            PUT(LDSX(sizes[k], gen_scalar(g), R10, off));
            break;
        }
        /* fallthrough */
    case 6:
    case 7:
        PUT(LDX(sizes[k], gen_scalar(g), R10, off));
        break;
    default:
        PUT(STX(sizes[k], R10, off, gen_scalar(g)));
        break;
    }
}

static void piece_stack_var(struct gen *g)
{
    u8 reg = gen_scalar(g);

    u32 how = gen_pick(g, 8);

    if (how == 0) { /* below zero, by checks of either side, of both, or of the wrong one */
        PUT(JMP(gen_pick(g, 4) ? BPF_JSLT : BPF_JLT, reg, -(s32)gen_pick(g, 49), 4));
        PUT(JMP(gen_pick(g, 4) ? BPF_JSGT : BPF_JGT, reg, -(s32)gen_pick(g, 9), 3));
        if (gen_pick(g, 2))
            g->n -= 1;
        PUT(MOVX(R1, R10));
    } else {
        if (how == 1)
            gen_bound(g, reg, 24, 4);
        else
            PUT(ALU(BPF_AND, reg, gen_pick(g, 2) ? 24 : 31));
        PUT(MOVX(R1, R10));
        PUT(ADD(R1, -32 - (s32)gen_pick(g, 2) * 8));
    }
    PUT(ADDX(R1, reg));
    if (gen_pick(g, 2))
        PUT(STX(BPF_B, R1, 0, gen_scalar(g)));
    else
        PUT(LDX(gen_pick(g, 2) ? BPF_B : BPF_DW, gen_scalar(g), R1, 0));
}

static void piece_atomic(struct gen *g)
{
    static const s32 ops[] = {BPF_ADD, BPF_ADD | BPF_FETCH, BPF_XCHG,
                              BPF_OR,  BPF_XOR | BPF_FETCH, BPF_CMPXCHG};
    bool stack = gen_pick(g, 2);
    s32 op = ops[gen_pick(g, TN_ARRAY_SIZE(ops))];

    PUT(ATOMIC(gen_pick(g, 2) ? BPF_DW : BPF_W, stack ? R10 : R8,
               stack ? (s16)(-8 * (1 + (s32)gen_pick(g, 4))) : 0, gen_scalar(g), op));
}

/* What lies behind r6: the context, or the caller's stack. */
static void piece_below(struct gen *g)
{
    u32 k = gen_pick(g, 4);

    if (!g->in_callee)
        gen_context(g, gen_scalar(g));
    else if (gen_pick(g, 2))
        PUT(LDX(sizes[k], gen_scalar(g), R6, (s16)(gen_pick(g, 5u << (3 - k)) << k)));
    else
        PUT(STX(sizes[k], R6, (s16)(gen_pick(g, 5u << (3 - k)) << k), gen_scalar(g)));
}

/* A look-up: the key is a constant, a number, what a branch left, or what happens to lie there. */
static void piece_lookup(struct gen *g)
{
    u32 map = gen_pick(g, 3) ? M_ARRAY : M_PERCPU, at;
    s16 key = (s16)(-4 * (1 + (s32)gen_pick(g, 10)));
    bool callers = g->in_callee && !gen_pick(g, 3);

    switch (gen_pick(g, 4)) {
    case 0:
        PUT(ST(BPF_W, R10, key, (s32)gen_pick(g, 5)));
        break;
    case 1:
        PUT(STX(BPF_W, R10, key, gen_scalar(g)));
        break;
    case 2:
        PUT(ST(BPF_W, R10, key, (s32)gen_pick(g, 3)));
        PUT(JMP(BPF_JGT, gen_scalar(g), gen_number(g), 1));
        PUT(ST(BPF_W, R10, key, (s32)gen_pick(g, 3)));
        break;
    default:
        break;
    }
    if (callers) {
        PUT(MOVX(R2, R6));
        PUT(ADD(R2, (s32)(4 * gen_pick(g, 10))));
    } else {
        PUT(MOVX(R2, R10));
        PUT(ADD(R2, key));
    }
    ALL(LDMAP(R1, (s32)map), CALL(1));
    at = g->n;
    if (map == M_ARRAY && gen_pick(g, 2)) {
        PUT(JMP(BPF_JEQ, R0, 0, 1));
        PUT(MOVX(R8, R0));
    } else if (gen_pick(g, 8)) {
        PUT(JMP(BPF_JEQ, R0, 0, 0));
        PUT(LDX(BPF_DW, R5, R0, 0));
        PUT(ADD(R5, 1));
        PUT(STX(BPF_DW, R0, (s16)(gen_pick(g, 8) ? 0 : 8), R5));
        g->insn[at].off = 3;
    }
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
}

/* A helper that writes or reads a piece of the stack, or of the value. */
static void piece_buffer(struct gen *g)
{
    u8 reg = gen_scalar(g);
    bool varies = !gen_pick(g, 3);

    if (varies)
        PUT(ALU(BPF_AND, reg, gen_pick(g, 2) ? 7 : 15));
    if (varies)
        PUT(MOVX(R2, reg));
    else
        PUT(MOV(R2, 1 + (s32)gen_pick(g, 17)));
    PUT(MOVX(R1, gen_pick(g, 3) ? R10 : R8));
    if (g->insn[g->n - 1].src_reg == R10)
        PUT(ADD(R1, -16 - (s32)gen_pick(g, 25)));
    else
        PUT(ADD(R1, (s32)gen_pick(g, 49)));
    if (g->in_callee && !gen_pick(g, 4)) {
        PUT(MOVX(R1, R6));
        PUT(ADD(R1, (s32)gen_pick(g, 24)));
    }
    switch (gen_pick(g, 3)) {
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
    gen_renew(g);
}

static void piece_random_number(struct gen *g)
{
    PUT(CALL(7));
    gen_renew(g);
}

void gen_body(struct gen *g)
{
    switch (gen_pick(g, g->plain ? 9 : 13)) {
    case 0:
    case 1:
    case 2:
        gen_alu(g);
        break;
    case 3:
        piece_below(g);
        break;
    case 4:
        gen_spill(g);
        break;
    case 5:
    case 6:
        gen_map(g);
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
    bool spilled = gen_pick(g, 2), early = gen_pick(g, 2);
    u32 null;

    ALL(LDMAP(R1, M_RINGBUF), MOV(R2, 8 * (1 + (s32)gen_pick(g, 4))), MOV(R3, 0), CALL(131));
    if (early)
        PUT(MOVX(R9, R0));
    if (spilled)
        PUT(STX(BPF_DW, R10, -48, early ? R9 : R0));
    null = g->n;
    PUT(JMP(BPF_JEQ, R0, 0, 0));
    if (!early)
        PUT(MOVX(R9, R0));
    PUT(ST(sizes[gen_pick(g, 4)], R9, (s16)gen_pick(g, 20), 1));
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
    for (u32 k = gen_pick(g, 3); k > 0; k--)
        if (gen_pick(g, 2))
            gen_spill(g);
        else
            gen_map(g);
    if (spilled && gen_pick(g, 2))
        PUT(LDX(BPF_DW, R1, R10, -48));
    else
        PUT(MOVX(R1, R9));
    PUT(MOV(R2, 0));
    if (gen_pick(g, 10))
        PUT(CALL(132 + (s32)gen_pick(g, 2)));
    if (!gen_pick(g, 8))
        PUT(LDX(BPF_B, R2, R9, 0));
    g->insn[null].off = (s16)(g->n - null - 1);
    PUT(MOV(R0, gen_number(g)));
    PUT(MOV(R9, gen_number(g)));
    PUT(ST(BPF_DW, R10, -48, gen_number(g)));
    gen_renew(g);
}

/* Which function is called is settled when they are placed, at the end. */
static void piece_call(struct gen *g)
{
    u32 what = gen_pick(g, 4);

    if (g->in_callee || g->ncalls == TN_ARRAY_SIZE(g->call))
        return;
    PUT(MOVX(R1, R10));
    PUT(ADD(R1, -40));
    PUT(MOVX(R2, gen_scalar(g)));
    PUT(MOVX(R3, R8));
    g->call[g->ncalls] = g->n;
    g->callee[g->ncalls++] = what;
    PUT(CALLP(0));
    if (what == 1) { /* gives a pointer back: the value moved, or a look-up's result */
        if (gen_pick(g, 4)) {
            PUT(LDX(sizes[gen_pick(g, 4)], R9, R0, (s16)gen_pick(g, 60)));
        }
        PUT(MOV(R0, gen_number(g)));
    } else if (what == 2) {
        if (gen_pick(g, 8)) {
            PUT(JMP(BPF_JEQ, R0, 0, 1));
            PUT(MOVX(R8, R0));
        }
        PUT(MOV(R0, gen_number(g)));
    }
    gen_renew(g);
}

static void piece(struct gen *g)
{
    u32 at = g->n;

    if (g->world && gen_pick(g, 5) < 3) {
        gen_object(g);
        return;
    }
    switch (gen_pick(g, g->plain ? 8 : 11)) {
    case 0:
        if (g->loops++ < 2) {
            PUT(MOV(R7, 0));
            at = g->n;
            for (u32 k = gen_pick(g, 3); k > 0; k--)
                gen_body(g);
            PUT(ADD(R7, 1));
            PUT(JMP(BPF_JLT, R7, (s32)gen_pick(g, 12), 0));
            g->insn[g->n - 1].off = (s16)((s32)at - (s32)g->n);
        }
        break;
    case 1:
    case 2:
        gen_jump(g);
        for (u32 k = 1 + gen_pick(g, 3); k > 0; k--)
            gen_body(g);
        g->insn[at].off = (s16)(g->n - at - 1);
        break;
    case 8:
        piece_ring(g);
        break;
    case 9:
        piece_call(g);
        break;
    default:
        gen_body(g);
        break;
    }
}

static void frame_start(struct gen *g)
{
    static const u8 start[] = {R0, R2, R3, R4, R5, R9};

    for (s16 k = 1; k <= 6; k++)
        PUT(ST(BPF_DW, R10, (s16)(-8 * k), (s32)gen_pick(g, 9)));
    for (u32 k = 0; k < sizeof(start); k++) {
        if (g->in_callee && start[k] == R9)
            PUT(MOVX(R9, R2));
        else if (gen_pick(g, 3))
            gen_context(g, start[k]);
        else
            PUT(MOV(start[k], gen_number(g)));
    }
}

static void callback_start(struct gen *g, u32 what)
{
    if (what == CALLS_EACH) { /* map, key, value, context */
        PUT(MOVX(R6, R4));
        PUT(MOVX(R8, R3));
        PUT(LDX(sizes[gen_pick(g, 3)], R9, R2, 0));
    } else {
        PUT(MOVX(R6, R2));
        if (what == CALLS_LOOP)
            PUT(MOVX(R9, R1));
        else
            ALL(MOVX(R9, R1), STX(BPF_DW, R10, -112, R1));
        ALL(LDVAL(R8, M_SINGLE, 0));
    }
    if (what == CALLS_DRAIN) { /* some bytes of the dynptr */
        ALL(MOVX(R1, R9), MOV(R2, (s32)gen_pick(g, 8)), MOV(R3, 8), CALL(203));
        PUT(JMP(BPF_JEQ, R0, 0, 1));
        PUT(LDX(sizes[gen_pick(g, 4)], R9, R0, (s16)gen_pick(g, 6)));
        PUT(MOV(R9, gen_number(g)));
    }
}

static void function(struct gen *g, u32 what)
{
    bool callback = what >= CALLS_LOOP;

    g->in_callee = true;
    g->in_callback = callback;
    g->loops = 1;
    if (callback) {
        callback_start(g, what);
    } else {
        PUT(MOVX(R6, R1));
        PUT(MOVX(R8, R3));
        PUT(MOVX(R9, R2));
    }
    PUT(MOV(R7, 0));
    for (s16 k = 1; k <= 6; k++)
        PUT(ST(BPF_DW, R10, (s16)(-8 * k), (s32)gen_pick(g, 9)));
    PUT(MOV(R0, gen_number(g)));
    gen_renew(g);
    for (u32 k = 1 + gen_pick(g, 3); k > 0 && g->n < GEN_MAX_PROG - 70; k--)
        piece(g);
    if (callback) {
        PUT(MOVX(R0, gen_scalar(g)));
        PUT(ALU(BPF_AND, R0, gen_pick(g, 12) ? 1 : 3));
    } else if (what == CALLS_MOVED) {
        PUT(MOVX(R0, R8));
        PUT(ALU(BPF_AND, R9, 7));
        PUT(ADDX(R0, R9));
    } else if (what == CALLS_LOOKUP) {
        ALL(LOOKUP(M_ARRAY));
        PUT(JMP(BPF_JNE, R7, 0, 0));
    } else {
        PUT(MOVX(R0, gen_scalar(g)));
    }
    PUT(EXIT);
}

static void program(struct gen *g)
{
    const struct bpf_insn lookup[] = {LOOKUP(M_ARRAY)};
    u32 at[CALLS_KINDS] = {0};

    PUT(MOVX(R6, R1));
    gen_put_all(g, lookup, TN_ARRAY_SIZE(lookup));
    PUT(JMP(BPF_JNE, R0, 0, 1));
    PUT(EXIT);
    PUT(MOVX(R8, R0));
    PUT(MOV(R7, 0));
    frame_start(g);
    for (u32 k = 2 + gen_pick(g, 9); k > 0 && g->n < 180; k--)
        piece(g);
    if (g->type == BPF_PROG_TYPE_TRACING)
        PUT(MOV(R0, 0));
    else
        PUT(MOVX(R0, gen_scalar(g)));
    PUT(EXIT);
    g->nfuncs = 1;
    for (u32 k = 0; k < g->ncalls; k++) {
        u32 what = g->callee[k];

        if (!at[what]) {
            at[what] = g->n;
            g->func[g->nfuncs++] = g->n;
            function(g, what);
        }
        g->insn[g->call[k]].imm = (s32)(at[what] - g->call[k] - 1);
    }
}

void gen_program(struct gen *g, u64 seed, bool plain)
{
    *g = (struct gen){.seed = seed ? seed : 1, .plain = plain, .type = BPF_PROG_TYPE_KPROBE};
    program(g);
}

void gen_in_world(struct gen *g, u64 seed, const struct world *world, u32 type)
{
    *g = (struct gen){.seed = seed ? seed : 1, .world = world, .type = type};
    program(g);
}
