/* SPDX-License-Identifier: MIT */
/*
 * The walk of a host's stack, over frames of our making, and the maps that keep stacks: also when another writer has been
 * there. What Linux answers to the same questions in a live process is compared in tests/targets/ustack.py.
 */
#include "rt_test.h"

#include <pthread.h>
#include <stddef.h>

#include "rt/lock.h"

#define USER BPF_F_USER_STACK

/* A trampoline's frame, as far as the walk knows it. */
struct place {
    struct tn_pt_regs regs;
    struct tn_run run;
    struct tn_hook hook;
};
_Static_assert(offsetof(struct place, run) == sizeof(struct tn_pt_regs), "regs lie below the run");

static struct tn_proc proc;

static void place_at(struct place *p, u64 ip, u64 bp)
{
    *p = (struct place){.regs = {.ip = ip, .bp = bp}, .run = {.cpu = -1}};
    proc = (struct tn_proc){.ncpu = 1, .allowed_syscalls = ~0u, .tp_how = TN_TP_SELF};
    p->run.hook = &p->hook;
    p->run.proc = &proc;
}

static s64 get_stack(struct place *p, void *to, u64 size, u64 flags)
{
    return (s64)tn_helper_get_stack((u64)&p->regs, (u64)to, size, flags, 0, &p->run);
}

static s64 get_stackid(struct place *p, const struct tn_map *map, u64 flags)
{
    return (s64)tn_helper_get_stackid((u64)&p->regs, (u64)map, flags, 0, 0, &p->run);
}

struct frame {
    u64 next, ret;
};

static void frames_are_followed(void **state)
{
    struct frame frame[3] = {{(u64)&frame[1], 0x1001}, {(u64)&frame[2], 0x1002}, {0, 0x1003}};
    u64 to[8], top = 0x1000;
    struct place p;

    place_at(&p, 0xfff, (u64)frame);
    memset(to, 0xee, sizeof(to));
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), 4 * 8);
    assert_memory_equal(to, ((u64[]){0xfff, 0x1001, 0x1002, 0x1003, 0, 0, 0, 0}), sizeof(to));

    p.hook.bare = 1;
    p.regs.sp = (u64)&top;
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), 5 * 8);
    assert_memory_equal(to, ((u64[]){0xfff, 0x1000, 0x1001, 0x1002, 0x1003, 0, 0, 0}), sizeof(to));
    p.regs.sp = 8; /* not there: one frame less, as in Linux */
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), 4 * 8);
    p.regs.sp = (u64)&top;

    assert_int_equal(get_stack(&p, to, 16, USER | 2), 16);
    assert_memory_equal(to, ((u64[]){0x1001, 0x1002}), 16);
    assert_int_equal(get_stack(&p, (u8 *)to + 3, 16, USER), 16); /* to wherever it is */
    assert_memory_equal((u8 *)to + 3, ((u64[]){0xfff, 0x1000}), 16);
}

static void addresses_of_ours_are_left_out(void **state)
{
    static struct tn_own_code ours = {.count = 3,
                                      .range = {{0x2000, 0x3000}, {0x5000, 0x5001}, {0x8000, 0xa000}}};
    struct frame frame[8] = {{(u64)&frame[1], 0x1fff}, {(u64)&frame[2], 0x2000},
                             {(u64)&frame[3], 0x2fff}, {(u64)&frame[4], 0x3000},
                             {(u64)&frame[5], 0x5000}, {(u64)&frame[6], 0x5001},
                             {(u64)&frame[7], 0x9fff}, {0, 0xa000}};
    struct frame circle = {(u64)&circle, 0x2345};
    u64 to[8], left[] = {0xfff, 0x1fff, 0x3000, 0x5001, 0xa000};
    struct place p;

    place_at(&p, 0xfff, (u64)frame);
    proc.ours = (u64)&ours;
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), sizeof(left));
    assert_memory_equal(to, left, sizeof(left));
    assert_int_equal(get_stack(&p, to, 16, USER | 2), 16); /* nor do they count */
    assert_memory_equal(to, left + 2, 16);
    ours.changes = 1; /* whoever changes it has died meanwhile */
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), sizeof(left));
    ours.count = UINT64_MAX;
    assert_true(get_stack(&p, to, sizeof(to), USER) > 0);
    ours.count = 3;
    place_at(&p, 1, (u64)&circle); /* of nothing but ours: it ends */
    proc.ours = (u64)&ours;
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), 8);
}

static void answers_are_those_of_linux(void **state)
{
    struct frame frame = {0, 0x1001};
    struct tn_map map = test_map(BPF_MAP_TYPE_STACK_TRACE, 4, 1016, 8, 0, 0);
    const u8 zero[64] = {0};
    struct place p;
    u8 to[64];

    place_at(&p, 0xfff, (u64)&frame);
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 2), 0); /* as many as there are */
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 3), -EFAULT);
    assert_int_equal(get_stack(&p, to, 0, USER), 0);
    assert_int_equal(get_stack(&p, to, 12, USER), -EINVAL);
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 1 << 9), -EINVAL);
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 1ull << 40), -EINVAL);
    assert_int_equal(get_stack(&p, to, sizeof(to), BPF_F_USER_BUILD_ID), -EINVAL);
    memset(to, 0xee, sizeof(to));
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | BPF_F_USER_BUILD_ID), -EOPNOTSUPP);
    assert_memory_equal(to, zero, sizeof(to)); /* after a failure, too */
    assert_int_equal(get_stack(&p, to, sizeof(to), 0), 0);
    assert_int_equal(get_stack(&p, to, sizeof(to), 1), -EFAULT);

    assert_int_equal(get_stackid(&p, &map, 0), -EFAULT);
    assert_int_equal(get_stackid(&p, &map, USER | 2), -EFAULT);
    assert_int_equal(get_stackid(&p, &map, USER | BPF_F_USER_BUILD_ID), -EINVAL);
    assert_int_equal(get_stackid(&p, &map, USER | 1ull << 40), -EINVAL);
    assert_true(get_stackid(&p, &map, USER) >= 0);

    p.run.hook = NULL; /* a run without a target */
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), 0);
    assert_int_equal(get_stackid(&p, &map, USER), -EFAULT);
    test_map_free(&map);
}

static void hostile_frames_end_the_walk(void **state)
{
    u8 *page = mmap(NULL, 2 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct frame circle = {(u64)&circle, 7}, *last = (struct frame *)(page + TN_PAGE - sizeof(*last));
    u64 to[TN_STACK_MAX + 1], nowhere[] = {0,
                                           1,
                                           4095,
                                           4096,
                                           (u64)page + TN_PAGE - 8,
                                           (u64)page + TN_PAGE,
                                           1ull << 47,
                                           ~0ull,
                                           ~0ull - 7,
                                           0xffffffff81000000};
    struct place p;

    assert_int_equal(munmap(page + TN_PAGE, TN_PAGE), 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(nowhere); i++) {
        place_at(&p, 1, nowhere[i]);
        assert_int_equal(get_stack(&p, to, sizeof(to), USER), 8);
        *last = (struct frame){nowhere[i], 2};
        place_at(&p, 1, (u64)last);
        assert_int_equal(get_stack(&p, to, sizeof(to), USER), 16);
        assert_int_equal(to[1], 2);
    }
    place_at(&p, 1, (u64)&circle);
    assert_int_equal(get_stack(&p, to, sizeof(to), USER), TN_STACK_MAX * 8);
    assert_int_equal(to[TN_STACK_MAX - 1], 7);
    assert_int_equal(to[TN_STACK_MAX], 0);
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 126), 8); /* what is skipped counts */
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 127), 0);
    assert_int_equal(get_stack(&p, to, sizeof(to), USER | 128), -EFAULT);
    munmap(page, TN_PAGE);
}

/* ---------------------------------------------------------------------------------------------- the maps */

static s64 keep(const struct tn_map *map, u64 first, u32 count, u64 flags)
{
    struct tn_who who = tn_who(NULL);
    struct tn_stack stack = {.count = count};

    for (u32 i = 0; i < count; i++)
        stack.ip[i] = first + i;
    return tn_stack_keep(map, &stack, flags, &who);
}

static void a_stack_is_kept_once(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_STACK_TRACE, 4, 24, 100, 0, 0);
    u32 id = (u32)keep(&map, 5, 2, 0), next, none = 128;
    u64 value[3] = {9, 9, 9};

    assert_true(id < 128);
    assert_int_equal(keep(&map, 5, 2, 0), id);
    assert_int_equal(keep(&map, 5, 2, BPF_F_REUSE_STACKID), id);
    assert_int_equal(tn_map_user_lookup(&map, &id, value, 0), 0);
    assert_memory_equal(value, ((u64[]){5, 6, 0}), sizeof(value));
    assert_int_equal(tn_map_user_next_key(&map, NULL, &next), 0);
    assert_int_equal(next, id);
    assert_int_equal(tn_map_user_next_key(&map, &id, &next), -ENOENT);
    assert_int_equal(tn_map_user_update(&map, &id, value, 0), -EINVAL);
    assert_int_equal(tn_map_user_delete(&map, &none), -E2BIG);
    assert_int_equal(tn_map_user_lookup(&map, &none, value, 0), -ENOENT);
    assert_null(tn_map_lookup(&map, &id, -1));
    assert_int_equal(tn_map_user_delete(&map, &id), 0);
    assert_int_equal(tn_map_user_delete(&map, &id), -ENOENT);
    assert_sound(&map, 0);
    test_map_free(&map);
}

static void two_with_one_number(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_STACK_TRACE, 4, 32, 1, 0, 0);
    u64 value[4];
    u32 zero = 0;

    assert_int_equal(keep(&map, 5, 2, 0), 0);
    assert_int_equal(keep(&map, 5, 3, 0), -EEXIST); /* longer */
    assert_int_equal(keep(&map, 6, 2, 0), -EEXIST);
    assert_int_equal(keep(&map, 6, 2, BPF_F_FAST_STACK_CMP), -EEXIST); /* hashes differ, too */
    assert_int_equal(keep(&map, 6, 2, BPF_F_REUSE_STACKID), 0);
    assert_int_equal(tn_map_user_lookup(&map, &zero, value, 0), 0);
    assert_memory_equal(value, ((u64[]){6, 7, 0, 0}), sizeof(value));
    assert_int_equal(keep(&map, 5, 2, 0), -EEXIST);
    assert_sound(&map, 1);

    /* By the hash alone: another's stack under the same hash is taken for it. */
    struct tn_stack *there = (struct tn_stack *)(map.base + map.geo.value_off + 24);
    bool found = false;

    for (u32 i = 0; i < map.geo.nelems && !found; i++, there = (void *)((u8 *)there + map.geo.elem_stride))
        found = there->count == 2 && there->ip[0] == 6;
    assert_true(found);
    there = (void *)((u8 *)there - map.geo.elem_stride);
    there->ip[0] = 77;
    assert_int_equal(keep(&map, 6, 2, 0), -EEXIST);
    assert_int_equal(keep(&map, 6, 2, BPF_F_FAST_STACK_CMP), 0);
    test_map_free(&map);
}

static void full_is_exact(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_STACK_TRACE, 4, 8, 5, 0, 0);
    u32 kept = 0, full = 0, taken = 0, id = 0, last = 0;

    assert_int_equal(map.geo.nbuckets, 8);
    for (u64 ip = 1; ip < 1000; ip++) {
        s64 r = keep(&map, ip, 1, 0);

        kept += r >= 0;
        full += r == -ENOMEM;
        taken += r == -EEXIST;
        assert_true(r < 8 && (r >= 0 || r == -ENOMEM || r == -EEXIST));
    }
    assert_int_equal(kept, 5);
    assert_true(full && taken && kept + full + taken == 999);
    for (const u32 *prev = NULL; tn_map_user_next_key(&map, prev, &id) == 0; last = id, prev = &last, kept--)
        assert_true(!prev || id > last); /* in ascending order */
    assert_int_equal(kept, 0);
    assert_sound(&map, 5);
    test_map_free(&map);
}

static void *keeper(void *arg)
{
    const struct tn_map *map = arg;
    u64 wrong = 0, value[16];

    for (u64 n = 0; n < 20000; n++) {
        u64 first = n % 40 * 1000 + 1;
        s64 r = keep(map, first, 16, n % 7 ? 0 : BPF_F_REUSE_STACKID);
        u32 id = (u32)r;

        if (r >= 0 && n % 11 == 0)
            tn_map_user_delete(map, &id);
        else if (r >= 0 && tn_map_user_lookup(map, &id, value, 0) == 0)
            wrong += value[15] != value[0] + 15; /* another one, but a whole one */
        wrong += r < 0 && r != -EEXIST;
    }
    return (void *)wrong;
}

static void threads_find_whole_stacks(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_STACK_TRACE, 4, 128, 64, 0, 0);
    pthread_t thread[4];

    for (u32 i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, keeper, &map), 0);
    for (u32 i = 0; i < 4; i++) {
        void *wrong;

        pthread_join(thread[i], &wrong);
        assert_null(wrong);
    }
    assert_sound(&map, -1);
    test_map_free(&map);
}

/* Every count far too large: nothing is read or written beyond a value. */
static void counts_of_a_hostile_writer(void **state)
{
    struct tn_map map = test_map(BPF_MAP_TYPE_STACK_TRACE, 4, 64, 16, 0, 0);
    u8 *page = mmap(NULL, 2 * TN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u64 seed = 3;

    assert_int_equal(mprotect(page + TN_PAGE, TN_PAGE, PROT_NONE), 0);
    for (u32 round = 0; round < 200; round++) {
        for (u64 ip = 1; ip < 40; ip++)
            keep(&map, ip, 1 + ip % 8, ip % 4 ? 0 : BPF_F_REUSE_STACKID);
        for (u32 i = 0; i < map.geo.nelems; i++) {
            struct tn_stack *there =
                (struct tn_stack *)(map.base + map.geo.value_off + (u64)i * map.geo.elem_stride + 24);

            there->count = round % 2 ? UINT32_MAX : (u32)test_random(&seed);
        }
        for (u32 id = 0; id < 17; id++) {
            tn_map_user_lookup(&map, &id, page + TN_PAGE - 64, 0);
            keep(&map, id + 1, 3, BPF_F_FAST_STACK_CMP);
        }
    }
    munmap(page, 2 * TN_PAGE);
    test_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_followed),
        cmocka_unit_test(answers_are_those_of_linux),
        cmocka_unit_test(addresses_of_ours_are_left_out),
        cmocka_unit_test(hostile_frames_end_the_walk),
        cmocka_unit_test(a_stack_is_kept_once),
        cmocka_unit_test(two_with_one_number),
        cmocka_unit_test(full_is_exact),
        cmocka_unit_test(threads_find_whole_stacks),
        cmocka_unit_test(counts_of_a_hostile_writer),
    };

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
