/* SPDX-License-Identifier: MIT */
/*
 * Map types in rows, and the operations on one process's view of a map.
 *
 * M(type, prefix, name, flags): type is BPF_MAP_TYPE_<type>; the operations are tn_<prefix>_<op>, one file a
 * type.
 *
 * Operations obey the kernel's semantics to the errno (BPF_ANY, BPF_NOEXIST, BPF_EXIST, E2BIG, ENOENT,
 * EEXIST, EINVAL…). All take a private view whose geometry is trusted and memory that is not.
 *
 * Two kinds of caller: programs (per-CPU maps: the slot `cpu` of the run) and user space (per-CPU maps: all
 * possible CPUs at once, value_stride bytes each).
 */
#ifndef TN_RT_MAP_H
#define TN_RT_MAP_H

#include "rt/layout.h"

// clang-format off
#define TN_MAP_TYPES(M)                                                                                      \
    M(HASH,         hash,    "hash",         TN_MF_TABLE)                                                    \
    M(ARRAY,        array,   "array",        TN_MF_MMAPABLE)                                                 \
    M(PERCPU_HASH,  phash,   "percpu_hash",  TN_MF_PERCPU | TN_MF_TABLE)                                     \
    M(PERCPU_ARRAY, parray,  "percpu_array", TN_MF_PERCPU)                                                   \
    M(STACK_TRACE,  stack,   "stack_trace",  TN_MF_TABLE)                                                    \
    M(RINGBUF,      ringbuf, "ringbuf",      TN_MF_NO_ELEMS)
// clang-format on

enum tn_map_flag {
    TN_MF_PERCPU = 1 << 0,   /* values exist once a possible CPU: programs that touch it claim a slot */
    TN_MF_MMAPABLE = 1 << 1, /* BPF_F_MMAPABLE is understood */
    TN_MF_NO_ELEMS = 1 << 2, /* no look-up, update, delete from programs */
    TN_MF_TABLE = 1 << 3,    /* made of the shared hash table (table.h) */
};

/* What Linux answers for an operation that a type does not have.
   Its number never leaves the kernel's own headers. */
#define TN_ENOTSUPP 524

/* Checks attributes as Linux's map_alloc_check does and lays the memory out. −EINVAL, −E2BIG, −ENOMEM… as
   there; −EOPNOTSUPP for a type without a row. ncpu: possible CPUs, ≥ 1. */
int tn_map_geometry(u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 map_flags, u32 ncpu,
                    struct tn_map_geo *ret_geo);

/* Prepares fresh, zeroed memory (free lists, empty buckets). Called once, by the broker. */
int tn_map_init(const struct tn_map *map);

/* From programs that have a run: as below, with the run's CPU,
   and locks marked with what it knows of its process. */
struct tn_who;
int tn_map_update_as(const struct tn_map *map, const void *key, const void *value, u64 flags, s32 cpu,
                     const struct tn_who *who);
int tn_map_delete_as(const struct tn_map *map, const void *key, const struct tn_who *who);

/* From programs. Pointer to the value in shared memory, or NULL. cpu: the run's claim (per-CPU maps only). */
void *tn_map_lookup(const struct tn_map *map, const void *key, s32 cpu);
int tn_map_update(const struct tn_map *map, const void *key, const void *value, u64 flags, s32 cpu);
int tn_map_delete(const struct tn_map *map, const void *key);

/* From user space (door, broker, CLI): copies. Per-CPU types: value is ncpu × value_stride bytes. */
int tn_map_user_lookup(const struct tn_map *map, const void *key, void *ret_value, u64 flags);
int tn_map_user_update(const struct tn_map *map, const void *key, const void *value, u64 flags);
int tn_map_user_delete(const struct tn_map *map, const void *key);
/* key NULL: the first. −ENOENT past the last. A key that is not there (hash): the first, as in Linux. */
int tn_map_user_next_key(const struct tn_map *map, const void *key, void *ret_next);
/* Bytes user space exchanges for one value: value_size, or ncpu × value_stride. */
u64 tn_map_user_value_size(const struct tn_map_geo *geo);

/*
 * After a process has died: clears its locks and finishes or undoes what it was in the middle of, so that no
 * element is lost, none is there twice, and no consumer waits for a record that nobody will commit. Others
 * may go on using the map meanwhile. `pid` as in owner words. Safe to call for a process that never touched
 * the map.
 */
void tn_map_recover(const struct tn_map *map, u32 dead_pid);

/* Ring buffer. Memory: consumer page (position at 0), producer page (position at 0), data twice its size, so
   that a record never wraps (the consumer maps pages 0, 1… exactly as from Linux); then the control block. */
#define TN_RB_CONSUMER 0u
#define TN_RB_PRODUCER 4096u
#define TN_RB_DATA     8192u
struct tn_rb_ctl {
    u64 lock; /* 0 free, else owner as in tn_cpu_claim */
    u32 wake; /* futex: TN_RB_ARMED when the broker sleeps on it */
    u32 pad;
    u64 seen; /* by whoever held the lock last: the consumer is there, or further */
};
#define TN_RB_ARMED 1u
void *tn_ringbuf_reserve(const struct tn_map *map, u64 size, struct tn_run *run);
void tn_ringbuf_commit(void *sample, u64 flags, bool discard, struct tn_run *run);
int tn_ringbuf_output(const struct tn_map *map, const void *data, u64 size, u64 flags, struct tn_run *run);
u64 tn_ringbuf_query(const struct tn_map *map, u64 what);
/* The consumer's half of the wake-up: writes TN_RB_ARMED into tn_rb_ctl.wake, looks once more whether there
   is anything to read, then waits on the word (shared futex). A producer that wakes writes 0 first. */

/* A stack as a map of stacks keeps it: the addresses, innermost first. */
#define TN_STACK_MAX 127u /* Linux: kernel.perf_event_max_stack, as it is by default */
struct tn_stack {
    u32 hash; /* of the addresses */
    u32 count;
    u64 ip[TN_STACK_MAX]; /* in a map, as many as a value has room for */
};
/* Fills in the hash. The number that the stack has in the map, now or already, or a negative errno: bpf_get_stackid. `flags`:
   BPF_F_FAST_STACK_CMP, BPF_F_REUSE_STACKID; `count` is 1 or more. */
s64 tn_stack_keep(const struct tn_map *map, struct tn_stack *stack, u64 flags, const struct tn_who *who);

#ifndef TN_FREESTANDING
struct tn_map_type {
    u32 type;
    const char *name;
    u32 flags; /* enum tn_map_flag */
};
/* NULL where there is no such type. Static lifetime. */
const struct tn_map_type *tn_map_type_by_id(u32 type);
static inline bool tn_map_is_table(const struct tn_map *map)
{
    const struct tn_map_type *type = tn_map_type_by_id(map->geo.type);

    return type && (type->flags & TN_MF_TABLE);
}

/* Recovers for every owner found in the map of whom `dead` says so:
   processes the broker was never told of. */
void tn_map_reap(const struct tn_map *map, bool (*dead)(u32 pid, void *arg), void *arg);

/* What a table consists of; only exact while nobody writes. For tests and for people. */
struct tn_map_census {
    u32 live, free, spare, taken; /* elements by state; free and spare only if they can be found */
    u32 chained;                  /* elements on chains */
    u32 locked;                   /* buckets */
    u32 faults; /* duplicates, elements on wrong chains, lost ones, broken chains: 0 in a sound map */
};
int tn_map_census(const struct tn_map *map, struct tn_map_census *ret_census);
#endif
#endif
