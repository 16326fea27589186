/* SPDX-License-Identifier: MIT */
/*
 * Programs against classes: explain, infer, diff, simulate.
 *
 * The broker says what a program asks (judge.h), of an object without loading it, or of what is attached. The
 * answers are made here, by the functions that the broker decides with (eim.h), from files that need not be
 * the ones that apply.
 */
#include "cli/policy_ask.h"

#include <errno.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/hosts.h"
#include "cli/judge.h"
#include "cli/links.h"
#include "cli/place.h"

enum { EXIT_DIFFERS = 1, EXIT_TROUBLE = 2 };

struct asked {
    const struct tn_policy_cmd *cmd;
    struct tn_cli_host host;
    struct tn_cli_policy policy;
    struct tn_obj_file object;
    u32 nprograms, next, refused; /* of its programs; by the verifier */
};

static void asked_clear(struct asked *a)
{
    tn_cli_policy_close(&a->policy);
    tn_cli_host_close(&a->host);
    tn_obj_file_clear(&a->object);
}

static int asked_open(const struct tn_policy_cmd *cmd, const char *object, struct asked *ret,
                      struct tn_error *err)
{
    const struct tn_cli_host_opts opts = {.need_types = true};
    int r;

    *ret = (struct asked){.cmd = cmd};
    r = tn_obj_read(object, &ret->object, err);
    if (!r)
        r = tn_cli_host_open(cmd->host, &opts, &ret->host, err);
    if (!r)
        r = tn_cli_policy_open(NULL, 0, &ret->host, &ret->policy, err);
    if (!r)
        r = tn_connect(true, err);
    if (!r)
        r = tn_cli_choose_host(cmd->host, err);
    ret->nprograms = r ? 0 : tn_obj_programs(&ret->object);
    return r;
}

/* What the next program asks: 1; 0: there is none left. Those that the verifier refuses are told. */
static int asked_next(struct asked *a, struct tn_outcome *o, struct tn_cli_uses *ret, struct tn_error *err)
{
    const struct tn_judging how = {.recorded = true};
    int r = 0;

    while (!r && a->next < a->nprograms) {
        r = tn_cli_judge(&a->object, a->next++, &how, o, err);
        if (!r && o->accepted) {
            r = tn_cli_uses_of(0, ret, err);
            return r ? r : 1;
        }
        if (r)
            break;
        a->refused++;
        fflush(stdout);
        if (o->judged && o->verdict.refusal.reason[0])
            tn_refusal_print(stderr, o->program, &o->verdict.refusal);
        else
            tn_cli_fail(a->cmd->name, "program %s: %s [%s]", o->program, o->why.message, o->why.reason);
    }
    return r;
}

static enum tn_eim_place place_at(bool call, bool exit)
{
    if (call)
        return exit ? TN_AT_SYSEXIT : TN_AT_SYSENTER;
    return exit ? TN_AT_URETPROBE : TN_AT_UPROBE;
}

/* Where a program of that section is placed, and in which function. */
static enum tn_eim_place place_of(const char *section, const char *program, const struct tn_cli_uses *uses,
                                  char ret_function[256])
{
    struct tn_place place = {0};

    if (uses->head.needs.typed) {
        snprintf(ret_function, 256, "%s", uses->head.function);
        return TN_AT_FUNCTION;
    }
    (void)tn_place_parse(section, program, &place, NULL);
    snprintf(ret_function, 256, "%s", place.func);
    return place_at(place.form == TN_FORM_CALL, place.left || place.form == TN_FORM_RETURN);
}

static u32 func_id(const struct asked *a, const char *function)
{
    return *function && a->host.btf ? tn_btf_find(a->host.btf, BTF_KIND_FUNC, function) : 0;
}

/* A use in the words of a policy; an argument of a function by its name. */
static void use_text(const struct asked *a, const struct tn_class *c, const struct tn_cli_uses *uses,
                     const struct tn_eim_use *use, char *buf, size_t cap)
{
    u32 id = uses->head.needs.typed && !use->call && !use->access.process && !use->access.btf_id
                 ? func_id(a, uses->head.function)
                 : 0;
    const struct btf_type *proto = id ? tn_btf_type(a->host.btf, tn_btf_type(a->host.btf, id)->type) : NULL;
    u32 k = use->access.offset / 8;

    if (proto && use->access.kind == TN_ACCESS_READ && k <= tn_btf_vlen(proto))
        snprintf(buf, cap, "argument %s",
                 k < tn_btf_vlen(proto) ? tn_btf_string(a->host.btf, tn_btf_params(proto)[k].name_off)
                                        : "rtn");
    else
        tn_eim_use_text(c, use, buf, cap);
}

/* ----------------------------------------------------------------------------------------------- explain */

struct explain {
    const struct asked *a;
    const struct tn_class *c;
    const struct tn_cli_uses *uses;
    const char *program;
    json_t *rows;
    u32 refused;
    char last[400]; /* what was printed last: instructions of one line often ask the same */
};

static void row(struct explain *x, const char *kind, const char *what, const struct tn_ctl_use *at,
                const struct tn_error *why)
{
    bool granted = !why->reason[0];
    char now[400];

    x->refused += !granted;
    if (x->rows) {
        json_array_append_new(
            x->rows,
            json_pack("{s:s, s:s, s:s, s:b, s:s, s:s, s:o, s:o, s:I, s:I, s:o}", "program", x->program,
                      "kind", kind, "what", what, "granted", (int)granted, "reason", why->reason, "message",
                      why->message, "insn", at ? json_integer(at->use.insn) : json_null(), "file",
                      tn_json_text(at ? at->file : "", at ? strlen(at->file) : 0), "line",
                      (json_int_t)(at ? at->line : 0), "column", (json_int_t)(at ? at->column : 0), "text",
                      tn_json_text(at ? at->text : "", at ? strlen(at->text) : 0)));
        return;
    }
    snprintf(now, sizeof(now), "%u %.200s %d", at ? at->line : 0, what, granted);
    if (!strcmp(now, x->last))
        return;
    memcpy(x->last, now, sizeof(now));
    printf("  %s%-11s%s  %s\n", granted ? tn_good(stdout) : tn_bad(stdout),
           granted ? "granted" : "not granted", tn_plain(stdout), what);
    if (at && at->line) {
        printf("               at %s:%u:%u   ", at->file, at->line, at->column);
        for (const char *c = at->text; *c; c++) /* nothing of an object speaks to the terminal */
            putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '.' : *c);
        putchar('\n');
    }
    for (const char *line = granted ? "" : why->message; *line;) {
        int n = (int)strcspn(line, "\n");

        printf("               %.*s\n", n, line);
        line += n + (line[n] == '\n');
    }
}

static bool has_process(const struct tn_class *c, enum tn_access_kind kind)
{
    const struct tn_eim_use use = {.access = {.kind = kind, .process = true, .size = 1, .path = ""}};

    return tn_eim_admits(c, false, &use, NULL) == 0;
}

/* What nobody should have to read out of a list. */
static void say_process(const struct tn_class *c)
{
    const char *name = tn_eim_class_name(c);

    if (has_process(c, TN_ACCESS_READ))
        printf("\nclass \"%s\" has read(process): a program under it may read any address of the process, "
               "whatever stands there.\n",
               name);
    if (!strcmp(name, "observability"))
        printf(
            "That is what *observability* over uprobes is: registers, and read(process). A class with field "
            "paths can do without.\n");
    if (has_process(c, TN_ACCESS_WRITE))
        printf("class \"%s\" has write(process): a program under it may write any address of the process.\n",
               name);
}

static void explain_limits(struct explain *x, enum tn_eim_place at, const char *function)
{
    const struct tn_eim_needs *needs = &x->uses->head.needs;
    struct tn_error why = {0};
    char what[400], parts[100];

    (void)tn_eim_admits_place(x->c, at, function, func_id(x->a, function), &why);
    snprintf(what, sizeof(what), "to be placed at %s%s%s",
             at == TN_AT_FUNCTION ? "the function " : tn_eim_place_word(at), at == TN_AT_FUNCTION ? "" : ":",
             *function ? function : "?");
    row(x, "place", what, NULL, &why);
    why = (struct tn_error){0};
    (void)tn_eim_insns(x->c, needs->insns, &why);
    snprintf(what, sizeof(what), "instructions < %llu", (unsigned long long)needs->insns + 1);
    row(x, "limit", what, NULL, &why);
    why = (struct tn_error){0};
    (void)tn_eim_memory(x->c, &needs->memory, &why);
    snprintf(what, sizeof(what), "memory < %llu: %s",
             (unsigned long long)tn_eim_memory_sum(&needs->memory) + 1,
             tn_eim_memory_text(&needs->memory, parts));
    row(x, "limit", what, NULL, &why);
    if (!needs->replaces)
        return;
    why = (struct tn_error){0};
    (void)tn_eim_replaces(x->c, &why);
    row(x, "limit", "replace", NULL, &why);
}

int tn_policy_explain(const struct tn_policy_cmd *cmd)
{
    struct tn_error err = {0};
    struct explain x = {.rows = cmd->json ? json_array() : NULL};
    struct tn_cli_uses uses;
    struct tn_outcome o;
    struct asked a;
    int r = asked_open(cmd, cmd->words[0], &a, &err);

    x.a = &a;
    x.c = r ? NULL : tn_eim_class(a.policy.bound, cmd->words[1], &err);
    if (!r && !x.c)
        r = -ENOENT;
    while (!r && (r = asked_next(&a, &o, &uses, &err)) > 0) {
        char function[256];
        enum tn_eim_place at;

        r = 0;
        x.uses = &uses;
        x.program = o.program;
        x.last[0] = 0;
        at = place_of(o.section, o.program, &uses, function);
        if (!cmd->json)
            printf("%s%s%s (%s) under class \"%s\" of host \"%s\"\n", tn_bold(stdout), o.program,
                   tn_plain(stdout), o.section, cmd->words[1], a.policy.name);
        for (u32 i = 0; i < uses.n; i++) {
            struct tn_error why = {0};
            char what[300];

            (void)tn_eim_admits(x.c, uses.head.needs.typed, &uses.row[i].use, &why);
            use_text(&a, x.c, &uses, &uses.row[i].use, what, sizeof(what));
            row(&x,
                uses.row[i].use.answer ? "answer"
                : uses.row[i].use.call ? "call"
                                       : "access",
                what, &uses.row[i], &why);
        }
        explain_limits(&x, at, function);
        tn_cli_uses_clear(&uses);
    }
    if (r)
        (void)tn_cli_error(cmd->name, r, &err);
    else if (cmd->json)
        tn_cli_print_json(json_incref(x.rows), false);
    else
        say_process(x.c);
    json_decref(x.rows);
    asked_clear(&a);
    return r ? EXIT_TROUBLE : a.refused || x.refused ? EXIT_DIFFERS : TN_EXIT_OK;
}

/* ------------------------------------------------------------------------------------------------- infer */

/* The entry of the specification that stands for the function, or "uprobe:f". */
static int entry_of(const struct asked *a, enum tn_eim_place at, const char *function, char ret[400],
                    struct tn_error *err)
{
    struct tn_eim_item item;

    if (at != TN_AT_FUNCTION) {
        if (!*function)
            return tn_fail(
                err, -EINVAL, "no_place",
                "the program's section names no function: say which entry, --entry uprobe:FUNCTION");
        snprintf(ret, 400, "%s:%s", tn_eim_place_word(at), function);
        return 0;
    }
    for (u32 k = 0; tn_eim_item(a->policy.eim, a->policy.name, k, &item); k++)
        if (item.kind == TN_ITEM_ENTRY && !strcmp(item.symbol, function)) {
            snprintf(ret, 400, "%s", item.name);
            return 0;
        }
    return tn_fail(err, -ENOENT, "spec_name",
                   "host \"%s\" has no extension entry for %s: its specification has to declare one",
                   a->policy.name, function);
}

static int infer_one(const struct asked *a, const struct tn_outcome *o, const struct tn_cli_uses *got,
                     json_t *rows, bool *begun, struct tn_error *err)
{
    _free_ struct tn_eim_use *use = calloc(got->n + 1, sizeof(*use));
    struct tn_eim_uses uses = {.bound = a->policy.bound, .row = use, .n = got->n};
    const char *name = a->cmd->as ? a->cmd->as : o->program;
    struct tn_eim_inferred inferred = {0};
    char function[256], entry[400] = "", parts[100];
    enum tn_eim_place at = place_of(o->section, o->program, got, function);
    int r = use ? 0 : -ENOMEM;

    for (u32 k = 0; k < got->n && use; k++)
        use[k] = got->row[k].use;
    if (!r && a->cmd->entry)
        snprintf(entry, sizeof(entry), "%s", a->cmd->entry);
    else if (!r)
        r = entry_of(a, at, function, entry, err);
    if (!r)
        r = tn_eim_infer(&uses, name, entry, &got->head.needs, &inferred, err);
    if (r)
        return r;
    if (rows) {
        json_t *allowed = json_array();

        for (u32 k = 0; k < inferred.n; k++)
            json_array_append_new(allowed, json_string(inferred.text[k]));
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:o}", "program", o->program, "name", name,
                                              "extension_entry", entry, "allowed", allowed));
    } else {
        if (!*begun)
            printf("eim: 1\nhost: %s\nextension_classes:\n", a->policy.name);
        *begun = true;
        tn_eim_print_class(inferred.c, stdout);
        printf("      # memory, in bytes: %s\n", tn_eim_memory_text(&got->head.needs.memory, parts));
    }
    tn_eim_inferred_clear(&inferred);
    return 0;
}

int tn_policy_infer(const struct tn_policy_cmd *cmd)
{
    json_t *rows = cmd->json ? json_array() : NULL;
    struct tn_error err = {0};
    struct tn_cli_uses uses;
    struct tn_outcome o;
    bool begun = false;
    struct asked a;
    u32 bad = 0;
    int r = asked_open(cmd, cmd->words[0], &a, &err);

    if (!r && cmd->as && a.nprograms > 1)
        r = tn_fail(&err, -EINVAL, "many_programs", "--name %s: the object has %u programs, a class each",
                    cmd->as, a.nprograms);
    while (!r && (r = asked_next(&a, &o, &uses, &err)) > 0) {
        r = infer_one(&a, &o, &uses, rows, &begun, &err);
        if (r)
            tn_cli_fail(cmd->name, "program %s: %s [%s]", o.program,
                        err.message[0] ? err.message : strerror(-r), err.reason);
        bad += r != 0;
        r = 0;
        err = (struct tn_error){0};
        tn_cli_uses_clear(&uses);
    }
    if (r)
        (void)tn_cli_error(cmd->name, r, &err);
    else if (cmd->json)
        tn_cli_print_json(json_incref(rows), false);
    json_decref(rows);
    asked_clear(&a);
    return r || bad || a.refused ? TN_EXIT_FAILED : TN_EXIT_OK;
}

/* -------------------------------------------------------------------------------------------------- diff */

struct diff {
    json_t *list; /* lines of one class */
    bool json;
    u32 n;
};

static void newly(void *self, const char *line)
{
    struct diff *d = self;

    d->n++;
    if (d->json)
        json_array_append_new(d->list, json_string(line));
    else
        printf("  + %s\n", line);
}

static bool has_class(const struct tn_cli_policy *p, const char *name)
{
    struct tn_eim_item item;

    for (u32 k = 0; tn_eim_item(p->eim, p->name, k, &item); k++)
        if (item.kind == TN_ITEM_CLASS && !strcmp(item.name, name))
            return true;
    return false;
}

static int diff_class(const struct tn_cli_policy *old, const struct tn_cli_policy *new, const char *name,
                      struct diff *d, json_t *rows, struct tn_error *err)
{
    const struct tn_class *after = tn_eim_class(new->bound, name, err);
    bool fresh = !has_class(old, name);
    u32 before = d->n;
    int r = 0;

    if (!after)
        return -ENOENT;
    d->list = json_array();
    if (fresh) {
        d->n++;
        if (!d->json) {
            printf("class %s of host %s is new:\n", name, new->name);
            tn_eim_print_class(after, stdout);
        }
    } else {
        /* Lines come when all of them are known to be sayable: counted first. */
        const struct tn_class *was = tn_eim_class(old->bound, name, err);

        r = was ? tn_eim_diff(was, after, NULL, NULL, err) : -ENOENT;
        if (r > 0 && !d->json)
            printf("class %s of host %s newly allows:\n", name, new->name);
        if (r > 0)
            r = tn_eim_diff(was, after, newly, d, err);
    }
    if (rows && r >= 0 && d->n > before)
        json_array_append_new(
            rows, json_pack("{s:s, s:b, s:O}", "class", name, "new", (int)fresh, "newly", d->list));
    json_decref(d->list);
    return r < 0 ? r : 0;
}

static u32 rank(const char *rule)
{
    return !strcmp(rule, "denied") ? 0 : !strcmp(rule, "observability") ? 1 : 2;
}

static void diff_rules(const struct tn_cli_policy *old, const struct tn_cli_policy *new, struct diff *d,
                       json_t *rows)
{
    static const struct {
        enum tn_eim_place at;
        const char *key;
    } places[] = {{TN_AT_UPROBE, "uprobe"}, {TN_AT_URETPROBE, "uretprobe"}, {TN_AT_SYSENTER, "syscall"}};

    for (size_t k = 0; k < TN_ARRAY_SIZE(places); k++) {
        const char *was = tn_eim_rule_of(old->eim, old->name, places[k].at);
        const char *is = tn_eim_rule_of(new->eim, new->name, places[k].at);

        if (rank(is) <= rank(was))
            continue;
        d->n++;
        if (rows)
            json_array_append_new(
                rows, json_pack("{s:n, s:b, s:[s++]}", "class", "new", 0, "newly", places[k].key, ": ", is));
        else
            printf("programs without a class (%s) of host %s: %s, was %s\n", places[k].key, new->name, is,
                   was);
    }
}

int tn_policy_diff(const struct tn_policy_cmd *cmd)
{
    const struct tn_cli_host_opts opts = {.need_types = true, .paths = &cmd->words[1], .npaths = 1};
    struct tn_cli_policy old = {0}, new = {0};
    json_t *rows = cmd->json ? json_array() : NULL;
    struct diff d = {.json = cmd->json};
    struct tn_cli_host host = {0};
    struct tn_error err = {0};
    struct tn_eim_item item;
    bool was = false, is = false;
    int r = tn_cli_host_open(cmd->host, &opts, &host, &err);

    if (!r)
        r = tn_cli_policy_open(&cmd->words[0], 1, &host, &old, &err);
    if (!r)
        r = tn_cli_policy_open(&cmd->words[1], 1, &host, &new, &err);
    if (!r) {
        was = tn_eim_governs(old.eim, old.name);
        is = tn_eim_governs(new.eim, new.name);
    }
    if (!r && was && !is) {
        d.n++;
        if (rows)
            json_array_append_new(rows,
                                  json_pack("{s:n, s:b, s:[s]}", "class", "new", 0, "newly", "anything"));
        else
            printf("%s does not speak of host %s: without a policy a user may do to his own processes what "
                   "ptrace would let him\n",
                   cmd->words[1], new.name);
    } else if (!r && !was && is && !rows) {
        printf("%s does not speak of host %s, so that everything was allowed: %s only takes away\n",
               cmd->words[0], new.name, cmd->words[1]);
    }
    for (u32 k = 0; was && is && tn_eim_item(new.eim, new.name, k, &item) && !r; k++)
        if (item.kind == TN_ITEM_CLASS)
            r = diff_class(&old, &new, item.name, &d, rows, &err);
    if (!r && was && is)
        diff_rules(&old, &new, &d, rows);
    if (r)
        (void)tn_cli_error(cmd->name, r, &err);
    else if (rows)
        tn_cli_print_json(json_incref(rows), false);
    else if (!d.n && was)
        printf("%s allows nothing that %s does not\n", cmd->words[1], cmd->words[0]);
    json_decref(rows);
    tn_cli_policy_close(&old);
    tn_cli_policy_close(&new);
    tn_cli_host_close(&host);
    return r ? EXIT_TROUBLE : d.n ? EXIT_DIFFERS : TN_EXIT_OK;
}

/* ---------------------------------------------------------------------------------------------- simulate */

/* Who made a link, with the groups that his process had, and where it is held to a policy. */
struct held {
    u32 uid, ngroups;
    u32 *group; /* owned */
    char host[4096];
    u32 next;
};

static int held_of(u32 id, struct held *h, struct tn_error *err)
{
    _free_ struct tn_ctl_held *reply = malloc(sizeof(*reply));
    struct tn_ctl_held_of of = {.id = id, .host = h->next};
    struct tn_ctl_error why;

    if (!reply)
        return -ENOMEM;
    do {
        int r = tn_ctl(TN_CTL_LINK_HELD, &of, sizeof(of), reply, sizeof(*reply));
        u32 *grown;

        if (r < 0)
            return tn_ctl_why(&why) ? tn_fail(err, r, why.why.reason, "%s", why.why.message) : r;
        reply->n = TN_MIN(reply->n, TN_CTL_HELD_GROUPS);
        grown = reallocarray(h->group, of.group + reply->n + 1, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        h->group = grown;
        memcpy(h->group + of.group, reply->group, reply->n * sizeof(*grown));
        of.group += reply->n;
    } while (reply->n && of.group < reply->ngroups);
    h->uid = reply->uid;
    h->ngroups = of.group;
    h->next = reply->next;
    snprintf(h->host, sizeof(h->host), "%.*s", (int)sizeof(reply->host) - 1, reply->host);
    return 0;
}

/* Would the policy have let this link be? 0, or negative with `why`. */
static int hold_link(const struct asked *a, const struct tn_ctl_link *link, const struct held *held,
                     const struct tn_cli_uses *uses, char ret_class[64], struct tn_error *why)
{
    enum tn_eim_place at = uses->head.needs.typed ? TN_AT_FUNCTION : place_at(link->is_call, link->is_exit);
    const char *function = at == TN_AT_FUNCTION ? uses->head.function : link->symbol;
    const struct tn_class *c = uses->head.klass[0] ? tn_eim_class(a->policy.bound, uses->head.klass, why)
                                                   : tn_eim_default(a->policy.bound, at, why);
    const struct tn_eim_needs *needs = &uses->head.needs;
    int r = c ? 0 : -EACCES;

    snprintf(ret_class, 64, "%s", c ? tn_eim_class_name(c) : uses->head.klass);
    if (!r && !tn_eim_class_admits_user(c, held->uid, held->group, held->ngroups))
        r = tn_fail(why, -EACCES, "class_user", "class \"%s\" is not for user %u", ret_class, held->uid);
    if (!r)
        r = tn_eim_admits_place(c, at, function, func_id(a, function), why);
    for (u32 k = 0; k < uses->n && !r; k++)
        r = tn_eim_admits(c, needs->typed, &uses->row[k].use, why);
    if (!r)
        r = tn_eim_insns(c, needs->insns, why);
    if (!r)
        r = tn_eim_memory(c, &needs->memory, why);
    return r || !needs->replaces ? r : tn_eim_replaces(c, why);
}

/* The same at one of the link's hosts: 1 it would stay, 0 it would not, negative: it cannot be said. */
static int simulate_host(const struct tn_policy_cmd *cmd, const struct tn_ctl_link *link,
                         const struct held *held, const struct tn_cli_uses *uses, char ret_class[64],
                         struct tn_error *why)
{
    struct asked a = {.cmd = cmd};
    int r = tn_cli_host_open(
        held->host, &(struct tn_cli_host_opts){.paths = cmd->words, .npaths = cmd->nwords}, &a.host, why);

    if (!r)
        r = tn_cli_policy_open(cmd->words, cmd->nwords, &a.host, &a.policy, why);
    if (!r && !tn_eim_governs(a.policy.eim, a.policy.name))
        r = 1;
    else if (!r && !a.policy.bound) /* no types: probes need none */
        r = tn_eim_bind(a.policy.eim, a.policy.name, a.host.base, &a.policy.bound, why);
    if (!r)
        r = hold_link(&a, link, held, uses, ret_class, why) ? 0 : 1;
    asked_clear(&a);
    return r;
}

/* At all of them; `held` is left at the one that decides. */
static int simulate_link(const struct tn_policy_cmd *cmd, const struct tn_ctl_link *link, struct held *held,
                         char ret_class[64], struct tn_error *why)
{
    struct tn_cli_uses uses;
    int r = tn_cli_uses_of(link->prog_id, &uses, why), stays = 1;

    if (r)
        return r;
    snprintf(ret_class, 64, "%s", uses.head.klass);
    while (stays == 1 && !(r = held_of(link->id, held, why)) && *held->host)
        stays = simulate_host(cmd, link, held, &uses, ret_class, why);
    tn_cli_uses_clear(&uses);
    return r ? r : stays;
}

int tn_policy_simulate(const struct tn_policy_cmd *cmd)
{
    json_t *rows = json_array();
    struct tn_cli_policy policy;
    struct tn_ctl_link link;
    struct tn_error err = {0};
    u32 after = 0, refused = 0, trouble = 0;
    int r;

    r = tn_cli_policy_open(cmd->words, cmd->nwords, NULL, &policy, &err);
    if (r) { /* a mistake in a file is not one of each link's */
        json_decref(rows);
        (void)tn_cli_error(cmd->name, r, &err);
        return EXIT_TROUBLE;
    }
    tn_cli_policy_close(&policy);
    r = tn_connect(false, &err);
    while (!r && tn_ctl(TN_CTL_LINK_NEXT, &after, sizeof(after), &link, sizeof(link)) >= 0) {
        struct tn_error why = {0};
        struct held held = {0};
        char klass[64] = "";
        int stays;

        after = link.id;
        if (tn_ctl_link(link.id, &link)) /* gone meanwhile; and with strings that end */
            continue;
        stays = simulate_link(cmd, &link, &held, klass, &why);
        free(held.group);
        if (*held.host)
            snprintf(link.target, sizeof(link.target), "%s", held.host);
        refused += stays == 0;
        trouble += stays < 0;
        json_array_append_new(rows, json_pack("{s:I, s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "id",
                                              (json_int_t)link.id, "prog", link.prog, "target",
                                              tn_json_text(link.target, strlen(link.target)), "symbol",
                                              link.symbol, "class", klass, "outcome",
                                              stays == 1  ? "stays"
                                              : stays < 0 ? "unknown"
                                                          : "refused",
                                              "reason", why.reason, "message", why.message));
        if (cmd->json)
            continue;
        printf("link %u, %s at %s:%s%s%s: %s%s%s\n", link.id, link.prog, link.target, link.symbol,
               *klass ? ", class " : "", klass,
               stays == 1  ? "stays"
               : stays < 0 ? "cannot be said"
                           : "would be refused",
               *why.message ? ":\n  " : "", why.message);
    }
    if (cmd->json)
        tn_cli_print_json(json_incref(rows), false);
    else if (!json_array_size(rows))
        printf("nothing is attached\n");
    json_decref(rows);
    return trouble ? EXIT_TROUBLE : refused ? EXIT_DIFFERS : TN_EXIT_OK;
}
