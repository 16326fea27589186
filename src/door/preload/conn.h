/* SPDX-License-Identifier: MIT */
/* The door's side of the conversation: a call goes out, the broker's questions are answered,
   its result comes back. */
#ifndef TN_DOOR_CONN_H
#define TN_DOOR_CONN_H

#include "broker/ctl.h"
#include "broker/proto.h"

struct tn_answer {
    void *payload; /* of DONE: room for *len bytes */
    size_t *len;   /* may be NULL */
    int fd;        /* descriptor that is not the call's result (views); −1 = none */
};

/*
 * Makes the call on this thread's connection (made now if there is none). The result: ≥ 0 or −errno; −ENOSYS
 * when no broker can be reached. A descriptor that comes back is the result, unless `answer` takes it.
 * payload in two parts, either may be empty.
 */
long tn_door_call(u32 call, u64 number, const void *head, size_t head_len, const void *tail, size_t tail_len,
                  struct tn_answer *answer);

/* May the descriptor stand for an object of the broker that this process speaks with? errno may change. */
bool tn_door_object(int fd, struct tn_ctl_closed *ret);

/* Connects this thread; for tn_door_open. */
int tn_door_connect(struct tn_error *err);

/* Is a host chosen (tn_door_host, or $TENON_HOST)? Each connection is then told of it before its first call. */
bool tn_door_has_host(void);

#endif
