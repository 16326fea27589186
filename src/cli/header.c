/* SPDX-License-Identifier: MIT */
/* See header.h. Types are written by libbpf, from the host's, which were checked when they were read. */
#include "cli/header.h"

#include <bpf/btf.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>

struct header {
    FILE *f;
    const struct tn_cli_host *host;
    const struct tn_cli_policy *policy;
    struct btf *btf; /* ids are those of the base form (host/types.h) */
    struct btf_dump *dump;
    bool *seen; /* by id: its pointers were followed */
};

static void print(void *self, const char *fmt, va_list ap)
{
    vfprintf(((struct header *)self)->f, fmt, ap);
}

/* The types that a function or variable is made of, each before it is used. */
static int dump_of(struct header *h, u32 id)
{
    const struct btf_type *t = btf__type_by_id(h->btf, id);
    int r = 0;

    if (!t)
        return -ENOENT;
    if (btf_is_var(t) || btf_is_func(t))
        return dump_of(h, t->type);
    if (btf_is_func_proto(t)) {
        for (u32 k = 0; k < btf_vlen(t) && !r; k++)
            r = btf_params(t)[k].type ? dump_of(h, btf_params(t)[k].type) : 0;
        return r || !t->type ? r : dump_of(h, t->type);
    }
    /* Of a pointer, what it points to: whole, since programs look inside. */
    if (btf_is_ptr(t) || btf_is_mod(t) || btf_is_array(t))
        return t->type || btf_is_array(t) ? dump_of(h, btf_is_array(t) ? btf_array(t)->type : t->type) : 0;
    if (h->seen[id])
        return 0;
    h->seen[id] = true;
    if (btf_is_typedef(t))
        r = dump_of(h, t->type);
    for (u32 k = 0; btf_is_composite(t) && k < btf_vlen(t) && !r; k++)
        r = btf_members(t)[k].type ? dump_of(h, btf_members(t)[k].type) : 0;
    return r || !id || (btf_is_composite(t) && !t->name_off) ? r : btf_dump__dump_type(h->dump, id);
}

static int declare(struct header *h, u32 id, const char *name)
{
    const struct btf_dump_emit_type_decl_opts opts = {.sz = sizeof(opts), .field_name = name};

    return btf_dump__emit_type_decl(h->dump, id, &opts);
}

static u32 id_of(const struct header *h, const struct tn_eim_item *item)
{
    const struct tn_host_func *f;
    const struct tn_host_var *v;

    if (item->kind == TN_ITEM_STATE) {
        v = tn_host_types_var_named(h->host->types, item->symbol, 0);
        return v ? v->type : 0;
    }
    f = tn_host_types_func_named(h->host->types, item->symbol, 0);
    return f ? f->type : 0;
}

/* Each row's types; a state's path may begin with a type instead of a variable. */
static int types(struct header *h)
{
    struct tn_eim_item item;
    int r = 0;

    fputs("#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)\n\n",
          h->f);
    for (u32 k = 0; tn_eim_item(h->policy->eim, h->policy->name, k, &item) && !r; k++)
        if (item.kind != TN_ITEM_CLASS && id_of(h, &item))
            r = dump_of(h, id_of(h, &item));
    fputs("#pragma clang attribute pop\n", h->f);
    return r;
}

static void comment(struct header *h, const struct tn_eim_item *item)
{
    fprintf(h->f, "\n/* %s", item->name);
    for (u32 k = 0; k < item->nconstraints; k++)
        fprintf(h->f, "%s %s", k ? "," : ":", item->constraint[k]);
    fputs(" */\n", h->f);
}

/* `int f(struct request *r)`, and each argument by its name. */
static int function(struct header *h, const struct tn_eim_item *item, u32 id)
{
    const struct btf_type *proto = btf__type_by_id(h->btf, btf__type_by_id(h->btf, id)->type);
    u32 n = btf_vlen(proto);
    int r;

    fputs("extern ", h->f);
    if (proto->type)
        r = declare(h, proto->type, "");
    else
        r = fputs("void", h->f) < 0 ? -EIO : 0;
    fprintf(h->f, " %s(%s", item->symbol, n ? "" : "void");
    for (u32 k = 0; k < n && !r; k++) {
        fputs(k ? ", " : "", h->f);
        r = declare(h, btf_params(proto)[k].type, btf__name_by_offset(h->btf, btf_params(proto)[k].name_off));
    }
    fputs(") __ksym;\n", h->f);
    return r;
}

static int one(struct header *h, const struct tn_eim_item *item)
{
    u32 id = id_of(h, item);
    _free_ char *prototype = NULL;
    struct tn_error why = {0};
    int r = 0;

    if (!id || tn_cli_item_there(h->host, item, &why)) {
        fprintf(h->f, "\n/* %s: %s%s cannot be used from C: %s */\n", item->name, item->what,
                item->kind == TN_ITEM_STATE ? "" : "()",
                *why.message ? why.message : "its type is not known");
        return 0;
    }
    comment(h, item);
    switch (item->kind) {
    case TN_ITEM_ENTRY:
        prototype = tn_cli_item_prototype(h->host, item);
        fprintf(h->f, "/* %s: %s */\n#define ENTRY_%s \"%s\"\n", item->symbol, prototype ? prototype : "?",
                item->name, item->symbol);
        return 0;
    case TN_ITEM_FUNCTION:
        return function(h, item, id);
    default:
        fputs("extern ", h->f);
        r = declare(h, btf__type_by_id(h->btf, id)->type, item->symbol);
        fputs(" __ksym;\n", h->f);
        return r;
    }
}

static int body(struct header *h)
{
    static const enum tn_eim_item_kind order[] = {TN_ITEM_FUNCTION, TN_ITEM_STATE, TN_ITEM_ENTRY};
    const char *name = h->policy->name;
    _free_ char *guard = strdup(name);
    struct tn_eim_item item, before;
    int r;

    if (!guard)
        return -ENOMEM;
    for (char *c = guard; *c; c++)
        *c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
    fprintf(h->f,
            "/*\n * What host \"%s\" offers to extensions%s%s. Made by tenon spec header.\n *\n"
            " *      SEC(\"fentry/\" ENTRY_name)     before the entry's function\n"
            " *      SEC(\"fexit/\" ENTRY_name)      after it\n"
            " *      SEC(\"fmod_ret/\" ENTRY_name)   in its place: non-zero is its result\n */\n"
            "#ifndef TENON_%s_H\n#define TENON_%s_H\n\n#ifndef __ksym\n#define __ksym "
            "__attribute__((section(\".ksyms\")))\n#endif\n\n",
            name, h->host->build_id[0] ? ", build " : "", h->host->build_id, guard, guard);
    r = types(h);
    for (size_t o = 0; o < TN_ARRAY_SIZE(order) && !r; o++)
        for (u32 k = 0; tn_eim_item(h->policy->eim, name, k, &item) && !r; k++) {
            bool seen = false;

            if (item.kind != order[o])
                continue;
            /* One variable may have two capabilities, and is one variable. */
            for (u32 j = 0; j < k && item.kind != TN_ITEM_ENTRY; j++)
                seen |= tn_eim_item(h->policy->eim, name, j, &before) && before.kind == item.kind &&
                        !strcmp(before.symbol, item.symbol);
            if (!seen)
                r = one(h, &item);
        }
    fputs("\n#endif\n", h->f);
    return r;
}

int tn_cli_header(const struct tn_cli_host *host, const struct tn_cli_policy *policy, FILE *f,
                  struct tn_error *err)
{
    struct header h = {.f = f, .host = host, .policy = policy};
    u64 size;
    const void *raw = tn_host_types_raw(host->types, &size);
    int r;

    h.btf = btf__new(raw, (u32)size);
    if (!h.btf)
        return tn_fail(err, -errno, "types_damaged", "libbpf does not take the types of %s", host->file);
    h.seen = calloc(btf__type_cnt(h.btf), sizeof(*h.seen));
    h.dump = btf_dump__new(h.btf, print, &h, NULL);
    r = !h.seen ? -ENOMEM : h.dump ? body(&h) : -errno;
    btf_dump__free(h.dump);
    btf__free(h.btf);
    free(h.seen);
    return r ? tn_fail(err, r, "header", "writing the types of %s: %s", host->file, strerror(-r)) : 0;
}
