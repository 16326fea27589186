/* SPDX-License-Identifier: MIT */
/* Whole reads and writes; see base.h. */
#include "base/base.h"

#include <errno.h>

int tn_pread_all(int fd, void *to, u64 size, u64 offset)
{
    u64 done = 0;

    while (done < size) {
        ssize_t n = pread(fd, (u8 *)to + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -ENODATA;
        done += (u64)n;
    }
    return 0;
}

int tn_write_all(int fd, const void *bytes, u64 size)
{
    u64 done = 0;

    while (done < size) {
        ssize_t n = write(fd, (const u8 *)bytes + done, size - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        done += (u64)n;
    }
    return 0;
}
