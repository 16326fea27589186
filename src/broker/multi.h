/* SPDX-License-Identifier: MIT */
/*
 * Links of many places, as Linux has them since 6.6 (sessions: 6.13), for a tool whose headers may be older than that:
 * numbers, attributes, what is told of one.
 */
#ifndef TN_BROKER_MULTI_H
#define TN_BROKER_MULTI_H

#include <linux/bpf.h>

#include "base/base.h"

#define TN_TRACE_UPROBE_MULTI     48u
#define TN_TRACE_UPROBE_SESSION   57u
#define TN_LINK_TYPE_UPROBE_MULTI 12u
#define TN_UPROBE_MULTI_RETURN    1u         /* flag: as the functions return */
#define TN_UPROBE_MULTI_MAX       (1u << 20) /* Linux's limit of places */

/* Behind the first four fields of link_create. */
struct tn_multi_attr {
    u64 path, offsets, ref_ctr_offsets, cookies; /* addresses in the tool */
    u32 cnt, flags, pid, pad;
};
#define TN_MULTI_ATTR_OFF (offsetof(union bpf_attr, link_create.flags) + sizeof(u32))
#define TN_MULTI_ATTR_END (TN_MULTI_ATTR_OFF + offsetof(struct tn_multi_attr, pad))
_Static_assert(TN_MULTI_ATTR_OFF == 16 && TN_MULTI_ATTR_END == 60 &&
                   TN_MULTI_ATTR_END <= sizeof(union bpf_attr),
               "as in Linux");

/* The whole of struct bpf_link_info. */
struct tn_multi_info {
    u32 type, id, prog_id, pad;
    u64 path, offsets, ref_ctr_offsets, cookies;
    u32 path_size, count, flags, pid;
};

static inline bool tn_is_multi(u32 attach_type)
{
    return attach_type == TN_TRACE_UPROBE_MULTI || attach_type == TN_TRACE_UPROBE_SESSION;
}

#endif
