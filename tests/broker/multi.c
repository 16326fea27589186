/* SPDX-License-Identifier: MIT */
/*
 * Links of many places, asked of the kernel and of the broker in the same words: the same answers, the same counts,
 * cookies and addresses, the same told of the link. The functions are this process's own.
 */
#include "tests/broker/common.h"

#include "broker/multi.h"

#include <bpf/btf.h>

#define ALU(op, dst, value)                                                                                  \
    {                                                                                                        \
        .code = BPF_ALU64 | (op) | BPF_K, .dst_reg = (dst), .imm = (value)                                   \
    }
#define MOV(dst, src)                                                                                        \
    {                                                                                                        \
        .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (dst), .src_reg = (src)                              \
    }
#define CALL(helper)                                                                                         \
    {                                                                                                        \
        .code = BPF_JMP | BPF_CALL, .imm = (helper)                                                          \
    }
#define ADD(off_, src)                                                                                       \
    {                                                                                                        \
        .code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 1, .src_reg = (src), .off = (off_), .imm = BPF_ADD \
    }
#define EXIT                                                                                                 \
    {                                                                                                        \
        .code = BPF_JMP | BPF_EXIT                                                                           \
    }

typedef long (*bpf_fn)(int command, union bpf_attr *attr, unsigned size);

static volatile int sink;

#define VICTIM(name, number)                                                                                 \
    __attribute__((noinline)) static int name(int a)                                                         \
    {                                                                                                        \
        sink = a;                                                                                            \
        sink += number;                                                                                      \
        return sink;                                                                                         \
    }
VICTIM(first, 1)
VICTIM(second, 20)
VICTIM(third, 300)

static int (*volatile victim[])(int) = {first, second, third};

static u64 place(const void *code)
{
    FILE *f = fopen("/proc/self/maps", "r");
    u64 at = (u64)code, from, to, offset, found = 0;
    char line[512];

    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3 && at >= from && at < to)
            found = at - from + offset;
    fclose(f);
    return found;
}

static void call_all(void)
{
    for (int i = 0; i < 10; i++)
        for (u32 k = 0; k < TN_ARRAY_SIZE(victim); k++)
            assert_int_equal(victim[k](i), i + (k == 0 ? 1 : k == 1 ? 20 : 300));
}

/* What a program has seen: how often it ran, the sum of its cookies, the sum of its functions' addresses. */
struct seen {
    u64 runs, cookies, ips;
};

static int map_of(bpf_fn ask)
{
    union bpf_attr attr = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = sizeof(struct seen), .max_entries = 1};

    return (int)ask(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static struct seen look(bpf_fn ask, int map)
{
    struct seen seen = {0};
    u32 key = 0;
    union bpf_attr attr = {.map_fd = (u32)map, .key = (u64)&key, .value = (u64)&seen};

    assert_int_equal(ask(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), 0);
    return seen;
}

/* What was seen until the link ended, and nothing after that. */
static struct seen taken_back(bpf_fn ask, int map, int prog, int link)
{
    struct seen seen = look(ask, map);

    close(link);
    if (ask == door_bpf)
        assert_soon(status().links == 0);
    call_all();
    assert_int_equal(look(ask, map).runs, seen.runs);
    close(prog);
    close(map);
    return seen;
}

static int program(bpf_fn ask, int map, u32 attach_type)
{
    const struct bpf_insn insns[] = {
        MOV(6, 1),
        CALL(BPF_FUNC_get_attach_cookie),
        MOV(7, 0),
        MOV(1, 6),
        CALL(BPF_FUNC_get_func_ip),
        MOV(8, 0),
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map},
        {0},
        ALU(BPF_MOV, 2, 1),
        ADD(0, 2),
        ADD(8, 7),
        ADD(16, 8),
        ALU(BPF_MOV, 0, 0),
        EXIT,
    };
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_KPROBE,
                           .expected_attach_type = attach_type,
                           .insns = (u64)insns,
                           .insn_cnt = TN_ARRAY_SIZE(insns),
                           .license = (u64) "GPL",
                           .prog_name = "many"};

    return (int)ask(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int create(bpf_fn ask, int prog, u32 type, u32 flags, const struct tn_multi_attr *multi)
{
    union bpf_attr attr = {0};

    attr.link_create.prog_fd = (u32)prog;
    attr.link_create.attach_type = type;
    attr.link_create.flags = flags;
    memcpy((u8 *)&attr + TN_MULTI_ATTR_OFF, multi, TN_MULTI_ATTR_END - TN_MULTI_ATTR_OFF);
    return (int)ask(BPF_LINK_CREATE, &attr, 64);
}

/* Has the kernel such links, and may we? */
static bool kernel_has(void)
{
    int map = map_of(kernel_bpf), prog = map < 0 ? -1 : program(kernel_bpf, map, TN_TRACE_UPROBE_MULTI);
    const u64 offset = place((const void *)first);
    struct tn_multi_attr multi = {.path = (u64) "/proc/self/exe", .offsets = (u64)&offset, .cnt = 1};
    int link = prog < 0 ? -1 : create(kernel_bpf, prog, TN_TRACE_UPROBE_MULTI, 0, &multi);

    for (int i = 0, fd[] = {map, prog, link}; i < 3; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return link >= 0;
}

struct told {
    struct tn_multi_info info;
    u64 offsets[4], ref_ctr[4], cookies[4];
    char path[256];
    int err;
};

static struct told tell(bpf_fn ask, int link, u32 count, u32 path_size)
{
    struct told told = {0};
    union bpf_attr attr = {
        .info = {.bpf_fd = (u32)link, .info_len = sizeof(told.info), .info = (u64)&told.info}};

    told.info.offsets = (u64)told.offsets;
    told.info.ref_ctr_offsets = (u64)told.ref_ctr;
    told.info.cookies = (u64)told.cookies;
    told.info.count = count;
    told.info.path = path_size ? (u64)told.path : 0;
    told.info.path_size = path_size;
    told.err = (int)ask(BPF_OBJ_GET_INFO_BY_FD, &attr, 16);
    if (told.err == -ENOSPC) /* what Linux has written then is not told by its length */
        memset(&told, 0, offsetof(struct told, err));
    told.info.id = told.info.prog_id = 0;
    told.info.path = told.info.offsets = told.info.ref_ctr_offsets = told.info.cookies = 0;
    return told;
}

static void same_told(const struct told *a, const struct told *b)
{
    assert_int_equal(a->err, b->err);
    assert_memory_equal(&a->info, &b->info, sizeof(a->info));
    assert_memory_equal(a->offsets, b->offsets, sizeof(a->offsets));
    assert_memory_equal(a->ref_ctr, b->ref_ctr, sizeof(a->ref_ctr));
    assert_memory_equal(a->cookies, b->cookies, sizeof(a->cookies));
    assert_string_equal(a->path, b->path);
}

/* One link of four places, one of them twice. */
static struct seen run(bpf_fn ask, u32 flags, s32 pid, struct told told[4])
{
    const u64 offsets[] = {place((const void *)third), place((const void *)first),
                           place((const void *)second), place((const void *)first)};
    const u64 cookies[] = {1ull << 40, 7, 0, 1000};
    struct tn_multi_attr multi = {.path = (u64) "/proc/self/exe",
                                  .offsets = (u64)offsets,
                                  .cookies = (u64)cookies,
                                  .cnt = 4,
                                  .flags = flags,
                                  .pid = (u32)pid};
    int map = map_of(ask), prog = program(ask, map, TN_TRACE_UPROBE_MULTI),
        link = create(ask, prog, TN_TRACE_UPROBE_MULTI, 0, &multi);

    if (ask == door_bpf && (link == -EPERM || link == -EACCES)) {
        print_message("this process may not be entered (%s)\n", last_reason());
        skip();
    }
    if (link < 0)
        print_message("# %d %s\n", link, ask == door_bpf ? last_reason() : "kernel");
    assert_true(link >= 0);
    call_all();
    told[0] = tell(ask, link, 4, 256);
    told[1] = tell(ask, link, 2, 256);
    told[2] = tell(ask, link, 4, 0);
    told[3] = tell(ask, link, 4, 3);
    return taken_back(ask, map, prog, link);
}

static void same_counts(void **state)
{
    for (u32 flags = 0; flags < 2; flags++)
        for (int named = 0; named < 2; named++) {
            struct told ours[4], theirs[4];
            struct seen seen = run(door_bpf, flags, named ? getpid() : 0, ours), there;

            assert_int_equal(seen.runs, 40);
            assert_int_equal(seen.cookies, 10 * ((1ull << 40) + 1007));
            if (!kernel_has()) {
                print_message("# the kernel has no such links: not compared\n");
                continue;
            }
            there = run(kernel_bpf, flags, named ? getpid() : 0, theirs);
            assert_int_equal(seen.runs, there.runs);
            assert_int_equal(seen.cookies, there.cookies);
            assert_int_equal(seen.ips, there.ips);
            for (int i = 0; i < 4; i++)
                same_told(&ours[i], &theirs[i]);
        }
}

/* A session: argument of the call into its word at the entry, no at odd ones; at the exit the words are added up. */
static int session(bpf_fn ask, int map, s32 is_return, s32 cookie, s32 more)
{
    const struct bpf_insn insns[] = {
        MOV(6, 1),
        {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = is_return},
        MOV(7, 0),
        {.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = cookie},
        MOV(8, 0),
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map},
        {0},
        ALU(BPF_MOV, 2, 1),
        ALU(BPF_AND, 7, 1),
        {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 7, .off = 7},
        ADD(0, 2),                                                                    /* entered */
        {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 3, .src_reg = 6, .off = 112}, /* di */
        ALU(BPF_AND, 3, 0xffff),
        {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 8, .src_reg = 3},
        MOV(0, 3),
        ALU(BPF_AND, 0, 1),
        EXIT,
        ADD(8, 2), /* left */
        {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 3, .src_reg = 8},
        ADD(16, 3),
        ALU(BPF_MOV, 0, more),
        EXIT,
    };
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_KPROBE,
                           .expected_attach_type = TN_TRACE_UPROBE_SESSION,
                           .insns = (u64)insns,
                           .insn_cnt = TN_ARRAY_SIZE(insns),
                           .license = (u64) "GPL",
                           .prog_name = "session"};

    return (int)ask(BPF_PROG_LOAD, &attr, sizeof(attr));
}

/* Runs through itself, deeper and deeper: each call has a word of its own. */
static int deep(int a);
static int (*volatile deeper)(int) = deep;

static int deep(int a)
{
    int sum = a;

    if (a > 0)
        sum += deeper(a - 1);
    sink = sum;
    return sum;
}

static struct seen run_session(bpf_fn ask, s32 is_return, s32 cookie, struct told *ret_told)
{
    const u64 offsets[] = {place((const void *)first), place((const void *)third), place((const void *)deep)};
    struct tn_multi_attr multi = {.path = (u64) "/proc/self/exe", .offsets = (u64)offsets, .cnt = 3};
    int map = map_of(ask), prog = session(ask, map, is_return, cookie, 0), link;

    if (prog < 0)
        print_message("# %d %s\n", prog, ask == door_bpf ? last_reason() : "kernel");
    assert_true(prog >= 0);
    /* What it returns is 0 or 1. */
    assert_int_equal(session(ask, map, is_return, cookie, 2), -EINVAL);
    link = create(ask, prog, TN_TRACE_UPROBE_SESSION, 0, &multi);
    if (ask == door_bpf && (link == -EPERM || link == -EACCES))
        skip();
    if (link < 0)
        print_message("# %d %s\n", link, ask == door_bpf ? last_reason() : "kernel");
    assert_true(link >= 0);
    call_all();
    assert_int_equal(deeper(20), 210);
    *ret_told = tell(ask, link, 4, 256);
    return taken_back(ask, map, prog, link);
}

static void same_sessions(void **state)
{
    struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);
    s32 is_return = btf ? btf__find_by_name_kind(btf, "bpf_session_is_return", BTF_KIND_FUNC) : -1,
        cookie = btf ? btf__find_by_name_kind(btf, "bpf_session_cookie", BTF_KIND_FUNC) : -1;
    struct told ours, theirs;
    struct seen seen, there;

    btf__free(btf);
    if (is_return < 0 || cookie < 0) {
        print_message("# this kernel's types know no sessions\n");
        skip();
    }
    seen = run_session(door_bpf, is_return, cookie, &ours);
    /* Two functions called with 0 … 9, the deep one with 20 … 0. */
    assert_int_equal(seen.runs, 10 + 10 + 21);
    assert_int_equal(seen.cookies, 5 + 5 + 11);
    assert_int_equal(seen.ips, 20 + 20 + 110);
    there = run_session(kernel_bpf, is_return, cookie, &theirs);
    assert_int_equal(seen.runs, there.runs);
    assert_int_equal(seen.cookies, there.cookies);
    assert_int_equal(seen.ips, there.ips);
    same_told(&ours, &theirs);
}

/* Each is put to both. */
static void same_errors(void **state)
{
    const u64 good[] = {place((const void *)first), place((const void *)second)};
    const u64 high[] = {place((const void *)first), 1ull << 40}, negative[] = {1ull << 63, 0};
    static const char self[] = "/proc/self/exe";
    char longer[5000];
    const struct tn_multi_attr ok = {.path = (u64)self, .offsets = (u64)good, .cnt = 2};
    struct row {
        const char *what;
        u32 loaded, type, flags;
        struct tn_multi_attr multi;
        int want;
    } rows[] = {
        {"flags of the link", 48, 48, 1, ok, -EINVAL},
        {"an unknown flag", 48, 48, 0, ok, -EINVAL},
        {"no path", 48, 48, 0, ok, -EINVAL},
        {"no offsets", 48, 48, 0, ok, -EINVAL},
        {"no places", 48, 48, 0, ok, -EINVAL},
        {"too many", 48, 48, 0, ok, -E2BIG},
        {"a folder", 48, 48, 0, ok, -EBADF},
        {"no file", 48, 48, 0, ok, -ENOENT},
        {"an empty path", 48, 48, 0, ok, -EBADF},
        {"a path without end", 48, 48, 0, ok, -EINVAL},
        {"a path that cannot be read", 48, 48, 0, ok, -EFAULT},
        {"offsets that cannot be read", 48, 48, 0, ok, -EFAULT},
        {"cookies that cannot be read", 48, 48, 0, ok, -EFAULT},
        {"an offset behind the file", 48, 48, 0, ok, -EINVAL},
        {"an offset below it", 48, 48, 0, ok, -EINVAL},
        {"no such process", 48, 48, 0, ok, -ESRCH},
        {"no process has this number", 48, 48, 0, ok, -EINVAL},
        {"loaded for no attach type", 0, 48, 0, ok, -EINVAL},
        {"loaded for a session", 57, 48, 0, ok, -EINVAL},
        {"loaded for many, a session", 48, 57, 0, ok, -EINVAL},
        {"loaded for many, an event", 48, BPF_PERF_EVENT, 0, ok, -EINVAL},
        {"loaded for no attach type, a session", 0, 57, 0, ok, -EINVAL},
    };
    bool compare = kernel_has();

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    rows[1].multi.flags = 2;
    rows[2].multi.path = 0;
    rows[3].multi.offsets = 0;
    rows[4].multi.cnt = 0;
    rows[5].multi.cnt = TN_UPROBE_MULTI_MAX + 1;
    rows[6].multi.path = (u64) "/tmp";
    rows[7].multi.path = (u64) "/tmp/no/such/file";
    rows[8].multi.path = (u64) "";
    rows[9].multi.path = (u64)longer;
    rows[10].multi.path = 8;
    rows[11].multi.offsets = 8;
    rows[12].multi.cookies = 8;
    rows[13].multi.offsets = (u64)high;
    rows[14].multi.offsets = (u64)negative;
    rows[15].multi.pid = 4194300;
    rows[16].multi.pid = 0x80000000u;
    for (u32 i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        const struct row *row = &rows[i];

        for (int side = 0; side < 1 + compare; side++) {
            bpf_fn ask = side ? kernel_bpf : door_bpf;
            int map = map_of(ask), prog = program(ask, map, row->loaded), r;

            assert_true(map >= 0 && prog >= 0);
            r = create(ask, prog, row->type, row->flags, &row->multi);
            if (r != row->want)
                fail_msg("%s: %s says %d, not %d", row->what, side ? "Linux" : "the broker", r, row->want);
            close(prog);
            close(map);
        }
    }
    call_all();
}

/* What Linux takes and a process has no room for is refused before anything is written. */
static void more_than_there_is_room(void **state)
{
    u64 *offsets = calloc(20000, sizeof(*offsets));
    struct tn_multi_attr multi = {.path = (u64) "/proc/self/exe", .offsets = (u64)offsets, .cnt = 20000};
    int map = map_of(door_bpf), prog = program(door_bpf, map, TN_TRACE_UPROBE_MULTI);

    for (u32 i = 0; i < 20000; i++)
        offsets[i] = place((const void *)first);
    assert_int_equal(create(door_bpf, prog, TN_TRACE_UPROBE_MULTI, 0, &multi), -ENOSPC);
    assert_string_equal(last_reason(), "too_many_places");
    close(prog);
    close(map);
    free(offsets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_counts),
        cmocka_unit_test(same_sessions),
        cmocka_unit_test(same_errors),
        cmocka_unit_test(more_than_there_is_room),
    };

    return cmocka_run_group_tests_name("broker/multi", tests, start_open, finish);
}
