/* SPDX-License-Identifier: MIT */
/* Functions that programs are attached to by type, as a binary's debug information has them. */
#ifndef TN_CLI_TYPED_H
#define TN_CLI_TYPED_H

#include "base/base.h"

/*
 * Why there may be no program of section "fentry/FUNCTION" (fexit, fmod_ret) in `file`: 0 if nothing speaks
 * against it. −ENOENT "no_host_function" with the nearest name; −EOPNOTSUPP with a reason of
 * host/reasons.h; what reading the types said.
 */
int tn_typed_why(const char *file, const char *section, struct tn_error *err);

#endif
