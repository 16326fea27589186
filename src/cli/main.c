/* SPDX-License-Identifier: MIT */
/*
 * tenon: the first word chooses the command, and the command's own file does the rest.
 */
#include <locale.h>
#include <signal.h>

#include "cli/cli.h"

// clang-format off
const struct tn_command tn_commands[] = {
#define C(name, arguments, summary, flags) { #name, arguments, summary, flags, tn_cmd_##name },
    TN_COMMANDS(C)
#undef C
    { 0 },
};
// clang-format on

const struct tn_command *tn_command_by_name(const char *name)
{
    for (const struct tn_command *command = tn_commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

/* Options that stand for a command, as people type them. */
static const char *alias(const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "-?") == 0)
        return "help";
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return "version";
    return word;
}

int main(int argc, char **argv)
{
    const struct tn_command *command;
    char name[64];
    int status;

    setlocale(LC_CTYPE, "");
    if (argc < 2) {
        char *help[] = {"tenon help", NULL};

        tn_cmd_help(1, help);
        return TN_EXIT_USAGE;
    }
    command = tn_command_by_name(alias(argv[1]));
    if (!command) {
        tn_cli_fail("tenon", "%s: no such command (see: tenon help)", argv[1]);
        return TN_EXIT_USAGE;
    }
    snprintf(name, sizeof(name), "tenon %s", command->name);
    argv[1] = name;
    status = command->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tn_cli_fail(name, "standard output: %s", "could not be written");
        return status ? status : TN_EXIT_FAILED;
    }
    return status;
}
