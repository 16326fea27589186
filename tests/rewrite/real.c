/* SPDX-License-Identifier: MIT */
/*
 * Nothing stands in for anything: verified and compiled programs, the agent's image, patched functions of
 * this very program (inproc.h). Random programs must leave the function as it was and do what the interpreter
 * says; and every run must be accounted for, counted by the program or as missed, whatever happens to the
 * thread meanwhile: signals, jumps out of handlers, fork, vfork, more threads than slots, no CPU to be had.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "inproc.h"
#include "rt/syscalls.h"
#include "vm/vm.h"

#define PROGRAMS 1000u
#define THREADS  4u
#define CALLS    50000u

/* As call_with_state (state.S) has it. */
struct state {
    u64 gpr[16], flags, pad;
    u8 xmm[16][16];
};
extern void call_with_state(void *fn, struct state *in, struct state *ret_out);

#define FN __attribute__((noinline, aligned(64), no_sanitize("address", "undefined")))
typedef u64 (*volatile fn_t)(u64, u64);

FN u64 hooked_one(u64 a, u64 b);
FN u64 hooked_two(u64 a, u64 b);
FN u64 hooked_one(u64 a, u64 b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return (a ^ b) * 3 + b;
}
FN u64 hooked_two(u64 a, u64 b)
{
    __asm__ volatile("" : "+r"(a), "+r"(b));
    return (a ^ b) * 5 + b;
}
static fn_t one = hooked_one, two = hooked_two;

static struct inproc in;

#define SET(d, imm)     I(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, imm)
#define COPY(d, s)      I(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define IF_ZERO(d, off) I(BPF_JMP | BPF_JEQ | BPF_K, d, 0, off, 0)
#define FIRST_VALUE(map)                                                                                     \
    I(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0), COPY(2, 10), I(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),     \
        LDMAP(1, map), CALL(BPF_FUNC_map_lookup_elem)

static const struct bpf_insn count[] = {FIRST_VALUE(0),
                                        IF_ZERO(0, 3),
                                        I(BPF_LDX | BPF_MEM | BPF_DW, 1, 0, 0, 0),
                                        I(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1),
                                        I(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
                                        SET(0, 0),
                                        EXIT};
static const struct bpf_insn count_atomic[] = {
    FIRST_VALUE(0), IF_ZERO(0, 2), SET(1, 1), I(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
    SET(0, 0),      EXIT};
/* The same, but it takes its time: a signal is likely to come while it runs. */
static const struct bpf_insn count_slowly[] = {SET(6, 20000),
                                               I(BPF_ALU64 | BPF_SUB | BPF_K, 6, 0, 0, 1),
                                               I(BPF_JMP | BPF_JNE | BPF_K, 6, 0, -2, 0),
                                               FIRST_VALUE(0),
                                               IF_ZERO(0, 3),
                                               I(BPF_LDX | BPF_MEM | BPF_DW, 1, 0, 0, 0),
                                               I(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1),
                                               I(BPF_STX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
                                               SET(0, 0),
                                               EXIT};

static struct inproc_prog load(const struct bpf_insn *insns, u32 n, u32 map_type)
{
    struct inproc_prog prog = {0};
    struct tn_error err = {0};

    if (inproc_map(&in, &prog, map_type, 4, 8, 1, &err))
        fail_msg("%s: %s", err.reason, err.message);
    return prog;
}
/* The program's maps are found by address, so it is loaded where it stays. */
#define LOAD(prog, insns, type)                                                                              \
    do {                                                                                                     \
        struct tn_error err_ = {0};                                                                          \
                                                                                                             \
        *(prog) = load(insns, TN_ARRAY_SIZE(insns), type);                                                   \
        if (inproc_load(&in, prog, insns, TN_ARRAY_SIZE(insns), &err_))                                      \
            fail_msg("%s: %s", err_.reason, err_.message);                                                   \
    } while (0)

static u32 hook(const char *name, fn_t fn, enum tn_place_kind place, const struct inproc_prog *prog,
                const struct inproc_how *how)
{
    struct tn_error err = {0};
    u32 k;

    if (inproc_hook(&in, name, (void *)fn, place, prog, how, &k, &err))
        fail_msg("%s: %s", err.reason, err.message);
    return k;
}

/* What the program has counted, on all CPUs. */
static u64 counted(const struct inproc_prog *prog)
{
    u64 value[1024], sum = 0;
    bool percpu = prog->facts.percpu;

    assert_true(in.ncpu <= TN_ARRAY_SIZE(value));
    assert_int_equal(tn_map_user_lookup(&prog->map[0], &(u32){0}, value, 0), 0);
    for (u32 i = 0; i < (percpu ? in.ncpu : 1); i++)
        sum += value[i];
    return sum;
}

static void all_quiet(void)
{
    for (u32 i = 0; i < TN_SLOT_COUNT + TN_SLOT_OVERFLOW; i++) {
        const struct tn_slot *slot =
            i < TN_SLOT_COUNT ? &in.priv->slot[i] : &in.priv->overflow[i - TN_SLOT_COUNT];

        assert_int_equal(slot->sp, 0);
        for (u32 w = 0; w < TN_SLOT_BITS / 64; w++)
            assert_int_equal(slot->running[w], 0);
    }
    for (u32 i = 0; i < in.ncpu; i++)
        assert_int_equal(in.claims[i].owner, 0);
}

static int fresh(void **state)
{
    memset(in.priv->slot, 0, sizeof(in.priv->slot) + sizeof(in.priv->overflow));
    memset(in.stats, 0, INPROC_HOOKS * sizeof(*in.stats));
    return 0;
}

static int rewind_all(void **state)
{
    in.priv->armed = TN_ARMED;
    inproc_rewind(&in);
    return 0;
}

/* ---------------------------------------------------------------------------------------- random programs */

static u64 rnd(u64 *state)
{
    u64 z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct gen {
    u64 seed;
    struct bpf_insn insn[256];
    u32 n;
};

static u32 pick(struct gen *g, u32 n)
{
    return (u32)(rnd(&g->seed) % n);
}

static void put(struct gen *g, struct bpf_insn insn)
{
    if (g->n < TN_ARRAY_SIZE(g->insn))
        g->insn[g->n++] = insn;
}

/* A register that holds a number: R6 has the context, R7 the map's value. */
static u8 num(struct gen *g)
{
    static const u8 regs[] = {0, 1, 2, 3, 4, 5, 8, 9};

    return regs[pick(g, TN_ARRAY_SIZE(regs))];
}

/* What the interpreter can be told: the registers as the caller set them. */
static const u8 known[] = {
    offsetof(struct tn_pt_regs, di),  offsetof(struct tn_pt_regs, si),  offsetof(struct tn_pt_regs, dx),
    offsetof(struct tn_pt_regs, cx),  offsetof(struct tn_pt_regs, ax),  offsetof(struct tn_pt_regs, r8),
    offsetof(struct tn_pt_regs, r9),  offsetof(struct tn_pt_regs, r10), offsetof(struct tn_pt_regs, r11),
    offsetof(struct tn_pt_regs, r12), offsetof(struct tn_pt_regs, r15), offsetof(struct tn_pt_regs, bx),
    offsetof(struct tn_pt_regs, bp)};

static void step(struct gen *g, bool ctx)
{
    static const u8 ops[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,  BPF_AND,
                             BPF_LSH, BPF_RSH, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH};
    u8 op = ops[pick(g, TN_ARRAY_SIZE(ops))], class = pick(g, 2) ? BPF_ALU64 : BPF_ALU, d = num(g);
    s32 width = class == BPF_ALU64 ? 64 : 32, imm = (s32)rnd(&g->seed);

    switch (pick(g, ctx ? 10 : 7)) {
    case 0:
    case 1:
        if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH)
            imm = (s32)pick(g, (u32)width);
        put(g, I(class | op | BPF_K, d, 0, 0, imm ? imm : 1));
        break;
    case 2:
        put(g, I(class | op | BPF_X, d, num(g), 0, 0));
        break;
    case 3:
        put(g, I(BPF_STX | BPF_MEM | BPF_DW, 10, num(g), -8 - 8 * (s32)pick(g, 4), 0));
        break;
    case 4:
        put(g, I(BPF_LDX | BPF_MEM | BPF_DW, d, 10, -8 - 8 * (s32)pick(g, 4), 0));
        break;
    case 5: /* over the next one or two */
        put(g, I(BPF_JMP | BPF_JGT | BPF_K, d, 0, 1, imm));
        put(g, I(BPF_ALU64 | BPF_ADD | BPF_K, num(g), 0, 0, imm));
        break;
    case 6: /* another way out */
        put(g, I(BPF_JMP | BPF_JGT | BPF_K, d, 0, 2, imm));
        put(g, SET(0, 0));
        put(g, EXIT);
        break;
    default:
        put(g, I(BPF_LDX | BPF_MEM | BPF_DW, d, 6, known[pick(g, TN_ARRAY_SIZE(known))], 0));
    }
}

static void generate(struct gen *g, u64 seed)
{
    const struct bpf_insn value[] = {I(BPF_LD | BPF_IMM | BPF_DW, 7, BPF_PSEUDO_MAP_VALUE, 0, 0),
                                     I(0, 0, 0, 0, 0)};
    bool ctx, helper;

    *g = (struct gen){.seed = seed};
    ctx = pick(g, 2);
    helper = pick(g, 4) == 0;
    if (ctx)
        put(g, COPY(6, 1));
    put(g, value[0]);
    put(g, value[1]);
    if (pick(g, 3) == 0) { /* one that is small */
        put(g, SET(0, (s32)pick(g, 100)));
    } else {
        for (u8 r = 0; r < 10; r++)
            if (r != 6 && r != 7)
                put(g, SET(r, (s32)rnd(&g->seed)));
        for (s32 off = -32; off < 0; off += 8)
            put(g, I(BPF_ST | BPF_MEM | BPF_DW, 10, 0, off, (s32)rnd(&g->seed)));
        for (u32 i = pick(g, 30); i; i--)
            step(g, ctx);
        if (helper) {
            put(g, CALL(BPF_FUNC_ktime_get_ns));
            put(g, COPY(0, 8));
        }
    }
    put(g, I(BPF_STX | BPF_MEM | BPF_DW, 7, 0, 0, 0));
    put(g, I(BPF_LDX | BPF_MEM | BPF_DW, 0, 7, 8, 0));
    put(g, I(BPF_ALU64 | BPF_ADD | BPF_K, 0, 0, 0, 1));
    put(g, I(BPF_STX | BPF_MEM | BPF_DW, 7, 0, 8, 0));
    put(g, SET(0, 0));
    put(g, EXIT);
}

static void fill(struct state *s, u64 seed)
{
    for (u32 i = 0; i < 16; i++) {
        s->gpr[i] = rnd(&seed) >> (rnd(&seed) % 64);
        memset(s->xmm[i], (int)rnd(&seed), 16);
    }
    s->flags = 0x202;
}

static struct tn_pt_regs context_of(const struct state *s, enum tn_place_kind place, u64 result)
{
    const u64 *g = s->gpr;
    struct tn_pt_regs regs = {.ax = g[0],
                              .cx = g[1],
                              .dx = g[2],
                              .bx = g[3],
                              .bp = g[5],
                              .si = g[6],
                              .di = g[7],
                              .r8 = g[8],
                              .r9 = g[9],
                              .r10 = g[10],
                              .r11 = g[11],
                              .r12 = g[12],
                              .r13 = g[13],
                              .r14 = g[14],
                              .r15 = g[15]};

    if (place == TN_PLACE_EXIT)
        regs.ax = result;
    return regs;
}

/* What the interpreter makes of it: the value's two words. */
static void expected(const struct gen *g, const struct inproc_prog *prog, struct tn_pt_regs *ctx,
                     u64 ret_value[2])
{
    struct tn_map map = prog->map[0], *maps[] = {&map};
    struct tn_insn_aux aux[TN_ARRAY_SIZE(g->insn)];
    struct tn_subprog sub = {.end = g->n, .stack = 512};
    struct tn_program program = {.insns = g->insn,
                                 .ninsns = g->n,
                                 .maps = &map.geo,
                                 .nmaps = 1,
                                 .aux = aux,
                                 .subprogs = &sub,
                                 .nsubprogs = 1,
                                 .facts = &prog->facts};
    struct tn_run run = {.proc = &in.near->proc, .ctx = ctx, .cpu = -1};
    u64 r0;

    for (u32 i = 0; i < g->n; i++)
        aux[i] = (struct tn_insn_aux){.live = true, .const_map = -1, .const_key = -1};
    map.base = mmap(NULL, map.geo.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map.base, MAP_FAILED);
    assert_int_equal(tn_vm_run(&program, maps, ctx, &run, 1 << 20, &r0), 0);
    memcpy(ret_value, map.base + map.geo.value_off, 16);
    munmap(map.base, map.geo.size);
}

static void same(u64 seed, const char *what, const struct state *plain, const struct state *hooked)
{
    for (u32 r = 0; r < 16; r++)
        if (plain->gpr[r] != hooked->gpr[r])
            fail_msg("seed %llu, %s: register %u is 0x%llx, hooked 0x%llx", (unsigned long long)seed, what, r,
                     (unsigned long long)plain->gpr[r], (unsigned long long)hooked->gpr[r]);
    assert_memory_equal(plain->xmm, hooked->xmm, sizeof(plain->xmm));
}

static void random_programs(void **state)
{
    static struct gen g = {.seed = 1};
    u32 refused = 0, light = 0, with_ctx = 0;

    for (u64 seed = 1; seed <= PROGRAMS; seed++) {
        static const enum tn_place_kind places[] = {TN_PLACE_ENTRY, TN_PLACE_EXIT, TN_PLACE_OFFSET};
        enum tn_place_kind place = places[pick(&g, 3)];
        struct inproc_how how = {
            .called = seed % 3 == 0, .agent_only = seed % 7 == 0, .apart = seed % 5 == 0};
        struct inproc_prog prog = {0};
        struct state before, plain, hooked;
        struct tn_pt_regs ctx;
        struct tn_error err = {0};
        u64 value[2];
        u8 *at;

        generate(&g, seed);
        assert_true(g.n < TN_ARRAY_SIZE(g.insn));
        assert_int_equal(inproc_map(&in, &prog, BPF_MAP_TYPE_ARRAY, 4, 16, 1, &err), 0);
        if (inproc_load(&in, &prog, g.insn, g.n, &err)) {
            refused++; /* a shift by a register that may be too large, say */
            munmap(prog.map[0].base, prog.map[0].geo.size);
            inproc_rewind(&in);
            continue;
        }
        prog.facts.percpu |= seed % 5 == 0; /* claims a CPU, whatever for */
        light += !(prog.footprint & (TN_FOOT_CTX | TN_FOOT_RUN));
        with_ctx += (prog.footprint & TN_FOOT_CTX) != 0;
        fill(&before, seed);
        call_with_state((void *)one, &before, &plain);
        ctx = context_of(&before, place, plain.gpr[0]);
        if (place == TN_PLACE_EXIT) { /* what the function itself has changed */
            ctx.di = plain.gpr[7];
            ctx.si = plain.gpr[6];
        }
        expected(&g, &prog, &ctx, value);
        hook("hooked_one", one, place, &prog, &how);
        at = prog.map[0].base + prog.map[0].geo.value_off;
        for (u32 k = 0; k < 3; k++) {
            memset(at, 0, 16);
            call_with_state((void *)one, &before, &hooked);
            same(seed, place == TN_PLACE_EXIT ? "exit" : "entry", &plain, &hooked);
            if (memcmp(at, value, 16))
                fail_msg("seed %llu: %llx and %llu runs, not %llx and %llu", (unsigned long long)seed,
                         (unsigned long long)*(u64 *)at, (unsigned long long)*(u64 *)(at + 8),
                         (unsigned long long)value[0], (unsigned long long)value[1]);
        }
        munmap(prog.map[0].base, prog.map[0].geo.size);
        inproc_rewind(&in);
    }
    /* Otherwise the generator has stopped making programs worth the name. */
    assert_in_range(refused, 0, PROGRAMS / 4);
    assert_in_range(light, PROGRAMS / 10, PROGRAMS);
    assert_in_range(with_ctx, PROGRAMS / 10, PROGRAMS);
}

/* ------------------------------------------------------------------------------------------------ threads */

static void *worker(void *arg)
{
    for (u32 i = 0; i < CALLS; i++)
        one(i, i);
    return NULL;
}

static void in_threads(void)
{
    pthread_t threads[THREADS];

    for (u32 i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, NULL), 0);
    for (u32 i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* A counter that is not atomic is exact per CPU, by each way of claiming one. */
static void exact_per_cpu(void **state)
{
    static const struct inproc_how ways[] = {
        {0}, {.agent_claim = true}, {.agent_only = true}, {.apart = true}};

    for (u32 w = 0; w < TN_ARRAY_SIZE(ways); w++) {
        struct inproc_prog prog;
        u32 k;

        fresh(NULL);
        LOAD(&prog, count, BPF_MAP_TYPE_PERCPU_ARRAY);
        k = hook("hooked_one", one, TN_PLACE_ENTRY, &prog, &ways[w]);
        in_threads();
        assert_int_equal(counted(&prog) + in.stats[k].missed, THREADS * CALLS);
        assert_true(counted(&prog) > THREADS * CALLS / 2);
        all_quiet();
        inproc_rewind(&in);
    }
}

/* More threads hash to these slots than there are: the overflow ones serve, one run at a time. */
static void overflow(void **state)
{
    struct inproc_prog prog;
    u32 k;

    LOAD(&prog, count_atomic, BPF_MAP_TYPE_ARRAY);
    k = hook("hooked_one", one, TN_PLACE_ENTRY, &prog, NULL);
    for (u32 i = 0; i < TN_SLOT_COUNT; i++)
        in.priv->slot[i].owner = 8 + i; /* threads that never come */
    in_threads();
    assert_int_equal(counted(&prog) + in.stats[k].missed, THREADS * CALLS);
    assert_int_equal(in.stats[k].missed, 0);
    for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
        assert_int_equal(in.priv->overflow[i].owner, 0);
    all_quiet();
    /* And when these are taken as well, runs are missed, not mixed up. */
    for (u32 i = 0; i < TN_SLOT_OVERFLOW; i++)
        in.priv->overflow[i].owner = 16;
    one(1, 2);
    assert_int_equal(in.stats[k].missed, 1);
    assert_int_equal(counted(&prog), THREADS * CALLS);
}

/* Every CPU is claimed by somebody who does not give it back: skipped after a bounded wait, and counted. */
static void no_cpu(void **state)
{
    struct inproc_prog prog;
    u32 k;

    LOAD(&prog, count, BPF_MAP_TYPE_PERCPU_ARRAY);
    k = hook("hooked_one", one, TN_PLACE_ENTRY, &prog, NULL);
    one(1, 2);
    one(1, 2);
    for (u32 i = 0; i < in.ncpu; i++)
        in.claims[i].owner = 1ull << 32 | 8;
    assert_int_equal(one(1, 2), 11);
    assert_int_equal(in.stats[k].missed, 1);
    for (u32 i = 0; i < in.ncpu; i++)
        in.claims[i].owner = 0;
    one(1, 2);
    assert_int_equal(counted(&prog), 3);
    all_quiet();
}

/* ------------------------------------------------------------------------------------------------ signals */

static volatile u32 handled;
static sigjmp_buf back;
static volatile bool jumps;

static void on_alarm(int sig)
{
    handled++;
    one(3, 4);
    two(3, 4);
    if (jumps)
        siglongjmp(back, 1);
}

static void every(u32 usec)
{
    struct itimerval it = {.it_interval.tv_usec = (s64)usec, .it_value.tv_usec = (s64)usec};
    struct sigaction sa = {.sa_handler = on_alarm};

    assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &it, NULL), 0);
}

/* A handler calls what it interrupted: skipped and counted while the program runs, run otherwise. Each call
   of either function ends up in exactly one place. */
static void recursion_from_a_handler(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY};

    for (u32 t = 0; t < TN_ARRAY_SIZE(types); t++) {
        struct inproc_prog slow, other;
        u64 calls = 0;
        u32 k, k2;

        fresh(NULL);
        handled = 0;
        LOAD(&slow, count_slowly, types[t]);
        LOAD(&other, count, types[t]);
        k = hook("hooked_one", one, TN_PLACE_ENTRY, &slow, NULL);
        k2 = hook("hooked_two", two, TN_PLACE_ENTRY, &other, NULL);
        every(300);
        while (in.stats[k].recursion < 20 && calls < 2000000) {
            one(1, 2);
            calls++;
        }
        every(0);
        assert_true(in.stats[k].recursion >= 20);
        assert_int_equal(counted(&slow) + in.stats[k].missed, calls + handled);
        assert_int_equal(counted(&other) + in.stats[k2].missed, handled);
        if (types[t] == BPF_MAP_TYPE_ARRAY) /* another program is no recursion; only a CPU can be lacking */
            assert_int_equal(in.stats[k2].missed, 0);
        all_quiet();
        inproc_rewind(&in);
    }
}

/* A handler leaves a run for good. The next call, at the same depth, must run. */
static void left_by_a_jump(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY};

    for (u32 t = 0; t < TN_ARRAY_SIZE(types); t++) {
        struct tn_slot *slot = &in.priv->slot[TN_SLOT_HASH(__builtin_thread_pointer())];
        static volatile u32 abandoned, tries;
        struct inproc_prog slow;
        u32 k;

        fresh(NULL);
        abandoned = tries = 0;
        LOAD(&slow, count_slowly, types[t]);
        k = hook("hooked_one", one, TN_PLACE_ENTRY, &slow, NULL);
        jumps = true;
        while (abandoned < 10 && tries < 20000) {
            tries++;
            every(0);
            if (sigsetjmp(back, 1) == 0) {
                every(100 + tries % 7 * 10);
                for (;;)
                    one(1, 2);
            }
            every(0);
            if (slot->sp) {
                u64 before = counted(&slow), missed = in.stats[k].missed;

                abandoned++;
                one(1, 2);
                assert_int_equal(in.stats[k].missed, missed);
                assert_int_equal(counted(&slow), before + 1);
                assert_int_equal(slot->sp, 0);
            }
        }
        jumps = false;
        assert_int_equal(abandoned, 10);
        all_quiet();
        inproc_rewind(&in);
    }
}

/* ---------------------------------------------------------------------------------------------- processes */

static u32 in_child(bool vforked)
{
    int status;
    pid_t pid = vforked ? vfork() : fork();

    if (pid == 0) {
        for (u32 i = 0; i < 100; i++)
            one(1, i);
        _exit(one(1, 2) == 11 ? 0 : 1);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return 101;
}

/* Children are not whom the link is for, unless it follows;
   their parent is, before, meanwhile and afterwards. */
static void children(void **state)
{
    for (u32 follow = 0; follow < 2; follow++)
        for (u32 vforked = 0; vforked < 2; vforked++) {
            struct inproc_how how = {.follow = follow};
            struct inproc_prog prog;
            u32 k, n;

            fresh(NULL);
            LOAD(&prog, count, BPF_MAP_TYPE_PERCPU_ARRAY);
            k = hook("hooked_one", one, TN_PLACE_ENTRY, &prog, &how);
            one(1, 2);
            one(1, 2);
            if (vforked) /* as the patched call site does */
                in.priv->armed += TN_VFORK_UNIT;
            one(1, 2);
            n = in_child(vforked);
            one(1, 2);
            in.priv->armed = TN_ARMED;
            one(1, 2);
            assert_int_equal(counted(&prog), 5 + (follow ? n : 0));
            assert_int_equal(in.stats[k].missed, 0);
            all_quiet();
            inproc_rewind(&in);
        }
}

/* A thread that libc has not made and that has no thread area: told from others by its id; where that may not be asked
   for, it is left alone, and counted. */
static u32 bare_alive;

__attribute__((no_stack_protector)) static int bare_thread(void *arg)
{
    *(u64 *)arg = one(1, 2);
    return 0;
}

static void without_thread_area(void **state)
{
    static u8 stack[64 << 10] __attribute__((aligned(64)));
    struct inproc_prog prog;
    u64 result = 0;
    u32 k;

    if (!(getauxval(AT_HWCAP2) & 2))
        skip();
    for (u32 way = 0; way < 4; way++) {
        struct tn_proc *proc = &in.near->proc, kept = *proc;
        bool percpu = way & 1, asks = way & 2;

        fresh(NULL);
        if (!asks)
            proc->allowed_syscalls &= ~(1u << TN_SYS_gettid);
        LOAD(&prog, count, percpu ? BPF_MAP_TYPE_PERCPU_ARRAY : BPF_MAP_TYPE_ARRAY);
        proc->tp_how =
            TN_TP_RDFSBASE; /* as for a process with such threads, where no offset is used either */
        proc->rseq_cpu_off = 0;
        k = hook("hooked_one", one, TN_PLACE_ENTRY, &prog, &(struct inproc_how){.rdfsbase = true});
        __atomic_store_n(&bare_alive, 1, __ATOMIC_SEQ_CST);
        assert_true(clone(bare_thread, stack + sizeof(stack),
                          CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                              CLONE_SETTLS | CLONE_CHILD_CLEARTID,
                          &result, NULL, NULL, &bare_alive) > 0);
        while (__atomic_load_n(&bare_alive, __ATOMIC_SEQ_CST))
            usleep(1000);
        assert_int_equal(result, (1 ^ 2) * 3 + 2);
        assert_int_equal(counted(&prog), asks);
        assert_int_equal(in.stats[k].missed, !asks);
        if (!asks)
            assert_int_equal(in.priv->slot[0].owner, 0);
        one(1, 2); /* a thread of libc's, in the same way */
        assert_int_equal(counted(&prog), 1 + asks);
        assert_int_equal(in.stats[k].missed, !asks);
        all_quiet();
        inproc_rewind(&in);
        *proc = kept;
    }
}

/* A closed gate is closed for the process and its children; opened, everything runs again. */
static void gate(void **state)
{
    struct inproc_how how = {.follow = true, .closed = true};
    struct inproc_prog prog;
    u32 k;

    LOAD(&prog, count, BPF_MAP_TYPE_ARRAY);
    k = hook("hooked_one", one, TN_PLACE_EXIT, &prog, &how);
    one(1, 2);
    in_child(false);
    assert_int_equal(counted(&prog), 0);
    in.near->gate[k] = 1;
    one(1, 2);
    assert_int_equal(counted(&prog), 1);
    assert_int_equal(in.stats[k].missed, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh, rewind_all)
    const struct CMUnitTest tests[] = {
        TEST(random_programs),
        TEST(exact_per_cpu),
        TEST(overflow),
        TEST(no_cpu),
        TEST(gate),
        TEST(without_thread_area),
        TEST(recursion_from_a_handler),
        TEST(left_by_a_jump),
        TEST(children),
    };
    struct tn_error err = {0};

    if (inproc_init(&in, &err)) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 1;
    }
    return cmocka_run_group_tests_name("real", tests, NULL, NULL);
}
