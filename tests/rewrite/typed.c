/* SPDX-License-Identifier: MIT */
/*
 * Programs that know their function by its type: a context of its arguments, answers in its place, calls of
 * other functions of the host. In this very process, with all that a target gets (inproc.h); types are made
 * with libbpf.
 */
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include <bpf/btf.h>

#include "btf/value.h"
#include "inproc.h"
#include "isa/insn.h"
#include "rewrite/vectors.h"
#include "verify/attach.h"

#define FN __attribute__((noinline, aligned(64), no_sanitize("address", "undefined")))

/* As vectors.S has it. */
struct vectors {
    u8 reg[32][64];
    u64 mask[8];
};
extern u64 call_with_vectors(void *fn, const struct vectors *in, struct vectors *ret_out, int wide);
extern void spoil_vectors(int wide);

static struct inproc in;

#define SET(d, imm)       I(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, imm)
#define COPY(d, s)        I(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define ADD(d, s)         I(BPF_ALU64 | BPF_ADD | BPF_X, d, s, 0, 0)
#define SHIFT(d, imm)     I(BPF_ALU64 | BPF_LSH | BPF_K, d, 0, 0, imm)
#define WORD(d, n)        I(BPF_LDX | BPF_MEM | BPF_DW, d, 1, 8 * (n), 0)
#define LOAD(d, s, off)   I(BPF_LDX | BPF_MEM | BPF_DW, d, s, off, 0)
#define KFUNC(id)         I(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, id)
#define KSYM(d, id)       I(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_BTF_ID, 0, id), I(0, 0, 0, 0, 0)
#define LDMAP_VALUE(d, m) I(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_VALUE, 0, m), I(0, 0, 0, 0, 0)

/* ------------------------------------------------------------------------------------------ the host */

struct pair {
    s64 x, y;
};
struct odd {
    s32 a;
    s8 b;
} __attribute__((packed));
struct big {
    s64 x, y, z;
};

u64 seen[16]; /* what a function got */

FN s64 typed_many(s32 a, struct pair p, const char *s, struct pair q, s64 t, u8 u, struct odd o, s16 v);
FN s64 typed_many(s32 a, struct pair p, const char *s, struct pair q, s64 t, u8 u, struct odd o, s16 v)
{
    seen[0] = (u64)a + (u64)p.x + (u64)p.y + (u64)*s + (u64)q.x + (u64)q.y + (u64)t + u + (u64)o.a +
              (u64)o.b + (u64)v;
    return (s64)seen[0];
}

FN s64 typed_two(s64 a, s64 b);
FN s64 typed_two(s64 a, s64 b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    seen[1]++;
    return a * 3 + b;
}
static s64 (*volatile two)(s64, s64) = typed_two;

/* Calls itself `a` times, then somebody else. */
FN s64 typed_nest(s64 a, s64 b);
static s64 (*volatile nest)(s64, s64) = typed_nest;
static void (*volatile within)(void);
FN s64 typed_nest(s64 a, s64 b)
{
    if (a > 0)
        nest(a - 1, b + 1);
    else if (within)
        within();
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return a * 3 + b;
}

FN s8 callee_narrow(s64 a, s64 b, s64 c, s64 d, s64 e);
FN s8 callee_narrow(s64 a, s64 b, s64 c, s64 d, s64 e)
{
    seen[2] = (u64)a, seen[3] = (u64)b, seen[4] = (u64)c, seen[5] = (u64)d, seen[6] = (u64)e;
    __asm__ volatile("movq $0x1234567890abcdef, %%rax" ::: "rax");
    return (s8)-5;
}

int how_wide;
FN s64 callee_spoils(s64 a);
FN s64 callee_spoils(s64 a)
{
    spoil_vectors(how_wide);
    seen[7] = (u64)a;
    feraiseexcept(FE_INEXACT | FE_DIVBYZERO);
    return a + 1;
}

FN struct pair typed_pair(s64 a, s64 b);
FN struct pair typed_pair(s64 a, s64 b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return (struct pair){a, b};
}
static struct pair (*volatile pair_of)(s64, s64) = typed_pair;

FN struct big typed_big(s64 a, struct big s, s64 b);
FN struct big typed_big(s64 a, struct big s, s64 b)
{
    struct big is = {a + s.x, s.y, b + s.z};

    s = (struct big){-1, -1, -1}; /* its own to write over */
    __asm__ volatile("" : "+r"(a), "+r"(b), "+m"(s), "+m"(is));
    return is;
}
static struct big (*volatile big_of)(s64, struct big, s64) = typed_big;

/* Registers and stack as they are, whatever the prototype says of their width. */
FN void typed_raw(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h);
FN void typed_raw(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h)
{
    u64 all[] = {a, b, c, d, e, f, g, h};

    memcpy(seen + 8, all, sizeof(all));
}
static void (*volatile raw)(u64, u64, u64, u64, u64, u64, u64, u64) = typed_raw;

u64 host_variable = 77;

/* ------------------------------------------------------------------------------------------- its types */

enum { MANY, TWO, NEST, RAW, PAIR, BIG, FUNCTIONS };
static struct types {
    struct tn_btf *btf;
    u32 func[FUNCTIONS], floating, variadic, unsure, unaligned, real;
} types;

static u32 function(struct btf *b, const char *name, u32 ret, const u32 *params, u32 n)
{
    char arg[16];
    int proto = btf__add_func_proto(b, (int)ret);

    for (u32 k = 0; k < n; k++) {
        snprintf(arg, sizeof(arg), "a%u", k);
        assert_int_equal(btf__add_func_param(b, params[k] ? arg : NULL, (int)params[k]), 0);
    }
    return (u32)btf__add_func(b, name, BTF_FUNC_GLOBAL, proto);
}
#define FUNCTION(b, name, ret, ...)                                                                          \
    function(b, name, ret, (const u32[]){__VA_ARGS__}, TN_ARRAY_SIZE(((const u32[]){__VA_ARGS__})))

static u32 structure(struct btf *b, const char *name, u32 size, u32 member, u32 n, u32 each)
{
    char field[8];
    u32 id = (u32)btf__add_struct(b, name, size);

    for (u32 k = 0; k < n; k++) {
        snprintf(field, sizeof(field), "m%u", k);
        assert_int_equal(btf__add_field(b, field, (int)member, k * each * 8, 0), 0);
    }
    return id;
}

/*
 * Prototypes, a letter a type, the result first, and what has to be in each word: a register by its number, a word of the stack
 * `0 …, its address &0 …, rax and rdx =0 and =1, or nothing: -
 */
static struct {
    const char *text, *words, *at_exit;
    u32 func;
} prototypes[] = {
    {"iiLi", "0 1 2", "0 1 2 =0", 0},           /* registers */
    {"iPi", "0 1 2", "0 1 2 =0", 0},            /* two of them */
    {"Pi", "0", "0 =0 =1", 0},                  /* and what comes back in two */
    {"iiiiiiPi", "0 1 2 3 4 `0 `1 5", NULL, 0}, /* both or none, and the last one is left for others */
    {"Bi", "1", "1 0", 0},                      /* where the result is, the caller says */
    {"iBi", "&0 0", "&0 0 =0", 0},              /* the stack, and no register */
    {"BBiB", "&0 1 &3", NULL, 0},               /* … */
    {"iiBiiiiiiPi", "0 &0 1 2 3 4 5 `3 `4 `5 `6", NULL, 0}, /* behind it */
    {"iUi", "`0 0", "`0 0 =0", 0},                          /* not aligned: on the stack, but a word */
    {"Ui", "1", "1 0", 0},                                  /* … and in memory, as a result */
    {"iVi", "`0 `1 0", NULL, 0},                            /* two words */
    {"iAi", "0 - 1", "0 - 1 =0", 0},                    /* one of two eightbytes is nothing but alignment */
    {"Ai", "0", "0 =0 -", 0},                           /* … */
    {"iiiiiiiiAi", "0 1 2 3 4 5 `0 `2 `3 `4", NULL, 0}, /* … on the stack */
    {"iiiiiiiiQi", "0 1 2 3 4 5 `0 `2 `3 `4", NULL, 0}, /* a number of sixteen bytes */
    {"iiiiiiiiNi", "0 1 2 3 4 5 `0 `2 `3 `4", NULL, 0}, /* … in a struct */
    {"iiiiiiiiPi", "0 1 2 3 4 5 `0 `1 `2 `3", NULL, 0}, /* two longs are aligned to eight */
    {"iBWi", "&0 &4 0", NULL, 0},                       /* 32 bytes of 32 */
    {"iEi", "- 0", NULL, 0},                            /* an empty class */
    {"iXi", "0 1", NULL, 0},                            /* a union of a double and a long is a long */
    {"iFi", "&0 0", NULL, 0},                           /* in memory whatever is in it */
    {"Qi", "0", "0 =0 =1", 0},
};

static u32 aligned(struct btf *b, u32 type, u32 align)
{
    char tag[32];

    snprintf(tag, sizeof(tag), TN_BTF_ALIGNED "%u", align);
    assert_true(btf__add_decl_tag(b, tag, (int)type, -1) > 0);
    return type;
}

static u32 fields(struct btf *b, u32 id, u32 first, u32 second, u32 at)
{
    assert_int_equal(btf__add_field(b, "first", (int)first, 0, 0), 0);
    if (second)
        assert_int_equal(btf__add_field(b, "second", (int)second, at * 8, 0), 0);
    return id;
}

static u32 prototype(struct btf *b, const char *text, u32 s64_id, u32 s32_id, u32 pair, u32 big)
{
    static u32 made[128];
    u32 params[16], n = 0;

    if (!made['i']) {
        u32 real = (u32)btf__add_float(b, "double", 8);

        made['i'] = s32_id, made['L'] = s64_id, made['P'] = pair, made['B'] = big;
        made['Q'] = (u32)btf__add_int(b, "__int128", 16, BTF_INT_SIGNED);
        made['U'] = fields(b, (u32)btf__add_struct(b, "U", 6), s32_id, s32_id, 2);
        made['V'] = fields(b, (u32)btf__add_struct(b, "V", 12), s32_id, s64_id, 4);
        made['A'] = aligned(b, fields(b, (u32)btf__add_struct(b, "A", 16), s64_id, 0, 0), 16);
        made['N'] = fields(b, (u32)btf__add_struct(b, "N", 16), made['Q'], 0, 0);
        made['W'] = aligned(b, fields(b, (u32)btf__add_struct(b, "W", 32), s64_id, s64_id, 8), 32);
        made['E'] = (u32)btf__add_struct(b, "E", 1);
        made['X'] = fields(b, (u32)btf__add_union(b, "X", 8), real, s64_id, 0);
        made['F'] = fields(b, (u32)btf__add_struct(b, "F", 24), real, real, 16);
    }
    for (const char *c = text + 1; *c; c++)
        params[n++] = made[(u8)*c];
    return function(b, text, made[(u8)*text], params, n);
}

static void words_text(const struct tn_typed_args *args, char *to, size_t cap)
{
    size_t n = 0;

    *to = 0;
    for (u32 w = 0; w < args->nwords; w++) {
        u32 f = args->from[w];

        if (w)
            n += (size_t)snprintf(to + n, cap - n, " ");
        if (f == TN_FROM_NOTHING)
            n += (size_t)snprintf(to + n, cap - n, "-");
        else if (f == TN_FROM_RESULT || f == TN_FROM_RESULT_HIGH)
            n += (size_t)snprintf(to + n, cap - n, "=%d", f == TN_FROM_RESULT_HIGH);
        else if (f >= TN_FROM_ADDRESS)
            n += (size_t)snprintf(to + n, cap - n, "&%u", f - TN_FROM_ADDRESS);
        else
            n += (size_t)snprintf(to + n, cap - n, "%s%u", f < TN_FROM_STACK ? "" : "`",
                                  f < TN_FROM_STACK ? f : f - TN_FROM_STACK);
    }
}

static void test_where_the_words_of_prototypes_are(void **state)
{
    for (u32 k = 0; k < TN_ARRAY_SIZE(prototypes); k++)
        for (u32 exit = 0; exit < (prototypes[k].at_exit ? 2 : 1); exit++) {
            const char *wanted = exit ? prototypes[k].at_exit : prototypes[k].words;
            struct tn_typed_args args = {0};
            struct tn_error err = {0};
            char is[100];

            if (tn_abi_words(types.btf, prototypes[k].func, exit, true, &args, &err))
                fail_msg("%s: %s", prototypes[k].text, err.message);
            words_text(&args, is, sizeof(is));
            if (strcmp(is, wanted))
                fail_msg("%s: %s, not %s", prototypes[k].text, is, wanted);
        }
}

static void make_types(void)
{
    struct btf *b = btf__new_empty();
    struct tn_error err = {0};
    u32 s64_id, s32_id, s16_id, s8_id, u8_id, u16_id, ptr, pair, odd, big, gap, real, size;
    const void *data;

    s64_id = (u32)btf__add_int(b, "long", 8, BTF_INT_SIGNED);
    s32_id = (u32)btf__add_int(b, "int", 4, BTF_INT_SIGNED);
    s16_id = (u32)btf__add_int(b, "short", 2, BTF_INT_SIGNED);
    s8_id = (u32)btf__add_int(b, "signed char", 1, BTF_INT_SIGNED);
    u8_id = (u32)btf__add_int(b, "unsigned char", 1, 0);
    u16_id = (u32)btf__add_int(b, "unsigned short", 2, 0);
    real = (u32)btf__add_float(b, "double", 8);
    ptr = (u32)btf__add_ptr(b, (int)s8_id);
    pair = structure(b, "pair", 16, s64_id, 2, 8);
    big = structure(b, "big", 24, s64_id, 3, 8);
    gap = structure(b, "gap", 16, s64_id, 1, 8);
    odd = (u32)btf__add_struct(b, "odd", 5);
    btf__add_field(b, "a", (int)s32_id, 0, 0);
    btf__add_field(b, "b", (int)s8_id, 32, 0);
    types.func[MANY] = FUNCTION(b, "typed_many", s64_id, s32_id, pair, ptr, pair, s64_id, u8_id, odd, s16_id);
    types.func[TWO] = FUNCTION(b, "typed_two", s64_id, s64_id, s64_id);
    types.func[NEST] = FUNCTION(b, "typed_nest", s64_id, s64_id, s64_id);
    types.func[RAW] =
        FUNCTION(b, "typed_raw", 0, s8_id, u8_id, s16_id, u16_id, s32_id, s64_id, s8_id, u16_id);
    types.func[PAIR] = FUNCTION(b, "typed_pair", pair, s64_id, s64_id);
    types.func[BIG] = FUNCTION(b, "typed_big", big, s64_id, big, s64_id);
    types.floating = FUNCTION(b, "floating", s64_id, s64_id, real);
    types.variadic = FUNCTION(b, "variadic", s64_id, s64_id, 0);
    types.real = FUNCTION(b, "real", real, s64_id);
    types.unsure = FUNCTION(b, "unsure", s64_id, gap);
    types.unaligned = FUNCTION(b, "unaligned", s64_id, pair, pair, pair, s64_id, pair);
    for (u32 k = 0; k < TN_ARRAY_SIZE(prototypes); k++)
        prototypes[k].func = prototype(b, prototypes[k].text, s64_id, s32_id, pair, big);
    data = btf__raw_data(b, &size);
    if (tn_btf_open(data, size, NULL, &types.btf, &err))
        fail_msg("%s: %s", err.reason, err.message);
    btf__free(b);
}

/* ------------------------------------------------------------------------------------------- programs */

static u64 file_address(const char *symbol)
{
    struct tn_error err = {0};
    u64 addr = 0;

    if (tn_module_find(in.self, symbol, &addr, &err))
        fail_msg("%s: %s", err.reason, err.message);
    return addr;
}

static struct inproc_prog typed(u32 func, u32 attach)
{
    struct inproc_prog prog = {.host = types.btf,
                               .func = types.func[func],
                               .attach_type = attach,
                               .replace =
                                   attach == BPF_MODIFY_RETURN ? TN_REPLACE_BY_RESULT : TN_REPLACE_NOT};
    struct tn_error err = {0};

    if (inproc_map(&in, &prog, BPF_MAP_TYPE_ARRAY, 4, 128, 1, &err))
        fail_msg("%s: %s", err.reason, err.message);
    return prog;
}
#define VERIFIED(prog, insns)                                                                                \
    do {                                                                                                     \
        struct tn_error err_ = {0};                                                                          \
                                                                                                             \
        if (inproc_load(&in, prog, insns, TN_ARRAY_SIZE(insns), &err_))                                      \
            fail_msg("%s: %s", err_.reason, err_.message);                                                   \
    } while (0)
#define UNVERIFIED(prog, insns)                                                                              \
    do {                                                                                                     \
        struct tn_error err_ = {0};                                                                          \
                                                                                                             \
        if (inproc_load_unverified(&in, prog, insns, TN_ARRAY_SIZE(insns), &err_))                           \
            fail_msg("%s: %s", err_.reason, err_.message);                                                   \
    } while (0)

static u32 hook_of(const char *name, void *fn, enum tn_place_kind place, const struct inproc_prog *prog,
                   const struct inproc_how *how)
{
    struct tn_error err = {0};
    u32 first = 0;

    if (inproc_hook(&in, name, fn, place, prog, how, &first, &err))
        fail_msg("%s: %s", err.reason, err.message);
    return first;
}

static void hook(const char *name, void *fn, enum tn_place_kind place, const struct inproc_prog *prog,
                 const struct inproc_how *how)
{
    hook_of(name, fn, place, prog, how);
}

static const u64 *values(const struct inproc_prog *prog)
{
    return (const u64 *)(prog->map[0].base + prog->map[0].geo.value_off);
}

/* The ways a run may start: inlined, and by the agent. */
static const struct inproc_how ways[] = {
    {0}, {.agent_only = true}, {.called = true}, {.apart = true}, {.rdfsbase = true}};
#define EACH_WAY(w)                                                                                          \
    for (u32 w = 0; w < TN_ARRAY_SIZE(ways); w++)                                                            \
        if (!ways[w].rdfsbase || getauxval(AT_HWCAP2) & 2)

static int fresh(void **state)
{
    memset(in.priv->slot, 0, sizeof(in.priv->slot) + sizeof(in.priv->overflow));
    memset(seen, 0, sizeof(seen));
    return 0;
}

static int rewind_all(void **state)
{
    inproc_rewind(&in);
    return 0;
}

/* ------------------------------------------------------------------------------------------- arguments */

/* Stores word n of the context at n of the value; the value's address is kept in r6. */
#define KEEP(n) WORD(3, n), I(BPF_STX | BPF_MEM | BPF_DW, 6, 3, 8 * (n), 0)

static void test_words_are_where_the_abi_has_them(void **state)
{
    static const struct bpf_insn words[] = {LDMAP_VALUE(6, 0), KEEP(0),   KEEP(1), KEEP(2), KEEP(3),
                                            KEEP(4),           KEEP(5),   KEEP(6), KEEP(7), KEEP(8),
                                            KEEP(9),           SET(0, 0), EXIT};
    static s64 (*volatile many)(s32, struct pair, const char *, struct pair, s64, u8, struct odd, s16) =
        typed_many;
    const char *text = "A";

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(MANY, BPF_TRACE_FENTRY);
        const u64 *v = values(&prog);

        VERIFIED(&prog, words);
        hook("typed_many", (void *)typed_many, TN_PLACE_ENTRY, &prog, &ways[w]);
        assert_int_equal(
            many(-1, (struct pair){2, 3}, text, (struct pair){5, 6}, 7, 200, (struct odd){-9, -10}, -11),
            -1 + 2 + 3 + 'A' + 5 + 6 + 7 + 200 - 9 - 10 - 11);
        assert_int_equal((s32)v[0], -1);
        assert_int_equal(v[1], 2);
        assert_int_equal(v[2], 3);
        assert_ptr_equal(v[3], text);
        assert_int_equal(v[4], 5); /* the last two registers … */
        assert_int_equal(v[5], 6);
        assert_int_equal(v[6], 7); /* … and the stack */
        assert_int_equal((u8)v[7], 200);
        assert_int_equal((s32)v[8],
                         -9); /* packed, but aligned by chance: a register's word would do as well */
        assert_int_equal((s8)(v[8] >> 32), -10);
        assert_int_equal((s16)v[9], -11);
        inproc_rewind(&in);
    }
}

static void test_the_result_is_the_last_word(void **state)
{
    static const struct bpf_insn words[] = {LDMAP_VALUE(6, 0), KEEP(2), SET(0, 0), EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_TRACE_FEXIT);

        VERIFIED(&prog, words);
        hook("typed_two", (void *)typed_two, TN_PLACE_EXIT, &prog, &ways[w]);
        assert_int_equal(two(-5, 1), -14);
        assert_int_equal(values(&prog)[2], -14);
        inproc_rewind(&in);
    }
}

/* Words of a result that changes places, with arguments from the entry; either alone. */
static void test_a_result_in_two_registers(void **state)
{
#define TO(n, reg) I(BPF_STX | BPF_MEM | BPF_DW, 1, reg, 8 * (n), 0)
    static const struct bpf_insn swap[] = {LDMAP_VALUE(6, 0), KEEP(0),  KEEP(1),   WORD(2, 2), WORD(3, 3),
                                           TO(2, 3),          TO(3, 2), SET(0, 0), EXIT};
    static const struct bpf_insn low[] = {SET(2, 7), TO(2, 2), SET(0, 0), EXIT};
    static const struct bpf_insn high[] = {SET(2, 7), TO(3, 2), SET(0, 0), EXIT};
    static const struct bpf_insn look[] = {LDMAP_VALUE(6, 0), KEEP(3), KEEP(2), SET(0, 0), EXIT};
    static const struct {
        const struct bpf_insn *insns;
        u32 n;
        s64 x, y;
    } rows[] = {{swap, TN_ARRAY_SIZE(swap), 6, 5},
                {low, TN_ARRAY_SIZE(low), 7, 6},
                {high, TN_ARRAY_SIZE(high), 5, 7},
                {look, TN_ARRAY_SIZE(look), 5, 6}};

    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++)
        EACH_WAY(w)
        {
            struct inproc_prog prog = typed(PAIR, BPF_TRACE_FEXIT);
            struct tn_error err = {0};
            struct pair is;

            if (inproc_load(&in, &prog, rows[k].insns, rows[k].n, &err))
                fail_msg("%s: %s", err.reason, err.message);
            hook("typed_pair", (void *)typed_pair, TN_PLACE_EXIT, &prog, &ways[w]);
            is = pair_of(5, 6);
            assert_int_equal(is.x, rows[k].x);
            assert_int_equal(is.y, rows[k].y);
            if (rows[k].insns == look) {
                assert_int_equal(values(&prog)[2], 5);
                assert_int_equal(values(&prog)[3], 6);
            } else if (rows[k].insns == swap) {
                assert_int_equal(values(&prog)[0], 5);
                assert_int_equal(values(&prog)[1], 6);
            }
            inproc_rewind(&in);
        }
}

/* What lies on the stack by its address, and what is behind it in a register. */
static void test_a_struct_in_memory(void **state)
{
    static const struct bpf_insn insns[] = {LDMAP_VALUE(6, 0),
                                            KEEP(0),
                                            KEEP(2),
                                            WORD(2, 1),
                                            LOAD(3, 2, 16),
                                            I(BPF_STX | BPF_MEM | BPF_DW, 6, 3, 8, 0),
                                            I(BPF_STX | BPF_MEM | BPF_DW, 2, 3, 8, 0),
                                            SET(0, 0),
                                            EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(BIG, BPF_TRACE_FENTRY);
        struct big is;

        VERIFIED(&prog, insns);
        hook("typed_big", (void *)typed_big, TN_PLACE_ENTRY, &prog, &ways[w]);
        is = big_of(1, (struct big){10, 20, 30}, 400);
        assert_int_equal(is.x, 11);
        assert_int_equal(is.y, 30);
        assert_int_equal(is.z, 430);
        assert_int_equal(values(&prog)[0], 1);
        assert_int_equal(values(&prog)[1], 30);
        assert_int_equal(values(&prog)[2], 400);
        inproc_rewind(&in);
    }
}

/* … as it was at the entry, with what was beside it and what was returned. */
static void test_a_struct_in_memory_at_the_exit(void **state)
{
    static const struct bpf_insn insns[] = {LDMAP_VALUE(6, 0),
                                            KEEP(0),
                                            KEEP(2),
                                            WORD(7, 1),
                                            LOAD(3, 7, 0),
                                            I(BPF_STX | BPF_MEM | BPF_DW, 6, 3, 24, 0),
                                            LOAD(3, 7, 16),
                                            I(BPF_STX | BPF_MEM | BPF_DW, 6, 3, 32, 0),
                                            WORD(7, 3),
                                            LOAD(3, 7, 16),
                                            I(BPF_STX | BPF_MEM | BPF_DW, 6, 3, 40, 0),
                                            SET(0, 0),
                                            EXIT};
    const s64 x = -(3ll << 32), z = (s64)0x8765432187654321ull;

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(BIG, BPF_TRACE_FEXIT);
        const u64 *v = values(&prog);
        struct big is;
        u32 k;

        VERIFIED(&prog, insns);
        k = hook_of("typed_big", (void *)typed_big, TN_PLACE_EXIT, &prog, &ways[w]);
        in.stats[k].missed = 0;
        for (s64 round = 0; round < 3; round++) {
            is = big_of(1, (struct big){x, 20, z + round}, 400);
            assert_int_equal(is.x, 1 + x);
            assert_int_equal(is.y, 20);
            assert_int_equal(is.z, 400 + z + round);
            assert_int_equal(v[0], 1);
            assert_int_equal(v[2], 400);
            assert_int_equal(v[3], x);
            assert_int_equal(v[4], z + round);
            assert_int_equal(v[5], is.z);
        }
        assert_int_equal(in.stats[k].missed, 0);
        inproc_rewind(&in);
    }
}

/* It is where the caller wanted it, and changed there. */
static void test_a_result_in_memory_is_changed(void **state)
{
    static const struct bpf_insn store[] = {LDMAP_VALUE(6, 0), WORD(7, 3),
                                            LOAD(3, 7, 8),     I(BPF_STX | BPF_MEM | BPF_DW, 6, 3, 0, 0),
                                            SET(3, 4711),      I(BPF_STX | BPF_MEM | BPF_DW, 7, 3, 8, 0),
                                            SET(0, 0),         EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(BIG, BPF_TRACE_FEXIT);
        struct big is;

        VERIFIED(&prog, store);
        hook("typed_big", (void *)typed_big, TN_PLACE_EXIT, &prog, &ways[w]);
        is = big_of(1, (struct big){10, 20, 30}, 400);
        assert_int_equal(is.x, 11);
        assert_int_equal(is.y, 4711);
        assert_int_equal(is.z, 430);
        assert_int_equal(values(&prog)[0], 20);
        inproc_rewind(&in);
    }
}

static void test_prototypes_that_cannot_be_told(void **state)
{
    const struct {
        u32 func;
        const char *reason;
        bool result, unaligned;
    } rows[] = {{types.floating, "argument_not_integer", false, false},
                {types.variadic, "variable_arguments", false, false},
                {types.real, "result_not_integer", true, false},
                {types.unsure, "layout_not_told", false, false},
                {types.unaligned, "alignment_not_told", false, true},
                {1, "not_a_function", false, false}};

    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_typed_args args = {.nwords = 99};
        struct tn_error err = {0};

        assert_true(tn_abi_words(types.btf, rows[k].func, rows[k].result, !rows[k].unaligned, &args, &err) <
                    0);
        assert_string_equal(err.reason, rows[k].reason);
        assert_int_equal(args.nwords, 99);
    }
}

/* ------------------------------------------------------------------------ arguments at the exit, of the entry */

#define WORDS_OF_MANY KEEP(0), KEEP(1), KEEP(2), KEEP(3), KEEP(4), KEEP(5), KEEP(6), KEEP(7), KEEP(8), KEEP(9)

static void test_arguments_are_kept_until_the_exit(void **state)
{
    static const struct bpf_insn all[] = {LDMAP_VALUE(6, 0), WORDS_OF_MANY, KEEP(10), SET(0, 0), EXIT};
    static const struct bpf_insn some[] = {LDMAP_VALUE(6, 0), KEEP(2), KEEP(7), KEEP(9), SET(0, 0), EXIT};
    static s64 (*volatile many)(s32, struct pair, const char *, struct pair, s64, u8, struct odd, s16) =
        typed_many;
    const char *text = "A";

    for (u32 few = 0; few < 2; few++)
        EACH_WAY(w)
        {
            struct inproc_prog prog = typed(MANY, BPF_TRACE_FEXIT);
            const u64 *v = values(&prog);
            u32 k;

            if (few)
                VERIFIED(&prog, some);
            else
                VERIFIED(&prog, all);
            k = hook_of("typed_many", (void *)typed_many, TN_PLACE_EXIT, &prog, &ways[w]);
            in.stats[k].missed = 0;
            many(-1, (struct pair){2, -(3ll << 32)}, text, (struct pair){5, 6}, (s64)0x8765432187654321ull,
                 200, (struct odd){-9, -10}, -11);
            assert_int_equal(in.stats[k].missed, 0);
            assert_int_equal(v[2], -(3ll << 32));
            assert_int_equal((u8)v[7], 200);
            assert_int_equal((s16)v[9], -11);
            if (!few) {
                assert_int_equal((s32)v[0], -1);
                assert_int_equal(v[1], 2);
                assert_ptr_equal(v[3], text);
                assert_int_equal(v[4], 5);
                assert_int_equal(v[5], 6);
                assert_int_equal(v[6], 0x8765432187654321ull);
                assert_int_equal((s32)v[8], -9);
                assert_int_equal((s8)(v[8] >> 32), -10);
                assert_int_equal(v[10], seen[0]);
            }
            inproc_rewind(&in);
        }
}

/* Whatever is read, and wherever everything lies. */
static void test_any_number_of_words_fits(void **state)
{
    static u8 text[TN_TRAMPOLINE_MAX], program[TN_PAGE];

    memset(program, 0x90, sizeof(program));
    program[120] = 0xc3;
    for (u8 n = 1; n < TN_TYPED_WORDS; n++)
        for (u32 k = 0; k < 8; k++) {
            const struct tn_facts facts = {.ctx_escapes = true, .percpu = k & 1, .ctx_read = {~0ull}};
            struct tn_typed_args args = {.nwords = n + 1u};
            struct tn_tramp_in at = {.facts = &facts,
                                     .args = &args,
                                     .at = 1ull << 44,
                                     .hook = (1ull << 44) + TN_PAGE,
                                     .gate = 1ull << 42,
                                     .priv = 1ull << 43,
                                     .proc = 1ull << 41,
                                     .enter = 1ull << 40,
                                     .leave = 1ull << 39,
                                     .claims = 1ull << 45,
                                     .stash = 5ull << 40,
                                     .ncpu = 200,
                                     .owner_pid = 1,
                                     .rseq_cpu_off = 4096,
                                     .tp = k & 2 ? TN_TP_SELF : TN_TP_RDFSBASE,
                                     .text = k & 4 ? program : NULL,
                                     .text_len = sizeof(program),
                                     .text_at = (1ull << 44) + 2 * TN_PAGE};

            for (u8 w = 0; w < n; w++)
                args.from[w] = w;
            args.from[n - 1] = n > 6 ? TN_FROM_RESULT_HIGH : TN_FROM_ADDRESS + TN_FROM_STACK_WORDS - 1;
            if (n > 8) { /* and structs, more than the verifier admits */
                args.from[4] = args.from[5] = TN_FROM_ADDRESS;
                args.copied[4] = args.copied[5] = 255;
            }
            args.from[n] = TN_FROM_RESULT;
            at.place = TN_PLACE_ENTRY;
            assert_true(tn_trampoline(&at, text, sizeof(text), NULL) > 0);
            at.place = TN_PLACE_EXIT;
            assert_true(tn_trampoline(&at, text, sizeof(text), NULL) > 0);
        }
}

/* Value 0 counts calls whose arguments go with the result (as of typed_two and typed_nest), value 1 others. */
static const struct bpf_insn judge[] = {WORD(2, 0),
                                        WORD(3, 1),
                                        WORD(4, 2),
                                        LDMAP_VALUE(6, 0),
                                        I(BPF_ALU64 | BPF_MUL | BPF_K, 2, 0, 0, 3),
                                        ADD(2, 3),
                                        I(BPF_JMP | BPF_JEQ | BPF_X, 2, 4, 1, 0),
                                        I(BPF_ALU64 | BPF_ADD | BPF_K, 6, 0, 0, 8),
                                        SET(1, 1),
                                        I(BPF_STX | BPF_ATOMIC | BPF_DW, 6, 1, 0, BPF_ADD),
                                        SET(0, 0),
                                        EXIT};

/* Hooked, with nothing counted yet. */
static struct inproc_prog judged;
static u32 judged_hook;
static void judge_nest(const struct inproc_how *how)
{
    judged = typed(NEST, BPF_TRACE_FEXIT);
    VERIFIED(&judged, judge);
    judged_hook = hook_of("typed_nest", (void *)typed_nest, TN_PLACE_EXIT, &judged, how);
    for (u32 k = 0; k < INPROC_HOOKS; k++)
        in.stats[k] = (struct tn_link_stats){0};
    within = NULL;
}

static u64 all_missed(void)
{
    u64 sum = 0;

    for (u32 k = 0; k < INPROC_HOOKS; k++)
        sum += in.stats[k].missed;
    return sum;
}
#define WRONG_ONES (values(&judged)[1])
#define RIGHT_ONES (values(&judged)[0])

static void test_recursion_keeps_each_calls_own(void **state)
{
    EACH_WAY(w)
    {
        judge_nest(&ways[w]);
        assert_int_equal(nest(1000, 1), 3001);
        assert_int_equal(RIGHT_ONES, 1001);
        assert_int_equal(WRONG_ONES + all_missed(), 0);
        /* Deeper than the table: what is lost is missed. */
        nest(100000, 1);
        assert_int_equal(WRONG_ONES, 0);
        assert_true(RIGHT_ONES > 1001 + 4000);
        assert_int_equal(RIGHT_ONES + all_missed(), 1001 + 100001);
        assert_true(all_missed() > 0);
        inproc_rewind(&in);
    }
}

static void open_the_gate(void)
{
    in.near->gate[judged_hook - 1] = in.near->gate[judged_hook] = 1;
}
static void shut_the_gate(void)
{
    in.near->gate[judged_hook - 1] = in.near->gate[judged_hook] = 0;
}

static void empty_the_table(void)
{
    assert_int_equal(madvise(in.table[0].at, in.table[0].size, MADV_DONTNEED), 0);
}

/* As they are to an exit whose entry has not been by; and they are kept whatever the gate says. */
static void test_calls_under_way_are_missed(void **state)
{
    EACH_WAY(w)
    {
        judge_nest(&ways[w]);
        within = empty_the_table;
        nest(9, 1);
        assert_int_equal(RIGHT_ONES + WRONG_ONES, 0);
        assert_int_equal(all_missed(), 10);
        shut_the_gate();
        within = open_the_gate;
        nest(9, 1);
        assert_int_equal(RIGHT_ONES, 10);
        assert_int_equal(WRONG_ONES, 0);
        within = shut_the_gate;
        nest(9, 1);
        assert_int_equal(RIGHT_ONES, 10);
        assert_int_equal(WRONG_ONES, 0);
        assert_int_equal(all_missed(), 10);
        inproc_rewind(&in);
    }
}

static jmp_buf out;
static void leave(void)
{
    longjmp(out, 1);
}
static void nest_and_leave(s64 a, s64 b)
{
    within = leave;
    if (!setjmp(out))
        nest(a, b);
    within = NULL;
}

static void test_abandoned_calls_leave_nothing_behind(void **state)
{
    EACH_WAY(w)
    {
        u64 calls = 0;

        judge_nest(&ways[w]);
        for (u32 k = 0; k < 100; k++) {
            nest_and_leave(k, 1000 + k);
            nest(k / 2, k);
            calls += k / 2 + 1;
        }
        assert_int_equal(RIGHT_ONES, calls);
        assert_int_equal(WRONG_ONES + all_missed(), 0);
        inproc_rewind(&in);
    }
}

/* A coroutine enters on one thread and returns on another. */
static ucontext_t of_main, of_thread, of_routine;
static ucontext_t *volatile back_to;
static s64 routine_result;
static void yield_within(void)
{
    swapcontext(&of_routine, back_to);
}
static void routine(void)
{
    for (s64 k = 0;; k++)
        routine_result = nest(5, k);
}
static void make_routine(void)
{
    static u8 stack[1 << 16] __attribute__((aligned(16)));

    assert_int_equal(getcontext(&of_routine), 0);
    of_routine.uc_stack = (stack_t){.ss_sp = stack, .ss_size = sizeof(stack)};
    makecontext(&of_routine, routine, 0);
}
static void *resume(void *arg)
{
    back_to = &of_thread;
    swapcontext(&of_thread, &of_routine);
    return NULL;
}

static void test_coroutines_take_theirs_along(void **state)
{
    EACH_WAY(w)
    {
        pthread_t thread;

        judge_nest(&ways[w]);
        make_routine();
        for (u32 k = 0; k < 20; k++) {
            within = yield_within;
            if (k % 3) {
                back_to = &of_main;
                swapcontext(&of_main, &of_routine);
            } else {
                assert_int_equal(pthread_create(&thread, NULL, resume, NULL), 0);
                assert_int_equal(pthread_join(thread, NULL), 0);
            }
            within = NULL; /* the same function, on this stack, meanwhile */
            nest(5, -1000);
        }
        assert_int_equal(RIGHT_ONES, 19 * 6 + 20 * 6);
        assert_int_equal(WRONG_ONES + all_missed(), 0);
        inproc_rewind(&in);
    }
}

/* Handlers, on this stack and on another, that interrupt anything, what is kept included. */
static u64 handled;
static void on_alarm(int sig)
{
    u64 n = __atomic_fetch_add(&handled, 4, __ATOMIC_RELAXED);

    nest(3, (s64)n);
}

static void test_handlers_interrupt_anything(void **state)
{
    static u8 alternate[1 << 16];
    const stack_t other = {.ss_sp = alternate, .ss_size = sizeof(alternate)}, none = {.ss_flags = SS_DISABLE};
    const struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};

    for (u32 alt = 0; alt < 2; alt++)
        EACH_WAY(w)
        {
            struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART | (alt ? SA_ONSTACK : 0)};
            u64 calls = 0;

            judge_nest(&ways[w]);
            handled = 0;
            assert_int_equal(sigaltstack(alt ? &other : &none, NULL), 0);
            assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
            assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
            while (calls < 200000 || handled < 400) {
                nest(4, (s64)calls);
                calls += 5;
            }
            assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
            signal(SIGALRM, SIG_IGN);
            assert_int_equal(WRONG_ONES, 0);
            /* One that interrupts a run of the program is missed, as everywhere. */
            assert_int_equal(RIGHT_ONES + all_missed(), calls + handled);
            assert_true(all_missed() < handled);
            inproc_rewind(&in);
        }
    assert_int_equal(sigaltstack(&none, NULL), 0);
}

/* Each thread recurses over the whole table, so that all share all lines. */
#define CROWD 8u
static void *recurse(void *arg)
{
    for (s64 k = 0; k < 20; k++)
        nest(20000, k * (s64)(u64)arg);
    return NULL;
}

static void test_threads_that_share_lines_never_see_each_others(void **state)
{
    EACH_WAY(w)
    {
        pthread_t thread[CROWD];
        const u64 calls = CROWD * 20ull * 20001;

        judge_nest(&ways[w]);
        for (u64 k = 0; k < CROWD; k++)
            assert_int_equal(pthread_create(&thread[k], NULL, recurse, (void *)(k * 7919 + 1)), 0);
        for (u64 k = 0; k < CROWD; k++)
            assert_int_equal(pthread_join(thread[k], NULL), 0);
        assert_int_equal(WRONG_ONES, 0);
        assert_int_equal(RIGHT_ONES + all_missed(), calls);
        assert_true(RIGHT_ONES > calls / 4 && all_missed() > 0);
        inproc_rewind(&in);
    }
}

static void test_children_go_on_with_their_parents_calls(void **state)
{
    for (u32 follow = 0; follow < 2; follow++) {
        int status;
        pid_t pid;

        judge_nest(&(struct inproc_how){.follow = follow});
        within = NULL;
        nest(1, 1);
        pid = fork();
        if (!pid) {
            nest(7, 1);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(RIGHT_ONES, 2 + (follow ? 8 : 0));
        assert_int_equal(WRONG_ONES + all_missed(), 0);
        inproc_rewind(&in);
    }
}

static volatile pid_t forked_within;
static void fork_within(void)
{
    forked_within = fork();
}

/* Both return from all calls that were under way; the child's count where the link follows. */
static void test_fork_inside_a_call(void **state)
{
    for (u32 follow = 0; follow < 2; follow++) {
        int status;

        judge_nest(&(struct inproc_how){.follow = follow});
        within = fork_within;
        nest(4, 1);
        if (!forked_within)
            _exit(0);
        assert_int_equal(waitpid(forked_within, &status, 0), forked_within);
        assert_int_equal(status, 0);
        assert_int_equal(RIGHT_ONES, 5 + (follow ? 5 : 0));
        assert_int_equal(WRONG_ONES + all_missed(), 0);
        inproc_rewind(&in);
    }
}

/* The memory is the host's to spoil: what it makes of its own arguments is its own affair, and no more. */
static u64 dice = 88172645463325252ull;
static void spoil_the_table(void)
{
    u64 *words = in.table[0].at;

    for (u64 k = 0; k < in.table[0].size / 8; k++) {
        dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
        words[k] = dice;
    }
}

static void test_a_spoilt_table_is_missed(void **state)
{
    EACH_WAY(w)
    {
        judge_nest(&ways[w]);
        within = spoil_the_table;
        for (u32 k = 0; k < 10; k++)
            assert_int_equal(nest(9, 1), 28);
        assert_int_equal(RIGHT_ONES + WRONG_ONES, 0);
        assert_int_equal(all_missed(), 100);
        inproc_rewind(&in);
    }
}

/* -------------------------------------------------------------------------------------------- answers */

static void test_fmod_ret_answers_with_its_result(void **state)
{
    /* a < 0: answers with b (as a number of 32 bits, sign-extended by the program); else lets it run */
    static const struct bpf_insn insns[] = {
        WORD(2, 0), WORD(3, 1), SET(0, 0), I(BPF_JMP | BPF_JSGE | BPF_K, 2, 0, 1, 0), COPY(0, 3), EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_MODIFY_RETURN);

        VERIFIED(&prog, insns);
        seen[1] = 0;
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        assert_int_equal(two(4, 2), 14);
        assert_int_equal(seen[1], 1);
        assert_int_equal(two(-4, -77), -77);
        assert_int_equal(two(-4, 1ll << 40), 1ll << 40);
        assert_int_equal(seen[1], 1);
        assert_int_equal(two(-4, 0), -12); /* zero is no answer */
        assert_int_equal(seen[1], 2);
        inproc_rewind(&in);
    }
}

/* … as seen at the exit, like any result. */
static void test_an_answer_passes_the_exits(void **state)
{
    static const struct bpf_insn answer[] = {
        WORD(2, 0), WORD(3, 1), SET(0, 0), I(BPF_JMP | BPF_JSGE | BPF_K, 2, 0, 1, 0), COPY(0, 3), EXIT};
    static const struct bpf_insn look[] = {
        LDMAP_VALUE(6, 0), KEEP(2), SET(1, 1), I(BPF_STX | BPF_ATOMIC | BPF_DW, 6, 1, 0, BPF_ADD),
        SET(0, 0),         EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog answers = typed(TWO, BPF_MODIFY_RETURN), looks = typed(TWO, BPF_TRACE_FEXIT);
        const u64 *v = values(&looks);

        VERIFIED(&answers, answer);
        VERIFIED(&looks, look);
        seen[1] = 0;
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &answers, &ways[w]);
        assert_int_equal(two(-4, -77), -77);
        hook("typed_two", (void *)typed_two, TN_PLACE_EXIT, &looks, &ways[w]);
        assert_int_equal(two(-4, -78), -78);
        assert_int_equal(v[2], -78);
        assert_int_equal(v[0], 1);
        assert_int_equal(seen[1], 0);
        assert_int_equal(two(4, 2), 14);
        assert_int_equal(v[2], 14);
        assert_int_equal(v[0], 2);
        assert_int_equal(seen[1], 1);
        inproc_rewind(&in);
    }
}

/* A caller compiled with the function in sight counts on what it leaves alone. */
static void test_an_answer_leaves_all_else_alone(void **state)
{
    static const struct bpf_insn insns[] = {WORD(0, 0), SET(1, 1), SET(2, 2), SET(3, 3),
                                            SET(4, 4),  SET(5, 5), EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_MODIFY_RETURN);
        u64 c = 0xc, d = 0xd, eight = 8, nine = 9, ten = 10, eleven = 11, result;

        VERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        __asm__ volatile(
            "mov %[eight], %%r8; mov %[nine], %%r9; mov %[ten], %%r10; mov %[eleven], %%r11\n\t"
            "sub $128, %%rsp; call typed_two; add $128, %%rsp\n\t"
            "mov %%r8, %[eight]; mov %%r9, %[nine]; mov %%r10, %[ten]; mov %%r11, %[eleven]"
            : "=a"(result), "+c"(c),
              "+d"(d), [eight] "+m"(eight), [nine] "+m"(nine), [ten] "+m"(ten), [eleven] "+m"(eleven)
            : "D"(77ll), "S"(88ll)
            : "r8", "r9", "r10", "r11", "memory", "cc");
        assert_int_equal(result, 77);
        assert_int_equal(c, 0xc);
        assert_int_equal(d, 0xd);
        assert_int_equal(eight, 8);
        assert_int_equal(nine, 9);
        assert_int_equal(ten, 10);
        assert_int_equal(eleven, 11);
        inproc_rewind(&in);
    }
}

/* bpf_override_return(ctx, 0) when the first argument is 9. */
static void test_override_answers_with_anything(void **state)
{
    static const struct bpf_insn insns[] = {LOAD(2, 1, offsetof(struct tn_pt_regs, di)),
                                            I(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 2, 9),
                                            SET(2, 0),
                                            CALL(BPF_FUNC_override_return),
                                            SET(0, 0),
                                            EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = {.replace = TN_REPLACE_BY_CALL};
        struct tn_error err = {0};

        VERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        seen[1] = 0;
        assert_int_equal(two(9, 5), 0);
        assert_int_equal(seen[1], 0);
        assert_int_equal(two(8, 5), 29);
        assert_int_equal(seen[1], 1);
        inproc_rewind(&in);
        assert_int_equal(
            inproc_hook(&in, "typed_two", (void *)typed_two, TN_PLACE_OFFSET, &prog, &ways[w], NULL, &err),
            -ENOTSUP);
        assert_string_equal(err.reason, "replace_place");
        inproc_rewind(&in);
    }
}

/* At an exit: the function has run, and its result is another one. */
static void test_override_changes_a_result(void **state)
{
    static const struct bpf_insn insns[] = {LOAD(2, 1, offsetof(struct tn_pt_regs, ax)),
                                            I(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 2, 29),
                                            SET(2, 0),
                                            CALL(BPF_FUNC_override_return),
                                            SET(0, 0),
                                            EXIT};
    /* The same, where flags are wanted, so that rax is kept elsewhere. Bit 1 of them is always set. */
    static const struct bpf_insn with_flags[] = {LOAD(2, 1, offsetof(struct tn_pt_regs, ax)),
                                                 LOAD(3, 1, offsetof(struct tn_pt_regs, flags)),
                                                 I(BPF_ALU64 | BPF_AND | BPF_K, 3, 0, 0, 2),
                                                 I(BPF_ALU64 | BPF_ADD | BPF_X, 2, 3, 0, 0),
                                                 CALL(BPF_FUNC_override_return),
                                                 SET(0, 0),
                                                 EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = {.replace = TN_REPLACE_BY_CALL}, other = prog;

        VERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_EXIT, &prog, &ways[w]);
        seen[1] = 0;
        assert_int_equal(two(8, 5), 0);
        assert_int_equal(two(9, 5), 32);
        assert_int_equal(seen[1], 2);
        inproc_rewind(&in);
        VERIFIED(&other, with_flags);
        hook("typed_two", (void *)typed_two, TN_PLACE_EXIT, &other, &ways[w]);
        assert_int_equal(two(8, 5), 31);
        assert_int_equal(two(9, -5), 24);
        inproc_rewind(&in);
    }
}

/* tenon_replace in a program of type tracing: 0 is an answer, too. */
static void test_replace_by_call_in_a_typed_program(void **state)
{
    static const struct bpf_insn insns[] = {SET(2, 0), KFUNC(1000), SET(0, 0), EXIT};
    struct inproc_prog prog = typed(TWO, BPF_MODIFY_RETURN);

    prog.ref[0] = (struct tn_host_ref){.btf_id = 1000, .kind = TN_NAMED_REPLACE};
    prog.nrefs = 1;
    assert_int_equal(tn_abi_words(types.btf, types.func[TWO], false, true, &prog.args, NULL), 0);
    UNVERIFIED(&prog, insns);
    hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, NULL);
    assert_int_equal(two(3, 4), 0);
    assert_int_equal(seen[1], 0);
}

/* --------------------------------------------------------------------------- what is stored to the context */

#define STORE(n, s)   I(BPF_STX | BPF_MEM | BPF_DW, 1, s, 8 * (n), 0)
#define STORE_I(n, v) I(BPF_ST | BPF_MEM | BPF_DW, 1, 0, 8 * (n), v)
#define REG_AT(r)     (offsetof(struct tn_pt_regs, r) / 8)
#define ADD_I(d, imm) I(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, imm)
#define MORE(n, by)   WORD(2, n), ADD_I(2, by), STORE(n, 2)

static s64 call_many(void)
{
    static s64 (*volatile many)(s32, struct pair, const char *, struct pair, s64, u8, struct odd, s16) =
        typed_many;

    return many(-1, (struct pair){2, 3}, "A", (struct pair){5, 6}, 7, 200, (struct odd){-9, -10}, -11);
}
#define OF_MANY (-1 + 2 + 3 + 'A' + 5 + 6 + 7 + 200 - 9 - 10 - 11)

/* In registers, in two of them, on the stack; each alone, and all together. */
static void test_arguments_are_changed(void **state)
{
    static const struct bpf_insn all[] = {MORE(0, 1000),
                                          MORE(1, 20000),
                                          MORE(2, 300000),
                                          MORE(4, 4000000),
                                          MORE(5, 50000000),
                                          MORE(6, 600000000),
                                          MORE(7, -100),
                                          MORE(8, -70000),
                                          MORE(9, 800),
                                          SET(0, 0),
                                          EXIT};
    s64 by[] = {1000, 20000, 300000, 4000000, 50000000, 600000000, -100, -70000, 800}, sum = OF_MANY;

    for (u32 k = 0; k < TN_ARRAY_SIZE(by); k++)
        sum += by[k];
    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(MANY, BPF_TRACE_FENTRY);

        VERIFIED(&prog, all);
        hook("typed_many", (void *)typed_many, TN_PLACE_ENTRY, &prog, &ways[w]);
        assert_int_equal(call_many(), sum);
        inproc_rewind(&in);
        for (u32 k = 0; k < TN_ARRAY_SIZE(by); k++) {
            const u32 word = k < 3 ? k : k + 1;
            const struct bpf_insn one[] = {MORE(word, (s32)by[k]), SET(0, 0), EXIT};
            struct inproc_prog only = typed(MANY, BPF_TRACE_FENTRY);

            VERIFIED(&only, one);
            hook("typed_many", (void *)typed_many, TN_PLACE_ENTRY, &only, &ways[w]);
            assert_int_equal(call_many(), OF_MANY + by[k]);
            inproc_rewind(&in);
        }
    }
}

/* On one way only, and never read: on the other way it is as it was. */
static void test_what_is_not_stored_stays(void **state)
{
    static const struct bpf_insn insns[] = {WORD(2, 0), I(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 1, 9),
                                            STORE_I(1, 5000), SET(0, 0), EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_TRACE_FENTRY);

        VERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        assert_int_equal(two(9, 1), 5027);
        assert_int_equal(two(8, 1), 25);
        inproc_rewind(&in);
    }
}

/* Functions count on narrow arguments to be extended by whoever calls. */
static void test_narrow_arguments_are_extended(void **state)
{
    static const struct bpf_insn insns[] = {SET(2, -2),          STORE(0, 2), STORE(1, 2), STORE(2, 2),
                                            STORE(3, 2),         STORE(4, 2), STORE(5, 2), STORE(6, 2),
                                            STORE_I(7, 0x12345), SET(0, 0),   EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(RAW, BPF_TRACE_FENTRY);

        VERIFIED(&prog, insns);
        hook("typed_raw", (void *)typed_raw, TN_PLACE_ENTRY, &prog, &ways[w]);
        raw(1, 2, 3, 4, 5, 6, 7, 8);
        assert_int_equal(seen[8], -2);
        assert_int_equal(seen[9], 0xfe);
        assert_int_equal(seen[10], -2);
        assert_int_equal(seen[11], 0xfffe);
        assert_int_equal((s32)seen[12], -2);
        assert_int_equal(seen[13], -2);
        assert_int_equal(seen[14], -2);
        assert_int_equal(seen[15], 0x2345);
        inproc_rewind(&in);
    }
}

/* Calls within calls each their own; the exit sees what was stored at the entry, and stores the result. */
static void test_changes_go_on_to_the_exit(void **state)
{
    static const struct bpf_insn more[] = {MORE(1, 100), SET(0, 0), EXIT};
    static const struct bpf_insn result[] = {LDMAP_VALUE(6, 0), KEEP(2), MORE(2, 7), SET(0, 0), EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog first = typed(NEST, BPF_TRACE_FENTRY), last = typed(NEST, BPF_TRACE_FEXIT);
        const u64 *v = values(&last);

        within = NULL;
        VERIFIED(&first, more);
        VERIFIED(&last, result);
        hook("typed_nest", (void *)typed_nest, TN_PLACE_ENTRY, &first, &ways[w]);
        assert_int_equal(nest(0, 1), 101);
        assert_int_equal(nest(3, 1), 9 + 101);
        hook("typed_nest", (void *)typed_nest, TN_PLACE_EXIT, &last, &ways[w]);
        assert_int_equal(nest(2, 1), 6 + 101 + 7);
        assert_int_equal(v[2], 6 + 101);
        inproc_rewind(&in);
    }
}

/* As on Linux from 6.18 on: registers, by a probe; parts of them as well. */
static void test_registers_are_changed(void **state)
{
    static const struct bpf_insn enter[] = {MORE(REG_AT(di), 10), STORE_I(REG_AT(si), 3), SET(0, 0), EXIT};
    static const struct bpf_insn low[] = {
        I(BPF_ST | BPF_MEM | BPF_B, 1, 0, offsetof(struct tn_pt_regs, di) + 1, 1), SET(0, 0), EXIT};
    static const struct bpf_insn leave_with[] = {LOAD(3, 1, offsetof(struct tn_pt_regs, flags)),
                                                 MORE(REG_AT(ax), 1), SET(0, 0), EXIT};
    static const struct bpf_insn leave_less[] = {MORE(REG_AT(ax), -1), STORE_I(REG_AT(dx), 0), SET(0, 0),
                                                 EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog at[4] = {};

        VERIFIED(&at[0], enter);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &at[0], &ways[w]);
        assert_int_equal(two(1, 1), 36);
        inproc_rewind(&in);
        VERIFIED(&at[1], low);
        VERIFIED(&at[2], leave_with);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &at[1], &ways[w]);
        assert_int_equal(two(1, 1), 257 * 3 + 1);
        hook("typed_two", (void *)typed_two, TN_PLACE_EXIT, &at[2], &ways[w]);
        assert_int_equal(two(1, 1), 257 * 3 + 2);
        inproc_rewind(&in);
        VERIFIED(&at[3], leave_less);
        hook("typed_two", (void *)typed_two, TN_PLACE_EXIT, &at[3], &ways[w]);
        assert_int_equal(two(1, 1), 3);
        inproc_rewind(&in);
    }
}

/* What nobody takes up there is refused. */
static void test_changes_are_for_their_place(void **state)
{
    static const struct bpf_insn insns[][3] = {
        {STORE_I(REG_AT(di), 1), SET(0, 0), EXIT}, {STORE_I(REG_AT(ax), 1), SET(0, 0), EXIT},
        {STORE_I(REG_AT(bx), 1), SET(0, 0), EXIT}, {STORE_I(REG_AT(ip), 1), SET(0, 0), EXIT},
        {STORE_I(REG_AT(sp), 1), SET(0, 0), EXIT}, {STORE_I(REG_AT(r10), 1), SET(0, 0), EXIT}};
    static const enum tn_place_kind places[] = {TN_PLACE_ENTRY, TN_PLACE_OFFSET, TN_PLACE_EXIT};
    static const u8 fits[] = {1, 4, 0, 0, 0, 0};

    for (u32 k = 0; k < TN_ARRAY_SIZE(insns); k++)
        for (u32 p = 0; p < TN_ARRAY_SIZE(places); p++) {
            struct inproc_prog prog = {0};
            struct tn_error err = {0};
            int r;

            if (inproc_load(&in, &prog, insns[k], 3, &err))
                fail_msg("%s: %s", err.reason, err.message);
            r = inproc_hook(&in, "typed_two", (void *)typed_two, places[p], &prog, NULL, NULL, &err);
            assert_int_equal(r, fits[k] >> p & 1 ? 0 : -ENOTSUP);
            if (r)
                assert_string_equal(err.reason, "ctx_written");
            inproc_rewind(&in);
        }
}

/* A result that is to be another one, of a call whose arguments are not to be had: it is what it was. */
static void test_a_lost_run_changes_nothing(void **state)
{
    static const struct bpf_insn insns[] = {WORD(2, 0), ADD_I(2, 99), KFUNC(1000), SET(0, 0), EXIT};
    static const struct bpf_insn stores[] = {WORD(3, 0), ADD_I(3, 99), STORE(2, 3), SET(0, 0), EXIT};

    for (u32 by_store = 0; by_store < 2; by_store++)
        EACH_WAY(w)
        {
            struct inproc_prog prog = typed(NEST, BPF_TRACE_FEXIT);

            if (by_store) {
                VERIFIED(&prog, stores);
            } else {
                prog.replace = TN_REPLACE_BY_CALL;
                prog.ref[0] = (struct tn_host_ref){.btf_id = 1000, .kind = TN_NAMED_REPLACE};
                prog.nrefs = 1;
                prog.facts.ctx_read[0] = 1;
                assert_int_equal(tn_abi_words(types.btf, types.func[NEST], true, true, &prog.args, NULL), 0);
                UNVERIFIED(&prog, insns);
            }
            hook("typed_nest", (void *)typed_nest, TN_PLACE_EXIT, &prog, &ways[w]);
            within = NULL;
            assert_int_equal(nest(0, 5), 99);
            within = empty_the_table;
            for (u32 k = 0; k < 100; k++) {
                memset(__builtin_alloca(1024), 0xff, 1024); /* what was on the stack before */
                assert_int_equal(nest(0, k), k);
            }
            inproc_rewind(&in);
        }
}

/* Functions whose callers may, or may not, go on with what is in rdi and rsi. */
#define CODE(name, text)                                                                                     \
    ".globl " name "\n.type " name ",@function\n" name ":\n" text "\n.size " name ",.-" name "\n"
__asm__(".text\n" CODE("kept_leaf", "lea 1(%rdi),%rax; ret")
            CODE("kept_low", "mov $1,%dil; mov %rsi,%rax; ret") CODE("kept_call", "call kept_leaf; ret")
                CODE("kept_callee", "call kept_low; call kept_leaf; ret") CODE("kept_tail", "jmp kept_low")
                    CODE("kept_popped", "push %rdi; pop %rdi; ret") CODE("kept_pointer", "call *%rax; ret")
                        CODE("kept_jump", "jmp *(%rax)")
                            CODE("kept_plt", "sub $8,%rsp; call getppid@plt; add $8,%rsp; ret")
                                CODE("kept_self", "test %rdi,%rdi; jz 1f; call kept_self; 1: ret")
                                    CODE("kept_cold", "jmp 1f; mov $1,%edi; 1: xor %esi,%esi; ret"));

static void test_registers_that_callers_count_on(void **state)
{
    static const struct {
        const char *name;
        bool rdi, rsi; /* taken for lost */
    } rows[] = {{"kept_leaf", false, false},  {"kept_low", true, false},  {"kept_call", false, false},
                {"kept_callee", true, false}, {"kept_tail", true, false}, {"kept_popped", false, false},
                {"kept_pointer", true, true}, {"kept_jump", true, true},  {"kept_plt", true, true},
                {"kept_self", false, false},  {"kept_cold", false, true}};

    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        u64 addr = file_address(rows[k].name);
        u16 regs = 0;

        assert_int_equal(tn_func_clobbers(tn_module_code(in.self, addr), addr, 0xffff, &regs), 0);
        if ((regs >> 7 & 1) != rows[k].rdi || (regs >> 6 & 1) != rows[k].rsi)
            fail_msg("%s: %x", rows[k].name, regs);
    }
}

/* ---------------------------------------------------------------------------------- functions of the host */

static void call_through(struct inproc_prog *prog, const char *callee, u8 result, bool is_signed)
{
    prog->ref[0] = (struct tn_host_ref){.btf_id = 500,
                                        .kind = TN_NAMED_FUNC,
                                        .addr = file_address(callee),
                                        .result = result,
                                        .result_signed = is_signed};
    prog->ref[1] =
        (struct tn_host_ref){.btf_id = 501, .kind = TN_NAMED_VAR, .addr = (u64)&host_variable - in.bias};
    prog->nrefs = 2;
    prog->facts.calls_host = true;
    prog->facts.ctx_read[0] = 3;
    assert_int_equal(tn_abi_words(types.btf, types.func[TWO], false, true, &prog->args, NULL), 0);
}

static void test_a_function_of_the_host_is_called(void **state)
{
    /* callee(a, 2, 3, 4, *host_variable), its result to the variable; r6 must survive. */
    static const struct bpf_insn insns[] = {
        WORD(6, 0), KSYM(7, 501),  COPY(1, 6), SET(2, 2), SET(3, 3),
        SET(4, 4),  LOAD(5, 7, 0), KFUNC(500), ADD(0, 6), I(BPF_STX | BPF_MEM | BPF_DW, 7, 0, 0, 0),
        SET(0, 0),  EXIT};

    for (u32 full = 0; full < 2; full++)
        EACH_WAY(w)
        {
            struct inproc_prog prog = typed(TWO, BPF_TRACE_FENTRY);

            prog.full_calls = full;
            call_through(&prog, "callee_narrow", 1, true);
            UNVERIFIED(&prog, insns);
            hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
            host_variable = 77;
            assert_int_equal(two(100, 1), 301);
            assert_int_equal(seen[2], 100);
            assert_int_equal(seen[3], 2);
            assert_int_equal(seen[4], 3);
            assert_int_equal(seen[5], 4);
            assert_int_equal(seen[6], 77);
            assert_int_equal(host_variable, 95); /* −5 of a signed char, whatever was above it in rax */
            inproc_rewind(&in);
        }
}

static int widest(void)
{
    return __builtin_cpu_supports("avx512bw") ? 2 : __builtin_cpu_supports("avx2") ? 1 : 0;
}

static void test_wide_code_is_found(void **state)
{
    static const u8 narrow[] = {0x48, 0x89, 0xc5, 0x0f, 0x28, 0xc4,
                                0xb8, 0xc5, 0xf8, 0x77, 0x62, 0xc3};           /* in operands only */
    static const u8 vex[] = {0x90, 0xc5, 0xf8, 0x77, 0xc3};                    /* vzeroupper */
    static const u8 evex[] = {0x90, 0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1, 0xc3}; /* vmovaps %zmm1,%zmm0 */
    static const u8 three[] = {0xc4, 0xe2, 0x7d, 0x18, 0xc1, 0xc3};            /* vbroadcastss %xmm1,%ymm0 */
    static const struct tn_func funcs[] = {{.addr = 0x1000}, {.addr = 0x1001}};
#define ROW(a, wide)                                                                                         \
    {                                                                                                        \
        {.bytes = a, .addr = 0x1000, .len = sizeof(a), .funcs = funcs, .nfuncs = 2}, wide                    \
    }
    const struct {
        struct tn_code_view code;
        bool wide;
    } rows[] = {ROW(narrow, false), ROW(vex, true), ROW(evex, true), ROW(three, true)};

    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct tn_code_view one = rows[k].code;

        one.nfuncs = 0;
        assert_int_equal(tn_code_has_wide(&one), rows[k].wide);
        if (k < 3) /* between functions, too */
            assert_int_equal(tn_code_has_wide(&rows[k].code), rows[k].wide);
    }
}

static void test_vector_state_survives_a_call(void **state)
{
    static const struct bpf_insn insns[] = {WORD(1, 0), KFUNC(500), SET(0, 0), EXIT};
    static struct vectors before, after;

    for (u32 k = 0; k < sizeof(before); k++)
        ((u8 *)&before)[k] = (u8)(k * 7 + k / 64);
    /* Where nothing wider than xmm is in use, only that is saved. */
    for (u32 full = 0; full < 2; full++)
        for (int live = 0; live <= (full ? widest() : 0); live++)
            for (how_wide = 0; how_wide <= widest(); how_wide++) {
                u32 regs = live == 2 ? 32 : 16, size = live == 2 ? 64 : live == 1 ? 32 : 16;
                struct inproc_prog prog = typed(TWO, BPF_TRACE_FENTRY);

                prog.full_calls = full;
                call_through(&prog, "callee_spoils", 8, true);
                UNVERIFIED(&prog, insns);
                hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, NULL);
                memset(&after, 0, sizeof(after));
                seen[7] = 0;
                feclearexcept(FE_ALL_EXCEPT);
                assert_int_equal(call_with_vectors((void *)typed_two, &before, &after, live), 5);
                assert_int_equal(seen[7], 1);
                assert_false(fetestexcept(FE_INEXACT | FE_DIVBYZERO));
                for (u32 r = 0; r < regs; r++)
                    assert_memory_equal(after.reg[r], before.reg[r], size);
                if (live == 2)
                    assert_memory_equal(after.mask + 1, before.mask + 1, 7 * sizeof(u64));
                inproc_rewind(&in);
            }
}

/* A program with a CPU's claim gives it back for the call. */
static struct tn_cpu_claim claims_meanwhile[1024];
FN void callee_looks(void);
FN void callee_looks(void)
{
    memcpy(claims_meanwhile, in.claims, in.ncpu * sizeof(*in.claims));
}

static void test_the_claim_is_given_back_for_a_call(void **state)
{
    static const struct bpf_insn insns[] = {KFUNC(500), SET(0, 0), EXIT};

    assert_true(in.ncpu <= TN_ARRAY_SIZE(claims_meanwhile));
    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_TRACE_FENTRY);

        call_through(&prog, "callee_looks", 0, false);
        prog.facts.percpu = true;
        UNVERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        memset(claims_meanwhile, 0xff, sizeof(claims_meanwhile));
        assert_int_equal(two(1, 1), 4);
        for (u32 cpu = 0; cpu < in.ncpu; cpu++) {
            assert_int_equal(claims_meanwhile[cpu].owner, 0);
            assert_int_equal(in.claims[cpu].owner, 0);
        }
        inproc_rewind(&in);
    }
}

/* Meanwhile others may have taken all CPUs but one, or all. */
static u32 left_free;
#define OTHERS 0x7fffffff00000008ull
FN void callee_crowds(void);
FN void callee_crowds(void)
{
    for (u32 cpu = 0; cpu < in.ncpu; cpu++)
        in.claims[cpu].owner = cpu == left_free ? 0 : OTHERS;
}

static void test_of_a_claim_that_was_taken_again_only_the_last_is_given_back(void **state)
{
    static const struct bpf_insn insns[] = {KFUNC(500), SET(0, 0), EXIT};

    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_TRACE_FENTRY);

        call_through(&prog, "callee_crowds", 0, false);
        prog.facts.percpu = true;
        UNVERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        for (left_free = 0; left_free <= in.ncpu; left_free++) {
            assert_int_equal(two(1, 1), 4);
            for (u32 cpu = 0; cpu < in.ncpu; cpu++) {
                assert_true(in.claims[cpu].owner == (cpu == left_free ? 0 : OTHERS));
                in.claims[cpu].owner = 0;
            }
            assert_int_equal(in.stats[0].missed, 0);
        }
        inproc_rewind(&in);
    }
}

/* --------------------------------------------------------------------------- memory that may not be there */

static void test_careful_loads(void **state)
{
    /* seen[8 …] = loads of 8, 4, 2 and 1 bytes at a, zero- and sign-extended; all other registers stay */
    static const struct bpf_insn insns[] = {WORD(6, 0),
                                            SET(0, 100),
                                            SET(1, 1),
                                            SET(2, 2),
                                            SET(3, 3),
                                            SET(4, 4),
                                            SET(5, 5),
                                            LOAD(7, 6, 1),
                                            I(BPF_LDX | BPF_MEM | BPF_W, 8, 6, 1, 0),
                                            I(BPF_LDX | BPF_MEMSX | BPF_B, 9, 6, 1, 0),
                                            ADD(0, 1),
                                            ADD(0, 2),
                                            ADD(0, 3),
                                            ADD(0, 4),
                                            ADD(0, 5),
                                            ADD(0, 7),
                                            ADD(0, 8),
                                            ADD(0, 9),
                                            EXIT};
    static const u8 constant[16] = {0, 0xf1, 2, 3, 4, 5, 6, 7, 8};
    u8 *page = mmap(NULL, 2 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u8 local[16];
    u64 word;
    u32 half;

    assert_ptr_not_equal(page, MAP_FAILED);
    assert_int_equal(munmap(page + TN_PAGE, TN_PAGE), 0);
    memcpy(page, constant, sizeof(constant));
    memcpy(local, constant, sizeof(constant));
    memcpy(&word, constant + 1, 8);
    memcpy(&half, constant + 1, 4);
    EACH_WAY(w)
    {
        struct inproc_prog prog = typed(TWO, BPF_MODIFY_RETURN);
        const s64 sum = (s64)(115 + word + half) + (s8)0xf1;

        prog.careful = true;
        call_through(&prog, "callee_looks", 0, false);
        UNVERIFIED(&prog, insns);
        hook("typed_two", (void *)typed_two, TN_PLACE_ENTRY, &prog, &ways[w]);
        assert_int_equal(two((s64)page, 0), sum);
        assert_int_equal(two((s64)local, 0), sum);
        assert_int_equal(two((s64)constant, 0), sum);
        assert_int_equal(two((s64)(page + TN_PAGE), 0), 115);
        assert_int_equal(two((s64)(page + TN_PAGE - 5), 0),
                         115); /* eight bytes and four are cut, the one is zero */
        assert_int_equal(two(0, 0), 115);
        assert_int_equal(two((s64)1 << 62, 0), 115);
        inproc_rewind(&in);
    }
    munmap(page, TN_PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(fn) cmocka_unit_test_setup_teardown(fn, fresh, rewind_all)
        T(test_words_are_where_the_abi_has_them),
        T(test_the_result_is_the_last_word),
        T(test_where_the_words_of_prototypes_are),
        T(test_a_result_in_two_registers),
        T(test_a_struct_in_memory),
        T(test_a_struct_in_memory_at_the_exit),
        T(test_a_result_in_memory_is_changed),
        T(test_prototypes_that_cannot_be_told),
        T(test_arguments_are_kept_until_the_exit),
        T(test_any_number_of_words_fits),
        T(test_recursion_keeps_each_calls_own),
        T(test_calls_under_way_are_missed),
        T(test_abandoned_calls_leave_nothing_behind),
        T(test_coroutines_take_theirs_along),
        T(test_handlers_interrupt_anything),
        T(test_threads_that_share_lines_never_see_each_others),
        T(test_children_go_on_with_their_parents_calls),
        T(test_fork_inside_a_call),
        T(test_a_spoilt_table_is_missed),
        T(test_fmod_ret_answers_with_its_result),
        T(test_an_answer_passes_the_exits),
        T(test_an_answer_leaves_all_else_alone),
        T(test_override_answers_with_anything),
        T(test_override_changes_a_result),
        T(test_arguments_are_changed),
        T(test_what_is_not_stored_stays),
        T(test_narrow_arguments_are_extended),
        T(test_changes_go_on_to_the_exit),
        T(test_registers_are_changed),
        T(test_changes_are_for_their_place),
        T(test_a_lost_run_changes_nothing),
        T(test_registers_that_callers_count_on),
        T(test_replace_by_call_in_a_typed_program),
        T(test_a_function_of_the_host_is_called),
        T(test_wide_code_is_found),
        T(test_vector_state_survives_a_call),
        T(test_the_claim_is_given_back_for_a_call),
        T(test_of_a_claim_that_was_taken_again_only_the_last_is_given_back),
        T(test_careful_loads),
#undef T
    };
    struct tn_error err = {0};

    if (inproc_init(&in, &err)) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 1;
    }
    make_types();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
