/* SPDX-License-Identifier: MIT */
/*
 * PROG_TEST_RUN: a program without a target, in a confined process (vm/confined.h), never in the broker.
 *
 * A program sees its context as user space's struct: __sk_buff, xdp_md, the arguments. Its 32-bit fields data
 * and data_end are addresses of the packet, which lies low enough for them, so that loads of them are plain
 * loads. What may be passed in, what comes back and which errors there are is Linux's (net/bpf/test_run.c);
 * the rows below say which types run, and any other is −ENOTSUPP, as there. There is one network device, the
 * loopback one.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <sys/epoll.h>

#include "broker/broker_int.h"
#include "rt/map/map.h"
#include "vm/confined.h"

#define LIMIT_MS 10000u
#define WAIT_MS  30000

/* Linux keeps a packet in one page, between room for headers and a shared part behind. */
#define SKB_HEADROOM 64u
#define XDP_HEADROOM 256u
#define TAILROOM     320u
#define XDP_FRAME    40u /* of the headroom, out of reach of metadata */
#define XDP_META_MAX 255u
#define XDP_FRAGS    17u

#define LOOPBACK_IFINDEX 1u

#ifndef BPF_F_TEST_SKB_CHECKSUM_COMPLETE
#define BPF_F_TEST_SKB_CHECKSUM_COMPLETE (1u << 2)
#endif

/* A per-CPU slot for a run of ours; −1 when every one is in use this moment. */
static s32 claim_cpu(struct tn_broker *broker)
{
    for (u32 cpu = 0; cpu < broker->ncpu; cpu++) {
        u64 none = 0, owner = (u64)getpid() << 32 | 1;

        if (__atomic_compare_exchange_n(&broker->claims[cpu].owner, &none, owner, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return (s32)cpu;
    }
    return -1;
}

static void release_cpu(struct tn_broker *broker, s32 cpu)
{
    if (cpu >= 0)
        __atomic_store_n(&broker->claims[cpu].owner, 0, __ATOMIC_RELEASE);
}

/* What a run takes and leaves. */
struct job {
    void *ctx; /* in and out */
    u32 ctx_size;
    void *data; /* in and out; NULL: none */
    u32 data_size;
    const struct tn_confined_address *addresses;
    u32 naddresses;
    u32 repeat;
};

static int run_confined(struct tn_caller *caller, const struct tn_prog *prog, const struct job *job,
                        struct tn_confined_result *ret_result)
{
    struct tn_broker *broker = caller->broker;
    _free_ struct tn_map_geo *geos = calloc(prog->nused + 1, sizeof(*geos));
    _free_ struct tn_map *sealed = calloc(prog->nused + 1, sizeof(*sealed));
    _free_ struct tn_map **views = calloc(prog->nused + 1, sizeof(struct tn_map *));
    struct tn_program program = {
        .insns = prog->insns,
        .ninsns = prog->ninsns,
        .maps = geos,
        .nmaps = prog->nused,
        .aux = prog->verdict.aux,
        .subprogs = prog->verdict.subprogs,
        .nsubprogs = prog->verdict.nsubprogs,
        .facts = &prog->verdict.facts,
    };
    struct tn_confined_in in = {
        .prog = &program,
        .code = caller->options.interpret ? NULL : &prog->code,
        .maps = views,
        .ctx = job->ctx,
        .ctx_size = job->ctx_size,
        .data = job->data,
        .data_size = job->data_size,
        .addresses = job->addresses,
        .naddresses = job->naddresses,
        .repeat = job->repeat,
        .limit_ms = LIMIT_MS,
        .cpu = -1,
    };
    struct tn_confined confined = {.pidfd = -1};
    int r;

    if (!geos || !views || !sealed)
        return -ENOMEM;
    for (u32 i = 0; i < prog->nused; i++) {
        geos[i] = prog->maps[i]->view.geo;
        views[i] = &prog->maps[i]->view;
        if (prog->maps[i]->constants) { /* what the verifier believed, not what a writer makes of it */
            sealed[i] = prog->maps[i]->view;
            sealed[i].base = prog->maps[i]->constants;
            views[i] = &sealed[i];
        }
    }
    if (prog->verdict.facts.percpu) {
        in.cpu = claim_cpu(broker);
        if (in.cpu < 0)
            return tn_fail(&caller->why, -EBUSY, "percpu_busy", "every CPU's slot is in use: try again");
    }
    broker->njobs++;
    r = tn_confined_start(&in, &confined, &caller->why);
    if (!r) {
        const pid_t pid = confined.pid;

        r = tn_loop_wait(broker->loop, confined.pidfd, EPOLLIN, WAIT_MS);
        if (!r)
            r = tn_confined_finish(&confined, ret_result, job->ctx, job->data, &caller->why);
        else if (r == -ETIMEDOUT) /* its own limit counts the processor's time, which others may have */
            r = tn_fail(&caller->why, -ETIME, "test_run_time_limit", "the run was not over after %d s",
                        WAIT_MS / 1000);
        if (r) { /* it may have been in the middle of changing a map */
            tn_confined_abort(&confined);
            tn_process_ended(broker, pid);
        }
    }
    broker->njobs--;
    release_cpu(broker, in.cpu);
    return r;
}

/* --------------------------------------------------------------------------------------------- in and out */

#define PUT(caller, attr_addr, field, value)                                                                 \
    (caller)->ops->write((caller), (attr_addr) + offsetof(union bpf_attr, test.field), &(value), sizeof(u32))

/* The caller's context, zero behind what he has; *ret_given: he passes one, or wants one back. */
static int context_in(struct tn_caller *caller, const union bpf_attr *attr, void *ret_ctx, u32 max,
                      bool *ret_given)
{
    const u32 size = attr->test.ctx_size_in;
    u8 tail[TN_PAGE];
    int r;

    *ret_given = attr->test.ctx_in || attr->test.ctx_out;
    memset(ret_ctx, 0, max);
    if (!attr->test.ctx_in)
        return 0;
    if (size > TN_PAGE)
        return -E2BIG;
    if (size > max) { /* fields that are not known here must be zero */
        r = caller->ops->read(caller, attr->test.ctx_in + max, tail, size - max);
        if (r)
            return r;
        for (u32 i = 0; i < size - max; i++)
            if (tail[i])
                return -E2BIG;
    }
    return caller->ops->read(caller, attr->test.ctx_in, ret_ctx, TN_MIN(size, max));
}

static int context_out(struct tn_caller *caller, const union bpf_attr *attr, u64 attr_addr, const void *ctx,
                       u32 size)
{
    const u32 n = TN_MIN(size, attr->test.ctx_size_out);
    int r;

    if (!attr->test.ctx_out)
        return 0;
    r = caller->ops->write(caller, attr->test.ctx_out, ctx, n);
    if (!r)
        r = PUT(caller, attr_addr, ctx_size_out, size);
    return r ? r : n < size ? -ENOSPC : 0;
}

static int retval_out(struct tn_caller *caller, u64 attr_addr, const struct tn_confined_result *result)
{
    const u32 retval = (u32)result->retval;

    return PUT(caller, attr_addr, retval, retval);
}

/* The packet, result and time. A buffer that is too small gets its beginning, and the call −ENOSPC; its size
   0 means that it is large enough. */
static int packet_out(struct tn_caller *caller, const union bpf_attr *attr, u64 attr_addr, const void *data,
                      u32 size, const struct tn_confined_result *result)
{
    const u32 n = attr->test.data_size_out ? TN_MIN(size, attr->test.data_size_out) : size;
    const u32 duration = (u32)TN_MIN(result->duration_ns, (u64)UINT32_MAX);
    int r = attr->test.data_out ? caller->ops->write(caller, attr->test.data_out, data, n) : 0;

    if (!r)
        r = PUT(caller, attr_addr, data_size_out, size);
    if (!r)
        r = retval_out(caller, attr_addr, result);
    if (!r)
        r = PUT(caller, attr_addr, duration, duration);
    return r ? r : n < size ? -ENOSPC : 0;
}

/* ----------------------------------------------------------------------------------------- socket buffers */

/* Fields of __sk_buff that a caller may set; between them everything is zero. */
static const struct {
    u32 from, to;
} skb_settable[] = {
#define FIELDS(first, last)                                                                                  \
    {                                                                                                        \
        offsetof(struct __sk_buff, first),                                                                   \
            offsetof(struct __sk_buff, last) + sizeof(((struct __sk_buff *)0)->last)                         \
    }
    FIELDS(mark, mark),       FIELDS(priority, ifindex),  FIELDS(cb, cb),
    FIELDS(tstamp, gso_segs), FIELDS(gso_size, gso_size), FIELDS(hwtstamp, hwtstamp),
#undef FIELDS
};

static int skb_check(const struct __sk_buff *skb, u32 len)
{
    const u8 *bytes = (const u8 *)skb;
    u32 at = 0;

    for (u32 k = 0; k <= TN_ARRAY_SIZE(skb_settable); k++) {
        u32 end = k < TN_ARRAY_SIZE(skb_settable) ? skb_settable[k].from : (u32)sizeof(*skb);

        for (; at < end; at++)
            if (bytes[at])
                return -EINVAL;
        if (k < TN_ARRAY_SIZE(skb_settable))
            at = skb_settable[k].to;
    }
    if (skb->wire_len && (skb->wire_len < len || skb->wire_len > 65536))
        return -EINVAL;
    return skb->gso_segs > 65535 ? -EINVAL : 0;
}

/* What eth_type_trans makes of a frame from the loopback device. */
static void skb_link(struct __sk_buff *skb, const u8 *frame, u32 size)
{
    static const u8 none[ETH_ALEN]; /* the loopback device's address, and its broadcast address */
    u16 proto;

    memcpy(&proto, frame + 2 * ETH_ALEN, sizeof(proto));
    if (frame[0] & 1)
        skb->pkt_type = 2; /* PACKET_MULTICAST */
    else
        skb->pkt_type = memcmp(frame, none, ETH_ALEN) ? 3 /* PACKET_OTHERHOST */ : 0 /* PACKET_HOST */;
    if (ntohs(proto) < ETH_P_802_3_MIN)
        proto = htons(size >= ETH_HLEN + 2 && frame[ETH_HLEN] == 0xff && frame[ETH_HLEN + 1] == 0xff
                          ? ETH_P_802_3
                          : ETH_P_802_2);
    skb->protocol = proto;
}

static int run_skb(struct tn_caller *caller, const struct tn_prog *prog, const union bpf_attr *attr,
                   u64 attr_addr)
{
    const bool link_layer = prog->type != BPF_PROG_TYPE_SOCKET_FILTER;
    const u32 size = attr->test.data_size_in, hidden = link_layer ? 0 : ETH_HLEN;
    const struct tn_confined_address addresses[] = {
        {offsetof(struct tn_skb, user.data), (s32)hidden},
        {offsetof(struct tn_skb, user.data_meta), (s32)hidden},
        {offsetof(struct tn_skb, user.data_end), (s32)size},
        {offsetof(struct tn_skb, mac), 0},
        {offsetof(struct tn_skb, net), ETH_HLEN},
    };
    struct tn_skb skb = {0};
    struct __sk_buff ctx;
    struct tn_confined_result result = {0};
    _free_ u8 *frame = NULL;
    bool given;
    int r;

    if (attr->test.flags & ~BPF_F_TEST_SKB_CHECKSUM_COMPLETE || attr->test.cpu || attr->test.batch_size)
        return -EINVAL;
    if (size < ETH_HLEN || size > TN_PAGE - SKB_HEADROOM - TAILROOM)
        return -EINVAL;
    frame = malloc(size);
    if (!frame)
        return -ENOMEM;
    r = caller->ops->read(caller, attr->test.data_in, frame, size);
    if (!r)
        r = context_in(caller, attr, &ctx, sizeof(ctx), &given);
    if (r)
        return r;
    if (given && ctx.ifindex > LOOPBACK_IFINDEX)
        return -ENODEV;
    skb_link(&skb.user, frame, size);
    if ((skb.user.protocol == htons(ETH_P_IP) && size - ETH_HLEN < 20) ||
        (skb.user.protocol == htons(ETH_P_IPV6) && size - ETH_HLEN < 40))
        return -EINVAL;
    r = given ? skb_check(&ctx, size - hidden) : 0;
    if (r)
        return r;

    skb.user.len = size - hidden;
    skb.user.ifindex = LOOPBACK_IFINDEX;
    if (given) {
        skb.user.mark = ctx.mark;
        skb.user.priority = ctx.priority;
        skb.user.ingress_ifindex = ctx.ingress_ifindex;
        skb.user.tstamp = ctx.tstamp;
        skb.user.wire_len = ctx.wire_len ? ctx.wire_len : skb.user.len;
        skb.user.gso_segs = ctx.gso_segs;
        skb.user.gso_size = ctx.gso_size;
        skb.user.hwtstamp = ctx.hwtstamp;
        memcpy(skb.user.cb, ctx.cb, sizeof(ctx.cb));
    }
    r = run_confined(caller, prog,
                     &(struct job){.ctx = &skb,
                                   .ctx_size = sizeof(skb),
                                   .data = frame,
                                   .data_size = size,
                                   .addresses = addresses,
                                   .naddresses = TN_ARRAY_SIZE(addresses),
                                   .repeat = attr->test.repeat},
                     &result);
    if (r)
        return r;
    memset(frame, 0, hidden); /* a socket filter never saw it */
    ctx.mark = skb.user.mark;
    ctx.priority = skb.user.priority;
    ctx.ingress_ifindex = skb.user.ingress_ifindex;
    ctx.ifindex = LOOPBACK_IFINDEX;
    ctx.tstamp = skb.user.tstamp;
    ctx.wire_len = skb.user.wire_len;
    ctx.gso_segs = skb.user.gso_segs;
    ctx.hwtstamp = skb.user.hwtstamp;
    memcpy(ctx.cb, skb.user.cb, sizeof(ctx.cb));
    r = packet_out(caller, attr, attr_addr, frame, size, &result);
    return r ? r : context_out(caller, attr, attr_addr, &ctx, sizeof(ctx));
}

/* ---------------------------------------------------------------------------------------------------- XDP */

static int run_xdp(struct tn_caller *caller, const struct tn_prog *prog, const union bpf_attr *attr,
                   u64 attr_addr)
{
    const u32 size = attr->test.data_size_in;
    u32 headroom = XDP_HEADROOM, meta = 0, linear = size;
    struct tn_confined_result result = {0};
    struct xdp_md ctx, own = {0};
    _free_ u8 *data = NULL;
    bool given;
    int r;

    if (prog->attach_type == BPF_XDP_DEVMAP || prog->attach_type == BPF_XDP_CPUMAP)
        return -EINVAL;
    if (attr->test.flags == BPF_F_TEST_XDP_LIVE_FRAMES)
        return tn_fail(&caller->why, -EOPNOTSUPP, "test_run_live",
                       "there is no network to send frames through");
    if (attr->test.flags || attr->test.batch_size)
        return -EINVAL;
    r = context_in(caller, attr, &ctx, sizeof(ctx), &given);
    if (r)
        return r;
    if (given) {
        if (ctx.data_meta || ctx.data_end > size || ctx.data > ctx.data_end)
            return -EINVAL;
        meta = ctx.data;
        if (meta % 4 || meta > XDP_META_MAX || meta > headroom - XDP_FRAME)
            return -EINVAL;
        headroom -= meta;
        linear = ctx.data_end;
    }
    linear = TN_MIN(linear, TN_PAGE - headroom - TAILROOM);
    if (size - meta < ETH_HLEN || size < meta)
        return -EINVAL;
    if (given && (ctx.egress_ifindex || (!ctx.ingress_ifindex && ctx.rx_queue_index)))
        return -EINVAL;
    if (given && ctx.ingress_ifindex > LOOPBACK_IFINDEX)
        return -ENODEV;
    if (given && ctx.ingress_ifindex && ctx.rx_queue_index)
        return -EINVAL;
    if (size > linear && size - linear > XDP_FRAGS * TN_PAGE)
        return -ENOMEM;
    data = malloc(TN_MAX(size, 1u));
    if (!data)
        return -ENOMEM;
    r = caller->ops->read(caller, attr->test.data_in, data, size);
    if (r)
        return r;

    const struct tn_confined_address addresses[] = {
        {offsetof(struct xdp_md, data_meta), 0},
        {offsetof(struct xdp_md, data), (s32)meta},
        {offsetof(struct xdp_md, data_end), (s32)linear},
    };

    own.ingress_ifindex = LOOPBACK_IFINDEX;
    r = run_confined(caller, prog,
                     &(struct job){.ctx = &own,
                                   .ctx_size = sizeof(own),
                                   .data = data, /* what lies behind the linear part no program reaches */
                                   .data_size = linear,
                                   .addresses = addresses,
                                   .naddresses = TN_ARRAY_SIZE(addresses),
                                   .repeat = attr->test.repeat},
                     &result);
    if (r)
        return r;
    ctx.data = meta;
    ctx.data_end = linear;
    r = packet_out(caller, attr, attr_addr, data, size, &result);
    return r ? r : context_out(caller, attr, attr_addr, &ctx, sizeof(ctx));
}

/* ---------------------------------------------------------------------------------------------- arguments */

static int run_raw_tracepoint(struct tn_caller *caller, const struct tn_prog *prog,
                              const union bpf_attr *attr, u64 attr_addr)
{
    const bool on_cpu = attr->test.flags & BPF_F_TEST_RUN_ON_CPU;
    u64 args[12] = {0};
    struct tn_confined_result result = {0};
    u32 size = attr->test.ctx_size_in;
    int r;

    if (attr->test.data_in || attr->test.data_out || attr->test.ctx_out || attr->test.duration ||
        attr->test.repeat || attr->test.batch_size)
        return -EINVAL;
    if (size > sizeof(args) || size < prog->verdict.facts.ctx_end)
        return -EINVAL;
    if (!on_cpu && attr->test.cpu)
        return -EINVAL;
    if (on_cpu && attr->test.cpu >= caller->broker->ncpu)
        return -ENXIO;
    r = size ? caller->ops->read(caller, attr->test.ctx_in, args, size) : 0;
    if (!r)
        r = run_confined(caller, prog, &(struct job){.ctx = args, .ctx_size = sizeof(args), .repeat = 1},
                         &result);
    return r ? r : retval_out(caller, attr_addr, &result);
}

/* The context is the caller's own bytes, and he gets them back in their place. */
static int run_syscall(struct tn_caller *caller, const struct tn_prog *prog, const union bpf_attr *attr,
                       u64 attr_addr)
{
    struct tn_confined_result result = {0};
    u32 size = attr->test.ctx_size_in;
    _free_ u8 *ctx = NULL;
    int r;

    if (attr->test.data_in || attr->test.data_out || attr->test.ctx_out || attr->test.duration ||
        attr->test.repeat || attr->test.flags || attr->test.batch_size)
        return -EINVAL;
    if (size > UINT16_MAX || size < prog->verdict.facts.ctx_end)
        return -EINVAL;
    ctx = malloc(size + 1);
    if (!ctx)
        return -ENOMEM;
    r = size ? caller->ops->read(caller, attr->test.ctx_in, ctx, size) : 0;
    if (!r)
        r = run_confined(caller, prog, &(struct job){.ctx = ctx, .ctx_size = size, .repeat = 1}, &result);
    if (!r)
        r = retval_out(caller, attr_addr, &result);
    return r || !size ? r : caller->ops->write(caller, attr->test.ctx_in, ctx, size);
}

/* R(type, run) */
#define RUNS(R)                                                                                              \
    R(SOCKET_FILTER, run_skb)                                                                                \
    R(SCHED_CLS, run_skb)                                                                                    \
    R(SCHED_ACT, run_skb)                                                                                    \
    R(XDP, run_xdp)                                                                                          \
    R(RAW_TRACEPOINT, run_raw_tracepoint)                                                                    \
    R(SYSCALL, run_syscall)

int tn_cmd_prog_test_run(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    _unref_ struct tn_prog *prog = NULL;
    int r = tn_caller_object(caller, (s32)attr->test.prog_fd, TN_KIND_PROG, NULL, &prog);

    if (r)
        return r;
    /* Linux: a size without a pointer, or a pointer without a size, is a mistake. */
    if (!attr->test.ctx_in != !attr->test.ctx_size_in || !attr->test.ctx_out != !attr->test.ctx_size_out)
        return -EINVAL;
    switch (prog->type) {
#define R(type, run)                                                                                         \
    case BPF_PROG_TYPE_##type:                                                                               \
        return run(caller, prog, attr, attr_addr);
        RUNS(R)
#undef R
    }
    return tn_fail(&caller->why, -TN_ENOTSUPP, "test_run_type", "programs of type %u cannot be test-run",
                   prog->type);
}
