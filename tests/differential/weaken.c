/* SPDX-License-Identifier: MIT */
/* See weaken.h. */
#include "tests/differential/weaken.h"

static bool is_alu(const struct bpf_insn *i)
{
    return BPF_CLASS(i->code) == BPF_ALU || BPF_CLASS(i->code) == BPF_ALU64;
}

const u8 weakening_how[WEAK_COUNT] = {
#define W(name, how, what) [WEAK_##name] = WEAK_##how,
    WEAKENINGS(W)
#undef W
};

static bool is_helper(const struct bpf_insn *i, s32 id)
{
    return i->code == (BPF_JMP | BPF_CALL) && !i->src_reg && i->imm == id;
}

static bool concerned(enum weakening which, const struct bpf_insn *i, bool chosen)
{
    u8 op = BPF_OP(i->code);

    switch (which) {
    case WEAK_DIVISION:
        return is_alu(i) && (op == BPF_DIV || op == BPF_MOD);
    case WEAK_SHIFT:
        return is_alu(i) && (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH);
    case WEAK_ALU32:
        return BPF_CLASS(i->code) == BPF_ALU && (op != BPF_MOV || i->off);
    case WEAK_PIECE:
        return BPF_CLASS(i->code) == BPF_LDX && BPF_MODE(i->code) == BPF_MEM && i->src_reg == BPF_REG_10 &&
               BPF_SIZE(i->code) != BPF_DW;
    case WEAK_KEY:
        return is_helper(i, BPF_FUNC_map_lookup_elem) && chosen;
    case WEAK_OVERRIDE:
        return is_helper(i, BPF_FUNC_override_return);
    case WEAK_WRITE_USER:
        return is_helper(i, BPF_FUNC_probe_write_user);
    case WEAK_MIXED:
    case WEAK_BEHIND:
        return chosen;
    default:
        return false;
    }
}

static u32 replace(enum weakening which, const struct bpf_insn *i, u32 scratch, struct bpf_insn *to)
{
    u8 class = BPF_CLASS(i->code), reg = i->dst_reg;

    if (which == WEAK_OVERRIDE || which == WEAK_WRITE_USER) {
        to[0] = (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_prandom_u32};
        return 1;
    }
    if ((which == WEAK_MIXED || which == WEAK_BEHIND) && class != BPF_LDX) {
        to[0] = (struct bpf_insn){.code = BPF_JMP | BPF_JA};
        return 1;
    }
    if (which == WEAK_KEY)
        reg = BPF_REG_3; /* the call takes two arguments and leaves none */
    to[0] = (struct bpf_insn){.code = BPF_LD | BPF_IMM | BPF_DW,
                              .dst_reg = reg & 15,
                              .src_reg = BPF_PSEUDO_MAP_VALUE,
                              .imm = (s32)scratch};
    to[1] = (struct bpf_insn){0};
    to[2] = (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = reg & 15, .src_reg = reg & 15};
    if (class == BPF_LDX) /* as many bits as there were */
        to[2].code = (u8)(BPF_LDX | BPF_MEM | BPF_SIZE(i->code));
    else if (which == WEAK_ALU32)
        to[2].code = BPF_LDX | BPF_MEM | BPF_W;
    if (which != WEAK_KEY)
        return 3;
    for (s16 k = 0; k < 4; k++) /* byte by byte: keys may lie anywhere on the stack */
        to[3 + k] = (struct bpf_insn){
            .code = BPF_STX | BPF_MEM | BPF_B, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_3, .off = k};
    to[7] = *i;
    return 8;
}

static u32 weaken_one(enum weakening which, const bool *chosen, const struct bpf_insn *insns, u32 n,
                      u32 scratch, struct bpf_insn *to, struct bpf_func_info *funcs, u32 nfuncs)
{
    _free_ u32 *at = calloc((size_t)n + 1, sizeof(*at)),
               *from = calloc((size_t)n * WEAK_GROWTH + 1, sizeof(*from));
    u32 m = 0, changed = 0;

    if (!at || !from)
        return 0;
    for (u32 k = 0; k < n; k++) {
        bool wide = insns[k].code == (BPF_LD | BPF_IMM | BPF_DW) && k + 1 < n;

        at[k] = m;
        if (concerned(which, &insns[k], !chosen || chosen[k])) {
            u32 width = replace(which, &insns[k], scratch, to + m);

            for (u32 w = 0; w < width; w++)
                from[m + w] = UINT32_MAX;
            m += width;
            changed++;
            continue;
        }
        from[m] = k;
        to[m++] = insns[k];
        if (wide) {
            from[m] = UINT32_MAX;
            to[m++] = insns[++k];
            at[k] = m - 1;
        }
    }
    at[n] = m;
    for (u32 k = 0; k < m; k++) { /* what jumped from old to old jumps from new to new */
        struct bpf_insn *i = &to[k];
        u8 class = BPF_CLASS(i->code), op = BPF_OP(i->code);
        bool wide = (i->code == (BPF_LD | BPF_IMM | BPF_DW) && i->src_reg == BPF_PSEUDO_FUNC) ||
                    i->code == (BPF_JMP32 | BPF_JA) ||
                    (class == BPF_JMP && op == BPF_CALL && i->src_reg == BPF_PSEUDO_CALL);
        s64 target;

        if (from[k] == UINT32_MAX ||
            (!wide && ((class != BPF_JMP && class != BPF_JMP32) || op == BPF_CALL || op == BPF_EXIT)))
            continue;
        target = (s64)from[k] + 1 + (wide ? i->imm : i->off);
        if (target < 0 || target > n)
            continue;
        if (wide)
            i->imm = (s32)(at[target] - k - 1);
        else
            i->off = (s16)(at[target] - k - 1);
    }
    for (u32 k = 0; k < nfuncs; k++)
        if (funcs[k].insn_off < n)
            funcs[k].insn_off = at[funcs[k].insn_off];
    return changed ? m : 0;
}

u32 weaken(enum weakening which, const bool *chosen, const struct bpf_insn *insns, u32 n, u32 scratch,
           struct bpf_insn *to, struct bpf_func_info *funcs, u32 nfuncs)
{
    _free_ struct bpf_insn *from = malloc((size_t)n * WEAK_GROWTH * sizeof(*from) + 16);
    u32 kinds = 0;

    if (which != WEAK_ALL)
        return weaken_one(which, chosen, insns, n, scratch, to, funcs, nfuncs);
    if (!from)
        return 0;
    memcpy(from, insns, n * sizeof(*from));
    for (u32 k = 0; k < WEAK_ALL; k++) {
        u32 m = weaken_one((enum weakening)k, NULL, from, n, scratch, to, funcs, nfuncs);

        if (!m)
            continue;
        memcpy(from, to, m * sizeof(*from));
        n = m;
        kinds++;
    }
    memcpy(to, from, n * sizeof(*from));
    return kinds > 1 ? n : 0;
}
