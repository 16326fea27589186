/* SPDX-License-Identifier: MIT */
/*
 * A private broker for each test program: its socket in a fresh directory, its executable the one built here.
 * The test process is the tool: it has the door linked in and speaks raw bpf(2) through it.
 */
#ifndef TN_TESTS_BROKER_COMMON_H
#define TN_TESTS_BROKER_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "broker/broker.h"
#include "broker/ctl.h"
#include "broker/proto.h"
#include "door/preload/door.h"

static char test_dir[64], test_socket[96];

static inline int start(void **state)
{
    snprintf(test_dir, sizeof(test_dir), "/tmp/tenon-test-XXXXXX");
    if (!mkdtemp(test_dir))
        return -1;
    snprintf(test_socket, sizeof(test_socket), "%s/broker.sock", test_dir);
    setenv("TENON_SOCKET", test_socket, 1);
    setenv("TENON_EXE", TEST_BROKER, 1);
    setenv("TENON_LINGER_MS", "300", 1);
    return 0;
}

static inline void sleep_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

static inline int start_open(void **state)
{
    struct tn_error err = {0};

    if (start(state))
        return -1;
    if (tn_door_open(&err)) {
        print_error("%s: %s\n", err.reason, err.message);
        return -1;
    }
    return 0;
}

/* The broker leaves by itself when the test program ends; its files are taken away here. */
static inline int finish(void **state)
{
    char lock[128];

    tn_door_ctl(TN_CTL_SHUTDOWN, NULL, 0, NULL, NULL);
    for (int i = 0; i < 100 && !access(test_socket, F_OK); i++)
        sleep_ms(20);
    snprintf(lock, sizeof(lock), "%s.lock", test_socket);
    unlink(lock);
    unlink(test_socket);
    return rmdir(test_dir);
}

static inline long bpf(int command, union bpf_attr *attr, unsigned size)
{
    long r = syscall(SYS_bpf, command, attr, size);

    return r < 0 ? -errno : r;
}

/* The two that tests compare: the broker, and the kernel itself, past the door. */
static inline long door_bpf(int command, union bpf_attr *attr, unsigned size)
{
    return bpf(command, attr, size);
}

static inline long kernel_bpf(int command, union bpf_attr *attr, unsigned size)
{
    long r;

    /* Its verifier gives up where its caller is to be stopped, as when hands of ours look at this process: whoever loads asks
       again (libbpf does). */
    do
        __asm__ volatile("syscall"
                         : "=a"(r)
                         : "a"(SYS_bpf), "D"(command), "S"(attr), "d"(size)
                         : "rcx", "r11", "memory");
    while (r == -EAGAIN && command == BPF_PROG_LOAD);
    return r;
}

static inline int map_create(u32 type, u32 key, u32 value, u32 entries, u32 flags)
{
    union bpf_attr attr = {
        .map_type = type, .key_size = key, .value_size = value, .max_entries = entries, .map_flags = flags};

    return (int)bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static inline long elem(int command, int fd, const void *key, const void *value, u64 flags)
{
    union bpf_attr attr = {.map_fd = (u32)fd, .key = (u64)key, .value = (u64)value, .flags = flags};

    return bpf(command, &attr, sizeof(attr));
}

static inline struct tn_ctl_status status(void)
{
    struct tn_ctl_status st = {0};
    size_t len = sizeof(st);

    assert_int_equal(tn_door_ctl(TN_CTL_STATUS, NULL, 0, &st, &len), 0);
    assert_int_equal(len, sizeof(st));
    return st;
}

static inline const char *last_reason(void)
{
    static struct tn_ctl_error error;
    size_t len = sizeof(error);

    assert_int_equal(tn_door_ctl(TN_CTL_LAST_ERROR, NULL, 0, &error, &len), 0);
    return error.why.reason;
}

/* Last closes reach the broker on their own way: not at once, but soon. */
#define assert_soon(condition)                                                                               \
    do {                                                                                                     \
        int tries_ = 0;                                                                                      \
        while (!(condition) && tries_++ < 300)                                                               \
            sleep_ms(10);                                                                                    \
        assert_true(condition);                                                                              \
    } while (0)

#endif
