/* SPDX-License-Identifier: MIT */
/*
 * The kernel's own uprobes, where a place cannot be hooked and the user allows it (--fallback=kernel).
 *
 *      a place is refused ── not for what the kernel is better at ──▶ the refusal stands
 *             │ a row of kernel_judge.c
 *             ▼
 *      may the whole object go? ── no, and why ──▶ the refusals stand, with that
 *             │
 *             ▼
 *      the links that were made are taken back, bytes and all; nobody else's patch is near;
 *      the same object is loaded by libbpf into the kernel, every program linked there
 *
 * The whole object or nothing of it: maps are either ours or the kernel's. Its programs have passed our verifier by then.
 * They end with the command: the kernel's links are descriptors that it alone holds.
 *
 * Refused, besides what the kernel refuses: programs of other kinds than uprobe, uretprobe and usdt, single or many; what
 * a policy governs, now or later, since in the kernel nothing confines a program to a class; a place inside a function that
 * is not proved to be an instruction's beginning, where the kernel would write all the same; a function that jumps back to
 * its entry, where each round would count; and returns, where the address on the stack that the kernel changes is somebody's
 * to read: Go's runtime, exceptions.
 */
#ifndef TN_CLI_KERNEL_H
#define TN_CLI_KERNEL_H

#include "cli/attach.h"

/* Is this a reason to refuse that the kernel's uprobes do not have? */
bool tn_kernel_serves(const char *reason);

/* kernel_judge.c: may every program of the object go, for all that can be known while our own links stand? −errno and why. */
int tn_kernel_judge(const struct tn_cli_attach *a, struct tn_error *err);
/* Is what the processes have at the places, and near them, the file's: nobody's patch? */
int tn_kernel_look_around(const struct tn_cli_attach *a, struct tn_error *err);
/* May it be there, says the policy of the file, and of the process (0: all)? */
int tn_kernel_ask(const char *prog, pid_t pid, const char *file, bool done, struct tn_error *err);
/* Where the kernel writes, as offsets in the file; owned by the caller (free). */
int tn_kernel_offsets(const struct tn_place *place, const char *file, u64 **ret_offsets, u32 *ret_n,
                      struct tn_error *err);
bool tn_kernel_is_return(const struct tn_place *place);

/* After tn_cli_attach_all has gathered refusals: the object's programs in the kernel, a->in_kernel set, and what was chosen,
   why, and what it costs told. Fails with no link left. */
int tn_kernel_take(struct tn_cli_attach *a, struct tn_error *err);

/* Notes a link that was made in the kernel (`fd` −1: libbpf has several). */
int tn_kernel_row(struct tn_cli_attach *a, const struct bpf_program *program, const struct tn_place *place,
                  pid_t pid, int fd, struct tn_error *err);
/* Row k as it is now. */
void tn_kernel_look(const struct tn_cli_attach *a, u32 k, struct tn_ctl_link *ret_link);
/* 1: all processes have ended. Negative: the links may not stay. */
int tn_kernel_ended(const struct tn_cli_attach *a, struct tn_error *err);

#endif
