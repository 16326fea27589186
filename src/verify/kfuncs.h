/* SPDX-License-Identifier: MIT */
/*
 * Functions of the host that programs may call by type (kfuncs): a row each, as Linux 6.18 offers them to the
 * types of programs that a process can host. What their arguments are is told by their prototypes in the
 * host's BTF and by the endings of the arguments' names (kfunc.c); what is not told there is told here.
 *
 * K(name, set, what is special, flags)
 *
 *   flags   ACQUIRE    the result has to be given back   RELEASE        the argument is given back
 *           RET_NULL   the result may be NULL            TRUSTED_ARGS   pointers are valid, not NULL
 *           RCU        … or valid in this RCU section    RCU_PROTECTED  an iterator good inside one only
 *           SLEEPABLE  may sleep                         ITER_NEW, ITER_NEXT, ITER_DESTROY of an iterator
 *
 * To add one that needs nothing special: a row. The prototype has to be in the host's BTF.
 */
#ifndef TN_VERIFY_KFUNCS_H
#define TN_VERIFY_KFUNCS_H

#include "base/base.h"

// clang-format off
/* Which types of programs may call the functions of a set. S(set, types…) with BPF_PROG_TYPE_… left out. */
#define TN_KFUNC_SETS(S)                                                                                     \
    S(COMMON,    A(SOCKET_FILTER) A(KPROBE) A(SCHED_CLS) A(SCHED_ACT) A(TRACEPOINT) A(XDP) A(PERF_EVENT)     \
                 A(RAW_TRACEPOINT) A(RAW_TRACEPOINT_WRITABLE) A(TRACING) A(SYSCALL))                         \
    S(GENERIC,   A(SCHED_CLS) A(TRACEPOINT) A(XDP) A(PERF_EVENT) A(TRACING) A(SYSCALL))                      \
    S(CPUMASK,   A(TRACEPOINT) A(PERF_EVENT) A(TRACING) A(SYSCALL))                                          \
    S(TRACE,     A(TRACEPOINT) A(PERF_EVENT) A(TRACING))                                                     \
    S(SETUP,     A(SYSCALL))                                                                                 \
    S(CRYPTO,    A(SCHED_CLS) A(SCHED_ACT) A(XDP))                                                           \
    S(CONNTRACK, A(SCHED_CLS) A(XDP))                                                                        \
    S(PACKET,    A(SOCKET_FILTER) A(SCHED_CLS) A(SCHED_ACT) A(TRACEPOINT) A(PERF_EVENT) A(TRACING))          \
    S(CLASSIFY,  A(SCHED_CLS) A(SCHED_ACT))                                                                  \
    S(XDP,       A(XDP))                                                                                     \
    S(CLS,       A(SCHED_CLS))                                                                               \
    S(TEST,      A(SCHED_CLS) A(TRACEPOINT) A(PERF_EVENT) A(TRACING) A(SYSCALL))                             \
    S(SESSION,   A(KPROBE))    /* of sessions only */                                                        \
    S(ITER,      A(TRACING))   /* iterators only */

#define TN_KFUNCS(K) \
    K(__bpf_trap,                          COMMON,    TRAP,           NONE)                                    \
    K(bpf_arena_alloc_pages,               COMMON,    NONE,           TRUSTED_ARGS | SLEEPABLE)                \
    K(bpf_arena_free_pages,                COMMON,    NONE,           TRUSTED_ARGS | SLEEPABLE)                \
    K(bpf_arena_reserve_pages,             COMMON,    NONE,           TRUSTED_ARGS | SLEEPABLE)                \
    K(bpf_cast_to_kern_ctx,                COMMON,    CAST_CTX,       NONE)                                    \
    K(bpf_cgroup_read_xattr,               COMMON,    NONE,           RCU)                                     \
    K(bpf_copy_from_user_dynptr,           COMMON,    NONE,           SLEEPABLE)                               \
    K(bpf_copy_from_user_str,              COMMON,    NONE,           SLEEPABLE)                               \
    K(bpf_copy_from_user_str_dynptr,       COMMON,    NONE,           SLEEPABLE)                               \
    K(bpf_copy_from_user_task_dynptr,      COMMON,    NONE,           TRUSTED_ARGS | SLEEPABLE)                \
    K(bpf_copy_from_user_task_str,         COMMON,    NONE,           SLEEPABLE)                               \
    K(bpf_copy_from_user_task_str_dynptr,  COMMON,    NONE,           TRUSTED_ARGS | SLEEPABLE)                \
    K(bpf_dynptr_adjust,                   COMMON,    NONE,           NONE)                                    \
    K(bpf_dynptr_clone,                    COMMON,    CLONE,          NONE)                                    \
    K(bpf_dynptr_copy,                     COMMON,    NONE,           NONE)                                    \
    K(bpf_dynptr_is_null,                  COMMON,    NONE,           NONE)                                    \
    K(bpf_dynptr_is_rdonly,                COMMON,    NONE,           NONE)                                    \
    K(bpf_dynptr_memset,                   COMMON,    NONE,           NONE)                                    \
    K(bpf_dynptr_size,                     COMMON,    NONE,           NONE)                                    \
    K(bpf_dynptr_slice,                    COMMON,    SLICE,          RET_NULL)                                \
    K(bpf_dynptr_slice_rdwr,               COMMON,    SLICE_RDWR,     RET_NULL)                                \
    K(bpf_get_kmem_cache,                  COMMON,    KMEM_CACHE,     NONE)                                    \
    K(bpf_iter_bits_destroy,               COMMON,    NONE,           ITER_DESTROY)                            \
    K(bpf_iter_bits_new,                   COMMON,    NONE,           ITER_NEW)                                \
    K(bpf_iter_bits_next,                  COMMON,    NONE,           ITER_NEXT | RET_NULL)                    \
    K(bpf_iter_css_destroy,                COMMON,    NONE,           ITER_DESTROY)                            \
    K(bpf_iter_css_new,                    COMMON,    NONE,           ITER_NEW | TRUSTED_ARGS | RCU_PROTECTED) \
    K(bpf_iter_css_next,                   COMMON,    NONE,           ITER_NEXT | RET_NULL)                    \
    K(bpf_iter_css_task_destroy,           COMMON,    NONE,           ITER_DESTROY)                            \
    K(bpf_iter_css_task_new,               COMMON,    CSS_TASK,       ITER_NEW | TRUSTED_ARGS)                 \
    K(bpf_iter_css_task_next,              COMMON,    NONE,           ITER_NEXT | RET_NULL)                    \
    K(bpf_iter_dmabuf_destroy,             COMMON,    NONE,           ITER_DESTROY | SLEEPABLE)                \
    K(bpf_iter_dmabuf_new,                 COMMON,    NONE,           ITER_NEW | SLEEPABLE)                    \
    K(bpf_iter_dmabuf_next,                COMMON,    NONE,           ITER_NEXT | RET_NULL | SLEEPABLE)        \
    K(bpf_iter_kmem_cache_destroy,         COMMON,    NONE,           ITER_DESTROY | SLEEPABLE)                \
    K(bpf_iter_kmem_cache_new,             COMMON,    NONE,           ITER_NEW | SLEEPABLE)                    \
    K(bpf_iter_kmem_cache_next,            COMMON,    NONE,           ITER_NEXT | RET_NULL | SLEEPABLE)        \
    K(bpf_iter_num_destroy,                COMMON,    NONE,           ITER_DESTROY)                            \
    K(bpf_iter_num_new,                    COMMON,    NONE,           ITER_NEW)                                \
    K(bpf_iter_num_next,                   COMMON,    NONE,           ITER_NEXT | RET_NULL)                    \
    K(bpf_iter_task_destroy,               COMMON,    NONE,           ITER_DESTROY)                            \
    K(bpf_iter_task_new,                   COMMON,    NONE,           ITER_NEW | TRUSTED_ARGS | RCU_PROTECTED) \
    K(bpf_iter_task_next,                  COMMON,    NONE,           ITER_NEXT | RET_NULL)                    \
    K(bpf_iter_task_vma_destroy,           COMMON,    NONE,           ITER_DESTROY)                            \
    K(bpf_iter_task_vma_new,               COMMON,    NONE,           ITER_NEW | RCU)                          \
    K(bpf_iter_task_vma_next,              COMMON,    NONE,           ITER_NEXT | RET_NULL)                    \
    K(bpf_local_irq_restore,               COMMON,    IRQ_RESTORE,    NONE)                                    \
    K(bpf_local_irq_save,                  COMMON,    IRQ_SAVE,       NONE)                                    \
    K(bpf_map_sum_elem_count,              COMMON,    NONE,           TRUSTED_ARGS)                            \
    K(bpf_modify_return_test_tp,           COMMON,    NONE,           NONE)                                    \
    K(bpf_preempt_disable,                 COMMON,    PREEMPT_OFF,    NONE)                                    \
    K(bpf_preempt_enable,                  COMMON,    PREEMPT_ON,     NONE)                                    \
    K(bpf_probe_read_kernel_dynptr,        COMMON,    NONE,           NONE)                                    \
    K(bpf_probe_read_kernel_str_dynptr,    COMMON,    NONE,           NONE)                                    \
    K(bpf_probe_read_user_dynptr,          COMMON,    NONE,           NONE)                                    \
    K(bpf_probe_read_user_str_dynptr,      COMMON,    NONE,           NONE)                                    \
    K(bpf_rcu_read_lock,                   COMMON,    RCU_LOCK,       NONE)                                    \
    K(bpf_rcu_read_unlock,                 COMMON,    RCU_UNLOCK,     NONE)                                    \
    K(bpf_rdonly_cast,                     COMMON,    RDONLY_CAST,    NONE)                                    \
    K(bpf_res_spin_lock,                   COMMON,    RES_LOCK,       RET_NULL)                                \
    K(bpf_res_spin_lock_irqsave,           COMMON,    RES_LOCK_IRQ,   RET_NULL)                                \
    K(bpf_res_spin_unlock,                 COMMON,    RES_UNLOCK,     NONE)                                    \
    K(bpf_res_spin_unlock_irqrestore,      COMMON,    RES_UNLOCK_IRQ, NONE)                                    \
    K(bpf_strcasecmp,                      COMMON,    NONE,           NONE)                                    \
    K(bpf_strchr,                          COMMON,    NONE,           NONE)                                    \
    K(bpf_strchrnul,                       COMMON,    NONE,           NONE)                                    \
    K(bpf_strcmp,                          COMMON,    NONE,           NONE)                                    \
    K(bpf_strcspn,                         COMMON,    NONE,           NONE)                                    \
    K(bpf_stream_vprintk_impl,             COMMON,    NONE,           TRUSTED_ARGS)                            \
    K(bpf_strlen,                          COMMON,    NONE,           NONE)                                    \
    K(bpf_strnchr,                         COMMON,    NONE,           NONE)                                    \
    K(bpf_strnlen,                         COMMON,    NONE,           NONE)                                    \
    K(bpf_strnstr,                         COMMON,    NONE,           NONE)                                    \
    K(bpf_strrchr,                         COMMON,    NONE,           NONE)                                    \
    K(bpf_strspn,                          COMMON,    NONE,           NONE)                                    \
    K(bpf_strstr,                          COMMON,    NONE,           NONE)                                    \
    K(bpf_task_work_schedule_resume_impl,  COMMON,    TASK_WORK,      TRUSTED_ARGS)                            \
    K(bpf_task_work_schedule_signal_impl,  COMMON,    TASK_WORK,      TRUSTED_ARGS)                            \
    K(bpf_wq_init,                         COMMON,    NONE,           NONE)                                    \
    K(bpf_wq_set_callback_impl,            COMMON,    ASYNC,          NONE)                                    \
    K(bpf_wq_start,                        COMMON,    NONE,           NONE)                                    \
    K(bpf_xdp_metadata_rx_hash,            COMMON,    DEVICE,         NONE)                                    \
    K(bpf_xdp_metadata_rx_timestamp,       COMMON,    DEVICE,         NONE)                                    \
    K(bpf_xdp_metadata_rx_vlan_tag,        COMMON,    DEVICE,         NONE)                                    \
    K(bpf_cgroup_acquire,                  GENERIC,   NONE,           ACQUIRE | RCU | RET_NULL)                \
    K(bpf_cgroup_ancestor,                 GENERIC,   NONE,           ACQUIRE | RCU | RET_NULL)                \
    K(bpf_cgroup_from_id,                  GENERIC,   NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_cgroup_release,                  GENERIC,   NONE,           RELEASE)                                 \
    K(bpf_key_put,                         GENERIC,   NONE,           RELEASE)                                 \
    K(bpf_list_back,                       GENERIC,   LIST_PEEK,      RET_NULL)                                \
    K(bpf_list_front,                      GENERIC,   LIST_PEEK,      RET_NULL)                                \
    K(bpf_list_pop_back,                   GENERIC,   LIST_POP,       ACQUIRE | RET_NULL)                      \
    K(bpf_list_pop_front,                  GENERIC,   LIST_POP,       ACQUIRE | RET_NULL)                      \
    K(bpf_list_push_back_impl,             GENERIC,   LIST_PUSH,      NONE)                                    \
    K(bpf_list_push_front_impl,            GENERIC,   LIST_PUSH,      NONE)                                    \
    K(bpf_lookup_system_key,               GENERIC,   NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_lookup_user_key,                 GENERIC,   NONE,           ACQUIRE | RET_NULL | SLEEPABLE)          \
    K(bpf_obj_drop_impl,                   GENERIC,   OBJ_DROP,       RELEASE)                                 \
    K(bpf_obj_new_impl,                    GENERIC,   OBJ_NEW,        ACQUIRE | RET_NULL)                      \
    K(bpf_percpu_obj_drop_impl,            GENERIC,   PERCPU_DROP,    RELEASE)                                 \
    K(bpf_percpu_obj_new_impl,             GENERIC,   PERCPU_NEW,     ACQUIRE | RET_NULL)                      \
    K(bpf_rbtree_add_impl,                 GENERIC,   RB_ADD,         NONE)                                    \
    K(bpf_rbtree_first,                    GENERIC,   RB_PEEK,        RET_NULL)                                \
    K(bpf_rbtree_left,                     GENERIC,   RB_PEEK,        RET_NULL)                                \
    K(bpf_rbtree_remove,                   GENERIC,   RB_REMOVE,      ACQUIRE | RET_NULL)                      \
    K(bpf_rbtree_right,                    GENERIC,   RB_PEEK,        RET_NULL)                                \
    K(bpf_rbtree_root,                     GENERIC,   RB_PEEK,        RET_NULL)                                \
    K(bpf_refcount_acquire_impl,           GENERIC,   REFCOUNT,       ACQUIRE | RCU | RET_NULL)                \
    K(bpf_send_signal_task,                GENERIC,   NONE,           TRUSTED_ARGS)                            \
    K(bpf_task_acquire,                    GENERIC,   NONE,           ACQUIRE | RCU | RET_NULL)                \
    K(bpf_task_from_pid,                   GENERIC,   NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_task_from_vpid,                  GENERIC,   NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_task_get_cgroup1,                GENERIC,   NONE,           ACQUIRE | RCU | RET_NULL)                \
    K(bpf_task_release,                    GENERIC,   NONE,           RELEASE)                                 \
    K(bpf_task_under_cgroup,               GENERIC,   NONE,           RCU)                                     \
    K(bpf_throw,                           GENERIC,   THROW,          NONE)                                    \
    K(bpf_cpumask_acquire,                 CPUMASK,   NONE,           ACQUIRE | TRUSTED_ARGS)                  \
    K(bpf_cpumask_and,                     CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_any_and_distribute,      CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_any_distribute,          CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_clear,                   CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_clear_cpu,               CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_copy,                    CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_create,                  CPUMASK,   NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_cpumask_empty,                   CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_equal,                   CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_first,                   CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_first_and,               CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_first_zero,              CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_full,                    CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_intersects,              CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_or,                      CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_populate,                CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_release,                 CPUMASK,   NONE,           RELEASE)                                 \
    K(bpf_cpumask_set_cpu,                 CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_setall,                  CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_subset,                  CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_test_and_clear_cpu,      CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_test_and_set_cpu,        CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_test_cpu,                CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_weight,                  CPUMASK,   NONE,           RCU)                                     \
    K(bpf_cpumask_xor,                     CPUMASK,   NONE,           RCU)                                     \
    K(css_rstat_flush,                     TRACE,     NONE,           SLEEPABLE)                               \
    K(css_rstat_updated,                   TRACE,     NONE,           NONE)                                    \
    K(bpf_crypto_ctx_acquire,              SETUP,     NONE,           ACQUIRE | RCU | RET_NULL)                \
    K(bpf_crypto_ctx_create,               SETUP,     NONE,           ACQUIRE | RET_NULL | SLEEPABLE)          \
    K(bpf_crypto_ctx_release,              SETUP,     NONE,           RELEASE)                                 \
    K(bpf_crypto_decrypt,                  CRYPTO,    NONE,           RCU)                                     \
    K(bpf_crypto_encrypt,                  CRYPTO,    NONE,           RCU)                                     \
    K(bpf_ct_change_status,                CONNTRACK, NONE,           TRUSTED_ARGS)                            \
    K(bpf_ct_change_timeout,               CONNTRACK, NONE,           TRUSTED_ARGS)                            \
    K(bpf_ct_insert_entry,                 CONNTRACK, NONE,           ACQUIRE | RET_NULL | RELEASE)            \
    K(bpf_ct_release,                      CONNTRACK, NONE,           RELEASE)                                 \
    K(bpf_ct_set_nat_info,                 CONNTRACK, NONE,           TRUSTED_ARGS)                            \
    K(bpf_ct_set_status,                   CONNTRACK, NONE,           TRUSTED_ARGS)                            \
    K(bpf_ct_set_timeout,                  CONNTRACK, NONE,           TRUSTED_ARGS)                            \
    K(bpf_skb_ct_alloc,                    CONNTRACK, NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_skb_ct_lookup,                   CONNTRACK, NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_xdp_ct_alloc,                    CONNTRACK, NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_xdp_ct_lookup,                   CONNTRACK, NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_dynptr_from_skb,                 PACKET,    FROM_SKB,       TRUSTED_ARGS)                            \
    K(bpf_dynptr_from_skb_meta,            CLASSIFY,  FROM_META,      TRUSTED_ARGS)                            \
    K(bpf_dynptr_from_xdp,                 XDP,       FROM_XDP,       NONE)                                    \
    K(bpf_xdp_get_xfrm_state,              XDP,       NONE,           ACQUIRE | RET_NULL)                      \
    K(bpf_xdp_pull_data,                   XDP,       PULL,           NONE)                                    \
    K(bpf_xdp_xfrm_state_release,          XDP,       NONE,           RELEASE)                                 \
    K(bpf_sk_assign_tcp_reqsk,             CLS,       NONE,           TRUSTED_ARGS)                            \
    K(bpf_kfunc_call_memb_release,         TEST,      NONE,           RELEASE)                                 \
    K(bpf_kfunc_call_test_release,         TEST,      NONE,           RELEASE)                                 \
    K(bpf_session_cookie,                  SESSION,   SESSION_COOKIE, NONE)                                    \
    K(bpf_session_is_return,               SESSION,   SESSION,        NONE)                                    \
    K(bpf_sock_destroy,                    ITER,      SOCK_DESTROY,   TRUSTED_ARGS)                           

/* What is special: where a name is needed in kfunc.c. */
#define TN_KFUNC_SPECIALS(X)                                                                                 \
    X(NONE) X(TRAP) X(DEVICE) X(RCU_LOCK) X(RCU_UNLOCK) X(PREEMPT_OFF) X(PREEMPT_ON) X(IRQ_SAVE)             \
    X(IRQ_RESTORE) X(RES_LOCK) X(RES_UNLOCK) X(RES_LOCK_IRQ) X(RES_UNLOCK_IRQ) X(THROW) X(OBJ_NEW)           \
    X(PERCPU_NEW) X(OBJ_DROP) X(PERCPU_DROP) X(REFCOUNT) X(LIST_PUSH) X(LIST_POP) X(LIST_PEEK) X(RB_ADD)     \
    X(RB_REMOVE) X(RB_PEEK) X(CAST_CTX) X(RDONLY_CAST) X(FROM_SKB) X(FROM_XDP) X(FROM_META) X(SLICE)         \
    X(SLICE_RDWR) X(CLONE) X(ASYNC) X(TASK_WORK) X(SESSION) X(SESSION_COOKIE) X(KMEM_CACHE) X(CSS_TASK)      \
    X(PULL) X(SOCK_DESTROY) X(ANSWER) X(COPY)
// clang-format on

enum {
    TN_KF_NONE = 0,
    TN_KF_ACQUIRE = 1 << 0,
    TN_KF_RELEASE = 1 << 1,
    TN_KF_RET_NULL = 1 << 2,
    TN_KF_TRUSTED_ARGS = 1 << 3,
    TN_KF_RCU = 1 << 4,
    TN_KF_RCU_PROTECTED = 1 << 5,
    TN_KF_SLEEPABLE = 1 << 6,
    TN_KF_ITER_NEW = 1 << 7,
    TN_KF_ITER_NEXT = 1 << 8,
    TN_KF_ITER_DESTROY = 1 << 9,
};
enum tn_kfunc_special {
#define X(name) TN_KFUNC_##name,
    TN_KFUNC_SPECIALS(X)
#undef X
};

enum tn_kfunc_set {
#define S(set, types) TN_KFSET_##set,
    TN_KFUNC_SETS(S)
#undef S
};

struct tn_kfunc {
    const char *name;
    u32 types;       /* bit a BPF_PROG_TYPE_… */
    u8 set, special; /* enum tn_kfunc_set, tn_kfunc_special */
    u16 flags;       /* TN_KF_… */
};

/* The row of that name; NULL: none. */
const struct tn_kfunc *tn_kfunc_find(const char *name);

struct bpf_insn;
struct vf;
/* The row of the function that this call names, whatever program asks; NULL: none. */
const struct tn_kfunc *tn_kfunc_of(const struct vf *v, const struct bpf_insn *insn);
/* … may sleep, be it the house's or the host's own. */
bool tn_kfunc_sleeps(const struct vf *v, const struct bpf_insn *insn);
/* *ret_end: what is called does not come back. */
int tn_kfunc_call(struct vf *v, const struct bpf_insn *insn, bool *ret_end);

#endif
