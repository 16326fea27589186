/* SPDX-License-Identifier: MIT */
/* The four functions a compiler takes for granted, for the build without libc and vector registers: words for
   what is short, string instructions, which are slow to start, for what is long. */
#include "rt/mem.h"

#define SHORT 128u
typedef u64 __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *dst, const void *src, size_t n)
{
    void *to = dst;

    if (n < SHORT) {
        u8 *d = dst;
        const u8 *s = src;
        size_t left = n;

        for (; left >= 8; left -= 8, d += 8, s += 8)
            *(word *)d = *(const word *)s;
        if (left && n >= 8) { /* the last word, over what is there already */
            *(word *)(d + left - 8) = *(const word *)(s + left - 8);
            return dst;
        }
        while (left--)
            *(volatile u8 *)d++ = *s++;
        return dst;
    }
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(n) : : "memory");
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    u8 *to = dst;
    const u8 *from = src;

    if ((size_t)(to - from) >= n && (size_t)(from - to) >= n)
        return memcpy(dst, src, n);
    if (to < from)
        for (size_t i = 0; i < n; i++)
            ((volatile u8 *)to)[i] = from[i];
    else
        while (n--)
            ((volatile u8 *)to)[n] = from[n];
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    void *to = dst;

    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;

    for (; n >= 8 && *(const word *)x == *(const word *)y; n -= 8, x += 8, y += 8)
        continue;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            return x[i] - y[i];
    return 0;
}
