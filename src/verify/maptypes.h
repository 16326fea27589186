/* SPDX-License-Identifier: MIT */
/*
 * What Linux says of its map types: one row each, whether or not the type is built here (rt/map/map.h says
 * that), and one row a helper that works on special ones.
 *
 *      M(number, word, name, what a look-up finds, flags)
 *
 * A type with PLAIN goes with every helper that names no types itself. Any other type goes with the helpers
 * that name it, and with no other:
 *
 *      C(helper, types)
 *
 * Source: what version 6.18 answers when it is asked for each pair.
 */
#ifndef TN_VERIFY_MAPTYPES_H
#define TN_VERIFY_MAPTYPES_H

#include "base/base.h"

// clang-format off
#define TN_VERIFY_MAPS(M)                                                                                    \
    M(1,  HASH,                  "hash",                  VALUE,    PLAIN | SLEEP | EACH)                    \
    M(2,  ARRAY,                 "array",                 VALUE,    PLAIN | SLEEP | EACH | CERTAIN | DIRECT) \
    M(3,  PROG_ARRAY,            "prog_array",            NOTHING,  0)                                       \
    M(4,  PERF_EVENT_ARRAY,      "perf_event_array",      NOTHING,  0)                                       \
    M(5,  PERCPU_HASH,           "percpu_hash",           VALUE,    PLAIN | SLEEP | EACH | PERCPU)           \
    M(6,  PERCPU_ARRAY,          "percpu_array",          VALUE,    PLAIN | SLEEP | EACH | CERTAIN | PERCPU) \
    M(7,  STACK_TRACE,           "stack_trace",           NOTHING,  0)                                       \
    M(8,  CGROUP_ARRAY,          "cgroup_array",          NOTHING,  0)                                       \
    M(9,  LRU_HASH,              "lru_hash",              VALUE,    PLAIN | SLEEP | EACH)                    \
    M(10, LRU_PERCPU_HASH,       "lru_percpu_hash",       VALUE,    PLAIN | SLEEP | EACH | PERCPU)           \
    M(11, LPM_TRIE,              "lpm_trie",              VALUE,    PLAIN)                                   \
    M(12, ARRAY_OF_MAPS,         "array_of_maps",         MAP,      SLEEP)                                   \
    M(13, HASH_OF_MAPS,          "hash_of_maps",          MAP,      SLEEP)                                   \
    M(14, DEVMAP,                "devmap",                VALUE,    READ_ONLY)                               \
    M(15, SOCKMAP,               "sockmap",               SOCKET,   0)                                       \
    M(16, CPUMAP,                "cpumap",                NOTHING,  0)                                       \
    M(17, XSKMAP,                "xskmap",                XDP_SOCK, 0)                                       \
    M(18, SOCKHASH,              "sockhash",              SOCKET,   0)                                       \
    M(19, CGROUP_STORAGE,        "cgroup_storage",        VALUE,    0)                                       \
    M(20, REUSEPORT_SOCKARRAY,   "reuseport_sockarray",   NOTHING,  0)                                       \
    M(21, PERCPU_CGROUP_STORAGE, "percpu_cgroup_storage", VALUE,    PERCPU)                                  \
    M(22, QUEUE,                 "queue",                 NOTHING,  SLEEP)                                   \
    M(23, STACK,                 "stack",                 NOTHING,  SLEEP)                                   \
    M(24, SK_STORAGE,            "sk_storage",            VALUE,    SLEEP)                                   \
    M(25, DEVMAP_HASH,           "devmap_hash",           VALUE,    READ_ONLY)                               \
    M(26, STRUCT_OPS,            "struct_ops",            NOTHING,  0)                                       \
    M(27, RINGBUF,               "ringbuf",               NOTHING,  SLEEP)                                   \
    M(28, INODE_STORAGE,         "inode_storage",         VALUE,    SLEEP)                                   \
    M(29, TASK_STORAGE,          "task_storage",          VALUE,    SLEEP)                                   \
    M(30, BLOOM_FILTER,          "bloom_filter",          NOTHING,  0)                                       \
    M(31, USER_RINGBUF,          "user_ringbuf",          NOTHING,  SLEEP)                                   \
    M(32, CGRP_STORAGE,          "cgrp_storage",          VALUE,    SLEEP)                                   \
    M(33, ARENA,                 "arena",                 NOTHING,  SLEEP | DIRECT)

#define TN_MAP_CALLS(C)                                                                                      \
    C(tail_call,                 PROG_ARRAY)                                                                 \
    C(perf_event_read,           PERF_EVENT_ARRAY)                                                           \
    C(perf_event_output,         PERF_EVENT_ARRAY)                                                           \
    C(perf_event_read_value,     PERF_EVENT_ARRAY)                                                           \
    C(skb_output,                PERF_EVENT_ARRAY)                                                           \
    C(xdp_output,                PERF_EVENT_ARRAY)                                                           \
    C(get_stackid,               STACK_TRACE)                                                                \
    C(skb_under_cgroup,          CGROUP_ARRAY)                                                               \
    C(current_task_under_cgroup, CGROUP_ARRAY)                                                               \
    C(ringbuf_output,            RINGBUF)                                                                    \
    C(ringbuf_reserve,           RINGBUF)                                                                    \
    C(ringbuf_query,             RINGBUF)                                                                    \
    C(ringbuf_reserve_dynptr,    RINGBUF)                                                                    \
    C(user_ringbuf_drain,        USER_RINGBUF)                                                               \
    C(redirect_map,              DEVMAP | DEVMAP_HASH | CPUMAP | XSKMAP)                                     \
    C(sk_redirect_map,           SOCKMAP)                                                                    \
    C(msg_redirect_map,          SOCKMAP)                                                                    \
    C(sock_map_update,           SOCKMAP)                                                                    \
    C(sk_redirect_hash,          SOCKHASH)                                                                   \
    C(msg_redirect_hash,         SOCKHASH)                                                                   \
    C(sock_hash_update,          SOCKHASH)                                                                   \
    C(sk_select_reuseport,       REUSEPORT_SOCKARRAY | SOCKMAP | SOCKHASH)                                   \
    C(get_local_storage,         CGROUP_STORAGE | PERCPU_CGROUP_STORAGE)                                     \
    C(map_push_elem,             QUEUE | STACK | BLOOM_FILTER)                                               \
    C(map_pop_elem,              QUEUE | STACK)                                                              \
    C(map_peek_elem,             QUEUE | STACK | BLOOM_FILTER)                                               \
    C(map_lookup_percpu_elem,    PERCPU_ARRAY | PERCPU_HASH | LRU_PERCPU_HASH)                               \
    C(sk_storage_get,            SK_STORAGE)                                                                 \
    C(sk_storage_delete,         SK_STORAGE)                                                                 \
    C(inode_storage_get,         INODE_STORAGE)                                                              \
    C(inode_storage_delete,      INODE_STORAGE)                                                              \
    C(task_storage_get,          TASK_STORAGE)                                                               \
    C(task_storage_delete,       TASK_STORAGE)                                                               \
    C(cgrp_storage_get,          CGRP_STORAGE)                                                               \
    C(cgrp_storage_delete,       CGRP_STORAGE)                                                               \
    C(map_lookup_elem,           PLAIN_TYPES | ARRAY_OF_MAPS | HASH_OF_MAPS | DEVMAP | DEVMAP_HASH |         \
                                 XSKMAP | SOCKMAP | SOCKHASH)                                                \
    C(map_update_elem,           PLAIN_TYPES | SOCKMAP | SOCKHASH) /* what is put there is a socket */        \
    C(map_delete_elem,           PLAIN_TYPES | SOCKMAP | SOCKHASH)
// clang-format on

enum tn_map_number {
#define M(number, word, ...) TN_MAP_##word = number,
    TN_VERIFY_MAPS(M)
#undef M
        TN_MAP_NUMBERS
};

enum tn_found { TN_FOUND_NOTHING, TN_FOUND_VALUE, TN_FOUND_MAP, TN_FOUND_SOCKET, TN_FOUND_XDP_SOCK };

enum tn_vmap_flag {
    TN_VM_PLAIN = 1 << 0,
    TN_VM_SLEEP = 1 << 1,     /* for sleepable programs, too */
    TN_VM_EACH = 1 << 2,      /* bpf_for_each_map_elem goes through it */
    TN_VM_CERTAIN = 1 << 3,   /* an index below max_entries is always found */
    TN_VM_DIRECT = 1 << 4,    /* its memory may be addressed without a look-up */
    TN_VM_PERCPU = 1 << 5,    /* a value for each CPU */
    TN_VM_READ_ONLY = 1 << 6, /* programs never write into it */
};

struct tn_vmap {
    u32 type;
    const char *name;
    u8 found; /* enum tn_found */
    u8 flags; /* TN_VM_… */
};
/* NULL for a number that no type has. Static lifetime. */
const struct tn_vmap *tn_vmap_by_type(u32 type);
/* May this helper be handed a map of this type? */
bool tn_vmap_takes(u32 type, u32 helper);

#endif
