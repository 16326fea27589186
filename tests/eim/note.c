/* SPDX-License-Identifier: MIT */
/*
 * The reader of annotations against files that no compiler made: cut at every byte, with every bit turned,
 * and one row a rule. notes.bats has those that compilers make.
 */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eim/note.h"

struct image {
    Elf64_Ehdr e;
    Elf64_Phdr p;
    Elf64_Shdr s[3];
    char names[32];
    u8 notes[512];
    u32 used;
};

static void add(struct image *f, u32 type, const char *name, const char *strings, u32 len)
{
    Elf64_Nhdr h = {4, len, type};

    memcpy(f->notes + f->used, &h, sizeof(h));
    memcpy(f->notes + f->used + sizeof(h), name, 4);
    memcpy(f->notes + f->used + sizeof(h) + 4, strings, len);
    f->used += (u32)TN_ROUND_UP(sizeof(h) + 4 + len, 4u);
}
#define ADD(f, type, strings) add(f, type, "EIM", strings, sizeof(strings))

static void frame(struct image *f)
{
    f->e = (Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                        .e_phoff = offsetof(struct image, p),
                        .e_phentsize = sizeof(Elf64_Phdr),
                        .e_phnum = 1,
                        .e_shoff = offsetof(struct image, s),
                        .e_shentsize = sizeof(Elf64_Shdr),
                        .e_shnum = 3,
                        .e_shstrndx = 2};
    memcpy(f->names, "\0.note.eim\0.shstrtab", 21);
    f->p = (Elf64_Phdr){
        .p_type = PT_NOTE, .p_offset = offsetof(struct image, notes), .p_filesz = f->used, .p_align = 4};
    f->s[1] = (Elf64_Shdr){
        .sh_name = 1, .sh_type = SHT_NOTE, .sh_offset = offsetof(struct image, notes), .sh_size = f->used};
    f->s[2] = (Elf64_Shdr){.sh_name = 11,
                           .sh_type = SHT_STRTAB,
                           .sh_offset = offsetof(struct image, names),
                           .sh_size = sizeof(f->names)};
}

static void good(struct image *f)
{
    *f = (struct image){0};
    ADD(f, 1, "a.c:1\0begin\0f\0");
    ADD(f, 2, "a.c:2\0pid\0READ\0g\0");
    ADD(f, 2, "a.c:3\0pid\0WRITE\0g\0");
    ADD(f, 3, "a.c:4\0time\0h\0rtn > 0\0IO\0");
    frame(f);
}

static int read_it(const void *bytes, u64 size, struct tn_notes *n, struct tn_error *err)
{
    u8 *exact = malloc(size ? size : 1); /* so that a sanitizer sees the end */
    int code;

    assert_non_null(exact);
    memcpy(exact, bytes, size);
    *n = (struct tn_notes){0};
    *err = (struct tn_error){0};
    code = tn_notes_read(exact, size, n, err);
    free(exact);
    if (code)
        assert_true(*err->message && *err->reason && !n->n);
    return code;
}

static void test_good(void **state)
{
    struct tn_error err;
    struct tn_notes n;
    struct image f;

    good(&f);
    for (u32 sections = 2; sections--;) {
        if (!sections)
            f.e.e_shoff = 0; /* by segments, then */
        assert_int_equal(read_it(&f, sizeof(f), &n, &err), 0);
        assert_int_equal(n.n, 4);
        assert_int_equal(n.rows[0].kind, TN_NOTE_ENTRY);
        assert_string_equal(n.rows[0].where, "a.c:1");
        assert_string_equal(n.rows[0].what, "f");
        assert_false(n.rows[1].write);
        assert_true(n.rows[2].write);
        assert_int_equal(n.rows[3].nconstraints, 2);
        assert_string_equal(n.rows[3].constraints[1], "IO");
        tn_notes_clear(&n);
    }
}

static void test_rows(void **state)
{
    static const struct {
        const char *what;
        u32 type, len;
        const char *name, *strings, *says;
    } rows[] = {
#define R(what, type, name, strings, says) {what, type, sizeof(strings), name, strings, says}
        R("a type of its own", 4, "EIM", "a\0b\0c\0", "no annotation has that type"),
        R("no name", 1, "EIM", "a\0\0c\0", "a string is missing, empty"),
        R("no function", 1, "EIM", "a\0b", "a string is missing, empty"),
        R("no end", 3, "EIM", "a\0b\0c\0x > 0", "has no end"),
        R("one too many", 2, "EIM", "a\0b\0READ\0c\0d\0", "a string too many"),
        R("neither read nor write", 2, "EIM", "a.c:9\0b\0CALL\0c\0",
          "a.c:9: EIM_STATE(b, CALL, …): expected READ or WRITE"),
        R("a control character", 1, "EIM", "a\0b\033[2J\0c\0", "control characters"),
        R("somebody else's", 1, "GNU", "a\0b\0c\0", "it is not named EIM"),
#undef R
    };

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        struct image f = {0};
        struct tn_notes n;
        struct tn_error err;

        add(&f, rows[k].type, rows[k].name, rows[k].strings, rows[k].len);
        frame(&f);
        if (read_it(&f, sizeof(f), &n, &err) != -EINVAL || !strstr(err.message, rows[k].says))
            fail_msg("%s: %s", rows[k].what, err.message);
    }
}

static void test_same_bytes_again(void **state)
{
    static struct {
        struct image f;
        Elf64_Phdr p[1000];
    } many;
    struct tn_notes n;
    struct tn_error err;

    good(&many.f);
    many.f.e.e_shoff = 0;
    for (size_t k = 0; k < 1000; k++)
        many.p[k] = many.f.p;
    many.f.e.e_phoff = offsetof(__typeof__(many), p);
    many.f.e.e_phnum = 1000;
    assert_int_equal(read_it(&many, sizeof(many), &n, &err), -EINVAL);
    assert_non_null(strstr(err.message, "several times"));
}

static void test_no_elf(void **state)
{
    struct tn_notes n;
    struct tn_error err;
    struct image f;

    assert_int_equal(read_it("", 0, &n, &err), -ENOEXEC);
    good(&f);
    f.e.e_ident[EI_CLASS] = ELFCLASS32;
    assert_int_equal(read_it(&f, sizeof(f), &n, &err), -ENOEXEC);
    f.e.e_ident[0] = '#';
    assert_int_equal(read_it(&f, sizeof(f), &n, &err), -ENOEXEC);
    good(&f);
    f.s[1].sh_type = f.p.p_type = 0; /* no notes: that is no error */
    assert_int_equal(read_it(&f, sizeof(f), &n, &err), 0);
    assert_int_equal(n.n, 0);
}

/* Whatever stands there: an answer, and none that reads beyond the end. */
static void test_damaged(void **state)
{
    struct image f;
    u32 accepted = 0, refused = 0;

    good(&f);
    for (u32 k = 0; k < 2; k++, f.e.e_shoff = 0) {
        for (u64 size = 0; size < sizeof(f); size++) {
            struct tn_notes n;
            struct tn_error err;

            if (!read_it(&f, size, &n, &err))
                tn_notes_clear(&n);
        }
        for (u64 bit = 0; bit < (offsetof(struct image, notes) + f.used) * 8; bit++) {
            struct image bent = f;
            struct tn_notes n;
            struct tn_error err;

            ((u8 *)&bent)[bit / 8] ^= (u8)(1u << bit % 8);
            if (read_it(&bent, sizeof(bent), &n, &err)) {
                refused++;
                continue;
            }
            accepted++;
            for (u32 r = 0; r < n.n; r++)
                assert_true(*n.rows[r].name && *n.rows[r].what);
            tn_notes_clear(&n);
        }
    }
    assert_true(accepted > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_same_bytes_again),
        cmocka_unit_test(test_no_elf),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
