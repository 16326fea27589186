/* SPDX-License-Identifier: MIT */
/* Programs, type information, uprobe events and links through the door:
   what is served, and how the rest is refused. */
#include <linux/btf.h>
#include <sys/ioctl.h>

#include "tests/broker/common.h"

#define MOV(dst, value)                                                                                      \
    {                                                                                                        \
        .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (dst), .imm = (value)                                \
    }
#define CALL(helper)                                                                                         \
    {                                                                                                        \
        .code = BPF_JMP | BPF_CALL, .imm = (helper)                                                          \
    }
#define EXIT                                                                                                 \
    {                                                                                                        \
        .code = BPF_JMP | BPF_EXIT                                                                           \
    }
#define MAP(dst, src, fd)                                                                                    \
    {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = (dst), .src_reg = (src), .imm = (fd)},                    \
    {                                                                                                        \
        0                                                                                                    \
    }

static char log_buf[4096];

static long load_attr(union bpf_attr *attr, u32 type, const struct bpf_insn *insns, u32 count)
{
    *attr = (union bpf_attr){.prog_type = type,
                             .insns = (u64)insns,
                             .insn_cnt = count,
                             .license = (u64) "GPL",
                             .prog_name = "test"};
    return 0;
}

static int load(u32 type, const struct bpf_insn *insns, u32 count)
{
    union bpf_attr attr;

    load_attr(&attr, type, insns, count);
    return (int)bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int trivial(void)
{
    const struct bpf_insn insns[] = {MOV(0, 0), EXIT};
    int fd = load(BPF_PROG_TYPE_KPROBE, insns, 2);

    assert_true(fd >= 0);
    return fd;
}

static void loaded_and_described(void **state)
{
    int map = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
    const struct bpf_insn insns[] = {MAP(1, BPF_PSEUDO_MAP_FD, map), MOV(0, 0), EXIT};
    int fd = load(BPF_PROG_TYPE_KPROBE, insns, 4), again = load(BPF_PROG_TYPE_KPROBE, insns, 4);
    struct bpf_prog_info info = {0}, second = {0};
    struct bpf_insn shown[4] = {0};
    static u8 text[65536];
    u32 ids[2] = {0};
    struct bpf_map_info map_info = {0};
    union bpf_attr attr = {.info = {.bpf_fd = (u32)fd, .info_len = sizeof(info), .info = (u64)&info}};

    assert_true(fd >= 0 && again >= 0);
    info.xlated_prog_insns = (u64)shown;
    info.xlated_prog_len = sizeof(shown);
    info.map_ids = (u64)ids;
    info.nr_map_ids = 2;
    info.jited_prog_insns = (u64)text;
    info.jited_prog_len = sizeof(text);
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(info.type, BPF_PROG_TYPE_KPROBE);
    assert_string_equal(info.name, "test");
    assert_int_equal(info.xlated_prog_len, sizeof(shown));
    assert_true(info.jited_prog_len > 0 && info.load_time > 0 && info.gpl_compatible);
    assert_int_equal(info.created_by_uid, getuid());
    assert_int_equal(info.nr_map_ids, 1);

    attr =
        (union bpf_attr){.info = {.bpf_fd = (u32)map, .info_len = sizeof(map_info), .info = (u64)&map_info}};
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(ids[0], map_info.id);
    assert_non_null(memchr(text, 0xc3, info.jited_prog_len)); /* native text returns somewhere */
    assert_int_equal(shown[0].imm, (s32)map_info.id);
    assert_int_equal(shown[3].code, BPF_JMP | BPF_EXIT);

    attr = (union bpf_attr){.info = {.bpf_fd = (u32)again, .info_len = sizeof(second), .info = (u64)&second}};
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_memory_equal(info.tag, second.tag, sizeof(info.tag));
    assert_int_not_equal(info.id, second.id);

    /* A program keeps its map. */
    close(map);
    sleep_ms(30);
    assert_int_equal(status().maps, 1);
    close(fd);
    attr = (union bpf_attr){.prog_id = second.id};
    fd = (int)bpf(BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
    assert_true(fd >= 0);
    close(again);
    close(fd);
    assert_soon(status().progs == 0 && status().maps == 0);
}

static void tag_is_known(void **state)
{
    /* SHA-1 over "mov r0, 0; exit": the tag that kernels up to 6.17 print for this very program. */
    static const u8 expected[8] = {0xa0, 0x4f, 0x5e, 0xef, 0x06, 0xa7, 0xf5, 0x55};
    struct bpf_prog_info info = {0};
    int fd = trivial();
    union bpf_attr attr = {.info = {.bpf_fd = (u32)fd, .info_len = sizeof(info), .info = (u64)&info}};

    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_memory_equal(info.tag, expected, sizeof(expected));
    close(fd);
}

static void fd_array_and_values(void **state)
{
    int map = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0), fds[2] = {-1, map};
    const struct bpf_insn by_index[] = {MAP(1, BPF_PSEUDO_MAP_IDX, 1), MOV(0, 0), EXIT};
    const struct bpf_insn value[] = {MAP(1, BPF_PSEUDO_MAP_VALUE, map), MOV(0, 0), EXIT};
    union bpf_attr attr;
    int fd;

    load_attr(&attr, BPF_PROG_TYPE_SOCKET_FILTER, by_index, 4);
    assert_true(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)) < 0);
    attr.fd_array = (u64)fds;
    fd = (int)bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
    assert_true(fd >= 0);
    close(fd);
    fd = load(BPF_PROG_TYPE_SOCKET_FILTER, value, 4);
    assert_true(fd >= 0);
    close(fd);
    close(map);
}

static void refused_by_name(void **state)
{
    const struct bpf_insn ok[] = {MOV(0, 0), EXIT}, missing[] = {CALL(9), EXIT};
    const struct bpf_insn no_map[] = {MAP(1, BPF_PSEUDO_MAP_FD, 0), MOV(0, 0), EXIT};
    union bpf_attr attr;

    assert_int_equal(load(BPF_PROG_TYPE_LSM, ok, 2), -EINVAL);
    assert_string_equal(last_reason(), "prog_type_missing");
    assert_int_equal(load(BPF_PROG_TYPE_TRACING, ok, 2), -EINVAL);
    assert_int_equal(load(BPF_PROG_TYPE_KPROBE, ok, 0), -E2BIG);

    load_attr(&attr, BPF_PROG_TYPE_LSM, ok, 2);
    attr.log_level = 1;
    attr.log_buf = (u64)log_buf;
    attr.log_size = sizeof(log_buf);
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), -EINVAL);
    assert_non_null(strstr(log_buf, "lsm"));

    load_attr(&attr, BPF_PROG_TYPE_KPROBE, missing, 2);
    attr.log_level = 1;
    attr.log_buf = (u64)log_buf;
    attr.log_size = sizeof(log_buf);
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), -EINVAL);
    assert_true(strstr(log_buf, "unknown func ") || strstr(log_buf, "invalid func "));
    attr.log_level = 0;
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), -EINVAL);
    assert_string_equal(last_reason(), "log_attributes");

    /* Descriptor 0 is somebody else's. */
    load_attr(&attr, BPF_PROG_TYPE_KPROBE, no_map, 4);
    attr.log_level = 1;
    attr.log_buf = (u64)log_buf;
    attr.log_size = sizeof(log_buf);
    assert_true(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)) < 0);
    assert_non_null(strstr(log_buf, "fd 0 is not pointing to valid bpf_map"));

    load_attr(&attr, BPF_PROG_TYPE_KPROBE, ok, 2);
    attr.expected_attach_type = BPF_TRACE_KPROBE_MULTI;
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), -EINVAL);
    assert_string_equal(last_reason(), "attach_type_missing");
    attr.expected_attach_type = 0;
    attr.insns = 64;
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), -EFAULT);
    assert_soon(status().progs == 0);
}

static void a_log_that_is_too_small(void **state)
{
    const struct bpf_insn missing[] = {CALL(9), EXIT};
    union bpf_attr attr;

    memset(log_buf, 'x', sizeof(log_buf));
    load_attr(&attr, BPF_PROG_TYPE_KPROBE, missing, 2);
    attr.log_level = 1;
    attr.log_buf = (u64)log_buf;
    attr.log_size = 8;
    assert_int_equal(bpf(BPF_PROG_LOAD, &attr, sizeof(attr)), -ENOSPC);
    assert_int_equal(log_buf[7], '\0');
    assert_int_equal(strlen(log_buf), 7);
    assert_int_equal(log_buf[8], 'x');
}

static void test_runs(void **state)
{
    int map = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0);
    /* Counts in the map and returns the frame's length. */
    const struct bpf_insn insns[] = {
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 0, .src_reg = 1, .off = 0},
        MAP(2, BPF_PSEUDO_MAP_VALUE, map),
        MOV(3, 1),
        {.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 2, .src_reg = 3, .imm = BPF_ADD},
        EXIT,
    };
    u8 frame[64] = {0}, out[64] = {0};
    int fd = load(BPF_PROG_TYPE_SOCKET_FILTER, insns, 6), probe = trivial();
    union bpf_attr attr = {.test = {.prog_fd = (u32)fd,
                                    .data_in = (u64)frame,
                                    .data_size_in = sizeof(frame),
                                    .data_out = (u64)out,
                                    .data_size_out = sizeof(out),
                                    .repeat = 100}};
    u64 count = 0;

    assert_true(fd >= 0);
    frame[14] = 0x45;
    assert_int_equal(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), 0);
    assert_int_equal(attr.test.retval, 50);
    assert_int_equal(attr.test.data_size_out, 64);
    assert_int_equal(out[14], 0x45);
    assert_int_equal(elem(BPF_MAP_LOOKUP_ELEM, map, &(u32){0}, &count, 0), 0);
    assert_int_equal(count, 100);
    attr.test.data_size_in = 13;
    assert_int_equal(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), -EINVAL);
    attr.test.data_size_in = 64;
    attr.test.data_in = 64;
    assert_int_equal(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), -EFAULT);
    attr.test.prog_fd = (u32)probe;
    assert_int_equal(bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)), -524);
    close(fd);
    close(probe);
    close(map);
}

/* ---------------------------------------------------------------------------------------------------- BTF */

struct small_btf {
    struct btf_header head;
    struct btf_type type;
    u32 int_data;
    char strings[8];
};

static struct small_btf int_btf(void)
{
    return (struct small_btf){
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
}

static int btf_load(const struct small_btf *btf)
{
    union bpf_attr attr = {.btf = (u64)btf, .btf_size = sizeof(*btf)};

    return (int)bpf(BPF_BTF_LOAD, &attr, 28);
}

static void type_information(void **state)
{
    struct small_btf btf = int_btf(), back = {0};
    int fd = btf_load(&btf);
    char name[8] = "x";
    struct bpf_btf_info info = {
        .btf = (u64)&back, .btf_size = sizeof(back), .name = (u64)name, .name_len = 8};
    union bpf_attr attr = {.info = {.bpf_fd = (u32)fd, .info_len = sizeof(info), .info = (u64)&info}};

    assert_true(fd >= 0);
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(info.btf_size, sizeof(btf));
    assert_memory_equal(&btf, &back, sizeof(btf));
    assert_string_equal(name, "");
    assert_int_equal(info.kernel_btf, 0);

    /* A map of that type. */
    attr = (union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY,
                            .key_size = 4,
                            .value_size = 4,
                            .max_entries = 1,
                            .btf_fd = (u32)fd,
                            .btf_key_type_id = 1,
                            .btf_value_type_id = 1};

    int map = (int)bpf(BPF_MAP_CREATE, &attr, sizeof(attr));

    assert_true(map >= 0);
    attr.value_size = 8;
    assert_int_equal(bpf(BPF_MAP_CREATE, &attr, sizeof(attr)), -EINVAL);
    close(fd);
    sleep_ms(30);
    assert_int_equal(status().btfs, 1);
    close(map);
    assert_soon(status().btfs == 0);
}

static void damaged_type_information(void **state)
{
    const struct small_btf good = int_btf();
    union bpf_attr attr;
    u64 seed = 99;

    /* Each byte wrong in turn: refused or taken, never fatal. */
    for (u32 at = 0; at < sizeof(good); at++)
        for (u32 bit = 0; bit < 8; bit += 3) {
            struct small_btf bad = good;
            int fd;

            ((u8 *)&bad)[at] ^= (u8)(1 << bit);
            fd = btf_load(&bad);
            if (at < 2)
                assert_int_equal(fd, -EINVAL);
            if (fd >= 0)
                close(fd);
        }
    for (int round = 0; round < 200; round++) {
        struct small_btf bad = good;

        for (u32 at = 0; at < 5; at++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            ((u8 *)&bad)[8 + (seed >> 33) % (sizeof(bad) - 8)] = (u8)(seed >> 56);
        }

        int fd = btf_load(&bad);

        if (fd >= 0)
            close(fd);
    }
    attr = (union bpf_attr){.btf = (u64)&good,
                            .btf_size = 10,
                            .btf_log_buf = (u64)log_buf,
                            .btf_log_size = 256,
                            .btf_log_level = 1};
    assert_int_equal(bpf(BPF_BTF_LOAD, &attr, 28), -EINVAL);
    assert_non_null(strstr(log_buf, "btf_header not found"));
    assert_string_equal(last_reason(), "btf_invalid");
    assert_soon(status().btfs == 0);
}

/* --------------------------------------------------------------------------------------- events and links */

static u32 uprobe_type(void)
{
    FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
    u32 type = 0;

    assert_non_null(f); /* the kernel's, or ours where it has none */
    assert_int_equal(fscanf(f, "%u", &type), 1);
    fclose(f);
    return type;
}

static int event(const char *path, u64 offset, s32 pid, s32 cpu)
{
    struct perf_event_attr attr = {
        .type = uprobe_type(), .size = sizeof(attr), .uprobe_path = (u64)path, .probe_offset = offset};
    long fd = syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);

    return fd < 0 ? -errno : (int)fd;
}

static void events(void **state)
{
    int fd = event("/bin/true", 0x100, -1, 0);
    u64 id = 0;

    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(ioctl(fd, PERF_EVENT_IOC_ID, &id), 0);
    assert_true(id > 0);
    assert_int_equal(ioctl(fd, PERF_EVENT_IOC_DISABLE, 0), 0);
    assert_int_equal(ioctl(fd, PERF_EVENT_IOC_ENABLE, 0), 0);
    assert_int_equal(ioctl(fd, PERF_EVENT_IOC_SET_BPF, fd), -1);
    assert_int_equal(errno, EINVAL);
    close(fd);
    assert_int_equal(event("/bin/true", 0x100, -1, -1), -EINVAL);
    assert_int_equal(event("/bin/true", 0x100, -2, 0), -EINVAL);
    assert_int_equal(event("/bin/true", 1ull << 40, -1, 0), -EINVAL);
    assert_int_equal(event("/does/not/exist", 0, -1, 0), -ENOENT);
    assert_int_equal(event("/bin", 0, -1, 0), -EINVAL);
    assert_int_equal(event("", 0, -1, 0), -EINVAL);
    assert_int_equal(event((char *)64, 0, -1, 0), -EFAULT);
}

static void links_that_cannot_be(void **state)
{
    int prog = trivial(), perf = event("/bin/true", 0x100, 1 << 22, -1), pipes[2];
    union bpf_attr attr = {
        .link_create = {.prog_fd = (u32)prog, .target_fd = (u32)-1, .attach_type = BPF_PERF_EVENT}};

    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EBADF);
    attr.link_create.target_fd = 0;
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EBADF);
    assert_int_equal(pipe(pipes), 0);
    attr.link_create.target_fd = (u32)pipes[0];
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EBADF);
    assert_string_equal(last_reason(), "perf_event_foreign");
    attr.link_create.attach_type = BPF_XDP;
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EINVAL);
    assert_string_equal(last_reason(), "attach_type_missing");
    attr.link_create.attach_type = BPF_PERF_EVENT;
    attr.link_create.prog_fd = (u32)pipes[0];
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EINVAL);

    const struct bpf_insn insns[] = {MOV(0, 0), EXIT};
    int filter = load(BPF_PROG_TYPE_SOCKET_FILTER, insns, 2);

    attr.link_create.prog_fd = (u32)filter;
    attr.link_create.target_fd = (u32)perf;
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EINVAL);
    close(filter);
    /* A process that is not there. */
    attr.link_create.prog_fd = (u32)prog;
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -ESRCH);
    close(perf);
    close(prog);
    close(pipes[0]);
    close(pipes[1]);
    assert_soon(status().links == 0 && status().progs == 0);
}

static void a_link_to_nobody(void **state)
{
    char path[128];
    int prog = trivial(), fd, perf, link, kept;
    union bpf_attr attr = {.link_create = {.prog_fd = (u32)prog, .attach_type = BPF_PERF_EVENT}};
    struct bpf_link_info info = {0};
    static struct tn_ctl_link row;
    struct tn_ctl_detach detach = {0};
    size_t len = sizeof(row);
    u32 none = 0;

    /* Every process of a file that no process runs: the link is there and waits. */
    snprintf(path, sizeof(path), "%s/nobody", test_dir);
    fd = open(path, O_CREAT | O_RDWR, 0755);
    assert_int_equal(ftruncate(fd, 8192), 0);
    close(fd);
    perf = event(path, 0x100, -1, 0);
    attr.link_create.target_fd = (u32)perf;
    link = (int)bpf(BPF_LINK_CREATE, &attr, 48);
    assert_true(link >= 0);
    assert_int_equal(bpf(BPF_LINK_CREATE, &attr, 48), -EEXIST);

    attr = (union bpf_attr){.info = {.bpf_fd = (u32)link, .info_len = sizeof(info), .info = (u64)&info}};
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
    assert_int_equal(info.type, BPF_LINK_TYPE_PERF_EVENT);
    attr = (union bpf_attr){.link_detach = {.link_fd = (u32)link}};
    assert_int_equal(bpf(BPF_LINK_DETACH, &attr, sizeof(attr)), -EOPNOTSUPP);
    attr = (union bpf_attr){.link_update = {.link_fd = (u32)link, .new_prog_fd = (u32)prog}};
    assert_int_equal(bpf(BPF_LINK_UPDATE, &attr, sizeof(attr)), -EINVAL);

    assert_int_equal(tn_door_ctl(TN_CTL_LINK_NEXT, &none, sizeof(none), &row, &len), 0);
    assert_int_equal(row.id, info.id);
    assert_string_equal(row.kind, "uprobe");
    assert_string_equal(row.target, path);
    assert_string_equal(row.prog, "test");
    assert_int_equal(row.targets, 0);

    /* Kept: it outlives its descriptors, until it is detached by its identifier. */
    assert_int_equal(tn_door_ctl(TN_CTL_LINK_KEEP, &info.id, sizeof(u32), NULL, NULL), 0);
    close(link);
    close(perf);
    close(prog);
    sleep_ms(50);
    assert_int_equal(status().links, 1);
    assert_int_equal(tn_door_ctl(TN_CTL_SHUTDOWN, NULL, 0, NULL, NULL), -EBUSY);
    attr = (union bpf_attr){.link_id = info.id};
    kept = (int)bpf(BPF_LINK_GET_FD_BY_ID, &attr, sizeof(attr));
    assert_true(kept >= 0);
    close(kept);
    detach.id = info.id;
    assert_int_equal(tn_door_ctl(TN_CTL_LINK_DETACH, &detach, sizeof(detach), NULL, NULL), 0);
    assert_int_equal(tn_door_ctl(TN_CTL_LINK_DETACH, &detach, sizeof(detach), NULL, NULL), -ENOENT);
    assert_soon(status().links == 0 && status().progs == 0);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loaded_and_described),
        cmocka_unit_test(tag_is_known),
        cmocka_unit_test(fd_array_and_values),
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(a_log_that_is_too_small),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(type_information),
        cmocka_unit_test(damaged_type_information),
        cmocka_unit_test(events),
        cmocka_unit_test(links_that_cannot_be),
        cmocka_unit_test(a_link_to_nobody),
    };

    return cmocka_run_group_tests_name("broker/programs", tests, start_open, finish);
}
