/* SPDX-License-Identifier: MIT */
/*
 * Arguments of kfuncs. What an argument has to be is told by its type in the prototype, and by how its name
 * ends:
 *
 *      struct task_struct *p            a typed pointer; how valid, the function's row says
 *      void *buf, u32 buf__sz           memory, and how much of it
 *      u64 type__k                      a number that is the same on every run
 *
 *      __ign, __prog     not looked at                     __k           a known constant
 *      __sz, __szk       bytes of the memory before it     __opt         that memory may be missing
 *      __nullable        may be NULL                       __str         a string that never changes
 *      __map             a map                             __uninit      room where a dynptr is made
 *      __iter            an iterator                       __irq_flag    where the state of interrupts is
 *                                                                        kept
 *      __alloc, __refcounted_kptr                          objects of the program's own
 *
 * Objects on the stack, locks and sections belong to dynptr.c, iter.c and lock.c, objects of the program to
 * graph.c.
 */
#include <inttypes.h>

#include "verify/kfunc.h"

#define MAX_NESTING 4u

enum arg {
    ARG_NULL,
    ARG_GRAPH,
    ARG_CTX,
    ARG_DYNPTR,
    ARG_ITER,
    ARG_STR,
    ARG_MAP,
    ARG_WQ,
    ARG_TASK_WORK,
    ARG_IRQ,
    ARG_LOCK,
    ARG_TYPED,
    ARG_CALLBACK,
    ARG_MEM,
    ARG_MEM_SIZE,
    ARG_BUFFER /* buffer.c's */
};

/* ------------------------------------------------------------------------------------ what is asked for */

static const char *arg_name(const struct tn_kcall *c, u32 arg)
{
    return c->is_own ? "" : tn_btf_string(c->b, tn_btf_params(c->proto)[arg].name_off);
}

/* What the names of arguments say in the house's functions, the authority says of the host's own. */
static bool own_ends(const struct tn_host_function *h, u32 arg, const char *suffix)
{
    u8 bits = !strcmp(suffix, "__sz")         ? h->sized
              : !strcmp(suffix, "__k")        ? h->constant
              : !strcmp(suffix, "__nullable") ? h->nullable
                                              : 0;

    return arg < 5 && bits >> arg & 1;
}

static bool ends(const struct tn_kcall *c, u32 arg, const char *suffix)
{
    const char *name = arg_name(c, arg);
    size_t n = strlen(name), m = strlen(suffix);

    if (c->is_own)
        return own_ends(&c->host, arg, suffix);
    return n >= m && !strcmp(name + n - m, suffix);
}

static u32 arg_type(const struct tn_kcall *c, u32 arg)
{
    return tn_btf_resolve(c->b, tn_btf_params(c->proto)[arg].type);
}

static bool is_number(const struct tn_btf *b, u32 type)
{
    u32 kind = tn_btf_kind_of(b, type);

    return kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64;
}

/* What a pointer argument points to, past modifiers; 0: void. */
static u32 pointee(const struct tn_kcall *c, u32 arg)
{
    return tn_btf_resolve(c->b, tn_btf_type(c->b, arg_type(c, arg))->type);
}

static bool is_null(const struct tn_reg *reg)
{
    return reg->kind == TN_REG_SCALAR && tn_range_is_const(&reg->r) && !reg->r.umin;
}

static bool plain(const struct tn_btf *b, u32 type, u32 depth)
{
    const struct btf_type *t = tn_btf_type(b, type);
    u32 kind = t ? tn_btf_kind(t) : BTF_KIND_UNKN;

    if ((kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION) || depth == MAX_NESTING)
        return false;
    for (u32 k = 0; k < tn_btf_vlen(t); k++) {
        u32 m = tn_btf_resolve(b, tn_btf_members(t)[k].type);
        const struct btf_type *mt = tn_btf_type(b, m);

        if (tn_btf_kind(mt) == BTF_KIND_ARRAY) {
            if (!tn_btf_array(mt)->nelems || !is_number(b, tn_btf_resolve(b, tn_btf_array(mt)->type)))
                return false;
        } else if (!is_number(b, m) && !plain(b, m, depth + 1)) {
            return false;
        }
    }
    return true;
}

bool tn_is_plain_struct(const struct tn_btf *b, u32 type)
{
    return plain(b, type, 0);
}

bool tn_is_plain(const struct tn_btf *b, u32 type)
{
    return is_number(b, type) || plain(b, type, 0);
}

static bool is_size(const struct vf *v, const struct tn_kcall *c, u32 arg)
{
    return arg < c->nargs && is_number(c->b, arg_type(c, arg)) &&
           tn_state_top(&v->cur)->reg[arg + 1].kind == TN_REG_SCALAR &&
           (ends(c, arg, "__sz") || ends(c, arg, "__szk"));
}

/* What Linux calls a socket's type; NULL: the kind has none. */
static const char *kind_struct(u8 kind)
{
    switch (kind) {
    case TN_REG_SOCKET:
        return "sock";
    case TN_REG_SOCK_COMMON:
        return "sock_common";
    case TN_REG_TCP_SOCK:
        return "tcp_sock";
    case TN_REG_MAP:
        return "bpf_map";
    default:
        return NULL;
    }
}

static const struct {
    const char *name;
    u8 arg;
} struct_args[] = {{"bpf_dynptr", ARG_DYNPTR},
                   {"bpf_wq", ARG_WQ},
                   {"bpf_task_work", ARG_TASK_WORK},
                   {"bpf_res_spin_lock", ARG_LOCK}};

static const struct {
    const char *suffix;
    u8 arg;
} suffix_args[] = {{"__iter", ARG_ITER}, {"__str", ARG_STR}, {"__map", ARG_MAP}, {"__irq_flag", ARG_IRQ}};

static bool is_ctx(const struct vf *v, const struct tn_kcall *c, u32 to)
{
    return c->row->special == TN_KFUNC_CAST_CTX || (c->row->special == TN_KFUNC_ANSWER && !to) ||
           (*v->type->ctx_type && tn_btf_kind_of(c->b, to) == BTF_KIND_STRUCT &&
            !strcmp(tn_btf_name(c->b, to), v->type->ctx_type));
}

static int classify_memory(struct vf *v, struct tn_kcall *c, u32 arg, enum arg *ret)
{
    bool sized = is_size(v, c, arg + 1);
    u32 to = pointee(c, arg);

    if (!is_number(c->b, to) && !tn_is_plain_struct(c->b, to) && !(sized && !to))
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc_arg,
            "arg#%u pointer type %s %s must point to %sscalar, or struct with scalar: r%u is a %s, which "
            "%s cannot take",
            arg, tn_btf_kind_name(tn_btf_kind_of(c->b, to)), tn_btf_name(c->b, to), sized ? "void, " : "",
            arg + 1, TN_REG_NAME(vf_reg(v, arg + 1)), c->name);
    *ret = sized ? ARG_MEM_SIZE : ARG_MEM;
    return 0;
}

static int classify(struct vf *v, struct tn_kcall *c, u32 arg, enum arg *ret)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    u32 to = pointee(c, arg), kind = tn_btf_kind_of(c->b, to);
    const char *name = tn_btf_name(c->b, to);
    bool graph = false;
    int err;

    *ret = ARG_CTX;
    if (is_ctx(v, c, to))
        return 0;
    *ret = ARG_BUFFER;
    if (c->row->special == TN_KFUNC_COPY && arg == 2)
        return 0;
    *ret = ARG_NULL;
    if (is_null(reg) && ends(c, arg, "__nullable"))
        return 0;
    *ret = ARG_GRAPH;
    err = tn_graph_arg(v, c, arg, &graph);
    if (err || graph)
        return err;
    for (size_t k = 0; k < TN_ARRAY_SIZE(suffix_args); k++) {
        *ret = (enum arg)suffix_args[k].arg;
        if (ends(c, arg, suffix_args[k].suffix))
            return 0;
    }
    *ret = ARG_ITER;
    if (!arg && c->row->flags & (TN_KF_ITER_NEW | TN_KF_ITER_NEXT | TN_KF_ITER_DESTROY))
        return 0;
    for (size_t k = 0; kind == BTF_KIND_STRUCT && k < TN_ARRAY_SIZE(struct_args); k++) {
        *ret = (enum arg)struct_args[k].arg;
        if (!strcmp(name, struct_args[k].name))
            return 0;
    }
    *ret = ARG_TYPED;
    if (reg->kind == TN_REG_BTF || kind_struct(reg->kind)) {
        if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION)
            return 0;
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "kernel function %s args#%u pointer type %s %s is not supported for a typed pointer",
                         c->name, arg, tn_btf_kind_name(kind), name);
    }
    *ret = ARG_CALLBACK;
    if (kind == BTF_KIND_FUNC_PROTO)
        return 0;
    return classify_memory(v, c, arg, ret);
}

/* ------------------------------------------------------------------------------------------- numbers */

static int take_constant(struct vf *v, struct tn_kcall *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (!tn_range_is_const(&reg->r))
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc_arg,
            "R%u must be a known constant: what the call does is decided before the program runs", regno);
    c->has_constant = true;
    c->constant = reg->r.umin;
    return 0;
}

static int check_number(struct vf *v, struct tn_kcall *c, u32 arg)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    bool rdonly = !strcmp(arg_name(c, arg), "rdonly_buf_size");

    if (c->row->special == TN_KFUNC_ANSWER && reg->kind == TN_REG_BTF && reg->host)
        return tn_types_handed(v, reg); /* a pointer of the host's own may be its answer */
    if (reg->kind != TN_REG_SCALAR)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u is not a scalar: %s takes a number there, not a %s", arg + 1, c->name,
                         TN_REG_NAME(reg));
    if (ends(c, arg, "__k"))
        return take_constant(v, c, arg + 1);
    if (!rdonly && strcmp(arg_name(c, arg), "rdwr_buf_size") != 0)
        return 0;
    if (c->r0_size)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "2 or more rdonly/rdwr_buf_size parameters for kfunc %s", c->name);
    if (!tn_range_is_const(&reg->r))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "R%u is not a const: it says how much is returned",
                         arg + 1);
    if (reg->r.umin > UINT32_MAX)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "R%u rdonly/rdwr_buf_size exceeds u32 max", arg + 1);
    c->r0_size = (u32)reg->r.umin;
    c->r0_rdonly = rdonly;
    return 0;
}

/* ------------------------------------------------------------------------------------------- pointers */

static bool wants_trusted(const struct tn_kcall *c)
{
    return c->row->flags & (TN_KF_TRUSTED_ARGS | TN_KF_RELEASE);
}

static int check_trust(struct vf *v, const struct tn_kcall *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if ((!wants_trusted(c) && !(c->row->flags & TN_KF_RCU)) || tn_types_trusted(reg))
        return 0;
    if (!(c->row->flags & TN_KF_RCU))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "R%u must be referenced or trusted: that this %s is still there is not known", regno,
                         TN_REG_NAME(reg));
    if (tn_types_rcu(reg))
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                     "R%u must be a rcu pointer: that this %s is still there is not known", regno,
                     TN_REG_NAME(reg));
}

static int check_offset(struct vf *v, const struct tn_kcall *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    bool fixed = tn_range_is_const(&reg->r);

    if (!tn_reg_is_pointer(reg))
        return 0;
    if (c->row->flags & TN_KF_RELEASE && reg->ref && (!fixed || reg->r.smin))
        return vf_refuse(v, v->pc, TN_REASON_bad_reference,
                         "R%u must have zero offset when passed to release func or trusted arg to kfunc",
                         regno);
    switch (reg->kind) {
    case TN_REG_STACK:
    case TN_REG_PACKET:
    case TN_REG_PACKET_META:
    case TN_REG_MAP_KEY:
    case TN_REG_MAP_VALUE:
    case TN_REG_MEM:
    case TN_REG_BUF:
    case TN_REG_ARENA:
    case TN_REG_DYNPTR:
        return 0;
    case TN_REG_BTF:
        if (fixed && reg->r.smin >= 0)
            return 0;
        break;
    default:
        if (fixed && !reg->r.smin)
            return 0;
        break;
    }
    if (!fixed)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "variable %s access var_off=[%" PRId64 ", %" PRId64
                         "] disallowed: R%u is moved by a number",
                         TN_REG_NAME(reg), reg->r.smin, reg->r.smax, regno);
    return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                     reg->r.smin < 0 && reg->kind == TN_REG_BTF
                         ? "negative offset %s ptr R%u off=%" PRId64 " disallowed"
                         : "dereference of modified %s ptr R%u off=%" PRId64 " disallowed",
                     TN_REG_NAME(reg), regno, reg->r.smin);
}

/* "foo___init" is a foo that may not be taken for one. */
static bool no_cast(const char *one, const char *other)
{
    static const char suffix[] = "___init";
    size_t n = strlen(one), m = strlen(other), s = sizeof(suffix) - 1;

    if (n == m + s)
        return !strncmp(one, other, m) && !strcmp(one + m, suffix);
    return m == n + s && !strncmp(one, other, n) && !strcmp(other + n, suffix);
}

/* The context's public form, and what it stands for. */
static bool is_projection(const char *wanted, const char *given)
{
    return (!strcmp(wanted, "__sk_buff") && !strcmp(given, "sk_buff")) ||
           (!strcmp(wanted, "xdp_md") && !strcmp(given, "xdp_buff"));
}

static int check_typed(struct vf *v, struct tn_kcall *c, u32 arg, u32 wanted)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);
    const char *own = kind_struct(reg->kind), *want = tn_btf_name(c->b, wanted), *has;
    bool typed = reg->kind == TN_REG_BTF, same, strict;
    u32 type;

    if (!own &&
        (!typed || (reg->flags & ~(TN_PTR_ALLOC | TN_PTR_TRUSTED | TN_PTR_NON_OWNING) && !tn_types_rcu(reg))))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg#%u is %s expected %sptr_ or socket", arg,
                         TN_REG_NAME(reg), reg->flags & TN_PTR_TRUSTED ? "trusted_" : "");
    type = typed ? reg->obj : tn_btf_find(c->b, BTF_KIND_STRUCT, own);
    has = typed ? tn_types_name(v, reg) : own;
    strict = (c->row->flags & TN_KF_RELEASE && reg->ref) || no_cast(has, want);
    same = type && (!typed || reg->host) &&
           tn_types_match(c->b, type, reg->r.smin, wanted, strict, !(reg->flags & TN_PTR_ALLOC));
    if (same || (reg->host && is_projection(want, has)))
        return tn_types_handed(v, reg);
    return vf_refuse(
        v, v->pc, TN_REASON_kfunc_arg,
        "kernel function %s args#%u expected pointer to %s %s but R%u has a pointer to STRUCT %s", c->name,
        arg, tn_btf_kind_name(tn_btf_kind_of(c->b, wanted)), want, arg + 1, has);
}

static int check_map(struct vf *v, struct tn_kcall *c, u32 arg)
{
    u32 type = tn_btf_find(c->b, BTF_KIND_STRUCT, "bpf_map"), regno = arg + 1;
    const struct tn_reg *reg = vf_reg(v, regno);
    int err;

    if (reg->kind == TN_REG_BTF && type)
        return check_typed(v, c, arg, type);
    if (reg->kind != TN_REG_MAP)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "pointer in R%u isn't map pointer: it is a %s", regno,
                         TN_REG_NAME(reg));
    if (c->field_arg) {
        err = tn_field_same_map(v, c->field_arg, regno,
                                c->row->special == TN_KFUNC_TASK_WORK ? "bpf_task_work" : "workqueue");
        if (err)
            return err;
    }
    c->map_arg = regno;
    if (reg->obj < 64)
        v->facts.maps_used |= 1ull << reg->obj;
    return type ? check_typed(v, c, arg, type) : 0;
}

/* ------------------------------------------------------------------------------------------- memory */

/* Memory that the function reads and writes: NULL is its own business, where the row does not exclude it. */
static int check_bytes(struct vf *v, const struct tn_kcall *c, u32 regno, u64 size)
{
    struct tn_reg *reg = vf_reg(v, regno), kept = *reg;
    int err;

    if (is_null(reg))
        return 0;
    if (c->is_own && tn_reg_is_percpu(v, reg))
        return vf_refuse(
            v, v->pc, TN_REASON_stale_value,
            "R%u points into a value of a per-CPU map, which is given back while %s runs: copy it to "
            "the stack",
            regno, c->name);
    reg->flags &= (u16)~TN_PTR_MAYBE_NULL;
    err = tn_mem_helper(v, regno, size, TN_USE_READ, false);
    if (!err && !(c->row->special == TN_KFUNC_COPY && tn_buffer_is_written(v)))
        err = tn_mem_helper(v, regno, size, TN_USE_WRITE, false);
    *vf_reg(v, regno) = kept;
    return err;
}

static int check_sized(struct vf *v, struct tn_kcall *c, u32 arg)
{
    const struct tn_reg *size = vf_reg(v, arg + 2);
    int err = 0;

    if (!is_null(vf_reg(v, arg + 1)) || !ends(c, arg, "__opt")) {
        if (is_null(vf_reg(v, arg + 1)) && size->r.umax)
            err = vf_refuse(
                v, v->pc, TN_REASON_arg_type,
                "R%u type=scalar expected=fp, pkt, map_value, mem: NULL has no bytes: arg#%u arg#%u memory, "
                "len pair leads to invalid memory access",
                arg + 1, arg, arg + 1);
        else if (size->r.smin < 0)
            err = vf_refuse(
                v, v->pc, TN_REASON_arg_size,
                "R%u min value is negative, either use unsigned or 'var &= const': arg#%u arg#%u memory, "
                "len pair leads to invalid memory access",
                arg + 2, arg, arg + 1);
        else if (size->r.umax >= (u64)TN_MAX_OFFSET)
            err = vf_refuse(
                v, v->pc, TN_REASON_arg_size,
                "R%u unbounded memory access, use 'var &= const' or 'if (var < const)': arg#%u arg#%u "
                "memory, len pair leads to invalid memory access",
                arg + 2, arg, arg + 1);
        else
            err = check_bytes(v, c, arg + 1, size->r.umax);
    }
    if (!err && ends(c, arg + 1, "__szk"))
        err = take_constant(v, c, arg + 2);
    return err;
}

static int check_memory(struct vf *v, struct tn_kcall *c, u32 arg)
{
    s64 size = tn_btf_size(c->b, pointee(c, arg));

    if (size < 0)
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc_arg, "arg#%u reference type('%s %s') size cannot be determined", arg,
            tn_btf_kind_name(tn_btf_kind_of(c->b, pointee(c, arg))), tn_btf_name(c->b, pointee(c, arg)));
    return check_bytes(v, c, arg + 1, (u64)size);
}

static int check_string(struct vf *v, u32 arg)
{
    const char *text;
    u32 len;

    if (vf_reg(v, arg + 1)->kind != TN_REG_MAP_VALUE)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg#%u doesn't point to a const string: it is a %s",
                         arg, TN_REG_NAME(vf_reg(v, arg + 1)));
    return tn_arg_const_str(v, arg + 1, &text, &len);
}

/* ------------------------------------------------------------------------------------------- objects */

static int check_dynptr(struct vf *v, struct tn_kcall *c, u32 arg)
{
    static const struct {
        u8 special, kind;
    } made[] = {{TN_KFUNC_FROM_SKB, TN_DYNPTR_SKB},
                {TN_KFUNC_FROM_XDP, TN_DYNPTR_XDP},
                {TN_KFUNC_FROM_META, TN_DYNPTR_SKB_META}};

    if (!ends(c, arg, "__uninit"))
        return tn_dynptr_arg(v, arg + 1, TN_DYNPTR_NONE, false, &c->dynptr);
    if (c->row->special == TN_KFUNC_CLONE)
        return tn_dynptr_new(v, arg + 1, (enum tn_dynptr_kind)c->dynptr.kind, &c->dynptr);
    for (size_t k = 0; k < TN_ARRAY_SIZE(made); k++)
        if (made[k].special == c->row->special)
            return tn_dynptr_new(v, arg + 1, (enum tn_dynptr_kind)made[k].kind, NULL);
    return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg#%u: what kind of dynptr %s makes is not known", arg,
                     c->name);
}

static int check_iter(struct vf *v, struct tn_kcall *c, u32 arg)
{
    u32 type = pointee(c, arg);
    int err;

    if (c->row->special == TN_KFUNC_CSS_TASK && !v->sleepable &&
        v->in->expected_attach_type != BPF_TRACE_ITER)
        return vf_refuse(v, v->pc, TN_REASON_kfunc,
                         "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs");
    c->iter.op = c->row->flags & TN_KF_ITER_NEW       ? TN_ITER_NEW
                 : c->row->flags & TN_KF_ITER_NEXT    ? TN_ITER_NEXT
                 : c->row->flags & TN_KF_ITER_DESTROY ? TN_ITER_DESTROY
                                                      : TN_ITER_USE;
    c->iter.type = type;
    c->iter.nslots = (u32)(tn_btf_size(c->b, type) / 8);
    c->iter.rcu = c->row->flags & TN_KF_RCU_PROTECTED;
    c->iter.func = c->name;
    c->iter.type_name = tn_btf_name(c->b, type);
    if (tn_btf_kind_of(c->b, type) != BTF_KIND_STRUCT || strncmp(c->iter.type_name, "bpf_iter_", 9) != 0 ||
        !c->iter.nslots || tn_btf_size(c->b, type) % 8)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg#%u expected pointer to an iterator on stack",
                         arg);
    err = tn_iter_arg(v, arg + 1, &c->iter);
    if (!err && c->iter.op == TN_ITER_NEXT)
        c->use.ref = c->iter.ref; /* what is found lives no longer than the iterator */
    return err;
}

static int check_lock(struct vf *v, const struct tn_kcall *c, u32 regno)
{
    switch (c->row->special) {
    case TN_KFUNC_RES_LOCK:
        return tn_lock_take(v, regno, TN_REF_RES_LOCK);
    case TN_KFUNC_RES_LOCK_IRQ:
        return tn_lock_take(v, regno, TN_REF_RES_LOCK_IRQ);
    case TN_KFUNC_RES_UNLOCK:
        return tn_lock_release(v, regno, TN_REF_RES_LOCK);
    case TN_KFUNC_RES_UNLOCK_IRQ:
        return tn_lock_release(v, regno, TN_REF_RES_LOCK_IRQ);
    default:
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "%s: what it does with the lock is not known",
                         c->name);
    }
}

static int check_irq(struct vf *v, const struct tn_kcall *c, u32 regno)
{
    bool by_lock = c->row->special == TN_KFUNC_RES_LOCK_IRQ || c->row->special == TN_KFUNC_RES_UNLOCK_IRQ;

    if (c->row->special == TN_KFUNC_IRQ_SAVE || c->row->special == TN_KFUNC_RES_LOCK_IRQ)
        return tn_irq_save(v, regno, by_lock);
    return tn_irq_restore(v, regno, by_lock);
}

static int check_field(struct vf *v, struct tn_kcall *c, u32 arg, enum tn_field_kind kind)
{
    if (vf_reg(v, arg + 1)->kind != TN_REG_MAP_VALUE)
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg#%u doesn't point to a map value: it is a %s",
                         arg, TN_REG_NAME(vf_reg(v, arg + 1)));
    if (tn_reg_maybe_null(vf_reg(v, arg + 1)))
        return vf_refuse(v, v->pc, TN_REASON_maybe_null,
                         "arg#%u doesn't point to a map value: it is a %s; test it against NULL first", arg,
                         TN_REG_NAME(vf_reg(v, arg + 1)));
    c->field_arg = arg + 1;
    return tn_field_arg(v, arg + 1, kind, tn_field_name(kind));
}

static int check_ctx(struct vf *v, u32 arg)
{
    const struct tn_reg *reg = vf_reg(v, arg + 1);

    if (reg->kind == TN_REG_CTX)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg#%u expected pointer to ctx, but got %s", arg,
                     TN_REG_NAME(reg));
}

/* ------------------------------------------------------------------------------------------- one by one */

static int check_kind(struct vf *v, struct tn_kcall *c, u32 arg, enum arg kind)
{
    u32 regno = arg + 1;

    switch (kind) {
    case ARG_NULL:
    case ARG_GRAPH:
    case ARG_BUFFER:
        return 0;
    case ARG_CTX:
        return check_ctx(v, arg);
    case ARG_DYNPTR:
        return check_dynptr(v, c, arg);
    case ARG_ITER:
        return check_iter(v, c, arg);
    case ARG_STR:
        return check_string(v, arg);
    case ARG_MAP:
        return check_map(v, c, arg);
    case ARG_WQ:
        return check_field(v, c, arg, TN_FIELD_WQ);
    case ARG_TASK_WORK:
        return check_field(v, c, arg, TN_FIELD_TASK_WORK);
    case ARG_IRQ:
        return check_irq(v, c, regno);
    case ARG_LOCK:
        return check_lock(v, c, regno);
    case ARG_TYPED:
        return check_typed(v, c, arg, pointee(c, arg));
    case ARG_CALLBACK:
        if (vf_reg(v, regno)->kind != TN_REG_FUNC)
            return vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "arg%u expected pointer to func: it is a %s", arg,
                             TN_REG_NAME(vf_reg(v, regno)));
        c->callback = vf_reg(v, regno)->obj;
        return 0;
    case ARG_MEM:
        return check_memory(v, c, arg);
    case ARG_MEM_SIZE:
        return check_sized(v, c, arg);
    }
    return 0;
}

static int note_reference(struct vf *v, struct tn_kcall *c, u32 regno)
{
    const struct tn_reg *reg = vf_reg(v, regno);

    if (!reg->ref || !tn_reg_is_pointer(reg))
        return 0;
    if (c->row->flags & TN_KF_RELEASE)
        return tn_ref_arg(v, regno, true, &c->use);
    c->use.ref = reg->ref;
    return 0;
}

static int check_pointer(struct vf *v, struct tn_kcall *c, u32 *arg)
{
    u32 regno = *arg + 1;
    const struct tn_reg *reg = vf_reg(v, regno);
    enum arg kind = ARG_NULL;
    int err = vf_need_init(v, regno);

    if (err)
        return err;
    if ((wants_trusted(c) || c->row->flags & TN_KF_RCU) && (is_null(reg) || tn_reg_maybe_null(reg)) &&
        !ends(c, *arg, "__nullable"))
        return vf_refuse(v, v->pc, TN_REASON_kfunc_arg,
                         "Possibly NULL pointer passed to trusted arg%u: compare r%u with NULL first", *arg,
                         regno);
    err = classify(v, c, *arg, &kind);
    if (!err && (kind == ARG_TYPED || kind == ARG_MAP))
        err = check_trust(v, c, regno);
    if (!err && kind != ARG_NULL)
        err = check_offset(v, c, regno);
    if (!err)
        err = check_kind(v, c, *arg, kind);
    if (!err)
        err = note_reference(v, c, regno);
    if (kind == ARG_MEM_SIZE)
        ++*arg;
    return err;
}

int tn_kfunc_args(struct vf *v, struct tn_kcall *c)
{
    int err = 0;

    for (u32 arg = 0; !err && arg < c->nargs; arg++) {
        u32 type = arg_type(c, arg);

        if (ends(c, arg, "__ign") || ends(c, arg, "__prog"))
            continue;
        if (is_number(c->b, type))
            err = check_number(v, c, arg);
        else if (tn_btf_kind_of(c->b, type) == BTF_KIND_PTR)
            err = check_pointer(v, c, &arg);
        else
            err = vf_refuse(v, v->pc, TN_REASON_kfunc_arg, "Unrecognized arg#%u type %s", arg,
                            tn_btf_kind_name(tn_btf_kind_of(c->b, type)));
    }
    if (!err && c->row->flags & TN_KF_RELEASE && !c->use.release)
        return vf_refuse(
            v, v->pc, TN_REASON_bad_reference,
            "release kernel function %s expects refcounted PTR_TO_BTF_ID: what is given back was acquired "
            "before",
            c->name);
    return err;
}
