/* SPDX-License-Identifier: MIT */
/*
 * The Extension Interface Model: what an extension may do, as its host's developers and its operator wrote it
 * down. Pure: texts and types in; data, an authority for the verifier, or one refusal out.
 *
 *      struct tn_eim_source (YAML, notes) ──tn_eim_read──▶ tn_eim        all that was said; checked
 *      tn_eim, a host, its types ──tn_eim_bind──▶ tn_bound               names joined to types
 *      tn_bound, a class ──tn_eim_authority──▶ tn_authority              what the verifier asks
 *      tn_eim_recording ──▶ tn_eim_uses ──infer, explain, admits         for the manager (manage.c)
 *
 * Errors are `file:line:column: …` and name the nearest thing that is there. Nothing is applied in part.
 * The language is told in lang.h and schema.h.
 */
#ifndef TN_EIM_H
#define TN_EIM_H

#include "base/base.h"
#include "btf/btf.h"
#include "eim/note.h"
#include "verify/verify.h"

struct tn_eim;
struct tn_bound;
struct tn_class;

/* ------------------------------------------------------------------------------------------------ reading */

struct tn_eim_source {
    const char *name; /* in messages */
    const char *text; /* YAML; or NULL, and: */
    u64 len;
    const struct tn_notes *notes; /* annotations of … */
    const char *host;             /* … the host of this name */
};
struct tn_eim_options {
    /* Who "uid:www-ops" is: 0 and the number, or −ENOENT. NULL: names stay names, and admit nobody. */
    int (*look_up)(void *self, bool group, const char *name, u32 *ret);
    void *self;
};
#define TN_EIM_SOURCES_MAX 1024u

/* In any order: the result, and which error is told, is the same. Nothing of `sources` is kept.
   −EINVAL with `err` filled (spec_syntax, spec_key, spec_name, spec_expression, spec_conflict), −E2BIG,
   −ENOMEM. */
int tn_eim_read(const struct tn_eim_source *sources, u32 n, const struct tn_eim_options *options,
                struct tn_eim **ret, struct tn_error *err);
void tn_eim_free(struct tn_eim *eim);

/* The names of hosts, sorted; NULL past the last. */
const char *tn_eim_host_name(const struct tn_eim *eim, u32 k);
/* All that was said of a host, as one file of the language; reading it gives the same. False: no such host.
 */
bool tn_eim_print(const struct tn_eim *eim, const char *host, FILE *f);
/* Some file has classes or defaults for it: what they do not name is denied. */
bool tn_eim_governs(const struct tn_eim *eim, const char *host);

#endif
