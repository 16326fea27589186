/* SPDX-License-Identifier: MIT */
/* See mutate.h. A change is a row: what may be changed, and how. */
#include "tests/differential/mutate.h"

struct dice {
    u64 state;
};

static u32 roll(struct dice *d, u32 n)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (u32)(d->state >> 20) % n;
}

static u8 class_of(const struct bpf_insn *i)
{
    return BPF_CLASS(i->code);
}

static bool is_alu(const struct bpf_insn *i)
{
    return class_of(i) == BPF_ALU || class_of(i) == BPF_ALU64;
}

static bool is_memory(const struct bpf_insn *i)
{
    return class_of(i) == BPF_LDX || class_of(i) == BPF_STX || class_of(i) == BPF_ST;
}

static bool is_branch(const struct bpf_insn *i)
{
    u8 op = BPF_OP(i->code);

    return (class_of(i) == BPF_JMP || class_of(i) == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT &&
           op != BPF_JA;
}

static bool is_any(const struct bpf_insn *i)
{
    return class_of(i) != BPF_LD && !(class_of(i) == BPF_JMP && BPF_OP(i->code) == BPF_CALL);
}

static bool has_constant(const struct bpf_insn *i)
{
    return (is_alu(i) || is_branch(i)) && BPF_SRC(i->code) == BPF_K && BPF_OP(i->code) != BPF_END;
}

static void constant_near(struct bpf_insn *i, struct dice *d)
{
    static const s32 steps[] = {1, -1, 8, -8, 4, 64, -64};

    i->imm = (s32)((u32)i->imm + (u32)steps[roll(d, TN_ARRAY_SIZE(steps))]);
}

static void constant_far(struct bpf_insn *i, struct dice *d)
{
    static const s32 some[] = {0, -1, 1, INT32_MAX, INT32_MIN, 4096, 0xffff, 7, 255};

    i->imm = some[roll(d, TN_ARRAY_SIZE(some))];
}

static void offset_near(struct bpf_insn *i, struct dice *d)
{
    static const s16 steps[] = {1, -1, 8, -8, 4, -4, 16, 64};

    i->off = (s16)(i->off + steps[roll(d, TN_ARRAY_SIZE(steps))]);
}

static void size(struct bpf_insn *i, struct dice *d)
{
    static const u8 sizes[] = {BPF_B, BPF_H, BPF_W, BPF_DW};

    i->code = (u8)((i->code & ~0x18) | sizes[roll(d, 4)]);
}

static void condition(struct bpf_insn *i, struct dice *d)
{
    static const u8 ops[] = {BPF_JEQ,  BPF_JNE,  BPF_JGT,  BPF_JGE,  BPF_JLT, BPF_JLE,
                             BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET};

    i->code = (u8)((i->code & 0x0f) | ops[roll(d, sizeof(ops))]);
}

static void width(struct bpf_insn *i, struct dice *d)
{
    i->code ^= is_alu(i) ? BPF_ALU ^ BPF_ALU64 : BPF_JMP ^ BPF_JMP32;
}

static void operation(struct bpf_insn *i, struct dice *d)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_OR,   BPF_AND,
                             BPF_XOR, BPF_LSH, BPF_RSH, BPF_ARSH, BPF_MOV};

    if (BPF_OP(i->code) != BPF_END && BPF_OP(i->code) != BPF_NEG)
        i->code = (u8)((i->code & 0x0f) | ops[roll(d, sizeof(ops))]);
}

static void target(struct bpf_insn *i, struct dice *d)
{
    i->dst_reg = (u8)(roll(d, 11) & 15);
}

static void source(struct bpf_insn *i, struct dice *d)
{
    if (class_of(i) == BPF_LDX || class_of(i) == BPF_STX || BPF_SRC(i->code) == BPF_X)
        i->src_reg = (u8)(roll(d, 11) & 15);
}

static void nothing(struct bpf_insn *i, struct dice *d)
{
    *i = (struct bpf_insn){.code = BPF_JMP | BPF_JA};
}

static const struct {
    bool (*fits)(const struct bpf_insn *);
    void (*change)(struct bpf_insn *, struct dice *);
} rows[] = {
    {has_constant, constant_near},
    {has_constant, constant_near},
    {has_constant, constant_far},
    {is_memory, offset_near},
    {is_branch, offset_near},
    {is_memory, size},
    {is_branch, condition},
    {is_branch, width},
    {is_alu, width},
    {is_alu, operation},
    {is_any, target},
    {is_any, source},
    {is_any, nothing},
    {is_branch, nothing},
    {is_memory, offset_near},
    {is_memory, nothing},
};

static bool second_half(const struct bpf_insn *insns, u32 at)
{
    u32 k = 0;

    while (k < at)
        k += insns[k].code == (BPF_LD | BPF_IMM | BPF_DW) ? 2 : 1;
    return k != at;
}

void mutate(struct bpf_insn *insns, u32 n, u64 seed)
{
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull};
    u32 changes = 1 + roll(&d, 3);

    for (u32 tries = 0; changes && tries < 200; tries++) {
        u32 at = roll(&d, n), row = roll(&d, TN_ARRAY_SIZE(rows));

        if (!rows[row].fits(&insns[at]) || second_half(insns, at))
            continue;
        rows[row].change(&insns[at], &d);
        changes--;
    }
}
