/* SPDX-License-Identifier: MIT */
/* What the tests of maps and helpers share: a map in memory of its own,
   and random numbers that can be repeated. */
#ifndef TN_RT_TEST_H
#define TN_RT_TEST_H

#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "rt/helper/helpers.h"
#include "rt/map/map.h"

#define TEST_NCPU 3u /* not a power of two, not this machine's */

/* Shared between this process and its children. ncpu 0: TEST_NCPU. */
static inline struct tn_map test_map(u32 type, u32 key_size, u32 value_size, u32 max_entries, u32 map_flags,
                                     u32 ncpu)
{
    struct tn_map map = {.id = 1};
    int r = tn_map_geometry(type, key_size, value_size, max_entries, map_flags, ncpu ? ncpu : TEST_NCPU,
                            &map.geo);

    assert_int_equal(r, 0);
    map.base = mmap(NULL, map.geo.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(map.base, MAP_FAILED);
    assert_int_equal(tn_map_init(&map), 0);
    return map;
}

static inline void test_map_free(struct tn_map *map)
{
    munmap(map->base, map->geo.size);
    map->base = NULL;
}

static inline u64 test_random(u64 *state)
{
    u64 x = *state += 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Nothing lost, nothing twice, nothing held. `live` −1: any number. */
static inline void assert_sound(const struct tn_map *map, s64 live)
{
    struct tn_map_census c;

    assert_int_equal(tn_map_census(map, &c), 0);
    assert_int_equal(c.faults, 0);
    assert_int_equal(c.locked, 0);
    assert_int_equal(c.taken, 0);
    assert_int_equal(c.live, c.chained);
    assert_int_equal(c.live + c.free, map->geo.max_entries);
    assert_int_equal(c.spare, map->geo.nelems - map->geo.max_entries);
    if (live >= 0)
        assert_int_equal(c.live, live);
}

#endif
