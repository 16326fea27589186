/* SPDX-License-Identifier: MIT */
/*
 * PROG_TEST_RUN: a program without a target, in a confined process (vm/confined.h), never in the broker.
 *
 * R(type, run): the types that Linux test-runs and that are served. Any other is −ENOTSUPP, as there.
 *   SOCKET_FILTER   data_in is a frame; the context's one field is its length behind the Ethernet header, and
 * what comes back is the frame behind it RAW_TRACEPOINT  ctx_in are the arguments; nothing else may be said
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <sys/epoll.h>

#include "broker/broker_int.h"
#include "rt/map/map.h"
#include "vm/confined.h"

#define LIMIT_MS 10000u
#define WAIT_MS  30000

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

static int run_confined(struct tn_caller *caller, const struct tn_prog *prog, const void *ctx, u32 ctx_size,
                        u32 repeat, struct tn_confined_result *ret_result)
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
        .code = &prog->code,
        .maps = views,
        .ctx = ctx,
        .ctx_size = ctx_size,
        .repeat = repeat,
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
        r = tn_loop_wait(broker->loop, confined.pidfd, EPOLLIN, WAIT_MS);
        if (!r)
            r = tn_confined_finish(&confined, ret_result, NULL, &caller->why);
        else
            (void)tn_fail(&caller->why, r, "test_run_stuck", "the program's process gave no answer");
        if (r)
            tn_confined_abort(&confined);
    }
    broker->njobs--;
    release_cpu(broker, in.cpu);
    return r;
}

static int answer(struct tn_caller *caller, u64 attr_addr, const struct tn_confined_result *result)
{
    u32 retval = (u32)result->retval, duration = (u32)TN_MIN(result->duration_ns, (u64)UINT32_MAX);
    int r = caller->ops->write(caller, attr_addr + offsetof(union bpf_attr, test.retval), &retval,
                               sizeof(retval));

    return r ? r
             : caller->ops->write(caller, attr_addr + offsetof(union bpf_attr, test.duration), &duration,
                                  sizeof(duration));
}

static int run_socket_filter(struct tn_caller *caller, const struct tn_prog *prog, const union bpf_attr *attr,
                             u64 attr_addr)
{
    u32 size = attr->test.data_size_in, left, out;
    struct tn_confined_result result = {0};
    _free_ u8 *frame = NULL;
    int r;

    if (attr->test.flags || attr->test.cpu || attr->test.batch_size)
        return -EINVAL;
    if (attr->test.ctx_size_in || attr->test.ctx_size_out)
        return tn_fail(&caller->why, -EINVAL, "test_run_context",
                       "a context of the caller's is not served here");
    if (prog->verdict.facts.ctx_end > sizeof(left) || prog->verdict.facts.ctx_escapes)
        return tn_fail(&caller->why, -TN_ENOTSUPP, "test_run_context",
                       "test runs give a socket filter the length of the packet only");
    if (size < ETH_HLEN || size > TN_CONFINED_MAX_DATA)
        return -EINVAL;
    frame = malloc(size);
    if (!frame)
        return -ENOMEM;
    r = caller->ops->read(caller, attr->test.data_in, frame, size);
    if (r)
        return r;
    left = size - ETH_HLEN;
    r = run_confined(caller, prog, &left, sizeof(left), attr->test.repeat, &result);
    if (r)
        return r;
    out = attr->test.data_size_out ? TN_MIN(left, attr->test.data_size_out) : left;
    if (attr->test.data_out)
        r = caller->ops->write(caller, attr->test.data_out, frame + ETH_HLEN, out);
    if (!r)
        r = caller->ops->write(caller, attr_addr + offsetof(union bpf_attr, test.data_size_out), &left,
                               sizeof(left));
    if (!r)
        r = answer(caller, attr_addr, &result);
    return r ? r : out < left ? -ENOSPC : 0;
}

static int run_raw_tracepoint(struct tn_caller *caller, const struct tn_prog *prog,
                              const union bpf_attr *attr, u64 attr_addr)
{
    u64 args[12] = {0};
    struct tn_confined_result result = {0};
    u32 size = attr->test.ctx_size_in;
    u64 read = prog->verdict.facts.ctx_read[0];
    int r;

    if (attr->test.data_in || attr->test.data_out || attr->test.ctx_out || attr->test.duration ||
        attr->test.repeat || attr->test.batch_size || attr->test.flags || attr->test.cpu)
        return -EINVAL;
    if (size > sizeof(args) || (read && size < (64 - (u32)__builtin_clzll(read)) * sizeof(u64)))
        return -EINVAL;
    r = size ? caller->ops->read(caller, attr->test.ctx_in, args, size) : 0;
    if (!r)
        r = run_confined(caller, prog, args, sizeof(args), 1, &result);
    return r ? r : answer(caller, attr_addr, &result);
}

#define RUNS(R)                                                                                              \
    R(SOCKET_FILTER, run_socket_filter)                                                                      \
    R(RAW_TRACEPOINT, run_raw_tracepoint)

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
