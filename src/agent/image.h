/* SPDX-License-Identifier: MIT */
/*
 * The embedded agent image, read: which bytes go where, and where its exports are. The injector maps segment
 * by segment at any page-aligned address, all at the same distance from their `vaddr`; an export is at that
 * address + its offset.
 */
#ifndef TN_AGENT_IMAGE_H
#define TN_AGENT_IMAGE_H

#include "base/base.h"

#define TN_AGENT_SEGMENTS 4u

struct tn_agent_segment {
    const u8 *bytes;     /* in the embedded image */
    u64 vaddr;           /* from the image's address, page-aligned */
    u64 file_size, size; /* size ≥ file_size: the rest is zero */
    u32 prot;            /* PROT_READ, PROT_WRITE, PROT_EXEC */
};

struct tn_agent_layout {
    struct tn_agent_segment segment[TN_AGENT_SEGMENTS];
    u32 nsegments;
    u64 size; /* of all, page-aligned */
};

/* −EBADMSG if the image is not what the build promises. */
int tn_agent_layout(struct tn_agent_layout *ret_layout, struct tn_error *err);
/* Offset of an exported function from the image's address. −ENOENT. */
int tn_agent_export(const char *name, u64 *ret_offset);
/* The same for helper `id` of the bpf(2) interface. */
int tn_agent_helper(u32 id, u64 *ret_offset);
/* … for routine `index` (enum tn_agent_routine); at_entry: of a program that stands at functions' entries only,
   where calls of the host save less. */
int tn_agent_routine(u32 index, bool at_entry, u64 *ret_offset);

#endif
