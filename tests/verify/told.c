/* SPDX-License-Identifier: MIT */
/* See told.h. */
#include "tests/verify/told.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "verify/internal.h"

#define MOST_TOLD  128u /* instructions for one */
#define MOST_INSNS 20000u

/* What is known of the registers before one instruction, whichever way it was reached. */
struct known {
    bool seen;
    u16 other; /* registers that are not live, or no number on some way */
    bool odd;  /* r2, where a key may be: not at a multiple of four on the stack */
    struct tn_range r[TN_NREGS];
};

static void remember(void *arg, u32 insn, const struct tn_state *state, const struct tn_need *need)
{
    struct known *k = (struct known *)arg + insn;
    const struct tn_reg *reg = tn_state_top(state)->reg;

    k->other |= (u16)~need->live; /* of those a way that was covered may know nothing */
    for (u32 n = 0; n < TN_NREGS; n++) {
        if (reg[n].kind != TN_REG_SCALAR)
            k->other |= (u16)(1u << n);
        k->r[n] = k->seen ? tn_range_union(&k->r[n], &reg[n].r) : reg[n].r;
    }
    k->odd |= reg[2].kind != TN_REG_STACK || !tn_range_is_const(&reg[2].r) || reg[2].r.umin % 4;
    k->seen = true;
}

static bool is_wide(const struct bpf_insn *i)
{
    return i->code == (BPF_LD | BPF_IMM | BPF_DW);
}

/* Registers that an instruction looks at. */
static u16 reads(const struct bpf_insn *i)
{
    u8 op = BPF_OP(i->code);
    u16 dst = (u16)(1u << i->dst_reg), src = (u16)(1u << i->src_reg), by = BPF_SRC(i->code) ? src : 0;

    switch (BPF_CLASS(i->code)) {
    case BPF_ALU:
    case BPF_ALU64:
        return (u16)((op == BPF_MOV ? 0 : dst) | (op == BPF_END ? 0 : by));
    case BPF_LDX:
        return src;
    case BPF_ST:
        return dst;
    case BPF_STX:
        return (u16)(dst | src | (BPF_MODE(i->code) == BPF_ATOMIC && i->imm == BPF_CMPXCHG ? 1 : 0));
    case BPF_LD:
        return is_wide(i) ? 0 : src;
    default:
        if (op == BPF_CALL)
            return 0x3e;
        return op == BPF_EXIT ? 1 : op == BPF_JA || op == 0xe0 ? 0 : (u16)(dst | by);
    }
}

struct text {
    struct bpf_insn *to;
    u32 n;
};

static void put(struct text *t, int code, u8 dst, u8 src, s16 off, s32 imm)
{
    t->to[t->n++] =
        (struct bpf_insn){.code = (u8)code, .dst_reg = dst & 15, .src_reg = src & 15, .off = off, .imm = imm};
}

static bool fits(u64 value)
{
    return (s64)value == (s32)value;
}

/* Unless `op` holds of the register and `bound`, it is what it never is: any number we know it may be. */
static void clamp(struct text *t, u8 class, u8 op, u8 reg, s32 bound, s32 otherwise)
{
    put(t, class | op | BPF_K, reg, 0, 1, bound);
    put(t, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, otherwise);
}

static void tell_register(struct text *t, u8 reg, const struct tn_range *r, enum told how)
{
    u64 ends[] = {r->umin, r->umax, (u64)r->smin, (u64)r->smax}, bits = r->var.value | r->var.mask;
    s32 otherwise = 0;
    bool found = false;

    if (tn_range_is_const(r)) {
        if (fits(r->umin)) {
            put(t, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, (s32)r->umin);
            return;
        }
        put(t, BPF_LD | BPF_IMM | BPF_DW, reg, 0, 0, (s32)r->umin);
        put(t, 0, 0, 0, 0, (s32)(r->umin >> 32));
        return;
    }
    for (u32 k = 0; k < 4 && !found; k++)
        if (fits(ends[k]) && tn_range_contains(r, ends[k])) {
            otherwise = (s32)ends[k];
            found = true;
        }
    if (how == TOLD_BITS) {
        if (r->umax <= UINT32_MAX && r->umax > INT32_MAX)
            put(t, BPF_ALU | BPF_MOV | BPF_X, reg, reg, 0, 0);
        if (fits(bits) && bits != UINT64_MAX)
            put(t, BPF_ALU64 | BPF_AND | BPF_K, reg, 0, 0, (s32)bits);
        if (fits(r->var.value) && r->var.value)
            put(t, BPF_ALU64 | BPF_OR | BPF_K, reg, 0, 0, (s32)r->var.value);
    }
    if (!found)
        return;
    if (fits(r->umin) && r->umin)
        clamp(t, BPF_JMP, BPF_JGE, reg, (s32)r->umin, otherwise);
    if (fits(r->umax) && r->umax != UINT64_MAX)
        clamp(t, BPF_JMP, BPF_JLE, reg, (s32)r->umax, otherwise);
    if (fits((u64)r->smin) && (r->smin < 0 || !fits(r->umax)))
        clamp(t, BPF_JMP, BPF_JSGE, reg, (s32)r->smin, otherwise);
    if (r->smin < 0 && fits((u64)r->smax))
        clamp(t, BPF_JMP, BPF_JSLE, reg, (s32)r->smax, otherwise);
    if (r->umax <= INT32_MAX)
        return; /* its low half is all there is */
    if (r->u32min)
        clamp(t, BPF_JMP32, BPF_JGE, reg, (s32)r->u32min, otherwise);
    if (r->u32max != UINT32_MAX)
        clamp(t, BPF_JMP32, BPF_JLE, reg, (s32)r->u32max, otherwise);
    if (r->s32min != INT32_MIN)
        clamp(t, BPF_JMP32, BPF_JSGE, reg, r->s32min, otherwise);
    if (r->s32max != INT32_MAX)
        clamp(t, BPF_JMP32, BPF_JSLE, reg, r->s32max, otherwise);
}

/* Linux takes a key that was stored as a word, or zeros. */
static void tell_key(struct text *t, s32 key, bool odd)
{
    if (!odd)
        put(t, BPF_ST | BPF_MEM | BPF_W, BPF_REG_2, 0, 0, key);
    for (s16 k = 0; odd && !key && k < 4; k++)
        put(t, BPF_ST | BPF_MEM | BPF_B, BPF_REG_2, 0, k, 0);
}

static bool is_branch(const struct bpf_insn *i)
{
    u8 class = BPF_CLASS(i->code), op = BPF_OP(i->code);

    return (class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT && op != BPF_JA &&
           op < 0xe0;
}

/* A register compared with itself: how that ends needs no number. */
static bool is_self(const struct bpf_insn *i)
{
    return BPF_SRC(i->code) == BPF_X && i->dst_reg == i->src_reg && BPF_OP(i->code) != BPF_JSET;
}

static bool holds_of_equals(const struct bpf_insn *i)
{
    switch (BPF_OP(i->code)) {
    case BPF_JEQ:
    case BPF_JGE:
    case BPF_JLE:
    case BPF_JSGE:
    case BPF_JSLE:
        return true;
    default:
        return false;
    }
}

/* A branch whose other side we never went is none. */
static struct bpf_insn one_way(struct bpf_insn i, u32 at, u32 n, const struct tn_insn_aux *aux)
{
    s64 to = (s64)at + 1 + i.off;
    bool on = at + 1 < n && aux[at + 1].live, away = to >= 0 && to < n && aux[to].live;

    if (!is_branch(&i) || !aux[at].live)
        return i;
    if (is_self(&i)) {
        away = holds_of_equals(&i);
        on = !away;
    }
    if (on != away)
        i = (struct bpf_insn){.code = BPF_JMP | BPF_JA, .off = away ? i.off : 0};
    return i;
}

/* Which function begins where this instruction calls or points? −1: none. */
static s32 names(const struct bpf_insn *i, u32 at, const struct tn_verdict *v)
{
    bool call = i->code == (BPF_JMP | BPF_CALL) && i->src_reg == BPF_PSEUDO_CALL;

    if (call || (is_wide(i) && i->src_reg == BPF_PSEUDO_FUNC))
        for (u32 f = 0; f < v->nsubprogs; f++)
            if (v->subprogs[f].start == (u32)((s64)at + 1 + i->imm))
                return (s32)f;
    return -1;
}

/* What is written: main and, in turn, the functions that are named there; of each what is live, all of one
   that was never entered. */
static void mark_kept(bool *kept, const struct bpf_insn *insns, const struct tn_verdict *v)
{
    bool more = true;

    for (u32 i = v->subprogs[0].start; i < v->subprogs[0].end; i++)
        kept[i] = v->aux[i].live;
    while (more) {
        more = false;
        for (u32 k = 0; k < v->subprogs[v->nsubprogs - 1].end; k += is_wide(&insns[k]) ? 2 : 1) {
            s32 f = kept[k] ? names(&insns[k], k, v) : -1;
            u32 start = f >= 0 ? v->subprogs[f].start : 0;

            if (f <= 0 || kept[start])
                continue;
            for (u32 i = start; i < v->subprogs[f].end; i++)
                kept[i] = v->aux[i].live || !v->aux[start].live;
            more = true;
        }
    }
}

/* What jumped from old to old jumps from new to new. False: too far. */
static bool reroute(struct bpf_insn *i, u32 new, u32 old, const u32 *at, u32 n)
{
    u8 class = BPF_CLASS(i->code), op = BPF_OP(i->code);
    bool wide = (is_wide(i) && i->src_reg == BPF_PSEUDO_FUNC) || i->code == (BPF_JMP32 | BPF_JA) ||
                (class == BPF_JMP && op == BPF_CALL && i->src_reg == BPF_PSEUDO_CALL);
    s64 target;

    if (!wide && ((class != BPF_JMP && class != BPF_JMP32) || op == BPF_CALL || op == BPF_EXIT))
        return true;
    target = (s64)old + 1 + (wide ? i->imm : i->off);
    if (target < 0 || target > n)
        return false;
    target = (s64)at[target] - new - 1;
    if (wide)
        i->imm = (s32)target;
    else
        i->off = (s16)target;
    return wide || target == (s16)target;
}

static int write_told(const struct bpf_insn *insns, u32 n, const struct tn_verdict *v,
                      const struct known *known, enum told how, struct text *t, struct bpf_func_info *funcs,
                      u32 *nfuncs)
{
    _free_ u32 *at = calloc((size_t)n + 1, sizeof(*at)), *self = calloc((size_t)n + 1, sizeof(*self));
    _free_ bool *kept = calloc((size_t)n + 1, sizeof(*kept));
    u32 left = 0;

    if (!at || !self || !kept)
        return -ENOMEM;
    mark_kept(kept, insns, v);
    for (u32 k = 0; k < n; k++) {
        struct bpf_insn i = insns[k];

        at[k] = t->n;
        if (!kept[k]) {
            if (is_wide(&i) && k + 1 < n)
                at[++k] = t->n;
            continue;
        }
        for (u8 reg = 0; reg < BPF_REG_10 && how != TOLD_DEAD && v->aux[k].live && known[k].seen; reg++)
            if (reads(&i) & ~known[k].other & 1u << reg)
                tell_register(t, reg, &known[k].r[reg], how);
        if (i.code == (BPF_JMP | BPF_CALL) && !i.src_reg && i.imm == BPF_FUNC_map_lookup_elem &&
            v->aux[k].live && v->aux[k].const_key >= 0)
            tell_key(t, v->aux[k].const_key, known[k].odd);
        self[k] = t->n;
        t->to[t->n++] = one_way(i, k, n, v->aux);
        if (is_wide(&i) && k + 1 < n) {
            self[++k] = t->n;
            at[k] = t->n;
            t->to[t->n++] = insns[k];
        }
    }
    at[n] = t->n;
    for (u32 k = 0; k < n; k++) {
        if (kept[k] && !reroute(&t->to[self[k]], self[k], k, at, n))
            return -E2BIG;
        k += is_wide(&insns[k]);
    }
    for (u32 k = 0; k < *nfuncs; k++)
        if (funcs[k].insn_off < n && kept[funcs[k].insn_off]) {
            funcs[left] = funcs[k];
            funcs[left++].insn_off = at[funcs[k].insn_off];
        }
    *nfuncs = left;
    return 0;
}

int tell(const struct tn_verify_in *in, const struct bpf_insn *insns, enum told how,
         struct bpf_insn **ret_insns, u32 *ret_n, struct bpf_func_info *funcs, u32 *nfuncs)
{
    _free_ struct known *known = calloc(in->ninsns, sizeof(*known));
    struct tn_verify_probe probe = {remember, known, NULL};
    struct text text = {calloc((size_t)in->ninsns, MOST_TOLD * sizeof(struct bpf_insn)), 0};
    struct tn_verdict v = {0};
    int e = in->ninsns > MOST_INSNS ? -E2BIG : -ENOMEM;

    if (known && text.to && e == -ENOMEM)
        e = tn_verify_probed(in, &probe, &v);
    if (!e && !v.accepted)
        e = -ENOENT;
    if (!e)
        e = write_told(insns, in->ninsns, &v, known, how, &text, funcs, nfuncs);
    tn_verdict_clear(&v);
    if (e) {
        free(text.to);
        return e;
    }
    *ret_insns = text.to;
    *ret_n = text.n;
    return 0;
}
