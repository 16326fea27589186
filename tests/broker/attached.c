/* SPDX-License-Identifier: MIT */
/*
 * Links at work: this process loads programs, attaches them to a function of its own and to one of a child's,
 * and looks at what they did. Skipped where this process may not be entered.
 */
#include <sys/ioctl.h>

#include "tests/broker/common.h"

#define ALU(op, dst, value)                                                                                  \
    {                                                                                                        \
        .code = BPF_ALU64 | (op) | BPF_K, .dst_reg = (dst), .imm = (value)                                   \
    }
#define CALL(helper)                                                                                         \
    {                                                                                                        \
        .code = BPF_JMP | BPF_CALL, .imm = (helper)                                                          \
    }
#define EXIT                                                                                                 \
    {                                                                                                        \
        .code = BPF_JMP | BPF_EXIT                                                                           \
    }
#define STORE(off_, value)                                                                                   \
    {                                                                                                        \
        .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .off = (off_), .imm = (value)                       \
    }

static volatile int sink;

static int the_victim(int a, int b)
{
    sink = a;
    sink += b;
    sink ^= 5;
    return sink;
}

/* By a pointer that the compiler cannot see through: it must not call a copy of its own making. */
static int (*volatile victim)(int, int) = the_victim;

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

static int load(const struct bpf_insn *insns, u32 count)
{
    union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_KPROBE,
                           .insns = (u64)insns,
                           .insn_cnt = count,
                           .license = (u64) "GPL",
                           .prog_name = "attached"};

    return (int)bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int counter(int map)
{
    const struct bpf_insn insns[] = {
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map},
        {0},
        ALU(BPF_MOV, 2, 1),
        {.code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = 1, .src_reg = 2, .imm = BPF_ADD},
        ALU(BPF_MOV, 0, 0),
        EXIT,
    };

    return load(insns, 6);
}

static int event_of(s32 pid, s32 cpu, bool off)
{
    struct perf_event_attr attr = {.size = sizeof(attr),
                                   .uprobe_path = (u64) "/proc/self/exe",
                                   .probe_offset = place((const void *)the_victim),
                                   .disabled = off};
    FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
    u32 type = 0;

    assert_int_equal(fscanf(f, "%u", &type), 1);
    fclose(f);
    attr.type = type;
    return (int)syscall(SYS_perf_event_open, &attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static int event(s32 pid, bool off)
{
    return event_of(pid, -1, off);
}

static int attach(int prog, int perf)
{
    union bpf_attr attr = {
        .link_create = {.prog_fd = (u32)prog, .target_fd = (u32)perf, .attach_type = BPF_PERF_EVENT}};
    int link = (int)bpf(BPF_LINK_CREATE, &attr, 48);

    if (link == -EPERM || link == -EACCES) {
        print_message("this process may not be entered (%s)\n", last_reason());
        skip();
    }
    if (link < 0)
        fail_msg("%s", last_reason());
    return link;
}

static u64 *counts(int *ret_map)
{
    u64 *mem;

    *ret_map = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE);
    mem = mmap(NULL, 4096, PROT_READ, MAP_SHARED, *ret_map, 0);
    assert_ptr_not_equal(mem, MAP_FAILED);
    return mem;
}

static void counts_and_stops(void **state)
{
    int map, prog, perf, link;
    u64 *count = counts(&map);

    prog = counter(map);
    perf = event(0, false);
    link = attach(prog, perf);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(victim(i, 1), (i + 1) ^ 5);
    assert_int_equal(*count, 1000);

    /* The event's switch is the gate. */
    assert_int_equal(ioctl(perf, PERF_EVENT_IOC_DISABLE, 0), 0);
    victim(1, 1);
    assert_int_equal(*count, 1000);
    assert_int_equal(ioctl(perf, PERF_EVENT_IOC_ENABLE, 0), 0);
    victim(1, 1);
    assert_int_equal(*count, 1001);

    /* Closed: nothing runs any more, and soon the bytes are back. */
    close(link);
    close(perf);
    assert_soon(status().links == 0);
    victim(1, 1);
    assert_int_equal(*count, 1001);
    close(prog);
    close(map);
    munmap(count, 4096);
    assert_soon(status().maps == 0);
}

/* As in Linux, the last descriptor's close is the last run: not that of a copy. */
static void not_once_after_close(void **state)
{
    int map, prog;
    u64 *count = counts(&map), all = 0;

    prog = counter(map);
    for (int i = 0; i < 100; i++) {
        int perf = event(0, false), link = attach(prog, perf), copy = dup(link);

        close(link);
        victim(1, 1);
        assert_int_equal(*count, ++all);
        if (i & 1) { /* a link lives as long as its own descriptors, whatever becomes of the event's */
            close(perf);
            victim(1, 1);
            assert_int_equal(*count, ++all);
        }
        close(copy);
        victim(1, 1);
        assert_int_equal(*count, all);
        if (!(i & 1))
            close(perf);
    }
    close(prog);
    close(map);
    munmap(count, 4096);
    assert_soon(status().links == 0);
}

static void by_ioctl_and_off_at_first(void **state)
{
    int map, prog, perf;
    u64 *count = counts(&map);

    prog = counter(map);
    perf = event(0, true);
    if (ioctl(perf, PERF_EVENT_IOC_SET_BPF, prog)) {
        assert_true(errno == EPERM || errno == EACCES);
        skip();
    }
    assert_int_equal(ioctl(perf, PERF_EVENT_IOC_SET_BPF, prog), -1);
    assert_int_equal(errno, EEXIST);
    victim(1, 1);
    assert_int_equal(*count, 0);
    assert_int_equal(ioctl(perf, PERF_EVENT_IOC_ENABLE, 0), 0);
    victim(1, 1);
    assert_int_equal(*count, 1);
    close(perf);
    assert_soon(status().links == 0);
    victim(1, 1);
    assert_int_equal(*count, 1);
    close(prog);
    close(map);
    munmap(count, 4096);
}

static void what_programs_print(void **state)
{
    /* "hi!\n" */
    const struct bpf_insn insns[] = {STORE(-8, 0x0a216968),
                                     STORE(-4, 0),
                                     {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = 10},
                                     ALU(BPF_ADD, 1, -8),
                                     ALU(BPF_MOV, 2, 5),
                                     CALL(6),
                                     ALU(BPF_MOV, 0, 0),
                                     EXIT};
    int prog = load(insns, 8), perf = event(0, false), link;
    static char text[TN_MSG_MAX + 1];
    char mine[32];
    size_t len = sizeof(text) - 1;

    assert_true(prog >= 0);
    link = attach(prog, perf);
    victim(1, 1);
    victim(1, 1);
    assert_int_equal(tn_door_ctl(TN_CTL_TRACE_READ, NULL, 0, text, &len), 0);
    text[len] = '\0';
    snprintf(mine, sizeof(mine), "%d/%d ", getpid(), getpid());
    assert_int_equal(strncmp(text, mine, strlen(mine)), 0);
    assert_non_null(strstr(text, ": hi!\n"));
    assert_non_null(strstr(strstr(text, "hi!") + 1, "hi!"));
    len = sizeof(text) - 1;
    assert_int_equal(tn_door_ctl(TN_CTL_TRACE_READ, NULL, 0, text, &len), 0);
    assert_int_equal(len, 0);
    close(link);
    close(perf);
    close(prog);
    assert_soon(status().links == 0);
}

/* The tool is killed; the process it watched lives, and is rid of the hook. */
static void the_tool_is_killed(void **state)
{
    int map, out[2], link;
    u64 *count = counts(&map), before;
    pid_t tool;
    char byte;

    assert_int_equal(pipe(out), 0);
    tool = fork();
    if (!tool) {
        int prog = counter(map), perf = event(getppid(), false);
        union bpf_attr attr = {
            .link_create = {.prog_fd = (u32)prog, .target_fd = (u32)perf, .attach_type = BPF_PERF_EVENT}};

        link = (int)bpf(BPF_LINK_CREATE, &attr, 48);
        (void)!write(out[1], link >= 0 ? "y" : "n", 1);
        alarm(20);
        for (;;)
            pause();
    }
    assert_int_equal(read(out[0], &byte, 1), 1);
    if (byte == 'y') {
        victim(1, 1);
        assert_int_equal(*count, 1);
    }
    kill(tool, SIGKILL);
    waitpid(tool, NULL, 0);
    assert_soon(status().links == 0);
    before = *count;
    victim(1, 1);
    assert_int_equal(*count, before);
    close(map);
    munmap(count, 4096);
    close(out[0]);
    close(out[1]);
    if (byte != 'y')
        skip();
}

/* The process is killed; its link says so, and goes as any other. */
static void the_target_is_killed(void **state)
{
    int map, prog, perf, link;
    u64 *count = counts(&map);
    static struct tn_ctl_link row;
    size_t len = sizeof(row);
    u32 none = 0;
    pid_t target = fork();

    if (!target)
        for (alarm(20);;) {
            victim(1, 1);
            sleep_ms(2);
        }
    prog = counter(map);
    perf = event(target, false);
    link = attach(prog, perf);
    assert_soon(*count > 3);
    assert_int_equal(tn_door_ctl(TN_CTL_LINK_NEXT, &none, sizeof(none), &row, &len), 0);
    assert_int_equal(row.pid, target);
    assert_int_equal(row.targets, 1);
    assert_string_equal(row.kind, "uprobe");
    kill(target, SIGKILL);
    waitpid(target, NULL, 0);
    for (int i = 0; i < 200 && !row.ended; i++) {
        sleep_ms(10);
        len = sizeof(row);
        assert_int_equal(tn_door_ctl(TN_CTL_LINK_NEXT, &none, sizeof(none), &row, &len), 0);
    }
    assert_int_equal(row.ended, 1);
    close(link);
    close(perf);
    close(prog);
    close(map);
    munmap(count, 4096);
    assert_soon(status().links == 0 && status().progs == 0);
}

/* Stores what helper `number` returns in the map's first value. */
static int keeper(int map, s32 number)
{
    const struct bpf_insn insns[] = {
        CALL(number),
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = map},
        {0},
        {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 1, .src_reg = 0},
        ALU(BPF_MOV, 0, 0),
        EXIT,
    };

    return load(insns, 6);
}

static void the_cookie_is_the_links(void **state)
{
    int map, prog, perf, link;
    u64 *value = counts(&map);
    union bpf_attr attr = {.link_create = {.attach_type = BPF_PERF_EVENT}};

    prog = keeper(map, BPF_FUNC_get_attach_cookie);
    assert_true(prog >= 0);
    perf = event(0, false);
    attr.link_create.prog_fd = (u32)prog;
    attr.link_create.target_fd = (u32)perf;
    attr.link_create.perf_event.bpf_cookie = 0x1122334455667788;
    link = (int)bpf(BPF_LINK_CREATE, &attr, 48);
    if (link == -EPERM || link == -EACCES)
        skip();
    assert_true(link >= 0);
    victim(1, 1);
    assert_int_equal(*value, 0x1122334455667788);
    close(link);
    close(perf);
    close(prog);
    close(map);
    munmap(value, 4096);
    assert_soon(status().links == 0 && status().maps == 0);
}

/* Copies the first value of `from` to that of `to`. */
static int copier(int from, int to)
{
    const struct bpf_insn insns[] = {
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = from},
        {0},
        {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = to},
        {0},
        {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 3, .src_reg = 1},
        {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 2, .src_reg = 3},
        ALU(BPF_MOV, 0, 0),
        EXIT,
    };

    return load(insns, 8);
}

/* A writer who was there before the freeze goes on writing. What was verified after it
   with the constants reads the constants, also in a process that already has the
   writable memory because of an earlier program. */
static void a_writer_of_a_frozen_map_changes_nothing(void **state)
{
    int map, frozen = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE | BPF_F_RDONLY_PROG), link[2],
             perf[2], prog[2];
    u64 *value = counts(&map);
    u64 *writer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, frozen, 0);
    union bpf_attr attr = {.map_fd = (u32)frozen};
    const u32 zero = 0;
    const u64 nothing = 0;
    pid_t target = fork();

    if (!target)
        for (alarm(20);;) {
            victim(1, 1);
            sleep_ms(1);
        }
    assert_ptr_not_equal(writer, MAP_FAILED);
    *writer = 7;
    prog[0] = copier(frozen, map);
    assert_true(prog[0] >= 0);
    perf[0] = event(target, false);
    link[0] = attach(prog[0], perf[0]);
    assert_soon(*value == 7);
    close(link[0]);
    close(perf[0]);
    assert_soon(status().links == 0);

    assert_int_equal(bpf(BPF_MAP_FREEZE, &attr, 4), 0);
    *writer = 0xbad;
    prog[1] = copier(frozen, map);
    assert_true(prog[1] >= 0);
    perf[1] = event(target, false);
    link[1] = attach(prog[1], perf[1]);
    assert_int_equal(elem(BPF_MAP_UPDATE_ELEM, map, &zero, &nothing, 0), 0);
    assert_soon(*(volatile u64 *)value == 7);

    kill(target, SIGKILL);
    waitpid(target, NULL, 0);
    for (int i = 0; i < 2; i++)
        close(prog[i]);
    close(link[1]);
    close(perf[1]);
    close(map);
    close(frozen);
    munmap(value, 4096);
    munmap(writer, 4096);
    assert_soon(status().links == 0 && status().maps == 0);
}

/* Caught at its exec, held, let go: it runs as if nothing had been. */
static void held_and_let_go(void **state)
{
    int word[2], st;
    char byte;
    s32 pid;
    int r;

    assert_int_equal(pipe(word), 0);
    pid = fork();
    if (!pid) {
        close(word[1]);
        alarm(20);
        if (read(word[0], &byte, 1) != 1)
            _exit(9);
        execl("/bin/sh", "sh", "-c", "exit 7", NULL);
        _exit(8);
    }
    close(word[0]);
    r = tn_door_ctl(TN_CTL_HOLD, &pid, sizeof(pid), NULL, NULL);
    if (r == -EPERM || r == -EACCES) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        skip();
    }
    assert_int_equal(r, 0);
    assert_int_equal(write(word[1], "x", 1), 1);
    sleep_ms(100);
    assert_int_equal(waitpid(pid, &st, WNOHANG), 0);
    assert_int_equal(tn_door_ctl(TN_CTL_RELEASE, &pid, sizeof(pid), NULL, NULL), 0);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_int_equal(WEXITSTATUS(st), 7);
    /* Nobody to hold, nobody to let go. */
    assert_true(tn_door_ctl(TN_CTL_HOLD, &pid, sizeof(pid), NULL, NULL) < 0);
    assert_true(tn_door_ctl(TN_CTL_RELEASE, &pid, sizeof(pid), NULL, NULL) < 0);
    pid = 1;
    assert_int_equal(tn_door_ctl(TN_CTL_HOLD, &pid, sizeof(pid), NULL, NULL), -EINVAL);
    pid = -1;
    assert_int_equal(tn_door_ctl(TN_CTL_RELEASE, &pid, sizeof(pid), NULL, NULL), -EINVAL);
    close(word[1]);
}

static void facts_and_options(void **state)
{
    static struct tn_ctl_facts facts;
    struct tn_ctl_options options = {.follow = 2};
    size_t len = sizeof(facts);
    int map, prog;
    u64 *count = counts(&map);
    struct bpf_prog_info info = {0};
    union bpf_attr attr = {.info = {.info_len = sizeof(info), .info = (u64)&info}};
    u32 none = 0xffff;

    prog = counter(map);
    attr.info.bpf_fd = (u32)prog;
    assert_int_equal(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, 16), 0);
    assert_int_equal(tn_door_ctl(TN_CTL_PROG_FACTS, &info.id, sizeof(info.id), &facts, &len), 0);
    assert_int_equal(len, sizeof(facts));
    assert_true(facts.insns_processed >= 5);
    assert_int_equal(facts.text_len, info.jited_prog_len);
    assert_true(facts.entry < facts.text_len);
    assert_int_equal(tn_door_ctl(TN_CTL_PROG_FACTS, &none, sizeof(none), &facts, &len), -ENOENT);
    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), -EINVAL);
    options = (struct tn_ctl_options){.follow = 1, .wait_ms = 3600001};
    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), -EINVAL);
    options.wait_ms = 1000;
    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options) - 1, NULL, NULL), -EINVAL);
    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), 0);
    options.follow = 0;
    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), 0);
    close(prog);
    close(map);
    munmap(count, 4096);
}

/* Every process that has the file mapped, at the time. */
static void every_process_of_the_file(void **state)
{
    int map, prog, perf, link;
    u64 *count = counts(&map);
    static struct tn_ctl_link row;
    size_t len = sizeof(row);
    u32 none = 0;
    pid_t targets[3];

    for (int i = 0; i < 3; i++) {
        targets[i] = fork();
        if (!targets[i])
            for (alarm(20);;) {
                victim(1, 1);
                sleep_ms(2);
            }
    }
    prog = counter(map);
    perf = event_of(-1, 0, false);
    link = attach(prog, perf);
    assert_int_equal(tn_door_ctl(TN_CTL_LINK_NEXT, &none, sizeof(none), &row, &len), 0);
    assert_int_equal(row.pid, -1);
    assert_int_equal(row.targets, 4); /* and this one */
    for (int i = 0; i < 3; i++) {
        u64 before = *count;

        assert_soon(*(volatile u64 *)count > before + 3);
        kill(targets[i], SIGKILL);
        waitpid(targets[i], NULL, 0);
    }
    victim(1, 1);
    close(link);
    close(perf);
    close(prog);
    close(map);
    munmap(count, 4096);
    assert_soon(status().links == 0 && status().progs == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_stops),
        cmocka_unit_test(not_once_after_close),
        cmocka_unit_test(by_ioctl_and_off_at_first),
        cmocka_unit_test(what_programs_print),
        cmocka_unit_test(the_tool_is_killed),
        cmocka_unit_test(the_target_is_killed),
        cmocka_unit_test(the_cookie_is_the_links),
        cmocka_unit_test(a_writer_of_a_frozen_map_changes_nothing),
        cmocka_unit_test(held_and_let_go),
        cmocka_unit_test(facts_and_options),
        cmocka_unit_test(every_process_of_the_file),
    };

    return cmocka_run_group_tests_name("broker/attached", tests, start_open, finish);
}
