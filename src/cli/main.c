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

/* Have the words the same letters, but for one that is missing, doubled or wrong,
   or two that changed places? */
static bool alike(const char *a, const char *b)
{
    size_t same = 0, la = strlen(a), lb = strlen(b), end = 0;

    while (a[same] && a[same] == b[same])
        same++;
    while (end < TN_MIN(la, lb) - same && a[la - 1 - end] == b[lb - 1 - end])
        end++;
    la -= same + end;
    lb -= same + end;
    return (la <= 1 && lb <= 1) || (la == 2 && lb == 2 && a[same] == b[same + 1] && a[same + 1] == b[same]);
}

const char *tn_command_meant(const char *word)
{
    for (const struct tn_command *command = tn_commands; command->name; command++)
        if (!(command->flags & TN_CMD_HIDDEN) &&
            (alike(word, command->name) ||
             (strlen(word) > 1 && strncmp(word, command->name, strlen(word)) == 0)))
            return command->name;
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
        const char *meant = tn_command_meant(argv[1]);

        tn_cli_fail("tenon", "%s: no such command (%s%s)", argv[1],
                    meant ? "did you mean: tenon " : "see: tenon help", meant ? meant : "");
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
