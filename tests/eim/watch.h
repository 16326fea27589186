/* SPDX-License-Identifier: MIT */
/* What the interpreter tells soundness.c, which builds it once more. */
#ifndef TEST_EIM_WATCH_H
#define TEST_EIM_WATCH_H

#include <linux/bpf.h>

#include "rt/helper/helpers.h"

void watch_begin(void *frames, u64 bytes);
void watch_step(u32 insn, const struct bpf_insn *in, const u64 *r);
bool watch_load(u64 addr, u8 bytes);
void watch_store(u64 addr, u8 bytes);
int watch_symbol(const struct bpf_insn *in, u64 *ret);
int watch_kfunc(const struct bpf_insn *in, u64 *r);
bool watch_helper(const struct tn_helper *helper, u64 *r);

#endif
