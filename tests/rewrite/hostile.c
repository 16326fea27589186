/* SPDX-License-Identifier: MIT */
/*
 * Input that wishes harm: ELF files cut off anywhere, with any byte changed, with tables that point outside;
 * functions made of random bytes, and of real ones with bytes changed. Nothing may crash, loop, or read
 * outside; a plan that is given must hold its own promises. Deterministic: the seed is printed, and
 * TN_FUZZ_SECONDS asks for more than the usual second.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "rewrite/aims.h"
#include "rewrite/flow.h"
#include "rewrite/module.h"
#include "rewrite/pun.h"
#include "rewrite/trampoline.h"

#include "ways.h"

static u8 *elf;
static u64 elf_size;
static u64 rng = 0x9e3779b97f4a7c15ull;

/* xorshift64* (Vigna, 2016). */
static u64 rnd(u64 below)
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (rng * 0x2545f4914f6cdd1dull) % below;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double budget(void)
{
    const char *s = getenv("TN_FUZZ_SECONDS");
    double v = s ? strtod(s, NULL) : 1.0;

    return v > 0 && v < 3600 ? v : 1.0;
}

/* This very test program is the victim: an ELF file with all tables, symbols and unwind information. */
static int setup(void **state)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    elf_size = (u64)st.st_size;
    elf = malloc(elf_size);
    assert_non_null(elf);
    assert_int_equal(read(fd, elf, elf_size), (ssize_t)elf_size);
    close(fd);
    print_message("# seed %#llx, %llu bytes\n", (unsigned long long)rng, (unsigned long long)elf_size);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(elf);
    return 0;
}

/* A copy that ends where memory ends: reading one byte beyond it is a crash. */
static u8 *fenced(const u8 *bytes, u64 len, void **ret_map, u64 *ret_size)
{
    u64 size = TN_ROUND_UP(len, TN_PAGE) + TN_PAGE;
    u8 *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u8 *at;

    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map + size - TN_PAGE, TN_PAGE, PROT_NONE), 0);
    at = map + size - TN_PAGE - len;
    memcpy(at, bytes, len);
    *ret_map = map;
    *ret_size = size;
    return at;
}

/* Plans a few functions and asks every question. */
static void use(struct tn_module *m)
{
    const u8 *id;
    u64 x;

    for (u32 s = 0; s < tn_module_ncode(m); s++) {
        const struct tn_code_view *c = tn_module_code_at(m, s);

        for (u32 k = 0; k < 3 && c->nfuncs; k++) {
            const struct tn_func *f = &c->funcs[rnd(c->nfuncs)];
            struct tn_plan plan;

            if (tn_plan(c, (enum tn_place_kind)rnd(4), f->addr, &plan, NULL) == 0)
                tn_plan_clear(&plan);
            tn_module_func(m, f->addr + rnd(64));
        }
    }
    tn_module_find(m, "no_such_function", &x, NULL);
    tn_module_addr_of_offset(m, rnd(elf_size), &x);
    tn_module_build_id(m, &id);
}

static void intact(void **state)
{
    struct tn_error err = {0};
    struct tn_module *m = NULL;
    const struct tn_func *f;
    const u8 *id;
    u64 addr, off, back;

    (void)state;
    assert_int_equal(tn_module_parse(elf, elf_size, &m, &err), 0);
    assert_int_equal(tn_module_find(m, "tn_plan", &addr, &err), 0);
    f = tn_module_func(m, addr + 3);
    assert_non_null(f);
    assert_string_equal(f->name, "tn_plan");
    assert_int_equal(tn_module_offset_of_addr(m, addr, &off), 0);
    assert_int_equal(tn_module_addr_of_offset(m, off, &back), 0);
    assert_int_equal(addr, back);
    assert_false(tn_module_is_go(m));
    assert_int_equal(tn_module_build_id(m, &id), 20);
    /* The nearest names are said. */
    assert_int_equal(tn_module_find(m, "tn_plann", &addr, &err), -ENOENT);
    assert_string_equal(err.reason, "no_symbol");
    assert_non_null(strstr(err.message, "tn_plan"));
    tn_module_free(m);
}

/* Without section headers the unwind header leads to the functions. */
static void without_sections(void **state)
{
    struct tn_module *m = NULL, *whole = NULL;
    Elf64_Ehdr eh;
    u8 *copy = malloc(elf_size);
    u64 addr;

    (void)state;
    assert_non_null(copy);
    memcpy(copy, elf, elf_size);
    memcpy(&eh, copy, sizeof(eh));
    eh.e_shnum = 0;
    eh.e_shoff = 0;
    memcpy(copy, &eh, sizeof(eh));
    assert_int_equal(tn_module_parse(elf, elf_size, &whole, NULL), 0);
    assert_int_equal(tn_module_find(whole, "tn_module_parse", &addr, NULL), 0);
    assert_int_equal(tn_module_parse(copy, elf_size, &m, NULL), 0);
    assert_non_null(tn_module_func(m, addr));
    assert_int_equal(tn_module_func(m, addr)->addr, addr);
    assert_int_equal(tn_module_func(m, addr)->size, tn_module_func(whole, addr)->size);
    tn_module_free(m);
    tn_module_free(whole);
    free(copy);
}

static void named(void **state)
{
    static const struct {
        u32 at, len;
        u8 bytes[8];
        const char *reason;
    } rows[] = {
        {0, 1, {0x7e}, "bad_elf"},
        {EI_CLASS, 1, {ELFCLASS32}, "elf_32bit"},
        {EI_DATA, 1, {ELFDATA2MSB}, "elf_big_endian"},
        {offsetof(Elf64_Ehdr, e_machine), 2, {EM_AARCH64, 0}, "elf_machine"},
        {offsetof(Elf64_Ehdr, e_type), 2, {ET_REL, 0}, "bad_elf"},
        {offsetof(Elf64_Ehdr, e_phnum), 2, {0, 0}, "elf_no_code"},
        {offsetof(Elf64_Ehdr, e_phoff), 8, {0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "elf_truncated"},
        {offsetof(Elf64_Ehdr, e_phentsize), 2, {1, 0}, "elf_truncated"},
    };
    struct tn_error err = {0};
    struct tn_module *m = NULL;
    u8 *copy = malloc(elf_size);

    (void)state;
    assert_non_null(copy);
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        err = (struct tn_error){0};
        memcpy(copy, elf, elf_size);
        memcpy(copy + rows[i].at, rows[i].bytes, rows[i].len);
        assert_true(tn_module_parse(copy, elf_size, &m, &err) < 0);
        assert_string_equal(err.reason, rows[i].reason);
        assert_null(m);
    }
    err = (struct tn_error){0};
    assert_int_equal(tn_module_parse(elf, 0, &m, &err), -ENOEXEC);
    assert_string_equal(err.reason, "bad_elf");
    assert_int_equal(tn_module_open(-1, &m, &err), -EBADF);
    free(copy);
}

static void truncated(void **state)
{
    u64 step = elf_size / 300 + 1;

    (void)state;
    for (u64 len = 0; len < elf_size; len += len < 4096 ? 37 : step) {
        struct tn_module *m = NULL;
        struct tn_error err = {0};
        u64 size;
        void *map;
        u8 *at = fenced(elf, len, &map, &size);

        if (tn_module_parse(at, len, &m, &err) == 0)
            use(m);
        else
            assert_true(err.reason[0]);
        tn_module_free(m);
        munmap(map, size);
    }
}

static void mutated(void **state)
{
    u8 *copy = malloc(elf_size);
    double end = now() + budget();
    u32 n = 0;
    Elf64_Ehdr eh;

    (void)state;
    assert_non_null(copy);
    memcpy(&eh, elf, sizeof(eh));
    while (now() < end) {
        struct tn_module *m = NULL;
        u64 tables[] = {0, eh.e_phoff, eh.e_shoff, rnd(elf_size)};

        memcpy(copy, elf, elf_size);
        for (u32 k = 1 + (u32)rnd(12); k > 0; k--) {
            u64 at = tables[rnd(4)] + rnd(2048);
            u8 *b = &copy[at % elf_size];

            *b = rnd(3) ? (u8)rnd(256) : (u8) ~*b;
        }
        if (tn_module_parse(copy, elf_size, &m, NULL) == 0)
            use(m);
        tn_module_free(m);
        n++;
    }
    print_message("# %u mutated files\n", n);
    free(copy);
}

static bool sometimes(void *arg, u64 lo, u64 hi, const u64 *chosen, u32 nchosen, u64 *ret_at)
{
    (void)arg;
    (void)chosen;
    (void)nchosen;
    *ret_at = lo + rnd(hi - lo + 1);
    return rnd(8) == 0;
}

/* Pages that have stubs already: some, here and there. */
static u64 page(void *arg, u64 from)
{
    (void)arg;
    return TN_ROUND_UP(from, 32u << 20) + (from / TN_PUN_PAGE * 0x9e3779b1 >> 20) % 1024 * TN_PUN_PAGE;
}

/* What a plan says must be so, whatever the bytes. */
static void check(const struct tn_code_view *c, const struct tn_plan *plan)
{
    assert_true(plan->npatches > 0);
    for (u32 i = 0; i < plan->npatches; i++) {
        const struct tn_patch *p = &plan->patches[i];
        struct tn_displaced_out out;
        u8 bytes[TN_DISPLACED_MAX];

        struct tn_pun pun;

        assert_in_range(p->len, p->punned ? 1 : 5, TN_PATCH_MAX);
        assert_true(p->addr >= c->addr && p->addr + p->len + p->behind <= c->addr + c->len);
        if (p->punned && tn_pun(p, 0x7f5a3c000000, sometimes, rnd(2) ? page : NULL, NULL, &pun) == 0)
            for (u32 k = 0; k < p->ninsns; k++)
                assert_int_equal(tn_pun_target(pun.bytes + p->insn_off[k],
                                               p->len + pun.depends - p->insn_off[k],
                                               p->addr + 0x7f5a3c000000 + p->insn_off[k]),
                                 pun.stub[k]);
        assert_true(p->hook_before < p->ninsns);
        assert_memory_equal(p->expected, c->bytes + (p->addr - c->addr), p->len);
        /* Out of reach is a fair answer to a random rip-relative operand; anything else is not. */
        if (tn_displaced(p,
                         &(struct tn_copy_to){.at = c->addr + 0x100000,
                                              .hook_entry_ptr = c->addr + 0x101000,
                                              .past = c->addr + 0x102000},
                         bytes, sizeof(bytes), &out, NULL) < 0)
            assert_int_equal(
                tn_displaced(p, &(struct tn_copy_to){.at = c->addr + 0x100000, .past = c->addr + 0x102000},
                             bytes, sizeof(bytes), &out, NULL),
                -ERANGE);
        else
            assert_in_range(out.len, 1, TN_DISPLACED_MAX);
    }
}

/* The same few places, again and again, so that several threads look at the same bytes. */
static void by_threads(const struct tn_code_view *c)
{
    struct tn_code_view kept = *c;
    struct tn_aims aims = {0};
    struct tn_known known = {0};
    struct tn_spare spare = {0};
    struct tn_asked asked[256];

    kept.aims = &aims;
    kept.known = &known;
    kept.spare = &spare;
    for (u32 i = 0; i < TN_ARRAY_SIZE(asked); i++)
        asked[i] = (struct tn_asked){.addr = c->funcs[i / 3 % c->nfuncs].addr,
                                     .place = (enum tn_place_kind)(TN_PLACE_ENTRY + i % 3)};
    assert_int_equal(tn_plan_asked(&kept, asked, TN_ARRAY_SIZE(asked), 4, NULL), 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(asked); i++)
        all_ways(&kept, asked[i].place, asked[i].addr, &asked[i]);
    tn_asked_clear(asked, TN_ARRAY_SIZE(asked));
    tn_aims_clear(&aims);
    tn_known_clear(&known);
    tn_spare_clear(&spare);
}

static void random_code(void **state)
{
    enum { LEN = 512 };
    struct tn_module *m = NULL;
    const struct tn_code_view *real;
    double end = now() + budget();
    u32 n = 0, plans = 0;
    void *map;
    u64 size;
    u8 zero[LEN] = {0};
    u8 *at = fenced(zero, LEN, &map, &size);

    (void)state;
    assert_int_equal(tn_module_parse(elf, elf_size, &m, NULL), 0);
    real = tn_module_code_at(m, 0);
    while (now() < end) {
        struct tn_func funcs[4] = {0};
        struct tn_bytes ro = {at, 0x10000, LEN};
        struct tn_code_view c = {
            .bytes = at, .addr = 0x10000, .len = LEN, .funcs = funcs, .rodata = &ro, .nrodata = 1};
        struct tn_code_view kept;
        struct tn_aims aims = {0};
        struct tn_known known = {0};
        struct tn_spare spare = {0};

        if (rnd(4)) {
            const struct tn_func *f = &real->funcs[rnd(real->nfuncs)];
            u64 off = f->addr - real->addr;

            if (off >= real->len)
                continue;
            memcpy(at, real->bytes + off, TN_MIN((u64)LEN, real->len - off));
            for (u32 k = (u32)rnd(6); k > 0; k--)
                at[rnd(LEN)] = (u8)rnd(256);
        } else {
            for (u32 k = 0; k < LEN; k++)
                at[k] = (u8)rnd(256);
        }
        c.nfuncs = 1 + (u32)rnd(4);
        for (u32 k = 0; k < c.nfuncs; k++)
            funcs[k] = (struct tn_func){.addr = 0x10000 + k * 128 + (k ? rnd(100) : 0),
                                        .size = rnd(3)   ? rnd(300)
                                                : rnd(2) ? UINT64_MAX
                                                         : 0,
                                        .name = rnd(2) ? "f" : NULL,
                                        .part = !rnd(5)};
        for (u32 place = TN_PLACE_ENTRY; place <= TN_PLACE_SYSEXIT; place++) {
            struct tn_error err = {0};
            struct tn_plan plan;
            int r = tn_plan(&c, (enum tn_place_kind)place,
                            place == TN_PLACE_OFFSET ? 0x10000 + rnd(LEN) : funcs[0].addr, &plan, &err);

            if (r == 0) {
                check(&c, &plan);
                tn_plan_clear(&plan);
                plans++;
            } else {
                assert_true(err.reason[0]);
            }
        }
        kept = c;
        kept.aims = &aims;
        kept.known = &known;
        kept.spare = &spare;
        assert_int_equal(tn_plan_many(&kept), 0);
        for (u32 k = 0; k < c.nfuncs; k++)
            for (u32 place = TN_PLACE_ENTRY; place <= TN_PLACE_EXIT; place++)
                all_ways(&kept, (enum tn_place_kind)place, funcs[k].addr, NULL);
        if (n % 16 == 0)
            by_threads(&c);
        tn_aims_clear(&aims);
        tn_known_clear(&known);
        tn_spare_clear(&spare);
        n++;
    }
    print_message("# %u functions, %u plans\n", n, plans);
    assert_true(plans > n / 20);
    tn_module_free(m);
    munmap(map, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intact),    cmocka_unit_test(without_sections), cmocka_unit_test(named),
        cmocka_unit_test(truncated), cmocka_unit_test(mutated),          cmocka_unit_test(random_code),
    };

    return cmocka_run_group_tests_name("hostile", tests, setup, teardown);
}
