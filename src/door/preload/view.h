/* SPDX-License-Identifier: MIT */
/* Maps as this process sees them, found by descriptor; and the eventfds of ring buffers. */
#ifndef TN_DOOR_VIEW_H
#define TN_DOOR_VIEW_H

#include <linux/bpf.h>

#include "broker/proto.h"
#include "door/preload/copy.h"

/* MAP_LOOKUP_ELEM, UPDATE, DELETE, GET_NEXT_KEY, served from the view. −ENOSYS: the broker must serve it. */
long tn_view_elem(u32 command, const union bpf_attr *attr, struct tn_good *good);
/* The map was frozen through this process. */
void tn_view_frozen(int fd);

/* The eventfd that stands for a ring buffer's descriptor (not to be closed), or −1 when it is none of ours.
   ret_ready (may be NULL): records are there to be read. */
int tn_view_wait_fd(int fd, bool *ret_ready);

#endif
