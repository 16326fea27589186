/* SPDX-License-Identifier: MIT */
/*
 * Planning many places of one module gives, place by place, what planning each by itself gives: the same bytes, or the
 * same refusal in the same words; whatever was planned before.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rewrite/module.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_libm), cmocka_unit_test(test_itself)};

    return cmocka_run_group_tests_name("rewrite/planner", tests, NULL, NULL);
}
