/* SPDX-License-Identifier: MIT */
/*
 * Extensions of host.c that a manager would admit, and others that he has to be protected from. Each is loaded
 * alone; its class is named in its declaration tag, or by whoever loads it.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <tenon/extension.h>

#include "numbers.bpf.h"
#include "tests/targets/host.h"

#define CLASS(name) __attribute__((btf_decl_tag("eim:class=" name)))
#define USE(x)      __asm__ volatile("" ::"r"((long)(x)))

NUMBERS(seen, long, 16);

extern int ngx_pid __ksym;
extern struct clock *ngx_cached_time __ksym;
extern long answers __ksym;
extern long ngx_time(void) __ksym;
extern struct piece *pool_alloc(void) __ksym;
extern void pool_free(struct piece *p) __ksym;
extern unsigned long checksum(const char *buf, unsigned long len) __ksym;
extern long lease_one(void) __ksym;
extern unsigned long args_length(Request *r) __ksym;

static __always_inline void keep(__u32 at, long value)
{
    long *slot = bpf_map_lookup_elem(&seen, &at);

    if (slot)
        *slot = value;
}

/* ------------------------------------------------------------- the two classes of the model's own example */

CLASS("observeProcessBegin")
SEC("fentry/ngx_http_process_request")
int BPF_PROG(observe, Request *r)
{
    long now = ngx_time();

    if (now <= 0) /* never: the specification says so, and what follows need not be safe */
        return *(volatile int *)8;
    USE(r->method + ngx_pid);
    return 0;
}

CLASS("updateResponse")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(update, Request *r)
{
    r->status = r->uri.len > 20 ? 414 : 201;
    return 0;
}

/* The object is reached in a function that is called back, as is a function of the host: four rounds of it. */
struct rounds {
    Request *r;
    long sum;
};

static long each_round(__u32 i, struct rounds *rounds)
{
    rounds->sum += rounds->r->method * 100 + (long)rounds->r->uri.len;
    if (ngx_time() > 0)
        keep(i, rounds->sum);
    return i == 3;
}

SEC("fentry/ngx_http_content_phase")
int BPF_PROG(in_rounds, Request *r)
{
    struct rounds rounds = {.r = r};

    keep(5, bpf_loop(10, each_round, &rounds, 0));
    return 0;
}

/* At the exit: the argument, as it was at the entry, and the result. */
CLASS("observeProcessEnd")
SEC("fexit/ngx_http_process_request")
int BPF_PROG(ended, Request *r, int result)
{
    keep(0, r->method);
    keep(1, result);
    return 0;
}

CLASS("observeProcessEnd")
SEC("fexit/ngx_http_process_request")
int BPF_PROG(ended_and_looks, Request *r, int result)
{
    keep(0, r->status);
    return 0;
}

CLASS("observeProcessEnd")
SEC("fexit/ngx_http_process_request")
int BPF_PROG(ended_and_writes, Request *r, int result)
{
    r->method = result;
    return 0;
}

/* Each does, in its class, what only the other may. */
CLASS("observeProcessBegin")
SEC("fentry/ngx_http_process_request")
int BPF_PROG(observe_and_write, Request *r)
{
    r->status = 404;
    return 0;
}

CLASS("updateResponse")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(update_and_look, Request *r)
{
    r->status = ngx_pid;
    return 0;
}

CLASS("updateResponse")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(update_by_time, Request *r)
{
    r->status = (int)ngx_time();
    return 0;
}

CLASS("updateResponse")
SEC("fentry/ngx_http_process_request")
int BPF_PROG(update_elsewhere, Request *r)
{
    return 0;
}

/* ----------------------------------------------------------------------------------------- smaller sins */

CLASS("watcher")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(watcher, Request *r)
{
    keep(0, (long)r->uri.len);
    return 0;
}

CLASS("watcher")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(watcher_writes, Request *r)
{
    keep(0, (long)r->uri.len);
    r->status = 500;
    return 0;
}

CLASS("watcher")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(watcher_leaks, Request *r)
{
    keep(0, *(long *)r->secret);
    return 0;
}

/* The same, by way of an address that is a number to everybody. */
CLASS("watcher")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(watcher_leaks_by_address, Request *r)
{
    long secret = 0;

    bpf_probe_read_user(&secret, sizeof(secret), (const void *)&r->secret);
    keep(0, secret);
    return 0;
}

CLASS("allocator")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(gives_back, Request *r)
{
    struct piece *p = pool_alloc();

    if (p)
        pool_free(p);
    return 0;
}

CLASS("allocator")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(never_frees, Request *r)
{
    pool_alloc();
    return 0;
}

CLASS("allocator")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(frees_sometimes, Request *r)
{
    struct piece *p = pool_alloc();

    if (!p)
        return 0;
    if (r->method == 2)
        return 0;
    pool_free(p);
    return 0;
}

CLASS("summer")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(sums, Request *r)
{
    char text[16] = "sixteen letters";

    keep(1, (long)checksum(text, sizeof(text)));
    return 0;
}

CLASS("summer")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(sums_too_much, Request *r)
{
    char text[16] = "sixteen letters";

    keep(1, (long)checksum(text, sizeof(text) + r->uri.len % 2 + 64));
    return 0;
}

/* A variable that is a pointer, and one that may only be written. */
CLASS("timed")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(timed, Request *r)
{
    long now = ngx_cached_time->sec;

    keep(2, now);
    answers = now + 1;
    return 0;
}

CLASS("timed")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(timed_and_looks, Request *r)
{
    keep(2, ngx_cached_time->reads);
    return 0;
}

CLASS("timed")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(timed_and_counts, Request *r)
{
    answers++;
    return 0;
}

SEC("fentry/ngx_http_content_phase")
int BPF_PROG(leases, Request *r)
{
    lease_one();
    return 0;
}

SEC("fentry/ngx_http_process_request")
int BPF_PROG(leases_inside, Request *r)
{
    lease_one();
    return 0;
}

/* The function reads a field on the caller's behalf. */
CLASS("watcher")
SEC("fentry/ngx_http_content_phase")
int BPF_PROG(reads_by_proxy, Request *r)
{
    keep(0, (long)args_length(r));
    return 0;
}

/* ---------------------------------------------------------------------------------------------- buffers */

CLASS("reader")
SEC("fentry/use_store")
int BPF_PROG(reads_store, Store *s)
{
    unsigned short code[4] = {};
    char items[96] = {}, text[8] = {}, tail[8] = {};
    unsigned wide[2] = {};

    keep(3, tenon_read_elements(code, sizeof(code), s, code, ncodes, 2));
    keep(4, code[0] + code[2] * 1000);
    keep(5, tenon_read_elements(items, sizeof(items), s, item, nitems, 1));
    keep(6, ((struct item *)items)->id);
    keep(7, tenon_read_buffer(text, sizeof(text), s, either.text, neither));
    keep(8, text[5]);
    keep(9, tenon_read_range(wide, sizeof(wide), s, either.wide, 1));
    keep(10, tenon_read_elements(tail, sizeof(tail), s, tail, ntail, 4));
    keep(11, tail[3]);
    return 0;
}

CLASS("reader")
SEC("fentry/use_store")
int BPF_PROG(reads_too_early, Store *s)
{
    unsigned short code[4] = {};

    tenon_read_elements(code, sizeof(code), s, code, ncodes, 1);
    return 0;
}

static __always_inline void more(__u32 at)
{
    long *slot = bpf_map_lookup_elem(&seen, &at);

    if (slot)
        ++*slot;
}

/* An element by a number that whoever watches writes into the map. */
static __always_inline unsigned long wanted(void)
{
    __u32 at = 15;
    volatile long *slot = bpf_map_lookup_elem(&seen, &at);

    return slot ? (unsigned long)*slot : 0;
}

CLASS("indexer")
SEC("fentry/use_store")
int BPF_PROG(indexes_store, Store *s)
{
    unsigned long k = wanted();

    if (k >= 4)
        return 0;
    keep(3, s->crate[k].weight);
    keep(4, s->crate[k].side[0]);
    s->crate[k].code = 9000 + s->crate[k].side[0];
    keep(5, s->crate[2].code);
    return 0;
}

CLASS("indexer")
SEC("fentry/use_store")
int BPF_PROG(indexes_too_far, Store *s)
{
    unsigned long k = wanted();

    if (k <= 4)
        keep(3, s->crate[k].weight);
    return 0;
}

CLASS("indexer")
SEC("fentry/use_store")
int BPF_PROG(indexes_another_field, Store *s)
{
    keep(3, s->crate[wanted() & 3].side[1]);
    return 0;
}

/* What comes of copies while the host changes under them: each is one of four. */
CLASS("reader")
SEC("fentry/use_store")
int BPF_PROG(reads_in_a_race, Store *s)
{
    unsigned short code[4] = {};
    long n = tenon_read_elements(code, sizeof(code), s, code, ncodes, 2);

    if (n == 6 && code[0] == 102 && code[1] == 103 && code[2] == 104 && !code[3])
        more(3);
    else if (n == 0 && !code[0])
        more(4);
    else if (n == -14 && !code[0] && !code[3])
        more(5);
    else if (n == -75 && !code[0])
        more(6);
    return 0;
}

static const char sixteen[16] = "sixteen letters";

CLASS("writer")
SEC("fentry/use_store")
int BPF_PROG(writes_store, Store *s)
{
    keep(3, tenon_write_buffer(sixteen, sizeof(sixteen), s, out, room));
    return 0;
}

CLASS("writer")
SEC("fentry/use_store")
int BPF_PROG(writes_codes, Store *s)
{
    unsigned short code[3] = {1, 2, 3};

    keep(3, tenon_write_elements(code, sizeof(code), s, code, ncodes, 3));
    code[0] = code[1] = code[2] = 0;
    tenon_read_elements(code, sizeof(code), s, code, ncodes, 2);
    keep(4, code[0] + code[1] * 1000l + code[2] * 1000000l);
    return 0;
}

/* What only the reader may name, and in any class what may be something else. */
CLASS("writer")
SEC("fentry/use_store")
int BPF_PROG(writes_items, Store *s)
{
    struct item item = {};

    tenon_write_elements(&item, sizeof(item), s, item, nitems, 0);
    return 0;
}

CLASS("writer")
SEC("fentry/use_store")
int BPF_PROG(writes_either, Store *s)
{
    tenon_write_buffer(sixteen, sizeof(sixteen), s, either.text, neither);
    return 0;
}

CLASS("writer")
SEC("fentry/use_store")
int BPF_PROG(writes_in_a_race, Store *s)
{
    long n = tenon_write_buffer(sixteen, sizeof(sixteen), s, out, room);

    if (n == 16)
        more(3);
    else if (n == -14)
        more(4);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";

/* In the place of a function that promises a positive number. */
CLASS("negator")
SEC("fmod_ret/negated")
int BPF_PROG(answer_well, short a, short result)
{
    return a == 123 ? 7 : 0;
}

CLASS("negator")
SEC("fmod_ret/negated")
int BPF_PROG(answer_ill, short a, short result)
{
    return a == 123 ? -7 : 0;
}
