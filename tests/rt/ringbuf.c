/* SPDX-License-Identifier: MIT */
/*
 * The ring buffer, read by stock libbpf. Its consumer asks bpf(2) what the descriptor is, maps it and adds it
 * to an epoll instance; we stand in for the first and the last (the door's business elsewhere), so that
 * everything between, the format and the protocol, is libbpf's own code on our memory.
 */
#include "rt_test.h"

#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <time.h>

#define RING 4096u

static int ring_fd = -1;

long syscall(long nr, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list ap;

    va_start(ap, nr);
    for (u32 i = 0; i < 6; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (nr == __NR_bpf && a[0] == BPF_OBJ_GET_INFO_BY_FD &&
        ((union bpf_attr *)a[1])->info.bpf_fd == (u32)ring_fd) {
        struct bpf_map_info info = {.type = BPF_MAP_TYPE_RINGBUF, .max_entries = RING};

        memcpy((void *)((union bpf_attr *)a[1])->info.info, &info, sizeof(info));
        return 0;
    }
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return 0; /* a memfd cannot be polled: only the consumer's own loop is tested here */
}

static struct tn_map ring_map(void)
{
    struct tn_map map = {.id = 1};

    assert_int_equal(tn_map_geometry(BPF_MAP_TYPE_RINGBUF, 0, 0, RING, 0, TEST_NCPU, &map.geo), 0);
    ring_fd = memfd_create("ring", MFD_CLOEXEC);
    assert_true(ring_fd >= 0);
    assert_int_equal(ftruncate(ring_fd, (off_t)map.geo.size), 0);
    map.base = mmap(NULL, map.geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    assert_ptr_not_equal(map.base, MAP_FAILED);
    assert_int_equal(tn_map_init(&map), 0);
    return map;
}

static void ring_free(struct tn_map *map)
{
    test_map_free(map);
    close(ring_fd);
    ring_fd = -1;
}

struct seen {
    u64 n, next, wrong, bytes;
};

/* A sample is its number, then its low byte repeated. */
static int on_sample(void *arg, void *data, size_t size)
{
    struct seen *seen = arg;
    const u8 *p = data;
    u64 number;

    memcpy(&number, p, 8);
    seen->wrong += number != seen->next;
    seen->next = number + 1;
    for (size_t i = 8; i < size; i++)
        seen->wrong += p[i] != (u8)number;
    seen->n++;
    seen->bytes += size;
    return 0;
}

static bool produce(const struct tn_map *map, u64 number, u64 size, bool discard)
{
    struct tn_run run = {.cpu = -1};
    u8 *p = tn_ringbuf_reserve(map, size, &run);

    if (!p)
        return false;
    memset(p, (int)(u8)number, size);
    memcpy(p, &number, 8);
    tn_ringbuf_commit(p, 0, discard, &run);
    return true;
}

/* 20 000 records of all sizes through a small ring; with 8-byte steps headers come
   to stand at the very end too. */
static void stock_consumer(void **state)
{
    struct tn_map map = ring_map();
    struct seen seen = {0};
    struct ring_buffer *rb = ring_buffer__new(ring_fd, on_sample, &seen, NULL);
    u64 seed = 1, number = 0, at_end = 0;

    assert_non_null(rb);
    while (number < 20000) {
        u64 size = 8 + test_random(&seed) % 300;

        at_end += tn_ringbuf_query(&map, BPF_RB_PROD_POS) % RING == RING - 8;
        if (test_random(&seed) % 10 == 0)
            produce(&map, 12345, size, true);
        if (produce(&map, number, size, false))
            number++;
        else
            assert_true(ring_buffer__consume(rb) >= 0);
    }
    ring_buffer__consume(rb);
    assert_int_equal(seen.n, number);
    assert_int_equal(seen.wrong, 0);
    assert_true(at_end > 10);
    assert_int_equal(tn_ringbuf_query(&map, BPF_RB_AVAIL_DATA), 0);
    ring_buffer__free(rb);
    ring_free(&map);
}

static void header_at_the_very_end(void **state)
{
    struct tn_map map = ring_map();
    struct seen seen = {0};
    struct ring_buffer *rb = ring_buffer__new(ring_fd, on_sample, &seen, NULL);

    assert_non_null(rb);
    assert_true(produce(&map, 0, RING - 16, false)); /* header 8 + sample: the next header is the last word */
    assert_int_equal(tn_ringbuf_query(&map, BPF_RB_PROD_POS), RING - 8);
    assert_int_equal(ring_buffer__consume(rb), 1);
    assert_true(produce(&map, 1, 64, false));
    assert_int_equal(ring_buffer__consume(rb), 1);
    assert_int_equal(seen.wrong, 0);
    assert_int_equal(seen.bytes, RING - 16 + 64);
    ring_buffer__free(rb);
    ring_free(&map);
}

static void limits_and_flags(void **state)
{
    struct tn_map map = ring_map();
    struct tn_run run = {.cpu = -1};
    u64 value = 5;
    void *p;

    assert_null(tn_ringbuf_reserve(&map, RING, &run));
    assert_null(tn_ringbuf_reserve(&map, RING - 8, &run)); /* Linux never fills the last byte */
    assert_null(tn_ringbuf_reserve(&map, UINT32_MAX, &run));
    assert_null(tn_ringbuf_reserve(&map, UINT64_MAX, &run));
    assert_null((void *)tn_helper_ringbuf_reserve((u64)&map, 8, 1, 0, 0, &run));
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, 4, &run), -EINVAL);
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, BPF_RB_NO_WAKEUP, &run), 0);
    assert_int_equal(tn_ringbuf_output(&map, &value, 0, 0, &run), 0);
    assert_int_equal(tn_ringbuf_query(&map, BPF_RB_AVAIL_DATA), 24);
    assert_int_equal(tn_ringbuf_query(&map, BPF_RB_RING_SIZE), RING);
    assert_int_equal(tn_ringbuf_query(&map, 99), 0);
    while (!tn_ringbuf_output(&map, &value, 8, 0, &run))
        continue;
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, 0, &run), -EAGAIN);
    assert_true(tn_ringbuf_query(&map, BPF_RB_AVAIL_DATA) < RING);
    p = tn_ringbuf_reserve(&map, 8, &run);
    assert_null(p);
    ring_free(&map);
}

/* Adaptive: a waker is called only if somebody said he sleeps, and has read everything before the record. */
static void wakes_only_sleepers(void **state)
{
    struct tn_map map = ring_map();
    struct tn_run run = {.cpu = -1};
    u32 *wake = &((struct tn_rb_ctl *)(map.base + map.geo.ctl_off))->wake;
    u64 value = 1;

    *wake = TN_RB_ARMED;
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, BPF_RB_NO_WAKEUP, &run), 0);
    assert_int_equal(*wake, TN_RB_ARMED);
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, 0, &run), 0); /* the first is not read yet */
    assert_int_equal(*wake, TN_RB_ARMED);
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, BPF_RB_FORCE_WAKEUP, &run), 0);
    assert_int_equal(*wake, 0);
    *(u64 *)map.base = tn_ringbuf_query(&map, BPF_RB_PROD_POS);
    *wake = TN_RB_ARMED;
    assert_int_equal(tn_ringbuf_output(&map, &value, 8, 0, &run), 0); /* everything before it is read */
    assert_int_equal(*wake, 0);
    ring_free(&map);
}

static void *produce_all(void *arg)
{
    const struct tn_map *map = arg;

    for (u64 i = 0; i < 20000;)
        if (produce(map, i, 8 + i % 50, false))
            i++;
        else
            sched_yield();
    return NULL;
}

/* The sleeper's protocol of map.h, with real sleep: nothing is missed, he is not left asleep. */
static void sleeping_consumer(void **state)
{
    struct tn_map map = ring_map();
    struct seen seen = {0};
    struct ring_buffer *rb = ring_buffer__new(ring_fd, on_sample, &seen, NULL);
    u32 *wake = &((struct tn_rb_ctl *)(map.base + map.geo.ctl_off))->wake, timeouts = 0;
    pthread_t thread;

    assert_non_null(rb);
    assert_int_equal(pthread_create(&thread, NULL, produce_all, &map), 0);
    while (seen.n < 20000 && timeouts < 3) {
        struct timespec limit = {2, 0};

        ring_buffer__consume(rb);
        if (seen.n == 20000)
            break;
        __atomic_store_n(wake, TN_RB_ARMED, __ATOMIC_SEQ_CST);
        if (ring_buffer__consume(rb) > 0)
            continue;
        if (syscall(SYS_futex, wake, FUTEX_WAIT, TN_RB_ARMED, &limit, NULL, 0) < 0 && errno == ETIMEDOUT)
            timeouts++;
    }
    pthread_join(thread, NULL);
    assert_int_equal(timeouts, 0);
    assert_int_equal(seen.n, 20000);
    assert_int_equal(seen.wrong, 0);
    ring_buffer__free(rb);
    ring_free(&map);
}

/* Killed between reserve and commit: the record is discarded, and what came after it is read. */
static void killed_producer(void **state)
{
    struct tn_map map = ring_map();
    struct seen seen = {0};
    struct ring_buffer *rb = ring_buffer__new(ring_fd, on_sample, &seen, NULL);
    pid_t pid;

    assert_non_null(rb);
    assert_true(produce(&map, 0, 8, false));
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        struct tn_run run = {.cpu = -1};

        tn_ringbuf_reserve(&map, 100, &run);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(produce(&map, 1, 8, false));
    assert_int_equal(ring_buffer__consume(rb), 1); /* stuck before the dead one's */
    tn_map_recover(&map, (u32)pid + 1);
    assert_int_equal(ring_buffer__consume(rb), 0);
    tn_map_recover(&map, (u32)pid);
    assert_int_equal(ring_buffer__consume(rb), 1);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.wrong, 0);
    ring_buffer__free(rb);
    ring_free(&map);
}

/* Killed anywhere, hundreds of times, among a producer that lives: its records all come, in order, and no
 * lock stays. */
static void killed_anywhere(void **state)
{
    struct tn_map map = ring_map();
    struct seen seen = {0};
    struct ring_buffer *rb = ring_buffer__new(ring_fd, on_sample, &seen, NULL);
    u64 seed = 9, number = 0, busy = 0;

    assert_non_null(rb);
    for (u32 n = 0; n < 400; n++) {
        struct timespec ts = {0, (long)(test_random(&seed) % 300000)};
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (!pid)
            for (;;)
                produce(&map, 7, 8 + n % 100, true);
        for (u32 i = 0; i < 5; i++) {
            number += produce(&map, number, 16, false);
            ring_buffer__consume(rb);
        }
        nanosleep(&ts, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        busy += ((struct tn_rb_ctl *)(map.base + map.geo.ctl_off))->lock != 0;
        tn_map_recover(&map, (u32)pid);
        ring_buffer__consume(rb);
        assert_int_equal(tn_ringbuf_query(&map, BPF_RB_AVAIL_DATA), 0);
    }
    print_message("# %llu records of the survivor; %llu times the lock was left\n",
                  (unsigned long long)number, (unsigned long long)busy);
    assert_true(number > 100);
    assert_int_equal(seen.n, number);
    assert_int_equal(seen.wrong, 0);
    ring_buffer__free(rb);
    ring_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stock_consumer),    cmocka_unit_test(header_at_the_very_end),
        cmocka_unit_test(limits_and_flags),  cmocka_unit_test(wakes_only_sleepers),
        cmocka_unit_test(sleeping_consumer), cmocka_unit_test(killed_producer),
        cmocka_unit_test(killed_anywhere),
    };

    alarm(60);
    libbpf_set_print(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
