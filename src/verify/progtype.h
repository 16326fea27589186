/* SPDX-License-Identifier: MIT */
/*
 * One row a program type: what its context looks like, what it may do with packets, whether it may sleep; and
 * one row for each result that is checked. A type without a row is refused by name, never guessed at.
 *
 * P(type, number, name, C type of the context, layout of the context (ctx.h), TN_PT_… flags)
 *
 * To add a type: a row here; a layout in ctx.h when none fits; rows of results below, if it has rules for
 * them. tests/verify/ctx.c compares every offset and size of the context with Linux from then on.
 */
#ifndef TN_VERIFY_PROGTYPE_H
#define TN_VERIFY_PROGTYPE_H

#include <linux/bpf.h>

#include "base/base.h"

// clang-format off
#define TN_PROG_TYPES(P)                                                                                     \
    P(SOCKET_FILTER,           1,  "socket_filter",  "__sk_buff",               SK_BUFF,    TN_PT_LD_ABS)    \
    P(KPROBE,                  2,  "kprobe",         "pt_regs",                 PT_REGS,    TN_PT_CTX_PLAIN | TN_PT_MAY_SLEEP | TN_PT_PRIVATE_STACK) \
    P(SCHED_CLS,               3,  "sched_cls",      "__sk_buff",               SK_BUFF_TC, TN_PT_LD_ABS | TN_PT_PKT_READ | TN_PT_PKT_WRITE) \
    P(SCHED_ACT,               4,  "sched_act",      "__sk_buff",               SK_BUFF_TC, TN_PT_LD_ABS | TN_PT_PKT_READ | TN_PT_PKT_WRITE) \
    P(TRACEPOINT,              5,  "tracepoint",     "",                        TRACEPOINT, TN_PT_CTX_PLAIN | TN_PT_PRIVATE_STACK) \
    P(XDP,                     6,  "xdp",            "xdp_md",                  XDP_MD,     TN_PT_PKT_READ | TN_PT_PKT_WRITE) \
    P(PERF_EVENT,              7,  "perf_event",     "bpf_perf_event_data",     PERF_EVENT, TN_PT_PRIVATE_STACK) \
    P(RAW_TRACEPOINT,          17, "raw_tracepoint", "bpf_raw_tracepoint_args", RAW_ARGS,   TN_PT_CTX_PLAIN | TN_PT_PRIVATE_STACK) \
    P(RAW_TRACEPOINT_WRITABLE, 24, "raw_tracepoint_writable", "bpf_raw_tracepoint_args", RAW_ARGS_BUFFER, TN_PT_CTX_PLAIN) \
    P(TRACING,                 26, "tracing",        "",                        TYPED,      TN_PT_CTX_PLAIN | TN_PT_MAY_SLEEP | TN_PT_PRIVATE_STACK) \
    P(SYSCALL,                 31, "syscall",        "",                        OWN,        TN_PT_CTX_PLAIN | TN_PT_MAY_SLEEP | TN_PT_MUST_SLEEP)

/*
 * Results that are checked at exit. R(type, expected_attach_type, least, greatest): the first row that fits
 * counts, ANY fits all. A program without a row may return what it likes.
 */
#define TN_PROG_RESULTS(R)                                                                                   \
    R(KPROBE,  TN_ATTACH_KPROBE_SESSION, 0, 1)                                                               \
    R(KPROBE,  TN_ATTACH_UPROBE_SESSION, 0, 1)                                                               \
    R(TRACING, BPF_TRACE_FENTRY,         0, 0)                                                               \
    R(TRACING, BPF_TRACE_FEXIT,          0, 0)                                                               \
    R(TRACING, BPF_TRACE_ITER,           0, 1)
// clang-format on

enum {
    TN_PT_CTX_PLAIN = 1 << 0,     /* the context is memory as it is read: helpers may be given parts of it */
    TN_PT_LD_ABS = 1 << 1,        /* has the packet loads of classic BPF */
    TN_PT_PKT_READ = 1 << 2,      /* reaches the packet by pointers */
    TN_PT_PKT_WRITE = 1 << 3,     /* … and may write to it */
    TN_PT_MAY_SLEEP = 1 << 4,     /* may be loaded with BPF_F_SLEEPABLE */
    TN_PT_MUST_SLEEP = 1 << 5,    /* … or not at all */
    TN_PT_PRIVATE_STACK = 1 << 6, /* large frames do not count as stack (subprog.c); of iterators they do */
};

/* Of expected_attach_type: newer than Debian's <linux/bpf.h>. */
enum { TN_ATTACH_KPROBE_SESSION = 56, TN_ATTACH_UPROBE_SESSION = 57 };

struct tn_prog_type {
    u32 type;
    const char *name, *ctx_type;
    u8 layout; /* enum tn_ctx_layout */
    u32 flags; /* TN_PT_… */
};

/* NULL where there is none. Static lifetime. */
const struct tn_prog_type *tn_prog_type_by_id(u32 type);
/* What Linux calls a type, rows or not; "?" for numbers it does not have. */
const char *tn_prog_type_name(u32 type);

struct vf;
struct tn_reg;
struct tn_call_arg;
/* Sets v->type and what follows from it; refuses types, flags and pairs of them that cannot be. */
int tn_prog_type_check(struct vf *v);
/* The result of the program (R0, or what it throws) at its end. */
int tn_prog_result(struct vf *v, u32 regno);
/* What stands in `regno` is to be the answer in the hooked function's place: is it one that may be given? */
int tn_prog_answer(struct vf *v, u32 regno, bool by_result);
/* The low 32 bits of a number. */
struct tn_call_arg tn_low_half(const struct tn_reg *reg);
/* `regno` is a number in [min, max]; `when`: "At program exit". */
int tn_check_result(struct vf *v, u32 regno, const char *when, s64 min, s64 max);

#endif
