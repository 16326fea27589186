/* SPDX-License-Identifier: MIT */
/* In kernel.c's place, and in syscall's (--wrap): a test that asks the kernel as well, but not this time. */
#include <errno.h>

#include "tests/verify/kernel.h"

long __wrap_syscall(long number, ...);

const char *kernel_open(struct kernel *k, const struct tn_verify_map *maps, u32 nmaps)
{
    return "this run is about the verifier alone";
}

void kernel_close(struct kernel *k) {}

bool kernel_accepts(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, char *log,
                    u32 log_size)
{
    return false;
}

bool kernel_log(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, u32 level, char *log,
                u32 log_size)
{
    return false;
}

long __wrap_syscall(long number, ...)
{
    errno = EPERM;
    return -1;
}
