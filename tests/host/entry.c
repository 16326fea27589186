/* SPDX-License-Identifier: MIT */
/*
 * Functions whose parameters arrive in every way that the ABI has. `abi_…` must be usable by their prototypes
 * whatever the optimiser does; `odd_…` are static and have what an optimiser takes away.
 */
#define KEEP __attribute__((noinline, noclone, used))

struct two {
    long a, b;
};
struct mixed {
    double d;
    int i;
};
struct floats {
    float a, b, c;
};
struct large {
    long v[4];
};
struct nested {
    struct {
        char c;
        struct {
            short s[2];
        } in;
    } out;
    float f;
};
union num {
    double d;
    long l;
};
struct unaligned {
    char c;
    long l;
} __attribute__((packed));
struct wide {
    long a;
    int b;
} __attribute__((aligned(32)));
struct member {
    char a;
    __attribute__((aligned(16))) long b;
    long c;
};
typedef long vector __attribute__((vector_size(16)));
struct lanes {
    struct {
        vector v;
    } in;
};
struct bits {
    unsigned a : 3, b : 29;
    float f;
};

long sink;
double dsink;

__attribute__((noinline)) long abi_ints(int a, char b, short c, long d, unsigned e, void *f, int g, long h)
{
    sink = a + b + c + d + e + (long)f + g + h;
    return sink;
}
__attribute__((noinline)) double abi_floats(float a, double b, int c, double d, float e, double f, double g,
                                            double h, double i, double j, double k)
{
    dsink = a + b + c + d + e + f + g + h + i + j + k;
    return dsink;
}
__attribute__((noinline)) long abi_two(struct two t, int x)
{
    return sink = t.a + t.b + x;
}
__attribute__((noinline)) long abi_mixed(struct mixed m, int x, struct mixed n, double y)
{
    return sink = (long)(m.d + m.i + x + n.d + n.i + y);
}
__attribute__((noinline)) float abi_three(struct floats f, float x)
{
    return f.a + f.b + f.c + x;
}
__attribute__((noinline)) struct large abi_sret(int a, struct large l, int b)
{
    l.v[0] += a + b;
    return l;
}
__attribute__((noinline)) long abi_split(long a, long b, long c, long d, long e, struct two t, long f)
{
    return sink = a + b + c + d + e + t.a + t.b + f;
}
__attribute__((noinline)) long double abi_x87(long double a, int b, long double c, int d)
{
    return a + b + c + d;
}
__attribute__((noinline)) long abi_nested(struct nested n, union num u, struct bits b, int x)
{
    return sink = n.out.c + n.out.in.s[1] + (long)n.f + u.l + b.b + (long)b.f + x;
}
__attribute__((noinline)) long abi_packed(struct unaligned u, int x)
{
    return sink = u.l + u.c + x;
}
__attribute__((noinline)) long abi_aligned(long a, struct large l, struct wide w, int b, struct large m,
                                           struct member c, int d)
{
    return sink = a + l.v[0] + w.a + w.b + b + m.v[1] + c.b + d;
}
/* A local variable makes the compiler align the stack, and tell parameters from there. */
__attribute__((noinline)) struct wide abi_realigned(long a, int b)
{
    struct wide w;

    sink += a;
    w.a = a;
    w.b = b;
    return w;
}
__attribute__((noinline)) long odd_lanes(struct lanes l, int a)
{
    return sink = l.in.v[0] + a;
}
__attribute__((noinline)) struct lanes odd_to_lanes(int a)
{
    sink += a;
    return (struct lanes){{{a, a}}};
}
__attribute__((noinline)) long abi_i128(int a, __int128 b, int c)
{
    return sink = a + (long)b + c;
}
__attribute__((noinline)) double abi_complex(_Complex float a, _Complex double b, double c)
{
    return dsink = __real__ a + __imag__ b + c;
}
__attribute__((noinline)) int abi_unused(int a, int b, int c)
{
    return a + c;
}
__attribute__((noinline)) void abi_taken(int a, int b)
{
    extern void escape(int *);
    escape(&a);
    sink = a + b;
}
KEEP static long odd_kept(long a, long unused, long b)
{
    return sink = a + b;
}
__attribute__((noinline)) static long odd_dropped(long unused, long a, long b)
{
    sink += a;
    return a * b + sink;
}
__attribute__((noinline)) static long odd_last(long a, long b, long unused)
{
    sink += a;
    return a * b - sink;
}
__attribute__((noinline)) static long odd_constant(long a, long always_seven)
{
    sink += a * always_seven;
    return sink;
}
__attribute__((always_inline)) static inline long odd_inlined(long a)
{
    return a * 3 + sink;
}
static long (*volatile pointer)(long, long, long) = odd_kept;

__attribute__((noinline)) void escape(int *p)
{
    sink += *p;
}

static __attribute__((noinline)) long twin(long x) /* twin.c has another */
{
    return x + sink;
}

int main(int argc, char **argv)
{
    struct large l = {{argc}};

    abi_ints(argc, 2, 3, 4, 5, argv, 7, 8);
    abi_floats(1, 2, argc, 4, 5, 6, 7, 8, 9, 10, 11);
    abi_two((struct two){argc, 2}, 3);
    abi_mixed((struct mixed){1, argc}, 2, (struct mixed){3, 4}, 5);
    dsink += abi_three((struct floats){1, 2, (float)argc}, 4);
    l = abi_sret(argc, l, 3);
    abi_split(1, 2, 3, 4, argc, (struct two){6, 7}, 8);
    dsink += (double)abi_x87(1, argc, 3, 4);
    abi_nested((struct nested){{1, {{2, 3}}}, 4}, (union num){.l = argc}, (struct bits){1, 2, 3}, 4);
    abi_packed((struct unaligned){1, argc}, 3);
    abi_i128(1, argc, 3);
    abi_aligned(1, l, (struct wide){argc, 2}, 3, l, (struct member){4, argc, 5}, 6);
    sink += abi_realigned(argc, 2).a + odd_lanes((struct lanes){{{argc, 1}}}, 2) + odd_to_lanes(argc).in.v[0];
    abi_complex(1, argc, 3);
    sink += abi_unused(argc, 2, 3);
    abi_taken(argc, 2);
    sink += pointer(argc, 2, 3) + odd_dropped(1, argc, 3) + odd_dropped(5, 4, argc) + odd_last(argc, 2, 1);
    sink += odd_last(4, argc, 2) + odd_constant(argc, 7) + odd_constant(argc + 1, 7) + odd_inlined(argc);
    sink += twin(argc);
    return l.v[0] == 77;
}
