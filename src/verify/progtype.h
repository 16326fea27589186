/* SPDX-License-Identifier: MIT */
/*
 * One row a program type: what its context looks like and what it may return. A type without a row is refused
 * by name.
 *
 * P(type, name, C type of the context, first readable byte, end, rule, result checked, least, greatest
 * result) rule   ANY     aligned reads of 1, 2, 4 or 8 bytes WORDS   aligned reads of 4 or 8 bytes only ARGS
 * aligned reads of 8 bytes only
 */
#ifndef TN_VERIFY_PROGTYPE_H
#define TN_VERIFY_PROGTYPE_H

#include "base/base.h"

// clang-format off
#define TN_PROG_TYPES(P)                                                                                     \
    P(SOCKET_FILTER,           "socket_filter",  "__sk_buff",            0, 4,    WORDS, false, 0, 0)        \
    P(KPROBE,                  "kprobe",         "pt_regs",              0, 168,  ANY,   false, 0, 0)        \
    P(TRACEPOINT,              "tracepoint",     "",                     8, 8192, ANY,   false, 0, 0)        \
    P(PERF_EVENT,              "perf_event",     "bpf_perf_event_data",  0, 184,  ANY,   false, 0, 0)        \
    P(RAW_TRACEPOINT,          "raw_tracepoint", "bpf_raw_tracepoint_args", 0, 96, ANY,  false, 0, 0)
// clang-format on

enum tn_ctx_rule { TN_CTX_ANY, TN_CTX_WORDS, TN_CTX_ARGS };

struct tn_prog_type {
    u32 type;
    const char *name, *ctx_type;
    u32 ctx_first, ctx_end;
    u8 rule;
    bool ret_checked;
    s64 ret_min, ret_max;
};

/* NULL where there is none. Static lifetime. */
const struct tn_prog_type *tn_prog_type_by_id(u32 type);

#endif
