/* SPDX-License-Identifier: MIT */
/*
 * The way to the broker: the door once, then our own questions (broker/ctl.h) and libbpf's calls go the same
 * way.
 */
#ifndef TN_CLI_CONNECT_H
#define TN_CLI_CONNECT_H

#include "base/base.h"
#include "broker/ctl.h"

/* Opens the door; starts a broker when none answers and `start` says so.
   `−ENOENT` with reason "no_broker" otherwise. */
int tn_connect(bool start, struct tn_error *err);

/* Our own calls; a reply of another size than asked for is −EPROTO. */
int tn_ctl(u32 ctl, const void *request, size_t request_len, void *ret_reply, size_t reply_len);
/* Why the last bpf(2) call failed. False when the broker has nothing to say. */
bool tn_ctl_why(struct tn_ctl_error *ret_why);
/* What was said of the program that the options named. False: nothing yet. */
bool tn_ctl_verdict(struct tn_ctl_verdict *ret_verdict);
/* The link with this id. −ENOENT. */
int tn_ctl_link(u32 id, struct tn_ctl_link *ret_link);

/* Keeps libbpf's messages instead of printing them, or with `aloud` prints them too. */
void tn_libbpf_listen(bool aloud);
void tn_libbpf_forget(void);
/* The warnings since the last tn_libbpf_forget; "" for none. Valid until the next. */
const char *tn_libbpf_said(void);

#endif
