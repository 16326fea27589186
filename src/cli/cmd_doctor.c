/* SPDX-License-Identifier: MIT */
/*
 * tenon doctor: what this machine and this user can and cannot do, and why.
 *
 * A row a probe (probes.h). Each probe tries the thing itself where that is harmless: a version number or a
 * flag in a file says what should work, not what does. A probe answers yes, no or limited, what it saw, and
 * the row says what follows from it. Exit status 1 when something that every attach needs is not there.
 */
#include "cli/cli.h"
#include "cli/probes.h"

static const struct {
    const char *name, *title, *without;
    bool needed;
    void (*probe)(struct tn_probe *ret_found);
} rows[] = {
#define P(name, title, needed, without) {#name, title, without, needed, tn_probe_##name},
    TN_PROBES(P)
#undef P
};

static const char *const answers[] = {
    [TN_PROBE_YES] = "yes", [TN_PROBE_LIMITED] = "limited", [TN_PROBE_NO] = "no"};
static bool json;

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "one array, a row a probe: probe, answer, needed, seen, means", 0},
    {0},
};
static const struct argp argp = {
    options,
    tn_cli_option_json,
    "",
    "Try what tenon needs from this machine and this user, and say what can and cannot be done, and why. "
    "The exit status is 1 when something that every attach needs is missing.",
    NULL,
    NULL,
    NULL,
};

int tn_cmd_doctor(int argc, char **argv)
{
    json_t *list = json_array();
    bool good = true;

    tn_cli_parse(&argp, argc, argv, 0, &json);
    for (size_t i = 0; i < TN_ARRAY_SIZE(rows); i++) {
        struct tn_probe found = {.answer = TN_PROBE_NO};

        rows[i].probe(&found);
        if (rows[i].needed && found.answer == TN_PROBE_NO)
            good = false;
        if (json) {
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:s, s:s}", "probe", rows[i].name,
                                                  "title", rows[i].title, "answer", answers[found.answer],
                                                  "needed", rows[i].needed, "seen", found.seen, "means",
                                                  found.answer == TN_PROBE_YES ? "" : rows[i].without));
            continue;
        }
        printf("%s%-7s%s %s%s%s: %s\n",
               found.answer == TN_PROBE_YES  ? tn_good(stdout)
               : found.answer == TN_PROBE_NO ? tn_bad(stdout)
                                             : tn_bold(stdout),
               answers[found.answer], tn_plain(stdout), tn_bold(stdout), rows[i].title, tn_plain(stdout),
               found.seen);
        if (found.answer != TN_PROBE_YES)
            printf("        %s\n", rows[i].without);
    }
    if (json)
        tn_cli_print_json(list, false);
    else {
        json_decref(list);
        printf("\n%s\n", good ? "Everything that an attach needs is here."
                              : "Something that every attach needs is missing: see the lines that say no.");
    }
    return good ? TN_EXIT_OK : TN_EXIT_FAILED;
}
