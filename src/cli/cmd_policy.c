/* SPDX-License-Identifier: MIT */
/*
 * tenon policy: what is allowed, looked at by whoever is responsible for it.
 *
 *      check      are the files in order?
 *      explain    what a program asks, and whether a class grants it      ┐
 *      infer      the smallest class that admits a program                │ policy_ask.c
 *      diff       what a new policy allows that the old one does not      │
 *      simulate   what a policy would refuse of what is attached          ┘
 *      audit      the journal: who loaded what under which class
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include "broker/policy.h"
#include "cli/chart.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/hosts.h"
#include "cli/policy_ask.h"

enum { KEY_HOST = 0x100, KEY_ENTRY, KEY_NAME, KEY_REFUSED };

static int check(const struct tn_policy_cmd *cmd);
static int audit(const struct tn_policy_cmd *cmd);

static const struct {
    const char *word;
    int (*run)(const struct tn_policy_cmd *cmd);
    u32 least, most; /* words that follow */
    bool host;
    const char *usage;
} subs[] = {
    {"check", check, 0, 63, false, "check [FILE...]"},
    {"explain", tn_policy_explain, 2, 2, true, "explain OBJ CLASS --host BINARY"},
    {"infer", tn_policy_infer, 1, 1, true, "infer OBJ --host BINARY [--entry ENTRY]"},
    {"diff", tn_policy_diff, 2, 2, true, "diff OLD NEW --host BINARY"},
    {"audit", audit, 0, 0, false, "audit"},
    {"simulate", tn_policy_simulate, 0, 63, false, "simulate [FILE...]"},
};

struct words {
    const char *what;
    struct tn_policy_cmd cmd;
};

static int option(int key, char *arg, struct argp_state *state)
{
    struct words *w = state->input;

    switch (key) {
    case 'j':
        w->cmd.json = true;
        return 0;
    case KEY_HOST:
        w->cmd.host = arg;
        return 0;
    case KEY_ENTRY:
        w->cmd.entry = arg;
        return 0;
    case KEY_NAME:
        w->cmd.as = arg;
        return 0;
    case KEY_REFUSED:
        w->cmd.refused = true;
        return 0;
    case ARGP_KEY_ARG:
        if (!w->what)
            w->what = arg;
        else if (w->cmd.nwords == TN_ARRAY_SIZE(w->cmd.words))
            argp_error(state, "too many arguments");
        else
            w->cmd.words[w->cmd.nwords++] = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "say what to do: check, explain, infer, diff, audit or simulate");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"host", KEY_HOST, "BINARY", 0, "the host that programs and classes are about", 0},
    {"entry", KEY_ENTRY, "ENTRY", 0,
     "infer: the entry that the class stands for; otherwise the program's own", 0},
    {"name", KEY_NAME, "NAME", 0, "infer: what the class is called; otherwise as the program", 0},
    {"refused", KEY_REFUSED, 0, 0, "audit: only what was refused or detached", 0},
    {"json", 'j', 0, 0, "one array, a row a thing", 0},
    {0},
};
static const struct argp argp = {
    options,
    option,
    "check [FILE...]\nexplain OBJ CLASS --host BINARY\ninfer OBJ --host BINARY\ndiff OLD NEW --host "
    "BINARY\naudit\nsimulate [FILE...]",
    "Check a policy, see what it means for a program, write the smallest one, compare two, and see who did "
    "what under it. FILE, OLD and NEW are files or folders; without one, the files that apply.",
    NULL,
    NULL,
    NULL,
};

/* ------------------------------------------------------------------------------------------------- check */

struct counts {
    u32 of[TN_ITEM_CLASS + 1];
};
static struct counts count(const struct tn_eim *eim, const char *name)
{
    struct counts n = {0};
    struct tn_eim_item item;

    for (u32 i = 0; tn_eim_item(eim, name, i, &item); i++)
        n.of[item.kind]++;
    return n;
}

/* Classes for probes of functions that are not there. */
static int check_probes(const struct tn_cli_host *host, const struct tn_cli_policy *policy,
                        struct tn_error *err)
{
    struct tn_error why = {0};
    struct tn_eim_item item;

    for (u32 k = 0; tn_eim_item(policy->eim, policy->name, k, &item); k++) {
        if (item.kind == TN_ITEM_CLASS && tn_cli_item_there(host, &item, &why))
            return tn_fail(err, -ENOENT, why.reason, "%s:%u:%u: %s", item.file, item.line, item.column,
                           why.message);
    }
    return 0;
}

/* A host that says its binary is held against it, types and all; what it offers may stand in its notes. */
static int check_host(const struct tn_policy_cmd *cmd, const struct tn_eim *eim, const char *name,
                      const char **ret_held, struct counts *ret_counts, struct tn_error *err)
{
    const char *binary = tn_eim_host_binary(eim, name), *last = cmd->host ? strrchr(cmd->host, '/') : NULL;
    struct tn_cli_host_opts opts = {0};
    struct tn_cli_policy policy;
    struct tn_cli_host host;
    int r;

    if (!binary && cmd->host && !strcmp(last ? last + 1 : cmd->host, name))
        binary = cmd->host;
    *ret_counts = count(eim, name);
    *ret_held = binary ? "its binary is not here" : "no file says where its binary is";
    if (!binary || access(binary, R_OK))
        return 0;
    opts.paths = cmd->words;
    opts.npaths = cmd->nwords;
    r = tn_cli_host_open(binary, &opts, &host, err);
    if (r)
        return r;
    r = tn_cli_policy_open(cmd->words, cmd->nwords, &host, &policy, err);
    if (!r) {
        *ret_held = policy.bound ? NULL : "its binary has no types";
        *ret_counts = count(policy.eim, policy.name);
        r = check_probes(&host, &policy, err);
        tn_cli_policy_close(&policy);
    }
    tn_cli_host_close(&host);
    return r;
}

static int check(const struct tn_policy_cmd *cmd)
{
    struct tn_cli_policy policy;
    struct tn_error err = {0};
    json_t *rows = json_array();
    const char *name;
    int r = tn_cli_policy_open(cmd->words, cmd->nwords, NULL, &policy, &err);

    if (r) {
        json_decref(rows);
        return tn_cli_error(cmd->name, r, &err);
    }
    if (!cmd->json && !policy.files.n)
        printf("no policy: a user may do to his own processes what ptrace would let him\n");
    for (u32 k = 0; (name = tn_eim_host_name(policy.eim, k)) && !r; k++) {
        struct counts n;
        const char *not_held;
        bool governed = tn_eim_governs(policy.eim, name);

        r = check_host(cmd, policy.eim, name, &not_held, &n, &err);
        if (r)
            break;
        json_array_append_new(
            rows, json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "host", name, "governed",
                            (int)governed, "held", !not_held, "entries", (json_int_t)n.of[TN_ITEM_ENTRY],
                            "functions", (json_int_t)n.of[TN_ITEM_FUNCTION], "states",
                            (json_int_t)n.of[TN_ITEM_STATE], "classes", (json_int_t)n.of[TN_ITEM_CLASS],
                            "uprobe", tn_eim_rule_of(policy.eim, name, TN_AT_UPROBE), "uretprobe",
                            tn_eim_rule_of(policy.eim, name, TN_AT_URETPROBE), "syscall",
                            tn_eim_rule_of(policy.eim, name, TN_AT_SYSENTER)));
        if (cmd->json)
            continue;
        printf("host %s: %u entries, %u functions, %u states, %u classes", name, n.of[TN_ITEM_ENTRY],
               n.of[TN_ITEM_FUNCTION], n.of[TN_ITEM_STATE], n.of[TN_ITEM_CLASS]);
        if (governed)
            printf("; without a class, uprobe is %s, uretprobe %s, syscall %s",
                   tn_eim_rule_of(policy.eim, name, TN_AT_UPROBE),
                   tn_eim_rule_of(policy.eim, name, TN_AT_URETPROBE),
                   tn_eim_rule_of(policy.eim, name, TN_AT_SYSENTER));
        else
            printf("; not governed: no file names it");
        printf(not_held ? "; not held against types: %s\n" : "; held against its types%s\n",
               not_held ? not_held : "");
    }
    if (!r && !cmd->json && policy.files.n)
        printf("%u file%s in order\n", policy.files.n, policy.files.n == 1 ? " is" : "s are");
    if (r)
        (void)tn_cli_error(cmd->name, r, &err);
    else if (cmd->json)
        tn_cli_print_json(json_incref(rows), false);
    json_decref(rows);
    tn_cli_policy_close(&policy);
    return r ? TN_EXIT_FAILED : TN_EXIT_OK;
}

/* ------------------------------------------------------------------------------------------------- audit */

static const char *text(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));

    return s ? s : "";
}

static void audit_row(struct tn_table *table, const json_t *row)
{
    u32 uid = (u32)json_integer_value(json_object_get(row, "uid"));
    const struct passwd *p = getpwuid(uid);
    char user[64];

    if (p)
        snprintf(user, sizeof(user), "%s", p->pw_name);
    else
        snprintf(user, sizeof(user), "%u", uid);
    tn_table_row(table, text(row, "time"), user, text(row, "deed"), text(row, "program"),
                 *text(row, "class") ? text(row, "class") : "-", text(row, "host"),
                 *text(row, "refused") ? text(row, "refused") : "done", NULL);
}

static int audit(const struct tn_policy_cmd *cmd)
{
    json_t *rows = json_array();
    struct tn_table table = {0};
    _free_ char *line = NULL;
    char path[PATH_MAX];
    size_t cap = 0;
    u32 number = 0, damaged = 0;
    FILE *f;
    int r = tn_journal_path(getuid(), path, sizeof(path));

    f = r ? NULL : fopen(path, "re");
    if (!f && !r && errno != ENOENT)
        r = -errno;
    if (r) {
        json_decref(rows);
        return tn_cli_fail(cmd->name, "the journal %s: %s", r == -ENOENT ? "" : path, strerror(-r));
    }
    tn_table_row(&table, "time", "user", "deed", "program", "class", "host", "outcome", NULL);
    while (f && getline(&line, &cap, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);

        number++;
        if (!json_is_object(row)) {
            tn_cli_warn(cmd->name, "%s:%u: no line of a journal", path, number);
            damaged++;
        } else if (!cmd->refused || *text(row, "refused")) {
            audit_row(&table, row);
            json_array_append(rows, row);
        }
        json_decref(row);
    }
    if (f)
        fclose(f);
    if (cmd->json)
        tn_cli_print_json(json_incref(rows), false);
    else if (json_array_size(rows))
        tn_table_print(stdout, &table);
    else
        printf("%s: nothing %s\n", path, cmd->refused ? "was refused" : "is written there yet");
    json_decref(rows);
    tn_table_clear(&table);
    return damaged ? TN_EXIT_FAILED : TN_EXIT_OK;
}

int tn_cmd_policy(int argc, char **argv)
{
    struct words w = {.cmd.name = argv[0]};

    tn_cli_parse(&argp, argc, argv, 0, &w);
    tn_libbpf_listen(false);
    for (size_t k = 0; k < TN_ARRAY_SIZE(subs); k++) {
        if (strcmp(w.what, subs[k].word) != 0)
            continue;
        if (w.cmd.nwords < subs[k].least || w.cmd.nwords > subs[k].most || (subs[k].host && !w.cmd.host)) {
            tn_cli_fail(argv[0], "usage: tenon policy %s", subs[k].usage);
            return TN_EXIT_USAGE;
        }
        return subs[k].run(&w.cmd);
    }
    tn_cli_fail(argv[0], "%s: not known (check, explain, infer, diff, audit or simulate)", w.what);
    return TN_EXIT_USAGE;
}
