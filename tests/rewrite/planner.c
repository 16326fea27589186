/* SPDX-License-Identifier: MIT */
/*
 * Planning many places of one module gives, place by place, what planning each by itself gives: the same bytes, or the
 * same refusal in the same words; whatever was planned before.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/module.h"

#include "ways.h"

#define EVERY 5u /* function by itself: it is what takes long */

static void same_plans(const char *path)
{
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct tn_module *m = NULL;
    u32 compared = 0, refused = 0;

    assert_true(fd >= 0);
    assert_int_equal(tn_module_open(fd, &m, NULL), 0);
    for (u32 k = 0; k < tn_module_ncode(m); k++) {
        const struct tn_code_view *code = tn_module_code_at(m, k);
        struct tn_code_view alone = *code; /* which keeps nothing from one plan to the next */

        alone.aims = NULL;
        alone.known = NULL;
        alone.spare = NULL;
        assert_int_equal(tn_plan_many(code), 0);
        for (u32 i = 0; i < code->nfuncs; i++)
            for (enum tn_place_kind place = TN_PLACE_ENTRY; place <= TN_PLACE_EXIT; place++) {
                struct tn_error why[2] = {0};
                struct tn_plan plan[2] = {0};
                u64 addr = code->funcs[i].addr;
                int r = tn_plan(code, place, addr, &plan[0], &why[0]);

                if (i % EVERY == 0) {
                    assert_int_equal(tn_plan(&alone, place, addr, &plan[1], &why[1]), r);
                    assert_string_equal(why[0].reason, why[1].reason);
                    assert_string_equal(why[0].message, why[1].message);
                    assert_int_equal(plan[0].npatches, plan[1].npatches);
                    if (!r)
                        assert_string_equal(plan[0].tactic, plan[1].tactic);
                    for (u32 p = 0; p < plan[0].npatches; p++)
                        assert_memory_equal(&plan[0].patches[p], &plan[1].patches[p],
                                            sizeof(struct tn_patch));
                    compared++;
                    refused += r < 0;
                }
                tn_plan_clear(&plan[0]);
                tn_plan_clear(&plan[1]);
            }
    }
    print_message("# %s: %u places, %u of them refused\n", path, compared, refused);
    assert_true(compared > 10 && refused > 0 && refused < compared);
    tn_module_free(m);
}

static void test_libm(void **state)
{
    same_plans("/lib/x86_64-linux-gnu/libm.so.6");
}

static void test_itself(void **state)
{
    same_plans("/proc/self/exe");
}

/* So many threads can be started from now on. */
static int can_start = INT_MAX;
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg)
{
    return can_start-- > 0 ? __real_pthread_create(thread, attr, main, arg) : EAGAIN;
}

/* All of a library by `threads` threads, of which so many can be started: what each place has by itself. */
static void by_threads(u32 threads, int start, u32 want)
{
    static const enum tn_place_kind kinds[] = {TN_PLACE_ENTRY, TN_PLACE_EXIT, TN_PLACE_TAIL};
    _close_ int fd = open("/lib/x86_64-linux-gnu/libm.so.6", O_RDONLY | O_CLOEXEC);
    sigset_t before, after;
    struct tn_module *m = NULL;
    u32 most = 0;

    assert_true(fd >= 0);
    assert_int_equal(tn_module_open(fd, &m, NULL), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    for (u32 k = 0; k < tn_module_ncode(m); k++) {
        const struct tn_code_view *code = tn_module_code_at(m, k);
        struct tn_asked *asked = calloc(3 * code->nfuncs + 1, sizeof(*asked));
        u32 used = 0, n = 0;

        assert_non_null(asked);
        for (u32 i = 0; i < 3 * code->nfuncs; i++)
            asked[n++] = (struct tn_asked){.addr = code->funcs[i / 3].addr, .place = kinds[i % 3]};
        if (start) /* else those that look for jumps cannot be had either */
            assert_int_equal(tn_plan_many(code), 0);
        can_start = start;
        assert_int_equal(tn_plan_asked(code, asked, n, threads, &used), 0);
        can_start = INT_MAX;
        most = TN_MAX(most, used);
        for (u32 i = 0; i < n; i += EVERY)
            all_ways(code, asked[i].place, asked[i].addr, &asked[i]);
        tn_asked_clear(asked, n);
        free(asked);
    }
    assert_int_equal(most, want);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int sig = 1; sig < SIGRTMIN; sig++)
        assert_int_equal(sigismember(&before, sig), sigismember(&after, sig));
    tn_module_free(m);
}

static void test_threads(void **state)
{
    (void)state;
    by_threads(1, INT_MAX, 1);
    by_threads(2, INT_MAX, 2);
    by_threads(7, INT_MAX, 7);
}

/* Where no thread can be had, or fewer than wanted, the others do all of the work. */
static void test_no_threads(void **state)
{
    (void)state;
    by_threads(4, 0, 1);
    by_threads(4, 1, 2);
    by_threads(4, 2, 3);
}

/* Left to itself, it takes one where there are few places, or one processor, and never more than there are. */
static void test_how_many(void **state)
{
    _close_ int fd = open("/lib/x86_64-linux-gnu/libm.so.6", O_RDONLY | O_CLOEXEC);
    static struct tn_asked asked[4096];
    const struct tn_code_view *code;
    struct tn_module *m = NULL;
    cpu_set_t all, one;
    u32 used = 0;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(tn_module_open(fd, &m, NULL), 0);
    code = tn_module_code_at(m, 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(asked); i++)
        asked[i] = (struct tn_asked){.addr = code->funcs[i % code->nfuncs].addr};
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(tn_plan_asked(code, asked, 100, 0, &used), 0);
    assert_int_equal(used, 1);
    tn_asked_clear(asked, 100);
    assert_int_equal(tn_plan_asked(code, asked, TN_ARRAY_SIZE(asked), 0, &used), 0);
    assert_int_equal(used, TN_MIN(CPU_COUNT(&all), 16));
    tn_asked_clear(asked, TN_ARRAY_SIZE(asked));
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &all))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(tn_plan_asked(code, asked, TN_ARRAY_SIZE(asked), 0, &used), 0);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
    assert_int_equal(used, 1);
    tn_asked_clear(asked, TN_ARRAY_SIZE(asked));
    tn_module_free(m);
}

/* Calls whose function is not known: a constant a few instructions before, unless something computes, or comes from elsewhere. */
static void test_number_in_bytes(void **state)
{
    static const struct {
        const char *what, *bytes; /* as many nops before; the call is the last */
        s32 nr;
    } rows[] = {
        {"right before", "\xb8\x3e\x01\x00\x00\x0f\x05", 318},
        {"in its longer form", "\x48\xc7\xc0\x50\x01\x00\x00\x0f\x05", 336},
        {"moves of other registers between",
         "\xb8\x3e\x01\x00\x00\x48\x8d\x7b\x60\xbe\x20\x00\x00\x00\x31\xd2\x0f\x05", 318},
        {"the last of two", "\xb8\x01\x00\x00\x00\xb8\x02\x00\x00\x00\x90\x0f\x05", 2},
        {"a way out between", "\xb8\x3e\x01\x00\x00\x74\x10\x0f\x05", 318},
        {"rax is written", "\xb8\x3e\x01\x00\x00\x48\x01\xf8\x0f\x05", TN_NR_UNKNOWN},
        {"none", "\x89\xd0\x0f\x05", TN_NR_UNKNOWN},
        {"no number of Linux's", "\xb8\x00\x02\x00\x00\x90\x0f\x05", TN_NR_UNKNOWN},
        {"a call between", "\xb8\x3e\x01\x00\x00\xff\xd3\x0f\x05", TN_NR_UNKNOWN},
        {"behind a return", "\xb8\x3e\x01\x00\x00\xc3\x90\x0f\x05", TN_NR_UNKNOWN},
        {"a short jump behind the constant", "\xeb\x05\xb8\x3e\x01\x00\x00\x90\x0f\x05", TN_NR_UNKNOWN},
        {"a short jump to the constant", "\xeb\x00\xb8\x3e\x01\x00\x00\x90\x0f\x05", 318},
        {"a long jump to the call", "\xe9\x06\x00\x00\x00\xb8\x3e\x01\x00\x00\x90\x0f\x05", TN_NR_UNKNOWN},
        {"a long branch to the call", "\x0f\x84\x06\x00\x00\x00\xb8\x3e\x01\x00\x00\x90\x0f\x05",
         TN_NR_UNKNOWN},
        {"inside another instruction", "\x48\xb8\x00\x01\xb8\x3e\x01\x00\x00\x90\x0f\x05", TN_NR_UNKNOWN},
    };
    static const u32 before[] = {0, 1, 700};

    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++)
        for (u32 b = 0; b < TN_ARRAY_SIZE(before); b++) {
            u8 bytes[800];
            u32 n = 2;

            while (memcmp(rows[k].bytes + n - 2, "\x0f\x05", 2) != 0)
                n++;
            memset(bytes, 0x90, sizeof(bytes));
            memcpy(bytes + before[b], rows[k].bytes, n);
            if (tn_number_in_bytes(bytes, before[b] + n, before[b] + n - 2) != rows[k].nr)
                fail_msg("%s, behind %u bytes: %d", rows[k].what, before[b],
                         tn_number_in_bytes(bytes, before[b] + n, before[b] + n - 2));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libm),     cmocka_unit_test(test_itself),
        cmocka_unit_test(test_threads),  cmocka_unit_test(test_no_threads),
        cmocka_unit_test(test_how_many), cmocka_unit_test(test_number_in_bytes),
    };

    return cmocka_run_group_tests_name("rewrite/planner", tests, NULL, NULL);
}
