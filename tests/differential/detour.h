/* SPDX-License-Identifier: MIT */
/*
 * Programs for the entry and exit of the kernel's functions, put to a kernel that does not take them.
 *
 * Some kernels answer EPERM to every BPF_TRACE_FENTRY, BPF_TRACE_FEXIT and BPF_MODIFY_RETURN at the very
 * beginning of PROG_LOAD, before any program is looked at. Their verifier can be asked all the same. With
 * BPF_LSM_MAC as its expected attach type, a tracing program has the same context, typed by the same
 * function's prototype with what it returns behind, the same trust in its arguments and, but for a few, the
 * same helpers; only its result is of no form that the verifier knows, and it gives up with ENOTSUPP at the
 * first exit it comes to. So the program is made a function of one that has no such exit:
 *
 *     main:    call program                            program:  as it was
 *              if r0 == 0 goto +1; r10 = 0             after:    the exception's callback: r0 = 0; exit
 *              r1 = 0; call bpf_throw
 *
 * The second line stands for the result that must be 0; throwing demands, as an exit does, that all was given
 * back. The verifier looks at `after` once everything before it is accepted, and there the exit is the one it
 * gives up at: ENOTSUPP in `after` means accepted.
 */
#ifndef TESTS_DIFFERENTIAL_DETOUR_H
#define TESTS_DIFFERENTIAL_DETOUR_H

#include "tests/differential/recording.h"

struct detour {
    int btf; /* −1: no detour */
    u32 main_id, program_id, other_id, after_id, throw_id;
    bool zero;                /* the result must be 0 */
    u32 global[64], nglobals; /* the program's types of global functions */
};

/* Is it a program of that kind, on a kernel that does not take them, and can it go this way? */
bool detour_needed(const struct rec *rec);
/* Makes the types. −errno. */
int detour_open(struct detour *d, const struct rec *rec);
void detour_close(struct detour *d);
/* The program as it is asked: instructions, functions (the caller frees both). −ENOTTY: it calls what only
   such programs may, or has global functions, whose arguments are told by the attach type. */
int detour_write(const struct detour *d, const struct rec *rec, const struct bpf_insn *insns, u32 n,
                 struct bpf_insn **ret_insns, u32 *ret_n, struct bpf_func_info **ret_funcs, u32 *ret_nfuncs);
/* What the kernel said of that: was the program accepted? */
bool detour_accepted(const char *log);

#define DETOUR_ATTACH BPF_LSM_MAC
#define DETOUR_ERRNO  524 /* ENOTSUPP */

#endif
