/* SPDX-License-Identifier: MIT */
/*
 * Real C, compiled by clang at build time: libbpf opens the objects and hands over instructions, BTF, function and
 * line records, as a loader would. The refusals must name the C line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "verify/verify.h"

#define MAX_MAPS 16

struct object {
    struct bpf_object *obj;
    struct tn_verify_map map[MAX_MAPS];
    u32 nmaps;
    struct tn_verdict verdict;
    const char *want; /* name of the program to judge */
};

static struct object
    *now; /* the object whose programs are being prepared; libbpf's callback has no room for it */

/* libbpf relocates at load; nothing reaches the kernel: what would be loaded is verified here instead. */
static int prepare(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
    _free_ struct bpf_insn *insns = NULL;
    u32 n = (u32)bpf_program__insn_cnt(prog);
    struct tn_verify_in in = {
        .prog_type = BPF_PROG_TYPE_KPROBE,
        .gpl = true,
        .maps = now->map,
        .nmaps = now->nmaps,
        .log_level = 7,
        .func_info = opts->func_info,
        .func_info_cnt = opts->func_info_cnt,
        .func_info_rec_size = opts->func_info_rec_size,
        .line_info = opts->line_info,
        .line_info_cnt = opts->line_info_cnt,
        .line_info_rec_size = opts->line_info_rec_size,
    };

    if (strcmp(bpf_program__name(prog), now->want))
        return 0;
    insns = malloc(n * sizeof(*insns));
    assert_non_null(insns);
    memcpy(insns, bpf_program__insns(prog), n * sizeof(*insns));
    for (u32 k = 0; k < n; k++) { /* descriptors back to indices */
        u32 m = 0;
        struct bpf_map *map;

        if (insns[k].code != (BPF_LD | BPF_IMM | BPF_DW))
            continue;
        if (insns[k].src_reg == BPF_PSEUDO_MAP_FD || insns[k].src_reg == BPF_PSEUDO_MAP_VALUE) {
            bpf_object__for_each_map(map, now->obj)
            {
                if (bpf_map__fd(map) == insns[k].imm)
                    break;
                m++;
            }
            insns[k].imm = (s32)m;
        }
        k++;
    }
    in.insns = insns;
    in.ninsns = n;
    in.btf = btf__raw_data(bpf_object__btf(now->obj), &in.btf_size);
    tn_verdict_clear(&now->verdict);
    assert_int_equal(tn_verify(&in, &now->verdict), 0);
    return 0;
}

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
    return 0;
}

static bool judge(struct object *o, const char *file, const char *program)
{
    struct bpf_program *prog;
    struct bpf_map *map;

    libbpf_set_print(quiet);
    *o = (struct object){.want = program};
    now = o;
    o->obj = bpf_object__open_file(file, NULL);
    assert_non_null(o->obj);
    bpf_object__for_each_program(prog, o->obj)
        bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), program));
    bpf_object__for_each_map(map, o->obj)
    {
        bool rodata = strstr(bpf_map__name(map), ".rodata") != NULL;

        assert_true(o->nmaps < MAX_MAPS);
        o->map[o->nmaps++] = (struct tn_verify_map){
            .geo = {.type = bpf_map__type(map),
                    .key_size = bpf_map__key_size(map),
                    .value_size = bpf_map__value_size(map),
                    .max_entries = bpf_map__max_entries(map)},
            .rdonly_prog = rodata,
        };
    }
    (void)bpf_object__load(o->obj);
    return o->verdict.log != NULL;
}

static void release(struct object *o)
{
    tn_verdict_clear(&o->verdict);
    bpf_object__close(o->obj);
}

static void test_real_programs_accepted(void **state)
{
    static const char *const files[] = {ACCEPT_V2, ACCEPT_V3};
    static const char *const programs[] = {"count_entry", "histogram_exit", "ring_event", "loop_string"};

    if (geteuid()) {
        print_message("# skipped: libbpf relocates while it loads, which needs root\n");
        skip();
    }
    for (size_t f = 0; f < TN_ARRAY_SIZE(files); f++)
        for (size_t k = 0; k < TN_ARRAY_SIZE(programs); k++) {
            struct object o;

            if (!judge(&o, files[f], programs[k]))
                fail_msg("%s was not handed over", programs[k]);
            if (!o.verdict.accepted)
                fail_msg("%s: %s (insn %u, state %s)", programs[k], o.verdict.refusal.message,
                         o.verdict.refusal.insn, o.verdict.refusal.state);
            print_message("# %s: %llu instructions processed, longest path %llu\n", programs[k],
                          (unsigned long long)o.verdict.insns_processed,
                          (unsigned long long)o.verdict.facts.longest_path);
            release(&o);
        }
}

/* The line of refuse.bpf.c that carries REFUSED(program, reason). */
static u32 expected_line(const char *program, const char *reason)
{
    char text[256], mark[96];
    _fclose_ FILE *f = fopen(REFUSE_SOURCE, "r");
    u32 line = 0;

    assert_non_null(f);
    snprintf(mark, sizeof(mark), "REFUSED(%s, %s)", program, reason);
    while (fgets(text, sizeof(text), f)) {
        line++;
        if (strstr(text, mark))
            return line;
    }
    fail_msg("no line is marked %s", mark);
    return 0;
}

static void test_refusals_name_the_line(void **state)
{
    static const char *const cases[][2] = {{"no_null_check", "maybe_null"},
                                           {"index_too_far", "map_bounds"},
                                           {"helper_not_here", "unknown_helper"}};
    struct object o;

    if (geteuid()) {
        print_message("# skipped: libbpf relocates while it loads, which needs root\n");
        skip();
    }
    for (size_t k = 0; k < TN_ARRAY_SIZE(cases); k++) {
        assert_true(judge(&o, REFUSE, cases[k][0]));
        assert_false(o.verdict.accepted);
        assert_string_equal(o.verdict.refusal.reason, cases[k][1]);
        assert_int_equal(o.verdict.refusal.line, expected_line(cases[k][0], cases[k][1]));
        assert_non_null(strstr(o.verdict.refusal.file, "refuse.bpf.c"));
        assert_non_null(strstr(o.verdict.refusal.text, cases[k][0]));
        release(&o);
    }
    assert_true(judge(&o, REFUSE, "leak"));
    assert_string_equal(o.verdict.refusal.reason, "leaked_reference");
    assert_non_null(strstr(o.verdict.refusal.path, "from"));
    release(&o);
}

int main(void)
{
    LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = prepare);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_programs_accepted),
        cmocka_unit_test(test_refusals_name_the_line),
    };

    /* Once, and never taken back: libbpf 1.1 frees its table twice when the last handler goes. */
    if (libbpf_register_prog_handler("uprobe", BPF_PROG_TYPE_KPROBE, 0, &opts) < 0 ||
        libbpf_register_prog_handler("uretprobe", BPF_PROG_TYPE_KPROBE, 0, &opts) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
