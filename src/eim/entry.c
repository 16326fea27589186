/* SPDX-License-Identifier: MIT */
/* Where a class stands, and what is promised there. */
#include <errno.h>

#include "eim/bind.h"

const char *tn_eim_host_binary(const struct tn_eim *eim, const char *host)
{
    for (u32 k = 0; k < eim->nhosts; k++)
        if (!strcmp(eim->host[k].name, host))
            return eim->host[k].binary.text;
    return NULL;
}

/* A path is from the file that says it. */
bool tn_eim_host_types(const struct tn_eim *eim, const char *host, char *ret, size_t cap)
{
    for (u32 k = 0; k < eim->nhosts; k++) {
        const struct tn_text_at *types = &eim->host[k].types;
        const char *slash;

        if (strcmp(eim->host[k].name, host) != 0 || !types->text)
            continue;
        slash = *types->text == '/' ? NULL : strrchr(types->at.file, '/');
        return snprintf(ret, cap, "%.*s%s", slash ? (int)(slash + 1 - types->at.file) : 0,
                        slash ? types->at.file : "", types->text) < (int)cap;
    }
    return false;
}

u16 tn_eim_entry_valid(const struct tn_bound *b, u32 btf_id)
{
    u16 valid = 0;

    for (u32 k = 0; k < b->host->nentries; k++)
        if (btf_id && b->entry[k].btf_id == btf_id)
            valid |= b->entry[k].valid;
    return valid;
}

static bool promises(const struct tn_bfunc *f, const struct tn_access *a)
{
    for (u32 n = 0; a->buffer && n < f->npromised; n++)
        if (tn_buffer_is(&f->promised[n], a))
            return true;
    for (u32 n = 0; !a->buffer && n < f->npointers; n++)
        if (f->pointer[n].type == a->btf_id && f->pointer[n].off == a->offset)
            return true;
    return false;
}

bool tn_eim_entry_promises(const struct tn_bound *b, u32 btf_id, const struct tn_access *access)
{
    for (u32 k = 0; k < b->host->nentries; k++)
        if (btf_id && b->entry[k].btf_id == btf_id && promises(&b->entry[k], access))
            return true;
    return false;
}

/* The word of the host's developers, for any entry of the function. */
static bool is_outside(const struct tn_bound *b, const char *entry, const char *function)
{
    for (u32 k = 0; k < b->host->nentries; k++)
        for (u32 n = 0; n < b->entry[k].noutside && !strcmp(b->entry[k].function, entry); n++)
            if (!strcmp(b->entry[k].outside[n], function))
                return true;
    return false;
}

int tn_entry_may_call(const struct tn_class *c, const struct tn_bfunc *callee, struct tn_error *err)
{
    const char *name = callee->function;

    if (!callee->alone ||
        (c->func && strcmp(c->func->function, name) != 0 && is_outside(c->bound, c->func->function, name)))
        return 0;
    if (!c->func)
        return tn_fail(
            err, -EACCES, "not_reentrant",
            "%.64s may not be called while it runs (not_reentrant), and nobody promises that it does "
            "not where class \"%.64s\" stands: call it from an entry of the specification",
            name, c->name);
    if (!strcmp(c->func->function, name))
        return tn_fail(err, -EACCES, "not_reentrant",
                       "%.64s may not be called while it runs (not_reentrant), and entry \"%.64s\" is that "
                       "function itself",
                       name, c->func->name);
    return tn_fail(
        err, -EACCES, "not_reentrant",
        "%.64s may not be called while it runs (not_reentrant), and entry \"%.64s\" may be reached "
        "from there\nneeds  outside(%.64s) among the constraints of \"%.64s\", where the host's "
        "developers promise that it is not",
        name, c->func->name, name, c->func->name);
}

static const struct {
    const char *text;
    enum tn_eim_generated generated, rule; /* a default says nothing apart of calls entered and calls left */
} places[] = {[TN_AT_FUNCTION] = {"a function by its type", TN_GEN_NONE, TN_GEN_NONE},
              [TN_AT_UPROBE] = {"a probe of a function's entry or inside", TN_GEN_UPROBE, TN_GEN_UPROBE},
              [TN_AT_URETPROBE] = {"a probe of a function's return", TN_GEN_URETPROBE, TN_GEN_URETPROBE},
              [TN_AT_SYSENTER] = {"a system call as it is entered", TN_GEN_SYSENTER, TN_GEN_SYSENTER},
              [TN_AT_SYSEXIT] = {"a system call as it is left", TN_GEN_SYSEXIT, TN_GEN_SYSENTER}};

const char *tn_eim_place_word(enum tn_eim_place place)
{
    return place == TN_AT_FUNCTION ? "" : tn_generated_names[places[place].generated];
}

enum tn_eim_generated tn_eim_place_rule(enum tn_eim_place place)
{
    return places[place].rule;
}

/* A class of the house's, which whoever loads may have named: as far as it is the default at such places, or less
   than that. Where nobody governs, everywhere. */
static int rule_admits(const struct tn_class *c, enum tn_eim_place place, struct tn_error *err)
{
    const struct tn_host *h = c->bound->host;
    const struct tn_rule_at *r = &h->rule[places[place].rule];

    for (u32 k = TN_RULE_denied; r->set && k <= r->rule; k++)
        if (c == c->bound->rule[k])
            return 0;
    if (!h->named)
        return 0;
    return tn_fail(
        err, -EACCES, "class_denies",
        "class \"%.64s\" is not for %s of host \"%.64s\": its policy has no default there that allows "
        "it; name a class of the policy's",
        c->name, places[place].text, h->name);
}

int tn_eim_admits_place(const struct tn_class *c, enum tn_eim_place place, const char *function, u32 btf_id,
                        struct tn_error *err)
{
    bool fits;

    if (!c->entry || !strcmp(c->entry, "*"))
        return rule_admits(c, place, err);
    if (place == TN_AT_FUNCTION)
        fits = c->generated == TN_GEN_NONE && c->func && c->func->btf_id && c->func->btf_id == btf_id;
    else
        fits = c->generated == places[place].generated && function && !strcmp(c->entry, function);
    if (fits)
        return 0;
    if (!function && btf_id)
        function = tn_btf_name(c->bound->btf, btf_id);
    return tn_fail(err, -EACCES, "class_entry",
                   "class \"%.64s\" stands for %.100s, and the program is for %s%s%.100s", c->name, c->entry,
                   places[place].text, function && *function ? ": " : "",
                   function && *function ? function : "");
}
