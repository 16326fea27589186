/* SPDX-License-Identifier: MIT */
/*
 * What is read and written through OpenSSL, in plain: where one of the functions is entered, buffer and time are noted;
 * where it returns, as many bytes as it says are sent.
 *
 *     enter   the thread's own place: which call, which buffer, since when
 *     leave   the same call still: its bytes, in parts of 16 KiB
 *
 * Places are found by the low bits of a thread's id: while another thread's call is under way there, this one's is not
 * seen, which `lost` tells. A reservation has one of four fixed sizes, so that a short message takes little of the ring.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "sslsniff.h"

struct under_way {
    unsigned int tid; /* 0: nobody's */
    unsigned int call;
    unsigned long long since, ssl, buffer, length; /* length: where an _ex form says how much it was */
    unsigned long long ns, total;                  /* once it has returned */
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, THREADS_MAX);
    __type(key, unsigned int);
    __type(value, struct under_way);
} threads SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 24); /* the tool may say otherwise */
} events SEC(".maps");

const volatile unsigned int shown = PART * PARTS; /* of each call */
struct lost lost;

static struct under_way *place_of(unsigned int tid)
{
    unsigned int key = tid % THREADS_MAX;

    return bpf_map_lookup_elem(&threads, &key);
}

static __always_inline int enter(unsigned int call, unsigned long ssl, unsigned long buffer,
                                 unsigned long length)
{
    unsigned int tid = (unsigned int)bpf_get_current_pid_tgid();
    struct under_way *u = place_of(tid);

    if (!u)
        return 0;
    if (u->tid && u->tid != tid) {
        __sync_fetch_and_add(&lost.calls, 1);
        return 0;
    }
    u->tid = tid;
    u->call = call;
    u->ssl = ssl;
    u->buffer = buffer;
    u->length = length;
    u->since = bpf_ktime_get_ns();
    return 0;
}

static __always_inline void send(const struct under_way *u, struct event *e, unsigned int cap,
                                 unsigned long long id, unsigned int at, unsigned long len)
{
    if (!e) {
        __sync_fetch_and_add(&lost.events, 1);
        __sync_fetch_and_add(&lost.bytes, len);
        return;
    }
    __asm__ volatile("" : "+r"(len)); /* or the compiler proves it, and the verifier does not see how */
    if (len > cap)
        len = cap;
    *e = (struct event){.since = u->since,
                        .ns = u->ns,
                        .ssl = u->ssl,
                        .pid = id >> 32,
                        .tid = (unsigned int)id,
                        .call = u->call,
                        .total = (unsigned int)u->total,
                        .at = at,
                        .len = (unsigned int)len};
    if (bpf_probe_read_user(e->bytes, len, (const void *)(u->buffer + at))) {
        __sync_fetch_and_add(&lost.unreadable, len);
        e->len = 0;
    }
    bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP); /* the tool looks by itself */
}

/* One part of the call that has returned. A function that verifiers look at by itself, once: sixteen parts of four sizes, one after
   the other, are more ways than Linux's follows. */
__attribute__((noinline)) int send_part(unsigned int at, unsigned int len)
{
    unsigned long long id = bpf_get_current_pid_tgid();
    const struct under_way *u = place_of((unsigned int)id);

    if (!u)
        return 0;
    if (len <= 512)
        send(u, bpf_ringbuf_reserve(&events, sizeof(struct event) + 512, 0), 512, id, at, len);
    else if (len <= 4096)
        send(u, bpf_ringbuf_reserve(&events, sizeof(struct event) + 4096, 0), 4096, id, at, len);
    else if (len <= 8192)
        send(u, bpf_ringbuf_reserve(&events, sizeof(struct event) + 8192, 0), 8192, id, at, len);
    else
        send(u, bpf_ringbuf_reserve(&events, sizeof(struct event) + PART, 0), PART, id, at, len);
    return 0;
}

static __always_inline int leave(unsigned int call, int result)
{
    unsigned int tid = (unsigned int)bpf_get_current_pid_tgid();
    struct under_way *u = place_of(tid);
    unsigned long long total = 0, want;

    if (!u || u->tid != tid || u->call != call)
        return 0;
    if (call == CALL_READ_EX || call == CALL_WRITE_EX) {
        if (result == 1)
            bpf_probe_read_user(&total, sizeof(total), (const void *)u->length);
    } else if (result > 0) {
        total = (unsigned int)result;
    }
    if (total) {
        u->ns = bpf_ktime_get_ns() - u->since;
        u->total = total;
        want = total > shown ? shown : total;
        for (unsigned int at = 0; at < PART * PARTS && at < want; at += PART)
            send_part(at, want - at > PART ? PART : (unsigned int)(want - at));
    }
    u->tid = 0;
    return 0;
}

/* Named as the functions; the tool attaches each to libssl's of this name. */
#define CALL(id, function, what)                                                                             \
    SEC("uprobe")                                                                                            \
    int function(struct pt_regs *ctx)                                                                        \
    {                                                                                                        \
        return enter(CALL_##id, PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx), PT_REGS_PARM4(ctx));                 \
    }                                                                                                        \
    SEC("uretprobe")                                                                                         \
    int function##_left(struct pt_regs *ctx)                                                                 \
    {                                                                                                        \
        return leave(CALL_##id, (int)PT_REGS_RC(ctx));                                                       \
    }
CALLS(CALL)
#undef CALL

char LICENSE[] SEC("license") = "Dual MIT/GPL";
