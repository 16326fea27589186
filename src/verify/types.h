/* SPDX-License-Identifier: MIT */
/*
 * Pointers with a type (TN_REG_BTF), and what follows from the type.
 *
 *      r1: ptr_task_struct ──load at 1536, 8 bytes──▶ walk: task_struct.cred is a pointer to struct cred,
 *                                                           __rcu
 *                          ──▶ r2: what the flags of r1, the tags of the member and the section say
 *
 *      flags of a pointer          a load of it                         a call that wants it valid
 *      TRUSTED, referenced, ALLOC  is there                             takes it
 *      RCU                         is there until the section ends      takes it, if the call says so
 *      (none)                      may fault: yields 0 then             does not (a few old helpers do)
 *      UNTRUSTED                   may fault: yields 0 then             does not
 *      USER, PERCPU                is refused                           only a function made for it
 *
 * Two books of types exist: the host's (in->host_btf; reg.host) and the program's own (v->src.btf), which
 * only allocated objects have.
 */
#ifndef TN_VERIFY_TYPES_H
#define TN_VERIFY_TYPES_H

#include <linux/bpf.h>

#include "btf/btf.h"

struct vf;
struct tn_place;
struct tn_reg;

/* The book that reg->obj is a number of. */
const struct tn_btf *tn_types_book(const struct vf *v, const struct tn_reg *reg);
/* "task_struct": the name of what a typed pointer points to. */
const char *tn_types_name(const struct vf *v, const struct tn_reg *reg);
/* mem.c: an access through a BTF, or through a MAP (fields of the map's own structure). */
int tn_types_access(struct vf *v, struct tn_place *p);
int tn_types_map_access(struct vf *v, struct tn_place *p);
/* … or to a variable of the host that is no struct: inside of it. */
int tn_types_variable(struct vf *v, struct tn_place *p);
/* The pointer is given away, to where it is no longer known to be a variable's: may the program have it? */
int tn_types_handed(struct vf *v, const struct tn_reg *reg);
/* The bytes may not be there: the engines make the load harmless. */
void tn_types_probe(struct vf *v, struct tn_place *p);
/* Valid while the program runs; valid while its RCU section lasts. */
bool tn_types_trusted(const struct tn_reg *reg);
bool tn_types_rcu(const struct tn_reg *reg);
/* At `off` in a `from` lies a `to` (the thing itself, where `strict`). */
bool tn_types_match(const struct tn_btf *b, u32 from, s64 off, u32 to, bool strict, bool flexible);
/* ld_imm64 with BPF_PSEUDO_BTF_ID: the address of a variable of the host. */
int tn_types_ksym(struct vf *v, const struct bpf_insn *insn);
/* A pointer to a type of the host's; flags as given. Takes an id where it may be NULL. */
struct tn_reg tn_types_pointer(struct vf *v, u32 type, u32 flags);

#endif
