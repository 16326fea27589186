/* SPDX-License-Identifier: MIT */
/* For targets in which a place is to be had in no way but one. */
#ifndef TESTS_TARGETS_CROWD_H
#define TESTS_TARGETS_CROWD_H

#include <sys/mman.h>

/* Takes all memory to which a jump in the place of the first `len` bytes could lead, with any number of prefixes. */
static void crowd(const unsigned char *at, unsigned len)
{
    for (unsigned n = 0; n < len; n++) {
        unsigned own = len - 1 - n, rel = 0;
        unsigned long lo, hi;

        for (unsigned b = own; b < 4; b++)
            rel |= (unsigned)at[len + b - own] << 8 * b;
        lo = (unsigned long)at + n + 5 + (unsigned long)(long)(int)rel;
        hi = lo + (1ul << 8 * own) - 1 + 16;
        for (lo &= ~4095ul; lo <= hi; lo += 4096)
            mmap((void *)lo, 4096, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    }
}

#endif
