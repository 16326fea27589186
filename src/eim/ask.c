/* SPDX-License-Identifier: MIT */
/*
 * The verifier's questions, answered by a class: yes, or a refusal that can be pasted.
 *
 *      class "firewall" does not allow this write
 *      needs  write(r->headers_out.status)
 *      has    read(r->uri.data[0 .. r->uri.len]), finalizeRequest, replace
 *
 * Saying yes is a binary search or a bit; what is missing is spelt out only when it is missing.
 */
#include <errno.h>

#include "eim/ask.h"
#include "verify/kfuncs.h"
#include "verify/protos.h"

#define REASON "class_denies"

/* ------------------------------------------------------------------------------------------- refusals */

/* The texts of a list, as far as they fit. */
static void join(char *buf, size_t cap, const char *const *list, u32 n)
{
    size_t used = 0;

    buf[0] = 0;
    for (u32 k = 0; k < n; k++) {
        if (used + strlen(list[k]) + 12 > cap) {
            snprintf(buf + used, cap - used, ", …");
            return;
        }
        used += (size_t)snprintf(buf + used, cap - used, "%s%s", k ? ", " : "", list[k]);
    }
}

static int deny(const struct tn_class *c, struct tn_error *err, const char *what, const char *const *needs,
                u32 nneeds)
{
    char needed[260], held[140];
    const char *has[64];
    u32 n = 0;

    for (u32 k = 0; k < c->ncaps && n < TN_ARRAY_SIZE(has); k++)
        if (c->cap[k].kind != TN_CAP_INSTRUCTIONS && c->cap[k].kind != TN_CAP_MEMORY)
            has[n++] = c->cap[k].text;
    join(needed, sizeof(needed), needs, nneeds);
    join(held, sizeof(held), has, n);
    return tn_fail(err, -EACCES, REASON, "class \"%.64s\" does not allow this %s\nneeds  %s\nhas    %s",
                   c->name, what, nneeds ? needed : "what no capability names",
                   n ? held : "nothing besides its limits");
}

static int deny_one(const struct tn_class *c, struct tn_error *err, const char *what, const char *need)
{
    return deny(c, err, what, &need, 1);
}

static bool class_reads(const void *self, u32 type, u64 off)
{
    return tn_class_covers(self, false, type, off, off + 8);
}

static int deny_bytes(const struct tn_class *c, struct tn_error *err, const struct tn_access *a)
{
    const char *what = tn_access_is_name(c->bound, a) ? "use of a variable's address"
                       : a->kind == TN_ACCESS_WRITE   ? "write"
                                                      : "read";
    struct tn_bag bag = {0};
    struct tn_words words = {0};
    int code;

    if (tn_words_of_access(c->bound, c->func, &bag, a, class_reads, c, &words))
        words.n = 0;
    code = deny(c, err, what, words.text, words.n);
    tn_bag_clear(&bag);
    return code;
}

/* ------------------------------------------------------------------------------------------- access */

static int ask_buffer(const struct tn_class *c, const struct tn_access *a, struct tn_error *err)
{
    struct tn_bag bag = {0};
    const char *need;
    int code;

    for (u32 k = 0; k < c->nbuffers; k++)
        if (tn_buffer_is(&c->buffer[k], a) && (!a->var || tn_class_names(c, a->var)))
            return 0;
    need = tn_words_of_buffer(c->bound, c->func, &bag, a, class_reads, c);
    code = deny(c, err, a->kind == TN_ACCESS_WRITE ? "write to a buffer" : "copy of a buffer", &need,
                need ? 1 : 0);
    tn_bag_clear(&bag);
    return code;
}

static int ask_argument(const struct tn_asker *q, const struct tn_access *a, struct tn_error *err)
{
    const struct tn_bfunc *f = q->c->func;
    u32 k = a->entry ? tn_param_at(q->c->bound->btf, a->entry, a->offset / 8) : a->offset / 8;
    const struct tn_vtype *t;
    char need[128];

    if (!f || !f->typed || k > f->n || k >= 64)
        return deny_one(q->c, err, "read of an argument", "read(arguments)");
    t = k < f->n ? &f->param[k].type : &f->ret;
    /* A typed pointer is but a handle: what lies behind it is asked field by field. */
    if (tn_vtype_is_handle(q->c->bound->btf, t, k == f->n) || q->c->arg_values >> k & 1)
        return 0;
    snprintf(need, sizeof(need), "read(%.100s)",
             k == f->n           ? "rtn"
             : *f->param[k].name ? f->param[k].name
                                 : "arguments");
    return deny_one(q->c, err, "read of an argument", need);
}

/* A store to a word of a typed context: of the result, or of an argument, of which every entry that stands for the function
   says something. */
static int ask_change(const struct tn_asker *q, const struct tn_access *a, struct tn_error *err)
{
    const struct tn_class *c = q->c;
    const struct tn_btf *btf = c->bound->btf;
    const struct btf_type *f = tn_btf_type(btf, a->entry), *proto = f ? tn_btf_type(btf, f->type) : NULL;
    u32 k = tn_param_at(btf, a->entry, a->offset / 8);
    struct tn_vtype t;
    const char *name;
    char need[128];
    int code = 0;

    if (!proto || !a->value)
        return deny_one(c, err, "write of an argument", "write(arguments)");
    if (k >= tn_btf_vlen(proto)) {
        struct tn_call_answer answer = {
            .value = a->value[0], .low = a->value[1], .btf_id = a->entry, .insn = a->insn};

        return c->replace ? tn_ask_answer(q, &answer, err)
                          : deny_one(c, err, "change of a result", "replace");
    }
    t = tn_vtype_of(btf, tn_btf_params(proto)[k].type);
    name = c->func && c->func->typed && k < c->func->n ? c->func->param[k].name : "";
    snprintf(need, sizeof(need), "write(%.100s)",
             *name && !tn_vtype_is_handle(btf, &t, false) ? name : "arguments");
    if (!c->args[TN_WRITE] && !(k < 64 && c->arg_writes >> k & 1))
        return deny_one(c, err, "write of an argument", need);
    for (u32 e = 0; e < c->bound->host->nentries && !code; e++)
        if (c->bound->entry[e].btf_id == a->entry)
            code = tn_cons_argument(btf, &c->bound->entry[e], k, a->value, c->process[TN_WRITE], err);
    return code;
}

int tn_ask_access(const struct tn_asker *q, const struct tn_access *a, struct tn_error *err)
{
    const struct tn_class *c = q->c;
    bool write = a->kind == TN_ACCESS_WRITE;

    if (a->process) {
        if (c->process[write])
            return 0;
        return deny_one(c, err,
                        write ? "write to an address of the process" : "read of an address of the process",
                        write ? "write(process)" : "read(process)");
    }
    if (!a->btf_id && write && q->typed)
        return ask_change(q, a, err);
    if (!a->btf_id) {
        if (c->args[write])
            return 0;
        if (write || !q->typed)
            return deny_one(c, err, write ? "write of an argument" : "read of an argument",
                            write ? "write(arguments)" : "read(arguments)");
        return ask_argument(q, a, err);
    }
    if (a->buffer)
        return ask_buffer(c, a, err);
    if (tn_btf_kind_of(c->bound->btf, a->btf_id) == BTF_KIND_FUNC) {
        for (u32 k = 0; k < c->ncalls; k++)
            if (c->call[k]->btf_id == a->btf_id)
                return 0;
        return deny_one(c, err, "use of a function's address", "a function capability for it");
    }
    if (tn_access_is_name(c->bound, a)) {
        if (tn_class_names(c, a->btf_id))
            return 0;
    } else if (tn_class_covers_places(c, a) && (!a->var || tn_class_names(c, a->var))) {
        return 0;
    }
    return deny_bytes(c, err, a);
}

/* ------------------------------------------------------------------------------------------------ calls */

static const struct tn_bfunc *find_call(const struct tn_class *c, u32 btf_id)
{
    u32 at;

    TN_PARTITION(at, c->ncalls, c->call[at]->btf_id < btf_id);
    return at < c->ncalls && c->call[at]->btf_id == btf_id ? c->call[at] : NULL;
}

static int ask_conditions(const struct tn_class *c, const struct tn_bfunc *f, const struct tn_call *call,
                          struct tn_error *err)
{
    for (u32 k = 0; k < f->nconstraints; k++) {
        const struct tn_cons *cons = f->constraint[k];
        int holds;

        if (tn_cons_is_post(cons))
            continue;
        holds = tn_cons_holds(f, cons, call->args, call->nargs);
        if (holds == 1)
            continue;
        return tn_fail(err, -EACCES, "precondition",
                       "%.64s is called where its condition %s: %.200s (%.100s:%u:%u)", f->function,
                       holds ? "is not known to hold; test it first" : "does not hold", cons->text,
                       cons->at.file, cons->at.line, cons->at.column);
    }
    if (f->io && !c->io)
        return deny_one(c, err, "call of a function that does input or output", "IO");
    for (u32 k = 0; k < f->nfact_paths; k++) {
        struct tn_access a = tn_fact_access(&f->fact_path[k]);

        if (!tn_class_covers(c, f->fact_path[k].write, a.btf_id, a.offset, (u64)a.offset + a.size))
            return deny_bytes(c, err, &a);
    }
    return 0;
}

static int ask_function(const struct tn_class *c, const struct tn_call *call, struct tn_call_facts *facts,
                        struct tn_error *err)
{
    const char *name = tn_btf_name(c->bound->btf, call->btf_id);
    const struct tn_bfunc *f = find_call(c, call->btf_id);
    char what[120];
    int code, group;

    if (f) {
        code = tn_entry_may_call(c, f, err);
        if (!code)
            code = ask_conditions(c, f, call, err);
        if (!code)
            tn_cons_result(f, call->args, call->nargs, facts);
        return code;
    }
    snprintf(what, sizeof(what), "call of %.80s", name);
    if (!strcmp(name, "tenon_replace")) /* what it answers is asked by itself */
        return c->replace ? 0 : deny_one(c, err, what, "replace");
    if (!strcmp(name, "tenon_copy")) /* the bytes are asked for by themselves */
        return 0;
    for (u32 k = 0; k < c->bound->host->nfunctions; k++)
        if (c->bound->function[k].btf_id == call->btf_id)
            return deny_one(c, err, what, c->bound->function[k].name);
    if (!tn_kfunc_named(name))
        return tn_fail(
            err, -EACCES, REASON,
            "class \"%.64s\" does not allow this %s\nneeds  a function capability for %.64s, which the "
            "specification of \"%.64s\" does not have",
            c->name, what, name, c->bound->host->name);
    if (tn_kfunc_takes_address(name) && !c->process[TN_READ])
        return deny_one(c, err, what, "read(process)");
    group = tn_kfunc_group(name);
    if (tn_kfunc_takes_address(name) || (group >= 0 && c->kfunc_groups >> group & 1))
        return 0;
    for (u32 k = 0; k < c->nkfuncs; k++)
        if (!strcmp(c->kfunc[k], name))
            return 0;
    return deny_one(c, err, what, name);
}

int tn_ask_call(const struct tn_asker *q, const struct tn_call *call, struct tn_call_facts *facts,
                struct tn_error *err)
{
    const struct tn_class *c = q->c;
    const struct tn_proto *p;
    char what[80];

    if (!call->helper_id)
        return ask_function(c, call, facts, err);
    if (call->helper_id < TN_HELPER_BITS && c->helpers[call->helper_id / 64] >> call->helper_id % 64 & 1)
        return 0;
    p = tn_proto_by_id(call->helper_id);
    if (p && p->flags & TN_PF_PROCESS && c->process[tn_proto_arg(p, 1)->kind == TN_AK_ANY])
        return 0; /* those are the capability itself */
    if (p && call->helper_id == TN_PROTO_override_return && c->replace)
        return 0;
    snprintf(what, sizeof(what), "call of %.60s", tn_proto_name(call->helper_id));
    return deny_one(c, err, what,
                    call->helper_id == TN_PROTO_override_return ? "replace" : tn_proto_name(call->helper_id));
}

/* ---------------------------------------------------------------------------------------------- answers */

/* What every entry that stands for the function promises; where none does, the type that it returns. */
int tn_ask_answer_of(const struct tn_bound *b, const char *function, const struct tn_call_answer *a,
                     struct tn_error *err)
{
    struct tn_bfunc types = {.function = function, .typed = true};
    bool declared = false;
    u32 id;
    int code = 0;

    for (u32 k = 0; k < b->host->nentries && !code; k++) {
        if (strcmp(b->entry[k].function, function) != 0)
            continue;
        declared = true;
        code = tn_cons_answer(&b->entry[k], a, err);
    }
    id = declared ? 0 : tn_btf_find(b->btf, BTF_KIND_FUNC, function);
    if (!id)
        return code;
    types.ret = tn_vtype_of(b->btf, tn_btf_type(b->btf, tn_btf_type(b->btf, id)->type)->type);
    return tn_cons_answer(&types, a, err);
}

/* One register an argument, where all before it are of that kind, and none says where the result is to be. */
static bool in_registers(const struct tn_btf *btf, const struct tn_bfunc *f, u32 k)
{
    bool so = f->typed && (f->ret.pointers || !tn_is_composite(btf, f->ret.id));

    for (u32 n = 0; so && n < f->n && n <= k; n++)
        so = f->param[n].type.pointers ||
             (f->param[n].type.number && !f->param[n].type.real && f->param[n].type.size <= 8);
    return so;
}

int tn_ask_register_of(const struct tn_class *c, const char *function, u32 k, const struct tn_call_arg *value,
                       struct tn_error *err)
{
    const struct tn_bound *b = c->bound;
    int code = 0;

    for (u32 e = 0; e < b->host->nentries && !code; e++) {
        const struct tn_bfunc *f = &b->entry[e];
        bool any = false;

        if (strcmp(f->function, function) != 0)
            continue;
        for (u32 n = 0; n < TN_MAX(f->n, 1u); n++)
            any |= tn_cons_of_argument(f, n);
        if (!any || (in_registers(b->btf, f, k) && k >= f->n))
            continue;
        if (!in_registers(b->btf, f, k))
            code = tn_fail(err, -EACCES, "precondition",
                           "which argument of %.64s this register has is not told, and its specification "
                           "says what holds of some",
                           function);
        else if (tn_cons_of_argument(f, k))
            code = tn_cons_argument(b->btf, f, k, value, true, err);
    }
    return code;
}

int tn_ask_answer(const struct tn_asker *q, const struct tn_call_answer *a, struct tn_error *err)
{
    const struct tn_class *c = q->c;
    const char *function = c->func                                          ? c->func->function
                           : c->entry && *c->entry && strcmp(c->entry, "*") ? c->entry
                           : a->btf_id ? tn_btf_name(c->bound->btf, a->btf_id)
                                       : NULL;

    if (a->by_result && a->value.number && !a->value.umax)
        return 0;
    if (a->by_result && !c->replace)
        return deny_one(c, err, "answer in the function's place", "replace");
    return function ? tn_ask_answer_of(c->bound, function, a, err) : 0;
}

/* ------------------------------------------------------------------------------------------- authority */

static int may_access(void *self, const struct tn_access *access, struct tn_error *err)
{
    return tn_ask_access(self, access, err);
}
static int may_call(void *self, const struct tn_call *call, struct tn_call_facts *facts, struct tn_error *err)
{
    return tn_ask_call(self, call, facts, err);
}

static int may_answer(void *self, const struct tn_call_answer *answer, struct tn_error *err)
{
    return tn_ask_answer(self, answer, err);
}

static bool is_promised(void *self, const struct tn_access *access)
{
    const struct tn_asker *q = self;

    return q->typed && q->c->func && tn_eim_entry_promises(q->c->bound, q->c->func->btf_id, access);
}

/* Every function that the specification declares: the one that the class lacks is refused by its name. */
int tn_ask_offer(const struct tn_bound *b, u32 btf_id, struct tn_host_function *ret)
{
    for (u32 k = 0; btf_id && k < b->host->nfunctions; k++) {
        if (b->function[k].btf_id != btf_id)
            continue;
        *ret = b->function[k].host;
        return 0;
    }
    return -ENOENT;
}
static int may_offer(void *self, u32 btf_id, struct tn_host_function *ret)
{
    const struct tn_asker *q = self;

    return tn_ask_offer(q->c->bound, btf_id, ret);
}

/* FNV-1a over what the class says. */
static u64 tag_of(const struct tn_class *c, bool typed)
{
    u64 h = 0xcbf29ce484222325ull ^ typed;

    for (u32 k = 0; k <= c->ncaps + 1; k++) {
        const char *s = k < c->ncaps ? c->cap[k].text : k == c->ncaps ? c->entry : c->bound->host->name;

        do
            h = (h ^ (u8)*s) * 0x100000001b3ull;
        while (*s++);
    }
    return h;
}

void tn_eim_authority(const struct tn_class *c, bool typed, struct tn_asker *asker, struct tn_authority *ret)
{
    *asker = (struct tn_asker){.c = c, .typed = typed};
    snprintf(asker->whose, sizeof(asker->whose), "class \"%.64s\"", c->name);
    *ret = (struct tn_authority){.self = asker,
                                 .tag = tag_of(c, typed),
                                 .limits = tn_authority_all.limits,
                                 .may_access = may_access,
                                 .may_call = may_call,
                                 .may_answer = may_answer,
                                 .is_promised = is_promised,
                                 .may_offer = may_offer};
    ret->host_stores = true;
    ret->context_stores = true;
    if (typed && c->func)
        ret->entry_valid = c->func->valid;
    ret->limits.max_path_insns = c->max_insns == TN_NO_LIMIT ? 0 : c->max_insns;
    ret->limits.whose = asker->whose;
}

int tn_eim_insns(const struct tn_class *c, u64 insns, struct tn_error *err)
{
    char need[64];

    if (insns <= c->max_insns)
        return 0;
    snprintf(need, sizeof(need), "instructions < %llu", (unsigned long long)insns + 1);
    return deny_one(c, err, "long run", need);
}

u64 tn_eim_memory_sum(const struct tn_eim_memory *m)
{
    return m->text + m->stack + m->maps;
}

const char *tn_eim_memory_text(const struct tn_eim_memory *m, char buf[100])
{
    snprintf(buf, 100, "%llu of text, %llu of stack, %llu of maps", (unsigned long long)m->text,
             (unsigned long long)m->stack, (unsigned long long)m->maps);
    return buf;
}

int tn_eim_memory(const struct tn_class *c, const struct tn_eim_memory *m, struct tn_error *err)
{
    u64 bytes = tn_eim_memory_sum(m);
    char need[64], what[140], parts[100];

    if (bytes <= c->max_memory)
        return 0;
    snprintf(need, sizeof(need), "memory < %llu", (unsigned long long)bytes + 1);
    snprintf(what, sizeof(what), "much memory: %s", tn_eim_memory_text(m, parts));
    return deny_one(c, err, what, need);
}

int tn_eim_replaces(const struct tn_class *c, struct tn_error *err)
{
    return c->replace ? 0 : deny_one(c, err, "answer in the function's place", "replace");
}
