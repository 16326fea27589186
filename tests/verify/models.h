/* SPDX-License-Identifier: MIT */
/*
 * What helpers do, as the evaluator plays them: a row each.
 *
 *      M(helper, result, what it does with argument 1 … 5, what happens besides)
 *
 *   result    which numbers it may be:   U64 any · U32 of 32 bits · STATUS 0 or an error · COUNT small,
 *             or an error · LENGTH an error, or at most what argument SIZE says · CPU a processor ·
 *             VOID no result · ROUNDS how often it called back
 *             or an address, or NULL:    FOUND an element of MAP · RECORD a reservation of argument 2
 *             bytes, held · SOCKET one that is held · SEEN argument 1 itself · SLICE argument 3 bytes of
 *             the dynptr
 *   argument  READ, FILL, BOTH: as many bytes as the next says are read, written, read and written; …_IF:
 *             or NULL; FILL8, BOTH4, READ20, READ40: so many; KEY, VALUE, FILL_VALUE: of the map; …_BACK:
 *             what is held is given back; LOCK, UNLOCK; DYNPTR, DYNPTR_NEW
 *   besides   MOVES the packet; LOOP, EACH, DRAIN: calls back; TAIL_CALL; DYNPTR_OF_…: what was made
 *
 * Results say what can happen and nothing of what the verifier makes of it. What arguments are is told in
 * src/verify/protos.h as well, from the same sources: an error that both have is not found here.
 *
 * A helper that a program of the evaluator's types may call and that has no row stands in NOT_MODELLED, with
 * the reason; random.c sees to it.
 */
#ifndef TESTS_VERIFY_MODELS_H
#define TESTS_VERIFY_MODELS_H

// clang-format off
#define MODEL_RESULTS(R)                                                                                     \
    R(U64) R(U32) R(STATUS) R(COUNT) R(LENGTH) R(CPU) R(VOID) R(FOUND) R(RECORD) R(SOCKET) R(SEEN) R(SLICE)  \
    R(ROUNDS)
#define MODEL_ACTS(A)                                                                                        \
    A(_) A(ANY) A(CTX) A(CTX_IF) A(MAP) A(KEY) A(VALUE) A(VALUE_IF) A(FILL_VALUE) A(READ) A(READ_IF) A(FILL) \
    A(FILL_IF) A(BOTH) A(SIZE) A(BOTH4) A(FILL8) A(READ20) A(READ40) A(RECORD_BACK) A(SOCK) A(SOCK_BACK)     \
    A(LOCK) A(UNLOCK) A(FUNC) A(STRING) A(DYNPTR) A(DYNPTR_NEW) A(DYNPTR_BACK)
#define MODEL_BESIDES(T)                                                                                     \
    T(NOTHING) T(MOVES) T(LOOP) T(EACH) T(DRAIN) T(TAIL_CALL) T(DYNPTR_OF_MEM) T(DYNPTR_OF_RING)

#define MODELS(M)                                                                                            \
    M(map_lookup_elem,                FOUND,  MAP, KEY, _, _, _,                    NOTHING)                 \
    M(map_update_elem,                STATUS, MAP, KEY, VALUE, ANY, _,              NOTHING)                 \
    M(map_delete_elem,                STATUS, MAP, KEY, _, _, _,                    NOTHING)                 \
    M(probe_read,                     STATUS, FILL, SIZE, ANY, _, _,                NOTHING)                 \
    M(ktime_get_ns,                   U64,    _, _, _, _, _,                        NOTHING)                 \
    M(trace_printk,                   COUNT,  READ, SIZE, _, _, _,                  NOTHING)                 \
    M(get_prandom_u32,                U32,    _, _, _, _, _,                        NOTHING)                 \
    M(get_smp_processor_id,           CPU,    _, _, _, _, _,                        NOTHING)                 \
    M(skb_store_bytes,                STATUS, CTX, ANY, READ, SIZE, ANY,            MOVES)                   \
    M(l3_csum_replace,                STATUS, CTX, ANY, ANY, ANY, ANY,              MOVES)                   \
    M(l4_csum_replace,                STATUS, CTX, ANY, ANY, ANY, ANY,              MOVES)                   \
    M(tail_call,                      VOID,   CTX, MAP, ANY, _, _,                  TAIL_CALL)               \
    M(clone_redirect,                 STATUS, CTX, ANY, ANY, _, _,                  MOVES)                   \
    M(get_current_pid_tgid,           U64,    _, _, _, _, _,                        NOTHING)                 \
    M(get_current_uid_gid,            U64,    _, _, _, _, _,                        NOTHING)                 \
    M(get_current_comm,               STATUS, FILL, SIZE, _, _, _,                  NOTHING)                 \
    M(get_cgroup_classid,             U32,    CTX, _, _, _, _,                      NOTHING)                 \
    M(get_cgroup_classid,             U32,    _, _, _, _, _,                        NOTHING)                 \
    M(skb_vlan_push,                  STATUS, CTX, ANY, ANY, _, _,                  MOVES)                   \
    M(skb_vlan_pop,                   STATUS, CTX, _, _, _, _,                      MOVES)                   \
    M(skb_get_tunnel_key,             STATUS, CTX, FILL, SIZE, ANY, _,              NOTHING)                 \
    M(skb_set_tunnel_key,             STATUS, CTX, READ, SIZE, ANY, _,              NOTHING)                 \
    M(perf_event_read,                U64,    MAP, ANY, _, _, _,                    NOTHING)                 \
    M(redirect,                       COUNT,  ANY, ANY, _, _, _,                    NOTHING)                 \
    M(get_route_realm,                U32,    CTX, _, _, _, _,                      NOTHING)                 \
    M(perf_event_output,              STATUS, CTX, MAP, ANY, READ, SIZE,            NOTHING)                 \
    M(skb_load_bytes,                 STATUS, CTX, ANY, FILL, SIZE, _,              NOTHING)                 \
    M(get_stackid,                    COUNT,  CTX, MAP, ANY, _, _,                  NOTHING)                 \
    M(csum_diff,                      COUNT,  READ_IF, SIZE, READ_IF, SIZE, ANY,    NOTHING)                 \
    M(skb_get_tunnel_opt,             COUNT,  CTX, FILL, SIZE, _, _,                NOTHING)                 \
    M(skb_set_tunnel_opt,             STATUS, CTX, READ, SIZE, _, _,                NOTHING)                 \
    M(skb_change_proto,               STATUS, CTX, ANY, ANY, _, _,                  MOVES)                   \
    M(skb_change_type,                STATUS, CTX, ANY, _, _, _,                    NOTHING)                 \
    M(skb_under_cgroup,               COUNT,  CTX, MAP, ANY, _, _,                  NOTHING)                 \
    M(get_hash_recalc,                U32,    CTX, _, _, _, _,                      NOTHING)                 \
    M(get_current_task,               U64,    _, _, _, _, _,                        NOTHING)                 \
    M(probe_write_user,               STATUS, ANY, READ, SIZE, _, _,                NOTHING)                 \
    M(current_task_under_cgroup,      COUNT,  MAP, ANY, _, _, _,                    NOTHING)                 \
    M(skb_change_tail,                STATUS, CTX, ANY, ANY, _, _,                  MOVES)                   \
    M(skb_pull_data,                  STATUS, CTX, ANY, _, _, _,                    MOVES)                   \
    M(csum_update,                    COUNT,  CTX, ANY, _, _, _,                    NOTHING)                 \
    M(set_hash_invalid,               STATUS, CTX, _, _, _, _,                      NOTHING)                 \
    M(get_numa_node_id,               U32,    _, _, _, _, _,                        NOTHING)                 \
    M(skb_change_head,                STATUS, CTX, ANY, ANY, _, _,                  MOVES)                   \
    M(xdp_adjust_head,                STATUS, CTX, ANY, _, _, _,                    MOVES)                   \
    M(probe_read_str,                 LENGTH, FILL, SIZE, ANY, _, _,                NOTHING)                 \
    M(get_socket_cookie,              U64,    CTX, _, _, _, _,                      NOTHING)                 \
    M(get_socket_uid,                 U32,    CTX, _, _, _, _,                      NOTHING)                 \
    M(set_hash,                       STATUS, CTX, ANY, _, _, _,                    NOTHING)                 \
    M(skb_adjust_room,                STATUS, CTX, ANY, ANY, ANY, _,                MOVES)                   \
    M(redirect_map,                   COUNT,  MAP, ANY, ANY, _, _,                  NOTHING)                 \
    M(xdp_adjust_meta,                STATUS, CTX, ANY, _, _, _,                    MOVES)                   \
    M(perf_event_read_value,          STATUS, MAP, ANY, FILL, SIZE, _,              NOTHING)                 \
    M(perf_prog_read_value,           STATUS, CTX, FILL, SIZE, _, _,                NOTHING)                 \
    M(override_return,                STATUS, CTX, ANY, _, _, _,                    NOTHING)                 \
    M(xdp_adjust_tail,                STATUS, CTX, ANY, _, _, _,                    MOVES)                   \
    M(skb_get_xfrm_state,             STATUS, CTX, ANY, FILL, SIZE, ANY,            NOTHING)                 \
    M(get_stack,                      LENGTH, CTX, FILL, SIZE, ANY, _,              NOTHING)                 \
    M(skb_load_bytes_relative,        STATUS, CTX, ANY, FILL, SIZE, ANY,            NOTHING)                 \
    M(fib_lookup,                     COUNT,  CTX, BOTH, SIZE, ANY, _,              NOTHING)                 \
    M(skb_cgroup_id,                  U64,    CTX, _, _, _, _,                      NOTHING)                 \
    M(get_current_cgroup_id,          U64,    _, _, _, _, _,                        NOTHING)                 \
    M(skb_ancestor_cgroup_id,         U64,    CTX, ANY, _, _, _,                    NOTHING)                 \
    M(sk_lookup_tcp,                  SOCKET, CTX, READ, SIZE, ANY, ANY,            NOTHING)                 \
    M(sk_lookup_udp,                  SOCKET, CTX, READ, SIZE, ANY, ANY,            NOTHING)                 \
    M(sk_release,                     STATUS, SOCK_BACK, _, _, _, _,                NOTHING)                 \
    M(map_push_elem,                  STATUS, MAP, VALUE, ANY, _, _,                NOTHING)                 \
    M(map_pop_elem,                   STATUS, MAP, FILL_VALUE, _, _, _,             NOTHING)                 \
    M(map_peek_elem,                  STATUS, MAP, FILL_VALUE, _, _, _,             NOTHING)                 \
    M(spin_lock,                      VOID,   LOCK, _, _, _, _,                     NOTHING)                 \
    M(spin_unlock,                    VOID,   UNLOCK, _, _, _, _,                   NOTHING)                 \
    M(sk_fullsock,                    SEEN,   SOCK, _, _, _, _,                     NOTHING)                 \
    M(tcp_sock,                       SEEN,   SOCK, _, _, _, _,                     NOTHING)                 \
    M(skb_ecn_set_ce,                 COUNT,  CTX, _, _, _, _,                      NOTHING)                 \
    M(get_listener_sock,              SEEN,   SOCK, _, _, _, _,                     NOTHING)                 \
    M(skc_lookup_tcp,                 SOCKET, CTX, READ, SIZE, ANY, ANY,            NOTHING)                 \
    M(tcp_check_syncookie,            STATUS, SOCK, READ, SIZE, READ, SIZE,         NOTHING)                 \
    M(strtol,                         COUNT,  READ, SIZE, ANY, FILL8, _,            NOTHING)                 \
    M(strtoul,                        COUNT,  READ, SIZE, ANY, FILL8, _,            NOTHING)                 \
    M(sk_storage_get,                 FOUND,  MAP, SOCK, VALUE_IF, ANY, _,          NOTHING)                 \
    M(sk_storage_delete,              STATUS, MAP, SOCK, _, _, _,                   NOTHING)                 \
    M(send_signal,                    STATUS, ANY, _, _, _, _,                      NOTHING)                 \
    M(tcp_gen_syncookie,              COUNT,  SOCK, READ, SIZE, READ, SIZE,         NOTHING)                 \
    M(probe_read_user,                STATUS, FILL, SIZE, ANY, _, _,                NOTHING)                 \
    M(probe_read_kernel,              STATUS, FILL, SIZE, ANY, _, _,                NOTHING)                 \
    M(probe_read_user_str,            LENGTH, FILL, SIZE, ANY, _, _,                NOTHING)                 \
    M(probe_read_kernel_str,          LENGTH, FILL, SIZE, ANY, _, _,                NOTHING)                 \
    M(send_signal_thread,             STATUS, ANY, _, _, _, _,                      NOTHING)                 \
    M(jiffies64,                      U64,    _, _, _, _, _,                        NOTHING)                 \
    M(read_branch_records,            COUNT,  CTX, FILL_IF, SIZE, ANY, _,           NOTHING)                 \
    M(get_ns_current_pid_tgid,        STATUS, ANY, ANY, FILL, SIZE, _,              NOTHING)                 \
    M(get_netns_cookie,               U64,    CTX_IF, _, _, _, _,                   NOTHING)                 \
    M(get_current_ancestor_cgroup_id, U64,    ANY, _, _, _, _,                      NOTHING)                 \
    M(sk_assign,                      STATUS, CTX, SOCK, ANY, _, _,                 NOTHING)                 \
    M(ktime_get_boot_ns,              U64,    _, _, _, _, _,                        NOTHING)                 \
    M(ringbuf_output,                 STATUS, MAP, READ, SIZE, ANY, _,              NOTHING)                 \
    M(ringbuf_reserve,                RECORD, MAP, ANY, ANY, _, _,                  NOTHING)                 \
    M(ringbuf_submit,                 VOID,   RECORD_BACK, ANY, _, _, _,            NOTHING)                 \
    M(ringbuf_discard,                VOID,   RECORD_BACK, ANY, _, _, _,            NOTHING)                 \
    M(ringbuf_query,                  U64,    MAP, ANY, _, _, _,                    NOTHING)                 \
    M(csum_level,                     STATUS, CTX, ANY, _, _, _,                    NOTHING)                 \
    M(snprintf_btf,                   COUNT,  FILL, SIZE, READ, SIZE, ANY,          NOTHING)                 \
    M(skb_cgroup_classid,             U32,    CTX, _, _, _, _,                      NOTHING)                 \
    M(redirect_neigh,                 COUNT,  ANY, READ_IF, SIZE, ANY, _,           NOTHING)                 \
    M(redirect_peer,                  COUNT,  ANY, ANY, _, _, _,                    NOTHING)                 \
    M(ktime_get_coarse_ns,            U64,    _, _, _, _, _,                        NOTHING)                 \
    M(check_mtu,                      COUNT,  CTX, ANY, BOTH4, ANY, ANY,            NOTHING)                 \
    M(for_each_map_elem,              ROUNDS, MAP, FUNC, ANY, ANY, _,               EACH)                    \
    M(snprintf,                       COUNT,  FILL_IF, SIZE, STRING, READ_IF, SIZE, NOTHING)                 \
    M(get_func_ip,                    U64,    CTX, _, _, _, _,                      NOTHING)                 \
    M(get_attach_cookie,              U64,    CTX, _, _, _, _,                      NOTHING)                 \
    M(get_branch_snapshot,            COUNT,  FILL, SIZE, _, _, _,                  NOTHING)                 \
    M(trace_vprintk,                  COUNT,  READ, SIZE, READ_IF, SIZE, _,         NOTHING)                 \
    M(loop,                           ROUNDS, ANY, FUNC, ANY, ANY, _,               LOOP)                    \
    M(strncmp,                        COUNT,  READ, SIZE, STRING, _, _,             NOTHING)                 \
    M(get_func_arg,                   STATUS, CTX, ANY, FILL8, _, _,                NOTHING)                 \
    M(get_func_arg_cnt,               COUNT,  CTX, _, _, _, _,                      NOTHING)                 \
    M(xdp_get_buff_len,               U64,    CTX, _, _, _, _,                      NOTHING)                 \
    M(xdp_load_bytes,                 STATUS, CTX, ANY, FILL, SIZE, _,              NOTHING)                 \
    M(xdp_store_bytes,                STATUS, CTX, ANY, READ, SIZE, _,              NOTHING)                 \
    M(skb_set_tstamp,                 STATUS, CTX, ANY, ANY, _, _,                  NOTHING)                 \
    M(map_lookup_percpu_elem,         FOUND,  MAP, KEY, ANY, _, _,                  NOTHING)                 \
    M(dynptr_from_mem,                STATUS, BOTH, SIZE, ANY, DYNPTR_NEW, _,       DYNPTR_OF_MEM)           \
    M(ringbuf_reserve_dynptr,         STATUS, MAP, ANY, ANY, DYNPTR_NEW, _,         DYNPTR_OF_RING)          \
    M(ringbuf_submit_dynptr,          VOID,   DYNPTR_BACK, ANY, _, _, _,            NOTHING)                 \
    M(ringbuf_discard_dynptr,         VOID,   DYNPTR_BACK, ANY, _, _, _,            NOTHING)                 \
    M(dynptr_read,                    STATUS, FILL, SIZE, DYNPTR, ANY, ANY,         NOTHING)                 \
    M(dynptr_write,                   STATUS, DYNPTR, ANY, READ, SIZE, ANY,         NOTHING)                 \
    M(dynptr_data,                    SLICE,  DYNPTR, ANY, ANY, _, _,               NOTHING)                 \
    M(tcp_raw_gen_syncookie_ipv4,     COUNT,  READ20, FILL, SIZE, _, _,             NOTHING)                 \
    M(tcp_raw_gen_syncookie_ipv6,     COUNT,  READ40, FILL, SIZE, _, _,             NOTHING)                 \
    M(tcp_raw_check_syncookie_ipv4,   STATUS, READ20, READ20, _, _, _,              NOTHING)                 \
    M(tcp_raw_check_syncookie_ipv6,   STATUS, READ40, READ20, _, _, _,              NOTHING)                 \
    M(ktime_get_tai_ns,               U64,    _, _, _, _, _,                        NOTHING)                 \
    M(user_ringbuf_drain,             ROUNDS, MAP, FUNC, ANY, ANY, _,               DRAIN)

#define NOT_MODELLED(N)                                                                                      \
    N(skb_output,               "the evaluator's host has no struct sk_buff")                                \
    N(xdp_output,               "the evaluator's host has no struct xdp_buff")                               \
    N(skc_to_tcp6_sock,         "the evaluator's host has no sockets by type")                               \
    N(skc_to_tcp_sock,          "the evaluator's host has no sockets by type")                               \
    N(skc_to_tcp_timewait_sock, "the evaluator's host has no sockets by type")                               \
    N(skc_to_tcp_request_sock,  "the evaluator's host has no sockets by type")                               \
    N(skc_to_udp6_sock,         "the evaluator's host has no sockets by type")                               \
    N(skc_to_unix_sock,         "the evaluator's host has no sockets by type")                               \
    N(skc_to_mptcp_sock,        "the evaluator's host has no sockets by type")                               \
    N(sock_from_file,           "the evaluator's host has no struct file")                                   \
    N(d_path,                   "for iterators over files alone, which the evaluator does not run")          \
    N(get_task_stack,           "the evaluator's host has no struct task_struct")                            \
    N(task_storage_get,         "the evaluator's host has no struct task_struct")                            \
    N(task_storage_delete,      "the evaluator's host has no struct task_struct")                            \
    N(get_current_task_btf,     "the evaluator's host has no struct task_struct")                            \
    N(task_pt_regs,             "the evaluator's host has no struct task_struct")                            \
    N(find_vma,                 "the evaluator's host has no struct task_struct")                            \
    N(copy_from_user_task,      "the evaluator's programs do not sleep")                                     \
    N(copy_from_user,           "the evaluator's programs do not sleep")                                     \
    N(cgrp_storage_get,         "the evaluator's host has no struct cgroup")                                 \
    N(cgrp_storage_delete,      "the evaluator's host has no struct cgroup")                                 \
    N(per_cpu_ptr,              "the evaluator's host has no per-CPU variables")                             \
    N(this_cpu_ptr,             "the evaluator's host has no per-CPU variables")                             \
    N(timer_init,               "what a timer calls runs by itself, from nothing: no run leads there")       \
    N(timer_set_callback,       "what a timer calls runs by itself, from nothing: no run leads there")       \
    N(timer_start,              "what a timer calls runs by itself, from nothing: no run leads there")       \
    N(timer_cancel,             "what a timer calls runs by itself, from nothing: no run leads there")       \
    N(kptr_xchg,                "none of the evaluator's maps keeps pointers")

/* Functions of the host that are played; each is a few lines of models.c. */
#define MODEL_KFUNCS(F)                                                                                      \
    F(bpf_iter_num_new)                                                                                      \
    F(bpf_iter_num_next)                                                                                     \
    F(bpf_iter_num_destroy)                                                                                  \
    F(bpf_rcu_read_lock)                                                                                     \
    F(bpf_rcu_read_unlock)                                                                                   \
    F(bpf_preempt_disable)                                                                                   \
    F(bpf_preempt_enable)                                                                                    \
    F(bpf_local_irq_save)                                                                                    \
    F(bpf_local_irq_restore)                                                                                 \
    F(bpf_res_spin_lock)                                                                                     \
    F(bpf_res_spin_unlock)                                                                                   \
    F(bpf_dynptr_size)                                                                                       \
    F(bpf_dynptr_is_null)                                                                                    \
    F(bpf_dynptr_adjust)                                                                                     \
    F(bpf_dynptr_clone)                                                                                      \
    F(bpf_dynptr_slice)                                                                                      \
    F(bpf_dynptr_slice_rdwr)                                                                                 \
    F(bpf_dynptr_from_skb)                                                                                   \
    F(bpf_dynptr_from_xdp)
// clang-format on

enum model_result {
#define R(word) RESULT_##word,
    MODEL_RESULTS(R)
#undef R
};
enum model_act {
#define A(word) ACT_##word,
    MODEL_ACTS(A)
#undef A
};
enum model_besides {
#define T(word) THEN_##word,
    MODEL_BESIDES(T)
#undef T
};

struct model {
    unsigned id;
    unsigned char result, act[5], besides;
};
/* The row of that helper as it is called with so many arguments, or NULL. */
const struct model *model_of(unsigned id, unsigned nargs);
/* Why it has none; NULL: it should have one. */
const char *model_missing(unsigned id);

#endif
