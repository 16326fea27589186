/* SPDX-License-Identifier: MIT */
/* Binaries made for a test, in a folder of its own that is gone afterwards;
   and what is asked of their types. */
#ifndef TN_TESTS_HOST_RIG_H
#define TN_TESTS_HOST_RIG_H

#include "host/types.h"

extern char rig_dir[64];

int rig_setup(void **state);
int rig_teardown(void **state);
/* A shell command in the folder, $S is where the sources are; its status. What it prints goes to `log`. */
int rig_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same; fails the test with the command's words if it fails. */
void rig_must(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool rig_has(const char *program);
/* "FOLDER/name", in one of sixteen buffers. */
const char *rig_path(const char *name);

/* No cache, no debug folders but rig_path("debug"). Fails the test where it fails. */
struct tn_host_types *rig_open(const char *name);
int rig_try(const char *name, struct tn_host_types **ret, struct tn_error *err);

/* The bit and type of a member, by a path through anonymous ones; `*ret_width` 0: no bitfield. */
bool rig_member(const struct tn_btf *btf, u32 id, const char *path, u64 *ret_bit, u32 *ret_type,
                u32 *ret_width);

#endif
