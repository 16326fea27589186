/* SPDX-License-Identifier: MIT */
/*
 * What Linux says of its helpers: one row each, whether or not the helper is built here. The verifier judges
 * calls by these rows alone; what is built stands in rt/helper/helpers.h, and whether a program that was
 * accepted can run here is a second question (tn_available).
 *
 *      P(id, name, returns, argument 1 … 5, flags, program types)
 *      V(…)                                        the same helper, as programs of other types have it
 *
 * The first row whose types fit counts. The words of a row are rows themselves: of TN_ARG_FORMS,
 * TN_RET_FORMS, TN_PROTO_FLAGS, and of the program types and groups in protos.c.
 *
 * Source: the kernel's tables (struct bpf_func_proto, *_func_proto) and what version 6.18 answers when asked.
 */
#ifndef TN_VERIFY_PROTOS_H
#define TN_VERIFY_PROTOS_H

#include "base/base.h"

// clang-format off
/* Types of the host's BTF that helpers take or return. B(word, struct) */
#define TN_PROTO_TYPES(B)                                                                                    \
    B(NONE,     "")                                                                                          \
    B(TASK,     "task_struct")                                                                               \
    B(INODE,    "inode")                                                                                     \
    B(CGROUP,   "cgroup")                                                                                    \
    B(SEQ_FILE, "seq_file")                                                                                  \
    B(PATH,     "path")                                                                                      \
    B(FILE,     "file")                                                                                      \
    B(BINPRM,   "linux_binprm")                                                                              \
    B(SK_BUFF,  "sk_buff")                                                                                   \
    B(XDP_BUFF, "xdp_buff")                                                                                  \
    B(PT_REGS,  "pt_regs")                                                                                   \
    B(SOCKET,   "socket")                                                                                    \
    B(SOCK,     "sock_common")                                                                               \
    B(TCP,      "tcp_sock")                                                                                  \
    B(TCP6,     "tcp6_sock")                                                                                 \
    B(TCP_TW,   "tcp_timewait_sock")                                                                         \
    B(TCP_REQ,  "tcp_request_sock")                                                                          \
    B(UDP6,     "udp6_sock")                                                                                 \
    B(UNIX,     "unix_sock")                                                                                 \
    B(MPTCP,    "mptcp_sock")

/* What an argument is at bottom; args.c has one way of checking for each. */
enum tn_arg_kind {
    TN_AK_NONE,
    TN_AK_ANY,         /* anything that was written */
    TN_AK_SCALAR,
    TN_AK_CTX,
    TN_AK_MAP,         /* constant map pointer, of a type that the helper works on (maptypes.h) */
    TN_AK_KEY,         /* memory of the map's key_size */
    TN_AK_VALUE,       /* memory of the map's value_size */
    TN_AK_MEM,         /* memory; how much, the next argument says */
    TN_AK_FIXED,       /* memory of `n` bytes */
    TN_AK_SIZE,        /* bytes of the argument before */
    TN_AK_ALLOC,       /* a known constant: bytes of what is returned */
    TN_AK_RECORD,      /* a ring buffer reservation */
    TN_AK_STACK,       /* of the program's own stack */
    TN_AK_LOCK,
    TN_AK_TIMER,
    TN_AK_FUNC,        /* a function of the program, to be called back */
    TN_AK_STR,         /* a constant string in a frozen map */
    TN_AK_BTF,         /* an object of the host's type `n` (enum tn_proto_type) */
    TN_AK_SK,          /* a socket of any kind, typed by BTF or not */
    TN_AK_SOCK_COMMON, /* a socket of any kind, not typed by BTF */
    TN_AK_SOCKET,      /* a full socket */
    TN_AK_PERCPU,      /* a per-CPU object of the host */
    TN_AK_KPTR,        /* a place that holds a kernel pointer */
    TN_AK_KPTR_NEW,    /* what goes there */
    TN_AK_DYNPTR,      /* a dynptr of kind `n` (enum tn_dynptr_need) */
    TN_AK_COUNT
};
enum tn_arg_flag {
    TN_AF_NULL = 1 << 0,    /* may be NULL */
    TN_AF_WRITE = 1 << 1,   /* the helper writes there … */
    TN_AF_UNINIT = 1 << 2,  /* … and what was there before does not matter */
    TN_AF_RDONLY = 1 << 3,  /* the helper only reads: read-only memory will do */
    TN_AF_RELEASE = 1 << 4, /* the reference ends with the call */
    TN_AF_ALIGNED = 1 << 5, /* to its size */
    TN_AF_ZERO = 1 << 6,    /* a size: may be 0 */
};
enum tn_dynptr_need { TN_DYNPTR_ANY, TN_DYNPTR_NEW_LOCAL, TN_DYNPTR_NEW_RINGBUF, TN_DYNPTR_OF_RINGBUF };

/* A(word, kind, flags, n) */
#define TN_ARG_FORMS(A)                                                                                      \
    A(_,              NONE,        0,                                          0)                            \
    A(ANY,            ANY,         0,                                          0)                            \
    A(SCALAR,         SCALAR,      0,                                          0)                            \
    A(CTX,            CTX,         0,                                          0)                            \
    A(CTX_NULL,       CTX,         TN_AF_NULL,                                 0)                            \
    A(MAP,            MAP,         0,                                          0)                            \
    A(KEY,            KEY,         TN_AF_RDONLY,                               0)                            \
    A(VALUE,          VALUE,       TN_AF_RDONLY,                               0)                            \
    A(VALUE_NULL,     VALUE,       TN_AF_RDONLY | TN_AF_NULL,                  0)                            \
    A(VALUE_OUT,      VALUE,       TN_AF_WRITE | TN_AF_UNINIT,                 0)                            \
    A(MEM,            MEM,         TN_AF_RDONLY,                               0)                            \
    A(MEM_NULL,       MEM,         TN_AF_RDONLY | TN_AF_NULL,                  0)                            \
    A(BUF,            MEM,         TN_AF_WRITE,                                0)                            \
    A(BUF_NULL,       MEM,         TN_AF_WRITE | TN_AF_NULL,                   0)                            \
    A(OUT,            MEM,         TN_AF_WRITE | TN_AF_UNINIT,                 0)                            \
    A(SIZE,           SIZE,        0,                                          0)                            \
    A(SIZE0,          SIZE,        TN_AF_ZERO,                                 0)                            \
    A(ALLOC,          ALLOC,       0,                                          0)                            \
    A(U32_IO,         FIXED,       TN_AF_WRITE | TN_AF_ALIGNED,                4)                            \
    A(U64_OUT,        FIXED,       TN_AF_WRITE | TN_AF_UNINIT | TN_AF_ALIGNED, 8)                            \
    A(IPHDR,          FIXED,       0,                                          20)                           \
    A(IPV6HDR,        FIXED,       0,                                          40)                           \
    A(TCPHDR,         FIXED,       0,                                          20)                           \
    A(RECORD,         RECORD,      TN_AF_RELEASE,                              0)                            \
    A(STACK_NULL,     STACK,       TN_AF_NULL,                                 0)                            \
    A(LOCK,           LOCK,        0,                                          0)                            \
    A(TIMER,          TIMER,       0,                                          0)                            \
    A(FUNC,           FUNC,        0,                                          0)                            \
    A(STR,            STR,         0,                                          0)                            \
    A(SK,             SK,          0,                                          0)                            \
    A(SK_NULL,        SK,          TN_AF_NULL,                                 0)                            \
    A(SK_RELEASE,     SK,          TN_AF_RELEASE,                              0)                            \
    A(SOCK_COMMON,    SOCK_COMMON, 0,                                          0)                            \
    A(SOCKET_NULL,    SOCKET,      TN_AF_NULL,                                 0)                            \
    A(TASK,           BTF,         0,                                          TN_BTF_OF_TASK)               \
    A(TASK_NULL,      BTF,         TN_AF_NULL,                                 TN_BTF_OF_TASK)               \
    A(INODE,          BTF,         0,                                          TN_BTF_OF_INODE)              \
    A(INODE_NULL,     BTF,         TN_AF_NULL,                                 TN_BTF_OF_INODE)              \
    A(CGROUP_NULL,    BTF,         TN_AF_NULL,                                 TN_BTF_OF_CGROUP)             \
    A(SOCK_NULL,      BTF,         TN_AF_NULL,                                 TN_BTF_OF_SOCK)               \
    A(TCP,            BTF,         0,                                          TN_BTF_OF_TCP)                \
    A(SEQ_FILE,       BTF,         0,                                          TN_BTF_OF_SEQ_FILE)           \
    A(PATH,           BTF,         0,                                          TN_BTF_OF_PATH)               \
    A(FILE,           BTF,         0,                                          TN_BTF_OF_FILE)               \
    A(BINPRM,         BTF,         0,                                          TN_BTF_OF_BINPRM)             \
    A(SK_BUFF,        BTF,         0,                                          TN_BTF_OF_SK_BUFF)            \
    A(XDP_BUFF,       BTF,         0,                                          TN_BTF_OF_XDP_BUFF)           \
    A(PERCPU,         PERCPU,      0,                                          0)                            \
    A(KPTR,           KPTR,        0,                                          0)                            \
    A(KPTR_NEW,       KPTR_NEW,    TN_AF_NULL | TN_AF_RELEASE,                 0)                            \
    A(DYNPTR,         DYNPTR,      TN_AF_RDONLY,                               TN_DYNPTR_ANY)                \
    A(DYNPTR_LOCAL,   DYNPTR,      TN_AF_WRITE | TN_AF_UNINIT,                 TN_DYNPTR_NEW_LOCAL)          \
    A(DYNPTR_RINGBUF, DYNPTR,      TN_AF_WRITE | TN_AF_UNINIT,                 TN_DYNPTR_NEW_RINGBUF)        \
    A(DYNPTR_RECORD,  DYNPTR,      TN_AF_RELEASE,                              TN_DYNPTR_OF_RINGBUF)

enum tn_ret_kind {
    TN_RK_SCALAR,
    TN_RK_VOID,
    TN_RK_VALUE,  /* into an element of the map argument */
    TN_RK_SOCK,   /* a register of kind `n` */
    TN_RK_RECORD, /* memory of the ALLOC argument's size, borrowed from a ring buffer */
    TN_RK_SLICE,  /* memory of the ALLOC argument's size, of the dynptr */
    TN_RK_BTF,    /* an object of the host's type `n` */
    TN_RK_PERCPU, /* this or another CPU's copy of the PERCPU argument */
    TN_RK_KPTR,   /* what the place of the KPTR argument held */
};
/* R(word, kind, may be NULL, trusted, n) */
#define TN_RET_FORMS(R)                                                                                      \
    R(SCALAR,             SCALAR, false, false, 0)                                                           \
    R(VOID,               VOID,   false, false, 0)                                                           \
    R(VALUE,              VALUE,  false, false, 0)                                                           \
    R(VALUE_NULL,         VALUE,  true,  false, 0)                                                           \
    R(SOCKET_NULL,        SOCK,   true,  false, TN_REG_SOCKET)                                               \
    R(SOCK_COMMON_NULL,   SOCK,   true,  false, TN_REG_SOCK_COMMON)                                          \
    R(TCP_SOCK_NULL,      SOCK,   true,  false, TN_REG_TCP_SOCK)                                             \
    R(RECORD_NULL,        RECORD, true,  false, 0)                                                           \
    R(SLICE_NULL,         SLICE,  true,  false, 0)                                                           \
    R(PERCPU,             PERCPU, false, false, 0)                                                           \
    R(PERCPU_NULL,        PERCPU, true,  false, 0)                                                           \
    R(KPTR_NULL,          KPTR,   true,  false, 0)                                                           \
    R(TASK_TRUSTED,       BTF,    false, true,  TN_BTF_OF_TASK)                                              \
    R(PT_REGS,            BTF,    false, false, TN_BTF_OF_PT_REGS)                                           \
    R(SOCKET_STRUCT_NULL, BTF,    true,  false, TN_BTF_OF_SOCKET)                                            \
    R(TCP_NULL,           BTF,    true,  false, TN_BTF_OF_TCP)                                               \
    R(TCP6_NULL,          BTF,    true,  false, TN_BTF_OF_TCP6)                                              \
    R(TCP_TW_NULL,        BTF,    true,  false, TN_BTF_OF_TCP_TW)                                            \
    R(TCP_REQ_NULL,       BTF,    true,  false, TN_BTF_OF_TCP_REQ)                                           \
    R(UDP6_NULL,          BTF,    true,  false, TN_BTF_OF_UDP6)                                              \
    R(UNIX_NULL,          BTF,    true,  false, TN_BTF_OF_UNIX)                                              \
    R(MPTCP_NULL,         BTF,    true,  false, TN_BTF_OF_MPTCP)

#define TN_PROTO_FLAGS(F)                                                                                    \
    F(GPL)           /* for programs under a GPL-compatible licence */                                       \
    F(SLEEPS)        /* for sleepable programs, outside sections */                                          \
    F(SLEEPS_IF_CAN) /* sleeps where the program may */                                                      \
    F(PKT)           /* memory arguments may be packet data */                                               \
    F(CHANGES)       /* packet data may move: pointers into it end */                                        \
    F(ACQUIRES)      /* what it returns has to be given back */                                              \
    F(CASTS)         /* what it returns is its argument seen otherwise, and lives as long */                 \
    F(PROCESS)       /* an argument is an untyped address of the host's */                                   \
    F(CTX_RECORD)    /* of the context it looks at the run's record, not at what lies behind it */           \
    F(WALKS)         /* of the context it looks at the registers that a walk of the stack begins with */     \
    F(RET_LENGTH)    /* returns at most the size it was given, or an error */                                \
    F(RET_CPU)       /* returns the number of a possible CPU */                                              \
    F(LISTED)        /* Linux allows it at listed functions only */

#define TN_PROTOS(P, V)                                                                                                                              \
    P(1,   map_lookup_elem,            VALUE_NULL,         MAP, KEY, _, _, _,                    PKT, BASE)                                          \
    P(2,   map_update_elem,            SCALAR,             MAP, KEY, VALUE, ANY, _,              PKT, BASE)                                          \
    P(3,   map_delete_elem,            SCALAR,             MAP, KEY, _, _, _,                    PKT, BASE)                                          \
    P(4,   probe_read,                 SCALAR,             OUT, SIZE0, ANY, _, _,                GPL | PROCESS, TRACE)                               \
    P(5,   ktime_get_ns,               SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(6,   trace_printk,               SCALAR,             MEM, SIZE, _, _, _,                   GPL, BASE)                                          \
    P(7,   get_prandom_u32,            SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(8,   get_smp_processor_id,       SCALAR,             _, _, _, _, _,                        RET_CPU, BASE)                                      \
    P(9,   skb_store_bytes,            SCALAR,             CTX, ANY, MEM, SIZE, ANY,             CHANGES, TC | LWT_XMIT | SK_SKB)                    \
    P(10,  l3_csum_replace,            SCALAR,             CTX, ANY, ANY, ANY, ANY,              CHANGES, TC | LWT_XMIT)                             \
    P(11,  l4_csum_replace,            SCALAR,             CTX, ANY, ANY, ANY, ANY,              CHANGES, TC | LWT_XMIT)                             \
    P(12,  tail_call,                  VOID,               CTX, MAP, ANY, _, _,                  CHANGES, BASE)                                      \
    P(13,  clone_redirect,             SCALAR,             CTX, ANY, ANY, _, _,                  CHANGES, TC | LWT_XMIT)                             \
    P(14,  get_current_pid_tgid,       SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(15,  get_current_uid_gid,        SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(16,  get_current_comm,           SCALAR,             OUT, SIZE, _, _, _,                   0, BASE)                                            \
    P(17,  get_cgroup_classid,         SCALAR,             CTX, _, _, _, _,                      0, TC | LWT)                                        \
    V(17,  get_cgroup_classid,         SCALAR,             _, _, _, _, _,                        0, BASE & ~(TC | LWT))                              \
    P(18,  skb_vlan_push,              SCALAR,             CTX, ANY, ANY, _, _,                  CHANGES, TC)                                        \
    P(19,  skb_vlan_pop,               SCALAR,             CTX, _, _, _, _,                      CHANGES, TC)                                        \
    P(20,  skb_get_tunnel_key,         SCALAR,             CTX, OUT, SIZE, ANY, _,               0, TC | LWT_XMIT)                                   \
    P(21,  skb_set_tunnel_key,         SCALAR,             CTX, MEM, SIZE, ANY, _,               0, TC | LWT_XMIT)                                   \
    P(22,  perf_event_read,            SCALAR,             MAP, ANY, _, _, _,                    GPL, BASE)                                          \
    P(23,  redirect,                   SCALAR,             ANY, ANY, _, _, _,                    0, TC | XDP | LWT_XMIT)                             \
    P(24,  get_route_realm,            SCALAR,             CTX, _, _, _, _,                      0, TC | LWT)                                        \
    P(25,  perf_event_output,          SCALAR,             CTX, MAP, ANY, MEM, SIZE0,            GPL, EVENTS)                                        \
    P(26,  skb_load_bytes,             SCALAR,             CTX, ANY, OUT, SIZE, _,               0, SKB_READ)                                        \
    P(27,  get_stackid,                SCALAR,             CTX, MAP, ANY, _, _,                  GPL | WALKS, TRACE & ~PERF_EVENT)                   \
    V(27,  get_stackid,                SCALAR,             CTX, MAP, ANY, _, _,                  0, PERF_EVENT)                                      \
    P(28,  csum_diff,                  SCALAR,             MEM_NULL, SIZE0, MEM_NULL, SIZE0, ANY,PKT, TC | XDP | LWT)                                \
    P(29,  skb_get_tunnel_opt,         SCALAR,             CTX, OUT, SIZE, _, _,                 0, TC | LWT_XMIT)                                   \
    P(30,  skb_set_tunnel_opt,         SCALAR,             CTX, MEM, SIZE, _, _,                 0, TC | LWT_XMIT)                                   \
    P(31,  skb_change_proto,           SCALAR,             CTX, ANY, ANY, _, _,                  CHANGES, TC)                                        \
    P(32,  skb_change_type,            SCALAR,             CTX, ANY, _, _, _,                    0, TC)                                              \
    P(33,  skb_under_cgroup,           SCALAR,             CTX, MAP, ANY, _, _,                  0, TC | LWT)                                        \
    P(34,  get_hash_recalc,            SCALAR,             CTX, _, _, _, _,                      0, TC | LWT)                                        \
    P(35,  get_current_task,           SCALAR,             _, _, _, _, _,                        GPL, BASE)                                          \
    P(36,  probe_write_user,           SCALAR,             ANY, MEM, SIZE, _, _,                 GPL | PROCESS, TRACE)                               \
    P(37,  current_task_under_cgroup,  SCALAR,             MAP, ANY, _, _, _,                    0, BASE)                                            \
    P(38,  skb_change_tail,            SCALAR,             CTX, ANY, ANY, _, _,                  CHANGES, TC | LWT_XMIT | SK_SKB)                    \
    P(39,  skb_pull_data,              SCALAR,             CTX, ANY, _, _, _,                    CHANGES, TC | LWT | SK_SKB)                         \
    P(40,  csum_update,                SCALAR,             CTX, ANY, _, _, _,                    0, TC | LWT_XMIT)                                   \
    P(41,  set_hash_invalid,           SCALAR,             CTX, _, _, _, _,                      0, TC | LWT_XMIT)                                   \
    P(42,  get_numa_node_id,           SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(43,  skb_change_head,            SCALAR,             CTX, ANY, ANY, _, _,                  CHANGES, TC | LWT_XMIT | SK_SKB)                    \
    P(44,  xdp_adjust_head,            SCALAR,             CTX, ANY, _, _, _,                    CHANGES, XDP)                                       \
    P(45,  probe_read_str,             SCALAR,             OUT, SIZE0, ANY, _, _,                GPL | PROCESS | RET_LENGTH, TRACE)                  \
    P(46,  get_socket_cookie,          SCALAR,             CTX, _, _, _, _,                      0, SK_COOKIES)                                      \
    V(46,  get_socket_cookie,          SCALAR,             SK_NULL, _, _, _, _,                  0, SK_REUSEPORT | TYPED)                            \
    P(47,  get_socket_uid,             SCALAR,             CTX, _, _, _, _,                      0, SOCKET_FILTER | TC | CGROUP_SKB | SK_SKB)        \
    P(48,  set_hash,                   SCALAR,             CTX, ANY, _, _, _,                    0, TC)                                              \
    P(49,  setsockopt,                 SCALAR,             CTX, ANY, ANY, MEM, SIZE,             0, SOCK_OPS | CGROUP_SOCK_ADDR)                     \
    P(50,  skb_adjust_room,            SCALAR,             CTX, ANY, ANY, ANY, _,                CHANGES, TC | SK_SKB)                               \
    P(51,  redirect_map,               SCALAR,             MAP, ANY, ANY, _, _,                  0, XDP)                                             \
    P(52,  sk_redirect_map,            SCALAR,             CTX, MAP, ANY, ANY, _,                0, SK_SKB)                                          \
    P(53,  sock_map_update,            SCALAR,             CTX, MAP, KEY, ANY, _,                PKT, SOCK_OPS)                                      \
    P(54,  xdp_adjust_meta,            SCALAR,             CTX, ANY, _, _, _,                    CHANGES, XDP)                                       \
    P(55,  perf_event_read_value,      SCALAR,             MAP, ANY, OUT, SIZE, _,               GPL, BASE)                                          \
    P(56,  perf_prog_read_value,       SCALAR,             CTX, OUT, SIZE, _, _,                 GPL, PERF_EVENT)                                    \
    P(57,  getsockopt,                 SCALAR,             CTX, ANY, ANY, OUT, SIZE,             0, SOCK_OPS | CGROUP_SOCK_ADDR)                     \
    P(58,  override_return,            SCALAR,             CTX, ANY, _, _, _,                    GPL, KPROBE)                                        \
    P(59,  sock_ops_cb_flags_set,      SCALAR,             CTX, ANY, _, _, _,                    0, SOCK_OPS)                                        \
    P(60,  msg_redirect_map,           SCALAR,             CTX, MAP, ANY, ANY, _,                0, SK_MSG)                                          \
    P(61,  msg_apply_bytes,            SCALAR,             CTX, ANY, _, _, _,                    0, SK_MSG)                                          \
    P(62,  msg_cork_bytes,             SCALAR,             CTX, ANY, _, _, _,                    0, SK_MSG)                                          \
    P(63,  msg_pull_data,              SCALAR,             CTX, ANY, ANY, ANY, _,                CHANGES, SK_MSG)                                    \
    P(64,  bind,                       SCALAR,             CTX, MEM, SIZE, _, _,                 0, CGROUP_SOCK_ADDR)                                \
    P(65,  xdp_adjust_tail,            SCALAR,             CTX, ANY, _, _, _,                    CHANGES, XDP)                                       \
    P(66,  skb_get_xfrm_state,         SCALAR,             CTX, ANY, OUT, SIZE, ANY,             0, TC)                                              \
    P(67,  get_stack,                  SCALAR,             CTX, OUT, SIZE0, ANY, _,              GPL | RET_LENGTH | SLEEPS_IF_CAN | WALKS, TRACE)    \
    P(68,  skb_load_bytes_relative,    SCALAR,             CTX, ANY, OUT, SIZE, ANY,             0, SOCKET_FILTER | TC | CGROUP_SKB | SK_REUSEPORT)  \
    P(69,  fib_lookup,                 SCALAR,             CTX, BUF, SIZE, ANY, _,               GPL, TC | XDP)                                      \
    P(70,  sock_hash_update,           SCALAR,             CTX, MAP, KEY, ANY, _,                PKT, SOCK_OPS)                                      \
    P(71,  msg_redirect_hash,          SCALAR,             CTX, MAP, KEY, ANY, _,                0, SK_MSG)                                          \
    P(72,  sk_redirect_hash,           SCALAR,             CTX, MAP, KEY, ANY, _,                0, SK_SKB)                                          \
    P(73,  lwt_push_encap,             SCALAR,             CTX, ANY, MEM, SIZE, _,               CHANGES, LWT_IN | LWT_XMIT)                         \
    P(74,  lwt_seg6_store_bytes,       SCALAR,             CTX, ANY, MEM, SIZE, _,               CHANGES, LWT_SEG6LOCAL)                             \
    P(75,  lwt_seg6_adjust_srh,        SCALAR,             CTX, ANY, ANY, _, _,                  CHANGES, LWT_SEG6LOCAL)                             \
    P(76,  lwt_seg6_action,            SCALAR,             CTX, ANY, MEM, SIZE, _,               CHANGES, LWT_SEG6LOCAL)                             \
    P(77,  rc_repeat,                  SCALAR,             CTX, _, _, _, _,                      GPL, LIRC_MODE2)                                    \
    P(78,  rc_keydown,                 SCALAR,             CTX, ANY, ANY, ANY, _,                GPL, LIRC_MODE2)                                    \
    P(79,  skb_cgroup_id,              SCALAR,             CTX, _, _, _, _,                      0, TC | CGROUP_SKB)                                 \
    P(80,  get_current_cgroup_id,      SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(81,  get_local_storage,          VALUE,              MAP, ANY, _, _, _,                    0, CGROUP)                                          \
    P(82,  sk_select_reuseport,        SCALAR,             CTX, MAP, KEY, ANY, _,                0, SK_REUSEPORT)                                    \
    P(83,  skb_ancestor_cgroup_id,     SCALAR,             CTX, ANY, _, _, _,                    0, TC | CGROUP_SKB)                                 \
    P(84,  sk_lookup_tcp,              SOCKET_NULL,        CTX, MEM, SIZE0, ANY, ANY,            PKT | ACQUIRES, TC | XDP | CGROUP_SKB | SK_SKB)     \
    V(84,  sk_lookup_tcp,              SOCKET_NULL,        CTX, MEM, SIZE0, ANY, ANY,            ACQUIRES, CGROUP_SOCK_ADDR)                         \
    P(85,  sk_lookup_udp,              SOCKET_NULL,        CTX, MEM, SIZE0, ANY, ANY,            PKT | ACQUIRES, TC | XDP | CGROUP_SKB | SK_SKB)     \
    V(85,  sk_lookup_udp,              SOCKET_NULL,        CTX, MEM, SIZE0, ANY, ANY,            ACQUIRES, CGROUP_SOCK_ADDR)                         \
    P(86,  sk_release,                 SCALAR,             SK_RELEASE, _, _, _, _,               0, SK_HOLDERS)                                      \
    P(87,  map_push_elem,              SCALAR,             MAP, VALUE, ANY, _, _,                PKT, BASE)                                          \
    P(88,  map_pop_elem,               SCALAR,             MAP, VALUE_OUT, _, _, _,              0, BASE)                                            \
    P(89,  map_peek_elem,              SCALAR,             MAP, VALUE_OUT, _, _, _,              0, BASE)                                            \
    P(90,  msg_push_data,              SCALAR,             CTX, ANY, ANY, ANY, _,                CHANGES, SK_MSG)                                    \
    P(91,  msg_pop_data,               SCALAR,             CTX, ANY, ANY, ANY, _,                CHANGES, SK_MSG)                                    \
    P(92,  rc_pointer_rel,             SCALAR,             CTX, ANY, ANY, _, _,                  GPL, LIRC_MODE2)                                    \
    P(93,  spin_lock,                  VOID,               LOCK, _, _, _, _,                     0, BASE)                                            \
    P(94,  spin_unlock,                VOID,               LOCK, _, _, _, _,                     0, BASE)                                            \
    P(95,  sk_fullsock,                SOCKET_NULL,        SOCK_COMMON, _, _, _, _,              CASTS, TC | CGROUP_SKB)                             \
    P(96,  tcp_sock,                   TCP_SOCK_NULL,      SOCK_COMMON, _, _, _, _,              CASTS, TC | CGROUP_SKB | SOCK_OPS | CGROUP_SOCKOPT) \
    P(97,  skb_ecn_set_ce,             SCALAR,             CTX, _, _, _, _,                      0, TC | CGROUP_SKB)                                 \
    P(98,  get_listener_sock,          SOCKET_NULL,        SOCK_COMMON, _, _, _, _,              0, TC | CGROUP_SKB)                                 \
    P(99,  skc_lookup_tcp,             SOCK_COMMON_NULL,   CTX, MEM, SIZE0, ANY, ANY,            PKT | ACQUIRES, TC | XDP | CGROUP_SKB | SK_SKB)     \
    V(99,  skc_lookup_tcp,             SOCK_COMMON_NULL,   CTX, MEM, SIZE0, ANY, ANY,            ACQUIRES, CGROUP_SOCK_ADDR)                         \
    P(100, tcp_check_syncookie,        SCALAR,             SK, MEM, SIZE, MEM, SIZE,             GPL | PKT, TC | XDP)                                \
    P(101, sysctl_get_name,            SCALAR,             CTX, BUF, SIZE, ANY, _,               0, CGROUP_SYSCTL)                                   \
    P(102, sysctl_get_current_value,   SCALAR,             CTX, OUT, SIZE, _, _,                 0, CGROUP_SYSCTL)                                   \
    P(103, sysctl_get_new_value,       SCALAR,             CTX, OUT, SIZE, _, _,                 0, CGROUP_SYSCTL)                                   \
    P(104, sysctl_set_new_value,       SCALAR,             CTX, MEM, SIZE, _, _,                 0, CGROUP_SYSCTL)                                   \
    P(105, strtol,                     SCALAR,             MEM, SIZE, ANY, U64_OUT, _,           0, BASE)                                            \
    P(106, strtoul,                    SCALAR,             MEM, SIZE, ANY, U64_OUT, _,           0, BASE)                                            \
    P(107, sk_storage_get,             VALUE_NULL,         MAP, SK, VALUE_NULL, ANY, _,          0, SK_STORES)                                       \
    V(107, sk_storage_get,             VALUE_NULL,         MAP, CTX, VALUE_NULL, ANY, _,         0, CGROUP_SOCK)                                     \
    V(107, sk_storage_get,             VALUE_NULL,         MAP, SOCK_NULL, VALUE_NULL, ANY, _,   LISTED, TYPED)                                      \
    P(108, sk_storage_delete,          SCALAR,             MAP, SK, _, _, _,                     0, SK_STORES)                                       \
    V(108, sk_storage_delete,          SCALAR,             MAP, SOCK_NULL, _, _, _,              LISTED, TYPED)                                      \
    P(109, send_signal,                SCALAR,             ANY, _, _, _, _,                      0, BASE)                                            \
    P(110, tcp_gen_syncookie,          SCALAR,             SK, MEM, SIZE, MEM, SIZE,             GPL | PKT, TC | XDP)                                \
    P(111, skb_output,                 SCALAR,             SK_BUFF, MAP, ANY, MEM, SIZE0,        GPL, TYPED)                                         \
    P(112, probe_read_user,            SCALAR,             OUT, SIZE0, ANY, _, _,                GPL | PROCESS, BASE)                                \
    P(113, probe_read_kernel,          SCALAR,             OUT, SIZE0, ANY, _, _,                GPL | PROCESS, BASE)                                \
    P(114, probe_read_user_str,        SCALAR,             OUT, SIZE0, ANY, _, _,                GPL | PROCESS | RET_LENGTH, BASE)                   \
    P(115, probe_read_kernel_str,      SCALAR,             OUT, SIZE0, ANY, _, _,                GPL | PROCESS | RET_LENGTH, BASE)                   \
    P(116, tcp_send_ack,               SCALAR,             TCP, ANY, _, _, _,                    0, STRUCT_OPS)                                      \
    P(117, send_signal_thread,         SCALAR,             ANY, _, _, _, _,                      0, BASE)                                            \
    P(118, jiffies64,                  SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(119, read_branch_records,        SCALAR,             CTX, BUF_NULL, SIZE0, ANY, _,         GPL, PERF_EVENT)                                    \
    P(120, get_ns_current_pid_tgid,    SCALAR,             ANY, ANY, OUT, SIZE, _,               0, BASE)                                            \
    P(121, xdp_output,                 SCALAR,             XDP_BUFF, MAP, ANY, MEM, SIZE0,       GPL, TYPED)                                         \
    P(122, get_netns_cookie,           SCALAR,             CTX_NULL, _, _, _, _,                 0, NETNS)                                           \
    P(123, get_current_ancestor_cgroup_id,SCALAR,             ANY, _, _, _, _,                      0, BASE)                                         \
    P(124, sk_assign,                  SCALAR,             CTX, SK, ANY, _, _,                   0, TC)                                              \
    V(124, sk_assign,                  SCALAR,             CTX, SOCKET_NULL, ANY, _, _,          0, SK_LOOKUP)                                       \
    P(125, ktime_get_boot_ns,          SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(126, seq_printf,                 SCALAR,             SEQ_FILE, MEM, SIZE, MEM_NULL, SIZE0, GPL, ITER)                                          \
    P(127, seq_write,                  SCALAR,             SEQ_FILE, MEM, SIZE0, _, _,           GPL, ITER)                                          \
    P(128, sk_cgroup_id,               SCALAR,             SK, _, _, _, _,                       0, CGROUP_SKB)                                      \
    P(129, sk_ancestor_cgroup_id,      SCALAR,             SK, ANY, _, _, _,                     0, CGROUP_SKB)                                      \
    P(130, ringbuf_output,             SCALAR,             MAP, MEM, SIZE0, ANY, _,              0, BASE)                                            \
    P(131, ringbuf_reserve,            RECORD_NULL,        MAP, ALLOC, ANY, _, _,                ACQUIRES, BASE)                                     \
    P(132, ringbuf_submit,             VOID,               RECORD, ANY, _, _, _,                 0, BASE)                                            \
    P(133, ringbuf_discard,            VOID,               RECORD, ANY, _, _, _,                 0, BASE)                                            \
    P(134, ringbuf_query,              SCALAR,             MAP, ANY, _, _, _,                    0, BASE)                                            \
    P(135, csum_level,                 SCALAR,             CTX, ANY, _, _, _,                    0, TC | LWT_XMIT)                                   \
    P(136, skc_to_tcp6_sock,           TCP6_NULL,          SK, _, _, _, _,                       CASTS, SK_CASTS)                                    \
    P(137, skc_to_tcp_sock,            TCP_NULL,           SK, _, _, _, _,                       CASTS, SK_CASTS)                                    \
    P(138, skc_to_tcp_timewait_sock,   TCP_TW_NULL,        SK, _, _, _, _,                       CASTS, SK_CASTS)                                    \
    P(139, skc_to_tcp_request_sock,    TCP_REQ_NULL,       SK, _, _, _, _,                       CASTS, SK_CASTS)                                    \
    P(140, skc_to_udp6_sock,           UDP6_NULL,          SK, _, _, _, _,                       CASTS, SK_CASTS)                                    \
    P(141, get_task_stack,             SCALAR,             TASK, OUT, SIZE0, ANY, _,             RET_LENGTH | SLEEPS_IF_CAN, BASE)                   \
    P(142, load_hdr_opt,               SCALAR,             CTX, BUF, SIZE, ANY, _,               0, SOCK_OPS)                                        \
    P(143, store_hdr_opt,              SCALAR,             CTX, MEM, SIZE, ANY, _,               CHANGES, SOCK_OPS)                                  \
    P(144, reserve_hdr_opt,            SCALAR,             CTX, ANY, ANY, _, _,                  0, SOCK_OPS)                                        \
    P(145, inode_storage_get,          VALUE_NULL,         MAP, INODE_NULL, VALUE_NULL, ANY, _,  0, LSM)                                             \
    P(146, inode_storage_delete,       SCALAR,             MAP, INODE_NULL, _, _, _,             0, LSM)                                             \
    P(147, d_path,                     SCALAR,             PATH, BUF, SIZE0, _, _,               LISTED, TYPED)                                      \
    P(148, copy_from_user,             SCALAR,             OUT, SIZE0, ANY, _, _,                SLEEPS | PROCESS, BASE)                             \
    P(149, snprintf_btf,               SCALAR,             BUF, SIZE, MEM, SIZE, ANY,            0, BASE)                                            \
    P(150, seq_printf_btf,             SCALAR,             SEQ_FILE, MEM, SIZE0, ANY, _,         GPL, ITER)                                          \
    P(151, skb_cgroup_classid,         SCALAR,             CTX, _, _, _, _,                      0, TC)                                              \
    P(152, redirect_neigh,             SCALAR,             ANY, MEM_NULL, SIZE0, ANY, _,         0, TC)                                              \
    P(153, per_cpu_ptr,                PERCPU_NULL,        PERCPU, ANY, _, _, _,                 0, BASE)                                            \
    P(154, this_cpu_ptr,               PERCPU,             PERCPU, _, _, _, _,                   0, BASE)                                            \
    P(155, redirect_peer,              SCALAR,             ANY, ANY, _, _, _,                    0, TC)                                              \
    P(156, task_storage_get,           VALUE_NULL,         MAP, TASK_NULL, VALUE_NULL, ANY, _,   0, BASE)                                            \
    P(157, task_storage_delete,        SCALAR,             MAP, TASK_NULL, _, _, _,              0, BASE)                                            \
    P(158, get_current_task_btf,       TASK_TRUSTED,       _, _, _, _, _,                        GPL, BASE)                                          \
    P(159, bprm_opts_set,              SCALAR,             BINPRM, ANY, _, _, _,                 0, LSM)                                             \
    P(160, ktime_get_coarse_ns,        SCALAR,             _, _, _, _, _,                        0, COARSE)                                          \
    P(161, ima_inode_hash,             SCALAR,             INODE, OUT, SIZE, _, _,               SLEEPS | LISTED, LSM)                               \
    P(162, sock_from_file,             SOCKET_STRUCT_NULL, FILE, _, _, _, _,                     0, TYPED)                                           \
    P(163, check_mtu,                  SCALAR,             CTX, ANY, U32_IO, ANY, ANY,           GPL, TC | XDP)                                      \
    P(164, for_each_map_elem,          SCALAR,             MAP, FUNC, STACK_NULL, ANY, _,        0, BASE)                                            \
    P(165, snprintf,                   SCALAR,             BUF_NULL, SIZE0, STR, MEM_NULL, SIZE0,GPL, BASE)                                          \
    P(166, sys_bpf,                    SCALAR,             ANY, MEM, SIZE, _, _,                 SLEEPS, SYSCALL)                                    \
    P(167, btf_find_by_name_kind,      SCALAR,             MEM, SIZE, ANY, ANY, _,               SLEEPS, SYSCALL)                                    \
    P(168, sys_close,                  SCALAR,             ANY, _, _, _, _,                      SLEEPS, SYSCALL)                                    \
    P(169, timer_init,                 SCALAR,             TIMER, MAP, ANY, _, _,                GPL, BASE)                                          \
    P(170, timer_set_callback,         SCALAR,             TIMER, FUNC, _, _, _,                 GPL, BASE)                                          \
    P(171, timer_start,                SCALAR,             TIMER, ANY, ANY, _, _,                GPL, BASE)                                          \
    P(172, timer_cancel,               SCALAR,             TIMER, _, _, _, _,                    GPL, BASE)                                          \
    P(173, get_func_ip,                SCALAR,             CTX, _, _, _, _,                      GPL | CTX_RECORD, TRACE)                            \
    P(174, get_attach_cookie,          SCALAR,             CTX, _, _, _, _,                      CTX_RECORD, COOKIES)                                \
    P(175, task_pt_regs,               PT_REGS,            TASK, _, _, _, _,                     GPL, BASE)                                          \
    P(176, get_branch_snapshot,        SCALAR,             OUT, SIZE0, _, _, _,                  GPL, BASE)                                          \
    P(177, trace_vprintk,              SCALAR,             MEM, SIZE, MEM_NULL, SIZE0, _,        GPL, BASE)                                          \
    P(178, skc_to_unix_sock,           UNIX_NULL,          SK, _, _, _, _,                       0, SK_CASTS)                                        \
    P(179, kallsyms_lookup_name,       SCALAR,             BUF, SIZE0, ANY, U64_OUT, _,          0, SYSCALL)                                         \
    P(180, find_vma,                   SCALAR,             TASK, ANY, FUNC, STACK_NULL, ANY,     0, BASE)                                            \
    P(181, loop,                       SCALAR,             SCALAR, FUNC, STACK_NULL, ANY, _,     0, BASE)                                            \
    P(182, strncmp,                    SCALAR,             MEM, SIZE, STR, _, _,                 0, BASE)                                            \
    P(183, get_func_arg,               SCALAR,             CTX, ANY, U64_OUT, _, _,              0, TRAMPOLINE)                                      \
    P(184, get_func_ret,               SCALAR,             CTX, U64_OUT, _, _, _,                0, RETURNING)                                       \
    P(185, get_func_arg_cnt,           SCALAR,             CTX, _, _, _, _,                      0, TRAMPOLINE)                                      \
    P(186, get_retval,                 SCALAR,             _, _, _, _, _,                        0, CGROUP_SOCK | CGROUP_SOCK_ADDR | CGROUP_SOCKOPT) \
    P(187, set_retval,                 SCALAR,             ANY, _, _, _, _,                      0, CGROUP_SOCK | CGROUP_SOCK_ADDR | CGROUP_SOCKOPT) \
    P(188, xdp_get_buff_len,           SCALAR,             CTX, _, _, _, _,                      0, XDP)                                             \
    V(188, xdp_get_buff_len,           SCALAR,             XDP_BUFF, _, _, _, _,                 0, TYPED)                                           \
    P(189, xdp_load_bytes,             SCALAR,             CTX, ANY, OUT, SIZE, _,               0, XDP)                                             \
    P(190, xdp_store_bytes,            SCALAR,             CTX, ANY, MEM, SIZE, _,               0, XDP)                                             \
    P(191, copy_from_user_task,        SCALAR,             OUT, SIZE0, ANY, TASK, ANY,           GPL | SLEEPS | PROCESS, BASE)                       \
    P(192, skb_set_tstamp,             SCALAR,             CTX, ANY, ANY, _, _,                  0, TC)                                              \
    P(193, ima_file_hash,              SCALAR,             FILE, OUT, SIZE, _, _,                SLEEPS | LISTED, LSM)                               \
    P(194, kptr_xchg,                  KPTR_NULL,          KPTR, KPTR_NEW, _, _, _,              ACQUIRES, BASE)                                     \
    P(195, map_lookup_percpu_elem,     VALUE_NULL,         MAP, KEY, ANY, _, _,                  PKT, BASE)                                          \
    P(196, skc_to_mptcp_sock,          MPTCP_NULL,         SOCK_COMMON, _, _, _, _,              CASTS, SK_CASTS)                                    \
    P(197, dynptr_from_mem,            SCALAR,             OUT, SIZE0, ANY, DYNPTR_LOCAL, _,     0, BASE)                                            \
    P(198, ringbuf_reserve_dynptr,     SCALAR,             MAP, ANY, ANY, DYNPTR_RINGBUF, _,     0, BASE)                                            \
    P(199, ringbuf_submit_dynptr,      VOID,               DYNPTR_RECORD, ANY, _, _, _,          0, BASE)                                            \
    P(200, ringbuf_discard_dynptr,     VOID,               DYNPTR_RECORD, ANY, _, _, _,          0, BASE)                                            \
    P(201, dynptr_read,                SCALAR,             OUT, SIZE0, DYNPTR, ANY, ANY,         0, BASE)                                            \
    P(202, dynptr_write,               SCALAR,             DYNPTR, ANY, MEM, SIZE0, ANY,         0, BASE)                                            \
    P(203, dynptr_data,                SLICE_NULL,         DYNPTR, ANY, ALLOC, _, _,             0, BASE)                                            \
    P(204, tcp_raw_gen_syncookie_ipv4, SCALAR,             IPHDR, BUF, SIZE0, _, _,              GPL | PKT, TC | XDP)                                \
    P(205, tcp_raw_gen_syncookie_ipv6, SCALAR,             IPV6HDR, BUF, SIZE0, _, _,            GPL | PKT, TC | XDP)                                \
    P(206, tcp_raw_check_syncookie_ipv4,SCALAR,             IPHDR, TCPHDR, _, _, _,               GPL | PKT, TC | XDP)                               \
    P(207, tcp_raw_check_syncookie_ipv6,SCALAR,             IPV6HDR, TCPHDR, _, _, _,             GPL | PKT, TC | XDP)                               \
    P(208, ktime_get_tai_ns,           SCALAR,             _, _, _, _, _,                        0, BASE)                                            \
    P(209, user_ringbuf_drain,         SCALAR,             MAP, FUNC, STACK_NULL, ANY, _,        0, BASE)                                            \
    P(210, cgrp_storage_get,           VALUE_NULL,         MAP, CGROUP_NULL, VALUE_NULL, ANY, _, 0, BASE)                                            \
    P(211, cgrp_storage_delete,        SCALAR,             MAP, CGROUP_NULL, _, _, _,            0, BASE)
// clang-format on

enum tn_proto_type {
#define B(word, name) TN_BTF_OF_##word,
    TN_PROTO_TYPES(B)
#undef B
};
enum tn_proto_id {
#define P(id, name, ...) TN_PROTO_##name = id,
#define V(...)
    TN_PROTOS(P, V)
#undef P
#undef V
        TN_PROTO_END /* one more than the last helper Linux has */
};
enum {
#define F(word) TN_PROTO_BIT_##word,
    TN_PROTO_FLAGS(F)
#undef F
#define F(word) TN_PF_##word = 1 << TN_PROTO_BIT_##word,
        TN_PROTO_FLAGS(F)
#undef F
};

struct tn_arg_form {
    u8 kind, flags; /* enum tn_arg_kind, TN_AF_… */
    u16 n;
};
struct tn_ret_form {
    u8 kind; /* enum tn_ret_kind */
    bool null, trusted;
    u16 n;
};
struct tn_proto {
    u32 id;
    const char *name; /* "bpf_map_lookup_elem" */
    u8 ret, arg[5];   /* words: tn_proto_ret, tn_proto_arg */
    u32 flags;        /* TN_PF_… */
    u64 where;        /* program types, as protos.c numbers them */
};

/* The row for a program of this type and attach type, or NULL: the helper is not for it. `id` may be
   anything. Static lifetime. */
const struct tn_proto *tn_proto_for(u32 id, u32 prog_type, u32 attach_type);
/* The first row of that number, or NULL. */
const struct tn_proto *tn_proto_by_id(u32 id);
/* arg: 1 … 5 */
const struct tn_arg_form *tn_proto_arg(const struct tn_proto *proto, u32 arg);
const struct tn_ret_form *tn_proto_ret(const struct tn_proto *proto);
u32 tn_proto_nargs(const struct tn_proto *proto);
/* "bpf_map_lookup_elem", "bpf_unspec", "unknown": as Linux's log calls it. */
const char *tn_proto_name(u32 id);
/* "task_struct" for TN_BTF_OF_TASK. */
const char *tn_proto_type_name(u32 type);
/* Programs of this type may hand packet data to helpers that take it. */
bool tn_proto_takes_packets(u32 prog_type, const struct tn_proto *proto);

#endif
