/* SPDX-License-Identifier: MIT */
/* How a refusal gets its words; see base.h. */
#include "base/base.h"

#include <stdarg.h>

int tn_fail(struct tn_error *err, int code, const char *reason, const char *fmt, ...)
{
    va_list ap;

    if (!err || err->reason[0])
        return code;

    snprintf(err->reason, sizeof(err->reason), "%s", reason);
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    return code;
}
