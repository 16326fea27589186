/* SPDX-License-Identifier: MIT */
/* See trace.h. */
#include "broker/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include "broker/object.h"

/* 512 lines. */
#define RING_SIZE (512u * 1024u)

void tn_trace_free(struct tn_trace *trace)
{
    if (!trace)
        return;
    if (trace->map.base)
        munmap(trace->map.base, trace->map.geo.size);
    if (trace->memfd >= 0)
        close(trace->memfd);
    free(trace);
}

static void cleanup_trace(struct tn_trace **trace)
{
    tn_trace_free(*trace);
}

int tn_trace_new(u32 ncpu, struct tn_trace **ret_trace)
{
    _clean_(cleanup_trace) struct tn_trace *trace = calloc(1, sizeof(*trace));
    u8 *base;
    int r;

    if (!trace)
        return -ENOMEM;
    trace->memfd = -1;
    trace->map.id = TN_TRACE_MAP_ID;
    r = tn_map_geometry(BPF_MAP_TYPE_RINGBUF, 0, 0, RING_SIZE, 0, ncpu, &trace->map.geo);
    if (!r)
        r = tn_memfd("tenon-trace", trace->map.geo.size, &trace->memfd);
    if (r)
        return r;
    if (fcntl(trace->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
        return -errno;
    base = mmap(NULL, trace->map.geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, trace->memfd, 0);
    if (base == MAP_FAILED)
        return -errno;
    trace->map.base = base;
    r = tn_map_init(&trace->map);
    if (r)
        return r;
    *ret_trace = TN_TAKE_PTR(trace);
    return 0;
}

size_t tn_trace_read(struct tn_trace *trace, char *ret_text, size_t cap)
{
    u64 *consumer = (u64 *)(trace->map.base + TN_RB_CONSUMER);
    u64 end = __atomic_load_n((u64 *)(trace->map.base + TN_RB_PRODUCER), __ATOMIC_ACQUIRE);
    const u64 step = TN_ROUND_UP(sizeof(struct tn_trace_record) + BPF_RINGBUF_HDR_SZ, 8u);
    size_t used = 0;

    if (end - trace->at > RING_SIZE || (trace->at & 7))
        trace->at = end & ~7ull;
    while (trace->at < end && cap - used > sizeof(struct tn_trace_record) + 64) {
        const u8 *at = trace->map.base + trace->map.geo.value_off + (trace->at & (RING_SIZE - 1));
        u32 len = __atomic_load_n((const u32 *)at, __ATOMIC_ACQUIRE);
        struct tn_trace_record record;

        if (len & BPF_RINGBUF_BUSY_BIT)
            break;
        if ((len & ~BPF_RINGBUF_DISCARD_BIT) != sizeof(record)) {
            trace->at = end & ~7ull;
            break;
        }
        trace->at += step;
        if (len & BPF_RINGBUF_DISCARD_BIT)
            continue;
        memcpy(&record, at + BPF_RINGBUF_HDR_SZ, sizeof(record));
        record.text[sizeof(record.text) - 1] = '\0';
        used += (size_t)snprintf(ret_text + used, cap - used, "%u/%u %llu.%06llu: %s", record.pid, record.tid,
                                 (unsigned long long)(record.ns / 1000000000),
                                 (unsigned long long)(record.ns / 1000 % 1000000), record.text);
        if (used && ret_text[used - 1] != '\n')
            ret_text[used++] = '\n';
    }
    __atomic_store_n(consumer, trace->at, __ATOMIC_RELEASE);
    return used;
}
