/* SPDX-License-Identifier: MIT */
/*
 * Three outages that extensions have brought upon servers, of one text for two hosts: host.c, and with NGINX Debian's nginx
 * by the types of its headers. native.c and outages.lua have the same as nothing checks it.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define CLASS(name) __attribute__((btf_decl_tag("eim:class=" name)))

#ifdef NGINX
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#define Request struct ngx_http_request_s
typedef struct {
    long content_length_n;
} ngx_http_headers_in_t;
struct ngx_http_request_s {
    ngx_http_headers_in_t headers_in;
    Request *parent;
};
#pragma clang attribute pop
#define ENTRY   "fentry/ngx_http_core_content_phase"
#define BODY(r) ((unsigned long)(r)->headers_in.content_length_n)
#else
#include "tests/targets/host.h"
#define ENTRY   "fentry/ngx_http_content_phase"
#define BODY(r) ((r)->args.len)
#endif

/* Looks for the end of a chain, which may be a ring. */
CLASS("parser")
SEC(ENTRY)
int BPF_PROG(endless, Request *r)
{
    volatile int rounds = 0;

    while (r->parent)
        rounds++;
    return rounds ? 0 : 0;
}

/* Unescapes a body into a buffer of its own, as many bytes as there are. */
CLASS("parser")
SEC(ENTRY)
int BPF_PROG(overflow, Request *r)
{
    volatile char part[64];

    for (unsigned long k = 0; k < BODY(r) && k < 256; k++)
        part[k] = 'x';
    return part[0] ? 0 : 0;
}

/* … as many as there is room for. */
CLASS("parser")
SEC(ENTRY)
int BPF_PROG(no_overflow, Request *r)
{
    volatile char part[64];

    for (unsigned long k = 0; k < BODY(r) && k < sizeof(part); k++)
        part[k] = 'x';
    return part[0] ? 0 : 0;
}

/* A nested pattern, by recursion: as deep as the request says. */
static __noinline int nested(int depth)
{
    volatile char frame[64];

    frame[0] = (char)depth;
    return depth > 0 ? nested(depth - 1) + frame[0] : 0;
}

CLASS("parser")
SEC(ENTRY)
int BPF_PROG(deep, Request *r)
{
    return nested((int)BODY(r)) ? 0 : 0;
}

char LICENSE[] SEC("license") = "GPL";
