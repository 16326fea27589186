/* SPDX-License-Identifier: MIT */
/*
 * YAML as specifications have it: mappings, lists and texts, and where each of them stands. Less than YAML
 * is: no tags, no anchors and so no aliases (a page of them unfolds to billions), no second document, no
 * merging of mappings, no tab anywhere, no key twice.
 */
#ifndef TN_EIM_TREE_H
#define TN_EIM_TREE_H

#include "eim/bag.h"
#include "eim/text.h"

#define TN_YAML_BYTES_MAX (1u << 20)
#define TN_YAML_NODES_MAX 100000u
#define TN_YAML_DEPTH_MAX 16u

enum tn_node_kind { TN_NODE_TEXT, TN_NODE_LIST, TN_NODE_MAP };

struct tn_node {
    enum tn_node_kind kind;
    struct tn_eim_at at;
    const char *text; /* TEXT; without NUL inside */
    u32 inset;        /* columns from `at` to the first character of the text: 1 where it is quoted … */
    bool exact;       /* … and each character of it stands in a column of its own from there */
    struct tn_node **item; /* LIST: n; MAP: key, value, key, value … 2n */
    u32 n;
};

/* `name` is what messages call the file; it and everything else is copied to the bag. An empty file is an
   error. −EINVAL (spec_syntax), −E2BIG, −ENOMEM. */
int tn_yaml_read(struct tn_bag *bag, const char *name, const char *text, u64 len, struct tn_node **ret,
                 struct tn_error *err);

/* "a list", "a mapping", "a text" */
const char *tn_node_name(enum tn_node_kind kind);
/* The place of the k-th byte of a text. */
struct tn_eim_at tn_node_at(const struct tn_node *node, u32 k);

#endif
