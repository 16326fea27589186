/* SPDX-License-Identifier: MIT */
/*
 * The log of BPF_PROG_LOAD and BPF_BTF_LOAD: text into a buffer of the caller's, with Linux's rules. A buffer
 * that is too small gets the end of the text (the verdict stands there), or its beginning with TN_LOG_FIXED,
 * always with a final NUL; the call then fails with −ENOSPC whatever the verdict, and log_true_size says what
 * would have done.
 */
#ifndef TN_BROKER_LOG_H
#define TN_BROKER_LOG_H

#include "broker/broker_int.h"

#define TN_LOG_LEVELS 7u
#define TN_LOG_FIXED  8u

int tn_log_attr_check(u32 level, u32 size, u64 buf);
/* 0, −ENOSPC, or what the caller's memory said. *ret_true_size (may be NULL): bytes needed. */
int tn_log_write(struct tn_caller *caller, u32 level, u64 buf, u32 size, const char *text, u64 len,
                 u32 *ret_true_size);

#endif
