/* SPDX-License-Identifier: MIT */
/*
 * Calls: helpers by their rows, functions of the program, exit. What calls lend and take back is kept by
 * refs.c.
 *
 * A static function is followed again at each call, with what is known of its arguments. A global one was
 * verified on its own, before its callers: here only the arguments' types are asked, and of the result
 * nothing is known.
 *
 * What a helper takes and returns stands in protos.h; args.c checks the arguments. A helper whose rule no row
 * can tell has a function here, in `rules`.
 */
#include "verify/internal.h"
#include "verify/maptypes.h"

/* What is built here, for the facts that only those who built it know. */
static u32 built_flags(u32 id)
{
    static const struct {
        u32 id, flags;
    } built[] = {
#define H(id, name, ret, a1, a2, a3, a4, a5, flags) {id, (u32)(flags)},
        TN_HELPERS(H)
#undef H
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(built); k++)
        if (built[k].id == id)
            return built[k].flags;
    return 0;
}

/* ----------------------------------------------------------------- helpers: may this program call it here */

static int unknown_helper(struct vf *v, u32 id)
{
    const char *name = tn_proto_name(id);

    if (id >= TN_PROTO_END)
        return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                         "invalid func unknown#%d: there is no such helper", (s32)id);
    return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                     "program of this type cannot use helper %s#%d (unknown func %s#%d): it is not for %s "
                     "programs",
                     name, (s32)id, name, (s32)id, v->type->name);
}

/* Where Linux's own locks are known not to be in the way. */
static const char *const path_functions[] = {"security_file_permission",
                                             "security_inode_getattr",
                                             "security_file_open",
                                             "security_path_truncate",
                                             "vfs_truncate",
                                             "vfs_fallocate",
                                             "dentry_open",
                                             "vfs_getattr",
                                             "filp_close"};

static bool is_listed(const struct vf *v, const struct tn_proto *proto)
{
    static const char storage[] = "bpf_sk_storage";
    u32 attach = v->in->expected_attach_type;
    bool observes = attach == BPF_TRACE_FENTRY || attach == BPF_TRACE_FEXIT;
    const char *on = v->in->host_btf ? tn_btf_name(v->in->host_btf, v->in->attach_btf_id) : "";

    if (attach == BPF_TRACE_ITER)
        return true;
    switch (proto->id) {
    case TN_PROTO_sk_storage_get:
    case TN_PROTO_sk_storage_delete:
        return attach == BPF_TRACE_RAW_TP || (observes && strncmp(on, storage, sizeof(storage) - 1) != 0);
    case TN_PROTO_d_path:
        for (size_t k = 0; k < TN_ARRAY_SIZE(path_functions); k++)
            if (attach != BPF_TRACE_RAW_TP && !strcmp(on, path_functions[k]))
                return true;
        return false;
    default:
        return false;
    }
}

static int check_allowed(struct vf *v, const struct tn_proto *proto)
{
    char who[64];
    int err;

    if ((proto->flags & TN_PF_GPL) && !v->in->gpl)
        return vf_refuse(v, v->pc, TN_REASON_gpl_only,
                         "cannot call GPL-restricted function from non-GPL compatible program: %s is one",
                         proto->name);
    if ((proto->flags & TN_PF_LISTED) && !is_listed(v, proto))
        return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                         "helper call is not allowed in probe: %s is for listed functions and iterators only",
                         proto->name);
    err = tn_call_in_lock(v, proto->id == TN_PROTO_spin_unlock);
    if (err)
        return err;
    if (proto->flags & TN_PF_SLEEPS || (proto->flags & TN_PF_SLEEPS_IF_CAN && v->cur.sleepable)) {
        snprintf(who, sizeof(who), "sleepable helper %s#%u", proto->name, proto->id);
        return tn_may_sleep(v, v->cur.sleepable ? who : "helper call");
    }
    return 0;
}

/* ---------------------------------------------------------------------------- helpers: rules of their own */

/* Where it is done the function that does it is over, with what that other program returns. */
static int rule_tail_call(struct vf *v, struct tn_helper_call *c)
{
    int err = tn_held_none(v, "tail_call");

    if (!err && tn_state_top(&v->cur)->callback)
        return vf_refuse(
            v, v->pc, TN_REASON_held_at_end,
            "tail_call cannot be used inside a callback: whoever called it back asks for 0 or 1, "
            "and that other program returns anything");
    tn_packet_invalidate(v); /* it had the packet, too */
    if (v->cur.nframes > 1)  /* … and may call the host before the caller goes on */
        tn_percpu_invalidate(v);
    return err ? err : tn_leave_returns(v, tn_range_any());
}

static int rule_get_local_storage(struct vf *v, struct tn_helper_call *c)
{
    const struct tn_reg *flags = vf_reg(v, 2);

    tn_track_precise(v, 2);
    if (flags->kind == TN_REG_SCALAR && flags->r.umax == 0)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_arg_type,
                     "get_local_storage() doesn't support non-zero flags: it has no way to report an error");
}

static int rule_dynptr_from_mem(struct vf *v, struct tn_helper_call *c)
{
    if (vf_reg(v, 1)->kind == TN_REG_MAP_VALUE)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_arg_type,
                     "Unsupported reg type %s for bpf_dynptr_from_mem data: it takes memory of maps",
                     TN_REG_NAME(vf_reg(v, 1)));
}

static int rule_get_func_ip(struct vf *v, struct tn_helper_call *c)
{
    u32 type = v->in->prog_type, attach = v->in->expected_attach_type;

    if (type == BPF_PROG_TYPE_KPROBE ||
        (type == BPF_PROG_TYPE_TRACING &&
         (attach == BPF_TRACE_FENTRY || attach == BPF_TRACE_FEXIT || attach == BPF_MODIFY_RETURN)))
        return 0;
    if (type == BPF_PROG_TYPE_TRACING)
        return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                         "func %s#%u supported only for fentry/fexit/fmod_ret programs", c->proto->name,
                         c->proto->id);
    return vf_refuse(v, v->pc, TN_REASON_unknown_helper, "func %s#%u not supported for program type %u",
                     c->proto->name, c->proto->id, type);
}

static int rule_lookup(struct vf *v, struct tn_helper_call *c)
{
    char label[TN_MAP_LABEL];

    if (tn_vmap_by_type(c->map->geo.type)->found != TN_FOUND_MAP || c->map->inner)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_bad_map, "%s is a map of maps, of which nothing is said",
                     vf_map_label(v, c->map_index, label));
}

static int rule_timer_init(struct vf *v, struct tn_helper_call *c)
{
    return tn_field_same_map(v, 1, 2, "timer");
}

static int rule_for_each(struct vf *v, struct tn_helper_call *c)
{
    const struct tn_vmap *type = tn_vmap_by_type(c->map->geo.type);

    if (type->flags & TN_VM_EACH)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_map_helper_mismatch,
                     "callback function not allowed for map: a %s cannot be gone through", type->name);
}

/* Sockets are put into maps, and taken out, by some types of programs only. */
static bool keeps_sockets(const struct vf *v, u32 helper)
{
    switch (v->in->prog_type) {
    case BPF_PROG_TYPE_TRACING:
        return v->in->expected_attach_type == BPF_TRACE_ITER;
    case BPF_PROG_TYPE_SOCK_OPS:
        return helper == TN_PROTO_map_delete_elem;
    case BPF_PROG_TYPE_SOCKET_FILTER:
    case BPF_PROG_TYPE_SCHED_CLS:
    case BPF_PROG_TYPE_SCHED_ACT:
    case BPF_PROG_TYPE_XDP:
    case BPF_PROG_TYPE_SK_REUSEPORT:
    case BPF_PROG_TYPE_FLOW_DISSECTOR:
    case BPF_PROG_TYPE_SK_LOOKUP:
        return true;
    default:
        return false;
    }
}

static int rule_write(struct vf *v, struct tn_helper_call *c)
{
    const struct tn_vmap *type = tn_vmap_by_type(c->map->geo.type);
    char label[TN_MAP_LABEL];

    if (type->found == TN_FOUND_SOCKET && !keeps_sockets(v, c->proto->id))
        return vf_refuse(v, v->pc, TN_REASON_map_helper_mismatch,
                         "cannot pass map_type %u into func %s#%u: a %s program does not change a %s",
                         type->type, c->proto->name, c->proto->id, v->type->name, type->name);
    if (!c->map->rdonly_prog)
        return 0;
    return vf_refuse(v, v->pc, TN_REASON_map_write_denied,
                     "write into map forbidden: %s is read-only for programs",
                     vf_map_label(v, c->map_index, label));
}

/* R3 is the format, R5 the size of the numbers behind it. */
static int rule_snprintf(struct vf *v, struct tn_helper_call *c)
{
    u32 numbers = (u32)(vf_reg(v, 5)->r.var.value / 8), len;
    const char *fmt;
    int err = tn_arg_const_str(v, 3, &fmt, &len);

    if (err || tn_format_fits(fmt, numbers))
        return err;
    return vf_refuse(
        v, v->pc, TN_REASON_arg_type,
        "Invalid format string: \"%.60s\" with %u numbers: bpf_snprintf knows %%s %%c %%p and the "
        "integer conversions, each with a number of eight bytes",
        fmt, numbers);
}

/* R(helper, rule): asked once the arguments are what the row says. */
static const struct {
    u32 id;
    int (*rule)(struct vf *v, struct tn_helper_call *c);
} rules[] = {
    {TN_PROTO_tail_call, rule_tail_call},
    {TN_PROTO_get_local_storage, rule_get_local_storage},
    {TN_PROTO_dynptr_from_mem, rule_dynptr_from_mem},
    {TN_PROTO_get_func_ip, rule_get_func_ip},
    {TN_PROTO_snprintf, rule_snprintf},
    {TN_PROTO_for_each_map_elem, rule_for_each},
    {TN_PROTO_timer_init, rule_timer_init},
    {TN_PROTO_map_lookup_elem, rule_lookup},
    {TN_PROTO_map_update_elem, rule_write},
    {TN_PROTO_map_delete_elem, rule_write},
    {TN_PROTO_map_push_elem, rule_write},
    {TN_PROTO_map_pop_elem, rule_write},
};

static int check_map(struct vf *v, const struct tn_helper_call *c)
{
    const struct tn_vmap *type;
    u32 number;
    char label[TN_MAP_LABEL];

    if (!c->map)
        return 0;
    number = c->map->geo.type;
    if (tn_vmap_takes(number, c->proto->id))
        return 0;
    type = tn_vmap_by_type(number);
    return vf_refuse(v, v->pc, TN_REASON_map_helper_mismatch,
                     "cannot pass map_type %u into func %s#%u: %s is a %s, which has no such operation",
                     number, c->proto->name, c->proto->id, vf_map_label(v, c->map_index, label),
                     type ? type->name : "map of a kind that is not known");
}

static int check_rules(struct vf *v, struct tn_helper_call *c)
{
    int err = check_map(v, c);

    for (size_t k = 0; k < TN_ARRAY_SIZE(rules) && !err; k++)
        if (rules[k].id == c->proto->id)
            err = rules[k].rule(v, c);
    return err;
}

/* ---------------------------------------------------------------------- helpers: what is known afterwards */

/* The map is this one on every visit, or it varies. */
static void note_map(struct vf *v, const struct tn_helper_call *c)
{
    struct tn_seen *seen = &v->seen[v->pc];
    s32 index = c->map_uid ? -1 : (s32)c->map_index;
    const struct tn_vmap *type = tn_vmap_by_type(c->map->geo.type);

    if (!seen->has_map)
        seen->map = index;
    else if (seen->map != index)
        seen->map = -1;
    seen->has_map = true;
    if (type && type->flags & TN_VM_PERCPU)
        v->facts.percpu = true;
}

/* An element that is surely there: an array has all below max_entries. An inner map may be smaller than the
   one that stands for it here, if it was made so that it may. */
static bool found_surely(const struct tn_helper_call *c)
{
    const struct tn_vmap *type = tn_vmap_by_type(c->map->geo.type);

    return c->proto->id == TN_PROTO_map_lookup_elem && type->flags & TN_VM_CERTAIN && c->key >= 0 &&
           (u64)c->key < c->map->geo.max_entries && !(c->map_uid && c->map->geo.map_flags & BPF_F_INNER_MAP);
}

/* The key of a look-up is this number on every visit, or it varies. */
static void note_key(struct vf *v, const struct tn_helper_call *c)
{
    struct tn_seen *seen = &v->seen[v->pc];
    s32 key = (s32)c->key;

    if (!seen->has_key)
        seen->key = key;
    else if (seen->key != key)
        seen->key = -1;
    seen->has_key = true;
    if (seen->key >= 0 || found_surely(c)) /* somebody relies on this number */
        tn_track_precise_stack(v, c->key_frame, c->key_at, c->key_at + 4);
}

static void note_call(struct vf *v, const struct tn_helper_call *c)
{
    u32 id = c->proto->id, built = built_flags(id);

    if (c->map)
        note_map(v, c);
    if (id == TN_PROTO_map_lookup_elem)
        note_key(v, c);
    v->facts.sleeps |=
        c->proto->flags & TN_PF_SLEEPS || (c->proto->flags & TN_PF_SLEEPS_IF_CAN && v->cur.sleepable);
    v->facts.helpers[id / 64] |= 1ull << (id % 64);
    v->facts.percpu |= (built & TN_HF_PERCPU) != 0;
    v->facts.syscalls |= (built & TN_HF_SYSCALL) != 0;
    v->facts.may_fault |= (c->proto->flags & TN_PF_PROCESS) != 0;
}

/* Linux says at most MAX_ERRNO below zero. */
#define MAX_ERRNO 4095

static int result_number(struct vf *v, const struct tn_helper_call *c, const struct tn_call_facts *facts)
{
    s64 min = facts->ret_min, max = facts->ret_max;

    if (c->proto->flags & TN_PF_RET_LENGTH) {
        min = TN_MAX(min, (s64)-MAX_ERRNO);
        max = TN_MIN(max, (s64)c->longest);
    }
    if (c->proto->flags & TN_PF_RET_CPU && v->in->ncpu) {
        min = TN_MAX(min, (s64)0);
        max = TN_MIN(max, (s64)v->in->ncpu - 1);
    }
    vf_set_scalar(v, 0, tn_range_signed(min, max));
    return 0;
}

static int result_typed(struct vf *v, const struct tn_helper_call *c, const struct tn_ret_form *form)
{
    const char *name = tn_proto_type_name(form->n);
    u32 id = v->in->host_btf ? tn_btf_find(v->in->host_btf, BTF_KIND_STRUCT, name) : 0;

    if (!id)
        return vf_refuse(v, v->pc, TN_REASON_unknown_helper,
                         "%s() returns a struct %s, which the host's type information does not have",
                         c->proto->name, name);
    *vf_reg(v, 0) = tn_reg_pointer(TN_REG_BTF, id);
    vf_reg(v, 0)->host = true;
    if (form->trusted)
        vf_reg(v, 0)->flags = TN_PTR_TRUSTED;
    return 0;
}

/* This or another CPU's copy: of a struct a typed pointer, of a number memory of its size. */
static int result_percpu(struct vf *v, const struct tn_helper_call *c)
{
    const struct tn_reg *arg = &c->percpu;
    const struct tn_btf *btf = arg->host ? v->in->host_btf : NULL;
    u32 id = btf ? tn_btf_resolve(btf, arg->obj) : 0;
    s64 size = id ? tn_btf_size(btf, id) : -1;
    u32 kind = id ? tn_btf_kind(tn_btf_type(btf, id)) : BTF_KIND_UNKN;
    struct tn_reg *r0 = vf_reg(v, 0);

    if (arg->flags & TN_PTR_RCU) { /* bpf_percpu_obj_new made it */
        *r0 = tn_reg_pointer(TN_REG_BTF, arg->obj);
        r0->host = arg->host;
        r0->flags = TN_PTR_ALLOC | TN_PTR_RCU;
    } else if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION) {
        *r0 = tn_reg_pointer(TN_REG_BTF, id);
        r0->host = true;
    } else if (size >= 0 && size < TN_MAX_OFFSET) {
        *r0 = tn_reg_pointer(TN_REG_MEM, (u32)size);
        r0->flags = TN_PTR_RDONLY;
    } else {
        return vf_refuse(v, v->pc, TN_REASON_arg_type, "unable to resolve the size of type '%s'",
                         id ? tn_btf_name(btf, id) : "?");
    }
    return 0;
}

static int set_result(struct vf *v, const struct tn_helper_call *c, const struct tn_call_facts *facts)
{
    const struct tn_ret_form *form = tn_proto_ret(c->proto);
    struct tn_reg *r0 = vf_reg(v, 0);
    int err = 0;

    switch ((enum tn_ret_kind)form->kind) {
    case TN_RK_SCALAR:
        return result_number(v, c, facts);
    case TN_RK_VOID:
        return 0;
    case TN_RK_VALUE:
        *r0 = tn_reg_pointer(TN_REG_MAP_VALUE, c->map_index);
        r0->uid = c->map_uid;
        break;
    case TN_RK_SOCK:
        *r0 = tn_reg_pointer(form->n, 0);
        break;
    case TN_RK_RECORD:
        *r0 = tn_reg_pointer(TN_REG_MEM, c->size);
        r0->flags = TN_PTR_RINGBUF;
        break;
    case TN_RK_BTF:
        err = result_typed(v, c, form);
        break;
    case TN_RK_SLICE:
        *r0 = tn_reg_pointer(TN_REG_MEM, c->size);
        tn_dynptr_slice(&c->dynptr, r0);
        break;
    case TN_RK_PERCPU:
        err = result_percpu(v, c);
        break;
    case TN_RK_KPTR:
        return tn_kptr_taken(v, c->kptr);
    }
    if (err)
        return err;
    if (form->kind == TN_RK_VALUE && (!form->null || found_surely(c))) {
        if (tn_reg_has_lock(v, r0)) /* by it an unlock will know the lock's owner */
            r0->id = ++v->next_id;
    } else if (form->null) {
        r0->flags |= TN_PTR_MAYBE_NULL;
        r0->id = ++v->next_id;
    } else if (form->kind == TN_RK_VALUE && tn_reg_has_lock(v, r0)) {
        r0->id = ++v->next_id; /* each look-up finds another lock */
    }
    if (c->proto->flags & TN_PF_CASTS)
        r0->ref = c->use.ref;
    if (form->kind == TN_RK_VALUE && tn_vmap_by_type(c->map->geo.type)->found == TN_FOUND_SOCKET)
        return tn_ref_lend(v, r0);
    if (c->proto->flags & TN_PF_ACQUIRES || form->kind == TN_RK_RECORD)
        err = tn_ref_lend(v, r0);
    return err;
}

/* What a look-up found is no value, but what the value stands for. */
void tn_call_found(const struct vf *v, struct tn_reg *reg, u32 id)
{
    const struct tn_vmap *type;

    if (reg->kind != TN_REG_MAP_VALUE || reg->uid)
        return;
    type = tn_vmap_by_type(v->in->maps[reg->obj].geo.type);
    switch (type ? type->found : TN_FOUND_VALUE) {
    case TN_FOUND_MAP:
        reg->kind = TN_REG_MAP;
        reg->uid = id;
        break;
    case TN_FOUND_SOCKET:
        reg->kind = TN_REG_SOCKET;
        reg->obj = 0;
        break;
    case TN_FOUND_XDP_SOCK:
        reg->kind = TN_REG_XDP_SOCK;
        reg->obj = 0;
        break;
    default:
        break;
    }
}

static void clobber_args(struct vf *v)
{
    for (u32 r = 0; r <= 5; r++)
        *vf_reg(v, r) = (struct tn_reg){0};
}

int tn_call_helper(struct vf *v, const struct bpf_insn *i)
{
    struct tn_helper_call c = {.proto =
                                   tn_proto_for((u32)i->imm, v->in->prog_type, v->in->expected_attach_type)};
    struct tn_call question = {.helper_id = (u32)i->imm, .insn = v->pc};
    struct tn_call_facts facts = {INT64_MIN, INT64_MAX};
    struct tn_error denied;
    char func[64] = "";
    int err;

    if (!c.proto)
        return unknown_helper(v, (u32)i->imm);
    err = check_allowed(v, c.proto);
    if (!err)
        err = tn_args_check(v, &c);
    if (!err)
        err = check_rules(v, &c);
    if (err)
        return err;
    vf_error_empty(&denied);
    if (v->auth->may_call(v->auth->self, &question, &facts, &denied))
        return vf_refuse_denied(v, TN_REASON_call_denied, &denied);
    err = c.proto->id == TN_PROTO_override_return ? tn_prog_answer(v, 2, false) : 0;
    if (err)
        return err;
    if (c.use.release || c.kptr) /* else nobody speaks of it */
        snprintf(func, sizeof(func), "%s#%u", c.proto->name, c.proto->id);
    err = c.kptr ? tn_kptr_given(v, &c.use, func) : tn_ref_arg_done(v, &c.use, func);
    if (err)
        return err;
    err = tn_callback_call(v, &c);
    if (err)
        return err;
    if (c.proto->flags & TN_PF_CHANGES ||
        (c.proto->id == TN_PROTO_dynptr_write && tn_dynptr_is_packet(&c.dynptr)))
        tn_packet_invalidate(v);
    c.percpu = *vf_reg(v, 1);
    clobber_args(v);
    note_call(v, &c);
    return set_result(v, &c, &facts);
}
