/* SPDX-License-Identifier: MIT */
/*
 * The planner on every function of real programs nobody here compiled. Prints a table (as TAP comments) of
 * what could be had and what was refused, by name, and asserts what must hold of any binary: nearly every
 * entry can be hooked, every plan is sane, its displaced copy can be generated, and no two windows of a plan
 * meet.
 */
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "rewrite/module.h"
#include "rewrite/refusals.h"
#include "rewrite/trampoline.h"

struct tally {
    char name[64];
    u32 n;
};

static void count(struct tally *t, const char *name)
{
    for (u32 i = 0; i < 60; i++) {
        if (t[i].n && strcmp(t[i].name, name) != 0)
            continue;
        snprintf(t[i].name, sizeof(t[i].name), "%s", name);
        t[i].n++;
        return;
    }
}

static void check_plan(const struct tn_code_view *code, const struct tn_plan *plan)
{
    u64 bias = 0x555500000000, base = (plan->func_addr + bias + 0x10000000) & ~0xfffull;

    assert_true(plan->npatches > 0);
    for (u32 k = 0; k < plan->npatches; k++) {
        const struct tn_patch *p = &plan->patches[k];
        struct tn_displaced_out out;
        u8 bytes[TN_DISPLACED_MAX], patch[TN_PATCH_MAX];
        struct tn_error err = {0};

        if (p->len != TN_BREAK_LEN)
            assert_in_range(p->len, 5, TN_PATCH_MAX);
        assert_in_range(p->ninsns, 1, 16);
        assert_memory_equal(p->expected, code->bytes + (p->addr - code->addr), tn_patch_span(p));
        if (tn_displaced(p,
                         &(struct tn_copy_to){.at = base, .load_bias = bias, .hook_entry_ptr = base + 0x1000},
                         bytes, sizeof(bytes), &out, &err) < 0)
            fail_msg("displaced at %#llx: %s", (unsigned long long)p->addr, err.message);
        assert_int_equal(tn_patch_bytes(p, bias, out.enter, patch, &err), 0);
        assert_int_equal(patch[0], p->len == TN_BREAK_LEN ? 0xcc : 0xe9);
        for (u32 j = 0; j < k; j++)
            assert_true(p->addr + p->len <= plan->patches[j].addr ||
                        plan->patches[j].addr + plan->patches[j].len <= p->addr);
    }
}

/* Where no jump fits: by breakpoints, or why not even so. */
static u32 breaks(const struct tn_code_view *code, enum tn_place_kind place, u64 addr,
                  struct tally (*tally)[61], const char *reason)
{
    struct tn_error err = {0};
    struct tn_plan plan;

    if (!tn_break_serves(place, reason)) {
        count(*tally, reason);
        return 0;
    }
    if (tn_plan_break(code, place, addr, &plan, &err) < 0) {
        assert_true(err.reason[0]);
        count(*tally, err.reason);
        return 0;
    }
    count(*tally, plan.tactic);
    check_plan(code, &plan);
    tn_plan_clear(&plan);
    return 1;
}

/* System calls: how each can be hooked, or why not. */
static void calls(const struct tn_code_view *code, enum tn_place_kind place, struct tally (*tally)[61],
                  u32 *all, u32 *unknown, u32 *vforks)
{
    struct tn_patch *sites = NULL;
    u32 n = 0;

    assert_int_equal(tn_find_syscalls(code, place, NULL, &sites, &n), 0);
    for (u32 i = 0; i < n; i++) {
        struct tn_plan plan = {.patches = &sites[i], .npatches = 1, .tactic = ""};

        count(*tally, sites[i].refused ? tn_refusal_name(sites[i].refused) : "jump5");
        if (all) {
            (*all)++;
            *unknown += sites[i].nr == TN_NR_UNKNOWN;
            *vforks += !sites[i].refused && tn_wants(&tn_wanted_vforks, sites[i].nr);
        }
        if (!sites[i].refused)
            check_plan(code, &plan);
    }
    free(sites);
}

static void survey(const char *pattern, u32 entry_percent, u32 sites_wanted)
{
    struct tally entry[61] = {0}, leave[61] = {0}, call[2][61] = {0};
    struct tn_module *m = NULL;
    u32 all = 0, entries = 0, broken = 0, exits = 0, sites_found = 0, ncalls = 0, nunknown = 0;
    struct timespec t0, t1;
    glob_t g;
    int fd;

    if (glob(pattern, 0, NULL, &g) != 0) {
        print_message("# %s is not installed\n", pattern);
        skip();
    }
    fd = open(g.gl_pathv[0], O_RDONLY | O_CLOEXEC);
    print_message("# %s\n", g.gl_pathv[0]);
    globfree(&g);
    assert_true(fd >= 0);
    assert_int_equal(tn_module_open(fd, &m, NULL), 0);
    close(fd);
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (u32 s = 0; s < tn_module_ncode(m); s++) {
        const struct tn_code_view *code = tn_module_code_at(m, s);

        for (u32 i = 0; i < code->nfuncs; i++) {
            const struct tn_func *f = &code->funcs[i];
            struct tn_error err = {0};
            struct tn_plan plan;

            if (f->part || f->addr - code->addr >= code->len || !f->size)
                continue;
            all++;
            if (tn_plan(code, TN_PLACE_ENTRY, f->addr, &plan, &err) == 0) {
                entries++;
                count(entry, plan.tactic);
                check_plan(code, &plan);
                tn_plan_clear(&plan);
            } else {
                assert_true(err.reason[0]);
                broken += breaks(code, TN_PLACE_ENTRY, f->addr, &entry, err.reason);
            }
            err = (struct tn_error){0};
            if (tn_plan(code, TN_PLACE_EXIT, f->addr, &plan, &err) == 0) {
                bool beyond = false; /* if the process tells where a word leads */

                for (u32 k = 0; k < plan.npatches; k++)
                    beyond |= plan.patches[k].slot != 0;
                exits++;
                count(leave, beyond ? "tail_followed through words" : plan.tactic);
                check_plan(code, &plan);
                tn_plan_clear(&plan);
            } else {
                const char *why = strrchr(err.message, ':');
                char name[64];

                assert_true(err.reason[0]);
                snprintf(name, sizeof(name), "%s%.20s", err.reason,
                         strcmp(err.reason, "exit_by_tail_call") || !why ? "" : why);
                if (tn_break_serves(TN_PLACE_EXIT, err.reason))
                    breaks(code, TN_PLACE_EXIT, f->addr, &leave, err.reason);
                else
                    count(leave, name);
            }
        }
        calls(code, TN_PLACE_SYSENTER, call, &ncalls, &nunknown, &sites_found);
        calls(code, TN_PLACE_SYSEXIT, call + 1, NULL, NULL, NULL);
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    tn_module_free(m);
    print_message("#   %u functions, %.1f us a plan\n", all,
                  ((double)(t1.tv_sec - t0.tv_sec) * 1e6 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e3) /
                      (all * 2.0 + 1));
    for (u32 i = 0; entry[i].n; i++)
        print_message("#   entry %-26s %6u  %5.1f %%\n", entry[i].name, entry[i].n, 100.0 * entry[i].n / all);
    for (u32 i = 0; leave[i].n; i++)
        print_message("#   exit  %-26s %6u  %5.1f %%\n", leave[i].name, leave[i].n, 100.0 * leave[i].n / all);
    print_message("#   %u system calls, %u of them with a number that only a run tells\n", ncalls, nunknown);
    for (u32 k = 0; k < 2; k++)
        for (u32 i = 0; call[k][i].n; i++)
            print_message("#   %s %-24s %6u  %5.1f %%\n", k ? "sysexit " : "sysenter", call[k][i].name,
                          call[k][i].n, 100.0 * call[k][i].n / ncalls);
    assert_true(all > 0);
    assert_in_range(entries * 100 / all, entry_percent, 100);
    assert_in_range((entries + broken) * 1000 / all, 995, 1000);
    assert_true(exits > all / 3);
    assert_true(sites_found >= sites_wanted);
}

#define SURVEY(id, pattern, percent, sites)                                                                  \
    static void survey_##id(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        survey(pattern, percent, sites);                                                                     \
    }
SURVEY(nginx, "/usr/sbin/nginx", 95, 0)
SURVEY(redis, "/usr/bin/redis-server", 95, 0)
SURVEY(bash, "/bin/bash", 95, 0)
SURVEY(libc, "/lib/x86_64-linux-gnu/libc.so.6", 95, 3)
SURVEY(libssl, "/usr/lib/x86_64-linux-gnu/libssl.so.3", 95, 0)
SURVEY(crypto, "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 90, 0)
SURVEY(stdcxx, "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", 90, 0)
SURVEY(python, "/usr/bin/python3", 90, 0)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survey_nginx),  cmocka_unit_test(survey_redis),  cmocka_unit_test(survey_bash),
        cmocka_unit_test(survey_libc),   cmocka_unit_test(survey_libssl), cmocka_unit_test(survey_python),
        cmocka_unit_test(survey_crypto), cmocka_unit_test(survey_stdcxx),
    };

    return cmocka_run_group_tests_name("survey", tests, NULL, NULL);
}
