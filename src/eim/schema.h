/* SPDX-License-Identifier: MIT */
/*
 * What a specification file may hold: one row a key. The reader takes what stands here and refuses the rest;
 * docs/eim.schema.json, for editors, says the same and is held against these rows (tests/eim/schema.c).
 */
#ifndef TN_EIM_SCHEMA_H
#define TN_EIM_SCHEMA_H

#include "base/base.h"

// clang-format off
/* M(MAPPING, what it is called in messages) */
#define TN_EIM_MAPPINGS(M)                                                                                   \
    M(DOCUMENT, "a specification")                                                                           \
    M(HOST,     "a host")                                                                                    \
    M(STATE,    "a state capability")                                                                        \
    M(FUNCTION, "a function capability")                                                                     \
    M(ENTRY,    "an extension entry")                                                                        \
    M(CLASS,    "an extension class")                                                                        \
    M(DEFAULTS, "the defaults")

/* K(MAPPING, key, what stands there, whether it must)
   VERSION 1   NAME a word   TEXT anything   PATH of a file, from the root   HOST_OR_NAME
   RULE a word of TN_EIM_RULES   EXPR an expression   EXPRS a list of them
   TEXTS a list of words   LIST_… a list of mappings   MAP_… a mapping */
#define TN_EIM_KEYS(K)                                                                                       \
    K(DOCUMENT, eim,                   VERSION,       true)                                                  \
    K(DOCUMENT, host,                  HOST_OR_NAME,  true)                                                  \
    K(DOCUMENT, state_capabilities,    LIST_STATE,    false)                                                 \
    K(DOCUMENT, function_capabilities, LIST_FUNCTION, false)                                                 \
    K(DOCUMENT, extension_entries,     LIST_ENTRY,    false)                                                 \
    K(DOCUMENT, extension_classes,     LIST_CLASS,    false)                                                 \
    K(DOCUMENT, defaults,              MAP_DEFAULTS,  false)                                                 \
    K(HOST,     name,                  NAME,          true)                                                  \
    K(HOST,     binary,                PATH,          false)                                                 \
    K(HOST,     build_id,              TEXT,          false)                                                 \
    K(HOST,     types,                 TEXT,          false)                                                 \
    K(STATE,    name,                  NAME,          true)                                                  \
    K(STATE,    operation,             EXPR,          true)                                                  \
    K(FUNCTION, name,                  NAME,          true)                                                  \
    K(FUNCTION, function,              NAME,          true)                                                  \
    K(FUNCTION, prototype,             EXPR,          false)                                                 \
    K(FUNCTION, address,               TEXT,          false)                                                 \
    K(FUNCTION, constraints,           EXPRS,         false)                                                 \
    K(ENTRY,    name,                  NAME,          true)                                                  \
    K(ENTRY,    extension_entry,       NAME,          true)                                                  \
    K(ENTRY,    prototype,             EXPR,          false)                                                 \
    K(ENTRY,    address,               TEXT,          false)                                                 \
    K(ENTRY,    constraints,           EXPRS,         false)                                                 \
    K(CLASS,    name,                  NAME,          true)                                                  \
    K(CLASS,    extension_entry,       NAME,          true)                                                  \
    K(CLASS,    allowed,               EXPRS,         true)                                                  \
    K(CLASS,    who,                   TEXTS,         false)                                                 \
    K(DEFAULTS, uprobe,                RULE,          false)                                                 \
    K(DEFAULTS, uretprobe,             RULE,          false)                                                 \
    K(DEFAULTS, syscall,               RULE,          false)

/* What holds at places that no class names. R(word) */
#define TN_EIM_RULES(R)                                                                                      \
    R(denied)                                                                                                \
    R(observability)                                                                                         \
    R(customizability)

/* Entries that every host has, as classes name them: "uprobe:FUNCTION". G(KIND, prefix, default) */
#define TN_EIM_GENERATED(G)                                                                                  \
    G(UPROBE,    "uprobe",    uprobe)                                                                        \
    G(URETPROBE, "uretprobe", uretprobe)                                                                     \
    G(SYSENTER,  "sysenter",  syscall)                                                                       \
    G(SYSEXIT,   "sysexit",   syscall)
// clang-format on

enum tn_eim_mapping {
#define M(mapping, ...) TN_MAP_##mapping,
    TN_EIM_MAPPINGS(M)
#undef M
        TN_MAP_COUNT
};
enum tn_eim_key {
#define K(mapping, key, ...) TN_KEY_##mapping##_##key,
    TN_EIM_KEYS(K)
#undef K
        TN_KEY_COUNT
};
enum tn_eim_rule {
#define R(word) TN_RULE_##word,
    TN_EIM_RULES(R)
#undef R
        TN_RULE_COUNT
};
enum tn_eim_generated {
    TN_GEN_NONE, /* a place of its own: an entry of the specification */
#define G(kind, ...) TN_GEN_##kind,
    TN_EIM_GENERATED(G)
#undef G
        TN_GEN_COUNT
};

#endif
