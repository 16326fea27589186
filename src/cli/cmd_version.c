/* SPDX-License-Identifier: MIT */
/*
 * tenon version: ours, and of the library that reads objects.
 */
#include <bpf/libbpf.h>

#include "cli/cli.h"

static bool json;

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "for machines", 0},
    {0},
};
static const struct argp argp = {options, tn_cli_option_json, "", "Print the version.", NULL, NULL, NULL};

int tn_cmd_version(int argc, char **argv)
{
    tn_cli_parse(&argp, argc, argv, 0, &json);
    if (json)
        tn_cli_print_json(json_pack("{s:s, s:s}", "tenon", TN_VERSION, "libbpf", libbpf_version_string()),
                          false);
    else
        printf("tenon %s (libbpf %s)\n", TN_VERSION, libbpf_version_string());
    return TN_EXIT_OK;
}
