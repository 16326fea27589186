/* SPDX-License-Identifier: MIT */
/*
 * The log of PROG_LOAD and BTF_LOAD: one table of buffers, sizes and levels, asked of the broker and, as
 * root, of the kernel itself. Then what a connection that wants verdicts only gets, and what it cannot get.
 */
#include <linux/btf.h>

#include "tests/broker/common.h"

#define MOV(dst, value)                                                                                      \
    {                                                                                                        \
        .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (dst), .imm = (value)                                \
    }
#define EXIT                                                                                                 \
    {                                                                                                        \
        .code = BPF_JMP | BPF_EXIT                                                                           \
    }

/* union bpf_attr as of Linux 6.4: the true size of the log behind what this machine's headers know. */
struct attr {
    union bpf_attr a;
    u8 more[64];
};
#define LOAD_TRUE_SIZE (offsetof(union bpf_attr, core_relo_rec_size) + 4)
#define BTF_TRUE_SIZE  (offsetof(union bpf_attr, btf_log_level) + 4)

static u32 true_size(const struct attr *attr, size_t at)
{
    u32 size;

    memcpy(&size, (const u8 *)attr + at, sizeof(size));
    return size;
}

static const struct bpf_insn good[] = {MOV(0, 0), EXIT}, bad[] = {EXIT};

enum { NONE, HERE, NOWHERE }; /* a buffer: none, one, an address where nothing is */
static const struct {
    u32 level, buf, size;
} rows[] = {
    {0, NONE, 0},     {1, NONE, 0},        {2, NONE, 0},          {4, NONE, 0},
    {8, NONE, 0},     {9, NONE, 0},        {1, HERE, 0},          {0, HERE, 0},
    {0, NONE, 64},    {1, NONE, 64},       {0, HERE, 64},         {8, HERE, 4096},
    {16, HERE, 4096}, {1u << 31, NONE, 0}, {1, HERE, 4096},       {2, HERE, 4096},
    {4, HERE, 4096},  {7, HERE, 4096},     {15, HERE, 4096},      {1, HERE, 1},
    {2, HERE, 1},     {2, HERE, 8},        {10, HERE, 8},         {10, HERE, 1},
    {1, NOWHERE, 64}, {2, NOWHERE, 4096},  {1, HERE, UINT32_MAX}, {1, HERE, (UINT32_MAX >> 2) + 1},
    {5, HERE, 24},    {13, HERE, 24},      {2, HERE, 1u << 20},
};

static char buffer[1u << 20];

struct said {
    long result;
    bool written, full; /* something other than what was there; to the buffer's last byte but the final NUL */
    bool told;          /* a true size */
    bool fits;          /* … which is what was written */
};

static struct said ask(long (*call)(int, union bpf_attr *, unsigned), size_t row,
                       const struct bpf_insn *insns, u32 n)
{
    struct attr attr = {.a = {.prog_type = BPF_PROG_TYPE_KPROBE,
                              .insns = (u64)insns,
                              .insn_cnt = n,
                              .license = (u64) "GPL",
                              .log_level = rows[row].level,
                              .log_size = rows[row].size,
                              .log_buf = rows[row].buf == HERE      ? (u64)buffer
                                         : rows[row].buf == NOWHERE ? 64
                                                                    : 0}};
    struct said said;
    size_t len;

    memset(buffer, 0xaa, sizeof(buffer));
    said.result = call(BPF_PROG_LOAD, &attr.a, LOAD_TRUE_SIZE + 4);
    if (said.result >= 0) {
        close((int)said.result);
        said.result = 0;
    }
    said.written = (u8)buffer[0] != 0xaa;
    len = said.written ? strnlen(buffer, sizeof(buffer)) : 0;
    said.full = said.written && len + 1 == rows[row].size;
    said.told = true_size(&attr, LOAD_TRUE_SIZE) != 0;
    said.fits = true_size(&attr, LOAD_TRUE_SIZE) == len + 1;
    return said;
}

static bool kernel_loads(void)
{
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_KPROBE, .insns = (u64)good, .insn_cnt = 2, .license = (u64) "GPL"};
    long fd = geteuid() ? -1 : kernel_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));

    if (fd < 0)
        return false;
    close((int)fd);
    return true;
}

static void buffers_and_levels(void **state)
{
    u32 different = 0;

    if (!kernel_loads()) {
        print_message("# the kernel loads no programs here\n");
        skip();
    }
    for (size_t row = 0; row < TN_ARRAY_SIZE(rows); row++)
        for (u32 k = 0; k < 2; k++) {
            struct said a = ask(door_bpf, row, k ? bad : good, k ? 1 : 2);
            struct said b = ask(kernel_bpf, row, k ? bad : good, k ? 1 : 2);

            /* How long a path's own text is differs; whether it fits is compared where no path is in it. */
            if (a.result == b.result && a.written == b.written && a.full == b.full && a.told == b.told &&
                (a.fits == b.fits || rows[row].level & 1))
                continue;
            print_message("# level %u, buffer %u, size %u, %s: here %ld %d%d%d%d, kernel %ld %d%d%d%d\n",
                          rows[row].level, rows[row].buf, rows[row].size, k ? "refused" : "accepted",
                          a.result, a.written, a.full, a.told, a.fits, b.result, b.written, b.full, b.told,
                          b.fits);
            different++;
        }
    assert_int_equal(different, 0);
}

/* Whatever the buffer: the end of the text, or its beginning, and a true size that would have done. */
static void windows(void **state)
{
    static char whole[4096];
    struct attr attr;
    size_t len;

#define LOAD(l, b, s)                                                                                        \
    (attr = (struct attr){.a = {.prog_type = BPF_PROG_TYPE_KPROBE,                                           \
                                .insns = (u64)bad,                                                           \
                                .insn_cnt = 1,                                                               \
                                .license = (u64) "GPL",                                                      \
                                .log_level = (l),                                                            \
                                .log_size = (s),                                                             \
                                .log_buf = (u64)(b)}},                                                       \
     bpf(BPF_PROG_LOAD, &attr.a, LOAD_TRUE_SIZE + 4))

    assert_int_equal(LOAD(2, whole, sizeof(whole)), -EACCES);
    len = strlen(whole);
    assert_non_null(strstr(whole, "R0 !read_ok"));
    assert_int_equal(true_size(&attr, LOAD_TRUE_SIZE), len + 1);
    assert_int_equal(LOAD(2, NULL, 0), -EACCES);
    assert_int_equal(true_size(&attr, LOAD_TRUE_SIZE), len + 1);
    for (u32 size = 1; size < len + 4; size++) {
        memset(buffer, 0xaa, sizeof(buffer));
        assert_int_equal(LOAD(2, buffer, size), size > len ? -EACCES : -ENOSPC);
        assert_int_equal(true_size(&attr, LOAD_TRUE_SIZE), len + 1);
        assert_string_equal(buffer, whole + (size > len ? 0 : len + 1 - size));
        assert_int_equal((u8)buffer[TN_MIN(size, len + 1)], 0xaa);
        assert_int_equal(LOAD(10, buffer, size), size > len ? -EACCES : -ENOSPC);
        assert_int_equal(strncmp(buffer, whole, TN_MIN(size - 1, len)), 0);
        assert_int_equal(strlen(buffer), TN_MIN(size - 1, len));
    }
    /* A caller of before 6.4 has no place for the true size: nothing is written behind what he has. */
    attr = (struct attr){.a = {.prog_type = BPF_PROG_TYPE_KPROBE,
                               .insns = (u64)bad,
                               .insn_cnt = 1,
                               .license = (u64) "GPL",
                               .log_level = 2,
                               .log_size = sizeof(buffer),
                               .log_buf = (u64)buffer}};
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr.a, LOAD_TRUE_SIZE), -EACCES);
    assert_int_equal(true_size(&attr, LOAD_TRUE_SIZE), 0);
}

/* ------------------------------------------------------------------------------------------------- BTF */

static struct {
    struct btf_header head;
    struct btf_type type;
    u32 int_data;
    char strings[8];
} small = {
    .head = {.magic = BTF_MAGIC,
             .version = BTF_VERSION,
             .hdr_len = sizeof(struct btf_header),
             .type_len = 16,
             .str_off = 16,
             .str_len = 8},
    .type = {.name_off = 1, .info = BTF_KIND_INT << 24, .size = 4},
    .int_data = BTF_INT_SIGNED << 24 | 32,
    .strings = "\0int\0\0\0",
};

static void btf_log(void **state)
{
    static char theirs[4096];
    struct attr attr;
    bool kernel = kernel_loads();
    u32 different = 0;

    for (size_t row = 0; row < TN_ARRAY_SIZE(rows); row++)
        for (u32 broken = 0; broken < 2; broken++) {
            struct attr first = {.a = {.btf = (u64)&small,
                                       .btf_size = sizeof(small),
                                       .btf_log_level = rows[row].level,
                                       .btf_log_size = rows[row].size,
                                       .btf_log_buf = rows[row].buf == HERE      ? (u64)buffer
                                                      : rows[row].buf == NOWHERE ? 64
                                                                                 : 0}};
            long ours, its;

            small.type.info = broken ? BTF_KIND_INT << 24 | 0x60000000u : BTF_KIND_INT << 24;
            attr = first;
            ours = bpf(BPF_BTF_LOAD, &attr.a, BTF_TRUE_SIZE + 4);
            if (ours >= 0)
                close((int)ours);
            if (!kernel)
                continue;
            attr = first;
            its = kernel_bpf(BPF_BTF_LOAD, &attr.a, BTF_TRUE_SIZE + 4);
            if (its >= 0)
                close((int)its);
            if ((ours < 0 || its < 0) && ours != its) {
                print_message("# level %u, buffer %u, size %u, broken %u: here %ld, kernel %ld\n",
                              rows[row].level, rows[row].buf, rows[row].size, broken, ours, its);
                different++;
            }
        }
    assert_int_equal(different, 0);

    /* The head of it is Linux's to the letter, and the fault has its words. */
    attr = (struct attr){.a = {.btf = (u64)&small,
                               .btf_size = sizeof(small),
                               .btf_log_level = 1,
                               .btf_log_size = sizeof(buffer),
                               .btf_log_buf = (u64)buffer}};
    assert_int_equal(bpf(BPF_BTF_LOAD, &attr.a, BTF_TRUE_SIZE + 4), -EINVAL);
    assert_int_equal(true_size(&attr, BTF_TRUE_SIZE), strlen(buffer) + 1);
    assert_non_null(strstr(buffer, "[1] Invalid btf_info:"));
    if (!kernel)
        return;
    attr.a.btf_log_buf = (u64)theirs;
    attr.a.btf_log_size = sizeof(theirs);
    memset((u8 *)&attr + BTF_TRUE_SIZE, 0, 4);
    assert_int_equal(kernel_bpf(BPF_BTF_LOAD, &attr.a, BTF_TRUE_SIZE + 4), -EINVAL);
    assert_int_equal(strncmp(buffer, theirs, (size_t)(strstr(theirs, "[1]") - theirs)), 0);
}

/* ------------------------------------------------------------------------------------------- judged only */

static struct tn_ctl_verdict verdict(void)
{
    struct tn_ctl_verdict v;
    size_t len = sizeof(v);

    assert_int_equal(tn_door_ctl(TN_CTL_VERDICT, NULL, 0, &v, &len), 0);
    assert_int_equal(len, sizeof(v));
    return v;
}

static void judge(const char *name)
{
    struct tn_ctl_options options = {.wait_ms = 1000};

    snprintf(options.judged, sizeof(options.judged), "%s", name);
    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), 0);
}

static int load_named(const char *name, const struct bpf_insn *insns, u32 n)
{
    union bpf_attr attr = {
        .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (u64)insns, .insn_cnt = n, .license = (u64) "GPL"};

    snprintf(attr.prog_name, sizeof(attr.prog_name), "%s", name);
    return (int)bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static void judged_programs_never_run(void **state)
{
    u8 frame[64] = {0};
    union bpf_attr attr;
    u32 before = status().progs;
    int fd, probe;

    judge("mine");
    assert_int_equal(verdict().judged, 0);
    probe = load_named("probe", good, 2); /* what a library tries on the way is what it always was */
    assert_true(probe >= 0);
    assert_int_equal(verdict().judged, 0);
    fd = load_named("mine", good, 2);
    assert_true(fd >= 0);
    assert_true(verdict().judged && verdict().accepted && verdict().available);
    assert_int_equal(verdict().insns_processed, 2);
    assert_int_equal(status().progs, before + 1); /* the probe: the judged one is listed nowhere */

    attr =
        (union bpf_attr){.test = {.prog_fd = (u32)fd, .data_in = (u64)frame, .data_size_in = sizeof(frame)}};
    assert_int_equal(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), -EINVAL);
    assert_string_equal(last_reason(), "wrong_kind");
    attr = (union bpf_attr){.link_create = {.prog_fd = (u32)fd, .attach_type = BPF_PERF_EVENT}};
    assert_true(bpf(BPF_LINK_CREATE, &attr, sizeof(attr)) < 0);
    attr.test.prog_fd = (u32)probe;
    close(fd);

    assert_int_equal(load_named("mine", bad, 1), -EACCES);
    assert_false(verdict().accepted);
    assert_string_equal(verdict().refusal.reason, "uninit_register");
    judge("");
    assert_int_equal(verdict().judged, 0);
    fd = load_named("mine", good, 2);
    assert_true(fd >= 0);
    assert_int_equal(status().progs, before + 2);
    close(fd);
    close(probe);
}

static void shapes_of_maps(void **state)
{
    u32 before = status().maps, key = 0, value = 0;
    int shape, plain, outer;
    union bpf_attr attr;

    assert_int_equal(map_create(BPF_MAP_TYPE_SOCKMAP, 4, 4, 8, 0),
                     -EINVAL); /* feature probes hear the truth */
    judge("mine");
    shape = map_create(BPF_MAP_TYPE_SOCKMAP, 4, 4, 8, 0);
    plain = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
    assert_true(shape >= 0 && plain >= 0);
    assert_int_equal(status().maps, before + 1);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, shape, &key, &value, 0), 0);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, shape, &key, &value, 0), -EINVAL);
    attr = (union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
                            .key_size = 4,
                            .value_size = 4,
                            .max_entries = 4,
                            .inner_map_fd = (u32)plain};
    outer = (int)bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
    assert_true(outer >= 0);
    attr.inner_map_fd = (u32)outer; /* two deep is one too many */
    assert_int_equal(bpf(BPF_MAP_CREATE, &attr, sizeof(attr)), -EINVAL);
    close(outer);

    const struct bpf_insn uses[] = {
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = shape},
        {0},
        MOV(0, 0),
        EXIT};

    if (load_named("mine", uses, 4) >= 0) {
        assert_false(verdict().available);
        assert_string_equal(verdict().missing.reason, "map_not_built");
    }
    judge("");
    assert_true(load_named("other", uses, 4) < 0); /* a shape is no map to anybody else */
    close(shape);
    close(plain);
    assert_soon(status().maps == before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_and_levels),
        cmocka_unit_test(windows),
        cmocka_unit_test(btf_log),
        cmocka_unit_test(judged_programs_never_run),
        cmocka_unit_test(shapes_of_maps),
    };

    return cmocka_run_group_tests(tests, start_open, finish);
}
