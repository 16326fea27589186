/* SPDX-License-Identifier: MIT */
/*
 * tenon broker: the broker's own entry, as tn_broker_connect starts it. Not for people.
 */
#include "broker/broker.h"
#include "cli/cli.h"

int tn_cmd_broker(int argc, char **argv)
{
    char name[] = "tenon", command[] = "broker";
    char *words[] = {name, command, NULL};

    (void)argc;
    (void)argv;
    return tn_broker_main(2, words);
}
