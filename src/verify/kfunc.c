/* SPDX-License-Identifier: MIT */
/*
 * Calls of the host's functions by type (kfuncs): the rows, the call, the result. Its arguments are
 * kfunc_args.c's.
 *
 *      the row → may this program call it, here → each argument → what the call does to the path → the result
 *
 * What a function does that no prototype tells has a name in its row (`special`); each name is a case here,
 * or in kfunc_args.c, or belongs to graph.c.
 */
#include "verify/kfunc.h"

#include <inttypes.h>

#include "verify/internal.h"

enum {
#define A(type)       | 1u << BPF_PROG_TYPE_##type
#define S(set, types) TYPES_##set = 0 types,
    TN_KFUNC_SETS(S)
#undef S
#undef A
};

static const struct tn_kfunc rows[] = {
#define ACQUIRE                      TN_KF_ACQUIRE
#define RELEASE                      TN_KF_RELEASE
#define RET_NULL                     TN_KF_RET_NULL
#define TRUSTED_ARGS                 TN_KF_TRUSTED_ARGS
#define RCU                          TN_KF_RCU
#define RCU_PROTECTED                TN_KF_RCU_PROTECTED
#define SLEEPABLE                    TN_KF_SLEEPABLE
#define ITER_NEW                     TN_KF_ITER_NEW
#define ITER_NEXT                    TN_KF_ITER_NEXT
#define ITER_DESTROY                 TN_KF_ITER_DESTROY
#define NONE                         TN_KF_NONE
#define K(name, set, special, flags) {#name, TYPES_##set, TN_KFSET_##set, TN_KFUNC_##special, (flags)},
    TN_KFUNCS(K)
#undef K
#undef ACQUIRE
#undef RELEASE
#undef RET_NULL
#undef TRUSTED_ARGS
#undef RCU
#undef RCU_PROTECTED
#undef SLEEPABLE
#undef ITER_NEW
#undef ITER_NEXT
#undef ITER_DESTROY
#undef NONE
};

const struct tn_kfunc *tn_kfunc_find(const char *name)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
        if (!strcmp(rows[k].name, name))
            return &rows[k];
    return NULL;
}

/* A process has no functions of the house's but two: what else is called there is its own, whatever its name. */
static const struct tn_kfunc *row_of(const struct vf *v, u32 id)
{
    static const struct tn_kfunc answer = {"", UINT32_MAX, TN_KFSET_COMMON, TN_KFUNC_ANSWER, TN_KF_NONE};
    static const struct tn_kfunc copy = {"", UINT32_MAX, TN_KFSET_COMMON, TN_KFUNC_COPY, TN_KF_NONE};

    if (v->in->process)
        return id == v->in->answer_btf_id ? &answer : id == v->in->copy_btf_id ? &copy : NULL;
    return tn_kfunc_find(tn_btf_name(v->in->host_btf, id));
}

const struct tn_kfunc *tn_kfunc_of(const struct vf *v, const struct bpf_insn *i)
{
    return v->in->host_btf && !i->off ? row_of(v, (u32)i->imm) : NULL;
}

bool tn_kfunc_sleeps(const struct vf *v, const struct bpf_insn *i)
{
    const struct tn_kfunc *row = tn_kfunc_of(v, i);
    struct tn_host_function own = {0};

    if (row)
        return row->flags & TN_KF_SLEEPABLE;
    return v->auth->may_offer && !v->auth->may_offer(v->auth->self, (u32)i->imm, &own) && own.sleeps;
}

/* ------------------------------------------------------------------------------------- may it be called */

static bool is_offered(const struct vf *v, const struct tn_kfunc *row)
{
    u32 attach = v->in->expected_attach_type;

    if (v->in->prog_type >= 32 || !(row->types >> v->in->prog_type & 1))
        return false;
    if (row->set == TN_KFSET_SESSION)
        return attach == TN_ATTACH_KPROBE_SESSION || attach == TN_ATTACH_UPROBE_SESSION;
    return row->set != TN_KFSET_ITER || attach == BPF_TRACE_ITER;
}

/* No function of the house: may be one of the host's own. Valid pointers are asked for in any case. */
static void ask_for_row(struct vf *v, struct tn_kcall *c)
{
    struct tn_host_function *h = &c->host;

    if (!v->auth->may_offer || v->auth->may_offer(v->auth->self, c->id, h))
        return;
    c->is_own = true;
    c->own = (struct tn_kfunc){
        .name = c->name, .types = UINT32_MAX, .set = TN_KFSET_COMMON, .special = TN_KFUNC_NONE};
    c->own.flags =
        (u16)(TN_KF_TRUSTED_ARGS | (h->acquires ? TN_KF_ACQUIRE : 0) | (h->releases ? TN_KF_RELEASE : 0) |
              (h->ret_null ? TN_KF_RET_NULL : 0) | (h->sleeps ? TN_KF_SLEEPABLE : 0));
    c->row = &c->own;
}

static int find_callee(struct vf *v, const struct bpf_insn *i, struct tn_kcall *c)
{
    const struct btf_type *t;

    c->b = v->in->host_btf;
    c->id = (u32)i->imm;
    if (!c->b)
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc,
            "calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF: #%d is a function "
            "by type, and this host tells no types",
            i->imm);
    if (i->off)
        return vf_refuse(v, v->pc, TN_REASON_kfunc,
                         "calling kernel function #%d of module %d: there are no modules", i->imm, i->off);
    if (!v->in->gpl && !v->in->process)
        return vf_refuse(v, v->pc, TN_REASON_gpl_only,
                         "cannot call kernel function from non-GPL compatible program");
    t = tn_btf_type(c->b, c->id);
    if (!t || tn_btf_kind(t) != BTF_KIND_FUNC)
        return vf_refuse(v, v->pc, TN_REASON_kfunc, "kernel btf_id %d is not a function", i->imm);
    c->name = tn_btf_string(c->b, t->name_off);
    c->proto = tn_btf_type(c->b, t->type);
    c->nargs = tn_btf_vlen(c->proto);
    c->row = row_of(v, c->id);
    if (!c->row)
        ask_for_row(v, c);
    if (!c->row || !is_offered(v, c->row))
        return vf_refuse(v, v->pc, TN_REASON_kfunc, "calling kernel function %s is not allowed: %s", c->name,
                         c->row ? "it is not for programs of this type" : "it is not offered to programs");
    if (c->nargs > 5)
        return vf_refuse(v, v->pc, TN_REASON_kfunc, "Function %s has %u > %d args", c->name, c->nargs, 5);
    return 0;
}

/* While a lock is held nothing may be called that could take another, or long. */
static bool is_for_locks(const struct tn_kcall *c)
{
    switch (c->row->special) {
    case TN_KFUNC_LIST_PUSH:
    case TN_KFUNC_LIST_POP:
    case TN_KFUNC_LIST_PEEK:
    case TN_KFUNC_RB_ADD:
    case TN_KFUNC_RB_REMOVE:
    case TN_KFUNC_RB_PEEK:
    case TN_KFUNC_REFCOUNT:
    case TN_KFUNC_RES_LOCK:
    case TN_KFUNC_RES_UNLOCK:
    case TN_KFUNC_RES_LOCK_IRQ:
    case TN_KFUNC_RES_UNLOCK_IRQ:
        return true;
    default:
        return !strncmp(c->name, "bpf_iter_num_", 13);
    }
}

static int check_here(struct vf *v, struct tn_kcall *c)
{
    char what[96];
    int err = tn_call_in_lock(v, is_for_locks(c));

    if (err)
        return err;
    if (c->row->special == TN_KFUNC_TRAP)
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc,
            "unexpected __bpf_trap() due to uninitialized variable? The compiler put it where the program "
            "has no meaning");
    if (c->row->special == TN_KFUNC_DEVICE)
        return vf_refuse(v, v->pc, TN_REASON_kfunc,
                         "metadata kfuncs require device-bound program: %s asks a network device", c->name);
    if (!(c->row->flags & TN_KF_SLEEPABLE))
        return 0;
    if (!v->cur.sleepable && !v->sleepable)
        return vf_refuse(v, v->pc, TN_REASON_sleeps, "program must be sleepable to call sleepable kfunc %s",
                         c->name);
    snprintf(what, sizeof(what), "kernel func %s", c->name);
    return tn_may_sleep(v, what);
}

/* ------------------------------------------------------------------------------------------- effects */

/* The function that compares is called back any number of times. */
static int follow_less(struct vf *v, const struct tn_kcall *c)
{
    struct tn_reg arg[5] = {0};

    tn_graph_compared(v, c, &arg[0]);
    arg[1] = arg[0];
    if (tn_reg_has_lock(v, &arg[0])) { /* two nodes, two locks: unlocking one does not unlock the other */
        arg[0].id = ++v->next_id;
        arg[1].id = ++v->next_id;
    }
    return tn_callback_follow(v, c->callback, arg);
}

static int apply(struct vf *v, struct tn_kcall *c)
{
    switch (c->row->special) {
    case TN_KFUNC_RB_ADD:
        return follow_less(v, c);
    case TN_KFUNC_ASYNC:
    case TN_KFUNC_TASK_WORK:
        return tn_callback_later(v, c->row->special, c->callback, vf_reg(v, c->field_arg));
    case TN_KFUNC_RCU_LOCK:
        return tn_section_enter(v, TN_SECTION_RCU, c->name);
    case TN_KFUNC_RCU_UNLOCK:
        return tn_section_leave(v, TN_SECTION_RCU, c->name);
    case TN_KFUNC_PREEMPT_OFF:
        return tn_section_enter(v, TN_SECTION_PREEMPT, c->name);
    case TN_KFUNC_PREEMPT_ON:
        return tn_section_leave(v, TN_SECTION_PREEMPT, c->name);
    case TN_KFUNC_PULL:
        tn_packet_invalidate(v);
        tn_dynptr_packet_changed(&v->cur);
        return 0;
    case TN_KFUNC_THROW:
        return tn_throw(v);
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------------------- result */

/* What the context of a program type is to the host. X(type, struct) */
#define HOST_CONTEXTS(X)                                                                                     \
    X(SOCKET_FILTER, "sk_buff")                                                                              \
    X(SCHED_CLS, "sk_buff")                                                                                  \
    X(SCHED_ACT, "sk_buff")                                                                                  \
    X(XDP, "xdp_buff")                                                                                       \
    X(KPROBE, "pt_regs")                                                                                     \
    X(PERF_EVENT, "bpf_perf_event_data_kern")

static int cast_context(struct vf *v, struct tn_kcall *c, struct tn_reg *r0)
{
    static const struct {
        u32 type;
        const char *name;
    } contexts[] = {
#define X(type, name) {BPF_PROG_TYPE_##type, name},
        HOST_CONTEXTS(X)
#undef X
    };
    u32 type = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(contexts); k++)
        if (contexts[k].type == v->in->prog_type)
            type = tn_btf_find(c->b, BTF_KIND_STRUCT, contexts[k].name);
    if (!type)
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc,
            "%s: the kern ctx type is not a struct: the context of this program has no other form", c->name);
    *r0 = tn_types_pointer(v, type, TN_PTR_TRUSTED);
    return 0;
}

static int cast_readonly(struct vf *v, struct tn_kcall *c, struct tn_reg *r0)
{
    const struct btf_type *t = tn_btf_type(c->b, (u32)c->constant);
    u32 kind = t ? tn_btf_kind(t) : BTF_KIND_UNKN;

    if (c->constant && (!t || c->constant > UINT32_MAX))
        return vf_refuse(v, v->pc, TN_REASON_kfunc,
                         "Unknown type ID %" PRIu64 " passed to kfunc bpf_rdonly_cast", c->constant);
    if (!c->constant) {
        *r0 = tn_reg_pointer(TN_REG_MEM, 0);
        r0->flags = TN_PTR_RDONLY | TN_PTR_UNTRUSTED;
        return 0;
    }
    if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION)
        return vf_refuse(v, v->pc, TN_REASON_kfunc,
                         "kfunc bpf_rdonly_cast type ID argument must be of a struct or void: type %" PRIu64
                         " is a %s",
                         c->constant, tn_btf_kind_name(kind));
    *r0 = tn_types_pointer(v, (u32)c->constant, TN_PTR_UNTRUSTED);
    return 0;
}

/* A pointer to bytes: how many is told by an argument, or by what they are. */
static int memory_result(struct vf *v, struct tn_kcall *c, u32 type, struct tn_reg *r0)
{
    s64 size = c->r0_size ? (s64)c->r0_size : tn_btf_size(c->b, type);

    if (size <= 0 || size > UINT32_MAX)
        return vf_refuse(
            v, v->pc, TN_REASON_kfunc,
            "kernel function %s returns pointer type %s %s is not supported: how many bytes it points to "
            "is not known",
            c->name, tn_btf_kind_name(tn_btf_kind_of(c->b, type)), tn_btf_name(c->b, type));
    *r0 = tn_reg_pointer(TN_REG_MEM, (u32)size);
    r0->flags = c->r0_size && !c->r0_rdonly ? 0 : TN_PTR_RDONLY;
    r0->ref = c->use.ref; /* not to be read once that was given back */
    return 0;
}

static void typed_result(struct vf *v, struct tn_kcall *c, u32 type, struct tn_reg *r0)
{
    *r0 = tn_types_pointer(v, type, 0);
    if (c->row->flags & TN_KF_ITER_NEXT)
        r0->flags |= c->iter.in_rcu ? TN_PTR_RCU : TN_PTR_TRUSTED;
    if (c->row->special == TN_KFUNC_KMEM_CACHE)
        r0->flags |= TN_PTR_UNTRUSTED;
}

static int pointer_result(struct vf *v, struct tn_kcall *c, u32 type, struct tn_reg *r0)
{
    u32 to = tn_btf_resolve(c->b, tn_btf_type(c->b, type)->type), kind = tn_btf_kind_of(c->b, to);

    switch (c->row->special) {
    case TN_KFUNC_CAST_CTX:
        return cast_context(v, c, r0);
    case TN_KFUNC_RDONLY_CAST:
        return cast_readonly(v, c, r0);
    case TN_KFUNC_SESSION_COOKIE:
        c->r0_size = sizeof(u64);
        return memory_result(v, c, to, r0);
    case TN_KFUNC_OBJ_NEW:
    case TN_KFUNC_PERCPU_NEW:
    case TN_KFUNC_REFCOUNT:
    case TN_KFUNC_LIST_POP:
    case TN_KFUNC_LIST_PEEK:
    case TN_KFUNC_RB_REMOVE:
    case TN_KFUNC_RB_PEEK:
        return tn_graph_result(v, c, r0);
    default:
        break;
    }
    if (!to) { /* no more than a number */
        *r0 = tn_reg_scalar(tn_range_any());
        return 0;
    }
    if (kind != BTF_KIND_STRUCT)
        return memory_result(v, c, to, r0);
    typed_result(v, c, to, r0);
    return 0;
}

static int set_result(struct vf *v, struct tn_kcall *c, const struct tn_call_facts *facts)
{
    u32 type = tn_btf_resolve(c->b, c->proto->type), kind = tn_btf_kind_of(c->b, type);
    u32 flags = c->row->flags;
    struct tn_reg r0 = {0};
    int err = 0;

    if (kind == BTF_KIND_INT || kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64)
        r0 = tn_reg_scalar(tn_range_signed(facts->ret_min, facts->ret_max));
    else if (kind == BTF_KIND_PTR &&
             (c->row->special == TN_KFUNC_SLICE || c->row->special == TN_KFUNC_SLICE_RDWR))
        return tn_dynptr_slice_result(v, &c->dynptr, (u32)c->constant,
                                      c->row->special == TN_KFUNC_SLICE_RDWR);
    else if (kind == BTF_KIND_PTR)
        err = pointer_result(v, c, type, &r0);
    if (err)
        return err;
    if (tn_reg_is_pointer(&r0)) {
        if (flags & TN_KF_RET_NULL && !c->owning)
            r0.flags |= TN_PTR_MAYBE_NULL;
        if (flags & TN_KF_ACQUIRE)
            err = tn_ref_lend(v, &r0);
        if (!r0.id && (tn_reg_maybe_null(&r0) || tn_reg_has_lock(v, &r0)))
            r0.id = ++v->next_id;
    }
    *vf_reg(v, 0) = r0;
    return err;
}

/* --------------------------------------------------------------------------------------------- call */

static int ask_authority(struct vf *v, const struct tn_kcall *c, struct tn_call_facts *ret)
{
    struct tn_call_arg args[5];
    struct tn_call question = {.btf_id = c->id, .insn = v->pc, .args = args, .nargs = c->nargs};
    struct tn_error err = {0};

    for (u32 a = 0; a < c->nargs; a++)
        args[a] = vf_arg_facts(v, vf_reg(v, a + 1));

    if (v->auth->may_call(v->auth->self, &question, ret, &err))
        return vf_refuse_denied(v, TN_REASON_call_denied, &err);
    return 0;
}

/* It was taken, or the path that goes on here is the other one. */
static bool takes_lock(const struct tn_kcall *c)
{
    return c->row->special == TN_KFUNC_RES_LOCK || c->row->special == TN_KFUNC_RES_LOCK_IRQ;
}

int tn_kfunc_call(struct vf *v, const struct bpf_insn *i, bool *ret_end)
{
    struct tn_kcall c = {0};
    struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
    int err = find_callee(v, i, &c);

    if (!err)
        err = check_here(v, &c);
    if (!err && takes_lock(&c))
        err = tn_lock_may_fail(v);
    if (!err)
        err = tn_kfunc_args(v, &c);
    if (!err)
        err = ask_authority(v, &c, &facts);
    if (!err && c.row->special == TN_KFUNC_ANSWER)
        err = tn_prog_answer(v, 2, false);
    if (!err && c.row->special == TN_KFUNC_COPY)
        err = tn_buffer_copied(v, &facts);
    if (!err)
        err = apply(v, &c);
    if (!err)
        err = tn_graph_given(v, &c);
    if (!err)
        err = tn_ref_arg_done(v, &c.use, c.name);
    if (err)
        return err;
    err = tn_note_kfunc(v, c.id);
    if (err)
        return err;
    v->facts.calls_host |= c.row->special != TN_KFUNC_COPY;
    v->facts.sleeps |= (c.row->flags & TN_KF_SLEEPABLE) != 0;
    v->facts.features |= 1ull << TN_FEATURE_kfunc;
    *ret_end = c.row->special == TN_KFUNC_THROW;
    if (*ret_end)
        return 0;
    if (c.is_own)
        tn_percpu_invalidate(v);
    for (u32 r = 0; r <= 5; r++)
        *vf_reg(v, r) = (struct tn_reg){0};
    err = set_result(v, &c, &facts);
    if (!err && takes_lock(&c))
        vf_set_scalar(v, 0, tn_range_const(0));
    if (!err && c.row->flags & TN_KF_ITER_NEXT)
        err = tn_iter_next(v, &c.iter);
    return err;
}
