/* SPDX-License-Identifier: MIT */
/*
 * tenon run: a tool as it is, its bpf(2) calls reaching our broker through the preload door.
 */
#include <errno.h>
#include <limits.h>

#include "broker/ctl.h"
#include "cli/cli.h"

#define DOOR "libtenon-door.so"
enum { KEY_CLASS = 0x100 };

static const struct argp_option options[] = {
    {"host", 'H', "FILE|PID[,PID...]", 0,
     "whose types the tool sees as a module of its kernel, and where programs attached by type go", 0},
    {"class", KEY_CLASS, "NAME", 0,
     "the extension class of the host's policy that the tool's programs are loaded under", 0},
    {"pid", 'p', "PID[,PID...]", 0, "whose system calls the tool means where it names no process", 0},
    {0},
};

static bool is_list(const char *arg)
{
    for (u32 n = 0; n < TN_CTL_SCOPE_PIDS; n++) {
        size_t len = strspn(arg, "0123456789");

        if (!len || len > 7 || !strtoul(arg, NULL, 10))
            return false;
        if (!arg[len])
            return true;
        if (arg[len] != ',')
            return false;
        arg += len + 1;
    }
    return false;
}

static int option(int key, char *arg, struct argp_state *state)
{
    if (key == 'p' && !is_list(arg))
        argp_error(state, "-p %s: not process ids parted by commas", arg);
    if (key == KEY_CLASS && strlen(arg) >= sizeof(((struct tn_ctl_class *)0)->name))
        argp_error(state, "--class %s: too long", arg);
    if (key != 'H' && key != 'p' && key != KEY_CLASS)
        return ARGP_ERR_UNKNOWN;
    if (setenv(key == 'H' ? "TENON_HOST" : key == 'p' ? "TENON_PIDS" : "TENON_CLASS", arg, 1))
        argp_failure(state, 1, errno, "the environment");
    return 0;
}

static const struct argp argp = {
    options,
    option,
    "[--host FILE|PID] [--class NAME] [-p PID] -- TOOL [ARG...]",
    "Run a tool (bpftool, anything built on libbpf) so that its bpf(2) calls reach tenon instead of the "
    "kernel. The tool "
    "must call libc's syscall(): a static program does not.",
    NULL,
    NULL,
    NULL,
};

/* The door lies beside us in the build folder, or in the lib folder beside our bin. */
static int find_door(char ret_path[PATH_MAX])
{
    static const char *const places[] = {"../lib/tenon/" DOOR, "../lib/" DOOR,
                                         "../lib/x86_64-linux-gnu/tenon/" DOOR, "../door/" DOOR};
    char self[PATH_MAX], path[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n < 0)
        return -errno;
    self[n] = 0;
    slash = strrchr(self, '/');
    if (!slash)
        return -ENOENT;
    slash[1] = 0;
    for (size_t i = 0; i < TN_ARRAY_SIZE(places); i++) {
        snprintf(path, sizeof(path), "%s%s", self, places[i]);
        if (realpath(path, ret_path) && access(ret_path, R_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

int tn_cmd_run(int argc, char **argv)
{
    char door[PATH_MAX], self[PATH_MAX];
    _free_ char *preload = NULL;
    const char *before;
    char **tool = NULL;
    ssize_t n;
    int r;

    for (int i = 1; i < argc && !tool; i++) {
        if (strcmp(argv[i], "--") == 0)
            tool = argv + i + 1;
        else if (!strcmp(argv[i], "--host") || !strcmp(argv[i], "-H") || !strcmp(argv[i], "--pid") ||
                 !strcmp(argv[i], "-p") || !strcmp(argv[i], "--class"))
            i++;
        else if (argv[i][0] != '-')
            tool = argv + i;
        if (tool)
            argc = i;
    }
    tn_cli_parse(&argp, argc, argv, 0, NULL);
    if (!tool || !tool[0]) {
        tn_cli_fail(argv[0], "no tool is named (usage: tenon run -- TOOL [ARG...])");
        return TN_EXIT_USAGE;
    }
    r = find_door(door);
    if (r)
        return tn_cli_fail(argv[0], DOOR ": %s (it belongs into ../lib beside the folder of this program)",
                           strerror(-r));
    before = getenv("LD_PRELOAD");
    if (asprintf(&preload, "%s%s%s", door, before && *before ? ":" : "", before ? before : "") < 0)
        return tn_cli_error(argv[0], -ENOMEM, NULL);
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0 && !getenv("TENON_EXE")) {
        self[n] = 0;
        setenv("TENON_EXE", self, 1); /* whom the door starts as a broker */
    }
    setenv("LD_PRELOAD", preload, 1);
    execvp(tool[0], tool);
    tn_cli_fail(argv[0], "%s: %s", tool[0], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}
