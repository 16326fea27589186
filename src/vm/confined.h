/* SPDX-License-Identifier: MIT */
/*
 * Running a program that has no target (BPF_PROG_TEST_RUN and its kin): in a process of its own that can do
 * nothing but compute and answer.
 *
 *     caller                                  helper process (forked)
 *     tn_confined_start ──fork────────────▶   limits: processor time, no more memory, no files, no
 *                                             descriptors
 *     result and data in one shared           seccomp: the helpers' listed calls, everything else kills
 *     anonymous mapping                       run `repeat` times, write result and data, exit
 *     poll pidfd: readable when it ended ◀──
 *     tn_confined_finish: result, data
 *
 *     the mapping:  │ answer │ context … │ … packet │ guard │      a page each at least; the packet ends at
 *                                                                  the guard, so that one byte too far is a
 *                                                                  fault
 *
 * Never blocks: starting forks, finishing reaps what has ended. What the process wrote is untrusted, it may
 * have been any bytes: sizes are the caller's own, values are values. Refusals: "test_run_time_limit",
 * "test_run_forbidden_call", "test_run_fault", "test_run_died".
 */
#ifndef TN_VM_CONFINED_H
#define TN_VM_CONFINED_H

#include <sys/types.h>

#include "jit/jit.h"

#define TN_CONFINED_MAX_DATA (1u << 20)

/* The 32 bits at `at` of the context become the address of the packet's first byte plus `plus`. */
struct tn_confined_address {
    u32 at;
    s32 plus;
};

struct tn_confined_in {
    const struct tn_program *prog;
    const struct tn_code *code; /* NULL: the interpreter */
    struct tn_map *const *maps; /* this process's views, prog->nmaps of them; shared mappings stay shared */
    const void *ctx;            /* context of the program, copied; it may write to its copy */
    u32 ctx_size;               /* bytes, at most TN_CONFINED_MAX_DATA; 0: the program gets an empty page */
    const void *data; /* a packet, copied to below 4 GiB with nothing readable right behind it; NULL: none */
    u32 data_size;    /* bytes, at most TN_CONFINED_MAX_DATA */
    const struct tn_confined_address *addresses;
    u32 naddresses;
    u32 repeat;   /* runs; 0 means 1 */
    u32 limit_ms; /* processor time of all runs; 0 means 1000 */
    s32 cpu;      /* per-CPU slot that the caller has claimed for it; −1 = none */
};

struct tn_confined {
    pid_t pid;
    int pidfd; /* poll for POLLIN: it has ended */
    void *shared;
    u64 shared_len;
    u32 ctx_size, data_size;
    u8 *data;
};

struct tn_confined_result {
    u64 retval;
    u64 duration_ns; /* mean of one run */
};

/* −ENOMEM, −EAGAIN (no process), −EINVAL. `prog` and what it points to need not outlive the call. */
int tn_confined_start(const struct tn_confined_in *in, struct tn_confined *ret_confined,
                      struct tn_error *err);

/* −EAGAIN while it runs. Otherwise everything is released, whatever the result: 0, or −ETIME (limit), −EACCES
   (system call that is not listed), −EFAULT (memory access), −ECHILD (ended otherwise), or what the engine
   answered; with `err`. On success ret_ctx and ret_data (may be NULL; ctx_size and data_size bytes) get the
   context and the packet as the program left them. */
int tn_confined_finish(struct tn_confined *confined, struct tn_confined_result *ret_result, void *ret_ctx,
                       void *ret_data, struct tn_error *err);

/* Kills it if it runs, and releases everything. Fit for _clean_ and for a struct of zeroes with pidfd −1. */
void tn_confined_abort(struct tn_confined *confined);

#endif
