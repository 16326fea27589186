/* SPDX-License-Identifier: MIT */
/*
 * One thread, one epoll, and fibers.
 *
 * A call of bpf(2) is a conversation: the broker asks the door for memory and descriptors, waits for a job,
 * answers. Written as states, every command would be spread over as many functions as it asks questions. So
 * each connection is a fiber: a function on a stack of its own that says tn_loop_wait where it must wait, and
 * is gone on with when that has come, when its time is over, or when the other side has gone. Nothing else
 * ever waits; a door that never answers holds up its own fiber and nobody else.
 *
 * Fibers switch only inside tn_loop_wait. Between two waits a handler has the whole broker for itself, and
 * needs no lock.
 */
#ifndef TN_BROKER_LOOP_H
#define TN_BROKER_LOOP_H

#include "base/base.h"

/* What epoll knows. Owned by whoever embeds it; removed with tn_loop_del before it is released. */
struct tn_source {
    int fd;
    void (*on_ready)(struct tn_source *source, u32 events);
};

struct tn_loop;
int tn_loop_new(struct tn_loop **ret_loop);
void tn_loop_free(struct tn_loop *loop);
int tn_loop_add(struct tn_loop *loop, struct tn_source *source, u32 events);
void tn_loop_del(struct tn_loop *loop, struct tn_source *source);

/* Waits for one event, `timeout_ms` at most (−1: for ever),
   deals with it and with the waits that are over. */
int tn_loop_turn(struct tn_loop *loop, int timeout_ms);

/* Runs fn(arg) as a fiber until its first wait. −ENOMEM when there is no stack for it. */
int tn_loop_spawn(struct tn_loop *loop, void (*fn)(void *arg), void *arg);

/* From a fiber. 0 when `fd` has one of `events` (or has hung up), −ETIMEDOUT after timeout_ms (−1: never).
   fd −1: sleeps. `fd` must not be a source at the same time. */
int tn_loop_wait(struct tn_loop *loop, int fd, u32 events, int timeout_ms);

u64 tn_now_ns(void); /* CLOCK_BOOTTIME */

#endif
