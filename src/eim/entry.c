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

static bool is_param(const struct tn_bfunc *f, const struct tn_operand *o, u32 arg)
{
    return o->kind == TN_OP_PATH && o->path && !o->path->n && !o->path->deref && arg < f->n &&
           !strcmp(o->path->root, f->param[arg].name);
}

/* What holds in every case: facts that stand alone, or joined by "and". */
static bool promises(const struct tn_bfunc *f, const struct tn_cons *c, u32 arg)
{
    switch (c->kind) {
    case TN_CONS_AND:
        return promises(f, c->a, arg) || promises(f, c->b, arg);
    case TN_CONS_FACT:
        return (c->fact == TN_FACT_NONNULL || c->fact == TN_FACT_TRUSTED) && is_param(f, &c->arg[0], arg);
    default:
        return false;
    }
}

bool tn_eim_promises(const struct tn_bound *b, u32 btf_id, u32 arg)
{
    for (u32 k = 0; k < b->host->nentries; k++) {
        const struct tn_bfunc *f = &b->entry[k];

        for (u32 i = 0; f->btf_id == btf_id && i < f->nconstraints; i++)
            if (promises(f, f->constraint[i], arg))
                return true;
    }
    return false;
}

static const char *const places[] = {[TN_AT_FUNCTION] = "the entry of a function",
                                     [TN_AT_UPROBE] = "a probe of a function's entry or inside",
                                     [TN_AT_URETPROBE] = "a probe of a function's return",
                                     [TN_AT_SYSCALL] = "a system call"};

int tn_eim_admits_place(const struct tn_class *c, enum tn_eim_place place, const char *function, u32 btf_id,
                        struct tn_error *err)
{
    static const enum tn_eim_generated generated[] = {[TN_AT_FUNCTION] = TN_GEN_NONE,
                                                      [TN_AT_UPROBE] = TN_GEN_UPROBE,
                                                      [TN_AT_URETPROBE] = TN_GEN_URETPROBE,
                                                      [TN_AT_SYSCALL] = TN_GEN_SYSENTER};
    bool fits;

    if (!c->entry || !strcmp(c->entry, "*")) /* of a rule: wherever it is the default */
        return 0;
    if (place == TN_AT_FUNCTION)
        fits = c->generated == TN_GEN_NONE && c->func && c->func->btf_id && c->func->btf_id == btf_id;
    else
        fits = c->generated == generated[place] && function && !strcmp(c->entry, function);
    if (fits)
        return 0;
    return tn_fail(err, -EACCES, "class_entry",
                   "class \"%.64s\" stands for %.100s, and the program is for %s%s%.100s", c->name, c->entry,
                   places[place], function && *function ? " of " : "", function && *function ? function : "");
}
