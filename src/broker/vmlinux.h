/* SPDX-License-Identifier: MIT */
/* The vmlinux that tools with a host see: see vmlinux.c. */
#ifndef TN_BROKER_VMLINUX_H
#define TN_BROKER_VMLINUX_H

#include "base/base.h"

/* Our function that answers in the place of the one a program is attached to. */
#define TN_REPLACE_NAME "tenon_replace"

/* Raw BTF; the caller frees it. −ENOMEM. */
int tn_vmlinux_make(void **ret_data, u32 *ret_size);

#endif
