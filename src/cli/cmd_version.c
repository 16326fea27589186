/* SPDX-License-Identifier: MIT */
/*
 * tenon version: ours, and of the library that reads objects.
 */
#include <bpf/libbpf.h>

#include "cli/cli.h"

static bool json;

static int option(int key, char *arg, struct argp_state *state)
{
    if (key == 'j')
        json = true;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "takes no argument: %s", arg);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "for machines", 0},
    {0},
};
static const struct argp argp = {options, option, "", "Print the version.", NULL, NULL, NULL};

int tn_cmd_version(int argc, char **argv)
{
    tn_cli_parse(&argp, argc, argv, 0, NULL);
    if (json)
        tn_cli_print_json(json_pack("{s:s, s:s}", "tenon", TN_VERSION, "libbpf", libbpf_version_string()),
                          false);
    else
        printf("tenon %s (libbpf %s)\n", TN_VERSION, libbpf_version_string());
    return TN_EXIT_OK;
}
