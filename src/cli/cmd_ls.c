/* SPDX-License-Identifier: MIT */
/*
 * tenon ls: what is attached. Starts no broker: without one, nothing is.
 */
#include <errno.h>

#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/links.h"

static bool json;

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "one array, a row a link", 0},
    {0},
};
static const struct argp argp = {options, tn_cli_option_json, "", "List what is attached.", NULL, NULL, NULL};

int tn_cmd_ls(int argc, char **argv)
{
    struct tn_table table = {0};
    struct tn_error err = {0};
    struct tn_ctl_link link;
    json_t *list;
    int r;

    tn_cli_parse(&argp, argc, argv, 0, &json);
    list = json_array();
    tn_link_head(&table);
    r = tn_connect(false, &err);
    if (r && r != -ENOENT) {
        json_decref(list);
        tn_table_clear(&table);
        return tn_cli_error(argv[0], r, &err);
    }
    for (u32 id = 0; !r; id = link.id) {
        int next = tn_ctl(TN_CTL_LINK_NEXT, &id, sizeof(id), &link, sizeof(link));

        if (next < 0 || link.id <= id) {
            if (next < 0 && next != -ENOENT)
                tn_cli_warn(argv[0], "the list ends early: %s", strerror(-next));
            break;
        }
        json_array_append_new(list, tn_link_json(&link));
        tn_link_row(&table, &link);
    }
    if (json)
        tn_cli_print_json(json_incref(list), false);
    else if (table.nrows > 1)
        tn_table_print(stdout, &table);
    else
        printf("nothing is attached\n");
    json_decref(list);
    tn_table_clear(&table);
    return TN_EXIT_OK;
}
