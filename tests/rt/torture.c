/* SPDX-License-Identifier: MIT */
/*
 * Many at once, and some of them dead: threads and processes on one map, SIGKILL at any instruction of an
 * update, a neighbour that writes rubbish. Bounded to a few seconds altogether.
 */
#include "rt_test.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "rt/barrier.h"
#include "rt/lock.h"
#include "rt/self.h"

#define THREADS 4u

static u64 now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------------------------------------ threads */

struct job {
    const struct tn_map *map;
    u32 who, rounds, wrong, busy;
};

/* Each thread owns the keys that are its number modulo THREADS: what it did last must be what it finds. */
static void *own_keys(void *arg)
{
    struct job *job = arg;
    u64 seed = job->who + 1, last[64] = {0};

    for (u32 i = 0; i < job->rounds; i++) {
        u64 r = test_random(&seed);
        u32 slot = r % 64, key = slot * THREADS + job->who;
        u64 value[2] = {r | 1, ~(r | 1)}, *seen;
        int ret;

        if (r >> 32 & 3) {
            ret = tn_map_update(job->map, &key, value, BPF_ANY, -1);
            if (!ret)
                last[slot] = value[0];
        } else {
            ret = tn_map_delete(job->map, &key);
            job->wrong += ret != -EBUSY && ret != (last[slot] ? 0 : -ENOENT);
            if (!ret)
                last[slot] = 0;
        }
        job->busy += ret == -EBUSY;
        seen = tn_map_lookup(job->map, &key, -1);
        job->wrong += seen ? seen[0] != last[slot] || seen[1] != ~seen[0] : last[slot] != 0;
    }
    return NULL;
}

static void threads_keep_their_keys(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 16, 64 * THREADS, 0, 0);
    struct job jobs[THREADS];
    pthread_t thread[THREADS];

    for (u32 i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){.map = &map, .who = i, .rounds = 150000};
        assert_int_equal(pthread_create(&thread[i], NULL, own_keys, &jobs[i]), 0);
    }
    for (u32 i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(jobs[i].wrong, 0);
        assert_int_equal(jobs[i].busy, 0);
    }
    assert_sound(&map, -1);
    test_map_free(&map);
}

/* All fight for the same few places: NOEXIST may win once only,
   and the map is full exactly at max_entries. */
static void *fight(void *arg)
{
    struct job *job = arg;
    u64 value[2] = {job->who, 0};

    for (u32 key = 0; key < job->rounds; key++) {
        int r = tn_map_update(job->map, &key, value, BPF_NOEXIST, -1);

        job->wrong += r == 0; /* here: places won */
        job->busy += r != 0 && r != -EEXIST && r != -E2BIG;
    }
    return NULL;
}

static void full_is_exact(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 16, 5000, 0, 0);
    struct job jobs[THREADS];
    pthread_t thread[THREADS];
    u32 won = 0;

    for (u32 i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){.map = &map, .who = i, .rounds = 8000};
        assert_int_equal(pthread_create(&thread[i], NULL, fight, &jobs[i]), 0);
    }
    for (u32 i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        won += jobs[i].wrong;
        assert_int_equal(jobs[i].busy, 0);
    }
    assert_int_equal(won, 5000);
    assert_sound(&map, 5000);
    test_map_free(&map);
}

/* Eight threads on a per-CPU hash, each on a CPU of its own, deletes between:
   no update of a lone key is lost. */
#define CPUS 8u
static void *count_own_cpu(void *arg)
{
    struct job *job = arg;
    u32 key = 7, other = 100 + job->who;
    u64 zero = 0;

    for (u32 i = 0; i < job->rounds; i++) {
        u64 *v = tn_map_lookup(job->map, &key, (s32)job->who);

        if (v)
            ++*v;
        else
            job->wrong++;
        if (i % 16 == 0)
            job->busy += tn_map_update(job->map, &other, &zero, BPF_ANY, (s32)job->who) != 0;
        if (i % 16 == 8)
            job->busy += tn_map_delete(job->map, &other) != 0;
    }
    return NULL;
}

static void percpu_hash_eight_threads(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 64, 0, CPUS);
    u64 values[CPUS] = {0};
    struct job jobs[CPUS];
    pthread_t thread[CPUS];
    u32 key = 7;

    assert_int_equal(tn_map_user_update(&map, &key, values, BPF_ANY), 0);
    for (u32 i = 0; i < CPUS; i++) {
        jobs[i] = (struct job){.map = &map, .who = i, .rounds = 80000};
        assert_int_equal(pthread_create(&thread[i], NULL, count_own_cpu, &jobs[i]), 0);
    }
    for (u32 i = 0; i < CPUS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(jobs[i].wrong, 0);
        assert_int_equal(jobs[i].busy, 0);
    }
    assert_int_equal(tn_map_user_lookup(&map, &key, values, 0), 0);
    for (u32 i = 0; i < CPUS; i++)
        assert_int_equal(values[i], 80000);
    assert_sound(&map, 1);
    test_map_free(&map);
}

/* ----------------------------------------------------------------------------------------------- the dead */

/* Writes for ever. With `quick` the map is small and nearly always in the middle of something. */
static void victim(const struct tn_map *map, u64 seed)
{
    for (;;) {
        u64 r = test_random(&seed);
        u32 key = r % 40;
        u64 value[4] = {r, ~r, r, ~r};

        if (r >> 32 & 1)
            tn_map_update(map, &key, value, BPF_ANY, 0);
        else
            tn_map_delete(map, &key);
    }
}

static pid_t spawn_victim(const struct tn_map *map, u64 seed)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid)
        victim(map, seed);
    return pid;
}

static void kill_and_mend(const struct tn_map *map, pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    tn_map_recover(map, (u32)pid);
}

static void no_torn_value(const struct tn_map *map)
{
    for (u32 key = 0; key < 40; key++) {
        u64 v[4];

        if (tn_map_user_lookup(map, &key, v, 0))
            continue;
        assert_int_equal(v[0], ~v[1]);
        assert_int_equal(v[0], v[2]);
        assert_int_equal(v[1], v[3]);
    }
}

static void killed_in_the_middle(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 32, 32, 0, 0);
    u64 seed = 42, end = now_ms() + 4000;
    u32 kills = 0, found = 0;

    while (now_ms() < end && kills < 3000) {
        pid_t pid = spawn_victim(&map, kills);
        struct timespec ts = {0, (long)(test_random(&seed) % 300000)};
        struct tn_map_census c;

        nanosleep(&ts, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(tn_map_census(&map, &c), 0);
        found += c.locked || c.taken || c.faults;
        tn_map_recover(&map, (u32)pid);
        assert_sound(&map, -1);
        no_torn_value(&map);
        kills++;
    }
    print_message("# %u processes killed, %u of them in the middle of a change\n", kills, found);
    assert_true(kills > 100);
    assert_true(found > 0);
    for (u32 key = 0; key < 40; key++) { /* it can still be emptied and filled */
        int r = tn_map_user_delete(&map, &key);

        assert_true(r == 0 || r == -ENOENT);
    }
    assert_sound(&map, 0);
    test_map_free(&map);
}

/* The same while others go on: survivors keep their own keys, and recovery disturbs nobody. */
static void killed_among_the_living(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 32, 200, 0, 0);
    u64 seed = 7, end = now_ms() + 1500;
    u32 busy = 0;
    pid_t a = spawn_victim(&map, 1);

    while (now_ms() < end) {
        pid_t b = spawn_victim(&map, test_random(&seed));
        u64 until = now_ms() + 2;

        while (now_ms() < until) {
            u64 r = test_random(&seed), value[4] = {r, ~r, r, ~r}, seen[4];
            u32 key = 1000 + r % 100;
            int ret = tn_map_update(&map, &key, value, BPF_ANY, -1);

            busy += ret == -EBUSY;
            assert_true(ret == 0 || ret == -EBUSY);
            if (!ret) {
                assert_int_equal(tn_map_user_lookup(&map, &key, seen, 0), 0);
                assert_int_equal(seen[0], r);
            }
        }
        kill_and_mend(&map, b);
    }
    kill_and_mend(&map, a);
    print_message("# %u times busy\n", busy);
    assert_sound(&map, -1);
    no_torn_value(&map);
    test_map_free(&map);
}

static bool is_dead(u32 pid, void *arg)
{
    return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/* Until there is one: a lock, a taken element and a half-unlinked one of a process that is no more. */
static void reap_finds_the_unknown(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 8, 16, 0, 0);
    u64 seed = 3;
    bool dirty = false;

    for (u32 i = 0; i < 5000 && !dirty; i++) { /* one in some hundred hits */
        pid_t pid = spawn_victim(&map, i);
        struct timespec ts = {0, (long)(200000 + test_random(&seed) % 100000)};
        struct tn_map_census c;

        nanosleep(&ts, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(tn_map_census(&map, &c), 0);
        dirty = c.locked || c.taken;
    }
    assert_true(dirty);
    tn_map_reap(&map, is_dead, NULL);
    assert_sound(&map, -1);
    test_map_free(&map);
}

/* A lock whose owner is alive and does not let go: an error after a bounded time,
   and the map is as it was. */
static void held_for_ever(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 8, 1, 0, 0);
    u64 value = 1, *lock = (u64 *)(map.base + map.geo.bucket_off), before;
    u32 key = 1;

    assert_int_equal(tn_map_update(&map, &key, &value, BPF_ANY, -1), 0);
    *lock = (u64)1 << 32 | 8;
    before = now_ms();
    assert_int_equal(tn_map_update(&map, &key, &value, BPF_ANY, -1), -EBUSY);
    assert_int_equal(tn_map_delete(&map, &key), -EBUSY);
    assert_true(now_ms() - before < 2000);
    before = now_ms(); /* one long wait a lock, not one a call */
    for (u32 i = 0; i < 1000; i++)
        assert_int_equal(tn_map_update(&map, &key, &value, BPF_ANY, -1), -EBUSY);
    assert_true(now_ms() - before < 1000);
    assert_non_null(tn_map_lookup(&map, &key, -1)); /* readers take no lock */
    tn_map_recover(&map, 1);
    assert_int_equal(tn_map_delete(&map, &key), 0);

    /* one's own: at once (a signal handler must not wait for the code it interrupted) */
    *lock = tn_self_owner(NULL);
    before = now_ms();
    for (u32 i = 0; i < 10000; i++)
        assert_int_equal(tn_map_update(&map, &key, &value, BPF_ANY, -1), -EBUSY);
    assert_true(now_ms() - before < 1000);
    *lock = 0;
    test_map_free(&map);
}

/* A run that siglongjmp left in the middle of an update: its thread's next one
   takes the lock over and mends. */
static void own_lock_of_an_abandoned_run(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 8, 4, 0, 0);
    static struct tn_private priv = {.armed = TN_ARMED};
    struct tn_proc proc = {.priv = &priv,
                           .owner_pid = (u32)getpid(),
                           .pid = (u32)getpid(),
                           .allowed_syscalls = ~0u,
                           .tp_how = TN_TP_SELF};
    struct tn_hook hook = {.prog_bit = 5};
    struct tn_run run = {.hook = &hook, .proc = &proc, .slot = &priv.slot[0], .cpu = -1};
    u64 value = 1, *lock;
    u32 key = 1;

    priv.slot[0].running[0] = 1u << 5;
    for (u32 b = 0; b < map.geo.nbuckets; b++) {
        lock = (u64 *)(map.base + map.geo.bucket_off) + 2 * b;
        *lock = tn_self_owner(&proc);
    }
    assert_int_equal((s64)tn_helper_map_update_elem((u64)&map, (u64)&key, (u64)&value, 0, 0, &run), 0);
    priv.slot[0].running[0] |= 1u << 9; /* now another run of this thread is under way below */
    for (u32 b = 0; b < map.geo.nbuckets; b++)
        ((u64 *)(map.base + map.geo.bucket_off))[2 * b] = tn_self_owner(&proc);
    assert_int_equal((s64)tn_helper_map_update_elem((u64)&map, (u64)&key, (u64)&value, 0, 0, &run), -EBUSY);
    tn_map_recover(&map, (u32)getpid());
    assert_sound(&map, 1);
    test_map_free(&map);
}

/* -------------------------------------------------------------------------------------------- the hostile */

static void keep_stack(const struct tn_map *map, u64 r)
{
    struct tn_who who = tn_who(NULL);
    struct tn_stack stack = {.count = 1 + (r >> 8) % 8, .ip = {r % 100}};
    s64 id = tn_stack_keep(map, &stack, r >> 20 & BPF_F_REUSE_STACKID, &who);

    assert_true(id < map->geo.nbuckets && id > -600);
}

static void operate(const struct tn_map *map, u64 *seed)
{
    u64 r = test_random(seed), value[64] = {0};
    u32 key = r % 100, next;

    switch (r >> 40 & 7) {
    case 0:
        tn_map_delete(map, &key);
        break;
    case 1:
        tn_map_user_next_key(map, &key, &next);
        break;
    case 2:
        tn_map_user_lookup(map, &key, value, 0);
        break;
    case 3: {
        u64 *v = tn_map_lookup(map, &key, 0);

        if (v) {
            u64 off = (u64)v - (u64)map->base;

            assert_true(off < map->geo.size && map->geo.value_size <= map->geo.size - off);
            ++*v;
        }
        break;
    }
    default:
        if (map->geo.type == BPF_MAP_TYPE_STACK_TRACE)
            keep_stack(map, r);
        else
            tn_map_update(map, &key, value, BPF_ANY, 0);
    }
}

static void ring_step(const struct tn_map *map, u64 *seed)
{
    struct tn_run run = {.cpu = -1};
    u64 r = test_random(seed), size = r % 3000;
    u8 *p = tn_ringbuf_reserve(map, size, &run);

    if (!p)
        return;
    assert_true(p > map->base && p + size <= map->base + map->geo.mmap_size);
    memset(p, 0x77, size);
    tn_ringbuf_commit(p, r >> 20 & 3, r >> 30 & 1, &run);
}

static void scribble(u32 type, u32 value_size)
{
    struct tn_map map = type == BPF_MAP_TYPE_RINGBUF ? test_map(type, 0, 0, 8192, 0, 0)
                                                     : test_map(type, 4, value_size, 64, 0, 0);
    u64 seed = type, end = now_ms() + 500, ops = 0, longest = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        for (;;) { /* words near the head and anywhere, small numbers and large, now and then a pause to let
                      things work */
            u64 r = test_random(&seed);
            u64 off = (r % (r >> 60 & 1 ? TN_MIN(map.geo.size, 2048) : map.geo.size)) & ~7ull;
            u64 word = r >> 61 & 1 ? test_random(&seed) : r >> 50 & 127;

            if (type == BPF_MAP_TYPE_RINGBUF && (r >> 8 & 15) == 0)
                off = r >> 12 & 1 ? TN_RB_CONSUMER : r >> 13 & 1 ? TN_RB_PRODUCER : map.geo.ctl_off;
            memcpy(map.base + off, &word, 8);
            if (r % 512 == 0)
                usleep(1);
        }
    }
    while (now_ms() < end) {
        u64 start = now_ms();

        if (type == BPF_MAP_TYPE_RINGBUF)
            ring_step(&map, &seed);
        else
            operate(&map, &seed);
        longest = TN_MAX(longest, now_ms() - start);
        if (++ops % 64 == 0) /* what the broker would do, on what it cannot trust either */
            tn_map_recover(&map, 1 + ops % 200);
        if (type == BPF_MAP_TYPE_RINGBUF)
            tn_ringbuf_query(&map, ops % 5);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    print_message("# type %u: %llu operations beside the scribbler, the longest %llu ms\n", type,
                  (unsigned long long)ops, (unsigned long long)longest);
    assert_true(ops > 5);
    assert_true(longest < 2000);
    test_map_free(&map);
}

static void scribbler(void **state)
{
    scribble(BPF_MAP_TYPE_HASH, 16);
    scribble(BPF_MAP_TYPE_PERCPU_HASH, 24);
    scribble(BPF_MAP_TYPE_ARRAY, 8);
    scribble(BPF_MAP_TYPE_PERCPU_ARRAY, 8);
    scribble(BPF_MAP_TYPE_STACK_TRACE, 64);
    scribble(BPF_MAP_TYPE_RINGBUF, 0);
}

/* Every chain a ring, every index beyond the end: each operation ends, and recovery makes it usable again. */
static void endless_chains(void **state)
{
    static const u32 poison[] = {0, 1, 63, 0x7fffffff, 0x80000000, 0xffffffff};
    struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 8, 64, 0, 0);
    u64 value = 1, seed = 1, before = now_ms();

    for (u32 n = 0; n < TN_ARRAY_SIZE(poison); n++) {
        for (u32 key = 0; key < 64; key++)
            tn_map_update(&map, &key, &value, BPF_ANY, -1);
        for (u32 b = 0; b < map.geo.nbuckets; b++) {
            u8 *bucket = map.base + map.geo.bucket_off + 16 * (u64)b;

            memcpy(bucket + 8, &poison[n], 4);
            memcpy(bucket, &(u64){(u64)1 << 32}, 8);
        }
        for (u32 i = 0; i < map.geo.nelems; i++)
            memcpy(map.base + map.geo.value_off + (u64)i * map.geo.elem_stride + 8, &poison[n], 4);
        for (u32 key = 0; key < 100; key++) {
            u32 next;

            tn_map_lookup(&map, &key, -1);
            tn_map_user_next_key(&map, &key, &next);
        }
        tn_map_recover(&map, 1);
        for (u32 i = 0; i < 1000; i++)
            operate(&map, &seed);
    }
    assert_true(now_ms() - before < 3000);
    test_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_keep_their_keys),
        cmocka_unit_test(full_is_exact),
        cmocka_unit_test(percpu_hash_eight_threads),
        cmocka_unit_test(killed_in_the_middle),
        cmocka_unit_test(killed_among_the_living),
        cmocka_unit_test(reap_finds_the_unknown),
        cmocka_unit_test(held_for_ever),
        cmocka_unit_test(own_lock_of_an_abandoned_run),
        cmocka_unit_test(scribbler),
        cmocka_unit_test(endless_chains),
    };

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
