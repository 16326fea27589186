/* SPDX-License-Identifier: MIT */
/*
 * Doors that lie. A connection that says something impossible, says it too long, too short, or never answers,
 * costs that connection; the broker goes on and others are served meanwhile.
 */
#include <poll.h>
#include <sys/resource.h>

#include "tests/broker/common.h"

static int connection(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, test_socket, sizeof(test_socket));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, u32 op, s32 err, u64 a, u64 b, const void *payload, size_t len)
{
    u8 buf[8192] = {0};
    struct tn_msg msg = {op, err, a, b};

    memcpy(buf, &msg, sizeof(msg));
    if (len)
        memcpy(buf + sizeof(msg), payload, len);
    (void)!send(fd, buf, sizeof(msg) + len, MSG_NOSIGNAL);
}

/* Next message, or op 99 when the connection has ended; fails when nothing comes in time. */
static struct tn_msg hear(int fd)
{
    struct tn_msg msg = {.op = 99};
    struct pollfd p = {fd, POLLIN, 0};
    static u8 buf[TN_MSG_MAX];

    assert_int_equal(poll(&p, 1, 8000), 1);
    if (recv(fd, buf, sizeof(buf), 0) >= (ssize_t)sizeof(msg))
        memcpy(&msg, buf, sizeof(msg));
    return msg;
}

static int greeted(void)
{
    int fd = connection();

    say(fd, TN_MSG_HELLO, 0, TN_PROTO_VERSION, 1, NULL, 0);
    assert_int_equal(hear(fd).op, TN_MSG_HELLO);
    return fd;
}

static void alive(void)
{
    int fd = map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0);

    assert_true(fd >= 0);
    close(fd);
}

static void another_version_is_told(void **state)
{
    int fd = connection();
    struct tn_msg msg;

    say(fd, TN_MSG_HELLO, 0, TN_PROTO_VERSION + 1, 1, NULL, 0);
    msg = hear(fd);
    assert_int_equal(msg.op, TN_MSG_HELLO);
    assert_int_equal(msg.a, TN_PROTO_VERSION);
    assert_int_equal(msg.err, -EPROTONOSUPPORT);
    assert_int_equal(hear(fd).op, 99);
    close(fd);
    alive();
}

static void out_of_order(void **state)
{
    static const u32 ops[] = {TN_MSG_READ, TN_MSG_WRITE, TN_MSG_FD, TN_MSG_BYTES,
                              TN_MSG_DONE, TN_MSG_HELLO, 77};

    for (u32 i = 0; i < TN_ARRAY_SIZE(ops); i++) {
        int fd = i % 2 ? connection() : greeted();

        say(fd, ops[i], 0, i % 2 ? 5 : 0, 0, NULL, 0);
        /* A hello of another version is answered first. */
        if (hear(fd).op != 99)
            assert_int_equal(hear(fd).op, 99);
        close(fd);
    }
    alive();
}

static void calls_of_impossible_sizes(void **state)
{
    static const struct {
        u64 call;
        size_t len;
    } calls[] = {{TN_CALL_BPF, 0},
                 {TN_CALL_BPF, 15},
                 {TN_CALL_BPF, 5000},
                 {TN_CALL_PERF_OPEN, 3},
                 {TN_CALL_IOCTL, 1},
                 {TN_CALL_IOCTL, 64},
                 {TN_CALL_MAP_VIEW, 0},
                 {TN_CALL_MAP_VIEW, 8},
                 {TN_CALL_WAIT_FD, 2},
                 {TN_CALL_CTL, 4000},
                 {99, 4},
                 {~0ull, 0}};
    u8 junk[6000];

    memset(junk, 0x5a, sizeof(junk));
    for (u32 i = 0; i < TN_ARRAY_SIZE(calls); i++) {
        int fd = greeted();
        struct tn_msg msg;

        say(fd, TN_MSG_CALL, 0, calls[i].call, 0, junk, calls[i].len);
        msg = hear(fd);
        /* Either told so and left, or left. */
        if (msg.op == TN_MSG_DONE) {
            assert_true(msg.err < 0);
            assert_int_equal(hear(fd).op, 99);
        } else {
            assert_int_equal(msg.op, 99);
        }
        close(fd);
    }
    (void)!send(connection(), "x", 1, MSG_NOSIGNAL);
    alive();
}

/* Asks for a map's info, so that the broker asks back for descriptor and memory. */
static void ask_info(int fd)
{
    struct {
        struct tn_bpf_call call;
        union bpf_attr attr;
    } payload = {.call = {.addr = 4096, .size = sizeof(union bpf_attr)}};

    payload.attr.info.bpf_fd = 5;
    payload.attr.info.info_len = 80;
    payload.attr.info.info = 4096;
    say(fd, TN_MSG_CALL, 0, TN_CALL_BPF, BPF_OBJ_GET_INFO_BY_FD, &payload, sizeof(payload));
    assert_int_equal(hear(fd).op, TN_MSG_FD);
}

static void answers_that_are_none(void **state)
{
    static const struct {
        u32 op;
        s32 err;
        size_t len;
    } answers[] = {{TN_MSG_BYTES, 0, 0}, {TN_MSG_BYTES, 5, 0},   {TN_MSG_BYTES, -99999, 0},
                   {TN_MSG_CALL, 0, 0},  {TN_MSG_BYTES, 0, 100}, {TN_MSG_DONE, 0, 0},
                   {TN_MSG_HELLO, 0, 0}};
    u8 junk[128] = {1};

    for (u32 i = 0; i < TN_ARRAY_SIZE(answers); i++) {
        int fd = greeted();
        struct tn_msg msg;

        ask_info(fd);
        say(fd, answers[i].op, answers[i].err, 0, 0, junk, answers[i].len);
        do
            msg = hear(fd);
        while (msg.op == TN_MSG_DONE);
        assert_int_equal(msg.op, 99);
        close(fd);
    }
    alive();
}

static void one_that_never_answers(void **state)
{
    struct timespec before, after;
    int fd[8];

    for (u32 i = 0; i < 8; i++) {
        fd[i] = greeted();
        ask_info(fd[i]);
    }
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 20; i++)
        alive();
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 2000);
    /* And it does not stay for ever. */
    for (u32 i = 0; i < 8; i++) {
        while (hear(fd[i]).op != 99)
            ;
        close(fd[i]);
    }
    assert_soon(status().connections == 1);
}

/* Never reads what it is sent: the broker's buffer to it fills, and that is all. */
static void one_that_never_reads(void **state)
{
    int fd = greeted(), small = 1;
    u32 nothing = 0;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 5000; i++)
        say(fd, TN_MSG_CALL, 0, TN_CALL_CTL, TN_CTL_LAST_ERROR, &nothing, 0);
    alive();
    close(fd);
    alive();
}

static u64 next_random(u64 *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void noise(void **state)
{
    u64 seed = 0x7e6e0e;

    for (int round = 0; round < 150; round++) {
        int fd = greeted();

        fcntl(fd, F_SETFL, O_NONBLOCK);
        for (int i = 0; i < 20; i++) {
            u8 junk[512], drop[256];
            size_t len = next_random(&seed) % sizeof(junk);
            u64 r = next_random(&seed);

            for (size_t at = 0; at < len; at++)
                junk[at] = (u8)(r >> 32 & 1 ? 0 : next_random(&seed));
            /* Mostly calls of real numbers and answers, since anything else ends at once. */
            say(fd, r % 4 ? TN_MSG_CALL : TN_MSG_BYTES, 0, r >> 8 & 7, r >> 16 & 63, junk, len);
            while (recv(fd, drop, sizeof(drop), 0) > 0)
                ;
        }
        close(fd);
    }
    alive();
    assert_soon(status().connections == 1);
    assert_soon(status().maps == 0);
}

static void a_flood_of_descriptors(void **state)
{
    int fd = greeted(), fds[64];
    char control[CMSG_SPACE(sizeof(fds))] = {0};
    struct tn_msg head = {.op = TN_MSG_BYTES};
    struct iovec iov = {&head, sizeof(head)};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    ask_info(fd);
    for (u32 i = 0; i < 64; i++)
        fds[i] = 0;
    *cmsg = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds))};
    memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
    assert_int_equal(sendmsg(fd, &msg, 0), sizeof(head));
    while (hear(fd).op != 99)
        ;
    close(fd);
    alive();
}

/* Descriptors of the broker's process. */
static int open_there(void)
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%u/fd", status().pid);
    for (int i = 0; i < 4096; i++) {
        char fd[96];
        struct stat st;

        snprintf(fd, sizeof(fd), "%s/%d", path, i);
        n += !lstat(fd, &st);
    }
    return n;
}

/* Two descriptors fit where one is meant: neither may stay. */
static void two_descriptors_in_one_answer(void **state)
{
    int before = open_there();

    for (int i = 0; i < 20; i++) {
        int fd = greeted(), fds[2] = {0, 1};
        char control[CMSG_SPACE(sizeof(fds))] = {0};
        struct tn_msg head = {.op = TN_MSG_BYTES};
        struct iovec iov = {&head, sizeof(head)};
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

        ask_info(fd);
        *cmsg = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(fds))};
        memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
        assert_int_equal(sendmsg(fd, &msg, 0), sizeof(head));
        while (hear(fd).op != 99)
            ;
        close(fd);
    }
    assert_soon(open_there() <= before);
}

static void answer_fd(int fd, int passed)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct tn_msg head = {.op = TN_MSG_BYTES};
    struct iovec iov = {&head, sizeof(head)};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    *cmsg = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(cmsg), &passed, sizeof(passed));
    assert_int_equal(sendmsg(fd, &msg, 0), sizeof(head));
}

/* A program gets more maps while somebody is in the middle of asking what it has. */
static void what_grows_while_it_is_described(void **state)
{
    const struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr load = {
        .prog_type = BPF_PROG_TYPE_KPROBE, .insns = (u64)insns, .insn_cnt = 2, .license = (u64) "GPL"};
    int prog = (int)bpf(BPF_PROG_LOAD, &load, sizeof(load)), maps[200], fd = greeted();
    struct bpf_prog_info zero = {0};
    struct tn_msg msg;

    assert_true(prog >= 0);
    ask_info(fd);
    answer_fd(fd, prog);
    msg = hear(fd);
    assert_int_equal(msg.op, TN_MSG_READ);
    for (u32 i = 0; i < TN_ARRAY_SIZE(maps); i++) {
        union bpf_attr bind = {.prog_bind_map = {.prog_fd = (u32)prog}};

        maps[i] = map_create(BPF_MAP_TYPE_ARRAY, 4, 4, 1, 0);
        assert_true(maps[i] >= 0);
        bind.prog_bind_map.map_fd = (u32)maps[i];
        assert_int_equal(bpf(BPF_PROG_BIND_MAP, &bind, 12), 0);
    }
    say(fd, TN_MSG_BYTES, 0, 0, 0, &zero, msg.b);
    while ((msg = hear(fd)).op == TN_MSG_WRITE)
        say(fd, TN_MSG_BYTES, 0, 0, 0, NULL, 0);
    assert_int_equal(msg.op, TN_MSG_DONE);
    assert_int_equal(msg.err, 0);
    for (u32 i = 0; i < TN_ARRAY_SIZE(maps); i++)
        close(maps[i]);
    close(prog);
    close(fd);
    assert_soon(status().maps == 0 && status().progs == 0);
}

/* Whoever starts the broker hands his limits down; what a map may not have is refused, and nobody dies. */
static void a_limit_of_the_size_of_files(void **state)
{
    const struct rlimit little = {65536, RLIM_INFINITY};
    pid_t pid = (pid_t)status().pid;
    struct rlimit before;

    assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &little, &before), 0);
    assert_int_equal(map_create(BPF_MAP_TYPE_ARRAY, 4, 4096, 64, 0), -EFBIG);
    assert_int_equal(prlimit(pid, RLIMIT_FSIZE, &before, NULL), 0);
    assert_int_equal(status().pid, pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_version_is_told),
        cmocka_unit_test(out_of_order),
        cmocka_unit_test(calls_of_impossible_sizes),
        cmocka_unit_test(answers_that_are_none),
        cmocka_unit_test(one_that_never_answers),
        cmocka_unit_test(one_that_never_reads),
        cmocka_unit_test(noise),
        cmocka_unit_test(a_flood_of_descriptors),
        cmocka_unit_test(two_descriptors_in_one_answer),
        cmocka_unit_test(what_grows_while_it_is_described),
        cmocka_unit_test(a_limit_of_the_size_of_files),
    };

    return cmocka_run_group_tests_name("broker/hostile", tests, start_open, finish);
}
