/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a ring buffer, as tools do it: epoll, poll, select on the map's own descriptor. The producer is
 * this process itself, by the code that targets run, on the memory that targets map.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>

#include "rt/map/map.h"
#include "tests/broker/common.h"

static struct tn_map ring;
static struct tn_proc proc;
static int ring_fd = -1;

static void make_ring(void)
{
    ring_fd = map_create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
    assert_true(ring_fd >= 0);
    assert_int_equal(
        tn_map_geometry(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, (u32)sysconf(_SC_NPROCESSORS_CONF), &ring.geo),
        0);
    ring.base = mmap(NULL, ring.geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    assert_ptr_not_equal(ring.base, MAP_FAILED);
    proc.allowed_syscalls = ~0u;
}

static void drop_ring(void)
{
    munmap(ring.base, ring.geo.size);
    close(ring_fd);
    assert_soon(status().maps == 0);
}

static int produce(u64 value)
{
    struct tn_run run = {.proc = &proc, .cpu = -1};

    return tn_ringbuf_output(&ring, &value, sizeof(value), 0, &run);
}

/* Reads everything that is there, as libbpf does: the length word, then the position. */
static int consume(void)
{
    u64 *consumer = (u64 *)(ring.base + TN_RB_CONSUMER), *producer = (u64 *)(ring.base + TN_RB_PRODUCER);
    u64 at = __atomic_load_n(consumer, __ATOMIC_ACQUIRE);
    int n = 0;

    while (at < __atomic_load_n(producer, __ATOMIC_ACQUIRE)) {
        u32 len = __atomic_load_n((u32 *)(ring.base + TN_RB_DATA + (at & 4095)), __ATOMIC_ACQUIRE);

        if (len & BPF_RINGBUF_BUSY_BIT)
            break;
        at += TN_ROUND_UP((len & ~BPF_RINGBUF_DISCARD_BIT) + 8, 8u);
        __atomic_store_n(consumer, at, __ATOMIC_RELEASE);
        n++;
    }
    return n;
}

static void epoll_wakes_and_idles(void **state)
{
    int ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0x1234}, got;

    make_ring();
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, ring_fd, &ev), 0);
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, ring_fd, &ev), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(epoll_wait(ep, &got, 1, 30), 0);
    for (u64 i = 0; i < 50; i++) {
        assert_int_equal(produce(i), 0);
        assert_int_equal(epoll_wait(ep, &got, 1, 3000), 1);
        assert_int_equal(got.data.u64, 0x1234);
        consume();
    }
    /* Whatever was told twice has been told by now. */
    while (epoll_wait(ep, &got, 1, 50) == 1)
        ;
    assert_int_equal(epoll_wait(ep, &got, 1, 30), 0);
    ev.data.u64 = 5;
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_MOD, ring_fd, &ev), 0);
    assert_int_equal(produce(1), 0);
    assert_int_equal(epoll_wait(ep, &got, 1, 3000), 1);
    assert_int_equal(got.data.u64, 5);
    consume();
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_DEL, ring_fd, NULL), 0);
    assert_int_equal(produce(1), 0);
    assert_int_equal(epoll_wait(ep, &got, 1, 50), 0);
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_DEL, ring_fd, NULL), -1);
    assert_int_equal(errno, ENOENT);
    close(ep);
    drop_ring();
}

static void what_was_there_before_is_told(void **state)
{
    int ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN}, got;

    make_ring();
    assert_int_equal(produce(1), 0);
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, ring_fd, &ev), 0);
    assert_int_equal(epoll_wait(ep, &got, 1, 1000), 1);
    close(ep);
    drop_ring();
}

#define RECORDS 20000

static void *producer(void *arg)
{
    for (u64 i = 0; i < RECORDS;)
        if (produce(i))
            usleep(100);
        else
            i++;
    return NULL;
}

/* No record may wait for a wake-up that was lost: each wait is far shorter than the test would take. */
static void no_wake_up_is_lost(void **state)
{
    int ep = epoll_create1(0), total = 0;
    struct epoll_event ev = {.events = EPOLLIN}, got;
    pthread_t thread;

    make_ring();
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, ring_fd, &ev), 0);
    assert_int_equal(pthread_create(&thread, NULL, producer, NULL), 0);
    while (total < RECORDS) {
        assert_int_equal(epoll_wait(ep, &got, 1, 5000), 1);
        total += consume();
    }
    pthread_join(thread, NULL);
    assert_int_equal(total, RECORDS);
    close(ep);
    drop_ring();
}

static void *later(void *arg)
{
    sleep_ms(50);
    produce(1);
    return NULL;
}

static void poll_and_select_wait(void **state)
{
    int pipes[2];
    struct pollfd fds[2];
    pthread_t thread;
    fd_set set;
    struct timeval soon = {.tv_usec = 50000}, long_enough = {.tv_sec = 5};

    make_ring();
    assert_int_equal(pipe(pipes), 0);
    fds[0] = (struct pollfd){ring_fd, POLLIN, 0};
    fds[1] = (struct pollfd){pipes[0], POLLIN, 0};
    assert_int_equal(poll(fds, 2, 50), 0);
    assert_int_equal(fds[0].revents, 0);

    pthread_create(&thread, NULL, later, NULL);
    assert_int_equal(poll(fds, 2, 5000), 1);
    assert_int_equal(fds[0].revents, POLLIN);
    assert_int_equal(fds[0].fd, ring_fd);
    pthread_join(thread, NULL);
    /* Level: it stays so until it is read. */
    assert_int_equal(poll(fds, 2, 0), 1);
    consume();
    assert_int_equal(poll(fds, 2, 20), 0);

    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_int_equal(poll(fds, 2, 5000), 1);
    assert_int_equal(fds[0].revents, 0);
    assert_int_equal(fds[1].revents, POLLIN);

    FD_ZERO(&set);
    FD_SET(ring_fd, &set);
    assert_int_equal(select(ring_fd + 1, &set, NULL, NULL, &soon), 0);
    assert_false(FD_ISSET(ring_fd, &set));
    FD_SET(ring_fd, &set);
    pthread_create(&thread, NULL, later, NULL);
    assert_int_equal(select(ring_fd + 1, &set, NULL, NULL, &long_enough), 1);
    assert_true(FD_ISSET(ring_fd, &set));
    pthread_join(thread, NULL);
    close(pipes[0]);
    close(pipes[1]);
    drop_ring();
}

/* More than one thread of the broker can wait for: each still wakes. */
static void many_rings_at_once(void **state)
{
    enum { COUNT = 300 };
    static int fds[COUNT];
    int ep = epoll_create1(0);
    struct tn_map one = {0};
    struct epoll_event ev = {.events = EPOLLIN};

    assert_int_equal(
        tn_map_geometry(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, (u32)sysconf(_SC_NPROCESSORS_CONF), &one.geo),
        0);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = map_create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
        assert_true(fds[i] >= 0);
        ev.data.u32 = (u32)i;
        assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev), 0);
    }
    sleep_ms(50);
    for (int i = 0; i < COUNT; i += 13) {
        struct tn_run run = {.proc = &proc, .cpu = -1};
        u64 value = 1, *positions;

        one.base = mmap(NULL, one.geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
        assert_ptr_not_equal(one.base, MAP_FAILED);
        assert_int_equal(tn_ringbuf_output(&one, &value, sizeof(value), 0, &run), 0);
        assert_int_equal(epoll_wait(ep, &ev, 1, 3000), 1);
        assert_int_equal(ev.data.u32, i);
        positions = (u64 *)one.base;
        __atomic_store_n(&positions[0], positions[TN_RB_PRODUCER / 8], __ATOMIC_SEQ_CST);
        /* Told again while it held something: that is over now. */
        while (epoll_wait(ep, &ev, 1, 20) == 1)
            ;
        munmap(one.base, one.geo.size);
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    close(ep);
    assert_soon(status().maps == 0);
}

static u64 cpu_of(u32 pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    f = fopen(path, "r");
    if (f && fgets(line, sizeof(line), f))
        sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system);
    if (f)
        fclose(f);
    return (user + system) * 1000 / (u64)sysconf(_SC_CLK_TCK);
}

/* A target that never leaves the word alone does not get a CPU of the broker's for it. */
static void a_word_that_never_rests(void **state)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int ep = epoll_create1(0);
    struct tn_rb_ctl *ctl;
    u32 pid = status().pid;
    struct timespec from, now;
    u64 before, ms;

    make_ring();
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, ring_fd, &ev), 0);
    ctl = (struct tn_rb_ctl *)(ring.base + ring.geo.ctl_off);
    before = cpu_of(pid);
    clock_gettime(CLOCK_MONOTONIC, &from);
    do {
        for (int i = 0; i < 1000; i++)
            __atomic_store_n(&ctl->wake, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &ctl->wake, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
        ms = (u64)(now.tv_sec - from.tv_sec) * 1000 + (u64)(now.tv_nsec / 1000000) -
             (u64)(from.tv_nsec / 1000000);
    } while (ms < 1000);
    print_message("broker: %llu ms of CPU in %llu ms\n", (unsigned long long)(cpu_of(pid) - before),
                  (unsigned long long)ms);
    assert_true(cpu_of(pid) - before < ms * 7 / 10);
    /* And it still wakes. */
    __atomic_store_n(&ctl->wake, 0, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &ctl->wake, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
    while (epoll_wait(ep, &ev, 1, 100) == 1)
        ;
    assert_int_equal(produce(1), 0);
    assert_int_equal(epoll_wait(ep, &ev, 1, 3000), 1);
    close(ep);
    drop_ring();
}

static void what_is_not_ours_stays_as_it_was(void **state)
{
    int ep = epoll_create1(0), file = open("/proc/self/exe", O_RDONLY), pipes[2],
        memfd = memfd_create("x", 0), n = 0;
    struct epoll_event ev = {.events = EPOLLIN}, got;
    struct pollfd p = {memfd, POLLIN, 0};
    struct perf_event_attr clock = {
        .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CPU_CLOCK, .size = sizeof(clock)};
    int perf;

    assert_int_equal(pipe(pipes), 0);
    errno = 0;
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, file, &ev), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, 9999, &ev), -1);
    assert_int_equal(errno, EBADF);
    errno = 77;
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &ev), 0);
    assert_int_equal(errno, 77);
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_int_equal(write(pipes[1], "xyz", 3), 3);
    assert_int_equal(epoll_wait(ep, &got, 1, 0), 1);
    assert_int_equal(ioctl(pipes[0], FIONREAD, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(ioctl(pipes[0], PERF_EVENT_IOC_ENABLE, 0), -1);
    assert_int_equal(errno, ENOTTY);
    assert_int_equal(syscall(SYS_getpid), getpid());
    assert_int_equal(syscall(SYS_close, 9999), -1);
    assert_int_equal(errno, EBADF);
    /* An event of the kernel's is the kernel's. */
    perf = (int)syscall(SYS_perf_event_open, &clock, 0, -1, -1, 0);
    if (perf >= 0) {
        assert_int_equal(ioctl(perf, PERF_EVENT_IOC_ENABLE, 0), 0);
        close(perf);
    }
    assert_null(fopen("/sys/bus/event_source/devices/uprobe/nothing", "r"));
    assert_int_equal(errno, ENOENT);
    close(ep);
    close(file);
    close(memfd);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epoll_wakes_and_idles),
        cmocka_unit_test(what_was_there_before_is_told),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(poll_and_select_wait),
        cmocka_unit_test(many_rings_at_once),
        cmocka_unit_test(a_word_that_never_rests),
        cmocka_unit_test(what_is_not_ours_stays_as_it_was),
    };

    return cmocka_run_group_tests_name("broker/waiting", tests, start_open, finish);
}
