/* SPDX-License-Identifier: MIT */
/*
 * The interpreter: the meaning of every instruction, written to be read, and the oracle the JIT is held
 * against (RFC 9669). It runs verified programs only, and checks nothing but its own budget.
 */
#ifndef TN_VM_H
#define TN_VM_H

#include "jit/jit.h"

/* Runs `prog` with `maps` (this process's views, as many as prog->nmaps). −ETIME when more than `budget`
   instructions were run (0: no limit), else 0 and R0. */
int tn_vm_run(const struct tn_program *prog, struct tn_map *const *maps, void *ctx, struct tn_run *run,
              u64 budget, u64 *ret_r0);

#endif
