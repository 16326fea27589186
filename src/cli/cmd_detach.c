/* SPDX-License-Identifier: MIT */
/*
 * tenon detach: a link's gate is closed at once; bytes are put back, and runs under way are waited for, for a
 * while.
 */
#include <errno.h>

#include "cli/cli.h"
#include "cli/connect.h"

#define MAX_IDS 4096

enum { KEY_ALL = 0x100, KEY_WAIT };

struct detach {
    u32 ids[MAX_IDS], nids;
    bool all;
    u32 wait_ms;
};

static int option(int key, char *arg, struct argp_state *state)
{
    struct detach *d = state->input;
    u64 number;

    switch (key) {
    case KEY_ALL:
        d->all = true;
        return 0;
    case KEY_WAIT:
        if (tn_parse_u64(arg, 3600000, &number))
            argp_error(state, "--wait %s: not a time in milliseconds", arg);
        d->wait_ms = (u32)number;
        return 0;
    case ARGP_KEY_ARG:
        if (tn_parse_u64(arg, UINT32_MAX, &number) || number == 0 || d->nids == MAX_IDS)
            argp_error(state, "%s: not a link's id (see: tenon ls)", arg);
        d->ids[d->nids++] = (u32)number;
        return 0;
    case ARGP_KEY_END:
        if (!d->all == !d->nids)
            argp_error(state, "either ids or --all");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"all", KEY_ALL, 0, 0, "every link of this user's broker", 0},
    {"wait", KEY_WAIT, "MS", 0, "how long to wait for runs under way (1000)", 0},
    {0},
};
static const struct argp argp = {options, option, "ID...\n--all", "Take links out of their targets.", NULL,
                                 NULL,    NULL};

int tn_cmd_detach(int argc, char **argv)
{
    static struct detach d;
    struct tn_error err = {0};
    struct tn_ctl_link link;
    int r, status = TN_EXIT_OK;

    d = (struct detach){.wait_ms = TN_CTL_DETACH_MS};
    tn_cli_parse(&argp, argc, argv, 0, &d);
    r = tn_connect(false, &err);
    if (r == -ENOENT && d.all)
        return TN_EXIT_OK; /* no broker, no links */
    if (r)
        return tn_cli_error(argv[0], r, &err);
    for (u32 id = 0; d.all && d.nids < MAX_IDS; id = link.id) {
        r = tn_ctl(TN_CTL_LINK_NEXT, &id, sizeof(id), &link, sizeof(link));
        if (r < 0 || link.id <= id)
            break;
        d.ids[d.nids++] = link.id;
    }
    for (u32 i = 0; i < d.nids; i++) {
        struct tn_ctl_detach request = {.id = d.ids[i], .wait_ms = d.wait_ms};
        struct tn_ctl_error why;

        r = tn_ctl(TN_CTL_LINK_DETACH, &request, sizeof(request), NULL, 0);
        if (r >= 0 || (r == -ENOENT && d.all))
            continue;
        if (r == -ENOENT)
            status = tn_cli_fail(argv[0], "link %u: there is none with this id (see: tenon ls)", d.ids[i]);
        else if (tn_ctl_why(&why) && why.why.message[0])
            status = tn_cli_error(argv[0], r, &why.why);
        else if (r == -ETIMEDOUT || r == -ETIME)
            status =
                tn_cli_fail(argv[0], "link %u: its gate is closed, but a run was still under way after %u ms",
                            d.ids[i], d.wait_ms);
        else
            status = tn_cli_fail(argv[0], "link %u: %s", d.ids[i], strerror(-r));
    }
    return status;
}
