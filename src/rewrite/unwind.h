/* SPDX-License-Identifier: MIT */
/*
 * Function ranges out of .eh_frame (LSB Core, "Exception Frames"; DWARF 4, 6.4). Hostile input: every read is
 * checked against the section's end, and a malformed record ends the walk; what was found before it stays.
 *
 * A range whose rules at its first byte are not those of a fresh call (CFA = rsp + 8, nothing saved) cannot
 * be entered by a call: it is a piece of another function.
 */
#ifndef TN_REWRITE_UNWIND_H
#define TN_REWRITE_UNWIND_H

#include "rewrite/plan.h"

struct tn_funcs {
    struct tn_func *at;
    u32 n, cap;
};
/* −ENOMEM. */
int tn_funcs_add(struct tn_funcs *funcs, struct tn_func func);

/* Adds the ranges described by the section's bytes, which stand at `addr`. −ENOMEM, otherwise 0. */
int tn_unwind_functions(const u8 *bytes, u64 len, u64 addr, struct tn_funcs *funcs);

/* Do the rules at `frame` (tn_func.frame) say that the stack pointer stands at the return address when the instruction
   at `addr` runs? What is not understood is a no. */
bool tn_unwind_bare(const struct tn_bytes *frames, u32 frame, u64 addr);

/* Do any rules name a routine that is asked when an exception passes (a personality)? Where what is read makes no sense,
   yes. */
bool tn_unwind_catches(const struct tn_bytes *frames);

/* .eh_frame_hdr: the address of .eh_frame. −ENOEXEC when it does not say. */
int tn_unwind_header(const u8 *bytes, u64 len, u64 addr, u64 *ret_eh_frame);

#endif
