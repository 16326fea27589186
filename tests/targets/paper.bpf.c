/* SPDX-License-Identifier: MIT */
/*
 * Extensions of Debian's nginx, for the classes of the model's own example as they are right there
 * (nginx_paper.py). Each does what its class lets it do, or what only the other's does.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "numbers.bpf.h"

#define CLASS(name) __attribute__((btf_decl_tag("eim:class=" name)))
#define ANCIENT     1000 /* seconds */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ngx_http_request_s {
    long start_sec;
    unsigned long method;
};
#pragma clang attribute pop
typedef struct ngx_http_request_s ngx_http_request_t;

extern int ngx_pid __ksym;
extern long ngx_next_time(long when) __ksym;

NUMBERS(seen, long, 4);

static __always_inline void keep(__u32 at, long value)
{
    bpf_map_update_elem(&seen, &at, &value, 0);
}

CLASS("observeProcessBegin")
SEC("fentry/ngx_http_process_request")
int BPF_PROG(observe, ngx_http_request_t *r)
{
    long midnight = ngx_next_time(0);

    if (midnight <= 0) /* never: the specification says so, and what follows need not be safe */
        return *(volatile int *)8;
    keep(0, ngx_pid);
    keep(1, midnight);
    keep(2, r->start_sec);
    return 0;
}

/* The log says how long a request took, by when it began. */
CLASS("updateResponse")
SEC("fentry/ngx_http_core_content_phase")
int BPF_PROG(update, ngx_http_request_t *r)
{
    r->start_sec -= ANCIENT;
    return 0;
}

CLASS("observeProcessBegin")
SEC("fentry/ngx_http_process_request")
int BPF_PROG(observe_and_write, ngx_http_request_t *r)
{
    r->start_sec = 0;
    return 0;
}

CLASS("updateResponse")
SEC("fentry/ngx_http_core_content_phase")
int BPF_PROG(update_and_look, ngx_http_request_t *r)
{
    r->start_sec = ngx_pid;
    return 0;
}

CLASS("updateResponse")
SEC("fentry/ngx_http_process_request")
int BPF_PROG(update_elsewhere, ngx_http_request_t *r)
{
    r->start_sec = 0;
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
