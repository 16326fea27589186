/* SPDX-License-Identifier: MIT */
/*
 * What every test of this room needs: a target that is ours, the broker's shared memory, and a hand-assembled
 * program that adds one to the first word of its map. The test process is the broker.
 */
#ifndef TESTS_INJECT_RIG_H
#define TESTS_INJECT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "inject/inject.h"
#include "inject/order.h"
#include "rt/layout.h"
#include "target.h"

struct rig {
    struct tn_shared shared;
    struct tn_inject *inj;
    u8 *gates;
    struct tn_link_stats *stats;
};
void rig_open(struct rig *r);
void rig_close(struct rig *r);

struct victim {
    pid_t pid;
    struct target_shared *sh;
    u64 offset; /* of `hot` in its file */
    char path[4096];
    u64 dev, ino;
};
/* Starts tests/inject's target; waits until it is ready. `limit`: further argument. */
void victim_start(struct victim *v, int threads, int sleepers, const char *mode, const char *limit);
void victim_stop(struct victim *v);
bool victim_alive(const struct victim *v);
/* Lets each of `threads` workers make `n` calls more, and waits for them. */
void victim_calls(struct victim *v, int threads, unsigned long n);

struct counter {
    int map, text;
    u64 *words;
    struct tn_pool_entry pool;
    struct tn_install_map im;
    struct tn_facts facts;
};
/* A program with a map of its own: adds one to words[word] a run. */
void counter_make(struct counter *c, u32 id, u32 word);
/* Another one: what it does once rax has the word's address. */
void counter_of(struct counter *c, u32 id, u32 word, const u8 *code, u32 len);
void counter_drop(struct counter *c);

void spec_for(struct tn_attach_spec *s, const struct victim *v, const struct counter *c, u32 id, u32 link);
/* Offset in a file of a function found by name. */
int find_offset(const char *path, const char *name, u64 *ret_offset);
/* Runs a job to its end, within 10 s. The gate is opened when it succeeded. */
int attach(struct rig *r, const struct tn_attach_spec *s, struct tn_attach_result *res);
int detach(struct rig *r, pid_t pid, u32 link, struct tn_attach_result *res);
int wait_job(struct rig *r, int fd, struct tn_attach_result *res);
/* Bytes of the target's code at `hot`. */
void read_code(const struct victim *v, u8 ret[16]);
u64 count_maps(pid_t pid);
u64 count_fds(pid_t pid);

#endif
