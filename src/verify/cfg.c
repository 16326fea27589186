/* SPDX-License-Identifier: MIT */
/* The text of a program: well-formed instructions, functions, jumps, reachability, call graph; see cfg.h. */
#include "verify/cfg.h"

#include "verify/internal.h"

/* ------------------------------------------------------------------------------------- instructions one by
 * one */

static bool atomic_op_known(s32 imm)
{
    switch (imm) {
    case BPF_ADD:
    case BPF_ADD | BPF_FETCH:
    case BPF_AND:
    case BPF_AND | BPF_FETCH:
    case BPF_OR:
    case BPF_OR | BPF_FETCH:
    case BPF_XOR:
    case BPF_XOR | BPF_FETCH:
    case BPF_XCHG:
    case BPF_CMPXCHG:
        return true;
    default:
        return false;
    }
}

enum opcode_fault { FINE, UNKNOWN, RESERVED };

static enum opcode_fault check_alu(const struct bpf_insn *i)
{
    bool is64 = BPF_CLASS(i->code) == BPF_ALU64, x = BPF_SRC(i->code) == BPF_X;

    switch (BPF_OP(i->code)) {
    case BPF_NEG:
        return x ? UNKNOWN : i->src_reg || i->off || i->imm ? RESERVED : FINE;
    case BPF_END:
        if (is64 && x)
            return UNKNOWN;
        return i->src_reg || i->off || (i->imm != 16 && i->imm != 32 && i->imm != 64) ? RESERVED : FINE;
    case BPF_MOV:
        if (!x)
            return i->src_reg || i->off ? RESERVED : FINE;
        return i->imm || (i->off && i->off != 8 && i->off != 16 && (i->off != 32 || !is64)) ? RESERVED : FINE;
    case BPF_DIV:
    case BPF_MOD:
        return (x ? i->imm != 0 : i->src_reg != 0) || (i->off != 0 && i->off != 1) ? RESERVED : FINE;
    default:
        if (BPF_OP(i->code) > BPF_ARSH)
            return UNKNOWN;
        return (x ? i->imm != 0 : i->src_reg != 0) || i->off ? RESERVED : FINE;
    }
}

static enum opcode_fault check_jump(const struct bpf_insn *i)
{
    bool is32 = BPF_CLASS(i->code) == BPF_JMP32, x = BPF_SRC(i->code) == BPF_X;

    switch (BPF_OP(i->code)) {
    case BPF_JA:
        return x ? UNKNOWN : i->dst_reg || i->src_reg || (is32 ? i->off != 0 : i->imm != 0) ? RESERVED : FINE;
    case BPF_CALL:
        return is32 || x                                                    ? UNKNOWN
               : i->dst_reg || i->src_reg > BPF_PSEUDO_KFUNC_CALL || i->off ? RESERVED
                                                                            : FINE;
    case BPF_EXIT:
        return is32 || x ? UNKNOWN : i->dst_reg || i->src_reg || i->off || i->imm ? RESERVED : FINE;
    default:
        if (BPF_OP(i->code) > BPF_JSLE)
            return UNKNOWN;
        return (x ? i->imm != 0 : i->src_reg != 0) ? RESERVED : FINE;
    }
}

static enum opcode_fault check_opcode(const struct bpf_insn *i)
{
    u8 mode = BPF_MODE(i->code), size = BPF_SIZE(i->code);

    switch (BPF_CLASS(i->code)) {
    case BPF_LD:
        return tn_insn_is_ld_imm64(i) ? i->off ? RESERVED : FINE : UNKNOWN;
    case BPF_LDX:
        if (mode != BPF_MEM && (mode != BPF_MEMSX || size == BPF_DW))
            return UNKNOWN;
        return i->imm ? RESERVED : FINE;
    case BPF_ST:
        return mode != BPF_MEM ? UNKNOWN : i->src_reg ? RESERVED : FINE;
    case BPF_STX:
        if (mode == BPF_MEM)
            return i->imm ? RESERVED : FINE;
        if (mode != BPF_ATOMIC || (size != BPF_W && size != BPF_DW) || !atomic_op_known(i->imm))
            return UNKNOWN;
        return FINE;
    case BPF_ALU:
    case BPF_ALU64:
        return check_alu(i);
    default:
        return check_jump(i);
    }
}

static bool writes_dst(const struct bpf_insn *i)
{
    u8 class = BPF_CLASS(i->code);

    return class == BPF_ALU || class == BPF_ALU64 || class == BPF_LDX || class == BPF_LD;
}

static int check_ld_imm64(struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc], *next = i + 1;
    const struct tn_verify_map *map;

    if (pc + 1 >= v->ninsns || next->code || next->dst_reg || next->src_reg || next->off)
        return vf_refuse(v, pc, TN_REASON_bad_ld_imm64,
                         "the second half of the two-slot load is missing or not empty: write both slots");
    if (i->src_reg == 0)
        return 0;
    if (i->src_reg != BPF_PSEUDO_MAP_FD && i->src_reg != BPF_PSEUDO_MAP_VALUE)
        return vf_refuse(
            v, pc, TN_REASON_bad_ld_imm64,
            "two-slot load of kind %u: constants, maps and map values can be loaded; kernel symbols and "
            "function addresses cannot",
            i->src_reg);
    if (i->imm < 0 || (u32)i->imm >= v->in->nmaps)
        return vf_refuse(v, pc, TN_REASON_bad_map, "map index %d, but the program comes with %u maps", i->imm,
                         v->in->nmaps);
    map = &v->in->maps[i->imm];
    if (i->src_reg == BPF_PSEUDO_MAP_FD)
        return next->imm
                   ? vf_refuse(v, pc, TN_REASON_bad_ld_imm64, "the second slot of a map load must hold 0")
                   : 0;
    if (map->geo.type != BPF_MAP_TYPE_ARRAY || map->geo.max_entries != 1)
        return vf_refuse(v, pc, TN_REASON_bad_map,
                         "map %d is addressed directly: that needs an array with one element (global data)",
                         i->imm);
    if ((u32)next->imm >= map->geo.value_size)
        return vf_refuse(v, pc, TN_REASON_bad_map_offset,
                         "offset %u of map %d, whose value has %u bytes: address a byte inside it",
                         (u32)next->imm, i->imm, map->geo.value_size);
    return 0;
}

static int check_insns(struct vf *v)
{
    int err;

    for (u32 pc = 0; pc < v->ninsns; pc++) {
        const struct bpf_insn *i = &v->insns[pc];

        switch (check_opcode(i)) {
        case UNKNOWN:
            return vf_refuse(
                v, pc, TN_REASON_bad_opcode,
                "unknown opcode %02x: not an instruction of eBPF (RFC 9669), or a legacy packet load",
                i->code);
        case RESERVED:
            return vf_refuse(
                v, pc, TN_REASON_reserved_field,
                "instruction %02x uses a reserved field (dst r%u, src r%u, off %d, imm %d): set what it "
                "does not use to zero",
                i->code, i->dst_reg, i->src_reg, i->off, i->imm);
        case FINE:
            break;
        }
        if (i->dst_reg > 10 || (i->src_reg > 10 && !tn_insn_is_call(i)))
            return vf_refuse(v, pc, TN_REASON_bad_register, "R%u is invalid: registers are R0 to R10",
                             i->dst_reg > 10 ? i->dst_reg : i->src_reg);
        if (writes_dst(i) && i->dst_reg == 10)
            return vf_refuse(v, pc, TN_REASON_frame_pointer_write,
                             "frame pointer is read only: copy R10 and change the copy");
        if (tn_insn_is_ld_imm64(i)) {
            err = check_ld_imm64(v, pc);
            if (err)
                return err;
            v->cfg.flow[++pc].second = true;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------------
 * functions */

static s64 jump_target(const struct bpf_insn *i, u32 pc)
{
    return (s64)pc + 1 + (i->code == (BPF_JMP32 | BPF_JA) ? i->imm : i->off);
}

u32 tn_cfg_next(const struct bpf_insn *insns, u32 pc, u32 ret_next[2])
{
    const struct bpf_insn *i = &insns[pc];
    u8 op = BPF_OP(i->code);

    if (!tn_insn_is_jump_class(i) || op == BPF_CALL) {
        ret_next[0] = pc + (tn_insn_is_ld_imm64(i) ? 2 : 1);
        return 1;
    }
    if (op == BPF_EXIT)
        return 0;
    ret_next[0] = (u32)jump_target(i, pc);
    if (op == BPF_JA)
        return 1;
    ret_next[1] = ret_next[0];
    ret_next[0] = pc + 1;
    return 2;
}

static int by_start(const void *a, const void *b)
{
    const struct tn_sub *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static int find_functions(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    s64 to;
    u32 pc, k;

    c->nsubs = 1;
    for (pc = 0; pc < v->ninsns; pc++) {
        if (c->flow[pc].second || !tn_insn_is_subprog_call(&v->insns[pc]))
            continue;
        to = (s64)pc + 1 + v->insns[pc].imm;
        if (to < 0 || to >= v->ninsns || c->flow[to].second)
            return vf_refuse(v, pc, TN_REASON_bad_call_target,
                             "call of instruction %lld: no function starts there", (long long)to);
        for (k = 0; k < c->nsubs && c->sub[k].start != to; k++)
            ;
        if (k < c->nsubs)
            continue;
        if (c->nsubs == TN_MAX_SUBPROGS)
            return vf_refuse(v, pc, TN_REASON_too_many_subprogs, "the program has more than %u functions",
                             TN_MAX_SUBPROGS);
        c->sub[c->nsubs++].start = (u32)to;
    }
    qsort(c->sub, c->nsubs, sizeof(c->sub[0]), by_start);
    for (k = 0; k < c->nsubs; k++) {
        c->sub[k].end = k + 1 < c->nsubs ? c->sub[k + 1].start : v->ninsns;
        c->flow[c->sub[k].start].target = true;
        for (pc = c->sub[k].start; pc < c->sub[k].end; pc++)
            c->flow[pc].subprog = (u16)k;
    }
    return 0;
}

static int check_jumps(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;

    for (u32 k = 0; k < c->nsubs; k++) {
        const struct tn_sub *sub = &c->sub[k];
        const struct bpf_insn *last = &v->insns[sub->end - 1];

        for (u32 pc = sub->start; pc < sub->end; pc++) {
            const struct bpf_insn *i = &v->insns[pc];
            s64 to = jump_target(i, pc);

            if (c->flow[pc].second || !tn_insn_is_jump_class(i) || BPF_OP(i->code) == BPF_CALL ||
                BPF_OP(i->code) == BPF_EXIT)
                continue;
            if (to < sub->start || to >= sub->end)
                return vf_refuse(v, pc, TN_REASON_jump_out_of_range,
                                 "jump out of range from insn %u to %lld: the function is [%u, %u)", pc,
                                 (long long)to, sub->start, sub->end);
            if (c->flow[to].second)
                return vf_refuse(v, pc, TN_REASON_jump_into_ld_imm64,
                                 "jump into the middle of ldimm64 insn %lld: jump to one of its neighbours",
                                 (long long)to - 1);
            c->flow[to].target = true;
        }
        if (c->flow[sub->end - 1].second ||
            (last->code != (BPF_JMP | BPF_EXIT) && last->code != (BPF_JMP | BPF_JA) &&
             last->code != (BPF_JMP32 | BPF_JA)))
            return vf_refuse(v, sub->end - 1, TN_REASON_falls_off_end,
                             "last insn is not an exit or jmp: end the function with exit");
    }
    return 0;
}

static int check_reached(struct vf *v)
{
    _free_ u32 *todo = calloc(v->ninsns, sizeof(*todo));
    _free_ bool *seen = calloc(v->ninsns, sizeof(*seen));
    u32 n = 0, next[2], count;

    if (!todo || !seen)
        return -ENOMEM;
    seen[0] = true;
    todo[n++] = 0;
    while (n) {
        u32 pc = todo[--n];

        count = tn_cfg_next(v->insns, pc, next);
        for (u32 k = 0; k < count; k++) {
            if (!seen[next[k]]) {
                seen[next[k]] = true;
                todo[n++] = next[k];
            }
        }
        if (tn_insn_is_subprog_call(&v->insns[pc]) && !seen[pc + 1 + (u32)v->insns[pc].imm]) {
            seen[pc + 1 + (u32)v->insns[pc].imm] = true;
            todo[n++] = pc + 1 + (u32)v->insns[pc].imm;
        }
    }
    for (u32 pc = 0; pc < v->ninsns; pc++)
        if (!seen[pc] && !v->cfg.flow[pc].second)
            return vf_refuse(v, pc, TN_REASON_unreachable_insn,
                             "unreachable insn %u: nothing leads here; remove it", pc);
    return 0;
}

/* -------------------------------------------------------------------------------------------------- call
 * graph */

static u32 callee(const struct vf *v, u32 pc)
{
    return v->cfg.flow[pc + 1 + (u32)v->insns[pc].imm].subprog;
}

/* Depth-first over the call graph with an explicit stack: a function met while it is open calls itself. Fills
   cfg.order, callees first. */
static int order_functions(struct vf *v)
{
    enum { NEW, OPEN, DONE };
    struct tn_cfg *c = &v->cfg;
    u8 mark[TN_MAX_SUBPROGS] = {0};
    u16 stack[TN_MAX_SUBPROGS];
    u32 at[TN_MAX_SUBPROGS], n = 0, done = 0;

    stack[n] = 0;
    at[n++] = 0;
    mark[0] = OPEN;
    while (n) {
        u32 f = stack[n - 1], pc = at[n - 1];

        while (pc < c->sub[f].end && (c->flow[pc].second || !tn_insn_is_subprog_call(&v->insns[pc])))
            pc++;
        if (pc == c->sub[f].end) {
            mark[f] = DONE;
            c->order[done++] = (u16)f;
            n--;
            continue;
        }
        at[n - 1] = pc + 1;
        f = callee(v, pc);
        if (mark[f] == OPEN)
            return vf_refuse(
                v, pc, TN_REASON_recursion,
                "this call closes a circle of calls: functions of a program may not recurse; use a loop");
        if (mark[f] == NEW) {
            mark[f] = OPEN;
            stack[n] = (u16)f;
            at[n++] = c->sub[f].start;
        }
    }
    return 0;
}

int tn_cfg_stack(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    u32 need[TN_MAX_SUBPROGS], own[TN_MAX_SUBPROGS], chain[TN_MAX_SUBPROGS];

    for (u32 k = 0; k < c->nsubs; k++) { /* callees come first */
        u32 f = c->order[k];

        need[f] = own[f] = chain[f] = 0;
        for (u32 pc = c->sub[f].start; pc < c->sub[f].end; pc++) {
            if (c->flow[pc].second || !tn_insn_is_subprog_call(&v->insns[pc]))
                continue;
            need[f] = TN_MAX(need[f], need[callee(v, pc)]);
            own[f] = TN_MAX(own[f], own[callee(v, pc)]);
            chain[f] = TN_MAX(chain[f], chain[callee(v, pc)]);
        }
        /* Rounded as Linux does for its interpreter, so that what is accepted here fits there. */
        need[f] += TN_ROUND_UP(TN_MAX(c->sub[f].depth, 1u), 32u);
        own[f] += TN_ROUND_UP(c->sub[f].depth, 8u);
        chain[f]++;
    }
    if (chain[0] > TN_MAX_FRAMES)
        return vf_refuse(v, 0, TN_REASON_call_depth, "calls nest %u deep, %u frames are allowed", chain[0],
                         TN_MAX_FRAMES);
    if (need[0] > v->auth->limits.max_stack)
        return vf_refuse(v, 0, TN_REASON_stack_limit,
                         "combined stack size of the deepest call chain is %u bytes, %u are allowed", need[0],
                         v->auth->limits.max_stack);
    v->facts.max_stack = own[0];
    return 0;
}

int tn_cfg_build(struct vf *v)
{
    int err = check_insns(v);

    if (!err)
        err = find_functions(v);
    if (!err)
        err = check_jumps(v);
    if (!err)
        err = order_functions(v);
    if (!err)
        err = check_reached(v);
    return err;
}
