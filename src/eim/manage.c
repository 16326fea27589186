/* SPDX-License-Identifier: MIT */
/*
 * What a manager asks of classes: the smallest that admits a program, what one allows that another does not.
 *
 *      infer   each use in words (words.c) ▸ a class of them ▸ does it admit all? ▸ what can be left out is
 *      diff    bytes of the new less bytes of the old, in words; then everything that is a bit or a name
 */
#include <errno.h>

#include "eim/ask.h"
#include "verify/kfuncs.h"
#include "verify/protos.h"

/* ------------------------------------------------------------------------------------------------- infer */

struct infer {
    const struct tn_eim_uses *uses;
    const struct tn_bfunc *func;
    struct tn_bag *bag;
    struct tn_words words;
    bool typed;
};

static bool recorded_read(const void *self, u32 type, u64 off)
{
    const struct tn_eim_uses *uses = self;

    for (u32 k = 0; k < uses->n; k++) {
        const struct tn_access *a = &uses->row[k].access;

        if (!uses->row[k].call && a->kind == TN_ACCESS_READ && a->btf_id == type && a->offset == off &&
            a->size == 8)
            return true;
    }
    return false;
}

static int add_word(struct infer *i, const char *text)
{
    const char **slot;

    if (!text) /* it was put together, and there was no memory */
        return -ENOMEM;
    for (u32 k = 0; k < i->words.n; k++)
        if (!strcmp(i->words.text[k], text))
            return 0;
    slot = TN_BAG_PUSH(i->bag, i->words.text, i->words.n);
    if (!slot)
        return -ENOMEM;
    *slot = tn_bag_dup(i->bag, text, strlen(text));
    return *slot ? 0 : -ENOMEM;
}

static int add_words(struct infer *i, const struct tn_access *a)
{
    struct tn_words w = {0};
    int err = tn_words_of_access(i->uses->bound, i->func, i->bag, a, recorded_read, i->uses, &w);

    for (u32 k = 0; k < w.n && !err; k++)
        err = add_word(i, w.text[k]);
    return err;
}

static int add_argument(struct infer *i, const struct tn_access *a)
{
    const struct tn_bfunc *f = i->func;
    u32 k = a->entry ? tn_param_at(i->uses->bound->btf, a->entry, a->offset / 8) : a->offset / 8;
    const struct tn_vtype *t = f && f->typed && k <= f->n ? (k < f->n ? &f->param[k].type : &f->ret) : NULL;
    bool handle = t && tn_vtype_is_handle(i->uses->bound->btf, t, k == f->n);
    int err;

    if (i->typed && a->kind == TN_ACCESS_WRITE && t && k == f->n)
        return add_word(i, "replace");
    if (i->typed && a->kind == TN_ACCESS_WRITE && t) {
        err = !handle && *f->param[k].name ? add_word(i, tn_bag_printf(i->bag, "write(%s)", f->param[k].name))
                                           : add_word(i, "write(arguments)");
        return err || handle || !t->pointers ? err
                                             : add_word(i, "write(process)"); /* left out where it is NULL */
    }
    if (!i->typed || a->kind == TN_ACCESS_WRITE || !t)
        return add_word(i, a->kind == TN_ACCESS_WRITE ? "write(arguments)" : "read(arguments)");
    if (handle)
        return 0;
    if (k < f->n && !*f->param[k].name)
        return add_word(i, "read(arguments)");
    return add_word(i, tn_bag_printf(i->bag, "read(%s)", k < f->n ? f->param[k].name : "rtn"));
}

static int add_access(struct infer *i, const struct tn_access *a)
{
    bool write = a->kind == TN_ACCESS_WRITE;

    if (a->buffer) {
        const char *text = tn_words_of_buffer(i->uses->bound, i->func, i->bag, a, recorded_read, i->uses);

        return text ? add_word(i, text) : -ENOENT;
    }
    if (a->process)
        return add_word(i, write ? "write(process)" : "read(process)");
    if (!a->btf_id)
        return add_argument(i, a);
    if (tn_btf_kind_of(i->uses->bound->btf, a->btf_id) != BTF_KIND_FUNC)
        return add_words(i, a);
    for (u32 k = 0; k < i->uses->bound->host->nfunctions; k++)
        if (i->uses->bound->function[k].btf_id == a->btf_id)
            return add_word(i, i->uses->bound->function[k].name);
    return -ENOENT;
}

static int add_call(struct infer *i, const struct tn_eim_use *u)
{
    const struct tn_bound *b = i->uses->bound;
    const struct tn_proto *p = u->helper_id ? tn_proto_by_id(u->helper_id) : NULL;
    const char *name = u->helper_id ? "" : tn_btf_name(b->btf, u->btf_id);

    if (p && p->flags & TN_PF_PROCESS)
        return add_word(i, tn_proto_arg(p, 1)->kind == TN_AK_ANY ? "write(process)" : "read(process)");
    if (p)
        return add_word(i, p->id == TN_PROTO_override_return ? "replace" : p->name);
    for (u32 k = 0; k < b->host->nfunctions; k++) {
        const struct tn_bfunc *f = &b->function[k];
        int err;

        if (f->btf_id != u->btf_id || !f->btf_id)
            continue;
        err = add_word(i, f->name);
        if (!err && f->io)
            err = add_word(i, "IO");
        for (u32 r = 0; r < f->nfact_paths && !err; r++) {
            const struct tn_access of = tn_fact_access(&f->fact_path[r]);

            err = add_words(i, &of);
        }
        return err;
    }
    if (!strcmp(name, "tenon_copy")) /* named by what it reads */
        return 0;
    if (!strcmp(name, "tenon_replace"))
        return add_word(i, "replace");
    if (!tn_kfunc_named(name))
        return -ENOENT;
    return add_word(i, tn_kfunc_takes_address(name) ? "read(process)" : name);
}

static bool admits_all(const struct tn_class *c, const struct infer *i, const struct tn_eim_needs *n,
                       struct tn_error *err)
{
    for (u32 k = 0; k < i->uses->n; k++)
        if (tn_eim_admits(c, n->typed, &i->uses->row[k], err))
            return false;
    return !n->replaces || !tn_eim_replaces(c, err);
}

/* A class of all words but one; skip ≥ n: of all. */
static int try_words(const struct infer *i, struct tn_bag *bag, const char *name, const char *entry,
                     enum tn_eim_generated generated, u32 skip, struct tn_class **ret, struct tn_error *err)
{
    struct tn_eim_at at = {"inferred", 1, 1};
    struct tn_cap *caps = tn_bag_alloc(bag, sizeof(*caps) * (i->words.n + 1));
    u32 n = 0;
    int code = caps ? 0 : -ENOMEM;

    for (u32 k = 0; k < i->words.n && !code; k++)
        if (k != skip)
            code = tn_eim_one_cap(bag, "inferred", i->words.text[k], &caps[n++], err);
    return code ? code : tn_class_make(i->uses->bound, bag, name, entry, &at, generated, caps, n, ret, err);
}

static enum tn_eim_generated split_entry(const char *entry, const char **ret_name)
{
    for (u32 k = 1; k < TN_GEN_COUNT; k++) {
        size_t n = strlen(tn_generated_names[k]);

        if (!strncmp(entry, tn_generated_names[k], n) && entry[n] == ':') {
            *ret_name = entry + n + 1;
            return (enum tn_eim_generated)k;
        }
    }
    *ret_name = entry;
    return TN_GEN_NONE;
}

static int by_text(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static int collect(struct infer *i, const struct tn_eim_needs *needs, struct tn_error *err)
{
    int code =
        add_word(i, tn_bag_printf(i->bag, "instructions < %llu", (unsigned long long)needs->insns + 1));

    if (!code && tn_eim_memory_sum(&needs->memory) > TN_EIM_MEMORY_DEFAULT) {
        u64 room = tn_eim_memory_sum(&needs->memory) + needs->memory.text + 1;

        room = TN_ROUND_UP(room, (u64)TN_EIM_MEMORY_DEFAULT);
        code = add_word(i, tn_bag_printf(i->bag, "memory < %llu KiB", (unsigned long long)(room >> 10)));
    }
    if (!code && needs->replaces)
        code = add_word(i, "replace");
    for (u32 k = 0; k < i->uses->n && !code; k++) {
        const struct tn_eim_use *u = &i->uses->row[k];
        char text[200];

        code = u->answer ? 0 : u->call ? add_call(i, u) : add_access(i, &u->access);
        if (code != -ENOENT)
            continue;
        tn_eim_use_text(i->uses->bound->rule[TN_RULE_observability], u, text, sizeof(text));
        return tn_fail(
            err, code, "cannot_infer",
            "instruction %u: no capability of host \"%.64s\" names this: %s; its specification has to "
            "declare it",
            u->insn, i->uses->bound->host->name, text);
    }
    return code;
}

int tn_eim_infer(const struct tn_eim_uses *uses, const char *name, const char *entry,
                 const struct tn_eim_needs *needs, struct tn_eim_inferred *ret, struct tn_error *err)
{
    _clean_(tn_bag_clear) struct tn_bag bag = {0};
    struct infer i = {.uses = uses, .bag = &bag, .typed = needs->typed};
    const struct tn_eim_entry *e;
    enum tn_eim_generated generated = split_entry(entry, &entry);
    struct tn_class *c = NULL;
    int code;

    if (uses->failed)
        return -ENOMEM;
    e = generated ? NULL : tn_host_entry(uses->bound->host, entry);
    if (!generated && !e)
        return tn_fail(err, -EINVAL, "spec_name", "host \"%.64s\" has no extension entry \"%.64s\"",
                       uses->bound->host->name, entry);
    if (e)
        i.func = &uses->bound->entry[e - uses->bound->host->entry];
    code = collect(&i, needs, err);
    if (code)
        return code;
    if (i.words.n)
        qsort(i.words.text, i.words.n, sizeof(*i.words.text), by_text);
    code = try_words(&i, &bag, name, entry, generated, UINT32_MAX, &c, err);
    if (code)
        return code;
    if (!admits_all(c, &i, needs, err))
        return -EACCES;
    for (u32 k = 0; k < i.words.n;) { /* what the others grant anyway */
        _clean_(tn_bag_clear) struct tn_bag trial = {0};

        if (!strncmp(i.words.text[k], "instructions", 12) || !strncmp(i.words.text[k], "memory", 6)) {
            k++;
            continue;
        }
        code = try_words(&i, &trial, name, entry, generated, k, &c, err);
        if (code)
            return code;
        if (!admits_all(c, &i, needs, NULL)) {
            k++;
            continue;
        }
        memmove(&i.words.text[k], &i.words.text[k + 1], (--i.words.n - k) * sizeof(*i.words.text));
    }
    name = tn_bag_dup(&bag, name, strlen(name));
    entry = tn_bag_dup(&bag, entry, strlen(entry));
    code = name && entry ? try_words(&i, &bag, name, entry, generated, UINT32_MAX, &c, err) : -ENOMEM;
    if (code)
        return code;
    *ret = (struct tn_eim_inferred){c, i.words.text, i.words.n};
    c->bag = bag;
    bag = (struct tn_bag){0};
    return 0;
}

void tn_eim_inferred_clear(struct tn_eim_inferred *inferred)
{
    if (inferred->c) {
        struct tn_bag bag = inferred->c->bag; /* the class lies in it */

        tn_bag_clear(&bag);
    }
    *inferred = (struct tn_eim_inferred){0};
}

void tn_eim_print_class(const struct tn_class *c, FILE *f)
{
    fprintf(f, "  - name: %s\n    extension_entry: %s%s%s\n    allowed:\n", c->name,
            tn_generated_names[c->generated], c->generated ? ":" : "", c->entry);
    for (u32 k = 0; k < c->ncaps; k++)
        fprintf(f, "      - \"%s\"\n", c->cap[k].text);
}

static bool no_reads(const void *self, u32 type, u64 off)
{
    return tn_class_covers(self, false, type, off, off + 8);
}

void tn_eim_use_text(const struct tn_class *c, const struct tn_eim_use *u, char *buf, size_t cap)
{
    _clean_(tn_bag_clear) struct tn_bag bag = {0};
    const struct tn_access *a = &u->access;
    const char *op = a->kind == TN_ACCESS_WRITE ? "write" : "read", *name;
    struct tn_words w = {0};
    size_t used = 0;

    if (u->answer) {
        snprintf(buf, cap, "answer in the function's place");
        return;
    }
    if (u->call) {
        name = u->helper_id ? tn_proto_name(u->helper_id) : tn_btf_name(c->bound->btf, u->btf_id);
        snprintf(buf, cap, "call of %s", name);
        return;
    }
    if (a->process || !a->btf_id) {
        snprintf(buf, cap, "%s(%s)", op, a->process ? "process" : "arguments");
        return;
    }
    name = a->buffer ? tn_words_of_buffer(c->bound, c->func, &bag, a, no_reads, c) : NULL;
    if (name) {
        snprintf(buf, cap, "%s", name);
        return;
    }
    if (tn_access_is_name(c->bound, a)) {
        snprintf(buf, cap, "the address of %s", tn_btf_name(c->bound->btf, a->btf_id));
        return;
    }
    if (!tn_words_of_access(c->bound, c->func, &bag, a, no_reads, c, &w)) {
        for (u32 k = 0; k < w.n && used < cap; k++)
            used += (size_t)snprintf(buf + used, cap - used, "%s%s", k ? ", " : "", w.text[k]);
        return;
    }
    name = tn_btf_name(c->bound->btf, a->btf_id);
    snprintf(buf, cap, "%s of bytes %u to %llu of %s", op, a->offset, (unsigned long long)a->offset + a->size,
             *name ? name : "a type without a name");
}

/* -------------------------------------------------------------------------------------------------- diff */

struct diff {
    const struct tn_class *old, *new;
    void (*say)(void *self, const char *line);
    void *self;
    struct tn_bag bag;
    struct tn_words said;
    int n;
};

static int line(struct diff *d, const char *text)
{
    const char **slot;

    if (!text)
        return -ENOMEM;
    for (u32 k = 0; k < d->said.n; k++)
        if (!strcmp(d->said.text[k], text))
            return 0;
    slot = TN_BAG_PUSH(&d->bag, d->said.text, d->said.n);
    if (!slot)
        return -ENOMEM;
    *slot = text;
    d->n++;
    if (d->say)
        d->say(d->self, text);
    return 0;
}

static int new_bytes(struct diff *d, bool write, u32 type, u64 off, u64 end)
{
    struct tn_words w = {0};
    struct tn_access a = {.kind = write ? TN_ACCESS_WRITE : TN_ACCESS_READ,
                          .btf_id = type,
                          .offset = (u32)off,
                          .size = (u32)(end - off)};
    int err = tn_words_of_access(d->new->bound, d->new->func, &d->bag, &a, no_reads, d->new, &w);

    if (err == -ENOENT)
        return line(d, tn_bag_printf(&d->bag, "%s of bytes %llu to %llu of type %u", write ? "write" : "read",
                                     (unsigned long long)off, (unsigned long long)end, type));
    for (u32 k = 0; k < w.n && !err; k++)
        err = line(d, w.text[k]);
    return err;
}

/* What of [off, end) the old class does not have. */
static int less(struct diff *d, bool write, const struct tn_grant *g)
{
    u64 at = g->off;
    int err = 0;

    for (u32 k = 0; k < d->old->ngrants[write] && !err; k++) {
        const struct tn_grant *o = &d->old->grant[write][k];

        if (o->type != g->type || o->end <= at || o->off >= g->end)
            continue;
        if (o->off > at)
            err = new_bytes(d, write, g->type, at, o->off);
        at = o->end;
    }
    return err || at >= g->end ? err : new_bytes(d, write, g->type, at, g->end);
}

static int diff_limits(struct diff *d)
{
    const struct tn_class *o = d->old, *n = d->new;
    int err = 0;

    if (n->max_insns > o->max_insns)
        err = line(d, n->max_insns == TN_NO_LIMIT ? "instructions < inf"
                                                  : tn_bag_printf(&d->bag, "instructions < %llu",
                                                                  (unsigned long long)n->max_insns + 1));
    if (!err && n->max_memory > o->max_memory)
        err = line(d, n->max_memory == TN_NO_LIMIT
                          ? "memory < inf"
                          : tn_bag_printf(&d->bag, "memory < %llu", (unsigned long long)n->max_memory + 1));
    for (u32 op = 0; op < 2 && !err; op++) {
        if (n->process[op] && !o->process[op])
            err = line(d, op ? "write(process)" : "read(process)");
        if (!err && n->args[op] && !o->args[op])
            err = line(d, op ? "write(arguments)" : "read(arguments)");
    }
    if (!err && n->replace && !o->replace)
        err = line(d, "replace");
    if (!err && n->io && !o->io)
        err = line(d, "IO");
    return err;
}

static bool same_name(const char *const *list, u32 n, const char *name)
{
    for (u32 k = 0; k < n; k++)
        if (!strcmp(list[k], name))
            return true;
    return false;
}

static bool has_condition(const struct tn_bfunc *f, const char *text)
{
    for (u32 k = 0; k < f->nconstraints; k++)
        if (!strcmp(f->constraint[k]->text, text))
            return true;
    return false;
}

/* What is believed of a function's result, or of an entry's arguments; all else is asked of whoever calls, or answers. */
static bool is_believed(const struct tn_cons *c, bool entry)
{
    if (entry)
        return !tn_cons_is_post(c);
    return tn_cons_is_post(c) || (c->kind == TN_CONS_FACT && c->fact == TN_FACT_NULLABLE);
}

/* The specification's part: less is asked, or more believed. */
static int diff_conditions(struct diff *d, const struct tn_bfunc *o, const struct tn_bfunc *n, bool entry)
{
    int err = 0;

    for (u32 k = 0; k < o->nconstraints && !err; k++)
        if (!is_believed(o->constraint[k], entry) && !has_condition(n, o->constraint[k]->text))
            err = line(d, tn_bag_printf(&d->bag, "%s without %s", n->name, o->constraint[k]->text));
    for (u32 k = 0; k < n->nconstraints && !err; k++)
        if (is_believed(n->constraint[k], entry) && !has_condition(o, n->constraint[k]->text))
            err = line(d, tn_bag_printf(&d->bag, "%s with %s", n->name, n->constraint[k]->text));
    return err;
}

static int diff_calls(struct diff *d)
{
    const struct tn_class *o = d->old, *n = d->new;
    int err = 0;

    for (u32 id = 1; id < TN_HELPER_BITS && !err; id++)
        if (n->helpers[id / 64] >> id % 64 & 1 && !(o->helpers[id / 64] >> id % 64 & 1))
            err = line(d, tn_proto_name(id));
    for (u32 k = 0; tn_helper_group_name(k) && !err; k++)
        if (n->kfunc_groups >> k & 1 && !(o->kfunc_groups >> k & 1))
            err = line(d, tn_bag_printf(&d->bag, "helpers(%s)", tn_helper_group_name(k)));
    for (u32 k = 0; k < n->nkfuncs && !err; k++)
        if (!same_name(o->kfunc, o->nkfuncs, n->kfunc[k]) &&
            !(tn_kfunc_group(n->kfunc[k]) >= 0 && o->kfunc_groups >> tn_kfunc_group(n->kfunc[k]) & 1))
            err = line(d, n->kfunc[k]);
    for (u32 k = 0; k < n->ncalls && !err; k++) {
        const struct tn_bfunc *had = NULL;

        for (u32 j = 0; j < o->ncalls; j++)
            if (!strcmp(o->call[j]->function, n->call[k]->function))
                had = o->call[j];
        err = had ? diff_conditions(d, had, n->call[k], false) : line(d, n->call[k]->name);
    }
    if (!err && o->func && n->func && !strcmp(o->func->function, n->func->function))
        err = diff_conditions(d, o->func, n->func, true);
    return err;
}

static bool same_buffer(const struct tn_buffer *a, const struct tn_buffer *b)
{
    return a->type == b->type && a->pointer_off == b->pointer_off && a->inside == b->inside &&
           a->element == b->element && a->first == b->first && a->end == b->end &&
           a->length_off == b->length_off && a->length_size == b->length_size && a->write == b->write;
}

static int diff_state(struct diff *d)
{
    const struct tn_class *o = d->old, *n = d->new;
    int err = 0;

    for (u32 op = 0; op < 2; op++)
        for (u32 k = 0; k < n->ngrants[op] && !err; k++)
            err = less(d, op, &n->grant[op][k]);
    for (u32 k = 0; k < n->nvars && !err; k++)
        if (!tn_class_names(o, n->var[k]))
            err = line(d, tn_bag_printf(&d->bag, "the address of %s", tn_btf_name(n->bound->btf, n->var[k])));
    for (u32 k = 0; k < n->nbuffers && !err; k++) {
        bool had = false;

        for (u32 j = 0; j < o->nbuffers; j++)
            had |= same_buffer(&o->buffer[j], &n->buffer[k]);
        if (!had)
            err = line(d, n->cap[n->buffer[k].cap].text);
    }
    for (u32 k = 0; n->func && k <= n->func->n && k < 64 && !err; k++) {
        const struct tn_vtype *t = k < n->func->n ? &n->func->param[k].type : &n->func->ret;
        bool handle = tn_vtype_is_handle(n->bound->btf, t, k == n->func->n);

        if (!handle && n->arg_values >> k & 1 && !(o->func == n->func && o->arg_values >> k & 1) &&
            !o->args[TN_READ])
            err =
                line(d, tn_bag_printf(&d->bag, "read(%s)", k < n->func->n ? n->func->param[k].name : "rtn"));
        if (!err && n->arg_writes >> k & 1 && !(o->func == n->func && o->arg_writes >> k & 1) &&
            !o->args[TN_WRITE])
            err = line(d, tn_bag_printf(&d->bag, "write(%s)", n->func->param[k].name));
    }
    return err;
}

static int diff_who(struct diff *d)
{
    const struct tn_class *o = d->old, *n = d->new;
    int err = 0;

    if (!o->nwho)
        return 0;
    if (!n->nwho)
        return line(d, "who: anybody");
    for (u32 k = 0; k < n->nwho && !err; k++) {
        const struct tn_admitted *w = &n->who[k];
        bool had = false;

        for (u32 j = 0; j < o->nwho; j++)
            had |= o->who[j].group == w->group && o->who[j].known == w->known &&
                   (w->known ? o->who[j].id == w->id : !strcmp(o->who[j].name, w->name));
        if (!had)
            err = line(d, w->name ? tn_bag_printf(&d->bag, "who: %s:%s", w->group ? "gid" : "uid", w->name)
                                  : tn_bag_printf(&d->bag, "who: %s:%u", w->group ? "gid" : "uid", w->id));
    }
    return err;
}

int tn_eim_diff(const struct tn_class *old, const struct tn_class *new,
                void (*say)(void *self, const char *line), void *self, struct tn_error *err)
{
    struct diff d = {.old = old, .new = new, .say = say, .self = self};
    int code;

    if (old->bound->btf != new->bound->btf && !tn_btf_same(old->bound->btf, new->bound->btf))
        return tn_fail(err, -EINVAL, "other_types", "the two classes belong to hosts with different types");
    code = diff_limits(&d);
    if (!code && (old->generated != new->generated || strcmp(old->entry, new->entry) != 0))
        code = line(&d, tn_bag_printf(&d.bag, "extension_entry: %s%s%s", tn_generated_names[new->generated],
                                      new->generated ? ":" : "", new->entry));
    if (!code)
        code = diff_calls(&d);
    if (!code)
        code = diff_state(&d);
    if (!code)
        code = diff_who(&d);
    tn_bag_clear(&d.bag);
    return code ? code : d.n;
}
