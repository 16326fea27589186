/* SPDX-License-Identifier: MIT */
/* Maps through the door: every element command, errors as Linux's, bad pointers,
   freezing, identities, views. */
#include <sys/time.h>

#include "tests/broker/common.h"

static void elements_of_a_hash(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 2, 0);
    u32 key = 1, next = 0;
    u64 value = 10, out = 0;

    assert_true(fd >= 0);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &out, 0), -ENOENT);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_EXIST), -ENOENT);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_NOEXIST), 0);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_NOEXIST), -EEXIST);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, 77), -EINVAL);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &out, 0), 0);
    assert_int_equal(out, 10);
    key = 2;
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_ANY), 0);
    key = 3;
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_ANY), -E2BIG);
    assert_int_equal(elem(BPF_MAP_GET_NEXT_KEY, fd, NULL, &next, 0), 0);
    key = next;
    assert_int_equal(elem(BPF_MAP_GET_NEXT_KEY, fd, &key, &next, 0), 0);
    assert_int_equal(key + next, 3);
    assert_int_equal(elem(BPF_MAP_GET_NEXT_KEY, fd, &next, &key, 0), -ENOENT);
    assert_int_equal(elem(BPF_MAP_LOOKUP_AND_DELETE_ELEM, fd, &next, &out, 0), 0);
    assert_int_equal(elem(BPF_MAP_DELETE_ELEM, fd, &next, NULL, 0), -ENOENT);
    assert_int_equal(elem(BPF_MAP_DELETE_ELEM, fd, &(u32){3 - next}, NULL, 0), 0);
    assert_int_equal(elem(BPF_MAP_GET_NEXT_KEY, fd, NULL, &next, 0), -ENOENT);
    close(fd);
}

static void elements_of_an_array(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0);
    u32 key = 3;
    u64 value = 5, out = 0;

    assert_true(fd >= 0);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_ANY), 0);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &out, 0), 0);
    assert_int_equal(out, 5);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_NOEXIST), -EEXIST);
    assert_int_equal(elem(BPF_MAP_DELETE_ELEM, fd, &key, NULL, 0), -EINVAL);
    key = 4;
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &out, 0), -ENOENT);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, BPF_ANY), -E2BIG);
    close(fd);
}

static void per_cpu_values_of_all_cpus(void **state)
{
    u64 values[512], out[512] = {0};
    int fd = map_create(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 4, 0);
    long ncpu = sysconf(_SC_NPROCESSORS_CONF);
    u32 key = 9;

    assert_true(fd >= 0 && ncpu < 512);
    for (u32 i = 0; i < 512; i++)
        values[i] = 100 + i;
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, values, BPF_ANY), 0);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, out, 0), 0);
    assert_memory_equal(out, values, (size_t)ncpu * 8);
    close(fd);
}

static void bad_pointers_are_efault(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_HASH, 4, 8, 2, 0);
    u32 key = 1;
    u64 value = 1;
    union bpf_attr attr = {.info = {.bpf_fd = (u32)fd, .info_len = sizeof(struct bpf_map_info), .info = 8}};

    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, (void *)16, &value, 0), -EFAULT);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, (void *)~0ull, 0), -EFAULT);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, 0), 0);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, NULL, 0), -EFAULT);
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), -EFAULT);
    assert_int_equal(syscall(SYS_bpf, BPF_MAP_CREATE, (void *)4096, sizeof(attr)), -1);
    assert_int_equal(errno, EFAULT);
    close(fd);
}

static void attributes_are_checked(void **state)
{
    u8 big[8192] = {0};
    union bpf_attr *attr = (union bpf_attr *)big;

    attr->map_type = BPF_MAP_TYPE_ARRAY;
    attr->key_size = attr->value_size = 4;
    attr->max_entries = 1;
    assert_int_equal(bpf(BPF_MAP_CREATE, attr, 5000), -E2BIG);
    big[3000] = 1;
    assert_int_equal(bpf(BPF_MAP_CREATE, attr, 4096), -E2BIG);
    big[3000] = 0;
    big[sizeof(*attr) - 1] = 1;
    assert_int_equal(bpf(BPF_MAP_CREATE, attr, sizeof(*attr)), -EINVAL);
    big[sizeof(*attr) - 1] = 0;
    /* What lies past the size is the caller's own business. */
    big[40] = 0xff;

    int fd = (int)bpf(BPF_MAP_CREATE, attr, 20);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(bpf(4711, attr, 16), -EINVAL);
    assert_string_equal(last_reason(), "command_missing");
    assert_int_equal(map_create(BPF_MAP_TYPE_ARRAY, 8, 4, 1, 0), -EINVAL);
    assert_int_equal(map_create(BPF_MAP_TYPE_HASH, 4, 4, 0, 0), -EINVAL);
    assert_int_equal(map_create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4095, 0), -EINVAL);
    assert_int_equal(map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY), -EINVAL);

    union bpf_attr named = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

    memcpy(named.map_name, "a b", 3);
    assert_int_equal(bpf(BPF_MAP_CREATE, &named, sizeof(named)), -EINVAL);
    memset(named.map_name, 'x', sizeof(named.map_name));
    assert_int_equal(bpf(BPF_MAP_CREATE, &named, sizeof(named)), -EINVAL);
}

static void missing_types_are_named(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_LPM_TRIE, 9999};

    for (u32 i = 0; i < TN_ARRAY_SIZE(types); i++) {
        assert_int_equal(map_create(types[i], 4, 4, 4, 0), -EINVAL);
        assert_string_equal(last_reason(), "map_type_missing");
    }
}

static void descriptors_of_others_are_no_maps(void **state)
{
    int pipes[2], file = open("/proc/self/exe", O_RDONLY), memfd = memfd_create("x", 0);
    u32 key = 0;
    u64 out;

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, pipes[0], &key, &out, 0), -EINVAL);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, file, &key, &out, 0), -EINVAL);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, memfd, &key, &out, 0), -EINVAL);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, -1, &key, &out, 0), -EBADF);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, 9999, &key, &out, 0), -EBADF);
    close(pipes[0]);
    close(pipes[1]);
    close(file);
    close(memfd);
}

static void a_number_that_means_another_map(void **state)
{
    u8 out[64];
    u32 key = 0;

    for (int round = 0; round < 200; round++) {
        u32 size = round % 2 ? 8 : 32;
        u8 value[32];
        int fd = map_create(round % 3 ? BPF_MAP_TYPE_ARRAY : BPF_MAP_TYPE_HASH, 4, size, 3, 0);

        assert_true(fd >= 0);
        memset(value, round, sizeof(value));
        memset(out, 0xee, sizeof(out));
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, value, 0), 0);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, out, 0), 0);
        assert_memory_equal(out, value, size);
        assert_int_equal(out[size], 0xee);
        close(fd);
    }
    assert_soon(status().maps == 0);
}

static void frozen(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
    int plain = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
    union bpf_attr attr = {.map_fd = (u32)fd};
    u32 key = 0;
    u64 value = 6, out = 0;

    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, 0), 0);
    assert_int_equal(bpf(BPF_MAP_FREEZE, &attr, sizeof(attr)), 0);
    assert_int_equal(bpf(BPF_MAP_FREEZE, &attr, sizeof(attr)), -EBUSY);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, 0), -EPERM);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &out, 0), 0);
    assert_int_equal(out, 6);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);

    u64 *mem = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(mem, MAP_FAILED);
    assert_int_equal(*mem, 6);
    munmap(mem, 4096);

    attr.map_fd = (u32)plain;
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, plain, &key, &value, 0), 0);
    assert_int_equal(bpf(BPF_MAP_FREEZE, &attr, sizeof(attr)), 0);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, plain, &key, &value, 0), -EPERM);
    assert_int_equal(elem(BPF_MAP_DELETE_ELEM, plain, &key, NULL, 0), -EPERM);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, plain, &key, &out, 0), 0);
    close(fd);
    close(plain);
}

static void mapped_memory_is_the_map(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE);
    u64 *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), out = 0;
    u32 key = 2;

    assert_ptr_not_equal(mem, MAP_FAILED);
    mem[2] = 99;
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &out, 0), 0);
    assert_int_equal(out, 99);
    out = 7;
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &out, 0), 0);
    assert_int_equal(mem[2], 7);
    /* Nobody may pull the memory from under a target. */
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 1 << 20), -1);
    munmap(mem, 4096);
    close(fd);
}

static void identities(void **state)
{
    int a, b, again;
    struct bpf_map_info info = {0};
    union bpf_attr attr = {0};
    u32 first, second;

    assert_soon(status().maps == 0);
    a = map_create(BPF_MAP_TYPE_ARRAY, 4, 12, 3, 0);
    b = map_create(BPF_MAP_TYPE_HASH, 8, 4, 5, BPF_F_NO_PREALLOC);
    assert_int_equal(bpf(BPF_MAP_GET_NEXT_ID, &attr, sizeof(attr)), 0);
    first = attr.start_id = attr.next_id;
    assert_int_equal(bpf(BPF_MAP_GET_NEXT_ID, &attr, sizeof(attr)), 0);
    second = attr.start_id = attr.next_id;
    assert_true(second > first);
    assert_int_equal(bpf(BPF_MAP_GET_NEXT_ID, &attr, sizeof(attr)), -ENOENT);

    memset(&attr, 0, sizeof(attr));
    attr.map_id = second;
    again = (int)bpf(BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
    assert_true(again >= 0);
    assert_true(fcntl(again, F_GETFD) & FD_CLOEXEC);
    close(b);
    attr = (union bpf_attr){.info = {.bpf_fd = (u32)again, .info_len = sizeof(info), .info = (u64)&info}};
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(info.id, second);
    assert_int_equal(info.type, BPF_MAP_TYPE_HASH);
    assert_int_equal(info.key_size, 8);
    assert_int_equal(info.max_entries, 5);
    assert_int_equal(info.map_flags, BPF_F_NO_PREALLOC);
    close(again);
    assert_soon(status().maps == 1);

    memset(&attr, 0, sizeof(attr));
    attr.map_id = second;
    assert_int_equal(bpf(BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr)), -ENOENT);
    /* A descriptor for reading only. */
    attr.map_id = first;
    attr.open_flags = BPF_F_RDONLY;
    again = (int)bpf(BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
    assert_true(again >= 0);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, again, &(u32){0}, &(u64[2]){1}, 0), -EPERM);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, again, &(u32){0}, &(u64[2]){1}, 0), 0);
    close(again);
    close(a);
}

static void info_of_other_lengths(void **state)
{
    int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0);
    u8 big[256] = {0};
    union bpf_attr attr = {.info = {.bpf_fd = (u32)fd, .info_len = 8, .info = (u64)big}};

    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(attr.info.info_len, 8);
    assert_int_equal(big[8], 0);
    attr.info.info_len = sizeof(big);
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(attr.info.info_len, sizeof(struct bpf_map_info));
    big[200] = 1;
    attr.info.info_len = sizeof(big);
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), -E2BIG);
    close(fd);
}

/* The last bytes before memory that is not there, and the first behind it; memory that may only be read. */
static void at_the_edge_of_memory(void **state)
{
    static const u32 sizes[] = {1, 3, 4, 8, 24, 5000, 70000};
    u8 *mem = mmap(NULL, 5 << 15, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *end;
    u32 key = 0;

    assert_ptr_not_equal(mem, MAP_FAILED);
    end = mem + (1 << 17);
    assert_int_equal(munmap(end, 1 << 15), 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(sizes); i++) {
        int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, sizes[i], 1, 0);
        u8 *value = end - sizes[i];

        assert_true(fd >= 0);
        memset(mem, 0x5a, 1 << 17);
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, value, 0), 0);
        memset(value, 0, sizes[i]);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, value, 0), 0);
        for (u32 b = 0; b < sizes[i]; b++)
            assert_int_equal(value[b], 0x5a);
        assert_int_equal(value[-1], 0x5a);
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, value + 1, 0), -EFAULT);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, value + 1, 0), -EFAULT);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, end - 3, value, 0), -EFAULT);
        assert_int_equal(mprotect(mem, 1 << 17, PROT_READ), 0);
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, value, 0), 0);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, value, 0), -EFAULT);
        assert_int_equal(mprotect(mem, 1 << 17, PROT_READ | PROT_WRITE), 0);
        close(fd);
    }
    munmap(mem, 1 << 17);
}

/* What a descriptor allows is its own: another one of the same map, first or later, changes nothing. */
static void descriptors_of_one_map_differ(void **state)
{
    static const u32 flags[] = {0, BPF_F_MMAPABLE};

    for (u32 i = 0; i < TN_ARRAY_SIZE(flags); i++) {
        int all = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, flags[i]), reader;
        struct bpf_map_info info = {0};
        union bpf_attr attr = {.info = {.bpf_fd = (u32)all, .info_len = sizeof(info), .info = (u64)&info}};
        u32 key = 0;
        u64 value = 3;

        assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
        attr = (union bpf_attr){.map_id = info.id, .open_flags = BPF_F_RDONLY};
        reader = (int)bpf(BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
        assert_true(reader >= 0);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, reader, &key, &value, 0), 0);
        value = 3;
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, reader, &key, &value, 0), -EPERM);
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, all, &key, &value, 0), 0);
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, reader, &key, &value, 0), -EPERM);
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, reader, &key, &value, 0), 0);
        assert_int_equal(value, 3);
        close(reader);
        close(all);
    }
    assert_soon(status().maps == 0);
}

static int alarm_map;
static volatile long alarms, alarms_wrong;

static void on_alarm(int sig)
{
    int saved = errno, fd;
    u32 key = 1;
    u64 value = 0;

    /* From the view; and by a conversation with the broker. */
    if (elem(BPF_MAP_LOOKUP_ELEM, alarm_map, &key, &value, 0) || value != 77)
        alarms_wrong++;
    fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0);
    if (fd < 0)
        alarms_wrong++;
    else
        close(fd);
    alarms++;
    errno = saved;
}

/* A handler that uses maps while its thread is anywhere in the middle of doing so. */
static void from_a_signal_handler(void **state)
{
    struct itimerval timer = {.it_interval = {.tv_usec = 1500}, .it_value = {.tv_usec = 1500}}, off = {0};
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    u32 key = 1;
    u64 value = 77;

    alarm_map = map_create(BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, alarm_map, &key, &value, 0), 0);
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &timer, NULL);
    while (alarms < 200) {
        int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);

        assert_true(fd >= 0);
        key = 0;
        value = 9;
        assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, fd, &key, &value, 0), 0);
        value = 0;
        assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, fd, &key, &value, 0), 0);
        assert_int_equal(value, 9);
        close(fd);
    }
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(alarms_wrong, 0);
    close(alarm_map);
    assert_soon(status().maps == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_of_a_hash),
        cmocka_unit_test(elements_of_an_array),
        cmocka_unit_test(per_cpu_values_of_all_cpus),
        cmocka_unit_test(bad_pointers_are_efault),
        cmocka_unit_test(attributes_are_checked),
        cmocka_unit_test(missing_types_are_named),
        cmocka_unit_test(descriptors_of_others_are_no_maps),
        cmocka_unit_test(a_number_that_means_another_map),
        cmocka_unit_test(frozen),
        cmocka_unit_test(mapped_memory_is_the_map),
        cmocka_unit_test(identities),
        cmocka_unit_test(info_of_other_lengths),
        cmocka_unit_test(at_the_edge_of_memory),
        cmocka_unit_test(descriptors_of_one_map_differ),
        cmocka_unit_test(from_a_signal_handler),
    };

    return cmocka_run_group_tests_name("broker/maps", tests, start_open, finish);
}
