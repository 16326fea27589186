/* SPDX-License-Identifier: MIT */
/* The types of corpus.c, and the list of what is asked of each. */
#pragma once
#include <stdint.h>

struct hidden;
typedef __WCHAR_TYPE__ wchar_t_;
struct plain {
    char c;
    short s;
    int i;
    long l;
    long long ll;
    void *p;
    struct hidden *h;
    const char *const *names;
};
struct bits {
    unsigned a : 1;
    signed b : 3;
    unsigned long c : 33;
    unsigned : 5;
    unsigned char d : 7;
    _Bool e : 1;
    unsigned : 0;
    int f : 31;
    int g;
    short h : 9;
};
struct __attribute__((packed)) packed_bits {
    unsigned char a;
    unsigned long b : 40;
    unsigned c : 13;
    unsigned d : 11;
    int e;
};
struct wide_bits {
    unsigned long long all : 64;
    unsigned __int128 huge;
    unsigned tail : 32;
};
struct nest {
    int tag;
    union {
        struct {
            int x;
            union {
                long deep_l;
                struct {
                    char lo, hi;
                    unsigned flag : 2;
                } deep_s;
            };
        };
        struct named_inside {
            double d;
            int k;
        } ni;
    };
    struct {
        int q[3];
    } anon_named;
    struct named_inside again;
};
struct flexible {
    int n;
    struct plain tail[];
};
union both {
    int i;
    float f;
    unsigned char bytes[13];
    struct {
        short a, b;
    };
    unsigned bit : 5;
};
struct arrays {
    int one[7];
    char two[3][5];
    struct plain three[2][3][4];
    const volatile int *ptrs[6];
    int zero[0];
    int (*to_array)[9];
    enum { IN_A, IN_B } enums[4];
};
struct first;
struct second {
    struct first *back;
    struct second *self[2];
};
struct first {
    struct second *fore;
    struct first *next;
    struct second by_value;
};
struct calls {
    int (*simple)(int, char);
    void (*none)(void);
    int (*variadic)(const char *format, ...);
    struct calls *(*self)(struct calls *, int (*inner)(struct calls *));
    void (*table[4])(int);
    int (*(*returns)(int))(long);
};
struct numbers {
    float f;
    double d;
    long double ld;
    _Complex float cf;
    _Complex double cd;
    _Complex long double cld;
    __int128 i128;
    unsigned __int128 u128;
    _Bool b;
    __float128 quad;
};
struct __attribute__((packed)) packed {
    char c;
    double d;
    float f;
    long l;
    long double ld;
};
struct aligned {
    char c;
    int i __attribute__((aligned(64)));
    char d __attribute__((aligned(2)));
} __attribute__((aligned(128)));
struct empty {
};
struct chars {
    char c;
    signed char s;
    unsigned char u;
    wchar_t_ w;
    int8_t i8;
    uint16_t u16;
};
struct deep {
    struct {
        struct {
            struct {
                struct {
                    struct {
                        int bottom;
                        unsigned last : 3;
                    } e;
                } d[2];
            } c;
        } b;
    } a;
};
enum small { SMALL_A, SMALL_B = 7, SMALL_C = 0x7fffffff };
enum negative { NEG_A = -1, NEG_B = -2147483647 - 1, NEG_C = 5 };
enum big { BIG_A = 1, BIG_B = 0xffffffffu, BIG_C = 0x1234567890abcdefull };
enum big_signed { BS_A = -1, BS_B = 0x100000000ll };
enum __attribute__((packed)) packed_enum { PE_A, PE_B = 200 };
typedef unsigned long chain_a;
typedef chain_a chain_b;
typedef const volatile chain_b chain_cv;
typedef chain_b chain_c;
typedef float real_t;
typedef _Bool truth_t;
typedef signed char tiny_t;
typedef unsigned char byte_t;
typedef char char_t;

// clang-format off
#define CORPUS                                                                                                \
    S(struct, plain) M(struct, plain, c) M(struct, plain, s) M(struct, plain, i) M(struct, plain, l)           \
    M(struct, plain, ll) M(struct, plain, p) M(struct, plain, h) M(struct, plain, names)                       \
    S(struct, hidden) M(struct, hidden, inside) M(struct, hidden, next)                                        \
    S(struct, bits) B(struct, bits, a) B(struct, bits, b) B(struct, bits, c) B(struct, bits, d)                \
    B(struct, bits, e) B(struct, bits, f) M(struct, bits, g) B(struct, bits, h)                                \
    S(struct, packed_bits) M(struct, packed_bits, a) B(struct, packed_bits, b) B(struct, packed_bits, c)       \
    B(struct, packed_bits, d) M(struct, packed_bits, e)                                                        \
    S(struct, wide_bits) B(struct, wide_bits, all) M(struct, wide_bits, huge) B(struct, wide_bits, tail)       \
    S(struct, nest) M(struct, nest, tag) M(struct, nest, x) M(struct, nest, deep_l) M(struct, nest, deep_s)    \
    M(struct, nest, deep_s.lo) M(struct, nest, deep_s.hi) B(struct, nest, deep_s.flag) M(struct, nest, ni)     \
    M(struct, nest, ni.d) M(struct, nest, ni.k) M(struct, nest, anon_named) M(struct, nest, anon_named.q)      \
    M(struct, nest, again.k) S(struct, named_inside)                                                           \
    S(struct, flexible) M(struct, flexible, n)                                                                 \
    S(union, both) M(union, both, i) M(union, both, f) M(union, both, bytes) M(union, both, b)                 \
    B(union, both, bit)                                                                                        \
    S(struct, arrays) M(struct, arrays, one) M(struct, arrays, two) M(struct, arrays, three)                   \
    M(struct, arrays, ptrs) M(struct, arrays, zero) M(struct, arrays, to_array) M(struct, arrays, enums)       \
    S(struct, first) M(struct, first, fore) M(struct, first, next) M(struct, first, by_value)                  \
    M(struct, first, by_value.self) S(struct, second)                                                          \
    S(struct, calls) M(struct, calls, simple) M(struct, calls, none) M(struct, calls, variadic)                \
    M(struct, calls, self) M(struct, calls, table) M(struct, calls, returns)                                   \
    S(struct, numbers) M(struct, numbers, f) M(struct, numbers, d) M(struct, numbers, ld)                      \
    M(struct, numbers, cf) M(struct, numbers, cd) M(struct, numbers, cld) M(struct, numbers, i128)             \
    M(struct, numbers, u128) M(struct, numbers, b) M(struct, numbers, quad)                                    \
    S(struct, packed) M(struct, packed, c) M(struct, packed, d) M(struct, packed, f) M(struct, packed, l)      \
    M(struct, packed, ld)                                                                                      \
    S(struct, aligned) M(struct, aligned, c) M(struct, aligned, i) M(struct, aligned, d)                       \
    S(struct, empty)                                                                                           \
    S(struct, chars) M(struct, chars, c) M(struct, chars, s) M(struct, chars, u) M(struct, chars, w)           \
    M(struct, chars, i8) M(struct, chars, u16)                                                                 \
    S(struct, deep) M(struct, deep, a) M(struct, deep, a.b.c.d)                                                \
    E(small, SMALL_A) E(small, SMALL_B) E(small, SMALL_C) E(negative, NEG_A) E(negative, NEG_B)                \
    E(negative, NEG_C) E(big, BIG_A) E(big, BIG_B) E(big, BIG_C) E(big_signed, BS_A) E(big_signed, BS_B)       \
    E(packed_enum, PE_A) E(packed_enum, PE_B)                                                                  \
    T(chain_a) T(chain_b) T(chain_c) T(real_t) T(truth_t) T(tiny_t) T(byte_t) T(char_t) T(int8_t) T(uint64_t)
// clang-format on
