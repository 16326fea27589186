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
/* This tool's host from now on, on all its connections (ctl.h); *ret_hosted may be NULL. 0 or −errno, the reason is
   TN_CTL_LAST_ERROR's. What `host` points to must stay. The environment says the same by TENON_HOST: a path, or
   process ids parted by commas. */
struct tn_ctl_host;
struct tn_ctl_hosted;
int tn_door_host(const struct tn_ctl_host *host, struct tn_ctl_hosted *ret_hosted);
/* Our own calls (ctl.h). ret_reply: up to *reply_len bytes, *reply_len gets the length. The call's result. */
int tn_door_ctl(u32 ctl, const void *req, size_t req_len, void *ret_reply, size_t *reply_len);

/* From here on bpf(2) and the rest are the kernel's again; our own calls still reach the broker. */
void tn_door_shut(void);

/* True once tn_door_open has succeeded (or in the library). */
bool tn_door_is_open(void);

#endif
