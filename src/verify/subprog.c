/* SPDX-License-Identifier: MIT */
/*
 * Functions of the program.
 *
 * A static function is followed again at each call, with what is known of its arguments. A global one was
 * verified on its own, before its callers, with what its BTF says of its parameters; a call of it shows that
 * the arguments are that, and of the result nothing is known but that it is a number.
 *
 *      parameter (of a global function)                  inside                 the caller shows
 *      int, enum                                         any number             a number
 *      pointer to the context, by its type or arg:ctx    the context            the context, not moved
 *      struct bpf_dynptr *                               a dynptr               a dynptr
 *      T * arg:trusted (arg:nullable)                    trusted T of the host  the same
 *      T * arg:untrusted                                 T that may not be      anything
 *                                                        there
 *      T * arg:arena                                     anywhere in the arena  that, or a number
 *      T * (arg:nonnull)                                 sizeof(T) bytes        as many, that may be written
 *
 * The stack of all functions that may be open at once is one budget, as Linux counts it; what runs when the
 * program is over has its own. Programs that are only called at probes have, in Linux, a stack of their own
 * for each frame of some size (private), which does not count: but for functions that may run later as well,
 * and where a function calls another program in place of itself.
 */
#include "verify/internal.h"
#include "verify/kfuncs.h"
#include "verify/types.h"

/* ------------------------------------------------------------------------------------------- parameters */

enum param_kind {
    PARAM_NUMBER,
    PARAM_CTX,
    PARAM_DYNPTR,
    PARAM_TYPED,
    PARAM_MEM,
    PARAM_UNTRUSTED_MEM,
    PARAM_ARENA
};

struct param {
    u8 kind; /* enum param_kind */
    bool nullable, untrusted;
    u32 type; /* TYPED: in the host's BTF */
    u32 size; /* MEM */
};

/* T(tag, text behind "arg:") */
#define TAGS(T)                                                                                              \
    T(CTX, "ctx")                                                                                            \
    T(TRUSTED, "trusted")                                                                                    \
    T(UNTRUSTED, "untrusted")                                                                                \
    T(NONNULL, "nonnull")                                                                                    \
    T(NULLABLE, "nullable")                                                                                  \
    T(ARENA, "arena")
enum {
#define T(tag, text) TAG_BIT_##tag,
    TAGS(T)
#undef T
#define T(tag, text) TAG_##tag = 1 << TAG_BIT_##tag,
        TAGS(T)
#undef T
};

static int bad_param(struct vf *v, const char *what, u32 k, const char *func)
{
    return vf_refuse(v, v->pc, TN_REASON_bad_parameter, "arg#%u %s: parameter %u of global function %s()", k,
                     what, k + 1, func);
}

static int tags_of(struct vf *v, u32 func, u32 k, u32 *ret)
{
    static const struct {
        const char *text;
        u32 tag;
    } known[] = {
#define T(tag, text) {text, TAG_##tag},
        TAGS(T)
#undef T
    };
    const char *name = tn_btf_name(v->src.btf, func), *text;
    u32 tags = 0;

    for (u32 n = 0; (text = tn_btf_tag(v->src.btf, func, (s32)k, n)); n++) {
        u32 before = tags;

        if (strncmp(text, "arg:", 4))
            continue;
        for (size_t i = 0; i < TN_ARRAY_SIZE(known); i++)
            if (!strcmp(text + 4, known[i].text))
                tags |= known[i].tag;
        if (tags == before)
            return bad_param(v, "has unsupported set of tags", k, name);
    }
    *ret = tags;
    return 0;
}

/* Past const, volatile and type tags, not past typedefs. */
static u32 skip_qualifiers(const struct tn_btf *btf, u32 id)
{
    for (const struct btf_type *t = tn_btf_type(btf, id); t; t = tn_btf_type(btf, id)) {
        u32 kind = tn_btf_kind(t);

        if (kind != BTF_KIND_CONST && kind != BTF_KIND_VOLATILE && kind != BTF_KIND_RESTRICT &&
            kind != BTF_KIND_TYPE_TAG)
            break;
        id = t->type;
    }
    return id;
}

static bool is_struct(const struct tn_btf *btf, u32 id, const char *name)
{
    const struct btf_type *t = tn_btf_type(btf, id);

    return t && tn_btf_kind(t) == BTF_KIND_STRUCT && !strcmp(tn_btf_name(btf, id), name);
}

/* By its type alone. Probes have two: what is called so on every machine may stand for the registers. */
static bool is_context_struct(const struct vf *v, u32 pointee, const char *name)
{
    return *name && is_struct(v->src.btf, tn_btf_resolve(v->src.btf, pointee), name);
}

static bool is_context(const struct vf *v, u32 pointee)
{
    return is_context_struct(v, pointee, v->type->ctx_type) ||
           (v->in->prog_type == BPF_PROG_TYPE_KPROBE && is_context_struct(v, pointee, "bpf_user_pt_regs_t"));
}

/* With arg:ctx: void, what the type of the program calls its context, an array of words for programs that get
   their arguments so; and anything where there is no such name. */
static bool may_be_context(const struct vf *v, u32 pointee)
{
    const struct tn_btf *btf = v->src.btf;
    u32 id = tn_btf_resolve(btf, pointee);
    const struct btf_type *t = tn_btf_type(btf, id);
    bool word = id && tn_btf_kind(t) == BTF_KIND_INT && t->size == 8;

    if (!id || is_context_struct(v, pointee, v->type->ctx_type))
        return true;
    switch (v->in->prog_type) {
    case BPF_PROG_TYPE_TRACEPOINT:
    case BPF_PROG_TYPE_SYSCALL:
        return *tn_btf_name(btf, id);
    case BPF_PROG_TYPE_PERF_EVENT:
        return is_struct(btf, id, "pt_regs");
    case BPF_PROG_TYPE_RAW_TRACEPOINT:
    case BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE:
        return word;
    case BPF_PROG_TYPE_TRACING:
        if (v->in->expected_attach_type == BPF_TRACE_ITER)
            return tn_btf_kind(t) == BTF_KIND_STRUCT && !strncmp(tn_btf_name(btf, id), "bpf_iter__", 10);
        return word || (v->in->expected_attach_type == BPF_TRACE_RAW_TP &&
                        is_struct(btf, id, "bpf_raw_tracepoint_args"));
    default:
        return false;
    }
}

/* The host's struct of that name; what follows three underscores tells versions of one struct apart. */
static u32 host_struct(const struct vf *v, u32 pointee)
{
    const char *name = tn_btf_name(v->src.btf, tn_btf_resolve(v->src.btf, pointee));
    const char *flavour = strstr(name, "___");
    char bare[128];

    snprintf(bare, sizeof(bare), "%.*s", flavour ? (int)(flavour - name) : (int)sizeof(bare) - 1, name);
    return v->in->host_btf && bare[0] ? tn_btf_find(v->in->host_btf, BTF_KIND_STRUCT, bare) : 0;
}

static int typed_param(struct vf *v, u32 func, u32 k, u32 pointee, struct param *ret)
{
    const char *name = tn_btf_name(v->src.btf, func);

    ret->kind = PARAM_TYPED;
    ret->type = host_struct(v, pointee);
    return ret->type ? 0 : bad_param(v, "reference type is no struct of the host", k, name);
}

static int pointer_param(struct vf *v, u32 func, u32 k, u32 pointee, u32 tags, struct param *ret)
{
    const struct tn_btf *btf = v->src.btf;
    const char *name = tn_btf_name(btf, func);
    u32 id = tn_btf_resolve(btf, pointee);
    u32 kind = id ? tn_btf_kind(tn_btf_type(btf, id)) : BTF_KIND_UNKN;
    bool plain = !id || kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64 ||
                 kind == BTF_KIND_FLOAT;
    u32 alone = 0;
    s64 size;

    if (tags & TAG_CTX || (!(tags & TAG_ARENA) && is_context(v, pointee))) {
        ret->kind = PARAM_CTX;
        alone = TAG_CTX;
        if (tags & TAG_CTX && !may_be_context(v, pointee))
            return bad_param(v, "type is not the context of the program", k, name);
    } else if (is_struct(btf, skip_qualifiers(btf, pointee), "bpf_dynptr")) {
        ret->kind = PARAM_DYNPTR;
    } else if (tags & TAG_TRUSTED) {
        alone = TAG_TRUSTED | TAG_NULLABLE;
        ret->nullable = tags & TAG_NULLABLE;
        if (!(tags & ~alone))
            return typed_param(v, func, k, pointee, ret);
    } else if (tags & TAG_UNTRUSTED) {
        alone = TAG_UNTRUSTED;
        ret->untrusted = true;
        ret->kind = PARAM_UNTRUSTED_MEM;
        if (!(tags & ~alone) && !plain)
            return typed_param(v, func, k, pointee, ret);
    } else if (tags & TAG_ARENA) {
        ret->kind = PARAM_ARENA;
        alone = TAG_ARENA;
    } else {
        alone = TAG_NONNULL;
        ret->kind = PARAM_MEM;
        ret->nullable = !(tags & TAG_NONNULL);
        size = id ? tn_btf_size(btf, id) : -1;
        if (!(tags & ~alone) && (size < 0 || size >= TN_MAX_OFFSET))
            return vf_refuse(
                v, v->pc, TN_REASON_bad_parameter,
                "arg#%u reference type('%s %s') size cannot be determined: parameter %u of global "
                "function %s()",
                k, id ? "FWD" : "UNKNOWN", tn_btf_name(btf, id), k + 1, name);
        ret->size = size < 0 ? 0 : (u32)size;
    }
    return tags & ~alone ? bad_param(v, "has invalid combination of tags", k, name) : 0;
}

static int one_param(struct vf *v, u32 func, u32 k, u32 type, struct param *ret)
{
    const struct tn_btf *btf = v->src.btf;
    const struct btf_type *t;
    u32 id = tn_btf_resolve(btf, type), tags = 0, kind;
    int err = tags_of(v, func, k, &tags);

    if (err)
        return err;
    *ret = (struct param){.kind = PARAM_NUMBER};
    t = tn_btf_type(btf, id);
    kind = id ? tn_btf_kind(t) : BTF_KIND_UNKN;
    if (kind == BTF_KIND_PTR)
        return pointer_param(v, func, k, t->type, tags, ret);
    if (tags)
        return bad_param(v, "has pointer tag, but is not a pointer type", k, tn_btf_name(btf, func));
    if (kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)
        return 0;
    return vf_refuse(
        v, v->pc, TN_REASON_bad_parameter,
        "Arg#%u type in %s() is not supported yet: a parameter of a global function is a number or a "
        "pointer",
        k, tn_btf_name(btf, func));
}

/* What the function that starts there takes. */
static int params_of(struct vf *v, u32 start, struct param param[5], u32 *ret_n)
{
    const struct btf_type *proto = tn_src_func_proto(&v->src, start);
    u32 func = tn_src_func_id(&v->src, start), n = proto ? tn_btf_vlen(proto) : 0;
    const struct btf_param *p = (const struct btf_param *)(proto + 1);
    u32 ret, kind;
    int err = 0;

    if (!proto)
        return vf_refuse(v, v->pc, TN_REASON_bad_func_info, "Global functions need valid BTF");
    if (n > 5)
        return vf_refuse(v, v->pc, TN_REASON_bad_parameter, "Global function %s() with %u > 5 args",
                         tn_btf_name(v->src.btf, func), n);
    ret = tn_btf_resolve(v->src.btf, proto->type);
    kind = ret ? tn_btf_kind(tn_btf_type(v->src.btf, ret)) : BTF_KIND_UNKN;
    if (kind != BTF_KIND_INT && kind != BTF_KIND_ENUM && kind != BTF_KIND_ENUM64)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_parameter,
            "Global function %s() doesn't return scalar. Only those are supported: make it return an "
            "int, or static",
            tn_btf_name(v->src.btf, func));
    for (u32 k = 0; k < n && !err; k++)
        err = one_param(v, func, k, p[k].type, &param[k]);
    *ret_n = n;
    return err;
}

static struct tn_reg inside(struct vf *v, const struct param *p)
{
    struct tn_reg reg;

    switch ((enum param_kind)p->kind) {
    case PARAM_CTX:
        return tn_reg_pointer(TN_REG_CTX, 0);
    case PARAM_DYNPTR:
        return tn_dynptr_const(v, TN_DYNPTR_LOCAL);
    case PARAM_TYPED:
        return tn_types_pointer(v, p->type,
                                (p->untrusted ? TN_PTR_UNTRUSTED : TN_PTR_TRUSTED) |
                                    (p->nullable ? TN_PTR_MAYBE_NULL : 0));
    case PARAM_ARENA:
        return tn_reg_pointer(TN_REG_ARENA, 0);
    case PARAM_MEM:
        reg = tn_reg_pointer(TN_REG_MEM, p->size);
        reg.flags = p->nullable ? TN_PTR_MAYBE_NULL : 0;
        reg.id = p->nullable ? ++v->next_id : 0;
        return reg;
    case PARAM_UNTRUSTED_MEM:
        reg = tn_reg_pointer(TN_REG_MEM, 0);
        reg.flags = TN_PTR_RDONLY | TN_PTR_UNTRUSTED;
        return reg;
    case PARAM_NUMBER:
        break;
    }
    return tn_reg_scalar(tn_range_any());
}

/* A global function begins, on its own. */
int tn_subprog_enter(struct vf *v, u32 root)
{
    struct param param[5];
    u32 n = 0;
    int err = params_of(v, v->cfg.sub[root].start, param, &n);

    if (!err && root == v->cfg.exception) {
        tn_state_top(&v->cur)->exception = true;
        if (n != 1 || param[0].kind != PARAM_NUMBER)
            return vf_refuse(v, v->pc, TN_REASON_bad_parameter,
                             "exception cb only supports single integer argument: what was thrown");
    }
    for (u32 k = 0; k < n && !err; k++)
        *vf_reg(v, k + 1) = inside(v, &param[k]);
    return err;
}

/* ----------------------------------------------------------------------------------- calls of global ones */

static bool is_null(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && !reg->r.umin;
}

static int wrong_arg(struct vf *v, u32 regno, const char *fmt)
{
    char what[96];

    snprintf(what, sizeof(what), fmt, regno);
    return vf_refuse(v, v->pc, TN_REASON_arg_type,
                     "%s: R%u type=%s is not what parameter %u of the global function takes", what, regno,
                     TN_REG_NAME(vf_reg(v, regno)), regno);
}

static int not_moved(struct vf *v, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (tn_range_is_const(&reg->r) && !reg->r.smin)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                     "dereference of modified %s ptr R%u off=%lld disallowed: pass it as it came",
                     TN_REG_NAME(reg), regno, (long long)reg->r.smin);
}

static int mem_arg(struct vf *v, u32 regno, const struct param *p)
{
    struct tn_reg *reg = vf_reg(v, regno);
    u16 null = reg->flags & TN_PTR_MAYBE_NULL;
    int err;

    if (is_null(reg)) {
        tn_track_precise(v, regno);
        return p->nullable ? 0 : wrong_arg(v, regno, "arg#%u is expected to be non-NULL");
    }
    reg->flags &= (u16)~TN_PTR_MAYBE_NULL;
    err = p->size ? tn_mem_helper(v, regno, p->size, TN_USE_READ_WRITE, false) : 0;
    reg->flags |= null;
    if (!err && null && !p->nullable)
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "arg#%u is expected to be non-NULL: R%u may be; test it first", regno - 1, regno);
    return err;
}

static int typed_arg(struct vf *v, u32 regno, const struct param *p)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    u16 flags = reg->flags & (u16)(p->nullable ? ~TN_PTR_MAYBE_NULL : ~0);

    if (p->nullable && is_null(reg)) {
        tn_track_precise(v, regno);
        return 0;
    }
    if (reg->kind != TN_REG_BTF || !reg->host || (flags && flags != TN_PTR_TRUSTED && flags != TN_PTR_RCU))
        return wrong_arg(v, regno, "R%u type is not ptr_, trusted_ptr_, rcu_ptr_");
    if (!tn_types_match(v->in->host_btf, reg->obj, reg->r.smin, p->type, false, true))
        return vf_refuse(v, v->pc, TN_REASON_arg_type, "R%u is of type %s but %s is expected", regno,
                         tn_types_name(v, reg), tn_btf_name(v->in->host_btf, p->type));
    return tn_types_handed(v, reg);
}

static int check_arg(struct vf *v, u32 regno, const struct param *p)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    struct tn_dynptr dynptr;
    int err = vf_need_init(v, regno);

    if (err || p->untrusted)
        return err;
    switch ((enum param_kind)p->kind) {
    case PARAM_NUMBER:
        if (reg->kind == TN_REG_SCALAR)
            tn_track_ignore(v, regno);
        return reg->kind == TN_REG_SCALAR ? 0 : wrong_arg(v, regno, "R%u is not a scalar");
    case PARAM_CTX:
        return reg->kind == TN_REG_CTX
                   ? not_moved(v, regno)
                   : vf_refuse(v, v->pc, TN_REASON_arg_type, "arg#%u expects pointer to ctx: R%u type=%s",
                               regno - 1, regno, TN_REG_NAME(reg));
    case PARAM_DYNPTR:
        err = reg->kind == TN_REG_DYNPTR ? not_moved(v, regno) : 0;
        return err ? err : tn_dynptr_arg(v, regno, TN_DYNPTR_NONE, false, &dynptr);
    case PARAM_TYPED:
        return typed_arg(v, regno, p);
    case PARAM_MEM:
        return mem_arg(v, regno, p);
    case PARAM_ARENA:
        return reg->kind == TN_REG_ARENA || reg->kind == TN_REG_SCALAR
                   ? 0
                   : wrong_arg(v, regno, "R%u is not a pointer to arena or scalar.");
    case PARAM_UNTRUSTED_MEM:
        return 0;
    }
    return 0;
}

static int call_global(struct vf *v, u32 index)
{
    struct tn_sub *sub = &v->cfg.sub[index];
    struct param param[5];
    u32 n = 0;
    int err;

    if (v->cur.nlocks)
        return vf_refuse(
            v, v->pc, TN_REASON_call_in_lock,
            "global function calls are not allowed while holding a lock, use static function instead");
    if (sub->sleeps && (v->cur.rcu || v->cur.preempt || v->cur.irq_id || !v->cur.sleepable))
        return vf_refuse(
            v, v->pc, TN_REASON_sleeps,
            "global functions that may sleep are not allowed in non-sleepable context, i.e., in a "
            "RCU/IRQ/preempt-disabled section, or in a non-sleepable BPF program context: make it "
            "static");
    err = params_of(v, sub->start, param, &n);
    for (u32 k = 0; k < n && !err; k++)
        err = check_arg(v, k + 1, &param[k]);
    if (err)
        return err;
    if (sub->throws) { /* what this path holds would be held for ever */
        err = tn_held_none(v, "call of a global function that throws");
        if (err)
            return err;
        v->cfg.sub[v->root].throws = true;
    }
    tn_note_global(v, index);
    if (sub->changes_packet)
        tn_packet_invalidate(v);
    if (sub->calls_host)
        tn_percpu_invalidate(v);
    for (u32 r = 0; r <= 5; r++)
        *vf_reg(v, r) = (struct tn_reg){0};
    vf_set_scalar(v, 0, tn_range_any());
    v->depth += sub->longest;
    return 0;
}

int tn_call_subprog(struct vf *v, const struct bpf_insn *i)
{
    u32 to = v->pc + 1 + (u32)i->imm, index = v->cfg.flow[to].subprog;
    struct tn_frame *caller = tn_state_top(&v->cur);
    int err;

    if (v->cfg.sub[index].global)
        return call_global(v, index);
    if (v->cur.nframes == TN_MAX_FRAMES)
        return vf_refuse(v, v->pc, TN_REASON_call_depth, "the call stack of %u frames is too deep",
                         TN_MAX_FRAMES + 1);
    err = tn_state_push_frame(&v->cur, index, v->pc);
    if (err)
        return err;
    tn_state_top(&v->cur)->calling = tn_state_top(&v->cur)->entered = ++v->next_call;
    for (u32 r = 1; r <= 5; r++)
        tn_state_top(&v->cur)->reg[r] = caller->reg[r];
    for (u32 r = 0; r <= 5; r++)
        caller->reg[r] = (struct tn_reg){0};
    return 0;
}

/* ------------------------------------------------------------------------------------------------- exit */

static int exit_root(struct vf *v)
{
    const struct tn_reg *r0 = vf_reg(v, 0);
    int err = tn_held_none(v, "BPF_EXIT instruction in main prog");

    if (!err)
        err = vf_need_init(v, 0);
    if (err)
        return err;
    if (!v->root || v->root == v->cfg.exception)
        return tn_prog_result(v, 0);
    if (r0->kind != TN_REG_SCALAR)
        return vf_refuse(
            v, v->pc, TN_REASON_return_value,
            "At subprogram exit the register R0 is not a scalar value: a global function returns numbers");
    return 0;
}

int tn_call_exit(struct vf *v, u32 *ret_next, bool *ret_end)
{
    const struct tn_frame *f = tn_state_top(&v->cur);
    struct tn_reg r0 = f->reg[0];

    if (f->callback || f->async)
        return tn_callback_exit(v, ret_next, ret_end);
    if (v->cur.nframes == 1) {
        *ret_end = true;
        return exit_root(v);
    }
    if (r0.kind == TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_return_value,
                         "cannot return stack pointer to the caller: pass the caller's memory down instead");
    *ret_next = f->callsite + 1;
    tn_state_pop_frame(&v->cur);
    *vf_reg(v, 0) = r0;
    return 0;
}

/* ------------------------------------------------------------------------------------------------- stack */

#define PRIVATE_STACK_MIN 64u

struct deepest {
    u32 counted, own; /* bytes: as Linux counts frames for its compiler; as they are */
    u32 calls;
    u32 before; /* counted bytes of the frames of callers */
};

/* The function that the instruction calls, or may have called back. */
static bool names(const struct vf *v, u32 pc, u32 *ret)
{
    if (v->cfg.flow[pc].second || !tn_insn_names_func(&v->insns[pc]))
        return false;
    *ret = v->cfg.flow[pc + 1 + (u32)v->insns[pc].imm].subprog;
    return true;
}

static bool calls_tail(const struct vf *v, const struct tn_sub *sub)
{
    for (u32 pc = sub->start; pc < sub->end; pc++)
        if (tn_insn_is_tail_call(v, pc))
            return true;
    return false;
}

static bool has_private_stacks(const struct vf *v)
{
    for (u32 k = 0; k < v->cfg.nsubs; k++)
        if (calls_tail(v, &v->cfg.sub[k]))
            return false;
    return v->type->flags & TN_PT_PRIVATE_STACK &&
           (v->in->prog_type != BPF_PROG_TYPE_TRACING || v->in->expected_attach_type != BPF_TRACE_ITER);
}

/* By the text: which functions, or those they call, may sleep, and which may move packet data;
   how stacks are counted. */
void tn_subprog_effects(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    u32 g;

    v->private_stacks = has_private_stacks(v);
    for (u32 k = 0; k < c->nsubs; k++) { /* callees come first */
        struct tn_sub *sub = &c->sub[c->order[k]];

        for (u32 pc = sub->start; pc < sub->end; pc++) {
            const struct bpf_insn *i = &v->insns[pc];
            const struct tn_proto *proto = NULL;
            const struct tn_kfunc *kfunc;

            if (names(v, pc, &g)) {
                sub->sleeps |= c->sub[g].sleeps;
                sub->changes_packet |= c->sub[g].changes_packet;
                sub->calls_host |= c->sub[g].calls_host;
            } else if (!c->flow[pc].second && tn_insn_is_call(i)) {
                proto = i->src_reg ? NULL : tn_proto_by_id((u32)i->imm);
                kfunc = i->src_reg ? tn_kfunc_of(v, i) : NULL;
                sub->sleeps |=
                    (i->src_reg && tn_kfunc_sleeps(v, i)) || (proto && proto->flags & TN_PF_SLEEPS);
                sub->calls_host |= i->src_reg && !kfunc;
                sub->changes_packet |=
                    (kfunc && kfunc->special == TN_KFUNC_PULL) || (proto && proto->flags & TN_PF_CHANGES);
            }
        }
    }
}

int tn_subprog_stack_refuse(struct vf *v, u32 insn, u32 calls, u32 bytes)
{
    return vf_refuse(
        v, insn, TN_REASON_stack_limit,
        "combined stack size of %u calls is %u. Too large: %u bytes are allowed (each frame counts in "
        "steps of 16); keep large buffers in a map",
        calls, bytes, TN_STACK_BYTES);
}

static void add_callee(struct deepest *to, const struct deepest *from)
{
    to->counted = TN_MAX(to->counted, from->counted);
    to->own = TN_MAX(to->own, from->own);
    to->calls = TN_MAX(to->calls, from->calls);
}

bool tn_subprog_opens(const struct vf *v, u32 pc, u32 *ret)
{
    return names(v, pc, ret) && (tn_insn_is_subprog_call(&v->insns[pc]) || !v->cfg.sub[*ret].async);
}

/* Which frames count in the budget. */
static void find_counted(const struct vf *v, bool ret[TN_MAX_SUBPROGS])
{
    const struct tn_cfg *c = &v->cfg;
    u32 g;

    for (u32 k = 0; k < c->nsubs; k++)
        ret[k] = !v->private_stacks || c->sub[k].async;
    for (u32 k = c->nsubs; k-- > 0;) { /* callers come first */
        u32 f = c->order[k];

        for (u32 pc = c->sub[f].start; ret[f] && pc < c->sub[f].end; pc++)
            if (tn_subprog_opens(v, pc, &g))
                ret[g] = true;
    }
    for (u32 k = 0; k < c->nsubs; k++)
        ret[k] |= tn_frame_counted(&c->sub[k]) < PRIVATE_STACK_MIN;
}

static int stack_of(struct vf *v, u32 f, struct deepest *d, const u16 *place, bool counts)
{
    const struct tn_sub *sub = &v->cfg.sub[f];
    u32 g;

    for (u32 pc = sub->start; pc < sub->end; pc++) {
        if (!tn_subprog_opens(v, pc, &g))
            continue;
        if (place[g] >= place[f]) /* one that is called back leads here again */
            return vf_refuse(v, pc, TN_REASON_call_depth,
                             "the call stack of %u frames is too deep: this function can be open without end",
                             TN_MAX_FRAMES + 1);
        add_callee(&d[f], &d[g]);
    }
    d[f].counted += counts ? tn_frame_counted(sub) : 0;
    d[f].own += TN_ROUND_UP(sub->depth, 8u);
    d[f].calls++;
    return 0;
}

/* A tail call replaces the frame of the function that makes it, not those of its callers: 33 in a row on top
   of half a stack each would be too many. */
#define TAIL_CALL_STACK 256u

static int check_tail_calls(struct vf *v, struct deepest *d)
{
    struct tn_cfg *c = &v->cfg;
    u32 g;

    for (u32 k = c->nsubs; k-- > 0;) { /* callers come first */
        u32 f = c->order[k];

        if (f && d[f].before >= TAIL_CALL_STACK && calls_tail(v, &c->sub[f]))
            return vf_refuse(
                v, c->sub[f].start, TN_REASON_stack_limit,
                "tail_calls are not allowed when call stack of previous frames is %u bytes. Too large: "
                "%u are allowed",
                d[f].before, TAIL_CALL_STACK - 1);
        for (u32 pc = c->sub[f].start; pc < c->sub[f].end; pc++)
            if (tn_subprog_opens(v, pc, &g))
                d[g].before = TN_MAX(d[g].before, d[f].before + tn_frame_counted(&c->sub[f]));
    }
    return 0;
}

int tn_subprog_stack(struct vf *v)
{
    struct tn_cfg *c = &v->cfg;
    struct deepest d[TN_MAX_SUBPROGS] = {0};
    u16 place[TN_MAX_SUBPROGS] = {0};
    bool counts[TN_MAX_SUBPROGS];
    u32 limit = v->auth->limits.max_stack;
    int err = 0;

    find_counted(v, counts);
    for (u32 k = 0; k < c->nsubs; k++)
        place[c->order[k]] = (u16)k;
    for (u32 k = 0; k < c->nsubs && !err; k++) /* callees come first */
        err = stack_of(v, c->order[k], d, place, counts[c->order[k]]);
    for (u32 f = 0; f < c->nsubs && !err; f++) {
        if (f && !c->sub[f].async)
            continue;
        if (d[f].calls > TN_MAX_FRAMES)
            err = vf_refuse(v, c->sub[f].start, TN_REASON_call_depth,
                            "the call stack of %u frames is too deep: %u are allowed", d[f].calls,
                            TN_MAX_FRAMES);
        else if (d[f].counted > TN_STACK_BYTES)
            err = tn_subprog_stack_refuse(v, c->sub[f].start, d[f].calls, d[f].counted);
        else if (limit && d[f].own > limit)
            err = vf_refuse(v, c->sub[f].start, TN_REASON_stack_limit,
                            "combined stack size of %u calls is %u. Too large: %u bytes are allowed by the "
                            "authority; keep large buffers in a map",
                            d[f].calls, d[f].own, limit);
        v->facts.max_stack = TN_MAX(v->facts.max_stack, d[f].own);
    }
    if (v->facts.max_stack > TN_STACK_BYTES)
        v->facts.features |= 1ull << TN_FEATURE_deep_stack;
    return err ? err : check_tail_calls(v, d);
}
