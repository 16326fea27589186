/* SPDX-License-Identifier: MIT */
/*
 * Random programs (gen.h), judged three ways.
 *
 *   soundness   what is accepted is run, watched (eval.h)
 *   facts       so is everything the verdict says of it
 *   kernel      as root: what is accepted here the kernel accepts, but for the differences told in
 * docs/verifier.md
 *
 * TN_RANDOM_FROM and TN_RANDOM_ROUNDS choose other programs, and how many: for long runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/verify/eval.h"
#include "tests/verify/gen.h"
#include "tests/verify/kernel.h"
#include "tests/verify/told.h"

static u64 setting(const char *name, u64 otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

static void dump(const struct gen *g)
{
    for (u32 k = 0; k < g->n; k++)
        print_message("#   %u: {0x%02x, r%u, r%u, %d, %d}\n", k, g->insn[k].code, g->insn[k].dst_reg,
                      g->insn[k].src_reg, g->insn[k].off, g->insn[k].imm);
}

/* `lazy`: numbers that decide nothing are not compared, as without a probe. */
static void judge(const struct gen *g, bool lazy, struct tn_authority *authority, struct tn_verify_in *in,
                  struct eval_views *views, struct tn_verdict *ret)
{
    struct tn_verify_probe probe = {eval_remember, views, lazy ? eval_mark : NULL};

    *authority = tn_authority_all;
    authority->limits.max_insns_processed = 5000;
    *in = (struct tn_verify_in){
        .insns = g->insn,
        .ninsns = g->n,
        .prog_type = BPF_PROG_TYPE_KPROBE,
        .gpl = true,
        .maps = test_maps,
        .nmaps = M_COUNT,
        .authority = authority,
    };
    *views = (struct eval_views){0};
    assert_int_equal(tn_verify_probed(in, &probe, ret), 0);
}

static void accepted_runs_stay_inside(bool plain, bool lazy, int rounds, int least_accepted)
{
    u64 from = setting("TN_RANDOM_FROM", 1);
    int accepted = 0, called = 0;

    rounds = (int)setting("TN_RANDOM_ROUNDS", (u64)rounds);
    for (int k = 0; k < rounds; k++) {
        struct tn_authority authority;
        struct tn_verify_in in;
        struct tn_verdict v;
        struct eval_views views;
        struct gen g;
        const char *wrong = NULL;
        u32 pc = 0;

        gen_program(&g, 0x9e3779b97f4a7c15ull * (from + (u64)k), plain);
        judge(&g, lazy, &authority, &in, &views, &v);
        for (u64 run = 1; v.accepted && !wrong && run <= 12; run++)
            wrong = eval_run(&in, &v, &views, run * 0xd1342543de82ef95ull, &pc);
        accepted += v.accepted;
        called += v.accepted && v.nsubprogs > 1;
        eval_forget(&views);
        tn_verdict_clear(&v);
        if (wrong) {
            dump(&g);
            fail_msg("program %llu, insn %u: %s", (unsigned long long)(from + (u64)k), pc, wrong);
        }
    }
    print_message("# %d of %d random programs accepted, %d with functions\n", accepted, rounds, called);
    assert_true(accepted >= rounds / 100 * least_accepted);
}

static void test_accepted_runs_stay_inside(void **state)
{
    accepted_runs_stay_inside(false, false, 4000, 8);
    accepted_runs_stay_inside(false, true, 4000, 8);
}

static void test_accepted_plain_runs_stay_inside(void **state)
{
    accepted_runs_stay_inside(true, false, 2000, 10);
    accepted_runs_stay_inside(true, true, 2000, 10);
}

/* We know numbers more exactly (docs/verifier.md): Linux accepts once it is told. */
static bool told_accepted(const struct kernel *kernel, const struct tn_verify_in *in)
{
    static char log[4 << 20];
    bool accepted = false;

    for (enum told how = 0; !accepted && how < TOLD_WAYS; how++) {
        struct bpf_insn *insns = NULL;
        u32 n = 0, none = 0;

        accepted = !tell(in, in->insns, how, &insns, &n, NULL, &none) &&
                   kernel_accepts(kernel, BPF_PROG_TYPE_KPROBE, insns, n, log, sizeof(log));
        free(insns);
    }
    return accepted;
}

static void test_kernel_accepts_what_we_accept(void **state)
{
    struct kernel kernel;
    const char *why = kernel_open(&kernel, test_maps, M_COUNT);
    u64 from = setting("TN_RANDOM_FROM", 1);
    int ours = 0, theirs = 0, unsound = 0, known = 0, rounds = (int)setting("TN_RANDOM_ROUNDS", 3000);

    if (why) {
        print_message("# skipped: %s\n", why);
        skip();
    }
    for (int k = 0; k < rounds; k++) {
        struct tn_authority authority;
        struct tn_verify_in in;
        struct tn_verdict v;
        struct eval_views views;
        struct gen g;
        static char log[4 << 20];
        bool accepts;

        gen_program(&g, 0xd1342543de82ef95ull * (from + (u64)k), (from + (u64)k) % 2);
        judge(&g, true, &authority, &in, &views, &v);
        eval_forget(&views);
        log[0] = 0;
        accepts = kernel_accepts(&kernel, BPF_PROG_TYPE_KPROBE, g.insn, g.n, log, sizeof(log));
        ours += v.accepted;
        theirs += accepts;
        if (v.accepted && !accepts && told_accepted(&kernel, &in)) {
            known++;
        } else if (v.accepted && !accepts && unsound++ < 3) {
            size_t len = strlen(log);

            print_message("# program %llu is refused by the kernel:\n%s\n",
                          (unsigned long long)(from + (u64)k), len > 700 ? log + len - 700 : log);
            dump(&g);
        }
        tn_verdict_clear(&v);
    }
    kernel_close(&kernel);
    print_message("# %d programs: %d accepted here, %d by the kernel, %d here alone, %d more once it is told "
                  "our numbers\n",
                  rounds, ours, theirs, unsound, known);
    assert_int_equal(unsound, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_runs_stay_inside),
        cmocka_unit_test(test_accepted_plain_runs_stay_inside),
        cmocka_unit_test(test_kernel_accepts_what_we_accept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
