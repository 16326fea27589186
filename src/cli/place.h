/* SPDX-License-Identifier: MIT */
/*
 * Where a program wants to go, as its section name says it:
 *
 *     uprobe/PATH:FUNCTION+OFFSET        before the instruction there
 *     uretprobe/PATH:FUNCTION            before FUNCTION returns to its caller
 *
 * PATH is a file, or a name without a slash: a program of $PATH or a library; with a process, what that
 * process has mapped under this name.
 */
#ifndef TN_CLI_PLACE_H
#define TN_CLI_PLACE_H

#include <limits.h>
#include <sys/types.h>

#include "base/base.h"

/* S(section, exit, summary): what stands before the slash. */
// clang-format off
#define TN_SECTIONS(S)                                                        \
    S("uprobe",    false, "before the instruction at PATH:FUNCTION+OFFSET")   \
    S("uretprobe", true,  "before PATH:FUNCTION returns to its caller")
// clang-format on

struct tn_place {
    char path[PATH_MAX]; /* as written; "" when the section says no place */
    char func[256];
    u64 offset;
    bool exit;
};

/* −EINVAL with `err` ("unknown_section", "bad_section") naming the program and what is known. */
int tn_place_parse(const char *section, const char *program, struct tn_place *ret_place,
                   struct tn_error *err);

/* The file of a place, as seen by process `pid` (0: nobody's), absolute. −ENOENT with `err` ("no_file"). */
int tn_place_file(const struct tn_place *place, pid_t pid, char ret_file[PATH_MAX], struct tn_error *err);

/* The place's offset in `file`. −ENOENT with the nearest names where there is no such function. */
int tn_place_offset(const struct tn_place *place, const char *file, u64 *ret_offset, struct tn_error *err);

#endif
