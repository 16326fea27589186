/* SPDX-License-Identifier: MIT */
/*
 * Go's table of functions: what is read of one made here, by hand; that nothing of a broken one is believed, whatever
 * byte is broken and wherever it ends; and what is planned by that of a real program.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "rewrite/flow.h"
#include "rewrite/golang.h"
#include "rewrite/module.h"

#define TEXT 0x401000ull

/* Three functions: one of the compiler's with two stretches where nobody is stopped, one of assembly, and one that
   recovers. */
struct made {
    struct {
        u32 magic;
        u8 pads[2], least, pointer;
        u64 nfuncs, nfiles, text, names, units, files, tables, funcs;
    } head;
    char names[32];
    u8 tables[32];
    u32 index[7];
    struct record {
        u32 entry, name, args, recovers, sp, file, line, ntables, unit, start;
        u8 id, flags, pad, ndata;
        u32 unsafe;
    } record[3];
};

static const struct made whole = {
    .head = {0xfffffff1,
             {0, 0},
             1,
             8,
             3,
             0,
             TEXT,
             offsetof(struct made, names),
             0,
             0,
             offsetof(struct made, tables),
             offsetof(struct made, index)},
    .names = "main.one\0main.two\0main.three",
    /* −1 and −1 more for 4 bytes: −2; +1 for 12: −1; −1 for 8: −2; +1 for 8 */
    .tables = {0, 1, 4, 2, 12, 1, 8, 2, 8, 0},
    .index = {0, sizeof(u32) * 7, 32, sizeof(u32) * 7 + sizeof(struct record), 64,
              sizeof(u32) * 7 + 2 * sizeof(struct record), 96},
    .record = {{.entry = 0, .name = 0, .ntables = 1, .unsafe = 1},
               {.entry = 32, .name = 9, .ntables = 0, .flags = 4},
               {.entry = 64, .name = 18, .recovers = 20, .ntables = 1, .flags = 1}},
};

static void reads(void **state)
{
    const u8 *bytes = (const u8 *)&whole;
    struct tn_go_points points;
    struct tn_go_func f;
    struct tn_go go;
    u64 text = 0;

    (void)state;
    assert_true(tn_go_head(bytes, sizeof(whole), &text));
    assert_int_equal(text, TEXT);
    assert_int_equal(tn_go_open(bytes, sizeof(whole), TEXT, &go), 0);
    assert_int_equal(go.nfuncs, 3);
    assert_true(tn_go_at(&go, TEXT + 31, &f));
    assert_string_equal(f.name, "main.one");
    assert_int_equal(f.addr, TEXT);
    assert_int_equal(f.size, 32);
    assert_false(f.assembly);
    assert_int_equal(f.recovers, 0);
    points = tn_go_points(&f);
    for (u32 at = 0; at < 32; at++)
        assert_int_equal(tn_go_resumes(&go, &f, &points, TEXT + at), !(at < 4 || (at >= 16 && at < 24)));
    assert_true(tn_go_at(&go, TEXT + 32, &f));
    assert_true(f.assembly);
    points = tn_go_points(&f);
    assert_false(tn_go_resumes(&go, &f, &points, TEXT + 40));
    assert_true(tn_go_nth(&go, 2, &f));
    assert_string_equal(f.name, "main.three");
    assert_int_equal(f.recovers, TEXT + 84);
    points = tn_go_points(&f);
    assert_true(tn_go_resumes(&go, &f, &points, TEXT + 64));
    assert_false(tn_go_at(&go, TEXT + 96, &f));
    assert_false(tn_go_at(&go, TEXT - 1, &f));
    assert_false(tn_go_nth(&go, 3, &f));
}

static u64 seed = 0x9e3779b97f4a7c15ull;

static u32 rnd(u32 below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (u32)(seed >> 32) % below;
}

/* All that is asked of a table, of one in as many bytes as it has: what lies behind them is the sanitizer's. */
static void ask_all(const u8 *bytes, u64 len)
{
    u8 *copy = malloc(len ? len : 1);
    struct tn_go go;
    u64 text;

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    tn_go_head(copy, len, &text);
    if (tn_go_open(copy, len, TEXT, &go) == 0)
        for (u32 i = 0; i < TN_MIN(go.nfuncs, 8u); i++) {
            struct tn_go_points points;
            struct tn_go_func f;

            tn_go_at(&go, TEXT + rnd(128), &f);
            if (!tn_go_nth(&go, i, &f))
                continue;
            assert_true(strlen(f.name) < len);
            points = tn_go_points(&f);
            for (u32 at = 0; at < 64; at++)
                tn_go_resumes(&go, &f, &points, f.addr + at);
            assert_true(!f.recovers || f.recovers - f.addr < f.size);
        }
    free(copy);
}

static void broken(void **state)
{
    struct tn_go go;
    struct made m;

    (void)state;
    for (u64 len = 0; len <= sizeof(whole); len++)
        ask_all((const u8 *)&whole, len);
    for (u32 round = 0; round < 200000; round++) {
        m = whole;
        for (u32 n = 0; n <= rnd(3); n++)
            ((u8 *)&m)[rnd(sizeof(m))] ^= (u8)(rnd(4) ? 1u << rnd(8) : rnd(256));
        ask_all((u8 *)&m, sizeof(m) - (rnd(4) ? 0 : rnd(64)));
    }
    m = whole;
    m.head.magic = 0xfffffffa; /* Go 1.16 */
    assert_int_equal(tn_go_open((u8 *)&m, sizeof(m), TEXT, &go), -EBADMSG);
    m = whole;
    m.index[2] = 100; /* behind the next one's beginning */
    assert_int_equal(tn_go_open((u8 *)&m, sizeof(m), TEXT, &go), -EBADMSG);
}

/* What may not be displaced because it may fault, and what may. */
static void faults(void **state)
{
    static const struct {
        const char *bytes;
        u8 len;
        bool movable;
    } rows[] = {
        {"\x48\x8b\x08", 3, false},                        /* mov (%rax),%rcx */
        {"\x84\x00", 2, false},                            /* test %al,(%rax) */
        {"\x49\x8b\x0c\x24", 4, false},                    /* mov (%r12),%rcx */
        {"\x48\x8b\x0c\xc4", 4, false},                    /* mov (%rsp,%rax,8),%rcx */
        {"\xf3\x48\xa5", 3, false},                        /* rep movsq */
        {"\xc5\xfa\x6f\x00", 4, false},                    /* vmovdqu (%rax),%xmm0 */
        {"\xff\x30", 2, false},                            /* push (%rax) */
        {"\x48\x8b\x4c\x24\x08", 5, true},                 /* mov 8(%rsp),%rcx */
        {"\x49\x3b\x66\x10", 4, true},                     /* cmp 0x10(%r14),%rsp */
        {"\x48\x8d\x08", 3, true},                         /* lea (%rax),%rcx */
        {"\x48\x8b\x0d\x00\x00\x00\x00", 7, true},         /* mov 0(%rip),%rcx */
        {"\x64\x48\x8b\x0c\x25\xf8\xff\xff\xff", 9, true}, /* mov %fs:-8,%rcx */
        {"\x0f\x1f\x00", 3, true},                         /* nopl (%rax) */
        {"\x48\x01\xc8", 3, true},                         /* add %rcx,%rax */
        {"\xc5\xf1\xef\xc9", 4, true},                     /* vpxor %xmm1,%xmm1,%xmm1 */
    };

    (void)state;
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        struct tn_insn insn;

        assert_int_equal(tn_x86_decode((const u8 *)rows[i].bytes, rows[i].len, TEXT, &insn), 0);
        assert_int_equal(tn_go_movable(&insn, false), rows[i].movable);
        assert_true(tn_go_movable(&insn, true));
    }
    assert_true(tn_decode_fills_x15((const u8 *)"\x66\x4c\x0f\x6e\xf8", 5)); /* movq %rax,%xmm15 */
    assert_true(tn_decode_fills_x15((const u8 *)"\xc4\x41\x7d\x6f\xff", 5)); /* vmovdqa %ymm15,%ymm15 */
    assert_false(tn_decode_fills_x15((const u8 *)"\x45\x0f\x57\xff", 4));    /* xorps %xmm15,%xmm15 */
    assert_false(tn_decode_fills_x15((const u8 *)"\x44\x0f\x11\x3f", 4));    /* movups %xmm15,(%rdi) */
}

static u8 *load(const char *path, u64 *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat sb;
    u8 *bytes;

    if (fd < 0) {
        print_message("# %s is not there: no compiler of Go (golang-go)\n", path);
        skip();
    }
    assert_int_equal(fstat(fd, &sb), 0);
    bytes = malloc((size_t)sb.st_size);
    assert_non_null(bytes);
    assert_int_equal(read(fd, bytes, (size_t)sb.st_size), sb.st_size);
    close(fd);
    *ret_len = (u64)sb.st_size;
    return bytes;
}

/* Each tells the same of the same functions, with symbols and without, and with not even a section. */
static void real(void **state)
{
    static const char *const paths[] = {GO_PROGRAMS "/targets-go", GO_PROGRAMS "/targets-go-stripped",
                                        GO_PROGRAMS "/targets-go-pie"};

    (void)state;
    for (u32 i = 0; i < 2 * TN_ARRAY_SIZE(paths); i++) {
        u64 len, addr, exact = 0;
        u8 *bytes = load(paths[i / 2], &len);
        const struct tn_code_view *c;
        struct tn_module *m = NULL;
        struct tn_go_func g;
        struct tn_plan plan;

        if (i % 2 && i < 4) /* the loader's table of the position-independent one is known by its section */
            memset(bytes + 58, 0, 6), memset(bytes + 40, 0, 8);
        assert_int_equal(tn_module_parse(bytes, len, &m, NULL), 0);
        assert_true(tn_module_is_go(m));
        assert_int_equal(tn_module_find(m, "main.deep", &addr, NULL), 0);
        c = tn_module_code(m, addr);
        assert_non_null(c);
        assert_non_null(c->go);
        assert_true(tn_go_owns(c, addr));
        assert_int_equal(tn_func_starting(c, addr)->addr, addr);
        assert_true(tn_go_at(c->go, addr, &g));
        assert_string_equal(g.name, "main.deep");
        exact = tn_func_starting(c, addr)->size;
        assert_in_range(exact, 32, g.size);
        assert_int_equal(tn_plan(c, TN_PLACE_ENTRY, addr, &plan, NULL), 0);
        assert_true(plan.patches[0].own_stack);
        assert_int_equal(plan.patches[0].rounds, addr);
        tn_plan_clear(&plan);
        /* A switch by a table, which in the position-independent one the loader fills in. */
        assert_int_equal(tn_module_find(m, "runtime.typehash", &addr, NULL), 0);
        assert_int_equal(tn_plan(tn_module_code(m, addr), TN_PLACE_EXIT, addr, &plan, NULL),
                         i < 4 ? 0 : -ENOTSUP);
        if (i < 4)
            assert_true(plan.npatches > 5);
        tn_plan_clear(&plan);
        tn_module_free(m);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(broken),
        cmocka_unit_test(faults),
        cmocka_unit_test(real),
    };

    return cmocka_run_group_tests_name("golang", tests, NULL, NULL);
}
