/* SPDX-License-Identifier: MIT */
/*
 * The log of BPF_PROG_LOAD and BPF_BTF_LOAD: text into a buffer of the caller's, with Linux's rules. A buffer
 * that is too small gets the end of the text (the verdict stands there), or its beginning with level bit 8,
 * always with a final NUL; the call then fails with −ENOSPC whatever the verdict, and log_true_size says what
 * would have done. verify/log.h keeps the window; here it is handed over.
 */
#ifndef TN_BROKER_LOG_H
#define TN_BROKER_LOG_H

#include "broker/broker_int.h"
#include "verify/log.h"

#define TN_LOG_LEVELS (TN_LOG_PATH | TN_LOG_ALL | TN_LOG_STATS)

struct tn_log_attr {
    u32 level, size;
    u64 buf;
    u64 true_size_at; /* address of the attribute that is told the true size; 0: there is none */
};

int tn_log_attr_check(const struct tn_log_attr *attr);
/* What tn_log_open and tn_verify want to know: never 0, and not more than is kept. */
static inline u64 tn_log_window(const struct tn_log_attr *attr)
{
    return attr->size ? TN_MIN(attr->size, TN_LOG_MAX) : 1;
}
/* Hands over `text`, which is what of `true_size` bytes (final NUL included) fits; 0, −ENOSPC, or what the
   caller's memory said. */
int tn_log_give(struct tn_caller *caller, const struct tn_log_attr *attr, const char *text, u64 len,
                u64 true_size);
/* The same of a log that nothing but this broker wrote; it is empty afterwards. −ENOMEM too. */
int tn_log_close(struct tn_caller *caller, const struct tn_log_attr *attr, struct tn_log *log);
/* One line, for what is refused before there is a verifier. */
void tn_log_line(struct tn_caller *caller, const struct tn_log_attr *attr, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
