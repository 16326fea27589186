/* SPDX-License-Identifier: MIT */
/* Functions with results of every kind, for whoever answers in their place: each line `NAME A` is answered by the result. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

struct pair {
    long x, y;
};
struct mixed {
    long n;
    double d;
};
struct small {
    int a, b;
};
struct large {
    long at[5];
};
struct packed { /* in memory, since b is not aligned */
    char a;
    int b;
} __attribute__((packed));

#define FN __attribute__((noinline))
extern long calls;
long calls; /* how often a function's own code has run */

FN int of_int(int a)
{
    calls++;
    return a + 1;
}

FN signed char of_char(int a)
{
    calls++;
    return (signed char)a;
}

FN bool of_bool(int a)
{
    calls++;
    return a & 1;
}

FN uint64_t of_u64(int a)
{
    calls++;
    return (uint64_t)a << 40;
}

FN const char *of_pointer(const char *a)
{
    calls++;
    return a + 1;
}

FN void of_nothing(int a)
{
    calls += a;
}

FN struct pair of_pair(int a)
{
    calls++;
    return (struct pair){a, -a};
}

FN struct mixed of_mixed(int a)
{
    calls++;
    return (struct mixed){a, a / 2.0};
}

FN struct small of_small(int a)
{
    calls++;
    return (struct small){a, -a};
}

FN struct large of_large(int a)
{
    calls++;
    return (struct large){{a, 1, 2, 3, 4}};
}

FN double of_double(int a)
{
    calls++;
    return a / 2.0;
}

FN int of_doubles(int a, double b, float c)
{
    calls++;
    return a + (int)(b * c);
}

/* Who calls somebody whom the compiler does not know may change all registers, and its callers know. */
static void somebody(void) {}
static void (*volatile call)(void) = somebody;

FN long of_widths(signed char a, unsigned char b, short c, unsigned short d, int e, long f, signed char g,
                  long h)
{
    call();
    calls++;
    return a + 10l * b + 1000l * c + 100000l * d + 10000000000l * e + f + g + h;
}

FN long of_structs(struct pair two, struct small one, struct packed memory, const char *p)
{
    call();
    calls++;
    return two.x + 10 * two.y + 100 * one.a + 1000 * one.b + 10000 * memory.a + 100000l * memory.b + *p;
}

FN long of_depth(long n, long sum)
{
    calls++;
    if (n > 0)
        sum = of_depth(n - 1, sum);
    __asm__ volatile("" : "+r"(n), "+r"(sum));
    return sum + n;
}

FN long of_handle(const struct pair *p, const struct pair *q, int level)
{
    call();
    calls++;
    return p->x * 100 + q->x * 10 + level;
}

/* Leaves its argument where it is, and its caller counts on that (-fipa-ra). */
FN long of_kept(long a)
{
    calls++;
    return a + 1;
}

int main(void)
{
    char line[128], name[32];
    int a;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin) && sscanf(line, "%31s %d", name, &a) == 2) {
#define IS(n) (!strcmp(name, #n))
        if (IS(int))
            printf("%d", of_int(a));
        else if (IS(char))
            printf("%d", of_char(a));
        else if (IS(bool))
            printf("%d", of_bool(a));
        else if (IS(u64))
            printf("%lu", of_u64(a));
        else if (IS(pointer))
            printf("%s", of_pointer(name));
        else if (IS(nothing))
            of_nothing(a), printf("-");
        else if (IS(pair))
            printf("%ld %ld", of_pair(a).x, of_pair(a).y);
        else if (IS(mixed))
            printf("%ld %g", of_mixed(a).n, of_mixed(a).d);
        else if (IS(small))
            printf("%d %d", of_small(a).a, of_small(a).b);
        else if (IS(large))
            printf("%ld %ld", of_large(a).at[0], of_large(a).at[4]);
        else if (IS(double))
            printf("%g", of_double(a));
        else if (IS(doubles))
            printf("%d", of_doubles(a, 2.0, 3.0f));
        else if (IS(widths))
            printf("%ld", of_widths(-1, 2, -3, 4, -5, a, -6, 7));
        else if (IS(structs))
            printf("%ld", of_structs((struct pair){1, 2}, (struct small){3, 4}, (struct packed){5, 6}, "A"));
        else if (IS(depth))
            printf("%ld", of_depth(a, 0));
        else if (IS(handle))
            printf("%ld", of_handle(&(struct pair){1, 0}, &(struct pair){2, 0}, a));
        else if (IS(kept))
            printf("%ld", of_kept(a));
        printf(" / %ld\n", calls);
    }
    return 0;
}
