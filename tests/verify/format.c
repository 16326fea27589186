/* SPDX-License-Identifier: MIT */
/* Format strings of bpf_snprintf: what is refused at load, and that the kernel refuses the same ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/verify/asm.h"
#include "tests/verify/kernel.h"

static const struct {
    const char *fmt;
    u32 numbers;
    bool fits;
} rows[] = {
    {"", 0, true},         {"plain text\n", 0, true}, {"%d", 1, true},          {"%d", 0, false},
    {"%d %d", 1, false},   {"%d", 2, true},           {"%%", 0, true},          {"100%", 1, false},
    {"%", 1, false},       {"%ld %lld", 2, true},     {"%llld", 1, false},      {"%hd", 1, false},
    {"%i%u%x%X", 4, true}, {"%o", 1, false},          {"%f", 1, false},         {"%c%c", 2, true},
    {"%s", 1, true},       {"%sx", 1, false},         {"%s,", 1, true},         {"%p", 1, true},
    {"%pK", 1, true},      {"%px", 1, true},          {"%pz", 1, false},        {"%pks", 1, true},
    {"%pus.", 1, true},    {"%pksx", 1, false},       {"%pB", 1, true},         {"%pI4", 1, true},
    {"%pi6", 1, true},     {"%pI5", 1, false},        {"%pS", 1, true},         {"%08x", 1, true},
    {"%-10d", 1, true},    {"%+d", 1, true},          {"% d", 1, true},         {"%#x", 1, false},
    {"%.3s", 1, false},    {"%*d", 2, false},         {"caf\xc3\xa9", 0, true}, {"bell\a", 0, false},
    {"tab\t", 0, true},    {"%5", 1, false},          {"%l", 1, false},         {"%n", 1, false},
    {"%pk", 1, false},     {"%c x", 1, true},         {"%dx", 1, true},         {"%10p", 1, true},
};

static void test_formats(void **state)
{
    const char *skipped = NULL;
    int wrong = 0;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        u8 text[64] = {0};
        const struct tn_verify_map map = {.geo = {.type = BPF_MAP_TYPE_ARRAY,
                                                  .key_size = 4,
                                                  .value_size = sizeof(text),
                                                  .max_entries = 1,
                                                  .map_flags = BPF_F_RDONLY_PROG},
                                          .frozen = text,
                                          .rdonly_prog = true};
        struct bpf_insn insns[] = {ST(DW, R10, -8, 0), ST(DW, R10, -16, 0), MOVX(R1, R10),
                                   ADD(R1, -64),       MOV(R2, 16),         LDVAL(R3, 0, 0),
                                   MOVX(R4, R10),      ADD(R4, -16),        MOV(R5, (s32)rows[k].numbers * 8),
                                   CALL(165),          MOV(R0, 0),          EXIT};
        struct tn_verify_in in = {.insns = insns,
                                  .ninsns = TN_ARRAY_SIZE(insns),
                                  .prog_type = BPF_PROG_TYPE_KPROBE,
                                  .gpl = true,
                                  .maps = &map,
                                  .nmaps = 1};
        struct kernel kernel;
        struct tn_verdict v;

        /* Sixteen bytes of numbers at most: rows with more ask for what lies below. */
        if (rows[k].numbers > 2)
            insns[8].imm = -(s32)rows[k].numbers * 8;
        memcpy(text, rows[k].fmt, strlen(rows[k].fmt));
        assert_int_equal(tn_verify(&in, &v), 0);
        if (v.accepted != rows[k].fits) {
            print_message("# \"%s\", %u: %s\n", rows[k].fmt, rows[k].numbers,
                          v.accepted ? "accepted" : v.refusal.message);
            wrong++;
        }
        tn_verdict_clear(&v);
        skipped = kernel_open(&kernel, &map, 1);
        if (skipped)
            continue;
        if (kernel_accepts(&kernel, BPF_PROG_TYPE_KPROBE, insns, TN_ARRAY_SIZE(insns), NULL, 0) !=
            rows[k].fits) {
            print_message("# \"%s\", %u: the kernel says otherwise\n", rows[k].fmt, rows[k].numbers);
            wrong++;
        }
        kernel_close(&kernel);
    }
    assert_int_equal(wrong, 0);
    if (skipped)
        print_message("# Linux was not asked: %s\n", skipped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
