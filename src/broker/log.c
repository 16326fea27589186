/* SPDX-License-Identifier: MIT */
/* See log.h. */
#include "broker/log.h"

#include <errno.h>

int tn_log_attr_check(const struct tn_log_attr *attr)
{
    if (!attr->buf != !attr->size || (attr->buf && !attr->level) ||
        (attr->level & ~(TN_LOG_LEVELS | TN_LOG_FIXED)) || attr->size > UINT32_MAX >> 2)
        return -EINVAL;
    return 0;
}

int tn_log_give(struct tn_caller *caller, const struct tn_log_attr *attr, const char *text, u64 len,
                u64 true_size)
{
    const u32 told = (u32)TN_MIN(true_size, (u64)UINT32_MAX);
    u64 keep = attr->size ? TN_MIN(len, (u64)attr->size - 1) : 0;
    int r = 0, told_r = 0;

    if (attr->level && attr->buf && true_size) {
        if (!(attr->level & TN_LOG_FIXED))
            text += len - keep;
        r = caller->ops->write(caller, attr->buf, text, keep);
        if (!r)
            r = caller->ops->write(caller, attr->buf + keep, "", 1);
    }
    if (attr->true_size_at) /* told even where the buffer cannot be written */
        told_r = caller->ops->write(caller, attr->true_size_at, &told, sizeof(told));
    r = r ? r : told_r;
    if (r)
        return r;
    return attr->buf && true_size > attr->size ? -ENOSPC : 0;
}

int tn_log_close(struct tn_caller *caller, const struct tn_log_attr *attr, struct tn_log *log)
{
    u64 len, max = log->max;
    _free_ char *text = tn_log_take(log, &len);

    if (log->no_memory)
        return -ENOMEM;
    return tn_log_give(caller, attr, text, len, max);
}

void tn_log_line(struct tn_caller *caller, const struct tn_log_attr *attr, const char *fmt, ...)
{
    struct tn_log log = {0};
    char line[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    tn_log_open(&log, attr->level, tn_log_window(attr));
    tn_log_add(&log, "%s\n", line);
    (void)tn_log_close(caller, attr, &log);
}
