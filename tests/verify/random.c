/* SPDX-License-Identifier: MIT */
/*
 * Random programs (gen.h), judged three ways.
 *
 *   soundness   what is accepted is run on a machine, watched (eval.h): many times, with other contexts,
 *               packets, memory and answers of helpers each time. Counted are the runs of a program that got
 *               something from outside that no run before them got
 *   facts       so is everything the verdict says of it
 *   kernel      as root: what is accepted here the kernel accepts, but for the differences told in
 *               docs/verifier.md
 *
 * For long runs: TN_RANDOM_FROM is the first program, TN_RANDOM_RUNS how many runs are to be gone,
 * TN_RANDOM_EACH at most so many a program; TN_RANDOM_ROUNDS how many programs the kernel is asked.
 * TN_RANDOM_WHY tells why programs are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/verify/eval.h" /* before the words of asm.h */

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

/* ------------------------------------------------------------------------------------------ on a machine */

/* What program `number` is: of the narrow world (numbers and memory, memory alone), or of the wide one; with
   numbers that decide nothing compared or not (as without a probe). */
struct variant {
    bool wide, plain, lazy;
    u32 type;
};
static struct variant variant_of(u64 number)
{
    u64 k = number % 20;

    if (k < 6)
        return (struct variant){false, k % 3 == 2, k % 2, BPF_PROG_TYPE_KPROBE};
    return (struct variant){true, false, k % 2, world_types[(k - 6) / 2]};
}

struct trial {
    struct gen g;
    struct variant variant;
    struct tn_authority authority;
    struct bpf_func_info func[GEN_FUNCS];
    struct tn_verify_in in;
    struct tn_verdict v;
};

static void judge(struct trial *t, const struct world *w, u64 number, struct eval_views *views)
{
    struct tn_verify_probe probe = {eval_remember, views, NULL};
    struct variant how = t->variant = variant_of(number);

    if (how.wide)
        gen_in_world(&t->g, 0x9e3779b97f4a7c15ull * number, w, how.type);
    else
        gen_program(&t->g, 0x9e3779b97f4a7c15ull * number, how.plain);
    world_in(w, how.type, t->g.func, t->g.nfuncs, t->func, &t->in);
    t->authority = tn_authority_all;
    t->authority.limits.max_insns_processed = 5000;
    t->in.authority = &t->authority;
    t->in.insns = t->g.insn;
    t->in.ninsns = t->g.n;
    probe.mark = how.lazy ? eval_mark : NULL;
    assert_int_equal(tn_verify_probed(&t->in, &probe, &t->v), 0);
}

/* The courses that one program's runs took. */
#define COURSES 4096u
struct courses {
    u64 seen[COURSES];
    u32 n;
};
static bool is_new(struct courses *c, u64 course)
{
    u32 k = (u32)(course >> 40) % COURSES;

    course |= !course;
    for (; c->seen[k]; k = (k + 1) % COURSES)
        if (c->seen[k] == course)
            return false;
    if (c->n == COURSES / 2)
        return false;
    c->seen[k] = course;
    c->n++;
    return true;
}

static const char *missing_model(u32 type, u32 id)
{
    const struct tn_proto *p = tn_proto_for(id, type, type == BPF_PROG_TYPE_TRACING ? BPF_TRACE_FENTRY : 0);

    return !p || model_of(id, tn_proto_nargs(p)) || model_missing(id) ? NULL : p->name;
}

/* Every helper that such a program may call has a model, or a reason not to. */
static void test_every_helper_has_a_model(void **state)
{
    int missing = 0;

    for (size_t t = 0; t < TN_ARRAY_SIZE(world_types); t++) {
        for (u32 id = 1; id < TN_PROTO_END; id++) {
            const char *name = missing_model(world_types[t], id);

            if (name)
                print_message("# %s (program type %u) has no model\n", name, world_types[t]);
            missing += name != NULL;
        }
    }
    assert_int_equal(missing, 0);
}

struct tally {
    u64 made, accepted, runs, twice, cut, steps, helpers[4], of_type[32];
};

/* As many runs as bring something new, and no more than `most`. */
static const char *run_often(struct trial *t, struct eval_views *views, u64 most, struct tally *tally,
                             struct eval_end *end, u64 *ret_seed)
{
    static struct courses courses;
    const char *wrong = NULL;
    u32 idle = 0;

    memset(&courses, 0, sizeof(courses));
    for (u64 run = 1; run <= most && idle < 12 && !wrong; run++) {
        *ret_seed = run * 0xd1342543de82ef95ull;
        wrong = eval_run(&t->in, &t->v, views, *ret_seed, end);
        for (u32 k = 0; k < TN_ARRAY_SIZE(tally->helpers); k++)
            tally->helpers[k] |= end->helpers[k];
        tally->steps += end->steps;
        tally->cut += !end->whole && !wrong;
        idle = is_new(&courses, end->course) ? 0 : idle + 1;
        if (idle)
            tally->twice++;
        else
            tally->runs++;
    }
    return wrong;
}

/* `all`: with those helpers that no run called. */
static void report(const struct tally *t, bool all)
{
    u32 called = 0, models = 0;

    for (u32 id = 1; id < TN_PROTO_END; id++) {
        bool has = false;

        for (u32 n = 0; n <= 5; n++)
            has |= model_of(id, n) != NULL;
        models += has;
        called += t->helpers[id / 64] >> (id % 64) & 1;
        if (all && has && !(t->helpers[id / 64] >> (id % 64) & 1))
            print_message("# %s was not called\n", tn_proto_name(id));
    }
    print_message(
        "# %llu programs, %llu accepted; %llu runs that differ (%llu more did not, %llu were cut at "
        "their length), %llu instructions; %u of %u helpers with a model were called\n",
        (unsigned long long)t->made, (unsigned long long)t->accepted, (unsigned long long)t->runs,
        (unsigned long long)t->twice, (unsigned long long)t->cut, (unsigned long long)t->steps, called,
        models);
    for (u32 k = 0; k < TN_ARRAY_SIZE(world_types); k++)
        print_message("#   program type %u: %llu accepted\n", world_types[k],
                      (unsigned long long)t->of_type[world_types[k]]);
}

static void test_accepted_runs_stay_inside(void **state)
{
    u64 from = setting("TN_RANDOM_FROM", 1), goal = setting("TN_RANDOM_RUNS", 200000);
    u64 most = setting("TN_RANDOM_EACH", 100);
    struct eval_views views = {0};
    struct tally tally = {0};
    struct world world;
    static struct trial t;

    world_open(&world);
    for (u64 number = from; tally.runs < goal; number++) {
        const char *wrong = NULL;
        struct eval_end end = {0};
        u64 seed = 0;

        judge(&t, &world, number, &views);
        tally.made++;
        if (t.v.accepted) {
            tally.accepted++;
            tally.of_type[t.variant.type]++;
            wrong = run_often(&t, &views, most, &tally, &end, &seed);
        } else if (getenv("TN_RANDOM_WHY") && t.variant.wide) {
            print_message("# %s: %s\n", t.v.refusal.reason, t.v.refusal.message);
        }
        eval_forget(&views);
        tn_verdict_clear(&t.v);
        if (wrong) {
            dump(&t.g);
            report(&tally, false);
            fail_msg("program %llu (type %u), seed %#llx, insn %u: %s%s%s", (unsigned long long)number,
                     t.variant.type, (unsigned long long)seed, end.pc, wrong, end.outside ? ": " : "",
                     end.outside ? end.outside : "");
        }
        if (tally.made % 100000 == 0)
            report(&tally, false);
    }
    report(&tally, true);
    eval_free(&views);
    world_close(&world);
    assert_true(tally.accepted * 100 >= tally.made * 10);
    for (size_t k = 0; k < TN_ARRAY_SIZE(world_types); k++)
        assert_true(tally.of_type[world_types[k]] * 200 >= tally.accepted);
}

/* What two rounds of callbacks are handed are two values, with a lock each: the inner round, under the lock
   of the outer one's value, may not release that of its own. */
#define FUNC_AT(reg, rel) INSN(BPF_LD | BPF_IMM | BPF_DW, reg, BPF_PSEUDO_FUNC, 0, rel), INSN(0, 0, 0, 0, 0)
#define NESTED(released)                                                                                     \
    /* 0: main */ LDMAP(R1, M_LOCKS), FUNC_AT(R2, 6), MOV(R3, 0), MOV(R4, 0), CALL(164), MOV(R0, 0), EXIT,   \
        /* 9: outer */ STX(BPF_DW, R10, -8, R3), LDMAP(R1, M_LOCKS), FUNC_AT(R2, 7), MOVX(R3, R10),          \
        ADD(R3, -8), MOV(R4, 0), CALL(164), MOV(R0, 0), EXIT, /* 20: inner */ LDX(BPF_DW, R7, R4, 0),        \
        MOVX(R6, R3), MOVX(R1, R7), CALL(93), MOVX(R1, released), CALL(94), MOV(R0, 0), EXIT

static void test_locks_of_nested_callbacks(void **state)
{
    static const struct bpf_insn right[] = {NESTED(R7)}, wrong[] = {NESTED(R6)};
    static const u32 func[] = {0, 9, 20};
    struct bpf_func_info room[3];
    struct eval_views views = {0};
    struct tn_verify_probe probe = {eval_remember, &views, NULL};
    struct tn_verify_in in;
    struct tn_verdict v;
    struct world world;

    world_open(&world);
    world_in(&world, BPF_PROG_TYPE_SCHED_CLS, func, 3, room, &in);
    in.authority = &tn_authority_all;
    in.insns = wrong;
    in.ninsns = TN_ARRAY_SIZE(wrong);
    assert_int_equal(tn_verify(&in, &v), 0);
    assert_string_equal(v.refusal.reason, "bad_lock");
    tn_verdict_clear(&v);
    in.insns = right;
    assert_int_equal(tn_verify_probed(&in, &probe, &v), 0);
    if (!v.accepted)
        fail_msg("insn %u: %s", v.refusal.insn, v.refusal.message);
    for (u64 seed = 1; seed < 100; seed++) {
        struct eval_end end;
        const char *why = eval_run(&in, &v, &views, seed * 0xd1342543de82ef95ull, &end);

        if (why)
            fail_msg("insn %u: %s", end.pc, why);
    }
    tn_verdict_clear(&v);
    eval_free(&views);
    world_close(&world);
}

/* ------------------------------------------------------------------------------------------ by the kernel */

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
        struct tn_authority authority = tn_authority_all;
        struct tn_verify_in in = {.prog_type = BPF_PROG_TYPE_KPROBE,
                                  .gpl = true,
                                  .maps = test_maps,
                                  .nmaps = M_COUNT,
                                  .authority = &authority};
        struct tn_verdict v;
        struct gen g;
        static char log[4 << 20];
        bool accepts;

        gen_program(&g, 0xd1342543de82ef95ull * (from + (u64)k), (from + (u64)k) % 2);
        authority.limits.max_insns_processed = 5000;
        in.insns = g.insn;
        in.ninsns = g.n;
        assert_int_equal(tn_verify(&in, &v), 0);
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

/* An argument: only the tests of that name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_helper_has_a_model),
        cmocka_unit_test(test_locks_of_nested_callbacks),
        cmocka_unit_test(test_accepted_runs_stay_inside),
        cmocka_unit_test(test_kernel_accepts_what_we_accept),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
