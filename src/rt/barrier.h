/* SPDX-License-Identifier: MIT */
/*
 * All memory ordering, and nothing else.
 *
 * Two kinds of rival are kept apart:
 *
 *   another processor   atomics of the C11 model; a SIGKILL may fall between any two stores, so stores that a
 *                       recovery relies on are release stores (x86 keeps them in program order, the compiler
 *                       is told to)
 *   a signal handler    on this very thread: one instruction without a lock prefix is enough, since an
 *                       interrupt never splits an instruction (tn_this_thread_*)
 */
#ifndef TN_RT_BARRIER_H
#define TN_RT_BARRIER_H

#include "base/base.h"

#define tn_load(p)             __atomic_load_n(p, __ATOMIC_RELAXED)
#define tn_load_acquire(p)     __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define tn_store(p, v)         __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define tn_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define tn_fence_acquire()     __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define tn_xchg(p, v)          __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define tn_fetch_add(p, v)     __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define tn_fetch_or(p, v)      __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define tn_fetch_and(p, v)     __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)

static inline bool tn_cas64(u64 *p, u64 expected, u64 desired)
{
    return __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static inline bool tn_cas32(u32 *p, u32 expected, u32 desired)
{
    return __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* Sets a bit; true when it was set before. Whole against signals of this thread only. */
static inline bool tn_this_thread_set_bit(u64 *word, u32 bit)
{
    bool was;

    __asm__ volatile("btsq %2, %0" : "+m"(*word), "=@ccc"(was) : "r"((u64)bit) : "memory");
    return was;
}

static inline void tn_this_thread_clear_bit(u64 *word, u32 bit)
{
    __asm__ volatile("btrq %1, %0" : "+m"(*word) : "r"((u64)bit) : "memory", "cc");
}

/* Tells the processor that this is a wait. */
static inline void tn_pause(void)
{
    __builtin_ia32_pause();
}

#endif
