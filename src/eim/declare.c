/* SPDX-License-Identifier: MIT */
/* A specification row by row, and prototypes that it does not write, in the words of the host's types. */
#include <errno.h>

#include "eim/bind.h"

/* A type as prototypes write it: "struct request *". Qualifiers are left out. False: it has no word. */
static bool type_text(const struct tn_btf *btf, u32 id, FILE *f, const char *name)
{
    const struct btf_type *t;
    u32 stars = 0;

    for (;; id = t->type) {
        t = tn_btf_type(btf, id);
        if (!id || !t)
            break;
        if (tn_btf_kind(t) == BTF_KIND_PTR)
            stars++;
        else if (tn_btf_kind(t) != BTF_KIND_CONST && tn_btf_kind(t) != BTF_KIND_VOLATILE &&
                 tn_btf_kind(t) != BTF_KIND_RESTRICT && tn_btf_kind(t) != BTF_KIND_TYPE_TAG)
            break;
    }
    if (stars > 4)
        return false;
    switch (id ? tn_btf_kind(t) : BTF_KIND_UNKN) {
    case BTF_KIND_UNKN:
        fputs("void", f);
        break;
    case BTF_KIND_INT:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPEDEF:
        fputs(tn_btf_name(btf, id), f);
        break;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_FWD:
    case BTF_KIND_ENUM:
    case BTF_KIND_ENUM64:
        if (!*tn_btf_name(btf, id))
            return false;
        fprintf(f, "%s %s",
                tn_btf_kind(t) == BTF_KIND_UNION ||
                        (tn_btf_kind(t) == BTF_KIND_FWD && BTF_INFO_KFLAG(t->info))
                    ? "union"
                : tn_btf_kind(t) == BTF_KIND_ENUM || tn_btf_kind(t) == BTF_KIND_ENUM64 ? "enum"
                                                                                       : "struct",
                tn_btf_name(btf, id));
        break;
    case BTF_KIND_FUNC_PROTO: /* what it takes is not looked at (lang.h) */
        if (stars != 1 || !name)
            return false;
        fprintf(f, "void (*%s)()", name);
        return true;
    default:
        return false;
    }
    fprintf(f, "%s%.*s%s", stars || (name && *name) ? " " : "", (int)stars, "****", name ? name : "");
    return true;
}

char *tn_eim_prototype(const struct tn_btf *btf, u32 func)
{
    const struct btf_type *proto = tn_btf_type(btf, tn_btf_type(btf, func)->type);
    const struct btf_param *p = tn_btf_params(proto);
    size_t len = 0;
    char *text = NULL;
    FILE *f = open_memstream(&text, &len);
    bool good = f && tn_btf_vlen(proto) <= TN_PARAMS_MAX && type_text(btf, proto->type, f, NULL);

    if (!f)
        return NULL;
    fputs(good && tn_btf_vlen(proto) ? " (" : " (void", f);
    for (u32 k = 0; k < tn_btf_vlen(proto) && good; k++) {
        const char *name = tn_btf_string(btf, p[k].name_off);

        if (!strcmp(name, "process") || !strcmp(name, "arguments") || !strcmp(name, "rtn"))
            name = ""; /* these have a meaning in capabilities */
        if (k)
            fputs(", ", f);
        good = p[k].type && type_text(btf, p[k].type, f, name);
    }
    fputs(")", f);
    if (!fclose(f) && good)
        return text;
    free(text);
    return NULL;
}

static void constraints(struct tn_cons *const *cons, u32 n, struct tn_eim_item *ret)
{
    ret->nconstraints = TN_MIN(n, (u32)TN_ARRAY_SIZE(ret->constraint));
    for (u32 k = 0; k < ret->nconstraints; k++)
        ret->constraint[k] = cons[k]->text;
}

static void place(const struct tn_eim_at *at, struct tn_eim_item *ret)
{
    ret->file = at->file;
    ret->line = at->line;
    ret->column = at->column;
}

bool tn_eim_item(const struct tn_eim *eim, const char *host, u32 k, struct tn_eim_item *ret)
{
    const struct tn_host *h = NULL;

    for (u32 i = 0; i < eim->nhosts && !h; i++)
        if (!strcmp(eim->host[i].name, host))
            h = &eim->host[i];
    if (!h)
        return false;
    *ret = (struct tn_eim_item){0};
    if (k < h->nentries) {
        const struct tn_eim_entry *e = &h->entry[k];

        ret->kind = TN_ITEM_ENTRY;
        ret->name = e->name;
        ret->what = ret->symbol = e->function;
        ret->prototype = e->signature ? e->signature->text : NULL;
        ret->address = e->address;
        place(&e->function_at, ret);
        constraints(e->constraint, e->nconstraints, ret);
        return true;
    }
    k -= h->nentries;
    if (k < h->nfunctions) {
        const struct tn_function_cap *c = &h->function[k];

        ret->kind = TN_ITEM_FUNCTION;
        ret->name = c->name;
        ret->what = ret->symbol = c->function;
        ret->prototype = c->signature ? c->signature->text : NULL;
        ret->address = c->address;
        place(&c->function_at, ret);
        constraints(c->constraint, c->nconstraints, ret);
        return true;
    }
    k -= h->nfunctions;
    if (k < h->nstates) {
        const struct tn_state_cap *s = &h->state[k];

        ret->kind = TN_ITEM_STATE;
        ret->name = s->name;
        ret->what = s->cap.text;
        ret->symbol = s->cap.path->root;
        place(&s->at, ret);
        return true;
    }
    k -= h->nstates;
    if (k < h->nclasses) {
        const struct tn_class_spec *c = &h->klass[k];

        ret->kind = TN_ITEM_CLASS;
        ret->name = c->name;
        ret->what = c->entry;
        ret->generated = tn_generated_names[c->generated];
        if (c->generated == TN_GEN_UPROBE || c->generated == TN_GEN_URETPROBE)
            ret->symbol = c->entry;
        place(&c->entry_at, ret);
        return true;
    }
    return false;
}

int tn_eim_check_build(const struct tn_eim *eim, const char *host, const u8 *id, u32 n, struct tn_error *err)
{
    const struct tn_text_at *said = NULL;
    char hex[2 * 64 + 1] = "";

    for (u32 k = 0; k < eim->nhosts; k++)
        if (!strcmp(eim->host[k].name, host))
            said = &eim->host[k].build_id;
    for (u32 k = 0; k < TN_MIN(n, 64u); k++)
        snprintf(hex + 2 * k, 3, "%02x", id[k]);
    if (!said || !said->text || !strcasecmp(said->text, hex))
        return 0;
    return tn_eim_fail(
        err, &said->at, -ESTALE, "other_build",
        "the specification is of build %.128s, and the binary of host \"%.64s\" is %s%s: extract it again",
        said->text, host, *hex ? "build " : "of none that is known", hex);
}

const char *tn_eim_rule_of(const struct tn_eim *eim, const char *host, enum tn_eim_place at)
{
    const enum tn_eim_generated kind = tn_eim_place_rule(at);

    for (u32 k = 0; k < eim->nhosts; k++)
        if (!strcmp(eim->host[k].name, host) && eim->host[k].rule[kind].set)
            return tn_rule_names[eim->host[k].rule[kind].rule];
    return tn_rule_names[TN_RULE_denied];
}
