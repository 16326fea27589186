/* SPDX-License-Identifier: MIT */
/*
 * Sub-commands in rows: one file each, one manual page each, one line of `tenon help` each. A row gives the
 * dispatch, the help and the check that its manual page exists (tests/repo/documents.bats).
 *
 * C(name, arguments, summary, flags): the function is tn_cmd_<name>(argc, argv), argv[0] being "tenon
 * <name>"; it returns the exit status.
 */
#ifndef TN_CLI_COMMANDS_H
#define TN_CLI_COMMANDS_H

enum tn_cmd_flag {
    TN_CMD_HIDDEN = 1 << 0, /* not for people: no help, no manual page */
};

// clang-format off
#define TN_COMMANDS(C)                                                                                             \
    C(attach,  "[-p PID... | -- CMD...] OBJ",  "place the programs of an eBPF object into running processes", 0)   \
    C(run,     "-- TOOL...",                   "run a tool so that its bpf(2) calls reach tenon",            0)    \
    C(ls,      "",                             "list what is attached",                                      0)    \
    C(show,    "[ID...]",                      "show links, their programs and the broker in detail",        0)    \
    C(detach,  "ID... | --all",                "take links out of their targets",                            0)    \
    C(map,     "ls|dump|lookup|update ...",    "list, read and write maps",                                  0)    \
    C(verify,  "[--host BINARY | -p PID] OBJ", "say of each program whether it is safe, and why not",        0)    \
    C(spec,    "extract|check|show|header|types FILE", "what a host's developers offer to extensions", 0)   \
    C(policy,  "check|explain|infer|diff|...", "what is allowed: check, explain, infer, compare, audit",  0)    \
    C(doctor,  "",                             "what this machine and this user can and cannot do, and why", 0)    \
    C(bench,   "",                             "what a hook costs on this machine",                          0)    \
    C(help,    "[COMMAND]",                    "explain a command",                                          0)    \
    C(version, "",                             "print the version",                                          0)    \
    C(broker,  "",                             "the broker itself; started when it is needed",               TN_CMD_HIDDEN)
// clang-format on

#define C(name, ...) int tn_cmd_##name(int argc, char **argv);
TN_COMMANDS(C)
#undef C

struct tn_command {
    const char *name, *arguments, *summary;
    unsigned flags; /* enum tn_cmd_flag */
    int (*run)(int argc, char **argv);
};
/* Ends with a row whose name is NULL. */
extern const struct tn_command tn_commands[];
/* NULL where there is none. */
const struct tn_command *tn_command_by_name(const char *name);
/* The command that was probably meant by a word that is none; NULL: no idea. */
const char *tn_command_meant(const char *word);

#endif
