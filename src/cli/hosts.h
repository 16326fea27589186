/* SPDX-License-Identifier: MIT */
/*
 * A host as spec and policy look at it: its file, its annotations, its types as the broker numbers them
 * (split over vmlinux), and what files say of it. Nothing runs, and no broker is asked.
 */
#ifndef TN_CLI_HOSTS_H
#define TN_CLI_HOSTS_H

#include <limits.h>

#include "broker/policy_files.h"
#include "host/types.h"

struct tn_cli_host {
    char file[PATH_MAX];
    struct tn_notes notes;
    struct tn_host_types *types; /* NULL: it has none, and no_types says so */
    struct tn_error no_types;
    void *base_data, *data;
    struct tn_btf *base, *btf; /* btf: the host's; of a host without types only vmlinux's */
    char build_id[2 * TN_HOST_BUILD_ID_MAX + 1];
};
struct tn_cli_host_opts {
    const char *debug, *types; /* a debug file; what has its types: C text, BTF, an object; NULL */
    const char *const *flags;  /* of the compiler, for C text */
    u32 nflags;
    char *const *paths; /* files and folders whose `types` counts; n 0: those of the policy that applies */
    u32 npaths;
    const char *name; /* which host of theirs it is; NULL: the one that has the binary's path or name */
    bool need_types;
};
bool tn_cli_is_elf(const char *path);
bool tn_cli_is_btf(const char *path);
/* C text compiled (its complaints go to standard error), anything else opened; *ret_declared as in stub.h. */
int tn_cli_types_open(const struct tn_cli_host_opts *opts, int *ret_fd, bool *ret_declared,
                      struct tn_error *err);
/* The file, absolute: of this folder, or as a place names it (place.h). */
int tn_cli_host_file(const char *binary, char ret_file[PATH_MAX], struct tn_error *err);
int tn_cli_host_open(const char *binary, const struct tn_cli_host_opts *opts, struct tn_cli_host *ret,
                     struct tn_error *err);
void tn_cli_host_close(struct tn_cli_host *host);

/* What files say, and of `host` (NULL: none) its annotations. */
struct tn_cli_policy {
    struct tn_policy_files files;
    struct tn_eim *eim;
    struct tn_bound *bound; /* NULL: no host, one without types, or only read */
    char name[64];          /* of the host */
};
/* paths: files and folders; n 0: those that apply to this user's broker. Names must be there. */
int tn_cli_policy_files(char *const *paths, u32 n, struct tn_policy_files *ret, struct tn_error *err);
/* Takes `files`. Nothing is bound. */
int tn_cli_policy_read(struct tn_policy_files *files, const struct tn_cli_host *host,
                       struct tn_cli_policy *ret, struct tn_error *err);
/* Is the specification of the build that the host is? Of a host without types that is not known. */
int tn_cli_check_build(const struct tn_cli_host *host, const struct tn_eim *eim, const char *name,
                       struct tn_error *err);
/* The same, bound where the host has types. */
int tn_cli_policy_open(char *const *paths, u32 n, const struct tn_cli_host *host, struct tn_cli_policy *ret,
                       struct tn_error *err);
void tn_cli_policy_close(struct tn_cli_policy *policy);

/* What an item of the specification names: is it there, and may it be used? 0, or −ENOENT, −EOPNOTSUPP with
   `err` filled. */
int tn_cli_item_there(const struct tn_cli_host *host, const struct tn_eim_item *item, struct tn_error *err);
/* The prototype, written or of the types, to be freed; NULL: not known. */
char *tn_cli_item_prototype(const struct tn_cli_host *host, const struct tn_eim_item *item);
extern const char *const tn_cli_item_kinds[]; /* "entry", "function", "state", "class" */

#endif
