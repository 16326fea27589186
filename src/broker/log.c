/* SPDX-License-Identifier: MIT */
/* See log.h. */
#include "broker/log.h"

#include <errno.h>

int tn_log_attr_check(u32 level, u32 size, u64 buf)
{
    if (!buf != !size || (buf && !level) || (level & ~(TN_LOG_LEVELS | TN_LOG_FIXED)) ||
        size > UINT32_MAX >> 2)
        return -EINVAL;
    return 0;
}

int tn_log_write(struct tn_caller *caller, u32 level, u64 buf, u32 size, const char *text, u64 len,
                 u32 *ret_true_size)
{
    static const char nul = '\0';
    u64 keep = size ? TN_MIN(len, (u64)size - 1) : 0;
    int r;

    if (ret_true_size && level)
        *ret_true_size = (u32)TN_MIN(len + 1, (u64)UINT32_MAX);
    if (!level || !buf)
        return 0;
    r = caller->ops->write(caller, buf, level & TN_LOG_FIXED ? text : text + (len - keep), keep);
    if (!r)
        r = caller->ops->write(caller, buf + keep, &nul, 1);
    if (r)
        return r;
    return keep < len ? -ENOSPC : 0;
}
