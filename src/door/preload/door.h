/* SPDX-License-Identifier: MIT */
/*
 * The door as our own programs use it. libtenon-door.so (LD_PRELOAD, `tenon run`) and the command line are
 * built from the same file: both define syscall, ioctl, epoll_ctl, poll, … in front of libc's. In the library
 * they work from the start; in our executable they pass everything through until tn_door_open.
 */
#ifndef TN_DOOR_H
#define TN_DOOR_H

#include "base/base.h"

/* From here on this process's bpf(2) goes to the broker, which is started if none answers. */
int tn_door_open(struct tn_error *err);
/* Our own calls (ctl.h). ret_reply: up to *reply_len bytes, *reply_len gets the length. The call's result. */
int tn_door_ctl(u32 ctl, const void *req, size_t req_len, void *ret_reply, size_t *reply_len);

/* True once tn_door_open has succeeded (or in the library). */
bool tn_door_is_open(void);

#endif
