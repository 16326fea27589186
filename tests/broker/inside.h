/* SPDX-License-Identifier: MIT */
/*
 * The broker's command handlers in the test's own process, without a door: a tool whose memory are the areas
 * it lends and whose descriptors are the numbers it gives them. What no area covers is −EFAULT, what no
 * number names is −EBADF, as from a real one; nothing ever waits.
 *
 *      inside_open ─▶ ( inside_lend … inside_command … inside_drop )* ─▶ inside_close
 *
 * There is no injector: what attaches is not served here.
 */
#ifndef TESTS_BROKER_INSIDE_H
#define TESTS_BROKER_INSIDE_H

#include "broker/broker_int.h"

#define INSIDE_AREAS 512u
#define INSIDE_FDS   512u

struct inside_area {
    u64 addr, size;
    u8 *data;
};

struct inside {
    struct tn_broker broker;
    struct tn_caller caller;
    struct inside_area area[INSIDE_AREAS];
    u32 nareas;
    int fd[INSIDE_FDS]; /* the tool's descriptors by number; −1: none. Closed by inside_drop. */
};

int inside_open(struct inside *in);
void inside_close(struct inside *in);

/* `size` bytes (zeros without `data`) that the broker may read and write; their address, 0 without memory. */
u64 inside_lend(struct inside *in, const void *data, u64 size);
/* What is there now. NULL where nothing was lent. */
const u8 *inside_look(const struct inside *in, u64 addr);

/* One call of bpf(2) with `attr_size` bytes of attributes (`attr` has as many, TN_ATTR_MAX at most); what the
   broker writes into them is in `attr` afterwards. 0 or −errno; a new descriptor becomes `number`. */
int inside_command(struct inside *in, u32 command, void *attr, u32 attr_size, s32 number);

/* The tool ends: areas and descriptors go, and the broker hears of it. NULL, or what stayed behind. */
const char *inside_drop(struct inside *in);

#endif
