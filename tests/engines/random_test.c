/* SPDX-License-Identifier: MIT */
/*
 * Random programs, both engines, same answer: R0, what is left in the context, and what is left in a map.
 * Programs are valid by construction: every register holds a number before it is read (R6 the context, R7 the
 * map's value, R10 the stack: never arithmetic on those), jumps go forward, loops count down a register
 * nobody else writes, memory accesses have known bases and offsets. A function may be called back, by a loop or for
 * each element of a second map; it begins like the program, and may do the same with later ones. A seed is one program; a
 * failure prints it.
 *
 * What is generated leans towards what the compiler treats specially: neighbours that form groups, dead
 * values, stack slots that are written and not read, divisors in rax and rdx, shifts by rcx.
 */
#include "engine.h"

#define PROGRAMS   4000u
#define MAX_INSNS  400u
#define CTX_WORDS  32u
#define MAP_BYTES  256u
#define STACK      64
#define BACK_MAX   5u
#define BACK_INSNS 160u
#define EACH       5u /* elements of the map that is gone through */

struct gen {
    struct bpf_insn insn[MAX_INSNS + 64 + BACK_MAX * BACK_INSNS];
    u32 n, limit; /* of instructions in this function */
    u64 seed;
    u32 back[BACK_MAX]; /* two-slot loads of the functions that are called back, in their order */
    u32 nback;
    bool in_back;
    bool each[BACK_MAX]; /* for each element; else by a loop */
    struct {
        u32 call;
        bool function, no_flags;
    } known[BACK_MAX]; /* what a verifier may have found out */
};

static u32 pick(struct gen *g, u32 n)
{
    return (u32)(rnd(&g->seed) % n);
}

/* Registers that hold numbers: R0 … R5, R8. R9 counts loops. */
static u8 num(struct gen *g)
{
    static const u8 regs[] = {0, 1, 2, 3, 4, 5, 8};

    return regs[pick(g, TN_ARRAY_SIZE(regs))];
}

static void put(struct gen *g, struct bpf_insn insn)
{
    g->insn[g->n++] = insn;
}

static s32 imm(struct gen *g)
{
    static const s32 special[] = {0, 1, -1, 2, 7, 8, 127, 128, -128, -129, 255, 4096, INT32_MAX, INT32_MIN};

    return pick(g, 2) ? special[pick(g, TN_ARRAY_SIZE(special))] : (s32)rnd(&g->seed);
}

static void load_const(struct gen *g, u8 reg)
{
    u64 v = pick(g, 3) ? rnd(&g->seed) >> pick(g, 64) : (u64)(s64)imm(g);
    const struct bpf_insn ld[] = {LD64(reg, v)};

    put(g, ld[0]);
    put(g, ld[1]);
}

/* A base, and an offset at which `bytes` bytes are readable and writable; aligned for atomics. */
static u8 place(struct gen *g, u32 bytes, s16 *ret_off)
{
    switch (pick(g, 3)) {
    case 0:
        *ret_off = (s16)(pick(g, CTX_WORDS * 8 / bytes) * bytes);
        return 6;
    case 1:
        *ret_off = (s16)(pick(g, MAP_BYTES / bytes) * bytes);
        return 7;
    default:
        *ret_off = (s16)(-STACK + (s32)(pick(g, STACK / bytes) * bytes));
        return 10;
    }
}

static void arithmetic(struct gen *g)
{
    for (;;) {
        const struct tn_op_row *row = &tn_op_rows[1 + pick(g, TN_OP_COUNT - 1)];
        u8 op = BPF_OP(row->code), d = num(g);
        bool x = BPF_SRC(row->code) == BPF_X;

        switch (row->kind) {
        case TN_KIND_ALU: {
            s32 k = imm(g);

            if (!x && (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH))
                k = (s32)pick(g, row->bytes * 8u);
            put(g, I(row->code, d, x ? num(g) : 0, row->off, x ? 0 : k));
            return;
        }
        case TN_KIND_MOVSX:
            put(g, I(row->code, d, num(g), 8 << pick(g, row->bytes == 8 ? 3 : 2), 0));
            return;
        case TN_KIND_NEG:
            put(g, I(row->code, d, 0, 0, 0));
            return;
        case TN_KIND_END:
            put(g, I(row->code, d, 0, 0, 16 << pick(g, 3)));
            return;
        default:
            break;
        }
    }
}

static void memory(struct gen *g)
{
    static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};
    static const s32 atomics[] = {
#define T(name, value, ...) (value),
        TN_ATOMICS(T)
#undef T
    };
    u32 s = pick(g, 4), bytes = 1u << s;
    s16 off;
    u8 base = place(g, bytes, &off), r = num(g);

    switch (pick(g, 8)) {
    case 0:
    case 1:
        put(g, LDX(sizes[s], r, base, off));
        break;
    case 2:
        put(g, I(BPF_LDX | (s == 3 ? BPF_MEM : BPF_MEMSX) | sizes[s], r, base, off, 0));
        break;
    case 3:
        put(g, STX(sizes[s], base, r, off));
        break;
    case 4:
        put(g, ST(sizes[s], base, off, imm(g)));
        break;
    case 5: /* a read-modify-write, as compilers write it */
        put(g, LDX(sizes[s], r, base, off));
        put(g, pick(g, 2) ? I(BPF_ALU64 | BPF_ADD | BPF_K, r, 0, 0, imm(g))
                          : I(BPF_ALU | BPF_XOR | BPF_X, r, num(g), 0, 0));
        put(g, STX(sizes[s], base, r, off));
        if (pick(g, 2))
            load_const(g, r); /* the value is dead: may be grouped */
        break;
    case 6: /* a constant stored */
        put(g, I((pick(g, 2) ? BPF_ALU : BPF_ALU64) | BPF_MOV | BPF_K, r, 0, 0, imm(g)));
        if (pick(g, 3) == 0) /* perhaps dead, and two slots long */
            load_const(g, r == 8 ? 5 : 8);
        put(g, STX(sizes[s], base, r, off));
        if (pick(g, 2))
            load_const(g, r);
        break;
    default:
        s = 2 + pick(g, 2);
        base = place(g, 1u << s, &off);
        put(g, ATOMIC(sizes[s], base, r, off, atomics[pick(g, TN_ARRAY_SIZE(atomics))]));
    }
}

static void block(struct gen *g, u32 depth);

/* A conditional jump over a block. */
static void branch(struct gen *g, u32 depth)
{
    for (;;) {
        const struct tn_op_row *row = &tn_op_rows[1 + pick(g, TN_OP_COUNT - 1)];
        bool x = BPF_SRC(row->code) == BPF_X;
        u32 at = g->n;

        if (row->kind != TN_KIND_JMP)
            continue;
        put(g, I(row->code, num(g), x ? num(g) : 0, 0, x ? 0 : imm(g)));
        block(g, depth + 1);
        if (pick(g, 3) == 0) { /* with an else */
            u32 skip = g->n;

            put(g, pick(g, 2) ? JA(0) : I(BPF_JMP32 | BPF_JA, 0, 0, 0, 0));
            g->insn[at].off = (s16)(g->n - at - 1);
            block(g, depth + 1);
            if (g->insn[skip].code == (BPF_JMP | BPF_JA))
                g->insn[skip].off = (s16)(g->n - skip - 1);
            else
                g->insn[skip].imm = (s32)(g->n - skip - 1);
        } else {
            g->insn[at].off = (s16)(g->n - at - 1);
        }
        return;
    }
}

static void loop(struct gen *g, u32 depth)
{
    u32 top;

    put(g, MOV_K(9, 1 + pick(g, 9)));
    top = g->n;
    for (u32 i = 0; i < 1 + pick(g, 4); i++) {
        if (pick(g, 2))
            arithmetic(g);
        else
            memory(g);
    }
    put(g, ALU_K(BPF_SUB, 9, 1));
    put(g, JMP_K(BPF_JNE, 9, 0, (s32)top - (s32)g->n - 1));
}

/* A call that calls back, of a function that is made later. Linux's helper takes 32 bits of the number of rounds, but all
   of it where the call is compiled in place. */
static void call_back(struct gen *g)
{
    static const u64 many[] = {1ull << 23 | 1, 1ull << 32 | 3, 1ull << 32, UINT64_MAX};
    const struct bpf_insn function[] = {LDFUNC(2, 0)}, map[] = {LDMAP(1, 1)};
    const struct bpf_insn number[] = {LD64(1, many[pick(g, TN_ARRAY_SIZE(many))])};
    bool loop = pick(g, 2), flags = pick(g, 8) == 0;
    u32 b = g->nback++;

    if (loop && pick(g, 8)) {
        put(g, MOV_X(1, num(g)));
        put(g, ALU_K(BPF_AND, 1, (s32)pick(g, 8)));
    } else {
        put(g, loop ? number[0] : map[0]);
        put(g, loop ? number[1] : map[1]);
    }
    g->back[b] = g->n;
    put(g, function[0]);
    put(g, function[1]);
    put(g, MOV_X(3, 6));
    put(g, MOV_K(4, flags));
    g->known[b].call = g->n;
    g->known[b].function = pick(g, 3);
    g->known[b].no_flags = !flags && pick(g, 2);
    g->each[b] = !loop;
    put(g, CALL(loop ? BPF_FUNC_loop : BPF_FUNC_for_each_map_elem));
    for (u8 r = 1; r < 6; r++)
        load_const(g, r);
}

static void block(struct gen *g, u32 depth)
{
    u32 len = 1 + pick(g, depth ? 6 : 40);

    for (u32 i = 0; i < len && g->n < g->limit - 60; i++) {
        switch (pick(g, 13)) {
        case 12:
            if (!depth && g->nback < (g->in_back ? 3 : BACK_MAX) && pick(g, 2))
                call_back(g);
            break;
        case 0:
            if (depth < 3)
                branch(g, depth);
            break;
        case 1:
            if (depth < 2)
                loop(g, depth);
            break;
        case 2:
            load_const(g, num(g));
            break;
        case 3: /* address arithmetic on the stack, used at once */
            put(g, MOV_X(8, 10));
            put(g, ALU_K(BPF_ADD, 8, -8));
            put(g, LDX(BPF_DW, 8, 8, 0));
            break;
        case 4:
        case 5:
        case 6:
            memory(g);
            break;
        default:
            arithmetic(g);
        }
    }
}

/* R7 and the stack, and numbers in all registers of `fresh`; then what the program does. */
static void body(struct gen *g, u32 fresh)
{
    const struct bpf_insn value[] = {LDVALUE(7, 0, 0)};

    put(g, value[0]);
    put(g, value[1]);
    if (pick(g,
             4)) /* else nothing of the stack is known to be read or written: all of it must be kept apart */
        for (s32 off = -STACK; off < 0; off += 8)
            put(g, ST(BPF_DW, 10, off, imm(g)));
    else
        for (s32 off = -STACK; off < 0; off += 8) {
            put(g, LDX(BPF_DW, 1, 6, off + STACK));
            put(g, STX(BPF_DW, 10, 1, off));
        }
    for (u8 r = 0; r < 10; r++)
        if (fresh >> r & 1)
            load_const(g, r);
    block(g, 0);
    if (pick(g, 2)) /* else most of what was computed last is dead */
        for (u8 r = 0; r < 9; r++)
            if (r != 6 && r != 7)
                put(g, STX(BPF_DW, 6, r, r * 8));
    put(g, ALU_X(BPF_XOR, 0, num(g)));
}

#define ALL_BUT(regs) (0x3ffu & ~(regs))

/* What it is given comes to R0 and R5, the context to R6. */
static void function_called_back(struct gen *g, u32 b)
{
    g->insn[g->back[b]].imm = (s32)(g->n - g->back[b] - 1);
    g->limit = g->n + BACK_INSNS;
    g->in_back = true;
    if (g->each[b]) {
        put(g, LDX(BPF_W, 0, 2, 0));
        put(g, LDX(BPF_DW, 5, 3, 0));
        put(g, STX(BPF_DW, 3, 0, 8));
        put(g, MOV_X(6, 4));
    } else {
        put(g, MOV_X(0, 1));
        put(g, MOV_X(5, 1));
        put(g, MOV_X(6, 2));
    }
    body(g, ALL_BUT(1u << 0 | 1u << 5 | 1u << 6 | 1u << 7));
    put(g, ALU_K(BPF_AND, 0, (s32)pick(g, 2)));
    put(g, EXIT);
}

static void generate(struct gen *g, u64 seed)
{
    *g = (struct gen){.seed = seed, .limit = MAX_INSNS};
    put(g, MOV_X(6, 1));
    body(g, ALL_BUT(1u << 6 | 1u << 7));
    put(g, EXIT);
    for (u32 b = 0; b < g->nback; b++)
        function_called_back(g, b);
}

static void print(const struct gen *g)
{
    char text[96];

    for (u32 i = 0; i < g->n; i++) {
        tn_disasm(&g->insn[i], text, sizeof(text));
        print_message("# %u: %s\n", i, text);
        if (g->insn[i].code == (BPF_LD | BPF_IMM | BPF_DW))
            i++;
    }
}

static void fill(u64 *words, u32 n, u64 seed)
{
    for (u32 i = 0; i < n; i++)
        words[i] = rnd(&seed) >> (rnd(&seed) % 64);
}

struct memory {
    u64 ctx[CTX_WORDS], value[MAP_BYTES / 8], each[EACH][2];
};

/* To the maps, or from them. */
static void move_maps(struct engine *e, struct memory *m, bool to)
{
    u64 *value = tn_map_lookup(e->maps[0], &(u32){0}, -1);

    memcpy(to ? value : m->value, to ? m->value : value, MAP_BYTES);
    for (u32 k = 0; k < EACH; k++) {
        u64 *each = tn_map_lookup(e->maps[1], &k, 0);

        memcpy(to ? each : m->each[k], to ? m->each[k] : each, sizeof(m->each[k]));
    }
}

static u64 run(struct engine *e, bool compiled, u64 seed, struct memory *ret)
{
    u64 r0;

    fill(ret->ctx, CTX_WORDS, seed);
    fill(ret->value, MAP_BYTES / 8, seed + 1);
    fill(ret->each[0], 2 * EACH, seed + 2);
    move_maps(e, ret, true);
    r0 = compiled ? engine_jit(e, ret->ctx, NULL) : engine_vm(e, ret->ctx, NULL);
    move_maps(e, ret, false);
    return r0;
}

static void init(struct engine *e, const struct gen *g, u64 seed)
{
    static const u32 types[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_ARRAY,
                                BPF_MAP_TYPE_PERCPU_HASH};

    engine_init(e, g->insn, g->n);
    for (u32 s = 0; s < e->prog.nsubprogs; s++)
        e->subprogs[s].stack = STACK;
    for (u32 b = 0; b < g->nback; b++) {
        e->aux[g->known[b].call].callback = g->known[b].function ? (s16)(b + 1) : -1;
        e->aux[g->known[b].call].no_flags = g->known[b].no_flags;
    }
    engine_add_map(e, BPF_MAP_TYPE_ARRAY, 4, MAP_BYTES, 1, 1);
    engine_add_map(e, types[seed % TN_ARRAY_SIZE(types)], 4, 16, EACH, 1);
    for (u32 k = 0; k < EACH; k++)
        assert_int_equal(tn_map_user_update(e->maps[1], &k, (u64[2]){0}, 0), 0);
}

static void engines_agree_on_random_programs(void **state)
{
    static struct gen g;
    u32 longest = 0, called_back = 0;

    for (u64 seed = 1; seed <= PROGRAMS; seed++) {
        struct memory of_vm, of_jit;
        struct engine e;
        u64 vm, jit;

        generate(&g, seed);
        longest = TN_MAX(longest, g.n);
        called_back += g.nback > 0;
        for (u32 i = 0; i < g.n; i++) {
            struct tn_insn in;
            struct tn_error err = {0};

            /* Only constant zero divisors are not for a verifier's eyes. */
            if (tn_decode(g.insn, g.n, i, &in, &err) && strcmp(err.reason, "constant_zero_divisor"))
                fail_msg("seed %lu: instruction %u is none: %s", seed, i, err.reason);
            i += err.reason[0] ? 0 : in.slots - 1u;
        }
        init(&e, &g, seed);
        vm = run(&e, false, seed, &of_vm);
        jit = run(&e, true, seed, &of_jit);
        if (vm != jit || memcmp(&of_vm, &of_jit, sizeof(of_vm))) {
            print(&g);
            fail_msg("seed %lu: r0 0x%lx interpreted, 0x%lx compiled; context %s, maps %s", seed, vm, jit,
                     memcmp(of_vm.ctx, of_jit.ctx, sizeof(of_vm.ctx)) ? "differs" : "same",
                     memcmp(of_vm.value, of_jit.value, sizeof(of_vm) - sizeof(of_vm.ctx)) ? "differ"
                                                                                          : "same");
        }
        engine_clear(&e);
    }
    assert_true(longest > 200); /* the generator still makes programs worth the name */
    assert_true(called_back > PROGRAMS / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(engines_agree_on_random_programs)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
