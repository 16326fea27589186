/* SPDX-License-Identifier: MIT */
/*
 * Tracing programs: the function they are attached to, and their context; see attach.h.
 *
 * The prototype is the host's word on what the context holds. A tracepoint's says its arguments' types, but
 * not their names, which may end in __nullable: those are told by the function that calls the tracepoint's
 * probes.
 */
#include "verify/attach.h"

#include <inttypes.h>

#include "btf/value.h"
#include "verify/internal.h"

#define MAX_ARGS    12u /* of a function that can be hooked */
#define TP_PREFIX   "btf_trace_"
#define ITER_PREFIX "bpf_iter_"

enum result { RESULT_NONE, RESULT_ANY, RESULT_INT };
struct tn_attach_row {
    u32 attach, kind;
    bool trusted;
    u8 skip, result;
};

static const struct tn_attach_row attaches[] = {
#define A(attach, kind, trusted, skip, result) {attach, BTF_KIND_##kind, (trusted), (skip), RESULT_##result},
    TN_ATTACHES(A)
#undef A
};

static const struct iter {
    const char *target;
    u32 arg;
    u8 kind;
    u16 flags;
} iters[] = {
#define MAYBE_NULL                  TN_PTR_MAYBE_NULL
#define TRUSTED                     TN_PTR_TRUSTED
#define RDONLY                      TN_PTR_RDONLY
#define I(target, arg, kind, flags) {#target, (arg), TN_REG_##kind, (flags)},
    TN_ITERS(I)
#undef I
#undef MAYBE_NULL
#undef TRUSTED
#undef RDONLY
};

static const struct {
    const char *name;
    u64 mask;
} tp_args[] = {
#define A(name, mask) {#name, mask##ull},
    TN_TP_ARGS(A)
#undef A
};
enum { TP_NULL = 1, TP_ERROR = 2 };

/* ---------------------------------------------------------------------------------------- what it is on */

static const struct tn_btf *host(const struct vf *v)
{
    return v->in->host_btf;
}

static const struct iter *iter_arg(const struct vf *v, u32 arg)
{
    const char *target = v->attach.name + strlen(ITER_PREFIX);

    for (size_t k = 0; k < TN_ARRAY_SIZE(iters); k++)
        if (iters[k].arg == arg && !strcmp(iters[k].target, target))
            return &iters[k];
    return NULL;
}

static int refuse(struct vf *v, const char *text, const char *advice)
{
    return vf_refuse(v, 0, TN_REASON_bad_attach, "%s: %s", text, advice);
}

static int check_iter(struct vf *v)
{
    const char *name = v->attach.name;

    if (!strncmp(name, ITER_PREFIX, strlen(ITER_PREFIX)))
        for (u32 arg = 1; arg < 4; arg++)
            if (iter_arg(v, arg))
                return 0;
    return vf_refuse(v, 0, TN_REASON_bad_attach, "%s is not an iterator that programs can be attached to",
                     name);
}

static int check_type(struct vf *v, const struct btf_type *t)
{
    u32 id = v->in->attach_btf_id;

    if (tn_btf_kind(t) == v->attach.row->kind)
        return 0;
    return vf_refuse(v, 0, TN_REASON_bad_attach, "attach_btf_id %u is not a %s: it is a %s", id,
                     v->attach.row->kind == BTF_KIND_FUNC ? "function" : "typedef",
                     tn_btf_kind_name(tn_btf_kind(t)));
}

/* typedef void (*btf_trace_x)(void *, …) */
static int take_tracepoint(struct vf *v, const struct btf_type *t)
{
    u32 pointer = tn_btf_resolve(host(v), t->type), proto;

    if (strncmp(v->attach.name, TP_PREFIX, strlen(TP_PREFIX)))
        return vf_refuse(v, 0, TN_REASON_bad_attach,
                         "attach_btf_id %u points to wrong type name %s: tracepoints are called " TP_PREFIX
                         "…",
                         v->in->attach_btf_id, v->attach.name);
    v->attach.name += strlen(TP_PREFIX);
    if (tn_btf_kind_of(host(v), pointer) != BTF_KIND_PTR)
        return refuse(v, "the tracepoint's type is no pointer to a function", "the host's types are damaged");
    proto = tn_btf_resolve(host(v), tn_btf_type(host(v), pointer)->type);
    if (tn_btf_kind_of(host(v), proto) != BTF_KIND_FUNC_PROTO || !tn_btf_vlen(tn_btf_type(host(v), proto)))
        return refuse(v, "the tracepoint's type is no pointer to a function", "the host's types are damaged");
    v->attach.proto = tn_btf_type(host(v), proto);
    return 0;
}

static const char *kind_text(const struct tn_btf *b, u32 id)
{
    return id ? tn_btf_kind_name(tn_btf_kind_of(b, id)) : "void";
}

static bool is_composite(const struct tn_btf *b, u32 id)
{
    u32 kind = tn_btf_kind_of(b, id);

    return kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION;
}

static bool is_value(const struct tn_btf *b, u32 id)
{
    switch (tn_btf_kind_of(b, id)) {
    case BTF_KIND_INT:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
    case BTF_KIND_PTR:
    case BTF_KIND_STRUCT:
        return true;
    default:
        return false;
    }
}

/* In a process structs of any size are told, as arguments and as what is returned, but where an answer would have to be one. */
static bool is_told(const struct vf *v, u32 id, bool result)
{
    return v->in->process && is_composite(host(v), id) &&
           !(result && v->in->expected_attach_type == BPF_MODIFY_RETURN);
}

/* What can be saved and restored around a call: registers, and not too many of them. */
static int check_proto(struct vf *v)
{
    const struct tn_btf *b = host(v);
    const struct btf_type *t = v->attach.proto;
    u32 n = tn_btf_vlen(t), ret = tn_btf_resolve(b, t->type);
    const char *name = v->attach.name;

    if (n > MAX_ARGS)
        return vf_refuse(v, 0, TN_REASON_bad_attach, "The function %s has %u arguments. Too many.", name, n);
    if (ret && !is_told(v, ret, true) && (!is_value(b, ret) || is_composite(b, ret)))
        return vf_refuse(v, 0, TN_REASON_bad_attach, "The function %s return type %s is unsupported.", name,
                         kind_text(b, ret));
    for (u32 k = 0; k < n; k++) {
        u32 type = tn_btf_params(t)[k].type, id = tn_btf_resolve(b, type);

        if (!type)
            return vf_refuse(v, 0, TN_REASON_bad_attach, "The function %s with variable args is unsupported.",
                             name);
        if (!is_told(v, id, false) && (!is_value(b, id) || tn_btf_size(b, id) > 16))
            return vf_refuse(v, 0, TN_REASON_bad_attach, "The function %s arg%u type %s is unsupported.",
                             name, k, kind_text(b, id));
        if (!tn_btf_size(b, id))
            return vf_refuse(v, 0, TN_REASON_bad_attach, "The function %s has malformed void argument.",
                             name);
    }
    if (v->attach.row->result != RESULT_NONE && ret && !is_told(v, ret, true) && tn_btf_size(b, ret) > 8)
        return vf_refuse(
            v, 0, TN_REASON_bad_attach,
            "Attach to function %s with a >8 byte return value is not supported for this attach type", name);
    return 0;
}

int tn_attach_check(struct vf *v)
{
    const struct tn_verify_in *in = v->in;
    const struct btf_type *t;
    int err;

    if (in->prog_type != BPF_PROG_TYPE_TRACING)
        return 0;
    v->facts.features |= 1ull << TN_FEATURE_tracing;
    if (!in->attach_btf_id)
        return refuse(v, "Tracing programs must provide btf_id", "name the function in attach_btf_id");
    if (!in->host_btf)
        return refuse(v, "FENTRY/FEXIT program can only be attached to another program annotated with BTF",
                      "the host tells no types");
    for (size_t k = 0; k < TN_ARRAY_SIZE(attaches); k++)
        if (attaches[k].attach == in->expected_attach_type)
            v->attach.row = &attaches[k];
    if (!v->attach.row)
        return vf_refuse(v, 0, TN_REASON_bad_attach, "attach type %u is not one of a tracing program's",
                         in->expected_attach_type);
    t = tn_btf_type(host(v), in->attach_btf_id);
    if (!t)
        return vf_refuse(v, 0, TN_REASON_bad_attach, "attach_btf_id %u is invalid: the host has no such type",
                         in->attach_btf_id);
    v->attach.name = tn_btf_string(host(v), t->name_off);
    err = check_type(v, t);
    if (err)
        return err;
    if (v->attach.row->kind == BTF_KIND_TYPEDEF)
        return take_tracepoint(v, t);
    v->attach.proto = tn_btf_type(host(v), t->type);
    err = check_proto(v);
    return err || in->expected_attach_type != BPF_TRACE_ITER ? err : check_iter(v);
}

/* -------------------------------------------------------------------------------------------- the context */

static int no_argument(struct vf *v, u32 arg)
{
    return vf_refuse(v, v->pc, TN_REASON_ctx_bounds, "func '%s' doesn't have %u-th argument", v->attach.name,
                     arg + 1);
}

/* The type of argument `arg` (those left out not counted), past modifiers; 0 with a refusal. */
static u32 arg_type(struct vf *v, u32 arg)
{
    const struct btf_type *t = v->attach.proto;
    u32 n = tn_btf_vlen(t) - v->attach.row->skip, type;

    if (arg < n)
        return tn_btf_resolve(host(v), tn_btf_params(t)[arg + v->attach.row->skip].type);
    type = tn_btf_resolve(host(v), t->type);
    if (arg > n || v->attach.row->result == RESULT_NONE || !type) {
        no_argument(v, arg);
        return 0;
    }
    if (v->attach.row->result == RESULT_INT &&
        (tn_btf_kind_of(host(v), type) != BTF_KIND_INT || tn_btf_size(host(v), type) > 8)) {
        vf_refuse(v, v->pc, TN_REASON_ctx_bounds, "ret type %s not allowed for fmod_ret: only integers are",
                  kind_text(host(v), type));
        return 0;
    }
    return type;
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && !strcmp(s + n - m, suffix);
}

/* In a function's prototype, or in that of whoever calls the tracepoint's probes. */
static bool is_nullable(const struct vf *v, u32 arg)
{
    static const char *const callers[] = {"__traceiter_", "__bpf_trace_"};
    u32 k = arg + v->attach.row->skip;
    char name[160];

    if (k < tn_btf_vlen(v->attach.proto) &&
        ends_with(tn_btf_string(host(v), tn_btf_params(v->attach.proto)[k].name_off), "__nullable"))
        return true;
    for (size_t c = 0; v->attach.row->skip && c < TN_ARRAY_SIZE(callers); c++) {
        const struct btf_type *t, *proto;

        if (snprintf(name, sizeof(name), "%s%s", callers[c], v->attach.name) >= (int)sizeof(name))
            return true;
        t = tn_btf_type(host(v), tn_btf_find(host(v), BTF_KIND_FUNC, name));
        proto = t ? tn_btf_type(host(v), t->type) : NULL;
        if (proto && k < tn_btf_vlen(proto) &&
            ends_with(tn_btf_string(host(v), tn_btf_params(proto)[k].name_off), "__nullable"))
            return true;
    }
    return false;
}

static u32 tp_mask(const struct vf *v, u32 arg)
{
    if (v->attach.row->attach != BPF_TRACE_RAW_TP || arg >= 16)
        return 0;
    for (size_t k = 0; k < TN_ARRAY_SIZE(tp_args); k++)
        if (!strcmp(tp_args[k].name, v->attach.name))
            return tp_args[k].mask >> (4 * arg) & 15;
    return 0;
}

static u32 pointer_tags(const struct tn_btf *b, u32 id)
{
    const struct btf_type *t = tn_btf_type(b, id);

    if (!t || tn_btf_kind(t) != BTF_KIND_TYPE_TAG || BTF_INFO_KFLAG(t->info))
        return 0;
    if (!strcmp(tn_btf_string(b, t->name_off), "user"))
        return TN_PTR_USER;
    return strcmp(tn_btf_string(b, t->name_off), "percpu") ? 0 : TN_PTR_PERCPU;
}

/* So says the authority. When the function has returned, it may have freed its arguments. */
static bool is_valid(const struct vf *v, u32 arg)
{
    u32 attach = v->attach.row->attach;

    return (attach == BPF_TRACE_FENTRY || attach == BPF_MODIFY_RETURN) && arg < 16 &&
           v->auth->entry_valid >> arg & 1;
}

bool tn_attach_promised(const struct vf *v, const struct tn_access *access)
{
    return !(v->attach.row && v->attach.row->attach == BPF_TRACE_FEXIT) && v->auth->is_promised &&
           v->auth->is_promised(v->auth->self, access);
}

/* Bytes of structs in memory that are kept for an exit, with argument `arg`'s: all that the program has read of them until now. */
static u64 kept_bytes(const struct vf *v, u32 arg)
{
    u32 n = tn_btf_vlen(v->attach.proto);
    u64 bytes = 0;

    for (u32 w = 0; w < 64; w++) {
        u32 first, k = tn_btf_argument_at(host(v), v->attach.proto, w, &first);
        struct tn_value value;

        if (k >= n)
            break;
        if ((k == arg || v->facts.ctx_read[0] >> w & 1) &&
            !tn_btf_value(host(v), tn_btf_params(v->attach.proto)[k].type, &value) &&
            tn_value_by_address(&value, false))
            bytes += TN_ROUND_UP(value.size, 8);
    }
    return bytes;
}

/* A struct in memory. As the function is entered it is there, and the function's own from then on: whatever its compiler wants to have
   there. So an exit is shown a copy of it, which is neither stored to nor passed on. A result is where the caller wanted it, who has said so
   at the entry, whatever has become of rax since. */
static int yield_struct(struct vf *v, struct tn_place *p, u32 arg, u32 type)
{
    bool copy = v->attach.row->attach == BPF_TRACE_FEXIT && arg < tn_btf_vlen(v->attach.proto);

    if (p->size != sizeof(u64))
        return vf_refuse(v, v->pc, TN_REASON_ctx_bounds,
                         "func '%s' size %u must be 8: where a struct lies is read whole or not at all",
                         v->attach.name, p->size);
    if (copy && kept_bytes(v, arg) > TN_VALUE_KEPT)
        return vf_refuse(
            v, v->pc, TN_REASON_ctx_bounds,
            "func '%s' arg%u is a struct in memory, of which %u bytes are kept for an exit, all such "
            "arguments that the program reads taken together: it is read where the function is "
            "entered (fentry)",
            v->attach.name, arg, TN_VALUE_KEPT);
    p->yields = tn_types_pointer(v, type, copy ? 0 : TN_PTR_TRUSTED);
    return 0;
}

static int yield_pointer(struct vf *v, struct tn_place *p, u32 arg, const struct btf_type *pointer)
{
    const struct tn_btf *b = host(v);
    const struct iter *iter = v->attach.row->attach == BPF_TRACE_ITER ? iter_arg(v, arg) : NULL;
    u32 to = tn_btf_resolve(b, pointer->type), kind = tn_btf_kind_of(b, to), flags, mask;

    if (p->size != sizeof(u64))
        return vf_refuse(v, v->pc, TN_REASON_ctx_bounds,
                         "func '%s' size %u must be 8: a pointer is read whole or not at all", v->attach.name,
                         p->size);
    if (iter && iter->kind == TN_REG_BUF) {
        p->yields = tn_reg_pointer(TN_REG_BUF, 0);
        p->yields.flags = iter->flags;
        p->yields.id = ++v->next_id;
        return 0;
    }
    if (!to || kind == BTF_KIND_INT)
        return 0; /* no more than a number */
    if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION)
        return vf_refuse(v, v->pc, TN_REASON_ctx_bounds,
                         "func '%s' arg%u type %s is not a struct: what it points to is not known",
                         v->attach.name, arg, kind_text(b, to));
    mask = tp_mask(v, arg);
    if (mask & TP_ERROR)
        return 0;
    flags =
        (v->attach.row->trusted || is_valid(v, arg) ? TN_PTR_TRUSTED : 0) | pointer_tags(b, pointer->type);
    if (iter)
        flags = iter->flags;
    if (mask & TP_NULL || is_nullable(v, arg))
        flags |= TN_PTR_MAYBE_NULL;
    p->yields = tn_types_pointer(v, to, flags);
    return 0;
}

/* A pointer to this type, of the host's, as it came, and with nobody waiting to get it back. */
static bool is_pointer_to(const struct tn_reg *reg, u32 to)
{
    return reg->kind == TN_REG_BTF && reg->host && reg->obj == to && !reg->ref && !reg->delta &&
           tn_range_is_const(&reg->r) && !reg->r.umin;
}

/* What a program may store in the place of an argument, or of the result: what those who read it next, here and in other
   programs, take it for. A pointer that is promised to be good is only ever another that is. */
static int check_stored(struct vf *v, const struct tn_place *p, u32 arg, const struct btf_type *t,
                        bool by_address)
{
    const struct tn_reg *reg = p->value;
    bool result = arg == tn_btf_vlen(v->attach.proto), exit = v->attach.row->attach == BPF_TRACE_FEXIT;
    u32 to = tn_btf_kind(t) == BTF_KIND_PTR ? tn_btf_resolve(host(v), t->type) : 0;

    if (tn_btf_kind_of(host(v), to) != BTF_KIND_STRUCT && tn_btf_kind_of(host(v), to) != BTF_KIND_UNION)
        to = 0; /* no more than a number */
    if (exit != result)
        return vf_refuse(
            v, v->pc, TN_REASON_ctx_write,
            exit ? "argument %u of %s is stored to as the call returns: what changes there is the result"
                 : "word %u of the context of %s is stored to, and only its arguments are changed there",
            arg + 1, v->attach.name);
    if (by_address)
        return vf_refuse(v, v->pc, TN_REASON_ctx_write,
                         "the context of %s has where a struct lies: what changes are its fields",
                         v->attach.name);
    if (!tn_reg_is_pointer(reg) && !(to && is_valid(v, arg)))
        return 0;
    if (to && is_pointer_to(reg, to) && (!is_valid(v, arg) || tn_types_trusted(reg)) &&
        !tn_reg_maybe_null(reg))
        return 0;
    return vf_refuse(
        v, v->pc, TN_REASON_ctx_write, "a %s is stored in the place of argument %u of %s: it takes %s",
        TN_REG_NAME(reg), arg + 1, v->attach.name,
        to && is_valid(v, arg) ? "pointers of its own type that came from the host as they are, and are "
                                 "known to be valid"
        : to                   ? "numbers, and pointers of its own type that came from the host"
                               : "numbers");
}

/* Words of the host's functions go back to them; Linux's are the kernel's. */
static bool is_changeable(const struct vf *v, const struct tn_place *p)
{
    u32 attach = v->attach.row->attach;

    return v->in->process && v->auth->context_stores && !p->helper && p->use == TN_USE_WRITE &&
           p->size == sizeof(u64) && p->value &&
           (attach == BPF_TRACE_FENTRY || attach == BPF_MODIFY_RETURN || attach == BPF_TRACE_FEXIT);
}

int tn_ctx_typed(struct vf *v, struct tn_place *p)
{
    const struct btf_type *t;
    struct tn_value value;
    bool by_address;
    u32 arg, type;

    if ((p->use != TN_USE_READ && !is_changeable(v, p)) || p->min < 0 || p->min >= 8 * MAX_ARGS ||
        p->min % p->size)
        return vf_refuse(v, v->pc, p->use == TN_USE_READ ? TN_REASON_ctx_bounds : TN_REASON_ctx_write,
                         "invalid bpf_context access off=%" PRId64
                         " size=%u: the context is read by words of 8 bytes, "
                         "one an argument",
                         p->min, p->size);
    if (p->min % 8)
        return vf_refuse(v, v->pc, TN_REASON_ctx_bounds, "func '%s' offset %" PRId64 " is not multiple of 8",
                         v->attach.name, p->min);
    arg = tn_btf_argument_at(host(v), v->attach.proto, (u32)(p->min / 8), NULL);
    type = arg_type(v, arg);
    if (!type)
        return -EACCES;
    t = tn_btf_type(host(v), type);
    by_address = v->in->process && !tn_btf_value(host(v), type, &value) &&
                 tn_value_by_address(&value, arg == tn_btf_vlen(v->attach.proto));
    if (p->use != TN_USE_READ)
        return check_stored(v, p, arg, t, by_address);
    if (by_address)
        return yield_struct(v, p, arg, type);
    switch (tn_btf_kind(t)) {
    case BTF_KIND_INT:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
        return 0;
    case BTF_KIND_PTR:
        return yield_pointer(v, p, arg, t);
    default:
        return vf_refuse(v, v->pc, TN_REASON_ctx_bounds,
                         "func '%s' arg%u '%s' has type %s. Only pointer access is allowed", v->attach.name,
                         arg, tn_btf_name(host(v), type), kind_text(host(v), type));
    }
}
