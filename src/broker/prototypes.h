/* SPDX-License-Identifier: MIT */
/* Functions of a host that only a specification tells the prototype of: they join its types. */
#ifndef TN_BROKER_PROTOTYPES_H
#define TN_BROKER_PROTOTYPES_H

#include "eim/eim.h"
#include "eim/text.h"
#include "host/types.h"

/* A number of what a specification says of this host's functions: another text, another number. */
u64 tn_prototypes_number(const struct tn_eim *eim, const char *host);

/* The functions that the binary has, for whoever names another; else its variables. */
void tn_prototypes_offer(const struct tn_host_types *types, struct tn_nearest *near);

/* Adds them to the types of the binary `fd`, called `path` in messages. −ENOENT "no_host_function": one is
   not there, all others were added; −ESTALE "other_build": an address is that of another build; −EINVAL
   "no_host_function": no code is there; −ENOMEM. */
int tn_prototypes_add(const struct tn_eim *eim, const char *host, int fd, const char *path,
                      struct tn_host_types *types, struct tn_error *err);

#endif
