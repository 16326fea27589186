/* SPDX-License-Identifier: MIT */
/* One call of a kfunc, as its files see it: kfunc.c (the call), kfunc_args.c, graph.c. */
#ifndef TN_VERIFY_KFUNC_H
#define TN_VERIFY_KFUNC_H

#include "btf/btf.h"
#include "verify/internal.h"
#include "verify/kfuncs.h"

struct tn_kcall {
    const struct tn_kfunc *row;
    struct tn_kfunc own;          /* the row of a function of the host's own … */
    struct tn_host_function host; /* … and what its authority says of it */
    bool is_own;
    const struct tn_btf *b;       /* the host's */
    const struct btf_type *proto; /* in b */
    const char *name;
    u32 id, nargs;
    struct tn_ref_use use;
    bool has_constant, r0_rdonly;
    u64 constant; /* __k, __szk */
    u32 r0_size;  /* rdonly_buf_size, rdwr_buf_size; 0: not told */
    u32 callback; /* function of the program; 0: none */
    u32 map_arg;  /* register numbers; 0: none */
    u32 field_arg;
    struct tn_dynptr dynptr; /* the one that was there */
    struct tn_iter_use iter;
    /* graph.c */
    bool owning;                 /* the argument was owned, so the result is not NULL */
    const struct tn_field *root; /* list or tree */
    struct tn_reg object;        /* what is dropped, added, counted */
};

/* ---- kfunc_args.c */
int tn_kfunc_args(struct vf *v, struct tn_kcall *c);
/* Only numbers in it, four structs deep at most. */
bool tn_is_plain_struct(const struct tn_btf *b, u32 type);
/* … or a number itself; resolved. */
bool tn_is_plain(const struct tn_btf *b, u32 type);

/* ---- graph.c: objects that the program allocates, lists and trees of them */
/* Argument `arg` (from 0) is one of its kinds: *ret_is, and it was checked. */
int tn_graph_arg(struct vf *v, struct tn_kcall *c, u32 arg, bool *ret_is);
/* What was put into a list or tree is not the program's any more. */
int tn_graph_given(struct vf *v, struct tn_kcall *c);
/* What bpf_rbtree_add hands the function that compares: a node of the tree, borrowed. */
void tn_graph_compared(const struct vf *v, const struct tn_kcall *c, struct tn_reg *ret);
/* R0 but for NULL and the reference. */
int tn_graph_result(struct vf *v, struct tn_kcall *c, struct tn_reg *r0);

/* ---- buffer.c */
/* tenon_copy, whose arguments are good each by itself: may it be, and on what may it rely? */
int tn_buffer_copied(struct vf *v, struct tn_call_facts *facts);
/* It is the host's bytes that are written, and the program's that are read. */
bool tn_buffer_is_written(struct vf *v);

#endif
