/* SPDX-License-Identifier: MIT */
/* Live attach and detach on a running process: counts are exact, nothing is left, nobody is disturbed. */
#include "rig.h"

#include <signal.h>
#include <sys/wait.h>

static void attach_ok(struct rig *r, const struct tn_attach_spec *s, struct tn_attach_result *res)
{
    if (attach(r, s, res) < 0)
        fail_msg("attach: %s: %s", res->why.reason, res->why.message);
}

static void detach_ok(struct rig *r, pid_t pid, u32 link)
{
    struct tn_attach_result res;

    if (detach(r, pid, link, &res) < 0)
        fail_msg("detach: %s: %s", res.why.reason, res.why.message);
}

static void test_counts(void **state)
{
    struct tn_attach_spec s;
    struct tn_attach_result res;
    struct counter c;
    struct victim v;
    struct rig r;
    u8 before[16], during[16], after[16];
    u64 fds;

    rig_open(&r);
    counter_make(&c, 1, 0);
    victim_start(&v, 4, 0, "idle", NULL);
    read_code(&v, before);
    fds = count_fds(v.pid);
    spec_for(&s, &v, &c, 1, 5);
    attach_ok(&r, &s, &res);
    assert_string_equal(res.symbol, "hot");
    assert_int_equal(res.symbol_offset, 0);
    read_code(&v, during);
    assert_int_equal(during[0], 0xe9);
    assert_int_equal(count_fds(v.pid), fds);
    victim_calls(&v, 4, 1000);
    assert_int_equal(c.words[0], 4000);
    r.gates[5] = 0;
    victim_calls(&v, 4, 1000);
    assert_int_equal(c.words[0], 4000);
    detach_ok(&r, v.pid, 5);
    read_code(&v, after);
    assert_memory_equal(before, after, 16);
    victim_calls(&v, 4, 1000);
    assert_int_equal(c.words[0], 4000);
    assert_int_equal(v.sh->calls, 12000);
    assert_int_equal(v.sh->wrong, 0);
    assert_true(victim_alive(&v));
    victim_stop(&v);
    counter_drop(&c);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
    };

    return cmocka_run_group_tests_name("inject/live", tests, NULL, NULL);
}
