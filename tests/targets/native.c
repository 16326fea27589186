/* SPDX-License-Identifier: MIT */
/* The outages of outages.bpf.c as a native module has them: nothing looks at it before it runs. KIND says which. */
#include "tests/targets/host.h"

#define ENDLESS  1
#define OVERFLOW 2
#define DEEP     3

long handle(Request *r);

static __attribute__((noinline)) long nested(volatile long depth)
{
    volatile char frame[64];

    frame[0] = (char)depth;
    return depth > 0 ? nested(depth - 1) + frame[0] : 0;
}

long handle(Request *r)
{
    volatile long rounds = 0;
    volatile char part[64];

    if (KIND == ENDLESS)
        while (*(Request *volatile *)&r->parent)
            rounds++;
    if (KIND == OVERFLOW)
        for (unsigned long k = 0; k < r->args.len; k++)
            part[k] = 'x';
    if (KIND == DEEP)
        rounds = nested((long)r->args.len << 32);
    part[0] = (char)rounds;
    return rounds + part[0];
}
