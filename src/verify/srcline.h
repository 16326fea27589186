/* SPDX-License-Identifier: MIT */
/*
 * Where in the C source an instruction comes from, and what a function's type says.
 *
 * Types and strings are read by src/btf, which believes nothing; the records of lines and functions, which
 * come from whoever loads the program as well, are checked here.
 */
#ifndef TN_VERIFY_SRCLINE_H
#define TN_VERIFY_SRCLINE_H

#include "base/base.h"
#include "btf/btf.h"

struct vf;
struct tn_refusal;

struct tn_src {
    struct tn_btf *btf; /* of the program; NULL: it brought none */
    const u8 *lines, *funcs;
    u32 nlines, line_size, nfuncs, func_size;
};

/* Reads BTF alone; its instruction records come after the functions are known. */
int tn_src_open(struct vf *v);
/* Where the function starts that a tag of the program's own names to be called when something was thrown; 0:
   none. Before the functions are known. */
int tn_src_exception_callback(struct vf *v, u32 *ret_start);
int tn_src_check_records(struct vf *v);
void tn_src_close(struct tn_src *src);

/* The record that an instruction belongs to; the strings are the BTF's. */
struct tn_src_line {
    u32 record, line, column; /* 1-based, but for `record` */
    const char *file, *text;  /* without what indents it */
    u32 indent;
};
/* False: nothing is known of it. */
bool tn_src_line(const struct tn_src *src, u32 insn, struct tn_src_line *ret);
/* Fills file, line, column and text, where known. */
void tn_src_locate(const struct tn_src *src, u32 insn, struct tn_refusal *ret);

/* The prototype of the function that starts there (in src->btf), or NULL where no record tells. */
const struct btf_type *tn_src_func_proto(const struct tn_src *src, u32 start);
/* Its id; 0: not known. */
u32 tn_src_func_id(const struct tn_src *src, u32 start);
/* The program's own name for a function: "" where there is none. */
const char *tn_src_func_name(const struct tn_src *src, u32 start);
/* The function that starts there has global linkage. */
bool tn_src_func_is_global(const struct tn_src *src, u32 start);
/* … and returns nothing, so says its type. */
bool tn_src_func_is_void(const struct tn_src *src, u32 start);
#endif
