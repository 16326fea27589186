/* SPDX-License-Identifier: MIT */
/*
 * Programs that know functions of host.c by their types. Each is loaded alone (`--program`); what it saw is
 * in `seen`.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "numbers.bpf.h"
#include "tests/targets/host.h"

NUMBERS(seen, long, 16);

extern int ngx_pid __ksym;
extern long ngx_time(void) __ksym;
extern void leave_by_longjmp(long value) __ksym;
extern void tenon_replace(void *ctx, unsigned long v) __ksym;

static void keep(__u32 at, long value)
{
    long *slot = bpf_map_lookup_elem(&seen, &at);

    if (slot)
        *slot = value;
}

static void count(__u32 at)
{
    long *slot = bpf_map_lookup_elem(&seen, &at);

    if (slot)
        __sync_fetch_and_add(slot, 1);
}

SEC("fentry/add")
int BPF_PROG(add_enter, long a, long b)
{
    count(0);
    keep(1, a);
    keep(2, b);
    return 0;
}

SEC("fexit/add")
int BPF_PROG(add_exit, long a, long b, long result)
{
    count(0);
    keep(1, result);
    return 0;
}

/* Arguments as they were at the entry, held against the result; the function has changed its own by then. */
SEC("fexit/add")
int BPF_PROG(add_both, long a, long b, long result)
{
    count(a * 3 + b == result ? 0 : 1);
    keep(2, a);
    keep(3, b);
    return 0;
}

/* Whoever gave the result. */
SEC("fexit/add")
int BPF_PROG(add_answered, long a, long b, long result)
{
    count(0);
    keep(1, a);
    keep(2, b);
    keep(3, result);
    return 0;
}

SEC("fexit/nest")
int BPF_PROG(nest_both, long depth, long b, long result)
{
    count(depth * 3 + b == result ? 0 : 1);
    return 0;
}

SEC("fexit/eight")
int BPF_PROG(eight_both, long a, int b, short c, signed char d, unsigned char e, bool f, long g, short h,
             long result)
{
    keep(0, a);
    keep(1, b);
    keep(2, c);
    keep(3, d);
    keep(4, e);
    keep(5, f);
    keep(6, g);
    keep(7, h);
    keep(8, result);
    return 0;
}

SEC("fexit/ngx_http_process_request")
int BPF_PROG(done, Request *r, int result)
{
    count(0);
    keep(1, r->method);
    keep(2, (long)r->uri.len);
    keep(3, result);
    return 0;
}

SEC("fexit/request_end")
int BPF_PROG(freed, Request *r, int result)
{
    count(0);
    keep(1, (long)r);
    keep(2, r->method);
    keep(3, result);
    return 0;
}

SEC("fentry/tiny")
int BPF_PROG(tiny_enter, long a)
{
    count(0);
    return 0;
}

SEC("fexit/tiny")
int BPF_PROG(tiny_exit, long a, long result)
{
    keep(0, result);
    return 0;
}

SEC("fexit/tiny")
int BPF_PROG(tiny_both, long a, long result)
{
    keep(0, a + result);
    return 0;
}

/* Answers for a negative a: with b, where that is not zero. */
SEC("fmod_ret/add")
int BPF_PROG(add_answer, long a, long b, long result)
{
    count(0);
    return a < 0 ? (int)b : 0;
}

/* … with b, whatever it is. */
SEC("fentry/add")
int BPF_PROG(add_replace, long a, long b)
{
    count(0);
    if (a < 0)
        tenon_replace(ctx, (unsigned long)b);
    return 0;
}

/* … with what it would return, every other time. */
SEC("fentry/add")
int BPF_PROG(add_same, long a, long b)
{
    count(0);
    if (a & 1)
        tenon_replace(ctx, (unsigned long)(a * 3 + b));
    return 0;
}

SEC("fentry/add")
int BPF_PROG(add_leave, long a, long b)
{
    count(0);
    if (a & 1)
        leave_by_longjmp(1);
    count(1);
    return 0;
}

SEC("fentry/eight")
int BPF_PROG(eight_enter, long a, int b, short c, signed char d, unsigned char e, bool f, long g, short h)
{
    keep(0, a);
    keep(1, b);
    keep(2, c);
    keep(3, d);
    keep(4, e);
    keep(5, f);
    keep(6, g);
    keep(7, h);
    return 0;
}

SEC("fentry/by_value")
int BPF_PROG2(by_value_enter, struct pair, p, int, a, struct pair, q)
{
    keep(0, p.x);
    keep(1, p.y);
    keep(2, a);
    keep(3, q.x);
    keep(4, q.y);
    return 0;
}

SEC("fexit/is_odd")
int BPF_PROG(is_odd_exit, int a, bool result)
{
    keep(0, result);
    return 0;
}

SEC("fexit/negated")
int BPF_PROG(negated_exit, short a, short result)
{
    keep(0, result);
    return 0;
}

SEC("fmod_ret/negated")
int BPF_PROG(negated_answer, short a, short result)
{
    return a == 123 ? -7 : 0;
}

SEC("fentry/hidden_sum")
int BPF_PROG(hidden_enter, long a, long b)
{
    keep(0, a + b);
    return 0;
}

SEC("fentry/by_parts")
int BPF_PROG(by_parts_enter, struct pair *p)
{
    return 0;
}

SEC("fentry/in_place")
int BPF_PROG(in_place_enter, long a)
{
    return 0;
}

SEC("fentry/ngx_http_process_request")
int BPF_PROG(begin, Request *r)
{
    count(0);
    keep(1, r->method);
    keep(2, (long)r->uri.len);
    keep(3, (long)r->args.len);
    keep(4, r->keep_alive);
    keep(5, r->version);
    keep(6, (long)r->header[1].value.len);
    keep(7, r->parent->status);
    keep(8, ngx_pid);
    keep(9, ngx_time());
    return 0;
}

/* The ways of extensions that were written for a kernel's structs. */
SEC("fentry/ngx_http_process_request")
int BPF_PROG(begin_copying, Request *r)
{
    char first[8] = "", none[8] = "";

    keep(0, (long)BPF_CORE_READ(r, parent, parent, uri.len));
    keep(1, bpf_probe_read_kernel_str(first, sizeof(first), BPF_CORE_READ(r, header[1].name.data)));
    keep(2, first[0]);
    keep(3, bpf_probe_read_user(none, sizeof(none), NULL));
    keep(4, BPF_CORE_READ_BITFIELD_PROBED(r, version));
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
