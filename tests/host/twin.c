/* SPDX-License-Identifier: MIT */
/* A second unit: another function and another struct of a name that entry.c has too, and the whole of a
   struct that is only declared there. */
struct bits {
    char other;
    long here;
};
static struct bits twin_bits;
extern long sink;

static __attribute__((noinline)) long twin(char *x, struct bits *b)
{
    return *x + b->here + sink;
}

static int twin_static = 3;
_Thread_local int twin_thread;

long twin_caller(char *x)
{
    twin_static++;
    twin_thread++;
    return twin(x, &twin_bits) + twin(x + 1, &twin_bits);
}
