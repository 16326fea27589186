/* SPDX-License-Identifier: MIT */
/* Program types: which there are, what may be asked of them, what they return; see progtype.h. */
#include "verify/progtype.h"

#include <inttypes.h>

#include "verify/ctx.h"
#include "verify/internal.h"

static const struct tn_prog_type types[] = {
#define P(type, number, name, ctx, layout, flags) {number, name, ctx, TN_CTX_##layout, flags},
    TN_PROG_TYPES(P)
#undef P
};

#define P(type, number, ...)                                                                                 \
    _Static_assert((int)BPF_PROG_TYPE_##type == number, "as <linux/bpf.h> numbers it");
TN_PROG_TYPES(P)
#undef P

/* What Linux has besides, for refusals that name it. */
static const char *const names[] = {
    [0] = "unspec",
    [8] = "cgroup_skb",
    [9] = "cgroup_sock",
    [10] = "lwt_in",
    [11] = "lwt_out",
    [12] = "lwt_xmit",
    [13] = "sock_ops",
    [14] = "sk_skb",
    [15] = "cgroup_device",
    [16] = "sk_msg",
    [18] = "cgroup_sock_addr",
    [19] = "lwt_seg6local",
    [20] = "lirc_mode2",
    [21] = "sk_reuseport",
    [22] = "flow_dissector",
    [23] = "cgroup_sysctl",
    [25] = "cgroup_sockopt",
    [27] = "struct_ops",
    [28] = "ext",
    [29] = "lsm",
    [30] = "sk_lookup",
    [32] = "netfilter",
};

const struct tn_prog_type *tn_prog_type_by_id(u32 type)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(types); k++)
        if (types[k].type == type)
            return &types[k];
    return NULL;
}

const char *tn_prog_type_name(u32 type)
{
    const struct tn_prog_type *row = tn_prog_type_by_id(type);

    if (row)
        return row->name;
    return type < TN_ARRAY_SIZE(names) && names[type] ? names[type] : "?";
}

/* ------------------------------------------------------------------------------------------------ at load */

static int check_sleepable(struct vf *v)
{
    u32 attach = v->in->expected_attach_type;
    bool may = v->type->flags & TN_PT_MAY_SLEEP;

    if (v->in->prog_type == BPF_PROG_TYPE_TRACING)
        may = attach == BPF_TRACE_FENTRY || attach == BPF_TRACE_FEXIT || attach == BPF_MODIFY_RETURN ||
              attach == BPF_TRACE_ITER;
    if ((v->type->flags & TN_PT_MUST_SLEEP) && !v->sleepable)
        return vf_refuse(v, 0, TN_REASON_prog_flags,
                         "Syscall programs can only be sleepable: load it with BPF_F_SLEEPABLE");
    if (v->sleepable && !may)
        return vf_refuse(
            v, 0, TN_REASON_prog_flags,
            "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable: "
            "load this %s program without BPF_F_SLEEPABLE",
            v->type->name);
    return 0;
}

int tn_prog_type_check(struct vf *v)
{
    const struct tn_verify_in *in = v->in;

    v->type = tn_prog_type_by_id(in->prog_type);
    if (!v->type)
        return vf_refuse(v, 0, TN_REASON_prog_type,
                         "programs of type %u (%s) are not known here: a process can host none of them",
                         in->prog_type, tn_prog_type_name(in->prog_type));
    if (in->prog_type == BPF_PROG_TYPE_SYSCALL && in->expected_attach_type)
        return vf_refuse(v, 0, TN_REASON_bad_input,
                         "a syscall program has no expected_attach_type, this one says %u",
                         in->expected_attach_type);
    v->sleepable = in->prog_flags & BPF_F_SLEEPABLE;
    v->ret_checked = false;
#define R(t, attach, min, max)                                                                               \
    if (!v->ret_checked && in->prog_type == BPF_PROG_TYPE_##t && in->expected_attach_type == (attach)) {     \
        v->ret_checked = true;                                                                               \
        v->ret_min = (min);                                                                                  \
        v->ret_max = (max);                                                                                  \
    }
    TN_PROG_RESULTS(R)
#undef R
    return check_sleepable(v);
}

/* ------------------------------------------------------------------------------------------------ at exit */

int tn_check_result(struct vf *v, u32 regno, const char *when, s64 min, s64 max)
{
    bool inside = tn_state_top(&v->cur)->callback || tn_state_top(&v->cur)->async;
    const struct tn_reg *reg = vf_reg(v, regno);
    char is[96] = "";
    struct tn_text t = {is, sizeof(is), 0};

    if (reg->kind != TN_REG_SCALAR)
        return vf_refuse(v, v->pc, TN_REASON_return_value,
                         "%s the register R%u is not a known value (%s): return a number in [%lld, %lld]",
                         when, regno, TN_REG_NAME(reg), (long long)min, (long long)max);
    if (reg->r.smin >= min && reg->r.smax <= max)
        return 0;
    if (reg->r.smin > INT64_MIN)
        tn_text_add(&t, " smin=%" PRId64, reg->r.smin);
    if (reg->r.smax < INT64_MAX)
        tn_text_add(&t, " smax=%" PRId64, reg->r.smax);
    if (!is[0])
        tn_text_add(&t, " unknown scalar value");
    return vf_refuse(v, v->pc, TN_REASON_return_value,
                     "%s the register R%u has%s should have been in [%lld, %lld]: return nothing else %s",
                     when, regno, is, (long long)min, (long long)max,
                     inside ? "from a function that is called back" : "from a program of this type");
}

struct tn_call_arg tn_low_half(const struct tn_reg *reg)
{
    return (struct tn_call_arg){.number = true,
                                .min = reg->r.s32min,
                                .max = reg->r.s32max,
                                .umin = reg->r.u32min,
                                .umax = reg->r.u32max};
}

int tn_prog_answer(struct vf *v, u32 regno, bool by_result)
{
    const struct tn_reg *reg = vf_reg(v, regno);
    struct tn_call_answer answer = {.by_result = by_result, .btf_id = v->in->attach_btf_id, .insn = v->pc};
    struct tn_error err = {0};

    if (!v->auth->may_answer)
        return 0;
    answer.value = answer.low = vf_arg_facts(v, reg);
    if (reg->kind == TN_REG_SCALAR) {
        answer.low = tn_low_half(reg);
        tn_track_precise(v, regno);
    }
    return v->auth->may_answer(v->auth->self, &answer, &err)
               ? vf_refuse_denied(v, TN_REASON_call_denied, &err)
               : 0;
}

int tn_prog_result(struct vf *v, u32 regno)
{
    if (v->in->prog_type == BPF_PROG_TYPE_TRACING && v->in->expected_attach_type == BPF_MODIFY_RETURN)
        return tn_prog_answer(v, regno, true);
    return v->ret_checked ? tn_check_result(v, regno, "At program exit", v->ret_min, v->ret_max) : 0;
}
