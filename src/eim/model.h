/* SPDX-License-Identifier: MIT */
/*
 * Everything that was said, of all hosts, as it was written: names are unique and known, nothing contradicts
 * itself; types are not asked yet. Immutable once read.
 *
 *      files, notes ──read.c──▶ struct tn_eim ──bind.c, with types──▶ struct tn_bound, its classes
 *
 * Rows of each kind are sorted by name, so that the order of files never shows.
 */
#ifndef TN_EIM_MODEL_H
#define TN_EIM_MODEL_H

#include "eim/eim.h"
#include "eim/lang.h"
#include "eim/schema.h"

/* How rows begin that have a name. */
struct tn_named {
    struct tn_eim_at at;
    const char *name;
};
struct tn_state_cap {
    struct tn_eim_at at;
    const char *name;
    struct tn_cap cap; /* READ or WRITE */
};
struct tn_function_cap {
    struct tn_eim_at at;
    const char *name;
    struct tn_eim_at function_at;
    const char *function;
    struct tn_signature *signature; /* NULL: as the types say */
    struct tn_eim_at address_at;
    u64 address; /* 0: as the symbols say */
    struct tn_cons **constraint;
    u32 nconstraints;
};
struct tn_eim_entry {
    struct tn_eim_at at;
    const char *name;
    struct tn_eim_at function_at;
    const char *function;
    struct tn_signature *signature;
    struct tn_eim_at address_at;
    u64 address;
    struct tn_cons **constraint;
    u32 nconstraints;
};
struct tn_admitted {
    struct tn_eim_at at;
    bool group;
    u32 id;
    const char *name; /* NULL: it was a number; else `id` is what the caller's look-up said, or unset */
    bool known;
};
struct tn_class_spec {
    struct tn_eim_at at;
    const char *name;
    struct tn_eim_at entry_at;
    const char *entry; /* entry: a name, or what follows "uprobe:" */
    enum tn_eim_generated generated;
    struct tn_cap *cap; /* sorted by text */
    u32 ncaps;
    struct tn_admitted *who;
    u32 nwho;
};
struct tn_text_at {
    struct tn_eim_at at;
    const char *text;
};
struct tn_rule_at {
    struct tn_eim_at at;
    bool set;
    enum tn_eim_rule rule;
};
struct tn_host {
    const char *name;
    struct tn_text_at binary, build_id, types;
    struct tn_state_cap *state;
    struct tn_function_cap *function;
    struct tn_eim_entry *entry;
    struct tn_class_spec *klass;
    u32 nstates, nfunctions, nentries, nclasses;
    struct tn_rule_at rule[TN_GEN_COUNT]; /* by kind of generated entry */
    bool named;                           /* by some file, which thereby governs it */
};
struct tn_eim {
    struct tn_bag bag;
    struct tn_host *host;
    u32 nhosts;
};

const struct tn_state_cap *tn_host_state(const struct tn_host *host, const char *name);
const struct tn_function_cap *tn_host_function(const struct tn_host *host, const char *name);
const struct tn_eim_entry *tn_host_entry(const struct tn_host *host, const char *name);

extern const char *const tn_rule_names[TN_RULE_COUNT];
extern const char *const tn_generated_names[TN_GEN_COUNT]; /* "" for NONE */

/* helpers.c: groups of helpers, single ones, and the host functions that the house brings. */
#define TN_HELPER_WORDS 4u
enum { TN_HELPER_BITS = TN_HELPER_WORDS * 64 };
/* The id of "bpf_ktime_get_ns" or "ktime_get_ns"; 0: no such helper. */
u32 tn_helper_named(const char *name);
/* A kfunc of the verifier's rows. */
bool tn_kfunc_named(const char *name);
/* Adds the group's helpers; false: no such group. */
bool tn_helper_group(const char *name, u64 bits[TN_HELPER_WORDS]);
/* The k-th group's name; NULL past the last. */
const char *tn_helper_group_name(u32 k);
/* Offers every helper's name. */
void tn_helper_offer(struct tn_nearest *near);

/* Names of reasons that several files give. */
#define TN_SPEC_NAME     "spec_name"
#define TN_SPEC_CONFLICT "spec_conflict"

/* contradict.c: what is said of a function under one of its names. */
struct tn_said {
    struct tn_eim_at at;
    const char *name, *function;
    struct tn_cons *const *constraint;
    u32 n;
};
/* Nothing of a function, under all its names together, that cannot hold together. */
int tn_eim_contradiction(struct tn_bag *bag, const struct tn_said *said, u32 n, struct tn_error *err);
/* The same of a function under each of its names. */
int tn_eim_same_said(const struct tn_said *said, u32 n, struct tn_error *err);

/* compose.c */
int tn_eim_compose(struct tn_eim *eim, const struct tn_eim_options *options, struct tn_error *err);

/* read.c, for whoever has a single capability as a text: `file` names where it came from. */
int tn_eim_one_cap(struct tn_bag *bag, const char *file, const char *text, struct tn_cap *ret,
                   struct tn_error *err);

#endif
