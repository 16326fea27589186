/* SPDX-License-Identifier: MIT */
/*
 * Every helper of Linux is a function capability of its own name; groups of them follow from their rows
 * (verify/protos.h): what a helper can do to whom.
 *
 *      local    looks at the run, the thread, the clock, or computes
 *      shared   works on maps, ring buffers and dynptrs: memory between processes
 *      result   changes what the host's function returns, or whether it runs
 *      kernel   everything else: sockets, packets, files, cgroups, signals, the kernel's own memory
 *
 * In no group: what takes an untyped address of the process. Those are read(process) and write(process).
 */
#include "eim/bind.h"
#include "verify/kfuncs.h"
#include "verify/protos.h"

/* G(name, what it holds) */
#define GROUPS(G)                                                                                            \
    G(local)                                                                                                 \
    G(shared)                                                                                                \
    G(result)                                                                                                \
    G(kernel)
enum group {
#define G(name) GROUP_##name,
    GROUPS(G)
#undef G
        GROUP_COUNT,
    GROUP_NONE = GROUP_COUNT
};
static const char *const group_names[] = {
#define G(name) #name,
    GROUPS(G)
#undef G
};

/* Where the rule below would say something else. X(helper, group) */
// clang-format off
#define EXCEPTIONS(X)                                                                                        \
    X(override_return,    result) X(set_retval,        result) X(get_retval,         local)                  \
    X(get_func_arg,       local)  X(get_func_ret,      local)  X(get_func_arg_cnt,   local)                  \
    X(get_func_ip,        local)  X(get_attach_cookie, local)  X(get_current_comm,   local)                  \
    X(get_stackid,        shared) X(get_stack,         local)  X(tail_call,          local)                  \
    X(trace_printk,       kernel) X(trace_vprintk,     kernel) X(snprintf,           local)                  \
    X(strtol,             local)  X(strtoul,           local)  X(strncmp,            local)                  \
    X(loop,               local)  X(csum_diff,         local)  X(get_current_task,   kernel)                 \
    X(get_current_task_btf, kernel) X(send_signal,     kernel) X(send_signal_thread, kernel)                 \
    X(get_current_cgroup_id, kernel) X(get_current_ancestor_cgroup_id, kernel)                               \
    X(perf_event_read,    kernel) X(perf_event_read_value, kernel) X(perf_event_output, shared)              \
    X(ringbuf_submit,     shared) X(ringbuf_discard,   shared) X(ringbuf_submit_dynptr, shared)              \
    X(ringbuf_discard_dynptr, shared) X(dynptr_read,   shared) X(dynptr_write,       shared)                 \
    X(dynptr_data,        shared) X(dynptr_from_mem,   shared) X(spin_lock,          shared)                 \
    X(spin_unlock,        shared) X(timer_init,        shared) X(timer_set_callback, shared)                 \
    X(timer_start,        shared) X(timer_cancel,      shared) X(kptr_xchg,          shared)                 \
    X(per_cpu_ptr,        kernel) X(this_cpu_ptr,      kernel) X(sys_bpf,            kernel)                 \
    X(sys_close,          kernel) X(set_hash_invalid,  kernel) X(redirect,           kernel)                 \
    X(current_task_under_cgroup, kernel)
// clang-format on

static enum group group_of(const struct tn_proto *p)
{
    bool map = false, other = false;

    if (p->flags & TN_PF_PROCESS || p->id == TN_PROTO_copy_from_user ||
        p->id == TN_PROTO_copy_from_user_task || p->id == TN_PROTO_probe_read_kernel ||
        p->id == TN_PROTO_probe_read_kernel_str)
        return GROUP_NONE;
    switch (p->id) {
#define X(helper, group)                                                                                     \
    case TN_PROTO_##helper:                                                                                  \
        return GROUP_##group;
        EXCEPTIONS(X)
#undef X
    default:
        break;
    }
    for (u32 a = 1; a <= tn_proto_nargs(p); a++) {
        switch (tn_proto_arg(p, a)->kind) {
        case TN_AK_MAP:
            map = true;
            break;
        case TN_AK_KEY:
        case TN_AK_VALUE:
        case TN_AK_MEM:
        case TN_AK_SIZE:
        case TN_AK_ALLOC:
        case TN_AK_ANY:
        case TN_AK_SCALAR:
        case TN_AK_FUNC:
        case TN_AK_STACK:
        case TN_AK_DYNPTR:
            break;
        default:
            other = true;
            break;
        }
    }
    if (map && !other)
        return GROUP_shared;
    return tn_proto_nargs(p) || other ? GROUP_kernel : GROUP_local;
}

u32 tn_helper_named(const char *name)
{
    for (u32 id = 1; id < TN_PROTO_END; id++) {
        const struct tn_proto *p = tn_proto_by_id(id);

        if (p && (!strcmp(p->name, name) || !strcmp(p->name + 4, name)))
            return id;
    }
    return 0;
}

bool tn_kfunc_named(const char *name)
{
    return tn_kfunc_find(name);
}

bool tn_helper_group(const char *name, u64 bits[TN_HELPER_WORDS])
{
    _Static_assert((int)TN_PROTO_END <= (int)TN_HELPER_BITS, "a bit for each helper");

    for (u32 g = 0; g < GROUP_COUNT; g++) {
        if (strcmp(group_names[g], name) != 0)
            continue;
        for (u32 id = 1; id < TN_PROTO_END; id++) {
            const struct tn_proto *p = tn_proto_by_id(id);

            if (p && group_of(p) == (enum group)g)
                bits[id / 64] |= 1ull << id % 64;
        }
        return true;
    }
    return false;
}

const char *tn_helper_group_name(u32 k)
{
    return k < GROUP_COUNT ? group_names[k] : NULL;
}

void tn_helper_offer(struct tn_nearest *near)
{
    for (u32 id = 1; id < TN_PROTO_END; id++)
        if (tn_proto_by_id(id))
            tn_nearest_offer(near, tn_proto_by_id(id)->name);
}

/* Functions that the house offers by type (verify/kfuncs.h), by how their names begin.
   X(prefix, group) */
// clang-format off
#define KFUNC_GROUPS(X)                                                                                      \
    X("bpf_iter_num_",  local)  X("bpf_iter_bits_",    local)  X("bpf_str",         local)                   \
    X("bpf_rcu_read_",  local)  X("bpf_preempt_",      local)  X("bpf_local_irq_",  local)                   \
    X("bpf_dynptr_",    shared) X("bpf_arena_",        shared) X("bpf_list_",       shared)                  \
    X("bpf_rbtree_",    shared) X("bpf_obj_",          shared) X("bpf_refcount_",   shared)                  \
    X("bpf_percpu_obj_", shared) X("bpf_res_spin_",    shared) X("bpf_map_sum_elem_count", shared)           \
    X("bpf_ringbuf_",   shared)
/* They make a pointer, or read memory, out of an address that no type stands behind. */
#define ADDRESS_KFUNCS(X)                                                                                    \
    X("bpf_rdonly_cast") X("bpf_probe_read_") X("bpf_copy_from_user_")
// clang-format on

int tn_helper_group_number(const char *name)
{
    for (u32 g = 0; g < GROUP_COUNT; g++)
        if (!strcmp(group_names[g], name))
            return (int)g;
    return -1;
}

int tn_kfunc_group(const char *name)
{
    static const struct {
        const char *prefix;
        enum group group;
    } rows[] = {
#define X(prefix, group) {prefix, GROUP_##group},
        KFUNC_GROUPS(X)
#undef X
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
        if (!strncmp(name, rows[k].prefix, strlen(rows[k].prefix)))
            return (int)rows[k].group;
    return -1;
}

bool tn_kfunc_takes_address(const char *name)
{
    static const char *const rows[] = {
#define X(prefix) prefix,
        ADDRESS_KFUNCS(X)
#undef X
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++)
        if (!strncmp(name, rows[k], strlen(rows[k])))
            return true;
    return false;
}
