/* SPDX-License-Identifier: MIT */
/*
 * A host: a binary whose types a tool sees as if it were a kernel's module.
 *
 *      vmlinux    small, of our own (vmlinux.c): what programs have in common
 *      the host   split over it: the binary's types, functions, variables
 *
 * One connection has one host (two would clash in names), and processes of it, in which its typed programs
 * are placed. A host is a BTF object like any other, found again by its file; it lives as long as a
 * connection, a program or a descriptor needs it.
 */
#ifndef TN_BROKER_HOST_H
#define TN_BROKER_HOST_H

#include <linux/bpf.h>

#include "broker/object.h"
#include "host/types.h"
#include "rewrite/trampoline.h"

struct tn_caller;
struct tn_ctl_host;

struct tn_bhost {
    struct tn_bbtf btf; /* its view has the vmlinux in front */
    struct tn_btf *base;
    void *base_data;
    u32 base_size;
    struct tn_module *module;    /* of one that tells no types (tn_host_untyped): its symbols */
    struct tn_host_types *types; /* NULL: of one that tells none (tn_host_untyped), and then */
    u8 build_id[32];             /* its build-id */
    u32 build_id_len;
    struct tn_host_policy *policy; /* policy.c's */
    u64 dev, ino, mtime_ns;
    char path[4096];
    char types_path[4096]; /* where a specification names them (`types`), else "" */
    u64 types_dev, types_ino, types_mtime_ns;
    u64 prototypes; /* which ones were added to its types (prototypes.h) */
};

/* The host that a BTF object is; NULL: a tool's own types. Borrowed. */
struct tn_bhost *tn_host_of(struct tn_bbtf *btf);

/* TN_CTL_HOST: the caller's host and its processes from now on. In a fiber: waits for the reader of types. */
int tn_host_choose(struct tn_caller *caller, const struct tn_ctl_host *request);

/* The host of a file, which may not have been chosen by anybody; a reference. In a fiber, as above. */
int tn_host_of_file(struct tn_caller *caller, const char *path, struct tn_bhost **ret);
/* The same for one that tells no types, where none are needed: no functions, no variables, only what all hosts have.
   Nobody finds it again. */
int tn_host_untyped(struct tn_caller *caller, const char *path, struct tn_bhost **ret);
/* The function that holds the byte at `offset` of the file: its name ("" if none is known), and the id of its
 * FUNC. */
void tn_host_function_at(const struct tn_bhost *host, u64 offset, char *ret_name, size_t cap, u32 *ret_id);
/* The function of the host whose type this is; NULL: none, or one of ours. */
const struct tn_host_func *tn_host_func_of(const struct tn_bhost *host, u32 btf_id);
void tn_host_policy_free(struct tn_host_policy *policy);

/* The vmlinux that goes with the caller's host, as a file to read; −ENOENT where he has none. */
int tn_host_vmlinux(struct tn_caller *caller, int *ret_fd);

/*
 * PROG_LOAD: what the program names of the caller's host, if anything. prog->host is set then, calls by type
 * and typed addresses speak of its view (their descriptors become 0), and prog->refs has a row for each thing
 * named.
 */
int tn_host_resolve(struct tn_caller *caller, const union bpf_attr *attr, struct tn_prog *prog);

/* It calls a function by its type, or loads a variable's address. Half a wide load does neither. */
static inline bool tn_insn_names_host(const struct bpf_insn *insn)
{
    if (insn->code == (BPF_LD | BPF_IMM | BPF_DW))
        return insn->src_reg == BPF_PSEUDO_BTF_ID;
    return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_KFUNC_CALL && insn->imm;
}

/* Where a program of type tracing is to be placed. */
struct tn_host_place {
    u64 offset; /* in the host's file */
    bool exit;
    struct tn_typed_args args;
};
int tn_host_place(const struct tn_prog *prog, struct tn_host_place *ret_place, struct tn_error *err);

/* How the program may answer in its function's place. */
enum tn_replace tn_prog_replaces(const struct tn_prog *prog);

#endif
