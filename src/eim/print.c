/* SPDX-License-Identifier: MIT */
/* The model as a file again, in one spelling: what is printed reads as the same. */
#include "eim/model.h"

static void quoted(FILE *f, const char *s)
{
    putc('"', f);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            putc('\\', f);
        if (*s == '\n')
            fputs("\\n", f);
        else
            putc(*s, f);
    }
    putc('"', f);
}

static void fact(FILE *f, const char *key, const struct tn_text_at *t, const char *known)
{
    if (!t->text && !known)
        return;
    fprintf(f, ", %s: ", key);
    quoted(f, t->text ? t->text : known);
}

static void function(FILE *f, const char *name, const char *key, const char *what,
                     const struct tn_signature *s, u64 address, struct tn_cons *const *cons, u32 ncons,
                     const struct tn_eim_known *all)
{
    u32 id = s || !all->btf ? 0 : tn_btf_find(all->btf, BTF_KIND_FUNC, what);
    _free_ char *known = id ? tn_eim_prototype(all->btf, id) : NULL;

    fprintf(f, "  - name: %s\n    %s: %s\n", name, key, what);
    if (s || known) {
        fputs("    prototype: ", f);
        quoted(f, s ? s->text : known);
        putc('\n', f);
    }
    if (!address && all->address)
        address = all->address(all->self, what);
    if (address)
        fprintf(f, "    address: \"0x%llx\"\n", (unsigned long long)address);
    if (!ncons)
        return;
    fputs("    constraints: [ ", f);
    for (u32 k = 0; k < ncons; k++) {
        if (k)
            fputs(", ", f);
        quoted(f, cons[k]->text);
    }
    fputs(" ]\n", f);
}

static void one_class(FILE *f, const struct tn_class_spec *c)
{
    fprintf(f, "  - name: %s\n    extension_entry: %s%s%s\n    allowed:\n", c->name,
            tn_generated_names[c->generated], c->generated ? ":" : "", c->entry);
    for (u32 k = 0; k < c->ncaps; k++) {
        fputs("      - ", f);
        quoted(f, c->cap[k].text);
        putc('\n', f);
    }
    if (!c->nwho)
        return;
    fputs("    who: [ ", f);
    for (u32 k = 0; k < c->nwho; k++) {
        const struct tn_admitted *w = &c->who[k];

        fprintf(f, "%s\"%s:", k ? ", " : "", w->group ? "gid" : "uid");
        if (w->name)
            fprintf(f, "%s\"", w->name);
        else
            fprintf(f, "%u\"", w->id);
    }
    fputs(" ]\n", f);
}

static void defaults(FILE *f, const struct tn_host *h)
{
    static const struct {
        const char *key;
        enum tn_eim_generated kind;
    } rows[] = {{"uprobe", TN_GEN_UPROBE}, {"uretprobe", TN_GEN_URETPROBE}, {"syscall", TN_GEN_SYSENTER}};
    bool any = false;

    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        if (!h->rule[rows[k].kind].set)
            continue;
        fprintf(f, "%s%s: %s", any ? ", " : "defaults: { ", rows[k].key,
                tn_rule_names[h->rule[rows[k].kind].rule]);
        any = true;
    }
    if (any)
        fputs(" }\n", f);
}

static void print_host(const struct tn_host *h, const struct tn_eim_known *known, FILE *f)
{
    fprintf(f, "eim: 1\nhost: { name: %s", h->name);
    fact(f, "binary", &h->binary, known->binary);
    fact(f, "build_id", &h->build_id, known->build_id);
    fact(f, "types", &h->types, known->types);
    fputs(" }\n", f);
    if (h->nstates)
        fputs("state_capabilities:\n", f);
    for (u32 k = 0; k < h->nstates; k++)
        fprintf(f, "  - { name: %s, operation: \"%s\" }\n", h->state[k].name, h->state[k].cap.text);
    if (h->nfunctions)
        fputs("function_capabilities:\n", f);
    for (u32 k = 0; k < h->nfunctions; k++) {
        const struct tn_function_cap *c = &h->function[k];

        function(f, c->name, "function", c->function, c->signature, c->address, c->constraint,
                 c->nconstraints, known);
    }
    if (h->nentries)
        fputs("extension_entries:\n", f);
    for (u32 k = 0; k < h->nentries; k++) {
        const struct tn_eim_entry *e = &h->entry[k];

        function(f, e->name, "extension_entry", e->function, e->signature, e->address, e->constraint,
                 e->nconstraints, known);
    }
    if (h->nclasses)
        fputs("extension_classes:\n", f);
    for (u32 k = 0; k < h->nclasses; k++)
        one_class(f, &h->klass[k]);
    defaults(f, h);
}

bool tn_eim_print_known(const struct tn_eim *eim, const char *host, const struct tn_eim_known *known, FILE *f)
{
    for (u32 k = 0; k < eim->nhosts; k++) {
        if (strcmp(eim->host[k].name, host) != 0)
            continue;
        print_host(&eim->host[k], known, f);
        return true;
    }
    return false;
}

bool tn_eim_print(const struct tn_eim *eim, const char *host, FILE *f)
{
    return tn_eim_print_known(eim, host, &(struct tn_eim_known){0}, f);
}

const char *tn_eim_host_name(const struct tn_eim *eim, u32 k)
{
    return k < eim->nhosts ? eim->host[k].name : NULL;
}
