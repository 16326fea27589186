/* SPDX-License-Identifier: MIT */
/*
 * Debug information made to do harm. Whatever comes: an answer that our own checks take, or a refusal with a
 * name, within the time allowed; and never anything but that.
 *
 *      turned     a byte or eight of a debug section, or of the file's tables, changed
 *      cut        the file ends early, at every sixty-fourth of its length
 *      bombs      assembled by hand: a sibling that leads back, a type inside itself, nesting without an end,
 *                 abbreviations and counts that claim billions
 *      image      the child's answer itself, every byte turned, cut everywhere: read by nobody but our checks
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "host/child.h"
#include "host/image.h"
#include "rig.h"

static u64 seed = 1;

static u64 random_word(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static u8 *load(const char *name, size_t *ret_size)
{
    FILE *f = fopen(rig_path(name), "r");
    u8 *bytes = malloc(1 << 22);

    assert_non_null(f);
    assert_non_null(bytes);
    *ret_size = fread(bytes, 1, 1 << 22, f);
    fclose(f);
    return bytes;
}

static void store(const char *name, const u8 *bytes, size_t size)
{
    FILE *f = fopen(rig_path(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

struct tally {
    u32 answered, refused, crashed, late;
};

static void put(const char *name, struct tally *tally)
{
    struct tn_host_opts opts = {.path = rig_path(name), .fd = -1, .cache_dir = "", .limit_ms = 5000};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};
    u64 start = tn_monotonic();
    int r;

    opts.debug_dirs = (const char *[]){"/nowhere"};
    opts.ndebug_dirs = 1;
    r = tn_host_types_open(&opts, &types, &err);
    if (tn_monotonic() - start > 20000000000u)
        fail_msg("%s took %llu ms", name, (unsigned long long)(tn_monotonic() - start) / 1000000);
    if (!r) {
        tally->answered++;
        for (u32 k = 0; k < tn_host_types_nfuncs(types); k++) {
            const struct tn_host_func *f = tn_host_types_func(types, k);

            assert_non_null(tn_host_types_func_named(types, f->name, 0));
            if (f->type)
                assert_ptr_equal(tn_host_types_func_of_type(types, f->type), f);
        }
        tn_host_types_close(types);
        return;
    }
    if (r > 0 || !err.reason[0] || !err.message[0])
        fail_msg("%s: %d without a name", name, r);
    tally->refused++;
    tally->crashed += !strcmp(err.reason, "types_crash");
    tally->late += !strcmp(err.reason, "types_time");
}

/* Where a section lies in the file. */
static void section(const char *file, const char *name, u64 *ret_off, u64 *ret_size)
{
    unsigned long long off = 0, size = 0;
    FILE *f;

    rig_must("readelf -SW %s | grep -F ' %s ' | head -1 | sed 's/.*%s *[A-Z_]* *[0-9a-f]* //' > where", file,
             name, name);
    f = fopen(rig_path("where"), "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llx %llx", &off, &size), 2);
    fclose(f);
    *ret_off = off;
    *ret_size = size;
}

static void test_turned(void **state)
{
    static const char *const sections[] = {".debug_info",     ".debug_abbrev",   ".debug_str",
                                           ".debug_loclists", ".debug_rnglists", ".symtab",
                                           ".strtab"};
    static const u64 words[] = {0,          1,          0x7f,       0x80,       0xff,
                                0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX, 1ull << 63};
    struct tally tally = {0};
    _free_ u8 *bytes = NULL;
    size_t size;

    (void)state;
    rig_must("gcc -w -g -O2 $S/entry.c $S/twin.c -o full");
    bytes = load("full", &size);
    for (u32 s = 0; s <= TN_ARRAY_SIZE(sections); s++) {
        u64 off = 0, len = 64;

        if (s < TN_ARRAY_SIZE(sections))
            section("full", sections[s], &off, &len);
        for (u32 k = 0; k < 60; k++) {
            u64 at = off + random_word() % (len > 8 ? len - 8 : 1);
            u8 before[8];

            memcpy(before, bytes + at, 8);
            if (k % 3)
                bytes[at] = (u8)(k % 2 ? random_word() : words[random_word() % TN_ARRAY_SIZE(words)]);
            else
                memcpy(bytes + at, &words[random_word() % TN_ARRAY_SIZE(words)], 1u << random_word() % 4);
            store("turned", bytes, size);
            put("turned", &tally);
            memcpy(bytes + at, before, 8);
        }
    }
    print_message("%u answered, %u refused; the child ended by a signal %u times, by time %u times\n",
                  tally.answered, tally.refused, tally.crashed, tally.late);
    assert_true(tally.answered > 100);
}

static void test_cut(void **state)
{
    struct tally tally = {0};
    _free_ u8 *bytes = NULL;
    size_t size;

    (void)state;
    rig_must("gcc -w -g -O2 $S/entry.c $S/twin.c -o full");
    bytes = load("full", &size);
    for (u32 k = 0; k < 64; k++) {
        store("cut", bytes, size * k / 64);
        put("cut", &tally);
    }
    assert_int_equal(tally.answered, 0);
}

/* Debug sections by hand: bytes of .debug_info behind a DWARF 4 header, and of .debug_abbrev. */
static void bomb(const char *what, const char *info, const char *abbrev, struct tally *tally)
{
    FILE *f = fopen(rig_path("bomb.s"), "w");

    assert_non_null(f);
    fprintf(f,
            ".globl main\nmain: ret\n.size main, 1\n.type main, @function\n"
            ".section .debug_info,\"\",@progbits\nstart: .long end - begin\nbegin: .value 4\n.long 0\n.byte "
            "8\n%s\nend:\n"
            ".section .debug_abbrev,\"\",@progbits\n%s\n.byte 0\n"
            ".section .note.GNU-stack,\"\",@progbits\n",
            info, abbrev);
    fclose(f);
    rig_must("gcc -shared -nostdlib bomb.s -o bomb || { echo %s; false; }", what);
    put("bomb", tally);
}

/* Abbreviations: 1 unit with children; 2 pointer(type ref4); 3 struct(size 1) with children;
   4 member(type ref4, offset 0); 5 typedef(type); 6 structure with a sibling; 7 array(type)
   with children; 8 subrange(count data8). */
#define ABBREVS                                                                                              \
    ".uleb128 1,0x11\n.byte 1\n.uleb128 0,0\n.uleb128 2,0xf\n.byte 0\n.uleb128 0x49,0x13,0,0\n"              \
    ".uleb128 3,0x13\n.byte 1\n.uleb128 3,8,0xb,0xb,0,0\n.uleb128 4,0xd\n.byte 0\n.uleb128 "                 \
    "0x49,0x13,0x38,0xb,0,0\n"                                                                               \
    ".uleb128 5,0x16\n.byte 0\n.uleb128 3,8,0x49,0x13,0,0\n"                                                 \
    ".uleb128 6,0x13\n.byte 1\n.uleb128 3,8,0xb,0xb,1,0x13,0,0\n"                                            \
    ".uleb128 7,1\n.byte 1\n.uleb128 0x49,0x13,0,0\n.uleb128 8,0x21\n.byte 0\n.uleb128 0x37,7,0,0\n"

static void test_bombs(void **state)
{
    struct tally tally = {0};

    (void)state;
    bomb("siblings in a circle",
         ".byte 1\nback: .byte 6\n.asciz \"a\"\n.byte 1\n.long back - start\n.byte 0,0", ABBREVS, &tally);
    bomb("a struct inside itself",
         ".byte 1\nself: .byte 3\n.asciz \"a\"\n.byte 1\n.byte 4\n.long self - start\n.byte 0\n.byte 0,0",
         ABBREVS, &tally);
    bomb("a pointer to itself", ".byte 1\nself: .byte 2\n.long self - start\n.byte 0", ABBREVS, &tally);
    bomb("a typedef of itself", ".byte 1\nself: .byte 5\n.asciz \"t\"\n.long self - start\n.byte 0", ABBREVS,
         &tally);
    bomb("a typedef of nothing", ".byte 1\n.byte 5\n.asciz \"t\"\n.long 0x7fffffff\n.byte 0", ABBREVS,
         &tally);
    bomb("typedefs in a circle",
         ".byte 1\nx: .byte 5\n.asciz \"t\"\n.long y - start\ny: .byte 5\n.asciz \"u\"\n.long x - "
         "start\n.byte 0",
         ABBREVS, &tally);
    bomb("a hundred thousand structs deep",
         ".byte 1\n.rept 100000\n.byte 3\n.asciz \"a\"\n.byte 1\n.endr\n.byte 0,0", ABBREVS, &tally);
    bomb("arrays of arrays of 2^63",
         ".byte 1\na: .byte 7\n.long b - start\n.byte 8\n.quad 0x7fffffffffffffff\n.byte 8\n.quad "
         "0xffffffff\n.byte 0\n"
         "b: .byte 7\n.long a - start\n.rept 50000\n.byte 8\n.quad 65536\n.endr\n.byte 0,0",
         ABBREVS, &tally);
    bomb("an abbreviation without an end", ".byte 1\n.byte 0",
         ".uleb128 1,0x11\n.byte 1\n.rept 1000000\n.uleb128 3,8\n.endr\n", &tally);
    bomb("a million abbreviations", ".byte 1\n.uleb128 99\n.byte 0",
         ".rept 1000000\n.uleb128 1,0x11\n.byte 1\n.uleb128 0,0\n.endr\n", &tally);
    bomb("a unit longer than the file", ".byte 1\n.byte 0\n.long 0xfffffff0\n.value 4", ABBREVS, &tally);
    bomb("two hundred thousand units",
         ".byte 1\n.byte 0\n.rept 200000\n.long 9\n.value 4\n.long 0\n.byte 8\n.byte 1,0\n.endr\n.long "
         "3\n.value 4\n.byte 0",
         ABBREVS, &tally);
    print_message("%u answered, %u refused; the child ended by a signal %u times, by time %u times\n",
                  tally.answered, tally.refused, tally.crashed, tally.late);
    assert_int_equal(tally.answered + tally.refused, 12);
}

static void test_image(void **state)
{
    struct tn_host_elf *elf = calloc(1, sizeof(*elf));
    struct tn_host_child_in in = {.elf = elf, .debug_fd = -1, .alt_fd = -1, .types_fd = -1};
    struct tn_host_child child;
    struct tn_error err = {0};
    _free_ void *bytes = NULL;
    u32 opened = 0;
    u64 size;
    int fd;

    (void)state;
    rig_must("gcc -w -g -O2 $S/entry.c $S/twin.c -o full");
    fd = open(rig_path("full"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(tn_host_elf_read(fd, "full", elf, &err), 0);
    memcpy(in.head.magic, TN_HOST_MAGIC, sizeof(in.head.magic));
    in.fd = fd;
    assert_int_equal(tn_host_child_start(&in, &child, &err), 0);
    assert_int_equal(tn_host_child_finish(&child, &bytes, &size, &err), 0);
    for (u64 at = 0; at < 2 * size; at++) {
        u64 len = at < size ? size : at - size;
        struct tn_host_image image = {0};
        u8 *copy = malloc(len + 1);

        assert_non_null(copy);
        memcpy(copy, bytes, len);
        if (at < size)
            copy[at] ^= (u8)(random_word() | 1);
        err = (struct tn_error){0};
        if (!tn_host_image_open(copy, len, &image, &err)) {
            assert_true(at < size); /* not one that is cut */
            for (u32 k = 0; k < image.head.nfuncs; k++)
                assert_true(strlen(image.strings + image.func[k].name) < size);
            for (u32 k = 0; k < image.head.nvars; k++)
                assert_true(strlen(image.strings + image.var[k].name) < size);
            tn_btf_close(image.view);
            opened++;
        } else {
            assert_true(err.reason[0] && err.message[0]);
        }
        free(copy);
    }
    assert_true(opened > 0 && opened < size);
    close(fd);
    free(elf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turned),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_image),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
