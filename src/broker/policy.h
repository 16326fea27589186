/* SPDX-License-Identifier: MIT */
/*
 * What the operator wrote down, applied.
 *
 *      /etc/tenon/policy.d                   root's: for every broker of the machine
 *      $XDG_CONFIG_HOME/tenon/policy.d       a user's own, for his own broker
 *      $TENON_POLICY                         instead of the latter: files and folders, parted by colons
 *      the host's own notes (<tenon/eim.h>)  what its developers offer, where no file says it
 *
 *   PROG_LOAD     a program's class: the one it names (tn_ctl_options.klass, or its declaration tag
 *                 "eim:class=NAME"), else the built-in one of its kind. The class is the authority the
 *                 verifier asks. What was asked is kept.
 *   LINK_CREATE   is the place the class's? A program that was loaded before anybody knew its host is held
 *                 against the class here, by what it was seen to ask.
 *   a change      files are read again; links that no longer fit are detached, and told in the journal
 *
 * A host that no file names is not governed: its user may do to his own processes what ptrace would let him.
 * A policy with a mistake applies in no part: until it is mended, nothing more is admitted to governed hosts,
 * and what is attached stays.
 */
#ifndef TN_BROKER_POLICY_H
#define TN_BROKER_POLICY_H

#include "eim/eim.h"

struct tn_broker;
struct tn_host_types;
struct tn_caller;
struct tn_policy;
struct tn_perf;
struct tn_prog;
struct tn_ctl_uses;

/* Reads what is there now, and watches it. Never NULL on success; a mistake in a file is kept and told when
 * it matters. */
int tn_policy_new(struct tn_broker *broker, struct tn_policy **ret);
void tn_policy_free(struct tn_policy *policy);

/* What a program was found to need, and under which class; kept with it. */
struct tn_granted {
    char klass[64];    /* "": its host is not governed, or was not known */
    bool typed, known; /* known: uses are those of the host's types */
    u64 text, stack;   /* bytes, of one that was judged only */
    struct tn_eim_uses uses;
};
void tn_granted_free(struct tn_granted *granted);

/* A verification's authority, on the stack of whoever verifies: ask.authority is passed to the verifier. */
struct tn_policy_ask {
    const struct tn_class *klass; /* NULL: not governed */
    struct tn_asker asker;
    struct tn_authority by_class, recorder, authority;
    struct tn_granted *granted;
    const struct tn_bhost *host;  /* NULL: none */
    const struct tn_bound *bound; /* of the host, where there is one, and … */
    u32 entry;                    /* … the function that the program is attached to */
};

/* Before a program is verified. −EACCES with caller->why where its class refuses it already: no such class,
   another user's, another entry's. Fills prog->granted and *ret_ask, which the verification may use as long
   as neither moves. */
int tn_policy_begin(struct tn_caller *caller, struct tn_prog *prog, struct tn_policy_ask *ret_ask);
/* After it was accepted and compiled: memory, answers. */
int tn_policy_end(struct tn_caller *caller, struct tn_prog *prog);

/* What it asked, and what it needs as a whole; rows from `from` on, with their places in its source. */
void tn_policy_uses(const struct tn_prog *prog, u32 from, struct tn_ctl_uses *ret);

/* May the program be linked there? `file`: the place's; `function`: its name if known, or NULL. */
int tn_policy_place(struct tn_caller *caller, struct tn_prog *prog, const struct tn_perf *place);

/* May a program be put there by the kernel's own means, where no class confines it? Only where nobody governs.
   `done`: it is there now, and the journal has it; a refusal it has in any case. −EACCES "kernel_governed". */
int tn_policy_kernel(struct tn_caller *caller, const char *prog, const char *path, bool done);

/* What specifications say of the functions of a binary: `*ret` tells one such saying from another. With
   `types`, read of `fd`, what only they say is added to those. As tn_prototypes_add. */
int tn_policy_prototypes(struct tn_broker *broker, int fd, const char *binary, struct tn_host_types *types,
                         u64 *ret, struct tn_error *err);

/* The file that some specification names for the types of a binary: −1 in *ret_fd where none does, and `ret`
   is "". Whoever may write it may have typed programs read anything: so it is held to what policy files are.
   −EINVAL "policy_types", −EPERM "policy_file", or the errno of open. */
int tn_policy_types(struct tn_broker *broker, const char *binary, char ret[4096], int *ret_fd,
                    struct tn_error *err);

/* One line of the journal: who did what, and what came of it. */
/* Where it is written for the broker of this user. −ENOENT, −ENAMETOOLONG. */
int tn_journal_path(u32 uid, char *ret_path, size_t cap);
void tn_policy_journal(struct tn_broker *broker, u32 uid, s32 pid, const char *deed, const char *prog,
                       const char *klass, const char *host, const struct tn_error *refused);

#endif
