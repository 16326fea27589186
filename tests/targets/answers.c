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
        printf(" / %ld\n", calls);
    }
    return 0;
}
