/* SPDX-License-Identifier: MIT */
/*
 * What a message through a ring buffer costs who sends it: reserved, a head and so many bytes of the host's memory written into it,
 * submitted, as apps/sslsniff does. A function of this very program is hooked by programs that send (tests/rewrite/inproc.h), and
 * timed against one hooked by a program that does nothing, in rounds that take turns. The ring is longer than the caches are large,
 * so each message goes to memory that nobody has near; between two calls the function works on 8 KiB of its own, as a host
 * does. Beside it memcpy into such memory: less it cannot be. And the
 * shortest message while a thread reads what is sent, as libbpf's consumer does.
 *
 * Times are the thread's own, for the machine has other things to do. One JSON object a line.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "bench/figure.h"
#include "inproc.h"

#define EACH 50u   /* calls a sample */
#define MANY 5000u /* while somebody reads */
#define RING (32u << 20)
#define HEAD 48u
#define ROWS(X)                                                                                              \
    X(nothing, 0)                                                                                            \
    X(short, 128)                                                                                            \
    X(kib, 1024)                                                                                             \
    X(page, 4096)                                                                                            \
    X(pages, 8192)                                                                                           \
    X(record, 16384)

static u8 own[8192];

#define X(name, size)                                                                                        \
    __attribute__((noinline, aligned(64))) u64 hot_##name(u64 a, u64 b);                                     \
    u64 hot_##name(u64 a, u64 b)                                                                             \
    {                                                                                                        \
        memset(own, (int)b, sizeof(own));                                                                    \
        __asm__ volatile("" : "+r"(a), "+r"(b) : : "memory");                                                \
        return (a ^ b) * 3 + b;                                                                              \
    }
ROWS(X)
#undef X

static struct inproc in;
static u8 said[16384], *elsewhere; /* memory as large as the ring */
static int reading;                /* a thread is */

static double own_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static u64 *position(const struct tn_map *map, u32 which)
{
    return (u64 *)(map->base + which);
}

static double timed(u64 (*volatile fn)(u64, u64), u32 calls, const struct tn_map *map)
{
    u64 sum = 0;
    double begun = own_ns(), ns;

    for (u64 i = 0; i < calls; i++)
        sum = fn(sum, i);
    __asm__ volatile("" ::"r"(sum));
    ns = (own_ns() - begun) / calls;
    if (map) /* all is read */
        __atomic_store_n(position(map, TN_RB_CONSUMER),
                         __atomic_load_n(position(map, TN_RB_PRODUCER), __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
    return ns;
}

static double copied(u32 size)
{
    static u64 at;
    double begun = own_ns();

    for (u32 i = 0; i < EACH; i++, at += size + HEAD) {
        memcpy(elsewhere + at % RING, said, size);
        memset(own, (int)i, sizeof(own));
        __asm__ volatile("" ::: "memory");
    }
    return (own_ns() - begun) / EACH;
}

/* On the calling thread's own processor nobody could read meanwhile. */
static void stay_on(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

/* As libbpf's consumer: it tells of each message that it has read. */
static void *read_all(void *arg)
{
    const struct tn_map *map = arg;
    u64 at = __atomic_load_n(position(map, TN_RB_CONSUMER), __ATOMIC_ACQUIRE);

    stay_on(1);
    __atomic_store_n(&reading, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&reading, __ATOMIC_ACQUIRE))
        while (at < __atomic_load_n(position(map, TN_RB_PRODUCER), __ATOMIC_ACQUIRE)) {
            u32 len = __atomic_load_n((u32 *)(map->base + TN_RB_DATA + at % RING), __ATOMIC_ACQUIRE);

            if (len & BPF_RINGBUF_BUSY_BIT)
                break;
            at += TN_ROUND_UP(len + BPF_RINGBUF_HDR_SZ, 8);
            __atomic_store_n(position(map, TN_RB_CONSUMER), at, __ATOMIC_RELEASE);
        }
    return NULL;
}

static int load(struct inproc_prog *prog, u32 size, struct tn_error *err)
{
    const u64 at = (u64)said;
    const struct bpf_insn nothing[] = {I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0), EXIT};
    const struct bpf_insn send[] = {
        LDMAP(1, 0),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (s32)(size + HEAD)),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0),
        CALL(BPF_FUNC_ringbuf_reserve),
        I(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 17, 0),
        I(BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0),
        I(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 0, 1),
        I(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 8, 2),
        I(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 16, 3),
        I(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 24, 4),
        I(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 32, 5),
        I(BPF_ST | BPF_MEM | BPF_DW, 6, 0, 40, 6),
        I(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0),
        I(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, HEAD),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (s32)size),
        I(BPF_LD | BPF_IMM | BPF_DW, 3, 0, 0, (s32)(u32)at),
        I(0, 0, 0, 0, (s32)(at >> 32)),
        CALL(BPF_FUNC_probe_read_user),
        I(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, BPF_RB_NO_WAKEUP),
        CALL(BPF_FUNC_ringbuf_submit),
        I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
        EXIT,
    };
    int r;

    if (!size)
        return inproc_load(&in, prog, nothing, TN_ARRAY_SIZE(nothing), err);
    r = inproc_map(&in, prog, BPF_MAP_TYPE_RINGBUF, 0, 0, RING, err);
    return r ? r : inproc_load(&in, prog, send, TN_ARRAY_SIZE(send), err);
}

int main(void)
{
    static const struct {
        const char *name, *symbol;
        u64 (*fn)(u64, u64);
        u32 size;
    } rows[] = {
#define X(name, size) {#size, "hot_" #name, hot_##name, size},
        ROWS(X)
#undef X
    };
    enum { N = TN_ARRAY_SIZE(rows) };
    static double ns[N][ROUNDS], copy[N][ROUNDS], read_too[ROUNDS], alone[ROUNDS];
    static struct inproc_prog progs[N];
    const struct inproc_how how = {0};
    struct tn_signals *sigs;
    struct tn_error err = {0};
    pthread_t thread;
    int r = inproc_init(&in, &err);

    memset(said, 'x', sizeof(said));
    elsewhere = mmap(NULL, RING + sizeof(said), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    in.near->proc.image_end = 0; /* as of memory that may vanish */
    for (u32 i = 0; i < N && !r; i++) {
        r = load(&progs[i], rows[i].size, &err);
        if (!r)
            r = inproc_hook(&in, rows[i].symbol, rows[i].fn, TN_PLACE_ENTRY, &progs[i], &how, NULL, &err);
    }
    r = r ? r : elsewhere == MAP_FAILED ? -ENOMEM : inproc_take_faults(&in, &sigs);
    if (r) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 1;
    }
    for (u32 i = 1; i < N; i++) /* all of each ring is there */
        if (madvise(progs[i].map[0].base, TN_RB_DATA + RING + TN_PAGE, 23 /* MADV_POPULATE_WRITE */))
            memset(progs[i].map[0].base + TN_RB_DATA, 0, RING);
    for (u32 k = 0; k < ROUNDS; k++)
        for (u32 i = 0; i < N; i++) {
            ns[i][k] = timed(rows[i].fn, EACH, i ? &progs[i].map[0] : NULL);
            copy[i][k] = copied(rows[i].size);
        }
    for (u32 i = 1; i < N; i++) {
        const struct tn_map *map = &progs[i].map[0];
        u64 len = TN_ROUND_UP(rows[i].size + HEAD + BPF_RINGBUF_HDR_SZ, 8);
        u64 last = *position(map, TN_RB_PRODUCER) - len;

        if (*position(map, TN_RB_PRODUCER) != len * EACH * ROUNDS ||
            memcmp(map->base + TN_RB_DATA + last % RING + BPF_RINGBUF_HDR_SZ + HEAD, said, rows[i].size)) {
            fprintf(stderr, "what was sent is not what there was to be said\n");
            return 1;
        }
    }
    stay_on(0);
    for (u32 k = 0; k < ROUNDS; k++) {
        struct tn_map *map = &progs[1].map[0];

        alone[k] = timed(rows[1].fn, MANY, map);
        if (pthread_create(&thread, NULL, read_all, map))
            return 1;
        while (!__atomic_load_n(&reading, __ATOMIC_ACQUIRE))
            sched_yield();
        read_too[k] = timed(rows[1].fn, MANY, NULL) - alone[k];
        __atomic_store_n(&reading, 0, __ATOMIC_RELEASE);
        pthread_join(thread, NULL);
        *position(map, TN_RB_CONSUMER) = *position(map, TN_RB_PRODUCER);
    }
    for (u32 i = 1; i < N; i++) {
        double added[ROUNDS], times[ROUNDS];
        char name[128];

        for (u32 k = 0; k < ROUNDS; k++) {
            added[k] = ns[i][k] - ns[0][k];
            times[k] = added[k] / (copy[i][k] - copy[0][k]);
        }
        snprintf(name, sizeof(name), "message of %s bytes, added", rows[i].name);
        figure(name, added, "ns", "");
        snprintf(name, sizeof(name), "message of %s bytes, added ÷ memcpy of as many", rows[i].name);
        figure(name, times, "ratio", "");
    }
    figure("message of 128 bytes while another thread reads, more than alone", read_too, "ns", "");
    return 0;
}
