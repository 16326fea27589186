/* SPDX-License-Identifier: MIT */
/* The four functions a compiler takes for granted, for the build without libc and vector registers: words for
   what is short, string instructions, which are slow to start, for what is long. */
#include "rt/mem.h"

#define SHORT 128u
typedef u64 __attribute__((may_alias, aligned(1))) word;
typedef u32 __attribute__((may_alias, aligned(1))) half;

/* Two words at once; the last two over what is there already. */
static inline void copy_short(u8 *d, const u8 *s, size_t n)
{
    if (n >= 16) {
        for (; n > 16; n -= 16, d += 16, s += 16) {
            *(word *)d = *(const word *)s;
            *(word *)(d + 8) = *(const word *)(s + 8);
        }
        *(word *)(d + n - 16) = *(const word *)(s + n - 16);
        *(word *)(d + n - 8) = *(const word *)(s + n - 8);
    } else if (n >= 8) {
        *(word *)d = *(const word *)s;
        *(word *)(d + n - 8) = *(const word *)(s + n - 8);
    } else if (n >= 4) {
        *(half *)d = *(const half *)s;
        *(half *)(d + n - 4) = *(const half *)(s + n - 4);
    } else {
        while (n--)
            *(volatile u8 *)d++ = *s++;
    }
}

void *memcpy(void *dst, const void *src, size_t n)
{
    void *to = dst;

    if (n < SHORT) {
        copy_short(dst, src, n);
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
