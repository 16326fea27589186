/* SPDX-License-Identifier: MIT */
/*
 * PROG_TEST_RUN: one table of programs, packets, contexts and buffers, asked of the broker with either engine
 * and, as root, of the kernel: the same errors, results, packets and contexts.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <stddef.h>

#include "tests/broker/common.h"

#define I(c, d, s, o, i)                                                                                     \
    {                                                                                                        \
        .code = (u8)(c), .dst_reg = (d), .src_reg = (s), .off = (s16)(o), .imm = (i)                         \
    }
#define MOV(d, i)       I(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define MOVX(d, s)      I(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define ADD(d, i)       I(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define ADDX(d, s)      I(BPF_ALU64 | BPF_ADD | BPF_X, d, s, 0, 0)
#define LDX(z, d, s, o) I(BPF_LDX | BPF_MEM | (z), d, s, o, 0)
#define STX(z, d, s, o) I(BPF_STX | BPF_MEM | (z), d, s, o, 0)
#define ST(z, d, o, i)  I(BPF_ST | BPF_MEM | (z), d, 0, o, i)
#define JGT(a, b, o)    I(BPF_JMP | BPF_JGT | BPF_X, a, b, o, 0)
#define ABS(z, k)       I(BPF_LD | BPF_ABS | (z), 0, 0, 0, k)
#define IND(z, s, k)    I(BPF_LD | BPF_IND | (z), 0, s, 0, k)
#define EXIT            I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define SKB(field)      ((s16)offsetof(struct __sk_buff, field))
#define XDP(field)      ((s16)offsetof(struct xdp_md, field))

#define P(...)                                                                                               \
    {                                                                                                        \
        (const struct bpf_insn[]){__VA_ARGS__},                                                              \
            sizeof((struct bpf_insn[]){__VA_ARGS__}) / sizeof(struct bpf_insn)                               \
    }

static const struct {
    u32 type, flags;
    struct {
        const struct bpf_insn *insns;
        u32 n;
    } text;
} programs[] = {
#define SF BPF_PROG_TYPE_SOCKET_FILTER
    {SF, 0, P(LDX(BPF_W, 0, 1, SKB(len)), EXIT)},
    {SF, 0,
     P(LDX(BPF_W, 0, 1, SKB(mark)), LDX(BPF_W, 2, 1, SKB(priority)), ADDX(0, 2),
       LDX(BPF_W, 2, 1, SKB(protocol)), ADDX(0, 2), LDX(BPF_W, 2, 1, SKB(pkt_type)), ADDX(0, 2),
       LDX(BPF_W, 2, 1, SKB(ifindex)), ADDX(0, 2), LDX(BPF_W, 2, 1, SKB(ingress_ifindex)), ADDX(0, 2),
       LDX(BPF_W, 2, 1, SKB(gso_segs)), ADDX(0, 2), EXIT)},
    {SF, 0,
     P(ST(BPF_W, 10, -4, 9), LDX(BPF_W, 2, 1, SKB(cb[0])), ADD(2, 1), STX(BPF_W, 1, 2, SKB(cb[0])),
       LDX(BPF_W, 0, 1, SKB(cb[4])), EXIT)},
    {SF, 0,
     P(MOVX(6, 1), ABS(BPF_H, 0), MOVX(7, 0), ABS(BPF_B, 5), ADDX(7, 0), ABS(BPF_W, 10), ADDX(0, 7), EXIT)},
    {SF, 0, P(MOVX(6, 1), MOV(7, 3), IND(BPF_W, 7, 40), EXIT)},
    {SF, 0,
     P(MOVX(6, 1), ABS(BPF_H, -0x100000 + 2), MOVX(7, 0), ABS(BPF_H, -0x200000 + 12), ADDX(0, 7), EXIT)},
    {BPF_PROG_TYPE_SCHED_CLS, 0,
     P(LDX(BPF_W, 2, 1, SKB(data)), LDX(BPF_W, 3, 1, SKB(data_end)), MOVX(4, 2), ADD(4, 16), JGT(4, 3, 6),
       LDX(BPF_B, 0, 2, 15), ST(BPF_B, 2, 3, 0x5a), LDX(BPF_W, 5, 1, SKB(mark)), ADD(5, 1),
       STX(BPF_W, 1, 5, SKB(mark)), EXIT, MOV(0, -1), EXIT)},
    {BPF_PROG_TYPE_SCHED_CLS, 0,
     P(LDX(BPF_W, 0, 1, SKB(wire_len)), LDX(BPF_W, 2, 1, SKB(len)), ADDX(0, 2),
       LDX(BPF_DW, 2, 1, SKB(tstamp)), ADDX(0, 2), ST(BPF_W, 1, SKB(priority), 77), MOV(3, 11),
       STX(BPF_W, 1, 3, SKB(cb[1])), EXIT)},
    {BPF_PROG_TYPE_SCHED_CLS, 0,
     P(MOVX(6, 1), ABS(BPF_H, 12), MOVX(7, 0), ABS(BPF_B, -0x100000), ADDX(0, 7), EXIT)},
    /* loops bounded by may_goto, acquire and release, a long jump, sign extension, byte swaps */
    {SF, 0,
     P(MOV(0, 0), I(BPF_JMP | 0xe0, 0, 0, 3, 0), ADD(0, 3), I(BPF_JMP | BPF_JGT | BPF_K, 0, 0, 1, 1000),
       I(BPF_JMP | BPF_JA, 0, 0, -4, 0), EXIT)},
    {SF, 0,
     P(ST(BPF_DW, 10, -8, 0x1234), MOV(3, -2), I(BPF_STX | BPF_ATOMIC | BPF_H, 10, 3, -8, 0x110),
       I(BPF_STX | BPF_ATOMIC | BPF_W, 0, 10, -8, 0x100), I(BPF_JMP32 | BPF_JA, 0, 0, 0, 1), EXIT,
       I(BPF_STX | BPF_ATOMIC | BPF_B, 2, 10, -8, 0x100), ADDX(0, 2), I(BPF_JMP | BPF_JA, 0, 0, -4, 0))},
    {SF, 0,
     P(LDX(BPF_W, 2, 1, SKB(mark)), STX(BPF_DW, 10, 2, -8), I(BPF_LDX | 0x80 | BPF_B, 0, 10, -8, 0),
       I(BPF_ALU64 | BPF_END, 2, 0, 0, 32), ADDX(0, 2), I(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 16, 0),
       ADDX(0, 3), EXIT)},
    {BPF_PROG_TYPE_SCHED_ACT, 0, P(LDX(BPF_W, 0, 1, SKB(len)), EXIT)},
    {BPF_PROG_TYPE_XDP, 0,
     P(LDX(BPF_W, 2, 1, XDP(data)), LDX(BPF_W, 3, 1, XDP(data_end)), MOVX(4, 2), ADD(4, 20), JGT(4, 3, 3),
       LDX(BPF_B, 0, 2, 19), ST(BPF_H, 2, 0, 0x1234), EXIT, MOV(0, 3), EXIT)},
    {BPF_PROG_TYPE_XDP, 0,
     P(LDX(BPF_W, 0, 1, XDP(ingress_ifindex)), LDX(BPF_W, 2, 1, XDP(rx_queue_index)), ADDX(0, 2), EXIT)},
    {BPF_PROG_TYPE_XDP, 0,
     P(LDX(BPF_W, 2, 1, XDP(data_meta)), LDX(BPF_W, 3, 1, XDP(data)), MOVX(4, 2), ADD(4, 4), JGT(4, 3, 3),
       LDX(BPF_W, 0, 2, 0), ST(BPF_W, 2, 0, 7), EXIT, MOV(0, 8), EXIT)},
    {BPF_PROG_TYPE_RAW_TRACEPOINT, 0, P(LDX(BPF_DW, 0, 1, 0), LDX(BPF_DW, 2, 1, 16), ADDX(0, 2), EXIT)},
    {BPF_PROG_TYPE_RAW_TRACEPOINT, 0, P(MOV(0, 5), EXIT)},
    {BPF_PROG_TYPE_SYSCALL, BPF_F_SLEEPABLE, P(LDX(BPF_DW, 0, 1, 8), ADD(0, 1), STX(BPF_DW, 1, 0, 0), EXIT)},
    {BPF_PROG_TYPE_KPROBE, 0, P(MOV(0, 1), EXIT)},
    {BPF_PROG_TYPE_TRACEPOINT, 0, P(MOV(0, 1), EXIT)},
    {BPF_PROG_TYPE_PERF_EVENT, 0, P(MOV(0, 1), EXIT)},
};

#define PACKET(f, in, size, o, ...)                                                                          \
    {                                                                                                        \
        .frame = (f), .size_in = (in), .size_out = (size), .out = (o), ##__VA_ARGS__                         \
    }
#define CONTEXT(f, in, size, o, ci, co, csi, cso, ...)                                                       \
    PACKET(f, in, size, o, .ctx_in = (ci), .ctx_out = (co), .ctx_size_in = (csi), .ctx_size_out = (cso),     \
           ##__VA_ARGS__)

/* What is put in, besides a frame of counting bytes. */
enum { IP = 1, IP6 = 2, SHORT = 4, BROAD = 8, MULTI = 16, OTHER = 32, LLC = 64 }; /* of the frame */
static const struct {
    u32 frame, size_in, size_out, out; /* out: 0 no buffer, 1 one, 2 an address where nothing is */
    u32 ctx_in, ctx_out, ctx_size_in, ctx_size_out; /* 1: a buffer */
    u32 flags, cpu, batch, repeat;
    struct {
        u32 at, value;
    } set[4]; /* words of the context; at 0 with value 0: nothing */
} shapes[] = {
    PACKET(0, 64, 128, 1),
    PACKET(IP, 64, 128, 1),
    PACKET(IP, 33, 128, 1),
    PACKET(IP6, 64, 128, 1),
    PACKET(IP6, 53, 128, 1),
    PACKET(BROAD, 64, 128, 1),
    PACKET(MULTI, 64, 128, 1),
    PACKET(OTHER, 64, 128, 1),
    PACKET(SHORT, 64, 128, 1),
    PACKET(SHORT | LLC, 64, 128, 1),
    PACKET(0, 14, 128, 1),
    PACKET(0, 15, 128, 1),
    PACKET(0, 13, 128, 1),
    PACKET(0, 0, 128, 1),
    PACKET(0, 64, 0, 0),
    PACKET(0, 64, 0, 1),
    PACKET(0, 64, 10, 1),
    PACKET(0, 64, 64, 1),
    PACKET(0, 64, 63, 1),
    PACKET(0, 64, 63, 0),
    PACKET(0, 64, 128, 2),
    PACKET(0, 3712, 4096, 1),
    PACKET(0, 3713, 4096, 1),
    PACKET(0, 3520, 4096, 1),
    PACKET(0, 3521, 4096, 1),
    PACKET(0, 4000, 4096, 1),
    PACKET(0, 9000, 16384, 1),
    PACKET(0, 70000, 131072, 1),
    PACKET(0, 80000, 131072, 1),
    PACKET(0, 64, 128, 1, .flags = 1),
    PACKET(0, 64, 128, 1, .flags = 8),
    PACKET(0, 64, 128, 1, .cpu = 1),
    PACKET(0, 64, 128, 1, .batch = 1),
    PACKET(0, 64, 128, 1, .repeat = 3),
    CONTEXT(0, 64, 128, 1, 1, 1, 192, 192),
    CONTEXT(0, 64, 128, 1, 1, 1, 24, 24),
    CONTEXT(0, 64, 128, 1, 1, 0, 24, 0),
    CONTEXT(0, 64, 128, 1, 0, 1, 0, 192),
    CONTEXT(0, 64, 128, 1, 0, 1, 0, 100),
    CONTEXT(0, 64, 128, 1, 0, 1, 0, 4),
    CONTEXT(0, 64, 128, 1, 1, 1, 8, 8),
    CONTEXT(0, 64, 128, 1, 1, 1, 0, 8),
    CONTEXT(0, 64, 128, 1, 1, 0, 0, 8),
    CONTEXT(0, 64, 128, 1, 0, 1, 8, 0),
    CONTEXT(0, 64, 128, 1, 1, 1, 400, 400),
    CONTEXT(0, 64, 128, 1, 1, 1, 400, 400, .set = {{396, 1}}),
    CONTEXT(0, 64, 128, 1, 1, 1, 5000, 400),
    CONTEXT(0, 64, 128, 1, 1, 1, 96, 0),
    CONTEXT(0, 64, 128, 1, 1, 0, 96, 0, .set = {{0, 5}, {16, 6}}),
    CONTEXT(0, 64, 128, 1, 1, 0, 97, 0),
    CONTEXT(0, 64, 0, 0, 1, 0, 96, 0, .set = {{0, 5}, {16, 6}}),
    CONTEXT(0, 0, 0, 0, 1, 0, 96, 0, .set = {{0, 5}, {16, 6}}),
    CONTEXT(0, 0, 0, 0, 1, 0, 96, 0, .flags = 1, .set = {{0, 5}, {16, 6}}),
    CONTEXT(0, 0, 0, 0, 1, 0, 96, 0, .cpu = 1, .set = {{0, 5}, {16, 6}}),
    CONTEXT(0, 0, 0, 0, 1, 0, 96, 0, .flags = 1, .cpu = 100000),
    CONTEXT(0, 0, 0, 0, 1, 0, 96, 0, .repeat = 1),
    CONTEXT(0, 0, 0, 0, 1, 0, 24, 0, .set = {{0, 5}, {8, 6}, {16, 6}}),
    CONTEXT(0, 0, 0, 0, 1, 0, 23, 0),
    CONTEXT(0, 0, 0, 0, 1, 0, 16, 0, .set = {{8, 41}}),
    CONTEXT(0, 0, 0, 0, 1, 0, 15, 0),
    CONTEXT(0, 0, 0, 0, 1, 0, 65535, 0),
    CONTEXT(0, 0, 0, 0, 1, 0, 65536, 0),
    CONTEXT(0, 0, 0, 0, 0, 0, 0, 0),
};

#define FRAME_MAX (128u * 1024)
#define CTX_MAX   (66u * 1024)

struct said {
    long result;
    u32 retval, data_size, ctx_size;
    u64 data, ctx; /* hashes */
};

static u64 hash(const u8 *p, size_t n)
{
    u64 h = 14695981039346656037ull;

    while (n--)
        h = (h ^ *p++) * 1099511628211ull;
    return h;
}

static struct said run(long (*call)(int, union bpf_attr *, unsigned), int fd, size_t shape,
                       const u32 (*extra)[2], u32 nextra)
{
    static u8 frame[FRAME_MAX], out[FRAME_MAX], ctx[CTX_MAX], ctx_out[CTX_MAX];
    static const u8 macs[3][6] = {
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {1, 0, 0x5e, 0, 0, 1}, {2, 4, 6, 8, 10, 12}};
    u16 proto = htons(shapes[shape].frame & IP      ? ETH_P_IP
                      : shapes[shape].frame & IP6   ? ETH_P_IPV6
                      : shapes[shape].frame & SHORT ? 100
                                                    : 0x88b5);
    union bpf_attr attr = {0};
    struct said said;

    for (u32 i = 0; i < FRAME_MAX; i++)
        frame[i] = i < 12 ? 0 : (u8)(i * 7);
    memcpy(frame + 12, &proto, 2);
    for (u32 k = 0; k < 3; k++)
        if (shapes[shape].frame & (u32)BROAD << k)
            memcpy(frame, macs[k], 6);
    if (shapes[shape].frame & LLC)
        memset(frame + 14, 0xff, 2);
    memset(out, 0xcc, sizeof(out));
    memset(ctx, 0, sizeof(ctx));
    memset(ctx_out, 0xcc, sizeof(ctx_out));
    for (u32 k = 0; k < 4; k++)
        memcpy(ctx + shapes[shape].set[k].at, &shapes[shape].set[k].value, 4);
    for (u32 k = 0; k < nextra; k++)
        memcpy(ctx + extra[k][0], &extra[k][1], 4);

    attr.test.prog_fd = (u32)fd;
    attr.test.data_in = shapes[shape].size_in ? (u64)frame : 0;
    attr.test.data_size_in = shapes[shape].size_in;
    attr.test.data_out = shapes[shape].out == 1 ? (u64)out : shapes[shape].out == 2 ? 64 : 0;
    attr.test.data_size_out = shapes[shape].size_out;
    attr.test.ctx_in = shapes[shape].ctx_in ? (u64)ctx : 0;
    attr.test.ctx_size_in = shapes[shape].ctx_size_in;
    attr.test.ctx_out = shapes[shape].ctx_out ? (u64)ctx_out : 0;
    attr.test.ctx_size_out = shapes[shape].ctx_size_out;
    attr.test.flags = shapes[shape].flags;
    attr.test.cpu = shapes[shape].cpu;
    attr.test.batch_size = shapes[shape].batch;
    attr.test.repeat = shapes[shape].repeat;
    said.result = call(BPF_PROG_TEST_RUN, &attr, sizeof(attr));
    said.retval = attr.test.retval;
    said.data_size = attr.test.data_size_out;
    said.ctx_size = attr.test.ctx_size_out;
    said.data = hash(out, sizeof(out));
    said.ctx = hash(ctx, sizeof(ctx)) ^ hash(ctx_out, sizeof(ctx_out)) * 3;
    return said;
}

static int load(long (*call)(int, union bpf_attr *, unsigned), size_t p)
{
    union bpf_attr attr = {.prog_type = programs[p].type,
                           .prog_flags = programs[p].flags,
                           .insns = (u64)programs[p].text.insns,
                           .insn_cnt = programs[p].text.n,
                           .license = (u64) "GPL"};

    return (int)call(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static void engine(u32 interpret)
{
    struct tn_ctl_options options = {.wait_ms = 1000, .interpret = interpret};

    assert_int_equal(tn_door_ctl(TN_CTL_OPTIONS, &options, sizeof(options), NULL, NULL), 0);
}

static bool same(const struct said *a, const struct said *b)
{
    return a->result == b->result && a->retval == b->retval && a->data_size == b->data_size &&
           a->ctx_size == b->ctx_size && a->data == b->data && a->ctx == b->ctx;
}

static u32 compare(size_t p, int mine, int its, size_t shape, const u32 (*extra)[2], u32 nextra)
{
    struct said jit, vm, kernel;

    engine(0);
    jit = run(door_bpf, mine, shape, extra, nextra);
    engine(1);
    vm = run(door_bpf, mine, shape, extra, nextra);
    engine(0);
    if (!same(&jit, &vm)) {
        print_message("# program %zu, shape %zu: compiled %ld/%u, interpreted %ld/%u\n", p, shape, jit.result,
                      jit.retval, vm.result, vm.retval);
        return 1;
    }
    if (its < 0)
        return 0;
    kernel = run(kernel_bpf, its, shape, extra, nextra);
    if (same(&jit, &kernel))
        return 0;
    print_message(
        "# program %zu, shape %zu, context word %u = %u: here %ld, result %u, sizes %u %u, bytes %d, context "
        "%d; kernel %ld, result %u, sizes %u %u\n",
        p, shape, nextra ? extra[0][0] : 0, nextra ? extra[0][1] : 0, jit.result, jit.retval, jit.data_size,
        jit.ctx_size, jit.data == kernel.data, jit.ctx == kernel.ctx, kernel.result, kernel.retval,
        kernel.data_size, kernel.ctx_size);
    return 1;
}

static void table(void **state)
{
    u32 different = 0;

    for (size_t p = 0; p < TN_ARRAY_SIZE(programs); p++) {
        int mine = load(door_bpf, p), its = geteuid() ? -1 : load(kernel_bpf, p);

        if (mine < 0) {
            fail_msg("program %zu is not loaded: %d, %s", p, mine, last_reason());
            continue;
        }
        for (size_t s = 0; s < TN_ARRAY_SIZE(shapes); s++)
            different += compare(p, mine, its, s, NULL, 0);
        close(mine);
        if (its >= 0)
            close(its);
    }
    assert_int_equal(different, 0);
}

/* Every word of a context set to a few values, alone. */
static void every_word_of_a_context(void **state)
{
    static const u32 values[] = {1, 4, 64, 50, 70000};
    u32 different = 0;
    size_t shape = 0;

    while (shapes[shape].ctx_size_in != 192)
        shape++;
    for (size_t p = 0; p < TN_ARRAY_SIZE(programs); p++) {
        bool xdp = programs[p].type == BPF_PROG_TYPE_XDP, skb = p == 2 || p == 7;
        u32 size = xdp ? 24 : 192;
        int mine, its;

        if (!xdp && !skb)
            continue;
        mine = load(door_bpf, p);
        its = geteuid() ? -1 : load(kernel_bpf, p);
        assert_true(mine >= 0);
        for (u32 at = 0; at < size; at += 4)
            for (u32 v = 0; v < TN_ARRAY_SIZE(values); v++) {
                u32 extra[2][2] = {{at, values[v]}, {4, 64}};
                char device[IF_NAMESIZE];

                /* Devices that this machine has besides the loopback one are not there for us. */
                if (at == (xdp ? (u32)XDP(ingress_ifindex) : (u32)SKB(ifindex)) && values[v] > 1 &&
                    if_indextoname(values[v], device))
                    continue;

                /* A packet for XDP ends where the context says. */
                different += compare(p, mine, its, shape, extra, xdp && at != 4 ? 2 : 1);
            }
        close(mine);
        if (its >= 0)
            close(its);
    }
    assert_int_equal(different, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(every_word_of_a_context),
    };

    return cmocka_run_group_tests(tests, start_open, finish);
}
