/* SPDX-License-Identifier: MIT */
/* The text of a program: well-formed instructions, functions, jumps, reachability, call graph; see cfg.h. */
#include "verify/cfg.h"

#include "verify/internal.h"

/* -------------------------------------------------------------------------------- instructions one by one */

/* What the decoder calls a fault, what is refused for it, and what people read before the decoder's own
   words. A shift that is too far and a division by zero are judged where a path meets them: as in Linux, dead
   code may hold them. */
static const struct {
    const char *fault;
    enum tn_reason reason;
    const char *words;
} faults[] = {
    {"unknown_opcode", TN_REASON_bad_opcode, "unknown opcode"},
    {"unknown_atomic", TN_REASON_bad_opcode, "BPF_ATOMIC uses an invalid atomic opcode"},
    {"bad_register", TN_REASON_bad_register, "R11 to R15 are invalid"},
    {"incomplete_two_slot_load", TN_REASON_bad_ld_imm64, "invalid bpf_ld_imm64 insn"},
    {"shift_out_of_range", TN_REASON_COUNT, NULL},
    {"constant_zero_divisor", TN_REASON_COUNT, NULL},
};

/* Whether the engines run it or not: the verdict is another answer. */
static int check_may_goto(struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc];

    if (i->code == (BPF_JMP | BPF_JCOND) && !i->src_reg && !i->dst_reg && !i->imm)
        return 0;
    return vf_refuse(
        v, pc, TN_REASON_reserved_field,
        "invalid may_goto imm %d: of conditions that the run decides there is only this one, without "
        "registers (dst r%u, src r%u)",
        i->imm, i->dst_reg, i->src_reg);
}

static int refuse_insn(struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc];
    struct tn_error err = {0};
    struct tn_insn in;

    (void)tn_decode(v->insns, v->ninsns, pc, &in, &err);
    v->cfg.flow[pc].writes_fp = !strcmp(err.reason, "frame_pointer_read_only");
    if (v->cfg.flow[pc].writes_fp)
        return 0;
    for (size_t k = 0; k < TN_ARRAY_SIZE(faults); k++) {
        if (strcmp(faults[k].fault, err.reason))
            continue;
        if (!faults[k].words)
            return 0;
        return vf_refuse(v, pc, faults[k].reason, "%s: %02x (dst r%u, src r%u, off %d, imm %d): %s",
                         faults[k].words, i->code, i->dst_reg, i->src_reg, i->off, i->imm, err.message);
    }
    return vf_refuse(v, pc, tn_insn_is_ld_imm64(i) ? TN_REASON_bad_ld_imm64 : TN_REASON_reserved_field,
                     "instruction %02x uses a reserved field (dst r%u, src r%u, off %d, imm %d): %s", i->code,
                     i->dst_reg, i->src_reg, i->off, i->imm, err.message);
}

/* The one table of instructions is the decoder's. */
static int check_insn(struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc];
    struct tn_insn in;

    if (tn_insn_is_jump_class(i) && BPF_OP(i->code) == BPF_JCOND)
        return check_may_goto(v, pc);
    return tn_decode(v->insns, v->ninsns, pc, &in, NULL) ? refuse_insn(v, pc) : 0; /* words cost more */
}

static int check_ld_imm64(struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc], *next = i + 1;
    const struct tn_verify_map *map;
    char label[TN_MAP_LABEL];

    if (i->src_reg == 0 || i->src_reg == BPF_PSEUDO_BTF_ID)
        return 0;
    if (i->src_reg == BPF_PSEUDO_FUNC)
        return next->imm ? vf_refuse(v, pc, TN_REASON_bad_ld_imm64,
                                     "invalid bpf_ld_imm64 insn: a function is named by its distance alone")
                         : 0;
    if (i->src_reg != BPF_PSEUDO_MAP_FD && i->src_reg != BPF_PSEUDO_MAP_VALUE)
        return vf_refuse(
            v, pc, TN_REASON_bad_ld_imm64,
            "two-slot load of kind %u: constants, maps, map values, variables of the host and functions of "
            "the program can be loaded",
            i->src_reg);
    if (i->imm < 0 || (u32)i->imm >= v->in->nmaps)
        return vf_refuse(v, pc, TN_REASON_bad_map, "map index %d, but the program comes with %u maps", i->imm,
                         v->in->nmaps);
    if (i->src_reg == BPF_PSEUDO_MAP_FD)
        return 0;
    map = &v->in->maps[i->imm];
    vf_map_label(v, (u32)i->imm, label);
    if (tn_map_is_arena(map)) {
        if ((u32)next->imm <= (u64)map->geo.max_entries * TN_PAGE)
            return 0;
        return vf_refuse(v, pc, TN_REASON_bad_map_offset, "offset %u of %s, which has %u pages",
                         (u32)next->imm, label, map->geo.max_entries);
    }
    if (map->geo.type != BPF_MAP_TYPE_ARRAY || map->geo.max_entries != 1)
        return vf_refuse(v, pc, TN_REASON_bad_map,
                         "%s is addressed directly: that needs an array with one element (global data)",
                         label);
    if ((u32)next->imm >= map->geo.value_size)
        return vf_refuse(v, pc, TN_REASON_bad_map_offset,
                         "offset %u of %s, whose value has %u bytes: address a byte inside it",
                         (u32)next->imm, label, map->geo.value_size);
    return 0;
}

static int check_insns(struct vf *v)
{
    int err;

    for (u32 pc = 0; pc < v->ninsns; pc++) {
        const struct bpf_insn *i = &v->insns[pc];

        err = tn_insn_is_cast(i) ? tn_arena_check_cast(v, pc) : check_insn(v, pc);
        if (err)
            return err;
        if (tn_insn_is_ld_imm64(i)) {
            /* One that writes the frame pointer is not refused before it is reached. */
            err = pc + 1 < v->ninsns ? check_ld_imm64(v, pc)
                                     : vf_refuse(v, pc, TN_REASON_bad_ld_imm64,
                                                 "invalid bpf_ld_imm64 insn: its second half is not there");
            if (err)
                return err;
            v->cfg.flow[++pc].second = true;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- functions */

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
    ret_next[0] = (u32)tn_jump_target(i, pc);
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

/* Named by the instruction at `pc`. */
static int add_function(struct vf *v, u32 pc, s64 to)
{
    struct tn_cfg *c = &v->cfg;

    if (to < 0 || to >= v->ninsns || c->flow[to].second)
        return vf_refuse(v, pc, TN_REASON_bad_call_target,
                         "call of instruction %lld: no function starts there", (long long)to);
    for (u32 k = 0; k < c->nsubs; k++)
        if (c->sub[k].start == to)
            return 0;
    if (c->nsubs == TN_MAX_SUBPROGS)
        return vf_refuse(v, pc, TN_REASON_too_many_subprogs, "the program has more than %u functions",
                         TN_MAX_SUBPROGS);
    c->sub[c->nsubs++].start = (u32)to;
    return 0;
}

static int find_functions(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    u32 pc, k, exception = 0;
    int err = tn_src_exception_callback(v, &exception);

    c->nsubs = 1;
    if (!err && exception)
        err = add_function(v, 0, exception);
    for (pc = 0; pc < v->ninsns && !err; pc++)
        if (!c->flow[pc].second && tn_insn_names_func(&v->insns[pc]))
            err = add_function(v, pc, (s64)pc + 1 + v->insns[pc].imm);
    if (err)
        return err;
    qsort(c->sub, c->nsubs, sizeof(c->sub[0]), by_start);
    for (k = 0; k < c->nsubs; k++) {
        c->sub[k].end = k + 1 < c->nsubs ? c->sub[k + 1].start : v->ninsns;
        c->flow[c->sub[k].start].target = c->flow[c->sub[k].start].jump_target = true;
        for (pc = c->sub[k].start; pc < c->sub[k].end; pc++)
            c->flow[pc].subprog = (u16)k;
    }
    if (exception) {
        c->exception = c->flow[exception].subprog;
        c->sub[c->exception].callback = c->sub[c->exception].async = true;
    }
    return 0;
}

bool tn_insn_throws(const struct vf *v, u32 pc)
{
    const struct bpf_insn *i = &v->insns[pc];
    const struct tn_kfunc *kfunc;

    if (v->cfg.flow[pc].second || !tn_insn_is_call(i) || i->src_reg != BPF_PSEUDO_KFUNC_CALL)
        return false;
    kfunc = tn_kfunc_of(v, i);
    return kfunc && kfunc->special == TN_KFUNC_THROW;
}

static int check_jumps(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;

    for (u32 k = 0; k < c->nsubs; k++) {
        const struct tn_sub *sub = &c->sub[k];
        const struct bpf_insn *last = &v->insns[sub->end - 1];

        for (u32 pc = sub->start; pc < sub->end; pc++) {
            const struct bpf_insn *i = &v->insns[pc];
            s64 to = tn_jump_target(i, pc);

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
            c->flow[to].target = c->flow[to].jump_target = true;
        }
        if (c->flow[sub->end - 1].second ||
            (last->code != (BPF_JMP | BPF_EXIT) && last->code != (BPF_JMP | BPF_JA) &&
             last->code != (BPF_JMP32 | BPF_JA)))
            return vf_refuse(v, sub->end - 1, TN_REASON_falls_off_end,
                             "last insn is not an exit or jmp: end the function with exit");
    }
    return 0;
}

/* Helpers and kfuncs that call a function of the program before they return, as often as they decide. */
static const u32 callback_helpers[] = {BPF_FUNC_for_each_map_elem, BPF_FUNC_find_vma, BPF_FUNC_loop,
                                       BPF_FUNC_user_ringbuf_drain};
static const char *const callback_kfuncs[] = {"bpf_rbtree_add_impl"};

static bool helper_calls_back(s32 id)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(callback_helpers); k++)
        if ((u32)id == callback_helpers[k])
            return true;
    return false;
}

static enum tn_loop loop_of(const struct vf *v, const struct bpf_insn *i)
{
    const char *name;

    if (i->code == (BPF_JMP | BPF_JCOND))
        return TN_LOOP_MAY_GOTO;
    if (!tn_insn_is_call(i) || i->src_reg == BPF_PSEUDO_CALL)
        return TN_LOOP_NONE;
    if (i->src_reg == 0)
        return helper_calls_back(i->imm) ? TN_LOOP_CALLBACK : TN_LOOP_NONE;
    if (i->src_reg != BPF_PSEUDO_KFUNC_CALL || i->off || !v->in->host_btf || i->imm <= 0 ||
        (u32)i->imm >= tn_btf_count(v->in->host_btf))
        return TN_LOOP_NONE;
    name = tn_btf_name(v->in->host_btf, (u32)i->imm);
    if (!name)
        return TN_LOOP_NONE;
    for (size_t k = 0; k < TN_ARRAY_SIZE(callback_kfuncs); k++)
        if (!strcmp(name, callback_kfuncs[k]))
            return TN_LOOP_CALLBACK;
    return tn_iter_is_next(name) ? TN_LOOP_ITER : TN_LOOP_NONE;
}

/* Where ways meet besides the targets of jumps: after calls of functions, and where a round of a loop starts
   that the run bounds. */
static void mark_meetings(struct vf *v)
{
    for (u32 pc = 0; pc < v->ninsns; pc++) {
        struct tn_flow *flow = &v->cfg.flow[pc];

        if (flow->second)
            continue;
        flow->loop = (u8)loop_of(v, &v->insns[pc]);
        if (flow->loop)
            flow->target = true;
        if (tn_insn_is_subprog_call(&v->insns[pc]) && pc + 1 < v->ninsns)
            v->cfg.flow[pc + 1].target = true;
    }
}

static int check_reached(struct vf *v)
{
    _free_ u32 *todo = calloc(v->ninsns, sizeof(*todo));
    _free_ bool *seen = calloc(v->ninsns, sizeof(*seen));
    u32 n = 0, next[2], count, exception = v->cfg.sub[v->cfg.exception].start;

    if (!todo || !seen)
        return -ENOMEM;
    seen[0] = seen[exception] = true;
    todo[n++] = 0;
    if (exception)
        todo[n++] = exception;
    while (n) {
        u32 pc = todo[--n];

        count = tn_cfg_next(v->insns, pc, next);
        for (u32 k = 0; k < count; k++) {
            if (!seen[next[k]]) {
                seen[next[k]] = true;
                todo[n++] = next[k];
            }
        }
        if (tn_insn_names_func(&v->insns[pc]) && !seen[pc + 1 + (u32)v->insns[pc].imm]) {
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

/* --------------------------------------------------------------------------------------------- call graph */

static u32 callee(const struct vf *v, u32 pc)
{
    return v->cfg.flow[pc + 1 + (u32)v->insns[pc].imm].subprog;
}

/* Depth-first over the call graph below `root` with an explicit stack: a function met while it is open calls
   itself. Appends to cfg.order, callees first. A function that is called back may name itself: a timer that
   starts anew. */
enum { NEW, OPEN, DONE };
static int order_below(struct vf *v, u32 root, u8 mark[TN_MAX_SUBPROGS], u32 *done)
{
    struct tn_cfg *c = &v->cfg;
    u16 stack[TN_MAX_SUBPROGS];
    u32 at[TN_MAX_SUBPROGS], n = 0;

    stack[n] = (u16)root;
    at[n++] = c->sub[root].start;
    mark[root] = OPEN;
    while (n) {
        u32 f = stack[n - 1], pc = at[n - 1];

        while (pc < c->sub[f].end && (c->flow[pc].second || !tn_insn_names_func(&v->insns[pc])))
            pc++;
        if (pc == c->sub[f].end) {
            mark[f] = DONE;
            c->order[(*done)++] = (u16)f;
            n--;
            continue;
        }
        at[n - 1] = pc + 1;
        f = callee(v, pc);
        if (mark[f] == OPEN && tn_insn_is_subprog_call(&v->insns[pc]))
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

/* What is called when something was thrown comes before all that may throw. */
static int order_functions(struct vf *v)
{
    u8 mark[TN_MAX_SUBPROGS] = {0};
    u32 done = 0;
    int err = v->cfg.exception ? order_below(v, v->cfg.exception, mark, &done) : 0;

    return err || mark[0] ? err : order_below(v, 0, mark, &done);
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
    if (!err)
        mark_meetings(v);
    return err;
}
