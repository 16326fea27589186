/* SPDX-License-Identifier: MIT */
/* How a refusal gets its words; see base.h. */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>

/* What to do about a shortage, said here once: it can meet every place that opens something. */
static const char *advice(int code)
{
    switch (code) {
    case -EMFILE:
        return " (no descriptor is free in the process: raise RLIMIT_NOFILE)";
    case -ENFILE:
        return " (no descriptor is free in the system: see /proc/sys/fs/file-max)";
    default:
        return "";
    }
}

int tn_fail(struct tn_error *err, int code, const char *reason, const char *fmt, ...)
{
    va_list ap;
    size_t used;

    if (!err || err->reason[0])
        return code;

    snprintf(err->reason, sizeof(err->reason), "%s", reason);
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof(err->message), fmt, ap);
    va_end(ap);
    used = strlen(err->message);
    if (!strstr(err->message, "escriptor"))
        snprintf(err->message + used, sizeof(err->message) - used, "%s", advice(code));
    return code;
}
