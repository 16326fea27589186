/* SPDX-License-Identifier: MIT */
/*
 * What PROG_LOAD asks beyond itself, answered for a tool without a host, to whom no policy speaks: neither ELF nor YAML files
 * are what this fuzzer is about (dwarf.c and eim.c have them).
 */
#include <errno.h>

#include "broker/broker_int.h"

struct tn_bhost *tn_host_of(struct tn_bbtf *btf)
{
    return NULL;
}

int tn_host_resolve(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog)
{
    return prog->type == BPF_PROG_TYPE_TRACING ? -EINVAL : 0;
}

int tn_policy_begin(struct tn_caller *caller, struct tn_prog *prog, struct tn_policy_ask *ret_ask)
{
    *ret_ask = (struct tn_policy_ask){.authority = tn_authority_all};
    return 0;
}

int tn_policy_end(struct tn_caller *caller, struct tn_prog *prog)
{
    return 0;
}

void tn_policy_journal(struct tn_broker *broker, u32 uid, s32 pid, const char *deed, const char *prog,
                       const char *klass, const char *host, const struct tn_error *refused)
{
}

void tn_granted_free(struct tn_granted *granted) {}

int tn_cmd_raw_tracepoint_open(struct tn_caller *caller, union bpf_attr *attr, u64 attr_addr, u32 attr_size)
{
    return -EINVAL;
}
