/* SPDX-License-Identifier: MIT */
/*
 * A shop with static probes (USDT), as programs have them: one behind its semaphore, one that was inlined twice, one
 * that is always reached. Obeys lines on standard input:
 *
 *     order N       N orders → what the probe's four arguments add up to, and how often it was reached
 *     twice N       N calls of each of two functions that share an inlined probe → N
 *     semaphores    → their values
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

#define SEMAPHORE(name) __extension__ unsigned short name##_semaphore __attribute__((used, section(".probes")))
SEMAPHORE(shop_order);
SEMAPHORE(shop_twice);
SEMAPHORE(shop_always); /* not asked: the probe is always reached */
SEMAPHORE(shop_scaled);

struct item {
    int id;
    short quantity;
    signed char kind;
};
static struct item items[] = {{1, -2, -3}, {2, 5, 7}, {-3, 1, 1}, {4, -9, 2}};
static int64_t sum[4];
static uint64_t reached;
volatile long result; /* nothing is left out */

/* What stands behind the probe is jumped to when nobody looks. */
__attribute__((noinline)) static long order(const struct item *item, long k)
{
    if (shop_order_semaphore) {
        STAP_PROBE4(shop, order, item->id, item->quantity, item->kind, k);
        reached++;
        sum[0] += item->id;
        sum[1] += item->quantity;
        sum[2] += item->kind;
        sum[3] += k;
    }
    return item->id * k;
}

static inline __attribute__((always_inline)) long twice(long a)
{
    if (shop_twice_semaphore)
        STAP_PROBE1(shop, twice, a);
    return a ^ 5;
}

__attribute__((noinline)) static long one(long a)
{
    return twice(a + 1) * 3;
}

__attribute__((noinline)) static long other(long a)
{
    long b = twice(a);

    STAP_PROBE(shop, always);
    return b - a;
}

/* An argument as compilers write it where they address an array, which libbpf 1.1 cannot read. */
__attribute__((used, noinline)) static void scaled(void)
{
    // clang-format off
    __asm__ volatile(STAP_PROBE_ASM(shop, scaled, -8@0(%rdx,%rcx,8)));
    // clang-format on
}

int main(void)
{
    char line[128], word[32];
    long n = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%31s %ld", word, &n) < 1)
            continue;
        if (!strcmp(word, "order")) {
            memset(sum, 0, sizeof(sum));
            reached = 0;
            for (long i = 0; i < n; i++)
                result += order(&items[i % 4], i * -7);
            printf("%" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", reached, sum[0], sum[1],
                   sum[2], sum[3]);
        } else if (!strcmp(word, "twice")) {
            for (long i = 0; i < n; i++)
                result += one(i) + other(i);
            printf("%ld\n", n);
        } else if (!strcmp(word, "semaphores")) {
            printf("%d %d\n", *(volatile unsigned short *)&shop_order_semaphore,
                   *(volatile unsigned short *)&shop_twice_semaphore);
        }
    }
    return 0;
}
