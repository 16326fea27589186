/* SPDX-License-Identifier: MIT */
/* See copy.h. Safe in a signal handler: nothing but system calls and copying. */
#include "door/preload/copy.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* Not libc's: its errno is the tool's, and its syscall is ours. */
static long ask(long nr, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return ret;
}

/* Larger ones, and where the small questions are not answered as expected (a tool's
   own filter of system calls). */
static int by_kernel(long nr, void *ours, u64 theirs, u64 len)
{
    struct iovec local = {ours, len}, remote = {(void *)theirs, len};
    const long pid = ask(SYS_getpid, 0, 0, 0, 0); /* before the registers below are set */
    register long r8 __asm__("r8") = 1;
    register long r9 __asm__("r9") = 0;
    register long r10 __asm__("r10") = (long)&remote;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(pid), "S"(&local), "d"(1), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret == (long)len ? 0 : -EFAULT;
}

/* Not memcpy: a tool that is built with a sanitizer has its own, which objects to what a system call may do,
   such as to look for the end of a string a page at a time. */
static void plain(void *to, const void *from, u64 len)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

/* From here on asking once a page costs more than process_vm_readv. */
#define PLAIN_MAX (8u * TN_PAGE)

int tn_copy_in(void *to, u64 from, u64 len, struct tn_good *good)
{
    u64 last = good ? good->readable : 0;

    if (!len)
        return 0;
    if (from + len < from)
        return -EFAULT;
    if (len > PLAIN_MAX)
        return by_kernel(SYS_process_vm_readv, to, from, len);
    for (u64 at = from; at < from + len; at = (at | (TN_PAGE - 1)) + 1) {
        long r;

        if (at / TN_PAGE + 1 == last)
            continue;
        r = ask(SYS_rt_sigprocmask, 99, (long)(at & ~7ull), 0, 8);
        if (r == -EFAULT)
            return -EFAULT;
        if (r != -EINVAL)
            return by_kernel(SYS_process_vm_readv, to, from, len);
        last = at / TN_PAGE + 1;
    }
    if (good)
        good->readable = last;
    plain(to, (const void *)from, len);
    return 0;
}

int tn_copy_out(u64 to, const void *from, u64 len, struct tn_good *good)
{
    u64 last = good ? good->writable : 0;

    if (!len)
        return 0;
    if (to + len < to)
        return -EFAULT;
    if (len > PLAIN_MAX)
        return by_kernel(SYS_process_vm_writev, (void *)from, to, len);
    for (u64 at = to; at < to + len; at = (at | (TN_PAGE - 1)) + 1) {
        u64 word = TN_MIN(at, to + len - sizeof(u32));
        long r;

        if (at / TN_PAGE + 1 == last)
            continue;
        if (len < sizeof(u32) || !word) /* to getcpu, NULL is nothing to write */
            return by_kernel(SYS_process_vm_writev, (void *)from, to, len);
        r = ask(SYS_getcpu, (long)word, 0, 0, 0);
        if (r == -EFAULT)
            return -EFAULT;
        if (r)
            return by_kernel(SYS_process_vm_writev, (void *)from, to, len);
        last = at / TN_PAGE + 1;
    }
    if (good)
        good->writable = last;
    plain((void *)to, from, len);
    return 0;
}
