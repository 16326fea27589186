/* SPDX-License-Identifier: MIT */
/*
 * tenon spec: what a host's developers offer.
 *
 *      extract   annotations of a binary + its types  ──▶ a specification file
 *      check     a specification, held against a binary: build, symbols, prototypes
 *      show      what could be allowed
 *      header    the same for a C compiler: types, functions, variables (header.c)
 *      types     C text, or a binary with debug information ──▶ BTF, for `types` of a specification
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/chart.h"
#include "cli/cli.h"
#include "cli/header.h"
#include "cli/hosts.h"
#include "cli/place.h"

enum { KEY_TYPES = 0x100, KEY_DEBUG };

struct spec {
    const char *name, *output;
    const char *words[3];
    u32 nwords;
    struct tn_cli_host_opts host;
    bool json;
};

static int option(int key, char *arg, struct argp_state *state)
{
    struct spec *s = state->input;

    switch (key) {
    case 'o':
        s->output = arg;
        return 0;
    case 'j':
        s->json = true;
        return 0;
    case KEY_TYPES:
        s->host.types = arg;
        return 0;
    case KEY_DEBUG:
        s->host.debug = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (s->nwords == TN_ARRAY_SIZE(s->words))
            argp_error(state, "too many arguments");
        s->words[s->nwords++] = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "say what to do: extract, check, show, header or types");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0,
     "extract, header, types: write here instead of standard output (types: NAME.btf)", 0},
    {"types", KEY_TYPES, "FILE", 0,
     "the host's types are those of this file: what spec types made, an object, or a C header, which is "
     "compiled "
     "with the FLAGS that stand behind --",
     0},
    {"debug", KEY_DEBUG, "FILE", 0, "the host's types are those of this debug file", 0},
    {"json", 'j', 0, 0, "show, check: one array, a row a capability: kind, name, symbol, and more", 0},
    {0},
};
static const struct argp argp = {
    options,
    option,
    "extract BINARY\ncheck FILE [BINARY]\ncheck BINARY\nshow BINARY\nheader BINARY\ntypes FILE [-- FLAGS...]",
    "What the developers of a host offer to extensions: extracted from its annotations, checked, shown, or "
    "as a C header to compile an extension against. And types for a host that has none: of C headers.",
    NULL,
    NULL,
    NULL,
};

/* A new file takes the old one's place only when it is whole; what is no regular file (a device, a pipe, a
   link) is written to and stays what it is. */
static int save(const char *path, const char *text, size_t len)
{
    _free_ char *temporary = NULL;
    struct stat st;
    bool replace = lstat(path, &st) ? errno == ENOENT : S_ISREG(st.st_mode);
    FILE *f;
    int r;

    if (replace && asprintf(&temporary, "%s.%d", path, getpid()) < 0)
        return -ENOMEM;
    f = fopen(replace ? temporary : path, replace ? "wxe" : "we");
    if (!f)
        return -errno;
    r = fwrite(text, 1, len, f) == len ? 0 : -EIO;
    if (fclose(f) && !r)
        r = -errno;
    if (!r && replace && rename(temporary, path))
        r = -errno;
    if (r && replace)
        (void)unlink(temporary);
    return r;
}

static int write_out(const struct spec *s, int (*print)(void *self, FILE *f, struct tn_error *err),
                     void *self)
{
    _free_ char *text = NULL;
    struct tn_error err = {0};
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int r = f ? print(self, f, &err) : -ENOMEM;

    if (f && fclose(f) && !r)
        r = -ENOMEM;
    if (r)
        return tn_cli_error(s->name, r, &err);
    if (!s->output) {
        fwrite(text, 1, len, stdout);
        return TN_EXIT_OK;
    }
    r = save(s->output, text, len);
    return r ? tn_cli_fail(s->name, "%s: %s", s->output, strerror(-r)) : TN_EXIT_OK;
}

/* ------------------------------------------------------------------------------------------------- rows */

static json_t *item_json(const struct tn_eim_item *item, const char *prototype, const struct tn_error *why)
{
    json_t *constraints = json_array();

    for (u32 k = 0; k < item->nconstraints; k++)
        json_array_append_new(constraints, json_string(item->constraint[k]));
    return json_pack("{s:s, s:s, s:s, s:s, s:s?, s:o, s:b, s:s, s:s}", "kind", tn_cli_item_kinds[item->kind],
                     "name", item->name, "symbol", item->symbol, "what", item->what, "prototype", prototype,
                     "constraints", constraints, "there", !why->reason[0], "reason", why->reason, "message",
                     why->message);
}

/* Each thing that a specification names, against the binary; complaints go to standard error. */
static u32 check_items(const struct spec *s, const struct tn_cli_host *host, const struct tn_eim *eim,
                       const char *name, json_t *rows, u32 *ret_count)
{
    struct tn_eim_item item;
    u32 bad = 0, k;

    for (k = 0; tn_eim_item(eim, name, k, &item) && item.kind != TN_ITEM_CLASS; k++) {
        _free_ char *prototype = tn_cli_item_prototype(host, &item);
        struct tn_error why = {0};

        if (tn_cli_item_there(host, &item, &why)) {
            bad++;
            if (!rows)
                tn_cli_fail(s->name, "%s:%u: %s %s: %s [%s]", item.file, item.line,
                            tn_cli_item_kinds[item.kind], item.name, why.message, why.reason);
        }
        if (rows)
            json_array_append_new(rows, item_json(&item, prototype, &why));
    }
    *ret_count = k;
    return bad;
}

/* Prototypes and paths, against the types. */
static int hold_types(const struct tn_cli_host *host, const struct tn_eim *eim, const char *name,
                      struct tn_error *err)
{
    struct tn_bound *bound = NULL;
    int r = host->types ? tn_eim_bind(eim, name, host->btf, &bound, err) : 0;

    tn_eim_unbind(bound);
    return r;
}

/* ----------------------------------------------------------------------------------------------- extract */

struct extract {
    const struct spec *s;
    const struct tn_cli_host *host;
    const struct tn_cli_policy *policy;
};

static u64 address_of(void *self, const char *function)
{
    const struct tn_host_func *f =
        tn_host_types_func_named(((const struct tn_cli_host *)self)->types, function, 0);

    return f ? f->addr : 0;
}

static int print_spec(void *self, FILE *f, struct tn_error *err)
{
    const struct extract *x = self;
    struct tn_eim_known known = {.btf = x->host->btf,
                                 .binary = x->host->file,
                                 .build_id = x->host->build_id[0] ? x->host->build_id : NULL,
                                 .types = x->s->host.types,
                                 .address = x->host->types && x->host->build_id[0] ? address_of : NULL,
                                 .self = (void *)x->host};

    return tn_eim_print_known(x->policy->eim, x->policy->name, &known, f) ? 0 : -ENOENT;
}

static int no_files(struct tn_policy_files *files)
{
    *files = (struct tn_policy_files){.uid = getuid()};
    return 0;
}

static int extract(const struct spec *s, const struct tn_cli_host *host)
{
    struct extract x = {s, host, NULL};
    struct tn_cli_policy policy;
    struct tn_policy_files none;
    struct tn_error err = {0};
    u32 n;
    int r = no_files(&none);

    if (!host->notes.n)
        return tn_cli_fail(s->name,
                           "%s has no annotations: its sources have none of <tenon/eim.h>, or they were "
                           "stripped; write the specification by hand [no_annotations]",
                           host->file);
    r = tn_cli_policy_read(&none, host, &policy, &err);
    if (r)
        return tn_cli_error(s->name, r, &err);
    x.policy = &policy;
    r = check_items(s, host, policy.eim, policy.name, NULL, &n) ? TN_EXIT_FAILED : 0;
    if (!r && hold_types(host, policy.eim, policy.name, &err))
        r = tn_cli_error(s->name, -EINVAL, &err);
    if (!r)
        r = write_out(s, print_spec, &x);
    tn_cli_policy_close(&policy);
    return r;
}

/* ------------------------------------------------------------------------------------------------- check */

/* The host that the files speak of: the one that has the binary, else the only one. */
static const char *host_of(const struct tn_eim *eim, const char *binary, struct tn_error *err)
{
    const char *name, *file;

    for (u32 k = 0; binary && (name = tn_eim_host_name(eim, k)); k++)
        if ((file = tn_eim_host_binary(eim, name)) && !strcmp(file, binary))
            return name;
    name = tn_eim_host_name(eim, 0);
    if (name && !tn_eim_host_name(eim, 1))
        return name;
    tn_fail(err, -EINVAL, "which_host",
            name ? "the file speaks of several hosts: none has this binary" : "the file speaks of no host");
    return NULL;
}

static int check_file(const struct spec *s)
{
    char *path = (char *)s->words[1];
    const char *binary = s->nwords > 2 ? s->words[2] : NULL, *name;
    struct tn_cli_host_opts opts = s->host;
    struct tn_cli_policy policy = {0};
    struct tn_cli_host host = {0};
    struct tn_error err = {0};
    json_t *rows = s->json ? json_array() : NULL;
    u32 bad = 0, n = 0;
    int r = tn_cli_policy_open(&path, 1, NULL, &policy, &err);

    name = r ? NULL : host_of(policy.eim, binary, &err);
    if (!r && !name)
        r = -EINVAL;
    if (!r && !binary)
        binary = tn_eim_host_binary(policy.eim, name);
    if (!r && !binary)
        r = tn_fail(&err, -EINVAL, "no_binary",
                    "%s does not say the path of its host's binary: name it, tenon spec check %s BINARY",
                    path, path);
    opts.paths = &path;
    opts.npaths = 1;
    opts.name = name;
    if (!r)
        r = tn_cli_host_open(binary, &opts, &host, &err);
    if (!r)
        r = tn_cli_check_build(&host, policy.eim, name, &err);
    if (!r)
        bad = check_items(s, &host, policy.eim, name, rows, &n);
    if (!r && !bad)
        r = hold_types(&host, policy.eim, name, &err);
    if (r)
        (void)tn_cli_error(s->name, r, &err);
    else if (s->json)
        tn_cli_print_json(json_incref(rows), false);
    else if (!bad)
        printf("%s: %u capabilit%s of host %s hold%s for %s%s%s\n", path, n, n == 1 ? "y" : "ies", name,
               n == 1 ? "s" : "", host.file, host.build_id[0] ? ", build " : "", host.build_id);
    json_decref(rows);
    tn_cli_policy_close(&policy);
    tn_cli_host_close(&host);
    return r || bad ? TN_EXIT_FAILED : TN_EXIT_OK;
}

static int check_binary(const struct spec *s, const struct tn_cli_host *host)
{
    json_t *rows = s->json ? json_array() : NULL;
    struct tn_policy_files none;
    struct tn_cli_policy policy;
    struct tn_error err = {0};
    u32 bad, n = 0;
    int r = no_files(&none);

    r = tn_cli_policy_read(&none, host, &policy, &err);
    if (r) {
        json_decref(rows);
        return tn_cli_error(s->name, r, &err);
    }
    bad = check_items(s, host, policy.eim, policy.name, rows, &n);
    r = bad ? 0 : hold_types(host, policy.eim, policy.name, &err);
    if (r)
        (void)tn_cli_error(s->name, r, &err);
    if (s->json)
        tn_cli_print_json(rows, false);
    else if (!bad && !r)
        printf("%s: %u annotated capabilit%s hold%s\n", host->file, n, n == 1 ? "y" : "ies",
               n == 1 ? "s" : "");
    tn_cli_policy_close(&policy);
    return bad || r ? TN_EXIT_FAILED : TN_EXIT_OK;
}

/* -------------------------------------------------------------------------------------------------- show */

static int show(const struct spec *s, const struct tn_cli_host *host)
{
    json_t *rows = json_array();
    struct tn_table table = {0};
    struct tn_cli_policy policy;
    struct tn_error err = {0};
    struct tn_policy_files files;
    struct tn_eim_item item;
    u32 k;
    int r = tn_cli_policy_files(NULL, 0, &files, &err);

    if (!r)
        r = tn_cli_policy_read(&files, host, &policy, &err);
    if (r) {
        json_decref(rows);
        return tn_cli_error(s->name, r, &err);
    }
    tn_table_row(&table, "kind", "name", "what", "constraints", "usable", NULL);
    for (k = 0; tn_eim_item(policy.eim, policy.name, k, &item) && item.kind != TN_ITEM_CLASS; k++) {
        _free_ char *prototype = tn_cli_item_prototype(host, &item);
        char what[300], constraints[300] = "";
        struct tn_error why = {0};

        (void)tn_cli_item_there(host, &item, &why);
        json_array_append_new(rows, item_json(&item, prototype, &why));
        snprintf(what, sizeof(what), "%s%s%s", item.what, prototype ? ": " : "", prototype ? prototype : "");
        for (u32 c = 0; c < item.nconstraints; c++) {
            size_t used = strlen(constraints);

            snprintf(constraints + used, sizeof(constraints) - used, "%s%s", c ? ", " : "",
                     item.constraint[c]);
        }
        tn_table_row(&table, tn_cli_item_kinds[item.kind], item.name, what, constraints,
                     why.reason[0] ? why.reason : "yes", NULL);
    }
    if (s->json) {
        tn_cli_print_json(json_incref(rows), false);
    } else {
        if (k)
            tn_table_print(stdout, &table);
        else
            printf("%s is annotated with nothing, and no file says what it offers.\n", host->file);
        if (host->types)
            printf("\nAnd what every host has: uprobe:FUNCTION and uretprobe:FUNCTION of %u functions, "
                   "sysenter:CALL, sysexit:CALL, and the helpers.\n",
                   tn_host_types_nfuncs(host->types));
        else
            printf("\n%s: %s\n", host->file, host->no_types.message);
    }
    json_decref(rows);
    tn_table_clear(&table);
    tn_cli_policy_close(&policy);
    return TN_EXIT_OK;
}

/* ------------------------------------------------------------------------------------------------ header */

static int print_header(void *self, FILE *f, struct tn_error *err)
{
    const struct extract *x = self;

    return tn_cli_header(x->host, x->policy, f, err);
}

static int header(const struct spec *s, const struct tn_cli_host *host)
{
    struct extract x = {s, host, NULL};
    struct tn_cli_policy policy;
    struct tn_error err = {0};
    int r = tn_cli_policy_open(NULL, 0, host, &policy, &err);

    if (r)
        return tn_cli_error(s->name, r, &err);
    x.policy = &policy;
    r = write_out(s, print_header, &x);
    tn_cli_policy_close(&policy);
    return r;
}

/* ------------------------------------------------------------------------------------------------- types */

static u32 count(const struct tn_btf *btf, u32 kind)
{
    u32 n = 0;

    for (u32 id = 1; id < tn_btf_count(btf); id++)
        n += tn_btf_kind_of(btf, id) == kind;
    return n;
}

static int open_types(const struct spec *s, struct tn_host_types **ret, bool *ret_declared,
                      struct tn_error *err)
{
    struct tn_host_opts opts = {.path = s->words[1], .fd = -1, .debug_file = s->host.debug};
    struct tn_cli_host_opts from = s->host;
    _close_ int fd = -1;
    int r;

    *ret_declared = true;
    if (tn_cli_is_elf(s->words[1])) /* a binary with debug information, before it is stripped */
        return tn_host_types_open(&opts, ret, err);
    if (tn_cli_is_btf(s->words[1]))
        return tn_fail(err, -EINVAL, "is_types",
                       "%s is what this makes: name it in a specification, as types", s->words[1]);
    from.types = s->words[1];
    r = tn_cli_types_open(&from, &fd, ret_declared, err);
    if (r)
        return r;
    opts.fd = fd;
    opts.types_fd = &fd;
    opts.declared = true;
    opts.cache_dir = "";
    return tn_host_types_open(&opts, ret, err);
}

static int types(const struct spec *s)
{
    const char *base = strrchr(s->words[1], '/'), *dot;
    struct tn_host_types *types = NULL;
    _free_ char *name = NULL;
    struct tn_error err = {0};
    const struct tn_btf *btf;
    const void *raw;
    bool declared;
    u64 size;
    int r = open_types(s, &types, &declared, &err);

    if (r)
        return tn_cli_error(s->name, r, &err);
    base = base ? base + 1 : s->words[1];
    dot = strrchr(base, '.');
    if (s->output ? !(name = strdup(s->output))
                  : asprintf(&name, "%.*s.btf", (int)(dot && dot > base ? dot - base : (long)strlen(base)),
                             base) < 0)
        r = -ENOMEM;
    raw = tn_host_types_raw(types, &size);
    btf = tn_host_types_view(types);
    r = r ? r : save(name, raw, size);
    if (r)
        (void)tn_cli_fail(s->name, "%s: %s", name ? name : base, strerror(-r));
    else
        printf("%s: %u types, %u functions, %u variables\n", name,
               tn_btf_count(btf) - 1 - count(btf, BTF_KIND_FUNC) - count(btf, BTF_KIND_VAR),
               count(btf, BTF_KIND_FUNC), count(btf, BTF_KIND_VAR));
    if (!r && !declared)
        tn_cli_warn(s->name,
                    "this compiler drops functions and variables that are only declared: write a function's "
                    "prototype in the specification, or compile with GCC (CC=gcc)");
    tn_host_types_close(types);
    return r ? TN_EXIT_FAILED : TN_EXIT_OK;
}

int tn_cmd_spec(int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*run)(const struct spec *s, const struct tn_cli_host *host);
        bool types;
    } rows[] = {{"extract", extract, false},
                {"check", check_binary, false},
                {"show", show, false},
                {"header", header, true}};
    struct spec s = {.name = argv[0]};
    struct tn_cli_host host;
    struct tn_error err = {0};
    int r;

    for (int k = 1; k < argc; k++) /* what follows is the compiler's */
        if (!strcmp(argv[k], "--")) {
            s.host.flags = (const char *const *)argv + k + 1;
            s.host.nflags = (u32)(argc - k - 1);
            argc = k;
        }
    tn_cli_parse(&argp, argc, argv, 0, &s);
    if (!strcmp(s.words[0], "types") && s.nwords == 2)
        return types(&s);
    for (size_t k = 0; k < TN_ARRAY_SIZE(rows); k++) {
        bool check = !strcmp(rows[k].word, "check");

        if (strcmp(s.words[0], rows[k].word) != 0)
            continue;
        if (s.nwords < 2 || (s.nwords > 2 && (!check || tn_cli_is_elf(s.words[1])))) {
            tn_cli_fail(s.name, "%s: %s", s.words[0],
                        s.nwords < 2 ? "of which binary? None is named" : "one binary at a time");
            return TN_EXIT_USAGE;
        }
        if (check && !access(s.words[1], R_OK) && !tn_cli_is_elf(s.words[1]))
            return check_file(&s);
        s.host.need_types = rows[k].types;
        r = tn_cli_host_open(s.words[1], &s.host, &host, &err);
        if (r)
            return tn_cli_error(s.name, r, &err);
        r = rows[k].run(&s, &host);
        tn_cli_host_close(&host);
        return r;
    }
    tn_cli_fail(s.name,
                strcmp(s.words[0], "types") ? "%s: not known (extract, check, show, header or types)"
                                            : "%s: of which file? One is to be named",
                s.words[0]);
    return TN_EXIT_USAGE;
}
