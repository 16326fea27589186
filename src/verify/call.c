/* SPDX-License-Identifier: MIT */
/*
 * Calls: helpers by their rows, functions of the program, exit. What calls lend and take back is kept by
 * refs.c.
 *
 * A static function is followed again at each call, with what is known of its arguments. A global one was
 * verified on its own, before its callers: here only the arguments' types are asked, and of the result
 * nothing is known.
 *
 * The signatures are the rows of helpers.h. The verifier does not link the helpers themselves.
 */
#include "verify/internal.h"

static const struct tn_signature signatures[] = {
#define H(id, name, ret, a1, a2, a3, a4, a5, flags)                                                          \
    {id,                                                                                                     \
     #name,                                                                                                  \
     TN_RET_##ret,                                                                                           \
     {TN_ARG_##a1, TN_ARG_##a2, TN_ARG_##a3, TN_ARG_##a4, TN_ARG_##a5},                                      \
     (u32)(flags)},
    TN_HELPERS(H)
#undef H
};

const struct tn_signature *tn_signature_by_id(u32 id)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(signatures); k++)
        if (signatures[k].id == id)
            return &signatures[k];
    return NULL;
}

u32 tn_signature_nargs(const struct tn_signature *sig)
{
    u32 n = 0;

    if (sig->id == TN_HELPER_trace_printk)
        return 2; /* the rest is what the format asks for: not given, it prints what the register holds */
    while (n < 5 && sig->arg[n] != TN_ARG_NONE)
        n++;
    return n;
}

/* What Linux calls a helper, whether or not we have it: tools look for the name in the log. */
static const char *linux_name(s32 id)
{
    static const char *const names[] = {
#define N(name) "bpf_" #name
        __BPF_FUNC_MAPPER(N) /* puts the commas itself */
#undef N
    };

    return id > 0 && (size_t)id < TN_ARRAY_SIZE(names) ? names[id] : NULL;
}

static const char *map_type_name(u32 type)
{
    switch (type) {
#define M(type, prefix, name, flags)                                                                         \
    case BPF_MAP_TYPE_##type:                                                                                \
        return name;
        TN_MAP_TYPES(M)
#undef M
    default:
        return "map of a kind that programs cannot use here";
    }
}

u32 tn_map_type_flags(u32 type)
{
    switch (type) {
#define M(type, prefix, name, flags)                                                                         \
    case BPF_MAP_TYPE_##type:                                                                                \
        return flags;
        TN_MAP_TYPES(M)
#undef M
    default:
        return TN_MF_NO_ELEMS;
    }
}

/* -----------------------------------------------------------------------------------------------------
 * helpers */

struct call {
    const struct tn_signature *sig;
    const struct tn_verify_map *map;
    u32 map_index, size; /* of the constant-size argument */
    struct tn_ref_use use;
};

static int check_map_fits(struct vf *v, const struct call *c)
{
    u32 type = c->map->geo.type;
    bool ringbuf = c->sig->id == TN_HELPER_ringbuf_output || c->sig->id == TN_HELPER_ringbuf_reserve ||
                   c->sig->id == TN_HELPER_ringbuf_query;
    bool writes = c->sig->id == TN_HELPER_map_update_elem || c->sig->id == TN_HELPER_map_delete_elem;
    char label[TN_MAP_LABEL];

    vf_map_label(v, c->map_index, label);

    if (ringbuf ? type != BPF_MAP_TYPE_RINGBUF : (tn_map_type_flags(type) & TN_MF_NO_ELEMS) != 0)
        return vf_refuse(
            v, v->pc, TN_REASON_map_helper_mismatch,
            "cannot pass map_type %u into func bpf_%s#%u: %s is a %s, which has no such operation", type,
            c->sig->name, c->sig->id, label, map_type_name(type));
    if (writes && c->map->rdonly_prog)
        return vf_refuse(v, v->pc, TN_REASON_map_write_denied,
                         "write into map forbidden: %s is read-only for programs", label);
    if (c->sig->id == TN_HELPER_map_lookup_elem && c->map->wronly_prog)
        return vf_refuse(v, v->pc, TN_REASON_map_read_denied,
                         "read from map forbidden: %s is write-only for programs", label);
    return 0;
}

static void note_map(struct vf *v, u32 index)
{
    struct tn_seen *seen = &v->seen[v->pc];

    if (!seen->has_map)
        seen->map = (s32)index;
    else if (seen->map != (s32)index)
        seen->map = -1;
    seen->has_map = true;
    if (tn_map_type_flags(v->in->maps[index].geo.type) & TN_MF_PERCPU)
        v->facts.percpu = true;
}

/* The key of a look-up is this number on every visit, or it varies. */
static void note_key(struct vf *v, const struct tn_reg *key, u32 size)
{
    struct tn_seen *seen = &v->seen[v->pc];
    s32 value = -1;
    u64 k;

    if (key->kind == TN_REG_STACK && tn_range_is_const(&key->r) && size == 4 &&
        tn_stack_const(v->cur.frame[key->frame], key->r.smin, size, &k) && k <= INT32_MAX)
        value = (s32)k;
    if (!seen->has_key)
        seen->key = value;
    else if (seen->key != value)
        seen->key = -1;
    seen->has_key = true;
    if (seen->key >= 0) /* others rely on this number */
        tn_track_precise_stack(v, key->frame, key->r.smin, key->r.smin + size);
}

static int bad_type(struct vf *v, u32 regno, const char *expected)
{
    const struct bpf_insn *i = &v->insns[v->pc];
    bool null = tn_reg_maybe_null(vf_reg(v, regno));
    const char *name = i->src_reg ? NULL : linux_name(i->imm);

    return vf_refuse(v, v->pc, null ? TN_REASON_maybe_null : TN_REASON_arg_type,
                     "R%u type=%s expected=%s: argument %u of %s() is not what it takes%s", regno,
                     TN_REG_NAME(vf_reg(v, regno)), expected, regno, name ? name : "the function",
                     null ? "; test the pointer against NULL first" : "");
}

static int arg_map(struct vf *v, struct call *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (reg->kind != TN_REG_MAP)
        return bad_type(v, regno, "map_ptr");
    c->map = &v->in->maps[reg->obj];
    c->map_index = reg->obj;
    note_map(v, reg->obj);
    return check_map_fits(v, c);
}

static int arg_size(struct vf *v, const struct call *c, u32 regno, bool zero_allowed)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    u8 ptr_arg = c->sig->arg[regno - 2];
    enum tn_mem_use use = ptr_arg == TN_ARG_MEM_WR ? TN_USE_WRITE : TN_USE_READ;
    const struct tn_reg *ptr = vf_reg(v, regno - 1);

    if (reg->kind != TN_REG_SCALAR)
        return bad_type(v, regno, "scalar");
    if (reg->r.smin < 0)
        return vf_refuse(
            v, v->pc, TN_REASON_arg_size,
            "R%u min value is negative, either use unsigned or 'var &= const': the size may be %lld", regno,
            (long long)reg->r.smin);
    if (!zero_allowed && reg->r.umin == 0)
        return vf_refuse(v, v->pc, TN_REASON_arg_size,
                         "R%u invalid zero-sized read: the size may be 0, and bpf_%s needs at least 1", regno,
                         c->sig->name);
    if (ptr_arg == TN_ARG_MEM_RD_NULL && ptr->kind == TN_REG_SCALAR && ptr->r.umax == 0)
        return reg->r.umax ? bad_type(v, regno - 1, "fp, map_value, ringbuf_mem") : 0;
    if (reg->r.umax >= 1u << 29)
        return vf_refuse(v, v->pc, TN_REASON_arg_size,
                         "R%u unbounded memory access, use 'var &= const' or 'if (var < const)'", regno);
    return tn_mem_helper(v, regno - 1, reg->r.umax, use, tn_range_is_const(&reg->r));
}

static int arg_ringbuf(struct vf *v, struct call *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (reg->kind != TN_REG_MEM || !(reg->flags & TN_PTR_RINGBUF) || tn_reg_maybe_null(reg))
        return bad_type(v, regno, "ringbuf_mem");
    if (!tn_range_is_const(&reg->r) || reg->r.smin)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_reference,
            "R%u must point to the start of the reservation: pass what bpf_ringbuf_reserve() returned",
            regno);
    return tn_ref_arg(v, regno, true, &c->use);
}

static int arg_process(struct vf *v, u32 regno)
{
    struct tn_access access = {TN_ACCESS_READ, 0, "", 0, 0, true};
    const struct tn_reg *size = vf_reg(v, regno - 1);
    struct tn_error err = {0};

    if (size->kind == TN_REG_SCALAR)
        access.size = (u32)TN_MIN(size->r.umax, (u64)UINT32_MAX);
    if (vf_reg(v, regno)->kind == TN_REG_CTX)
        v->facts.ctx_escapes = true; /* its bytes are read as the host's memory */
    if (v->auth->may_access(v->auth->self, &access, &err))
        return vf_refuse_denied(v, TN_REASON_access_denied, &err);
    return 0;
}

static int check_arg(struct vf *v, struct call *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    int err = vf_need_init(v, regno);

    if (err)
        return err;
    switch ((enum tn_arg)c->sig->arg[regno - 1]) {
    case TN_ARG_ANY:
        return c->sig->flags & TN_HF_READS_PROCESS ? arg_process(v, regno) : 0;
    case TN_ARG_SCALAR:
        return reg->kind == TN_REG_SCALAR ? 0 : bad_type(v, regno, "scalar");
    case TN_ARG_CTX:
        if (reg->kind != TN_REG_CTX)
            return bad_type(v, regno, "ctx");
        if (!tn_range_is_const(&reg->r) || reg->r.smin)
            return vf_refuse(v, v->pc, TN_REASON_ctx_modified,
                             "R%u is a modified ctx ptr: pass the context as it came", regno);
        /* These two look at the run's record, not at the registers behind the context. */
        if (c->sig->id != TN_HELPER_get_func_ip && c->sig->id != TN_HELPER_get_attach_cookie)
            v->facts.ctx_escapes = true;
        return 0;
    case TN_ARG_MAP:
        return arg_map(v, c, regno);
    case TN_ARG_MAP_KEY:
        err = tn_mem_helper(v, regno, c->map->geo.key_size, TN_USE_READ, true);
        if (!err && c->sig->id == TN_HELPER_map_lookup_elem)
            note_key(v, reg, c->map->geo.key_size);
        return err;
    case TN_ARG_MAP_VALUE:
        return tn_mem_helper(v, regno, c->map->geo.value_size, TN_USE_READ, true);
    case TN_ARG_SIZE:
        return arg_size(v, c, regno, false);
    case TN_ARG_SIZE0:
        return arg_size(v, c, regno, true);
    case TN_ARG_RINGBUF_MEM:
        return arg_ringbuf(v, c, regno);
    case TN_ARG_CONST_SIZE:
        if (reg->kind != TN_REG_SCALAR || !tn_range_is_const(&reg->r) || reg->r.umax >= 1u << 29)
            return vf_refuse(v, v->pc, TN_REASON_arg_size,
                             "R%u must be a known constant: the size reserved is part of "
                             "what is proved later",
                             regno);
        c->size = (u32)reg->r.umin;
        return 0;
    case TN_ARG_CONST_STR:
        return bad_type(v, regno, "constant string in a read-only map");
    case TN_ARG_MEM_RD: /* with the size that follows */
    case TN_ARG_MEM_RD_NULL:
    case TN_ARG_MEM_WR:
    case TN_ARG_NONE:
        return 0;
    }
    return 0;
}

static int helper_result(struct vf *v, const struct call *c, const struct tn_call_facts *facts)
{
    struct tn_reg *r0 = vf_reg(v, 0);
    int err = 0;

    switch ((enum tn_ret)c->sig->ret) {
    case TN_RET_SCALAR:
        *r0 = tn_reg_scalar(tn_range_signed(facts->ret_min, facts->ret_max));
        break;
    case TN_RET_VOID:
        *r0 = (struct tn_reg){0};
        break;
    case TN_RET_MAP_VALUE_OR_NULL:
        *r0 = tn_reg_pointer(TN_REG_MAP_VALUE, c->map_index);
        r0->flags = TN_PTR_MAYBE_NULL;
        r0->id = ++v->next_id;
        break;
    case TN_RET_RINGBUF_MEM_OR_NULL:
        *r0 = tn_reg_pointer(TN_REG_MEM, c->size);
        r0->flags = TN_PTR_RINGBUF | TN_PTR_MAYBE_NULL;
        err = tn_ref_lend(v, r0);
        break;
    }
    return err;
}

static int unknown_helper(struct vf *v, s32 id)
{
    const char *name = linux_name(id);

    if (!name)
        return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                         "invalid func unknown#%d: there is no such helper", id);
    return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                     "unknown func %s#%d: this helper is not available here", name, id);
}

static void clobber_args(struct vf *v)
{
    for (u32 r = 0; r <= 5; r++)
        *vf_reg(v, r) = (struct tn_reg){0};
}

int tn_call_helper(struct vf *v, const struct bpf_insn *i)
{
    struct call c = {.sig = tn_signature_by_id((u32)i->imm)};
    struct tn_call question = {(u32)i->imm, 0};
    struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
    struct tn_error denied = {0};
    u32 nargs;
    int err;

    if (!c.sig)
        return unknown_helper(v, i->imm);
    if ((c.sig->flags & TN_HF_GPL) && !v->in->gpl)
        return vf_refuse(v, v->pc, TN_REASON_gpl_only,
                         "cannot call GPL-restricted function bpf_%s from non-GPL compatible program",
                         c.sig->name);
    nargs = tn_signature_nargs(c.sig);
    for (u32 a = 1; a <= nargs; a++) {
        err = check_arg(v, &c, a);
        if (err)
            return err;
    }
    if (v->auth->may_call(v->auth->self, &question, &facts, &denied))
        return vf_refuse_denied(v, TN_REASON_call_denied, &denied);
    err = tn_ref_arg_done(v, &c.use, linux_name(i->imm));
    if (err)
        return err;
    clobber_args(v);
    v->facts.helpers[c.sig->id / 64] |= 1ull << (c.sig->id % 64);
    v->facts.percpu |= (c.sig->flags & TN_HF_PERCPU) != 0;
    v->facts.syscalls |= (c.sig->flags & TN_HF_SYSCALL) != 0;
    v->facts.may_fault |= (c.sig->flags & TN_HF_READS_PROCESS) != 0;
    return helper_result(v, &c, &facts);
}

/* ---------------------------------------------------------------------------------------------------
 * functions */

static int call_global(struct vf *v, struct tn_sub *sub)
{
    enum tn_param params[5];
    int n = tn_src_params(&v->src, sub->start, v->type->ctx_type, params);
    int err;

    for (u32 a = 1; (int)a <= n; a++) {
        const struct tn_reg *reg = vf_reg(v, a);

        err = vf_need_init(v, a);
        if (err)
            return err;
        if (params[a - 1] == TN_PARAM_SCALAR && reg->kind != TN_REG_SCALAR)
            return bad_type(v, a, "scalar");
        if (params[a - 1] == TN_PARAM_CTX &&
            (reg->kind != TN_REG_CTX || !tn_range_is_const(&reg->r) || reg->r.smin))
            return bad_type(v, a, "ctx");
    }
    clobber_args(v);
    if (!tn_src_func_is_void(&v->src, sub->start))
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
        return call_global(v, &v->cfg.sub[index]);
    if (v->cur.nframes == TN_MAX_FRAMES)
        return vf_refuse(v, v->pc, TN_REASON_call_depth, "the call stack of %u frames is too deep",
                         TN_MAX_FRAMES + 1);
    err = tn_state_push_frame(&v->cur, index, v->pc);
    if (err)
        return err;
    for (u32 r = 1; r <= 5; r++)
        tn_state_top(&v->cur)->reg[r] = caller->reg[r];
    for (u32 r = 0; r <= 5; r++)
        caller->reg[r] = (struct tn_reg){0};
    return 0;
}

static int exit_root(struct vf *v)
{
    const struct tn_reg *r0 = vf_reg(v, 0);
    int err = tn_held_none(v, "BPF_EXIT instruction in main prog");

    if (err)
        return err;
    if (v->root && tn_src_func_is_void(&v->src, v->cfg.sub[v->root].start))
        return 0;
    err = vf_need_init(v, 0);
    if (err)
        return err;
    if (v->root && r0->kind != TN_REG_SCALAR)
        return vf_refuse(
            v, v->pc, TN_REASON_return_value,
            "At subprogram exit the register R0 is not a scalar value: a global function returns numbers");
    return v->root ? 0 : tn_prog_result(v, 0);
}

int tn_call_exit(struct vf *v, bool *ret_end)
{
    struct tn_reg r0 = *vf_reg(v, 0);

    if (v->cur.nframes == 1) {
        *ret_end = true;
        return exit_root(v);
    }
    if (r0.kind == TN_REG_STACK)
        return vf_refuse(v, v->pc, TN_REASON_return_value,
                         "cannot return stack pointer to the caller: pass the caller's memory down instead");
    tn_state_pop_frame(&v->cur);
    *vf_reg(v, 0) = r0;
    return 0;
}
