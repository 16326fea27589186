/* SPDX-License-Identifier: MIT */
/*
 * BTF under construction, in the confined child.
 *
 *      node    what a reference means before it is known where its type will stand. A node becomes a type
 *              (tn_raw_begin), another node (tn_raw_alias), or stays nothing: void
 *      type    the words of the format, in order; references in them are nodes until tn_raw_link
 *
 * Errors stick: the first one is kept in `error`, and later calls do nothing that could do harm.
 */
#ifndef TN_HOST_RAW_H
#define TN_HOST_RAW_H

#include <linux/btf.h>

#include "base/base.h"

#define TN_RAW_HEAD   (sizeof(struct btf_header) / sizeof(u32))
#define TN_RAW_DOTS   UINT32_MAX /* the type of a parameter that stands for "…" */
#define TN_RAW_VLEN   65535u
#define TN_RAW_NPARAM 255u

struct tn_raw {
    u32 *word; /* TN_RAW_HEAD of the head, then the types */
    u32 nwords, cap_words, ntypes;
    u32 *node; /* 0: nothing yet; a type's id; or alias */
    u32 nnodes, cap_nodes;
    char *str;
    u32 nstr, cap_str;
    u32 *slot; /* hash of strings: offset, 0 empty */
    u32 nslots, nnames;
    u32 void_pointer; /* a node */
    int error;
};

/* `nodes`: references are nodes, and one that means nothing a pointer to void. Otherwise they are ids. */
int tn_raw_init(struct tn_raw *raw, bool nodes);
void tn_raw_clear(struct tn_raw *raw);

/* Offset of a name; the same text has the same offset. "" and NULL: 0. */
u32 tn_raw_string(struct tn_raw *raw, const char *s);
/* A name that C could have given, and BTF takes. */
bool tn_raw_identifier(const char *s);
/* As tn_raw_string of an identifier; 0 of anything else. */
u32 tn_raw_name(struct tn_raw *raw, const char *s);

u32 tn_raw_node(struct tn_raw *raw);
bool tn_raw_known(const struct tn_raw *raw, u32 node);
void tn_raw_alias(struct tn_raw *raw, u32 node, u32 to);
/* The next type is `node`'s; its tail follows by tn_raw_word. */
void tn_raw_begin(struct tn_raw *raw, u32 node, u32 name, u32 info, u32 third);
void tn_raw_word(struct tn_raw *raw, u32 word);
/* A type in one call, on a new node. */
u32 tn_raw_simple(struct tn_raw *raw, u32 kind, u32 name, u32 third);
u32 tn_raw_int(struct tn_raw *raw, const char *name, u32 bytes, u32 encoding);

/* Nodes become ids, in place; a node's id afterwards by tn_raw_id. */
int tn_raw_link(struct tn_raw *raw);
u32 tn_raw_id(const struct tn_raw *raw, u32 node);
/* Head, types and strings in one piece, in `word`; nothing may be added afterwards. */
int tn_raw_seal(struct tn_raw *raw, u64 *ret_size);
/* Gives back everything but the strings. */
void tn_raw_only_strings(struct tn_raw *raw);

static inline u32 tn_raw_info(u32 kind, u32 vlen, bool flag)
{
    return kind << 24 | vlen | (u32)flag << 31;
}

#endif
