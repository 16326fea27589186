/* SPDX-License-Identifier: MIT */
/* The kernel's verifier, asked the same questions through bpf(2). Needs root. */
#ifndef TESTS_VERIFY_KERNEL_H
#define TESTS_VERIFY_KERNEL_H

#include "verify/verify.h"

#define KERNEL_MAX_MAPS 16

struct kernel {
    int map[KERNEL_MAX_MAPS];
    u32 nmaps;
    /* Set by whoever has more to say of a program than its instructions; func_info_cnt 0: nothing. */
    int btf;
    const struct bpf_func_info *func_info;
    u32 func_info_cnt;
};

/* NULL, or why the kernel cannot be asked. */
const char *kernel_open(struct kernel *k, const struct tn_verify_map *maps, u32 nmaps);
void kernel_close(struct kernel *k);
/* Map indices are replaced by the kernel's descriptors. `log` gets its words when it refuses. */
bool kernel_accepts(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, char *log,
                    u32 log_size);
/* The same at a log level of one's choice; `log` gets its words whatever the verdict. */
bool kernel_log(const struct kernel *k, u32 type, const struct bpf_insn *insns, u32 n, u32 level, char *log,
                u32 log_size);

#endif
