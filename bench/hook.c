/* SPDX-License-Identifier: MIT */
/*
 * What a hook costs the function it stands at: this very program is planned from its own file, patched, and
 * the patched function is timed against its unpatched twin, in rounds that take turns. One JSON object a
 * line.
 *
 * The program that counts is the assembly a JIT makes of it (hook-prog.S); the agent's part is played by two
 * functions here, and reached only once, when the thread's slot is claimed.
 */
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

#include "agent/agent.h"
#include "rewrite/module.h"
#include "rewrite/trampoline.h"

#define ROUNDS 31u
#define CALLS  1000000u
#define HOT    __attribute__((noinline, aligned(64)))

u64 hot_plain(u64 a, u64 b), hot_hooked(u64 a, u64 b), hot_both(u64 a, u64 b), hot_closed(u64 a, u64 b),
    hot_empty(u64 a, u64 b);
#define BODY(name)                                                                                           \
    HOT u64 name(u64 a, u64 b)                                                                               \
    {                                                                                                        \
        __asm__ volatile("" : "+r"(a), "+r"(b));                                                             \
        return (a ^ b) * 3 + b;                                                                              \
    }
BODY(hot_plain)
BODY(hot_hooked)
BODY(hot_both)
BODY(hot_closed)
BODY(hot_empty)

extern u64 bench_count(void *ctx, struct tn_run *run), bench_empty(void *ctx, struct tn_run *run);
static u64 counter;
static u64 *counter_base = &counter;
const void *bench_map;

static struct near {
    u8 text[16][TN_TRAMPOLINE_MAX];
    struct tn_hook hook[8];
    u64 head[8];
    u8 gate[8];
    struct tn_private priv;
    struct tn_proc proc;
} * at;
static u32 used_text, used_hooks;

__attribute__((target("general-regs-only"))) static u64 enter(struct tn_run *run, u64 flags)
{
    u64 tp = (u64)__builtin_thread_pointer(), bit = run->hook->prog_bit;
    struct tn_slot *slot = &run->proc->priv->slot[TN_SLOT_HASH(tp)];

    slot->owner = tp;
    slot->sp = (u64)run;
    slot->running[bit / 64] |= 1ull << bit % 64;
    run->slot = slot;
    return 1;
}

__attribute__((target("general-regs-only"))) static void leave(struct tn_run *run)
{
    u64 bit = run->hook->prog_bit;

    run->slot->running[bit / 64] &= ~(1ull << bit % 64);
    run->slot->sp = 0;
}

static int hook(const struct tn_module *m, const char *name, void *fn, enum tn_place_kind place,
                tn_prog_fn prog, bool open, bool straight)
{
    struct tn_facts facts = {0};
    struct tn_error err = {0};
    struct tn_plan plan = {0};
    u64 addr, bias;
    int r;

    r = tn_module_find(m, name, &addr, &err);
    if (!r)
        r = tn_plan(tn_module_code(m, addr), place, addr, &plan, &err);
    bias = r < 0 ? 0 : (u64)fn - addr;
    for (u32 i = 0; !r && i < plan.npatches; i++) {
        u8 *copy = at->text[used_text++], *tramp = at->text[used_text++], bytes[TN_PATCH_MAX];
        struct tn_hook *h = &at->hook[used_hooks];
        u64 *head = &at->head[used_hooks++];
        struct tn_displaced_out out;
        struct tn_tramp_in in = {.facts = &facts,
                                 .place = place,
                                 .tp = TN_TP_SELF,
                                 .at = (u64)tramp,
                                 .hook = (u64)h,
                                 .gate = (u64)&at->gate[open],
                                 .priv = (u64)&at->priv,
                                 .proc = (u64)&at->proc,
                                 .enter = (u64)enter,
                                 .leave = (u64)leave};
        u64 to;

        *head = (u64)tramp;
        r = tn_displaced(&plan.patches[i], bias, (u64)copy, (u64)head, copy, TN_DISPLACED_MAX, &out, &err);
        if (r < 0)
            break;
        *h = (struct tn_hook){
            .prog = (u64)prog, .func_ip = (u64)fn, .proc = (u64)&at->proc, .next = out.hook_return};
        r = tn_trampoline(&in, tramp, TN_TRAMPOLINE_MAX, &err);
        if (r < 0)
            break;
        to = straight && plan.patches[i].hook_before == 0 ? (u64)tramp : out.enter;
        r = tn_patch_bytes(&plan.patches[i], bias, to, bytes, &err);
        if (r < 0)
            break;
        addr = plan.patches[i].addr + bias;
        if (mprotect((void *)(addr & ~0xfffull), 2 * TN_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
            return -1;
        memcpy((void *)addr, bytes, plan.patches[i].len);
    }
    if (r < 0)
        fprintf(stderr, "%s: %s\n", name, err.message);
    tn_plan_clear(&plan);
    return r;
}

static double timed(u64 (*fn)(u64, u64))
{
    struct timespec a, b;
    u64 sum = 0;

    clock_gettime(CLOCK_MONOTONIC, &a);
    for (u64 i = 0; i < CALLS; i++)
        sum += fn(i, i + 1);
    clock_gettime(CLOCK_MONOTONIC, &b);
    __asm__ volatile("" ::"r"(sum));
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / CALLS;
}

static int cmp(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return a < b ? -1 : a > b;
}

/* Median, with the tenth and ninetieth percentile as spread. */
static void figure(const char *name, double *v, const char *unit)
{
    qsort(v, ROUNDS, sizeof(*v), cmp);
    printf("{\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\",\"low\":%.3f,\"high\":%.3f,\"rounds\":%u}\n",
           name, v[ROUNDS / 2], unit, v[ROUNDS / 10], v[ROUNDS - 1 - ROUNDS / 10], ROUNDS);
}

int main(void)
{
    static const struct {
        const char *name;
        u64 (*fn)(u64, u64);
    } rows[] = {
        {"plain call", hot_plain},
        {"hooked entry, array counter", hot_hooked},
        {"hooked entry, empty program", hot_empty},
        {"hooked entry and exit, empty programs", hot_both},
        {"hooked entry, gate closed", hot_closed},
    };
    enum { ROWS = TN_ARRAY_SIZE(rows) };
    static double ns[ROWS][ROUNDS], ratio[ROWS][ROUNDS];
    struct tn_module *m = NULL;
    struct tn_error err = {0};
    char name[96];
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), r;

    r = fd < 0 ? -1 : tn_module_open(fd, &m, &err);
    if (fd >= 0)
        close(fd);
    at = mmap((void *)(((u64)&main & ~0xfffull) + 0x10000000), sizeof(*at),
              PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r < 0 || at == MAP_FAILED)
        return 1;
    bench_map = &counter_base;
    at->gate[1] = 1;
    at->priv.armed = TN_ARMED;
    at->proc.priv = &at->priv;
    if (hook(m, "hot_hooked", hot_hooked, TN_PLACE_ENTRY, bench_count, true, true) < 0 ||
        hook(m, "hot_empty", hot_empty, TN_PLACE_ENTRY, bench_empty, true, true) < 0 ||
        hook(m, "hot_both", hot_both, TN_PLACE_ENTRY, bench_empty, true, true) < 0 ||
        hook(m, "hot_both", hot_both, TN_PLACE_EXIT, bench_empty, true, true) < 0 ||
        hook(m, "hot_closed", hot_closed, TN_PLACE_ENTRY, bench_count, false, true) < 0)
        return 1;
    for (u32 i = 0; i < ROWS; i++)
        timed(rows[i].fn);
    counter = 0;
    for (u32 k = 0; k < ROUNDS; k++)
        for (u32 i = 0; i < ROWS; i++)
            ns[i][k] = timed(rows[i].fn);
    for (u32 i = 0; i < ROWS; i++)
        for (u32 k = 0; k < ROUNDS; k++)
            ratio[i][k] = ns[i][k] / ns[0][k];
    if (counter != (u64)ROUNDS * CALLS) {
        fprintf(stderr, "the counter says %llu of %llu calls\n", (unsigned long long)counter,
                (unsigned long long)ROUNDS * CALLS);
        return 1;
    }
    for (u32 i = 0; i < ROWS; i++)
        figure(rows[i].name, ns[i], "ns");
    for (u32 i = 1; i < ROWS; i++) {
        snprintf(name, sizeof(name), "%s / plain call", rows[i].name);
        figure(name, ratio[i], "ratio");
    }
    tn_module_free(m);
    return 0;
}
