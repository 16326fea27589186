/* SPDX-License-Identifier: MIT */
/*
 * What need not be compiled. Compilers of C emit eBPF for an engine that calls the map look-up as a function:
 * a key is stored on the stack, its address and the map's put into registers, the result compared with NULL.
 * Where the look-up is inlined and its result known, all of that is dead, and this file finds it out in a few
 * linear passes:
 *
 *     1  subprogram of each instruction
 *     2  calls that are inlined (the verifier's const_map and const_key say when)
 *     3  branches of which the verifier has seen one way only, and comparisons with NULL of what cannot be NULL: decided
 *     4  reachability, following decided branches one way only
 *     5  liveness of registers, backwards until nothing changes; what computes an unneeded value is skipped
 *     6  a stack that is only written is not needed: its stores are skipped, and 5 is done again
 *     7  neighbours that x86 does in one instruction are grouped
 *
 * All of it is local and conservative: a jump target inside a group forbids the group, a frame pointer that
 * escapes keeps every store.
 */
#include "jit/plan.h"

#include <errno.h>

#define REG(r)       ((u16)(1u << (r)))
#define CALLER_SAVED (REG(0) | REG(1) | REG(2) | REG(3) | REG(4) | REG(5))

static const struct tn_op_row *row_of(const struct jit *j, u32 at)
{
    return &tn_op_rows[tn_op_of(&j->prog->insns[at])];
}

static bool is_op(const struct jit *j, u32 at, enum tn_op op)
{
    return tn_op_of(&j->prog->insns[at]) == op;
}

static bool is_helper(const struct jit *j, u32 at, s32 id)
{
    const struct bpf_insn *in = &j->prog->insns[at];

    return is_op(j, at, TN_OP_CALL) && in->src_reg == 0 && in->imm == id;
}

static bool is_bpf_call(const struct jit *j, u32 at)
{
    return is_op(j, at, TN_OP_CALL) && j->prog->insns[at].src_reg == BPF_PSEUDO_CALL;
}

static bool may_jump(u8 kind)
{
    return kind == TN_KIND_JMP || kind == TN_KIND_JA || kind == TN_KIND_MAY_GOTO;
}

/* ----------------------------------------------------------------------------------------- 1: subprograms */

static int assign_subprogs(struct jit *j)
{
    const struct tn_program *p = j->prog;

    if (!p->ninsns || !p->nsubprogs || p->nsubprogs > 255 || p->subprogs[0].start != 0)
        return tn_fail(j->err, -EINVAL, "bad_subprogs", "the first subprogram must start at instruction 0");
    for (u32 s = 0; s < p->nsubprogs; s++) {
        const struct tn_subprog *sub = &p->subprogs[s];

        if (sub->start >= sub->end || sub->end > p->ninsns || (s && sub->start != p->subprogs[s - 1].end) ||
            (s == p->nsubprogs - 1 && sub->end != p->ninsns))
            return tn_fail(j->err, -EINVAL, "bad_subprogs", "subprogram %u does not follow the one before it",
                           s);
        j->subs[s].stack = TN_ROUND_UP(sub->stack, 8u);
        j->subs[s].zero = sub->zero;
        for (u32 i = sub->start; i < sub->end; i++)
            j->plan[i] = (struct jit_insn){.how = JIT_PLAIN, .slots = 1, .jump_size = 4, .sub = (u8)s};
    }
    for (u32 i = 0; i < p->ninsns; i++)
        if (is_op(j, i, TN_OP_LD_IMM64)) {
            if (i + 1 >= p->subprogs[j->plan[i].sub].end)
                return tn_fail(j->err, -EINVAL, "incomplete_two_slot_load", "instruction %u", i);
            j->plan[i].slots = 2;
            i++;
        } else if (may_jump(row_of(j, i)->kind)) {
            s64 target = tn_jump_target(&p->insns[i], i);

            if (row_of(j, i)->kind == TN_KIND_MAY_GOTO)
                j->subs[j->plan[i].sub].loops = true;

            if (target >= 0 && target < p->ninsns)
                j->plan[target].target = true;
        }
    return 0;
}

/* --------------------------------------------------------------------------------------- 2: inlined calls */

static u8 inline_lookup(const struct jit *j, u32 at)
{
    const struct tn_insn_aux *aux = &j->prog->aux[at];
    const struct tn_map_geo *geo;
    bool percpu, known;

    if (aux->const_map < 0 || (u32)aux->const_map >= j->prog->nmaps)
        return JIT_PLAIN;
    geo = &j->prog->maps[aux->const_map];
    percpu = geo->type == BPF_MAP_TYPE_PERCPU_ARRAY;
    if ((geo->type != BPF_MAP_TYPE_ARRAY && !percpu) || geo->key_size != 4 || !geo->value_stride)
        return JIT_PLAIN;
    /* Strides are immediates of imul, and offsets must not wrap. */
    if (geo->value_stride > INT32_MAX || geo->elem_stride > INT32_MAX || geo->max_entries > INT32_MAX ||
        geo->value_off > geo->size)
        return JIT_PLAIN;
    known = aux->const_key >= 0 && (u32)aux->const_key < geo->max_entries;
    if (percpu)
        return known ? JIT_PERCPU_CONST : JIT_PERCPU;
    return known ? JIT_ARRAY_CONST : JIT_ARRAY;
}

const struct tn_host_ref *jit_ref(const struct jit *j, const struct bpf_insn *in, u32 *ret_index)
{
    for (u32 k = 0; k < j->prog->nrefs; k++)
        if (j->prog->refs[k].btf_id == (u32)in->imm) {
            *ret_index = k;
            return &j->prog->refs[k];
        }
    return NULL;
}

static int choose_host_call(struct jit *j, u32 at)
{
    const struct tn_host_ref *ref = NULL;
    u32 k;

    if (j->prog->insns[at].src_reg == BPF_PSEUDO_KFUNC_CALL)
        ref = jit_ref(j, &j->prog->insns[at], &k);
    if (!ref || ref->kind == TN_NAMED_VAR)
        return j->prog->aux[at].live ? tn_fail(j->err, -ENOTSUP, "unknown_kfunc",
                                               "instruction %u: no function of the host has the type id %d",
                                               at, j->prog->insns[at].imm)
                                     : 0;
    j->plan[at].how = ref->kind == TN_NAMED_REPLACE          ? JIT_ANSWER
                      : ref->kind == TN_NAMED_COPY           ? JIT_COPY
                      : ref->kind == TN_NAMED_SESSION_RETURN ? JIT_SESSION_RETURN
                      : ref->kind == TN_NAMED_SESSION_COOKIE ? JIT_SESSION_COOKIE
                                                             : JIT_HOST_CALL;
    return 0;
}

static int choose_calls(struct jit *j)
{
    for (u32 i = 0; i < j->prog->ninsns; i += j->plan[i].slots) {
        u8 kind = row_of(j, i)->kind;

        if ((kind == TN_KIND_LDX || kind == TN_KIND_LDSX) && j->prog->aux[i].mem_kind == TN_MEM_PROBE)
            j->plan[i].how = JIT_CAREFUL;
        if (!is_op(j, i, TN_OP_CALL))
            continue;
        if (j->prog->insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL) {
            int r = choose_host_call(j, i);

            if (r)
                return r;
        } else if (is_helper(j, i, BPF_FUNC_override_return))
            j->plan[i].how = JIT_ANSWER;
        else if (is_helper(j, i, BPF_FUNC_loop))
            j->plan[i].how = JIT_LOOP;
        else if (is_helper(j, i, BPF_FUNC_for_each_map_elem))
            j->plan[i].how = JIT_ROUNDS;
        else if (is_helper(j, i, BPF_FUNC_map_lookup_elem))
            j->plan[i].how = inline_lookup(j, i);
        else if (is_helper(j, i, BPF_FUNC_get_attach_cookie))
            j->plan[i].how = JIT_COOKIE;
        else if (is_helper(j, i, BPF_FUNC_get_func_ip))
            j->plan[i].how = JIT_FUNC_IP;
        else if (is_helper(j, i, BPF_FUNC_get_current_pid_tgid))
            j->plan[i].how = JIT_PID_TGID;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ 3: decided branches */

/* What a setting that cannot change turns off is asked for by its branch alone, and by what loads it. */
static void decide_seen(struct jit *j)
{
    const struct tn_program *p = j->prog;

    for (u32 i = 0; i + 1 < p->ninsns; i += j->plan[i].slots) {
        s64 target = tn_jump_target(&p->insns[i], i);
        bool taken, passed;

        if (row_of(j, i)->kind != TN_KIND_JMP || !p->aux[i].live || target < 0 || target >= p->ninsns)
            continue;
        taken = p->aux[target].live;
        passed = p->aux[i + 1].live;
        if (taken != passed)
            j->plan[i].how = taken ? JIT_ALWAYS_TAKEN : JIT_NEVER_TAKEN;
    }
}

/* Follows straight-line code after a look-up whose result is never NULL,
   with the set of registers that hold it. */
static void decide_after(struct jit *j, u32 call)
{
    const struct tn_program *p = j->prog;
    u32 end = p->subprogs[j->plan[call].sub].end;
    u16 nonnull = REG(0);

    for (u32 i = call + 1; i < end && nonnull && !j->plan[i].target; i += j->plan[i].slots) {
        const struct bpf_insn *in = &p->insns[i];
        const struct tn_op_row *row = row_of(j, i);

        switch ((enum tn_kind)row->kind) {
        case TN_KIND_JMP:
            if ((is_op(j, i, TN_OP_JEQ64_K) || is_op(j, i, TN_OP_JNE64_K)) && !in->imm &&
                (nonnull & REG(in->dst_reg))) {
                bool taken = is_op(j, i, TN_OP_JNE64_K);

                j->plan[i].how = taken ? JIT_ALWAYS_TAKEN : JIT_NEVER_TAKEN;
                if (taken)
                    return;
            }
            break;
        case TN_KIND_ALU:
            nonnull &= (u16)~REG(in->dst_reg);
            if (is_op(j, i, TN_OP_MOV64_X) && (nonnull & REG(in->src_reg)))
                nonnull |= REG(in->dst_reg);
            break;
        case TN_KIND_ST:
        case TN_KIND_STX:
            break;
        case TN_KIND_CALL:
            nonnull &= (u16)~CALLER_SAVED;
            break;
        default:
            if (!tn_kind_sets_dst(row->kind))
                return;
            nonnull &= (u16)~REG(in->dst_reg);
            break;
        }
    }
}

/* ---------------------------------------------------------------------------------------- 4: reachability */

static int push_if_new(struct jit *j, u32 *stack, u32 *n, u8 sub, s64 at, u32 from)
{
    const struct tn_subprog *s = &j->prog->subprogs[sub];

    if (at < s->start || at >= s->end)
        return tn_fail(j->err, -EINVAL, "jump_out_of_range", "instruction %u leads out of its function",
                       from);
    if (j->plan[at].live_out) /* used as a mark until liveness is computed */
        return 0;
    j->plan[at].live_out = 1;
    stack[(*n)++] = (u32)at;
    return 0;
}

/* Functions that an instruction calls, or names, so that they are called back. */
static bool names_function(const struct jit *j, u32 at)
{
    return is_bpf_call(j, at) ||
           (is_op(j, at, TN_OP_LD_IMM64) && j->prog->insns[at].src_reg == BPF_PSEUDO_FUNC);
}

static int reach(struct jit *j)
{
    const struct tn_program *p = j->prog;
    _free_ u32 *stack = malloc((size_t)p->ninsns * sizeof(*stack));
    u32 n = 0;
    int r;

    if (!stack)
        return -ENOMEM;
    r = push_if_new(j, stack, &n, 0, 0, 0);
    while (!r && n) {
        u32 i = stack[--n];
        const struct bpf_insn *in = &p->insns[i];
        struct jit_insn *plan = &j->plan[i];
        u8 kind = row_of(j, i)->kind;
        s64 target = tn_jump_target(in, i);

        if (!p->aux[i].live) /* the verifier never came here */
            continue;
        if (names_function(j, i)) {
            u32 callee = 0;

            while (callee < p->nsubprogs && p->subprogs[callee].start != target)
                callee++;
            if (callee == p->nsubprogs)
                return tn_fail(j->err, -EINVAL, "call_into_middle",
                               "instruction %u names no function's start", i);
            r = push_if_new(j, stack, &n, (u8)callee, target, i);
        }
        if (!r && (kind == TN_KIND_JA || kind == TN_KIND_MAY_GOTO || plan->how == JIT_ALWAYS_TAKEN ||
                   (kind == TN_KIND_JMP && plan->how != JIT_NEVER_TAKEN)))
            r = push_if_new(j, stack, &n, plan->sub, target, i);
        if (!r && kind != TN_KIND_JA && kind != TN_KIND_EXIT && plan->how != JIT_ALWAYS_TAKEN)
            r = push_if_new(j, stack, &n, plan->sub, (s64)i + plan->slots, i);
    }
    if (r)
        return r;
    for (u32 i = 0; i < p->ninsns; i += j->plan[i].slots) {
        if (!j->plan[i].live_out || !p->aux[i].live)
            j->plan[i].how = JIT_DEAD;
        j->plan[i].live_out = 0;
    }
    return 0;
}

/* -------------------------------------------------------------------------------------------- 5: liveness */

/* Registers an instruction reads and writes, as it is going to be compiled. */
static void uses(const struct jit *j, u32 at, u16 *ret_use, u16 *ret_def)
{
    const struct bpf_insn *in = &j->prog->insns[at];
    u16 d = REG(in->dst_reg), s = REG(in->src_reg), use = 0, def = 0;
    bool x = BPF_SRC(in->code) == BPF_X;

    switch ((enum tn_kind)row_of(j, at)->kind) {
    case TN_KIND_ALU:
        use = (x ? s : 0) | (BPF_OP(in->code) == BPF_MOV ? 0 : d);
        def = d;
        break;
    case TN_KIND_MOVSX:
    case TN_KIND_LDX:
    case TN_KIND_LDSX:
        use = s;
        def = d;
        break;
    case TN_KIND_NEG:
    case TN_KIND_END:
        use = def = d;
        break;
    case TN_KIND_LD_IMM64:
        def = d;
        break;
    case TN_KIND_JMP:
        if (j->plan[at].how == JIT_PLAIN)
            use = d | (x ? s : 0);
        break;
    case TN_KIND_ST:
        use = d;
        break;
    case TN_KIND_STX:
        use = d | s;
        break;
    case TN_KIND_PACKET:
        use = REG(6) | (BPF_MODE(in->code) == BPF_IND ? s : 0);
        def = REG(0);
        break;
    case TN_KIND_ATOMIC:
        if (tn_insn_is_acq_rel(in)) {
            use = in->imm == BPF_LOAD_ACQ ? s : d | s;
            def = in->imm == BPF_LOAD_ACQ ? d : 0;
            break;
        }
        use = d | s | (in->imm == BPF_CMPXCHG ? REG(0) : 0);
        def = in->imm == BPF_CMPXCHG ? REG(0) : in->imm & BPF_FETCH ? s : 0;
        break;
    case TN_KIND_EXIT:
        use = REG(0);
        break;
    case TN_KIND_CALL:
        def = CALLER_SAVED;
        switch (j->plan[at].how) {
        case JIT_ARRAY_CONST:
        case JIT_PERCPU_CONST:
        case JIT_COOKIE:
        case JIT_FUNC_IP:
        case JIT_PID_TGID:
        case JIT_SESSION_RETURN:
        case JIT_SESSION_COOKIE:
            break;
        case JIT_ARRAY:
        case JIT_PERCPU:
        case JIT_ANSWER:
            use = REG(2);
            break;
        case JIT_LOOP:
        case JIT_ROUNDS:
            use = REG(1) | REG(3) | (j->prog->aux[at].callback < 0 ? REG(2) : 0) |
                  (j->plan[at].how == JIT_LOOP && j->prog->aux[at].no_flags ? 0 : REG(4));
            break;
        default:
            use = CALLER_SAVED & (u16)~REG(0);
            if (in->src_reg == 0) {
                const struct tn_helper *helper = tn_helper_by_id((u32)in->imm);

                for (u32 a = 0; helper && a < 5; a++)
                    if (helper->arg[a] == TN_ARG_NONE)
                        use &= (u16)~REG(a + 1);
            }
        }
        break;
    default:
        break;
    }
    *ret_use = use;
    *ret_def = def;
}

/* Has no effect but the value of its destination. A load of what the verifier let through is one. */
static bool is_pure(const struct jit *j, u32 at)
{
    return tn_kind_sets_dst(row_of(j, at)->kind);
}

static u16 live_in_of(const struct jit *j, u32 at)
{
    u16 use, def, out = j->plan[at].live_out;

    if (j->plan[at].how == JIT_DEAD || j->plan[at].how == JIT_SKIP)
        return j->plan[at].how == JIT_DEAD ? 0 : out;
    uses(j, at, &use, &def);
    if (is_pure(j, at) && !(out & def))
        return out;
    return (out & (u16)~def) | use;
}

/* Sets live_out everywhere; values nobody needs do not count as needing anything themselves. */
static void liveness(struct jit *j)
{
    const struct tn_program *p = j->prog;
    bool changed;

    for (u32 i = 0; i < p->ninsns; i++)
        j->plan[i].live_out = 0;
    do {
        changed = false;
        for (u32 i = p->ninsns; i-- > 0;) {
            u8 kind = row_of(j, i)->kind;
            struct jit_insn *plan = &j->plan[i];
            u16 out = 0;

            if (i && is_op(j, i - 1, TN_OP_LD_IMM64)) /* second slot */
                continue;
            if (plan->how == JIT_DEAD)
                continue;
            if (kind != TN_KIND_JA && kind != TN_KIND_EXIT && plan->how != JIT_ALWAYS_TAKEN &&
                i + plan->slots < p->ninsns)
                out |= live_in_of(j, i + plan->slots);
            if (kind == TN_KIND_JA || kind == TN_KIND_MAY_GOTO || plan->how == JIT_ALWAYS_TAKEN ||
                (kind == TN_KIND_JMP && plan->how == JIT_PLAIN))
                out |= live_in_of(j, (u32)tn_jump_target(&p->insns[i], i));
            if (out != plan->live_out) {
                plan->live_out = out;
                changed = true;
            }
        }
    } while (changed);
}

static void skip_dead_values(struct jit *j)
{
    for (u32 i = 0; i < j->prog->ninsns; i += j->plan[i].slots)
        if ((j->plan[i].how == JIT_PLAIN || j->plan[i].how == JIT_CAREFUL) && is_pure(j, i) &&
            !(j->plan[i].live_out & REG(j->prog->insns[i].dst_reg)))
            j->plan[i].how = JIT_SKIP;
}

/* -------------------------------------------------------------------------------- 6: a stack only written */

/* Is this a store into the own frame, and nothing else that touches it? */
static bool is_frame_store(const struct jit *j, u32 at)
{
    const struct bpf_insn *in = &j->prog->insns[at];
    u8 kind = row_of(j, at)->kind;

    return (kind == TN_KIND_ST || (kind == TN_KIND_STX && in->src_reg != BPF_REG_10)) &&
           in->dst_reg == BPF_REG_10;
}

static bool uses_frame(const struct jit *j, u32 at)
{
    u16 use, def;

    if (j->plan[at].how == JIT_DEAD || j->plan[at].how == JIT_SKIP)
        return false;
    uses(j, at, &use, &def);
    return use & REG(10);
}

static bool skip_unread_stack(struct jit *j)
{
    const struct tn_program *p = j->prog;
    bool skipped = false;

    for (u32 s = 0; s < p->nsubprogs; s++) {
        bool needed = false;

        for (u32 i = p->subprogs[s].start; i < p->subprogs[s].end; i += j->plan[i].slots)
            needed |= uses_frame(j, i) && !is_frame_store(j, i);
        if (needed)
            continue;
        for (u32 i = p->subprogs[s].start; i < p->subprogs[s].end; i += j->plan[i].slots)
            if (uses_frame(j, i)) {
                j->plan[i].how = JIT_SKIP;
                skipped = true;
            }
    }
    return skipped;
}

/* ---------------------------------------------------------------------------------------------- 7: groups */

/* The next instruction that is compiled after `at`, if no other way leads to it or to anything between. */
static bool neighbour(const struct jit *j, u32 at, u32 *ret_next)
{
    u32 end = j->prog->subprogs[j->plan[at].sub].end, i = at + j->plan[at].slots;

    while (i < end && j->plan[i].how == JIT_SKIP && !j->plan[i].target && i - at < 4)
        i += j->plan[i].slots;
    if (i >= end || i - at >= 4 || j->plan[i].how != JIT_PLAIN || j->plan[i].target)
        return false;
    *ret_next = i;
    return true;
}

static bool is_dead_after(const struct jit *j, u32 at, u8 reg)
{
    return !(j->plan[at].live_out & REG(reg));
}

/* Operations whose low bits depend on low bits only, and that x86 does on memory. */
static bool is_memory_op(u8 code)
{
    u8 op = BPF_OP(code), class = BPF_CLASS(code);

    return (class == BPF_ALU || class == BPF_ALU64) &&
           (op == BPF_ADD || op == BPF_SUB || op == BPF_OR || op == BPF_AND || op == BPF_XOR);
}

static void take(struct jit *j, u32 at, u8 how, u32 last)
{
    j->plan[at].slots = (u8)(last + 1 - at);
    j->plan[at].how = how;
    j->plan[at].live_out = j->plan[last].live_out;
}

/* load r, [b + o]; op r, x; store [b + o], r */
static bool group_rmw(struct jit *j, u32 at)
{
    const struct bpf_insn *ld = &j->prog->insns[at], *op, *st;
    u32 mid, last;
    u8 bytes = row_of(j, at)->bytes;

    if (row_of(j, at)->kind != TN_KIND_LDX || !neighbour(j, at, &mid) || !neighbour(j, mid, &last) ||
        last - at > 6)
        return false;
    op = &j->prog->insns[mid];
    st = &j->prog->insns[last];
    if (!is_memory_op(op->code) || row_of(j, last)->kind != TN_KIND_STX || row_of(j, last)->bytes != bytes)
        return false;
    if (bytes == 8 && BPF_CLASS(op->code) != BPF_ALU64)
        return false;
    if (ld->dst_reg == ld->src_reg || op->dst_reg != ld->dst_reg || st->src_reg != ld->dst_reg ||
        st->dst_reg != ld->src_reg || st->off != ld->off || !is_dead_after(j, last, ld->dst_reg))
        return false;
    if (BPF_SRC(op->code) == BPF_X) {
        if (op->src_reg == ld->dst_reg)
            return false;
        take(j, at, JIT_RMW_REG, last);
    } else {
        take(j, at, JIT_RMW_IMM, last);
    }
    return true;
}

/* mov d, s; add d, imm */
static bool group_lea(struct jit *j, u32 at)
{
    u32 last;

    if (!is_op(j, at, TN_OP_MOV64_X) || !neighbour(j, at, &last) || !is_op(j, last, TN_OP_ADD64_K) ||
        j->prog->insns[last].dst_reg != j->prog->insns[at].dst_reg)
        return false;
    take(j, at, JIT_LEA, last);
    return true;
}

/* mov d, s (or none); lsh d, 32; rsh d, 32 or arsh d, 32: how compilers that have no 32-bit registers cut off a half */
static bool group_extend(struct jit *j, u32 at)
{
    const struct bpf_insn *lsh, *rsh;
    u32 mid = at, last;

    if ((is_op(j, at, TN_OP_MOV64_X) && !neighbour(j, at, &mid)) || !is_op(j, mid, TN_OP_LSH64_K) ||
        !neighbour(j, mid, &last) || (!is_op(j, last, TN_OP_RSH64_K) && !is_op(j, last, TN_OP_ARSH64_K)) ||
        last - at > 6)
        return false;
    lsh = &j->prog->insns[mid];
    rsh = &j->prog->insns[last];
    if (lsh->imm != 32 || rsh->imm != 32 || lsh->dst_reg != j->prog->insns[at].dst_reg ||
        rsh->dst_reg != lsh->dst_reg)
        return false;
    take(j, at, JIT_EXTEND, last);
    return true;
}

/* mov r, imm; store [b + o], r */
static bool group_store_imm(struct jit *j, u32 at)
{
    const struct bpf_insn *mov = &j->prog->insns[at], *st;
    u32 last;

    if ((!is_op(j, at, TN_OP_MOV64_K) && !is_op(j, at, TN_OP_MOV32_K)) || !neighbour(j, at, &last))
        return false;
    st = &j->prog->insns[last];
    if (row_of(j, last)->kind != TN_KIND_STX || st->src_reg != mov->dst_reg || st->dst_reg == mov->dst_reg ||
        !is_dead_after(j, last, mov->dst_reg))
        return false;
    if (row_of(j, last)->bytes == 8 && is_op(j, at, TN_OP_MOV32_K) && mov->imm < 0)
        return false; /* the store would sign-extend what the mov zero-extends */
    take(j, at, JIT_STORE_IMM, last);
    return true;
}

static void group(struct jit *j)
{
    for (u32 i = 0; i < j->prog->ninsns; i += j->plan[i].slots) {
        if (j->plan[i].how != JIT_PLAIN)
            continue;
        if (!group_rmw(j, i) && !group_lea(j, i) && !group_extend(j, i))
            group_store_imm(j, i);
    }
}

/* ------------------------------------------------------------------------------------------------ frames */

static bool needs_run(const struct jit *j, u32 at)
{
    const struct tn_helper *helper;

    switch (j->plan[at].how) {
    case JIT_PERCPU:
    case JIT_PERCPU_CONST:
    case JIT_COOKIE:
    case JIT_FUNC_IP:
    case JIT_PID_TGID:
    case JIT_SESSION_RETURN:
    case JIT_SESSION_COOKIE:
    case JIT_ANSWER:
    case JIT_HOST_CALL:
    case JIT_COPY:
    case JIT_ROUNDS:
    case JIT_CAREFUL:
        return true;
    case JIT_PLAIN:
        if (!is_op(j, at, TN_OP_CALL) || j->prog->insns[at].src_reg)
            return false;
        helper = tn_helper_by_id((u32)j->prog->insns[at].imm);
        return helper && (helper->flags & TN_HF_RUN);
    default:
        return false;
    }
}

/* Registers that the code of an instruction or group names. What a group keeps to itself is in none. */
static u16 named(const struct jit *j, u32 at)
{
    const struct bpf_insn *in = &j->prog->insns[at], *next;
    u16 use, def;

    switch (j->plan[at].how) {
    case JIT_STORE_IMM:
        return REG(jit_member(j, at, 1)->dst_reg);
    case JIT_RMW_IMM:
        return REG(in->src_reg);
    case JIT_RMW_REG:
        next = jit_member(j, at, 1);
        return REG(in->src_reg) | REG(next->src_reg);
    default:
        uses(j, at, &use, &def);
        return use | def;
    }
}

#define X86(reg) (1u << (reg))
#define X86_HELPER                                                                                           \
    (X86(TN_RAX) | X86(TN_RCX) | X86(TN_RDX) | X86(TN_RSI) | X86(TN_RDI) | X86(TN_R8) | X86(TN_R9) |         \
     X86_SCRATCH)
#define X86_SCRATCH (X86(JIT_TMP) | X86(JIT_TM2))

/* Caller-saved registers of x86 that the code of an instruction or group may change (lower.c). */
static u32 changed(const struct jit *j, u32 at)
{
    const struct bpf_insn *in = &j->prog->insns[at];
    u8 op = BPF_OP(in->code);
    u32 mask = 0;
    u16 use, def;

    switch (j->plan[at].how) {
    case JIT_STORE_IMM:
    case JIT_RMW_IMM:
    case JIT_RMW_REG:
        return 0;
    case JIT_ARRAY:
    case JIT_ARRAY_CONST:
    case JIT_PERCPU:
    case JIT_PERCPU_CONST:
    case JIT_COOKIE:
    case JIT_FUNC_IP:
    case JIT_SESSION_RETURN:
    case JIT_SESSION_COOKIE:
    case JIT_ANSWER:
        return X86(TN_RAX) | (j->plan[at].how == JIT_ARRAY_CONST ? 0 : X86_SCRATCH);
    case JIT_LOOP: /* what the function changes counts for itself */
        return X86(TN_RAX) | X86(TN_RDI) | X86(TN_RSI);
    default:
        break;
    }
    uses(j, at, &use, &def);
    if (j->plan[at].how == JIT_CAREFUL)
        mask = X86_SCRATCH;
    switch ((enum tn_kind)row_of(j, at)->kind) {
    case TN_KIND_CALL:
        return in->src_reg == BPF_PSEUDO_CALL ? 0 : X86_HELPER; /* a function's own code counts for itself */
    case TN_KIND_ALU:
        if (op == BPF_DIV || op == BPF_MOD)
            mask = X86(TN_RAX) | X86(TN_RDX) | X86_SCRATCH;
        else if ((op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) && BPF_SRC(in->code) == BPF_X)
            mask = X86(TN_RCX) | X86_SCRATCH;
        break;
    case TN_KIND_PACKET:
        mask = X86_SCRATCH;
        break;
    case TN_KIND_ATOMIC: /* fetching ones that are a loop */
        if ((in->imm & BPF_FETCH) && in->imm != (BPF_ADD | BPF_FETCH) && in->imm != BPF_XCHG &&
            in->imm != BPF_CMPXCHG)
            mask = X86(TN_RAX) | X86_SCRATCH;
        break;
    default:
        break;
    }
    for (u32 r = 0; r < TN_ARRAY_SIZE(jit_reg); r++)
        if (def & REG(r))
            mask |= X86(jit_reg[r]);
    return mask & X86_HELPER;
}

static void frames(struct jit *j)
{
    const struct tn_program *p = j->prog;

    for (u32 i = 0; i < p->ninsns; i += j->plan[i].slots) {
        struct jit_sub *sub = &j->subs[j->plan[i].sub];
        u8 how = j->plan[i].how;

        if (how == JIT_DEAD || how == JIT_SKIP)
            continue;
        for (u32 r = BPF_REG_6; r <= BPF_REG_9; r++)
            if (named(j, i) & REG(r))
                sub->saved |= (u16)(1u << jit_reg[r]);
        sub->frame |= (named(j, i) & REG(BPF_REG_10)) != 0 || is_op(j, i, TN_OP_MAY_GOTO);
        j->needs_run |= needs_run(j, i);
        j->footprint |= changed(j, i);
        if (how == JIT_LOOP || how == JIT_ROUNDS) {
            sub->frame = true;
            sub->rounds = TN_MAX(sub->rounds, jit_rounds_size(how));
        }
        sub->calls |= (how == JIT_PLAIN && is_op(j, i, TN_OP_CALL)) || how == JIT_HOST_CALL ||
                      how == JIT_COPY || how == JIT_LOOP || how == JIT_ROUNDS || how == JIT_CAREFUL ||
                      how == JIT_PID_TGID;
    }
    j->footprint |= X86(TN_RAX);
    if (j->needs_run) {
        j->subs[0].saved |= 1u << JIT_RUN;
        j->footprint |= TN_FOOT_RUN;
    }
}

int jit_analyse(struct jit *j)
{
    int r = assign_subprogs(j);

    if (!r)
        r = choose_calls(j);
    if (r)
        return r;
    decide_seen(j);
    for (u32 i = 0; i < j->prog->ninsns; i += j->plan[i].slots)
        if (j->plan[i].how == JIT_ARRAY_CONST)
            decide_after(j, i);
    r = reach(j);
    if (r)
        return r;
    do {
        liveness(j);
        skip_dead_values(j);
    } while (skip_unread_stack(j));
    if (live_in_of(j, 0) & REG(1))
        j->footprint = TN_FOOT_CTX;
    group(j);
    frames(j);
    return 0;
}
