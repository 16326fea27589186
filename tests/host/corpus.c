/* SPDX-License-Identifier: MIT */
/*
 * Types that are hard to get right, and what this very compiler makes of them: run, the program says it line by
 * line (types.c reads that, and holds the binary's own debug information against it).
 *
 *      S struct NAME BYTES                     also union
 *      M struct NAME PATH BIT BYTES            a member; PATH goes through anonymous members
 *      B struct NAME PATH BIT WIDTH            a bitfield, found by setting it
 *      E NAME ENUMERATOR VALUE BYTES
 *      T NAME BYTES CLASS                      a typedef: s(igned) u(nsigned) f(loat) b(ool)
 */
#include <complex.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "corpus.h"

struct hidden { /* only declared in corpus.h; whole here, used by the other unit */
    int inside;
    struct hidden *next;
};

struct plain plain;
struct bits bits;
struct packed_bits packed_bits;
struct nest nest;
struct flexible flexible;
union both both;
struct arrays arrays;
struct calls calls;
struct numbers numbers;
struct packed packed;
struct aligned aligned;
struct empty empty;
struct wide_bits wide_bits;
struct chars chars;
struct first *list;
struct deep deep;
enum small small;
enum negative negative;
enum big big;
enum big_signed big_signed;
enum packed_enum packed_enum;
chain_c chained;
real_t real;
truth_t truth;
tiny_t tiny;
byte_t byte;
char_t character;
uint64_t sixty_four;
const volatile struct plain *const volatile qualified;

#define S(kind, name) printf("S " #kind " " #name " %zu\n", sizeof(kind name));
#define M(kind, name, path)                                                                                  \
    printf("M " #kind " " #name " " #path " %zu %zu\n", offsetof(kind name, path) * 8,                       \
           sizeof(((kind name *)0)->path));
#define B(kind, name, path)                                                                                  \
    {                                                                                                        \
        kind name v;                                                                                         \
        memset(&v, 0, sizeof(v));                                                                            \
        v.path = (__typeof__(v.path + 0))-1;                                                                 \
        say_bits(#kind " " #name " " #path, &v, sizeof(v));                                                  \
    }
#define E(name, value) printf("E " #name " " #value " %lld %zu\n", (long long)value, sizeof(enum name));
#define T(name)                                                                                              \
    printf("T " #name " %zu %c\n", sizeof(name),                                                             \
           (name)0.5 != 0 && (name)2 != 1 ? 'f'                                                              \
           : (name)2 == 1                 ? 'b'                                                              \
           : (name)-1 < 0                 ? 's'                                                              \
                                          : 'u');

static void say_bits(const char *what, const void *v, size_t size)
{
    const unsigned char *p = v;
    size_t first = size * 8, n = 0;

    for (size_t i = 0; i < size * 8; i++)
        if (p[i / 8] >> i % 8 & 1) {
            first = i < first ? i : first;
            n++;
        }
    printf("B %s %zu %zu\n", what, first, n);
}

int main(void)
{
    CORPUS
    return list || chained || qualified;
}
