/* SPDX-License-Identifier: MIT */
/*
 * Reading memory of the host that may not be there: by loads whose faults are ours (rt/loads.h), or, without a
 * fault, by process_vm_readv of the process itself: about a microsecond, exact in every state of signals and
 * masks. One range needs no question: from this very stack frame to the end of the page in which the run's
 * record lies, for that is this thread's stack, touched and above its pointer.
 *
 * As in Linux a failure leaves the destination all zero.
 *
 * Writing goes by process_vm_writev, which keeps to what the process itself may write.
 */
#include <asm/errno.h>

#include "rt/helper/helpers.h"
#include "rt/loads.h"
#include "rt/mem.h"
#include "rt/probe.h"
#include "rt/self.h"

#define CHUNK     256u /* of a string, at most: strings are short, and what follows may be unreadable */
#define STACK_MAX (64u << 10) /* beyond that the run is not on this stack */

static bool on_own_stack(u64 addr, u64 size, const struct tn_run *run)
{
    u64 sp = (u64)__builtin_frame_address(0);
    u64 end = TN_ROUND_UP((u64)(run + 1), (u64)TN_PAGE);

    return (u64)run > sp && (u64)run - sp < STACK_MAX && addr >= sp && addr < end && size <= end - addr;
}

static int __attribute__((noinline)) read_slowly(void *dst, u64 size, u64 addr, const struct tn_run *run)
{
    struct {
        u64 base, len;
    } local = {(u64)dst, size}, remote = {addr, size};

    if (!size)
        return 0;
    if (tn_loads(run, addr, size, true))
        return (int)tn_load_copy(dst, addr, size);
    if (on_own_stack(addr, size, run)) {
        memmove(dst, (const void *)addr, size);
        return 0;
    }
    if (TN_CALL(run->proc, process_vm_readv, tn_self_pid(run->proc), &local, 1, &remote, 1, 0) != (s64)size) {
        memset(dst, 0, size);
        return -EFAULT;
    }
    return 0;
}

int tn_probe_read(void *dst, u64 size, u64 addr, const struct tn_run *run)
{
    return TN_LIKELY(tn_loads(run, addr, size, false)) ? (int)tn_load_copy(dst, addr, size)
                                                       : read_slowly(dst, size, addr, run);
}

bool tn_probe_own_frames(u64 addr, u64 size, const struct tn_run *run)
{
    u64 sp = (u64)__builtin_frame_address(0), end = (u64)(run + 1);

    return end > sp && end - sp < STACK_MAX && addr < end && (addr >= sp || size > sp - addr);
}

int tn_probe_write(u64 addr, const void *src, u64 size, const struct tn_run *run)
{
    struct {
        u64 base, len;
    } local = {(u64)src, size}, remote = {addr, size};

    if (!size)
        return 0;
    if (tn_probe_own_frames(addr, size, run))
        return -EFAULT;
    if (TN_CALL(run->proc, process_vm_writev, tn_self_pid(run->proc), &local, 1, &remote, 1, 0) != (s64)size)
        return -EFAULT;
    return 0;
}

static s64 __attribute__((noinline)) read_str_slowly(char *dst, u64 size, u64 addr, const struct tn_run *run)
{
    for (u64 done = 0; done < size;) {
        u64 from = addr + done;
        u64 n = TN_MIN(TN_MIN(size - done, (u64)CHUNK), TN_PAGE - from % TN_PAGE);

        if (read_slowly(dst + done, n, from, run) < 0) {
            memset(dst, 0, size);
            return -EFAULT;
        }
        for (u64 i = 0; i < n; i++)
            if (!dst[done + i]) {
                memset(dst + done + i, 0, n - i);
                return (s64)(done + i + 1);
            }
        done += n;
    }
    if (size)
        dst[size - 1] = 0;
    return (s64)size;
}

s64 tn_probe_read_str(char *dst, u64 size, u64 addr, const struct tn_run *run)
{
    return TN_LIKELY(size && tn_loads(run, addr, size, false)) ? tn_load_str(dst, addr, size)
                                                               : read_str_slowly(dst, size, addr, run);
}

u64 tn_helper_probe_read_user(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return TN_LIKELY(tn_loads(run, r3, r2, false)) ? (u64)tn_load_copy((void *)r1, r3, r2)
                                                   : (u64)(s64)read_slowly((void *)r1, r2, r3, run);
}

u64 tn_helper_probe_read_user_str(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)
{
    return TN_LIKELY(r2 && tn_loads(run, r3, r2, false)) ? (u64)tn_load_str((char *)r1, r3, r2)
                                                         : (u64)read_str_slowly((char *)r1, r2, r3, run);
}

/* A host's types take the place of a kernel's, and its memory that of the kernel: what walks through them with
   BPF_CORE_READ means the process. libbpf writes "kernel" and, to be understood by old kernels, no word at all. */
#define SAME(name, as)                                                                                       \
    u64 tn_helper_##name(u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, struct tn_run *run)                         \
    {                                                                                                        \
        return tn_helper_##as(r1, r2, r3, r4, r5, run);                                                      \
    }
SAME(probe_read, probe_read_user)
SAME(probe_read_kernel, probe_read_user)
SAME(probe_read_str, probe_read_user_str)
SAME(probe_read_kernel_str, probe_read_user_str)
