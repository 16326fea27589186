/* SPDX-License-Identifier: MIT */
/*
 * The log: its lines are Linux's, asked of the kernel itself; its window is what a buffer of any size would
 * be left with; a log never changes a verdict.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"
#include "tests/verify/maps.h"
#include "verify/log.h"
#include "verify/verify.h"

#define P(...)                                                                                               \
    (const struct bpf_insn[]){__VA_ARGS__},                                                                  \
        sizeof((const struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)

static void verify(const struct bpf_insn *insns, u32 n, u32 level, u64 size, struct tn_verdict *ret)
{
    struct tn_verify_map maps[M_COUNT];
    struct tn_verify_in in = {.insns = insns,
                              .ninsns = n,
                              .prog_type = BPF_PROG_TYPE_KPROBE,
                              .gpl = true,
                              .maps = maps,
                              .nmaps = M_COUNT,
                              .log_level = level,
                              .log_size = size};

    memcpy(maps, test_maps, sizeof(maps));
    for (u32 m = 0; m < M_COUNT; m++)
        maps[m].name = "test"; /* as the kernel's are called */
    assert_int_equal(tn_verify(&in, ret), 0);
}

/* ------------------------------------------------------------------------------------------------ shape */

static const struct {
    const char *name;
    const struct bpf_insn *insns;
    u32 n;
} shapes[] = {
    {"numbers", P(LDX(DW, R2, R1, 0), ALU(BPF_AND, R2, 255), MOV(R3, -1), MOV(R4, 100000), LDX(W, R5, R1, 8),
                  JMP(BPF_JGT, R2, 9, 1), ADD(R2, 1), MOV(R0, 0), EXIT)},
    {"signs", P(LDX(DW, R2, R1, 0), JMP(BPF_JSGT, R2, 10, 2), JMP(BPF_JSLT, R2, -10, 1), MOVX(R3, R2),
                MOV(R0, 0), EXIT)},
    {"stack", P(STX(DW, R10, -8, R1), ST(W, R10, -12, 0), ST(B, R10, -17, 3), LDX(DW, R6, R10, -8),
                LDX(W, R7, R10, -12), MOV(R2, 7), STX(W, R10, -32, R2), MOV(R0, 0), EXIT)},
    {"look-up", P(ST(DW, R10, -8, 5), MOVX(R2, R10), ADD(R2, -8), LDMAP(R1, M_HASH), CALL(1),
                  JMP(BPF_JEQ, R0, 0, 2), LDX(DW, R1, R0, 8), STX(DW, R0, 0, R1), MOV(R0, 0), EXIT)},
};

/* Lines that say what an instruction changed, or where a path forked; without the addresses that a map has in
   the kernel and an index here, and without marks that one of the two leaves out: names of equal numbers (id)
   and the precision of a constant. */
static u32 lines_of(char *log, char ret[][512], u32 max)
{
    u32 n = 0;

    for (char *line = strtok(log, "\n"); line && n < max; line = strtok(NULL, "\n")) {
        char *out = ret[n], *p = line;
        size_t len = 0;

        if (!strstr(line, ": (") && strncmp(line, "from ", 5) && strncmp(line, "func#", 5) &&
            !strstr(line, ": R"))
            continue;
        if (strstr(line, "mark_precise") || strstr(line, "...... (") || strstr(line, " = 0xffff") ||
            strstr(line, " = map["))
            continue;
        while (*p && len < 500) {
            if (!strncmp(p, "id=", 3)) {
                p += 3;
                p += strspn(p, "0123456789");
                p += *p == ',';
                continue;
            }
            if (!strncmp(p, "=P", 2)) {
                out[len++] = *p;
                p += 2;
                continue;
            }
            out[len++] = *p++;
        }
        out[len] = 0;
        n++;
    }
    return n;
}

static void test_lines_are_linux_own(void **state)
{
    static char theirs[1 << 16], a[64][512], b[64][512];
    struct kernel kernel;
    const char *why = kernel_open(&kernel, test_maps, M_COUNT);
    u32 different = 0;

    if (why) {
        print_message("# %s\n", why);
        skip();
    }
    for (size_t k = 0; k < TN_ARRAY_SIZE(shapes); k++) {
        struct tn_verdict v;
        u32 n, m;

        verify(shapes[k].insns, shapes[k].n, TN_LOG_ALL, 0, &v);
        assert_true(v.accepted);
        assert_true(kernel_log(&kernel, BPF_PROG_TYPE_KPROBE, shapes[k].insns, shapes[k].n, TN_LOG_ALL,
                               theirs, sizeof(theirs)));
        n = lines_of(v.log, a, 64);
        m = lines_of(theirs, b, 64);
        for (u32 i = 0; i < TN_MAX(n, m); i++) {
            if (i < n && i < m && !strcmp(a[i], b[i]))
                continue;
            print_message("# %s\n#   here:   %s\n#   kernel: %s\n", shapes[k].name, i < n ? a[i] : "nothing",
                          i < m ? b[i] : "nothing");
            different++;
        }
        tn_verdict_clear(&v);
    }
    kernel_close(&kernel);
    assert_int_equal(different, 0);
}

static void test_levels(void **state)
{
    static const struct bpf_insn fine[] = {MOV(R0, 0), EXIT};
    static const struct bpf_insn bad[] = {LDX(DW, R2, R1, 0), JMP(BPF_JEQ, R2, 0, 1), MOV(R3, 1),
                                          MOV(R0, 0),         ST(DW, R10, 8, 0),      EXIT};
    static const struct bpf_insn calls[] = {ST(DW, R10, -16, 0), CALLP(1), EXIT, MOV(R0, 0), EXIT};
    struct tn_verdict v;

    verify(fine, 2, TN_LOG_PATH, 0, &v);
    assert_ptr_equal(strstr(v.log, "processed 2 insns (limit 1000000) "), v.log);
    tn_verdict_clear(&v);
    verify(fine, 2, TN_LOG_ALL, 0, &v);
    assert_ptr_equal(strstr(v.log, "func#0 @0\n0: R1=ctx() R10=fp0\n0: (b7) r0 = 0"), v.log);
    assert_non_null(strstr(v.log, "\n1: (95) exit\nprocessed 2 insns"));
    tn_verdict_clear(&v);
    verify(calls, 5, TN_LOG_STATS, 0, &v);
    assert_ptr_equal(strstr(v.log, "verification time "), v.log);
    assert_non_null(strstr(v.log, " usec\nstack depth 16+0\nprocessed 5 insns"));
    tn_verdict_clear(&v);
    verify(calls, 5, TN_LOG_ALL, 0, &v);
    assert_non_null(strstr(v.log, "caller:\n R10=fp0 fp-16="));
    assert_non_null(strstr(v.log, "callee:\n frame1:"));
    assert_non_null(strstr(v.log, "returning from callee:\n"));
    tn_verdict_clear(&v);
    verify(bad, 6, TN_LOG_PATH, 0, &v);
    assert_false(v.accepted);
    assert_non_null(strstr(v.log, "4: (7a) *(u64 *)(r10 +8) = 0"));
    assert_null(strstr(v.log, "from "));
    assert_non_null(strstr(v.log, v.refusal.message));
    assert_non_null(strstr(strstr(v.log, v.refusal.message), "\nprocessed "));
    tn_verdict_clear(&v);
    verify(bad, 6, 0, 0, &v);
    assert_false(v.accepted);
    assert_null(v.log);
    assert_int_equal(v.log_true_size, 0);
    tn_verdict_clear(&v);
}

/* ------------------------------------------------------------------------------------------------ window */

/* For every size: the end of the whole, or its beginning. Level 2 takes nothing back. */
static void test_every_size_of_buffer(void **state)
{
    struct tn_verdict whole, part;

    verify(shapes[3].insns, shapes[3].n, TN_LOG_ALL, 0, &whole);
    assert_int_equal(whole.log_true_size, whole.log_size + 1);
    assert_true(whole.log_size > 600);
    for (u64 size = 1; size < whole.log_size + 10; size++) {
        u64 keep = TN_MIN(size - 1, whole.log_size);

        verify(shapes[3].insns, shapes[3].n, TN_LOG_ALL, size, &part);
        assert_int_equal(part.log_true_size, whole.log_true_size);
        assert_int_equal(part.log_size, keep);
        assert_string_equal(part.log, whole.log + whole.log_size - keep);
        tn_verdict_clear(&part);

        verify(shapes[3].insns, shapes[3].n, TN_LOG_ALL | TN_LOG_FIXED, size, &part);
        assert_int_equal(part.log_true_size, whole.log_true_size);
        assert_int_equal(part.log_size, keep);
        assert_memory_equal(part.log, whole.log, keep);
        tn_verdict_clear(&part);
    }
    tn_verdict_clear(&whole);
}

/* Level 1 takes text back: what was lost to the window by then is lost, as in Linux's buffer; and the true
   size is that of the longest moment. */
static void test_taken_back(void **state)
{
    struct tn_log log = {0};
    char *text;
    u64 len, mark;

    tn_log_open(&log, TN_LOG_PATH, 11);
    tn_log_add(&log, "abcde");
    mark = log.len;
    tn_log_add(&log, "fghij");
    tn_log_cut(&log, mark);
    tn_log_add(&log, "XY");
    text = tn_log_take(&log, &len);
    assert_string_equal(text, "abcdeXY");
    assert_int_equal(log.max, 11);
    free(text);

    log = (struct tn_log){0};
    tn_log_open(&log, TN_LOG_PATH, 11);
    tn_log_add(&log, "abcde");
    mark = log.len;
    for (int k = 0; k < 1000; k++)
        tn_log_add(&log, "0123456789");
    tn_log_cut(&log, mark); /* lies before the window */
    tn_log_add(&log, "XY");
    text = tn_log_take(&log, &len);
    assert_string_equal(text, "XY");
    assert_int_equal(log.max, 10006);
    free(text);

    log = (struct tn_log){0};
    tn_log_open(&log, TN_LOG_PATH | TN_LOG_FIXED, 8);
    tn_log_add(&log, "abcde");
    mark = log.len;
    tn_log_add(&log, "0123456789");
    tn_log_cut(&log, mark);
    tn_log_add(&log, "XYZ");
    text = tn_log_take(&log, &len);
    assert_string_equal(text, "abcdeXY");
    assert_int_equal(log.max, 16);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_linux_own),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_every_size_of_buffer),
        cmocka_unit_test(test_taken_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
