/* SPDX-License-Identifier: MIT */
/*
 * Type information, good and bad, put before our reader and before the kernel's: the same verdict, and where
 * it is refused, the same words in both logs.
 *
 *      table      a row a rule: types by hand, with what Linux says of them
 *      turned     valid types of every kind with every single bit turned, and cut at every byte
 *      vmlinux    the running kernel's own: every type read, every name found, as libbpf reads them
 *      split      a second layer: its ids, names, tags, and its faults
 *      memory     every allocation failed once
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

#include <bpf/btf.h>
#include <cmocka.h>
#include <linux/bpf.h>

#include "btf/btf.h"
#include "tests/shortage.h"

/* ------------------------------------------------------------------------------------------- builder */

#define NAMES "\0A\0B\0C\0bad name\0a.b\0.data\0x y\0int\0f"
enum { N_A = 1, N_B = 3, N_C = 5, N_BAD = 7, N_DOT = 16, N_SEC = 20, N_SPACE = 26, N_INT = 30, N_F = 34 };

#define INFO(kind, vlen, kflag)          ((u32)(kflag) << 31 | BTF_KIND_##kind << 24 | (vlen))
#define T(name, kind, vlen, kflag, size) (name), INFO(kind, vlen, kflag), (size)
#define INT_DATA(enc, off, bits)         ((enc) << 24 | (off) << 16 | (bits))
#define INT32                            T(N_INT, INT, 0, 0, 4), INT_DATA(1, 0, 32)
#define FIELD(bits, off)                 ((u32)(bits) << 24 | (off))

struct blob {
    u8 data[4096];
    u32 size;
};

static void build(struct blob *b, const u32 *words, u32 n, const char *strings, u32 nstrings)
{
    struct btf_header h = {.magic = BTF_MAGIC,
                           .version = 1,
                           .hdr_len = sizeof(h),
                           .type_len = n * 4,
                           .str_off = n * 4,
                           .str_len = nstrings};

    assert_true(sizeof(h) + n * 4 + nstrings <= sizeof(b->data));
    memcpy(b->data, &h, sizeof(h));
    memcpy(b->data + sizeof(h), words, n * 4);
    memcpy(b->data + sizeof(h) + n * 4, strings, nstrings);
    b->size = sizeof(h) + n * 4 + nstrings;
}

/* 1: the kernel takes it; 0: it does not, and `log` says why; −1: it cannot be asked. */
static int ask_kernel(const void *data, u32 size, char *log, u32 log_size)
{
    union bpf_attr attr = {0};
    long fd;

    log[0] = 0;
    attr.btf = (u64)(uintptr_t)data;
    attr.btf_size = size;
    attr.btf_log_buf = (u64)(uintptr_t)log;
    attr.btf_log_size = log_size;
    attr.btf_log_level = 1;
    fd = syscall(SYS_bpf, BPF_BTF_LOAD, &attr, sizeof(attr));
    if (fd >= 0) {
        close((int)fd);
        return 1;
    }
    return errno == EPERM || errno == ENOSYS || errno == ENOMEM ? -1 : 0;
}

static int ask_us(const void *data, u32 size, struct tn_error *err)
{
    struct tn_btf *b = NULL;
    int r;

    memset(err, 0, sizeof(*err));
    r = tn_btf_open(data, size, NULL, &b, err);
    assert_true(r == 0 || r == -EINVAL || r == -E2BIG);
    assert_true(r ? !b && err->message[0] : b && !err->message[0]);
    tn_btf_close(b);
    return !r;
}

/* --------------------------------------------------------------------------------------------- table */

struct row {
    const char *what;
    const char *says; /* NULL: it is fine */
    u32 n;
    u32 words[48];
};
#define ROW(what, says, ...)                                                                                 \
    {                                                                                                        \
        what, says, sizeof((u32[]){__VA_ARGS__}) / 4,                                                        \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }

// clang-format off
static const struct row rows[] = {
    /* integers */
    ROW("an integer", NULL, INT32),
    ROW("bits without a meaning", "Invalid int_data", T(N_INT, INT, 0, 0, 4), 0x10000020),
    ROW("wider than its bytes", "nr_bits exceeds type_size", T(N_INT, INT, 0, 0, 2), INT_DATA(0, 0, 32)),
    ROW("more than 128 bits", "nr_bits exceeds", T(N_INT, INT, 0, 0, 64), INT_DATA(0, 1, 128)),
    ROW("two encodings", "Unsupported encoding", T(N_INT, INT, 0, 0, 4), INT_DATA(3, 0, 32)),
    ROW("a counted integer", "vlen != 0", T(N_INT, INT, 1, 0, 4), INT_DATA(0, 0, 32)),
    ROW("a flagged integer", "Invalid btf_info kind_flag", T(N_INT, INT, 0, 1, 4), INT_DATA(0, 0, 32)),
    ROW("an integer cut off", "meta_left", N_INT, INFO(INT, 0, 0), 4),
    ROW("a float", NULL, T(N_A, FLOAT, 0, 0, 12)),
    ROW("an odd float", "Invalid type_size", T(N_A, FLOAT, 0, 0, 5)),
    /* heads */
    ROW("no kind", "Invalid kind:0", N_A, 0, 0),
    ROW("kind 20", "Invalid kind:20", N_A, 20u << 24, 0),
    ROW("bits in info", "Invalid btf_info", N_A, INFO(INT, 0, 0) | 1 << 20, 4, 32),
    ROW("a name past the end", "Invalid name_offset", T(4000, INT, 0, 0, 4), INT_DATA(0, 0, 32)),
    /* references */
    ROW("a pointer to void", NULL, T(0, PTR, 0, 0, 0)),
    ROW("a pointer to nothing", "Invalid type_id", T(0, PTR, 0, 0, 7)),
    ROW("a pointer with a name", "Invalid name", T(N_A, PTR, 0, 0, 0)),
    ROW("a typedef without", "Invalid name", INT32, T(0, TYPEDEF, 0, 0, 1)),
    ROW("a typedef of no identifier", "Invalid name", INT32, T(N_SPACE, TYPEDEF, 0, 0, 1)),
    ROW("a typedef with a dot", NULL, INT32, T(N_DOT, TYPEDEF, 0, 0, 1)),
    ROW("const with a name", "Invalid name", INT32, T(N_A, CONST, 0, 0, 1)),
    ROW("typedef of itself", "Loop detected", T(N_A, TYPEDEF, 0, 0, 1)),
    ROW("const of volatile of const", "Loop detected", T(0, CONST, 0, 0, 2), T(0, VOLATILE, 0, 0, 1)),
    ROW("a pointer to itself", "Loop detected", T(0, PTR, 0, 0, 1)),
    ROW("a pointer to a typedef of it", "Loop detected", T(0, PTR, 0, 0, 2), T(N_A, TYPEDEF, 0, 0, 1)),
    ROW("a struct that points at itself", NULL, T(N_A, STRUCT, 1, 0, 8), N_B, 2, 0, T(0, PTR, 0, 0, 1)),
    ROW("the same through a typedef", NULL, T(N_A, STRUCT, 1, 0, 8), N_B, 3, 0, T(0, PTR, 0, 0, 1),
        T(N_C, TYPEDEF, 0, 0, 2)),
    ROW("a struct in itself", "Loop detected", T(N_A, STRUCT, 1, 0, 8), N_B, 1, 0),
    ROW("a struct in its own array", "Loop detected", INT32, T(N_A, STRUCT, 1, 0, 8), N_B, 3, 0,
        T(0, ARRAY, 0, 0, 0), 2, 1, 1),
    ROW("two structs in each other", "Loop detected", T(N_A, STRUCT, 1, 0, 8), N_B, 2, 0,
        T(N_B, STRUCT, 1, 0, 8), N_A, 1, 0),
    ROW("a pointer to a variable", "Invalid type_id", INT32, T(N_A, VAR, 0, 0, 1), 1, T(0, PTR, 0, 0, 2)),
    ROW("a pointer to a function", NULL, T(0, FUNC_PROTO, 0, 0, 0), T(N_F, FUNC, 0, 0, 1),
        T(0, PTR, 0, 0, 2)),
    ROW("a pointer to a prototype", NULL, T(0, FUNC_PROTO, 0, 0, 0), T(0, PTR, 0, 0, 1)),
    ROW("const of a function", NULL, T(0, FUNC_PROTO, 0, 0, 0), T(N_F, FUNC, 0, 0, 1),
        T(0, CONST, 0, 0, 2)),
    ROW("a declaration", NULL, T(N_A, FWD, 0, 1, 0)),
    ROW("a declaration without a name", "Invalid name", T(0, FWD, 0, 0, 0)),
    ROW("a declaration with a type", "type != 0", T(N_A, FWD, 0, 0, 1)),
    ROW("type tags first", NULL, INT32, T(0, CONST, 0, 0, 1), T(N_A, TYPE_TAG, 0, 0, 2), T(0, PTR, 0, 0, 3)),
    ROW("type tags behind", "Type tags don't precede modifiers", INT32, T(N_A, TYPE_TAG, 0, 0, 1),
        T(0, CONST, 0, 0, 2), T(0, PTR, 0, 0, 3)),
    ROW("a type tag without a text", "Invalid name", INT32, T(0, TYPE_TAG, 0, 0, 1)),
    ROW("an attribute that is no type tag", NULL, INT32, T(N_A, TYPE_TAG, 0, 1, 1)),
    /* arrays */
    ROW("an array", NULL, INT32, T(0, ARRAY, 0, 0, 0), 1, 1, 4),
    ROW("of an array, indexed by a typedef", NULL, INT32, T(0, ARRAY, 0, 0, 0), 3, 4, 4,
        T(0, ARRAY, 0, 0, 0), 1, 1, 4, T(N_A, TYPEDEF, 0, 0, 1)),
    ROW("of void", "Invalid elem", INT32, T(0, ARRAY, 0, 0, 0), 0, 1, 4),
    ROW("of const void", "Invalid elem", INT32, T(0, CONST, 0, 0, 0), T(0, ARRAY, 0, 0, 0), 2, 1, 4),
    ROW("of a declaration", "Invalid elem", INT32, T(N_A, FWD, 0, 0, 0), T(0, ARRAY, 0, 0, 0), 2, 1, 4),
    ROW("indexed by void", "Invalid index", INT32, T(0, ARRAY, 0, 0, 0), 1, 0, 4),
    ROW("indexed by a pointer", "Invalid index", INT32, T(0, PTR, 0, 0, 0), T(0, ARRAY, 0, 0, 0), 1, 2, 4),
    ROW("with a name", "Invalid name", INT32, T(N_A, ARRAY, 0, 0, 0), 1, 1, 4),
    ROW("with a size", "size != 0", INT32, T(0, ARRAY, 0, 0, 4), 1, 1, 4),
    ROW("of part of an integer", "Invalid array of int", INT32, T(N_A, INT, 0, 0, 1), INT_DATA(0, 0, 4),
        T(0, ARRAY, 0, 0, 0), 2, 1, 4),
    ROW("too large", "Array size overflows U32_MAX", INT32, T(0, ARRAY, 0, 0, 0), 1, 1, 0x40000000),
    ROW("in itself", "Loop detected", INT32, T(0, ARRAY, 0, 0, 0), 2, 1, 4),
    /* structs */
    ROW("a struct", NULL, INT32, T(N_A, STRUCT, 2, 0, 8), N_A, 1, 0, N_B, 1, 32),
    ROW("a flexible array", NULL, INT32, T(N_A, STRUCT, 2, 0, 4), N_A, 1, 0, N_B, 3, 32,
        T(0, ARRAY, 0, 0, 0), 1, 1, 0),
    ROW("a member of void", "Invalid type_id", T(N_A, STRUCT, 1, 0, 4), N_A, 0, 0),
    ROW("a member of const void", "Invalid member", T(0, CONST, 0, 0, 0), T(N_A, STRUCT, 1, 0, 4), N_A, 1, 0),
    ROW("a member that is a declaration", "Invalid member", T(N_B, FWD, 0, 0, 0), T(N_A, STRUCT, 1, 0, 4), N_A, 1, 0),
    ROW("a bad name", "Invalid name", INT32, T(N_BAD, STRUCT, 1, 0, 4), N_A, 1, 0),
    ROW("a member's bad name", "Invalid name", INT32, T(N_A, STRUCT, 1, 0, 4), N_BAD, 1, 0),
    ROW("a member's name past the end", "Invalid member name_offset", INT32, T(N_A, STRUCT, 1, 0, 4), 999, 1, 0),
    ROW("members run backwards", "Invalid member bits_offset", INT32, T(N_A, STRUCT, 2, 0, 8), N_A, 1, 32, N_B, 1, 0),
    ROW("a union's second", "Invalid member bits_offset", INT32, T(N_A, UNION, 2, 0, 8), N_A, 1, 0, N_B, 1, 32),
    ROW("behind the end", "Member bits_offset exceeds its struct size", INT32, T(N_A, STRUCT, 1, 0, 4), N_A, 1, 64),
    ROW("over the end", "Member exceeds struct_size", INT32, T(N_A, STRUCT, 1, 0, 4), N_A, 1, 8),
    ROW("a pointer over the end", "Member exceeds struct_size", T(0, PTR, 0, 0, 0), T(N_A, STRUCT, 1, 0, 4), N_A, 1, 0),
    ROW("an array over the end", "Member exceeds struct_size", INT32, T(0, ARRAY, 0, 0, 0), 1, 1, 2,
        T(N_A, STRUCT, 1, 0, 4), N_A, 2, 0),
    ROW("a pointer between bytes", "Member is not byte aligned", T(0, PTR, 0, 0, 0), T(N_A, STRUCT, 1, 0, 16), N_A, 1, 4),
    ROW("bitfields", NULL, INT32, T(N_A, STRUCT, 2, 1, 4), N_A, 1, FIELD(3, 0), N_B, 1, FIELD(29, 3)),
    ROW("a bitfield too wide", "Invalid member bitfield_size", INT32, T(N_A, STRUCT, 1, 1, 8), N_A, 1, FIELD(33, 0)),
    ROW("a bitfield over the end", "Member exceeds struct_size", INT32, T(N_A, STRUCT, 1, 1, 4), N_A, 1, FIELD(31, 2)),
    ROW("a bitfield of part of an integer", "Invalid member base type", T(N_INT, INT, 0, 0, 4), INT_DATA(0, 0, 7),
        T(N_A, STRUCT, 1, 1, 4), N_A, 1, FIELD(3, 0)),
    ROW("no bitfield, between bytes", "Invalid member offset", INT32, T(N_A, STRUCT, 1, 1, 8), N_A, 1, FIELD(0, 4)),
    ROW("a bitfield of a pointer", "Invalid member bitfield_size", T(0, PTR, 0, 0, 0), T(N_A, STRUCT, 1, 1, 8), N_A, 1, FIELD(3, 0)),
    ROW("a float at 4", "Member is not properly aligned", T(N_B, FLOAT, 0, 0, 8), T(N_A, STRUCT, 1, 0, 16), N_A, 1, 32),
    /* enumerations */
    ROW("an enumeration", NULL, T(N_A, ENUM, 1, 1, 4), N_B, 0xffffffff),
    ROW("of 3 bytes", "Unexpected size", T(N_A, ENUM, 1, 0, 3), N_B, 1),
    ROW("of nobody", "Invalid name", T(N_A, ENUM, 1, 0, 4), 0, 1),
    ROW("cut off", "meta_left", T(N_A, ENUM, 2, 0, 4), N_B, 1),
    ROW("of 64 bits", NULL, T(N_A, ENUM64, 1, 0, 8), N_B, 1, 1),
    ROW("of 64 bits and nobody", "Invalid name", T(N_A, ENUM64, 1, 0, 8), N_BAD, 1, 1),
    /* functions */
    ROW("a function", NULL, INT32, T(0, FUNC_PROTO, 2, 0, 1), N_A, 1, N_B, 1, T(N_F, FUNC, 1, 0, 2)),
    ROW("variadic", NULL, INT32, T(0, FUNC_PROTO, 2, 0, 1), N_A, 1, 0, 0, T(N_F, FUNC, 1, 0, 2)),
    ROW("variadic in the middle", "Invalid arg#1", INT32, T(0, FUNC_PROTO, 2, 0, 1), 0, 0, N_A, 1),
    ROW("void with a name", "Invalid arg#2", INT32, T(0, FUNC_PROTO, 2, 0, 1), N_A, 1, N_B, 0),
    ROW("an argument of nothing", "Invalid arg#1", INT32, T(0, FUNC_PROTO, 1, 0, 1), N_A, 9),
    ROW("an argument badly named", "Invalid arg#1", INT32, T(0, FUNC_PROTO, 1, 0, 1), N_BAD, 1),
    ROW("an argument not named", "Invalid arg#1", INT32, T(0, FUNC_PROTO, 1, 0, 1), 0, 1, T(N_F, FUNC, 1, 0, 2)),
    ROW("returns nothing there is", "Invalid return type", INT32, T(0, FUNC_PROTO, 0, 0, 9)),
    ROW("returns a function", "Invalid return type", T(0, FUNC_PROTO, 0, 0, 0), T(N_F, FUNC, 0, 0, 1), T(0, FUNC_PROTO, 0, 0, 2)),
    ROW("a function of an integer", "Invalid type_id", INT32, T(N_F, FUNC, 1, 0, 1)),
    ROW("an external function", "Invalid func linkage", T(0, FUNC_PROTO, 0, 0, 0), T(N_F, FUNC, 2, 0, 1)),
    ROW("a function without a name", "Invalid name", T(0, FUNC_PROTO, 0, 0, 0), T(0, FUNC, 1, 0, 1)),
    ROW("a prototype with a name", "Invalid name", T(N_F, FUNC_PROTO, 0, 0, 0)),
    /* variables */
    ROW("a section", NULL, INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_SEC, DATASEC, 1, 0, 8), 2, 0, 4),
    ROW("an external variable", "Linkage not supported", INT32, T(N_A, VAR, 0, 0, 1), 2),
    ROW("a variable of void", "Invalid type_id", T(N_A, VAR, 0, 0, 0), 1),
    ROW("a section without bytes", "size == 0", INT32, T(N_SEC, DATASEC, 0, 0, 0)),
    ROW("a section of types", "Not a VAR kind member", INT32, T(N_SEC, DATASEC, 1, 0, 8), 1, 0, 4),
    ROW("a variable outside", "Invalid offset", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_SEC, DATASEC, 1, 0, 8), 2, 8, 4),
    ROW("over the end", "Invalid offset+size", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_SEC, DATASEC, 1, 0, 8), 2, 6, 4),
    ROW("no bytes", "Invalid size", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_SEC, DATASEC, 1, 0, 8), 2, 0, 0),
    ROW("too few bytes", "Invalid size", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_SEC, DATASEC, 1, 0, 8), 2, 0, 2),
    ROW("two at one place", "Invalid offset", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_SEC, DATASEC, 2, 0, 8), 2, 0, 4, 2, 2, 4),
    /* tags */
    ROW("a tag on a member", NULL, INT32, T(N_A, STRUCT, 1, 0, 4), N_A, 1, 0, T(N_B, DECL_TAG, 0, 0, 2), 0),
    ROW("a tag on an argument", NULL, INT32, T(0, FUNC_PROTO, 1, 0, 1), N_A, 1, T(N_F, FUNC, 1, 0, 2), T(N_B, DECL_TAG, 0, 0, 3), 0),
    ROW("a tag past the members", "Invalid component_idx", INT32, T(N_A, STRUCT, 1, 0, 4), N_A, 1, 0, T(N_B, DECL_TAG, 0, 0, 2), 1),
    ROW("a tag past the arguments", "Invalid component_idx", INT32, T(0, FUNC_PROTO, 1, 0, 1), N_A, 1, T(N_F, FUNC, 1, 0, 2), T(N_B, DECL_TAG, 0, 0, 3), 1),
    ROW("a tag at −2", "Invalid component_idx", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_B, DECL_TAG, 0, 0, 2), -2u),
    ROW("a tag on a variable's part", "Invalid component_idx", INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_B, DECL_TAG, 0, 0, 2), 0),
    ROW("a tag on an integer", "Invalid type_id", INT32, T(N_B, DECL_TAG, 0, 0, 1), -1u),
    ROW("a tag without a text", "Invalid value", INT32, T(N_A, VAR, 0, 0, 1), 1, T(0, DECL_TAG, 0, 0, 2), -1u),
    ROW("an attribute that is no tag", NULL, INT32, T(N_A, VAR, 0, 0, 1), 1, T(N_B, DECL_TAG, 0, 1, 2), -1u),
};
// clang-format on

static void test_table(void **state)
{
    char log[4096];
    u32 asked = 0, wrong = 0;

    for (u32 k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        const struct row *row = &rows[k];
        struct tn_error err;
        struct blob b;
        int kernel, us;

        build(&b, row->words, row->n, NAMES, sizeof(NAMES));
        us = ask_us(b.data, b.size, &err);
        kernel = ask_kernel(b.data, b.size, log, sizeof(log));
        asked += kernel >= 0;
        if (us != !row->says || (row->says && !strstr(err.message, row->says))) {
            print_error("%s: ours: %s (%s)\n", row->what, us ? "accepted" : "refused", err.message);
            wrong++;
        }
        if (kernel >= 0 && (kernel != !row->says || (row->says && !strstr(log, row->says)))) {
            print_error("%s: kernel: %s (%s)\n", row->what, kernel ? "accepted" : "refused", log);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    if (!asked)
        print_message("# the kernel takes no type information from us: only our own reader was asked\n");
}

/* -------------------------------------------------------------------------------------------- header */

static void test_header(void **state)
{
    static const struct {
        const char *says;
        u32 at, len; /* bytes of the header to be replaced */
        u32 value;
        s32 size; /* change of the data's size */
    } heads[] = {
        {"Invalid magic", 0, 2, 0x9feb, 0},
        {"Unsupported version", 2, 1, 2, 0},
        {"Unsupported flags", 3, 1, 1, 0},
        {"Unsupported section found", offsetof(struct btf_header, hdr_len), 4, 8, 0},
        {"btf_header not found", offsetof(struct btf_header, hdr_len), 4, 5000, 0},
        {"Unsupported btf_header", offsetof(struct btf_header, hdr_len), 4, 28, 0},
        {"Unsupported section found", offsetof(struct btf_header, type_off), 4, 4, 0},
        {"Invalid section offset", offsetof(struct btf_header, str_off), 4, 5000, 0},
        {"Section overlap found", offsetof(struct btf_header, str_off), 4, 12, 0},
        {"Unsupported section found", offsetof(struct btf_header, str_off), 4, 17, 0},
        {"Total section length too long", offsetof(struct btf_header, str_len), 4, 5000, 0},
        {"Total section length too long", offsetof(struct btf_header, type_len), 4, -1u, 0},
        {"Unsupported section found", offsetof(struct btf_header, str_len), 4, sizeof(NAMES) - 1, 0},
        {"Total section length too long", 0, 0, 0, -1},
        {"hdr_len not found", 0, 0, 0, -(s32)(sizeof(NAMES) + 16 + 20)},
    };
    u32 words[] = {INT32};
    char log[4096];
    u32 wrong = 0;

    for (u32 k = 0; k < TN_ARRAY_SIZE(heads); k++) {
        struct tn_error err;
        struct blob b;
        int us, kernel;

        build(&b, words, TN_ARRAY_SIZE(words), NAMES, sizeof(NAMES));
        memcpy(b.data + heads[k].at, &heads[k].value, heads[k].len);
        b.size += (u32)heads[k].size;
        us = ask_us(b.data, b.size, &err);
        kernel = ask_kernel(b.data, b.size, log, sizeof(log));
        if (us || !strstr(err.message, heads[k].says)) {
            print_error("header %u: ours: %s\n", k, us ? "accepted" : err.message);
            wrong++;
        }
        if (kernel == 1 || (!kernel && !strstr(log, heads[k].says) && b.size >= 8)) {
            print_error("header %u: kernel: %s\n", k, kernel ? "accepted" : log);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* -------------------------------------------------------------------------------------------- turned */

// clang-format off
static const u32 every_kind[] = {
    /*  1 */ INT32,
    /*  2 */ T(0, PTR, 0, 0, 4),
    /*  3 */ T(0, ARRAY, 0, 0, 0), 1, 1, 4,
    /*  4 */ T(N_A, STRUCT, 3, 1, 24), N_A, 2, 0, N_B, 3, 64, 0, 1, FIELD(7, 64),
    /*  5 */ T(0, UNION, 1, 0, 8), N_A, 4, 0,
    /*  6 */ T(N_A, ENUM, 1, 0, 4), N_B, 7,
    /*  7 */ T(N_B, FWD, 0, 0, 0),
    /*  8 */ T(N_C, TYPEDEF, 0, 0, 9),
    /*  9 */ T(0, VOLATILE, 0, 0, 10),
    /* 10 */ T(0, CONST, 0, 0, 11),
    /* 11 */ T(0, RESTRICT, 0, 0, 2),
    /* 12 */ T(0, FUNC_PROTO, 2, 0, 1), N_A, 8, N_B, 1,
    /* 13 */ T(N_F, FUNC, 1, 0, 12),
    /* 14 */ T(N_A, VAR, 0, 0, 3), 1,
    /* 15 */ T(N_SEC, DATASEC, 1, 0, 32), 14, 8, 16,
    /* 16 */ T(N_A, FLOAT, 0, 0, 8),
    /* 17 */ T(N_B, DECL_TAG, 0, 0, 13), 1,
    /* 18 */ T(N_C, TYPE_TAG, 0, 0, 10),
    /* 19 */ T(N_C, ENUM64, 1, 0, 8), N_C, 7, 7,
    /* 20 */ T(N_B, DECL_TAG, 0, 0, 4), 2,
    /* 21 */ T(N_C, DECL_TAG, 0, 0, 4), 2,
    /* 22 */ T(N_C, DECL_TAG, 0, 0, 4), -1u,
};
// clang-format on

static void test_turned(void **state)
{
    char *log = test_malloc(1 << 16);
    u32 asked = 0, wrong = 0, accepted = 0;
    struct tn_error err;
    struct blob b;

    /* The union's member is larger than the union, on purpose: mend it, so that everything is valid. */
    build(&b, every_kind, TN_ARRAY_SIZE(every_kind), NAMES, sizeof(NAMES));
    assert_false(ask_us(b.data, b.size, &err));
    assert_non_null(strstr(err.message, "[5] UNION (anon): Member exceeds struct_size: member 0 (A)"));
    {
        struct btf_type *u = NULL;

        for (u32 at = sizeof(struct btf_header); !u; at += 4)
            if (*(u32 *)(b.data + at) == INFO(UNION, 1, 0))
                u = (struct btf_type *)(b.data + at - 4);
        u->size = 24;
    }
    if (!ask_us(b.data, b.size, &err))
        fail_msg("%s", err.message);

    for (u32 bit = 0; bit < b.size * 8; bit++) {
        int us, kernel;

        b.data[bit / 8] ^= (u8)(1 << bit % 8);
        us = ask_us(b.data, b.size, &err);
        accepted += us;
        kernel = ask_kernel(b.data, b.size, log, 1 << 16);
        asked += kernel >= 0;
        if (kernel >= 0 && us != kernel && wrong++ < 10) {
            const char *last = log;

            for (const char *p = log; (p = strchr(p, '\n')) && p[1]; p++)
                last = p + 1;
            print_error("bit %u of byte %u: ours %s (%s), kernel %s (%s)\n", bit % 8, bit / 8,
                        us ? "accepts" : "refuses", err.message, kernel ? "accepts" : "refuses", last);
        }
        b.data[bit / 8] ^= (u8)(1 << bit % 8);
    }
    for (u32 size = 0; size < b.size; size++)
        assert_false(ask_us(b.data, size, &err));
    print_message("# %u bits turned, %u accepted, the kernel was asked %u times\n", b.size * 8, accepted,
                  asked);
    assert_int_equal(wrong, 0);
    assert_true(accepted > 50);
    test_free(log);
}

/* ------------------------------------------------------------------------------------------- queries */

static void mended(struct blob *b)
{
    build(b, every_kind, TN_ARRAY_SIZE(every_kind), NAMES, sizeof(NAMES));
    for (u32 at = sizeof(struct btf_header); at < b->size - 4; at += 4)
        if (*(u32 *)(b->data + at) == INFO(UNION, 1, 0))
            *(u32 *)(b->data + at + 4) = 24;
}

static void test_queries(void **state)
{
    struct tn_error err = {0};
    struct tn_btf *b = NULL;
    struct blob blob;

    mended(&blob);
    assert_int_equal(tn_btf_open(blob.data, blob.size, NULL, &b, &err), 0);
    assert_int_equal(tn_btf_count(b), 23);
    assert_null(tn_btf_type(b, 0));
    assert_null(tn_btf_type(b, 23));
    assert_null(tn_btf_type(b, -1u));
    assert_int_equal(tn_btf_kind(tn_btf_type(b, 5)), BTF_KIND_UNION);
    assert_string_equal(tn_btf_name(b, 4), "A");
    assert_string_equal(tn_btf_name(b, 5), "");
    assert_string_equal(tn_btf_name(b, 0), "");
    assert_string_equal(tn_btf_string(b, 5000), "");
    assert_int_equal(tn_btf_resolve(b, 8), 2);
    assert_int_equal(tn_btf_resolve(b, 18), 2);
    assert_int_equal(tn_btf_resolve(b, 4), 4);
    assert_int_equal(tn_btf_resolve(b, 0), 0);
    assert_int_equal(tn_btf_resolve(b, 99), 0);
    assert_int_equal(tn_btf_size(b, 3), 16);
    assert_int_equal(tn_btf_size(b, 4), 24);
    assert_int_equal(tn_btf_size(b, 8), 8);
    assert_int_equal(tn_btf_size(b, 14), 16);
    assert_int_equal(tn_btf_size(b, 15), 32);
    assert_int_equal(tn_btf_size(b, 7), -1);
    assert_int_equal(tn_btf_size(b, 12), -1);
    assert_int_equal(tn_btf_size(b, 0), -1);
    assert_int_equal(tn_btf_find(b, BTF_KIND_STRUCT, "A"), 4);
    assert_int_equal(tn_btf_find(b, BTF_KIND_ENUM, "A"), 6);
    assert_int_equal(tn_btf_find(b, BTF_KIND_STRUCT, "B"), 0);
    assert_int_equal(tn_btf_find(b, BTF_KIND_UNION, ""), 0);
    assert_true(tn_btf_same(b, b) && !tn_btf_same(b, NULL));
    assert_string_equal(tn_btf_tag(b, 13, 1, 0), "B");
    assert_null(tn_btf_tag(b, 13, 1, 1));
    assert_null(tn_btf_tag(b, 13, -1, 0));
    assert_string_equal(tn_btf_tag(b, 4, 2, 0), "B");
    assert_string_equal(tn_btf_tag(b, 4, 2, 1), "C");
    assert_null(tn_btf_tag(b, 4, 2, 2));
    assert_string_equal(tn_btf_tag(b, 4, -1, 0), "C");
    assert_null(tn_btf_tag(b, 0, -1, 0));
    tn_btf_close(b);
}

static void test_split(void **state)
{
    /* 23: a struct of a base's type under a new name; a tag on the base's struct. String offsets go on. */
    u32 base_names = sizeof(NAMES);
    u32 words[] = {T(base_names + 0, STRUCT, 1, 0, 24),
                   N_A,
                   4,
                   0,
                   T(base_names + 4, DECL_TAG, 0, 0, 4),
                   -1u,
                   T(N_A, STRUCT, 0, 0, 0)};
    struct tn_btf *base = NULL, *b = NULL, *none = NULL;
    struct tn_error err = {0};
    struct blob blob;

    mended(&blob);
    assert_int_equal(tn_btf_open(blob.data, blob.size, NULL, &base, &err), 0);
    build(&blob, words, TN_ARRAY_SIZE(words), "new\0tag", 8);
    if (tn_btf_open(blob.data, blob.size, base, &b, &err))
        fail_msg("%s", err.message);
    assert_int_equal(tn_btf_count(b), 26);
    assert_string_equal(tn_btf_name(b, 23), "new");
    assert_string_equal(tn_btf_name(b, 4), "A");
    assert_int_equal(tn_btf_size(b, 23), 24);
    assert_true(!tn_btf_same(b, base));
    assert_int_equal(tn_btf_find(b, BTF_KIND_STRUCT, "new"), 23);
    assert_int_equal(tn_btf_find(b, BTF_KIND_STRUCT, "A"), 4);
    assert_int_equal(tn_btf_find(base, BTF_KIND_STRUCT, "new"), 0);
    assert_string_equal(tn_btf_tag(b, 4, -1, 0), "tag");
    assert_string_equal(tn_btf_tag(b, 4, -1, 1), "C");
    assert_null(tn_btf_tag(b, 4, -1, 2));
    assert_string_equal(tn_btf_tag(base, 4, -1, 0), "C");
    /* Past the last id, past the last string of both layers. */
    words[4] = 26;
    build(&blob, words, TN_ARRAY_SIZE(words), "new\0tag", 8);
    assert_int_equal(tn_btf_open(blob.data, blob.size, base, &none, &err), -EINVAL);
    assert_non_null(strstr(err.message, "[23] STRUCT new: Invalid type_id"));
    words[4] = 4;
    words[0] = base_names + 8;
    err = (struct tn_error){0};
    build(&blob, words, TN_ARRAY_SIZE(words), "new\0tag", 8);
    assert_int_equal(tn_btf_open(blob.data, blob.size, base, &none, &err), -EINVAL);
    assert_non_null(strstr(err.message, "Invalid name_offset"));
    assert_null(none);
    tn_btf_close(b);
    tn_btf_close(base);
}

/* ------------------------------------------------------------------------------------------- vmlinux */

static u8 *read_vmlinux(u64 *ret_size)
{
    _fclose_ FILE *f = fopen("/sys/kernel/btf/vmlinux", "rb");
    u8 *data = f ? malloc(TN_BTF_SIZE_MAX) : NULL;

    if (!data)
        return NULL;
    *ret_size = fread(data, 1, TN_BTF_SIZE_MAX, f);
    return data;
}

static double now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void test_vmlinux(void **state)
{
    struct tn_error err = {0};
    struct tn_btf *b = NULL;
    struct btf *theirs;
    double best = 1e9, from;
    u64 size = 0;
    u8 *data = read_vmlinux(&size);

    if (!data)
        skip();
    for (u32 k = 0; k < 5; k++) {
        tn_btf_close(b);
        from = now_ms();
        if (tn_btf_open(data, size, NULL, &b, &err))
            fail_msg("%s", err.message);
        best = TN_MIN(best, now_ms() - from);
    }
    print_message("# %llu bytes, %u types: opened in %.1f ms\n", (unsigned long long)size, tn_btf_count(b),
                  best);
    theirs = btf__new(data, (u32)size);
    assert_non_null(theirs);
    assert_int_equal(btf__type_cnt(theirs), tn_btf_count(b));
    for (u32 id = 1; id < tn_btf_count(b); id++) {
        const struct btf_type *t = btf__type_by_id(theirs, id), *ours = tn_btf_type(b, id);
        u32 kind = tn_btf_kind(ours), found;

        assert_memory_equal(t, ours, sizeof(*t));
        assert_string_equal(btf__name_by_offset(theirs, t->name_off), tn_btf_name(b, id));
        if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_ARRAY || tn_btf_resolve(b, id) != id) {
            s64 bytes = btf__resolve_size(theirs, id);

            assert_int_equal(tn_btf_size(b, id), bytes < 0 ? -1 : bytes);
        }
        if (!ours->name_off)
            continue;
        found = tn_btf_find(b, kind, tn_btf_name(b, id));
        assert_true(found && found <= id);
        assert_int_equal(tn_btf_kind(tn_btf_type(b, found)), kind);
        assert_string_equal(tn_btf_name(b, found), tn_btf_name(b, id));
    }
    btf__free(theirs);
    tn_btf_close(b);
    free(data);
}

/* -------------------------------------------------------------------------------------------- memory */

/* Each allocation fails, alone and with all that follow it:
   of types of their own, and of a layer above some. */
static void fail_each(const struct blob *blob, const struct tn_btf *base)
{
    const s64 before = shortage_in_use();

    for (int once = 0; once < 2; once++) {
        struct tn_btf *b = NULL;
        s64 n = 0;
        int r;

        do {
            struct tn_error err = {0};

            shortage_at(n++, once);
            r = tn_btf_open(blob->data, blob->size, base, &b, &err);
            shortage_end();
            assert_int_equal(r, shortage_fired() ? -ENOMEM : 0);
            assert_true(!r || (!b && shortage_in_use() == before));
        } while (r);
        assert_true(n > 4);
        tn_btf_close(b);
        assert_int_equal(shortage_in_use(), before);
    }
}

static void test_memory(void **state)
{
    struct tn_error err = {0};
    struct tn_btf *b = NULL;
    struct blob blob;

    mended(&blob);
    fail_each(&blob, NULL);
    assert_int_equal(tn_btf_open(blob.data, blob.size, NULL, &b, &err), 0);
    fail_each(&blob, b);
    tn_btf_close(b);
    b = NULL;
    assert_int_equal(tn_btf_open(blob.data, TN_BTF_SIZE_MAX + 1, NULL, &b, &err), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),   cmocka_unit_test(test_header), cmocka_unit_test(test_turned),
        cmocka_unit_test(test_queries), cmocka_unit_test(test_split),  cmocka_unit_test(test_vmlinux),
        cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
