/* SPDX-License-Identifier: MIT */
/*
 * What programs print (bpf_trace_printk): one ring a broker, written by all targets, read here when somebody
 * asks. The ring is made when the first program that prints is attached. Its memory is hostile: positions are
 * kept here, records have one fixed size, and whatever does not fit costs the lines that were in it. Whoever
 * reads first gets them.
 */
#ifndef TN_BROKER_TRACE_H
#define TN_BROKER_TRACE_H

#include "rt/map/map.h"

struct tn_trace {
    struct tn_map map; /* the broker's view */
    int memfd;
    u64 at; /* read up to here */
};

int tn_trace_new(u32 ncpu, struct tn_trace **ret_trace);
void tn_trace_free(struct tn_trace *trace);
/* Lines not read yet, as many as fit; returns their length. */
size_t tn_trace_read(struct tn_trace *trace, char *ret_text, size_t cap);

#endif
