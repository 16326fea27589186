/* SPDX-License-Identifier: MIT */
/*
 * A host of its own for spec.bats and policy.bats, and the one of docs/tutorial-eim.md: a shop that answers a
 * line on standard input, "NAME QUANTITY", with a price.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tenon/eim.h>

struct customer {
    char name[16];
    int secret;
};
struct order {
    struct customer *customer;
    unsigned quantity;
    int discount;
    struct {
        unsigned len;
        char *data;
    } note;
};

int shop_pid;
long shop_takings;

__attribute__((noinline)) long shop_time(void)
{
    return (long)time(NULL);
}

__attribute__((noinline)) int shop_log(struct order *o, int level)
{
    return fprintf(stderr, "order of %u (%d)\n", o->quantity, level);
}

__attribute__((noinline)) int shop_price(struct order *o)
{
    __asm__ volatile("" ::: "memory");
    return (int)o->quantity * (100 - o->discount);
}

static inline __attribute__((always_inline)) int shop_folded(int x)
{
    return x + 1;
}

EIM_ENTRY(price, shop_price);
EIM_STATE(readPid, READ, shop_pid);
EIM_FUNCTION(now, shop_time, "rtn > 0");
EIM_FUNCTION(log, shop_log, "nonnull(o)", "level < 8", "IO");
#ifdef SHOP_BROKEN
EIM_ENTRY(folded, shop_folded);
EIM_FUNCTION(gone, shop_nothing);
#endif

int main(void)
{
    struct customer customer = {.secret = 42};
    struct order order = {.customer = &customer};
    char line[128], word[100];

    shop_pid = getpid();
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "%15s %u %99s", customer.name, &order.quantity, word) < 2)
            continue;
        order.note.data = word;
        order.note.len = (unsigned)strlen(word);
        shop_takings += shop_price(&order);
        printf("%d\n", shop_price(&order));
        if (shop_takings < 0)
            shop_log(&order, shop_folded((int)shop_time() & 3));
    }
    return 0;
}
