/* SPDX-License-Identifier: MIT */
/*
 * tenon attach: an object's programs, into processes.
 *
 *   -p PID…   one link a program and process
 *   -- CMD…   a child waits before its exec; the broker holds it at its first instruction while
 *             links are made, then lets it go; its exit status is ours
 *   neither   libbpf attaches by the section's path: every process of the file, and those that come later
 *
 * What is wrong with the object, its section names, its functions and the processes is found before anything
 * is loaded. Links live as long as this command (--keep: until they are detached by id), which shows them and
 * the object's maps meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/attach.h"
#include "cli/cli.h"
#include "cli/connect.h"
#include "cli/kernel.h"
#include "cli/links.h"

enum {
    KEY_FOR = 0x100,
    KEY_KEEP,
    KEY_DETACH_ON_EXIT,
    KEY_FOLLOW,
    KEY_WAIT,
    KEY_PROGRAM,
    KEY_SET,
    KEY_HOST,
    KEY_CLASS,
    KEY_INTERVAL,
    KEY_NO_MAPS,
    KEY_FALLBACK
};

static const struct argp_option options[] = {
    {"pid", 'p', "PID", 0, "attach to this process; may be repeated, or be a list parted by commas", 0},
    {"follow", KEY_FOLLOW, 0, 0, "children that the processes fork are included (always so with -- CMD)", 0},
    {"program", KEY_PROGRAM, "NAME", 0, "only this program of the object; may be repeated", 0},
    {"set", KEY_SET, "NAME=VALUE", 0,
     "give a global variable of the object its value before loading; may be repeated", 0},
    {"host", KEY_HOST, "FILE", 0,
     "the binary whose types and functions the programs name; otherwise what the processes run", 0},
    {"class", KEY_CLASS, "NAME", 0,
     "the extension class of the host's policy that the programs are loaded under", 0},
    {"for", KEY_FOR, "SECONDS", 0, "detach and end after this time", 0},
    {"keep", KEY_KEEP, 0, 0, "leave the links with the broker and end at once (with -- CMD: when CMD ends)",
     0},
    {"detach-on-exit", KEY_DETACH_ON_EXIT, 0, 0, "the links end with this command (the default)", 0},
    {"wait", KEY_WAIT, "MS", 0, "how long to wait for a thread that can be borrowed (1000)", 0},
    {"interval", KEY_INTERVAL, "SECONDS", 0,
     "show the maps this often: 1 on a terminal, elsewhere once, when all is over", 0},
    {"fallback", KEY_FALLBACK, "kernel", 0,
     "where a place cannot be hooked, let the kernel's own uprobes serve the whole object, at about a "
     "microsecond a pass",
     0},
    {"no-maps", KEY_NO_MAPS, 0, 0, "do not show the maps", 0},
    {"json", 'j', 0, 0, "one line of JSON a link, once attached; no maps", 0},
    {"verbose", 'v', 0, 0, "what libbpf says, too", 0},
    {0},
};

static int add_pids(struct tn_cli_attach *a, const char *list)
{
    _free_ char *copy = strdup(list);
    char *at = copy;

    for (char *word; copy && (word = strsep(&at, ",")) != NULL;) {
        u64 pid;

        if (tn_parse_u64(word, 4194304, &pid) || pid == 0 || a->npids == TN_CLI_ATTACH_WORDS)
            return -EINVAL;
        for (u32 i = 0; i < a->npids; i++)
            if (a->pids[i] == (pid_t)pid)
                return -EEXIST;
        a->pids[a->npids++] = (pid_t)pid;
    }
    return copy ? 0 : -ENOMEM;
}

static int option(int key, char *arg, struct argp_state *state)
{
    struct tn_cli_attach *a = state->input;
    u64 number;
    int r;

    switch (key) {
    case 'p':
        r = add_pids(a, arg);
        if (r == -EEXIST)
            argp_error(state, "-p %s: a process is named twice", arg);
        if (r)
            argp_error(state, "-p %s: not a process id", arg);
        return 0;
    case KEY_PROGRAM:
    case KEY_SET:
        if ((key == KEY_SET ? a->nsets : a->nprograms) == TN_CLI_ATTACH_WORDS)
            argp_error(state, "too many");
        if (key == KEY_SET)
            a->sets[a->nsets++] = arg;
        else
            a->programs[a->nprograms++] = arg;
        return 0;
    case KEY_CLASS:
        if (strlen(arg) >= sizeof(((struct tn_ctl_options *)0)->klass))
            argp_error(state, "--class %s: too long", arg);
        a->klass = arg;
        return 0;
    case KEY_HOST:
        a->host = arg;
        return 0;
    case KEY_FOR:
        if (tn_parse_seconds(arg, &a->for_ns))
            argp_error(state, "--for %s: not a time in seconds", arg);
        if (a->for_ns == 0)
            a->for_ns = 1;
        return 0;
    case KEY_INTERVAL:
        if (tn_parse_seconds(arg, &a->interval_ns) || a->interval_ns < 10000000)
            argp_error(state, "--interval %s: not a time in seconds (0.01 or more)", arg);
        return 0;
    case KEY_WAIT:
        if (tn_parse_u64(arg, 3600000, &number))
            argp_error(state, "--wait %s: not a time in milliseconds", arg);
        a->wait_ms = (u32)number;
        return 0;
    case KEY_KEEP:
        a->keep = true;
        return 0;
    case KEY_DETACH_ON_EXIT:
        a->keep = false;
        return 0;
    case KEY_FOLLOW:
        a->follow = true;
        return 0;
    case KEY_FALLBACK:
        if (strcmp(arg, "kernel") != 0)
            argp_error(state, "--fallback %s: there is only kernel", arg);
        a->fallback = true;
        return 0;
    case KEY_NO_MAPS:
        a->no_maps = true;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    case 'v':
        a->verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->nwords == TN_CLI_ATTACH_WORDS)
            argp_error(state, "too many arguments");
        a->words[a->nwords++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (a->fallback && (a->keep || a->follow || a->klass))
            argp_error(
                state,
                a->keep     ? "--fallback=kernel: the kernel's links end with this command: leave out --keep"
                : a->follow ? "--fallback=kernel: the kernel's uprobes of a process are not its children's: "
                              "leave out --follow"
                            : "--fallback=kernel: in the kernel no class of a policy confines a program: "
                              "leave out --class");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    option,
    "OBJ -- CMD...\n-p PID... OBJ\nOBJ",
    "Place the programs of an eBPF object into running processes, or into a command from its first "
    "instruction, and show "
    "what they count until interrupted.\v"
    "Programs say by their section where they go: SEC(\"uprobe/PATH:FUNCTION+OFFSET\") before the "
    "instruction there, "
    "SEC(\"uretprobe/PATH:FUNCTION\") before the function returns, SEC(\"usdt/PATH:PROVIDER:NAME\") at a "
    "static "
    "probe; or SEC(\"fentry/FUNCTION\"), "
    "SEC(\"fexit/FUNCTION\") and SEC(\"fmod_ret/FUNCTION\"), attached by the type that the program's own "
    "debug "
    "information tells; or SEC(\"tracepoint/syscalls/sys_enter_CALL\"), "
    "SEC(\"tracepoint/syscalls/sys_exit_CALL\"), "
    "SEC(\"raw_tp/sys_enter\"), SEC(\"tp_btf/sys_exit\") …, SEC(\"ksyscall/CALL\"), "
    "SEC(\"kretsyscall/CALL\") "
    "for system calls. Without -p and CMD, every process "
    "that "
    "has PATH mapped "
    "is meant, and (as root) every one that executes or loads it later.",
    NULL,
    NULL,
    NULL,
};

/* Sorts the words: pids that follow -p, the object, the command.
   Returns the object's path, NULL after a complaint. */
static const char *sort_words(struct tn_cli_attach *a)
{
    u32 at = 0;

    while (a->npids && at < a->nwords && a->words[at][strspn(a->words[at], "0123456789,")] == 0) {
        if (add_pids(a, a->words[at])) {
            tn_cli_fail(a->name, "-p %s: not a process id, or named twice", a->words[at]);
            return NULL;
        }
        at++;
    }
    if (a->command && at == a->nwords && a->command[0] && a->command[1]) {
        /* -- CMD… OBJ */
        char **last = a->command;
        const char *object;

        while (last[1])
            last++;
        object = *last;
        *last = NULL;
        return object;
    }
    if (a->nwords - at != 1) {
        tn_cli_fail(a->name,
                    a->nwords == at ? "no object is named (usage: tenon attach [-p PID | -- CMD...] OBJ)"
                                    : "%s: one object at a time; a command stands after --",
                    a->nwords > at ? a->words[at + 1] : "");
        return NULL;
    }
    if (a->command && !a->command[0]) {
        tn_cli_fail(a->name, "no command follows --");
        return NULL;
    }
    if (a->command && a->npids) {
        tn_cli_fail(a->name, "either -p or a command, not both");
        return NULL;
    }
    return a->words[at];
}

static int check_pids(const struct tn_cli_attach *a, struct tn_error *err)
{
    for (u32 i = 0; i < a->npids; i++)
        if (kill(a->pids[i], 0) < 0 && errno == ESRCH)
            return tn_fail(err, -ESRCH, "no_process", "process %d: there is none with this id",
                           (int)a->pids[i]);
    return 0;
}

/* ---------- the child ---------- */

/* Forks a child that waits for one byte before it execs the command. */
static int prepare_child(struct tn_cli_attach *a, const sigset_t *old_mask, struct tn_error *err)
{
    int ends[2];
    char byte;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return tn_fail(err, -errno, "no_process", "pipe: %s", strerror(errno));
    fflush(NULL);
    a->child = fork();
    if (a->child < 0) {
        close(ends[0]);
        close(ends[1]);
        return tn_fail(err, -errno, "no_process", "fork: %s", strerror(errno));
    }
    if (a->child == 0) {
        close(ends[1]);
        sigprocmask(SIG_SETMASK, old_mask, NULL);
        signal(SIGPIPE, SIG_DFL);
        if (read(ends[0], &byte, 1) != 1)
            _exit(127); /* we were given up */
        execvp(a->command[0], a->command);
        tn_cli_fail(a->name, "%s: %s", a->command[0], strerror(errno));
        _exit(errno == ENOENT ? 127 : 126);
    }
    close(ends[0]);
    a->go = ends[1];
    return 0;
}

/* 128 + signal, as shells say it. */
static int status_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---------- showing ---------- */

static void open_maps(struct tn_cli_attach *a)
{
    struct bpf_map *map;
    u32 n = 0;

    bpf_object__for_each_map(map, a->object) n++;
    a->maps = calloc(n ? n : 1, sizeof(*a->maps));
    if (!a->maps)
        return;
    bpf_object__for_each_map(map, a->object)
    {
        int fd = bpf_map__fd(map) >= 0 ? fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3) : -1;

        /* Strings and constants of the program are not what it counts, nor is what libbpf keeps of static probes. */
        if (fd < 0 || bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF || strstr(bpf_map__name(map), ".rodata") ||
            !strncmp(bpf_map__name(map), "__bpf_usdt", 10)) {
            if (fd >= 0)
                close(fd);
            continue;
        }
        if (tn_cli_map_from_fd(fd, &a->maps[a->nmaps], NULL) == 0)
            a->nmaps++;
    }
}

static void show_links(FILE *out, const struct tn_cli_attach *a)
{
    struct tn_table table = {0};

    tn_link_head(&table);
    for (u32 i = 0; i < (a->in_kernel ? a->nrows : a->nids); i++) {
        struct tn_ctl_link link;

        if (a->in_kernel)
            tn_kernel_look(a, i, &link);
        else if (tn_ctl_link(a->ids[i], &link) < 0)
            continue;
        if (a->json)
            tn_cli_print_json(tn_link_json(&link), true);
        else
            tn_link_row(&table, &link);
    }
    if (!a->json)
        tn_table_print(out, &table);
    tn_table_clear(&table);
    fflush(out);
}

/* Every process was asked for, and is not all that is given. */
static void warn_of_what_is_not_seen(const struct tn_cli_attach *a)
{
    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_link link;
        char text[1024];
        int r = tn_ctl_link(a->ids[i], &link);

        if (r == 0 && link.all && !link.watched)
            tn_cli_warn(a->name, "link %u: processes that come later are not seen: %.192s [not_watched]",
                        link.id, link.why_not);
        if (r == 0 && link.many && link.left)
            tn_cli_warn(a->name, "link %u: %u of its functions cannot be hooked and are left out: %.400s",
                        link.id, link.left, link.left_why);
        if (r == 0 && !link.many && !link.is_call && link.left)
            tn_cli_warn(
                a->name,
                "link %u: its file is in memory more than once, and in one copy it is left out: %.400s",
                link.id, link.left_why);
        if (r == 0 && link.is_call && link.left) {
            tn_ctl_left(&link, text, sizeof(text));
            tn_cli_warn(a->name, "link %u: %s [calls_left]", link.id, text);
        }
    }
}

static void show_maps(FILE *out, const struct tn_cli_attach *a)
{
    for (u32 i = 0; i < a->nmaps; i++) {
        struct tn_error err = {0};

        fputc('\n', out);
        if (tn_cli_map_show(out, &a->maps[i], 16, &err))
            fprintf(out, "  %s\n", err.message);
    }
    fflush(out);
}

/* One frame of the live display, over the one before: `lines` of it are on the screen. Lines that the screen
   has no room for are left out, as the cursor cannot go back to what has scrolled away. Returns how many
   there are now. */
static u32 show_frame(const struct tn_cli_attach *a, u32 lines)
{
    struct winsize size = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *frame = open_memstream(&text, &len);
    u32 room;

    if (!frame)
        return lines;
    show_links(frame, a);
    show_maps(frame, a);
    fclose(frame);
    room = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 2 ? size.ws_row - 1u : 24u;
    if (lines)
        printf("\033[%uA\033[J", lines);
    fputs("\033[?7l", stdout); /* a long line is cut, not folded */
    lines = 0;
    for (const char *at = text; *at && lines < room; lines++) {
        size_t n = strcspn(at, "\n");

        printf("%.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
    fputs("\033[?7h", stdout);
    fflush(stdout);
    free(text);
    return lines;
}

/* 0: some link's process lives; 1: all have ended; negative: the broker does not answer any more. */
static int all_ended(const struct tn_cli_attach *a)
{
    int ended = a->nids > 0;

    for (u32 i = 0; i < a->nids; i++) {
        struct tn_ctl_link link;
        int r = tn_ctl_link(a->ids[i], &link);

        if (r < 0 && r != -ENOENT)
            return r;
        if (!r && !link.ended)
            ended = 0;
    }
    return ended;
}

/* Shows and waits until a signal, the end of the time, of the child, or of all processes.
   Returns the exit status. */
static int stay(struct tn_cli_attach *a, const sigset_t *signals, bool live)
{
    u64 start = tn_monotonic(), interval = a->interval_ns ? a->interval_ns : live ? 1000000000ull : 0;
    u64 next = start; /* the first frame at once */
    struct tn_error err = {0};
    u32 lines = 0;

    if (!live)
        next += interval;
    for (;;) {
        u64 now = tn_monotonic(), until = now + 250000000ull;
        struct timespec pause;
        siginfo_t info;
        int status, r;

        if (a->for_ns && now - start >= a->for_ns)
            return TN_EXIT_OK;
        if (interval && now >= next) {
            if (live)
                lines = show_frame(a, lines);
            else if (!a->json && !a->no_maps)
                show_maps(stdout, a);
            next = now + interval;
        }
        if (a->for_ns)
            until = TN_MIN(until, start + a->for_ns);
        if (interval)
            until = TN_MIN(until, next);
        pause.tv_sec = (time_t)((until - now) / 1000000000ull);
        pause.tv_nsec = (long)((until - now) % 1000000000ull);
        switch (sigtimedwait(signals, &info, &pause)) {
        case SIGINT:
        case SIGTERM:
        case SIGHUP:
            /* A terminal has told the child already. */
            if (a->child > 0 && info.si_code != SI_KERNEL)
                kill(a->child, info.si_signo);
            return TN_EXIT_OK;
        default:
            break;
        }
        if (a->child > 0 && waitpid(a->child, &status, WNOHANG) == a->child) {
            a->child = 0;
            return status_of(status);
        }
        r = a->in_kernel ? tn_kernel_ended(a, &err) : all_ended(a);
        if (r < 0 && err.reason[0])
            return tn_cli_error(a->name, r, &err);
        if (r < 0)
            return tn_cli_fail(a->name, "the broker is gone (%s); its links were closed", strerror(-r));
        if (r && !a->command) {
            tn_cli_warn(a->name, a->npids == 1 ? "process %d has ended" : "all processes have ended",
                        (int)a->pids[0]);
            return TN_EXIT_OK;
        }
    }
}

/* ---------- in order ---------- */

static void release(struct tn_cli_attach *a)
{
    for (u32 i = 0; i < a->nmaps; i++)
        tn_cli_map_clear(&a->maps[i]);
    tn_cli_attach_end(a);
    tn_obj_file_clear(&a->file);
    free(a->refused);
    free(a->maps);
    if (a->go >= 0)
        close(a->go);
}

static int wait_child(struct tn_cli_attach *a)
{
    int status;

    while (waitpid(a->child, &status, 0) < 0)
        if (errno != EINTR)
            return TN_EXIT_FAILED;
    a->child = 0;
    return status_of(status);
}

static int go(struct tn_cli_attach *a, const char *path, const sigset_t *signals)
{
    struct tn_ctl_options how = {.follow = a->follow || a->command, .wait_ms = a->wait_ms, .some = 1};
    struct tn_error err = {0};
    sigset_t old_mask;
    bool live, hint = false;
    s32 pid;
    int r;

    r = tn_obj_read(path, &a->file, &err);
    if (!r)
        r = tn_obj_open(&a->file, &a->object, &err);
    if (!r)
        r = check_pids(a, &err);
    if (!r)
        r = tn_cli_attach_check(a, &err);
    if (!r)
        r = tn_connect(true, &err);
    if (r)
        return tn_cli_error(a->name, r, &err);
    /* From before the first link: whoever interrupts us, links are taken back in order. A broker that was
       started just now has not inherited this. */
    sigprocmask(SIG_BLOCK, signals, &old_mask);
    snprintf(how.klass, sizeof(how.klass), "%s", a->klass ? a->klass : "");
    r = tn_ctl(TN_CTL_OPTIONS, &how, sizeof(how), NULL, 0);
    if (r < 0)
        return tn_cli_fail(a->name, "telling the broker the options: %s", strerror(-r));
    r = tn_cli_attach_choose_host(a, &err);
    if (r)
        return tn_cli_error(a->name, r, &err);
    r = tn_cli_attach_load(a);
    if (r)
        return r;
    if (a->command) {
        r = prepare_child(a, &old_mask, &err);
        if (r)
            return tn_cli_error(a->name, r, &err);
        pid = a->child;
        r = tn_ctl(TN_CTL_HOLD, &pid, sizeof(pid), NULL, 0);
        if (r < 0) {
            struct tn_ctl_error why;

            close(a->go);
            a->go = -1;
            wait_child(a);
            return tn_cli_error(a->name, r, tn_ctl_why(&why) ? &why.why : NULL);
        }
        if (write(a->go, "", 1) != 1)
            return tn_cli_fail(a->name, "%s: could not be started", a->command[0]);
    }
    r = a->command ? tn_cli_attach_choose_host(a, &err) : 0; /* with the process that is there now */
    if (!r)
        r = tn_cli_attach_choose_scope(a, &err);
    if (!r) {
        r = tn_cli_attach_all(a, &err);
        if (r && a->nrefused && tn_kernel_serves(err.reason))
            r = tn_kernel_take(a, &err);
        else if (r && !a->fallback && tn_kernel_serves(err.reason))
            hint = true;
    }
    if (a->command) {
        s32 held = a->child;
        int released = tn_ctl(TN_CTL_RELEASE, &held, sizeof(held), NULL, 0);

        if (r) { /* asked to run with the extension: without it, it shall not run */
            kill(a->child, SIGKILL);
            wait_child(a);
        } else if (released < 0) {
            tn_cli_fail(a->name, "letting %s go: %s", a->command[0], strerror(-released));
        }
    }
    if (r) {
        tn_cli_error(a->name, r, &err);
        if (hint)
            tn_cli_warn(
                a->name,
                "--fallback=kernel lets the kernel's own uprobes serve such an object, where they can");
        return TN_EXIT_FAILED;
    }
    warn_of_what_is_not_seen(a);
    for (u32 i = 0; a->keep && i < a->nids; i++) {
        r = tn_ctl(TN_CTL_LINK_KEEP, &a->ids[i], sizeof(a->ids[i]), NULL, 0);
        if (r < 0)
            return tn_cli_fail(a->name, "leaving link %u with the broker: %s", a->ids[i], strerror(-r));
    }
    a->kept = a->keep;
    live = !a->json && !a->no_maps && isatty(STDOUT_FILENO) && getenv("TERM") &&
           strcmp(getenv("TERM"), "dumb") != 0;
    if (!a->json && !a->no_maps)
        open_maps(a);
    if (a->keep && !a->for_ns && !a->command)
        live = false;
    if (!live)
        show_links(stdout, a);
    if (a->keep && !a->for_ns && !a->command)
        return TN_EXIT_OK;
    r = stay(a, signals, live);
    if (!live && !a->json && !a->no_maps)
        show_maps(stdout, a);
    return r;
}

int tn_cmd_attach(int argc, char **argv)
{
    struct tn_cli_attach a = {.name = argv[0], .wait_ms = 1000, .go = -1};
    sigset_t signals;
    const char *path;
    int r;

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            a.command = argv + i + 1;
            argc = i;
            argv[i] = NULL;
            break;
        }
    tn_cli_parse(&argp, argc, argv, 0, &a);
    path = sort_words(&a);
    if (!path)
        return TN_EXIT_USAGE;
    tn_libbpf_listen(a.verbose);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    r = go(&a, path, &signals);
    release(&a);
    if (a.child > 0)
        r = wait_child(&a);
    return r;
}
