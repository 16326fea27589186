/* SPDX-License-Identifier: MIT */
/*
 * What planning of every kind is made of: a file's plans, wishes, and what is left. Of places.c, but for what says otherwise; for
 * look.c, places.c, calls.c and guards.c only.
 */
#ifndef TN_INJECT_WISHES_H
#define TN_INJECT_WISHES_H

#include "inject/brain.h"

/* The file whose code is planned for; read when the first plan is not known. */
struct tn_source {
    int fd;
    struct stat sb;
    struct tn_module *m;
    bool no_puns;
    /* Planned ahead, by several threads, in the order in which it will be wanted: owned. */
    struct tn_asked *asked;
    u32 nasked, next;
};
void tn_source_close(struct tn_source *s);
/* A place's plan, or that of all system calls (`offset`: TN_PLANNED_*). `many`: other places are asked for as well. */
int tn_plan_file(struct tn_entry *c, struct tn_source *s, u64 offset, u32 kind, bool many,
                 const struct tn_planned **ret);
bool tn_plan_bias(const struct tn_planned *p, const struct tn_vma *v, u64 *ret_bias);

int tn_look_bytes(const struct tn_entry *c, const struct tn_patch *p, u64 bias, const char *path,
                  struct tn_error *err);
bool tn_same_place(const struct tn_patch *a, u64 a_bias, const struct tn_patch *b, u64 b_bias);
/* One patch more; one without a hook that is wished for already serves all links from then on. */
int tn_wish_add(struct tn_entry *c, const struct tn_patch *p, u64 bias, bool hook);
int tn_wish_one(struct tn_entry *c, const struct tn_patch *patch, u32 n, u64 bias, const char *path);
bool tn_linked_at(const struct tn_entry *c, const struct tn_wish *w);
/* Counted, and told of when all of one file is known. */
void tn_leave(struct tn_entry *c, struct tn_tally *t, const char *reason);
void tn_tell_left(struct tn_entry *c, const char *name, const struct tn_tally *t);

/* look.c: bytes as they will be when what was inherited is put back; a word of a file's data where the process has it, 0: nowhere;
   is this memory of ours, or of a broker that is dead? */
void tn_look_put_back(const struct tn_entry *c, u64 addr, u8 *bytes, u32 len);
u64 tn_look_counter(const struct tn_entry *c, u64 place, u64 offset);
bool tn_look_ours(const struct tn_entry *c, u64 addr);

#endif
