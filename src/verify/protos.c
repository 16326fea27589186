/* SPDX-License-Identifier: MIT */
/* The rows of protos.h as data, found by number; and the names of program types
   that they are written with. */
#include "verify/protos.h"

#include <linux/bpf.h>

#include "verify/state.h"

/* Program types by their numbers (older headers lack the last ones); then what only some programs of a type
   are, told by how they attach. */
#define T(n)                    (1ull << (n))
#define SOCKET_FILTER           T(1)
#define KPROBE                  T(2)
#define TC                      (T(3) | T(4)) /* classifier and action */
#define TRACEPOINT              T(5)
#define XDP                     T(6)
#define PERF_EVENT              T(7)
#define CGROUP_SKB              T(8)
#define CGROUP_SOCK             T(9)
#define LWT_IN                  T(10)
#define LWT_OUT                 T(11)
#define LWT_XMIT                T(12)
#define SOCK_OPS                T(13)
#define SK_SKB                  T(14)
#define CGROUP_DEVICE           T(15)
#define SK_MSG                  T(16)
#define RAW_TRACEPOINT          T(17)
#define CGROUP_SOCK_ADDR        T(18)
#define LWT_SEG6LOCAL           T(19)
#define LIRC_MODE2              T(20)
#define SK_REUSEPORT            T(21)
#define FLOW_DISSECTOR          T(22)
#define CGROUP_SYSCTL           T(23)
#define RAW_TRACEPOINT_WRITABLE T(24)
#define CGROUP_SOCKOPT          T(25)
#define TRACING                 T(26)
#define STRUCT_OPS              T(27)
#define LSM                     T(29)
#define SK_LOOKUP               T(30)
#define SYSCALL                 T(31)
#define NETFILTER               T(32)

#define ITER       T(40) /* TRACING, as an iterator */
#define TRAMPOLINE T(41) /* entered through a trampoline: fentry, fexit, fmod_ret, LSM */
#define RETURNING  T(42) /* … that knows the result */
#define BTF_RAW_TP T(43) /* TRACING, at a raw tracepoint */

#define LWT   (LWT_IN | LWT_OUT | LWT_XMIT | LWT_SEG6LOCAL)
#define TYPED (TRACING | LSM | SYSCALL)
#define TRACE (KPROBE | TRACEPOINT | PERF_EVENT | RAW_TRACEPOINT | RAW_TRACEPOINT_WRITABLE | TYPED)
#define NET                                                                                                  \
    (SOCKET_FILTER | TC | XDP | CGROUP_SKB | CGROUP_SOCK | LWT | SOCK_OPS | SK_SKB | SK_MSG |                \
     CGROUP_SOCK_ADDR | SK_REUSEPORT | FLOW_DISSECTOR | CGROUP_SOCKOPT | SK_LOOKUP | NETFILTER)
#define BASE    (NET | TRACE | CGROUP_DEVICE | CGROUP_SYSCTL | STRUCT_OPS)
/* Linux calls it "direct packet access for helpers". */
#define PACKETS (TC | XDP | LWT | SK_SKB | SK_MSG | CGROUP_SKB | SK_REUSEPORT | FLOW_DISSECTOR)

/* Groups that one family of helpers needs. */
#define EVENTS (BASE & ~(SK_REUSEPORT | FLOW_DISSECTOR | NETFILTER | STRUCT_OPS))
#define COOKIES                                                                                              \
    (KPROBE | TRACEPOINT | PERF_EVENT | RAW_TRACEPOINT | RAW_TRACEPOINT_WRITABLE | BTF_RAW_TP | TRAMPOLINE)
#define SKB_READ (SOCKET_FILTER | TC | CGROUP_SKB | LWT | SK_SKB | SK_REUSEPORT | FLOW_DISSECTOR)
#define CGROUP                                                                                               \
    (CGROUP_SKB | CGROUP_SOCK | SOCK_OPS | CGROUP_DEVICE | CGROUP_SOCK_ADDR | CGROUP_SYSCTL | CGROUP_SOCKOPT)
#define SK_STORES  (TC | CGROUP_SKB | SOCK_OPS | SK_MSG | CGROUP_SOCK_ADDR | CGROUP_SOCKOPT | LSM | STRUCT_OPS)
#define SK_HOLDERS (TC | XDP | CGROUP_SKB | SK_SKB | CGROUP_SOCK_ADDR | SK_LOOKUP)
#define SK_COOKIES (SOCKET_FILTER | TC | CGROUP_SKB | CGROUP_SOCK | SOCK_OPS | SK_SKB | CGROUP_SOCK_ADDR)
#define SK_CASTS   (SOCKET_FILTER | SK_HOLDERS | LWT | SOCK_OPS | SK_MSG | FLOW_DISSECTOR | TYPED)
#define NETNS                                                                                                \
    (SOCKET_FILTER | TC | CGROUP_SKB | CGROUP_SOCK | SOCK_OPS | SK_MSG | CGROUP_SOCK_ADDR | CGROUP_SOCKOPT)
#define COARSE ((NET & ~(CGROUP_SOCKOPT | NETFILTER)) | CGROUP_SYSCTL)

/* The words of TN_PROTO_FLAGS. */
enum {
#define F(word) word = TN_PF_##word,
    TN_PROTO_FLAGS(F)
#undef F
};

enum arg_word {
#define A(word, ...) ARG_##word,
    TN_ARG_FORMS(A)
#undef A
};
enum ret_word {
#define R(word, ...) RET_##word,
    TN_RET_FORMS(R)
#undef R
};
#define A(word, kind, flags, n)         [ARG_##word] = {TN_AK_##kind, flags, n},
#define R(word, kind, null, trusted, n) [RET_##word] = {TN_RK_##kind, null, trusted, n},
static const struct tn_arg_form arg_forms[] = {TN_ARG_FORMS(A)};
static const struct tn_ret_form ret_forms[] = {TN_RET_FORMS(R)};
#undef A
#undef R

static const struct tn_proto protos[] = {
#define P(id, name, ret, a1, a2, a3, a4, a5, flags, where)                                                   \
    {id, "bpf_" #name, RET_##ret, {ARG_##a1, ARG_##a2, ARG_##a3, ARG_##a4, ARG_##a5}, flags, where},
    TN_PROTOS(P, P)
#undef P
};

const struct tn_arg_form *tn_proto_arg(const struct tn_proto *proto, u32 arg)
{
    return &arg_forms[proto->arg[arg - 1]];
}

const struct tn_ret_form *tn_proto_ret(const struct tn_proto *proto)
{
    return &ret_forms[proto->ret];
}

u32 tn_proto_nargs(const struct tn_proto *proto)
{
    u32 n = 0;

    while (n < 5 && proto->arg[n] != ARG__)
        n++;
    return n;
}

static u64 where_of(u32 prog_type, u32 attach_type)
{
    u64 where = prog_type < 40 ? T(prog_type) : 0;

    if (where & LSM)
        return where | TRAMPOLINE | RETURNING;
    if (where & TRACING) {
        switch (attach_type) {
        case BPF_TRACE_ITER:
            return where | ITER;
        case BPF_TRACE_RAW_TP:
            return where | BTF_RAW_TP;
        case BPF_TRACE_FENTRY:
            return where | TRAMPOLINE;
        case BPF_TRACE_FEXIT:
        case BPF_MODIFY_RETURN:
            return where | TRAMPOLINE | RETURNING;
        default:
            return where;
        }
    }
    return where;
}

/* Rows stand in the order of their numbers. */
const struct tn_proto *tn_proto_by_id(u32 id)
{
    size_t low = 0, high = TN_ARRAY_SIZE(protos);

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (protos[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < TN_ARRAY_SIZE(protos) && protos[low].id == id ? &protos[low] : NULL;
}

const struct tn_proto *tn_proto_for(u32 id, u32 prog_type, u32 attach_type)
{
    const struct tn_proto *proto = tn_proto_by_id(id);
    u64 where = where_of(prog_type, attach_type);

    for (; proto && proto < protos + TN_ARRAY_SIZE(protos) && proto->id == id; proto++)
        if (proto->where & where)
            return proto;
    return NULL;
}

const char *tn_proto_name(u32 id)
{
    const struct tn_proto *proto = tn_proto_by_id(id);

    return proto ? proto->name : id ? "unknown" : "bpf_unspec";
}

const char *tn_proto_type_name(u32 type)
{
    static const char *const names[] = {
#define B(word, name) [TN_BTF_OF_##word] = name,
        TN_PROTO_TYPES(B)
#undef B
    };

    return type < TN_ARRAY_SIZE(names) ? names[type] : "";
}

bool tn_proto_takes_packets(u32 prog_type, const struct tn_proto *proto)
{
    u64 where = where_of(prog_type, 0);

    return (where & CGROUP_SOCKOPT) || ((where & PACKETS) && (proto->flags & TN_PF_PKT));
}
