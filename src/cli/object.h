/* SPDX-License-Identifier: MIT */
/*
 * eBPF objects as people hand them to us: any file at all.
 *
 * The file is read once, so that nobody changes it under us, and its head is checked here, so that an error
 * says what the file is instead of an ELF library's opinion. Then a child opens it with libbpf first: a file
 * that brings the library down ends the child, not us.
 */
#ifndef TN_CLI_OBJECT_H
#define TN_CLI_OBJECT_H

#include <bpf/libbpf.h>

#include "base/base.h"

struct tn_obj_file {
    char name[64]; /* last part of the path, without .bpf.o or .o */
    u8 *bytes;     /* owned */
    size_t len;
};

/* −ENOEXEC for what is no eBPF object, −errno for what cannot be read; `err` says it. */
int tn_obj_read(const char *path, struct tn_obj_file *ret_file, struct tn_error *err);
void tn_obj_file_clear(struct tn_obj_file *file);
/* A fresh bpf_object of the file. */
int tn_obj_open(const struct tn_obj_file *file, struct bpf_object **ret_object, struct tn_error *err);

/* Sets a global variable before the object is loaded: "NAME=VALUE" (value.h reads VALUE). */
int tn_obj_set(struct bpf_object *object, const char *assignment, struct tn_error *err);

#endif
