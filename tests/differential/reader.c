/* SPDX-License-Identifier: MIT */
/* Recordings are files from anywhere: what the writer writes is read back; what was cut, turned or joined is
   refused or read, and never more than that. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/differential/recording.h"

static const struct bpf_insn ret0[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};

static void write_one(struct rec_out *out)
{
    struct rec_program program = {
        .prog_type = BPF_PROG_TYPE_KPROBE, .nmaps = 1, .btf = 0, .func_info_rec_size = 8, .licence = "GPL"};
    struct rec_map outer = {.type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
                            .key_size = 4,
                            .value_size = 4,
                            .max_entries = 1,
                            .btf = -1,
                            .inner = 1,
                            .name = "outer"},
                   inner = {.type = BPF_MAP_TYPE_ARRAY,
                            .key_size = 4,
                            .value_size = 16,
                            .max_entries = 1,
                            .btf = 0,
                            .inner = -1,
                            .name = "inner"};
    struct rec_verdict verdict = {.error = -EACCES, .release = "6.18"};
    struct rec_run run = {.retval = 7};
    u8 contents[8 + 16] = {1}, btf[24] = {0x9f, 0xeb, 1}, funcs[16] = {0};

    rec_put(out, REC_PROGRAM, &program, sizeof(program));
    rec_put(out, REC_INSNS, ret0, sizeof(ret0));
    rec_put(out, REC_BTF, btf, sizeof(btf));
    rec_put(out, REC_FUNC_INFO, funcs, sizeof(funcs));
    rec_put(out, REC_MAP, &outer, sizeof(outer));
    rec_put(out, REC_MAP, &inner, sizeof(inner));
    rec_put(out, REC_CONTENTS, contents, sizeof(contents));
    rec_put(out, REC_VERDICT, &verdict, sizeof(verdict));
    rec_put(out, REC_RUN, &run, sizeof(run));
    rec_put_text(out, REC_CORPUS, "corpus");
    rec_put_text(out, REC_OBJECT, "object");
    rec_put_text(out, REC_NAME, "name");
    rec_put_text(out, REC_MESSAGES, "R0 !read_ok\n");
    rec_put_text(out, REC_EXPECT, "test_expect_failure");
    rec_put_text(out, REC_EXPECT, "test_expect_msg=0=R0 !read_ok");
    ((struct rec_head *)(void *)out->data)->size = (u32)out->size;
    memcpy(out->data, REC_MAGIC, 8);
    ((struct rec_head *)(void *)out->data)->version = REC_VERSION;
}

static void test_what_was_written_is_read(void **state)
{
    struct rec_out out = {0};
    struct tn_error err = {0};
    char path[] = "/tmp/tenon-recording-XXXXXX";
    struct rec rec;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    write_one(&out);
    assert_int_equal(rec_save(&out, path), 0);
    assert_int_equal(rec_read(path, &rec, &err), 0);
    unlink(path);
    assert_string_equal(rec.name, "name");
    assert_string_equal(rec.messages, "R0 !read_ok\n");
    assert_string_equal(rec.log, "");
    assert_int_equal(rec.ninsns, 2);
    assert_memory_equal(rec.insns, ret0, sizeof(ret0));
    assert_int_equal(rec.nmaps, 2);
    assert_string_equal(rec.map[1]->name, "inner");
    assert_int_equal(rec.contents[1].size, 16);
    assert_null(rec.contents[0].data);
    assert_int_equal(rec.verdict->error, -EACCES);
    assert_int_equal(rec.nexpects, 2);
    assert_int_equal(rec.run[0]->retval, 7);
    rec_clear(&rec);
    rec_out_clear(&out);
}

static void test_cut_anywhere(void **state)
{
    struct rec_out out = {0};

    write_one(&out);
    for (size_t n = 0; n < out.size; n++) {
        struct rec rec;

        assert_int_not_equal(rec_parse(out.data, n, &rec, NULL), 0); /* its head tells another size */
        if (n < sizeof(struct rec_head))
            continue;
        ((struct rec_head *)(void *)out.data)->size =
            (u32)n; /* and now it does not: parts are missing or whole */
        if (!rec_parse(out.data, n, &rec, NULL))
            rec_clear(&rec);
        ((struct rec_head *)(void *)out.data)->size = (u32)out.size;
    }
    rec_out_clear(&out);
}

static void test_each_bit_turned(void **state)
{
    struct rec_out out = {0};
    u32 refused = 0;

    write_one(&out);
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        struct tn_error err = {0};
        struct rec rec;

        out.data[bit / 8] ^= (u8)(1 << bit % 8);
        if (rec_parse(out.data, out.size, &rec, &err)) {
            refused++;
            assert_true(err.message[0]);
        } else {
            for (u32 k = 0; k < rec.nmaps; k++)
                assert_true(rec.map[k]->inner < (s32)rec.nmaps && rec.map[k]->btf < (s32)rec.nbtfs);
            rec_clear(&rec);
        }
        out.data[bit / 8] ^= (u8)(1 << bit % 8);
    }
    assert_true(refused > out.size);
    rec_out_clear(&out);
}

static void test_contradictions_are_named(void **state)
{
    static const struct {
        enum rec_kind kind;
        const char *text, *says;
    } cases[] = {{REC_NAME, "twice", "a part twice"},
                 {REC_PROGRAM, "short", "a part twice"},
                 {REC_MAP, "short", "size of a map's part"},
                 {REC_CONTENTS, "123456", "contents of no map"},
                 {REC_RUN, "short", "size of a run's part"}};

    for (size_t k = 0; k < TN_ARRAY_SIZE(cases); k++) {
        struct rec_out out = {0};
        struct tn_error err = {0};
        struct rec rec;

        write_one(&out);
        rec_put(&out, cases[k].kind, cases[k].text, (u32)strlen(cases[k].text));
        ((struct rec_head *)(void *)out.data)->size = (u32)out.size;
        assert_int_equal(rec_parse(out.data, out.size, &rec, &err), -EINVAL);
        assert_non_null(strstr(err.message, cases[k].says));
        rec_out_clear(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_each_bit_turned),
        cmocka_unit_test(test_contradictions_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
