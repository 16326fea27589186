/* SPDX-License-Identifier: MIT */
/*
 * Where the debug information of a stripped binary is.
 *
 *      build-id xxyyyy…        DIR/.build-id/xx/yyyy….debug      for each DIR (default: /usr/lib/debug)
 *                              CACHE/xxyyyy…/debuginfo           debuginfod's client caches, no network
 *      .gnu_debuglink NAME     beside the binary, in .debug beside it, in DIR/its folder; the checksum must
 *                              hold
 *      .gnu_debugaltlink PATH  what dwz took out (absolute, or from the debug file's folder), or by its
 *                              build-id
 *
 * A file of another build-id is none.
 */
#ifndef TN_HOST_FIND_H
#define TN_HOST_FIND_H

#include "host/elffile.h"

struct tn_host_debug {
    int fd, alt_fd; /* −1: none */
    struct tn_host_elf elf;
};

/* Debug information of `elf`, which has none itself, as `opts` says. −ENODATA "no_types" with `err` saying
   where was looked; "debug_mismatch", "alt_missing". What is given back is closed by tn_host_debug_clear. */
int tn_host_find_debug(const struct tn_host_opts *opts, const struct tn_host_elf *elf,
                       struct tn_host_debug *ret, struct tn_error *err);
/* What dwz took out of `elf`, which lies at `path` (NULL: unknown): `*ret` stays as it is if nothing was. */
int tn_host_find_alt(const struct tn_host_opts *opts, const struct tn_host_elf *elf, const char *path,
                     int *ret, struct tn_error *err);
void tn_host_debug_clear(struct tn_host_debug *debug);

#endif
