/* SPDX-License-Identifier: MIT */
/*
 * tenon help: the rows of commands.h; for one command, its own --help. Words that follow a command (map ls)
 * are explained there too.
 */
#include "cli/cli.h"

static const struct argp argp = {
    .args_doc = "[COMMAND [WORD...]]",
    .doc = "List the commands, or explain one.",
};

int tn_cmd_help(int argc, char **argv)
{
    const struct tn_command *command;

    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-')
            tn_cli_parse(&argp, argc, argv, 0, NULL);
    if (argc > 1) {
        char name[64], option[] = "--help";
        char *words[] = {name, option, NULL};

        command = tn_command_by_name(argv[1]);
        if (!command) {
            const char *meant = tn_command_meant(argv[1]);

            tn_cli_fail(argv[0], "%s: no such command (%s%s)", argv[1],
                        meant ? "did you mean: " : "see: tenon help", meant ? meant : "");
            return TN_EXIT_USAGE;
        }
        snprintf(name, sizeof(name), "tenon %s", command->name);
        return command->run(2, words);
    }
    printf("Extend running programs with verified eBPF, placed in the process itself.\n\n"
           "Usage: tenon COMMAND [OPTION...] ...\n\n");
    for (command = tn_commands; command->name; command++)
        if (!(command->flags & TN_CMD_HIDDEN))
            printf("  %s%-8s%s %s\n", tn_bold(stdout), command->name, tn_plain(stdout), command->summary);
    printf("\n'tenon COMMAND --help' gives its options; 'man tenon-COMMAND' the whole story.\n");
    return TN_EXIT_OK;
}
