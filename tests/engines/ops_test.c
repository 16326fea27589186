/* SPDX-License-Identifier: MIT */
/*
 * Every opcode on both engines. First what RFC 9669 says of the cases people get wrong, as numbers; then
 * every row of isa/ops.h with every pair of edge operands and every pair of registers (the x86 side has
 * special cases for rax, rdx, rcx), the interpreter being the judge.
 */
#include "engine.h"

static const u64 edges[] = {
    0,
    1,
    2,
    7,
    31,
    32,
    33,
    63,
    64,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fffffff,
    0x80000000,
    0xfffffffe,
    0xffffffff,
    0x100000000,
    0x123456789abcdef0,
    (u64)-1,
    (u64)-2,
    (u64)-128,
    (u64)INT64_MIN,
    INT64_MAX,
    (u64)INT64_MIN + 1,
    0xffffffff80000000,
    0x00000001ffffffff,
    0x8000000080000000,
};

/* ------------------------------------------------------------------------------------ the RFC, in numbers */

static void arithmetic_as_the_rfc_says(void **state)
{
    static const struct {
        u8 code;
        s16 off;
        u64 d, s, expect;
    } cases[] = {
#define X64(op) BPF_ALU64 | (op) | BPF_X
#define X32(op) BPF_ALU | (op) | BPF_X
        {X64(BPF_ADD), 0, (u64)-1, 1, 0},
        {X32(BPF_ADD), 0, 0xffffffff, 1, 0},
        {X32(BPF_ADD), 0, 0xffffffff00000001, 0xffffffff00000002, 3},
        {X64(BPF_SUB), 0, 0, 1, (u64)-1},
        {X32(BPF_SUB), 0, 0, 1, 0xffffffff},
        {X64(BPF_MUL), 0, 0x100000000, 0x100000000, 0},
        {X32(BPF_MUL), 0, 0x10000, 0x10000, 0},
        {X64(BPF_DIV), 0, 100, 7, 14},
        {X64(BPF_DIV), 0, 100, 0, 0},
        {X32(BPF_DIV), 0, 0xffffffff00000064, 0, 0},
        {X32(BPF_DIV), 0, 0xffffffff00000064, 0xffffffff00000007, 14},
        {X64(BPF_DIV), 0, (u64)-1, 2, INT64_MAX},
        {X64(BPF_DIV), 1, (u64)-7, 2, (u64)-3},
        {X64(BPF_DIV), 1, (u64)-7, 0, 0},
        {X64(BPF_DIV), 1, (u64)INT64_MIN, (u64)-1, (u64)INT64_MIN},
        {X32(BPF_DIV), 1, 0x80000000, 0xffffffff, 0x80000000},
        {X32(BPF_DIV), 1, 0xfffffff9, 2, 0xfffffffd},
        {X64(BPF_MOD), 0, 100, 7, 2},
        {X64(BPF_MOD), 0, 0x1234567800000064, 0, 0x1234567800000064},
        {X32(BPF_MOD), 0, 0x1234567800000064, 0, 0x64},
        {X64(BPF_MOD), 1, (u64)-7, 2, (u64)-1},
        {X64(BPF_MOD), 1, 7, (u64)-2, 1},
        {X64(BPF_MOD), 1, (u64)-7, 0, (u64)-7},
        {X64(BPF_MOD), 1, (u64)INT64_MIN, (u64)-1, 0},
        {X32(BPF_MOD), 1, 0xffffffff80000000, 0xffffffff, 0},
        {X32(BPF_MOD), 1, 0xfffffff9, 0, 0xfffffff9},
        {X64(BPF_OR), 0, 0xf0, 0x0f, 0xff},
        {X64(BPF_AND), 0, 0xff00ff, 0x0ff0, 0xf0},
        {X64(BPF_XOR), 0, (u64)-1, 1, (u64)-2},
        {X32(BPF_XOR), 0, (u64)-1, 1, 0xfffffffe},
        {X64(BPF_LSH), 0, 1, 65, 2},
        {X32(BPF_LSH), 0, 0xffffffff00000001, 32, 1},
        {X32(BPF_LSH), 0, 1, 33, 2},
        {X64(BPF_RSH), 0, (u64)-1, 64, (u64)-1},
        {X32(BPF_RSH), 0, 0xffffffff80000000, 31, 1},
        {X64(BPF_ARSH), 0, (u64)-8, 1, (u64)-4},
        {X32(BPF_ARSH), 0, 0x80000000, 31, 0xffffffff},
        {X32(BPF_ARSH), 0, 0xffffffff80000000, 32, 0x80000000},
        {X64(BPF_MOV), 0, 0, (u64)-5, (u64)-5},
        {X32(BPF_MOV), 0, (u64)-1, (u64)-5, 0xfffffffb},
        {X64(BPF_MOV), 8, 0, 0x180, (u64)-128},
        {X64(BPF_MOV), 16, 0, 0x18000, (u64)-32768},
        {X64(BPF_MOV), 32, 0, 0x180000000, 0xffffffff80000000},
        {X32(BPF_MOV), 8, (u64)-1, 0x80, 0xffffff80},
        {X32(BPF_MOV), 16, (u64)-1, 0x8000, 0xffff8000},
        {BPF_ALU64 | BPF_NEG, 0, 5, 0, (u64)-5},
        {BPF_ALU | BPF_NEG, 0, 5, 0, 0xfffffffb},
        {BPF_ALU | BPF_NEG, 0, (u64)INT64_MIN, 0, 0},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++) {
        bool unary = BPF_OP(cases[i].code) == BPF_NEG;
        struct bpf_insn insns[] = {LD64(3, cases[i].d), LD64(5, cases[i].s),
                                   I(cases[i].code, 3, unary ? 0 : 5, cases[i].off, 0), MOV_X(0, 3), EXIT};
        struct engine e;
        u64 vm, jit;

        ENGINE_INIT(&e, insns);
        vm = engine_vm(&e, NULL, NULL);
        jit = engine_jit(&e, NULL, NULL);
        if (vm != cases[i].expect || jit != cases[i].expect)
            fail_msg("case %u: interpreter 0x%lx, compiled 0x%lx, expected 0x%lx", i, vm, jit,
                     cases[i].expect);
        engine_clear(&e);
    }
}

static void byte_swaps_as_the_rfc_says(void **state)
{
    static const struct {
        u8 code;
        s32 bits;
        u64 expect;
    } cases[] = {
        {BPF_ALU | BPF_END | BPF_TO_LE, 16, 0xcdef},
        {BPF_ALU | BPF_END | BPF_TO_LE, 32, 0x89abcdef},
        {BPF_ALU | BPF_END | BPF_TO_LE, 64, 0x0123456789abcdef},
        {BPF_ALU | BPF_END | BPF_TO_BE, 16, 0xefcd},
        {BPF_ALU | BPF_END | BPF_TO_BE, 32, 0xefcdab89},
        {BPF_ALU | BPF_END | BPF_TO_BE, 64, 0xefcdab8967452301},
        {BPF_ALU64 | BPF_END, 16, 0xefcd},
        {BPF_ALU64 | BPF_END, 32, 0xefcdab89},
        {BPF_ALU64 | BPF_END, 64, 0xefcdab8967452301},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++)
        for (u32 reg = 0; reg < 10; reg++) {
            struct bpf_insn insns[] = {LD64(reg, 0x0123456789abcdef),
                                       I(cases[i].code, reg, 0, 0, cases[i].bits), MOV_X(0, reg), EXIT};
            struct engine e;

            ENGINE_INIT(&e, insns);
            assert_int_equal(engine_vm(&e, NULL, NULL), cases[i].expect);
            assert_int_equal(engine_jit(&e, NULL, NULL), cases[i].expect);
            engine_clear(&e);
        }
}

/* ---------------------------------------------------------------------------------------------- every row */

/* Compiling and mapping once for each combination would take minutes, so operands come as data: the program
   loads the two registers from the context, and one program serves all pairs of edges. */
static void sweep_operands(const struct bpf_insn *body, u32 nbody, u8 dst, u8 src, const char *what)
{
    u64 ctx_vm[16], ctx_jit[16];
    struct bpf_insn insns[64];
    struct engine e;
    u32 n = 0;

    /* The context's address is kept on the stack meanwhile. */
    insns[n++] = STX(BPF_DW, 10, 1, -8);
    for (u32 r = 0; r < 10; r++)
        if (r != 1)
            insns[n++] = LDX(BPF_DW, r, 1, r * 8);
    insns[n++] = LDX(BPF_DW, 1, 1, 8);
    memcpy(&insns[n], body, nbody * sizeof(*body));
    n += nbody;
    insns[n++] = STX(BPF_DW, 10, 1, -16);
    insns[n++] = LDX(BPF_DW, 1, 10, -8);
    for (u32 r = 0; r < 10; r++)
        if (r != 1)
            insns[n++] = STX(BPF_DW, 1, r, r * 8);
    insns[n++] = LDX(BPF_DW, 2, 10, -16);
    insns[n++] = STX(BPF_DW, 1, 2, 8);
    insns[n++] = EXIT;
    engine_init(&e, insns, n);
    for (u32 x = 0; x < TN_ARRAY_SIZE(edges); x++)
        for (u32 y = 0; y < TN_ARRAY_SIZE(edges); y++) {
            for (u32 r = 0; r < 10; r++)
                ctx_vm[r] = 0x1111111111111111u * (r + 1);
            ctx_vm[dst] = edges[x];
            ctx_vm[src] = edges[y];
            memcpy(ctx_jit, ctx_vm, sizeof(ctx_vm));
            engine_vm(&e, ctx_vm, NULL);
            engine_jit(&e, ctx_jit, NULL);
            for (u32 r = 0; r < 10; r++)
                if (ctx_vm[r] != ctx_jit[r])
                    fail_msg("%s dst r%u=0x%lx src r%u=0x%lx: r%u is 0x%lx interpreted, 0x%lx compiled", what,
                             dst, edges[x], src, edges[y], r, ctx_vm[r], ctx_jit[r]);
            if (dst == src)
                break;
        }
    engine_clear(&e);
}

static void every_arithmetic_row_agrees(void **state)
{
    static const s16 widths[] = {8, 16, 32};

    for (u32 op = 1; op < TN_OP_COUNT; op++) {
        const struct tn_op_row *row = &tn_op_rows[op];
        bool x = BPF_SRC(row->code) == BPF_X;

        for (u8 dst = 0; dst < 10; dst++) {
            if (row->kind == TN_KIND_NEG) {
                sweep_operands(&I(row->code, dst, 0, 0, 0), 1, dst, dst, row->name);
            } else if (row->kind == TN_KIND_ALU && x) {
                for (u8 src = 0; src < 10; src++)
                    sweep_operands(&I(row->code, dst, src, row->off, 0), 1, dst, src, row->name);
            } else if (row->kind == TN_KIND_MOVSX) {
                for (u8 src = 0; src < 10; src++)
                    for (u32 w = 0; w < (row->bytes == 8 ? 3u : 2u); w++)
                        sweep_operands(&I(row->code, dst, src, widths[w], 0), 1, dst, src, row->name);
            } else if (row->kind == TN_KIND_ALU) {
                static const s32 imms[] = {0,         1,         2,    3,    7,    8,      31,
                                           -1,        -2,        127,  128,  -128, -129,   0x1000,
                                           INT32_MAX, INT32_MIN, 1000, 4096, 6,    1 << 30};

                for (u32 k = 0; k < TN_ARRAY_SIZE(imms); k++)
                    sweep_operands(&I(row->code, dst, 0, row->off, imms[k]), 1, dst, dst, row->name);
            }
        }
    }
}

/* r0 … say which way was taken. */
static void every_jump_row_agrees(void **state)
{
    static const s32 imms[] = {0, 1, -1, 127, 128, 0x7fff, INT32_MAX, INT32_MIN};

    for (u32 op = 1; op < TN_OP_COUNT; op++) {
        const struct tn_op_row *row = &tn_op_rows[op];
        bool x = BPF_SRC(row->code) == BPF_X;

        if (row->kind != TN_KIND_JMP)
            continue;
        for (u8 dst = 1; dst < 10; dst++)
            for (u8 src = 1; src < 10; src += x ? 1 : 9)
                for (u32 k = 0; k < (x ? 1 : TN_ARRAY_SIZE(imms)); k++) {
                    const struct bpf_insn body[] = {
                        MOV_K(0, 1),          I(row->code, dst, x ? src : 0, 2, x ? 0 : imms[k]),
                        MOV_K(0, 2),          JA(1),
                        ALU_K(BPF_ADD, 0, 4),
                    };

                    sweep_operands(body, TN_ARRAY_SIZE(body), dst, x ? src : dst, row->name);
                }
    }
}

static void jumps_as_the_rfc_says(void **state)
{
    static const struct {
        u8 code;
        u64 d, s;
        bool taken;
    } cases[] = {
        {BPF_JMP | BPF_JEQ, 5, 5, true},
        {BPF_JMP | BPF_JEQ, 0x100000005, 5, false},
        {BPF_JMP32 | BPF_JEQ, 0x100000005, 5, true},
        {BPF_JMP | BPF_JGT, (u64)-1, 1, true},
        {BPF_JMP | BPF_JSGT, (u64)-1, 1, false},
        {BPF_JMP32 | BPF_JSGT, 0xffffffff, 1, false},
        {BPF_JMP | BPF_JSGT, 0xffffffff, 1, true},
        {BPF_JMP | BPF_JGE, 5, 5, true},
        {BPF_JMP | BPF_JSET, 6, 2, true},
        {BPF_JMP | BPF_JSET, 6, 9, false},
        {BPF_JMP32 | BPF_JSET, 0x100000000, 0x100000000, false},
        {BPF_JMP | BPF_JNE, 1, 1, false},
        {BPF_JMP | BPF_JSGE, (u64)-3, (u64)-3, true},
        {BPF_JMP | BPF_JLT, 1, (u64)-1, true},
        {BPF_JMP | BPF_JLE, 2, 1, false},
        {BPF_JMP | BPF_JSLT, 1, (u64)-1, false},
        {BPF_JMP32 | BPF_JSLE, 0x80000000, 0x7fffffff, true},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++) {
        struct bpf_insn insns[] = {LD64(3, cases[i].d), LD64(4, cases[i].s),
                                   MOV_K(0, 1),         I(cases[i].code | BPF_X, 3, 4, 1, 0),
                                   MOV_K(0, 0),         EXIT};
        struct engine e;

        ENGINE_INIT(&e, insns);
        assert_int_equal(engine_vm(&e, NULL, NULL), cases[i].taken);
        assert_int_equal(engine_jit(&e, NULL, NULL), cases[i].taken);
        engine_clear(&e);
    }
}

/* Every size and sign of load and store, every pair of registers, near and far displacements. */
static void memory_rows_agree(void **state)
{
    static const s16 offs[] = {0, 1, 127, 128, 1000};

    for (u32 op = 1; op < TN_OP_COUNT; op++) {
        const struct tn_op_row *row = &tn_op_rows[op];

        if (row->kind != TN_KIND_LDX && row->kind != TN_KIND_LDSX && row->kind != TN_KIND_STX &&
            row->kind != TN_KIND_ST)
            continue;
        for (u8 dst = 0; dst < 10; dst++)
            for (u8 src = 0; src < 10; src++)
                for (u32 o = 0; o < TN_ARRAY_SIZE(offs); o++) {
                    bool load = row->kind == TN_KIND_LDX || row->kind == TN_KIND_LDSX;
                    u8 base = load ? src : dst, value = load ? dst : src;
                    u8 mem_vm[1100], mem_jit[1100];
                    struct bpf_insn insns[8];
                    struct engine e;
                    u64 vm, jit;
                    u32 n = 0;

                    if ((!load && base == value) || (row->kind == TN_KIND_ST && src))
                        continue;
                    insns[n++] = MOV_X(base, 1);
                    if (row->kind == TN_KIND_STX) {
                        const struct bpf_insn ld[] = {LD64(value, 0x8182838485868788)};

                        insns[n++] = ld[0];
                        insns[n++] = ld[1];
                    }
                    insns[n++] = I(row->code, dst, row->kind == TN_KIND_ST ? 0 : src, offs[o],
                                   row->kind == TN_KIND_ST ? -0x12345678 : 0);
                    insns[n++] = load ? MOV_X(0, value) : MOV_K(0, 7);
                    insns[n++] = EXIT;
                    for (u32 i = 0; i < sizeof(mem_vm); i++)
                        mem_vm[i] = mem_jit[i] = (u8)(i * 37u + 0x91);
                    engine_init(&e, insns, n);
                    vm = engine_vm(&e, mem_vm, NULL);
                    jit = engine_jit(&e, mem_jit, NULL);
                    if (vm != jit || memcmp(mem_vm, mem_jit, sizeof(mem_vm)))
                        fail_msg("%s r%u r%u off %d: 0x%lx interpreted, 0x%lx compiled", row->name, dst, src,
                                 offs[o], vm, jit);
                    engine_clear(&e);
                }
    }
}

static void loads_extend_as_the_rfc_says(void **state)
{
    u64 word = 0x8182838485868788;
    static const struct {
        u8 code;
        u64 expect;
    } cases[] = {
        {BPF_LDX | BPF_MEM | BPF_B, 0x88},
        {BPF_LDX | BPF_MEM | BPF_H, 0x8788},
        {BPF_LDX | BPF_MEM | BPF_W, 0x85868788},
        {BPF_LDX | BPF_MEM | BPF_DW, 0x8182838485868788},
        {BPF_LDX | BPF_MEMSX | BPF_B, 0xffffffffffffff88},
        {BPF_LDX | BPF_MEMSX | BPF_H, 0xffffffffffff8788},
        {BPF_LDX | BPF_MEMSX | BPF_W, 0xffffffff85868788},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++) {
        struct bpf_insn insns[] = {I(cases[i].code, 0, 1, 0, 0), EXIT};
        struct engine e;

        ENGINE_INIT(&e, insns);
        assert_int_equal(engine_vm(&e, &word, NULL), cases[i].expect);
        assert_int_equal(engine_jit(&e, &word, NULL), cases[i].expect);
        engine_clear(&e);
    }
}

/* Every atomic, both widths, all registers as source, several as base; r0 both equal to memory and not. */
static void every_atomic_agrees(void **state)
{
    static const s32 ops[] = {
#define T(name, imm, ...) (imm),
        TN_ATOMICS(T)
#undef T
    };
    static const u64 mems[] = {0, 0xf0f0f0f0f0f0f0f0, (u64)-1, 0x7fffffff};

    for (u32 o = 0; o < TN_ARRAY_SIZE(ops); o++)
        for (u32 wide = 0; wide < 2; wide++)
            for (u8 base = 0; base < 10; base++)
                for (u8 src = 0; src < 10; src++)
                    for (u32 m = 0; m < TN_ARRAY_SIZE(mems); m++)
                        for (u32 equal = 0; equal < 2; equal++) {
                            u64 mem_vm[8] = {0}, mem_jit[8] = {0}, r0 = equal ? mems[m] : 0x1234567800000001;
                            struct bpf_insn insns[32];
                            const struct bpf_insn ld_src[] = {LD64(src, 0x8000000100000003)},
                                                  ld_r0[] = {LD64(0, r0)};
                            struct engine e;
                            u32 n = 0;

                            if (base == src)
                                continue;
                            insns[n++] = MOV_X(9, 1);
                            insns[n++] = STX(BPF_DW, 10, 1, -8);
                            if (base != 0) {
                                insns[n++] = ld_r0[0];
                                insns[n++] = ld_r0[1];
                            }
                            insns[n++] = MOV_X(base, 9);
                            if (src != 0 || base == 0) {
                                insns[n++] = ld_src[0];
                                insns[n++] = ld_src[1];
                            }
                            insns[n++] = ATOMIC(wide ? BPF_DW : BPF_W, base, src, 8, ops[o]);
                            insns[n++] = STX(BPF_DW, 10, src, -16);
                            insns[n++] = LDX(BPF_DW, 6, 10, -8);
                            insns[n++] = LDX(BPF_DW, 7, 10, -16);
                            insns[n++] = STX(BPF_DW, 6, 7, 16);
                            if (base != 0)
                                insns[n++] = STX(BPF_DW, 6, 0, 24);
                            insns[n++] = MOV_K(0, 0);
                            insns[n++] = EXIT;
                            mem_vm[1] = mem_jit[1] = mems[m];
                            engine_init(&e, insns, n);
                            engine_vm(&e, mem_vm, NULL);
                            engine_jit(&e, mem_jit, NULL);
                            if (memcmp(mem_vm, mem_jit, sizeof(mem_vm)))
                                fail_msg("atomic 0x%x %s base r%u src r%u memory 0x%lx: %lx/%lx, source "
                                         "%lx/%lx, r0 "
                                         "%lx/%lx (interpreted/compiled)",
                                         (u32)ops[o], wide ? "64" : "32", base, src, mems[m], mem_vm[1],
                                         mem_jit[1], mem_vm[2], mem_jit[2], mem_vm[3], mem_jit[3]);
                            engine_clear(&e);
                        }
}

static void atomics_as_the_rfc_says(void **state)
{
    static const struct {
        u8 size;
        s32 op;
        u64 mem, src, r0, mem_after, src_after, r0_after;
    } cases[] = {
        {BPF_DW, BPF_ADD, 5, 3, 9, 8, 3, 9},
        {BPF_W, BPF_ADD, 0x1ffffffff, 1, 9, 0x100000000, 1, 9},
        {BPF_DW, BPF_ADD | BPF_FETCH, 5, 3, 9, 8, 5, 9},
        {BPF_W, BPF_ADD | BPF_FETCH, 0x1ffffffff, (u64)-1, 9, 0x1fffffffe, 0xffffffff, 9},
        {BPF_DW, BPF_OR | BPF_FETCH, 5, 2, 9, 7, 5, 9},
        {BPF_DW, BPF_AND | BPF_FETCH, 5, 4, 9, 4, 5, 9},
        {BPF_DW, BPF_XOR | BPF_FETCH, 5, 4, 9, 1, 5, 9},
        {BPF_DW, BPF_XCHG, 5, 4, 9, 4, 5, 9},
        {BPF_W, BPF_XCHG, 0x700000005, 0x800000004, 9, 0x700000004, 5, 9},
        {BPF_DW, BPF_CMPXCHG, 5, 4, 5, 4, 4, 5},
        {BPF_DW, BPF_CMPXCHG, 5, 4, 6, 5, 4, 5},
        {BPF_W, BPF_CMPXCHG, 5, 4, 0xffffffff00000005, 4, 4, 5},
        {BPF_W, BPF_CMPXCHG, 0xffffffff00000005, 4, 6, 0xffffffff00000005, 4, 5},
    };

    for (u32 i = 0; i < TN_ARRAY_SIZE(cases); i++)
        for (u32 engine = 0; engine < 2; engine++) {
            u64 ctx[3] = {cases[i].mem};
            struct bpf_insn insns[] = {
                LD64(0, cases[i].r0), LD64(2, cases[i].src), ATOMIC(cases[i].size, 1, 2, 0, cases[i].op),
                STX(BPF_DW, 1, 2, 8), STX(BPF_DW, 1, 0, 16), EXIT};
            struct engine e;

            ENGINE_INIT(&e, insns);
            if (engine)
                engine_jit(&e, ctx, NULL);
            else
                engine_vm(&e, ctx, NULL);
            assert_int_equal(ctx[0], cases[i].mem_after);
            assert_int_equal(ctx[1], cases[i].src_after);
            assert_int_equal(ctx[2], cases[i].r0_after);
            engine_clear(&e);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_as_the_rfc_says), cmocka_unit_test(byte_swaps_as_the_rfc_says),
        cmocka_unit_test(jumps_as_the_rfc_says),      cmocka_unit_test(loads_extend_as_the_rfc_says),
        cmocka_unit_test(atomics_as_the_rfc_says),    cmocka_unit_test(every_arithmetic_row_agrees),
        cmocka_unit_test(every_jump_row_agrees),      cmocka_unit_test(memory_rows_agree),
        cmocka_unit_test(every_atomic_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
