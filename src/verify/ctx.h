/* SPDX-License-Identifier: MIT */
/*
 * What a program sees of its context, and of the objects that look like one (sockets): a row a field. Loads
 * and stores name a field by its offset; the row says which sizes are good and what a load yields.
 *
 * C(layout, "field", first, end, load, store, yields)
 *
 *   first, end   the row speaks of accesses that start in [first, end); the first row that fits counts
 *   load, store  which sizes, always at a multiple of the size:
 *                  NONE  not at all          S1 S4 S8  exactly so many bytes
 *                  UPTO4 UPTO8  1, 2, 4 (8)  IN        1, 2, 4, 8 as long as the row's end is not passed
 *   yields       NUMBER, or the pointer that the field holds (never loaded with sign extension)
 *
 * The offsets are those of <linux/bpf.h>, asserted in ctx.c where it has the structure. A layout that extends
 * another comes before it: rows that are not found go on in `base`.
 */
#ifndef TN_VERIFY_CTX_H
#define TN_VERIFY_CTX_H

#include "base/base.h"

// clang-format off
/* L(layout, base) */
#define TN_CTX_LAYOUTS(L)                                                                                    \
    L(NOTHING, NOTHING)                                                                                      \
    L(PT_REGS, NOTHING)                                                                                      \
    L(TRACEPOINT, NOTHING)                                                                                   \
    L(PERF_EVENT, NOTHING)                                                                                   \
    L(RAW_ARGS, NOTHING)                                                                                     \
    L(RAW_ARGS_BUFFER, RAW_ARGS)                                                                             \
    L(TYPED, NOTHING)       /* by the type of the function it is attached to: types.c */                     \
    L(OWN, NOTHING)         /* whatever the caller passes: test runs see that there is as much as is used */ \
    L(SKB, NOTHING)                                                                                          \
    L(SK_BUFF, SKB)                                                                                          \
    L(SK_BUFF_TC, SKB)                                                                                       \
    L(XDP_MD, NOTHING)                                                                                       \
    L(XDP_MD_DEVMAP, XDP_MD)                                                                                 \
    L(SOCK, NOTHING)                                                                                         \
    L(SOCK_COMMON, SOCK)                                                                                     \
    L(TCP_SOCK, NOTHING)                                                                                     \
    L(XDP_SOCK, NOTHING)

#define TN_CTX_FIELDS(C)                                                                                     \
    C(PT_REGS,         "regs",                  0,   168,   IN,    IN,    NUMBER)                            \
    C(TRACEPOINT,      "record",                8,   8192,  IN,    NONE,  NUMBER)                            \
    C(PERF_EVENT,      "regs",                  0,   168,   S8,    NONE,  NUMBER)                            \
    C(PERF_EVENT,      "sample_period, addr",   168, 184,   UPTO8, NONE,  NUMBER)                            \
    C(RAW_ARGS_BUFFER, "args[0]",               0,   1,     S8,    NONE,  TP_BUFFER)                         \
    C(RAW_ARGS,        "args",                  0,   96,    IN,    NONE,  NUMBER)                            \
    C(OWN,             "own",                   0,   65535, UPTO8, UPTO8, NUMBER)                            \
    /* struct __sk_buff: what differs by program type first */                                              \
    C(SK_BUFF,         "tc_classid … data_end", 72,  84,    NONE,  NONE,  NUMBER)                            \
    C(SK_BUFF,         "data_meta",             140, 144,   NONE,  NONE,  NUMBER)                            \
    C(SK_BUFF,         "tstamp, wire_len",      152, 164,   NONE,  NONE,  NUMBER)                            \
    C(SK_BUFF,         "tstamp_type, hwtstamp", 180, 192,   NONE,  NONE,  NUMBER)                            \
    C(SK_BUFF_TC,      "mark, queue_mapping",   8,   16,    UPTO4, S4,    NUMBER)                            \
    C(SK_BUFF_TC,      "priority",              32,  36,    UPTO4, S4,    NUMBER)                            \
    C(SK_BUFF_TC,      "tc_index",              44,  48,    UPTO4, S4,    NUMBER)                            \
    C(SK_BUFF_TC,      "tc_classid",            72,  76,    UPTO4, S4,    NUMBER)                            \
    C(SK_BUFF_TC,      "data",                  76,  80,    S4,    NONE,  PACKET)                            \
    C(SK_BUFF_TC,      "data_end",              80,  84,    S4,    NONE,  PACKET_END)                        \
    C(SK_BUFF_TC,      "data_meta",             140, 144,   S4,    NONE,  PACKET_META)                       \
    C(SK_BUFF_TC,      "tstamp",                152, 160,   S8,    S8,    NUMBER)                            \
    C(SK_BUFF_TC,      "tstamp_type",           180, 181,   S1,    NONE,  NUMBER)                            \
    C(SK_BUFF_TC,      "hwtstamp",              184, 192,   S8,    NONE,  NUMBER)                            \
    C(SKB,             "len … tc_index",        0,   48,    UPTO4, NONE,  NUMBER)                            \
    C(SKB,             "cb",                    48,  68,    IN,    IN,    NUMBER)                            \
    C(SKB,             "hash",                  68,  72,    UPTO4, NONE,  NUMBER)                            \
    C(SKB,             "napi_id",               84,  88,    UPTO4, NONE,  NUMBER)                            \
    C(SKB,             "wire_len, gso_segs",    160, 168,   UPTO4, NONE,  NUMBER)                            \
    C(SKB,             "sk",                    168, 176,   S8,    NONE,  SOCK_COMMON)                       \
    C(SKB,             "gso_size",              176, 180,   UPTO4, NONE,  NUMBER)                            \
    C(XDP_MD,          "data",                  0,   4,     S4,    NONE,  PACKET)                            \
    C(XDP_MD,          "data_end",              4,   8,     S4,    NONE,  PACKET_END)                        \
    C(XDP_MD,          "data_meta",             8,   12,    S4,    NONE,  PACKET_META)                       \
    C(XDP_MD,          "ingress_ifindex, rx_queue_index", 12, 20, S4, NONE, NUMBER)                          \
    C(XDP_MD_DEVMAP,   "egress_ifindex",        20,  24,    S4,    NONE,  NUMBER)                            \
    /* sockets */                                                                                            \
    C(SOCK_COMMON,     "type … priority",       8,   24,    NONE,  NONE,  NUMBER)                            \
    C(SOCK,            "family",            4,   5,     UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "type",              8,   9,     UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "protocol",          12,  13,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "src_ip4, src_ip6",  24,  44,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "src_port",          44,  45,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "dst_port",          48,  50,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "padding",           50,  52,    NONE,  NONE,  NUMBER)                                \
    C(SOCK,            "dst_ip4, dst_ip6",  52,  72,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "state",             72,  73,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "rx_queue_mapping",  76,  77,    UPTO4, NONE,  NUMBER)                                \
    C(SOCK,            "bound_dev_if, mark, priority",0,   80,    S4,    NONE,  NUMBER)                      \
    C(TCP_SOCK,        "snd_cwnd … sacked_out", 0,   80,    S4,    NONE,  NUMBER)                            \
    C(TCP_SOCK,        "bytes_received, bytes_acked", 80, 96, S8,  NONE,  NUMBER)                            \
    C(TCP_SOCK,        "dsack_dups … icsk_retransmits", 96, 112, S4, NONE, NUMBER)                           \
    C(XDP_SOCK,        "queue_id",              0,   4,     S4,    NONE,  NUMBER)
// clang-format on

enum tn_ctx_layout {
#define L(layout, base) TN_CTX_##layout,
    TN_CTX_LAYOUTS(L)
#undef L
};

enum tn_ctx_sizes {
    TN_CTX_NONE = 0,
    TN_CTX_S1 = 1,
    TN_CTX_S4 = 4,
    TN_CTX_S8 = 8,
    TN_CTX_UPTO4 = 1 | 2 | 4,
    TN_CTX_UPTO8 = 1 | 2 | 4 | 8,
    TN_CTX_IN = 16 | TN_CTX_UPTO8,
};

struct tn_ctx_field {
    u8 layout, load, store, yields; /* enum tn_reg_kind; SCALAR for numbers */
    u32 first, end;
    const char *name;
};

/* The field that may be accessed so, or NULL. `sext`: a load with sign extension. Static lifetime. */
const struct tn_ctx_field *tn_ctx_field(enum tn_ctx_layout layout, s64 off, u32 size, bool store, bool sext);

#endif
