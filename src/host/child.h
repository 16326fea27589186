/* SPDX-License-Identifier: MIT */
/*
 * The confined child that reads debug information: no file can be opened in it, no process started, nothing
 * sent; time and memory end. All it can do is to answer with bytes, which are checked as a stranger's.
 */
#ifndef TN_HOST_CHILD_H
#define TN_HOST_CHILD_H

#include "host/elffile.h"
#include "host/image.h"

struct tn_host_child_in {
    struct tn_host_head head; /* source, build-id, identities */
    const struct tn_host_elf *elf;
    int fd, debug_fd, alt_fd; /* borrowed; −1: none. Debug information is in debug_fd, or else in fd */
    int types_fd;             /* −1: none; else debug information is there, for types alone */
    bool declared;            /* fd is no binary whose symbols count */
    const void *btf;          /* or here */
    u64 btf_size;
    u32 limit_ms, limit_mb;
};

struct tn_host_child {
    int pid, pidfd, out;
    void *shared;
};

int tn_host_child_start(const struct tn_host_child_in *in, struct tn_host_child *ret, struct tn_error *err);
/* Waits; the bytes of an image, not checked, are the caller's to free. Gives the child back in every case. */
int tn_host_child_finish(struct tn_host_child *child, void **ret, u64 *ret_size, struct tn_error *err);
void tn_host_child_abort(struct tn_host_child *child);

#endif
