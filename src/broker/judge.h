/* SPDX-License-Identifier: MIT */
/* What is asked of judge.c; see its head. */
#ifndef TN_BROKER_JUDGE_H
#define TN_BROKER_JUDGE_H

#include "broker/log.h"

#define TN_PROG_MAPS_MAX 64u

/* Programs of this name are judged only, says the caller. */
bool tn_is_judged(const struct tn_caller *caller, const char *name);
/* Verifies what `prog` has gathered: its verdict is filled, the log given. 0, or the errno that Linux would
   answer the refusal with. */
int tn_judge(struct tn_caller *caller, const union bpf_attr *attr, const struct tn_log_attr *log_attr,
             struct tn_prog *prog);

/* What the tools' type identifiers speak of where they have no host: the types of this machine's kernel, which they read
   from the same file. NULL where there are none. Read once. −ENOMEM: asked for again next time. */
int tn_kernel_types(struct tn_broker *broker, const struct tn_btf **ret_types);

/* prog_cmd.c: 0, or −EINVAL with why programs of that type cannot be loaded here. */
int tn_prog_type_served(u32 type, u32 attach_type, struct tn_error *err);

#endif
