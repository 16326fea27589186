/* SPDX-License-Identifier: MIT */
/*
 * Our maps against the kernel's own: the same attributes must be accepted or refused with the same errno, and
 * the same random operations must give the same answers and leave the same contents. Needs the right to use
 * bpf(2).
 */
#include "rt_test.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define STEPS 6000

static int kernel_create(u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 map_flags)
{
    union bpf_attr attr = {.map_type = type,
                           .key_size = key_size,
                           .value_size = value_size,
                           .max_entries = max_entries,
                           .map_flags = map_flags};
    int fd = (int)syscall(__NR_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));

    return fd < 0 ? -errno : fd;
}

static bool may_use_bpf(void)
{
    int fd = kernel_create(BPF_MAP_TYPE_HASH, 4, 4, 1, 0);

    if (fd < 0) {
        print_message("# skip: bpf(2) answers %s\n", strerror(-fd));
        return false;
    }
    close(fd);
    return true;
}

static void attributes(void **state)
{
    static const u32 types[] = {BPF_MAP_TYPE_HASH,         BPF_MAP_TYPE_ARRAY,       BPF_MAP_TYPE_PERCPU_HASH,
                                BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_STACK_TRACE, BPF_MAP_TYPE_RINGBUF};
    static const u32 keys[] = {0, 1, 4, 5, 8, 500};
    static const u32 values[] = {
        0, 1, 7, 8, 1016, 1024, 4096, 32768, 32769, (1u << 22) - 64, (1u << 22) - 49, 1u << 22, 1u << 31};
    static const u32 entries[] = {0, 1, 3, 4096, 4097, 8192, 12288};
    static const u32 flags[] = {0,
                                BPF_F_NO_PREALLOC,
                                BPF_F_NUMA_NODE,
                                BPF_F_RDONLY,
                                BPF_F_WRONLY,
                                BPF_F_RDONLY | BPF_F_WRONLY,
                                BPF_F_RDONLY_PROG,
                                BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG,
                                BPF_F_ZERO_SEED,
                                BPF_F_MMAPABLE,
                                BPF_F_NO_COMMON_LRU,
                                BPF_F_STACK_BUILD_ID,
                                BPF_F_INNER_MAP,
                                BPF_F_PRESERVE_ELEMS,
                                1u << 30};
    u32 ncpu = (u32)libbpf_num_possible_cpus(), compared = 0;

    if (!may_use_bpf())
        skip();
    for (u32 t = 0; t < TN_ARRAY_SIZE(types); t++)
        for (u32 k = 0; k < TN_ARRAY_SIZE(keys); k++)
            for (u32 v = 0; v < TN_ARRAY_SIZE(values); v++)
                for (u32 e = 0; e < TN_ARRAY_SIZE(entries); e++)
                    for (u32 f = 0; f < TN_ARRAY_SIZE(flags); f++) {
                        struct tn_map_geo geo;
                        /* all flags with few sizes, all sizes without flags:
                           and nothing that takes much memory */
                        bool plain = keys[k] == 4 && (values[v] == 8 || values[v] == 0);
                        int ours, theirs;

                        if ((f && !plain) || (u64)values[v] * entries[e] > (64u << 20))
                            continue;
                        theirs = kernel_create(types[t], keys[k], values[v], entries[e], flags[f]);
                        ours =
                            tn_map_geometry(types[t], keys[k], values[v], entries[e], flags[f], ncpu, &geo);
                        if (theirs >= 0) {
                            close(theirs);
                            theirs = 0;
                        }
                        if (ours != theirs)
                            fail_msg("type %u key %u value %u entries %u flags %#x: kernel %d, ours %d",
                                     types[t], keys[k], values[v], entries[e], flags[f], theirs, ours);
                        compared++;
                    }
    print_message("# %u sets of attributes compared\n", compared);
    assert_true(compared > 1000);
}

static void huge(void **state)
{
    struct tn_map_geo geo;

    if (!may_use_bpf())
        skip();
    assert_int_equal(kernel_create(BPF_MAP_TYPE_HASH, 4, 4, 1u << 31, 0), -E2BIG);
    assert_int_equal(tn_map_geometry(BPF_MAP_TYPE_HASH, 4, 4, 1u << 31, 0, 2, &geo), -E2BIG);
    assert_int_equal(tn_map_geometry(BPF_MAP_TYPE_HASH, 4, 4, UINT32_MAX, 0, 2, &geo), -E2BIG);
    assert_int_equal(tn_map_geometry(BPF_MAP_TYPE_ARRAY, 4, 1u << 30, UINT32_MAX, 0, 2, &geo), -ENOMEM);
    assert_int_equal(tn_map_geometry(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 32768, UINT32_MAX, 0, 2, &geo), -ENOMEM);
    assert_int_equal(tn_map_geometry(BPF_MAP_TYPE_LRU_HASH, 4, 4, 1, 0, 2, &geo), -EOPNOTSUPP);
}

struct pair {
    struct tn_map map;
    int fd;
    u32 keys; /* keys are below this */
    u64 value_bytes;
};

static void make_key(const struct pair *p, u32 n, u8 *ret_key)
{
    memset(ret_key, 0x5a, p->map.geo.key_size);
    memcpy(ret_key, &n, TN_MIN(p->map.geo.key_size, 4u));
}

static int err(int r)
{
    return r < 0 ? -errno : 0;
}

static u32 count_keys(const struct pair *p, bool kernel)
{
    u8 key[64], next[64], *prev = NULL;
    u32 n = 0;

    while (n <= p->map.geo.max_entries && (kernel ? err(bpf_map_get_next_key(p->fd, prev, next))
                                                  : tn_map_user_next_key(&p->map, prev, next)) == 0) {
        memcpy(key, next, sizeof(key));
        prev = key;
        n++;
    }
    return n;
}

static void compare_all(const struct pair *p)
{
    u8 key[64];
    u8 *ours = calloc(1, p->value_bytes), *theirs = calloc(1, p->value_bytes);

    for (u32 n = 0; n < p->keys; n++) {
        int a, b;

        make_key(p, n, key);
        memset(ours, 0, p->value_bytes);
        memset(theirs, 0, p->value_bytes);
        a = tn_map_user_lookup(&p->map, key, ours, 0);
        b = err(bpf_map_lookup_elem_flags(p->fd, key, theirs, 0));
        assert_int_equal(a, b);
        if (!a)
            assert_memory_equal(ours, theirs, p->value_bytes);
    }
    assert_int_equal(count_keys(p, false), count_keys(p, true));
    free(ours);
    free(theirs);
}

static void one_step(const struct pair *p, u64 *seed)
{
    u64 r = test_random(seed);
    u32 what = r % 100, n = (u32)(r >> 32) % p->keys;
    u64 flags = (r >> 16) % 8 < 5 ? 0 : (r >> 16) % 8 - 4; /* any, noexist, exist, unknown 3 */
    u8 key[64], next_a[64] = {0}, next_b[64] = {0};
    u8 *value = calloc(2, p->value_bytes);
    int a, b;

    make_key(p, n, key);
    for (u64 i = 0; i < p->value_bytes; i += 8) {
        u64 word = test_random(seed);

        memcpy(value + i, &word, TN_MIN(8, p->value_bytes - i));
    }
    if (what < 55) {
        if ((r >> 24) % 64 == 0)
            flags = BPF_F_LOCK;
        a = tn_map_user_update(&p->map, key, value, flags);
        b = err(bpf_map_update_elem(p->fd, key, value, flags));
    } else if (what < 80) {
        a = tn_map_user_delete(&p->map, key);
        b = err(bpf_map_delete_elem(p->fd, key));
    } else if (what < 95) {
        flags = (r >> 24) % 8 == 0 ? 1 + (r >> 28) % 4 : 0;
        a = tn_map_user_lookup(&p->map, key, value, flags);
        b = err(bpf_map_lookup_elem_flags(p->fd, key, value + p->value_bytes, flags));
        if (!a && !b)
            assert_memory_equal(value, value + p->value_bytes, p->value_bytes);
    } else if (p->map.geo.nbuckets) {
        a = b = 0; /* the order of a hash is its own; compare_all walks it whole */
    } else {
        a = tn_map_user_next_key(&p->map, key, next_a);
        b = err(bpf_map_get_next_key(p->fd, key, next_b));
        assert_memory_equal(next_a, next_b, 4);
    }
    if (a != b)
        fail_msg("type %u, step %u of key %u with flags %#lx: kernel %d, ours %d", p->map.geo.type, what, n,
                 flags, b, a);
    free(value);
}

static void operations_of(u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 map_flags, u32 keys)
{
    struct pair p = {.keys = keys};
    u64 seed = type * 1000003u + value_size;

    p.fd = kernel_create(type, key_size, value_size, max_entries, map_flags);
    assert_true(p.fd >= 0);
    p.map = test_map(type, key_size, value_size, max_entries, map_flags, (u32)libbpf_num_possible_cpus());
    p.value_bytes = tn_map_user_value_size(&p.map.geo);
    for (u32 i = 0; i < STEPS; i++) {
        one_step(&p, &seed);
        if (i % 1000 == 999)
            compare_all(&p);
    }
    close(p.fd);
    test_map_free(&p.map);
}

static void operations(void **state)
{
    static const u32 sizes[][2] = {{4, 8}, {4, 1}, {4, 20}, {1, 8}, {7, 3}, {8, 8}, {16, 100}, {33, 64}};

    if (!may_use_bpf())
        skip();
    for (u32 i = 0; i < TN_ARRAY_SIZE(sizes); i++) {
        operations_of(BPF_MAP_TYPE_HASH, sizes[i][0], sizes[i][1], 50, i % 2 ? BPF_F_NO_PREALLOC : 0, 70);
        operations_of(BPF_MAP_TYPE_PERCPU_HASH, sizes[i][0], sizes[i][1], 50, i % 2 ? BPF_F_NO_PREALLOC : 0,
                      70);
    }
    operations_of(BPF_MAP_TYPE_HASH, 4, 8, 1, 0, 3);
    for (u32 i = 0; i < 3; i++) {
        operations_of(BPF_MAP_TYPE_ARRAY, 4, sizes[i][1], 50, i ? BPF_F_MMAPABLE : 0, 60);
        operations_of(BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizes[i][1], 50, 0, 60);
    }
    operations_of(BPF_MAP_TYPE_STACK_TRACE, 4, 64, 50, 0, 70); /* which only programs fill */
}

/* A ring buffer has no elements; a read-only or write-only map refuses half; an array mapped by a tool lies
 * as there. */
static void refusals_and_layout(void **state)
{
    u8 key[8] = {0}, value[64] = {0};
    u64 *theirs;
    int fd;

    if (!may_use_bpf())
        skip();
    struct tn_map ring = test_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, 0);

    fd = kernel_create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
    assert_int_equal(err(bpf_map_lookup_elem(fd, key, value)), tn_map_user_lookup(&ring, key, value, 0));
    assert_int_equal(err(bpf_map_update_elem(fd, key, value, 0)), tn_map_user_update(&ring, key, value, 0));
    assert_int_equal(err(bpf_map_delete_elem(fd, key)), tn_map_user_delete(&ring, key));
    assert_int_equal(err(bpf_map_get_next_key(fd, NULL, key)), tn_map_user_next_key(&ring, NULL, key));
    assert_int_equal(err(bpf_map_lookup_elem(fd, NULL, value)), tn_map_user_lookup(&ring, NULL, value, 0));
    assert_int_equal(err(bpf_map_update_elem(fd, NULL, value, 0)), tn_map_user_update(&ring, NULL, value, 0));
    assert_int_equal(err(bpf_map_delete_elem(fd, NULL)), tn_map_user_delete(&ring, NULL));
    close(fd);
    test_map_free(&ring);

    for (u32 flag = BPF_F_RDONLY; flag <= BPF_F_WRONLY; flag <<= 1) {
        struct tn_map map = test_map(BPF_MAP_TYPE_HASH, 4, 8, 4, flag, 0);

        fd = kernel_create(BPF_MAP_TYPE_HASH, 4, 8, 4, flag);
        assert_int_equal(err(bpf_map_lookup_elem(fd, key, value)), tn_map_user_lookup(&map, key, value, 0));
        assert_int_equal(err(bpf_map_update_elem(fd, key, value, 0)),
                         tn_map_user_update(&map, key, value, 0));
        assert_int_equal(err(bpf_map_get_next_key(fd, NULL, key)), tn_map_user_next_key(&map, NULL, key));
        close(fd);
        test_map_free(&map);
    }

    struct tn_map map = test_map(BPF_MAP_TYPE_ARRAY, 4, 12, 300, BPF_F_MMAPABLE, 0);

    fd = kernel_create(BPF_MAP_TYPE_ARRAY, 4, 12, 300, BPF_F_MMAPABLE);
    for (u32 i = 0; i < 300; i++) {
        memset(value, (int)i, sizeof(value));
        assert_int_equal(bpf_map_update_elem(fd, &i, value, 0), 0);
        assert_int_equal(tn_map_user_update(&map, &i, value, 0), 0);
    }
    theirs = mmap(NULL, map.geo.mmap_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(theirs, MAP_FAILED);
    for (u32 i = 0; i < 300; i++)
        assert_memory_equal((u8 *)theirs + i * 16, map.base + i * 16, 12);
    munmap(theirs, map.geo.mmap_size);
    close(fd);
    test_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes),
        cmocka_unit_test(huge),
        cmocka_unit_test(operations),
        cmocka_unit_test(refusals_and_layout),
    };

    libbpf_set_print(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
