/* SPDX-License-Identifier: MIT */
/*
 * The planner on every function of real programs nobody here compiled. Prints a table (as TAP comments) of
 * what could be had and what was refused, by name, and asserts what must hold of any binary: nearly every
 * entry can be hooked, every plan is sane, its displaced copy can be generated, and no two windows of a plan
 * meet. Punned jumps are placed in the address space of a process as Linux lays it out, all of them beside one another.
 */
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "inject/order.h"
#include "inject/stubs.h"
#include "rewrite/module.h"
#include "rewrite/refusals.h"
#include "rewrite/trampoline.h"
#include "x86/decode.h"

#include "ways.h"

struct tally {
    char name[48];
    u32 n;
};

static void count(struct tally *t, const char *name)
{
    for (u32 i = 0; i < 40; i++) {
        if (t[i].n && strcmp(t[i].name, name) != 0)
            continue;
        snprintf(t[i].name, sizeof(t[i].name), "%s", name);
        t[i].n++;
        return;
    }
}

/* A process that runs the module: a program, or a library in the middle of others. */
static const char names[] = "\0[heap]\0[stack]";
static struct tn_vma vmas[] = {
    {.start = 0x55a8c2b6f000, .end = 0x55a8c3600000},
    {.start = 0x55a8c4400000, .end = 0x55a8c4500000, .name = 1},
    {.start = 0x7f5a3b000000, .end = 0x7f5a3d000000},
    {.start = 0x7ffd1bb3e000, .end = 0x7ffd1bb5f000, .name = 8},
};
static struct tn_vma fixed_vmas[] = {
    {.start = 0x400000, .end = 0x1400000},
    {.start = 0x1c00000, .end = 0x1d00000, .name = 1},
    {.start = 0x7f5a3b000000, .end = 0x7f5a3d000000},
    {.start = 0x7ffd1bb3e000, .end = 0x7ffd1bb5f000, .name = 8},
};

struct place {
    const struct tn_code_view *code, *many; /* the same, with all of the code looked at once */
    const struct tn_asked *asked;           /* what several threads have found, of the next place */
    u64 bias;
    struct tn_stubs stubs;
};

static void check_copy(const struct place *at, const struct tn_patch *p, struct tn_displaced_out *out)
{
    u64 base = (p->addr + at->bias + 0x10000000) & ~0xfffull;
    struct tn_error err = {0};
    u8 bytes[TN_DISPLACED_MAX];

    if (tn_displaced(
            p,
            &(struct tn_copy_to){
                .at = base, .load_bias = at->bias, .hook_entry_ptr = base + 0x1000, .past = base + 64},
            bytes, sizeof(bytes), out, &err) < 0)
        fail_msg("displaced at %#llx: %s", (unsigned long long)p->addr, err.message);
}

/* One of a punned place's ways; false: there is no room. */
static bool check_pun(struct place *at, const struct tn_patch *p, bool fresh, const char **ret_tactic)
{
    struct tn_pun pun;

    assert_in_range(p->len, 1, 16);
    assert_memory_equal(p->expected, at->code->bytes + (p->addr - at->code->addr), p->len + p->behind);
    if (tn_stubs_pun(&at->stubs, p, at->bias, fresh, &pun) < 0)
        return false;
    assert_true(pun.depends <= p->behind);
    assert_int_equal(pun.njumps, p->ninsns);
    for (u32 k = 0; k < pun.njumps; k++)
        assert_int_equal(tn_pun_target(pun.bytes + p->insn_off[k], p->len + pun.depends - p->insn_off[k],
                                       p->addr + at->bias + p->insn_off[k]),
                         pun.stub[k]);
    assert_memory_equal(pun.bytes + p->len, p->expected + p->len, pun.depends);
    *ret_tactic = tn_pun_tactic(&pun);
    return true;
}

/* The first of a place's ways that there is room for: without a new page, if one is. */
static bool check_ways(struct place *at, const struct tn_patch *p, u32 n, const char **ret_tactic)
{
    for (u32 fresh = 0; fresh < 2; fresh++)
        for (u32 k = 0; k < n && (!k || p[k].instead); k++)
            if (!p[k].punned || check_pun(at, &p[k], fresh, ret_tactic))
                return true;
    return false;
}

/* What it comes to: the plan's tactic, or that of the worst of its punned places. NULL: no room for one of them. */
static const char *check_plan(struct place *at, const struct tn_plan *plan)
{
    const struct tn_code_view *code = at->code;
    const char *tactic = plan->tactic;

    assert_true(plan->npatches > 0);
    assert_false(plan->patches[0].instead);
    for (u32 k = 0; k < plan->npatches; k++) {
        const struct tn_patch *p = &plan->patches[k];
        struct tn_displaced_out out;
        u8 patch[TN_PATCH_MAX];
        struct tn_error err = {0};

        assert_in_range(p->ninsns, 1, 16);
        for (u32 j = 0; j < k; j++)
            assert_true((p->instead && p->addr == plan->patches[j].addr) ||
                        !tn_patch_meets(p, 0, &plan->patches[j], 0));
        check_copy(at, p, &out);
        if (p->instead)
            continue;
        if (p->punned) {
            const char *how = tactic;

            if (!check_ways(at, p, plan->npatches - k, &how))
                return NULL;
            tactic = tactic[0] == 'e' ? tactic : how;
            continue;
        }
        assert_in_range(p->len, 5, TN_PATCH_MAX);
        assert_memory_equal(p->expected, code->bytes + (p->addr - code->addr), p->len);
        assert_int_equal(tn_patch_bytes(p, at->bias, out.enter, patch, &err), 0);
        assert_int_equal(patch[0], 0xe9);
    }
    return tactic;
}

/* System calls: how each can be hooked, or why not. */
static void calls(struct place *at, enum tn_place_kind place, struct tally (*tally)[41], u32 *all,
                  u32 *unknown, u32 *vforks)
{
    struct tn_patch *sites = NULL;
    u32 n = 0;

    assert_int_equal(tn_find_syscalls(at->code, place, NULL, &sites, &n), 0);
    for (u32 i = 0; i < n; i++) {
        struct tn_plan plan = {.patches = &sites[i], .npatches = 1, .tactic = ""};

        count(*tally, sites[i].refused ? tn_refusal_name(sites[i].refused) : "jump5");
        if (all) {
            (*all)++;
            *unknown += sites[i].nr == TN_NR_UNKNOWN;
            *vforks += !sites[i].refused && tn_wants(&tn_wanted_vforks, sites[i].nr);
        }
        if (!sites[i].refused)
            check_plan(at, &plan);
    }
    free(sites);
}

static u64 now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

/* Plans one place and counts what came of it. Returns whether it can be hooked. */
static bool plan_and_count(struct place *at, enum tn_place_kind kind, u64 addr, struct tally *t, u64 *ns)
{
    struct tn_error err = {0};
    struct tn_plan plan;
    const char *tactic;
    u64 start = now();
    int r = tn_plan(at->code, kind, addr, &plan, &err);

    *ns += now() - start;
    if (kind == TN_PLACE_ENTRY || kind == TN_PLACE_EXIT) {
        assert_true(at->asked->addr == addr && at->asked->place == kind);
        all_ways(at->many, kind, addr, at->asked++);
    }
    if (r < 0) {
        assert_true(err.reason[0]);
        count(t, err.reason);
        return false;
    }
    assert_false(err.reason[0]);
    tactic = check_plan(at, &plan);
    count(t, tactic ? tactic : tn_refusal_name(TN_REFUSE_NO_ROOM_PUNNED));
    tn_plan_clear(&plan);
    return tactic;
}

#ifdef __SANITIZE_ADDRESS__
#define EVERY 4u /* function: several times as slow */
#else
#define EVERY 1u
#endif
#define THREADS 5u

static bool surveyed(const struct tn_code_view *code, u32 i)
{
    const struct tn_func *f = &code->funcs[i];

    return !f->part && f->addr - code->addr < code->len && f->size && i % EVERY == 0;
}

/* Entry and exit of each function that is looked at, planned by more threads than there are processors. */
static struct tn_asked *ask_threads(const struct tn_code_view *code, u32 *ret_n)
{
    struct tn_asked *asked = calloc(2 * code->nfuncs + 1, sizeof(*asked));
    u32 n = 0, used = 0;

    assert_non_null(asked);
    for (u32 i = 0; i < code->nfuncs; i++)
        for (u32 k = 0; k < 2 && surveyed(code, i); k++)
            asked[n++] =
                (struct tn_asked){.addr = code->funcs[i].addr, .place = k ? TN_PLACE_EXIT : TN_PLACE_ENTRY};
    assert_int_equal(tn_plan_asked(code, asked, n, THREADS, &used), 0);
    assert_int_equal(used, THREADS);
    *ret_n = n;
    return asked;
}

/* A thousandth of refused entries at most; of a sample, as many as all might have. `inner_wanted`: of ten instructions. */
static void survey(const char *pattern, u32 sites_wanted, u32 inner_wanted)
{
    struct tally entry[41] = {0}, leave[41] = {0}, inner[41] = {0}, call[2][41] = {0};
    struct tn_module *m = NULL, *many = NULL, *shared = NULL;
    u32 all = 0, entries = 0, exits = 0, offsets = 0, inside = 0, sites_found = 0, ncalls = 0, nunknown = 0;
    struct place at = {0};
    struct tn_maps maps = {.n = TN_ARRAY_SIZE(vmas), .text = (char *)names};
    bool lib = strstr(pattern, ".so");
    u64 ns[3] = {0};
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
    assert_int_equal(tn_module_open(fd, &many, NULL), 0);
    assert_int_equal(tn_module_open(fd, &shared, NULL), 0);
    close(fd);
    maps.vma = tn_module_base(m) ? fixed_vmas : vmas;
    at.bias = tn_module_base(m) ? 0 : lib ? 0x7f5a3c000000 : 0x55a8c2b6f000;
    assert_int_equal(tn_stubs_open(&at.stubs, &maps, NULL, 0, ~0u), 0);
    for (u32 s = 0; s < tn_module_ncode(m); s++) {
        const struct tn_code_view *code = at.code = tn_module_code_at(m, s);
        struct tn_asked *asked;
        u32 nasked;

        at.asked = asked = ask_threads(tn_module_code_at(shared, s), &nasked);
        at.many = tn_module_code_at(many, s);
        assert_int_equal(tn_plan_many(at.many), 0);
        for (u32 i = 0; i < code->nfuncs; i++) {
            const struct tn_func *f = &code->funcs[i];
            struct tn_insn insn;
            u64 to = f->addr;

            if (!surveyed(code, i))
                continue;
            all++;
            entries += plan_and_count(&at, TN_PLACE_ENTRY, f->addr, entry, &ns[0]);
            exits += plan_and_count(&at, TN_PLACE_EXIT, f->addr, leave, &ns[1]);
            /* Some instruction in the middle, of every eighth function. */
            for (u32 n = 0; all % 8 == 0 && n < all % 29 + 1 && to < f->addr + f->size; n++)
                to += tn_x86_decode(code->bytes + (to - code->addr), code->len - (to - code->addr), to,
                                    &insn) < 0
                          ? f->size
                          : insn.len;
            if (all % 8 == 0 && to < f->addr + f->size) {
                inside++;
                offsets += plan_and_count(&at, TN_PLACE_OFFSET, to, inner, &ns[2]);
            }
        }
        assert_true(at.asked == asked + nasked);
        tn_asked_clear(asked, nasked);
        free(asked);
        calls(&at, TN_PLACE_SYSENTER, call, &ncalls, &nunknown, &sites_found);
        calls(&at, TN_PLACE_SYSEXIT, call + 1, NULL, NULL, NULL);
    }
    tn_module_free(m);
    tn_module_free(many);
    tn_module_free(shared);
    print_message("#   %u functions, %u instructions inside; plans a second: %.0f entries, %.0f exits; "
                  "stubs: %u in %u pages\n",
                  all, inside, all * 1e9 / (double)(ns[0] + 1), all * 1e9 / (double)(ns[1] + 1),
                  at.stubs.nstubs, at.stubs.npages);
    /* All of it fits into a process at once, but for what has nothing below it to lead to. */
    assert_true(at.stubs.npages <= TN_STUB_PAGES || strstr(pattern, "python"));
    tn_stubs_clear(&at.stubs);
    for (u32 i = 0; entry[i].n; i++)
        print_message("#   entry  %-26s %6u  %6.2f %%\n", entry[i].name, entry[i].n,
                      100.0 * entry[i].n / all);
    for (u32 i = 0; leave[i].n; i++)
        print_message("#   exit   %-26s %6u  %6.2f %%\n", leave[i].name, leave[i].n,
                      100.0 * leave[i].n / all);
    for (u32 i = 0; inner[i].n; i++)
        print_message("#   offset %-26s %6u  %6.2f %%\n", inner[i].name, inner[i].n,
                      100.0 * inner[i].n / inside);
    print_message("#   %u system calls, %u of them with a number that only a run tells\n", ncalls, nunknown);
    for (u32 k = 0; k < 2; k++)
        for (u32 i = 0; call[k][i].n; i++)
            print_message("#   %s %-24s %6u  %5.1f %%\n", k ? "sysexit " : "sysenter", call[k][i].name,
                          call[k][i].n, 100.0 * call[k][i].n / ncalls);
    assert_true(all > 0);
    assert_true((all - entries) * 1000ull <= (u64)all * EVERY);
    assert_true(exits > all / 3);
    assert_true(offsets > inside * inner_wanted / 10);
    assert_true(sites_found >= sites_wanted);
}

#define SURVEY(id, pattern, sites)                                                                           \
    static void survey_##id(void **state)                                                                    \
    {                                                                                                        \
        (void)state;                                                                                         \
        survey(pattern, sites, strstr(pattern, "targets-go") ? 8 : 9);                                       \
    }
SURVEY(nginx, "/usr/sbin/nginx", 0)
SURVEY(redis, "/usr/bin/redis-server", 0)
SURVEY(bash, "/bin/bash", 0)
SURVEY(libc, "/lib/x86_64-linux-gnu/libc.so.6", 3)
SURVEY(libssl, "/usr/lib/x86_64-linux-gnu/libssl.so.3", 0)
SURVEY(python, "/usr/bin/python3", 0)
SURVEY(libcrypto, "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 0)
SURVEY(libstdcxx, "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", 0)
/* What may fault is not displaced there, and where a goroutine may have been stopped counts as jumped to. */
SURVEY(go, GO_PROGRAMS "/targets-go", 0)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survey_nginx),     cmocka_unit_test(survey_redis),
        cmocka_unit_test(survey_bash),      cmocka_unit_test(survey_libc),
        cmocka_unit_test(survey_libssl),    cmocka_unit_test(survey_python),
        cmocka_unit_test(survey_libcrypto), cmocka_unit_test(survey_libstdcxx),
        cmocka_unit_test(survey_go),
    };

    return cmocka_run_group_tests_name("survey", tests, NULL, NULL);
}
