/* SPDX-License-Identifier: MIT */
/* What control groups leave: folders as the kernel shows them, made by hand. */
#include "inject/memcg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define K     1024ull
#define NONE  (~0ull)
#define V1MAX "9223372036854771712\n" /* how version 1 says "none" */

static char root[64];

static void put(const char *group, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s%s", root, group);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s%s/%s", root, group, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    snprintf(root, sizeof(root), "/tmp/tenon-memcg.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int take_down(void **state)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command);
}

static void test_version_2(void **state)
{
    assert_true(tn_memcg_left_in(root, "", true, 0) == NONE); /* the root has no files */
    put("/a", "memory.max", "max\n");
    put("/a", "memory.current", "4096\n");
    assert_true(tn_memcg_left_in(root, "/a", true, 0) == NONE);
    put("/a", "memory.max", "1048576\n");
    put("/a", "memory.current", "1044480\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", true, 0), 4 * K);
    put("/a", "memory.stat",
        "anon 1000\nfile 5000\ninactive_anon 9\ninactive_file 8192\nactive_file 16384\nzswap 3\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", true, 0), 28 * K);
    /* Swap, as far as it is allowed and there. */
    put("/a", "memory.swap.max", "max\n");
    put("/a", "memory.swap.current", "0\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", true, 100 * K), 128 * K);
    put("/a", "memory.swap.max", "20480\n");
    put("/a", "memory.swap.current", "16384\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", true, 100 * K), 32 * K);
    assert_int_equal(tn_memcg_left_in(root, "/a", true, 0), 28 * K);
    /* One above may leave less; and one that is over its limit leaves nothing. */
    put("/a/b", "memory.max", "max\n");
    put("/a/b", "memory.current", "0\n");
    assert_int_equal(tn_memcg_left_in(root, "/a/b", true, 0), 28 * K);
    put("/a/b", "memory.max", "4096\n");
    put("/a/b", "memory.current", "8192\n");
    assert_int_equal(tn_memcg_left_in(root, "/a/b", true, 0), 0);
    assert_int_equal(tn_memcg_left_in(root, "/a", true, 0), 28 * K);
}

static void test_version_1(void **state)
{
    put("", "memory.limit_in_bytes", V1MAX);
    put("", "memory.usage_in_bytes", "123\n");
    assert_true(tn_memcg_left_in(root, "", false, 0) == NONE);
    put("/a", "memory.limit_in_bytes", "1048576\n");
    put("/a", "memory.usage_in_bytes", "1044480\n");
    put("/a", "memory.stat", "cache 1\ninactive_file 1\ntotal_inactive_file 4096\ntotal_active_file 0\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", false, 0), 8 * K);
    assert_int_equal(tn_memcg_left_in(root, "/a", false, 100 * K), 108 * K);
    /* Memory and swap have a limit together. */
    put("/a", "memory.memsw.limit_in_bytes", V1MAX);
    put("/a", "memory.memsw.usage_in_bytes", "1044480\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", false, 100 * K), 108 * K);
    put("/a", "memory.memsw.limit_in_bytes", "1064960\n");
    assert_int_equal(tn_memcg_left_in(root, "/a", false, 100 * K), 24 * K);
}

static void test_what_cannot_be_read_is_no_limit(void **state)
{
    put("/a", "memory.max", "1048576\n");
    assert_true(tn_memcg_left_in(root, "/a", true, 0) == NONE); /* no use */
    put("/a", "memory.current", "lots\n");
    assert_true(tn_memcg_left_in(root, "/a", true, 0) == NONE);
    put("/a", "memory.current", "0\n");
    put("/a", "memory.max", "");
    assert_true(tn_memcg_left_in(root, "/a", true, 0) == NONE);
    put("/a", "memory.max", "99999999999999999999999999\n");
    assert_true(tn_memcg_left_in(root, "/a", true, 0) == NONE);
    assert_true(tn_memcg_left_in(root, "/not/there", true, 0) == NONE);
    assert_true(tn_memcg_left(getpid()) > 0);
    assert_true(tn_memcg_left(-1) == NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_version_2, set_up, take_down),
        cmocka_unit_test_setup_teardown(test_version_1, set_up, take_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read_is_no_limit, set_up, take_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
