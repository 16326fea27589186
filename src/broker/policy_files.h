/* SPDX-License-Identifier: MIT */
/*
 * Which files are the policy, and what they say: policy.h has the places. Nothing is applied here.
 */
#ifndef TN_BROKER_POLICY_FILES_H
#define TN_BROKER_POLICY_FILES_H

#include <sys/stat.h>

#include "eim/eim.h"

#define TN_POLICY_PLACES 256u

struct tn_policy_file {
    char *name, *text;
    u64 len;
};
struct tn_policy_files {
    u32 uid;                       /* whose they may be, besides root's */
    char *place[TN_POLICY_PLACES]; /* files and folders, in order of precedence for messages only */
    u32 nplaces;
    const char *home; /* of the places: the one that is the user's by his environment; NULL: none */
    struct tn_policy_file *file; /* by name */
    u32 n;
};

/* Those that apply to the broker of `uid`. −ENOMEM, −E2BIG. */
int tn_policy_places(u32 uid, struct tn_policy_files *files);
/* One more, or of an empty one (its uid set): the first. */
int tn_policy_place_add(struct tn_policy_files *files, const char *path);
/* A file that says what is trusted: of root's or the user's, and written by nobody else. */
int tn_policy_file_open(u32 uid, const char *path, struct stat *ret_st, int *ret_fd, struct tn_error *err);
/* What a specification says has the types of this host (`types`): its path, and it opened; −1: nothing. C
   text is refused with the command that makes types of it (policy_types). */
int tn_policy_files_types(const struct tn_eim *names, u32 uid, const char *binary, char ret[4096],
                          int *ret_fd, struct tn_error *err);
/* A place that is not there is an empty one. A file that others could have written is refused (policy_file). */
int tn_policy_files_read(struct tn_policy_files *files, struct tn_error *err);
void tn_policy_files_clear(struct tn_policy_files *files);

/* What the files say, and with `notes` what the host's developers offer, where no file does (a specification that was
   extracted from the notes stands in their place). Without a host: what can be known before one is seen. As tn_eim_read. */
int tn_policy_files_eim(const struct tn_policy_files *files, const struct tn_notes *notes, const char *host,
                        struct tn_eim **ret, struct tn_error *err);
/* The annotations of a binary. As tn_notes_read, or the errno of open. */
int tn_policy_notes(const char *path, struct tn_notes *ret, struct tn_error *err);
/* The name under which files speak of a binary: the one that says its path, else that of the file. */
void tn_policy_host_name(const struct tn_eim *names, const char *path, char ret[64]);

#endif
