/* SPDX-License-Identifier: MIT */
/*
 * Random conversations with a broker: commands with attributes of small and odd values, and whatever the
 * broker asks back answered with the length it asked for and random bytes, so that handlers are gone through
 * to their ends. The broker must be the same process afterwards, and hold nothing.
 *
 *   fuzz-broker [SECONDS [SEED]]      the seed is printed; build with -Db_sanitize=address,undefined for long
 *                                     runs
 */
#include <poll.h>

#include "tests/broker/common.h"

static u64 rnd_state;

static u64 rnd(void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return rnd_state;
}

static void fill(u8 *bytes, size_t len)
{
    static const u32 odd[] = {0,  1,  2,   3,    4,     5,          8,          16,
                              27, 64, 128, 4096, 65536, 0x7fffffff, 0x80000000, 0xffffffff};

    for (size_t i = 0; i + 4 <= len; i += 4) {
        u32 word = rnd() % 3 ? 0 : rnd() % 4 ? odd[rnd() % TN_ARRAY_SIZE(odd)] : (u32)rnd();

        memcpy(bytes + i, &word, 4);
    }
}

static int dial(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct tn_msg hello = {.op = TN_MSG_HELLO, .a = TN_PROTO_VERSION};

    memcpy(addr.sun_path, test_socket, sizeof(test_socket));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
        send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void answer(int fd, struct tn_msg *question, const int *own, u32 nown)
{
    static u8 buf[TN_MSG_MAX];
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct tn_msg head = {.op = TN_MSG_BYTES, .err = rnd() % 40 ? 0 : -14};
    struct iovec iov = {buf, sizeof(head)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    u32 len = (u32)question->b;

    if (question->op == TN_MSG_READ && !head.err && len <= TN_MSG_MAX - sizeof(head)) {
        fill(buf + sizeof(head), len);
        if (question->b & TN_READ_STR)
            memcpy(buf + sizeof(head), "GPL", len = 4);
        iov.iov_len += len;
    }
    if (question->op == TN_MSG_FD && !head.err) {
        struct cmsghdr *cmsg = (struct cmsghdr *)control;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        *cmsg = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(cmsg), &own[rnd() % nown], sizeof(int));
    }
    memcpy(buf, &head, sizeof(head));
    (void)!sendmsg(fd, &msg, MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
    const struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr load = {
        .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (u64)insns, .insn_cnt = 2, .license = (u64) "GPL"};
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 3);
    u64 calls = 0, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (u64)time(NULL);
    int own[5], fd = -1, left;
    bool same;
    u32 pid;

    rnd_state = seed * 0x9E3779B97F4A7C15ull | 1;
    printf("1..1\n# seed %llu\n", (unsigned long long)seed);
    if (start_open(NULL))
        return 1;
    pid = status().pid;
    own[0] = map_create(BPF_MAP_TYPE_HASH, 4, 8, 16, 0);
    own[1] = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 16, BPF_F_MMAPABLE);
    own[2] = map_create(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
    own[3] = (int)bpf(BPF_PROG_LOAD, &load, sizeof(load));
    own[4] = open("/dev/null", O_RDWR);
    while (time(NULL) < end) {
        static u8 buf[TN_MSG_MAX];
        struct {
            struct tn_msg head;
            struct tn_bpf_call call;
            u8 attr[160];
        } out = {.head = {.op = TN_MSG_CALL, .a = TN_CALL_BPF, .b = rnd() % 38},
                 .call = {.addr = 4096, .size = (u32)(rnd() % 40 * 4)}};
        struct tn_msg in;

        if (fd < 0)
            fd = dial();
        fill(out.attr, sizeof(out.attr));
        if (rnd() % 8 == 0)
            out.head.a = rnd() % 5;
        if (send(fd, &out, sizeof(out.head) + sizeof(out.call) + out.call.size, MSG_NOSIGNAL) < 0)
            goto anew;
        calls++;
        for (;;) {
            struct pollfd p = {fd, POLLIN, 0};

            if (poll(&p, 1, 12000) != 1 || recv(fd, buf, sizeof(buf), 0) < (ssize_t)sizeof(in))
                goto anew;
            memcpy(&in, buf, sizeof(in));
            if (in.op == TN_MSG_DONE)
                break;
            if (in.op != TN_MSG_HELLO)
                answer(fd, &in, own, TN_ARRAY_SIZE(own));
        }
        continue;
    anew:
        close(fd);
        fd = -1;
    }
    if (fd >= 0)
        close(fd);
    for (u32 i = 0; i < TN_ARRAY_SIZE(own); i++)
        close(own[i]);
    same = status().pid == pid;
    for (left = 300; left && (status().maps || status().progs || status().btfs); left--)
        sleep_ms(10);
    printf("# %llu calls\n%s 1 - the broker is there and holds nothing\n", (unsigned long long)calls,
           same && left ? "ok" : "not ok");
    finish(NULL);
    return same && left ? 0 : 1;
}
