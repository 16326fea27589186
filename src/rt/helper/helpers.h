/* SPDX-License-Identifier: MIT */
/*
 * One row a helper: the only place that knows its number, its types and what running it needs. The verifier
 * proves arguments by these rows, the JIT and the interpreter call by them, the agent exports by them, the
 * broker refuses by name what has no row.
 *
 * H(id, name, ret, a1, a2, a3, a4, a5, flags)
 *   id      number of the bpf(2) interface; the C function is tn_helper_<name>
 *   ret     TN_RET_*
 *   a1…a5   TN_ARG_*
 *   flags   TN_HF_*
 */
#ifndef TN_RT_HELPERS_H
#define TN_RT_HELPERS_H

#include "rt/layout.h"

enum tn_arg {
    TN_ARG_NONE,
    TN_ARG_ANY,         /* any initialised scalar or pointer */
    TN_ARG_SCALAR,      /* any initialised scalar */
    TN_ARG_CTX,         /* the program's context, unmodified */
    TN_ARG_MAP,         /* constant map pointer; the type must be among the helper's maps (map type rows) */
    TN_ARG_MAP_KEY,     /* readable memory of the map's key_size */
    TN_ARG_MAP_VALUE,   /* readable memory of the map's value_size */
    TN_ARG_MEM_RD,      /* readable memory, sized by the next argument */
    TN_ARG_MEM_RD_NULL, /* the same or NULL */
    TN_ARG_MEM_WR,      /* writable memory, need not be initialised, sized by the next argument */
    TN_ARG_SIZE,        /* size of the argument before, > 0 */
    TN_ARG_SIZE0,       /* size of the argument before, 0 allowed */
    TN_ARG_RINGBUF_MEM, /* what ringbuf_reserve returned, known non-null; the reference ends here */
    TN_ARG_CONST_SIZE,  /* known constant: allocation size */
    TN_ARG_FUNC,        /* a function of the program, to be called back */
    TN_ARG_CONST_STR,   /* NUL-terminated constant string in a read-only map (not used by trace_printk:
                           it takes MEM_RD) */
};

enum tn_ret {
    TN_RET_SCALAR,
    TN_RET_VOID,
    TN_RET_MAP_VALUE_OR_NULL,   /* pointer to the value of argument 1's map */
    TN_RET_RINGBUF_MEM_OR_NULL, /* acquires a reference; size is the CONST_SIZE argument */
};

enum tn_helper_flag {
    TN_HF_RUN = 1 << 0, /* reads its `run` argument: the JIT must pass r12 in r9 */
    TN_HF_PERCPU =
        1 << 1, /* touches per-CPU data whatever the map is: the run claims a slot before it starts */
    TN_HF_SYSCALL = 1 << 2,       /* may make a system call in the target (rt/syscalls.h) */
    TN_HF_GPL = 1 << 3,           /* Linux gives it to GPL-compatible programs only, and so do we */
    TN_HF_READS_PROCESS = 1 << 4, /* takes an untyped host address: authority question TN_ACCESS_PROCESS */
    TN_HF_ROUNDS =
        1 << 5, /* calls back: the C function is the step of a loop, given a struct tn_rounds (rt/rounds.h) */
    TN_HF_READS_STACK = 1 << 6, /* follows the host's frames wherever they lead */
};

#define TN_HELPERS(H)                                                                                        \
    H(1, map_lookup_elem, MAP_VALUE_OR_NULL, MAP, MAP_KEY, NONE, NONE, NONE, TN_HF_RUN)                      \
    H(2, map_update_elem, SCALAR, MAP, MAP_KEY, MAP_VALUE, SCALAR, NONE, TN_HF_RUN)                          \
    H(3, map_delete_elem, SCALAR, MAP, MAP_KEY, NONE, NONE, NONE, TN_HF_RUN)                                 \
    H(4, probe_read, SCALAR, MEM_WR, SIZE0, ANY, NONE, NONE,                                                 \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_PROCESS)                                           \
    H(5, ktime_get_ns, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)                      \
    H(6, trace_printk, SCALAR, MEM_RD, SIZE, ANY, ANY, ANY, TN_HF_RUN | TN_HF_GPL)                           \
    H(7, get_prandom_u32, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)                   \
    H(8, get_smp_processor_id, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN)                              \
    H(14, get_current_pid_tgid, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)             \
    H(15, get_current_uid_gid, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)              \
    H(16, get_current_comm, SCALAR, MEM_WR, SIZE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)               \
    H(27, get_stackid, SCALAR, CTX, MAP, SCALAR, NONE, NONE,                                                 \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_STACK)                                             \
    H(45, probe_read_str, SCALAR, MEM_WR, SIZE0, ANY, NONE, NONE,                                            \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_PROCESS)                                           \
    H(58, override_return, SCALAR, CTX, SCALAR, NONE, NONE, NONE, TN_HF_RUN | TN_HF_GPL)                     \
    H(67, get_stack, SCALAR, CTX, MEM_WR, SIZE0, SCALAR, NONE,                                               \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_STACK)                                             \
    H(112, probe_read_user, SCALAR, MEM_WR, SIZE0, ANY, NONE, NONE,                                          \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_PROCESS)                                           \
    H(113, probe_read_kernel, SCALAR, MEM_WR, SIZE0, ANY, NONE, NONE,                                        \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_PROCESS)                                           \
    H(114, probe_read_user_str, SCALAR, MEM_WR, SIZE0, ANY, NONE, NONE,                                      \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_PROCESS)                                           \
    H(115, probe_read_kernel_str, SCALAR, MEM_WR, SIZE0, ANY, NONE, NONE,                                    \
      TN_HF_RUN | TN_HF_SYSCALL | TN_HF_GPL | TN_HF_READS_PROCESS)                                           \
    H(125, ktime_get_boot_ns, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)               \
    H(130, ringbuf_output, SCALAR, MAP, MEM_RD, SIZE0, SCALAR, NONE, TN_HF_RUN | TN_HF_SYSCALL)              \
    H(131, ringbuf_reserve, RINGBUF_MEM_OR_NULL, MAP, CONST_SIZE, SCALAR, NONE, NONE, TN_HF_RUN)             \
    H(132, ringbuf_submit, VOID, RINGBUF_MEM, SCALAR, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)           \
    H(133, ringbuf_discard, VOID, RINGBUF_MEM, SCALAR, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)          \
    H(134, ringbuf_query, SCALAR, MAP, SCALAR, NONE, NONE, NONE, TN_HF_RUN)                                  \
    H(160, ktime_get_coarse_ns, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)             \
    H(164, for_each_map_elem, SCALAR, MAP, FUNC, ANY, SCALAR, NONE, TN_HF_RUN | TN_HF_ROUNDS)                \
    H(173, get_func_ip, SCALAR, CTX, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_GPL)                          \
    H(174, get_attach_cookie, SCALAR, CTX, NONE, NONE, NONE, NONE, TN_HF_RUN)                                \
    H(181, loop, SCALAR, SCALAR, FUNC, ANY, SCALAR, NONE, TN_HF_ROUNDS)                                      \
    H(208, ktime_get_tai_ns, SCALAR, NONE, NONE, NONE, NONE, NONE, TN_HF_RUN | TN_HF_SYSCALL)

enum tn_helper_id {
#define H(id, name, ...) TN_HELPER_##name = id,
    TN_HELPERS(H)
#undef H
        TN_HELPER_MAX = 212, /* numbers above are refused without looking */
};

#define H(id, name, ...) u64 tn_helper_##name(u64, u64, u64, u64, u64, struct tn_run *);
TN_HELPERS(H)
#undef H

#ifndef TN_FREESTANDING
struct tn_helper {
    u32 id;
    const char *name; /* without the leading "bpf_" */
    u8 ret;           /* enum tn_ret */
    u8 arg[5];        /* enum tn_arg */
    u32 flags;
    tn_helper_fn fn; /* the hosted build's own */
};
/* NULL where there is no such helper. Static lifetime. */
const struct tn_helper *tn_helper_by_id(u32 id);
#endif
#endif
