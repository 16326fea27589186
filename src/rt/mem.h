/* SPDX-License-Identifier: MIT */
/*
 * Copying, filling and comparing, where there may be no libc. The compiler may call these four of its own
 * accord; the freestanding build brings its own (mem.c), the hosted one takes libc's.
 */
#ifndef TN_RT_MEM_H
#define TN_RT_MEM_H

#include "base/base.h"

#ifdef TN_FREESTANDING
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
#endif

/* Map values: word-wise where they are whole words, so that a reader sees no half-written word. */
static inline void tn_copy(void *dst, const void *src, u64 n)
{
    if (!(((u64)dst | (u64)src | n) & 7) && n <= 64) {
        for (u64 i = 0; i < n / 8; i++)
            ((volatile u64 *)dst)[i] = ((const u64 *)src)[i];
        return;
    }
    memcpy(dst, src, n);
}

#endif
