/* SPDX-License-Identifier: MIT */
// clang-format off
/*
 * What verifying costs.
 *
 *      speed     programs as people write them (recordings, tests/differential; without any, those made here):
 *                instructions processed in a µs, all in all
 *      linux     the same programs: our time ÷ the "verification time" of the kernel's own statistics (made
 *                here: asked now; recorded: asked then, once)
 *      growth    text of 10^3 to 10^6 instructions without a branch, and 10^3 to 10^6 instructions processed in
 *                loops with branches: the exponent of time over length; 1 is linear
 *      memory    one million processed instructions, each program in a process of its own: how much it grew
 *      hostile   programs built to explode the number of states, or the cost of one: the longest time to a
 *                verdict
 *
 * One JSON object a figure. Programs are made by a few lines of generator each (struct maker), since what
 * matters is their shape: what forks, what is compared, what is looked back for. Times are the least of some
 * rounds, and of each the lesser of two that both bound what was spent: by the verdict's own clock, and by the
 * processor's for the whole call, which others at work do not lengthen.
 *
 *     bench-verify [-p PART]… [-v] [-o NAME] [FOLDER OF RECORDINGS…]
 *
 * PART: memory, speed, growth or hostile; -v tells each program; -o: of the hostile ones this one.
 */
// clang-format on
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/differential/ask.h"
#include "tests/verify/asm.h"
#include "verify/verify.h"

#define ROUNDS    5u
#define ENOUGH_NS 2000000u

/* --------------------------------------------------------------------------------- text of a program */

struct text {
    struct bpf_insn *insn;
    u32 n, cap;
};

static void put(struct text *t, const struct bpf_insn *insn, u32 n)
{
    if (t->n + n > t->cap) {
        t->cap = TN_MAX(1024u, 2 * (t->n + n));
        t->insn = realloc(t->insn, t->cap * sizeof(*insn));
        if (!t->insn)
            abort();
    }
    memcpy(t->insn + t->n, insn, n * sizeof(*insn));
    t->n += n;
}

#define PUT(t, ...)                                                                                          \
    put((t), (const struct bpf_insn[]){__VA_ARGS__},                                                         \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn))
#define RANDOM CALL(BPF_FUNC_get_prandom_u32)

static const struct tn_verify_map bench_map = {
    .geo = {.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64, .max_entries = 4},
    .name = "bench",
};

/* ------------------------------------------------------------------------------------------------- shapes */

/* Straight-line: numbers, the stack, a pointer. */
static void straight(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 1), MOV(R0, 0));
    while (t->n + 12 < n)
        PUT(t, LDX(DW, R2, R6, 8), ALU(BPF_AND, R2, 255), STX(DW, R10, -16, R2), ADDX(R7, R2),
            LDX(DW, R3, R10, -16), ALU(BPF_LSH, R7, 1), MOVX(R4, R3), ALUX(BPF_XOR, R4, R7),
            STX(W, R10, -24, R4), ADD(R3, 5));
    while (t->n + 1 < n)
        PUT(t, MOV(R0, 0));
    PUT(t, EXIT);
}

/* The same with branches that join at once. */
static void joining(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 1), MOV(R0, 0));
    while (t->n + 12 < n)
        PUT(t, LDX(DW, R2, R6, 8), ALU(BPF_AND, R2, 255), STX(DW, R10, -16, R2), ADDX(R7, R2),
            LDX(DW, R3, R10, -16), JMP(BPF_JGT, R3, 7, 1), ALU(BPF_LSH, R7, 1), MOVX(R4, R3),
            ALUX(BPF_XOR, R4, R7), STX(W, R10, -24, R4));
    while (t->n + 1 < n)
        PUT(t, MOV(R0, 0));
    PUT(t, EXIT);
}

/* A loop that counts to n and does something each time. */
static void counted(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0), MOV(R8, 0), LDX(DW, R2, R6, 0), ALU(BPF_AND, R2, 15), ADDX(R8, R2),
        ADD(R7, 1), JMP(BPF_JLT, R7, (s32)n, -5), MOVX(R0, R8), EXIT);
}

/* A loop in which ways part and meet. */
static void parting(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0), MOV(R8, 0), LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 2), MOV(R3, 1),
        JA(1), MOV(R3, 2), ADDX(R8, R3), ADD(R7, 1), JMP(BPF_JLT, R7, (s32)n, -8), MOVX(R0, R8), EXIT);
}

/* One that may be left in each round, and does something on either way:
   n rounds of eleven instructions processed. */
static void checking(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0), MOV(R8, 0), LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 2), MOVX(R0, R8),
        EXIT, ALU(BPF_AND, R2, 255), STX(DW, R10, -16, R2), ADDX(R8, R2), LDX(DW, R3, R10, -16), ADDX(R8, R3),
        ADD(R7, 1), JMP(BPF_JLT, R7, (s32)n, -11), MOVX(R0, R8), EXIT);
}

/* Two loops, one in the other, over a map's value. */
static void nested(struct text *t, u32 n)
{
    PUT(t, ST(W, R10, -4, 0), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, 0), CALL(BPF_FUNC_map_lookup_elem),
        JMP(BPF_JEQ, R0, 0, 9), MOV(R6, 0), MOV(R7, 0), MOVX(R2, R0), ADDX(R2, R7), ST(B, R2, 0, 1),
        ADD(R7, 1), JMP(BPF_JLT, R7, 60, -5), ADD(R6, 1), JMP(BPF_JLT, R6, (s32)n, -8), MOV(R0, 0), EXIT);
}

/* Look-ups with their checks, one after the other. */
static void look_ups(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0));
    for (u32 k = 0; k < n; k++)
        PUT(t, ST(W, R10, -4, (s32)(k % 4)), MOVX(R2, R10), ADD(R2, -4), LDMAP(R1, 0),
            CALL(BPF_FUNC_map_lookup_elem), JMP(BPF_JEQ, R0, 0, 5), LDX(DW, R1, R0, 8), ADDX(R7, R1),
            LDX(DW, R2, R6, 16), JMP(BPF_JGT, R2, 100, 1), STX(DW, R0, 16, R7));
    PUT(t, MOV(R0, 0), EXIT);
}

/* A function called n times, with ways of its own. */
static void calls(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1));
    for (u32 k = 0; k < n; k++)
        PUT(t, MOVX(R1, R6), MOV(R2, (s32)k), CALLP(0));
    PUT(t, MOV(R0, 0), EXIT);
    for (u32 k = 0; k < t->n; k++)
        if (t->insn[k].code == (BPF_JMP | BPF_CALL))
            t->insn[k].imm = (s32)(t->n - k - 1);
    PUT(t, LDX(DW, R3, R1, 0), JMP(BPF_JSGT, R3, 9, 2), ADDX(R2, R3), JA(1), MOV(R2, 7), STX(DW, R10, -8, R2),
        LDX(DW, R0, R10, -8), EXIT);
}

/* -------------------------------------------------------------------------------------- hostile ones */

/* Never ends; nothing stands still. */
static void endless(struct text *t, u32 n)
{
    PUT(t, MOV(R6, 0), ADD(R6, 1), JMP(BPF_JNE, R6, -1, -2), MOV(R0, 0), EXIT);
}

/* 2^n states: each bit of R7 is unknown on the way and asked for at the end. */
static void doubling(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0));
    for (u32 k = 0; k < n; k++)
        PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1 << (k % 30), 1), ALU(BPF_OR, R7, 1 << (k % 30)),
            MOV(R3, 0), MOV(R4, 0), MOV(R5, 0));
    for (u32 k = 0; k < n; k++)
        PUT(t, JMP(BPF_JSET, R7, 1 << (k % 30), 1), MOV(R3, 0));
    PUT(t, MOV(R0, 0), EXIT);
}

/* The same in the bytes of a whole frame. */
static void doubling_stack(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1));
    for (u32 k = 0; k < 64; k++)
        PUT(t, ST(DW, R10, -8 * ((s32)k + 1), 0));
    for (u32 k = 0; k < n; k++)
        PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1 << (k % 30), 1),
            ST(DW, R10, -8 * ((s32)(k % 64) + 1), 1), MOV(R3, 0), MOV(R4, 0), MOV(R5, 0));
    for (u32 k = 0; k < n; k++)
        PUT(t, LDX(DW, R2, R10, -8 * ((s32)(k % 64) + 1)), JMP(BPF_JNE, R2, 0, 1), MOV(R3, 0));
    PUT(t, MOV(R0, 0), EXIT);
}

/* Seven calls deep, each frame full, and ways that part at the bottom. */
static void deep(struct text *t, u32 n)
{
    for (u32 f = 0; f < 8; f++) {
        PUT(t, MOVX(R6, R1));
        for (u32 k = 0; k < 8; k++)
            PUT(t, LDX(DW, R2, R6, 0), STX(DW, R10, -8 * ((s32)k + 1), R2));
        if (f < 7) {
            PUT(t, MOVX(R1, R6), CALLP(2), MOV(R0, 0), EXIT);
            continue;
        }
        PUT(t, MOV(R7, 0));
        for (u32 k = 0; k < n; k++)
            PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 1), ADD(R7, (s32)k), MOV(R3, 0), MOV(R4, 0),
                MOV(R5, 0), JMP(BPF_JEQ, R7, 77777, 0));
        PUT(t, MOV(R0, 0), EXIT);
    }
}

/* A number from the start decides again and again, far from where it was made. */
static void looking_back(struct text *t, u32 n)
{
    PUT(t, LDX(DW, R6, R1, 0), ALU(BPF_AND, R6, 7), LDX(DW, R7, R1, 8), ALU(BPF_AND, R7, 7), MOVX(R8, R6));
    while (t->n + 12 < n)
        PUT(t, MOVX(R2, R10), ADDX(R2, R6), MOVX(R3, R10), ADDX(R3, R7), MOVX(R4, R8), MOVX(R8, R7),
            MOVX(R7, R6), MOVX(R6, R4));
    PUT(t, MOV(R0, 0), EXIT);
}

/* Every slot holds the same number, which every branch asks about. */
static void linked(struct text *t, u32 n)
{
    PUT(t, LDX(DW, R6, R1, 0), MOVX(R7, R6));
    for (u32 k = 0; k < 64; k++)
        PUT(t, STX(DW, R10, -8 * ((s32)k + 1), R6));
    while (t->n + 6 < n)
        PUT(t, JMP(BPF_JNE, R6, (s32)t->n, 2), MOV(R0, 0), EXIT, MOV(R2, 0));
    PUT(t, MOV(R0, 0), EXIT);
}

/* The same in every frame of seven calls, round by round. */
static void linked_frames(struct text *t, u32 n)
{
    for (u32 f = 0; f < 8; f++) {
        if (!f)
            PUT(t, LDX(DW, R6, R1, 0), ALU(BPF_AND, R6, 0xffff));
        else
            PUT(t, MOVX(R6, R1));
        for (u32 k = 0; k < 8; k++)
            PUT(t, STX(DW, R10, -8 * ((s32)k + 1), R6));
        if (f < 7) {
            PUT(t, MOVX(R1, R6), CALLP(2), MOV(R0, 0), EXIT);
            continue;
        }
        PUT(t, MOV(R7, 0), JMPX(BPF_JNE, R6, R7, 2), MOV(R0, 0), EXIT, ADD(R7, 1),
            JMP(BPF_JLT, R7, (s32)n, -5), MOV(R0, 0), EXIT);
    }
}

/* `n` slots of each frame of seven calls are ranges of their own, and ways part and meet there for ever. */
static void full_frames(struct text *t, u32 n)
{
    for (u32 f = 0; f < 8; f++) {
        PUT(t, MOVX(R6, R1));
        for (u32 k = 0; k < n; k++)
            PUT(t, LDX(DW, R2, R6, 0), ALU(BPF_AND, R2, 0x3fffffff), ADD(R2, (s32)(64 * f + k)),
                STX(DW, R10, -8 * ((s32)k + 1), R2));
        if (f < 7) {
            PUT(t, MOVX(R1, R6), CALLP(2), MOV(R0, 0), EXIT);
            continue;
        }
        /* One side of the fork is covered where the other has been: it waits no longer than that. */
        PUT(t, MOV(R7, 0), MOV(R8, 0), LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 2), MOV(R0, 0), EXIT,
            ADD(R7, 1), JMP(BPF_JNE, R7, -1, -6), MOV(R0, 0), EXIT);
    }
}

/* As many branches as can wait, each with a whole frame of ranges; then the rest of the budget. */
static void heavy_waiting(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1));
    for (u32 k = 0; k < 64; k++)
        PUT(t, LDX(DW, R2, R6, 0), ALU(BPF_AND, R2, 0x3fffffff), ADD(R2, (s32)k),
            STX(DW, R10, -8 * ((s32)k + 1), R2));
    PUT(t, MOV(R7, 0));
    for (u32 k = 0; k < n; k++)
        PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JEQ, R2, (s32)k, 0));
    PUT(t, ADD(R7, 1), JMP(BPF_JNE, R7, -1, -2), MOV(R0, 0), EXIT);
}

/* Numbers that grow under conditions, in loops in a loop, and decide after it. */
static void conditional(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0), MOV(R8, 0), MOV(R9, 0));
    PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 1), ADD(R8, 1), JMP(BPF_JSET, R2, 2, 1), ADD(R9, 1),
        ADD(R7, 1), JMP(BPF_JLT, R7, (s32)n, -7), MOVX(R3, R10), JMP(BPF_JGT, R8, 400, 2),
        JMP(BPF_JGT, R9, 400, 1), ADDX(R3, R8), MOV(R0, 0), EXIT);
}

/* n numbers, each met often at one place, so that its state is kept there; then many others come by. */
static void crowded(struct text *t, u32 n)
{
    const s32 ways = 50;
    u32 jump[64], at, choose;

    PUT(t, MOVX(R6, R1), MOV(R7, 0));
    choose = t->n;
    for (s32 k = 0; k < ways; k++) {
        PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 1), JA(0));
        jump[k] = t->n - 1;
    }
    PUT(t, ADD(R7, 1), JMP(BPF_JLT, R7, (s32)n, (s16)((s32)choose - (s32)t->n - 2)));
    at = t->n;
    PUT(t, JMP(BPF_JEQ, R7, 1 << 30, 0), MOV(R3, 0), MOV(R4, 0), JMP(BPF_JEQ, R7, 1 << 29, 0), ADD(R7, 1),
        JMP(BPF_JLT, R7, 1 << 28, -6), MOV(R0, 0), EXIT);
    for (s32 k = 0; k < ways; k++)
        t->insn[jump[k]].off = (s16)(at - jump[k] - 1);
}

/* A number goes through all slots of a frame, one a round of a loop that the run bounds;
   at its end it decides. */
static void handed_on(struct text *t, u32 n)
{
    u32 start;

    PUT(t, MOVX(R6, R1));
    for (u32 k = 0; k < 64; k++)
        PUT(t, ST(DW, R10, -8 * ((s32)k + 1), 0));
    for (u32 loop = 0; loop < n; loop++) {
        start = t->n;
        PUT(t, MAY_GOTO(0));
        for (u32 k = 63; k > 0; k--)
            PUT(t, LDX(DW, R2, R10, -8 * (s32)k), STX(DW, R10, -8 * ((s32)k + 1), R2));
        PUT(t, LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1, 1), ST(DW, R10, -8, 1), LDX(DW, R2, R10, -512),
            ALU(BPF_AND, R2, 1), MOVX(R3, R10), ADDX(R3, R2), JA((s16)((s32)start - (s32)t->n - 8)));
        t->insn[start].off = (s16)(t->n - start - 1);
    }
    PUT(t, MOV(R0, 0), EXIT);
}

/* As many instructions as there may be, calls of as many functions. */
static void calling_all(struct text *t, u32 n)
{
    u32 funcs = 255, calls = n - 2 - 2 * funcs;

    for (u32 k = 0; k < calls; k++)
        PUT(t, CALLP((s32)(calls + 2 + 2 * (k % funcs) - k - 1)));
    PUT(t, MOV(R0, 0), EXIT);
    for (u32 k = 0; k < funcs; k++)
        PUT(t, MOV(R0, (s32)k), EXIT);
}

/* Branches that all wait. */
static void waiting(struct text *t, u32 n)
{
    PUT(t, MOVX(R6, R1), MOV(R7, 0), LDX(DW, R2, R6, 0), ADD(R7, 1), JMP(BPF_JNE, R2, 0, -3), MOV(R0, 0),
        EXIT);
}

/* Loops in loops that only the run bounds, each with numbers that come to matter late. */
static void may_gotos(struct text *t, u32 n)
{
    u32 start[8];

    PUT(t, MOVX(R6, R1), MOV(R7, 0), MOV(R8, 0));
    n = TN_MIN(n, 8u);
    for (u32 k = 0; k < n; k++) {
        start[k] = t->n;
        PUT(t, MAY_GOTO(0), LDX(DW, R2, R6, 0), JMP(BPF_JSET, R2, 1 << k, 1), ADD(R7, 1),
            JMP(BPF_JEQ, R7, 1000 + (s32)k, 1), ADD(R8, 1));
    }
    for (u32 k = n; k-- > 0;) {
        PUT(t, JA((s16)((s32)start[k] - (s32)t->n - 1)));
        t->insn[start[k]].off = (s16)(t->n - start[k] - 1);
    }
    PUT(t, MOV(R0, 0), EXIT);
}

struct maker {
    const char *name;
    void (*make)(struct text *t, u32 n);
    u32 n;
};

static const struct maker people[] = {
    {"straight-line", straight, 20000},
    {"branches that join", joining, 20000},
    {"counted loop", counted, 20000},
    {"loop with branches", parting, 2000},
    {"nested loops", nested, 100},
    {"look-ups", look_ups, 1000},
    {"calls", calls, 500},
};
/* A million instructions processed, or all but a few; accepted. */
static const struct maker million[] = {
    {"straight-line", straight, 1000000},
    {"counted loop", counted, 199998},
    {"loop with branches", checking, 90900},
    {"nested loops", nested, 3299},
};
static const struct maker hostile[] = {
    {"endless", endless, 0},
    {"doubling", doubling, 30},
    {"doubling, longer", doubling, 3000},
    {"doubling on the stack", doubling_stack, 300},
    {"deep calls", deep, 3000},
    {"looking back", looking_back, 1000000},
    {"linked slots", linked, 1000000},
    {"linked slots in all frames", linked_frames, 1000000},
    {"waiting branches", waiting, 0},
    {"waiting branches, full frame", heavy_waiting, 8000},
    {"full frames", full_frames, 8},
    {"frames that are too large", full_frames, 64},
    {"counting under conditions", conditional, 1000},
    {"crowded place", crowded, 2000},
    {"may_goto in may_goto", may_gotos, 8},
    {"may_goto, handing on", handed_on, 100},
    {"nested loops", nested, 1000000},
    {"branches that join", joining, 1000000},
    {"calls of all functions", calling_all, 1000000},
};

/* ----------------------------------------------------------------------------------------- measuring */

static bool verbose;
static const char *only; /* of the hostile ones; NULL: all */

static void print(const char *name, const char *unit, double value, double low, double high, u32 rounds)
{
    printf("{\"name\":\"%s\",\"value\":%.4f,\"unit\":\"%s\",\"low\":%.4f,\"high\":%.4f,\"rounds\":%u}\n",
           name, value, unit, low, high, rounds);
    fflush(stdout);
}

struct taken {
    u64 ns, insns, first_ns;
    bool accepted;
    char why[sizeof(((struct tn_refusal *)0)->reason)];
};

static void say(const char *name, const struct taken *t)
{
    if (verbose)
        fprintf(stderr, "%40s: %8llu insns, %8llu us, %s\n", name, (unsigned long long)t->insns,
                (unsigned long long)t->ns / 1000, t->accepted ? "accepted" : t->why);
}

static u64 processor_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static struct taken once(const struct tn_verify_in *in)
{
    u64 start = processor_ns();
    struct tn_verdict v;
    struct taken taken;

    if (tn_verify(in, &v)) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    taken = (struct taken){
        .ns = TN_MIN(v.time_ns, processor_ns() - start),
        .insns = v.insns_processed,
        .accepted = v.accepted,
    };
    snprintf(taken.why, sizeof(taken.why), "%s", v.refusal.reason);
    tn_verdict_clear(&v);
    return taken;
}

/* The least of some rounds: what else the machine does only adds. Short ones are done more often. */
static struct taken best(const struct tn_verify_in *in, u32 rounds)
{
    struct taken least = once(in), now;
    u64 spent = least.ns, first = least.ns;

    for (u32 k = 1; k < rounds || (rounds > 1 && k < 10 * rounds && spent < ENOUGH_NS); k++) {
        now = once(in);
        spent += now.ns;
        if (now.ns < least.ns)
            least = now;
    }
    least.first_ns = first;
    return least;
}

static struct tn_verify_in input(const struct text *t)
{
    return (struct tn_verify_in){.insns = t->insn,
                                 .ninsns = t->n,
                                 .prog_type = BPF_PROG_TYPE_KPROBE,
                                 .gpl = true,
                                 .maps = &bench_map,
                                 .nmaps = 1};
}

static struct taken measure(const struct maker *m, u32 rounds)
{
    struct text t = {0};
    struct tn_verify_in in;
    struct taken taken;

    m->make(&t, m->n);
    in = input(&t);
    taken = best(&in, rounds);
    say(m->name, &taken);
    free(t.insn);
    return taken;
}

/* ---------------------------------------------------------------------------------------- the kernel */

struct ratios {
    double log_sum, worst, least;
    u32 n;
};

static void ratio_add(struct ratios *r, double ours_us, double theirs_us)
{
    double ratio = ours_us / theirs_us;

    r->log_sum += log(ratio);
    r->worst = r->n ? fmax(r->worst, ratio) : ratio;
    r->least = r->n ? fmin(r->least, ratio) : ratio;
    r->n++;
}

static bool may_ask_kernel(int *ret_map)
{
    *ret_map = geteuid() ? -1 : bpf_map_create(BPF_MAP_TYPE_ARRAY, "bench", 4, 64, 4, NULL);
    return *ret_map >= 0;
}

/* Microseconds, 0: refused, or not told. */
static u32 kernel_usecs(const struct text *t, int map_fd)
{
    static char log[1 << 16];
    LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_level = 4, .log_buf = log, .log_size = sizeof(log));
    struct bpf_insn *copy = malloc(t->n * sizeof(*copy));
    const char *at;
    int fd;

    if (!copy)
        abort();
    memcpy(copy, t->insn, t->n * sizeof(*copy));
    for (u32 k = 0; k < t->n; k++) {
        if (copy[k].code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if (copy[k].src_reg == BPF_PSEUDO_MAP_FD)
            copy[k].imm = map_fd;
        k++;
    }
    log[0] = 0;
    fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "bench", "GPL", copy, t->n, &opts);
    free(copy);
    at = strstr(log, "verification time ");
    if (fd < 0 || !at)
        return 0;
    close(fd);
    return (u32)strtoul(at + strlen("verification time "), NULL, 10);
}

static void ask_kernel(struct ratios *r)
{
    int map_fd;

    if (!may_ask_kernel(&map_fd))
        return;
    for (size_t k = 0; k < TN_ARRAY_SIZE(people); k++) {
        struct text t = {0};
        u32 least = 0;

        people[k].make(&t, people[k].n);
        for (u32 round = 0; round < ROUNDS; round++) {
            u32 usecs = kernel_usecs(&t, map_fd);

            if (usecs && (!least || usecs < least))
                least = usecs;
        }
        if (least) {
            struct tn_verify_in in = input(&t);
            struct taken ours = best(&in, ROUNDS);
            char name[96];

            if (ours.accepted)
                ratio_add(r, (double)ours.ns / 1000, least);
            snprintf(name, sizeof(name), "%s: our verification time ÷ Linux's", people[k].name);
            print(name, "", (double)ours.ns / 1000 / least, (double)ours.ns / 1000 / least,
                  (double)ours.ns / 1000 / least, ROUNDS);
        }
        free(t.insn);
    }
    close(map_fd);
}

/* ---------------------------------------------------------------------------------------- recordings */

struct sums {
    u64 ns, insns;
    u32 programs;
    struct ratios theirs, first;
    char worst[128];
};

static void one_recording(const struct ask *ask, const char *path, struct sums *sums)
{
    struct tn_error err = {0};
    struct tn_verify_in in;
    struct taken taken;
    void *store = NULL;
    double before;
    struct rec rec;

    if (rec_read(path, &rec, &err))
        return;
    if (ask_in_process(&rec) && !ask_input(ask, &rec, NULL, 0, &in, &store)) {
        in.log_level = 0;
        taken = best(&in, ROUNDS);
        if (verbose)
            fprintf(stderr, "Linux %5u us ", rec.verdict->usecs);
        say(path, &taken);
        sums->ns += taken.ns;
        sums->insns += taken.insns;
        sums->programs++;
        before = sums->theirs.worst;
        if (taken.accepted && !rec.verdict->error && rec.verdict->usecs) {
            ratio_add(&sums->theirs, (double)taken.ns / 1000, rec.verdict->usecs);
            ratio_add(&sums->first, (double)taken.first_ns / 1000, rec.verdict->usecs);
            if (sums->theirs.worst > before)
                snprintf(sums->worst, sizeof(sums->worst), "%.60s/%.60s", rec.object, rec.name);
        }
        ask_input_free(store);
    }
    rec_clear(&rec);
}

static void recordings(const struct ask *ask, const char *path, struct sums *sums)
{
    struct dirent *entry;
    struct stat st;
    DIR *dir;

    if (stat(path, &st))
        return;
    if (!S_ISDIR(st.st_mode)) {
        one_recording(ask, path, sums);
        return;
    }
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        char below[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
        recordings(ask, below, sums);
    }
    if (dir)
        closedir(dir);
}

/* ------------------------------------------------------------------------------------------- figures */

static void made_here(struct sums *sums)
{
    for (size_t k = 0; k < TN_ARRAY_SIZE(people); k++) {
        struct taken taken = measure(&people[k], ROUNDS);
        double speed = (double)taken.insns * 1000 / (double)taken.ns;
        char name[96];

        snprintf(name, sizeof(name), "%s: instructions processed per µs", people[k].name);
        print(name, "", speed, speed, speed, ROUNDS);
        sums->ns += taken.ns;
        sums->insns += taken.insns;
        sums->programs++;
    }
}

static void speed(int n, char **folders)
{
    struct sums sums = {0};
    struct ask ask;
    double value;

    made_here(&sums);
    if (n) {
        sums = (struct sums){0};
        ask_open(&ask);
        for (int k = 0; k < n; k++)
            recordings(&ask, folders[k], &sums);
        ask_close(&ask);
    } else {
        ask_kernel(&sums.theirs);
    }
    if (!sums.ns)
        return;
    value = (double)sums.insns * 1000 / (double)sums.ns;
    print("instructions processed per µs", "", value, value, value, sums.programs);
    if (sums.theirs.n) {
        double mean = exp(sums.theirs.log_sum / sums.theirs.n);

        print("verification time, ours ÷ Linux's own (`verification time` in its statistics), geometric mean "
              "over real programs",
              "", mean, sums.theirs.least, sums.theirs.worst, sums.theirs.n);
        print("the same for the worst program", "", sums.theirs.worst, sums.theirs.worst, sums.theirs.worst,
              sums.theirs.n);
        if (sums.first.n) { /* as Linux's were: once, with nothing at hand yet */
            mean = exp(sums.first.log_sum / sums.first.n);
            print("the first of our rounds ÷ Linux's only one, geometric mean", "", mean, sums.first.least,
                  sums.first.worst, sums.first.n);
        }
        if (*sums.worst)
            fprintf(stderr, "worst: %s\n", sums.worst);
    }
}

/* The slope of a line through the logarithms: time over instructions processed, 10^3 to 10^6 of them. */
static double exponent(const struct maker *made, const u32 *length)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0;

    for (u32 k = 0; k < 4; k++) {
        struct maker m = {made->name, made->make, length[k]};
        struct taken taken = measure(&m, ROUNDS);
        double x = log((double)taken.insns), y = log((double)taken.ns);

        if (!taken.accepted) {
            fprintf(stderr, "growth, %s %u: refused\n", m.name, m.n);
            exit(1);
        }
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    return (4 * sxy - sx * sy) / (4 * sxx - sx * sx);
}

static void growth(void)
{
    static const struct maker line = {"straight-line", straight, 0},
                              loop = {"loop with branches", checking, 0};
    double slope = exponent(&line, (const u32[]){1000, 10000, 100000, 1000000});

    print("growth: straight-line code, 10³ to 10⁶ instructions", "", slope, slope, slope, ROUNDS);
    slope = exponent(&loop, (const u32[]){91, 909, 9090, 90900});
    print("growth: a loop with branches, 10³ to 10⁶ instructions processed", "", slope, slope, slope, ROUNDS);
}

/* How much a process grows by verifying it, MiB. */
static double grown(const struct maker *m)
{
    struct rusage usage;
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct text t = {0};
        struct tn_verify_in in;
        struct taken taken;
        long before;

        m->make(&t, m->n);
        in = input(&t);
        getrusage(RUSAGE_SELF, &usage);
        before = usage.ru_maxrss;
        taken = once(&in);
        if (!taken.accepted || taken.insns < 990000) {
            fprintf(stderr, "memory, %s: %llu instructions, %s\n", m->name, (unsigned long long)taken.insns,
                    taken.accepted ? "accepted" : "refused");
            _exit(255);
        }
        getrusage(RUSAGE_SELF, &usage);
        _exit((int)TN_MIN((usage.ru_maxrss - before) / 1024, 255l));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return 255;
    return WEXITSTATUS(status);
}

static void memory(void)
{
    double most = 0, least = 255;

    for (size_t k = 0; k < TN_ARRAY_SIZE(million); k++) {
        double mib = grown(&million[k]);

        if (verbose)
            fprintf(stderr, "  %s: %.0f MiB\n", million[k].name, mib);
        most = fmax(most, mib);
        least = fmin(least, mib);
    }
    print("memory for one million processed instructions", "MiB", most, least, most, TN_ARRAY_SIZE(million));
}

static void stopped(void)
{
    double most = 0, least = 1e9;

    for (size_t k = 0; k < TN_ARRAY_SIZE(hostile); k++) {
        struct taken taken;

        if (only && strcmp(only, hostile[k].name))
            continue;
        taken = measure(&hostile[k], 1);
        most = fmax(most, (double)taken.ns / 1e9);
        least = fmin(least, (double)taken.ns / 1e9);
    }
    print("hostile programs built to explode the state space", "s", most, least, most,
          TN_ARRAY_SIZE(hostile));
}

static const char *const parts[] = {"memory", "speed", "growth", "hostile"};

int main(int argc, char **argv)
{
    u32 which = 0;
    int c;

    while ((c = getopt(argc, argv, "p:vo:")) != -1) {
        verbose |= c == 'v';
        only = c == 'o' ? optarg : only;
        for (u32 k = 0; c == 'p' && k < TN_ARRAY_SIZE(parts); k++)
            which |= (u32)!strcmp(optarg, parts[k]) << k;
        if (c == '?' || (c == 'p' && !which))
            return 2;
    }
    which = which ? which : ~0u;
    if (which & 1)
        memory(); /* first: a child's peak starts at what its parent has */
    if (which & 2)
        speed(argc - optind, argv + optind);
    if (which & 4)
        growth();
    if (which & 8)
        stopped();
    return 0;
}
