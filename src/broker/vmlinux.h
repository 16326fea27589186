/* SPDX-License-Identifier: MIT */
/* The small vmlinux of processes, and the names of the functions in it that are ours. */
#ifndef TN_BROKER_VMLINUX_H
#define TN_BROKER_VMLINUX_H

#include "base/base.h"

/* Our function that answers in the place of the one a program is attached to. */
#define TN_REPLACE_NAME        "tenon_replace"
/* … and that copies the bytes of a buffer of the host's (include/tenon/extension.h). */
#define TN_COPY_NAME           "tenon_copy"
/* Linux's, of sessions. */
#define TN_SESSION_RETURN_NAME "bpf_session_is_return"
#define TN_SESSION_COOKIE_NAME "bpf_session_cookie"

/* Before the name of a raw tracepoint in that of its type. */
#define TN_TRACEPOINT_PREFIX "btf_trace_"

/* Raw BTF; the caller frees it. −ENOMEM. */
int tn_vmlinux_make(void **ret_data, u32 *ret_size);

#endif
